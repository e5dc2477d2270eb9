//! Ports that no other test uses, whichever process it runs in.
//!
//! The kernel is the lock: whoever has bound the first port of a block owns the block until it dies.
//! Everything lies below 32768, where the kernel would hand ports to strangers.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 10_000;
const BLOCK: u16 = 16;
const BLOCKS: u16 = 600; // up to 19600, below the course's own 21000 to 25999

/// The ports of one instance, all of them free when it was made.
pub struct Ports {
    pub backends: [u16; 3],
    pub udp: u16,
    pub tcp: u16,
    /// For relays and fakes.
    pub spare: [u16; 4],
    /// The last three digits of the ID, where the ports are the course's.
    pub id: Option<u16>,
    _claim: TcpListener,
}

/// Each caller begins its search elsewhere, so that tests which start together do not race for a block.
fn next() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let mine = NEXT.fetch_add(1, Ordering::SeqCst);
    let process = std::process::id().wrapping_mul(2_654_435_761) >> 16;
    mine.wrapping_mul(7).wrapping_add(process as u16)
}

fn free(udp: &[u16], tcp: &[u16]) -> bool {
    udp.iter().all(|&port| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok())
        && tcp.iter().all(|&port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok())
}

impl Ports {
    /// Any ports.
    pub fn any() -> Ports {
        let start = next();
        let found = (0..BLOCKS).find_map(|i| {
            let base = FIRST + BLOCK * (start.wrapping_add(i) % BLOCKS);
            let claim = TcpListener::bind((Ipv4Addr::LOCALHOST, base)).ok()?;
            let [a, b, c, udp, s, t, u, v, tcp] = std::array::from_fn(|i| base + 1 + i as u16);
            free(&[a, b, c, udp, s, t, u, v], &[tcp]).then_some(Ports {
                backends: [a, b, c],
                udp,
                tcp,
                spare: [s, t, u, v],
                id: None,
                _claim: claim,
            })
        });
        found.expect("a block of free ports")
    }

    /// The course's ports for ID 319, or for another ID where somebody has one of these.
    pub fn of_an_id() -> Ports {
        let others = (0..1000).map(|i| next().wrapping_add(i) % 1000);
        let found = std::iter::once(319).chain(others).find_map(|id| {
            let claim = TcpListener::bind((Ipv4Addr::LOCALHOST, 26_000 + id)).ok()?;
            let [a, b, c, udp, tcp] = [21_000, 22_000, 23_000, 24_000, 25_000].map(|base| base + id);
            free(&[a, b, c, udp], &[tcp]).then_some(Ports {
                backends: [a, b, c],
                udp,
                tcp,
                spare: [0; 4],
                id: Some(id),
                _claim: claim,
            })
        });
        found.expect("an ID whose ports are free")
    }
}
