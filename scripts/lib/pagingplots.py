"""Plots of scripts/paging-study, with Debian's python3-matplotlib.

SPDX-License-Identifier: GPL-2.0-or-later
"""

COLOURS = {"native": "#7a869a", "nested": "#5b6fb5", "shadow": "#c77d2e", "agile": "#a0527d",
           "dsp": "#1b7f5c", "retrained": "#59b28f"}
INCH = 80               # dots: images are small


def programs(panel, names):
    panel.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=8)
    panel.tick_params(axis="y", labelsize=8)


def times(plt, rows, modes):
    """Bars: time of each mode relative to nested; a line where the paper has shadow paging.
    rows: (program, {mode: ratio}, the paper's ratio or None)"""
    modes = [mode for mode in modes if mode != "nested"]
    figure, panel = plt.subplots(figsize=(10, 3.4), dpi=INCH)
    width = 0.8 / len(modes)
    top = 1.6
    for i, mode in enumerate(modes):
        at = [n + (i - len(modes) / 2 + 0.5) * width for n in range(len(rows))]
        values = [r.get(mode) or 0 for _, r, _ in rows]
        panel.bar(at, values, width, label=mode, color=COLOURS[mode])
        for x, value in zip(at, values):
            if value > top:             # the bar is cut
                panel.text(x, top - 0.02, f"{value:.1f}", fontsize=7, ha="center", va="top",
                           rotation=90, color="white")
    papers = [(n, paper) for n, (_, _, paper) in enumerate(rows) if paper]
    if papers:
        panel.hlines([p for _, p in papers], [n - 0.45 for n, _ in papers],
                     [n + 0.45 for n, _ in papers], color="black", linewidth=1.6,
                     label="shadow, the paper's")
    panel.axhline(1, color="black", linewidth=0.6)
    programs(panel, [program for program, *_ in rows])
    panel.set_ylabel("time / time nested", fontsize=8)
    panel.set_ylim(0.5, top)
    panel.legend(fontsize=7, ncols=len(modes) + 1)
    figure.tight_layout()
    return figure


def shares(plt, panels):
    """Bars: percent of the time in each mode, with the number of switches over them.
    panels: (title, [(program, result or None)])"""
    figure, axes = plt.subplots(len(panels), 1, figsize=(10, 0.9 + 1.9 * len(panels)), dpi=INCH,
                                sharex=True, squeeze=False)
    for (title, rows), panel in zip(panels, axes[:, 0]):
        shadow = []
        for n, (_, e) in enumerate(rows):
            total = sum(e["time"]) if e else 0
            shadow.append(100 * e["time"][1] / total if total else 0)
            panel.text(n, 102, e["switches"] if e else "not run", fontsize=7, ha="center")
        panel.bar(range(len(rows)), shadow, 0.7, label="shadow", color=COLOURS["shadow"])
        panel.bar(range(len(rows)), [100 - s if e else 0 for s, (_, e) in zip(shadow, rows)], 0.7,
                  bottom=shadow, label="nested", color=COLOURS["nested"])
        panel.set_ylim(0, 118)
        panel.set_ylabel(f"% of time; {title}", fontsize=8)
        programs(panel, [program for program, _ in rows])
    axes[0, 0].legend(fontsize=7, ncols=2, loc="lower right")
    figure.tight_layout()
    return figure


def overheads(plt, rows):
    """Bars: percent that forced switches cost. rows: (program, percent)"""
    figure, panel = plt.subplots(figsize=(10, 2.6), dpi=INCH)
    panel.bar(range(len(rows)), [value for _, value in rows], 0.7, color=COLOURS["nested"])
    panel.axhline(0, color="black", linewidth=0.6)
    programs(panel, [program for program, _ in rows])
    panel.set_ylabel("overhead, %", fontsize=8)
    figure.tight_layout()
    return figure


def switches(plt, rows):
    """Points: ms of a pair of switches here, and of a switch in the paper.
    rows: (program, ms, the paper's ms or None)"""
    figure, panel = plt.subplots(figsize=(5, 4), dpi=INCH)
    rows = [row for row in rows if row[2]]
    panel.scatter([paper for *_, paper in rows], [ms for _, ms, _ in rows], s=18,
                  color=COLOURS["shadow"])
    for program, ms, paper in rows:
        panel.annotate(program, (paper, ms), xytext=(4, 3), textcoords="offset points", fontsize=8)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlabel("a switch in the paper, ms", fontsize=8)
    panel.set_ylabel("a pair of switches here, ms", fontsize=8)
    panel.tick_params(labelsize=8, which="both")
    figure.tight_layout()
    return figure
