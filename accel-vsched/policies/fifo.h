/*
 * Static map with one FIFO a PCPU: the base of the paper's policies.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSCHED_FIFO_H
#define VSCHED_FIFO_H

#include "../policy.h"

typedef struct VschedFifo {
    VschedTopology topology;
    int64_t timeslice;          /* cycles */
    int *next;                  /* of each VCPU that waits: who is behind it */
    int *head, *tail;           /* of each PCPU, or VSCHED_NONE */
} VschedFifo;

void *vsched_fifo_create(const VschedTopology *topology,
                         const int64_t *values);
void vsched_fifo_destroy(void *policy);
void vsched_fifo_set(void *policy, const int64_t *values);
int vsched_fifo_place(void *policy, int vcpu);
void vsched_fifo_enqueue(void *policy, int vcpu, int64_t now);
void vsched_fifo_dequeue(void *policy, int vcpu);
VschedPick vsched_fifo_pick(void *policy, int pcpu, int64_t now);
bool vsched_fifo_waiting(void *policy, int pcpu);
int vsched_fifo_order(void *policy, int *order);

/* The one parameter that all policies of this kind have. */
extern const VschedParameter vsched_fifo_parameters[];

/* All operations but spin, for the table of a policy. */
#define VSCHED_FIFO_OPERATIONS                        \
    .parameters = vsched_fifo_parameters,             \
    .create = vsched_fifo_create,                     \
    .destroy = vsched_fifo_destroy,                   \
    .set = vsched_fifo_set,                           \
    .place = vsched_fifo_place,                       \
    .enqueue = vsched_fifo_enqueue,                   \
    .dequeue = vsched_fifo_dequeue,                   \
    .pick = vsched_fifo_pick,                         \
    .waiting = vsched_fifo_waiting,                   \
    .order = vsched_fifo_order

#endif /* VSCHED_FIFO_H */
