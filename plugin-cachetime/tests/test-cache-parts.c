/*
 * Unit tests of the cache model's parts: reservations, one cache, directory
 *
 * Cases worked by hand, and random ones against a naive model or the sentence
 * of the interface.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "cache-array.h"
#include "directory.h"
#include "first-touch.h"
#include "reservation.h"

/* --- Reservations --- */

/* Given a bank that an access holds for 4 cycles, slots are 0-3, 4-7, ... */
static void test_first_free_slot(void)
{
    Reservation r;

    reservation_init(&r, 4, 1);
    g_assert_cmpint(reservation_take(&r, 0, 9), ==, 9);     /* slot 8-11 */
    g_assert_cmpint(reservation_take(&r, 0, 9), ==, 13);    /* 12-15 */
    g_assert_cmpint(reservation_take(&r, 0, 15), ==, 19);   /* 16-19 */
    g_assert_cmpint(reservation_take(&r, 0, 10), ==, 22);   /* 20-23 */
    /* An earlier cycle is not held up by all of these. */
    g_assert_cmpint(reservation_take(&r, 0, 7), ==, 7);     /* 4-7 */
    g_assert_cmpint(reservation_take(&r, 0, 7), ==, 27);    /* 24-27 */
    g_assert_true(reservation_is_taken(&r, 4));
    g_assert_false(reservation_is_taken(&r, 3));
    g_assert_false(reservation_is_taken(&r, 28));
    reservation_destroy(&r);
}

/*
 * 40 bytes a cycle, lines of 64 bytes: 5 lines in 8 cycles.  Slots begin at 0,
 * 1.6, 3.2, 4.8, 6.4: requests of cycle 0 start at 0, 2, 4, 5, 7, 8, 10, ...
 */
static void test_slots_of_fractions(void)
{
    static const int64_t start[] = { 0, 2, 4, 5, 7, 8, 10, 12, 13, 15, 16 };
    Reservation r;

    reservation_init(&r, 64, 40);
    for (unsigned i = 0; i < G_N_ELEMENTS(start); i++) {
        g_assert_cmpint(reservation_take(&r, 0, 0), ==, start[i]);
    }
    reservation_destroy(&r);
}

/* 5 slots in 2 cycles: 0, 0.4, 0.8, 1.2, 1.6; cycle 1 lies in the one at 0.8 */
static void test_several_slots_a_cycle(void)
{
    static const int64_t start[] = { 0, 1, 1, 2, 2, 2, 3, 3 };
    Reservation r;

    reservation_init(&r, 2, 5);
    for (unsigned i = 0; i < G_N_ELEMENTS(start); i++) {
        g_assert_cmpint(reservation_take(&r, 0, 0), ==, start[i]);
    }
    g_assert_cmpint(reservation_take(&r, 0, 1), ==, 4);
    reservation_destroy(&r);
}

/* Whoever asks first: the same slots are taken, and the sum of delays is it. */
static void test_order_does_not_matter(void)
{
    static const struct { int64_t cycles, slots; } rate[] = {
        { 1, 1 }, { 4, 1 }, { 8, 5 }, { 2, 5 },
    };
    GRand *rand = g_rand_new_with_seed(1);

    for (unsigned test = 0; test < 200; test++) {
        unsigned n = g_rand_int_range(rand, 1, 300), k = test % 4;
        int64_t cycle[300], sum[2] = {};
        Reservation r[2];

        for (unsigned i = 0; i < n; i++) {
            cycle[i] = g_rand_int_range(rand, 0, 1000);
        }
        for (unsigned order = 0; order < 2; order++) {
            reservation_init(&r[order], rate[k].cycles, rate[k].slots);
            for (unsigned i = 0; i < n; i++) {
                int64_t c = cycle[order ? n - 1 - i : i];

                sum[order] += reservation_take(&r[order], 0, c) - c;
            }
        }
        for (int64_t c = 0; c < 3000; c++) {
            g_assert_cmpint(reservation_is_taken(&r[0], c), ==,
                            reservation_is_taken(&r[1], c));
        }
        g_assert_cmpint(sum[0], ==, sum[1]);
        reservation_destroy(&r[0]);
        reservation_destroy(&r[1]);
    }
    g_rand_free(rand);
}

/*
 * 64 PCPUs run one after the other in windows of 1000 cycles, each with a
 * request about every 100 cycles: more than @slots in @cycles can carry.
 * Returns how many requests start in each cycle.
 */
static unsigned *crowd(int64_t cycles, int64_t slots, int64_t end)
{
    unsigned *starts = g_new0(unsigned, end);
    GRand *rand = g_rand_new_with_seed(2);
    Reservation r;

    reservation_init(&r, cycles, slots);
    for (int64_t window = 0; window < 20000; window += 1000) {
        for (unsigned pcpu = 0; pcpu < 64; pcpu++) {
            int64_t c = window + g_rand_int_range(rand, 1, 200);

            while (c < window + 1000) {
                c = reservation_take(&r, window, c);
                g_assert_cmpint(c, <, end);
                starts[c]++;
                c += g_rand_int_range(rand, 1, 200);
            }
        }
    }
    g_rand_free(rand);
    reservation_destroy(&r);
    return starts;
}

/* The most requests in @length cycles from a multiple of @step */
static unsigned most_in(const unsigned *starts, int64_t end, int64_t step,
                        int64_t length)
{
    unsigned most = 0;

    for (int64_t c = 0; c + length <= end; c += step) {
        unsigned sum = 0;

        for (int64_t i = 0; i < length; i++) {
            sum += starts[c + i];
        }
        most = MAX(most, sum);
    }
    return most;
}

static void test_capacity_is_never_exceeded(void)
{
    const int64_t end = 1 << 17;
    g_autofree unsigned *bank = crowd(4, 1, end);
    g_autofree unsigned *memory = crowd(8, 5, end);

    /* The bank is full (it is asked for more), and never more than full. */
    g_assert_cmpuint(most_in(bank, end, 4, 4), ==, 1);
    g_assert_cmpuint(most_in(bank, end, 4, 400), ==, 100);
    /* One start may be a cycle behind its slot, and so fall into these. */
    g_assert_cmpuint(most_in(memory, end, 8, 8), <=, 5 + 1);
    g_assert_cmpuint(most_in(memory, end, 8, 800), <=, 500 + 1);
    g_assert_cmpuint(most_in(memory, end, 8, 800), >=, 450);
}

/* Naive: one byte a slot, and nothing is forgotten */
static void test_against_a_naive_one(void)
{
    uint8_t *taken = g_new0(uint8_t, 200000);
    GRand *rand = g_rand_new_with_seed(3);
    int64_t now = 0;
    Reservation r;

    reservation_init(&r, 3, 1);
    for (unsigned i = 0; i < 20000; i++) {
        int64_t c = now + g_rand_int_range(rand, 0, 5000), slot = c / 3;

        while (taken[slot]) {
            slot++;
        }
        taken[slot] = 1;
        g_assert_cmpint(reservation_take(&r, now, c), ==,
                        c + 3 * (slot - c / 3));
        now += g_rand_int_range(rand, 0, 10);
    }
    g_free(taken);
    g_rand_free(rand);
    reservation_destroy(&r);
}

/* Time that jumps, and time that nobody bounds: memory stays bounded. */
static void test_memory_is_bounded(void)
{
    const int64_t far = INT64_C(1) << 50;
    Reservation r;

    reservation_init(&r, 1, 1);
    for (int64_t c = 0; c < INT64_C(10) * RESERVATION_SLOTS_MAX; c += 1000) {
        g_assert_cmpint(reservation_take(&r, 0, c), ==, c);
    }
    g_assert_cmpuint(r.words, <=, RESERVATION_SLOTS_MAX / 64);
    g_assert_cmpint(reservation_take(&r, 0, far), ==, far);
    g_assert_cmpint(reservation_take(&r, far, far), ==, far + 1);
    g_assert_cmpuint(r.words, <=, RESERVATION_SLOTS_MAX / 64);
    /* What is forgotten delays nobody. */
    g_assert_cmpint(reservation_take(&r, far, 5), ==, 5);
    g_assert_cmpint(reservation_take(&r, far, 5), ==, 5);
    reservation_destroy(&r);
}

/* --- One cache --- */

static int64_t victim(CacheArray *a, uint64_t line)
{
    bool taken;

    return cache_array_victim(a, cache_array_first(a, line), line, &taken);
}

static bool was_taken(CacheArray *a, uint64_t line)
{
    bool taken;

    cache_array_victim(a, cache_array_first(a, line), line, &taken);
    return taken;
}

/* Fills in order, hits as told; then says which way goes. */
static unsigned victim_after(CacheReplacement replacement, unsigned ways,
                             const char *hits)
{
    CacheArray a;
    unsigned way;

    cache_array_init(&a, 1, ways, replacement, 7);
    for (unsigned i = 0; i < ways; i++) {
        int64_t place = victim(&a, i);

        g_assert_cmpint(place, ==, i);
        cache_array_fill(&a, place, i, CACHE_SHARED);
    }
    for (; *hits; hits++) {
        cache_array_touch(&a, cache_array_find(&a, *hits - '0'));
    }
    way = victim(&a, 99);
    cache_array_destroy(&a);
    return way;
}

static void test_replacement(void)
{
    g_assert_cmpuint(victim_after(CACHE_LRU, 4, ""), ==, 0);
    g_assert_cmpuint(victim_after(CACHE_LRU, 4, "01"), ==, 2);
    g_assert_cmpuint(victim_after(CACHE_LRU, 4, "2310"), ==, 2);
    g_assert_cmpuint(victim_after(CACHE_FIFO, 4, "0000"), ==, 0);
    /*
     * Tree of 4 ways: the root says which half, a node in each half which way.
     * Filled 0 1 2 3: root to the lower half, both nodes to the lower way.
     */
    g_assert_cmpuint(victim_after(CACHE_PLRU, 4, ""), ==, 0);
    /* Hit 0: root to the upper half, whose node still says 2. */
    g_assert_cmpuint(victim_after(CACHE_PLRU, 4, "0"), ==, 2);
    /* LRU would say 1 here: 0 2 hit, the root says lower, its node 1. */
    g_assert_cmpuint(victim_after(CACHE_PLRU, 4, "02"), ==, 1);
    /* And here LRU says 1, the tree 0: hits 0 1 turn its node to 0. */
    g_assert_cmpuint(victim_after(CACHE_PLRU, 4, "012"), ==, 0);
    g_assert_cmpuint(victim_after(CACHE_PLRU, 1, "0"), ==, 0);
    g_assert_cmpuint(victim_after(CACHE_RANDOM, 8, ""), ==,
                     victim_after(CACHE_RANDOM, 8, ""));
}

/* Each way of 8 is drawn about 1000 times of 8000: within 6 sigma (30 each) */
static void test_random_replacement_is_even(void)
{
    unsigned drawn[2][8] = {}, same = 0;
    CacheArray a;

    for (uint64_t seed = 0; seed < 2; seed++) {
        cache_array_init(&a, 1, 8, CACHE_RANDOM, seed);
        for (unsigned i = 0; i < 8; i++) {
            cache_array_fill(&a, victim(&a, i), i, CACHE_SHARED);
        }
        for (unsigned i = 0; i < 8000; i++) {
            drawn[seed][victim(&a, 99)]++;
        }
        cache_array_destroy(&a);
    }
    for (unsigned way = 0; way < 8; way++) {
        g_assert_cmpuint(drawn[0][way], >, 820);
        g_assert_cmpuint(drawn[0][way], <, 1180);
        same += drawn[0][way] == drawn[1][way];
    }
    g_assert_cmpuint(same, <, 8);       /* another seed, other draws */
}

/* Sets that are no power of two, and a place that remembers what was taken */
static void test_sets_and_marks(void)
{
    CacheArray a;
    int64_t place;

    cache_array_init(&a, 6, 2, CACHE_LRU, 0);
    g_assert_cmpuint(cache_array_set(&a, 15), ==, 3);
    place = victim(&a, 15);
    g_assert_cmpint(place, ==, cache_array_place(&a, 6));
    cache_array_fill(&a, place, 15, CACHE_SHARED);
    cache_array_fill(&a, victim(&a, 21), 21, CACHE_MODIFIED);
    g_assert_cmpint(cache_array_find(&a, 21), ==, cache_array_place(&a, 7));

    cache_array_set_state(&a, cache_array_place(&a, 7), CACHE_TAKEN);
    g_assert_cmpint(cache_array_find(&a, 21), ==, CACHE_NOWHERE);
    g_assert_true(was_taken(&a, 21));
    g_assert_false(was_taken(&a, 15));
    cache_array_set_state(&a, place, CACHE_INVALID);
    /* Its own mark, and the first that is free */
    g_assert_cmpint(victim(&a, 21), ==, cache_array_place(&a, 7));
    g_assert_cmpint(victim(&a, 27), ==, place);
    cache_array_destroy(&a);
}

/* --- Directory --- */

/* Against an array of masks, with many collisions and removals */
static void test_directory(void)
{
    enum { LINES = 3000 };
    uint64_t *sharers = g_new0(uint64_t, LINES), entries = 0;
    int *owner = g_new(int, LINES);
    GRand *rand = g_rand_new_with_seed(4);
    Directory d;

    directory_init(&d);
    for (unsigned i = 0; i < 200000; i++) {
        unsigned n = g_rand_int_range(rand, 0, LINES);
        unsigned pcpu = g_rand_int_range(rand, 0, 64);
        uint64_t bit = UINT64_C(1) << pcpu;
        uint64_t line = (uint64_t)n * 4096;     /* collide if badly hashed */
        DirectoryEntry *entry = directory_find(&d, line);

        g_assert_cmpuint(entry ? entry->sharers : 0, ==, sharers[n]);
        if (entry) {
            g_assert_cmpint(entry->owner, ==, owner[n]);
        }
        if (entry && g_rand_int_range(rand, 0, 100) < 70) {
            pcpu = __builtin_ctzll(entry->sharers);
            sharers[n] &= ~(UINT64_C(1) << pcpu);
            entries -= !sharers[n];
            owner[n] = owner[n] == (int)pcpu ? -1 : owner[n];
            entry = directory_remove(&d, entry, pcpu);
            g_assert_cmpuint(entry ? entry->sharers : 0, ==, sharers[n]);
        } else {
            entries += !sharers[n];
            owner[n] = pcpu % 2 ? (int)pcpu : sharers[n] ? owner[n] : -1;
            sharers[n] |= bit;
            directory_add(&d, line, pcpu, pcpu % 2);
        }
        g_assert_cmpuint(d.entries, ==, entries);
    }
    g_free(sharers);
    g_free(owner);
    g_rand_free(rand);
    directory_destroy(&d);
}

static void test_first_touch(void)
{
    static const unsigned pcpus[] = { 1, 8, 9, 16, 24, 64 };
    static const size_t bytes[] = { 1024, 1024, 2048, 2048, 4096, 8192 };
    g_autofree uint64_t *regions = NULL;
    FirstTouch t;
    size_t n;

    for (unsigned i = 0; i < G_N_ELEMENTS(pcpus); i++) {
        first_touch_init(&t, pcpus[i]);
        g_assert_cmpuint(first_touch_region_size(&t), ==, bytes[i]);
        g_assert_cmpuint(first_touch(&t, 5000, pcpus[i] - 1), ==, 0);
        g_assert_cmpuint(first_touch(&t, 5000, 0), ==,
                         UINT64_C(1) << (pcpus[i] - 1));
        g_assert_cmpuint(first_touch(&t, 5001, 0), ==, 0);
        first_touch_destroy(&t);
    }
    first_touch_init(&t, 64);
    first_touch(&t, 9000, 3);
    first_touch(&t, 10, 3);
    first_touch(&t, 11, 3);
    regions = first_touch_regions(&t, &n);
    g_assert_cmpuint(n, ==, 2);
    g_assert_cmpuint(regions[0], ==, 0);
    g_assert_cmpuint(regions[1], ==, 8);        /* 9000 / 1024 */
    first_touch_destroy(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/reservation/first-free-slot", test_first_free_slot);
    g_test_add_func("/reservation/fractions", test_slots_of_fractions);
    g_test_add_func("/reservation/several-a-cycle",
                    test_several_slots_a_cycle);
    g_test_add_func("/reservation/order", test_order_does_not_matter);
    g_test_add_func("/reservation/capacity", test_capacity_is_never_exceeded);
    g_test_add_func("/reservation/naive", test_against_a_naive_one);
    g_test_add_func("/reservation/memory", test_memory_is_bounded);
    g_test_add_func("/array/replacement", test_replacement);
    g_test_add_func("/array/random", test_random_replacement_is_even);
    g_test_add_func("/array/sets-and-marks", test_sets_and_marks);
    g_test_add_func("/directory", test_directory);
    g_test_add_func("/first-touch", test_first_touch);
    return g_test_run();
}
