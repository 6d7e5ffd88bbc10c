/*
 * Policy "microslice": traces worked by hand.
 *
 * Windows and blocks of 10, and switches cost nothing, unless a test says
 * otherwise.  With slices of 100 a micro-slice is 10 cycles.  With 2 PCPUs all
 * VCPUs are at home on PCPU 0, and the pool is PCPU 1.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "../fake-host.h"

static const Block tens[] = { { 10 }, { } };
static const Block user[] = { { 10, NOTHING, 0, 0, USER }, { } };
static const Block idle[] = { { 10, NOTHING, 0, 0, IDLE }, { } };

static void init(Fake *f, int vcpus, int pcpus)
{
    fake_init(f, vcpus, pcpus, 10, 0, &vsched_policy_microslice, 100);
    for (int v = 0; v < vcpus; v++) {
        f->world.program[v] = user;
    }
}

/* Who ran on @pcpu, block by block, from now until @time; "." is nobody. */
static void assert_who(Fake *f, int pcpu, int64_t time, const char *expected)
{
    int64_t now = f->core->window_end;
    g_autoptr(GString) s = g_string_new(NULL);

    g_array_set_size(f->world.log, 0);
    fake_drive(f, time);
    for (guint i = 0; i < f->world.log->len; i++) {
        Executed *x = &g_array_index(f->world.log, Executed, i);

        if (x->pcpu == pcpu) {
            while (now < x->start) {
                g_string_append_c(s, '.');
                now += 10;
            }
            g_string_append_c(s, '0' + x->vcpu);
            now += 10;
        }
    }
    while (now < time) {
        g_string_append_c(s, '.');
        now += 10;
    }
    g_assert_cmpstr(s->str, ==, expected);
}

static int place(Fake *f, int vcpu)
{
    return f->core->ops->place(f->core->policy, vcpu);
}

/* Between windows */
static void hint(Fake *f, VschedHintKind kind, int vcpu, int other)
{
    VschedHint h = {
        .kind = kind, .pcpu = VSCHED_NONE, .vcpu = vcpu, .other = other,
        .now = f->core->window_end,
    };

    g_assert_false(f->core->ops->hint(f->core->policy, &h));
}

static void test_stopped_in_kernel(void)
{
    Fake f;

    /*
     * 0, in privileged mode, has a slice until 100, then one micro-slice in the
     * pool, until 110.  1, in user mode, is next at home, until 200, and then
     * waits there behind 0, which came back at 110.
     */
    init(&f, 2, 2);
    f.world.program[0] = tens;
    start_all(&f);
    assert_who(&f, 0, 310, "0000000000" "1111111111" "0000000000" "1");
    fake_free(&f);
    init(&f, 2, 2);
    f.world.program[0] = tens;
    start_all(&f);
    assert_who(&f, 1, 310, ".........." "0........." ".........." "0");
    assert_sums(&f);
    fake_free(&f);

    /* Three: after its run in the pool, 0 is behind 2, where it was before. */
    init(&f, 3, 2);
    f.world.program[0] = tens;
    start_all(&f);
    assert_who(&f, 0, 410, "0000000000" "1111111111" "2222222222" "0000000000"
                           "1");
    fake_free(&f);

    /*
     * 2 is woken at 110, when 0 has run in the pool but is not back yet: its
     * place is before 2.
     */
    init(&f, 3, 2);
    f.world.program[0] = tens;
    f.world.halted[2] = true;
    vsched_core_wake(f.core, 0);
    vsched_core_wake(f.core, 1);
    fake_drive(&f, 110);
    f.world.halted[2] = false;
    vsched_core_wake(f.core, 2);
    assert_who(&f, 0, 310, "111111111" "0000000000" "2");
    fake_free(&f);

    /* The same, and 0 is stopped from outside and woken: it lost its place. */
    init(&f, 3, 2);
    f.world.program[0] = tens;
    f.world.halted[2] = true;
    vsched_core_wake(f.core, 0);
    vsched_core_wake(f.core, 1);
    fake_drive(&f, 110);
    f.world.halted[2] = false;
    vsched_core_wake(f.core, 2);
    fake_drive(&f, 120);
    vsched_core_block(f.core, 0);
    vsched_core_wake(f.core, 0);
    assert_who(&f, 0, 310, "11111111" "2222222222" "0");
    fake_free(&f);

    /* Nobody else is at home: it stays there. */
    init(&f, 1, 2);
    f.world.program[0] = tens;
    start_all(&f);
    assert_who(&f, 0, 310, "0000000000" "0000000000" "0000000000" "0");
    g_assert_cmpint(f.core->vcpu[0].migrations, ==, 0);
    fake_free(&f);
}

static void test_idle_and_spinning(void)
{
    /* When the slice is over at 100, the last spin was at 90, or at 80. */
    static const Block at_90[] = {
        { 10 }, { 10 }, { 10 }, { 10 }, { 10 }, { 10 }, { 10 }, { 10 },
        { 10, SPIN }, { 10 }, { }
    };
    static const Block at_80[] = {
        { 10 }, { 10 }, { 10 }, { 10 }, { 10 }, { 10 }, { 10 }, { 10, SPIN },
        { 10 }, { 10 }, { }
    };
    static const Block at_90_user[] = {
        { 10 }, { 10 }, { 10 }, { 10 }, { 10 }, { 10 }, { 10 }, { 10 },
        { 10, SPIN, 0, 0, USER }, { 10 }, { }
    };
    Fake f;

    for (int i = 0; i < 5; i++) {
        init(&f, 2, 2);
        f.knows_idle_loop = true;
        f.world.program[0] = i == 0 ? at_90 : i == 1 ? at_80 :
                             i == 2 ? at_90_user : idle;
        fake_set(&f, "idle", i == 4 ? VSCHED_IDLE_HALT : VSCHED_IDLE_AUTO);
        start_all(&f);
        assert_who(&f, 1, 120, i == 0 || i == 3 ? "............"
                                                : "..........0.");
        fake_free(&f);
    }
}

static const Block calls[] = { { 10 }, { 10, CALL, 1 }, { 10, STOP }, { } };

static void test_interrupted(void)
{
    Fake f;

    /*
     * At 20, 0 calls 1, which waits for its turn at home: it takes the call in
     * the pool, in the window from 20 to 30.  0 finds that at 40 and stops at
     * 50.  The same with several windows at once: they end when 1 is moved.
     */
    for (int merge = 0; merge < 2; merge++) {
        init(&f, 2, 2);
        f.merge = merge;
        f.world.program[0] = calls;
        start_all(&f);
        fake_drive(&f, 70);
        assert_log(&f, "0:0@0 0:0@10 0:0@20 1:1@20 0:0@30 0:0@40 0:1@50 "
                       "0:1@60");
        g_assert_cmpint(f.core->vcpu[0].migrations, ==, 0);
        g_assert_cmpint(f.core->vcpu[1].preempted, ==, 0);
        fake_free(&f);
    }

    /* It is woken by the call, while 0 has its home: to the pool. */
    init(&f, 2, 2);
    f.world.program[0] = calls;
    f.world.halted[1] = true;
    vsched_core_wake(f.core, 0);
    fake_drive(&f, 60);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 1:1@20 0:0@30 0:0@40 0:1@50");
    fake_free(&f);

    /* One that a device wakes goes home, and so does one that took it. */
    init(&f, 2, 2);
    start_all(&f);
    fake_drive(&f, 10);
    hint(&f, VSCHED_HINT_SENT, 1, VSCHED_NONE);
    assert_who(&f, 1, 110, "..........");
    hint(&f, VSCHED_HINT_SENT, 1, 0);   /* it runs */
    hint(&f, VSCHED_HINT_TAKEN, 1, VSCHED_NONE);
    assert_who(&f, 1, 210, "..........");
    fake_free(&f);

    /* It has not taken it when its slice is over: to the pool, once. */
    init(&f, 2, 2);
    start_all(&f);
    fake_drive(&f, 10);
    hint(&f, VSCHED_HINT_SENT, 0, 1);
    assert_who(&f, 1, 130, ".........0..");
    fake_free(&f);
}

static void test_pool(void)
{
    Fake f;

    /*
     * PCPUs 0 and 1, and the pool is 2.  At 10, 2 goes there; 3 would have to
     * wait for it, and stays.  At 20, when 2 runs there still, 3 may wait; 4
     * would be the second one that waits, and stays.
     */
    init(&f, 6, 3);
    start_all(&f);
    fake_drive(&f, 10);
    hint(&f, VSCHED_HINT_SENT, 2, 0);
    g_assert_cmpint(place(&f, 2), ==, 2);
    hint(&f, VSCHED_HINT_SENT, 3, 0);
    g_assert_cmpint(place(&f, 3), ==, 1);
    assert_who(&f, 2, 20, "2");
    hint(&f, VSCHED_HINT_SENT, 3, 0);
    g_assert_cmpint(place(&f, 3), ==, 2);
    hint(&f, VSCHED_HINT_SENT, 4, 0);
    g_assert_cmpint(place(&f, 4), ==, 0);
    assert_who(&f, 2, 50, "3..");
    fake_free(&f);

    /* A pool of 2 and 3: 2 runs on 2, and 4 goes to 3, which is free. */
    init(&f, 6, 4);
    fake_set(&f, "pool", 2);
    start_all(&f);
    fake_drive(&f, 10);
    hint(&f, VSCHED_HINT_SENT, 2, 0);
    g_assert_cmpint(place(&f, 2), ==, 2);
    fake_drive(&f, 20);
    hint(&f, VSCHED_HINT_SENT, 4, 0);
    g_assert_cmpint(place(&f, 4), ==, 3);
    fake_free(&f);

    /* It may not run there. */
    init(&f, 2, 2);
    set_affinity(&f, 1, 1);
    f.world.program[1] = tens;
    start_all(&f);
    fake_drive(&f, 10);
    hint(&f, VSCHED_HINT_SENT, 1, 0);
    g_assert_cmpint(place(&f, 1), ==, 0);
    assert_who(&f, 1, 310, "..............................");
    fake_free(&f);

    /* 2 and 3 may run nowhere else: by turns, in micro-slices. */
    init(&f, 4, 2);
    set_affinity(&f, 2, 2);
    set_affinity(&f, 3, 2);
    start_all(&f);
    assert_who(&f, 1, 60, "232323");
    /* 1 is sent an interrupt, but somebody waits there. */
    hint(&f, VSCHED_HINT_SENT, 1, 0);
    g_assert_cmpint(place(&f, 1), ==, 0);
    fake_free(&f);

    /* No pool: as "timeslice". */
    init(&f, 2, 2);
    fake_set(&f, "pool", 0);
    f.world.program[0] = f.world.program[1] = tens;
    start_all(&f);
    assert_who(&f, 1, 200, "11111111111111111111");
    fake_free(&f);
}

static void test_off_and_on(void)
{
    Fake f;

    /* Of three PCPUs a pool of 9 has two: all are at home on PCPU 0. */
    init(&f, 3, 3);
    fake_set(&f, "pool", 9);
    start_all(&f);
    for (int v = 0; v < 3; v++) {
        g_assert_cmpint(place(&f, v), ==, 0);
    }
    fake_drive(&f, 10);
    hint(&f, VSCHED_HINT_SENT, 1, 0);
    hint(&f, VSCHED_HINT_SENT, 2, 0);
    g_assert_cmpint(place(&f, 1), ==, 1);
    g_assert_cmpint(place(&f, 2), ==, 2);
    /* PCPU 2 goes off: 2 goes home.  0 and 1 are left, the pool is 1. */
    set_online(&f, 3);
    g_assert_cmpint(place(&f, 1), ==, 1);
    g_assert_cmpint(place(&f, 2), ==, 0);
    /* PCPU 0 alone */
    set_online(&f, 1);
    g_assert_cmpint(place(&f, 1), ==, 0);
    assert_who(&f, 0, 310, "000000000" "1111111111" "2222222222" "0");
    /* On again; one without a mask of its own goes home by its number. */
    fake_set(&f, "pool", 1);
    set_online(&f, 7);
    g_assert_cmpint(place(&f, 1), ==, 1);
    g_assert_cmpint(place(&f, 2), ==, 0);
    assert_sums(&f);
    fake_free(&f);
}

/* Word @i of the eight that are not of a VCPU: 1 is the size of the pool. */
static int64_t word(Fake *f, int i)
{
    g_autoptr(GArray) words = g_array_new(false, false, sizeof(int64_t));

    f->core->ops->save(f->core->policy, words);
    return g_array_index(words, int64_t, words->len - 8 + i);
}

static void drive_and_spin(Fake *f, int64_t until, int locks, int interrupts)
{
    hint(f, VSCHED_HINT_TAKEN, 1, VSCHED_NONE);
    while (locks--) {
        hint(f, VSCHED_HINT_SPIN, 0, VSCHED_NONE);
    }
    hint(f, VSCHED_HINT_SENT, 1, 0);
    while (interrupts--) {
        hint(f, VSCHED_HINT_SPIN, 0, VSCHED_NONE);
    }
    fake_drive(f, until);
}

static void test_adaptive(void)
{
    Fake f, copy;

    /* Profiles of 50 and epochs of 200; 0 spins for a lock, or for 1. */
    init(&f, 3, 4);
    fake_set(&f, "pool", 3);
    fake_set(&f, "profile", 50);
    fake_set(&f, "epoch", 200);
    f.world.program[0] = tens;
    start_all(&f);
    g_assert_cmpint(word(&f, 1), ==, 3);
    fake_set(&f, "adaptive", 1);
    g_assert_cmpint(word(&f, 1), ==, 0);
    fake_drive(&f, 10);
    g_assert_cmpint(word(&f, 3), ==, 60);       /* of the first profile */
    /* No spin until 60: no pool until 160; then a profile until 210. */
    fake_drive(&f, 60);
    g_assert_cmpint(word(&f, 1), ==, 0);
    g_assert_cmpint(word(&f, 3), ==, 160);
    fake_drive(&f, 160);
    g_assert_cmpint(word(&f, 1), ==, 0);
    g_assert_cmpint(word(&f, 3), ==, 210);
    /* More for locks: one, until 410. */
    drive_and_spin(&f, 210, 2, 1);
    g_assert_cmpint(word(&f, 1), ==, 1);
    g_assert_cmpint(word(&f, 3), ==, 410);
    /* As many for interrupts: 1, 2 and 3 are tried, with 4, 2 and 2 spins. */
    fake_drive(&f, 410);
    g_assert_cmpint(word(&f, 1), ==, 0);
    drive_and_spin(&f, 460, 2, 2);
    g_assert_cmpint(word(&f, 1), ==, 1);
    drive_and_spin(&f, 510, 0, 4);
    g_assert_cmpint(word(&f, 1), ==, 2);
    drive_and_spin(&f, 560, 9, 2);
    g_assert_cmpint(word(&f, 1), ==, 3);
    /* A state that is saved here knows that 0 spins for 1, and what was best */
    fake_save_and_load(&f, &copy, true);
    hint(&copy, VSCHED_HINT_SPIN, 0, VSCHED_NONE);
    hint(&copy, VSCHED_HINT_SPIN, 0, VSCHED_NONE);
    fake_drive(&copy, 610);
    g_assert_cmpint(word(&copy, 1), ==, 2);
    fake_free(&copy);
    drive_and_spin(&f, 610, 0, 2);
    /* The best, and the smaller, is 2: PCPUs 0 and 1 are homes. */
    g_assert_cmpint(word(&f, 1), ==, 2);
    g_assert_cmpint(word(&f, 3), ==, 810);
    /* One that spins in user mode does not count. */
    fake_drive(&f, 810);
    f.world.program[0] = user;
    fake_drive(&f, 830);
    drive_and_spin(&f, 860, 2, 2);
    g_assert_cmpint(word(&f, 1), ==, 0);
    g_assert_cmpint(word(&f, 3), ==, 960);
    /* Off: the pool is as it was said to be. */
    fake_set(&f, "adaptive", 0);
    g_assert_cmpint(word(&f, 1), ==, 3);
    g_assert_cmpint(word(&f, 3), ==, INT64_MAX);
    fake_free(&f);
}

static void adaptive(Fake *f)
{
    fake_set(f, "adaptive", 1);
    fake_set(f, "pool", 3);
}

static void pool_of_two(Fake *f)
{
    fake_set(f, "pool", 2);
}

static void test_mixed(void)
{
    fake_mixed(&vsched_policy_microslice, NULL);
    fake_mixed(&vsched_policy_microslice, pool_of_two);
    fake_mixed(&vsched_policy_microslice, adaptive);
}

static void test_refusals(void)
{
    int64_t values[] = { 100, 101, 1, 0, 1000, 1000, 0 };
    char *why = NULL;
    Fake f;

    init(&f, 2, 2);
    refused(vsched_core_set_policy(f.core, &vsched_policy_microslice, values,
                                   &why), &why, "they are 101 and 100 cycles");
    refused(f.core->ops->set(f.core->policy, values, &why), &why,
            "cannot be longer than a slice");
    values[1] = 100;
    must(f.core->ops->set(f.core->policy, values, &why), &why);
    fake_free(&f);
}

static void test_impossible_states(void)
{
    const VschedPolicyOps *ops = &vsched_policy_microslice;
    GArray *words = g_array_new(false, false, sizeof(int64_t));
    int64_t *w;
    int vcpu, rest, n;
    Fake f;

    init(&f, 3, 3);
    start_all(&f);
    windows(&f, 3);
    ops->save(f.core->policy, words);
    w = (int64_t *)words->data;
    n = words->len;
    vcpu = 1 + w[0];
    rest = vcpu + 3 * 4;
    g_assert_cmpint(n, ==, rest + 8);
    g_assert_true(ops->load(f.core->policy, w, n));
    g_assert_false(ops->load(f.core->policy, w, n - 1));
#define IMPOSSIBLE(i, value)                                            \
    do {                                                                \
        int64_t was = w[i];                                             \
        w[i] = value;                                                   \
        g_assert_false(ops->load(f.core->policy, w, n));                \
        w[i] = was;                                                     \
    } while (0)
    /* 2 waits: at home, on PCPU 0, or for the pool, which is 2. */
    g_assert_cmpint(w[1], ==, 2);
    IMPOSSIBLE(1, INT64_C(1) << 32 | 2);
    IMPOSSIBLE(vcpu, 1000);             /* a turn that was not given yet */
    IMPOSSIBLE(vcpu + 1, 2);            /* interrupted */
    IMPOSSIBLE(vcpu + 2, 3);            /* receiver */
    IMPOSSIBLE(vcpu + 3, INT64_MAX);    /* spun */
    IMPOSSIBLE(rest, -1);               /* turns */
    IMPOSSIBLE(rest + 1, 65);           /* size */
    IMPOSSIBLE(rest + 2, -2);           /* trying */
    IMPOSSIBLE(rest + 3, -1);           /* until */
    IMPOSSIBLE(rest + 6, -1);           /* best */
#undef IMPOSSIBLE
    g_assert_true(ops->load(f.core->policy, w, n));
    g_array_free(words, true);
    fake_free(&f);
}

static void test_longest_wait(void)
{
    Fake f;

    /*
     * 7 homes, 4 VCPUs at most: 3 x (100000 + 1554) + 1554 there, and
     * 10000 + 1554 + 1554 in the pool.
     */
    fake_init(&f, 24, 8, 1000, 554, &vsched_policy_microslice, 100000);
    g_assert_cmpint(longest_wait(&f), ==, 319324);
    /* 5 and 13 run in the pool alone: 3 turns there. */
    set_affinity(&f, 5, 0x80);
    set_affinity(&f, 13, 0x80);
    g_assert_cmpint(longest_wait(&f), ==, 319324 + 2 * 11554);
    fake_set(&f, "pool", 0);
    set_affinity(&f, 5, 0xff);
    set_affinity(&f, 13, 0xff);
    g_assert_cmpint(longest_wait(&f), ==, 2 * 101554 + 1554);
    /*
     * B = 101554 + 25 x 11554 + 1554 = 391958; A + 2 x B = 23 x 101554 +
     * 25 x 11554 + 2 x 1554 + 783916 = 3411616, which is 6 times P - B =
     * 608042, rounded up.
     */
    fake_set(&f, "pool", 1);
    fake_set(&f, "adaptive", 1);
    g_assert_cmpint(longest_wait(&f), ==, 3411616 + 6 * 391958);
    fake_set(&f, "epoch", 391959);
    g_assert_cmpint(longest_wait(&f), ==, 3411616 + INT64_C(3411616) * 391958);
    fake_set(&f, "profile", 391958);
    g_assert_cmpint(longest_wait(&f), ==, INT64_MAX);
    fake_free(&f);
}

/* The longest wait is within the bound, whatever is sent and spins. */
static void test_bound_holds(void)
{
    for (int i = 0; i < 40; i++) {
        int64_t bound;
        Fake f;

        fake_init(&f, 9, 4, 10, 3, &vsched_policy_microslice, 100);
        fake_set(&f, "pool", 1 + i % 3);
        fake_set(&f, "profile", 500);
        fake_set(&f, "epoch", 700);
        fake_set(&f, "adaptive", i % 2);
        for (int v = 0; v < 9; v++) {
            f.world.program[v] = v % 3 ? tens : user;
        }
        start_all(&f);
        bound = longest_wait(&f);
        g_assert_cmpint(bound, <, INT64_MAX);
        for (int n = 0; n < 3000; n++) {
            uint32_t h = hash(i, n, 1);

            hint(&f, h % 3 ? VSCHED_HINT_SENT : VSCHED_HINT_TAKEN, h / 3 % 9,
                 h / 27 % 9);
            hint(&f, VSCHED_HINT_SPIN, h / 243 % 9, VSCHED_NONE);
            windows(&f, 1);
        }
        g_assert_cmpint(f.longest_wait, <=, bound);
        g_assert_cmpint(f.longest_wait, >, 200);
        fake_free(&f);
    }
}

/* Homes change in each window: no bound, but nobody is left behind. */
static void test_no_bound(void)
{
    Fake f;

    init(&f, 9, 4);
    fake_set(&f, "pool", 3);
    fake_set(&f, "profile", 10);
    fake_set(&f, "epoch", 10);
    fake_set(&f, "adaptive", 1);
    all_run(&f, tens);
    g_assert_cmpint(longest_wait(&f), ==, INT64_MAX);
    for (int n = 0; n < 3000; n++) {
        hint(&f, VSCHED_HINT_SENT, hash(n, 1, 1) % 9, hash(n, 2, 1) % 9);
        hint(&f, VSCHED_HINT_SPIN, hash(n, 3, 1) % 9, VSCHED_NONE);
        windows(&f, 1);
    }
    /* 8 others in their turn, and as many that ran at a change */
    g_assert_cmpint(f.longest_wait, <, 16 * 100);
    fake_free(&f);
}

/*
 * A cycle at which 0 has come through its program, on PCPU 0 alone.  1 and 2
 * are on PCPU 1, but 2 may go to PCPU 2 as well, the pool.
 */
static int64_t through(const VschedPolicyOps *ops, const Block *a,
                       const Block *c)
{
    int64_t time = 0;
    Fake f;

    fake_init(&f, 3, 3, 10, 0, ops, 100);
    set_affinity(&f, 0, 1);
    set_affinity(&f, 1, 2);
    set_affinity(&f, 2, 6);
    f.world.program[0] = a;
    f.world.program[1] = user;
    f.world.program[2] = c;
    start_all(&f);
    while (!f.world.rounds[0]) {
        fake_drive(&f, time += 10);
    }
    fake_free(&f);
    return time;
}

/* Cycles in which three PCPUs were busy, of 3000, with 6 in user mode */
static int64_t work_done(const VschedPolicyOps *ops)
{
    int64_t busy = 0;
    Fake f;

    fake_init(&f, 6, 3, 10, 0, ops, 100);
    all_run(&f, user);
    fake_drive(&f, 1000);
    for (int p = 0; p < 3; p++) {
        busy += f.core->pcpu[p].busy;
    }
    fake_free(&f);
    return busy;
}

static void test_microslice_and_timeslice(void)
{
    static const Block calls_2[] = {
        { 10 }, { 10, CALL, 2 }, { 10, STOP }, { }
    };
    static const Block wants[] = {
        { 50 }, { 50 }, { 50 }, { 50 }, { 10 }, { 10, LOCK, 0 },
        { 10, UNLOCK, 0 }, { 10, STOP }, { }
    };
    static const Block holds[] = {
        { 50, NOTHING, 0, 0, USER }, { 40, NOTHING, 0, 0, USER },
        { 10, LOCK, 0 }, { 10, UNLOCK, 0 }, { 50, NOTHING, 0, 0, USER },
        { 30, NOTHING, 0, 0, USER }, { }
    };

    /*
     * At 20, 0 calls 2, which waits behind 1.  In the pool it takes the call in
     * the window from 20 to 30, in which PCPU 2 comes first, so that 0 finds
     * that at 30 and stops at 40.  "timeslice" has 2 take it at 100; in the
     * window that begins then PCPU 1 comes first, then 2, then 0: 110 and 120.
     */
    g_assert_cmpint(through(&vsched_policy_timeslice, calls_2, user), ==, 120);
    g_assert_cmpint(through(&vsched_policy_microslice, calls_2, user), ==, 40);

    /*
     * 2 has its slice from 100 to 200, and takes the lock at its end.  0 wants
     * it from 210 on.  "timeslice" lets 1 run, and 2 unlocks at 310, in a
     * window in which PCPU 0 comes first: 0 has it at 320 and stops at 340.
     * "microslice" has 2 in the pool.  In the window from 200 to 210 PCPU 2
     * comes before PCPU 1, so it runs there from 210 to 220, when 0 had its
     * chance already: 230, and 0 stops at 250.
     */
    g_assert_cmpint(through(&vsched_policy_timeslice, wants, holds), ==, 340);
    g_assert_cmpint(through(&vsched_policy_microslice, wants, holds), ==, 250);

    /* The pool is idle where nothing is critical. */
    g_assert_cmpint(work_done(&vsched_policy_timeslice), ==, 3000);
    g_assert_cmpint(work_done(&vsched_policy_microslice), ==, 2000);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/microslice/kernel", test_stopped_in_kernel);
    g_test_add_func("/microslice/idle", test_idle_and_spinning);
    g_test_add_func("/microslice/interrupted", test_interrupted);
    g_test_add_func("/microslice/pool", test_pool);
    g_test_add_func("/microslice/off-and-on", test_off_and_on);
    g_test_add_func("/microslice/adaptive", test_adaptive);
    g_test_add_func("/microslice/mixed", test_mixed);
    g_test_add_func("/microslice/refusals", test_refusals);
    g_test_add_func("/microslice/impossible", test_impossible_states);
    g_test_add_func("/microslice/longest-wait", test_longest_wait);
    g_test_add_func("/microslice/bound", test_bound_holds);
    g_test_add_func("/microslice/no-bound", test_no_bound);
    g_test_add_func("/microslice/timeslice", test_microslice_and_timeslice);
    return g_test_run();
}
