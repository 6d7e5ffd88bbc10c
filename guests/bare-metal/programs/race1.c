/*
 * A race of depth 1: A starts B, and then writes what B reads.  The fault needs
 * one order: B reads before A writes.  Mended, A writes before it starts B.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "race.h"

const char program_name[] = "race1";

asm(".pushsection .text\n"
    ".macro compute\n\t"
    ".rept 7\n\t"
    "add    %g4, 1, %g4\n\t"
    ".endr\n\t"
    ".endm\n"
    "race_a:\n\t"
    "mov    1, %g1\n\t"
    "stx    %g1, [%o0]\n\t"
    "compute\n\t"
    "retl\n\t"
    " nop\n"
    "race_b:\n\t"
    "ldx    [%o0], %g1\n\t"
    "stx    %g1, [%o0 + 8]\n\t"
    "compute\n\t"
    "retl\n\t"
    " nop\n\t"
    ".popsection");

static void race_prepare(void)
{
    shared.value = shared.mended;
}

static bool race_failed(void)
{
    return shared.seen[0] == 0;
}
