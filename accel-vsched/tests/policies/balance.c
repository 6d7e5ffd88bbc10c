/*
 * Policy "balance": traces worked by hand.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "../fake-host.h"

static const Block tens[] = { { 10 }, { } };

static int place(Fake *f, int vcpu)
{
    return f->core->ops->place(f->core->policy, vcpu);
}

static void test_balance(void)
{
    static const int pairs[] = { 0, 1, 0, 1 }, one_and_three[] = { 0, 1, 0, 0 };
    Fake f;

    /*
     * VCPUs 0 and 2 are one VM, 1 and 3 the other; windows and blocks of 10,
     * slices of 20.  0 joins queue 0 and 1 the shorter queue 1; 2 finds 0 in
     * queue 0 and joins queue 1; 3 finds 1 in queue 1 and joins queue 0.
     * "timeslice" would have put 2 behind 0 and 3 behind 1.  At 20 and 40 each
     * finds its sibling in the other queue, and goes to the end of its own.
     */
    fake_init_vms(&f, 4, pairs, 2, 10, 0, &vsched_policy_balance, 20);
    all_run(&f, tens);
    windows(&f, 5);
    assert_log(&f, "0:0@0 1:1@0 1:1@10 0:0@10 0:3@20 1:2@20 1:2@30 0:3@30 "
                   "0:0@40 1:1@40");
    assert_sums(&f);
    fake_free(&f);

    /*
     * 0, 2 and 3 are one VM: 2 joins queue 1, though it is as long as queue 0;
     * 3 finds a sibling in both, and joins queue 0, which is shorter.
     */
    fake_init_vms(&f, 4, one_and_three, 2, 10, 0, &vsched_policy_balance, 20);
    all_run(&f, tens);
    g_assert_cmpint(place(&f, 0), ==, 0);
    g_assert_cmpint(place(&f, 1), ==, 1);
    g_assert_cmpint(place(&f, 2), ==, 1);
    g_assert_cmpint(place(&f, 3), ==, 0);
    /* PCPU 0 goes off: 0 and 3 wait behind those that waited as long. */
    set_online(&f, 2);
    windows(&f, 8);
    assert_log(&f, "1:1@0 1:1@10 1:2@20 1:2@30 1:0@40 1:0@50 1:3@60 1:3@70");
    fake_free(&f);

    /* Of empty queues it takes the one that it was in last. */
    fake_init(&f, 1, 2, 10, 0, &vsched_policy_balance, 20);
    all_run(&f, tens);
    g_assert_cmpint(place(&f, 0), ==, 0);
    set_affinity(&f, 0, 2);
    windows(&f, 1);
    set_affinity(&f, 0, 3);
    windows(&f, 4);
    assert_log(&f, "1:0@0 1:0@10 1:0@20 1:0@30 1:0@40");
    g_assert_cmpint(longest_wait(&f), ==, 10);
    fake_free(&f);

    /* 23 x (100000 + 554 + 1000) + 554 + 1000 */
    fake_init(&f, 24, 8, 1000, 554, &vsched_policy_balance, 100000);
    g_assert_cmpint(longest_wait(&f), ==, 2337296);
    fake_free(&f);
}

/* Cycles in which PCPUs were busy, of 2 for 1000, with @program on 0 and 2. */
static int64_t work_done(const VschedPolicyOps *ops, const Block *others)
{
    int64_t busy;
    Fake f;

    fake_init(&f, 4, 2, 10, 0, ops, 20);
    f.world.program[0] = f.world.program[2] = tens;
    f.world.program[1] = f.world.program[3] = others;
    start_all(&f);
    windows(&f, 100);
    busy = f.core->pcpu[0].busy + f.core->pcpu[1].busy;
    fake_free(&f);
    return busy;
}

static void test_balance_and_timeslice(void)
{
    static const Block once[] = { { 10, STOP }, { } };

    /*
     * 1 and 3, of the second PCPU, stop after 10 cycles each.  A static map
     * leaves that PCPU idle then; "balance" moves 0 or 2 there at 20, when the
     * first slice is over.  PCPU 1 has executed 20 cycles by then in both.
     */
    g_assert_cmpint(work_done(&vsched_policy_timeslice, once), ==, 1000 + 20);
    g_assert_cmpint(work_done(&vsched_policy_balance, once), ==, 2000);
    /* Nothing is gained where all PCPUs have enough to do. */
    g_assert_cmpint(work_done(&vsched_policy_timeslice, tens), ==, 2000);
    g_assert_cmpint(work_done(&vsched_policy_balance, tens), ==, 2000);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/balance/trace", test_balance);
    g_test_add_func("/balance/timeslice", test_balance_and_timeslice);
    return g_test_run();
}
