"""What accesses and switches of VCPUs cost through the whole machine, against cycles
worked out by hand from the table of docs/devel/cache-model.rst: beyond the
instruction, a word in the L1 costs 0, in the L2 14, in the L3 54, in another L2 63, in
memory 364 cycles; so does a store, and one that takes copies of others away costs 63.

The guest measures itself with %tick (guests/bare-metal/programs/memory.c).  The random
addition to memory's latency is off.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import json
import re
import unittest

from support import SLOWER, Guest
from test_caches import caches, config_file, report
from test_save import program

L2, L3, OTHER, MEMORY = 14, 54, 63, 364
LINES_OF_STATE = 36         # 277 registers and two locked entries of 2 words are 281 words
WORDS_OF_STATE = 281


class Cycles(unittest.TestCase):
    """Has no test of its own."""

    def measure(self, parameters, machine="cmp,pcpus=1,vcpus=1", config="", *more):
        """(report of the program, counters of the engine, counters of the machine's caches)"""
        with Guest("-M", "none") as scratch:
            path = config_file(scratch.dir, f"[memory]\nvariation = 0\n{config}")
        with Guest(*program("memory", machine, parameters, "-m", "512",
                            *caches(f",config={path}"), *more)) as guest:
            guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
            guest.wait_console(r"\}\n")
            said = json.loads(re.search(r"\{.*\}\n", guest.console).group())
            self.assertTrue(said["ok"], said)
            return said, guest.stats(), report(guest)["machine"]["privileged"]


class Accesses(Cycles):
    """One VCPU: misses and conflicts of each level."""
    timeout = 300

    def rounds(self, parameters, *stalls):
        """Of the first, the second, the last round"""
        with self.subTest(parameters=parameters):
            said = self.measure(parameters + " rounds=4")[0]
            self.assertEqual((said["first"], said["second"], said["last"]), stalls)

    def test_streaming(self):
        """N bytes miss N/64 times.  1000 lines are more than the 256 of the L1, so that with LRU
        none of them is left when its turn comes again; the 8192 of the L2 keep all."""
        for how in (0, 1):
            self.rounds(f"lines=100 how={how}", 100 * MEMORY, 0, 0)
            self.rounds(f"lines=1000 how={how}", 1000 * MEMORY, 1000 * L2, 1000 * L2)
        # 8 words to a line: only the first of them misses
        self.rounds("lines=800 stride=8", 100 * MEMORY, 0, 0)

    def test_set_conflicts(self):
        """As many lines of one set as it has ways hit for ever, one more misses for ever."""
        # L1D: 128 sets of 64 bytes, 2 ways
        self.rounds("lines=2 stride=8192", 2 * MEMORY, 0, 0)
        self.rounds("lines=3 stride=8192", 3 * MEMORY, 3 * L2, 3 * L2)
        # L2: 2048 sets, 4 ways; they are in one set of the L1D, too
        self.rounds("lines=4 stride=131072", 4 * MEMORY, 4 * L2, 4 * L2)
        self.rounds("lines=5 stride=131072", 5 * MEMORY, 5 * L3, 5 * L3)
        # L3: 8192 sets, 16 ways, and what the L2 has is not in it: 16 + 4 lines
        self.rounds("lines=20 stride=524288", 20 * MEMORY, 20 * L3, 20 * L3)
        self.rounds("lines=21 stride=524288", 21 * MEMORY, 21 * MEMORY, 21 * MEMORY)

    def test_pointer_chase(self):
        """A random cycle passes each line once a round: LRU finds all of them, or none.  The words
        have been written in order before the first round."""
        for lines, stalls in (
                (128, 0),                       # half of the L1D: 1 line of each set
                (512, 512 * L2),                # twice the L1D: 4 lines in 2 ways
                # Twice the L2: 8 lines in 4 ways.  The line of code of the loop is always in the
                # L1I, so the L2 never sees it and drops it after 4 others of its set, twice a
                # round, and the L1I with it.  The L3 has both.
                (16384, 16384 * L3 + 2 * L3)):
            with self.subTest(lines=lines):
                said = self.measure(f"lines={lines} how=2 rounds=4")[0]
                self.assertEqual((said["second"], said["last"]), (stalls, stalls))


class Sharing(Cycles):
    """Two VCPUs on two PCPUs take turns: a load, a store, a load of a word each."""
    timeout = 300
    MACHINE = "cmp,pcpus=2,vcpus=2"

    def turns(self, apart, *stalls, config=""):
        with self.subTest(apart=apart, config=config):
            said = self.measure(f"handoffs=6 apart={apart}", self.MACHINE, config)[0]
            self.assertEqual([said[f"{who}_{what}"] for who in ("first", "second")
                              for what in ("loaded", "stored", "again")], 2 * list(stalls))

    def test_producer_and_consumer(self):
        """The same word: what one stored last is in its L2, and comes from there.  It keeps a
        copy, which the store takes away; then the line is ours alone."""
        self.turns(0, OTHER, OTHER, 0)
        for protocol in ("msi", "mesi", "moesi"):
            self.turns(0, OTHER, OTHER, 0, config=f"[directory]\nprotocol = {protocol}\n")

    def test_false_sharing(self):
        """Two words of a line are the same to the caches; of two lines each has its own."""
        self.turns(8, OTHER, OTHER, 0)
        self.turns(56, OTHER, OTHER, 0)
        self.turns(64, 0, 0, 0)
        self.turns(64, OTHER, OTHER, 0, config="[machine]\nline = 128\n")

    def test_counted(self):
        """Ten more turns of each are 20 more loads of the word that another L2 answers.  The
        variable that says whose turn it is is another one: a load, and a store that takes it."""
        few, many = (self.measure(f"handoffs={n} apart=8", self.MACHINE)[2] for n in (15, 25))
        self.assertEqual(many["served-by-transfer"] - few["served-by-transfer"], 20 + 20)
        self.assertEqual(many["served-by-upgrade"] - few["served-by-upgrade"], 20 + 20)
        self.assertEqual(many["l1d-misses-coherence"] - few["l1d-misses-coherence"], 20 + 20)
        self.assertEqual(many["invalidations"] - few["invalidations"], 20 + 20)


class Switches(Cycles):
    """The registers of VCPUs go through the caches, a word a cycle, where they miss more."""
    timeout = 300

    def assert_time(self, stats, caches_):
        """Every cycle of the PCPUs is accounted for, and every stall of the model has passed."""
        for path, pcpu in stats.items():
            if "pcpu[" in path:
                self.assertEqual(pcpu["clock"], pcpu["busy"] + pcpu["stalled"] + pcpu["idle"] +
                                 pcpu["offline"] + pcpu["switching"], path)
                self.assertEqual(pcpu["busy"], pcpu["insns"])
        stalls = sum(caches_[f"stall-{by}"] for by in ("l2", "upgrade", "transfer", "l3", "memory"))
        words = caches_["model-loads"] + caches_["model-stores"]
        self.assertEqual(stats["vm"]["pcpu-stalled"] + stats["vm"]["pcpu-switching"],
                         stalls + words)

    def each(self, measure, few, many):
        """Cycles of a switch, from two runs that are equal up to the end of the shorter one"""
        short, long = (measure(n) for n in (few, many))
        for _, stats, caches_ in (short, long):
            self.assert_time(stats, caches_)
        more = {name: long[1]["vm"][name] - short[1]["vm"][name]
                for name in ("pcpu-switching", "pcpu-switches")}
        self.assertGreaterEqual(more["pcpu-switches"], 2)
        cycles, rest = divmod(more["pcpu-switching"], more["pcpu-switches"])
        self.assertEqual(rest, 0)
        return cycles

    def test_on_one_pcpu(self):
        """One goes, one comes.  The L1D has both; or it has 16 lines, which the 36 of each state
        go through in order, so that all of them miss, and the L2 has them."""
        for size, stall in (("16K", 0), ("1K", L2)):
            with self.subTest(size=size):
                config = f"[l1d]\nsize = {size}\n[l2]\nbank-cycles = 1\n"
                cycles = self.each(lambda n: self.measure(
                    f"handoffs={n} apart=64", "cmp,pcpus=1,vcpus=2,sched=timeslice,slice=50us",
                    config), 10, 20)        # pylint: disable=cell-var-from-loop
                self.assertEqual(cycles, 2 * (WORDS_OF_STATE + LINES_OF_STATE * stall))

    def test_migration(self):
        """A VCPU is sent to the other PCPU and back.  The one that it leaves stores the state,
        to lines of which the other still has copies; that one loads them from there."""
        def move(times):
            commands = []
            for n in range(times):
                commands += ["-object", f"vsched-command,id=c{n},at={8000 + 50 * n}us,"
                             f"run=vsched-set-affinity,arguments=vcpu=0,,pcpus.0={(n + 1) % 2}"]
            return self.measure("lines=100 rounds=20000", "cmp,pcpus=2,vcpus=1", "", *commands)
        self.assertEqual(self.each(move, 10, 20),
                         2 * (WORDS_OF_STATE + LINES_OF_STATE * OTHER))

    def test_time_of_every_kind(self):
        """Several VCPUs that wait, switch, move and interrupt each other"""
        with Guest(*program("crosscall", "cmp,pcpus=2,vcpus=5,sched=sdb", "rounds=2",
                            *caches())) as guest:
            guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
            self.assert_time(guest.stats(), report(guest)["machine"]["privileged"])


if __name__ == "__main__":
    unittest.main()
