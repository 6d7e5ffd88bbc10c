"""Sweeps: bare-metal programs over the range of every parameter.  What must hold for
all values is checked for each.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import itertools
import os
import unittest

from support import GUESTS, Guest

PROGRAMS = {
    "tas": "rounds=30",
    "ticket": "rounds=30 user=1",
    "mcs": "rounds=30",
    "barrier": "rounds=10",
    "crosscall": "rounds=1",
    "idle": "rounds=3 work=2000",
    "search": "limit=200",
    "stream": "words=500 rounds=2",
    "chase": "slots=128 steps=500",
}
SMALL = ("tas", "crosscall", "stream")


def run(name, machine):
    """{console, vm, pcpu and vcpu statistics} of a program, to its end"""
    with Guest("-nodefaults", "-M", machine, "-no-shutdown",
               "-bios", os.path.join(GUESTS, "bare-metal", name + ".elf"),
               "-fw_cfg", f"name=opt/args,string= {PROGRAMS[name]}") as guest:
        guest.wait_console('"ok": ', timeout=240)
        guest.event_wait("SHUTDOWN", timeout=60)
        return {"console": guest.console.strip(), **guest.stats()}


def of_kind(stats, kind):
    """The statistics of all objects of a kind, in the order of their numbers"""
    found = {int(name.rpartition("[")[2][:-1]): values for name, values in stats.items()
             if f"/{kind}[" in name}
    return [values for _, values in sorted(found.items())]


class Sweeps(unittest.TestCase):
    timeout = 6000

    def check(self, name, machine, period=1024, cost=554):
        """One run, and what is true of each.  cost: of a VCPU switch, 277 words twice."""
        stats = run(name, machine)
        self.assertIn('"ok": true', stats["console"])
        pcpus, vcpus = of_kind(stats, "sdb"), of_kind(stats, "vcpu")
        for p in pcpus:
            self.assertEqual(p["clock"], p["busy"] + p["idle"] + p["switching"] + p["skipped"])
        end = max(p["clock"] for p in pcpus)
        for v in vcpus:
            time = sum(v[state] for state in ("running-useful", "running-spinning", "ready",
                                              "blocked", "switching"))
            # A PCPU stops when the next block, of 64 instructions at most, does not fit,
            # or after a switch that was longer.
            self.assertLess(abs(end - time), 64 + cost)
        busy = sum(p["busy"] for p in pcpus)
        self.assertEqual(busy, sum(v["insns-privileged"] + v["insns-user"] for v in vcpus))
        judged = sum(p["sdb-periods-privileged"] + p["sdb-periods-user"] for p in pcpus)
        cut = sum(p["sdb-cut-privileged"] + p["sdb-cut-user"] for p in pcpus)
        # A period that is cut off is shorter than one, and so is the last on each PCPU.
        self.assertLessEqual(judged * period, busy)
        self.assertGreater((judged + cut + len(pcpus)) * period, busy)
        return stats

    def test_topologies(self):
        for name, pcpus, vcpus, sched in itertools.product(
                PROGRAMS, (1, 2, 3, 8, 64), (1, 2, 9, 32), ("timeslice", "sdb")):
            if pcpus == 64 and vcpus != 32:
                continue
            with self.subTest(program=name, pcpus=pcpus, vcpus=vcpus, sched=sched):
                stats = self.check(name, f"cmp,pcpus={pcpus},vcpus={vcpus},sched={sched}")
                self.assertEqual(len(of_kind(stats, "vcpu")), vcpus)

    def test_times(self):
        """Windows, timeslices, costs of a switch, clocks."""
        for name, option in itertools.product(SMALL, (
                "window=100ns", "window=500ns", "window=7us", "window=10us", "slice=10us",
                "slice=50us,sched=timeslice", "switch-cost=0", "switch-cost=5000",
                "clock-hz=10000000", "clock-hz=3333333333", "skip=5us", "skip=100us",
                "jitter=off")):
            with self.subTest(program=name, option=option):
                self.check(name, f"cmp8,vcpus=24,{option}",
                           cost=5000 if option == "switch-cost=5000" else 554)

    def test_observing_is_not_acting(self):
        """Whatever the detectors look for: under a policy that does not listen, nothing
        that the guest can see changes."""
        for name in SMALL + ("ticket",):
            machine = "cmp,pcpus=3,vcpus=8,sched=timeslice"
            alone = run(name, machine + ",sdb=off")
            spins = []
            for period, entries, detector in itertools.product(
                    (16, 100, 1024, 8192), (1, 8, 16), ("paper", "recurrence", "either")):
                options = (f"sdb-period={period},sdb-entries={entries},"
                           f"sdb-store-threshold={entries},sdb-load-threshold={entries},"
                           f"detector={detector}")
                with self.subTest(program=name, options=options):
                    stats = self.check(name, f"{machine},{options}", period)
                    self.assertEqual(stats["console"], alone["console"])
                    for with_sdb, without in zip(of_kind(stats, "vcpu"), of_kind(alone, "vcpu")):
                        for counter in ("insns-privileged", "insns-user", "ready", "blocked"):
                            self.assertEqual(with_sdb[counter], without[counter])
                    if detector == "paper":
                        spins.append((period, entries, sum(
                            p["sdb-paper-spins-privileged"] + p["sdb-paper-spins-user"]
                            for p in of_kind(stats, "sdb"))))
            # The same periods, and a spin is fewer unique accesses than the threshold.
            for a, b in itertools.combinations(sorted(spins), 2):
                if a[0] == b[0]:
                    self.assertLessEqual(a[2], b[2], (name, a, b))


if __name__ == "__main__":
    unittest.main()
