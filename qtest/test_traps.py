"""Traps of an UltraSPARC II: every ASI, address and opcode that a user program can name.

The expected trap is worked out here from the processor's manual, "UltraSPARC User's
Manual" (Sun 802-7220), and The SPARC Architecture Manual, Version 9 ("V9"); the
program (guests/bare-metal/programs/traps.c) only tries.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import unittest

from test_bare_metal import run

# Trap types: table 8-13 of the manual
NONE = 0x17f                    # "ta 0x7f" behind the instruction
ILLEGAL, PRIVILEGED_OPCODE, FP_OTHER, TAG_OVERFLOW = 0x10, 0x11, 0x22, 0x23
FETCH_EXCEPTION, DATA_EXCEPTION, NOT_ALIGNED, PRIVILEGED_ACTION = 0x08, 0x30, 0x34, 0x37
FETCH_MISS, DATA_MISS, FILL_0_NORMAL = 0x64, 0x68, 0xc0

# What run_trials() makes of SFSR and SFAR
VALID, STORE, PRIVILEGED, SAME_ASI, SAME_ADDRESS = 1, 2, 4, 8, 0x10
ILLEGAL_ASI, OUT_OF_RANGE = 0x08, 0x20      # table 6-11, FT

LOADS = {"ldub": 1, "lduh": 2, "lduw": 4, "ldx": 8, "ldd": 8, "ldsb": 1, "ldsh": 2, "ldsw": 4}
STORES = {"stb": 1, "sth": 2, "stw": 4, "stx": 8, "std": 8}
ATOMICS = {"ldstub": 1, "swap": 4, "cas": 4, "casx": 8}
FLOATS = {"ldf": 4, "lddf": 8, "ldqf": 16, "stf": 4, "stdf": 8, "stqf": 16}
SIZES = {**LOADS, **STORES, **ATOMICS, **FLOATS}        # in the order of the program
WRITES = {*STORES, *ATOMICS, "stf", "stdf", "stqf"}

# Table 8-1 and 8-3: ASIs without restriction, and what may be done with them
PLAIN = {0x80, 0x81, 0x88, 0x89}                                # primary, secondary; little
NO_FAULT = {0x82, 0x83, 0x8a, 0x8b}                             # the same, loads only
PARTIAL = {*range(0xc0, 0xc6), *range(0xc8, 0xce)}              # stdfa only
SHORT = {8: {0xd0, 0xd1, 0xd8, 0xd9}, 16: {0xd2, 0xd3, 0xda, 0xdb}}     # lddfa, stdfa
BLOCK = {0xf0, 0xf1, 0xf8, 0xf9}                                # lddfa, stdfa
BLOCK_COMMIT = {0xe0, 0xe1}                                     # stdfa


def asi_trap(name, asi, offset):
    """Trap of instruction NAME with ASI, from user mode, at a multiple of 64 plus OFFSET.

    Priorities (table 8-13): illegal_instruction 7, mem_address_not_aligned 10,
    privileged_action 11, data_access_exception 12.
    """
    if name in ("ldqf", "stqf"):
        return ILLEGAL          # there is no quad hardware: V9, A.25 and A.52
    # lddfa and stdfa of words work, as V9 allows (implementation dependency 109)
    alignment = min(SIZES[name], 4) if name in FLOATS else SIZES[name]
    if asi in BLOCK | BLOCK_COMMIT and name in ("lddf", "stdf") and (name, asi) not in (
            ("lddf", 0xe0), ("lddf", 0xe1)):
        alignment = 64
    elif asi in SHORT[8] and name in ("lddf", "stdf"):
        alignment = 1
    elif asi in SHORT[16] and name in ("lddf", "stdf"):
        alignment = 2
    elif asi in PARTIAL and name == "stdf":
        alignment = 8
    if offset % alignment:
        return NOT_ALIGNED
    if asi < 0x80:
        return PRIVILEGED_ACTION
    if asi in PLAIN:
        return NONE
    if asi in NO_FAULT:
        return NONE if name in LOADS or name in ("ldf", "lddf") else DATA_EXCEPTION
    if asi in PARTIAL | BLOCK_COMMIT:
        return NONE if name == "stdf" else DATA_EXCEPTION
    if asi in SHORT[8] | SHORT[16] | BLOCK:
        return NONE if name in ("lddf", "stdf") else DATA_EXCEPTION
    return DATA_EXCEPTION


def record(name, trap, privileged=False):
    """(FT, what SFSR and SFAR must say): 6.9.4"""
    if trap not in (DATA_EXCEPTION, NOT_ALIGNED, PRIVILEGED_ACTION):
        return None
    flags = VALID | SAME_ASI | SAME_ADDRESS
    if name in WRITES:
        flags |= STORE
    if privileged:
        flags |= PRIVILEGED
    return (ILLEGAL_ASI if trap == DATA_EXCEPTION else 0), flags


class Traps(unittest.TestCase):
    timeout = 120

    def sweep(self, number, machine="sun4u", **parameters):
        status, report = run("traps", machine, sweep=number, **parameters)
        self.assertEqual(status, 0, report)
        tt, ft, rec = (bytes.fromhex(report[name]) for name in ("tt", "ft", "record"))
        return [(int.from_bytes(tt[2 * i:2 * i + 2], "big"), ft[i], rec[i])
                for i in range(report["trials"])]

    @staticmethod
    def store(name):
        # QEMU performs an atomic operation as a load and a store when VCPUs take turns.
        return STORE if name in WRITES and name not in ATOMICS else 0

    def test_every_asi(self):
        for machine in ("sun4u", "cmp,pcpus=1"):
            for offset in (0, 1, 2, 4, 8):
                found = iter(self.sweep(0, machine, offset=offset))
                for name in SIZES:
                    for asi in range(256):
                        trap, fault_type, said = next(found)
                        with self.subTest(machine=machine, insn=name, asi=hex(asi), offset=offset):
                            want = asi_trap(name, asi, offset)
                            self.assertEqual(hex(trap), hex(want))
                            if record(name, want):
                                # QEMU does not know the ASI when a translated access is
                                # found to be misaligned.
                                mask = 0xff if want != NOT_ALIGNED or asi < 0x80 else ~SAME_ASI
                                if want == NOT_ALIGNED and name in ATOMICS:
                                    mask &= ~STORE          # found by its load
                                self.assertEqual((fault_type, said & mask),
                                                 (record(name, want)[0], record(name, want)[1] & mask))
                self.assertRaises(StopIteration, next, found)

    def test_addresses(self):
        found = iter(self.sweep(1))
        for name, size in SIZES.items():
            if name in ("ldqf", "stqf"):
                for _ in range(10):
                    self.assertEqual(next(found)[0], ILLEGAL)
                continue
            for offset in (1, 2, 4, 8):
                with self.subTest(insn=name, offset=offset):
                    trap, fault_type, said = next(found)
                    self.assertEqual(trap, NOT_ALIGNED if offset % (min(size, 4) if name in FLOATS
                                                                    else size) else NONE)
                    if trap == NOT_ALIGNED:
                        self.assertEqual(fault_type, 0)
                        self.assertEqual(said & ~SAME_ASI, VALID | SAME_ADDRESS | self.store(name))
            for _ in range(2):
                self.assertEqual(next(found)[0], DATA_MISS)
            for _ in range(4):
                trap, fault_type, said = next(found)
                self.assertEqual((trap, fault_type), (DATA_EXCEPTION, OUT_OF_RANGE), name)
                self.assertEqual(said & (VALID | STORE), VALID | self.store(name))
        self.assertEqual([next(found)[0] for _ in range(8)],
                         2 * [FETCH_MISS] + 4 * [FETCH_EXCEPTION] + 2 * [NOT_ALIGNED])
        self.assertRaises(StopIteration, next, found)

    def opcode(self, found, name, expected):
        trap = next(found)[0]
        if expected is not None:
            with self.subTest(opcode=name):
                self.assertEqual(hex(trap), hex(expected))

    def test_every_opcode(self):
        """Opcode maps of V9 (appendix E) and of the manual; None: not asked for, because
        QEMU's UltraSPARC II has VIS 2, POPC and %stick, or fields are reserved."""
        found = iter(self.sweep(2))
        for op2, want in enumerate((ILLEGAL, NONE, NONE, ILLEGAL, NONE, NONE, NONE, ILLEGAL)):
            self.opcode(found, f"op 0, op2 {op2}", want)
        want = {op3: ILLEGAL for op3 in (0x19, 0x1d, 0x28, 0x29, 0x2f, 0x30, 0x33, 0x36, 0x37, 0x3f)}
        want |= {0x22: TAG_OVERFLOW, 0x23: TAG_OVERFLOW,
                 0x32: PRIVILEGED_OPCODE, 0x34: FP_OTHER, 0x35: FP_OTHER,
                 0x38: NOT_ALIGNED, 0x3a: 0x101, 0x3d: FILL_0_NORMAL}
        want |= dict.fromkeys((0x2a, 0x2b, 0x2e, 0x31, 0x39, 0x3b, 0x3e))
        for op3 in range(64):
            self.opcode(found, f"op 2, op3 {op3:#x}", want.get(op3, NONE))
        illegal = {0x0c, 0x1c, 0x22, 0x26, *range(0x28, 0x2d), 0x2e, 0x2f, 0x31, 0x32, 0x35, 0x36,
                   *range(0x38, 0x3c), 0x3f}
        for op3 in range(64):
            self.opcode(found, f"op 3, op3 {op3:#x}", ILLEGAL if op3 in illegal else NONE)
        one_operand = (0x00, 0x04, 0x08, 0x28, 0x40, 0x44, 0x48, 0x4c)  # + 1 single, + 2 double
        fpop1 = {base + size for base in one_operand for size in (1, 2)}
        fpop1 |= {0x69, 0x81, 0x82, 0x84, 0x88, 0xc4, 0xc6, 0xc8, 0xc9, 0xd1, 0xd2}
        fpop2 = {base + size for base in (0x00, 0x40, 0x80, 0xc0, 0x100, 0x180) for size in (1, 2)}
        fpop2 |= {rcond << 5 | size for rcond in (1, 2, 3, 5, 6, 7) for size in (5, 6)}
        fpop2 |= {0x51, 0x52, 0x55, 0x56}
        vis1 = {0x00, 0x02, 0x04, 0x06, 0x08, 0x0a, 0x10, 0x12, 0x14, 0x18, 0x1a,
                *range(0x20, 0x30, 2), 0x31, 0x33, *range(0x35, 0x3c), 0x3d, 0x3e, 0x48, 0x4b, 0x4d,
                *range(0x50, 0x58), *range(0x60, 0x80)}
        vis2 = {0x01, 0x03, 0x05, 0x07, 0x09, 0x0b, 0x19, 0x4c, 0x81}
        for name, implemented, other in (("FPop1", fpop1, FP_OTHER), ("FPop2", fpop2, FP_OTHER),
                                         ("IMPDEP1", vis1, ILLEGAL)):
            for opf in range(512):
                want = NONE if opf in implemented else other
                if name == "IMPDEP1" and opf in vis2 | {0x80}:
                    want = None                                 # 0x80: shutdown, not in QEMU
                self.opcode(found, f"{name} {opf:#x}", want)
        for asr in range(32):
            read = {**dict.fromkeys((0, 2, 3, 5, 6, 19), NONE), **dict.fromkeys((1, *range(7, 15)), ILLEGAL),
                    **dict.fromkeys((22, 23), PRIVILEGED_OPCODE)}
            write = {**dict.fromkeys((0, 2, 3, 6, 19), NONE), **dict.fromkeys((1, 4, 5, *range(7, 15)), ILLEGAL),
                     **dict.fromkeys((20, 21, 22, 23), PRIVILEGED_OPCODE)}
            self.opcode(found, f"rd asr {asr}", read.get(asr))
            self.opcode(found, f"wr asr {asr}", write.get(asr))
            self.opcode(found, f"rdpr {asr}", PRIVILEGED_OPCODE if asr < 15 or asr == 31 else None)
            self.opcode(found, f"wrpr {asr}", PRIVILEGED_OPCODE if asr < 15 else None)
        for fcn in range(32):
            for name in ("done, retry", "saved, restored"):
                self.opcode(found, f"{name} {fcn}", PRIVILEGED_OPCODE if fcn < 2 else None)
        self.assertRaises(StopIteration, next, found)
