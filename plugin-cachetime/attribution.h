/*
 * Attribution: which instructions, which data and which sharing cause stalls
 *
 * Three tables, fed with each access that stalled and with what the model says
 * that it did (CacheOutcome):
 *
 * Program counters.  Stall cycles of each instruction, by who served it;
 * fetches of an instruction apart from its loads and stores.
 *
 * Lines.  The same of each line of memory.
 *
 * Sharing.  A coherence miss of an L2 is of true sharing if what it brings is
 * needed, of false sharing if not.  The rule is that of essential misses in
 * Dubois, Skeppstedt, Ricciulli, Ramamurthy, Stenstrom, "The Detection and
 * Elimination of Useless Misses in Multiprocessors", ISCA 1993, section 2:
 *
 *   A miss begins a lifetime of the line in the L2 of its PCPU; it ends when
 *   another's store takes the line away, or when the L2 evicts it.  A coherence
 *   miss is of true sharing if the PCPU accesses, during the lifetime, a word
 *   that others have written since the PCPU's last essential miss of the line.
 *   Misses of other kinds, and those of true sharing, are essential.
 *
 * A word has 4 bytes.  Until such an access comes, or the lifetime ends, a miss
 * is undecided.  docs/cache-reports.rst works an example by hand.
 *
 * For this rule every access to a line counts, hits as well.  A line is watched
 * from the first time on that a store takes it away from another PCPU; before
 * that it has no coherence misses.  So whoever keeps rights to lines (the
 * filter) has to ask attribution_wants() before it takes any, and the tables
 * are exact.
 *
 * Plain C over GLib.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef CACHETIME_ATTRIBUTION_H
#define CACHETIME_ATTRIBUTION_H

#include "cache-model.h"

#define ATTRIBUTION_WORD 4          /* bytes: a line has at most 64 words */

/*
 * The most entries of each table.  When a table of program counters or lines is
 * full, the half of its entries with the fewest stall cycles goes; their
 * numbers are kept as a sum, and one that comes back begins from 0.  When that
 * of watched lines is full, the half with the fewest stall cycles of coherence
 * misses is not watched any more, until a store takes the line away again.
 */
typedef struct AttributionLimits {
    unsigned pcs, lines, watched;   /* at least 2 each */
    /*
     * Sites: instructions, by VCPU, that access watched lines; of one line, and
     * in all.  What comes after that is one site of its line with all others.
     */
    unsigned line_sites, sites;     /* at least 1 each */
} AttributionLimits;

extern const AttributionLimits attribution_limits;      /* defaults */

typedef struct AttributionCosts {
    uint64_t served[CACHE_SERVERS];
    uint64_t stall[CACHE_SERVERS];  /* cycles */
} AttributionCosts;

typedef struct AttributionPc {
    uint64_t pc;                    /* virtual */
    unsigned vm;
    bool user;
    bool fetch;                     /* of the instruction itself */
    AttributionCosts costs;
} AttributionPc;

/* Where a line was seen first: for its name */
typedef struct AttributionPlace {
    uint64_t address;               /* machine address of the line */
    uint64_t virtual;               /* virtual address of its first byte */
    unsigned vm;
    bool user;
} AttributionPlace;

typedef struct AttributionLine {
    AttributionPlace place;
    AttributionCosts costs;
} AttributionLine;

typedef enum AttributionSharing {
    ATTRIBUTION_TRUE,
    ATTRIBUTION_FALSE,
    ATTRIBUTION_UNDECIDED,
    /* The line was not watched when the PCPU lost it. */
    ATTRIBUTION_UNKNOWN,
    /* No miss: a store that the L2 has, but that takes copies away */
    ATTRIBUTION_UPGRADE,
    ATTRIBUTION_SHARINGS
} AttributionSharing;

typedef struct AttributionShares {
    uint64_t number[ATTRIBUTION_SHARINGS];
    uint64_t stall[ATTRIBUTION_SHARINGS];       /* cycles */
} AttributionShares;

/* An instruction of a VCPU that accessed a watched line */
typedef struct AttributionSite {
    uint64_t line;                  /* address / bytes of a line */
    uint64_t pc;
    unsigned vcpu;
    bool user;
    bool others;                    /* all that had no site of their own */
    uint64_t pcpus;                 /* bit p: on PCPU p */
    uint64_t reads, writes;         /* bit w: word w of the line */
    uint64_t accesses;              /* while the line was watched, hits too */
    AttributionShares shares;
    struct AttributionSite *next;   /* of the line; the newest first */
} AttributionSite;

typedef struct AttributionWatched {
    AttributionPlace place;
    AttributionShares shares;
    const AttributionSite *sites;
} AttributionWatched;

/* Sums, and what the tables have lost */
typedef struct AttributionSummary {
    AttributionCosts all;           /* of all that was reported */
    AttributionShares shares;
    struct AttributionTable {
        unsigned entries;
        uint64_t dropped;           /* entries that went */
        AttributionCosts costs;     /* theirs */
        /* No entry has lost more stall cycles than this. */
        uint64_t error;
    } pcs, lines;
    unsigned watched, sites;
    uint64_t watched_dropped;
} AttributionSummary;

typedef struct Attribution Attribution;

/* @machine and @config are those of the model; @limits: NULL for defaults */
Attribution *attribution_new(const CacheConfig *config,
                             const CacheMachine *machine,
                             const AttributionLimits *limits);
void attribution_free(Attribution *a);

typedef struct AttributionEvent {
    const CacheAccess *access;      /* as it was given to the model */
    uint64_t pc;                    /* virtual address of the instruction */
    uint64_t virtual;               /* of access->address */
} AttributionEvent;

/*
 * Right after cache_model_access(): an access that stalled, or took a line away
 * from another PCPU, or is to a line that attribution_wants().  Others may be
 * reported as well, and change nothing.
 */
void attribution_access(Attribution *a, const CacheModel *m,
                        const AttributionEvent *event);

/*
 * Whether all accesses to the line of the machine address @address are to be
 * reported, hits too.  Asked after attribution_access(): cache_model_grant() is
 * not to be called for this line then, and rights to it that the caller has
 * from before are to be forgotten.
 */
bool attribution_wants(const Attribution *a, uint64_t address);

/*
 * Counts from 0 again, with empty tables; lines stay watched.  Lifetimes that
 * began before are not counted.
 */
void attribution_reset(Attribution *a);

void attribution_summary(const Attribution *a, AttributionSummary *summary);

/*
 * At most @n entries, those with most stall cycles first, and of equal ones the
 * lower address first.  Valid until the next access or reset; the caller frees
 * the array, and not the entries.
 */
GPtrArray *attribution_top_pcs(const Attribution *a, unsigned n);
GPtrArray *attribution_top_lines(const Attribution *a, unsigned n);

/* By stall cycles of false sharing, then of all coherence misses */
GPtrArray *attribution_top_watched(const Attribution *a, unsigned n);

uint64_t attribution_stall(const AttributionCosts *costs);

/* --- Save and load --- */

/*
 * All that it knows, as a floating value of type ATTRIBUTION_STATE; equal for
 * equal attributions.
 */
#define ATTRIBUTION_STATE \
    "(a{su}(atat)(ttata(tubbat))(ttata(ttubat))" \
    "ta(ttubata(ttubbtttat)a(ttubb)))"

GVariant *attribution_save(const Attribution *a);

/*
 * Goes on from a state that attribution_save() gave, of type ATTRIBUTION_STATE.
 * False, and why, if it is one of another machine or of other limits, or cannot
 * be; then it goes on as before.
 */
bool attribution_load(Attribution *a, GVariant *state, char **why);

/*
 * Forgets everything, watched lines too: after a load without a state.  What
 * misses bring of lines that were lost before is unknown.
 */
void attribution_forget(Attribution *a);

/* Host memory that it uses, in bytes, without the allocator's own */
size_t attribution_memory(const Attribution *a);

#endif /* CACHETIME_ATTRIBUTION_H */
