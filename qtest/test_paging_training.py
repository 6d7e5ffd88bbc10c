"""scripts/paging-study's part retrain: profiles, costs of switches, settings, of made-up results.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import csv
import os
import tempfile
import types
import unittest

from support import TOP             # it knows where the scripts' libraries are  # noqa: F401

# pylint: disable=wrong-import-position,wrong-import-order
import dspprofiles                                          # noqa: E402
import dsptraining                                          # noqa: E402
import pagingtraining                                       # noqa: E402
from pagingruns import Fault                                # noqa: E402
from test_paging_study import MadeUp                        # noqa: E402

INTERVAL = 300_000              # ns: 840,000 cycles of 2.8 GHz
BOOT = 10**9                    # ns


def options(*programs):
    return types.SimpleNamespace(programs=list(programs), architecture="made-up",
                                 interval=INTERVAL, settings=())


def entry(cycles, samples, switches=0):
    return {"counters": {"cycles": cycles}, "samples": samples, "switches": switches,
            "key": f"{cycles} {len(samples)} {switches}"}


def of_both(faster, misses, faults):
    """A program's results: 40 intervals nested, with so many misses and faults, and what is the
    same work in shadow mode, so many times as fast; a switch to it takes 50,000 cycles."""
    def run(number, speed):
        return entry(number * INTERVAL * 28 // 10, [
            [BOOT + (n + 1) * INTERVAL, round(500_000 * speed), round(misses * speed),
             round(faults * speed), 3, "nested"] for n in range(number)])

    shadow = run(round(40 / faster), faster)
    return {"nested": run(40, 1), "shadow": shadow,
            "S-N-S": entry(shadow["counters"]["cycles"] + 40 * 50_000, [], 80)}


class Training(unittest.TestCase):
    timeout = 300

    # Of 840,000 cycles, 14,000 misses take 12 each, a fifth; 30 faults add 28,000 each, as much
    # again
    RESULTS = {"walker": of_both(1.25, 14_000, 0), "forker": of_both(0.5, 0, 30),
               "solver": of_both(1.25, 14_000, 0)}

    def store(self):
        return MadeUp({(program, mode): e for program, of in self.RESULTS.items()
                       for mode, e in of.items()})

    def test_profiles(self):
        """In cycles of 2.8 GHz: 300 us are 840,000; numbers of each mode begin with 0."""
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "profiles.csv")
            pagingtraining.write_profiles(self.store(), options("walker"), path)
            with open(path, encoding="utf-8", newline="") as file:
                found = list(csv.DictReader(file))
        self.assertEqual(len(found), 40 + 32)
        self.assertEqual([int(row["interval"]) for row in found],
                         [*range(40), *range(32)])
        self.assertEqual([list(found[n].values()) for n in (0, 39, 41)], [
            ["walker", "nested", "0", "500000", "14000", "0", "840000"],
            ["walker", "nested", "39", "500000", "14000", "0", "840000"],
            ["walker", "shadow", "1", "625000", "17500", "0", "840000"]])

    def test_what_was_not_run(self):
        with tempfile.TemporaryDirectory() as directory, self.assertRaisesRegex(
                Fault, "gcc nested has not been run: part times does that"):
            pagingtraining.write_profiles(self.store(), options("gcc"),
                                          os.path.join(directory, "profiles.csv"))

    def test_cost_of_a_switch(self):
        """40 pairs took 40 x 50,000 cycles more; without a switch there is none."""
        self.assertEqual(pagingtraining.switch_cost(self.RESULTS["walker"]), 50_000)
        self.assertEqual(pagingtraining.switch_cost({"S-N-S": entry(9, []),
                                                     "shadow": entry(5, [])}), 0)

    def test_settings(self):
        """The paper's thresholds, from units of 1e-7; 840,000 cycles are 300 us."""
        self.assertEqual(pagingtraining.thresholds(
            {"interval": 840_000, "history": 3, "margin": 80, "fault-upper": 5000,
             "miss-upper": 100_000_000, "ratio-lower": 0}),
            (300_000, (("history", 3), ("margin", 80), ("fault-upper", 0.0005),
                       ("miss-upper", 10.0), ("ratio-lower", 0.0))))

    def test_part(self):
        """walker and forker are trained on, solver is held out: break-even of 12 and 28,000 cycles
        is 0.0004286 faults a miss; what was not run is named."""
        of = self.store(), options("walker", "forker", "solver", "gcc")
        text = pagingtraining.Retraining().text(*of)
        self.assertIn("break-even at 0.0004286 faults a miss", text)
        held = text[text.index("held out"):]
        self.assertIn("solver", held)
        self.assertNotIn("walker", held)
        found = pagingtraining.Retraining().found(*of)
        self.assertEqual((found["interval"] % 840_000, found["margin"]), (0, 80))
        self.assertIn("Not run in all modes: gcc.", text)
        self.assertIn("Fewer than two", pagingtraining.Retraining().text(
            self.store(), options("walker", "solver")))

    def test_descents(self):
        """From each beginning, walker and forker get the mode that is better for each; no place
        where a descent begins is better than what is found."""
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "profiles.csv")
            pagingtraining.write_profiles(self.store(), options("walker", "forker"), path)
            programs = dspprofiles.load([path], 1)
        costs = {"nested": 0, "shadow": 50_000}
        search = dsptraining.Search(programs, {p.name: costs for p in programs}, 1, [840_000], 8)
        starts = list(search.starts())
        self.assertEqual(len(set(starts)), 4)
        found = search.by_descent()
        for settings in starts:
            self.assertLessEqual(search.score(found), search.score(settings))
            for program in programs:
                for settled in found, search.descend(settings):
                    run = program.simulate(settled, costs, "nested")
                    better = {"walker": "shadow", "forker": "nested"}[program.name]
                    self.assertGreater(run.times[better], 0.9 * run.cycles)

    def test_runs(self):
        """Switches by force are 50 samples apart: 15 ms."""
        self.assertEqual([(run.mode, run.interval) for run in pagingtraining.Retraining().runs(
            options("gcc"))], [("nested", 300_000), ("shadow", 300_000), ("S-N-S", 15_000_000)])


if __name__ == "__main__":
    unittest.main()
