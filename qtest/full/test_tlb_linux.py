"""test_tlb_trace.py with a stretch of Linux on x86, in which processes are made and end.

A run without plugins goes to the beginning of the stretch and is saved.  Another one loads it,
empties the modelled TLBs, and writes a trace.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import re
import unittest

from support import GUESTS, SLOWER, Guest
from test_observer import qemu_plugin
from test_paging import Configured
from test_save import load, save
from test_tlb_trace import COUNTERS
from tlb_simulator import REGISTERS, Machine, Memory, Tlb, Trace, settings, tracing

RAM = 256 << 20
VGA = range(0xa0000, 0xc0000)


class Linux(Configured):
    timeout = 7200
    STRETCH = 150_000                   # ns

    @staticmethod
    def guest(mode, config, *more):
        return Guest("-S", "-M", "q35", "-nodefaults", "-cpu", "Nehalem", "-m", str(RAM >> 20),
                     "-kernel", os.path.join(GUESTS, "x86", "vmlinuz"),
                     "-initrd", os.path.join(GUESTS, "x86", "initrd.gz"), "-append",
                     "console=ttyS0 tsc=reliable workload=forkstorm forkstorm.children=20000",
                     "-accel", f"tcg,thread=vsched,pcpus=1,paging={mode},paging-config={config}",
                     *more, arch="x86_64")

    @staticmethod
    def counters(guest):
        vm, = guest.cmd("query-paging")
        return {c["name"]: c["privileged"] + c["user"] for c in vm["counters"]}

    @staticmethod
    def go_to(guest, time):
        guest.cmd("vsched-stop", at=time)
        guest.cmd("cont")
        guest.event_wait("STOP", timeout=1200 * SLOWER)

    def record(self, mode, config, begin):
        """(counters of the stretch, registers at its beginning, memory, trace)"""
        state, memory, path = (os.path.join(self.dir, name)
                               for name in ("state", "memory", "trace"))
        with self.guest(mode, config) as guest:
            self.go_to(guest, begin)
            self.assertIn("workload forkstorm", guest.console)
            save(guest, state)
        plugins = tracing(path, qemu_plugin("contrib/plugins/execlog.c"),
                          qemu_plugin("tests/tcg/plugins/mem.c"))
        with self.guest(mode, config, "-incoming", "defer", *plugins) as guest:
            load(guest, state)
            for other in "agile", mode:
                guest.cmd("paging-set-mode", vm=0, mode=other)
            registers = guest.cmd("human-monitor-command", command_line="info registers")
            guest.cmd("pmemsave", val=0, size=RAM, filename=memory)
            before = self.counters(guest)
            guest.cmd("human-monitor-command", command_line="log plugin")
            self.go_to(guest, begin + self.STRETCH)
            after = self.counters(guest)
            guest.cmd("quit")           # the last instruction is printed
            guest.wait_exit()
        with open(memory, "rb") as f:
            image = f.read()
        return {name: after[name] - before[name] for name in after}, registers, image, Trace(path)

    def test_simulator_counts_the_same(self):
        """A change of mode empties the TLBs, and replacement begins anew."""
        for config in ("i7-860", "skylake", "zen2"):
            for mode, begin in (("native", 900_000_000), ("nested", 900_000_000)):
                with self.subTest(config=config, mode=mode):
                    found, said, image, trace = self.record(mode, config, begin)
                    of = settings(config)
                    machine = Machine(Tlb(of), Memory(image), of, mode == "nested",
                                      lambda at: at >= RAM or at in VGA)
                    registers = {name.lower(): int(value, 16) for name, value in
                                 re.findall(r"(\w+) *=([0-9a-f]+)", said)}
                    machine.registers.update((name, registers[name]) for name in REGISTERS)
                    machine.use_interrupts(*(int(re.search(rf"^{name} *= *{skip}([0-9a-f]+)",
                                                           said, re.M)[1], 16) for name, skip in
                                             (("IDT", ""), ("GDT", ""), ("TR", r"\w+ "))))
                    trace = list(trace)
                    machine.run(trace)
                    names = COUNTERS + ["page-faults", "exits-interrupt", "exits-halt"]
                    self.assertEqual({name: found[name] for name in names},
                                     {name: machine.tlb.count[name] for name in names})
                    self.assertGreater(len(trace), 200_000)
                    self.assertGreater(found["page-faults"], 5)
                    self.assertGreater(found["dtlb-misses"], 300)


if __name__ == "__main__":
    unittest.main()
