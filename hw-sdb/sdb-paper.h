/*
 * SDB detector of the paper: two small arrays of unique stores and loads
 *
 * Wells, Chakraborty, Sohi, PACT 2006, section 3.3: a store is unique if its
 * address or its value differs from those held, a load if its address does;
 * loads are watched in user mode only.  Once either array is full nothing
 * more is looked up.  Fewer entries than the threshold at the end of a period
 * (in user mode: in both arrays) are a spin.
 *
 * An array is full for us as soon as it holds its threshold: what comes after
 * could not change the decision.
 *
 * Beyond the paper, and never when this detector judges alone: after a period
 * of progress it does not watch for paper_rest periods, so that a VCPU that
 * makes progress pays for one period in paper_rest + 1.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_SDB_PAPER_H
#define HW_SDB_PAPER_H

#include "sdb-core.h"

typedef struct SDBPaper {
    unsigned watch_mask;                /* SDB_WATCH_*, of this detector */
    uint32_t n_stores, n_loads;
    uint32_t store_threshold, load_threshold;
    uint32_t rest, rest_length;         /* periods still to rest; of a rest */
    struct {
        uint64_t address, low, high;
    } store[SDB_ENTRIES_MAX];
    uint64_t load[SDB_ENTRIES_MAX];
} SDBPaper;

/* The fast path: about ten calls in a period of productive code. */

static inline void sdb_paper_store(SDBPaper *d, uint64_t address,
                                   uint64_t low, uint64_t high)
{
    uint32_t n = d->n_stores;

    for (uint32_t i = 0; i < n; i++) {
        if (d->store[i].address == address && d->store[i].low == low &&
            d->store[i].high == high) {
            return;
        }
    }
    d->store[n].address = address;
    d->store[n].low = low;
    d->store[n].high = high;
    d->n_stores = n + 1;
    if (n + 1 == d->store_threshold) {
        d->watch_mask = 0;
    }
}

static inline void sdb_paper_load(SDBPaper *d, uint64_t address)
{
    uint32_t n = d->n_loads;

    for (uint32_t i = 0; i < n; i++) {
        if (d->load[i] == address) {
            return;
        }
    }
    d->load[n] = address;
    d->n_loads = n + 1;
    if (n + 1 == d->load_threshold) {
        d->watch_mask = 0;
    }
}

/* Once a period, or less often. */
void sdb_paper_init(SDBPaper *d, const SDBConfig *config);
void sdb_paper_flush(SDBPaper *d);
void sdb_paper_begin(SDBPaper *d, bool user);
SDBReason sdb_paper_end(SDBPaper *d, bool changed);
void sdb_paper_save(const SDBPaper *d, SDBSnapshot *snapshot);
bool sdb_paper_restore(SDBPaper *d, const SDBSnapshot *snapshot, char **why);

#endif /* HW_SDB_PAPER_H */
