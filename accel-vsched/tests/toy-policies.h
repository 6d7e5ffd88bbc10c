/*
 * Policies that do what those of the list do not: for unit tests alone.
 *
 * All have one queue for all PCPUs, first come first served among those that
 * may run, and timeslices of values[0].
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TOY_POLICIES_H
#define TOY_POLICIES_H

#include "../policy.h"

/* A VCPU runs wherever there is room: it migrates at nearly every pick. */
extern const VschedPolicyOps toy_shared;
/* The same; timeslices are exact. */
extern const VschedPolicyOps toy_exact;
/* The same; timeslices end in the middle of a block. */
extern const VschedPolicyOps toy_precise;
/*
 * A VCPU may run for one timeslice in every four; then it is held back until a
 * tick.
 */
extern const VschedPolicyOps toy_capped;
/* One that was woken is held back for a timeslice, and no tick is asked for. */
extern const VschedPolicyOps toy_silent;
/* One that is woken preempts a PCPU; every hint ends a timeslice. */
extern const VschedPolicyOps toy_rude;
/* Refuses more VCPUs than PCPUs, and timeslices that are odd. */
extern const VschedPolicyOps toy_picky;

/* What toy_wrong does, values[1] */
typedef enum Wrong {
    WRONG_NUMBER,               /* picks a VCPU that does not exist */
    WRONG_STATE,                /* one that does not wait */
    WRONG_PCPU,                 /* one that must not run there */
    WRONG_TIMESLICE,            /* none is 0 cycles long */
} Wrong;

/* Its pick for PCPU 1 is one that is forbidden: VCPU values[2]. */
extern const VschedPolicyOps toy_wrong;

extern const VschedPolicyOps *const toy_policies[];     /* NULL at the end */

#endif /* TOY_POLICIES_H */
