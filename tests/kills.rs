//! Processes that die, clients that lie, datagrams that are forged: other jobs never notice, and a job
//! that can be finished is finished exactly.
//!
//! "In mid-job" is made certain, not hoped for: a relay between AWS and backend B cuts the network after
//! so many bytes, so that a job stands where the test wants it until the relay is mended.

mod support;

use ethnum::I256;
use offload::rng::Rng;
use offload::wire::datagram::{self, Body, Header};
use offload::wire::frame::Frame;
use std::io::{ErrorKind, Read, Write};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};
use support::peer::Peer;
use support::relay::Way;
use support::{Instance, PATIENCE, Process, RunningRelay, boot, oracle, until};

/// Numbers of a job: 800,000 bytes for each backend, more than any window.
const NUMBERS: usize = 300_000;
const MIDDLE: u64 = 200_000;

/// Servers with a relay before B.
struct Wired {
    relay: RunningRelay,
    a: Process,
    b: Option<Process>,
    c: Process,
    aws: Process,
    log: PathBuf,
    instance: Instance,
}

impl Wired {
    fn new(deadlines: &str) -> Wired {
        let mut instance = Instance::new();
        instance.config.deadlines = deadlines.into();
        let relay = instance.relay(1, 0.0, 1);
        let (a, c) = (instance.up("serverA"), instance.up("serverC"));
        let b = Some(boot(instance.launch_with("serverB", &relay.for_backend)));
        let log = instance.path("aws.log");
        let launch = instance.launch_with("aws", &relay.for_aws);
        let aws = boot(launch.env("OFFLOAD_LOG", log.to_str().unwrap()));
        Wired { relay, a, b, c, aws, log, instance }
    }

    fn restart_b(&mut self) {
        self.b = Some(boot(self.instance.launch_with("serverB", &self.relay.for_backend)));
    }

    fn client(&self, function: &str, numbers: &[i64]) -> Process {
        self.instance.client(function, oracle::text(numbers)).start()
    }

    /// A client whose job stands: `bytes` have gone to B and no more go.
    fn held_client(&self, bytes: u64, function: &str, numbers: &[i64]) -> Process {
        self.relay.cut_after(bytes);
        let client = self.client(function, numbers);
        self.relay.wait_cut();
        client
    }

    fn expect_answer(&self, numbers: &[i64]) {
        self.client("sos", numbers).outcome().expect_answer("sos", numbers);
    }
}

/// The answer, with whatever the client was told about waits on stderr.
fn expect_answer_after_waits(client: Process, function: &str, numbers: &[i64]) {
    let outcome = client.outcome();
    assert_eq!(outcome.out, oracle::client_screen(function, numbers), "{}", outcome.err);
    assert_eq!(outcome.code, Some(0));
}

fn killed_and_restarted_after(bytes: u64) {
    let numbers = oracle::random(bytes, NUMBERS);
    let mut wired = Wired::new("");
    let client = wired.held_client(bytes, "sum", &numbers);
    let since = Instant::now();
    wired.b.take().unwrap().kill();
    until("AWS to notice", || {
        let log = std::fs::read_to_string(&wired.log).unwrap();
        // A backend that has not yet accepted is only waited for, which AWS says on stderr.
        (log.contains("\"wait\"") || wired.aws.err.text().contains("does not answer")).then_some(())
    });
    // Two seconds are promised; the third is for a busy machine.
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    wired.relay.mend();
    wired.restart_b();
    expect_answer_after_waits(client, "sum", &numbers);
    // The screens show one job, as if nothing had happened.
    let ports = &wired.instance.ports;
    let shown = wired.aws.out.wait_lines(10);
    let expected = oracle::aws_lines("sum", &numbers, ports.tcp, ports.udp);
    assert_eq!(shown, format!("The AWS is up and running.\n{expected}"));
    let shard = oracle::shards(NUMBERS, 3)[1].clone();
    let shown = wired.b.as_ref().unwrap().out.wait_lines(4);
    assert!(shown.ends_with(&oracle::backend_lines("B", "sum", &numbers[shard])), "{shown}");
    wired.expect_answer(&[1, 2, 3]);
}

#[test]
fn a_backend_killed_after_its_first_datagram_and_restarted_costs_no_answer() {
    killed_and_restarted_after(1);
}

#[test]
fn a_backend_killed_in_mid_job_and_restarted_costs_no_answer() {
    killed_and_restarted_after(MIDDLE);
}

#[test]
fn a_backend_killed_near_the_end_and_restarted_costs_no_answer() {
    killed_and_restarted_after(790_000);
}

#[test]
fn a_backend_killed_again_and_again_costs_no_answer() {
    let numbers = oracle::random(5, NUMBERS);
    let mut wired = Wired::new("");
    let client = wired.held_client(MIDDLE, "max", &numbers);
    for _ in 0..2 {
        wired.b.take().unwrap().kill();
        wired.relay.mend();
        wired.relay.cut_after(MIDDLE);
        wired.restart_b();
        wired.relay.wait_cut();
    }
    wired.relay.mend();
    expect_answer_after_waits(client, "max", &numbers);
}

#[test]
fn a_network_that_fails_for_a_while_costs_no_answer() {
    let numbers = oracle::random(6, NUMBERS);
    let wired = Wired::new("");
    let client = wired.held_client(MIDDLE, "min", &numbers);
    // Long enough that AWS begins the shard anew while the backend still has the old session.
    until("a second attempt", || {
        let log = std::fs::read_to_string(&wired.log).unwrap();
        log.contains("\"wait\"").then_some(())
    });
    wired.relay.mend();
    expect_answer_after_waits(client, "min", &numbers);
    let shown = wired.b.as_ref().unwrap().out.wait_lines(4);
    assert_eq!(shown.matches("successfully finished the reduction").count(), 1, "{shown}");
}

#[test]
fn a_backend_that_stays_away_ends_the_job_and_aws_goes_on() {
    let numbers = oracle::random(7, NUMBERS);
    let mut wired = Wired::new("restart_wait_s = 1");
    let client = wired.held_client(MIDDLE, "sum", &numbers);
    wired.b.take().unwrap().kill();
    wired.relay.mend();
    let outcome = client.outcome();
    // AWS knows B by the relay's port.
    let port = wired.instance.ports.spare[1].to_string();
    outcome.expect_failure(1, &["B", &port, "make serverB"]);
    wired.restart_b();
    wired.expect_answer(&numbers);
}

#[test]
fn a_killed_aws_is_an_error_and_its_successor_serves() {
    let numbers = oracle::random(8, NUMBERS);
    let mut wired = Wired::new("");
    let client = wired.held_client(MIDDLE, "sum", &numbers);
    wired.aws.signal(support::Signal::KILL);
    wired.aws.wait();
    wired.aws = boot(wired.instance.launch_with("aws", &wired.relay.for_aws));
    client.outcome().expect_failure(1, &["AWS"]);
    wired.relay.mend();
    wired.expect_answer(&numbers);
}

/// Lines of AWS's stderr that say why the client with this port was dropped.
fn drops(wired: &Wired, port: u16) -> Vec<String> {
    let who = format!("127.0.0.1:{port}: dropped: ");
    wired.aws.err.text().lines().filter(|line| line.contains(&who)).map(String::from).collect()
}

#[test]
fn a_killed_client_harms_nobody() {
    let numbers = oracle::random(9, NUMBERS);
    let wired = Wired::new("");
    let victim = wired.held_client(MIDDLE, "sum", &numbers);
    let honest = wired.client("sos", &numbers);
    honest.out.wait_for("has sent the reduction type");
    victim.kill();
    wired.aws.err.wait_for("dropped");
    wired.relay.mend();
    expect_answer_after_waits(honest, "sos", &numbers);
    wired.expect_answer(&[4, 5, 6]);
    let text = wired.aws.err.text();
    assert_eq!(text.matches("dropped").count(), 1, "{text}");
    assert_eq!(wired.aws.out.text().matches("finished sending").count(), 2);
}

/// What a lying client does once AWS listens.
type Lie = fn(&mut Peer);

/// Says HELLO for nine numbers and waits for the first SEND, which is for A or C while B is cut.
fn asked(peer: &mut Peer) -> (u64, u64) {
    peer.hello("SUM", 9);
    peer.hear_send()
}

const LIES: &[(&str, Lie)] = &[
    ("fewer numbers, then the end", |peer| {
        let (first, end) = asked(peer);
        peer.data(first, &vec![1; (end - first) as usize - 1]).unwrap();
        peer.finish();
    }),
    ("more numbers than asked", |peer| {
        let (first, end) = asked(peer);
        peer.data(first, &vec![1; (end - first) as usize + 1]).unwrap();
    }),
    ("a million numbers more", |peer| {
        let (first, _) = asked(peer);
        // AWS may drop us before we are through.
        let _ = peer.data(first, &vec![i64::MAX; 1_000_000]);
    }),
    ("numbers of another place", |peer| {
        let (first, end) = asked(peer);
        peer.data(first + 1, &vec![1; (end - first) as usize - 1]).unwrap();
    }),
    ("the same numbers twice", |peer| {
        let (first, end) = asked(peer);
        peer.data(first, &vec![1; (end - first) as usize]).unwrap();
        let _ = peer.data(first, &vec![1; (end - first) as usize]);
    }),
    ("numbers before HELLO", |peer| peer.data(0, &[1, 2, 3]).unwrap()),
    ("HELLO twice", |peer| {
        asked(peer);
        peer.hello("SUM", 9);
    }),
    ("garbage", |peer| peer.stream.write_all(&[0x5a; 4000]).unwrap()),
    ("a browser", |peer| peer.stream.write_all(b"GET / HTTP/1.1\r\nHost: aws\r\n\r\n").unwrap()),
    ("a DATA frame of 2^60 bytes", |peer| {
        asked(peer);
        peer.stream.write_all(b"of\x01\x03\x08\0\0\0\0\0\0\0\0\0\0\x10").unwrap();
    }),
    ("a HELLO frame of 2^60 bytes", |peer| {
        peer.stream.write_all(b"of\x01\x01\0\0\0\0\0\0\0\0\0\0\0\x10").unwrap();
    }),
    ("an unknown reduction", |peer| peer.hello("MEDIAN", 9)),
    ("AWS's own words", |peer| peer.send(&Frame::Result { value: I256::ONE })),
    ("half a header, then the end", |peer| {
        peer.stream.write_all(b"of\x01\x01").unwrap();
        peer.finish();
    }),
    ("an ABORT", |peer| {
        asked(peer);
        peer.send(&Frame::Abort { reason: "I changed my mind".into() });
    }),
];

#[test]
fn a_lying_client_is_dropped_with_one_line_and_harms_nobody() {
    let numbers = oracle::random(10, NUMBERS);
    let wired = Wired::new("");
    let honest = wired.held_client(MIDDLE, "sum", &numbers);
    let mut ports = Vec::new();
    for (what, lie) in LIES {
        let mut peer = Peer::connect(wired.instance.ports.tcp);
        let port = peer.stream.local_addr().unwrap().port();
        lie(&mut peer);
        wired.aws.err.wait_for(&format!("127.0.0.1:{port}: dropped: "));
        let _reason: Option<String> = peer.hear_error();
        ports.push((what, port));
    }
    wired.relay.mend();
    expect_answer_after_waits(honest, "sum", &numbers);
    for (what, port) in ports {
        let lines = drops(&wired, port);
        assert_eq!(lines.len(), 1, "{what}: {lines:?}");
    }
    wired.expect_answer(&[4, 5, 6]);
    assert!(wired.aws.peak_memory() < 64 << 20);
}

/// Sends `bytes` one by one, 150 ms apart, until AWS ends the connection; returns how many it took.
/// The pause is the lie itself; it is spent reading.
fn trickle(peer: &mut Peer, bytes: &[u8]) -> usize {
    peer.stream.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
    let since = Instant::now();
    for (sent, byte) in bytes.iter().enumerate() {
        assert!(since.elapsed() < PATIENCE, "AWS still listens after {PATIENCE:?}");
        if peer.stream.write_all(&[*byte]).is_err() {
            return sent;
        }
        let mut heard = [0; 4096];
        loop {
            match peer.stream.read(&mut heard) {
                Ok(0) => return sent,
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(_) => return sent,
            }
        }
    }
    bytes.len()
}

#[test]
fn a_slow_client_is_dropped_with_one_line_and_harms_nobody() {
    let numbers = oracle::random(11, NUMBERS);
    let wired = Wired::new("client_stall_s = 1");
    let honest = wired.held_client(MIDDLE, "sum", &numbers);
    let mut ports = Vec::new();
    let mut connect = || {
        let peer = Peer::connect(wired.instance.ports.tcp);
        ports.push(peer.stream.local_addr().unwrap().port());
        peer
    };
    // HELLO, a byte at a time.
    let mut bytes = Vec::new();
    Frame::Hello { function: "SUM".into(), count: 9 }.encode(&mut bytes);
    let mut hello = connect();
    // DATA, a byte at a time.
    let mut data = connect();
    let (first, _) = asked(&mut data);
    let mut slow_data = Vec::new();
    offload::wire::frame::encode_data(first, &[i64::MAX; 3], &mut slow_data);
    // Nothing at all, and nothing after SEND.
    let (mut silent, mut lazy) = (connect(), connect());
    asked(&mut lazy);
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(trickle(&mut hello, &bytes) < bytes.len()));
        scope.spawn(|| assert!(trickle(&mut data, &slow_data) < slow_data.len()));
        scope.spawn(|| silent.hear_error());
        scope.spawn(|| lazy.hear_error());
    });
    for &port in &ports {
        wired.aws.err.wait_for(&format!("127.0.0.1:{port}: dropped: "));
    }
    wired.relay.mend();
    expect_answer_after_waits(honest, "sum", &numbers);
    wired.expect_answer(&[4, 5, 6]);
    for port in ports {
        assert_eq!(drops(&wired, port).len(), 1);
    }
}

#[test]
fn a_backend_that_has_what_it_was_never_sent_ends_the_job() {
    let instance = Instance::new();
    let fake = UdpSocket::bind(Instance::address(instance.ports.backends[1])).unwrap();
    fake.set_read_timeout(Some(PATIENCE)).unwrap();
    let _servers = ["serverA", "serverC", "aws"].map(|server| instance.up(server));
    let client = instance.client("sum", oracle::text(&[1, 2, 3, 4])).start();
    let mut buffer = [0; 2048];
    let (length, aws) = fake.recv_from(&mut buffer).unwrap();
    let (header, open) = datagram::decode(&buffer[..length]).unwrap();
    let Body::Open { attempt, shard, .. } = open else { panic!("{open:?}") };
    let (accept, mut bytes) = (Body::Accept { attempt, shard, credit: 1 << 20, from: 1 }, Vec::new());
    datagram::encode(Header { session: 1, ..header }, &accept, &mut bytes);
    fake.send_to(&bytes, aws).unwrap();
    client
        .outcome()
        .expect_failure(1, &["Backend-Server B", "says that it has 1 numbers", "it was sent 0"]);
}

/// Every kind of datagram, for this job and session.
fn every_kind(job: u128, session: u64) -> Vec<Vec<u8>> {
    let header = Header { job, session };
    let value = I256::from(666);
    let ack = datagram::Ack { next: 1 << 40, largest_tx: 1 << 40, credit: 0, delay_us: 0, bitmap: &[] };
    [
        Body::Open { attempt: 99, shard: 1, count: 5, function: "SUM".into() },
        Body::Accept { attempt: 99, shard: 1, credit: 1, from: 0 },
        Body::Data { width: 8, ack_requested: true, seq: 0, tx: 1, numbers: &[0xff; 64] },
        Body::Ack(ack),
        Body::Ping { tx: 1 },
        Body::Result { count: 100_000, value },
        Body::Done,
        Body::Closed,
        Body::Gone,
        Body::Abort { reason: "forged".into() },
    ]
    .iter()
    .map(|body| {
        let mut bytes = Vec::new();
        datagram::encode(header, body, &mut bytes);
        bytes
    })
    .collect()
}

/// What somebody throws who can read none of the traffic, then what one throws who has read it all but
/// cannot send from its addresses.
fn forgeries(kept: &[(Way, Vec<u8>)]) -> Vec<Vec<u8>> {
    let mut rng = Rng::from_seed(1);
    let mut all: Vec<Vec<u8>> = Vec::new();
    for size in [0, 1, 2, 31, 32, 33, 48, 64, 500, 1472, 9000, 65_000] {
        let mut bytes = vec![0; size];
        rng.fill(&mut bytes);
        all.push(bytes);
    }
    for _ in 0..20 {
        all.extend(every_kind(rng.u128(), rng.u64()));
    }
    for (_, bytes) in kept {
        let (header, _) = datagram::decode(bytes).unwrap();
        let mut broken = bytes.clone();
        broken[bytes.len() / 2] ^= 1;
        all.push(broken);
        all.extend(every_kind(header.job, header.session ^ 1));
        all.extend(every_kind(header.job, header.session));
        all.push(bytes.clone());
    }
    all
}

#[test]
fn forged_datagrams_change_nothing() {
    let numbers = oracle::random(12, NUMBERS);
    let wired = Wired::new("");
    wired.relay.control.keep.store(12, SeqCst);
    let client = wired.held_client(MIDDLE, "sum", &numbers);
    let kept = wired.relay.control.kept.lock().unwrap().clone();
    assert!(kept.iter().any(|(way, _)| *way == Way::ToAws), "no session was seen");
    let foreign = UdpSocket::bind(Instance::address(0)).unwrap();
    let ports = &wired.instance.ports;
    for bytes in forgeries(&kept) {
        for port in ports.backends.into_iter().chain([ports.udp]) {
            foreign.send_to(&bytes, Instance::address(port)).unwrap();
        }
    }
    wired.relay.mend();
    expect_answer_after_waits(client, "sum", &numbers);
    let shown = wired.aws.out.wait_lines(10);
    let expected = oracle::aws_lines("sum", &numbers, ports.tcp, ports.udp);
    assert_eq!(shown, format!("The AWS is up and running.\n{expected}"));
    for (name, server) in [("A", &wired.a), ("B", wired.b.as_ref().unwrap()), ("C", &wired.c)] {
        let shown = server.out.wait_lines(4);
        assert_eq!(shown.lines().count(), 4, "{name}: {shown}");
        assert_eq!(server.err.text(), "");
    }
}

#[test]
fn datagrams_of_an_earlier_job_change_nothing() {
    let wired = Wired::new("");
    wired.relay.control.keep.store(1000, SeqCst);
    wired.expect_answer(&oracle::random(13, 1000));
    wired.b.as_ref().unwrap().out.wait_lines(4);
    let kept = wired.relay.control.kept.lock().unwrap().clone();
    let numbers = oracle::random(14, NUMBERS);
    let client = wired.held_client(MIDDLE, "sum", &numbers);
    let ports = &wired.instance.ports;
    // From the relay's own socket: to each side it is the other.
    for (way, bytes) in kept {
        let to = match way {
            Way::ToBackend => ports.backends[1],
            Way::ToAws => ports.udp,
        };
        wired.relay.socket.send_to(&bytes, Instance::address(to)).unwrap();
    }
    wired.relay.mend();
    expect_answer_after_waits(client, "sum", &numbers);
    let shown = wired.b.as_ref().unwrap().out.wait_lines(7);
    assert_eq!(shown.lines().count(), 7, "{shown}");
    assert_eq!(wired.aws.out.wait_lines(19).lines().count(), 19);
}

#[test]
fn losses_on_every_path_cost_no_answer() {
    let mut instance = Instance::new();
    instance.config.top = "datagram_bytes = 1472".into();
    let relays = [0, 1, 2].map(|i| instance.relay(i, 10.0, 3 + i as u64));
    let _servers =
        [0, 1, 2].map(|i| boot(instance.launch_with(support::SERVERS[i], &relays[i].for_backend)));
    let mut for_aws = instance.config.clone();
    for (i, relay) in relays.iter().enumerate() {
        for_aws.backends[i] = relay.for_aws.backends[i].clone();
    }
    let _aws = boot(instance.launch_with("aws", &for_aws));
    let numbers = oracle::random(15, NUMBERS);
    for function in support::FUNCTIONS {
        instance.client(function, oracle::text(&numbers)).run().expect_answer(function, &numbers);
    }
    assert!(relays.iter().all(|relay| relay.control.dropped.load(SeqCst) > 20));
}
