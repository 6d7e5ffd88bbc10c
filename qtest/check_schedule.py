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


def skew(timeline, bound):
    """Co-scheduling: of two siblings, neither is ever more than 'bound' cycles further than the
    other.  It gets further while it runs.  The trace does not say where the policy counts from; so
    what one gains on the other, in any stretch of time, is at most twice the bound.  From when on
    no sibling is blocked any more: one that is keeps up with all."""
    for siblings in vms_of(timeline):
        since = max([timeline.part.begin, *(end for v in siblings
                                            for state, _, end in timeline.states[v]
                                            if state == BLOCKED)])
        for one, other in itertools.combinations(siblings, 2):
            changes = []
            for v, sign in ((one, 1), (other, -1)):
                for state, start, end in timeline.states[v]:
                    if state == RUNNING and end > since:
                        changes += [(max(start, since), sign), (end, -sign)]
            ahead, rate, last, least, most = 0, 0, since, 0, 0
            for time, change in sorted(changes):
                ahead += rate * (time - last)
                least, most = min(least, ahead), max(most, ahead)
                rate, last = rate + change, time
            if most - least > 2 * bound:
                yield (f"VCPUs {one} and {other} gain up to {most - least} cycles on each other "
                       f"from {since} on: allowed are {2 * bound}")


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
