"""Schedule traces: the commands, the file, what scripts/trace makes of it.

What a trace says is held against the engine's counters, to the cycle, and against a reader of
ftrace's text that knows nothing of our files (ftrace_reader.py).  The same reader reads the trace
file of a guest's own kernel.  Files that are made by hand have sums worked out here.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import gzip
import itertools
import json
import os
import re
import signal
import struct
import subprocess
import tempfile
import unittest
import zlib

from check_schedule import (added_skew, deadlines, divided, gangs, jobs_of, lead, partition,
                            shares)
from ftrace_reader import Schedule, Wrong
from support import GUEST_FAULTS, GUESTS, SLOWER, TOP, Guest, refused
from test_control import Still
from test_determinism import qcow2
from test_save import end, program, snapshot, wait_for
from test_time import cpio
from test_vms import of_kind

# pylint: disable=wrong-import-order
import timelinepng                                          # support.py knows where these are
from schedtrace import READY, Fault, Summary, Timeline, Trace
# pylint: enable=wrong-import-order

SCRIPT = os.path.join(TOP, "scripts/trace")
MACHINE = "cmp8,vcpus=24"
MS = 1000 * 1000

# Names of a summary and of query-stats, of a VCPU
COUNTERS = (("ready", "ready"), ("blocked", "blocked"), ("switching", "switching"),
            ("switches", "switched-in"), ("expired", "slices-expired"),
            ("preempted", "slices-preempted"), ("evicted", "slices-evicted"),
            ("migrations", "migrations"), ("spins", "spin-periods"),
            ("calls", "cross-calls-accepted"), ("refused", "cross-calls-refused"))


def script(*arguments, **options):
    done = subprocess.run([SCRIPT, *arguments], text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                          timeout=60 * SLOWER, **options)
    return done.returncode, done.stdout, done.stderr


def record(time, kind, pcpu=0xff, vcpu=0xffff, arg=0):
    return struct.pack("<qBBHI", time, kind, pcpu, vcpu, arg)


RUN, WAKE, BLOCK, PREEMPT, WAIT, RESUME, MIGRATE, SPIN, SENT, TAKEN = range(2, 12)
POLICY, PCPU, RESET, LOADED = 16, 17, 22, 36


def beginning(vcpus, pcpus, now):
    """All VCPUs are blocked, all PCPUs on."""
    return [*(r for v in range(vcpus) for r in (
                record(now, 32, v % pcpus, v, 0), record(now, 19, vcpu=v, arg=2**pcpus - 1),
                record(now, 20, vcpu=v))),
            *(record(now, 33, p, arg=1) for p in range(pcpus)),
            record(now, 21, vcpu=0, arg=256), record(now, POLICY)]


def ending(pcpus, now):
    return [*(record(now, 34, p) for p in range(pcpus)), record(now, 35)]


def file_of(records, stop, vcpus=2, pcpus=2, version=1, lost=0, policies=("toy",)):
    """A file as docs/trace.rst describes it, which ends at @stop."""
    names = b"".join(name.encode() + b"\0" for name in policies)
    names = names.ljust(-(-len(names) // 16) * 16, b"\0")
    states, records = beginning(vcpus, pcpus, 0), [*records, *ending(pcpus, stop)]
    data = struct.pack("<8sIIQQQIIIIqqQQQQII", b"VSCHEDTR", version, 112 + len(names), 10**9, 1000,
                       10, vcpus, pcpus, 1, len(policies), 0, 0, len(states), len(records), lost,
                       1024, 0, 0)
    data += names + b"".join(states + records)
    return data + struct.pack("<I", zlib.adler32(data))


# VCPU 0 runs on PCPU 0 from 110 to 400 and from 410 to 700; VCPU 1 on PCPU 0 from 710 to 1000, and
# has waited since 200; there was one spin, and a cross-call that was refused and one that was not.
BY_HAND = (
    record(100, WAKE, 0, 0), record(110, RUN, 0, 0, 10),
    record(200, WAKE, 1, 1), record(250, SENT, 0, 1, 0 | 2 << 16 | 1 << 18),
    record(260, SENT, 0, 1, 0 | 0 << 16 | 1 << 18), record(390, SPIN, 0, 0, 1),
    record(400, WAIT, 0, 0), record(410, RESUME, 0, 0),
    record(700, PREEMPT, 0, 0, 4), record(700, MIGRATE, 0, 1, 1), record(710, RUN, 0, 1, 10),
    record(900, TAKEN, 0, 1), record(1000, BLOCK, 0, 1))


class Files(unittest.TestCase):
    """Made by hand."""
    timeout = 60

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.dir = directory.name

    def put(self, data):
        path = os.path.join(self.dir, "trace")
        with open(path, "wb") as f:
            f.write(data)
        return path

    def test_summary(self):
        status, out, err = script(self.put(file_of(BY_HAND, 1200)), "--json")
        self.assertEqual((status, err), (0, ""))
        summary = json.loads(out)
        first, second = summary["vcpus"]
        self.assertEqual((summary["start"], summary["end"], summary["policy"]), (0, 1200, "toy"))
        # VCPU 0: 290 + 290 run, 10 switched in, 10 and 1200 - 700 ready, 100 blocked
        self.assertEqual([first[n] for n in ("running", "switching", "ready", "blocked")],
                         [580, 10, 510, 100])
        # VCPU 1: 290 run, 10 switched in, 700 - 200 ready, 200 and 1200 - 1000 blocked
        self.assertEqual([second[n] for n in ("running", "switching", "ready", "blocked")],
                         [290, 10, 500, 400])
        self.assertEqual([first[n] for n in ("runs", "yielded", "spins", "calls", "refused")],
                         [1, 1, 1, 1, 1])
        self.assertEqual([second[n] for n in ("runs", "migrations", "blocks", "taken")],
                         [1, 1, 1, 1])
        self.assertEqual((first["longest-wait"], second["longest-wait"]), (500, 500))
        self.assertEqual([(p["running"], p["switching"], p["switches"]) for p in summary["pcpus"]],
                         [(870, 20, 2), (0, 0, 0)])

    def test_a_part_of_the_time(self):
        """From 300 to 705: what lies across the borders counts in part."""
        path = self.put(file_of(BY_HAND, 1200))
        _, out, _ = script(path, "--json", "--from", "300ns", "--to", "705ns")
        first, second = json.loads(out)["vcpus"]
        # VCPU 0 ran from 300 to 400 and 410 to 700; VCPU 1 waited from 300 to 700
        self.assertEqual([first[n] for n in ("running", "switching", "ready", "blocked")],
                         [390, 0, 15, 0])
        self.assertEqual([second[n] for n in ("running", "switching", "ready", "blocked")],
                         [0, 5, 400, 0])
        self.assertEqual((first["calls"], first["spins"], second["longest-wait"]), (0, 1, 400))
        for times, says in ((("--from", "700ns", "--to", "700ns"), "--from and --to leave nothing"),
                            (("--from", "1200ns"), "--from and --to leave nothing"),
                            (("--from", "2us"), "--from and --to leave nothing"),
                            (("--to", "1201ns"), "--to is a time that is not in it")):
            with self.subTest(times=times):
                status, out, err = script(path, *times)
                self.assertEqual((status, out), (1, ""))
                self.assertTrue(err.startswith(f"error: {says}"), err)
                self.assertIn("it is from 0 ns to 1,200 ns", err)

    def test_csv(self):
        _, out, _ = script(self.put(file_of(BY_HAND, 1200)), "--csv")
        self.assertEqual(out.splitlines(), [
            "pcpu,vcpu,vm,what,start,end,why", "0,0,0,switch,100,110,", "0,0,0,run,110,400,wait",
            "0,0,0,run,410,700,yielded", "0,1,0,switch,700,710,", "0,1,0,run,710,1000,blocked"])

    def test_text(self):
        status, out, _ = script(self.put(file_of(BY_HAND, 1000, lost=7)))
        self.assertEqual(status, 0)
        self.assertIn("0 ns to 1,000 ns (0.001000 ms): 2 VCPUs in 1 VM on 2 PCPUs, policy toy", out)
        self.assertIn("7 records of what was before are lost", out)
        self.assertRegex(out, r"(?m)^ +0 +0 +58.0 +31.0 +10.0 +1.0 +1 +0 +1 ")

    def test_policies(self):
        """The headline says which were in force, and when the time is a part, which then were."""
        names = ("one", "two", "three", "four", "five")
        changes = [record(time, POLICY, arg=n) for time, n in
                   ((100, 1), (200, 1), (300, 2), (400, 3), (500, 0), (600, 4))]
        path = self.put(file_of(changes, 1000, policies=names))
        for times, says, listed in (
                ((), "one, then two, then three, then four, and 2 changes more",
                 ["one", "two", "three", "four", "one", "five"]),
                (("--to", "100ns"), "one", ["one"]),
                (("--from", "100ns", "--to", "301ns"), "two, then three", ["two", "three"]),
                (("--from", "450ns", "--to", "501ns"), "four, then one", ["four", "one"])):
            _, out, _ = script(path, *times)
            self.assertTrue(out.splitlines()[0].endswith(f" PCPUs, policy {says}"), out)
            summary = json.loads(script(path, "--json", *times)[1])
            self.assertEqual((summary["policies"], summary["policy"]), (listed, listed[0]))

    def test_ftrace(self):
        status, out, _ = script(self.put(file_of(BY_HAND, 1200)), "--ftrace", "-")
        self.assertEqual(status, 0)
        schedule = Schedule(out.splitlines())
        self.assertEqual(schedule.names, {1: "vcpu0", 2: "vcpu1", 4: "switch/0"})
        self.assertEqual(schedule.groups, {1: 1, 2: 1, 4: 3})
        self.assertEqual(schedule.ran, {1: 580, 2: 290, 4: 20})
        # As above, with the switch; from 700 on VCPU 0 waits for something that never comes.
        self.assertEqual(schedule.ready, {1: 10 + 10, 2: 510})
        self.assertEqual(schedule.marks, [(250, 1, "I|1|call to vcpu1 refused"),
                                          (260, 1, "I|1|call to vcpu1"), (390, 1, "I|1|spin")])
        # on and off for each of the five stretches, two of which follow each other twice
        self.assertEqual(schedule.switches, 7)
        _, out, _ = script(self.put(file_of(BY_HAND, 1200)), "--ftrace", "-", "--from", "300ns",
                           "--to", "705ns")
        schedule = Schedule(out.splitlines())
        self.assertEqual(schedule.ran, {1: 390, 4: 5})

    def test_what_is_no_trace(self):
        for data, says in ((b"", "no schedule trace"), (b"PK\3\4" * 50, "no schedule trace"),
                           (b"VSCHEDTR", "truncated"),
                           (file_of(BY_HAND, 1200, version=2), "version 2: allowed is 1"),
                           (file_of(BY_HAND, 1200) + b"x", "damaged"),
                           (file_of([record(1, RUN, 2, 0)], 9), "PCPU 2: there are 2"),
                           (file_of([record(1, RUN, 0, 2)], 9), "VCPU or VM 2"),
                           (file_of([record(1, 50)], 9), "kind 50"), (file_of([record(1, 1, 0, 0)], 9), "kind 1"),
                           (file_of([record(1, PREEMPT, 0, 0, 99)], 9), "argument 99"),
                           (file_of([record(1, RUN, 0, 0, 2**32 - 1), record(2, RUN, 0, 1, 0)], 9),
                            "begins at 2 on PCPU 0, which has VCPU 0")):
            path = self.put(data)
            status, out, err = script(path, "--ftrace", os.path.join(self.dir, "out"))
            self.assertEqual((status, out), (1, ""))
            self.assertRegex(err, f"^error: {path}: .*{says}")
            self.assertEqual(os.listdir(self.dir), ["trace"])
        for arguments, says in (((path + "x",), "No such file"),
                                (("/dev/null",), "no schedule trace"),
                                ((path, "--from", "soon"), "soon is not a time: allowed are"),
                                ((path, "--record", "qmp"), "go together"),
                                ((path, "--for", "1ms"), "go together")):
            status, _, err = script(*arguments)
            self.assertNotEqual(status, 0)
            self.assertIn(says, err)
            self.assertNotIn("Traceback", err)

    def test_damage(self):
        """Of any byte, and at any length."""
        data = file_of(BY_HAND, 1200)
        for i in range(len(data)):
            for damaged in (data[:i], data[:i] + bytes([data[i] ^ 0x41]) + data[i + 1:]):
                with self.assertRaises(Fault):
                    Trace(damaged)

    def test_parts(self):
        """Where a state was loaded, time begins anew."""
        data = file_of([*BY_HAND, *ending(2, 1200), record(500, LOADED), *beginning(2, 2, 500),
                        record(600, WAKE, 1, 1), record(610, RUN, 1, 1, 10)],
                       700)
        path = self.put(data)
        _, out, err = script(path, "--json")
        self.assertIn("it has 2 parts", err)
        summary = json.loads(out)
        self.assertEqual((summary["start"], summary["end"], summary["parts"]), (500, 700, 2))
        self.assertEqual([v["running"] for v in summary["vcpus"]], [0, 90])
        self.assertEqual([v["blocked"] for v in summary["vcpus"]], [200, 100])
        _, out, _ = script(path, "--json", "--part", "1")
        self.assertEqual([v["running"] for v in json.loads(out)["vcpus"]], [580, 290])
        self.assertIn("allowed are 1 to 2", script(path, "--part", "3")[2])
        # What was before the state is not a time in which nothing happened.
        for form in ((), ("--csv",), ("--ftrace", "-")):
            self.assertEqual(script(path, "--from", "100ns", *form)[:2], (1, ""))
        self.assertIn("--from is a time that is not in it: it is from 500 ns to 700 ns",
                      script(path, "--from", "499ns")[2])

    def test_picture(self):
        """Colours are where they have to be; any two can be told apart."""
        # pylint: disable=import-outside-toplevel
        from matplotlib import image
        # pylint: enable=import-outside-toplevel

        out = os.path.join(self.dir, "out.png")
        status, said, err = script(self.put(file_of([
            *BY_HAND, record(1000, PCPU, 1, arg=0)], 1200)), "--png", out)
        self.assertEqual((status, said, err), (0, "", ""))
        nowhere = os.path.join(self.dir, "nowhere", "out")
        for option in "--png", "--ftrace":
            self.assertEqual(script(os.path.join(self.dir, "trace"), option, nowhere),
                             (1, "", f"error: {nowhere}: No such file or directory\n"))
        self.assertLess(os.path.getsize(out), 60000)
        pixels = (image.imread(out)[:, :, :3] * 255).round().astype(int)
        self.assertEqual(pixels.shape, (600, 1200, 3))

        def at(cycle, row):
            """The axes: 6 % to 88 % of the width, 10 % to 92 % of the height."""
            x, y = 1200 * (0.06 + 0.82 * cycle / 1200), 600 * (0.08 + 0.82 * row / 2)
            return "#%02x%02x%02x" % tuple(pixels[int(y), int(x)])

        colours = timelinepng.COLOURS
        self.assertEqual([at(t, 0.3) for t in (50, 105, 250, 405, 600, 850, 1100)],
                         ["#ffffff", "#000000", colours[0], "#ffffff", colours[0], colours[1],
                          "#ffffff"])
        self.assertEqual([at(t, 1.3) for t in (500, 1100)], ["#ffffff", "#c8c8c8"])
        self.assertEqual([at(t, 0.7) for t in (300, 390.5, 500)], ["#ffffff", "#e0301e", "#ffffff"])
        for one, other in itertools.combinations(colours, 2):
            distance = sum((a - b)**2 for a, b in zip(cielab(one), cielab(other)))**0.5
            self.assertGreater(distance, 35, (one, other))

    def test_without_matplotlib(self):
        with open(os.path.join(self.dir, "matplotlib.py"), "w", encoding="ascii") as f:
            f.write("raise ModuleNotFoundError('matplotlib')")
        path = self.put(file_of(BY_HAND, 1200))
        env = dict(os.environ, PYTHONPATH=self.dir)
        status, _, err = script(path, "--png", os.path.join(self.dir, "o"), env=env)
        self.assertEqual(status, 1)
        self.assertIn("install --no-install-recommends python3-matplotlib", err)
        self.assertEqual(script(path, "--json", env=env)[0], 0)
        self.assertNotIn("o", os.listdir(self.dir))


def cielab(colour):
    """Of sRGB "#rrggbb", white point D65 (IEC 61966-2-1, CIE 15)."""
    def linear(c):
        return c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055)**2.4

    def root(t):
        return t**(1 / 3) if t > (6 / 29)**3 else t / (3 * (6 / 29)**2) + 4 / 29

    r, g, b = (linear(int(colour[i:i + 2], 16) / 255) for i in (1, 3, 5))
    x = root((0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505)
    y = root(0.2126 * r + 0.7152 * g + 0.0722 * b)
    z = root((0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


class Reader(unittest.TestCase):
    """The reader of ftrace's text finds what cannot be."""

    GOOD = ("          <idle>-0       [000] d..2.     1.000001: sched_switch: prev_comm=swapper/0 "
            "prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=a b-1 next_pid=7 next_prio=120",
            "           a b-1-7       [000] d..3.     1.000005: sched_waking: comm=c pid=8 "
            "prio=120 target_cpu=001",
            "          <idle>-0       [001] d..2.     1.000009: sched_switch: prev_comm=swapper/1 "
            "prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=c next_pid=8 next_prio=120",
            "           a b-1-7       [000] d..2.     1.000010: sched_switch: prev_comm=a b-1 "
            "prev_pid=7 prev_prio=120 prev_state=R+ ==> next_comm=swapper/0 next_pid=0 "
            "next_prio=120")

    def test_good(self):
        schedule = Schedule(self.GOOD)
        self.assertEqual(schedule.ran, {7: 9000, 8: 1000})
        self.assertEqual(schedule.ready, {8: 4000})
        self.assertEqual(schedule.names, {7: "a b-1", 8: "c"})

    def test_wrong(self):
        a, b, c, d = self.GOOD
        for lines, says in (((a, b, d, c), "time goes back"),
                            ((a, b, c.replace("=8 ", "=7 "), d), "task 7 begins on CPU 1"),
                            ((a, a, b), "which has task 7"), ((a, "x" + b[40:]), "no line"),
                            ((a, b.replace("-7 ", "-9 "), c), "wakes another on CPU 0"),
                            ((a.replace("-0 ", "-3 "),), "says that task 0 stops"),
                            ((a.replace("next_pid", "pid"),), "no arguments of sched_switch")):
            with self.assertRaisesRegex(Wrong, says):
                Schedule(lines)


class Commands(Still):
    def query(self):
        return self.guest.cmd("query-vsched-trace")

    def refuse(self, says, command, **arguments):
        before = self.query()
        answer = self.guest.qmp(command, **arguments)
        self.assertRegex(answer["error"]["desc"], says, (command, arguments))
        self.assertEqual(self.query(), before)

    def path(self, name):
        return os.path.join(self.guest.dir, name)

    def test_start_stop_save(self):
        self.assertEqual(self.query(), {"running": False})
        self.refuse("no trace is being recorded", "vsched-trace-stop")
        self.refuse("there is no trace", "vsched-trace-save", filename=self.path("t"))
        self.assertFalse(os.path.exists(self.path("t")))
        self.assertEqual(self.guest.cmd("vsched-trace-start", records=1024), {"time": 0})
        self.assertEqual(self.query(), {"running": True, "size": 1024, "records": 0, "lost": 0,
                                        "started": 0, "begin": 0})
        self.refuse("already: vsched-trace-stop ends it", "vsched-trace-start")
        self.assertEqual(self.guest.cmd("vsched-trace-save", filename=self.path("t")), {"time": 0})
        self.assertTrue(Trace.read(self.path("t")).running)
        self.guest.cmd("vsched-trace-stop")
        # The clocks of 8 PCPUs, and the end
        self.assertEqual(self.query(), {"running": False, "size": 1024, "records": 9, "lost": 0,
                                        "started": 0, "begin": 0, "stopped": 0})
        self.guest.cmd("vsched-trace-save", filename=self.path("t"))
        trace = Trace.read(self.path("t"))
        self.assertEqual((trace.running, trace.vcpus, trace.pcpus, trace.vms, trace.window),
                         (False, 24, 8, 2, 1000))
        part, = trace.parts
        self.assertEqual([v.vm for v in part.vcpus], [0] * 8 + [1] * 16)
        self.assertTrue(all(v.mask == 0xff and v.state == 0 for v in part.vcpus))
        self.assertEqual((part.policy, part.shares), ("sdb", [(256, 0)] * 2))
        self.guest.cmd("vsched-trace-start")
        self.assertEqual(self.query()["size"], 1048576)

    def test_bad_input(self):
        for number in (0, 1023, 2**27 + 1, 2**64 - 1):
            for more in ({}, {"at": 5}):
                # QAPI makes 2^64 - 1 of -1, so no number is named that may not have been given.
                given = f"records={number}" if number < 2**63 else "^records"
                self.refuse(f"{given} is out of range: allowed are 1024 to 134217728",
                            "vsched-trace-start", records=number, **more)
        for number in (0, 2**63):
            self.refuse("allowed are 1 to", "vsched-trace-start", duration=number)
        self.refuse("^at is out of range", "vsched-trace-start", at=2**63)
        self.refuse("filename is empty", "vsched-trace-save", filename="")
        self.guest.cmd("vsched-trace-start")
        os.mkdir(self.path("directory"))
        for name, says in (("directory", "not a regular file"), ("none/t", "cannot be written: No "),
                           ("/dev/full", "not a regular file"), ("/proc/t", "cannot be written")):
            self.refuse(says, "vsched-trace-save", filename=self.path(name))
        self.assertFalse([n for n in os.listdir(self.guest.dir) if n.endswith(".part")])

    def test_changes_of_the_machine(self):
        """They are in the trace, as they are at its beginning."""
        self.guest.cmd("vsched-trace-start")
        self.guest.cmd("vsched-set-affinity", vcpu=9, pcpus=[2, 7])
        self.guest.cmd("vsched-set-vm", vm=1, weight=512, cap=150)
        self.guest.cmd("vsched-set-pcpu", pcpu=7, online=False)
        self.guest.cmd("vsched-set-policy", policy="timeslice")
        self.guest.cmd("vsched-trace-save", filename=self.path("t"))
        trace = Trace.read(self.path("t"))
        names = trace.policies
        self.assertEqual(trace.parts[0].records, [
            (0, 19, 0xff, 9, 1 << 2 | 1 << 7), (0, 20, 0xff, 9, 0),
            (0, 21, 0xff, 1, 512 | 150 << 16), (0, PCPU, 7, 0xffff, 0),
            (0, POLICY, 0xff, 0xffff, names.index("timeslice"))])
        self.guest.cmd("vsched-trace-stop")
        self.guest.cmd("vsched-trace-start")
        self.guest.cmd("vsched-trace-save", filename=self.path("t"))
        part, = Trace.read(self.path("t")).parts
        self.assertEqual((part.vcpus[9].mask, part.shares, part.policy, part.records),
                         (1 << 2 | 1 << 7, [(256, 0), (512, 150)], "timeslice", []))
        self.assertEqual([p.online for p in part.pcpus], [True] * 7 + [False])

    def test_hmp(self):
        self.assertNotIn("trace:", self.hmp("info vsched"))
        self.assertEqual(self.hmp("vsched trace-start records=2000,duration=5ms"), "")
        shown = self.hmp("info vsched")
        self.assertIn("trace: since 0 ns, running, 0 of 2000 records, 0 lost", shown)
        self.assertIn("at 5000000: vsched-trace-stop {}", shown)
        self.assertEqual(self.hmp(f"vsched trace-save filename={self.path('t')}"), "")
        self.assertEqual(self.hmp("vsched trace-stop"), "")
        self.assertIn("trace: since 0 ns, stopped at 0 ns", self.hmp("info vsched"))
        self.assertNotIn("vsched-trace-stop", self.hmp("info vsched"))
        self.assertEqual(self.hmp("vsched trace-start at=7ms"), "command 2 at 7000000")
        for line, says in (("trace-stop", "no trace is being recorded"),
                           ("trace-start records=x", "records"),
                           ("trace-start duration=soon", "duration=soon is not a time"),
                           ("trace-save", "filename")):
            self.assertRegex(self.hmp("vsched " + line), f"^Error: .*{says}", line)
        self.assertEqual(Trace.read(self.path("t")).size, 2000)

    def test_at_the_start(self):
        for run, says in (("vsched-trace-start,arguments=records=5", "allowed are 1024"),
                          ("vsched-trace-save", "filename")):
            status, err = refused("-M", MACHINE, "-object", f"vsched-command,id=c,at=1,run={run}")
            self.assertEqual(status, 1)
            self.assertIn(says, err)

    def test_without_the_engine(self):
        with Guest("-M", "sun4u") as guest:
            for command, arguments in (("vsched-trace-start", {}), ("vsched-trace-stop", {}),
                                       ("vsched-trace-save", {"filename": "t"}),
                                       ("query-vsched-trace", {})):
                self.assertIn("this needs -accel tcg,thread=vsched",
                              guest.qmp(command, **arguments)["error"]["desc"])


class Checks:
    """For a TestCase: a trace and counters."""

    def timeline(self, path, part=-1):
        trace = Trace.read(path)
        timeline = Timeline(trace, trace.parts[part])
        for v in range(trace.vcpus):        # in one state at a time
            for one, other in zip(timeline.states[v], timeline.states[v][1:]):
                self.assertEqual(one[2], other[1])
        for spans in timeline.spans:        # one VCPU at a time
            for one, other in zip(spans, spans[1:]):
                self.assertLessEqual(one.end, other.start)
        return timeline

    def check_counters(self, timeline, after, before=None):
        """Times and counts of each VCPU and PCPU are what was counted in between."""
        summary = Summary(timeline)
        for v, stats in of_kind(after, "vcpu").items():
            first = of_kind(before, "vcpu")[v] if before else dict.fromkeys(stats, 0)
            counted = {name: stats[name] - first[name] for name in stats}
            said = summary.vcpus[v]
            self.assertEqual({name: said[name] for name, _ in COUNTERS},
                             {name: counted[other] for name, other in COUNTERS}, v)
            self.assertEqual(said["running"],
                             counted["running-useful"] + counted["running-spinning"])
            self.assertEqual(said["yielded"], counted["slices-ended-by-spin"] +
                             counted["slices-ended-by-hint"])
        for p, stats in of_kind(after, "pcpu").items():
            first = of_kind(before, "pcpu")[p] if before else dict.fromkeys(stats, 0)
            self.assertEqual((summary.pcpus[p]["switches"], summary.pcpus[p]["switching"]),
                             tuple(stats[n] - first[n] for n in ("switches", "switching")))
        return summary

    def check_ftrace(self, path, timeline, summary):
        """By another reader."""
        status, out, err = script(path, "--ftrace", "-")
        self.assertEqual((status, err), (0, ""))
        schedule = Schedule(out.splitlines())
        vcpus = {n: re.fullmatch(r"vcpu(\d+)", name) for n, name in schedule.names.items()}
        ran, ready = schedule.ran, schedule.ready
        for task, since in schedule.waits.items():      # which are not over when the trace ends
            if timeline.states[task - 1][-1][0] == READY:
                ready[task] += max(0, summary.stop - since)
        for v, said in enumerate(summary.vcpus):
            self.assertIn(v + 1 in vcpus, (said["runs"] > 0, True))
            self.assertEqual(ran[v + 1], said["running"], v)
            self.assertEqual(ready[v + 1], said["ready"] + said["switching"], v)
            if v + 1 in schedule.groups:
                group = schedule.groups[v + 1] - 1
                self.assertEqual(summary.vcpus[group]["vm"], said["vm"])
        self.assertEqual(sum(ran[n] for n, v in vcpus.items() if not v),
                         sum(v["switching"] for v in summary.vcpus))
        self.assertEqual(sum(text.endswith("|spin") for *_, text in schedule.marks),
                         sum(v["spins"] for v in summary.vcpus))
        calls = [text for *_, text in schedule.marks if "|call to " in text]
        self.assertEqual((len(calls), sum(t.endswith("refused") for t in calls)),
                         (sum(v["calls"] + v["refused"] for v in summary.vcpus),
                          sum(v["refused"] for v in summary.vcpus)))
        return schedule


class Runs(Checks, unittest.TestCase):
    timeout = 300

    def check_whole(self, name, parameters, machine):
        """From the start to the end; the run is the one that nobody observed."""
        arguments = program(name, machine, parameters)
        with Guest(*arguments) as guest:
            alone = end(guest)
        with Guest("-S", *arguments) as guest:
            guest.cmd("vsched-trace-start", records=2**22)
            guest.cmd("cont")
            self.assertEqual(end(guest), alone)
            path = os.path.join(guest.dir, "trace")
            guest.cmd("vsched-trace-save", filename=path)
            timeline = self.timeline(path)
            summary = self.check_counters(timeline, guest.stats())
            return summary, self.check_ftrace(path, timeline, summary)

    def test_spins(self):
        summary, schedule = self.check_whole("mcs", "rounds=100", MACHINE + ",vms=8+16")
        self.assertGreater(summary.vcpus[5]["spins"], 100)
        self.assertEqual({schedule.groups[v + 1] for v in range(24)}, {1, 9})
        # Registers are moved in for each switch, in 554 cycles.
        self.assertEqual(sum(v["switching"] for v in summary.vcpus),
                         554 * sum(v["switches"] for v in summary.vcpus))

    def test_cross_calls(self):
        summary, _ = self.check_whole("crosscall", "rounds=1 vcpus=9",
                                      MACHINE + ",sched=timeslice,slice=20us")
        self.assertGreater(sum(v["refused"] for v in summary.vcpus), 10)
        self.assertGreater(sum(v["expired"] for v in summary.vcpus), 10)

    def test_migrations(self):
        """With stalls that carry PCPUs beyond the ends of windows, and free switches."""
        summary, _ = self.check_whole(
            "mcs", "rounds=20 vcpus=13",
            MACHINE + ",sched=heat,switch-cost=0,random-stalls=3000")
        self.assertGreater(sum(v["migrations"] for v in summary.vcpus), 5)
        self.assertEqual(sum(v["switching"] for v in summary.vcpus), 0)

    def test_in_the_middle(self):
        """A stretch of a run, with changes in it: what was counted between its ends."""
        with Guest(*program("crosscall", MACHINE + ",sched=credit", "rounds=100000")) as guest:
            wait_for(guest, 5_000_000)
            guest.cmd("stop")
            before = guest.stats()
            guest.cmd("vsched-trace-start")
            now = guest.cmd("query-vsched")["time"]
            guest.cmd("vsched-set-pcpu", pcpu=7, online=False, at=now + 100_000)
            guest.cmd("vsched-set-policy", policy="sdb", at=now + 200_000)
            guest.cmd("vsched-set-affinity", vcpu=3, pcpus=[0, 1], at=now + 300_000)
            guest.cmd("vsched-set-pcpu", pcpu=7, online=True, at=now + 400_000)
            guest.cmd("cont")
            wait_for(guest, wait_for(guest, 0) + 3_000_000)
            guest.cmd("stop")
            after = guest.stats()
            self.assertGreater(after["vm"]["time"], now + 400_000)
            path = os.path.join(guest.dir, "trace")
            guest.cmd("vsched-trace-stop")
            guest.cmd("vsched-trace-save", filename=path)
            timeline = self.timeline(path)
            self.check_counters(timeline, after, before)
            kinds = [(kind, arg) for _, kind, *_, arg in timeline.part.records]
            for change in ((PCPU, 0), (POLICY, timeline.trace.policies.index("sdb")), (19, 3),
                           (PCPU, 1)):
                self.assertIn(change, kinds)

    def test_scripted(self):
        """Commands at the start: equal runs have equal files, and a short ring has the end."""
        with Guest("-M", "none") as scratch:
            directory = scratch.dir

        def run(name, size):
            path = os.path.join(directory, name)
            script_ = (("1ms", "vsched-trace-start", f"records={size},,duration=2ms"),
                       ("4ms", "vsched-trace-save", f"filename={path}"))
            with Guest(*(a for i, (at, command, given) in enumerate(script_) for a in (
                    "-object", f"vsched-command,id=c{i},at={at},run={command},arguments={given}")),
                    *program("mcs", MACHINE, "rounds=100")) as guest:
                end(guest)
                info = guest.cmd("query-vsched-trace")
                errors = [e["data"] for e in guest.get_qmp_events()
                          if e["event"] == "VSCHED_COMMAND" and "error" in e["data"]]
            self.assertEqual(errors, [])
            self.assertEqual((info["started"], info["stopped"]), (MS, 3 * MS))
            with open(path, "rb") as f:
                return f.read()

        whole = run("one", 2**20)
        self.assertEqual(run("other", 2**20), whole)
        trace, short = Trace(whole), Trace(run("short", 2000))
        self.assertEqual((trace.lost, trace.begin, trace.parts[0].end), (0, MS, 3 * MS))
        records, last = trace.parts[0].records, short.parts[0].records
        self.assertGreaterEqual(short.records, 2000 - 2000 // 64)
        self.assertLessEqual(short.records, 2000)
        self.assertEqual(short.lost, trace.records - short.records)
        self.assertEqual(records[-len(last):], last)
        self.assertGreater(short.begin, 2 * MS)
        # What was lost is in the state: the same spans, from then on.
        spans, less = Timeline(trace, trace.parts[0]).spans, Timeline(short, short.parts[0]).spans
        for p in range(8):
            self.assertGreater(len(less[p]), 5)
            self.assertEqual(spans[p][-len(less[p]) + 1:], less[p][1:])
            self.assertEqual(spans[p][-len(less[p])][:3], less[p][0][:3])

    def test_record(self):
        """scripts/trace has it recorded: so much simulated time, or until the guest ends."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path, monitor = (os.path.join(directory.name, n) for n in ("trace", "monitor"))
        with Guest(*program("ticket", MACHINE, "rounds=1000000"), "-qmp",
                   f"unix:{monitor},server=on,wait=off") as guest:
            status, out, err = script(path, "--record", monitor, "--for", "1.5ms", "--json")
            self.assertEqual((status, err), (0, ""))
            summary = json.loads(out)
            self.assertEqual(summary["end"] - summary["start"], 1_500_000)
            self.assertIn("records=5 is out of range",
                          script(path, "--record", monitor, "--for", "1ms", "--records", "5")[2])
            self.assertFalse(guest.cmd("query-vsched-trace")["running"])
            guest.cmd("stop")
            with subprocess.Popen([SCRIPT, path, "--record", monitor, "--for", "1s"], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
                self.assertIn("the machine does not run", process.stderr.readline())
                process.send_signal(signal.SIGINT)
                self.assertEqual(process.wait(timeout=60 * SLOWER), 0)
                self.assertIn("policy sdb", process.stdout.read())
        self.assertIn("error: ", script(path, "--record", path, "--for", "1ms")[2])
        with Guest("-S", *program("mcs", MACHINE, "rounds=2"), "-qmp",
                   f"unix:{monitor},server=on,wait=off") as guest:
            with subprocess.Popen([SCRIPT, path, "--record", monitor, "--for", "10s"],
                                  text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE) as process:
                self.assertIn("the machine does not run", process.stderr.readline())
                guest.cmd("cont")
                self.assertEqual(process.wait(timeout=60 * SLOWER), 0)
                self.assertIn("policy sdb", process.stdout.read())
            self.assertEqual(Trace.read(path).parts[0].end, guest.stats()["vm"]["time"])


class Promises(unittest.TestCase):
    """Schedules of real runs keep what policies promise.  Each checker finds what is wrong in the
    run of another policy, and in a schedule that is made by hand."""
    timeout = 400

    def trace_of(self, guest, start, stop):
        """The schedule from one time to another, in ms, of a machine that is stopped."""
        path = os.path.join(guest.dir, "trace")
        guest.cmd("vsched-trace-start", at=start * MS, duration=(stop - start) * MS)
        guest.cmd("vsched-trace-save", at=(stop + 1) * MS, filename=path)
        guest.cmd("cont")
        guest.event_wait("VSCHED_COMMAND", timeout=60 * SLOWER,
                         match={"data": {"command": "vsched-trace-save"}})
        trace = Trace.read(path)
        self.assertEqual((trace.lost, trace.begin, trace.parts[0].end),
                         (0, start * MS, stop * MS))
        return Timeline(trace, trace.parts[0])

    def run_of(self, machine, start=2):
        """20 ms of VCPUs that always have something to do."""
        with Guest("-S", *program("search", machine, "limit=100000000")) as guest:
            return self.trace_of(guest, start, start + 20)

    @staticmethod
    def by_hand(records, stop, **options):
        trace = Trace(file_of(records, stop, **options))
        return Timeline(trace, trace.parts[0])

    def test_gang(self):
        machine = "cmp,pcpus=4,vcpus=12,vms=4+8,slice=50us,sched="
        self.assertEqual(list(gangs(self.run_of(machine + "gang"))), [])
        self.assertGreater(len(list(gangs(self.run_of(machine + "timeslice")))), 1000)
        # Windows of 1000.  VCPU 0 runs from the start, and its sibling is ready since 100: nothing
        # is wrong at 500 and 1500 if it runs from 1100 on, and is at 1500 if it runs from 1600 on.
        for begins, faults in ((1100, 0), (1600, 1), (2600, 2)):
            found = list(gangs(self.by_hand([
                record(0, WAKE, 0, 0), record(0, RUN, 0, 0), record(100, WAKE, 1, 1),
                record(begins, RUN, 1, 1)], 4000)))
            self.assertEqual(len(found), faults, found)

    def test_partition(self):
        # Parts of 5, 2 and 1 PCPUs: the example of docs/policies/partition.rst
        self.assertEqual(divided([6, 3, 1], [8, 8, 8], 8), [5, 2, 1])
        self.assertEqual(divided([6, 3, 1], [8, 8, 8], 7), [4, 2, 1])
        machine = "cmp8,vcpus=24,vms=8+8+8,weights=6+3+1,sched="
        self.assertEqual(list(partition(self.run_of(machine + "partition"))), [])
        self.assertGreater(len(list(partition(self.run_of(machine + "sdb")))), 100)

    def test_cosched(self):
        """The bounds of docs/policies/cosched.rst, for each mode and three loads: two VMs that
        compete, one VM in groups, and one that cannot run as a whole."""
        sliced = ",slice=1ms,sched="
        for machine in ("cmp,pcpus=2,vcpus=5,vms=2+2+1", "cmp,pcpus=3,vcpus=7", "cmp8,vcpus=24"):
            for mode in ("strict", "relaxed", "individual"):
                run = self.run_of(f"{machine}{sliced}cosched,mode={mode},skew=300us,sample=100us",
                                  start=0)
                check = lead if mode == "individual" else added_skew
                self.assertEqual(list(check(run, 300_000, 100_000)), [])
                # It is no wider than it has to be: without the sample's interval there are faults.
                self.assertNotEqual(list(check(run, 200_000, 100_000)), [])
            run = self.run_of(machine + sliced + "timeslice", start=0)
            for check in (lead, added_skew):
                self.assertNotEqual(list(check(run, 300_000, 100_000)), [])

    def test_cosched_by_hand(self):
        """Windows of 1000 and a switch of 10."""
        # Both are ready from 0 on, and 0 runs until 5000: 1 is 5000 behind.
        begins = [record(0, WAKE, 0, 0), record(0, WAKE, 1, 1), record(0, RUN, 0, 0)]
        records = [*begins, record(5000, PREEMPT, 0, 0, 3), record(5000, RUN, 0, 1)]
        self.assertEqual(list(lead(self.by_hand(records, 9000), 2000, 2000)), [])
        found = list(lead(self.by_hand(records, 9000), 1999, 2000))
        self.assertRegex("\n".join(found), "^VCPU 0 is 5000 cycles ahead of 1 at 5000: .* 4999$")
        # Samples at 2000, 4000, 6000: 2000, 4000, and then 1 does 1000, in which 0 does no more.
        self.assertEqual(list(added_skew(self.by_hand(records, 9000), 990, 2000)), [])
        found = list(added_skew(self.by_hand(records, 9000), 989, 2000))
        self.assertEqual(found, ["the skew of VCPU 1 is 4000 at 4000: allowed are 3999"])
        # 1 is blocked until 3000: idle, it has kept up by the sample at 2000, and then for 1000;
        # it comes up to 0 by half of what it is behind at 4000, and 0 runs on until 7000.
        records = [record(0, WAKE, 0, 0), record(0, RUN, 0, 0), record(3000, WAKE, 1, 1),
                   record(7000, PREEMPT, 0, 0, 3), record(7000, RUN, 0, 1)]
        self.assertEqual(list(lead(self.by_hand(records, 9000), 1000, 2000)), [])
        found = list(lead(self.by_hand(records, 9000), 999, 2000))
        self.assertRegex("\n".join(found), "^VCPU 0 is 4000 cycles ahead of 1 at 7000: .* 3999$")

    def test_sedf(self):
        """docs/policies/sedf.rst: caps are slices.  Of PCPU 0 and of PCPU 1, VMs 0, 1 and 2 have a
        VCPU each, with half of the cap, and periods of 2 ms, 1 ms and 0.5 ms."""
        machine = "cmp,pcpus=2,vcpus=6,vms=2+2+2,switch-cost=554,sched="

        def due(caps):
            return {v: (cap * (2 * MS >> vm) // 200, 2 * MS >> vm)
                    for vm, cap in enumerate(caps) for v in (2 * vm, 2 * vm + 1)}

        def run(caps):
            given = "+".join(map(str, caps))
            return self.run_of(f"{machine}sedf,period=2ms,halve=2,caps={given}", start=0)

        # 50 + 30 + 16.5 = 96.5 %, and 2 x 1554 cycles of each period, 1554 of the shortest, are
        # 1.4 %: it fits, and nothing is missed.
        fits = (100, 60, 33)
        schedule = run(fits)
        self.assertEqual(list(deadlines(schedule, due(fits))), [])
        self.assertEqual([job for v, (slice_, period) in due(fits).items()
                          for job in jobs_of(schedule, v, slice_, period, 200) if job.missed], [])
        # 50 + 40 + 30 = 120 %: some are missed, and only ones that had to be.
        much = (100, 80, 60)
        schedule = run(much)
        self.assertGreater(len([job for v, (slice_, period) in due(much).items()
                                for job in jobs_of(schedule, v, slice_, period, 200)
                                if job.missed]), 10)
        self.assertEqual(list(deadlines(schedule, due(much))), [])
        # Another policy misses what could be met, also with slices that are short.
        schedule = self.run_of(machine + "timeslice,slice=100us", start=0)
        self.assertGreater(len(list(deadlines(schedule, due(fits)))), 10)

    def test_sedf_linux(self):
        """The same with VCPUs that sleep and are woken: Linux starts on six.  Slices are by weight,
        95 % of 10 ms among three VCPUs."""
        with Guest("-S", "-M", "q35", "-nodefaults", "-smp", "6", "-m", "256", "-accel",
                   "tcg,thread=vsched,pcpus=2,sched=sedf,period=10ms", "-kernel",
                   os.path.join(GUESTS, "x86/vmlinuz"), "-initrd",
                   os.path.join(GUESTS, "x86/initrd.gz"), "-append",
                   "console=ttyS0 quiet workload=boot", arch="x86_64") as guest:
            schedule = self.trace_of(guest, 0, 800)
        due = dict.fromkeys(range(6), (9_500_000 // 3, 10 * MS))
        jobs = [job for v in due for job in jobs_of(schedule, v, *due[v], 200)]
        self.assertGreater(len([job for job in jobs if job.cost < due[0][0]]), 10)   # blocked
        self.assertEqual([job for job in jobs if job.missed], [])
        self.assertEqual(list(deadlines(schedule, due)), [])

    def test_sedf_by_hand(self):
        """Windows of 1000 and a switch of 10: a slice takes 2020 more than itself, and 1010 are
        lost before all.  VCPU 0 belongs to PCPU 0, and so does VCPU 1 where there is no other."""
        def run(until, change):
            """VCPU 0 runs until then and VCPU 1 after it, or as the change says."""
            return self.by_hand([record(0, WAKE, 0, 0), record(0, WAKE, 0, 1),
                                 record(0, RUN, 0, 0), *change,
                                 record(until, PREEMPT, 0, 0, 3), record(until, RUN, 0, 1)],
                                25000, pcpus=1)

        def check(schedule, *due):
            return list(deadlines(schedule, dict(enumerate(due)), block=0))

        # 1 has had 4000 of 5000 at 20000.  10000 + 5000 + 2 x 2020 + 1010 = 20050: too much.
        self.assertEqual(check(run(16000, []), (10000, 20000), (5000, 20000)), [])
        found = check(run(16000, []), (9950, 20000), (5000, 20000))
        self.assertEqual(found, ["VCPU 1 has run for 4000 cycles from 0 to its deadline at 20000, "
                                 "and its slice was possible on PCPU 0"])
        self.assertEqual(check(run(15000, []), (9950, 20000), (5000, 20000)), [])
        # Of another PCPU's VCPUs none is in the way.
        schedule = self.by_hand([record(0, WAKE, 0, 0), record(0, WAKE, 1, 1),
                                 record(0, RUN, 0, 0)], 25000)
        self.assertEqual(len(check(schedule, (20000, 20000), (5000, 20000))), 1)
        # A slice that is due later is not in the way either.
        self.assertEqual(len(check(run(16000, []), (10000, 21000), (5000, 20000))), 1)
        # 0 blocks at 9000 and has used up less than its slice: it was not missed, and needed less.
        # It wakes in the same period, and has its next slice from 20000 on.
        blocks = [record(9000, BLOCK, 0, 0), record(12000, WAKE, 0, 0), record(12500, RUN, 0, 0)]
        self.assertEqual(len(check(run(16000, blocks), (19000, 20000), (5000, 20000))), 1)
        jobs = jobs_of(run(16000, blocks), 0, 4000, 20000, 0)
        self.assertEqual([(j.release, j.deadline, j.ran, j.missed) for j in jobs],
                         [(0, 20000, 9000, False)])
        # Woken after its period, it has one that begins then, and misses it.
        late = [record(3000, BLOCK, 0, 0), record(7000, WAKE, 0, 0)]
        schedule = self.by_hand([record(0, WAKE, 0, 0), record(0, RUN, 0, 0), *late], 20000)
        self.assertEqual([(j.release, j.deadline, j.ran, j.cost, j.missed)
                          for j in jobs_of(schedule, 0, 4000, 6000, 0)],
                         [(0, 6000, 3000, 3000, False), (7000, 13000, 0, 4000, True),
                          (13000, 19000, 0, 4000, True)])

    def test_shares(self):
        """Of credit over 66 accounting periods of 300 us, of sedf over 20 periods of 1 ms; both to
        2 %."""
        machine = "cmp,pcpus=1,vcpus=2,vms=1+1,weights=256+512,sched="
        for policy in ("credit,slice=100us,tick=100us", "sedf,period=1ms,quantum=100us"):
            self.assertEqual(list(shares(self.run_of(machine + policy))), [])
        self.assertEqual(len(list(shares(self.run_of(machine + "timeslice")))), 2)


class Saved(Checks, unittest.TestCase):
    """A trace is its observer's: no part of a saved state."""
    timeout = 200

    def test_load_and_reset(self):
        with tempfile.TemporaryDirectory() as directory:
            disk = os.path.join(directory, "disk")
            qcow2(disk, 64)
            arguments = program("crosscall", MACHINE, "rounds=20000", "-action", "reboot=reset",
                                "-drive", f"if=none,id=e,node-name=d,file={disk},format=qcow2")
            with Guest("-S", *arguments) as guest:
                guest.cmd("vsched-trace-start")
                guest.cmd("vsched-trace-save", filename=os.path.join(directory, "never"), at=10**15)
                guest.cmd("vsched-set-pcpu", pcpu=1, online=False, at=10**15 + 1)
                waiting = [p["command"] for p in guest.cmd("query-vsched")["pending"]]
                self.assertEqual(waiting, ["vsched-trace-save", "vsched-set-pcpu"])
                guest.cmd("cont")
                wait_for(guest, 1_000_000)
                guest.cmd("stop")
                saved = guest.stats()
                snapshot(guest, "save", "one", ["d"])
                guest.cmd("cont")
                wait_for(guest, wait_for(guest, 0) + 1_000_000)
                guest.cmd("stop")
                later = guest.stats()
                snapshot(guest, "load", "one", ["d"])
                self.assertEqual(guest.stats(), saved)
                # What an observer waits for waits on, and was not saved a second time.
                pending = guest.cmd("query-vsched")["pending"]
                self.assertEqual([p["command"] for p in pending], waiting)
                self.assertTrue(guest.cmd("query-vsched-trace")["running"])
                guest.cmd("cont")
                wait_for(guest, wait_for(guest, 0) + 500_000)
                guest.cmd("stop")
                last = guest.stats()
                guest.cmd("system_reset")
                guest.event_wait("RESET", timeout=20 * SLOWER)
                path = os.path.join(directory, "trace")
                guest.cmd("vsched-trace-save", filename=path)
                trace = Trace.read(path)
                self.assertEqual(len(trace.parts), 2)
                self.check_counters(self.timeline(path, 0), later)
                self.assertEqual(trace.parts[1].begin, saved["vm"]["time"])
                self.check_counters(self.timeline(path, 1), last, saved)
                self.assertEqual([r[0] for r in trace.parts[1].records if r[1] == RESET],
                                 [last["vm"]["time"]])
            with Guest("-S", *arguments) as guest:
                snapshot(guest, "load", "one", ["d"])
                self.assertEqual(guest.cmd("query-vsched-trace"), {"running": False})
                self.assertEqual([p["command"] for p in guest.cmd("query-vsched")["pending"]],
                                 ["vsched-set-pcpu"])


class GuestKernel(unittest.TestCase):
    """Linux's own trace of its own scheduling, on VCPUs, is read by the same reader."""
    timeout = 300

    WORKLOAD = """#!/bin/sh
mount -t tracefs tracefs /sys/kernel/tracing
cd /sys/kernel/tracing
echo 1 > events/sched/sched_switch/enable
echo 1 > events/sched/sched_waking/enable
for n in 1 2 3 4; do
    (for round in 1 2 3 4 5; do
        i=0; while [ $i -lt 200 ]; do i=$((i + 1)); done
        sleep 0.01
    done) &
done
wait
echo 0 > tracing_on
echo "--- trace"
tail -n 3000 trace
echo "--- end"
"""

    def test_trace_file(self):
        with tempfile.NamedTemporaryFile() as initrd:
            with open(os.path.join(GUESTS, "x86/initrd.gz"), "rb") as f:
                initrd.write(f.read() + gzip.compress(cpio([("workloads/traced",
                                                             self.WORKLOAD.encode())])))
            initrd.flush()
            with Guest("-M", "q35", "-nodefaults", "-smp", "4", "-m", "256",
                       "-accel", "tcg,thread=vsched,pcpus=2", "-kernel",
                       os.path.join(GUESTS, "x86/vmlinuz"), "-initrd", initrd.name, "-append",
                       "console=ttyS0 quiet workload=traced", arch="x86_64") as guest:
                self.assertEqual(guest.wait_exit(240), 0)
                console = guest.console
        self.assertIsNone(GUEST_FAULTS.search(console), console[-2000:])
        text = re.search(r"--- trace\r?\n(.*?)--- end", console, re.DOTALL).group(1)
        schedule = Schedule(text.splitlines())
        self.assertGreater(schedule.switches, 50)
        self.assertEqual(set(schedule.on), {0, 1, 2, 3})
        self.assertTrue(any(name.startswith("rcu_") for name in schedule.names.values()))
        busy = [task for task, name in schedule.names.items() if name in ("sh", "traced")]
        self.assertGreaterEqual(len(busy), 4)
        self.assertTrue(all(schedule.ran[task] > 0 for task in busy))
        # 4 shells wait for 5 sleeps each, which are woken once
        sleeps = {task for task, name in schedule.names.items() if name == "sleep"}
        self.assertEqual(len(sleeps), 20)
        self.assertTrue(sleeps <= {wait.task for wait in schedule.waited})


if __name__ == "__main__":
    unittest.main()
