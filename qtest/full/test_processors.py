"""Linux on 24 VCPUs of every model that the CMP machine accepts.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import unittest

from support import run_linux
from test_machine import POSSIBLE


class Models(unittest.TestCase):
    timeout = 1200

    def test_linux(self):
        for model in POSSIBLE:
            with self.subTest(model=model):
                console = run_linux("cmp8,vcpus=24", "compress", "-cpu", model, test=self)
                self.assertIn("24 of 24 CPUs online", console)
                self.assertIn("sum=fc24434f616b203987d0f58657d9dee9 ok", console)
