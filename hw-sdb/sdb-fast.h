/*
 * Spin detection buffer: the fast path, for whoever executes guest code
 *
 * The same as sdb_store() and sdb_load() of sdb-core.h, but in line: some
 * dozen times in each period of a VCPU that makes progress.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_SDB_FAST_H
#define HW_SDB_FAST_H

#include "sdb-core.h"
#include "sdb-paper.h"
#include "sdb-recurrence.h"

struct SDB {
    unsigned watch_mask;                /* of all detectors: SDB_WATCH_* */
    bool user;                          /* mode in which the period began */
    bool user_now;
    bool changed;                       /* mode, inside this period */
    uint64_t number;                    /* periods before this one */
    SDBConfig config;
    SDBCounters counters;
    SDBPaper paper;
    SDBRecurrence recurrence;
    uint8_t unused_marks[SDB_KINDS][SDB_MARKS];
};

/* In line: sdb_watch_mask(), sdb_marks(), sdb_worth_sampling() of sdb-core.h */

static inline unsigned sdb_fast_watch_mask(const SDB *sdb)
{
    return sdb->watch_mask;
}

static inline uint8_t (*sdb_fast_marks(SDB *sdb))[SDB_MARKS]
{
    SDBRecurrence *d = &sdb->recurrence;

    return d->watch_mask ? d->signature[d->now].mark : sdb->unused_marks;
}

static inline bool sdb_fast_worth_sampling(const SDB *sdb)
{
    return sdb->watch_mask == SDB_WATCH_MARKS &&
           sdb->recurrence.watch == SDB_REFERENCE;
}

static inline unsigned sdb_update_watch_mask(SDB *sdb)
{
    sdb->watch_mask = sdb->paper.watch_mask | sdb->recurrence.watch_mask;
    return sdb->watch_mask;
}

static inline unsigned sdb_fast_store(SDB *sdb, uint64_t address,
                                      unsigned size, uint64_t value_low,
                                      uint64_t value_high)
{
    if (sdb->paper.watch_mask & SDB_WATCH_STORES) {
        if (size <= 8) {
            value_low &= UINT64_MAX >> (64 - 8 * size);
            value_high = 0;
        }
        sdb_paper_store(&sdb->paper, address, value_low, value_high);
    }
    if (sdb->recurrence.watch_mask) {
        sdb_recurrence_touch(&sdb->recurrence, SDB_KIND_STORES, address);
    }
    return sdb_update_watch_mask(sdb);
}

static inline unsigned sdb_fast_load(SDB *sdb, uint64_t address, unsigned size)
{
    if (sdb->paper.watch_mask & SDB_WATCH_LOADS) {
        sdb_paper_load(&sdb->paper, address);
    }
    if (sdb->recurrence.watch_mask) {
        sdb_recurrence_touch(&sdb->recurrence, SDB_KIND_LOADS, address);
    }
    return sdb_update_watch_mask(sdb);
}

#endif /* HW_SDB_FAST_H */
