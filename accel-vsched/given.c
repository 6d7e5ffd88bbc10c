/*
 * Options that were given on the command line, by name.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "given.h"

static GHashTable *given[VSCHED_GIVERS];

const char *vsched_given(VschedGiver giver, const char *name)
{
    return given[giver] ? g_hash_table_lookup(given[giver], name) : NULL;
}

GHashTable *vsched_all_given(VschedGiver giver)
{
    if (!given[giver]) {
        given[giver] = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                             g_free);
    }
    return given[giver];
}

void vsched_give(VschedGiver giver, const char *name, const char *value)
{
    g_hash_table_replace(vsched_all_given(giver), g_strdup(name),
                         g_strdup(value));
}

void vsched_given_forget(const char *name)
{
    g_hash_table_remove(vsched_all_given(VSCHED_BY_USER), name);
}
