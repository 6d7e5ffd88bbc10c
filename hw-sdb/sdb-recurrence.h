/*
 * SDB detector by recurrence: a period that touches nothing new
 *
 * Beyond the paper.  The idle loop of a kernel of today writes counters on
 * every turn, so the paper's rule, which looks at values, never finds it; but
 * the addresses are the same for ever.  For each period two signatures are
 * kept, of the addresses stored to and of those loaded from: SDB_MARKS marks
 * each, of which an address sets the one of its hash, sdb_mark().  A period
 * repeats if both signatures add nothing to those of the period before, which
 * had at most recurrence_entries marks each, and the mode did not change; a
 * spin is recurrence_repeats repeating periods in a row.  Privileged periods
 * only: a computation in a small working set recurs as well, and user
 * programs are full of those.
 *
 * A new address hides behind an old one's mark with a probability of at most
 * recurrence_entries / SDB_MARKS, each; productive code brings many.
 *
 * Cost: an address is one byte stored, which whoever executes guest code can
 * do by itself; all else happens at the end of a period.  After a period that
 * did not repeat the next recurrence_rest are not watched at all.  That delays
 * a detection by as many periods, and changes no decision about a period that
 * is watched.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_SDB_RECURRENCE_H
#define HW_SDB_RECURRENCE_H

#include "sdb-core.h"

/* A byte, 0 or 1, for each mark; words are compared. */
typedef union SDBSignature {
    uint8_t mark[SDB_KINDS][SDB_MARKS];
    uint64_t word[SDB_KINDS][SDB_MARKS / 8];
} SDBSignature;

typedef struct SDBRecurrence {
    unsigned watch_mask;                /* SDB_WATCH_MARKS or 0 */
    unsigned now;                       /* index of this period's signature */
    SDBReason watch;                    /* how this period is watched */
    bool comparable;                    /* the one before may be repeated */
    uint32_t entries;
    uint32_t repeats, repeats_needed;   /* in a row, before this period */
    uint32_t rest, rest_length;         /* periods still to rest; of a rest */
    SDBSignature signature[2];
} SDBRecurrence;

static inline void sdb_recurrence_touch(SDBRecurrence *d, unsigned kind,
                                        uint64_t address)
{
    d->signature[d->now].mark[kind][sdb_mark(address)] = 1;
}

/* Once a period, or less often. */
void sdb_recurrence_init(SDBRecurrence *d, const SDBConfig *config);
void sdb_recurrence_flush(SDBRecurrence *d);
void sdb_recurrence_begin(SDBRecurrence *d, bool user);
SDBReason sdb_recurrence_end(SDBRecurrence *d, bool changed);
void sdb_recurrence_sample_early(SDBRecurrence *d);
SDBReason sdb_recurrence_pass(SDBRecurrence *d, uint32_t n);
void sdb_recurrence_save(const SDBRecurrence *d, SDBSnapshot *snapshot);
bool sdb_recurrence_restore(SDBRecurrence *d, const SDBSnapshot *snapshot,
                            char **why);

#endif /* HW_SDB_RECURRENCE_H */
