"""What the benches have in common: on what they ran, their rows, and where the result goes."""

import datetime
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def machine():
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "machine": cpu.group(1) if cpu else platform.machine(), "kernel": platform.release(),
        "cores": os.cpu_count(), "load_before": round(os.getloadavg()[0], 2),
    }


def git(*args):
    done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def commit():
    dirty = "-dirty" if git("status", "--porcelain", "--untracked-files=no") else ""
    return (git("rev-parse", "--short", "HEAD") or "none") + dirty


def write(report, name):
    """Writes the result; its path."""
    results = ROOT / "bench" / "results"
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"{report['date']}-{report['commit']}-{name}.json"
    path.write_text(json.dumps(report) + "\n")
    return path


def today():
    return datetime.date.today().isoformat()


def held(rows, path):
    met = [row["met"] for row in rows if row["met"] is not None]
    return f"{sum(met)} of {len(met)} targets met; written to {path.relative_to(ROOT)}"


def run(name, main, *mistakes):
    """Runs a bench to its end; mistakes are told in a line."""
    try:
        sys.exit(main())
    except (*mistakes, subprocess.CalledProcessError) as error:
        detail = getattr(error, "stderr", None) or ""
        print(f"{name}: {error}\n{detail}".rstrip(), file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
