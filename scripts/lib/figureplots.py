"""Plots of experiments, with Debian's python3-matplotlib.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os

from experiments import Fault
from figuretables import RATIO, heading

KEYS = {"file", "column", "cases", "policies", "log"}
INCH = 80               # dots: images are small
COLOURS = {"timeslice": "#7a869a", "sdb": "#1b7f5c", "partition": "#59b28f", "gang": "#c77d2e",
           "cosched": "#d8a05a", "credit": "#5b6fb5", "sedf": "#8f9ed1"}
OTHERS = "#a0527d"


def pyplot():
    """Matplotlib without a screen."""
    try:
        # pylint: disable=import-outside-toplevel
        import matplotlib
    except ModuleNotFoundError as fault:
        raise Fault("plots need matplotlib: 'scripts/packages figures' installs Debian's "
                    "python3-matplotlib, or says what to install; --no-plots makes tables "
                    "only") from fault
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    return plt


def bars(figures, directory):
    """A panel for each case, with a bar for each policy and its interval."""
    plt, e = pyplot(), figures.experiment
    wrong = sorted(set(e.plot) - KEYS)
    if wrong:
        raise Fault(f"{e.name}: plot: {', '.join(wrong)} is not possible: allowed are "
                    f"{', '.join(sorted(KEYS))}")
    column, cases = e.plot["column"], e.plot.get("cases", [case.name for case in e.cases])
    policies = [p for p in e.policies if p in e.plot.get("policies", e.policies)]
    figure, panels = plt.subplots(1, len(cases), sharey=True, squeeze=False, dpi=INCH,
                                  figsize=(2.2 + 1.7 * len(cases), 0.8 + 0.2 * len(policies)))
    for panel, case in zip(panels[0], cases):
        for y, policy in enumerate(policies):
            value = figures.estimate(case, policy, column)
            if value is None:
                panel.text(0.04, y, "not over" if figures.entries[case, policy] else "not run", fontsize=7, va="center",
                           transform=panel.get_yaxis_transform())
                continue
            panel.barh(y, value.mean, xerr=value.half, height=0.7, error_kw={"elinewidth": 1},
                       color=COLOURS.get(policy.split()[0], OTHERS))
        if column.endswith(RATIO) or column == "speedup":
            panel.axvline(1, color="black", linewidth=0.8)
        if e.plot.get("log"):
            panel.set_xscale("log")
        panel.set_title(case, fontsize=9)
        panel.tick_params(labelsize=7)
        panel.invert_yaxis() if panel is panels[0][0] else None
    panels[0][0].set_yticks(range(len(policies)), policies, fontsize=8)
    label = heading(column)
    if column.endswith(RATIO):
        label = label.replace("ratio", f"relative to {e.baseline}")
    elif column == "speedup":
        label += f" over {e.baseline}"
    figure.supxlabel(label, fontsize=9)
    figure.tight_layout()
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, e.plot["file"])
    # No date and no version: what is drawn from the same numbers is the same file.
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)
    return path
