"""The bench of checkpoints: what they cost, beside what the paper says, other schemes, and this machine's limits.

Whatever is compared has its turn in each round, so that what slows the machine down slows all; figures are
medians of the rounds. Times on such a machine mean little by themselves: what counts are the ratios.

Standard library, and matplotlib for the figures; Python 3.11 or later. scripts/bench-parity.sh builds what is run.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True  # nothing is left beside the sources
sys.path.append(str(Path(__file__).resolve().parent.parent))

import bench_report
import runs
from runs import Failure

ROOT = Path(__file__).resolve().parent.parent.parent
MIB = 1 << 20
# Of the issue.
PAUSE_TARGET, PAUSE_FACTOR = 0.010, 5
RATIO_TARGET = 0.70
OVERHEAD_TARGET = 0.03
RATE_TARGET = 0.80
RECOVERY_TARGET = 2.0
# The paper's, per second: one failure in 44 hours.
PAPER_RATE = 6.301e-6
OTHER_RATES = (1 / 3600, 1 / 300)
MODES = ("n+1", "enhanced", "offload")


class Bench:
    def __init__(self, args):
        self.args, self.rows, self.tty = args, [], sys.stdout.isatty()
        release = Path(args.target) / "release"
        self.offload, self.examples = release / "offload", release / "examples"
        for program in (self.offload, *(self.examples / name for name in ("equations", "pause", "writer"))):
            if not program.exists():
                raise Failure(f"{program} is not built: scripts/bench-parity.sh does it")

    def say(self, text):
        print(f"bench-parity: {text}", file=sys.stderr, flush=True)

    def row(self, work, measure, value, target=None, met=None, detail="", **figures):
        verdict = "" if met is None else "met" if met else "MISSED"
        self.rows.append(dict(work=work, measure=measure, value=value, target=target, met=met, detail=detail, **figures))
        colour = {"met": "\033[32m", "MISSED": "\033[31m"}.get(verdict) if self.tty else None
        shown = f"{colour}{verdict:6}\033[0m" if colour else f"{verdict:6}"
        print(f"{work:26} {measure:34} {value:>12} {target or '':>10} {shown} {detail}".rstrip(), flush=True)

    def example(self, name, *words):
        """Runs one; its lines of JSON."""
        done = subprocess.run([self.examples / name, *map(str, words)], capture_output=True, text=True)
        if done.returncode != 0:
            raise Failure(f"{name} {' '.join(map(str, words))}: {done.stderr.strip()}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    # --- the paper's equations ---

    def equations(self):
        for row in self.example("equations"):
            known = row["table"] == "10" and row["scheme"] == "proposed"
            self.row(f"table {row['table']}, {row['scheme']}", "overhead ratio r", f"{row['ratio']:.7f}", row["printed"],
                     row["reproduces"] or known, "does not reproduce: a known mismatch of the paper" if known else
                     f"T_opt {row['interval_s']:.3f} s", **{k: row[k] for k in ("ratio", "interval_s", "reproduces")})

    def ratio(self, rate, costs):
        """Equation (3) for O, L and R."""
        # No O below what can be told from noise.
        solved = self.example("equations", rate, max(costs["O"], 1e-6), costs["L"], costs["R"])[0]
        return solved["ratio"], solved["interval_s"]

    # --- pauses ---

    def pauses(self):
        args = self.args
        words = ("--size", args.state, "--dirty", args.dirty)
        found = {}
        # Both programs have a turn in each round, so a slow minute is everybody's.
        with tempfile.TemporaryDirectory(prefix="bench-parity-", dir=args.disk) as directory:
            for number in range(args.rounds):
                for row in self.example("pause", *words, "--rounds", 3, "--seed", number + 1):
                    found.setdefault(row.pop("mechanism"), []).append(row)
                rivals = [sys.executable, Path(__file__).parent / "rivals.py", args.state, args.dirty, 3,
                          self.examples / "pause", directory]
                done = subprocess.run([str(word) for word in rivals], capture_output=True, text=True, check=True)
                for line in done.stdout.splitlines():
                    row = json.loads(line)
                    found.setdefault(row.pop("way"), []).append(row)
        work, pauses = f"{args.state} MiB, {args.dirty} % dirty", {}
        for way, rows in found.items():
            if "failed" in rows[0]:
                self.row(work, f"pause, {way}", "-", detail=rows[0]["failed"])
                continue
            median = {key: statistics.median(sum((row[key] for row in rows), [])) for key in rows[0] if key.endswith("_s")}
            pauses[way] = median["pause_s"]
            extra = (f"writes to clean pages {median['write_s'] * 1e3:.1f} ms before, diff and checksum "
                     f"{median['rest_s'] * 1e3:.1f} ms beside the task" if "write_s" in median
                     else f"whole checkpoint {median['total_s'] * 1e3:.1f} ms")
            is_ours = way == next(iter(found))
            pauses[way, "total"] = median.get("total_s")
            self.row(work, f"pause, {way}", f"{median['pause_s'] * 1e3:.2f} ms", "<= 10 ms" if is_ours else None,
                     median["pause_s"] <= PAUSE_TARGET if is_ours else None, extra, **median)
        ours = pauses[next(iter(found))]
        for way, key in (("fork, child copies", ("fork, child copies", "total")), ("fork's pause alone", "fork, child copies"),
                         ("stop and copy", "stop and copy"), ("stop and write to disk", "stop and write to disk")):
            factor, asked = pauses[key] / ours, way in ("fork, child copies", "stop and write to disk")
            self.row(work, f"{way} / ours", f"{factor:.1f}x", f">= {PAUSE_FACTOR}x" if asked else None,
                     factor >= PAUSE_FACTOR if asked else None, factor=factor)

    # --- the three tasks ---

    def tasks(self):
        return {task: self.costs(task, words) for task, words in runs.TASKS.items()}

    def costs(self, task, words):
        """O, L, R and r of each mode, from runs with few checkpoints, with many, and with a death too."""
        taken = {mode: [] for mode in MODES}
        for number in range(self.args.rounds):
            kill = runs.VICTIMS[number % len(runs.VICTIMS)]
            for mode in MODES[number % len(MODES) :] + MODES[: number % len(MODES)]:
                few = runs.run(self.offload, task, words, mode)
                many = runs.run(self.offload, task, words, mode, self.args.interval)
                killed = runs.run(self.offload, task, words, mode, self.args.interval, kill)
                taken[mode].append((few, many, killed))
                self.say(f"{task}, {mode}: {few.elapsed:.2f} s with {few.checkpoints()} checkpoints, {many.elapsed:.2f} s "
                         f"with {many.checkpoints()}, {killed.elapsed:.2f} s with a death too"
                         f"{'' if killed.right else '; WRONG, or not ended'}")
        of_mode = {mode: self.mode(task, mode, taken[mode]) for mode in MODES}
        self.compare(task, of_mode)
        return of_mode

    def mode(self, task, mode, taken):
        right = f"right after a death: {sum(killed.right for *_, killed in taken)} of {len(taken)}"
        costs = runs.costs(taken)
        if costs is None:
            self.row(f"{task}, {mode}", "O, L, R (ms)", "-", detail=f"too few runs have ended; {right}")
            return None
        costs["rates"] = {}
        for rate in (PAPER_RATE, *OTHER_RATES):
            ratio, interval = self.ratio(rate, costs)
            costs["rates"][f"1 in {1 / rate:.0f} s"] = {"r": ratio, "T_opt": interval}
        at_paper = costs["rates"][f"1 in {1 / PAPER_RATE:.0f} s"]
        costs["r"], costs["T_opt"] = at_paper["r"], at_paper["T_opt"]
        rates = "; ".join(f"r {of['r']:.4%} at {rate}" for rate, of in costs["rates"].items())
        self.row(f"{task}, {mode}", "O, L, R (ms)", " ".join(f"{costs[cost] * 1e3:.0f}" for cost in "OLR"),
                 detail=f"{rates}; {right}", costs=costs)
        return costs

    def compare(self, task, of_mode):
        for mode in ("enhanced", "offload"):
            if not of_mode[mode] or not of_mode["n+1"]:
                continue
            part, asked = of_mode[mode]["r"] / of_mode["n+1"]["r"], mode == "offload"
            self.row(task, f"r, {mode} / n+1", f"{part:.2f}x", f"<= {RATIO_TARGET}x" if asked else None,
                     part <= RATIO_TARGET if asked else None, part=part)
        if task == "matmul" and of_mode["offload"]:
            costs = of_mode["offload"]
            share = costs["O"] / costs["T_opt"]
            self.row(task, "overhead at T_opt, no failure", f"{share:.3%}", f"<= {OVERHEAD_TARGET:.0%}",
                     share <= OVERHEAD_TARGET, f"O / T_opt = {costs['O'] * 1e3:.0f} ms / {costs['T_opt']:.0f} s", share=share)

    # --- moving state ---

    def writer(self, *words):
        """(what the checkpoints did, what plain TCP did) for so much state, with P_c's processor time."""
        runs.warm()
        done = subprocess.run([self.examples / "writer", *map(str, words)], capture_output=True, text=True)
        if done.returncode != 0:
            raise Failure(f"writer {' '.join(map(str, words))}: {done.stderr.strip()}")
        ours, plain = map(json.loads, done.stdout.splitlines())
        for line in done.stderr.splitlines():
            if '"holder 0"' in line:
                ours["cpu_s"] = json.loads(line)["cpu_s"]
        return ours, plain

    def rate(self):
        """How fast P_c takes diffs in, beside plain TCP with as many senders and receivers."""
        shares = []
        for number in range(self.args.rounds):
            ours, plain = self.writer("--state", 64, "--dirty", 50, "--steps", 60000, "--workers", 2)
            rates = [done["bytes"] / done["seconds"] for done in (ours, plain)]
            shares.append((rates[0] / rates[1], *rates, ours["cpu_s"] / ours["all_bytes"], plain["cpu_s"] / plain["bytes"]))
            self.say(f"P_c took in {rates[0] / 1e9:.2f} GB/s, plain TCP {rates[1] / 1e9:.2f} GB/s")
        share, ours, plain, cpu, plain_cpu = (statistics.median(column) for column in zip(*shares))
        self.row("2 workers, 64 MiB, 50 %", "parity updates at P_c / TCP", f"{share:.2f}x", f">= {RATE_TARGET}x",
                 share >= RATE_TARGET, f"{ours / 1e9:.2f} of {plain / 1e9:.2f} GB/s; processor: P_c {1e-9 / cpu:.2f} GB a "
                 f"second of a core, a TCP receiver {1e-9 / plain_cpu:.2f}", share=share, ours=ours, plain=plain,
                 cpu=cpu, plain_cpu=plain_cpu)

    def recovery(self):
        """One death: until all go on, beside the time that plain TCP takes for as much as one worker's state."""
        for workers, state in ((2, self.args.state), (4, self.args.state // 4), (4, self.args.state)):
            shares = []
            for number in range(self.args.rounds):
                ours, plain = self.writer("--state", state, "--steps", 40, "--workers", workers, "--interval", 0.25, "--kill")
                # As much as is rebuilt in all where the state is shared out, else one worker's.
                base = plain["seconds"] * (self.args.state // state)
                shares.append((ours["recovery_s"] / base, ours["recovery_s"], base))
                self.say(f"{workers} workers of {state} MiB: {ours['recovery_s']:.3f} s, plain TCP {base:.3f} s")
            share, ours, base = (statistics.median(column) for column in zip(*shares))
            asked = state == self.args.state and workers == 2
            self.row(f"{workers} workers of {state} MiB", f"recovery / TCP of {self.args.state} MiB", f"{share:.2f}x",
                     f"<= {RECOVERY_TARGET:.0f}x" if asked else None, share <= RECOVERY_TARGET if asked else None,
                     f"{ours * 1e3:.0f} ms and {base * 1e3:.0f} ms, from the discovery of the death until all go on", share=share)

    # --- growth ---

    def growth(self):
        """What a checkpoint costs with more workers, and in groups: our machines on simulated links."""
        spec = ROOT / "crates" / "parity" / "examples" / "growth.toml"
        found = {}
        with tempfile.TemporaryDirectory(prefix="bench-parity-") as directory:
            grouped = Path(directory) / "grouped.toml"
            grouped.write_text(spec.read_text().replace("# workers_per_group", "workers_per_group"))
            for name, path in (("one group", spec), ("groups of 4", grouped)):
                done = subprocess.run([self.offload, "parity", "simulate", path, "--json"], capture_output=True, text=True)
                if done.returncode != 0:
                    raise Failure(f"simulate {path}: {done.stderr.strip()}")
                found[name] = json.loads(done.stdout)
                for row in found[name]:
                    self.row(f"n = {row['workers']}, {name}", f"O, L, {row['mode']}",
                             f"{row['overhead_s']:.2f} {row['latency_s']:.2f} s", detail=f"simulated; r {row['ratio']:.3%}"
                             if row["ratio"] is not None else "simulated")
        return found


PARTS = ("equations", "pauses", "tasks", "rate", "recovery", "growth")


def arguments():
    parser = argparse.ArgumentParser(prog="make bench-parity", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, help="rounds of everything (default 5, --quick 1)")
    parser.add_argument("--state", type=int, default=256, help="MiB of state for pauses and recoveries (default 256)")
    parser.add_argument("--dirty", type=int, default=10, help="per cent of its pages written before a pause (default 10)")
    parser.add_argument("--interval", type=float, default=0.25, help="seconds between the tasks' checkpoints (default 0.25)")
    parser.add_argument("--disk", default=str(ROOT / "bench" / "work"), help="where checkpoints on disk go (default bench/work)")
    parser.add_argument("--figures", metavar="DIRECTORY", help="draws pauses and growth there, as parity-*.svg")
    parser.add_argument("--only", type=lambda text: text.split(","), default=PARTS, help=f"of {','.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="a first look: one round")
    parser.add_argument("--target", required=True, help=argparse.SUPPRESS)
    args = parser.parse_args()
    unknown = set(args.only) - set(PARTS)
    if unknown:
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    args.rounds = args.rounds or (1 if args.quick else 5)
    return args


def main():
    args = arguments()
    about = bench_report.machine()
    commit = bench_report.commit()
    print(f"{about['machine']}, {about['cores']} cores, Linux {about['kernel']}, commit {commit}, "
          f"load {about['load_before']}; medians of {args.rounds} rounds")
    bench, found = Bench(args), {}
    for part in PARTS:
        if part in args.only:
            found[part] = getattr(bench, part)()
    report = {**about, "commit": commit, "date": bench_report.today(), "rounds": args.rounds,
              "rows": bench.rows, **{part: what for part, what in found.items() if what is not None}}
    path = bench_report.write(report, "parity-quick" if args.quick else "parity")
    if args.figures:
        from figures import draw  # matplotlib takes its time to start

        draw(path, args.figures)
    print(bench_report.held(bench.rows, path))
    return 0


if __name__ == "__main__":
    bench_report.run("bench-parity", main, Failure)
