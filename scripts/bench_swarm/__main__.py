"""The swarm bench: one file from one server to N hosts, by our peer and by others, on shaped virtual cables.

Every transport has its turn at every N, round after round, so that what slows the machine down slows all;
figures are medians of the rounds. A ratio is the time until the last host has the whole file, to the limit
size/rate. A `*` says that the processors, and not the cables, were the limit: more than 85 % busy. Hosts
keep the file on a RAM disk; each copy's SHA-256 is compared after the clock has stopped.

Standard library only, Python 3.11 or later; scripts/bench-swarm.sh installs the peers and makes the
namespaces.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True  # nothing is left beside the sources
sys.path.append(str(Path(__file__).resolve().parent.parent))

import bench_report
import transports
from network import Network, address
from run import STAGGER, Missed, Transfer, digest
from torrent import piece_bytes, torrent
from transports import Failure

MIB = 1 << 20
SEED = 4
CPU_BOUND = 0.85
OTHERS_BUSY = 0.3
# Of the issue: makespan by N, as a ratio to size/rate.
TARGETS = {1: 1.06, 4: 1.15, 8: 1.2, 16: 1.3}
COPIES_TARGET = 1.3
MEMORY_TARGET = 64 * MIB
CPU_TARGET = 2e9
GROWTH_BASE, GROWTH_TARGETS = 15, {150: 1.1, 10_000: 1.3}
# Who leaves at once, and who waits, matters long before this many.
MOST_LEAVING = 150


class Work:
    """The file, and where the hosts keep theirs."""

    def __init__(self, args, staging, mebibytes):
        self.staging, self.megabit = staging, args.rate
        self.examples = Path(args.target) / "release" / "examples"
        for example in ("peer", "growth"):
            if not (self.examples / example).exists():
                raise Failure(f"{self.examples / example} is not built: scripts/bench-swarm.sh does it")
        self.file = staging / "server" / "image"
        self.file.parent.mkdir(parents=True)
        self.bytes = mebibytes * MIB
        chance = random.Random(SEED)
        with self.file.open("wb") as file:
            for _ in range(mebibytes):
                file.write(chance.randbytes(MIB))
        self.digest = digest(self.file)
        self.torrent = staging / "image.torrent"
        announce = f"http://{address(0)}:{transports.TRACKER_PORT}/announce"
        self.torrent.write_bytes(torrent(self.file, announce))

    def limit_seconds(self):
        return self.bytes * 8 / (self.megabit * 1e6)

    def clear(self, clients):
        for path in self.staging.glob("*host-*"):
            shutil.rmtree(path)
        shutil.rmtree(self.staging / "server-config", ignore_errors=True)
        for path in self.file.parent.iterdir():
            if path != self.file:
                path.unlink()
        for host in range(1, clients + 1):
            (self.staging / f"host-{host}").mkdir()


class Bench:
    def __init__(self, args, staging):
        self.args = args
        self.work = Work(args, staging, args.size)
        self.network = Network(max(args.clients) + 1)
        self.transports = [
            each(self.work) for each in transports.ALL if not args.only or each.name in args.only
        ]
        self.runs, self.rows = [], []
        self.tty = sys.stdout.isatty()

    def say(self, text):
        print(f"bench-swarm: {text}", file=sys.stderr, flush=True)

    def transfer(self, transport, clients, leave=None):
        self.work.clear(clients)
        label = f"{transport.name}, N = {clients}, {self.work.megabit} Mbit/s" + (f", leaves {leave}" if leave else "")
        try:
            run = Transfer(self.network, self.work, transport, clients, leave).run()
        except Missed as missed:
            self.say(f"{label}: FAILED: {missed}")
            run = {
                "transport": transport.name, "clients": clients, "megabit": self.work.megabit,
                "leave": leave, "failed": str(missed),
            }
        else:
            self.say(f"{label}: {run['ratio']:.3f} x limit, server {run['server_copies']:.2f} copies, "
                     f"busy {run['busy']:.0%} (others {run['others_busy']:.0%})")
        self.runs.append(run)
        return run

    def rate(self, megabit):
        self.work.megabit = megabit
        self.network.shape(megabit)

    def rounds(self, megabit, clients, swarms_only=False):
        self.rate(megabit)
        for number in range(self.args.rounds):
            turn = self.transports[number % len(self.transports) :] + self.transports[: number % len(self.transports)]
            for count in clients:
                for transport in turn:
                    if count > transport.most_clients or transport.linear and (number or swarms_only):
                        continue
                    if swarms_only and not isinstance(transport, transports.Swarm):
                        continue
                    self.transfer(transport, count)

    def leaving(self, transport, clients):
        """What the paper's figure 5 shows, and its cure."""
        self.rate(self.args.rate)
        for _ in range(self.args.rounds):
            for leave in ("at once", "seed wait"):
                self.transfer(transport, clients, leave)

    # --- what the runs say ---

    def of(self, name, clients, megabit, leave=None):
        asked = (name, clients, megabit, leave)
        return [
            run for run in self.runs
            if (run["transport"], run["clients"], run["megabit"], run["leave"]) == asked
        ]

    def median(self, figure, *which):
        values = [run[figure] for run in self.of(*which) if "failed" not in run]
        return statistics.median(values) if values else None

    def cell(self, *which):
        ratio = self.median("ratio", *which)
        if ratio is None:
            return "failed" if self.of(*which) else "-"
        mark = "*" if self.median("busy", *which) > CPU_BOUND else ""
        return f"{ratio:.2f}{mark} ({self.median('server_copies', *which):.1f})"

    def table(self, megabit, clients):
        print(f"\n{self.work.bytes // MIB} MiB at {megabit} Mbit/s: time of the last host as a ratio to "
              f"{self.work.bytes * 8 / megabit / 1e6:.2f} s (copies that the server sent); "
              f"* more than {CPU_BOUND:.0%} of {os.cpu_count()} cores busy")
        print(f"{'':18}" + "".join(f"{f'N = {count}':>14}" for count in clients))
        for transport in self.transports:
            cells = [self.cell(transport.name, count, megabit) for count in clients]
            if any(cell != "-" for cell in cells):
                print(f"{transport.name:18}" + "".join(f"{cell:>14}" for cell in cells), flush=True)
        others = [run["others_busy"] for run in self.runs if run.get("megabit") == megabit and "failed" not in run]
        if others and statistics.median(others) > OTHERS_BUSY:
            share = f"{statistics.median(others):.0%}"
            print(f"other programs, and the kernel for these, took {share} of the cores meanwhile")

    def row(self, work, measure, value, target, met, detail="", **figures):
        verdict = "" if met is None else "met" if met else "MISSED"
        self.rows.append(
            dict(work=work, measure=measure, value=value, target=target, met=met, detail=detail, **figures)
        )
        colour = {"met": "\033[32m", "MISSED": "\033[31m"}.get(verdict) if self.tty else None
        shown = f"{verdict:6}"
        if colour:
            shown = f"{colour}{shown}\033[0m"
        print(f"{work:24} {measure:26} {value:>10} {target or '':>10} {shown} {detail}".rstrip(), flush=True)

    def targets(self, megabit, clients):
        """Ours beside what the issue asks for."""
        for count in clients:
            which = (transports.Ours.name, count, megabit)
            ratio = self.median("ratio", *which)
            if ratio is None:
                continue
            work = f"N = {count}, {megabit} Mbit/s"
            bound = "CPU-bound" if self.median("busy", *which) > CPU_BOUND else ""
            if count in TARGETS:
                self.row(work, "makespan", f"{ratio:.3f}x", f"<= {TARGETS[count]:.2f}x", ratio <= TARGETS[count], bound)
            if count >= 2:
                self.others(work, count, megabit, ratio)
            if count == 16:
                copies = self.median("server_copies", *which)
                self.row(work, "copies by the seeder", f"{copies:.2f}", f"<= {COPIES_TARGET}", copies <= COPIES_TARGET)
            peak = max(run["peak_rss_bytes"] or 0 for run in self.of(*which) if "failed" not in run)
            self.row(work, "leecher's memory", f"{peak / MIB:.1f} MiB", "<= 64 MiB", peak <= MEMORY_TARGET)

    def others(self, work, count, megabit, ratio):
        peers = (transports.Libtorrent, transports.LibtorrentTuned, transports.Aria2, transports.Aria2Tuned)
        for peer in peers:
            theirs = self.median("ratio", peer.name, count, megabit)
            if theirs is not None:
                self.row(work, f"vs {peer.name}", f"{ratio / theirs:.2f}x", "< 1.00x", ratio < theirs,
                         f"{ratio:.2f} / {theirs:.2f}")

    def seed_wait(self, transport, clients):
        which = (transport.name, clients, self.args.rate)
        longest, copies = (
            [self.median(figure, *which, leave) for leave in ("at once", "seed wait")]
            for figure in ("longest_ratio", "server_copies")
        )
        if None not in longest:
            at_once, waits = longest
            self.row(
                f"N = {clients}, {transport.name}", "leaves with seed wait", f"{waits:.2f}x", None,
                None, f"at once {at_once:.2f}x: the slowest host's own time, of those "
                f"that come within {STAGGER} x size/rate; "
                f"copies by the seeder {copies[1]:.1f}, by one whose peers leave at once {copies[0]:.1f}",
            )

    def cpu(self):
        """One peer from memory to memory, no cable in between, beside the least that it can cost."""
        work = Work(self.args, self.work.staging / "loopback", self.args.loopback)
        swarms = [each for each in self.transports if isinstance(each, transports.Swarm) and each.most_clients > 2]
        runs, floors = {each.name: [] for each in swarms}, []
        # Not counted: memory that nobody has touched yet costs whoever comes first.
        work.clear(1)
        floor(work)
        for _ in range(self.args.rounds):
            for transport in swarms:
                work.clear(1)
                runs[transport.name].append(
                    Transfer(self.network, work, type(transport)(work), 1, loopback=True).run()
                )
            work.clear(1)
            floors.append(floor(work))
        floor_rate = work.bytes / statistics.median(floors)
        for name, taken in runs.items():
            leecher, seeder, wall = (
                work.bytes / statistics.median(run[each] for run in taken)
                for each in ("client_cpu_s", "server_cpu_s", "seconds")
            )
            mine = name == transports.Ours.name
            self.row(
                "loopback", f"{name} leecher", f"{leecher / 1e9:.2f} GB/s",
                ">= 2 GB/s" if mine else None, leecher >= CPU_TARGET if mine else None,
                f"verified bytes a second of one core, {leecher / floor_rate:.2f}x the floor; "
                f"seeder {seeder / 1e9:.2f}, by the clock {wall / 1e9:.2f}",
                leecher=leecher, seeder=seeder, wall=wall,
                peak_rss_bytes=max(run["peak_rss_bytes"] or 0 for run in taken),
            )
        self.row("loopback", "the floor", f"{floor_rate / 1e9:.2f} GB/s", None, None,
                 "one thread that receives, hashes and writes (floor.py)", leecher=floor_rate)
        shutil.rmtree(work.staging)

    def drop_curves(self):
        """All but those that are drawn: the first run at the full rate and most hosts."""
        drawn, kept = {transports.Http.name, transports.Multicast.name, self.swarm().name}, set()
        for run in self.runs:
            which = (run["transport"], run["leave"])
            full = run["clients"] == max(self.args.clients) and run["megabit"] == self.args.rate
            if not full or run["transport"] not in drawn or which in kept or "curve" not in run:
                run.pop("curve", None)
            else:
                kept.add(which)

    def swarm(self):
        """Ours, where it takes part."""
        return next((each for each in self.transports if isinstance(each, transports.Swarm)), self.transports[0])

    def growth(self):
        """Of the simulator, which runs the same sessions on virtual time."""
        found = []
        for leave, word in ((None, "never"), ("at once", "now"), ("seed wait", "seed-wait")):
            counts = [count for count in self.args.growth if leave is None or count <= MOST_LEAVING]
            self.say(f"simulator, leaves {word}, N = {', '.join(map(str, counts))}")
            command = [
                str(self.work.examples / "growth"), "--json", "--leave", word, "--peers", ",".join(map(str, counts)),
                "--size", f"{self.args.size}MiB", "--rate", f"{self.args.rate}Mbit",
                "--upload-min", f"{self.args.rate * 5 // 10}KB",
            ]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            for run in map(json.loads, done.stdout.splitlines()):
                found.append({
                    "clients": run["peers"], "leave": leave, "ratio": run["makespan"], "mean_ratio": run["mean"],
                    "server_copies": run["seeder_copies"], "finished": run["finished"],
                })
        self.growth_rows(found)
        return found

    def growth_rows(self, found):
        ratio = {(each["clients"], each["leave"]): each["ratio"] for each in found}
        base = ratio.get((GROWTH_BASE, None))
        for count in self.args.growth:
            if base and count > GROWTH_BASE:
                growth, target = ratio[count, None] / base, GROWTH_TARGETS.get(count)
                self.row(f"N = {count}, simulated", f"growth from N = {GROWTH_BASE}", f"{growth:.2f}x",
                         target and f"<= {target:.2f}x", target and growth <= target,
                         f"{ratio[count, None]:.2f} / {base:.2f}")
            if (count, "at once") in ratio:
                at_once, waits = ratio[count, "at once"], ratio[count, "seed wait"]
                self.row(f"N = {count}, simulated", "leaves with seed wait", f"{waits:.2f}x", f"<= {at_once:.2f}x",
                         waits <= at_once, f"leaves at once {at_once:.2f}x, stays {ratio[count, None]:.2f}x")


def floor(work):
    """Processor seconds of the least that a peer can do with the file."""
    command = [sys.executable, str(Path(__file__).parent / "floor.py")]
    places = [str(work.file), str(work.staging / "host-1" / "copy"), str(piece_bytes(work.bytes))]
    return float(subprocess.run([*command, *places], check=True, capture_output=True, text=True).stdout)


def machine():
    congestion = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    return {"tcp": congestion, **bench_report.machine()}


def versions():
    """Of the peers, as they say it."""
    said = {"libtorrent": transports.libtorrent_version()}
    for name, option in (("aria2c", "--version"), ("transmission-cli", "--version"), ("nginx", "-v"),
                         ("curl", "--version"), ("rsync", "--version")):
        done = subprocess.run([transports.tool(name), option], capture_output=True, text=True)
        said[name] = (done.stdout or done.stderr).splitlines()[0].strip()
    package = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "udpcast"], capture_output=True, text=True)
    said["udpcast"] = package.stdout.strip() or "unknown"
    return said


def numbers(text):
    return [int(word) for word in text.split(",")]


def arguments():
    parser = argparse.ArgumentParser(prog="make bench-swarm", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, help="rounds of every transport (default 3, --quick 1)")
    parser.add_argument("--clients", type=numbers, help="how many hosts (default 1,2,4,8,16; --quick 1,4)")
    parser.add_argument("--size", type=int, default=64, help="MiB of the file (default 64)")
    parser.add_argument("--rate", type=int, default=100, help="Mbit/s of a host, each way (default 100)")
    parser.add_argument("--low", type=int, default=25,
                        help="Mbit/s at which the largest N is measured again, for two cores (default 25; 0: not)")
    parser.add_argument("--loopback", type=int, default=1024, help="MiB of the loopback row (default 1024; 0: none)")
    parser.add_argument("--growth", type=numbers, default=[15, 50, 150, 1000],
                        help="hosts to simulate (default 15,50,150,1000; 10000 takes a quarter of an hour)")
    parser.add_argument("--only", type=lambda text: text.split(","), help="transports, separated by commas")
    parser.add_argument("--figures", metavar="DIRECTORY", help="draws the paper's figures there, as swarm-*.svg")
    parser.add_argument("--quick", action="store_true", help="a first look: one round, 1 and 4 hosts")
    parser.add_argument("--target", required=True, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.rounds = args.rounds or (1 if args.quick else 3)
    args.clients = args.clients or ([1, 4] if args.quick else [1, 2, 4, 8, 16])
    if args.quick:
        args.low, args.loopback, args.growth = 0, min(args.loopback, 256), []
    return args


def measure(bench, args):
    most = max(args.clients)
    bench.rounds(args.rate, args.clients)
    bench.table(args.rate, args.clients)
    if args.low:
        bench.rounds(args.low, [most], swarms_only=True)
        bench.table(args.low, [most])
    if not args.quick:
        bench.leaving(bench.swarm(), most)
    print()
    bench.targets(args.rate, args.clients)
    if args.low:
        bench.targets(args.low, [most])
    if not args.quick:
        bench.seed_wait(bench.swarm(), most)
    if args.loopback:
        bench.cpu()
    return bench.growth() if args.growth else None


def main():
    args = arguments()
    about = machine()
    commit = bench_report.commit()
    print(f"{about['machine']}, {about['cores']} cores, Linux {about['kernel']}, commit {commit}, "
          f"load {about['load_before']}; medians of {args.rounds} rounds, "
          f"{piece_bytes(args.size * MIB) >> 10} KiB pieces, "
          f"RAM disk, TCP with {about['tcp']}")
    with tempfile.TemporaryDirectory(prefix="bench-swarm-") as directory:
        # Seen by this process and its children only, and gone with them.
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=90%", "tmpfs", directory], check=True)
        try:
            bench = Bench(args, Path(directory))
            growth = measure(bench, args)
        finally:
            subprocess.run(["umount", "--lazy", directory], check=True)
    bench.drop_curves()
    report = {
        **about, "commit": commit, "date": bench_report.today(), "rounds": args.rounds,
        "bytes": args.size * MIB, "piece_bytes": piece_bytes(args.size * MIB), "peers": versions(),
        "transports": {each.name: each.note for each in bench.transports},
        "rows": bench.rows, "runs": bench.runs, "growth": growth,
    }
    path = bench_report.write(report, "swarm-quick" if args.quick else "swarm")
    if args.figures:
        from figures import draw  # matplotlib takes its time to start

        draw(path, args.figures)
    print(bench_report.held(bench.rows, path))
    return 0


if __name__ == "__main__":
    bench_report.run("bench-swarm", main, Failure)
