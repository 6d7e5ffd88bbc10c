/*
 * SDB detector by recurrence: what happens once a period; see sdb-recurrence.h
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "sdb-recurrence.h"

void sdb_recurrence_init(SDBRecurrence *d, const SDBConfig *config)
{
    memset(d, 0, sizeof(*d));
    d->entries = config->recurrence_entries;
    d->repeats_needed = config->recurrence_repeats;
    d->rest_length = config->recurrence_rest;
    sdb_recurrence_flush(d);
}

void sdb_recurrence_flush(SDBRecurrence *d)
{
    d->watch_mask = 0;
    d->watch = SDB_NOT_JUDGED;
    d->comparable = false;
    d->repeats = 0;
    d->rest = 0;
    memset(&d->signature[d->now], 0, sizeof(d->signature[0]));
}

/* May be called again, in another mode, before anything has happened. */
void sdb_recurrence_begin(SDBRecurrence *d, bool user)
{
    d->watch_mask = 0;
    if (user) {
        d->watch = SDB_NOT_JUDGED;
    } else if (d->rest) {
        d->watch = SDB_RESTING;
    } else {
        d->watch = d->comparable ? SDB_FEW_REPEATS : SDB_REFERENCE;
        d->watch_mask = SDB_WATCH_MARKS;
    }
}

static bool few_marks(const SDBRecurrence *d, const SDBSignature *s)
{
    for (unsigned kind = 0; kind < SDB_KINDS; kind++) {
        uint64_t sum = 0;               /* of each byte: at most 255 words */
        uint32_t marks = 0;

        G_STATIC_ASSERT(SDB_MARKS / 8 <= 255);
        for (unsigned i = 0; i < SDB_MARKS / 8; i++) {
            sum += s->word[kind][i];
        }
        for (; sum; sum >>= 8) {
            marks += sum & 255;
        }
        if (marks > d->entries) {
            return false;
        }
    }
    return true;
}

static bool adds_nothing(const SDBSignature *s, const SDBSignature *before)
{
    uint64_t added[4] = { };

    for (unsigned kind = 0; kind < SDB_KINDS; kind++) {
        const uint64_t *w = s->word[kind], *b = before->word[kind];

        for (unsigned i = 0; i < SDB_MARKS / 8; i += 4) {
            for (unsigned j = 0; j < 4; j++) {
                added[j] |= w[i + j] & ~b[i + j];
            }
        }
    }
    return !(added[0] | added[1] | added[2] | added[3]);
}

/* Marks do not become fewer: too many of them are too many at the end too. */
void sdb_recurrence_sample_early(SDBRecurrence *d)
{
    if (d->watch == SDB_REFERENCE && !few_marks(d, &d->signature[d->now])) {
        d->watch_mask = 0;
    }
}

/* Periods that are not watched are over. */
SDBReason sdb_recurrence_pass(SDBRecurrence *d, uint32_t n)
{
    d->comparable = false;
    d->repeats = 0;
    d->rest -= MIN(n, d->rest);
    return d->watch;
}

SDBReason sdb_recurrence_end(SDBRecurrence *d, bool changed)
{
    const SDBSignature *now = &d->signature[d->now];
    SDBSignature *before = &d->signature[!d->now];
    SDBReason reason = d->watch;
    bool again;

    if (d->watch == SDB_NOT_JUDGED || d->watch == SDB_RESTING) {
        return sdb_recurrence_pass(d, 1);
    }

    /* Can the next period repeat this one?  Parts of few marks are few. */
    if (changed) {
        reason = SDB_MODE_CHANGE;
        again = false;
    } else if (d->watch == SDB_REFERENCE) {
        again = few_marks(d, now);
        reason = again ? SDB_REFERENCE : SDB_TOO_MANY;
    } else if (adds_nothing(now, before)) {
        again = true;
    } else {
        reason = SDB_NEW_ADDRESS;
        again = !d->rest_length && few_marks(d, now);
    }

    if (reason == SDB_FEW_REPEATS) {
        if (d->repeats < d->repeats_needed) {
            d->repeats++;
        }
        if (d->repeats == d->repeats_needed) {
            reason = SDB_SPIN;
        }
    } else {
        d->repeats = 0;
        if (reason != SDB_REFERENCE) {
            d->rest = d->rest_length;
        }
    }
    d->comparable = again && !d->rest;
    d->now = !d->now;
    memset(before, 0, sizeof(*before));
    return reason;
}

/* Bit i of a bitmap is mark i. */

static void save_marks(const uint8_t *mark, uint64_t *bits)
{
    memset(bits, 0, SDB_MARKS / 8);
    for (unsigned i = 0; i < SDB_MARKS; i++) {
        bits[i / 64] |= (uint64_t)mark[i] << i % 64;
    }
}

static void restore_marks(uint8_t *mark, const uint64_t *bits)
{
    for (unsigned i = 0; i < SDB_MARKS; i++) {
        mark[i] = bits[i / 64] >> i % 64 & 1;
    }
}

void sdb_recurrence_save(const SDBRecurrence *d, SDBSnapshot *snapshot)
{
    snapshot->watch = d->watch;
    snapshot->comparable = d->comparable;
    snapshot->rest = d->rest;
    snapshot->repeats = d->repeats;
    for (unsigned kind = 0; kind < SDB_KINDS; kind++) {
        save_marks(d->signature[d->now].mark[kind], snapshot->marks[0][kind]);
        save_marks(d->signature[!d->now].mark[kind],
                   snapshot->marks[1][kind]);
    }
}

/* Into a detector that has just begun a period of the right mode. */
bool sdb_recurrence_restore(SDBRecurrence *d, const SDBSnapshot *snapshot,
                            char **why)
{
    SDBSignature *before = &d->signature[!d->now];

    if (snapshot->rest > d->rest_length ||
        snapshot->repeats > d->repeats_needed ||
        (snapshot->comparable && snapshot->rest)) {
        *why = g_strdup("the state of the recurrence detector contradicts"
                        " itself");
        return false;
    }
    for (unsigned kind = 0; kind < SDB_KINDS; kind++) {
        restore_marks(d->signature[d->now].mark[kind],
                      snapshot->marks[0][kind]);
        restore_marks(before->mark[kind], snapshot->marks[1][kind]);
    }
    if (snapshot->comparable && !few_marks(d, before)) {
        *why = g_strdup_printf("a signature that may be repeated has more"
                               " than %u marks", d->entries);
        return false;
    }
    d->comparable = snapshot->comparable;
    d->rest = snapshot->rest;
    d->repeats = snapshot->repeats;
    sdb_recurrence_begin(d, snapshot->user);
    if (snapshot->watch != d->watch) {
        *why = g_strdup("the watch of the recurrence detector is not that of"
                        " the period's mode");
        return false;
    }
    return true;
}
