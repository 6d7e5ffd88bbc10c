/*
 * A race of depth 3: A publishes something, and withdraws it soon after.  B looks
 * whether it is there, and then, a little later, takes it.  The fault, B has seen
 * it and takes nothing, needs three orders: A publishes, B looks, A withdraws, B
 * takes.  Mended, B takes what it saw when it looked.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "race.h"

const char program_name[] = "race3";

asm(".pushsection .text\n"
    "race_a:\n\t"
    ".rept 2\n\t"
    "add    %g4, 1, %g4\n\t"
    ".endr\n\t"
    "mov    1, %g1\n\t"
    "stx    %g1, [%o0]\n\t"             /* publishes */
    "add    %g4, 1, %g4\n\t"
    "add    %g4, 1, %g4\n\t"
    "stx    %g0, [%o0]\n\t"             /* withdraws */
    "add    %g4, 1, %g4\n\t"
    "retl\n\t"
    " nop\n"
    "race_b:\n\t"
    "add    %g4, 1, %g4\n\t"
    "ldx    [%o0 + 24], %o2\n\t"
    "ldx    [%o0], %g1\n\t"             /* looks */
    "stx    %g1, [%o0 + 8]\n\t"
    "brnz,pn %o2, 1f\n\t"
    " add   %g4, 1, %g4\n\t"
    "ldx    [%o0], %g1\n"               /* takes */
    "1:\n\t"
    "stx    %g1, [%o0 + 16]\n\t"
    "retl\n\t"
    " nop\n\t"
    ".popsection");

static void race_prepare(void)
{
}

static bool race_failed(void)
{
    return shared.seen[0] && !shared.seen[1];
}
