//! The library as its own user: a slice of numbers, and a reduction of one's own, over real sockets.

use ethnum::I256;
use offload::config::Config;
use offload::event::Event;
use offload::io::{Error, run_aws, run_backend, run_client};
use offload::reduction::{Reduction, Registry};
use offload::screen::Line;
use std::net::{TcpListener, UdpSocket};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// Keeps one bit of every number; its partials do not look like sums.
struct Xor;

impl Reduction for Xor {
    fn name(&self) -> &str {
        "XOR"
    }
    fn identity(&self) -> I256 {
        I256::ZERO
    }
    fn map(&self, so_far: I256, numbers: &[i64]) -> I256 {
        numbers.iter().fold(so_far, |all, &n| all ^ I256::from(n))
    }
    fn reduce(&self, a: I256, b: I256) -> I256 {
        a ^ b
    }
}

/// The course's configuration on ports that nobody has.
fn config() -> Config {
    let mut config = Config::load(&[]).unwrap();
    // Held until all are chosen, so that no two are the same.
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp: Vec<_> = (0..4).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let port = |i: usize| udp[i].local_addr().unwrap().port();
    config.aws.tcp_port = tcp.local_addr().unwrap().port();
    config.aws.udp_port = port(3);
    config.backends.iter_mut().enumerate().for_each(|(i, backend)| backend.port = port(i));
    config
}

/// Starts AWS and its backends, and waits until each has said that it is up.
fn serve(config: &Config, known: &Registry) {
    let (up, ups) = channel();
    for name in ["A", "B", "C", "AWS"] {
        let (config, known, up) = (config.clone(), known.clone(), up.clone());
        thread::spawn(move || {
            let mut sink = |event: Event| {
                if matches!(event, Event::Screen(Line::AwsUp | Line::ServerUp { .. })) {
                    up.send(()).unwrap();
                }
                Ok(())
            };
            match name {
                "AWS" => run_aws(&config, known, &mut sink),
                name => run_backend(&config, name, known, &mut sink),
            }
        });
    }
    (0..4).for_each(|_| ups.recv_timeout(Duration::from_secs(10)).unwrap());
}

#[test]
fn a_slice_and_a_reduction_of_ones_own() {
    let config = config();
    serve(&config, &Registry::course().with(Xor));
    let numbers: Vec<i64> =
        (0..100_000).map(|n: i64| n.wrapping_mul(0x5851_f42d_4c95_7f2d) >> (n % 60)).collect();
    let numbers = &numbers[..];
    let ask = |function| run_client(&config, function, &numbers, &mut |_| Ok(())).unwrap();
    assert_eq!(ask("XOR"), Xor.map(I256::ZERO, numbers));
    assert_eq!(ask("SUM"), numbers.iter().map(|&n| I256::from(n)).sum::<I256>());
    assert_eq!(ask("SOS"), numbers.iter().map(|&n| I256::from(n) * I256::from(n)).sum::<I256>());
    let none: &[i64] = &[];
    assert_eq!(run_client(&config, "MAX", &none, &mut |_| Ok(())).unwrap(), I256::from(i64::MIN));

    match run_client(&config, "MEDIAN", &numbers, &mut |_| Ok(())) {
        Err(Error::Failed(reason)) => assert_eq!(
            reason,
            "AWS reports: the client asks for the reduction MEDIAN; known are MIN, MAX, SUM, SOS, XOR"
        ),
        other => panic!("{other:?}"),
    }
}
