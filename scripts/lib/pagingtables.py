"""Tables and plots of scripts/paging-study, beside the numbers of Wang et al., VEE 2011.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import math
import os
import subprocess

from figureplots import pyplot
from figuretables import put_into
from monitor import TOP
from pagingruns import MODES, Run
from pagingtraining import APART, Retraining

HZ = 2_800_000_000              # of the i7-860
# Programs of the paper that ours stand for
SPEC = {"gcc": "gcc", "bzip2": "bzip2", "perl": "perlbench", "hmmer": "hmmer", "chess": "sjeng",
        "gnugo": "gobmk", "libquantum": "libquantum", "x264": "h264ref", "xalan": "xalancbmk",
        "mcf": "mcf", "solver": "cactusADM"}
# Time shadow / time nested, 32-bit guest, of its tables 4 and 5
RATIO = {"perlbench": 1.001, "bzip2": .998, "gcc": 1.327, "mcf": .859, "gobmk": .996,
         "hmmer": .997, "sjeng": .995, "libquantum": .992, "h264ref": .998, "xalancbmk": .985,
         "cactusADM": .845}
# A switch from nested to shadow, ms, of its table 5
SWITCH = {"mcf": 46.1, "cactusADM": 20.1, "sjeng": 17.6, "xalancbmk": 15.5, "perlbench": 12.2,
          "gcc": 9.5, "libquantum": 6.4, "gobmk": 4.6, "bzip2": 3.6, "h264ref": 3.1, "hmmer": 2.2}


def fixed(value, digits=3):
    return "--" if value is None else f"{value:.{digits}f}"


def grid(heads, rows):
    """A simple table of reStructuredText."""
    rows = [[str(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    line = " ".join("=" * w for w in widths)
    text = [" ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([line, text[0], line, *text[1:], line])


def cycles(entry):
    return entry["counters"]["cycles"] if entry else None


def misses(entry):
    return entry["counters"]["itlb-misses"] + entry["counters"]["dtlb-misses"]


def ratio(a, b):
    return a / b if a is not None and b else None


class Part:
    """One table, which needs some runs."""
    modes = ()
    plot = None

    def of(self, options, program, mode, **more):
        return Run(program, options.architecture, mode, options.interval, **more)

    def runs(self, options):
        return [self.of(options, program, mode) for program in options.programs
                for mode in self.modes]

    def results(self, store, options, program):
        return {mode: store.get(self.of(options, program, mode)) for mode in self.modes}


class Costs(Part):
    """Wang et al., section 4.3: from the totals of mcf and gcc"""
    modes = ("nested", "shadow")
    PAPER = {("mcf", "nested"): (12539673680, 243491, 383),
             ("mcf", "shadow"): (12752691972, 346439, 329),
             ("gcc", "nested"): (1082065972, 13320141, 403),
             ("gcc", "shadow"): (3198642850, 13302782, 534)}

    def runs(self, options):
        return [self.of(options, program, mode) for program in ("mcf", "gcc")
                for mode in self.modes]

    def text(self, store, options):
        rows, of = [], {}
        for program in "mcf", "gcc":
            for mode, e in self.results(store, options, program).items():
                paper = self.PAPER[program, mode]
                of[program, mode] = e
                rows.append((f"{program}, {mode}", *(
                    (f"{misses(e):,}", f"{e['counters']['page-faults']:,}",
                     fixed(cycles(e) / HZ, 4)) if e else ("--",) * 3),
                    f"{paper[0]:,}", f"{paper[1]:,}", paper[2]))
        text = grid(("program, mode", "TLB misses", "page faults", "s", "paper: misses", "faults",
                     "s"), rows)
        if not all(of.values()):
            return text
        miss = (cycles(of["mcf", "nested"]) - cycles(of["mcf", "shadow"])) / \
            misses(of["mcf", "nested"])
        fault = (cycles(of["gcc", "shadow"]) - cycles(of["gcc", "nested"])) / \
            of["gcc", "nested"]["counters"]["page-faults"]
        more = misses(of["gcc", "shadow"]) / misses(of["gcc", "nested"])
        return text + (
            f"\n\nSo a TLB miss costs {miss:.1f} cycles ({miss / HZ * 1e9:.2f} ns) more nested "
            f"than shadow (mcf; the paper: 12 cycles, 4.31 ns), and a page fault {fault:,.0f} cycles "
            f"({fault / HZ * 1e6:.2f} us) more shadow than nested (gcc; the paper: 28,000 cycles, "
            f"9.83 us). gcc misses {more:.2f} times as often in shadow mode (the paper: 2.96).")


class Times(Part):
    modes = (*MODES, "dsp")
    plot = "paging-times.png"

    def runs(self, options):
        return super().runs(options) + [
            self.of(options, program, "dsp", settings=options.settings)
            for program in options.programs if options.settings]

    def rows(self, store, options):
        for program in options.programs:
            e = self.results(store, options, program)
            if options.settings:
                e["retrained"] = store.get(self.of(options, program, "dsp",
                                                   settings=options.settings))
            nested = cycles(e["nested"])
            if nested:
                yield program, e, {mode: ratio(cycles(one), nested) for mode, one in e.items()}

    def text(self, store, options):
        rows, sums = [], {}
        columns = ["native", "shadow", "agile", "dsp", *(["retrained"] if options.settings else [])]
        for program, e, r in self.rows(store, options):
            n = e["nested"]["counters"]
            better = min(1, r["shadow"] or 1)
            best = {"better": better, **{c: r[c] for c in columns}}
            for name, value in best.items():
                if value:
                    sums.setdefault(name, []).append(math.log(value))
            rows.append((program, f"{n['insns'] / 1e9:.2f}",
                         fixed(1000 * misses(e["nested"]) / n["insns"]),
                         fixed(1000 * n["page-faults"] / n["insns"], 4),
                         *(fixed(r[c]) for c in columns), fixed(better),
                         fixed(RATIO.get(SPEC.get(program)))))
        rows.append(("geometric mean", "", "", "", *(
            fixed(math.exp(sum(sums[c]) / len(sums[c])) if sums.get(c) else None)
            for c in (*columns, "better")), ""))
        heads = {"dsp": "dsp, the paper's", "retrained": "dsp, retrained"}
        return grid(("program", "insns, 1e9", "misses / 1000", "faults / 1000",
                     *(heads.get(c, c) for c in columns), "better of both", "paper: shadow"), rows)

    def draw(self, store, options, path):
        plt = pyplot()
        rows = list(self.rows(store, options))
        modes = [("native", "#7a869a"), ("shadow", "#c77d2e"), ("agile", "#5b6fb5"),
                 ("dsp", "#1b7f5c"), *([("retrained", "#59b28f")] if options.settings else [])]
        figure, panel = plt.subplots(figsize=(9, 3.4), dpi=80)
        width = 0.8 / len(modes)
        for i, (mode, colour) in enumerate(modes):
            panel.bar([n + (i - len(modes) / 2 + 0.5) * width for n in range(len(rows))],
                      [r.get(mode) or 0 for _, _, r in rows], width, label=mode, color=colour)
        panel.axhline(1, color="black", linewidth=0.8)
        panel.set_xticks(range(len(rows)), [p for p, *_ in rows], rotation=40, ha="right",
                         fontsize=8)
        panel.set_ylabel("time / time nested", fontsize=8)
        panel.set_ylim(bottom=0.5)
        panel.legend(fontsize=7, ncols=len(modes))
        figure.tight_layout()
        figure.savefig(path, metadata={"Software": None})
        plt.close(figure)


class Forced(Part):
    def __init__(self, mode):
        self.mode = mode
        self.base = "nested" if mode == "N-S-N" else "shadow"
        self.modes = (self.base, mode)

    def of(self, options, program, mode, **more):
        interval = options.interval * (APART if mode == self.mode else 1)
        return Run(program, options.architecture, mode, interval, **more)

    def text(self, store, options):
        rows = []
        for program in options.programs:
            e = self.results(store, options, program)
            a, b = cycles(e[self.base]), cycles(e[self.mode])
            if a is None or b is None:
                continue
            there = e[self.mode]["switches"] / 2
            row = [program, f"{a / HZ * 1000:.2f}", f"{b / HZ * 1000:.2f}", int(there),
                   fixed(100 * (b - a) / a, 2)]
            if self.mode == "S-N-S":
                row += [fixed((b - a) / there / HZ * 1000, 4) if there else "--",
                        e["shadow"]["counters"]["shadow-pages"],
                        fixed(SWITCH.get(SPEC.get(program)), 1)]
            rows.append(row)
        heads = ["program", f"{self.base}, ms", f"{self.mode}, ms", "pairs", "overhead, %"]
        if self.mode == "S-N-S":
            rows.sort(key=lambda row: -float(row[5]) if row[5] != "--" else 0)
            heads += ["ms for a pair", "shadow pages", "paper: ms for a switch"]
        return grid(heads, rows)


class Shares(Part):
    modes = ("dsp",)

    def text(self, store, options):
        rows = []
        for program in options.programs:
            row = [program]
            for more in ({}, {"settings": options.settings})[:1 + bool(options.settings)]:
                e = store.get(self.of(options, program, "dsp", **more))
                row += self.cells(e)
            rows.append(row)
        heads = ["program", "samples", "shadow, %", "switches"]
        if options.settings:
            heads += ["retrained: samples", "shadow, %", "switches"]
        return grid(heads, rows)

    @staticmethod
    def cells(e):
        if not e:
            return ["--"] * 3
        nested, shadow = e["time"]
        return [len(e["samples"]), fixed(100 * shadow / max(1, nested + shadow), 1), e["switches"]]

    def runs(self, options):
        return super().runs(options) + [
            self.of(options, program, "dsp", settings=options.settings)
            for program in options.programs if options.settings]


class Intervals(Shares):
    def scaled(self, options):
        return [options.interval * 2 // 5, options.interval, options.interval * 2]

    def runs(self, options):
        return [Run(program, options.architecture, "dsp", interval)
                for program in options.programs for interval in self.scaled(options)]

    def text(self, store, options):
        heads = ["program"]
        for interval in self.scaled(options):
            heads += [f"{interval / 1e6:g} ms: samples", "shadow, %", "switches"]
        return grid(heads, [[program, *(cell for interval in self.scaled(options) for cell in
                                        self.cells(store.get(Run(program, options.architecture,
                                                                 "dsp", interval))))]
                            for program in options.programs])


class Walks(Part):
    modes = ("native", "nested", "shadow")

    def text(self, store, options):
        rows, total = [], {mode: [0, 0] for mode in self.modes}
        for program in options.programs:
            e = self.results(store, options, program)
            if not all(e.values()):
                continue
            cells = []
            for mode in self.modes:
                c = e[mode]["counters"]
                # Walks: of misses, of D bits, and again after exits that filled an entry
                walks = misses(e[mode]) + c["dirty-walks"] + sum(
                    c[f"exits-{kind}"] for kind in ("hidden-fault", "accessed", "dirty"))
                references = c["references-guest"] + c["references-host"]
                total[mode][0] += references
                total[mode][1] += walks
                cells.append(fixed(references / walks, 2))
            more = ratio(misses(e["shadow"]), misses(e["nested"]))
            rows.append((program, *cells, fixed(more, 2)))
        rows.append(("all walks", *(fixed(ratio(*total[mode]), 2) for mode in self.modes), ""))
        return grid(("program", *(f"{mode}: references" for mode in self.modes),
                     "misses shadow / nested"), rows)


PARTS = {"table3": Costs(), "times": Times(), "table4": Forced("N-S-N"),
         "table5": Forced("S-N-S"), "shares": Shares(), "intervals": Intervals(),
         "retrain": Retraining(), "walks": Walks()}

# What makes a difference to runs
SOURCES = ("accel-vsched", "configs/paging", "guests/programs", "patches", "softmmu-walk")


def commit():
    def git(*arguments):
        return subprocess.run(["git", "-C", TOP, *arguments, "--", *SOURCES], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              check=False).stdout.strip()
    return (git("log", "-1", "--format=%h", "--abbrev=12") or "unknown") + (
        " (and changes since)" if git("status", "--porcelain") else "")


def name_of(options, part):
    return part if options.architecture == "amd64" else f"{part}-{options.architecture}"


def table(store, options, part, command):
    """Into the page, or printed."""
    text = f"Measured at commit {commit()} with ``{command} {part}``.\n\n" + \
        PARTS[part].text(store, options)
    if options.output == "-":
        print(f"{part}\n\n{text}\n")
    else:
        put_into(options.output, name_of(options, part), text)


def plot(store, options, part):
    if PARTS[part].plot and options.output != "-":
        images = os.path.join(os.path.dirname(options.output), "images")
        os.makedirs(images, exist_ok=True)
        PARTS[part].draw(store, options, os.path.join(
            images, f"{name_of(options, 'paging-times')}.png"))
