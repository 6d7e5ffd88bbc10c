/*
 * A tree of calls that is known, on VCPU 0, for tests of profiles:
 *
 *     work                        rounds times:
 *       leaf                      turns of the loop; no register window
 *       middle                    a window
 *         leaf                    2 turns
 *         loop, inlined           3 turns
 *       descend (depth)           a window each, more than the register file has
 *         descend (depth - 1)
 *           ...
 *             leaf                4 turns
 *
 *   rounds=100   turns=1000   depth=20
 * A turn is 5 instructions, as in parts.c.  All other VCPUs are done at once.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "kit.h"

const char program_name[] = "calls";

#define WORDS 256

static uint64_t rounds, turns, depth;
static uint64_t words[WORDS];

/* 5 instructions a turn, and as many for the last one, in which n is 0 */
static inline __attribute__((always_inline)) void loop(uint64_t n)
{
    uint64_t at;

    asm volatile("1: and %0, %3, %1\n\t"
                 "sllx %1, 3, %1\n\t"
                 "stx %0, [%2 + %1]\n\t"
                 "brgz,pt %0, 1b\n\t"
                 "sub %0, 1, %0"
                 : "+r"(n), "=&r"(at) : "r"(words), "i"(WORDS - 1) : "memory");
}

/* Nothing is called last, where a jump would do. */
#define STAY asm volatile("")

static __attribute__((noinline, noclone)) void leaf(uint64_t n)
{
    loop(n);
}

static __attribute__((noinline, noclone)) void middle(uint64_t n)
{
    leaf(2 * n);
    loop(3 * n);
    STAY;
}

static __attribute__((noinline, noclone, optimize("no-optimize-sibling-calls")))
void descend(uint64_t n)
{
    if (n) {
        descend(n - 1);
    } else {
        leaf(4 * turns);
    }
    STAY;
}

static void work(struct vcpu *me)
{
    for (uint64_t i = 0; !me->index && i < rounds; i++) {
        leaf(turns);
        middle(turns);
        descend(depth);
        me->count++;
    }
}

bool program(void)
{
    rounds = parameter("rounds", 100, 1, 1ul << 40);
    turns = parameter("turns", 1000, 1, 1ul << 40);
    depth = parameter("depth", 20, 0, 50);
    report("cycles", run_on_all(work));
    report("rounds", rounds);
    return kit_vcpus[0].count == rounds;
}
