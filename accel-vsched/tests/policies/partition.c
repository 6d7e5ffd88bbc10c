/*
 * Policy "partition": traces worked by hand.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "../../state.h"
#include "../fake-host.h"

static const Block tens[] = { { 10 }, { } };
static const Block once[] = { { 10, STOP }, { } };

static const int pair_of_fours[] = { 0, 0, 0, 0, 1, 1, 1, 1 };
static const int pair_of_pairs[] = { 0, 0, 1, 1 };

static int place(Fake *f, int vcpu)
{
    return f->core->ops->place(f->core->policy, vcpu);
}

/* PCPUs that VCPUs of @vm belong to: all of its part if it has as many. */
static uint64_t part(Fake *f, int vm)
{
    uint64_t mask = 0;

    for (int v = 0; v < f->core->topology.vcpus; v++) {
        if (f->core->topology.vm[v] == vm) {
            mask |= 1ull << place(f, v);
        }
    }
    return mask;
}

static void fake_partition(Fake *f, int vcpus, const int *vm, int pcpus)
{
    fake_init_vms(f, vcpus, vm, pcpus, 10, 0, &vsched_policy_partition, 20);
}

/* The study of the paper, half as large: two VMs, 4 VCPUs on 2 PCPUs each. */
static void test_logical_partitioning(void)
{
    Fake f;

    /*
     * VM 0 has PCPUs 0 and 1, VM 1 has 2 and 3.  Of each VM, number 0 and 2 are
     * of the first PCPU, 1 and 3 of the second, and take turns of 20.  The
     * PCPU that comes first moves by one each window of 10.
     */
    fake_partition(&f, 8, pair_of_fours, 4);
    all_run(&f, tens);
    windows(&f, 5);
    assert_log(&f, "0:0@0 1:1@0 2:4@0 3:5@0 "
                   "1:1@10 2:4@10 3:5@10 0:0@10 "
                   "2:6@20 3:7@20 0:2@20 1:3@20 "
                   "3:7@30 0:2@30 1:3@30 2:6@30 "
                   "0:0@40 1:1@40 2:4@40 3:5@40");
    assert_sums(&f);
    fake_free(&f);
}

static void test_spins(void)
{
    static const Block spins[] = { { 10, SPIN }, { } };
    static const int pair_and_one[] = { 0, 0, 1 };
    Fake f;

    /*
     * 0 and 1, which spin all the time, have PCPU 0: each spin hands it on.
     * 2 spins too and has PCPU 1 for itself: it runs on, though others wait.
     */
    fake_partition(&f, 3, pair_and_one, 2);
    all_run(&f, spins);
    windows(&f, 4);
    assert_log(&f, "0:0@0 1:2@0 1:2@10 0:1@10 0:0@20 1:2@20 1:2@30 0:1@30");
    /* At 40 the last one hands on when the next window begins. */
    g_assert_cmpint(f.core->vcpu[0].ended_by_spin, ==, 2);
    g_assert_cmpint(f.core->vcpu[2].ended_by_spin, ==, 0);
    fake_free(&f);
}

static void test_sainte_lague(void)
{
    static const int three[] = {
        0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2
    };
    static const int one_and_seven[] = { 0, 1, 1, 1, 1, 1, 1, 1 };
    static const int singles[] = { 0, 1, 2 };
    Fake f;

    /*
     * Weights of 6, 3 and 1 on 8 PCPUs.  One each; then the greatest of
     * 6/3 3/3 1/3: 0;  6/5 3/3 1/3: 0;  6/7 3/3 1/3: 1;  6/7 3/5 1/3: 0;
     * 6/9 3/5 1/3: 0.  So they have 5, 2 and 1.
     */
    fake_partition(&f, 24, three, 8);
    set_share(&f, 0, 6, 0);
    set_share(&f, 1, 3, 0);
    set_share(&f, 2, 1, 0);
    set_policy(&f, &vsched_policy_partition, 20);
    g_assert_cmphex(part(&f, 0), ==, 0x1f);
    g_assert_cmphex(part(&f, 1), ==, 0x60);
    g_assert_cmphex(part(&f, 2), ==, 0x80);
    /*
     * The only PCPU of VM 2 goes off.  Of 7, they have 4, 2 and 1: the last of
     * the steps above is missing.  VM 2 gets the PCPU that VM 0 gives up.
     */
    set_online(&f, 0x7f);
    g_assert_cmphex(part(&f, 0), ==, 0x0f);
    g_assert_cmphex(part(&f, 1), ==, 0x60);
    g_assert_cmphex(part(&f, 2), ==, 0x10);
    /*
     * Equal weights, 8 PCPUs: 1/3 1/3 1/3: 0, 1, 2;  1/5 1/5 1/5: 0, 1.  They
     * have 3, 3 and 2.  VM 0 gives PCPU 3 to VM 1; VM 2 gets 7, which is on.
     */
    set_online(&f, 0xff);
    for (int i = 0; i < 3; i++) {
        set_share(&f, i, 256, 0);
    }
    g_assert_cmpint(__builtin_popcountll(part(&f, 0)), ==, 3);
    g_assert_cmpint(__builtin_popcountll(part(&f, 1)), ==, 3);
    g_assert_cmpint(__builtin_popcountll(part(&f, 2)), ==, 2);
    g_assert_cmphex(part(&f, 0) | part(&f, 1) | part(&f, 2), ==, 0xff);
    g_assert_cmphex(part(&f, 0), ==, 0x07);
    /* A cap does not matter. */
    set_share(&f, 0, 256, 10);
    g_assert_cmphex(part(&f, 0), ==, 0x07);
    fake_free(&f);

    /* Who has a PCPU for each of its VCPUs leaves the others to the rest. */
    fake_partition(&f, 8, one_and_seven, 4);
    g_assert_cmphex(part(&f, 0), ==, 0x1);
    g_assert_cmphex(part(&f, 1), ==, 0xe);
    fake_free(&f);
    /* If all have enough, they are divided all the same: 2, 2 and 1 of 5. */
    fake_partition(&f, 3, singles, 5);
    g_assert_cmpint(place(&f, 0), ==, 0);
    g_assert_cmpint(place(&f, 1), ==, 2);
    g_assert_cmpint(place(&f, 2), ==, 4);
    fake_free(&f);
}

static void test_more_vms_than_pcpus(void)
{
    static const int three[] = { 0, 1, 1, 2 };
    Fake f;

    /*
     * Weights of 100, 300 and 200 on 2 PCPUs: 300 has the first, 200 the
     * second, and 100 joins the 200.  1 and 2 take turns on PCPU 0, and 0 and 3
     * on PCPU 1.
     */
    fake_partition(&f, 4, three, 2);
    set_share(&f, 0, 100, 0);
    set_share(&f, 1, 300, 0);
    set_share(&f, 2, 200, 0);
    all_run(&f, tens);
    windows(&f, 4);
    assert_log(&f, "0:1@0 1:0@0 1:0@10 0:1@10 0:2@20 1:3@20 1:3@30 0:2@30");
    /* One PCPU: all share it.  When it is two again, it is as before. */
    set_online(&f, 2);
    windows(&f, 1);
    for (int v = 0; v < 4; v++) {
        g_assert_cmpint(place(&f, v), ==, 1);
    }
    set_online(&f, 3);
    g_assert_cmphex(part(&f, 1), ==, 1);
    g_assert_cmphex(part(&f, 0) | part(&f, 2), ==, 2);
    fake_free(&f);
}

static void test_masks_win(void)
{
    Fake f;

    /*
     * VM 0 has PCPU 0, VM 1 has PCPU 1.  VCPU 1 may run on PCPU 1 only: it goes
     * there, behind 2 and 3, which have waited as long.
     */
    fake_partition(&f, 4, pair_of_pairs, 2);
    all_run(&f, tens);
    set_affinity(&f, 1, 2);
    windows(&f, 5);
    assert_log(&f, "0:0@0 1:2@0 1:2@10 0:0@10 0:0@20 1:3@20 1:3@30 0:0@30 "
                   "0:0@40 1:1@40");
    /*
     * At 50 it may run at home again: its slice, from 40 on, ends at once.  0
     * has a slice from 40 to 60.
     */
    set_affinity(&f, 1, 3);
    windows(&f, 2);
    assert_log(&f, "1:2@50 0:0@50 0:1@60 1:2@60");
    g_assert_cmpint(f.core->vcpu[1].preempted, ==, 1);
    assert_sums(&f);
    fake_free(&f);

    /* A mask that leaves some of the part: 0 and 2 of VM 0 share PCPU 1. */
    fake_partition(&f, 8, pair_of_fours, 4);
    set_affinity(&f, 0, 0xe);
    g_assert_cmpint(place(&f, 0), ==, 1);
    g_assert_cmpint(place(&f, 2), ==, 0);
    fake_free(&f);
}

static void test_another_policy_before(void)
{
    Fake f;

    /*
     * Under "timeslice" 0 and 2 are of PCPU 0, 1 and 3 of PCPU 1.  At 10 the
     * policy changes: 1, of VM 0, has to leave PCPU 1, and waits for PCPU 0.
     */
    fake_init_vms(&f, 4, pair_of_pairs, 2, 10, 0, &vsched_policy_timeslice, 20);
    all_run(&f, tens);
    windows(&f, 1);
    set_policy(&f, &vsched_policy_partition, 20);
    windows(&f, 3);
    assert_log(&f, "0:0@0 1:1@0 1:2@10 0:0@10 0:1@20 1:2@20 1:3@30 0:1@30");
    fake_free(&f);
}

/*
 * VM 0 has two VCPUs on PCPUs 0 and 1, VM 1 has @others more, on 2 and 3.  A
 * balance of 100 is measured from the end of the first window on.
 */
static void fake_balanced(Fake *f, int others, const Block *first,
                          const Block *second)
{
    static const int vm[] = { 0, 0, 1, 1, 1, 1 };

    fake_partition(f, 2 + others, vm, 4);
    fake_set(f, "balance", 100);
    for (int v = 0; v < 2 + others; v++) {
        f->world.program[v] = v == 0 ? first : v == 1 ? second : tens;
    }
    start_all(f);
    fake_drive(f, 110);
}

static void test_balance(void)
{
    static const Block half[] = { { 50 }, { 10, HALT, 40 }, { } };
    Fake f;

    /*
     * 0 and 1 stop at 10.  From 10 to 110 each of their PCPUs idles for 100,
     * and 2 of the VCPUs 2 to 5 wait all the time.  At 110 PCPU 0, the lowest
     * of equals, goes to VM 1, which has 0, 2 and 3 now: its VCPUs 2 to 5
     * belong to 0, 2, 3 and 0.  2, which has waited since 100, begins on PCPU
     * 0; 4 and 5 complete what they began at 100, on PCPUs of their part.
     */
    fake_balanced(&f, 4, once, once);
    g_assert_cmphex(part(&f, 1), ==, 0xd);
    g_assert_cmpint(place(&f, 0), ==, 1);
    g_assert_cmpint(place(&f, 1), ==, 1);
    g_array_set_size(f.world.log, 0);
    windows(&f, 2);
    assert_log(&f, "3:5@110 0:2@110 2:4@110 0:2@120 2:3@120 3:4@120");
    /* VM 0 keeps its last one. */
    fake_drive(&f, 1000);
    g_assert_cmphex(part(&f, 1), ==, 0xd);
    /* It is done with when weights change: 2 for each, 3 goes to VM 0. */
    set_share(&f, 0, 255, 0);
    g_assert_cmphex(part(&f, 1), ==, 0x5);
    g_assert_cmphex(part(&f, 0), ==, 0xa);
    fake_free(&f);

    /* It was PCPU 1 that idled most. */
    fake_balanced(&f, 4, half, once);
    g_assert_cmphex(part(&f, 1), ==, 0xe);
    fake_free(&f);

    /* One PCPU that idles and one VCPU that waits are enough ... */
    fake_balanced(&f, 3, tens, once);
    g_assert_cmphex(part(&f, 1), ==, 0xe);
    fake_free(&f);
    /* ... but not half a PCPU, or nobody who waits. */
    fake_balanced(&f, 4, tens, half);
    g_assert_cmphex(part(&f, 1), ==, 0xc);
    fake_free(&f);
    fake_balanced(&f, 2, once, once);
    g_assert_cmphex(part(&f, 1), ==, 0xc);
    fake_free(&f);
}

static void test_balance_of_equals(void)
{
    static const int three[] = { 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3 };
    Fake f;

    /*
     * VMs 0 and 1 idle with two PCPUs each, VMs 2 and 3 wait with two of their
     * four VCPUs: of equals, the lowest gives and the lowest takes.
     */
    fake_partition(&f, 12, three, 8);
    fake_set(&f, "balance", 100);
    for (int v = 0; v < 12; v++) {
        f.world.program[v] = v < 4 ? once : tens;
    }
    start_all(&f);
    fake_drive(&f, 110);
    g_assert_cmphex(part(&f, 0), ==, 0x02);
    g_assert_cmphex(part(&f, 1), ==, 0x0c);
    g_assert_cmphex(part(&f, 2), ==, 0x31);
    g_assert_cmphex(part(&f, 3), ==, 0xc0);
    fake_free(&f);

    /* Who has a PCPU for each VCPU takes none, though masks make one wait. */
    fake_balanced(&f, 2, once, once);
    set_affinity(&f, 2, 4);
    set_affinity(&f, 3, 4);
    fake_drive(&f, 500);
    g_assert_cmphex(part(&f, 0), ==, 0x3);
    g_assert_cmpint(f.core->vcpu[3].cycles[VSCHED_READY], >, 100);
    fake_free(&f);
}

/* A VM whose PCPU was given away gets one back when that idles. */
static void test_balance_and_back(void)
{
    static const int vm[] = { 0, 0, 1, 1, 1 };
    static const Block early[] = { { 10 }, { 10, HALT, 500 }, { } };
    Fake f;

    /*
     * 0 and 1 halt from 20 to 520; 1 of the VCPUs 2 to 4 waits.  The first
     * period of 100 begins at 10 and has 90 of idle time a PCPU, 180 in all:
     * PCPU 0 goes to VM 1 at 110.  2, 3 and 4 stop at 600; 0 and 1 share PCPU
     * 1 from 520 on.  In the period from 510 to 610 VM 1 idles for 3 * 10, and
     * 1 waits for 90; from 610 to 710 it is 300 and 100: PCPU 0 goes back.
     */
    fake_partition(&f, 5, vm, 4);
    fake_set(&f, "balance", 100);
    f.world.program[0] = f.world.program[1] = early;
    for (int v = 2; v < 5; v++) {
        f.world.program[v] = tens;
    }
    start_all(&f);
    fake_drive(&f, 110);
    g_assert_cmphex(part(&f, 0), ==, 0x2);
    fake_drive(&f, 520);
    f.world.program[0] = f.world.program[1] = tens;
    fake_drive(&f, 600);
    for (int v = 2; v < 5; v++) {
        vsched_core_block(f.core, v);
    }
    fake_drive(&f, 700);
    g_assert_cmphex(part(&f, 0), ==, 0x2);
    fake_drive(&f, 710);
    g_assert_cmphex(part(&f, 0), ==, 0x3);
    fake_free(&f);
}

static void test_refusals(void)
{
    const int64_t short_balance[] = { 100, 199 }, balance[] = { 100, 200 };
    const VschedPolicyOps *ops = &vsched_policy_partition;
    char *why = NULL;
    Fake f;

    fake_partition(&f, 4, pair_of_pairs, 2);
    refused(ops->create(&f.core->services, short_balance, &why), &why,
            "a balance of 199 cycles is shorter than two timeslices of 100");
    refused(ops->set(f.core->policy, short_balance, &why), &why,
            "shorter than two timeslices");
    must(ops->set(f.core->policy, balance, &why), &why);
    fake_free(&f);
}

static void test_longest_wait(void)
{
    static const int vm[] = { 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1 };
    const VschedPolicyOps *ops = &vsched_policy_partition;
    Fake f;

    /* The paper's set-up: 2 VCPUs on each PCPU, 100000 + 2 * 554 + 1000 */
    fake_init_vms(&f, 16, vm, 8, 1000, 554, ops, 100000);
    g_assert_cmpint(longest_wait(&f), ==, 102108);
    /* VM 1 has 1 of the PCPUs, 8 VCPUs: 7 * 100000 + 8 * 554 + 1000 */
    set_share(&f, 1, 1, 0);
    g_assert_cmpint(longest_wait(&f), ==, 705432);
    /*
     * L is 15 * (100000 + 554 + 1000) + 554 + 1000 = 1524864.  Balances of 10
     * ms: 2 * L.  1 ms: 17 * (1000000 + 1000) + 554 + 2 * 1000.
     */
    fake_set(&f, "balance", 10 * 1000 * 1000);
    g_assert_cmpint(longest_wait(&f), ==, 3049728);
    fake_set(&f, "balance", 1000 * 1000);
    g_assert_cmpint(longest_wait(&f), ==, 17019554);
    /* A switch that costs as much as a timeslice: there is no bound. */
    fake_set(&f, "balance", 200 * 1000);
    g_assert_cmpint(ops->longest_wait(f.core->policy, 99000, 1000), <,
                    INT64_MAX);
    g_assert_cmpint(ops->longest_wait(f.core->policy, 99001, 1000), ==,
                    INT64_MAX);
    fake_free(&f);
    /* A VM that has all PCPUs: as "sdb", 2 * 100000 + 3 * 554 + 1000 */
    fake_init(&f, 24, 8, 1000, 554, ops, 100000);
    g_assert_cmpint(longest_wait(&f), ==, 202662);
    fake_free(&f);
}

/* Cycles that VCPU 0 and the PCPUs have worked, of 2 for 1000. */
static void work_done(const VschedPolicyOps *ops, const Block *first,
                      int64_t *mine, int64_t *busy)
{
    static const int one_and_seven[] = { 0, 1, 1, 1, 1, 1, 1, 1 };
    Fake f;

    fake_init_vms(&f, 8, one_and_seven, 2, 10, 0, ops, 20);
    for (int v = 0; v < 8; v++) {
        f.world.program[v] = v ? tens : first;
    }
    start_all(&f);
    windows(&f, 100);
    *mine = f.core->vcpu[0].insns[0];
    *busy = f.core->pcpu[0].busy + f.core->pcpu[1].busy;
    fake_free(&f);
}

static void test_partition_and_timeslice(void)
{
    int64_t mine, busy;

    /*
     * Performance isolation (section 6.4).  VM 0 has one VCPU, VM 1 has seven.
     * Under "timeslice" 0 shares PCPU 0 with 2, 4 and 6: of 1000 cycles it has
     * 13 turns of 20 out of 50, since its turn comes first.  With a part of its
     * own it has PCPU 0.
     */
    work_done(&vsched_policy_timeslice, tens, &mine, &busy);
    g_assert_cmpint(mine, ==, 260);
    work_done(&vsched_policy_partition, tens, &mine, &busy);
    g_assert_cmpint(mine, ==, 1000);
    g_assert_cmpint(busy, ==, 2000);
    /* When it has nothing to do, nobody else has its PCPU. */
    work_done(&vsched_policy_timeslice, once, &mine, &busy);
    g_assert_cmpint(busy, ==, 2000);
    work_done(&vsched_policy_partition, once, &mine, &busy);
    g_assert_cmpint(busy, ==, 1010);
}

/*
 * ------------------------------------------------------------------------
 * At random, with balance.
 */

static void random_partition(Fake *f, uint32_t seed)
{
    int vcpus = 1 + hash(seed, 1, 0) % 24, pcpus = 1 + hash(seed, 2, 0) % 8;
    int vms = MIN(vcpus, 1 + hash(seed, 7, 0) % 4), vm[MANY];
    int64_t slice = 100 + hash(seed, 5, 0) % 3000;

    for (int v = 0; v < vcpus; v++) {
        vm[v] = v * vms / vcpus;
    }
    fake_init_vms(f, vcpus, vm, pcpus, 50 + hash(seed, 3, 0) % 300,
                  hash(seed, 4, 0) % 100, &vsched_policy_partition, slice);
    fake_set(f, "balance", slice * (2 + hash(seed, 6, 0) % 4));
    f->world.seed = seed;
    f->core->jitter = seed % 3;
    start_all(f);
    /* Some sleep until an interrupt comes, so that parts idle. */
    for (int v = 0; v < vcpus; v++) {
        if (hash(seed, v, 11) % 2) {
            vsched_core_block(f->core, v);
        }
    }
}

static void change_share_or_pcpus(Fake *f, uint32_t h)
{
    char *why = NULL;

    if (h & 1) {
        uint64_t mask = (h >> 1) & (UINT64_MAX >>
                                    (64 - f->core->topology.pcpus));

        vsched_core_set_online(f->core, mask, &why);    /* 0 is refused */
    } else {
        vsched_core_set_share(f->core, (h >> 1) % f->core->topology.vms,
                              (VschedShare) { 1 + h % 9, 0 }, &why);
    }
    g_free(why);
}

/* No PCPU that one VM belongs to has executed another one's VCPU. */
static void assert_inside(const Fake *f, const int *home)
{
    const VschedTopology *t = &f->core->topology;

    for (guint i = 0; i < f->world.log->len; i++) {
        const Executed *x = &g_array_index(f->world.log, Executed, i);

        for (int v = 0; v < t->vcpus; v++) {
            if (home[v] == x->pcpu) {
                g_assert_cmpint(t->vm[v], ==, t->vm[x->vcpu]);
            }
        }
    }
}

static void test_never_outside(void)
{
    int moves = 0;

    for (uint32_t seed = 1; seed <= 60; seed++) {
        int home[MANY], before[MANY];
        Fake f;

        random_partition(&f, seed);
        for (int i = 0; i < 1000; i++) {
            bool anew = i % 100 == 99;

            for (int v = 0; v < f.core->topology.vcpus; v++) {
                home[v] = place(&f, v);
            }
            moves += i % 100 && memcmp(home, before, f.core->topology.vcpus *
                                                     sizeof(*home));
            memcpy(before, home, sizeof(home));
            g_array_set_size(f.world.log, 0);
            fake_drive(&f, f.core->window_end + f.core->window);
            if (f.core->topology.vms <=
                __builtin_popcountll(f.core->topology.online)) {
                assert_inside(&f, home);
            }
            if (anew) {
                change_share_or_pcpus(&f, hash(seed, i, 12));
            }
        }
        assert_sums(&f);
        fake_free(&f);
    }
    g_assert_cmpint(moves, >, 50);
}

static void test_longest_wait_with_balance(void)
{
    int bounded = 0;

    for (uint32_t seed = 1; seed <= 200; seed++) {
        int64_t bound;
        Fake f;

        random_partition(&f, seed);
        f.merge = true;
        bound = longest_wait(&f);
        if (bound != INT64_MAX) {
            fake_drive(&f, MIN(20 * bound, 500000));
            g_assert_cmpint(f.longest_wait, <=, bound);
            bounded++;
        }
        fake_free(&f);
    }
    g_assert_cmpint(bounded, >, 100);
}

/* Where there is no bound: nobody is overtaken by one that has waited less. */
static void test_nobody_is_overtaken(void)
{
    for (uint32_t seed = 1; seed <= 60; seed++) {
        Fake f;

        random_partition(&f, seed);
        f.core->switch_cost = 3000;
        fake_set(&f, "slice", 100);
        fake_set(&f, "balance", 200);
        g_assert_cmpint(longest_wait(&f), ==, INT64_MAX);
        for (int i = 0; i < 1000; i++) {
            const VschedVCPU *vcpu = f.core->vcpu;
            VschedVCPU before[MANY];
            int home[MANY], vcpus = f.core->topology.vcpus;

            memcpy(before, vcpu, vcpus * sizeof(*vcpu));
            for (int v = 0; v < vcpus; v++) {
                home[v] = place(&f, v);
            }
            fake_drive(&f, f.core->window_end + f.core->window);
            for (int v = 0; v < vcpus; v++) {
                for (int u = 0; u < vcpus; u++) {
                    if (before[v].state == VSCHED_READY &&
                        before[u].state == VSCHED_READY &&
                        home[u] == home[v] &&
                        vcpu[v].switches != before[v].switches &&
                        vcpu[u].switches == before[u].switches) {
                        /* Clocks are ahead by a window, or by a switch. */
                        g_assert_cmpint(before[v].since, <=, before[u].since +
                                        f.core->window + 3000);
                    }
                }
            }
        }
        fake_free(&f);
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

static void test_save_with_balance(void)
{
    for (uint32_t seed = 1; seed <= 100; seed++) {
        Fake f, copy;

        random_partition(&f, seed);
        f.merge = seed % 2;
        fake_drive(&f, hash(seed, 3, 13) % 30000);
        change_share_or_pcpus(&f, hash(seed, 4, 13));
        fake_drive(&f, f.core->window_end + hash(seed, 5, 13) % 30000);
        g_assert_true(save_and_load(&f, &copy, -1, 0));
        g_array_set_size(f.world.log, 0);
        fake_drive(&f, f.core->window_end + 50000);
        fake_drive(&copy, copy.core->window_end + 50000);
        g_assert_cmpmem(f.world.log->data, f.world.log->len * sizeof(Executed),
                        copy.world.log->data,
                        copy.world.log->len * sizeof(Executed));
        fake_free(&f);
        fake_free(&copy);
    }
}

static void test_impossible_states(void)
{
    Fake f, copy;

    /*
     * At 110 the masks of the parts are 2 and 0xd (test_balance()), which are
     * words 0 and 1; then two words of waits, four of stops, four of idling,
     * one of when measuring began, then the queues: one and two that wait.
     */
    fake_balanced(&f, 4, once, once);
#define IMPOSSIBLE(i, word)                                     \
    do {                                                        \
        g_assert_false(save_and_load(&f, &copy, i, word));      \
        fake_free(&copy);                                       \
    } while (0)
    IMPOSSIBLE(0, 0);           /* a part without PCPUs */
    IMPOSSIBLE(0, 3);           /* a PCPU in two parts */
    IMPOSSIBLE(1, 0xc);         /* a PCPU in none */
    IMPOSSIBLE(1, 0x1d);        /* one that does not exist */
    IMPOSSIBLE(2, -1);
    IMPOSSIBLE(12, -2);
    IMPOSSIBLE(12, INT64_C(1) << 60);
    IMPOSSIBLE(13, 3);          /* two wait */
    IMPOSSIBLE(14, 1ll << 32 | 2);      /* 2 belongs to PCPU 0 */
#undef IMPOSSIBLE
    /* A run that goes on has moved the same PCPU. */
    g_assert_true(save_and_load(&f, &copy, -1, 0));
    g_assert_cmphex(part(&copy, 1), ==, 0xd);
    fake_free(&copy);
    fake_free(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/partition/trace", test_logical_partitioning);
    g_test_add_func("/partition/spins", test_spins);
    g_test_add_func("/partition/sainte-lague", test_sainte_lague);
    g_test_add_func("/partition/more-vms", test_more_vms_than_pcpus);
    g_test_add_func("/partition/masks", test_masks_win);
    g_test_add_func("/partition/handover", test_another_policy_before);
    g_test_add_func("/partition/balance", test_balance);
    g_test_add_func("/partition/balance-of-equals", test_balance_of_equals);
    g_test_add_func("/partition/balance-and-back", test_balance_and_back);
    g_test_add_func("/partition/refusals", test_refusals);
    g_test_add_func("/partition/longest-wait", test_longest_wait);
    g_test_add_func("/partition/timeslice", test_partition_and_timeslice);
    g_test_add_func("/partition/never-outside", test_never_outside);
    g_test_add_func("/partition/longest-wait-with-balance",
                    test_longest_wait_with_balance);
    g_test_add_func("/partition/no-bound", test_nobody_is_overtaken);
    g_test_add_func("/partition/save-with-balance", test_save_with_balance);
    g_test_add_func("/partition/impossible", test_impossible_states);
    return g_test_run();
}
