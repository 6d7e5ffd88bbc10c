/*
 * Policy "safepoint": traces worked by hand.
 *
 * Blocks and windows are 10 cycles long, timeslices 20, switches cost nothing,
 * unless a test says otherwise.  VCPU v belongs to PCPU v mod P.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "../../state.h"
#include "../fake-host.h"

static const Block kernel[] = { { 10 }, { } };
static const Block user[] = { { 10, .mode = USER }, { } };

typedef const Block *ProgramList[];

#define PROGRAMS(...) ((ProgramList) { __VA_ARGS__ })

enum {
    NEXT_FREE, OWN_PCPU, SHORT_GRACE, IGNORED
};

/* @programs: of the VCPUs; NULL: it does not start */
static void init(Fake *f, int vcpus, int pcpus, const Block *const *programs,
                 int64_t grace)
{
    fake_init(f, vcpus, pcpus, 10, 0, &vsched_policy_safepoint, 20);
    fake_set(f, "grace", grace);
    fake_set(f, "short-grace", 20);
    fake_set(f, "longest-hold", 100);
    for (int v = 0; v < vcpus; v++) {
        f->world.program[v] = programs[v] ? programs[v] : kernel;
        f->world.halted[v] = !programs[v];
        if (programs[v]) {
            vsched_core_wake(f->core, v);
        }
    }
}

/*
 * ------------------------------------------------------------------------
 * Safe points.
 */

static void test_grace(void)
{
    const Block *both[] = { kernel, user };
    Fake f;

    /*
     * 0 is in the kernel when its timeslice is over at 20, and runs on for the
     * grace period of 40.  1 is in user mode at 80: it goes.
     */
    init(&f, 2, 1, both, 40);
    fake_drive(&f, 150);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:0@30 0:0@40 0:0@50 0:1@60 0:1@70 "
                   "0:0@80 0:0@90 0:0@100 0:0@110 0:0@120 0:0@130 0:1@140");
    g_assert_cmpint(f.core->pcpu[0].switches, ==, 4);
    assert_sums(&f);
    fake_free(&f);

    /* Of a grace period of 25 two blocks are run, and not a third. */
    init(&f, 2, 1, both, 25);
    fake_drive(&f, 50);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:0@30 0:1@40");
    fake_free(&f);

    /* No grace: "timeslice" */
    init(&f, 2, 1, both, 0);
    fake_drive(&f, 50);
    assert_log(&f, "0:0@0 0:0@10 0:1@20 0:1@30 0:0@40");
    fake_free(&f);

    /* Alone it has one timeslice after the other, and no grace period. */
    init(&f, 2, 1, PROGRAMS(kernel, NULL), 40);
    fake_drive(&f, 50);
    f.world.program[1] = user;
    f.world.halted[1] = false;
    vsched_core_wake(f.core, 1);        /* at 50; the third is over at 60 */
    fake_drive(&f, 110);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:0@30 0:0@40 0:0@50 0:0@60 0:0@70 "
                   "0:0@80 0:0@90 0:1@100");
    fake_free(&f);
}

/* Timeslices are shortened at random, grace periods are not. */
static void test_exact_grace(void)
{
    const VschedPCPU *pcpu;
    Fake f;

    fake_init(&f, 2, 1, 10, 0, &vsched_policy_safepoint, 6400);
    pcpu = &f.core->pcpu[0];
    f.core->jitter = true;
    all_run(&f, kernel);
    for (int i = 0; i < 20; i++) {
        int64_t over;

        while (pcpu->slice_end - pcpu->slice_start <= 6400) {
            windows(&f, 1);
        }
        /* 1 ms for 100 us: ten timeslices */
        over = pcpu->slice_start;
        g_assert_cmpint(pcpu->slice_end, ==, over + 64000);
        while (pcpu->slice_start == over) {
            windows(&f, 1);
        }
    }
    fake_free(&f);
}

static void test_user_mode(void)
{
    static const Block calls_system[] = {
        { 10 }, { 10 }, { 10 }, { 10, .mode = USER }, { 10, .mode = USER }, { }
    };
    Fake f;

    /*
     * The timeslice is over at 20, in the kernel.  At 30, 0 goes to user mode,
     * and does not execute its first instruction there before 1 has run.
     */
    init(&f, 2, 1, PROGRAMS(calls_system, user), 1000);
    fake_drive(&f, 60);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:1@30 0:1@40 0:0@50");
    g_assert_cmpint(f.core->vcpu[0].ended_by_hint, ==, 1);
    g_assert_cmpint(f.core->vcpu[0].expired, ==, 1);
    fake_free(&f);

    /* Before its timeslice is over nothing is asked of it. */
    init(&f, 2, 1, PROGRAMS(calls_system, user), 1000);
    set_policy(&f, &vsched_policy_safepoint, 40);
    fake_drive(&f, 50);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:0@30 0:1@40");
    fake_free(&f);
}

static void test_idle(void)
{
    static const Block idles[] = {
        { 10 }, { 10 }, { 10 }, { 10, .mode = IDLE }, { 10, .mode = IDLE }, { }
    };
    static const Block spins[] = { { 10, SPIN }, { } };
    Fake f;

    /*
     * It is in the idle loop from 30 on.  That is seen when the window is over,
     * at 40.
     */
    init(&f, 2, 1, PROGRAMS(idles, user), 1000);
    f.knows_idle_loop = true;
    fake_drive(&f, 50);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:0@30 0:1@40");
    g_assert_cmpint(f.core->vcpu[0].preempted, ==, 1);
    /* In the idle loop when its timeslice is over: 60 to 80, less than that */
    fake_drive(&f, 130);
    assert_log(&f, "0:1@50 0:0@60 0:0@70 0:0@80 0:0@90 0:0@100 0:1@110 "
                   "0:1@120");
    fake_free(&f);

    /* Where nobody knows the loop, or nobody looks, it is in the kernel. */
    init(&f, 2, 1, PROGRAMS(idles, user), 60);
    fake_drive(&f, 90);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:0@30 0:0@40 0:0@50 0:0@60 0:0@70 "
                   "0:1@80");
    fake_free(&f);
    init(&f, 2, 1, PROGRAMS(idles, user), 60);
    f.knows_idle_loop = true;
    fake_set(&f, "idle", VSCHED_IDLE_NONE);
    fake_drive(&f, 90);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:0@30 0:0@40 0:0@50 0:0@60 0:0@70 "
                   "0:1@80");
    fake_free(&f);

    /* As the SDB sees it: at the first spin after the timeslice */
    init(&f, 2, 1, PROGRAMS(spins, user), 60);
    fake_set(&f, "idle", VSCHED_IDLE_SDB);
    fake_drive(&f, 40);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:1@30");
    g_assert_cmpint(f.core->vcpu[0].ended_by_spin, ==, 1);
    fake_free(&f);
    init(&f, 2, 1, PROGRAMS(spins, user), 60);
    fake_drive(&f, 40);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:0@30");
    fake_free(&f);
}

/*
 * ------------------------------------------------------------------------
 * The guest asks not to be preempted.
 */

static void test_hold(void)
{
    static const Block holds_50[] = {
        { 10, HOLD, 50, 0, USER }, { 10, .mode = USER }, { 10, .mode = USER },
        { 10, .mode = USER }, { 10, .mode = USER }, { 10, .mode = USER }, { }
    };
    static const Block holds_45[] = {
        { 10, HOLD, 45, 0, USER }, { 10, .mode = USER }, { 10, .mode = USER },
        { 10, .mode = USER }, { 10, .mode = USER }, { 10, .mode = USER }, { }
    };
    static const Block releases[] = {
        { 10, HOLD, 90, 0, USER }, { 10, .mode = USER }, { 10, .mode = USER },
        { 10, HOLD, 0, 0, USER }, { }
    };
    static const Block kernel_then_user[] = {
        { 10, HOLD, 40 }, { 10 }, { 10 }, { 10, .mode = USER },
        { 10, .mode = USER }, { 10, .mode = USER }, { 10, .mode = USER }, { }
    };
    static const Block again[] = { { 10, HOLD, 90, 0, USER }, { } };
    Fake f;

    /* At 10 it asks for 50: it is not preempted before 60. */
    init(&f, 2, 1, PROGRAMS(holds_50, user), 0);
    fake_drive(&f, 70);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:0@30 0:0@40 0:0@50 0:1@60");
    fake_free(&f);
    /* For 45, until 55: no block fits between 50 and that. */
    init(&f, 2, 1, PROGRAMS(holds_45, user), 0);
    fake_drive(&f, 60);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:0@30 0:0@40 0:1@50");
    fake_free(&f);
    /* 30 is the longest that is granted: until 40 */
    init(&f, 2, 1, PROGRAMS(holds_50, user), 0);
    fake_set(&f, "longest-hold", 30);
    fake_drive(&f, 50);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:0@30 0:1@40");
    fake_free(&f);
    /* None: the timeslice is over at 20. */
    init(&f, 2, 1, PROGRAMS(holds_50, user), 0);
    fake_set(&f, "longest-hold", 0);
    fake_drive(&f, 30);
    assert_log(&f, "0:0@0 0:0@10 0:1@20");
    fake_free(&f);
    /* It has released its lock at 40. */
    init(&f, 2, 1, PROGRAMS(releases, user), 0);
    fake_drive(&f, 50);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:0@30 0:1@40");
    g_assert_cmpint(f.core->vcpu[0].ended_by_hint, ==, 1);
    fake_free(&f);
    /* It asks again in each block: 100 after the timeslice is the end. */
    init(&f, 2, 1, PROGRAMS(again, user), 0);
    fake_drive(&f, 130);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:0@30 0:0@40 0:0@50 0:0@60 0:0@70 "
                   "0:0@80 0:0@90 0:0@100 0:0@110 0:1@120");
    fake_free(&f);
    /*
     * In the kernel, with a grace period until 120; to user mode at 30, held
     * until 50.  That it was in user mode then is seen at 50.
     */
    init(&f, 2, 1, PROGRAMS(kernel_then_user, user), 100);
    fake_drive(&f, 60);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:0@30 0:0@40 0:1@50");
    fake_free(&f);
}

/*
 * ------------------------------------------------------------------------
 * Safe points that are injected.  Locks keep interrupts off in this guest.
 */

static void init_inject(Fake *f, const Block *const *programs, int64_t grace)
{
    init(f, 2, 1, programs, grace);
    fake_set(f, "inject", 1);
    f->driver = true;
}

static void test_inject(void)
{
    /* In each round of 70 cycles, it has the lock from 20 to 50. */
    static const Block locks[] = {
        { 10 }, { 10, LOCK, 0 }, { 10 }, { 10 }, { 10, UNLOCK, 0 }, { 10 },
        { 10 }, { }
    };
    static const Block *both[] = { locks, user };
    Fake f;

    /*
     * Asked at 20, when its timeslice is over, it takes the interrupt at 50
     * and goes, 70 cycles before the end of its grace period.  At 90 it has no
     * lock: it goes at once.
     */
    init_inject(&f, both, 100);
    fake_drive(&f, 110);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:0@30 0:0@40 0:1@50 0:1@60 0:0@70 "
                   "0:0@80 0:1@90 0:1@100");
    g_assert_cmpint(f.asks, ==, 2);
    g_assert_cmpint(f.core->vcpu[0].ended_by_hint, ==, 2);
    g_assert_cmpint(f.core->vcpu[0].expired, ==, 2);
    fake_free(&f);

    /* Nobody is asked, or nobody answers: at 120 */
    for (int i = 0; i < 2; i++) {
        init_inject(&f, both, 100);
        fake_set(&f, "inject", i);
        f.driver = !i;
        fake_drive(&f, 130);
        assert_log(&f, "0:0@0 0:0@10 0:0@20 0:0@30 0:0@40 0:0@50 0:0@60 "
                       "0:0@70 0:0@80 0:0@90 0:0@100 0:0@110 0:1@120");
        g_assert_cmpint(f.asks, ==, 0);
        fake_free(&f);
    }

    /*
     * A grace period of 20 ends while it has the lock, at 40.  It unlocks and
     * takes the interrupt at 70, within a timeslice: it goes on.  At 80 it is
     * asked again, and goes.
     */
    init_inject(&f, both, 20);
    fake_drive(&f, 90);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:0@30 0:1@40 0:1@50 0:0@60 0:0@70 "
                   "0:1@80");
    g_assert_cmpint(f.asks, ==, 2);
    fake_free(&f);
}

static void test_inject_whom(void)
{
    static const Block holds[] = {
        { 10, HOLD, 60 }, { 10 }, { 10 }, { 10 }, { 10, HOLD, 0 }, { 10 },
        { 10 }, { }
    };
    static const Block idles[] = { { 10, .mode = IDLE }, { } };
    Fake f;

    /* Nobody who is at a safe point already, or for whom nobody waits */
    init_inject(&f, PROGRAMS(user, user), 100);
    fake_drive(&f, 100);
    g_assert_cmpint(f.asks, ==, 0);
    fake_free(&f);
    init_inject(&f, PROGRAMS(idles, user), 100);
    f.knows_idle_loop = true;
    fake_drive(&f, 100);
    g_assert_cmpint(f.asks, ==, 0);
    fake_free(&f);
    init_inject(&f, PROGRAMS(kernel, NULL), 100);
    fake_drive(&f, 100);
    g_assert_cmpint(f.asks, ==, 0);
    fake_free(&f);

    /*
     * It asks at 10 to run on until 70.  At 20 it takes the interrupt, and goes
     * on; at 50 it takes its request back, is asked again, and goes.
     */
    init_inject(&f, PROGRAMS(holds, user), 100);
    fake_drive(&f, 60);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:0@30 0:0@40 0:1@50");
    g_assert_cmpint(f.asks, ==, 2);
    fake_free(&f);
}

static void inject_on(Fake *f)
{
    f->driver = true;
    fake_set(f, "inject", 1);
    fake_set(f, "interrupted", IGNORED);
}

static void test_inject_mixed(void)
{
    fake_mixed(&vsched_policy_safepoint, inject_on);
}

/*
 * ------------------------------------------------------------------------
 * Interrupts for paused VCPUs.
 */

/*
 * Two PCPUs, 0, 2 and 4 belong to the first, 1, 3 and 5 to the second.  At 20,
 * 0 has called 5 and its timeslice is over; it waits in user mode, and is safe.
 * 1 is in the kernel, and may be there until 80.
 */
static void init_call(Fake *f, int interrupted)
{
    static const Block calls[] = {
        { 10, .mode = USER }, { 10, CALL, 5, 0, USER },
        { 10, STOP, 0, 0, USER }, { }
    };

    init(f, 6, 2, PROGRAMS(calls, kernel, user, user, user, user), 60);
    fake_set(f, "interrupted", interrupted);
}

static void test_interrupted(void)
{
    Fake f;

    /*
     * PCPU 0 comes free at 20: 5 runs there, before 2 and 4 which belong there.
     * It has taken the interrupt, and goes back to its own queue, behind 3.  At
     * 80, 0 finds that its call was taken.
     */
    init_call(&f, NEXT_FREE);
    fake_drive(&f, 100);
    assert_log(&f, "0:0@0 1:1@0 1:1@10 0:0@10 0:5@20 1:1@20 1:1@30 0:5@30 "
                   "0:2@40 1:1@40 1:1@50 0:2@50 0:4@60 1:1@60 1:1@70 0:4@70 "
                   "0:0@80 1:3@80 1:3@90 0:0@90");
    g_assert_cmpint(f.core->vcpu[0].state, ==, VSCHED_BLOCKED);
    assert_sums(&f);
    fake_free(&f);

    /* It waits for its own PCPU, and is first there, at 80. */
    init_call(&f, OWN_PCPU);
    fake_drive(&f, 100);
    assert_log(&f, "0:0@0 1:1@0 1:1@10 0:0@10 0:2@20 1:1@20 1:1@30 0:2@30 "
                   "0:4@40 1:1@40 1:1@50 0:4@50 0:0@60 1:1@60 1:1@70 0:0@70 "
                   "0:2@80 1:5@80 1:5@90 0:2@90");
    fake_free(&f);

    /* And 1 has 20 cycles instead of 60 for that. */
    init_call(&f, SHORT_GRACE);
    fake_drive(&f, 60);
    assert_log(&f, "0:0@0 1:1@0 1:1@10 0:0@10 0:2@20 1:1@20 1:1@30 0:2@30 "
                   "0:4@40 1:5@40 1:5@50 0:4@50");
    fake_free(&f);

    /* As if there were no call: 3 is before 5. */
    init_call(&f, IGNORED);
    fake_drive(&f, 100);
    assert_log(&f, "0:0@0 1:1@0 1:1@10 0:0@10 0:2@20 1:1@20 1:1@30 0:2@30 "
                   "0:4@40 1:1@40 1:1@50 0:4@50 0:0@60 1:1@60 1:1@70 0:0@70 "
                   "0:2@80 1:3@80 1:3@90 0:2@90");
    fake_free(&f);
}

static void test_interrupted_when(void)
{
    static const Block calls_late[] = {
        { 10 }, { 10 }, { 10 }, { 10, CALL, 3 }, { 10, STOP }, { }
    };
    static const Block calls[] = { { 10 }, { 10, CALL, 3 }, { 10, STOP }, { } };
    Fake f;

    /* The interrupt comes at 40, when 20 cycles of grace are over already. */
    init(&f, 4, 2, PROGRAMS(calls_late, kernel, NULL, user), 100);
    fake_set(&f, "interrupted", SHORT_GRACE);
    fake_drive(&f, 50);
    assert_log(&f, "0:0@0 1:1@0 1:1@10 0:0@10 0:0@20 1:1@20 1:1@30 0:0@30 "
                   "0:0@40 1:3@40");
    g_assert_cmpint(f.core->vcpu[1].preempted, ==, 1);
    fake_free(&f);

    /*
     * An idle PCPU is one that comes free.  Of three, 3 belongs to PCPU 0 and
     * runs on PCPU 2.  It runs on there as long as nobody else waits for that:
     * 5 does from 50 on, and 3 goes home when its second timeslice is over.
     */
    init(&f, 6, 3, PROGRAMS(calls, user, NULL, user, NULL, NULL), 100);
    fake_drive(&f, 50);
    assert_log(&f, "0:0@0 1:1@0 1:1@10 0:0@10 2:3@20 0:0@20 1:1@20 0:0@30 "
                   "1:1@30 2:3@30 1:1@40 2:3@40");
    f.world.program[5] = user;
    f.world.halted[5] = false;
    vsched_core_wake(f.core, 5);
    fake_drive(&f, 80);
    assert_log(&f, "2:3@50 1:1@50 1:1@60 2:5@60 1:1@70 2:5@70 0:3@70");
    fake_free(&f);

    /* An interrupt of a device does not put 4 in front of 2. */
    init(&f, 6, 2, PROGRAMS(user, NULL, user, NULL, user, NULL), 100);
    vsched_core_hint(f.core, &(VschedHint) {
        .kind = VSCHED_HINT_SENT,
        .pcpu = VSCHED_NONE,
        .vcpu = 4,
        .other = VSCHED_NONE,
    });
    fake_drive(&f, 60);
    assert_log(&f, "0:0@0 0:0@10 0:2@20 0:2@30 0:4@40 0:4@50");
    fake_free(&f);

    /* One that was halted is before others too: 5 has waited for longer. */
    init(&f, 6, 2, PROGRAMS(calls, user, NULL, NULL, NULL, user), 100);
    fake_drive(&f, 30);
    assert_log(&f, "0:0@0 1:1@0 1:1@10 0:0@10 0:0@20 1:3@20");
    fake_free(&f);
}

static void test_starved(void)
{
    static const Block calls[] = { { 10, CALL, 1 }, { 10, CALL, 3 }, { } };
    const Block *programs[] = { calls, user, NULL, user, NULL, user };
    Fake f;

    /*
     * 0, alone on its PCPU, calls 1 and 3 in turn.  Whichever of them is paused
     * runs next, and 5 never: there is no bound.  Those two wait for less than
     * 5 x (20 + 100 + 0 + 10) + 10 cycles, of which two turns are used.
     */
    init(&f, 6, 2, programs, 100);
    g_assert_cmpint(longest_wait(&f), ==, INT64_MAX);
    fake_drive(&f, 4000);
    g_assert_cmpint(f.world.next[5], ==, 0);
    g_assert_cmpint(f.world.next[1], >, 100);
    g_assert_cmpint(f.world.next[3], >, 100);
    fake_free(&f);
    /* "ignored" has one: two others of 20 + 100 each, and a window. */
    init(&f, 6, 2, programs, 100);
    fake_set(&f, "interrupted", IGNORED);
    g_assert_cmpint(longest_wait(&f), ==, 2 * (20 + 100) + 10);
    fake_drive(&f, 4000);
    g_assert_cmpint(f.world.next[5], >, 100);
    g_assert_cmpint(f.longest_wait, <=, 2 * (20 + 100) + 10);
    fake_free(&f);
}

static void test_formula(void)
{
    Fake f;

    /* 2 x (100000 + 1000000) + 3 x 554 + 1000 */
    fake_init(&f, 24, 8, 1000, 554, &vsched_policy_safepoint, 100000);
    g_assert_cmpint(longest_wait(&f), ==, INT64_MAX);
    fake_set(&f, "interrupted", IGNORED);
    g_assert_cmpint(longest_wait(&f), ==, 2202662);
    /* 7 PCPUs: 4 VCPUs on the first three: 3 x (100000 + 30000) + 3216 */
    fake_set(&f, "grace", 20000);
    fake_set(&f, "longest-hold", 30000);
    set_online(&f, 0x7f);
    g_assert_cmpint(longest_wait(&f), ==, 393216);
    fake_free(&f);
}

/*
 * ------------------------------------------------------------------------
 * At random: programs with calls and modes.
 */

#define BLOCKS 40

typedef struct Programs {
    Block block[8][BLOCKS + 1];
} Programs;

static void draw(Programs *programs, int vcpus, uint32_t seed)
{
    memset(programs, 0, sizeof(*programs));
    for (int v = 0; v < vcpus; v++) {
        for (int i = 0; i < BLOCKS; i++) {
            uint32_t h = hash(seed, v, i), e = h >> 8 & 31;
            Block *b = &programs->block[v][i];

            b->length = h % 64 + 1;
            /* Modes change seldom. */
            b->mode = hash(seed, v + 99, i / 5) % 3;
            if (e < 3 && vcpus > 1) {
                b->event = CALL;
                b->arg = (v + 1 + (h >> 16) % (vcpus - 1)) % vcpus;
            } else if (e < 5) {
                b->event = HALT;
                b->arg = 1 + (h >> 16) % 3000;
            } else if (e < 7) {
                b->event = HOLD;
                b->arg = (h >> 16) % 300;
            } else if (e < 9) {
                b->event = SPIN;
            }
        }
    }
}

static void init_random(Fake *f, const Programs *programs, uint32_t seed,
                        bool start)
{
    int vcpus = 1 + hash(seed, 1, 9) % 8, pcpus = 1 + hash(seed, 2, 9) % 4;

    fake_init(f, vcpus, pcpus, 50 + hash(seed, 3, 9) % 200,
              hash(seed, 4, 9) % 50, &vsched_policy_safepoint,
              100 + hash(seed, 5, 9) % 900);
    fake_set(f, "interrupted", hash(seed, 6, 9) % 4);
    fake_set(f, "idle", hash(seed, 7, 9) % 5);
    fake_set(f, "inject", seed % 3 == 1);
    f->driver = true;
    f->knows_idle_loop = seed % 2;
    f->core->jitter = seed % 3;
    for (int v = 0; v < vcpus; v++) {
        f->world.program[v] = programs->block[v];
    }
    if (start) {
        start_all(f);
    }
}

/* Several windows at once give the same. */
static void test_windows_at_once(void)
{
    for (uint32_t seed = 1; seed <= 400; seed++) {
        Programs programs;
        Fake f[2];

        draw(&programs, 8, seed);
        for (int i = 0; i < 2; i++) {
            init_random(&f[i], &programs, seed, false);
            draw(&programs, f[i].core->topology.vcpus, seed);
            f[i].merge = i;
            start_all(&f[i]);
            fake_drive(&f[i], 60000);
        }
        g_assert_cmpmem(f[0].world.log->data, f[0].world.log->len *
                        sizeof(Executed), f[1].world.log->data,
                        f[1].world.log->len * sizeof(Executed));
        fake_free(&f[0]);
        fake_free(&f[1]);
    }
}

static void save(Fake *f, GArray *words)
{
    g_array_set_size(words, 0);
    vsched_core_save_policy(f->core, words);
}

static bool load(Fake *copy, const Fake *f, GArray *words)
{
    VschedCoreState *state = vsched_state_new(f->core);
    char *why = NULL;
    bool done = vsched_state_load(copy->core, state, f->core->ops, f->values,
                                  (int64_t *)words->data, words->len, true,
                                  &why);

    vsched_state_free(state);
    g_free(why);
    return done;
}

static void test_save(void)
{
    g_autoptr(GArray) words = g_array_new(false, false, sizeof(int64_t));

    for (uint32_t seed = 1; seed <= 300; seed++) {
        Programs programs;
        Fake f, copy;

        init_random(&f, &programs, seed, false);
        draw(&programs, f.core->topology.vcpus, seed);
        start_all(&f);
        fake_drive(&f, 5000 + hash(seed, 8, 9) % 9000);
        save(&f, words);
        init_random(&copy, &programs, seed, false);
        g_array_free(copy.world.log, true);
        copy.world = f.world;
        copy.world.log = g_array_new(false, false, sizeof(Executed));
        g_assert_true(load(&copy, &f, words));
        g_array_set_size(f.world.log, 0);
        fake_drive(&f, f.core->window_end + 30000);
        fake_drive(&copy, copy.core->window_end + 30000);
        g_assert_cmpmem(f.world.log->data, f.world.log->len *
                        sizeof(Executed), copy.world.log->data,
                        copy.world.log->len * sizeof(Executed));
        fake_free(&f);
        fake_free(&copy);
    }
}

static void test_impossible(void)
{
    g_autoptr(GArray) words = g_array_new(false, false, sizeof(int64_t));
    Fake f, copy;
    int64_t *w;

    /*
     * At 30, 1 runs on since 20 until 80; 5 runs on PCPU 0; 0, 2, 4 and 3 wait.
     * After these (1 + 4 words) each VCPU has four: was sent an interrupt, when
     * its timeslice was over, until when it runs on, until when it asked to.
     */
    init_call(&f, NEXT_FREE);
    init_call(&copy, NEXT_FREE);
    fake_drive(&f, 30);
    save(&f, words);
    w = &g_array_index(words, int64_t, 5);
    g_assert_cmpint(words->len, ==, 5 + 6 * 4);
    g_assert_cmpint(w[4 + 1], ==, 20);
    g_assert_cmpint(w[4 + 2], ==, 80);
    g_assert_true(load(&copy, &f, words));
#define IMPOSSIBLE(word, value)                         \
    do {                                                \
        int64_t good = word;                            \
        word = value;                                   \
        g_assert_false(load(&copy, &f, words));         \
        word = good;                                    \
    } while (0)
    IMPOSSIBLE(w[4], 1);                /* it runs */
    IMPOSSIBLE(w[0], 1);                /* it waits with the others */
    IMPOSSIBLE(w[0], 2);
    IMPOSSIBLE(w[0], -1);
    IMPOSSIBLE(w[4 + 1], -1);
    IMPOSSIBLE(w[4 + 1], 81);
    IMPOSSIBLE(w[4 + 2], -1);
    IMPOSSIBLE(w[4 + 3], -2);
    IMPOSSIBLE(w[3], 5);                /* it does not run */
    IMPOSSIBLE(w[-1], (int64_t)2 << 32 | 3);
    IMPOSSIBLE(w[-1], 3);               /* it belongs to PCPU 1 */
    IMPOSSIBLE(w[-5], 3);
#undef IMPOSSIBLE
    g_array_set_size(words, words->len - 1);
    g_assert_false(load(&copy, &f, words));
    fake_free(&f);
    fake_free(&copy);
}

/* VCPUs that run, wait or were sent an interrupt when masks change */
static void test_changes(void)
{
    Fake f;

    /* 5, which was sent an interrupt at 20, must not be on PCPU 0. */
    init_call(&f, NEXT_FREE);
    fake_drive(&f, 10);
    set_affinity(&f, 5, 2);
    fake_drive(&f, 90);
    assert_log(&f, "0:0@0 1:1@0 1:1@10 0:0@10 0:2@20 1:1@20 1:1@30 0:2@30 "
                   "0:4@40 1:1@40 1:1@50 0:4@50 0:0@60 1:1@60 1:1@70 0:0@70 "
                   "0:2@80 1:5@80");
    fake_free(&f);

    /* It runs on PCPU 0 when that is over: it goes home. */
    init_call(&f, NEXT_FREE);
    fake_drive(&f, 30);
    fake_set(&f, "interrupted", OWN_PCPU);
    fake_drive(&f, 40);
    assert_log(&f, "0:0@0 1:1@0 1:1@10 0:0@10 0:5@20 1:1@20 1:1@30 0:2@30");
    g_assert_cmpint(f.core->vcpu[5].preempted, ==, 1);
    fake_free(&f);

    /* PCPU 1 goes off at 30: 1, 3 and 5 belong to PCPU 0 as all others do. */
    init_call(&f, NEXT_FREE);
    fake_drive(&f, 30);
    set_online(&f, 1);
    fake_drive(&f, 1000);
    for (int v = 0; v < 6; v++) {
        g_assert_cmpint(f.world.next[v], >, 2);
        g_assert_cmpint(f.core->vcpu[v].pcpu, ==, 0);
    }
    assert_sums(&f);
    fake_free(&f);
}

/*
 * ------------------------------------------------------------------------
 * Against "timeslice".
 */

/*
 * Two PCPUs, timeslices of 100.  0 takes a lock at 90 and holds it until it has
 * executed 60 cycles; 2 wants its PCPU.  1, alone on the other, wants the lock
 * from 90 on.  Cycles that 1 has executed in all when it has had it.
 */
static int64_t waits_for_lock(const VschedPolicyOps *ops)
{
    static const Block holder[] = {
        { 10, .mode = USER }, { 10, .mode = USER }, { 10, .mode = USER },
        { 10, .mode = USER }, { 10, .mode = USER }, { 10, .mode = USER },
        { 10, .mode = USER }, { 10, .mode = USER }, { 10, LOCK, 0 }, { 10 },
        { 10 }, { 10 }, { 10 }, { 10 }, { 10, UNLOCK, 0 },
        { 10, STOP, 0, 0, USER }, { }
    };
    static const Block waiter[] = {
        { 10 }, { 10 }, { 10 }, { 10 }, { 10 }, { 10 }, { 10 }, { 10 }, { 10 },
        { 10, LOCK, 0 }, { 10, UNLOCK, 0 }, { 10, STOP }, { }
    };
    int64_t busy;
    Fake f;

    fake_init(&f, 3, 2, 10, 0, ops, 100);
    f.world.program[0] = holder;
    f.world.program[1] = waiter;
    f.world.program[2] = user;
    start_all(&f);
    fake_drive(&f, 1000);
    g_assert_cmpint(f.core->vcpu[1].state, ==, VSCHED_BLOCKED);
    busy = f.core->pcpu[1].busy;
    fake_free(&f);
    return busy;
}

/*
 * One PCPU, timeslices of 100.  0 waits in the kernel for what 1 does, which
 * waits behind it.  Cycles until both are done.
 */
static int64_t waits_for_next(const VschedPolicyOps *ops)
{
    static const Block waiter[] = { { 10, WAIT, 0, 1 }, { 10, STOP }, { } };
    static const Block signaller[] = {
        { 10, .mode = USER }, { 10, SIGNAL, 0, 0, USER },
        { 10, STOP, 0, 0, USER }, { }
    };
    int64_t busy;
    Fake f;

    fake_init(&f, 2, 1, 10, 0, ops, 100);
    f.world.program[0] = waiter;
    f.world.program[1] = signaller;
    start_all(&f);
    fake_drive(&f, 2000);
    g_assert_cmpint(f.core->vcpu[0].state, ==, VSCHED_BLOCKED);
    busy = f.core->pcpu[0].busy;
    fake_free(&f);
    return busy;
}

static void test_safepoint_and_timeslice(void)
{
    /*
     * "timeslice" preempts the lock holder at 100; it goes on at 200, when 2
     * has had its timeslice, and unlocks at 250: 1 has it then, unlocks at 260
     * and stops at 270.  Here 0 is in the kernel at 100, unlocks at 150, and is
     * in user mode then.  1 is done 100 cycles earlier, all of them spins.
     */
    g_assert_cmpint(waits_for_lock(&vsched_policy_timeslice), ==, 270);
    g_assert_cmpint(waits_for_lock(&vsched_policy_safepoint), ==, 170);
    /*
     * One that spins in the kernel is taken for one that holds a lock: it spins
     * for a timeslice of 100, and for a grace period of 1000 after it.  1 then
     * takes 30, and 0 another 20.
     */
    g_assert_cmpint(waits_for_next(&vsched_policy_timeslice), ==, 150);
    g_assert_cmpint(waits_for_next(&vsched_policy_safepoint), ==, 1150);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/safepoint/grace", test_grace);
    g_test_add_func("/safepoint/exact-grace", test_exact_grace);
    g_test_add_func("/safepoint/user-mode", test_user_mode);
    g_test_add_func("/safepoint/idle", test_idle);
    g_test_add_func("/safepoint/hold", test_hold);
    g_test_add_func("/safepoint/inject", test_inject);
    g_test_add_func("/safepoint/inject-whom", test_inject_whom);
    g_test_add_func("/safepoint/inject-mixed", test_inject_mixed);
    g_test_add_func("/safepoint/interrupted", test_interrupted);
    g_test_add_func("/safepoint/interrupted-when", test_interrupted_when);
    g_test_add_func("/safepoint/starved", test_starved);
    g_test_add_func("/safepoint/formula", test_formula);
    g_test_add_func("/safepoint/at-once", test_windows_at_once);
    g_test_add_func("/safepoint/save", test_save);
    g_test_add_func("/safepoint/impossible", test_impossible);
    g_test_add_func("/safepoint/changes", test_changes);
    g_test_add_func("/safepoint/timeslice", test_safepoint_and_timeslice);
    return g_test_run();
}
