"""VMs, affinity, PCPUs off and on, speeds, shares and changes of policy, as a user has them:
command line, QOM, statistics, trace events.

What is counted here adds up, or was worked out by hand; what was changed live came at
some moment of the host's, so only results and accounts are compared then.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import collections
import itertools
import json
import os
import random
import re
import subprocess
import tempfile
import time
import unittest

from support import SLOWER, TOP, Guest, Refusals, binary
from test_save import end, program, wait_for

MACHINE = "cmp8,vcpus=24"

# What may be given, option by option: bad values, and what the message says is allowed.
VMS = r"numbers of VCPUs joined by '\+', 1 or more for each VM, whose sum is 24"
MASKS = r"VCPUs from 0 to 23, PCPUs from 0 to 7, each N or N-M, PCPUs also as a mask 0xN"
OFFLINE = r"PCPUs from 0 to 7, N, N-M or a mask 0xN, joined by '\+', but not all of them"
SPEED = r"PCPUs from 0 to 7 as N, N-M or a mask 0xN, ratios such as 2/3 from 1/1000 to 1"
WEIGHTS = r"numbers from 1 to 65535 joined by '\+', one for each VM, of which there are 1"
CAPS = r"numbers from 0 to 800 joined by '\+', one for each VM, of which there are 1"
BAD = {
    "vms": (VMS, "8+8 8+8+9 0+24 8+8+8+ -8+32 8x16 99999999999999999999 help"),
    "affinity": (MASKS, "0 0:8 24:0 0-24:0 7-0:0 0:0x0 0:0x100 0:0x 0:-1 0:0x-1 0:1:2 a:b 0-:1 "
                        ":1 0: 99999999999:1 4294967296:1 0:0+"),
    "offline": (OFFLINE, "0-7 8 0xff 0x0 0x100 -1 6-5 1+ 0-3+4-7 18446744073709551616"),
    "speed": (SPEED, "2 0 0/1 1/0 1/1001 3/2 1/ /2 :1/2 8:1/2 0.5 1/2/3 -1/2 1/2+ "
                     "4294967297/4294967298"),
    "weights": (WEIGHTS, "512+256 0 65536 -1 1x 4294967552"),
    "caps": (CAPS, "801 -1 1+2 1x 4294967296"),
}
EMPTY = ("vms", "affinity", "speed", "weights", "caps")     # an empty offline=: none


def policies():
    """All that there are."""
    said = subprocess.run([binary(), "-M", "cmp8,sched=help"], stdin=subprocess.DEVNULL,
                          text=True, stdout=subprocess.PIPE, check=True).stdout
    return re.findall(r"^  (\w\S*) +\w", said, re.M)


def get(guest, path, name):
    return guest.cmd("qom-get", path=path, property=name)


def put(guest, path, name, value):
    guest.cmd("qom-set", path=path, property=name, value=value)


def pcpu(n):
    return f"/machine/vsched/pcpu[{n}]"


def vcpu(n):
    return f"/machine/vsched/vcpu[{n}]"


def vm(n):
    return f"/machine/vm[{n}]"


def of_kind(stats, kind):
    """Statistics of all PCPUs, VCPUs or VMs, by number"""
    return {int(n): values for path, values in stats.items()
            for n in re.findall(rf"^/machine/.*\b{kind}\[(\d+)\]$", path)}


STATES = ("running-useful", "running-spinning", "ready", "blocked", "switching")
TIMES = ("busy", "stalled", "switching", "idle", "skipped", "offline")


class Accounts:
    """For TestCases: what holds of each run, at any moment at which it stands still."""

    def check_accounts(self, stats, speeds=None, lost=0):
        """speeds: of PCPUs that always had it.  lost: instructions of PCPUs that are gone."""
        pcpus, vcpus = of_kind(stats, "pcpu"), of_kind(stats, "vcpu")
        for n, p in pcpus.items():
            self.assertEqual(p["clock"], sum(p[t] for t in TIMES), n)
            # A PCPU stops where the next block, of 64 instructions, does not fit.
            if n in (speeds or {}):
                insns, cycles = speeds[n]
                self.assertEqual(p["busy"], p["insns"] * cycles // insns, n)
        self.assertEqual(lost + sum(p["insns"] for p in pcpus.values()),
                         sum(v["insns-user"] + v["insns-privileged"] for v in vcpus.values()))
        for total in ("switching",):
            self.assertEqual(sum(p[total] for p in pcpus.values()) + (0 if not lost else
                             stats["vm"]["vcpu-switching"] - stats["vm"]["pcpu-switching"]),
                             sum(v[total] for v in vcpus.values()))
        return pcpus, vcpus


class CommandLine(Refusals, unittest.TestCase):
    timeout = 60

    def test_bad_values(self):
        """The message has option and value, and what is allowed; the exit status is 1."""
        for option, (allowed, values) in BAD.items():
            for value in values.split() + ([""] if option in EMPTY else []):
                self.refuse(rf"\b{option}={re.escape(value)} is not possible: allowed are .*"
                            f"{allowed}", "-M", f"{MACHINE},{option}={value}")

    def test_two_speeds(self):
        for value in "0:1/2+0:1/3", "2-4:1/2+4:1/2", "2:1/2+1/3", "1/2+1/3":
            self.refuse(rf"speed={re.escape(value)} is not possible: a PCPU has two speeds; "
                        "allowed are", "-M", f"{MACHINE},speed={value}")

    def test_bad_values_of_any_machine(self):
        for arch, machine in (("x86_64", "q35"), ("sparc64", "sun4u")):
            cpus = 4 if arch == "x86_64" else 1
            for option, value, allowed in (
                    ("vms", "2+3", f"whose sum is {cpus}"),
                    ("affinity", "0:3", f"VCPUs from 0 to {cpus - 1}, PCPUs from 0 to 2"),
                    ("offline", "0-2", "not all"), ("speed", "3:1/2", "0 to 2"),
                    ("weights", "0", "1 to 65535"), ("caps", "301", "0 to 300")):
                status, text = self.start(arch, "-nodefaults", "-M", machine, "-smp", str(cpus),
                                          "-accel", f"tcg,thread=vsched,pcpus=3,{option}={value}")
                self.assertEqual(status, 1, text)
                self.assertRegex(text, rf"{option}={re.escape(value)} is not possible: .*{allowed}")
                status, text = self.start(arch, "-nodefaults", "-M", machine, "-smp", str(cpus),
                                          "-accel", f"tcg,thread=single,{option}={value}")
                self.assertEqual(status, 1, text)
                self.assertIn(f"{option}= is a parameter of the engine", text)

    @staticmethod
    def start(arch, *args):
        done = subprocess.run([binary(arch), "-display", "none", *args], text=True, check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=30 * SLOWER)
        return done.returncode, done.stderr

    def test_machine_and_accelerator_disagree(self):
        self.refuse("-accel says offline=6 and the machine says offline=7",
                    "-M", "cmp8,offline=7", "-accel", "tcg,offline=6")

    def test_help(self):
        """Each with its meaning, an example and the default."""
        for args in (("-M", "cmp8,help"), ("-accel", "tcg,help")):
            said = subprocess.run([binary(), *args], stdin=subprocess.DEVNULL, text=True,
                                  stdout=subprocess.PIPE, check=True).stdout
            for option, text in (("vms", r"VCPUs of each VM, such as 8\+8\+8; default all in one"),
                                 ("affinity", r"PCPUs.*such as 0-7:0-3\+8:0x30; default all"),
                                 ("offline", "PCPUs that are off, .*6-7 or 0x81; default none"),
                                 ("speed", "instructions.*cycle.*4-7:1/2; default 1"),
                                 ("weights", r"weight of each VM.*512\+256; default 256"),
                                 ("caps", r"percent of a PCPU.*0\+150; default 0")):
                self.assertRegex(said, rf"\n  {option}=<str> +- .*{text}")

    def test_good_values(self):
        """As sets, on two machines; what is not named is as by default."""
        given = ("vms=8+8+8,affinity=0-7:0-3+8-15:0xf0+20:1+20:5,offline=6-7,speed=1/3+4-6:1/2,"
                 "weights=512+256+1,caps=0+150+800")
        accel = ("-accel", "tcg,thread=vsched,pcpus=8," + given)
        for args, options in ((("-M", f"{MACHINE},{given}"), {}),
                              (("-M", "q35", "-smp", "24", *accel), {"arch": "x86_64"})):
            with Guest("-S", "-nodefaults", *args, **options) as guest:
                self.assertEqual([get(guest, vm(k), "vcpus") for k in range(3)],
                                 [list(range(8 * k, 8 * k + 8)) for k in range(3)])
                self.assertEqual([get(guest, vm(k), "weight") for k in range(3)], [512, 256, 1])
                self.assertEqual([get(guest, vm(k), "cap") for k in range(3)], [0, 150, 800])
                self.assertEqual([get(guest, vcpu(v), "affinity") for v in range(24)],
                                 8 * [[0, 1, 2, 3]] + 8 * [[4, 5, 6, 7]] + 4 * [list(range(8))] +
                                 [[1, 5]] + 3 * [list(range(8))])
                self.assertEqual([get(guest, vcpu(v), "vm") for v in range(24)],
                                 [v // 8 for v in range(24)])
                self.assertEqual([get(guest, pcpu(p), "online") for p in range(8)],
                                 6 * [True] + 2 * [False])
                self.assertEqual([get(guest, pcpu(p), "speed") for p in range(8)],
                                 4 * ["1/3"] + 3 * ["1/2"] + ["1/3"])
                for option in given.split(","):
                    self.assertEqual(get(guest, "/machine/vsched", option.partition("=")[0]),
                                     option.partition("=")[2])

    def test_none_is_off(self):
        with Guest("-S", "-nodefaults", "-M", "cmp8,offline=") as guest:
            self.assertTrue(all(get(guest, pcpu(p), "online") for p in range(8)))


class Still(unittest.TestCase):
    """A machine of two VMs that stands still.  Has no test of its own."""
    timeout = 60

    def setUp(self):
        self.guest = Guest("-S", "-nodefaults", "-M", MACHINE + ",vms=8+16")
        self.guest.launch()
        self.addCleanup(self.guest.__exit__, None, None, None)

    def hmp(self, line):
        return self.guest.cmd("human-monitor-command", command_line=line).strip()


class Objects(Still):
    """What is shown and set of VMs, PCPUs and VCPUs."""

    def test_types(self):
        def listed(path):
            return {p["name"]: p["type"] for p in self.guest.cmd("qom-list", path=path)}

        self.assertEqual(listed(vm(1)), {"type": "string", "weight": "uint32", "cap": "uint32",
                                         "vcpus": "uint16List"})
        self.assertEqual(listed(pcpu(7)), {"type": "string", "online": "bool", "speed": "string",
                                           "vcpu": "int32"})
        self.assertEqual(listed(vcpu(23)), {"type": "string", "affinity": "uint16List",
                                            "vm": "int32", "pcpu": "int32", "state": "string",
                                            "cpu": "link<cpu>"})
        self.assertEqual(len([n for n in listed("/machine") if n.startswith("vm[")]), 2)
        here = collections.Counter(n.partition("[")[0] for n in listed("/machine/vsched")
                                   if n.endswith("]"))
        self.assertEqual(here, {"pcpu": 8, "vcpu": 24, "sdb": 8})
        for path, name, value in ((vm(1), "weight", 256), (vm(1), "cap", 0),
                                  (vm(1), "vcpus", list(range(8, 24))),
                                  (pcpu(7), "online", True), (pcpu(7), "speed", "1"),
                                  (pcpu(7), "vcpu", -1), (vcpu(8), "vm", 1),
                                  (vcpu(8), "affinity", list(range(8))),
                                  (vcpu(8), "state", "blocked")):
            shown = get(self.guest, path, name)
            self.assertEqual((type(shown), shown), (type(value), value), (path, name))

    def test_link_to_the_cpu(self):
        """Of each VCPU: to the CPU that the guest calls so."""
        for v in (0, 5, 23):
            path = get(self.guest, vcpu(v), "cpu")
            self.assertEqual(self.guest.cmd("query-cpus-fast")[v]["qom-path"], path)

    CHANGES = (         # path, name, good values, bad ones, and what the error says
        (vm(1), "weight", (1, 65535), (0, 65536, -1, 2**32, 2**32 + 256, 2**63 - 1),
         r"weight=\S+ is out of range: allowed are 1 to 65535"),
        (vm(1), "weight", (300,), ("7", 1.5, True, None, [1]),
         r"^weight(=7|: the value) is not a whole number: allowed are 1 to 65535"),
        (vm(1), "cap", (0,), ("7", {}), r"^cap(=7|: the value) is not a whole number: .* 0 to 800"),
        ("/machine/vsched/sdb[0]", "period", (512,), ("many", None, 1.5, [1]),
         r"^period(=many|: the value) is not a whole number: allowed are 16 to 1048576"),
        ("/machine/vsched/sdb[0]", "period", (1024,), (15, -1, 2**40),
         r"^period=-?\d+ is out of range: allowed are 16 to 1048576"),
        ("/machine/vsched/sdb[3]", "pcpu", (), (1, 3), "remains that of its PCPU, 3"),
        (vm(1), "cap", (800, 1, 0), (801, -1, 2**32), r"cap=\S+ is out of range: .* 0 .*to 800"),
        (vm(1), "vcpus", (), ([1],), "not writable"),
        (pcpu(7), "online", (False, True, True), (1, "on", None), "'online', expected: boolean"),
        (pcpu(7), "speed", ("2/3", "1/1000", "999/1000", "1"), ("1/1001", "3/2", "0", "0/1", "1/0"),
         "not a speed: allowed are 1, and ratios such as 2/3 from 1/1000 to 1"),
        (pcpu(7), "speed", ("1/2",), ("x", "", "1/2/3", " 1/2", "1/2 ", "-1/2", "0.5", "1/"),
         "not a speed: allowed are 1, and ratios such as 2/3 from 1/1000 to 1"),
        (pcpu(7), "vcpu", (), (1,), "not writable"),
        (vcpu(9), "affinity", ([0], [0, 7], list(range(8))), ([8], [0, 64], [65535]),
         "there is no PCPU .*: allowed are 0 to 7"),
        (vcpu(9), "affinity", ([3],), ([],), "run somewhere: .* PCPUs 0 to 7"),
        (vcpu(9), "affinity", ([4],), ([-1], [65536], ["x"], "0-3", 3, None, [True]),
         "affinity is a list of PCPUs: allowed are 0 to 7"),
        (vcpu(9), "vm", (), (0,), "not writable"), (vcpu(9), "pcpu", (), (0,), "not writable"),
        (vcpu(9), "state", (), ("running",), "not writable"),
        (vcpu(9), "cpu", (), ("/machine",), "not writable"),
    )

    def test_an_sdb_remains_that_of_its_pcpu(self):
        """Also if somebody unrealizes it."""
        sdb = "/machine/vsched/sdb[3]"
        put(self.guest, sdb, "realized", False)
        error = self.guest.qmp("qom-set", path=sdb, property="pcpu", value=0)
        self.assertIn("remains that of its PCPU, 3", error["error"]["desc"])
        put(self.guest, sdb, "realized", True)
        self.assertEqual(get(self.guest, sdb, "pcpu"), 3)

    def test_processors_that_are_not_plugged(self):
        with Guest("-M", "q35", "-nodefaults", "-smp", "2,maxcpus=4", "-S", "-accel",
                   "tcg,thread=vsched,pcpus=2", arch="x86_64") as guest:
            cpus = {cpu["qom-path"] for cpu in guest.cmd("query-cpus-fast")}
            paths = [get(guest, vcpu(v), "cpu") for v in range(4)]
            self.assertEqual((set(paths[:2]), paths[2:]), (cpus, ["", ""]))

    def test_qmp(self):
        """What is set is shown; what is refused changes nothing."""
        for path, name, good, bad, says in self.CHANGES:
            for value in good:
                put(self.guest, path, name, value)
                self.assertEqual(get(self.guest, path, name), value)
            before = get(self.guest, path, name)
            for value in bad:
                error = self.guest.qmp("qom-set", path=path, property=name, value=value)
                self.assertRegex(error["error"]["desc"], says, (path, name, value))
                self.assertEqual(get(self.guest, path, name), before)
        # A PCPU named twice is one; ratios are shown as they were given, but 1.
        put(self.guest, vcpu(9), "affinity", [5, 2, 5])
        self.assertEqual(get(self.guest, vcpu(9), "affinity"), [2, 5])
        put(self.guest, pcpu(7), "speed", "7/7")
        self.assertEqual(get(self.guest, pcpu(7), "speed"), "1")

    def test_hmp(self):
        def shown(path, name):
            return json.loads(self.hmp(f"qom-get {path} {name}"))

        for path, name, text, value in ((vcpu(9), "affinity", "0-3", [0, 1, 2, 3]),
                                        (vcpu(9), "affinity", "0-1,6", [0, 1, 6]),
                                        (vcpu(9), "affinity", "5", [5]),
                                        (pcpu(1), "online", "off", False),
                                        (pcpu(1), "speed", "2/3", "2/3"),
                                        (vm(0), "weight", "99", 99), (vm(0), "cap", "250", 250)):
            self.assertEqual(self.hmp(f"qom-set {path} {name} {text}"), "")
            self.assertEqual(shown(path, name), value)
        for path, name, text, says in ((vcpu(9), "affinity", "0-8", "no PCPU 8: allowed are 0 to 7"),
                                       (vcpu(9), "affinity", "x", "allowed are 0 to 7"),
                                       (vcpu(9), "affinity", '""', "allowed are 0 to 7"),
                                       (vcpu(9), "affinity", "3-1", "allowed are 0 to 7"),
                                       (pcpu(1), "online", "maybe", "'on' or 'off'"),
                                       (pcpu(1), "speed", "2", "1/1000 to 1"),
                                       (vm(0), "weight", "-1", "1 to 65535"),
                                       (vm(0), "weight", "1k",
                                        "weight=1k is not a whole number: allowed are 1 to 65535"),
                                       *((vcpu(9), "affinity", text,
                                          f"affinity={text} is no list of PCPUs: allowed are decimal"
                                          " numbers and ranges from 0 to 7, .*such as 0-3,5")
                                         for text in ("0x3", "0X3", "1,0x3", "0-0x3", "03"))):
            before = shown(path, name)
            self.assertRegex(self.hmp(f"qom-set {path} {name} {text}"), f"^Error: .*{says}")
            self.assertEqual(shown(path, name), before)
        self.assertEqual(self.hmp(f"qom-set -j {vcpu(9)} affinity [1,2]"), "")
        self.assertEqual(shown(vcpu(9), "affinity"), [1, 2])

    def test_the_last_pcpu_cannot_go_off(self):
        for p in (0, 1, 2, 3, 4, 6, 7):
            put(self.guest, pcpu(p), "online", False)
        error = self.guest.qmp("qom-set", path=pcpu(5), property="online", value=False)
        self.assertIn("the last PCPU that is on cannot go off", error["error"]["desc"])
        put(self.guest, pcpu(6), "online", True)
        put(self.guest, pcpu(5), "online", False)
        self.assertEqual([get(self.guest, pcpu(p), "online") for p in range(8)],
                         [p == 6 for p in range(8)])

    def suspensions(self):
        return [(e["data"]["vcpu"], e["data"]["suspended"])
                for e in self.guest.get_qmp_events() if e["event"] == "VSCHED_AFFINITY"]

    def test_suspended_masks(self):
        """An event when the last PCPU of a mask goes, and when the first comes; also if it
        is the mask that changes.  No other VCPU has one."""
        put(self.guest, vcpu(3), "affinity", [1, 2])
        put(self.guest, pcpu(1), "online", False)
        self.assertEqual(self.suspensions(), [])
        put(self.guest, pcpu(2), "online", False)
        self.assertEqual(self.suspensions(), [(3, True)])
        put(self.guest, pcpu(0), "online", False)
        self.assertEqual(self.suspensions(), [])
        self.assertEqual(get(self.guest, vcpu(3), "affinity"), [1, 2])     # as the user said
        put(self.guest, pcpu(2), "online", True)
        self.assertEqual(self.suspensions(), [(3, False)])
        put(self.guest, vcpu(4), "affinity", [0])
        self.assertEqual(self.suspensions(), [(4, True)])
        put(self.guest, vcpu(4), "affinity", [0, 7])
        self.assertEqual(self.suspensions(), [(4, False)])
        put(self.guest, pcpu(1), "online", True)
        self.assertEqual(self.suspensions(), [])

    def test_what_was_given_cannot_change(self):
        for option, instead in (("vms", "started with$"), ("affinity", "of vcpu.n."),
                                ("offline", "of pcpu.n."), ("speed", "of pcpu.n."),
                                ("weights", "/machine/vm.n."), ("caps", "/machine/vm.n.")):
            for path in ("/machine", "/machine/vsched"):
                before = get(self.guest, path, option)
                error = self.guest.qmp("qom-set", path=path, property=option, value="0")
                self.assertRegex(error["error"]["desc"], f"{option}.*started with")
                if path != "/machine":
                    self.assertRegex(error["error"]["desc"], instead)
                self.assertEqual(get(self.guest, path, option), before)


class Runs(Accounts, unittest.TestCase):
    """Of 24 VCPUs that have locks, or interrupt each other."""
    timeout = 200

    def good(self, guest, lost=0, speeds=None):
        console, stats = end(guest)
        report = json.loads(console)
        self.assertTrue(report["ok"], console)
        self.check_accounts(stats, speeds, lost)
        return report, stats

    def test_affinity(self):
        """VCPUs 0 to 7 have PCPUs 0 and 1 for themselves, 8 to 15 PCPU 3, others 4 to 6;
        PCPUs 2 and 7 stay idle.  Those that have one PCPU never migrate."""
        masks = {**dict.fromkeys(range(8), {0, 1}), **dict.fromkeys(range(8, 16), {3}),
                 **dict.fromkeys(range(16, 24), {4, 5, 6})}
        for sched in policies():
            with self.subTest(sched=sched), \
                    Guest(*program("mcs", f"{MACHINE},sched={sched},affinity=0-7:0-1+8-15:3+"
                                   "16-23:0x70", "rounds=30")) as guest:
                seen = collections.defaultdict(set)
                while guest.cmd("query-status")["status"] == "running":
                    for v in masks:
                        seen[v].add(get(guest, vcpu(v), "pcpu"))
                _, stats = self.good(guest, speeds=dict.fromkeys(range(8), (1, 1)))
                for v, mask in masks.items():
                    self.assertLessEqual(seen[v], mask, v)
                pcpus, vcpus = of_kind(stats, "pcpu"), of_kind(stats, "vcpu")
                self.assertEqual([p for p in pcpus if not pcpus[p]["insns"]], [2, 7])
                for v in range(8, 16):
                    self.assertEqual(vcpus[v]["migrations"], 0)
                for group, homes in ((range(8), (0, 1)), (range(8, 16), (3,)),
                                     (range(16, 24), (4, 5, 6))):
                    self.assertEqual(sum(vcpus[v]["insns-privileged"] for v in group),
                                     sum(pcpus[p]["insns"] for p in homes))

    def test_pcpus_off_and_on(self):
        """Every few ms of the host's, at random.  What is off runs nothing."""
        for name, rounds, seed in (("crosscall", 10, 1), ("ticket", 1000, 2)):
            draw = random.Random(seed)
            changes = 0
            with self.subTest(program=name), \
                    Guest(*program(name, MACHINE, f"rounds={rounds}", "-trace",
                                   "vsched_pcpu", "-D", os.path.join(self.dir(), "trace"))) as guest:
                online = set(range(8))
                while guest.cmd("query-status")["status"] == "running":
                    p = draw.randrange(8)
                    on = p not in online
                    answer = guest.qmp("qom-set", path=pcpu(p), property="online", value=on)
                    if online == {p}:
                        self.assertIn("cannot go off", answer["error"]["desc"])
                        continue
                    self.assertEqual(answer, {"return": {}})
                    online ^= {p}
                    changes += 1
                    if not on:      # it is off, and stays what it is
                        before = self.one_pcpu(guest, p)
                        time.sleep(0.002)
                        after = self.one_pcpu(guest, p)
                        grown = {n for n in after if after[n] != before[n]}
                        self.assertLessEqual(grown, {"clock", "offline"})
                _, stats = self.good(guest, speeds=dict.fromkeys(range(8), (1, 1)))
                self.assertGreater(changes, 20)
                self.assertGreater(stats["vm"]["vcpu-slices-evicted"], 10)
                self.assertGreater(stats["vm"]["vcpu-migrations"], 10)
                with open(os.path.join(self.dir(), "trace"), encoding="utf-8") as f:
                    self.check_offline(f.read(), stats)

    def dir(self):
        if not hasattr(self, "directory"):
            self.directory = tempfile.TemporaryDirectory()
            self.addCleanup(self.directory.cleanup)
        return self.directory.name

    @staticmethod
    def one_pcpu(guest, p):
        entry = guest.cmd("query-stats", target="pcpu", providers=[{"provider": "vsched"}])[p]
        return {s["name"]: s["value"] for s in entry["stats"]}

    def check_offline(self, log, stats):
        """Cycles off are those between the events, from the PCPU's own clock on."""
        since, off = {}, collections.Counter()
        for now, p, state in re.findall(r"vsched_pcpu cycle (\d+) pcpu (\d+) (on|off)", log):
            if state == "off":
                self.assertNotIn(p, since)
                since[p] = int(now)
            else:
                off[int(p)] += int(now) - since.pop(p)
        pcpus = of_kind(stats, "pcpu")
        for p in since:
            off[int(p)] += pcpus[int(p)]["clock"] - since[p]
        for p in pcpus:     # a switch, of 554 cycles, may have carried it beyond the window's end
            late = off[p] - pcpus[p]["offline"]
            self.assertIn(late, range(554 * max(1, log.count(f"pcpu {p} off"))))

    def test_random_affinity(self):
        """Masks change all the time, PCPUs too: suspended and not, the program ends right."""
        draw = random.Random(3)
        with Guest(*program("crosscall", MACHINE, "rounds=10")) as guest:
            suspended, online, masks = set(), set(range(8)), {v: set(range(8)) for v in range(24)}
            changes = 0
            while guest.cmd("query-status")["status"] == "running":
                if draw.randrange(3):
                    v = draw.randrange(24)
                    masks[v] = set(draw.sample(range(8), draw.choice((1, 1, 2, 5))))
                    put(guest, vcpu(v), "affinity", sorted(masks[v]))
                    self.assertEqual(get(guest, vcpu(v), "affinity"), sorted(masks[v]))
                else:
                    p = draw.randrange(8)
                    if online != {p}:
                        put(guest, pcpu(p), "online", p not in online)
                        online ^= {p}
                changes += 1
                for event in guest.get_qmp_events():
                    if event["event"] == "SHUTDOWN":
                        guest._events.append(event)     # for end()
                    elif event["event"] == "VSCHED_AFFINITY":
                        v = event["data"]["vcpu"]
                        self.assertNotEqual(v in suspended, event["data"]["suspended"])
                        suspended ^= {v}
                self.assertEqual(suspended, {v for v in masks if not masks[v] & online})
                p = draw.randrange(8)
                v = get(guest, pcpu(p), "vcpu")
                if v != -1:     # it runs there, so it may
                    self.assertIn(p, masks[v] & online or online)
            self.good(guest, speeds=dict.fromkeys(range(8), (1, 1)))
            self.assertGreater(changes, 20)

    def test_changes_of_policy(self):
        """All ordered pairs, some also with another timeslice, as fast as QMP can; what
        cannot be changes nothing.  The program's result is right, and of VCPUs that compute
        all the time everyone has had its part."""
        names = policies()
        pairs = itertools.cycle(pair for one, other in itertools.permutations(names, 2)
                                for pair in (one, other))
        for name, parameters in (("crosscall", "rounds=10"), ("ticket", "rounds=1000")):
            changes = 0
            with self.subTest(program=name), Guest(*program(name, MACHINE, parameters)) as guest:
                while guest.cmd("query-status")["status"] == "running":
                    sched = next(pairs)
                    put(guest, "/machine/vsched", "sched", sched)
                    self.assertEqual(get(guest, "/machine/vsched", "sched"), sched)
                    changes += 1
                    if not changes % 3 and "slice" in self.parameters(guest):
                        put(guest, "/machine/vsched/policy", "slice", "20us")
                    if not changes % 10:
                        self.refused_policy(guest)
                self.good(guest, speeds=dict.fromkeys(range(8), (1, 1)))
                self.assertGreater(changes, 50)

    @staticmethod
    def parameters(guest):
        return {p["name"]: get(guest, "/machine/vsched/policy", p["name"])
                for p in guest.cmd("qom-list", path="/machine/vsched/policy")}

    def refused_policy(self, guest):
        before = get(guest, "/machine/vsched", "sched"), self.parameters(guest)
        for path, prop, value in (("/machine/vsched", "sched", "best"),
                                  ("/machine/vsched", "sched", ""),
                                  ("/machine/vsched", "sched", 1),
                                  ("/machine/vsched/policy", "slice", "100s"),
                                  ("/machine/vsched/policy", "nonsense", 1)):
            self.assertIn("error", guest.qmp("qom-set", path=path, property=prop, value=value))
        self.assertEqual((get(guest, "/machine/vsched", "sched"), self.parameters(guest)), before)

    @staticmethod
    def longest_waits(guest):
        """Of each policy that has one, in nanoseconds"""
        waits = {}
        for name in policies():
            put(guest, "/machine/vsched", "sched", name)
            waits[name] = guest.cmd("query-vsched").get("longest-wait")
        return {name: wait for name, wait in waits.items() if wait}

    def test_nobody_starves(self):
        """24 VCPUs that compute all the time on 8 PCPUs.  Policies change many times in a
        timeslice, which has a million cycles at 10 GHz, of a slow machine: nobody waits for
        longer than the two longest waits of these policies together."""
        with Guest("-S", *program("stream", MACHINE + ",clock-hz=10000000000",
                                  "words=1000 rounds=10000000"),
                   "-accel", "tcg,one-insn-per-tb=on") as guest:
            waits = self.longest_waits(guest)
            # Those that wait for ten timeslices and more would take minutes.
            waits = {name: wait for name, wait in waits.items() if wait < 1_000_000}
            self.assertLessEqual({"sdb", "timeslice", "partition"}, set(waits))
            put(guest, "/machine/vsched", "sched", "sdb")
            guest.cmd("cont")
            wait_for(guest, 3_000_000)
            before = guest.stats()
            names = itertools.cycle(waits)
            changes = 0
            while (now := guest.stats())["vm"]["time"] < before["vm"]["time"] + 9_000_000:
                for _ in range(100):
                    put(guest, "/machine/vsched", "sched", next(names))
                    changes += 1
            bound = 10 * sum(sorted(waits.values())[-2:])
            for v, stats in of_kind(now, "vcpu").items():
                self.assertLessEqual(stats["longest-wait"], bound, v)
            self.assertGreater(changes, 50)

    def test_at_once(self):
        """Who runs where it may not any more is evicted at once, and is ready; also while the
        machine is stopped.  The program of 24 ends right."""
        with Guest(*program("mcs", MACHINE, "rounds=300")) as guest:
            wait_for(guest, 2_000_000)
            guest.cmd("stop")
            self.assertEqual(guest.cmd("query-status")["status"], "paused")

            def evicted(v):
                return of_kind(guest.stats(), "vcpu")[v]["slices-evicted"]

            for p, change in ((0, lambda v: put(guest, vcpu(v), "affinity", [1, 2])),
                              (3, lambda v: put(guest, pcpu(3), "online", False))):
                v = get(guest, pcpu(p), "vcpu")
                self.assertEqual(get(guest, vcpu(v), "state"), "running")
                self.assertEqual(evicted(v), 0)
                change(v)
                self.assertEqual(get(guest, pcpu(p), "vcpu"), -1)
                self.assertEqual((get(guest, vcpu(v), "state"), evicted(v)), ("ready", 1))
            guest.cmd("cont")
            self.good(guest)


class Speed(Accounts, unittest.TestCase):
    """PCPUs that are slower: ratios and sums."""
    timeout = 60
    GIVEN = "speed=1:1/2+2:2/3+3:7/9+4:1/1000+5:999/1000+6:1/3"
    RATIOS = {0: (1, 1), 1: (1, 2), 2: (2, 3), 3: (7, 9), 4: (1, 1000), 5: (999, 1000), 6: (1, 3)}

    def test_sums_are_exact(self):
        """n instructions at i/c take n c / i cycles, rounded down, however they come.  One
        VCPU a PCPU, which computes without end: what is not its switch, 554 cycles, is that."""
        with Guest(*program("search", f"cmp,pcpus=7,vcpus=7,{self.GIVEN}",
                            "limit=4000000000")) as guest:
            wait_for(guest, 20_000_000)
            guest.cmd("stop")
            stats = guest.stats()
            pcpus, _ = self.check_accounts(stats, self.RATIOS)
            # PCPU 0 starts the others; then all have the same time.
            now = stats["vm"]["time"]
            for p, (insns, cycles) in self.RATIOS.items():
                left = now - pcpus[p]["switching"] - pcpus[p]["idle"] - pcpus[p]["skipped"]
                # A block of up to 64 instructions may not have fitted.
                self.assertLessEqual(abs(left * insns // cycles - pcpus[p]["insns"]), 64, p)

    def test_half_the_speed(self):
        """The same program, alone on one PCPU of half the speed, takes twice the cycles for
        the same instructions: nothing in it depends on time."""
        ends = {}
        for speed in ("1", "1/2", "2/3", "1/7"):
            with Guest(*program("search", f"cmp,pcpus=1,vcpus=1,speed={speed}", "limit=400",
                                )) as guest:
                console, stats = end(guest)
                self.assertTrue(json.loads(console)["ok"])
                insns, cycles = (int(n) for n in (speed + "/1").split("/")[:2])
                self.check_accounts(stats, {0: (insns, cycles)})
                ends[speed] = of_kind(stats, "pcpu")[0], json.loads(console)["cycles"]
        # It ends itself with a store to a device, and runs to the end of that window.
        for speed, factor in (("1/2", 2), ("2/3", 1.5), ("1/7", 7)):
            self.assertLessEqual(abs(ends[speed][0]["insns"] - ends["1"][0]["insns"]), 1000)
            self.assertLessEqual(abs(ends[speed][0]["busy"] - factor * ends["1"][0]["busy"]),
                                 1000 * factor)
            # By its own %tick, with what a division leaves.
            self.assertLessEqual(abs(ends[speed][1] - factor * ends["1"][1]), factor)

    def test_live(self):
        """From one moment on; the sum begins anew there, a remainder at most is lost."""
        with Guest(*program("search", "cmp,pcpus=2,vcpus=2", "limit=4000000000")) as guest:
            wait_for(guest, 5_000_000)
            before = of_kind(guest.stats(), "pcpu")[1]
            guest.cmd("stop")
            for speed, insns, cycles in (("1/2", 1, 2), ("2/3", 2, 3), ("5/7", 5, 7), ("1", 1, 1)):
                put(guest, pcpu(1), "speed", speed)
                before = of_kind(guest.stats(), "pcpu")[1]
                guest.cmd("cont")
                wait_for(guest, wait_for(guest, 0) + 3_000_000)
                guest.cmd("stop")
                stats = guest.stats()
                self.check_accounts(stats, {0: (1, 1)})
                after = of_kind(stats, "pcpu")[1]
                ran = after["insns"] - before["insns"]
                self.assertGreater(ran, 100_000)
                self.assertEqual(after["busy"] - before["busy"], ran * cycles // insns, speed)


class Statistics(Accounts, unittest.TestCase):
    timeout = 60

    def query(self, guest, target, *names):
        provider = {"provider": "vsched", **({"names": list(names)} if names else {})}
        return [(e.get("qom-path"), {s["name"]: s["value"] for s in e["stats"]})
                for e in guest.cmd("query-stats", target=target, providers=[provider])]

    @staticmethod
    def whole(name, parts):
        """The sum, or of a peak the largest; of histograms bucket by bucket"""
        values = [part[name] for part in parts]
        if name.endswith("running-on"):
            return [sum(bucket) for bucket in zip(*values)]
        return (max if name.endswith("longest-wait") else sum)(values)

    def test_entries(self):
        """Machine, then VMs: each the sum over its VCPUs, which the machine's total is of all.
        One VM has no entry of its own."""
        for vms, groups in (("", [range(24)]), ("vms=24,", [range(24)]),
                            ("vms=8+1+15,", [range(8), range(8, 9), range(9, 24)])):
            with self.subTest(vms=vms), \
                    Guest(*program("crosscall", f"{MACHINE},{vms}sched=sdb", "rounds=1")) as guest:
                self.assertTrue(json.loads(end(guest)[0])["ok"])
                (none, total), *of_vms = self.query(guest, "vm")
                self.assertIsNone(none)
                self.assertEqual([path for path, _ in of_vms],
                                 [vm(k) for k in range(len(groups))] if len(groups) > 1 else [])
                vcpus = dict(self.query(guest, "vcpu"))
                for (path, values), group in zip(of_vms, groups):
                    self.assertEqual(get(guest, path, "vcpus"), list(group))
                    mine = [vcpus[get(guest, vcpu(v), "cpu")] for v in group]
                    self.assertEqual(values, {"vcpu-" + name: self.whole(name, mine)
                                              for name in mine[0]})
                    self.assertGreater(values["vcpu-insns-privileged"], 0)
                for name, value in total.items():
                    if name.startswith("vcpu-"):
                        self.assertEqual(value, self.whole(name[5:], vcpus.values()))
                        if of_vms:
                            self.assertEqual(value, self.whole(name, (v for _, v in of_vms)))
                schema, = (s["stats"] for s in guest.cmd("query-stats-schemas", provider="vsched")
                           if s["target"] == "vm")
                names = [v["name"] for v in schema]
                self.assertEqual(set(names), set(total))
                for _, values in of_vms:        # HMP needs the same order
                    self.assertEqual(list(values), [n for n in names if n in values])

    def test_by_name(self):
        with Guest("-S", *program("tas", f"{MACHINE},vms=23+1", "rounds=1")) as guest:
            self.assertEqual(self.query(guest, "vm", "windows"), [(None, {"windows": 0})])
            self.assertEqual(self.query(guest, "vm", "vcpu-ready", "windows"),
                             [(None, {"windows": 0, "vcpu-ready": 0}),
                              (vm(0), {"vcpu-ready": 0}), (vm(1), {"vcpu-ready": 0})])
            said = guest.cmd("human-monitor-command", command_line="info stats vm")
            self.assertEqual(said.count("vcpu-ready"), 3)
            self.assertNotIn("failed", said)

    def test_times_of_a_vcpu(self):
        """Its five states are all of the time, also of one that never started."""
        with Guest(*program("tas", f"{MACHINE},vms=8+16,offline=7,affinity=0-3:1",
                            "rounds=40 vcpus=20")) as guest:
            _, stats = end(guest)
            pcpus, vcpus = self.check_accounts(stats, {p: (1, 1) for p in range(8)})
            self.assertEqual((pcpus[7]["offline"], pcpus[7]["insns"]), (pcpus[7]["clock"], 0))
            for v in vcpus.values():
                self.assertLess(abs(sum(v[s] for s in STATES) - stats["vm"]["time"]), 64 + 554)
            for v in range(20, 24):
                self.assertEqual((vcpus[v]["blocked"], vcpus[v]["switched-in"]),
                                 (stats["vm"]["time"], 0))
            self.assertEqual(stats["/machine/vm[1]"]["vcpu-migrations"], 0)

    def test_vm_stat(self):
        """The script has a line for each VM, with the numbers of QMP."""
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "qmp")
            with Guest(*program("tas", f"{MACHINE},vms=8+16", "rounds=1"),
                       "-qmp", f"unix:{path},server=on,wait=off") as guest:
                end(guest)
                expected = self.query(guest, "vm")

                def say(*args):
                    return subprocess.run([os.path.join(TOP, "scripts/vm-stat"), *args, path],
                                          text=True, stdout=subprocess.PIPE, check=True).stdout

                self.assertEqual(json.loads(say("--json"))["vm"],
                                 {path or "vm": values for path, values in expected})
                tables = say().split("\n\n")
                self.assertEqual(re.findall(r"^vcpu-switched-in +(\S+)$", tables[0], re.M),
                                 [f"{expected[0][1]['vcpu-switched-in']:,}"])
                lines = [line.split() for t in tables for line in t.splitlines() if line]
                for k, (_, values) in enumerate(expected[1:]):
                    mine = [line[1:] for line in lines if line[0] == f"vm[{k}]"]
                    self.assertEqual(sum(mine, []), [f"{n:,}" for n in values.values()
                                                     if isinstance(n, int)])  # no histograms


Event = collections.namedtuple("Event", "kind now pcpu vcpu other")


def read_trace(path):
    """The events of a log, in its order"""
    with open(path, encoding="utf-8") as f:
        for line in f:
            kind, now, rest = re.match(r"vsched_(\w+) cycle (\d+) ?(.*)", line).groups()
            numbers = {k: int(n) for k, n in re.findall(r"(from pcpu|before vcpu|pcpu|vcpu|windows) "
                                                        r"(-?\d+)", rest)}
            yield Event(kind, int(now), numbers.get("pcpu"), numbers.get("vcpu"),
                        numbers.get("windows", numbers.get("before vcpu", numbers.get(
                            "from pcpu", rest.split()[-1]))))


class Reader:
    """Rebuilds who ran where from the events of a policy that lets no PCPU rest while a VCPU
    waits for it, as the static maps do: a VCPU whose registers are there still is not switched
    in again, and runs on as soon as it may."""
    COST = 554

    def __init__(self, events, test):
        self.count = collections.defaultdict(collections.Counter)   # of each VCPU
        self.ran = collections.Counter()            # cycles of each VCPU
        self.on = {}                                # PCPU: (VCPU, since)
        self.last, self.holder = {}, {}             # whose registers; where a VCPU's are
        self.home, self.ready = {}, {}              # where it ran last; since when it waits
        self.windows, self.names, self.test = 0, [], test
        for event in events:
            getattr(self, event.kind)(event)

    def switch(self, e):
        self.test.assertNotIn(e.pcpu, self.on)
        self.test.assertIn(e.vcpu, self.ready)
        self.test.assertEqual(self.last.get(e.pcpu, -1), e.other)
        self.test.assertNotEqual(e.vcpu, e.other)
        before = self.holder.get(e.vcpu)
        if before is not None and self.last.get(before) == e.vcpu:
            self.last[before] = -1
        self.last[e.pcpu], self.holder[e.vcpu] = e.vcpu, e.pcpu
        self.count[e.vcpu]["switched-in"] += 1
        self.begin(e.pcpu, e.vcpu, e.now + self.COST)

    def begin(self, p, v, now):
        del self.ready[v]
        self.on[p], self.home[v] = (v, now), p

    def stop(self, e):
        """It ran there until now; if nobody said that it began, from where it waited on."""
        if e.pcpu not in self.on:
            self.test.assertEqual(self.last[e.pcpu], e.vcpu)
            self.begin(e.pcpu, e.vcpu, self.ready[e.vcpu])
        v, since = self.on.pop(e.pcpu)
        self.test.assertEqual(v, e.vcpu)
        self.ran[v] += e.now - since

    def wake(self, e):
        self.test.assertNotIn(e.vcpu, self.ready)
        self.test.assertNotIn(e.vcpu, (v for v, _ in self.on.values()))
        self.ready[e.vcpu] = e.now

    def preempt(self, e):
        self.stop(e)
        self.count[e.vcpu][e.other] += 1
        self.ready[e.vcpu] = e.now

    def block(self, e):
        if e.vcpu in self.ready and self.last.get(e.pcpu) != e.vcpu:
            del self.ready[e.vcpu]      # it waited
        else:
            self.stop(e)

    def migrate(self, e):
        self.test.assertEqual(self.home[e.vcpu], e.other)
        self.test.assertNotEqual(e.pcpu, e.other)
        self.count[e.vcpu]["migrations"] += 1
        self.home[e.vcpu] = e.pcpu

    def window(self, e):
        self.windows += e.other

    def policy(self, e):
        self.names.append(e.other)

    def pcpu(self, e):
        if e.other == "off":
            self.test.assertNotIn(e.pcpu, self.on)
            self.holder.pop(self.last.pop(e.pcpu, None), None)

    def finish(self, clocks):
        """VCPUs that run at the end do so until the PCPU's clock."""
        for v in [v for v in self.ready if self.last.get(self.holder.get(v)) == v and
                  self.holder[v] not in self.on]:
            self.begin(self.holder[v], v, self.ready[v])
        for p, (v, since) in self.on.items():
            self.ran[v] += clocks[p] - since


class Trace(Accounts, unittest.TestCase):
    timeout = 100
    EVENTS = ("switch", "wake", "block", "preempt", "migrate", "window", "policy", "pcpu")

    def run_traced(self, machine, name, parameters, meanwhile=lambda guest: None):
        """(what the reader says, statistics)"""
        with tempfile.TemporaryDirectory() as directory:
            log = os.path.join(directory, "log")
            with Guest(*program(name, machine, parameters), *(
                    word for e in self.EVENTS for word in ("-trace", f"vsched_{e}")),
                    "-D", log) as guest:
                while guest.cmd("query-status")["status"] == "running":
                    meanwhile(guest)
                console, stats = end(guest)
                self.assertTrue(json.loads(console)["ok"], console)
                pcpus, vcpus = self.check_accounts(stats)
                reader = Reader(read_trace(log), self)
                reader.finish({p: values["clock"] for p, values in pcpus.items()})
                running = {v for v, _ in reader.on.values()}
                shown = {get(guest, pcpu(p), "vcpu") for p in range(len(pcpus))} - {-1}
                self.assertEqual(running, shown)
                for v in running:
                    self.assertEqual(get(guest, vcpu(v), "state"), "running")
                for v in reader.home:
                    self.assertEqual(get(guest, vcpu(v), "pcpu"), reader.home[v])
        self.assertEqual(reader.windows, stats["vm"]["windows"])
        for v, values in vcpus.items():
            count = reader.count[v]
            for event, name in (("switched-in", "switched-in"), ("migrations", "migrations"),
                                ("preempted", "slices-preempted"), ("evicted", "slices-evicted")):
                self.assertEqual(count[event], values[name], (v, event))
            # One that is to go is counted before it does.
            for event, of in (("expired", values["slices-expired"]),
                              ("yielded", values["slices-ended-by-spin"] +
                               values["slices-ended-by-hint"])):
                self.assertIn(of - count[event], (0, 1) if v in running else (0,), (v, event))
        return reader, stats

    def check_running(self, reader, stats, slack=0):
        for v, values in of_kind(stats, "vcpu").items():
            ran = values["running-useful"] + values["running-spinning"]
            self.assertLessEqual(abs(reader.ran[v] - ran), slack, v)

    def test_who_ran_where(self):
        """VCPUs that send each other nothing: to the cycle."""
        for sched, name in itertools.product(("timeslice", "sdb"), ("tas", "search")):
            with self.subTest(sched=sched, program=name):
                reader, stats = self.run_traced(
                    f"{MACHINE},vms=8+8+8,affinity=0-7:0-3,sched={sched},slice=20us,speed=2:2/3",
                    name, "rounds=60" if name == "tas" else "limit=500")
                self.check_running(reader, stats)
                self.assertEqual(reader.names, [sched])
                self.assertGreater(sum(c["expired"] for c in reader.count.values()), 30)
                yielded = sum(c["yielded"] for c in reader.count.values())
                if sched == "timeslice":
                    self.assertEqual(yielded, 0)
                elif name == "tas":
                    self.assertGreater(yielded, 50)

    def test_cross_calls(self):
        """A PCPU that is short of the window's end when its VCPU is sent something goes there:
        up to 64 cycles that no event tells, for each."""
        reader, stats = self.run_traced(f"{MACHINE},sched=sdb", "crosscall", "rounds=1")
        self.check_running(reader, stats, slack=64 * 2 * 24 * 24)

    def test_changes(self):
        """PCPUs, masks and policies change meanwhile."""
        draw = random.Random(4)
        names = policies()
        expected = ["sdb"]

        def change(guest):
            what = draw.randrange(3)
            if what == 0:
                guest.qmp("qom-set", path=pcpu(draw.randrange(8)), property="online",
                          value=draw.random() < 0.7)
            elif what == 1:
                put(guest, vcpu(draw.randrange(24)), "affinity", draw.sample(range(8), 3))
            else:
                expected.append(draw.choice(names))
                put(guest, "/machine/vsched", "sched", expected[-1])

        reader, stats = self.run_traced(MACHINE, "ticket", "rounds=400", change)
        self.assertEqual(reader.names, expected)
        self.assertGreater(stats["vm"]["vcpu-slices-evicted"], 10)
        self.assertGreater(stats["vm"]["vcpu-migrations"], 10)


if __name__ == "__main__":
    unittest.main()
