"""The paper's figures redrawn from a result of the swarm bench. Usage: figures.py RESULT.json DIRECTORY

Figure 1: time by the number of hosts, every transport. Figures 2 to 4: bandwidth of each host over time,
by one server, by multicast, by the swarm. Figure 5: peers that leave, and how time grows to 150 hosts.
Colours are those of Okabe and Ito, told apart by all; lines differ by marker too.
"""

import json
import statistics
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

MIB = 1 << 20
STYLES = {
    "offload": ("#0072B2", "o", "-"),
    "libtorrent": ("#E69F00", "s", "-"),
    "libtorrent tuned": ("#E69F00", "D", "--"),
    "aria2": ("#009E73", "^", "-"),
    "aria2 tuned": ("#009E73", "v", "--"),
    "transmission": ("#CC79A7", "P", "-"),
    "HTTP": ("#D55E00", "X", "-"),
    "rsync": ("#000000", "*", ":"),
    "multicast": ("#56B4E9", "h", "-"),
}
LEAVERS = {"at once": ("#D55E00", "leave at once"), "seed wait": ("#0072B2", "leave when not needed")}

plt.rcParams.update({
    "figure.figsize": (7.5, 4.4), "figure.facecolor": "white", "axes.facecolor": "white",
    "font.size": 11, "axes.titlesize": 12, "axes.grid": True, "grid.color": "#dddddd", "grid.linewidth": 0.8,
    "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
    "svg.fonttype": "none", "svg.hashsalt": "offload", "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"], "legend.frameon": False,
})


class Figures:
    def __init__(self, result, directory):
        self.result, self.directory = result, directory
        self.runs = [run for run in result["runs"] if "failed" not in run]
        self.rate = max(run["megabit"] for run in self.runs)

    def save(self, figure, name):
        figure.tight_layout()
        figure.savefig(self.directory / f"swarm-{name}.svg", metadata={"Date": None})
        plt.close(figure)

    def of(self, name, leave=None):
        return [
            run for run in self.runs
            if run["transport"] == name and run["megabit"] == self.rate and run["leave"] == leave
        ]

    def work(self):
        return f"{self.result['bytes'] // MIB} MiB, {self.rate} Mbit/s each way"

    def time_by_clients(self):
        figure, axes = plt.subplots()
        counts = sorted({run["clients"] for run in self.runs})
        for name, (colour, marker, line) in STYLES.items():
            seconds = {
                count: statistics.median(run["seconds"] for run in self.of(name) if run["clients"] == count)
                for count in counts if any(run["clients"] == count for run in self.of(name))
            }
            if seconds:
                axes.plot(list(seconds), list(seconds.values()), color=colour, marker=marker, linestyle=line,
                          label=name, linewidth=2.6 if name == "offload" else 1.6, markersize=7)
        limit = self.result["bytes"] * 8 / self.rate / 1e6
        axes.axhline(limit, color="#777777", linewidth=1, linestyle=(0, (2, 2)))
        axes.annotate("size / rate", (counts[-1], limit), xytext=(0, -13), textcoords="offset points",
                      ha="right", color="#555555", fontsize=10)
        axes.set_yscale("log", base=2)
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, [str(count) for count in counts])
        ticks = [4, 8, 16, 32, 64, 128]
        axes.set_yticks(ticks, [str(tick) for tick in ticks])
        axes.set_ylim(4, None)
        axes.set_xlabel("hosts")
        axes.set_ylabel("until the last host has the file (s)")
        axes.set_title(f"Time by the number of hosts: {self.work()}", loc="left")
        axes.legend(loc="upper left", fontsize=10, ncols=2)
        self.save(figure, "time")

    def bandwidth(self, name, title, file, leave=None):
        """One thin line a host, and the mean of all."""
        runs = self.of(name, leave)
        most = max((run["clients"] for run in runs), default=0)
        chosen = [run for run in runs if run["clients"] == most and "curve" in run]
        if not chosen:
            return
        figure, axes = plt.subplots()
        self.draw_hosts(axes, chosen[0], STYLES[name][0])
        axes.set_title(f"{title}: {most} hosts, {self.work()}", loc="left")
        self.save(figure, file)

    def draw_hosts(self, axes, run, colour):
        times = run["curve"]["t_s"]
        hosts = list(zip(*run["curve"]["received"]))[1:]
        for host in hosts:
            axes.plot(times, [smooth(host, at) * 8 / 1e6 for at in range(len(host))],
                      color="#888888", linewidth=0.6, alpha=0.7)
        mean = [statistics.mean(column) * 8 / 1e6 for column in zip(*hosts)]
        axes.plot(times, [smooth(mean, at) for at in range(len(mean))], color=colour, linewidth=2.4)
        axes.plot([], [], color="#888888", linewidth=0.8, label="a host")
        axes.plot([], [], color=colour, linewidth=2.4, label="mean of all hosts")
        axes.axhline(self.rate, color="#777777", linewidth=1, linestyle=(0, (2, 2)))
        axes.set_ylim(0, self.rate * 1.3)
        axes.set_xlim(0, None)
        axes.set_xlabel("time (s)")
        axes.set_ylabel("received by a host (Mbit/s)")
        axes.legend(loc="upper right", fontsize=10, ncols=2)

    def leaving(self):
        """Hosts that come one after another, and leave with or without a look at who needs them."""
        growth = self.result.get("growth")
        kinds = [kind for kind in LEAVERS if any(run["leave"] == kind for run in self.runs)]
        if not kinds:
            return
        figure, panels = plt.subplots(1, 2 if growth else 1, figsize=(10 if growth else 7.5, 4.4), squeeze=False)
        left = panels[0][0]
        for kind in kinds:
            colour, label = LEAVERS[kind]
            runs = [run for run in self.runs if run["leave"] == kind]
            run = sorted(runs, key=lambda run: run["seconds"])[len(runs) // 2]
            done = sorted(run["done_s"])
            left.step([0, *done], range(len(done) + 1), where="post", color=colour, linewidth=2.2, label=label)
        left.set_xlim(0, None)
        left.set_xlabel("time (s)")
        left.set_ylabel("hosts that have the file")
        left.set_title(f"Peers that leave: {run['clients']} hosts, {self.rate} Mbit/s", loc="left")
        left.legend(loc="upper left", fontsize=10)
        if growth:
            self.draw_growth(panels[0][1], growth)
        self.save(figure, "leaving")

    def draw_growth(self, axes, growth):
        for kind, (colour, label) in {None: ("#000000", "stay"), **LEAVERS}.items():
            points = [(each["clients"], each["ratio"]) for each in growth if each["leave"] == kind]
            if points:
                marker, line = ("X", "-") if kind == "at once" else ("o", "-") if kind else ("s", ":")
                axes.plot(*zip(*points), color=colour, marker=marker, linestyle=line, linewidth=2, label=label)
        counts = sorted({each["clients"] for each in growth})
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.set_ylim(0, None)
        axes.set_xlabel("hosts (simulated)")
        axes.set_ylabel("time of the last host / (size / rate)")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.set_title("The same, simulated", loc="left")
        axes.legend(loc="lower right", fontsize=10)


def smooth(values, at):
    """The mean of half a second around a sample."""
    around = values[max(0, at - 2) : at + 3]
    return sum(around) / len(around)


def draw(path, directory):
    figures = Figures(json.loads(Path(path).read_text()), Path(directory))
    figures.time_by_clients()
    figures.bandwidth("HTTP", "One server", "one-server")
    figures.bandwidth("multicast", "Multicast", "multicast")
    swarm = "offload" if figures.of("offload") else "libtorrent tuned"
    figures.bandwidth(swarm, "Swarm", "swarm")
    figures.leaving()


if __name__ == "__main__":
    draw(sys.argv[1], sys.argv[2])
