/*
 * Scheduling policy: who runs next on a PCPU, for how long, and where.
 *
 * A policy is a table of operations over its own state, in plain C over GLib.
 * It sees numbers of VCPUs, VMs and PCPUs and times in cycles; it never sees
 * CPUState, TCG or a guest.  The engine (core.h) owns clocks, switching, run
 * states and their accounting, and calls the operations; all calls come from
 * one thread.
 *
 * Which of the engine's hints a policy obeys is its own decision: a policy
 * that leaves an operation NULL does not listen.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSCHED_POLICY_H
#define VSCHED_POLICY_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

#define VSCHED_NONE (-1)

/* What a policy may know of the machine; constant while the policy lives. */
typedef struct VschedTopology {
    int vcpus;                  /* VCPUs are 0 .. vcpus - 1 */
    int pcpus;                  /* PCPUs are 0 .. pcpus - 1 */
} VschedTopology;

typedef struct VschedPick {
    int vcpu;                   /* VSCHED_NONE: idle */
    int64_t timeslice;          /* cycles, at least 1 */
} VschedPick;

typedef enum VschedParameterUnit {
    VSCHED_NUMBER,
    VSCHED_TIME,                /* nanoseconds of simulated time */
} VschedParameterUnit;

typedef struct VschedParameter {
    const char *name;
    const char *description;    /* one line, without unit and range */
    VschedParameterUnit unit;
    uint64_t minimum, maximum, standard;
} VschedParameter;

typedef struct VschedPolicyOps {
    const char *name;
    const char *description;            /* one line */
    const VschedParameter *parameters;  /* ends with a NULL name */

    /* @values in the order of @parameters, times in cycles.  Never fails. */
    void *(*create)(const VschedTopology *topology, const int64_t *values);
    void (*destroy)(void *policy);
    /* Parameter values changed while running. */
    void (*set)(void *policy, const int64_t *values);

    /* Where @vcpu starts, before it is first enqueued. */
    int (*place)(void *policy, int vcpu);

    /*
     * @vcpu became ready (it was woken, or lost its PCPU): it waits from now
     * on, on which PCPU is the policy's to know.  @now in cycles.
     */
    void (*enqueue)(void *policy, int vcpu, int64_t now);

    /* @vcpu no longer waits: it was removed, or all are handed over. */
    void (*dequeue)(void *policy, int vcpu);

    /* Next for @pcpu; a VCPU that is picked no longer waits. */
    VschedPick (*pick)(void *policy, int pcpu, int64_t now);

    /* Whether anyone waits for @pcpu. */
    bool (*waiting)(void *policy, int pcpu);

    /* @vcpu, running on @pcpu, spins; true: it gives up its timeslice. */
    bool (*spin)(void *policy, int pcpu, int vcpu, int64_t now);

    /*
     * The VCPUs that wait, in the order in which enqueueing them one by one
     * gives the same state again.  @order has room for all VCPUs.
     */
    int (*order)(void *policy, int *order);
} VschedPolicyOps;

/* All policies, NULL at the end. */
extern const VschedPolicyOps *const vsched_policies[];

const VschedPolicyOps *vsched_policy_find(const char *name);

extern const VschedPolicyOps vsched_policy_timeslice;
extern const VschedPolicyOps vsched_policy_sdb;

#endif /* VSCHED_POLICY_H */
