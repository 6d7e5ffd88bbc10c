"""Schedules are explored: scripts/explore, policy "explore", marks and stops at simulated
times, and timeslices that end in the middle of a block.

guests/bare-metal has programs with races of depth 1, 2 and 3.  The theorem of PCT says how
often a seed has to meet each; qtest/full does the same with many more seeds.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import math
import os
import re
import subprocess
import tempfile
import unittest

from support import SLOWER, TOP, Guest, Refusals, x86_rom
from test_observer import without_sdb
from test_save import end, program
from explorer import Explorer, Limits, bare_metal, bound
from marks import MARK

MACHINE = "cmp,pcpus=1,vcpus=2"
DEVICE = f"vsched-mark,addr={MARK:#x}"

LEVEL = 0.001       # of the tests: so rarely is a program refused that keeps the bound


def at_most(hits, tries, chance):
    """The probability of so few hits, or fewer, where each try hits with this chance."""
    return sum(math.exp(math.lgamma(tries + 1) - math.lgamma(i + 1) - math.lgamma(tries - i + 1) +
                        i * math.log(chance) + (tries - i) * math.log1p(-chance))
               for i in range(hits + 1))


class Races:
    """For a TestCase: rates of hits."""

    def hits(self, name, depth, tries, *parameters):
        """(how many of so many seeds fail, k)"""
        with Explorer(bare_metal(name, parameters, memory=8), Limits(10**7)) as explorer:
            explorer.begin()
            steps = explorer.measure(depth)
            if callable(tries):
                tries = tries(steps)
            outcomes = [explorer.run(seed, depth, steps) for seed in range(tries)]
        failures = [outcome.failure for outcome in outcomes if outcome.failure]
        self.assertLessEqual(set(failures), {"the program came to mark 3"})
        return len(failures), tries, steps

    def assert_bound(self, name, depth):
        """Over ten times n k^(d-1) seeds."""
        hits, tries, steps = self.hits(name, depth, lambda k: 10 * 2 * k ** (depth - 1))
        chance = bound(2, steps, depth)
        self.assertGreater(steps, 40)
        self.assertLess(steps, 70)
        self.assertGreaterEqual(at_most(hits, tries, chance), LEVEL,
                                f"{hits} hits of {tries}, k = {steps}")
        return hits, tries, steps


class Rates(Races, unittest.TestCase):
    timeout = 400

    def test_the_binomial_test(self):
        """P(X <= 2) of 10 tries at 1/2 is (1 + 10 + 45) / 1024."""
        self.assertAlmostEqual(at_most(2, 10, 0.5), 56 / 1024)
        self.assertAlmostEqual(at_most(10, 10, 0.5), 1)

    def test_depth_1(self):
        """Half of all orders of two VCPUs fail, and the bound is 1/2."""
        hits, _, _ = self.hits("race1", 1, 200)
        self.assertGreaterEqual(at_most(hits, 200, 1 / 2), LEVEL)
        self.assertGreaterEqual(at_most(200 - hits, 200, 1 / 2), LEVEL)

    def test_depth_2_in_a_single_block(self):
        """Whoever is first fails if it is stopped after its load or its addition: 2 of k change
        points, four times the bound.  Not below that, nor far above it."""
        hits, tries, steps = self.assert_bound("race2", 2)
        self.assertGreaterEqual(at_most(hits, tries, 2 / steps), LEVEL)
        self.assertGreaterEqual(1 - at_most(hits - 1, tries, 2 / steps), LEVEL)

    def test_a_depth_less_finds_nothing(self):
        self.assertEqual(self.hits("race2", 1, 60)[0], 0)

    def test_mended(self):
        self.assertEqual(self.hits("race1", 1, 60, "mended=1")[0], 0)
        self.assertEqual(self.hits("race2", 2, 300, "mended=1")[0], 0)


class Tool(unittest.TestCase):
    timeout = 300

    @staticmethod
    def explore(*arguments):
        done = subprocess.run([os.path.join(TOP, "scripts/explore"), *arguments], text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=120 * SLOWER, check=False)
        return done.returncode, done.stdout

    def test_a_seed_is_found_and_fails_again(self):
        status, text = self.explore("-n", "200", "-d", "1", "-m", "8", "race1")
        self.assertEqual(status, 1, text)
        steps = int(re.search(r"n = 2 VCPUs, k = (\d+) instructions \(measured\), d = 1\n",
                              text)[1])
        self.assertIn("1 / (n k^(d-1)) = 0.5 or more", text)
        seed = int(re.search(r"seed (\d+) fails, the \1\. that was tried: the program came to "
                             "mark 3\n", text)[1])
        command = re.search(r"replay: scripts/explore (.*)", text)[1]
        self.assertEqual(command, f"-d 1 -k {steps} --seed {seed} --memory 8 race1")
        for _ in range(2):
            status, text = self.explore(*command.split())
            self.assertEqual(status, 1, text)
            self.assertRegex(text, rf"seed {seed}: the program came to mark 3, after \d+ instr")
            self.assertRegex(text, r'\{"program": "race1", .*"first": 0, .*"ok": false\}')
            # B, which A starts with its first instruction, executes all of its own before A
            # goes on to write: there is no change point.
            self.assertRegex(text, r"\ncycles: VCPU 0 for 1, VCPU 1 for \d+, VCPU 0 to the end\n")
        with Guest(*program("race1", f"{MACHINE},sched=explore,depth=1,seed={seed},steps={steps}",
                            f"mark={MARK:#x}", "-m", "8", "-device", DEVICE)) as guest:
            self.assertIn('"ok": false', end(guest)[0])     # the same without the tool
        if seed > 1:                            # those before did not fail
            command = command.replace(f"--seed {seed}", f"--seed {seed - 1}")
            status, text = self.explore(*command.split())
            self.assertEqual(status, 0, text)
            self.assertIn(f"seed {seed - 1}: no failure", text)
            self.assertIn('"ok": true', text)

    def test_other_ways_to_fail(self):
        """Without marks: an exit status, a line, a hang."""
        elf = bare_metal("race1")[-3]
        machine = ["--", "-M", MACHINE, "-m", "8", "-nodefaults", "-bios", elf]
        begin = ["-n", "12", "--all", "-d", "1", "-k", "1", "--at", "1us"]
        status, text = self.explore(*begin, *machine)
        self.assertEqual(status, 1, text)
        self.assertIn(": exit status 1\n", text)
        failed = int(re.search(r"\n(\d+) of 12 seeds failed\n", text)[1])
        self.assertGreater(failed, 0)           # 2 / 2^12: all or none
        self.assertLess(failed, 12)
        status, text = self.explore(*begin, "--fail-line", '"first": 0', *machine)
        self.assertEqual(status, 1, text)
        self.assertIn(': the console says: "first": 0\n', text)
        self.assertIn(f"\n{failed} of 12 seeds failed\n", text)
        status, text = self.explore("-n", "1", "-d", "1", "--hang", "10us", "ticket")
        self.assertEqual(status, 1, text)
        self.assertIn(": it hangs: no end in 10000 ns of simulated time\n", text)

    def test_a_k_that_is_too_small_has_no_bound(self):
        """Not with depth 1: there are no change points."""
        for k, depth, says in (("5", "2", True), ("1000", "2", False), ("5", "1", False)):
            status, text = self.explore("-n", "3", "--all", "-d", depth, "-k", k, "race2",
                                        "mended=1")
            self.assertEqual(status, 0, text)
            found = re.search(r"\nthe bound does not hold: a run had (\d+) instructions, more than "
                              r"k = 5\n0 of 3 seeds failed\n", text)
            self.assertEqual(bool(found), says, text)
            if found:
                self.assertGreater(int(found[1]), 40)       # as assert_bound() has it
                self.assertLess(int(found[1]), 70)

    def test_several_pcpus_have_no_bound(self):
        status, text = self.explore("-n", "1", "--pcpus", "2", "race1", "mended=1")
        self.assertEqual(status, 0, text)
        self.assertIn("no bound: it does not hold with 2 PCPUs", text)
        self.assertIn("0 of 1 seeds failed", text)

    def test_what_cannot_be(self):
        for says, *arguments in (
                ("give a PROGRAM, or '--' and options of QEMU", "-n", "3"),
                ("0 is not possible: allowed are numbers from 1 to 32", "-d", "0", "race1"),
                ("soon is not a time: allowed are numbers above 0", "--hang", "soon", "race1"),
                (r"\( is not a regular expression: ", "--fail-line", "(", "race1"),
                ("--at TIME goes with '--'", "--at", "1ms", "race1"),
                ("--vcpus, --pcpus and --memory are those of a PROGRAM", "--vcpus", "2", "--at",
                 "1ms", "--", "-M", "cmp8"),
                ("there is no program 'nosuch'; there are: .*race1 race2 race3", "nosuch"),
                ("has not come to mark 1, .*no such parameter", "race1", "bad=1"),
                ("has not come to mark 1, .*two VCPUs are needed", "--vcpus", "3", "race1"),
                ('QEMU does not start: .*"nosuch"', "--at", "1ms", "--", "-M", "nosuch"),
                ("QEMU does not start: .*nosuch-kernel", "--at", "1ms", "--", "-M", MACHINE,
                 "-kernel", "nosuch-kernel"),
                ("qemu-system-nosuch cannot be started: No such file or directory; scripts/setup",
                 "--at", "1ms", "--", "qemu-system-nosuch"),
                ("this needs -accel tcg,thread=vsched", "--at", "1ms", "--", "-M", "none"),
                ("stopped before --at: exit", "--at", "1s", "--", "-M", MACHINE, "-nodefaults",
                 "-bios", bare_metal("race1")[-3])):
            with self.subTest(arguments=arguments):
                status, text = self.explore(*arguments)
                self.assertEqual(status, 2, text)
                self.assertRegex(text, says)
                self.assertNotIn("Traceback", text)


class Precise(unittest.TestCase):
    """Timeslices end at the cycle that the policy says."""

    timeout = 200

    def trace(self, arguments, arch="sparc64"):
        """(cycles and VCPUs as they begin to run, console, counters) of a run to its end."""
        with tempfile.NamedTemporaryFile("r", encoding="utf-8") as log:
            with Guest(*arguments, "-trace", "vsched_run", "-D", log.name, arch=arch) as guest:
                if arch == "sparc64":
                    console, stats = end(guest)
                else:
                    self.assertTrue(guest.event_wait("SHUTDOWN", timeout=30 * SLOWER))
                    console, stats = "", guest.stats()
                marks = [e["data"] for e in guest.get_qmp_events() if e["event"] == "VSCHED_MARK"]
            text = log.read()
        runs = [(int(cycle), int(vcpu)) for cycle, vcpu in
                re.findall(r"vsched_run cycle (\d+) pcpu 0 vcpu (\d+)", text)]
        return runs, console, stats, marks

    def race(self, more, name="race3"):
        return self.trace(program(name, f"{MACHINE},sched=explore,switch-cost=0,{more}",
                                  f"mark={MARK:#x}", "-m", "8", "-device", DEVICE))

    def test_each_of_the_first_four_instructions(self):
        """31 change points in 4 steps: one of the four is missing in 4 x (3/4)^31 of all seeds,
        which is 1/1800.  After the window of mark 1, the PCPU is asked who runs at cycles 0, 1,
        2 and 3: before the start of B, a call, its delay slot, and the first instruction of A."""
        for seed in range(4):
            runs, console, _, marks = self.race(f"depth=32,steps=4,seed={seed}")
            begin = -(-marks[0]["time"] // 1000) * 1000
            after = [cycle - begin for cycle, _ in runs if cycle >= begin]
            self.assertEqual(sorted(set(after))[:4], [0, 1, 2, 3])
            self.assertIn('"ok": true', console)

    def test_sdbs_change_nothing(self):
        """Periods of 16 instructions, of which no 1000 in a row are alike: nobody spins, and
        periods end everywhere."""
        sdb = "detector=recurrence,sdb-recurrence-repeats=1000,sdb-recurrence-rest=0,sdb-period=16"
        for depth, seed in ((32, 1), (32, 2), (4, 3)):
            for name in ("race2", "race3"):
                schedule = f"depth={depth},steps=60,seed={seed}"
                on = self.race(f"{schedule},{sdb}", name)
                off = self.race(f"{schedule},sdb=off", name)
                self.assertGreater(on[2]["vm"]["pcpu-sdb-periods-privileged"], 1000)
                self.assertEqual(on[2]["vm"]["pcpu-sdb-spins-privileged"], 0)
                self.assertEqual(on[0], off[0])
                self.assertEqual(on[1], off[1])
                self.assertEqual(without_sdb(on[2]), without_sdb(off[2]))
                self.assertEqual(on[3], off[3])

    def test_x86(self):
        """In a block of 40 NOPs, from the reset vector on; with and without an SDB."""
        nop = b"\x90"
        rom = x86_rom([b"\xf4"], [], [nop * 40,
                      b"\x2e\x0f\x01\x1e\x00\x02", b"\xcc"])   # lidt %cs:0x200; int3: reset
        with tempfile.NamedTemporaryFile(suffix=".rom") as file:
            file.write(rom)
            file.flush()
            traces = []
            for sdb in ("on", "off"):
                traces.append(self.trace(
                    ["-M", "q35", "-nodefaults", "-cpu", "qemu64,+x2apic", "-smp", "2", "-accel",
                     "tcg,thread=vsched,pcpus=1,sched=explore,switch-cost=0,depth=32,steps=6,"
                     f"patience=0,sdb={sdb}", "-bios", os.path.abspath(file.name),
                     "-no-shutdown"], arch="x86_64"))
        runs = sorted({cycle for cycle, _ in traces[0][0]})
        self.assertEqual(runs[:6], [0, 1, 2, 3, 4, 5])
        self.assertEqual(traces[0][0], traces[1][0])
        self.assertEqual(without_sdb(traces[0][2]), without_sdb(traces[1][2]))


class Marks(Refusals, unittest.TestCase):
    timeout = 120

    def guest(self, *more):
        return Guest(*program("race1", f"{MACHINE},sched=explore", f"mark={MARK:#x}", "-m", "8",
                              *more))

    def test_stop(self):
        """Nothing is executed between a mark and the end of its window, where it stops."""
        with self.guest("-device", f"{DEVICE},stop=on") as guest:
            for numbers in ((1,), (2, 3)):
                mark = guest.event_wait("VSCHED_MARK", timeout=20 * SLOWER)["data"]
                guest.event_wait("STOP", timeout=20 * SLOWER)
                self.assertIn(mark["number"], numbers)
                self.assertEqual(guest.cmd("query-vsched")["time"],
                                 -(-mark["time"] // 1000) * 1000)
                self.assertEqual(guest.stats()["vm"]["pcpu-insns"], mark["insns"])
                guest.cmd("cont")
            self.assertTrue(guest.event_wait("SHUTDOWN", timeout=20 * SLOWER))

    def test_without_a_stop_it_is_the_same_run(self):
        runs = []
        for more in ("", ",stop=on"):
            with self.guest("-device", DEVICE + more) as guest:
                for _ in range(2 if more else 0):
                    guest.event_wait("STOP", timeout=20 * SLOWER)
                    guest.cmd("cont")
                runs.append(end(guest))
        self.assertEqual(*runs)

    def test_refusals(self):
        self.refuse("addr has to be given: allowed are physical addresses", "-M", "cmp8",
                    "-device", "vsched-mark")
        self.refuse("multiples of 8", "-M", "cmp8", "-device", "vsched-mark,addr=0x1fe0f100001")
        self.refuse("is in the guest's memory", "-M", "cmp8", "-device", "vsched-mark,addr=0x1000")
        self.refuse("needs -accel tcg,thread=vsched", "-M", "sun4u", "-device", DEVICE)


class Stop(unittest.TestCase):
    """vsched-stop"""

    timeout = 120

    def test_at_a_time(self):
        """Two QEMUs stop at the same instruction; 300345 is in the window that ends at 301000."""
        insns = []
        for _ in range(2):
            with Guest("-S", *program("stream", MACHINE, "")) as guest:
                stop = guest.cmd("vsched-stop", at=300345)
                guest.cmd("cont")
                guest.event_wait("STOP", timeout=20 * SLOWER)
                done = guest.event_wait("VSCHED_COMMAND", timeout=20 * SLOWER)["data"]
                self.assertEqual(done, {"id": stop["id"], "command": "vsched-stop",
                                        "time": 301000})
                self.assertEqual(guest.cmd("query-status")["status"], "paused")
                self.assertEqual(guest.cmd("query-vsched")["time"], 301000)
                insns.append(guest.stats()["vm"]["pcpu-insns"])
                with self.assertRaisesRegex(Exception, "at=300000 is past: allowed are 301000"):
                    guest.cmd("vsched-stop", at=300000)
                # One that does not run is left as it is, and runs on afterwards.
                self.assertEqual(guest.cmd("vsched-stop"), {"time": 301000})
                said = guest.cmd("human-monitor-command", command_line="vsched stop at=400us")
                self.assertRegex(said, "400000")
                guest.cmd("cont")
                guest.event_wait("STOP", timeout=20 * SLOWER)
                self.assertEqual(guest.cmd("query-vsched")["time"], 400000)
        self.assertEqual(*insns)
        self.assertGreater(insns[0], 0)

    def test_at_once(self):
        with Guest(*program("search", MACHINE, "limit=1000000")) as guest:
            guest.cmd("vsched-stop")
            guest.event_wait("STOP", timeout=20 * SLOWER)
            time = guest.cmd("query-vsched")["time"]
            self.assertEqual(time % 1000, 0)
            self.assertEqual(guest.cmd("query-vsched")["time"], time)


if __name__ == "__main__":
    unittest.main()
