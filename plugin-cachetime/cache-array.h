/*
 * One cache: sets, ways, tags, states, and which line goes next
 *
 * It knows no other cache.  Lines are numbers (address / line size).  A place
 * is an index: set * ways + way.
 *
 * Replacement: LRU and FIFO by time stamps; pseudo-LRU by a binary tree of bits
 * in each set (a touch turns the bits on its path away from it, the victim is
 * where the bits lead to; the ways are a power of two); random by a hash of
 * seed and number of the draw.  A place that holds no line is filled first.
 *
 * Plain C over GLib.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef CACHETIME_ARRAY_H
#define CACHETIME_ARRAY_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

typedef enum CacheReplacement {
    CACHE_LRU,
    CACHE_PLRU,
    CACHE_FIFO,
    CACHE_RANDOM,
    CACHE_REPLACEMENTS
} CacheReplacement;

/*
 * The states of MOESI; a protocol uses some of them.  A place whose line was
 * taken away by another cache's store remembers that: if it misses next, the
 * miss is one of coherence.
 */
typedef enum CacheState {
    CACHE_INVALID,
    CACHE_TAKEN,            /* invalid; the line that it held was taken away */
    CACHE_SHARED,           /* clean, or another L2 is the owner; read only */
    CACHE_EXCLUSIVE,        /* the only copy, clean */
    CACHE_OWNED,            /* dirty, others may share it; read only */
    CACHE_MODIFIED,         /* the only copy, dirty */
    CACHE_STATES
} CacheState;

typedef struct CacheArray {
    uint32_t sets, ways;
    uint32_t mask;          /* sets - 1 */
    bool masked;            /* @sets is a power of two */
    CacheReplacement replacement;
    uint64_t seed;
    uint64_t clock;         /* touches, or random draws, so far */
    /* each by place: */
    uint64_t *line;
    uint8_t *state;
    uint64_t *stamp;        /* LRU: of the last touch; FIFO: of the fill */
    uint64_t *tree;         /* PLRU, by set: bit n is node n; the root is 1 */
} CacheArray;

#define CACHE_NOWHERE (-1)

/* @sets and @ways at least 1, @ways at most 64 */
void cache_array_init(CacheArray *a, uint32_t sets, uint32_t ways,
                      CacheReplacement replacement, uint64_t seed);
void cache_array_destroy(CacheArray *a);

static inline bool cache_state_valid(CacheState state)
{
    return state >= CACHE_SHARED;
}

static inline bool cache_state_dirty(CacheState state)
{
    return state >= CACHE_OWNED;
}

static inline uint32_t cache_array_set(const CacheArray *a, uint64_t line)
{
    return a->masked ? line & a->mask : line % a->sets;
}

static inline int64_t cache_array_places(const CacheArray *a)
{
    return (int64_t)a->sets * a->ways;
}

/* The place of @line, or CACHE_NOWHERE */
static inline int64_t cache_array_find(const CacheArray *a, uint64_t line)
{
    int64_t first = (int64_t)cache_array_set(a, line) * a->ways;

    for (uint32_t way = 0; way < a->ways; way++) {
        if (a->line[first + way] == line &&
            cache_state_valid(a->state[first + way])) {
            return first + way;
        }
    }
    return CACHE_NOWHERE;
}

/* Whether @line was in the cache and was taken away */
bool cache_array_was_taken(const CacheArray *a, uint64_t line);

/* A hit in @place */
void cache_array_touch(CacheArray *a, int64_t place);

/*
 * Where @line, which is not in the cache, is to go.  What is there goes first,
 * if it is valid.
 */
int64_t cache_array_victim(CacheArray *a, uint64_t line);

void cache_array_fill(CacheArray *a, int64_t place, uint64_t line,
                      CacheState state);

/* A number from 0 to @limit - 1; equal for equal @seed and @number */
uint64_t cache_random(uint64_t seed, uint64_t number, uint64_t limit);

#endif /* CACHETIME_ARRAY_H */
