/*
 * Unit tests of the cache model: closed forms with cycles worked out by hand,
 * an independent model, VCPU switches, counters, saved states
 *
 * The machine is that of Wells et al. without random addition.  What an access
 * costs there, when nothing else goes on (docs/devel/cache-model.rst):
 *
 *   L1 1 | L2 14 | hop 10 | directory 5 | ... | hop 10
 *
 *   L2 hit                1 + 14                              =  15
 *   upgrade, no sharers  15 + 10 + 5 + 10                     =  40
 *   L3 hit               15 + 10 + 20 + 10                    =  55  (table 2)
 *   other L2             15 + 10 + 5 + 10 + 14 + 10           =  64
 *   memory               15 + 10 + 5 + 325 + 10               = 365  (table 2)
 *
 * A stall is one cycle less: the instruction hides the L1's.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "cache-array.h"
#include "cache-model.h"

#define L2_HIT    14
#define UPGRADE   39
#define L3_HIT    54
#define TRANSFER  63
#define MEMORY   364

#define LINE     64
#define VCPUS    8
#define STATE_AT (UINT64_C(1) << 40)
#define REGISTERS 277           /* 64-bit words: Wells et al., section 4.3 */

/* A model, and a clock for each PCPU */
typedef struct Machine {
    CacheModel *m;
    int64_t clock[CACHE_PCPUS_MAX];
} Machine;

static CacheConfig paper(void)
{
    CacheConfig c;

    cache_config_default(&c);
    c.memory_variation = 0;
    return c;
}

/* VCPUs 0 to 3 are VM 0, VCPUs 4 to 7 are VM 1. */
static Machine *new_machine(const CacheConfig *config, unsigned pcpus,
                            uint64_t seed)
{
    static const unsigned vm[VCPUS] = { 0, 0, 0, 0, 1, 1, 1, 1 };
    CacheMachine machine = {
        .pcpus = pcpus,
        .vcpus = VCPUS,
        .vms = 2,
        .vm = vm,
        .seed = seed,
        .state_base = STATE_AT,
        .state_words = REGISTERS + 2 * 16,
    };
    Machine *x = g_new0(Machine, 1);
    char *why = NULL;

    x->m = cache_model_new(config, &machine, &why);
    g_assert_cmpstr(why, ==, NULL);
    return x;
}

static void free_machine(Machine *x)
{
    char *why = NULL;

    cache_model_check(x->m, &why);
    g_assert_cmpstr(why, ==, NULL);
    cache_model_free(x->m);
    g_free(x);
}

/* VCPU n runs on PCPU n, privileged; returns the stall. */
static int64_t go_atomic(Machine *x, unsigned pcpu, CacheKind kind,
                         uint64_t address, bool exclusive)
{
    CacheAccess a = {
        .exclusive = exclusive,
        .cycle = x->clock[pcpu],
        .address = address,
        .size = 8,
        .pcpu = pcpu,
        .vcpu = pcpu % VCPUS,
        .kind = kind,
    };
    int64_t stall = cache_model_access(x->m, &a);

    x->clock[pcpu] += 1 + stall;
    return stall;
}

static int64_t go(Machine *x, unsigned pcpu, CacheKind kind, uint64_t address)
{
    return go_atomic(x, pcpu, kind, address, false);
}

static int64_t load(Machine *x, unsigned pcpu, uint64_t address)
{
    return go(x, pcpu, CACHE_LOAD, address);
}

static int64_t store(Machine *x, unsigned pcpu, uint64_t address)
{
    return go(x, pcpu, CACHE_STORE, address);
}

static int64_t fetch(Machine *x, unsigned pcpu, uint64_t address)
{
    return go(x, pcpu, CACHE_FETCH, address);
}

static CacheCounters counters(const Machine *x, unsigned pcpu)
{
    CacheCounters c;

    cache_model_pcpu_counters(x->m, pcpu, false, &c);
    return c;
}

static uint64_t misses(const CacheCounters *c, CacheLevel level)
{
    return c->misses[level][CACHE_COMPULSORY] +
           c->misses[level][CACHE_CAPACITY] + c->misses[level][CACHE_COHERENCE];
}

/* All PCPUs go on from the same cycle, long after all that was. */
static void rest(Machine *x)
{
    int64_t last = 0;

    for (unsigned i = 0; i < CACHE_PCPUS_MAX; i++) {
        last = MAX(last, x->clock[i]);
    }
    last = (last / 8000 + 1) * 8000;
    for (unsigned i = 0; i < CACHE_PCPUS_MAX; i++) {
        x->clock[i] = last;
    }
}

/* --- Latencies --- */

static void test_latencies(void)
{
    CacheConfig c = paper();
    Machine *x = new_machine(&c, 2, 1);

    g_assert_cmpint(load(x, 0, 0x1000), ==, MEMORY);
    g_assert_cmpint(load(x, 0, 0x1038), ==, 0);         /* the same line */
    rest(x);
    g_assert_cmpint(load(x, 1, 0x1000), ==, TRANSFER);  /* S forwards */
    rest(x);
    g_assert_cmpint(store(x, 1, 0x1000), ==, TRANSFER); /* S: take from 0 */
    g_assert_cmpint(store(x, 1, 0x1000), ==, 0);
    rest(x);
    g_assert_cmpint(load(x, 0, 0x1000), ==, TRANSFER);  /* O forwards */
    rest(x);
    g_assert_cmpint(load(x, 0, 0x2000), ==, MEMORY);
    g_assert_cmpint(store(x, 0, 0x2000), ==, UPGRADE);  /* nobody else */
    free_machine(x);
}

/* With E the first store to private data costs nothing. */
static void test_protocols(void)
{
    static const struct {
        CacheProtocol protocol;
        int64_t first_store;
        uint64_t memory_writes;         /* when a dirty line is read */
    } expected[] = {
        { CACHE_MSI, UPGRADE, 1 },
        { CACHE_MESI, 0, 1 },
        { CACHE_MOSI, UPGRADE, 0 },
        { CACHE_MOESI, 0, 0 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(expected); i++) {
        CacheConfig c = paper();
        Machine *x;

        c.protocol = expected[i].protocol;
        x = new_machine(&c, 2, 1);
        g_assert_cmpint(load(x, 0, 0), ==, MEMORY);
        g_assert_cmpint(store(x, 0, 0), ==, expected[i].first_store);
        rest(x);
        g_assert_cmpint(load(x, 1, 0), ==, TRANSFER);
        g_assert_cmpuint(counters(x, 1).memory_writes, ==,
                         expected[i].memory_writes);
        g_assert_cmpuint(cache_model_events(x->m, 0)->downgraded, ==, 1);
        free_machine(x);
    }
}

/* A shared clean line comes from an L2, or from memory. */
static void test_forward_shared(void)
{
    CacheConfig c = paper();
    Machine *x;

    c.forward_shared = 0;
    x = new_machine(&c, 3, 1);
    g_assert_cmpint(load(x, 0, 0), ==, MEMORY);
    rest(x);
    g_assert_cmpint(load(x, 1, 0), ==, MEMORY);
    rest(x);
    /* With an owner, it is the owner who sends it. */
    g_assert_cmpint(store(x, 1, 0), ==, TRANSFER);
    rest(x);
    g_assert_cmpint(load(x, 2, 0), ==, TRANSFER);
    g_assert_cmpuint(cache_model_events(x->m, 1)->supplied, ==, 1);
    free_machine(x);
}

/* An access over the end of a line is two, one after the other. */
static void test_lines_are_split(void)
{
    CacheConfig c = paper();
    Machine *x = new_machine(&c, 1, 1);
    CacheAccess a = { .address = 60, .size = 8, .kind = CACHE_LOAD };
    CacheAccess page = { .cycle = 5000, .address = 4096, .size = 256,
                         .kind = CACHE_STORE };
    CacheAccess wraps = { .cycle = 10000, .address = UINT64_MAX, .size = 2,
                          .kind = CACHE_LOAD };
    CacheCounters n;

    g_assert_cmpint(cache_model_access(x->m, &a), ==, 2 * MEMORY);
    g_assert_cmpint(cache_model_access(x->m, &page), ==, 4 * MEMORY);
    /* The last byte that there is, and the first, which the L1D has. */
    g_assert_cmpint(cache_model_access(x->m, &wraps), ==, MEMORY);
    n = counters(x, 0);
    g_assert_cmpuint(n.accesses[CACHE_LOAD], ==, 4);
    g_assert_cmpuint(n.accesses[CACHE_STORE], ==, 4);
    g_assert_cmpuint(misses(&n, CACHE_L1D), ==, 7);
    free_machine(x);
}

/* Code that is written: the L1s of a PCPU do not hold what the other writes. */
static void test_own_code_is_written(void)
{
    CacheConfig c = paper();
    Machine *x = new_machine(&c, 1, 1);
    CacheCounters n;

    g_assert_cmpint(fetch(x, 0, 0), ==, MEMORY);        /* L1I S, L2 S */
    g_assert_cmpint(store(x, 0, 0), ==, UPGRADE);       /* L1D M, L2 M */
    g_assert_cmpint(fetch(x, 0, 0), ==, L2_HIT);        /* L1I S, L1D S */
    g_assert_cmpint(store(x, 0, 0), ==, L2_HIT);        /* L1D M */
    n = counters(x, 0);
    g_assert_cmpuint(n.misses[CACHE_L1I][CACHE_COMPULSORY], ==, 1);
    g_assert_cmpuint(n.misses[CACHE_L1I][CACHE_COHERENCE], ==, 1);
    g_assert_cmpuint(n.upgrades, ==, 1);
    g_assert_cmpuint(n.write_backs[CACHE_L1D], ==, 1);
    free_machine(x);
}

/* Each preset costs what its file says, level by level, less the L1's. */
static void test_presets(void)
{
    static const char *const names[] = {
        "wells-2006", "zen4-ccd", "sapphire-rapids", "graviton2",
    };
    const char *presets = g_getenv("CACHE_CONFIGS") ?: "configs/caches";

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *file = g_strdup_printf("%s/%s.conf", presets,
                                                names[i]);
        CacheConfig c;
        char *why = NULL;
        uint64_t l1_way, l2_way;
        Machine *x;

        cache_config_load(&c, file, &why);
        g_assert_cmpstr(why, ==, NULL);
        c.memory_variation = 0;
        l1_way = c.l1d.size / c.l1d.ways;
        l2_way = c.l2.size / c.l2.ways;
        x = new_machine(&c, 1, 1);
        g_assert_cmpuint(cache_model_l1_sets(x->m, CACHE_LOAD), ==,
                         l1_way / LINE);

        /* One line more than a set of the L1 has ways: the first is gone. */
        for (unsigned n = 0; n <= c.l1d.ways; n++) {
            g_assert_cmpint(load(x, 0, n * l1_way), ==,
                            c.memory_latency - c.l1d.latency);
        }
        g_assert_cmpint(load(x, 0, 0), ==, c.l2.latency - c.l1d.latency);

        /* And of the L2, in another set */
        for (unsigned n = 0; n <= c.l2.ways; n++) {
            load(x, 0, LINE + (n + 1) * l2_way);
        }
        g_assert_cmpint(load(x, 0, LINE + l2_way), ==,
                        c.l3.latency - c.l1d.latency);
        free_machine(x);
    }
}

/* --- Closed forms --- */

/* N bytes, 8 at a time: N / 64 misses, each as long as memory */
static void test_streaming(void)
{
    const uint64_t bytes = 128 * 1024;
    CacheConfig c = paper();
    Machine *x = new_machine(&c, 1, 1);
    int64_t stall = 0;
    CacheCounters n;

    for (uint64_t at = 0; at < bytes; at += 8) {
        stall += load(x, 0, at);
    }
    n = counters(x, 0);
    g_assert_cmpint(stall, ==, bytes / LINE * MEMORY);
    g_assert_cmpuint(n.accesses[CACHE_LOAD], ==, bytes / 8);
    g_assert_cmpuint(n.misses[CACHE_L1D][CACHE_COMPULSORY], ==, bytes / LINE);
    g_assert_cmpuint(n.misses[CACHE_L3][CACHE_COMPULSORY], ==, bytes / LINE);
    g_assert_cmpuint(n.stall[CACHE_BY_MEMORY], ==, stall);
    g_assert_cmpuint(n.waits[CACHE_MEMORY], ==, 0);

    /* Again: it fits the L2, not the L1 of 16 kB, so LRU misses always. */
    stall = 0;
    for (uint64_t at = 0; at < bytes; at += 8) {
        stall += load(x, 0, at);
    }
    n = counters(x, 0);
    g_assert_cmpint(stall, ==, bytes / LINE * L2_HIT);
    g_assert_cmpuint(n.misses[CACHE_L1D][CACHE_CAPACITY], ==, bytes / LINE);
    g_assert_cmpuint(misses(&n, CACHE_L2), ==, bytes / LINE);
    free_machine(x);
}

/*
 * One line more than a set has ways: LRU always misses.  Three lines 8 kB apart
 * share a set of the L1D (128 sets, 2 ways) and not one of the L2; five lines
 * 128 kB apart share a set of the L2 (2048 sets, 4 ways).
 */
static void test_set_conflict(void)
{
    static const struct {
        unsigned lines;
        uint64_t apart;
        int64_t stall;
        CacheServer server;
    } form[] = {
        { 2, 8192, 0, CACHE_BY_L2 },            /* both fit the L1D */
        { 3, 8192, L2_HIT, CACHE_BY_L2 },
        { 4, 131072, L2_HIT, CACHE_BY_L2 },     /* four fit the L2 */
        { 5, 131072, L3_HIT, CACHE_BY_L3 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(form); i++) {
        CacheConfig c = paper();
        Machine *x = new_machine(&c, 1, 1);

        for (unsigned round = 0; round < 10; round++) {
            for (unsigned line = 0; line < form[i].lines; line++) {
                int64_t stall = load(x, 0, line * form[i].apart);

                g_assert_cmpint(stall, ==, round ? form[i].stall : MEMORY);
            }
        }
        g_assert_cmpuint(counters(x, 0).served[form[i].server], ==,
                         form[i].stall ? 9 * form[i].lines : 0);
        free_machine(x);
    }
}

/* A chase over k lines costs what the level costs that holds all of them. */
static void test_pointer_chase(void)
{
    static const struct {
        unsigned lines;
        int64_t stall;
    } form[] = {
        { 256, 0 },                     /* 16 kB: L1D */
        { 8192, L2_HIT },               /* 512 kB: L2 */
        { 12288, L3_HIT },              /* 6 for each L2 set of 4 ways: L3 */
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(form); i++) {
        unsigned lines = form[i].lines;
        CacheConfig c = paper();
        Machine *x = new_machine(&c, 1, 1);

        /* Line n is followed by n + 1: every set gets its lines in turn. */
        for (unsigned line = 0; line < lines; line++) {
            g_assert_cmpint(load(x, 0, line * LINE), ==, MEMORY);
        }
        for (unsigned line = 0; line < lines; line++) {
            g_assert_cmpint(load(x, 0, line * LINE), ==, form[i].stall);
        }
        free_machine(x);
    }
}

/* Two PCPUs write to two words of one line, in turn. */
static void test_false_sharing(void)
{
    CacheConfig c = paper();
    Machine *x = new_machine(&c, 2, 1);
    CacheCounters n;

    g_assert_cmpint(store(x, 0, 0), ==, MEMORY);
    for (unsigned i = 0; i < 100; i++) {
        rest(x);
        g_assert_cmpint(store(x, 1, 8), ==, TRANSFER);
        rest(x);
        g_assert_cmpint(store(x, 0, 0), ==, TRANSFER);
    }
    n = counters(x, 0);
    g_assert_cmpuint(n.misses[CACHE_L1D][CACHE_COHERENCE], ==, 100);
    g_assert_cmpuint(n.misses[CACHE_L2][CACHE_COHERENCE], ==, 100);
    g_assert_cmpuint(n.served[CACHE_BY_TRANSFER], ==, 100);
    g_assert_cmpuint(n.invalidations, ==, 100);
    g_assert_cmpuint(n.memory_writes, ==, 0);
    g_assert_cmpuint(cache_model_events(x->m, 1)->taken, ==, 100);
    n = counters(x, 1);
    g_assert_cmpuint(n.misses[CACHE_L2][CACHE_COMPULSORY], ==, 1);
    g_assert_cmpuint(n.misses[CACHE_L2][CACHE_COHERENCE], ==, 99);
    free_machine(x);
}

/* One PCPU writes, @readers read: then its next store takes all copies away. */
static void test_producer_and_consumers(void)
{
    for (unsigned readers = 1; readers <= 7; readers += 3) {
        CacheConfig c = paper();
        Machine *x = new_machine(&c, 8, 1);

        g_assert_cmpint(store(x, 0, 0), ==, MEMORY);
        for (unsigned round = 0; round < 20; round++) {
            for (unsigned p = 1; p <= readers; p++) {
                rest(x);
                g_assert_cmpint(load(x, p, 0), ==, TRANSFER);
            }
            rest(x);
            /* O to M; the answers of all sharers come in the same cycle. */
            g_assert_cmpint(store(x, 0, 0), ==, TRANSFER);
        }
        g_assert_cmpuint(counters(x, 0).served[CACHE_BY_UPGRADE], ==, 20);
        g_assert_cmpuint(counters(x, 0).invalidations, ==, 20 * readers);
        g_assert_cmpuint(cache_model_events(x->m, 0)->supplied, ==,
                         20 * readers);
        free_machine(x);
    }
}

/*
 * The load of an atomic operation: where the L1 has no copy, it takes the line
 * with the right to write; where it has one to read, the store asks.
 */
static void test_atomic(void)
{
    CacheConfig c = paper();
    Machine *x = new_machine(&c, 2, 1);

    g_assert_cmpint(store(x, 0, 0), ==, MEMORY);
    rest(x);
    g_assert_cmpint(go_atomic(x, 1, CACHE_LOAD, 0, true), ==, TRANSFER);
    g_assert_cmpint(store(x, 1, 0), ==, 0);
    g_assert_cmpuint(counters(x, 0).invalidations, ==, 0);
    g_assert_cmpuint(cache_model_events(x->m, 0)->taken, ==, 1);

    rest(x);
    g_assert_cmpint(load(x, 0, 0), ==, TRANSFER);       /* O there, S here */
    rest(x);
    g_assert_cmpint(go_atomic(x, 0, CACHE_LOAD, 0, true), ==, 0);
    g_assert_cmpint(load(x, 1, 0), ==, 0);              /* it kept its copy */
    g_assert_cmpuint(counters(x, 0).upgrades, ==, 0);
    g_assert_cmpint(store(x, 0, 0), ==, TRANSFER);      /* S to M: O answers */
    g_assert_cmpuint(counters(x, 0).upgrades, ==, 1);
    g_assert_cmpint(go_atomic(x, 0, CACHE_LOAD, 0, true), ==, 0);
    free_machine(x);
}

/* Dirty lines: L1D, L2, L3, memory; each step when the level is full. */
static void test_write_backs(void)
{
    CacheConfig c = paper();
    Machine *x = new_machine(&c, 1, 1);
    CacheCounters n;

    /* 3 in a set of 2: one leaves the L1D. */
    for (unsigned i = 0; i < 3; i++) {
        store(x, 0, i * 8192);
    }
    n = counters(x, 0);
    g_assert_cmpuint(n.write_backs[CACHE_L1D], ==, 1);
    g_assert_cmpuint(n.write_backs[CACHE_L2], ==, 0);
    free_machine(x);

    /* 4 + 16 + 1 lines that share a set of L2 and L3 (8192 sets, 512 kB). */
    x = new_machine(&c, 1, 1);
    for (unsigned i = 0; i < 21; i++) {
        store(x, 0, i * 524288);
    }
    n = counters(x, 0);
    g_assert_cmpuint(n.write_backs[CACHE_L2], ==, 17);
    g_assert_cmpuint(n.write_backs[CACHE_L3], ==, 1);
    g_assert_cmpuint(n.memory_writes, ==, 1);
    g_assert_cmpuint(n.clean_victims, ==, 0);
    rest(x);
    g_assert_cmpint(load(x, 0, 524288), ==, L3_HIT);    /* dirty: M again */
    g_assert_cmpint(store(x, 0, 524288), ==, 0);
    free_machine(x);
}

/* --- An independent model: lists, those that stay longest first --- */

typedef struct List {
    uint64_t line[65];          /* one more than any ways */
    unsigned n;
} List;

static bool list_has(const List *l, uint64_t line)
{
    for (unsigned i = 0; i < l->n; i++) {
        if (l->line[i] == line) {
            return true;
        }
    }
    return false;
}

static void list_remove(List *l, uint64_t line)
{
    for (unsigned i = 0; i < l->n; i++) {
        if (l->line[i] == line) {
            memmove(&l->line[i], &l->line[i + 1],
                    (--l->n - i) * sizeof(l->line[0]));
            return;
        }
    }
}

/* Puts @line first; returns the last one if there are more than @ways. */
static uint64_t list_push(List *l, uint64_t line, unsigned ways)
{
    memmove(&l->line[1], &l->line[0], l->n * sizeof(l->line[0]));
    l->line[0] = line;
    return ++l->n > ways ? l->line[--l->n] : UINT64_MAX;
}

typedef struct Naive {
    const CacheConfig *c;
    List *l1, *l2, *l3;
    uint64_t misses[3];
} Naive;

static unsigned sets(const CacheLevelConfig *level)
{
    return level->size / (level->ways * LINE);
}

static void list_hit(const Naive *v, List *l, uint64_t line, unsigned ways)
{
    if (v->c->l2.replacement == CACHE_LRU) {
        list_remove(l, line);
        list_push(l, line, ways);
    }
}

/* One PCPU: an L1 in its L2, and an L3 that has what the L2 gave up */
static void naive_access(Naive *v, uint64_t line)
{
    const CacheConfig *c = v->c;
    List *l1 = &v->l1[line % sets(&c->l1d)];
    List *l2 = &v->l2[line % sets(&c->l2)];
    List *l3 = &v->l3[line % sets(&c->l3)];
    uint64_t out;

    if (list_has(l1, line)) {
        list_hit(v, l1, line, c->l1d.ways);
        return;
    }
    v->misses[0]++;
    if (list_has(l2, line)) {
        list_hit(v, l2, line, c->l2.ways);
    } else {
        v->misses[1]++;
        v->misses[2] += !list_has(l3, line);
        list_remove(l3, line);
        out = list_push(l2, line, c->l2.ways);
        if (out != UINT64_MAX) {
            list_remove(&v->l1[out % sets(&c->l1d)], out);
            list_push(&v->l3[out % sets(&c->l3)], out, c->l3.ways);
        }
    }
    list_push(l1, line, c->l1d.ways);
}

/*
 * Fetches, or loads with stores between them: a store misses like a load, and
 * with E it never asks the L2 for a right.
 */
static void compare_with_naive(const CacheConfig *c, uint32_t seed,
                               bool fetches)
{
    Machine *x = new_machine(c, 1, 1);
    Naive v = {
        .c = c,
        .l1 = g_new0(List, sets(&c->l1d)),
        .l2 = g_new0(List, sets(&c->l2)),
        .l3 = g_new0(List, sets(&c->l3)),
    };
    GRand *rand = g_rand_new_with_seed(seed);
    uint64_t lines = 2 * (c->l2.size + c->l3.size) / LINE;
    CacheCounters n;

    for (unsigned i = 0; i < 40000; i++) {
        /* Some lines are asked for much more often than others. */
        double u = g_rand_double(rand);
        uint64_t line = u * u * u * u * lines;

        naive_access(&v, line);
        go(x, 0, fetches ? CACHE_FETCH : i % 3 ? CACHE_LOAD : CACHE_STORE,
           line * LINE);
    }
    n = counters(x, 0);
    g_assert_cmpuint(misses(&n, fetches ? CACHE_L1I : CACHE_L1D), ==,
                     v.misses[0]);
    g_assert_cmpuint(misses(&n, CACHE_L2), ==, v.misses[1]);
    g_assert_cmpuint(misses(&n, CACHE_L3), ==, v.misses[2]);
    g_assert_cmpuint(v.misses[2], >, 0);
    g_assert_cmpuint(v.misses[1], >, v.misses[2]);
    g_free(v.l1);
    g_free(v.l2);
    g_free(v.l3);
    g_rand_free(rand);
    free_machine(x);
}

static void test_against_a_naive_one(void)
{
    static const struct {
        unsigned l1_sets, l1_ways, l2_sets, l2_ways, l3_sets, l3_ways;
    } geometry[] = {
        { 1, 1, 2, 1, 4, 1 },           /* direct mapped */
        { 1, 8, 1, 16, 1, 32 },         /* fully associative */
        { 8, 2, 32, 4, 64, 8 },
        { 64, 8, 16, 64, 128, 16 },     /* more sets above than below */
        { 12, 3, 24, 5, 56, 15 },       /* no powers of two */
        { 128, 2, 256, 4, 512, 16 },
    };

    for (unsigned i = 0; i < 4 * G_N_ELEMENTS(geometry); i++) {
        unsigned g = i / 4;
        CacheConfig c = paper();

        c.l1d.size = geometry[g].l1_sets * geometry[g].l1_ways * LINE;
        c.l1d.ways = geometry[g].l1_ways;
        c.l2.size = geometry[g].l2_sets * geometry[g].l2_ways * LINE;
        c.l2.ways = geometry[g].l2_ways;
        c.l2.banks = 1;
        c.l3.size = geometry[g].l3_sets * geometry[g].l3_ways * LINE;
        c.l3.ways = geometry[g].l3_ways;
        c.l3.banks = 1;
        c.l1d.replacement = c.l2.replacement = c.l3.replacement =
            i % 2 ? CACHE_FIFO : CACHE_LRU;
        c.l1i = c.l1d;
        c.protocol = CACHE_MOESI;
        compare_with_naive(&c, i, i / 2 % 2);
    }
}

/* --- Reservations --- */

/* Both PCPUs load @n lines of L3 bank 0, one from cycle 0, one from @begin */
static void two_in_order(unsigned first, int64_t begin, unsigned n,
                         int64_t stall[2][3])
{
    CacheConfig c = paper();
    Machine *x = new_machine(&c, 2, 1);

    x->clock[1] = begin;
    for (unsigned i = 0; i < 2; i++) {
        unsigned p = i ? !first : first;

        for (unsigned k = 0; k < n; k++) {
            stall[p][k] = load(x, p, (p * 64 + k * 8) * LINE);
        }
    }
    free_machine(x);
}

/*
 * The engine runs PCPU 0 to the end of the window, then PCPU 1, or the other
 * way round.  PCPU 0 begins at cycle 0, reaches the bank in cycles 25, 390, 755
 * (slots 24-27, 388-391, 752-755) and memory 5 cycles later (cycle 30 is in
 * slot 28.8-30.4).
 *
 * PCPU 1 begins at cycle 4: cycles 29, 394, 759 (slots 28-31, 392-395,
 * 756-759), and memory in cycle 34 (33.6-35.2).  Nobody wants a slot that the
 * other has, so nobody waits, although whoever runs first holds later slots
 * already.
 *
 * PCPU 1 begins at cycle 1: cycles 26 and 391 are in slots of PCPU 0.  Whoever
 * runs second waits for one slot of 4 cycles, and is 4 cycles behind from then
 * on, out of the other's way.
 */
static void test_either_order(void)
{
    for (unsigned first = 0; first < 2; first++) {
        unsigned second = !first;
        int64_t stall[2][3];

        two_in_order(first, 4, 3, stall);
        for (unsigned k = 0; k < 3; k++) {
            g_assert_cmpint(stall[0][k], ==, MEMORY);
            g_assert_cmpint(stall[1][k], ==, MEMORY);
        }

        two_in_order(first, 1, 2, stall);
        g_assert_cmpint(stall[first][0], ==, MEMORY);
        g_assert_cmpint(stall[first][1], ==, MEMORY);
        g_assert_cmpint(stall[second][0], ==, MEMORY + 4);
        g_assert_cmpint(stall[second][1], ==, MEMORY);
    }
}

/*
 * 64 PCPUs stream, 4 bytes a cycle: a line takes 16 cycles, so 64 * 100 lines
 * take 102,400, not less, and hardly more, for memory is never idle.
 */
static void test_bandwidth(void)
{
    const unsigned each = 100, pcpus = 64;
    CacheConfig c = paper();
    int64_t last = 0;
    Machine *x;

    c.memory_bandwidth = 4000;
    x = new_machine(&c, pcpus, 1);
    for (unsigned i = 0; i < each; i++) {
        for (unsigned p = 0; p < pcpus; p++) {
            load(x, p, (p * 1000 + i) * LINE);
            last = MAX(last, x->clock[p]);
        }
    }
    g_assert_cmpint(last, >=, each * pcpus * 16);
    g_assert_cmpint(last, <, each * pcpus * 16 + 400);
    free_machine(x);
}

/* --- VCPU switch --- */

static int64_t do_switch(Machine *x, unsigned pcpu, int out, int in,
                         unsigned words)
{
    CacheSwitch s = {
        .cycle = x->clock[pcpu],
        .pcpu = pcpu,
        .out = out,
        .in = in,
        .words_out = words,
        .words_in = words,
    };
    int64_t cycles = cache_model_switch(x->m, &s);

    x->clock[pcpu] += cycles;
    return cycles;
}

/* 277 words are 34 lines of 8 words, and 5 words of another: 35 lines. */
static void test_switch(void)
{
    const int64_t words = REGISTERS, lines = 35;
    CacheConfig c = paper();
    Machine *x = new_machine(&c, 2, 1);
    CacheCounters n;

    /* Stored for the first time: each line comes from memory. */
    g_assert_cmpint(do_switch(x, 0, 0, CACHE_NO_VCPU, words), ==,
                    words + lines * MEMORY);
    /* Loaded where it was stored: the L1D has it, a word a cycle. */
    g_assert_cmpint(do_switch(x, 0, CACHE_NO_VCPU, 0, words), ==, words);
    g_assert_cmpint(do_switch(x, 0, 0, 0, words), ==, 2 * words);

    /* A loop of 16 kB drives it into the L2. */
    for (unsigned i = 0; i < 256; i++) {
        load(x, 0, i * LINE);
    }
    g_assert_cmpint(do_switch(x, 0, CACHE_NO_VCPU, 0, words), ==,
                    words + lines * L2_HIT);

    /* The VCPU moves: its state comes from the other PCPU. */
    rest(x);
    g_assert_cmpint(do_switch(x, 1, CACHE_NO_VCPU, 0, words), ==,
                    words + lines * TRANSFER);
    /* Stored there: the old copies are taken away, one upgrade a line. */
    rest(x);
    g_assert_cmpint(do_switch(x, 1, 0, CACHE_NO_VCPU, words), ==,
                    words + lines * TRANSFER);

    cache_model_vcpu_counters(x->m, 0, false, &n);
    g_assert_cmpuint(n.accesses[CACHE_MODEL_STORE], ==, 3 * words);
    g_assert_cmpuint(n.accesses[CACHE_MODEL_LOAD], ==, 4 * words);
    n = counters(x, 1);
    g_assert_cmpuint(n.served[CACHE_BY_TRANSFER], ==, lines);
    g_assert_cmpuint(n.served[CACHE_BY_UPGRADE], ==, lines);
    g_assert_cmpuint(n.invalidations, ==, lines);
    free_machine(x);
}

/* 16 locked TLB entries of two words: 309 words, 39 lines; 2 cycles each */
static void test_switch_words(void)
{
    CacheConfig c = paper();
    Machine *x;

    c.switch_word_cycles = 2;
    x = new_machine(&c, 1, 1);
    g_assert_cmpint(do_switch(x, 0, 3, CACHE_NO_VCPU, 309), ==,
                    2 * 309 + 39 * MEMORY);
    g_assert_cmpint(do_switch(x, 0, CACHE_NO_VCPU, 3, 309), ==, 2 * 309);
    g_assert_cmpint(do_switch(x, 0, CACHE_NO_VCPU, 3, 0), ==, 0);
    /* The states of two VCPUs share no line. */
    g_assert_cmpint(do_switch(x, 0, 2, CACHE_NO_VCPU, 309), ==,
                    2 * 309 + 39 * MEMORY);
    g_assert_cmpint(do_switch(x, 0, 4, CACHE_NO_VCPU, 309), ==,
                    2 * 309 + 39 * MEMORY);
    free_machine(x);
}

/* --- Counters --- */

static void test_counted_for_each(void)
{
    CacheConfig c = paper();
    Machine *x = new_machine(&c, 2, 1);
    CacheAccess a = { .size = 8, .kind = CACHE_LOAD };
    CacheCounters n;

    /* PCPU 1 runs VCPU 1 of VM 0 and VCPU 6 of VM 1, in user mode. */
    a.pcpu = 1;
    a.user = true;
    for (unsigned i = 0; i < 3; i++) {
        a.vcpu = i ? 6 : 1;
        a.address = i * LINE;
        a.cycle = i * 1000;
        cache_model_access(x->m, &a);
    }
    cache_model_add_hits(x->m, 1, 6, CACHE_LOAD, true, 10);
    cache_model_pcpu_counters(x->m, 1, true, &n);
    g_assert_cmpuint(n.accesses[CACHE_LOAD], ==, 13);
    g_assert_cmpuint(misses(&n, CACHE_L1D), ==, 3);
    cache_model_vcpu_counters(x->m, 6, true, &n);
    g_assert_cmpuint(n.accesses[CACHE_LOAD], ==, 12);
    g_assert_cmpuint(n.stall[CACHE_BY_MEMORY], ==, 2 * MEMORY);
    cache_model_vm_counters(x->m, 0, true, &n);
    g_assert_cmpuint(n.accesses[CACHE_LOAD], ==, 1);
    cache_model_vm_counters(x->m, 1, true, &n);
    g_assert_cmpuint(n.accesses[CACHE_LOAD], ==, 12);
    cache_model_vm_counters(x->m, 1, false, &n);
    g_assert_cmpuint(n.accesses[CACHE_LOAD], ==, 0);

    cache_model_reset_counters(x->m);
    cache_model_pcpu_counters(x->m, 1, true, &n);
    g_assert_cmpuint(n.accesses[CACHE_LOAD], ==, 0);
    g_assert_cmpint(load(x, 1, 0), ==, 0);      /* the caches stay warm */
    free_machine(x);
}

/* Every counter that can be other than 0 has a name, and one only. */
static void test_names(void)
{
    const size_t fields = sizeof(CacheCounters) / sizeof(uint64_t);
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
    g_autoptr(GHashTable) offsets = g_hash_table_new(NULL, NULL);

    for (const CacheCounterName *n = cache_counter_names; n->name; n++) {
        g_assert_true(g_hash_table_add(names, (void *)n->name));
        g_assert_true(g_hash_table_add(offsets, GSIZE_TO_POINTER(n->offset)));
        g_assert_cmpuint(n->offset, <, sizeof(CacheCounters));
    }
    /* L3 misses of coherence and write-backs of the L1I do not exist. */
    g_assert_cmpuint(g_hash_table_size(names), ==, fields - 2);
}

/* Without first touches all that was not taken away is one kind. */
static void test_without_first_touches(void)
{
    CacheConfig c = paper();
    CacheCounters n;
    Machine *x;

    c.first_touches = 0;
    x = new_machine(&c, 1, 1);
    load(x, 0, 0);
    n = counters(x, 0);
    g_assert_cmpuint(n.misses[CACHE_L2][CACHE_COMPULSORY], ==, 0);
    g_assert_cmpuint(n.misses[CACHE_L1D][CACHE_CAPACITY], ==, 1);
    g_assert_cmpuint(n.misses[CACHE_L3][CACHE_CAPACITY], ==, 1);
    free_machine(x);
}

/* --- Random numbers --- */

/* The addition is 0 to 4 cycles, by seed, PCPU and number of the read. */
static void test_variation(void)
{
    int64_t stall[4][200];
    unsigned seen = 0, different = 0;
    CacheConfig c;

    cache_config_default(&c);
    g_assert_cmpuint(c.memory_variation, ==, 4);
    for (unsigned run = 0; run < 4; run++) {
        Machine *x = new_machine(&c, 2, run == 1 ? 2 : 1);

        for (unsigned i = 0; i < 200; i++) {
            rest(x);
            if (run == 3) {             /* PCPU 1 changes nothing for 0 */
                load(x, 1, (5000 + i) * LINE);
                rest(x);
            }
            stall[run][i] = load(x, 0, i * LINE);
        }
        free_machine(x);
    }
    for (unsigned i = 0; i < 200; i++) {
        g_assert_cmpint(stall[0][i], >=, MEMORY);
        g_assert_cmpint(stall[0][i], <=, MEMORY + 4);
        seen |= 1 << (stall[0][i] - MEMORY);
        different += stall[0][i] != stall[1][i];
        g_assert_cmpint(stall[0][i], ==, stall[2][i]);
        g_assert_cmpint(stall[0][i], ==, stall[3][i]);
    }
    g_assert_cmpuint(seen, ==, 0x1f);
    g_assert_cmpuint(different, >, 100);
}

/* --- Saved states --- */

static CacheConfig small(CacheReplacement replacement)
{
    CacheConfig c;

    cache_config_default(&c);
    c.l1i.size = c.l1d.size = 512;
    c.l2.size = 4096;
    c.l3.size = 16384;
    c.l3.banks = c.l2.banks = 2;
    c.l1i.replacement = c.l1d.replacement = replacement;
    c.l2.replacement = c.l3.replacement = replacement;
    return c;
}

/* Random accesses of 4 PCPUs; returns the sum of all stalls. */
static int64_t run(Machine *x, GRand *rand, unsigned n)
{
    static const CacheKind kinds[] = { CACHE_FETCH, CACHE_LOAD, CACHE_STORE };
    int64_t sum = 0;

    for (unsigned i = 0; i < n; i++) {
        unsigned p = g_rand_int_range(rand, 0, 4);

        sum += go(x, p, kinds[g_rand_int_range(rand, 0, 3)],
                  g_rand_int_range(rand, 0, 600) * LINE);
        if (i % 100 == 0) {
            cache_model_forget_before(x->m, MIN(MIN(x->clock[0], x->clock[1]),
                                                MIN(x->clock[2], x->clock[3])));
        }
    }
    return sum;
}

static void test_save_and_load(void)
{
    for (CacheReplacement r = 0; r < CACHE_REPLACEMENTS; r++) {
        CacheConfig c = small(r);
        Machine *x = new_machine(&c, 4, 7), *y = new_machine(&c, 4, 7);
        GRand *rand = g_rand_new_with_seed(8), *copy;
        g_autoptr(GByteArray) saved = NULL, end_x = NULL, end_y = NULL;
        char *why = NULL;

        run(x, rand, 5000);
        saved = cache_model_save(x->m);
        run(y, rand, 100);              /* what is loaded over */
        cache_model_load(y->m, saved->data, saved->len, &why);
        g_assert_cmpstr(why, ==, NULL);
        memcpy(y->clock, x->clock, sizeof(x->clock));
        copy = g_rand_copy(rand);
        g_assert_cmpint(run(x, rand, 5000), ==, run(y, copy, 5000));
        end_x = cache_model_save(x->m);
        end_y = cache_model_save(y->m);
        g_assert_cmpmem(end_x->data, end_x->len, end_y->data, end_y->len);
        g_rand_free(rand);
        g_rand_free(copy);
        free_machine(x);
        free_machine(y);
    }
}

/* --- A filter of code that may have any line --- */

#define CODE_LINES 512          /* four times what the L1I has */

/* What a filter of one PCPU knows: lines, and when each was found last */
typedef struct Recent {
    bool known[CODE_LINES];
    uint64_t stamp[CODE_LINES];
    uint64_t fetches;
} Recent;

static Recent recent[4];

static void forget_code(void *opaque, unsigned pcpu, CacheKind kind,
                        uint32_t set, uint64_t address, unsigned rights)
{
    if (kind == CACHE_FETCH) {
        g_assert_true(recent[pcpu].known[address / LINE]);
        recent[pcpu].known[address / LINE] = false;
    }
}

static uint64_t last_found(void *opaque, unsigned pcpu, uint64_t address)
{
    return recent[pcpu].stamp[address / LINE];
}

/* A fetch that @x hears of only if the filter does not know the line */
static void fetch_filtered(Machine *x, unsigned pcpu, uint64_t address)
{
    Recent *r = &recent[pcpu];
    unsigned line = address / LINE;

    r->fetches++;
    if (r->known[line]) {
        r->stamp[line] = r->fetches;
        cache_model_add_hits(x->m, pcpu, pcpu, CACHE_FETCH, false, 1);
        x->clock[pcpu]++;
        return;
    }
    cache_model_set_code_clock(x->m, pcpu, r->fetches - 1);
    fetch(x, pcpu, address);
    r->known[line] = cache_model_grant(x->m, pcpu, CACHE_FETCH, address);
}

/*
 * Random code, of which most is near the last, on four PCPUs, and stores into
 * it: with the filter and without, the whole state is the same in the end.
 */
static void compare_filtered(CacheReplacement replacement, bool all)
{
    CacheConfig c = small(replacement);
    Machine *x = new_machine(&c, 4, 1), *y = new_machine(&c, 4, 1);
    GRand *rand = g_rand_new_with_seed(11);
    g_autoptr(GByteArray) a = NULL, b = NULL;
    unsigned at[4] = {}, told = 0;

    memset(recent, 0, sizeof(recent));
    cache_model_on_withdraw(x->m, forget_code, NULL);
    cache_model_on_recency(x->m, last_found);
    g_assert_true(cache_model_grants_all_code(x->m) == all);
    for (unsigned i = 0; i < 200000; i++) {
        unsigned pcpu = g_rand_int_range(rand, 0, 4);
        uint64_t address;

        at[pcpu] = g_rand_int_range(rand, 0, 100) < 5 ?
                   (unsigned)g_rand_int_range(rand, 0, CODE_LINES) :
                   (at[pcpu] + g_rand_int_range(rand, 0, 6)) % CODE_LINES;
        address = (uint64_t)at[pcpu] * LINE;
        if (g_rand_int_range(rand, 0, 200) == 0) {
            store(x, pcpu, address);
            store(y, pcpu, address);
            continue;
        }
        told += !recent[pcpu].known[at[pcpu]];
        fetch_filtered(x, pcpu, address);
        fetch(y, pcpu, address);
        g_assert_cmpint(x->clock[pcpu], ==, y->clock[pcpu]);
    }
    g_assert_cmpuint(told, <, 190000);
    cache_model_settle(x->m);
    a = cache_model_save(x->m);
    b = cache_model_save(y->m);
    g_assert_cmpmem(a->data, a->len, b->data, b->len);
    g_rand_free(rand);
    free_machine(x);
    free_machine(y);
}

static void test_filter_of_code(void)
{
    compare_filtered(CACHE_LRU, true);
    compare_filtered(CACHE_FIFO, true);
    compare_filtered(CACHE_RANDOM, true);
    compare_filtered(CACHE_PLRU, false);
}

static void assert_refused(Machine *x, const GByteArray *saved, size_t size,
                           const char *expected)
{
    g_autoptr(GByteArray) before = cache_model_save(x->m), after = NULL;
    g_autofree char *why = NULL;

    g_assert_false(cache_model_load(x->m, saved->data, size, &why));
    g_assert_cmpstr(why, ==, expected);
    after = cache_model_save(x->m);
    g_assert_cmpmem(before->data, before->len, after->data, after->len);
}

static void test_what_does_not_fit_is_refused(void)
{
    CacheConfig c = small(CACHE_LRU), other = c;
    Machine *x = new_machine(&c, 4, 7);
    GRand *rand = g_rand_new_with_seed(8);
    g_autoptr(GByteArray) saved = NULL;
    Machine *y;

    run(x, rand, 2000);
    saved = cache_model_save(x->m);
    for (size_t size = 0; size < saved->len; size += 1 + size / 50) {
        assert_refused(x, saved, size,
                       "state of the caches: it ends too early");
    }

    other.l2.size = 8192;
    y = new_machine(&other, 4, 7);
    assert_refused(y, saved, saved->len, "state of the caches: it was saved "
                   "with [l2] size=4K, this machine has 8K");
    free_machine(y);
    other = c;
    other.protocol = CACHE_MESI;
    y = new_machine(&other, 4, 7);
    assert_refused(y, saved, saved->len, "state of the caches: it was saved "
                   "with [directory] protocol=mosi, this machine has mesi");
    free_machine(y);
    y = new_machine(&c, 5, 7);
    assert_refused(y, saved, saved->len, "state of the caches: it was saved "
                   "with PCPUs: 4, this machine has 5");
    free_machine(y);

    g_byte_array_append(saved, (const uint8_t *)"", 1);
    assert_refused(x, saved, saved->len,
                   "state of the caches: it goes on after its end");
    saved->data[0] ^= 1;
    assert_refused(x, saved, saved->len,
                   "state of the caches: it is none of a cache model");
    g_rand_free(rand);
    free_machine(x);
}

/* One byte is wrong: refused, or a state that can be. */
static void test_damaged_states(void)
{
    CacheConfig c = small(CACHE_PLRU);
    Machine *x = new_machine(&c, 4, 7);
    GRand *rand = g_rand_new_with_seed(8);
    unsigned refused = 0;
    g_autoptr(GByteArray) saved = NULL;

    run(x, rand, 500);
    saved = cache_model_save(x->m);
    for (unsigned i = 0; i < 2000; i++) {
        Machine *y = new_machine(&c, 4, 7);
        unsigned at = g_rand_int_range(rand, 0, saved->len);
        uint8_t was = saved->data[at];
        g_autofree char *why = NULL;

        saved->data[at] = g_rand_int_range(rand, 0, 256);
        if (!cache_model_load(y->m, saved->data, saved->len, &why)) {
            g_assert_nonnull(why);
            refused++;
        }
        memcpy(y->clock, x->clock, sizeof(x->clock));
        run(y, rand, 50);
        free_machine(y);
        saved->data[at] = was;
    }
    g_assert_cmpuint(refused, >, 500);
    g_rand_free(rand);
    free_machine(x);
}

/* --- What cannot be --- */

static void test_impossible_machines(void)
{
    static const unsigned vm[2] = { 0, 1 };
    CacheConfig c = paper();
    CacheMachine good = { .pcpus = 1, .vcpus = 2, .vms = 2, .vm = vm };
    CacheMachine machine[5] = { good, good, good, good, good };
    static const char *const why[5] = {
        "the cache model has 1 to 64 PCPUs, not 65",
        "the cache model has 1 to 64 PCPUs, not 0",
        "the cache model needs a VCPU and a VM",
        "VCPU 1 is of VM 1: there are VMs 0 to 0",
        "the VCPUs' states are at 0x1008: allowed are multiples of a line, 64 "
        "bytes",
    };

    machine[0].pcpus = 65;
    machine[1].pcpus = 0;
    machine[2].vcpus = 0;
    machine[3].vms = 1;
    machine[4].state_base = 0x1008;
    for (unsigned i = 0; i < 5; i++) {
        g_autofree char *fault = NULL;

        g_assert_null(cache_model_new(&c, &machine[i], &fault));
        g_assert_cmpstr(fault, ==, why[i]);
    }
}

/*
 * 64 PCPUs, all caches full, 512 MiB of memory touched by one or another:
 * bytes that the model says it uses, below 200 MiB.
 */
static void test_memory(void)
{
    CacheConfig c = paper();
    Machine *x = new_machine(&c, 64, 1);
    uint64_t line = 0;

    for (unsigned i = 0; i < 12000; i++) {
        for (unsigned p = 0; p < 64; p++) {
            load(x, p, line++ * LINE);
        }
        cache_model_forget_before(x->m, x->clock[0]);   /* about all clocks */
    }
    for (uint64_t at = line * LINE; at < 512 << 20; at += 65536) {
        load(x, 0, at);
    }
    g_assert_cmpuint(cache_model_memory(x->m), <, 200 << 20);
    g_test_message("%zu MiB", cache_model_memory(x->m) >> 20);
    free_machine(x);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/model/latencies", test_latencies);
    g_test_add_func("/model/protocols", test_protocols);
    g_test_add_func("/model/forward-shared", test_forward_shared);
    g_test_add_func("/model/split", test_lines_are_split);
    g_test_add_func("/model/own-code", test_own_code_is_written);
    g_test_add_func("/model/atomic", test_atomic);
    g_test_add_func("/model/presets", test_presets);
    g_test_add_func("/model/streaming", test_streaming);
    g_test_add_func("/model/set-conflict", test_set_conflict);
    g_test_add_func("/model/pointer-chase", test_pointer_chase);
    g_test_add_func("/model/false-sharing", test_false_sharing);
    g_test_add_func("/model/producer", test_producer_and_consumers);
    g_test_add_func("/model/write-backs", test_write_backs);
    g_test_add_func("/model/naive", test_against_a_naive_one);
    g_test_add_func("/model/either-order", test_either_order);
    g_test_add_func("/model/bandwidth", test_bandwidth);
    g_test_add_func("/model/switch", test_switch);
    g_test_add_func("/model/switch-words", test_switch_words);
    g_test_add_func("/model/counted-for-each", test_counted_for_each);
    g_test_add_func("/model/names", test_names);
    g_test_add_func("/model/first-touches", test_without_first_touches);
    g_test_add_func("/model/variation", test_variation);
    g_test_add_func("/model/save", test_save_and_load);
    g_test_add_func("/model/filter-of-code", test_filter_of_code);
    g_test_add_func("/model/refused", test_what_does_not_fit_is_refused);
    g_test_add_func("/model/damaged", test_damaged_states);
    g_test_add_func("/model/impossible", test_impossible_machines);
    g_test_add_func("/model/memory", test_memory);
    return g_test_run();
}
