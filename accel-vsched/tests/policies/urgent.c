/*
 * Policy "urgent": traces worked by hand.
 *
 * Windows and blocks of 10, and switches cost nothing, unless a test says
 * otherwise.  With slices of 100 an urgent run is 20 and a period 1000 cycles.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "../fake-host.h"

static const Block tens[] = { { 10 }, { } };
static const Block calls_1[] = { { 10 }, { 10, CALL, 1 }, { 10, STOP }, { } };
static const Block calls_2[] = { { 10 }, { 10, CALL, 2 }, { 10, STOP }, { } };
static const Block waits[] = { { 10 }, { 10, WAIT, 0, 1 }, { 10, STOP }, { } };
static const Block signals[] = { { 10, SIGNAL, 0 }, { 10 }, { } };

static void init(Fake *f, int vcpus, int pcpus)
{
    fake_init(f, vcpus, pcpus, 10, 0, &vsched_policy_urgent, 100);
    for (int v = 0; v < vcpus; v++) {
        f->world.program[v] = tens;
    }
}

/* Between windows: @vcpu is sent an interrupt by @other, or takes one. */
static void hint(Fake *f, VschedHintKind kind, int vcpu, int other)
{
    VschedHint h = {
        .kind = kind, .pcpu = VSCHED_NONE, .vcpu = vcpu, .other = other,
        .now = f->core->window_end,
    };

    g_assert_false(f->core->ops->hint(f->core->policy, &h));
}

static void sent(Fake *f, int vcpu)
{
    hint(f, VSCHED_HINT_SENT, vcpu, 0);
}

static void taken(Fake *f, int vcpu)
{
    hint(f, VSCHED_HINT_TAKEN, vcpu, VSCHED_NONE);
}

/* Who ran on the last PCPU, block by block, from now until @time */
static void assert_who(Fake *f, int64_t time, const char *expected)
{
    g_autoptr(GString) s = g_string_new(NULL);

    g_array_set_size(f->world.log, 0);
    fake_drive(f, time);
    for (guint i = 0; i < f->world.log->len; i++) {
        Executed *x = &g_array_index(f->world.log, Executed, i);

        if (x->pcpu == f->core->topology.pcpus - 1) {
            g_string_append_c(s, '0' + x->vcpu);
        }
    }
    g_assert_cmpstr(s->str, ==, expected);
}

static void test_other_pcpu(void)
{
    Fake f;

    /*
     * 0 has PCPU 0 for itself.  At 20 it calls 2, which waits behind 1 on PCPU
     * 1.  The window is over, and 1 has used 20 of its 100.  2 takes the call
     * and has 20 cycles in all.  Then 1 goes on with its 80, until 120, 2 with
     * the 80 that are left of its own, until 200, and so on.  0 finds at 40
     * that the call was taken, and stops at 50.
     */
    init(&f, 3, 2);
    set_affinity(&f, 2, 2);
    f.world.program[0] = calls_2;
    start_all(&f);
    fake_drive(&f, 50);
    assert_log(&f, "0:0@0 1:1@0 1:1@10 0:0@10 0:0@20 1:2@20 1:2@30 0:0@30 "
                   "0:0@40 1:1@40");
    assert_who(&f, 320, "111111122222222111111111122");
    g_assert_cmpint(f.core->vcpu[1].preempted, ==, 1);
    assert_sums(&f);
    fake_free(&f);
}

static void test_same_pcpu(void)
{
    Fake f;

    /* At 20, 0 makes room at once; 1 has 20; 0 goes on, and stops at 60. */
    init(&f, 2, 1);
    f.world.program[0] = calls_1;
    start_all(&f);
    fake_drive(&f, 70);
    assert_log(&f, "0:0@0 0:0@10 0:1@20 0:1@30 0:0@40 0:0@50 0:1@60");
    fake_free(&f);

    /* 1 is blocked: the call wakes it, and it runs before 2. */
    init(&f, 3, 1);
    f.world.program[0] = calls_1;
    f.world.halted[1] = true;
    vsched_core_wake(f.core, 0);
    vsched_core_wake(f.core, 2);
    fake_drive(&f, 70);
    assert_log(&f, "0:0@0 0:0@10 0:1@20 0:1@30 0:0@40 0:0@50 0:2@60");
    fake_free(&f);
}

static void test_limit(void)
{
    Fake f;

    /*
     * 1 is sent an interrupt at 10 that it never takes.  It runs twice, until
     * 30 and 50.  0 goes on with its 90, until 140, then 1 with its 60, until
     * 200.  They take turns of 100; the period is over at 1010.  When 0 is at
     * the end of its turn at 1100 it is 1's turn anyway.  At 1200 it would be
     * that of 0, but 1 may run twice ahead of it, until 1220 and 1240.
     */
    init(&f, 2, 1);
    fake_set(&f, "limit", 2);
    start_all(&f);
    assert_who(&f, 10, "0");
    sent(&f, 1);
    assert_who(&f, 200, "1111" "000000000" "111111");
    fake_drive(&f, 1000);
    assert_who(&f, 1100, "0000000000");
    assert_who(&f, 1200, "1111111111");
    assert_who(&f, 1260, "111100");
    fake_free(&f);

    /* It took it: what follows is the same as under "timeslice". */
    init(&f, 2, 1);
    fake_set(&f, "limit", 2);
    start_all(&f);
    assert_who(&f, 10, "0");
    sent(&f, 1);
    assert_who(&f, 20, "1");
    taken(&f, 1);
    assert_who(&f, 240, "1" "000000000" "11111111" "0000");
    fake_free(&f);

    /* None are allowed; and that of a device is not urgent. */
    init(&f, 2, 1);
    fake_set(&f, "limit", 0);
    start_all(&f);
    assert_who(&f, 10, "0");
    sent(&f, 1);
    assert_who(&f, 110, "0000000001");
    g_assert_cmpint(f.core->vcpu[0].preempted, ==, 0);
    fake_free(&f);
    init(&f, 2, 1);
    start_all(&f);
    assert_who(&f, 10, "0");
    hint(&f, VSCHED_HINT_SENT, 1, VSCHED_NONE);
    assert_who(&f, 110, "0000000001");
    fake_free(&f);
}

static void test_two_are_urgent(void)
{
    Fake f;

    /*
     * 2 is urgent from 20 on, but 1 is already: its run lasts until 30, though
     * it took its interrupt at 20.  Then 2, until 50.  0 has 90 left, until
     * 140, 1 and 2 have 80.
     */
    init(&f, 3, 1);
    start_all(&f);
    assert_who(&f, 10, "0");
    sent(&f, 1);
    assert_who(&f, 20, "1");
    taken(&f, 1);
    sent(&f, 2);
    assert_who(&f, 40, "12");
    taken(&f, 2);
    assert_who(&f, 320, "2" "000000000" "11111111" "22222222" "00");
    fake_free(&f);

    /* One that runs in its turn and has an interrupt to take is let alone. */
    init(&f, 2, 1);
    start_all(&f);
    assert_who(&f, 10, "0");
    sent(&f, 0);
    sent(&f, 1);
    assert_who(&f, 120, "00000000011");
    g_assert_cmpint(f.core->vcpu[0].preempted, ==, 0);
    fake_free(&f);
}

static void test_turns_stay(void)
{
    Fake f;

    /*
     * PCPU 1 goes off while 1 waits for it, preempted, and 3 has an urgent run:
     * on PCPU 0, where 0 runs and 2 waits, they stand where their turns are.
     */
    init(&f, 4, 2);
    start_all(&f);
    assert_who(&f, 10, "1");
    sent(&f, 3);
    assert_who(&f, 20, "3");
    taken(&f, 3);
    set_online(&f, 1);
    g_array_set_size(f.world.log, 0);
    fake_drive(&f, 400);
    for (guint i = 0; i < f.world.log->len; i++) {
        /* 0 until 100, 1 has 90, 2 has 100, 3, which was evicted, has 90 */
        static const int expected[] = { 0, 1, 2, 3 };
        int at = i * 10 + 20;

        g_assert_cmpint(g_array_index(f.world.log, Executed, i).vcpu, ==,
                        expected[at < 100 ? 0 : at < 190 ? 1 : at < 290 ? 2 :
                                 at < 380 ? 3 : 0]);
    }
    fake_free(&f);
}

static void test_taken_over(void)
{
    Fake f;

    /*
     * 0 has used 30 of 100 under "timeslice", and is preempted for 1 at once:
     * 70 are left, of which it uses 10 until it is preempted again.
     */
    init(&f, 2, 1);
    set_policy(&f, &vsched_policy_timeslice, 100);
    start_all(&f);
    assert_who(&f, 30, "000");
    set_policy(&f, &vsched_policy_urgent, 100);
    sent(&f, 1);
    assert_who(&f, 40, "1");
    taken(&f, 1);
    assert_who(&f, 60, "10");
    sent(&f, 1);
    assert_who(&f, 70, "1");
    taken(&f, 1);
    assert_who(&f, 210, "1" "000000" "111111" "0");
    fake_free(&f);
}

static void test_refusals(void)
{
    int64_t values[] = { 100, 101, 8, 1000 };
    char *why = NULL;
    Fake f;

    init(&f, 2, 1);
    refused(vsched_core_set_policy(f.core, &vsched_policy_urgent, values, &why),
            &why, "burst is 101 cycles, slice 100");
    refused(f.core->ops->set(f.core->policy, values, &why), &why,
            "cannot be longer than a timeslice");
    values[1] = 100;
    must(f.core->ops->set(f.core->policy, values, &why), &why);
    fake_free(&f);
}

static void seldom(Fake *f)
{
    fake_set(f, "limit", 1);
}

static void test_mixed(void)
{
    fake_mixed(&vsched_policy_urgent, NULL);
    fake_mixed(&vsched_policy_urgent, seldom);
}

static void test_impossible_states(void)
{
    const VschedPolicyOps *ops = &vsched_policy_urgent;
    GArray *words = g_array_new(false, false, sizeof(int64_t));
    int64_t *w;
    int turns, n;
    Fake f;

    init(&f, 3, 2);
    start_all(&f);
    windows(&f, 3);
    ops->save(f.core->policy, words);
    w = (int64_t *)words->data;
    n = words->len;
    turns = 1 + w[0];
    g_assert_cmpint(n, ==, turns + 1 + 3 * 3 + 2 * 3);
    g_assert_true(ops->load(f.core->policy, w, n));
    g_assert_false(ops->load(f.core->policy, w, n - 1));
#define IMPOSSIBLE(i, value)                                            \
    do {                                                                \
        int64_t was = w[i];                                             \
        w[i] = value;                                                   \
        g_assert_false(ops->load(f.core->policy, w, n));                \
        w[i] = was;                                                     \
    } while (0)
    IMPOSSIBLE(0, 2);                   /* one waits: 2 */
    IMPOSSIBLE(turns, -1);
    IMPOSSIBLE(turns + 1, 1000);        /* a turn that was not given yet */
    IMPOSSIBLE(turns + 3, 2);           /* urgent */
    IMPOSSIBLE(turns + 8, 0);           /* it waits, with nothing left */
    IMPOSSIBLE(turns + 10, 2);          /* urgent_run */
    IMPOSSIBLE(turns + 11, INT64_MAX);  /* period_start */
    IMPOSSIBLE(turns + 12, -1);         /* urgent_runs */
#undef IMPOSSIBLE
    g_assert_true(ops->load(f.core->policy, w, n));
    g_array_free(words, true);
    fake_free(&f);
}

static void test_longest_wait(void)
{
    Fake f;

    /*
     * F = 2 x 100000 + 3 x 554 + 1000 = 202662, U = 8 x (20000 + 1108) =
     * 168864, T - U = 831136.  F + 2 x U = 540390 is less than T - U: one
     * period more, 540390 + 168864.
     */
    fake_init(&f, 24, 8, 1000, 554, &vsched_policy_urgent, 100000);
    g_assert_cmpint(longest_wait(&f), ==, 709254);
    /* U = 40 x 21108 = 844320, T - U = 155680: 1891302 is 13 of these */
    fake_set(&f, "limit", 40);
    g_assert_cmpint(longest_wait(&f), ==, 1891302 + 13 * 844320);
    /* U = 48 x 21108 is more than a period. */
    fake_set(&f, "limit", 48);
    g_assert_cmpint(longest_wait(&f), ==, INT64_MAX);
    fake_set(&f, "limit", 0);
    g_assert_cmpint(longest_wait(&f), ==, 202662);
    fake_free(&f);
    /* Alone: 554 + 1000 */
    fake_init(&f, 8, 8, 1000, 554, &vsched_policy_urgent, 100000);
    g_assert_cmpint(longest_wait(&f), ==, 1554);
    fake_free(&f);

    /*
     * Without a bound: 1 and 2 are urgent for ever, and 0 waits for ever.  They
     * take turns: 100 each, in runs of 30, 30, 30 and 10.
     */
    init(&f, 3, 1);
    fake_set(&f, "burst", 30);
    fake_set(&f, "limit", 1000000);
    start_all(&f);
    assert_who(&f, 10, "0");
    sent(&f, 1);
    sent(&f, 2);
    assert_who(&f, 410, "1111111111" "2222222222" "1111111111" "2222222222");
    taken(&f, 2);
    assert_who(&f, 510, "1111111111");
    taken(&f, 1);
    assert_who(&f, 600, "000000000");   /* at last, the 90 that it had left */
    fake_free(&f);
}

/* The longest wait at the limit of urgent runs is within the bound. */
static void test_bound_holds(void)
{
    int64_t bound;
    Fake f;

    for (int limit = 1; limit <= 20; limit++) {
        fake_init(&f, 4, 1, 10, 3, &vsched_policy_urgent, 100);
        fake_set(&f, "limit", limit);
        all_run(&f, tens);
        for (int i = 0; i < 2000; i++) {
            sent(&f, hash(limit, i, 1) % 3);    /* never 3 */
            windows(&f, 1);
        }
        bound = longest_wait(&f);
        g_assert_cmpint(bound, <, INT64_MAX);
        g_assert_cmpint(f.longest_wait, <=, bound);
        g_assert_cmpint(f.longest_wait, >, 300);
        fake_free(&f);
    }
}

/* A cycle at which 0 has come through its program, on PCPU 0 alone. */
static int64_t through(const VschedPolicyOps *ops, const Block *program,
                       const Block *other)
{
    int64_t time = 0;
    Fake f;

    fake_init(&f, 3, 2, 10, 0, ops, 100);
    set_affinity(&f, 2, 2);
    f.world.program[0] = program;
    f.world.program[1] = tens;
    f.world.program[2] = other;
    start_all(&f);
    while (!f.world.rounds[0]) {
        fake_drive(&f, time += 10);
    }
    fake_free(&f);
    return time;
}

static void test_urgent_and_timeslice(void)
{
    /*
     * 0 calls 2, which waits behind 1.  "timeslice" has 2 take the call at 100,
     * when the slice of 1 is over, in a window in which PCPU 0 is first: 0
     * finds that at 120 and stops at 130.  "urgent": see test_other_pcpu().
     */
    g_assert_cmpint(through(&vsched_policy_timeslice, calls_2, tens), ==, 130);
    g_assert_cmpint(through(&vsched_policy_urgent, calls_2, tens), ==, 50);
    /* A lock that 2 holds: nobody is interrupted, so nothing is gained. */
    g_assert_cmpint(through(&vsched_policy_timeslice, waits, signals), ==, 130);
    g_assert_cmpint(through(&vsched_policy_urgent, waits, signals), ==, 130);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/urgent/other-pcpu", test_other_pcpu);
    g_test_add_func("/urgent/same-pcpu", test_same_pcpu);
    g_test_add_func("/urgent/limit", test_limit);
    g_test_add_func("/urgent/two", test_two_are_urgent);
    g_test_add_func("/urgent/turns", test_turns_stay);
    g_test_add_func("/urgent/taken-over", test_taken_over);
    g_test_add_func("/urgent/refusals", test_refusals);
    g_test_add_func("/urgent/mixed", test_mixed);
    g_test_add_func("/urgent/impossible", test_impossible_states);
    g_test_add_func("/urgent/longest-wait", test_longest_wait);
    g_test_add_func("/urgent/bound", test_bound_holds);
    g_test_add_func("/urgent/timeslice", test_urgent_and_timeslice);
    return g_test_run();
}
