/*
 * sdb-replay: judge a memory trace with many SDBs at once
 *
 * Reads what plugin-sdbtrace/ writes (the format is in its head comment) and
 * runs one SDB for each configuration and PCPU over it, as an engine would.
 * For tables of parameters against detection and cost, from one trace; and to
 * compare the detectors with scripts/sdb-model, period by period.
 *
 *   sdb-replay [--periods] TRACE [name=value,...]...
 *
 * Each further argument is a configuration: values of the properties of the
 * "sdb" device where they differ from its defaults ("-": none do).
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdb-core.h"
#include "sdb-trace.h"

#define PCPUS 64

typedef struct PCPU {
    SDB *sdb;                   /* NULL until a VCPU runs */
    uint64_t begin;             /* of the period, in the VCPU's instructions */
} PCPU;

typedef struct Replay {
    const char *name;
    SDBConfig config;
    PCPU pcpu[PCPUS];
    uint64_t reported[2];       /* accesses that the SDBs asked for, by mode */
} Replay;

static bool print_periods;

static G_NORETURN void fail(const char *what, const char *detail)
{
    fprintf(stderr, "sdb-replay: %s: %s\n", what, detail);
    exit(2);
}

static void set_parameter(SDBConfig *c, const char *text)
{
    g_auto(GStrv) part = g_strsplit(text, "=", 2);
    uint64_t value;

    if (!part[0] || !part[1]) {
        fail(text, "name=value is needed");
    }
    if (!strcmp(part[0], "detector")) {
        if (!sdb_choice_parse(part[1], &c->detector)) {
            fail(text, "allowed are paper, recurrence and either");
        }
        return;
    }
    for (const SDBParameter *p = sdb_parameters; p->name; p++) {
        if (!strcmp(part[0], p->name)) {
            if (!g_ascii_string_to_unsigned(part[1], 10, 0, UINT32_MAX, &value,
                                            NULL)) {
                fail(text, "a number is needed");
            }
            *(uint32_t *)((char *)c + p->offset) = value;
            return;
        }
    }
    fail(text, "no such parameter");
}

static Replay *replay_new(const char *text)
{
    Replay *r = g_new0(Replay, 1);
    g_autofree char *why = NULL;

    r->name = text;
    sdb_config_default(&r->config);
    if (strcmp(text, "-")) {
        g_auto(GStrv) list = g_strsplit(text, ",", 0);

        for (unsigned i = 0; list[i]; i++) {
            set_parameter(&r->config, list[i]);
        }
    }
    if (!sdb_config_check(&r->config, &why)) {
        fail(text, why);
    }
    return r;
}

static void print_verdict(unsigned pcpu, SDBVerdict v)
{
    printf("pcpu %u period %" PRIu64 " %s %s paper %s recurrence %s"
           " stores %u loads %u\n", pcpu, v.number,
           v.user ? "user" : "privileged", v.spin ? "spin" : "progress",
           sdb_reason_name(v.reason[SDB_PAPER]),
           sdb_reason_name(v.reason[SDB_RECURRENCE]), v.stores, v.loads);
}

/* The VCPU has committed @count instructions: its complete periods end. */
static void advance(Replay *r, unsigned pcpu, uint64_t count, bool user)
{
    PCPU *p = &r->pcpu[pcpu];

    while (count - p->begin >= r->config.period) {
        SDBVerdict v = sdb_end_period(p->sdb, user);

        p->begin += r->config.period;
        if (print_periods) {
            print_verdict(pcpu, v);
        }
    }
}

static void feed(Replay *r, const SDBTraceRecord *record, bool user)
{
    PCPU *p = &r->pcpu[record->pcpu];

    if (record->kind == 'W') {
        if (p->sdb) {
            advance(r, record->pcpu, record->address, user);
        } else {
            p->sdb = sdb_new(&r->config);
        }
        sdb_flush(p->sdb, record->size);
        p->begin = record->index;
        return;
    }
    advance(r, record->pcpu, record->index, user);
    switch (record->kind) {
    case 'S':
        if (sdb_watch_mask(p->sdb) & SDB_WATCH_STORES) {
            r->reported[user]++;
            sdb_store(p->sdb, record->address, record->size,
                      record->low, record->high);
        } else {
            sdb_marks(p->sdb)[SDB_KIND_STORES][sdb_mark(record->address)] = 1;
        }
        break;
    case 'L':
        if (sdb_watch_mask(p->sdb) & SDB_WATCH_LOADS) {
            r->reported[user]++;
            sdb_load(p->sdb, record->address, record->size);
        } else {
            sdb_marks(p->sdb)[SDB_KIND_LOADS][sdb_mark(record->address)] = 1;
        }
        break;
    case 'M':
        if (record->index == p->begin) {
            sdb_mode_at_begin(p->sdb, record->size);
        } else {
            sdb_mode(p->sdb, record->size);
        }
        break;
    }
}

static void play(FILE *trace, GPtrArray *replays)
{
    int64_t vcpu[PCPUS];
    bool user[PCPUS] = { };
    SDBTraceRecord record;

    memset(vcpu, -1, sizeof(vcpu));
    while (fread(&record, sizeof(record), 1, trace) == 1) {
        unsigned pcpu = record.pcpu = GUINT16_FROM_LE(record.pcpu);

        record.vcpu = GUINT32_FROM_LE(record.vcpu);
        record.index = GUINT64_FROM_LE(record.index);
        record.address = GUINT64_FROM_LE(record.address);
        record.low = GUINT64_FROM_LE(record.low);
        record.high = GUINT64_FROM_LE(record.high);
        if (pcpu >= PCPUS || !strchr("LSMWE", record.kind) ||
            ((record.kind == 'S' || record.kind == 'L') &&
             (record.size < 1 || record.size > 16)) ||
            (strchr("LSM", record.kind) && record.vcpu != vcpu[pcpu])) {
            fail("bad trace", "a record that sdbtrace does not write");
        }
        if (record.kind == 'E' && record.vcpu != vcpu[pcpu]) {
            continue;
        }
        for (unsigned i = 0; i < replays->len; i++) {
            feed(g_ptr_array_index(replays, i), &record, user[pcpu]);
        }
        if (record.kind == 'W') {
            vcpu[pcpu] = record.vcpu;
        }
        if (record.kind == 'W' || record.kind == 'M') {
            user[pcpu] = record.size;
        }
    }
    if (ferror(trace)) {
        fail("trace", "cannot be read");
    }
}

static void print_table(const Replay *r)
{
    for (int user = 0; user < 2; user++) {
        uint64_t periods = 0, spins = 0, found[SDB_DETECTORS] = { };
        uint64_t watched[SDB_DETECTORS] = { };

        for (unsigned i = 0; i < PCPUS; i++) {
            if (r->pcpu[i].sdb) {
                const SDBCounters *c = sdb_counters(r->pcpu[i].sdb);

                periods += c->periods[user];
                spins += c->spins[user];
                for (int j = 0; j < SDB_DETECTORS; j++) {
                    found[j] += c->reasons[j][user][SDB_SPIN];
                    watched[j] += c->periods[user] -
                                  c->reasons[j][user][SDB_RESTING] -
                                  c->reasons[j][user][SDB_NOT_JUDGED];
                }
            }
        }
        printf("%-10s periods %9" PRIu64 " spins %9" PRIu64
               " (paper %" PRIu64 ", recurrence %" PRIu64 ")"
               " watched (paper %" PRIu64 ", recurrence %" PRIu64 ")"
               " accesses reported a period %.1f  %s\n",
               user ? "user" : "privileged", periods, spins, found[SDB_PAPER],
               found[SDB_RECURRENCE], watched[SDB_PAPER],
               watched[SDB_RECURRENCE],
               periods ? (double)r->reported[user] / periods : 0.0, r->name);
    }
}

int main(int argc, char **argv)
{
    g_autoptr(GPtrArray) replays = g_ptr_array_new();
    const char *path;
    FILE *trace;
    int i = 1;

    if (i < argc && !strcmp(argv[i], "--periods")) {
        print_periods = true;
        i++;
    }
    if (i >= argc) {
        fail("usage", "sdb-replay [--periods] TRACE [name=value,...]...");
    }
    path = argv[i++];
    trace = strcmp(path, "-") ? fopen(path, "rb") : stdin;
    if (!trace) {
        fail(path, "cannot be read");
    }
    do {
        g_ptr_array_add(replays, replay_new(i < argc ? argv[i] : "-"));
    } while (++i < argc);
    play(trace, replays);
    for (unsigned j = 0; j < replays->len && !print_periods; j++) {
        print_table(g_ptr_array_index(replays, j));
    }
    return 0;
}
