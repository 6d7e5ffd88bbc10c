"""Tables and plots of scripts/paging-study, beside the numbers of Wang et al., VEE 2011.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import math
import os
import subprocess

import pagingplots
from figureplots import pyplot
from figuretables import put_into
from monitor import TOP
from pagingruns import MODES, Run
from pagingtraining import APART, HELD_OUT, Retraining, thresholds

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


def percent(value):
    """More than 1, in percent"""
    return fixed(100 * (value - 1), 2)


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def cells(e):
    """Samples, percent of the time in shadow mode, switches of a run under DSP"""
    if not e:
        return ["--"] * 3
    nested, shadow = e["time"]
    return [len(e["samples"]), fixed(100 * shadow / max(1, nested + shadow), 1), e["switches"]]


def misses(entry):
    return entry["counters"]["itlb-misses"] + entry["counters"]["dtlb-misses"]


def ratio(a, b):
    return a / b if a is not None and b else None


class Part:
    """One table, which needs some runs; a plot if it has draw()."""
    modes = ()

    def of(self, options, program, mode, **more):
        return Run(program, options.architecture, mode, options.interval, **more)

    def runs(self, options):
        return [self.of(options, program, mode) for program in options.programs
                for mode in self.modes]

    def then(self, _store, _options):
        """Runs that depend on the results of runs()"""
        return []

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

    def rows(self, store, options):
        """(program, results, time relative to nested) of each that has been run nested"""
        for program in options.programs:
            e = self.results(store, options, program)
            nested = cycles(e["nested"])
            if nested:
                yield program, e, {mode: ratio(cycles(one), nested) for mode, one in e.items()}

    def text(self, store, options):
        rows, sums = [], {}
        columns = ["native", "shadow", "agile", "dsp"]
        for program, e, r in self.rows(store, options):
            n = e["nested"]["counters"]
            better = min(1, r["shadow"] or 1)
            for name, value in {"better": better, **{c: r[c] for c in columns}}.items():
                if value:
                    sums.setdefault(name, []).append(value)
            rows.append((program, f"{n['insns'] / 1e9:.2f}",
                         fixed(1000 * misses(e["nested"]) / n["insns"]),
                         fixed(1000 * n["page-faults"] / n["insns"], 4),
                         *(fixed(r[c]) for c in columns), fixed(better),
                         fixed(RATIO.get(SPEC.get(program)))))
        rows.append(("geometric mean", "", "", "", *(
            fixed(geometric_mean(sums[c]) if sums.get(c) else None)
            for c in (*columns, "better")), ""))
        return grid(("program", "insns, 1e9", "misses / 1000", "faults / 1000", *columns,
                     "better of both", "paper: shadow"), rows)

    def draw(self, store, options, plt):
        rows = list(self.rows(store, options))
        return pagingplots.times(plt, [(program, r, RATIO.get(SPEC.get(program)))
                                       for program, _, r in rows], self.modes)


class Agile(Part):
    """Gandhi et al.: distance from native execution and from the better mode"""
    modes = MODES

    def text(self, store, options):
        rows, sums = [], {"native": [], "better": []}
        for program in options.programs:
            e = self.results(store, options, program)
            if not all(e.values()):
                continue
            c = {mode: cycles(e[mode]) for mode in MODES}
            better = min(c["nested"], c["shadow"])
            of, n = {"native": c["agile"] / c["native"], "better": c["agile"] / better}, e["agile"]
            for name, value in of.items():
                sums[name].append(value)
            walks = misses(n)
            rows.append((program, percent(of["native"]), percent(better / c["native"]),
                         percent(of["better"]), n["counters"]["tables-to-nested"],
                         n["counters"]["tables-to-shadow"],
                         fixed(1000 * (n["counters"]["exits-hidden-fault"] +
                                       n["counters"]["exits-emulate"]) / walks, 2)
                         if walks else "--"))
        if rows:
            native, better = (geometric_mean(sums[name]) for name in ("native", "better"))
            rows.append(("geometric mean", percent(native), percent(native / better),
                         percent(better), "", "", ""))
        rows.append(("published", "at most 4", "", "-12 and less", "", "", ""))
        return grid(("program", "agile: % over native", "better of both: %",
                     "agile: % over the better", "tables to nested", "to shadow",
                     "exits of tables / 1000 misses"), rows)


class Forced(Part):
    def __init__(self, mode):
        self.mode = mode
        self.base = "nested" if mode == "N-S-N" else "shadow"
        self.modes = (self.base, mode)

    def of(self, options, program, mode, **more):
        interval = options.interval * (APART if mode == self.mode else 1)
        return Run(program, options.architecture, mode, interval, **more)

    def a_pair(self, store, options, program):
        """Cycles that a pair of switches takes, or None"""
        e = self.results(store, options, program)
        if not all(e.values()) or e[self.mode]["switches"] < 2:
            return None
        return (cycles(e[self.mode]) - cycles(e[self.base])) / (e[self.mode]["switches"] / 2)

    def rows(self, store, options):
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
        return rows

    def text(self, store, options):
        rows = self.rows(store, options)
        heads = ["program", f"{self.base}, ms", f"{self.mode}, ms", "pairs", "overhead, %"]
        if self.mode == "S-N-S":
            rows.sort(key=lambda row: -float(row[5]) if row[5] != "--" else 0)
            heads += ["ms for a pair", "shadow pages", "paper: ms for a switch"]
        return grid(heads, rows)

    def draw(self, store, options, plt):
        rows = self.rows(store, options)
        if self.mode == "N-S-N":
            return pagingplots.overheads(plt, [(row[0], float(row[4])) for row in rows])
        return pagingplots.switches(plt, [
            (row[0], float(row[5]), SWITCH.get(SPEC.get(row[0]))) for row in rows
            if row[5] != "--" and float(row[5]) > 0])


class Shares(Part):
    modes = ("dsp",)
    HEADS = ["samples", "shadow, %", "switches"]

    def text(self, store, options):
        return grid(["program", *self.HEADS, "until the first switch, %", "rebuilds, %"],
                    [[program, *cells(e := self.results(store, options, program)["dsp"]),
                      *self.lost(store, options, program, e)] for program in options.programs])

    def lost(self, store, options, program, e):
        """Percent of the run's time before DSP first switched, and in which shadow tables were
        built anew, by what a pair of switches took in runs that were switched by force."""
        forced = PARTS["table5"].a_pair(store, options, program)
        if not e:
            return ["--"] * 2
        total = cycles(e)
        first = next((n for n, s in enumerate(e["samples"]) if s[5] != "nested"), None)
        rebuilt = (e["switches"] + 1) // 2
        return ["none" if first is None else
                fixed(100 * (first + 1) * options.interval * HZ / 1e9 / total, 2),
                fixed(100 * rebuilt * forced / total, 2) if forced is not None else "--"]

    def draw(self, store, options, plt):
        return pagingplots.shares(plt, [(f"{options.interval / 1e6:g} ms", [
            (program, store.get(self.of(options, program, "dsp")))
            for program in options.programs])])


class Intervals(Part):
    """Wang et al., 5.2: samples of 2, 5 and 10 s"""
    modes = ("nested",)

    def scaled(self, options):
        return [options.interval * 2 // 5, options.interval, options.interval * 2]

    def runs(self, options):
        return super().runs(options) + [
            Run(program, options.architecture, "dsp", interval)
            for program in options.programs for interval in self.scaled(options)]

    def dsp(self, store, options, program):
        """Results with each interval"""
        return [store.get(Run(program, options.architecture, "dsp", interval))
                for interval in self.scaled(options)]

    def text(self, store, options):
        heads = ["program"]
        for interval in self.scaled(options):
            heads += [f"{interval / 1e6:g} ms: time", *Shares.HEADS]
        rows = []
        for program in options.programs:
            nested = cycles(store.get(self.of(options, program, "nested")))
            row = [program]
            for e in self.dsp(store, options, program):
                row += [fixed(ratio(cycles(e), nested)), *cells(e)]
            rows.append(row)
        return grid(heads, rows)

    def draw(self, store, options, plt):
        of = {program: self.dsp(store, options, program) for program in options.programs}
        return pagingplots.shares(plt, [
            (f"{interval / 1e6:g} ms", [(program, of[program][n]) for program in of])
            for n, interval in enumerate(self.scaled(options))])


class Retrained(Part):
    """DSP in a machine with the thresholds that training found"""
    modes = ("nested", "shadow", "dsp")

    def runs(self, options):
        return super().runs(options) + PARTS["retrain"].runs(options)

    def found(self, store, options):
        """(interval, settings of dsp-enable), or None"""
        found = PARTS["retrain"].found(store, options)
        return found and thresholds(found)

    def then(self, store, options):
        """Runs that depend on the results of the others"""
        found = options.settings or self.found(store, options)
        return [] if not found else [self.trained(options, program, found)
                                     for program in options.programs]

    def trained(self, options, program, found):
        interval, settings = found
        return Run(program, options.architecture, "dsp", interval or options.interval,
                   settings=settings)

    def text(self, store, options):
        found = options.settings or self.found(store, options)
        if not found:
            return "Fewer than two programs have been run in all modes."
        rows, sums = [], [0] * 5
        for program in options.programs:
            e = self.results(store, options, program)
            new = store.get(self.trained(options, program, found))
            c = [cycles(e["nested"]), cycles(e["shadow"]), None, cycles(e["dsp"]), cycles(new)]
            if any(c[n] is None for n in (0, 1, 3, 4)):
                continue
            c[2] = min(c[:2])
            sums = [a + b for a, b in zip(sums, c)]
            rows.append((program + " (held out)" * (program in HELD_OUT), *self.cells(c),
                         *cells(new)))
        rows.append(("all", *self.cells(sums), "", "", ""))
        said = ",".join(f"{name}={value}" for name, value in found[1])
        return (grid(("program", "nested, ms", "shadow, ms", "better of both",
                      "dsp, the paper's, %", "dsp, retrained, %", *Shares.HEADS), rows) +
                "\n\nPercent are more than the better of both. The settings, with samples each "
                f"{(found[0] or options.interval) / 1000:g} us::\n\n    {said}")

    @staticmethod
    def cells(c):
        return [fixed(c[0] / HZ * 1000, 2), fixed(c[1] / HZ * 1000, 2), fixed(c[2] / HZ * 1000, 2),
                percent(c[3] / c[2]), percent(c[4] / c[2])]

    def draw(self, store, options, plt):
        found = options.settings or self.found(store, options)
        rows = []
        for program in options.programs:
            e = self.results(store, options, program)
            r = {**e, "retrained": store.get(self.trained(options, program, found)) if found
                 else None}
            if e["nested"]:
                nested = cycles(e["nested"])
                rows.append((program, {mode: ratio(cycles(one), nested) for mode, one in r.items()},
                             None))
        return pagingplots.times(plt, rows, ("nested", "shadow", "dsp", "retrained"))


class Faults(Part):
    """gcc's page faults as the model's walks find them and as the guest's kernel counts them"""
    modes = ("dsp",)

    def runs(self, options):
        return [self.of(options, "gcc", "dsp", faults=how) for how in ("", "guest")]

    def text(self, store, options):
        rows = []
        for run in self.runs(options):
            e = store.get(run)
            if not e:
                continue
            n = e["counters"]
            rows.append((run.faults or "walker", f"{n['page-faults']:,}",
                         f"{n['guest-faults']:,}" if run.faults else "--",
                         percent(n["guest-faults"] / n["page-faults"]) if run.faults else "--",
                         fixed(cycles(e) / HZ, 4), *cells(e)))
        return grid(("faults=", "found by walks", "counted by the kernel", "more, %", "s",
                     *Shares.HEADS), rows)


class Long(Part):
    """Three programs at full length: what does not shrink with them weighs less"""
    # Times the usual length, and the interval of samples, ns
    LENGTHS = {"gcc": (20, 25_000_000), "mcf": (5, 5_000_000), "phases": (20, 10_000_000)}
    modes = ("native", "nested", "shadow", "dsp")

    def of(self, options, program, mode, **more):
        length, interval = self.LENGTHS[program]
        return Run(program, options.architecture, mode, interval, length=length, **more)

    def runs(self, options):
        return [self.of(options, program, mode) for program in self.LENGTHS for mode in self.modes]

    def text(self, store, options):
        rows = []
        for program in self.LENGTHS:
            e = self.results(store, options, program)
            if not e["nested"]:
                continue
            n, nested = e["nested"]["counters"], cycles(e["nested"])
            r = {mode: ratio(cycles(e[mode]), nested) for mode in self.modes}
            length, interval = self.LENGTHS[program]
            rows.append((program, length, f"{interval / 1e6:g}", f"{n['insns'] / 1e9:.1f}",
                         fixed(nested / HZ), fixed(1000 * misses(e["nested"]) / n["insns"]),
                         fixed(1000 * n["page-faults"] / n["insns"], 4),
                         *(fixed(r[mode]) for mode in ("native", "shadow", "dsp")),
                         *(fixed(ratio(*walked(e[mode])), 2) if e[mode] else "--"
                           for mode in ("native", "nested", "shadow")),
                         *cells(e["dsp"]), fixed(RATIO.get(SPEC.get(program)))))
        return grid(("program", "times", "sample, ms", "insns, 1e9", "nested, s", "misses / 1000",
                     "faults / 1000", "native", "shadow", "dsp", "references: native", "nested",
                     "shadow", *Shares.HEADS, "paper: shadow"), rows)


class Caches(Part):
    """mcf's misses with walks through a model of caches, and without"""
    modes = ("nested", "shadow")
    CONFIGURATIONS = ("", "sapphire-rapids")

    def of(self, options, program, mode, **more):
        return Run("mcf", options.architecture, mode, options.interval, **more)

    def runs(self, options):
        return [self.of(options, "mcf", mode, caches=caches) for caches in self.CONFIGURATIONS
                for mode in self.modes]

    def text(self, store, options):
        rows = []
        for caches in self.CONFIGURATIONS:
            e = {mode: store.get(self.of(options, "mcf", mode, caches=caches))
                 for mode in self.modes}
            if not all(e.values()):
                continue
            c = {mode: e[mode]["counters"] for mode in e}
            walks = {mode: c[mode]["cycles-walks"] / misses(e[mode]) for mode in e}
            rows.append((caches or "none", *(fixed(cycles(e[mode]) / HZ, 4) for mode in e),
                         fixed(cycles(e["shadow"]) / cycles(e["nested"])),
                         *(fixed(walks[mode], 1) for mode in e),
                         fixed(walks["nested"] - walks["shadow"], 1)))
        rows.append(("paper", "383", "329", "0.859", "", "", "12"))
        return grid(("caches", "nested, s", "shadow, s", "shadow / nested",
                     "a walk, nested: cycles", "shadow", "difference"), rows)


def walked(e):
    """(references, walks: of misses, of D bits, and again after exits that filled an entry)"""
    c = e["counters"]
    return c["references-guest"] + c["references-host"], misses(e) + c["dirty-walks"] + sum(
        c[f"exits-{kind}"] for kind in ("hidden-fault", "accessed", "dirty"))


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
                references, walks = walked(e[mode])
                total[mode][0] += references
                total[mode][1] += walks
                cells.append(fixed(references / walks, 2))
            more = ratio(misses(e["shadow"]), misses(e["nested"]))
            rows.append((program, *cells, fixed(more, 2)))
        rows.append(("all walks", *(fixed(ratio(*total[mode]), 2) for mode in self.modes), ""))
        return grid(("program", *(f"{mode}: references" for mode in self.modes),
                     "misses shadow / nested"), rows)


PARTS = {"table3": Costs(), "times": Times(), "agile": Agile(), "walks": Walks(),
         "table4": Forced("N-S-N"), "table5": Forced("S-N-S"), "shares": Shares(),
         "intervals": Intervals(), "retrain": Retraining(), "retrained": Retrained(),
         "caches": Caches(), "faults": Faults(), "long": Long()}

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
    """Into images/ beside the page"""
    if not hasattr(PARTS[part], "draw") or options.output == "-":
        return
    images = os.path.join(os.path.dirname(options.output), "images")
    os.makedirs(images, exist_ok=True)
    plt = pyplot()
    figure = PARTS[part].draw(store, options, plt)
    figure.savefig(os.path.join(images, f"paging-{name_of(options, part)}.png"),
                   metadata={"Software": None})
    plt.close(figure)
