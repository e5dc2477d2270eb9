"""Figures of a result of the bench of checkpoints. Usage: figures.py RESULT.json DIRECTORY

parity-pauses: how long a task stands still, by how it is done. parity-growth: what a checkpoint costs with more
workers. Colours are those of Okabe and Ito, told apart by all; lines differ by marker too.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

OURS, OTHERS = "#0072B2", "#999999"
LINES = {
    ("n+1", "one group"): ("#D55E00", "X", "n+1: O, all stand still"),
    ("offload", "one group"): (OURS, "o", "offload: L, beside the task"),
    ("offload", "groups of 4"): ("#009E73", "s", "offload in groups of 4: L"),
}

plt.rcParams.update({
    "figure.figsize": (7.5, 4.2), "figure.facecolor": "white", "axes.facecolor": "white",
    "font.size": 11, "axes.titlesize": 12, "axes.grid": True, "grid.color": "#dddddd", "grid.linewidth": 0.8,
    "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
    "svg.fonttype": "none", "svg.hashsalt": "offload", "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"], "legend.frameon": False,
})


def pauses(result, path):
    rows = [row for row in result["rows"] if row["measure"].startswith("pause, ") and "pause_s" in row]
    names = [row["measure"].removeprefix("pause, ") for row in rows]
    times = [row["pause_s"] * 1e3 for row in rows]
    colours = [OURS if "rest_s" in row else OTHERS for row in rows]
    figure, axes = plt.subplots()
    bars = axes.barh(names, times, color=colours)
    axes.bar_label(bars, [f"{time:.1f}" for time in times], padding=3)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("ms that the task stands still (logarithmic)")
    axes.set_title(f"A checkpoint of {rows[0]['work']}: ours in blue")
    axes.grid(axis="y", visible=False)
    axes.set_xlim(1, max(times) * 2)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def growth(result, path):
    figure, axes = plt.subplots()
    for (mode, name), (colour, marker, label) in LINES.items():
        rows = [row for row in result["growth"][name] if row["mode"] == mode]
        cost = "overhead_s" if mode == "n+1" else "latency_s"
        axes.plot([row["workers"] for row in rows], [row[cost] for row in rows], color=colour, marker=marker, label=label)
    workers = sorted({row["workers"] for row in result["growth"]["one group"]})
    axes.set_xticks(workers, [str(count) for count in workers])
    axes.set_xlabel("workers")
    axes.set_ylabel("seconds for a checkpoint")
    axes.set_ylim(bottom=0)
    axes.set_title("64 MiB of diff for each worker, links of 1 Gbit/s, simulated")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def draw(result, directory):
    result, directory = json.loads(Path(result).read_text()), Path(directory)
    if any("pause_s" in row for row in result["rows"]):
        pauses(result, directory / "parity-pauses.svg")
    if result.get("growth"):
        growth(result, directory / "parity-growth.svg")


if __name__ == "__main__":
    draw(*sys.argv[1:])
