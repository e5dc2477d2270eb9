//! Which ports are bound in this network namespace, from `/proc/net`.

use crate::model::Bound;

/// UDP sockets with a port, and TCP sockets that listen; sorted, each once.
pub fn bound() -> Vec<Bound> {
    let mut all = Vec::new();
    for (file, tcp) in [("udp", false), ("udp6", false), ("tcp", true), ("tcp6", true)] {
        // Without IPv6 there is no file for it.
        let table = std::fs::read_to_string(format!("/proc/net/{file}")).unwrap_or_default();
        all.extend(parse(&table, tcp));
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// The kernel's table: a title, then a socket a line, addresses and states in hexadecimal.
fn parse(table: &str, tcp: bool) -> impl Iterator<Item = Bound> + '_ {
    const LISTEN: &str = "0A";
    table.lines().skip(1).filter_map(move |line| {
        let mut words = line.split_whitespace();
        let (local, state) = (words.nth(1)?, words.nth(1)?);
        let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        (port != 0 && (!tcp || state == LISTEN)).then_some(Bound { tcp, port })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_and_udp_sockets_are_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let udp = std::net::UdpSocket::bind("[::1]:0").unwrap();
        let all = bound();
        let has = |tcp, port| all.contains(&Bound { tcp, port });
        assert!(has(true, listener.local_addr().unwrap().port()));
        assert!(has(false, udp.local_addr().unwrap().port()));
        assert!(!has(true, stream.local_addr().unwrap().port()), "a connection does not listen");
    }
}
