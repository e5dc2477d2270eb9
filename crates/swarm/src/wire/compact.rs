//! Addresses as few bytes: IPv4 in 6 (BEP 23), IPv6 in 18 (BEP 7), in two strings, for each is of one size.
//! Trackers and peer exchange both carry them so. Left out: which of them are worth a connection, but for
//! those that are nobody's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The IPv4 addresses, then the IPv6 addresses.
pub(crate) fn encode(addresses: impl IntoIterator<Item = SocketAddr>) -> (Vec<u8>, Vec<u8>) {
    let (mut four, mut six) = (Vec::new(), Vec::new());
    for address in addresses {
        let out = match address.ip() {
            IpAddr::V4(ip) => {
                four.extend_from_slice(&ip.octets());
                &mut four
            }
            IpAddr::V6(ip) => {
                six.extend_from_slice(&ip.octets());
                &mut six
            }
        };
        out.extend_from_slice(&address.port().to_be_bytes());
    }
    (four, six)
}

/// IPv4 addresses, those of nobody left out. `None` where the bytes do not come out even.
pub(crate) fn decode4(bytes: &[u8]) -> Option<impl Iterator<Item = SocketAddr> + '_> {
    let (contacts, rest) = bytes.as_chunks();
    let read = |&[a, b, c, d, port @ ..]: &[u8; 6]| {
        SocketAddr::from((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes(port)))
    };
    rest.is_empty().then(|| contacts.iter().map(read).filter(|address| is_somebodys(*address)))
}

/// IPv6 addresses, those of nobody left out. `None` where the bytes do not come out even.
pub(crate) fn decode6(bytes: &[u8]) -> Option<impl Iterator<Item = SocketAddr> + '_> {
    let (contacts, rest) = bytes.as_chunks();
    let read = |contact: &[u8; 18]| {
        let ip: [u8; 16] = std::array::from_fn(|i| contact[i]);
        SocketAddr::from((Ipv6Addr::from(ip), u16::from_be_bytes([contact[16], contact[17]])))
    };
    rest.is_empty().then(|| contacts.iter().map(read).filter(|address| is_somebodys(*address)))
}

/// Could one host be listening there?
pub(crate) fn is_somebodys(address: SocketAddr) -> bool {
    let ip = address.ip();
    address.port() != 0
        && !ip.is_unspecified()
        && !ip.is_multicast()
        && ip != IpAddr::V4(Ipv4Addr::BROADCAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_bytes_in_network_order() {
        let addresses = ["10.0.0.1:6881".parse().unwrap(), "[2001:db8::1]:258".parse().unwrap()];
        let (four, six) = encode(addresses);
        assert_eq!(four, [10, 0, 0, 1, 0x1a, 0xe1]);
        assert_eq!(six, [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2]);
        let back: Vec<_> = decode4(&four).unwrap().chain(decode6(&six).unwrap()).collect();
        assert_eq!(back, addresses);
        assert!(decode4(&four[1..]).is_none() && decode6(&six[1..]).is_none());
    }

    #[test]
    fn addresses_of_nobody_are_left_out() {
        let nobodys =
            ["0.0.0.0:1", "1.2.3.4:0", "224.0.0.1:1", "255.255.255.255:1", "[::]:1", "[ff02::1]:1"];
        let (four, six) = encode(nobodys.map(|address| address.parse().unwrap()));
        assert_eq!(decode4(&four).unwrap().count() + decode6(&six).unwrap().count(), 0);
    }
}
