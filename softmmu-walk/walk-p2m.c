/*
 * The host dimension: page tables of a VM from guest-physical to machine memory
 *
 * See walk-p2m.h.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "walk-p2m.h"

#define BITS 9
#define PAGE 4096
#define ENTRY 8

#define RECENT 256

/* Keys in the order in which they came, and each one's place in it */
typedef struct Numbers {
    GArray *keys;               /* of uint64_t */
    GHashTable *place;          /* of &key: its place + 1 */
    struct {
        uint64_t key;
        unsigned place;         /* the same; 0: nothing is known */
    } recent[RECENT];           /* what was found, by the lowest bits of keys */
} Numbers;

struct WalkP2m {
    unsigned levels, leaf;
    bool backed;
    uint64_t base;
    Numbers tables, pages;
};

static void numbers_init(Numbers *n)
{
    memset(n, 0, sizeof(*n));
    n->keys = g_array_new(false, false, sizeof(uint64_t));
    n->place = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
}

static void numbers_clear(Numbers *n)
{
    g_array_unref(n->keys);
    g_hash_table_unref(n->place);
}

/* Its place + 1; 0: it is not there */
static unsigned numbers_find(Numbers *n, uint64_t key)
{
    unsigned i = (key ^ key >> 3) % RECENT;

    if (!n->recent[i].place || n->recent[i].key != key) {
        n->recent[i].place =
            GPOINTER_TO_UINT(g_hash_table_lookup(n->place, &key));
        n->recent[i].key = key;
    }
    return n->recent[i].place;
}

static unsigned numbers_add(Numbers *n, uint64_t key)
{
    g_array_append_val(n->keys, key);
    g_hash_table_insert(n->place, g_memdup2(&key, sizeof(key)),
                        GUINT_TO_POINTER(n->keys->len));
    return n->keys->len;
}

WalkP2m *walk_p2m_new(unsigned levels, bool large, bool backed, uint64_t base)
{
    WalkP2m *p = g_new0(WalkP2m, 1);

    g_assert(levels >= 2 && levels <= WALK_LEVELS);
    p->levels = levels;
    p->leaf = large ? 2 : 1;
    p->backed = backed;
    p->base = base;
    numbers_init(&p->tables);
    numbers_init(&p->pages);
    return p;
}

void walk_p2m_free(WalkP2m *p)
{
    if (p) {
        numbers_clear(&p->tables);
        numbers_clear(&p->pages);
        g_free(p);
    }
}

unsigned walk_p2m_levels(const WalkP2m *p)
{
    return p->levels;
}

unsigned walk_p2m_leaf(const WalkP2m *p)
{
    return p->leaf;
}

WalkSize walk_p2m_size(const WalkP2m *p)
{
    return p->leaf == 2 ? WALK_2M : WALK_4K;
}

static unsigned shift_of(unsigned level)
{
    return 12 + BITS * (level - 1);
}

uint64_t walk_p2m_entry(WalkP2m *p, uint64_t gpa, unsigned level)
{
    uint64_t index = gpa >> shift_of(level) & ((1 << BITS) - 1);
    uint64_t top = gpa & ((UINT64_C(1) << shift_of(p->levels + 1)) - 1);
    /* A table is named by its level and by what leads to it. */
    uint64_t key = top >> shift_of(level + 1) << 3 | level;
    unsigned place = numbers_find(&p->tables, key);

    if (!place) {
        place = numbers_add(&p->tables, key);
    }
    return p->base + (uint64_t)(place - 1) * PAGE + index * ENTRY;
}

static uint64_t page_of(const WalkP2m *p, uint64_t gpa)
{
    return gpa >> shift_of(p->leaf);
}

bool walk_p2m_is_backed(WalkP2m *p, uint64_t gpa)
{
    return p->backed || numbers_find(&p->pages, page_of(p, gpa));
}

void walk_p2m_back(WalkP2m *p, uint64_t gpa)
{
    if (!walk_p2m_is_backed(p, gpa)) {
        numbers_add(&p->pages, page_of(p, gpa));
    }
}

unsigned walk_p2m_tables(const WalkP2m *p)
{
    return p->tables.keys->len;
}

unsigned walk_p2m_pages(const WalkP2m *p)
{
    return p->pages.keys->len;
}

/* --- Saved state --- */

static GVariant *numbers_save(const Numbers *n)
{
    return g_variant_new_fixed_array(G_VARIANT_TYPE_UINT64, n->keys->data,
                                     n->keys->len, sizeof(uint64_t));
}

/* False if a key is there twice */
static bool numbers_load(Numbers *n, GVariant *state)
{
    const uint64_t *keys;
    gsize count;

    keys = g_variant_get_fixed_array(state, &count, sizeof(uint64_t));
    for (gsize i = 0; i < count; i++) {
        if (numbers_find(n, keys[i])) {
            return false;
        }
        numbers_add(n, keys[i]);
    }
    return true;
}

GVariant *walk_p2m_save(const WalkP2m *p)
{
    return g_variant_new("(@at@at)", numbers_save(&p->tables),
                         numbers_save(&p->pages));
}

bool walk_p2m_load(WalkP2m *p, GVariant *state, char **why)
{
    g_autoptr(GVariant) tables = g_variant_get_child_value(state, 0);
    g_autoptr(GVariant) pages = g_variant_get_child_value(state, 1);
    Numbers t, g;

    numbers_init(&t);
    numbers_init(&g);
    if (!numbers_load(&t, tables) || !numbers_load(&g, pages)) {
        numbers_clear(&t);
        numbers_clear(&g);
        *why = g_strdup("the tables of a VM's memory are damaged");
        return false;
    }
    numbers_clear(&p->tables);
    numbers_clear(&p->pages);
    p->tables = t;
    p->pages = g;
    return true;
}
