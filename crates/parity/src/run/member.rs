//! A member's process: it listens at the socket that is its standard input, and says on its standard output
//! what happens, one JSON object a line.

use super::Error;
use crate::arena::{Live, Mechanism};
use crate::code::Code;
use crate::id::Member;
use crate::io::{self as node, Outside, Told};
use crate::ledger::Layout;
use crate::limits::PAGE_BYTES;
use crate::mode::Mode;
use crate::proto::{Event, holder, worker};
use crate::task::Kind;
use offload::time::Time;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::time::Duration;

/// What a member is told when it is started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders {
    /// Who it is.
    pub me: Member,
    /// The run's number.
    pub run: u64,
    /// Where all members listen.
    pub addresses: Vec<(Member, SocketAddr)>,
    /// The application.
    pub kind: Kind,
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
}

/// What a member says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Said {
    /// Its machine.
    Event(Event),
    /// Somebody was refused, or refuses it.
    Refused(String),
    /// A link is lost.
    Lost(Member, String),
    /// The run has failed, for all.
    Failed(String),
}

/// Is this member until the run is over.
///
/// # Errors
/// See [`Error`]; it was said on standard output too.
pub fn be(orders: Orders) -> Result<(), Error> {
    let outcome = serve(orders);
    if let Err(error) = &outcome {
        say(&Said::Failed(error.to_string()));
    }
    outcome
}

fn serve(orders: Orders) -> Result<(), Error> {
    let wrong = |e: &dyn std::fmt::Display| Error::Plan(e.to_string());
    let Orders { me, run, addresses, kind, mode, workers, failures, interval, buffer_pages, mechanism } =
        orders;
    let code = Code::new(usize::from(workers), failures).map_err(|e| wrong(&e))?;
    let needs = kind.needs(workers);
    let layout =
        Layout { mode, workers: usize::from(workers), log_bytes: needs.log_bytes, receipts: 4096 };
    let pages = (layout.bytes() + needs.state_bytes).div_ceil(PAGE_BYTES);
    let pages =
        u32::try_from(pages).map_err(|_| Error::Plan(format!("{kind} needs {pages} pages a worker")))?;
    let socket = io::stdin().as_fd().try_clone_to_owned();
    let listener =
        TcpListener::from(socket.map_err(|e| Error::System("the socket on standard input", e))?);
    let shape = format!("{kind}, mode {mode}, {workers} workers, {failures} failures, {pages} pages");
    let addresses = addresses.into_iter().collect();
    let settings = node::Settings { me, run, shape, addresses, outside: Outside::default() };
    let mut sink = |_: Time, told: Told| {
        say(&match told {
            Told::Event(event) => Said::Event(event),
            Told::Refused(why) => Said::Refused(why),
            Told::Lost(member, why) => Said::Lost(member, why),
        });
    };
    let outcome = match me {
        Member::Worker(me) => {
            let mechanism: Mechanism = mechanism.parse().map_err(|e| wrong(&e))?;
            let live = Live::new(pages, mechanism).map_err(|e| wrong(&e))?;
            let holders = code.holders() as u8;
            let own = worker::Settings { me, holders, layout, step: needs.step, interval, buffer_pages };
            node::worker(settings, own, listener, live, kind.task(), &mut sink)
        }
        Member::Holder(me) => {
            let own = holder::Settings { me, mode, code, pages };
            node::holder(settings, own, listener, &mut sink)
        }
    };
    outcome.map_err(|e| Error::Run(e.to_string()))
}

/// Whoever started us may be gone: then nobody needs to know.
fn say(said: &Said) {
    if let Ok(line) = serde_json::to_string(said) {
        let _ = writeln!(io::stdout(), "{line}");
    }
}
