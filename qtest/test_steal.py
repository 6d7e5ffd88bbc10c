"""x86: the guest's own account of stolen time is the engine's of VCPUs that wait.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import gzip
import os
import re
import tempfile
import unittest

from support import GUEST_FAULTS, GUESTS, SLOWER, Guest
from test_time import cpio

VMLINUZ = os.path.join(GUESTS, "x86/vmlinuz")
INITRD = os.path.join(GUESTS, "x86/initrd.gz")
TICK = 10 * 1000 * 1000         # ns: unit of /proc/stat

WORKLOAD = """#!/bin/sh
for n in 1 2 3 4 5 6 7 8; do
    (i=0; while [ $i -lt 15000 ]; do i=$((i + 1)); done) &
done
wait
grep '^cpu[0-9]' /proc/stat
echo "steal: ok"
"""


class Steal(unittest.TestCase):
    timeout = 300

    def run_guest(self, cpu):
        """Ticks that each processor says were stolen, and nanoseconds that its VCPU waited"""
        with tempfile.NamedTemporaryFile() as initrd:
            with open(INITRD, "rb") as f:
                initrd.write(f.read() + gzip.compress(cpio([("workloads/steal", WORKLOAD.encode())])))
            initrd.flush()
            with Guest("-M", "q35", "-nodefaults", "-smp", "4", "-cpu", cpu, "-m", "256",
                       "-accel", "tcg,thread=vsched,pcpus=2,sched=timeslice", "-kernel", VMLINUZ,
                       "-initrd", initrd.name, "-no-shutdown", "-append",
                       "console=ttyS0 quiet workload=steal", arch="x86_64") as guest:
                guest.event_wait("SHUTDOWN", timeout=200 * SLOWER)
                console = guest.console
                number = {cpu["qom-path"]: cpu["cpu-index"]
                          for cpu in guest.cmd("query-cpus-fast")}
                waits = {number[cpu["qom-path"]]: next(s["value"] for s in cpu["stats"]
                                                       if s["name"] == "ready")
                         for cpu in guest.cmd("query-stats", target="vcpu",
                                              providers=[{"provider": "vsched"}])}
        self.assertIn("steal: ok", console)
        self.assertIsNone(GUEST_FAULTS.search(console), console)
        ticks = {int(cpu): int(fields.split()[7])
                 for cpu, fields in re.findall(r"(?m)^cpu(\d+) (.*?)\r?$", console)}
        return ticks, waits

    def test_steal(self):
        """To a tick; what VCPUs wait for after that, on their way to power off, is less."""
        ticks, waits = self.run_guest("qemu64,kvm-steal-time=on")
        self.assertEqual(set(ticks), {0, 1, 2, 3})
        for cpu, stolen in ticks.items():
            self.assertLess(abs(stolen * TICK - waits[cpu]), 2 * TICK, (ticks, waits))
        self.assertGreater(sum(ticks.values()), 20)

    def test_it_is_off_by_default(self):
        for cpu in ("max",):
            ticks, waits = self.run_guest(cpu)
            self.assertEqual(set(ticks.values()), {0})
            self.assertGreater(sum(waits.values()), 20 * TICK)


if __name__ == "__main__":
    unittest.main()
