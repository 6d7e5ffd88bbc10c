/*
 * Spin detection buffer: periods, and which detectors judge them
 *
 * The rule for a period, whatever the detector: it begins in the mode of its
 * first instruction; a change of mode inside it is progress; its end, or a
 * VCPU switch, empties everything.  See sdb-core.h.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "range.h"
#include "sdb-fast.h"

static bool chosen(const SDB *sdb, SDBDetector detector)
{
    return sdb->config.detector & SDB_JUDGES(detector);
}

unsigned sdb_store(SDB *sdb, uint64_t address, unsigned size,
                   uint64_t value_low, uint64_t value_high)
{
    return sdb_fast_store(sdb, address, size, value_low, value_high);
}

unsigned sdb_load(SDB *sdb, uint64_t address, unsigned size)
{
    return sdb_fast_load(sdb, address, size);
}

unsigned sdb_watch_mask(const SDB *sdb)
{
    return sdb_fast_watch_mask(sdb);
}

bool sdb_worth_sampling(const SDB *sdb)
{
    return sdb_fast_worth_sampling(sdb);
}

unsigned sdb_sample_early(SDB *sdb)
{
    if (sdb_worth_sampling(sdb)) {
        sdb_recurrence_sample_early(&sdb->recurrence);
        sdb_update_watch_mask(sdb);
    }
    return sdb->watch_mask;
}

uint8_t (*sdb_marks(SDB *sdb))[SDB_MARKS]
{
    return sdb_fast_marks(sdb);
}

unsigned sdb_max_watch_mask(const SDB *sdb, bool user)
{
    unsigned mask = 0;

    if (chosen(sdb, SDB_PAPER)) {
        mask |= SDB_WATCH_STORES | (user ? SDB_WATCH_LOADS : 0);
    }
    if (chosen(sdb, SDB_RECURRENCE) && !user) {
        mask |= SDB_WATCH_MARKS;
    }
    return mask;
}

uint32_t sdb_quiescent_periods(const SDB *sdb)
{
    uint32_t quiescent = UINT32_MAX;

    if (chosen(sdb, SDB_PAPER)) {
        const SDBPaper *d = &sdb->paper;

        quiescent = d->rest ? d->rest - 1 : d->rest_length;
    }
    if (chosen(sdb, SDB_RECURRENCE) && !sdb->user_now) {
        const SDBRecurrence *d = &sdb->recurrence;

        if (d->watch == SDB_NOT_JUDGED) {
            /* A period that began in user mode: it will not be watched. */
            quiescent = MIN(quiescent, d->rest ? d->rest - 1 : 0);
        } else {
            quiescent = MIN(quiescent,
                            d->rest ? d->rest - 1 : d->rest_length);
        }
    }
    return quiescent;
}

static void mode_changed(SDB *sdb, bool user)
{
    sdb->user_now = user;
    sdb->changed = true;
    sdb->paper.watch_mask = 0;
    sdb->recurrence.watch_mask = 0;
    sdb->watch_mask = 0;
}

unsigned sdb_mode(SDB *sdb, bool user)
{
    if (user != sdb->user_now) {
        mode_changed(sdb, user);
    }
    return sdb->watch_mask;
}

/* Once a period */

static void begin_period(SDB *sdb, bool user)
{
    sdb->user = user;
    sdb->user_now = user;
    sdb->changed = false;
    if (chosen(sdb, SDB_PAPER)) {
        sdb_paper_begin(&sdb->paper, user);
    }
    if (chosen(sdb, SDB_RECURRENCE)) {
        sdb_recurrence_begin(&sdb->recurrence, user);
    }
    sdb_update_watch_mask(sdb);
}

unsigned sdb_mode_at_begin(SDB *sdb, bool user)
{
    if (user != sdb->user_now) {
        begin_period(sdb, user);
    }
    return sdb->watch_mask;
}

SDBVerdict sdb_end_period(SDB *sdb, bool user)
{
    SDBVerdict verdict = {
        .user = sdb->user,
        .reason = { SDB_NOT_JUDGED, SDB_NOT_JUDGED },
        .stores = sdb->paper.n_stores,
        .loads = sdb->paper.n_loads,
        .number = ++sdb->number,
    };

    if (chosen(sdb, SDB_PAPER)) {
        verdict.reason[SDB_PAPER] =
            sdb_paper_end(&sdb->paper, sdb->changed);
    }
    if (chosen(sdb, SDB_RECURRENCE)) {
        verdict.reason[SDB_RECURRENCE] =
            sdb_recurrence_end(&sdb->recurrence, sdb->changed);
    }
    for (SDBDetector i = 0; i < SDB_DETECTORS; i++) {
        if (verdict.reason[i] == SDB_SPIN) {
            verdict.detectors |= SDB_JUDGES(i);
        }
        sdb->counters.reasons[i][sdb->user][verdict.reason[i]]++;
    }
    verdict.spin = verdict.detectors != 0;
    sdb->counters.periods[sdb->user]++;
    sdb->counters.spins[sdb->user] += verdict.spin;

    begin_period(sdb, user);
    return verdict;
}

uint32_t sdb_unwatched(const SDB *sdb)
{
    uint32_t n = UINT32_MAX;

    if (sdb->changed) {
        return 0;
    }
    if (chosen(sdb, SDB_PAPER)) {
        n = sdb->paper.rest;
    }
    if (chosen(sdb, SDB_RECURRENCE) && !sdb->user) {
        n = MIN(n, sdb->recurrence.rest);
    }
    return n;
}

void sdb_pass(SDB *sdb, uint32_t n)
{
    uint64_t (*reasons)[2][SDB_REASONS] = sdb->counters.reasons;
    bool user = sdb->user;

    reasons[SDB_PAPER][user][chosen(sdb, SDB_PAPER) ? SDB_RESTING :
                                                      SDB_NOT_JUDGED] += n;
    sdb->paper.rest -= MIN(n, sdb->paper.rest);
    reasons[SDB_RECURRENCE][user][sdb_recurrence_pass(&sdb->recurrence,
                                                      n)] += n;
    sdb->counters.periods[user] += n;
    sdb->number += n;
    begin_period(sdb, user);
}

uint64_t sdb_flush(SDB *sdb, bool user)
{
    sdb->number++;
    sdb->counters.cut[sdb->user]++;
    sdb_paper_flush(&sdb->paper);
    sdb_recurrence_flush(&sdb->recurrence);
    begin_period(sdb, user);
    return sdb->number;
}

/* Configuration */

#define PAPER "as in the paper"         /* sections 3.2 and 3.3 */

#define PARAMETER(field, name_, description_, source_, low, high, default_) \
    {                                                                       \
        .name = name_, .description = description_, .source = source_,      \
        .offset = offsetof(SDBConfig, field),                               \
        .minimum = low, .maximum = high, .value = default_,                 \
    }

const SDBParameter sdb_parameters[] = {
    PARAMETER(period, "period", "retired instructions in a period",
              PAPER, 16, 1u << 20, 1024),
    PARAMETER(entries, "entries", "entries of the store and of the load array",
              PAPER, 1, SDB_ENTRIES_MAX, 8),
    PARAMETER(store_threshold, "store-threshold",
              "fewer unique stores in a period than this are a spin; at most"
              " entries and period", PAPER, 1, SDB_ENTRIES_MAX, 8),
    PARAMETER(load_threshold, "load-threshold",
              "and, in user mode, fewer unique loads than this; at most entries"
              " and period", PAPER, 1, SDB_ENTRIES_MAX, 8),
    PARAMETER(recurrence_entries, "recurrence-entries",
              "marks, of 512, in a signature of the recurrence detector that"
              " may be repeated", NULL, 1, SDB_MARKS / 2, 64),
    PARAMETER(recurrence_repeats, "recurrence-repeats",
              "repeating periods in a row that are a spin", NULL, 1, 1000, 2),
    /* docs/measurements.rst: cost against latency */
    PARAMETER(recurrence_rest, "recurrence-rest",
              "periods that the recurrence detector does not watch after one"
              " that did not repeat", NULL, 0, 10000, 13),
    PARAMETER(paper_rest, "paper-rest",
              "with detector=either, periods that the paper's rule does not"
              " watch after one of progress", NULL, 0, 10000, 29),
    { }
};

static uint32_t value_of(const SDBConfig *config, const SDBParameter *p)
{
    return *(const uint32_t *)((const char *)config + p->offset);
}

void sdb_config_default(SDBConfig *config)
{
    for (const SDBParameter *p = sdb_parameters; p->name; p++) {
        *(uint32_t *)((char *)config + p->offset) = p->value;
    }
    config->detector = SDB_CHOICE_EITHER;
}

static bool all_in_range(const SDBConfig *config, char **why)
{
    for (const SDBParameter *p = sdb_parameters; p->name; p++) {
        uint32_t value = value_of(config, p);

        if (value < p->minimum || value > p->maximum) {
            g_autofree char *text = g_strdup_printf("%u", value);

            *why = range_fault_number(p->name, text, RANGE_OUT, p->minimum,
                                      p->maximum);
            return false;
        }
    }
    return true;
}

/* A threshold that cannot be reached would make a spin of every period. */
static bool reachable(const char *what, uint32_t threshold,
                      const SDBConfig *config, char **why)
{
    if (threshold > config->entries) {
        *why = g_strdup_printf("%s of %u can never be reached with %u entries:"
                               " allowed are 1 to %u", what, threshold,
                               config->entries, config->entries);
        return false;
    }
    if (threshold > config->period) {
        *why = g_strdup_printf("%s of %u can never be reached in a period of"
                               " %u instructions: allowed are 1 to %u", what,
                               threshold, config->period, config->period);
        return false;
    }
    return true;
}

bool sdb_config_check(const SDBConfig *c, char **why)
{
    if (!sdb_choice_name(c->detector)) {
        *why = g_strdup("detector is unknown: allowed are paper, recurrence and"
                        " either");
        return false;
    }
    return all_in_range(c, why) &&
           reachable("store-threshold", c->store_threshold, c, why) &&
           reachable("load-threshold", c->load_threshold, c, why);
}

static const char *const choices[] = {
    [SDB_CHOICE_PAPER] = "paper",
    [SDB_CHOICE_RECURRENCE] = "recurrence",
    [SDB_CHOICE_EITHER] = "either",
};

const char *sdb_choice_name(SDBChoice choice)
{
    return choice < G_N_ELEMENTS(choices) ? choices[choice] : NULL;
}

bool sdb_choice_parse(const char *name, SDBChoice *choice)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(choices); i++) {
        if (choices[i] && !strcmp(choices[i], name)) {
            *choice = i;
            return true;
        }
    }
    return false;
}

const char *sdb_reason_name(SDBReason reason)
{
    static const char *const names[SDB_REASONS] = {
        [SDB_SPIN] = "spin",
        [SDB_MODE_CHANGE] = "mode-change",
        [SDB_NOT_JUDGED] = "not-judged",
        [SDB_STORES] = "stores",
        [SDB_LOADS] = "loads",
        [SDB_RESTING] = "resting",
        [SDB_REFERENCE] = "reference",
        [SDB_NEW_ADDRESS] = "new-address",
        [SDB_TOO_MANY] = "too-many",
        [SDB_FEW_REPEATS] = "few-repeats",
    };

    return reason < SDB_REASONS ? names[reason] : NULL;
}

const SDBConfig *sdb_config(const SDB *sdb)
{
    return &sdb->config;
}

const SDBCounters *sdb_counters(const SDB *sdb)
{
    return &sdb->counters;
}

void sdb_reset_counters(SDB *sdb)
{
    sdb->counters = (SDBCounters) { };
}

/* Life */

static void init_detectors(SDB *sdb, const SDBConfig *config)
{
    sdb->config = *config;
    sdb_paper_init(&sdb->paper, config);
    sdb_recurrence_init(&sdb->recurrence, config);
}

SDB *sdb_new(const SDBConfig *config)
{
    g_autofree char *why = NULL;
    SDB *sdb;

    if (!sdb_config_check(config, &why)) {
        return NULL;
    }
    sdb = g_new0(SDB, 1);
    init_detectors(sdb, config);
    begin_period(sdb, false);
    return sdb;
}

void sdb_free(SDB *sdb)
{
    g_free(sdb);
}

bool sdb_reconfigure(SDB *sdb, const SDBConfig *config, char **why)
{
    if (!sdb_config_check(config, why)) {
        return false;
    }
    init_detectors(sdb, config);
    sdb_flush(sdb, sdb->user_now);
    return true;
}

void sdb_save(const SDB *sdb, SDBSnapshot *snapshot)
{
    *snapshot = (SDBSnapshot) {
        .config = sdb->config,
        .counters = sdb->counters,
        .number = sdb->number,
        .user = sdb->user,
        .user_now = sdb->user_now,
        .changed = sdb->changed,
    };
    if (chosen(sdb, SDB_PAPER)) {
        sdb_paper_save(&sdb->paper, snapshot);
    }
    if (chosen(sdb, SDB_RECURRENCE)) {
        sdb_recurrence_save(&sdb->recurrence, snapshot);
    }
}

bool sdb_restore(SDB *sdb, const SDBSnapshot *snapshot, char **why)
{
    SDB *new;

    if (!sdb_config_check(&snapshot->config, why)) {
        return false;
    }
    if (snapshot->user != snapshot->user_now && !snapshot->changed) {
        *why = g_strdup("the mode is not that of the period, but did not"
                        " change in it");
        return false;
    }
    new = sdb_new(&snapshot->config);
    begin_period(new, snapshot->user);
    if ((chosen(new, SDB_PAPER) &&
         !sdb_paper_restore(&new->paper, snapshot, why)) ||
        (chosen(new, SDB_RECURRENCE) &&
         !sdb_recurrence_restore(&new->recurrence, snapshot, why))) {
        sdb_free(new);
        return false;
    }
    sdb_update_watch_mask(new);
    if (snapshot->changed) {
        mode_changed(new, snapshot->user_now);
    }
    new->counters = snapshot->counters;
    new->number = snapshot->number;

    /* In place: whoever feeds this SDB keeps its pointer. */
    *sdb = *new;
    g_free(new);
    return true;
}
