"""scripts/figures: samples, declarations, a tiny experiment whose table is compared with the
raw counters, and how an interrupted one goes on.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import json
import math
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import unittest

from support import BUILD, SLOWER, TOP, Guest, binary
from test_save import program

sys.path.append(os.path.join(TOP, "scripts/lib"))
# pylint: disable=wrong-import-position
import experiments                                          # noqa: E402
import figureplots                                          # noqa: E402
import figuretables                                         # noqa: E402
from marks import DEVICE, PARAMETER                         # noqa: E402
from samples import Estimate, estimate                      # noqa: E402
# pylint: enable=wrong-import-position

SCRIPT = os.path.join(TOP, "scripts/figures")

TINY = """
    [policies.two]
    "timeslice" = "sched=timeslice,slice=20us"
    "sdb" = "sched=sdb,slice=20us"
    [tiny]
    title = "Two policies"
    machine = "cmp,pcpus=2,vcpus=6"
    policies = ["two"]
    baseline = "timeslice"
    seeds = [1, 2]
    columns = ["instructions", "instructions/", "time", "switches"]
    limit = "500ms"
    [tiny.cases]
    locks = { program = "ticket", arguments = "rounds=20" }
"""


class Samples(unittest.TestCase):
    """Worked by hand."""

    def test_five(self):
        # 2 4 4 4 6: mean 4, squares of deviations 4 + 0 + 0 + 0 + 4 = 8, variance 8 / 4 = 2,
        # t with 4 degrees of freedom 2.776: 2.776 x sqrt(2 / 5) = 2.776 x 0.632456 = 1.755697
        e = estimate([2, 4, 4, 4, 6])
        self.assertEqual(e.mean, 4)
        self.assertAlmostEqual(e.half, 1.755697, places=5)

    def test_two(self):
        # 1 3: mean 2, variance (1 + 1) / 1 = 2, t 12.706: 12.706 x sqrt(2 / 2) = 12.706
        e = estimate([1, 3])
        self.assertEqual(e.mean, 2)
        self.assertAlmostEqual(e.half, 12.706)

    def test_equal_values_and_one_value(self):
        self.assertEqual(estimate([7, 7, 7]), Estimate(7, 0))
        self.assertEqual(estimate([7]), Estimate(7, None))

    def test_ratio(self):
        # 6 +- 3 in units of 4 is 1.5 +- 0.75, whatever the interval of the 4
        self.assertEqual(Estimate(6, 3) / Estimate(4, 1), Estimate(1.5, 0.75))
        self.assertEqual(Estimate(6, None) / Estimate(4, 1), Estimate(1.5, None))
        self.assertIsNone(Estimate(6, 3) / Estimate(0, 0))

    def test_t(self):
        """The quantiles bound 95 %: Simpson's rule over the density, which for n degrees of
        freedom is G((n + 1) / 2) / (sqrt(n pi) G(n / 2)) (1 + x^2 / n)^-((n + 1) / 2)."""
        from samples import T               # pylint: disable=import-outside-toplevel
        for n, t in enumerate(T, 1):
            c = math.gamma((n + 1) / 2) / (math.sqrt(n * math.pi) * math.gamma(n / 2))
            steps = 20000
            h = 2 * t / steps
            area = sum((1 if i in (0, steps) else 4 if i % 2 else 2) *
                       c * (1 + (-t + i * h) ** 2 / n) ** (-(n + 1) / 2)
                       for i in range(steps + 1)) * h / 3
            self.assertAlmostEqual(area, 0.95, places=4, msg=n)

    def test_too_many_or_none(self):
        for values in ([], range(11)):
            with self.assertRaisesRegex(ValueError, "1 to 10 are possible"):
                estimate(values)


class Declarations(unittest.TestCase):
    """Faults in a file are named, with what is allowed."""

    def declare(self, text):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(textwrap.dedent(text))
            file.flush()
            return experiments.declared(file.name)

    def test_what_is_there(self):
        tiny = self.declare(TINY)["tiny"]
        self.assertEqual(tiny.limit, 500 * 10**6)
        self.assertEqual(len(experiments.runs_of([tiny])), 4)
        for name in ("shapes", "caches"):
            there = experiments.declared(os.path.join(TOP, f"configs/experiments/{name}.toml"))
            for e in there.values():
                self.assertEqual(e.seeds, (1, 2, 3) if e.name == "spread" else (1, 2, 3, 4, 5))
                for column in e.columns:
                    figuretables.heading(column)
        # A setting that two experiments share is run once.
        runs = experiments.runs_of([tiny, tiny])
        self.assertEqual(len(runs), 4)

    def test_states(self):
        """Cases of Linux share the state that they begin from; one with runs before that are not
        counted has its own, of its own root file system.  A case has its own limit."""
        text = TINY.partition("locks =")[0] + """
            a = { workload = "compress", arguments = "x=1" }
            b = { workload = "compress", arguments = "x=2", limit = "7ms" }
            c = { workload = "pgbench", arguments = "x=3", root = "pgbench.cpio.gz", warm = 1 }
        """
        tiny = self.declare(text.replace("\n            ", "\n    "))["tiny"]
        states = {case.name: [arguments for _, arguments in case.state] for case in tiny.cases}
        self.assertEqual(states, {"a": ["x=1", "x=2"], "b": ["x=1", "x=2"], "c": ["x=3"]})
        runs = experiments.runs_of([tiny])
        self.assertEqual({(run.case.name, run.limit) for run in runs},
                         {("a", 500 * 10**6), ("b", 7 * 10**6), ("c", 500 * 10**6)})
        groups = experiments.groups_of(runs)
        self.assertEqual(sorted(len(group) for group in groups), [2, 2, 4, 4])

    def test_every_policy_is_compared(self):
        """In programs that wait and in Linux: all that QEMU has."""
        said = subprocess.run([binary(), "-M", "cmp8,sched=help"], stdin=subprocess.DEVNULL,
                              text=True, stdout=subprocess.PIPE, check=True).stdout
        there = set(re.findall(r"^  (\w\S*) +\w", said, re.M))
        shapes = experiments.declared(os.path.join(TOP, "configs/experiments/shapes.toml"))
        for name in ("waits", "linux"):
            used = {re.match(r"sched=(\w+)", options)[1]
                    for options in shapes[name].policies.values()}
            self.assertEqual(used, there, name)

    def test_faults(self):
        for old, new, why in (
                ("policies = [\"two\"]", "policies = [\"three\"]",
                 "policies: three is not possible: allowed are two"),
                ("baseline = \"timeslice\"", "baseline = \"gang\"",
                 "baseline: gang is none of timeslice, sdb"),
                ("limit = \"500ms\"", "limit = \"500\"", "a number with ns, us, ms or s"),
                ("limit =", "limits =", "limits is not possible: allowed are .*limit"),
                ("limit =", "caches = \"none\"\n    limit =",
                 "caches: none is not possible: allowed are .*wells-2006"),
                ("program = \"ticket\"", "programs = \"ticket\"", "programs is not possible"),
                ("program = \"ticket\", ", "", "either program or workload is needed"),
                ("rounds=20\"", "rounds=20\", warm = 1", "warm is not possible: allowed are "
                 "arguments, asked, limit, machine, program, workload"),
                ("program = \"ticket\"", "workload = \"pgbench\", warm = 0",
                 "warm = 0 is not possible: a number from 1 on"),
                ("program = \"ticket\"", "workload = \"pgbench\", memory = \"1 GB\"",
                 "memory = '1 GB' is not possible: a number from 64 on"),
                ("title = \"Two policies\"", "", "title is missing"),
                ("seeds = [1, 2]", "seeds = [1, 2", "(?i)array")):
            self.assertIn(old, TINY)
            with self.assertRaisesRegex(experiments.Fault, why):
                self.declare(TINY.replace(old, new))


class Tiny(unittest.TestCase):
    """An experiment of four runs, by the script."""
    timeout = 120

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()             # pylint: disable=R1732
        self.addCleanup(scratch.cleanup)
        self.directory = scratch.name
        # A build directory with results of its own
        self.build = os.path.join(self.directory, "build")
        os.mkdir(self.build)
        for name in ("guests", "firmware", "src", "plugins"):
            os.symlink(os.path.join(BUILD, name), os.path.join(self.build, name))
        self.file = os.path.join(self.directory, "tiny.toml")
        self.page = os.path.join(self.directory, "page.rst")
        self.results = os.path.join(self.build, "figures/results.jsonl")
        with open(self.file, "w", encoding="utf-8") as file:
            file.write(textwrap.dedent(TINY))
        with open(self.page, "w", encoding="utf-8") as file:
            file.write("before\n\n.. begin tiny\nold\n.. end tiny\n\nafter\n")

    def run_script(self, *arguments, status=0, **variables):
        env = dict(os.environ, BUILD=self.build, JOBS="2",
                   QEMU_BUILD=os.path.dirname(binary()), **variables)
        done = subprocess.run([SCRIPT, "--file", self.file, "--output", self.page, *arguments],
                              env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=90 * SLOWER, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        return done

    def raw(self, policy, seed):
        """(instructions, switches, cycles) of the work, read from a QEMU by this test."""
        with Guest(*program("ticket", f"cmp,pcpus=2,vcpus=6,sched={policy},slice=20us",
                            f"rounds=20 {PARAMETER}", *DEVICE),
                   "-seed", str(seed)) as guest:
            counted = []
            for mark in (1, 2):
                guest.event_wait("VSCHED_MARK", timeout=30 * SLOWER,
                                 match={"data": {"number": mark}})
                guest.event_wait("STOP", timeout=30 * SLOWER)
                machine = guest.stats()["vm"]
                counted.append((machine["vcpu-insns-privileged"] + machine["vcpu-insns-user"],
                                machine["pcpu-switches"]))
                guest.cmd("cont")
            guest.wait_console(r"\}\n", timeout=20)
            return (counted[1][0] - counted[0][0], counted[1][1] - counted[0][1],
                    json.loads(guest.console)["cycles"])

    def test_table(self):
        """Means, intervals and ratios from an independent reading of the counters: of two
        values a and b the mean is (a + b) / 2, and the interval 12.706 |a - b| / 2."""
        self.run_script("--no-plots")
        with open(self.page, encoding="utf-8") as file:
            page = file.read()
        self.assertTrue(page.startswith("before\n\n.. begin tiny\n\nMeasured at commit "), page)
        self.assertTrue(page.endswith("\n.. end tiny\n\nafter\n"), page)
        self.assertNotIn("old", page)
        raw = {policy: [self.raw(policy, seed) for seed in (1, 2)]
               for policy in ("timeslice", "sdb")}
        base = sum(insns for insns, _, _ in raw["timeslice"]) / 2
        for policy, ((insns1, switches1, cycles1), (insns2, switches2, cycles2)) in raw.items():
            def both(a, b, scale, digits):
                half = 12.706 * abs(a - b) / 2
                return f"{(a + b) / 2 / scale:,.{digits}f} ±{half / scale:,.{digits}f}".replace(
                    ",", " ")
            want = [both(insns1, insns2, 1e6, 1), both(insns1, insns2, base, 2),
                    both(cycles1, cycles2, 1e6, 2), both(switches1, switches2, 1, 0)]
            line = re.search(rf"^{policy} .*$", page, re.MULTILINE)[0]
            self.assertEqual(line.split(), " ".join([policy, *want]).split())

    def stalls(self, seed):
        """(cycles that PCPUs stalled, instructions, L1 misses) of the work under sdb with caches,
        from the plugin's own report."""
        with Guest(*program("ticket", "cmp,pcpus=2,vcpus=6,sched=sdb,slice=20us",
                            f"rounds=20 {PARAMETER}", *DEVICE),
                   "-seed", str(seed), "-plugin", os.path.join(
                       BUILD, "plugins/libcachetime.so,config=wells-2006,table=off")) as guest:
            counted = []
            for mark in (1, 2):
                guest.event_wait("VSCHED_MARK", timeout=30 * SLOWER,
                                 match={"data": {"number": mark}})
                guest.event_wait("STOP", timeout=30 * SLOWER)
                modes = [pcpu[mode] for pcpu in guest.cmd(
                    "plugin-command", plugin="cachetime", command="report")["pcpus"]
                         for mode in ("privileged", "user")]
                machine = guest.stats()["vm"]
                counted.append((
                    sum(mode[f"stall-{by}"] for mode in modes
                        for by in ("l2", "upgrade", "transfer", "l3", "memory")),
                    machine["vcpu-insns-privileged"] + machine["vcpu-insns-user"],
                    sum(mode[f"{l1}-misses-{kind}"] for mode in modes for l1 in ("l1i", "l1d")
                        for kind in ("compulsory", "capacity", "coherence"))))
                guest.cmd("cont")
        return [after - before for before, after in zip(*counted)]

    def test_caches(self):
        """Counters of the caches, of the work alone, against the plugin's own report."""
        with open(self.file, "w", encoding="utf-8") as file:
            file.write(textwrap.dedent(TINY).replace("limit =", "caches = \"wells-2006\"\nlimit =")
                       .replace('"time", "switches"', '"stall", "l1-misses"'))
        self.run_script("--no-plots", "--seeds", "1")
        with open(self.page, encoding="utf-8") as file:
            line = re.search(r"^sdb .*$", file.read(), re.MULTILINE)[0].split()
        cycles, insns, misses = self.stalls(1)
        self.assertGreater(misses, 100)
        self.assertEqual(line[3:], [f"{cycles / 1e6:.2f}", f"{1000 * misses / insns:.1f}"])

    def test_goes_on(self):
        """What has a result is not run again; a line cut short is."""
        done = self.run_script("--no-plots")
        self.assertIn("4 of 4", done.stderr)
        self.assertEqual(self.run_script("--no-plots").stderr, "")
        self.assertIn("4 of 4 runs have results", self.run_script("--list").stdout)
        with open(self.page, encoding="utf-8") as file:
            page = file.read()
        with open(self.results, "r+", encoding="utf-8") as file:
            lines = file.readlines()
            file.seek(0)
            file.truncate()
            file.write("".join(lines[:2]) + lines[2][:40])
        self.assertIn("2 of 4 runs have results", self.run_script("--list").stdout)
        # The runs are repeatable, so the table is the same again.
        self.assertIn("2 of 2", self.run_script("--no-plots").stderr)
        self.assertIn("4 of 4 runs have results", self.run_script("--list").stdout)
        with open(self.page, encoding="utf-8") as file:
            self.assertEqual(file.read(), page)

    def test_what_there_is(self):
        """--no-run: a table of the results that there are; --seeds: of some seeds only."""
        self.run_script("--no-plots", "--seeds", "1")
        with open(self.results, encoding="utf-8") as file:
            lines = file.readlines()
        self.assertEqual(len(lines), 2)
        with open(self.results, "w", encoding="utf-8") as file:
            file.writelines(line for line in lines if "sched=sdb" in line)
        self.assertEqual(self.run_script("--no-plots", "--no-run").stderr, "")
        with open(self.page, encoding="utf-8") as file:
            page = file.read()
        self.assertIn("0 to 1 seeds, not all of 2 have been run", page)
        self.assertRegex(page, r"\ntimeslice +-- +-- +-- +--\n")
        self.assertRegex(page, r"\nsdb +[\d.]+ +-- +[\d.]+ +[\d ]+\n")
        self.assertIn("allowed are 1 to 10",
                      self.run_script("--seeds", "11", "--list", status=1).stderr)

    def test_limit(self):
        """A run that is not over in time is no result, and says so in the table."""
        with open(self.file, "w", encoding="utf-8") as file:
            file.write(textwrap.dedent(TINY).replace("500ms", "40us").replace(
                "timeslice\"\n    ", ""))
        done = self.run_script("--no-plots")
        self.assertEqual(done.stderr.count("not over in 0.04 ms"), 4)
        with open(self.page, encoding="utf-8") as file:
            self.assertRegex(file.read(), r"\nsdb +-- +-- +-- +--\n")

    def plotted(self, plot, cases=1):
        """The declared experiment with a plot, and so many cases"""
        with open(self.file, "w", encoding="utf-8") as file:
            file.write(textwrap.dedent(TINY).replace("[tiny.cases]", f"plot = {{ {plot} }}\n"
                                                     "[tiny.cases]") + "".join(
                f'more{n} = {{ program = "ticket", arguments = "rounds={n}" }}\n'
                for n in range(1, cases)))
        return experiments.declared(self.file)["tiny"]

    def test_layout(self):
        """Of one case, columns are side by side; else each is a row."""
        two = 'file = "a.png", columns = ["time", "switches"]'
        self.assertEqual(figureplots.layout(self.plotted(two)),
                         [[("locks", "time"), ("locks", "switches")]])
        self.assertEqual(figureplots.layout(self.plotted(two, cases=2)),
                         [[("locks", "time"), ("more1", "time")],
                          [("locks", "switches"), ("more1", "switches")]])
        self.assertEqual(figureplots.layout(self.plotted('file = "a.png", column = "time"',
                                                         cases=3)),
                         [[("locks", "time"), ("more1", "time"), ("more2", "time")]])

    def test_wrong_plots(self):
        """Before anything runs"""
        for plot, why in (('file = "a.png"', "column or columns has to say what is drawn"),
                          ('file = "a.png", column = "time", columns = ["time"]',
                           "column or columns has to say what is drawn"),
                          ('file = "a.png", columns = ["time", "stall"]', "column stall is not "
                           "possible: allowed are instructions, instructions/, time, switches, "
                           "speedup"),
                          ('file = "a.png", row = "time"', "row is not possible: allowed are")):
            self.plotted(plot)
            self.assertIn(why, self.run_script(status=1).stderr)
            self.assertFalse(os.path.exists(self.results))

    def test_mistakes(self):
        with open(os.path.join(self.directory, "matplotlib.py"), "w", encoding="utf-8") as file:
            file.write("raise ModuleNotFoundError('not installed')\n")
        with open(self.file, "r+", encoding="utf-8") as file:
            text = file.read()
            file.seek(0)
            file.write(text.replace("[tiny.cases]", 'plot = { file = "a.png", column = "time" }\n'
                                                    "[tiny.cases]"))
        done = self.run_script(status=1, PYTHONPATH=self.directory)
        self.assertIn("'scripts/packages figures' installs Debian's python3-matplotlib, or says "
                      "what to install; --no-plots makes tables only", done.stderr)
        self.assertFalse(os.path.exists(self.results))
        for arguments, why in ((["large"], "no experiment large; there are: tiny"),
                               (["--file", self.page], "page.rst: "),
                               (["--no-plots", "--output", self.file], "'.. begin tiny' and "
                                "'.. end tiny' are there 0 times, and not once")):
            self.assertIn(why, self.run_script(*arguments, status=1).stderr)


if __name__ == "__main__":
    unittest.main()
