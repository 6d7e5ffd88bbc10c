"""Runs that the pages record are what anybody has who repeats them: to the last cycle.

Who changes what a guest executes, or how long it takes, records them anew, and says why.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import re
import subprocess
import unittest

from support import TOP


def page(name):
    with open(os.path.join(TOP, name), encoding="utf-8") as file:
        return file.read()


def output(*command):
    return subprocess.run(command, cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=True, text=True).stdout


class Recorded(unittest.TestCase):
    timeout = 1200

    def test_boot(self):
        """A line of docs/measurements.rst: ms, instructions, switches, cross-calls"""
        said = re.search(r"(?m)^``sdb``, ``slice=100us`` +(\S.*)$",
                         page("docs/measurements.rst"))[1]
        recorded = [field.replace(" ", "") for field in re.split(r" {2,}", said)]
        found = output("scripts/report/slices", "sched=sdb").splitlines()[-1].split()
        time, insns, _, switches, accepted, refused = found[1:]
        self.assertEqual([time, insns, switches, accepted, refused], recorded)

    def test_readme(self):
        """What README.md and docs/first-hour.rst show of 'make run'"""
        found = dict(re.findall(r"(?m)^([a-z-]+) +([\d,]+)$", output("scripts/run")))
        count = 0
        for name in "README.md", "docs/first-hour.rst":
            for what, value in re.findall(r"(?m)^    ([a-z-]+) +(\d[\d,]*)$", page(name)):
                self.assertEqual(found[what], value, f"{name}: {what}")
                count += 1
        self.assertGreater(count, 15)


if __name__ == "__main__":
    unittest.main()
