/*
 * Policy "gang": traces worked by hand.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "../../state.h"
#include "../fake-host.h"

static const Block tens[] = { { 10 }, { } };
static const Block once[] = { { 10, STOP }, { } };
static const Block idles[] = { { 10, .mode = IDLE }, { } };

static const int pairs[] = { 0, 0, 1, 1 };
static const int pairs_and_one[] = { 0, 0, 1, 1, 2 };

static int place(Fake *f, int vcpu)
{
    return f->core->ops->place(f->core->policy, vcpu);
}

static void fake_gang(Fake *f, int vcpus, const int *vm, int pcpus,
                      int64_t slice)
{
    fake_init_vms(f, vcpus, vm, pcpus, 10, 0, &vsched_policy_gang, slice);
    f->knows_idle_loop = true;
}

static void test_two_vms(void)
{
    static const Block fives[] = { { 5 }, { } };
    Fake f;

    /* Turns of 20: 0 and 1, then 2 and 3. */
    fake_gang(&f, 4, pairs, 2, 20);
    all_run(&f, tens);
    windows(&f, 5);
    assert_log(&f, "0:0@0 1:1@0 1:1@10 0:0@10 0:2@20 1:3@20 1:3@30 0:2@30 "
                   "0:0@40 1:1@40");
    assert_sums(&f);
    fake_free(&f);

    /*
     * A switch costs 5: 0 and 1 have started at 5, so that the turn is over at
     * 25, and ends at 30.
     */
    fake_init_vms(&f, 4, pairs, 2, 10, 5, &vsched_policy_gang, 20);
    all_run(&f, fives);
    windows(&f, 4);
    assert_log(&f, "0:0@5 1:1@5 1:1@10 1:1@15 0:0@10 0:0@15 "
                   "0:0@20 0:0@25 1:1@20 1:1@25 1:3@35 0:2@35");
    fake_free(&f);

    /* A turn of 25 ends at 30. */
    fake_gang(&f, 4, pairs, 2, 25);
    all_run(&f, tens);
    windows(&f, 4);
    assert_log(&f, "0:0@0 1:1@0 1:1@10 0:0@10 0:0@20 1:1@20 1:3@30 0:2@30");
    fake_free(&f);
}

/* A turn waits until all have begun to run that were ready for it. */
static void test_stall(void)
{
    Fake f;

    /*
     * A stall keeps PCPU 1 busy until 40.  0 and 1 have their turn until 20, as
     * always; that of 2 and 3 is over 20 cycles after 3 has begun, at 60.
     */
    fake_gang(&f, 4, pairs, 2, 20);
    all_run(&f, tens);
    windows(&f, 1);
    f.core->pcpu[1].clock += 30;
    f.core->pcpu[1].stalled += 30;
    f.core->vcpu[1].seen += 30;
    windows(&f, 6);
    assert_log(&f, "0:0@0 1:1@0 0:0@10 0:2@20 0:2@30 0:2@40 1:3@40 "
                   "1:3@50 0:2@50 0:0@60 1:1@60");
    assert_sums(&f);
    fake_free(&f);
}

/* Neither jitter nor the phase of the first timeslice keeps PCPUs apart. */
static void test_exact(void)
{
    Fake f;

    fake_gang(&f, 4, pairs, 2, 6400);
    f.core->jitter = true;
    f.core->pcpu[0].phase = 0x3fffffff;
    f.core->pcpu[1].phase = 0x7fffffff;
    all_run(&f, tens);
    for (int i = 0; i < 20 * 640; i++) {
        windows(&f, 1);
        g_assert_cmpint(f.core->pcpu[0].current, ==, i / 640 % 2 * 2);
        g_assert_cmpint(f.core->pcpu[1].current, ==, i / 640 % 2 * 2 + 1);
    }
    fake_free(&f);
}

static void test_more_vcpus_than_pcpus(void)
{
    Fake f;

    /* One VM of 5 on 2 PCPUs: 0 and 1, 2 and 3, 4. */
    fake_gang(&f, 5, NULL, 2, 10);
    all_run(&f, tens);
    windows(&f, 4);
    assert_log(&f, "0:0@0 1:1@0 1:3@10 0:2@10 0:4@20 1:1@30 0:0@30");
    /* One PCPU: five gangs of one.  At 50 it is the turn of the third row. */
    windows(&f, 1);
    set_online(&f, 2);
    g_array_set_size(f.world.log, 0);
    windows(&f, 2);
    assert_log(&f, "1:2@50 1:3@60");
    /* At 70 it is the fifth row's, and then there are three: the last one's. */
    set_online(&f, 3);
    windows(&f, 2);
    assert_log(&f, "0:4@70 0:0@80 1:1@80");
    fake_free(&f);
}

static void test_rows(void)
{
    static const int vm[] = { 0, 0, 1, 1, 1, 1, 2, 2 };
    Fake f;

    /*
     * 4 PCPUs; VM 0 is in the first row, VM 1 needs one of its own, VM 2 fits
     * into the first again.
     */
    fake_gang(&f, 8, vm, 4, 20);
    all_run(&f, tens);
    windows(&f, 3);
    assert_log(&f, "0:0@0 1:1@0 2:6@0 3:7@0 1:1@10 2:6@10 3:7@10 0:0@10 "
                   "2:4@20 3:5@20 0:2@20 1:3@20");
    fake_free(&f);
}

static void test_masks(void)
{
    static const int one_vm[] = { 0, 0 };
    Fake f;

    /* 1 may run on PCPU 0 only, so that 0 has PCPU 1: one gang. */
    fake_gang(&f, 2, one_vm, 2, 20);
    set_affinity(&f, 1, 1);
    all_run(&f, tens);
    windows(&f, 3);
    assert_log(&f, "0:1@0 1:0@0 1:0@10 0:1@10 0:1@20 1:0@20");
    /*
     * Both may run on PCPU 0 only: two gangs.  It is the turn of the first, 0,
     * and 1 has to go at once.  The turn has lasted for 20 since 20, so that it
     * ends at the next boundary, 40.
     */
    set_affinity(&f, 0, 1);
    windows(&f, 5);
    assert_log(&f, "0:0@30 0:1@40 0:1@50 0:0@60 0:0@70");
    fake_free(&f);
}

static void test_handover(void)
{
    static const int crossed[] = { 0, 1, 1, 0 };
    Fake f;

    /*
     * "timeslice" runs 0 and 1 at the same time; from 10 on it is 0 and 3, one
     * gang.  Who has waited longest then is 2: from the next boundary on it is
     * the turn of the other gang.
     */
    fake_init_vms(&f, 4, crossed, 2, 10, 0, &vsched_policy_timeslice, 100);
    all_run(&f, tens);
    windows(&f, 1);
    set_policy(&f, &vsched_policy_gang, 20);
    windows(&f, 4);
    assert_log(&f, "0:0@0 1:1@0 1:3@10 0:0@10 0:1@20 1:2@20 1:2@30 0:1@30 "
                   "0:0@40 1:3@40");
    fake_free(&f);
}

static void test_blocked_without_skip_idle(void)
{
    Fake f;

    /* 1 stops at 10.  Its PCPU idles in its turns; when it wakes it runs. */
    fake_gang(&f, 4, pairs, 2, 30);
    all_run(&f, tens);
    f.world.program[1] = once;
    windows(&f, 2);
    f.world.program[1] = tens;
    interrupt(&f, 1);
    windows(&f, 1);
    assert_log(&f, "0:0@0 1:1@0 0:0@10 0:0@20 1:1@20");
    fake_free(&f);

    /*
     * 0 and 1 stop at 10: their turn lasts until 20 all the same.  From 40 on
     * theirs is passed over.  0 wakes at 60: the turn of 2 and 3 has been over
     * since 40, and ends at the next boundary, 70.
     */
    fake_gang(&f, 4, pairs, 2, 20);
    all_run(&f, once);
    f.world.program[2] = f.world.program[3] = tens;
    windows(&f, 6);
    f.world.program[0] = tens;
    interrupt(&f, 0);
    windows(&f, 2);
    assert_log(&f, "0:0@0 1:1@0 0:2@20 1:3@20 1:3@30 0:2@30 0:2@40 1:3@40 "
                   "1:3@50 0:2@50 0:2@60 1:3@60 0:0@70");
    fake_free(&f);
}

/* The turn of a row of which everybody is blocked does not come. */
static void test_passed_over(void)
{
    static const int three_pairs[] = { 0, 0, 1, 1, 2, 2 };
    Fake f;

    /* 2 and 3 never run. */
    fake_gang(&f, 6, three_pairs, 2, 10);
    for (int v = 0; v < 6; v++) {
        f.world.program[v] = tens;
        if (v < 2 || v > 3) {
            vsched_core_wake(f.core, v);
        }
    }
    windows(&f, 4);
    assert_log(&f, "0:0@0 1:1@0 1:5@10 0:4@10 0:0@20 1:1@20 1:5@30 0:4@30");
    fake_free(&f);

    /*
     * 4 is stopped at 20, before it has begun, and starts at 30: its turn is
     * from 20 to 40 all the same.
     */
    fake_gang(&f, 6, three_pairs, 2, 20);
    for (int v = 0; v < 6; v++) {
        f.world.program[v] = tens;
        if (v < 2 || v > 3) {
            vsched_core_wake(f.core, v);
        }
    }
    windows(&f, 2);
    vsched_core_block(f.core, 4);
    windows(&f, 1);
    vsched_core_wake(f.core, 4);
    windows(&f, 2);
    assert_log(&f, "0:0@0 1:1@0 1:1@10 0:0@10 1:5@20 1:5@30 0:4@30 "
                   "0:0@40 1:1@40");
    fake_free(&f);
}

static void test_blocked_are_skipped(void)
{
    Fake f;

    /*
     * 1 stops at 10.  2 and 3 would need both PCPUs; 4 needs one and has that
     * of 1.  1 wakes at 20 and has it back from 30 on.
     */
    fake_gang(&f, 5, pairs_and_one, 2, 40);
    fake_set(&f, "skip-idle", 1);
    all_run(&f, tens);
    f.world.program[1] = once;
    windows(&f, 2);
    f.world.program[1] = tens;
    interrupt(&f, 1);
    windows(&f, 3);
    assert_log(&f, "0:0@0 1:1@0 1:4@10 0:0@10 0:0@20 1:4@20 1:1@30 0:0@30 "
                   "0:2@40 1:3@40");
    fake_free(&f);

    /* As the detector "none" sees it nobody is idle, be it blocked or not. */
    fake_gang(&f, 5, pairs_and_one, 2, 40);
    fake_set(&f, "skip-idle", 1);
    fake_set(&f, "idle", VSCHED_IDLE_NONE);
    all_run(&f, tens);
    f.world.program[1] = once;
    windows(&f, 3);
    assert_log(&f, "0:0@0 1:1@0 0:0@10 0:0@20");
    fake_free(&f);
}

/* Columns that nobody has are for other gangs too, with skip-idle on. */
static void test_empty_columns(void)
{
    static const int vm[] = { 0, 0, 1, 1, 2, 3, 4, 4 };
    Fake f;

    /*
     * Rows of 3 PCPUs: 0, 1 and 4; 2, 3 and 5; 6 and 7.  4 is blocked.  In the
     * turn of the third row nobody has PCPU 2, and it idles; or 5 has it, not
     * 4, though the detector "none" does not call 4 idle.
     */
    for (int skip_idle = 0; skip_idle < 2; skip_idle++) {
        fake_gang(&f, 8, vm, 3, 10);
        fake_set(&f, "skip-idle", skip_idle);
        fake_set(&f, "idle", VSCHED_IDLE_NONE);
        for (int v = 0; v < 8; v++) {
            f.world.program[v] = tens;
            if (v != 4) {
                vsched_core_wake(f.core, v);
            }
        }
        windows(&f, 3);
        assert_log(&f, skip_idle ?
                   "0:0@0 1:1@0 1:3@10 2:5@10 0:2@10 2:5@20 0:6@20 1:7@20" :
                   "0:0@0 1:1@0 1:3@10 2:5@10 0:2@10 0:6@20 1:7@20");
        fake_free(&f);
    }
}

/* "Unless all non-idle VCPUs of VM B can be co-scheduled" */
static void test_never_fewer(void)
{
    Fake f;

    /*
     * 1 and 3 stop when they have run: 1 at 10, 3 at 50.  Until then 2 cannot
     * run on the PCPU of 1.  In the turn of 2, from 40 on, 0 has that of 3.  As
     * nobody waits any more, nothing changes at 80.
     */
    fake_gang(&f, 4, pairs, 2, 40);
    fake_set(&f, "skip-idle", 1);
    all_run(&f, tens);
    f.world.program[1] = f.world.program[3] = once;
    windows(&f, 9);
    assert_log(&f, "0:0@0 1:1@0 0:0@10 0:0@20 0:0@30 "
                   "0:2@40 1:3@40 1:0@50 0:2@50 0:2@60 1:0@60 1:0@70 0:2@70 "
                   "0:2@80 1:0@80");
    /*
     * 3 wakes at 90.  The turn of 2 and 3 is over, and that of 0 begins at 100:
     * there is no PCPU for 3, so 2 stops too.
     */
    f.world.program[3] = tens;
    interrupt(&f, 3);
    windows(&f, 2);
    assert_log(&f, "1:0@90 0:2@90 1:0@100");
    /* Nor does it run when skip-idle goes off.  Its turn comes at 140. */
    fake_set(&f, "skip-idle", 0);
    g_assert_cmpint(place(&f, 2), ==, VSCHED_NONE);
    windows(&f, 4);
    assert_log(&f, "1:0@110 1:0@120 1:0@130 0:2@140 1:3@140");
    fake_free(&f);
}

static void test_idle_are_skipped(void)
{
    Fake f;

    /*
     * 1 is in the idle loop.  In the first turn 4 has its PCPU from 10 on.  In
     * that of 4, from 40 on, 0 has the PCPU that is left, and keeps it in its
     * own, from 60 on.  1 runs for a window then, and is skipped again.
     */
    fake_gang(&f, 5, pairs_and_one, 2, 20);
    fake_set(&f, "skip-idle", 1);
    all_run(&f, tens);
    f.world.program[1] = idles;
    windows(&f, 8);
    assert_log(&f, "0:0@0 1:1@0 1:4@10 0:0@10 0:2@20 1:3@20 1:3@30 0:2@30 "
                   "0:4@40 1:0@40 1:0@50 0:4@50 0:1@60 1:0@60 1:0@70 0:4@70");
    fake_free(&f);

    /* It is not where VCPUs that are halted alone are idle. */
    fake_gang(&f, 5, pairs_and_one, 2, 20);
    fake_set(&f, "skip-idle", 1);
    fake_set(&f, "idle", VSCHED_IDLE_HALT);
    all_run(&f, tens);
    f.world.program[1] = idles;
    windows(&f, 2);
    assert_log(&f, "0:0@0 1:1@0 1:1@10 0:0@10");
    fake_free(&f);

    /* Nor where nobody else has a use for its PCPU. */
    fake_gang(&f, 4, pairs, 2, 20);
    fake_set(&f, "skip-idle", 1);
    all_run(&f, tens);
    f.world.program[1] = idles;
    windows(&f, 2);
    assert_log(&f, "0:0@0 1:1@0 1:1@10 0:0@10");
    fake_free(&f);

    /* An interrupt waits for it from 20 on: it has its PCPU back from 30 on. */
    fake_gang(&f, 5, pairs_and_one, 2, 100);
    fake_set(&f, "skip-idle", 1);
    all_run(&f, tens);
    f.world.program[1] = idles;
    windows(&f, 2);
    f.world.poked[1] = 1000;
    windows(&f, 3);
    assert_log(&f, "0:0@0 1:1@0 1:4@10 0:0@10 0:0@20 1:4@20 1:1@30 0:0@30 "
                   "0:0@40 1:1@40");
    fake_free(&f);

    /* A spin in the kernel is idle as the SDB sees it: 1 is skipped. */
    fake_gang(&f, 5, pairs_and_one, 2, 100);
    fake_set(&f, "skip-idle", 1);
    fake_set(&f, "idle", VSCHED_IDLE_SDB);
    all_run(&f, tens);
    windows(&f, 1);
    f.core->vcpu[1].spinning = true;
    windows(&f, 2);
    assert_log(&f, "0:0@0 1:1@0 1:1@10 0:0@10 0:0@20 1:4@20");
    fake_free(&f);
}

/* A PCPU that is taken is not changed for another one: its gang stops. */
static void test_others_stay(void)
{
    static const int vm[] = { 0, 0, 0, 1, 1, 1, 2, 2 };
    Fake f;

    /*
     * 3 PCPUs.  VM 0 has the first turn, VM 1 is next, then VM 2 with 6 and 7
     * on PCPUs 0 and 1.  Only 0, of PCPU 0, is not blocked of VM 0, and only 3
     * of VM 1: 3 has its column, PCPU 0, no more than 6 has, as 0 is there, and
     * takes PCPU 1; 6 and 7 would need two.  7 is blocked, too: 6 has PCPU 2.
     */
    fake_gang(&f, 8, vm, 3, 1000);
    fake_set(&f, "skip-idle", 1);
    for (int v = 0; v < 8; v++) {
        f.world.program[v] = tens;
    }
    vsched_core_wake(f.core, 0);
    vsched_core_wake(f.core, 3);
    vsched_core_wake(f.core, 6);
    windows(&f, 1);
    assert_log(&f, "0:0@0");
    windows(&f, 1);
    assert_log(&f, "1:3@10 2:6@10 0:0@10");
    /*
     * 1 wakes at 20; its column, PCPU 1, is where 3 runs.  At 30 it takes that.
     * 3 does not go to PCPU 2 in the same breath, since it runs until PCPU 1
     * lets it go: it stops, and 6 goes on.  From 40 on 3, whose VM comes first,
     * has PCPU 2.
     */
    interrupt(&f, 1);
    windows(&f, 3);
    assert_log(&f, "2:6@20 0:0@20 1:3@20 0:0@30 1:1@30 2:6@30 1:1@40 2:3@40 "
                   "0:0@40");
    fake_free(&f);
}

/* A gang that comes takes PCPUs where nobody runs first. */
static void test_others_are_left_alone(void)
{
    static const int vm[] = { 0, 0, 0, 1, 1, 1, 2, 2, 2 };
    Fake f;

    /*
     * 3 PCPUs, and only 0, of PCPU 0, and 7, of PCPU 1, are not blocked: 7 runs
     * on PCPU 1.  4, whose column that is and whose VM comes first, wakes at
     * 20.  At 30 it takes PCPU 2.
     */
    fake_gang(&f, 9, vm, 3, 1000);
    fake_set(&f, "skip-idle", 1);
    for (int v = 0; v < 9; v++) {
        f.world.program[v] = tens;
    }
    vsched_core_wake(f.core, 0);
    vsched_core_wake(f.core, 7);
    windows(&f, 2);
    interrupt(&f, 4);
    windows(&f, 2);
    assert_log(&f, "0:0@0 1:7@10 0:0@10 0:0@20 1:7@20 0:0@30 1:7@30 2:4@30");
    fake_free(&f);
}

static void test_longest_wait(void)
{
    static const int vm[] = { 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1 };
    Fake f;

    /* Two rows: 100000 + 2 * 554 + 1000, and 2 * 554 + 2 * 1000 */
    fake_init_vms(&f, 16, vm, 8, 1000, 554, &vsched_policy_gang, 100000);
    g_assert_cmpint(longest_wait(&f), ==, 102108 + 3108);
    fake_set(&f, "skip-idle", 1);
    g_assert_cmpint(longest_wait(&f), ==, 2 * 102108 + 3108);
    fake_free(&f);
    /* Three rows of a VM of 24; one row if there is a PCPU for each */
    fake_init(&f, 24, 8, 1000, 554, &vsched_policy_gang, 100000);
    g_assert_cmpint(longest_wait(&f), ==, 2 * 102108 + 3108);
    fake_free(&f);
    fake_init(&f, 24, 24, 1000, 554, &vsched_policy_gang, 100000);
    g_assert_cmpint(longest_wait(&f), ==, 3108);
    fake_free(&f);
}

/* How often in 1000 cycles a cross-call of 0 to 3, of VM 0, comes back. */
static int64_t calls_done(const VschedPolicyOps *ops)
{
    static const int crossed[] = { 0, 1, 1, 0 };
    static const Block calls[] = { { 10 }, { 10, CALL, 3 }, { } };
    int64_t rounds;
    Fake f;

    fake_init_vms(&f, 4, crossed, 2, 10, 0, ops, 100);
    for (int v = 0; v < 4; v++) {
        f.world.program[v] = v ? tens : calls;
    }
    start_all(&f);
    fake_drive(&f, 1000);
    rounds = f.world.rounds[0];
    fake_free(&f);
    return rounds;
}

/* Cycles that 2 PCPUs were busy in 1000; of each VM one VCPU stops at once. */
static int64_t work_done(const VschedPolicyOps *ops, bool skip_idle)
{
    int64_t busy;
    Fake f;

    fake_init_vms(&f, 4, pairs, 2, 10, 0, ops, 20);
    if (skip_idle) {
        fake_set(&f, "skip-idle", 1);
    }
    f.world.program[0] = f.world.program[3] = tens;
    f.world.program[1] = f.world.program[2] = once;
    start_all(&f);
    windows(&f, 100);
    busy = f.core->pcpu[0].busy + f.core->pcpu[1].busy;
    fake_free(&f);
    return busy;
}

static void test_gang_and_timeslice(void)
{
    /*
     * The turns of VM 0 are the even hundreds.  A round is 10 cycles of work,
     * 10 in which the call is sent, 10 until 3 has taken it and 10 in which 0
     * notices.  The first turn has two rounds; the call of the third is sent
     * at 90.  3 takes it at 200, and 0 notices until 220, which leaves two more
     * rounds.  So it is 2 + 3 + 2 + 3 + 2.
     */
    g_assert_cmpint(calls_done(&vsched_policy_gang), ==, 12);
    /*
     * Under "timeslice" 3 has the odd hundreds, when 0 does not run: one call
     * in two timeslices, the last one at 800.
     */
    g_assert_cmpint(calls_done(&vsched_policy_timeslice), ==, 4);
    /*
     * Half of the VCPUs are blocked, one of each PCPU.  "timeslice" has two
     * PCPUs for the other two, "gang" leaves one idle but for the 10 cycles
     * that each of 1 and 2 runs.
     */
    g_assert_cmpint(work_done(&vsched_policy_timeslice, false), ==, 2000);
    g_assert_cmpint(work_done(&vsched_policy_gang, false), ==, 1020);
    /* From 10 to 20 nobody has the PCPU of 1, as 2 has not stopped yet. */
    g_assert_cmpint(work_done(&vsched_policy_gang, true), ==, 1990);
}

/*
 * ------------------------------------------------------------------------
 * At random.
 */

static const Block sleeps[] = { { 30 }, { 20, HALT, 700 }, { } };
static const Block naps[] = { { 60 }, { 60 }, { 10, HALT, 90 }, { } };
static const Block idles_often[] = {
    { 30 }, { 30 }, { 30 }, { 20, .mode = IDLE }, { 20, .mode = IDLE },
    { 20, .mode = IDLE }, { 20, .mode = IDLE }, { }
};
static const Block *const programs[] = {
    NULL, tens, sleeps, naps, idles, idles_often
};

static void random_gang(Fake *f, uint32_t seed)
{
    int vcpus = 1 + hash(seed, 1, 0) % 24, pcpus = 1 + hash(seed, 2, 0) % 8;
    int vms = MIN(vcpus, 1 + hash(seed, 7, 0) % 5), vm[MANY];

    for (int v = 0; v < vcpus; v++) {
        vm[v] = v * vms / vcpus;
    }
    fake_init_vms(f, vcpus, vm, pcpus, 100 + hash(seed, 3, 0) % 300,
                  hash(seed, 4, 0) % 100, &vsched_policy_gang,
                  100 + hash(seed, 5, 0) % 3000);
    f->knows_idle_loop = seed % 4;
    fake_set(f, "skip-idle", seed % 5 > 0);
    fake_set(f, "idle", hash(seed, 6, 0) % 2 ? VSCHED_IDLE_AUTO :
                        hash(seed, 6, 0) % (VSCHED_IDLE_NONE + 1));
    f->world.seed = seed;
    f->core->jitter = seed % 3;
    for (int v = 0; v < vcpus; v++) {
        f->world.program[v] = programs[hash(seed, v, 10) %
                                       G_N_ELEMENTS(programs)];
    }
    start_all(f);
}

/* The same gang: of one VM, and of the same P VCPUs of it. */
static bool siblings(const Fake *f, int u, int v)
{
    const VschedTopology *t = &f->core->topology;
    int pcpus = __builtin_popcountll(t->online), first = 0;

    while (t->vm[first] != t->vm[u]) {
        first++;
    }
    return t->vm[u] == t->vm[v] && (u - first) / pcpus == (v - first) / pcpus;
}

static bool woken_or_blocked[MANY];     /* in this window, or at its end */

static void note_change(void *opaque, VschedEventKind kind, int pcpu, int vcpu,
                        int64_t other, int64_t now)
{
    if (kind == VSCHED_EVENT_BLOCK || kind == VSCHED_EVENT_WAKE) {
        woken_or_blocked[vcpu] = true;
    }
}

static void test_all_or_none(void)
{
    VschedHost host = fake_host;
    int64_t together = 0, apart = 0, others = 0;

    for (uint32_t seed = 1; seed <= 150; seed++) {
        Fake f;

        random_gang(&f, seed);
        host.event = note_change;
        f.core->host = &host;
        if (seed % 3 == 1 && f.core->topology.pcpus > 2) {
            set_online(&f, f.core->topology.online & ~2ull);
        }
        for (int i = 0; i < 500; i++) {
            VschedCore *core = f.core;
            const VschedServices *s = &core->services;
            int vcpus = core->topology.vcpus;
            bool wanted[MANY], runs[MANY];

            for (int v = 0; v < vcpus; v++) {
                wanted[v] = core->vcpu[v].state != VSCHED_BLOCKED &&
                            (!f.values[1] ||
                             !s->idle(s->engine, v, f.values[2]) ||
                             s->interrupt_pending(s->engine, v)) &&
                            !woken_or_blocked[v];
                woken_or_blocked[v] = false;
            }
            fake_drive(&f, core->window_end + core->window);
            for (int v = 0; v < vcpus; v++) {
                wanted[v] &= !woken_or_blocked[v];
                runs[v] = core->pcpu[core->vcpu[v].pcpu].current == v;
            }
            for (int v = 0; v < vcpus; v++) {
                for (int u = 0; u < v; u++) {
                    if (wanted[v] && wanted[u] && siblings(&f, u, v)) {
                        g_assert_true(runs[v] == runs[u]);
                        together += runs[v];
                        apart += !runs[v];
                    } else if (runs[u] && runs[v] && !siblings(&f, u, v)) {
                        others++;
                    }
                }
            }
        }
        fake_free(&f);
    }
    g_assert_cmpint(together, >, 10000);
    g_assert_cmpint(apart, >, 10000);
    g_assert_cmpint(others, >, 10000);
}

static void test_longest_wait_at_random(void)
{
    for (uint32_t seed = 1; seed <= 300; seed++) {
        Fake f;

        random_gang(&f, seed);
        f.merge = seed % 2;
        if (seed % 3 == 1) {
            set_affinity(&f, hash(seed, 2, 11) % f.core->topology.vcpus, 1);
        }
        fake_drive(&f, MIN(20 * longest_wait(&f), 300000));
        g_assert_cmpint(f.longest_wait, <=, longest_wait(&f));
        fake_free(&f);
    }
}

static void assert_same_log(const Fake *f, const Fake *g)
{
    g_assert_cmpmem(f->world.log->data, f->world.log->len * sizeof(Executed),
                    g->world.log->data, g->world.log->len * sizeof(Executed));
}

static void test_windows_at_once(void)
{
    for (uint32_t seed = 1; seed <= 150; seed++) {
        Fake one, many;

        random_gang(&one, seed);
        random_gang(&many, seed);
        many.merge = true;
        fake_drive(&one, 100000);
        fake_drive(&many, 100000);
        assert_same_log(&one, &many);
        fake_free(&one);
        fake_free(&many);
    }
}

/* A state is saved; @copy goes on from it, unless word @i is @word. */
static bool save_and_load(const Fake *f, Fake *copy, int i, int64_t word)
{
    VschedCore *core = f->core;
    VschedCoreState *state = vsched_state_new(core);
    g_autoptr(GArray) words = g_array_new(false, false, sizeof(int64_t));
    g_autofree char *why = NULL;
    bool loaded;

    fake_init_vms(copy, core->topology.vcpus, core->topology.vm,
                  core->topology.pcpus, core->window, core->switch_cost,
                  core->ops, f->values[0]);
    g_array_free(copy->world.log, true);
    copy->world = f->world;
    copy->world.log = g_array_new(false, false, sizeof(Executed));
    copy->merge = f->merge;
    copy->knows_idle_loop = f->knows_idle_loop;
    copy->core->jitter = core->jitter;
    vsched_core_save_policy(core, words);
    if (i >= 0) {
        g_array_index(words, int64_t, i) = word;
    }
    loaded = vsched_state_load(copy->core, state, core->ops, f->values,
                               (int64_t *)words->data, words->len, true, &why);
    g_assert_true(loaded == !why);
    vsched_state_free(state);
    return loaded;
}

static void test_save_at_random(void)
{
    for (uint32_t seed = 1; seed <= 150; seed++) {
        Fake f, copy;

        random_gang(&f, seed);
        f.merge = seed % 2;
        fake_drive(&f, hash(seed, 3, 13) % 30000);
        if (seed % 3 == 1) {
            set_affinity(&f, hash(seed, 4, 13) % f.core->topology.vcpus, 1);
        }
        fake_drive(&f, f.core->window_end + hash(seed, 5, 13) % 2000);
        g_assert_true(save_and_load(&f, &copy, -1, 0));
        g_array_set_size(f.world.log, 0);
        fake_drive(&f, f.core->window_end + 50000);
        fake_drive(&copy, copy.core->window_end + 50000);
        assert_same_log(&f, &copy);
        fake_free(&f);
        fake_free(&copy);
    }
}

static void test_impossible_states(void)
{
    Fake f, copy;

    /*
     * Two rows; it is the turn of the first, 0 and 1, which have PCPUs 0 and 1.
     * Words are the turn, its beginning, the last tick, four seats and four
     * starts.
     */
    fake_gang(&f, 4, pairs, 2, 20);
    all_run(&f, tens);
    windows(&f, 5);
#define IMPOSSIBLE(i, word)                                     \
    do {                                                        \
        g_assert_false(save_and_load(&f, &copy, i, word));      \
        fake_free(&copy);                                       \
    } while (0)
    IMPOSSIBLE(0, -1);
    IMPOSSIBLE(0, 2);                       /* there is no such row */
    IMPOSSIBLE(0, 1);                       /* 0 and 1 are not of that row */
    IMPOSSIBLE(1, -3);
    IMPOSSIBLE(2, INT64_C(1) << 61);
    IMPOSSIBLE(3, 1);                       /* a PCPU for two */
    IMPOSSIBLE(3, 2);
    IMPOSSIBLE(3, -2);
    IMPOSSIBLE(5, 0);                       /* 2 is of the other row */
    IMPOSSIBLE(7, -1);
    set_affinity(&f, 1, 2);
    IMPOSSIBLE(4, 0);                       /* 1 may not run there */
#undef IMPOSSIBLE
    g_assert_true(save_and_load(&f, &copy, -1, 0));
    windows(&copy, 2);
    assert_log(&copy, "1:1@50 0:0@50 0:2@60 1:3@60");
    fake_free(&copy);
    fake_free(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/gang/two-vms", test_two_vms);
    g_test_add_func("/gang/stall", test_stall);
    g_test_add_func("/gang/exact", test_exact);
    g_test_add_func("/gang/more-vcpus", test_more_vcpus_than_pcpus);
    g_test_add_func("/gang/rows", test_rows);
    g_test_add_func("/gang/masks", test_masks);
    g_test_add_func("/gang/handover", test_handover);
    g_test_add_func("/gang/blocked", test_blocked_without_skip_idle);
    g_test_add_func("/gang/passed-over", test_passed_over);
    g_test_add_func("/gang/empty-columns", test_empty_columns);
    g_test_add_func("/gang/others-left-alone", test_others_are_left_alone);
    g_test_add_func("/gang/blocked-skipped", test_blocked_are_skipped);
    g_test_add_func("/gang/never-fewer", test_never_fewer);
    g_test_add_func("/gang/idle-skipped", test_idle_are_skipped);
    g_test_add_func("/gang/others-stay", test_others_stay);
    g_test_add_func("/gang/longest-wait", test_longest_wait);
    g_test_add_func("/gang/timeslice", test_gang_and_timeslice);
    g_test_add_func("/gang/all-or-none", test_all_or_none);
    g_test_add_func("/gang/longest-wait-at-random",
                    test_longest_wait_at_random);
    g_test_add_func("/gang/windows-at-once", test_windows_at_once);
    g_test_add_func("/gang/save", test_save_at_random);
    g_test_add_func("/gang/impossible", test_impossible_states);
    return g_test_run();
}
