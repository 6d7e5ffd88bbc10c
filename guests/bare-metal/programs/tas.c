/*
 * Test-and-set lock: one byte, ldstub; waiters only read until it looks free.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "locks.h"

const char program_name[] = "tas";

static volatile uint8_t held __attribute__((aligned(64)));

static void lock(struct vcpu *me)
{
    uint64_t polls = 0;

    while (test_and_set(&held)) {
        do {
            polls++;
        } while (held);
    }
    me->polls += polls;
}

static void unlock(struct vcpu *me)
{
    __atomic_store_n(&held, 0, __ATOMIC_RELEASE);
}
