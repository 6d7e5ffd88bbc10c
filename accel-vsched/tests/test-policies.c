/*
 * What a policy may do and what is done to it: the policies of the list and
 * toys that do what these do not, against the scripted host.
 *
 * First cases worked out by hand, then invariants at random that hold for every
 * policy: each VCPU is in one place, none is lost, accounts add up, no wait is
 * longer than the policy says, a state is saved and loaded at any moment.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "../state.h"
#include "fake-host.h"
#include "toy-policies.h"

static const Block tens[] = { { 10 }, { } };

/*
 * ------------------------------------------------------------------------
 * By hand.
 */

static void test_refusal(void)
{
    const int64_t slice = 20, odd = 21;
    char *why = NULL;
    Fake f;

    /* What cannot be created changes nothing: 1 still runs until 20. */
    fake_init(&f, 2, 1, 10, 0, &vsched_policy_timeslice, 20);
    all_run(&f, tens);
    windows(&f, 1);
    refused(vsched_core_set_policy(f.core, &toy_picky, &slice, &why), &why,
            "more VCPUs than PCPUs");
    g_assert_true(f.core->ops == &vsched_policy_timeslice);
    windows(&f, 3);
    assert_log(&f, "0:0@0 0:0@10 0:1@20 0:1@30");
    fake_free(&f);

    fake_init(&f, 2, 2, 10, 0, &toy_picky, 20);
    refused(vsched_core_set_policy(f.core, &toy_picky, &odd, &why), &why,
            "21 cycles is odd");
    fake_free(&f);
}

static void test_last_after_elsewhere(void)
{
    Fake f;

    /*
     * One VCPU, two PCPUs, switch 5.  It runs on PCPU 0, then its mask sends it
     * to PCPU 1, then back: PCPU 0 has to take its registers in again, though
     * nobody else was there.
     */
    fake_init(&f, 1, 2, 100, 5, &vsched_policy_timeslice, 1000);
    all_run(&f, tens);
    windows(&f, 1);
    set_affinity(&f, 0, 2);
    windows(&f, 1);
    set_affinity(&f, 0, 1);
    windows(&f, 1);
    g_assert_cmpint(f.core->pcpu[0].switches, ==, 2);
    g_assert_cmpint(f.core->pcpu[1].switches, ==, 1);
    g_assert_cmpint(f.core->vcpu[0].migrations, ==, 2);
    g_assert_cmpint(f.core->vcpu[0].evicted, ==, 2);
    g_assert_cmpint(f.switched, ==, 3);
    assert_sums(&f);
    fake_free(&f);
}

static void test_slice_shorter_than_a_block(void)
{
    Fake f;

    /*
     * Slices of 3, blocks of 10, switch 5: one block in each slice.  Alone it
     * runs on; two take turns.
     */
    fake_init(&f, 1, 1, 100, 5, &vsched_policy_timeslice, 3);
    all_run(&f, tens);
    windows(&f, 1);
    g_assert_cmpint(f.core->pcpu[0].busy, ==, 90);
    g_assert_cmpint(f.core->vcpu[0].expired, ==, 9);
    fake_free(&f);

    fake_init(&f, 2, 1, 100, 5, &vsched_policy_timeslice, 3);
    all_run(&f, tens);
    windows(&f, 1);
    assert_log(&f, "0:0@5 0:1@20 0:0@35 0:1@50 0:0@65 0:1@80");
    fake_free(&f);
}

static void test_skip_asks_who_waits(void)
{
    static const Block spins[] = { { 10, SPIN }, { } };
    Fake f;

    /*
     * VCPU 1 ran last on PCPU 1, which is off by now, and waits for any PCPU;
     * VCPU 0 spins on PCPU 0.  Time must not pass there without VCPU 1.
     */
    fake_init(&f, 2, 2, 100, 0, &toy_shared, 1000);
    f.core->skip = 1000;
    f.world.program[0] = tens;
    f.world.program[1] = tens;
    start_all(&f);
    windows(&f, 1);
    g_assert_cmpint(f.core->vcpu[1].pcpu, ==, 1);
    set_online(&f, 1);
    g_assert_cmpint(f.core->vcpu[1].state, ==, VSCHED_READY);
    f.world.program[0] = spins;
    windows(&f, 1);
    g_assert_cmpint(f.core->pcpu[0].skipped, ==, 0);
    g_assert_cmpint(f.core->pcpu[0].busy, ==, 200);
    fake_free(&f);
}

static void test_held_back(void)
{
    int64_t until;
    Fake f;

    /*
     * Capped to one slice of 100 in each round of 400, windows of 50: it runs
     * from 0 to 100 and from 400 to 500, and the engine goes on at the tick.
     */
    fake_init(&f, 1, 1, 50, 0, &toy_capped, 100);
    all_run(&f, tens);
    windows(&f, 2);
    g_assert_false(vsched_core_idle(f.core, &until));   /* it runs still */
    windows(&f, 1);
    g_assert_cmpint(f.core->vcpu[0].state, ==, VSCHED_READY);
    g_assert_true(vsched_core_idle(f.core, &until));
    g_assert_cmpint(until, ==, 400);
    fake_drive(&f, 1000);
    g_assert_cmpint(f.core->pcpu[0].busy, ==, 300);     /* 0, 400 and 800 */
    g_assert_cmpint(f.core->pcpu[0].idle, ==, 700);
    fake_free(&f);

    /* It says nothing of when: the engine asks at each boundary. */
    fake_init(&f, 1, 1, 50, 0, &toy_silent, 120);
    all_run(&f, tens);
    g_assert_true(vsched_core_idle(f.core, &until));
    g_assert_cmpint(until, ==, 50);
    fake_drive(&f, 200);
    /* Held until 120; the first window that begins after that is at 150. */
    assert_log(&f, "0:0@150 0:0@160 0:0@170 0:0@180 0:0@190");
    fake_free(&f);
}

static void test_preempt(void)
{
    static const Block pokes[] = {
        { 10 }, { 10, POKE, 2 }, { 10 }, { 70 }, { }
    };
    Fake f;

    /*
     * VCPU 1, on PCPU 1, sends VCPU 2 an interrupt at 20, by way of the end of
     * the window.  The toy then preempts PCPU 2 mod 2 = 0: VCPU 0 stops at 100,
     * though its slice lasts until 1000, and 2 runs.
     */
    fake_init(&f, 3, 2, 100, 0, &toy_rude, 1000);
    f.world.program[1] = pokes;
    f.world.program[0] = f.world.program[2] = tens;
    f.world.halted[2] = true;
    vsched_core_wake(f.core, 0);
    vsched_core_wake(f.core, 1);
    fake_drive(&f, 100);
    g_assert_cmpint(f.core->vcpu[2].state, ==, VSCHED_READY);
    g_array_set_size(f.world.log, 0);
    windows(&f, 1);
    g_assert_cmpint(f.core->vcpu[0].preempted, ==, 1);
    g_assert_cmpint(f.core->pcpu[0].current, ==, 2);
    g_assert_cmpint(f.core->vcpu[0].state, ==, VSCHED_READY);
    fake_free(&f);
}

/* VCPU 0 wakes VCPU 1, of the same PCPU, in the middle of a window. */
static void test_preempt_at_once(void)
{
    static const Block pokes[] = { { 10 }, { 10, POKE, 1 }, { 10 }, { } };
    Fake f;

    fake_init(&f, 2, 1, 100, 0, &toy_rude, 1000);
    f.world.program[0] = pokes;
    f.world.program[1] = tens;
    f.world.halted[1] = true;
    vsched_core_wake(f.core, 0);
    windows(&f, 1);
    assert_log(&f, "0:0@0 0:0@10 0:1@20 0:1@30 0:1@40 0:1@50 0:1@60 0:1@70 "
                   "0:1@80 0:1@90");
    g_assert_cmpint(f.core->vcpu[0].preempted, ==, 1);
    fake_free(&f);
}

static void test_exact_slices(void)
{
    Fake f;

    /*
     * With jitter and an initial phase: slices of the toy are 6400 to the
     * cycle, those of timeslice are shorter.
     */
    fake_init(&f, 2, 1, 100, 0, &toy_exact, 6400);
    f.core->jitter = true;
    f.core->pcpu[0].phase = 0x3fffffff;
    all_run(&f, tens);
    fake_drive(&f, 100);
    for (int i = 1; i <= 20; i++) {
        g_assert_cmpint(f.core->pcpu[0].slice_end, ==, i * 6400);
        fake_drive(&f, i * 6400 + 100);
    }
    fake_free(&f);
}

static void test_precise_slices(void)
{
    static const Block sevens[] = { { 7 }, { } };
    char *why = NULL;
    Fake f;

    /*
     * Slices of 10, blocks of 7, windows of 100: 0 executes a block and 3
     * instructions of the next one, then 1 does; then 0 executes the 4 that
     * are left, and 6 of the third block; then the 1 that is left of it.
     */
    fake_init(&f, 2, 1, 100, 0, &toy_precise, 10);
    f.core->jitter = true;
    f.core->pcpu[0].phase = 0x3fffffff;
    all_run(&f, sevens);
    windows(&f, 1);
    assert_log(&f, "0:0@0 0:0@7 0:1@10 0:1@17 0:0@20 0:0@24 0:1@30 0:1@34 "
                   "0:0@40 0:0@41 0:0@48 0:1@50 0:1@51 0:1@58 0:0@60 0:0@65 "
                   "0:1@70 0:1@75 0:0@80 0:0@82 0:0@89 0:1@90 0:1@92 0:1@99");
    g_assert_cmpint(f.core->pcpu[0].clock, ==, 100);
    g_assert_cmpint(f.core->vcpu[0].insns[0], ==, 50);
    assert_sums(&f);
    fake_free(&f);

    /*
     * Windows of 12: at 7 the block of 1 is over, and the next one would end at
     * 14, beyond the window: what it lacks of 12 is made up for in the next
     * window, in which the slice ends, in the middle of that block.
     */
    fake_init(&f, 2, 1, 12, 0, &toy_precise, 13);
    all_run(&f, sevens);
    windows(&f, 1);
    assert_log(&f, "0:0@0");
    g_assert_cmpint(f.core->pcpu[0].clock, ==, 7);
    windows(&f, 1);
    assert_log(&f, "0:0@7 0:1@13");
    g_assert_cmpint(f.core->pcpu[0].clock, ==, 20);
    fake_free(&f);

    /*
     * 2 instructions in 3 cycles, slices of 10.  A block of 7 takes 10.5: it
     * ends at 10, and half a cycle is carried.  6 of the next one take 9 + 0.5;
     * a 7th would end at 21.  So this slice is over at 19, a cycle early.  The
     * 7th, until 20.5 + 0.5, and 5 of the third block, 7.5, end at 28.
     */
    fake_init(&f, 1, 1, 30, 0, &toy_precise, 10);
    must(vsched_core_set_speed(f.core, 0, 2, 3, &why), &why);
    all_run(&f, sevens);
    windows(&f, 1);
    assert_log(&f, "0:0@0 0:0@10 0:0@19 0:0@21");
    g_assert_cmpint(f.core->pcpu[0].clock, ==, 28);
    g_assert_cmpint(f.core->pcpu[0].insns, ==, 19);
    fake_free(&f);

    /*
     * A slice of 1 at half the speed: one instruction is run all the same, and
     * takes 2 cycles.
     */
    fake_init(&f, 2, 1, 8, 0, &toy_precise, 1);
    must(vsched_core_set_speed(f.core, 0, 1, 2, &why), &why);
    all_run(&f, sevens);
    windows(&f, 1);
    assert_log(&f, "0:0@0 0:1@2 0:0@4 0:1@6");
    fake_free(&f);
}

static void test_off_and_on(void)
{
    char *why = NULL;
    Fake f;

    /*
     * 4 VCPUs on 2 PCPUs, slices of 100, windows of 50.  At 50, PCPU 1 goes
     * off: VCPU 1 gives its place up and belongs to PCPU 0 like VCPU 3, which
     * has waited since 0, as 2 has.  So PCPU 0 runs 0 to the end of its slice,
     * then 2, 3 and 1.
     */
    fake_init(&f, 4, 2, 50, 0, &vsched_policy_timeslice, 100);
    all_run(&f, (const Block[]) { { 50 }, { } });
    windows(&f, 1);
    set_online(&f, 1);
    g_assert_cmpint(f.core->vcpu[1].evicted, ==, 1);
    g_assert_cmpint(f.core->vcpu[1].state, ==, VSCHED_READY);
    windows(&f, 9);
    assert_log(&f, "0:0@0 1:1@0 0:0@50 0:2@100 0:2@150 0:3@200 0:3@250 "
                   "0:1@300 0:1@350 0:0@400 0:0@450");
    g_assert_cmpint(f.core->pcpu[1].offline, ==, 450);
    g_assert_cmpint(f.core->pcpu[1].busy, ==, 50);
    assert_sums(&f);

    /* Neither the last one nor one that does not exist */
    refused(vsched_core_set_online(f.core, 0, &why), &why, "cannot go off");
    refused(vsched_core_set_online(f.core, 5, &why), &why, "0 to 1");
    g_assert_cmpuint(f.core->topology.online, ==, 1);

    /* On again: 1 and 3 go home, 3 first, as it has waited longer. */
    set_online(&f, 3);
    windows(&f, 4);
    assert_log(&f, "0:2@500 1:3@500 1:3@550 0:2@550 0:0@600 1:1@600 1:1@650 "
                   "0:0@650");
    fake_free(&f);
}

static GString *suspensions;

static void note_event(void *opaque, VschedEventKind kind, int pcpu, int vcpu,
                       int64_t other, int64_t now)
{
    if (kind == VSCHED_EVENT_AFFINITY) {
        g_string_append_printf(suspensions, "%d %s @%d; ", vcpu,
                               other ? "in force" : "suspended", (int)now);
    }
}

static void test_affinity(void)
{
    VschedHost host = fake_host;
    char *why = NULL;
    Fake f;

    host.event = note_event;
    suspensions = g_string_new(NULL);
    fake_init(&f, 4, 4, 10, 0, &vsched_policy_timeslice, 1000);
    f.core->host = &host;
    all_run(&f, tens);

    /*
     * VCPU 1 may run on 2 and 3: of these it belongs to number 1 mod 2, that is
     * 3, and waits there behind VCPU 3, which has waited as long.
     */
    set_affinity(&f, 1, 0xc);
    windows(&f, 1);
    assert_log(&f, "0:0@0 2:2@0 3:3@0");
    g_assert_cmpint(f.core->vcpu[1].state, ==, VSCHED_READY);

    /* None of its PCPUs is on: it may run on all that are, here 1 mod 2. */
    set_online(&f, 0x3);
    windows(&f, 1);
    g_assert_cmpint(f.core->vcpu[1].pcpu, ==, 1);
    g_assert_cmpuint(f.core->vcpu[1].affinity, ==, 0xc);
    g_assert_cmpuint(f.core->topology.allowed[1], ==, 0x3);
    set_online(&f, 0x7);
    windows(&f, 1);
    g_assert_cmpuint(f.core->topology.allowed[1], ==, 0x4);
    g_assert_cmpstr(suspensions->str, ==,
                    "1 suspended @10; 1 in force @20; ");

    refused(vsched_core_set_affinity(f.core, 1, 0, &why), &why, "0 to 3");
    refused(vsched_core_set_affinity(f.core, 1, 0x10, &why), &why, "0 to 3");
    g_assert_cmpuint(f.core->vcpu[1].affinity, ==, 0xc);
    assert_sums(&f);
    g_string_free(suspensions, true);
    fake_free(&f);
}

static void test_move(void)
{
    char *why = NULL;
    Fake f;

    /*
     * VCPUs 0 and 2 are of PCPU 0, 1 and 3 of PCPU 1; slices of 20, windows and
     * blocks of 10.  At 10, 2 is told to go to PCPU 1: it waits there since 0,
     * as 3 does, and is behind it.  It runs there from 40 to 60 and goes home.
     */
    fake_init(&f, 4, 2, 10, 0, &vsched_policy_timeslice, 20);
    all_run(&f, tens);
    windows(&f, 1);
    must(vsched_core_move(f.core, 2, 1, &why), &why);
    g_assert_cmpuint(f.core->topology.allowed[2], ==, 2);
    windows(&f, 5);
    g_assert_cmpuint(f.core->topology.allowed[2], ==, 3);
    windows(&f, 2);
    assert_log(&f, "0:0@0 1:1@0 1:1@10 0:0@10 0:0@20 1:3@20 1:3@30 0:0@30 "
                   "0:0@40 1:2@40 1:2@50 0:0@50 0:0@60 1:1@60 1:1@70 0:0@70");
    assert_sums(&f);

    /* One that runs goes at once, one that runs there stays. */
    must(vsched_core_move(f.core, 1, 1, &why), &why);
    g_assert_cmpint(f.core->moves, ==, 0);
    must(vsched_core_move(f.core, 1, 0, &why), &why);
    g_assert_cmpint(f.core->vcpu[1].evicted, ==, 1);
    g_assert_cmpint(f.core->moves, ==, 1);
    /* If its aim goes off, it stays where it may be. */
    set_online(&f, 2);
    g_assert_cmpint(f.core->moves, ==, 0);
    refused(vsched_core_move(f.core, 1, 0, &why), &why, "PCPU 0 is off");
    set_online(&f, 3);
    set_affinity(&f, 1, 2);
    refused(vsched_core_move(f.core, 1, 0, &why), &why, "forbids");
    windows(&f, 20);
    assert_sums(&f);
    fake_free(&f);
}

static void test_shares(void)
{
    static const int vm[] = { 0, 0, 1, 1, 1 };
    VschedCore *core = vsched_core_new(5, 2, vm, 10, 0, 1, &fake_host, NULL);
    VschedShare *share = core->topology.share;
    char *why = NULL;

    g_assert_cmpint(core->topology.vms, ==, 2);
    g_assert_cmpint(core->topology.vm[2], ==, 1);
    g_assert_cmpint(share[1].weight, ==, 256);
    g_assert_cmpint(share[1].cap, ==, 0);
    must(vsched_core_set_share(core, 1, (VschedShare) { 65535, 200 }, &why),
         &why);
    refused(vsched_core_set_share(core, 1, (VschedShare) { 0, 0 }, &why), &why,
            "1 to 65535");
    refused(vsched_core_set_share(core, 1, (VschedShare) { 65536, 0 }, &why),
            &why, "1 to 65535");
    refused(vsched_core_set_share(core, 1, (VschedShare) { 1, 201 }, &why),
            &why, "to 200");
    g_assert_cmpint(share[1].weight, ==, 65535);
    g_assert_cmpint(share[1].cap, ==, 200);
    g_assert_cmpint(share[0].weight, ==, 256);
    vsched_core_free(core);
}

static void test_speed(void)
{
    char *why = NULL;
    VschedSpeed s = { 2, 3, 0 };
    int64_t sum = 0;
    Fake f;

    /* 2 instructions in 3 cycles: 1, 2, 1, 2 ... cycles each */
    for (int i = 0; i < 10; i++) {
        int64_t cycles = vsched_speed_cycles(&s, 1);

        g_assert_cmpint(cycles, ==, 1 + i % 2);
        vsched_speed_pass(&s, 1);
        sum += cycles;
    }
    g_assert_cmpint(sum, ==, 15);
    /* In 4 cycles 3 of them, 1 + 2 + 1; after the first, 2: 2 + 1 */
    g_assert_cmpint(vsched_speed_insns(&s, 4), ==, 3);
    vsched_speed_pass(&s, 1);
    g_assert_cmpint(vsched_speed_insns(&s, 4), ==, 2);
    g_assert_cmpint(vsched_speed_insns(&s, 5), ==, 3);
    g_assert_cmpint(vsched_speed_insns(&s, 0), ==, 0);

    /* Half the speed: a block of 10 takes 20 cycles, windows stay. */
    fake_init(&f, 2, 2, 100, 0, &vsched_policy_timeslice, 1000);
    must(vsched_core_set_speed(f.core, 1, 1, 2, &why), &why);
    all_run(&f, tens);
    windows(&f, 10);
    g_assert_cmpint(f.core->pcpu[0].insns, ==, 1000);
    g_assert_cmpint(f.core->pcpu[1].insns, ==, 500);
    g_assert_cmpint(f.core->pcpu[1].busy, ==, 1000);
    assert_sums(&f);

    refused(vsched_core_set_speed(f.core, 1, 3, 2, &why), &why, "1/1000 to 1");
    refused(vsched_core_set_speed(f.core, 1, 0, 2, &why), &why, "1/1000 to 1");
    refused(vsched_core_set_speed(f.core, 1, 1, 1001, &why), &why, "to 1000");
    g_assert_cmpint(f.core->pcpu[1].speed.cycles, ==, 2);
    fake_free(&f);

    /* For all ratios: what fits, fits, and one more does not. */
    for (unsigned i = 0; i < 20000; i++) {
        VschedSpeed r = { .cycles = 1 + hash(i, 1, 1) % 1000 };
        int64_t cycles = hash(i, 3, 3) % 100000, n;

        r.insns = 1 + hash(i, 2, 2) % r.cycles;
        r.carry = hash(i, 4, 4) % r.insns;
        n = vsched_speed_insns(&r, cycles);
        g_assert_cmpint(vsched_speed_cycles(&r, n), <=, cycles);
        g_assert_cmpint(vsched_speed_cycles(&r, n + 1), >, cycles);
    }
}

static void test_stall_beyond_the_window(void)
{
    VschedRun stall = { .cycles = 250 };
    Fake f;

    /*
     * Windows of 100.  A stall carries PCPU 0 from 100 to 350: it does nothing
     * in the windows that end at 200 and 300, and goes on in that of 400.
     */
    fake_init(&f, 2, 2, 100, 0, &vsched_policy_timeslice, 10000);
    all_run(&f, tens);
    windows(&f, 1);
    f.core->pcpu[0].clock += stall.cycles;
    f.core->pcpu[0].stalled += stall.cycles;
    f.core->vcpu[0].seen += stall.cycles;
    g_array_set_size(f.world.log, 0);
    windows(&f, 2);
    for (guint i = 0; i < f.world.log->len; i++) {
        g_assert_cmpint(g_array_index(f.world.log, Executed, i).pcpu, ==, 1);
    }
    g_array_set_size(f.world.log, 0);
    f.world.program[1] = (const Block[]) { { 10, STOP }, { } };
    windows(&f, 1);
    assert_log(&f, "1:1@300 0:0@350 0:0@360 0:0@370 0:0@380 0:0@390");
    assert_sums(&f);
    fake_free(&f);
}

static void test_handed_over_accounts(void)
{
    Fake f;

    /*
     * Three on one PCPU, slices of 100, windows and blocks of 10.  The policy
     * changes after each window, and each policy counts on: 0 runs until 100, 1
     * until 200, 2 until 300, as if nothing had happened.
     */
    fake_init(&f, 3, 1, 10, 0, &vsched_policy_timeslice, 100);
    all_run(&f, tens);
    for (int i = 0; i < 60; i++) {
        windows(&f, 1);
        set_policy(&f, i % 2 ? &vsched_policy_timeslice : &toy_shared, 100);
    }
    for (guint i = 0; i < f.world.log->len; i++) {
        g_assert_cmpint(g_array_index(f.world.log, Executed, i).vcpu, ==,
                        i / 10 % 3);
    }
    g_assert_cmpint(f.world.log->len, ==, 60);
    fake_free(&f);
}

static void test_convert(void)
{
    const int64_t slice = 100;
    VschedCoreState *state;
    char *why = NULL;
    Fake f, g;

    /*
     * 4 VCPUs on 4 PCPUs in windows of 10, blocks of 7: at 10 all clocks are
     * at 7.  On 2 PCPUs with windows of 25: clocks go on at 25, the 18 cycles
     * between are idle; 2 and 3 wait since 7, and run next where they belong,
     * when 0 and 1 have used up their slices of 100, of which 7 are used.
     */
    fake_init(&f, 4, 4, 10, 0, &vsched_policy_timeslice, 100);
    all_run(&f, (const Block[]) { { 7 }, { } });
    windows(&f, 1);
    fake_init(&g, 4, 2, 25, 0, &vsched_policy_timeslice, 100);
    state = vsched_state_new(f.core);
    vsched_state_convert(state, 2, 25);
    must(vsched_state_load(g.core, state, &vsched_policy_timeslice, &slice,
                           NULL, -1, false, &why), &why);
    vsched_state_free(state);
    g_assert_cmpint(g.core->window_end, ==, 25);
    g_assert_cmpint(g.core->pcpu[0].clock, ==, 25);
    g_assert_cmpint(g.core->pcpu[0].idle, ==, 18);
    g_assert_cmpint(g.core->pcpu[0].slice_end, ==, 25 + 93);
    g_assert_cmpint(g.core->vcpu[0].cycles[VSCHED_READY], ==, 18);
    g_assert_cmpint(g.core->vcpu[2].state, ==, VSCHED_READY);
    g_assert_cmpint(g.core->vcpu[2].since, ==, 7);
    g_assert_cmpint(g.core->vcpu[2].evicted, ==, 1);
    g_assert_cmpint(g.core->vcpu[3].pcpu, ==, 1);
    g_assert_cmpuint(g.core->vcpu[3].affinity, ==, 3);

    /* And back, and to more: new PCPUs have been idle and are on. */
    state = vsched_state_new(g.core);
    vsched_state_convert(state, 4, 10);
    must(vsched_state_load(f.core, state, &vsched_policy_sdb, &slice, NULL, -1,
                           false, &why), &why);
    vsched_state_free(state);
    g_assert_cmpint(f.core->window_end, ==, 30);
    g_assert_cmpint(f.core->pcpu[3].idle, ==, 30);
    g_assert_cmpuint(f.core->topology.online, ==, 15);
    g_assert_cmpuint(f.core->vcpu[3].affinity, ==, 15);

    /* A mask that names a PCPU that is missing is refused, then given anew. */
    set_affinity(&f, 1, 0x8);
    state = vsched_state_new(f.core);
    vsched_state_convert(state, 2, 25);
    refused(vsched_state_load(g.core, state, &vsched_policy_sdb, &slice, NULL,
                              -1, false, &why), &why, "VCPU 1, 0x8");
    g_assert_true(g.core->ops == &vsched_policy_timeslice);
    g_assert_cmpint(g.core->window_end, ==, 25);
    state->vcpu[1].affinity = 2;
    must(vsched_state_load(g.core, state, &vsched_policy_sdb, &slice, NULL, -1,
                           false, &why), &why);
    vsched_state_free(state);
    fake_free(&f);
    fake_free(&g);
}

static void test_impossible_states(void)
{
    const int64_t slice = 100, words[] = { 2, 2 };
    VschedCoreState *state;
    char *why = NULL;
    Fake f;

    fake_init(&f, 3, 1, 10, 0, &vsched_policy_timeslice, 100);
    all_run(&f, tens);
    windows(&f, 1);
#define IMPOSSIBLE(change, says)                                        \
    do {                                                                \
        state = vsched_state_new(f.core);                               \
        change;                                                         \
        refused(vsched_state_load(f.core, state, &vsched_policy_sdb,    \
                                  &slice, NULL, -1, false, &why), &why,  \
                says);                                                  \
        vsched_state_free(state);                                       \
    } while (0)
    IMPOSSIBLE(state->pcpu[0].current = 7, "contradict");
    IMPOSSIBLE(state->pcpu[0].current = 1, "contradict");
    IMPOSSIBLE(state->pcpu[0].idle++, "contradict");
    IMPOSSIBLE(state->pcpu[0].speed.insns = 0, "contradict");
    IMPOSSIBLE(state->vcpu[1].state = VSCHED_RUNNING, "contradict");
    IMPOSSIBLE(state->vcpu[1].pcpu = 1, "contradict");
    IMPOSSIBLE(state->window_end++, "contradict");
    /* Times that nothing leads to */
    IMPOSSIBLE(state->window_end += INT64_C(10) << 58, "contradict");
    IMPOSSIBLE(state->vcpu[1].seen = INT64_C(1) << 60, "contradict");
    IMPOSSIBLE(state->vcpu[1].since -= 1, "contradict");
    IMPOSSIBLE(state->vcpu[1].cycles[VSCHED_READY] = -1, "contradict");
    IMPOSSIBLE(state->vcpu[1].spin_cycles = -1, "contradict");
    IMPOSSIBLE(state->vcpu[1].turn = state->turns, "contradict");
    IMPOSSIBLE(state->pcpu[0].slice_end = INT64_C(1) << 60, "contradict");
    IMPOSSIBLE(state->pcpu[0].skip_until = INT64_C(1) << 60, "contradict");
    IMPOSSIBLE((state->pcpu[0].clock += INT64_C(1) << 50,
                state->pcpu[0].idle += INT64_C(1) << 50), "contradict");
    IMPOSSIBLE(state->vm[1] = 1, "vms=");
    IMPOSSIBLE(state->share[0].weight = 0, "weights=");
    IMPOSSIBLE(state->online = 2, "offline=");
#undef IMPOSSIBLE
    /* 1 and 2 wait, not 2 twice */
    state = vsched_state_new(f.core);
    refused(vsched_state_load(f.core, state, &vsched_policy_sdb, &slice, words,
                              2, true, &why), &why, "'sdb'");
    vsched_state_free(state);
    g_assert_true(f.core->ops == &vsched_policy_timeslice);
    assert_sums(&f);
    windows(&f, 30);
    assert_sums(&f);
    g_assert_cmpint(f.core->vcpu[2].switches, ==, 1);
    fake_free(&f);
}

/*
 * ------------------------------------------------------------------------
 * At random.
 */

/* A machine of any size, with VMs, stalls, speeds and jitter. */
static void random_fake(Fake *f, const VschedPolicyOps *ops, uint32_t seed)
{
    int vcpus = 1 + hash(seed, 1, 0) % 24, pcpus = 1 + hash(seed, 2, 0) % 8;
    int vms = MIN(vcpus, 1 + hash(seed, 7, 0) % 3), vm[MANY];
    char *why = NULL;

    for (int v = 0; v < vcpus; v++) {
        vm[v] = v * vms / vcpus;
    }
    fake_init_vms(f, vcpus, vm, pcpus, 50 + hash(seed, 3, 0) % 1000,
                  hash(seed, 4, 0) % 300, ops, 100 + hash(seed, 5, 0) % 3000);
    f->world.seed = seed;
    f->core->jitter = seed % 3;
    f->stalls = seed % 2 ? hash(seed, 6, 0) % 2000 : 0;
    for (int p = 0; seed % 5 < 2 && p < pcpus; p++) {
        must(vsched_core_set_speed(f->core, p, 1 + p % 3, 3 + p % 3, &why),
         &why);
    }
    start_all(f);
}

static void change_something(Fake *f, uint32_t h)
{
    VschedCore *core = f->core;
    uint64_t all = UINT64_MAX >> (64 - core->topology.pcpus);
    int vcpu = hash(h, 1, 1) % core->topology.vcpus;
    uint64_t mask = hash(h, 2, 2) & all;
    int64_t values[16];
    char *why = NULL;

    if (h >> 16 & 1) {
        vsched_core_move(core, vcpu, hash(h, 7, 7) % core->topology.pcpus,
                         &why);
        g_clear_pointer(&why, g_free);
    }
    switch (h % 5) {
    case 0:
        vsched_core_set_online(core, mask, &why);       /* 0 is refused */
        break;
    case 1:
        vsched_core_set_affinity(core, vcpu, mask, &why);
        break;
    case 2:
        vsched_core_set_share(core, hash(h, 6, 6) % core->topology.vms,
                              (VschedShare) { 1 + h % 9, h % 100 }, &why);
        break;
    case 3:
        f->mixed_speeds = true;
        vsched_core_set_speed(core, hash(h, 3, 3) % core->topology.pcpus,
                              1 + hash(h, 4, 4) % 7, 7, &why);
        break;
    default:
        fake_values(core->ops, 100 + hash(h, 5, 5) % 3000, values);
        if (vsched_core_set_policy(core, core->ops, values, &why)) {
            memcpy(f->values, values, sizeof(values));
        }
    }
    g_free(why);
}

/* Every VCPU that is not halted runs again before long. */
static void assert_none_lost(Fake *f)
{
    VschedCore *core = f->core;
    uint64_t all = UINT64_MAX >> (64 - core->topology.pcpus);
    g_autofree int *before = g_memdup2(f->world.next, sizeof(f->world.next));

    set_online(f, all);
    for (int v = 0; v < core->topology.vcpus; v++) {
        set_affinity(f, v, all);
    }
    set_policy(f, &vsched_policy_timeslice, 500);
    fake_drive(f, core->window_end + 400000);
    for (int v = 0; v < core->topology.vcpus; v++) {
        g_assert_cmpint(f->world.next[v], >, before[v]);
    }
}

static void test_invariants(gconstpointer data)
{
    const VschedPolicyOps *ops = data;

    for (uint32_t seed = 1; seed <= 150; seed++) {
        Fake f;

        random_fake(&f, ops, seed);
        f.merge = seed % 4;
        for (uint32_t i = 0; i < 60; i++) {
            uint32_t h = hash(seed, i, 77);

            fake_drive(&f, f.core->window_end + h % 5000);
            change_something(&f, h >> 8);
            assert_sums(&f);
        }
        assert_none_lost(&f);
        fake_free(&f);
    }
}

/* All policies there are, in any order, often and long before a slice ends. */
static void test_changes(void)
{
    const VschedPolicyOps *ops[32];
    int n = 0;

    for (int i = 0; vsched_policies[i]; i++) {
        ops[n++] = vsched_policies[i];
    }
    for (int i = 0; toy_policies[i]; i++) {
        ops[n++] = toy_policies[i];
    }
    for (uint32_t seed = 1; seed <= 200; seed++) {
        Fake f;

        random_fake(&f, ops[seed % n], seed);
        for (uint32_t i = 0; i < 100; i++) {
            uint32_t h = hash(seed, i, 78);

            fake_drive(&f, f.core->window_end + h % 900);
            if (h >> 20 & 1) {
                set_policy(&f, ops[(h >> 8) % n], 100 + (h >> 12) % 3000);
            } else {
                change_something(&f, h >> 8);
            }
            assert_sums(&f);
        }
        assert_none_lost(&f);
        fake_free(&f);
    }
}

/*
 * Seven on two PCPUs, for ever.  The policy changes after each window or two,
 * of 1 ms, to the other one of a pair, and each pair takes two seconds: nobody
 * waits longer than 300 ms, in which seven have twice the longest timeslices of
 * any policy's, 30 ms, and "sedf" two of its periods of 100 ms.  Not with
 * "explore", whose schedules let some wait as long as others run.
 */
static void test_quick_changes(void)
{
    static const Block millionths[] = { { 100000 }, { } };
    static const int vm[] = { 0, 0, 0, 0, 1, 1, 1 };
    const int64_t ms = 1000 * 1000;

    for (int a = 0; vsched_policies[a]; a++) {
        for (int b = 0; b < a; b++) {
            Fake f;

            if (vsched_policies[a] == &vsched_policy_explore ||
                vsched_policies[b] == &vsched_policy_explore) {
                continue;
            }
            fake_init_vms(&f, 7, vm, 2, ms, 0, vsched_policies[a], 10 * ms);
            all_run(&f, millionths);
            for (int i = 0; f.core->window_end < 2000 * ms; i++) {
                windows(&f, 1 + hash(a, b, i) % 2);
                set_policy(&f, vsched_policies[i % 2 ? a : b], 10 * ms);
            }
            for (int v = 0; v < 7; v++) {
                const VschedVCPU *vcpu = &f.core->vcpu[v];
                int64_t wait = vcpu->state == VSCHED_READY ?
                               f.core->window_end - vcpu->since : 0;

                g_assert_cmpint(MAX(wait, vcpu->longest_wait), <, 300 * ms);
            }
            fake_free(&f);
        }
    }
}

static int64_t formula(Fake *f)
{
    int64_t blocks = 0, wait = longest_wait(f);

    if (wait == INT64_MAX) {
        return wait;
    }

    /*
     * The formula is for windows that end on time; blocks, stalls and PCPUs
     * that are slow make them end later, by one of each for every VCPU that
     * runs before, and so does each slice that is shorter than a block.
     */
    for (int p = 0; p < f->core->topology.pcpus; p++) {
        blocks = MAX(blocks, vsched_speed_cycles(&f->core->pcpu[p].speed,
                                                 MANY) + f->stalls);
    }
    return wait + (f->stalls || f->core->pcpu[0].speed.cycles > 1 ?
            (f->core->topology.vcpus + 1) * blocks : 0);
}

static void test_longest_wait(gconstpointer data)
{
    const VschedPolicyOps *ops = data;

    for (uint32_t seed = 1; seed <= 300; seed++) {
        int64_t bound;
        Fake f;

        random_fake(&f, ops, seed);
        f.merge = true;
        if (seed % 2) {                 /* masks and PCPUs that are off */
            change_something(&f, hash(seed, 1, 79) / 5 * 5);
            change_something(&f, hash(seed, 2, 79) / 5 * 5 + 1);
        }
        bound = formula(&f);
        if (bound != INT64_MAX) {
            fake_drive(&f, MIN(20 * bound, 2000000));
            g_assert_cmpint(f.longest_wait, <=, bound);
            for (int v = 0; v < f.core->topology.vcpus; v++) {
                g_assert_cmpint(f.core->vcpu[v].longest_wait, <=, bound);
            }
        }
        fake_free(&f);
    }
}

/* "timeslice", 3 VCPUs on a PCPU: two slices, three switches, one window */
static void test_longest_wait_formula(void)
{
    Fake f;

    fake_init(&f, 24, 8, 1000, 554, &vsched_policy_timeslice, 100000);
    g_assert_cmpint(formula(&f), ==, 2 * 100000 + 3 * 554 + 1000);
    /* 7 of 8 PCPUs: 24 = 3 x 4 + 4 x 3 */
    set_online(&f, 0x7f);
    g_assert_cmpint(formula(&f), ==, 3 * 100000 + 4 * 554 + 1000);
    fake_free(&f);
}

/* What the scripted host makes of waits: the tests of policies stand on it. */
static void test_waits(void)
{
    static const Block takes[] = {
        { 10, LOCK, 0 }, { 30 }, { 10, UNLOCK, 0 }, { 10, STOP }, { }
    };
    static const Block calls[] = { { 10 }, { 10, CALL, 1 }, { 10, STOP }, { } };
    Fake f;

    /* 1, on another PCPU, waits from 10 to 60 for the lock that 0 has. */
    fake_init(&f, 2, 2, 10, 0, &vsched_policy_timeslice, 1000);
    all_run(&f, takes);
    fake_drive(&f, 30);
    g_assert_cmpint(f.world.lock[0], ==, 1);
    g_assert_cmpint(f.world.next[1], ==, 0);
    fake_drive(&f, 200);
    /*
     * In the window from 40 to 50, PCPU 0 comes first: 1 finds the lock free.
     * Its block of 30 fits in the window that ends at 80.
     */
    assert_log(&f, "0:0@0 1:1@0 1:1@10 1:1@20 1:1@30 0:0@10 0:0@40 1:1@40 "
                   "0:0@50 1:1@50 1:1@80 1:1@90");
    g_assert_cmpint(f.world.rounds[1], ==, 1);
    assert_sums(&f);
    fake_free(&f);

    /*
     * 0 calls 1, which waits for the same PCPU.  It spins until its slice is
     * over, or, with the policy that hears of spins after 20 cycles, less.
     */
    fake_init(&f, 2, 1, 10, 0, &vsched_policy_timeslice, 100);
    f.world.program[0] = calls;
    f.world.program[1] = tens;
    start_all(&f);
    fake_drive(&f, 220);
    g_assert_cmpint(f.core->vcpu[0].expired, ==, 1);
    g_assert_cmpint(f.core->vcpu[0].state, ==, VSCHED_BLOCKED);
    g_assert_cmpint(f.world.rounds[0], ==, 1);
    fake_free(&f);
    fake_init(&f, 2, 1, 10, 0, &vsched_policy_sdb, 100);
    f.notice = 20;
    f.world.program[0] = calls;
    f.world.program[1] = tens;
    start_all(&f);
    fake_drive(&f, 40);
    assert_log(&f, "0:0@0 0:0@10 0:0@20 0:1@30");
    fake_free(&f);
}

static void test_windows_at_once(gconstpointer data)
{
    const VschedPolicyOps *ops = data;

    for (int i = 0; i < 200; i++) {
        Fake one, many;

        fake_both(&one, &many, ops, i, 0, i % 5 ? 0 : 500);
        for (int v = 0; v < one.core->topology.vcpus; v++) {
            g_assert_cmpint(one.core->vcpu[v].switches, ==,
                            many.core->vcpu[v].switches);
            g_assert_cmpint(one.core->vcpu[v].seen, ==,
                            many.core->vcpu[v].seen);
        }
        fake_free(&one);
        fake_free(&many);
    }
}

/* A VCPU that runs on where it does not belong any more is left in peace. */
static void test_save_in_a_foreign_slice(void)
{
    Fake f, copy;

    /*
     * 6 VCPUs, 3 PCPUs, slices of 100, windows of 10.  While PCPU 2 is off, 1,
     * 3 and 5 belong to PCPU 1, and 5 begins there at 200.  At 250 PCPU 2 goes
     * on: 5 belongs there from now on, but first completes its slice.
     */
    fake_init(&f, 6, 3, 10, 0, &vsched_policy_timeslice, 100);
    set_online(&f, 3);
    all_run(&f, tens);
    windows(&f, 25);
    set_online(&f, 7);
    windows(&f, 1);
    fake_save_and_load(&f, &copy, true);
    g_assert_cmpint(copy.core->pcpu[1].current, ==, 5);
    windows(&copy, 4);
    g_assert_cmpint(copy.core->vcpu[5].expired, ==, 1);
    g_assert_cmpint(copy.core->vcpu[5].preempted, ==, 0);
    fake_free(&f);
    fake_free(&copy);
}

static void test_save_and_load(gconstpointer data)
{
    const VschedPolicyOps *ops = data;

    for (uint32_t seed = 1; seed <= 200; seed++) {
        Fake f, copy;

        random_fake(&f, ops, seed);
        f.merge = seed % 2;
        if (seed % 3) {
            uint32_t h = hash(seed, 2, 80);

            fake_drive(&f, hash(seed, 1, 80) % 20000);
            change_something(&f, h / 5 * 5 + h % 4);   /* not the slice */
        }
        fake_drive(&f, f.core->window_end + hash(seed, 3, 80) % 20000);
        fake_save_and_load(&f, &copy, true);
        g_array_set_size(f.world.log, 0);
        fake_drive(&f, f.core->window_end + 50000);
        fake_drive(&copy, copy.core->window_end + 50000);

        g_assert_cmpint(f.world.log->len, ==, copy.world.log->len);
        g_assert_cmpmem(f.world.log->data, f.world.log->len *
                        sizeof(Executed), copy.world.log->data,
                        copy.world.log->len * sizeof(Executed));
        for (int p = 0; p < f.core->topology.pcpus; p++) {
            g_assert_cmpint(f.core->pcpu[p].clock, ==,
                            copy.core->pcpu[p].clock);
            g_assert_cmpint(f.core->pcpu[p].slice_end, ==,
                            copy.core->pcpu[p].slice_end);
            g_assert_cmpint(f.core->pcpu[p].switches, ==,
                            copy.core->pcpu[p].switches);
        }
        fake_free(&f);
        fake_free(&copy);
    }
}

/* Into machines of other sizes, under any other policy, and back. */
static void test_load_elsewhere(gconstpointer data)
{
    const VschedPolicyOps *ops = data;

    for (uint32_t seed = 1; seed <= 200; seed++) {
        int64_t slice = 100 + hash(seed, 7, 81) % 3000;
        Fake f, other[2];

        random_fake(&f, ops, seed);
        f.mixed_speeds = true;
        fake_drive(&f, hash(seed, 1, 81) % 20000);
        for (int i = 0; i < 2; i++) {   /* twice: one and the same run */
            VschedCoreState *state = vsched_state_new(f.core);
            Fake *o = &other[i];
            char *why = NULL;

            fake_init_vms(o, f.core->topology.vcpus, f.core->topology.vm,
                          1 + hash(seed, 2, 81) % 9,
                          1 + hash(seed, 3, 81) % 900, f.core->switch_cost,
                          &vsched_policy_sdb, slice);
            g_array_free(o->world.log, true);
            o->world = f.world;
            o->world.log = g_array_new(false, false, sizeof(Executed));
            o->stalls = f.stalls;
            o->mixed_speeds = o->lost_pcpus = true;
            vsched_state_convert(state, o->core->topology.pcpus,
                                 o->core->window);
            must(vsched_state_load(o->core, state,
                                   toy_policies[hash(seed, 4, 81) % 5],
                                   &slice, NULL, -1, false, &why), &why);
            vsched_state_free(state);
            assert_sums(o);
            fake_drive(o, o->core->window_end + 30000);
        }
        g_assert_cmpmem(other[0].world.log->data, other[0].world.log->len *
                        sizeof(Executed), other[1].world.log->data,
                        other[1].world.log->len * sizeof(Executed));
        assert_none_lost(&other[0]);
        fake_free(&f);
        fake_free(&other[0]);
        fake_free(&other[1]);
    }
}

static void add_for_each(const char *path, const VschedPolicyOps *const *list,
                         GTestDataFunc func)
{
    for (int i = 0; list[i]; i++) {
        g_autofree char *name = g_strconcat(path, list[i]->name, NULL);

        g_test_add_data_func(name, list[i], func);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/policy/refusal", test_refusal);
    g_test_add_func("/policy/last-after-elsewhere", test_last_after_elsewhere);
    g_test_add_func("/policy/short-slice", test_slice_shorter_than_a_block);
    g_test_add_func("/policy/skip", test_skip_asks_who_waits);
    g_test_add_func("/policy/held-back", test_held_back);
    g_test_add_func("/policy/preempt", test_preempt);
    g_test_add_func("/policy/preempt-at-once", test_preempt_at_once);
    g_test_add_func("/policy/exact-slices", test_exact_slices);
    g_test_add_func("/policy/precise-slices", test_precise_slices);
    g_test_add_func("/policy/off-and-on", test_off_and_on);
    g_test_add_func("/policy/affinity", test_affinity);
    g_test_add_func("/policy/move", test_move);
    g_test_add_func("/policy/shares", test_shares);
    g_test_add_func("/policy/speed", test_speed);
    g_test_add_func("/policy/stall", test_stall_beyond_the_window);
    g_test_add_func("/policy/accounts", test_handed_over_accounts);
    g_test_add_func("/policy/convert", test_convert);
    g_test_add_func("/policy/impossible", test_impossible_states);
    g_test_add_func("/policy/longest-wait", test_longest_wait_formula);
    g_test_add_func("/policy/waits", test_waits);
    g_test_add_func("/policy/changes", test_changes);
    g_test_add_func("/policy/quick-changes", test_quick_changes);
    g_test_add_func("/policy/foreign-slice", test_save_in_a_foreign_slice);
    add_for_each("/invariants/", vsched_policies, test_invariants);
    add_for_each("/invariants/", toy_policies, test_invariants);
    add_for_each("/wait/", vsched_policies, test_longest_wait);
    add_for_each("/at-once/", toy_policies, test_windows_at_once);
    add_for_each("/save/", vsched_policies, test_save_and_load);
    add_for_each("/save/", toy_policies, test_save_and_load);
    add_for_each("/elsewhere/", vsched_policies, test_load_elsewhere);
    add_for_each("/elsewhere/", toy_policies, test_load_elsewhere);
    return g_test_run();
}
