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
    const COUNT: u32 = 1000;
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
        assert!((150..250).contains(&lost), "{lost} of {COUNT} at 20 %");
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

/// As AWS and the backends send: 40 datagrams of 1,472 bytes in one system call.
#[test]
fn bundles_pass_whole() {
    use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};
    let instance = Instance::new();
    let (aws, backend) = (socket(instance.ports.udp), socket(instance.ports.backends[0]));
    let _relay = instance.relay(0, 0.0, 1);
    let state = UdpSocketState::new(UdpSockRef::from(&aws)).unwrap();
    let contents: Vec<u8> = (0..40u8).flat_map(|i| [i; 1472]).chain([40; 100]).collect();
    for bundle in contents.chunks(state.max_gso_segments().min(41) * 1472) {
        let destination = Instance::address(instance.ports.spare[0]);
        let segment_size = Some(1472);
        let transmit = Transmit { destination, ecn: None, contents: bundle, segment_size, src_ip: None };
        state.try_send(UdpSockRef::from(&aws), &transmit).unwrap();
    }
    for i in 0..=40u8 {
        let mut bytes = [0; 2000];
        let n = backend.recv(&mut bytes).unwrap();
        assert_eq!(bytes[..n], vec![i; if i < 40 { 1472 } else { 100 }]);
    }
}
