//! The assignment to the letter, beyond the words on the screens: exit statuses, counts of every kind,
//! many clients, Ctrl-C and restarts, and which port everything comes from.

mod support;

use offload::wire::datagram::{self, Body};
use offload::wire::frame::Frame;
use std::collections::BTreeSet;
use std::net::UdpSocket;
use support::peer::{FakeAws, Heard, Peer};
use support::{Cluster, FUNCTIONS, Instance, PATIENCE, SERVERS, Screens, Signal, oracle, until};

/// Sockets of this host that are bound to `port`: address in the kernel's hexadecimal, and state.
fn sockets(table: &str, port: u16) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(format!("/proc/net/{table}")).unwrap();
    let local = format!(":{port:04X}");
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields[1].ends_with(&local))
        .map(|fields| (fields[1].split(':').next().unwrap().into(), fields[3].into()))
        .collect()
}

const ESTABLISHED: &str = "01";
const TIME_WAIT: &str = "06";
const LOOPBACK: &str = "0100007F";

#[test]
fn upper_case_is_as_good_as_lower_case() {
    let cluster = Cluster::new();
    for function in FUNCTIONS {
        cluster.expect_answer(&function.to_uppercase(), &[3, -5, 8, 0]);
    }
}

#[test]
fn any_count_works_and_the_servers_go_on_to_the_next_client() {
    let cluster = Cluster::new();
    let ports = &cluster.instance.ports;
    let [mut a, mut b, mut c] = ["A", "B", "C"].map(String::from);
    for (name, port) in [&mut a, &mut b, &mut c].into_iter().zip(ports.backends) {
        *name = format!("The Server {name} is up and running using UDP on port {port}.\n");
    }
    let mut aws = String::from("The AWS is up and running.\n");
    for (i, n) in [1, 2, 3, 4, 5, 100, 1, 2, 1000, 40_001, 1, 2].into_iter().enumerate() {
        let function = FUNCTIONS[i % 4];
        let numbers = oracle::random(i as u64, n);
        cluster.expect_answer(function, &numbers);
        aws += &oracle::aws_lines(function, &numbers, ports.tcp, ports.udp);
        for ((screen, name), shard) in
            [&mut a, &mut b, &mut c].into_iter().zip(["A", "B", "C"]).zip(oracle::shards(n, 3))
        {
            *screen += &oracle::backend_lines(name, function, &numbers[shard]);
        }
        // A server that still has to write its last line would write it after the next job's first.
        for (server, screen) in
            [(&cluster.a, &a), (&cluster.b, &b), (&cluster.c, &c), (&cluster.aws, &aws)]
        {
            assert_eq!(&server.out.wait_lines(screen.lines().count()), screen);
        }
    }
}

#[test]
fn full_range_numbers_are_reduced_exactly() {
    let cluster = Cluster::new();
    let extremes = [i64::MIN, i64::MIN, i64::MIN, i64::MAX, i64::MIN, i64::MIN, -1, 0];
    for function in FUNCTIONS {
        cluster.expect_answer(function, &extremes);
        cluster.expect_answer(function, &[i64::MAX; 7]);
        cluster.expect_answer(function, &[i64::MIN; 100]);
    }
}

#[test]
fn sixty_four_clients_at_once_never_mix() {
    const CLIENTS: usize = 64;
    let cluster = Cluster::new();
    let ports = &cluster.instance.ports;
    let jobs: Vec<(&str, Vec<i64>)> = (0..CLIENTS)
        .map(|i| (FUNCTIONS[i % 4], oracle::random(i as u64, 1 + 997 * (i % 16) * (i / 16 + 1))))
        .collect();
    // AWS stands still until all have connected, so that they are truly at once.
    cluster.aws.signal(Signal::STOP);
    let clients: Vec<_> = jobs
        .iter()
        .map(|(function, numbers)| cluster.instance.client(function, oracle::text(numbers)).start())
        .collect();
    until("64 connections", || {
        let open = sockets("tcp", ports.tcp).into_iter().filter(|(_, state)| state == ESTABLISHED);
        (open.count() >= CLIENTS).then_some(())
    });
    cluster.aws.signal(Signal::CONT);
    let mut aws = vec!["The AWS is up and running.\n".to_string()];
    let mut servers: [Vec<String>; 3] = Default::default();
    for ((function, numbers), client) in jobs.iter().zip(clients) {
        client.outcome().expect_answer(function, numbers);
        aws.push(oracle::aws_lines(function, numbers, ports.tcp, ports.udp));
        for ((lines, name), shard) in
            servers.iter_mut().zip(["A", "B", "C"]).zip(oracle::shards(numbers.len(), 3))
        {
            lines.push(oracle::backend_lines(name, function, &numbers[shard]));
        }
    }
    // Jobs take turns on a screen, but each line is whole and none is missing or too many.
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(String::from).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&cluster.aws.out.wait_lines(1 + 9 * CLIENTS)), sorted(&aws.concat()));
    for (server, lines) in [&cluster.a, &cluster.b, &cluster.c].into_iter().zip(servers) {
        let shown = server.out.wait_lines(1 + 3 * CLIENTS);
        let (_, shown) = shown.split_once('\n').unwrap();
        assert_eq!(sorted(shown), sorted(&lines.concat()));
    }
}

#[test]
fn nums_csv_is_taken_from_beside_the_client_and_then_from_the_current_directory() {
    let cluster = Cluster::new();
    let elsewhere = cluster.instance.path("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("nums.csv"), "7\n8\n9\n").unwrap();

    let beside = cluster.instance.client("sum", "1\n2\n3\n").current_dir(&elsewhere);
    beside.run().expect_answer("sum", &[1, 2, 3]);
    let nowhere_beside = cluster.instance.launch("client").args(&["sum"]).current_dir(&elsewhere);
    nowhere_beside.run().expect_answer("sum", &[7, 8, 9]);
}

#[test]
fn aws_sends_from_its_own_udp_port() {
    let instance = Instance::new();
    let backends = instance.ports.backends.map(|port| UdpSocket::bind(Instance::address(port)).unwrap());
    let _aws = instance.up("aws");
    let mut client = Peer::connect(instance.ports.tcp);
    client.hello("SUM", 7);
    for (i, backend) in backends.iter().enumerate() {
        backend.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = [0; 2048];
        let (n, from) = backend.recv_from(&mut bytes).unwrap();
        assert_eq!(from, Instance::address(instance.ports.udp));
        let (_, body) = datagram::decode(&bytes[..n]).unwrap();
        let Body::Open { shard, count, function, .. } = body else { panic!("{body:?}") };
        assert_eq!((shard, count, function.as_str()), (i as u32, [3, 2, 2][i], "SUM"));
    }
}

#[test]
fn the_clients_port_is_the_systems_choice_and_is_in_its_log() {
    let instance = Instance::new();
    let aws = FakeAws::bind(instance.ports.tcp);
    let mut seen = BTreeSet::new();
    for round in 0..3 {
        let log = instance.path(&format!("client-{round}.log"));
        let client = instance.client("sum", "1\n").env("OFFLOAD_LOG", log.to_str().unwrap()).start();
        let mut peer = aws.accept();
        let port = peer.stream.peer_addr().unwrap().port();
        assert_eq!(peer.hear(), Heard::Frame(Frame::Hello { function: "SUM".into(), count: 1 }));
        peer.send(&Frame::Error { reason: "this AWS is a test".into() });
        client.outcome().expect_failure(1, &["this AWS is a test"]);
        let log = std::fs::read_to_string(log).unwrap();
        let records: Vec<serde_json::Value> =
            log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let connected = records.iter().find(|r| r["event"] == "connected").unwrap();
        assert_eq!(connected["local"], format!("127.0.0.1:{port}"));
        seen.insert(port);
    }
    assert!(seen.len() > 1, "always the same port: {seen:?}");
}

#[test]
fn every_process_logs_json_lines_where_asked() {
    let instance = Instance::new();
    let log = |name: &str| instance.path(&format!("{name}.log"));
    let with_log =
        |launch: support::Launch, name| launch.env("OFFLOAD_LOG", log(name).to_str().unwrap());
    let servers = SERVERS.map(|server| support::boot(with_log(instance.launch(server), server)));
    let numbers = oracle::random(1, 1000);
    let client = instance.client("sos", oracle::text(&numbers));
    with_log(client, "client").run().expect_answer("sos", &numbers);
    for server in servers {
        server.interrupt();
    }
    for (name, event) in [
        ("client", "numbers_sent"),
        ("aws", "shard_delivered"),
        ("serverA", "shard_received"),
        ("serverC", "shard_received"),
    ] {
        let text = std::fs::read_to_string(log(name)).unwrap();
        let found = text.lines().any(|line| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            record["event"] == event
        });
        assert!(found, "{name} logged no {event}: {text}");
    }
}

#[test]
fn a_progress_bar_is_shown_where_asked_on_a_terminal_only() {
    let cluster = Cluster::new();
    let numbers = oracle::random(3, 500_000);
    let job = || {
        let text = oracle::text(&numbers);
        cluster.instance.client("sum", text).env("OFFLOAD_PROGRESS", "1")
    };
    let piped = job().run();
    piped.expect_answer("sum", &numbers);
    assert_eq!(piped.err, "");
    let mut client = job().screens(Screens::Terminal).start();
    client.wait_within(std::time::Duration::from_secs(20));
    let shown = client.out.text();
    assert!(shown.contains("/500,000 numbers"), "{shown:?}");
    assert!(shown.contains("The client has received reduction SUM: "), "{shown:?}");
}

#[test]
fn everything_is_bound_to_loopback_alone() {
    let cluster = Cluster::new();
    let ports = &cluster.instance.ports;
    let udp = ports.backends.into_iter().chain([ports.udp]).map(|port| ("udp", port));
    for (table, port) in udp.chain([("tcp", ports.tcp)]) {
        let bound = sockets(table, port);
        assert_eq!(bound.len(), 1, "{table} {port}: {bound:?}");
        assert_eq!(bound[0].0, LOOPBACK);
        assert_eq!(sockets(&format!("{table}6"), port), []);
    }
}

#[test]
fn one_backend_is_enough_and_four_are_fine() {
    for k in [1, 4] {
        let mut instance = Instance::new();
        let ports = [&instance.ports.backends[..], &instance.ports.spare[..]].concat();
        instance.config.backends = ["A", "B", "C", "D"][..k]
            .iter()
            .zip(&ports)
            .map(|(name, &port)| (name.to_string(), "localhost".into(), port))
            .collect();
        let _servers: Vec<_> = (0..k)
            .map(|i| match i {
                // There is no fifth program: any server's serves as another where it is told so.
                3 => support::boot(instance.launch("serverA").env("OFFLOAD_BACKEND", "D")),
                _ => instance.up(SERVERS[i]),
            })
            .collect();
        let aws = instance.up("aws");
        let numbers = oracle::random(k as u64, 30);
        instance.client("sum", oracle::text(&numbers)).run().expect_answer("sum", &numbers);
        let screen = aws.out.wait_for("finished sending");
        assert_eq!(screen.matches("to Backend-Server").count(), k);
    }
}

#[test]
fn no_process_holds_the_input() {
    const MOST: u64 = 64 << 20;
    // As 64-bit numbers this is over the bound, as rows it is small.
    let numbers = vec![7; 9_000_000];
    let text = "7\n".repeat(numbers.len());
    let cluster = Cluster::new();
    cluster.instance.client("sum", &text).run().expect_answer("sum", &numbers);
    for server in [&cluster.a, &cluster.b, &cluster.c, &cluster.aws] {
        assert!(server.peak_memory() < MOST, "{}", server.peak_memory());
    }
    // The client is looked at before its answer, while it is alive and has sent all.
    drop(cluster);
    let instance = Instance::new();
    let aws = FakeAws::bind(instance.ports.tcp);
    let client = instance.client("sum", &text).start();
    let mut peer = aws.accept();
    peer.hear();
    peer.send(&Frame::Send { first: 0, end: numbers.len() as u64 });
    let mut heard = 0;
    while heard < numbers.len() {
        let Heard::Data { first, numbers } = peer.hear() else { panic!("no numbers") };
        assert_eq!(first, heard as u64);
        heard += numbers.len();
    }
    assert!(client.peak_memory() < MOST, "{}", client.peak_memory());
    peer.send(&Frame::Result { value: oracle::answer("sum", &numbers) });
    client.outcome().expect_answer("sum", &numbers);
}

#[test]
fn ctrl_c_ends_each_server_and_a_restart_right_after_works() {
    let mut cluster = Cluster::new();
    for round in 0..4 {
        cluster.expect_answer("max", &[1, 2, round]);
        // AWS ends first while a client is connected: the kernel keeps the port in TIME_WAIT.
        let idle = Peer::connect(cluster.instance.ports.tcp);
        let mut opened = Peer::connect(cluster.instance.ports.tcp);
        opened.hello("SUM", 3);
        opened.hear_send();
        let Cluster { a, b, c, aws, instance } = cluster;
        for server in [a, b, c, aws] {
            let ended = server.interrupt();
            assert_eq!((ended.code, ended.err.as_str()), (Some(130), ""), "{}", ended.out);
        }
        drop((idle, opened));
        let states = sockets("tcp", instance.ports.tcp);
        assert!(states.iter().any(|(_, state)| state == TIME_WAIT), "{states:?}");
        cluster = instance.cluster();
    }
    cluster.expect_answer("min", &[5, 4, 3]);
}

#[test]
fn ctrl_c_typed_at_the_terminal_ends_each_process() {
    let instance = Instance::new();
    let servers = SERVERS.map(|name| support::boot(instance.launch(name).screens(Screens::Terminal)));
    for mut server in servers {
        server.type_in(b"\x03");
        assert_eq!(server.outcome().code, Some(130));
    }
    let aws = FakeAws::bind(instance.ports.tcp);
    let mut client = instance.client("sum", "1\n").screens(Screens::Terminal).start();
    let mut peer = aws.accept();
    assert_eq!(peer.hear(), Heard::Frame(Frame::Hello { function: "SUM".into(), count: 1 }));
    client.type_in(b"\x03");
    let ended = client.outcome();
    assert_eq!(ended.code, Some(130));
    assert!(!ended.out.contains("has received"));
    peer.drain();
}

#[test]
fn ctrl_c_in_mid_job_ends_each_process_at_once() {
    for name in ["client", "serverB", "aws"] {
        let instance = Instance::new();
        let relay = instance.relay(1, 0.0, 1);
        relay.cut_after(100_000);
        let _others = [instance.up("serverA"), instance.up("serverC")];
        let b = support::boot(instance.launch_with("serverB", &relay.for_backend));
        let aws = support::boot(instance.launch_with("aws", &relay.for_aws));
        let client = instance.client("sum", oracle::text(&oracle::random(1, 300_000))).start();
        relay.wait_cut();
        let ended = match name {
            "client" => client.interrupt(),
            "serverB" => b.interrupt(),
            _ => aws.interrupt(),
        };
        assert_eq!(ended.code, Some(130), "{name}: {}", ended.err);
    }
}
