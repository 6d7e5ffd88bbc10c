"""The operations that the series adds to QEMU's plugin interface for models of caches: a
filter of callbacks, cores that run vCPUs and their time, physical addresses of code,
accesses of page walks.  Test plugins (qtest/plugins) use each, and look.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import unittest

from support import BUILD, SLOWER, Guest, Refusals, x86_image
from test_save import program

MACHINE = "cmp,pcpus=2,vcpus=5,slice=20us,sched=sdb"
# Locks with atomic operations and user mode; cross-calls by helpers, and interrupts;
# TLB misses by the thousand; traps, windows spilled and filled; code that is written
PROGRAMS = (("tas", "rounds=100 user=1"), ("crosscall", "rounds=2"),
            ("chase", "slots=2048 stride=65536 steps=2000"), ("selftest", ""),
            ("code", "blocks=2000"))


def plugin(name, options=""):
    return ("-plugin", os.path.join(BUILD, "plugins", f"lib{name}.so") + options)


def run(name, parameters, *arguments, machine=MACHINE, asked="filterer"):
    """(counters of the engine, what the plugin says)"""
    with Guest(*program(name, machine, parameters, "-m", "512", *arguments)) as guest:
        guest.event_wait("SHUTDOWN", timeout=100 * SLOWER)
        return guest.stats(), guest.cmd("plugin-command", plugin=asked, command="counts")


class Filter(Refusals, unittest.TestCase):
    """A callback does not come where the filter has the line, and comes everywhere else."""
    timeout = 300

    def check(self, name, parameters, options, machine=MACHINE, *more):
        with self.subTest(program=name, options=options, more=more):
            _, said = run(name, parameters, *plugin("filterer", options), *more, machine=machine)
            # Inline operations, callbacks, and the filter's own counter have seen the same.
            self.assertEqual(said["in-line"], said["all"])
            self.assertEqual(said["filter"], said["all"])
            self.assertEqual(said["called"] + said["known"], said["all"])
            # What it recognises was put there, and nothing else; and is still where it was.
            self.assertEqual(said["wrong-line"], 0)
            self.assertEqual(said["moved"], 0)
            self.assertEqual(said["crossing-known"], 0)
            self.assertEqual(said["wrong-stamp"], 0)
            self.assertGreater(said["known"], 0.5 * said["all"])
            self.assertGreater(said["executions"], said["executions-called"])
            self.assertGreater(said["executions-called"], 0)
            return said

    def test_what_it_lets_through(self):
        atomics = 0
        for name, parameters in PROGRAMS:
            atomics += self.check(name, parameters, "")["atomics"]
        self.assertGreater(atomics, 100)

    def test_stamps_and_tables(self):
        """What is found is stamped; tables that are not those of the vCPUs' numbers do the
        same as these."""
        for name, parameters in PROGRAMS:
            plain = self.check(name, parameters, "")
            self.assertEqual(self.check(name, parameters, ",stamps=on"), plain)
            self.assertEqual(self.check(name, parameters, ",stamps=on,tables=40"), plain)

    def test_sizes(self):
        for options in (",line=5,index=1", ",line=8,index=4", ",line=12,index=16"):
            self.check("crosscall", "rounds=1", options)
        for options in (",line=4", ",line=13", ",index=17"):
            with self.subTest(options=options):
                self.refuse("no filter with", "-M", MACHINE, *plugin("filterer", options))

    def test_a_flush_of_the_TLB_empties_it(self):
        """Under one VCPU nothing but that, and another line in the place, takes a line out: of 64
        slots, 8 MB apart, each in a page of its own, a demap is due to the small TLB, while
        without TLB misses (all in one page) no line is ever dropped."""
        alone = "cmp,pcpus=1,vcpus=1"
        few = self.check("search", "limit=200", "", alone)
        many = self.check("chase", "slots=64 stride=65536 steps=2000", "", alone)
        self.assertGreaterEqual(many["dropped"], few["dropped"])

    def test_translations_thrown_away(self):
        self.check("code", "blocks=40000 rounds=1", "", MACHINE, "-accel",
                   "tcg,thread=vsched,tb-size=1")


class Cores(unittest.TestCase):
    """PCPUs are cores: who runs where, since when, and for how long."""
    timeout = 300

    def check(self, name, parameters, options, machine=MACHINE, *more):
        with self.subTest(program=name, options=options):
            stats, said = run(name, parameters, *plugin("clockwork", options), *more,
                              machine=machine, asked="clockwork")
            for fault in ("wrong-core", "vcpu-back", "core-back", "reached-back", "physical-wrong"):
                self.assertEqual(said[fault], 0, fault)
            self.assertTrue(said["keep-time"])
            self.assertEqual(said["switches"], stats["vm"]["pcpu-switches"])
            self.assertEqual(said["insns"], stats["vm"]["pcpu-insns"])
            for path, pcpu in stats.items():
                if "pcpu[" in path:
                    self.assertEqual(pcpu["clock"], pcpu["busy"] + pcpu["stalled"] +
                                     pcpu["idle"] + pcpu["offline"] + pcpu["switching"], path)
            return stats["vm"], said

    def test_who_runs_where(self):
        switches = []
        for name, parameters in PROGRAMS:
            _, said = self.check(name, parameters, "")
            self.assertEqual(said["cores"], 2)
            switches.append(said["switches"])
        # In some only VCPU 0 ever runs.
        self.assertGreaterEqual(min(switches), 1)
        self.assertGreater(max(switches), 4)

    def test_a_vcpu_that_moves(self):
        """It is sent to the other core seven times."""
        commands = []
        for n in range(7):
            commands += ["-object", f"vsched-command,id=c{n},at={100 + 100 * n}us,"
                         f"run=vsched-set-affinity,arguments=vcpu=0,,pcpus.0={(n + 1) % 2}"]
        vm, said = self.check("search", "limit=3000", "", "cmp,pcpus=2,vcpus=1", *commands)
        self.assertEqual(said["moves"], 7)
        self.assertEqual(vm["vcpu-migrations"], 7)

    def test_stalls(self):
        """Each store takes 7 cycles more, and nothing else stalls."""
        for name, parameters in PROGRAMS[:2]:
            vm, said = self.check(name, parameters, ",stall=7")
            self.assertGreater(said["stores"], 1000)
            self.assertEqual(vm["pcpu-stalled"], 7 * said["stores"])

    def test_switches(self):
        """The plugin says what a switch takes; two plugins together, the sum."""
        for cycles in (0, 1, 1000):
            vm, said = self.check("tas", "rounds=100", f",switch={cycles}")
            self.assertGreater(said["switches"], 10)
            self.assertEqual(vm["pcpu-switching"], cycles * said["switches"])

    def test_page_walks(self):
        """qtest/walks.S: x86 with pages of 4 MB.  Of each page more it loads a word, and another
        one, and then it stores one, and loads it.  The first load walks, which reads an entry of 4
        bytes and sets its accessed bit; the second one finds the translation.  The store walks
        again, since the translation is for reading until the entry is dirty: it reads the entry
        and sets its dirty bit."""
        def walk(pages, accelerator):
            with Guest("-M", "none") as scratch:
                image = os.path.join(scratch.dir, "walks")
            x86_image("walks.S", image, f"-DPAGES={pages}")
            with Guest("-M", "q35", "-nodefaults", "-m", "128", "-bios", image, "-accel",
                       accelerator, "-no-shutdown", "-device",
                       "isa-debug-exit,iobase=0xf4,iosize=4", *plugin("clockwork"),
                       arch="x86_64") as guest:
                guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
                return guest.cmd("plugin-command", plugin="clockwork", command="counts")
        for accelerator in ("tcg,thread=vsched,pcpus=1", "tcg,thread=single"):
            few, many = (walk(pages, accelerator) for pages in (4, 20))
            more = {name: many[name] - few[name] for name in few
                    if name.startswith("walk") or name == "accesses"}
            self.assertEqual(more, {"walks": 16 * 4, "walk-stores": 16 * 2, "walk-bytes": 16 * 16,
                                    "walks-unaligned": 0, "accesses": 16 * 4})

    def test_without_a_word_it_changes_nothing(self):
        arguments = program("crosscall", MACHINE, "rounds=2")
        runs = []
        for more in ((), plugin("clockwork"), plugin("clockwork", ",stall=0")):
            with Guest(*arguments, *more) as guest:
                guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
                runs.append((guest.console, guest.stats()))
        self.assertEqual(runs[0], runs[1])
        self.assertEqual(runs[0], runs[2])

    def test_where_cores_keep_no_time(self):
        """Stock accelerators give each vCPU a core of its own, and no time."""
        with Guest(*program("selftest", "sun4u", ""), *plugin("clockwork")) as guest:
            guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
            said = guest.cmd("plugin-command", plugin="clockwork", command="counts")
        self.assertEqual((said["cores"], said["keep-time"]), (1, False))
        self.assertEqual((said["insns"], said["switches"], said["reached"]), (0, 0, 0))
        self.assertGreater(said["accesses"], 1000)
        self.assertEqual(said["physical-wrong"], 0)


if __name__ == "__main__":
    unittest.main()
