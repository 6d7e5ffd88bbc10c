/*
 * Call stacks of the VCPUs of a target: see stack.h.
 *
 * A look changes nothing that the guest or a counter can see: no TLB entry is
 * filled or marked as used, no accessed bit is set, and no device is read.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSCHED_STACK_TARGET_H
#define VSCHED_STACK_TARGET_H

#include "exec/hwaddr.h"
#include "exec/memattrs.h"
#include "hw/core/cpu.h"
#include "stack.h"

/*
 * The stack of @cpu, which is about to execute the block at @pc in mode @user,
 * with @most callers.  NULL: this target's stacks are not known.
 */
extern void (*vsched_stack_of_target)(CPUState *cpu, uint64_t pc, bool user,
                                      int most, VschedStack *stack);

/*
 * One look at a stack: pages that it has found, so that it finds them once.
 * The page of a frame is most often that of the frame before.
 */
typedef struct VschedLook {
    CPUState *cpu;
    /*
     * Physical address of the guest's page at @address; false: it is not known.
     * Default is what a debugger sees.
     */
    bool (*page)(CPUState *cpu, bool user, uint64_t address, hwaddr *physical,
                 MemTxAttrs *attrs);
    bool big_endian;
    struct {
        bool valid, user;
        uint64_t address;
        const uint8_t *ram;         /* NULL: it is not there, or no RAM */
    } seen[2];                      /* stack, and code */
    int oldest;
} VschedLook;

VschedStackMemory vsched_look(VschedLook *look);

#endif /* VSCHED_STACK_TARGET_H */
