/*
 * Policy "urgent": a VCPU that has an interrupt of a sibling to take runs soon.
 *
 * Interrupt-driven co-scheduling, "urgent VCPU first" (Kim, Kim, Jeong, Lee and
 * Maeng, "Demand-based coordinated scheduling for SMP VMs", ASPLOS 2013): when
 * a VCPU sends a sibling an interrupt, to flush its TLB or to have it
 * reschedule, both have to run for the answer.  Rather than all VCPUs of a VM
 * all the time, the one that is to answer is scheduled when it is needed.
 *
 * A VCPU is urgent from the moment at which a sibling sends it an interrupt
 * until it takes one.  An urgent VCPU that waits runs before the others of its
 * queue, and preempts whoever runs on its PCPU and is not urgent: at once if
 * the sender is of that PCPU, else when the window is over.  Such an urgent run
 * lasts for "burst" at most; if the interrupt was not taken in it, another
 * follows.  What is left of a run after the interrupt was taken is for the
 * handler, whose end nobody reports.
 *
 * Fairness.  Below this is the static map of "timeslice", a queue for each
 * PCPU.  An urgent run costs nobody his turn, and gains nobody a longer one: a
 * VCPU has its place in the queue until it has used up its timeslice, of which
 * urgent runs are a part, and one that was preempted is in front again and goes
 * on with the rest.  There are at most "limit" urgent runs on a PCPU in each
 * "period"; when there were as many, urgent VCPUs wait for their turn.
 *
 * Differences from the source: it takes place in Linux' CFS, with balancing of
 * load that keeps siblings apart (here: the static map), lets a VCPU that is
 * urgent run ahead while virtual run times allow it (here: "limit"), and delays
 * the preemption of a VCPU that has just sent an interrupt to reschedule.  Here
 * an interrupt is any that a VCPU of the VM sends; devices' are none.  Values
 * are choices: "burst" is a fifth of a timeslice, and "limit" leaves more than
 * four fifths of the time to the others.
 *
 * Longest wait: that of "timeslice", F, beside urgent runs.  These take up to
 * U = limit * (burst + 2 * C) cycles of each period of T, with a switch cost of
 * C: to the urgent VCPU and back.  A wait of X cycles meets X / T + 2 periods
 * at most, so X <= F + U * (X / T + 2), and X <= (F + 2 * U) * T / (T - U).
 * There is no bound if U is not less than T: a VCPU that is not urgent may wait
 * for as long as siblings have interrupts to take.  What holds then is that the
 * urgent VCPUs of a PCPU take turns of a timeslice among themselves.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "fifo.h"

#define NEVER (INT64_MIN / 2)

/* In the order of the parameters; times in cycles */
typedef struct Values {
    int64_t slice, burst, limit, period;
} Values;

static const VschedParameter parameters[] = {
    {
        .name = "slice",
        .description = "timeslice of a VCPU",
        .unit = VSCHED_TIME,
        .minimum = 10 * 1000,           /* 10 us */
        .maximum = 1000 * 1000 * 1000,  /* 1 s */
        .value = 100 * 1000,            /* 100 us */
    },
    {
        .name = "burst",
        .description = "longest urgent run, at most a timeslice",
        .unit = VSCHED_TIME,
        .minimum = 1000,                /* 1 us */
        .maximum = 1000 * 1000 * 1000,  /* 1 s */
        .value = 20 * 1000,             /* 20 us */
    },
    {
        .name = "limit",
        .description = "most urgent runs of a PCPU in a period",
        .unit = VSCHED_NUMBER,
        .minimum = 0,
        .maximum = 1000000,
        .value = 8,
    },
    {
        .name = "period",
        .description = "time for which the limit holds",
        .unit = VSCHED_TIME,
        .minimum = 10 * 1000,           /* 10 us */
        .maximum = 1000 * 1000 * 1000,  /* 1 s */
        .value = 1000 * 1000,           /* 1 ms */
    },
    { }
};

typedef struct UrgentVCPU {
    int64_t turn;               /* number of its turn: its place in the queue */
    int64_t left;               /* cycles of the timeslice of that turn */
    bool urgent;                /* sent an interrupt that it has not taken */
} UrgentVCPU;

typedef struct UrgentPCPU {
    int runs;                   /* VCPU, or VSCHED_NONE */
    bool urgent_run;            /* ahead of its turn */
    int64_t period_start;       /* cycle */
    int64_t urgent_runs;        /* since then */
} UrgentPCPU;

typedef struct Urgent {
    const VschedServices *services;
    const VschedTopology *topology;
    VschedFifo *fifo;           /* queues by turn: that is their since[] */
    Values values;
    int64_t turns;              /* given so far */
    UrgentVCPU *vcpu;
    UrgentPCPU *pcpu;
} Urgent;

static bool are_possible(const Values *values, char **why)
{
    if (values->burst > values->slice) {
        *why = g_strdup_printf("an urgent run cannot be longer than a "
                               "timeslice: burst is %" G_GINT64_FORMAT
                               " cycles, slice %" G_GINT64_FORMAT,
                               values->burst, values->slice);
        return false;
    }
    return true;
}

static void *urgent_create(const VschedServices *services,
                           const int64_t *values, char **why)
{
    const VschedTopology *t = services->topology;
    Values v;
    Urgent *u;

    memcpy(&v, values, sizeof(v));
    if (!are_possible(&v, why)) {
        return NULL;
    }
    u = g_new0(Urgent, 1);
    u->services = services;
    u->topology = t;
    u->fifo = vsched_fifo_create(services, values, why);
    u->values = v;
    u->vcpu = g_new0(UrgentVCPU, t->vcpus);
    u->pcpu = g_new0(UrgentPCPU, t->pcpus);
    for (int p = 0; p < t->pcpus; p++) {
        u->pcpu[p].runs = VSCHED_NONE;
        u->pcpu[p].period_start = NEVER;
    }
    return u;
}

static void urgent_destroy(void *policy)
{
    Urgent *u = policy;

    vsched_fifo_destroy(u->fifo);
    g_free(u->vcpu);
    g_free(u->pcpu);
    g_free(u);
}

static bool urgent_set(void *policy, const int64_t *values, char **why)
{
    Urgent *u = policy;
    Values v;

    memcpy(&v, values, sizeof(v));
    if (!are_possible(&v, why)) {
        return false;
    }
    u->values = v;
    return true;
}

/*
 * ------------------------------------------------------------------------
 * Urgency.
 */

/* There were fewer urgent runs on @pcpu in this period than are allowed. */
static bool within_limit(const Urgent *u, int pcpu, int64_t now)
{
    const UrgentPCPU *p = &u->pcpu[pcpu];

    return (now - p->period_start < u->values.period ? p->urgent_runs : 0) <
           u->values.limit;
}

static void count_urgent_run(Urgent *u, int pcpu, int64_t now)
{
    UrgentPCPU *p = &u->pcpu[pcpu];

    if (now - p->period_start >= u->values.period) {
        p->period_start = now;
        p->urgent_runs = 0;
    }
    p->urgent_runs++;
}

/* The first urgent VCPU that waits for @pcpu, or VSCHED_NONE */
static int first_urgent(const Urgent *u, int pcpu)
{
    const VschedQueues *q = &u->fifo->queues;
    int v = q->head[pcpu];

    while (v != VSCHED_NONE && !u->vcpu[v].urgent) {
        v = q->next[v];
    }
    return v;
}

/* An urgent VCPU waits for @pcpu. */
static void preempt(Urgent *u, int pcpu, int64_t now)
{
    const UrgentPCPU *p = &u->pcpu[pcpu];

    if (p->runs != VSCHED_NONE && !p->urgent_run &&
        !u->vcpu[p->runs].urgent && within_limit(u, pcpu, now)) {
        u->services->preempt(u->services->engine, pcpu);
    }
}

static bool urgent_hint(void *policy, const VschedHint *hint)
{
    Urgent *u = policy;
    int queue = u->fifo->queues.in[hint->vcpu];

    if (hint->kind == VSCHED_HINT_TAKEN) {
        u->vcpu[hint->vcpu].urgent = false;
    } else if (hint->other != VSCHED_NONE) {
        u->vcpu[hint->vcpu].urgent = true;
        if (queue != VSCHED_NONE) {
            preempt(u, queue, hint->now);
        }
    }
    return false;
}

/*
 * ------------------------------------------------------------------------
 * The queues.
 */

static int urgent_place(void *policy, int vcpu)
{
    Urgent *u = policy;

    return vsched_fifo_place(u->fifo, vcpu);
}

/* A VCPU keeps its place until its timeslice is used up, or it blocks. */
static void urgent_enqueue(void *policy, int vcpu, VschedWhy why,
                           int64_t since, int64_t now)
{
    Urgent *u = policy;
    UrgentVCPU *v = &u->vcpu[vcpu];
    int home = u->fifo->home[vcpu];

    if (why == VSCHED_WOKEN || why == VSCHED_ADDED || !v->left) {
        v->turn = u->turns++;
        v->left = u->values.slice;
    }
    vsched_queues_insert(&u->fifo->queues, home, vcpu, v->turn);
    if (v->urgent) {
        preempt(u, home, now);
    }
}

static void urgent_dequeue(void *policy, int vcpu, int64_t now)
{
    Urgent *u = policy;

    vsched_fifo_dequeue(u->fifo, vcpu, now);
}

static VschedPick urgent_pick(void *policy, int pcpu, int64_t now)
{
    Urgent *u = policy;
    int head = u->fifo->queues.head[pcpu];
    int urgent = within_limit(u, pcpu, now) ? first_urgent(u, pcpu)
                                            : VSCHED_NONE;
    VschedPick pick = { .vcpu = head };

    if (head == VSCHED_NONE) {
        return pick;
    }
    u->pcpu[pcpu].urgent_run = urgent != VSCHED_NONE && urgent != head;
    if (u->pcpu[pcpu].urgent_run) {
        count_urgent_run(u, pcpu, now);
        pick.vcpu = urgent;
        pick.timeslice = MIN(u->values.burst, u->vcpu[urgent].left);
    } else {
        pick.timeslice = u->vcpu[head].left;
    }
    vsched_queues_remove(&u->fifo->queues, pick.vcpu);
    return pick;
}

static bool urgent_waiting(void *policy, int pcpu, int64_t now)
{
    Urgent *u = policy;

    return vsched_fifo_waiting(u->fifo, pcpu, now);
}

static VschedPick urgent_take_over(void *policy, int pcpu, int vcpu,
                                   int64_t used, int64_t now)
{
    Urgent *u = policy;

    u->vcpu[vcpu].turn = u->turns++;
    u->vcpu[vcpu].left = MAX(0, u->values.slice - used);
    return vsched_fifo_take_over(u->fifo, pcpu, vcpu, used, now);
}

static void urgent_start(void *policy, int pcpu, int vcpu, int64_t now)
{
    Urgent *u = policy;

    u->pcpu[pcpu].runs = vcpu;
}

/* The engine may cut a timeslice short: in its turn, it is used up then. */
static void urgent_stop(void *policy, int pcpu, int vcpu, int64_t ran,
                        VschedWhy why, int64_t now)
{
    Urgent *u = policy;
    UrgentVCPU *v = &u->vcpu[vcpu];

    if (why == VSCHED_EXPIRED && !u->pcpu[pcpu].urgent_run) {
        v->left = 0;
    } else {
        v->left = MAX(0, v->left - ran);
    }
    u->pcpu[pcpu].runs = VSCHED_NONE;
    u->pcpu[pcpu].urgent_run = false;
}

static void urgent_changed(void *policy, int64_t now)
{
    Urgent *u = policy;

    vsched_fifo_changed(u->fifo, now);
}

/*
 * ------------------------------------------------------------------------
 * Saved states.
 */

static void put(GArray *words, int64_t word)
{
    g_array_append_val(words, word);
}

/* The queues, the turns that were given; then each VCPU, each PCPU. */
static void urgent_save(void *policy, GArray *words)
{
    Urgent *u = policy;

    vsched_fifo_save(u->fifo, words);
    put(words, u->turns);
    for (int v = 0; v < u->topology->vcpus; v++) {
        put(words, u->vcpu[v].turn);
        put(words, u->vcpu[v].left);
        put(words, u->vcpu[v].urgent);
    }
    for (int p = 0; p < u->topology->pcpus; p++) {
        put(words, u->pcpu[p].urgent_run);
        put(words, u->pcpu[p].period_start);
        put(words, u->pcpu[p].urgent_runs);
    }
}

static bool is_bool(int64_t word)
{
    return word == 0 || word == 1;
}

static bool load_vcpu(Urgent *u, int vcpu, const int64_t *words)
{
    VschedQueues *q = &u->fifo->queues;
    UrgentVCPU *v = &u->vcpu[vcpu];

    if (words[0] < 0 || words[0] > u->turns || words[1] < 0 ||
        words[1] > -NEVER || !is_bool(words[2]) ||
        (q->in[vcpu] != VSCHED_NONE && !words[1])) {
        return false;
    }
    v->turn = q->since[vcpu] = words[0];
    v->left = words[1];
    v->urgent = words[2];
    return true;
}

static bool urgent_load(void *policy, const int64_t *words, int n)
{
    Urgent *u = policy;
    int vcpus = u->topology->vcpus, pcpus = u->topology->pcpus;
    int rest = 1 + 3 * vcpus + 3 * pcpus;

    if (n < rest || !vsched_fifo_load(u->fifo, words, n - rest)) {
        return false;
    }
    words += n - rest;
    if (*words < 0 || *words > -NEVER) {
        return false;
    }
    u->turns = *words++;
    for (int v = 0; v < vcpus; v++, words += 3) {
        if (!load_vcpu(u, v, words)) {
            return false;
        }
    }
    for (int p = 0; p < pcpus; p++, words += 3) {
        if (!is_bool(words[0]) || words[1] < NEVER || words[1] > -NEVER ||
            words[2] < 0 || words[2] > -NEVER) {
            return false;
        }
        u->pcpu[p].urgent_run = words[0];
        u->pcpu[p].period_start = words[1];
        u->pcpu[p].urgent_runs = words[2];
    }
    return true;
}

/* (F + 2 * U) * T / (T - U), see above */
static int64_t urgent_longest_wait(void *policy, int64_t switch_cost,
                                   int64_t window)
{
    Urgent *u = policy;
    int64_t in_order = vsched_fifo_longest_wait(u->fifo, switch_cost, window);
    int64_t urgent = u->values.limit * (u->values.burst + 2 * switch_cost);
    int64_t free = u->values.period - urgent, all;

    if (in_order <= switch_cost + window) {
        return in_order;        /* each is alone on its PCPU */
    }
    if (free <= 0) {
        return INT64_MAX;
    }
    in_order += 2 * urgent;
    /* T / (T - U) = 1 + U / (T - U), and a period more for the rounding */
    if (__builtin_mul_overflow((in_order + free - 1) / free, urgent, &all) ||
        __builtin_add_overflow(all, in_order, &all)) {
        return INT64_MAX;
    }
    return all;
}

const VschedPolicyOps vsched_policy_urgent = {
    .name = "urgent",
    .description = "static map; a VCPU that a sibling interrupts runs soon",
    .parameters = parameters,
    .hints = VSCHED_LISTEN(VSCHED_HINT_SENT) |
             VSCHED_LISTEN(VSCHED_HINT_TAKEN),
    .create = urgent_create,
    .destroy = urgent_destroy,
    .set = urgent_set,
    .place = urgent_place,
    .enqueue = urgent_enqueue,
    .dequeue = urgent_dequeue,
    .pick = urgent_pick,
    .waiting = urgent_waiting,
    .take_over = urgent_take_over,
    .start = urgent_start,
    .stop = urgent_stop,
    .changed = urgent_changed,
    .hint = urgent_hint,
    .save = urgent_save,
    .load = urgent_load,
    .longest_wait = urgent_longest_wait,
};
