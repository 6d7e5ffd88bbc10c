/*
 * Attribution: its state as a GVariant
 *
 * Entries are written in the order of reports, so that equal states are equal
 * bytes; sites of a line from the newest to the oldest.  Tables that follow
 * from others (lines that may be watched) are not.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <inttypes.h>
#include <string.h>

#include "attribution-internal.h"

#define NO_SITE UINT32_MAX

/* --- Writing --- */

static GVariant *numbers(const void *n, size_t size)
{
    return g_variant_new_fixed_array(G_VARIANT_TYPE_UINT64, n,
                                     size / sizeof(uint64_t), sizeof(uint64_t));
}

#define NUMBERS(structure) numbers(&(structure), sizeof(structure))

static GVariant *limits(const Attribution *a)
{
    GVariantBuilder b;

    g_variant_builder_init(&b, G_VARIANT_TYPE("a{su}"));
    g_variant_builder_add(&b, "{su}", "PCPUs", a->pcpus);
    g_variant_builder_add(&b, "{su}", "VCPUs", a->vcpus);
    g_variant_builder_add(&b, "{su}", "VMs", a->vms);
    g_variant_builder_add(&b, "{su}", "bytes of a line", 1u << a->line_shift);
    g_variant_builder_add(&b, "{su}", "program counters", a->limits.pcs);
    g_variant_builder_add(&b, "{su}", "lines", a->limits.lines);
    g_variant_builder_add(&b, "{su}", "watched lines", a->limits.watched);
    g_variant_builder_add(&b, "{su}", "sites of a line", a->limits.line_sites);
    g_variant_builder_add(&b, "{su}", "sites", a->limits.sites);
    return g_variant_builder_end(&b);
}

static GVariant *save_pcs(const Attribution *a)
{
    g_autoptr(GPtrArray) all = attribution_all_pcs(a);
    GVariantBuilder b;

    g_variant_builder_init(&b, G_VARIANT_TYPE("a(tubbat)"));
    for (unsigned i = 0; i < all->len; i++) {
        const AttributionPc *pc = all->pdata[i];

        g_variant_builder_add(&b, "(tubb@at)", pc->pc, pc->vm, pc->user,
                              pc->fetch, NUMBERS(pc->costs));
    }
    return g_variant_new("(tt@at@a(tubbat))", a->pcs.dropped, a->pcs.error,
                         NUMBERS(a->pcs.costs), g_variant_builder_end(&b));
}

static GVariant *save_lines(const Attribution *a)
{
    g_autoptr(GPtrArray) all = attribution_all_lines(a);
    GVariantBuilder b;

    g_variant_builder_init(&b, G_VARIANT_TYPE("a(ttubat)"));
    for (unsigned i = 0; i < all->len; i++) {
        const AttributionLine *line = all->pdata[i];

        g_variant_builder_add(&b, "(ttub@at)", line->place.address,
                              line->place.virtual, line->place.vm,
                              line->place.user, NUMBERS(line->costs));
    }
    return g_variant_new("(tt@at@a(ttubat))", a->lines.dropped, a->lines.error,
                         NUMBERS(a->lines.costs), g_variant_builder_end(&b));
}

static GVariant *save_sites(const Watched *w)
{
    GVariantBuilder b;

    g_variant_builder_init(&b, G_VARIANT_TYPE("a(ttubbtttat)"));
    for (const AttributionSite *s = w->sites; s; s = s->next) {
        g_variant_builder_add(&b, "(ttubbttt@at)", s->pc, s->pcpus, s->vcpu,
                              s->user, s->others, s->reads, s->writes,
                              s->accesses, NUMBERS(s->shares));
    }
    return g_variant_builder_end(&b);
}

/* Which one of the line's sites it is, from the newest on */
static uint32_t number_of_site(const Watched *w, const AttributionSite *site)
{
    uint32_t n = 0;

    for (const AttributionSite *s = w->sites; s; s = s->next, n++) {
        if (s == site) {
            return n;
        }
    }
    return NO_SITE;
}

static GVariant *save_lifetimes(const Attribution *a, const Watched *w)
{
    GVariantBuilder b;

    g_variant_builder_init(&b, G_VARIANT_TYPE("a(ttubb)"));
    for (unsigned p = 0; p < a->pcpus; p++) {
        const Lifetime *l = &w->lifetime[p];

        g_variant_builder_add(&b, "(ttubb)", l->fresh, l->site ? l->stall : 0,
                              number_of_site(w, l->site), l->known,
                              l->undecided);
    }
    return g_variant_builder_end(&b);
}

static GVariant *save_watched(const Attribution *a)
{
    g_autoptr(GPtrArray) all = attribution_all_watched(a);
    GVariantBuilder b;

    g_variant_builder_init(&b,
                           G_VARIANT_TYPE("a(ttubata(ttubbtttat)a(ttubb))"));
    for (unsigned i = 0; i < all->len; i++) {
        const Watched *w = all->pdata[i];
        const AttributionPlace *place = &w->public.place;

        g_variant_builder_add(&b, "(ttub@at@a(ttubbtttat)@a(ttubb))",
                              place->address, place->virtual, place->vm,
                              place->user, NUMBERS(w->public.shares),
                              save_sites(w), save_lifetimes(a, w));
    }
    return g_variant_builder_end(&b);
}

GVariant *attribution_save(const Attribution *a)
{
    GVariant *sums = g_variant_new("(@at@at)", NUMBERS(a->all),
                                   NUMBERS(a->shares));

    return g_variant_new("(@a{su}@(atat)@(ttata(tubbat))@(ttata(ttubat))t"
                         "@a(ttubata(ttubbtttat)a(ttubb)))", limits(a), sums,
                         save_pcs(a), save_lines(a), a->watched_dropped,
                         save_watched(a));
}

/* --- Reading --- */

G_GNUC_PRINTF(2, 3)
static bool refuse(char **why, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    *why = g_strdup_vprintf(format, args);
    va_end(args);
    return false;
}

/* Takes @from, which has as many numbers as the structure. */
static bool read_numbers(GVariant *from, void *to, size_t size, char **why)
{
    gsize n;
    const void *values = g_variant_get_fixed_array(from, &n, sizeof(uint64_t));
    bool fits = n == size / sizeof(uint64_t);

    if (fits) {
        memcpy(to, values, size);
    }
    g_variant_unref(from);
    return fits || refuse(why, "a record has %zu numbers, not %zu", n,
                          size / sizeof(uint64_t));
}

#define READ_NUMBERS(from, structure, why) \
    read_numbers(from, &(structure), sizeof(structure), why)

static bool check_limits(const Attribution *a, GVariant *state, char **why)
{
    g_autoptr(GVariant) own = g_variant_ref_sink(limits(a));
    g_autoptr(GVariant) others = g_variant_get_child_value(state, 0);
    GVariantIter i;
    const char *name;
    uint32_t value, other;

    g_variant_iter_init(&i, own);
    while (g_variant_iter_next(&i, "{&su}", &name, &value)) {
        if (!g_variant_lookup(others, name, "u", &other)) {
            return refuse(why, "it does not say how many %s", name);
        }
        if (other != value) {
            return refuse(why, "%s: %u, this one has %u", name, other, value);
        }
    }
    return true;
}

static bool check_place(const Attribution *a, const AttributionPlace *place,
                        char **why)
{
    if (place->vm >= a->vms) {
        return refuse(why, "a line is of VM %u", place->vm);
    }
    if (place->address & ((UINT64_C(1) << a->line_shift) - 1)) {
        return refuse(why, "a line is at 0x%" PRIx64, place->address);
    }
    return true;
}

/* A table's sums; its entries are what is left, as @entries. */
static bool read_table(GVariant *state, unsigned child, Table *t,
                       GVariant **entries, char **why)
{
    g_autoptr(GVariant) table = g_variant_get_child_value(state, child);
    GVariant *costs;

    g_variant_get(table, "(tt@at@*)", &t->dropped, &t->error, &costs, entries);
    if (!READ_NUMBERS(costs, t->costs, why)) {
        return false;
    }
    if (g_variant_n_children(*entries) > t->limit) {
        return refuse(why, "a table has %zu entries, more than %u",
                      (size_t)g_variant_n_children(*entries), t->limit);
    }
    return true;
}

static bool read_pcs(Attribution *a, GVariant *state, char **why)
{
    g_autoptr(GVariant) entries = NULL;
    GVariantIter i;
    AttributionPc pc = {};
    gboolean user, fetch;
    GVariant *costs;

    if (!read_table(state, 2, &a->pcs, &entries, why)) {
        return false;
    }
    g_variant_iter_init(&i, entries);
    while (g_variant_iter_next(&i, "(tubb@at)", &pc.pc, &pc.vm, &user, &fetch,
                               &costs)) {
        pc.user = user;
        pc.fetch = fetch;
        if (!READ_NUMBERS(costs, pc.costs, why)) {
            return false;
        }
        if (pc.vm >= a->vms) {
            return refuse(why, "an instruction is of VM %u", pc.vm);
        }
        if (!g_hash_table_add(a->pcs.entries, g_memdup2(&pc, sizeof(pc)))) {
            return refuse(why, "instruction 0x%" PRIx64 " is there twice",
                          pc.pc);
        }
    }
    return true;
}

static bool read_lines(Attribution *a, GVariant *state, char **why)
{
    g_autoptr(GVariant) entries = NULL;
    GVariantIter i;
    AttributionLine line = {};
    gboolean user;
    GVariant *costs;

    if (!read_table(state, 3, &a->lines, &entries, why)) {
        return false;
    }
    g_variant_iter_init(&i, entries);
    while (g_variant_iter_next(&i, "(ttub@at)", &line.place.address,
                               &line.place.virtual, &line.place.vm, &user,
                               &costs)) {
        line.place.user = user;
        if (!READ_NUMBERS(costs, line.costs, why) ||
            !check_place(a, &line.place, why)) {
            return false;
        }
        if (!g_hash_table_add(a->lines.entries,
                              g_memdup2(&line, sizeof(line)))) {
            return refuse(why, "line 0x%" PRIx64 " is there twice",
                          line.place.address);
        }
    }
    return true;
}

/* From the oldest to the newest, so that they come into the same order. */
static bool read_sites(Attribution *a, Watched *w, GVariant *sites, char **why)
{
    uint64_t pcpus = UINT64_MAX >> (64 - a->pcpus);

    for (gsize i = g_variant_n_children(sites); i-- > 0; ) {
        AttributionSite site = {
            .line = w->public.place.address >> a->line_shift
        };
        gboolean user, others;
        GVariant *shares;

        g_variant_get_child(sites, i, "(ttubbttt@at)", &site.pc, &site.pcpus,
                            &site.vcpu, &user, &others, &site.reads,
                            &site.writes, &site.accesses, &shares);
        site.user = user;
        site.others = others;
        if (!READ_NUMBERS(shares, site.shares, why)) {
            return false;
        }
        if (site.vcpu >= a->vcpus || site.pcpus & ~pcpus) {
            return refuse(why, "a site is of a VCPU or PCPU that is not there");
        }
        if (g_hash_table_contains(a->sites, &site)) {
            return refuse(why, "site 0x%" PRIx64 " is there twice", site.pc);
        }
        attribution_add_site(a, w, &site);
    }
    return true;
}

static bool read_lifetimes(const Attribution *a, Watched *w, GVariant *all,
                           char **why)
{
    if (g_variant_n_children(all) != a->pcpus) {
        return refuse(why, "a line has lifetimes of %zu PCPUs",
                      (size_t)g_variant_n_children(all));
    }
    for (unsigned p = 0; p < a->pcpus; p++) {
        Lifetime *l = &w->lifetime[p];
        AttributionSite *site = w->sites;
        gboolean known, undecided;
        uint32_t n;

        g_variant_get_child(all, p, "(ttubb)", &l->fresh, &l->stall, &n, &known,
                            &undecided);
        l->known = known;
        l->undecided = undecided;
        if (n == NO_SITE) {
            continue;
        }
        while (site && n--) {
            site = site->next;
        }
        if (!site || !undecided) {
            return refuse(why, "a lifetime has a site that is not there");
        }
        l->site = site;
    }
    return true;
}

static bool read_watched(Attribution *a, GVariant *state, char **why)
{
    g_autoptr(GVariant) all = g_variant_get_child_value(state, 5);

    if (g_variant_n_children(all) > a->limits.watched) {
        return refuse(why, "%zu lines are watched, more than %u",
                      (size_t)g_variant_n_children(all), a->limits.watched);
    }
    for (gsize i = 0; i < g_variant_n_children(all); i++) {
        g_autoptr(GVariant) sites = NULL, lifetimes = NULL;
        AttributionPlace place = {};
        GVariant *shares;
        gboolean user;
        Watched *w;

        g_variant_get_child(all, i, "(ttub@at@a(ttubbtttat)@a(ttubb))",
                            &place.address, &place.virtual, &place.vm, &user,
                            &shares, &sites, &lifetimes);
        place.user = user;
        if (!check_place(a, &place, why)) {
            g_variant_unref(shares);
            return false;
        }
        if (attribution_wants(a, place.address)) {
            g_variant_unref(shares);
            return refuse(why, "line 0x%" PRIx64 " is there twice",
                          place.address);
        }
        w = attribution_watch(a, &place);
        if (!READ_NUMBERS(shares, w->public.shares, why) ||
            !read_sites(a, w, sites, why) ||
            !read_lifetimes(a, w, lifetimes, why)) {
            return false;
        }
    }
    return true;
}

static bool read_sums(Attribution *a, GVariant *state, char **why)
{
    GVariant *all, *shares;

    g_variant_get_child(state, 1, "(@at@at)", &all, &shares);
    g_variant_get_child(state, 4, "t", &a->watched_dropped);
    if (!READ_NUMBERS(all, a->all, why)) {
        g_variant_unref(shares);
        return false;
    }
    return READ_NUMBERS(shares, a->shares, why);
}

bool attribution_load(Attribution *a, GVariant *state, char **why)
{
    Attribution *loaded = attribution_like(a);

    g_assert(g_variant_is_of_type(state, G_VARIANT_TYPE(ATTRIBUTION_STATE)));
    if (!check_limits(a, state, why) || !read_sums(loaded, state, why) ||
        !read_pcs(loaded, state, why) || !read_lines(loaded, state, why) ||
        !read_watched(loaded, state, why)) {
        g_autofree char *what = *why;

        *why = g_strdup_printf("state of attribution: %s", what);
        attribution_free(loaded);
        return false;
    }
    attribution_become(a, loaded);
    return true;
}

void attribution_forget(Attribution *a)
{
    attribution_become(a, attribution_like(a));
}
