"""Random instructions, in user and in privileged mode: nothing that a guest does, but its
power-off and reset, ends QEMU, silences its monitor or stops another VCPU.

The short runs of 'make check'; full/test_fuzz_long.py runs the same for an hour.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import re
import time
import unittest

from support import GUEST_FAULTS, GUESTS, SLOWER, Guest, run_linux
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

    def test_random_instructions_of_an_ordinary_user(self):
        """With all that QEMU's processor can do: AVX2, FMA, BMI, ..."""
        x86_linux(self, "fuzz.children=40 fuzz.copies=0", "copies=2 children=40")
