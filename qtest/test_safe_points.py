"""Policy "safepoint" and what guests tell it: locks that are held, safe points that are injected,
the idle loop.

A lock program without an operating system counts how often a VCPU had the lock for far longer
than it works with it, by its own cycle counter: it was preempted while it had the lock.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import json
import os
import unittest

from support import VMLINUX, Guest, Refusals, refused
from test_save import elf, end, load, program, save, wait_for
from test_vms import of_kind

HOLD, SAFE_POINT = "0x1fe0f100000", "0x1fe0f200000"
DEVICES = ("-device", f"vsched-hold,addr={HOLD}",
           "-device", f"vsched-safepoint,addr={SAFE_POINT},id=points")
SWITCH, WINDOW = 554, 1000          # cycles


def arguments(name, options, parameters):
    return program(name, f"cmp,sched=safepoint,interrupted=ignored,{options}", parameters, *DEVICES)


def run_all(name, options, **parameters):
    """(what the program reported, statistics, times that a VCPU was asked)"""
    words = " ".join(f"{n}={v}" for n, v in parameters.items())
    with Guest(*arguments(name, options, words)) as guest:
        console, stats = end(guest)
        asks = guest.cmd("qom-get", path="/machine/peripheral/points", property="asks")
    report = json.loads(console)
    assert report["ok"], report
    return report, stats, asks


def run(name, options, **parameters):
    """The same, of the statistics those of VCPUs."""
    report, stats, asks = run_all(name, options, **parameters)
    return report, of_kind(stats, "vcpu"), asks


class Hold(unittest.TestCase):
    """The guest says how long it will have its lock."""
    timeout = 120

    def test_holders_are_not_preempted(self):
        """Two VCPUs on a PCPU, in turn 4000 cycles with the lock and 4000 without it.  No grace:
        about half of the timeslices end with the lock in hand.  5000 cycles are enough for a
        holder, as nobody ever waits for the lock then."""
        work = {"rounds": 300, "inside": 2000, "outside": 2000, "cycles": 5000}
        options = "pcpus=1,vcpus=2,slice=50us,grace=0"
        without, vcpus, _ = run("driver", options, hold=0, **work)
        expired = sum(v["slices-expired"] for v in vcpus.values())
        self.assertGreater(sum(without["paused"]), expired // 4)
        with_hold, vcpus, _ = run("driver", options, hold=HOLD, **work)
        self.assertEqual(with_hold["paused"], [0, 0])
        self.assertEqual(with_hold["polls"], [0, 0])
        # 2 x 300 x 8000 cycles in timeslices of at most 50000 + 5000
        self.assertGreater(sum(v["slices-expired"] for v in vcpus.values()), 4800000 // 55000)

    def test_the_bound_holds(self):
        """Who asks for 10 ms gets 50 us: nobody waits longer than for a timeslice, that, and two
        switches.  A lock is needed for 80 us: requests that are less than 50 us old at
        the end of a timeslice, and not taken back soon, are many."""
        work = {"rounds": 200, "inside": 40000, "outside": 7000, "cycles": 10**7}
        options = "pcpus=1,vcpus=2,slice=100us,grace=0,longest-hold="
        for longest, least in ((0, 0), (50000, 110000)):
            _, vcpus, _ = run("driver", f"{options}{longest}ns", hold=HOLD, **work)
            waited = max(v["longest-wait"] for v in vcpus.values())
            self.assertLessEqual(waited, 100000 + longest + 2 * SWITCH + WINDOW)
            self.assertGreater(waited, least)


class Injected(unittest.TestCase):
    """Safe points by an interrupt to a driver of the guest, whose locks keep interrupts off."""
    timeout = 200
    WORK = {"rounds": 200, "inside": 2000, "outside": 2000}     # 4000 cycles with the lock
    OPTIONS = "pcpus=2,vcpus=6,slice=50us,"

    def test_no_holder_is_preempted(self):
        short, _, asks = run("driver", self.OPTIONS + "grace=10us", safepoint=SAFE_POINT,
                             **self.WORK)
        self.assertGreater(sum(short["paused"]), 20)
        self.assertEqual((asks, sum(short["received"])), (0, 0))
        # The lock is held for less than the grace period: only the answer ends a turn.
        injected, vcpus, asks = run("driver", self.OPTIONS + "grace=10us,inject=on",
                                    safepoint=SAFE_POINT, **self.WORK)
        self.assertEqual(injected["paused"], [0] * 6)
        # Each VCPU may have the last one still before it.
        self.assertLessEqual(sum(injected["received"]), asks)
        self.assertGreaterEqual(sum(injected["received"]), asks - 6)
        # Slices do end, though all of it is privileged: 2 PCPUs, timeslices of less than 50 us
        # and a lock's time, from the first to the last end of a VCPU's work.
        turns = 2 * injected["cycles"] // (50000 + 5000 + SWITCH)
        self.assertGreater(asks, turns // 2)
        self.assertGreaterEqual(sum(v["switched-in"] for v in vcpus.values()), turns // 2)

    def test_sooner_than_by_grace(self):
        """By grace alone each runs for 50 us + 1 ms; with safe points for 50 us and until its
        lock is free, less than 5000 cycles."""
        _, stats, _ = run_all("driver", self.OPTIONS + "grace=1ms,inject=off",
                              safepoint=SAFE_POINT, **self.WORK)
        for pcpu in of_kind(stats, "pcpu").values():
            self.assertLessEqual(pcpu["switches"], pcpu["clock"] // (50000 + 1000000) + 1)
        report, vcpus, _ = run("driver", self.OPTIONS + "grace=1ms,inject=on",
                               safepoint=SAFE_POINT, **self.WORK)
        turns = sum(v["switched-in"] for v in vcpus.values())
        self.assertGreater(turns, 2 * report["cycles"] //
                           (50000 + 5000 + SWITCH + WINDOW) * 9 // 10)

    def test_grace_bounds_a_driver_that_never_answers(self):
        """No driver is there, and one VCPU for another: the same as without injection."""
        first = run("driver", self.OPTIONS + "grace=20us,inject=on", **self.WORK)
        self.assertEqual(first[2], 0)
        self.assertEqual(first, run("driver", self.OPTIONS + "grace=20us,inject=off", **self.WORK))

    def test_saved(self):
        """A run that is saved and loaded in the middle is the one that was not."""
        args = arguments("driver", self.OPTIONS + "grace=1ms,inject=on",
                         f"safepoint={SAFE_POINT} rounds=400 inside=2000 outside=1000")
        with Guest(*args) as guest:
            whole = end(guest)
        for at in (1_000_000, 2_345_678):
            with Guest(*args) as saved:
                wait_for(saved, at)
                saved.cmd("stop")
                path = os.path.join(saved.dir, "state")
                save(saved, path)
                self.assertNotEqual(saved.stats(), whole[1])
                before = saved.cmd("qom-get", path="/machine/peripheral/points", property="asks")
                self.assertGreater(before, 0)
                with Guest(*args, "-incoming", "defer", "-S") as loaded:
                    load(loaded, path)
                    self.assertEqual(loaded.cmd("qom-get", path="/machine/peripheral/points",
                                                property="asks"), before)
                    loaded.cmd("cont")
                    self.assertEqual(end(loaded), whole)


class Idle(unittest.TestCase):
    """Who counts as idle: not who spins on a lock, unless the policy asks the SDB."""
    timeout = 120

    def test_who_spins_on_a_lock_is_not_idle(self):
        """VCPU 0 is paused while it has the lock; VCPU 1 spins on it in privileged mode, and
        then the other way round.  Who is not idle has 50 us and a grace period of 100 us, in
        which the lock's holder waits; as the SDB sees it, it spins, and goes at the first end
        of a period after its timeslice, at most two periods of 1024 later.  (So does the holder:
        its loop does not store either.)"""
        for idle in ("halt", "loop", "auto", "none", "sdb"):
            _, vcpus, _ = run("tas", f"pcpus=1,vcpus=2,slice=50us,grace=100us,idle={idle}",
                              rounds=1, inside=525000, outside=0)
            waited = vcpus[0]["longest-wait"]
            rest = 2 * SWITCH + WINDOW
            if idle == "sdb":
                self.assertLessEqual(waited, 50000 + 2 * 1024 + rest)
            else:
                # a timeslice is up to 1/64 shorter
                self.assertGreater(waited, 50000 - 50000 // 64 + 100000 - 64, idle)
                self.assertLessEqual(waited, 150000 + rest, idle)


class CommandLine(Refusals, unittest.TestCase):
    timeout = 60

    def test_functions_of_the_idle_loop(self):
        """All that are named have to be there; of the default ones not all are in a program."""
        bare = ("-nodefaults", "-M")
        mcs = ("-bios", elf("mcs"))
        self.refuse(r"idle-loop=work\+do_idle is not possible: no file has a function 'do_idle'",
                    *bare, "cmp,idle-loop=work+do_idle", *mcs)
        self.refuse("no file has a function 'wor';", *bare, "cmp,idle-loop=wor", *mcs)
        self.refuse("no file has a function 'nothing'", *bare,
                    "cmp,idle-loop=do_idle+nothing+0x1-0x2", "-kernel", VMLINUX)
        for option in (",idle-loop=work", ",idle-loop=work+0x10-0x20", ""):
            with Guest("-S", *bare, "cmp" + option, *mcs) as guest:
                self.assertEqual(guest.cmd("query-status")["running"], False)
        with Guest("-S", *bare, "cmp,idle-loop=do_idle+cpu_idle_poll_ctrl", "-kernel",
                   VMLINUX) as guest:
            self.assertEqual(guest.cmd("query-status")["running"], False)

    def test_registers(self):
        bare = ("-nodefaults", "-M", "cmp", "-device")
        for device, says in (("vsched-safepoint", "addr has to be given: .*multiples of 16"),
                             ("vsched-safepoint,addr=0x1fe0f200008", "multiples of 16"),
                             ("vsched-safepoint,addr=0x1000", "in the guest's memory"),
                             ("vsched-hold", "addr has to be given: .*multiples of 8"),
                             ("vsched-hold,addr=0x1fe0f000000",
                              "taken by 'cmp-start-block': allowed are addresses where nothing"),
                             ("vsched-hold,addr=0x1fe00000000", "taken by 'sabre-config'"),
                             ("vsched-hold,addr=0x1000", "in the guest's memory")):
            self.refuse(says, *bare, device)
        self.refuse("there is one already", *bare, f"vsched-safepoint,addr={SAFE_POINT}", "-device",
                    "vsched-safepoint,addr=0x1fe0f300000")
        self.refuse("taken by 'vsched-hold'", *bare, "vsched-hold,addr=0x1fe0f100000", "-device",
                    "vsched-mark,addr=0x1fe0f100000")
        self.refuse("machines cmp and cmp8", "-nodefaults", "-M", "sun4u", "-accel",
                    "tcg,thread=vsched", "-device", f"vsched-safepoint,addr={SAFE_POINT}")
        status, text = refused("-nodefaults", "-M", "cmp", "-accel", "tcg,thread=single", "-device",
                               f"vsched-safepoint,addr={SAFE_POINT}")
        self.assertEqual(status, 1, text)
        self.assertIn("needs -accel tcg,thread=vsched", text)


if __name__ == "__main__":
    unittest.main()
