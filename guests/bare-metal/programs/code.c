/*
 * Much code: a chain of small blocks, written by VCPU 0 and run by all, more than
 * translators or instruction caches hold.
 *   blocks=10000   rounds=3
 * A block is "add %o0, i % 7, %o0", 5 times "nop", and a branch to the next with
 * a "nop" in its delay slot.  Checked: the sum.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "kit.h"

const char program_name[] = "code";

enum {
    NOP = 0x01000000,
    ADD_O0 = 0x90022000,        /* add %o0, immediate, %o0 */
    BRANCH_NEXT = 0x10800002,   /* ba . + 8 */
    RETURN = 0x81c3e008,        /* retl */
};
enum { BLOCK = 8 };             /* instructions */

static uint64_t blocks, rounds;
static uint32_t *code;

static void work(struct vcpu *me)
{
    uint64_t (*run)(uint64_t) = (uint64_t (*)(uint64_t))(uintptr_t)code;
    uint64_t sum = 0;

    for (uint64_t i = 0; i < rounds; i++) {
        sum = run(sum);
        me->count++;
    }
    me->value = sum;
}

bool program(void)
{
    uint64_t expected = 0;
    uint32_t *next;
    bool ok = true;

    blocks = parameter("blocks", 10000, 1, 1ul << 24);
    rounds = parameter("rounds", 3, 1, 1ul << 40);
    next = code = allocate((blocks * BLOCK + 2) * sizeof(*code));
    for (uint64_t i = 0; i < blocks; i++) {
        *next++ = ADD_O0 | i % 7;
        for (int j = 0; j < BLOCK - 3; j++) {
            *next++ = NOP;
        }
        *next++ = BRANCH_NEXT;
        *next++ = NOP;
        expected += i % 7 * rounds;
    }
    *next++ = RETURN;
    *next++ = NOP;
    for (uint32_t *line = code; line < next; line += 2) {
        asm volatile("flush %0" : : "r"(line) : "memory");
    }

    report("cycles", run_on_all(work));
    report("blocks", blocks);
    REPORT_ALL(value);
    for (unsigned int i = 0; i < vcpus; i++) {
        ok &= kit_vcpus[i].value == expected;
    }
    return ok;
}
