"""What a machine did in intervals of simulated or of host time: differences of its counters, and
how much of each PCPU each VCPU had, which is the table of vm-stat in Theurer et al., "Virtual
Scalability: Charting the Performance of Linux in a Virtual World" (Linux Symposium 2006), 3.2.

    with Monitor(path) as monitor:
        watcher = Watcher(Machine(monitor), simulated=10_000_000)
        while interval := watcher.next():
            print(interval.start.time, interval.end.time, interval.shares)

The counters of one moment are read while the machine is stopped between two windows, so that they
agree with each other.  The sample that ends an interval begins the next one: nothing is counted
twice, and nothing is lost.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import argparse
import collections
import re
import time

from monitor import PROVIDER, statistics

# The machine will not go on by itself: its last interval is over.
ENDED = ("shutdown", "guest-panicked", "internal-error")

PAUSE = 0.05            # longest time between two looks at a machine that runs, in s of the host
# Between two looks at where VCPUs are, at least so many seconds, and so many times what such a look
# takes: while VCPUs stay where they are, and while some migrate.
RARE, OFTEN = (0.2, 10), (0.05, 3)
ROUNDS = 100            # of fitting estimates; a fifth of them would do for one decimal


def period(text):
    """A time with a unit, in ns."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ns|us|ms|s)", text)
    ns = round(float(found.group(1)) * {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}[found.group(2)]) \
        if found else 0
    if ns < 1:
        raise argparse.ArgumentTypeError(f"{text} is no length of an interval: allowed are numbers "
                                         "above 0 with ns, us, ms or s behind them, such as 10ms")
    return ns


class Sample:
    """All counters of a machine at one moment.  Times are ns, counters of time are cycles."""

    def __init__(self, stats, info, status, numbers, peaks):
        self.peaks = peaks              # names of what is the largest so far, and no count
        self.host = time.time()
        self.status = status            # of query-status, before it was stopped for us
        self.info = info                # of query-vsched
        self.time = info["time"]
        self.vm = stats["vm"]["vm"]
        self.pcpus = {int(re.search(r"\[(\d+)\]$", path).group(1)): values
                      for path, values in stats["pcpu"].items()}
        self.paths = {numbers[path]: path for path in stats.get("vcpu", {})}
        self.vcpus = {v: stats["vcpu"][path] for v, path in sorted(self.paths.items())}


def ran(counters):
    """Cycles in which a VCPU was on a PCPU, without those in which its registers were moved."""
    return counters["running-useful"] + counters["running-spinning"]


def occupied(counters):
    """Cycles in which a PCPU had a VCPU."""
    return counters["busy"] + counters["stalled"] + counters["skipped"]


class Machine:
    """A machine under the engine, over QMP.  monitor.library.ExecuteError: it is not."""

    def __init__(self, monitor):
        self.monitor = monitor
        monitor.cmd("query-vsched")
        self.clock_hz = monitor.cmd("qom-get", path="/machine/vsched", property="clock-hz")
        schemas = monitor.cmd("query-stats-schemas", provider=PROVIDER)
        self.peaks = {stat["name"] for target in schemas for stat in target["stats"]
                      if stat["type"] == "peak"}
        self.numbers = {}

    def status(self):
        return self.monitor.cmd("query-status")["status"]

    def time(self):
        """The end of the last window, in ns."""
        entries = self.monitor.cmd("query-stats", target="vm", providers=[
            {"provider": PROVIDER, "names": ["time"]}])
        return entries[0]["stats"][0]["value"] * 10**9 // self.clock_hz

    def number_vcpus(self, count):
        """Statistics have the path of the guest's CPU; a VCPU is a number everywhere else."""
        self.numbers = {}
        for v in range(count):
            cpu = self.monitor.cmd("qom-get", path=f"/machine/vsched/vcpu[{v}]", property="cpu")
            self.numbers[cpu] = v

    def look(self, status=None):
        """A Sample.  If the machine runs meanwhile, its parts are not of one moment."""
        status = status or self.status()
        stats = statistics(self.monitor)
        info = self.monitor.cmd("query-vsched")
        if not set(stats.get("vcpu", ())) <= set(self.numbers):
            self.number_vcpus(len(info["vcpus"]))
        return Sample(stats, info, status, self.numbers, self.peaks)

    def sample(self):
        """A Sample of one moment.  A machine that runs is stopped for some milliseconds, which
        changes nothing in its run."""
        status = self.status()
        if status != "running":
            return self.look(status)
        self.monitor.cmd("stop")
        try:
            return self.look(status)
        finally:
            # It may have been powered off before it could be stopped.
            if self.status() == "paused":
                self.monitor.cmd("cont")

    def glimpse(self):
        """({VCPU: counters}, what query-vsched says), the latter a bit later."""
        entries = self.monitor.cmd("query-stats", target="vcpu", providers=[
            {"provider": PROVIDER, "names": ["running-useful", "running-spinning", "migrations",
                                             "switched-in"]}])
        return ({self.numbers[e["qom-path"]]: {s["name"]: s["value"] for s in e["stats"]}
                 for e in entries if e["qom-path"] in self.numbers},
                self.monitor.cmd("query-vsched"))


def places(info):
    """{VCPU: the PCPU that it runs on or ran on last}"""
    return {v["vcpu"]: v["pcpu"] for v in info["vcpus"]}


def allowed(info):
    """{VCPU: PCPUs that it may run on}"""
    every = {p["pcpu"] for p in info["pcpus"]}
    return {v["vcpu"]: every if v["suspended"] else set(v["affinity"]) for v in info["vcpus"]}


def rounded(amounts, total):
    """Integers as close to these amounts as can be whose sum is this integer."""
    result = {key: int(amount) for key, amount in amounts.items()}
    by_rest = sorted(amounts, key=lambda key: (result[key] - amounts[key], key))
    for n in range(total - sum(result.values())):
        result[by_rest[n % len(by_rest)]] += 1
    return result


class Places:
    """On which PCPU each VCPU ran how long, from looks at its counters and its PCPU now and then.

    A VCPU that has not migrated between two looks was where it is: such cycles are exact.  Of the
    cycles of one that has, only sums are known: over PCPUs what this VCPU ran, and over VCPUs what
    this PCPU was occupied.  They are divided so that both sums hold, by iterative proportional
    fitting from equal parts for each PCPU that is possible."""

    def __init__(self, sample):
        self.exact = collections.Counter()      # (VCPU, PCPU): cycles
        self.unclear = {}                       # VCPU: Counter of {PCPU: guessed cycles}
        self.allowed = allowed(sample.info)
        self.base, self.where = {}, {}
        for v, pcpu in places(sample.info).items():
            self.base[v] = sample.vcpus.get(v)
            if self.base[v] and self.base[v]["switched-in"]:
                self.where[v] = pcpu

    def add(self, counters, info):
        """Another look: @counters, and @info, which may be a bit later.  Whether VCPUs migrate."""
        migrate = False
        now_at, now_allowed = places(info), allowed(info)
        for v, now in counters.items():
            before = self.base.get(v) or dict.fromkeys(now, 0)
            cycles = ran(now) - ran(before)
            moves = now["migrations"] - before["migrations"]
            migrate |= moves > 0
            if cycles and not moves and v not in self.where:
                continue        # it began to run: the next look will tell where
            if cycles and not moves:
                self.exact[v, self.where[v]] += cycles
            elif cycles:
                ends = {self.where.get(v, now_at[v]), now_at[v]}
                choice = ends if moves == 1 and len(ends) == 2 else \
                    ends | self.allowed[v] | now_allowed[v]
                guess = self.unclear.setdefault(v, collections.Counter())
                for p in choice:
                    guess[p] += cycles / len(choice)
            self.base[v] = now
        for v, now in counters.items():
            if now["switched-in"]:
                self.where[v] = now_at[v]
        self.allowed = now_allowed
        return migrate

    def finish(self, sample, occupation):
        """{(VCPU, PCPU): (cycles, whether estimated)}, at the end of an interval in which PCPUs
        were occupied for so many cycles."""
        for v, pcpu in places(sample.info).items():
            if v in sample.vcpus and not sample.vcpus[v]["migrations"]:
                self.where.setdefault(v, pcpu)
        self.add(sample.vcpus, sample.info)
        rest = dict(occupation)
        for (_, p), cycles in self.exact.items():
            rest[p] = rest.get(p, 0) - cycles
        result = {key: (cycles, False) for key, cycles in self.exact.items()}
        for (v, p), cycles in fitted(self.unclear, rest).items():
            if cycles:
                result[v, p] = (cycles + result.get((v, p), (0,))[0], True)
        return result


def fitted(guesses, rest):
    """{(VCPU, PCPU): cycles}: guesses of them, so changed that PCPUs have the sums of @rest if
    that can be, and VCPUs have those of the guesses in any case."""
    totals = {v: round(sum(guess.values())) for v, guess in guesses.items()}
    cells = {v: {p: max(c, 1e-3) for p, c in guess.items()} for v, guess in guesses.items()}
    for _ in range(ROUNDS if cells else 0):
        sums = collections.Counter()
        for row in cells.values():
            sums.update(row)
        for v, row in cells.items():
            scaled = {p: c * max(rest.get(p, 0), 1e-3) / sums[p] for p, c in row.items()}
            total = sum(scaled.values())
            cells[v] = {p: c * totals[v] / total for p, c in scaled.items()}
    return {(v, p): c for v, row in cells.items() for p, c in rounded(row, totals[v]).items()}


def difference(now, before, peaks=()):
    """What was counted; peaks are those so far.  Cycles of running-useful become running-spinning
    later if the period that they are in ends in a spin: the former can be less than 0."""
    return {name: value if name in peaks else value - before.get(name, 0)
            for name, value in now.items()}


class Interval:
    """From one Sample to the next."""

    def __init__(self, start, end, seen):
        self.start, self.end = start, end

        def counted(kind):
            now, before = getattr(end, kind), getattr(start, kind)
            return {n: difference(c, before.get(n, {}), end.peaks) for n, c in now.items()}

        self.vm = difference(end.vm, start.vm, end.peaks)
        self.pcpus, self.vcpus = counted("pcpus"), counted("vcpus")
        self.shares = seen.finish(end, {p: occupied(c) for p, c in self.pcpus.items()})

    @property
    def length(self):
        return self.end.time - self.start.time

    def on(self, pcpu):
        """{VCPU: (cycles, whether estimated)} of a PCPU"""
        return {v: share for (v, p), share in sorted(self.shares.items()) if p == pcpu}


class Watcher:
    """Intervals between moments that are @simulated ns apart, or @host seconds.

    The machine cannot be told to stop at a time.  An interval ends at the first look at the
    machine at or after such a moment, and the next one ends at the moment after that: intervals
    differ in length, by what the machine does in some milliseconds of the host, and the
    differences do not add up."""

    def __init__(self, machine, simulated=None, host=None, asked_to_end=lambda: False):
        self.machine, self.simulated, self.host = machine, simulated, host
        self.asked_to_end = asked_to_end
        self.last = machine.sample()
        self.begin = self.last.time, time.monotonic()
        self.glimpses = RARE
        self.seen = Places(self.last)
        self.went_back = None           # (time before, time after): so it was, for a warning
        self.over = False

    def next(self):
        """The next Interval, or None: the machine ended, or asked_to_end()."""
        while not self.over:
            self.over = not self.wait()
            sample = self.machine.sample()
            before, self.last = self.last, sample
            seen, self.seen = self.seen, Places(sample)
            if self.over and sample.vm == before.vm:
                break
            if sample.time >= before.time:
                return Interval(before, sample, seen)
            self.went_back = before.time, sample.time       # a saved state was loaded
            self.begin = sample.time, time.monotonic()
        return None

    def wait(self):
        """Until the end of the interval; False: there will be no other."""
        if self.simulated:
            past = self.last.time - self.begin[0]
            target = self.begin[0] + (past // self.simulated + 1) * self.simulated
        else:
            past = time.monotonic() - self.begin[1]
            target = self.begin[1] + (past // self.host + 1) * self.host
        looked, shown = time.monotonic(), self.machine.time()
        glimpsed, effort = looked, 0
        while not self.asked_to_end():
            self.machine.monitor.forget_events()
            now, moment = time.monotonic(), self.machine.time()
            if moment < self.last.time:
                return True
            if (moment if self.simulated else now) >= target:
                return True
            if moment == shown and self.machine.status() in ENDED:
                return False
            least, times = self.glimpses
            if moment != shown and now > glimpsed + max(least, times * effort):
                self.glimpses = OFTEN if self.seen.add(*self.machine.glimpse()) else RARE
                glimpsed = time.monotonic()
                effort = glimpsed - now
            if self.simulated:
                # As long as it seems to take, and rather shorter.
                speed = (moment - shown) / max(now - looked, 1e-6)
                pause = 0.7 * (target - moment) / speed if speed else PAUSE
            else:
                pause = target - time.monotonic()
            looked, shown = now, moment
            time.sleep(min(max(pause, 0.0005), PAUSE))
        return False
