/*
 * The table of finished entries of a VM whose guest fills TLBs: see walk-soft.h
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "walk-soft.h"

/* Global entries are in a context that does not exist. */
#define GLOBAL_CONTEXT ((unsigned)WALK_SOFT_CONTEXT + 1)
#define SIZES 4

struct WalkSoftTable {
    unsigned limit, entries;
    /* context -> (key of a page -> its entry) */
    GHashTable *contexts[WALK_SIDES];
};

static unsigned size_of(uint64_t tte)
{
    return tte >> 61 & (SIZES - 1);
}

/* A page, with its size in bits that its address does not have */
static uint64_t key_of(uint64_t address, unsigned size)
{
    return (address & -(UINT64_C(8192) << 3 * size)) | size;
}

static void free_pages(void *pages)
{
    g_hash_table_unref(pages);
}

WalkSoftTable *walk_soft_table_new(unsigned limit)
{
    WalkSoftTable *t = g_new0(WalkSoftTable, 1);

    t->limit = limit;
    for (WalkSide side = 0; side < WALK_SIDES; side++) {
        t->contexts[side] = g_hash_table_new_full(NULL, NULL, NULL, free_pages);
    }
    return t;
}

void walk_soft_table_free(WalkSoftTable *t)
{
    if (t) {
        for (WalkSide side = 0; side < WALK_SIDES; side++) {
            g_hash_table_unref(t->contexts[side]);
        }
        g_free(t);
    }
}

static GHashTable *pages_of(const WalkSoftTable *t, WalkSide side,
                            unsigned context)
{
    return g_hash_table_lookup(t->contexts[side], GUINT_TO_POINTER(context));
}

void walk_soft_table_clear(WalkSoftTable *t)
{
    for (WalkSide side = 0; side < WALK_SIDES; side++) {
        g_hash_table_remove_all(t->contexts[side]);
    }
    t->entries = 0;
}

void walk_soft_table_put(WalkSoftTable *t, WalkSide side,
                         const WalkSoftEntry *e)
{
    unsigned context = e->tte & WALK_SOFT_GLOBAL ? GLOBAL_CONTEXT :
                       e->tag & WALK_SOFT_CONTEXT;
    uint64_t key = key_of(e->tag, size_of(e->tte));
    GHashTable *pages = pages_of(t, side, context);

    if (!pages || !g_hash_table_contains(pages, &key)) {
        if (t->entries == t->limit) {
            walk_soft_table_clear(t);
            pages = NULL;
        }
        t->entries++;
    }
    if (!pages) {
        pages = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free,
                                      g_free);
        g_hash_table_insert(t->contexts[side], GUINT_TO_POINTER(context),
                            pages);
    }
    g_hash_table_replace(pages, g_memdup2(&key, sizeof(key)),
                         g_memdup2(e, sizeof(*e)));
}

static const WalkSoftEntry *find_in(GHashTable *pages, uint64_t address)
{
    for (unsigned size = 0; pages && size < SIZES; size++) {
        uint64_t key = key_of(address, size);
        const WalkSoftEntry *e = g_hash_table_lookup(pages, &key);

        if (e) {
            return e;
        }
    }
    return NULL;
}

const WalkSoftEntry *walk_soft_table_find(const WalkSoftTable *t, WalkSide side,
                                          uint64_t address, unsigned context)
{
    const WalkSoftEntry *e = find_in(pages_of(t, side, context), address);

    return e ?: find_in(pages_of(t, side, GLOBAL_CONTEXT), address);
}

static void demap_page(WalkSoftTable *t, GHashTable *pages, uint64_t address)
{
    for (unsigned size = 0; pages && size < SIZES; size++) {
        uint64_t key = key_of(address, size);

        t->entries -= g_hash_table_remove(pages, &key);
    }
}

void walk_soft_table_demap(WalkSoftTable *t, WalkSide side, bool whole,
                           uint64_t address, unsigned context)
{
    GHashTable *pages = pages_of(t, side, context);

    if (!whole) {
        demap_page(t, pages, address);
        demap_page(t, pages_of(t, side, GLOBAL_CONTEXT), address);
    } else if (pages) {
        t->entries -= g_hash_table_size(pages);
        g_hash_table_remove(t->contexts[side], GUINT_TO_POINTER(context));
    }
}

unsigned walk_soft_table_entries(const WalkSoftTable *t)
{
    return t->entries;
}

/* --- State --- */

typedef struct Saved {
    uint8_t side;
    WalkSoftEntry entry;
} Saved;

static int compare(const void *one, const void *other)
{
    const Saved *a = one, *b = other;

    return a->side != b->side ? a->side - b->side :
           a->entry.tag != b->entry.tag ?
           (a->entry.tag > b->entry.tag) - (a->entry.tag < b->entry.tag) :
           (a->entry.tte > b->entry.tte) - (a->entry.tte < b->entry.tte);
}

/* In an order that does not depend on hashes */
GVariant *walk_soft_table_save(const WalkSoftTable *t)
{
    g_autoptr(GArray) all = g_array_new(false, false, sizeof(Saved));
    GVariantBuilder b;

    for (WalkSide side = 0; side < WALK_SIDES; side++) {
        GHashTableIter contexts, pages;
        void *key, *value, *entry;

        g_hash_table_iter_init(&contexts, t->contexts[side]);
        while (g_hash_table_iter_next(&contexts, &key, &value)) {
            g_hash_table_iter_init(&pages, value);
            while (g_hash_table_iter_next(&pages, &key, &entry)) {
                Saved s = { side, *(const WalkSoftEntry *)entry };

                g_array_append_val(all, s);
            }
        }
    }
    g_array_sort(all, compare);
    g_variant_builder_init(&b, G_VARIANT_TYPE("a(ytt)"));
    for (unsigned i = 0; i < all->len; i++) {
        const Saved *s = &g_array_index(all, Saved, i);

        g_variant_builder_add(&b, "(ytt)", s->side, s->entry.tag,
                              s->entry.tte);
    }
    return g_variant_builder_end(&b);
}

bool walk_soft_table_load(WalkSoftTable *t, GVariant *state)
{
    gsize n = g_variant_n_children(state);

    if (n > t->limit) {
        return false;
    }
    for (gsize i = 0; i < n; i++) {
        WalkSoftEntry e;
        uint8_t side;

        g_variant_get_child(state, i, "(ytt)", &side, &e.tag, &e.tte);
        if (side >= WALK_SIDES || e.tte & WALK_SOFT_LOCKED ||
            !(e.tte >> 63)) {
            return false;
        }
        walk_soft_table_put(t, side, &e);
    }
    return true;
}
