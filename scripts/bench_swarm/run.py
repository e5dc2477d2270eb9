"""One transfer: the servers, then all clients at once, until the last has the file."""

import hashlib
import os
import re
import resource
import selectors
import socket
import subprocess
import time
from pathlib import Path

from network import Sampler, address, inside

TICK = os.sysconf("SC_CLK_TCK")
LOG_BYTES = 4000
POLL_SECONDS = 5  # between two looks at a seeder's upload rate, as the reference deployer does it
# Hosts that leave have come within so many times size/rate.
STAGGER = 1
MOST_SAMPLES = 400


class Missed(Exception):
    """A transfer that did not come to its end; the benchmark goes on."""


class Process:
    """A program on a host, its output kept to be looked at."""

    def __init__(self, host, command, directory):
        self.host = host
        self.output = b""
        self.began_at = self.done_at = None
        self.left_at = None
        self.peak_bytes = None
        self.cpu_before = 0.0
        self.name = Path(command[0]).name
        self.child = subprocess.Popen(
            inside(host, command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            cwd=directory, env={**os.environ, "HOME": directory, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        os.set_blocking(self.child.stdout.fileno(), False)

    def go(self):
        self.child.stdin.write(b"\n")
        self.child.stdin.flush()

    def read(self):
        """False at the end of the output."""
        data = self.child.stdout.read1(65536) if self.child.stdout else b""
        self.output += data or b""
        return bool(data)

    def said(self, word):
        return re.search(rb"^%b\b" % re.escape(word), self.output, re.MULTILINE) is not None

    def cpu_seconds(self):
        try:
            fields = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return sum(map(int, fields[11:15])) / TICK

    def cpu_spent(self):
        return self.cpu_seconds() - self.cpu_before

    def note_peak(self):
        try:
            status = Path(f"/proc/{self.child.pid}/status").read_text()
        except OSError:
            return
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        self.peak_bytes = int(found[1]) << 10 if found else self.peak_bytes

    def end(self):
        for stop in (self.child.terminate, self.child.kill):
            if self.child.poll() is None:
                stop()
                try:
                    self.child.wait(2)
                except subprocess.TimeoutExpired:
                    pass
        self.child.stdin.close()
        self.child.stdout.close()

    def tail(self):
        text = self.output[-LOG_BYTES:].decode(errors="replace")
        return f"{self.name} on host {self.host}: {text.strip()[-600:] or 'said nothing'}"


class Transfer:
    """`leave`: None, "at once" or "seed wait" (when less than `upload_min` bytes a second are asked of it);
    then hosts come one after another, for such that come together also leave together.
    `loopback`: the only client runs on the server, with no cable in between."""

    def __init__(self, network, work, transport, clients, leave=None, loopback=False):
        self.network, self.work, self.transport = network, work, transport
        self.clients, self.leave, self.loopback = clients, leave, loopback
        self.stagger = STAGGER * work.limit_seconds() / clients if leave else 0
        self.upload_min = work.megabit * 1e6 / 8 * 0.004  # the paper: 500 KB/s of a gigabit
        self.processes, self.hosts = [], []
        self.selector = selectors.DefaultSelector()

    def run(self):
        try:
            return self.measure()
        finally:
            for process in self.processes:
                process.end()
            self.selector.close()

    def start(self, host, command):
        process = Process(0 if self.loopback else host, command, self.transport.directory(host))
        self.processes.append(process)
        self.selector.register(process.child.stdout, selectors.EVENT_READ, process)
        return process

    def step(self, until, pause=float("inf")):
        """Takes what was printed, or waits for it a little, not beyond the pause."""
        for key, _ in self.selector.select(max(0, min(0.1, until - time.monotonic(), pause - time.monotonic()))):
            process = key.data
            if not process.read():
                self.selector.unregister(key.fileobj)
                self.ended(process)
            elif process in self.hosts and self.transport.complete and process.said(self.transport.complete):
                process.done_at = process.done_at or time.monotonic()
        if time.monotonic() >= until:
            raise Missed("not finished in time")

    def ended(self, process):
        status = process.child.wait()
        if process in self.hosts and self.transport.complete is None and status == 0:
            process.done_at = time.monotonic()
        elif process in self.hosts and process.done_at is None:
            raise Missed(f"ended with status {status}; {process.tail()}")
        elif process not in self.hosts and status != 0:
            raise Missed(f"the server ended with status {status}; {process.tail()}")

    def wait_for(self, condition, until):
        while not condition():
            self.step(until)

    def start_client(self, host):
        command = self.transport.neighbour() if self.loopback else self.transport.client(host)
        self.hosts.append(self.start(host, command))

    def serves(self, sign):
        if isinstance(sign, int):
            with socket.socket() as probe:
                probe.settimeout(1)
                return probe.connect_ex((address(0), sign)) == 0
        return sign is None or any(each.said(sign) for each in self.processes)

    def wait_until(self, when, sampler):
        while time.monotonic() < when:
            self.step(when + 1, when)
            self.let_go(sampler)

    def measure(self):
        transport, clients = self.transport, self.clients
        soon = time.monotonic() + 20
        for command, sign in transport.servers(clients):
            self.start(0, command)
            self.wait_for(lambda: self.serves(sign), soon)
        if transport.ready:
            for host in range(1, clients + 1):
                self.start_client(host)
            self.wait_for(lambda: all(each.said(transport.ready) for each in self.hosts), soon)
        sent_before, _ = self.network.counters()
        cpu_before, busy_before = self.cpu(), machine_busy()
        for process in self.processes:
            process.cpu_before = process.cpu_seconds()
        with Sampler(self.network) as sampler:
            begin = time.monotonic()
            limit = begin + self.patience()
            for host in range(1, clients + 1):
                self.wait_until(begin + self.stagger * (host - 1), sampler)
                if transport.ready:
                    self.hosts[host - 1].go()
                else:
                    self.start_client(host)
                self.hosts[host - 1].began_at = time.monotonic()
            while not all(host.done_at for host in self.hosts):
                self.step(limit)
                self.let_go(sampler)
        end = max(host.done_at for host in self.hosts)
        server_cpu, client_cpu = (sum(each.cpu_spent() for each in some) for some in self.sides())
        cpu, busy = self.cpu() - cpu_before, machine_busy() - busy_before
        sent, _ = self.network.counters()
        for process in self.hosts:
            process.note_peak()
        self.check()
        return {
            **self.report(begin, end, sampler), "server_copies": (sent[0] - sent_before[0]) / self.work.bytes,
            **load(cpu, busy, end - begin), "server_cpu_s": server_cpu, "client_cpu_s": client_cpu,
        }

    def patience(self):
        copies = self.clients if self.transport.linear else 8
        return 10 + copies * 1.5 * self.work.limit_seconds()

    def let_go(self, sampler):
        """Ends the peers that have the file and are not needed any more."""
        now = time.monotonic()
        for process in self.hosts:
            if self.leave is None or process.done_at is None or process.left_at is not None:
                continue
            waited = now - process.done_at >= POLL_SECONDS
            recent = sampler.sent_since(process.host, now - POLL_SECONDS) / POLL_SECONDS
            if self.leave == "at once" or waited and recent < self.upload_min:
                process.note_peak()
                process.left_at = now
                process.child.terminate()

    def sides(self):
        """The server's processes and the clients'."""
        return [each for each in self.processes if each not in self.hosts], self.hosts

    def cpu(self):
        dead = resource.getrusage(resource.RUSAGE_CHILDREN)
        return dead.ru_utime + dead.ru_stime + sum(
            each.cpu_seconds() for each in self.processes if each.child.poll() is None
        )

    def check(self):
        for host in range(1, self.clients + 1):
            path = Path(self.transport.directory(host)) / self.work.file.name
            if not path.exists() or digest(path) != self.work.digest:
                raise Missed(f"host {host} has not the right bytes")

    def report(self, begin, end, sampler):
        seconds = end - begin
        done = [host.done_at - begin for host in self.hosts]
        own = [host.done_at - host.began_at for host in self.hosts]
        limit = self.work.limit_seconds()
        peaks = [host.peak_bytes for host in self.hosts if host.peak_bytes]
        return {
            "transport": self.transport.name, "clients": self.clients, "megabit": self.work.megabit,
            "bytes": self.work.bytes, "leave": self.leave, "seconds": seconds, "ratio": seconds / limit,
            "mean_ratio": sum(own) / len(own) / limit, "longest_ratio": max(own) / limit,
            "done_s": [round(each, 3) for each in done],
            "peak_rss_bytes": max(peaks, default=None),
            "curve": curve(sampler.samples, begin, self.clients + 1),
        }


def load(cpu, busy, seconds):
    """How far the processors were used up, by these processes and by all others (the kernel among them)."""
    whole = os.cpu_count() * seconds
    return {"cpu_s": cpu, "busy": busy / whole, "others_busy": max(0.0, busy - cpu) / whole}


def curve(samples, begin, hosts):
    """Bytes a second that each host sent and received, by sample; fewer samples where there are many."""
    times, sent, received = [], [], []
    samples = samples[:: len(samples) // MOST_SAMPLES + 1]
    for (t0, s0, r0), (t1, s1, r1) in zip(samples, samples[1:]):
        if t1 - t0 < 0.02:
            continue
        times.append(round(t1 - begin, 3))
        sent.append([round((b - a) / (t1 - t0)) for a, b in zip(s0[:hosts], s1)])
        received.append([round((b - a) / (t1 - t0)) for a, b in zip(r0[:hosts], r1)])
    return {"t_s": times, "sent": sent, "received": received}


def machine_busy():
    """Seconds of all cores that were not idle since the machine started."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    user, nice, system, _idle, _iowait, irq, softirq, _steal = map(int, fields)
    return (user + nice + system + irq + softirq) / TICK


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
