"""Linux with 24 VCPUs on 8 PCPUs under every policy that there is: SPARC's of the cmp machine,
and Debian's own kernels on q35 and on Arm's virt.

Each run boots, starts all processors, forks on every one of them, and powers off.  The
guest's own watchdogs are set to bark early (test_24_boots).  Two runs have the same console
and the same statistics, to the last cycle.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import unittest

from support import GUEST_FAULTS, GUESTS, SLOWER, Guest, linux
from test_24_boots import WATCHDOGS

CHILDREN = 4
DONE = f"forkstorm: processors=24 children={24 * CHILDREN} failed=0 ok"


def policies():
    """Names of all policies that can be chosen."""
    with Guest("-M", "cmp8,vcpus=24") as guest:
        return [p["name"] for p in guest.cmd("query-vsched-policies")]


class Policies:
    """For a TestCase of one target."""
    timeout = 14400

    def run_once(self, policy):
        """(console, statistics) of a run, after the checks that each has to pass."""
        with Guest(*self.options(policy), "-no-shutdown", arch=self.arch) as guest:
            guest.wait_console(r"workload forkstorm: exit \d+", timeout=1200)
            self.assertTrue(guest.event_wait("SHUTDOWN", timeout=60 * SLOWER),
                            guest.last_words())
            console, stats = guest.console, guest.stats()
            self.assertIsNone(GUEST_FAULTS.search(console), guest.last_words())
        self.assertIn("24 of 24 CPUs online, workload forkstorm", console)
        self.assertIn(DONE, console)
        self.assertIn("workload forkstorm: exit 0", console)
        self.assertIn("reboot: Power down", console)
        return console, stats

    def test_every_policy_twice_the_same(self):
        for policy in policies():
            with self.subTest(policy=policy):
                console, stats = self.run_once(policy)
                again = self.run_once(policy)
                self.assertEqual(console, again[0])
                self.assertEqual(stats, again[1])


def debian(guest, append):
    """Arguments that boot Debian's kernel (scripts/build/debian-guest)."""
    return ("-m", "256", "-kernel", os.path.join(GUESTS, guest, "vmlinuz"),
            "-initrd", os.path.join(GUESTS, guest, "initrd.gz"), "-append",
            f"{append} workload=forkstorm forkstorm.children={CHILDREN} {WATCHDOGS}")


class Sparc(Policies, unittest.TestCase):
    """Its idle loop does not halt, so that VCPUs always wait for others: with timeslices of
    30 ms, and periods of 100 ms, each cross-call takes that long.  The pages of the two policies
    give shorter ones for that."""
    arch = "sparc64"
    parameters = {"credit": ",slice=300us,tick=100us", "sedf": ",period=300us,quantum=10us"}

    def options(self, policy):
        return ("-M", f"cmp8,vcpus=24,sched={policy}{self.parameters.get(policy, '')}",
                *linux("forkstorm", f"forkstorm.children={CHILDREN} {WATCHDOGS}", memory="256"))


class X86(Policies, unittest.TestCase):
    """A processor whose TSC Linux takes for its clock (docs/targets.rst): half as much to do.
    That of the default model it does not, as test_boot."""
    arch = "x86_64"

    def options(self, policy):
        return ("-M", "q35", "-nodefaults", "-cpu", "Nehalem", "-smp", "24",
                *debian("x86", "console=ttyS0 tsc=reliable"),
                "-accel", f"tcg,thread=vsched,pcpus=8,sched={policy}")


class Arm(Policies, unittest.TestCase):
    """GICv2, the default, knows eight processors."""
    arch = "aarch64"

    def options(self, policy):
        return ("-M", "virt,gic-version=3", "-cpu", "cortex-a72", "-nodefaults", "-smp", "24",
                *debian("arm64", "console=ttyAMA0"),
                "-accel", f"tcg,thread=vsched,pcpus=8,sched={policy}")


if __name__ == "__main__":
    unittest.main()
