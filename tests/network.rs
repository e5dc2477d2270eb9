//! Off loopback: five processes on five addresses of a network namespace of their own, with a key.
//!
//! The addresses are no loopback addresses, so everything behaves as between hosts: 1,472-byte
//! datagrams in one call (GSO), congestion control, sealed traffic, paths that carry less. A namespace needs root, or a
//! system that lets users have namespaces of their own (Debian and Ubuntu do, the latter unless
//! AppArmor forbids it).

mod support;

use std::process::Command;
use support::{Instance, SERVERS, boot, oracle};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";
const INSIDE: &str = "OFFLOAD_TEST_INSIDE_NAMESPACE";

/// Runs this test once more, inside a network namespace with the addresses 10.77.0.1 to 10.77.0.5 and
/// fd77::1 to fd77::5, over a path that carries packets of `mtu` bytes. True inside it.
fn in_namespace(test: &str, mtu: u32) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let script = format!(
        "ip link set lo up mtu {mtu} && for i in 1 2 3 4 5; do ip address add 10.77.0.$i/24 dev lo && \
         ip address add fd77::$i/64 dev lo nodad || exit 1; done && exec \"$@\""
    );
    let myself = std::env::current_exe().unwrap();
    let ran = Command::new("unshare")
        .args(["--map-root-user", "--net", "sh", "-c", &script, "sh"])
        .arg(myself)
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
    false
}

/// Five processes on five addresses of a network, `prefix` and then 2 to 5, with a key.
fn instance(prefix: &str) -> Instance {
    let mut instance = Instance::new();
    instance.config.top = "key_file = \"offload.key\"".into();
    instance.config.host = format!("{prefix}2");
    for (i, backend) in instance.config.backends.iter_mut().enumerate() {
        backend.1 = format!("{prefix}{}", i + 3);
    }
    instance
}

#[test]
fn ipv6_gives_the_exact_answer() {
    if !in_namespace("ipv6_gives_the_exact_answer", 1500) {
        return;
    }
    let instance = instance("fd77::");
    let launch = |name| instance.launch(name).secret("offload.key", KEY);
    let _servers = SERVERS.map(|name| boot(launch(name)));
    let numbers = oracle::random(8, 50_000);
    let client = launch("client").args(&["sos"]).file("nums.csv", oracle::text(&numbers));
    client.run().expect_answer("sos", &numbers);
}

#[test]
fn a_path_that_carries_less_is_an_error_that_helps() {
    if !in_namespace("a_path_that_carries_less_is_an_error_that_helps", 1400) {
        return;
    }
    let mut instance = instance("10.77.0.");
    instance.config.deadlines = "restart_wait_s = 1".into();
    let launch = |name: &str| instance.launch(name).secret("offload.key", KEY);
    let servers = SERVERS.map(|name| boot(launch(name)));
    let numbers = oracle::random(9, 50_000);
    let ask = || launch("client").args(&["sum"]).file("nums.csv", oracle::text(&numbers)).run();
    ask().expect_failure(1, &["Backend-Server ", "1472", "`datagram_bytes`"]);
    drop(servers);
    instance.config.top += "\ndatagram_bytes = 1368";
    let launch = |name: &str| instance.launch(name).secret("offload.key", KEY);
    let _servers = SERVERS.map(|name| boot(launch(name)));
    launch("client")
        .args(&["sum"])
        .file("nums.csv", oracle::text(&numbers))
        .run()
        .expect_answer("sum", &numbers);
}

#[test]
fn five_addresses_and_a_key_give_the_exact_answer() {
    if !in_namespace("five_addresses_and_a_key_give_the_exact_answer", 1500) {
        return;
    }
    let instance = instance("10.77.0.");
    let launch = |name| instance.launch(name).secret("offload.key", KEY);
    let log = instance.path("log");
    let servers = SERVERS.map(|name| boot(launch(name).env("OFFLOAD_LOG", log.to_str().unwrap())));
    let numbers = oracle::random(7, 400_000);
    for function in ["sum", "sos"] {
        let client = launch("client").args(&[function]).file("nums.csv", oracle::text(&numbers));
        client.run().expect_answer(function, &numbers);
    }
    for server in servers {
        assert_eq!(server.interrupt().err, "");
    }
    // Every datagram fits the path, and calls carry many of them: none was too large to go.
    let log = std::fs::read_to_string(log).unwrap();
    let delivered: Vec<&str> = log.lines().filter(|l| l.contains("\"shard_delivered\"")).collect();
    assert_eq!(delivered.len(), 6);
    for line in delivered {
        let field = |name: &str| -> f64 {
            let at = line.find(name).unwrap() + name.len();
            line[at..].split([',', '}']).next().unwrap().parse().unwrap()
        };
        let (datagrams, bytes) = (field("\"datagrams\":"), field("\"bytes\":"));
        assert!(bytes / datagrams <= 1472.0 - 48.0, "{line}");
        assert!(field("\"retransmissions\":") < datagrams / 4.0, "{line}");
    }
}
