//! A member's process: it listens at the socket that is its standard input, and says on its standard output
//! what happens, one JSON object a line; that it lives, when there is nothing else. When nobody listens any more, it
//! ends: whoever would start the others again is gone.

use super::{Error, MEMBER};
use crate::arena::{Live, Mechanism};
use crate::code::Code;
use crate::id::Member;
use crate::io::{self as node, Told, ping_period};
use crate::ledger::Layout;
use crate::limits::{MAX_ARENA_BYTES, MAX_MESSAGE_BYTES, PAGE_BYTES};
use crate::mode::Mode;
use crate::proto::{Event, holder, worker};
use crate::task::{Application, Kind};
use offload::time::Time;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::time::Duration;

/// What a member is told when it is started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders<A = Kind> {
    /// Who it is.
    pub me: Member,
    /// Which of that one's lives.
    pub life: u64,
    /// The run's number.
    pub run: u64,
    /// Where all members listen.
    pub addresses: Vec<(Member, SocketAddr)>,
    /// The application.
    pub kind: A,
    /// How checkpoints fit together.
    pub mode: Mode,
    /// How many workers there are.
    pub workers: u16,
    /// Deaths at once that are survived.
    pub failures: usize,
    /// The paper's Timeout.
    pub interval: Duration,
    /// The paper's primary buffer.
    pub buffer_pages: u32,
    /// How writes are noticed, by name.
    pub mechanism: String,
    /// A member that says nothing for so long is taken for dead.
    pub silence: Duration,
}

impl<A: DeserializeOwned> Orders<A> {
    /// Those that this process was started with by a [`Plan::new`](super::Plan::new), if it was.
    ///
    /// # Errors
    /// They are no orders.
    pub fn of_this_process() -> Result<Option<Orders<A>>, Error> {
        let mut words = std::env::args().skip(1);
        match (words.next().as_deref(), words.next()) {
            (Some(MEMBER), Some(orders)) => serde_json::from_str(&orders)
                .map(Some)
                .map_err(|e| Error::Plan(format!("{MEMBER} is not for use by hand: {e}"))),
            _ => Ok(None),
        }
    }
}

/// What a member says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Said {
    /// Nothing: it lives.
    Alive,
    /// Its machine.
    Event(Event),
    /// Somebody was refused, or refuses it.
    Refused(String),
    /// A link is lost.
    Lost(Member, String),
    /// The run has failed, for all.
    Failed(String),
}

/// How a worker's arena is laid out, and how many pages it has.
pub(super) fn arena(
    kind: &impl Application,
    mode: Mode,
    workers: u16,
) -> Result<(Layout, u32, (usize, usize)), Error> {
    let needs = kind.needs(workers);
    let layout =
        Layout { mode, workers: usize::from(workers), log_bytes: needs.log_bytes, receipts: 4096 };
    let bytes = layout.bytes().saturating_add(needs.state_bytes);
    if bytes > MAX_ARENA_BYTES {
        return Err(Error::Plan(format!(
            "a worker would need {bytes} bytes: {MAX_ARENA_BYTES} are the most"
        )));
    }
    if needs.step.0 > MAX_MESSAGE_BYTES {
        let bytes = needs.step.0;
        return Err(Error::Plan(format!(
            "a step would send {bytes} bytes: {MAX_MESSAGE_BYTES} are the most; take more workers or smaller chunks"
        )));
    }
    Ok((layout, bytes.div_ceil(PAGE_BYTES) as u32, needs.step))
}

/// Is this member until the run is over. The process is the member's: where nobody listens to it any more, it is
/// ended.
///
/// # Errors
/// See [`Error`]; it was said on standard output too.
pub fn be<A: Application>(orders: Orders<A>) -> Result<(), Error> {
    let period = ping_period(orders.silence);
    let pulse = std::thread::Builder::new().name("parity-pulse".into()).spawn(move || {
        while say(&Said::Alive) {
            std::thread::sleep(period);
        }
        std::process::exit(1);
    });
    pulse.map_err(|e| Error::System("a thread", e))?;
    let outcome = serve(orders);
    if let Err(error) = &outcome {
        say(&Said::Failed(error.to_string()));
    }
    outcome
}

fn serve<A: Application>(orders: Orders<A>) -> Result<(), Error> {
    let wrong = |e: &dyn std::fmt::Display| Error::Plan(e.to_string());
    let (mode, workers, failures) = (orders.mode, orders.workers, orders.failures);
    let code = Code::new(usize::from(workers), failures).map_err(|e| wrong(&e))?;
    let (layout, pages, step) = arena(&orders.kind, mode, workers)?;
    let kind = serde_json::to_string(&orders.kind).map_err(|e| wrong(&e))?;
    let shape = format!("{kind}, mode {mode}, {workers} workers, {failures} failures, {pages} pages");
    let addresses = orders.addresses.into_iter().collect();
    let settings = node::Settings {
        silence: orders.silence,
        life: orders.life,
        ..node::Settings::new(orders.me, orders.run, shape, addresses)
    };
    let socket = io::stdin().as_fd().try_clone_to_owned();
    let listener =
        TcpListener::from(socket.map_err(|e| Error::System("the socket on standard input", e))?);
    let mut sink = |_: Time, told: Told| {
        // Where nobody listens, the pulse ends the process.
        say(&match told {
            Told::Event(event) => Said::Event(event),
            Told::Refused(why) => Said::Refused(why),
            Told::Lost(member, why) => Said::Lost(member, why),
        });
    };
    let outcome = match orders.me {
        Member::Worker(me) => {
            let mechanism: Mechanism = orders.mechanism.parse().map_err(|e| wrong(&e))?;
            let live = Live::new(pages, mechanism).map_err(|e| wrong(&e))?;
            let holders = code.holders() as u8;
            let (interval, buffer_pages) = (orders.interval, orders.buffer_pages);
            let own = worker::Settings { me, holders, layout, step, interval, buffer_pages };
            node::worker(settings, own, listener, live, orders.kind.task(), &mut sink)
        }
        Member::Holder(me) => {
            let own = holder::Settings { me, mode, code, pages };
            node::holder(settings, own, listener, &mut sink)
        }
    };
    outcome.map_err(|e| Error::Run(e.to_string()))
}

/// False: whoever started us is gone.
fn say(said: &Said) -> bool {
    serde_json::to_string(said).is_ok_and(|line| writeln!(io::stdout(), "{line}").is_ok())
}
