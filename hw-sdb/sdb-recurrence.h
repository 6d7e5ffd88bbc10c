/*
 * SDB detector by recurrence: a period that touches nothing new
 *
 * Beyond the paper.  The idle loop of a kernel of today writes counters on
 * every turn, so the paper's rule, which looks at values, never finds it; but
 * the addresses are the same for ever.  For each period two sets are kept, of
 * the addresses stored to and of those loaded from, at most
 * recurrence_entries each; a period repeats if both sets add nothing to those
 * of the period before and the mode did not change; a spin is
 * recurrence_repeats repeating periods in a row.  Privileged periods only: a
 * computation in a small working set recurs as well, and user programs are
 * full of those.
 *
 * Cost: with recurrence_rest = 0 every period must be kept whole, as the one
 * after it may repeat it.  Otherwise the first new address, or one address too
 * many, ends the watch, and the next recurrence_rest periods are not looked at
 * at all.  That delays a detection by as many periods, and changes no decision
 * about a period that is watched.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_SDB_RECURRENCE_H
#define HW_SDB_RECURRENCE_H

#include "sdb-core.h"

/*
 * A set of addresses: open addressing with linear probing, at most half full.
 * A slot is taken if it bears the generation of its set, so that emptying a
 * set is one addition.
 */
typedef struct SDBSlot {
    uint64_t address;
    uint64_t generation;
} SDBSlot;

typedef struct SDBSet {
    SDBSlot *slot;
    uint64_t generation;
    uint32_t n;
} SDBSet;

typedef struct SDBRecurrence {
    unsigned look;                      /* SDB_LOOK_*, of this detector */
    unsigned now;                       /* index of this period's sets */
    unsigned shift;                     /* of the hash: 64 - log2(slots) */
    SDBReason watch;                    /* verdict, were this period to end */
    bool whole;                         /* the sets hold all of this period */
    uint32_t entries;
    uint32_t repeats, repeats_needed;   /* in a row, before this period */
    uint32_t rest, rest_length;         /* periods still to rest; of a rest */
    uint32_t rest_before;               /* before this period began */
    bool comparable;                    /* the one before was whole */
    SDBSet set[2][2];                   /* [SDB_KIND_*][now or before] */
} SDBRecurrence;

enum { SDB_KIND_STORES, SDB_KIND_LOADS };

/* True if @address was not in the set yet. */
static inline bool sdb_set_find(const SDBSet *set, unsigned shift,
                                uint64_t address, SDBSlot **slot)
{
    uint32_t mask = (UINT64_C(1) << (64 - shift)) - 1;
    /* Fibonacci hashing: 2^64 divided by the golden ratio */
    uint32_t i = (address * UINT64_C(0x9e3779b97f4a7c15)) >> shift;

    while (set->slot[i].generation == set->generation) {
        if (set->slot[i].address == address) {
            return true;
        }
        i = (i + 1) & mask;
    }
    *slot = &set->slot[i];
    return false;
}

/* Rare: a new address where only old ones were expected, or no more room. */
void sdb_recurrence_new_address(SDBRecurrence *d);
void sdb_recurrence_too_many(SDBRecurrence *d);

/* The fast path: one search for an address seen in this period already. */
static inline void sdb_recurrence_touch(SDBRecurrence *d, unsigned kind,
                                        uint64_t address)
{
    SDBSet *now = &d->set[kind][d->now], *before = &d->set[kind][!d->now];
    SDBSlot *slot, *unused;

    if (sdb_set_find(now, d->shift, address, &slot)) {
        return;
    }
    if (d->watch == SDB_FEW_REPEATS &&
        !sdb_set_find(before, d->shift, address, &unused)) {
        sdb_recurrence_new_address(d);
        if (!d->look) {
            return;
        }
    }
    if (now->n == d->entries) {
        sdb_recurrence_too_many(d);
        return;
    }
    slot->address = address;
    slot->generation = now->generation;
    now->n++;
}

static inline void sdb_recurrence_store(SDBRecurrence *d, uint64_t address)
{
    sdb_recurrence_touch(d, SDB_KIND_STORES, address);
}

static inline void sdb_recurrence_load(SDBRecurrence *d, uint64_t address)
{
    sdb_recurrence_touch(d, SDB_KIND_LOADS, address);
}

/* Once a period, or less often. */
void sdb_recurrence_init(SDBRecurrence *d, const SDBConfig *config);
void sdb_recurrence_exit(SDBRecurrence *d);
void sdb_recurrence_flush(SDBRecurrence *d);
void sdb_recurrence_begin(SDBRecurrence *d, bool user);
void sdb_recurrence_unbegin(SDBRecurrence *d);
SDBReason sdb_recurrence_end(SDBRecurrence *d, bool user, bool changed);
void sdb_recurrence_save(const SDBRecurrence *d, SDBSnapshot *snapshot);
bool sdb_recurrence_restore(SDBRecurrence *d, const SDBSnapshot *snapshot,
                            char **why);

#endif /* HW_SDB_RECURRENCE_H */
