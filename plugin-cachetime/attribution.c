/*
 * Attribution: which instructions, which data and which sharing cause stalls
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "attribution-internal.h"

const AttributionLimits attribution_limits = {
    .pcs = 1 << 17,
    .lines = 1 << 17,
    .watched = 1 << 13,
    .line_sites = 1 << 8,
    .sites = 1 << 17,
};

/* --- Keys --- */

static guint mix(uint64_t a, uint64_t b)
{
    uint64_t x = (a ^ b << 48 ^ b) * UINT64_C(0x9e3779b97f4a7c15);

    return x ^ x >> 32;
}

static guint pc_hash(gconstpointer key)
{
    const AttributionPc *pc = key;

    return mix(pc->pc, pc->vm << 2 | pc->user << 1 | pc->fetch);
}

static gboolean pc_equal(gconstpointer one, gconstpointer other)
{
    const AttributionPc *a = one, *b = other;

    return a->pc == b->pc && a->vm == b->vm && a->user == b->user &&
           a->fetch == b->fetch;
}

static guint line_hash(gconstpointer key)
{
    const AttributionLine *line = key;

    return mix(line->place.address, 0);
}

static gboolean line_equal(gconstpointer one, gconstpointer other)
{
    const AttributionLine *a = one, *b = other;

    return a->place.address == b->place.address;
}

static guint site_hash(gconstpointer key)
{
    const AttributionSite *site = key;

    return mix(site->line ^ mix(site->pc, 0), site->vcpu << 1 | site->user);
}

static gboolean site_equal(gconstpointer one, gconstpointer other)
{
    const AttributionSite *a = one, *b = other;

    return a->line == b->line && a->pc == b->pc && a->vcpu == b->vcpu &&
           a->user == b->user && a->others == b->others;
}

/* --- Costs --- */

uint64_t attribution_stall(const AttributionCosts *costs)
{
    uint64_t sum = 0;

    for (CacheServer s = 0; s < CACHE_SERVERS; s++) {
        sum += costs->stall[s];
    }
    return sum;
}

static void charge(AttributionCosts *costs, const CacheOutcome *outcome)
{
    costs->served[outcome->server]++;
    costs->stall[outcome->server] += outcome->stall;
}

static void add_costs(AttributionCosts *sum, const AttributionCosts *more)
{
    for (CacheServer s = 0; s < CACHE_SERVERS; s++) {
        sum->served[s] += more->served[s];
        sum->stall[s] += more->stall[s];
    }
}

/* --- Order --- */

static int compare(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

/* More stall cycles first; then by what tells them apart, so that it repeats */
static int compare_pcs(gconstpointer one, gconstpointer other)
{
    const AttributionPc *a = *(AttributionPc *const *)one;
    const AttributionPc *b = *(AttributionPc *const *)other;
    int order = compare(attribution_stall(&b->costs),
                        attribution_stall(&a->costs));

    return order ?: compare(a->pc, b->pc) ?: compare(a->vm, b->vm) ?:
           compare(a->user, b->user) ?: compare(a->fetch, b->fetch);
}

static int compare_lines(gconstpointer one, gconstpointer other)
{
    const AttributionLine *a = *(AttributionLine *const *)one;
    const AttributionLine *b = *(AttributionLine *const *)other;
    int order = compare(attribution_stall(&b->costs),
                        attribution_stall(&a->costs));

    return order ?: compare(a->place.address, b->place.address);
}

/* Stall cycles of coherence misses of any kind */
static uint64_t coherence_stall(const AttributionShares *shares)
{
    return shares->stall[ATTRIBUTION_TRUE] + shares->stall[ATTRIBUTION_FALSE] +
           shares->stall[ATTRIBUTION_UNDECIDED] +
           shares->stall[ATTRIBUTION_UNKNOWN];
}

static int compare_by_coherence(gconstpointer one, gconstpointer other)
{
    const AttributionWatched *a = *(AttributionWatched *const *)one;
    const AttributionWatched *b = *(AttributionWatched *const *)other;
    int order = compare(coherence_stall(&b->shares),
                        coherence_stall(&a->shares));

    return order ?: compare(a->place.address, b->place.address);
}

static int compare_watched(gconstpointer one, gconstpointer other)
{
    const AttributionWatched *a = *(AttributionWatched *const *)one;
    const AttributionWatched *b = *(AttributionWatched *const *)other;
    int order = compare(b->shares.stall[ATTRIBUTION_FALSE],
                        a->shares.stall[ATTRIBUTION_FALSE]);

    return order ?: compare_by_coherence(one, other);
}

static GPtrArray *sorted(GHashTable *table, GCompareFunc order)
{
    GPtrArray *all = g_ptr_array_sized_new(g_hash_table_size(table));
    GHashTableIter i;
    gpointer key;

    g_hash_table_iter_init(&i, table);
    while (g_hash_table_iter_next(&i, &key, NULL)) {
        g_ptr_array_add(all, key);
    }
    g_ptr_array_sort(all, order);
    return all;
}

static GPtrArray *top(GHashTable *table, GCompareFunc order, unsigned n)
{
    GPtrArray *all = sorted(table, order);

    if (all->len > n) {
        g_ptr_array_set_size(all, n);
    }
    return all;
}

/* --- Program counters and lines --- */

static void table_init(Table *t, unsigned limit, GHashFunc hash,
                       GEqualFunc equal)
{
    t->entries = g_hash_table_new_full(hash, equal, g_free, NULL);
    t->limit = limit;
}

static void table_destroy(Table *t)
{
    g_hash_table_destroy(t->entries);
}

static void table_reset(Table *t)
{
    g_hash_table_remove_all(t->entries);
    t->dropped = 0;
    t->error = 0;
    memset(&t->costs, 0, sizeof(t->costs));
}

/*
 * The half with the fewest stall cycles goes.  @costs_of: where an entry has
 * its costs.  An entry can have lost as much as the largest that ever went with
 * it, each time.
 */
static void drop_half(Table *t, GCompareFunc order, size_t costs_of)
{
    g_autoptr(GPtrArray) all = sorted(t->entries, order);
    uint64_t most = 0;

    for (unsigned i = t->limit - t->limit / 2; i < all->len; i++) {
        AttributionCosts *costs = (void *)((char *)all->pdata[i] + costs_of);

        most = MAX(most, attribution_stall(costs));
        add_costs(&t->costs, costs);
        t->dropped++;
        g_hash_table_remove(t->entries, all->pdata[i]);
    }
    t->error += most;
}

static AttributionCosts *costs_of_pc(Attribution *a,
                                     const AttributionEvent *event)
{
    const CacheAccess *access = event->access;
    AttributionPc key = {
        .pc = event->pc,
        .vm = a->vm[access->vcpu],
        .user = access->user,
        .fetch = access->kind == CACHE_FETCH,
    };
    AttributionPc *pc = g_hash_table_lookup(a->pcs.entries, &key);

    if (!pc) {
        if (g_hash_table_size(a->pcs.entries) == a->pcs.limit) {
            drop_half(&a->pcs, compare_pcs, offsetof(AttributionPc, costs));
        }
        pc = g_memdup2(&key, sizeof(key));
        g_hash_table_add(a->pcs.entries, pc);
    }
    return &pc->costs;
}

static AttributionCosts *costs_of_line(Attribution *a,
                                       const AttributionPlace *place)
{
    AttributionLine key = { .place = *place };
    AttributionLine *line = g_hash_table_lookup(a->lines.entries, &key);

    if (!line) {
        if (g_hash_table_size(a->lines.entries) == a->lines.limit) {
            drop_half(&a->lines, compare_lines,
                      offsetof(AttributionLine, costs));
        }
        line = g_memdup2(&key, sizeof(key));
        g_hash_table_add(a->lines.entries, line);
    }
    return &line->costs;
}

/* --- Sites --- */

AttributionSite *attribution_add_site(Attribution *a, Watched *w,
                                      const AttributionSite *key)
{
    AttributionSite *site = g_memdup2(key, sizeof(*key));

    site->next = w->sites;
    w->sites = site;
    w->public.sites = site;
    w->number_of_sites++;
    g_hash_table_add(a->sites, site);
    return site;
}

static AttributionSite *find_site(Attribution *a, Watched *w,
                                  const AttributionEvent *event, uint64_t line)
{
    AttributionSite key = {
        .line = line,
        .pc = event->pc,
        .vcpu = event->access->vcpu,
        .user = event->access->user,
    };
    AttributionSite others = { .line = line, .others = true };
    AttributionSite *site = g_hash_table_lookup(a->sites, &key);

    if (site) {
        return site;
    }
    if (w->number_of_sites < a->limits.line_sites &&
        g_hash_table_size(a->sites) < a->limits.sites) {
        return attribution_add_site(a, w, &key);
    }
    return g_hash_table_lookup(a->sites, &others) ?:
           attribution_add_site(a, w, &others);
}

static void forget_sites(Attribution *a, Watched *w)
{
    while (w->sites) {
        AttributionSite *site = w->sites;

        w->sites = site->next;
        g_hash_table_remove(a->sites, site);
    }
    w->public.sites = NULL;
    w->number_of_sites = 0;
}

/* --- Sharing --- */

static void share(Attribution *a, Watched *w, AttributionSite *site,
                  AttributionSharing kind, int sign, uint64_t stall)
{
    AttributionShares *shares[] = {
        &a->shares, &w->public.shares, &site->shares
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(shares); i++) {
        shares[i]->number[kind] += sign;
        shares[i]->stall[kind] += sign * stall;
    }
}

/* The miss that began this lifetime is of @kind. */
static void decide(Attribution *a, Watched *w, Lifetime *l,
                   AttributionSharing kind)
{
    if (l->site) {
        share(a, w, l->site, ATTRIBUTION_UNDECIDED, -1, l->stall);
        share(a, w, l->site, kind, 1, l->stall);
    }
    l->site = NULL;
    l->undecided = false;
}

static void end_lifetime(Attribution *a, Watched *w, Lifetime *l)
{
    if (l->undecided) {
        decide(a, w, l, ATTRIBUTION_FALSE);
    }
}

/* A miss of the L2 of the PCPU */
static void begin_lifetime(Attribution *a, Watched *w, Lifetime *l,
                           AttributionSite *site, const CacheOutcome *o)
{
    end_lifetime(a, w, l);      /* the L2 had evicted the line */
    if (o->l2 == CACHE_COHERENCE && l->known) {
        l->undecided = true;
        l->site = site;
        l->stall = o->stall;
        share(a, w, site, ATTRIBUTION_UNDECIDED, 1, o->stall);
        return;
    }
    if (o->l2 == CACHE_COHERENCE) {
        share(a, w, site, ATTRIBUTION_UNKNOWN, 1, o->stall);
    }
    l->fresh = 0;
    l->known = true;
}

/* Other L2s lose the line to this access. */
static void take_away(Attribution *a, Watched *w, uint64_t taken)
{
    for (; taken; taken &= taken - 1) {
        Lifetime *l = &w->lifetime[__builtin_ctzll(taken)];

        end_lifetime(a, w, l);
        l->known = true;
    }
}

static bool writes(const CacheAccess *access)
{
    return access->kind == CACHE_STORE || access->kind == CACHE_MODEL_STORE;
}

/* An access to @words of a watched line */
static void watched_access(Attribution *a, Watched *w,
                           const AttributionEvent *event,
                           const CacheOutcome *o, uint64_t words)
{
    const CacheAccess *access = event->access;
    AttributionSite *site = find_site(a, w, event, o->line);
    Lifetime *own = &w->lifetime[access->pcpu];

    site->pcpus |= UINT64_C(1) << access->pcpu;
    site->accesses++;
    *(writes(access) ? &site->writes : &site->reads) |= words;

    take_away(a, w, o->taken);
    if (o->l2 != CACHE_HIT) {
        begin_lifetime(a, w, own, site, o);
    } else if (o->taken) {
        share(a, w, site, ATTRIBUTION_UPGRADE, 1, o->stall);
    }
    if (own->undecided && (own->fresh & words)) {
        decide(a, w, own, ATTRIBUTION_TRUE);
        own->fresh = 0;
    }
    if (writes(access)) {
        for (unsigned p = 0; p < a->pcpus; p++) {
            if (p != access->pcpu) {
                w->lifetime[p].fresh |= words;
            }
        }
    }
}

/* --- Watched lines --- */

static uint64_t *maybe(Attribution *a, uint64_t address, uint64_t *bit)
{
    unsigned n = mix(address, 0) % MAYBE_BITS;

    *bit = UINT64_C(1) << n % 64;
    return &a->maybe[n / 64];
}

static Watched *find_watched(const Attribution *a, uint64_t address)
{
    AttributionLine key = { .place.address = address };
    uint64_t bit;

    if (!(*maybe((Attribution *)a, address, &bit) & bit)) {
        return NULL;
    }
    return g_hash_table_lookup(a->watched, &key);
}

static void drop_watched(Attribution *a)
{
    g_autoptr(GPtrArray) all = sorted(a->watched, compare_by_coherence);
    unsigned keep = a->limits.watched - a->limits.watched / 2;
    uint64_t bit;

    memset(a->maybe, 0, sizeof(a->maybe));
    for (unsigned i = 0; i < all->len; i++) {
        Watched *w = all->pdata[i];

        if (i < keep) {
            *maybe(a, w->public.place.address, &bit) |= bit;
        } else {
            for (unsigned p = 0; p < a->pcpus; p++) {
                decide(a, w, &w->lifetime[p], ATTRIBUTION_UNKNOWN);
            }
            forget_sites(a, w);
            g_hash_table_remove(a->watched, w);
            a->watched_dropped++;
        }
    }
}

Watched *attribution_watch(Attribution *a, const AttributionPlace *place)
{
    Watched *w;
    uint64_t bit;

    if (g_hash_table_size(a->watched) == a->limits.watched) {
        drop_watched(a);
    }
    w = g_malloc0(sizeof(*w) + a->pcpus * sizeof(w->lifetime[0]));
    w->public.place = *place;
    g_hash_table_add(a->watched, w);
    *maybe(a, place->address, &bit) |= bit;
    return w;
}

bool attribution_wants(const Attribution *a, uint64_t address)
{
    return find_watched(a, address >> a->line_shift << a->line_shift);
}

/* --- Accesses --- */

/* Words from byte @first to byte @last of a line */
static uint64_t word_mask(uint64_t first, uint64_t last)
{
    first /= ATTRIBUTION_WORD;
    last /= ATTRIBUTION_WORD;
    return UINT64_MAX >> (63 - last) & UINT64_MAX << first;
}

/* The part of the access that is in the line of @o */
static void line_access(Attribution *a, const AttributionEvent *event,
                        const CacheOutcome *o)
{
    const CacheAccess *access = event->access;
    AttributionPlace place = {
        .address = o->line << a->line_shift,
        .vm = a->vm[access->vcpu],
        .user = access->user,
    };
    uint64_t size = UINT64_C(1) << a->line_shift;
    /* Bytes of the access before the line, and its bytes in the line */
    uint64_t before = place.address > access->address ?
                      place.address - access->address : 0;
    uint64_t first = before ? 0 : access->address - place.address;
    uint64_t last = MIN(size, first + access->size - before) - 1;
    Watched *w = find_watched(a, place.address);

    place.virtual = event->virtual + before - first;
    if (o->server != CACHE_BY_L1) {
        charge(&a->all, o);
        charge(costs_of_pc(a, event), o);
        charge(costs_of_line(a, &place), o);
    }
    if (!w && o->taken) {
        w = attribution_watch(a, &place);
    }
    if (w) {
        watched_access(a, w, event, o, word_mask(first, last));
    } else if (o->l2 == CACHE_COHERENCE) {
        a->shares.number[ATTRIBUTION_UNKNOWN]++;
        a->shares.stall[ATTRIBUTION_UNKNOWN] += o->stall;
    }
}

void attribution_access(Attribution *a, const CacheModel *m,
                        const AttributionEvent *event)
{
    unsigned n;
    const CacheOutcome *outcome = cache_model_outcomes(m, &n);

    for (unsigned i = 0; i < n; i++) {
        line_access(a, event, &outcome[i]);
    }
}

/* --- What it knows --- */

static void summarize(const Table *t, struct AttributionTable *summary)
{
    *summary = (struct AttributionTable) {
        .entries = g_hash_table_size(t->entries),
        .dropped = t->dropped,
        .costs = t->costs,
        .error = t->error,
    };
}

void attribution_summary(const Attribution *a, AttributionSummary *summary)
{
    *summary = (AttributionSummary) {
        .all = a->all,
        .shares = a->shares,
        .watched = g_hash_table_size(a->watched),
        .sites = g_hash_table_size(a->sites),
        .watched_dropped = a->watched_dropped,
    };
    summarize(&a->pcs, &summary->pcs);
    summarize(&a->lines, &summary->lines);
}

GPtrArray *attribution_top_pcs(const Attribution *a, unsigned n)
{
    return top(a->pcs.entries, compare_pcs, n);
}

GPtrArray *attribution_top_lines(const Attribution *a, unsigned n)
{
    return top(a->lines.entries, compare_lines, n);
}

GPtrArray *attribution_top_watched(const Attribution *a, unsigned n)
{
    return top(a->watched, compare_watched, n);
}

GPtrArray *attribution_all_pcs(const Attribution *a)
{
    return sorted(a->pcs.entries, compare_pcs);
}

GPtrArray *attribution_all_lines(const Attribution *a)
{
    return sorted(a->lines.entries, compare_lines);
}

GPtrArray *attribution_all_watched(const Attribution *a)
{
    return sorted(a->watched, compare_watched);
}

size_t attribution_memory(const Attribution *a)
{
    return sizeof(*a) +
           g_hash_table_size(a->pcs.entries) * sizeof(AttributionPc) +
           g_hash_table_size(a->lines.entries) * sizeof(AttributionLine) +
           g_hash_table_size(a->watched) *
           (sizeof(Watched) + a->pcpus * sizeof(Lifetime)) +
           g_hash_table_size(a->sites) * sizeof(AttributionSite);
}

/* --- Making one --- */

static void init_tables(Attribution *a)
{
    table_init(&a->pcs, a->limits.pcs, pc_hash, pc_equal);
    table_init(&a->lines, a->limits.lines, line_hash, line_equal);
    a->watched = g_hash_table_new_full(line_hash, line_equal, g_free, NULL);
    a->sites = g_hash_table_new_full(site_hash, site_equal, g_free, NULL);
}

Attribution *attribution_new(const CacheConfig *config,
                             const CacheMachine *machine,
                             const AttributionLimits *limits)
{
    Attribution *a = g_new0(Attribution, 1);

    a->limits = limits ? *limits : attribution_limits;
    a->pcpus = machine->pcpus;
    a->vcpus = machine->vcpus;
    a->vms = machine->vms;
    a->vm = g_memdup2(machine->vm, machine->vcpus * sizeof(machine->vm[0]));
    a->line_shift = __builtin_ctzll(config->line);
    init_tables(a);
    return a;
}

Attribution *attribution_like(const Attribution *a)
{
    Attribution *other = g_new0(Attribution, 1);

    other->limits = a->limits;
    other->pcpus = a->pcpus;
    other->vcpus = a->vcpus;
    other->vms = a->vms;
    other->vm = g_memdup2(a->vm, a->vcpus * sizeof(a->vm[0]));
    other->line_shift = a->line_shift;
    init_tables(other);
    return other;
}

/* All but the structure itself */
static void destroy(Attribution *a)
{
    table_destroy(&a->pcs);
    table_destroy(&a->lines);
    g_hash_table_destroy(a->watched);
    g_hash_table_destroy(a->sites);
    g_free(a->vm);
}

void attribution_free(Attribution *a)
{
    if (a) {
        destroy(a);
        g_free(a);
    }
}

void attribution_become(Attribution *a, Attribution *from)
{
    destroy(a);
    *a = *from;
    g_free(from);
}

void attribution_reset(Attribution *a)
{
    GHashTableIter i;
    gpointer key;

    memset(&a->all, 0, sizeof(a->all));
    memset(&a->shares, 0, sizeof(a->shares));
    table_reset(&a->pcs);
    table_reset(&a->lines);
    a->watched_dropped = 0;
    g_hash_table_iter_init(&i, a->watched);
    while (g_hash_table_iter_next(&i, &key, NULL)) {
        Watched *w = key;

        forget_sites(a, w);
        memset(&w->public.shares, 0, sizeof(w->public.shares));
        for (unsigned p = 0; p < a->pcpus; p++) {
            w->lifetime[p].site = NULL;
        }
    }
}
