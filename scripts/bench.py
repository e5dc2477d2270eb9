"""The bench: our client against other tools, on the same warm file, in pairs of runs.

A ratio is taken pair by pair (ours, then the peer, at once), so that what slows the machine down slows
both; the median of the ratios is what a target is held to. Times are of whole processes, from start to
end. Every answer is compared with one computed by Python's integers; a wrong one of ours is a failure,
a wrong one of a peer is a note in the table. A missed target is shown and is no failure.

Standard library only, Python 3.9 or later; scripts/bench.sh installs the peers.
"""

import argparse
import datetime
import json
import math
import operator
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True  # nothing is left beside the sources

from bench_programs import (
    ROOT, SEED, WORK, Failure, Peer, Suite, ours, peers, target_directory, tool, watched_peak,
)

FUNCTIONS = ("sum", "min", "max", "sos")
MILLION = 1_000_000
MIB = 1 << 20


# --- inputs and their exact answers ---


class Input:
    """A file of numbers and what is true of it."""

    def __init__(self, shape, rows, target):
        self.shape, self.rows = shape, rows
        self.directory = WORK / "inputs" / f"{shape}-{rows}-{SEED}"
        self.path = self.directory / "nums.csv"
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            part = self.path.with_suffix(".part")
            command = [str(target / "examples" / "generate"), shape, str(rows), str(SEED), str(part)]
            subprocess.run(command, check=True)
            part.rename(self.path)
        self.bytes = self.path.stat().st_size
        self.exact = self.answers()

    def answers(self):
        """Computed once by a process of its own, whose memory is not counted as the client's."""
        cache = self.directory / "exact.json"
        if not cache.exists():
            part = cache.with_suffix(".part")
            with part.open("w") as file:
                command = [sys.executable, str(Path(__file__).resolve()), "--exact", str(self.path)]
                subprocess.run(command, check=True, stdout=file)
            part.rename(cache)
        return {name: int(value) for name, value in json.loads(cache.read_text()).items()}

    def warm(self):
        """Puts the file into the page cache."""
        with self.path.open("rb", buffering=0) as file:
            while file.read(MIB):
                pass

    def __str__(self):
        return f"{human(self.rows)} {self.shape}"


def exact(path):
    """All four answers by Python's integers."""
    totals = {"sum": 0, "min": math.inf, "max": -math.inf, "sos": 0, "rows": 0}
    with open(path, "rb") as file:
        while True:
            chunk = file.read(4 * MIB) + file.readline()
            if not chunk:
                break
            if len(chunk) == 2 * chunk.count(b"\n"):
                # One digit a row: counted, not read one by one.
                counts = {digit: chunk.count(b"%d" % digit) for digit in range(10)}
                present = [digit for digit, count in counts.items() if count]
                add = sum(digit * count for digit, count in counts.items())
                squares = sum(digit * digit * count for digit, count in counts.items())
                rows, least, most = sum(counts.values()), min(present), max(present)
            else:
                numbers = list(map(int, chunk.split()))
                add, squares = sum(numbers), sum(map(operator.mul, numbers, numbers))
                rows, least, most = len(numbers), min(numbers), max(numbers)
            totals["sum"] += add
            totals["sos"] += squares
            totals["rows"] += rows
            totals["min"], totals["max"] = min(totals["min"], least), max(totals["max"], most)
    return {name: str(value) for name, value in totals.items()}


# --- measuring ---


class Bench:
    def __init__(self, args):
        self.args = args
        self.target = target_directory()
        self.rows = []
        self.wrong = []
        self.tty = sys.stdout.isatty()

    def say(self, text):
        print(f"bench: {text}", file=sys.stderr, flush=True)

    def input(self, shape, rows):
        """The numbers, generated where they are missing, warm."""
        self.say(f"{human(rows)} {shape} numbers")
        data = Input(shape, rows, self.target)
        data.warm()
        return data

    def job(self, peer, function, data):
        """One run of ours, whose answer must be there and exact."""
        run, value = peer.run(data)
        if run.status != 0:
            raise Failure(f"{data}, {function}: the client failed: {run.err.strip()}")
        if value != data.exact[function]:
            self.wrong.append(f"{data}, {function}: {value}, exact is {data.exact[function]}")
        return run

    def pairs(self, suite, function, data, name, limit=None, runs=None, other=None):
        """Ours against one peer, in turn; `limit` is the ratio to reach."""
        mine = ours(suite, function)
        peer = other or peers(function)[name]
        self.job(mine, function, data)
        our_times, peer_times, values = [], [], set()
        for _ in range(runs or self.args.runs):
            our_times.append(self.job(mine, function, data).seconds)
            run, value = peer.run(data)
            peer_times.append(run.seconds)
            values.add(value)
        truth = data.exact[{"wc -l": "rows", "our own sum": "sum"}.get(name, function)]
        answer = None if None in values else "exact" if values == {truth} else "wrong"
        ratios = [a / b for a, b in zip(our_times, peer_times)]
        note = {"exact": "exact", "wrong": "WRONG ANSWER", None: "no answer"}[answer]
        if answer == "wrong":
            wrong = min(values - {truth})
            digits = truth != 0 and abs(wrong - truth) / abs(truth) < 1e-6
            note = "WRONG: rounded" if digits else f"WRONG: {wrong}"
        ratio = statistics.median(ratios)
        self.row(
            f"{data} {function}", f"vs {name}", f"{ratio:.3f}x", limit and f"<= {limit:.2f}x",
            limit and ratio <= limit,
            detail=f"{statistics.median(our_times):.3f} s / {statistics.median(peer_times):.3f} s; {name}: {note}",
            ours_s=spread(our_times), peer_s=spread(peer_times), ratios=spread(ratios),
            peer=name, peer_answer=answer or "none", peer_values=sorted(str(v) for v in values),
        )

    def row(self, work, measure, value, target, met, detail="", **figures):
        """Adds a row to the table and shows it at once."""
        if not self.rows:
            self.print_row("work", "measure", "value", "target", "", "ours / other; its answer")
        verdict = "" if met is None else "met" if met else "MISSED"
        self.rows.append(
            dict(work=work, measure=measure, value=value, target=target, met=met, detail=detail, **figures)
        )
        self.print_row(work, measure, value, target or "", verdict, detail)

    def print_row(self, work, measure, value, target, verdict, detail):
        colour = {"met": "\033[32m", "MISSED": "\033[31m"}.get(verdict) if self.tty else None
        shown = f"{verdict:6}"
        if colour:
            shown = f"{colour}{shown}\033[0m"
        line = f"{work:17} {measure:26} {value:>10} {target:>10} {shown} {detail}"
        print(line.rstrip(), flush=True)

    # --- the parts, in the order of the table ---

    def full_range(self, suite, rows):
        data = self.input("full", rows)
        for name, limit in (("Polars", 0.45), ("DuckDB", 0.30), ("wc -l", 3.0)):
            self.pairs(suite, "sum", data, name, limit)
        for name in ("Polars Int128", "datamash", "mawk"):
            self.pairs(suite, "sum", data, name, runs=self.args.others)
        self.pairs(suite, "sos", data, "DuckDB halves", 0.25)
        self.pairs(suite, "sos", data, "our own sum", 1.1, other=ours(suite, "sum"))
        for name in ("Polars", "Polars Int128", "DuckDB", "mawk"):
            self.pairs(suite, "sos", data, name, runs=self.args.others)

    def small(self, suite, rows):
        data = self.input("small", rows)
        for function in FUNCTIONS:
            self.pairs(suite, function, data, "Polars", 0.40)
        for function in FUNCTIONS:
            name = "DuckDB halves" if function == "sos" else "DuckDB"
            self.pairs(suite, function, data, name, runs=self.args.others)
        self.pairs(suite, "sum", data, "wc -l", runs=self.args.others)
        for function in ("sum", "sos"):
            self.pairs(suite, function, data, "mawk", runs=self.args.others)

    def few(self, suite):
        """300 numbers: what a job costs that is none."""
        data = self.input("full", 300)
        mine, nothing = ours(suite, "sum"), Peer("true", [tool("true")], len)
        self.job(mine, "sum", data)
        our_times, start_times = [], []
        for _ in range(41):
            our_times.append(self.job(mine, "sum", data).seconds)
            start_times.append(nothing.run(data)[0].seconds)
        median, start = statistics.median(our_times) * 1e3, statistics.median(start_times) * 1e3
        self.row(
            f"{data} sum", "wall", f"{median:.2f} ms", "<= 5 ms", median <= 5,
            f"of which a process's start (`true`): {start:.2f} ms",
            ours_s=spread(our_times), true_s=spread(start_times),
        )

    def growth(self, suite, sizes):
        """What a job of any size costs (300 numbers show it) is held against the small ones too."""
        inputs = [self.input("small", rows) for rows in sizes]
        nothing = self.input("small", 300)
        mine = ours(suite, "sum")
        times = {data: [] for data in [nothing, *inputs]}
        for _ in range(self.args.runs):
            for data in times:
                times[data].append(self.job(mine, "sum", data).seconds * 1e9)
        fixed = statistics.median(times[nothing])
        middle = inputs[len(inputs) // 2]

        def cost(data, less=0.0):
            return (statistics.median(times[data]) - less) / data.rows

        for data in inputs:
            away, net = cost(data) / cost(middle) - 1, cost(data, fixed) / cost(middle, fixed) - 1
            self.row(
                f"{data} sum", "ns a number", f"{cost(data):.2f}", "+-20 %", abs(away) <= 0.2,
                f"{away:+.1%} from {middle}; {net:+.1%} without the {fixed / 1e6:.1f} ms of 300 numbers",
                ns=spread([each / data.rows for each in times[data]]), net_ns=cost(data, fixed),
            )

    def loss(self, rows, percent=5):
        """Both through relays, so that they differ by the loss alone."""
        data = self.input("full", rows)
        with Suite("clean", self.target, 0, 1472) as clean, \
                Suite("lossy", self.target, percent, 1472) as lossy:
            mine = {"clean": ours(clean, "sum"), "lossy": ours(lossy, "sum")}
            times = {"clean": [], "lossy": []}
            for kind in mine:
                self.job(mine[kind], "sum", data)
            for _ in range(self.args.runs):
                for kind in mine:
                    times[kind].append(self.job(mine[kind], "sum", data).seconds)
        ratios = [a / b for a, b in zip(times["clean"], times["lossy"])]
        ratio = statistics.median(ratios)
        rate = {k: data.rows * 8 / statistics.median(v) / 1e6 for k, v in times.items()}
        self.row(
            f"{data} sum", f"goodput at {percent} % UDP loss", f"{ratio:.1%}", ">= 60 %", ratio >= 0.6,
            f"{rate['lossy']:.0f} / {rate['clean']:.0f} MB/s, 1,472-byte datagrams, relayed",
            lossy_s=spread(times["lossy"]), clean_s=spread(times["clean"]), ratios=spread(ratios),
        )

    def memory(self, rows):
        """Servers of their own, so that no earlier job counts."""
        data = self.input("small", rows)
        with Suite("memory", self.target) as suite:
            mine = ours(suite, "sum")
            self.job(mine, "sum", data)
            peaks = {"client": watched_peak(mine.command, data.directory), **suite.peaks()}
        most = max(peaks.values())
        detail = ", ".join(f"{name} {peak / MIB:.1f}" for name, peak in peaks.items())
        self.row(
            f"{data} sum", "peak memory, each process", f"{most / MIB:.1f} MiB", "< 64 MiB",
            most < 64 * MIB, detail, peak_bytes=peaks,
        )

    def billion(self, suite, rows):
        data = self.input("digit", rows)
        before = len(self.wrong)
        run = self.job(ours(suite, "sum"), "sum", data)
        wrong = len(self.wrong) > before
        answer = "WRONG ANSWER" if wrong else "exact"
        self.row(
            f"{data} sum", "wall", f"{run.seconds:.2f} s", None, None,
            f"{data.bytes / 1e9:.1f} GB, {run.seconds * 1e9 / data.rows:.2f} ns a number; {answer}",
            ours_s=spread([run.seconds]), exact=not wrong,
        )

    def stages(self, rows):
        """Each stage alone; what the job costs is less than their sum, since they overlap."""
        parse, reduce, transport = (
            self.example(name, *args)
            for name, args in (
                ("parse_speed", [min(rows, 3 * MILLION)]), ("reduce_speed", []), ("transport_speed", [rows]),
            )
        )
        sums = {name: each["dispatched"] for name, each in reduce["functions"].items()}
        shown = ", ".join(f"{name} {ns}" for name, ns in sums.items())
        lines = (
            ("parse", f"{parse['full']['fast']}", f"full range; small {parse['small']['fast']}, portable "
             f"{parse['full']['portable']}, counting rows {parse['full']['count']}; one core, in memory"),
            ("TCP", f"{transport['tcp']}", "frames of 8-byte numbers over loopback, two threads"),
            ("UDP", f"{transport['udp']}", f"the same by rudp in large datagrams; in 1,472-byte ones "
             f"{transport['udp_1472']}"),
            ("reduce", f"{max(sums.values())}", f"the slowest of {shown}; one core, in cache"),
        )
        figures = {"parse": parse, "TCP": transport, "UDP": transport, "reduce": reduce}
        for name, value, detail in lines:
            self.row(name, "ns a number, alone", value, None, None, detail, figures=figures[name])

    def example(self, name, *args):
        command = [str(self.target / "examples" / name), *map(str, args)]
        self.say(name)
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return json.loads(done.stdout)


def spread(values):
    return {
        "median": statistics.median(values), "min": min(values), "max": max(values), "all": list(values),
    }


def human(rows):
    return f"{rows // MILLION}M" if rows >= MILLION else str(rows)


# --- what is written down ---


def machine():
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    return {
        "machine": cpu.group(1) if cpu else platform.machine(),
        "memory_gib": round(int(memory.group(1)) / (1 << 20), 1) if memory else None,
        "kernel": platform.release(),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(os.getloadavg()[0], 2),
    }


def versions():
    """Of the peers, as they say it."""
    commands = {
        "Polars": [str(WORK / "venv/bin/python"), "-c", "import polars; print(polars.__version__)"],
        "DuckDB": [str(WORK / "venv/bin/duckdb"), "--version"],
        "datamash": [tool("datamash"), "--version"],
        "mawk": [tool("mawk"), "-W", "version"],
        "wc": [tool("wc"), "--version"],
    }
    said = {}
    for name, command in commands.items():
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        said[name] = (done.stdout or done.stderr).splitlines()[0].strip()
    return said


def git(*args):
    done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def main():
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, help="pairs of runs a row (default 5, --quick 3)")
    parser.add_argument("--quick", action="store_true", help="3M numbers instead of 30M, nothing larger")
    parser.add_argument("--full", action="store_true", help="the 10^9 rows even where the disk is nearly full")
    parser.add_argument("--exact", metavar="FILE", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.exact:
        print(json.dumps(exact(args.exact)))
        return 0
    args.runs = args.runs or (3 if args.quick else 5)
    args.others = min(args.runs, 3)  # rows without a target
    about = machine()
    dirty = "-dirty" if git("status", "--porcelain", "--untracked-files=no") else ""
    commit = (git("rev-parse", "--short", "HEAD") or "none") + dirty
    bench = Bench(args)
    print(f"{about['machine']}, {about['cores']} cores, Linux {about['kernel']}, commit {commit}, "
          f"load {about['load_before']}; medians of {args.runs} pairs, warm file, whole processes")
    measure(bench, args)
    report = {
        **about, "commit": commit, "date": datetime.date.today().isoformat(), "runs": args.runs,
        "quick": args.quick, "peers": versions(), "rows": bench.rows, "wrong": bench.wrong,
    }
    results = ROOT / "bench" / "results"
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"{report['date']}-{commit}{'-quick' if args.quick else ''}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    held = [row["met"] for row in bench.rows if row["met"] is not None]
    print(f"{sum(held)} of {len(held)} targets met; written to {path.relative_to(ROOT)}")
    for line in bench.wrong:
        print(f"WRONG: {line}")
    return 1 if bench.wrong else 0


def measure(bench, args):
    base = 3 * MILLION if args.quick else 30 * MILLION
    with Suite("main", bench.target) as suite:
        bench.full_range(suite, base)
        bench.small(suite, base)
        bench.few(suite)
        if not args.quick:
            bench.growth(suite, [base // 10, base, 5 * base])
    bench.loss(base)
    if not args.quick:
        bench.memory(5 * base)
        rows = 1000 * MILLION
        missing = not (WORK / "inputs" / f"digit-{rows}-{SEED}" / "nums.csv").exists()
        if missing and shutil.disk_usage(WORK).free < 8 << 30 and not args.full:
            bench.say("10^9 rows left out: they need 2 GB of a disk that is nearly full (--full insists)")
        else:
            with Suite("billion", bench.target) as suite:
                bench.billion(suite, rows)
    bench.stages(base)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        print(f"bench: {failure}", file=sys.stderr)
        sys.exit(1)
    except subprocess.CalledProcessError as error:
        print(f"bench: {error}\n{error.stderr or ''}".rstrip(), file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
