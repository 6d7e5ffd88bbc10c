"""The guests boot under stock TCG, on QEMU's own machines: kernel, root file
system, workloads and firmware are what the other tests believe them to be.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import subprocess
import unittest

from support import BUILD, TOP, GUESTS, GUEST_FAULTS, SLOWER, Guest, linux, run_linux


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


class Cmp(unittest.TestCase):
    """VCPUs on PCPUs, spins ending timeslices, a load on all of them."""
    timeout = 1200

    def boot(self, pcpus, vcpus):
        with Guest("-M", f"cmp,pcpus={pcpus},vcpus={vcpus}", *linux("compress")) as guest:
            guest.wait_console(f"{vcpus} of {vcpus} CPUs online, workload compress",
                               timeout=500)
            guest.wait_console(r"compress: jobs=\d+ lines=\d+ sum=\w+ ok", timeout=200)
            self.assertEqual(guest.wait_exit(200), 0)
            self.assertIsNone(GUEST_FAULTS.search(guest.console), guest.last_words())

    def test_2_vcpus_on_1_pcpu(self):
        self.boot(1, 2)

    def test_8_vcpus_on_4_pcpus(self):
        self.boot(4, 8)

    def test_24_vcpus_on_8_pcpus(self):
        self.boot(8, 24)


class Run(unittest.TestCase):
    """scripts/run: its status is that of the workload, and it keeps the console."""
    timeout = 200

    def test_status(self):
        for workload, status in (("boot", 0), ("nonsense", 127)):
            done = subprocess.run([os.path.join(TOP, "scripts", "run"), workload],
                                  env=dict(os.environ, MACHINE="cmp,pcpus=1", VCPUS="1"),
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                  stderr=subprocess.STDOUT, timeout=90 * SLOWER, check=False)
            self.assertEqual(done.returncode, status, done.stdout)
            self.assertIn("What the scheduler and the spin detection buffers did", done.stdout)
            with open(os.path.join(BUILD, "run", "console"), encoding="utf-8",
                      errors="replace") as f:
                self.assertIn(f"workload {workload}: exit {status}", f.read())


class X86(unittest.TestCase):
    timeout = 900
    linux = ("-m", "256", "-kernel", os.path.join(GUESTS, "x86/vmlinuz"),
             "-initrd", os.path.join(GUESTS, "x86/initrd.gz"))

    def test_boot_and_power_off(self):
        with Guest("-M", "q35", "-smp", "2", *self.linux,
                   "-append", "console=ttyS0 workload=commands", arch="x86_64") as guest:
            guest.wait_console("2 of 2 CPUs online, workload commands")
            guest.wait_console("commands: started=6 of 6 ok")
            guest.wait_console("workload commands: exit 0")
            self.assertEqual(guest.wait_exit(), 0)
            self.assertIsNone(GUEST_FAULTS.search(guest.console))

    def test_4_vcpus_on_2_pcpus_twice_the_same(self):
        """The engine knows nothing of SPARC; two runs have the same console.  The second policy
        listens to interrupts that processors send.  All policies: full/test_policies.py."""
        for sched in ("timeslice", "urgent"):
            consoles = []
            for _ in range(2):
                with Guest("-M", "q35", "-nodefaults", "-smp", "4", *self.linux,
                           "-accel", f"tcg,thread=vsched,pcpus=2,sched={sched}",
                           "-append", "console=ttyS0 workload=boot", arch="x86_64") as guest:
                    guest.wait_console("4 of 4 CPUs online, workload boot", timeout=200)
                    self.assertEqual(guest.wait_exit(200), 0)
                    self.assertIsNone(GUEST_FAULTS.search(guest.console), guest.last_words())
                    consoles.append(guest.console)
            self.assertEqual(*consoles, sched)

    def test_default_devices_and_polling_idle_loop(self):
        """VGA and all: the firmware's way to start the other processors has both VCPUs take
        turns with one lock.  In the kernel there is work for one of them, on the whole; the
        other one polls, which the SDB finds."""
        with Guest("-M", "q35", "-smp", "2", "-no-shutdown", *self.linux,
                   "-accel", "tcg,thread=vsched,pcpus=2,sched=sdb",
                   "-append", "console=ttyS0 workload=boot idle=poll", arch="x86_64") as guest:
            guest.wait_console("2 of 2 CPUs online, workload boot", timeout=200)
            guest.wait_console("workload boot: exit 0")
            self.assertTrue(guest.event_wait("SHUTDOWN", timeout=60 * SLOWER))
            self.assertIsNone(GUEST_FAULTS.search(guest.console), guest.last_words())
            vm = guest.stats()["vm"]
        useful, spinning = vm["vcpu-running-useful"], vm["vcpu-running-spinning"]
        self.assertGreater(useful + spinning, 1.5 * vm["time"])         # nobody halts
        self.assertGreater(spinning, 0.25 * (useful + spinning))
        self.assertLess(spinning, 0.75 * (useful + spinning))
        self.assertLess(vm["pcpu-sdb-spins-user"], 10)


if __name__ == "__main__":
    unittest.main()
