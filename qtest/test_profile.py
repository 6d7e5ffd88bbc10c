"""Profiles: what they say is what the guest did, and taking one changes nothing.

Samples are compared with programs whose parts are known by construction, and with the counters of
query-stats.  A number of samples is that of a sum of independent draws, one in each interval, whose
variance is at most that of a binomial distribution; it may be off by 4.5 standard deviations of
that, which in a run that was not chosen happens once in 150,000 times.  Runs repeat, so a test
passes always or never.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import collections
import json
import math
import os
import re
import subprocess
import tempfile
import unittest

from support import SLOWER, TOP, VMLINUX, Guest, linux, x86_rom
from test_observer import without_sdb
from test_save import elf, end, load, program, save, wait_for

MACHINE = "cmp,pcpus=2,vcpus=3,slice=50us,sched=timeslice"
DEVIATIONS = 4.5
RUNNING = ("user", "user-spinning", "privileged", "privileged-spinning")
WAITING = ("ready", "blocked", "switching", "profiling")


def start(at=0, **arguments):
    """A profile from the start on."""
    given = ",,".join(f"{k}={v}" for k, v in arguments.items())
    return ["-object", f"vsched-command,id=profile,at={at},run=vsched-profile-start"
            + (f",arguments={given}" if given else "")]


def written(guest, name="profile.json"):
    path = os.path.join(guest.dir, name)
    guest.cmd("vsched-profile-save", filename=path)
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def taken(name, machine, parameters, *more):
    """A run with a profile: (console, counters, query-vsched-profile, file)."""
    with Guest(*program(name, machine, parameters, *more)) as guest:
        console, stats = end(guest, timeout=100)
        guest.cmd("vsched-profile-stop")
        return console, stats, guest.cmd("query-vsched-profile"), written(guest)


def functions(name):
    """{function: (start, end)} of a bare-metal program."""
    out = subprocess.run(["sparc64-linux-gnu-nm", "-S", elf(name)], stdout=subprocess.PIPE,
                         text=True, check=True).stdout
    return {f[3]: (int(f[0], 16), int(f[0], 16) + int(f[1], 16))
            for f in map(str.split, out.splitlines()) if len(f) == 4}


def inside(place, samples, spinning=None, vcpu=None):
    """How many samples are in these addresses."""
    return sum(n for v, _, spins, pc, n in samples
               if place[0] <= int(pc, 16) < place[1] and vcpu in (None, v)
               and spinning in (None, spins))


def sums(profile):
    return {k: sum(v[k] for v in profile["vcpus"]) for k in RUNNING + WAITING}


class About(unittest.TestCase):
    def assert_part(self, hits, draws, share, what):
        limit = DEVIATIONS * math.sqrt(draws * share * (1 - share)) + 1
        self.assertLessEqual(abs(hits - draws * share), limit, f"{what}: {hits} of {draws}")


class Truth(About):
    timeout = 300
    ROUNDS, TURNS, RATE = 400, 1000, 1000000

    def check_parts(self, user):
        _, stats, info, saved = taken("parts", MACHINE, f"rounds={self.ROUNDS} turns={self.TURNS} "
                                      f"user={user}", *start(rate=self.RATE))
        samples, where = saved["samples"], functions("parts")
        one, three, wait = (where[f] for f in ("part_one", "part_three", "wait_for_parts"))
        # A loop of 5 instructions: turns + 1 of them, and 3 * turns + 1; a few around each.
        length = [5 * (turns + 1) for turns in (self.TURNS, 3 * self.TURNS)]
        hits = [inside(place, samples) for place in (one, three)]
        self.assert_part(hits[1], sum(hits), length[1] / sum(length), "part_three")
        # 1 cycle an instruction, 1000 cycles an interval
        expected = self.ROUNDS * sum(length) / 1000
        self.assertLess(abs(sum(hits) - expected), DEVIATIONS * math.sqrt(expected))
        # Each of the loop's instructions is executed as often as any other.
        by_pc = collections.Counter()
        for *_, pc, n in samples:
            if three[0] <= int(pc, 16) < three[1]:
                by_pc[int(pc, 16)] += n
        loop = [pc for pc, n in by_pc.items() if n > 100]
        self.assertEqual(sorted(loop), list(range(min(loop), min(loop) + 20, 4)))
        for pc in loop:
            self.assert_part(by_pc[pc], hits[1], 1 / 5, hex(pc))
        # Work is progress, waiting is not, but for periods that VCPU switches cut off: a period
        # of 1024 instructions, and what led up to it, in a slice of 50,000.
        self.assertEqual(inside(one, samples, True) + inside(three, samples, True), 0)
        waited, spun = inside(wait, samples), inside(wait, samples, True)
        self.assertGreater(waited, 10000)
        self.assertEqual(inside(wait, samples, vcpu=0), 0)
        self.assertLess(waited - spun, waited * 0.1)
        modes = sums(info)
        mode = "user" if user else "privileged"
        self.assertLessEqual(inside(wait, samples, True), modes[f"{mode}-spinning"])
        for *_, vmode, _, pc, n in samples:
            if any(a <= int(pc, 16) < b for a, b in (one, three, wait)):
                self.assertEqual(vmode, mode)
        return stats, info

    def check_states(self, stats, info):
        """What the profile says of each VCPU is what the engine counts."""
        interval = info["interval"]
        for v in info["vcpus"]:
            counters = stats[f"/machine/vcpu[{v['vcpu']}]"]
            draws = sum(v[k] for k in RUNNING + WAITING)
            self.assertLessEqual(abs(draws - info["end"] // interval), 1)
            for what, hits, cycles in (
                    ("spinning", v["user-spinning"] + v["privileged-spinning"],
                     counters["running-spinning"]),
                    ("useful", v["user"] + v["privileged"], counters["running-useful"]),
                    ("user", v["user"] + v["user-spinning"], counters["insns-user"]),
                    ("privileged", v["privileged"] + v["privileged-spinning"],
                     counters["insns-privileged"]),
                    *((state, v[state], counters[state]) for state in WAITING[:3])):
                self.assert_part(hits, draws, min(1, cycles / interval / draws),
                                 (v["vcpu"], what))

    def test_privileged(self):
        self.check_states(*self.check_parts(user=0))

    def test_user(self):
        self.check_states(*self.check_parts(user=1))

    def test_locks(self):
        """Spins and progress in one function, VCPUs that come and go, and so do policies, PCPUs."""
        timeslice = "policy=timeslice,,parameters.slice=20us"
        for changes in ((), (("set-policy", timeslice), ("set-pcpu", "pcpu=1,,online=off"),
                             ("set-policy", "policy=yieldto"), ("set-pcpu", "pcpu=1,,online=on"))):
            objects = []
            for i, (what, given) in enumerate(changes):
                objects += ["-object", f"vsched-command,id=c{i},at={i + 1}ms,run=vsched-{what},"
                            f"arguments={given}"]
            _, stats, info, _ = taken("ticket", "cmp,pcpus=2,vcpus=5,sched=sdb,slice=20us",
                                      "rounds=100 user=1 inside=1000", *start(rate=500000),
                                      *objects)
            self.check_states(stats, info)

    def test_slow(self):
        """Cycles are no instructions: at 1/2, a sample is taken of every second as many."""
        _, stats, info, _ = taken("parts", MACHINE + ",speed=1/2", "rounds=100",
                                  *start(rate=self.RATE))
        insns = sum(stats["vm"][f"vcpu-insns-{mode}"] for mode in ("user", "privileged"))
        hits = sum(sums(info)[k] for k in RUNNING)
        self.assertLess(abs(hits - 2 * insns / 1000), DEVIATIONS * math.sqrt(hits))

    def test_skip(self):
        """Time that was skipped was spent spinning."""
        _, stats, info, _ = taken("parts", MACHINE + ",skip=10us", "rounds=100",
                                  *start(rate=self.RATE))
        self.assertGreater(stats["vm"]["pcpu-skipped"], 100000)
        spun = stats["vm"]["vcpu-running-spinning"] / 1000
        hits = sums(info)["user-spinning"] + sums(info)["privileged-spinning"]
        self.assertLess(abs(hits - spun), DEVIATIONS * math.sqrt(spun))

    def test_stalls(self):
        """Moments in stalls are moments of VCPUs that run."""
        _, stats, info, _ = taken("parts", MACHINE + ",random-stalls=50", "rounds=50",
                                  *start(rate=self.RATE))
        ran = sum(stats["vm"][f"vcpu-running-{k}"] for k in ("useful", "spinning")) / 1000
        self.assertGreater(stats["vm"]["pcpu-stalled"], stats["vm"]["pcpu-busy"] / 2)
        hits = sum(sums(info)[k] for k in RUNNING)
        self.assertLess(abs(hits - ran), DEVIATIONS * math.sqrt(ran))

    def test_x86(self):
        """Instructions of different lengths: each where it begins, and as often as the others."""
        # 1: inc %ax; add $1, %bx; mov $0x1234, %cx; jmp 1b
        loop = [b"\x40", b"\x83\xc3\x01", b"\xb9\x34\x12"]
        size = sum(map(len, loop))
        back = b"\xeb" + (-size - 2 & 0xff).to_bytes(1, "little")
        rom = x86_rom([b"\xf4"], [], [*loop, back])
        with tempfile.NamedTemporaryFile() as f:
            f.write(rom)
            f.flush()
            self.check_x86(f.name, rom, loop)

    def check_x86(self, path, rom, loop):
        starts, size = [0, 1, 4, 7], 7
        with Guest("-M", "q35", "-cpu", "qemu64,+x2apic", "-nodefaults", "-bios", path,
                   "-accel", "tcg,thread=vsched,pcpus=1", *start(rate=100000),
                   arch="x86_64") as guest:
            wait_for(guest, 40000000)
            guest.cmd("stop")
            samples = written(guest)["samples"]
        first = rom.index(b"".join(loop)) + 0xffff0000
        hits = collections.Counter()
        for *_, pc, n in samples:
            hits[int(pc, 16) - first] += n
        looped = {k: n for k, n in hits.items() if 0 <= k < size + 2}
        self.assertEqual(sorted(looped), starts)
        self.assertGreater(sum(looped.values()), 3000)
        for k in starts:
            self.assert_part(hits[k], sum(looped.values()), 1 / 4, k)


class Observer(unittest.TestCase):
    """A run with a profile is the one without, and whoever looks on, the profile is the same."""
    timeout = 600
    PROGRAMS = (("crosscall", "rounds=3"), ("tas", "rounds=200 user=1"), ("selftest", ""),
                ("traps", "sweep=0 vcpus=1"))

    def test_same_run(self):
        for more in ("sched=sdb", "sched=timeslice,sdb=off", "sched=sdb,random-stalls=30",
                     "sched=sdb,skip=10us"):
            machine = f"cmp,pcpus=2,vcpus=5,slice=20us,{more}"
            for name, parameters in self.PROGRAMS:
                with self.subTest(program=name, machine=machine):
                    with Guest(*program(name, machine, parameters)) as guest:
                        alone = end(guest, timeout=100)
                    with Guest(*program(name, machine, parameters,
                                        *start(rate=1000000, stacks=128))) as guest:
                        self.assertEqual(end(guest, timeout=100), alone)
                        self.assertGreater(sum(sums(guest.cmd("query-vsched-profile")).values()),
                                           1000)

    def test_same_profile(self):
        """Spinning is what the SDB adds; nothing else depends on it, or on other listeners."""
        def everything_but_spinning(profile):
            out = collections.Counter()
            for vcpu, mode, _, pc, n, stack in profile["samples"]:
                out[vcpu, mode, pc, json.dumps(profile["stacks"][stack])] += n
            return out, [{k: v for k, v in of.items() if "spinning" not in k}
                         for of in profile["vcpus"]]

        machine = "cmp,pcpus=2,vcpus=5,slice=20us,sched=timeslice"
        arguments = ("tas", machine, "rounds=200 user=1", *start(rate=1000000, stacks=32))
        one = taken(*arguments)[3]
        self.assertEqual(taken(*arguments, "-d", "nochain")[3], one)
        self.assertEqual(taken(*arguments, "-trace", "vsched_period")[3], one)
        without = taken(arguments[0], machine + ",sdb=off", *arguments[2:])[3]
        self.assertEqual(everything_but_spinning(without), everything_but_spinning(one))
        self.assertFalse(any(spins for _, _, spins, *_ in without["samples"]))
        self.assertEqual((one["spins-seen"], without["spins-seen"]), (True, False))

    def test_seed(self):
        runs = [taken("parts", MACHINE, "rounds=20", *start(rate=100000, stacks=9), "-seed", seed)[3]
                for seed in ("1", "1", "2")]
        self.assertEqual(runs[0], runs[1])
        self.assertNotEqual(runs[0]["samples"], runs[2]["samples"])


class Cost(About):
    """Samples that take time, as interrupts do."""
    timeout = 300
    ARGUMENTS = ("rounds=800 user=1", *start(rate=100000, cost=2000))
    MANY = "cmp,pcpus=2,vcpus=5,slice=20us,sched="

    def test_charged(self):
        """Each sample of a VCPU that ran cost its PCPU 2000 cycles, and nothing else stalled."""
        for more in ("timeslice", "sdb"):
            runs = [taken("tas", self.MANY + more, *self.ARGUMENTS) for _ in range(2)]
            self.assertEqual(runs[0], runs[1])
            _, stats, info, _ = runs[0]
            hits = sum(sums(info)[k] for k in RUNNING)
            self.assertEqual(stats["vm"]["pcpu-stalled"], 2000 * hits)
            self.assertGreater(hits, 300)
            # The next moment comes less than 2000 cycles after this one if both are near the
            # same border between two intervals of 10000: (2000 / 10000)^2 / 2.
            self.assert_part(sums(info)["profiling"], hits, 0.02, more)

    def test_whoever_looks_on(self):
        one, other = (taken("tas", self.MANY + "timeslice" + more, *self.ARGUMENTS)[:2]
                      for more in ("", ",sdb=off"))
        self.assertEqual(one[0], other[0])
        self.assertEqual(without_sdb(one[1]), without_sdb(other[1]))

    def test_saved(self):
        """A machine that is loaded pays on, and its profile goes on where it was."""
        for cost, stacks, more in ((2000, 0, "sdb"), (0, 40, "sdb"),
                                   (2000, 3, "sdb,random-stalls=20")):
            arguments = program("calls", self.MANY + more, "rounds=500")
            begin = start(rate=200000, cost=cost, stacks=stacks)
            with Guest(*arguments, *begin) as guest:
                whole = *end(guest), guest.cmd("query-vsched-profile"), written(guest)
            with Guest(*arguments, *begin, "-S") as guest:
                # Half way through, however quick the host is: each run takes at least 25 ms.
                guest.cmd("vsched-stop", at=12_500_000)
                guest.cmd("cont")
                guest.event_wait("STOP", timeout=40 * SLOWER)
                self.assertLess(guest.cmd("query-vsched")["time"], whole[1]["vm"]["time"])
                path = os.path.join(guest.dir, "state")
                save(guest, path)
                middle, before = written(guest), guest.console
                guest.cmd("cont")
                self.assertEqual((*end(guest), guest.cmd("query-vsched-profile"),
                                  written(guest)), whole)
                with Guest(*arguments, "-incoming", "defer", "-S") as loaded:
                    load(loaded, path)
                    self.assertEqual(written(loaded), middle)
                    loaded.cmd("cont")
                    console, stats = end(loaded)
                    self.assertEqual((before + console, stats,
                                      loaded.cmd("query-vsched-profile"), written(loaded)), whole)


class Control(unittest.TestCase):
    timeout = 120

    def guest(self, *more):
        guest = Guest("-S", "-nodefaults", "-M", "cmp8,vcpus=24", *more)
        guest.launch()
        self.addCleanup(guest.__exit__, None, None, None)
        return guest

    def refuse(self, guest, says, command, **arguments):
        self.assertRegex(guest.qmp(command, **arguments)["error"]["desc"], says)

    def test_commands(self):
        guest = self.guest()
        for command, arguments in (("query-vsched-profile", {}), ("vsched-profile-stop", {}),
                                   ("vsched-profile-save", {"filename": guest.dir + "/p"})):
            self.refuse(guest, "no profile.*vsched-profile-start", command, **arguments)
        self.assertFalse(os.path.exists(guest.dir + "/p"))
        for arguments, says in (
                ({"rate": 0}, "rate=0 is out of range: allowed are 1 to 1000000 samples"),
                ({"rate": 1000001}, "rate=1000001 is out of range"),
                ({"cost": 100001}, "cost=100001 is out of range: allowed are 0 to 100000 cycles"),
                ({"rate": 20000, "cost": 50001}, "allowed are 0 to 50000 cycles"),
                ({"stacks": 129}, "stacks=129 is out of range: allowed are 0 to 128 callers"),
                ({"rate": 2**64 - 1}, "out of range"), ({"cost": 2**64 - 1}, "out of range"),
                ({"stacks": 2**64 - 1}, "out of range")):
            for at in {}, {"at": 1000000}:
                self.refuse(guest, says, "vsched-profile-start", **arguments, **at)
        self.refuse(guest, "no profile", "query-vsched-profile")
        self.assertEqual(guest.cmd("vsched-profile-start"), {"time": 0})
        self.refuse(guest, "a profile is being taken already", "vsched-profile-start")
        info = guest.cmd("query-vsched-profile")
        self.assertEqual((info["running"], info["rate"], info["interval"], info["cost"],
                          info["begin"], info["end"], info["places"], len(info["vcpus"])),
                         (True, 10000, 100000, 0, 0, 0, 0, 24))
        self.assertEqual(guest.cmd("vsched-profile-stop"), {"time": 0})
        self.refuse(guest, "no profile is being taken", "vsched-profile-stop")
        self.assertFalse(guest.cmd("query-vsched-profile")["running"])
        self.assertEqual(guest.cmd("vsched-profile-start", rate=3, cost=0), {"time": 0})
        # 1 GHz / 3, rounded
        self.assertEqual(guest.cmd("query-vsched-profile")["interval"], 333333333)

    def test_file(self):
        """Whole or not at all: what was there stays."""
        guest = self.guest()
        guest.cmd("vsched-profile-start")
        path = os.path.join(guest.dir, "profile")
        with open(path, "w", encoding="utf-8") as f:
            f.write("before")
        os.mkdir(os.path.join(guest.dir, "directory"))
        for name, says in (("/dev/null", "is not a regular file"), ("", "filename is empty"),
                           (guest.dir + "/directory", "is not a regular file"),
                           (guest.dir + "/no/such", "No such file or directory")):
            for at in {}, {"at": 1000000}:
                self.refuse(guest, says, "vsched-profile-save", filename=name, **at)
        self.assertEqual(sorted(n for n in os.listdir(guest.dir) if n.startswith((".p", "p"))),
                         ["profile"])
        guest.cmd("vsched-profile-save", filename=path)
        with open(path, encoding="utf-8") as f:
            saved = json.load(f)
        self.assertEqual((saved["format"], saved["version"], saved["samples"]),
                         ("cmp8-profile", 2, []))

    def test_times(self):
        """Begin, end and file at given times, by the monitor and from the start on."""
        path = os.path.join(self.guest().dir, "late")
        commands = ((1, "start", "rate=100000"), (3, "stop", ""), (4, "save", f"filename={path}"))
        objects = []
        for at, what, given in commands:
            objects += ["-object", f"vsched-command,id={what},at={at}ms,run=vsched-profile-{what}"
                        + (f",arguments={given}" if given else "")]
        files = []
        for how in ("objects", "monitor"):
            arguments = program("parts", MACHINE, "rounds=200",
                                *(objects if how == "objects" else ()))
            with Guest(*arguments, "-S") as guest:
                if how == "monitor":
                    for at, what, given in commands:
                        line = f"vsched profile-{what} " + ",".join([given] * bool(given)
                                                                    + [f"at={at}ms"])
                        said = guest.cmd("human-monitor-command", command_line=line)
                        self.assertRegex(said, r"command \d+ at \d+")
                guest.cmd("cont")
                end(guest)
                info = guest.cmd("query-vsched-profile")
                self.assertEqual((info["running"], info["begin"], info["end"]),
                                 (False, 1000000, 3000000))
                for v in info["vcpus"]:
                    # 2 ms, 10 us a sample; a PCPU is short of the end by less than a block.
                    self.assertIn(sum(v[k] for k in RUNNING + WAITING), (199, 200))
            with open(path, encoding="utf-8") as f:
                files.append(json.load(f))
            os.unlink(path)
        self.assertEqual(files[0], files[1])
        self.assertEqual(sum(n for *_, n in files[0]["samples"]),
                         sum(sums(info)[k] for k in RUNNING))

    def test_loading(self):
        """The profile is the machine's: the one of the state that is loaded, or none."""
        arguments = program("parts", MACHINE, "rounds=300")
        with Guest(*arguments, *start(rate=100000)) as guest:
            wait_for(guest, 1000000)
            guest.cmd("stop")
            path = os.path.join(guest.dir, "with")
            save(guest, path)
            info = guest.cmd("query-vsched-profile")
            with Guest(*arguments) as other:
                wait_for(other, 1000000)
                other.cmd("stop")
                without = os.path.join(other.dir, "without")
                save(other, without)
            for state in (path, without):
                with Guest(*arguments, *start(rate=50000), "-incoming", "defer", "-S") as loaded:
                    load(loaded, state)
                    if state == path:
                        self.assertEqual(loaded.cmd("query-vsched-profile"), info)
                    else:
                        self.refuse(loaded, "no profile", "query-vsched-profile")
                    loaded.cmd("cont")
                    end(loaded)

    def test_reset(self):
        """Simulated time goes on, and so does a profile."""
        with Guest(*program("parts", MACHINE, "rounds=100000"), *start(rate=100000),
                   "-action", "reboot=reset") as guest:
            wait_for(guest, 3000000)
            guest.cmd("system_reset")
            before = guest.cmd("query-vsched-profile")
            wait_for(guest, sum(v for k, v in guest.stats()["vm"].items()
                                if k.startswith("vcpu-insns-")) + 3000000)
            guest.cmd("stop")
            info = guest.cmd("query-vsched-profile")
            self.assertTrue(info["running"])
            self.assertGreater(info["end"], before["end"])
            for v in info["vcpus"]:
                self.assertLess(abs(sum(v[k] for k in RUNNING + WAITING) - info["end"] // 10000), 3)


class Stacks(About):
    """Who called whom: the tree of calls of calls.c, in which leaf() runs 1 turn for work(), 2 for
    middle(), which runs 3 itself, and 4 for the innermost descend()."""
    timeout = 200
    DEPTH = 20          # register windows are 8
    RATE = 1000000

    def folded(self, guest, user, *more):
        path = os.path.join(guest.dir, "profile.json")
        guest.cmd("vsched-profile-save", filename=path)
        symbols = [f"--{kind}={elf('calls')}" for kind in
                   (["symbols", "user-symbols"] if user else ["symbols"])]
        done = subprocess.run([Script.SCRIPT, path, *symbols, "--vcpus", "0", "--top", "0",
                               "--folded", "/dev/stdout", *more], stdout=subprocess.PIPE, text=True,
                              check=True)
        stacks = collections.Counter()
        for line in done.stdout.splitlines():
            stack, n = line.rsplit(" ", 1)
            if stack.count(";") > 3:
                stacks[stack.split(";", 4)[4]] += int(n)
        return stacks

    def check(self, user):
        with Guest(*program("calls", MACHINE, f"rounds=500 turns=200 user={user} "
                            f"depth={self.DEPTH}",
                            *start(rate=self.RATE, stacks=64))) as guest:
            end(guest)
            stacks = self.folded(guest, user)
            outer = ("kit_secondary;kit_main;program;run_on_all" +
                     (";in_user_mode;work_in_user_mode" if user else "") + ";work")
            descend = ";descend" * (self.DEPTH + 1)
            expected = {outer + ";leaf": 1, outer + ";middle;leaf": 2, outer + ";middle": 3,
                        outer + descend + ";leaf": 4}
            # A handler spills or fills a window, wherever a window begins or ends.
            possible = re.compile(f"{outer}(;leaf|;middle(;leaf)?|{descend};leaf|"
                                  f"(;descend){{1,{self.DEPTH + 1}}}(;trap_table)?)?")
            draws = sum(stacks[stack] for stack in expected)
            self.assertGreater(draws, 4000)
            for stack, turns in expected.items():
                self.assert_part(stacks[stack], draws, turns / 10, stack)
            for stack in stacks:
                if ";work" in stack or ";descend" in stack or ";leaf" in stack:
                    self.assertTrue(possible.fullmatch(stack), stack)
            self.assertIn("trap_table", " ".join(stacks))
            info = guest.cmd("query-vsched-profile")
            self.assertEqual((info["stacks"], info["stackless"]), (64, 0))

    def test_privileged(self):
        self.check(user=0)

    def test_user(self):
        self.check(user=1)

    def test_depth(self):
        """The outermost callers are not known, and that is said."""
        with Guest(*program("calls", MACHINE, "rounds=200",
                            *start(rate=self.RATE, stacks=3))) as guest:
            end(guest)
            deep = self.folded(guest, 0)
            self.assertGreater(deep["[cut off];descend;descend;descend;leaf"], 100)
            self.assertLessEqual({len(s.split(";")) for s in deep}, {1, 2, 3, 4, 5})
            self.assertTrue(all("[cut off]" in s for s in deep if s.count(";") == 4))

    def test_forms(self):
        with Guest(*program("calls", MACHINE, "rounds=300",
                            *start(rate=self.RATE, stacks=64))) as guest:
            end(guest)
            stacks = self.folded(guest, 0)
            path, out = (os.path.join(guest.dir, n) for n in ("profile.json", "callgrind"))
            text = subprocess.run([Script.SCRIPT, path, "--symbols", elf("calls"), "--callgrind",
                                   out, "--callers", "leaf", "--top", "60"], check=True,
                                  stdout=subprocess.PIPE, text=True).stdout
            with open(out, encoding="utf-8") as f:
                lines = f.read().splitlines()

        def samples(*inside, within=False):
            """Of stacks that end so, or in which these follow one another."""
            pattern = "(^|;)" + ";".join(inside) + ("(;|$)" if within else "$")
            return sum(n for s, n in stacks.items() if re.search(pattern, s))

        edges, caller, callee = {}, None, None
        for line in lines:
            if line.startswith("fn="):
                caller, callee = line[3:], None
            elif line.startswith("cfn="):
                callee = line[4:]
            elif line.startswith("0x") and callee:
                key = caller, callee
                edges[key] = edges.get(key, 0) + int(line.split()[2])
                callee = None
        # A recursion is one call from descend() to itself, however deep it is.
        for edge in (("work", "leaf"), ("work", "middle"), ("middle", "leaf"), ("descend", "leaf"),
                     ("descend", "descend"), ("work", "descend"), ("program", "run_on_all")):
            self.assertEqual(edges[edge], samples(*edge, within=True), edge)
        self.assertNotIn(("leaf", "middle"), edges)

        self.assertIn(f"{samples('leaf')} samples, ", text)
        for outer in ("middle", "work", "descend"):
            self.assertRegex(text, rf"(?m)^ +{samples(outer, 'leaf')} +[0-9.]+ %  {outer}$")
        row = next(l for l in text.splitlines() if l.endswith(" middle [calls.elf]")).split()
        self.assertEqual((int(row[0]), int(row[7])), (samples("middle"),
                                                      samples("middle", within=True)))


class LinuxStacks(unittest.TestCase):
    """System calls of a process: from a function of the kernel through the trap entry to the code
    that called."""
    timeout = 300

    def test_system_calls(self):
        with Guest("-M", "cmp,pcpus=1,vcpus=1", *linux("syscalls", "syscalls.pairs=20000"),
                   "-action", "shutdown=pause", *start(rate=20000, stacks=64)) as guest:
            guest.event_wait("SHUTDOWN", timeout=250 * SLOWER)
            self.assertIn("workload syscalls: exit 0", guest.console)
            path = os.path.join(guest.dir, "profile.json")
            guest.cmd("vsched-profile-save", filename=path)
            text = subprocess.run([Script.SCRIPT, path, "--symbols", VMLINUX, "--top", "0",
                                   "--folded", "/dev/stdout"], stdout=subprocess.PIPE, text=True,
                                  check=True).stdout
        reads = collections.Counter()
        for line in text.splitlines():
            stack, n = line.rsplit(" ", 1)
            if ";ksys_read" in stack:
                reads[stack.split(";", 4)[4]] += int(n)
        # 20,000 reads of about 300 instructions, of which each 50,000th is a sample
        self.assertGreater(sum(reads.values()), 50)
        for stack in reads:
            # main() calls read() of the library, which traps.
            self.assertRegex(stack, r"^(\[cut off\];)?(0x[0-9a-f]+;)+linux_sparc_syscall;"
                                    r"(sys_read;|__se_sys_read;)?ksys_read(;|$)")
        # From vfs_read() on the kernel's calls are those of its source (fs/read_write.c).
        self.assertTrue(any(re.search(";ksys_read;vfs_read;read_zero(;|$)", s) for s in reads))
        self.assertFalse(any(re.search(";read_zero;.*ksys_read", s) for s in reads))
        # Users' callers are known, but for pages that no entry of the TLB maps just then.
        whole = sum(n for stack, n in reads.items()
                    if re.match("(0x[0-9a-f]+;){3,}linux_sparc_syscall", stack))
        self.assertGreater(whole, 0.9 * sum(reads.values()))


class Script(unittest.TestCase):
    """scripts/profile: forms that are read back here by other means."""
    timeout = 120
    SCRIPT = os.path.join(TOP, "scripts/profile")

    def setUp(self):
        self.guest = Guest(*program("parts", MACHINE, "rounds=100 user=1", *start(rate=500000)))
        self.guest.__enter__()
        self.addCleanup(self.guest.__exit__, None, None, None)
        end(self.guest)
        self.saved = written(self.guest)
        self.path = os.path.join(self.guest.dir, "profile.json")

    def run_script(self, *arguments, status=0):
        done = subprocess.run([self.SCRIPT, *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=60 * SLOWER, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout if status == 0 else done.stderr

    def test_forms(self):
        out = {form: os.path.join(self.guest.dir, form) for form in ("folded", "callgrind")}
        table = self.run_script(self.path, "--user-symbols", elf("parts"), "--folded",
                                out["folded"], "--callgrind", out["callgrind"])
        with open(out["folded"], encoding="utf-8") as f:
            self.assertEqual(self.run_script(self.path, "--user-symbols", elf("parts"),
                                             "--folded", "-"), f.read())
        total = sum(n for *_, n in self.saved["samples"])
        three = inside(functions("parts")["part_three"], self.saved["samples"])
        line = next(l for l in table.splitlines() if l.endswith(" part_three [parts.elf]"))
        self.assertEqual(line.split()[:2], [str(three), f"{100 * three / total:.1f}"])
        self.assertEqual(sum(int(l.split()[0]) for l in table.splitlines()[3:]
                             if l.split()[:1] and l.split()[0].isdecimal()), total)
        # Without symbols for privileged code there are addresses.
        self.assertRegex(table, r"(?m)  0x[0-9a-f]+$")

        with open(out["folded"], encoding="utf-8") as f:
            stacks = dict(line.rsplit(" ", 1) for line in f.read().splitlines())
        running = {s: int(n) for s, n in stacks.items() if s.count(";") == 4}
        self.assertEqual(sum(running.values()), total)
        self.assertEqual(running["vm0;vcpu0;user;running;part_three"], three)
        spinning = sum(n for _, _, spins, _, n in self.saved["samples"] if spins)
        self.assertEqual(sum(n for s, n in running.items() if ";spinning;" in s), spinning)
        for v in self.saved["vcpus"]:
            for state in WAITING:
                self.assertEqual(int(stacks.get(f"vm0;vcpu{v['vcpu']};{state}", 0)), v[state])

        with open(out["callgrind"], encoding="utf-8") as f:
            text = f.read()
        events = re.search(r"(?m)^events: (.*)$", text).group(1).split()
        sums_of = collections.defaultdict(lambda: [0] * len(events))
        function = None
        for line in text.splitlines():
            if line.startswith("fn="):
                function = line[3:]
            elif line.startswith("0x"):
                _, _, *counts = line.split()
                for key in (function, None):
                    sums_of[key] = [a + int(b) for a, b in zip(sums_of[key], counts)]
        self.assertEqual(sums_of[None][0], total)
        self.assertEqual(sums_of["part_three"][:2], [three, three])
        self.assertEqual(sums_of[None][0], sum(sums_of[None][1:]))
        self.assertEqual(sums_of[None][events.index("UserSpinning")],
                         sum(n for _, mode, spins, _, n in self.saved["samples"]
                             if spins and mode == "user"))
        self.assertIn(f"totals: {' '.join(map(str, sums_of[None]))}\n", text)

    def test_vcpus(self):
        table = self.run_script(self.path, "--vcpus", "1-2", "--user-symbols", elf("parts"))
        self.assertNotIn("part_three", table)
        self.assertIn("wait_for_parts", table)
        self.assertIn("allowed are 0 to 2", self.run_script(self.path, "--vcpus", "3", status=1))

    def test_refusals(self):
        bad = os.path.join(self.guest.dir, "bad")
        for text, says in (("{", "is not JSON"), ("[]", "is no profile"),
                           (json.dumps({**self.saved, "version": 1}), "version 1: allowed is 2"),
                           (json.dumps({**self.saved, "samples": [[9, "user", False, "0x1", 1]]}),
                            "is a damaged profile")):
            with open(bad, "w", encoding="utf-8") as f:
                f.write(text)
            self.assertIn(says, self.run_script(bad, status=1))
        self.assertIn("no functions", self.run_script(self.path, "--symbols", self.path, status=1))
        self.assertIn("no such file", self.run_script(self.path, "--symbols", "/none", status=1))
        self.assertIn("has no callers", self.run_script(self.path, "--callers", "x", status=1))
        self.assertIn("--record and --for", self.run_script(self.path, "--for", "1ms", status=2))
        self.assertIn("cannot be written", self.run_script(self.path, "--folded", "/none/x",
                                                           status=1))

    def test_record(self):
        with Guest(*program("parts", MACHINE, "rounds=1000000", "-qmp",
                            f"unix:{self.guest.dir}/qmp2,server=on,wait=off")) as guest:
            table = self.run_script("--record", f"{self.guest.dir}/qmp2", "--for", "2ms", "--rate",
                                    "100000", os.path.join(guest.dir, "recorded"), "--symbols",
                                    elf("parts"))
            self.assertIn("100,000 samples", table)
            info = guest.cmd("query-vsched-profile")
            self.assertFalse(info["running"])
            # To the first end of a window at or after 2 ms
            self.assertEqual(info["end"] - info["begin"], 2000000)
            self.assertIn("allowed are 1 to 1000000", self.run_script(
                "--record", f"{self.guest.dir}/qmp2", "--for", "2ms", "--rate", "0",
                os.path.join(guest.dir, "none"), status=1))
        self.assertIn("error:", self.run_script("--record", "/none", "--for", "2ms",
                                                  os.path.join(self.guest.dir, "n"), status=1))


if __name__ == "__main__":
    unittest.main()
