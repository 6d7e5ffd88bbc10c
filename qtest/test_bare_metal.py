"""Programs without an operating system (guests/bare-metal): each checks itself;
here their results are compared with what Python works out.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import json
import os
import subprocess
import unittest

from support import GUESTS, SLOWER, binary


def run(name, machine, *options, timeout=60, **parameters):
    """Run a program: (QEMU's exit status, report)."""
    words = " ".join(f"{key}={value}" for key, value in parameters.items())
    done = subprocess.run(
        [binary(), "-M", machine, "-nodefaults", "-display", "none", "-serial", "stdio",
         "-bios", os.path.join(GUESTS, "bare-metal", name + ".elf"),
         "-fw_cfg", f"name=opt/args,string= {words}", *options],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        timeout=timeout * SLOWER, check=False)
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError:
        raise AssertionError(f"{name}: status {done.returncode}, no report but "
                             f"{done.stdout!r} {done.stderr!r}") from None


def longest_collatz(limit):
    """(start, steps): the first start below limit with the longest sequence."""
    best = (0, 0)
    for start in range(1, limit):
        n, steps = start, 0
        while n != 1:
            n = 3 * n + 1 if n % 2 else n // 2
            steps += 1
        if steps > best[1]:
            best = (start, steps)
    return best


def chase(vcpu, slots, steps):
    """Where Sattolo's cycle leads in that many steps from slot 0."""
    slot, x = list(range(slots)), vcpu + 1
    for i in range(slots - 1, 0, -1):
        x = (x * 6364136223846793005 + 1442695040888963407) % 2**64
        j = (x >> 33) % i
        slot[i], slot[j] = slot[j], slot[i]
    at = 0
    for _ in range(steps):
        at = slot[at]
    return at


class Sun4u(unittest.TestCase):
    """One VCPU, stock machine: what does not need a second one."""
    timeout = 120
    machine = "sun4u"
    vcpus = 1
    # where ticks pass with instructions, not with the host's time
    ticks = ("-icount", "shift=0,sleep=off")

    def good(self, name, *options, **parameters):
        status, report = run(name, self.machine, *options, **parameters)
        self.assertTrue(report["ok"], report)
        self.assertEqual(status, 0)
        self.assertEqual(report["program"], name)
        self.assertEqual(report["vcpus"], self.vcpus)
        return report

    def test_kit(self):
        report = self.good("selftest")
        self.assertEqual(report["started"], self.vcpus)

    def test_locks(self):
        for name in ("tas", "ticket", "mcs"):
            for user in (0, 1):
                with self.subTest(lock=name, user=user):
                    report = self.good(name, rounds=30, user=user)
                    self.assertEqual(report["counter"], 30 * self.vcpus)
                    self.assertEqual(report["count"], [30] * self.vcpus)
                    self.assertEqual(report["intruders"], 0)

    def test_barrier(self):
        report = self.good("barrier", rounds=10)
        self.assertEqual(report["count"], [10] * self.vcpus)
        self.assertEqual(report["violations"], 0)

    def test_crosscalls(self):
        report = self.good("crosscall", rounds=2, callers=1)
        self.assertEqual(report["received"], [0] + [4] * (self.vcpus - 1))
        self.assertEqual(report["sum"], [0] + [1 + 2] * (self.vcpus - 1))
        report = self.good("crosscall", rounds=2)
        others = self.vcpus - 1
        # two a round from each other VCPU, one of which carries the round's number
        self.assertEqual(report["received"], [2 * 2 * others] * self.vcpus)
        self.assertEqual(report["sum"], [(1 + 2) * others] * self.vcpus)

    def test_idle_loops_are_woken(self):
        report = self.good("idle", rounds=3, work=2000)
        self.assertEqual(report["count"], [0] + [3] * (self.vcpus - 1))

    def test_groups(self):
        """A group for each VCPU, then one for all; work goes on until the time is up."""
        for work in range(5):
            for groups in {1, self.vcpus}:
                with self.subTest(work=work, groups=groups):
                    report = self.good("groups", *self.ticks, first=work, groups=groups,
                                       time=200000, words=500, touch=1)
                    self.assertEqual(report["violations"], 0)
                    self.assertGreaterEqual(report["cycles"], 200000)
                    self.assertGreater(report["done"], 0)
                    self.assertEqual(report["done"] + report["done_by_others"],
                                     sum(report["count"]))

    def test_search(self):
        report = self.good("search", limit=400)
        self.assertEqual((report["found"], report["steps"]), longest_collatz(400))

    def test_stream(self):
        report = self.good("stream", words=1000, rounds=3)
        self.assertEqual(report["sum"], sum(i + 3 * 2 * i for i in range(1000)))

    def test_much_code(self):
        report = self.good("code", blocks=5000, rounds=2)
        self.assertEqual(report["value"], [2 * sum(i % 7 for i in range(5000))] * self.vcpus)

    def test_chase(self):
        report = self.good("chase", slots=128, stride=4096, steps=1000)
        self.assertEqual(report["value"], [chase(v, 128, 1000) for v in range(self.vcpus)])


class Cmp(Sun4u):
    """The same with more VCPUs than PCPUs: nobody else makes them take turns."""
    timeout = 300
    machine = "cmp8,vcpus=24"
    vcpus = 24
    ticks = ()

    def test_repeatable(self):
        # cycles, polls and NACKs included: to the instruction
        self.assertEqual(self.good("tas", rounds=20), self.good("tas", rounds=20))
        self.assertEqual(self.good("crosscall", rounds=1), self.good("crosscall", rounds=1))


    def test_amount_of_work(self):
        """A loop of two instructions a turn, 1000 turns at a time: in 1,000,000 cycles 500,000
        turns, less what the loop around it takes, 50 instructions a time at most, which are 2.5 %;
        and one time more, which has begun before the end."""
        status, report = run("groups", "cmp,pcpus=2,vcpus=2,sched=timeslice", first=0,
                             time=1000000, turns=1000)
        self.assertEqual((status, report["ok"]), (0, True))
        for count in report["count"]:
            self.assertGreaterEqual(count, 487500)
            self.assertLessEqual(count, 501000)

    def test_idle_part_of_a_group(self):
        _, report = run("groups", "cmp8,vcpus=24", groups=3, active=2, first=2, time=200000)
        self.assertTrue(report["ok"], report)
        self.assertEqual([count > 0 for count in report["count"]], 3 * (2 * [True] + 6 * [False]))


class CmpWithoutSpinDetection(Sun4u):
    """A VCPU that spins keeps its PCPU to the end of its timeslice."""
    timeout = 300
    machine = "cmp,pcpus=2,vcpus=5,sched=timeslice"
    vcpus = 5
    ticks = ()


class Clock(unittest.TestCase):
    """VCPUs hand their time to each other: how far back it steps between two."""
    timeout = 120
    TICKS = 1000            # of %tick in a microsecond: clock-hz (docs/machine.rst)

    def back(self, machine, **parameters):
        status, report = run("clock", machine, rounds=2000, **parameters)
        self.assertEqual(status, 0, report)
        self.assertEqual(report["backwards"], 0)        # nor on any VCPU by itself
        return report["back"]

    def test_less_than_a_window_between_pcpus(self):
        for machine in ("cmp,pcpus=2,vcpus=2", "cmp8,vcpus=24", "cmp8,vcpus=24,sched=timeslice",
                        "cmp,pcpus=3,vcpus=4,skip=100us"):
            for window in (1, 10):
                with self.subTest(machine=machine, window=window):
                    back = self.back(f"{machine},window={window}us", work=50 * window)
                    self.assertLess(back, window * self.TICKS)
                    # PCPUs run one after the other, so nearly a window is seen
                    self.assertGreater(back, window * self.TICKS // 2)

    def test_never_on_one_pcpu(self):
        for machine in ("cmp,pcpus=1,vcpus=4", "cmp,pcpus=1,vcpus=4,sched=timeslice,slice=10us"):
            self.assertEqual(self.back(machine), 0)


class Mistakes(unittest.TestCase):
    """A program that cannot do what it was asked says so."""
    timeout = 60

    def refuses(self, name, why, *options, **parameters):
        status, report = run(name, "cmp8,vcpus=1", *options, **parameters)
        self.assertEqual(status, 2)
        self.assertFalse(report["ok"])
        self.assertIn(why, report["error"])

    def test_parameters(self):
        self.refuses("tas", "rounds: 1 to", rounds=0)
        self.refuses("tas", "rounds: 1 to", rounds="1x")
        self.refuses("tas", "rounds: 1 to", rounds=10**30)
        self.refuses("tas", "no such parameter: round=1", round=1)
        self.refuses("chase", "multiple of 8", stride=12)
        self.refuses("tas", "vcpus: 1 to 1", vcpus=2)
        self.refuses("idle", "needs privileged mode", user=1)
        self.refuses("groups", "needs privileged mode", user=1)
        self.refuses("groups", "first: 0 to 4", first=5, groups=1)
        status, report = run("groups", "cmp8,vcpus=24", groups=5)
        self.assertEqual((status, report["error"]), (2, "parameter groups: the number of VCPUs has "
                                                        "to be a multiple of it"))

    def test_memory(self):
        self.refuses("stream", "not enough RAM", "-m", "16", words=1000000)


if __name__ == "__main__":
    unittest.main()
