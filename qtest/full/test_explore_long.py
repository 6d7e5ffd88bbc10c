"""A race of depth 3 is met as often as the theorem of PCT says: tens of thousands of seeds.
Linux is explored, too: it does not hang, whatever the priorities.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import unittest

from support import ROOTFS, VMLINUX, Guest
from explorer import FAULTS, Explorer, Limits
from test_observer import qemu_plugin, run_all
from test_explore import LEVEL, Races, at_most


class Rates(Races, unittest.TestCase):
    timeout = 7200

    def test_depth_3(self):
        """A has to be first, which has probability 1/2; it has to stop between the two stores,
        at 3 of k places, and B between the two loads, at 4 of k (guests/bare-metal/programs/
        race3.c); the change point of B has to be the lower one, which is in these 3 x 4 of
        k x k pairs.  So 6 / k^2 of all seeds meet the fault, 12 times the bound."""
        hits, tries, steps = self.assert_bound("race3", 3)
        self.assertGreaterEqual(at_most(hits, tries, 6 / steps ** 2), LEVEL)
        self.assertGreaterEqual(1 - at_most(hits - 1, tries, 6 / steps ** 2), LEVEL)

    def test_mended(self):
        for name in ("race1", "race2", "race3"):
            self.assertEqual(self.hits(name, 3, 5000, "mended=1")[0], 0)


class Observed(unittest.TestCase):
    """31 change points, in blocks of all kinds: who looks on changes nothing, with and without
    stalls, on one PCPU and on two."""

    timeout = 3600

    def test_observers(self):
        for pcpus, steps, seed in ((1, 600, 3), (2, 100000, 1), (1, 400000, 2)):
            for stalls in (0, 50):
                machine = (f"cmp,pcpus={pcpus},vcpus=5,slice=20us,sched=explore,patience=30us,"
                           f"depth=32,steps={steps},seed={seed},random-stalls={stalls}")
                alone = run_all(machine)
                for console, _ in alone:
                    self.assertIn('"ok": true', console)
                for arguments in (("-d", "nochain"), ("-trace", "vsched_*", "-D", os.devnull),
                                  ("-plugin", qemu_plugin("tests/tcg/plugins/insn.c"))):
                    self.assertEqual(alone, run_all(machine, *arguments))


class Linux(unittest.TestCase):
    """From a moment in the boot on, with 7 change points in the 100 million instructions after
    it (choice)."""

    timeout = 3600

    def test_it_comes_to_its_end(self):
        arguments = ["-M", "cmp,pcpus=1,vcpus=4", "-m", "64", "-kernel", VMLINUX, "-initrd",
                     ROOTFS, "-append", "console=ttyS0 workload=forkstorm forkstorm.children=50",
                     "-nic", "none"]
        runs = {}
        with Explorer(arguments, Limits(10**11, FAULTS)) as explorer:
            explorer.begin(at=9 * 10**8)
            for seed in (0, 1, 2, 3, 4, 5, 0):
                outcome = explorer.run(seed, 8, 10**8)
                console = explorer.console()
                self.assertIsNone(outcome.failure, f"seed {seed}: {console}")
                self.assertIn("workload forkstorm: exit 0", console)
                # The same seed is the same run, whatever was run in between.
                self.assertEqual(runs.setdefault(seed, (outcome, console)), (outcome, console))
        self.assertEqual(len({outcome.steps for outcome, _ in runs.values()}), len(runs))


if __name__ == "__main__":
    unittest.main()
