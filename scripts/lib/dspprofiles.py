"""Profiles of programs under nested and under shadow paging, and what a switcher would have made
of them.

docs/dsp.rst describes the files, how the work of both modes is matched, and the simulation.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import bisect
import collections
import csv
import functools
import itertools
import re

from dsprules import MODES, Counters, decide
from profiles import Unreadable

COLUMNS = ("program", "mode", "interval", "instructions", "misses", "faults", "cycles")
MOST = 2**63 - 1
PATIENCE = 100

# of a simulated run; switches: number; times: {mode: cycles}; decisions: {rule: number}
Run = collections.namedtuple("Run", "cycles switches samples times decisions")


class Track:
    """What a program did in one mode: sums up to the end of each interval, from 0 on."""

    def __init__(self, rows):
        """@rows: (instructions, misses, faults, cycles) of each interval"""
        self.insns, self.misses, self.faults, self.cycles = (
            [0, *itertools.accumulate(column)] for column in zip(*merged(rows)))
        self.total_insns, self.total_cycles = self.insns[-1], self.cycles[-1]
        # Most simulations sample at the same cycles.
        self.at = functools.lru_cache(1 << 16)(self.counters_at)

    def rows(self):
        """Counters and cycles of each interval, and where it begins and ends in instructions."""
        columns = (self.insns, self.misses, self.faults, self.cycles)
        for n in range(len(self.insns) - 1):
            insns, misses, faults, cycles = (c[n + 1] - c[n] for c in columns)
            yield Counters(insns, misses, faults), cycles, self.insns[n], self.insns[n + 1]

    def counters_at(self, cycle):
        """Counters at this cycle, rounded down: in an interval they grow evenly."""
        n = min(bisect.bisect_right(self.cycles, cycle), len(self.cycles) - 1) - 1
        begin, end = self.cycles[n], self.cycles[n + 1]
        past, length = cycle - begin, end - begin
        return (self.insns[n] + (self.insns[n + 1] - self.insns[n]) * past // length,
                self.misses[n] + (self.misses[n + 1] - self.misses[n]) * past // length,
                self.faults[n] + (self.faults[n + 1] - self.faults[n]) * past // length)

    def cycle_at(self, insn):
        """The cycle at which so many instructions had retired, rounded up."""
        n = min(bisect.bisect_right(self.insns, insn), len(self.insns) - 1) - 1
        begin, end = self.insns[n], self.insns[n + 1]
        return (self.cycles[n] + rounded_up((self.cycles[n + 1] - self.cycles[n])
                                            * (insn - begin), end - begin))

    def grain(self):
        """The median length of an interval, in cycles"""
        lengths = sorted(b - a for a, b in zip(self.cycles, self.cycles[1:]))
        return lengths[(len(lengths) - 1) // 2]


def rounded_up(a, b):
    return -(-a // b)


def merged(rows):
    """An interval that retired nothing is added to the next one, the last to the one before."""
    out, waiting = [], (0, 0, 0, 0)
    for row in rows:
        waiting = tuple(map(sum, zip(waiting, row)))
        if row[0]:
            out.append(waiting)
            waiting = (0, 0, 0, 0)
    if out:
        out[-1] = tuple(map(sum, zip(out[-1], waiting)))
    return out


class Program:
    """One program; tracks: {mode: Track}"""

    def __init__(self, name, tracks):
        self.name, self.tracks = name, tracks
        self.better, self.worse = sorted(tracks[mode].total_cycles for mode in MODES)

    def across(self, mode, other, insn):
        """Where the work of @mode up to @insn instructions ends in @other: the same part of all
        instructions, rounded up, so that a run that switches again and again comes to its end."""
        return rounded_up(insn * self.tracks[other].total_insns, self.tracks[mode].total_insns)

    def compared(self, mode):
        """Of each interval of @mode: counters, cycles in it, cycles of the other mode for the
        same work."""
        other = MODES[mode == MODES[0]]
        for counters, cycles, begin, end in self.tracks[mode].rows():
            begin, end = (self.tracks[other].cycle_at(self.across(mode, other, i))
                          for i in (begin, end))
            yield counters, cycles, end - begin

    def regret(self, run):
        """Percent more than the better mode; negative if it is less."""
        return 100 * (run.cycles - self.better) / self.better

    def simulate(self, settings, costs, start):
        """A run under these settings; None if switches make it longer than PATIENCE times the
        worse mode.  @costs: {mode: cycles of a switch to it}"""
        mode, track = start, self.tracks[start]
        total = track.total_cycles
        times = dict.fromkeys(MODES, 0)
        decisions = collections.Counter()
        samples, history, switches = 0, [], 0
        cycle, before, owed = 0, (0, 0, 0), 0       # owed: of a switch, nothing retires until then
        while samples * settings.interval <= PATIENCE * self.worse:
            if owed >= settings.interval:
                owed -= settings.interval
                counted = (0, 0, 0)
            else:
                cycle += settings.interval - owed
                if cycle >= total:
                    times[mode] += settings.interval - (cycle - total)
                    return Run(sum(times.values()), switches, samples, times, decisions)
                owed = 0
                now = track.at(cycle)
                counted = (now[0] - before[0], now[1] - before[1], now[2] - before[2])
                before = now
            times[mode] += settings.interval
            samples += 1
            history.append(counted)
            if len(history) > settings.history:
                del history[0]
            after, rule = decide(settings, mode, history)
            decisions[rule] += 1
            if after != mode:
                switches += 1
                owed += costs[after]
                insn = self.across(mode, after, before[0])
                mode, track = after, self.tracks[after]
                total = track.total_cycles
                cycle = track.cycle_at(insn)
                before = track.at(cycle)
        return None


# Files


def whole_number(text, where, column, least=0):
    if not re.fullmatch("[0-9]{1,19}", text) or not least <= int(text) <= MOST:
        raise Unreadable(f"{where}: {column} '{text}': allowed are whole numbers from {least} "
                         f"to {MOST}")
    return int(text)


def read(path, rows, origins):
    """Adds the rows of a file to @rows: {(program, mode): [(instructions, ...)]}."""
    try:
        with open(path, encoding="utf-8", newline="") as f:
            reader = csv.DictReader(f, strict=True)
            columns = reader.fieldnames or []
            if missing := [c for c in COLUMNS if c not in columns]:
                raise Unreadable(f"{path}: the first line has no column {', '.join(missing)}: "
                                 f"needed are {', '.join(COLUMNS)}")
            if len(set(columns)) < len(columns):
                raise Unreadable(f"{path}: the first line has a column twice: "
                                 f"{', '.join(columns)}")
            for row in reader:
                read_row(path, f"{path}, line {reader.line_num}", row, rows, origins)
    except OSError as fault:
        raise Unreadable(f"{path}: {fault.strerror}") from fault
    except (UnicodeDecodeError, csv.Error) as fault:
        raise Unreadable(f"{path} is no CSV: {fault}") from fault


def read_row(path, where, row, rows, origins):
    if None in row or None in row.values():
        raise Unreadable(f"{where}: not as many values as the first line has columns")
    program, mode = row["program"], row["mode"]
    if not program or set(program) & set("=,\n"):
        raise Unreadable(f"{where}: program '{program}': allowed are names without '=' and ','")
    if mode not in MODES:
        raise Unreadable(f"{where}: mode '{mode}': allowed are {' and '.join(MODES)}")
    key = program, mode
    if origins.setdefault(key, path) != path:
        raise Unreadable(f"{where}: {program}, {mode} is in {origins[key]} too: allowed is one "
                         "file for a mode of a program")
    numbers = [whole_number(row[c], where, c, least) for c, least in
               zip(COLUMNS[2:], (0, 0, 0, 0, 1))]
    if numbers[0] != len(rows[key]):
        raise Unreadable(f"{where}: interval {numbers[0]} of {program}, {mode}: expected is "
                         f"{len(rows[key])}, they count up from 0")
    rows[key].append(tuple(numbers[1:]))


def load(paths, tolerance):
    """[Program], in the order of their names.  @tolerance: percent by which the instructions of
    both modes may differ"""
    rows, origins = collections.defaultdict(list), {}
    for n, path in enumerate(paths):
        if path in paths[:n]:
            raise Unreadable(f"{path} is named twice")
        read(path, rows, origins)
    programs = []
    for name in sorted({program for program, _ in rows}):
        for mode in MODES:
            if (name, mode) not in rows:
                raise Unreadable(f"{name} has no {mode} intervals: needed are both modes")
            if not any(row[0] for row in rows[name, mode]):
                raise Unreadable(f"{name}, {mode}: nothing was retired in any interval")
        program = Program(name, {mode: Track(rows[name, mode]) for mode in MODES})
        few, many = sorted(program.tracks[mode].total_insns for mode in MODES)
        if 100 * (many - few) > tolerance * few:
            raise Unreadable(
                f"{name} retired {program.tracks['nested'].total_insns} instructions nested and "
                f"{program.tracks['shadow'].total_insns} shadow: allowed is a difference of "
                f"{tolerance} percent (--tolerance), or it was not the same work")
        programs.append(program)
    if not programs:
        raise Unreadable("no intervals in any file")
    return programs


def grain(programs):
    """Cycles below which the profiles say nothing: their longest usual interval"""
    return max(program.tracks[mode].grain() for program in programs for mode in MODES)
