"""A debugger stops the VCPUs in the middle of a window, lets one of them go, or all.

No gdb is needed: support.Debugger speaks its protocol, in which VCPU n is thread
n + 1.  What a debugger lets go runs, what it does not let go stays where it is,
whoever stopped where; and afterwards the run goes on to its end.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import json
import os
import re
import subprocess
import tempfile
import time
import unittest

from support import SLOWER, Debugger, Guest, x86_mov, x86_rom
from test_determinism import qcow2
from test_save import SMALL, elf, end, program, save, snapshot, wait_for, wait_migrated

THREADS = (1, 2, 3, 4)
TRAP, INTERRUPTED = "T05thread:{:02x};", "T02thread:{:02x};"
WORKERS = {TRAP.format(thread) for thread in (2, 3, 4)}

WINDOW = 1000                   # cycles, of 1 ns

STATES = ("running-useful", "running-spinning", "ready", "blocked", "switching")
USES = ("idle", "busy", "switching", "skipped")


def symbol(name, wanted):
    """Address of a function of a bare-metal program."""
    table = subprocess.run(["sparc64-linux-gnu-nm", elf(name)], stdout=subprocess.PIPE, text=True,
                           check=True).stdout
    return int(re.search(rf"^(\w+) \w {wanted}$", table, re.MULTILINE).group(1), 16)


class OneOfMany:
    """Four VCPUs on two PCPUs: two wait for their turn.  For a TestCase."""
    timeout = 200
    STEPS = 2500                # more than two periods of the SDB

    def guest(self, *more):
        """A QEMU that waits to be let go."""
        raise NotImplementedError

    def work(self):
        """Where the work of VCPUs 1 to 3 begins: no VCPU waits for another from there on."""
        raise NotImplementedError

    def following(self, debugger, thread):
        """Where the next instruction will have led."""
        raise NotImplementedError

    def finish(self, guest, debugger):
        """Let all VCPUs go, and see the guest end as it should."""
        raise NotImplementedError

    def stop_at_work(self, debugger):
        """VCPUs 1 to 3 have come to their work; the last of them has just stopped there."""
        begin = f"0,{self.work():x},4"
        self.assertEqual(debugger.ask("Z" + begin), "OK")
        answers = [debugger.ask("vCont;c")]
        while not WORKERS.issubset(answers):
            thread = answers[-1][-3:-1]
            self.assertEqual(debugger.ask(f"vCont;s:{thread}"), answers[-1])
            answers.append(debugger.ask("vCont;c"))
            self.assertNotIn(answers[-1], answers[:-1])
        self.assertEqual(debugger.ask("z" + begin), "OK")

    def assert_time(self, guest, before):
        """It is the end of the window of the PCPU that is ahead, and was not later before."""
        objects = guest.stats()
        latest = max(o["clock"] for name, o in objects.items() if "/pcpu[" in name)
        now = objects["vm"]["time"]
        self.assertTrue(latest <= now < latest + WINDOW, (latest, now))
        self.assertLessEqual(before, now)
        return now

    def step(self, debugger, thread, others=""):
        there = self.following(debugger, thread)
        self.assertEqual(debugger.ask(f"vCont;s:{thread:x}{others}"), TRAP.format(thread))
        self.assertEqual(debugger.pc(thread), there)

    def stays(self, debugger, thread):
        """For 'with': no register of any other VCPU changes."""
        return Stays(self, debugger, thread)

    def test_one_steps(self):
        """And all the others stay, or run; then the monitor's 'cont' lets all of them go."""
        with self.guest() as guest, Debugger(guest) as debugger:
            self.stop_at_work(debugger)
            now = 0
            for thread in (2, 1, 3, 4, 4, 3, 2, 1):
                with self.subTest(thread=thread), self.stays(debugger, thread):
                    self.step(debugger, thread)
                    now = self.assert_time(guest, now)
            for thread in (2, 1, 3, 4):
                with self.subTest("others run", thread=thread):
                    self.step(debugger, thread, ";c")
            self.step(debugger, 3)
            before = insns(guest)
            guest.cmd("cont")
            for thread in THREADS:
                wait_insns(guest, thread, before[thread - 1] + 10_000)
            guest.cmd("stop")
            self.finish(guest, debugger)

    def test_each_step_is_an_instruction(self):
        """Also where a period of the SDB ends, after each 1024: the block is another one there,
        which has to be found, or translated, before the instruction is executed."""
        with self.guest() as guest, Debugger(guest) as debugger:
            self.stop_at_work(debugger)
            before = insns(guest)
            for thread in (2, 3):
                for _ in range(self.STEPS):
                    self.step(debugger, thread)
                before[thread - 1] += self.STEPS
                self.assertEqual(insns(guest), before)
            self.finish(guest, debugger)

    def test_one_runs_others_stay(self):
        with self.guest() as guest, Debugger(guest) as debugger:
            self.stop_at_work(debugger)
            for thread in (2, 1, 3, 4):
                with self.subTest(thread=thread), self.stays(debugger, thread):
                    debugger.tell(f"vCont;c:{thread:x}")
                    before = insns(guest)
                    after = wait_insns(guest, thread, before[thread - 1] + 10_000)
                    self.assertEqual(debugger.interrupt(), INTERRUPTED.format(thread))
                    for t in THREADS:
                        self.assertEqual(t != thread, before[t - 1] == after[t - 1], t)
            self.finish(guest, debugger)

    def test_who_is_held_when_it_goes_away(self):
        """Its connection is closed while it has let one VCPU go: the others go on as well."""
        with self.guest() as guest, Debugger(guest) as debugger:
            self.stop_at_work(debugger)
            before = insns(guest)
            debugger.tell("vCont;c:2")
            wait_insns(guest, 2, before[1] + 10_000)
            debugger.socket.close()
            for thread in THREADS:
                wait_insns(guest, thread, before[thread - 1] + 20_000)
            debugger.connect()
            self.finish(guest, debugger)

    def test_breakpoints_when_it_goes_away(self):
        """Nobody is there any more to go on with who hits one."""
        with self.guest() as guest, Debugger(guest) as debugger:
            self.stop_at_work(debugger)
            for thread in THREADS[1:]:
                self.assertEqual(debugger.ask(f"Z0,{debugger.pc(thread):x},4"), "OK")
            debugger.socket.close()
            before = insns(guest)
            for _ in range(100):        # QEMU may hear of its end after that of this command
                guest.cmd("cont")
                time.sleep(0.1)
                if guest.cmd("query-status")["status"] == "running":
                    break
            for thread in THREADS:
                wait_insns(guest, thread, before[thread - 1] + 20_000)
            debugger.connect()
            self.finish(guest, debugger)

    def test_first_after_loading(self):
        """The first that this QEMU ever runs is not VCPU 0.  Before, VCPU 3 is not started:
        a step of it takes until somebody interrupts."""
        with self.guest() as guest, Debugger(guest) as debugger:
            with self.stays(debugger, None):
                debugger.tell("vCont;s:4")
                self.assertEqual(debugger.interrupt(), INTERRUPTED.format(4))
            self.stop_at_work(debugger)
            debugger.ask("D")
            guest.cmd("stop")
            state = os.path.join(guest.dir, "state")
            save(guest, state)
        with self.guest("-incoming", f"file:{state}") as guest:
            wait_migrated(guest)
            with Debugger(guest) as debugger:
                for thread in (2, 4, 3):
                    with self.subTest(thread=thread), self.stays(debugger, thread):
                        self.step(debugger, thread)
                self.finish(guest, debugger)


class Stays:
    def __init__(self, test, debugger, thread):
        self.test, self.debugger, self.thread = test, debugger, thread

    def registers(self):
        return [self.debugger.registers(t) for t in THREADS if t != self.thread]

    def __enter__(self):
        self.before = self.registers()

    def __exit__(self, exc_type, *_):
        if not exc_type:
            self.test.assertEqual(self.registers(), self.before)


def insns(guest):
    """Instructions that each VCPU has committed."""
    objects = guest.stats()
    return [sum(v for k, v in objects[cpu["qom-path"]].items() if k.startswith("insns-"))
            for cpu in sorted(guest.cmd("query-cpus-fast"), key=lambda c: c["cpu-index"])]


def wait_insns(guest, thread, wanted):
    deadline = time.monotonic() + 40 * SLOWER
    while True:
        now = insns(guest)
        if now[thread - 1] >= wanted:
            return now
        if time.monotonic() > deadline:
            raise AssertionError(f"VCPU {thread - 1} does not run: {now}")


class Sparc(OneOfMany, unittest.TestCase):
    """Collatz's sequences in registers (guests/bare-metal/programs/search.c)"""

    def guest(self, *more):
        return Guest(*program("search", SMALL, "limit=100000"), "-S", *more)

    def work(self):
        return symbol("search", "work")

    def following(self, debugger, thread):
        return debugger.register(thread, 0x51)          # %npc

    def finish(self, guest, debugger):
        self.assertEqual(debugger.ask("D"), "OK")
        console, counters = end(guest)
        report = json.loads(console)
        self.assertTrue(report["ok"], report)
        # The longest sequence from below 100,000 is that from 77,031 (OEIS A006877, A006878).
        self.assertEqual((report["found"], report["steps"]), (77031, 350))
        for name, values in counters.items():           # docs/devel/engine.rst
            if "vcpu[" in name:
                # A PCPU stops when the next block, or a switch, does not fit.
                self.assertAlmostEqual(sum(values[state] for state in STATES),
                                       counters["vm"]["time"], delta=64 + 554)
            elif "pcpu[" in name:
                self.assertEqual(sum(values[use] for use in USES), values["clock"])


class Registers(unittest.TestCase):
    """What a debugger writes into registers."""
    timeout = 60

    def test_sparc_pc_and_npc_have_no_low_bits(self):
        """They are always 0 (SPARC V9, 5.2.1)."""
        for machine in (SMALL, "sun4u,accel=tcg"):
            with Guest(*program("search", machine, "limit=10"), "-S") as guest, \
                    Debugger(guest) as debugger:
                start = debugger.pc(1)
                debugger.ask("vCont;s:1")
                second = debugger.pc(1)
                for low in (1, 2, 3):
                    self.assertEqual(debugger.ask(f"P50={start | low:016x}"), "OK")
                    self.assertEqual(debugger.ask(f"P51={start + 4 | low:016x}"), "OK")
                    self.assertEqual((debugger.pc(1), debugger.register(1, 0x51)),
                                     (start, start + 4))
                    debugger.ask("vCont;s:1")
                    self.assertEqual(debugger.pc(1), second)
                    debugger.ask(f"s{start | low:x}")
                    self.assertEqual(debugger.pc(1), second)


class InTheMiddle(unittest.TestCase):
    """Stopped where nothing else ever stops: while the PCPUs are at different times."""
    timeout = 200

    # Instructions of crosscall(), up to the second membar: the cross-call is on its way.
    SENT = 16

    def stop_in_window(self, debugger, name, function, steps=0):
        """At a function, and some steps of the VCPU that came there."""
        at = f"0,{symbol(name, function):x},4"
        self.assertEqual(debugger.ask("Z" + at), "OK")
        answer = debugger.ask("vCont;c")
        self.assertRegex(answer, "^T05thread:0.;$")
        self.assertEqual(debugger.ask("z" + at), "OK")
        for _ in range(steps):
            self.assertEqual(debugger.ask(f"vCont;s:{answer[-3:-1]}"), answer)

    def test_stepping_changes_nothing(self):
        arguments = program("ticket", SMALL, "rounds=300")
        with Guest(*arguments) as guest:
            alone = end(guest)
        with Guest(*arguments, "-S") as guest, Debugger(guest) as debugger:
            for _ in range(3):
                self.assertEqual(debugger.ask("vCont;s:1;c"), TRAP.format(1))
            self.assertEqual(debugger.ask("D"), "OK")
            self.assertEqual(end(guest), alone)

    def hits(self, name, parameters, insert, *where, machine=SMALL):
        """Continue from each stop, as gdb does; how often each thread stopped, and what ran."""
        with Guest(*program(name, machine, parameters), "-S") as guest, \
                Debugger(guest) as debugger:
            for place in where:
                self.assertEqual(debugger.ask(insert + place), "OK")
            hits = dict.fromkeys(THREADS, 0)
            while (answer := debugger.ask("vCont;c")).startswith("T05thread:"):
                thread = int(answer[10:12], 16)
                hits[thread] += 1
                if insert == "Z":               # over the breakpoint, nobody else
                    self.assertEqual(debugger.ask(f"vCont;s:{thread:x}"), TRAP.format(thread))
            return hits, json.loads(end(guest)[0]), guest.stats()["vm"]

    def test_breakpoints(self):
        """Each of 4 VCPUs sends 2 cross-calls to each other one in 3 rounds.  Blocks in the forms
        that report accesses are translated soon, at once, or never."""
        for function, more in (("crosscall", ""), ("interrupt_vector", ""),
                               ("crosscall", ",translate-after=0"),
                               ("crosscall", ",translate-after=1000000")):
            with self.subTest(at=function, more=more):
                hits, report, _ = self.hits("crosscall", "rounds=3", "Z",
                                            f"0,{symbol('crosscall', function):x},4",
                                            machine=SMALL + more)
                self.assertEqual(hits, dict.fromkeys(THREADS, 2 * 3 * 3))
                self.assertTrue(report["ok"])

    def test_watchpoints(self):
        """The counter of 'data' is read and written in each round, and read in the end;
        before, VCPU 0 clears all data, with double words.  Nothing is counted twice."""
        for insert, times, first, last in (("Z2,", 1, 1, 0), ("Z3,", 1, 0, 2), ("Z4,", 2, 1, 2)):
            with self.subTest(insert=insert):
                hits, report, vm = self.hits("ticket", "rounds=20", insert,
                                             f"{symbol('ticket', 'data'):x},8")
                self.assertEqual(hits, {1: 20 * times + first + last,
                                        **dict.fromkeys((2, 3, 4), 20 * times)})
                self.assertEqual(report["counter"], 80)
                self.assertEqual(vm["pcpu-busy"],
                                 vm["vcpu-insns-privileged"] + vm["vcpu-insns-user"])

    def test_step_that_another_stop_forestalls(self):
        """VCPU 3 is not started when VCPU 0 comes to a breakpoint: its step is over too.
        Else it stops the machine later, when no debugger is there any more."""
        with Guest(*program("ticket", SMALL, "rounds=300"), "-S") as guest, \
                Debugger(guest) as debugger:
            at = f"0,{symbol('ticket', 'kit_main'):x},4"
            debugger.ask("Z" + at)
            self.assertEqual(debugger.ask("vCont;s:4;c"), TRAP.format(1))
            debugger.ask("z" + at)
            self.assertEqual(debugger.ask("D"), "OK")
            self.assertTrue(json.loads(end(guest)[0])["ok"])

    def test_saving_is_refused(self):
        """A cross-call is on its way to a VCPU whose PCPU is behind."""
        with Guest(*program("crosscall", SMALL, "rounds=30"), "-S") as guest, \
                Debugger(guest) as debugger:
            self.stop_in_window(debugger, "crosscall", "crosscall", self.SENT)
            self.assertGreater(guest.stats()["vm"]["posted-events"], 0)
            path = os.path.join(guest.dir, "state")
            guest.cmd("migrate", uri=f"file:{path}")
            with self.assertRaisesRegex(AssertionError, "failed"):
                wait_migrated(guest)
            self.assertIn("a debugger stopped it in the middle of a window", guest.last_words())
            self.assertEqual(guest.cmd("query-status")["status"], "debug")
            self.assertEqual(debugger.ask("D"), "OK")
            self.assertTrue(json.loads(end(guest)[0])["ok"])

    def test_reset(self):
        """A cross-call from before does not come to a VCPU that was reset."""
        with Guest(*program("crosscall", SMALL, "rounds=30", "-action", "reboot=reset"),
                   "-S") as guest, Debugger(guest) as debugger:
            self.stop_in_window(debugger, "crosscall", "crosscall", self.SENT)
            guest.cmd("system_reset")
            self.assertEqual(debugger.ask("D"), "OK")
            self.assertTrue(guest.event_wait("RESET", timeout=20 * SLOWER))
            self.assertTrue(json.loads(end(guest)[0])["ok"])

    def test_loading(self):
        """What was loaded has no part of the window in which the debugger stopped."""
        arguments = program("ticket", SMALL, "rounds=20000")
        with Guest(*arguments) as guest:
            alone = end(guest)
        with Guest("-M", "none") as scratch:
            path = os.path.join(scratch.dir, "disk")
            qcow2(path, 1)
            with Guest(*arguments, "-blockdev", f"driver=file,filename={path},node-name=file",
                       "-blockdev", "driver=qcow2,file=file,node-name=disk") as guest:
                wait_for(guest, 2_000_000)
                guest.cmd("stop")
                snapshot(guest, "save", "s", ["disk"])
                middle = guest.stats()
                with Debugger(guest) as debugger:
                    debugger.ask("vCont;s:2;c")
                    debugger.ask("vCont;s:1;c")
                    self.assertNotEqual(guest.stats(), middle)
                    with self.assertRaises(AssertionError):
                        snapshot(guest, "save", "t", ["disk"])
                    snapshot(guest, "load", "s", ["disk"])
                    self.assertEqual(guest.stats(), middle)
                    guest.cmd("cont")
                    self.assertEqual(end(guest), alone)


class X86(OneOfMany, unittest.TestCase):
    """VCPU 0 counts down, the others count up, in 64 kB of ROM."""

    DOWN = b"\x66\x49\x75\xfc"                          # 1: dec %ecx; jnz 1b
    UP = b"\x90\x40\xeb\xfd"                            # nop; 1: inc %ax; jmp 1b
    END = b"\x2e\x0f\x01\x1e\x00\x02\xcc"              # lidt %cs:0x200 (none); int3: reset
    RCX = 2

    def setUp(self):
        rom = x86_rom([self.UP], [], [x86_mov("ecx", 0xffffffff), self.DOWN, self.END])
        down = rom.index(self.DOWN)
        self.next = {0: 1, 1: 2, 2: 1, down: down + 2, down + 2: down}
        self.rom = tempfile.NamedTemporaryFile(suffix=".rom")
        self.addCleanup(self.rom.close)
        self.rom.write(rom)
        self.rom.flush()

    def guest(self, *more):
        return Guest("-M", "q35", "-nodefaults", "-cpu", "qemu64,+x2apic", "-smp", "4",
                     "-accel", "tcg,thread=vsched,pcpus=2,slice=20us", "-bios", self.rom.name,
                     "-no-shutdown", "-S", *more, arch="x86_64")

    def work(self):
        return 0xf0000

    def following(self, debugger, thread):
        return self.next[debugger.pc(thread)]

    def finish(self, guest, debugger):
        debugger.ask("Hg1")
        self.assertEqual(debugger.ask(f"P{self.RCX:x}=" + (1000).to_bytes(8, "little").hex()), "OK")
        self.assertEqual(debugger.ask("D"), "OK")
        self.assertTrue(guest.event_wait("SHUTDOWN", timeout=60 * SLOWER))


if __name__ == "__main__":
    unittest.main()
