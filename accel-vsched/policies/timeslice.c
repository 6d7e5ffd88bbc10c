/*
 * Policy "timeslice": the paper's baseline.
 *
 * Every PCPU preempts the running VCPU after its timeslice and runs the next
 * of its own; nothing else ends a timeslice but a VCPU that blocks (Wells et
 * al., PACT 2006, section 2.2.3).  Hears no detector.
 *
 * Longest wait of a ready VCPU, with V VCPUs on P PCPUs, slices of S cycles
 * and a switch cost of C: (ceil(V / P) - 1) * S + ceil(V / P) * C cycles, and
 * one window.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "fifo.h"

const VschedPolicyOps vsched_policy_timeslice = {
    .name = "timeslice",
    .description = "static map, fixed timeslices; hears no detector",
    VSCHED_FIFO_OPERATIONS,
};
