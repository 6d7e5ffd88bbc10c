/*
 * A race of depth 2: each of the two adds 1 to a value, with a load, an addition
 * and a store.  The fault, a lost addition, needs two orders: the load of one
 * comes before the store of the other, and the other way round.  All three
 * instructions are in one block of code (a translation block of TCG's), so that
 * nobody meets the fault who stops VCPUs between blocks alone.  Mended, the
 * addition is atomic (casx).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "race.h"

const char program_name[] = "race2";

asm(".pushsection .text\n"
    "race_a:\n"
    "race_b:\n\t"
    "ldx    [%o0 + 24], %g1\n\t"
    "brnz,pn %g1, 1f\n\t"
    " nop\n\t"
    ".rept 2\n\t"                       /* a block begins here */
    "add    %g4, 1, %g4\n\t"
    ".endr\n\t"
    "ldx    [%o0], %o2\n\t"
    "add    %o2, 1, %o2\n\t"
    "stx    %o2, [%o0]\n\t"
    ".rept 2\n\t"
    "add    %g4, 1, %g4\n\t"
    ".endr\n\t"
    "retl\n\t"                          /* and ends here */
    " nop\n"
    "1:\n\t"
    "ldx    [%o0], %o2\n\t"
    "add    %o2, 1, %o3\n\t"
    "casx   [%o0], %o2, %o3\n\t"
    "cmp    %o2, %o3\n\t"
    "bne,pn %xcc, 1b\n\t"
    " nop\n\t"
    "retl\n\t"
    " nop\n\t"
    ".popsection");

static void race_prepare(void)
{
}

static bool race_failed(void)
{
    return shared.value != 2;
}
