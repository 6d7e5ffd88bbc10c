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
        store = MadeUp({("gcc", "dsp"): result(1, time=[30, 10], switches=3,
                                               samples=[[""] * 5 + ["nested"]] * 9)})
        lines = PARTS["shares"].text(store, OPTIONS).splitlines()
        self.assertIn(["gcc", "9", "25.0", "3"], [line.split()[:4] for line in lines])
        self.assertIn(["mcf", "--", "--", "--", "--", "--"], [line.split() for line in lines])

    def test_lost(self):
        """The first switch to shadow mode is after the second sample of 300 us, 0.06 % of 1 s; two
        rebuilds, each of the 46 ms that a pair of switches takes, are 9.2 %."""
        samples = [[0, 0, 0, 0, "", mode] for mode in ("nested", "shadow", "nested", "shadow")]
        store = MadeUp({("mcf", "dsp"): result(1, time=[1, 1], switches=3, samples=samples),
                        ("mcf", "shadow"): result(1), ("mcf", "S-N-S"): result(1.46, switches=20)})
        line = next(line.split() for line in PARTS["shares"].text(store, OPTIONS).splitlines()
                    if line.startswith("mcf"))
        self.assertEqual(line[-2:], ["0.06", "9.20"])

    def test_agile(self):
        """2.2 s are 10 % over native; the better mode is 50 % over it, and agile 26.67 % under."""
        store = MadeUp({("mcf", mode): result(s, misses=2000) for mode, s in (("native", 2), ("nested", 4), ("shadow", 3),
                                                    ("agile", 2.2))})
        for e in store.results.values():
            e["counters"].update({"tables-to-nested": 3, "tables-to-shadow": 2,
                                  "exits-hidden-fault": 5, "exits-emulate": 1})
        line = next(line.split() for line in PARTS["agile"].text(store, OPTIONS).splitlines()
                    if line.startswith("mcf"))
        self.assertEqual(line[1:], ["10.00", "50.00", "-26.67", "3", "2", "3.00"])

    def test_retrained(self):
        """Percent over the better of both, and of all together"""
        options = types.SimpleNamespace(**{**vars(OPTIONS), "settings": (600_000, (("margin", 9),))})

        class ByInterval(MadeUp):
            def get(self, run):
                return self.results.get((run.program, run.mode, run.interval))

        store = ByInterval({("gcc", "nested", 300_000): result(2),
                            ("gcc", "shadow", 300_000): result(3),
                            ("gcc", "dsp", 300_000): result(2.5),
                            ("gcc", "dsp", 600_000): result(2.02, time=[3, 1], switches=2,
                                                            samples=[0] * 7),
                            ("mcf", "nested", 300_000): result(4),
                            ("mcf", "shadow", 300_000): result(2),
                            ("mcf", "dsp", 300_000): result(2.2),
                            ("mcf", "dsp", 600_000): result(2, time=[0, 1], switches=1,
                                                            samples=[0] * 5)})
        lines = [line.split() for line in PARTS["retrained"].text(store, options).splitlines()]
        self.assertIn(["gcc", "2000.00", "3000.00", "2000.00", "25.00", "1.00", "7", "25.0", "2"],
                      lines)
        self.assertIn(["all", "6000.00", "5000.00", "4000.00", "17.50", "0.50"], lines)
        self.assertIn(["margin=9"], lines)

    def test_long(self):
        """880 references in 200 walks, of which 2 were for D bits, are 4.40."""
        store = MadeUp({("mcf", mode): result(s, misses=198, faults=5, **more) for mode, s, more in
                        (("nested", 4, {}), ("shadow", 3, {}),
                         ("dsp", 2, {"time": [1, 3], "switches": 2, "samples": [0] * 200}))})
        for e in store.results.values():
            e["counters"].update({"references-guest": 480, "references-host": 400, "dirty-walks": 2,
                                  "exits-hidden-fault": 0, "exits-accessed": 0, "exits-dirty": 0})
        line = next(line.split() for line in PARTS["long"].text(store, OPTIONS).splitlines()
                    if line.startswith("mcf"))
        self.assertEqual(line[1:3] + line[4:5], ["5", "5", "4.000"])
        self.assertEqual(line[7:], ["--", "0.750", "0.500", "--", "4.40", "4.40", "200", "75.0",
                                    "2", "0.859"])

    def test_faults(self):
        """1010 counted by the kernel of 1000 that walks found: 1 % more"""
        class ByFaults(MadeUp):
            def get(self, run):
                return self.results.get(run.faults)

        store = ByFaults({how: result(1, faults=1000, time=[1, 1], switches=2, samples=[0] * 3)
                          for how in ("", "guest")})
        for e in store.results.values():
            e["counters"]["guest-faults"] = 1010
        lines = [line.split() for line in PARTS["faults"].text(store, OPTIONS).splitlines()]
        self.assertIn(["guest", "1,000", "1,010", "1.00", "1.0000", "3", "50.0", "2"], lines)
        self.assertIn(["walker", "1,000", "--", "--", "1.0000", "3", "50.0", "2"], lines)

    def test_caches(self):
        """20 cycles a walk in one mode and 8 in the other: 12, as the paper's mcf"""
        store = MadeUp({("mcf", mode): result(s, misses=1000) for mode, s in
                        (("nested", 383), ("shadow", 329))})
        for mode, walks in (("nested", 20000), ("shadow", 8000)):
            store.results["mcf", mode]["counters"]["cycles-walks"] = walks
        line = next(line.split() for line in PARTS["caches"].text(store, OPTIONS).splitlines()
                    if line.startswith("none"))
        self.assertEqual(line[3:], ["0.859", "20.0", "8.0", "12.0"])

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

    def test_more(self):
        """Length and caches are in QEMU's arguments, agile paging's scans in the configuration."""
        self.assertIn("length=20", " ".join(Run("gcc", "amd64", "dsp", 5, length=20).arguments("")))
        self.assertIn("libcachetime.so,config=zen4-ccd,", " ".join(
            Run("gcc", "amd64", "dsp", 5, caches="zen4-ccd").arguments("")))
        for mode, there in ("agile", True), ("nested", False):
            self.assertEqual("\n[agile]\nscan = 28000000\n" in
                             Run("gcc", "amd64", mode, 5).configuration, there)

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
        amd64, i386 = (" ".join(Run("gcc", name, "nested", 5).arguments("i7-860"))
                       for name in ("amd64", "i386"))
        for text in "-m 768 ", " mitigations=off transparent_hugepage=never":
            self.assertIn(text, i386)
            self.assertNotIn(text, amd64)

    def test_page(self):
        """Each part has a place on the page, for both guests."""
        with open(os.path.join(TOP, "docs/paging-figures.rst"), encoding="utf-8") as file:
            lines = file.read().splitlines()
        for part in PARTS:
            for name in (part,) if part == "faults" else (part, f"{part}-i386"):
                self.assertEqual([lines.count(f".. {word} {name}") for word in ("begin", "end")],
                                 [1, 1], name)

    def test_refused(self):
        for arguments, says in (
                (["table9"], "no part table9; there are: table3, times"),
                (["--programs", "gcc,doom"], "no program doom; there are: bzip2"),
                (["--architecture", "i386", "faults"], "allowed is --architecture amd64"),
                (["--interval", "5"], "allowed are times such as 2ms"),
                (["--settings", "ratio"], "'ratio' is no NAME=NUMBER"),
                (["--settings", "ratio-upper=x"], "is no NAME=NUMBER"),
                (["--settings", "nope=3"], "nope is not possible: allowed are history, keep"),
                (["--settings", "margin=101"], "margin=101: allowed are 1 to 100"),
                (["--settings", "ratio-upper=0"], "ratio-upper 0 is below ratio-lower 1.5e-05"),
                (["--programs", ""], "no program without a name; there are: bzip2")):
            self.study(["--list", *arguments], 1, says)

    def study(self, arguments, status, says):
        done = subprocess.run([os.path.join(TOP, "scripts/paging-study"), *arguments],
                              text=True, capture_output=True, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertIn(says, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        return done.stderr

    def test_what_cannot_be_written(self):
        """Refused before the first run, which would take hours"""
        with tempfile.TemporaryDirectory() as directory:
            page = os.path.join(directory, "page.rst")
            with open(page, "w", encoding="utf-8") as file:
                file.write(".. begin shares\nold\n.. end shares\n")
            for arguments, says in (
                    (["--output", "/nonexistent/x.rst"], "No such file or directory: a page with"),
                    (["--output", page, "times"], "'.. end times' are there 0 times, and not once"),
                    (["--output", page, "--profiles", "/nonexistent/p.csv", "shares"],
                     "a file in a directory that can be written"),
                    (["--programs", "mcf", "shares"], "is for tables of all programs")):
                self.study(arguments, 1, says)

    def test_a_part_that_has_not_been_measured(self):
        """--no-run leaves its table as it is, and says so."""
        with tempfile.TemporaryDirectory() as directory:
            page = os.path.join(directory, "page.rst")
            text = "a\n.. begin shares\nold\n.. end shares\nb\n"
            with open(page, "w", encoding="utf-8") as file:
                file.write(text)
            # No interval that anybody has measured with
            said = self.study(["--no-run", "--interval", "123457ns", "--output", page, "shares"], 1, "")
            self.assertRegex(said, "runs have not been made, so its table stays as it is|"
                                   "vmlinuz is missing: make paging-study builds it")
            with open(page, encoding="utf-8") as file:
                self.assertEqual(file.read(), text)


if __name__ == "__main__":
    unittest.main()
