"""x86: PAUSE is no more a yield than a jump is.  TCG leaves its loop for PAUSE, so
that another CPU can run; a policy that did not ask for that must not see it.

The guest is 64 kB of ROM, assembled by hand: VCPU 0 starts VCPU 1; both loop
with an instruction of two bytes that ends a block, PAUSE or a jump to the next
instruction.  Nothing else differs, so no counter may.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import tempfile
import unittest

from support import SLOWER, Guest, x86_mov, x86_rom

PAUSE, JUMP = b"\xf3\x90", b"\xeb\x00"
TURNS = 200_000


def rom(instruction):
    return x86_rom([instruction, b"\xeb\xfc"],            # VCPU 1: 1: X; jmp 1b
                   [], [
        x86_mov("ecx", TURNS),
        instruction, b"\x66\x49", b"\x75\xfa",          # 1: X; dec %ecx; jnz 1b
        b"\x2e\x0f\x01\x1e\x00\x02", b"\xcc"])         # lidt %cs:0x200 (none); int3: reset


class Pause(unittest.TestCase):
    timeout = 200

    def counters(self, instruction, engine, vcpus=2):
        with tempfile.NamedTemporaryFile(suffix=".rom") as file:
            file.write(rom(instruction))
            file.flush()
            with Guest("-M", "q35", "-nodefaults", "-cpu", "qemu64,+x2apic", "-smp", str(vcpus),
                       "-accel", f"tcg,thread=vsched,pcpus=1,slice=20us,{engine}",
                       "-bios", os.path.abspath(file.name), "-no-shutdown",
                       arch="x86_64") as guest:
                self.assertTrue(guest.event_wait("SHUTDOWN", timeout=60 * SLOWER))
                return guest.stats()

    def test_no_counter_differs(self):
        for engine in ("sched=timeslice", "sched=timeslice,sdb=off", "sched=sdb"):
            with self.subTest(engine=engine):
                pause = self.counters(PAUSE, engine)
                self.assertEqual(pause, self.counters(JUMP, engine))
                vm = pause["vm"]
                if "timeslice" in engine:
                    # Both compute 3 instructions a turn; VCPU 1, in whose turn there are 2,
                    # has its PCPU half of the time: slices of 20 us, switches of 554 ns.
                    slices = 2 * 3 * TURNS / 20_000
                    self.assertAlmostEqual(vm["pcpu-switches"], slices, delta=3)
                    self.assertEqual(vm["vcpu-slices-ended-by-spin"], 0)
                else:       # the SDB's doing, not that of PAUSE
                    self.assertGreater(vm["vcpu-slices-ended-by-spin"], 100)

    def test_alone(self):
        """Nobody else is there to run: no switch, nothing lost."""
        pause = self.counters(PAUSE, "sched=timeslice", vcpus=1)
        self.assertEqual(pause, self.counters(JUMP, "sched=timeslice", vcpus=1))
        # 9 instructions up to the loop, lidt, and whatever follows until the machine
        # is reset at the end of the window, of 1000 instructions
        self.assertIn(pause["vm"]["vcpu-insns-privileged"] - 3 * TURNS, range(10, 1010))
        self.assertEqual(pause["vm"]["pcpu-switches"], 1)


if __name__ == "__main__":
    unittest.main()
