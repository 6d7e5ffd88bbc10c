/*
 * Property tests of coherence: random traffic, checked after every access
 *
 * The model moves no data, so the test does: each place that may hold a line
 * has a version number, which goes where the model says that the line goes.  A
 * store makes a new version, and whoever reads must find the latest.
 *
 * Built with CACHE_MODEL_TEST: then the model says where lines go, and takes
 * wrong transitions on demand (CacheFault), each of which has to be found.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "cache-internal.h"

#define LINES 96
#define LINE  64                /* bytes */
#define PLACES CACHE_PLACE_L2(CACHE_PCPUS_MAX)

/* A model with its data, and a filter as generated code would have one. */
typedef struct World {
    CacheModel *m;
    GRand *rand;
    uint32_t version[PLACES][LINES];
    uint32_t latest[LINES];
    bool filtering;
    /* rights of each PCPU to lines: [side] */
    uint8_t may[CACHE_PCPUS_MAX][CACHE_SIDES][LINES];
    int64_t clock[CACHE_PCPUS_MAX];
    uint64_t hits_of_filter, withdrawn;
    uint64_t accesses, dropped;         /* of these, every other asks again */
    int64_t stalls;
    char *fault;
} World;

static void moved(void *opaque, unsigned from, unsigned to, uint64_t line)
{
    World *w = opaque;

    w->version[to][line] = w->version[from][line];
}

static void withdrawn(void *opaque, unsigned pcpu, CacheKind kind,
                      uint32_t set, uint64_t address, unsigned rights)
{
    World *w = opaque;
    uint8_t *may = &w->may[pcpu][kind != CACHE_FETCH][address / LINE];

    g_assert_cmpuint(*may & rights, ==, rights);
    *may &= ~rights;
    w->withdrawn++;
}

/* Caches so small that everything happens often */
static CacheConfig tiny(CacheProtocol protocol, CacheReplacement replacement)
{
    CacheConfig c;

    cache_config_default(&c);
    c.protocol = protocol;
    c.l1i.size = c.l1d.size = 4 * LINE;
    c.l2.size = 12 * LINE;
    c.l2.ways = 2;
    c.l2.banks = 2;
    c.l3.size = 32 * LINE;
    c.l3.ways = 4;
    c.l3.banks = 4;
    c.l1i.replacement = c.l1d.replacement = replacement;
    c.l2.replacement = c.l3.replacement = replacement;
    return c;
}

static World *new_world(const CacheConfig *config, unsigned pcpus,
                        CacheFault fault, bool filtering)
{
    unsigned vm[4] = { 0, 0, 1, 1 };
    CacheMachine machine = {
        .pcpus = pcpus,
        .vcpus = 4,
        .vms = 2,
        .vm = vm,
        .seed = 5,
    };
    World *w = g_new0(World, 1);
    char *why = NULL;

    w->m = cache_model_new(config, &machine, &why);
    g_assert_cmpstr(why, ==, NULL);
    w->rand = g_rand_new_with_seed(6);
    w->filtering = filtering;
    w->m->fault = fault;
    w->m->moved = moved;
    w->m->moved_opaque = w;
    cache_model_on_withdraw(w->m, withdrawn, w);
    return w;
}

static void free_world(World *w)
{
    cache_model_free(w->m);
    g_rand_free(w->rand);
    g_free(w->fault);
    g_free(w);
}

G_GNUC_PRINTF(2, 3)
static void found(World *w, const char *format, ...)
{
    va_list args;

    if (!w->fault) {
        va_start(args, format);
        w->fault = g_strdup_vprintf(format, args);
        va_end(args);
    }
}

/* --- Data --- */

/* What the access at the L1 saw, or made */
static void use(World *w, const CacheAccess *a, unsigned line)
{
    unsigned place = a->kind == CACHE_FETCH ? CACHE_PLACE_L1I(a->pcpu) :
                                              CACHE_PLACE_L1D(a->pcpu);

    if (w->version[place][line] != w->latest[line]) {
        found(w, "PCPU %u reads version %u of line %u, the latest is %u",
              a->pcpu, w->version[place][line], line, w->latest[line]);
    }
    if (a->kind == CACHE_STORE) {
        w->version[place][line] = ++w->latest[line];
    }
}

/* The latest version of a line is where its state says that it is. */
static void check_data(World *w, unsigned line)
{
    const CacheModel *m = w->m;
    const DirectoryEntry *entry = directory_find(&m->directory, line);
    int64_t place = cache_array_find(&m->l3, line);
    unsigned where = CACHE_PLACE_MEMORY;

    if (entry && entry->owner != DIRECTORY_NO_OWNER) {
        const CachePcpu *p = &m->pcpu[entry->owner];
        const CacheArray *l1d = &p->l1[CACHE_SIDE_D];
        int64_t l1_place = cache_array_find(l1d, line);

        int64_t l2_place = cache_array_find(&p->l2, line);

        if (cache_array_state(&p->l2, l2_place) != CACHE_EXCLUSIVE) {
            where = l1_place != CACHE_NOWHERE &&
                    cache_array_state(l1d, l1_place) == CACHE_MODIFIED ?
                    CACHE_PLACE_L1D(entry->owner) :
                    CACHE_PLACE_L2(entry->owner);
        }
    } else if (place != CACHE_NOWHERE &&
               cache_array_state(&m->l3, place) == CACHE_MODIFIED) {
        where = CACHE_PLACE_L3;
    }
    if (w->version[where][line] != w->latest[line]) {
        found(w, "line %u: the latest version %u is lost, place %u has %u",
              line, w->latest[line], where, w->version[where][line]);
    }
}

static void check_world(World *w)
{
    if (!w->fault) {
        cache_model_check(w->m, &w->fault);
    }
    for (unsigned line = 0; line < LINES && !w->fault; line++) {
        check_data(w, line);
    }
}

/* --- Traffic --- */

static bool filter_hits(World *w, const CacheAccess *a, unsigned line)
{
    unsigned need = a->kind == CACHE_STORE ? CACHE_MAY_WRITE : CACHE_MAY_READ;

    return w->may[a->pcpu][a->kind != CACHE_FETCH][line] & need;
}

/* Rights to other lines of the set of @line, which nobody withdraws */
static void drop_others(World *w, const CacheAccess *a, unsigned line)
{
    CacheSide side = a->kind != CACHE_FETCH;

    for (unsigned other = 0; other < LINES; other++) {
        if (other != line && w->may[a->pcpu][side][other] &&
            cache_model_l1_set(w->m, a->kind, other * LINE) ==
            cache_model_l1_set(w->m, a->kind, line * LINE)) {
            w->may[a->pcpu][side][other] = 0;
            w->dropped++;
        }
    }
}

static void one_access(World *w, CacheAccess *a)
{
    unsigned line = a->address / LINE;
    unsigned last = (a->address + a->size - 1) / LINE;
    CacheKind side = a->kind != CACHE_FETCH;

    a->asks_again = w->filtering && line == last && w->accesses++ % 2;
    if (w->filtering && line == last && filter_hits(w, a, line)) {
        cache_model_add_hits(w->m, a->pcpu, a->vcpu, a->kind, a->user, 1);
        w->hits_of_filter++;
    } else {
        int64_t stall = cache_model_access(w->m, a);

        w->stalls += stall;
        w->clock[a->pcpu] += stall;
        if (a->asks_again) {
            drop_others(w, a, line);
        }
        if (w->filtering) {
            w->may[a->pcpu][side][last] =
                cache_model_grant(w->m, a->pcpu, a->kind, last * LINE);
        }
    }
    w->clock[a->pcpu]++;
    for (; line <= last; line++) {
        use(w, a, line);
    }
}

/* PCPUs run one after the other in windows of 1000 cycles, as in the engine. */
static void traffic(World *w, unsigned accesses, unsigned check_every)
{
    static const CacheKind kinds[] = {
        CACHE_FETCH, CACHE_LOAD, CACHE_LOAD, CACHE_STORE,
    };
    int64_t window = 0;
    unsigned done = 0;

    while (!w->fault && done < accesses) {
        window += 1000;
        for (unsigned p = 0; p < w->m->machine.pcpus; p++) {
            while (!w->fault && done < accesses && w->clock[p] < window) {
                bool again = g_rand_boolean(w->rand);
                unsigned line = again ? p % LINES :
                                g_rand_int_range(w->rand, 0, LINES - 1);
                bool crosses = g_rand_int_range(w->rand, 0, 20) == 0;
                CacheAccess a = {
                    .cycle = w->clock[p],
                    .address = line * LINE + (crosses ? LINE - 4 : 8),
                    .size = 8,
                    .pcpu = p,
                    .vcpu = g_rand_int_range(w->rand, 0, 4),
                    .kind = kinds[g_rand_int_range(w->rand, 0, 4)],
                    .user = g_rand_boolean(w->rand),
                };

                a.size = line == LINES - 1 && crosses ? 4 : 8;
                one_access(w, &a);
                if (++done % check_every == 0) {
                    check_world(w);
                }
            }
        }
        cache_model_forget_before(w->m, window);
    }
    check_world(w);
}

/* --- Nothing is wrong --- */

static void test_random_traffic(void)
{
    for (CacheProtocol protocol = CACHE_MSI; protocol <= CACHE_MOESI;
         protocol++) {
        for (CacheReplacement r = 0; r < CACHE_REPLACEMENTS; r++) {
            CacheConfig c = tiny(protocol, r);
            World *w;

            c.forward_shared = r % 2;
            w = new_world(&c, 64, CACHE_FAULT_NONE, r < 2);
            traffic(w, 6000, 1);
            g_assert_cmpstr(w->fault, ==, NULL);
            free_world(w);
        }
    }
}

/* Nothing was left out: all that can be counted in MOSI has been. */
static void assert_everything_happened(const World *w)
{
    CacheCounters sum = {};

    for (unsigned p = 0; p < w->m->machine.pcpus; p++) {
        cache_counters_add(&sum, &w->m->pcpu[p].counters[0]);
        cache_counters_add(&sum, &w->m->pcpu[p].counters[1]);
    }
    for (const CacheCounterName *n = cache_counter_names; n->name; n++) {
        uint64_t count = *(uint64_t *)((char *)&sum + n->offset);

        if (!g_str_has_prefix(n->name, "model-") && !count) {
            g_test_message("%s: never", n->name);
            g_test_fail();
        }
    }
}

/* A few PCPUs: more hits, and lines that one PCPU has for itself */
static void test_few_pcpus(void)
{
    for (unsigned pcpus = 1; pcpus <= 4; pcpus++) {
        for (CacheProtocol protocol = CACHE_MSI; protocol <= CACHE_MOESI;
             protocol++) {
            CacheConfig c = tiny(protocol, CACHE_LRU);
            World *w = new_world(&c, pcpus, CACHE_FAULT_NONE, true);

            traffic(w, 20000, 7);
            g_assert_cmpstr(w->fault, ==, NULL);
            g_assert_cmpuint(w->hits_of_filter, >, 1000);
            g_assert_cmpuint(w->withdrawn, >, 1000);
            if (pcpus == 4 && protocol == CACHE_MOSI) {
                assert_everything_happened(w);
            }
            free_world(w);
        }
    }
}

/* The paper's machine: larger caches, so less often checked */
static void test_paper_machine(void)
{
    CacheConfig c;
    World *w;

    cache_config_default(&c);
    w = new_world(&c, 8, CACHE_FAULT_NONE, true);
    traffic(w, 300000, 20000);
    g_assert_cmpstr(w->fault, ==, NULL);
    free_world(w);
}

/* --- The filter hides nothing --- */

static void assert_same_counters(const World *a, const World *b)
{
    for (unsigned p = 0; p < a->m->machine.pcpus; p++) {
        g_assert_cmpmem(a->m->pcpu[p].counters, sizeof(a->m->pcpu[p].counters),
                        b->m->pcpu[p].counters, sizeof(b->m->pcpu[p].counters));
        g_assert_cmpint(a->clock[p], ==, b->clock[p]);
    }
}

static void test_filter_hides_nothing(void)
{
    for (CacheProtocol protocol = CACHE_MSI; protocol <= CACHE_MOESI;
         protocol++) {
        for (CacheReplacement r = 0; r < CACHE_REPLACEMENTS; r++) {
            CacheConfig c = tiny(protocol, r);
            World *with = new_world(&c, 8, CACHE_FAULT_NONE, true);
            World *without = new_world(&c, 8, CACHE_FAULT_NONE, false);

            traffic(with, 30000, 30000);
            traffic(without, 30000, 30000);
            g_assert_cmpuint(with->hits_of_filter, >, 1000);
            g_assert_cmpuint(with->dropped, >, 1000);
            g_assert_cmpint(with->stalls, ==, without->stalls);
            assert_same_counters(with, without);
            free_world(with);
            free_world(without);
        }
    }
}

/* --- Everything that is wrong is found --- */

static const char *const fault_names[CACHE_FAULTS] = {
    [CACHE_FAULT_KEEP_SHARER] = "a store leaves another L2's copy",
    [CACHE_FAULT_KEEP_MODIFIED] = "the owner is not downgraded",
    [CACHE_FAULT_KEEP_L3_COPY] = "an L3 hit leaves the line there",
    [CACHE_FAULT_KEEP_L1_COPY] = "an L2 victim stays in the L1s",
    [CACHE_FAULT_KEEP_L1I_COPY] = "a store leaves the own L1I's copy",
    [CACHE_FAULT_LOSE_DIRTY_L1] = "a dirty L1D victim is dropped",
    [CACHE_FAULT_LOSE_DIRTY_L2] = "a dirty L2 victim is clean in the L3",
    [CACHE_FAULT_LOSE_DIRTY_L3] = "a dirty L3 victim is dropped",
    [CACHE_FAULT_LOSE_OWNED] = "a shared dirty L2 victim is dropped",
    [CACHE_FAULT_STALE_SUPPLY] = "an L2 forwards without its L1D",
    [CACHE_FAULT_STALE_DIRECTORY] = "the directory hears of no victim",
    [CACHE_FAULT_FALSE_EXCLUSIVE] = "E although others share",
    [CACHE_FAULT_SHARED_TO_L3] = "a victim that others hold is in the L3",
    [CACHE_FAULT_KEEP_RIGHT] = "the filter hears of nothing",
    [CACHE_FAULT_UNCOUNTED] = "an L2 miss is not counted",
};

static void test_faults_are_found(void)
{
    for (CacheFault fault = CACHE_FAULT_NONE + 1; fault < CACHE_FAULTS;
         fault++) {
        CacheConfig c = tiny(CACHE_MOESI, CACHE_LRU);
        World *w = new_world(&c, 4, fault, true);

        traffic(w, 20000, 1);
        g_test_message("%s: %s", fault_names[fault],
                       w->fault ? w->fault : "not found");
        g_assert_nonnull(w->fault);
        free_world(w);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/coherence/random-traffic", test_random_traffic);
    g_test_add_func("/coherence/few-pcpus", test_few_pcpus);
    g_test_add_func("/coherence/paper-machine", test_paper_machine);
    g_test_add_func("/coherence/filter", test_filter_hides_nothing);
    g_test_add_func("/coherence/faults", test_faults_are_found);
    return g_test_run();
}
