//! The screens of all five processes, byte for byte: four functions over the sample `nums.csv`, in both
//! of the assignment's wordings, under terminals and under pipes.
//!
//! The golden files show ID 319. Where somebody else has one of its ports the test takes another ID and
//! expects its digits instead. Their values were computed by Python and by awk, which agree.

mod support;

use support::{FUNCTIONS, Instance, Outcome, Ports, Process, SERVERS, Screens, boot, sample};

#[derive(Clone, Copy)]
enum Wording {
    Tables,
    /// Asked for in `offload.toml`.
    ExampleByFile,
    /// Asked for in the environment, which has the last word.
    ExampleByEnvironment,
}

fn golden(function: &str, process: &str, id: u16) -> String {
    let path = format!("{}/tests/golden/{function}-{process}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let other = |text: String, base: u16| {
        text.replace(&format!("port {}", base + 319), &format!("port {}", base + id))
    };
    [21_000, 22_000, 23_000, 24_000, 25_000].into_iter().fold(text, other)
}

fn screens(terminal: bool) -> Screens {
    if terminal { Screens::Terminal } else { Screens::Pipes }
}

/// Runs one job on servers of its own and compares every byte that any process has shown.
fn check(function: &str, wording: Wording, terminal: bool) {
    let mut instance = Instance::with(Ports::of_an_id());
    let id = instance.ports.id.unwrap();
    // For 319 nothing needs to be said: it is the default.
    let mut toml = if id == 319 { String::new() } else { format!("id = {id}\n") };
    if matches!(wording, Wording::ExampleByFile) {
        toml += "transcript = \"example\"\n";
    }
    instance.config.whole = Some(toml);
    let env = match wording {
        Wording::ExampleByEnvironment => "example",
        Wording::Tables | Wording::ExampleByFile => "",
    };
    let launch = |program| {
        let launch = instance.launch(program).screens(screens(terminal));
        if env.is_empty() { launch } else { launch.env("OFFLOAD_TRANSCRIPT", env) }
    };
    let servers: Vec<Process> = SERVERS.map(|server| boot(launch(server))).into();
    let client = launch("client").args(&[function]).file("nums.csv", sample()).run();
    assert_eq!(client.out, golden(function, "client", id));
    assert_eq!((client.code, client.err.as_str()), (Some(0), ""));
    for (name, server) in SERVERS.into_iter().zip(servers) {
        let file = match (name, wording) {
            ("aws", Wording::ExampleByFile | Wording::ExampleByEnvironment) => "aws-example",
            _ => name,
        };
        let expected = golden(function, file, id);
        server.out.wait_lines(expected.lines().count());
        // Only the end shows that nothing more was shown.
        let Outcome { code, out, err } = server.interrupt();
        assert_eq!(out, expected);
        assert_eq!((code, err.as_str()), (Some(130), ""), "{name}");
    }
}

#[test]
fn tables_under_pipes() {
    for function in FUNCTIONS {
        check(function, Wording::Tables, false);
    }
}

#[test]
fn tables_under_terminals() {
    for function in FUNCTIONS {
        check(function, Wording::Tables, true);
    }
}

#[test]
fn example_by_file_under_terminals() {
    for function in FUNCTIONS {
        check(function, Wording::ExampleByFile, true);
    }
}

#[test]
fn example_by_environment_under_pipes() {
    for function in FUNCTIONS {
        check(function, Wording::ExampleByEnvironment, false);
    }
}
