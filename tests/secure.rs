//! With a key: the same screens, nothing to read on the wire, and clear words where keys differ.
//! Off loopback without one: no.
//!
//! Everything runs on loopback, where a key is optional; what is bound off loopback is `0.0.0.0`.

mod support;

use offload::wire::datagram;
use std::sync::atomic::Ordering::SeqCst;
use support::peer::Peer;
use support::relay::Way;
use support::{Config, FUNCTIONS, Instance, Launch, Process, SERVERS, boot, oracle};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";
const OTHER_KEY: &str = "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";

/// An instance whose processes are told to use a key.
fn keyed() -> Instance {
    let mut instance = Instance::new();
    instance.config.top = "key_file = \"offload.key\"".into();
    instance.config.deadlines = "restart_wait_s = 1".into();
    instance
}

fn with_key(instance: &Instance, program: &str, config: &Config, key: &str) -> Launch {
    instance.launch_with(program, config).secret("offload.key", key)
}

fn servers(instance: &Instance, keys: [&str; 4]) -> Vec<Process> {
    let start = |(server, key)| boot(with_key(instance, server, &instance.config, key));
    SERVERS.into_iter().zip(keys).map(start).collect()
}

fn client(instance: &Instance, function: &str, numbers: &[i64], key: &str) -> Launch {
    with_key(instance, "client", &instance.config, key)
        .args(&[function])
        .file("nums.csv", oracle::text(numbers))
}

#[test]
fn with_a_key_everything_is_as_without() {
    let instance = keyed();
    let servers = servers(&instance, [KEY; 4]);
    let ports = &instance.ports;
    let mut expected = String::from("The AWS is up and running.\n");
    for (i, n) in [1, 2, 300, 100_000].into_iter().enumerate() {
        for function in FUNCTIONS {
            let numbers = oracle::random(i as u64, n);
            client(&instance, function, &numbers, KEY).run().expect_answer(function, &numbers);
            expected += &oracle::aws_lines(function, &numbers, ports.tcp, ports.udp);
        }
    }
    assert_eq!(servers[3].out.wait_lines(expected.lines().count()), expected);
    for server in servers {
        assert_eq!(server.interrupt().err, "");
    }
}

#[test]
fn with_a_key_clients_at_once_never_mix() {
    let instance = keyed();
    let _servers = servers(&instance, [KEY; 4]);
    let jobs: Vec<_> = (0..8)
        .map(|i| {
            let numbers = oracle::random(i, 5000);
            (client(&instance, "sos", &numbers, KEY).start(), numbers)
        })
        .collect();
    for (client, numbers) in jobs {
        client.outcome().expect_answer("sos", &numbers);
    }
}

#[test]
fn a_client_with_another_key_or_none_is_refused_and_aws_goes_on() {
    let instance = keyed();
    let servers = servers(&instance, [KEY; 4]);
    let numbers = [1, 2, 3];
    client(&instance, "sum", &numbers, OTHER_KEY).run().expect_failure(1, &["key"]);
    servers[3].err.wait_for("key");
    let mut open = instance.config.clone();
    open.top.clear();
    let keyless = instance.launch_with("client", &open).args(&["sum"]).file("nums.csv", "1\n");
    keyless.run().expect_failure(1, &["key"]);
    client(&instance, "sum", &numbers, KEY).run().expect_answer("sum", &numbers);
}

#[test]
fn an_aws_without_the_clients_key_is_refused() {
    let instance = keyed();
    let mut open = instance.config.clone();
    open.top.clear();
    let _aws = boot(instance.launch_with("aws", &open));
    client(&instance, "sum", &[1], KEY).run().expect_failure(1, &["key"]);
}

#[test]
fn a_backend_with_another_key_or_none_is_no_backend() {
    for key in [Some(OTHER_KEY), None] {
        let instance = keyed();
        let config = &instance.config;
        let _others =
            ["serverA", "serverC", "aws"].map(|name| boot(with_key(&instance, name, config, KEY)));
        let mut open = config.clone();
        open.top.clear();
        let b = boot(match key {
            Some(key) => with_key(&instance, "serverB", config, key),
            None => instance.launch_with("serverB", &open),
        });
        let outcome = client(&instance, "sum", &[1, 2, 3], KEY).run();
        outcome.expect_failure(1, &["B", &instance.ports.backends[1].to_string()]);
        b.kill();
        let _b = boot(with_key(&instance, "serverB", config, KEY));
        client(&instance, "sum", &[1, 2, 3], KEY).run().expect_answer("sum", &[1, 2, 3]);
    }
}

#[test]
fn nobody_reads_along_and_a_replay_changes_nothing() {
    let instance = keyed();
    let relay = instance.relay(1, 0.0, 1);
    relay.control.keep.store(1000, SeqCst);
    let start = |name, config| boot(with_key(&instance, name, config, KEY));
    let _others = [start("serverA", &instance.config), start("serverC", &instance.config)];
    let b = start("serverB", &relay.for_backend);
    let aws = start("aws", &relay.for_aws);
    const MARK: i64 = 0x1122_3344_5566_7788;
    let numbers = vec![MARK; 3000];
    client(&instance, "sum", &numbers, KEY).run().expect_answer("sum", &numbers);
    b.out.wait_lines(4);
    let kept = relay.control.kept.lock().unwrap().clone();
    assert!(kept.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() > 8000);
    for (_, bytes) in &kept {
        assert!(datagram::decode(bytes).is_err(), "a datagram in the open");
        let clear = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        assert!(!clear(&MARK.to_le_bytes()) && !clear(b"SUM"));
    }
    // Again, from the relay's own address: to each side it is the other.
    let ports = &instance.ports;
    for _ in 0..3 {
        for (way, bytes) in &kept {
            let to = match way {
                Way::ToBackend => ports.backends[1],
                Way::ToAws => ports.udp,
            };
            relay.socket.send_to(bytes, Instance::address(to)).unwrap();
        }
        client(&instance, "max", &numbers, KEY).run().expect_answer("max", &numbers);
    }
    assert_eq!(b.out.wait_lines(13).lines().count(), 13);
    assert_eq!(aws.out.wait_lines(37).lines().count(), 37);
}

#[test]
fn a_stranger_to_the_handshake_is_dropped_and_aws_goes_on() {
    let instance = keyed();
    let servers = servers(&instance, [KEY; 4]);
    for garbage in [&[0u8; 4000][..], b"GET / HTTP/1.1\r\n\r\n", &[0xff; 70_000]] {
        let mut peer = Peer::connect(instance.ports.tcp);
        let port = peer.stream.local_addr().unwrap().port();
        // AWS may have hung up before all is written.
        let _ = std::io::Write::write_all(&mut peer.stream, garbage);
        peer.finish();
        servers[3].err.wait_for(&format!("127.0.0.1:{port}"));
    }
    client(&instance, "sum", &[1], KEY).run().expect_answer("sum", &[1]);
}

#[test]
fn off_loopback_a_key_is_mandatory() {
    for server in SERVERS {
        let mut instance = Instance::new();
        instance.config.host = "0.0.0.0".into();
        for (_, host, _) in &mut instance.config.backends {
            *host = "0.0.0.0".into();
        }
        let outcome = instance.launch(server).run();
        outcome.expect_failure(1, &["0.0.0.0", "loopback", "key_file"]);
        assert_eq!(outcome.out, "");
        instance.config.top = "key_file = \"offload.key\"".into();
        boot(with_key(&instance, server, &instance.config, KEY));
    }
}

#[test]
fn a_client_sends_nothing_off_loopback_without_a_key() {
    let mut instance = Instance::new();
    // RFC 5737: an address that nobody has.
    instance.config.host = "192.0.2.1".into();
    let outcome = instance.client("sum", "1\n").run();
    outcome.expect_failure(1, &["192.0.2.1", "loopback", "key_file"]);
}

#[test]
fn a_key_file_that_is_none_is_named_with_what_it_must_hold() {
    for key in ["", "00112233", "not a key", &KEY.replace('0', "g"), &KEY.repeat(2)] {
        let instance = keyed();
        for program in ["aws", "serverA"] {
            let launch = with_key(&instance, program, &instance.config, key);
            launch.run().expect_failure(1, &["offload.key", "64 hexadecimal"]);
        }
    }
}

#[test]
fn a_key_file_that_others_may_read_is_refused_with_the_command_that_helps() {
    let instance = keyed();
    let outcome = instance.launch("aws").file("offload.key", KEY).run();
    outcome.expect_failure(1, &["offload.key", "chmod 600"]);
}
