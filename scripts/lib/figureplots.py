"""Plots of experiments, with Debian's python3-matplotlib.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os

from experiments import Fault
from figuretables import RATIO, heading

KEYS = {"file", "column", "columns", "cases", "policies", "log"}
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


def checked(e):
    """(columns, cases, policies) that the plot of an experiment has"""
    wrong = sorted(set(e.plot) - KEYS)
    if wrong:
        raise Fault(f"{e.name}: plot: {', '.join(wrong)} is not possible: allowed are "
                    f"{', '.join(sorted(KEYS))}")
    if ("column" in e.plot) == ("columns" in e.plot):
        raise Fault(f"{e.name}: plot: column or columns has to say what is drawn, one of them")
    columns = e.plot.get("columns") or [e.plot["column"]]
    allowed = [*e.columns, "speedup"]
    unknown = [column for column in columns if column not in allowed]
    if unknown:
        raise Fault(f"{e.name}: plot: column {', '.join(unknown)} is not possible: allowed are "
                    f"{', '.join(allowed)}")
    return (columns, e.plot.get("cases", [case.name for case in e.cases]),
            [p for p in e.policies if p in e.plot.get("policies", e.policies)])


def draw(panel, figures, case, column, policies):
    """A bar for each policy, with its interval"""
    for y, policy in enumerate(policies):
        value = figures.estimate(case, policy, column)
        if value is None:
            panel.text(0.04, y, "not over" if figures.entries[case, policy] else "not run",
                       fontsize=7, va="center", transform=panel.get_yaxis_transform())
            continue
        panel.barh(y, value.mean, xerr=value.half, height=0.7, error_kw={"elinewidth": 1},
                   color=COLOURS.get(policy.split()[0], OTHERS))
    if column.endswith(RATIO) or column == "speedup":
        panel.axvline(1, color="black", linewidth=0.8)
    if figures.experiment.plot.get("log"):
        panel.set_xscale("log")
    panel.tick_params(labelsize=7)


def label(e, column):
    text = heading(column)
    if column.endswith(RATIO):
        text = text.replace("ratio", f"relative to {e.baseline}")
    elif column == "speedup":
        text += f" over {e.baseline}"
    return text


def layout(e):
    """Panels, row by row: [[(case, column)]].  A row has one column and all cases, or, of a single
    case, all columns."""
    columns, cases, _ = checked(e)
    if len(cases) == 1:
        return [[(cases[0], column) for column in columns]]
    return [[(case, column) for case in cases] for column in columns]


def bars(figures, directory):
    """A panel for each case and column."""
    plt, e = pyplot(), figures.experiment
    rows, (columns, cases, policies) = layout(e), checked(e)
    aside = len(cases) == 1 and len(columns) > 1
    figure, panels = plt.subplots(len(rows), len(rows[0]), sharey=True, squeeze=False, dpi=INCH,
                                  sharex="none" if aside or len(rows) == 1 else "row",
                                  figsize=(2.2 + 1.7 * len(rows[0]),
                                           len(rows) * (0.8 + 0.2 * len(policies))))
    for n, row in enumerate(rows):
        for panel, (case, column) in zip(panels[n], row):
            draw(panel, figures, case, column, policies)
            if aside or n == 0:
                panel.set_title(heading(column).removesuffix(", ratio") if aside else case,
                                fontsize=9)
        if len(rows) > 1:
            panels[n][len(row) // 2].set_xlabel(label(e, row[0][1]), fontsize=9)
        panels[n][0].set_yticks(range(len(policies)), policies, fontsize=8)
    panels[0][0].invert_yaxis()
    if aside:
        figure.supxlabel(f"relative to {e.baseline}" if all(c.endswith(RATIO) for c in columns)
                         else cases[0], fontsize=9)
    elif len(rows) == 1:
        figure.supxlabel(label(e, columns[0]), fontsize=9)
    figure.tight_layout()
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, e.plot["file"])
    # No date and no version: what is drawn from the same numbers is the same file.
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)
    return path
