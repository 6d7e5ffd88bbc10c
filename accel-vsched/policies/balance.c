/*
 * Policy "balance": VCPUs of a VM wait for PCPUs of their own.
 *
 * "Balance scheduling" (Sukwong and Kim, "Is co-scheduling too expensive for
 * SMP VMs?", EuroSys 2011): a PCPU has a queue; a VCPU that becomes ready joins
 * one that holds no other VCPU of its VM, so that siblings are never stacked
 * behind each other, where the one that waits could hold what the one that runs
 * spins for.  Nothing has to be scheduled at the same moment for that.
 *
 * A queue holds the VCPU that runs and those that wait.  Of the queues that a
 * VCPU may join, the shortest without a sibling is taken; if all have one, the
 * shortest.  Among equals it is the one where the VCPU was last, then the one
 * of the lowest PCPU (choice).  A queue is served first come, first served.
 *
 * Differences from the source: there it is a rule for the queues of Linux' CFS,
 * whose load balancer goes on moving VCPUs that wait; here a VCPU that waits
 * stays where it is, and is placed anew each time it becomes ready.
 *
 * Longest wait, with V VCPUs, timeslices of S cycles, a switch cost of C and
 * windows of W: (V - 1) * (S + C + W) + C + W.  All others may stand before a
 * VCPU, each once, since what comes later stands behind it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "fifo.h"

typedef struct Balance {
    const VschedTopology *topology;
    int64_t timeslice;          /* cycles */
    VschedQueues queues;        /* of each PCPU */
    /* of each VCPU */
    int *runs;                  /* PCPU that it runs on, or VSCHED_NONE */
    int *last;                  /* PCPU that it waited for or ran on last */
} Balance;

static void *balance_create(const VschedServices *services,
                            const int64_t *values, char **why)
{
    const VschedTopology *topology = services->topology;
    Balance *b = g_new0(Balance, 1);

    b->topology = topology;
    b->timeslice = values[0];
    vsched_queues_init(&b->queues, topology->vcpus, topology->pcpus);
    b->runs = g_new(int, topology->vcpus);
    b->last = g_new(int, topology->vcpus);
    for (int v = 0; v < topology->vcpus; v++) {
        b->runs[v] = b->last[v] = VSCHED_NONE;
    }
    return b;
}

static void balance_destroy(void *policy)
{
    Balance *b = policy;

    vsched_queues_clear(&b->queues);
    g_free(b->runs);
    g_free(b->last);
    g_free(b);
}

static bool balance_set(void *policy, const int64_t *values, char **why)
{
    Balance *b = policy;

    b->timeslice = values[0];
    return true;
}

/* The queue that @vcpu, which is in none, joins. */
static int choose(const Balance *b, int vcpu)
{
    const VschedTopology *topology = b->topology;
    uint64_t allowed = topology->allowed[vcpu], siblings = 0;
    int length[VSCHED_PCPUS_MAX] = { 0 };
    int best = VSCHED_NONE;

    for (int v = 0; v < topology->vcpus; v++) {
        int p = b->runs[v] != VSCHED_NONE ? b->runs[v] : b->queues.in[v];

        if (p != VSCHED_NONE) {
            length[p]++;
            if (topology->vm[v] == topology->vm[vcpu]) {
                siblings |= 1ull << p;
            }
        }
    }
    if (allowed & ~siblings) {
        allowed &= ~siblings;
    }
    for (int p = 0; p < topology->pcpus; p++) {
        if (!(allowed >> p & 1)) {
            continue;
        }
        if (best == VSCHED_NONE || length[p] < length[best] ||
            (length[p] == length[best] && p == b->last[vcpu])) {
            best = p;
        }
    }
    return best;
}

static void balance_enqueue(void *policy, int vcpu, VschedWhy why,
                            int64_t since, int64_t now)
{
    Balance *b = policy;
    int pcpu = choose(b, vcpu);

    b->last[vcpu] = pcpu;
    vsched_queues_append(&b->queues, pcpu, vcpu, since);
}

static void balance_dequeue(void *policy, int vcpu, int64_t now)
{
    Balance *b = policy;

    vsched_queues_remove(&b->queues, vcpu);
}

static int balance_place(void *policy, int vcpu)
{
    Balance *b = policy;

    return b->queues.in[vcpu];
}

static VschedPick balance_pick(void *policy, int pcpu, int64_t now)
{
    Balance *b = policy;
    VschedPick pick = {
        .vcpu = b->queues.head[pcpu],
        .timeslice = b->timeslice,
    };

    if (pick.vcpu != VSCHED_NONE) {
        vsched_queues_remove(&b->queues, pick.vcpu);
        b->runs[pick.vcpu] = pcpu;
    }
    return pick;
}

static bool balance_waiting(void *policy, int pcpu, int64_t now)
{
    Balance *b = policy;

    return b->queues.head[pcpu] != VSCHED_NONE;
}

static VschedPick balance_take_over(void *policy, int pcpu, int vcpu,
                                    int64_t used, int64_t now)
{
    Balance *b = policy;

    b->runs[vcpu] = b->last[vcpu] = pcpu;
    return (VschedPick) { .vcpu = vcpu, .timeslice = b->timeslice };
}

static void balance_stop(void *policy, int pcpu, int vcpu, int64_t ran,
                         VschedWhy why, int64_t now)
{
    Balance *b = policy;

    b->runs[vcpu] = VSCHED_NONE;
}

static void balance_changed(void *policy, int64_t now)
{
    Balance *b = policy;

    for (int v = 0; v < b->topology->vcpus; v++) {
        int queue = b->queues.in[v];

        if (queue != VSCHED_NONE && !(b->topology->allowed[v] >> queue & 1)) {
            vsched_queues_remove(&b->queues, v);
            b->last[v] = choose(b, v);
            vsched_queues_insert(&b->queues, b->last[v], v, b->queues.since[v]);
        }
    }
}

/* The queues; then where each VCPU was last. */
static void balance_save(void *policy, GArray *words)
{
    Balance *b = policy;

    vsched_queues_save(&b->queues, words);
    for (int v = 0; v < b->topology->vcpus; v++) {
        int64_t word = b->last[v];

        g_array_append_val(words, word);
    }
}

static bool balance_load(void *policy, const int64_t *words, int n)
{
    Balance *b = policy;
    const VschedTopology *topology = b->topology;
    int used = vsched_queues_load(&b->queues, words, n);

    if (used < 0 || n != used + topology->vcpus) {
        return false;
    }
    for (int v = 0; v < topology->vcpus; v++) {
        int64_t last = words[used + v];
        int queue = b->queues.in[v];

        if (last < VSCHED_NONE || last >= topology->pcpus ||
            (queue != VSCHED_NONE && !(topology->allowed[v] >> queue & 1))) {
            return false;
        }
        b->last[v] = last;
    }
    return true;
}

static int64_t balance_longest_wait(void *policy, int64_t switch_cost,
                                    int64_t window)
{
    Balance *b = policy;

    return (b->topology->vcpus - 1) * (b->timeslice + switch_cost + window) +
           switch_cost + window;
}

const VschedPolicyOps vsched_policy_balance = {
    .name = "balance",
    .description = "VCPUs of a VM in queues of different PCPUs",
    .parameters = vsched_fifo_parameters,
    .create = balance_create,
    .destroy = balance_destroy,
    .set = balance_set,
    .place = balance_place,
    .enqueue = balance_enqueue,
    .dequeue = balance_dequeue,
    .pick = balance_pick,
    .waiting = balance_waiting,
    .take_over = balance_take_over,
    .stop = balance_stop,
    .changed = balance_changed,
    .save = balance_save,
    .load = balance_load,
    .longest_wait = balance_longest_wait,
};
