"""The cache plugin under Linux: its filter hides nothing, with 24 VCPUs on 8 PCPUs, and
with Debian's kernel on x86, whose page walks are accesses as well.  test_caches.py has
the same for programs without an operating system.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import unittest

from support import GUEST_FAULTS, GUESTS, SLOWER, Guest, linux
from test_caches import Same, caches, report


class Linux(Same):
    """Of each pair of runs, the other gives every access to the model."""
    timeout = 3600

    def until(self, arguments, arch, time):
        """(console, counters of the engine, counters of the caches), at a simulated time"""
        stop = ("-object", f"vsched-command,id=stop,at={time},run=vsched-stop") if time else ()
        with Guest(*arguments, *stop, "-no-shutdown", arch=arch) as guest:
            guest.event_wait("STOP" if time else "SHUTDOWN", timeout=1500 * SLOWER)
            if not time:
                self.assertRegex(guest.console, "workload boot: exit 0", guest.last_words())
            self.assertIsNone(GUEST_FAULTS.search(guest.console), guest.last_words())
            return guest.console, guest.stats(), report(guest)

    def same(self, arguments, options="", time=None, arch="sparc64", least=1000,
             kind="capacity"):
        one, other = (self.until([*arguments, *caches(options + f)], arch, time)
                      for f in ("", ",filter=off"))
        self.assert_same(one, other)
        for name in ("fetches", "loads", "stores", "served-by-transfer", f"l2-misses-{kind}"):
            self.assertGreater(one[2]["machine"]["privileged"][name], least, name)
        return one[2]["machine"]

    SPARC = ["-M", "cmp8,vcpus=24,sched=sdb"]
    X86 = ["-M", "q35", "-nodefaults", "-cpu", "Nehalem", "-smp", "4", "-m", "256",
           "-kernel", os.path.join(GUESTS, "x86", "vmlinuz"),
           "-initrd", os.path.join(GUESTS, "x86", "initrd.gz"),
           "-append", "console=ttyS0 tsc=reliable workload=boot",
           "-accel", "tcg,thread=vsched,pcpus=2,sched=balance"]

    def test_a_part_of_it(self):
        """10 ms on all PCPUs, shortly before the power-off, which without caches is at 1346 ms"""
        self.same([*self.SPARC, *linux("boot")], ",from=1250ms", "1260ms",
                  least=400, kind="compulsory")       # the L2s begin empty

    def test_sparc(self):
        counted = self.same([*self.SPARC, *linux("boot")])
        self.assertGreater(counted["privileged"]["l2-misses-coherence"], 1000)

    def test_x86(self):
        self.same(self.X86, arch="x86_64")


if __name__ == "__main__":
    unittest.main()
