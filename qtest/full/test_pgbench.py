"""PostgreSQL under pgbench: every transaction happened, once, and whole.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import subprocess
import sys
import tempfile
import unittest

from support import BUILD, GUESTS, TOP, run_linux

WARM = """
[policies.one]
"sdb" = "sched=sdb"
[warm]
title = "A run after one that is not counted"
machine = "cmp,pcpus=2,vcpus=3"
caches = "wells-2006"
policies = ["one"]
baseline = "sdb"
seeds = [1]
columns = ["instructions", "time", "l1-misses"]
[warm.cases.pgbench]
workload = "pgbench"
arguments = "pgbench.clients=2 pgbench.transactions=3 pgbench.runs=2 pgbench.wait=1"
root = "pgbench.cpio.gz"
memory = 1024
warm = 1
"""


class PgBench(unittest.TestCase):
    timeout = 900

    def counted(self, transactions, parameters):
        """What the guest counted: rows of the history, and the sums of its changes and of all
        balances are equal."""
        console = run_linux("sun4u", "pgbench", timeout=800, test=self, memory="1024",
                            initrd=os.path.join(GUESTS, "pgbench.cpio.gz"), append=parameters)
        self.assertRegex(console, rf"pgbench: transactions={transactions} delta=(-?\d+) "
                                  r"accounts=\1 tellers=\1 branches=\1 ok")

    def test_transactions(self):
        self.counted(4 * 10, "pgbench.clients=4 pgbench.transactions=10")

    def test_two_runs(self):
        """Runs are counted together, and another one has other random numbers."""
        self.counted(2 * 4 * 2, "pgbench.clients=2 pgbench.transactions=4 pgbench.runs=2")

    def test_an_experiment_with_a_warm_up(self):
        """scripts/figures: the second run alone is counted.  A transaction of PostgreSQL's is
        some millions of instructions, a boot and the start of the server are thousands."""
        with tempfile.TemporaryDirectory() as directory:
            build = os.path.join(directory, "build")
            os.mkdir(build)
            for name in ("guests", "firmware", "src", "plugins"):
                os.symlink(os.path.join(BUILD, name), os.path.join(build, name))
            file, page = (os.path.join(directory, name) for name in ("warm.toml", "page.rst"))
            with open(file, "w", encoding="utf-8") as out:
                out.write(WARM)
            with open(page, "w", encoding="utf-8") as out:
                out.write(".. begin warm\n.. end warm\n")
            done = subprocess.run(
                [sys.executable, os.path.join(TOP, "scripts/figures"), "--file", file, "--output",
                 page, "--no-plots"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                check=False, env={**os.environ, "BUILD": build,
                                  "QEMU_BUILD": os.environ.get("QEMU_BUILD") or
                                  os.path.join(BUILD, "qemu")})
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(page, encoding="utf-8") as text:
                line = [each for each in text if each.startswith("sdb ")][0].split()
        millions, milliseconds, misses = map(float, line[1:])
        self.assertGreater(millions, 6 * 1)
        self.assertLess(millions, 6 * 100)
        self.assertLess(milliseconds, 1000)
        self.assertGreater(misses, 1)


if __name__ == "__main__":
    unittest.main()
