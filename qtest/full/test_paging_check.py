"""Each access of two programs of the paging study is checked (x-paging-check=on): QEMU's own TLB
never hides a miss of the model's, and checking changes nothing that is counted.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import tempfile
import unittest

from support import SLOWER, Guest
import pagingruns                       # noqa: E402


class Checked(unittest.TestCase):
    timeout = 4 * 3600

    @staticmethod
    def run_it(run, check):
        """(what pagingruns counts at the program's marks, the answer of x-paging-check if that is
        on, the end of the console)"""
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as config:
            config.write(run.configuration)
            config.flush()
            arguments = run.arguments(config.name)
            if check:
                at = arguments.index("-accel") + 1
                arguments[at] += ",x-paging-check=on"
            with Guest("-S", *arguments, "-no-shutdown", arch="x86_64") as guest:
                counted = []
                for event in "STOP", "STOP", "SHUTDOWN":
                    guest.cmd("cont")
                    guest.event_wait(event, timeout=3600 * SLOWER)
                    counted.append((pagingruns.counters(guest), guest.stats()))
                checked = guest.cmd("x-paging-check") if check else None
                return counted, checked, guest.console

    def test_nothing_is_hidden(self):
        for architecture, program in (("amd64", "sqlite"), ("i386", "sqlite"), ("amd64", "gcc"),
                                      ("i386", "gcc")):
            for mode in "nested", "shadow", "agile":
                with self.subTest(architecture=architecture, program=program, mode=mode):
                    run = pagingruns.Run(program, architecture, mode, 0)
                    for path in run.files():
                        self.assertTrue(os.path.exists(path),
                                        f"{path} is missing: make paging-study builds it")
                    first, _, console = self.run_it(run, False)
                    self.assertRegex(console, f"program {program}: exit 0")
                    second, checked, also = self.run_it(run, True)
                    self.assertEqual((second, also), (first, console))
                    self.assertEqual(checked["hidden"], 0)
                    # The program alone accesses memory in more than one in ten instructions.
                    work = first[1][0]["insns"] - first[0][0]["insns"]
                    self.assertGreater(checked["accesses"], work // 10)


if __name__ == "__main__":
    unittest.main()
