"""Random instructions, in user and in privileged mode: nothing that a guest does, but its
power-off and reset, ends QEMU, silences its monitor or stops another VCPU.

The short runs of 'make check'; full/test_fuzz_long.py runs the same for an hour.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import re
import struct
import tempfile
import time
import unittest

from support import GUEST_FAULTS, GUESTS, SLOWER, Guest, run_linux
from qemu.qmp import QMPError
from random_x86 import PROGRESS, RECORDS, SANDBOX, Batches
from test_bare_metal import run

# What QEMU says when it gives up, whatever the exit status is
GIVES_UP = re.compile(r"Assertion|assertion|Bail out|ERROR:|qemu: fatal|code should not be reached|"
                      r"Segmentation|core dumped")
COUNTER = 2                     # VCPU 2 counts, and takes no interrupts


def fuzz(test, seed, machine="cmp,pcpus=2,vcpus=4", options=(), **parameters):
    """Random privileged instructions: how the run ended, and how many VCPUs were lost."""
    words = " ".join(f"{key}={value}" for key, value in parameters.items())
    with Guest("-M", machine, "-bios", os.path.join(GUESTS, "bare-metal", "fuzz.elf"),
               "-fw_cfg", f"name=opt/args,string= seed={seed} privileged=1 {words}", *options) as guest:
        last, changed, end = "", time.monotonic(), time.monotonic() + 20 * SLOWER
        counts = not machine.startswith("sun4u")
        while guest.is_running():
            time.sleep(0.1)
            try:
                status = guest.cmd("query-status")["status"]
                registers = guest.cmd("human-monitor-command", command_line="info registers",
                                      cpu_index=COUNTER if counts else 0)
            except Exception:           # pylint: disable=broad-exception-caught
                break                   # it is about to end: why is looked at below
            if registers != last:
                changed = time.monotonic()
            last = registers
            if status == "running" and counts:
                test.assertLess(time.monotonic() - changed, 10 * SLOWER,
                                f"seed {seed}: VCPU {COUNTER} stands still")
            # Code can make VCPU 0 forget what it does: then nobody ends the program.
            if time.monotonic() > end - (0 if counts else 17 * SLOWER):
                return "alive"
        guest.wait_exit(10)
        reasons = [event["data"]["reason"] for event in guest.get_qmp_events(wait=False)
                   if event["event"] == "SHUTDOWN"]
        words = guest.last_words()
        test.assertIsNone(GIVES_UP.search(words), f"seed {seed}: {words}")
        test.assertIn((reasons or [None])[-1], ("guest-shutdown", "guest-reset"), f"seed {seed}: {words}")
        return "ended"


def fuzz_x86(test, seed, seconds, batches=20000, accel="tcg,thread=vsched,pcpus=2"):
    """Random instructions in ring 0 and elsewhere of two x86 processors, for so long: how many
    batches, how many resets by the guest and by us.  We reset it where both stand still: a
    processor may ignore NMIs, or another one that is in nobody's way."""
    with tempfile.NamedTemporaryFile(suffix=".mem") as memory:
        memory.write(Batches(seed).memory(batches))
        memory.flush()
        with Guest("-M", "q35", "-nodefaults", "-cpu", "max", "-smp", "2", "-m", "64",
                   "-accel", accel, "-bios", os.path.join(GUESTS, "x86-bare-metal/fuzz.bin"),
                   "-device", f"loader,file={memory.name},addr={RECORDS},force-raw=on",
                   "-device", "isa-debug-exit", "-action", "reboot=reset", arch="x86_64") as guest:
            begin = changed = time.monotonic()
            guest.answer_within(20)
            last, done, resets, ours = [0, 0], 0, 0, 0
            try:
                while time.monotonic() < begin + seconds:
                    time.sleep(0.1)
                    status = guest.cmd("query-status")["status"]
                    test.assertIn(status, ("running", "suspended", "shutdown"), f"seed {seed}")
                    for i in range(2):
                        for command in ("info registers", "x /3i $pc", "info lapic", "info tlb"):
                            guest.cmd("human-monitor-command", command_line=command, cpu_index=i)
                    said = guest.cmd("human-monitor-command", command_line=f"xp /9gd {PROGRESS}")
                    words = re.findall(r"-?\d+", re.sub(r"(?m)^\w+:", "", said))
                    now = [int(words[0]), int(words[8])]
                    if now != last:
                        changed = time.monotonic()
                    done += sum(b - a for a, b in zip(last, now) if 0 < b - a < batches)
                    last = now
                    if status == "suspended" or time.monotonic() - changed > SLOWER:
                        ours += 1
                        guest.cmd("system_reset")
                        guest.cmd("cont")
                        changed = time.monotonic()
                    resets += sum(event["event"] == "RESET" for event in guest.get_qmp_events())
            except QMPError:
                pass                    # it is about to end: why is looked at below
            except TimeoutError:
                test.fail(f"seed {seed}: the monitor is silent\n{guest.last_words()}")
            else:
                return done, resets, ours
            status = guest.wait_exit(10)
            reasons = [event["data"]["reason"] for event in guest.get_qmp_events(wait=False)
                       if event["event"] == "SHUTDOWN"]
            words = guest.last_words()
            test.assertIsNone(GIVES_UP.search(words), f"seed {seed}: {words}")
            # The connection may be closed before the event is read.
            test.assertIn((reasons or [None])[-1], ("guest-shutdown", None), f"seed {seed}: {words}")
            # isa-debug-exit ends QEMU with any odd status; a signal would be below 0
            test.assertGreaterEqual(status, 0, f"seed {seed}: {words}")
            return done, resets, ours


def user_mode(test, seed, machine, batches):
    status, report = run("fuzz", machine, seed=seed, batches=batches, words=32, timeout=120)
    vcpus = report["vcpus"]
    throwing = [i for i in range(vcpus) if i % 2 or vcpus == 1]
    test.assertEqual((status, report["ok"]), (0, True), f"seed {seed}: {report}")
    # Privileged code is where it was: it got every batch back, also the last.
    test.assertEqual(report["come_back"], batches * len(throwing), f"seed {seed}: {report}")
    for i in throwing:
        test.assertEqual(report["count"][i], batches)


def x86_linux(test, append, result, timeout=240):
    with Guest("-M", "q35", "-smp", "2", "-cpu", "max", "-accel", "tcg,thread=vsched", "-m", "256",
               "-kernel", os.path.join(GUESTS, "x86/vmlinuz"), "-initrd",
               os.path.join(GUESTS, "x86/initrd.gz"),
               "-append", f"console=ttyS0 quiet workload=fuzz {append}", arch="x86_64") as guest:
        test.assertEqual(guest.wait_exit(timeout), 0, guest.last_words())
        console = guest.console
    test.assertIn(f"fuzz: {result} not_tried=0 ok", console)
    test.assertIsNone(GUEST_FAULTS.search(console), console)


class UserMode(unittest.TestCase):
    timeout = 200

    def test_other_vcpus_go_on(self):
        for seed in (1, 2):
            user_mode(self, seed, "cmp,pcpus=2,vcpus=4", 15000)

    def test_stock_machine(self):
        user_mode(self, 3, "sun4u", 15000)


class Privileged(unittest.TestCase):
    timeout = 300

    def test_other_vcpus_go_on(self):
        for seed in range(1, 9):
            fuzz(self, seed, batches=1000, words=12)

    def test_vcpus_take_turns(self):
        for seed in (101, 102):
            fuzz(self, seed, "cmp,vcpus=4", ("-accel", "tcg,thread=single", "-icount",
                                              "shift=0,sleep=off"), batches=200, words=12)

    def test_stock_machine(self):
        for seed in range(201, 204):
            fuzz(self, seed, "sun4u", batches=2000, words=12)


class Linux(unittest.TestCase):
    timeout = 300

    def test_asis_of_an_ordinary_user(self):
        """128 ASIs are restricted: SIGILL.  8 can be loaded from, 4 of them stored to."""
        console = run_linux("cmp8,vcpus=2", "asis", test=self)
        self.assertIn("asis: load performed=8 SIGILL=128 SIGSEGV=120 SIGBUS=0", console)
        self.assertIn("asis: store performed=4 SIGILL=128 SIGSEGV=124 SIGBUS=0", console)

    def test_random_instructions_of_an_ordinary_user(self):
        console = run_linux("cmp8,vcpus=2", "fuzz", append="fuzz.children=60 fuzz.copies=0", test=self)
        self.assertIn("fuzz: copies=2 children=60 not_tried=0 ok", console)


class X86(unittest.TestCase):
    timeout = 300

    def test_all_modes_of_two_processors(self):
        for seed, accel in ((1, "tcg,thread=vsched,pcpus=2"), (2, "tcg,thread=single")):
            done, *_ = fuzz_x86(self, seed, 4, batches=4000, accel=accel)
            self.assertGreater(done, 20, seed)

    def test_one_of_each_kind_that_was_too_much(self):
        """LTR with a null selector; a word to the last of COM1's ports; FRSTOR from the last byte
        of memory on; VMSAVE and VMLOAD, VMCB in the local APIC, which leaves no TSS; a handler of
        page faults that cannot be fetched, until the stack of that loop is at its end.  QEMU
        answers, and all comes to the end of the program or to a reset."""
        idt, pointer = SANDBOX + 0x100000, RECORDS + 512 + 144 + 64
        for code, how in (
                (bytes.fromhex("31c0" "0f00d8" "fb" "cd80"), 1),
                (bytes.fromhex("66baff03" "66ef" "0f0b"), 1),
                (bytes.fromhex("beffffff03" "dd6600" "0f0b"), 1),
                (bytes.fromhex("b80000e0fe" "0f01db" "0f01da" "0f0b"), 0),
                (bytes.fromhex("b900010000" "488907" "48895f08" "4883c710" "ffc9" "75f1"   # gates
                               "0f011e" "0f0b"), 0)):          # lidt (%rsi); ud2
            code = code.ljust(64, b"\xcc") + struct.pack("<HQ", 0xfff, idt)
            record = struct.pack("<16QHHIQ", 0x00008e0000080000, 0x80, 0, 0, pointer, idt, *9 * [0],
                                 SANDBOX + 0x18000, 0x08, 0x10, 0, 2) + code.ljust(112, b"\xcc")
            with tempfile.NamedTemporaryFile(suffix=".mem") as memory:
                memory.write(struct.pack("<Q", 2).ljust(512, b"\0") + 4 * record)
                memory.flush()
                with Guest("-M", "q35", "-nodefaults", "-cpu", "max", "-m", "64",
                           "-accel", "tcg,thread=vsched,pcpus=1",
                           "-bios", os.path.join(GUESTS, "x86-bare-metal/fuzz.bin"),
                           "-device", f"loader,file={memory.name},addr={RECORDS},force-raw=on",
                           "-device", "isa-debug-exit", arch="x86_64") as guest:
                    guest.answer_within(20)
                    try:
                        while guest.is_running():
                            guest.cmd("query-status")
                            time.sleep(0.05)
                    except QMPError:
                        pass
                    # isa-debug-exit, or a reset with -no-reboot
                    self.assertEqual(guest.wait_exit(30), how, code.hex() + guest.last_words())

    def test_random_instructions_of_an_ordinary_user(self):
        """With all that QEMU's processor can do: AVX2, FMA, BMI, ..."""
        x86_linux(self, "fuzz.children=40 fuzz.copies=0", "copies=2 children=40")
