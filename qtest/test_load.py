"""Saved states that are loaded into a machine with other options: another policy, other
parameters, another window, other PCPUs; and what may not differ.

A program without an operating system is saved in the middle, at a moment of the host's, and
has to end with the right result wherever it is loaded.  Two loads of one state with the same
options are one run: the same console, the same counters.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import json
import os
import tempfile
import time
import unittest

from support import SLOWER, Guest
from test_determinism import qcow2
from test_save import Continues, end, load, program, save, snapshot, wait_for
from test_vms import Accounts, get, of_kind, pcpu, policies, put, vcpu, vm

# Two VCPUs of three share PCPUs 0 and 1, one has PCPU 3, two have PCPU 2, which is off.
MIXED = ("cmp,pcpus=4,vcpus=9,vms=3+1+5,weights=512+256+1,caps=0+50+100,speed=1:2/3+3:5/7,"
         "affinity=0-2:0-1+3:3+4-5:2,offline=2")


class Same(Continues, unittest.TestCase):
    """With the same options it continues identically."""
    timeout = 400

    def in_progress(self, guest):
        """All PCPUs that are on have used a part of a timeslice (some policies leave one idle),
        nobody's mask is in force that names PCPU 2 alone."""
        if get(guest, "/machine/vsched", "sched") in ("sdb", "timeslice"):
            for p in (0, 1, 3):
                self.assertNotEqual(get(guest, pcpu(p), "vcpu"), -1)
        self.assertEqual([get(guest, pcpu(p), "online") for p in range(4)],
                         [True, True, False, True])
        for v in (4, 5):
            self.assertEqual(get(guest, vcpu(v), "affinity"), [2])
            self.assertNotEqual(get(guest, vcpu(v), "pcpu"), 2)

    def test_every_policy(self):
        for sched in policies():
            for at in (1_234_567, 2_345_678):
                with self.subTest(sched=sched, at=at):
                    self.check("tas", f"{MIXED},sched={sched},slice=1ms", "rounds=8000", at,
                               look=self.in_progress)

    def test_cross_calls(self):
        self.check("crosscall", MIXED, "rounds=80", 1_000_000)


class States(Accounts):
    """For TestCases: states in files."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.dir = directory.name

    def saved(self, machine, name="ticket", parameters="rounds=20000", at=400_000, change=()):
        """Save in the middle: (arguments of the program, file, console so far, statistics).
        change: what is set before, (path, name, value) each."""
        path = os.path.join(self.dir, f"state-{len(os.listdir(self.dir))}")
        with Guest(*program(name, machine, parameters)) as guest:
            wait_for(guest, at)
            guest.cmd("stop")
            self.assertEqual(guest.cmd("query-status")["status"], "paused")
            for what in change:
                put(guest, *what)
            save(guest, path)
            return (name, parameters), path, guest.console, guest.stats()

    def loaded(self, machine, state, look=lambda guest: None):
        """Load and run to the end: (console, statistics)."""
        (name, parameters), path, before, _ = state
        with Guest(*program(name, machine, parameters), "-incoming", "defer", "-S") as guest:
            load(guest, path)
            look(guest)
            guest.cmd("cont")
            console, stats = end(guest)
            self.assertTrue(json.loads(before + console)["ok"], console)
            return before + console, stats

    def twice(self, machine, state, speeds=None):
        """Its accounts add up, but for what PCPUs that are missing did; and twice the same."""
        one = self.loaded(machine, state)
        self.assertEqual(one, self.loaded(machine, state))
        console, stats = one
        pcpus = len(of_kind(stats, "pcpu"))
        lost = sum(values["insns"] for p, values in of_kind(state[-1], "pcpu").items()
                   if p >= pcpus)
        self.check_accounts(stats, speeds or {p: (1, 1) for p in range(pcpus)}, lost)
        for v, values in of_kind(stats, "vcpu").items():
            for name, value in of_kind(state[-1], "vcpu")[v].items():
                if name in values or "[" not in name:   # a PCPU that is missing has no bucket
                    self.assertGreaterEqual(values[name], value, (v, name))
        return console, stats


class Elsewhere(States, unittest.TestCase):
    timeout = 300

    def check(self, saved_on, *elsewhere, **options):
        state = self.saved(saved_on, **{"parameters": "rounds=400", **options})
        for machine in elsewhere:
            with self.subTest(saved=saved_on, loaded=machine):
                yield machine, *self.twice(machine, state)

    def test_many_pcpus_into_few(self):
        for machine, _, stats in self.check(
                "cmp,pcpus=24,vcpus=24", "cmp8,vcpus=24", "cmp,pcpus=1,vcpus=24",
                "cmp8,vcpus=24,sched=timeslice,slice=20us,window=10us"):
            # Those that ran on a PCPU that is missing were evicted, all together.
            self.assertEqual(stats["vm"]["vcpu-slices-evicted"] > 0, True, machine)

    def test_few_pcpus_into_many(self):
        for machine, _, stats in self.check(
                "cmp8,vcpus=24", "cmp,pcpus=24,vcpus=24", "cmp,pcpus=64,vcpus=24,window=300ns"):
            pcpus = of_kind(stats, "pcpu")
            self.assertEqual(stats["vm"]["vcpu-slices-evicted"], 0)
            for p in range(8, 24):      # each has its VCPU now, and was idle before
                self.assertGreater(pcpus[p]["insns"], 0)
                self.assertGreater(pcpus[p]["idle"], 0)
        # On one PCPU 400 rounds are over before anybody can stop the machine.
        for _ in self.check("cmp,pcpus=1,vcpus=24", "cmp8,vcpus=24", parameters="rounds=3000"):
            pass

    def test_cross_calls(self):
        for saved_on, here in (("cmp,pcpus=24,vcpus=24", "cmp8,vcpus=24"),
                               ("cmp8,vcpus=24", "cmp,pcpus=24,vcpus=24,window=2us")):
            for _ in self.check(saved_on, here, name="crosscall", parameters="rounds=2",
                                at=700_000):
                pass

    def test_other_parameters(self):
        """One at a time, and then without any, so that it is as if nobody had saved it."""
        small = "cmp,pcpus=2,vcpus=4"
        for machine in (f"{small},sched=sdb", f"{small},sched=timeslice,slice=40us"):
            with Guest(*program("tas", machine, "rounds=20000")) as guest:
                alone = end(guest)
            state = self.saved(machine, "tas", "rounds=20000", 300_000)
            self.assertEqual(self.twice(machine, state), alone)
            self.assertEqual(self.twice(small, state), alone)       # all comes from the state
            for other in (*(f"sched={name}" for name in policies()), "slice=20us", "window=900ns",
                          "window=1ms", "switch-cost=0", "sdb=off", "sdb-period=100", "jitter=off",
                          "skip=10us"):
                with self.subTest(saved=machine, other=other):
                    run = self.twice(f"{small},{other}", state)
                    # With a single VM, which has all PCPUs, "partition" is "sdb".
                    same = machine if "sched=sdb" not in machine else machine + "partition"
                    if other.partition("=")[2] not in same:
                        self.assertNotEqual(run[1], alone[1])

    def test_timeslices_that_begin_with_the_load(self):
        """They are cut or not as the state says, who does not name jitter= need not."""
        few = "cmp,pcpus=2,vcpus=4"
        for jitter in "off", "on":
            state = self.saved(f"cmp,pcpus=8,vcpus=4,window=100ns,jitter={jitter}", "tas",
                               "rounds=20000", 300_000)
            for machine in few, f"{few},sched=spread", f"{few},sched=timeslice,window=700ns":
                with self.subTest(jitter=jitter, machine=machine):
                    self.assertEqual(self.twice(machine, state),
                                     self.loaded(f"{machine},jitter={jitter}", state))

    def test_pcpus_off_masks_and_speeds(self):
        """They come along to where there are more PCPUs; new ones are on and quick."""
        state = self.saved(MIXED, "tas", "rounds=20000", 300_000)

        def look(guest):
            self.assertEqual([get(guest, pcpu(p), "online") for p in range(6)],
                             [True, True, False, True, True, True])
            self.assertEqual([get(guest, pcpu(p), "speed") for p in range(6)],
                             ["1", "2/3", "1", "5/7", "1", "1"])
            self.assertEqual([get(guest, vcpu(v), "affinity") for v in range(9)],
                             3 * [[0, 1]] + [[3]] + 2 * [[2]] + 3 * [list(range(6))])
            self.assertEqual([(get(guest, vm(k), "weight"), get(guest, vm(k), "cap"))
                              for k in range(3)], [(512, 0), (256, 50), (1, 100)])

        wide = "cmp,pcpus=6,vcpus=9,vms=3+1+5"
        _, stats = self.loaded(wide, state, look)
        self.assertEqual(of_kind(stats, "pcpu")[2]["insns"], 0)
        self.twice(wide, state, {0: (1, 1), 1: (2, 3), 3: (5, 7), 4: (1, 1), 5: (1, 1)})
        # What is given anew holds, and no VCPU is where it may not be.
        _, stats = self.twice(wide + ",affinity=0-8:5,offline=0-1", state, {4: (1, 1), 5: (1, 1)})
        before = of_kind(state[-1], "pcpu")
        for p in (0, 1, 2, 3, 4):
            self.assertEqual(of_kind(stats, "pcpu")[p]["insns"],
                             before[p]["insns"] if p in before else 0)


class Precedence(States, unittest.TestCase):
    """Given options hold; what was not given, or was changed live, comes from the state."""
    timeout = 100
    SMALL = "cmp,pcpus=4,vcpus=4,vms=2+2"
    CHANGES = ((vm(0), "weight", 7), (vm(1), "cap", 120), (vcpu(1), "affinity", [1, 3]),
               (pcpu(2), "online", False), (pcpu(3), "speed", "2/3"),
               ("/machine/vsched", "sched", "timeslice"),
               ("/machine/vsched/policy", "slice", "30us"),
               ("/machine/vsched", "switch-cost", 100))
    GIVEN = ("weights=1+2,caps=3+4,affinity=1:0,offline=0-1,speed=3:1/2,sched=sdb,slice=70us,"
             "switch-cost=5")
    AS_GIVEN = (1, 4, [0], True, "1/2", "sdb", "70us", 5)

    def shown(self, guest):
        return tuple(get(guest, path, name) for path, name, _ in self.CHANGES)

    def test_into_another_qemu(self):
        changed = tuple(value for _, _, value in self.CHANGES)
        state = self.saved(self.SMALL, change=self.CHANGES, parameters="rounds=6000")
        for machine, expected in ((self.SMALL, changed),
                                  (f"{self.SMALL},{self.GIVEN}", self.AS_GIVEN)):
            with self.subTest(machine=machine):
                self.loaded(machine, state, look=lambda guest: self.assertEqual(
                    self.shown(guest), expected))       # pylint: disable=cell-var-from-loop
        # One that changed what it was given, and saved then, is itself no other.
        state = self.saved(f"{self.SMALL},{self.GIVEN}", change=self.CHANGES,
                           parameters="rounds=6000")
        self.loaded(self.SMALL, state, look=lambda guest: self.assertEqual(self.shown(guest),
                                                                           changed))

    def test_loadvm_in_the_same_qemu(self):
        """What was given holds until it is changed live; from then on, what was saved."""
        path = os.path.join(self.dir, "disk")
        qcow2(path, 1)
        with Guest(*program("ticket", f"{self.SMALL},{self.GIVEN}", "rounds=100000"), "-blockdev",
                   f"driver=file,filename={path},node-name=f", "-blockdev",
                   "driver=qcow2,file=f,node-name=d") as guest:
            wait_for(guest, 100_000)
            guest.cmd("stop")
            snapshot(guest, "save", "given", ["d"])
            for change in self.CHANGES:
                put(guest, *change)
            changed = tuple(value for _, _, value in self.CHANGES)
            self.assertEqual(self.shown(guest), changed)
            snapshot(guest, "save", "changed", ["d"])
            for tag, expected in (("given", self.AS_GIVEN), ("changed", changed),
                                  ("given", self.AS_GIVEN)):
                snapshot(guest, "load", tag, ["d"])
                self.assertEqual(self.shown(guest), expected, tag)
                guest.cmd("cont")
                wait_for(guest, wait_for(guest, 0) + 100_000)
                guest.cmd("stop")


class Refused(States, unittest.TestCase):
    """In words; nothing runs then, and another state or a reset makes a machine of it."""
    timeout = 100

    def blockdev(self, node, path):
        if not os.path.exists(path):
            qcow2(path, 1)
        return ["-blockdev", f"driver=file,filename={path},node-name={node}-file",
                "-blockdev", f"driver=qcow2,file={node}-file,node-name={node}"]

    def disk(self, machine):
        """A disk with the state of a machine in the middle"""
        path = os.path.join(self.dir, f"disk-{len(os.listdir(self.dir))}")
        with Guest(*program("ticket", machine, "rounds=20000"),
                   *self.blockdev("d", path)) as guest:
            wait_for(guest, 100_000)
            snapshot(guest, "save", "s", ["d"])
        return path

    def check(self, machine, disk, why, engine=True):
        """It is refused; nothing of it runs until the machine is reset, and then a program does,
        from its start.  engine: it is the engine that refuses (else it is as in stock QEMU)."""
        with Guest(*program("ticket", machine, "rounds=2000"), *self.blockdev("d", disk), "-S",
                   "-action", "reboot=reset") as guest:
            with self.assertRaisesRegex(AssertionError, "Error -22|Invalid argument"):
                snapshot(guest, "load", "s", ["d"])
            self.assertRegex(guest.last_words(), why)
            if engine:
                self.pauses(guest)
                self.assertEqual(guest.stats()["vm"]["windows"], 0)
            guest.cmd("system_reset")
            guest.cmd("cont")
            console, stats = end(guest)
            self.assertTrue(json.loads(console)["ok"], console)
            self.check_accounts(stats)

    def pauses(self, guest):
        """The guest is continued with a state that it cannot go on from."""
        guest.cmd("cont")
        deadline = time.monotonic() + 20 * SLOWER
        while guest.cmd("query-status")["status"] != "paused":
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        self.assertIn("the state could not be loaded", guest.last_words())

    def test_what_has_to_be_the_same(self):
        machine = "cmp,pcpus=2,vcpus=4"
        disk = self.disk(machine + ",vms=2+2")
        for other, why in (("cmp,pcpus=2,vcpus=3,vms=2+1", "vcpus=4, this machine vcpus=3"),
                           ("cmp,pcpus=2,vcpus=4,vms=2+1+1", "has 2 VMs, this machine 3: vms= has to be the same"),
                           (machine, "has 2 VMs, this machine 1: vms= has"),
                           ("cmp,pcpus=2,vcpus=4,vms=3+1", "vms= ?ha(s|ve) to be the same"),
                           ("cmp,pcpus=2,vcpus=4,vms=2+2,clock-hz=20000000",
                            "clock-hz=1000000000, .* clock-hz=20000000"),
                           ("cmp,pcpus=2,vcpus=4,vms=2+2,shared-tick=off",
                            "shared-tick=on, .* shared-tick=off")):
            with self.subTest(machine=other):
                self.check(other, disk, why, engine="shared-tick" not in other)

    def test_masks_of_pcpus_that_are_missing(self):
        """Until they are given anew.  A mask of all PCPUs is one of all that there are."""
        for saved_on, here, again in (("affinity=1:2-3", "pcpus=2", "affinity=1:0"),
                                      ("affinity=1:0+2:1-4+3:0-4", "pcpus=4", "affinity=2:0-3")):
            state = self.saved(f"cmp,pcpus=5,vcpus=4,{saved_on}")
            with self.subTest(saved=saved_on):
                which = again[9]
                self.check(f"cmp,{here},vcpus=4", self.disk(f"cmp,pcpus=5,vcpus=4,{saved_on}"),
                           f"affinity mask of VCPU {which}, 0x.*affinity= gives it anew")
                self.twice(f"cmp,{here},vcpus=4,{again}", state)

    def test_other_things_that_cannot_be(self):
        """No PCPU is on that there is; a cap that is more than all PCPUs."""
        for saved_on, here, why, again in (
                ("offline=0-1", "pcpus=2", "no PCPU of this machine is on.*offline=", "offline=1"),
                ("caps=500", "pcpus=4", "weight or cap of VM 0.*caps=", "caps=400")):
            state = self.saved(f"cmp,pcpus=5,vcpus=4,{saved_on}")
            with self.subTest(saved=saved_on):
                self.check(f"cmp,{here},vcpus=4", self.disk(f"cmp,pcpus=5,vcpus=4,{saved_on}"),
                           why)
                self.twice(f"cmp,{here},vcpus=4,{again}", state)

    def test_another_state_afterwards(self):
        """With loadvm: the machine does not run with what does not fit, then goes on with its
        own as if nothing had happened."""
        disks = [*self.blockdev("mine", os.path.join(self.dir, "mine")),
                 *self.blockdev("other", self.disk("cmp,pcpus=4,vcpus=4,affinity=2:3"))]
        arguments = program("ticket", "cmp,pcpus=2,vcpus=4,speed=2/3", "rounds=9000")
        with Guest(*arguments) as guest:
            alone = end(guest)
        with Guest(*arguments, *disks) as guest:
            wait_for(guest, 300_000)
            guest.cmd("stop")
            snapshot(guest, "save", "s", ["mine"])
            middle = guest.stats()
            for _ in range(2):
                with self.assertRaisesRegex(AssertionError, "Error -22"):
                    snapshot(guest, "load", "s", ["other"])
                self.assertRegex(guest.last_words(), "affinity mask of VCPU 2, 0x8, names a PCPU")
                self.pauses(guest)
                self.assertEqual(guest.stats()["vm"]["windows"], middle["vm"]["windows"])
                snapshot(guest, "load", "s", ["mine"])
                self.assertEqual(guest.stats(), middle)
            guest.cmd("cont")
            self.assertEqual(end(guest), alone)

    def test_a_load_that_fails_leaves_a_paused_machine(self):
        """Of a machine that ran, over QMP and HMP.  Half a state can neither be saved nor run; a
        machine of which nothing has changed can."""
        machine = "cmp,pcpus=2,vcpus=4"
        disks = [*self.blockdev("mine", os.path.join(self.dir, "mine")),
                 *self.blockdev("other", self.disk("cmp,pcpus=4,vcpus=4,affinity=2:3"))]
        arguments = program("ticket", machine, "rounds=30000")
        with Guest(*arguments) as guest:
            alone = end(guest)
        with Guest(*arguments, *disks) as guest:
            def hmp(line):
                return guest.cmd("human-monitor-command", command_line=line).strip()

            def status():
                return guest.cmd("query-status")["status"]

            wait_for(guest, 100_000)
            snapshot(guest, "save", "s", ["mine"])
            path = os.path.join(guest.dir, "state")
            # Nothing changes: there is no such snapshot.
            self.assertEqual(status(), "running")
            self.assertRegex(hmp("loadvm nothing"), "'nothing' does not exist")
            self.assertEqual(status(), "paused")
            save(guest, path)
            guest.cmd("cont")
            self.assertEqual(status(), "running")
            # Half a state.
            with self.assertRaisesRegex(AssertionError, "Error -22"):
                snapshot(guest, "load", "s", ["other"])
            self.assertEqual(status(), "paused")
            with self.assertRaisesRegex(AssertionError, "failed"):
                save(guest, path)
            self.assertIn("the machine cannot be saved", guest.last_words())
            self.assertEqual(status(), "paused")
            with self.assertRaises(AssertionError):
                snapshot(guest, "save", "t", ["mine"])
            self.pauses(guest)
            snapshot(guest, "load", "s", ["mine"])
            guest.cmd("cont")
            self.assertEqual(end(guest), alone)


if __name__ == "__main__":
    unittest.main()
