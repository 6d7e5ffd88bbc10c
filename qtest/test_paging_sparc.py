"""What paging costs SPARC guests, which fill their TLBs themselves: references, exits, page
faults, errors, repetition, states.

A program without an operating system (misses) reads pages that nobody has touched; what one page
more costs is compared.  Under Linux, mmustress finds translations that outlived their address
space, in the host's table of finished entries as well.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import unittest

from support import GUEST_FAULTS, SLOWER, Guest, Refusals, linux
from test_paging import Configured
from test_save import LinuxInTheMiddle, load, program, save
from test_tlb import DONE, STRESS

MODES = "native", "nested", "shadow"


def counted(guest):
    """{counter: both modes together} of VM 0"""
    vm, = guest.cmd("query-paging")
    return {c["name"]: c["privileged"] + c["user"] for c in vm["counters"]}


class Programs(Configured):
    """Runs programs; has no test of its own."""
    always = "[machine]\nclock = 1000000000\n[tlb]\nfilled-by = software\nvpid = yes\n"

    @staticmethod
    def arguments(paging, pages, *more):
        return program("misses", f"cmp,pcpus=1,vcpus=2,sched=timeslice,{paging}",
                       f"pages={pages}", "-m", "128", *more)

    def run_it(self, paging, pages, *more):
        """(cycles in which the VCPUs stalled, instructions, counters)"""
        with Guest(*self.arguments(paging, pages, *more)) as guest:
            guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
            self.assertIn('"ok": true', guest.console)
            stats = guest.stats()["vm"]
            ran = stats["vcpu-running-useful"] + stats["vcpu-running-spinning"]
            retired = stats["vcpu-insns-privileged"] + stats["vcpu-insns-user"]
            return ran - retired, retired, counted(guest)

    def one_page_more(self, paging):
        few, many = (self.run_it(paging, pages)[2] for pages in (5, 6))
        return {name: many[name] - few[name] for name in many if many[name] != few[name]}


class References(Programs):
    timeout = 300

    def test_one_page_more(self):
        """Two VCPUs read it one after the other.  Its handler has no loads by real addresses."""
        misses = {"dtlb-l1-misses": 2, "dtlb-misses": 2}
        for levels in 2, 4, 5:
            config = self.config(
                f"[host]\nlevels={levels}\n[shadow]\nlevels={levels - 1}\n[walk]\nreference=9\n"
                "[walk-cache]\nhost-level-2=0\nhost-level-3=0\nhost-level-4=0\nhost-level-5=0\n"
                "[exit]\nhidden-fault=700\nemulate=50\n")
            for mode, expected in (
                    ("native", misses),
                    # the address that the entry names, of each VCPU's
                    ("nested", {**misses, "references-host": 2 * levels,
                                "cycles-walks": 2 * levels * 9}),
                    # the first one exits twice; the second one finds the entry in the host's table
                    ("shadow", {**misses, "references-guest": 2 * (levels - 1),
                                "cycles-walks": 2 * (levels - 1) * 9, "exits-hidden-fault": 1,
                                "cycles-hidden-fault": 700, "exits-emulate": 1,
                                "cycles-emulate": 50, "shadow-filled": 1})):
                with self.subTest(levels=levels, mode=mode):
                    self.assertEqual(
                        self.one_page_more(f"paging={mode},paging-config={config}"), expected)

    def test_entries_without_a_miss(self):
        """The program inserts its two locked entries before it has an MMU."""
        _, _, n = self.run_it("paging=shadow", 20)
        self.assertEqual(n["exits-hidden-fault"], 20)
        self.assertEqual(n["exits-emulate"], n["exits-hidden-fault"] + 2)
        self.assertEqual(n["page-faults"], 0)

    def test_native_costs_nothing(self):
        """The same run, to the cycle, as one without a model."""
        runs = []
        for paging in "paging=native", "sdb=on":
            with Guest(*self.arguments(paging, 20)) as guest:
                guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
                runs.append((guest.console, {n: v for n, v in guest.stats()["vm"].items()
                                             if not n.startswith(("vcpu-paging", "pcpu-paging"))}))
        self.assertGreater(runs[0][1]["time"], 0)
        self.assertEqual(*runs)

    def test_time_passes(self):
        """Cycles that are counted are cycles that the VCPUs stall, to the last one."""
        for mode in MODES:
            with self.subTest(mode=mode):
                stalled, _, n = self.run_it(f"paging={mode}", 20)
                self.assertEqual(stalled > 0, mode != "native")
                self.assertEqual(stalled, sum(v for name, v in n.items()
                                              if name.startswith("cycles-")))


class Same(Programs):
    timeout = 300

    def test_however_code_is_translated(self):
        for mode in MODES:
            first = self.run_it(f"paging={mode}", 20)
            self.assertEqual(self.run_it(f"paging={mode}", 20), first)
            self.assertEqual(self.run_it(f"paging={mode}", 20, "-d", "nochain"), first)
            self.assertEqual(self.run_it(f"paging={mode},sdb=off", 20), first)
            for bits in 6, 16:
                self.assertEqual(self.run_it(f"paging={mode},x-softmmu-bits={bits}", 20), first)

    def test_saved(self):
        """Loaded at once, it ends as if nobody had saved."""
        path = os.path.join(self.dir, "state")
        for mode in "nested", "shadow":
            arguments = self.arguments(f"paging={mode}", 20)
            with Guest("-S", *arguments) as guest:
                save(guest, path)
            with Guest("-S", "-incoming", "defer", *arguments) as guest:
                load(guest, path)
                guest.cmd("cont")
                guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
                self.assertEqual(counted(guest), self.run_it(f"paging={mode}", 20)[2])


class Stress(unittest.TestCase):
    """Linux; its VCPUs move, and share the TLBs of PCPUs."""
    timeout = 1200

    def run_it(self, paging, commands=()):
        with Guest("-M", f"cmp,pcpus=2,vcpus=4,sched=microslice,tlb=pcpu,paging={paging}",
                   *linux("mmustress", STRESS, memory="256"), "-no-shutdown",
                   *commands) as guest:
            self.assertTrue(guest.event_wait("SHUTDOWN", timeout=200 * SLOWER),
                            guest.last_words())
            guest.wait_console("reboot: Power down", timeout=20)
            self.assertIn(DONE, guest.console)
            self.assertIsNone(GUEST_FAULTS.search(guest.console))
            return counted(guest), guest.stats(), guest.console

    def test_modes(self):
        """A page fault is one in all modes; a mode that changes on the way forgets nothing."""
        native, nested, shadow = (self.run_it(mode)[0] for mode in MODES)
        self.assertGreater(native["page-faults"], 1000)
        self.assertEqual(nested["page-faults"], native["page-faults"])
        self.assertEqual(shadow["page-faults"], native["page-faults"])
        self.assertEqual(nested["exits-hidden-fault"], 0)
        self.assertGreater(nested["references-host"], 1000)
        # what a miss does not find, the guest's handler or its fault path has to bring
        self.assertLess(shadow["exits-hidden-fault"],
                        shadow["itlb-misses"] + shadow["dtlb-misses"])
        self.assertEqual(shadow["references-guest"],
                         4 * (shadow["itlb-misses"] + shadow["dtlb-misses"]))

    def test_changes_twice_the_same(self):
        changes = []
        for n in range(40):
            changes += ["-object", f"vsched-command,id=p{n},at={400 + 20 * n}ms,"
                        f"run=paging-set-mode,arguments=vm=0,,mode={MODES[n % 3]}"]
        first = self.run_it("shadow", changes)
        self.assertEqual(self.run_it("shadow", changes), first)

    def test_dsp(self):
        """Few faults and many misses: it becomes shadow; the samples are of what was counted."""
        with Guest("-M", "cmp,pcpus=2,vcpus=4,paging=nested",
                   *linux("mmustress", STRESS, memory="256"), "-no-shutdown", "-S") as guest:
            guest.cmd("dsp-enable", vm=0, interval=100_000_000)
            guest.cmd("cont")
            guest.event_wait("SHUTDOWN", timeout=200 * SLOWER)
            dsp, = guest.cmd("query-dsp")
            n = counted(guest)
        samples = dsp["samples"]
        self.assertGreater(len(samples), 5)
        self.assertGreater(sum(s["misses"] for s in samples), 100)
        self.assertLessEqual(sum(s["misses"] for s in samples),
                             n["itlb-misses"] + n["dtlb-misses"])
        self.assertLessEqual(sum(s["faults"] for s in samples), n["page-faults"])


class LinuxShadow(LinuxInTheMiddle, unittest.TestCase):
    timeout = 900
    machine = "cmp,pcpus=2,vcpus=4,sched=microslice,tlb=pcpu,paging=shadow"
    append = "compress.lines=300"


class Errors(Refusals, Programs):
    def test_errors(self):
        self.refuse("paging=agile: allowed are native, nested, shadow, dsp", "-M",
                    "cmp8,paging=agile")
        for preset in "i7-860", "skylake":
            self.refuse("walk page tables: allowed for sparc64 is software", "-M",
                        f"cmp8,paging=nested,paging-config={preset}")
        self.always = self.always.replace("vpid = yes", "vpid = no")
        config = self.config("")
        self.refuse("whose exits empty their TLB: allowed for sparc64 is yes", "-M",
                    f"cmp8,paging=nested,paging-config={config}")
        self.refuse("allowed is clock-hz=1000000000", "-M",
                    "cmp8,paging=nested,clock-hz=2000000000")

    def test_commands(self):
        with Guest("-S", "-M", "cmp8,paging=nested") as guest:
            with self.assertRaisesRegex(Exception, "allowed are native, nested, shadow"):
                guest.cmd("paging-set-mode", vm=0, mode="agile")
            self.assertEqual(guest.cmd("query-paging")[0]["mode"], "nested")
            guest.cmd("paging-set-mode", vm=0, mode="shadow")
            self.assertEqual(guest.cmd("query-paging")[0]["mode"], "shadow")


if __name__ == "__main__":
    unittest.main()
