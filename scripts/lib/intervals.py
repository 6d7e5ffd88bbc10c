"""What a machine did in intervals of simulated or of host time: differences of its counters, and
how much of each PCPU each VCPU had, which is the table of vm-stat in Theurer et al., "Virtual
Scalability: Charting the Performance of Linux in a Virtual World" (Linux Symposium 2006), 3.2.

    with Monitor(path) as monitor:
        watcher = Watcher(Machine(monitor), simulated=10_000_000)
        while interval := watcher.next():
            print(interval.start.time, interval.end.time, interval.on(0))

The counters of one moment are read while the machine is stopped between two windows, so that they
agree with each other.  The sample that ends an interval begins the next one: nothing is counted
twice, and nothing is lost.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import argparse
import re
import time

from monitor import PROVIDER, statistics
from units import nanoseconds

# The machine will not go on by itself: its last interval is over.
ENDED = ("shutdown", "guest-panicked", "internal-error")

# Names of the cache-timing plugin's statistics begin so, which QEMU offers under another provider.
CACHES, PLUGINS = "cachetime.", "plugin"

PAGING = "paging-"      # begins the names of the paging model's statistics, of provider vsched

PAUSE = 0.05            # longest time between two looks at a machine that runs, in s of the host


def scalars(counters):
    """Statistics that are numbers, without histograms."""
    return {name: value for name, value in counters.items() if not isinstance(value, list)}


def period(text):
    """A time with a unit, in ns."""
    ns = nanoseconds(text)
    if not ns:
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
        self.vm = scalars(stats["vm"]["vm"])
        self.pcpus = {int(re.search(r"\[(\d+)\]$", path).group(1)): values
                      for path, values in stats["pcpu"].items()}
        self.paths = {numbers[path]: path for path in stats.get("vcpu", {})}
        self.vcpus = {v: scalars(stats["vcpu"][path]) for v, path in sorted(self.paths.items())}
        self.ran_on = {v: stats["vcpu"][path]["running-on"] for v, path in self.paths.items()}


def occupied(counters):
    """Cycles in which a PCPU had a VCPU."""
    return counters["busy"] + counters["stalled"] + counters["skipped"]


def cache_stalls(counters):
    """Cycles for which caches stalled a PCPU or VCPU; None if nobody models caches."""
    stalls = [n for name, n in counters.items()
              if name.startswith((f"{CACHES}user-stall-", f"{CACHES}privileged-stall-"))]
    return sum(stalls) if stalls else None


def cache_misses(counters, level="l2"):
    """Misses of a level; None if nobody models caches."""
    misses = [n for name, n in counters.items()
              if name.startswith((f"{CACHES}user-{level}-misses-",
                                  f"{CACHES}privileged-{level}-misses-"))]
    return sum(misses) if misses else None


def paging_stalls(counters):
    """Cycles for which walks and exits stalled a VCPU."""
    return sum(n for name, n in counters.items() if name.startswith(f"{PAGING}cycles-"))


def tlb_misses(counters):
    """Misses of both levels of the modelled TLBs."""
    return sum(counters[f"{PAGING}{side}tlb-misses-{mode}"] for side in "id"
               for mode in ("privileged", "user"))


class Machine:
    """A machine under the engine, over QMP.  monitor.library.ExecuteError: it is not."""

    def __init__(self, monitor):
        self.monitor = monitor
        monitor.cmd("query-vsched")
        self.clock_hz = monitor.cmd("qom-get", path="/machine/vsched", property="clock-hz")
        schemas = monitor.cmd("query-stats-schemas", provider=PROVIDER)
        self.peaks = {stat["name"] for target in schemas for stat in target["stats"]
                      if stat["type"] == "peak"}
        self.paging = any(stat["name"].startswith(PAGING) for target in schemas
                          for stat in target["stats"])
        self.numbers = {}
        self.caches = self.knows_caches()

    def knows_caches(self):
        """Whether the cache-timing plugin is there, and counts."""
        try:
            schemas = self.monitor.cmd("query-stats-schemas", provider=PLUGINS)
        except self.monitor.library.ExecuteError:       # this QEMU knows no such provider
            return False
        return any(stat["name"].startswith(CACHES) for target in schemas
                   for stat in target["stats"])

    def add_caches(self, stats):
        """The plugin's statistics of PCPUs and VCPUs, beside the engine's."""
        for target, objects in statistics(self.monitor, PLUGINS).items():
            for path, values in objects.items():
                if target != "vm" and path in stats.get(target, {}):
                    stats[target][path].update((name, n) for name, n in values.items()
                                               if name.startswith(CACHES))

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
        if self.caches:
            self.add_caches(stats)
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


def difference(now, before, peaks=()):
    """What was counted; peaks are those so far.  Cycles of running-useful become running-spinning
    later if the period that they are in ends in a spin: the former can be less than 0."""
    return {name: value if name in peaks else value - before.get(name, 0)
            for name, value in now.items()}


class Interval:
    """From one Sample to the next."""

    def __init__(self, start, end):
        self.start, self.end = start, end

        def counted(kind):
            now, before = getattr(end, kind), getattr(start, kind)
            return {n: difference(c, before.get(n, {}), end.peaks) for n, c in now.items()}

        self.vm = difference(end.vm, start.vm, end.peaks)
        self.pcpus, self.vcpus = counted("pcpus"), counted("vcpus")

    @property
    def length(self):
        return self.end.time - self.start.time

    def on(self, pcpu):
        """{VCPU: cycles} of a PCPU: of those that ran there."""
        ran = {v: cycles[pcpu] - self.start.ran_on[v][pcpu] if v in self.start.ran_on
               else cycles[pcpu] for v, cycles in sorted(self.end.ran_on.items())}
        return {v: cycles for v, cycles in ran.items() if cycles}


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
        self.went_back = None           # (time before, time after): so it was, for a warning
        self.over = False

    def next(self):
        """The next Interval, or None: the machine ended, or asked_to_end()."""
        while not self.over:
            self.over = not self.wait()
            sample = self.machine.sample()
            before, self.last = self.last, sample
            if self.over and sample.vm == before.vm:
                break
            if sample.time >= before.time:
                return Interval(before, sample)
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
        while not self.asked_to_end():
            self.machine.monitor.forget_events()
            now, moment = time.monotonic(), self.machine.time()
            if moment < self.last.time:
                return True
            if (moment if self.simulated else now) >= target:
                return True
            if moment == shown and self.machine.status() in ENDED:
                return False
            if self.simulated:
                # As long as it seems to take, and rather shorter.
                speed = (moment - shown) / max(now - looked, 1e-6)
                pause = 0.7 * (target - moment) / speed if speed else PAUSE
            else:
                pause = target - time.monotonic()
            looked, shown = now, moment
            time.sleep(min(max(pause, 0.0005), PAUSE))
        return False
