"""A schedule trace as text in the form of Linux's ftrace, which Perfetto and others show.

A PCPU is a CPU, a VCPU a task.  The lines are sched_switch and sched_waking, as the kernel prints
them, and marks (tracing_mark_write) of spins, cross-calls and changes of the machine.  VCPU v has
process number v + 1; its group is that of the first VCPU of its VM.  While registers are moved, a
task switch/p has PCPU p.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from schedtrace import (BLOCK, NO_PCPU, PCPU, POLICY, PREEMPT, READY, RESET, RESUME, RUN, RUNNING,
                        SENT, SPIN, SWITCH, SWITCHING, WAIT, WAKE, WHYS, sent)

HEAD = """\
# tracer: nop
#
# entries-in-buffer/entries-written: {n}/{n}   #P:{pcpus}
#
#                                      _-----=> irqs-off
#                                     / _----=> need-resched
#                                    | / _---=> hardirq/softirq
#                                    || / _--=> preempt-depth
#           TASK-PID       TGID   CPU#  |||| TIMESTAMP  FUNCTION
#              | |           |      |   ||||    |         |
"""
IDLE = 0                # number of whoever has nobody
PRIORITY = 120          # of a task that is like any other


class Writer:
    """The lines of a timeline, between two times if such are given."""

    # pylint: disable=too-many-instance-attributes

    def __init__(self, timeline, start=None, stop=None):
        self.timeline, self.trace = timeline, timeline.trace
        vms = [v.vm for v in timeline.part.vcpus]
        self.groups = [vms.index(vm) + 1 for vm in vms]         # of each VCPU
        self.machine = self.trace.vcpus + 1             # number of the task with marks
        self.entries = []               # (time, order, CPU, what is before the time, and behind)
        self.on = [IDLE] * self.trace.pcpus             # tasks
        self.left = [None] * self.trace.pcpus   # (time, order, task, state): it left; to whom?
        self.moves = {(span.pcpu, span.start) for spans in timeline.spans for span in spans
                      if span.what == "switch" and span.start < span.end}
        self.begin()
        for time, order, record in timeline.events:
            if start is not None and time >= start:
                self.begin_at(start)
                start = None
            if stop is not None and time >= stop:
                break
            self.add(time, order, record)
        if start is not None:
            self.begin_at(start)
        for p, clock in timeline.part.clocks.items():
            self.put_off(p)
            if self.on[p] != IDLE:          # where the text ends: a last line
                self.switch(clock if stop is None else min(stop, clock), len(timeline.events), p,
                            self.on[p], "R", IDLE)
        self.entries.sort(key=lambda entry: entry[:2])

    # -- tasks ----------------------------------------------------------------

    @staticmethod
    def task(vcpu):
        return vcpu + 1

    def mover(self, pcpu):
        return self.machine + 1 + pcpu

    def name(self, task, pcpu):
        if task == IDLE:
            return f"swapper/{pcpu}"
        if task == self.machine:
            return "machine"
        return f"switch/{pcpu}" if task > self.machine else f"vcpu{task - 1}"

    def group(self, task):
        return self.machine if task >= self.machine else self.groups[task - 1]

    # -- lines ----------------------------------------------------------------

    def line(self, time, order, pcpu, task, event, flags="...."):
        name = "<idle>" if task == IDLE else self.name(task, pcpu)
        group = "-------" if task == IDLE else f"{self.group(task):7d}"
        self.entries.append((time, order, pcpu, f"{name:>16s}-{task:<7d} ({group}) [{pcpu:03d}] "
                             f"{flags} ", event))

    def switch(self, time, order, pcpu, before, state, after):
        self.line(time, order, pcpu, before,
                  f"sched_switch: prev_comm={self.name(before, pcpu)} prev_pid={before} "
                  f"prev_prio={PRIORITY} prev_state={state} ==> next_comm="
                  f"{self.name(after, pcpu)} next_pid={after} next_prio={PRIORITY}", "d...")
        self.on[pcpu] = after

    def put_off(self, pcpu):
        """Who left, left it to nobody."""
        if self.left[pcpu]:
            time, order, task, state = self.left[pcpu]
            self.left[pcpu] = None
            self.switch(time, order, pcpu, task, state, IDLE)

    def put_on(self, time, order, pcpu, task):
        """In one line with whoever left it at the same time."""
        if self.left[pcpu] and self.left[pcpu][0] < time:
            self.put_off(pcpu)
        before, state = self.on[pcpu], "R" if self.on[pcpu] == IDLE else "S"
        if self.left[pcpu]:
            _, _, before, state = self.left[pcpu]
            self.left[pcpu] = None
        if before == task:
            self.on[pcpu] = task        # it has another timeslice: a kernel prints nothing
        else:
            self.switch(time, order, pcpu, before, state, task)

    def leave(self, time, order, pcpu, task, state):
        if self.on[pcpu] == task:
            self.left[pcpu] = time, order, task, state
            self.on[pcpu] = IDLE

    def wake(self, time, order, pcpu, vcpu):
        """As an interrupt does it, on the PCPU where the VCPU ran last."""
        self.put_off(pcpu)
        self.line(time, order, pcpu, self.on[pcpu],
                  f"sched_waking: comm={self.name(self.task(vcpu), pcpu)} "
                  f"pid={self.task(vcpu)} prio={PRIORITY} target_cpu={pcpu:03d}", "d.h.")

    def mark(self, time, order, pcpu, task, text):
        self.line(time, order, pcpu, task, f"tracing_mark_write: I|{self.group(task)}|{text}")

    # -- records --------------------------------------------------------------

    def begin(self):
        """Who is where, or waits, when the timeline begins."""
        part = self.timeline.part
        for p, pcpu in enumerate(part.pcpus):
            state = part.vcpus[pcpu.vcpu].state if pcpu.vcpu is not None else None
            if state in (RUNNING, SWITCHING):
                self.put_on(pcpu.clock, -1, p, self.task(pcpu.vcpu) if state == RUNNING
                            else self.mover(p))
        for v, vcpu in enumerate(part.vcpus):
            if vcpu.state == READY:
                self.wake(max(part.begin, vcpu.since), -1, vcpu.pcpu, v)

    def begin_at(self, start):
        """What was before is gone, but for who is where, or waits."""
        for p in range(self.trace.pcpus):
            self.put_off(p)
        self.entries.clear()
        for p, task in enumerate(self.on):
            if task != IDLE:
                self.switch(start, -1, p, IDLE, "R", task)
        for v, states in enumerate(self.timeline.states):
            for state, since, until in states:
                if state == READY and since < start <= until:
                    self.wake(start, -1, self.timeline.part.vcpus[v].pcpu, v)

    def add(self, time, order, record):
        _, kind, pcpu, vcpu, arg = record
        if kind == SWITCH:
            if (pcpu, time) in self.moves:
                self.put_on(time, order, pcpu, self.mover(pcpu))
        elif kind in (RUN, RESUME):
            self.put_on(time, order, pcpu, self.task(vcpu))
        elif kind in (PREEMPT, BLOCK, WAIT):
            state = "S" if kind == BLOCK else \
                "R" if kind == WAIT or WHYS[arg] == "yielded" else "R+"
            self.leave(time, order, pcpu, self.task(vcpu), state)
        elif kind == WAKE:
            self.wake(time, order, pcpu, vcpu)
        elif kind == SPIN:
            self.mark(time, order, pcpu, self.task(vcpu), "spin")
        elif kind == SENT:
            self.call(time, order, sent(record))
        elif kind in (POLICY, PCPU, RESET):
            names = self.trace.policies
            text = {POLICY: f"policy {names[arg] if arg < len(names) else 'unknown'}",
                    PCPU: f"PCPU {pcpu} {'on' if arg else 'off'}", RESET: "reset"}[kind]
            self.mark(time, order, 0 if pcpu == NO_PCPU else pcpu, self.machine, text)

    def call(self, time, order, s):
        if s.cross_call and s.sender is not None and s.pcpu is not None:
            self.mark(time, order, s.pcpu, self.task(s.sender),
                      f"call to vcpu{s.target}" + " refused" * (s.outcome == "refused"))

    # -- text -----------------------------------------------------------------

    def lines(self):
        stamp = self.trace.nanoseconds
        for time, _, _, head, event in self.entries:
            seconds, rest = divmod(stamp(time), 10**9)
            yield f"{head}{seconds:5d}.{rest:09d}: {event}\n"

    def write(self, file):
        file.write(HEAD.format(n=len(self.entries), pcpus=self.trace.pcpus))
        file.writelines(self.lines())
