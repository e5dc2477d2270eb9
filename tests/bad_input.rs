//! Bad input of every kind: an error that helps, the exit status, and never a wrong answer.

mod support;

use offload::wire::frame::Frame;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use support::peer::{FakeAws, Heard, Peer};
use support::process::closed_pipe;
use support::{Cluster, Instance, Launch, Outcome, Process, SERVERS, Screens, oracle};

/// Runs a client that must fail before it looks for AWS.
fn alone(prepare: impl FnOnce(&Instance) -> Launch) -> Outcome {
    let instance = Instance::new();
    let aws = FakeAws::bind(instance.ports.tcp);
    let outcome = prepare(&instance).run();
    aws.expect_nobody();
    outcome
}

#[test]
fn wrong_arguments_show_the_usage_and_never_contact_aws() {
    for args in [&[][..], &["sum", "max"], &["foo"], &[""], &["--sum"], &["sum "]] {
        let outcome = alone(|i| i.launch("client").args(args).file("nums.csv", "1\n"));
        outcome.expect_failure(2, &["usage", "min", "max", "sum", "sos"]);
        assert_eq!(outcome.out, "", "{args:?}");
    }
}

#[test]
fn a_missing_file_names_both_places() {
    let elsewhere = tempfile::tempdir().unwrap();
    let mut beside = String::new();
    let outcome = alone(|instance| {
        let launch = instance.launch("client").args(&["sum"]).current_dir(elsewhere.path());
        beside = launch.dir().join("nums.csv").display().to_string();
        launch
    });
    let here = elsewhere.path().join("nums.csv").display().to_string();
    outcome.expect_failure(1, &["nums.csv", &beside]);
    assert!(
        outcome.err.contains(&here) || outcome.err.contains("current directory"),
        "the second place is not named: {}",
        outcome.err
    );
}

#[test]
fn a_directory_and_a_file_without_numbers_are_named_as_such() {
    let outcome = alone(|instance| {
        let launch = instance.launch("client").args(&["sum"]);
        fs::create_dir(launch.dir().join("nums.csv")).unwrap();
        launch
    });
    outcome.expect_failure(1, &["nums.csv", "directory"]);
    for nothing in ["", "\n", "\n\n\n", "\u{feff}"] {
        alone(|i| i.client("sum", nothing)).expect_failure(1, &["nums.csv", "no numbers"]);
    }
}

#[test]
fn an_unreadable_file_says_so() {
    let instance = Instance::new();
    let aws = FakeAws::bind(instance.ports.tcp);
    let launch = instance.client("sum", "1\n");
    let file = launch.dir().join("nums.csv");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    let outcome = if File::open(&file).is_err() {
        launch.run()
    } else {
        // Root reads everything: let nobody run it, from a place where nobody may look.
        let open = tempfile::tempdir().unwrap();
        let place = open.path();
        fs::set_permissions(place, fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["client", "offload.toml", "nums.csv"] {
            fs::copy(launch.dir().join(name), place.join(name)).unwrap();
        }
        Launch::new(place.into(), "client").args(&["sum"]).user(65_534).run()
    };
    outcome.expect_failure(1, &["nums.csv", "ermission denied"]);
    aws.expect_nobody();
}

/// Rows that are wrong, the line that is to be named, and what is to be said of it.
const WRONG: &[(&[u8], u32, &str)] = &[
    (b"1\n12a\n3\n", 2, "\"12a\" is not an integer"),
    (b"1.5\n2\n", 1, "\"1.5\" is not an integer"),
    (b"1\n2\n1e3\n", 3, "\"1e3\" is not an integer"),
    (b"1\n\n3\n", 2, ""),
    (b"1\n2,3\n4\n", 2, ""),
    (b"value\n1\n2\n", 1, "\"value\" is not an integer"),
    (b"1\n2\x003\n4\n", 2, ""),
    (b"1\n\xff\xfe\n4\n", 2, ""),
    (b"1\n-\n", 2, ""),
    (b"1\n+-5\n", 2, ""),
    (b"1\n--5\n", 2, ""),
    (b"1\n5 5\n", 2, ""),
    (b"1\n\"5\n", 2, ""),
    (b"1\n0x10\n", 2, ""),
    (b"1\n9223372036854775808\n", 2, "range"),
    (b"-9223372036854775809\n1\n", 1, "range"),
    (b"1\n2\n99999999999999999999999999999999999999999\n", 3, "range"),
];

#[test]
fn a_wrong_row_is_named_with_its_line_and_aws_goes_on() {
    let cluster = Cluster::new();
    for (content, line, clue) in WRONG {
        let outcome = cluster.instance.client("sum", content).run();
        outcome.expect_failure(1, &[&format!("nums.csv:{line}: "), clue]);
        if *clue == "range" {
            assert!(outcome.err.contains("64-bit"), "{}", outcome.err);
        }
    }
    // A wrong row behind many good ones is met when AWS has most of them.
    let mut late = oracle::text(&oracle::random(1, 100_000));
    late += "12a\n5\n";
    let outcome = cluster.instance.client("sum", late).run();
    outcome.expect_failure(1, &["nums.csv:100001: \"12a\" is not an integer"]);
    // A row without an end is refused before it fills the memory.
    let long = [b"1\n".as_slice(), &[b'7'; 10_000], b"\n"].concat();
    cluster.instance.client("sum", long).run().expect_failure(1, &["nums.csv:2: "]);
    cluster.expect_answer("sum", &[1, 2, 3]);
}

#[test]
fn what_people_mean_is_accepted() {
    let cluster = Cluster::new();
    for content in [
        "4\r\n5\r\n-6\r\n",
        "\u{feff}4\n5\n-6\n",
        "\u{feff}4\r\n5\r\n-6",
        " 4\n5 \n\t-6\t\n",
        "+4\n+5\n-6\n",
        "\"4\"\n\"5\"\n\"-6\"\n",
        "4\n5\n-6",
        "4\n5\n-6\n\n\n",
        "4\r\n5\r\n-6\r\n\r\n",
        "04\n0005\n-006\n",
    ] {
        for function in ["sum", "min"] {
            let outcome = cluster.instance.client(function, content).run();
            assert_eq!(outcome.code, Some(0), "{content:?}: {}", outcome.err);
            outcome.expect_answer(function, &[4, 5, -6]);
        }
    }
}

/// A client of `sum` over `numbers` that has connected to an AWS played by the test, and its file.
fn client_at_a_fake_aws(numbers: &[i64]) -> (Instance, Process, PathBuf, Peer) {
    let instance = Instance::new();
    let aws = FakeAws::bind(instance.ports.tcp);
    let launch = instance.client("sum", oracle::text(numbers));
    let path = launch.dir().join("nums.csv");
    let client = launch.start();
    (instance, client, path, aws.accept())
}

/// Plays AWS up to the moment when the client has told how many numbers there are; then `change`s the
/// file, takes what the client sends, and answers as an AWS that has noticed nothing.
fn change_before_sending(change: impl FnOnce(&mut File)) {
    let numbers = oracle::random(1, 30_000);
    let (_instance, client, path, mut peer) = client_at_a_fake_aws(&numbers);
    assert_eq!(peer.hear(), Heard::Frame(Frame::Hello { function: "SUM".into(), count: 30_000 }));
    change(&mut File::options().read(true).write(true).open(path).unwrap());
    peer.send(&Frame::Send { first: 0, end: 30_000 });
    take_all(peer, 30_000);
    client.outcome().expect_failure(1, &["nums.csv", "chang"]);
}

/// Takes DATA until `count` numbers are there or the client gives up; then answers.
fn take_all(mut peer: Peer, count: usize) {
    let mut heard = 0;
    while heard < count {
        match peer.hear() {
            Heard::Data { numbers, .. } => heard += numbers.len(),
            _ => return,
        }
    }
    // The client may have gone already, which is right.
    let mut bytes = Vec::new();
    Frame::Result { value: 1.into() }.encode(&mut bytes);
    let _ = peer.stream.write_all(&bytes);
    peer.drain();
}

#[test]
fn a_file_that_changes_before_it_is_sent_is_an_error() {
    change_before_sending(|file| file.set_len(1000).unwrap());
    change_before_sending(|file| file.set_len(0).unwrap());
    change_before_sending(|file| {
        file.seek(SeekFrom::End(0)).unwrap();
        file.write_all(b"5\n").unwrap();
    });
    // The same size, the same number of rows: only the numbers differ.
    change_before_sending(|file| file.write_all(b"0").unwrap());
    change_before_sending(|file| {
        file.seek(SeekFrom::End(-3)).unwrap();
        file.write_all(b"0").unwrap();
    });
}

#[test]
fn a_file_that_changes_while_it_is_sent_is_an_error() {
    // More than sockets hold: the client waits in the middle of the file until we read on.
    let numbers = oracle::random(1, 3_000_000);
    let (_instance, client, path, mut peer) = client_at_a_fake_aws(&numbers);
    peer.hear();
    peer.send(&Frame::Send { first: 0, end: 3_000_000 });
    let Heard::Data { first: 0, numbers: heard } = peer.hear() else { panic!("no numbers") };
    let mut file = File::options().write(true).open(path).unwrap();
    file.write_all(b"0").unwrap();
    drop(file);
    take_all(peer, numbers.len() - heard.len());
    client.outcome().expect_failure(1, &["nums.csv", "chang"]);
}

#[test]
fn a_file_that_changes_before_a_part_is_asked_again_is_an_error() {
    let instance = Instance::new();
    let aws = FakeAws::bind(instance.ports.tcp);
    let launch = instance.client("sum", "1\n2\n3\n4\n");
    let path = launch.dir().join("nums.csv");
    let client = launch.start();
    let mut peer = aws.accept();
    peer.hear();
    peer.send(&Frame::Send { first: 0, end: 4 });
    assert_eq!(peer.hear(), Heard::Data { first: 0, numbers: vec![1, 2, 3, 4] });
    fs::write(path, "1\n2\n7\n4\n").unwrap();
    peer.send(&Frame::Send { first: 2, end: 4 });
    take_all(peer, 2);
    client.outcome().expect_failure(1, &["nums.csv", "chang"]);
}

#[test]
fn no_aws_is_named_with_its_address_and_what_to_run() {
    let instance = Instance::new();
    let outcome = instance.client("sum", "1\n").run();
    outcome.expect_failure(1, &["AWS", &instance.ports.tcp.to_string(), "make aws"]);
}

#[test]
fn an_aws_that_ends_in_mid_job_is_an_error() {
    let instance = Instance::new();
    let aws = FakeAws::bind(instance.ports.tcp);
    let client = instance.client("sum", "1\n").start();
    let mut peer = aws.accept();
    peer.hear();
    drop(peer);
    client.outcome().expect_failure(1, &["AWS"]);
}

#[test]
fn a_stranger_on_awss_port_is_an_error() {
    let instance = Instance::new();
    let aws = FakeAws::bind(instance.ports.tcp);
    let client = instance.client("sum", "1\n").start();
    let mut peer = aws.accept();
    peer.hear();
    peer.stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    peer.drain();
    client.outcome().expect_failure(1, &[&instance.ports.tcp.to_string()]);
}

#[test]
fn no_backend_is_named_with_its_port_and_what_to_run() {
    let mut instance = Instance::new();
    instance.config.deadlines = "restart_wait_s = 0.5".into();
    let _others = [instance.up("serverA"), instance.up("serverC")];
    let aws = instance.up("aws");
    let port = instance.ports.backends[1].to_string();
    for _ in 0..2 {
        let outcome = instance.client("sum", "1\n2\n3\n").run();
        outcome.expect_failure(1, &["B", &port, "make serverB"]);
    }
    let _b = instance.up("serverB");
    instance.client("sum", "1\n2\n3\n").run().expect_answer("sum", &[1, 2, 3]);
    drop(aws);
}

#[test]
fn a_taken_port_is_named_with_what_to_do() {
    let instance = Instance::new();
    let ports = &instance.ports;
    let [a, b, c] = ports.backends;
    let udp = |server, port: u16| {
        let _taken = UdpSocket::bind(Instance::address(port)).unwrap();
        let outcome = instance.launch(server).run();
        outcome.expect_failure(1, &[&port.to_string(), "UDP", "in use", "offload.toml"]);
        assert_eq!(outcome.out, "");
    };
    udp("serverA", a);
    udp("serverB", b);
    udp("serverC", c);
    udp("aws", ports.udp);
    let _taken = TcpListener::bind(Instance::address(ports.tcp)).unwrap();
    let outcome = instance.launch("aws").run();
    outcome.expect_failure(1, &[&ports.tcp.to_string(), "TCP", "in use", "offload.toml"]);
    assert_eq!(outcome.out, "");
}

#[test]
fn a_second_copy_of_a_server_is_refused_and_the_first_goes_on() {
    let cluster = Cluster::new();
    for server in SERVERS {
        cluster.instance.launch(server).run().expect_failure(1, &["in use"]);
    }
    cluster.expect_answer("sum", &[1, 2, 3]);
}

fn full_disk() -> Screens {
    Screens::Stdout(Stdio::from(File::options().write(true).open("/dev/full").unwrap()))
}

#[test]
fn a_closed_screen_and_a_full_disk_end_a_process_with_the_reason() {
    let cluster = Cluster::new();
    let numbers = oracle::random(1, 30);
    let client = |screens| cluster.instance.client("sum", oracle::text(&numbers)).screens(screens).run();
    client(Screens::Stdout(closed_pipe())).expect_failure(1, &["Broken pipe"]);
    client(full_disk()).expect_failure(1, &["No space left"]);
    cluster.expect_answer("sum", &[1, 2, 3]);
    for server in SERVERS {
        let instance = Instance::new();
        let closed = instance.launch(server).screens(Screens::Stdout(closed_pipe())).run();
        closed.expect_failure(1, &["Broken pipe"]);
        let full = instance.launch(server).screens(full_disk()).run();
        full.expect_failure(1, &["No space left"]);
    }
}

#[test]
fn a_screen_that_closes_later_ends_a_server_with_the_reason() {
    for (i, name) in SERVERS.into_iter().enumerate() {
        let mut instance = Instance::new();
        instance.config.deadlines = "restart_wait_s = 0.5".into();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut servers: Vec<Option<Process>> = (0..4)
            .map(|other| {
                let launch = instance.launch(SERVERS[other]);
                Some(if other == i {
                    launch.screens(Screens::Stdout(writer.try_clone().unwrap().into())).start()
                } else {
                    support::boot(launch)
                })
            })
            .collect();
        drop(writer);
        let mut boot = Vec::new();
        while !boot.ends_with(b"\n") {
            let mut byte = [0];
            std::io::Read::read_exact(&mut reader, &mut byte).unwrap();
            boot.push(byte[0]);
        }
        drop(reader);
        // It may end before or after it has done its part of this job.
        let outcome = instance.client("sum", "1\n2\n3\n").run();
        if outcome.code == Some(0) {
            outcome.expect_answer("sum", &[1, 2, 3]);
        }
        let server = servers[i].take().unwrap().outcome();
        server.expect_failure(1, &["Broken pipe"]);
        drop(servers);
        assert!(name == "aws" || String::from_utf8(boot).unwrap().contains("The Server"));
    }
}

#[test]
fn a_wrong_configuration_is_named_with_what_is_wrong() {
    let instance = Instance::new();
    for (text, clues) in [
        ("id = 1000\n", &["offload.toml", "id"][..]),
        ("id = \"319\"\n", &["offload.toml", "id"]),
        ("colour = 1\n", &["offload.toml", "colour"]),
        ("id = \n", &["offload.toml"]),
        ("transcript = \"songs\"\n", &["offload.toml:1", "songs", "example"]),
        ("key_file = \"none.key\"\n", &["none.key"]),
        ("[aws]\nhost = \"no.such.host.invalid\"\n", &["no.such.host.invalid"]),
    ] {
        let mut config = instance.config.clone();
        config.whole = Some(text.into());
        for program in ["client", "aws", "serverA"] {
            let launch = instance.launch_with(program, &config);
            let launch = match program {
                "client" => launch.args(&["sum"]).file("nums.csv", "1\n"),
                _ => launch,
            };
            launch.run().expect_failure(1, clues);
        }
    }
}

#[test]
fn a_backend_that_is_nobody_is_refused() {
    let instance = Instance::new();
    let outcome = instance.launch("serverA").env("OFFLOAD_BACKEND", "Z").run();
    outcome.expect_failure(1, &["Z", "A, B, C"]);
}
