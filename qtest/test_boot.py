"""The guests boot under stock TCG, on QEMU's own machines: kernel, root file
system, workloads and firmware are what the other tests believe them to be.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import unittest

from support import GUESTS, GUEST_FAULTS, Guest, linux, run_linux


class Sparc64(unittest.TestCase):
    timeout = 200

    def test_boot_and_power_off(self):
        console = run_linux("sun4u", "boot", test=self)
        self.assertIn("1 of 1 CPUs online, workload boot", console)

    def test_unknown_workload_says_what_there_is_and_powers_off(self):
        with Guest("-M", "sun4u", *linux("none")) as guest:
            found = guest.wait_console("no workload 'none'; there are: (.*)")
            self.assertIn("boot", found.group(1).split())
            guest.wait_console("workload none: exit 127")
            self.assertEqual(guest.wait_exit(), 0)


class X86(unittest.TestCase):
    timeout = 200

    def test_boot_and_power_off(self):
        with Guest("-M", "q35", "-m", "256", "-kernel", os.path.join(GUESTS, "x86/vmlinuz"),
                   "-initrd", os.path.join(GUESTS, "x86/initrd.gz"), "-smp", "2",
                   "-append", "console=ttyS0 workload=boot", arch="x86_64") as guest:
            guest.wait_console("2 of 2 CPUs online, workload boot")
            guest.wait_console("workload boot: exit 0")
            self.assertEqual(guest.wait_exit(), 0)
            self.assertIsNone(GUEST_FAULTS.search(guest.console))


if __name__ == "__main__":
    unittest.main()
