"""TLBs that belong to PCPUs, under every policy that there is: Linux with 24 VCPUs on 8 PCPUs runs
mmustress, which finds translations that outlived their address space.  Two runs are the same.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import unittest

from test_policies import policies
from test_tlb import stress


class Policies(unittest.TestCase):
    timeout = 43200

    def test_every_policy_twice_the_same(self):
        for policy in policies():
            # explore runs all VCPUs on one PCPU, one at a time
            machine = "cmp,pcpus=1,vcpus=4" if policy == "explore" else "cmp8,vcpus=24"
            with self.subTest(policy=policy):
                first = stress(self, f"{machine},sched={policy},tlb=pcpu", timeout=3600)
                self.assertEqual(stress(self, f"{machine},sched={policy},tlb=pcpu", timeout=3600),
                                 first)


if __name__ == "__main__":
    unittest.main()
