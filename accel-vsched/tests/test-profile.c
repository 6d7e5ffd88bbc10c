/*
 * Moments of a profile, and what it counts.
 *
 * Expected values are worked out by hand beside each test, or come from a naive
 * model that looks at every moment, one after the other.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <math.h>
#include <string.h>
#include "../core.h"
#include "../profile.h"

static void test_moments_by_hand(void)
{
    VschedProfile *p = vsched_profile_new(2, 5000, 100000, 0);

    /*
     * A draw is mix(mix(mix(seed + VCPU) ^ number)), with the finalizer of
     * MurmurHash3, which maps 0 to 0: moment 0 of VCPU 0 is the begin.
     * Number 1: 0x514e28b7, then 0x2fef5c8f; of 2^32 that is 0.18724, and of
     * 100000 cycles 18724.  Number 2: 0x30f4c306, then 0xb5d455e1: 71027.
     */
    g_assert_cmpint(vsched_profile_moment(p, 0, 0), ==, 5000);
    g_assert_cmpint(vsched_profile_moment(p, 0, 1), ==, 123724);
    g_assert_cmpint(vsched_profile_moment(p, 0, 2), ==, 276027);
    /* VCPU 1 with seed 0 draws what VCPU 0 does with seed 1. */
    p->seed = 1;
    int64_t other = vsched_profile_moment(p, 0, 7);
    p->seed = 0;
    g_assert_cmpint(vsched_profile_moment(p, 1, 7), ==, other);
    g_assert_cmpint(vsched_profile_moment(p, 0, 7), !=, other);
    vsched_profile_free(p);
}

/* One in each interval, and there it may be anywhere. */
static void test_intervals(void)
{
    static const int64_t intervals[] = {
        1, 2, 1000, 99991, INT64_C(10000000000)
    };

    for (int i = 0; i < G_N_ELEMENTS(intervals); i++) {
        int64_t length = intervals[i];
        VschedProfile *p = vsched_profile_new(3, 77, length, 12345);
        const int n = 20000;
        double sum = 0, squares = 0, products = 0, before = 0;

        for (int k = 0; k < n; k++) {
            int64_t moment = vsched_profile_moment(p, 2, k);
            int64_t offset = moment - 77 - k * length;
            double x = (double)offset / length;

            g_assert_cmpint(offset, >=, 0);
            g_assert_cmpint(offset, <, length);
            sum += x;
            squares += x * x;
            products += k ? (x - 0.5) * (before - 0.5) : 0;
            before = x;
        }
        if (length >= 1000) {
            /*
             * Uniform in [0, 1): mean 1/2, variance 1/12, and neighbours know
             * nothing of each other.  Five standard deviations: of the mean
             * sqrt(1/12/n), of the mean square sqrt((1/5 - 1/9)/n), of the
             * mean product 1/12/sqrt(n).
             */
            g_assert_cmpfloat(fabs(sum / n - 0.5), <, 5 * sqrt(1 / 12.0 / n));
            g_assert_cmpfloat(fabs(squares / n - 1 / 3.0), <,
                              5 * sqrt((1 / 5.0 - 1 / 9.0) / n));
            g_assert_cmpfloat(fabs(products / n), <, 5 / 12.0 / sqrt(n));
        }
        vsched_profile_free(p);
    }
}

/* So many in a second as were asked for, at any clock, exactly. */
static void test_rate(void)
{
    VschedProfile *p = vsched_profile_new(2, 123, 100000, 99);

    for (int s = 1; s <= 10; s++) {
        g_assert_cmpint(vsched_profile_moments(p, 1, 123 + s * 1000000000ll),
                        ==, s * 10000);
    }
    g_assert_cmpint(vsched_profile_moments(p, 1, 123), ==, 0);
    g_assert_cmpint(vsched_profile_moments(p, 1, 0), ==, 0);
    vsched_profile_free(p);
}

/* moments() is the number of those that come before, one by one. */
static void test_number_of_moments(void)
{
    VschedProfile *p = vsched_profile_new(1, 10, 13, 4711);
    uint64_t n = 0;

    for (int64_t until = 0; until < 5000; until++) {
        while (vsched_profile_moment(p, 0, n) < until) {
            n++;
        }
        g_assert_cmpint(vsched_profile_moments(p, 0, until), ==, n);
    }
    vsched_profile_free(p);
}

static void test_end_of_time(void)
{
    VschedProfile *p = vsched_profile_new(1, 10, 1000, 1);

    g_assert_cmpint(vsched_profile_moment(p, 0, UINT64_MAX), ==, INT64_MAX);
    g_assert_cmpint(vsched_profile_moment(p, 0, INT64_MAX / 1000 + 1), ==,
                    INT64_MAX);
    g_assert_cmpint(vsched_profile_moment(p, 0, INT64_MAX / 1000 - 2), >,
                    INT64_MAX - 4000);
    vsched_profile_free(p);
}

/* What was counted for one state is not counted again for the next. */
static void test_waiting(void)
{
    VschedProfile *p = vsched_profile_new(1, 0, 1000, 5);
    VschedProfileVCPU *v = &p->vcpu[0];

    vsched_profile_wait(p, 0, VSCHED_PROFILE_READY, 10000);
    vsched_profile_wait(p, 0, VSCHED_PROFILE_BLOCKED, 4000);
    vsched_profile_wait(p, 0, VSCHED_PROFILE_BLOCKED, 12000);
    vsched_profile_pass(p, 0);
    vsched_profile_wait(p, 0, VSCHED_PROFILE_SWITCHING, 13000);
    g_assert_cmpint(v->waiting[VSCHED_PROFILE_READY], ==, 10);
    g_assert_cmpint(v->waiting[VSCHED_PROFILE_BLOCKED], ==, 2);
    g_assert_cmpint(v->waiting[VSCHED_PROFILE_SWITCHING], ==, 0);
    g_assert_cmpint(v->next, ==, 13);
    vsched_profile_free(p);
}

static void sample(VschedProfile *p, int vcpu, bool user, bool spinning,
                   uint64_t pc, uint64_t count)
{
    vsched_profile_count(p, (VschedProfilePlace) {
        .vcpu = vcpu, .user = user, .spinning = spinning, .pc = pc,
        .count = count,
    });
}

/* Places differ by each of their parts, and come in order. */
static VschedProfile *some_places(void)
{
    VschedProfile *p = vsched_profile_new(3, 50, 1000, 5);

    sample(p, 2, false, false, 8, 1);
    sample(p, 0, false, false, UINT64_MAX, 1);
    sample(p, 0, false, false, 4, 1);
    sample(p, 0, true, false, 4, 2);
    sample(p, 0, false, true, 4, 3);
    sample(p, 0, false, false, 4, 1);
    return p;
}

static void test_places(void)
{
    static const VschedProfilePlace expected[] = {
        { .vcpu = 0, .pc = 4, .count = 2 },
        { .vcpu = 0, .pc = UINT64_MAX, .count = 1 },
        { .vcpu = 0, .pc = 4, .spinning = true, .count = 3 },
        { .vcpu = 0, .pc = 4, .user = true, .count = 2 },
        { .vcpu = 2, .pc = 8, .count = 1 },
    };
    VschedProfile *p = some_places();
    g_autoptr(GArray) places = vsched_profile_places(p);

    g_assert_cmpint(places->len, ==, G_N_ELEMENTS(expected));
    for (int i = 0; i < places->len; i++) {
        const VschedProfilePlace *a =
            &g_array_index(places, VschedProfilePlace, i);
        const VschedProfilePlace *b = &expected[i];

        g_assert_cmpint(a->vcpu, ==, b->vcpu);
        g_assert_cmpint(a->user, ==, b->user);
        g_assert_cmpint(a->spinning, ==, b->spinning);
        g_assert_cmphex(a->pc, ==, b->pc);
        g_assert_cmpint(a->count, ==, b->count);
    }
    g_assert_cmpint(p->vcpu[0].running[false][false], ==, 3);
    g_assert_cmpint(p->vcpu[0].running[false][true], ==, 3);
    g_assert_cmpint(p->vcpu[0].running[true][false], ==, 2);
    g_assert_cmpint(p->vcpu[1].running[false][false], ==, 0);
    vsched_profile_free(p);
}

static GArray *saved(const VschedProfile *p)
{
    GArray *words = g_array_new(false, false, sizeof(int64_t));

    vsched_profile_save(p, words);
    return words;
}

static void test_saved(void)
{
    VschedProfile *p = some_places(), *q;
    g_autoptr(GArray) words = NULL, again = NULL;
    size_t used = 0;

    vsched_profile_wait(p, 1, VSCHED_PROFILE_BLOCKED, 100000);
    words = saved(p);
    q = vsched_profile_load((int64_t *)words->data, words->len, &used);
    g_assert_nonnull(q);
    g_assert_cmpint(used, ==, words->len);
    again = saved(q);
    g_assert_cmpmem(words->data, words->len * 8, again->data, again->len * 8);
    g_assert_cmpint(q->begin, ==, 50);
    g_assert_cmpint(q->interval, ==, 1000);
    g_assert_cmpint(q->vcpu[1].waiting[VSCHED_PROFILE_BLOCKED], ==, 100);
    for (int user = 0; user < 2; user++) {
        for (int spinning = 0; spinning < 2; spinning++) {
            g_assert_cmpint(q->vcpu[0].running[user][spinning], ==,
                            p->vcpu[0].running[user][spinning]);
        }
    }
    vsched_profile_free(p);
    vsched_profile_free(q);
}

/* Whatever is in a file: it is refused, or it is a profile. */
static void test_damaged(void)
{
    VschedProfile *p = some_places();
    g_autoptr(GArray) words = saved(p);
    int64_t *w = (int64_t *)words->data;
    static const int64_t bad[] = {
        -1, 0, 1, 4, INT64_MAX, INT64_MIN, INT64_C(1) << 32
    };
    size_t used;

    for (int n = 0; n < words->len; n++) {
        g_assert_null(vsched_profile_load(w, n, &used));
    }
    for (int i = 0; i < words->len; i++) {
        int64_t was = w[i];

        for (int b = 0; b < G_N_ELEMENTS(bad); b++) {
            w[i] = bad[b];
            VschedProfile *q = vsched_profile_load(w, words->len, &used);

            if (q) {
                g_assert_cmpint(used, <=, words->len);
                vsched_profile_moments(q, 0, INT64_MAX);
                vsched_profile_free(q);
            }
        }
        w[i] = was;
    }
    /* The second place is the first one again. */
    w[7 + 3 * 5 + 4 + 1] = 4;
    g_assert_null(vsched_profile_load(w, words->len, &used));
    vsched_profile_free(p);
}

static VschedStack stack_of(uint64_t at, int callers)
{
    VschedStack stack = { .at = at, .end = VSCHED_STACK_DEEP };

    for (stack.callers = 0; stack.callers < callers; stack.callers++) {
        stack.caller[stack.callers].address = 100 + stack.callers;
        stack.caller[stack.callers].kind = stack.callers & 3;
    }
    return stack;
}

/* Equal stacks are one, places differ by theirs, and order is by contents. */
static void test_stacks(void)
{
    VschedProfile *p = vsched_profile_new(1, 0, 1000, 5), *q;
    static const struct {
        uint64_t at;
        int callers;
    } of[] = { { 8, VSCHED_STACK_MAX }, { 4, 2 }, { 4, 0 }, { 8, 1 } };
    static const int order[] = { -1, 2, 1, 3, 0 };
    VschedStack stack, found;
    g_autoptr(GArray) places = NULL, words = NULL, again = NULL;
    size_t used;

    for (int i = 0; i < 2 * G_N_ELEMENTS(of); i++) {
        const int k = i % G_N_ELEMENTS(of);

        stack = stack_of(of[k].at, of[k].callers);
        g_assert_cmpint(vsched_profile_stack(p, &stack), ==, k + 1);
        vsched_profile_count(p, (VschedProfilePlace) {
            .pc = 4, .stack = k + 1, .count = 1,
        });
    }
    vsched_profile_count(p, (VschedProfilePlace) { .pc = 4, .count = 1 });
    places = vsched_profile_places(p);
    g_assert_cmpint(places->len, ==, G_N_ELEMENTS(order));
    for (int i = 0; i < places->len; i++) {
        const VschedProfilePlace *place =
            &g_array_index(places, VschedProfilePlace, i);

        g_assert_cmpint(place->stack, ==, order[i] + 1);
        g_assert_cmpint(place->count, ==, i ? 2 : 1);
    }
    words = saved(p);
    q = vsched_profile_load((int64_t *)words->data, words->len, &used);
    g_assert_nonnull(q);
    g_assert_cmpint(used, ==, words->len);
    again = saved(q);
    g_assert_cmpmem(words->data, words->len * 8, again->data, again->len * 8);
    vsched_profile_find_stack(q, 1, &found);
    g_assert_cmpint(found.callers, ==, VSCHED_STACK_MAX);
    g_assert_cmpint(found.end, ==, VSCHED_STACK_DEEP);
    g_assert_cmphex(found.at, ==, 8);
    g_assert_cmphex(found.caller[127].address, ==, 227);
    g_assert_cmpint(found.caller[127].kind, ==, 3);
    /* The first word of the second stack: it is the third one again. */
    ((int64_t *)words->data)[7 + 5 + 1 + 2 + 2 * VSCHED_STACK_MAX] = 2;
    g_assert_null(vsched_profile_load((int64_t *)words->data, words->len,
                                      &used));
    vsched_profile_free(p);
    vsched_profile_free(q);
}

/* When there is no room, those that are kept stay, and others are counted. */
static void test_no_room(void)
{
    VschedProfile *p = vsched_profile_new(1, 0, 1000, 5);
    VschedStack stack = stack_of(0, VSCHED_STACK_MAX);
    const int room = VSCHED_PROFILE_STACK_WORDS_MAX /
                     (2 + 2 * VSCHED_STACK_MAX);

    for (int i = 0; i < room + 3; i++) {
        stack.at = i;
        g_assert_cmpint(vsched_profile_stack(p, &stack), ==,
                        i < room ? i + 1 : 0);
    }
    g_assert_cmpint(p->stackless, ==, 3);
    stack.at = 7;
    g_assert_cmpint(vsched_profile_stack(p, &stack), ==, 8);
    vsched_profile_free(p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/profile/moments-by-hand", test_moments_by_hand);
    g_test_add_func("/profile/intervals", test_intervals);
    g_test_add_func("/profile/rate", test_rate);
    g_test_add_func("/profile/number-of-moments", test_number_of_moments);
    g_test_add_func("/profile/end-of-time", test_end_of_time);
    g_test_add_func("/profile/waiting", test_waiting);
    g_test_add_func("/profile/places", test_places);
    g_test_add_func("/profile/saved", test_saved);
    g_test_add_func("/profile/damaged", test_damaged);
    g_test_add_func("/profile/stacks", test_stacks);
    g_test_add_func("/profile/no-room", test_no_room);
    return g_test_run();
}
