"""Random commands of QMP while guests work, for as long as QMP_FUZZ_SECONDS says (ten minutes).

Each guest has a seed, from QMP_FUZZ_SEED (1) on; a failure says which, and so does the log.  With
it the same commands can be given again:

    QMP_FUZZ_SEED=that QMP_FUZZ_SECONDS=1 scripts/check --full qmp_fuzz_long

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# pylint: disable=wrong-import-position
from random_qmp import SAFE_POINT       # noqa: E402
from test_qmp_fuzz import episode       # noqa: E402
# pylint: enable=wrong-import-position

SECONDS = float(os.environ.get("QMP_FUZZ_SECONDS") or 600)
SEED = int(os.environ.get("QMP_FUZZ_SEED") or 1)

GUESTS = (("mcs", "rounds=30000"), ("crosscall", "rounds=200"), ("ticket", "rounds=20000"),
          ("tas", "rounds=50000 user=1"), ("driver", f"rounds=10000 safepoint={SAFE_POINT}"))


class QMPFuzzLong(unittest.TestCase):
    timeout = SECONDS + 600

    def test_random_commands(self):
        over, seed = time.monotonic() + SECONDS, SEED
        while time.monotonic() < over:
            with self.subTest(seed=seed):
                print("seed", seed, flush=True)
                print(episode(self, seed, 1500, *GUESTS[seed % len(GUESTS)]), flush=True)
            seed += 1


if __name__ == "__main__":
    unittest.main()
