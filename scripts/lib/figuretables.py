"""Tables of experiments: what is made of the counters of runs, as reStructuredText.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import re

from experiments import Fault
from samples import estimate


def instructions(counted):
    return counted["vm"]["vcpu-insns-privileged"] + counted["vm"]["vcpu-insns-user"]


def states(counted, *names):
    """Percent of the time of all VCPUs that they were in these states."""
    machine = counted["vm"]
    total = sum(machine["vcpu-" + name] for name in (
        "running-useful", "running-spinning", "ready", "blocked", "switching"))
    return 100 * sum(machine["vcpu-" + name] for name in names) / total


def spinning(counted):
    """Percent of the time in which VCPUs ran."""
    machine = counted["vm"]
    useful, spun = machine["vcpu-running-useful"], machine["vcpu-running-spinning"]
    return 100 * spun / (useful + spun)


def pcpu_time(counted, name):
    """Percent of the time of all PCPUs."""
    machine = counted["vm"]
    total = sum(machine["pcpu-" + each] for each in (
        "busy", "stalled", "switching", "idle", "skipped", "offline"))
    return 100 * machine["pcpu-" + name] / total


def share(counted, vm):
    """Percent of the time of all PCPUs, switches left out, that a VM ran."""
    def ran(name):
        return counted[name]["vcpu-running-useful"] + counted[name]["vcpu-running-spinning"]
    return 100 * ran(f"vm[{vm}]") / (ran("vm") + counted["vm"]["pcpu-idle"])


LEVELS = {"l1": ("l1i", "l1d"), "l2": ("l2",), "l3": ("l3",)}
KINDS = ("compulsory", "capacity", "coherence")


def misses(counted, level):
    """For 1000 instructions, those that spin included"""
    caches = counted["caches"]
    return 1000 * sum(caches.get(f"{cache}-misses-{kind}", 0) for cache in LEVELS[level]
                      for kind in KINDS) / instructions(counted)


def stalls(counted):
    """Cycles that PCPUs waited for memory, all levels and all of them together"""
    return sum(value for name, value in counted["caches"].items() if name.startswith("stall-"))


# name: (heading, of one run: counters and report, digits after the point)
MEASURES = {
    "instructions": ("instructions, 10^6", lambda c, r: instructions(c) / 1e6, 1),
    "time": ("time, ms", lambda c, r: (r["cycles"] if r else c["vm"]["time"]) / 1e6, 2),
    "spinning": ("spinning, %", lambda c, r: spinning(c), 1),
    "ready": ("ready, %", lambda c, r: states(c, "ready"), 1),
    "idle": ("PCPUs idle, %", lambda c, r: pcpu_time(c, "idle"), 1),
    "switching": ("PCPUs switching, %", lambda c, r: pcpu_time(c, "switching"), 1),
    "switches": ("switches", lambda c, r: c["vm"]["pcpu-switches"], 0),
    "refused": ("refused", lambda c, r: c["vm"]["vcpu-cross-calls-refused"], 0),
    "migrations": ("migrations", lambda c, r: c["vm"]["vcpu-migrations"], 0),
    "longest-wait": ("longest wait, us", lambda c, r: c["vm"]["vcpu-longest-wait"] / 1e3, 0),
    "stall": ("stalls, 10^6 cycles", lambda c, r: stalls(c) / 1e6, 2),
    "stalled": ("PCPUs stalled, %", lambda c, r: pcpu_time(c, "stalled"), 1),
    "speed": ("performance", lambda c, r: 1e9 / (r["cycles"] if r else c["vm"]["time"]), 2),
    "l1-misses": ("L1 misses, 1/1000", lambda c, r: misses(c, "l1"), 1),
    "l2-misses": ("L2 misses, 1/1000", lambda c, r: misses(c, "l2"), 2),
    "l2-code-misses": ("L2 instruction misses, 1/1000", lambda c, r:
                       1000 * c["caches"]["l2-fetch-misses"] / instructions(c), 2),
    "l2-data-misses": ("L2 data misses, 1/1000", lambda c, r: misses(c, "l2") -
                       1000 * c["caches"]["l2-fetch-misses"] / instructions(c), 2),
    "l3-misses": ("L3 misses, 1/1000", lambda c, r: misses(c, "l3"), 3),
    "transfers": ("transfers, 1/1000", lambda c, r:
                  1000 * c["caches"]["served-by-transfer"] / instructions(c), 2),
    "done": ("done by VM 0", lambda c, r: r["done"], 0),
    "others": ("done by VM 1", lambda c, r: r["done_by_others"], 0),
    "total": ("done by all", lambda c, r: r["done"] + r["done_by_others"], 0),
    "share0": ("VM 0, %", lambda c, r: share(c, 0), 2),
    "share1": ("VM 1, %", lambda c, r: share(c, 1), 2),
}
RATIO = "/"             # behind a measure: divided by that of the baseline
SPEEDUP = "speedup"     # mean of the ratios of what both VMs have done
ASKED, OFF = "asked", "off"


class Figures:
    """What all runs of an experiment say."""

    def __init__(self, experiment, store, runs):
        self.experiment = experiment
        # {(case, policy): [entry of each seed]}
        self.entries = {}
        by_run = {(run.case, run.options, run.seed): run for run in runs}
        for case in experiment.cases:
            for policy, options in experiment.policies.items():
                entries = [store.get(by_run[case, options, seed]) for seed in experiment.seeds]
                self.entries[case.name, policy] = [entry for entry in entries if entry]

    def samples(self):
        """The least and the most seeds that any setting has results of."""
        sizes = [len(entries) for entries in self.entries.values()]
        return min(sizes), max(sizes)

    def over(self, case, policy):
        """Whether there are runs, and all came to their ends within the limit."""
        entries = self.entries[case, policy]
        return bool(entries) and all(entry["statistics"] for entry in entries)

    def values(self, case, policy, measure):
        """One a seed."""
        if measure not in MEASURES:
            raise Fault(f"{self.experiment.name}: columns: {measure} is not possible: allowed are "
                        f"{', '.join([*MEASURES, SPEEDUP, ASKED, OFF])}, and measures with / "
                        "behind them")
        of = MEASURES[measure][1]
        return [of(entry["statistics"], entry["report"]) for entry in self.entries[case, policy]]

    def estimate(self, case, policy, column):
        """None: the runs were not over, of this policy or of the baseline."""
        base = self.experiment.baseline
        if not self.over(case, policy):
            return None
        if column == SPEEDUP and not self.over(case, base):
            return None
        if column == SPEEDUP:
            parts = [(self.values(case, policy, m), estimate(self.values(case, base, m)).mean)
                     for m in ("done", "others")]
            return estimate(sum(values[n] / mean for values, mean in parts) / len(parts)
                            for n in range(len(parts[0][0])))
        if column.endswith(RATIO):
            if not self.over(case, base):
                return None
            name = column.removesuffix(RATIO)
            return (estimate(self.values(case, policy, name)) /
                    estimate(self.values(case, base, name)))
        return estimate(self.values(case, policy, column))

    def asked(self, case, policy):
        """(what VMs were to get, percent that the worst of them is off, None without runs)"""
        asked = next(c.asked for c in self.experiment.cases if c.name == case)
        if not self.over(case, policy):
            return asked, None
        got = [self.estimate(case, policy, f"share{n}").mean for n in range(len(asked))]
        return asked, max(100 * abs(g - a) / a for g, a in zip(got, asked))


def heading(column):
    if column == SPEEDUP:
        return SPEEDUP
    if column == ASKED:
        return "asked, %"
    if column == OFF:
        return "off by, %"
    name = column.removesuffix(RATIO)
    text = MEASURES[name][0]
    return text if name == column else text.split(",")[0] + ", ratio"


def cell(figures, case, policy, column):
    if column == ASKED:
        return " : ".join(f"{share:.2f}" for share in figures.asked(case, policy)[0])
    if column == OFF:
        off = figures.asked(case, policy)[1]
        if off is None:
            return "--"
        return f"{off:.2f}" if off <= 2 else f"**{off:.2f}**"
    digits = 2 if column == SPEEDUP or column.endswith(RATIO) else MEASURES[column][2]
    value = figures.estimate(case, policy, column)
    if value is None:
        return "--"
    text = f"{value.mean:,.{digits}f}".replace(",", " ")
    return text if value.half is None else f"{text} ±{value.half:,.{digits}f}".replace(",", " ")


def simple_table(rows, names=1):
    """Of reStructuredText: the first row is the heading, the first columns are names."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    rule = " ".join("=" * width for width in widths)

    def line(row):
        return " ".join(text.ljust(width) if n < names else text.rjust(width)
                        for n, (text, width) in enumerate(zip(row, widths))).rstrip()

    return "\n".join([rule, line(rows[0]), rule, *map(line, rows[1:]), rule])


def tables(figures):
    """All tables of an experiment, one below the other."""
    e = figures.experiment
    head = [heading(column) for column in e.columns]
    if any(case.asked for case in e.cases):
        return simple_table([["case", "policy", *head]] + [
            [case.name, policy, *(cell(figures, case.name, policy, c) for c in e.columns)]
            for case in e.cases for policy in e.policies], 2)
    parts = []
    for case in e.cases:
        options = "" if case.machine == e.cases[0].machine == e.cases[-1].machine \
            else f"``{case.machine}``, "
        what = f"``{case.program or case.workload}``" + (f" ``{case.arguments}``"
                                                         if case.arguments else "")
        parts.append(f"**{case.name}**: {options}{what}\n\n" + simple_table(
            [["policy", *head]] + [[policy, *(cell(figures, case.name, policy, c)
                                              for c in e.columns)] for policy in e.policies]))
    return "\n\n".join(parts)


def overview(figures, column):
    """Policies by cases, one measure."""
    e = figures.experiment
    return simple_table([["policy", *(case.name for case in e.cases)]] + [
        [policy, *(cell(figures, case.name, policy, column) for case in e.cases)]
        for policy in e.policies])


def place_in(path, name):
    """(all before, all behind) what is between '.. begin NAME' and '.. end NAME' of a page."""
    try:
        with open(path, encoding="utf-8") as file:
            page = file.read()
    except OSError as fault:
        raise Fault(f"{path}: {fault.strerror}: a page with '.. begin {name}' and '.. end {name}' "
                    "is needed") from fault
    found = re.findall(rf"(.*\.\. begin {re.escape(name)}\n).*?(\.\. end {re.escape(name)}\n.*)",
                       page, flags=re.DOTALL)
    count = page.count(f".. begin {name}\n")
    if len(found) != 1 or count != 1:
        raise Fault(f"{path}: '.. begin {name}' and '.. end {name}' are there {count} times, and "
                    "not once")
    return found[0]


def put_into(path, name, text):
    """Replace what is between '.. begin NAME' and '.. end NAME' of a page."""
    before, behind = place_in(path, name)
    page = f"{before}\n{text}\n\n{behind}"
    temporary = path + ".new"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(page)
    os.replace(temporary, path)
