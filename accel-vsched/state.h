/*
 * The state of a core as data: what a saved state holds of it, and how that
 * becomes the state of a machine with other PCPUs or another window.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSCHED_STATE_H
#define VSCHED_STATE_H

#include "core.h"

/* All that a core is, but for its policy and its parameters. */
typedef struct VschedCoreState {
    int vcpus, pcpus, vms;
    int64_t window;             /* cycles */
    int64_t window_end;         /* cycles */
    uint64_t windows;
    uint64_t turns;
    uint32_t rotation;
    uint32_t seed;
    uint64_t online;
    int *vm;                    /* of each VCPU */
    VschedShare *share;         /* of each VM */
    VschedVCPU *vcpu;
    VschedPCPU *pcpu;
} VschedCoreState;

/* A copy of @core's, between windows. */
VschedCoreState *vsched_state_new(const VschedCore *core);
void vsched_state_free(VschedCoreState *state);

/*
 * Whether a core can have been in @state at all: for a state that comes from
 * outside, before anything else is done with it.  What a VCPU or PCPU refers to
 * exists, and no time is one that nothing can lead to.
 */
bool vsched_state_possible(const VschedCoreState *state, char **why);

/*
 * Make it the state of a machine with @pcpus PCPUs and windows of @window
 * cycles.  Nothing changes if it is one already.  Otherwise:
 *
 * - All clocks continue from the latest of them, at the next boundary of the
 *   new windows; the difference counts as idle (a VCPU that runs waits).
 * - A VCPU that ran on a PCPU that is missing becomes ready; it is evicted.
 * - PCPUs that are new have been idle, or rather are as if they had been.
 * - An affinity mask of all PCPUs is one of all PCPUs again.  Other masks stay
 *   what they are, and may name PCPUs that are missing: vsched_state_load()
 *   refuses them then.
 * - PCPUs that are new are on.
 */
void vsched_state_convert(VschedCoreState *state, int pcpus, int64_t window);

/*
 * @core, which has so many VCPUs and PCPUs, goes on from @state under policy
 * @ops.  @values, @words, @n, @same: see vsched_core_load_policy().  VCPUs that
 * run where they may not, which happens if masks or PCPUs were changed in
 * @state, are evicted.  False if @state is not one of such a machine, or one
 * that cannot be: then @core goes on as before, and *@why says why.
 */
bool vsched_state_load(VschedCore *core, const VschedCoreState *state,
                       const VschedPolicyOps *ops, const int64_t *values,
                       const int64_t *words, int n, bool same, char **why);

#endif /* VSCHED_STATE_H */
