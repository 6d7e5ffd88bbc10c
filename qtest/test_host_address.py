"""Helpers that QEMU lets access guest memory by host addresses: what they store has to
reach the SDB all the same.

The guest is 64 kB of ROM for x86, assembled by hand, that loops with one instruction:
FXSAVE, a helper that asks for a host address and stores 23 words or more by it, or a
store of one word.  By the paper's rule, fewer than eight unique stores in 1024
instructions, the second is a spin and the first is not.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import tempfile
import unittest

from support import SLOWER, Guest, x86_mov, x86_rom

FXSAVE = b"\x0f\xae\x06\x00\x10"        # fxsave 0x1000
MOV = b"\x66\xa3\x00\x10\x90"           # mov %eax, 0x1000; nop
TURNS = 20_000


def rom(instruction):
    return x86_rom([], [], [
        x86_mov("ecx", TURNS),
        instruction, b"\x66\x49", b"\x75\xf7",          # 1: X; dec %ecx; jnz 1b
        b"\x2e\x0f\x01\x1e\x00\x02", b"\xcc"])         # lidt %cs:0x200 (none); int3: reset


class HostAddress(unittest.TestCase):
    timeout = 100

    def counters(self, instruction, options):
        with tempfile.NamedTemporaryFile(suffix=".rom") as file:
            file.write(rom(instruction))
            file.flush()
            with Guest("-M", "q35", "-nodefaults", "-cpu", "qemu64,+x2apic",
                       "-accel", f"tcg,thread=vsched,pcpus=1,{options}",
                       "-bios", os.path.abspath(file.name), "-no-shutdown",
                       arch="x86_64") as guest:
                self.assertTrue(guest.event_wait("SHUTDOWN", timeout=60 * SLOWER))
                return guest.stats()["vm"]

    def test_stores_of_fxsave(self):
        insns = 3 * TURNS
        saves = self.counters(FXSAVE, "detector=paper")
        self.assertAlmostEqual(saves["vcpu-insns-privileged"], insns, delta=1010)
        self.assertEqual(saves["pcpu-sdb-spins-privileged"], 0)

        stores = self.counters(MOV, "detector=paper")
        self.assertGreater(stores["pcpu-sdb-spins-privileged"], 4 * TURNS / 1024 - 3)

    def test_nothing_else_differs(self):
        """That the SDB looks on changes nothing that the guest does."""
        for key in ("vcpu-insns-privileged", "pcpu-busy"):
            with self.subTest(key=key):
                self.assertEqual(self.counters(FXSAVE, "detector=paper")[key],
                                 self.counters(FXSAVE, "sdb=off")[key])


if __name__ == "__main__":
    unittest.main()
