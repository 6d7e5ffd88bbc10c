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
    size_t places = (size_t)sets * ways;

    *a = (CacheArray) {
        .sets = sets,
        .ways = ways,
        .mask = sets - 1,
        .masked = !(sets & (sets - 1)),
        .replacement = replacement,
        .seed = seed,
        .line = g_new0(uint64_t, places),
        .state = g_new0(uint8_t, places),
    };
    if (replacement == CACHE_LRU || replacement == CACHE_FIFO) {
        a->stamp = g_new0(uint64_t, places);
    } else if (replacement == CACHE_PLRU) {
        a->tree = g_new0(uint64_t, sets);
    }
}

void cache_array_destroy(CacheArray *a)
{
    g_free(a->line);
    g_free(a->state);
    g_free(a->stamp);
    g_free(a->tree);
    *a = (CacheArray) {};
}

/* Where @line is, or was before it was taken away */
static int64_t find_taken(const CacheArray *a, uint64_t line)
{
    int64_t first = (int64_t)cache_array_set(a, line) * a->ways;

    for (int64_t i = first; i < first + a->ways; i++) {
        if (a->state[i] == CACHE_TAKEN && a->line[i] == line) {
            return i;
        }
    }
    return CACHE_NOWHERE;
}

bool cache_array_was_taken(const CacheArray *a, uint64_t line)
{
    return find_taken(a, line) != CACHE_NOWHERE;
}

/* Turns the bits on the way to @place away from it. */
static void tree_touch(CacheArray *a, int64_t place)
{
    uint64_t *tree = &a->tree[place / a->ways];
    uint32_t way = place % a->ways, node = 1;

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

void cache_array_touch(CacheArray *a, int64_t place)
{
    if (a->replacement == CACHE_LRU) {
        a->stamp[place] = ++a->clock;
    } else if (a->replacement == CACHE_PLRU) {
        tree_touch(a, place);
    }
}

static uint32_t oldest(const CacheArray *a, int64_t first)
{
    uint32_t found = 0;

    for (uint32_t way = 1; way < a->ways; way++) {
        if (a->stamp[first + way] < a->stamp[first + found]) {
            found = way;
        }
    }
    return found;
}

int64_t cache_array_victim(CacheArray *a, uint64_t line)
{
    uint32_t set = cache_array_set(a, line);
    int64_t first = (int64_t)set * a->ways;
    int64_t place = find_taken(a, line);

    for (int64_t i = first; place < 0 && i < first + a->ways; i++) {
        if (!cache_state_valid(a->state[i])) {
            place = i;
        }
    }
    if (place >= 0) {
        return place;
    }
    switch (a->replacement) {
    case CACHE_LRU:
    case CACHE_FIFO:
        return first + oldest(a, first);
    case CACHE_PLRU:
        return first + tree_victim(a, set);
    default:
        return first + cache_random(a->seed, a->clock++, a->ways);
    }
}

void cache_array_fill(CacheArray *a, int64_t place, uint64_t line,
                      CacheState state)
{
    a->line[place] = line;
    a->state[place] = state;
    if (a->replacement == CACHE_FIFO) {
        a->stamp[place] = ++a->clock;
    } else {
        cache_array_touch(a, place);
    }
}
