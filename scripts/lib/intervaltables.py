"""Intervals of a machine (intervals.py) as text, as CSV and as JSON.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import csv
import io
import json
import shutil

from intervals import occupied

STATES = ("running-useful", "running-spinning", "ready", "blocked", "switching")


def percent(part, whole):
    return f"{max(0, 100 * part / whole):.1f}" if whole else "-"


def short(number):
    """At most five characters: 12345, 123k, 12.3M."""
    if number < 100_000:
        return str(round(number))
    for unit in "kMGTP":
        number /= 1000
        if number < 999.5:
            break
    return f"{number:.0f}{unit}" if number >= 99.95 else f"{number:.1f}{unit}"


def policy(info):
    """The policy and its parameters, as a person writes them."""
    def text(value):
        return ("off", "on")[value] if isinstance(value, bool) else str(value)
    return " ".join([info["policy"]] + [f"{p['name']}={text(p['value'])}"
                                        for p in info["parameters"]])


def account(counters):
    """Cycles of a VCPU in all of its states."""
    return sum(counters[state] for state in STATES)


def wrapped(begin, cells, width):
    """Lines that begin with @begin or with blanks."""
    lines = [begin]
    for cell in cells:
        if len(lines[-1]) + 1 + len(cell) > width and len(lines[-1]) > len(begin):
            lines.append(" " * len(begin))
        lines[-1] += " " + cell
    return [line.rstrip() for line in lines]


class Text:
    """For people: a table for each interval."""

    def __init__(self, sample):
        del sample
        self.width = shutil.get_terminal_size((80, 24)).columns

    def head(self):
        return []

    def lines(self, interval):
        start, end = interval.start, interval.end
        status = "" if end.status == "running" else f", {end.status}"
        return [f"{start.time / 1e6:.6f} ms to {end.time / 1e6:.6f} ms "
                f"({interval.length / 1e6:.6f} ms, host {end.host - start.host:.3f} s), "
                f"{policy(end.info)}{status}", *self.table(interval), ""]


class PCPUText(Text):
    """The table of Theurer et al.: of each PCPU the total, and the part of each VCPU.  dK-N is
    VCPU N, of VM (domain) K."""

    def table(self, interval):
        yield "PCPU   Total  switch    idle     off  Virtual CPUs"
        vms = {v["vcpu"]: v["vm"] for v in interval.end.info["vcpus"]}
        for p, counters in interval.pcpus.items():
            clock = counters["clock"]
            cells = [f"d{vms[v]}-{v}[{percent(cycles, clock):0>5}]"
                     for v, cycles in interval.on(p).items()] if clock else []
            total, *rest = (percent(c, clock) for c in (
                occupied(counters), counters["switching"], counters["idle"], counters["offline"]))
            yield from wrapped(f"{p:4} [{total:0>5}]" + "".join(f"{r:>8}" for r in rest) + " ",
                               cells, self.width)


class VCPUText(Text):
    """What each VCPU did: its run states in percent of the interval, and what was counted."""

    def table(self, interval):
        yield (" VM VCPU PCPU  useful    spin   ready blocked  switch   spins switches   migr "
               "refused")
        for v in interval.end.info["vcpus"]:
            counters = interval.vcpus.get(v["vcpu"])
            if counters:
                yield (f"{v['vm']:3} {v['vcpu']:4} {v['pcpu']:4}" +
                       "".join(f"{percent(counters[s], account(counters)):>8}" for s in STATES) +
                       "".join(f" {short(counters[name]):>{width}}" for name, width in (
                           ("spin-periods", 7), ("switched-in", 8), ("migrations", 6),
                           ("cross-calls-refused", 7))))


class CSV:
    """Lines with commas, the first of names.  Times are in ns; those of the host in s, since
    1970; what was counted is the difference between end and start."""

    TIMES = ("start", "end", "host-start", "host-end", "policy")

    @staticmethod
    def times(interval):
        return (interval.start.time, interval.end.time, f"{interval.start.host:.6f}",
                f"{interval.end.host:.6f}", policy(interval.end.info))

    @staticmethod
    def line(values):
        out = io.StringIO()
        csv.writer(out, lineterminator="").writerow(values)
        return out.getvalue()

    def head(self):
        return [self.line([*self.TIMES, *self.names])]

    def lines(self, interval):
        times = self.times(interval)
        return [self.line([*times, *values]) for values in self.rows(interval)]


class PCPUCSV(CSV):
    """A line for each PCPU: its counters, and cycles of each VCPU on it."""

    def __init__(self, sample):
        self.counters = list(sample.pcpus[0])
        self.vcpus = [v["vcpu"] for v in sample.info["vcpus"]]
        self.names = ["pcpu", "online", *self.counters, *(f"vcpu[{v}]" for v in self.vcpus)]

    def rows(self, interval):
        for p, counters in interval.pcpus.items():
            shares = interval.on(p)
            yield [p, int(interval.end.info["pcpus"][p]["online"]),
                   *(counters[name] for name in self.counters),
                   *(shares.get(v, 0) for v in self.vcpus)]


class VCPUCSV(CSV):
    """A line for each VCPU: its counters."""

    def __init__(self, sample):
        self.counters = list(next(iter(sample.vcpus.values()), ()))
        self.names = ["vm", "vcpu", "pcpu", *self.counters]

    def rows(self, interval):
        for v in interval.end.info["vcpus"]:
            if v["vcpu"] in interval.vcpus:
                counters = interval.vcpus[v["vcpu"]]
                yield [v["vm"], v["vcpu"], v["pcpu"], *(counters[name] for name in self.counters)]


class JSON:
    """One object, in one line, for each interval: everything, whatever tables are of."""

    def __init__(self, sample):
        del sample

    def head(self):
        return []

    def lines(self, interval):
        start, end = interval.start, interval.end
        info = end.info
        return [json.dumps({
            "start": start.time, "end": end.time,
            "host-start": round(start.host, 6), "host-end": round(end.host, 6),
            "status": end.status, "policy": info["policy"],
            "parameters": {p["name"]: p["value"] for p in info["parameters"]},
            "vm": interval.vm,
            "pcpus": [{"pcpu": p, "online": info["pcpus"][p]["online"], **counters, "vcpus": [
                {"vcpu": v, "cycles": cycles,
                 "percent": round(100 * cycles / counters["clock"], 4)}
                for v, cycles in interval.on(p).items() if counters["clock"]]}
                      for p, counters in interval.pcpus.items()],
            "vcpus": [{"vcpu": v["vcpu"], "vm": v["vm"], "pcpu": v["pcpu"],
                       "path": end.paths[v["vcpu"]], **interval.vcpus[v["vcpu"]]}
                      for v in info["vcpus"] if v["vcpu"] in interval.vcpus]})]


# What to print for --json, --csv or neither, and for --of.
FORMATS = {("text", "pcpus"): PCPUText, ("text", "vcpus"): VCPUText,
           ("csv", "pcpus"): PCPUCSV, ("csv", "vcpus"): VCPUCSV,
           ("json", "pcpus"): JSON, ("json", "vcpus"): JSON}
