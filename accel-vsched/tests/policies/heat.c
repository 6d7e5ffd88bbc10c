/*
 * Policy "heat": traces worked by hand, and its rules at random.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "../../state.h"
#include "../fake-host.h"

static const Block tens[] = { { 10 }, { } };

/*
 * Windows and blocks of 10, slices of 20, a budget of 40 and rests of 30, which
 * may be changed; no cost of switching.
 */
static void init(Fake *f, int vcpus, int pcpus)
{
    fake_init(f, vcpus, pcpus, 10, 0, &vsched_policy_heat, 20);
    fake_set(f, "budget", 40);
    fake_set(f, "rest", 30);
}

/* "from-until ...": when @pcpu executed anything, from the start */
static void assert_busy(Fake *f, int pcpu, const char *expected)
{
    g_autoptr(GString) s = g_string_new(NULL);
    int64_t end = -1;

    for (guint i = 0; i < f->world.log->len; i++) {
        Executed *x = &g_array_index(f->world.log, Executed, i);

        if (x->pcpu != pcpu) {
            continue;
        }
        if (x->start != end) {
            g_string_append_printf(s, end < 0 ? "%d-" : "%d %d-",
                                   (int)(end < 0 ? x->start : end),
                                   (int)x->start);
        }
        end = x->start + 10;
    }
    g_string_append_printf(s, "%d", (int)end);
    g_assert_cmpstr(s->str, ==, expected);
}

static void test_spare(void)
{
    Fake f;

    /*
     * One VCPU.  At 40, when a slice ends, PCPU 0 has been busy for 40, and
     * rests until 70; PCPU 1, whose turn comes after it, takes the VCPU.  At 80
     * PCPU 1 has been busy for 40; the turn of PCPU 0 is over, which takes the
     * VCPU at 90.  It is the same at 130, when PCPU 1 comes first.
     */
    init(&f, 1, 2);
    all_run(&f, tens);
    windows(&f, 15);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:0@30 1:0@40 1:0@50 1:0@60 1:0@70 "
                   "0:0@90 0:0@100 0:0@110 0:0@120 1:0@140");
    g_assert_cmpint(f.core->vcpu[0].migrations, ==, 3);
    assert_sums(&f);
    fake_free(&f);

    /* A slice longer than the budget: rests at 40 all the same. */
    init(&f, 1, 2);
    fake_set(&f, "slice", 1000);
    all_run(&f, tens);
    windows(&f, 7);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:0@30 1:0@40 1:0@50 1:0@60");
    fake_free(&f);
}

static void test_places(void)
{
    Fake f;

    /*
     * Two VCPUs, one place.  At 40 both budgets are used up, and PCPU 0 takes
     * the place.  PCPU 1 goes on with VCPU 1, its own, which has waited as long
     * as VCPU 0; then with VCPU 0, which has waited longer.  At 70 PCPU 0 is
     * cool, and takes VCPU 1, which waits for PCPU 1.  At 80 the slice on PCPU
     * 1 ends, and it rests until 110.  At 90 PCPU 0 takes VCPU 0 rather than
     * VCPU 1, its own, and at 110 PCPU 1 takes that.
     */
    init(&f, 2, 2);
    all_run(&f, tens);
    windows(&f, 12);
    assert_log(&f, "0:0@0 1:1@0 1:1@10 0:0@10 0:0@20 1:1@20 1:1@30 0:0@30 "
                   "1:1@40 1:1@50 1:0@60 1:0@70 0:1@70 0:1@80 0:0@90 0:0@100 "
                   "1:1@110");
    assert_sums(&f);
    fake_free(&f);

    /* A place for each: both rest, and time goes on at the end of that. */
    init(&f, 2, 2);
    fake_set(&f, "resting", 2);
    all_run(&f, tens);
    fake_drive(&f, 120);
    assert_busy(&f, 0, "0-40 70-110");
    assert_busy(&f, 1, "0-40 70-110");
    g_assert_cmpint(f.core->pcpu[0].idle, ==, 40);
    fake_free(&f);
}

static void test_hot_longest_first(void)
{
    Fake f;

    /*
     * Three VCPUs, each bound to its PCPU; VCPU 1 begins at 20.  Rests are 50.
     * At 40 the PCPUs' turns are 1, 2, 0, and PCPU 2 takes the place, until 90.
     * PCPU 0 is hot since 40, PCPU 1 since 60.  Both of their slices end at
     * 100, PCPU 1 comes first, but leaves the place to PCPU 0, until 150.  PCPU
     * 2, hot since 130, ends a slice at 150, and leaves the place to PCPU 1,
     * until 210.
     */
    init(&f, 3, 3);
    fake_set(&f, "rest", 50);
    for (int v = 0; v < 3; v++) {
        f.world.program[v] = tens;
        set_affinity(&f, v, 1 << v);
    }
    vsched_core_wake(f.core, 0);
    vsched_core_wake(f.core, 2);
    windows(&f, 2);
    vsched_core_wake(f.core, 1);
    windows(&f, 20);
    assert_busy(&f, 0, "0-100 150-220");
    assert_busy(&f, 1, "20-160 210-220");
    assert_busy(&f, 2, "0-40 90-210");
    assert_sums(&f);
    fake_free(&f);

    /*
     * All begin at 0, and PCPU 1 takes the place at 40.  The others are hot
     * since the same time: at 100 PCPU 2, though it comes first, leaves the
     * place to PCPU 0, and takes it at 160.
     */
    init(&f, 3, 3);
    fake_set(&f, "rest", 50);
    for (int v = 0; v < 3; v++) {
        set_affinity(&f, v, 1 << v);
    }
    all_run(&f, tens);
    windows(&f, 17);
    assert_busy(&f, 0, "0-100 150-170");
    assert_busy(&f, 1, "0-40 90-170");
    assert_busy(&f, 2, "0-160");
    fake_free(&f);
}

/* What a PCPU takes that has nothing of its own. */
static void test_others(void)
{
    static const Block halts[] = { { 10, HALT, 20 }, { } };
    Fake f;

    /* Not what is about to go on where it was, though PCPU 1 is idle too */
    init(&f, 1, 2);
    fake_set(&f, "budget", 1000);
    all_run(&f, halts);
    fake_drive(&f, 300);
    g_assert_cmpint(f.core->pcpu[0].busy, ==, 100);
    g_assert_cmpint(f.core->vcpu[0].migrations, ==, 0);
    fake_free(&f);

    /*
     * At 40 PCPU 0 rests, and VCPU 0, which may run on 0 and 1, waits: the turn
     * of PCPU 1 is over.  At 50 VCPU 1 wakes, whose home is PCPU 1.  PCPU 2
     * comes first, and takes it, because PCPU 1 is about to take VCPU 0.
     */
    init(&f, 2, 3);
    set_affinity(&f, 0, 3);
    f.world.program[0] = f.world.program[1] = tens;
    vsched_core_wake(f.core, 0);
    windows(&f, 5);
    vsched_core_wake(f.core, 1);
    windows(&f, 1);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:0@30 2:1@50 1:0@50");
    fake_free(&f);

    /* Who has waited longest, not who came first */
    init(&f, 2, 1);
    f.core->ops->enqueue(f.core->policy, 0, VSCHED_EVICTED, 50, 50);
    f.core->ops->enqueue(f.core->policy, 1, VSCHED_EVICTED, 40, 40);
    g_assert_cmpint(f.core->ops->pick(f.core->policy, 0, 60).vcpu, ==, 1);
    fake_free(&f);
}

static void test_masks(void)
{
    int64_t until;
    Fake f;

    /* It may run on PCPU 0 only, and waits for it, though PCPU 1 is idle. */
    init(&f, 1, 2);
    set_affinity(&f, 0, 1);
    all_run(&f, tens);
    windows(&f, 5);
    g_assert_cmpint(f.core->vcpu[0].state, ==, VSCHED_READY);
    g_assert_true(vsched_core_idle(f.core, &until));
    g_assert_cmpint(until, ==, 70);
    fake_drive(&f, 210);
    assert_busy(&f, 0, "0-40 70-110 140-180");
    fake_free(&f);

    /*
     * At 40 PCPU 0 rests, and VCPU 0 goes on on PCPU 1, which goes off at 60:
     * it waits for PCPU 0, until 70.  From 80 on it may not run there.
     */
    init(&f, 1, 2);
    all_run(&f, tens);
    windows(&f, 6);
    set_online(&f, 1);
    windows(&f, 2);
    set_online(&f, 3);
    set_affinity(&f, 0, 2);
    windows(&f, 2);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:0@30 1:0@40 1:0@50 0:0@70 1:0@80 "
                   "1:0@90");
    assert_sums(&f);
    fake_free(&f);
}

static void test_idle_is_rest(void)
{
    static const Block short_idle[] = { { 10 }, { 10 }, { 10 },
                                        { 10, HALT, 40 }, { } };
    static const Block long_idle[] = { { 10 }, { 10 }, { 10 },
                                       { 10, HALT, 50 }, { } };
    Fake f;

    /*
     * Budget 100, rests of 50.  Idle for 40 does not cool: at 180, when a slice
     * ends, the PCPU has been busy for 40, 40 and 20, and rests until 230.  The
     * VCPU then has 20 left before it halts, until 290.
     */
    for (int i = 0; i < 2; i++) {
        init(&f, 1, 1);
        fake_set(&f, "budget", 100);
        fake_set(&f, "rest", 50);
        all_run(&f, i ? long_idle : short_idle);
        fake_drive(&f, 310);
        /* Idle for 50 does cool. */
        assert_busy(&f, 0, i ? "0-40 90-130 180-220 270-310" :
                               "0-40 80-120 160-180 230-250 290-310");
        fake_free(&f);
    }
}

static void test_set(void)
{
    Fake f;

    /*
     * As in test_places(), until 50.  Then the rest of PCPU 0 is to last until
     * 90, and PCPU 1 is no longer hot: at 60 and 80 it goes on, first with VCPU
     * 0, then with 1.  At 90 PCPU 0 takes VCPU 0, and at 100, when PCPU 1 has
     * used up 100 and rests, it has to run both.
     */
    init(&f, 2, 2);
    all_run(&f, tens);
    windows(&f, 5);
    fake_set(&f, "rest", 50);
    fake_set(&f, "budget", 100);
    windows(&f, 8);
    assert_busy(&f, 0, "0-40 90-130");
    assert_busy(&f, 1, "0-100");
    g_assert_cmpint(f.core->vcpu[1].pcpu, ==, 0);
    fake_free(&f);
}

static void test_longest_wait(void)
{
    Fake f;

    /*
     * 23 x (100000 + 554 + 1000) + rests x (1000000 + 1000) + 554 + 2 x 1000;
     * 23 slices are 2300000: less than the budget of 10000000, so one rest.
     */
    fake_init(&f, 24, 8, 1000, 554, &vsched_policy_heat, 100000);
    g_assert_cmpint(longest_wait(&f), ==, 3339296);
    /* 1 + 4 rests */
    fake_set(&f, "budget", 500000);
    g_assert_cmpint(longest_wait(&f), ==, 7343296);
    /* Slices of 50000: 23 x 51554 + 24 x 1001000 + 2554 */
    fake_set(&f, "budget", 50000);
    g_assert_cmpint(longest_wait(&f), ==, 25212296);
    fake_free(&f);
}

/* A machine of any size in which PCPUs rest often, masks of all sorts. */
static void random_init(Fake *f, uint32_t seed, bool merge)
{
    int vcpus = 1 + hash(seed, 1, 1) % 9, pcpus = 1 + hash(seed, 2, 1) % 5;
    static const Block stops[] = { { 30 }, { 30 }, { 40, STOP }, { } };

    fake_init(f, vcpus, pcpus, 100, hash(seed, 3, 1) % 50,
              &vsched_policy_heat, 200 + hash(seed, 4, 1) % 500);
    fake_set(f, "budget", 50 + hash(seed, 5, 1) % 3000);
    fake_set(f, "rest", 50 + hash(seed, 6, 1) % 2000);
    fake_set(f, "resting", 1 + hash(seed, 7, 1) % pcpus);
    f->world.seed = seed;
    f->merge = merge;
    f->core->jitter = seed % 3;
    for (int v = 0; v < vcpus; v++) {
        if (hash(seed, v, 2) % 4 == 0) {
            f->world.program[v] = stops;
        }
        if (seed % 2) {
            set_affinity(f, v, 1 + hash(seed, v, 3) % ((1 << pcpus) - 1));
        }
    }
    start_all(f);
}

static void assert_same(Fake *f, Fake *g)
{
    g_assert_cmpmem(f->world.log->data, f->world.log->len * sizeof(Executed),
                    g->world.log->data, g->world.log->len * sizeof(Executed));
}

/*
 * Where a PCPU runs several windows at once, and comes to its rest while a VCPU
 * of its own waits, that VCPU goes on when the rest is over.
 */
static void test_windows_at_once(void)
{
    for (uint32_t seed = 1; seed <= 1500; seed++) {
        Fake one, many;

        random_init(&one, seed, false);
        random_init(&many, seed, true);
        fake_drive(&one, 30000);
        fake_drive(&many, 30000);
        assert_same(&one, &many);
        g_assert_cmpint(one.longest_wait, <=, longest_wait(&one));
        fake_free(&one);
        fake_free(&many);
    }
}

/* The same, by hand. */
static void test_rest_at_once(void)
{
    static const Block stops[] = { { 10, STOP }, { } };
    Fake f;

    /*
     * VCPU 0 stops at 10, which is all of the budget; VCPU 1 waits for the same
     * PCPU, until 40.
     */
    for (int merge = 0; merge < 2; merge++) {
        init(&f, 2, 1);
        fake_set(&f, "budget", 10);
        f.merge = merge;
        f.world.program[0] = stops;
        f.world.program[1] = tens;
        start_all(&f);
        fake_drive(&f, 100);
        assert_log(&f, "0:0@0 0:1@40 0:1@80");
        fake_free(&f);
    }
}

/* @copy goes on where @f is, from @words of its policy. */
static void load(const Fake *f, Fake *copy, const GArray *words)
{
    VschedCoreState *state = vsched_state_new(f->core);
    char *why = NULL;

    fake_init(copy, f->core->topology.vcpus, f->core->topology.pcpus,
              f->core->window, f->core->switch_cost, f->core->ops,
              f->values[0]);
    memcpy(copy->values, f->values, sizeof(f->values));
    g_array_free(copy->world.log, true);
    copy->world = f->world;
    copy->world.log = g_array_new(false, false, sizeof(Executed));
    copy->merge = f->merge;
    copy->core->jitter = f->core->jitter;
    must(vsched_state_load(copy->core, state, f->core->ops, f->values,
                           (int64_t *)words->data, words->len, true, &why),
         &why);
    vsched_state_free(state);
}

static void test_save(void)
{
    g_autoptr(GArray) words = g_array_new(false, false, sizeof(int64_t));
    const VschedPolicyOps *ops = &vsched_policy_heat;
    int64_t *word;
    Fake f, copy;

    for (uint32_t seed = 1; seed <= 300; seed++) {
        random_init(&f, seed, seed % 5 < 2);
        fake_drive(&f, 100 + hash(seed, 9, 9) % 20000);
        g_array_set_size(words, 0);
        vsched_core_save_policy(f.core, words);
        load(&f, &copy, words);
        g_array_set_size(f.world.log, 0);
        fake_drive(&f, f.core->window_end + 10000);
        fake_drive(&copy, f.core->window_end);
        assert_same(&f, &copy);
        fake_free(&copy);
        fake_free(&f);
    }

    /*
     * As in test_places(), at 70, but for longer rests: PCPU 0 rests since 40,
     * PCPU 1 is hot since 40, has been busy for 60, as counted at 60, and runs
     * VCPU 0; VCPU 1 waits.
     */
    init(&f, 2, 2);
    fake_set(&f, "rest", 50);
    all_run(&f, tens);
    windows(&f, 7);
    g_array_set_size(words, 0);
    vsched_core_save_policy(f.core, words);
    word = (int64_t *)words->data;
    {
        const int64_t expected[] = {
            1, (int64_t)1 << 32 | 1,    /* VCPU 1 waits for PCPU 1 */
            1, 1,                       /* homes */
            40, 40, 40, 1,
            60, 40, 60, 0,
        };

        g_assert_cmpmem(word, words->len * sizeof(*word), expected,
                        sizeof(expected));
    }
    load(&f, &copy, words);
    g_assert_true(ops->load(copy.core->policy, word, 12));

#define IMPOSSIBLE(i, value)                                    \
    do {                                                        \
        int64_t old = word[i];                                  \
                                                                \
        word[i] = value;                                        \
        g_assert_false(ops->load(copy.core->policy, word, 12)); \
        word[i] = old;                                          \
    } while (0)
    g_assert_false(ops->load(copy.core->policy, word, 11));
    IMPOSSIBLE(0, 2);                   /* one waits */
    IMPOSSIBLE(1, 1);                   /* it waits for its home */
    IMPOSSIBLE(2, 2);                   /* there is no such PCPU */
    IMPOSSIBLE(2, -1);
    IMPOSSIBLE(4, -1);                  /* busy for less than nothing */
    IMPOSSIBLE(4, 41);                  /* for longer than there was time */
    IMPOSSIBLE(5, -1);                  /* hot before the start */
    IMPOSSIBLE(5, 41);                  /* after it stopped */
    IMPOSSIBLE(6, 71);                  /* stopped in the future */
    IMPOSSIBLE(7, 2);
    IMPOSSIBLE(11, 1);                  /* rests, and runs VCPU 0 */
#undef IMPOSSIBLE
    set_affinity(&copy, 0, 1);
    g_assert_false(ops->load(copy.core->policy, word, 12));
    fake_free(&copy);
    fake_free(&f);
}

/*
 * The most cycles that any PCPU was busy for between two times of @rest in
 * which it was not, and in any span of @span cycles.
 */
static void most_busy(Fake *f, int64_t rest, int64_t span, int64_t *stretch,
                      int64_t *in_span)
{
    *stretch = *in_span = 0;
    for (int p = 0; p < f->core->topology.pcpus; p++) {
        g_autofree int64_t *done = NULL;
        g_autofree int64_t *at = NULL;
        int64_t sum = 0;
        int n = 0, first = 0;

        at = g_new(int64_t, f->world.log->len);
        done = g_new(int64_t, f->world.log->len + 1);   /* before each */
        done[0] = 0;
        for (guint i = 0; i < f->world.log->len; i++) {
            Executed *x = &g_array_index(f->world.log, Executed, i);

            if (x->pcpu != p) {
                continue;
            }
            at[n] = x->start;
            if (n && at[n] - (at[n - 1] + done[n] - done[n - 1]) >= rest) {
                sum = 0;
            }
            done[n + 1] = done[n] +
                (f->world.program[x->vcpu] ? f->world.program[x->vcpu] :
                 (Block[]) { random_block(&f->world, x->vcpu, x->block) })->
                length;
            sum += done[n + 1] - done[n];
            n++;
            *stretch = MAX(*stretch, sum);
            while (at[first] + span <= at[n - 1]) {
                first++;
            }
            *in_span = MAX(*in_span, done[n - 1] - done[first]);
        }
    }
}

/* Heat is bounded, whatever happens. */
static void test_utilisation(void)
{
    for (uint32_t seed = 1; seed <= 200; seed++) {
        int pcpus = 1 + hash(seed, 1, 5) % 6;
        int places = 1 + hash(seed, 2, 5) % pcpus;
        int64_t slice = 200 + hash(seed, 3, 5) % 500;
        int64_t budget = slice + hash(seed, 4, 5) % 3000;
        int64_t rest = 50 + hash(seed, 5, 5) % 2000;
        int64_t cost = hash(seed, 6, 5) % 50, stretch, in_span, bound;
        bool full = seed % 3 == 0;
        Fake f;

        fake_init(&f, 1 + hash(seed, 7, 5) % 12, pcpus, 100, cost,
                  &vsched_policy_heat, slice);
        fake_set(&f, "budget", budget);
        fake_set(&f, "rest", rest);
        fake_set(&f, "resting", places);
        f.world.seed = seed;
        for (int v = 0; full && v < f.world.vcpus; v++) {
            f.world.program[v] = tens;
        }
        start_all(&f);
        while (f.core->window_end < 60000) {
            int idle = 0, waiting = 0;

            fake_drive(&f, f.core->window_end + 100);
            for (int p = 0; p < pcpus; p++) {
                idle += f.core->pcpu[p].current == VSCHED_NONE;
            }
            for (int v = 0; v < f.world.vcpus; v++) {
                waiting += f.core->vcpu[v].state == VSCHED_READY;
            }
            /* Where there is enough to do, only those are idle that rest. */
            if (full && waiting >= pcpus) {
                g_assert_cmpint(idle, <=, places);
            }
        }
        bound = budget + slice + (pcpus - 1) / places *
                                 (rest + 2 * slice + cost + 2 * 100);
        most_busy(&f, rest, budget + rest, &stretch, &in_span);
        g_assert_cmpint(stretch, <=, bound);
        if (full) {
            g_assert_cmpint(stretch, >=, budget);
        }
        if (places == pcpus) {
            g_assert_cmpint(in_span, <=, budget + slice);
        }
        fake_free(&f);
    }
}

/* Cycles that two PCPUs do in 1000, and the longest that one was busy */
static int64_t work_done(Fake *f, int64_t *stretch)
{
    int64_t in_span;

    all_run(f, tens);
    fake_drive(f, 1000);
    most_busy(f, 30, 70, stretch, &in_span);
    return f->core->pcpu[0].busy + f->core->pcpu[1].busy;
}

static void test_heat_and_timeslice(void)
{
    int64_t stretch;
    Fake f;

    /* One VCPU heats PCPU 0 up for 1000 cycles without an end. */
    fake_init(&f, 1, 2, 10, 0, &vsched_policy_timeslice, 20);
    g_assert_cmpint(work_done(&f, &stretch), ==, 1000);
    g_assert_cmpint(stretch, ==, 1000);
    fake_free(&f);

    /*
     * Without a second PCPU it would have to stop for 30 after every 40:
     * 14 times 40 until 980, then 20.
     */
    init(&f, 1, 2);
    set_affinity(&f, 0, 1);
    g_assert_cmpint(work_done(&f, &stretch), ==, 580);
    g_assert_cmpint(stretch, ==, 40);
    fake_free(&f);

    /*
     * Heat and run: no PCPU is busy for longer either, and most of the work is
     * done.  As in test_spare(): 80 until 80; from 90 on 40 of every 50, which
     * is 18 times 40 until 990; then 10.
     */
    init(&f, 1, 2);
    g_assert_cmpint(work_done(&f, &stretch), ==, 810);
    g_assert_cmpint(stretch, ==, 40);
    fake_free(&f);

    /* Where all PCPUs have work all the time, rests are lost: 2 x 580 */
    fake_init(&f, 2, 2, 10, 0, &vsched_policy_timeslice, 20);
    g_assert_cmpint(work_done(&f, &stretch), ==, 2000);
    fake_free(&f);
    init(&f, 2, 2);
    fake_set(&f, "resting", 2);
    g_assert_cmpint(work_done(&f, &stretch), ==, 1160);
    g_assert_cmpint(stretch, ==, 40);
    fake_free(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/heat/spare", test_spare);
    g_test_add_func("/heat/places", test_places);
    g_test_add_func("/heat/hot-longest-first", test_hot_longest_first);
    g_test_add_func("/heat/others", test_others);
    g_test_add_func("/heat/masks", test_masks);
    g_test_add_func("/heat/idle-is-rest", test_idle_is_rest);
    g_test_add_func("/heat/set", test_set);
    g_test_add_func("/heat/longest-wait", test_longest_wait);
    g_test_add_func("/heat/at-once", test_windows_at_once);
    g_test_add_func("/heat/rest-at-once", test_rest_at_once);
    g_test_add_func("/heat/save", test_save);
    g_test_add_func("/heat/utilisation", test_utilisation);
    g_test_add_func("/heat/timeslice", test_heat_and_timeslice);
    return g_test_run();
}
