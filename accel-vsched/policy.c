/*
 * The list of scheduling policies.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "policy.h"

const VschedPolicyOps *const vsched_policies[] = {
    &vsched_policy_balance,
    &vsched_policy_cosched,
    &vsched_policy_credit,
    &vsched_policy_explore,
    &vsched_policy_gang,
    &vsched_policy_heat,
    &vsched_policy_microslice,
    &vsched_policy_partition,
    &vsched_policy_safepoint,
    &vsched_policy_sdb,
    &vsched_policy_sedf,
    &vsched_policy_spread,
    &vsched_policy_timeslice,
    &vsched_policy_urgent,
    &vsched_policy_yieldto,
    NULL
};

const char *const vsched_idle_choices[] = {
    [VSCHED_IDLE_AUTO] = "auto",
    [VSCHED_IDLE_HALT] = "halt",
    [VSCHED_IDLE_LOOP] = "loop",
    [VSCHED_IDLE_SDB] = "sdb",
    [VSCHED_IDLE_NONE] = "none",
    NULL
};

const VschedPolicyOps *vsched_policy_find(const char *name)
{
    for (int i = 0; vsched_policies[i]; i++) {
        if (!strcmp(vsched_policies[i]->name, name)) {
            return vsched_policies[i];
        }
    }
    return NULL;
}
