"""How a file gets from one server to many hosts: each transport's commands, and the line that says done."""

import shutil
import sys
from pathlib import Path

from network import address

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PORT = 6881
TRACKER_PORT = 6969


class Failure(Exception):
    """Ends the benchmark: something that has to be there is not."""


def tool(name):
    path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") or shutil.which(name)
    if path is None:
        raise Failure(f"{name} is not installed: scripts/setup.sh bench-swarm")
    return path


class Transport:
    """One server, many clients, one file."""

    name = note = ""
    # The server sends every copy itself: time grows with the number of clients, and one round tells it.
    linear = False
    most_clients = 10_000
    # What a client prints when it has the whole file; None where it ends instead.
    complete = b"complete"
    # What a client prints when it could start, and then waits for a line; None where it starts at once.
    ready = None

    def __init__(self, work):
        """`work` has the directories `server` and `host-N`, the file, and its .torrent file."""
        self.work = work

    def servers(self, clients):
        """Commands of host 0 in the order to start them, each with what shows that it is there: the TCP
        port that it listens at, the beginning of a line that a server prints, or None."""
        raise NotImplementedError

    def client(self, host):
        raise NotImplementedError

    def directory(self, host):
        return str(self.work.staging / (f"host-{host}" if host else "server"))


class Swarm(Transport):
    """A peer with the file, a tracker, and peers without it."""

    def servers(self, clients):
        tracker = [sys.executable, str(HERE / "tracker.py"), address(0), str(TRACKER_PORT)]
        announced = f"{address(0)} 0".encode()  # the tracker says who lacks how much
        seeder = self.peer(self.directory(0), address(0), PORT, seed=True)
        return [(tracker, TRACKER_PORT), (seeder, announced)]

    def client(self, host):
        return self.peer(self.directory(host), address(host), PORT, seed=False)

    def neighbour(self):
        """A client on the server itself."""
        return self.peer(self.directory(1), address(0), PORT + 1, seed=False)

    def peer(self, directory, where, port, seed):
        raise NotImplementedError


class Ours(Swarm):
    name = "offload"
    note = "crates/swarm/examples/peer.rs; super-seeding at the first seeder"

    def peer(self, directory, where, port, seed):
        # Leechers seed on too, as everybody does here; the harness ends those that are to leave.
        command = [str(self.work.examples / "peer"), "--listen", f"{where}:{port}", "--seed"]
        command += ["--super-seed"] if seed else []
        return [*command, str(self.work.torrent), directory]


class Libtorrent(Swarm):
    name = "libtorrent"
    note = "default settings; no DHT, UPnP, NAT-PMP"
    ready = b"ready"
    options = []

    def peer(self, directory, where, port, seed):
        script = [sys.executable, str(HERE / "libtorrent_peer.py"), *self.options]
        script += ["--seed"] if seed else []
        return [*script, f"{where}:{port}", str(self.work.torrent), directory]


class LibtorrentTuned(Libtorrent):
    name = "libtorrent tuned"
    note = "no uTP, all unchoked, 16 requests a peer, faster connecting (libtorrent_peer.py)"
    options = ["--tuned"]


class Aria2(Swarm):
    name = "aria2"
    note = "default settings; no DHT, no allocation of the file beforehand, seeds without checking first"
    complete = b"complete"
    options = []

    def peer(self, directory, where, port, seed):
        return [
            tool("aria2c"), "--no-conf", "--quiet", "--enable-dht=false", "--file-allocation=none",
            "--seed-ratio=0", "--seed-time=60", f"--listen-port={port}", f"--dir={directory}",
            "--bt-seed-unverified=true" if seed else "--bt-seed-unverified=false",
            f"--on-bt-download-complete={HERE / 'complete.sh'}", *self.options, str(self.work.torrent),
        ]


class Aria2Tuned(Aria2):
    name = "aria2 tuned"
    note = "as aria2; ever more peers wanted, a disk cache of 64 MiB, local discovery"
    options = [
        "--bt-max-peers=0", "--bt-request-peer-speed-limit=100M", "--disk-cache=64M", "--bt-enable-lpd=true",
    ]


class Transmission(Swarm):
    name = "transmission"
    note = "transmission-cli, default settings, no port mapping"
    most_clients = 2

    def peer(self, directory, where, port, seed):
        return [
            tool("transmission-cli"), "-M", "-g", f"{directory}-config", "-p", str(port),
            "-f", str(HERE / "complete.sh"), "-w", directory, str(self.work.torrent),
        ]


class Http(Transport):
    name = "HTTP"
    note = "nginx with sendfile, curl"
    linear = True
    complete = None

    def servers(self, clients):
        config = self.work.staging / "nginx.conf"
        config.write_text(
            f"daemon off; user root; error_log stderr; pid {self.work.staging}/nginx.pid; worker_processes 1;\n"
            f"events {{}} http {{ access_log off; sendfile on; tcp_nopush on;\n"
            f"server {{ listen {address(0)}:80; root {self.directory(0)}; }} }}\n"
        )
        return [([tool("nginx"), "-c", str(config)], 80)]

    def client(self, host):
        target = Path(self.directory(host)) / self.work.file.name
        source = f"http://{address(0)}/{self.work.file.name}"
        return [tool("curl"), "--silent", "--show-error", "--fail", "--noproxy", "*",
                "-o", str(target), source]


class Rsync(Transport):
    name = "rsync"
    note = "rsync daemon, whole files, no compression, no look-up of the clients' names"
    linear = True
    complete = None

    def servers(self, clients):
        config = self.work.staging / "rsyncd.conf"
        config.write_text(
            "use chroot = no\nreverse lookup = no\nuid = root\ngid = root\n"
            f"[image]\npath = {self.directory(0)}\n"
        )
        command = [tool("rsync"), "--daemon", "--no-detach", f"--config={config}", f"--address={address(0)}"]
        return [(command, 873)]

    def client(self, host):
        source = f"rsync://{address(0)}/image/{self.work.file.name}"
        return [tool("rsync"), "--whole-file", source, self.directory(host) + "/"]


class Multicast(Transport):
    name = "multicast"
    note = "udpcast, 8 FEC packets for each 128, receivers confirm, sent at 94 % of the rate"
    complete = None

    def servers(self, clients):
        rate = int(self.work.megabit * 1000 * 0.94)
        command = [
            tool("udp-sender"), "--file", str(self.work.file), "--interface", "eth0", "--nokbd",
            "--no-progress", "--min-receivers", str(clients),
            "--max-bitrate", f"{rate}k", "--fec", "8x8/128",
        ]
        return [(command, None)]

    def client(self, host):
        target = Path(self.directory(host)) / self.work.file.name
        receiver = [tool("udp-receiver"), "--file", str(target), "--interface", "eth0"]
        return [*receiver, "--nokbd", "--no-progress"]


ALL = [Ours, Libtorrent, LibtorrentTuned, Aria2, Aria2Tuned, Transmission, Http, Rsync, Multicast]


def libtorrent_version():
    import libtorrent

    return libtorrent.__version__
