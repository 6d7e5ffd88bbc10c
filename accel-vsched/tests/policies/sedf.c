/*
 * Policy "sedf": traces worked by hand, deadlines, shares.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "../../state.h"
#include "../fake-host.h"

enum { SLICES, EXTRATIME_ONLY };

static const Block tens[] = { { 10 }, { } };

/* "vcpu@from-to ..." of what ran on @pcpu since the log was emptied last. */
static void assert_runs(Fake *f, int pcpu, const char *expected)
{
    g_autoptr(GString) s = g_string_new(NULL);
    int vcpu = VSCHED_NONE;
    int64_t end = 0;

    for (guint i = 0; i < f->world.log->len; i++) {
        Executed *x = &g_array_index(f->world.log, Executed, i);

        if (x->pcpu != pcpu) {
            continue;
        }
        if (x->vcpu != vcpu || x->start != end) {
            if (vcpu != VSCHED_NONE) {
                g_string_append_printf(s, "-%d ", (int)end);
            }
            g_string_append_printf(s, "%d@%d", x->vcpu, (int)x->start);
        }
        vcpu = x->vcpu;
        end = x->start + 10;            /* all blocks of these tests */
    }
    g_string_append_printf(s, "-%d", (int)end);
    g_assert_cmpstr(s->str, ==, expected);
}

static int64_t ran(Fake *f, int vcpu)
{
    return vsched_core_cycles(f->core, vcpu, VSCHED_RUNNING);
}

static const int each[] = { 0, 1, 2, 3, 4, 5, 6, 7 };

/*
 * Each VCPU is a VM of its own; windows and blocks of 10 cycles, a tenth of a
 * period is spare, extra time comes in pieces of 10.
 */
static void init(Fake *f, int vcpus, int pcpus, int64_t period)
{
    fake_init_vms(f, vcpus, each, pcpus, 10, 0, &vsched_policy_sedf, period);
    fake_set(f, "quantum", 10);
    fake_set(f, "spare", 10);
}

/*
 * ------------------------------------------------------------------------
 * By hand.
 */

static void test_weights(void)
{
    Fake f;

    /*
     * Weights 256 and 512: of 90 cycles in a period of 100 one third, 30, and
     * two thirds, 60.  The last 10 are extra time.  Scores in L1, where a piece
     * costs 2^32 / 256 = 16 or 2^32 / 512 = 8 million:
     *
     *      at   scores   runs   then it has   the other one has
     *      90    0  0      0       16              0 - 0
     *     190   16  0      1        8             16 - 0
     *     290   16  8      1        8             16 - 8
     *     390    8  8      1        8              8 - 8
     *     490    0  8      0       16              8 - 0
     *
     * Who had the extra time is the first to be ready at the next period, and
     * their deadlines are the same.  At 390, 1 was done with its slice first.
     */
    init(&f, 2, 1, 100);
    set_share(&f, 1, 512, 0);
    all_run(&f, tens);
    fake_drive(&f, 500);
    assert_runs(&f, 0, "0@0-30 1@30-90 0@90-130 1@130-260 0@260-290 1@290-360 "
                       "0@360-390 1@390-460 0@460-500");
    assert_sums(&f);
    fake_free(&f);

    /* Without extra time the PCPU is idle for a tenth of the time. */
    init(&f, 2, 1, 100);
    fake_set(&f, "extratime", 0);
    set_share(&f, 1, 512, 0);
    all_run(&f, tens);
    fake_drive(&f, 300);
    assert_runs(&f, 0, "0@0-30 1@30-90 0@100-130 1@130-190 0@200-230 "
                       "1@230-290");
    fake_free(&f);
    /* A piece that does not fit before the next period is not given. */
    init(&f, 2, 1, 100);
    fake_set(&f, "quantum", 11);
    set_share(&f, 1, 512, 0);
    all_run(&f, tens);
    fake_drive(&f, 200);
    assert_runs(&f, 0, "0@0-30 1@30-90 0@100-130 1@130-190");
    fake_free(&f);

    /*
     * A cap of 20 is 20 of 100 cycles, and no extra time.  The others share
     * what is left of 90, 70, in the proportion 2 to 5.
     */
    init(&f, 3, 1, 100);
    fake_set(&f, "extratime", 0);
    set_share(&f, 0, 9, 20);
    set_share(&f, 1, 2, 0);
    set_share(&f, 2, 5, 0);
    all_run(&f, tens);
    fake_drive(&f, 130);
    assert_runs(&f, 0, "0@0-20 1@20-40 2@40-90 0@100-120 1@120-130");
    fake_free(&f);

    /* @slice is that of all, and at most the cap. */
    init(&f, 3, 1, 100);
    fake_set(&f, "extratime", 0);
    fake_set(&f, "slice", 30);
    set_share(&f, 0, 256, 20);
    set_share(&f, 1, 256, 40);
    all_run(&f, tens);
    fake_drive(&f, 130);
    assert_runs(&f, 0, "0@0-20 1@20-50 2@50-80 0@100-120 1@120-130");
    fake_free(&f);
}

static void test_best_effort(void)
{
    Fake f;

    /*
     * Nobody has a slice: pieces of 10 in the proportion of the weights.  The
     * scores, in millions:
     *
     *     at   scores    runs    at   scores    runs
     *      0    0   0      0     20   16   8      1
     *     10   16   0      1     30    8   8      0
     */
    init(&f, 2, 1, 1000);
    fake_set(&f, "weighted", EXTRATIME_ONLY);
    set_share(&f, 1, 512, 0);
    all_run(&f, tens);
    fake_drive(&f, 120);
    assert_runs(&f, 0, "0@0-10 1@10-30 0@30-40 1@40-60 0@60-70 1@70-90 "
                       "0@90-100 1@100-120");
    fake_free(&f);
}

static void test_deadlines(void)
{
    Fake f;

    /*
     * Periods of 200 for VM 0 and 50 for VM 2 (100 for VM 1, which does not
     * run), slices of 100 and 20.  Deadlines: 0 has 200; 2 has 50, 100, 150,
     * and at 150 also 200.  Then 0 goes on, which has begun.
     */
    init(&f, 3, 1, 200);
    fake_set(&f, "halve", 2);
    set_share(&f, 0, 256, 50);
    set_share(&f, 2, 256, 40);
    f.world.program[0] = f.world.program[2] = tens;
    vsched_core_wake(f.core, 0);
    vsched_core_wake(f.core, 2);
    fake_drive(&f, 250);
    assert_runs(&f, 0, "2@0-20 0@20-50 2@50-70 0@70-100 2@100-120 0@120-160 "
                       "2@160-180 2@200-220 0@220-250");
    g_array_set_size(f.world.log, 0);

    /*
     * 2 does not come back before 310: a new period begins, until 360, and 0
     * stops, whose deadline is 400.  At 360 a new one begins for 2, until 410:
     * 0 goes on until it has had the 140 that it has by then.
     */
    vsched_core_block(f.core, 2);
    fake_drive(&f, 300);
    assert_runs(&f, 0, "0@250-300");
    set_share(&f, 0, 256, 70);
    fake_drive(&f, 310);
    vsched_core_wake(f.core, 2);
    fake_drive(&f, 400);
    assert_runs(&f, 0, "0@250-310 2@310-330 0@330-380 2@380-400");
    g_assert_cmpint(f.core->vcpu[0].preempted, ==, 1);
    fake_free(&f);
}

static void test_same_deadline(void)
{
    static const int vm[] = { 0, 0, 1, 2 };
    Fake f;

    /*
     * 0 and 1 have 60 of 200, and 3 has 20 of 50.  0 stops for 3 at 50, and
     * goes on at 70, before 1, which has the same deadline and has not begun.
     * At 150 all have a deadline at 200.
     */
    fake_init_vms(&f, 4, vm, 1, 10, 0, &vsched_policy_sedf, 200);
    fake_set(&f, "halve", 2);
    set_share(&f, 0, 256, 60);
    set_share(&f, 2, 256, 40);
    for (int v = 0; v < 4; v++) {
        f.world.program[v] = tens;
        if (v != 2) {
            vsched_core_wake(f.core, v);
        }
    }
    fake_drive(&f, 200);
    assert_runs(&f, 0, "3@0-20 0@20-50 3@50-70 0@70-100 3@100-120 1@120-180 "
                       "3@180-200");
    fake_free(&f);

    /*
     * At 60, 0 waits and has had 30.  If its slice is 20 from then on, it has
     * had it.
     */
    fake_init_vms(&f, 4, vm, 1, 10, 0, &vsched_policy_sedf, 200);
    fake_set(&f, "halve", 2);
    set_share(&f, 0, 256, 60);
    set_share(&f, 2, 256, 40);
    f.world.program[0] = f.world.program[3] = tens;
    vsched_core_wake(f.core, 0);
    vsched_core_wake(f.core, 3);
    fake_drive(&f, 60);
    set_share(&f, 0, 256, 20);
    fake_drive(&f, 230);
    assert_runs(&f, 0, "3@0-20 0@20-50 3@50-70 3@100-120 3@150-170 3@200-220 "
                       "0@220-230");
    fake_free(&f);
}

static void test_long_block(void)
{
    static const Block once[] = { { 10, STOP }, { } };
    Fake f;

    /* Woken at 350, it has a whole slice at once, and again at 450. */
    init(&f, 1, 1, 100);
    set_share(&f, 0, 256, 50);
    all_run(&f, once);
    fake_drive(&f, 350);
    f.world.program[0] = tens;
    interrupt(&f, 0);
    fake_drive(&f, 500);
    assert_runs(&f, 0, "0@0-10 0@350-400 0@450-500");
    fake_free(&f);

    /*
     * Nor does it wait for a piece of extra time, of 50, that 1 has from 140
     * on: its own period begins at 160.  Until 210 it has the earlier deadline.
     */
    init(&f, 2, 1, 100);
    fake_set(&f, "quantum", 50);
    set_share(&f, 0, 256, 50);
    f.world.program[0] = once;
    f.world.program[1] = tens;
    start_all(&f);
    fake_drive(&f, 160);
    f.world.program[0] = tens;
    interrupt(&f, 0);
    fake_drive(&f, 220);
    assert_runs(&f, 0, "0@0-10 1@10-160 0@160-210 1@210-220");
    fake_free(&f);
}

static void test_take_over(void)
{
    static const Block once[] = { { 10, STOP }, { } };
    Fake f;

    /*
     * 0 has used 20 cycles when the policy becomes the policy, and gets 30
     * more.  Its period began at 20.
     */
    fake_init(&f, 1, 1, 10, 0, &vsched_policy_timeslice, 1000);
    set_share(&f, 0, 256, 50);
    all_run(&f, tens);
    fake_drive(&f, 20);
    set_policy(&f, &vsched_policy_sedf, 100);
    fake_drive(&f, 250);
    assert_runs(&f, 0, "0@0-50 0@120-170 0@220-250");
    fake_free(&f);

    /* 2, which is of PCPU 0, went to PCPU 1 where 1 has stopped. */
    fake_init(&f, 3, 2, 10, 0, &vsched_policy_balance, 20);
    f.world.program[0] = f.world.program[2] = tens;
    f.world.program[1] = once;
    start_all(&f);
    fake_drive(&f, 50);
    g_assert_cmpint(f.core->pcpu[1].current, !=, VSCHED_NONE);
    set_policy(&f, &vsched_policy_sedf, 100);
    windows(&f, 1);
    g_assert_cmpint(f.core->pcpu[1].current, ==, VSCHED_NONE);
    g_assert_cmpint(f.core->pcpu[0].current, !=, VSCHED_NONE);
    fake_free(&f);
}

static void test_penalty(void)
{
    static const Block sleeps[] = { { 10 }, { 10, HALT, 15 }, { } };
    Fake f;

    /*
     * Slices of 50 and 30 by caps, so no time in L1.  0 stops at 20, and comes
     * back at 40: it has lost 30, and its next slice comes at 100.  At 50, when
     * 1 is done, it gets 20 of them as extra time, in two pieces.  It stops
     * again from 70 to 90, in extra time, and gets the last 10.
     */
    init(&f, 2, 1, 100);
    set_share(&f, 0, 256, 50);
    set_share(&f, 1, 256, 30);
    f.world.program[0] = sleeps;
    f.world.program[1] = tens;
    start_all(&f);
    fake_drive(&f, 130);
    assert_runs(&f, 0, "0@0-20 1@20-50 0@50-70 0@90-110 1@110-130");
    fake_free(&f);

    /*
     * L0 comes before L1, where 2 is, which has no slice to speak of: the caps
     * and the spare tenth leave 10 of it.  0 is woken at 40.  At 100, 2 comes
     * back from extra time and is the first with a deadline at 200.
     */
    init(&f, 3, 1, 100);
    set_share(&f, 0, 256, 50);
    set_share(&f, 1, 256, 30);
    f.world.program[0] = sleeps;
    f.world.program[1] = f.world.program[2] = tens;
    start_all(&f);
    fake_drive(&f, 110);
    assert_runs(&f, 0, "0@0-20 1@20-50 2@50-60 0@60-80 2@80-110");
    fake_free(&f);
}

/* Who is woken with time lost stops extra time of L1, and of less time lost. */
static void test_penalty_preempts(void)
{
    static const Block once[] = { { 10, STOP }, { } };
    Fake f;

    /*
     * 0 has 50 of 100, 1 the 40 that remain, and extra time in pieces of 50.  0
     * stops at 10 with 40 left, 1 uses its slice up at 50, and has extra time
     * until 100; 0 is woken at 60.
     */
    init(&f, 2, 1, 100);
    fake_set(&f, "quantum", 50);
    set_share(&f, 0, 256, 50);
    f.world.program[0] = once;
    f.world.program[1] = tens;
    start_all(&f);
    fake_drive(&f, 60);
    interrupt(&f, 0);
    f.world.program[0] = tens;
    fake_set(&f, "quantum", 20);
    fake_drive(&f, 100);
    /* Two pieces of 20 for the 40 that it lost */
    assert_runs(&f, 0, "0@0-10 1@10-60 0@60-100");
    g_assert_cmpint(f.core->vcpu[1].preempted, ==, 1);
    fake_free(&f);
}

static void test_penalty_order(void)
{
    static const Block once[] = { { 10, STOP }, { } };
    Fake f;

    /*
     * Slices of 20 and 60; both stop after 10, and lose 10 and 50.  0 is woken
     * at 30 and has a piece of 50, 1 at 40, and has lost more.
     */
    init(&f, 2, 1, 100);
    fake_set(&f, "quantum", 50);
    set_share(&f, 0, 256, 20);
    set_share(&f, 1, 256, 60);
    all_run(&f, once);
    fake_drive(&f, 30);
    f.world.program[0] = f.world.program[1] = tens;
    interrupt(&f, 0);
    fake_drive(&f, 40);
    interrupt(&f, 1);
    fake_drive(&f, 100);
    assert_runs(&f, 0, "0@0-10 1@10-20 0@30-40 1@40-90");
    fake_free(&f);
}

static void test_overload(void)
{
    Fake f;

    /*
     * Two slices of 100 in each 100.  When 0 is done, at 100, 1 has missed its
     * deadline: it gets the next one, 200, and goes before 0, which has the
     * same.
     */
    init(&f, 2, 1, 100);
    set_share(&f, 0, 256, 100);
    set_share(&f, 1, 256, 100);
    all_run(&f, tens);
    g_assert_true(longest_wait(&f) == INT64_MAX);
    fake_drive(&f, 420);
    assert_runs(&f, 0, "0@0-100 1@100-200 0@200-300 1@300-400 0@400-420");
    fake_free(&f);

    /* A cap of 100 leaves a cycle in each period: a block of 10 in ten. */
    init(&f, 2, 1, 100);
    set_share(&f, 0, 256, 100);
    fake_set(&f, "extratime", 0);
    all_run(&f, tens);
    fake_drive(&f, 10000);
    g_assert_cmpint(ABS(ran(&f, 1) - 100), <=, 10);
    g_assert_cmpint(ran(&f, 0) + ran(&f, 1), ==, 10000);
    fake_free(&f);
}

static void test_overdrawn(void)
{
    static const Block long_blocks[] = { { 25 }, { } };
    int64_t before = 0;
    Fake f;

    /*
     * A slice of 30, blocks of 25: one in a period, or two.  What it has had
     * too little or too much is accounted for: 30 of 100 on average.
     */
    init(&f, 1, 1, 100);
    set_share(&f, 0, 256, 30);
    all_run(&f, long_blocks);
    for (int i = 1; i <= 100; i++) {
        fake_drive(&f, 100 * i);
        g_assert_cmpint(ran(&f, 0) - before, >=, 25);
        g_assert_cmpint(ran(&f, 0) - before, <=, 50);
        g_assert_cmpint(ABS(ran(&f, 0) - 30 * i), <=, 25);
        before = ran(&f, 0);
    }
    fake_free(&f);

    /* A slice of 10: it pays with the next periods. */
    init(&f, 1, 1, 100);
    set_share(&f, 0, 256, 10);
    all_run(&f, long_blocks);
    fake_drive(&f, 10000);
    g_assert_cmpint(ABS(ran(&f, 0) - 1000), <=, 25);
    fake_free(&f);
}

static void test_changed(void)
{
    Fake f;

    /*
     * 1 goes to PCPU 0 when its own is off, at 60: each has 45 there.  0 goes
     * on until 90.  Both have had more than 45, and have their next slice at
     * 100: four blocks now, five in the next period.
     */
    init(&f, 2, 2, 100);
    fake_set(&f, "extratime", 0);
    all_run(&f, tens);
    fake_drive(&f, 60);
    assert_runs(&f, 1, "1@0-60");
    set_online(&f, 1);
    fake_drive(&f, 150);
    g_assert_cmpint(f.core->ops->place(f.core->policy, 1), ==, VSCHED_NONE);
    g_assert_cmpint(f.core->ops->next_tick(f.core->policy), ==, 200);
    fake_drive(&f, 220);
    assert_runs(&f, 0, "0@0-90 1@100-140 0@140-180 1@200-220");
    g_assert_cmpint(f.core->ops->place(f.core->policy, 0), ==, 0);
    set_affinity(&f, 0, 2);
    set_affinity(&f, 1, 1);
    set_online(&f, 3);
    windows(&f, 5);
    g_assert_cmpint(f.core->pcpu[0].current, ==, 1);
    g_assert_cmpint(f.core->pcpu[1].current, ==, 0);
    fake_free(&f);

    /*
     * A shorter period, and slice: it begins when it would have begun.  When 0
     * stops, at 1500, it has missed the deadline at 1250, and that at 1500.
     */
    init(&f, 1, 1, 1000);
    fake_set(&f, "slice", 500);
    fake_set(&f, "extratime", 0);
    all_run(&f, tens);
    fake_drive(&f, 1200);
    f.values[1] = 50;
    fake_set(&f, "period", 250);
    fake_drive(&f, 1600);
    assert_runs(&f, 0, "0@0-500 0@1000-1550");
    fake_drive(&f, 1900);
    assert_runs(&f, 0, "0@0-500 0@1000-1550 0@1750-1800");
    fake_free(&f);
}

static void test_refusal(void)
{
    const VschedPolicyOps *ops = &vsched_policy_sedf;
    int64_t values[16];
    char *why = NULL;
    Fake f;

    init(&f, 2, 1, 1000);
    memcpy(values, f.values, sizeof(values));
    values[1] = 1001;                           /* slice */
    refused(ops->set(f.core->policy, values, &why), &why,
            "allowed are 0 (by weight) up to the whole period");
    refused(vsched_core_set_policy(f.core, ops, values, &why), &why,
            "longer than the period");
    values[1] = 0;
    values[5] = EXTRATIME_ONLY;
    values[2] = 0;                              /* extratime */
    refused(ops->set(f.core->policy, values, &why), &why,
            "allowed is extratime=on");
    values[2] = 1;
    values[3] = 1001;                           /* quantum */
    refused(ops->set(f.core->policy, values, &why), &why,
            "fit into the shortest period");
    values[3] = 501;
    must(ops->set(f.core->policy, values, &why), &why);
    values[6] = 1;                              /* halve */
    refused(ops->set(f.core->policy, values, &why), &why, "shortest period");
    values[5] = SLICES;
    must(ops->set(f.core->policy, values, &why), &why);
    fake_free(&f);
}

/*
 * ------------------------------------------------------------------------
 * Shares and deadlines.
 */

/* Who is where, with what: VCPU i is of VM i / (vcpus / vms). */
typedef struct Machine {
    int pcpus, vcpus, vms;
    int weight[4], cap[4];
} Machine;

static int vm_of(const Machine *m, int vcpu)
{
    return vcpu / (m->vcpus / m->vms);
}

static void init_machine(Fake *f, const Machine *m, int64_t window,
                         int64_t cost, int64_t period)
{
    int vm[MANY];

    for (int v = 0; v < m->vcpus; v++) {
        vm[v] = vm_of(m, v);
    }
    fake_init_vms(f, m->vcpus, vm, m->pcpus, window, cost, &vsched_policy_sedf,
                  period);
    for (int i = 0; i < m->vms; i++) {
        set_share(f, i, m->weight[i], m->cap[i]);
    }
}

/* What @vcpu gets of a PCPU if only @part of the time is given by weight. */
static double part_of(const Machine *m, int vcpu, double part)
{
    int vm = vm_of(m, vcpu), each_vm = m->vcpus / m->vms;
    double weights = 0;

    if (m->cap[vm]) {
        return MIN(1, m->cap[vm] / 100.0 / each_vm);
    }
    for (int v = vcpu % m->pcpus; v < m->vcpus; v += m->pcpus) {
        if (m->cap[vm_of(m, v)]) {
            part -= MIN(1, m->cap[vm_of(m, v)] / 100.0 / each_vm);
        } else {
            weights += m->weight[vm_of(m, v)];
        }
    }
    return part * m->weight[vm] / weights;
}

static void test_shares(void)
{
    static const Machine machines[] = {
        { 1, 3, 3, { 256, 512, 1024 } },
        { 1, 2, 2, { 1, 9 } },
        { 1, 3, 3, { 256, 256, 768 }, { 40 } },
        { 1, 2, 2, { 256, 256 }, { 10, 30 } },
        { 2, 8, 4, { 100, 200, 300, 400 } },
        { 4, 12, 3, { 256, 512, 256 }, { 0, 0, 100 } },
    };

    for (int i = 0; i < G_N_ELEMENTS(machines); i++) {
        const Machine *m = &machines[i];

        /* 10 s are 100 periods of 100 ms. */
        for (int weighted = SLICES; weighted <= EXTRATIME_ONLY; weighted++) {
            Fake f;

            init_machine(&f, m, 100, 1, 20000);
            fake_set(&f, "weighted", weighted);
            f.core->jitter = true;
            all_run(&f, tens);
            fake_drive(&f, 100 * 20000);
            for (int v = 0; v < m->vcpus; v++) {
                double want = 100 * 20000 * part_of(m, v, 1);

                g_assert_cmpfloat(ran(&f, v), >=, 0.98 * want);
                g_assert_cmpfloat(ran(&f, v), <=, 1.02 * want);
            }
            assert_sums(&f);
            fake_free(&f);
        }
    }
}

static Machine random_machine(int i)
{
    Machine m = {
        .pcpus = 1 + hash(i, 1, 2) % 3, .vms = 1 + hash(i, 2, 2) % 4
    };

    m.vcpus = m.vms * (1 + hash(i, 3, 2) % 3);
    for (int k = 0; k < m.vms; k++) {
        m.weight[k] = 1 + hash(i, k, 3) % 500;
        m.cap[k] = hash(i, k, 4) % 2 ? 5 + hash(i, k, 5) % 60 : 0;
    }
    return m;
}

/* No deadline that fits is missed, however others sleep and wake. */
static void test_no_deadline_missed(void)
{
    static const Block sleeps[] = { { 30 }, { 10, HALT, 70 }, { } };
    static const Block naps[] = { { 60, HALT, 2000 }, { 17, HALT, 5 }, { } };
    int fit = 0;

    for (int i = 0; i < 400; i++) {
        Machine m = random_machine(i);
        int halve = hash(i, 6, 2) % 4;
        Fake f;

        /* Periods from 8000 down to 1000; 5 for a switch */
        init_machine(&f, &m, 10, 5, 8000);
        fake_set(&f, "halve", halve);
        fake_set(&f, "extratime", i % 2);
        fake_set(&f, "spare", 20);
        f.core->jitter = i % 3;
        for (int v = 0; v < m.vcpus; v++) {
            f.world.program[v] = hash(i, v, 6) % 3 ? tens :
                                 v % 2 ? sleeps : naps;
        }
        start_all(&f);
        for (int t = 1000; longest_wait(&f) != INT64_MAX && t <= 48000;
             t += 1000) {
            fake_drive(&f, t);
            for (int v = 0; v < m.vcpus; v++) {
                int h = MIN(vm_of(&m, v), halve), periods = t / (8000 >> h);
                int slice = (int)(8000 * part_of(&m, v, 0.8)) >> h;

                /* A block may be accounted for in the next period. */
                if (f.world.program[v] == tens && t % (8000 >> h) == 0) {
                    g_assert_cmpint(ran(&f, v), >=, periods * slice - 10);
                }
            }
            fit += t == 1000;
        }
        fake_free(&f);
    }
    g_assert_cmpint(fit, >, 100);
}

static void test_longest_wait(void)
{
    static const Machine paper = { 8, 24, 1, { 256 } };
    static const Machine late = { 1, 2, 2, { 256, 256 }, { 50, 48 } };
    int bounded = 0;
    Fake f;

    /* 3 x 31.67 ms, 3 x 2 x 1554 cycles and 1554 fit into 100 ms. */
    init_machine(&f, &paper, 1000, 554, 100000000);
    g_assert_cmpint(longest_wait(&f), ==, 200000000 + 1554);
    /* Without anything to spare they do not. */
    fake_set(&f, "spare", 0);
    g_assert_true(longest_wait(&f) == INT64_MAX);
    fake_free(&f);
    /* A slice is needed. */
    init_machine(&f, &paper, 1000, 554, 100000000);
    fake_set(&f, "weighted", EXTRATIME_ONLY);
    g_assert_true(longest_wait(&f) == INT64_MAX);
    fake_free(&f);
    /* 500 + 480 + 2 x 2 x 4 + 4 = 1000, and it is rounded up; then 3 for 4 */
    init_machine(&f, &late, 3, 1, 1000);
    g_assert_true(longest_wait(&f) == INT64_MAX);
    fake_free(&f);
    init_machine(&f, &late, 2, 1, 1000);
    g_assert_cmpint(longest_wait(&f), ==, 2003);
    /*
     * With half the period, VM 1 has half of the slice, and switches as often;
     * with a smaller slice it fits.  The longest period counts.
     */
    fake_set(&f, "halve", 1);
    g_assert_true(longest_wait(&f) == INT64_MAX);
    set_share(&f, 1, 256, 40);
    g_assert_cmpint(longest_wait(&f), ==, 2003);
    fake_free(&f);

    /* It holds. */
    for (int i = 0; i < 300; i++) {
        Machine m = random_machine(i);

        init_machine(&f, &m, 100, 5, 10000);
        fake_set(&f, "halve", hash(i, 6, 2) % 3);
        fake_set(&f, "extratime", i % 2);
        fake_set(&f, "spare", 20);
        f.core->jitter = i % 3;
        f.world.seed = i;
        start_all(&f);
        if (longest_wait(&f) != INT64_MAX) {
            fake_drive(&f, 200000);
            g_assert_cmpint(f.longest_wait, <=, longest_wait(&f));
            bounded++;
        }
        fake_free(&f);
    }
    g_assert_cmpint(bounded, >, 100);
}

/*
 * ------------------------------------------------------------------------
 * Saved states, and several windows at once.
 */

/* A machine in which all queues have somebody, of one of many kinds. */
static void init_mixed(Fake *f, int i)
{
    static const Block sleeps[] = { { 10 }, { 30, HALT, 45 }, { } };
    static const Block naps[] = { { 17, HALT, 5 }, { 50 }, { } };
    Machine m = random_machine(i);

    init_machine(f, &m, 10, i % 3, 400);
    fake_set(f, "halve", i % 2);
    fake_set(f, "quantum", 5 + 15 * (i % 5));
    fake_set(f, "extratime", i % 3 < 2);
    if (i % 7 < 2) {
        fake_set(f, "slice", 20 + hash(i, 1, 1) % 100);
    } else if (i % 7 == 2 && i % 3 < 2) {
        fake_set(f, "weighted", EXTRATIME_ONLY);
    }
    f->core->jitter = i % 11 == 0;
    f->world.seed = i;
    for (int v = 0; v < m.vcpus; v++) {
        const Block *const programs[] = { tens, sleeps, naps, NULL };

        f->world.program[v] = programs[hash(i, v, 7) % 4];
    }
    start_all(f);
}

static void assert_same(const Fake *a, const Fake *b)
{
    g_assert_cmpmem(a->world.log->data, a->world.log->len * sizeof(Executed),
                    b->world.log->data, b->world.log->len * sizeof(Executed));
}

static void save_and_load(Fake *f)
{
    g_autoptr(GArray) words = g_array_new(false, false, sizeof(int64_t));
    VschedCoreState *state = vsched_state_new(f->core);
    char *why = NULL;

    vsched_core_save_policy(f->core, words);
    must(vsched_state_load(f->core, state, f->core->ops, f->values,
                           (int64_t *)words->data, words->len, true, &why),
         &why);
    vsched_state_free(state);
}

static void test_save(void)
{
    for (int i = 0; i < 400; i++) {
        Fake f[2];

        for (int n = 0; n < 2; n++) {
            init_mixed(&f[n], i);
            fake_drive(&f[n], 10 * (1 + i));
            if (n) {
                save_and_load(&f[n]);
            }
            fake_drive(&f[n], 10 * (1 + i) + 5000);
        }
        assert_same(&f[0], &f[1]);
        fake_free(&f[0]);
        fake_free(&f[1]);
    }
}

static void test_at_once(void)
{
    for (int i = 0; i < 400; i++) {
        Fake f[2];

        for (int n = 0; n < 2; n++) {
            init_mixed(&f[n], i);
            f[n].merge = n;
            fake_drive(&f[n], 10000);
        }
        assert_same(&f[0], &f[1]);
        fake_free(&f[0]);
        fake_free(&f[1]);
    }
}

/* Masks and parameters may be given anew for what was saved. */
static void test_load_elsewhere(void)
{
    g_autoptr(GArray) words = g_array_new(false, false, sizeof(int64_t));
    VschedCoreState *state;
    char *why = NULL;
    Fake f;

    /* 2, which waits for PCPU 0, may run on PCPU 1 only, where 1 runs. */
    init(&f, 3, 2, 100);
    all_run(&f, tens);
    fake_drive(&f, 20);
    vsched_core_save_policy(f.core, words);
    state = vsched_state_new(f.core);
    state->vcpu[2].affinity = 2;
    f.values[2] = 0;                            /* extratime */
    must(vsched_state_load(f.core, state, &vsched_policy_sedf, f.values,
                           (int64_t *)words->data, words->len, false, &why),
         &why);
    vsched_state_free(state);
    g_assert_cmpint(f.core->ops->place(f.core->policy, 2), ==, 1);
    /* 1 had 90 when it was picked, as 45 does not hold before it is again. */
    fake_drive(&f, 200);
    g_assert_cmpint(ran(&f, 2), >=, 40);
    g_assert_cmpint(f.core->vcpu[2].pcpu, ==, 1);
    assert_sums(&f);
    fake_free(&f);
}

static void test_load(void)
{
    static const Block sleeps[] = { { 10 }, { 10, HALT, 15 }, { } };
    g_autoptr(GArray) words = g_array_new(false, false, sizeof(int64_t));
    VschedCoreState *state;
    int64_t values[16];
    int pcpus, vcpus;
    char *why = NULL;
    Fake f;

    /*
     * As in test_penalty() at 50: 0 is in the wait queue and in L0, 1 has just
     * used its slice up, and 2 is runnable, and in L1.
     */
    init(&f, 3, 1, 100);
    set_share(&f, 0, 256, 50);
    set_share(&f, 1, 256, 30);
    f.world.program[0] = sleeps;
    f.world.program[1] = f.world.program[2] = tens;
    start_all(&f);
    fake_drive(&f, 50);
    memcpy(values, f.values, sizeof(values));
    vsched_core_save_policy(f.core, words);
    state = vsched_state_new(f.core);
    /* 1 is still there, so two wait: 2 runnable, 0 not; then L0 and L1 */
    g_assert_cmpint(g_array_index(words, int64_t, 0), ==, 2);
    g_assert_cmpint(g_array_index(words, int64_t, 1), ==, 2);
    g_assert_cmpint(g_array_index(words, int64_t, 2), ==, INT64_C(1) << 32);
    g_assert_cmpint(g_array_index(words, int64_t, 3), ==, 1);
    g_assert_cmpint(g_array_index(words, int64_t, 4), ==, 0);
    g_assert_cmpint(g_array_index(words, int64_t, 5), ==, 1);
    g_assert_cmpint(g_array_index(words, int64_t, 6), ==, 2);
    pcpus = 7;
    vcpus = pcpus + 4;
    g_assert_cmpint(words->len, ==, vcpus + 3 * 5);
#define IMPOSSIBLE(i, word)                                               \
    do {                                                                  \
        int64_t *w = &g_array_index(words, int64_t, i), is = *w;          \
                                                                          \
        *w = word;                                                        \
        refused(vsched_state_load(f.core, state, &vsched_policy_sedf,     \
                                  values, (int64_t *)words->data,         \
                                  words->len, true, &why), &why,          \
                "'sedf' is not one that it can have written");            \
        *w = is;                                                          \
    } while (0)
    IMPOSSIBLE(0, 1);
    IMPOSSIBLE(1, 1);                           /* it runs */
    IMPOSSIBLE(1, INT64_C(2) << 32);            /* no such queue */
    IMPOSSIBLE(3, 3);
    IMPOSSIBLE(3, -1);
    IMPOSSIBLE(4, 1);                           /* it runs */
    IMPOSSIBLE(4, INT64_C(1) << 32);            /* no such PCPU */
    IMPOSSIBLE(5, INT64_MAX);
    IMPOSSIBLE(6, 3);
    IMPOSSIBLE(pcpus, 3);                       /* as what it runs */
    IMPOSSIBLE(pcpus + 1, 2);
    IMPOSSIBLE(pcpus + 2, -1);
    IMPOSSIBLE(pcpus + 3, -1);
    for (int i = 0; i < 5; i++) {
        IMPOSSIBLE(vcpus + i, INT64_MIN);
        IMPOSSIBLE(vcpus + 10 + i, INT64_MAX);
    }
    IMPOSSIBLE(vcpus, 0);                       /* it waits: a deadline */
#undef IMPOSSIBLE
    refused(vsched_state_load(f.core, state, &vsched_policy_sedf, values,
                              (int64_t *)words->data, words->len - 1, true,
                              &why), &why, "'sedf'");
    must(vsched_state_load(f.core, state, &vsched_policy_sedf, values,
                           (int64_t *)words->data, words->len, true, &why),
         &why);
    vsched_state_free(state);
    fake_drive(&f, 110);
    assert_runs(&f, 0, "0@0-20 1@20-50 2@50-60 0@60-80 2@80-110");
    fake_free(&f);
}

/*
 * ------------------------------------------------------------------------
 * The baseline.
 */

/* What VCPU 0, of weight 3, has of 10000 cycles, beside 3 others of weight 1 */
static int64_t beside_others(const VschedPolicyOps *ops, int64_t slice)
{
    int64_t got;
    Fake f;

    fake_init_vms(&f, 4, each, 1, 10, 0, ops, slice);
    set_share(&f, 0, 3, 0);
    for (int vm = 1; vm < 4; vm++) {
        set_share(&f, vm, 1, 0);
    }
    if (ops == &vsched_policy_sedf) {
        fake_set(&f, "quantum", 10);
        fake_set(&f, "spare", 10);
    }
    all_run(&f, tens);
    fake_drive(&f, 10000);
    got = ran(&f, 0);
    fake_free(&f);
    return got;
}

/* Cycles in which a PCPU is busy, of 1000, with one VCPU and no extra time. */
static int64_t alone(const VschedPolicyOps *ops, int64_t slice)
{
    int64_t busy;
    Fake f;

    fake_init(&f, 1, 1, 10, 0, ops, slice);
    if (ops == &vsched_policy_sedf) {
        fake_set(&f, "extratime", 0);
        fake_set(&f, "spare", 10);
    }
    all_run(&f, tens);
    fake_drive(&f, 1000);
    busy = f.core->pcpu[0].busy;
    fake_free(&f);
    return busy;
}

static void test_sedf_and_timeslice(void)
{
    /*
     * A VCPU has what its weight asks for, whatever others do: 3/6 of 900 in
     * each period of 1000, and half of the extra time; "timeslice" gives a
     * quarter to each.
     */
    g_assert_cmpint(beside_others(&vsched_policy_timeslice, 100), ==, 2500);
    g_assert_cmpint(ABS(beside_others(&vsched_policy_sedf, 1000) - 5000), <=,
                    20);
    /* Without extra time it wastes what nobody may have, here a tenth. */
    g_assert_cmpint(alone(&vsched_policy_timeslice, 100), ==, 1000);
    g_assert_cmpint(alone(&vsched_policy_sedf, 100), ==, 900);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/sedf/weights", test_weights);
    g_test_add_func("/sedf/best-effort", test_best_effort);
    g_test_add_func("/sedf/deadlines", test_deadlines);
    g_test_add_func("/sedf/same-deadline", test_same_deadline);
    g_test_add_func("/sedf/long-block", test_long_block);
    g_test_add_func("/sedf/take-over", test_take_over);
    g_test_add_func("/sedf/penalty", test_penalty);
    g_test_add_func("/sedf/penalty-order", test_penalty_order);
    g_test_add_func("/sedf/penalty-preempts", test_penalty_preempts);
    g_test_add_func("/sedf/overload", test_overload);
    g_test_add_func("/sedf/overdrawn", test_overdrawn);
    g_test_add_func("/sedf/changed", test_changed);
    g_test_add_func("/sedf/refusal", test_refusal);
    g_test_add_func("/sedf/shares", test_shares);
    g_test_add_func("/sedf/no-deadline-missed", test_no_deadline_missed);
    g_test_add_func("/sedf/longest-wait", test_longest_wait);
    g_test_add_func("/sedf/save", test_save);
    g_test_add_func("/sedf/at-once", test_at_once);
    g_test_add_func("/sedf/load", test_load);
    g_test_add_func("/sedf/load-elsewhere", test_load_elsewhere);
    g_test_add_func("/sedf/timeslice", test_sedf_and_timeslice);
    return g_test_run();
}
