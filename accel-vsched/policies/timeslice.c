/*
 * Policy "timeslice": the paper's baseline.
 *
 * Every PCPU preempts the running VCPU after its timeslice and runs the next
 * of its own; nothing else ends a timeslice but a VCPU that blocks (Wells et
 * al., PACT 2006, section 2.2.3).  It listens to no detector.
 *
 * Longest wait of a ready VCPU, with V VCPUs on P PCPUs, timeslices of S
 * cycles and a switch cost of C: (ceil(V / P) - 1) * S + ceil(V / P) * C
 * cycles, and one window.  With affinity masks or PCPUs that are off, the most
 * VCPUs that belong to one PCPU stand for ceil(V / P).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "fifo.h"

const VschedPolicyOps vsched_policy_timeslice = {
    .name = "timeslice",
    .description = "static map, fixed timeslices; listens to no detector",
    .parameters = vsched_fifo_parameters,
    .create = vsched_fifo_create,
    .destroy = vsched_fifo_destroy,
    .set = vsched_fifo_set,
    .place = vsched_fifo_place,
    .enqueue = vsched_fifo_enqueue,
    .dequeue = vsched_fifo_dequeue,
    .pick = vsched_fifo_pick,
    .waiting = vsched_fifo_waiting,
    .take_over = vsched_fifo_take_over,
    .changed = vsched_fifo_changed,
    .save = vsched_fifo_save,
    .load = vsched_fifo_load,
    .longest_wait = vsched_fifo_longest_wait,
};
