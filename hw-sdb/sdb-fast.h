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
    unsigned look;                      /* what the detectors still look at */
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

/* sdb_look(), sdb_marks() and sdb_worth_a_peek() of sdb-core.h, in line */

static inline unsigned sdb_fast_look(const SDB *sdb)
{
    return sdb->look;
}

static inline uint8_t (*sdb_fast_marks(SDB *sdb))[SDB_MARKS]
{
    SDBRecurrence *d = &sdb->recurrence;

    return d->look ? d->signature[d->now].mark : sdb->unused_marks;
}

static inline bool sdb_fast_worth_a_peek(const SDB *sdb)
{
    return sdb->look == SDB_LOOK_MARKS &&
           sdb->recurrence.watch == SDB_REFERENCE;
}

static inline unsigned sdb_update_look(SDB *sdb)
{
    sdb->look = sdb->paper.look | sdb->recurrence.look;
    return sdb->look;
}

static inline unsigned sdb_fast_store(SDB *sdb, uint64_t address,
                                      unsigned size, uint64_t value_low,
                                      uint64_t value_high)
{
    if (sdb->paper.look & SDB_LOOK_STORES) {
        if (size <= 8) {
            value_low &= UINT64_MAX >> (64 - 8 * size);
            value_high = 0;
        }
        sdb_paper_store(&sdb->paper, address, value_low, value_high);
    }
    if (sdb->recurrence.look) {
        sdb_recurrence_touch(&sdb->recurrence, SDB_KIND_STORES, address);
    }
    return sdb_update_look(sdb);
}

static inline unsigned sdb_fast_load(SDB *sdb, uint64_t address, unsigned size)
{
    if (sdb->paper.look & SDB_LOOK_LOADS) {
        sdb_paper_load(&sdb->paper, address);
    }
    if (sdb->recurrence.look) {
        sdb_recurrence_touch(&sdb->recurrence, SDB_KIND_LOADS, address);
    }
    return sdb_update_look(sdb);
}

#endif /* HW_SDB_FAST_H */
