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

from programs import Program

FORMAT, VERSION = "cmp8-profile", 2

# How a VCPU can run, in the order of columns: (heading, user mode, spinning)
RUNNING = (("user", True, False), ("user spins", True, True),
           ("privileged", False, False), ("priv. spins", False, True))
CODE = "TtWw"           # nm's letters for symbols of code, and of data
DATA = "BbCDdGgRrSsuVv"
WAITING = ("ready", "blocked", "switching", "profiling")

# stack: a Stack, or None where callers were not noted
Sample = collections.namedtuple("Sample", "vcpu vm user spinning pc count stack")
# at: address of the block; callers: Caller, from the inside outwards
Stack = collections.namedtuple("Stack", "at whole callers")
# link: what a link register says, which is a caller if the code before it has no frame of its own
Caller = collections.namedtuple("Caller", "address user link")
CUT_OFF = "[cut off]"   # in the place of callers that are not known


class Unreadable(Exception):
    """What is wrong with a file."""


def read_stack(data):
    callers = []
    for text in data["callers"]:
        *words, address = text.split()
        callers.append(Caller(int(address, 16), "user" in words, "link" in words))
    return Stack(int(data["at"], 16), data["end"] == "whole", callers)


def number(text):
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is no number: allowed are 0 and more")
    return int(text)


def write(path, lines):
    """All of it or nothing.  "-" is the standard output."""
    if path == "-":
        for line in lines:
            print(line)
        return
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
            self.callers = data["stacks-of"]
            self.stackless = data["stackless"]
            stacks = [read_stack(stack) for stack in data.get("stacks", ())]
            self.samples = [Sample(vcpu, self.vms[vcpu], {"user": True, "privileged": False}[mode],
                                   bool(spinning), int(pc, 16), int(count),
                                   stacks[stack[0]] if stack else None)
                            for vcpu, mode, spinning, pc, count, *stack in data["samples"]]
        except (IndexError, KeyError, TypeError, ValueError) as fault:
            raise Unreadable(f"{path} is a damaged profile: {fault!r}") from fault

    def only(self, vcpus):
        """Forget all other VCPUs."""
        unknown = sorted(set(vcpus) - set(self.vms))
        if unknown:
            raise Unreadable(f"there is no VCPU {unknown[0]}: allowed are 0 to {max(self.vms)}")
        self.waiting = {v: of for v, of in self.waiting.items() if v in vcpus}
        self.samples = [s for s in self.samples if s.vcpu in vcpus]


# start: address; sized: whether its size is known; code: Program, whose instructions can be read
Function = collections.namedtuple("Function", "start end name program sized code")


class Symbols:
    """Functions of programs, or other symbols of some kinds of nm's, by address.

    A function whose size is known has all addresses in it.  One without, as assembly code has
    them, reaches to the next symbol of any kind."""

    def __init__(self, paths, kinds=CODE):
        self.kinds = kinds
        self.sized, self.labels = {}, {}        # by start
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
        program, code = os.path.basename(path), Program(path)
        # The first program that names an address keeps it, and of several names the first.
        ends = sorted({start for start, *_ in symbols})
        for start, size, kind, name in symbols:
            if kind in self.kinds and size:
                self.sized.setdefault(start, Function(start, start + size, name, program, True,
                                                      code))
            elif kind in self.kinds:
                after = bisect.bisect_right(ends, start)
                end = ends[after] if after < len(ends) else start
                self.labels.setdefault(start, Function(start, end, name, program, False, code))

    def find(self, pc):
        """The Function that an address is in, or None."""
        for starts, functions in ((self.sized_starts, self.sized),
                                  (self.label_starts, self.labels)):
            i = bisect.bisect_right(starts, pc) - 1
            if i >= 0 and pc < functions[starts[i]].end:
                return functions[starts[i]]
        return None

    def place(self, address):
        """(start, symbol, program) of an address, three times None if it is in none."""
        found = self.find(address)
        return (found.start, found.name, found.program) if found else (None, None, None)


class Names:
    """Functions of privileged code, and of programs in user mode, which may have the same
    addresses."""

    def __init__(self, privileged, user):
        self.tables = {False: Symbols(privileged), True: Symbols(user)}
        self.known, self.stacks = {}, {}

    def function(self, address, user):
        key = address, user
        if key not in self.known:
            self.known[key] = self.tables[user].find(address)
        return self.known[key]

    def at(self, address, user):
        """(function, program); an address where there is no name."""
        function = self.function(address, user)
        return (function.name, function.program) if function else (f"0x{address:x}", "?")

    def name(self, sample):
        return self.at(sample.pc, sample.user)

    def is_link(self, address, user, link):
        """Whether the code at this address has no frame of its own, so that it was called from
        where the link register says."""
        function, caller = self.function(address, user), self.function(link, user)
        if not function or not caller:
            return False
        target = caller.code.called_from(link)
        if target is None or not function.sized and target != function.start:
            return False
        return function.code.frameless(function, address)

    def frames(self, sample):
        """[(address, user)] of the functions that are active, from the inside outwards."""
        inside = sample.pc, sample.user
        if not sample.stack:
            return [inside]
        key = id(sample.stack), sample.user
        if key not in self.stacks:
            callers = []
            for caller in sample.stack.callers:
                before = callers[-1] if callers else (sample.stack.at, sample.user)
                if not caller.link or (before[1] == caller.user
                                       and self.is_link(*before, caller.address)):
                    callers.append((caller.address, caller.user))
            self.stacks[key] = callers
        return [inside, *self.stacks[key]]

    def named_frames(self, sample):
        """[(function, program)], likewise."""
        return [self.at(*frame) for frame in self.frames(sample)]


def by_function(profile, names):
    """{(function, program): [counts in the order of RUNNING]}"""
    table = collections.defaultdict(lambda: [0] * len(RUNNING))
    for s in profile.samples:
        column = [r[1:] for r in RUNNING].index((s.user, s.spinning))
        table[names.name(s)][column] += s.count
    return table


def with_callees(profile, names):
    """{(function, program): samples of it, and of what it called}"""
    table = collections.Counter()
    for s in profile.samples:
        for function in set(names.named_frames(s)):
            table[function] += s.count
    return table


def percent(part, whole):
    return f"{100 * part / whole:.1f} %" if whole else "-"


def about_stacks(profile):
    """What the callers do not say."""
    if profile.callers:
        cut = sum(s.count for s in profile.samples if s.stack and not s.stack.whole)
        yield (f"call stacks: up to {profile.callers} callers; samples whose outer callers are not "
               f"known: {cut}, without a stack: {profile.stackless}")


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
    yield from about_stacks(profile)
    yield ""
    inclusive = with_callees(profile, names) if profile.callers else {}
    heads = ["samples", "", *(r[0] for r in RUNNING), *(["with callees"] if inclusive else []),
             "function"]
    rows = [heads]
    order = sorted(table.items(), key=lambda item: (-sum(item[1]), item[0]))
    for (function, program), counts in order[:top]:
        rows.append([str(sum(counts)), percent(sum(counts), sum(running)),
                     *(str(n) if n else "." for n in counts),
                     *([str(inclusive[function, program])] if inclusive else []),
                     f"{function} [{program}]" if program != "?" else function])
    rest = [sum(column) for column in zip(*(counts for _, counts in order[top:]))] if top else []
    if rest:
        rows.append([str(sum(rest)), percent(sum(rest), sum(running)), *map(str, rest),
                     *(["."] if inclusive else []), f"({len(order) - top} more)"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    for row in rows:
        yield "  ".join([*(cell.rjust(w) for cell, w in zip(row[:-1], widths)), row[-1]])


def folded(profile, names):
    """Lines of stacks with counts, from the outside to the inside, as flame graphs want them."""
    counts = collections.Counter()
    for s in profile.samples:
        frames = [function for function, _ in names.named_frames(s)]
        if s.stack and not s.stack.whole:
            frames.append(CUT_OFF)
        counts[f"vm{s.vm};vcpu{s.vcpu};{'user' if s.user else 'privileged'};"
               f"{'spinning' if s.spinning else 'running'};{';'.join(reversed(frames))}"] += s.count
    for vcpu, of in profile.waiting.items():
        for state, n in of.items():
            counts[f"vm{profile.vms[vcpu]};vcpu{vcpu};{state}"] += n
    for stack, n in sorted(counts.items()):
        if n:
            yield f"{stack} {n}"


def callers(profile, names, wanted, least=0.01):
    """Lines: a tree of who called function @wanted, with samples of it and of what it called.  A
    sample in which it is active several times counts for the innermost.  Callers with less than
    @least of all these samples are left out."""
    tree, total = {}, 0
    for s in profile.samples:
        frames = [function for function, _ in names.named_frames(s)]
        if wanted not in frames:
            continue
        if s.stack and not s.stack.whole:
            frames.append(CUT_OFF)
        total += s.count
        level = tree
        for function in frames[frames.index(wanted) + 1:]:
            entry = level.setdefault(function, [0, {}])
            entry[0] += s.count
            level = entry[1]
    if not total:
        raise Unreadable(f"no sample is in {wanted}, or in what it called: allowed are functions "
                         "of the table and their callers, by the names that --symbols gives")
    running = sum(s.count for s in profile.samples)
    yield f"{total} samples, {percent(total, running)}: {wanted}, called by"

    def lines(level, depth):
        order = sorted(level.items(), key=lambda item: (-item[1][0], item[0]))
        for function, (count, outer) in order:
            if count >= least * total:
                yield f"{count:9}  {percent(count, total):>7}  {'  ' * depth}{function}"
                yield from lines(outer, depth + 1)
    yield from lines(tree, 0)


EVENTS = ("Samples", "User", "UserSpinning", "Privileged", "PrivilegedSpinning")


def add_counts(to, sample):
    to[0] += sample.count
    to[1 + [r[1:] for r in RUNNING].index((sample.user, sample.spinning))] += sample.count


def counts_by(keys):
    """{key: {key: counts}} of as many levels as keys."""
    if not keys:
        return [0] * len(EVENTS)
    return collections.defaultdict(lambda: counts_by(keys - 1))


def callgrind(profile, names):
    """Lines of Callgrind's profile format, for callgrind_annotate and KCachegrind.

    Calls have a cost "inclusive": samples in what was called from there.  How often it was called
    is not known; a sample counts as one call."""
    functions, calls, totals = counts_by(2), counts_by(2), [0] * len(EVENTS)
    for s in profile.samples:
        add_counts(functions[names.name(s)][s.pc], s)
        add_counts(totals, s)
        frames = names.frames(s)
        # Of a recursion, each call once.
        edges = {(names.at(*outer), (outer[0], *inner_function)): None for inner_function, outer in
                 zip(map(lambda f: names.at(*f), frames), frames[1:])}
        for function, call in edges:
            add_counts(calls[function][call], s)
    yield from ("# callgrind format", "version: 1", "creator: scripts/profile", "pid: 1",
                f"cmd: {len(profile.waiting)} VCPUs", "part: 1",
                f"desc: Trigger: {profile.rate} samples of a VCPU in a simulated second",
                "positions: instr line", f"events: {' '.join(EVENTS)}",
                f"summary: {' '.join(map(str, totals))}")
    for function, program in sorted(set(functions) | set(calls)):
        yield from ("", f"ob={program}", "fl=???", f"fn={function}")
        for pc, counts in sorted(functions.get((function, program), {}).items()):
            yield f"0x{pc:x} 0 {' '.join(map(str, counts))}"
        for (address, callee, of), counts in sorted(calls.get((function, program), {}).items()):
            yield from (f"cob={of}", "cfi=???", f"cfn={callee}", f"calls={counts[0]} 0x0 0",
                        f"0x{address:x} 0 {' '.join(map(str, counts))}")
    yield from ("", f"totals: {' '.join(map(str, totals))}")
