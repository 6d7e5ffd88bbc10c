/*
 * Policy "heat": a PCPU that has been busy for long rests, to cool.
 *
 * "Heat-and-Run" (Gomaa, Powell and Vijaykumar, "Heat-and-Run: Leveraging SMT
 * and CMP to Manage Power Density through the Operating System", ASPLOS 2004):
 * when a core is overheated its threads migrate to cores that are cool, and go
 * on there while it cools.  Wells et al. (PACT 2006, section 2.1) name it as
 * what virtual cores are good for: the guest need not know of it.
 *
 * There is no temperature here, but a budget of busy cycles.  Each PCPU counts
 * those of its VCPUs since it last rested.  When a VCPU stops, because its
 * timeslice is over or it blocks, and the budget is used up, the PCPU rests:
 * it is on, but takes nobody.  The rest is over at the first end of a window
 * after its time, and the count begins anew.  A PCPU that was idle for as long
 * as a rest, for want of work, is as cool as after one.
 *
 * "resting" PCPUs may rest at once.  One whose budget is used up while there
 * is no place goes on, and the one that has been hot longest rests first.  If
 * there is a place for each, all may rest at the same time and nobody runs:
 * then the bound on heat is strict.
 *
 * A VCPU waits for the PCPU that it ran on last, its home.  A PCPU serves
 * those that wait for it, longest wait first, and among them, as if they were
 * its own, the VCPUs whose home rests.  If there are none, it takes the VCPU
 * of another home that has waited longest, unless that PCPU is idle too and
 * about to take it.  A VCPU whose mask leaves it PCPUs that rest, and no
 * others, waits until one has rested: masks do not cut rests short.
 *
 * Choices: all values; thermal time constants of cores are milliseconds.  A
 * timeslice is not cut short for heat, but is never longer than the budget.
 * Differences from the source: it measures temperatures, and pairs threads on
 * SMT cores by the resources that they heat; here the first PCPU that comes to
 * it takes a VCPU whose home rests, not the coolest one.
 *
 * A PCPU is busy, from one rest to the next, for at most B + S, with a budget
 * of B, rests of R, timeslices of S (at most B) cycles, if there is a place
 * for each.  If there are k places for P PCPUs, those before it rest first, in
 * m = (P - 1) / k rounds, rounded down.  A round is a rest, and a timeslice
 * until the one whose place it is comes to its own: B + S + m * (R + 2 * S +
 * C + 2 * W), with a switch cost of C and windows of W.
 *
 * Longest wait, with V VCPUs: (V - 1) * (S + C + W) + n * (R + W) + C + 2 * W.
 * Each of the others stands before a VCPU once.  Meanwhile its home rests at
 * most n = 1 + (V - 1) * S / B times, rounded down, as it needs B busy cycles
 * from one rest to the next.  At last a PCPU that was idle notices the VCPU in
 * the next window; and what made it ready may belong to the window before,
 * whose rest was too short for a block.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "queues.h"

static const VschedParameter parameters[] = {
    {
        .name = "slice",
        .description = "timeslice of a VCPU",
        .unit = VSCHED_TIME,
        .minimum = 10 * 1000,           /* 10 us */
        .maximum = 1000 * 1000 * 1000,  /* 1 s */
        .value = 100 * 1000,            /* 100 us, as "timeslice" */
    },
    {
        .name = "budget",
        .description = "busy time of a PCPU after which it rests",
        .unit = VSCHED_TIME,
        .minimum = 10 * 1000,           /* 10 us */
        .maximum = 10000000000,         /* 10 s */
        .value = 10 * 1000 * 1000,      /* 10 ms */
    },
    {
        .name = "rest",
        .description = "time for which a PCPU rests",
        .unit = VSCHED_TIME,
        .minimum = 10 * 1000,           /* 10 us */
        .maximum = 10000000000,         /* 10 s */
        .value = 1000 * 1000,           /* 1 ms */
    },
    {
        .name = "resting",
        .description = "PCPUs that may rest at once",
        .unit = VSCHED_NUMBER,
        .minimum = 1,
        .maximum = VSCHED_PCPUS_MAX,
        .value = 1,
    },
    { }
};

#define NOT_HOT INT64_MAX

typedef struct HeatPCPU {
    int64_t heat;               /* busy cycles since its last rest */
    int64_t hot;                /* cycle at which it had used its budget up */
    int64_t stopped;            /* cycle at which it last ran somebody */
    bool runs;                  /* somebody */
    bool rests;                 /* since it stopped */
} HeatPCPU;

typedef struct Heat {
    const VschedServices *services;
    const VschedTopology *topology;
    /* cycles */
    int64_t timeslice;
    int64_t budget;
    int64_t rest;
    int places;                 /* PCPUs that may rest at once */
    int *home;                  /* of each VCPU: the PCPU that it ran on last */
    VschedQueues queues;        /* of each PCPU: of VCPUs whose home it is */
    HeatPCPU pcpu[VSCHED_PCPUS_MAX];
} Heat;

/*
 * ------------------------------------------------------------------------
 * Rests.
 */

static void cool(HeatPCPU *pcpu)
{
    pcpu->heat = 0;
    pcpu->hot = NOT_HOT;
    pcpu->rests = false;
}

/* Whether there is a place for @p, which is hot, that no hotter one needs. */
static bool may_rest(const Heat *h, int p)
{
    int taken = 0;

    for (int q = 0; q < h->topology->pcpus; q++) {
        const HeatPCPU *other = &h->pcpu[q];
        bool before = other->hot < h->pcpu[p].hot ||
                      (other->hot == h->pcpu[p].hot && q < p);

        taken += other->rests || (other->runs && before);
    }
    return taken < h->places;
}

static int64_t end_of_rest(const Heat *h, const HeatPCPU *pcpu)
{
    return pcpu->rests ? pcpu->stopped + h->rest : INT64_MAX;
}

static int64_t heat_next_tick(void *policy)
{
    Heat *h = policy;
    int64_t tick = INT64_MAX;

    for (int p = 0; p < h->topology->pcpus; p++) {
        tick = MIN(tick, end_of_rest(h, &h->pcpu[p]));
    }
    return tick;
}

static void heat_tick(void *policy, int64_t now)
{
    Heat *h = policy;

    for (int p = 0; p < h->topology->pcpus; p++) {
        if (end_of_rest(h, &h->pcpu[p]) <= now) {
            cool(&h->pcpu[p]);
        }
    }
}

static void heat_start(void *policy, int pcpu, int vcpu, int64_t now)
{
    Heat *h = policy;

    h->pcpu[pcpu].runs = true;
}

static void heat_stop(void *policy, int pcpu, int vcpu, int64_t ran,
                      VschedWhy why, int64_t now)
{
    Heat *h = policy;
    HeatPCPU *c = &h->pcpu[pcpu];

    c->runs = false;
    c->stopped = now;
    c->heat += ran;
    c->hot = c->heat < h->budget ? NOT_HOT : MIN(c->hot, now);
    c->rests = c->hot != NOT_HOT && may_rest(h, pcpu);
}

/*
 * ------------------------------------------------------------------------
 * Who runs where.
 */

/* A home for @vcpu where it had none: the static map of "timeslice". */
static int find_home(const Heat *h, int vcpu)
{
    uint64_t allowed = h->topology->allowed[vcpu];

    for (int n = vcpu % __builtin_popcountll(allowed); n > 0; n--) {
        allowed &= allowed - 1;
    }
    return __builtin_ctzll(allowed);
}

/*
 * @vcpu or, if it waits longer, the first but @taken of those that wait for
 * @queue and may run on @pcpu.
 */
static int longest(const Heat *h, int pcpu, int vcpu, int queue, int taken)
{
    const VschedQueues *q = &h->queues;
    int v = q->head[queue];

    while (v != VSCHED_NONE &&
           (v == taken || !(h->topology->allowed[v] >> pcpu & 1))) {
        v = q->next[v];
    }
    return vcpu == VSCHED_NONE ||
           (v != VSCHED_NONE && q->since[v] < q->since[vcpu]) ? v : vcpu;
}

/* Of the VCPUs of @pcpu and those whose PCPU rests. */
static int find_own(const Heat *h, int pcpu)
{
    int vcpu;

    if (h->pcpu[pcpu].rests) {
        return VSCHED_NONE;
    }
    vcpu = longest(h, pcpu, VSCHED_NONE, pcpu, VSCHED_NONE);
    for (int p = 0; p < h->topology->pcpus; p++) {
        if (h->pcpu[p].rests) {
            vcpu = longest(h, pcpu, vcpu, p, VSCHED_NONE);
        }
    }
    return vcpu;
}

/*
 * Of the VCPUs of others, but for those that these take themselves as soon as
 * they come to it.  So what one PCPU takes leaves no more to another than
 * before, which is what running several windows at once relies on.
 */
static int find_any(const Heat *h, int pcpu)
{
    int vcpu = VSCHED_NONE;

    for (int p = 0; p < h->topology->pcpus && !h->pcpu[pcpu].rests; p++) {
        vcpu = longest(h, pcpu, vcpu, p,
                       h->pcpu[p].runs ? VSCHED_NONE : find_own(h, p));
    }
    return vcpu;
}

/* Who runs on @pcpu next. */
static int find(const Heat *h, int pcpu)
{
    int vcpu = find_own(h, pcpu);

    return vcpu != VSCHED_NONE ? vcpu : find_any(h, pcpu);
}

static int heat_place(void *policy, int vcpu)
{
    return VSCHED_NONE;
}

static void heat_enqueue(void *policy, int vcpu, VschedWhy why, int64_t since,
                         int64_t now)
{
    Heat *h = policy;

    vsched_queues_insert(&h->queues, h->home[vcpu], vcpu, since);
}

static void heat_dequeue(void *policy, int vcpu, int64_t now)
{
    Heat *h = policy;

    vsched_queues_remove(&h->queues, vcpu);
}

static VschedPick heat_pick(void *policy, int pcpu, int64_t now)
{
    Heat *h = policy;
    VschedPick pick = {
        .vcpu = find(h, pcpu),
        .timeslice = MIN(h->timeslice, h->budget),
    };

    if (pick.vcpu != VSCHED_NONE) {
        vsched_queues_remove(&h->queues, pick.vcpu);
        h->home[pick.vcpu] = pcpu;
        if (now - h->pcpu[pcpu].stopped >= h->rest) {
            cool(&h->pcpu[pcpu]);       /* it was idle for as long as a rest */
        }
    }
    return pick;
}

static bool heat_waiting(void *policy, int pcpu, int64_t now)
{
    return find(policy, pcpu) != VSCHED_NONE;
}

static VschedPick heat_take_over(void *policy, int pcpu, int vcpu,
                                 int64_t used, int64_t now)
{
    Heat *h = policy;

    h->home[vcpu] = pcpu;
    return (VschedPick) {
        .vcpu = vcpu,
        .timeslice = MIN(h->timeslice, h->budget),
    };
}

/*
 * ------------------------------------------------------------------------
 * Life.
 */

static bool heat_set(void *policy, const int64_t *values, char **why)
{
    Heat *h = policy;

    h->timeslice = values[0];
    h->budget = values[1];
    h->rest = values[2];
    h->places = values[3];
    return true;
}

static void *heat_create(const VschedServices *services,
                         const int64_t *values, char **why)
{
    const VschedTopology *topology = services->topology;
    Heat *h = g_new0(Heat, 1);

    h->services = services;
    h->topology = topology;
    h->home = g_new(int, topology->vcpus);
    vsched_queues_init(&h->queues, topology->vcpus, topology->pcpus);
    for (int v = 0; v < topology->vcpus; v++) {
        h->home[v] = find_home(h, v);
    }
    for (int p = 0; p < topology->pcpus; p++) {
        cool(&h->pcpu[p]);
    }
    heat_set(h, values, why);
    return h;
}

static void heat_destroy(void *policy)
{
    Heat *h = policy;

    vsched_queues_clear(&h->queues);
    g_free(h->home);
    g_free(h);
}

static void heat_changed(void *policy, int64_t now)
{
    Heat *h = policy;

    for (int v = 0; v < h->topology->vcpus; v++) {
        if (!(h->topology->allowed[v] >> h->home[v] & 1)) {
            h->home[v] = find_home(h, v);
            if (h->queues.in[v] != VSCHED_NONE) {
                vsched_queues_move(&h->queues, v, h->home[v]);
            }
        }
    }
}

/* The queues; the home of each VCPU; heat, times and rest of each PCPU. */
static void heat_save(void *policy, GArray *words)
{
    Heat *h = policy;

    vsched_queues_save(&h->queues, words);
    for (int v = 0; v < h->topology->vcpus; v++) {
        int64_t word = h->home[v];

        g_array_append_val(words, word);
    }
    for (int p = 0; p < h->topology->pcpus; p++) {
        const HeatPCPU *c = &h->pcpu[p];
        const int64_t word[] = { c->heat, c->hot, c->stopped, c->rests };

        g_array_append_vals(words, word, G_N_ELEMENTS(word));
    }
}

static bool load_pcpu(Heat *h, HeatPCPU *c, const int64_t *words)
{
    int64_t latest = 0;         /* at which any VCPU has run */

    for (int v = 0; v < h->topology->vcpus; v++) {
        latest = MAX(latest,
                     h->services->runnable_from(h->services->engine, v));
    }
    c->heat = words[0];
    c->hot = words[1];
    c->stopped = words[2];
    c->rests = words[3];
    return c->stopped >= 0 && c->stopped <= latest &&
           c->heat >= 0 && c->heat <= c->stopped &&
           (c->hot == NOT_HOT || (c->hot >= 0 && c->hot <= c->stopped)) &&
           (words[3] == 0 || (words[3] == 1 && !c->runs));
}

static bool heat_load(void *policy, const int64_t *words, int n)
{
    Heat *h = policy;
    const VschedTopology *topology = h->topology;
    int used = vsched_queues_load(&h->queues, words, n);

    if (used < 0 || n != used + topology->vcpus + 4 * topology->pcpus) {
        return false;
    }
    words += used;
    for (int v = 0; v < topology->vcpus; v++) {
        int queue = h->queues.in[v];

        if (words[v] < 0 || words[v] >= topology->pcpus ||
            !(topology->allowed[v] >> words[v] & 1) ||
            (queue != VSCHED_NONE && queue != words[v])) {
            return false;
        }
        h->home[v] = words[v];
    }
    words += topology->vcpus;
    for (int p = 0; p < topology->pcpus; p++) {
        if (!load_pcpu(h, &h->pcpu[p], words + 4 * p)) {
            return false;
        }
    }
    return true;
}

static int64_t heat_longest_wait(void *policy, int64_t switch_cost,
                                 int64_t window)
{
    Heat *h = policy;
    int64_t timeslice = MIN(h->timeslice, h->budget);
    int others = h->topology->vcpus - 1;

    return others * (timeslice + switch_cost + window) +
           (1 + others * timeslice / h->budget) * (h->rest + window) +
           switch_cost + 2 * window;
}

const VschedPolicyOps vsched_policy_heat = {
    .name = "heat",
    .description = "a PCPU that has been busy for long rests, to cool",
    .parameters = parameters,
    .create = heat_create,
    .destroy = heat_destroy,
    .set = heat_set,
    .place = heat_place,
    .enqueue = heat_enqueue,
    .dequeue = heat_dequeue,
    .pick = heat_pick,
    .waiting = heat_waiting,
    .take_over = heat_take_over,
    .start = heat_start,
    .stop = heat_stop,
    .next_tick = heat_next_tick,
    .tick = heat_tick,
    .changed = heat_changed,
    .save = heat_save,
    .load = heat_load,
    .longest_wait = heat_longest_wait,
};
