/*
 * Policy "spread": traces worked by hand, and its rules at random.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "../../state.h"
#include "../fake-host.h"

static const Block kernel[] = { { 10 }, { } };
static const Block user[] = { { 10, .mode = USER }, { } };
static const Block both[] = { { 10, .mode = USER }, { 10 }, { } };

/* "user/OS ..." core of each VCPU */
static void assert_map(Fake *f, const char *expected)
{
    g_autoptr(GString) s = g_string_new(NULL);

    for (int v = 0; v < f->world.vcpus; v++) {
        int core[2];

        for (int i = 0; i < 2; i++) {
            f->world.mode[v] = i ? KERNEL : USER;
            core[i] = f->core->ops->place(f->core->policy, v);
        }
        g_string_append_printf(s, "%s%d/%d", v ? " " : "", core[0], core[1]);
    }
    g_assert_cmpstr(s->str, ==, expected);
}

static void test_map(void)
{
    char *why = NULL;
    Fake f;

    /* 0 and 1 are user cores, 2 and 3 OS cores; VCPU 4 is the fifth */
    fake_init(&f, 5, 4, 10, 0, &vsched_policy_spread, 20);
    assert_map(&f, "0/2 1/3 0/2 1/3 0/2");
    fake_set(&f, "privileged", 1);
    assert_map(&f, "0/3 1/3 2/3 0/3 1/3");
    fake_set(&f, "privileged", 3);
    assert_map(&f, "0/1 0/2 0/3 0/1 0/2");
    /* 0 and 2 are on: one OS core at most, as one has to be a user core */
    set_online(&f, 5);
    assert_map(&f, "0/2 0/2 0/2 0/2 0/2");
    /* One of three, rounded down: 0 and 1 are for users, 3 is not */
    fake_set(&f, "privileged", 0);
    set_online(&f, 0xb);
    assert_map(&f, "0/3 1/3 0/3 1/3 0/3");
    /* One alone: there are no kinds */
    set_online(&f, 4);
    assert_map(&f, "2/2 2/2 2/2 2/2 2/2");

    /*
     * VCPU 0 may run on user cores only, 1 on OS cores only, 2 on one of each,
     * 3 on two user cores and one OS core, of which it takes the second and
     * the only one.
     */
    set_online(&f, 15);
    set_affinity(&f, 0, 3);
    set_affinity(&f, 1, 12);
    set_affinity(&f, 2, 9);
    set_affinity(&f, 3, 7);
    assert_map(&f, "0/0 3/3 0/3 1/2 0/2");

    f.values[1] = 4;
    refused(f.core->ops->set(f.core->policy, f.values, &why), &why,
            "privileged=4 leaves no PCPU for user code: allowed are 0 to 3");
    refused(vsched_core_set_policy(f.core, f.core->ops, f.values, &why), &why,
            "allowed are 0 to 3");
    assert_map(&f, "0/0 3/3 0/3 1/2 0/2");
    fake_free(&f);
}

static void test_modes(void)
{
    Fake f;

    /*
     * PCPU 0 is the user core, PCPU 1 the OS core; windows and blocks of 10.
     * Nothing has been executed yet, so that the VCPU counts as privileged, and
     * PCPU 1 takes it.  It comes to user code at once and moves to PCPU 0,
     * whose turn in the window is over: 10.  From then on the PCPU that it
     * leaves is always the one whose turn comes first.
     */
    fake_init(&f, 1, 2, 10, 0, &vsched_policy_spread, 100);
    all_run(&f, both);
    windows(&f, 5);
    assert_log(&f, "0:0@10 1:0@20 0:0@30 1:0@40");
    g_assert_cmpint(f.core->vcpu[0].ended_by_hint, ==, 4);
    g_assert_cmpint(f.core->vcpu[0].migrations, ==, 4);
    assert_sums(&f);
    fake_free(&f);

    /* Nobody is in user mode: first come, first served on the OS core. */
    fake_init(&f, 3, 2, 10, 0, &vsched_policy_spread, 20);
    all_run(&f, kernel);
    windows(&f, 7);
    assert_log(&f, "1:0@0 1:0@10 1:1@20 1:1@30 1:2@40 1:2@50 1:0@60");
    assert_sums(&f);
    fake_free(&f);

    /* VCPU 0 may not run on the OS core: it does not move. */
    fake_init(&f, 1, 2, 10, 0, &vsched_policy_spread, 100);
    set_affinity(&f, 0, 1);
    all_run(&f, both);
    windows(&f, 3);
    assert_log(&f, "0:0@0 0:0@10 0:0@20");
    g_assert_cmpint(f.core->vcpu[0].ended_by_hint, ==, 0);
    fake_free(&f);
}

static void test_windows_at_once(void)
{
    static const Block both[] = {
        { 50 }, { 50 }, { 50 }, { 40 }, { 30, .mode = USER }, { 30, STOP }, { }
    };

    /*
     * Windows of 100.  At 190 user code comes next, which has room in the
     * window from 200 on only: PCPU 1 leaves it to PCPU 0 there, whose turn is
     * first, and which takes it in the next one.  So it is, too, when PCPU 1
     * has several windows to itself.
     */
    for (int merge = 0; merge < 2; merge++) {
        Fake f;

        fake_init(&f, 1, 2, 100, 0, &vsched_policy_spread, 1000);
        f.merge = merge;
        all_run(&f, both);
        fake_drive(&f, 400);
        assert_log(&f, "1:0@0 1:0@50 1:0@100 1:0@150 0:0@300");
        fake_free(&f);
    }
}

static void test_changed(void)
{
    Fake f;

    /*
     * OS cores are 2 and 3: 0 and 2 belong to PCPU 2, 1 to PCPU 3.  At 10 PCPU
     * 2 is made a user core: 0, which runs there, is preempted, and waits for
     * PCPU 3, behind 2, which has waited since 0.
     */
    fake_init(&f, 3, 4, 10, 0, &vsched_policy_spread, 20);
    all_run(&f, kernel);
    windows(&f, 1);
    assert_log(&f, "2:0@0 3:1@0");
    fake_set(&f, "privileged", 1);
    windows(&f, 6);
    /* In the window from 10 on PCPU 1 is first, then 2, which 0 leaves, 3 */
    assert_log(&f, "3:1@10 3:2@20 3:2@30 3:0@40 3:0@50 3:1@60");
    g_assert_cmpint(f.core->vcpu[0].preempted, ==, 1);

    /* PCPU 3 goes off: PCPU 2 is the OS core now. */
    set_online(&f, 7);
    windows(&f, 3);
    assert_log(&f, "2:2@70 2:2@80 2:0@90");
    g_assert_cmpint(f.core->vcpu[1].evicted, ==, 1);
    assert_sums(&f);
    fake_free(&f);
}

static void test_stay(void)
{
    Fake f;

    /*
     * It has not moved before 35.  At 40 it comes to user code and moves; at 60
     * that is 20 ago, and it stays on PCPU 0, at 80 it is 40 ago.
     */
    fake_init(&f, 1, 2, 10, 0, &vsched_policy_spread, 100);
    fake_set(&f, "stay", 35);
    all_run(&f, both);
    windows(&f, 10);
    assert_log(&f, "1:0@0 1:0@10 1:0@20 1:0@30 0:0@50 0:0@60 0:0@70 1:0@80 "
                   "1:0@90");
    fake_free(&f);

    /* As long ago as "stay" is long enough: at 40 again. */
    fake_init(&f, 1, 2, 10, 0, &vsched_policy_spread, 100);
    fake_set(&f, "stay", 40);
    all_run(&f, both);
    windows(&f, 6);
    assert_log(&f, "1:0@0 1:0@10 1:0@20 1:0@30 0:0@50");
    fake_free(&f);

    /*
     * User code alone, on PCPU 1, where it began: it goes to PCPU 0 when its
     * timeslice of 20 is over, and is taken up in the next window.
     */
    fake_init(&f, 1, 2, 10, 0, &vsched_policy_spread, 20);
    fake_set(&f, "stay", 1000);
    all_run(&f, user);
    windows(&f, 5);
    assert_log(&f, "1:0@0 1:0@10 0:0@30 0:0@40");
    fake_free(&f);
}

static void test_longest_wait(void)
{
    Fake f;

    /*
     * 24 VCPUs on 4 user cores and 4 OS cores, 6 on each:
     * 5 x (100000 + 554 + 1000) + 554 + 2 x 1000
     */
    fake_init(&f, 24, 8, 1000, 554, &vsched_policy_spread, 100000);
    g_assert_cmpint(longest_wait(&f), ==, 510324);
    /* 2 OS cores have 12 each: 11 x 101554 + 2554 */
    fake_set(&f, "privileged", 2);
    g_assert_cmpint(longest_wait(&f), ==, 1119648);
    /* One alone is on: 23 x 101554 + 2554 */
    set_online(&f, 1);
    g_assert_cmpint(longest_wait(&f), ==, 2338296);
    fake_free(&f);
}

/* What waits, runs and moved is saved, and what cannot be so is refused. */
static void test_save(void)
{
    Fake f, copy;
    g_autoptr(GArray) words = g_array_new(false, false, sizeof(int64_t));
    VschedCoreState *state;
    char *why = NULL;
    int64_t *word;

    /* As in test_stay(), but for a second VCPU, which waits; loaded at 70 */
    fake_init(&f, 2, 2, 10, 0, &vsched_policy_spread, 100);
    fake_set(&f, "stay", 35);
    f.world.program[0] = both;
    f.world.program[1] = kernel;
    start_all(&f);
    windows(&f, 7);
    /*
     * At 40, VCPU 1 takes PCPU 1, and has it alone: VCPU 0 moves to PCPU 0 in
     * the window from 40 to 50, and stays there at 60.
     */
    assert_log(&f, "1:0@0 1:0@10 1:0@20 1:0@30 1:1@40 1:1@50 0:0@50 0:0@60 "
                   "1:1@60");
    f.core->ops->save(f.core->policy, words);
    g_assert_cmpint(words->len, ==, 1 + 2);         /* nobody waits */
    word = (int64_t *)words->data;
    g_assert_cmpint(word[1], ==, 40);
    g_assert_cmpint(word[2], ==, 0);

    fake_init(&copy, 2, 2, 10, 0, &vsched_policy_spread, 100);
    fake_set(&copy, "stay", 35);
    g_array_free(copy.world.log, true);
    copy.world = f.world;
    copy.world.log = g_array_new(false, false, sizeof(Executed));
    state = vsched_state_new(f.core);
    must(vsched_state_load(copy.core, state, f.core->ops, copy.values, word, 3,
                           true, &why), &why);
    windows(&f, 3);
    windows(&copy, 3);
    /* At 80 it moves, behind VCPU 1, which runs until 140. */
    assert_log(&f, "1:1@70 0:0@70 1:1@80 1:1@90");
    assert_log(&copy, "1:1@70 0:0@70 1:1@80 1:1@90");

#define IMPOSSIBLE(change, n)                                               \
    do {                                                                    \
        int64_t old[3];                                                     \
                                                                            \
        memcpy(old, word, sizeof(old));                                     \
        change;                                                             \
        refused(vsched_state_load(copy.core, state, f.core->ops, f.values,  \
                                  word, n, true, &why), &why, "'spread'");  \
        memcpy(word, old, sizeof(old));                                     \
    } while (0)
    IMPOSSIBLE((void)0, 2);
    IMPOSSIBLE(word[0] = 1, 3);                     /* nobody waits */
    IMPOSSIBLE(word[1] = -1, 3);
    IMPOSSIBLE(word[1] = 71, 3);                    /* it has come to 70 */
#undef IMPOSSIBLE
    vsched_state_free(state);
    fake_free(&copy);

    /* VCPU 0 waits now; under other kinds it may have to wait elsewhere. */
    g_array_set_size(words, 0);
    f.core->ops->save(f.core->policy, words);
    word = (int64_t *)words->data;
    g_assert_cmpint(words->len, ==, 2 + 2);
    g_assert_cmpint(word[1], ==, (int64_t)1 << 32); /* for PCPU 1 */
    word[1] = 0;
    g_assert_true(f.core->ops->load(f.core->policy, word, 4));
    g_assert_cmpint(f.core->ops->place(f.core->policy, 0), ==, 0);
    f.core->topology.allowed[0] = 1;
    word[1] = (int64_t)1 << 32;
    g_assert_false(f.core->ops->load(f.core->policy, word, 4));
    fake_free(&f);
}

/* Each block is executed on a core of its mode, whatever else happens. */
static void test_kinds_at_random(void)
{
    for (int seed = 1; seed < 60; seed++) {
        int pcpus = 2 + seed % 7, os = seed % pcpus;
        int moved[2] = { 0, 0 };
        Fake f;

        fake_init(&f, 1 + seed % 11, pcpus, 100, seed % 40,
                  &vsched_policy_spread, 500);
        f.world.seed = seed;
        f.merge = seed % 2;
        f.core->jitter = seed % 3;
        fake_set(&f, "privileged", os);
        start_all(&f);
        fake_drive(&f, 100000);
        os = os ?: pcpus / 2;
        for (guint i = 0; i < f.world.log->len; i++) {
            Executed *x = &g_array_index(f.world.log, Executed, i);
            bool in_user = random_block(&f.world, x->vcpu, x->block).mode ==
                           USER;

            g_assert_cmpint(x->pcpu, ==,
                            in_user ? x->vcpu % (pcpus - os) :
                            pcpus - os + x->vcpu % os);
            moved[in_user]++;
        }
        g_assert_cmpint(moved[true], >, 0);
        g_assert_cmpint(moved[false], >, 0);
        g_assert_cmpint(f.longest_wait, <=, longest_wait(&f));
        fake_free(&f);
    }
}

/*
 * Times that a PCPU goes from user code to privileged code or back, and would
 * have to fill its caches anew; and cycles in which PCPUs were busy, of 2000.
 */
static void refills(const VschedPolicyOps *ops, int *times, int64_t *busy)
{
    int last[2] = { VSCHED_NONE, VSCHED_NONE };
    Fake f;

    fake_init(&f, 2, 2, 10, 0, ops, 100);
    all_run(&f, both);
    windows(&f, 100);
    *times = 0;
    for (guint i = 0; i < f.world.log->len; i++) {
        Executed *x = &g_array_index(f.world.log, Executed, i);
        int mode = both[x->block % 2].mode;

        *times += last[x->pcpu] != VSCHED_NONE && last[x->pcpu] != mode;
        last[x->pcpu] = mode;
    }
    *busy = f.core->pcpu[0].busy + f.core->pcpu[1].busy;
    fake_free(&f);
}

static void test_spread_and_timeslice(void)
{
    int times;
    int64_t busy;

    /* 100 blocks on each PCPU, each of another kind than the one before */
    refills(&vsched_policy_timeslice, &times, &busy);
    g_assert_cmpint(times, ==, 2 * 99);
    g_assert_cmpint(busy, ==, 2000);

    /*
     * Each PCPU has code of one kind.  But two VCPUs that change their mode
     * every 10 cycles get in each other's way.  From 20 on (U: user core, PCPU
     * 0; O: OS core, PCPU 1; the PCPU whose turn is first stands first):
     *
     *     20   U 1 (0 has left)           O 0
     *     30   O -  (0 has left)          U 0 (1 has left, too late for O)
     *     40   U -  (0 has left)          O 1 (0 is behind it)
     *     50   O 0 (1 has left)           U 1
     *     60   U -  (1 has left)          O 1 (0 has left, too late for U)
     *     70   O -  (1 has left)          U 0 (1 is behind it)
     *     80   as at 20
     *
     * These are 8 blocks in 60 cycles: 128 until 980, 3 after that, and one at
     * 10, when VCPU 0 has found its way to the user core.
     */
    refills(&vsched_policy_spread, &times, &busy);
    g_assert_cmpint(times, ==, 0);
    g_assert_cmpint(busy, ==, 1320);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/spread/map", test_map);
    g_test_add_func("/spread/modes", test_modes);
    g_test_add_func("/spread/at-once", test_windows_at_once);
    g_test_add_func("/spread/changed", test_changed);
    g_test_add_func("/spread/stay", test_stay);
    g_test_add_func("/spread/longest-wait", test_longest_wait);
    g_test_add_func("/spread/save", test_save);
    g_test_add_func("/spread/kinds", test_kinds_at_random);
    g_test_add_func("/spread/timeslice", test_spread_and_timeslice);
    return g_test_run();
}
