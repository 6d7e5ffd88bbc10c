/*
 * Shadow page tables of a VM, as Xen 3.3 keeps them
 *
 * See walk-shadow.h.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <limits.h>

#include "walk-shadow.h"

#define PAGE 4096
#define ENTRIES_MAX 1024

struct WalkShadowPage {
    uint64_t gfn;
    uint8_t level;
    uint8_t format;
    bool out_of_sync;
    unsigned number;            /* where it is */
    uint64_t base;
    unsigned filled;
    uint8_t is_filled[ENTRIES_MAX / 8];
    uint64_t *value;
};

/* A table of agile paging's that was written */
typedef struct Written {
    uint64_t gfn;
    unsigned writes;
    bool nested;                /* it is walked in two dimensions */
    bool dirty;                 /* and was written since the last scan */
} Written;

struct WalkShadow {
    WalkShadowHooks hooks;
    unsigned limit, made_room;
    uint64_t base;
    GPtrArray *pages;           /* in the order in which they were made */
    GHashTable *by_key;         /* &key: page */
    GHashTable *shadows;        /* &gfn: how many pages shadow it */
    GArray *free;               /* numbers of pages that are gone */
    unsigned numbers;
    GArray *written;            /* of Written */
    GHashTable *by_gfn;         /* &gfn: place in written, + 1 */
    unsigned nested;
};

/* --- Formats --- */

unsigned walk_format_levels(WalkFormat format)
{
    static const unsigned char levels[WALK_FORMATS] = { 2, 3, 4, 5 };

    return levels[format];
}

unsigned walk_format_bits(WalkFormat format)
{
    return format == WALK_32 ? 10 : 9;
}

unsigned walk_format_entry(WalkFormat format)
{
    return format == WALK_32 ? 4 : 8;
}

static unsigned entries_of(const WalkShadowPage *p)
{
    return PAGE / walk_format_entry(p->format);
}

/* --- Tables by number --- */

static GHashTable *new_table(void)
{
    return g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
}

static void table_set(GHashTable *t, uint64_t key, void *value)
{
    if (value) {
        g_hash_table_insert(t, g_memdup2(&key, sizeof(key)), value);
    } else {
        g_hash_table_remove(t, &key);
    }
}

static void *table_get(GHashTable *t, uint64_t key)
{
    return g_hash_table_lookup(t, &key);
}

static uint64_t key_of(uint64_t gfn, unsigned level)
{
    return gfn << 3 | level;
}

/* --- Pages --- */

static void free_page(void *page)
{
    WalkShadowPage *p = page;

    g_free(p->value);
    g_free(p);
}

WalkShadow *walk_shadow_new(const WalkShadowHooks *hooks, unsigned limit,
                            uint64_t base)
{
    WalkShadow *s = g_new0(WalkShadow, 1);

    g_assert(limit > WALK_LEVELS + 1);
    s->hooks = *hooks;
    s->limit = limit;
    s->base = base;
    s->pages = g_ptr_array_new_with_free_func(free_page);
    s->by_key = new_table();
    s->shadows = new_table();
    s->free = g_array_new(false, false, sizeof(unsigned));
    s->written = g_array_new(false, false, sizeof(Written));
    s->by_gfn = new_table();
    return s;
}

void walk_shadow_free(WalkShadow *s)
{
    if (s) {
        g_ptr_array_unref(s->pages);
        g_hash_table_unref(s->by_key);
        g_hash_table_unref(s->shadows);
        g_array_unref(s->free);
        g_array_unref(s->written);
        g_hash_table_unref(s->by_gfn);
        g_free(s);
    }
}

static unsigned shadows_of(const WalkShadow *s, uint64_t gfn)
{
    return GPOINTER_TO_UINT(table_get(s->shadows, gfn));
}

WalkShadowPage *walk_shadow_find(const WalkShadow *s, uint64_t gfn,
                                 unsigned level)
{
    return table_get(s->by_key, key_of(gfn, level));
}

static void protect(WalkShadow *s, uint64_t gfn, bool on)
{
    if (s->hooks.protect) {
        s->hooks.protect(s->hooks.opaque, gfn, on);
    }
}

/* What a large page is split into is in no table of the guest's. */
static bool is_of_a_table(const WalkShadowPage *p)
{
    return p->level != WALK_SPLIT;
}

static void remove_page(WalkShadow *s, WalkShadowPage *p)
{
    unsigned left;

    table_set(s->by_key, key_of(p->gfn, p->level), NULL);
    g_array_append_val(s->free, p->number);
    if (is_of_a_table(p)) {
        left = shadows_of(s, p->gfn) - 1;
        table_set(s->shadows, p->gfn, GUINT_TO_POINTER(left));
        if (!left && !p->out_of_sync) {
            protect(s, p->gfn, false);
        }
    }
    g_ptr_array_remove(s->pages, p);
}

static unsigned next_number(WalkShadow *s)
{
    unsigned number;

    if (!s->free->len) {
        return s->numbers++;
    }
    number = g_array_index(s->free, unsigned, s->free->len - 1);
    g_array_set_size(s->free, s->free->len - 1);
    return number;
}

static WalkShadowPage *add_page(WalkShadow *s, uint64_t gfn, unsigned level,
                                WalkFormat format, unsigned number)
{
    WalkShadowPage *p = g_new0(WalkShadowPage, 1);

    p->gfn = gfn;
    p->level = level;
    p->format = format;
    p->number = number;
    p->base = s->base;
    p->value = g_new0(uint64_t, entries_of(p));
    g_ptr_array_add(s->pages, p);
    table_set(s->by_key, key_of(gfn, level), p);
    if (is_of_a_table(p)) {
        table_set(s->shadows, gfn, GUINT_TO_POINTER(shadows_of(s, gfn) + 1));
    }
    return p;
}

unsigned walk_shadow_made_room(WalkShadow *s)
{
    unsigned n = s->made_room;

    s->made_room = 0;
    return n;
}

WalkShadowPage *walk_shadow_get(WalkShadow *s, uint64_t gfn, unsigned level,
                                WalkFormat format)
{
    WalkShadowPage *p = walk_shadow_find(s, gfn, level);

    if (p && p->format != format) {     /* the guest's tables are others now */
        remove_page(s, p);
        p = NULL;
    }
    if (!p) {
        if (s->pages->len == s->limit) {
            remove_page(s, g_ptr_array_index(s->pages, 0));
            s->made_room++;
        }
        /* With a second use, all of its writes are seen. */
        if (level != WALK_SPLIT && walk_shadow_is_out_of_sync(s, gfn)) {
            walk_shadow_resync(s, gfn);
        }
        p = add_page(s, gfn, level, format, next_number(s));
        if (is_of_a_table(p) && shadows_of(s, gfn) == 1) {
            protect(s, gfn, true);
        }
    }
    return p;
}

uint64_t walk_shadow_address(const WalkShadowPage *p, unsigned index)
{
    return p->base + (uint64_t)p->number * PAGE +
           index * walk_format_entry(p->format);
}

/* --- Entries --- */

bool walk_shadow_is_filled(const WalkShadowPage *p, unsigned index)
{
    return p->is_filled[index / 8] >> index % 8 & 1;
}

uint64_t walk_shadow_value(const WalkShadowPage *p, unsigned index)
{
    return p->value[index];
}

void walk_shadow_fill(WalkShadowPage *p, unsigned index, uint64_t value)
{
    p->filled += !walk_shadow_is_filled(p, index);
    p->is_filled[index / 8] |= 1u << index % 8;
    p->value[index] = value;
}

void walk_shadow_empty(WalkShadowPage *p, unsigned index)
{
    p->filled -= walk_shadow_is_filled(p, index);
    p->is_filled[index / 8] &= ~(1u << index % 8);
}

bool walk_shadow_has(const WalkShadow *s, uint64_t gfn)
{
    return shadows_of(s, gfn);
}

/* --- Writes --- */

bool walk_shadow_may_unsync(const WalkShadow *s, uint64_t gfn)
{
    const WalkShadowPage *p = walk_shadow_find(s, gfn, 1);

    return p && !p->out_of_sync && shadows_of(s, gfn) == 1;
}

bool walk_shadow_is_out_of_sync(const WalkShadow *s, uint64_t gfn)
{
    const WalkShadowPage *p = walk_shadow_find(s, gfn, 1);

    return p && p->out_of_sync;
}

void walk_shadow_unsync(WalkShadow *s, uint64_t gfn)
{
    g_assert(walk_shadow_may_unsync(s, gfn));
    walk_shadow_find(s, gfn, 1)->out_of_sync = true;
    protect(s, gfn, false);
}

unsigned walk_shadow_resync(WalkShadow *s, uint64_t gfn)
{
    WalkShadowPage *p = walk_shadow_find(s, gfn, 1);
    unsigned size, differed = 0;

    if (!p || !p->out_of_sync) {
        return 0;
    }
    size = walk_format_entry(p->format);
    for (unsigned i = 0; i < entries_of(p); i++) {
        if (walk_shadow_is_filled(p, i) &&
            s->hooks.read(s->hooks.opaque, gfn * PAGE + i * size, size) !=
            p->value[i]) {
            walk_shadow_empty(p, i);
            differed++;
        }
    }
    p->out_of_sync = false;
    protect(s, gfn, true);
    if (!p->filled) {
        remove_page(s, p);
    }
    return differed;
}

void walk_shadow_written(WalkShadow *s, uint64_t gpa, unsigned size)
{
    for (unsigned level = 1; level <= WALK_LEVELS; level++) {
        WalkShadowPage *p = walk_shadow_find(s, gpa / PAGE, level);
        unsigned entry, last;

        if (!p) {
            continue;
        }
        entry = walk_format_entry(p->format);
        last = MIN(gpa % PAGE + size - 1, PAGE - 1) / entry;
        for (unsigned i = gpa % PAGE / entry; i <= last; i++) {
            walk_shadow_empty(p, i);
        }
    }
}

void walk_shadow_remove(WalkShadow *s, uint64_t gfn)
{
    for (unsigned level = 1; level <= WALK_LEVELS; level++) {
        WalkShadowPage *p = walk_shadow_find(s, gfn, level);

        if (p) {
            remove_page(s, p);
        }
    }
}

/* --- Agile paging --- */

static Written *written_at(const WalkShadow *s, unsigned n)
{
    return &g_array_index(s->written, Written, n);
}

static Written *find_written(const WalkShadow *s, uint64_t gfn)
{
    unsigned place = GPOINTER_TO_UINT(table_get(s->by_gfn, gfn));

    return place ? written_at(s, place - 1) : NULL;
}

static Written *get_written(WalkShadow *s, uint64_t gfn)
{
    Written *w = find_written(s, gfn), one = { .gfn = gfn };

    if (!w) {
        g_array_append_val(s->written, one);
        table_set(s->by_gfn, gfn, GUINT_TO_POINTER(s->written->len));
        w = written_at(s, s->written->len - 1);
    }
    return w;
}

bool walk_shadow_is_nested(const WalkShadow *s, uint64_t gfn)
{
    const Written *w = find_written(s, gfn);

    return w && w->nested;
}

unsigned walk_shadow_count_write(WalkShadow *s, uint64_t gfn)
{
    Written *w = get_written(s, gfn);

    w->writes += w->writes < UINT_MAX;
    return w->writes;
}

void walk_shadow_nest(WalkShadow *s, uint64_t gfn)
{
    Written *w = get_written(s, gfn);

    walk_shadow_remove(s, gfn);
    s->nested += !w->nested;
    w->nested = w->dirty = true;
}

void walk_shadow_dirty(WalkShadow *s, uint64_t gfn)
{
    Written *w = find_written(s, gfn);

    if (w && w->nested && !w->dirty) {
        w->dirty = true;
        protect(s, gfn, false);
    }
}

unsigned walk_shadow_scan(WalkShadow *s)
{
    unsigned left = 0, back = s->nested;

    for (unsigned i = 0; i < s->written->len; i++) {
        Written w = *written_at(s, i);

        if (!w.nested || !w.dirty) {
            table_set(s->by_gfn, w.gfn, NULL);
            if (w.nested) {
                protect(s, w.gfn, false);
            }
            continue;
        }
        w.dirty = false;
        protect(s, w.gfn, true);
        *written_at(s, left++) = w;
        table_set(s->by_gfn, w.gfn, GUINT_TO_POINTER(left));
    }
    g_array_set_size(s->written, left);
    s->nested = left;
    return back - left;
}

unsigned walk_shadow_nested(const WalkShadow *s)
{
    return s->nested;
}

/* --- All of it --- */

void walk_shadow_clear(WalkShadow *s)
{
    while (s->pages->len) {
        remove_page(s, g_ptr_array_index(s->pages, s->pages->len - 1));
    }
    for (unsigned i = 0; i < s->written->len; i++) {
        const Written *w = written_at(s, i);

        if (w->nested && !w->dirty) {
            protect(s, w->gfn, false);
        }
        table_set(s->by_gfn, w->gfn, NULL);
    }
    g_array_set_size(s->written, 0);
    s->nested = 0;
    g_array_set_size(s->free, 0);
    s->numbers = 0;
}

unsigned walk_shadow_pages(const WalkShadow *s)
{
    return s->pages->len;
}

void walk_shadow_foreach(const WalkShadow *s, WalkShadowEntry *function,
                         void *opaque)
{
    for (unsigned n = 0; n < s->pages->len; n++) {
        const WalkShadowPage *p = g_ptr_array_index(s->pages, n);

        for (unsigned i = 0; i < entries_of(p); i++) {
            if (walk_shadow_is_filled(p, i)) {
                function(opaque, p->gfn, p->level, p->format, i, p->value[i],
                         p->out_of_sync);
            }
        }
    }
}

/* --- Saved state --- */

GVariant *walk_shadow_save(const WalkShadow *s)
{
    GVariantBuilder pages, written;
    GVariant *free;

    g_variant_builder_init(&pages, G_VARIANT_TYPE("a(tyybua(ut))"));
    for (unsigned n = 0; n < s->pages->len; n++) {
        const WalkShadowPage *p = g_ptr_array_index(s->pages, n);
        GVariantBuilder entries;

        g_variant_builder_init(&entries, G_VARIANT_TYPE("a(ut)"));
        for (unsigned i = 0; i < entries_of(p); i++) {
            if (walk_shadow_is_filled(p, i)) {
                g_variant_builder_add(&entries, "(ut)", i, p->value[i]);
            }
        }
        g_variant_builder_add(&pages, "(tyybua(ut))", p->gfn, p->level,
                              p->format, p->out_of_sync, p->number, &entries);
    }
    free = g_variant_new_fixed_array(G_VARIANT_TYPE_UINT32, s->free->data,
                                     s->free->len, sizeof(unsigned));
    g_variant_builder_init(&written, G_VARIANT_TYPE("a(tubb)"));
    for (unsigned i = 0; i < s->written->len; i++) {
        const Written *w = written_at(s, i);

        g_variant_builder_add(&written, "(tubb)", w->gfn, w->writes, w->nested,
                              w->dirty);
    }
    return g_variant_new("(a(tyybua(ut))@aua(tubb))", &pages, free, &written);
}

static bool load_page(WalkShadow *s, GVariant *state, GHashTable *numbers)
{
    g_autoptr(GVariant) entries = NULL;
    uint8_t level, format;
    gboolean out_of_sync;
    unsigned number;
    WalkShadowPage *p;
    uint64_t gfn;

    g_variant_get(state, "(tyybu@a(ut))", &gfn, &level, &format, &out_of_sync,
                  &number, &entries);
    if (level > WALK_LEVELS || format >= WALK_FORMATS || number >= s->limit ||
        gfn > UINT64_MAX / PAGE || (out_of_sync && level != 1) ||
        walk_shadow_find(s, gfn, level) || s->pages->len == s->limit ||
        !g_hash_table_add(numbers, GUINT_TO_POINTER(number + 1))) {
        return false;
    }
    p = add_page(s, gfn, level, format, number);
    p->out_of_sync = out_of_sync;
    s->numbers = MAX(s->numbers, number + 1);
    for (gsize i = 0; i < g_variant_n_children(entries); i++) {
        uint64_t value;
        unsigned index;

        g_variant_get_child(entries, i, "(ut)", &index, &value);
        if (index >= entries_of(p)) {
            return false;
        }
        walk_shadow_fill(p, index, value);
    }
    return true;
}

/* Each number is that of a page or of a place that is free, once. */
static bool load_free(WalkShadow *s, GVariant *state, GHashTable *numbers)
{
    for (gsize i = 0; i < g_variant_n_children(state); i++) {
        unsigned number;

        g_variant_get_child(state, i, "u", &number);
        if (number >= s->limit ||
            !g_hash_table_add(numbers, GUINT_TO_POINTER(number + 1))) {
            return false;
        }
        g_array_append_val(s->free, number);
        s->numbers = MAX(s->numbers, number + 1);
    }
    return g_hash_table_size(numbers) == s->numbers;
}

static bool load_all(WalkShadow *s, GVariant *pages, GVariant *free,
                     GVariant *written)
{
    g_autoptr(GHashTable) numbers = g_hash_table_new(NULL, NULL);

    for (gsize i = 0; i < g_variant_n_children(pages); i++) {
        g_autoptr(GVariant) page = g_variant_get_child_value(pages, i);

        if (!load_page(s, page, numbers)) {
            return false;
        }
    }
    if (!load_free(s, free, numbers)) {
        return false;
    }
    for (gsize i = 0; i < g_variant_n_children(written); i++) {
        gboolean nested, dirty;
        unsigned writes;
        uint64_t gfn;
        Written *w;

        g_variant_get_child(written, i, "(tubb)", &gfn, &writes, &nested,
                            &dirty);
        if (find_written(s, gfn) || (nested && walk_shadow_has(s, gfn)) ||
            (dirty && !nested)) {
            return false;
        }
        w = get_written(s, gfn);
        w->writes = writes;
        w->nested = nested;
        w->dirty = dirty;
        s->nested += nested;
    }
    return true;
}

/* Tells which pages are protected in @s, and, if @on, that they are. */
static void protect_all(WalkShadow *s, bool on)
{
    for (unsigned n = 0; n < s->pages->len; n++) {
        const WalkShadowPage *p = g_ptr_array_index(s->pages, n);

        if (is_of_a_table(p) && !p->out_of_sync) {
            protect(s, p->gfn, on);
        }
    }
    for (unsigned i = 0; i < s->written->len; i++) {
        const Written *w = written_at(s, i);

        if (w->nested && !w->dirty) {
            protect(s, w->gfn, on);
        }
    }
}

bool walk_shadow_load(WalkShadow *s, GVariant *state, char **why)
{
    g_autoptr(GVariant) pages = g_variant_get_child_value(state, 0);
    g_autoptr(GVariant) free = g_variant_get_child_value(state, 1);
    g_autoptr(GVariant) written = g_variant_get_child_value(state, 2);
    WalkShadowHooks hooks = s->hooks, none = {};
    WalkShadow *loaded = walk_shadow_new(&none, s->limit, s->base);
    WalkShadow old;

    if (!load_all(loaded, pages, free, written)) {
        walk_shadow_free(loaded);
        *why = g_strdup("shadow page tables: damaged, or more than there may "
                        "be");
        return false;
    }
    protect_all(s, false);
    old = *s;
    *s = *loaded;
    *loaded = old;
    s->hooks = hooks;
    walk_shadow_free(loaded);
    protect_all(s, true);
    return true;
}
