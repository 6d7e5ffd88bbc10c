/*
 * One cache: sets, ways, tags, states, and which line goes next
 *
 * See cache-array.h.  The hash is the output function of splitmix64 (Steele,
 * Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014).
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "cache-array.h"

#define HOST_LINE 64            /* bytes */
#define GOLDEN_GAMMA UINT64_C(0x9e3779b97f4a7c15)

uint64_t cache_random(uint64_t seed, uint64_t number, uint64_t limit)
{
    uint64_t z = seed + (number + 1) * GOLDEN_GAMMA;

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return (z >> 32) * limit >> 32;
}

void cache_array_init(CacheArray *a, uint32_t sets, uint32_t ways,
                      CacheReplacement replacement, uint64_t seed)
{
    bool stamps = replacement == CACHE_LRU || replacement == CACHE_FIFO;

    *a = (CacheArray) {
        .sets = sets,
        .ways = ways,
        .mask = sets - 1,
        .masked = !(sets & (sets - 1)),
        .replacement = replacement,
        .stride = stamps ? 2 * ways : ways,
        .seed = seed,
    };
    a->allocated = g_malloc0(cache_array_memory(a));
    a->word = (uint64_t *)(((uintptr_t)a->allocated + HOST_LINE - 1) &
                           ~(uintptr_t)(HOST_LINE - 1));
    if (replacement == CACHE_PLRU) {
        a->tree = g_new0(uint64_t, sets);
    }
}

void cache_array_destroy(CacheArray *a)
{
    g_free(a->allocated);
    g_free(a->tree);
    *a = (CacheArray) {};
}

size_t cache_array_memory(const CacheArray *a)
{
    return (size_t)a->sets * a->stride * sizeof(a->word[0]) + HOST_LINE +
           (a->tree ? a->sets * sizeof(a->tree[0]) : 0);
}

void cache_array_tree_touch(CacheArray *a, int64_t place)
{
    uint64_t *tree = &a->tree[place / a->stride];
    uint32_t way = place % a->stride, node = 1;

    for (uint32_t half = a->ways / 2; half; half /= 2) {
        bool upper = way & half;

        *tree = (*tree & ~(UINT64_C(1) << node)) | (uint64_t)!upper << node;
        node = 2 * node + upper;
    }
}

static uint32_t tree_victim(const CacheArray *a, uint32_t set)
{
    uint32_t node = 1;

    while (node < a->ways) {
        node = 2 * node + (a->tree[set] >> node & 1);
    }
    return node - a->ways;
}

static uint32_t oldest(const CacheArray *a, int64_t first)
{
    const uint64_t *stamp = cache_array_stamp(a, first);
    uint32_t found = 0;

    for (uint32_t way = 1; way < a->ways; way++) {
        found = stamp[way] < stamp[found] ? way : found;
    }
    return found;
}

int64_t cache_array_any_victim(CacheArray *a, int64_t first, uint64_t line,
                               bool *taken)
{
    uint64_t own = line << CACHE_STATE_BITS | CACHE_TAKEN;
    int64_t place = CACHE_NOWHERE;

    *taken = false;
    for (int64_t i = first; i < first + a->ways; i++) {
        if (!cache_state_valid(cache_array_state(a, i))) {
            if (a->word[i] == own) {
                *taken = true;
                return i;
            }
            place = place == CACHE_NOWHERE ? i : place;
        }
    }
    if (place != CACHE_NOWHERE) {
        return place;
    }
    switch (a->replacement) {
    case CACHE_LRU:
    case CACHE_FIFO:
        return first + oldest(a, first);
    case CACHE_PLRU:
        return first + tree_victim(a, first / a->stride);
    default:
        return first + cache_random(a->seed, a->clock++, a->ways);
    }
}
