"""The machines of configs/, for -readconfig: each starts, schedules as it says, and works.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import glob
import json
import os
import re
import unittest

from support import TOP, Guest
from test_save import elf, end
from test_vms import policies

FILES = sorted(glob.glob(os.path.join(TOP, "configs", "*.cfg")))


def said(text, name):
    found = re.search(rf'^  {name} = "(.*)"$', text, re.MULTILINE)
    return found and found[1]


class Configs(unittest.TestCase):
    timeout = 300

    def test_each_policy_has_one(self):
        self.assertEqual([os.path.basename(f)[len("policy-"):-len(".cfg")] for f in FILES
                          if "/policy-" in f], policies())

    def test_each_says_what_it_is(self):
        firsts = []
        for path in FILES:
            with open(path, encoding="utf-8") as f:
                firsts.append(f.readline())
        self.assertEqual(len(set(firsts)), len(FILES), sorted(firsts))

    def test_each_starts_and_works(self):
        for path in FILES:
            with open(path, encoding="utf-8") as f:
                text = f.read()
            self.assertIn(os.path.basename(path), text)     # the comment says how to use it
            if "-nodefaults" in text:       # a program waits for a serial port
                self.assertIn("-serial stdio", text)
            x86 = said(text, "type") == "q35"
            work = () if x86 else ("-bios", elf("ticket"), "-no-shutdown", "-fw_cfg",
                                   "name=opt/args,string= rounds=10")
            with self.subTest(config=os.path.basename(path)), \
                    Guest("-S", "-nodefaults", "-readconfig", path, *work,
                          arch="x86_64" if x86 else "sparc64") as guest:
                info = guest.cmd("query-vsched")
                self.assertEqual(info["policy"], said(text, "sched"))
                self.assertEqual((len(info["vcpus"]), len(info["pcpus"])), (24, 8))
                vms = (said(text, "vms") or "24").split("+")
                self.assertEqual([len(vm["vcpus"]) for vm in info["vms"]], list(map(int, vms)))
                self.assertEqual(len(info["pending"]), text.count('"vsched-command"'))
                if not x86:
                    guest.cmd("cont")
                    console, _ = end(guest, 100)
                    self.assertTrue(json.loads(console)["ok"], console)


if __name__ == "__main__":
    unittest.main()
