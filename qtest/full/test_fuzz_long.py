"""Random instructions for as long as FUZZ_SECONDS says (an hour), in turn on bare metal in user
and in privileged mode, SPARC and x86, and in the processes of an ordinary user under Linux.

Each round has a seed, from FUZZ_SEED (1) on; a failure says which.  With it the round can be
repeated: FUZZ_SEED=that FUZZ_SECONDS=1 scripts/check --full fuzz_long

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from support import run_linux           # noqa: E402  pylint: disable=wrong-import-position
from test_fuzz import fuzz, fuzz_x86, user_mode, x86_linux    # noqa: E402  pylint: disable=wrong-import-position

SECONDS = float(os.environ.get("FUZZ_SECONDS") or 3600)
SEED = int(os.environ.get("FUZZ_SEED") or 1)


class FuzzLong(unittest.TestCase):
    timeout = SECONDS + 900

    def test_random_instructions(self):
        end = time.monotonic() + SECONDS
        seed = SEED
        while time.monotonic() < end:
            with self.subTest(seed=seed):
                fuzz(self, seed, batches=4000, words=16)
                fuzz(self, seed, "sun4u", batches=4000, words=6)
                user_mode(self, seed, "cmp,pcpus=2,vcpus=4", 20000)
                fuzz_x86(self, seed, 10)
                if seed % 10 == 0:
                    fuzz_x86(self, seed, 10, accel="tcg,thread=single")
                    fuzz_x86(self, seed, 10, accel="tcg,thread=multi")
                    fuzz(self, seed, "cmp,vcpus=4", ("-accel", "tcg,thread=single", "-icount",
                                                     "shift=0,sleep=off"), batches=200, words=12)
                    user_mode(self, seed, "sun4u", 20000)
                    run_linux("cmp8,vcpus=4", "fuzz", test=self,
                              append=f"fuzz.seed={seed} fuzz.children=100 fuzz.copies=0")
                    x86_linux(self, f"fuzz.seed={seed} fuzz.children=100 fuzz.copies=0",
                              "copies=2 children=100")
            seed += 1
