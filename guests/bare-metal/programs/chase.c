/*
 * Pointer chase: each VCPU follows a random cycle through all slots of an
 * array of its own, one dependent load after another.
 *   slots=4096   stride=64 (bytes a slot)   steps=20000
 * The cycle comes from Sattolo's shuffle with a linear congruential generator:
 * x = VCPU + 1; x = 6364136223846793005 x + 1442695040888963407 mod 2^64 before
 * each draw, draw = (x >> 33) mod i for i = slots - 1 down to 1.  Checked: after
 * as many steps as there are slots one is back at slot 0, and not before.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "kit.h"

const char program_name[] = "chase";

static uint64_t slots, stride, steps;
static char *array[MAX_VCPUS];

static uint64_t *slot(char *base, uint64_t i)
{
    return (uint64_t *)(base + i * stride);
}

static void work(struct vcpu *me)
{
    char *base = array[me->index];
    uint64_t x = me->index + 1, at = 0, cycle = 0, n = steps;

    for (uint64_t i = 0; i < slots; i++) {
        *slot(base, i) = i;
    }
    for (uint64_t i = slots - 1; i >= 1; i--) {
        uint64_t *a, *b, other;

        x = x * 6364136223846793005ull + 1442695040888963407ull;
        a = slot(base, i);
        b = slot(base, (x >> 33) % i);
        other = *a;
        *a = *b;
        *b = other;
    }
    do {
        at = *slot(base, at);
        cycle++;
    } while (at && cycle <= slots);
    me->count = cycle;
    for (at = 0; n; n--) {
        at = *slot(base, at);
    }
    me->value = at;
}

bool program(void)
{
    bool ok = true;

    slots = parameter("slots", 4096, 2, 1ul << 24);
    stride = parameter("stride", 64, 8, 1ul << 16);
    steps = parameter("steps", 20000, 0, 1ul << 40);
    if (stride % 8) {
        fail("parameter stride", ": a multiple of 8 is possible");
    }
    for (unsigned int i = 0; i < vcpus; i++) {
        array[i] = allocate(slots * stride);
    }
    report("cycles", run_on_all(work));
    report("slots", slots);
    report("steps", steps);
    REPORT_ALL(value);
    for (unsigned int i = 0; i < vcpus; i++) {
        ok &= kit_vcpus[i].count == slots;
    }
    return ok;
}
