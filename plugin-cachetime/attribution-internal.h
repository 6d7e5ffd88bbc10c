/*
 * Attribution: what its two files share
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef CACHETIME_ATTRIBUTION_INTERNAL_H
#define CACHETIME_ATTRIBUTION_INTERNAL_H

#include "attribution.h"

/*
 * A table of entries that begin with what tells them apart; the entry is the
 * key as well.  An entry has its stall cycles to be ranked by.
 */
typedef struct Table {
    GHashTable *entries;
    unsigned limit;
    uint64_t dropped;
    uint64_t error;
    AttributionCosts costs;         /* of entries that went */
} Table;

/* One PCPU and one watched line */
typedef struct Lifetime {
    uint64_t fresh;                 /* words that others have written since */
                                    /* the last essential miss */
    AttributionSite *site;          /* of an undecided miss that counts */
    uint64_t stall;                 /* of that miss, cycles */
    bool known;                     /* @fresh has all of them */
    bool undecided;                 /* so is the miss that began it */
} Lifetime;

typedef struct Watched {
    AttributionWatched public;      /* first */
    AttributionSite *sites;         /* the same as public.sites */
    unsigned number_of_sites;
    Lifetime lifetime[];            /* by PCPU */
} Watched;

#define MAYBE_BITS (1 << 16)

struct Attribution {
    AttributionLimits limits;
    unsigned pcpus, vcpus, vms;
    unsigned *vm;                   /* of each VCPU */
    unsigned line_shift;
    AttributionCosts all;
    AttributionShares shares;
    Table pcs, lines;
    GHashTable *watched;            /* Watched */
    uint64_t watched_dropped;
    GHashTable *sites;
    /* A bit that is not set: no line with this hash is watched. */
    uint64_t maybe[MAYBE_BITS / 64];
};

/* attribution.c.  In the order of reports; the caller frees the array. */
GPtrArray *attribution_all_pcs(const Attribution *a);
GPtrArray *attribution_all_lines(const Attribution *a);
GPtrArray *attribution_all_watched(const Attribution *a);

/* One without entries, with the machine and the limits of @a */
Attribution *attribution_like(const Attribution *a);

/* A line that is not watched, while there is room */
Watched *attribution_watch(Attribution *a,
                                          const AttributionPlace *place);
/* A copy of @site, which is not known yet, as the newest of the line */
AttributionSite *attribution_add_site(Attribution *a, Watched *w,
                                      const AttributionSite *site);

/* What @from knows goes to @a; @from is freed. */
void attribution_become(Attribution *a, Attribution *from);

#endif /* CACHETIME_ATTRIBUTION_INTERNAL_H */
