"""PostgreSQL under pgbench: every transaction happened, once, and whole.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import unittest

from support import GUESTS, run_linux


class PgBench(unittest.TestCase):
    timeout = 900

    def test_transactions(self):
        console = run_linux(
            "sun4u", "pgbench", timeout=800, test=self, memory="1024",
            initrd=os.path.join(GUESTS, "pgbench.cpio.gz"),
            append="pgbench.clients=4 pgbench.transactions=10")
        # what the guest counted: rows of the history = 4 x 10, and the sums of
        # its changes and of all balances are equal
        self.assertRegex(console, r"pgbench: transactions=40 delta=(-?\d+) accounts=\1 "
                                  r"tellers=\1 branches=\1 ok")


if __name__ == "__main__":
    unittest.main()
