/*
 * Central barrier with sense reversal: the last to come lets all go.
 *   rounds=100   work=200 (turns of a loop between two barriers)
 * Checked after every barrier: everyone is in this phase or has gone on to
 * the next one, which nobody can leave before I come.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "kit.h"

const char program_name[] = "barrier";

static uint64_t rounds, between;
static volatile uint64_t missing __attribute__((aligned(64)));
static volatile uint64_t sense __attribute__((aligned(64)));
static volatile uint64_t phase[MAX_VCPUS];

static void wait_for_all(struct vcpu *me, uint64_t mine)
{
    uint64_t polls = 0;

    if (__atomic_sub_fetch(&missing, 1, __ATOMIC_ACQ_REL) == 0) {
        missing = vcpus;
        barrier();
        sense = mine;
        return;
    }
    while (sense != mine) {
        polls++;
    }
    me->polls += polls;
}

static void work(struct vcpu *me)
{
    for (uint64_t round = 1; round <= rounds; round++) {
        labour(between * (me->index + 1) / vcpus);
        phase[me->index] = round;
        barrier();
        wait_for_all(me, round & 1);
        for (unsigned int i = 0; i < vcpus; i++) {
            me->value += phase[i] != round && phase[i] != round + 1;
        }
        me->count++;
    }
}

bool program(void)
{
    rounds = parameter("rounds", 100, 1, 1ul << 40);
    between = parameter("work", 200, 0, 1ul << 40);
    missing = vcpus;
    report("cycles", run_on_all(work));
    report("rounds", rounds);
    report("violations", TOTAL(value));
    REPORT_ALL(count);
    REPORT_ALL(polls);
    return TOTAL(count) == rounds * vcpus && TOTAL(value) == 0;
}
