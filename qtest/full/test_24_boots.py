"""Linux with 24 VCPUs on 8 PCPUs (32 on 8 and on 64 as well) boots and works, again and
again: what is not repeatable about it is left to the seed.

The guest's own watchdogs are set to bark early: a processor that does not schedule for
2 s, or a grace period of RCU that takes 3 s, of simulated time.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import unittest

from support import GUESTS, run_linux
from test_workloads import compress

MACHINE = "cmp8,vcpus=24,sched=sdb"
WATCHDOGS = "watchdog_thresh=1 rcupdate.rcu_cpu_stall_timeout=3"


class FiveBoots(unittest.TestCase):
    """Each workload with five seeds, and so five interleavings."""
    timeout = 2400

    def five(self, workload, append, *expected):
        for seed in range(1, 6):
            with self.subTest(seed=seed):
                console = run_linux(MACHINE, workload, "-seed", str(seed), test=self,
                                    memory="256", append=f"{WATCHDOGS} {append}".strip())
                self.assertIn(f"24 of 24 CPUs online, workload {workload}", console)
                for line in expected:
                    self.assertIn(line, console)

    def test_boot(self):
        self.five("boot", "", "boot: ok")

    def test_forkstorm(self):
        self.five("forkstorm", "forkstorm.children=10",
                  "forkstorm: processors=24 children=240 failed=0 ok")

    def test_shootdown(self):
        # a round of a thread: 8 pages of 8 kB with a word in 64 looked at, 2 words in
        # each of 4 pages that were dropped, 1 of the neighbour
        checks = 24 * 5 * (8 * 1024 // 64 + 2 * 4 + 1)
        self.five("shootdown", "shootdown.rounds=5",
                  f"shootdown: threads=24 rounds=5 pages=8 pagesize=8192 checks={checks} "
                  "wrong=0 membarrier=yes ok")

    def test_compress(self):
        self.five("compress", "compress.lines=300",
                  f"compress: jobs=24 lines=300 sum={compress(24, 300)} ok")

    def test_pingpong(self):
        self.five("pingpong", "pingpong.rounds=100",
                  "pingpong: pairs=12 rounds=100 messages=2400 failed=0 ok")

    def test_idle(self):
        self.five("idle", "idle.seconds=1", "idle: seconds=1 ok")


class Long(unittest.TestCase):
    """Long enough for the watchdogs."""
    timeout = 2400

    def test_pgbench(self):
        console = run_linux(MACHINE, "pgbench", test=self, memory="1024", timeout=2300,
                            initrd=os.path.join(GUESTS, "pgbench.cpio.gz"),
                            append=f"{WATCHDOGS} pgbench.clients=24 pgbench.transactions=20")
        self.assertIn("24 of 24 CPUs online, workload pgbench", console)
        self.assertRegex(console, r"pgbench: transactions=480 delta=(-?\d+) accounts=\1 "
                                  r"tellers=\1 branches=\1 ok")

    def test_idle_with_skips(self):
        """20 s of waiting, of which little is executed."""
        console = run_linux(f"{MACHINE},skip=1ms", "idle", test=self, memory="256",
                            append=f"{WATCHDOGS} idle.seconds=20")
        self.assertIn("idle: seconds=20 ok", console)


class Most(unittest.TestCase):
    """As many VCPUs as there can be, with few PCPUs and with more than VCPUs."""
    timeout = 900

    def boot(self, machine):
        console = run_linux(machine, "forkstorm", test=self, memory="512", timeout=400,
                            append=f"{WATCHDOGS} forkstorm.children=4")
        self.assertIn("32 of 32 CPUs online, workload forkstorm", console)
        self.assertIn("forkstorm: processors=32 children=128 failed=0 ok", console)

    def test_32_vcpus_on_8_pcpus(self):
        self.boot("cmp8,vcpus=32,sched=sdb")

    def test_32_vcpus_on_64_pcpus(self):
        self.boot("cmp,pcpus=64,vcpus=32,sched=sdb")


if __name__ == "__main__":
    unittest.main()
