/*
 * The VCPUs hand the time to each other: each reads what another wrote last,
 * then its own %tick, and notes by how much it is behind; then it writes its
 * own.  Between two PCPUs the guest's time may step back by less than a window.
 *   rounds=1000   work=50 (most turns of a loop between two readings)
 * Checked: on one VCPU time never goes backwards.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "kit.h"

const char program_name[] = "clock";

static uint64_t rounds, between;
static volatile uint64_t handed __attribute__((aligned(64)));
static uint64_t reversed[MAX_VCPUS];

static void work(struct vcpu *me)
{
    uint64_t mine = 0, back = 0, steps = 0;

    for (uint64_t round = 0; round < rounds; round++) {
        uint64_t theirs = handed;
        uint64_t now;

        barrier();
        now = tick();
        if (now < theirs) {
            steps++;
            if (theirs - now > back) {
                back = theirs - now;
            }
        }
        reversed[me->index] += now < mine;
        mine = now;
        handed = now;
        if (between) {
            spend((round * 7 + me->index) % between);
        }
    }
    me->count = rounds;
    me->polls = steps;
    me->value = back;
}

bool program(void)
{
    uint64_t back = 0, backwards = 0;

    rounds = parameter("rounds", 1000, 1, 1ul << 40);
    between = parameter("work", 50, 0, 1ul << 40);
    report("cycles", run_on_all(work));
    for (unsigned int i = 0; i < vcpus; i++) {
        if (kit_vcpus[i].value > back) {
            back = kit_vcpus[i].value;
        }
        backwards += reversed[i];
    }
    report("back", back);
    report("steps", TOTAL(polls));
    report("backwards", backwards);
    return TOTAL(count) == rounds * vcpus && backwards == 0;
}
