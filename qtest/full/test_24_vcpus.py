"""Linux with 24 VCPUs on 8 PCPUs, under load, is saved, loaded, stopped, watched and
reset: the run goes on as if nothing had happened.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import time
import unittest

from support import GUEST_FAULTS, SLOWER, Guest, linux
from test_determinism import disks
from test_save import LinuxInTheMiddle, wait_for

MACHINE = "cmp8,vcpus=24,sched=sdb"


def in_user_mode(guest):
    """Instructions that each VCPU has committed in user mode."""
    return {where: counters["insns-user"] for where, counters in guest.stats().items()
            if "insns-user" in counters}


def wait_for_most(guest, timeout=200):
    """Wait until the VCPUs have done something in user mode from now on: at least 22 of
    them, since it is for Linux to say on which processors 24 processes or threads run."""
    before = in_user_mode(guest)
    assert len(before) == 24, before.keys()
    deadline = time.monotonic() + timeout * SLOWER
    while True:
        lazy = [where for where, now in in_user_mode(guest).items() if now == before[where]]
        if len(lazy) <= 2:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"nothing in user mode on {lazy}:\n{guest.last_words()}")
        time.sleep(0.02)


class SaveCompress(LinuxInTheMiddle, unittest.TestCase):
    """Everybody computes, in user mode most of the time."""
    timeout = 1800
    machine = MACHINE
    append = "compress.lines=300"

    def points(self, guest):
        yield from super().points(guest)
        wait_for_most(guest)
        yield "all-busy", "file"


class SaveShootdown(LinuxInTheMiddle, unittest.TestCase):
    """Everybody sends cross-calls to everybody."""
    timeout = 1800
    machine = MACHINE
    workload, append = "shootdown", "shootdown.rounds=20"

    def points(self, guest):
        yield from super().points(guest)
        for number in range(3):
            wait_for_most(guest)
            yield f"all-busy{number}", "file"


class SaveDisks(LinuxInTheMiddle, unittest.TestCase):
    """An IDE and a virtio disk at work; requests in flight are waited for."""
    timeout = 1800
    machine = MACHINE
    workload, append = "disks", "disks.kib=128 disks.rounds=6"
    nodes = ("ide", "virtio")

    def disks(self, new):
        return disks(self.dir, new=new)

    def points(self, guest):
        guest.wait_console("smp: Brought up", timeout=200)
        yield "starting", "snapshot"
        guest.wait_console("CPUs online, workload disks", timeout=200)
        for number in range(3):
            wait_for(guest, wait_for(guest, 0) + 100_000_000)
            yield f"busy{number}", "snapshot"


class Undisturbed(unittest.TestCase):
    timeout = 2400

    @staticmethod
    def start(*args, machine=MACHINE):
        return Guest("-nodefaults", "-M", machine,
                     *linux("compress", "compress.lines=300", memory="256"),
                     "-no-shutdown", *args)

    @classmethod
    def setUpClass(cls):
        with cls.start() as guest:
            cls.alone = LinuxInTheMiddle.end(guest)

    def assert_undisturbed(self, guest):
        console, statistics = LinuxInTheMiddle.end(guest, timeout=2000)
        self.assertIn("workload compress: exit 0", console)
        self.assertEqual(self.alone[0].splitlines(), console.splitlines())
        self.assertEqual(self.alone[1], statistics)

    def test_stop_and_cont(self):
        with self.start() as guest:
            stops = 0
            while "reboot: Power down" not in guest.console:
                guest.cmd("stop")
                self.assertIn(guest.cmd("query-status")["status"], ("paused", "shutdown"))
                if guest.cmd("query-status")["status"] == "shutdown":
                    break
                guest.cmd("cont")
                stops += 1
                time.sleep(0.05)
            self.assertGreater(stops, 100)
            self.assert_undisturbed(guest)

    def test_log(self):
        with Guest("-M", "none") as scratch:
            log = os.path.join(scratch.dir, "log")
        with self.start("-d", "int,mmu,guest_errors,unimp,nochain", "-D", log) as guest:
            self.assert_undisturbed(guest)

    def test_few_translations_kept(self):
        """A code buffer of 16 MiB, emptied whenever it is full."""
        with self.start("-accel", "tcg,thread=vsched,tb-size=16") as guest:
            self.assert_undisturbed(guest)
            jit = guest.cmd("x-query-jit")["human-readable-text"]
            self.assertRegex(jit, r"TB flush count +[3-9]\d")

    def test_ten_resets(self):
        with self.start("-action", "reboot=reset") as guest:
            for number in range(1, 11):
                guest.wait_console("(?s)" + "24 of 24 CPUs online, workload compress.*" * number,
                                   timeout=400)
                wait_for(guest, wait_for(guest, 0) + 100_000_000)
                self.assertEqual(guest.cmd("query-status")["status"], "running")
                guest.cmd("system_reset")
                self.assertTrue(guest.event_wait("RESET", timeout=60 * SLOWER))
            console, _ = LinuxInTheMiddle.end(guest)
        self.assertEqual(console.count("24 of 24 CPUs online, workload compress"), 11)
        self.assertEqual(console.count("workload compress: exit 0"), 1)
        self.assertIsNone(GUEST_FAULTS.search(console))


if __name__ == "__main__":
    unittest.main()
