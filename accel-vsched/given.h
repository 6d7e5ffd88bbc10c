/*
 * Options that were given on the command line, by name: kept as strings until
 * the objects exist whose properties they are.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSCHED_GIVEN_H
#define VSCHED_GIVEN_H

#include <glib.h>

typedef enum VschedGiver {
    VSCHED_BY_ANYBODY,          /* all of them */
    VSCHED_TO_MACHINE,          /* those of -M */
    VSCHED_BY_MACHINE,          /* what the machine passes on, and adds */
    /*
     * Those of the user that he did not change live since: a saved state does
     * not override them.
     */
    VSCHED_BY_USER,
    VSCHED_GIVERS
} VschedGiver;

/* NULL: it was not given */
const char *vsched_given(VschedGiver giver, const char *name);
GHashTable *vsched_all_given(VschedGiver giver);
void vsched_give(VschedGiver giver, const char *name, const char *value);
/* It was changed while the machine runs. */
void vsched_given_forget(const char *name);

#endif /* VSCHED_GIVEN_H */
