/*
 * Policy "sdb": timeslices that a spin ends.
 *
 * As "timeslice", and a VCPU that its PCPU's spin detection buffer finds
 * spinning gives up the rest of its timeslice to the next VCPU that waits
 * there: "detect when a VCPU is excessively spinning and preempt that VCPU in
 * order to run a more productive VCPU" (Wells et al., PACT 2006, sections 3
 * and 5.2).  A VCPU that is alone on its PCPU runs on: nobody would gain.
 *
 * The longest wait is that of "timeslice".
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "fifo.h"

static bool sdb_hint(void *policy, const VschedHint *hint)
{
    return vsched_fifo_waiting(policy, hint->pcpu, hint->now);
}

const VschedPolicyOps vsched_policy_sdb = {
    .name = "sdb",
    .description = "static map; a spin ends the timeslice",
    .parameters = vsched_fifo_parameters,
    .hints = VSCHED_LISTEN(VSCHED_HINT_SPIN),
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
    .hint = sdb_hint,
    .save = vsched_fifo_save,
    .load = vsched_fifo_load,
    .longest_wait = vsched_fifo_longest_wait,
};
