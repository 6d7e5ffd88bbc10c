/*
 * Idle loops: VCPU 0 computes, then wakes one of the others after another with
 * a cross-call; they poll a word and open the interrupt level, as the idle loop
 * of sun4u kernels does, and never sleep.
 *   rounds=5   work=20000 (turns of VCPU 0's loop before each round)
 * Checked: every VCPU was woken once a round.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "kit.h"

const char program_name[] = "idle";

static uint64_t rounds, turns;

static void work(struct vcpu *me)
{
    uint64_t seen = 0, polls = 0;

    if (me->index == 0) {
        for (uint64_t round = 0; round < rounds; round++) {
            spend(turns);
            for (unsigned int i = 1; i < vcpus; i++) {
                crosscall(i, crosscall_add, 1, 0);
                while (kit_vcpus[i].count <= round) {
                    polls++;
                }
            }
        }
        me->polls = polls;
        return;
    }
    while (seen < rounds) {
        asm volatile("wrpr %%g0, 0, %%pil" : : : "memory");
        if (me->sum != seen) {
            seen = me->sum;
            me->count++;
        }
        polls++;
    }
    me->polls = polls;
}

bool program(void)
{
    bool ok = true;

    needs_interrupts();
    rounds = parameter("rounds", 5, 1, 1ul << 20);
    turns = parameter("work", 20000, 0, 1ul << 40);
    report("cycles", run_on_all(work));
    report("rounds", rounds);
    REPORT_ALL(count);
    REPORT_ALL(polls);
    for (unsigned int i = 1; i < vcpus; i++) {
        ok &= kit_vcpus[i].count == rounds && kit_vcpus[i].received == rounds;
    }
    return ok;
}
