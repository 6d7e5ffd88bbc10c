/*
 * Naive model of the spin detection buffer, for its unit tests
 *
 * Written from the paper's text and from the definition of recurrence, not
 * from the detectors' code.  It writes down everything that happens in a
 * period, in lists, and thinks only at the period's end.  No early exit, no
 * tables, no state but the logs.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "test-sdb-model.h"

typedef struct Access {
    bool store;
    uint64_t address;
    uint8_t bytes[16];              /* stored, least significant first */
} Access;

typedef struct Log {
    GArray *access;                 /* of Access */
    bool user_first, user_last, changed;
} Log;

struct Model {
    SDBConfig config;
    Log now;
    bool has_before;                /* a period that the next may repeat */
    GArray *stores_before, *loads_before;   /* distinct hashes of addresses */
    unsigned repeats_in_row, periods_to_rest, paper_to_rest;
};

static void log_begin(Log *log, bool user)
{
    g_array_set_size(log->access, 0);
    log->user_first = log->user_last = user;
    log->changed = false;
}

Model *model_new(const SDBConfig *config)
{
    Model *m = g_new0(Model, 1);

    m->config = *config;
    m->now.access = g_array_new(false, true, sizeof(Access));
    m->stores_before = g_array_new(false, true, sizeof(uint64_t));
    m->loads_before = g_array_new(false, true, sizeof(uint64_t));
    log_begin(&m->now, false);
    return m;
}

void model_free(Model *m)
{
    g_array_unref(m->now.access);
    g_array_unref(m->stores_before);
    g_array_unref(m->loads_before);
    g_free(m);
}

void model_store(Model *m, uint64_t address, unsigned size,
                 uint64_t low, uint64_t high)
{
    Access a = { .store = true, .address = address };

    for (unsigned i = 0; i < size; i++) {
        a.bytes[i] = i < 8 ? low >> (8 * i) : high >> (8 * (i - 8));
    }
    g_array_append_val(m->now.access, a);
}

void model_load(Model *m, uint64_t address, unsigned size)
{
    Access a = { .store = false, .address = address };

    g_array_append_val(m->now.access, a);
}

void model_mode(Model *m, bool user)
{
    if (m->now.user_last != user) {
        m->now.changed = true;
    }
    m->now.user_last = user;
}

void model_mode_at_begin(Model *m, bool user)
{
    log_begin(&m->now, user);
}

void model_flush(Model *m, bool user)
{
    m->has_before = false;
    m->repeats_in_row = 0;
    m->periods_to_rest = 0;
    m->paper_to_rest = 0;
    log_begin(&m->now, user);
}

void model_reconfigure(Model *m, const SDBConfig *config)
{
    m->config = *config;
    model_flush(m, m->now.user_last);
}

/* --- The paper --- */

static bool same_store(const Access *a, const Access *b)
{
    return a->address == b->address && !memcmp(a->bytes, b->bytes, 16);
}

/*
 * Unique stores (or loads) among the first @n accesses; *@last: the index of
 * the access that made it @threshold of them, or G_MAXUINT.
 */
static unsigned unique(const Log *log, bool stores, unsigned threshold,
                       unsigned *reached)
{
    GArray *seen = g_array_new(false, false, sizeof(Access));
    unsigned n;

    *reached = G_MAXUINT;
    for (unsigned i = 0; i < log->access->len; i++) {
        Access *a = &g_array_index(log->access, Access, i);
        bool is_new = a->store == stores;

        for (unsigned j = 0; j < seen->len && is_new; j++) {
            Access *b = &g_array_index(seen, Access, j);

            if (stores ? same_store(a, b) : a->address == b->address) {
                is_new = false;
            }
        }
        if (is_new) {
            g_array_append_val(seen, *a);
            if (seen->len == threshold) {
                *reached = i;
            }
        }
    }
    n = seen->len;
    g_array_unref(seen);
    return n;
}

static void judge_paper(Model *m, ModelVerdict *v)
{
    unsigned stores_at, loads_at;
    bool enough_stores, enough_loads;

    if (m->paper_to_rest > 0) {
        m->paper_to_rest--;
        v->paper = SDB_RESTING;
        return;
    }
    v->stores = unique(&m->now, true, m->config.store_threshold, &stores_at);
    v->loads = unique(&m->now, false, m->config.load_threshold, &loads_at);
    enough_stores = v->stores >= m->config.store_threshold;
    enough_loads = v->user && v->loads >= m->config.load_threshold;
    if (m->now.changed) {
        v->paper = SDB_MODE_CHANGE;
    } else if (enough_stores && (!enough_loads || stores_at < loads_at)) {
        v->paper = SDB_STORES;
    } else if (enough_loads) {
        v->paper = SDB_LOADS;
    } else {
        v->paper = SDB_SPIN;
    }
    v->paper_open = v->paper == SDB_SPIN;
    if (v->paper != SDB_SPIN && m->config.detector == SDB_CHOICE_EITHER) {
        m->paper_to_rest = m->config.paper_rest;
    }
}

/* --- Recurrence --- */

static bool contains(const GArray *set, uint64_t address)
{
    for (unsigned i = 0; i < set->len; i++) {
        if (g_array_index(set, uint64_t, i) == address) {
            return true;
        }
    }
    return false;
}

/* Multiplied on paper: 32 x 32 bits, the low half, of it the high 9 bits. */
static uint64_t hash(uint64_t address)
{
    uint64_t product = (address % 4294967296) * 2654435769;

    return product % 4294967296 / 8388608;
}

static GArray *distinct(const Log *log, bool stores)
{
    GArray *set = g_array_new(false, false, sizeof(uint64_t));

    for (unsigned i = 0; i < log->access->len; i++) {
        Access *a = &g_array_index(log->access, Access, i);
        uint64_t mark = hash(a->address);

        if (a->store == stores && !contains(set, mark)) {
            g_array_append_val(set, mark);
        }
    }
    return set;
}

static bool adds_nothing(const GArray *set, const GArray *before)
{
    for (unsigned i = 0; i < set->len; i++) {
        if (!contains(before, g_array_index(set, uint64_t, i))) {
            return false;
        }
    }
    return true;
}

static void judge_recurrence(Model *m, ModelVerdict *v)
{
    g_autoptr(GArray) stores = distinct(&m->now, true);
    g_autoptr(GArray) loads = distinct(&m->now, false);
    bool fits = stores->len <= m->config.recurrence_entries &&
                loads->len <= m->config.recurrence_entries;
    bool failed = false;

    if (m->periods_to_rest > 0 || v->user) {
        v->recurrence = v->user ? SDB_NOT_JUDGED : SDB_RESTING;
        m->has_before = false;
        m->repeats_in_row = 0;
        if (m->periods_to_rest > 0) {
            m->periods_to_rest--;
        }
        return;
    }
    if (m->now.changed) {
        v->recurrence = SDB_MODE_CHANGE;
        failed = true;
    } else if (!m->has_before) {
        v->recurrence = fits ? SDB_REFERENCE : SDB_TOO_MANY;
        m->repeats_in_row = 0;
        failed = !fits;
    } else if (adds_nothing(stores, m->stores_before) &&
               adds_nothing(loads, m->loads_before)) {
        m->repeats_in_row++;
        v->recurrence = m->repeats_in_row >= m->config.recurrence_repeats ?
                        SDB_SPIN : SDB_FEW_REPEATS;
    } else {
        v->recurrence = SDB_NEW_ADDRESS;
        failed = true;
    }
    if (failed) {
        m->repeats_in_row = 0;
    }
    /* With no rest, a period that did not repeat may be repeated itself. */
    m->has_before = fits && !m->now.changed &&
                    !(failed && m->config.recurrence_rest);
    v->recurrence_open = !m->now.changed;
    g_array_set_size(m->stores_before, 0);
    g_array_append_vals(m->stores_before, stores->data, stores->len);
    g_array_set_size(m->loads_before, 0);
    g_array_append_vals(m->loads_before, loads->data, loads->len);
    if (failed) {
        m->periods_to_rest = m->config.recurrence_rest;
    }
}

ModelVerdict model_end_period(Model *m, bool user)
{
    ModelVerdict v = {
        .user = m->now.user_first,
        .paper = SDB_NOT_JUDGED,
        .recurrence = SDB_NOT_JUDGED,
    };

    if (m->config.detector != SDB_CHOICE_RECURRENCE) {
        judge_paper(m, &v);
    }
    if (m->config.detector != SDB_CHOICE_PAPER) {
        judge_recurrence(m, &v);
    }
    v.spin = v.paper == SDB_SPIN || v.recurrence == SDB_SPIN;
    log_begin(&m->now, user);
    return v;
}
