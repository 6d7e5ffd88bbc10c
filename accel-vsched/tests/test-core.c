/*
 * The engine's core and its policies against a scripted host.
 *
 * Real here: core.c and the policies.  Fake: the host.  Each VCPU has a
 * program, a list of blocks with what happens at the end of each; run() plays
 * it.  Expected values are worked out by hand beside each test, or come from
 * a second, naive model (struct Naive) that does everything block by block
 * and window by window, with queues of GLib.  The model is that of a static map
 * with one FIFO a PCPU, and so are the policies that it is compared with.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "fake-host.h"
#include "toy-policies.h"
#include "../policies/fifo.h"

/*
 * ------------------------------------------------------------------------
 * The naive model: no windows at once, no skipping, queues of GLib.
 */

typedef struct Naive {
    World world;
    int pcpus;
    int64_t window, cost, slice, end, limit, count;
    bool sdb;
    const VschedCore *jitter;   /* whose windows and slices are uneven */
    struct {
        int64_t clock, slice_end, idle, busy, switching;
        int current, last, switches;
        bool yield;             /* when it goes on: not after the window */
        bool fresh;             /* nothing of its slice was run */
        GQueue *queue;
    } pcpu[MANY];
    int preempted[MANY], yielded[MANY];
    int64_t not_before[MANY];
} Naive;

static void naive_queue(Naive *n, int vcpu)
{
    g_queue_push_tail(n->pcpu[vcpu % n->pcpus].queue, GINT_TO_POINTER(vcpu));
}

static void naive_interrupt(Naive *n, int vcpu, bool between)
{
    if (between) {
        n->not_before[vcpu] = MAX(n->not_before[vcpu], n->end);
        n->world.not_before[vcpu] = MAX(n->world.not_before[vcpu], n->end);
    }
    if (n->world.halted[vcpu]) {
        n->world.halted[vcpu] = false;
        if (n->pcpu[vcpu % n->pcpus].current != vcpu) {
            naive_queue(n, vcpu);
        }
    }
}

static void naive_idle(Naive *n, int p, int64_t time)
{
    if (n->pcpu[p].clock < time) {
        n->pcpu[p].idle += time - n->pcpu[p].clock;
        n->pcpu[p].clock = time;
    }
}

/* One block, or one decision; false: nothing more in this window. */
static bool naive_step(Naive *n, int p)
{
    World *w = &n->world;
    typeof(&n->pcpu[p]) c = &n->pcpu[p];
    int v = c->current;
    Block b;

    if (c->clock >= n->limit) {
        return false;
    }
    if (c->yield) {
        c->yield = false;
        c->current = -1;
        naive_queue(n, v);
        return true;
    }
    if (v < 0) {
        if (g_queue_is_empty(c->queue)) {
            return false;
        }
        v = GPOINTER_TO_INT(g_queue_pop_head(c->queue));
        c->current = v;
        naive_idle(n, p, n->not_before[v]);
        if (c->last != v) {
            c->clock += n->cost;
            c->switching += n->cost;
            c->switches++;
            c->last = v;
        }
        c->fresh = true;
        c->slice_end = c->clock + n->slice -
                       vsched_core_slice_cut(n->jitter, p, c->clock, n->slice);
        return true;
    }
    naive_idle(n, p, n->not_before[v]);
    b = block_of(w, v);
    if (c->clock + b.length > c->slice_end && c->slice_end <= n->limit &&
        !c->fresh) {
        n->preempted[v]++;
        naive_queue(n, v);
        c->current = -1;
        return true;
    }
    if (c->clock + b.length > n->limit) {
        return false;
    }
    world_execute(w, p, v, c->clock);
    c->clock += b.length;
    c->busy += b.length;
    c->fresh = false;
    if (b.event == HALT) {
        w->timer[v] = c->clock + b.arg;
        w->halted[v] = true;
        c->current = -1;
    } else if (b.event == POKE && b.arg % n->pcpus == p) {
        naive_interrupt(n, b.arg, false);
    } else if (b.event == POKE) {
        w->poked[b.arg] = c->clock;
    } else if (b.event == SPIN && n->sdb && !g_queue_is_empty(c->queue)) {
        n->yielded[v]++;
        c->yield = true;
    }
    return true;
}

static void naive_drive(Naive *n, int64_t time)
{
    World *w = &n->world;

    while (n->end < time) {
        bool idle = true;

        for (int p = 0; p < n->pcpus; p++) {
            idle &= n->pcpu[p].current < 0 &&
                    g_queue_is_empty(n->pcpu[p].queue);
        }
        if (idle) {
            int64_t until = MIN(time, world_horizon(w));

            n->end = (until + n->window - 1) / n->window * n->window;
        } else {
            n->end += n->window;
            n->limit = vsched_core_split(n->jitter, n->end);
            for (int i = 0; i < 2 * n->pcpus; i++) {
                if (i == n->pcpus) {
                    n->limit = n->end;
                }
                while (naive_step(n, (n->end / n->window - 1 + i) %
                                     n->pcpus)) {
                    ;
                }
            }
            n->count++;
        }
        for (int p = 0; p < n->pcpus; p++) {
            if (n->pcpu[p].current < 0) {
                naive_idle(n, p, n->end);
            }
        }
        for (int v = 0; v < w->vcpus; v++) {
            bool timer = w->timer[v] <= n->end;

            if (timer) {
                w->timer[v] = INT64_MAX;
            }
            if (timer || w->poked[v] != INT64_MAX) {
                w->poked[v] = INT64_MAX;
                naive_interrupt(n, v, true);
            }
        }
    }
}

/*
 * ------------------------------------------------------------------------
 * By hand.
 */

static const Block tens[] = { { 10 }, { } };

static void test_rotation(void)
{
    Fake f;

    /*
     * 3 PCPUs, a VCPU each, blocks as long as the window.  Window 0 runs
     * PCPUs 0 1 2, window 1 runs 1 2 0, window 2 runs 2 0 1, window 3 as 0.
     */
    fake_init(&f, 3, 3, 10, 0, &vsched_policy_timeslice, 1000);
    for (int v = 0; v < 3; v++) {
        f.world.program[v] = tens;
    }
    start_all(&f);
    windows(&f, 4);
    assert_log(&f, "0:0@0 1:1@0 2:2@0 1:1@10 2:2@10 0:0@10 "
                   "2:2@20 0:0@20 1:1@20 0:0@30 1:1@30 2:2@30");
    g_assert_cmpint(f.core->window_end, ==, 40);
    g_assert_cmpint(f.core->windows, ==, 4);
    assert_sums(&f);
    fake_free(&f);
}

static void test_carry_over(void)
{
    static const Block sevens[] = { { 7 }, { } };
    Fake f;

    /*
     * Window 10, blocks of 7: 0-7, and 7-14 does not fit: the clock stays at
     * 7.  Window 2 ends at 20: 7-14.  Window 3 at 30: 14-21, 21-28.
     */
    fake_init(&f, 1, 1, 10, 0, &vsched_policy_timeslice, 1000);
    f.world.program[0] = sevens;
    start_all(&f);
    windows(&f, 1);
    g_assert_cmpint(f.core->pcpu[0].clock, ==, 7);
    assert_log(&f, "0:0@0");
    windows(&f, 1);
    g_assert_cmpint(f.core->pcpu[0].clock, ==, 14);
    assert_log(&f, "0:0@7");
    windows(&f, 1);
    g_assert_cmpint(f.core->pcpu[0].clock, ==, 28);
    assert_log(&f, "0:0@14 0:0@21");
    g_assert_cmpint(f.core->pcpu[0].idle, ==, 0);
    assert_sums(&f);
    fake_free(&f);
}

static void test_slices(void)
{
    Fake f;

    /*
     * VCPUs 0, 2 and 4 on PCPU 0; slice 20, switch 5, blocks of 10:
     * 0: switch 0-5, runs 5-25; 2: 25-30, 30-50; 4: 50-55, 55-75; 0: 75-80,
     * 80-100, which is the end of its second slice.
     */
    fake_init(&f, 5, 2, 100, 5, &vsched_policy_timeslice, 20);
    for (int v = 0; v < 5; v++) {
        f.world.program[v] = tens;
    }
    vsched_core_wake(f.core, 0);
    vsched_core_wake(f.core, 2);
    vsched_core_wake(f.core, 4);
    windows(&f, 1);
    assert_log(&f, "0:0@5 0:0@15 0:2@30 0:2@40 0:4@55 0:4@65 0:0@80 0:0@90");
    g_assert_cmpint(f.core->pcpu[0].switching, ==, 20);
    g_assert_cmpint(f.core->pcpu[0].busy, ==, 80);
    g_assert_cmpint(f.core->pcpu[1].idle, ==, 100);
    g_assert_cmpint(f.core->pcpu[0].switches, ==, 4);
    g_assert_cmpint(f.switched, ==, 4);
    g_assert_cmpint(f.core->vcpu[0].expired, ==, 2);
    g_assert_cmpint(f.core->vcpu[0].cycles[VSCHED_READY], ==, 50);
    /* 2 waited for 25 cycles, ran, and waits since 50 */
    g_assert_cmpint(vsched_core_cycles(f.core, 2, VSCHED_READY), ==, 75);
    g_assert_cmpint(vsched_core_cycles(f.core, 1, VSCHED_BLOCKED), ==, 100);
    assert_sums(&f);
    fake_free(&f);
}

static void test_slice_end_that_a_block_crosses(void)
{
    Fake f;

    /* Slice 25, blocks of 10: preempted at 20, the block that crosses waits */
    fake_init(&f, 2, 1, 100, 0, &vsched_policy_timeslice, 25);
    f.world.program[0] = f.world.program[1] = tens;
    start_all(&f);
    windows(&f, 1);
    assert_log(&f, "0:0@0 0:0@10 0:1@20 0:1@30 0:0@40 0:0@50 0:1@60 0:1@70 "
                   "0:0@80 0:0@90");
    fake_free(&f);
}

static void test_switch_cost_once(void)
{
    static const Block halts[] = { { 10, HALT, 15 }, { } };
    Fake f;

    /*
     * Alone on its PCPU: one switch, whether its slice (20) runs out or it
     * halts and comes back.
     */
    fake_init(&f, 2, 2, 100, 7, &vsched_policy_timeslice, 20);
    f.world.program[0] = tens;
    f.world.program[1] = halts;
    start_all(&f);
    fake_drive(&f, 10000);
    g_assert_cmpint(f.core->pcpu[0].switches, ==, 1);
    g_assert_cmpint(f.core->pcpu[0].switching, ==, 7);
    /* Slices of 20 from 7 on, to 9987; the last is not over */
    g_assert_cmpint(f.core->vcpu[0].expired, ==, 499);
    g_assert_cmpint(f.core->pcpu[1].switches, ==, 1);
    g_assert_cmpint(f.core->vcpu[1].cycles[VSCHED_SWITCHING], ==, 7);
    /* It runs 10 cycles at the beginning of each window */
    g_assert_cmpint(f.core->pcpu[1].busy, ==, 1000);
    fake_free(&f);
}

/* The host says what a switch costs, by whose registers are where. */
static void test_switch_cost_of_host(void)
{
    Fake f;

    fake_init(&f, 2, 2, 100, 7, &vsched_policy_timeslice, 1000);
    f.world.program[0] = f.world.program[1] = tens;
    f.switches = g_string_new(NULL);
    g_assert_true(vsched_core_set_affinity(f.core, 0, 1, NULL));
    g_assert_true(vsched_core_set_affinity(f.core, 1, 2, NULL));
    start_all(&f);
    windows(&f, 1);
    g_assert_cmpstr(f.switches->str, ==, "0:0--1@0 1:1--1@0 ");
    g_string_truncate(f.switches, 0);
    g_assert_true(vsched_core_set_affinity(f.core, 1, 1, NULL));
    vsched_core_block(f.core, 0);
    windows(&f, 2);
    /*
     * PCPU 0 stands at 7 + 9 * 10, as a tenth block did not fit.  PCPU 1 has
     * the registers of VCPU 1, which takes 10 more.
     */
    g_assert_cmpstr(f.switches->str, ==, "0:1-0/1@97 ");
    g_assert_cmpint(f.core->pcpu[0].switching, ==, 7 + 17);
    g_assert_cmpint(f.core->pcpu[1].switching, ==, 7);
    g_assert_cmpint(f.core->pcpu[1].last, ==, VSCHED_NONE);
    assert_sums(&f);
    g_string_free(f.switches, true);
    fake_free(&f);
}

static void test_switch_longer_than_window(void)
{
    Fake f;

    /* Switch 25, window 10: the VCPU runs from 25 on, in the third window */
    fake_init(&f, 1, 1, 10, 25, &vsched_policy_timeslice, 100);
    f.world.program[0] = (const Block[]) { { 5 }, { } };
    start_all(&f);
    windows(&f, 2);
    assert_log(&f, "");
    g_assert_cmpint(f.core->pcpu[0].clock, ==, 25);
    assert_sums(&f);
    windows(&f, 1);
    assert_log(&f, "0:0@25");
    fake_free(&f);
}

static void test_block_and_wake(void)
{
    static const Block stops[] = { { 10 }, { 10, STOP }, { } };
    int64_t until;
    Fake f;

    fake_init(&f, 2, 1, 100, 0, &vsched_policy_timeslice, 50);
    f.world.program[0] = f.world.program[1] = stops;
    g_assert_true(vsched_core_idle(f.core, &until));
    g_assert_cmpint(until, ==, INT64_MAX);
    start_all(&f);
    g_assert_false(vsched_core_idle(f.core, &until));
    windows(&f, 1);
    /* 0 runs 0-20 and stops, 1 runs 20-40 and stops, idle */
    assert_log(&f, "0:0@0 0:0@10 0:1@20 0:1@30");
    g_assert_cmpint(f.core->pcpu[0].idle, ==, 60);
    g_assert_true(vsched_core_idle(f.core, &until));
    vsched_core_jump(f.core, 500);
    g_assert_cmpint(f.core->pcpu[0].idle, ==, 460);
    g_assert_cmpint(vsched_core_cycles(f.core, 0, VSCHED_BLOCKED), ==, 480);
    /* Woken twice: waits once; goes where its registers are not */
    interrupt(&f, 0);
    interrupt(&f, 0);
    windows(&f, 1);
    assert_log(&f, "0:0@500 0:0@510");
    /* From outside: one that runs, one that waits */
    f.world.program[0] = f.world.program[1] = tens;
    interrupt(&f, 1);
    interrupt(&f, 0);
    windows(&f, 1);
    f.world.log->len = 0;
    g_assert_cmpint(f.core->vcpu[0].state, ==, VSCHED_RUNNING);
    g_assert_cmpint(f.core->vcpu[1].state, ==, VSCHED_READY);
    vsched_core_block(f.core, 0);
    vsched_core_block(f.core, 0);
    vsched_core_block(f.core, 1);
    g_assert_true(vsched_core_idle(f.core, &until));
    windows(&f, 1);
    assert_log(&f, "");
    assert_sums(&f);
    fake_free(&f);
}

static void test_nothing_is_taken_before_it_was_sent(void)
{
    static const Block eights[] = { { 8 }, { } };
    Fake f;

    /*
     * Window 10, blocks of 8: the PCPU stands at 8 when something is sent at
     * 10, so the next block begins at 10, after 2 idle cycles.
     */
    fake_init(&f, 1, 1, 10, 0, &vsched_policy_timeslice, 1000);
    f.world.program[0] = eights;
    start_all(&f);
    windows(&f, 1);
    vsched_core_notify(f.core, 0);
    windows(&f, 1);
    assert_log(&f, "0:0@0 0:0@10");
    g_assert_cmpint(f.core->pcpu[0].idle, ==, 2);
    g_assert_cmpint(f.core->vcpu[0].cycles[VSCHED_READY], ==, 2);
    assert_sums(&f);
    fake_free(&f);
}

static void test_spin(void)
{
    static const Block spins[] = { { 10, SPIN }, { } };
    Fake f;

    /* sdb, alone: runs on to the end of its slice, as if nothing were */
    fake_init(&f, 2, 1, 100, 0, &vsched_policy_sdb, 50);
    f.world.program[0] = f.world.program[1] = spins;
    vsched_core_wake(f.core, 0);
    windows(&f, 1);
    g_assert_cmpint(f.core->vcpu[0].ended_by_spin, ==, 0);
    g_assert_cmpint(f.core->vcpu[0].expired, ==, 1);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:0@30 0:0@40 0:0@50 0:0@60 0:0@70 "
                   "0:0@80 0:0@90");
    /* The other waits: they take turns, period by period */
    vsched_core_wake(f.core, 1);
    windows(&f, 1);
    assert_log(&f, "0:1@100 0:0@110 0:1@120 0:0@130 0:1@140 0:0@150 0:1@160 "
                   "0:0@170 0:1@180 0:0@190");
    g_assert_cmpint(f.core->vcpu[0].ended_by_spin, ==, 5);
    g_assert_cmpint(f.core->vcpu[1].ended_by_spin, ==, 5);
    fake_free(&f);

    /* timeslice: a spin changes nothing */
    fake_init(&f, 2, 1, 100, 0, &vsched_policy_timeslice, 50);
    f.world.program[0] = f.world.program[1] = spins;
    start_all(&f);
    windows(&f, 10);
    g_assert_cmpint(f.core->vcpu[0].ended_by_spin, ==, 0);
    g_assert_cmpint(f.core->vcpu[1].ended_by_spin, ==, 0);
    g_assert_cmpint(f.core->pcpu[0].switches, ==, 20);
    fake_free(&f);
}

static void test_first_slice(void)
{
    static const struct { uint32_t phase; int64_t slice, first; } cases[] = {
        { 0x7fffffff, 1000, 500 },              /* a half */
        { 0x3fffffff, 100000, 25000 },          /* a quarter of 100 us */
        { 0, 1000, 1 },         /* a cycle: one block is run in it */
        { 0xfffffffe, 1000, 999 },
        { 0x7fffffff, 10000000000, 5000000000 }, /* 1 s at 10 GHz */
    };

    for (int i = 0; i < G_N_ELEMENTS(cases); i++) {
        Fake f;

        fake_init(&f, 1, 1, 1, 0, &vsched_policy_timeslice, cases[i].slice);
        f.core->pcpu[0].phase = cases[i].phase;
        f.world.program[0] = tens;
        start_all(&f);
        windows(&f, 1);
        g_assert_cmpint(f.core->pcpu[0].slice_end, ==, cases[i].first);
        fake_free(&f);
    }
}

static void test_phases(void)
{
    VschedCore *one, *same, *other;
    int differ = 0;

    /* Drawn by the seed alone; PCPUs do not all have the same */
    one = vsched_core_new(8, 8, NULL, 1000, 0, 1, &fake_host, NULL);
    same = vsched_core_new(8, 8, NULL, 1000, 0, 1, &fake_host, NULL);
    other = vsched_core_new(8, 8, NULL, 1000, 0, 2, &fake_host, NULL);
    for (int p = 0; p < 8; p++) {
        g_assert_cmpint(one->pcpu[p].phase, ==, same->pcpu[p].phase);
        g_assert_cmpint(one->pcpu[p].phase, !=, UINT32_MAX);
        g_assert_true(!p || one->pcpu[p].phase != one->pcpu[0].phase);
        differ += one->pcpu[p].phase != other->pcpu[p].phase;
    }
    g_assert_cmpint(differ, ==, 8);
    vsched_core_free(one);
    vsched_core_free(same);
    vsched_core_free(other);
}

static void test_jitter(void)
{
    const int64_t slice = 100000;
    VschedCore *core = vsched_core_new(1, 1, NULL, 1000, 0, 1, &fake_host,
                                       NULL);
    int64_t cut, in_half = 0, split = 0, sum = 0;

    /*
     * One window of 1000 cycles in 16.384 has two parts: of 100000 about
     * 6104, give or take 76 (standard deviation); in half of them, give or
     * take 39, the first part is the longer one.
     */
    for (int64_t i = 1; i <= 100000; i++) {
        int64_t end = i * 1000, at = vsched_core_split(core, end);

        g_assert_cmpint(at, >, end - 1000);
        g_assert_cmpint(at, <=, end);
        split += at != end;
        in_half += at != end && at > end - 500;
    }
    g_assert_cmpint(ABS(split - 6104), <, 400);
    g_assert_cmpint(ABS(2 * in_half - split), <, 400);

    /* A slice of 100000 is shorter by 0 to 1561 cycles, 780 on average. */
    for (int64_t i = 0; i < 10000; i++) {
        cut = vsched_core_slice_cut(core, 0, i * 100000, slice);
        g_assert_cmpint(cut, >=, 0);
        g_assert_cmpint(cut, <, 1562);
        sum += cut;
    }
    g_assert_cmpint(ABS(sum / 10000 - 780), <, 20);
    /* The shortest ones remain longer than a block. */
    g_assert_cmpint(vsched_core_slice_cut(core, 0, 5, 100), ==, 0);
    vsched_core_free(core);
}

/*
 * VCPU 0 releases a lock, and takes it again 10 cycles later, every 50; VCPU 1
 * waits for it.  True if it ever finds it free.
 */
static bool lock_is_found_free(Fake *f)
{
    static const Block turns[] = { { 40 }, { 10 }, { } };
    bool free = false, found = false;

    f->world.program[0] = turns;
    f->world.program[1] = tens;
    start_all(f);
    fake_drive(f, 1000000);
    for (guint i = 0; i < f->world.log->len; i++) {
        Executed *x = &g_array_index(f->world.log, Executed, i);

        if (x->vcpu) {
            found |= free;
        } else {
            free = x->block % 2 == 0;   /* the first of the two is over */
        }
    }
    return found;
}

static void test_resonance(void)
{
    for (int pcpus = 1; pcpus <= 2; pcpus++) {
        for (int jitter = 0; jitter < 2; jitter++) {
            Fake f;

            fake_init(&f, 2, pcpus, 1000, 50, &vsched_policy_timeslice, 10000);
            f.core->jitter = jitter;
            g_assert_cmpint(lock_is_found_free(&f), ==, jitter);
            fake_free(&f);
        }
    }
}

static void test_migration(void)
{
    Fake f;

    /*
     * 3 VCPUs, 2 PCPUs, slice 40, switch 5, window 100, blocks of 10.
     * PCPU 0: 0 switched 0-5, runs 5-45; 1: 45-50, 50-90; 2: switch 90-95,
     * nothing fits.  PCPU 1 takes 0, which ran until 45: idle to 45, switch
     * to 50, runs 50-90; then 1, which ran until 90: switch 90-95.
     */
    fake_init(&f, 3, 2, 100, 5, &toy_shared, 40);
    for (int v = 0; v < 3; v++) {
        f.world.program[v] = tens;
    }
    start_all(&f);
    windows(&f, 1);
    assert_log(&f, "0:0@5 0:0@15 0:0@25 0:0@35 0:1@50 0:1@60 0:1@70 0:1@80 "
                   "1:0@50 1:0@60 1:0@70 1:0@80");
    g_assert_cmpint(f.core->pcpu[1].idle, ==, 45);
    g_assert_cmpint(f.core->vcpu[0].seen, ==, 90);
    g_assert_cmpint(f.core->vcpu[0].pcpu, ==, 1);
    assert_sums(&f);
    fake_free(&f);

    /* Many at random: world_execute() sees to it that time never steps back */
    for (int seed = 1; seed < 40; seed++) {
        fake_init(&f, 2 + seed % 9, 1 + seed % 5, 200, seed % 50, &toy_shared,
                  300);
        f.world.seed = seed;
        f.merge = seed % 2;
        start_all(&f);
        fake_drive(&f, 100000);
        fake_free(&f);
    }
}

static void test_change_of_policy(void)
{
    const int64_t slice = 30;
    char *why = NULL;
    Fake f;

    /*
     * 7 VCPUs on 2 PCPUs; woken in the order 6 4 2 0 5 3 1.  After one window
     * of 10, 6 and 5 run, and have used 10 cycles of their timeslices of 20;
     * the others wait in the order in which they came.  Under the new policy
     * they have timeslices of 30, of which 10 are used: they run until 30, then
     * 4 and 3 have 30 cycles, then 2 and 1.
     */
    fake_init(&f, 7, 2, 10, 0, &vsched_policy_timeslice, 20);
    for (int v = 0; v < 7; v++) {
        f.world.program[v] = tens;
    }
    for (int v = 6; v >= 0; v -= 2) {
        vsched_core_wake(f.core, v);
    }
    for (int v = 5; v >= 0; v -= 2) {
        vsched_core_wake(f.core, v);
    }
    windows(&f, 1);
    g_assert_true(vsched_core_set_policy(f.core, &vsched_policy_sdb, &slice,
                                         &why));
    g_assert_true(f.core->ops == &vsched_policy_sdb);
    g_assert_cmpint(f.core->pcpu[0].current, ==, 6);
    g_assert_cmpint(f.core->pcpu[1].current, ==, 5);
    windows(&f, 6);
    assert_log(&f, "0:6@0 1:5@0 1:5@10 0:6@10 0:6@20 1:5@20 1:3@30 0:4@30 "
                   "0:4@40 1:3@40 1:3@50 0:4@50 0:2@60 1:1@60");
    assert_sums(&f);
    fake_free(&f);
}

static void test_cut(void)
{
    static const Block pokes[] = {
        { 10 }, { 10 }, { 10 }, { 10 }, { 10 }, { 5, POKE, 1 }, { 10 }, { }
    };
    Fake f;

    /*
     * One PCPU is busy, nothing is due before 1000: ten windows of 100 at
     * once, but for the interrupt sent at 55: it ends at 100, and VCPU 1 runs
     * from there.  The slice of VCPU 0 ends at 200, not with the window.
     */
    fake_init(&f, 2, 2, 100, 0, &vsched_policy_timeslice, 200);
    f.merge = true;
    f.world.program[0] = pokes;
    f.world.program[1] = (const Block[]) { { 10, STOP }, { } };
    f.world.halted[1] = true;
    vsched_core_wake(f.core, 0);
    vsched_core_window(f.core, 1000);
    g_assert_cmpint(f.core->window_end, ==, 100);
    g_assert_cmpint(f.core->windows, ==, 1);
    g_assert_cmpint(f.core->pcpu[0].clock, ==, 95);
    g_assert_cmpint(f.core->vcpu[0].expired, ==, 0);
    g_assert_cmpint(f.core->pcpu[0].slice_end, ==, 200);
    g_assert_cmpint(f.core->pcpu[1].clock, ==, 100);
    interrupt(&f, 1);
    f.world.poked[1] = INT64_MAX;
    f.world.program[0] = tens;
    windows(&f, 1);
    g_assert_cmpint(f.core->vcpu[1].state, ==, VSCHED_BLOCKED);
    g_assert_cmpint(f.core->pcpu[1].busy, ==, 10);
    /* Nobody cuts: up to the boundary after the horizon, 100 at most */
    vsched_core_window(f.core, 701);
    g_assert_cmpint(f.core->window_end, ==, 800);
    g_assert_cmpint(f.core->windows, ==, 8);
    vsched_core_window(f.core, INT64_MAX);
    g_assert_cmpint(f.core->window_end, ==, 800 + 100 * 100);
    fake_free(&f);
}

static void test_skip(void)
{
    static const Block spins[] = { { 10, SPIN }, { } };
    int64_t until;
    Fake f;

    /*
     * Spins at 10: skips a window, to 110; at 120: skips two, to 320; at 330:
     * four, to 730; at 740: 800 would be too much, 500, to 1240.
     */
    fake_init(&f, 1, 2, 100, 0, &vsched_policy_timeslice, 100000);
    f.core->skip = 500;
    f.world.program[0] = spins;
    start_all(&f);
    windows(&f, 3);
    assert_log(&f, "0:0@0 0:0@110");
    g_assert_false(vsched_core_idle(f.core, &until));
    windows(&f, 1);
    assert_log(&f, "0:0@320");
    /* Windows from 400 to 700 have nothing to run; at 730 it goes on */
    g_assert_true(vsched_core_idle(f.core, &until));
    g_assert_cmpint(until, ==, 700);
    vsched_core_jump(f.core, until);
    g_assert_false(vsched_core_idle(f.core, &until));
    windows(&f, 1);
    assert_log(&f, "0:0@730");
    g_assert_cmpint(f.core->pcpu[0].skip_until, ==, 1240);
    g_assert_cmpint(f.core->pcpu[0].busy, ==, 40);
    g_assert_cmpint(f.core->pcpu[0].skipped, ==, 760);
    g_assert_cmpint(f.core->vcpu[0].spin_cycles, ==, 760);
    /* It is sent something at 800: no more skipping, then a window again */
    vsched_core_notify(f.core, 0);
    windows(&f, 1);
    assert_log(&f, "0:0@800");
    g_assert_cmpint(f.core->pcpu[0].skip_until, ==, 910);
    assert_sums(&f);
    fake_free(&f);

    /* Another on the same PCPU makes progress: no skipping */
    fake_init(&f, 2, 1, 100, 0, &vsched_policy_sdb, 1000);
    f.core->skip = 1000;
    f.world.program[0] = spins;
    f.world.program[1] = tens;
    start_all(&f);
    windows(&f, 20);
    g_assert_cmpint(f.core->pcpu[0].skipped, ==, 0);
    fake_free(&f);
}

/*
 * ------------------------------------------------------------------------
 * At random.
 */

/*
 * Blocks read the clock at their end.  Nobody has seen a time that is more than
 * a window, and the block that did not fit before the end of a timeslice, ahead
 * of what another reads later.
 */
static void assert_steps_back_less_than(Fake *f, int64_t window)
{
    int64_t last = 0;

    for (guint i = 0; i < f->world.log->len; i++) {
        Executed *x = &g_array_index(f->world.log, Executed, i);
        int64_t time = x->start +
                       random_block(&f->world, x->vcpu, x->block).length;

        g_assert_cmpint(last - time, <, window + MANY);
        last = MAX(last, time);
    }
}

static void test_naive_model(gconstpointer data)
{
    const VschedPolicyOps *ops = data;
    guint total = 0;

    for (int i = 0; i < 400; i++) {
        int vcpus = 1 + hash(i, 1, 0) % 24, pcpus = 1 + hash(i, 2, 0) % 8;
        int64_t window = 1 + hash(i, 3, 0) % 2000;
        int64_t cost = hash(i, 4, 0) % 700;
        int64_t slice = 1 + hash(i, 5, 0) % 5000;
        Naive *n = g_new0(Naive, 1);
        Fake f;

        fake_init(&f, vcpus, pcpus, window, cost, ops, slice);
        f.merge = i % 4;
        f.world.seed = i;
        f.core->jitter = i % 3;
        n->jitter = f.core;
        world_init(&n->world, vcpus, i);
        n->pcpus = pcpus;
        n->window = window;
        n->cost = cost;
        n->slice = slice;
        n->sdb = ops == &vsched_policy_sdb;
        for (int p = 0; p < pcpus; p++) {
            n->pcpu[p].current = n->pcpu[p].last = -1;
            n->pcpu[p].queue = g_queue_new();
        }
        /* Not all start: the others wait to be poked. */
        for (int v = 0; v < vcpus; v++) {
            if (v % 3 == 1 && i % 2) {
                f.world.halted[v] = n->world.halted[v] = true;
            } else {
                vsched_core_wake(f.core, v);
                naive_queue(n, v);
            }
        }
        fake_drive(&f, 100000);
        naive_drive(n, 100000);

        g_assert_cmpint(f.core->window_end, ==, n->end);
        g_assert_cmpint(f.core->windows, ==, n->count);
        g_assert_cmpint(f.world.log->len, ==, n->world.log->len);
        for (int p = 0; p < pcpus; p++) {
            const VschedPCPU *c = &f.core->pcpu[p];

            g_assert_cmpint(c->clock, ==, n->pcpu[p].clock);
            g_assert_cmpint(c->idle, ==, n->pcpu[p].idle);
            g_assert_cmpint(c->busy, ==, n->pcpu[p].busy);
            g_assert_cmpint(c->switching, ==, n->pcpu[p].switching);
            g_assert_cmpint(c->switches, ==, n->pcpu[p].switches);
            g_assert_cmpint(c->current, ==, n->pcpu[p].current);
            g_queue_free(n->pcpu[p].queue);
        }
        for (int v = 0; v < vcpus; v++) {
            g_assert_cmpint(f.core->vcpu[v].expired, ==, n->preempted[v]);
            g_assert_cmpint(f.core->vcpu[v].ended_by_spin, ==, n->yielded[v]);
        }
        /* The same blocks, in the same order, at the same time. */
        g_assert_cmpmem(f.world.log->data, f.world.log->len *
                        sizeof(Executed), n->world.log->data,
                        n->world.log->len * sizeof(Executed));
        assert_steps_back_less_than(&f, window);
        total += f.world.log->len;
        g_array_free(n->world.log, true);
        g_free(n);
        fake_free(&f);
    }
    g_test_message("%u blocks", total);
    g_assert_cmpint(total, >, 100000);
}

/* Several windows at once give what single windows give, skipping too. */
static void test_windows_at_once(gconstpointer data)
{
    const VschedPolicyOps *ops = data;

    for (int i = 0; i < 200; i++) {
        Fake one, many;

        fake_both(&one, &many, ops, i, i % 2 ? hash(i, 4, 9) % 5000 : 0, 0);
        g_assert_cmpmem(one.core->vcpu, one.core->topology.vcpus *
                        sizeof(VschedVCPU), many.core->vcpu,
                        many.core->topology.vcpus * sizeof(VschedVCPU));
        g_assert_cmpmem(one.core->pcpu, one.core->topology.pcpus *
                        sizeof(VschedPCPU), many.core->pcpu,
                        many.core->topology.pcpus * sizeof(VschedPCPU));
        fake_free(&one);
        fake_free(&many);
    }
}

/*
 * VCPU 0 has a lock, and does not run: 2, which has come to its PCPU, does.
 * VCPU 1 spins on the lock.  It is idle only for who asks the SDB, and only in
 * privileged mode; who waits for a PCPU never is.
 */
static void test_who_spins_is_not_idle(void)
{
    static const Block holder[] = { { 10, LOCK, 0 }, { 10 }, { } };
    static const Block works[] = { { 10 }, { } };
    static const VschedIdle nobody[] = {
        VSCHED_IDLE_AUTO, VSCHED_IDLE_HALT, VSCHED_IDLE_LOOP, VSCHED_IDLE_NONE
    };

    for (Mode mode = KERNEL; mode <= USER; mode++) {
        const Block waiter[] = { { 10, LOCK, 0, 0, mode }, { } };
        const VschedServices *s;
        Fake f;

        fake_init(&f, 4, 2, 100, 0, &vsched_policy_sdb, 1000);
        f.core->rotation = 0;
        f.notice = 30;
        f.knows_idle_loop = true;
        s = &f.core->services;
        f.world.program[0] = holder;
        f.world.program[1] = waiter;
        f.world.program[2] = works;
        vsched_core_wake(f.core, 0);
        windows(&f, 1);
        g_assert_cmpint(f.world.lock[0], ==, 1);
        /* Its timeslice goes on until 1000; then it is the turn of 2. */
        vsched_core_wake(f.core, 1);
        vsched_core_wake(f.core, 2);
        windows(&f, 11);
        g_assert_cmpint(f.core->pcpu[0].current, ==, 2);
        g_assert_cmpint(f.core->vcpu[0].state, ==, VSCHED_READY);
        g_assert_cmpint(f.core->pcpu[1].current, ==, 1);
        g_assert_true(f.core->vcpu[1].spinning);
        for (int i = 0; i < G_N_ELEMENTS(nobody); i++) {
            g_assert_false(s->idle(s->engine, 0, nobody[i]));
            g_assert_false(s->idle(s->engine, 1, nobody[i]));
            g_assert_false(s->idle(s->engine, 2, nobody[i]));
            /* Nobody has woken it. */
            g_assert_cmpint(s->idle(s->engine, 3, nobody[i]), ==,
                            nobody[i] != VSCHED_IDLE_NONE);
        }
        g_assert_false(s->idle(s->engine, 0, VSCHED_IDLE_SDB));
        g_assert_cmpint(s->idle(s->engine, 1, VSCHED_IDLE_SDB), ==,
                        mode == KERNEL);
        g_assert_false(s->idle(s->engine, 2, VSCHED_IDLE_SDB));
        /* The lock's holder goes to PCPU 1, and the waiter waits. */
        set_affinity(&f, 0, 2);
        windows(&f, 11);
        g_assert_cmpint(f.core->pcpu[1].current, ==, 0);
        g_assert_false(s->idle(s->engine, 0, VSCHED_IDLE_SDB));
        fake_free(&f);
    }
}

/*
 * Three VCPUs, of which 2 is blocked, on two PCPUs; 1 may only run on PCPU 0.
 * In window 0, PCPU 0 runs 0 and then 1, and toy_wrong picks what it must not
 * for PCPU 1.
 */
static void breaks(Wrong wrong, int vcpu, const char *says)
{
    static const Block program[] = { { 10 }, { } };
    const int64_t values[] = { 50, wrong, vcpu };
    char *why = NULL;
    Fake f;

    fake_init(&f, 3, 2, 100, 0, &toy_shared, 50);
    f.may_break = true;
    f.core->rotation = 0;
    all_run(&f, program);
    vsched_core_block(f.core, 2);
    set_affinity(&f, 1, 1);
    if (wrong == WRONG_PCPU) {
        set_affinity(&f, 0, 1);
    }
    must(vsched_core_set_policy(f.core, &toy_wrong, values, &why), &why);
    g_assert_null(f.broken);
    windows(&f, 1);
    g_assert_nonnull(f.broken);
    g_assert_nonnull(strstr(f.broken, says));
    g_assert_nonnull(strstr(f.broken, "'toy-wrong' picked VCPU "));
    g_assert_nonnull(strstr(f.broken, " for PCPU 1"));
    g_assert_cmpint(f.core->pcpu[1].current, ==, VSCHED_NONE);
    /* PCPU 0 has had its window; nothing was lost. */
    g_assert_cmpint(f.core->pcpu[0].busy, ==, 100);
    g_assert_cmpint(f.core->pcpu[1].idle, ==, 100);
    assert_sums(&f);
    /* Another policy goes on: VCPU 0 may run on PCPU 1, 1 has PCPU 0. */
    g_clear_pointer(&f.broken, g_free);
    set_affinity(&f, 0, 2);
    set_policy(&f, &toy_shared, 50);
    g_assert_false(f.core->broken);
    windows(&f, 5);
    g_assert_null(f.broken);
    g_assert_cmpint(f.core->pcpu[0].busy, ==, 600);
    g_assert_cmpint(f.core->pcpu[1].busy, ==, 500);
    g_assert_cmpint(f.core->vcpu[2].state, ==, VSCHED_BLOCKED);
    assert_sums(&f);
    fake_free(&f);
}

static void test_broken_policy(void)
{
    breaks(WRONG_NUMBER, 3, "VCPU 3 for PCPU 1, but there is no such");
    breaks(WRONG_NUMBER, -2, "VCPU -2 for PCPU 1, but there is no such");
    breaks(WRONG_STATE, 1, "does not wait: it runs already");
    breaks(WRONG_STATE, 2, "does not wait: it is blocked");
    breaks(WRONG_PCPU, 0, "must not run there");
}

/* A VCPU that waits and may run: only the timeslice is wrong. */
static void test_broken_timeslice(void)
{
    static const Block program[] = { { 10 }, { } };
    const int64_t values[] = { 50, WRONG_TIMESLICE, 1 };
    char *why = NULL;
    Fake f;

    fake_init(&f, 2, 2, 100, 0, &toy_shared, 50);
    f.may_break = true;
    f.core->rotation = 1;               /* PCPU 1 before PCPU 0 */
    must(vsched_core_set_policy(f.core, &toy_wrong, values, &why), &why);
    all_run(&f, program);
    windows(&f, 1);
    g_assert_nonnull(f.broken);
    g_assert_nonnull(strstr(f.broken, "timeslice of 0 cycles, but 1 is the "
                            "shortest"));
    g_assert_cmpint(f.core->pcpu[1].idle, ==, 100);
    g_clear_pointer(&f.broken, g_free);
    fake_free(&f);
}

static void test_policies(void)
{
    g_assert_true(vsched_policy_find("sdb") == &vsched_policy_sdb);
    g_assert_true(vsched_policy_find("timeslice") == &vsched_policy_timeslice);
    g_assert_null(vsched_policy_find(""));
    g_assert_null(vsched_policy_find("sdb2"));
    for (int i = 0; vsched_policies[i]; i++) {
        const VschedParameter *p = vsched_policies[i]->parameters;

        for (; p->name; p++) {
            g_assert_cmpuint(p->minimum, <=, p->value);
            g_assert_cmpuint(p->value, <=, p->maximum);
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/core/rotation", test_rotation);
    g_test_add_func("/core/carry-over", test_carry_over);
    g_test_add_func("/core/slices", test_slices);
    g_test_add_func("/core/slice-end-in-block",
                    test_slice_end_that_a_block_crosses);
    g_test_add_func("/core/switch-cost-once", test_switch_cost_once);
    g_test_add_func("/core/switch-cost-of-host", test_switch_cost_of_host);
    g_test_add_func("/core/switch-longer-than-window",
                    test_switch_longer_than_window);
    g_test_add_func("/core/block-and-wake", test_block_and_wake);
    g_test_add_func("/core/not-before-sent",
                    test_nothing_is_taken_before_it_was_sent);
    g_test_add_func("/core/spin", test_spin);
    g_test_add_func("/core/first-slice", test_first_slice);
    g_test_add_func("/core/phases", test_phases);
    g_test_add_func("/core/jitter", test_jitter);
    g_test_add_func("/core/resonance", test_resonance);
    g_test_add_func("/core/migration", test_migration);
    g_test_add_func("/core/change-of-policy", test_change_of_policy);
    g_test_add_func("/core/cut", test_cut);
    g_test_add_func("/core/skip", test_skip);
    g_test_add_func("/core/who-spins", test_who_spins_is_not_idle);
    g_test_add_func("/core/broken-policy", test_broken_policy);
    g_test_add_func("/core/broken-timeslice", test_broken_timeslice);
    g_test_add_func("/policy/list", test_policies);
    for (int i = 0; vsched_policies[i]; i++) {
        const VschedPolicyOps *ops = vsched_policies[i];
        g_autofree char *naive = g_strconcat("/naive/", ops->name, NULL);
        g_autofree char *at_once = g_strconcat("/at-once/", ops->name, NULL);

        if (ops->create == vsched_fifo_create) {
            g_test_add_data_func(naive, ops, test_naive_model);
        }
        g_test_add_data_func(at_once, ops, test_windows_at_once);
    }
    return g_test_run();
}
