/*
 * Streaming: a[i] = b[i] + factor x c[i] over arrays of its own for each VCPU.
 *   words=20000 (of each array)   rounds=2
 * b[i] = i, c[i] = 2 i and factor = round, from 1 on, so a[i] is (1 + 2 rounds)
 * i at the end.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "kit.h"

const char program_name[] = "stream";

static uint64_t words, rounds;
static uint64_t *array[MAX_VCPUS];

static void work(struct vcpu *me)
{
    uint64_t *a = array[me->index], *b = a + words, *c = b + words;
    uint64_t sum = 0;

    for (uint64_t i = 0; i < words; i++) {
        b[i] = i;
        c[i] = 2 * i;
    }
    for (uint64_t round = 1; round <= rounds; round++) {
        barrier();
        for (uint64_t i = 0; i < words; i++) {
            a[i] = b[i] + round * c[i];
        }
    }
    for (uint64_t i = 0; i < words; i++) {
        sum += a[i];
    }
    me->value = sum;
}

bool program(void)
{
    bool ok = true;

    words = parameter("words", 20000, 1, 1ul << 24);
    rounds = parameter("rounds", 2, 1, 1ul << 24);
    for (unsigned int i = 0; i < vcpus; i++) {
        array[i] = allocate(3 * words * sizeof(uint64_t));
    }
    report("cycles", run_on_all(work));
    report("words", words);
    report("rounds", rounds);
    report("sum", kit_vcpus[0].value);
    for (unsigned int i = 0; i < vcpus; i++) {
        ok &= kit_vcpus[i].value == (1 + 2 * rounds) * (words * (words - 1) / 2);
    }
    return ok;
}
