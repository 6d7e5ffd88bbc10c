/*
 * A region of interest: the part of a program between two instructions that
 * change nothing, and that simulators look for ("magic").
 *   rounds=100 (in the region; ten times as many before and after)
 *   words=64 (of 8 bytes, that each round loads: one access to each)
 * Only VCPU 0 works.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "kit.h"

const char program_name[] = "region";

static uint64_t words;
static volatile uint64_t *array;

static void load(uint64_t rounds)
{
    for (uint64_t round = 0; round < rounds; round++) {
        for (uint64_t i = 0; i < words; i++) {
            array[i];
        }
    }
}

bool program(void)
{
    uint64_t rounds = parameter("rounds", 100, 1, 1ul << 32);

    words = parameter("words", 64, 1, 1ul << 20);
    array = allocate(words * sizeof(uint64_t));
    load(10 * rounds);
    asm volatile("sethi 1, %%g0" : : : "memory");
    load(rounds);
    asm volatile("sethi 2, %%g0" : : : "memory");
    load(10 * rounds);
    report("rounds", rounds);
    return true;
}
