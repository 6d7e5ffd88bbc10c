/*
 * What the race programs have in common: two VCPUs, A and B, of which each
 * executes some 30 instructions, and a fault that shows in few of all orders of
 * these.  VCPU 0 is A; it comes to mark 1, starts B, and goes on.  Whoever is last
 * looks for the fault, and comes to mark 2, or, if it is there, to mark 3.  Nobody
 * waits for anybody: VCPUs that are done stop.
 *   mended=0 (1: the program is right, and has no fault in any order)
 * Checked: there is no fault.
 *
 * The code is assembly language, so that it is known how many instructions are
 * where.  A program defines two functions that return, in which %g1, %g4 and %o1
 * to %o5 are free, and %o0 is the address of "shared", to be left there:
 *     race_a, race_b: what A and B execute
 * and race_prepare(), before A begins, and race_failed(), which looks for the
 * fault.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef RACE_H
#define RACE_H

#include "kit.h"

/* What a program defines. */
void race_a(void);
void race_b(void);
static void race_prepare(void);
static bool race_failed(void);

struct shared {
    volatile uint64_t value;    /* what the race is about */
    volatile uint64_t seen[2];  /* what B read */
    uint64_t mended;
    uint64_t mark, command;     /* addresses of registers */
    volatile uint8_t done;      /* one of the two is */
};
struct shared shared __attribute__((aligned(64)));

_Static_assert(offsetof(struct shared, mended) == 24, "mended");
_Static_assert(offsetof(struct shared, mark) == 32, "mark");
_Static_assert(offsetof(struct shared, command) == 40, "command");
_Static_assert(offsetof(struct shared, done) == 48, "done");

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

void race_begin(void);
void race_other(void);
void race_end(void);

asm(".pushsection .text\n"
    "race_begin:\n\t"                   /* VCPU 0 */
    "set    shared, %o0\n\t"
    "ldx    [%o0 + 32], %g1\n\t"
    "ldx    [%o0 + 40], %o2\n\t"
    "brz,pn %g1, 1f\n\t"
    " mov   1, %o3\n\t"                 /* mark 1, COMMAND_START */
    "stxa   %o3, [%g1] " TEXT(ASI_PHYS_IO) "\n"
    "1:\n\t"
    "stxa   %o3, [%o2] " TEXT(ASI_PHYS_IO) "\n\t"
    "call   race_a\n\t"
    " nop\n\t"
    "ba,pt  %xcc, race_done\n\t"
    " nop\n"
    "race_other:\n\t"                   /* the other one begins here */
    "mov    %o0, %g7\n\t"
    "ldx    [%g7 + " TEXT(VCPU_STACK) "], %g1\n\t"
    "sub    %g1, " TEXT(STACK_BIAS) " + " TEXT(FRAME_SIZE) ", %sp\n\t"
    "set    shared, %o0\n\t"
    "call   race_b\n\t"
    " nop\n"
    "race_done:\n\t"
    "ldstub [%o0 + 48], %g1\n\t"
    "brnz,pn %g1, race_end\n\t"
    " ldx   [%o0 + 40], %o2\n\t"
    "mov    " TEXT(COMMAND_STOP) ", %o3\n"
    "1:\n\t"
    "stxa   %o3, [%o2] " TEXT(ASI_PHYS_IO) "\n\t"
    "ba,a   %xcc, 1b\n\t"
    ".popsection");

void race_end(void)
{
    bool ok = !race_failed();

    mark_end(ok);
    report("value", shared.value);
    report("first", shared.seen[0]);
    report("second", shared.seen[1]);
    finish(ok);
}

bool program(void)
{
    shared.mark = mark_address();
    shared.mended = parameter("mended", 0, 0, 1);
    check_arguments();
    if (vcpus != 2) {
        fail("two VCPUs are needed", ": vcpus=2");
    }
    race_prepare();
    shared.command = prepare_to_start(&kit_vcpus[1], race_other);
    interrupts(false);
    race_begin();
    return false;               /* it does not return */
}

#endif
