"""Paging under Linux on x86: 4 VCPUs on 2 PCPUs in each mode, twice the same, also when the host
disturbs the second run, and shadow tables that are those of the guest at any moment.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import contextlib
import os
import unittest

from support import GUEST_FAULTS, GUESTS, SLOWER, Guest
from test_noise import QUERIES, load, nothing, outcome, stops


def linux(paging, workload, *more, vcpus=4, pcpus=2):
    return Guest("-M", "q35", "-nodefaults", "-cpu", "Nehalem", "-smp", str(vcpus), "-m", "256",
                 "-kernel", os.path.join(GUESTS, "x86", "vmlinuz"),
                 "-initrd", os.path.join(GUESTS, "x86", "initrd.gz"),
                 "-append", f"console=ttyS0 tsc=reliable workload={workload}", "-no-shutdown",
                 "-accel", f"tcg,thread=vsched,pcpus={pcpus},sched=balance,paging={paging}",
                 *more, arch="x86_64")


class Linux(unittest.TestCase):
    timeout = 3000

    def run_it(self, paging, workload):
        with linux(paging, workload) as guest:
            guest.event_wait("SHUTDOWN", timeout=600 * SLOWER)
            self.assertRegex(guest.console, f"workload {workload}: exit 0", guest.last_words())
            self.assertIsNone(GUEST_FAULTS.search(guest.console), guest.last_words())
            return guest.console, guest.stats(), guest.cmd("query-paging")

    def test_twice_the_same(self):
        misses = {}
        for paging in "native", "nested", "shadow", "agile", "dsp":
            with self.subTest(paging=paging):
                first = self.run_it(paging, "boot")
                self.assertEqual(self.run_it(paging, "boot"), first)
                counters = {c["name"]: c["privileged"] + c["user"]
                            for c in first[2][0]["counters"]}
                misses[paging] = counters["dtlb-misses"]
                if paging != "dsp":         # which picks for itself
                    self.assertEqual(counters["exits-hidden-fault"] > 0,
                                     paging in ("shadow", "agile"))
        # exits empty the TLBs, and shadow paging has most of them
        self.assertLess(misses["native"], misses["nested"])
        self.assertLess(misses["nested"], misses["shadow"])

    def test_hosts_TLB_does_not_matter(self):
        """QEMU's own TLBs are as small or as large as can be, and each access is checked: the same
        run, and none was hidden from the model."""
        for paging in "nested", "shadow":
            first = self.run_it(paging, "boot")
            for more in "x-softmmu-bits=6", "x-softmmu-bits=16":
                self.assertEqual(self.run_it(f"{paging},{more}", "boot"), first)
            # Nor does it whether blocks follow each other without a look.
            with linux(paging, "boot", "-d", "nochain") as guest:
                guest.event_wait("SHUTDOWN", timeout=900 * SLOWER)
                self.assertEqual((guest.console, guest.stats(), guest.cmd("query-paging")), first)
            with linux(f"{paging},x-paging-check=on", "boot") as guest:
                guest.event_wait("SHUTDOWN", timeout=900 * SLOWER)
                check = guest.cmd("x-paging-check")
                self.assertGreater(check["accesses"], 100_000_000)
                self.assertEqual(check["hidden"], 0)
                self.assertEqual((guest.console, guest.stats(), guest.cmd("query-paging")), first)

    def test_slices_end_for_the_same_reason(self):
        """With blocks chained and not: also where an exit carries a VCPU beyond its timeslice in a
        block at whose end it is found spinning.  And with entries of TLBs that are tagged."""
        for paging, sched in (("shadow", "sdb"), ("agile,paging-config=skylake", "sdb"),
                              ("shadow,paging-config=zen2", "timeslice")):
            runs = []
            for more in (), ("-d", "nochain"):
                with linux(paging, "boot", "-S", *more, vcpus=2, pcpus=1) as guest:
                    guest.cmd("vsched-set-policy", policy=sched)
                    guest.cmd("vsched-stop", at=700_000_000)
                    guest.cmd("cont")
                    guest.event_wait("STOP", timeout=600 * SLOWER)
                    runs.append((guest.stats(), guest.cmd("query-paging")))
            with self.subTest(paging=paging):
                self.assertEqual(*runs)
                self.assertGreater(runs[0][0]["vm"]["vcpu-slices-expired"], 1000)

    def test_guest_counts(self):
        """Linux's own counter, that its module has told, against the walker's: it has a few more,
        of pages that it brings in by itself, such as for the arguments of a new program."""
        with linux("nested", "forkstorm pagefaults=0xfeb00000 forkstorm.children=500",
                   "-device", "vsched-fault-counter,addr=0xfeb00000", "-object",
                   "vsched-command,id=dsp,at=815ms,run=dsp-enable,"
                   "arguments=vm=0,,interval=1ms,,faults=guest") as guest:
            guest.event_wait("SHUTDOWN", timeout=600 * SLOWER)
            self.assertIn("pagefaults: 4 processors", guest.console)
            vm, = guest.cmd("query-paging")
            walker = sum(c["privileged"] + c["user"] for c in vm["counters"]
                         if c["name"] == "page-faults")
            self.assertGreater(walker, 10_000)
            self.assertTrue(0 <= vm["guest-faults"] - walker <= walker // 50,
                            (vm["guest-faults"], walker))
            dsp, = guest.cmd("query-dsp")
            sampled = sum(s["faults"] for s in dsp["samples"])
            self.assertGreater(len(dsp["samples"]), 20)
            self.assertTrue(walker // 2 < sampled <= vm["guest-faults"])

    def test_shadow_tables_are_right_at_each_microsecond(self):
        """For 2 ms of a boot in which the kernel builds its tables.  A write to a table is an exit,
        after which the code is fetched again: from what was written, and so are its neighbours."""
        for mode in "agile", "shadow":
            with linux("nested", "boot", "-S") as guest:
                def run_for(us, guest=guest):
                    at = guest.cmd("query-vsched")["time"] + us * 1000
                    guest.cmd("vsched-stop", at=at)
                    guest.cmd("cont")
                    guest.event_wait("STOP", timeout=60 * SLOWER)

                run_for(100_000)
                for n in range(12):
                    for each in "native", "nested", "shadow", "agile":
                        guest.cmd("paging-set-mode", vm=0, mode=each)
                    run_for(37 * n + 1)
                guest.cmd("paging-set-mode", vm=0, mode=mode)
                entries = 0
                for _ in range(2000):
                    run_for(1)
                    check = guest.cmd("x-paging-check")
                    self.assertEqual(check["wrong"], 0, mode)
                    entries = max(entries, check["entries"])
                self.assertGreater(entries, 50)

    def test_vms_that_share_tables(self):
        """Linux on the VCPUs of two VMs: each has its shadows, and hears of all writes."""
        for mode in "shadow", "agile":
            with linux(f"{mode},vms=2+2", "forkstorm forkstorm.children=20") as guest:
                guest.event_wait("SHUTDOWN", timeout=600 * SLOWER)
                self.assertIn("workload forkstorm: exit 0", guest.console)
                check = guest.cmd("x-paging-check")
                self.assertGreater(check["entries"], 1000)
                self.assertEqual(check["wrong"], 0, mode)

    def test_shadow_tables_are_right(self):
        """At some 300 moments, while processes are made and end.  Under agile paging most tables
        are nested, and have none."""
        for paging, least in ("shadow", 100_000), ("agile", 10_000):
            entries = stale = 0
            with linux(paging, "forkstorm", "-S") as guest:
                while guest.cmd("query-status")["status"] != "shutdown":
                    guest.cmd("vsched-stop", at=guest.cmd("query-vsched")["time"] + 3_141_593)
                    guest.cmd("cont")
                    guest.event_wait("STOP", timeout=60 * SLOWER)
                    check = guest.cmd("x-paging-check")
                    self.assertEqual(check["wrong"], 0)
                    entries += check["entries"]
                    stale += check["out-of-sync"]
            self.assertGreater(entries, least)
            self.assertEqual(stale > 0, paging == "shadow")


@contextlib.contextmanager
def load_and_stops(guest):
    with load(guest), stops(guest) as done:
        yield done


class Noise(unittest.TestCase):
    """test_noise.py has each kind by itself."""
    timeout = 6000

    @staticmethod
    def run_it(paging, disturbs, asks):
        with linux(paging, "boot", "-S") as guest:
            return outcome(guest, disturbs, asks, 1200)

    def test_same_counters_and_console(self):
        for paging in "native", "nested", "shadow", "agile", "dsp":
            with self.subTest(paging=paging):
                first, _, _ = self.run_it(paging, nothing, False)
                self.assertIn("workload boot: exit 0", first[-1])
                found, stopped, asked = self.run_it(paging, load_and_stops, True)
                self.assertEqual(found, first)
                self.assertGreater(stopped, 100)
                self.assertGreater(asked, 10 * len(QUERIES))


if __name__ == "__main__":
    unittest.main()
