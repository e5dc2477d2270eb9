"""Runs of the paper's tasks, and what a checkpoint and a death cost in them."""

import json
import mmap
import statistics
import subprocess

# Sizes that take some seconds here; the paper's own are in README and docs/parity.md.
TASKS = {
    "mergesort": ("--size", "10000000", "--chunk", "100000"),
    "matmul": ("--size", "2629"),
    "apsp": ("--size", "1500"),
}
VICTIMS = ("worker:1@50%", "worker:3@40%", "worker:2@60%")
# Later than any run ends, and more than any writes: a checkpoint is taken where the message log is full, and at the
# end, no more.
NEVER = ("--interval", "100000", "--buffer", "1TiB")
PATIENCE_S = 120
# More than any of the runs takes.
WARM_BYTES = 3 << 30


class Failure(Exception):
    """The bench cannot go on; the reason is for people."""


class Run:
    """One that has ended."""

    def __init__(self, report):
        self.elapsed, self.right = report["elapsed_s"], report["right"]
        self.happened = [(it["at_s"], it["member"], it["what"]) for it in report["happened"]]

    def events(self, name):
        """(when, who, the event) of the machines' events with this name."""
        for at, member, what in self.happened:
            event = what.get("Event") if isinstance(what, dict) else None
            if event == name:
                yield at, member, None
            elif isinstance(event, dict) and name in event:
                yield at, member, event[name]

    def checkpoints(self):
        return sum(1 for _, member, _ in self.events("Committed") if member == "holder 0")

    def latencies(self):
        """For each checkpoint: from the first worker that takes it until it counts."""
        taken = {}
        for at, _, event in self.events("Taken"):
            taken.setdefault(event["line"], at)
        return [at - taken[line] for at, member, line in self.events("Committed") if member == "holder 0" and line in taken]

    def recoveries(self):
        """For each death: until all go on."""
        deaths = [at for at, _, what in self.happened if isinstance(what, dict) and "died" in what]
        ends = [at for at, _, _ in self.events("Recovered")]
        spans = zip(deaths, deaths[1:] + [float("inf")])
        last = [(death, [at for at in ends if death <= at < until]) for death, until in spans]
        return [max(ends) - death for death, ends in last if ends]


class Lost:
    """One that did not end, or not well."""

    elapsed, right = float("nan"), False

    def checkpoints(self):
        return 0

    def latencies(self):
        return []

    recoveries = latencies


def warm():
    """Has memory that a run may need, so that none is the first to touch it: on a virtual machine that takes as long
    as a task."""
    mmap.mmap(-1, WARM_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE).close()


def run(offload, task, words, mode, interval=None, kill=None):
    often = NEVER if interval is None else ("--interval", str(interval), "--buffer", "1TiB")
    death = () if kill is None else ("--kill", kill)
    command = [str(offload), "parity", "run", task, *words, "--mode", mode, *often, *death, "--json"]
    warm()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        done = None
    if done is None or not done.stdout:
        # The paper's scheme may wait for ever, for a message that it has lost or for room in its log.
        if mode == "enhanced":
            return Lost()
        said = "does not end" if done is None else done.stderr.strip()
        raise Failure(f"{' '.join(command)}: {said}")
    return Run(json.loads(done.stdout))


def costs(taken):
    """O, L and R in seconds, of (run with few checkpoints, with many, with many and a death), paired; None where
    no pair of runs has ended.

    O is what one more checkpoint adds to the time of a run: the slope from the few to the many."""
    each = [
        (many.elapsed - few.elapsed) / (many.checkpoints() - few.checkpoints())
        for few, many, _ in taken if few.right and many.right and many.checkpoints() > few.checkpoints()
    ]
    latencies = sum((many.latencies() for _, many, _ in taken), [])
    recoveries = sum((killed.recoveries() for *_, killed in taken if killed.right), [])
    if not each or not latencies or not recoveries:
        return None
    # Below what can be told from noise, it is nothing.
    return {
        "O": max(statistics.median(each), 0.0), "L": statistics.median(latencies),
        "R": statistics.median(recoveries), "O_each": each,
    }
