/*
 * Unit tests of attribution: costs by program counter and line, sharing by hand
 * and against an independent model, what full tables lose
 *
 * The machine is that of Wells et al. without random addition.  Stalls, when
 * nothing else goes on (docs/devel/cache-model.rst): 14 cycles for a hit in the
 * L2, 63 if another L2 has the line or has to give it up, 364 for memory.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "attribution.h"

#define L2_HIT    14
#define TRANSFER  63
#define MEMORY   364

#define LINE     64
#define VCPUS     8
/* Lines this far apart are in one set of L1 and L2: 2048 sets. */
#define WAY     (2048 * LINE)
#define A       0x100000
/* Virtual addresses are elsewhere, so that no test takes one for the other. */
#define VIRTUAL(address) ((address) + 0xffff000000000000)

typedef struct Machine {
    CacheModel *m;
    Attribution *a;
    int64_t clock;                  /* of all PCPUs: no access meets another */
    uint64_t pc;                    /* of the next access */
    bool user;
} Machine;

static Machine new_machine(const CacheConfig *config,
                           const AttributionLimits *limits)
{
    static const unsigned vm[VCPUS] = { 0, 0, 0, 0, 1, 1, 1, 1 };
    CacheConfig c;
    CacheMachine machine = {
        .pcpus = VCPUS, .vcpus = VCPUS, .vms = 2, .vm = vm,
        .state_base = UINT64_C(1) << 40, .state_words = 277,
    };
    Machine x = {};
    char *why = NULL;

    cache_config_default(&c);
    c.memory_variation = 0;
    config = config ?: &c;
    x.m = cache_model_new(config, &machine, &why);
    g_assert_cmpstr(why, ==, NULL);
    x.a = attribution_new(config, &machine, limits);
    return x;
}

static void free_machine(Machine *x)
{
    attribution_free(x->a);
    cache_model_free(x->m);
}

/* VCPU n runs on PCPU n. */
static int64_t go(Machine *x, unsigned pcpu, CacheKind kind, uint64_t address,
                  unsigned size, bool report)
{
    CacheAccess access = {
        .cycle = x->clock, .address = address, .size = size,
        .pcpu = pcpu, .vcpu = pcpu, .kind = kind, .user = x->user,
    };
    AttributionEvent event = { &access, x->pc, VIRTUAL(address) };
    int64_t stall = cache_model_access(x->m, &access);

    x->clock += 1000;
    if (report) {
        attribution_access(x->a, x->m, &event);
    }
    return stall;
}

static int64_t load(Machine *x, unsigned pcpu, uint64_t address)
{
    return go(x, pcpu, CACHE_LOAD, address, 4, true);
}

static int64_t store(Machine *x, unsigned pcpu, uint64_t address)
{
    return go(x, pcpu, CACHE_STORE, address, 4, true);
}

static AttributionSummary summary(const Machine *x)
{
    AttributionSummary s;

    attribution_summary(x->a, &s);
    return s;
}

/* Misses of true and false sharing, undecided and unknown ones, upgrades */
static void assert_shares(const AttributionShares *s, unsigned true_sharing,
                          unsigned false_sharing, unsigned undecided,
                          unsigned unknown, unsigned upgrades)
{
    g_assert_cmpuint(s->number[ATTRIBUTION_TRUE], ==, true_sharing);
    g_assert_cmpuint(s->number[ATTRIBUTION_FALSE], ==, false_sharing);
    g_assert_cmpuint(s->number[ATTRIBUTION_UNDECIDED], ==, undecided);
    g_assert_cmpuint(s->number[ATTRIBUTION_UNKNOWN], ==, unknown);
    g_assert_cmpuint(s->number[ATTRIBUTION_UPGRADE], ==, upgrades);
    for (AttributionSharing k = 0; k < ATTRIBUTION_SHARINGS; k++) {
        g_assert_cmpuint(s->stall[k], ==, s->number[k] * TRANSFER);
    }
}

static void assert_sharing(const Machine *x, unsigned true_sharing,
                           unsigned false_sharing, unsigned undecided,
                           unsigned unknown, unsigned upgrades)
{
    AttributionSummary s = summary(x);

    assert_shares(&s.shares, true_sharing, false_sharing, undecided, unknown,
                  upgrades);
}

static const AttributionSite *site_of(const AttributionWatched *w, uint64_t pc,
                                      unsigned vcpu)
{
    for (const AttributionSite *s = w->sites; s; s = s->next) {
        if (!s->others && s->pc == pc && s->vcpu == vcpu) {
            return s;
        }
    }
    return NULL;
}

/* --- What the model says of an access --- */

static const CacheOutcome *outcome(const Machine *x)
{
    unsigned n;
    const CacheOutcome *o = cache_model_outcomes(x->m, &n);

    g_assert_cmpuint(n, ==, 1);
    return o;
}

static void assert_outcome(const Machine *x, CacheServer server, CacheMiss l1,
                           CacheMiss l2, uint64_t taken)
{
    const CacheOutcome *o = outcome(x);

    g_assert_cmpuint(o->server, ==, server);
    g_assert_cmpuint(o->l1, ==, l1);
    g_assert_cmpuint(o->l2, ==, l2);
    g_assert_cmphex(o->taken, ==, taken);
}

static void test_outcomes(void)
{
    Machine x = new_machine(NULL, NULL);

    load(&x, 0, A);
    assert_outcome(&x, CACHE_BY_MEMORY, CACHE_COMPULSORY, CACHE_COMPULSORY, 0);
    g_assert_cmpuint(outcome(&x)->line, ==, A / LINE);
    g_assert_cmpint(outcome(&x)->stall, ==, MEMORY);
    load(&x, 0, A + 8);
    assert_outcome(&x, CACHE_BY_L1, CACHE_HIT, CACHE_HIT, 0);
    g_assert_cmpint(outcome(&x)->stall, ==, 0);
    load(&x, 1, A);
    assert_outcome(&x, CACHE_BY_TRANSFER, CACHE_COMPULSORY, CACHE_COMPULSORY,
                   0);
    load(&x, 3, A);
    store(&x, 0, A);                            /* in the L1D, read only */
    assert_outcome(&x, CACHE_BY_UPGRADE, CACHE_HIT, CACHE_HIT, 1 << 1 | 1 << 3);
    g_assert_cmpint(outcome(&x)->stall, ==, TRANSFER);
    store(&x, 3, A);
    assert_outcome(&x, CACHE_BY_TRANSFER, CACHE_COHERENCE, CACHE_COHERENCE,
                   1 << 0);
    load(&x, 3, A + WAY);                       /* the set of the L1D is full */
    load(&x, 3, A + 2 * WAY);
    load(&x, 3, A);
    assert_outcome(&x, CACHE_BY_L2, CACHE_CAPACITY, CACHE_HIT, 0);
    free_machine(&x);
}

static void test_outcomes_of_lines(void)
{
    Machine x = new_machine(NULL, NULL);
    const CacheOutcome *o;
    unsigned n;

    load(&x, 0, A + LINE);
    go(&x, 0, CACHE_FETCH, A, 3 * LINE, true);
    o = cache_model_outcomes(x.m, &n);
    g_assert_cmpuint(n, ==, 3);
    for (unsigned i = 0; i < n; i++) {
        g_assert_cmpuint(o[i].line, ==, A / LINE + i);
        g_assert_cmpuint(o[i].server, ==,
                         i == 1 ? CACHE_BY_L2 : CACHE_BY_MEMORY);
        g_assert_cmpint(o[i].stall, ==, i == 1 ? L2_HIT : MEMORY);
    }
    free_machine(&x);
}

/* --- Program counters and lines --- */

static void test_costs(void)
{
    Machine x = new_machine(NULL, NULL);
    g_autoptr(GPtrArray) pcs = NULL;
    g_autoptr(GPtrArray) lines = NULL;
    const AttributionPc *pc;
    const AttributionLine *line;

    x.pc = 0x2000;
    load(&x, 0, A);                             /* 364 */
    x.pc = 0x1000;
    load(&x, 0, A + WAY);                       /* 364 */
    load(&x, 0, A + 2 * WAY);                   /* 364; A leaves the L1D */
    load(&x, 0, A + 4);                         /* 14 */
    load(&x, 0, A + 8);                         /* hit */
    x.user = true;
    load(&x, 5, A + WAY);                       /* 63, VM 1 */
    go(&x, 0, CACHE_FETCH, 0x1000, 4, true);    /* 364 */

    /* Privileged 0x1000: 364 + 364 + 14; then equal ones, by address */
    pcs = attribution_top_pcs(x.a, 3);
    g_assert_cmpuint(pcs->len, ==, 3);
    pc = pcs->pdata[0];
    g_assert_cmphex(pc->pc, ==, 0x1000);
    g_assert_false(pc->user || pc->fetch || pc->vm);
    g_assert_cmpuint(pc->costs.stall[CACHE_BY_MEMORY], ==, 2 * MEMORY);
    g_assert_cmpuint(pc->costs.served[CACHE_BY_MEMORY], ==, 2);
    g_assert_cmpuint(pc->costs.stall[CACHE_BY_L2], ==, L2_HIT);
    g_assert_cmpuint(attribution_stall(&pc->costs), ==, 2 * MEMORY + L2_HIT);
    pc = pcs->pdata[1];
    g_assert_cmphex(pc->pc, ==, 0x1000);
    g_assert_true(pc->user && pc->fetch);
    pc = pcs->pdata[2];
    g_assert_cmphex(pc->pc, ==, 0x2000);

    /* A + WAY: 364 + 63; A: 364 + 14 */
    lines = attribution_top_lines(x.a, 2);
    g_assert_cmpuint(lines->len, ==, 2);
    line = lines->pdata[0];
    g_assert_cmphex(line->place.address, ==, A + WAY);
    g_assert_cmphex(line->place.virtual, ==, VIRTUAL(A + WAY));
    g_assert_false(line->place.user);           /* as it was seen first */
    g_assert_cmpuint(line->costs.stall[CACHE_BY_TRANSFER], ==, TRANSFER);
    line = lines->pdata[1];
    g_assert_cmphex(line->place.address, ==, A);
    g_assert_cmpuint(attribution_stall(&line->costs), ==, MEMORY + L2_HIT);
    g_assert_cmpuint(summary(&x).lines.entries, ==, 4);
    free_machine(&x);
}

/* 8 bytes of which 4 are in the next line: both cost, under their addresses. */
static void test_two_lines(void)
{
    Machine x = new_machine(NULL, NULL);
    g_autoptr(GPtrArray) lines = NULL, watched = NULL;
    const AttributionSite *site;

    go(&x, 1, CACHE_STORE, A + 60, 8, true);
    go(&x, 0, CACHE_STORE, A + 60, 8, true);
    lines = attribution_top_lines(x.a, 9);
    watched = attribution_top_watched(x.a, 9);
    g_assert_cmpuint(lines->len, ==, 2);
    g_assert_cmpuint(watched->len, ==, 2);
    for (unsigned i = 0; i < 2; i++) {
        const AttributionLine *line = lines->pdata[i];
        const AttributionWatched *w = watched->pdata[i];

        g_assert_cmphex(line->place.address, ==, A + i * LINE);
        g_assert_cmphex(line->place.virtual, ==, VIRTUAL(A + i * LINE));
        g_assert_cmphex(w->place.virtual, ==, VIRTUAL(A + i * LINE));
        site = site_of(w, 0, 0);
        g_assert_cmphex(site->writes, ==, i ? 1 : 1 << 15);
        g_assert_cmphex(site->reads, ==, 0);
    }
    free_machine(&x);
}

/*
 * Room for 4: instructions 1 to 4 have 364, 364, 427 and 14 cycles when a fifth
 * comes.  4 goes, and of 1 and 2, which have the same, the higher address.
 */
static void test_full_table(void)
{
    AttributionLimits limits = attribution_limits;
    AttributionSummary s;
    Machine x;
    uint64_t sum = 0;

    limits.pcs = 4;
    x = new_machine(NULL, &limits);
    x.pc = 1;
    load(&x, 0, A);
    x.pc = 2;
    load(&x, 0, A + WAY);
    x.pc = 3;
    load(&x, 1, A);                             /* 63 */
    load(&x, 0, A + 2 * WAY);                   /* 364 more */
    x.pc = 4;
    load(&x, 0, A);                             /* 14 */
    x.pc = 5;
    load(&x, 0, A + 3 * WAY);
    s = summary(&x);
    g_assert_cmpuint(s.pcs.entries, ==, 3);
    g_assert_cmpuint(s.pcs.dropped, ==, 2);
    g_assert_cmpuint(s.pcs.error, ==, MEMORY);
    g_assert_cmpuint(s.pcs.costs.stall[CACHE_BY_MEMORY], ==, MEMORY);
    g_assert_cmpuint(s.pcs.costs.stall[CACHE_BY_L2], ==, L2_HIT);

    /* Nothing is lost in the sum. */
    {
        g_autoptr(GPtrArray) pcs = attribution_top_pcs(x.a, 9);
        const uint64_t left[] = { 3, 1, 5 };

        g_assert_cmpuint(pcs->len, ==, 3);
        for (unsigned i = 0; i < pcs->len; i++) {
            const AttributionPc *pc = pcs->pdata[i];

            g_assert_cmpuint(pc->pc, ==, left[i]);
            sum += attribution_stall(&pc->costs);
        }
    }
    g_assert_cmpuint(sum + attribution_stall(&s.pcs.costs), ==,
                     4 * MEMORY + TRANSFER + L2_HIT);
    g_assert_cmpuint(attribution_stall(&s.all), ==,
                     4 * MEMORY + TRANSFER + L2_HIT);
    free_machine(&x);
}

/* --- Sharing --- */

/*
 * PCPUs 0 and 1 store to words 0 and 8 in turn, each in a loop of its own.  The
 * first store of each is its first access to the line; all others are coherence
 * misses, and the miss of one is known to be of false sharing when the other
 * takes the line away.
 */
static void test_false_sharing(void)
{
    Machine x = new_machine(NULL, NULL);
    g_autoptr(GPtrArray) watched = NULL;
    const AttributionWatched *w;
    const AttributionSite *site;

    x.pc = 0x100;
    g_assert_cmpint(store(&x, 0, A), ==, MEMORY);
    g_assert_false(attribution_wants(x.a, A));
    x.pc = 0x200;
    g_assert_cmpint(store(&x, 1, A + 32), ==, TRANSFER);
    g_assert_true(attribution_wants(x.a, A));
    g_assert_true(attribution_wants(x.a, A + LINE - 1));
    g_assert_false(attribution_wants(x.a, A + LINE));
    assert_sharing(&x, 0, 0, 0, 0, 0);
    for (unsigned i = 1; i <= 10; i++) {
        x.pc = 0x100;
        g_assert_cmpint(store(&x, 0, A), ==, TRANSFER);
        g_assert_cmpint(store(&x, 0, A), ==, 0);        /* a hit */
        assert_sharing(&x, 0, 2 * i - 2, 1, 0, 0);
        x.pc = 0x200;
        g_assert_cmpint(store(&x, 1, A + 32), ==, TRANSFER);
        assert_sharing(&x, 0, 2 * i - 1, 1, 0, 0);
    }

    watched = attribution_top_watched(x.a, 9);
    g_assert_cmpuint(watched->len, ==, 1);
    w = watched->pdata[0];
    g_assert_cmphex(w->place.address, ==, A);
    assert_shares(&w->shares, 0, 19, 1, 0, 0);
    site = site_of(w, 0x100, 0);
    assert_shares(&site->shares, 0, 10, 0, 0, 0);
    g_assert_cmphex(site->writes, ==, 1);
    g_assert_cmphex(site->reads, ==, 0);
    g_assert_cmphex(site->pcpus, ==, 1);
    g_assert_cmpuint(site->accesses, ==, 20);
    site = site_of(w, 0x200, 1);
    assert_shares(&site->shares, 0, 9, 1, 0, 0);
    g_assert_cmphex(site->writes, ==, 1 << 8);
    g_assert_cmphex(site->pcpus, ==, 2);
    g_assert_cmpuint(site->accesses, ==, 11);       /* with the first */
    free_machine(&x);
}

/* PCPU 0 stores to a word that PCPU 1 then loads: what it misses, it needs. */
static void test_true_sharing(void)
{
    Machine x = new_machine(NULL, NULL);

    store(&x, 0, A);
    load(&x, 1, A);                     /* compulsory */
    for (unsigned i = 1; i <= 10; i++) {
        g_assert_cmpint(store(&x, 0, A), ==, TRANSFER);
        assert_sharing(&x, i - 1, 0, 0, 0, i);
        g_assert_cmpint(load(&x, 1, A), ==, TRANSFER);
        assert_sharing(&x, i, 0, 0, 0, i);
    }
    free_machine(&x);
}

/*
 * The first access of a lifetime is to another word, a later one, a hit, to the
 * word that was written: the miss was needed.
 */
static void test_needed_later(void)
{
    Machine x = new_machine(NULL, NULL);

    load(&x, 1, A);
    store(&x, 0, A);
    load(&x, 1, A + 16);
    assert_sharing(&x, 0, 0, 1, 0, 0);
    load(&x, 1, A + 20);
    assert_sharing(&x, 0, 0, 1, 0, 0);
    g_assert_cmpint(load(&x, 1, A), ==, 0);
    assert_sharing(&x, 1, 0, 0, 0, 0);
    free_machine(&x);
}

/*
 * A value that a miss of false sharing brought, and nobody used, is new still:
 *
 *   PCPU 0 stores word 0; PCPU 1 misses for word 4        undecided
 *   PCPU 0 stores word 1                                  false; 0 and 1 new
 *   PCPU 1 misses for word 0                              true, since 0 is new
 *   PCPU 0 stores word 5; PCPU 1 misses for word 1        word 1 came with the
 *                                                         last one: undecided
 *   PCPU 1 loads word 5, a hit                            true
 *
 * The example of docs/cache-reports.rst.
 */
static void test_since_the_last_essential(void)
{
    Machine x = new_machine(NULL, NULL);

    load(&x, 1, A);
    store(&x, 0, A);
    load(&x, 1, A + 16);
    assert_sharing(&x, 0, 0, 1, 0, 0);
    store(&x, 0, A + 4);
    assert_sharing(&x, 0, 1, 0, 0, 1);
    load(&x, 1, A);
    assert_sharing(&x, 1, 1, 0, 0, 1);
    store(&x, 0, A + 20);
    load(&x, 1, A + 4);
    assert_sharing(&x, 1, 1, 1, 0, 2);
    g_assert_cmpint(load(&x, 1, A + 20), ==, 0);
    assert_sharing(&x, 2, 1, 0, 0, 2);
    free_machine(&x);
}

/*
 * The L2 of PCPU 1 evicts the line: the lifetime is over when the next one
 * begins, which is one of capacity, and essential.
 */
static void test_evicted(void)
{
    Machine x = new_machine(NULL, NULL);

    load(&x, 1, A);
    store(&x, 0, A);
    load(&x, 1, A + 16);
    for (unsigned way = 1; way <= 4; way++) {
        load(&x, 1, A + way * WAY);
    }
    store(&x, 0, A + 4);                /* nobody else has it */
    assert_sharing(&x, 0, 0, 1, 0, 0);
    load(&x, 1, A + 16);
    g_assert_cmpuint(outcome(&x)->l2, ==, CACHE_CAPACITY);
    assert_sharing(&x, 0, 1, 0, 0, 0);
    /* It brought words 0 and 1. */
    store(&x, 0, A + 8);
    load(&x, 1, A);
    assert_sharing(&x, 0, 1, 1, 0, 1);
    load(&x, 1, A + 8);
    assert_sharing(&x, 1, 1, 0, 0, 1);
    free_machine(&x);
}

/*
 * Attribution begins after PCPUs 1 and 2 have lost the line: nobody knows what
 * was written meanwhile.  From the next loss on it is known.
 */
static void test_begun_late(void)
{
    Machine x = new_machine(NULL, NULL);

    go(&x, 1, CACHE_LOAD, A, 4, false);
    go(&x, 2, CACHE_LOAD, A, 4, false);
    go(&x, 0, CACHE_STORE, A, 4, false);
    load(&x, 1, A);
    assert_sharing(&x, 0, 0, 0, 1, 0);
    g_assert_false(attribution_wants(x.a, A));
    store(&x, 0, A);                    /* takes it from 1, and is not a miss */
    g_assert_true(attribution_wants(x.a, A));
    load(&x, 2, A);
    assert_sharing(&x, 0, 0, 0, 2, 1);
    load(&x, 1, A + 4);
    assert_sharing(&x, 0, 0, 1, 2, 1);
    free_machine(&x);
}

static void test_reset(void)
{
    Machine x = new_machine(NULL, NULL);
    AttributionSummary s;

    load(&x, 1, A);
    store(&x, 0, A);
    load(&x, 1, A + 16);                /* undecided, and does not count */
    attribution_reset(x.a);
    s = summary(&x);
    g_assert_cmpuint(attribution_stall(&s.all), ==, 0);
    g_assert_cmpuint(s.pcs.entries + s.lines.entries + s.sites, ==, 0);
    g_assert_true(attribution_wants(x.a, A));
    store(&x, 0, A + 4);
    assert_sharing(&x, 0, 0, 0, 0, 1);
    load(&x, 1, A);                     /* word 0 is new still: as without */
    assert_sharing(&x, 1, 0, 0, 0, 1);
    free_machine(&x);
}

/* --- Full tables of sharing --- */

static void test_watched_limit(void)
{
    AttributionLimits limits = attribution_limits;
    AttributionSummary s;
    Machine x;

    limits.watched = 2;
    x = new_machine(NULL, &limits);
    for (unsigned i = 0; i < 3; i++) {
        load(&x, 1, A + i * LINE);
        store(&x, 0, A + i * LINE);
        if (i == 0) {
            load(&x, 1, A);                     /* true sharing, 63 cycles */
        } else if (i == 1) {
            load(&x, 1, A + LINE + 4);          /* undecided, 63 cycles */
            load(&x, 1, A + WAY);
        }
    }
    /* Of equal ones the lower address stays. */
    g_assert_true(attribution_wants(x.a, A));
    g_assert_false(attribution_wants(x.a, A + LINE));
    g_assert_true(attribution_wants(x.a, A + 2 * LINE));
    s = summary(&x);
    g_assert_cmpuint(s.watched, ==, 2);
    g_assert_cmpuint(s.watched_dropped, ==, 1);
    assert_sharing(&x, 1, 0, 0, 1, 0);
    /* Watched again, and what PCPU 1 has not seen before is known. */
    store(&x, 0, A + LINE);
    g_assert_true(attribution_wants(x.a, A + LINE));
    load(&x, 1, A + LINE);
    assert_sharing(&x, 2, 0, 0, 1, 1);
    free_machine(&x);
}

static void test_site_limit(void)
{
    AttributionLimits limits = attribution_limits;
    g_autoptr(GPtrArray) watched = NULL;
    const AttributionWatched *w;
    unsigned sites = 0;
    Machine x;

    limits.line_sites = 2;
    x = new_machine(NULL, &limits);
    load(&x, 1, A);
    for (unsigned i = 0; i < 6; i++) {
        x.pc = 0x100 + i;
        store(&x, i, A + 4 * i);
    }
    watched = attribution_top_watched(x.a, 1);
    w = watched->pdata[0];
    for (const AttributionSite *s = w->sites; s; s = s->next) {
        sites++;
        if (s->others) {
            g_assert_cmphex(s->writes, ==, 0x3c);       /* words 2 to 5 */
            g_assert_cmphex(s->pcpus, ==, 0x3c);
            g_assert_cmpuint(s->accesses, ==, 4);
        }
    }
    g_assert_cmpuint(sites, ==, 3);
    g_assert_nonnull(site_of(w, 0x100, 0));
    g_assert_nonnull(site_of(w, 0x101, 1));
    free_machine(&x);
}

/* --- An independent model: the rule, applied to a recorded run --- */

#define RANDOM_PCPUS 4
#define RANDOM_LINES 24
#define RANDOM_STEPS 40000

typedef struct Step {
    unsigned pcpu, line;
    bool write;
    uint64_t words;
    CacheMiss l2;
    uint64_t taken;
} Step;

/* Whether @pcpu's lifetime of @line that begins at @from is over at @i */
static bool ends(const Step *step, unsigned i, unsigned pcpu, unsigned line)
{
    return step[i].line == line &&
           ((step[i].taken >> pcpu & 1) ||
            (step[i].pcpu == pcpu && step[i].l2 != CACHE_HIT));
}

/*
 * For each PCPU and line, from one miss to the next.  What others wrote is
 * looked for in the whole run since the last essential miss, each time.
 */
static void classify(const Step *step, unsigned steps, unsigned pcpu,
                     unsigned line, uint64_t *number)
{
    unsigned essential = 0;

    for (unsigned i = 0; i < steps; i++) {
        uint64_t wrote = 0, touched = 0;
        unsigned j;

        if (step[i].pcpu != pcpu || step[i].line != line ||
            step[i].l2 == CACHE_HIT) {
            continue;
        }
        for (j = essential; j < i; j++) {
            if (step[j].line == line && step[j].pcpu != pcpu && step[j].write) {
                wrote |= step[j].words;
            }
        }
        for (j = i; j < steps && (j == i || !ends(step, j, pcpu, line)); j++) {
            if (step[j].line == line && step[j].pcpu == pcpu) {
                touched |= step[j].words;
            }
        }
        if (step[i].l2 != CACHE_COHERENCE) {
            essential = i;
        } else if (wrote & touched) {
            number[ATTRIBUTION_TRUE]++;
            essential = i;
        } else {
            number[j < steps ? ATTRIBUTION_FALSE : ATTRIBUTION_UNDECIDED]++;
        }
    }
}

/* The filter that whoever executes guest code has: rights, by PCPU and line */
static unsigned rights[RANDOM_PCPUS][RANDOM_LINES];

static void withdraw(void *opaque, unsigned pcpu, CacheKind kind, uint32_t set,
                     uint64_t address, unsigned lost)
{
    rights[pcpu][(address - A) / LINE] &= ~lost;
}

/*
 * Random loads and stores of 24 lines in L2s of 16.  What the filter recognises
 * does not reach the model, and so not attribution; the independent model sees
 * everything.
 */
static void test_random(void)
{
    CacheConfig c;
    Machine x;
    g_autofree Step *step = g_new0(Step, RANDOM_STEPS);
    g_autoptr(GRand) rand = g_rand_new_with_seed(12);
    uint64_t number[ATTRIBUTION_SHARINGS] = {}, filtered = 0;
    AttributionSummary s;

    cache_config_default(&c);
    c.l1i.size = c.l1d.size = 4 * LINE;
    c.l2.size = 16 * LINE;
    c.l2.banks = 1;
    x = new_machine(&c, NULL);
    memset(rights, 0, sizeof(rights));
    cache_model_on_withdraw(x.m, withdraw, NULL);
    for (unsigned i = 0; i < RANDOM_STEPS; i++) {
        unsigned word = g_rand_int_range(rand, 0, 16);
        unsigned size = word % 2 ? 4 : 4 << g_rand_int_range(rand, 0, 2);
        Step *now = &step[i];
        uint64_t address;

        *now = (Step) {
            .pcpu = g_rand_int_range(rand, 0, RANDOM_PCPUS),
            /* Half of them to a quarter of the lines */
            .line = g_rand_int_range(rand, 0, g_rand_boolean(rand) ?
                                     RANDOM_LINES / 4 : RANDOM_LINES),
            .write = g_rand_int_range(rand, 0, 4) == 0,
            .words = (size == 8 ? UINT64_C(3) : UINT64_C(1)) << word,
            .l2 = CACHE_HIT,
        };
        address = A + now->line * LINE;
        if (rights[now->pcpu][now->line] &
            (now->write ? CACHE_MAY_WRITE : CACHE_MAY_READ)) {
            filtered++;
            continue;
        }
        go(&x, now->pcpu, now->write ? CACHE_STORE : CACHE_LOAD,
           address + 4 * word, size, true);
        now->l2 = outcome(&x)->l2;
        now->taken = outcome(&x)->taken;
        rights[now->pcpu][now->line] =
            attribution_wants(x.a, address) ? 0 :
            cache_model_grant(x.m, now->pcpu, CACHE_LOAD, address);
    }
    for (unsigned pcpu = 0; pcpu < RANDOM_PCPUS; pcpu++) {
        for (unsigned line = 0; line < RANDOM_LINES; line++) {
            classify(step, RANDOM_STEPS, pcpu, line, number);
        }
    }
    s = summary(&x);
    for (AttributionSharing k = 0; k <= ATTRIBUTION_UNKNOWN; k++) {
        g_assert_cmpuint(s.shares.number[k], ==, number[k]);
    }
    /* There was something to find. */
    g_assert_cmpuint(number[ATTRIBUTION_TRUE], >, 1000);
    g_assert_cmpuint(number[ATTRIBUTION_FALSE], >, 1000);
    g_assert_cmpuint(number[ATTRIBUTION_UNDECIDED], >, 0);
    g_assert_cmpuint(filtered, >, 0);
    free_machine(&x);
}

/* --- Saved states --- */

/* Random traffic of all PCPUs, some of it of lines that nobody shares */
static void traffic(Machine *x, GRand *rand, unsigned steps)
{
    for (unsigned i = 0; i < steps; i++) {
        unsigned pcpu = g_rand_int_range(rand, 0, VCPUS);
        uint64_t address = A + 4 * g_rand_int_range(rand, 0, 512) +
                           (g_rand_boolean(rand) ? 0 : (pcpu + 1) * WAY);

        x->pc = 0x400 + 4 * g_rand_int_range(rand, 0, 20);
        x->user = g_rand_boolean(rand);
        if (g_rand_boolean(rand)) {
            load(x, pcpu, address);
        } else {
            store(x, pcpu, address);
        }
    }
}

static GVariant *save(const Machine *x)
{
    return g_variant_ref_sink(attribution_save(x->a));
}

static void assert_same(GVariant *a, GVariant *b)
{
    g_assert_cmpmem(g_variant_get_data(a), g_variant_get_size(a),
                    g_variant_get_data(b), g_variant_get_size(b));
}

static AttributionLimits small_limits(void)
{
    return (AttributionLimits) {
        .pcs = 30, .lines = 40, .watched = 20, .line_sites = 6, .sites = 90
    };
}

/* Goes on as the one that was never saved. */
static void test_save(void)
{
    AttributionLimits limits = small_limits();
    Machine x = new_machine(NULL, &limits), y = new_machine(NULL, &limits);
    g_autoptr(GRand) one = g_rand_new_with_seed(1);
    g_autoptr(GRand) other = g_rand_new_with_seed(2);
    g_autoptr(GVariant) state = NULL, later = NULL, again = NULL;
    g_autoptr(GByteArray) model = NULL;
    AttributionSummary s;
    char *why = NULL;

    traffic(&x, one, 5000);
    attribution_reset(x.a);
    traffic(&x, one, 5000);
    traffic(&y, other, 3000);
    state = save(&x);
    model = cache_model_save(x.m);
    g_assert_true(cache_model_load(y.m, model->data, model->len, &why));
    g_assert_true(attribution_load(y.a, state, &why));
    again = save(&y);
    assert_same(state, again);
    y.clock = x.clock;
    g_rand_free(g_steal_pointer(&other));
    other = g_rand_copy(one);
    traffic(&x, one, 5000);
    traffic(&y, other, 5000);
    g_variant_unref(g_steal_pointer(&again));
    later = save(&x);
    again = save(&y);
    assert_same(later, again);
    /* All of it was there: full tables, all kinds of sharing. */
    s = summary(&x);
    g_assert_cmpuint(s.pcs.dropped, >, 0);
    g_assert_cmpuint(s.watched_dropped, >, 0);
    for (AttributionSharing k = 0; k < ATTRIBUTION_SHARINGS; k++) {
        g_assert_cmpuint(s.shares.number[k], >, 0);
    }
    free_machine(&x);
    free_machine(&y);
}

static void test_refused(void)
{
    AttributionLimits limits = small_limits(), others = small_limits();
    Machine x = new_machine(NULL, &limits), y;
    g_autoptr(GRand) rand = g_rand_new_with_seed(3);
    g_autoptr(GVariant) state = NULL, before = NULL, after = NULL;
    char *why = NULL;

    traffic(&x, rand, 1000);
    state = save(&x);
    others.lines = 41;
    y = new_machine(NULL, &others);
    traffic(&y, rand, 1000);
    before = save(&y);
    g_assert_false(attribution_load(y.a, state, &why));
    g_assert_cmpstr(why, ==,
                    "state of attribution: lines: 40, this one has 41");
    g_free(why);
    after = save(&y);
    assert_same(before, after);
    free_machine(&x);
    free_machine(&y);
}

/* Bytes that are wrong are refused, or are another state that can be. */
static void test_damaged(void)
{
    AttributionLimits limits = small_limits();
    Machine x = new_machine(NULL, &limits), y = new_machine(NULL, &limits);
    g_autoptr(GRand) rand = g_rand_new_with_seed(4);
    g_autoptr(GVariant) state = NULL;
    unsigned refused = 0;

    traffic(&x, rand, 500);
    state = save(&x);
    for (unsigned i = 0; i < 2000; i++) {
        gsize size = g_variant_get_size(state);
        uint8_t *bytes = g_memdup2(g_variant_get_data(state), size);
        g_autoptr(GVariant) before = save(&y);
        g_autoptr(GVariant) after = NULL, wrong = NULL;
        char *why = NULL;

        bytes[g_rand_int_range(rand, 0, size)] ^=
            1 << g_rand_int_range(rand, 0, 8);
        if (i % 10 == 0) {
            size = g_rand_int_range(rand, 0, size);
        }
        wrong = g_variant_new_from_data(G_VARIANT_TYPE(ATTRIBUTION_STATE),
                                        bytes, size, false, g_free, bytes);
        g_variant_ref_sink(wrong);
        if (attribution_load(y.a, wrong, &why)) {
            traffic(&y, rand, 20);
        } else {
            refused++;
            g_assert_true(g_str_has_prefix(why, "state of attribution: "));
            g_free(why);
            after = save(&y);
            assert_same(before, after);
        }
    }
    g_assert_cmpuint(refused, >, 300);
    free_machine(&x);
    free_machine(&y);
}

static void test_forget(void)
{
    Machine x = new_machine(NULL, NULL), y = new_machine(NULL, NULL);
    g_autoptr(GRand) rand = g_rand_new_with_seed(5);
    g_autoptr(GVariant) forgotten = NULL, none = save(&y);

    traffic(&x, rand, 1000);
    attribution_forget(x.a);
    forgotten = save(&x);
    assert_same(forgotten, none);
    free_machine(&x);
    free_machine(&y);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/attribution/outcomes", test_outcomes);
    g_test_add_func("/attribution/outcomes-of-lines", test_outcomes_of_lines);
    g_test_add_func("/attribution/costs", test_costs);
    g_test_add_func("/attribution/two-lines", test_two_lines);
    g_test_add_func("/attribution/full-table", test_full_table);
    g_test_add_func("/attribution/false-sharing", test_false_sharing);
    g_test_add_func("/attribution/true-sharing", test_true_sharing);
    g_test_add_func("/attribution/needed-later", test_needed_later);
    g_test_add_func("/attribution/since-the-last-essential",
                    test_since_the_last_essential);
    g_test_add_func("/attribution/evicted", test_evicted);
    g_test_add_func("/attribution/begun-late", test_begun_late);
    g_test_add_func("/attribution/reset", test_reset);
    g_test_add_func("/attribution/watched-limit", test_watched_limit);
    g_test_add_func("/attribution/site-limit", test_site_limit);
    g_test_add_func("/attribution/random", test_random);
    g_test_add_func("/attribution/save", test_save);
    g_test_add_func("/attribution/refused", test_refused);
    g_test_add_func("/attribution/damaged", test_damaged);
    g_test_add_func("/attribution/forget", test_forget);
    return g_test_run();
}
