"""A TLB as docs/devel/paging-model.rst describes it, and what a guest of x86 does to it.

    trace = Trace(path)
    of = settings("skylake")
    machine = Machine(Tlb(of), Memory(), of, nested=False, is_device=lambda address: False)
    machine.run(list(trace))
    print(machine.tlb.count)

Nothing here is from softmmu-walk/: sizes come from configs/paging and from the page's table of
defaults, what a processor does from the Intel SDM (volume 3, chapters 4, 5 and 6).  A trace is
what two of QEMU's own plugins print, execlog and mem (tracing()); page tables are what the
guest has stored.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import collections
import configparser
import os
import re

from support import TOP

CODE, DATA = "itlb", "dtlb"
SHIFTS = {"4k": 12, "2m": 21, "1g": 30}
LARGE_32 = 22                           # pages of 4 MB go where those of 2 MB go
FIRST = {CODE: ("l1i", "l1i-large"), DATA: ("l1d", "l1d-large", "l1d-huge")}
GENERAL = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
           "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")
REGISTERS = ("cr0", "cr2", "cr3", "cr4") + GENERAL
WITH_ERROR_CODE = (8, 10, 11, 12, 13, 14, 17)
PAGE_FAULT, FIRST_INTERRUPT = 14, 32
OF_WRITE, OF_FETCH = 2, 16              # bits of the error code of a page fault


def settings(text):
    """{"l1i entries": "128", ...} of a file of configs/paging, or of its text"""
    with open(os.path.join(TOP, "docs/devel/paging-model.rst"), encoding="utf-8") as f:
        found = dict(re.findall(r"^``([a-z0-9-]+ [a-z0-9-]+)`` .* (\S+)$", f.read(), re.M))
    if "\n" not in text:
        with open(os.path.join(TOP, "configs/paging", f"{text}.conf"), encoding="utf-8") as f:
            text = f.read()
    parser = configparser.ConfigParser(inline_comment_prefixes="#")
    parser.read_string(text)
    for group in parser.sections():
        found.update({f"{group} {key}": value for key, value in parser[group].items()})
    return found


def tracing(path, execlog, mem):
    """Options with which QEMU writes a trace while its log has plugins"""
    return ("-plugin", execlog + "".join(f",reg={name}" for name in REGISTERS),
            "-plugin", f"{mem},print-accesses=true", "-D", path)


# --- TLBs ---

class Entry:
    """A translation: the page of 2^shift bytes, a piece of one of 2^of bytes"""

    def __init__(self, address, shift, of, is_global, read_only):
        self.page = address >> shift
        self.shift, self.of, self.is_global, self.read_only = shift, of, is_global, read_only

    def piece(self, address, shift):
        return Entry(address, shift, self.of, self.is_global, self.read_only)


class Array:
    """Sets whose ways are replaced in turn; one that is empty comes first."""

    def __init__(self, of, name):
        self.entries = int(of[f"{name} entries"])
        ways = int(of[f"{name} ways"]) or self.entries
        holds = of[f"{name} holds"].split("+")
        self.shifts = [SHIFTS[size] for size in holds if size != "none"]
        if 21 in self.shifts:
            self.shifts.append(LARGE_32)
        self.sets = [[None] * ways for _ in range(self.entries // ways if self.entries else 0)]
        self.turn = [0] * len(self.sets)

    def holds(self, shift):
        return self.entries and shift in self.shifts

    def of(self, address):
        """(number of its set for pages of a size, way), of each size that may have it"""
        for shift in self.shifts if self.entries else ():
            number = (address >> shift) % len(self.sets)
            for way, entry in enumerate(self.sets[number]):
                if entry and entry.shift == shift and entry.page == address >> shift:
                    return number, way
        return None

    def find(self, address):
        place = self.of(address)
        return place and self.sets[place[0]][place[1]]

    def put(self, entry):
        number = entry.page % len(self.sets)
        ways = self.sets[number]
        for way, old in enumerate(ways):
            if old and (old.shift, old.page) == (entry.shift, entry.page):
                ways[way] = entry
                return
        if None in ways:
            ways[ways.index(None)] = entry
            return
        ways[self.turn[number]] = entry
        self.turn[number] = (self.turn[number] + 1) % len(ways)

    def keep(self, wanted):
        for ways in self.sets:
            for way, entry in enumerate(ways):
                if entry and not wanted(entry):
                    ways[way] = None


class Tlb:
    """Both levels of both sides"""

    def __init__(self, of):
        names = {re.match(r"(l\d[a-z-]*) entries", key).group(1)
                 for key in of if re.match(r"l\d[a-z-]* entries", key)}
        self.arrays = {name: Array(of, name) for name in names}
        second = {side: "l2" for side in (CODE, DATA)}
        if self.arrays["l2i"].entries:
            second[CODE] = "l2i"
        self.first = {side: [self.arrays[name] for name in FIRST[side]] for side in FIRST}
        self.second = {side: [self.arrays[second[side]], self.arrays["l2-huge"]]
                       for side in second}
        self.count = collections.Counter()

    def enter_first(self, side, address, entry):
        """In the array of its size, or in pieces of the next smaller one"""
        for shift in sorted({entry.shift, 21, 12}, reverse=True):
            if shift > entry.shift:
                continue
            for array in self.first[side]:
                if array.holds(shift):
                    array.put(entry.piece(address, shift))
                    return

    def access(self, side, address, write, walk):
        """walk(): (bits of an address within the entry, within the guest's page, is global, may
        not be written through).  No walk: it ends in a page fault, which needs one even if there
        is an entry, and takes that away."""
        entry = next(filter(None, (a.find(address) for a in self.first[side])), None)
        usable = entry and not (write and entry.read_only)
        if usable and walk:
            return
        if entry:
            self.count["dirty-walks"] += walk is not None
        else:
            self.count[f"{side}-l1-misses"] += 1
            entry = next(filter(None, (a.find(address) for a in self.second[side])), None)
            if entry:
                self.count[f"{side}-l2-hits"] += 1
                self.enter_first(side, address, entry)
                if walk and not (write and entry.read_only):
                    return
                self.count["dirty-walks"] += walk is not None
            else:
                self.count[f"{side}-misses"] += 1
        if not walk:
            self.count["page-faults"] += 1
            self.drop(address)
            return
        shift, of, is_global, read_only = walk()
        entry = Entry(address, shift, of, is_global, read_only)
        for array in self.second[side]:
            if array.holds(shift):
                array.put(entry)
                break
        self.enter_first(side, address, entry)

    def keep(self, wanted):
        for array in self.arrays.values():
            array.keep(wanted)

    def flush(self):
        self.keep(lambda entry: False)

    def flush_space(self):
        """Of a new CR3"""
        self.keep(lambda entry: entry.is_global)

    def drop(self, address):
        """Of a page fault: the entry of the address, on both sides, and no other piece of a page"""
        self.keep(lambda e: e.page != address >> e.shift)

    def flush_page(self, address):
        """Of INVLPG: the page that the guest has, with all its pieces"""
        self.keep(lambda e: e.page << e.shift >> e.of != address >> e.of)


# --- What the guest does ---

# pc, its first bytes, [(address, physical address, bytes, is a store, value)], {register: value}
Step = collections.namedtuple("Step", "pc code accesses registers")


class Trace:
    """What execlog and mem have printed: accesses of an instruction stand before it."""

    def __init__(self, path):
        self.path = path

    def __iter__(self):
        accesses = []
        with open(self.path, encoding="ascii") as lines:
            for line in lines:
                if line.startswith("0x"):
                    _, _, address, physical, bits, kind, value = line.split(",")
                    accesses.append((int(address, 16), int(physical, 16), int(bits) // 8,
                                     kind == "store", int(value, 16)))
                elif line[0].isdigit():
                    _, pc, code, rest = line.rstrip("\n").split(", ", 3)
                    yield Step(int(pc, 16), int(code, 16).to_bytes(4, "little"), accesses, {
                        name: int(new, 16)
                        for name, new in re.findall(r"(\w+) -> 0x(\w+)", rest)})
                    accesses = []


class Memory:
    """The guest's, as far as somebody has stored to it or has read it from a file"""

    def __init__(self, image=b""):
        self.image = image
        self.words = {}

    def word(self, address):
        """8 bytes, at a multiple of 8"""
        if address not in self.words:
            self.words[address] = int.from_bytes(self.image[address:address + 8], "little")
        return self.words[address]

    def store(self, address, size, value):
        while size:
            at = address & ~7
            bits = 8 * (address - at)
            part = min(size, at + 8 - address)
            mask = (1 << 8 * part) - 1
            self.words[at] = self.word(at) & ~(mask << bits) | (value & mask) << bits
            address, size, value = address + part, size - part, value >> 8 * part


PAGING, PAE, PSE, PGE = 1 << 31, 1 << 5, 1 << 4, 1 << 7     # bits of CR0 and CR4
PRESENT, WRITABLE, DIRTY, LARGE, GLOBAL = 1, 2, 1 << 6, 1 << 7, 1 << 8     # of entries


def opcode(code):
    """(without prefixes, the bit that REX adds to a register in ModRM)"""
    at = 0
    while code[at] in b"\x66\xf2\xf3\xf0\x2e\x3e\x64\x65\x67" and at < 3:
        at += 1
    if code[at] & 0xf0 == 0x40:         # in 64-bit code; in that of 32 bits the program has none
        return code[at + 1:] + bytes(3), 8 * (code[at] & 1)
    return code[at:] + bytes(3), 0


def is_cr3_load(code):
    code, _ = opcode(code)
    return code[:2] == b"\x0f\x22" and code[2] >> 3 & 7 == 3


def is_port(code):
    code, _ = opcode(code)
    return code[0] & 0xf4 == 0xe4 and code[0] & 0xf8 != 0xf0 and code[0] not in \
        b"\xe8\xe9\xea\xeb" or code[0] & 0xfc == 0x6c


def invlpg_base(code):
    """The number of the register that has the address, or None"""
    code, more = opcode(code)
    if code[:2] != b"\x0f\x01" or code[2] >> 3 & 7 != 7 or code[2] >= 0xc0:
        return None
    assert code[2] >> 6 == 0 and code[2] & 7 not in (4, 5), "INVLPG with a displacement"
    return code[2] & 7 | more


def length_of_jump(code):
    """Bytes of a jump, call or return; of what else does not go on behind itself, 1"""
    rest, _ = opcode(code)
    before = len(code) + 3 - len(rest)
    if rest[0] in b"\xe8\xe9":
        return before + 5
    if rest[0] == 0x0f and rest[1] & 0xf0 == 0x80:
        return before + 6
    if rest[0] == 0xeb or rest[0] & 0xf0 == 0x70 or rest[0] & 0xfc == 0xe0:
        return before + 2
    if rest[0] == 0xff and rest[1] >> 3 & 7 in (2, 4):
        mod, rm = rest[1] >> 6, rest[1] & 7
        scaled = mod < 3 and rm == 4
        far = 4 if mod == 2 or mod == 0 and (rm == 5 or scaled and rest[2] & 7 == 5) else 0
        return before + 2 + scaled + (1 if mod == 1 else far)
    return 1


def fxsave_area(machine, step):
    """(address, is a store) of FXSAVE and FXRSTOR, whose accesses plugins do not see"""
    code, more = opcode(step.code)
    if code[:2] != b"\x0f\xae" or code[2] >> 3 & 7 > 1 or code[2] >= 0xc0:
        return None
    at = step.pc + step.code.index(b"\x0f\xae") + 2
    modrm, byte = machine.byte(at), machine.byte
    assert modrm & 7 not in (4, 5), f"{step.pc:#x}: FXSAVE with a scaled index"
    address = machine.registers[GENERAL[modrm & 7 | more]]
    size = (0, 1, 4)[modrm >> 6]
    offset = int.from_bytes(bytes(byte(at + 1 + n) for n in range(size)), "little", signed=True)
    return address + offset & (1 << 64) - 1, not modrm >> 3 & 7


class Machine:
    """A processor with 4 levels of tables, its TLB, and a hypervisor if it is nested, whose exits
    empty the TLB without VPIDs.  is_device(physical address): an access exits."""

    def __init__(self, tlb, memory, of, nested, is_device):
        self.tlb, self.memory, self.nested, self.is_device = tlb, memory, nested, is_device
        self.flushes = of["tlb vpid"] == "no"
        self.host_shift = SHIFTS[of["host pages"]]
        self.registers = dict.fromkeys(REGISTERS, 0)
        self.handlers = {}              # {address: vector}
        self.idt = self.gdt = self.tss = 0

    def is_paging(self):
        return self.registers["cr0"] & PAGING

    def walk(self, address, write):
        """(size of the entry, of the page, is global, may not be written through,
        physical address)"""
        table = self.registers["cr3"] & ~0xfff
        writable = WRITABLE
        for level in 4, 3, 2, 1:
            at = table + (address >> 12 + 9 * (level - 1) & 511) * 8
            entry = self.memory.word(at)
            assert entry & PRESENT, f"{address:#x}: no entry of level {level}"
            writable &= entry
            if level == 1 or level < 4 and entry & LARGE:
                break
            table = entry & 0x000ffffffffff000
        if write:
            entry |= DIRTY
            self.memory.store(at, 8, entry)
        shift = 12 + 9 * (level - 1)
        bits = (1 << shift) - 1
        return (min(shift, self.host_shift) if self.nested else shift, shift,
                bool(entry & GLOBAL and self.registers["cr4"] & PGE),
                not (entry & DIRTY and (writable or write)),
                entry & 0x000ffffffffff000 & ~bits | address & bits)

    def access(self, side, address, write=False):
        self.tlb.access(side, address, write, lambda: self.walk(address, write)[:4])

    def exit(self, kind, pc):
        """The page of the instruction that exits is fetched again at once."""
        if self.nested:
            self.tlb.count[f"exits-{kind}"] += 1
            if self.flushes:
                self.tlb.flush()
                if pc is not None:
                    self.access(CODE, pc)

    def run(self, steps):
        """Instructions; after the last one nothing is known."""
        for n, step in enumerate(steps):
            following = steps[n + 1].pc if n + 1 < len(steps) else step.pc
            self.execute(step, following)
            vector = self.handlers.get(following)
            if vector is not None:
                self.deliver(vector, steps[n + 1:n + 400])

    def use_interrupts(self, idt, gdt, tss):
        """Addresses of the tables that an interrupt or exception is delivered by"""
        self.idt, self.gdt, self.tss = idt, gdt, tss
        for vector in range(256):
            low, high = (self.memory.word(self.walk(at, False)[4])
                         for at in (idt + 16 * vector, idt + 16 * vector + 8))
            if low >> 47 & 1:
                self.handlers[low & 0xffff | low >> 32 & 0xffff0000 | (high & 0xffffffff) << 32] = \
                    vector

    def deliver(self, vector, handler):
        """SDM 3A, 6.14: the gate, its code segment, the stack's address if that is another one, and
        what is pushed.  Nothing of it is in a trace but where the stack ends.  The model's exit by
        an interrupt comes after its delivery.  handler: the instructions that follow"""
        stack, words = self.registers["rsp"], 6 if vector in WITH_ERROR_CODE else 5
        if vector == PAGE_FAULT:
            # The error code is seen when the handler loads it.
            code = next(value for step in handler
                        for address, _, size, store, value in step.accesses
                        if (address, size, store) == (stack, 8, False))
            self.tlb.access(CODE if code & OF_FETCH else DATA, self.registers["cr2"],
                            bool(code & OF_WRITE), None)
        gate = self.idt + 16 * vector
        self.access(DATA, gate)
        low = self.memory.word(self.walk(gate, False)[4])
        self.access(DATA, self.gdt + (low >> 16 & 0xfff8))
        ist = low >> 32 & 7
        slot = self.tss + (28 + 8 * ist if ist else 4)
        if ist or self.quad(slot) == stack + 8 * words:
            self.access(DATA, slot)
            self.access(DATA, slot + 7)
        for n in reversed(range(words)):
            self.access(DATA, stack + 8 * n, True)
        if vector >= FIRST_INTERRUPT:
            self.exit("interrupt", None)

    def byte(self, address):
        return self.quad(address) & 255

    def quad(self, address):
        """8 bytes at any address"""
        bits = 8 * (address & 7)
        low, high = (self.memory.word(self.walk(at, False)[4])
                     for at in (address & ~7, (address & ~7) + 8))
        return (low >> bits | high << 64 - bits) & (1 << 64) - 1

    def execute(self, step, following):
        if self.is_paging():
            self.access(CODE, step.pc)
            behind = following if 0 < following - step.pc < 16 else \
                step.pc + length_of_jump(step.code)
            if behind >> 12 == (step.pc >> 12) + 1 and behind & 0xfff:
                self.access(CODE, behind)
        self.data(step)
        base = invlpg_base(step.code)
        if base is not None and self.is_paging():
            self.tlb.flush_page(self.registers[GENERAL[base]])
        changed = {name: self.registers[name] ^ new for name, new in step.registers.items()}
        self.registers.update(step.registers)
        if changed.get("cr0", 0) & PAGING or changed.get("cr4", 0) & (PGE | PAE | PSE):
            self.tlb.flush()
        elif is_cr3_load(step.code) and self.is_paging():
            self.tlb.flush_space()
        elif self.is_paging() and is_port(step.code):
            self.exit("io", step.pc)
        elif step.code[0] == 0xf4:
            self.exit("halt", None)

    def data(self, step):
        area = fxsave_area(self, step)
        if area:
            for address in area[0], area[0] + 511:
                self.access(DATA, address, area[1])
        for address, physical, size, store, value in step.accesses:
            if self.is_paging():
                self.access(DATA, address, store)
                if address >> 12 != address + size - 1 >> 12:
                    self.access(DATA, address + size - 1, store)
                where = self.walk(address, False)[4]
                assert physical in (where, 0), f"{address:#x}: {where:#x}, {physical:#x}"
                physical = where        # of a device's registers the trace has 0
            if self.is_device(physical):
                if self.is_paging():
                    self.exit("io", step.pc)
            elif store:
                self.memory.store(physical, size, value)
