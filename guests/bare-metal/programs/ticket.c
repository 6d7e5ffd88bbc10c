/*
 * Ticket lock: draw a number, wait until it is served; first come, first
 * served, so a waiter that does not run holds up all that come after it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "locks.h"

const char program_name[] = "ticket";

static volatile uint64_t next __attribute__((aligned(64)));
static volatile uint64_t served __attribute__((aligned(64)));

static void lock(struct vcpu *me)
{
    uint64_t mine = __atomic_fetch_add(&next, 1, __ATOMIC_ACQUIRE);
    uint64_t polls = 0;

    while (served != mine) {
        polls++;
    }
    me->polls += polls;
}

static void unlock(struct vcpu *me)
{
    __atomic_store_n(&served, served + 1, __ATOMIC_RELEASE);
}
