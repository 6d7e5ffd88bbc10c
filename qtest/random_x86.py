"""Batches of random x86-64 instructions for guests/bare-metal-x86/fuzz.S.

A batch is a record of 256 bytes: values of 16 registers, code and stack segment, flags, and
112 bytes of code.  Most instructions have a form that a decoder takes; which one, and the
values of registers, is drawn so that control registers, MSRs, descriptor tables, ports and
devices are met more often than by chance.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import random
import struct

# Addresses and sizes of the program
SANDBOX, RECORDS, PROGRESS, CODE = 0x800000, 0x1000000, 0x2000000, 112
PREFIXES = b"\x66\xf2\xf3\x67\xf0\x64\x65\x2e\x36\x26"
# Selectors of the program's GDT: (code, stack); 64 bits and ring 0 first
SEGMENTS = 8 * [(0x08, 0x10)] + 2 * [(0x18, 0x10), (0x20, 0x28), (0x33, 0x3b), (0x43, 0x3b)] + \
           [(0x18, 0x48), (0x98, 0x10), (0x20, 0x10)]
# What may be changed of RFLAGS: TF, IF, DF, OF, IOPL, NT, RF, AC, ID, and those of arithmetic
FLAGS = 0x257ed5
PORTS = (0x20, 0x21, 0xa0, 0xa1, 0x40, 0x43, 0x60, 0x64, 0x70, 0x71, 0x92, 0x61, 0x80, 0xcf8, 0xcfc,
         0xcfd, 0x510, 0x511, 0x514, 0x3f8, 0x600, 0x608, 0x630, 0x660, 0xb2, 0xb3, 0x4d0, 0xc0, 0x87)
DEVICES = (0xfee00000, 0xfee00020, 0xfee00080, 0xfee000b0, 0xfee000f0, 0xfee00300, 0xfee00310,
           0xfee00320, 0xfee00350, 0xfee00380, 0xfee003e0, 0xfec00000, 0xfec00010, 0xfed00000,
           0xfed00010, 0xfed000f0, 0xfed00100, 0xfed00108, 0xb0000000, 0xb00f8000, 0xffff0000,
           0xa0000, 0xc0000, 0xf0000, 0xfed1c000)
MSRS = (0x10, 0x1b, 0x3a, 0x3b, 0x48, 0x79, 0x8b, 0xc1, 0xfe, 0x10a, 0x122, 0x174, 0x175, 0x176, 0x179,
        0x17a, 0x17b, 0x186, 0x1a0, 0x1d9, 0x200, 0x201, 0x20f, 0x250, 0x268, 0x277, 0x2ff, 0x400,
        0x402, 0x403, 0x480, 0x4d0, 0x6e0, 0x800, 0x802, 0x808, 0x80b, 0x80f, 0x830, 0x832, 0x838, 0x83f,
        0xd90, 0xda0, 0xc0000080, 0xc0000081, 0xc0000082, 0xc0000084, 0xc0000100, 0xc0000101,
        0xc0000102, 0xc0000103, 0xc0010015, 0xc0010114, 0xc0010117, 0x40000000, 0x40000001, 0x4b564d00)
SYSTEM = (                                      # what follows 0f, and whether a ModRM byte does
    (b"\x00", True), (b"\x01", True), (b"\x01", True), (b"\x20", True), (b"\x21", True), (b"\x22", True),
    (b"\x22", True), (b"\x23", True), (b"\x30", False), (b"\x32", False), (b"\x33", False),
    (b"\x31", False), (b"\x05", False), (b"\x07", False), (b"\x34", False), (b"\x35", False),
    (b"\x06", False), (b"\x08", False), (b"\x09", False), (b"\xaa", False), (b"\xa2", False),
    (b"\x0b", False), (b"\xae", True), (b"\xc7", True), (b"\x02", True), (b"\x03", True),
    (b"\xb2", True), (b"\xb4", True), (b"\xa1", False), (b"\xa9", False), (b"\x1e", True))
OTHERS = (                                      # no 0f: ports, far transfers, flags, segments
    b"\xec", b"\xed", b"\xee", b"\xef", b"\x6c", b"\x6d", b"\x6e", b"\x6f", b"\xcf", b"\x48\xcf", b"\xcb",
    b"\x48\xcb", b"\xcc", b"\xf1", b"\xf4", b"\x9c", b"\x9d", b"\xfa", b"\xfb", b"\x9b", b"\xc9", b"\xc3",
    b"\xa4", b"\xa5", b"\xa6", b"\xa7", b"\xaa", b"\xab", b"\xac", b"\xae", b"\xce", b"\xf3\x90", b"\xd7",
    b"\x0f\x01\xd8", b"\x0f\x01\xda", b"\x0f\x01\xdb", b"\x0f\x01\xdc", b"\x0f\x01\xde",
    b"\x0f\x01\xdf", b"\x0f\x01\xd0", b"\x0f\x01\xd1", b"\x0f\x01\xc8", b"\x0f\x01\xc9", b"\x0f\x01\xf8",
    b"\x0f\x01\xf9", b"\x0f\x01\xca", b"\x0f\x01\xcb", b"\x0f\x01\xee", b"\x0f\x01\xef", b"\x17", b"\x07")
MODRM = (b"\x8e", b"\x8c", b"\xff", b"\xfe", b"\xc4", b"\xc5", b"\x62", b"\x63", b"\xf6", b"\xf7", b"\xd8",
         b"\xd9", b"\xda", b"\xdb", b"\xdc", b"\xdd", b"\xde", b"\xdf", b"\x8f", b"\x87", b"\x86", b"\x88",
         b"\x89", b"\x8a", b"\x8b", b"\xc6", b"\xc7", b"\xd3", b"\x8d")


class Batches:
    """The same seed makes the same ones."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def bytes(self, n):
        return self.random.getrandbits(8 * n).to_bytes(n, "little") if n else b""

    def modrm(self):
        """Mostly a register that points somewhere, without displacement"""
        r = self.random
        return bytes([r.getrandbits(8) & (0x3f if r.random() < .5 else 0xff)]) + \
            self.bytes(r.choice((0, 0, 1, 4)))

    def insn(self):
        r, code = self.random, b""
        while r.random() < .2 and len(code) < 3:
            code += bytes([r.choice(PREFIXES)])
        kind = r.randrange(16)
        if kind == 0:
            return self.bytes(r.randrange(1, 12))
        if kind in (1, 2):                                      # VEX
            code += (b"\xc5" + self.bytes(1) if r.random() < .3 else
                     bytes([0xc4, r.getrandbits(8) & 0xe0 | r.randrange(1, 4), r.getrandbits(8)]))
            return code + self.bytes(1) + self.modrm()
        if r.random() < .4:
            code += bytes([0x40 | r.getrandbits(4)])            # REX
        if kind in (3, 4, 5):
            opcode, has_modrm = r.choice(SYSTEM)
            return code + b"\x0f" + opcode + (self.modrm() if has_modrm else b"")
        if kind in (6, 7):
            return code + r.choice(OTHERS)
        if kind == 8:                                           # an MSR, a port
            if r.random() < .6:
                return b"\xb9" + struct.pack("<I", self.msr()) + r.choice((b"\x0f\x30", b"\x0f\x32"))
            return b"\x66\xba" + struct.pack("<H", r.choice(PORTS)) + r.choice(OTHERS[:8])
        if kind in (9, 10):
            return code + r.choice(MODRM) + self.modrm()
        if kind in (11, 12):
            return code + b"\x0f" + self.bytes(1) + self.modrm()
        if kind in (13, 14):
            return code + b"\x0f" + r.choice((b"\x38", b"\x3a")) + self.bytes(1) + self.modrm()
        return code + self.bytes(1) + self.modrm()

    def msr(self):
        return self.random.choice(MSRS) + (self.random.getrandbits(4) if self.random.random() < .1 else 0)

    def value(self):
        r = self.random
        kind = r.randrange(16)
        if kind == 0:
            return r.getrandbits(64)
        if kind == 1:
            return r.getrandbits(8)
        if kind == 2:
            return -r.getrandbits(8) & (1 << 64) - 1
        if kind == 3:
            return 1 << r.randrange(64)
        if kind == 4:
            return (1 << 64) - (1 << r.randrange(64))
        if kind in (5, 6):
            return r.choice(DEVICES) + (r.getrandbits(8) if r.random() < .3 else 0)
        if kind == 7:
            return r.choice(PORTS)
        if kind == 8:
            return self.msr()
        if kind == 9:
            return r.randrange(0x17) << 3 | r.getrandbits(2)                # a selector
        if kind == 10:
            return SANDBOX + r.getrandbits(7)                               # in the code
        return SANDBOX + 0x10000 + (r.getrandbits(16) & (-1 if r.random() < .3 else ~0x3f))

    def record(self):
        r = self.random
        code = b""
        for _ in range(r.randrange(1, 10)):
            code += self.insn()
        code = (code + b"\x90" + b"\xcc" * CODE)[:CODE]
        segments = r.choice(SEGMENTS)
        flags = 2 | (r.getrandbits(22) & FLAGS if r.random() < .5 else r.getrandbits(12) & 0x8d5)
        if r.random() < .8:
            flags &= ~0x100                                                 # rarely single steps
        values = [self.value() for _ in range(15)]
        stack = SANDBOX + 0x18000 if r.random() < .7 else self.value()
        return struct.pack("<16QHHIQ", *values, stack, *segments, 0, flags) + code

    def memory(self, batches):
        """What is in memory from RECORDS on, for two processors"""
        first = struct.pack("<Q", batches).ljust(512, b"\0")                # number 0 is not used
        return first + b"".join(self.record() for _ in range(2 * batches))
