/*
 * Unit tests of the modelled TLB, the caches of page tables and the host's
 * tables: against a naive TLB on random traces, invalidations, states
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "walk-p2m.h"
#include "walk-tlb.h"

#define MB (UINT64_C(1) << 20)
#define GB (UINT64_C(1) << 30)

static const WalkTag one = { 1, 1 }, two = { 2, 1 }, other = { 1, 2 };

static WalkTlbConfig small(void)
{
    return (WalkTlbConfig) {
        .array = {
            [WALK_L1I] = { 4, 2, WALK_HOLDS_4K },
            [WALK_L1I_LARGE] = { 2, 0, WALK_HOLDS_2M },
            [WALK_L1D] = { 4, 2, WALK_HOLDS_4K },
            [WALK_L1D_LARGE] = { 2, 1, WALK_HOLDS_2M },
            [WALK_L2] = { 16, 4, WALK_HOLDS_4K },
        },
    };
}

static unsigned level(WalkTlb *t, WalkSide side, uint64_t address, WalkTag tag)
{
    return walk_tlb_lookup(t, side, address, tag).level;
}

/* A page of the guest's that the host has in one piece as well */
static WalkSize enter(WalkTlb *t, WalkSide side, uint64_t address,
                      WalkSize size, WalkTag tag, bool global, unsigned rights)
{
    return walk_tlb_fill(t, side, address, size, size, tag, global, rights);
}

static void fill(WalkTlb *t, WalkSide side, uint64_t address)
{
    enter(t, side, address, WALK_4K, one, false, WALK_RIGHTS);
}

/* --- By hand --- */

typedef struct Log {
    unsigned n;
    WalkSide side;
    uint64_t address;
    WalkTag tag;
} Log;

static void log_evicted(void *opaque, WalkSide side, uint64_t address,
                        WalkSize size, WalkTag tag)
{
    Log *log = opaque;

    log->n++;
    log->side = side;
    log->address = address;
    log->tag = tag;
}

/* Pages 0, 2, 4 share a set of 2 ways: FIFO, whatever was hit in between */
static void test_levels(void)
{
    WalkTlbConfig c = small();
    WalkTlb *t = walk_tlb_new(&c, 1);
    Log log = {};

    walk_tlb_on_evicted(t, log_evicted, &log);
    g_assert_cmpuint(level(t, WALK_DATA, 0, one), ==, 0);
    fill(t, WALK_DATA, 0);
    fill(t, WALK_DATA, 0x2fff);
    g_assert_cmpuint(level(t, WALK_DATA, 0xabc, one), ==, 1);
    g_assert_cmpuint(level(t, WALK_DATA, 0x2000, one), ==, 1);
    g_assert_cmpuint(level(t, WALK_DATA, 0x1000, one), ==, 0);
    g_assert_cmpuint(level(t, WALK_DATA, 0, one), ==, 1);
    g_assert_cmpuint(log.n, ==, 0);

    fill(t, WALK_DATA, 0x4000);             /* 0 was hit last, and goes */
    g_assert_cmpuint(log.n, ==, 1);
    g_assert_cmphex(log.address, ==, 0);
    g_assert_cmpint(log.side, ==, WALK_DATA);
    g_assert_cmpuint(log.tag.asid, ==, 1);
    g_assert_cmpuint(walk_tlb_peek(t, WALK_DATA, 0, one).level, ==, 2);
    g_assert_cmpuint(level(t, WALK_DATA, 0, one), ==, 2);
    g_assert_cmphex(log.address, ==, 0x2000);   /* it made room for 0 */
    g_assert_cmpuint(level(t, WALK_DATA, 0, one), ==, 1);

    /* The second level is of both sides. */
    g_assert_cmpuint(level(t, WALK_CODE, 0x4000, one), ==, 2);
    g_assert_cmpuint(level(t, WALK_CODE, 0x4000, one), ==, 1);
    /* Filled again: in its place, nobody goes. */
    log.n = 0;
    fill(t, WALK_DATA, 0x4000);
    g_assert_cmpuint(log.n, ==, 0);
    walk_tlb_free(t);
}

/*
 * Pages 0, 2, 4 and so on, as above.  The first level alone is asked, and what
 * lacks a right moves nothing.
 */
static void test_rights(void)
{
    WalkTlbConfig c = small();
    WalkTlb *t = walk_tlb_new(&c, 1);
    unsigned rights;
    Log log = {};

    walk_tlb_on_evicted(t, log_evicted, &log);
    fill(t, WALK_DATA, 0x4000);
    fill(t, WALK_DATA, 0x6000);
    enter(t, WALK_DATA, 0x8000, WALK_4K, one, false, WALK_MAY_USER);
    g_assert_cmphex(log.address, ==, 0x4000);
    g_assert_false(walk_tlb_has(t, WALK_DATA, 0x4000, one, 0));
    g_assert_true(walk_tlb_has(t, WALK_DATA, 0x8000, one, WALK_MAY_USER));
    g_assert_false(walk_tlb_has(t, WALK_DATA, 0x8000, one, WALK_RIGHTS));
    enter(t, WALK_DATA, 0xa000, WALK_4K, one, false, 0);
    enter(t, WALK_DATA, 0xc000, WALK_4K, one, false, 0);
    rights = WALK_MAY_WRITE;
    g_assert_cmpuint(walk_tlb_lookup_with(t, WALK_DATA, 0x8000, one, &rights),
                     ==, 0);
    g_assert_cmphex(log.address, ==, 0x8000);
    rights = 0;
    g_assert_cmpuint(walk_tlb_lookup_with(t, WALK_DATA, 0x8000, one, &rights),
                     ==, 2);
    g_assert_cmphex(log.address, ==, 0xa000);
    g_assert_cmpuint(rights, ==, WALK_MAY_USER);
    g_assert_cmpuint(walk_tlb_lookup_with(t, WALK_DATA, 0x8000, one, &rights),
                     ==, 1);

    /* What a page fault takes: one level, or both, or nothing */
    g_assert_cmpint(walk_tlb_drop(t, 0x8000, one), ==, WALK_4K);
    g_assert_cmpint(walk_tlb_drop(t, 0x8000, one), ==, -1);
    enter(t, WALK_DATA, 0x200000, WALK_2M, one, false, 0);
    g_assert_cmpint(walk_tlb_drop_others(t, WALK_DATA, 0x201000, WALK_2M, one),
                    ==, -1);
    g_assert_cmpint(walk_tlb_drop_others(t, WALK_DATA, 0x201000, WALK_4K, one),
                    ==, WALK_2M);
    g_assert_cmpint(walk_tlb_drop(t, 0x200000, one), ==, -1);
    walk_tlb_free(t);
}

static void test_sizes(void)
{
    WalkTlbConfig c = small();
    WalkTlb *t = walk_tlb_new(&c, 1);
    WalkTlbHit hit;

    g_assert_cmpint(enter(t, WALK_DATA, 5 * MB, WALK_2M, one, false,
                          WALK_MAY_USER), ==, WALK_2M);
    hit = walk_tlb_lookup(t, WALK_DATA, 6 * MB - 1, one);
    g_assert_cmpuint(hit.level, ==, 1);
    g_assert_cmpint(hit.size, ==, WALK_2M);
    g_assert_cmpuint(hit.rights, ==, WALK_MAY_USER);
    g_assert_cmpuint(level(t, WALK_DATA, 6 * MB, one), ==, 0);
    /* No second level for it: from the other side it is a miss. */
    g_assert_cmpuint(level(t, WALK_CODE, 5 * MB, one), ==, 0);
    /* 4 MB pages go to the same array. */
    enter(t, WALK_DATA, 13 * MB, WALK_4M, one, false, WALK_RIGHTS);
    g_assert_cmpuint(level(t, WALK_DATA, 16 * MB - 1, one), ==, 1);
    g_assert_cmpuint(walk_tlb_used(t, WALK_L1D_LARGE), ==, 2);
    /* 1 GB: in pieces of 2 MB, which go together. */
    walk_tlb_flush(t);
    g_assert_cmpint(enter(t, WALK_DATA, GB, WALK_1G, one, false,
                          WALK_RIGHTS), ==, WALK_2M);
    enter(t, WALK_DATA, GB + 2 * MB, WALK_1G, one, false, WALK_RIGHTS);
    g_assert_cmpuint(level(t, WALK_DATA, GB + MB, one), ==, 1);
    g_assert_cmpuint(level(t, WALK_DATA, GB + 4 * MB, one), ==, 0);
    walk_tlb_flush_page(t, GB + 700 * MB, one);
    g_assert_cmpuint(walk_tlb_used(t, WALK_L1D_LARGE), ==, 0);
    walk_tlb_free(t);

    /* Without an array of large pages: pieces of 4 kB. */
    c.array[WALK_L1D_LARGE].entries = 0;
    t = walk_tlb_new(&c, 1);
    g_assert_cmpint(enter(t, WALK_DATA, 2 * MB, WALK_2M, one, false,
                          WALK_RIGHTS), ==, WALK_4K);
    g_assert_cmpuint(level(t, WALK_DATA, 2 * MB, one), ==, 1);
    g_assert_cmpuint(level(t, WALK_DATA, 2 * MB + 4096, one), ==, 0);
    walk_tlb_flush_page(t, 3 * MB, one);
    g_assert_cmpuint(level(t, WALK_DATA, 2 * MB, one), ==, 0);

    /*
     * 2 MB of the guest's in memory that the host has in pieces of 4 kB: they
     * are entries of both levels, and INVLPG of any of them is of all.
     */
    walk_tlb_fill(t, WALK_DATA, 4 * MB, WALK_4K, WALK_2M, one, false,
                  WALK_RIGHTS);
    walk_tlb_fill(t, WALK_DATA, 5 * MB, WALK_4K, WALK_2M, one, false,
                  WALK_RIGHTS);
    walk_tlb_fill(t, WALK_DATA, 6 * MB, WALK_4K, WALK_2M, one, false,
                  WALK_RIGHTS);
    g_assert_cmpuint(level(t, WALK_CODE, 4 * MB, one), ==, 2);
    g_assert_cmpuint(level(t, WALK_CODE, 4 * MB + 4096, one), ==, 0);
    walk_tlb_flush_page(t, 4 * MB + 4096, one);
    g_assert_cmpuint(level(t, WALK_DATA, 4 * MB, one), ==, 0);
    g_assert_cmpuint(level(t, WALK_CODE, 4 * MB, one), ==, 0);
    g_assert_cmpuint(level(t, WALK_DATA, 5 * MB, one), ==, 0);
    g_assert_cmpuint(level(t, WALK_DATA, 6 * MB, one), >, 0);
    walk_tlb_free(t);
}

/* Is the oldest of three pages of a set of two ways the one that is gone? */
static bool replaces_the_oldest(WalkTlb *t)
{
    for (unsigned n = 0; n < 3; n++) {
        fill(t, WALK_DATA, n * 0x2000);
    }
    return walk_tlb_peek(t, WALK_DATA, 0, one).level == 2 &&
           walk_tlb_peek(t, WALK_DATA, 0x2000, one).level == 1;
}

/*
 * A flush leaves the pointer of a set where it is, on the second way after the
 * first three pages; a TLB that begins anew is as it was, if it is empty.
 */
static void test_beginning_anew(void)
{
    WalkTlbConfig c = small();
    WalkTlb *t = walk_tlb_new(&c, 1);

    g_assert_true(replaces_the_oldest(t));
    walk_tlb_begin_anew(t);
    walk_tlb_flush(t);
    g_assert_false(replaces_the_oldest(t));
    walk_tlb_flush(t);
    g_assert_true(replaces_the_oldest(t));
    walk_tlb_flush_vpid(t, one.vpid, true);
    walk_tlb_begin_anew(t);
    g_assert_true(replaces_the_oldest(t));
    walk_tlb_free(t);
}

static void test_invalidation(void)
{
    WalkTlbConfig c = small();
    WalkTlb *t = walk_tlb_new(&c, 1);

    for (unsigned how = 0; how < 5; how++) {
        unsigned left[4];

        walk_tlb_flush(t);
        enter(t, WALK_DATA, 0, WALK_4K, one, false, WALK_RIGHTS);
        enter(t, WALK_DATA, 0x1000, WALK_4K, one, true, WALK_RIGHTS);
        enter(t, WALK_DATA, 0x2000, WALK_4K, two, false, WALK_RIGHTS);
        enter(t, WALK_DATA, 0x3000, WALK_4K, other, true, WALK_RIGHTS);
        /* A global page is in all address spaces of its VPID only. */
        g_assert_cmpuint(level(t, WALK_DATA, 0x1000, two), ==, 1);
        g_assert_cmpuint(level(t, WALK_DATA, 0x1000, other), ==, 0);
        g_assert_cmpuint(level(t, WALK_DATA, 0, two), ==, 0);
        switch (how) {
        case 0:
            walk_tlb_flush_page(t, 0x1abc, two);    /* global: it goes */
            break;
        case 1:
            walk_tlb_flush_page(t, 0x2abc, one);    /* another's: it stays */
            break;
        case 2:
            walk_tlb_flush_asid(t, one);
            break;
        case 3:
            walk_tlb_flush_vpid(t, 1, false);
            break;
        case 4:
            walk_tlb_flush_vpid(t, 1, true);
            break;
        }
        left[0] = level(t, WALK_DATA, 0, one);
        left[1] = level(t, WALK_DATA, 0x1000, one);
        left[2] = level(t, WALK_DATA, 0x2000, two);
        left[3] = level(t, WALK_DATA, 0x3000, other);
        {
            static const unsigned expected[5][4] = {
                { 1, 0, 1, 1 }, { 1, 1, 1, 1 }, { 0, 1, 1, 1 },
                { 0, 1, 0, 1 }, { 0, 0, 0, 1 },
            };

            g_assert_cmpmem(left, sizeof(left), expected[how],
                            sizeof(expected[how]));
        }
    }
    walk_tlb_free(t);
}

static void test_impossible(void)
{
    static const struct {
        WalkArrayName array;
        WalkArrayConfig config;
        const char *says;
    } bad[] = {
        { WALK_L1D, { 6, 2, WALK_HOLDS_4K }, "3 sets" },
        { WALK_L1D, { 6, 4, WALK_HOLDS_4K }, "multiple of the ways" },
        { WALK_L2, { 4, 8, WALK_HOLDS_4K }, "multiple of the ways" },
        { WALK_L2, { 131072, 4, WALK_HOLDS_4K }, "up to 65536" },
        { WALK_L2, { 8, 4, 0 }, "no size" },
        { WALK_L1I, { 0, 0, WALK_HOLDS_4K }, "l1i: the first level needs" },
        { WALK_L1D, { 4, 2, WALK_HOLDS_2M }, "l1d: the first level needs" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *why = NULL;
        WalkTlbConfig c = small();

        g_assert_true(walk_tlb_config_check(&c, &why));
        c.array[bad[i].array] = bad[i].config;
        g_assert_false(walk_tlb_config_check(&c, &why));
        g_assert_nonnull(strstr(why, bad[i].says));
    }
}

/* --- Against a naive TLB --- */

/*
 * The same in another way: lists of pages, the oldest first, searched from end
 * to end; a set is what is congruent.  Only 4 kB pages, FIFO.
 */
typedef struct Naive {
    unsigned sets, ways;
    GArray *pages;              /* of uint64_t: page << 8 | asid */
} Naive;

static int naive_find(const Naive *n, uint64_t key)
{
    for (unsigned i = 0; i < n->pages->len; i++) {
        if (g_array_index(n->pages, uint64_t, i) == key) {
            return i;
        }
    }
    return -1;
}

static void naive_add(Naive *n, uint64_t key)
{
    unsigned alike = 0;
    int oldest = -1;

    if (naive_find(n, key) >= 0) {
        return;
    }
    for (unsigned i = 0; i < n->pages->len; i++) {
        uint64_t k = g_array_index(n->pages, uint64_t, i);

        if ((k >> 8) % n->sets == (key >> 8) % n->sets) {
            alike++;
            oldest = oldest < 0 ? (int)i : oldest;
        }
    }
    if (alike == n->ways) {
        g_array_remove_index(n->pages, oldest);
    }
    g_array_append_val(n->pages, key);
}

static void naive_drop(Naive *n, uint64_t key)
{
    int i = naive_find(n, key);

    if (i >= 0) {
        g_array_remove_index(n->pages, i);
    }
}

/*
 * Accesses of all kinds, and invalidations of whole TLBs, after which places
 * are empty in order again.  (FIFO among places that were emptied singly
 * depends on which way is free, which a list does not know.)
 */
static void test_against_a_naive_one(void)
{
    WalkTlbConfig c = small();
    WalkTlb *t;
    Naive l1[WALK_SIDES] = { { 2, 2, NULL }, { 2, 2, NULL } };
    Naive l2 = { 4, 4, NULL };
    GRand *rand = g_rand_new_with_seed(3);
    unsigned hits[3] = {};

    c.array[WALK_L1I_LARGE].entries = c.array[WALK_L1D_LARGE].entries = 0;
    t = walk_tlb_new(&c, 1);
    l2.pages = g_array_new(false, false, sizeof(uint64_t));
    for (unsigned s = 0; s < WALK_SIDES; s++) {
        l1[s].pages = g_array_new(false, false, sizeof(uint64_t));
    }
    for (unsigned n = 0; n < 200000; n++) {
        WalkSide side = g_rand_int_range(rand, 0, 2);
        uint64_t page = g_rand_int_range(rand, 0, 24);
        WalkTag tag = { g_rand_int_range(rand, 1, 3), 1 };
        uint64_t key = page << 8 | tag.asid;
        unsigned expected = naive_find(&l1[side], key) >= 0 ? 1 :
                            naive_find(&l2, key) >= 0 ? 2 : 0;

        g_assert_cmpuint(level(t, side, page << 12 | 5, tag), ==, expected);
        hits[expected]++;
        if (expected == 0) {
            enter(t, side, page << 12, WALK_4K, tag, false, WALK_RIGHTS);
            naive_add(&l2, key);
        }
        if (expected != 1) {
            naive_add(&l1[side], key);
        }
        if (g_rand_int_range(rand, 0, 500) == 0) {
            walk_tlb_flush(t);
            while (l2.pages->len) {
                naive_drop(&l2, g_array_index(l2.pages, uint64_t, 0));
            }
            g_array_set_size(l1[0].pages, 0);
            g_array_set_size(l1[1].pages, 0);
            walk_tlb_free(t);       /* FIFO begins at the first way */
            t = walk_tlb_new(&c, 1);
        }
    }
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpuint(hits[i], >, 1000);
    }
    g_array_unref(l2.pages);
    g_array_unref(l1[0].pages);
    g_array_unref(l1[1].pages);
    g_rand_free(rand);
    walk_tlb_free(t);
}

/* Random replacement: the seed repeats it, every way is taken at times. */
static void test_random(void)
{
    WalkTlbConfig c = small();
    unsigned differ = 0;
    WalkTlb *t[3];

    c.replacement = WALK_RANDOM;
    for (unsigned i = 0; i < 3; i++) {
        t[i] = walk_tlb_new(&c, i == 2 ? 9 : 7);
    }
    for (unsigned n = 0; n < 1000; n++) {
        uint64_t page = n * 7 % 13 * 2;
        unsigned hit[3];

        for (unsigned i = 0; i < 3; i++) {
            hit[i] = level(t[i], WALK_DATA, page << 12, one);
            if (!hit[i]) {
                fill(t[i], WALK_DATA, page << 12);
            }
        }
        g_assert_cmpuint(hit[0], ==, hit[1]);
        differ += hit[0] != hit[2];
    }
    g_assert_cmpuint(differ, >, 10);
    for (unsigned i = 0; i < 3; i++) {
        walk_tlb_free(t[i]);
    }
}

static void test_save(void)
{
    WalkTlbConfig c = small(), larger = small();
    WalkTlb *a, *b, *d;
    g_autoptr(GVariant) state = NULL, s1 = NULL, s2 = NULL;
    char *why = NULL;

    c.replacement = larger.replacement = WALK_RANDOM;
    larger.array[WALK_L2].entries = 32;
    a = walk_tlb_new(&c, 3);
    b = walk_tlb_new(&c, 4);
    d = walk_tlb_new(&larger, 4);
    for (unsigned n = 0; n < 400; n++) {
        uint64_t address = (n * 31 % 40) << 12;

        if (n == 200) {
            state = g_variant_ref_sink(walk_tlb_save(a));
            g_assert_true(walk_tlb_load(b, state, &why));
            g_assert_false(walk_tlb_load(d, state, &why));
            g_assert_nonnull(strstr(why, "l2"));
            g_assert_cmpuint(walk_tlb_used(d, WALK_L1D), ==, 0);
        }
        if (!level(a, n % 2, address, n % 3 ? one : two)) {
            enter(a, n % 2, address, n % 5 ? WALK_4K : WALK_2M,
                  n % 3 ? one : two, n % 7 == 0, n % 2);
        }
        if (n >= 200 && !level(b, n % 2, address, n % 3 ? one : two)) {
            enter(b, n % 2, address, n % 5 ? WALK_4K : WALK_2M,
                  n % 3 ? one : two, n % 7 == 0, n % 2);
        }
    }
    s1 = g_variant_ref_sink(walk_tlb_save(a));
    s2 = g_variant_ref_sink(walk_tlb_save(b));
    g_assert_true(g_variant_equal(s1, s2));
    g_free(why);
    walk_tlb_free(a);
    walk_tlb_free(b);
    walk_tlb_free(d);
}

/* --- Caches of page tables --- */

static void test_walk_cache(void)
{
    WalkCacheConfig config = { .guest = { 0, 0, 2, 1, 1 }, .nested = 2 };
    WalkCache *c = walk_cache_new(&config);

    /* The lowest level that is known; fewer bits of the address for it */
    walk_cache_fill(c, WALK_GUEST, 5 * GB, one, 4, 9);
    walk_cache_fill(c, WALK_GUEST, 5 * GB, one, 3, 9);
    walk_cache_fill(c, WALK_GUEST, 5 * GB, one, 2, 9);
    g_assert_cmpuint(walk_cache_lookup(c, WALK_GUEST, 5 * GB + MB, one, 4, 9),
                     ==, 2);
    g_assert_cmpuint(walk_cache_lookup(c, WALK_GUEST, 5 * GB + 2 * MB, one, 4,
                                       9), ==, 3);
    g_assert_cmpuint(walk_cache_lookup(c, WALK_GUEST, 6 * GB, one, 4, 9), ==,
                     4);
    g_assert_cmpuint(walk_cache_lookup(c, WALK_GUEST, 600 * GB, one, 4, 9), ==,
                     0);
    g_assert_cmpuint(walk_cache_lookup(c, WALK_GUEST, 5 * GB, two, 4, 9), ==,
                     0);
    g_assert_cmpuint(walk_cache_lookup(c, WALK_HOST, 5 * GB, one, 4, 9), ==, 0);
    /* FIFO: the third one drives the first one out, which was found again. */
    walk_cache_fill(c, WALK_GUEST, 7 * GB, one, 2, 9);
    walk_cache_fill(c, WALK_GUEST, 8 * GB, one, 2, 9);
    g_assert_cmpuint(walk_cache_lookup(c, WALK_GUEST, 5 * GB, one, 4, 9), ==,
                     3);
    walk_cache_flush_asid(c, two);
    g_assert_cmpuint(walk_cache_lookup(c, WALK_GUEST, 8 * GB, one, 4, 9), ==,
                     2);
    walk_cache_flush_asid(c, one);
    g_assert_cmpuint(walk_cache_lookup(c, WALK_GUEST, 8 * GB, one, 4, 9), ==,
                     0);
    walk_cache_nest(c, 1, 1);
    walk_cache_nest(c, 2, 1);
    walk_cache_nest(c, 1, 2);
    g_assert_false(walk_cache_is_nested(c, 1, 1));
    g_assert_true(walk_cache_is_nested(c, 2, 1));
    walk_cache_flush_guest(c);
    g_assert_true(walk_cache_is_nested(c, 1, 2));
    walk_cache_flush_host(c, 2);
    g_assert_false(walk_cache_is_nested(c, 1, 2));
    g_assert_true(walk_cache_is_nested(c, 2, 1));
    walk_cache_free(c);

    config = (WalkCacheConfig) { .kind = WALK_CACHE_AMD, .walk = 2,
                                 .guest = { 0, 0, 8, 8, 8 } };
    c = walk_cache_new(&config);
    g_assert_false(walk_cache_touch(c, 0x1000));
    g_assert_true(walk_cache_touch(c, 0x1000));
    g_assert_false(walk_cache_touch(c, 0x1008));
    g_assert_false(walk_cache_touch(c, 0x1010));
    g_assert_false(walk_cache_touch(c, 0x1000));
    walk_cache_fill(c, WALK_GUEST, 0, one, 2, 9);       /* Intel's only */
    g_assert_cmpuint(walk_cache_lookup(c, WALK_GUEST, 0, one, 4, 9), ==, 0);
    walk_cache_free(c);
}

/* Entries of the host's tables: where they are, which share a table */
static void test_p2m(void)
{
    WalkP2m *p = walk_p2m_new(4, false, false, 1024 * GB);
    WalkP2m *again = walk_p2m_new(4, false, false, 1024 * GB);
    WalkP2m *large = walk_p2m_new(2, true, true, 0);
    g_autoptr(GVariant) state = NULL;
    char *why = NULL;

    g_assert_cmphex(walk_p2m_entry(p, 0x3000, 4), ==, 1024 * GB);
    g_assert_cmphex(walk_p2m_entry(p, 0x3000, 3), ==, 1024 * GB + 4096);
    g_assert_cmphex(walk_p2m_entry(p, 0x3000, 2), ==, 1024 * GB + 8192);
    g_assert_cmphex(walk_p2m_entry(p, 0x3000, 1), ==,
                    1024 * GB + 12288 + 3 * 8);
    g_assert_cmphex(walk_p2m_entry(p, 0x1ff000, 1), ==,
                    1024 * GB + 12288 + 511 * 8);
    g_assert_cmphex(walk_p2m_entry(p, 2 * MB, 2), ==, 1024 * GB + 8192 + 8);
    g_assert_cmphex(walk_p2m_entry(p, 2 * MB, 1), ==, 1024 * GB + 16384);
    g_assert_cmphex(walk_p2m_entry(p, 3 * GB, 3), ==, 1024 * GB + 4096 + 24);
    g_assert_cmpuint(walk_p2m_tables(p), ==, 5);
    /* Pages come one by one, tables with them; a state has both. */
    g_assert_false(walk_p2m_is_backed(p, 0x3000));
    walk_p2m_back(p, 0x3fff);
    g_assert_true(walk_p2m_is_backed(p, 0x3000));
    g_assert_false(walk_p2m_is_backed(p, 0x4000));
    state = g_variant_ref_sink(walk_p2m_save(p));
    g_assert_true(walk_p2m_load(again, state, &why));
    g_assert_true(walk_p2m_is_backed(again, 0x3000));
    g_assert_cmpuint(walk_p2m_pages(again), ==, 1);
    g_assert_cmphex(walk_p2m_entry(again, 4 * MB, 1), ==, 1024 * GB + 20480);
    g_assert_cmphex(walk_p2m_entry(again, 2 * MB, 1), ==, 1024 * GB + 16384);

    g_assert_cmpuint(walk_p2m_leaf(large), ==, 2);
    g_assert_true(walk_p2m_is_backed(large, 77 * MB));
    g_assert_cmphex(walk_p2m_entry(large, 6 * MB, 2), ==, 24);
    walk_p2m_free(p);
    walk_p2m_free(again);
    walk_p2m_free(large);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tlb/levels", test_levels);
    g_test_add_func("/tlb/rights", test_rights);
    g_test_add_func("/tlb/sizes", test_sizes);
    g_test_add_func("/tlb/invalidation", test_invalidation);
    g_test_add_func("/tlb/beginning-anew", test_beginning_anew);
    g_test_add_func("/tlb/impossible", test_impossible);
    g_test_add_func("/tlb/naive", test_against_a_naive_one);
    g_test_add_func("/tlb/random", test_random);
    g_test_add_func("/tlb/save", test_save);
    g_test_add_func("/walk-cache", test_walk_cache);
    g_test_add_func("/p2m", test_p2m);
    return g_test_run();
}
