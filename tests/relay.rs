//! The relay that the other tests and the bench lean on: what it drops, and that it drops nothing else.

mod support;

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::atomic::Ordering::SeqCst;
use support::{Instance, PATIENCE, RunningRelay, until};

fn socket(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind(Instance::address(port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sends numbered datagrams through the relay one at a time; returns the numbers that were dropped.
fn losses(
    relay: &RunningRelay,
    from: &UdpSocket,
    to: &UdpSocket,
    via: u16,
    count: u32,
) -> BTreeSet<u32> {
    let mut lost = BTreeSet::new();
    to.set_nonblocking(true).unwrap();
    for i in 0..count {
        let before = relay.control.dropped.load(SeqCst);
        from.send_to(&i.to_le_bytes(), Instance::address(via)).unwrap();
        let mut bytes = [0; 8];
        until("the datagram's fate", || {
            if relay.control.dropped.load(SeqCst) > before {
                lost.insert(i);
                return Some(());
            }
            let (n, sender) = to.recv_from(&mut bytes).ok()?;
            assert_eq!((&bytes[..n], sender), (&i.to_le_bytes()[..], Instance::address(via)));
            Some(())
        });
    }
    lost
}

#[test]
fn the_seed_names_the_losses_of_each_direction() {
    const COUNT: u32 = 400;
    let run = |seed| {
        let instance = Instance::new();
        let (aws, backend) = (socket(instance.ports.udp), socket(instance.ports.backends[0]));
        let relay = instance.relay(0, 20.0, seed);
        let via = instance.ports.spare[0];
        let there = losses(&relay, &aws, &backend, via, COUNT);
        let back = losses(&relay, &backend, &aws, via, COUNT);
        (there, back)
    };
    let first = run(7);
    assert_eq!(first, run(7));
    assert_ne!(first.0, first.1);
    assert_ne!(first, run(8));
    for lost in [first.0.len(), first.1.len()] {
        assert!((50..110).contains(&lost), "{lost} of {COUNT} at 20 %");
    }
}

#[test]
fn a_cut_stops_both_directions_until_it_is_mended() {
    let instance = Instance::new();
    let (aws, backend) = (socket(instance.ports.udp), socket(instance.ports.backends[0]));
    let relay = instance.relay(0, 0.0, 1);
    let via = instance.ports.spare[0];
    relay.cut_after(40);
    let lost = losses(&relay, &aws, &backend, via, 20);
    assert_eq!(lost, (10..20).collect());
    assert_eq!(losses(&relay, &backend, &aws, via, 3), (0..3).collect());
    relay.mend();
    assert!(losses(&relay, &backend, &aws, via, 3).is_empty());
    assert!(losses(&relay, &aws, &backend, via, 3).is_empty());
}

/// As AWS and the backends send: many datagrams of 1,472 bytes in one system call. What is not dropped
/// arrives whole and in order, and no more is dropped than is said.
#[test]
fn bundles_lose_what_is_asked_and_no_more() {
    use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};
    const BUNDLES: usize = 200;
    const SIZE: usize = 1472;
    for loss in [0.0, 5.0] {
        let instance = Instance::new();
        let (aws, backend) = (socket(instance.ports.udp), socket(instance.ports.backends[0]));
        let relay = instance.relay(0, loss, 1);
        let state = UdpSocketState::new(UdpSockRef::from(&aws)).unwrap();
        let size = state.max_gso_segments().min(40);
        let (mut sent, mut received, mut last) = (0, 0, None);
        for bundle in 0..BUNDLES {
            let mut contents = vec![0; size * SIZE];
            for (i, datagram) in contents.chunks_mut(SIZE).enumerate() {
                datagram[..8].copy_from_slice(&((bundle * size + i) as u64).to_le_bytes());
            }
            let transmit = Transmit {
                destination: Instance::address(instance.ports.spare[0]),
                ecn: None,
                contents: &contents,
                segment_size: Some(SIZE),
                src_ip: None,
            };
            state.try_send(UdpSockRef::from(&aws), &transmit).unwrap();
            sent += size as u64;
            backend.set_nonblocking(true).unwrap();
            until("the bundle's fate", || {
                let mut bytes = [0; 2000];
                while let Ok(n) = backend.recv(&mut bytes) {
                    assert_eq!(n, SIZE);
                    let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
                    assert!(last < Some(number), "{number} after {last:?}");
                    last = Some(number);
                    received += 1;
                }
                (received + relay.control.dropped.load(SeqCst) == sent).then_some(())
            });
        }
        let share = (sent - received) as f64 / sent as f64 * 100.0;
        assert!((share - loss).abs() <= loss / 5.0, "{share} % of {sent} lost, not {loss} %");
    }
}
