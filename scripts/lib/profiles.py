"""Profiles that vsched-profile-save has written: read them, name functions, print them.

docs/profile.rst describes the file and the forms that come out.  Symbol tables are read by nm
of binutils.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import argparse
import bisect
import collections
import json
import os
import subprocess
import tempfile

FORMAT, VERSION = "cmp8-profile", 1

# How a VCPU can run, in the order of columns: (heading, user mode, spinning)
RUNNING = (("user", True, False), ("user spins", True, True),
           ("privileged", False, False), ("priv. spins", False, True))
CODE = "TtWw"           # nm's letters for symbols of code, and of data
DATA = "BbCDdGgRrSsuVv"
WAITING = ("ready", "blocked", "switching", "profiling")

Sample = collections.namedtuple("Sample", "vcpu vm user spinning pc count")


class Unreadable(Exception):
    """What is wrong with a file."""


def number(text):
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is no number: allowed are 0 and more")
    return int(text)


def write(path, lines):
    """All of it or nothing."""
    where = os.path.dirname(os.path.abspath(path))
    try:
        if os.path.exists(path) and not os.path.isfile(path):       # /dev/stdout
            with open(path, "w", encoding="utf-8") as out:
                out.writelines(line + "\n" for line in lines)
            return
        with tempfile.NamedTemporaryFile("w", dir=where, delete=False, encoding="utf-8") as out:
            try:
                out.writelines(line + "\n" for line in lines)
                out.flush()
                os.chmod(out.name, 0o644)
                os.rename(out.name, path)
            except BaseException:
                os.unlink(out.name)
                raise
    except OSError as fault:
        raise Unreadable(f"{path} cannot be written: {fault.strerror}") from fault


class Profile:
    """samples: of those that ran; waiting: {vcpu: {"ready": number, ...}}"""

    def __init__(self, path):
        try:
            with open(path, encoding="utf-8") as f:
                data = json.load(f)
        except OSError as fault:
            raise Unreadable(f"{path}: {fault.strerror}") from fault
        except ValueError as fault:
            raise Unreadable(f"{path} is no profile: it is not JSON ({fault})") from fault
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise Unreadable(f"{path} is no profile: allowed are files of vsched-profile-save, "
                             f"whose format is {FORMAT}")
        if data.get("version") != VERSION:
            raise Unreadable(f"{path} is of version {data.get('version')}: allowed is {VERSION}")
        try:
            self.rate, self.interval, self.cost = data["rate"], data["interval"], data["cost"]
            self.begin, self.end = data["begin"], data["end"]
            self.spins_seen = data["spins-seen"]
            self.waiting = {v["vcpu"]: {state: int(v[state]) for state in WAITING}
                            for v in data["vcpus"]}
            self.vms = {v["vcpu"]: v["vm"] for v in data["vcpus"]}
            self.samples = [Sample(vcpu, self.vms[vcpu], {"user": True, "privileged": False}[mode],
                                   bool(spinning), int(pc, 16), int(count))
                            for vcpu, mode, spinning, pc, count in data["samples"]]
        except (KeyError, TypeError, ValueError) as fault:
            raise Unreadable(f"{path} is a damaged profile: {fault!r}") from fault

    def only(self, vcpus):
        """Forget all other VCPUs."""
        unknown = sorted(set(vcpus) - set(self.vms))
        if unknown:
            raise Unreadable(f"there is no VCPU {unknown[0]}: allowed are 0 to {max(self.vms)}")
        self.waiting = {v: of for v, of in self.waiting.items() if v in vcpus}
        self.samples = [s for s in self.samples if s.vcpu in vcpus]


class Symbols:
    """Functions of programs, or other symbols of some kinds of nm's, by address.

    A function whose size is known has all addresses in it.  One without, as assembly code has
    them, reaches to the next symbol of any kind."""

    def __init__(self, paths, kinds=CODE):
        self.kinds = kinds
        self.sized, self.labels = {}, {}        # by start: (end, name, program)
        for path in paths:
            self.add(path)
        self.sized_starts, self.label_starts = sorted(self.sized), sorted(self.labels)

    def add(self, path):
        if not os.path.exists(path):
            raise Unreadable(f"{path}: there is no such file")
        done = subprocess.run(["nm", "--numeric-sort", "--print-size", "--defined-only", path],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              errors="replace", check=False)
        symbols = []
        for line in done.stdout.splitlines():
            *numbers, kind, name = line.split()
            symbols.append((*(int(n, 16) for n in (numbers + ["0"])[:2]), kind, name))
        if self.kinds == CODE and not any(kind in CODE for _, _, kind, _ in symbols):
            raise Unreadable(f"{path}: no functions in its symbol table"
                             + (f" ({done.stderr.strip()})" if done.stderr else ""))
        program = os.path.basename(path)
        # The first program that names an address keeps it, and of several names the first.
        ends = sorted({start for start, *_ in symbols})
        for start, size, kind, name in symbols:
            if kind in self.kinds and size:
                self.sized.setdefault(start, (start + size, name, program))
            elif kind in self.kinds:
                after = bisect.bisect_right(ends, start)
                end = ends[after] if after < len(ends) else start
                self.labels.setdefault(start, (end, name, program))

    def find(self, pc):
        """(function, program) of an address, (None, None) if it is in none."""
        return self.place(pc)[1:]

    def place(self, address):
        """(start, symbol, program) of an address, three times None if it is in none."""
        for starts, symbols in ((self.sized_starts, self.sized),
                                (self.label_starts, self.labels)):
            i = bisect.bisect_right(starts, address) - 1
            if i >= 0:
                end, name, program = symbols[starts[i]]
                if address < end:
                    return starts[i], name, program
        return None, None, None


class Names:
    """Functions of privileged code, and of programs in user mode, which may have the same
    addresses."""

    def __init__(self, privileged, user):
        self.tables = {False: Symbols(privileged), True: Symbols(user)}

    def name(self, sample):
        """(function, program); an address where there is no name."""
        function, program = self.tables[sample.user].find(sample.pc)
        return function or f"0x{sample.pc:x}", program or "?"


def by_function(profile, names):
    """{(function, program): [counts in the order of RUNNING]}"""
    table = collections.defaultdict(lambda: [0] * len(RUNNING))
    for s in profile.samples:
        column = [r[1:] for r in RUNNING].index((s.user, s.spinning))
        table[names.name(s)][column] += s.count
    return table


def percent(part, whole):
    return f"{100 * part / whole:.1f} %" if whole else "-"


def summary(profile, names, top):
    """Lines: what VCPUs did, and functions with most samples."""
    table = by_function(profile, names)
    running = [sum(column) for column in zip(*table.values())] or [0] * len(RUNNING)
    waiting = [sum(of[state] for of in profile.waiting.values()) for state in WAITING]
    everything = sum(running) + sum(waiting)
    yield (f"{profile.begin / 1e6:.6f} ms to {profile.end / 1e6:.6f} ms, {profile.rate:,} samples "
           f"of a VCPU in a second, {profile.cost:,} cycles for each; "
           f"VCPUs: {len(profile.waiting)}")
    states = list(zip([r[0] for r in RUNNING] + list(WAITING), running + waiting))
    yield "time of VCPUs: " + ", ".join(f"{name} {percent(n, everything)}" for name, n in states
                                        if n)
    if not profile.spins_seen:
        yield "sdb=off: nobody saw which VCPUs were spinning"
    yield ""
    heads = ["samples", "", *(r[0] for r in RUNNING), "function"]
    rows = [heads]
    order = sorted(table.items(), key=lambda item: (-sum(item[1]), item[0]))
    for (function, program), counts in order[:top]:
        rows.append([str(sum(counts)), percent(sum(counts), sum(running)),
                     *(str(n) if n else "." for n in counts),
                     f"{function} [{program}]" if program != "?" else function])
    rest = [sum(column) for column in zip(*(counts for _, counts in order[top:]))] if top else []
    if rest:
        rows.append([str(sum(rest)), percent(sum(rest), sum(running)), *map(str, rest),
                     f"({len(order) - top} more)"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    for row in rows:
        yield "  ".join([*(cell.rjust(w) for cell, w in zip(row[:-1], widths)), row[-1]])


def folded(profile, names):
    """Lines of stacks with counts, from the outside to the inside, as flame graphs want them."""
    counts = collections.Counter()
    for s in profile.samples:
        counts[f"vm{s.vm};vcpu{s.vcpu};{'user' if s.user else 'privileged'};"
               f"{'spinning' if s.spinning else 'running'};{names.name(s)[0]}"] += s.count
    for vcpu, of in profile.waiting.items():
        for state, n in of.items():
            counts[f"vm{profile.vms[vcpu]};vcpu{vcpu};{state}"] += n
    for stack, n in sorted(counts.items()):
        if n:
            yield f"{stack} {n}"


EVENTS = ("Samples", "User", "UserSpinning", "Privileged", "PrivilegedSpinning")


def callgrind(profile, names):
    """Lines of Callgrind's profile format, for callgrind_annotate and KCachegrind."""
    functions = collections.defaultdict(lambda: collections.defaultdict(lambda: [0] * len(EVENTS)))
    totals = [0] * len(EVENTS)
    for s in profile.samples:
        for counts in functions[names.name(s)][s.pc], totals:
            counts[0] += s.count
            counts[1 + [r[1:] for r in RUNNING].index((s.user, s.spinning))] += s.count
    yield from ("# callgrind format", "version: 1", "creator: scripts/profile", "pid: 1",
                f"cmd: {len(profile.waiting)} VCPUs", "part: 1",
                f"desc: Trigger: {profile.rate} samples of a VCPU in a simulated second",
                "positions: instr line", f"events: {' '.join(EVENTS)}",
                f"summary: {' '.join(map(str, totals))}")
    for (function, program), places in sorted(functions.items()):
        yield from ("", f"ob={program}", "fl=???", f"fn={function}")
        for pc, counts in sorted(places.items()):
            yield f"0x{pc:x} 0 {' '.join(map(str, counts))}"
    yield from ("", f"totals: {' '.join(map(str, totals))}")
