//! From names to addresses, and the rules that only addresses can break.
//!
//! `localhost` is a name like any other: the system resolves it. What is left out: trying a name's
//! second address when the first does not answer. AWS and the backends have one UDP address each, which
//! is how they know each other.

use super::{Config, Error};
use crate::limits;
use std::net::{SocketAddr, ToSocketAddrs};

/// Who is where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Where AWS accepts clients.
    pub aws_tcp: SocketAddr,
    /// What AWS sends from, and where it hears backends.
    pub aws_udp: SocketAddr,
    /// The backends, in the order of their shards.
    pub backends: Vec<Backend>,
    /// All addresses are loopback, so nothing leaves this machine.
    pub loopback: bool,
    /// UDP payload size in bytes: as configured, else by `loopback`.
    pub datagram_bytes: usize,
}

/// What surely travels whole: on loopback, or on any Ethernet. An IPv6 header is 20 bytes longer.
fn default_datagram_bytes(loopback: bool, addr: SocketAddr) -> usize {
    let most = if loopback { limits::LOOPBACK_DATAGRAM_BYTES } else { limits::NETWORK_DATAGRAM_BYTES };
    if addr.is_ipv4() { most } else { (most - 20) / 8 * 8 }
}

/// A backend's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// As on screens.
    pub name: String,
    /// Where it listens by UDP.
    pub addr: SocketAddr,
}

/// An address and the key in the file that led to it.
struct Place<'a> {
    key: String,
    host: &'a str,
    addr: SocketAddr,
}

impl Config {
    /// Resolves the hosts' names, by the system's resolver; IPv4 where there are both.
    ///
    /// # Errors
    /// When a name does not resolve, when an address is off loopback (an unspecified one is: it listens
    /// everywhere) and there is no key, and when AWS could not reach a backend from its address.
    pub fn resolve(&self) -> Result<Topology, Error> {
        let aws = self.place("aws.host".to_owned(), &self.aws.host, self.aws.udp_port)?;
        let backends = self
            .backends
            .iter()
            .map(|b| self.place(format!("backend {}: host", b.name), &b.host, b.port))
            .collect::<Result<Vec<_>, _>>()?;
        let exposed =
            std::iter::once(&aws).chain(&backends).find(|place| !place.addr.ip().is_loopback());
        if let (Some(place), None) = (exposed, &self.key) {
            return Err(Error::Exposed {
                at: self.origin.clone(),
                key: place.key.clone(),
                value: format!("{:?}", place.host),
            });
        }
        for (i, backend) in backends.iter().enumerate() {
            self.check_reach(&aws, backend)?;
            let earlier = std::iter::once(&aws).chain(&backends[..i]).find(|p| p.addr == backend.addr);
            if let Some(earlier) = earlier {
                let rule =
                    format!("{} leads to the same address and port, {}", earlier.key, backend.addr);
                return Err(self.refuse(backend, rule));
            }
        }
        let mut aws_tcp = aws.addr;
        aws_tcp.set_port(self.aws.tcp_port);
        let loopback = exposed.is_none();
        let default = default_datagram_bytes(loopback, aws.addr);
        Ok(Topology {
            aws_tcp,
            aws_udp: aws.addr,
            backends: (self.backends.iter().zip(&backends))
                .map(|(b, place)| Backend { name: b.name.clone(), addr: place.addr })
                .collect(),
            loopback,
            datagram_bytes: self.datagram_bytes.unwrap_or(default),
        })
    }

    fn place<'a>(&self, key: String, host: &'a str, port: u16) -> Result<Place<'a>, Error> {
        let refuse = |rule: String| Error::Value {
            at: self.origin.clone(),
            key: key.clone(),
            value: format!("{host:?}"),
            rule,
        };
        let addresses = (host, port)
            .to_socket_addrs()
            .map_err(|e| refuse(format!("the name does not resolve ({e}); is it spelt right?")))?;
        let addr = prefer(addresses).ok_or_else(|| refuse("the name has no address".to_owned()))?;
        Ok(Place { key, host, addr })
    }

    /// AWS has one UDP socket, bound to one address: what that cannot reach is refused here, where it
    /// can be explained, instead of by the kernel at every datagram.
    fn check_reach(&self, aws: &Place<'_>, backend: &Place<'_>) -> Result<(), Error> {
        let (from, to) = (aws.addr.ip(), backend.addr.ip());
        let problem = if from.is_ipv4() != to.is_ipv4() {
            format!("AWS is at {from} and this at {to}: give both IPv4 or both IPv6 addresses")
        } else if from.is_loopback() && !to.is_loopback() && !to.is_unspecified() {
            format!(
                "AWS at {from} ({} = {:?}) cannot leave its machine to reach {to}: give aws.host \
                 an address that this backend can reach",
                aws.key, aws.host
            )
        } else {
            return Ok(());
        };
        Err(self.refuse(backend, problem))
    }

    fn refuse(&self, place: &Place<'_>, rule: String) -> Error {
        Error::Value {
            at: self.origin.clone(),
            key: place.key.clone(),
            value: format!("{:?}", place.host),
            rule,
        }
    }
}

/// The first IPv4 address, else the first.
fn prefer(addresses: impl Iterator<Item = SocketAddr>) -> Option<SocketAddr> {
    let addresses: Vec<SocketAddr> = addresses.collect();
    addresses.iter().find(|a| a.is_ipv4()).or(addresses.first()).copied()
}

#[cfg(test)]
mod tests {
    use super::super::Key;
    use super::super::tests::config;
    use super::*;

    fn resolved(toml: &str, key: Option<Key>) -> Result<Topology, String> {
        let mut config = config(toml);
        config.key = key;
        // From the file's name on: its directory differs from run to run.
        config.resolve().map_err(|e| {
            let text = e.to_string();
            text[text.find("offload.toml").unwrap_or(0)..].to_owned()
        })
    }

    fn some_key() -> Option<Key> {
        Some(Key::new([1; 32]))
    }

    #[test]
    fn the_default_is_on_loopback_and_localhost_is_a_name() {
        let topology = Config::load(&[]).unwrap().resolve().unwrap();
        assert!(topology.loopback);
        assert!(topology.aws_tcp.ip().is_loopback());
        assert_eq!(topology.aws_tcp.ip(), topology.aws_udp.ip());
        assert_eq!((topology.aws_tcp.port(), topology.aws_udp.port()), (25319, 24319));
        let backends: Vec<_> =
            topology.backends.iter().map(|b| (b.name.as_str(), b.addr.port())).collect();
        assert_eq!(backends, [("A", 21319), ("B", 22319), ("C", 23319)]);
        assert_eq!(topology.datagram_bytes, limits::LOOPBACK_DATAGRAM_BYTES);
    }

    #[test]
    fn ipv4_is_preferred_and_ipv6_will_do() {
        let [four, six]: [SocketAddr; 2] = ["127.0.0.1:5", "[::1]:5"].map(|a| a.parse().unwrap());
        assert_eq!(prefer([six, four].into_iter()), Some(four));
        assert_eq!(prefer([four, six].into_iter()), Some(four));
        assert_eq!(prefer([six].into_iter()), Some(six));
        assert_eq!(prefer([].into_iter()), None);
        let topology = resolved("aws.host = \"::1\"\n[[backend]]\nhost = \"::1\"", None).unwrap();
        assert!(topology.loopback);
        assert_eq!(topology.aws_tcp, "[::1]:25319".parse().unwrap());
        assert_eq!(topology.backends[0].addr, "[::1]:21319".parse().unwrap());
    }

    #[test]
    fn off_loopback_without_a_key_is_refused_and_says_why_and_what_to_do() {
        for (toml, key, value) in [
            ("aws.host = \"0.0.0.0\"", "aws.host", "0.0.0.0"),
            ("aws.host = \"::\"", "aws.host", "::"),
            ("aws.host = \"192.0.2.1\"", "aws.host", "192.0.2.1"),
            ("[[backend]]\n[[backend]]\nhost = \"192.0.2.7\"", "backend B: host", "192.0.2.7"),
        ] {
            assert_eq!(
                resolved(toml, None).unwrap_err(),
                format!(
                    "offload.toml: {key} = \"{value}\" is not on loopback and there is no key, so \
                     anyone who reaches it could read the numbers and forge the answers; this process \
                     does not start. Make a key with: head -c 32 /dev/urandom | od -An -vtx1 | tr -d \
                     ' \\n' > offload.key && chmod 600 offload.key; give every machine a copy, and set \
                     key_file = \"offload.key\" in each offload.toml"
                )
            );
        }
    }

    #[test]
    fn with_a_key_processes_may_leave_loopback_in_datagrams_that_ethernet_carries() {
        let toml = "aws.host = \"192.0.2.1\"\n[[backend]]\nhost = \"192.0.2.7\"";
        let topology = resolved(toml, some_key()).unwrap();
        assert!(!topology.loopback);
        assert_eq!(topology.aws_udp, "192.0.2.1:24319".parse().unwrap());
        assert_eq!(topology.datagram_bytes, limits::NETWORK_DATAGRAM_BYTES);
        let set = resolved(&format!("datagram_bytes = 512\n{toml}"), some_key()).unwrap();
        assert_eq!(set.datagram_bytes, 512);
        let set = resolved("datagram_bytes = 1024", None).unwrap();
        assert_eq!((set.loopback, set.datagram_bytes), (true, 1024));
        assert!(!resolved("aws.host = \"0.0.0.0\"", some_key()).unwrap().loopback);
    }

    #[test]
    fn a_name_that_does_not_resolve_is_named_with_its_key() {
        // A label is at most 63 bytes (RFC 1035, 2.3.4), so no server is asked.
        let host = "x".repeat(64);
        let message = resolved(&format!("[[backend]]\nhost = \"{host}\""), None).unwrap_err();
        let begins = format!("offload.toml: backend A: host = \"{host}\": the name does not resolve (");
        assert!(message.starts_with(&begins), "{message}");
        assert!(message.ends_with("); is it spelt right?"), "{message}");
    }

    #[test]
    fn backends_that_aws_cannot_reach_are_refused() {
        let mixed = "aws.host = \"127.0.0.1\"\n[[backend]]\nhost = \"::1\"";
        assert_eq!(
            resolved(mixed, None).unwrap_err(),
            "offload.toml: backend A: host = \"::1\": AWS is at 127.0.0.1 and this at ::1: give both \
             IPv4 or both IPv6 addresses"
        );
        let stuck = "aws.host = \"127.0.0.1\"\n[[backend]]\nhost = \"192.0.2.7\"";
        assert_eq!(
            resolved(stuck, some_key()).unwrap_err(),
            "offload.toml: backend A: host = \"192.0.2.7\": AWS at 127.0.0.1 (aws.host = \"127.0.0.1\") \
             cannot leave its machine to reach 192.0.2.7: give aws.host an address that this backend can \
             reach"
        );
    }

    #[test]
    fn one_address_under_two_names_is_refused() {
        let twice = "aws.host = \"127.0.0.1\"\naws.udp_port = 5\n[[backend]]\nport = 5";
        assert_eq!(
            resolved(twice, None).unwrap_err(),
            "offload.toml: backend A: host = \"localhost\": aws.host leads to the same address and \
             port, 127.0.0.1:5"
        );
    }
}
