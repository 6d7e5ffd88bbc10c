"""The TLBs that paging= models, against a simulator of the tests' own (tlb_simulator.py) that is
given what a guest has executed and accessed, as plugins of QEMU's own print it.

tlbtrace.S walks about in pages of all sizes.  qtest/full does the same with Linux.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import unittest

from support import SLOWER, Guest, x86_image
from test_observer import qemu_plugin
from test_paging import Configured
from test_save import load, save
from tlb_simulator import Machine, Memory, Tlb, Trace, settings, tracing

DEVICES = range(0xfec00000, 0xfee01000)         # I/O APIC to local APIC
COUNTERS = [f"{side}-{what}" for side in ("itlb", "dtlb")
            for what in ("l1-misses", "l2-hits", "misses")] + ["dirty-walks", "exits-io"]
# Few sets, and sides that differ in each way; code has large pages in pieces only.
TINY = """
[l1i]
entries = 4
ways = 2
[l1i-large]
entries = 0
[l1d]
entries = 6
ways = 3
[l1d-large]
entries = 2
ways = 0
holds = 2m
[l2]
entries = 32
ways = 4
holds = 4k+2m
"""
LARGE_HOST = TINY + """
[host]
pages = 2m
[tlb]
vpid = yes
"""
# Another table has to make room, maybe that of the code, and each exit empties the TLB
FEW_TABLES = """
[tlb]
vpid = no
[shadow]
pages = 64
"""
NEWLINE = "\n"


class Traced(Configured):
    timeout = 600

    def setUp(self):
        super().setUp()
        self.rom = x86_image("tlbtrace.S", os.path.join(self.dir, "rom"), "-DSEED=2",
                             "-DSTEPS=6000")

    def guest(self, mode, config, options="", more=()):
        return Guest("-S", "-M", "q35", "-nodefaults", "-cpu", "max", "-m", "256", "-bios",
                     self.rom, "-no-shutdown", "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
                     "-accel", f"tcg,thread=vsched,pcpus=1,paging={mode},"
                     f"paging-config={self.config(config) if NEWLINE in config else config}"
                     f"{options}", *more, arch="x86_64")

    @staticmethod
    def run_it(guest):
        """{counter: number} when the program has ended"""
        guest.cmd("cont")
        guest.event_wait("SHUTDOWN", timeout=120 * SLOWER)
        vm, = guest.cmd("query-paging")
        return {c["name"]: c["privileged"] + c["user"] for c in vm["counters"]}

    def counters(self, mode, config):
        with self.guest(mode, config) as guest:
            return self.run_it(guest)

    def test_simulator_counts_the_same(self):
        path = os.path.join(self.dir, "trace")
        plugins = tracing(path, qemu_plugin("contrib/plugins/execlog.c"),
                          qemu_plugin("tests/tcg/plugins/mem.c"))
        with self.guest("native", "i7-860", more=plugins) as guest:
            guest.cmd("human-monitor-command", command_line="log plugin")
            recorded = self.run_it(guest)
            guest.cmd("quit")           # the last instruction is printed
            guest.wait_exit()
        self.assertEqual(self.counters("native", "i7-860"), recorded)
        trace = list(Trace(path))
        self.assertGreater(len(trace), 200_000)
        for config in "i7-860", "skylake", "zen2", TINY, LARGE_HOST:
            of = settings(config)
            for mode in "native", "nested":
                with self.subTest(config=config, mode=mode):
                    machine = Machine(Tlb(of), Memory(), of, mode == "nested",
                                      DEVICES.__contains__)
                    machine.run(trace)
                    expected = {name: machine.tlb.count[name] for name in COUNTERS}
                    found = self.counters(mode, config)
                    self.assertEqual({name: found[name] for name in COUNTERS}, expected)
                    for name in COUNTERS[:-1]:
                        self.assertGreater(expected[name], 20, name)
                    self.assertEqual(expected["exits-io"] > 20, mode == "nested")

    def test_nothing_is_hidden(self):
        """Whatever the model loses at once, such as all pieces of a page by INVLPG, QEMU's own TLB
        loses, too."""
        for mode, config in (("native", "i7-860"), ("nested", "skylake"), ("shadow", "skylake"),
                             ("shadow", "i7-860"), ("agile", "i7-860"), ("shadow", TINY),
                             ("shadow", FEW_TABLES),
                             ("agile", LARGE_HOST)):
            with self.subTest(mode=mode, config=config):
                expected = self.counters(mode, config)
                with self.guest(mode, config, ",x-paging-check=on") as guest:
                    self.assertEqual(self.run_it(guest), expected)
                    check = guest.cmd("x-paging-check")
                self.assertGreater(check["accesses"], 3000)
                self.assertEqual(check["hidden"], 0)

    def test_however_code_is_translated(self):
        """Random replacement shows in which order pages are walked for: also those of code after an
        exit, which empties the TLB here."""
        config = TINY + "[tlb]\nreplacement = random\nvpid = no\n"
        for mode in "native", "nested", "shadow", "agile":
            expected = self.counters(mode, config)
            for options, *more in ([",one-insn-per-tb=on"], ["", "-d", "nochain"],
                                   [",x-softmmu-bits=6"], [",x-paging-check=on"]):
                with self.subTest(mode=mode, options=options, more=more), \
                        self.guest(mode, config, options, more) as guest:
                    self.assertEqual(self.run_it(guest), expected)

    def test_saved(self):
        """A loaded state goes on as if nobody had saved: what the model evicts then, QEMU's own TLB
        loses as well."""
        state = os.path.join(self.dir, "state")
        for mode, config in ("native", "i7-860"), ("nested", "skylake"):
            with self.subTest(mode=mode, config=config):
                with self.guest(mode, config) as guest:
                    guest.cmd("vsched-stop", at=80_000)         # ns; the program takes longer
                    guest.cmd("cont")
                    guest.event_wait("STOP", timeout=60 * SLOWER)
                    save(guest, state)
                with self.guest(mode, config, more=("-incoming", "defer")) as guest:
                    load(guest, state)
                    found = self.run_it(guest)
                self.assertEqual(found, self.counters(mode, config))


if __name__ == "__main__":
    unittest.main()
