"""What the bench runs: the suite in a place of its own, the other tools, and one process with its time."""

import contextlib
import decimal
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "bench" / "work"
SEED = 319
PATIENCE_S = 30
SERVERS = ("serverA", "serverB", "serverC", "aws")
# What a peer may take of the address space: one that goes astray shall not take the machine along.
PEER_KIB = 8 << 20


class Failure(Exception):
    """The bench cannot go on; the message says why and what to do."""


# --- processes ---


def target_directory():
    """Where cargo builds."""
    meta = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )
    return Path(json.loads(meta.stdout)["target_directory"]) / "release"


class Run:
    """One process from start to end: seconds, exit status, what it printed."""

    def __init__(self, command, cwd):
        screens = WORK / "screens"
        screens.mkdir(parents=True, exist_ok=True)
        out, err = screens / "out", screens / "err"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        files = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(out), flags, 0o644),
            (os.POSIX_SPAWN_OPEN, 2, str(err), flags, 0o644),
        ]
        # posix_spawn starts a process in half a millisecond, subprocess in two; it has no cwd.
        before = os.getcwd()
        os.chdir(cwd)
        try:
            start = time.perf_counter()
            pid = os.posix_spawn(command[0], command, os.environ, file_actions=files)
            _, status = os.waitpid(pid, 0)
            self.seconds = time.perf_counter() - start
        finally:
            os.chdir(before)
        self.status = os.waitstatus_to_exitcode(status)
        self.out, self.err = out.read_text(errors="replace"), err.read_text(errors="replace")


def watched_peak(command, cwd):
    """Peak memory of a process in bytes, watched while it runs.

    What wait4 says is no less than our own at the time of the start, which is more than the client's.
    """
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, peak_of(process.pid))
        time.sleep(0.002)
    if process.returncode:
        raise Failure(f"{command[0]} has failed with status {process.returncode}")
    return peak


def peak_of(pid):
    """VmHWM in bytes; 0 while there is none, which is when a process begins or has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(found.group(1)) * 1024 if found else 0
    return 0


class Suite:
    """Four servers with ports of their own, in a directory of their own, and the client for them."""

    def __init__(self, name, target, loss=None, datagram=None):
        self.directory = WORK / "suites" / name
        shutil.rmtree(self.directory, ignore_errors=True)
        self.processes = {}
        udp, tcp = free_ports(7, socket.SOCK_DGRAM), free_ports(1, socket.SOCK_STREAM)[0]
        aws, backends, relays = udp[0], udp[1:4], udp[4:7]
        shared = f"datagram_bytes = {datagram}\n" if datagram else ""

        def place(who, program, aws_udp, ports):
            where = self.directory / who
            where.mkdir(parents=True)
            shutil.copy2(target / program, where / who)
            text = f"{shared}[aws]\ntcp_port = {tcp}\nudp_port = {aws_udp}\n"
            for letter, port in zip("ABC", ports):
                text += f'[[backend]]\nname = "{letter}"\nport = {port}\n'
            (where / "offload.toml").write_text(text)
            return where / who

        # With a relay between them, AWS takes the relay for the backend and the backend takes it for AWS.
        try:
            for i, letter in enumerate("ABC"):
                far = aws if loss is None else relays[i]
                ports = list(backends)
                program = place(f"server{letter}", f"server{letter.lower()}", far, ports)
                self.start(f"server{letter}", [str(program)])
                if loss is not None:
                    relay = [str(target / "examples" / "relay")]
                    relay += ["--listen", f"localhost:{relays[i]}", "--forward", f"localhost:{backends[i]}"]
                    self.start(f"relay{letter}", relay + ["--loss", str(loss), "--seed", str(SEED + i)])
            near = backends if loss is None else relays
            self.start("aws", [str(place("aws", "aws", aws, near))])
            self.client = str(place("client", "client", aws, near))
        except BaseException:
            self.stop()
            raise

    def start(self, name, command):
        screen = self.directory / f"{name}.screen"
        with screen.open("wb") as file:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        self.processes[name] = process
        deadline = time.monotonic() + PATIENCE_S
        while b"\n" not in screen.read_bytes():
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failure(f"{name} does not come up: {screen.read_text(errors='replace').strip()}")
            time.sleep(0.01)

    def peaks(self):
        """Peak memory of each server, in bytes."""
        return {name: peak_of(self.processes[name].pid) for name in SERVERS}

    def stop(self):
        for process in self.processes.values():
            process.send_signal(signal.SIGINT)
        for process in self.processes.values():
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def free_ports(count, kind):
    """Ports that nobody has now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(socket.AF_INET, kind)) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


# --- who is measured ---

POLARS = """
import polars as pl
n = pl.col("n")
frame = pl.scan_csv("nums.csv", has_header=False, schema={{"n": pl.Int64}})
print(frame.select({}).collect().item())
"""
POLARS_FORMS = {
    "sum": "n.sum()", "min": "n.min()", "max": "n.max()", "sos": "(n * n).sum()",
}
POLARS_WIDE_FORMS = {
    "sum": "n.cast(pl.Int128).sum()", "sos": "(n.cast(pl.Int128) * n.cast(pl.Int128)).sum()",
}
DUCKDB_READ = "from read_csv('nums.csv', header = false, auto_detect = false, columns = {'n': 'BIGINT'})"
DUCKDB_FORMS = {
    "sum": f"select sum(n) {DUCKDB_READ}",
    "min": f"select min(n) {DUCKDB_READ}",
    "max": f"select max(n) {DUCKDB_READ}",
    "sos": f"select sum(n::HUGEINT * n) {DUCKDB_READ}",
}
# The square of a BIGINT fits a HUGEINT, the sum of many does not: both halves are summed apart.
DUCKDB_HALVES = (
    "select sum(s >> 64), sum(s & 18446744073709551615::HUGEINT) "
    f"from (select n::HUGEINT * n as s {DUCKDB_READ})"
)
DATAMASH_FORMS = {"sum": "sum", "min": "min", "max": "max"}
MAWK_FORMS = {
    "sum": '{ s += $1 } END { printf "%.0f\\n", s }',
    "sos": '{ s += $1 * $1 } END { printf "%.0f\\n", s }',
}


def tool(name):
    found = shutil.which(name)
    if not found:
        raise Failure(f"{name} is missing: run `make bench`, which installs it")
    return found


def limited(command):
    """The command with a bound on its memory."""
    return ["/bin/sh", "-c", f'ulimit -v {PEER_KIB}; exec "$@"', "sh", *command]


def one_integer(text):
    # As it is printed: a float may come as 1.5e+20, which is an integer, if perhaps not the right one.
    return int(decimal.Decimal(text.split()[0]))


def two_halves(text):
    high, low = text.strip().split("|")
    return (int(high) << 64) + int(low)


class Peer:
    """A command and how its answer is read; `value` is None where there is no answer to read."""

    def __init__(self, name, command, read=one_integer):
        self.name, self.command, self.read = name, command, read

    def run(self, data):
        run = Run(self.command, data.directory)
        try:
            value = self.read(run.out) if run.status == 0 else None
        except (ValueError, IndexError, ArithmeticError):
            value = None
        return run, value


def ours(suite, function):
    """Our client; anything but an answer is an error of the bench."""
    def read(text):
        match = re.search(rf"reduction {function.upper()}: (-?\d+)", text)
        return int(match.group(1)) if match else None
    return Peer("offload", [suite.client, function], read)


def polars(function, forms, name):
    program = POLARS.format(forms[function])
    return Peer(name, limited([str(WORK / "venv/bin/python"), "-c", program]))


def duckdb(name, query, read=one_integer):
    command = [str(WORK / "venv/bin/duckdb"), "-noheader", "-list", "-c", query]
    return Peer(name, limited(command), read)


def peers(function):
    """All that can be asked for this function, by name."""
    found = [
        polars(function, POLARS_FORMS, "Polars"),
        duckdb("DuckDB", DUCKDB_FORMS[function]),
    ]
    if function in POLARS_WIDE_FORMS:
        found.append(polars(function, POLARS_WIDE_FORMS, "Polars Int128"))
    if function == "sos":
        found.append(duckdb("DuckDB halves", DUCKDB_HALVES, two_halves))
    if function in DATAMASH_FORMS:
        command = f"exec {tool('datamash')} {DATAMASH_FORMS[function]} 1 < nums.csv"
        found.append(Peer("datamash", limited(["/bin/sh", "-c", command])))
    if function in MAWK_FORMS:
        found.append(Peer("mawk", limited([tool("mawk"), MAWK_FORMS[function], "nums.csv"])))
    if function == "sum":
        found.append(Peer("wc -l", [tool("wc"), "-l", "nums.csv"]))
    return {peer.name: peer for peer in found}
