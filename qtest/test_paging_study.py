"""scripts/paging-study, without a machine: what its tables make of results that are made up.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import subprocess
import tempfile
import types
import unittest

from support import TOP             # it knows where the scripts' libraries are

# pylint: disable=wrong-import-position,wrong-import-order
from pagingruns import Run, Store                           # noqa: E402
from pagingtables import HZ, PARTS, SPEC, SWITCH, RATIO     # noqa: E402

OPTIONS = types.SimpleNamespace(programs=["gcc", "mcf"], architecture="amd64", interval=300_000,
                                settings=())


class MadeUp:
    """A store whose results are those that it was given."""

    def __init__(self, results):
        self.results = results

    def get(self, run):
        return self.results.get((run.program, run.mode))


def result(seconds, misses=0, faults=0, **more):
    counters = {"cycles": seconds * HZ, "insns": seconds * HZ, "itlb-misses": 0,
                "dtlb-misses": misses, "page-faults": faults, "shadow-pages": 7}
    return {"counters": counters, **more}


class Tables(unittest.TestCase):
    def test_costs(self):
        """The paper's own totals give what it says: 4.31 ns (12 cycles) a miss, and, of 13.3
        million faults, 9.83 us; gcc misses 2.96 times as often."""
        part = PARTS["table3"]
        store = MadeUp({key: result(s, misses, faults)
                        for key, (misses, faults, s) in part.PAPER.items()})
        text = " ".join(part.text(store, OPTIONS).split())
        self.assertIn("costs 12.1 cycles (4.31 ns) more nested", text)
        self.assertIn("cycles (9.83 us) more shadow than nested", text)
        self.assertIn("misses 2.96 times as often", text)

    def test_times(self):
        """1.5 and 0.5 of the time: the geometric mean is the root of 0.75, that of the better of
        both the root of 0.5."""
        store = MadeUp({("gcc", "nested"): result(2), ("gcc", "shadow"): result(3),
                        ("mcf", "nested"): result(4), ("mcf", "shadow"): result(2)})
        lines = PARTS["times"].text(store, OPTIONS).splitlines()
        gcc, mcf, mean = (next(line.split() for line in lines if line.startswith(name))
                          for name in ("gcc", "mcf", "geometric"))
        self.assertEqual((gcc[5], gcc[-2], gcc[-1]), ("1.500", "1.000", "1.327"))
        self.assertEqual((mcf[5], mcf[-2], mcf[-1]), ("0.500", "0.500", "0.859"))
        self.assertEqual((mean[3], mean[-1]), ("0.866", "0.707"))

    def test_switches(self):
        """345.03 s for 329.11 s and 345 pairs are 46.1 ms each, as the paper's table 5 has mcf."""
        store = MadeUp({("mcf", "shadow"): result(329.11),
                        ("mcf", "S-N-S"): result(345.03, switches=690)})
        line = next(line.split() for line in PARTS["table5"].text(store, OPTIONS).splitlines()
                    if line.startswith("mcf"))
        self.assertEqual(line[3:], ["345", "4.84", "46.1449", "7", "46.1"])

    def test_shares(self):
        store = MadeUp({("gcc", "dsp"): {"time": [30, 10], "switches": 3, "samples": [0] * 9}})
        lines = PARTS["shares"].text(store, OPTIONS).splitlines()
        self.assertIn(["gcc", "9", "25.0", "3"], [line.split() for line in lines])
        self.assertIn(["mcf", "--", "--", "--"], [line.split() for line in lines])

    def test_names(self):
        self.assertLessEqual(set(SPEC.values()), set(RATIO))
        self.assertLessEqual(set(SWITCH), set(RATIO))


class Runs(unittest.TestCase):
    def test_sampling(self):
        """What dsp-enable gets: experiments, settings; in one mode, thresholds that never act."""
        self.assertEqual(Run("gcc", "amd64", "S-N-S", 5).sampling["experiment"],
                         "shadow-nested-shadow")
        self.assertEqual(Run("gcc", "amd64", "S-N-S", 5).paging, "shadow")
        self.assertEqual(Run("gcc", "amd64", "dsp", 5, (("history", 2),)).sampling["history"], 2)
        self.assertEqual(Run("gcc", "amd64", "nested", 5).sampling["miss-lower"], 100000)
        self.assertIsNone(Run("gcc", "amd64", "native", 5).sampling)

    def test_store(self):
        """A line that was cut is no result, and no hindrance."""
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "results")
            with open(path, "w", encoding="utf-8") as file:
                file.write('{"key": "a", "n": 1}\n{"key": "b", "n"')
            self.assertEqual(Store(path).results, {"a": {"key": "a", "n": 1}})

    def test_guests(self):
        """The 32-bit kernel has all of its memory mapped, and neither large pages of programs nor
        tables of its own."""
        amd64, i386 = (" ".join(Run("gcc", name, "nested", 5).arguments())
                       for name in ("amd64", "i386"))
        for text in "-m 768 ", " mitigations=off transparent_hugepage=never":
            self.assertIn(text, i386)
            self.assertNotIn(text, amd64)

    def test_page(self):
        """Each part has a place on the page, for both guests."""
        with open(os.path.join(TOP, "docs/paging-figures.rst"), encoding="utf-8") as file:
            lines = file.read().splitlines()
        for part in PARTS:
            for name in part, f"{part}-i386":
                self.assertEqual([lines.count(f".. {word} {name}") for word in ("begin", "end")],
                                 [1, 1], name)

    def test_refused(self):
        for arguments, says in (
                (["table9"], "no part table9; there are: table3, times"),
                (["--programs", "gcc,doom"], "no program doom; there are: bzip2"),
                (["--interval", "5"], "allowed are times such as 2ms"),
                (["--settings", "ratio"], "'ratio' is no NAME=NUMBER"),
                (["--settings", "ratio-upper=x"], "is no NAME=NUMBER")):
            done = subprocess.run([os.path.join(TOP, "scripts/paging-study"), "--list", *arguments],
                                  text=True, capture_output=True, check=False)
            self.assertEqual(done.returncode, 1, arguments)
            self.assertIn(says, done.stderr)


if __name__ == "__main__":
    unittest.main()
