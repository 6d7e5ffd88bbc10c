/*
 * Work whose parts are known: VCPU 0 is in part_three() three times as long as
 * in part_one(), and all others wait in wait_for_parts() until it is done.
 *   rounds=100   turns=1000 (of a loop of 5 instructions, in part_one())
 * The loop stores to many places, which is progress to every detector; waiting
 * is a spin.  For tests of profiles.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "kit.h"

const char program_name[] = "parts";

#define WORDS 256

static uint64_t rounds, turns;
static volatile bool done;
static uint64_t words[WORDS];

/* 5 instructions a turn, and as many for the last one, in which n is 0 */
static inline void store(uint64_t n)
{
    uint64_t at;

    asm volatile("1: and %0, %3, %1\n\t"
                 "sllx %1, 3, %1\n\t"
                 "stx %0, [%2 + %1]\n\t"
                 "brgz,pt %0, 1b\n\t"
                 "sub %0, 1, %0"
                 : "+r"(n), "=&r"(at) : "r"(words), "i"(WORDS - 1) : "memory");
}

static __attribute__((noinline, noclone)) void part_one(void)
{
    store(turns);
}

static __attribute__((noinline, noclone)) void part_three(void)
{
    store(3 * turns);
}

static __attribute__((noinline, noclone)) uint64_t wait_for_parts(void)
{
    uint64_t polls = 0;

    while (!done) {
        polls++;
    }
    return polls;
}

static void work(struct vcpu *me)
{
    if (me->index) {
        me->polls = wait_for_parts();
        return;
    }
    for (uint64_t i = 0; i < rounds; i++) {
        part_one();
        part_three();
        me->count++;
    }
    done = true;
}

bool program(void)
{
    rounds = parameter("rounds", 100, 1, 1ul << 40);
    turns = parameter("turns", 1000, 1, 1ul << 40);
    report("cycles", run_on_all(work));
    report("rounds", rounds);
    REPORT_ALL(polls);
    return kit_vcpus[0].count == rounds;
}
