/*
 * Policy "cosched": traces worked by hand.
 *
 * Blocks and windows are 10 cycles long, and switches cost nothing, unless a
 * test says otherwise.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "../../state.h"
#include "../fake-host.h"

static const Block tens[] = { { 10 }, { } };

/* VCPUs 0 and 1 are a VM, 2 is another. */
static const int pair_and_one[] = { 0, 0, 1 };

enum {
    STRICT, RELAXED, INDIVIDUAL
};

/* What save() writes after the queue and the time of the sample. */
enum {
    STOPPED, AHEAD, START, SINCE, RAN, IDLED, SKEW, LEAD, WORDS
};

static void init(Fake *f, int vcpus, const int *vm, int pcpus, int mode,
                 int64_t slice, int64_t skew, int64_t sample)
{
    fake_init_vms(f, vcpus, vm, pcpus, 10, 0, &vsched_policy_cosched, slice);
    fake_set(f, "skew", skew);
    fake_set(f, "sample", sample);
    fake_set(f, "mode", mode);
}

static void save(const VschedPolicyOps *ops, void *policy, GArray *words)
{
    g_array_set_size(words, 0);
    ops->save(policy, words);
}

/* Word @which of @vcpu in what was saved of @vcpus VCPUs. */
static int64_t *word_of(GArray *words, int vcpus, int vcpu, int which)
{
    return &g_array_index(words, int64_t, words->len -
                          (vcpus - vcpu) * WORDS + which);
}

static int64_t value_of(Fake *f, int vcpu, int which)
{
    g_autoptr(GArray) words = g_array_new(false, false, sizeof(int64_t));

    save(f->core->ops, f->core->policy, words);
    return *word_of(words, f->core->topology.vcpus, vcpu, which);
}

/*
 * ------------------------------------------------------------------------
 * Skew.
 */

static bool never_idle(void *engine, int vcpu, VschedIdle detector)
{
    return false;
}

/*
 * The figure of "The CPU Scheduler in VMware ESX 4": of four VCPUs, one makes
 * progress for a time T, then another for 2 T.  The others are behind by 3 T as
 * ESX 3 adds up, though by 2 T at most in fact, as ESX 4 measures.
 */
static void test_skew(void)
{
    g_autoptr(GArray) words = g_array_new(false, false, sizeof(int64_t));
    const VschedPolicyOps *ops = &vsched_policy_cosched;
    const int64_t values[] = { 100000, 100000, 100, RELAXED, VSCHED_IDLE_NONE };
    static const int order[] = { 2, 3, 0, 1 };
    uint64_t allowed[] = { 15, 15, 15, 15 };
    int vm[] = { 0, 0, 0, 0 };
    VschedTopology topology = {
        .vcpus = 4, .pcpus = 4, .vms = 1, .vm = vm, .online = 15,
        .allowed = allowed,
    };
    VschedServices services = { .topology = &topology, .idle = never_idle };
    void *policy = ops->create(&services, values, NULL);

    for (int i = 0; i < 4; i++) {
        ops->enqueue(policy, order[i], VSCHED_WOKEN, 0, 0);
    }
    g_assert_cmpint(ops->pick(policy, 0, 0).vcpu, ==, 2);
    ops->start(policy, 0, 2, 0);
    g_assert_cmpint(ops->next_tick(policy), ==, 100);
    ops->tick(policy, 100);
    ops->stop(policy, 0, 2, 100, VSCHED_EXPIRED, 100);
    ops->enqueue(policy, 2, VSCHED_EXPIRED, 100, 100);
    g_assert_cmpint(ops->pick(policy, 0, 100).vcpu, ==, 3);
    ops->start(policy, 0, 3, 100);
    ops->tick(policy, 200);
    ops->tick(policy, 300);
    save(ops, policy, words);
    g_assert_cmpint(*word_of(words, 4, 0, SKEW), ==, 300);
    g_assert_cmpint(*word_of(words, 4, 1, SKEW), ==, 300);
    g_assert_cmpint(*word_of(words, 4, 2, SKEW), ==, 200);
    g_assert_cmpint(*word_of(words, 4, 3, SKEW), ==, 0);
    g_assert_cmpint(*word_of(words, 4, 0, LEAD), ==, 0);
    g_assert_cmpint(*word_of(words, 4, 1, LEAD), ==, 0);
    g_assert_cmpint(*word_of(words, 4, 2, LEAD), ==, 100);
    g_assert_cmpint(*word_of(words, 4, 3, LEAD), ==, 200);
    ops->destroy(policy);
}

/*
 * ------------------------------------------------------------------------
 * Modes.
 *
 * Two PCPUs, timeslices of 40, skew sampled each 20 and too large above 10.  0
 * and 1 run until 40, then 2 and 0, and 1 waits.  At 60, 1 is behind by 20.
 */

#define UNTIL_60 "0:0@0 1:1@0 1:1@10 0:0@10 0:0@20 1:1@20 1:1@30 0:0@30 " \
                 "0:2@40 1:0@40 1:0@50 0:2@50"

static void test_strict(void)
{
    Fake f;

    /*
     * 0 stops at 60.  PCPU 1 is kept for 0 and 1, and so is PCPU 0 when the
     * timeslice of 2 is over at 80.  That both are free is seen at 90.  0 and 1
     * run together until 130, and the 20 cycles are made good at 120.  Then 2
     * has waited for longest.
     */
    init(&f, 3, pair_and_one, 2, STRICT, 40, 10, 20);
    all_run(&f, tens);
    fake_drive(&f, 60);
    assert_log(&f, UNTIL_60);
    g_assert_cmpint(value_of(&f, 0, STOPPED), ==, 1);
    g_assert_cmpint(value_of(&f, 1, SKEW), ==, 20);
    fake_drive(&f, 100);
    assert_log(&f, "0:2@60 0:2@70 1:1@90 0:0@90");
    g_assert_cmpint(value_of(&f, 0, STOPPED), ==, 0);
    g_assert_cmpint(value_of(&f, 1, SKEW), ==, 10);
    fake_drive(&f, 140);
    assert_log(&f, "0:0@100 1:1@100 1:1@110 0:0@110 0:0@120 1:1@120 1:2@130 "
                   "0:1@130");
    g_assert_cmpint(f.core->vcpu[0].preempted, ==, 1);
    g_assert_cmpint(f.core->vcpu[1].preempted, ==, 0);
    g_assert_cmpint(f.core->pcpu[0].idle, ==, 10);
    g_assert_cmpint(f.core->pcpu[1].idle, ==, 30);
    assert_sums(&f);
    fake_free(&f);
}

static void test_relaxed(void)
{
    Fake f;

    /*
     * 0 stops at 60 too.  But 1 alone is behind, and one PCPU is enough for it:
     * it starts at 70.  0 starts when 2 has had its timeslice, at 80.
     */
    init(&f, 3, pair_and_one, 2, RELAXED, 40, 10, 20);
    all_run(&f, tens);
    fake_drive(&f, 120);
    assert_log(&f, UNTIL_60 " 0:2@60 1:1@70 0:2@70 0:0@80 1:1@80 1:1@90 0:0@90 "
                   "0:0@100 1:1@100 1:2@110 0:0@110");
    g_assert_cmpint(f.core->vcpu[0].preempted, ==, 1);
    assert_sums(&f);
    fake_free(&f);
}

static void test_individual(void)
{
    Fake f;

    /*
     * 0 is 20 ahead at 60, and stops.  1 may run at once, and has caught up at
     * 80, when 2 has had its timeslice: 0 runs again.
     */
    init(&f, 3, pair_and_one, 2, INDIVIDUAL, 40, 10, 20);
    all_run(&f, tens);
    fake_drive(&f, 60);
    assert_log(&f, UNTIL_60);
    g_assert_cmpint(value_of(&f, 0, AHEAD), ==, 1);
    g_assert_cmpint(value_of(&f, 0, LEAD), ==, 20);
    fake_drive(&f, 110);
    assert_log(&f, "0:2@60 1:1@60 1:1@70 0:2@70 0:0@80 1:1@80 1:1@90 0:0@90 "
                   "0:0@100 1:2@100");
    g_assert_cmpint(f.core->pcpu[0].idle + f.core->pcpu[1].idle, ==, 0);
    assert_sums(&f);
    fake_free(&f);

    /* Another mode at 60, a moment after 0 was stopped: it is not any more. */
    init(&f, 3, pair_and_one, 2, INDIVIDUAL, 40, 10, 1000);
    all_run(&f, tens);
    fake_drive(&f, 50);
    fake_set(&f, "sample", 20);
    fake_drive(&f, 60);
    g_assert_cmpint(value_of(&f, 0, AHEAD), ==, 1);
    fake_set(&f, "mode", RELAXED);
    g_assert_cmpint(value_of(&f, 0, AHEAD), ==, 0);
    fake_free(&f);
}

/* A skew that is not above the threshold, or of another VM, stops nobody. */
static void test_threshold(void)
{
    for (int mode = STRICT; mode <= INDIVIDUAL; mode++) {
        static const int apart[] = { 0, 1, 2 };
        Fake f;

        init(&f, 3, pair_and_one, 2, mode, 40, 20, 20);
        all_run(&f, tens);
        fake_drive(&f, 70);
        assert_log(&f, UNTIL_60 " 0:2@60 1:0@60");
        fake_free(&f);

        init(&f, 3, apart, 2, mode, 40, 10, 20);
        all_run(&f, tens);
        fake_drive(&f, 70);
        assert_log(&f, UNTIL_60 " 0:2@60 1:0@60");
        g_assert_cmpint(longest_wait(&f), ==, INT64_MAX);
        fake_free(&f);
    }
}

/* Timeslices of those that start together are exact: they end together. */
static void test_exact(void)
{
    const VschedPCPU *pcpu;
    Fake f;

    fake_init_vms(&f, 3, pair_and_one, 2, 10, 0, &vsched_policy_cosched, 6400);
    fake_set(&f, "skew", 200);
    fake_set(&f, "sample", 100);
    fake_set(&f, "mode", STRICT);
    pcpu = f.core->pcpu;
    f.core->jitter = true;
    all_run(&f, tens);
    for (int i = 0; i < 10; i++) {
        while (!value_of(&f, 0, STOPPED)) {
            fake_drive(&f, f.core->window_end + 10);
        }
        while (value_of(&f, 0, STOPPED)) {
            fake_drive(&f, f.core->window_end + 10);
        }
        fake_drive(&f, f.core->window_end + 10);
        for (int p = 0; p < 2; p++) {
            g_assert_cmpint(pcpu[p].current, ==, p);
            g_assert_cmpint(pcpu[p].slice_start, ==, pcpu[0].slice_start);
            g_assert_cmpint(pcpu[p].slice_end, ==, pcpu[p].slice_start + 6400);
        }
    }
    fake_free(&f);
}

static void never_preempt(void *engine, int pcpu)
{
}

/*
 * Two VCPUs of a VM, without an engine.  0 runs on PCPU 0 until 100; 1, which
 * waits for PCPU 1 without getting it, falls behind by as much.  That is too
 * much, and 0 stops.  2, if there is one, has waited for longest.
 */
static void *stop_at_100(const VschedServices *services, int mode)
{
    const VschedPolicyOps *ops = &vsched_policy_cosched;
    const int64_t values[] = { 1000, 50, 100, mode, VSCHED_IDLE_NONE };
    void *policy = ops->create(services, values, NULL);

    g_assert_cmpint(ops->next_tick(policy), ==, INT64_MAX);
    if (services->topology->vcpus == 3) {
        ops->enqueue(policy, 2, VSCHED_WOKEN, 0, 0);
    }
    ops->enqueue(policy, 0, VSCHED_WOKEN, 0, 0);
    ops->enqueue(policy, 1, VSCHED_WOKEN, 0, 0);
    g_assert_cmpint(ops->pick(policy, 0, 0).vcpu, ==, 0);
    ops->start(policy, 0, 0, 0);
    ops->tick(policy, 100);
    g_assert_cmpint(ops->next_tick(policy), <=, 101);
    ops->stop(policy, 0, 0, 100, VSCHED_PREEMPTED, 100);
    ops->enqueue(policy, 0, VSCHED_PREEMPTED, 100, 100);
    g_assert_false(ops->waiting(policy, 0, 100));
    return policy;
}

static void test_stopped(void)
{
    const VschedPolicyOps *ops = &vsched_policy_cosched;
    uint64_t allowed[] = { 1, 2, 2 };
    int vm[] = { 0, 0, 1 };
    VschedTopology topology = {
        .vcpus = 2, .pcpus = 2, .vms = 2, .vm = vm, .online = 3,
        .allowed = allowed,
    };
    VschedServices services = {
        .topology = &topology, .idle = never_idle, .preempt = never_preempt,
    };
    void *policy = stop_at_100(&services, STRICT);

    /*
     * Both may start at 110.  PCPU 1 is late, by a stall, and the sample at 200
     * comes before 1 has started: it starts all the same.
     */
    ops->tick(policy, 110);
    g_assert_cmpint(ops->next_tick(policy), ==, 200);
    g_assert_cmpint(ops->place(policy, 0), ==, 0);
    g_assert_cmpint(ops->place(policy, 1), ==, 1);
    g_assert_cmpint(ops->pick(policy, 0, 110).vcpu, ==, 0);
    ops->start(policy, 0, 0, 110);
    ops->tick(policy, 200);
    g_assert_cmpint(ops->place(policy, 1), ==, 1);
    g_assert_cmpint(ops->pick(policy, 1, 200).vcpu, ==, 1);
    ops->destroy(policy);

    /* 1 blocks, so nobody has to start before 0. */
    policy = stop_at_100(&services, RELAXED);
    ops->dequeue(policy, 1, 105);
    g_assert_false(ops->waiting(policy, 0, 105));
    ops->tick(policy, 110);
    g_assert_cmpint(ops->next_tick(policy), ==, 200);
    g_assert_cmpint(ops->pick(policy, 0, 110).vcpu, ==, 0);
    ops->destroy(policy);

    /* PCPU 1 is free at 110, but 2 is before 1, which starts when 2 blocks. */
    topology.vcpus = 3;
    policy = stop_at_100(&services, RELAXED);
    ops->tick(policy, 110);
    g_assert_cmpint(ops->place(policy, 1), ==, VSCHED_NONE);
    g_assert_cmpint(ops->pick(policy, 1, 110).vcpu, ==, 2);
    ops->start(policy, 1, 2, 110);
    ops->tick(policy, 120);
    g_assert_cmpint(ops->place(policy, 1), ==, VSCHED_NONE);
    ops->stop(policy, 1, 2, 20, VSCHED_STOPPED, 130);
    g_assert_false(ops->waiting(policy, 1, 130));
    ops->tick(policy, 130);
    g_assert_cmpint(ops->pick(policy, 1, 130).vcpu, ==, 1);
    ops->destroy(policy);
}

/*
 * ------------------------------------------------------------------------
 * Idle VCPUs.
 */

static const Block loop[] = { { 10, .mode = IDLE }, { } };

static void test_idle(void)
{
    static const Block halts[] = { { 10, STOP }, { } };
    static const int pair_and_two[] = { 0, 0, 1, 2 };
    Fake f;

    /*
     * 1 halts at 10.  0 runs on and is never too far ahead, nor is 1, which is
     * woken at 200, too far ahead of 0, which had half of a PCPU.
     */
    for (int mode = STRICT; mode <= INDIVIDUAL; mode++) {
        init(&f, 3, pair_and_one, 1, mode, 40, 10, 20);
        f.world.program[0] = f.world.program[2] = tens;
        f.world.program[1] = halts;
        start_all(&f);
        fake_drive(&f, 500);
        g_assert_cmpint(f.core->vcpu[0].preempted, ==, 0);
        fake_free(&f);

        init(&f, 3, pair_and_one, 2, mode, 40, 10, 20);
        f.world.program[0] = f.world.program[2] = tens;
        f.world.program[1] = halts;
        start_all(&f);
        fake_drive(&f, 200);
        g_assert_cmpint(f.core->pcpu[0].busy + f.core->pcpu[1].busy, ==,
                        10 + 190 + 200);
        g_assert_cmpint(f.core->vcpu[0].preempted, ==, 0);
        g_assert_cmpint(value_of(&f, 1, SKEW), ==, 0);
        g_assert_cmpint(value_of(&f, 1, LEAD), <=, 10);
        g_assert_cmpint(value_of(&f, 0, LEAD), <=, 10);
        fake_free(&f);
    }

    /*
     * 1 is in the idle loop.  At the first sample, 20, it makes room for 2.  It
     * waits from then on, and nobody is stopped for it.  Its turn comes at 60.
     * That is over at 80, after one sample, though 2 has run for 40.
     */
    init(&f, 4, pair_and_two, 2, STRICT, 40, 10, 20);
    f.knows_idle_loop = true;
    f.world.program[0] = f.world.program[2] = f.world.program[3] = tens;
    f.world.program[1] = loop;
    start_all(&f);
    fake_drive(&f, 90);
    assert_log(&f, "0:0@0 1:1@0 1:1@10 0:0@10 0:0@20 1:2@20 1:2@30 0:0@30 "
                   "0:3@40 1:2@40 1:2@50 0:3@50 0:3@60 1:1@60 1:1@70 0:3@70 "
                   "0:0@80 1:2@80");
    g_assert_cmpint(value_of(&f, 1, SKEW), ==, 0);
    g_assert_cmpint(f.core->vcpu[1].preempted, ==, 1);
    g_assert_cmpint(f.core->vcpu[1].expired, ==, 1);
    fake_free(&f);

    /* Where nobody knows of the loop, its VCPU works like the others. */
    init(&f, 3, pair_and_one, 2, RELAXED, 40, 10, 20);
    f.world.program[0] = f.world.program[2] = tens;
    f.world.program[1] = loop;
    start_all(&f);
    fake_drive(&f, 80);
    assert_log(&f, UNTIL_60 " 0:2@60 1:1@70 0:2@70");
    fake_free(&f);

    /* It need not start together with others: 0 starts alone. */
    init(&f, 3, pair_and_one, 2, STRICT, 40, 10, 20);
    f.knows_idle_loop = true;
    all_run(&f, tens);
    fake_drive(&f, 60);
    f.world.mode[1] = IDLE;             /* while it waits, for the test */
    f.world.program[1] = loop;
    assert_log(&f, UNTIL_60);
    fake_drive(&f, 80);
    assert_log(&f, "0:2@60 1:0@70 0:2@70");
    fake_free(&f);
}

/*
 * ------------------------------------------------------------------------
 * Groups.
 */

static void test_groups(void)
{
    Fake f;

    /*
     * A VM of 4 on 2 PCPUs is 0 and 1, 2 and 3: these take turns, and none is
     * ever behind its sibling, nor are 2 and 3 waited for.
     */
    for (int mode = STRICT; mode <= INDIVIDUAL; mode++) {
        init(&f, 4, NULL, 2, mode, 40, 10, 20);
        all_run(&f, tens);
        fake_drive(&f, 130);
        assert_log(&f, "0:0@0 1:1@0 1:1@10 0:0@10 0:0@20 1:1@20 1:1@30 0:0@30 "
                       "0:2@40 1:3@40 1:3@50 0:2@50 0:2@60 1:3@60 1:3@70 "
                       "0:2@70 0:0@80 1:1@80 1:1@90 0:0@90 0:0@100 1:1@100 "
                       "1:1@110 0:0@110 0:2@120 1:3@120");
        fake_free(&f);
    }

    /* Two that have to be on PCPU 0 do not start together with each other. */
    init(&f, 3, pair_and_one, 2, STRICT, 40, 10, 20);
    all_run(&f, tens);
    set_affinity(&f, 0, 1);
    set_affinity(&f, 1, 1);
    fake_drive(&f, 2000);
    for (int v = 0; v < 3; v++) {
        g_assert_cmpint(f.core->vcpu[v].preempted, ==, 0);
    }
    g_assert_cmpint(f.core->pcpu[0].busy, ==, 2000);
    g_assert_cmpint(f.core->pcpu[1].busy, ==, 2000);
    fake_free(&f);

    /*
     * 0 may be on PCPUs 1 and 2, 1 on 0 and 1, and 2 on 0.  They fit, if those
     * of lower numbers make room, and are siblings.
     */
    for (int mode = STRICT; mode <= INDIVIDUAL; mode++) {
        static const int vm[] = { 0, 0, 0, 1, 1 };
        int64_t skew = 0;

        init(&f, 5, vm, 3, mode, 40, 10, 20);
        all_run(&f, tens);
        set_affinity(&f, 0, 6);
        set_affinity(&f, 1, 3);
        set_affinity(&f, 2, 1);
        while (f.core->window_end < 5000) {
            fake_drive(&f, f.core->window_end + 10);
            skew = MAX(skew, value_of(&f, 2, SKEW));
        }
        g_assert_cmpint(skew, >, 0);    /* without siblings it has none */
        for (int v = 0; v < 5; v++) {
            g_assert_cmpint(f.world.next[v], >, 50);
        }
        /* And on two PCPUs, and again on three */
        set_online(&f, 3);
        fake_drive(&f, 10000);
        set_online(&f, 7);
        fake_drive(&f, 15000);
        for (int v = 0; v < 5; v++) {
            g_assert_cmpint(f.world.next[v], >, 150);
        }
        assert_sums(&f);
        fake_free(&f);
    }

    /* PCPU 0, kept for 0 at 90, is forbidden to it: it waits as others do. */
    init(&f, 3, pair_and_one, 2, STRICT, 40, 10, 20);
    all_run(&f, tens);
    fake_drive(&f, 90);
    g_assert_cmpint(value_of(&f, 0, START), ==, 0);
    g_assert_cmpint(value_of(&f, 1, START), ==, 1);
    set_affinity(&f, 0, 2);
    g_assert_cmpint(value_of(&f, 0, START), ==, VSCHED_NONE);
    g_assert_cmpint(value_of(&f, 1, START), ==, 1);
    fake_drive(&f, 2000);
    for (int v = 0; v < 3; v++) {
        g_assert_cmpint(f.world.next[v], >, 40);
    }
    fake_free(&f);
}

/*
 * ------------------------------------------------------------------------
 * What is guaranteed, at random.
 */

/* Who is a sibling of whom, where all PCPUs are on and nothing is forbidden */
static bool siblings(const Fake *f, int a, int b)
{
    const VschedTopology *t = &f->core->topology;
    int first = 0;

    while (t->vm[first] != t->vm[a]) {
        first++;
    }
    return t->vm[a] == t->vm[b] &&
           (a - first) / t->pcpus == (b - first) / t->pcpus;
}

/*
 * What @vcpu has run, from the engine's accounts.  One that runs is taken to do
 * so to the end of the window, though the last block that fits may end before.
 */
static int64_t ran_by_now(const Fake *f, int vcpu)
{
    const VschedVCPU *v = &f->core->vcpu[vcpu];
    int64_t ran = vsched_core_cycles(f->core, vcpu, VSCHED_RUNNING);

    return v->state != VSCHED_RUNNING ? ran :
           ran + MAX(0, f->core->window_end - f->core->pcpu[v->pcpu].clock);
}

/* Skew once more */
static void measure(const Fake *f, int64_t *before, int64_t *skew)
{
    int vcpus = f->core->topology.vcpus;
    int64_t ran[MANY];

    for (int v = 0; v < vcpus; v++) {
        int64_t sum = ran_by_now(f, v);

        ran[v] = sum - before[v];
        before[v] = sum;
    }
    for (int v = 0; v < vcpus; v++) {
        int64_t most = 0;

        for (int u = 0; u < vcpus; u++) {
            if (u != v && siblings(f, u, v)) {
                most = MAX(most, ran[u]);
            }
        }
        skew[v] = MAX(0, skew[v] + MAX(0, most - ran[v]) - ran[v]);
    }
}

static void assert_lead(const Fake *f, int64_t bound)
{
    int vcpus = f->core->topology.vcpus;

    for (int v = 0; v < vcpus; v++) {
        for (int u = 0; u < vcpus; u++) {
            if (siblings(f, u, v)) {
                g_assert_cmpint(ran_by_now(f, u) - ran_by_now(f, v), <=, bound);
            }
        }
    }
}

#define BLOCK_MAX 10            /* cycles of a piece of code */

/*
 * VCPUs that never halt: skew that adds up does not exceed threshold, sample,
 * window and a switch together.  Nor does what a VCPU is ahead exceed the first
 * three, and by how much another can have stopped short of a window's end.
 */
static void test_guarantee(void)
{
    int above = 0, above_three = 0;

    for (uint32_t seed = 1; seed <= 150; seed++) {
        int64_t window = 50 + hash(seed, 1, 5) % 100;
        int64_t sample = 50 + hash(seed, 2, 5) % 300;
        int64_t skew = 100 + hash(seed, 3, 5) % 1000;
        int64_t slice = sample + window + hash(seed, 4, 5) % 2000;
        int64_t bound = skew + sample + window, sampled = 0, longest = 0;
        /* No longer than from one sample to the next */
        int64_t cost = hash(seed, 8, 5) %
                       ((sample + window - 1) / window * window + 1);
        int64_t before[MANY] = { 0 }, sum[MANY] = { 0 };
        int vcpus = 2 + hash(seed, 5, 5) % 12, pcpus = 1 + hash(seed, 6, 5) % 6;
        int vms = 1 + hash(seed, 7, 5) % 3, vm[MANY], mode = seed % 3;
        Block program[MANY][2];
        Fake f;

        vms = MIN(vms, vcpus);
        for (int v = 0; v < vcpus; v++) {
            vm[v] = v * vms / vcpus;
        }
        fake_init_vms(&f, vcpus, vm, pcpus, window, cost,
                      &vsched_policy_cosched, slice);
        fake_set(&f, "skew", skew);
        fake_set(&f, "sample", sample);
        fake_set(&f, "mode", mode);
        f.core->jitter = seed % 2;
        for (int v = 0; v < vcpus; v++) {
            memset(program[v], 0, sizeof(program[v]));
            program[v][0].length = 1 + hash(seed, v, 6) % BLOCK_MAX;
            f.world.program[v] = program[v];
        }
        start_all(&f);
        for (int i = 0; i < 2000; i++) {
            fake_drive(&f, f.core->window_end + window);
            if (mode == INDIVIDUAL) {
                assert_lead(&f, bound + BLOCK_MAX - 1);
            } else if (f.core->window_end >= sampled + sample) {
                measure(&f, before, sum);
                sampled = f.core->window_end;
                for (int v = 0; v < vcpus; v++) {
                    g_assert_cmpint(sum[v], ==, value_of(&f, v, SKEW));
                    g_assert_cmpint(sum[v], <=, bound + cost);
                    above_three += sum[v] > bound;
                    longest = MAX(longest, sum[v]);
                }
            }
        }
        above += longest > skew;
        /* Nobody starves. */
        for (int v = 0; v < vcpus; v++) {
            g_assert_cmpint(vsched_core_cycles(f.core, v, VSCHED_RUNNING), >,
                            2000 * window * pcpus / vcpus / 8);
        }
        fake_free(&f);
    }
    g_assert_cmpint(above, >, 30);      /* it was too large often enough */
    g_assert_cmpint(above_three, >, 0); /* a switch can matter */
}

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
            b->mode = hash(seed, v + 99, i / 5) % 3;
            if (e < 3 && vcpus > 1) {
                b->event = CALL;
                b->arg = (v + 1 + (h >> 16) % (vcpus - 1)) % vcpus;
            } else if (e < 5) {
                b->event = HALT;
                b->arg = 1 + (h >> 16) % 3000;
            } else if (e < 9) {
                b->event = SPIN;
            }
        }
    }
}

/* VCPUs that call each other, halt, are in the idle loop */
static void init_random(Fake *f, Programs *programs, uint32_t seed)
{
    int vcpus = 1 + hash(seed, 1, 9) % 8, pcpus = 1 + hash(seed, 2, 9) % 4;
    int vm[8];

    for (int v = 0; v < vcpus; v++) {
        vm[v] = vcpus > 1 && seed % 4 && v >= vcpus / 2;
    }
    fake_init_vms(f, vcpus, vm, pcpus, 50 + hash(seed, 3, 9) % 200,
                  hash(seed, 4, 9) % 50, &vsched_policy_cosched,
                  200 + hash(seed, 5, 9) % 1500);
    fake_set(f, "mode", hash(seed, 6, 9) % 3);
    fake_set(f, "idle", hash(seed, 7, 9) % 5);
    f->knows_idle_loop = seed % 2;
    f->core->jitter = seed % 3;
    draw(programs, vcpus, seed);
    for (int v = 0; v < vcpus; v++) {
        f->world.program[v] = programs->block[v];
    }
}

static void test_windows_at_once(void)
{
    for (uint32_t seed = 1; seed <= 400; seed++) {
        Programs programs;
        Fake f[2];

        for (int i = 0; i < 2; i++) {
            init_random(&f[i], &programs, seed);
            f[i].merge = i;
            start_all(&f[i]);
            fake_drive(&f[i], 60000);
        }
        g_assert_cmpmem(f[0].world.log->data, f[0].world.log->len *
                        sizeof(Executed), f[1].world.log->data,
                        f[1].world.log->len * sizeof(Executed));
        for (int v = 0; v < f[0].core->topology.vcpus; v++) {
            g_assert_cmpint(f[0].world.next[v], >, 5);
        }
        fake_free(&f[0]);
        fake_free(&f[1]);
    }
}

/*
 * ------------------------------------------------------------------------
 * Saved states.
 */

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

        init_random(&f, &programs, seed);
        start_all(&f);
        fake_drive(&f, 5000 + hash(seed, 8, 9) % 9000);
        save(f.core->ops, f.core->policy, words);
        init_random(&copy, &programs, seed);
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

    /* At 90 PCPUs are kept for 0 and 1, and 2 waits: see test_strict(). */
    init(&f, 3, pair_and_one, 2, STRICT, 40, 10, 20);
    init(&copy, 3, pair_and_one, 2, STRICT, 40, 10, 20);
    all_run(&f, tens);
    fake_drive(&f, 90);
    save(f.core->ops, f.core->policy, words);
    g_assert_cmpint(words->len, ==, 1 + 3 + 1 + 3 * WORDS);
    g_assert_cmpint(g_array_index(words, int64_t, 4), ==, 80);
    g_assert_true(load(&copy, &f, words));
#define IMPOSSIBLE(vcpu, which, value)                  \
    do {                                                \
        int64_t *word = word_of(words, 3, vcpu, which); \
        int64_t good = *word;                           \
        *word = value;                                  \
        g_assert_false(load(&copy, &f, words));         \
        *word = good;                                   \
    } while (0)
    IMPOSSIBLE(0, STOPPED, 2);
    IMPOSSIBLE(0, STOPPED, -1);
    IMPOSSIBLE(0, AHEAD, 1);            /* another mode */
    IMPOSSIBLE(0, START, 2);            /* no such PCPU */
    IMPOSSIBLE(0, START, -2);
    IMPOSSIBLE(0, START, 1);            /* kept for 1 */
    IMPOSSIBLE(0, SINCE, -1);
    IMPOSSIBLE(0, RAN, INT64_MIN);
    IMPOSSIBLE(0, RAN, INT64_MAX);
    IMPOSSIBLE(0, IDLED, -1);
    IMPOSSIBLE(0, SKEW, -1);
    IMPOSSIBLE(2, LEAD, -1);
    IMPOSSIBLE(0, -1, -1);              /* when was sampled */
    IMPOSSIBLE(0, -5, 4);               /* how many wait */
    /* At 100 they run: nothing is kept for who runs. */
    fake_drive(&f, 100);
    save(f.core->ops, f.core->policy, words);
    g_assert_true(load(&copy, &f, words));
    IMPOSSIBLE(0, START, 0);
#undef IMPOSSIBLE
    g_array_set_size(words, words->len - 1);
    g_assert_false(load(&copy, &f, words));
    fake_free(&f);
    fake_free(&copy);
}

/*
 * ------------------------------------------------------------------------
 * Against "timeslice": two PCPUs, timeslices of 100; too large is a skew of
 * more than 30, sampled each 10.
 */

static void init_100(Fake *f, const VschedPolicyOps *ops, int mode)
{
    fake_init_vms(f, 3, pair_and_one, 2, 10, 0, ops, 100);
    if (ops == &vsched_policy_cosched) {
        fake_set(f, "skew", 30);
        fake_set(f, "sample", 10);
        fake_set(f, "mode", mode);
    }
}

/* Cycles that 1 runs, which waits until 0 has done 200 cycles of work. */
static int64_t waits_for_sibling(const VschedPolicyOps *ops, int mode)
{
    static const Block waits[] = { { 10, WAIT, 0, 1 }, { 10, STOP }, { } };
    Block works[22] = { 0 };
    int64_t ran;
    Fake f;

    for (int i = 0; i < 21; i++) {
        works[i].length = 10;
    }
    works[19].event = SIGNAL;
    works[20].event = STOP;
    init_100(&f, ops, mode);
    f.world.program[0] = works;
    f.world.program[1] = waits;
    f.world.program[2] = tens;
    start_all(&f);
    fake_drive(&f, 2000);
    g_assert_cmpint(f.core->vcpu[1].state, ==, VSCHED_BLOCKED);
    ran = vsched_core_cycles(f.core, 1, VSCHED_RUNNING);
    fake_free(&f);
    return ran;
}

/* Cycles in which PCPUs are busy until 2100, with three VCPUs that work. */
static int64_t work_done(const VschedPolicyOps *ops, int mode)
{
    int64_t busy;
    Fake f;

    init_100(&f, ops, mode);
    all_run(&f, tens);
    fake_drive(&f, 2100);
    busy = f.core->pcpu[0].busy + f.core->pcpu[1].busy;
    fake_free(&f);
    return busy;
}

static void test_cosched_and_timeslice(void)
{
    /*
     * "timeslice": 0 works from 0 to 100, and, after 2, from 200 to 300.  1 has
     * PCPU 1 for itself and spins until it sees that, in the window from 300 to
     * 310; then it stops, after another block: 320.
     */
    g_assert_cmpint(waits_for_sibling(&vsched_policy_timeslice, 0), ==, 320);
    /*
     * "strict": 0 and 1 run until 100, then 2 and 0.  1 is behind by 40 at 140:
     * 0 stops.  2 runs until 200; both PCPUs are seen to be free at 210, and 0
     * and 1 run together.  0 has 60 left, until 270.  1 has run for 100 + 60,
     * and 10 to stop.
     */
    g_assert_cmpint(waits_for_sibling(&vsched_policy_cosched, STRICT), ==, 170);
    /*
     * Where nobody waits for a sibling, PCPUs idle for nothing: in the same
     * trace PCPU 1 from 140 and PCPU 0 from 200 to 210.  From 210 on this
     * repeats itself with 0 and 1 exchanged: 80 cycles in 210, ten times.  4.x
     * does better: whoever is behind may run.
     */
    g_assert_cmpint(work_done(&vsched_policy_timeslice, 0), ==, 4200);
    g_assert_cmpint(work_done(&vsched_policy_cosched, STRICT), ==, 4200 - 800);
    g_assert_cmpint(work_done(&vsched_policy_cosched, INDIVIDUAL), ==, 4200);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cosched/skew", test_skew);
    g_test_add_func("/cosched/strict", test_strict);
    g_test_add_func("/cosched/relaxed", test_relaxed);
    g_test_add_func("/cosched/individual", test_individual);
    g_test_add_func("/cosched/threshold", test_threshold);
    g_test_add_func("/cosched/exact", test_exact);
    g_test_add_func("/cosched/stopped", test_stopped);
    g_test_add_func("/cosched/idle", test_idle);
    g_test_add_func("/cosched/groups", test_groups);
    g_test_add_func("/cosched/guarantee", test_guarantee);
    g_test_add_func("/cosched/at-once", test_windows_at_once);
    g_test_add_func("/cosched/save", test_save);
    g_test_add_func("/cosched/impossible", test_impossible);
    g_test_add_func("/cosched/timeslice", test_cosched_and_timeslice);
    return g_test_run();
}
