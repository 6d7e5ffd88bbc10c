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
    /* of each VCPU */
    int *queue;                 /* of which PCPU: it waits or runs there */
    bool *waits;
    int *last;                  /* the queue that it was in last */
    int *next;                  /* while it waits: who is behind it */
    int64_t *since;             /* cycle since which it waits */
    /* of each PCPU: those that wait; or VSCHED_NONE */
    int *head, *tail;
} Balance;

static void *balance_create(const VschedServices *services,
                            const int64_t *values, char **why)
{
    const VschedTopology *topology = services->topology;
    Balance *b = g_new0(Balance, 1);

    b->topology = topology;
    b->timeslice = values[0];
    b->queue = g_new(int, topology->vcpus);
    b->waits = g_new0(bool, topology->vcpus);
    b->last = g_new(int, topology->vcpus);
    b->next = g_new(int, topology->vcpus);
    b->since = g_new0(int64_t, topology->vcpus);
    b->head = g_new(int, topology->pcpus);
    b->tail = g_new(int, topology->pcpus);
    for (int v = 0; v < topology->vcpus; v++) {
        b->queue[v] = b->last[v] = VSCHED_NONE;
    }
    for (int p = 0; p < topology->pcpus; p++) {
        b->head[p] = b->tail[p] = VSCHED_NONE;
    }
    return b;
}

static void balance_destroy(void *policy)
{
    Balance *b = policy;

    g_free(b->queue);
    g_free(b->waits);
    g_free(b->last);
    g_free(b->next);
    g_free(b->since);
    g_free(b->head);
    g_free(b->tail);
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
        if (b->queue[v] != VSCHED_NONE) {
            length[b->queue[v]]++;
            if (topology->vm[v] == topology->vm[vcpu]) {
                siblings |= 1ull << b->queue[v];
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

/* Into the queue of @pcpu behind @before, or first if that is VSCHED_NONE. */
static void insert(Balance *b, int pcpu, int vcpu, int before)
{
    int *link = before == VSCHED_NONE ? &b->head[pcpu] : &b->next[before];

    b->queue[vcpu] = b->last[vcpu] = pcpu;
    b->waits[vcpu] = true;
    b->next[vcpu] = *link;
    *link = vcpu;
    if (b->tail[pcpu] == before) {
        b->tail[pcpu] = vcpu;
    }
}

static void balance_enqueue(void *policy, int vcpu, VschedWhy why,
                            int64_t since, int64_t now)
{
    Balance *b = policy;
    int pcpu = choose(b, vcpu);

    b->since[vcpu] = since;
    insert(b, pcpu, vcpu, b->tail[pcpu]);
}

static void balance_dequeue(void *policy, int vcpu, int64_t now)
{
    Balance *b = policy;
    int pcpu = b->queue[vcpu], before = VSCHED_NONE;
    int *link = &b->head[pcpu];

    while (*link != vcpu) {
        before = *link;
        link = &b->next[before];
    }
    *link = b->next[vcpu];
    if (b->tail[pcpu] == vcpu) {
        b->tail[pcpu] = before;
    }
    b->queue[vcpu] = VSCHED_NONE;
    b->waits[vcpu] = false;
}

static int balance_place(void *policy, int vcpu)
{
    Balance *b = policy;

    return b->queue[vcpu];
}

static VschedPick balance_pick(void *policy, int pcpu, int64_t now)
{
    Balance *b = policy;
    VschedPick pick = {
        .vcpu = b->head[pcpu],
        .timeslice = b->timeslice,
    };

    if (pick.vcpu != VSCHED_NONE) {
        balance_dequeue(b, pick.vcpu, now);
        b->queue[pick.vcpu] = pcpu;
    }
    return pick;
}

static bool balance_waiting(void *policy, int pcpu, int64_t now)
{
    Balance *b = policy;

    return b->head[pcpu] != VSCHED_NONE;
}

static VschedPick balance_take_over(void *policy, int pcpu, int vcpu,
                                    int64_t used, int64_t now)
{
    Balance *b = policy;

    b->queue[vcpu] = b->last[vcpu] = pcpu;
    return (VschedPick) { .vcpu = vcpu, .timeslice = b->timeslice };
}

static void balance_stop(void *policy, int pcpu, int vcpu, int64_t ran,
                         VschedWhy why, int64_t now)
{
    Balance *b = policy;

    b->queue[vcpu] = VSCHED_NONE;
}

/* Into another queue, in front of all there that have waited less. */
static void balance_changed(void *policy, int64_t now)
{
    Balance *b = policy;

    for (int v = 0; v < b->topology->vcpus; v++) {
        int pcpu, before = VSCHED_NONE;

        if (!b->waits[v] || b->topology->allowed[v] >> b->queue[v] & 1) {
            continue;
        }
        balance_dequeue(b, v, now);
        pcpu = choose(b, v);
        for (int u = b->head[pcpu];
             u != VSCHED_NONE && b->since[u] <= b->since[v]; u = b->next[u]) {
            before = u;
        }
        insert(b, pcpu, v, before);
    }
}

/* Where each VCPU was last; then who waits, queue by queue. */
static void balance_save(void *policy, GArray *words)
{
    Balance *b = policy;

    for (int v = 0; v < b->topology->vcpus; v++) {
        int64_t word = b->last[v];

        g_array_append_val(words, word);
    }
    for (int p = 0; p < b->topology->pcpus; p++) {
        for (int v = b->head[p]; v != VSCHED_NONE; v = b->next[v]) {
            int64_t word = (int64_t)p << 32 | v;

            g_array_append_val(words, word);
        }
    }
}

static bool balance_load(void *policy, const int64_t *words, int n)
{
    Balance *b = policy;
    const VschedTopology *topology = b->topology;
    int vcpus = topology->vcpus, waiting = 0;
    g_autofree bool *waits = g_new0(bool, vcpus);

    for (int v = 0; v < vcpus; v++) {
        waits[v] = b->waits[v];
        waiting += waits[v];
    }
    if (n != vcpus + waiting) {
        return false;
    }
    for (int v = 0; v < vcpus; v++) {
        if (words[v] < VSCHED_NONE || words[v] >= topology->pcpus) {
            return false;
        }
    }
    for (int i = vcpus; i < n; i++) {
        int64_t p = words[i] >> 32, v = words[i] & UINT32_MAX;

        if (p < 0 || p >= topology->pcpus || v >= vcpus || !waits[v] ||
            !(topology->allowed[v] >> p & 1)) {
            return false;
        }
        waits[v] = false;               /* not twice */
    }
    for (int i = vcpus; i < n; i++) {
        int p = words[i] >> 32, v = words[i] & UINT32_MAX;

        balance_dequeue(b, v, 0);
        insert(b, p, v, b->tail[p]);
    }
    for (int v = 0; v < vcpus; v++) {
        b->last[v] = words[v];
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
