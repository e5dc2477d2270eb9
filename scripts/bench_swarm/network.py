"""Hosts on one switch: network namespaces, a veth cable each, a token bucket at both ends of each cable.

The harness itself runs in a private network, mount and process namespace (bench-swarm.sh), which is the
switch: when it dies, in whatever way, the kernel removes the bridge, the hosts and all of their processes.
"""

import subprocess
import threading
import time

# What a token bucket may send at once. A host hands segments of up to 64 KiB to its card; smaller buckets
# would make the kernel cut them one by one, which costs more of the processor than the transfer itself.
BURST_BYTES = 64 << 10
# What waits before the bucket; more is dropped, as a switch would do.
QUEUE_BYTES = 256 << 10
SAMPLE_SECONDS = 0.1
SWITCH = "10.77.255.254"


def address(host):
    return f"10.77.{host // 250}.{host % 250 + 1}"


def inside(host, command):
    """The command, run on a host."""
    return ["nsenter", f"--net=/run/netns/h{host}", *command]


def ip(lines, *namespace):
    text = "".join(line + "\n" for line in lines)
    subprocess.run(["ip", *namespace, "-batch", "-"], input=text, text=True, check=True, capture_output=True)


class Network:
    """Host 0 is the server."""

    def __init__(self, hosts):
        self.hosts = hosts
        subprocess.run(["mkdir", "-p", "/run/netns"], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run/netns"], check=True)
        ip(["link set lo up", "link add sw type bridge mcast_snooping 0", "link set sw up",
            f"address add {SWITCH}/16 dev sw"])
        for host in range(hosts):
            subprocess.run(["ip", "netns", "add", f"h{host}"], check=True)
            ip([
                f"link add p{host} type veth peer name eth0 netns h{host}",
                f"link set p{host} master sw up",
            ])
            ip([
                "link set lo up",
                f"address add {address(host)}/16 broadcast + dev eth0",
                "link set eth0 up",
                "route add default dev eth0",  # multicast needs one
            ], "-n", f"h{host}")

    def shape(self, megabit):
        """Lets every cable carry so much in each direction."""
        bucket = f"root tbf rate {megabit}mbit burst {BURST_BYTES} limit {QUEUE_BYTES}"
        for host in range(self.hosts):
            for where, device in ((["-n", f"h{host}"], "eth0"), ([], f"p{host}")):
                command = ["tc", *where, "qdisc", "replace", "dev", device, *bucket.split()]
                subprocess.run(command, check=True)

    def counters(self):
        """Bytes that each host has sent and received, seen from the switch."""
        sent, received = [0] * self.hosts, [0] * self.hosts
        with open("/proc/net/dev") as file:
            for line in file:
                name, _, figures = line.strip().partition(":")
                if name[0] == "p" and name[1:].isdigit():
                    columns = figures.split()
                    sent[int(name[1:])] = int(columns[0])
                    received[int(name[1:])] = int(columns[8])
        return sent, received


class Sampler:
    """Reads the counters again and again while a transfer goes on."""

    def __init__(self, network):
        self.network = network
        self.samples = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.take()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        self.take()

    def take(self):
        self.samples.append((time.monotonic(), *self.network.counters()))

    def run(self):
        while not self.stop.wait(SAMPLE_SECONDS):
            self.take()

    def sent_since(self, host, when):
        """Bytes that a host has sent after a moment, as far as the samples tell."""
        samples = list(self.samples)
        first = next((each for each in samples if each[0] >= when), samples[-1])
        return samples[-1][1][host] - first[1][host]
