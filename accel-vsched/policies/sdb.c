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

static bool spin(void *policy, int pcpu, int vcpu, int64_t now)
{
    return vsched_fifo_waiting(policy, pcpu);
}

const VschedPolicyOps vsched_policy_sdb = {
    .name = "sdb",
    .description = "static map; a spin ends the timeslice",
    VSCHED_FIFO_OPERATIONS,
    .spin = spin,
};
