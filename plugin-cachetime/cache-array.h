/*
 * One cache: sets, ways, tags, states, and which line goes next
 *
 * It knows no other cache.  Lines are numbers (address / line size).
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

/*
 * A set is a row of words: one for each way with the line and its state, then,
 * for LRU and FIFO, one for each way with a time stamp.  So a set of 4 ways is
 * in one line of the host's cache.  A place is the index of its first word.
 */
typedef struct CacheArray {
    uint32_t sets, ways;
    uint32_t mask;          /* sets - 1 */
    bool masked;            /* @sets is a power of two */
    CacheReplacement replacement;
    uint32_t stride;        /* words of a set */
    uint64_t seed;
    uint64_t clock;         /* touches, or random draws, so far */
    uint64_t *word;         /* line << 3 | state; at place + ways, the stamp */
    uint64_t *tree;         /* PLRU, by set: bit n is node n; the root is 1 */
    void *allocated;        /* @word lies in it, on a multiple of 64 bytes */
} CacheArray;

#define CACHE_NOWHERE (-1)
#define CACHE_STATE_BITS 3

/* @sets and @ways at least 1, @ways at most 64; lines are below 2^61 */
void cache_array_init(CacheArray *a, uint32_t sets, uint32_t ways,
                      CacheReplacement replacement, uint64_t seed);
void cache_array_destroy(CacheArray *a);
size_t cache_array_memory(const CacheArray *a);

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

static inline int64_t cache_array_first(const CacheArray *a, uint64_t line)
{
    return (int64_t)cache_array_set(a, line) * a->stride;
}

/* Number of places; the @n-th of them, with those of set 0 first */
static inline int64_t cache_array_places(const CacheArray *a)
{
    return (int64_t)a->sets * a->ways;
}

static inline int64_t cache_array_place(const CacheArray *a, int64_t n)
{
    return n / a->ways * a->stride + n % a->ways;
}

static inline uint64_t cache_array_line(const CacheArray *a, int64_t place)
{
    return a->word[place] >> CACHE_STATE_BITS;
}

static inline CacheState cache_array_state(const CacheArray *a, int64_t place)
{
    return a->word[place] & ((1 << CACHE_STATE_BITS) - 1);
}

static inline void cache_array_set_state(CacheArray *a, int64_t place,
                                         CacheState state)
{
    a->word[place] = cache_array_line(a, place) << CACHE_STATE_BITS | state;
}

static inline bool cache_array_has_stamps(const CacheArray *a)
{
    return a->stride > a->ways;
}

static inline uint64_t *cache_array_stamp(const CacheArray *a, int64_t place)
{
    return &a->word[place + a->ways];
}

/* Bit n: @word[n] has the line whose least valid word is @least. */
static inline uint64_t cache_words_with(const uint64_t *word, unsigned ways,
                                        uint64_t least)
{
    uint64_t found = 0;

#pragma GCC unroll 4
    for (unsigned way = 0; way < ways; way++) {
        found |= (uint64_t)(word[way] - least < CACHE_STATES - CACHE_SHARED) <<
                 way;
    }
    return found;
}

/*
 * The place of @line in the set that begins at @first, or CACHE_NOWHERE.  In
 * few ways it compares all of them: no host predicts where a search ends.
 */
static inline int64_t cache_array_find_in(const CacheArray *a, int64_t first,
                                          uint64_t line)
{
    uint64_t least = line << CACHE_STATE_BITS | CACHE_SHARED, found;
    const uint64_t *word = &a->word[first], *end = word + a->ways;

    if (a->ways == 2) {
        found = cache_words_with(word, 2, least);
        return found ? first + __builtin_ctzll(found) : CACHE_NOWHERE;
    }
    if (a->ways == 4) {
        found = cache_words_with(word, 4, least);
        return found ? first + __builtin_ctzll(found) : CACHE_NOWHERE;
    }
    do {
        if (*word - least < CACHE_STATES - CACHE_SHARED) {
            return word - a->word;
        }
    } while (++word < end);
    return CACHE_NOWHERE;
}

/* The place of @line, or CACHE_NOWHERE */
static inline int64_t cache_array_find(const CacheArray *a, uint64_t line)
{
    return cache_array_find_in(a, cache_array_first(a, line), line);
}

/* The host is to have the words of a set at hand soon. */
static inline void cache_array_prefetch(const CacheArray *a, uint64_t line)
{
    const uint64_t *word = &a->word[cache_array_first(a, line)];

    for (uint32_t i = 0; i < a->stride; i += 8) {
        __builtin_prefetch(&word[i], 1);
    }
}

/* cache-array.c: turns the bits on the way to @place away from it */
void cache_array_tree_touch(CacheArray *a, int64_t place);

/* A hit in @place */
static inline void cache_array_touch(CacheArray *a, int64_t place)
{
    if (a->replacement == CACHE_LRU) {
        *cache_array_stamp(a, place) = ++a->clock;
    } else if (a->replacement == CACHE_PLRU) {
        cache_array_tree_touch(a, place);
    }
}

/* cache-array.c: cache_array_victim(), for any cache */
int64_t cache_array_any_victim(CacheArray *a, int64_t first, uint64_t line,
                               bool *taken);

/*
 * Where @line, which is not in the cache, is to go; its set begins at @first.
 * What is there goes first, if it is valid.  @taken: whether the line was there
 * before, and was taken away.
 */
static inline int64_t cache_array_victim(CacheArray *a, int64_t first,
                                         uint64_t line, bool *taken)
{
    const uint64_t *stamp;

    if (a->ways != 2 || a->replacement != CACHE_LRU ||
        !cache_state_valid(cache_array_state(a, first)) ||
        !cache_state_valid(cache_array_state(a, first + 1))) {
        return cache_array_any_victim(a, first, line, taken);
    }
    *taken = false;
    stamp = cache_array_stamp(a, first);
    return first + (stamp[1] < stamp[0]);
}

static inline void cache_array_fill(CacheArray *a, int64_t place, uint64_t line,
                                    CacheState state)
{
    a->word[place] = line << CACHE_STATE_BITS | state;
    if (a->replacement == CACHE_FIFO) {
        *cache_array_stamp(a, place) = ++a->clock;
    } else {
        cache_array_touch(a, place);
    }
}

/* A number from 0 to @limit - 1; equal for equal @seed and @number */
uint64_t cache_random(uint64_t seed, uint64_t number, uint64_t limit);

#endif /* CACHETIME_ARRAY_H */
