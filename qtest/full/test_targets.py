"""Other targets under the engine: modes, instructions, SDB and policy know nothing of SPARC.

RISC-V: four harts on two PCPUs run a loop in user mode, go back to machine mode, count
themselves with an atomic add and wait for an interrupt, but for hart 0, which spins until
all are there and then powers off.  No firmware: the program is where that would be.
Arm: what YIELD, WFE, WFI and interrupts between processors are for policies.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import re
import struct
import subprocess
import tempfile
import unittest

from support import SLOWER, Guest
from test_caches import caches, report
from test_time import Traced

TURNS = 15 << 12
T0, T1, T2 = 5, 6, 7
MSTATUS, MTVEC, MEPC, PMPCFG0, PMPADDR0, MHARTID = 0x300, 0x305, 0x341, 0x3a0, 0x3b0, 0xf14
MCYCLE, MINSTRET = 0xb00, 0xb02
RAM = 0x80000000                        # where a program is
MRET, ECALL, WFI = 0x30200073, 0x73, 0x10500073


class Program:
    """What little of an assembler it takes."""

    def __init__(self):
        self.code, self.labels, self.fixes = [], {}, []

    def word(self, value):
        self.code.append(value & 0xffffffff)

    def label(self, name):
        self.labels[name] = 4 * len(self.code)

    def addi(self, rd, rs, value):
        self.word((value & 0xfff) << 20 | rs << 15 | rd << 7 | 0x13)

    def lui(self, rd, value):
        self.word(value << 12 | rd << 7 | 0x37)

    def csrw(self, csr, rs):
        self.word(csr << 20 | rs << 15 | 1 << 12 | 0x73)

    def sub(self, rd, rs, value):
        self.word(0x20 << 25 | value << 20 | rs << 15 | rd << 7 | 0x33)

    def csrr(self, rd, csr):
        self.word(csr << 20 | 2 << 12 | rd << 7 | 0x73)

    def lw(self, rd, rs):
        self.word(rs << 15 | 2 << 12 | rd << 7 | 0x03)

    def sw(self, value, rs):
        self.word(value << 20 | rs << 15 | 2 << 12 | 0x23)

    def amoadd(self, value, rs):
        self.word(value << 20 | rs << 15 | 2 << 12 | 0x2f)

    def la(self, rd, name):
        self.fixes.append((self.la, len(self.code), name))
        self.word(rd << 7 | 0x17)
        self.addi(rd, rd, 0)

    def bnez(self, rs, name):
        self.fixes.append((self.bnez, len(self.code), name))
        self.word(rs << 15 | 1 << 12 | 0x63)

    def j(self, name):
        self.fixes.append((self.j, len(self.code), name))
        self.word(0x6f)

    def image(self):
        for kind, at, name in self.fixes:
            d = self.labels[name] - 4 * at
            if kind == self.la:
                self.code[at + 1] |= (d & 0xfff) << 20
            elif kind == self.bnez:
                self.code[at] |= ((d >> 12 & 1) << 31 | (d >> 5 & 0x3f) << 25 |
                                  (d >> 1 & 0xf) << 8 | (d >> 11 & 1) << 7)
            else:
                self.code[at] |= ((d >> 20 & 1) << 31 | (d >> 1 & 0x3ff) << 21 |
                                  (d >> 11 & 1) << 20 | (d >> 12 & 0xff) << 12)
        return struct.pack(f"<{len(self.code)}I", *self.code)


def power_off(p):
    """By the board's switch."""
    p.lui(T0, 0x100)
    p.lui(T1, 5)
    p.addi(T1, T1, 0x555)
    p.sw(T1, T0)
    p.label("end")
    p.j("end")


def counter_program(csr):
    """How far a counter goes in a loop of TURNS turns: (program, address of the answer)"""
    p = Program()
    p.csrr(T0, csr)
    p.lui(T1, TURNS >> 12)
    p.label("turn")
    p.addi(T1, T1, -1)
    p.bnez(T1, "turn")
    p.csrr(T2, csr)
    p.sub(T2, T2, T0)
    p.la(T0, "counted")
    p.sw(T2, T0)
    power_off(p)
    p.label("counted")
    p.word(0)
    return p.image(), RAM + p.labels["counted"]


def program():
    p = Program()
    p.la(T0, "trap")
    p.csrw(MTVEC, T0)
    p.addi(T0, 0, -1)
    p.csrw(PMPADDR0, T0)                # user mode may reach all memory
    p.addi(T0, 0, 0x1f)
    p.csrw(PMPCFG0, T0)
    p.la(T0, "user")
    p.csrw(MEPC, T0)
    p.csrw(MSTATUS, 0)
    p.word(MRET)                        # 12 instructions so far
    p.label("user")
    p.lui(T1, TURNS >> 12)
    p.label("turn")
    p.addi(T1, T1, -1)
    p.bnez(T1, "turn")
    p.word(ECALL)
    p.label("trap")
    p.la(T0, "counter")
    p.addi(T1, 0, 1)
    p.amoadd(T1, T0)
    p.csrr(T2, MHARTID)
    p.bnez(T2, "halt")                  # 6
    p.label("wait")
    p.lw(T1, T0)
    p.addi(T1, T1, -4)
    p.bnez(T1, "wait")
    power_off(p)
    p.label("halt")
    p.word(WFI)
    p.j("halt")
    p.label("counter")
    p.word(0)
    return p.image()


class RiscV(unittest.TestCase):
    timeout = 120

    def stats(self, sched):
        with tempfile.NamedTemporaryFile(suffix=".bin") as file:
            file.write(program())
            file.flush()
            with Guest("-M", "virt", "-nodefaults", "-m", "64", "-smp", "4", "-no-shutdown",
                       "-accel", f"tcg,thread=vsched,pcpus=2,sched={sched}",
                       "-bios", os.path.abspath(file.name), arch="riscv64") as guest:
                self.assertTrue(guest.event_wait("SHUTDOWN", timeout=60 * SLOWER))
                return guest.stats()

    def test_counters_count_simulated_time(self):
        """mcycle and minstret: QEMU has one count for both, cycles."""
        for csr in (MCYCLE, MINSTRET):
            for hz in (500_000_000, 1_000_000_000):
                with self.subTest(csr=hex(csr), hz=hz), \
                        tempfile.NamedTemporaryFile(suffix=".bin") as file:
                    image, counted = counter_program(csr)
                    file.write(image)
                    file.flush()
                    with Guest("-M", "virt", "-nodefaults", "-m", "64", "-no-shutdown", "-accel",
                               f"tcg,thread=vsched,pcpus=1,clock-hz={hz}", "-bios", file.name,
                               arch="riscv64") as guest:
                        self.assertTrue(guest.event_wait("SHUTDOWN", timeout=60 * SLOWER))
                        said = guest.cmd("human-monitor-command",
                                         command_line=f"xp /1wx {counted:#x}")
                    # csrr, lui, two a turn
                    self.assertEqual(int(said.split()[-1], 16), 2 + 2 * TURNS)

    def test_counted_to_the_instruction_and_twice_the_same(self):
        for sched in ("sdb", "timeslice"):
            with self.subTest(sched=sched):
                stats = self.stats(sched)
                self.assertEqual(stats, self.stats(sched))
                vcpus = [s for s in stats.values() if "insns-user" in s]
                # lui, two a turn, ecall
                self.assertEqual([v["insns-user"] for v in vcpus], 4 * [2 + 2 * TURNS])
                # 6 of the board's reset vector, 12, 6, wfi; hart 0 waits for the others
                self.assertEqual(sorted(v["insns-privileged"] for v in vcpus)[:3], 3 * [25])
                # The loop neither loads nor stores: every whole period is a spin, but for
                # those that a VCPU switch cuts off.
                vm = stats["vm"]
                self.assertGreater(vm["pcpu-sdb-spins-user"], 0.6 * 4 * 2 * TURNS / 1024)
                self.assertEqual(vm["vcpu-slices-ended-by-spin"] > 0, sched == "sdb")


def assembled(directory, name, *options):
    """A program of this directory for -bios of Arm's machine virt."""
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
    image = os.path.join(directory, "image")
    subprocess.run(["aarch64-linux-gnu-gcc", "-nostdlib", "-static", "-Wl,-Ttext=0,--build-id=none",
                    *options, "-o", f"{image}.elf", source], check=True)
    subprocess.run(["aarch64-linux-gnu-objcopy", "-O", "binary", f"{image}.elf", image], check=True)
    return image


class Arm(Traced, unittest.TestCase):
    """Hints of Arm: WAIT-like instructions, WFI, and software-generated interrupts."""
    timeout = 200
    TURNS = 20_000

    def finish(self, program, engine, vcpus, *options, machine="virt"):
        """Statistics of a run up to power-off."""
        name, *defines = program
        with tempfile.TemporaryDirectory() as directory:
            image = assembled(directory, name, *defines)
            with Guest("-M", machine, "-cpu", "cortex-a72", "-m", "64", "-smp", str(vcpus),
                       "-nodefaults", "-bios", image, "-no-shutdown",
                       "-accel", f"tcg,thread=vsched,{engine}", *options, arch="aarch64") as guest:
                self.assertTrue(guest.event_wait("SHUTDOWN", timeout=60 * SLOWER))
                return guest.stats()

    def waits(self, wait, other):
        return ("pause.S", f"-DWAIT={wait}", f"-DOTHER={other}", f"-DTURNS={self.TURNS}")

    def test_yield_and_wfe_are_no_operations(self):
        """No counter differs, and nobody yields, as with x86 PAUSE (test_pause)."""
        for engine in ("sched=timeslice", "sched=timeslice,sdb=off", "sched=sdb"):
            engine = f"pcpus=1,slice=20us,{engine}"
            nop = self.finish(self.waits("nop", "nop"), engine, 2)
            for wait in ("yield", "wfe"):
                with self.subTest(engine=engine, wait=wait):
                    self.assertEqual(self.finish(self.waits(wait, wait), engine, 2), nop)

    def test_yield_and_wfe_are_hints(self):
        """One for each, at its time."""
        for wait in ("yield", "wfe"):
            stats, hints = self.traced(lambda *more, w=wait: self.finish(
                self.waits(w, w), "pcpus=2,sched=timeslice", 2, *more))
            pauses = [h for h in hints if h.kind == "pause"]
            mine = [h.now for h in pauses if h.vcpu == 0]
            self.assertEqual(len(mine), self.TURNS)
            self.assertEqual({b - a for a, b in zip(mine, mine[1:])}, {3})      # WAIT, subs, b.ne
            others = [h.now for h in pauses if h.vcpu == 1]
            self.assertEqual({b - a for a, b in zip(others, others[1:])}, {2})
            self.assertEqual(stats["vm"]["vcpu-slices-ended-by-hint"], 0)

    def test_wfi_blocks(self):
        """VCPU 1 executes it once, and has its PCPU for no longer than that."""
        stats, hints = self.traced(lambda *more: self.finish(
            self.waits("yield", "wfi"), "pcpus=1,sched=timeslice,slice=20us", 2, *more))
        # VCPU 0 by its power-off
        self.assertEqual([h.vcpu for h in hints if h.kind == "halt"], [1, 0])
        halted, works = sorted((s for s in stats.values() if "insns-user" in s),
                               key=lambda s: s["insns-privileged"])
        self.assertEqual(halted["insns-privileged"], 1)
        # 6 before the loop, 3 a turn, 2 after it
        self.assertEqual(works["insns-privileged"], 6 + 3 * self.TURNS + 2)
        # but for VCPU 0's first timeslice, two switches, and the end of a window
        self.assertGreater(halted["blocked"], stats["vm"]["time"] - 20_000 - 2 * 554 - 1000)

    def test_interrupts_tell_who_sent_them(self):
        """What sgi.S sends, to each target, and each is taken once, no earlier than sent; the end
        of an interrupt, which lets the controller look again, is none."""
        for gic, define in ((3, ["-DGICV3"]), (2, [])):
            for pcpus, outcome in ((3, "pending"), (1, "accepted")):
                with self.subTest(gic=gic, pcpus=pcpus):
                    _, hints = self.traced(lambda *more, g=gic, d=define, p=pcpus: self.finish(
                        ("sgi.S", *d), f"pcpus={p},sched=timeslice,slice=20us", 3, *more,
                        machine=f"virt,gic-version={g}"))
                    sent = [h for h in hints if h.kind == "sent"]
                    # 1; all but the sender; two at once; the sender, who is at the end then
                    self.assertEqual([(h.other, h.vcpu) for h in sent],
                                     [(0, target) for target in (1, 1, 2, 2, 2, 0)])
                    self.assertEqual([h.sent for h in sent], 5 * [outcome] + ["accepted"])
                    for vcpu, count in ((0, 0), (1, 2), (2, 3)):
                        taken = [h.now for h in hints if h.kind == "taken" and h.vcpu == vcpu]
                        self.assertEqual(len(taken), count)
                        for one, other in zip((h.now for h in sent if h.vcpu == vcpu), taken):
                            self.assertLessEqual(one, other)

    def test_the_pmu_counts_cycles(self):
        """At any clock-hz; the generic timer keeps its 62.5 MHz.  When the cycle counter goes over,
        a timer that the PMU has set sets bit 31 of PMOVSSET."""
        turns = 200_000
        for hz in (500_000_000, 1_000_000_000, 2_800_000_000):
            with self.subTest(hz=hz), tempfile.TemporaryDirectory() as directory:
                image = assembled(directory, "pmu.S", f"-DTURNS={turns}")
                with Guest("-M", "virt", "-cpu", "cortex-a72", "-m", "64", "-nodefaults", "-bios",
                           image, "-no-shutdown", "-accel",
                           f"tcg,thread=vsched,pcpus=1,clock-hz={hz}", arch="aarch64") as guest:
                    self.assertTrue(guest.event_wait("SHUTDOWN", timeout=60 * SLOWER))
                    said = guest.cmd("human-monitor-command", command_line="xp /5gx 0x41000000")
                cycles, event, timer, half, twice = (
                    int(word, 16) for word in re.findall(r"0x(\w+)", said))
                self.assertAlmostEqual(cycles, 2 * turns, delta=6)
                self.assertAlmostEqual(event, 2 * turns, delta=6)
                self.assertAlmostEqual(timer, cycles * 62_500_000 / hz, delta=2)
                self.assertEqual((half, twice), (0, 1 << 31))


class Caches(unittest.TestCase):
    """The cache plugin on Arm: accesses and misses of memory.S, worked out by hand."""
    timeout = 60
    WORDS = 1024

    def counted(self, how):
        with tempfile.TemporaryDirectory() as directory:
            image = assembled(directory, "memory.S", f"-DWORDS={self.WORDS}")
            with Guest("-M", "virt", "-cpu", "cortex-a72", "-m", "64", "-nodefaults", "-bios",
                       image, "-no-shutdown", "-accel", "tcg,thread=vsched,pcpus=1",
                       *caches(",state-words=1" + how), arch="aarch64") as guest:
                self.assertTrue(guest.event_wait("SHUTDOWN", timeout=60 * SLOWER))
                return report(guest)["machine"]["privileged"]

    def test_accesses_and_misses(self):
        n = self.counted("")
        self.assertEqual(n, self.counted(",filter=off"))
        # and two literals; of an exclusive store the comparison, a load, and the store
        self.assertEqual(n["instructions"], 4 + 3 * self.WORDS + 2 + 3 * self.WORDS // 2 + 1 + 4 +
                         4 + 2)
        self.assertEqual((n["loads"], n["stores"]),
                         (self.WORDS + 2 + 4, self.WORDS // 2 * self.stores_of_a_pair + 2))
        lines = self.WORDS // 8
        self.assertEqual(n["l1d-misses-compulsory"], lines + lines + 1 + 1 + 1)  # literals, state
        # Loads and stores have 8 kB each of an L1D of 16 kB with 2 ways: the literals are driven
        # out, and come again at the end.  Exclusive stores find lines that were loaded.
        self.assertEqual((n["l1d-upgrades"], n["l1d-misses-capacity"]), (2, 1))

    stores_of_a_pair = 1        # of 16 bytes


class HostAddress(unittest.TestCase):
    """Stores that helpers make by host addresses: a loop with one instruction that stores
    64 or 16 bytes one by one is no spin by the paper's rule; one with a store of a word is.
    x86 is in qtest/test_host_address.py."""
    timeout = 120

    arm = ("aarch64", ("-M", "virt", "-cpu", "max", "-m", "512"), (
        0xd2a82000,                     # mov x0, #0x41000000
        0xd2a00661, 0xd5181041,         # mov x1, #0x330000; msr cpacr_el1, x1
        0xd5033fdf, 0x2518e3e0))        # isb; ptrue p0.b
    riscv = ("riscv64", ("-M", "virt", "-cpu", "rv64,v=true", "-m", "64"), (
        0x20000293, 0x3002a073,         # li t0, 0x200; csrs mstatus, t0
        0x0c007357,                     # vsetvli t1, zero, e8, m1, ta, ma
        0x00100517))                    # auipc a0, 0x100

    def check(self, target, store, back, spins):
        arch, machine, begin = target
        with tempfile.NamedTemporaryFile(suffix=".bin") as file:
            code = (*begin, store, back)
            file.write(struct.pack(f"<{len(code)}I", *code))
            file.flush()
            with Guest(*machine, "-nodefaults", "-bios", file.name, "-accel",
                       "tcg,thread=vsched,pcpus=1,detector=paper", arch=arch) as guest:
                while guest.stats()["vm"]["pcpu-sdb-periods-privileged"] < 1000:
                    pass
                guest.cmd("stop")
                vm = guest.stats()["vm"]
        periods = vm["pcpu-sdb-periods-privileged"]
        if spins:       # but for the first
            self.assertGreaterEqual(vm["pcpu-sdb-spins-privileged"], periods - 1)
        else:
            self.assertEqual(vm["pcpu-sdb-spins-privileged"], 0)

    def test_arm(self):
        back = 0x17ffffff
        self.check(self.arm, 0xf9000000, back, True)            # str x0, [x0]
        self.check(self.arm, 0xd50b7420, back, False)           # dc zva, x0
        self.check(self.arm, 0xe400e000, back, False)           # st1b {z0.b}, p0, [x0]

    def test_riscv(self):
        back = 0xffdff06f
        self.check(self.riscv, 0x00053023, back, True)          # sd zero, (a0)
        self.check(self.riscv, 0x02050027, back, False)         # vse8.v v0, (a0)


if __name__ == "__main__":
    unittest.main()
