"""Plots of the cache model's reports and intervals, with Debian's python3-matplotlib.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from cachereports import SERVERS, both, objects, stalls
from experiments import Fault           # of pyplot(): there is no matplotlib
from figureplots import INCH, pyplot

__all__ = ["Fault", "bars", "intervals_plot", "report_plot", "shares"]

COLOURS = {"l2": "#9fb7a5", "upgrade": "#d8a05a", "transfer": "#c77d2e", "l3": "#5b6fb5",
           "memory": "#7a3b69"}
LABELS = {"l2": "L2", "upgrade": "upgrade", "transfer": "another L2", "l3": "L3",
          "memory": "memory"}


def save(plt, figure, path):
    # No date and no version: what is drawn from the same numbers is the same file.
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


def bars(report):
    """What report_plot() draws: {name: {server: stall cycles for each instruction}}; without
    instructions, cycles."""
    out = {}
    for name, item in objects(report):
        counters = both(item)
        by = counters["instructions"] or (0 if "instructions" in counters else 1)
        out[name] = {server: cycles / by if by else 0
                     for server, cycles in stalls(counters).items()}
    return out


def report_plot(report, path):
    """A bar for each PCPU, VCPU and VM: stall cycles of an instruction, by who answered."""
    plt, values = pyplot(), bars(report)
    figure, axes = plt.subplots(dpi=INCH, figsize=(7, 1.2 + 0.22 * len(values)))
    left = [0.0] * len(values)
    for server in SERVERS:
        lengths = [v[server] for v in values.values()]
        axes.barh(range(len(values)), lengths, left=left, height=0.75, color=COLOURS[server],
                  label=LABELS[server])
        left = [a + b for a, b in zip(left, lengths)]
    axes.set_yticks(range(len(values)), list(values), fontsize=7)
    axes.invert_yaxis()
    axes.tick_params(axis="x", labelsize=7)
    known = "instructions" in report["machine"]["user"]
    axes.set_xlabel(f"stall cycles{' for each instruction' if known else ''}", fontsize=8)
    axes.legend(fontsize=7, ncols=len(SERVERS), loc="lower center", bbox_to_anchor=(0.5, 1))
    figure.tight_layout()
    save(plt, figure, path)


def shares(intervals):
    """What intervals_plot() draws: [{server: percent of the PCPUs' time that are stalls}]"""
    out = []
    for i in intervals:
        time = (i["end"] - i["begin"]) * len(i["pcpus"])
        total = dict.fromkeys(SERVERS, 0)
        for p in i["pcpus"]:
            for server, cycles in stalls(both(p)).items():
                total[server] += cycles
        out.append({server: 100 * cycles / time if time else 0
                    for server, cycles in total.items()})
    return out


def steps(intervals):
    """(edges in ms, what shares() says between two of them): 0 where caches were off"""
    edges, values = [], []
    for i, value in zip(intervals, shares(intervals)):
        begin, end = (i[name] * 1e3 / i["clock-hz"] for name in ("begin", "end"))
        if edges and begin != edges[-1]:
            edges.append(begin)
            values.append(dict.fromkeys(SERVERS, 0))
        edges += [end] if edges else [begin, end]
        values.append(value)
    return edges, values


def intervals_plot(intervals, path):
    """Over time: the part of the PCPUs' time that they stalled, by who answered."""
    plt = pyplot()
    edges, values = steps(intervals)
    figure, axes = plt.subplots(dpi=INCH, figsize=(8, 3))
    below = [0.0] * len(values)
    for server in SERVERS:
        above = [b + v[server] for b, v in zip(below, values)]
        axes.stairs(above, edges, baseline=below, fill=True, color=COLOURS[server],
                    label=LABELS[server])
        below = above
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=7)
    axes.set_xlabel("simulated time, ms", fontsize=8)
    axes.set_ylabel("stalled, % of the time of all PCPUs", fontsize=8)
    axes.legend(fontsize=7, ncols=len(SERVERS), loc="lower center", bbox_to_anchor=(0.5, 1))
    figure.tight_layout()
    save(plt, figure, path)
