//! A UDP relay that drops a given share of the datagrams, for the bench and for trying things out:
//!
//! `cargo run --release --example relay -- --listen ADDR --forward ADDR [--loss PERCENT] [--seed N]`
//!
//! `--forward` is the backend. Tell AWS that the backend is at `--listen`, and tell the backend that AWS
//! is (`[aws]` in its own `offload.toml`). It prints one line when it is ready and runs until Ctrl-C.

// The tests run the same relay; some of what they ask of it has no use here.
#[path = "../tests/support/relay.rs"]
mod relay;

use relay::{Control, Relay};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;

const USAGE: &str = "usage: relay --listen ADDR --forward ADDR [--loss PERCENT] [--seed N]";

struct Arguments {
    listen: SocketAddr,
    forward: SocketAddr,
    loss: f64,
    seed: u64,
}

fn arguments(args: &[String]) -> Option<Arguments> {
    let (mut listen, mut forward, mut loss, mut seed) = (None, None, 0.0, 1);
    for pair in args.chunks(2) {
        let [name, value] = pair else { return None };
        let address = || value.to_socket_addrs().ok()?.find(SocketAddr::is_ipv4);
        match name.as_str() {
            "--listen" => listen = Some(address()?),
            "--forward" => forward = Some(address()?),
            "--loss" => loss = value.parse().ok().filter(|loss| (0.0..=100.0).contains(loss))?,
            "--seed" => seed = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(Arguments { listen: listen?, forward: forward?, loss, seed })
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(Arguments { listen, forward, loss, seed }) = arguments(&args) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let run = || {
        let mut relay = Relay::bind(listen, forward, loss, seed)?;
        println!("relay: {} -> {forward}, {loss} % lost, seed {seed}", relay.address()?);
        relay.run(&Control::default())
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("relay: {listen} -> {forward}: {e}");
            ExitCode::FAILURE
        }
    }
}
