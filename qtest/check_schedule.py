"""Independent checkers: whether a schedule, as its trace has it, keeps what a policy promises
(docs/policies).  They know nothing of how a policy decides.

    for fault in gangs(timeline): ...

Each yields what is wrong, as text; nothing: the promise was kept.  A timeline is that of
scripts/lib/schedtrace.py.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import bisect
import itertools

BLOCKED, READY, RUNNING, SWITCHING = range(4)
ON = (RUNNING, SWITCHING)


def vms_of(timeline):
    """[VCPUs of each VM]"""
    vms = [[] for _ in range(timeline.trace.vms)]
    for v, vcpu in enumerate(timeline.part.vcpus):
        vms[vcpu.vm].append(v)
    return vms


def states_at(timeline, times):
    """[state of each VCPU] at each of these times, which are sorted."""
    columns = []
    for states in timeline.states:
        ends = [end for *_, end in states]
        columns.append([states[min(bisect.bisect_right(ends, t), len(states) - 1)][0]
                        for t in times])
    return list(zip(*columns))


def gangs(timeline, size=None):
    """Gang scheduling: of a gang, in each window, all run that are not blocked, or none does.  A
    gang is a VM, or as many VCPUs of it as there are PCPUs, in the order of their numbers.  Who
    wakes may join a window later.

    Looked at in the middle of each window: a PCPU may stop a few cycles short of its end."""
    window = timeline.trace.window
    size = size or timeline.trace.pcpus
    groups = [vm[i:i + size] for vm in vms_of(timeline) for i in range(0, len(vm), size)]
    times = range(timeline.part.begin + window // 2, timeline.part.end, window)
    samples = states_at(timeline, times)
    for time, before, now in zip(times[1:], samples, samples[1:]):
        for group in groups:
            on = [v for v in group if before[v] in ON and now[v] in ON]
            left = [v for v in group if before[v] == now[v] == READY]
            if on and left:
                yield f"at {time} VCPUs {on} run, and VCPUs {left} of the same gang wait"


def divided(weights, vcpus, pcpus):
    """PCPUs of each VM by the divisor method of Sainte-Laguë: one for each first.  A VM that has
    one for each of its VCPUs gets no more while another one has fewer."""
    parts = [1] * len(weights)
    for _ in range(pcpus - len(weights)):
        wanting = [i for i in range(len(parts)) if parts[i] < vcpus[i]] or range(len(parts))
        parts[max(wanting, key=lambda i: (weights[i] / (2 * parts[i] + 1), -i))] += 1
    return parts


def partition(timeline):
    """Logical partitioning: no VCPU runs outside the part of its VM; parts lie one after another
    and are as large as weights say."""
    vms = vms_of(timeline)
    sizes = divided([weight for weight, _ in timeline.part.shares], [len(vm) for vm in vms],
                    timeline.trace.pcpus)
    last = list(itertools.accumulate(sizes))
    for spans in timeline.spans:
        for span in spans:
            vm = timeline.part.vcpus[span.vcpu].vm
            if not last[vm] - sizes[vm] <= span.pcpu < last[vm]:
                yield (f"VCPU {span.vcpu} of VM {vm} runs at {span.start} on PCPU {span.pcpu}, and "
                       f"its part is {last[vm] - sizes[vm]} to {last[vm] - 1}")


def time_in(timeline, vcpu, state):
    """A function of time: for how many cycles before that the VCPU has been in this state."""
    stretches = [(start, end) for what, start, end in timeline.states[vcpu] if what == state]
    starts = [start for start, _ in stretches]
    before = [0, *itertools.accumulate(end - start for start, end in stretches)]

    def until(time):
        n = bisect.bisect_left(starts, time)
        return before[n] - max(0, stretches[n - 1][1] - time) if n else 0

    return until


def samples_of(timeline, interval):
    """When skew is sampled: at the first end of a window that is an interval or more later."""
    window = timeline.trace.window
    return range(timeline.part.begin, timeline.part.end + 1, -(-interval // window) * window)


def groups_of(timeline):
    """[siblings]: the VCPUs of a VM, as many as there are PCPUs."""
    size = timeline.trace.pcpus
    return [vm[i:i + size] for vm in vms_of(timeline) for i in range(0, len(vm), size)]


def added_skew(timeline, threshold, interval):
    """Co-scheduling as up to ESX 3: the skew of a VCPU, which adds up from sample to sample, is at
    most the threshold, an interval, a window and a switch.  The trace begins with the policy."""
    ends = samples_of(timeline, interval)
    bound = threshold + interval + timeline.trace.window + timeline.trace.switch_cost
    for siblings in groups_of(timeline):
        ran, idle = ([time_in(timeline, v, state) for v in siblings]
                     for state in (RUNNING, BLOCKED))
        skew = [0] * len(siblings)
        for start, end in zip(ends, ends[1:]):
            did = [until(end) - until(start) for until in ran]
            for i, v in enumerate(siblings):
                done = did[i] + idle[i](end) - idle[i](start)
                most = max((other for j, other in enumerate(did) if j != i), default=0)
                skew[i] = max(0, skew[i] + max(0, most - done) - done)
                if skew[i] > bound:
                    yield f"the skew of VCPU {v} is {skew[i]} at {end}: allowed are {bound}"


def lead(timeline, threshold, interval):
    """Co-scheduling as from ESX 4 on: no VCPU is ever further ahead of a sibling than the
    threshold, an interval and a window.  Who is idle comes up to the fastest at the next sample, as
    far as that is not too far ahead of any who is not idle.  The trace begins with the policy."""
    ends = samples_of(timeline, interval)
    bound = threshold + interval + timeline.trace.window
    for siblings in groups_of(timeline):
        ran, idle = ([time_in(timeline, v, state) for v in siblings]
                     for state in (RUNNING, BLOCKED))
        stops = sorted({end for v in siblings for state, _, end in timeline.states[v]
                        if state == RUNNING})
        progress, seen = [0] * len(siblings), 0
        for start, end in zip(ends, ends[1:]):
            last = bisect.bisect_left(stops, end)
            for time in (*stops[seen:last], end):
                done = {v: progress[i] + ran[i](time) - ran[i](start)
                        for i, v in enumerate(siblings) if idle[i](time) == idle[i](start)}
                first, slowest = (f(done, key=done.get, default=None) for f in (max, min))
                if done and done[first] - done[slowest] > bound:
                    yield (f"VCPU {first} is {done[first] - done[slowest]} cycles ahead of "
                           f"{slowest} at {time}: allowed are {bound}")
            seen = last
            progress = [p + until(end) - until(start) for p, until in zip(progress, ran)]
            rest = [until(end) - until(start) for until in idle]
            most = min([max(progress), *(p + threshold for p, r in zip(progress, rest) if not r)])
            progress = [max(p, min(p + r, most)) for p, r in zip(progress, rest)]


def shares(timeline, tolerance=0.02):
    """Proportional shares: each VM has run for its part of what all have run for, by weight, to
    this part of it.  For VMs that always have something to run on every PCPU."""
    ran = [sum(timeline.cycles[v][RUNNING] for v in vm) for vm in vms_of(timeline)]
    weights = [weight for weight, _ in timeline.part.shares]
    for vm, cycles in enumerate(ran):
        due = sum(ran) * weights[vm] / sum(weights)
        if abs(cycles - due) > tolerance * due:
            yield (f"VM {vm}, of weight {weights[vm]} of {sum(weights)}, has run for {cycles} "
                   f"cycles, and {due:.0f} are due")


class Job:
    """A slice that a VCPU is due from 'release' to 'deadline'.  It has 'ran' for that long, and
    could have used 'cost'."""

    def __init__(self, vcpu, release, deadline):
        self.vcpu, self.release, self.deadline = vcpu, release, deadline
        self.ran = self.cost = 0
        self.missed = False


def jobs_of(timeline, vcpu, slice_, period, slack):
    """The jobs of a VCPU, by Xen's rules for when a period begins: when the one before it ends, or
    when the VCPU wakes after that.  Who wakes in a period whose slice he has not used up gets no
    more of it.  Who wakes in one that began while he was blocked, and whose predecessor's slice he
    had used up, gets nothing of it."""
    ran = time_in(timeline, vcpu, RUNNING)
    jobs, job, following, was = [], None, None, BLOCKED

    def close(time, blocked):
        job.ran = ran(time) - ran(job.release)
        job.cost = min(job.ran, slice_) if blocked else slice_
        job.missed = not blocked and job.ran < slice_ - slack
        jobs.append(job)

    for state, start, end in timeline.states[vcpu]:
        if state == BLOCKED:
            if job:
                close(start, True)
                if job.ran < slice_ - slack:
                    following = job.release         # its period is not over for it
                job = None
        else:
            if was == BLOCKED:
                if following is None or start >= following + period:
                    following = start
                elif start >= following:
                    following += period
            while following <= end:
                if job:
                    close(following, False)
                job = Job(vcpu, following, following + period)
                following += period
        was = state
    return jobs


def deadlines(timeline, reservations, block=100):
    """Earliest deadline first: no VCPU misses a deadline that can be met on its PCPU.  Of each
    period a VCPU gets a slice, unless it blocks: {VCPU: (slice, period)}.

    A deadline that was missed could have been met if there is no stretch of time before it whose
    slices, those that were due in it as a whole, are longer than itself (the processor demand
    criterion of Baruah, Rosier and Howell, 1990).  A slice comes with two switches and windows, a
    stretch with one.  A slice ends with a block of guest code, and what that is too short or too
    long by is made good by the next."""
    late = timeline.trace.switch_cost + timeline.trace.window
    of_pcpu = [[] for _ in range(timeline.trace.pcpus)]
    for v, (slice_, period) in reservations.items():
        allowed = [p for p in range(timeline.trace.pcpus) if timeline.part.vcpus[v].mask >> p & 1]
        of_pcpu[allowed[v % len(allowed)]] += jobs_of(timeline, v, slice_, period, 2 * block)
    for pcpu, jobs in enumerate(of_pcpu):
        jobs.sort(key=lambda job: -job.release)
        for miss in jobs:
            demand, fits = late, miss.missed
            for job in jobs:
                if fits and job.deadline <= miss.deadline:
                    demand += job.cost + 2 * late
                    fits = demand <= miss.deadline - job.release
            if fits:
                yield (f"VCPU {miss.vcpu} has run for {miss.ran} cycles from {miss.release} to "
                       f"its deadline at {miss.deadline}, and its slice was possible on PCPU "
                       f"{pcpu}")
