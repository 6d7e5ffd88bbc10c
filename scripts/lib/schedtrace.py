"""Read a schedule trace: who ran where, why that changed, how long everything took.

    trace = Trace.read("run.trace")
    timeline = Timeline(trace, trace.parts[-1])

docs/trace.rst describes the file, accel-vsched/schedtrace.c writes it.  Times are cycles.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import collections
import struct
import zlib

MAGIC, VERSION = b"VSCHEDTR", 1
HEADER = struct.Struct("<8sIIQQQIIIIqqQQQQII")
RECORD = struct.Struct("<qBBHI")
CHECKSUM = struct.Struct("<I")
NO_PCPU, NO_VCPU, NO_ARG = 0xff, 0xffff, 0xffffffff
PCPUS_MAX = 64

# Kinds of records.  SWITCH is not one of the file's: it is put before a RUN that says so.
SWITCH, RUN, WAKE, BLOCK, PREEMPT, WAIT, RESUME, MIGRATE, SPIN, SENT, TAKEN = range(1, 12)
POLICY, PCPU, SUSPEND, MASK_LOW, MASK_HIGH, SHARE, RESET = range(16, 23)
VCPU_STATE, PCPU_STATE, CLOCK, END, LOADED = range(32, 37)

# What has to be in a record: "p", a PCPU; "v", a VCPU; "m", a VM as VCPU; "c", a VCPU or none.
FIELDS = {RUN: "pv", WAKE: "pv", BLOCK: "pv", PREEMPT: "pv", WAIT: "pv",
          RESUME: "pv", MIGRATE: "pv", SPIN: "pv", SENT: "v", TAKEN: "pv", POLICY: "", PCPU: "p",
          SUSPEND: "v", MASK_LOW: "v", MASK_HIGH: "v", SHARE: "m", RESET: "", VCPU_STATE: "pv",
          PCPU_STATE: "pc", CLOCK: "p", END: "", LOADED: ""}
STATES = (VCPU_STATE, PCPU_STATE, MASK_LOW, MASK_HIGH, SHARE, POLICY)

BLOCKED, READY, RUNNING, SWITCHING = range(4)
STATE_NAMES = ("blocked", "ready", "running", "switching")
WHYS = {3: "expired", 4: "yielded", 5: "preempted", 6: "evicted"}
STOPPED, WAITED, UNFINISHED = "blocked", "wait", ""
OUTCOMES = ("accepted", "pending", "refused")
NEXT = {SWITCH: SWITCHING, RUN: RUNNING, WAKE: READY, BLOCK: BLOCKED, PREEMPT: READY, WAIT: READY,
        RESUME: RUNNING}

VCPU = collections.namedtuple("VCPU", "state pcpu vm since mask")
PCPUState = collections.namedtuple("PCPUState", "clock vcpu online")
Sent = collections.namedtuple("Sent", "time pcpu sender target outcome cross_call running")
# A VCPU was on a PCPU: "run" or "switch"; why: the reason for its end, "" if none is known.
Span = collections.namedtuple("Span", "pcpu vcpu what start end why")


class Fault(Exception):
    """A file that is no schedule trace, or is damaged."""


def sent(record):
    """The record of an interrupt, taken apart."""
    time, _, pcpu, target, arg = record
    sender = arg & 0xffff
    return Sent(time, None if pcpu == NO_PCPU else pcpu, None if sender == NO_VCPU else sender,
                target, OUTCOMES[arg >> 16 & 3], bool(arg >> 18 & 1), bool(arg >> 19 & 1))


class Part:
    """From a state to where the trace ends, or another state was loaded."""

    def __init__(self, trace, begin, loaded):
        self.begin, self.loaded = begin, loaded
        self.vcpus = [VCPU(BLOCKED, 0, 0, begin, 0)] * trace.vcpus
        self.pcpus = [PCPUState(begin, None, True)] * trace.pcpus
        self.shares = [(0, 0)] * trace.vms
        self.policy = None
        self.records = []
        self.clocks, self.end = {}, None        # None: the trace was not ended here

    def set_state(self, record, policies):
        time, kind, pcpu, vcpu, arg = record
        if kind == VCPU_STATE:
            self.vcpus[vcpu] = VCPU(arg & 0xff, pcpu, arg >> 8, time, self.vcpus[vcpu].mask)
        elif kind == MASK_LOW:
            self.vcpus[vcpu] = self.vcpus[vcpu]._replace(mask=arg)
        elif kind == MASK_HIGH:
            self.vcpus[vcpu] = self.vcpus[vcpu]._replace(mask=self.vcpus[vcpu].mask | arg << 32)
        elif kind == PCPU_STATE:
            self.pcpus[pcpu] = PCPUState(time, None if vcpu == NO_VCPU else vcpu, bool(arg))
        elif kind == SHARE:
            self.shares[vcpu] = arg & 0xffff, arg >> 16
        else:
            self.policy = policies[arg] if arg < len(policies) else None


class Trace:
    """A file.  Its parts: more than one if states were loaded."""

    # pylint: disable=too-many-instance-attributes,too-many-locals

    @classmethod
    def read(cls, path):
        with open(path, "rb") as f:
            return cls(f.read())

    def __init__(self, data):
        if data[:len(MAGIC)] != MAGIC:
            raise Fault("it is no schedule trace, which begins with 'VSCHEDTR'")
        if len(data) < HEADER.size:
            raise Fault(f"it is truncated: {len(data)} bytes, and the header alone has "
                        f"{HEADER.size}")
        (_, version, header, self.clock_hz, self.window, self.switch_cost, self.vcpus, self.pcpus,
         self.vms, policies, self.started, self.begin, states, records, self.lost, self.size,
         running, _) = HEADER.unpack_from(data)
        if version != VERSION:
            raise Fault(f"it is of version {version}: allowed is {VERSION}")
        end = header + RECORD.size * (states + records)
        if len(data) != end + CHECKSUM.size:
            raise Fault(f"it has {len(data)} bytes and ought to have {end + CHECKSUM.size}: it is "
                        + ("truncated" if len(data) < end + CHECKSUM.size else "damaged"))
        if CHECKSUM.unpack_from(data, end)[0] != zlib.adler32(memoryview(data)[:end]):
            raise Fault("its checksum is wrong: it is damaged")
        names = data[HEADER.size:header].split(b"\0")
        if not (HEADER.size <= header and len(names) > policies and self.clock_hz and self.window
                and 0 < self.vcpus < NO_VCPU and 0 < self.pcpus <= PCPUS_MAX
                and 0 < self.vms <= self.vcpus):
            raise Fault("its header is one that no machine can have: it is damaged")
        self.policies = [name.decode("ascii", "replace") for name in names[:policies]]
        self.running, self.records = bool(running), records
        self.parts = []
        self.sort(list(RECORD.iter_unpack(memoryview(data)[header:end])), states)

    def check(self, number, record):
        _, kind, pcpu, vcpu, arg = record
        fields = FIELDS.get(kind)
        if fields is None:
            raise Fault(f"record {number} is of kind {kind}, which there is not")
        if "p" in fields and pcpu >= self.pcpus:
            raise Fault(f"record {number} is of PCPU {pcpu}: there are {self.pcpus}")
        if ("v" in fields and vcpu >= self.vcpus or "m" in fields and vcpu >= self.vms
                or "c" in fields and vcpu >= self.vcpus and vcpu != NO_VCPU):
            raise Fault(f"record {number} is of VCPU or VM {vcpu}, which there is not")
        if kind == PREEMPT and arg not in WHYS or kind == SENT and arg >> 16 & 3 == 3 or \
                kind == VCPU_STATE and (arg & 0xff > SWITCHING or arg >> 8 >= self.vms):
            raise Fault(f"record {number}, of kind {kind}, has the argument {arg}")

    def sort(self, records, states):
        """Into parts."""
        part = Part(self, self.begin, False)
        self.parts.append(part)
        beginning = True            # states are those at the beginning of a part
        for number, record in enumerate(records):
            self.check(number, record)
            time, kind, pcpu, vcpu, arg = record
            if number == states and beginning:
                beginning = False
            if kind == LOADED:
                part, beginning = Part(self, time, True), True
                self.parts.append(part)
            elif kind == CLOCK:
                part.clocks[pcpu] = time
            elif kind == END:
                part.end = time
            elif kind in (VCPU_STATE, PCPU_STATE) or beginning and kind in STATES:
                part.set_state(record, self.policies)
                # The policy is the last of a state.
                beginning = number < states or kind != POLICY
            else:
                beginning = False
                if kind == RUN and arg != NO_ARG:       # registers were moved before
                    part.records.append((time - arg, SWITCH, pcpu, vcpu, arg))
                part.records.append((time, RUN, pcpu, vcpu, 0) if kind == RUN else record)
        for part in self.parts:
            if part.end is None or len(part.clocks) != self.pcpus:
                raise Fault("a part of it has no end")

    def nanoseconds(self, cycles):
        return cycles * 10**9 // self.clock_hz

    def cycles(self, nanoseconds):
        return -(-nanoseconds * self.clock_hz // 10**9)


class Timeline:
    """What the records of a part say, put together.

    spans           of all PCPUs, by PCPU and time
    states[v]       (state, start, end), without a gap
    events          (time, order, record): the records, sorted by time, with times at which what
                    happened to a VCPU is in the order in which it happened
    cycles[v]       of each state, as the engine counts them: what is between two calls of
                    query-stats where the part begins and where it ends
    """

    def __init__(self, trace, part):
        self.trace, self.part = trace, part
        self.spans = [[] for _ in range(trace.pcpus)]
        self.states = [[] for _ in range(trace.vcpus)]
        self.cycles = [[0] * len(STATE_NAMES) for _ in range(trace.vcpus)]
        self.events, self.spins, self.sent = [], [], []
        self.current = {}                               # of each PCPU: (VCPU or None, since)
        for p, pcpu in enumerate(part.pcpus):
            on = pcpu.vcpu is not None and part.vcpus[pcpu.vcpu].state in (RUNNING, SWITCHING)
            self.current[p] = pcpu.vcpu if on else None, pcpu.clock
        self.state = [[v.state, v.since] for v in part.vcpus]
        self.place = [v.pcpu for v in part.vcpus]
        for v, vcpu in enumerate(part.vcpus):
            # What the engine has counted of the present state before the part begins.
            self.cycles[v][vcpu.state] -= max(0, self.first(vcpu) - vcpu.since)
        waiting = [[] for _ in range(trace.pcpus)]      # notes since the last transition
        for order, record in enumerate(part.records):
            time, kind, pcpu, vcpu, _ = record
            if kind in NEXT:
                time, mine = self.transition(record)
                if mine:
                    self.flush(waiting[pcpu], time)
                self.events.append((time, order, (time, *record[1:])))
            elif pcpu < trace.pcpus and kind in (SPIN, SENT, TAKEN):
                waiting[pcpu].append((order, record))
            else:
                self.events.append((time, order, record))
                if kind == SENT:
                    self.sent.append(sent(record))
        for p, notes in enumerate(waiting):
            self.flush(notes, part.clocks[p])
        self.finish()
        self.events.sort(key=lambda event: event[:2])
        self.spins.sort()
        self.sent.sort(key=lambda s: s.time)

    def first(self, vcpu):
        """The time to which its state at the beginning is counted."""
        return self.part.pcpus[vcpu.pcpu].clock if vcpu.state == RUNNING else self.part.begin

    def policies(self, start, stop):
        """Those that were in force from one time to another, in their order."""
        known, names = self.trace.policies, [self.part.policy]
        for time, _, (_, kind, _, _, arg) in self.events:
            if kind == POLICY and time < stop:
                name = known[arg] if arg < len(known) else None
                if time <= start:
                    names = [name]
                elif name != names[-1]:
                    names.append(name)
        return names

    def flush(self, notes, time):
        """Notes of a PCPU are not later than what happened next: those of a block that is
        charged as a whole have the time of its end."""
        for order, record in notes:
            record = (min(record[0], time), *record[1:])
            self.events.append((record[0], order, record))
            if record[1] == SPIN:
                self.spins.append(record)
            elif record[1] == SENT:
                self.sent.append(sent(record))
        notes.clear()

    def enter(self, vcpu, state, time):
        """The engine's rule: a state does not begin before the one before it."""
        before, since = self.state[vcpu]
        if time > since:
            self.cycles[vcpu][before] += time - since
            self.states[vcpu].append((before, since, time))
            self.state[vcpu][1] = time
        self.state[vcpu][0] = state
        return max(time, since)

    def leave(self, pcpu, what, time, why):
        vcpu, since = self.current[pcpu]
        self.spans[pcpu].append(Span(pcpu, vcpu, what, since, time, why))
        self.current[pcpu] = None, time

    def transition(self, record):
        """Its time, and whether it is something that happened to its PCPU."""
        time, kind, pcpu, vcpu, arg = record
        state = self.state[vcpu][0]
        on = self.current[pcpu][0] == vcpu
        entered = self.enter(vcpu, NEXT[kind], time)
        if kind in (SWITCH, RUN, RESUME):
            if kind == RUN and on:
                self.leave(pcpu, "switch", time, UNFINISHED)
            if self.current[pcpu][0] is not None:
                raise Fault(f"VCPU {vcpu} begins at {time} on PCPU {pcpu}, which has VCPU "
                            f"{self.current[pcpu][0]}")
            self.current[pcpu], self.place[vcpu] = (vcpu, time), pcpu
        elif on and state == RUNNING:
            self.leave(pcpu, "run", time, WHYS[arg] if kind == PREEMPT else
                       STOPPED if kind == BLOCK else WAITED)
        else:
            return entered, False
        return time, True

    def finish(self):
        for p, (vcpu, _) in self.current.items():
            if vcpu is not None:
                what = "switch" if self.state[vcpu][0] == SWITCHING else "run"
                self.leave(p, what, self.part.clocks[p], UNFINISHED)
        for v, (state, since) in enumerate(self.state):
            end = self.part.clocks[self.place[v]] if state == RUNNING else self.part.end
            self.cycles[v][state] += max(0, end - since)
            self.states[v].append((state, since, max(since, end)))


class Summary:
    """Of a timeline between two times, or of all of it: vcpus and pcpus, lists of dictionaries."""

    COUNTS = ("runs", "switches", "migrations", "expired", "yielded", "preempted", "evicted",
              "blocks", "spins", "sent", "calls", "refused", "taken")

    def __init__(self, timeline, start=None, stop=None):
        self.timeline, trace = timeline, timeline.trace
        part = timeline.part
        self.whole = start is None and stop is None
        self.start = part.begin if start is None else start
        self.stop = part.end if stop is None else stop
        self.vcpus = [dict.fromkeys(self.COUNTS, 0) for _ in range(trace.vcpus)]
        self.pcpus = [dict.fromkeys(("switches", "running", "switching"), 0)
                      for _ in range(trace.pcpus)]
        for event in timeline.events:
            if self.whole or self.start <= event[0] < self.stop:
                self.count(event[2])
        for v, counts in enumerate(self.vcpus):
            counts.update(vcpu=v, vm=part.vcpus[v].vm)
            counts.update((name, timeline.cycles[v][s] if self.whole else self.within(
                (a, b) for state, a, b in timeline.states[v] if state == s))
                for s, name in enumerate(STATE_NAMES))
            counts["longest-wait"] = max((self.overlap(a, b) for s, a, b in timeline.states[v]
                                          if s == READY), default=0)
        for p, spans in enumerate(timeline.spans):
            for what, name in (("run", "running"), ("switch", "switching")):
                self.pcpus[p][name] = self.within((s.start, s.end) for s in spans
                                                  if s.what == what)
            self.pcpus[p]["pcpu"] = p

    def overlap(self, start, end):
        if self.whole:
            return end - start
        return max(0, min(end, self.stop) - max(start, self.start))

    def within(self, pieces):
        return sum(self.overlap(start, end) for start, end in pieces)

    def count(self, record):
        _, kind, pcpu, vcpu, arg = record
        if kind == SENT:
            s = sent(record)
            if s.sender is not None:
                counts = self.vcpus[s.sender]
                counts["sent"] += not s.cross_call
                counts["calls"] += s.cross_call and s.outcome != "refused"
                counts["refused"] += s.cross_call and s.outcome == "refused"
            return
        name = WHYS.get(arg) if kind == PREEMPT else {
            SWITCH: "switches", RUN: "runs", MIGRATE: "migrations", BLOCK: "blocks",
            SPIN: "spins", TAKEN: "taken"}.get(kind)
        if name:
            self.vcpus[vcpu][name] += 1
        if kind == SWITCH:
            self.pcpus[pcpu]["switches"] += 1
