"""scripts/vm-stat over time: intervals as text, CSV and JSON, and the full-screen view.

Differences of counters have to add up to what QMP says at the end.  Who ran where is compared
with a trace of the same run.  The view runs on a pseudo-terminal whose screen a small interpreter
of VT100 sequences keeps.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import collections
import csv
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import tempfile
import termios
import threading
import time
import types
import unittest

from support import SLOWER, TOP, Guest, x86_image
from test_determinism import qcow2
from test_save import end, program, snapshot
from test_vms import of_kind, read_trace

# pylint: disable=wrong-import-order
import top                                                  # support.py knows where it is
from intervals import Machine
from intervaltables import short
# pylint: enable=wrong-import-order

VM_STAT = os.path.join(TOP, "scripts/vm-stat")
MACHINE = "cmp8,vcpus=24"
MS = 1000 * 1000
LONG = ("ticket", "rounds=1000000")             # a program that no test waits for


class Numbers(unittest.TestCase):
    """Without a machine."""

    def test_short(self):
        for number, text in ((0, "0"), (99999, "99999"), (100000, "100k"), (999400, "999k"),
                             (999600, "1.0M"), (12.34e6, "12.3M"), (5e9, "5.0G")):
            self.assertEqual(short(number), text)


class Watched(unittest.TestCase):
    timeout = 120

    def directory(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        return directory.name

    def start(self, *arguments, **options):
        """A guest with another QMP socket, its path."""
        path = os.path.join(self.directory(), "qmp")
        guest = Guest("-S", *arguments, "-qmp", f"unix:{path},server=on,wait=off", **options)
        guest.launch()
        self.addCleanup(guest.__exit__, None, None, None)
        return guest, path

    def vm_stat(self, *arguments):
        process = subprocess.Popen([VM_STAT, *arguments], text=True, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)

        def finish():
            process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()

        self.addCleanup(finish)
        return process

    def result(self, process, status=0):
        # Not communicate(): what is in the buffer of stdout would be lost.
        out, err = process.stdout.read(), process.stderr.read()
        self.assertEqual(process.wait(timeout=60 * SLOWER), status, err)
        self.assertNotIn("Traceback", err)
        return out, err


class Intervals(Watched):
    def check_chain(self, moments):
        """Each interval begins where the one before ended."""
        for (_, before), (start, _) in zip(moments, moments[1:]):
            self.assertEqual(start, before)

    def check_sums(self, intervals, stats):
        """Of counters; a peak is the last one.  Histograms are no columns."""
        for name, value in stats.items():
            if "[" not in name:
                values = [int(i[name]) for i in intervals]
                self.assertEqual(max(values) if "longest-wait" in name else sum(values), value,
                                 name)

    def test_csv(self):
        """Simulated time, a static map: every cycle of a PCPU is a VCPU's; nothing is lost; and
        a run that is watched is the run that nobody watched."""
        arguments = program("mcs", MACHINE + ",vms=8+16", "rounds=600")
        with Guest(*arguments) as guest:
            alone = end(guest)
        guest, path = self.start(*arguments)
        process = self.vm_stat("--csv", "--interval", "2ms", path)
        names = process.stdout.readline().strip().split(",")
        guest.cmd("cont")
        self.assertEqual(end(guest), alone)
        out, _ = self.result(process)
        rows = list(csv.DictReader(out.splitlines(), names))
        stats = guest.stats()
        sums = collections.defaultdict(collections.Counter)
        moments = []
        for row in rows:
            values = {n: int(row[n]) for n in names
                      if n not in ("host-start", "host-end", "policy")}
            self.assertEqual(row["policy"], "sdb slice=100us")
            sums[values["pcpu"]].update(values)
            ran = {v: values[f"vcpu[{v}]"] for v in range(24)}
            self.assertEqual(sum(ran.values()), values["busy"] + values["stalled"])
            # Where VCPUs belong, by the static map: VMs begin at PCPU 0 (docs/policies).
            self.assertLessEqual({v for v, cycles in ran.items() if cycles},
                                 {v for v in range(24) if v % 8 == values["pcpu"]})
            if values["pcpu"] == 0:
                moments.append((values["start"], values["end"]))
        self.check_chain(moments)
        self.assertEqual(moments[0][0], 0)
        self.assertEqual(moments[-1][1], stats["vm"]["time"])
        self.assertGreater(len(moments), 1)
        for k, (start, stop) in enumerate(moments[:-1]):
            # It ends at or after the first multiple of 2 ms after its start.
            self.assertGreaterEqual(stop, (start // (2 * MS) + 1) * 2 * MS, k)
        vcpus = of_kind(stats, "vcpu")
        for p, values in of_kind(stats, "pcpu").items():
            for name, value in values.items():
                self.assertEqual(sums[p][name], value, (p, name))
        for v, values in vcpus.items():
            self.assertEqual(sum(sums[p][f"vcpu[{v}]"] for p in range(8)),
                             values["running-useful"] + values["running-spinning"])

    def test_json(self):
        """Host time, a policy that moves VCPUs: all counters add up, and shares agree with a
        trace to the cycle."""
        log = os.path.join(self.directory(), "trace")
        guest, path = self.start(
            *program("search", MACHINE + ",sched=balance,slice=20us", "limit=60000 vcpus=13"),
            *(w for e in ("run", "preempt", "block") for w in ("-trace", f"vsched_{e}")),
            "-D", log)
        process = self.vm_stat("--json", "--host-interval", "300ms", path)
        first = json.loads(process.stdout.readline())
        self.assertEqual((first["start"], first["end"], first["status"]), (0, 0, "prelaunch"))
        guest.cmd("cont")
        end(guest)
        out, _ = self.result(process)
        intervals = [json.loads(line) for line in out.splitlines()]
        stats = guest.stats()
        self.check_chain([(i["start"], i["end"]) for i in intervals])
        for kind in ("pcpu", "vcpu"):
            for n, values in of_kind(stats, kind).items():
                self.check_sums([i[kind + "s"][n] for i in intervals], values)
        self.check_sums([i["vm"] for i in intervals], stats["vm"])
        self.check_shares(intervals, list(read_trace(log)),
                          {p: v["clock"] for p, v in of_kind(stats, "pcpu").items()})

    def check_shares(self, intervals, events, clocks):
        on, spans = {}, collections.defaultdict(list)       # of a PCPU: (VCPU, from, to)
        for e in events:
            if e.kind == "run":
                self.assertNotIn(e.pcpu, on)
                on[e.pcpu] = (e.vcpu, e.now)
            elif e.pcpu in on and on[e.pcpu][0] == e.vcpu:
                spans[e.pcpu].append((*on.pop(e.pcpu), e.now))
        for p, begun in on.items():
            spans[p].append((*begun, clocks[p]))
        clock = collections.Counter()
        several = 0
        for interval in intervals:
            on = collections.Counter()
            for p, pcpu in enumerate(interval["pcpus"]):
                begin, stop = clock[p], clock[p] + pcpu["clock"]
                clock[p] = stop
                traced = collections.Counter()
                for v, since, until in spans[p]:
                    if since < stop and until > begin:
                        traced[v] += min(until, stop) - max(since, begin)
                for share in pcpu["vcpus"]:
                    self.assertAlmostEqual(share["percent"], 100 * share["cycles"] / pcpu["clock"],
                                           places=3)
                self.assertEqual({s["vcpu"]: s["cycles"] for s in pcpu["vcpus"]},
                                 {v: cycles for v, cycles in traced.items() if cycles})
                self.assertEqual(sum(traced.values()), pcpu["busy"] + pcpu["stalled"])
                on.update(s["vcpu"] for s in pcpu["vcpus"])
            several += sum(pcpus > 1 for pcpus in on.values())
            for v, vcpu in enumerate(interval["vcpus"]):
                self.assertEqual(sum(s["cycles"] for p in interval["pcpus"] for s in p["vcpus"]
                                     if s["vcpu"] == v),
                                 vcpu["running-useful"] + vcpu["running-spinning"])
        self.assertGreater(several, 0)          # or no VCPU moved, and nothing was shown

    def test_text(self):
        """Parts of a total add up to it, as far as one decimal goes."""
        guest, path = self.start(*program(LONG[0], MACHINE + ",vms=8+16,offline=7", LONG[1]))
        guest.cmd("cont")
        out, _ = self.result(self.vm_stat("--interval", "3ms", "--count", "2", path))
        self.assertEqual(guest.cmd("query-status")["status"], "running")
        tables = out.strip().split("\n\n")
        self.assertEqual(len(tables), 2)
        for table in tables:
            head, names, *lines = table.splitlines()
            self.assertRegex(head, r"^[\d.]+ ms to [\d.]+ ms \([\d.]+ ms, host [\d.]+ s\), "
                             r"sdb slice=100us$")
            self.assertEqual(names, "PCPU   Total  switch    idle     off  Virtual CPUs")
            self.assertTrue(all(len(line) <= 80 for line in lines))
            rows = []                   # lines that begin with blanks go on
            for line in lines:
                rows.append(line) if line[:4].strip() else rows.append(rows.pop() + line)
            self.assertEqual(len(rows), 8)
            for p, row in enumerate(rows):
                found = re.match(r" +(\d+) \[([\d.]+)\] +([\d.]+) +([\d.]+) +([\d.]+)", row)
                total, *rest = map(float, found.groups()[1:])
                self.assertEqual(int(found.group(1)), p)
                self.assertAlmostEqual(total + sum(rest), 100, delta=0.2)
                self.assertEqual(rest[2], 100 if p == 7 else 0)
                shares = re.findall(r" d(\d)-(\d+)\[([\d.]+)\]", row)
                self.assertAlmostEqual(sum(float(s) for *_, s in shares), total,
                                       delta=0.05 * (len(shares) + 1) + 0.001)
                self.assertTrue(all((int(v) >= 8) == int(d) for d, v, _ in shares))
        out, _ = self.result(self.vm_stat("--host-interval", "50ms", "--count", "1", "--of",
                                          "vcpus", path))
        lines = out.strip().splitlines()[2:]
        self.assertEqual([line.split()[:2] for line in lines],
                         [["01"[v >= 8], str(v)] for v in range(24)])
        for line in lines:
            self.assertAlmostEqual(sum(map(float, line.split()[3:8])), 100, delta=0.3)

    def test_vcpus_as_csv(self):
        guest, path = self.start(*program("mcs", MACHINE, "rounds=100"))
        process = self.vm_stat("--csv", "--of", "vcpus", "--interval", "100ms", path)
        names = process.stdout.readline().strip().split(",")
        guest.cmd("cont")
        end(guest)
        out, _ = self.result(process)
        rows = list(csv.DictReader(out.splitlines(), names))
        for v, values in of_kind(guest.stats(), "vcpu").items():
            self.check_sums([row for row in rows if int(row["vcpu"]) == v], values)

    def test_at_end(self):
        """QEMU ends after the guest, with what the guest did printed; not before."""
        guest, path = self.start(*program("mcs", MACHINE, "rounds=5"))
        options = ("--at-end", "--csv", "--interval", "1000s", path)
        process = self.vm_stat(*options)
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        self.assertEqual(self.result(process)[0], "")
        process = self.vm_stat(*options)
        process.stdout.readline()
        guest.cmd("cont")
        self.assertEqual(len(self.result(process)[0].splitlines()), 8)
        self.assertEqual(guest.wait_exit(20), 0)

    def test_ends(self):
        """By a signal, with what is in hand; by a reader that has enough; with QEMU."""
        guest, path = self.start(*program(LONG[0], MACHINE, LONG[1]))
        process = self.vm_stat("--csv", "--interval", "1000s", path)
        process.stdout.readline()
        guest.cmd("cont")
        while guest.cmd("query-vsched")["time"] < MS:
            pass
        process.send_signal(signal.SIGTERM)
        out, _ = self.result(process)
        self.assertEqual(len(out.splitlines()), 8)
        self.assertEqual(guest.cmd("query-status")["status"], "running")

        # A signal while it waits for somebody who reads: nothing is lost.
        process = self.vm_stat("--json", "--host-interval", "20ms", path)
        before = json.loads(process.stdout.readline())["end"]
        while guest.cmd("query-vsched")["time"] < before + 5 * MS:
            pass
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        out, _ = self.result(process)
        self.assertTrue(all(json.loads(line)["end"] for line in out.splitlines()))

        process = self.vm_stat("--csv", "--host-interval", "10ms", path)
        process.stdout.readline()
        process.stdout.close()
        process.wait(timeout=20 * SLOWER)
        self.assertEqual((process.returncode, process.stderr.read()), (0, ""))
        self.assertEqual(guest.cmd("query-status")["status"], "running")

        process = self.vm_stat("--csv", "--interval", "1000s", path)
        process.stdout.readline()
        guest.cmd("quit")
        _, err = self.result(process, status=1)
        self.assertRegex(err, r"^QEMU ended: what came after [\d,]+ ns is missing\n$")

    def test_saved_state(self):
        """Time goes back: that interval cannot be told, those before and after it are."""
        disk = os.path.join(self.directory(), "disk")
        qcow2(disk, 4)
        guest, path = self.start(
            *program(LONG[0], MACHINE, LONG[1]), "-blockdev",
            f"driver=qcow2,node-name=disk,file.driver=file,file.filename={disk}")
        snapshot(guest, "save", "then", ["disk"])
        process = self.vm_stat("--json", "--host-interval", "100ms", path)

        def read_until(what):
            intervals = []
            while not intervals or not what(intervals[-1]):
                intervals.append(json.loads(process.stdout.readline()))
            return intervals

        guest.cmd("cont")
        before = read_until(lambda i: i["end"] > 5 * MS)
        snapshot(guest, "load", "then", ["disk"])
        guest.cmd("cont")
        later = read_until(lambda i: i["start"] < before[-1]["end"])[-1:]
        later += read_until(lambda i: i["end"] > later[0]["end"])
        process.send_signal(signal.SIGTERM)
        out, err = self.result(process)
        later += [json.loads(line) for line in out.splitlines()]
        self.check_chain([(i["start"], i["end"]) for i in before])
        self.check_chain([(i["start"], i["end"]) for i in later])
        found = re.match(r"vm-stat: a saved state was loaded: time went from ([\d,]+) ns to "
                         r"([\d,]+) ns\n$", err)
        left, reached = (int(n.replace(",", "")) for n in found.groups())
        self.assertGreaterEqual(left, before[-1]["end"])
        self.assertEqual(later[0]["start"], reached)

    def test_without_the_engine(self):
        _, path = self.start("-nodefaults", "-M", "sun4u")
        for options in (("--interval", "1ms"), ("--host-interval", "1s", "--json")):
            _, err = self.result(self.vm_stat(*options, path), status=1)
            self.assertRegex(err, "^error: .*-accel tcg,thread=vsched")

    def test_bad_options(self):
        for options, says in (
                (("--interval", "10"), "10 is no length of an interval: allowed are numbers"),
                (("--interval", "0ms"), "0ms is no length"), (("--host-interval", "s"), "s is no"),
                (("--interval", "1ms", "--count", "0"), "allowed are 1 and more"),
                (("--csv",), "need --interval or --host-interval"),
                (("--interval", "1s", "--host-interval", "1s"), "not allowed with"),
                (("--interval", "1s", "--csv", "--json"), "not allowed with"),
                (("--interval", "1s", "--json", "--of", "vcpus"), "--of goes with tables and"),
                (("--top", "--of", "vcpus"), "--top goes with --host-interval only"),
                (("--top", "--csv"), "--top goes with --host-interval only")):
            _, err = self.result(self.vm_stat(*options, "/nonexistent"), status=2)
            self.assertIn(says, err)
        _, err = self.result(self.vm_stat("/nonexistent"), status=1)
        self.assertEqual(err, "error: /nonexistent: No such file or directory; a QEMU with -qmp "
                              "unix:/nonexistent,server=on,wait=off is needed\n")
        _, err = self.result(self.vm_stat("--top", "/nonexistent"), status=1)
        self.assertEqual(err, "error: --top needs a terminal\n")


class Views(unittest.TestCase):
    """What fits on a terminal of 80 columns and 24 lines."""

    def test_help(self):
        lines = top.HELP.splitlines()
        self.assertLessEqual(len(lines), 23)
        self.assertLessEqual(max(map(len, lines)), 79)

    def test_speeds(self):
        """A cell has 15 characters: two digits, a percentage or nothing, a VCPU, a ratio."""
        view = top.Top.__new__(top.Top)
        view.pcpu, said = 0, []
        view.counted = lambda *_: {"clock": 100, "busy": 100, "stalled": 0, "skipped": 0}
        view.put = lambda y, text, *_: said.append(text)
        for speed, vcpu, cell in (("1", 23, "63 100% v23"), ("1/2", 23, "63 100% v23 1/2"),
                                  ("1/10", 23, "63 v23 1/10"), ("998/999", 23, "63 v23 998/999"),
                                  ("1/2", None, "63 idle 1/2"), ("1", None, "63 100% idle")):
            view.latest = types.SimpleNamespace(info={"pcpus": [
                {"pcpu": 63, "online": True, "speed": speed,
                 **({} if vcpu is None else {"vcpu": vcpu})}]})
            view.draw_pcpus(0, 24, 80)
            self.assertEqual(said.pop(), f"{cell:15}")


class Caches(unittest.TestCase):
    """Columns of the cache-timing plugin, of a machine that is made up."""

    COUNTERS = {"running-useful": 600, "running-spinning": 200, "ready": 100, "blocked": 50,
                "switching": 50, "spin-periods": 1, "switched-in": 2, "migrations": 3,
                "cross-calls-refused": 4, "insns-user": 300, "insns-privileged": 200}
    # 80 of 800 cycles; 7 misses of 500 instructions
    PLUGIN = {"cachetime.user-stall-l2": 50, "cachetime.privileged-stall-memory": 30,
              "cachetime.user-wait-memory": 9, "cachetime.user-l2-misses-coherence": 3,
              "cachetime.privileged-l2-misses-capacity": 4, "cachetime.user-l1d-misses-capacity": 99}

    # 40 of 800 cycles; 10 misses of 500 instructions
    PAGING = {"paging-cycles-walks-user": 30, "paging-cycles-io-privileged": 10,
              "paging-itlb-misses-user": 1, "paging-itlb-misses-privileged": 2,
              "paging-dtlb-misses-user": 3, "paging-dtlb-misses-privileged": 4,
              "paging-dtlb-l1-misses-user": 99}

    def lines(self, plugin, width, counters=COUNTERS, paging=False):
        view = top.Top.__new__(top.Top)
        view.machine = types.SimpleNamespace(caches=bool(plugin), paging=paging,
                                             clock_hz=1000)
        view.totals, view.first = True, 0
        view.last = view.latest = types.SimpleNamespace(
            info={"vcpus": [{"vcpu": 0, "vm": 0, "pcpu": 1, "state": "ready", "spinning": False}]},
            vcpus={0: {**counters, **plugin}})
        out = {}
        view.put = lambda y, text, *_: out.update({y: text})
        view.draw_vcpus(0, 24, width)
        return out[1].split(), out[2].split(), max(map(len, out.values()))

    def test_columns(self):
        usual = ["0", "0", "1", "ready", "60.0", "20.0", "10.0", "5.0", "5.0", "1", "2"]
        for plugin, width, heads, cells in (
                ({}, 80, ["migr", "refused"], ["3", "4"]),
                (self.PLUGIN, 80, ["stall", "mpki"], ["10.0", "14.0"]),
                (self.PLUGIN, 91, ["stall", "mpki"], ["10.0", "14.0"]),
                (self.PLUGIN, 92, ["migr", "refused", "stall", "mpki"],
                 ["3", "4", "10.0", "14.0"])):
            head, line, length = self.lines(plugin, width)
            self.assertEqual(head, "VCPU VM PCPU state useful spin ready block swtch spins "
                             "switch".split() + heads)
            self.assertEqual(line, usual + cells)
            self.assertLess(length, width)

    def test_paging(self):
        """The paging model's columns are as the plugin's, before them if both are there."""
        counters = {**self.COUNTERS, **self.PAGING}
        for plugin, width, cells in (({}, 80, ["1", "2", "5.0", "20.0"]),
                                     ({}, 92, ["3", "4", "5.0", "20.0"]),
                                     (self.PLUGIN, 103, ["5.0", "20.0", "10.0", "14.0"]),
                                     (self.PLUGIN, 104, ["5.0", "20.0", "10.0", "14.0"])):
            head, line, length = self.lines(plugin, width, counters, True)
            self.assertEqual(line[-4:], cells)
            self.assertEqual("refused" in head, width in (92, 104))
            self.assertLess(length, width)

    def test_nothing_ran(self):
        _, line, _ = self.lines(dict.fromkeys(self.PLUGIN, 0), 80, dict.fromkeys(self.COUNTERS, 0))
        self.assertEqual(line[-2:], ["-", "-"])

    def test_read(self):
        """Statistics of both providers come together by the objects' paths."""
        class Library:
            ExecuteError = ValueError

        def cmd(name, provider=None, target=None, providers=(), **_):
            provider = provider or (providers and providers[0]["provider"])
            if name == "query-stats-schemas":
                return [{"stats": [{"name": n, "type": "cumulative"} for n in known[provider]]}]
            if name == "query-stats" and target == "vcpu":
                return [{"qom-path": "/machine/vcpu[0]", "stats": [
                    {"name": n, "value": v} for n, v in known[provider].items()]}]
            return {"query-vsched": {"time": 5, "vcpus": [{}]}, "query-stats": [
                {"stats": [{"name": "time", "value": 5}]}]}.get(name, "/machine/vcpu[0]")
        known = {"vsched": {"ready": 1, "running-on": [1, 2]},
                 "plugin": {"cachetime.user-loads": 7, "other.loads": 8}}
        machine = Machine(types.SimpleNamespace(cmd=cmd, library=Library))
        self.assertTrue(machine.caches)
        self.assertEqual(machine.look("running").vcpus, {0: {"ready": 1, "cachetime.user-loads": 7}})
        known["plugin"] = {"other.loads": 8}
        machine = Machine(types.SimpleNamespace(cmd=cmd, library=Library))
        self.assertFalse(machine.caches)
        self.assertEqual(machine.look("running").vcpus, {0: {"ready": 1}})


class Screen:
    """What a VT100 shows, as far as ncurses asks for it; anything else is an error."""

    SEQUENCE = re.compile(r"\x1b(?:\[(\?)?([\d;]*)([A-Za-z])|[()][A-Z0-9]|[=>78]|(M))")

    def __init__(self, lines, columns):
        self.resize(lines, columns)
        self.pending = ""

    def resize(self, lines, columns):
        self.lines, self.columns = lines, columns
        self.cells = [[" "] * columns for _ in range(lines)]
        self.y = self.x = 0
        self.top, self.bottom = 0, lines - 1            # what scrolls

    @property
    def text(self):
        return "\n".join("".join(row).rstrip() for row in self.cells)

    def feed(self, text):
        text, self.pending = self.pending + text, ""
        at = 0
        while at < len(text):
            char = text[at]
            if char == "\x1b":
                found = self.SEQUENCE.match(text, at)
                if not found:
                    if len(text) - at > 20:
                        raise AssertionError(f"no sequence of a VT100: {text[at:at + 20]!r}")
                    self.pending = text[at:]
                    return
                self.obey(*found.groups())
                at = found.end()
                continue
            at += 1
            if char == "\r":
                self.x = 0
            elif char == "\n":
                if self.y == self.bottom:
                    self.scroll(self.top, self.bottom)
                else:
                    self.y += 1
            elif char == "\b":
                self.x = max(0, self.x - 1)
            elif char == "\t":
                self.x = min(self.columns - 1, self.x // 8 * 8 + 8)
            elif char >= " ":
                if self.x < self.columns and self.y < self.lines:
                    self.cells[self.y][self.x] = char
                self.x += 1

    def scroll(self, leaves, comes):
        self.cells.pop(leaves)
        self.cells.insert(comes, [" "] * self.columns)

    def obey(self, private, numbers, letter, back):
        if back and self.y == self.top:
            self.scroll(self.bottom, self.top)
        elif back:
            self.y -= 1
        if private or letter in (None, "m"):
            return                      # modes, fonts, character sets
        given = [int(n) if n else 0 for n in numbers.split(";")]
        count = max(1, given[0])
        if letter == "H":
            self.y, self.x = max(1, given[0]) - 1, max(1, (given + [1])[1]) - 1
        elif letter == "r":
            self.top = max(1, given[0]) - 1
            self.bottom = ((given + [0])[1] or self.lines) - 1
            self.y = self.x = 0
        elif letter in "ABCD":
            self.y += {"A": -count, "B": count}.get(letter, 0)
            self.x += {"D": -count, "C": count}.get(letter, 0)
        elif letter == "K":
            first, last = {0: (self.x, self.columns), 1: (0, self.x + 1),
                           2: (0, self.columns)}[given[0]]
            self.cells[self.y][first:last] = [" "] * (last - first)
        elif letter == "J" and given[0] == 2:
            self.cells = [[" "] * self.columns for _ in range(self.lines)]
        elif letter == "J" and given[0] == 0:
            self.cells[self.y][self.x:] = [" "] * (self.columns - self.x)
            for y in range(self.y + 1, self.lines):
                self.cells[y] = [" "] * self.columns
        else:
            raise AssertionError(f"no sequence of a VT100 that is known here: {numbers}{letter}")


class Terminal:
    """A program on a terminal of its own."""

    KEYS = {"UP": "\x1bOA", "DOWN": "\x1bOB", "RIGHT": "\x1bOC", "LEFT": "\x1bOD",
            "ENTER": "\r", "ESC": "\x1b", "CTRL-U": "\x15"}

    def __init__(self, *command, lines=24, columns=80):
        self.master, self.slave = pty.openpty()
        self.screen = Screen(lines, columns)
        self.set_size(lines, columns)
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(command, stdin=self.slave, stdout=self.slave,
                                        stderr=self.slave, start_new_session=True,
                                        env={**os.environ, "TERM": "vt100", "LINES": "",
                                             "COLUMNS": ""})
        self.fault, self.raw, self.closing = None, "", False
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def set_size(self, lines, columns):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, lines, columns):
        self.screen.resize(lines, columns)
        self.set_size(lines, columns)
        self.process.send_signal(signal.SIGWINCH)

    def read(self):
        try:
            while not self.closing:
                if select.select([self.master], [], [], 0.1)[0]:
                    text = os.read(self.master, 65536).decode()
                    self.raw += text
                    self.screen.feed(text)
        except Exception as fault:      # pylint: disable=broad-except
            self.fault = fault

    def press(self, *keys):
        for key in keys:
            os.write(self.master, self.KEYS.get(key, key).encode())
            time.sleep(0.2 if key == "ESC" else 0)      # no sequence of a key

    def wait(self, pattern, timeout=20):
        """Until the screen matches; the match."""
        deadline = time.monotonic() + timeout * SLOWER
        while True:
            text = self.screen.text
            found = re.search(pattern, text)
            if found:
                return found
            if self.fault:
                raise self.fault
            if time.monotonic() > deadline:
                raise AssertionError(f"no {pattern!r} in {timeout} s on the screen:\n{text}")
            time.sleep(0.02)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.closing = True
        self.reader.join()
        os.close(self.master)
        os.close(self.slave)


class TopView(Watched):
    def show(self, machine=MACHINE, **size):
        guest, path = self.start(*program(LONG[0], machine, LONG[1]))
        guest.cmd("cont")
        terminal = Terminal(VM_STAT, "--top", "--host-interval", "200ms", path, **size)
        self.addCleanup(terminal.close)
        terminal.wait(r"running  every 0\.2 s")
        return guest, terminal

    def check_left(self, terminal, status, says=""):
        """The program is over and the terminal is as it was."""
        self.assertEqual(terminal.process.wait(timeout=20 * SLOWER), status)
        terminal.wait(says + r"\s*$")
        self.assertEqual(termios.tcgetattr(terminal.slave), terminal.before)
        self.assertNotIn("Traceback", terminal.raw)

    def test_keys(self):
        """80x24: what keys do, QMP confirms."""
        guest, terminal = self.show()

        def query():
            return guest.cmd("query-vsched")

        terminal.wait(r"policy sdb slice=100us, longest wait 202,662 ns\n 0 +\d+% v(0|8|16) ")
        terminal.wait(r"\n   0  0    0 \w+\*? +[\d.]+ +[\d.]+ +[\d.]+ ")
        self.assertRegex(terminal.screen.text.splitlines()[-1], "q:quit .* h:help$")
        self.assertLess(max(map(len, terminal.screen.text.splitlines())), 80)
        # Another policy, from the list.
        terminal.press("p")
        terminal.wait(r"\* sdb +static map; a spin ends the timeslice")
        names = [p["name"] for p in guest.cmd("query-vsched-policies")]
        steps = names.index("timeslice") - names.index("sdb")
        terminal.press(*["DOWN"] * steps + ["UP"] * -steps, "ENTER")
        terminal.wait(r"policy timeslice slice=100us(?s:.)*\npolicy timeslice\n")
        self.assertEqual(query()["policy"], "timeslice")
        # A parameter; what is refused is said, and nothing changes.
        terminal.press("s")
        terminal.wait(r"slice +100us +timeslice of a VCPU\n")
        terminal.press("ENTER")
        terminal.wait(r"slice \(10us to 1s\): 100us")
        terminal.press("CTRL-U", *"1us", "ENTER")
        terminal.wait("error: slice=1us is out of range: allowed are 10us to 1s")
        terminal.press("s", "ENTER", "CTRL-U", *"250us", "ENTER")
        terminal.wait("policy timeslice slice=250us")
        self.assertEqual(query()["parameters"][0]["value"], "250us")
        # One of the engine's.
        terminal.press("s", "DOWN", "ENTER")
        terminal.wait("switch-cost: 554")
        terminal.press("CTRL-U", *"77", "ENTER")
        terminal.wait("switch-cost is 77")
        self.assertEqual(guest.cmd("qom-get", path="/machine/vsched", property="switch-cost"), 77)
        # PCPU 2 goes off, and has another speed when it is on again.
        terminal.press("RIGHT", "RIGHT", "o")
        terminal.wait(r"\bPCPU 2 is off")
        terminal.wait(r" 2 +off ")
        self.assertEqual([p["pcpu"] for p in query()["pcpus"] if not p["online"]], [2])
        terminal.press("v", "CTRL-U", *"1/3", "ENTER")
        terminal.wait("PCPU 2 has speed 1/3")
        terminal.press("o")
        terminal.wait(r" 2 +\d+% v\d+ 1/3")
        self.assertEqual({p["speed"] for p in query()["pcpus"] if p["online"]}, {"1", "1/3"})
        # Pause.
        terminal.press(" ")
        terminal.wait(r" paused +every")
        self.assertEqual(guest.cmd("query-status")["status"], "paused")
        terminal.press(" ")
        terminal.wait(r" running +every")
        self.assertTrue(guest.cmd("query-status")["running"])
        # The rest changes nothing but the view.
        self.assertNotRegex(terminal.screen.text, r"\n  23  0 ")
        terminal.press(*["DOWN"] * 30)
        terminal.wait(r"\n  23  0 ")
        terminal.press("t")
        terminal.wait("% since the start")
        terminal.press("+")
        terminal.wait(r"every 0\.5 s")
        terminal.press("x")
        terminal.wait("no such key: h is help")
        terminal.press("h")
        terminal.wait("take the selected PCPU out")
        terminal.press("x")
        terminal.wait("VCPU VM PCPU state")
        terminal.press("p", "ESC", "s", "ESC", "q")
        self.check_left(terminal, 0)
        self.assertTrue(guest.cmd("query-status")["running"])

    def test_paging(self):
        """Modes and DSP of a machine with paging=, by keys."""
        out = os.path.join(self.directory(), "rom")
        rom = x86_image("paging.S", out, "-DFORMAT=2", "-DPAGES=1000",
                        "-DROUNDS=100000000", "-DWORK=1000")
        guest, path = self.start(
            "-M", "q35", "-nodefaults", "-cpu", "max", "-m", "64", "-bios", rom, "-accel",
            "tcg,thread=vsched,pcpus=1,paging=nested", arch="x86_64")
        guest.cmd("cont")
        terminal = Terminal(VM_STAT, "--top", "--host-interval", "200ms", path)
        self.addCleanup(terminal.close)
        terminal.wait(r"\npaging VM 0 nested\n")
        # A round is 1000 misses in 4000 instructions and few.
        terminal.wait(r"\n   0  0    0 \w+\*? .* \d+\.\d 249\.\d\n")
        terminal.press("d")
        terminal.wait("DSP has no samples")
        terminal.press("m")
        terminal.wait(r"\* VM 0  nested +walks have two dimensions")
        terminal.press("DOWN", "DOWN", "ENTER")
        terminal.wait(r"\npaging VM 0 shadow\n(?s:.)*VM 0 has mode shadow")
        self.assertEqual(guest.cmd("query-paging")[0]["mode"], "shadow")
        terminal.press("m", *["DOWN"] * 4, "ENTER")
        terminal.wait(r"settings of DSP for VM 0, such as")
        terminal.press(*"ratio-lower=1", "ENTER")
        terminal.wait(r"is below the\s+lower one")
        self.assertEqual(guest.cmd("query-dsp"), [])
        terminal.press("m", *["DOWN"] * 4, "ENTER", *"interval=1ms", "ENTER")
        terminal.wait(r"\npaging VM 0 shadow by DSP \(\d+ switches\)")
        self.assertEqual(guest.cmd("query-dsp")[0]["options"]["interval"], 1_000_000)
        terminal.press("d")
        terminal.wait(r"VM 0 +[\d.]+ ms  misses +[\d.]+  faults +0\.00000  rule \d  shadow")
        terminal.press("ESC", "m", *["DOWN"] * 4)
        terminal.wait(r"VM 0  no DSP +has its former mode again")
        terminal.press("ENTER")
        terminal.wait(r"\npaging VM 0 shadow\n")
        self.assertFalse(guest.cmd("query-dsp")[0]["enabled"])
        terminal.press("q")
        self.check_left(terminal, 0)

    def test_no_paging(self):
        _, terminal = self.show()
        for key in "m", "d":
            terminal.press(key)
            terminal.wait("there is no model of paging")
            terminal.press("t")

    def test_numbers(self):
        """Of a machine that stands still: totals are those of QMP."""
        guest, terminal = self.show()
        terminal.press(" ", "t")
        terminal.wait(r" paused +every(?s:.)*since the start")
        stats = of_kind(guest.stats(), "vcpu")
        info = guest.cmd("query-vsched")
        time.sleep(0.5)
        for v in range(10):
            found = terminal.wait(rf"\n +{v}  0 +(\d+) (\w+)\*? .*")
            words = found.group().split()
            whole = sum(stats[v][s] for s in ("running-useful", "running-spinning", "ready",
                                              "blocked", "switching"))
            self.assertEqual(int(words[2]), info["vcpus"][v]["pcpu"])
            self.assertEqual(words[4:], [
                *(f"{100 * stats[v][s] / whole:.1f}" for s in (
                    "running-useful", "running-spinning", "ready", "blocked", "switching")),
                *(short(stats[v][n]) for n in ("spin-periods", "switched-in", "migrations",
                                               "cross-calls-refused"))])

    def test_sizes(self):
        """It follows the terminal's size, and needs none in particular."""
        _, terminal = self.show("cmp,pcpus=64,vcpus=32")
        terminal.wait(r"\n 0 +\d+% ")
        self.assertEqual(len(re.findall(r"\d+ +\d+% (?:v\d+|idle)", terminal.screen.text)),
                         40)            # 8 lines of 5
        terminal.press(*["RIGHT"] * 63, "o")
        terminal.wait("63 +off")
        for size in ((40, 132), (10, 50), (3, 20), (1, 5), (24, 80)):
            terminal.resize(*size)
            time.sleep(0.3)
            self.assertIsNone(terminal.process.poll(), terminal.raw)
        terminal.wait("q:quit .* h:help$")
        terminal.press("q")
        self.check_left(terminal, 0)

    def test_ends(self):
        guest, terminal = self.show()
        terminal.press("s", "ENTER")
        terminal.wait("slice .*: 100us")
        guest.cmd("quit")
        self.check_left(terminal, 1, "QEMU ended")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            guest, terminal = self.show()
            terminal.process.send_signal(number)
            self.check_left(terminal, 0)
            self.assertTrue(guest.cmd("query-status")["running"])

    def test_engine_parameters(self):
        """The list of the view is that of the engine."""
        guest, _ = self.start("-nodefaults", "-M", MACHINE)
        answer = guest.qmp("vsched-set", parameters={"none": 0})["error"]["desc"]
        listed = re.search(r"of the engine \((.*)\)", answer).group(1).split(", ")
        with open(os.path.join(TOP, "scripts/lib/top.py"), encoding="utf-8") as f:
            source = re.search(r"^ENGINE = \((.*)\)", f.read(), re.M).group(1)
        self.assertEqual(sorted(re.findall('"(.*?)"', source)), sorted(listed))


if __name__ == "__main__":
    unittest.main()
