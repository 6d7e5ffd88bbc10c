"""TLBs that belong to PCPUs (tlb=pcpu): whose entries are whose, demaps, Linux, states, errors.

A program without an operating system (tlb) says which VCPUs have an entry; what is expected
follows from which PCPU and which VM a VCPU is of.  Under Linux, mmustress finds translations
that outlived their address space.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import random
import unittest

from support import GUEST_FAULTS, SLOWER, Guest, Refusals, linux
from test_bare_metal import run
from test_save import LinuxInTheMiddle, Continues, load, program, save, wait_for

PAGES = 70                      # more than a TLB has entries
STRESS = f"mmustress.processes=5 mmustress.rounds=4 mmustress.pages={PAGES}"
# a round of a process: its pages, every eighth by way of the kernel, and 13 others
DONE = f"mmustress: processes=5 checks={5 * (4 * (PAGES + 9 + 13) + 1)} ok"
COUNTERS = "left", "found", "brought", "covered", "emptied", "demapped"


def counters(guest):
    return {n: guest.cmd("qom-get", path="/machine/tlbs", property=n) for n in COUNTERS}


def stress(test, machine, *args, timeout=200):
    """mmustress on Linux: (console, statistics, counters)."""
    with Guest("-M", machine, *linux("mmustress", STRESS, memory="256"), "-no-shutdown",
               *args) as guest:
        test.assertTrue(guest.event_wait("SHUTDOWN", timeout=timeout * SLOWER), guest.last_words())
        guest.wait_console("reboot: Power down", timeout=20)
        test.assertIn(DONE, guest.console)
        test.assertIsNone(GUEST_FAULTS.search(guest.console))
        return guest.console, guest.stats(), counters(guest)


class Entries(unittest.TestCase):
    def test_whose(self):
        """Bit n is VCPU n; VCPU n is on PCPU n modulo their number.  VCPU 0 writes, the last one
        demaps.  A locked entry is always its VCPU's own."""
        for machine, shared, left in (
                ("pcpus=1,vcpus=3", 0b001, 0b001),      # tlb=vcpu: a demap is one's own, too
                ("pcpus=1,vcpus=3,tlb=vcpu", 0b001, 0b001),
                ("pcpus=1,vcpus=3,tlb=pcpu", 0b111, 0),
                ("pcpus=2,vcpus=4,tlb=pcpu", 0b0101, 0),
                ("pcpus=3,vcpus=3,tlb=pcpu", 0b001, 0),
                # a VCPU of another VM finds nothing, and leaves nothing
                ("pcpus=1,vcpus=3,tlb=pcpu,vms=2+1", 0b011, 0),
                ("pcpus=1,vcpus=3,tlb=pcpu,vms=1+1+1", 0b001, 0),
                # and does not demap what another VM has on another PCPU
                ("pcpus=2,vcpus=2,tlb=pcpu,vms=1+1", 0b01, 0b01),
                ("pcpus=2,vcpus=2,tlb=pcpu", 0b01, 0)):
            with self.subTest(machine=machine):
                status, report = run("tlb", f"cmp,{machine},sched=timeslice")
                self.assertEqual(status, 0)
                self.assertEqual((report["locked"], report["shared"], report["left"]),
                                 (1, shared, left))


class Stress(unittest.TestCase):
    """Linux whose VCPUs move: policies that do so, or affinity masks that change."""
    timeout = 1200
    machine = "cmp,pcpus=3,vcpus=6,tlb=pcpu"

    def test_policies_that_move_vcpus(self):
        for policy in "heat", "microslice", "spread":
            with self.subTest(policy=policy):
                _, stats, moved = stress(self, f"{self.machine},sched={policy}")
                self.assertGreater(stats["vm"]["vcpu-migrations"], 100)
                self.assertGreater(moved["demapped"], 0)
                self.assertGreater(moved["found"], 1000)

    def test_moves_at_random_moments_twice_the_same(self):
        draw = random.Random(11)
        moves = []
        for n in range(2000):
            moves += ["-object", f"vsched-command,id=m{n},at={300_000 + n * 500}us,"
                      f"run=vsched-move,arguments=vcpu={draw.randrange(6)},,"
                      f"pcpu={draw.randrange(3)}"]
        first = stress(self, self.machine, *moves)
        self.assertGreater(first[1]["vm"]["vcpu-migrations"], 1000)
        self.assertEqual(stress(self, self.machine, *moves), first)


class Save(Continues, unittest.TestCase):
    timeout = 300

    def test_in_the_middle_of_user_mode(self):
        for machine in ("cmp,pcpus=2,vcpus=4,sched=sdb,tlb=pcpu",
                        "cmp,pcpus=2,vcpus=4,sched=microslice,tlb=pcpu"):
            with self.subTest(machine=machine):
                self.check("tas", machine, "rounds=60000 user=1", 2_000_000)

    def test_other_machines(self):
        """Whose TLBs are has to be the same.  Of a PCPU that this machine has not, entries go."""
        for saved_as, here, why in (
                ("tlb=vcpu", "pcpus=2,tlb=pcpu", "tlb=vcpu, this machine tlb=pcpu: they have to"),
                ("tlb=pcpu", "pcpus=2", "tlb=pcpu, this machine tlb=vcpu: they have to"),
                ("tlb=pcpu", "pcpus=1,tlb=pcpu", None),
                ("tlb=pcpu", "pcpus=3,tlb=pcpu", None)):
            with self.subTest(saved=saved_as, here=here), \
                    Guest(*program("ticket", f"cmp,pcpus=2,vcpus=4,sched=sdb,{saved_as}",
                                   "rounds=5000")) as saved:
                wait_for(saved, 100_000)
                saved.cmd("stop")
                path = os.path.join(saved.dir, "state")
                save(saved, path)
                with Guest(*program("ticket", f"cmp,{here},vcpus=4,sched=sdb", "rounds=5000"),
                           "-incoming", "defer", "-S") as other:
                    if why:
                        with self.assertRaisesRegex(AssertionError, "failed"):
                            load(other, path)
                        self.assertIn(why, other.last_words())
                    else:
                        load(other, path)
                        other.cmd("cont")
                        other.wait_console('"ok": true', timeout=60)


class LinuxMicroslice(LinuxInTheMiddle, unittest.TestCase):
    """VCPUs that move, with what they left behind."""
    timeout = 600
    machine = "cmp,pcpus=2,vcpus=4,sched=microslice,tlb=pcpu"
    append = "compress.lines=300"


class Reset(unittest.TestCase):
    timeout = 600

    def test_linux_boots_again(self):
        """The firmware empties the TLB of the VCPU that starts, and so that of each PCPU."""
        with Guest("-M", "cmp,pcpus=3,vcpus=6,tlb=pcpu,sched=microslice",
                   *linux("mmustress", STRESS, memory="256"), "-action", "reboot=reset") as guest:
            for boots in 1, 2:
                guest.wait_console("(?s)" + "CPUs online, workload.*" * boots, timeout=200)
                wait_for(guest, wait_for(guest, 0) + 5_000_000)
                guest.cmd("system_reset")
            self.assertEqual(guest.wait_exit(200), 0)
            self.assertEqual(guest.console.count("6 of 6 CPUs online, workload mmustress"), 3)
            self.assertIn(DONE, guest.console)
            self.assertIsNone(GUEST_FAULTS.search(guest.console), guest.last_words())


class Monitor(unittest.TestCase):
    def test_info_tlb(self):
        """A VCPU shows the entries that it has: its locked ones, and if it holds a PCPU, those
        that are there."""
        with Guest("-M", "cmp,pcpus=1,vcpus=2,tlb=pcpu,sched=timeslice",
                   *linux("compress")) as guest:
            guest.wait_console("CPUs online, workload compress", timeout=200)
            guest.cmd("stop")
            shown = [guest.cmd("human-monitor-command", command_line="info tlb", cpu_index=v)
                     for v in range(2)]
            unlocked = [text.count(" unlocked, ") for text in shown]
            self.assertEqual(unlocked.count(0), 1)
            self.assertGreater(sum(unlocked), 20)
            for text in shown:
                self.assertRegex(text, "4M, priv, RW, locked")


class Errors(Refusals, unittest.TestCase):
    def test_errors(self):
        self.refuse("tlb=cpu: allowed are vcpu, pcpu", "-M", "cmp8,tlb=cpu")
        self.refuse("tlb=: allowed are vcpu, pcpu", "-M", "cmp8,tlb=")
        self.refuse("tlb=pcpu is for PCPUs, which only thread=vsched has: allowed is tlb=vcpu",
                    "-M", "cmp8,tlb=pcpu", "-accel", "tcg,thread=single")

    def test_too_late(self):
        with Guest("-M", "cmp8,tlb=pcpu", "-S") as guest:
            self.assertEqual(guest.cmd("qom-get", path="/machine", property="tlb"), "pcpu")
            with self.assertRaisesRegex(Exception, "cannot be changed any more"):
                guest.cmd("qom-set", path="/machine", property="tlb", value="vcpu")
            self.assertEqual(counters(guest), dict.fromkeys(COUNTERS, 0))


if __name__ == "__main__":
    unittest.main()
