/*
 * What the cache model has counted, for people and programs
 *
 * A report as JSON, or as a table of 80 columns for the end of a run; records
 * of intervals, a line of JSON each; and names and values for whoever exports
 * statistics.  cache-report.schema.json describes the JSON,
 * docs/cache-reports.rst what it means.  scripts/cache-report reads it, and
 * names addresses.
 *
 * Nothing here counts: a report reads the model and its attribution.
 *
 * Plain C over GLib.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef CACHETIME_REPORT_H
#define CACHETIME_REPORT_H

#include "attribution.h"

#define CACHE_REPORT_FORMAT "cmp8-caches"
#define CACHE_INTERVAL_FORMAT "cmp8-caches-interval"
#define CACHE_REPORT_VERSION 1

/* Instructions retired since @begin: [0] privileged, [1] user */
typedef uint64_t CacheRetired[2];

typedef struct CacheReport {
    const CacheModel *model;
    const Attribution *attribution;     /* NULL: none */
    uint64_t clock_hz;                  /* 1 cycle is 1 / clock_hz s */
    int64_t begin, end;                 /* cycles: what was counted between */
    const CacheRetired *pcpus, *vcpus;  /* by number; NULL: not known */
    unsigned top;                       /* entries of each table at most */
} CacheReport;

GString *cache_report_json(const CacheReport *r);       /* caller frees */
GString *cache_report_table(const CacheReport *r);      /* caller frees */

/* --- Intervals --- */

typedef struct CacheIntervals CacheIntervals;

/* The first interval begins now: at @r->end, with what is counted so far. */
CacheIntervals *cache_intervals_new(const CacheReport *r);
void cache_intervals_free(CacheIntervals *i);

/*
 * An interval is over, at @r->end; the next one begins.  A line of JSON: what
 * was counted in between.  Counters that are 0 are left out.
 */
GString *cache_intervals_next(CacheIntervals *i, const CacheReport *r);

/* Whether time has passed since the open interval began */
bool cache_intervals_is_open(const CacheIntervals *i, const CacheReport *r);

/*
 * The open interval begins only now, at @r->end, with what is counted so far:
 * after nothing was counted for a time, or after counters, or time, were set.
 * Numbers go on.
 */
void cache_intervals_begin(CacheIntervals *i, const CacheReport *r);

/* --- Statistics --- */

typedef enum CacheObject {
    CACHE_OF_PCPU,
    CACHE_OF_VCPU,
    CACHE_OF_VM,
    CACHE_OF_MACHINE,                   /* all of them; its number is 0 */
} CacheObject;

typedef struct CacheStatistic {
    const char *name;                   /* "user-l1d-misses-capacity" */
    bool cycles;                        /* otherwise it is a number */
} CacheStatistic;

/* Each counter of each mode, the same for all objects; @n of them */
const CacheStatistic *cache_statistics(unsigned *n);

/* The values of all statistics, in their order */
void cache_statistics_read(const CacheModel *m, CacheObject object,
                           unsigned number, uint64_t *values);

#endif /* CACHETIME_REPORT_H */
