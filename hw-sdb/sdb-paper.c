/*
 * SDB detector of the paper: what happens once a period; see sdb-paper.h
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "sdb-paper.h"

void sdb_paper_init(SDBPaper *d, const SDBConfig *config)
{
    d->store_threshold = config->store_threshold;
    d->load_threshold = config->load_threshold;
    d->rest_length = config->detector == SDB_CHOICE_PAPER ? 0 :
                     config->paper_rest;
    sdb_paper_flush(d);
}

void sdb_paper_flush(SDBPaper *d)
{
    d->watch_mask = 0;
    d->rest = 0;
    d->n_stores = 0;
    d->n_loads = 0;
}

/* May be called again, in another mode, before anything has happened. */
void sdb_paper_begin(SDBPaper *d, bool user)
{
    d->n_stores = 0;
    d->n_loads = 0;
    if (d->rest) {
        d->watch_mask = 0;
    } else {
        d->watch_mask = SDB_WATCH_STORES | (user ? SDB_WATCH_LOADS : 0);
    }
}

static SDBReason judge(const SDBPaper *d, bool changed)
{
    if (changed) {
        return SDB_MODE_CHANGE;
    }
    if (d->n_stores >= d->store_threshold) {
        return SDB_STORES;
    }
    if (d->n_loads >= d->load_threshold) {      /* none held if privileged */
        return SDB_LOADS;
    }
    return SDB_SPIN;
}

SDBReason sdb_paper_end(SDBPaper *d, bool changed)
{
    SDBReason reason;

    if (d->rest) {
        d->rest--;
        return SDB_RESTING;
    }
    reason = judge(d, changed);
    if (reason != SDB_SPIN) {
        d->rest = d->rest_length;
    }
    return reason;
}

void sdb_paper_save(const SDBPaper *d, SDBSnapshot *snapshot)
{
    snapshot->paper_rest = d->rest;
    snapshot->n_stores = d->n_stores;
    for (uint32_t i = 0; i < d->n_stores; i++) {
        snapshot->store_address[i] = d->store[i].address;
        snapshot->store_low[i] = d->store[i].low;
        snapshot->store_high[i] = d->store[i].high;
    }
    snapshot->n_loads = d->n_loads;
    for (uint32_t i = 0; i < d->n_loads; i++) {
        snapshot->load_address[i] = d->load[i];
    }
}

/* Into a period that has just begun: d->watch_mask is the one of its start. */
bool sdb_paper_restore(SDBPaper *d, const SDBSnapshot *snapshot, char **why)
{
    if (snapshot->n_stores > d->store_threshold ||
        snapshot->n_loads > d->load_threshold) {
        *why = g_strdup_printf("%u unique stores and %u unique loads are held,"
                               " above the thresholds %u and %u",
                               snapshot->n_stores, snapshot->n_loads,
                               d->store_threshold, d->load_threshold);
        return false;
    }
    if (snapshot->paper_rest > d->rest_length ||
        (snapshot->paper_rest && (snapshot->n_stores || snapshot->n_loads))) {
        *why = g_strdup("the state of the paper's detector contradicts itself");
        return false;
    }
    d->rest = snapshot->paper_rest;
    sdb_paper_begin(d, snapshot->user);
    d->n_stores = snapshot->n_stores;
    for (uint32_t i = 0; i < d->n_stores; i++) {
        d->store[i].address = snapshot->store_address[i];
        d->store[i].low = snapshot->store_low[i];
        d->store[i].high = snapshot->store_high[i];
    }
    d->n_loads = snapshot->n_loads;
    for (uint32_t i = 0; i < d->n_loads; i++) {
        d->load[i] = snapshot->load_address[i];
    }
    if (d->n_stores == d->store_threshold ||
        d->n_loads == d->load_threshold) {
        d->watch_mask = 0;
    }
    return true;
}
