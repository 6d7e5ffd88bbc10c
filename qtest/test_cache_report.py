"""Reports of the cache model: the schema, scripts/cache-report on a run that is worked out by hand.

The run is that of plugin-cachetime/tests/test-cache-report.c, which writes its report and its
intervals.  The program whose symbols name its addresses is assembled here.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import copy
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

from support import QEMU_BUILD, TOP

sys.path.append(os.path.join(TOP, "scripts/lib"))
# pylint: disable=wrong-import-position
import cacheplots                                           # noqa: E402
import cachereports                                         # noqa: E402
# pylint: enable=wrong-import-position

SCRIPT = os.path.join(TOP, "scripts/cache-report")
SCHEMA = os.path.join(TOP, "plugin-cachetime/cache-report.schema.json")
SAMPLER = os.path.join(QEMU_BUILD, "contrib/plugins/cachetime/test-cache-report")

# VCPU 0 stores in writer_zero to its counter, VCPU 1 in writer_one to another that is in the same
# line of 64 bytes.
PROGRAM = """
    .text
    .org 0x100
    .type writer_zero, @function
    writer_zero: .skip 0x100
    .size writer_zero, 0x100
    .type writer_one, @function
    writer_one: .skip 0x100
    .size writer_one, 0x100
    .data
    .type zeros, @object
    zeros: .skip 32
    .size zeros, 32
    .type ones, @object
    ones: .skip 32
    .size ones, 32
"""


def setUpModule():
    global DIRECTORY, REPORT, INTERVALS, ELF           # pylint: disable=global-statement
    DIRECTORY = tempfile.TemporaryDirectory()          # pylint: disable=consider-using-with
    REPORT = os.path.join(DIRECTORY.name, "report.json")
    INTERVALS = REPORT + ".intervals"
    ELF = os.path.join(DIRECTORY.name, "program")
    subprocess.run([SAMPLER, "--sample", REPORT], check=True)
    subprocess.run(["as", "-o", ELF + ".o"], input=PROGRAM, text=True, check=True)
    subprocess.run(["ld", "-Ttext=0x400000", "-Tdata=0x600000", "-e", "0x400100", "-o", ELF,
                    ELF + ".o"], check=True)


def tearDownModule():
    DIRECTORY.cleanup()


def lines_of(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def report():
    with open(REPORT, encoding="utf-8") as f:
        return json.load(f)


def run(*args, where=None):
    return subprocess.run([SCRIPT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False, cwd=where)


class Schema(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        import jsonschema               # pylint: disable=import-outside-toplevel
        with open(SCHEMA, encoding="utf-8") as f:
            schema = json.load(f)
        jsonschema.Draft202012Validator.check_schema(schema)
        cls.validator = jsonschema.Draft202012Validator(schema)

    def test_valid(self):
        self.validator.validate(report())
        intervals = lines_of(INTERVALS)
        self.assertEqual(len(intervals), 2)
        for interval in intervals:
            self.validator.validate(interval)

    def test_invalid(self):
        """The schema says no to what a program that reads it could not understand."""
        def change(what):
            wrong = copy.deepcopy(report())
            what(wrong)
            return wrong
        site = ("attribution", "sharing", "top", 0, "sites", 0)

        def at(data, path):
            for key in path:
                data = data[key]
            return data
        for name, what in {
                "version": lambda r: r.update(version=2),
                "no machine": lambda r: r.pop("machine"),
                "no counter": lambda r: r["pcpus"][1]["user"].pop("l2-misses-coherence"),
                "unknown counter": lambda r: r["vms"][0]["user"].update(l4=1),
                "negative": lambda r: r["vcpus"][0]["user"].update(loads=-1),
                "mode": lambda r: at(r, site).update(mode="guest"),
                "program counter without VCPU": lambda r: at(r, site).pop("vcpu"),
                "address": lambda r: at(r, site).update(pc="400100"),
                "bit": lambda r: at(r, site)["writes"].append(64)}.items():
            self.assertFalse(self.validator.is_valid(change(what)), name)


class Report(unittest.TestCase):
    """Numbers by hand: see the head of test-cache-report.c."""

    def test_counters(self):
        r = report()
        zero, one, two = (v["privileged" if n < 2 else "user"] for n, v in enumerate(r["vcpus"]))
        self.assertEqual((zero["stores"], zero["served-by-memory"], zero["stall-memory"],
                          zero["served-by-transfer"], zero["stall-transfer"]),
                         (11, 1, 364, 10, 630))
        self.assertEqual((one["l2-misses-compulsory"], one["l2-misses-coherence"],
                          one["stall-transfer"]), (1, 10, 693))
        self.assertEqual((two["loads"], two["stall-memory"], two["memory-bytes"]),
                         (100, 36400, 6400))
        self.assertEqual(zero["mpki"], {"l1i": 0, "l1d": 11, "l2": 11, "l3": 1})
        self.assertEqual(two["mpki"]["l3"], 25)
        # 6400 bytes in 129,280 cycles
        self.assertEqual(two["memory-bytes-per-cycle"], 0.05)
        self.assertEqual(r["pcpus"][0]["lines-taken"], 11)
        self.assertEqual(r["pcpus"][1]["lines-taken"], 10)
        self.assertEqual([v["vm"] for v in r["vcpus"]], [0, 0, 1])
        self.assertEqual(r["configuration"]["memory"]["bandwidth"], 40)

    def test_attribution(self):
        a = report()["attribution"]
        self.assertEqual(a["stall"], {"l2": 0, "upgrade": 0, "transfer": 21 * 63, "l3": 0,
                                      "memory": 101 * 364})
        self.assertEqual([(p["pc"], p["mode"], sum(p["stall"].values()))
                          for p in a["program-counters"]["top"]],
                         [("0x500000", "user", 36400), ("0x400100", "privileged", 994),
                          ("0x400200", "privileged", 693)])
        self.assertEqual(a["lines"]["entries"], 101)
        self.assertEqual(a["lines"]["top"][0]["virtual"], "0x600000")
        line, = a["sharing"]["top"]
        self.assertEqual(line["misses"], {"true": 0, "false": 19, "undecided": 1, "unknown": 0,
                                          "upgrade": 0})
        self.assertEqual([(s["vcpu"], s["pcpus"], s["reads"], s["writes"], s["misses"]["false"])
                          for s in line["sites"]],
                         [(0, [0], [], [0], 10), (1, [1], [], [8], 9)])

    def test_sums(self):
        """PCPUs, VCPUs and VMs count the same; intervals add up to the report."""
        r = report()
        for mode in cachereports.MODES:
            sums = [sum((cachereports.both(item, (mode,)) for item in r[kind]),
                        start=cachereports.both({"x": {}}, ("x",)))
                    for kind in ("pcpus", "vcpus", "vms")]
            self.assertEqual(sums[0], sums[1])
            self.assertEqual(sums[0], sums[2])
            self.assertEqual(+sums[0], +cachereports.both(r["machine"], (mode,)))
            for n, vcpu in enumerate(r["vcpus"]):
                parts = sum((cachereports.both(i["vcpus"][n], (mode,))
                             for i in lines_of(INTERVALS)),
                            start=cachereports.both({"x": {}}, ("x",)))
                self.assertEqual(+parts, +cachereports.both(vcpu, (mode,)))


class Script(unittest.TestCase):
    def printed(self, *args):
        done = run(*args)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def row(self, text, end):
        """The cells of the line that ends so, or begins so."""
        line, = [line for line in text.splitlines()
                 if line.endswith(end) or line.startswith(f"{end} ")]
        return line.removesuffix(end).removeprefix(end).split()

    def test_named(self):
        text = self.printed(REPORT, "--symbols", ELF)
        self.assertEqual(self.row(text, "VCPU 0"),
                         "1000 0.00 11.00 11.00 1.00 994 0 0 63 0 37".split())
        self.assertEqual(self.row(text, "PCPU 1"),
                         "6000 0.00 18.50 18.50 16.67 37093 0 0 2 0 98".split())
        # Of 38,087 cycles in all
        self.assertEqual(self.row(text, "  writer_zero"), "994 2.6 % 0 0 63 0 37".split())
        self.assertEqual(self.row(text, "  writer_one"), "693 1.8 % 0 0 100 0 0".split())
        self.assertEqual(self.row(text, "  0x500000"), "36400 95.6 % 0 0 0 0 100".split())
        self.assertEqual(self.row(text, "  zeros, ones"), "1687 4.4 % 0 0 78 0 22".split())
        self.assertEqual(self.row(text, "false"), "19 1197 95.0 %".split())
        self.assertIn("0x600000 zeros, ones (privileged, VM 0): 19 misses of false sharing, "
                      "1197 cycles", text)
        self.assertRegex(text, r"\n +0 +0 +- +0 +10 +10 +0 +writer_zero +zeros\n")
        self.assertRegex(text, r"\n +1 +1 +- +8 +11 +9 +0 +writer_one +ones\n")

    def test_modes_apart(self):
        """A privileged program does not name what is in user mode, and the other way round."""
        text = self.printed(REPORT, "--user-symbols", ELF)
        self.assertEqual(self.row(text, "  0x400100"), "994 2.6 % 0 0 63 0 37".split())
        self.assertNotIn("writer_zero", text)

    def test_top(self):
        text = self.printed(REPORT, "--symbols", ELF, "--top", "1")
        # 38,087 less 36,400 and less 1687
        self.assertEqual(self.row(text[:text.index("stalls by data")], "  (all others)")[0],
                         "1687")
        self.assertEqual(self.row(text[text.index("stalls by data"):], "  (all others)")[0],
                         "36400")
        self.assertNotIn("stalls by", self.printed(REPORT, "--top", "0"))

    def test_cut(self):
        """What has no entry in the file is not lost."""
        r = report()
        del r["attribution"]["program-counters"]["top"][0]
        text = "\n".join(cachereports.summary(r, cachereports.Names([ELF], []), 15))
        self.assertEqual(self.row(text[:text.index("stalls by data")], "  (all others)")[0],
                         "36400")

    def test_switches(self):
        """Stalls that no instruction causes are said, where there are any."""
        self.assertNotIn("switches", self.printed(REPORT))
        r = report()
        r["machine"]["privileged"]["stall-l2"] += 490
        text = "\n".join(cachereports.summary(r, cachereports.Names([], []), 15))
        self.assertIn("\n490 cycles more, of VCPU switches, which no instruction causes\n", text)

    def test_left_out(self):
        """What a full table has dropped is said, where there is any."""
        text = self.printed(REPORT)
        self.assertNotRegex(text, "left out|forgotten")
        r = report()
        r["attribution"]["lines"].update({"dropped": 3, "error": 77})
        r["attribution"]["lines"]["dropped-costs"]["stall"].update({"l3": 54, "memory": 364})
        r["attribution"]["sharing"]["dropped"] = 5
        text = "\n".join(cachereports.summary(r, cachereports.Names([], []), 15))
        self.assertIn("\n3 lines were left out, with 418 cycles; none of the others lost more than "
                      "77\n", text[text.index("stalls by data"):])
        self.assertNotIn("instructions were left out", text)
        self.assertIn("\n5 lines that others stored to were forgotten\n", text)

    def test_instructions(self):
        r = report()
        r["attribution"]["program-counters"]["top"][1]["pc"] = "0x400114"
        text = "\n".join(cachereports.summary(r, cachereports.Names([ELF], []), 15, True))
        self.assertEqual(self.row(text, "  writer_zero+0x14")[0], "994")

    def test_csv(self):
        out = os.path.join(DIRECTORY.name, "out.csv")
        self.printed(REPORT, "--csv", out)
        with open(out, encoding="utf-8", newline="") as f:
            reader = csv.DictReader(f)
            rows, columns = list(reader), reader.fieldnames
        # PCPUs, VCPUs and VMs, two modes each
        self.assertEqual(len(rows), 2 * (2 + 3 + 2))
        row, = [r for r in rows if (r["object"], r["number"], r["mode"]) == ("vcpu", "2", "user")]
        self.assertEqual((row["begin"], row["end"], row["vm"], row["instructions"], row["l3-mpki"],
                          row["stall-memory"]), ("0", "129280", "1", "4000", "25.000", "36400"))
        self.printed(INTERVALS, "--csv", out)
        with open(out, encoding="utf-8", newline="") as f:
            reader = csv.DictReader(f)
            rows = list(reader)
        self.assertEqual(reader.fieldnames, columns)
        self.assertEqual(len(rows), 2 * 2 * (2 + 3))
        row = [r for r in rows if (r["object"], r["number"], r["mode"]) == ("vcpu", "2", "user")]
        self.assertEqual([(r["begin"], r["end"], r["loads"], r["instructions"]) for r in row],
                         [("0", "30000", "0", "0"), ("30000", "129280", "100", "4000")])

    def test_csv_on_standard_output(self):
        """All that is there is the CSV."""
        out = os.path.join(DIRECTORY.name, "out.csv")
        self.printed(REPORT, "--csv", out)
        with tempfile.TemporaryDirectory() as empty:
            done = run(os.path.abspath(REPORT), "--csv", "-", where=empty)
            self.assertEqual(os.listdir(empty), [])
        with open(out, encoding="utf-8") as f:
            self.assertEqual((done.returncode, done.stdout), (0, f.read()))

    def test_intervals(self):
        text = self.printed(INTERVALS).splitlines()
        self.assertEqual([line.split()[:2] + line.split()[7:8] for line in text[1:]],
                         [["0.000000", "0.030000", "1687"], ["0.030000", "0.129280", "36400"]])

    def test_plots(self):
        bars = cacheplots.bars(report())
        # 364 + 630 cycles of 1000 instructions; 36,400 of 4000
        self.assertAlmostEqual(bars["VCPU 0"]["memory"], 0.364)
        self.assertAlmostEqual(bars["VCPU 0"]["transfer"], 0.63)
        self.assertAlmostEqual(bars["VM 1"]["memory"], 9.1)
        # 2 PCPUs, 30,000 cycles: 364 of 60,000; 99,280 cycles: 36,400 of 198,560
        first, second = cacheplots.shares(lines_of(INTERVALS))
        self.assertAlmostEqual(first["memory"], 100 * 364 / 60000)
        self.assertAlmostEqual(first["transfer"], 100 * 1323 / 60000)
        self.assertAlmostEqual(second["memory"], 100 * 36400 / 198560)
        # off from 0.03 ms to 0.05 ms
        first, second = lines_of(INTERVALS)
        second["begin"] = 50000
        edges, values = cacheplots.steps([first, second])
        self.assertEqual(edges, [0, 0.03, 0.05, 0.12928])
        self.assertEqual([sum(value.values()) > 0 for value in values], [True, False, True])
        for source in REPORT, INTERVALS:
            out = os.path.join(DIRECTORY.name, "out.png")
            self.printed(source, "--plot", out)
            with open(out, "rb") as f:
                self.assertEqual(f.read(8), b"\x89PNG\r\n\x1a\n")
            os.unlink(out)

    def refuse(self, says, *args):
        done = run(*args)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertRegex(done.stderr, says)

    def test_refused(self):
        bad = os.path.join(DIRECTORY.name, "bad")
        cases = {"": "is no report of caches",
                 "{": "is no report of caches: it is not JSON",
                 "[]": "allowed are files whose format is cmp8-caches",
                 '{"format": "cmp8-profile"}': "allowed are files whose format is cmp8-caches",
                 '{"format": "cmp8-caches", "version": 2}': "is of version 2: allowed is 1",
                 '{"format": "cmp8-caches", "version": 1}': "is a damaged report of caches"}
        for text, says in cases.items():
            with open(bad, "w", encoding="utf-8") as f:
                f.write(text)
            self.refuse(says, bad)
        os.unlink(bad)
        self.refuse("No such file", bad)
        self.refuse("there is no such file", REPORT, "--symbols", bad)
        for option in "--csv", "--plot":
            self.refuse("cannot be written: No such file or directory", REPORT, option,
                        os.path.join(bad, "out.png"))
        self.refuse("--plot -: .* allowed is the name of a file", REPORT, "--plot", "-")
        self.assertEqual(run(REPORT, "--top", "-1").returncode, 2)


class Manual(unittest.TestCase):
    def test_counters(self):
        """The manual has every member of the counters of a report, and no other."""
        with open(SCHEMA, encoding="utf-8") as f:
            known = set(json.load(f)["$defs"]["counters"]["properties"])
        with open(os.path.join(TOP, "docs/cache-reports.rst"), encoding="utf-8") as f:
            table = f.read().split(".. counters", 1)[1].split("\n\n", 2)[1]
        told = set()
        for name in re.findall(r"``([a-z0-9-]+)``", "\n".join(
                line[:36] for line in table.splitlines())):
            told.add(name)
        self.assertEqual(told, known)


if __name__ == "__main__":
    unittest.main()
