/*
 * MCS lock (Mellor-Crummey and Scott, 1991, algorithm 5): a queue in which
 * every waiter polls a word of its own.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "locks.h"

const char program_name[] = "mcs";

typedef struct Node {
    struct Node *volatile next;
    volatile uint64_t locked;
} __attribute__((aligned(64))) Node;

static Node nodes[MAX_VCPUS];
static Node *tail __attribute__((aligned(64)));

static void lock(struct vcpu *me)
{
    Node *mine = &nodes[me->index], *before;
    uint64_t polls = 0;

    mine->next = NULL;
    before = __atomic_exchange_n(&tail, mine, __ATOMIC_ACQ_REL);
    if (before) {
        mine->locked = true;
        before->next = mine;
        while (mine->locked) {
            polls++;
        }
        me->polls += polls;
    }
}

static void unlock(struct vcpu *me)
{
    Node *mine = &nodes[me->index], *expected = mine;

    if (!mine->next) {
        if (__atomic_compare_exchange_n(&tail, &expected, NULL, false,
                                        __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
            return;
        }
        while (!mine->next) {       /* a successor is about to link itself */
        }
    }
    mine->next->locked = false;
}
