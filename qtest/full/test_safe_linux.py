"""Injected safe points under Linux: the driver guests/linux/safepoint.c.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import unittest

from support import GUEST_FAULTS, GUESTS, Guest, linux
from test_vms import of_kind

SAFE_POINT = "0x1fe0f200000"


def run(inject, workload="forkstorm"):
    """(console, statistics, times a VCPU was asked, times one answered), 24 VCPUs on 8 PCPUs."""
    arguments = linux(workload, f"safepoint.addr={SAFE_POINT}")
    arguments[arguments.index("-kernel") + 1] = os.path.join(GUESTS, "vmlinux-drivers")
    with Guest("-M", f"cmp8,vcpus=24,sched=safepoint,grace=1ms,inject={inject}", *arguments,
               "-device", f"vsched-safepoint,addr={SAFE_POINT},id=points",
               "-action", "shutdown=pause") as guest:
        guest.wait_console(f"workload {workload}: exit 0", 400)
        guest.wait_console("reboot: Power down", 100)
        guest.event_wait("STOP")
        counts = [guest.cmd("qom-get", path="/machine/peripheral/points", property=name)
                  for name in ("asks", "answers")]
        return guest.console, guest.stats(), *counts


class Linux(unittest.TestCase):
    """Processes are made and end on 24 VCPUs: much of that is in the kernel, under its locks."""
    timeout = 1800

    def test_forkstorm(self):
        plain, before, asks, answers = run("off")
        self.assertEqual((asks, answers), (0, 0))
        console, after, asks, answers = first = run("on")
        for text in (plain, console):
            self.assertIn("24 of 24 CPUs online", text)
            self.assertIn(f"safepoint: registers at {SAFE_POINT}", text)
            self.assertIsNone(GUEST_FAULTS.search(text))
        # Every VCPU that is asked answers, but for the last one of each at power-off.
        self.assertGreater(asks, 24)
        self.assertLessEqual(asks - answers, 24)
        # An answer ends the turn in place of the policy, which cannot know who has a lock.
        for kind, more in (("slices-ended-by-hint", True), ("slices-preempted", False)):
            off, on = (sum(v[kind] for v in of_kind(stats, "vcpu").values())
                       for stats in (before, after))
            self.assertEqual(on > off, more, (kind, off, on))
        self.assertEqual(run("on"), first)


if __name__ == "__main__":
    unittest.main()
