"""A reader of the text form of Linux's ftrace, written from the kernel's own documentation
(Documentation/trace/ftrace.rst, and the formats of sched_switch and sched_waking) and from nothing
of ours: what scripts/trace writes and what a guest's kernel prints have to be the same to it.

    schedule = Schedule(text.splitlines())
    schedule.ran[task]          nanoseconds on a CPU
    schedule.ready[task]        nanoseconds in which it could have run, and did not
    schedule.switches           number of sched_switch

It raises Wrong where a trace contradicts itself: a task on two CPUs at once, a CPU that switches
from a task that it did not have, time that goes back, a task that is woken while it runs.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import collections
import re

LINE = re.compile(r"^ *(?P<comm>.*)-(?P<pid>\d+) +(?:\( *(?P<tgid>\d+|-+)\) +)?\[(?P<cpu>\d+)\] +"
                  r"(?:(?P<flags>[^ ]{4,6}) +)?(?P<seconds>\d+)\.(?P<fraction>\d{6}|\d{9}): "
                  r"(?P<event>\w+): (?P<arguments>.*)$")
SWITCH = re.compile(r"^prev_comm=(?P<prev_comm>.*) prev_pid=(?P<prev>\d+) prev_prio=\d+ "
                    r"prev_state=(?P<state>[RSDTtXZPI|KWN]+\+?) ==> next_comm=(?P<next_comm>.*) "
                    r"next_pid=(?P<next>\d+) next_prio=\d+$")
WAKING = re.compile(r"^comm=(?P<comm>.*) pid=(?P<pid>\d+) prio=\d+ (?:success=1 )?"
                    r"target_cpu=(?P<cpu>\d+)$")

Stretch = collections.namedtuple("Stretch", "cpu task start end")
Wait = collections.namedtuple("Wait", "task start end")


class Wrong(Exception):
    """The trace cannot be that of any schedule."""


class Schedule:
    # pylint: disable=too-many-instance-attributes

    def __init__(self, lines):
        self.on = {}                        # CPU: (task, since); task 0 is the idle task
        self.where = {}                     # task: CPU that it is on
        self.waits = {}                     # task: since when it could run
        self.stretches, self.waited = [], []
        self.switches = 0
        self.names, self.groups = {}, {}
        self.marks = []                     # (time, task, text)
        self.time = self.entries = self.lost = 0
        self.header = []
        for number, line in enumerate(lines, 1):
            try:
                self.line(line.rstrip("\r\n"))
            except Wrong as fault:
                raise Wrong(f"line {number}: {fault}: {line}") from None
        self.end()

    def line(self, line):
        if line.startswith("#") or not line.strip():
            self.header.append(line)
            return
        if re.match(r"^CPU:\d+ \[LOST", line) or "buffer " in line and "started" in line:
            self.lost += 1
            return
        found = LINE.match(line)
        if not found:
            raise Wrong("this is no line of ftrace")
        self.entries += 1
        seconds, fraction = found["seconds"], found["fraction"]
        time = int(seconds) * 10**9 + int(fraction.ljust(9, "0"))
        if time < self.time:
            raise Wrong(f"time goes back from {self.time} to {time}")
        self.time = time
        cpu, task = int(found["cpu"]), int(found["pid"])
        if found["tgid"] and found["tgid"].isdigit():
            self.groups[task] = int(found["tgid"])
        if found["event"] == "sched_switch":
            self.switch(cpu, task, SWITCH.match(found["arguments"]))
        elif found["event"] in ("sched_waking", "sched_wakeup", "sched_wakeup_new"):
            self.wake(cpu, task, found["event"], WAKING.match(found["arguments"]))
        elif found["event"] == "tracing_mark_write":
            self.marks.append((time, task, found["arguments"]))

    def switch(self, cpu, task, found):
        if not found:
            raise Wrong("these are no arguments of sched_switch")
        before, after, state = int(found["prev"]), int(found["next"]), found["state"]
        if task != before:
            raise Wrong(f"task {task} says that task {before} stops")
        self.switches += 1
        current, since = self.on.get(cpu, (before, None))
        if current != before:
            raise Wrong(f"task {before} leaves CPU {cpu}, which has task {current}")
        if since is not None and before:
            self.stretches.append(Stretch(cpu, before, since, self.time))
        if before:
            self.where.pop(before, None)
            if state.startswith("R"):
                self.waits[before] = self.time
            self.names[before] = found["prev_comm"]
        if after:
            if after in self.where:
                raise Wrong(f"task {after} begins on CPU {cpu} and is on CPU {self.where[after]}")
            self.where[after] = cpu
            if after in self.waits:
                self.waited.append(Wait(after, self.waits.pop(after), self.time))
            self.names[after] = found["next_comm"]
        self.on[cpu] = after, self.time

    def wake(self, cpu, task, event, found):
        if not found:
            raise Wrong(f"these are no arguments of {event}")
        if cpu in self.on and self.on[cpu][0] != task:
            raise Wrong(f"task {task} wakes another on CPU {cpu}, which has task "
                        f"{self.on[cpu][0]}")
        woken = int(found["pid"])
        # A task that is on its way to sleep may be woken before it has left its CPU.
        if woken not in self.where:
            self.waits.setdefault(woken, self.time)

    def end(self):
        """What goes on at the end ends there."""
        for cpu, (task, since) in self.on.items():
            if task and since is not None:
                self.stretches.append(Stretch(cpu, task, since, self.time))

    def total(self, pieces):
        sums = collections.Counter()
        for piece in pieces:
            sums[piece.task] += piece.end - piece.start
        return sums

    @property
    def ran(self):
        return self.total(self.stretches)

    @property
    def ready(self):
        return self.total(self.waited)
