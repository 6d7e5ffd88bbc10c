/*
 * Policy "credit": Xen's credit scheduler.
 *
 * The default scheduler of Xen 3.2 (xen/common/sched_credit.c; Southern 2008;
 * Cherkasova, Gupta and Vahdat, "Comparison of the three CPU schedulers in
 * Xen", 2007).  VMs share the machine by weight, and a cap is the most that one
 * gets.  A VCPU pays with credits for running, and its VM earns them:
 *
 *   BOOST   it was woken with credits left, and has not run for long since
 *   UNDER   it has credits left
 *   OVER    it has spent more than it had
 *
 * 1. A PCPU has a queue (runq), FIFO inside a priority.
 * 2. At each tick, a VCPU that runs pays 100 credits (vcpu_acct), leaves BOOST,
 *    and becomes active.  Only active VCPUs earn.
 * 3. A VCPU that is woken goes from UNDER to BOOST and preempts a lower
 *    priority on the PCPU where it was (runq_tickle); idle PCPUs look by
 *    themselves.
 * 4. A PCPU takes the head of its runq for a whole slice.  If that is OVER, or
 *    nobody waits, it looks at the others in turn and takes the first who waits
 *    there with a strictly higher priority and may run here (load_balance).
 * 5. Every three ticks (acct), 300 credits for each PCPU are shared among VMs
 *    with active VCPUs by weight, at most what the cap allows and what a VM can
 *    use; what one cannot use, others get.  A VM divides its share among its
 *    active VCPUs.  Who is below 0 is OVER, and parked if his VM is over its
 *    cap; the floor is -300.  Who is above 300 does not use what he earns: he
 *    is not active any more, and his credits are 0.
 * 6. Then each runq is sorted by priority, stably.
 *
 * With vintage=modern, as in Xen 4: credits are burned by the cycle, 100 a
 * tick; a wake-up that finds an idle PCPU preempts nobody, and nobody is
 * preempted before he has run for @ratelimit; who earns too much keeps half; a
 * weight is that of each VCPU instead of the VM; a VCPU that waits in a loop of
 * PAUSE yields, that is, it waits behind one of lower priority.
 *
 * A VCPU that runs between the ticks alone pays nothing in Xen 3.2 and keeps
 * BOOST (Zhou et al., "Scheduler vulnerabilities and attacks in cloud
 * computing", 2011), and one that a tick has seen may be parked or preempted
 * there and then, for a tick that it has not had.  Here that takes
 * tick-dodging=on.  Otherwise a VCPU does not pay again for a tick that it has
 * paid in advance, and pays when it stops if it has run for a tick (choice).
 *
 * Other choices: VCPU i begins on number i mod n of the n PCPUs that it may run
 * on; one that may not run any more where it was goes to the next PCPU.  The
 * ticks of all PCPUs come at one time, at a multiple of @tick, and no more than
 * one at the end of a window.  An idle PCPU steals from another idle one all
 * but the first who waits there; in Xen it leaves all to that PCPU, which looks
 * at once.  Left out: soft affinity, NUMA, hyperthreads.
 *
 * Rule 5 takes credits from a VCPU that waits for so long that it earns more
 * than 300: with slices of 30 ms, one with a large share among several others
 * gets a few percent less than it asks for, or more; with slices of a tick it
 * hardly does.  That is Xen's.
 *
 * Longest wait: there is no bound.  VCPUs that sleep in turn can keep a PCPU
 * in BOOST within their credits, and one that is UNDER and not active waits on.
 * As long as nobody wakes, a VCPU is UNDER after 300 / e + 1 accounting periods
 * of three ticks if it earns e credits in each, e >= 1, and then each of the
 * others stands before it once.  What is guaranteed instead is the share: what
 * weights and caps ask for, over many accounting periods, among VCPUs that
 * always have something to do.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "queues.h"

#define CREDITS_PER_TICK 100
#define TICKS_PER_ACCT 3
#define CREDITS_PER_ACCT (CREDITS_PER_TICK * TICKS_PER_ACCT)
/* A slice is as long as an accounting period, unless @slice says otherwise. */
#define CREDITS_PER_TSLICE CREDITS_PER_ACCT

/* No account is ever so far from 0, nor the sum of those that are active. */
#define CREDITS_MAX (INT64_C(1) << 50)
#define BALANCE_MAX (INT64_C(1) << 30)
/* Nor is any time */
#define CYCLES_MAX (INT64_C(1) << 60)

/* Highest first; also which queue of a PCPU. */
enum { BOOST, UNDER, OVER, PRI_IDLE, PRIORITIES = PRI_IDLE };

enum { XEN_3_2, MODERN };

static const char *const vintages[] = { "3.2", "modern", NULL };

/* Positions in @values */
enum {
    SLICE, TICK, VINTAGE, RATELIMIT, TICK_DODGING, PAUSE_GAP, PAUSE_WINDOW,
    VALUES
};

static const VschedParameter parameters[] = {
    {
        .name = "slice",
        .description = "timeslice of a VCPU",
        .unit = VSCHED_TIME,
        .minimum = 10 * 1000,           /* 10 us */
        .maximum = 1000 * 1000 * 1000,  /* 1 s */
        .value = 30 * 1000 * 1000,      /* 30 ms */
    },
    {
        .name = "tick",
        .description = "time between two ticks, a third of an accounting "
                       "period",
        .unit = VSCHED_TIME,
        .minimum = 1000,                /* 1 us */
        .maximum = 1000 * 1000 * 1000,  /* 1 s */
        .value = 10 * 1000 * 1000,      /* 10 ms */
    },
    {
        .name = "vintage",
        .description = "which Xen",
        .unit = VSCHED_CHOICE,
        .minimum = 0,
        .maximum = 1,
        .value = XEN_3_2,
        .choices = vintages,
    },
    {
        .name = "ratelimit",
        .description = "modern: time that a VCPU runs before another preempts "
                       "it",
        .unit = VSCHED_TIME,
        .minimum = 0,
        .maximum = 500 * 1000 * 1000,   /* 500 ms */
        .value = 1000 * 1000,           /* 1 ms */
    },
    {
        .name = "tick-dodging",
        .description = "who runs between ticks alone keeps BOOST and, in 3.2, "
                       "pays nothing",
        .unit = VSCHED_SWITCH,
        .minimum = 0,
        .maximum = 1,
        .value = 0,
    },
    {
        .name = "pause-gap",
        .description = "modern: two PAUSEs further apart are of two loops",
        .unit = VSCHED_TIME,
        .minimum = 1,
        .maximum = 1000 * 1000,         /* 1 ms */
        .value = 128,                   /* of PAUSE-loop exiting, as in Xen */
    },
    {
        .name = "pause-window",
        .description = "modern: a VCPU yields after so long in a loop of "
                       "PAUSE; 0: never",
        .unit = VSCHED_TIME,
        .minimum = 0,
        .maximum = 1000 * 1000 * 1000,  /* 1 s */
        .value = 4096,                  /* of PAUSE-loop exiting, as in Xen */
    },
    { }
};

typedef struct CreditVCPU {
    int64_t credit;
    int pri;
    int processor;              /* PCPU in whose runq it is, or ran last */
    bool active;                /* it earns */
    bool parked;                /* held back: its VM is over its cap */
    /* Since start(), of one that runs: accounted for up to this cycle */
    int64_t counted;
    int64_t unpaid;             /* cycles that it ran, less those of ticks */
    int64_t residual;           /* modern: left over, 1/@tick credits */
    int64_t loop, pause;        /* cycles: first and last PAUSE of a loop */
} CreditVCPU;

typedef struct CreditPCPU {
    int current;                /* VCPU, or VSCHED_NONE */
    int64_t since;              /* cycle since which it runs */
    int renewed;                /* VCPU whose slice was over, and may go on */
    int64_t schedule_at;        /* cycle: after @ratelimit; or INT64_MAX */
} CreditPCPU;

typedef struct Credit {
    const VschedServices *services;
    const VschedTopology *topology;
    int64_t values[VALUES];     /* times in cycles */
    VschedQueues runq;          /* PRIORITIES of each PCPU; who is parked */
    CreditVCPU *vcpu;
    CreditPCPU *pcpu;
    int *active_vm;             /* all VMs; those that are active count */
    int *active;                /* of each VM: VCPUs that are */
    int64_t credit_balance;     /* of all active VCPUs, after acct_all() */
    int64_t next_tick;          /* cycle; INT64_MAX: nobody has ever run */
    int64_t ticks;              /* since the last acct_all() */
} Credit;

static bool modern(const Credit *c)
{
    return c->values[VINTAGE] == MODERN;
}

/*
 * ------------------------------------------------------------------------
 * Creation.
 */

/* Number @n of the bits that are set in @mask, the lowest being number 0. */
static int nth_bit(uint64_t mask, int n)
{
    while (n--) {
        mask &= mask - 1;
    }
    return __builtin_ctzll(mask);
}

static void *credit_create(const VschedServices *services,
                           const int64_t *values, char **why)
{
    const VschedTopology *t = services->topology;
    Credit *c = g_new0(Credit, 1);

    c->services = services;
    c->topology = t;
    memcpy(c->values, values, sizeof(c->values));
    vsched_queues_init(&c->runq, t->vcpus, t->pcpus * PRIORITIES + 1);
    c->vcpu = g_new0(CreditVCPU, t->vcpus);
    for (int v = 0; v < t->vcpus; v++) {
        c->vcpu[v].pri = UNDER;
        c->vcpu[v].processor = nth_bit(t->allowed[v], v %
                                       __builtin_popcountll(t->allowed[v]));
    }
    c->pcpu = g_new0(CreditPCPU, t->pcpus);
    for (int p = 0; p < t->pcpus; p++) {
        c->pcpu[p].current = c->pcpu[p].renewed = VSCHED_NONE;
        c->pcpu[p].schedule_at = INT64_MAX;
    }
    c->active_vm = g_new(int, t->vms);
    c->active = g_new0(int, t->vms);
    for (int i = 0; i < t->vms; i++) {
        c->active_vm[i] = i;
    }
    c->next_tick = INT64_MAX;
    return c;
}

static void credit_destroy(void *policy)
{
    Credit *c = policy;

    vsched_queues_clear(&c->runq);
    g_free(c->vcpu);
    g_free(c->pcpu);
    g_free(c->active_vm);
    g_free(c->active);
    g_free(c);
}

static bool credit_set(void *policy, const int64_t *values, char **why)
{
    Credit *c = policy;

    if (values[TICK] != c->values[TICK] && c->next_tick != INT64_MAX) {
        c->next_tick = 0;       /* at the end of the window */
    }
    memcpy(c->values, values, sizeof(c->values));
    return true;
}

/*
 * ------------------------------------------------------------------------
 * Run queues.
 */

static int parked_queue(const Credit *c)
{
    return c->topology->pcpus * PRIORITIES;
}

static int head(const Credit *c, int pcpu, int pri)
{
    return c->runq.head[pcpu * PRIORITIES + pri];
}

/* The highest priority that waits for @pcpu; PRI_IDLE: nobody does. */
static int highest(const Credit *c, int pcpu)
{
    int pri = BOOST;

    while (pri < PRI_IDLE && head(c, pcpu, pri) == VSCHED_NONE) {
        pri++;
    }
    return pri;
}

/*
 * Last of its priority.  One that @yields waits behind the first of the next
 * lower priority that waits there, until the runq is sorted.
 */
static void runq_insert(Credit *c, int vcpu, bool yields, int64_t since)
{
    const CreditVCPU *v = &c->vcpu[vcpu];
    int queue = v->processor * PRIORITIES, pri = v->pri + 1, first;
    int64_t first_since;

    while (yields && pri < PRI_IDLE && head(c, v->processor, pri) ==
           VSCHED_NONE) {
        pri++;
    }
    if (!yields || pri == PRI_IDLE) {
        vsched_queues_append(&c->runq, queue + v->pri, vcpu, since);
        return;
    }
    first = head(c, v->processor, pri);
    first_since = c->runq.since[first];
    vsched_queues_remove(&c->runq, first);
    vsched_queues_prepend(&c->runq, queue + pri, vcpu, since);
    vsched_queues_prepend(&c->runq, queue + pri, first, first_since);
}

static uint64_t idlers(const Credit *c)
{
    uint64_t mask = c->topology->online;

    for (int p = 0; p < c->topology->pcpus; p++) {
        if (c->pcpu[p].current != VSCHED_NONE) {
            mask &= ~(1ull << p);
        }
    }
    return mask;
}

/*
 * @vcpu, new in the runq of its PCPU, preempts who runs there if its priority
 * is higher.  PCPUs that are idle look for it by themselves.
 */
static void runq_tickle(Credit *c, int vcpu, int64_t now)
{
    const CreditVCPU *v = &c->vcpu[vcpu];
    CreditPCPU *pcpu = &c->pcpu[v->processor];

    if (pcpu->current == VSCHED_NONE ||
        v->pri >= c->vcpu[pcpu->current].pri) {
        return;
    }
    if (modern(c)) {
        if (idlers(c) & c->topology->allowed[vcpu]) {
            return;
        }
        if (now - pcpu->since < c->values[RATELIMIT]) {
            pcpu->schedule_at = pcpu->since + c->values[RATELIMIT];
            return;
        }
    }
    c->services->preempt(c->services->engine, v->processor);
}

/* All that waits for @pcpu by priority, in the order in which it stands. */
static void runq_sort(Credit *c, int pcpu)
{
    g_autofree int *order = g_new(int, c->topology->vcpus);
    int n = 0;

    for (int pri = BOOST; pri < PRI_IDLE; pri++) {
        for (int v = head(c, pcpu, pri); v != VSCHED_NONE;
             v = c->runq.next[v]) {
            order[n++] = v;
        }
    }
    for (int i = 0; i < n; i++) {
        const CreditVCPU *v = &c->vcpu[order[i]];

        vsched_queues_remove(&c->runq, order[i]);
        vsched_queues_append(&c->runq, v->parked ? parked_queue(c) :
                             pcpu * PRIORITIES + v->pri, order[i],
                             c->runq.since[order[i]]);
    }
}

/* Who was parked and is not any more waits again, and is not boosted. */
static void unpark(Credit *c, int64_t now)
{
    int next;

    for (int v = c->runq.head[parked_queue(c)]; v != VSCHED_NONE; v = next) {
        next = c->runq.next[v];
        if (!c->vcpu[v].parked) {
            vsched_queues_remove(&c->runq, v);
            runq_insert(c, v, false, c->runq.since[v]);
            runq_tickle(c, v, now);
        }
    }
}

/* Where @vcpu waits: where it was, or else the next PCPU that it may run on. */
static int cpu_pick(const Credit *c, int vcpu)
{
    int p = c->vcpu[vcpu].processor;

    while (!(c->topology->allowed[vcpu] >> p & 1)) {
        p = (p + 1) % c->topology->pcpus;
    }
    return p;
}

/*
 * ------------------------------------------------------------------------
 * Credits.
 */

/* VM @vm to the head of those that are active. */
static void to_head(Credit *c, int vm)
{
    int i = 0;

    while (c->active_vm[i] != vm) {
        i++;
    }
    memmove(c->active_vm + 1, c->active_vm, i * sizeof(*c->active_vm));
    c->active_vm[0] = vm;
}

static void acct_start(Credit *c, int vcpu)
{
    int vm = c->topology->vm[vcpu];

    if (!c->vcpu[vcpu].active) {
        c->vcpu[vcpu].active = true;
        if (!c->active[vm]++) {
            to_head(c, vm);
        }
    }
}

static void acct_stop(Credit *c, int vcpu)
{
    c->vcpu[vcpu].active = false;
    c->active[c->topology->vm[vcpu]]--;
}

/* @vcpu has run until @now; modern: it pays for that. */
static void burn_credits(Credit *c, CreditVCPU *v, int64_t now)
{
    int64_t delta = now - v->counted;

    if (delta <= 0) {
        return;
    }
    v->counted = now;
    v->unpaid += delta;
    if (modern(c)) {
        v->residual += delta % c->values[TICK] * CREDITS_PER_TICK;
        v->credit -= delta / c->values[TICK] * CREDITS_PER_TICK +
                     v->residual / c->values[TICK];
        v->residual %= c->values[TICK];
    }
}

/* A tick sees @vcpu, or should have seen it. */
static void vcpu_acct(Credit *c, int vcpu)
{
    CreditVCPU *v = &c->vcpu[vcpu];

    if (v->pri == BOOST) {
        v->pri = UNDER;
    }
    if (v->unpaid > 0 || c->values[TICK_DODGING]) {
        v->unpaid -= c->values[TICK];
        v->credit -= modern(c) ? 0 : CREDITS_PER_TICK;
    }
    acct_start(c, vcpu);
}

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* Weight of @vm among those that are active, 0 if it is not. */
static int64_t active_weight(const Credit *c, int vm)
{
    int active = c->active[vm];

    return (int64_t)c->topology->share[vm].weight *
           (modern(c) ? active : active > 0);
}

/* The most that @vm can use, with all its active VCPUs running. */
static int64_t credit_peak(const Credit *c, int vm, int64_t weight_total)
{
    int64_t peak = c->active[vm] * CREDITS_PER_ACCT;
    uint32_t cap = c->topology->share[vm].cap;

    if (c->credit_balance < 0) {
        peak += divide_up(-c->credit_balance * active_weight(c, vm),
                          weight_total);
    }
    return cap ? MIN(peak, divide_up(cap * CREDITS_PER_ACCT, 100)) : peak;
}

/* @vcpu earns @fair; its VM may use @cap for each VCPU, 0: all it gets. */
static void vcpu_earn(Credit *c, int vcpu, int64_t fair, int64_t cap)
{
    CreditVCPU *v = &c->vcpu[vcpu];

    v->credit += fair;
    if (v->credit < 0) {
        v->pri = OVER;
        if (cap && v->credit < -cap) {
            v->parked = true;
        }
        v->credit = MAX(v->credit, -CREDITS_PER_TSLICE);
    } else {
        v->pri = UNDER;
        v->parked = false;
        if (v->credit > CREDITS_PER_TSLICE) {
            acct_stop(c, vcpu);
            v->credit = modern(c) ? v->credit / 2 : 0;
        }
    }
}

/* An accounting period is over: who has earned what. */
static void acct_all(Credit *c)
{
    const VschedTopology *t = c->topology;
    int64_t weight_total = 0, weight_left, balance = 0;
    int64_t credit_total = CREDITS_PER_ACCT * __builtin_popcountll(t->online);
    bool wants_more = false;

    for (int vm = 0; vm < t->vms; vm++) {
        weight_total += active_weight(c, vm);
    }
    weight_left = weight_total;
    if (c->credit_balance < 0) {
        credit_total -= c->credit_balance;      /* towards 0 */
    }
    for (int i = 0; i < t->vms; i++) {
        int vm = c->active_vm[i], active = c->active[vm];
        int64_t weight = active_weight(c, vm), fair, peak, cap;

        if (!active) {
            continue;
        }
        weight_left -= weight;
        fair = divide_up(credit_total * weight, weight_total);
        peak = credit_peak(c, vm, weight_total);
        cap = divide_up(divide_up(t->share[vm].cap * CREDITS_PER_ACCT, 100),
                        active);
        if (fair < peak) {
            wants_more = true;
        } else {
            if (weight_left) {
                /* What it cannot use is for those that come after it. */
                credit_total += divide_up((fair - peak) * weight_total,
                                          weight_left);
            }
            if (wants_more) {
                to_head(c, vm);         /* next time, before these */
            }
            fair = peak;
        }
        fair = divide_up(fair, active);
        for (int v = 0; v < t->vcpus; v++) {
            if (t->vm[v] == vm && c->vcpu[v].active) {
                vcpu_earn(c, v, fair, cap);
                balance += c->vcpu[v].credit;
            }
        }
    }
    c->credit_balance = balance;
}

/*
 * ------------------------------------------------------------------------
 * Operations.
 */

/* Others may steal it. */
static int credit_place(void *policy, int vcpu)
{
    return VSCHED_NONE;
}

static void start_ticks(Credit *c, int64_t now)
{
    if (c->next_tick == INT64_MAX) {
        c->next_tick = (now / c->values[TICK] + 1) * c->values[TICK];
    }
}

static void credit_enqueue(void *policy, int vcpu, VschedWhy why,
                           int64_t since, int64_t now)
{
    Credit *c = policy;
    CreditVCPU *v = &c->vcpu[vcpu];

    start_ticks(c, now);
    v->processor = cpu_pick(c, vcpu);
    if (v->parked) {
        vsched_queues_append(&c->runq, parked_queue(c), vcpu, since);
        return;
    }
    if (why == VSCHED_WOKEN && v->pri == UNDER) {
        v->pri = BOOST;
    }
    runq_insert(c, vcpu, why == VSCHED_YIELDED, since);
    if (why == VSCHED_WOKEN || why == VSCHED_EVICTED) {
        runq_tickle(c, vcpu, now);
    }
}

static void credit_dequeue(void *policy, int vcpu, int64_t now)
{
    Credit *c = policy;

    vsched_queues_remove(&c->runq, vcpu);
}

/* The first with a priority above @pri who waits for @peer and may run here. */
static int runq_steal(const Credit *c, int peer, int pcpu, int pri)
{
    bool leave = c->pcpu[peer].current == VSCHED_NONE;

    for (int i = BOOST; i < pri; i++) {
        for (int v = head(c, peer, i); v != VSCHED_NONE; v = c->runq.next[v]) {
            if (leave) {
                leave = false;          /* @peer is about to take it */
            } else if (c->topology->allowed[v] >> pcpu & 1) {
                return v;
            }
        }
    }
    return VSCHED_NONE;
}

/* Somebody more urgent than @pri elsewhere. */
static int load_balance(const Credit *c, int pcpu, int pri)
{
    for (int i = 1; i < c->topology->pcpus; i++) {
        int v = runq_steal(c, (pcpu + i) % c->topology->pcpus, pcpu, pri);

        if (v != VSCHED_NONE) {
            return v;
        }
    }
    return VSCHED_NONE;
}

/* Who runs next on @pcpu. */
static int schedule(const Credit *c, int pcpu)
{
    int pri = highest(c, pcpu);
    int stolen = pri < OVER ? VSCHED_NONE : load_balance(c, pcpu, pri);

    if (stolen != VSCHED_NONE) {
        return stolen;
    }
    return pri == PRI_IDLE ? VSCHED_NONE : head(c, pcpu, pri);
}

static VschedPick credit_pick(void *policy, int pcpu, int64_t now)
{
    Credit *c = policy;
    VschedPick pick = {
        .vcpu = schedule(c, pcpu),
        .timeslice = c->values[SLICE],
    };

    if (pick.vcpu != VSCHED_NONE) {
        vsched_queues_remove(&c->runq, pick.vcpu);
    }
    return pick;
}

static bool credit_waiting(void *policy, int pcpu, int64_t now)
{
    return schedule(policy, pcpu) != VSCHED_NONE;
}

static VschedPick credit_take_over(void *policy, int pcpu, int vcpu,
                                   int64_t used, int64_t now)
{
    Credit *c = policy;

    start_ticks(c, now);
    return (VschedPick) { .vcpu = vcpu, .timeslice = c->values[SLICE] };
}

static void credit_start(void *policy, int pcpu, int vcpu, int64_t now)
{
    Credit *c = policy;
    CreditPCPU *p = &c->pcpu[pcpu];
    CreditVCPU *v = &c->vcpu[vcpu];

    p->current = vcpu;
    if (p->renewed != vcpu) {
        p->since = now;
    }
    p->renewed = VSCHED_NONE;
    v->processor = pcpu;
    v->counted = v->loop = v->pause = now;
}

static void credit_stop(void *policy, int pcpu, int vcpu, int64_t ran,
                        VschedWhy why, int64_t now)
{
    Credit *c = policy;
    CreditPCPU *p = &c->pcpu[pcpu];
    CreditVCPU *v = &c->vcpu[vcpu];

    burn_credits(c, v, now);
    if (!c->values[TICK_DODGING] && v->unpaid >= c->values[TICK]) {
        vcpu_acct(c, vcpu);
    }
    p->current = VSCHED_NONE;
    p->renewed = why == VSCHED_EXPIRED ? vcpu : VSCHED_NONE;
    p->schedule_at = INT64_MAX;
}

static int64_t credit_next_tick(void *policy)
{
    Credit *c = policy;
    int64_t time = c->next_tick;

    for (int p = 0; p < c->topology->pcpus; p++) {
        time = MIN(time, c->pcpu[p].schedule_at);
    }
    return time;
}

/* Those who run pay; every third time, those who are active earn. */
static void ticker(Credit *c, int64_t now)
{
    for (int p = 0; p < c->topology->pcpus; p++) {
        int vcpu = c->pcpu[p].current;

        if (vcpu != VSCHED_NONE) {
            burn_credits(c, &c->vcpu[vcpu], now);
            vcpu_acct(c, vcpu);
        }
    }
    if (++c->ticks < TICKS_PER_ACCT) {
        return;
    }
    c->ticks = 0;
    acct_all(c);
    for (int p = 0; p < c->topology->pcpus; p++) {
        int vcpu = c->pcpu[p].current;

        runq_sort(c, p);
        if (vcpu != VSCHED_NONE && c->vcpu[vcpu].parked) {
            c->services->preempt(c->services->engine, p);
        }
    }
    unpark(c, now);
}

static void credit_tick(void *policy, int64_t now)
{
    Credit *c = policy;

    for (int p = 0; p < c->topology->pcpus; p++) {
        CreditPCPU *pcpu = &c->pcpu[p];

        if (pcpu->schedule_at <= now) {
            pcpu->schedule_at = INT64_MAX;
            if (highest(c, p) < c->vcpu[pcpu->current].pri) {
                c->services->preempt(c->services->engine, p);
            }
        }
    }
    if (c->next_tick <= now) {
        ticker(c, now);
        c->next_tick = (now / c->values[TICK] + 1) * c->values[TICK];
    }
}

static void credit_changed(void *policy, int64_t now)
{
    Credit *c = policy;

    for (int v = 0; v < c->topology->vcpus; v++) {
        int queue = c->runq.in[v], p = cpu_pick(c, v);

        if (queue == VSCHED_NONE || p == c->vcpu[v].processor) {
            continue;
        }
        c->vcpu[v].processor = p;
        if (queue != parked_queue(c)) {
            vsched_queues_move(&c->runq, v, p * PRIORITIES +
                                            queue % PRIORITIES);
            runq_tickle(c, v, now);
        }
    }
}

/* As PAUSE-loop exiting sees it: privileged code, PAUSE after PAUSE. */
static bool credit_hint(void *policy, const VschedHint *hint)
{
    Credit *c = policy;
    CreditVCPU *v = &c->vcpu[hint->vcpu];

    if (!modern(c) || !c->values[PAUSE_WINDOW] ||
        c->services->user_mode(c->services->engine, hint->vcpu)) {
        return false;
    }
    if (hint->now - v->pause > c->values[PAUSE_GAP]) {
        v->loop = hint->now;
    }
    v->pause = hint->now;
    if (hint->now - v->loop < c->values[PAUSE_WINDOW]) {
        return false;
    }
    v->loop = hint->now;
    return hint->now - c->pcpu[hint->pcpu].since >= c->values[RATELIMIT] &&
           schedule(c, hint->pcpu) != VSCHED_NONE;
}

/*
 * ------------------------------------------------------------------------
 * Save and load.
 */

#define WORDS 3                 /* then of each VM, PCPU and VCPU: */
#define PCPU_WORDS 2
#define VCPU_WORDS 10

static void credit_save(void *policy, GArray *words)
{
    Credit *c = policy;
    const VschedTopology *t = c->topology;
    const int64_t system[WORDS] = { c->credit_balance, c->next_tick, c->ticks };

    vsched_queues_save(&c->runq, words);
    g_array_append_vals(words, system, WORDS);
    for (int i = 0; i < t->vms; i++) {
        const int64_t vm = c->active_vm[i];

        g_array_append_val(words, vm);
    }
    for (int p = 0; p < t->pcpus; p++) {
        const int64_t pcpu[PCPU_WORDS] = {
            c->pcpu[p].since, c->pcpu[p].schedule_at
        };

        g_array_append_vals(words, pcpu, PCPU_WORDS);
    }
    for (int i = 0; i < t->vcpus; i++) {
        const CreditVCPU *v = &c->vcpu[i];
        const int64_t vcpu[VCPU_WORDS] = {
            v->credit, v->pri, v->processor, v->active, v->parked, v->counted,
            v->unpaid, v->residual, v->loop, v->pause
        };

        g_array_append_vals(words, vcpu, VCPU_WORDS);
    }
}

/* @words are each of the numbers from 0 to @n - 1. */
static bool permutation(const int64_t *words, int n)
{
    g_autofree bool *seen = g_new0(bool, n);

    for (int i = 0; i < n; i++) {
        if (words[i] < 0 || words[i] >= n || seen[words[i]]) {
            return false;
        }
        seen[words[i]] = true;
    }
    return true;
}

static bool within(int64_t word, int64_t low, int64_t high)
{
    return word >= low && word <= high;
}

/* What credit_save() can have written of @vcpu. */
static bool possible(const Credit *c, int vcpu, const int64_t *w)
{
    int queue = c->runq.in[vcpu];

    if (!within(w[0], -CREDITS_MAX, CREDITS_MAX) ||
        !within(w[1], BOOST, OVER) ||
        !within(w[2], 0, c->topology->pcpus - 1) ||
        !within(w[3], 0, 1) || !within(w[4], 0, 1) ||
        !within(w[5], 0, CYCLES_MAX) ||
        !within(w[6], -CYCLES_MAX, CYCLES_MAX) ||
        !within(w[7], 0, CREDITS_MAX) ||
        !within(w[8], 0, CYCLES_MAX) || !within(w[9], w[8], CYCLES_MAX)) {
        return false;
    }
    if (queue == VSCHED_NONE) {
        return true;
    }
    if (queue == parked_queue(c)) {
        return w[4];
    }
    return !w[4] && queue / PRIORITIES == w[2] && queue % PRIORITIES >= w[1];
}

static bool credit_load(void *policy, const int64_t *words, int n)
{
    Credit *c = policy;
    const VschedTopology *t = c->topology;
    int used = vsched_queues_load(&c->runq, words, n);

    if (used < 0 || n != used + WORDS + t->vms + t->pcpus * PCPU_WORDS +
                         t->vcpus * VCPU_WORDS) {
        return false;
    }
    words += used;
    c->credit_balance = words[0];
    c->next_tick = words[1];
    c->ticks = words[2];
    words += WORDS;
    if (!within(c->credit_balance, -BALANCE_MAX, BALANCE_MAX) ||
        c->next_tick < 0 || !within(c->ticks, 0, TICKS_PER_ACCT - 1) ||
        !permutation(words, t->vms)) {
        return false;
    }
    for (int i = 0; i < t->vms; i++) {
        c->active_vm[i] = *words++;
    }
    for (int p = 0; p < t->pcpus; p++, words += PCPU_WORDS) {
        if (!within(words[0], 0, CYCLES_MAX) || words[1] < 0 ||
            (words[1] != INT64_MAX && c->pcpu[p].current == VSCHED_NONE)) {
            return false;
        }
        c->pcpu[p].since = words[0];
        c->pcpu[p].schedule_at = words[1];
    }
    for (int i = 0; i < t->vcpus; i++, words += VCPU_WORDS) {
        if (!possible(c, i, words)) {
            return false;
        }
        c->vcpu[i] = (CreditVCPU) {
            .credit = words[0], .pri = words[1], .processor = words[2],
            .active = words[3], .parked = words[4], .counted = words[5],
            .unpaid = words[6], .residual = words[7], .loop = words[8],
            .pause = words[9],
        };
        c->active[t->vm[i]] += c->vcpu[i].active;
    }
    credit_changed(c, 0);       /* masks may have been given anew */
    return true;
}

/* There is no bound: see above. */
static int64_t credit_longest_wait(void *policy, int64_t switch_cost,
                                   int64_t window)
{
    return INT64_MAX;
}

const VschedPolicyOps vsched_policy_credit = {
    .name = "credit",
    .description = "Xen's: VMs earn credits by weight and pay for running",
    .parameters = parameters,
    .hints = VSCHED_LISTEN(VSCHED_HINT_PAUSE),
    .create = credit_create,
    .destroy = credit_destroy,
    .set = credit_set,
    .place = credit_place,
    .enqueue = credit_enqueue,
    .dequeue = credit_dequeue,
    .pick = credit_pick,
    .waiting = credit_waiting,
    .take_over = credit_take_over,
    .start = credit_start,
    .stop = credit_stop,
    .next_tick = credit_next_tick,
    .tick = credit_tick,
    .changed = credit_changed,
    .hint = credit_hint,
    .save = credit_save,
    .load = credit_load,
    .longest_wait = credit_longest_wait,
};
