/*
 * Policy "yieldto": traces worked by hand.
 *
 * Windows and blocks of 10, switches cost nothing, unless a test says
 * otherwise.  Where nobody has run yet, all were woken and none was preempted.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "../fake-host.h"

/* Numbers of the choices */
enum { SDB, PAUSE };
enum { BUDDY, CREDIT };

static const Block tens[] = { { 10 }, { } };
static const Block user[] = { { 10, NOTHING, 0, 0, USER }, { } };
static const Block waits[] = { { 10, WAIT, 0, 1 }, { 10, STOP }, { } };
static const Block user_waits[] = { { 10, WAIT, 0, 1, USER }, { } };
static const Block signals[] = { { 10, SIGNAL, 0 }, { 10 }, { } };

/* @notice: a wait is a spin after so many cycles. */
static void init(Fake *f, int vcpus, int pcpus, int64_t slice, int notice)
{
    fake_init(f, vcpus, pcpus, 10, 0, &vsched_policy_yieldto, slice);
    f->notice = notice;
    fake_set(f, "patience", 1000000);
}

/* A spin that lasts is heard after 10 cycles, then 20, 40 ... */
static void hear_often(Fake *f)
{
    fake_set(f, "ple-window", 10);
}

static void test_skips_user_mode(void)
{
    static const Block a[] = { { 20 }, { 10, WAIT, 0, 1 }, { 10, STOP }, { } };
    static const Block b[] = {
        { 10 }, { 10 }, { 10 }, { 10, SIGNAL, 0 }, { 10, STOP }, { }
    };
    Fake f;

    /*
     * Slices of 20: 0 until 20, 1 in user mode until 40, 2 until 60.  At 70, 0
     * is found to spin.  1 is first in the queue, but was preempted in user
     * mode: 2 runs, and signals at 90, when its slice is over.  1 has its turn
     * until 110, then 0 finds the flag, 2 stops, 0 stops.
     */
    init(&f, 3, 1, 20, 10);
    f.world.program[0] = a;
    f.world.program[1] = user;
    f.world.program[2] = b;
    start_all(&f);
    fake_drive(&f, 150);
    assert_log(&f, "0:0@0 0:1@20 0:1@30 0:2@40 0:2@50 0:0@60 0:2@70 0:2@80 "
                   "0:1@90 0:1@100 0:0@110 0:0@120 0:2@130 0:1@140");
    assert_sums(&f);
    fake_free(&f);

    /* A spin in user mode: 1 may hold what 0 waits for.  It is first. */
    init(&f, 3, 1, 20, 10);
    f.world.program[0] = user_waits;
    f.world.program[1] = user;
    f.world.program[2] = tens;
    all_run(&f, user);
    windows(&f, 6);
    f.world.program[0] = user_waits;
    f.world.program[2] = tens;
    windows(&f, 2);
    assert_log(&f, "0:0@0 0:0@10 0:1@20 0:1@30 0:2@40 0:2@50 0:0@60 0:1@70");
    fake_free(&f);
}

static void test_interrupt_pending_in_user_mode(void)
{
    Fake f;

    /*
     * As above, and all were preempted in user mode; 0 goes on in the kernel.
     * Nobody is a target, so 0 spins on, until its slice is over at 80.
     */
    init(&f, 3, 1, 20, 10);
    all_run(&f, user);
    windows(&f, 6);
    f.world.program[0] = waits;
    windows(&f, 3);
    assert_log(&f, "0:0@0 0:0@10 0:1@20 0:1@30 0:2@40 0:2@50 0:0@60 0:0@70 "
                   "0:1@80");
    fake_free(&f);

    /* The same, but an interrupt waits for 2: it runs at 70. */
    init(&f, 3, 1, 20, 10);
    all_run(&f, user);
    windows(&f, 6);
    f.world.program[0] = waits;
    f.world.called[2] = 1;
    windows(&f, 2);
    assert_log(&f, "0:0@0 0:0@10 0:1@20 0:1@30 0:2@40 0:2@50 0:0@60 0:2@70");
    fake_free(&f);
}

static void test_round_robin(void)
{
    Fake f;

    /*
     * Three that spin all the time.  At 10 the first after nobody, which is
     * not 0 itself: 1.  At 20 the one after 1: 2.  At 30 the one after 2 is 0,
     * then 1; both gave way in a spin and are passed over this time.  2 spins
     * on.  At 40, 0 is eligible.  At 50 the one after 0 is 1, which was passed
     * over once.
     */
    init(&f, 3, 1, 1000, 10);
    hear_often(&f);
    all_run(&f, waits);
    windows(&f, 6);
    assert_log(&f, "0:0@0 0:1@10 0:2@20 0:2@30 0:0@40 0:1@50");
    fake_free(&f);
}

static void test_other_vm(void)
{
    static const int vm[] = { 0, 1, 0 };
    Fake f;

    /* 1 is of another VM, and is passed over; 2 is blocked. */
    fake_init_vms(&f, 3, vm, 1, 10, 0, &vsched_policy_yieldto, 100);
    f.notice = 10;
    f.world.program[0] = waits;
    f.world.program[1] = f.world.program[2] = tens;
    f.world.halted[2] = true;
    vsched_core_wake(f.core, 0);
    vsched_core_wake(f.core, 1);
    windows(&f, 2);
    assert_log(&f, "0:0@0 0:0@10");
    f.world.halted[2] = false;
    vsched_core_wake(f.core, 2);
    /* It spins still at 20, but is heard again 4096 cycles later only. */
    windows(&f, 1);
    assert_log(&f, "0:0@20");
    fake_free(&f);

    /* 0 waits for nobody if it is idle: its spin lets the next one run. */
    fake_init_vms(&f, 3, vm, 1, 10, 0, &vsched_policy_yieldto, 100);
    f.notice = 10;
    f.knows_idle_loop = true;
    f.world.program[0] = (const Block[]) { { 10, WAIT, 0, 1, IDLE }, { } };
    f.world.program[1] = f.world.program[2] = tens;
    start_all(&f);
    windows(&f, 2);
    assert_log(&f, "0:0@0 0:1@10");
    fake_set(&f, "idle", VSCHED_IDLE_HALT);
    windows(&f, 9);     /* 1 until 110, 2 until 210, 0 */
    windows(&f, 10);
    g_array_set_size(f.world.log, 0);
    windows(&f, 2);     /* 2, behind 1 in the queue */
    assert_log(&f, "0:0@210 0:2@220");
    fake_free(&f);
}

/* 0 is alone on PCPU 0; 1 and 2 are on PCPU 1. */
static void init_two(Fake *f, const Block *a, const Block *b, const Block *c,
                     int64_t slice)
{
    init(f, 3, 2, slice, 20);
    set_affinity(f, 2, 2);
    f->world.program[0] = a;
    f->world.program[1] = b;
    f->world.program[2] = c;
    start_all(f);
}

static void test_preempts(void)
{
    Fake f;

    /*
     * 0 is found spinning at 20.  2 waits on PCPU 1: 1 is preempted when the
     * window is over, and 2 runs and signals at 30.  In the window from 30 to
     * 40 PCPU 1 comes first.  0 finds the flag and stops at 50.
     */
    init_two(&f, waits, user, signals, 100);
    windows(&f, 5);
    assert_log(&f, "0:0@0 1:1@0 1:1@10 0:0@10 0:0@20 1:2@20 1:2@30 0:0@30 "
                   "0:0@40 1:2@40");
    g_assert_cmpint(f.core->vcpu[1].preempted, ==, 1);
    g_assert_cmpint(f.core->vcpu[1].migrations, ==, 0);
    g_assert_cmpint(f.core->vcpu[2].migrations, ==, 0);
    fake_free(&f);
}

/* The VCPU that runs on PCPU 1 in each window, "1112...", until @time. */
static char *who(Fake *f, int64_t time)
{
    GString *s = g_string_new(NULL);

    fake_drive(f, time);
    for (guint i = 0; i < f->world.log->len; i++) {
        Executed *x = &g_array_index(f->world.log, Executed, i);

        if (x->pcpu == f->core->topology.pcpus - 1) {
            g_string_append_c(s, '0' + x->vcpu);
        }
    }
    g_array_set_size(f->world.log, 0);
    return g_string_free(s, false);
}

static void assert_who(Fake *f, int64_t time, const char *expected)
{
    g_autofree char *is = who(f, time);

    g_assert_cmpstr(is, ==, expected);
}

static void test_goes_on_with_the_rest(void)
{
    Fake f;

    /*
     * 1 has used 20 of 50 when it is preempted.  2 runs for 50, and then 1 for
     * the 30 that are left, then 2 for 50.
     */
    init_two(&f, waits, user, signals, 50);
    assert_who(&f, 160, "1122222111222221");
    fake_free(&f);
}

static void test_patience(void)
{
    Fake f;

    /*
     * 2 waits since 0: with a patience of 20 its queue is served in order from
     * 20 on, so that 1 has all of its 50.
     */
    init_two(&f, waits, user, signals, 50);
    fake_set(&f, "patience", 20);
    assert_who(&f, 100, "1111122222");
    fake_free(&f);
    init_two(&f, waits, user, signals, 50);
    fake_set(&f, "patience", 21);
    assert_who(&f, 100, "1122222111");
    fake_free(&f);

    /*
     * One PCPU: at 10, 0 makes room for 1, at 20 1 for 2, at 30 2 for nobody.
     * At 40 0 would be the target, but 1 has waited for 20: it runs.
     */
    init(&f, 3, 1, 1000, 10);
    hear_often(&f);
    all_run(&f, waits);
    windows(&f, 2);
    fake_set(&f, "patience", 30);
    windows(&f, 2);
    assert_log(&f, "0:0@0 0:1@10 0:2@20 0:2@30");
    windows(&f, 1);
    assert_log(&f, "0:0@40");           /* it has waited since 10 */
    windows(&f, 1);
    assert_log(&f, "0:1@50");           /* since 20 */
    fake_free(&f);
}

static void test_ple(void)
{
    Fake f;

    /*
     * PAUSEs at 10, 20, 30 ... are of one loop with a gap of 10.  At 40 it has
     * lasted for 30, which is more than 25: exit, and 1 runs.
     */
    init(&f, 2, 1, 1000, 10);
    f.pause = true;
    f.world.program[0] = waits;
    f.world.program[1] = tens;
    fake_set(&f, "trigger", PAUSE);
    fake_set(&f, "ple-gap", 10);
    fake_set(&f, "ple-window", 25);
    /* It has to be scheduled for the window to count. */
    start_all(&f);
    windows(&f, 5);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:0@30 0:1@40");
    fake_free(&f);

    /*
     * 1 sleeps at first: the exit at 40 finds nobody.  The window is 50 then,
     * and a new loop begins at 50: exit at 110.  Scheduled again at 120, after
     * 1 has stopped, it exits at 160, since the window is 25 again.
     */
    init(&f, 3, 1, 1000, 10);
    f.pause = true;
    f.world.program[0] = waits;
    f.world.program[1] = (const Block[]) { { 10, STOP }, { } };
    f.world.program[2] = tens;
    fake_set(&f, "trigger", PAUSE);
    fake_set(&f, "ple-gap", 10);
    fake_set(&f, "ple-window", 25);
    f.world.halted[1] = f.world.halted[2] = true;
    vsched_core_wake(f.core, 0);
    windows(&f, 5);
    f.world.halted[1] = false;
    vsched_core_wake(f.core, 1);
    windows(&f, 7);
    f.world.halted[2] = false;
    vsched_core_wake(f.core, 2);
    windows(&f, 5);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:0@30 0:0@40 0:0@50 0:0@60 0:0@70 "
                   "0:0@80 0:0@90 0:0@100 0:1@110 0:0@120 0:0@130 0:0@140 "
                   "0:0@150 0:2@160");
    fake_free(&f);

    /* Too far apart: never.  In user mode: never, until the slice is over. */
    for (int i = 0; i < 2; i++) {
        init(&f, 2, 1, 1000, 10);
        f.pause = true;
        f.world.program[0] = i ? user_waits : waits;
        f.world.program[1] = tens;
        fake_set(&f, "trigger", PAUSE);
        fake_set(&f, "ple-gap", i ? 10 : 9);
        fake_set(&f, "ple-window", 25);
        start_all(&f);
        windows(&f, 101);
        g_assert_cmpint(f.core->vcpu[0].expired, ==, 1);
        g_assert_cmpint(f.core->vcpu[1].switches, ==, 1);
        fake_free(&f);
    }
}

static const Block calls[] = { { 10, CALL, 3 }, { 10, STOP }, { } };

static void init_credit(Fake *f, int vcpus, int pcpus, int64_t slice)
{
    init(f, vcpus, pcpus, slice, 20);
    fake_set(f, "rules", CREDIT);
    fake_set(f, "credit", 50);
    fake_set(f, "resched-interval", 0);
    for (int v = 0; v < vcpus; v++) {
        f->world.program[v] = tens;
    }
}

static VschedHint sent(int sender, int receiver, int64_t now)
{
    return (VschedHint) {
        .kind = VSCHED_HINT_SENT, .pcpu = 0, .vcpu = receiver, .now = now,
        .other = sender,
    };
}

static void test_receiver_first(void)
{
    Fake f;

    /*
     * 0 calls 3 at 10, and is found spinning at 20.  1 and 2 stand before 3,
     * but 3 is what 0 waits for.  It has a credit of 50; then 0 goes on with
     * the 80 that are left of its slice, and stops at 90.  1 is next.
     */
    init_credit(&f, 4, 1, 100);
    f.world.program[0] = calls;
    start_all(&f);
    windows(&f, 10);
    assert_log(&f, "0:0@0 0:0@10 0:3@20 0:3@30 0:3@40 0:3@50 0:3@60 0:0@70 "
                   "0:0@80 0:1@90");
    fake_free(&f);

    /* The other rules take the first in turn, and all of its slice goes by. */
    init(&f, 4, 1, 100, 20);
    all_run(&f, tens);
    f.world.program[0] = calls;
    windows(&f, 3);
    assert_log(&f, "0:0@0 0:0@10 0:1@20");
    fake_free(&f);

    /* Nobody was preempted: without an interrupt there is no target. */
    init_credit(&f, 4, 1, 100);
    f.world.program[0] = waits;
    start_all(&f);
    windows(&f, 3);
    assert_log(&f, "0:0@0 0:0@10 0:0@20");
    fake_free(&f);

    /* One that was sent 10 cycles ago, and has arrived, is known for 10. */
    for (int known = 9; known <= 10; known++) {
        VschedHint h = sent(0, 3, 10);

        init_credit(&f, 4, 1, 100);
        fake_set(&f, "ipi-window", known);
        f.world.program[0] = waits;
        start_all(&f);
        f.core->ops->hint(f.core->policy, &h);
        windows(&f, 3);
        assert_log(&f, known == 10 ? "0:0@0 0:0@10 0:3@20"
                                   : "0:0@0 0:0@10 0:0@20");
        fake_free(&f);
    }
}

static void test_single_target(void)
{
    static const VschedHint taken = { .kind = VSCHED_HINT_TAKEN, .vcpu = 2 };
    const VschedPolicyOps *ops = &vsched_policy_yieldto;
    GArray *words = g_array_new(false, false, sizeof(int64_t));
    VschedHint h;
    Fake f;

    /* Who the last one is that 0 waits for: word 6 of those of VCPU 0. */
#define RECEIVER (g_array_set_size(words, 0),                           \
                  ops->save(f.core->policy, words),                     \
                  g_array_index(words, int64_t,                         \
                                1 + g_array_index(words, int64_t, 0) + 6))
    init_credit(&f, 4, 1, 100);
    start_all(&f);
    windows(&f, 1);
    g_assert_cmpint(RECEIVER, ==, VSCHED_NONE);
    h = sent(0, 2, 100);
    ops->hint(f.core->policy, &h);
    g_assert_cmpint(RECEIVER, ==, 2);
    ops->hint(f.core->policy, &h);      /* again, it was refused */
    g_assert_cmpint(RECEIVER, ==, 2);
    /* To three at once: to nobody alone. */
    for (int v = 1; v <= 3; v++) {
        h = sent(0, v, 200);
        ops->hint(f.core->policy, &h);
    }
    g_assert_cmpint(RECEIVER, ==, VSCHED_NONE);
    h = sent(0, 2, 300);
    ops->hint(f.core->policy, &h);
    h = sent(VSCHED_NONE, 3, 301);      /* of a device */
    ops->hint(f.core->policy, &h);
    g_assert_cmpint(RECEIVER, ==, 2);
    ops->hint(f.core->policy, &taken);
    g_assert_cmpint(RECEIVER, ==, VSCHED_NONE);
    fake_free(&f);
    g_array_free(words, true);
#undef RECEIVER
}

static void test_order_of_candidates(void)
{
    static const int64_t slice = 20;
    Fake f;

    /*
     * Slices of 20: all have run in user mode and were preempted, 0 runs again
     * at 80 and spins in the kernel.  The relaxed pass takes 1, though it was
     * preempted in user mode.
     */
    init_credit(&f, 4, 1, slice);
    f.notice = 10;
    all_run(&f, user);
    windows(&f, 8);
    f.world.program[0] = waits;
    g_array_set_size(f.world.log, 0);
    windows(&f, 2);
    assert_log(&f, "0:0@80 0:1@90");
    fake_free(&f);

    /* 3 was preempted in the kernel. */
    init_credit(&f, 4, 1, slice);
    f.notice = 10;
    all_run(&f, user);
    f.world.program[3] = tens;
    windows(&f, 8);
    f.world.program[0] = waits;
    g_array_set_size(f.world.log, 0);
    windows(&f, 2);
    assert_log(&f, "0:0@80 0:3@90");
    fake_free(&f);

    /* And an interrupt waits for 2: better. */
    init_credit(&f, 4, 1, slice);
    f.notice = 10;
    all_run(&f, user);
    f.world.program[3] = tens;
    windows(&f, 8);
    f.world.program[0] = waits;
    f.world.called[2] = 1;
    g_array_set_size(f.world.log, 0);
    windows(&f, 2);
    assert_log(&f, "0:0@80 0:2@90");
    fake_free(&f);
}

static void test_forced_seldom(void)
{
    Fake f;

    /*
     * One PCPU, slices of 100, a credit of 50; 0 spins for 3 all the time, and
     * is heard at 20 and 40 (windows of 20 cycles): the first time is forced.
     * 3 takes the interrupt, so that at 90, back on its PCPU, 0 spins for
     * nobody that it knows; 3 was preempted, and is credited again, but not by
     * force: 100 cycles have not passed since 20.  So 0 has the rest of its
     * slice, until 150, and then 3 runs before 1 and 2, for 50.  Then 1.
     */
    init_credit(&f, 4, 1, 100);
    fake_set(&f, "resched-interval", 100);
    f.world.program[0] = (const Block[]) {
        { 10, CALL, 3 }, { 10, WAIT, 0, 1 }, { }
    };
    start_all(&f);
    windows(&f, 21);
    assert_log(&f, "0:0@0 0:0@10 0:3@20 0:3@30 0:3@40 0:3@50 0:3@60 0:0@70 "
                   "0:0@80 0:0@90 0:0@100 0:0@110 0:0@120 0:0@130 0:0@140 "
                   "0:3@150 0:3@160 0:3@170 0:3@180 0:3@190 0:1@200");
    fake_free(&f);

    /* With an interval of 80 it is forced at 100, and 0 has 50 left. */
    init_credit(&f, 4, 1, 100);
    fake_set(&f, "resched-interval", 80);
    f.world.program[0] = (const Block[]) {
        { 10, CALL, 3 }, { 10, WAIT, 0, 1 }, { }
    };
    start_all(&f);
    windows(&f, 16);
    assert_log(&f, "0:0@0 0:0@10 0:3@20 0:3@30 0:3@40 0:3@50 0:3@60 0:0@70 "
                   "0:0@80 0:0@90 0:3@100 0:3@110 0:3@120 0:3@130 0:3@140 "
                   "0:0@150");
    fake_free(&f);

    /*
     * Two PCPUs: 1 is preempted for 2, and 0 does not make room.  2 has no more
     * than 50 of its slice of 100 ahead of 1, which goes on with its 80.
     */
    init_credit(&f, 3, 2, 100);
    set_affinity(&f, 2, 2);
    f.world.program[0] = (const Block[]) { { 10, CALL, 2 }, { 10 }, { } };
    f.world.program[1] = user;
    start_all(&f);
    assert_who(&f, 160, "1122222111111112");
    g_assert_cmpint(f.core->vcpu[0].ended_by_spin, ==, 0);
    fake_free(&f);
}

static void test_mixed_pause(Fake *f)
{
    fake_set(f, "trigger", PAUSE);
    fake_set(f, "ple-window", 40);
}

static void test_mixed_credit(Fake *f)
{
    fake_set(f, "rules", CREDIT);
    fake_set(f, "ple-window", 40);
    fake_set(f, "resched-interval", 90);
}

static void test_mixed(void)
{
    fake_mixed(&vsched_policy_yieldto, NULL);
    fake_mixed(&vsched_policy_yieldto, test_mixed_pause);
    fake_mixed(&vsched_policy_yieldto, test_mixed_credit);
}

static void test_impossible_states(void)
{
    const VschedPolicyOps *ops = &vsched_policy_yieldto;
    GArray *words = g_array_new(false, false, sizeof(int64_t));
    int64_t *w;
    int vcpu, n;
    Fake f;

    init(&f, 3, 2, 20, 10);
    all_run(&f, waits);
    windows(&f, 3);
    ops->save(f.core->policy, words);
    w = (int64_t *)words->data;
    n = words->len;
    vcpu = 1 + w[0];            /* behind the queues: 12 words each */
    g_assert_cmpint(n, ==, vcpu + 3 * 12 + 2 * 2 + 1);
    g_assert_true(ops->load(f.core->policy, w, n));
    g_assert_false(ops->load(f.core->policy, w, n - 1));
#define IMPOSSIBLE(i, value)                                            \
    do {                                                                \
        int64_t was = w[i];                                             \
        w[i] = value;                                                   \
        g_assert_false(ops->load(f.core->policy, w, n));                \
        w[i] = was;                                                     \
    } while (0)
    IMPOSSIBLE(0, 7);
    IMPOSSIBLE(vcpu, -1);               /* given */
    IMPOSSIBLE(vcpu + 2, INT64_MAX);    /* credit */
    IMPOSSIBLE(vcpu + 3, 2);            /* preempted */
    IMPOSSIBLE(vcpu + 6, 3);            /* receiver */
    IMPOSSIBLE(vcpu + 7, INT64_MIN);    /* sent */
    IMPOSSIBLE(vcpu + 10, 0);           /* ple_window */
    IMPOSSIBLE(vcpu + 36, 3);           /* next */
    IMPOSSIBLE(vcpu + 37, INT64_MAX);   /* forced */
    IMPOSSIBLE(vcpu + 40, 3);           /* last_boosted */
#undef IMPOSSIBLE
    g_assert_true(ops->load(f.core->policy, w, n));
    g_array_free(words, true);
    fake_free(&f);
}

static void test_longest_wait(void)
{
    Fake f;

    /* 1000000 + 2 x 100000 + 3 x 554 + 1000 */
    fake_init(&f, 24, 8, 1000, 554, &vsched_policy_yieldto, 100000);
    g_assert_cmpint(longest_wait(&f), ==, 1202662);
    fake_set(&f, "patience", 5);
    g_assert_cmpint(longest_wait(&f), ==, 202667);
    fake_free(&f);
    /* Alone: 554 + 1000 */
    fake_init(&f, 8, 8, 1000, 554, &vsched_policy_yieldto, 100000);
    g_assert_cmpint(longest_wait(&f), ==, 1554);
    fake_free(&f);
}

/* A cycle at which 0 has come through @a, on PCPU 0 alone. */
static int64_t through(const VschedPolicyOps *ops, const Block *b,
                       const Block *c)
{
    int64_t time = 0;
    Fake f;

    fake_init(&f, 3, 2, 10, 0, ops, 100);
    f.notice = 20;
    set_affinity(&f, 2, 2);
    f.world.program[0] = waits;
    f.world.program[1] = b;
    f.world.program[2] = c;
    start_all(&f);
    while (!f.world.rounds[0]) {
        fake_drive(&f, time += 10);
    }
    fake_free(&f);
    return time;
}

static void test_yieldto_and_timeslice(void)
{
    static const Block late[] = {
        { 10 }, { 10 }, { 10 }, { 10 }, { 10 }, { 10, SIGNAL, 0 }, { 1000 }, { }
    };

    /*
     * 2, which holds what 0 waits for, waits behind 1.  "timeslice" and "sdb"
     * let 1 have its slice, until 100; 2 signals at 110, in a window in which
     * PCPU 0 is first.  So 0 finds the flag at 120, and stops at 130.
     * "yieldto" has 2 signal at 30, and 0 stops at 50: see test_preempts().
     */
    g_assert_cmpint(through(&vsched_policy_timeslice, user, signals), ==, 130);
    g_assert_cmpint(through(&vsched_policy_sdb, user, signals), ==, 130);
    g_assert_cmpint(through(&vsched_policy_yieldto, user, signals), ==, 50);

    /*
     * 1 has it, and runs: it signals at 60, in a window in which PCPU 1 is
     * first, and 0 finds the flag in that same window and stops at 70.
     * "yieldto" guesses wrong, as 2 is the one that does not run: 1 is
     * preempted at 20, goes on at 120, and signals at 160.
     */
    g_assert_cmpint(through(&vsched_policy_timeslice, late, user), ==, 70);
    g_assert_cmpint(through(&vsched_policy_yieldto, late, user), ==, 170);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/yieldto/user-mode", test_skips_user_mode);
    g_test_add_func("/yieldto/pending", test_interrupt_pending_in_user_mode);
    g_test_add_func("/yieldto/round-robin", test_round_robin);
    g_test_add_func("/yieldto/other-vm", test_other_vm);
    g_test_add_func("/yieldto/preempts", test_preempts);
    g_test_add_func("/yieldto/rest", test_goes_on_with_the_rest);
    g_test_add_func("/yieldto/patience", test_patience);
    g_test_add_func("/yieldto/ple", test_ple);
    g_test_add_func("/yieldto/receiver", test_receiver_first);
    g_test_add_func("/yieldto/single-target", test_single_target);
    g_test_add_func("/yieldto/candidates", test_order_of_candidates);
    g_test_add_func("/yieldto/forced", test_forced_seldom);
    g_test_add_func("/yieldto/mixed", test_mixed);
    g_test_add_func("/yieldto/impossible", test_impossible_states);
    g_test_add_func("/yieldto/longest-wait", test_longest_wait);
    g_test_add_func("/yieldto/timeslice", test_yieldto_and_timeslice);
    return g_test_run();
}
