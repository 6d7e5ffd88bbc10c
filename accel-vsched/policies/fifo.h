/*
 * Static map with one FIFO a PCPU: the base of the paper's policies.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSCHED_FIFO_H
#define VSCHED_FIFO_H

#include "queues.h"

typedef struct VschedFifo {
    const VschedTopology *topology;
    int64_t timeslice;          /* cycles */
    int *home;                  /* of each VCPU: the PCPU that it belongs to */
    VschedQueues queues;        /* of each PCPU */
} VschedFifo;

/* The PCPU that @vcpu belongs to, as things are now. */
int vsched_fifo_home(const VschedTopology *topology, int vcpu);

void *vsched_fifo_create(const VschedServices *services,
                         const int64_t *values, char **why);
void vsched_fifo_destroy(void *policy);
bool vsched_fifo_set(void *policy, const int64_t *values, char **why);
int vsched_fifo_place(void *policy, int vcpu);
void vsched_fifo_enqueue(void *policy, int vcpu, VschedWhy why, int64_t since,
                         int64_t now);
void vsched_fifo_dequeue(void *policy, int vcpu, int64_t now);
VschedPick vsched_fifo_pick(void *policy, int pcpu, int64_t now);
bool vsched_fifo_waiting(void *policy, int pcpu, int64_t now);
VschedPick vsched_fifo_take_over(void *policy, int pcpu, int vcpu,
                                 int64_t used, int64_t now);
void vsched_fifo_changed(void *policy, int64_t now);
void vsched_fifo_save(void *policy, GArray *words);
bool vsched_fifo_load(void *policy, const int64_t *words, int n);
int64_t vsched_fifo_longest_wait(void *policy, int64_t switch_cost,
                                 int64_t window);

/* The one parameter that all policies of this kind have. */
extern const VschedParameter vsched_fifo_parameters[];

#endif /* VSCHED_FIFO_H */
