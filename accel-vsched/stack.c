/*
 * Call stacks: register windows and frame pointers.  See stack.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "stack.h"

/* Bytes of the largest frame that is plausible (choice) */
#define FRAME_MAX (1 << 20)

/* One more caller; false: there is no room for it. */
static bool add(VschedStack *stack, int most, uint64_t address, unsigned kind)
{
    if (stack->callers == most) {
        stack->end = VSCHED_STACK_DEEP;
        return false;
    }
    stack->caller[stack->callers++] = (VschedCaller) {
        .address = address,
        .kind = kind,
    };
    return true;
}

static unsigned kind_of(bool user)
{
    return user ? VSCHED_CALLER_USER : 0;
}

/*
 * ------------------------------------------------------------------------
 * SPARC V9.
 */

#define STACK_BIAS 2047
#define TSTATE_PRIV (UINT64_C(1) << 10)     /* PSTATE.PRIV in TSTATE */

/* A stack pointer of code of 64 bits is odd, because of the bias. */
static bool is_64(uint64_t sp)
{
    return sp & 1;
}

static uint64_t address_of(uint64_t sp)
{
    return is_64(sp) ? sp + STACK_BIAS : (uint32_t)sp;
}

/* %i6 and %i7 of a window that has been written to the stack at @sp. */
static bool read_window(const VschedStackMemory *m, bool user, uint64_t sp,
                        uint64_t *i6, uint64_t *i7)
{
    unsigned size = is_64(sp) ? 8 : 4;
    uint64_t base = address_of(sp);

    return m->read(m->opaque, user, base + 14 * size, size, i6) &&
           m->read(m->opaque, user, base + 15 * size, size, i7);
}

/*
 * Linux's trap entry (arch/sparc/kernel/etrap_64.S) makes a window for itself
 * whose %i are the %o of the code that was interrupted, and stores the state of
 * that code above the room for this window: struct pt_regs (asm/ptrace.h),
 * which a number marks, as kstack_is_trap_frame() of Linux knows it.
 */
#define LINUX_FRAME 192             /* STACKFRAME_SZ */
#define LINUX_FP (14 * 8)           /* u_regs[UREG_FP] */
#define LINUX_TSTATE (16 * 8)
#define LINUX_TPC (17 * 8)
#define LINUX_MAGIC (19 * 8 + 4)
#define LINUX_MAGIC_MASK 0xfffffe00 /* the rest is the trap type */
#define LINUX_MAGIC_VALUE 0x57ac6c00

static bool linux_trap(const VschedStackMemory *m, uint64_t sp, uint64_t i6,
                       uint64_t *pc, bool *user)
{
    uint64_t at = sp + STACK_BIAS + LINUX_FRAME, magic, fp, tstate;

    if (!is_64(sp) ||
        !m->read(m->opaque, false, at + LINUX_MAGIC, 4, &magic) ||
        (magic & LINUX_MAGIC_MASK) != LINUX_MAGIC_VALUE ||
        !m->read(m->opaque, false, at + LINUX_FP, 8, &fp) || fp != i6 ||
        !m->read(m->opaque, false, at + LINUX_TSTATE, 8, &tstate) ||
        !m->read(m->opaque, false, at + LINUX_TPC, 8, pc)) {
        return false;
    }
    *user = !(tstate & TSTATE_PRIV);
    return *pc && *pc % 4 == 0;
}

/*
 * A frame at @sp, after that at @inner in the same mode: stacks grow downwards.
 * Those of privileged code may be several: of interrupts, say.
 */
static bool plausible(uint64_t sp, uint64_t inner, bool user)
{
    uint64_t address = address_of(sp);

    return sp && address % 8 == 0 && sp != inner &&
           (!user || !inner ||
            (address > address_of(inner) &&
             address - address_of(inner) < FRAME_MAX));
}

void vsched_stack_of_windows(const VschedWindows *w,
                             const VschedStackMemory *m, int most,
                             VschedStack *stack)
{
    uint64_t sp = w->o6, inner = 0, i6, i7, pc;
    bool user = w->user, before, is_call;

    stack->end = VSCHED_STACK_WHOLE;
    stack->callers = 0;
    for (int i = 0; i < w->traps; i++) {
        user = w->trap[i].user;
        if (!add(stack, most, w->trap[i].pc, kind_of(user))) {
            return;
        }
    }
    if (w->o7 && w->o7 % 4 == 0 &&
        !add(stack, most, w->o7, kind_of(user) | VSCHED_CALLER_LINK)) {
        return;
    }
    for (int k = 0; plausible(sp, inner, user); k++) {
        if (k < w->windows) {
            i6 = w->window[k].i6;
            i7 = w->window[k].i7;
        } else if (!read_window(m, user, sp, &i6, &i7)) {
            stack->end = VSCHED_STACK_UNREADABLE;
            return;
        }
        before = user;
        if (!user && linux_trap(m, sp, i6, &pc, &user)) {
            if (!add(stack, most, pc, kind_of(user))) {
                return;
            }
        } else {
            pc = 0;
        }
        if (user && !is_64(i6)) {
            i6 = (uint32_t)i6;
            i7 = (uint32_t)i7;
        }
        /* What was interrupted may have called nothing so far. */
        is_call = i7 && i7 % 4 == 0;
        if (!is_call && !pc) {
            return;
        }
        if (is_call && !add(stack, most, i7,
                            kind_of(user) | (pc ? VSCHED_CALLER_LINK : 0))) {
            return;
        }
        inner = user == before ? sp : 0;
        sp = i6;
    }
}

/*
 * ------------------------------------------------------------------------
 * Frame pointers.
 */

static int byte(const VschedStackMemory *m, bool user, uint64_t address)
{
    uint64_t value;

    return m->read(m->opaque, user, address, 1, &value) ? value : -1;
}

static bool bytes_are(const VschedStackMemory *m, bool user, uint64_t address,
                      const uint8_t *bytes, int n)
{
    for (int i = 0; i < n; i++) {
        if (byte(m, user, address + i) != bytes[i]) {
            return false;
        }
    }
    return true;
}

/*
 * Whether an instruction that calls ends at @address: E8 with 4 bytes, or FF /2
 * with a ModRM byte and 0 to 5 bytes more.
 */
static bool x86_call_ends_at(const VschedStackMemory *m, bool user,
                             uint64_t address)
{
    if (byte(m, user, address - 5) == 0xe8) {
        return true;
    }
    for (int n = 2; n <= 7; n++) {
        if (byte(m, user, address - n) == 0xff &&
            (byte(m, user, address - n + 1) >> 3 & 7) == 2) {
            return true;
        }
    }
    return false;
}

/* BL, BLR, and those of BLR with an authenticated pointer */
static bool aarch64_call_ends_at(const VschedStackMemory *m, bool user,
                                 uint64_t address)
{
    uint64_t insn;

    return m->read(m->opaque, user, address - 4, 4, &insn) &&
           ((insn & 0xfc000000) == 0x94000000 ||
            (insn & 0xfffffc1f) == 0xd63f0000 ||
            (insn & 0xfefff800) == 0xd63f0800);
}

/* The address of (a byte of) the call that returns to @address, or 0. */
static uint64_t caller_at(const VschedFrames *f, const VschedStackMemory *m,
                          uint64_t address)
{
    if (f->rules == VSCHED_FRAMES_AARCH64) {
        /* An authentication code is in the bits above those of the address. */
        address = address >> 55 & 1 ? address | UINT64_MAX << 48
                                    : address & ~(UINT64_MAX << 48);
    }
    if (!address || address >> 63 == f->user) {
        return 0;
    }
    if (f->rules == VSCHED_FRAMES_AARCH64) {
        return aarch64_call_ends_at(m, f->user, address) ? address - 4 : 0;
    }
    return x86_call_ends_at(m, f->user, address) ? address - 1 : 0;
}

/*
 * Where a function of x86-64 begins or ends, the frame pointer is that of its
 * caller, and the return address is where this says; 0: elsewhere.
 */
static uint64_t x86_return_slot(const VschedFrames *f,
                                const VschedStackMemory *m)
{
    static const uint8_t endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };
    static const uint8_t push[] = { 0x55, 0x48, 0x89, 0xe5 };
    uint64_t pc = f->pc;

    if (bytes_are(m, f->user, pc, endbr64, sizeof(endbr64))) {
        pc += sizeof(endbr64);
    }
    if (bytes_are(m, f->user, pc, push, sizeof(push)) ||
        byte(m, f->user, pc) == 0xc3) {             /* RET */
        return f->sp;
    }
    return bytes_are(m, f->user, pc - 1, push, sizeof(push)) ? f->sp + 8 : 0;
}

void vsched_stack_of_frames(const VschedFrames *f, const VschedStackMemory *m,
                            int most, VschedStack *stack)
{
    uint64_t low = f->sp, fp = f->fp, next, address, caller, slot;
    unsigned kind = kind_of(f->user);

    stack->end = VSCHED_STACK_WHOLE;
    stack->callers = 0;
    if (f->rules == VSCHED_FRAMES_AARCH64) {
        caller = caller_at(f, m, f->link);
        if (caller && !add(stack, most, caller, kind | VSCHED_CALLER_LINK)) {
            return;
        }
    } else {
        slot = x86_return_slot(f, m);
        if (slot && m->read(m->opaque, f->user, slot, 8, &address)) {
            caller = caller_at(f, m, address);
            if (caller && !add(stack, most, caller, kind)) {
                return;
            }
        }
    }
    while (fp && fp % 8 == 0 && fp >= low && fp - low < FRAME_MAX) {
        if (!m->read(m->opaque, f->user, fp, 8, &next) ||
            !m->read(m->opaque, f->user, fp + 8, 8, &address)) {
            stack->end = VSCHED_STACK_UNREADABLE;
            return;
        }
        caller = caller_at(f, m, address);
        if (!caller || !add(stack, most, caller, kind)) {
            return;
        }
        low = fp + 16;
        fp = next;
    }
}
