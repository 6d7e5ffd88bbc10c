"""Programs of the guest: their instructions, as ELF files have them.

What a profile wants to know is whether the code at an address has a frame of its own: a register
window on SPARC, a frame record on Arm.  Its caller is in the frame then, and otherwise in the link
register.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import struct

SPARC, SPARC32PLUS, SPARCV9, AARCH64 = 2, 18, 43, 183      # e_machine
PT_LOAD = 1


def signed(value, bits):
    return value - (1 << bits) if value >> (bits - 1) & 1 else value


class Program:
    """Instructions of an ELF file by address."""

    def __init__(self, path):
        with open(path, "rb") as f:
            self.data = f.read()
        self.order = ">" if self.data[5:6] == b"\2" else "<"
        self.machine, self.segments, self.functions = None, [], {}
        try:
            self.read_header(self.data[4] == 2)
        except (IndexError, struct.error):
            self.segments = []              # nm has said what it thinks of it

    def read_header(self, wide):
        self.machine, = struct.unpack_from(self.order + "H", self.data, 18)
        offset, = struct.unpack_from(self.order + ("Q" if wide else "I"), self.data,
                                     32 if wide else 28)
        size, number = struct.unpack_from(self.order + "HH", self.data, 54 if wide else 42)
        for i in range(number):
            if wide:
                kind, _, where, address, _, length = struct.unpack_from(
                    self.order + "IIQQQQ", self.data, offset + i * size)
            else:
                kind, where, address, _, length = struct.unpack_from(
                    self.order + "IIIII", self.data, offset + i * size)
            if kind == PT_LOAD:
                self.segments.append((address, where, length))

    def instruction(self, address):
        """Of 4 bytes; None where there is nothing."""
        for start, where, length in self.segments:
            if start <= address and address + 4 <= start + length:
                return struct.unpack_from(self.order + "I", self.data, where + address - start)[0]
        return None

    def is_sparc(self):
        return self.machine in (SPARC, SPARC32PLUS, SPARCV9)

    def called_from(self, address):
        """What the call at this address calls; 0 if that is in a register, None if it is none."""
        word = self.instruction(address)
        if word is None:
            return None
        if self.is_sparc():
            if word >> 30 == 1:                                     # call
                return address + 4 * signed(word & 0x3fffffff, 30)
            return 0 if word & 0xfff80000 == 0x9fc00000 else None   # jmpl ..., %o7
        if self.machine == AARCH64:
            if word & 0xfc000000 == 0x94000000:                     # bl
                return address + 4 * signed(word & 0x3ffffff, 26)
            return 0 if word & 0xfefff800 == 0xd63f0800 or word & 0xfffffc1f == 0xd63f0000 else None
        return None

    def frameless(self, function, address):
        """Whether code at this address in a function has no frame, as far as its code tells."""
        if ".cold" in function.name:
            return False                    # entered by jumps, most often with a frame
        if function not in self.functions:
            walk = {True: self.sparc_frames, False: self.aarch64_frames}[self.is_sparc()]
            known = self.is_sparc() or self.machine == AARCH64
            self.functions[function] = walk(function) if known else {}
        return self.functions[function].get(address) is False

    def sparc_frames(self, function):
        """{address: whether there is a window of its own before this instruction}

        Code is followed from the function's begin.  What a jump through a table leads to is not
        known, and has the state of the code before it."""
        framed, todo = {}, [(function.start, False)]
        while todo:
            at, state = todo.pop()
            while function.start <= at < function.end and at not in framed:
                word = self.instruction(at)
                if word is None:
                    break
                framed[at] = state
                target, goes_on = sparc_flow(word, at)
                if target is None and goes_on:                      # no jump
                    state = sparc_state(word, state)
                    at += 4
                    continue
                # The instruction after a jump is executed before what it leads to.
                slot = self.instruction(at + 4) or 0
                framed.setdefault(at + 4, sparc_state(word, state))
                after = sparc_state(slot, state)
                if target:
                    todo.append((target, after))
                if not goes_on or target == 0 and gives_up_caller(slot):
                    break
                state, at = after, at + 8
        for at in range(function.start + 4, function.end, 4):
            framed.setdefault(at, framed.get(at - 4, False))
        return framed

    def aarch64_frames(self, function):
        """Likewise: between STP x29, x30 and the LDP that undoes it, in the order of addresses."""
        framed, state, before_return = {}, False, False
        for at in range(function.start, function.end, 4):
            framed[at] = state
            word = self.instruction(at) or 0
            if word & 0xfe407fff == 0xa8007bfd:                     # stp x29, x30, [sp ...
                state = True
            elif word & 0xfe407fff == 0xa8407bfd:                   # ldp
                before_return, state = state, False
            elif word in (0xd65f03c0, 0xd65f0bff, 0xd65f0fff):      # ret, retaa, retab
                state, before_return = state or before_return, False
        return framed


def sparc_state(word, state):
    """Whether there is a window after this instruction."""
    if word & 0xc1f80000 == 0x81e00000:                             # save
        return True
    # restore, return
    return False if word & 0xc1f80000 in (0x81e80000, 0x81c80000) else state


def gives_up_caller(slot):
    """Whether a call with this delay slot is the last thing that a function does: what it calls
    returns to the function's caller.  The slot restores a window, or writes to %o7."""
    return slot & 0xc1f80000 == 0x81e80000 or slot & 0xfe000000 == 0x9e000000


def sparc_flow(word, at):
    """(target of a branch or None, whether the code after its delay slot is reached)"""
    kind, condition = word >> 22 & 7, word >> 25 & 15
    if word >> 30 == 0 and kind in (1, 2, 3, 5, 6):
        if kind == 3:                                               # BPr
            return at + 4 * signed(word >> 6 & 0xc000 | word & 0x3fff, 16), True
        bits = 19 if kind in (1, 5) else 22
        # Never (0) and always (8)
        target = at + 4 * signed(word & ((1 << bits) - 1), bits)
        return None if condition == 0 else target, condition != 8
    if word >> 30 == 1:                                             # call
        return 0, True
    if word & 0xc1f80000 == 0x81c00000:                             # jmpl
        return 0, word >> 25 & 31 == 15
    if word & 0xc1f80000 == 0x81c80000:                             # return
        return 0, False
    return None, True
