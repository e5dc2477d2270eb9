//! Members on real sockets whose links are not what they should be: bits that flip, a worker that lies about its
//! checksums, one that was taken for dead, keys that are missing or another's.
//!
//! All are threads of this process, each with its own node; what is done to a link is done by a relay.

use offload::config::Key;
use offload_parity::arena::{Live, Mechanism};
use offload_parity::code::Code;
use offload_parity::id::{Holder, Member, Worker};
use offload_parity::io::{self, Error, Settings, Told};
use offload_parity::ledger::Layout;
use offload_parity::mode::Mode;
use offload_parity::proto::frame::Body;
use offload_parity::proto::{Event, holder, worker};
use offload_parity::task::{Application, Kind};
use offload_parity::wire::{self, Hello, Packet};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

const WORKERS: u16 = 2;
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const H0: Member = Member::Holder(Holder(0));
const W1: Member = Member::Worker(Worker(1));
const SILENCE: Duration = Duration::from_secs(2);

/// What one says, or how it has ended.
type Heard = (Member, Result<Told, Result<(), Error>>);

struct Cluster {
    kind: Kind,
    addresses: BTreeMap<Member, SocketAddr>,
    listeners: BTreeMap<Member, TcpListener>,
    says: Sender<Heard>,
    heard: Receiver<Heard>,
    /// What was said until all was over.
    told: Vec<(Member, Told)>,
}

impl Cluster {
    /// Nobody lives yet; each has an address on its host.
    fn new(host: impl Fn(Member) -> IpAddr) -> Cluster {
        let members = [0, 1].map(|n| Member::Holder(Holder(n)));
        let members = members.into_iter().chain((0..WORKERS).map(|n| Member::Worker(Worker(n))));
        let listen = |member| (member, TcpListener::bind((host(member), 0)).unwrap());
        let listeners: BTreeMap<Member, TcpListener> = members.map(listen).collect();
        let address =
            |(member, listener): (&Member, &TcpListener)| (*member, listener.local_addr().unwrap());
        let addresses = listeners.iter().map(address).collect();
        let (says, heard) = channel();
        Cluster {
            kind: Kind::Apsp { vertices: 300 },
            addresses,
            listeners,
            says,
            heard,
            told: Vec::new(),
        }
    }

    fn settings(&self, me: Member) -> Settings {
        let settings = Settings::new(me, 7, "a test".into(), self.addresses.clone());
        Settings { silence: SILENCE, life: 2, ..settings }
    }

    fn start_all(&self, settings: impl Fn(Settings) -> Settings) {
        for (member, listener) in &self.listeners {
            self.start(settings(self.settings(*member)), listener.try_clone().unwrap());
        }
    }

    fn start(&self, settings: Settings, listener: TcpListener) {
        let (kind, says, me) = (self.kind, self.says.clone(), settings.me);
        thread::spawn(move || {
            let needs = kind.needs(WORKERS);
            let layout = Layout {
                mode: Mode::Offload,
                workers: usize::from(WORKERS),
                log_bytes: needs.log_bytes,
                receipts: 0,
            };
            let pages = (layout.bytes() + needs.state_bytes).div_ceil(4096) as u32;
            let code = Code::new(usize::from(WORKERS), 1).unwrap();
            let mut sink = |_, told| drop(says.send((me, Ok(told))));
            let ended = match me {
                Member::Worker(me) => {
                    let interval = Duration::from_millis(10);
                    let (step, buffer_pages) = (needs.step, u32::MAX);
                    let own = worker::Settings { me, holders: 2, layout, step, interval, buffer_pages };
                    let live = Live::new(pages, Mechanism::Compare).unwrap();
                    io::worker(settings, own, listener, live, kind.task(), &mut sink)
                }
                Member::Holder(me) => {
                    let own = holder::Settings { me, mode: Mode::Offload, code, pages };
                    io::holder(settings, own, listener, &mut sink)
                }
            };
            let _ = says.send((me, Err(ended)));
        });
    }

    /// The next that is said, of which something is true.
    fn wait(&mut self, mut is_it: impl FnMut(Member, &Result<Told, Result<(), Error>>) -> bool) {
        loop {
            let next = self.heard.recv_timeout(Duration::from_secs(60));
            let (member, what) = next.unwrap_or_else(|e| panic!("{e}: {:?}", self.told));
            let found = is_it(member, &what);
            if let Ok(told) = what {
                self.told.push((member, told));
            }
            if found {
                return;
            }
        }
    }

    /// Until all members have ended; the answer is that of one process.
    fn finish(&mut self) {
        let mut left = self.listeners.len();
        self.wait(|member, what| {
            if let Err(ended) = what {
                assert!(ended.is_ok(), "{member}: {ended:?}");
                left -= 1;
            }
            left == 0
        });
        for (me, expected) in (0..).zip(self.kind.alone(WORKERS)) {
            let me = Member::Worker(Worker(me));
            let said = self.told.iter().filter_map(|(member, told)| match told {
                Told::Event(Event::Outside { sequence: 1, bytes }) if *member == me => Some(bytes),
                _ => None,
            });
            let said: Vec<String> =
                said.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect();
            assert!(
                !said.is_empty() && said.iter().all(|said| *said == expected),
                "{said:?} {expected}"
            );
        }
    }

    /// Has this member told of something with this word?
    fn has_told(&self, member: Member, word: &str) -> bool {
        let mut told = self.told.iter().filter(|(said, _)| *said == member);
        told.any(|(_, told)| format!("{told:?}").contains(word))
    }
}

/// Takes connections for another address, and does something to all frames of the first that it takes.
fn relay(to: SocketAddr, tamper: impl Fn(&mut Packet) -> Option<u32> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((LOCAL, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut tamper = Some(tamper);
        while let Ok((near, _)) = listener.accept() {
            let Ok(far) = TcpStream::connect(to) else { return };
            let (back, home) = (far.try_clone().unwrap(), near.try_clone().unwrap());
            let tamper = tamper.take();
            thread::spawn(move || pass(&near, &far, tamper));
            thread::spawn(move || pass(&back, &home, None::<fn(&mut Packet) -> Option<u32>>));
        }
    });
    address
}

/// Passes on what comes; what `tamper` says is the bit of a frame that flips after its checksum was made.
fn pass(mut from: &TcpStream, mut to: &TcpStream, tamper: Option<impl Fn(&mut Packet) -> Option<u32>>) {
    let forward = || -> Result<(), wire::Error> {
        let Some(tamper) = tamper else {
            let mut bytes = [0; 4096];
            loop {
                match from.read(&mut bytes)? {
                    0 => return Ok(()),
                    length => to.write_all(&bytes[..length])?,
                }
            }
        };
        if let Some(hello) = wire::read::<Hello>(&mut from, &mut Vec::new())? {
            to.write_all(&wire::encode(&hello, Vec::new())?)?;
        }
        while let Some(mut packet) = wire::read::<Packet>(&mut from, &mut Vec::new())? {
            let flip = tamper(&mut packet);
            let mut bytes = wire::encode(&packet, Vec::new())?;
            if let Some(bit) = flip {
                let length = bytes.len() as u32;
                bytes[(bit / 8 % length) as usize] ^= 1 << (bit % 8);
            }
            to.write_all(&bytes)?;
        }
        Ok(())
    };
    let _ = forward();
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// The answer is right though worker 1's link to holder 0 does this; what holder 0 says of it.
fn tampered(tamper: impl Fn(&mut Packet) -> Option<u32> + Send + 'static, word: &str) {
    let mut cluster = Cluster::new(|_| LOCAL);
    let relay = relay(cluster.addresses[&H0], tamper);
    cluster.start_all(|mut settings| {
        if settings.me == W1 {
            settings.addresses.insert(H0, relay);
        }
        settings
    });
    cluster.finish();
    assert!(cluster.has_told(H0, word), "{word}: {:?}", cluster.told);
}

fn is_body(packet: &Packet, is_it: fn(&Body) -> bool) -> bool {
    matches!(packet, Packet::Frame(frame) if is_it(&frame.body))
}

#[test]
fn a_bit_that_flips_on_its_way_is_noticed() {
    let flip =
        |packet: &mut Packet| is_body(packet, |body| matches!(body, Body::Pages(..))).then_some(9001);
    tampered(flip, "it sends a frame whose bytes are not what its checksum says");
}

#[test]
fn a_worker_that_lies_about_its_checksum_is_refused() {
    let lie = |packet: &mut Packet| {
        if let Packet::Frame(frame) = packet
            && let Body::End(end) = &mut frame.body
        {
            end.image = end.image.plus(end.diff).plus(end.diff).plus(end.image);
        }
        None
    };
    tampered(lie, "worker 1: checkpoint 1 has other checksums than its pages");
}

#[test]
fn pages_that_are_not_what_was_sent_are_refused() {
    let change = |packet: &mut Packet| {
        if let Packet::Frame(frame) = packet
            && let Body::Pages(_, pages) = &mut frame.body
        {
            pages.bytes[77] ^= 1;
        }
        None
    };
    tampered(change, "worker 1: checkpoint 1 has other checksums than its pages");
}

#[test]
fn one_that_was_taken_for_dead_and_comes_back_does_no_harm() {
    let mut cluster = Cluster::new(|_| LOCAL);
    // Long enough for it to come back in the middle.
    cluster.kind = Kind::Apsp { vertices: 900 };
    cluster.start_all(|settings| settings);
    cluster.wait(|member, what| member == H0 && matches!(what, Ok(Told::Event(Event::Committed(_)))));
    let before = cluster.told.len();
    let stale = Settings { life: 1, ..cluster.settings(W1) };
    // Where it listens, nobody dials.
    cluster.start(stale, TcpListener::bind((LOCAL, 0)).unwrap());
    cluster.finish();
    assert!(cluster.has_told(H0, "was taken for dead and has a successor"), "{:?}", cluster.told);
    let disturbed = |(_, told): &(Member, Told)| matches!(told, Told::Event(Event::Recovered { .. }));
    assert!(!cluster.told[before..].iter().any(disturbed), "{:?}", cluster.told);
}

#[test]
fn off_loopback_nobody_starts_without_a_key() {
    let cluster = Cluster::new(|_| LOCAL);
    let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
    cluster.start(cluster.settings(H0), everywhere);
    let far = SocketAddr::from(([192, 0, 2, 1], 9));
    let mut settings = cluster.settings(W1);
    settings.addresses.insert(H0, far);
    cluster.start(settings, cluster.listeners[&W1].try_clone().unwrap());
    for _ in 0..2 {
        let (_, ended) = cluster.heard.recv_timeout(Duration::from_secs(60)).unwrap();
        let why = ended.unwrap_err().unwrap_err().to_string();
        assert!(why.contains("is not on loopback and there is no key"), "{why}");
        assert!(why.contains("Make a key with: head -c 32 /dev/urandom"), "{why}");
    }
}

#[test]
fn another_key_is_refused_and_the_same_is_enough() {
    let mut cluster = Cluster::new(|_| LOCAL);
    let with = |byte| move |settings| Settings { key: Some(Key::new([byte; 32])), ..settings };
    let (right, wrong) = (with(1), with(2));
    let stranger = wrong(cluster.settings(W1));
    cluster.start(stranger, TcpListener::bind((LOCAL, 0)).unwrap());
    cluster.listeners.remove(&W1);
    cluster.start_all(right);
    cluster.wait(|member, what| {
        let refusal = matches!(what, Ok(Told::Refused(why)) if why.contains("not sealed with our key"));
        member == H0 && refusal
    });
    let listener = TcpListener::bind((LOCAL, 0)).unwrap();
    cluster.start(right(cluster.settings(W1)), listener.try_clone().unwrap());
    cluster.listeners.insert(W1, listener);
    cluster.finish();
}

const INSIDE: &str = "PARITY_TEST_INSIDE_NAMESPACE";

/// As on four hosts: addresses that are none of loopback's, in a network namespace of the test's own. That takes
/// root, or a system that lets users have namespaces.
#[test]
fn four_addresses_of_a_network_with_a_key_give_the_answer() {
    if std::env::var_os(INSIDE).is_none() {
        let script = "ip link set lo up && for i in 1 2 3 4; do ip address add 10.78.0.$i/24 dev lo || exit 1; done \
                      && exec \"$@\"";
        let test = "four_addresses_of_a_network_with_a_key_give_the_answer";
        let ran = Command::new("unshare")
            .args(["--map-root-user", "--net", "sh", "-c", script, "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(INSIDE, "1")
            .output()
            .expect("unshare (package util-linux) is needed: see scripts/setup.sh");
        let said =
            [ran.stdout, ran.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(
            ran.status.success() && said.contains("1 passed"),
            "in a namespace (needs root or user namespaces, and package iproute2): {said}"
        );
        return;
    }
    let mut cluster = Cluster::new(|member| match member {
        Member::Holder(holder) => [10, 78, 0, 1 + holder.0].into(),
        Member::Worker(worker) => [10, 78, 0, 3 + worker.0 as u8].into(),
    });
    cluster.start_all(|settings| Settings { key: Some(Key::new([1; 32])), ..settings });
    cluster.finish();
}
