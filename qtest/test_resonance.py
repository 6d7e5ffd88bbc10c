"""x86: a lock that its owner releases and takes again at once is found free by another
VCPU some day, also if the loop is as long as a whole part of everything that the engine
does at regular intervals.  (SeaBIOS waits for the other processors in such a loop.)

The guest is 64 kB of ROM, assembled by hand: VCPU 0 starts VCPU 1 and loops, 8
instructions a turn, which divides a window (1000), a timeslice (20000) and a period of
the SDB (1024); the lock is free for 2 of the 8.  VCPU 1 ends the machine when it has it.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import tempfile
import time
import unittest

from support import SLOWER, Guest, x86_rom

NOP, PAUSE = b"\x90", b"\xf3\x90"
LOCK = b"\x00\x10"                                      # ds:0x1000
TAKE = b"\xf0\x0f\xba\x2e" + LOCK + b"\x00"             # lock btsw $0, 0x1000


def rom(nops):
    return x86_rom([                                    # VCPU 1
        PAUSE, TAKE, b"\x72\xf5",                       # 1: pause; lock bts; jc 1b
        b"\x2e\x0f\x01\x1e\x00\x02", b"\xcc"          # lidt %cs:0x200 (none); int3: reset
    ], [
        b"\xc6\x06" + LOCK + b"\x01"                   # movb $1, 0x1000
    ], [
        NOP * nops,
        b"\xc6\x06" + LOCK + b"\x00", PAUSE,           # 1: movb $0, 0x1000; pause
        TAKE, b"\x72\xf7",                              # 2: lock bts; jc 2b
        NOP * 3, b"\xeb\xeb"])                          # nop; nop; nop; jmp 1b


class Resonance(unittest.TestCase):
    timeout = 300

    def run_to_end(self, nops, engine, longest=None):
        """How long it takes; None if that is longer than longest (simulated ns)."""
        with tempfile.NamedTemporaryFile(suffix=".rom") as file:
            file.write(rom(nops))
            file.flush()
            with Guest("-M", "q35", "-nodefaults", "-cpu", "qemu64,+x2apic", "-smp", "2",
                       "-accel", f"tcg,thread=vsched,slice=20us,{engine}",
                       "-bios", os.path.abspath(file.name), "-no-shutdown",
                       arch="x86_64") as guest:
                while longest and guest.cmd("query-status")["status"] == "running":
                    if guest.stats()["vm"]["time"] > longest:
                        return None
                    time.sleep(0.05)
                self.assertTrue(guest.event_wait("SHUTDOWN", timeout=30 * SLOWER))
                return guest.stats()["vm"]["time"]

    def test_all_phases(self):
        for pcpus in (1, 2):
            for sched in ("sdb", "timeslice"):
                times = [self.run_to_end(nops, f"pcpus={pcpus},sched={sched}")
                         for nops in range(8)]
                # Every 16 us there is a chance of 1 in 4, or better.
                self.assertLess(max(times), 2_000_000)

    def test_there_is_resonance_to_break(self):
        """Without jitter there are loops in which the lock is never found free."""
        self.assertIn(None, [self.run_to_end(nops, "pcpus=2,sched=timeslice,jitter=off",
                                             20_000_000) for nops in range(8)])


if __name__ == "__main__":
    unittest.main()
