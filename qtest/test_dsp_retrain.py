"""scripts/dsp-retrain: its rules against softmmu-walk/dsp.c, a run worked by hand, costs whose
break-even is known, held-out programs, bad input.  No QEMU is needed.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import json
import os
import random
import shlex
import subprocess
import sys
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.append(os.path.join(TOP, "scripts/lib"))
# pylint: disable=wrong-import-position
import dspprofiles                                          # noqa: E402
import dsprules                                             # noqa: E402
import dsptraining                                          # noqa: E402
from dsprules import NESTED, SHADOW                         # noqa: E402
# pylint: enable=wrong-import-position

SCRIPT = os.path.join(TOP, "scripts/dsp-retrain")
HEAD = "program,mode,interval,instructions,misses,faults,cycles\n"

# Costs of the model below: those of the paper at 2.8 GHz, 4 ns and 10 us
MISS, FAULT = 12, 28000
INSNS = 10**8                   # of an interval
BEHIND, BEYOND = 3800, 4800     # ratios in 1e-7 on both sides of 12 / 28000 = 0.00042857


def counted(misses, ratio):
    """Misses and faults in an interval, of misses for 1000 instructions and the ratio in 1e-7"""
    misses = INSNS // 1000 * misses
    return misses, misses * ratio // 10**7


def rows(name, phases, length=1):
    """Lines of a program that retires an instruction in a cycle, of which a miss stops it for
    12 cycles if it is nested, and a fault for 28,000 if it is shadow.  Each of @phases, (misses,
    ratio), takes @length intervals of instructions."""
    for mode in (NESTED, SHADOW):
        for n in range(len(phases) * length):
            misses, faults = counted(*phases[n // length])
            cycles = INSNS + (MISS * misses if mode == NESTED else FAULT * faults)
            yield f"{name},{mode},{n},{INSNS},{misses},{faults},{cycles}\n"


def synthetic(misses=(1, 4, 16, 32)):
    """Programs on both sides of break-even, near it and far from it, at several rates of misses:
    only the ratio tells them apart."""
    return [line for m in misses for ratio in (400, BEHIND, BEYOND, 40000)
            for line in rows(f"m{m}r{ratio}", [(m, ratio)], 200)]


class Files(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()       # pylint: disable=consider-using-with
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def path(self, name):
        return os.path.join(self.directory, name)

    def file(self, lines, name="a.csv", head=HEAD):
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.writelines([head, *lines])
        return self.path(name)

    @staticmethod
    def run_script(*args, **variables):
        done = subprocess.run([SCRIPT, *map(str, args)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False,
                              env={**os.environ, **variables})
        return done.returncode, done.stdout, done.stderr

    def retrain(self, *args, **variables):
        """(what it printed, its JSON)"""
        out = self.path("out.json")
        status, text, errors = self.run_script(*args, "--json", out, **variables)
        self.assertEqual((status, errors), (0, ""))
        with open(out, encoding="utf-8") as f:
            return text, json.load(f)


class Rules(Files):
    """Python's model of the rules decides as the C code does."""

    SAMPLES = 20000

    def driver(self, lines):
        """What qtest/dsp_driver.c says to these."""
        walk = os.path.join(TOP, "softmmu-walk")
        glib = subprocess.run(["pkg-config", "--cflags", "--libs", "glib-2.0"], check=True,
                              stdout=subprocess.PIPE, text=True).stdout
        subprocess.run(["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-I", walk, "-o",
                        self.path("driver"), os.path.join(TOP, "qtest/dsp_driver.c"),
                        os.path.join(walk, "dsp.c"), *shlex.split(glib)], check=True)
        return subprocess.run([self.path("driver")], input="\n".join(lines), text=True, check=True,
                              stdout=subprocess.PIPE).stdout.splitlines()

    @staticmethod
    def line_of(s):
        return " ".join(map(str, (s.fault_upper, s.fault_lower, s.miss_upper, s.miss_lower,
                                  s.ratio_upper, s.ratio_lower, s.history, s.margin)))

    @staticmethod
    def settings(draw):
        """Half of them the paper's, so that all of its rules come up; the rest with bounds that
        are anything, equal ones among them."""
        if draw.random() < 0.5:
            return dsprules.paper(5000)
        limits = []
        for _ in range(3):
            bounds = sorted(round(10**draw.uniform(0, 9)) for _ in range(2))
            limits += [bounds[1], draw.choice(bounds)]
        return dsprules.Settings(5000, draw.randint(1, 64), draw.randint(1, 100), *limits)

    @staticmethod
    def sample(draw, s):
        """Rates around the thresholds, and often exactly on them"""
        insns = draw.choice((0, 1, 999, 10**7, 10**10, 10**10, draw.randint(1, 10**12)))

        def near(*bounds):
            factor = draw.choice((0, 1, 1, s.margin / 100, draw.uniform(0.5, 2),
                                  10**draw.uniform(-3, 3)))
            return int(draw.choice(bounds) * factor)

        misses = near(s.miss_upper, s.miss_lower) * insns // 10**10
        faults = (near(s.fault_upper, s.fault_lower) * insns // 10**10 if draw.random() < 0.5
                  else near(s.ratio_upper, s.ratio_lower) * misses // 10**7)
        return insns, misses, faults

    def test_random_samples(self):
        draw = random.Random(11)
        lines, expected, seen = [], [], set()
        while len(lines) * 10 < self.SAMPLES:
            s = self.settings(draw)
            mode = draw.choice(dsprules.MODES)
            samples = [self.sample(draw, s) for _ in range(10)]
            lines.append(" ".join(map(str, (
                self.line_of(s), dsprules.MODES.index(mode), len(samples),
                *(number for sample in samples for number in sample)))))
            line = ""
            for n in range(len(samples)):
                mode, rule = dsprules.decide(s, mode, samples[:n + 1])
                line += f"{dsprules.MODES.index(mode)}:{rule} "
                seen.add((mode, rule))
            expected.append(line)
        for line, says, should in zip(lines, self.driver(lines)[1:], expected, strict=True):
            self.assertEqual(says, should, line)
        stays = (dsprules.NO_INSNS, dsprules.LOW, dsprules.RATIO_BETWEEN, dsprules.RATIO_MIXED)
        self.assertEqual(seen, {*((mode, rule) for mode in dsprules.MODES for rule in stays),
                                (SHADOW, dsprules.MISSES), (SHADOW, dsprules.RATIO_LOW),
                                (NESTED, dsprules.FAULTS), (NESTED, dsprules.NO_MISSES),
                                (NESTED, dsprules.RATIO_HIGH)})

    def test_table_2(self):
        """The paper's thresholds, which are the C code's defaults: faults 5000e-7 and 100e-7,
        misses 10 and 0.1 for 1000 instructions, 200e-7 and 150e-7 faults for a miss."""
        self.assertEqual(self.driver(()), [self.line_of(dsprules.paper(1))])
        self.assertEqual([dsprules.threshold_text(getattr(dsprules.paper(1), name))
                          for name in dsprules.THRESHOLDS],
                         ["0.0005", "0.00001", "10", "0.1", "0.00002", "0.000015"])


class Simulation(unittest.TestCase):
    """10,000 instructions with 100 misses in each 1000 of them: nested 2 cycles for an
    instruction, shadow 1.  More than 10 misses in 1000 instructions: rule 1, shadow."""

    def program(self, shadow=((1000, 100, 0, 1000),) * 10):
        return dspprofiles.Program("p", {NESTED: dspprofiles.Track([(1000, 100, 0, 2000)] * 10),
                                         SHADOW: dspprofiles.Track(shadow)})

    def test_one_switch(self):
        # 4000 cycles nested are 2000 instructions; 500 for the switch; 8000 shadow
        program = self.program()
        run = program.simulate(dsprules.paper(4000), {NESTED: 7, SHADOW: 500}, NESTED)
        self.assertEqual((run.cycles, run.switches, run.samples), (12500, 1, 3))
        self.assertEqual(run.times, {NESTED: 4000, SHADOW: 8500})
        self.assertEqual(run.decisions, {dsprules.MISSES: 3})
        self.assertEqual(program.regret(run), 25)           # the better mode takes 10,000

    def test_a_switch_longer_than_the_interval(self):
        # 9000 cycles, from 4000 to 13,000: the samples at 8000 and 12,000 have no instructions
        run = self.program().simulate(dsprules.paper(4000), {NESTED: 7, SHADOW: 9000}, NESTED)
        self.assertEqual((run.cycles, run.switches, run.samples), (21000, 1, 5))
        self.assertEqual(run.decisions, {dsprules.MISSES: 3, dsprules.NO_INSNS: 2})

    def test_a_run_that_would_hardly_end(self):
        """Misses in one sample, faults in the next: each switches, which takes 10,000,000 cycles,
        1000 times the run."""
        rows_of = [(10, 5, 0, 10), (10, 0, 5, 10)] * 500
        program = dspprofiles.Program("p", {mode: dspprofiles.Track(rows_of)
                                            for mode in dsprules.MODES})
        settings = dsprules.paper(10)
        self.assertIsNone(program.simulate(settings, {NESTED: 10**7, SHADOW: 10**7}, NESTED))
        self.assertIsNotNone(program.simulate(settings, {NESTED: 10, SHADOW: 10}, NESTED))

    def test_a_run_that_ends_before_the_first_sample(self):
        run = self.program().simulate(dsprules.paper(20000), {NESTED: 0, SHADOW: 0}, NESTED)
        self.assertEqual((run.cycles, run.samples), (20000, 0))

    def test_work_is_matched_by_its_part_of_all_instructions(self):
        """Shadow retires 2 % more, in two intervals of which the second is five times as slow.
        2000 of 10,000 are 2040 of 10,200: 3060 - 1020 of the first 5100 are left at 1 cycle, and
        5100 at 5."""
        program = self.program(((5100, 510, 0, 5100), (5100, 510, 0, 25500)))
        run = program.simulate(dsprules.paper(4000), {NESTED: 0, SHADOW: 0}, NESTED)
        self.assertEqual(run.cycles, 4000 + (5100 - 2040) + 25500)
        # the third nested interval: 2040 to 3060 instructions, in shadow 1020 cycles; the sixth,
        # 5100 to 6120: 5100
        compared = list(program.compared(NESTED))
        self.assertEqual(compared[2], ((1000, 100, 0), 2000, 1020))
        self.assertEqual(compared[5], ((1000, 100, 0), 2000, 5100))

    def test_intervals_that_retired_nothing(self):
        rest, work = (0, 1, 2, 50), (1000, 100, 0, 1000)
        self.assertEqual(dspprofiles.merged([rest, rest, work, rest, work, rest]),
                         [(1000, 102, 4, 1100), (1000, 102, 4, 1100)])


class Training(Files):
    timeout = 600

    def assert_break_even(self, report):
        """The costs are found; what decides lies between the programs on both sides of it."""
        self.assertAlmostEqual(report["implied"]["cycles-nested-for-a-miss"], MISS, places=2)
        self.assertAlmostEqual(report["implied"]["cycles-shadow-for-a-fault"], FAULT, delta=1)
        self.assertEqual(report["implied"]["break-even"], 4286)         # 1e7 x 12 / 28000
        settings = report["settings"]
        self.assertGreater(settings["ratio-lower"], BEHIND)
        self.assertLess(settings["ratio-upper"], BEYOND)

    def assert_regret(self, outcomes, limit=1.0):
        for outcome in outcomes:
            self.assertLessEqual(outcome["new"]["regret-percent"], limit, outcome["program"])

    def test_grid(self):
        path = self.file(synthetic())
        held = self.file([*rows("near", [(8, 3000)], 200), *rows("far", [(8, 6000)], 200),
                          *rows("phases", [(8, 500), (8, 9000)] * 3, 40)], "held.csv")
        text, report = self.retrain(path, held, "--to-shadow", 5 * 10**6, "--held-out", "near",
                                    "--held-out", "far", "--held-out", "phases")
        self.assert_break_even(report)
        self.assert_regret(report["trained"])
        self.assert_regret(report["held-out"])
        self.assertEqual(len(report["trained"]), 16)
        near, far, phases = (next(o for o in report["held-out"] if o["program"] == name)
                             for name in ("near", "far", "phases"))
        self.assertEqual((near["new"]["switches"], far["new"]["switches"]), (1, 0))
        # Each mode wins three of six phases: better than the better mode.
        self.assertLess(phases["new"]["cycles"], phases["better"])
        self.assertIn("break-even at 0.0004286 faults a miss", text)
        self.assertIn("\nheld out\n", text)

    def test_hand_calculation(self):
        """32 misses and 0.00128 faults for 1000 instructions: 1.384 cycles for an instruction
        nested, 1.03584 shadow.  The ratio, 400e-7, is above the paper's 200e-7, and the faults are
        above 0.8 x 0.0005: rule 5, nested for ever, 33.61 % too much.  At break-even it is shadow
        after a sample."""
        _, report = self.retrain(self.file(synthetic()), "--to-shadow", 5 * 10**6, "--interval",
                                 10**9)
        outcome = next(o for o in report["trained"] if o["program"] == "m32r400")
        insns = 200 * INSNS
        self.assertEqual(outcome["nested"], round(insns * 1.384))
        self.assertEqual(outcome["shadow"], round(insns * 1.03584))
        self.assertEqual(outcome["paper"]["cycles"], outcome["nested"])
        self.assertAlmostEqual(outcome["paper"]["regret-percent"], 33.61, places=2)
        self.assertEqual(outcome["paper"]["decisions"], {str(dsprules.RATIO_HIGH): 27})
        left = insns - 10**9 / 1.384
        self.assertAlmostEqual(outcome["new"]["cycles"], 10**9 + 5 * 10**6 + left * 1.03584,
                               delta=4)
        self.assertEqual(outcome["new"]["switches"], 1)

    def test_exhaustive(self):
        """Not more than three candidates, 216 combinations: the third threshold of each rate is
        one between the programs."""
        path = self.file([*rows("few", [(10, BEHIND)], 80), *rows("many", [(10, BEYOND)], 80)])
        _, report = self.retrain(path, "--to-shadow", 0, "--search", "exhaustive",
                                 "--candidates", 3, "--interval", 10**9)
        self.assert_regret(report["trained"], 0.4)
        _, descent = self.retrain(path, "--to-shadow", 0, "--interval", 10**9)
        for a, b in zip(report["trained"], descent["trained"]):
            self.assertEqual(a["new"]["cycles"], b["new"]["cycles"])

    def test_svm(self):
        """The same costs by a line: its ratio lies between the programs too."""
        _, report = self.retrain(self.file(synthetic()), "--to-shadow", 5 * 10**6, "--method",
                                 "svm")
        self.assert_break_even(report)
        self.assert_regret(report["trained"])

    def test_svm_without_the_library(self):
        os.mkdir(self.path("sklearn"))
        with open(self.path("sklearn/__init__.py"), "w", encoding="utf-8") as f:
            f.write("raise ImportError('none here')\n")
        status, text, errors = self.run_script(self.file(synthetic((1,))), "--to-shadow", 0,
                                               "--method", "svm", PYTHONPATH=self.directory)
        self.assertEqual((status, text), (1, ""))
        self.assertIn("install Debian's python3-sklearn, or use method grid", errors)
        self.assertNotIn("Traceback", errors)

    def test_svm_needs_both_modes(self):
        status, _, errors = self.run_script(self.file(rows("p", [(8, 10)], 20)), "--to-shadow", 0,
                                            "--method", "svm")
        self.assertEqual(status, 1)
        self.assertIn("there are 0 and 40", errors)

    def test_line(self):
        """log f = log m - 3, in 1e-7 for 1000 instructions, with a margin of 0.5 upwards: weights
        -2, 2, offset 6.  It is nearest to (7, 2) at (6, 3): the ratio is 1e-3 there, at the ends
        of the margin, sqrt(10) times more or less."""
        line = dsptraining.Line(-2, 2, 6, (7, 2))
        self.assertEqual(line.corner(), (10**6, 10**3))
        self.assertEqual(line.ratio(0), 10**4)
        self.assertEqual((line.ratio(-1), line.ratio(1)), (3162, 31623))

    def test_interval(self):
        """Phases of ten intervals, nested is 9 % slower in one and shadow 9 % in the next: who
        samples every forty sees their mean at best."""
        path = self.file(rows("p", [(8, 100), (8, 9000)] * 6, 10))
        _, report = self.retrain(path, "--to-shadow", 10**6, "--interval", "4000000000,300000000")
        self.assertEqual(report["paper"]["interval"], 4 * 10**9)
        self.assertEqual(report["settings"]["interval"], 3 * 10**8)
        self.assertLess(report["trained"][0]["new"]["regret-percent"], 0)

    def test_never_worse_than_the_paper(self):
        """Among what it trained on, since a descent begins there: random profiles, from both
        modes on."""
        draw = random.Random(3)
        lines = [line for n in range(5) for line in rows(f"p{n}", [
            (draw.randint(0, 20), round(10**draw.uniform(0, 5))) for _ in range(30)])]
        path, beyond = self.file(lines), {"paper": 0, "new": 0}
        for start in dsprules.MODES:
            _, report = self.retrain(path, "--to-shadow", 10**6, "--limit", 0, "--start", start)
            for label in beyond:
                beyond[label] += sum(max(0, o[label]["regret-percent"])
                                     for o in report["trained"])
        self.assertLess(beyond["new"], beyond["paper"])

    def test_leave_one_out(self):
        """Each program by the thresholds of the others: as if it alone were held out."""
        path = self.file(synthetic((4, 32)))
        text, report = self.retrain(path, "--to-shadow", 10**6, "--leave-one-out",
                                    "--candidates", 4)
        self.assertEqual([o["program"] for o in report["leave-one-out"]],
                         [o["program"] for o in report["trained"]])
        self.assertIn("each by thresholds that the others gave", text)
        _, alone = self.retrain(path, "--to-shadow", 10**6, "--held-out", "m32r400",
                                "--candidates", 4)
        fold = next(o for o in report["leave-one-out"] if o["program"] == "m32r400")
        self.assertEqual(fold["settings"], alone["settings"])
        self.assertEqual(fold["new"], alone["held-out"][0]["new"])

    def test_the_same_again(self):
        path = self.file(synthetic((4, 32)))
        one, two = (self.retrain(path, "--to-shadow", 10**6, PYTHONHASHSEED=seed)
                    for seed in ("1", "2"))
        self.assertEqual(one, two)

    def test_costs_of_one_program(self):
        path = self.file([*rows("a", [(32, 400)], 80), *rows("b", [(32, 400)], 80)])
        _, report = self.retrain(path, "--to-shadow", 1000, "--to-shadow", "b=3000")
        a, b = report["trained"]
        self.assertEqual((a["to-shadow"], b["to-shadow"]), (1000, 3000))
        self.assertEqual(b["new"]["cycles"] - a["new"]["cycles"], 2000)

    def test_modes_in_two_files(self):
        lines = list(rows("p", [(32, 400)], 20))
        paths = [self.file(lines[:20], "n.csv"), self.file(lines[20:], "s.csv")]
        apart = self.retrain(*paths, "--to-shadow", 0)
        self.assertEqual(apart, self.retrain(self.file(lines), "--to-shadow", 0))


    def test_json_on_standard_output(self):
        """All that is there is the JSON, and no file has that name."""
        args = self.file(list(rows("p", [(8, 100)], 3))), "--to-shadow", 0, "--json"
        out = self.path("out.json")
        self.assertEqual(self.run_script(*args, out)[0], 0)
        with open(out, encoding="utf-8") as f:
            self.assertEqual(self.run_script(*args, "-"), (0, f.read(), ""))
        self.assertFalse(os.path.exists("-"))


class Refusals(Files):
    """A clear error, no table, no JSON."""

    GOOD = list(rows("p", [(8, 100)], 3))

    def refuse(self, says, *args, status=1):
        out = self.path("out.json")
        got = self.run_script(*args, "--json", out)
        self.assertEqual(got[:2], (status, ""), args)
        self.assertIn(says, got[2])
        self.assertNotIn("Traceback", got[2])
        self.assertFalse(os.path.exists(out))

    def refuse_file(self, says, lines, head=HEAD):
        self.refuse(says, self.file(lines, head=head), "--to-shadow", 0)

    def test_files(self):
        good = self.GOOD
        changed = [good[0], *good[2:]]
        huge = "9" * 5000
        for says, lines, head in (
                ("no column faults: needed are program, mode, interval", good,
                 HEAD.replace("faults,", "")),
                ("a column twice", good, HEAD.replace("faults", "misses,faults")),
                ("line 3: interval 2 of p, nested: expected is 1", changed, HEAD),
                ("line 2: mode 'native': allowed are nested and shadow",
                 [good[0].replace("nested", "native")], HEAD),
                ("line 2: cycles '0': allowed are whole numbers from 1", ["p,nested,0,1,0,0,0\n"],
                 HEAD),
                ("line 2: misses '-1': allowed are whole numbers from 0",
                 ["p,nested,0,1,-1,0,1\n"], HEAD),
                ("line 2: faults '1.5'", ["p,nested,0,1,0,1.5,1\n"], HEAD),
                ("line 2: instructions '9999", [f"p,nested,0,{huge},0,0,1\n"], HEAD),
                ("line 2: not as many values", ["p,nested,0,1,0,0\n"], HEAD),
                ("line 2: not as many values", ["p,nested,0,1,0,0,1,1\n"], HEAD),
                ("names without '='", ["a=b,nested,0,1,0,0,1\n"], HEAD),
                ("names without '='", [",nested,0,1,0,0,1\n"], HEAD),
                ("p has no shadow intervals: needed are both modes", good[:3], HEAD),
                ("p, nested: nothing was retired", ["p,nested,0,0,0,0,1\n", *good[3:]], HEAD),
                ("300000000 instructions nested and 200000000 shadow: allowed is a difference of "
                 "5.0 percent", good[:5], HEAD),
                ("no intervals in any file", [], HEAD)):
            with self.subTest(says):
                self.refuse_file(says, lines, head)
        self.refuse("No such file", self.path("none.csv"), "--to-shadow", 0)
        with open(self.path("binary.csv"), "wb") as f:
            f.write(b"\xff\xfe\0")
        self.refuse("is no CSV", self.path("binary.csv"), "--to-shadow", 0)
        path, other = self.file(good), self.file(good, "b.csv")
        self.refuse("is named twice", path, path, "--to-shadow", 0)
        self.refuse("p, nested is in ", path, other, "--to-shadow", 0)

    def test_options(self):
        path = self.file(self.GOOD)
        for says, *args in (
                ("--held-out: there is no program q: allowed are p", "--held-out", "q"),
                ("no program is left to train on", "--held-out", "p"),
                ("no program is left to train on", "--leave-one-out"),
                ("--interval 5: the profiles have intervals of 109600000 cycles", "--interval",
                 "5"),
                ("--to-nested: there is no program q", "--to-nested", "q=5"),
                ("--to-shadow: all programs twice", "--to-shadow", "5"),
                ("9 candidates and 3 intervals are 273375 combinations: allowed are 200000",
                 "--search", "exhaustive", "--candidates", "9")):
            with self.subTest(says):
                self.refuse(says, path, "--to-shadow", "0", *args)
        two = self.file([*self.GOOD, *rows("q", [(8, 100)], 3)], "two.csv")
        self.refuse("--to-shadow: no cycles for q: needed are CYCLES, or NAME=CYCLES for each",
                    two, "--to-shadow", "p=1")
        for says, *args in (
                ("--to-shadow", ),
                ("'-1': allowed are whole numbers from 0", "--to-shadow=-1"),
                ("'=5': allowed are CYCLES and NAME=CYCLES", "--to-shadow", "=5"),
                ("'x': allowed are whole numbers from 1", "--to-shadow=1", "--interval", "1,x"),
                ("an interval is there twice", "--to-shadow=1", "--interval", "7,7"),
                ("'1': allowed are whole numbers from 2 to 64", "--to-shadow=1", "--candidates",
                 "1"),
                ("'nan': allowed are numbers from 0 to 100", "--to-shadow=1", "--limit", "nan"),
                ("invalid choice: 'tree' (choose from", "--to-shadow=1", "--method", "tree"),
                ("--search exhaustive is of method grid", "--to-shadow=1", "--method", "svm",
                 "--search", "exhaustive"),
                ("not allowed with argument", "--to-shadow=1", "--leave-one-out", "--held-out",
                 "p")):
            with self.subTest(says):
                self.refuse(says, path, *args, status=2)

    def test_switches_without_end(self):
        """Misses and faults in turn; a switch takes ten times the run."""
        lines = [f"p,{mode},{n},10,{5 * (n % 2)},{5 * (1 - n % 2)},10\n"
                 for mode in (NESTED, SHADOW) for n in range(500)]
        self.refuse("p with the paper thresholds takes more than 100 times the worse mode",
                    self.file(lines), "--to-shadow", 50000, "--to-nested", 50000)

    def test_a_file_that_cannot_be_written(self):
        status, text, errors = self.run_script(self.file(self.GOOD), "--to-shadow", 0, "--json",
                                               self.path("none/out.json"))
        self.assertEqual((status, text), (1, ""))
        self.assertIn("cannot be written: No such file", errors)


if __name__ == "__main__":
    unittest.main()
