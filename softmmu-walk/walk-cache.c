/*
 * What a PCPU remembers of page tables beside its TLB
 *
 * See walk-cache.h.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <inttypes.h>
#include <string.h>

#include "walk-cache.h"

typedef struct Key {
    uint64_t what;
    WalkTag tag;
} Key;

/* A queue, the oldest first */
typedef struct Fifo {
    unsigned size, used;
    Key *key;
} Fifo;

enum {
    GUEST = 0,                          /* + level */
    HOST = WALK_LEVELS + 1,             /* + level */
    WALK = 2 * (WALK_LEVELS + 1),
    NESTED,
    FIFOS
};

struct WalkCache {
    WalkCacheConfig config;
    Fifo fifo[FIFOS];
};

/* --- Queues --- */

static bool is_same(const Key *a, uint64_t what, WalkTag tag)
{
    return a->what == what && a->tag.asid == tag.asid &&
           a->tag.vpid == tag.vpid;
}

static bool has(const Fifo *f, uint64_t what, WalkTag tag)
{
    for (unsigned i = 0; i < f->used; i++) {
        if (is_same(&f->key[i], what, tag)) {
            return true;
        }
    }
    return false;
}

static void add(Fifo *f, uint64_t what, WalkTag tag)
{
    if (!f->size || has(f, what, tag)) {
        return;
    }
    if (f->used == f->size) {
        memmove(f->key, f->key + 1, --f->used * sizeof(*f->key));
    }
    f->key[f->used++] = (Key) { what, tag };
}

static void take(Fifo *f, uint64_t what, WalkTag tag)
{
    for (unsigned i = 0; i < f->used; i++) {
        if (is_same(&f->key[i], what, tag)) {
            memmove(f->key + i, f->key + i + 1,
                    (--f->used - i) * sizeof(*f->key));
            return;
        }
    }
}

typedef bool Matches(const Key *key, WalkTag tag);

static void drop(Fifo *f, Matches *matches, WalkTag tag)
{
    unsigned left = 0;

    for (unsigned i = 0; i < f->used; i++) {
        if (!matches(&f->key[i], tag)) {
            f->key[left++] = f->key[i];
        }
    }
    f->used = left;
}

static bool of_asid(const Key *key, WalkTag tag)
{
    return key->tag.asid == tag.asid && key->tag.vpid == tag.vpid;
}

static bool of_vpid(const Key *key, WalkTag tag)
{
    return key->tag.vpid == tag.vpid;
}

/* --- The caches --- */

bool walk_cache_config_check(const WalkCacheConfig *c, char **why)
{
    uint64_t most = MAX(c->walk, c->nested);

    for (unsigned level = 2; level <= WALK_LEVELS; level++) {
        most = MAX(most, MAX(c->guest[level], c->host[level]));
    }
    if (most > WALK_CACHE_ENTRIES_MAX) {
        *why = g_strdup_printf("a cache of page tables of %" PRIu64 " entries: "
                               "allowed are up to %u", most,
                               WALK_CACHE_ENTRIES_MAX);
        return false;
    }
    if (c->kind > WALK_CACHE_AMD) {
        *why = g_strdup("kind: allowed are intel, amd");
        return false;
    }
    return true;
}

WalkCache *walk_cache_new(const WalkCacheConfig *config)
{
    WalkCache *c = g_new0(WalkCache, 1);

    c->config = *config;
    for (unsigned level = 2; level <= WALK_LEVELS; level++) {
        if (config->kind == WALK_CACHE_INTEL) {
            c->fifo[GUEST + level].size = config->guest[level];
            c->fifo[HOST + level].size = config->host[level];
        }
    }
    c->fifo[WALK].size = config->kind == WALK_CACHE_AMD ? config->walk : 0;
    c->fifo[NESTED].size = config->nested;
    for (unsigned i = 0; i < FIFOS; i++) {
        c->fifo[i].key = g_new(Key, c->fifo[i].size);
    }
    return c;
}

void walk_cache_free(WalkCache *c)
{
    for (unsigned i = 0; c && i < FIFOS; i++) {
        g_free(c->fifo[i].key);
    }
    g_free(c);
}

/* What leads to an entry of @level: the address without what comes below */
static uint64_t prefix(uint64_t address, unsigned level, unsigned bits)
{
    return address >> (12 + bits * (level - 1));
}

static unsigned first_of(WalkDimension dimension)
{
    return dimension == WALK_GUEST ? GUEST : HOST;
}

unsigned walk_cache_lookup(const WalkCache *c, WalkDimension dimension,
                           uint64_t address, WalkTag tag, unsigned from,
                           unsigned bits)
{
    for (unsigned level = 2; level <= from; level++) {
        if (has(&c->fifo[first_of(dimension) + level],
                prefix(address, level, bits), tag)) {
            return level;
        }
    }
    return 0;
}

void walk_cache_fill(WalkCache *c, WalkDimension dimension, uint64_t address,
                     WalkTag tag, unsigned level, unsigned bits)
{
    add(&c->fifo[first_of(dimension) + level], prefix(address, level, bits),
        tag);
}

bool walk_cache_touch(WalkCache *c, uint64_t entry)
{
    WalkTag none = {};

    if (has(&c->fifo[WALK], entry, none)) {
        return true;
    }
    add(&c->fifo[WALK], entry, none);
    return false;
}

bool walk_cache_is_nested(const WalkCache *c, uint64_t page, uint32_t vpid)
{
    return has(&c->fifo[NESTED], page, (WalkTag) { 0, vpid });
}

void walk_cache_nest(WalkCache *c, uint64_t page, uint32_t vpid)
{
    add(&c->fifo[NESTED], page, (WalkTag) { 0, vpid });
}

void walk_cache_flush_asid(WalkCache *c, WalkTag tag)
{
    for (unsigned level = 2; level <= WALK_LEVELS; level++) {
        drop(&c->fifo[GUEST + level], of_asid, tag);
    }
    c->fifo[WALK].used = 0;
}

void walk_cache_flush_page(WalkCache *c, uint64_t address, WalkTag tag,
                           unsigned bits)
{
    for (unsigned level = 2; level <= WALK_LEVELS; level++) {
        take(&c->fifo[GUEST + level], prefix(address, level, bits), tag);
    }
}

void walk_cache_flush_vpid(WalkCache *c, uint32_t vpid)
{
    for (unsigned level = 2; level <= WALK_LEVELS; level++) {
        drop(&c->fifo[GUEST + level], of_vpid, (WalkTag) { 0, vpid });
    }
    c->fifo[WALK].used = 0;
}

void walk_cache_flush_host(WalkCache *c, uint32_t vpid)
{
    c->fifo[WALK].used = 0;
    for (unsigned level = 2; level <= WALK_LEVELS; level++) {
        drop(&c->fifo[HOST + level], of_vpid, (WalkTag) { 0, vpid });
    }
    drop(&c->fifo[NESTED], of_vpid, (WalkTag) { 0, vpid });
}

void walk_cache_flush_guest(WalkCache *c)
{
    for (unsigned level = 2; level <= WALK_LEVELS; level++) {
        c->fifo[GUEST + level].used = 0;
    }
    c->fifo[WALK].used = 0;
}

void walk_cache_flush(WalkCache *c)
{
    for (unsigned i = 0; i < FIFOS; i++) {
        c->fifo[i].used = 0;
    }
}

/* --- Saved state --- */

GVariant *walk_cache_save(const WalkCache *c)
{
    GVariantBuilder all;

    g_variant_builder_init(&all, G_VARIANT_TYPE(WALK_CACHE_STATE));
    for (unsigned i = 0; i < FIFOS; i++) {
        const Fifo *f = &c->fifo[i];

        g_variant_builder_open(&all, G_VARIANT_TYPE("a(tuu)"));
        for (unsigned n = 0; n < f->used; n++) {
            g_variant_builder_add(&all, "(tuu)", f->key[n].what,
                                  f->key[n].tag.asid, f->key[n].tag.vpid);
        }
        g_variant_builder_close(&all);
    }
    return g_variant_builder_end(&all);
}

bool walk_cache_load(WalkCache *c, GVariant *state, char **why)
{
    if (g_variant_n_children(state) != FIFOS) {
        *why = g_strdup("the caches of page tables are damaged");
        return false;
    }
    for (unsigned i = 0; i < FIFOS; i++) {
        g_autoptr(GVariant) keys = g_variant_get_child_value(state, i);

        if (g_variant_n_children(keys) > c->fifo[i].size) {
            *why = g_strdup("the caches of page tables have other sizes");
            return false;
        }
    }
    for (unsigned i = 0; i < FIFOS; i++) {
        g_autoptr(GVariant) keys = g_variant_get_child_value(state, i);
        Fifo *f = &c->fifo[i];

        f->used = 0;
        for (gsize n = 0; n < g_variant_n_children(keys); n++) {
            Key key;

            g_variant_get_child(keys, n, "(tuu)", &key.what, &key.tag.asid,
                                &key.tag.vpid);
            add(f, key.what, key.tag);
        }
    }
    return true;
}
