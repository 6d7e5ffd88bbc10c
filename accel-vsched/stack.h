/*
 * Who called whom: the call stack of a VCPU at one moment, for a profile.
 *
 * A stack is looked at where a block of guest code begins.  Nothing in a block
 * comes after a call or a return, so that the stack there is that of every
 * instruction of the block.  Callers are addresses of instructions in them: of
 * the call, or of the instruction that was interrupted.
 *
 * Rules, by architecture:
 *
 *   SPARC V9    The System V ABI, SPARC compliance definition: a function that
 *               has a register window finds its caller in %i7, and the caller's
 *               stack in %i6 (%fp).  Windows that are not in the register file
 *               have been written to the stack, at %sp + 2047, or in code of 32
 *               bits at %sp.  A function without a window of its own finds its
 *               caller in %o7.
 *   x86-64, Arm The frame pointer (%rbp, x29) points to that of the caller, and
 *               beside it is the return address.  Code that was compiled
 *               without frame pointers does not keep this, so that a stack ends
 *               at the first frame that is not plausible.
 *
 * Whether a function without a window, or without a frame, executes cannot be
 * seen in the registers.  What the link register says (%o7, x30) is noted apart
 * (VSCHED_CALLER_LINK), for a reader who has the program to decide.
 *
 * Plain C over GLib; memory and registers are the caller's.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSCHED_STACK_H
#define VSCHED_STACK_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Most callers of a stack (choice: deeper than Linux's, with a program's) */
#define VSCHED_STACK_MAX 128

/* Kinds of callers */
#define VSCHED_CALLER_USER 1        /* in user mode */
#define VSCHED_CALLER_LINK 2        /* only if the one before has no frame */

typedef struct VschedCaller {
    uint64_t address;
    uint64_t kind;
} VschedCaller;

/* Where a stack ends. */
typedef enum VschedStackEnd {
    VSCHED_STACK_WHOLE,             /* where no plausible frame follows */
    VSCHED_STACK_DEEP,              /* at the number that was asked for */
    VSCHED_STACK_UNREADABLE,        /* at memory that no TLB entry maps */
    VSCHED_STACK_ENDS
} VschedStackEnd;

typedef struct VschedStack {
    uint64_t at;                    /* address of the block */
    VschedStackEnd end;
    int callers;
    VschedCaller caller[VSCHED_STACK_MAX];  /* from the inside outwards */
} VschedStack;

/* Memory of the guest: a number of 1, 4 or 8 bytes, as the guest has it. */
typedef struct VschedStackMemory {
    bool (*read)(void *opaque, bool user, uint64_t address, unsigned size,
                 uint64_t *value);
    void *opaque;
} VschedStackMemory;

/* Most windows of a register file, and trap levels */
#define VSCHED_WINDOWS_MAX 32
#define VSCHED_TRAPS_MAX 8

/* What a SPARC V9 processor says. */
typedef struct VschedWindows {
    bool user;                      /* mode */
    int traps;                      /* trap level */
    struct {
        uint64_t pc;
        bool user;                  /* mode that was interrupted */
    } trap[VSCHED_TRAPS_MAX];       /* innermost first */
    uint64_t o6, o7;                /* of the window before all traps */
    int windows;                    /* this one and others of the file */
    struct {
        uint64_t i6, i7;
    } window[VSCHED_WINDOWS_MAX];   /* innermost first */
} VschedWindows;

void vsched_stack_of_windows(const VschedWindows *w,
                             const VschedStackMemory *memory, int most,
                             VschedStack *stack);

typedef enum VschedFrameRules {
    VSCHED_FRAMES_X86_64,
    VSCHED_FRAMES_AARCH64
} VschedFrameRules;

/* What a processor with frame pointers says. */
typedef struct VschedFrames {
    VschedFrameRules rules;
    bool user;
    uint64_t pc, sp, fp;
    uint64_t link;                  /* Arm: x30 */
} VschedFrames;

void vsched_stack_of_frames(const VschedFrames *f,
                            const VschedStackMemory *memory, int most,
                            VschedStack *stack);

#endif /* VSCHED_STACK_H */
