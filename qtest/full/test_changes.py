"""Ten thousand changes of policy, many closer together than a timeslice, under a Linux of 24
VCPUs that works: nothing is lost, nobody starves, and a second run is the same.

All ordered pairs of policies are among them; PCPUs go off and on, VCPUs are moved, masks,
weights and parameters change in between.  All have a simulated time, so that the run is one.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import itertools
import random
import re
import unittest

from support import GUEST_FAULTS, SLOWER, Guest, linux
from test_workloads import compress

MACHINE = "cmp8,vcpus=24,sched=sdb"
WATCHDOGS = "watchdog_thresh=1 rcupdate.rcu_cpu_stall_timeout=3"
BEGIN = 600 * 1000 * 1000       # ns: all processors are up, the load begins
LINES = 1500


def resident(guest):
    """Kilobytes of memory that QEMU has."""
    with open(f"/proc/{guest.get_pid()}/status", encoding="ascii") as f:
        return int(re.search(r"VmRSS:\s+(\d+) kB", f.read())[1])


def walk(names):
    """A closed walk over all ordered pairs of different policies: each once (Hierholzer)."""
    left = {a: [b for b in names if b != a] for a in names}
    stack, path = [names[0]], []
    while stack:
        if left[stack[-1]]:
            stack.append(left[stack[-1]].pop())
        else:
            path.append(stack.pop())
    return path[::-1]


class Changes(unittest.TestCase):
    timeout = 3000

    def script(self, names, count, draw):
        """Changes of policy, and what comes between them: (command, arguments, time)."""
        at = BEGIN
        online = set(range(8))
        for name in itertools.islice(itertools.cycle(walk(names)), count):
            at += draw.choice((1000, 3000, 10000, 30000, 100000))
            yield "vsched-set-policy", {"policy": name}, at
            kind = draw.randrange(12)
            p, v = draw.randrange(8), draw.randrange(24)
            if kind == 0 and online != {p}:
                online ^= {p}
                yield "vsched-set-pcpu", {"pcpu": p, "online": p in online}, at
            elif kind == 1:
                yield "vsched-set-affinity", {"vcpu": v, "pcpus": draw.choice(
                    ([p], [p, (p + 1) % 8], list(range(8))))}, at
            elif kind == 2:
                yield "vsched-set-vm", {"vm": 0, "weight": 1 + draw.randrange(1000)}, at
            elif kind == 3:
                yield "vsched-move", {"vcpu": v, "pcpu": p}, at     # may be impossible then
        for p in range(8):
            yield "vsched-set-pcpu", {"pcpu": p, "online": True}, at + 1000
        for v in range(24):
            yield "vsched-set-affinity", {"vcpu": v, "pcpus": list(range(8))}, at + 2000
        yield "vsched-set-policy", {"policy": "sdb"}, at + 3000

    def longest_waits(self, guest, names):
        """What the policies that have a bound promise, in cycles, in ascending order, where
        masks and PCPUs that are off leave a single one: no moment of the script is worse."""
        for p in range(1, 8):
            guest.cmd("vsched-set-pcpu", pcpu=p, online=False)
        waits = []
        for name in names:
            guest.cmd("vsched-set-policy", policy=name)
            waits += [guest.cmd("query-vsched").get("longest-wait", 0)]
        for p in range(1, 8):
            guest.cmd("vsched-set-pcpu", pcpu=p, online=True)
        guest.cmd("vsched-set-policy", policy="sdb")
        return sorted(waits)

    def run_once(self, count, seed):
        """(console, statistics, events of commands, memory after 200 and at the end)"""
        with Guest("-S", "-M", MACHINE, "-seed", "1", "-no-shutdown",
                   *linux("compress", f"{WATCHDOGS} compress.lines={LINES}")) as guest:
            names = [p["name"] for p in guest.cmd("query-vsched-policies")]
            waits = self.longest_waits(guest, names)
            early = None
            commands = list(self.script(names, count, random.Random(seed)))
            changes = [n for n, c in enumerate(commands) if c[0] == "vsched-set-policy"]
            for command, arguments, at in commands:
                guest.cmd(command, at=at, **arguments)
            guest.cmd("cont")
            done = []
            while guest.cmd("query-status")["status"] == "running":
                guest.event_wait("SHUTDOWN", timeout=1)
                done += [e["data"] for e in guest.get_qmp_events()
                         if e["event"] == "VSCHED_COMMAND"]
                if early is None and len(done) > changes[200]:
                    early = resident(guest)
            guest.wait_console(r"reboot: Power down", timeout=20 * SLOWER)
            self.assertLessEqual(guest.stats()["vm"]["vcpu-longest-wait"], sum(waits[-2:]))
            return guest.console, guest.stats(), done, early, resident(guest)

    def test_10000(self):
        console, stats, done, early, late = self.run_once(10000, 1)
        self.assertIn(f"compress: jobs=24 lines={LINES} sum={compress(24, LINES)} ok", console)
        self.assertIsNone(GUEST_FAULTS.search(console))
        failed = [d for d in done if "error" in d]
        self.assertEqual({d["command"] for d in failed} - {"vsched-move"}, set())
        self.assertEqual([d["id"] for d in done], list(range(1, len(done) + 1)))
        # The load was still there when the last change came.
        self.assertGreater(stats["vm"]["time"], done[-1]["time"])
        # Pages that the guest touched for the first time count too: 256 MiB at most.
        self.assertLess(late - early, 300 * 1024)
        again = self.run_once(10000, 1)
        self.assertEqual((console, stats, done), again[:3])


if __name__ == "__main__":
    unittest.main()
