"""How long a process stands still for other checkpoints of the same state: a forked child that copies it, a copy in
place, a file, and CRIU. Run alone, it prints a line of JSON each: rivals.py MIB PERCENT ROUNDS WRITER DIRECTORY.
"""

import json
import mmap
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

MIB = 1 << 20
PAGE = 4096


class State:
    """So much memory, of which some pages are written before each checkpoint."""

    def __init__(self, mebibytes, percent):
        self.memory = mmap.mmap(-1, mebibytes * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for start in range(0, len(self.memory), MIB):
            self.memory[start : start + MIB] = os.urandom(MIB)
        self.pages = range(0, len(self.memory), PAGE)
        self.dirty = len(self.pages) * percent // 100

    def write(self):
        for place in random.sample(self.pages, self.dirty):
            self.memory[place] = (self.memory[place] + 1) % 256


def fork(state, target):
    """The parent goes on once the kernel has its page tables twice; the child copies."""
    begin = time.perf_counter()
    child = os.fork()
    if child == 0:
        target[:] = state.memory
        os._exit(0)
    pause = time.perf_counter() - begin
    os.waitpid(child, 0)
    return pause, time.perf_counter() - begin


def copy(state, target):
    begin = time.perf_counter()
    target[:] = state.memory
    took = time.perf_counter() - begin
    return took, took


def disk(state, directory):
    path = Path(directory) / "checkpoint"
    begin = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        view = memoryview(state.memory)
        while view:
            view = view[file.write(view) :]
        os.fsync(file.fileno())
    took = time.perf_counter() - begin
    path.unlink()
    return took, took


def criu(writer, mebibytes, percent, rounds, directory):
    """The whole of another process, frozen while CRIU reads it."""
    if not shutil.which("criu"):
        return {"failed": "criu is not installed"}
    process = subprocess.Popen([writer, "--writer", "--size", str(mebibytes), "--dirty", str(percent)],
                               stdout=subprocess.PIPE, start_new_session=True)
    took = []
    try:
        process.stdout.readline()
        for number in range(rounds):
            images = Path(directory) / f"criu-{number}"
            images.mkdir()
            begin = time.perf_counter()
            done = subprocess.run(["criu", "dump", "--leave-running", "-t", str(process.pid), "-D", images],
                                  capture_output=True, text=True)
            took.append(time.perf_counter() - begin)
            shutil.rmtree(images)
            if done.returncode != 0:
                said = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
                return {"failed": f"criu does not run here: {said[0]}"}
    finally:
        process.kill()
        process.wait()
    return {"pause_s": took, "total_s": took}


def main():
    mebibytes, percent, rounds = map(int, sys.argv[1:4])
    writer, directory = sys.argv[4:6]
    random.seed(1)
    state, target = State(mebibytes, percent), mmap.mmap(-1, mebibytes * MIB)
    ways = {"fork, child copies": lambda: fork(state, target), "stop and copy": lambda: copy(state, target),
            "stop and write to disk": lambda: disk(state, directory)}
    for name, way in ways.items():
        pauses, totals = [], []
        for _ in range(rounds + 1):  # the first touches memory that nobody had
            state.write()
            pause, total = way()
            pauses.append(pause)
            totals.append(total)
        print(json.dumps({"way": name, "pause_s": pauses[1:], "total_s": totals[1:]}), flush=True)
    print(json.dumps({"way": "CRIU", **criu(writer, mebibytes, percent, rounds, directory)}))


if __name__ == "__main__":
    main()
