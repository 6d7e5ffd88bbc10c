/*
 * What the lock programs have in common: every VCPU takes the lock, changes
 * shared data that only a lock can protect, and gives it back.
 *   rounds=200 (of a VCPU)  inside=100 (turns of a loop with the lock held)
 *   outside=100 (without it)
 *   hold=0 (address of a vsched-hold register; 0: none)
 *   cycles=2000 (for which a VCPU asks there not to be preempted, from before it
 *   takes the lock until it has given it back)
 * Checked: the counter is rounds x VCPUs, and nobody was seen inside by anyone
 * else.  polls: how often a VCPU looked at the lock in vain.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LOCKS_H
#define LOCKS_H

#include "kit.h"

/* The compiler would make a compare-and-swap loop of an exchange of bytes. */
static inline uint8_t test_and_set(volatile uint8_t *byte)
{
    uint8_t old;

    asm volatile("ldstub [%1], %0\n\t"
                 "membar #LoadLoad | #LoadStore"
                 : "=r" (old) : "r" (byte) : "memory");
    return old;
}

/* The lock; what a program defines. */
static void lock(struct vcpu *me);
static void unlock(struct vcpu *me);

/* If a program defines LOCK_EXTRAS: its own parameters, and results. */
#ifdef LOCK_EXTRAS
static void extra_parameters(void);
static void extra_results(void);
#else
static void extra_parameters(void) { }
static void extra_results(void) { }
#endif

static uint64_t rounds, inside, outside, hold, hold_cycles;
static struct {
    volatile uint64_t counter, owner, intruders;
} __attribute__((aligned(256))) data;

static void work(struct vcpu *me)
{
    for (uint64_t i = 0; i < rounds; i++) {
        if (hold) {
            write_register(hold, hold_cycles);
        }
        lock(me);
        barrier();
        data.owner = me->index;
        data.counter++;
        labour(inside);
        data.intruders += data.owner != me->index;
        barrier();
        unlock(me);
        if (hold) {
            write_register(hold, 0);
        }
        me->count++;
        labour(outside);
    }
}

bool program(void)
{
    rounds = parameter("rounds", 200, 1, 1ul << 40);
    inside = parameter("inside", 100, 0, 1ul << 40);
    outside = parameter("outside", 100, 0, 1ul << 40);
    hold = parameter("hold", 0, 0, 1ul << 50);
    hold_cycles = parameter("cycles", 2000, 1, 1ul << 40);
    extra_parameters();
    report("cycles", run_on_all(work));
    report("rounds", rounds);
    report("counter", data.counter);
    report("intruders", data.intruders);
    REPORT_ALL(count);
    REPORT_ALL(polls);
    extra_results();
    return data.counter == rounds * vcpus && data.intruders == 0 &&
           TOTAL(count) == rounds * vcpus;
}

#endif
