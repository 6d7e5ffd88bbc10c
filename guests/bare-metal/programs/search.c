/*
 * A search in registers alone: no load, no store, and yet progress.  Finds the
 * number below limit from which Collatz's sequence takes longest to reach 1.
 *   limit=3000
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "kit.h"

const char program_name[] = "search";

static uint64_t limit;

static void work(struct vcpu *me)
{
    uint64_t longest = 0, found = 0, end = limit;

    for (uint64_t start = 1; start < end; start++) {
        uint64_t steps = 0;

        for (uint64_t n = start; n != 1; steps++) {
            n = n & 1 ? 3 * n + 1 : n / 2;
        }
        if (steps > longest) {
            longest = steps;
            found = start;
        }
    }
    me->value = found;
    me->count = longest;
}

bool program(void)
{
    bool ok = true;

    limit = parameter("limit", 3000, 2, 1ul << 32);
    report("cycles", run_on_all(work));
    report("limit", limit);
    report("found", kit_vcpus[0].value);
    report("steps", kit_vcpus[0].count);
    for (unsigned int i = 1; i < vcpus; i++) {
        ok &= kit_vcpus[i].value == kit_vcpus[0].value &&
              kit_vcpus[i].count == kit_vcpus[0].count;
    }
    return ok;
}
