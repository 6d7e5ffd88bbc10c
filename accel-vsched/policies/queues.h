/*
 * Queues of VCPUs that wait: what most policies are built on.
 *
 * A VCPU is in one queue or in none.  What the queues stand for (PCPUs, VMs,
 * priorities) is the policy's.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSCHED_QUEUES_H
#define VSCHED_QUEUES_H

#include "../policy.h"

typedef struct VschedQueues {
    int vcpus, queues;
    /* of each VCPU */
    int *in;                    /* its queue, or VSCHED_NONE */
    int *next;                  /* who is behind it, or VSCHED_NONE */
    int64_t *since;             /* cycle since which it waits */
    /* of each queue */
    int *head, *tail;           /* or VSCHED_NONE */
    int *length;
} VschedQueues;

void vsched_queues_init(VschedQueues *q, int vcpus, int queues);
void vsched_queues_clear(VschedQueues *q);

/* @vcpu, which is in no queue, goes to the end of @queue. */
void vsched_queues_append(VschedQueues *q, int queue, int vcpu, int64_t since);
/* The same, to the front. */
void vsched_queues_prepend(VschedQueues *q, int queue, int vcpu, int64_t since);
/* The same, in front of all that have waited less. */
void vsched_queues_insert(VschedQueues *q, int queue, int vcpu, int64_t since);
/* @vcpu, which is in a queue, leaves it. */
void vsched_queues_remove(VschedQueues *q, int vcpu);
/* It goes to another queue, in front of all there that have waited less. */
void vsched_queues_move(VschedQueues *q, int vcpu, int queue);

/* For save(): who is where, in 1 + as many words as VCPUs wait. */
void vsched_queues_save(const VschedQueues *q, GArray *words);
/*
 * For load(): the VCPUs that wait are put where they were saved.  Of @n words
 * the first ones are used; how many is returned.  -1, and nothing has changed,
 * if they cannot be right.  What queues are allowed for a VCPU is up to the
 * caller, who looks at in[] afterwards.
 */
int vsched_queues_load(VschedQueues *q, const int64_t *words, int n);

#endif /* VSCHED_QUEUES_H */
