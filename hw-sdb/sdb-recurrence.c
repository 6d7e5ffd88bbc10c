/*
 * SDB detector by recurrence: what is not the fast path; see sdb-recurrence.h
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "sdb-recurrence.h"

static void sdb_set_empty(SDBSet *set)
{
    set->generation++;
    set->n = 0;
}

void sdb_recurrence_init(SDBRecurrence *d, const SDBConfig *config)
{
    unsigned bits = 1;

    d->entries = config->recurrence_entries;
    d->repeats_needed = config->recurrence_repeats;
    d->rest_length = config->recurrence_rest;
    while ((1u << bits) < 2 * d->entries) {
        bits++;
    }
    d->shift = 64 - bits;
    for (unsigned kind = 0; kind < 2; kind++) {
        for (unsigned i = 0; i < 2; i++) {
            d->set[kind][i].slot = g_new0(SDBSlot, 1u << bits);
            d->set[kind][i].generation = 0;
        }
    }
    sdb_recurrence_flush(d);
}

void sdb_recurrence_exit(SDBRecurrence *d)
{
    for (unsigned kind = 0; kind < 2; kind++) {
        for (unsigned i = 0; i < 2; i++) {
            g_free(d->set[kind][i].slot);
        }
    }
}

void sdb_recurrence_flush(SDBRecurrence *d)
{
    d->look = 0;
    d->watch = SDB_NOT_JUDGED;
    d->whole = false;
    d->repeats = 0;
    d->rest = 0;
}

void sdb_recurrence_begin(SDBRecurrence *d, bool user)
{
    d->comparable = d->whole;
    d->rest_before = d->rest;
    d->now = !d->now;
    sdb_set_empty(&d->set[SDB_KIND_STORES][d->now]);
    sdb_set_empty(&d->set[SDB_KIND_LOADS][d->now]);
    d->whole = false;
    d->look = 0;
    if (d->rest) {
        d->rest--;
        d->watch = user ? SDB_NOT_JUDGED : SDB_RESTING;
    } else if (user) {
        d->watch = SDB_NOT_JUDGED;
    } else {
        d->watch = d->comparable ? SDB_FEW_REPEATS : SDB_REFERENCE;
        d->whole = true;
        d->look = SDB_LOOK_STORES | SDB_LOOK_LOADS;
    }
}

/* As if the period, in which nothing happened yet, had not begun */
void sdb_recurrence_unbegin(SDBRecurrence *d)
{
    d->now = !d->now;
    d->whole = d->comparable;
    d->rest = d->rest_before;
}

/* The period goes on only as the one that the next may be compared with. */
void sdb_recurrence_new_address(SDBRecurrence *d)
{
    d->watch = SDB_NEW_ADDRESS;
    if (d->rest_length) {
        d->whole = false;
        d->look = 0;
    }
}

void sdb_recurrence_too_many(SDBRecurrence *d)
{
    if (d->watch == SDB_REFERENCE) {
        d->watch = SDB_TOO_MANY;
    }
    d->whole = false;
    d->look = 0;
}

SDBReason sdb_recurrence_end(SDBRecurrence *d, bool user, bool changed)
{
    bool watched = d->watch != SDB_NOT_JUDGED && d->watch != SDB_RESTING;

    if (watched && changed) {
        d->watch = SDB_MODE_CHANGE;
        d->whole = false;
    }
    if (d->watch == SDB_FEW_REPEATS) {
        if (d->repeats < d->repeats_needed) {
            d->repeats++;
        }
        return d->repeats == d->repeats_needed ? SDB_SPIN : SDB_FEW_REPEATS;
    }
    d->repeats = 0;
    if (watched && d->watch != SDB_REFERENCE) {
        d->rest = d->rest_length;
    }
    return d->watch;
}

void sdb_recurrence_save(const SDBRecurrence *d, SDBSnapshot *snapshot)
{
    snapshot->watch = d->watch;
    snapshot->whole = d->whole;
    snapshot->comparable = d->comparable;
    snapshot->rest = d->rest;
    snapshot->rest_before = d->rest_before;
    snapshot->repeats = d->repeats;
    for (unsigned kind = 0; kind < 2; kind++) {
        for (unsigned age = 0; age < 2; age++) {
            const SDBSet *set = &d->set[kind][age ? !d->now : d->now];
            bool needed = age ? d->comparable : d->whole;
            uint32_t n = 0;

            for (uint32_t i = 0; needed && i < 1u << (64 - d->shift); i++) {
                if (set->slot[i].generation == set->generation) {
                    snapshot->set[kind][age][n++] = set->slot[i].address;
                }
            }
            snapshot->n_set[kind][age] = n;
        }
    }
}

static bool sdb_set_restore(SDBRecurrence *d, SDBSet *set,
                            const uint64_t *address, uint32_t n)
{
    sdb_set_empty(set);
    if (n > d->entries) {
        return false;
    }
    for (; set->n < n; set->n++) {
        SDBSlot *slot;

        if (sdb_set_find(set, d->shift, address[set->n], &slot)) {
            return false;
        }
        slot->address = address[set->n];
        slot->generation = set->generation;
    }
    return true;
}

/* Which watch there can be, given the mode and what else is known. */
static bool sdb_recurrence_possible(const SDBRecurrence *d,
                                    const SDBSnapshot *snapshot)
{
    bool watched = snapshot->watch != SDB_NOT_JUDGED &&
                   snapshot->watch != SDB_RESTING;

    switch (snapshot->watch) {
    case SDB_NOT_JUDGED:
        if (!snapshot->user || snapshot->whole) {
            return false;
        }
        break;
    case SDB_RESTING:
    case SDB_TOO_MANY:
        if (snapshot->user || snapshot->whole) {
            return false;
        }
        break;
    case SDB_REFERENCE:
    case SDB_FEW_REPEATS:
        if (snapshot->user || !snapshot->whole ||
            snapshot->comparable != (snapshot->watch == SDB_FEW_REPEATS)) {
            return false;
        }
        break;
    case SDB_NEW_ADDRESS:
        if (snapshot->user || !snapshot->comparable ||
            (snapshot->whole && d->rest_length)) {
            return false;
        }
        break;
    default:
        return false;
    }
    return snapshot->repeats <= d->repeats_needed &&
           snapshot->rest_before <= d->rest_length &&
           snapshot->rest == snapshot->rest_before - !!snapshot->rest_before &&
           !(watched && snapshot->rest_before);
}

/* Into a detector that has just begun a period of the right mode. */
bool sdb_recurrence_restore(SDBRecurrence *d, const SDBSnapshot *snapshot,
                            char **why)
{
    if (!sdb_recurrence_possible(d, snapshot)) {
        *why = g_strdup("the state of the recurrence detector contradicts"
                        " itself");
        return false;
    }
    for (unsigned kind = 0; kind < 2; kind++) {
        for (unsigned age = 0; age < 2; age++) {
            if (!sdb_set_restore(d, &d->set[kind][age ? !d->now : d->now],
                                 snapshot->set[kind][age],
                                 snapshot->n_set[kind][age])) {
                *why = g_strdup_printf("a recurrence set holds more than %u"
                                       " addresses, or one of them twice",
                                       d->entries);
                return false;
            }
        }
    }
    d->watch = snapshot->watch;
    d->whole = snapshot->whole;
    d->comparable = snapshot->comparable;
    d->rest = snapshot->rest;
    d->rest_before = snapshot->rest_before;
    d->repeats = snapshot->repeats;
    d->look = d->whole ? SDB_LOOK_STORES | SDB_LOOK_LOADS : 0;
    return true;
}
