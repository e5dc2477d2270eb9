//! Sockets for local service discovery (BEP 14): datagrams to everybody on the local networks.
//!
//! It is a convenience: where a network or a container has no multicast, nothing is found this way, and
//! that is all. One socket a family listens on every interface there is at the start; what is sent goes
//! out of every interface by itself, since a host's default route need not lead to the other hosts.

use crate::id::InfoHash;
use crate::limits::MAX_DISCOVERY_BYTES;
use crate::wire::discovery::{GROUP_V4, GROUP_V6, Search};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The sockets that listen.
pub struct Discovery {
    sockets: Vec<UdpSocket>,
    cookie: String,
}

impl Discovery {
    /// Joins the groups on all interfaces, as far as they can be joined; `cookie` marks our own datagrams.
    pub fn open(cookie: String) -> Discovery {
        let sockets = [listen_v4(), listen_v6()].into_iter().flatten().collect();
        Discovery { sockets, cookie }
    }

    /// What to wait at; none where no group could be joined.
    pub fn sockets(&self) -> &[UdpSocket] {
        &self.sockets
    }

    /// The next peer that a socket brings, and what it has.
    pub fn receive(&self, socket: usize) -> Option<(SocketAddr, Vec<InfoHash>)> {
        let mut buffer = [0; MAX_DISCOVERY_BYTES + 1];
        loop {
            let (length, from) = self.sockets.get(socket)?.recv_from(&mut buffer).ok()?;
            let Ok(search) = Search::decode(&buffer[..length]) else { continue };
            if search.cookie.as_ref() != Some(&self.cookie) {
                let mut address = from;
                address.set_port(search.port);
                return Some((address, search.info_hashes));
            }
        }
    }

    /// Says that we listen at this port and have this torrent.
    ///
    /// # Errors
    /// It could be said nowhere.
    pub fn send(&self, port: u16, info_hash: InfoHash) -> io::Result<()> {
        let search = Search { port, info_hashes: vec![info_hash], cookie: Some(self.cookie.clone()) };
        let (mut said, mut error) = (false, None);
        for (name, _) in interfaces() {
            for group in [SocketAddr::V4(GROUP_V4), SocketAddr::V6(GROUP_V6)] {
                match send(&name, group, &search) {
                    Ok(()) => said = true,
                    Err(e) => error = Some(e),
                }
            }
        }
        match error {
            Some(error) if !said => Err(error),
            _ => Ok(()),
        }
    }
}

fn send(interface: &str, group: SocketAddr, search: &Search) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(group), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    search
        .encode(group)
        .iter()
        .try_for_each(|datagram| socket.send_to(datagram, &group.into()).map(|_| ()))
}

/// Names and numbers of the interfaces.
fn interfaces() -> Vec<(String, u32)> {
    let listed = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let mut interfaces: Vec<(String, u32)> = listed
        .filter_map(|entry| {
            let number = fs::read_to_string(entry.path().join("ifindex")).ok()?.trim().parse().ok()?;
            Some((entry.file_name().into_string().ok()?, number))
        })
        .collect();
    interfaces.sort();
    interfaces
}

fn listen_v4() -> io::Result<UdpSocket> {
    let socket = open(Domain::IPV4)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, GROUP_V4.port())).into())?;
    let join =
        |number| socket.join_multicast_v4_n(GROUP_V4.ip(), &InterfaceIndexOrAddress::Index(number));
    joined(interfaces().into_iter().map(|(_, number)| join(number)))?;
    Ok(socket.into())
}

fn listen_v6() -> io::Result<UdpSocket> {
    let socket = open(Domain::IPV6)?;
    socket.set_only_v6(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, GROUP_V6.port())).into())?;
    joined(interfaces().into_iter().map(|(_, number)| socket.join_multicast_v6(GROUP_V6.ip(), number)))?;
    Ok(socket.into())
}

/// Other programs on this host listen too.
fn open(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// One interface is enough.
fn joined(attempts: impl Iterator<Item = io::Result<()>>) -> io::Result<()> {
    let attempts: Vec<_> = attempts.collect();
    if attempts.iter().any(Result::is_ok) {
        return Ok(());
    }
    attempts.into_iter().next().unwrap_or(Err(io::ErrorKind::NotFound.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::process::Command;

    const INSIDE: &str = "OFFLOAD_TEST_INSIDE_NAMESPACE";

    /// In a network of its own, since that of this host need not have multicast.
    #[test]
    fn others_are_heard_and_we_are_not() {
        if std::env::var_os(INSIDE).is_some() {
            return hears_others_and_not_itself();
        }
        let ran = Command::new("unshare")
            .args(["--map-root-user", "--net", "sh", "-c"])
            .args(["ip link set lo up multicast on && exec \"$@\"", "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "io::discovery::tests::others_are_heard_and_we_are_not", "--nocapture"])
            .env(INSIDE, "1")
            .output()
            .expect("unshare (package util-linux) is needed: scripts/setup.sh test");
        let said =
            [ran.stdout, ran.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(
            ran.status.success() && said.contains("1 passed"),
            "in a namespace (needs root or user namespaces, and package iproute2): {said}"
        );
    }

    /// What another host's program says.
    fn hears_others_and_not_itself() {
        let (ours, theirs) = (Discovery::open("ours".into()), Discovery::open("theirs".into()));
        let (hash, mine) = (InfoHash([0xab; 20]), InfoHash([0xcd; 20]));
        ours.send(1, mine).unwrap();
        theirs.send(4711, hash).unwrap();
        let heard = |discovery: &Discovery| {
            let mut fds: Vec<PollFd<'_>> =
                discovery.sockets().iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
            poll(&mut fds, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })).unwrap();
            let sockets = 0..discovery.sockets().len();
            sockets
                .flat_map(|socket| std::iter::from_fn(move || discovery.receive(socket)))
                .collect::<Vec<_>>()
        };
        let ours = heard(&ours);
        assert!(
            ours.iter().any(|(from, hashes)| from.port() == 4711 && hashes.contains(&hash)),
            "{ours:?}"
        );
        assert!(ours.iter().all(|(_, hashes)| !hashes.contains(&mine)));
        assert!(heard(&theirs).iter().any(|(from, hashes)| from.port() == 1 && hashes.contains(&mine)));
    }
}
