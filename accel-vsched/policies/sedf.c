/*
 * Policy "sedf": Xen's simple earliest deadline first scheduler.
 *
 * That of Xen 3.2 (xen/common/sched_sedf.c, by Stephan Diestelhorst; Southern
 * 2008; Cherkasova, Gupta and Vahdat, "Comparison of the three CPU schedulers
 * in Xen", 2007).  A VCPU gets a slice of each period, in real time, and may
 * get extra time.  It belongs to one PCPU, which has
 *
 *   the runnable queue   VCPUs whose period has begun, by absolute deadline
 *   the wait queue       those whose next period has not, by its beginning
 *   L0, the penalty      of both: those that lost time because they blocked for
 *   queue                less than a period, most time lost first
 *   L1, the utilisation  of both: those that take extra time (extratime aware),
 *   queue                by score
 *
 * 1. The VCPU with the earliest deadline runs until its slice is used up or the
 *    period of one in the wait queue begins.
 * 2. If nobody is runnable, extra time is given in pieces of @quantum that end
 *    before the next period begins, to the first of L0, or else of L1; if that
 *    does not fit either, the PCPU is idle.
 * 3. A slice is used up: the deadline moves by a period, into the wait queue.
 * 4. A VCPU that is woken before its deadline has lost what was left of its
 *    slice: it gets it as extra time, in L0, and its next slice in the next
 *    period.  If the deadline has passed, a new period begins now.
 * 5. Who misses a deadline gets a new slice, and the next deadline.
 * 6. A score of L0 is the period over the time lost.  Whoever had a piece of L1
 *    gets the inverse of its weight, or utilisation, as its score, and what it
 *    had before is taken off all others.
 * 7. slice = weight * (period - spare - slices of others) / sum of weights, per
 *    PCPU, for VCPUs that are driven by weight.  Others are driven by time.
 *
 * Choices.  Xen has period, slice, weight, and whether a VCPU is extratime
 * aware, for each VCPU.  Here they come from where the engine has them:
 *
 *   VM with a cap        time: cap percent of a period, divided among its VCPUs
 *                        (@slice if that is less); not extratime aware
 *   VM without, @slice   time: @slice of each period
 *   VM without, slice=0  weight: that of the VM is that of each VCPU; with
 *                        weighted=extratime, they have no slice, and it is that
 *                        of their extra time (Xen's default)
 *   VM n, halve=h        period and slices are divided by 2^n, or 2^h if n > h
 *
 * VCPU i belongs to number i mod n of the n PCPUs that it may run on; there is
 * no load balancing.  A slice by weight has at least one cycle, so that none
 * starves where caps take all; slices are not reduced if they do not fit.
 * Among VCPUs with the same deadline, one that missed a deadline or has begun
 * with its slice goes first.
 *
 * Differences from the source: a switch is not part of a slice; if the last
 * piece of code of a slice ends early or late, the next slice is longer or
 * shorter by that; one that runs by its deadline is not stopped for one with a
 * later deadline; after a long block nothing is left to be made up for.  Xen
 * stores a latency and does not use it: left out.
 *
 * No deadline is missed that can be met: with a switch cost of C and windows of
 * W cycles, the VCPUs of a PCPU fit if
 *
 *   sum of (slice + 2 * (C + W)) / period  +  (C + W) / shortest period  <= 1
 *
 * (each slice has two switches, and a period begins late by a window), and then
 * one that could run all the time has its slice in each period.
 *
 * Longest wait: 2 * longest period + C + W if all VCPUs have slices, and those
 * of each PCPU fit: one that blocks for a moment when its period has just begun
 * waits for the next one, and runs before the end of that.  Otherwise there is
 * no bound.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "queues.h"

/* No time of a saved state is ever so far from 0. */
#define CYCLES_MAX (INT64_C(1) << 60)

/* A score is an inverse in so many bits: of time, and of weight. */
#define SCORE_TIME_BITS 10
#define SCORE_WEIGHT_BITS 32

enum { SLICES, EXTRATIME_ONLY };

static const char *const weighted_choices[] = { "slice", "extratime", NULL };

/* Positions in @values */
enum { PERIOD, SLICE, EXTRATIME, QUANTUM, SPARE, WEIGHTED, HALVE, VALUES };

static const VschedParameter parameters[] = {
    {
        .name = "period",
        .description = "period of a VCPU, and its deadline",
        .unit = VSCHED_TIME,
        .minimum = 10 * 1000,                   /* 10 us */
        .maximum = 10ull * 1000 * 1000 * 1000,  /* 10 s */
        .value = 100 * 1000 * 1000,             /* 100 ms */
    },
    {
        .name = "slice",
        .description = "what each VCPU gets of a period; 0: by weight",
        .unit = VSCHED_TIME,
        .minimum = 0,
        .maximum = 10ull * 1000 * 1000 * 1000,  /* 10 s */
        .value = 0,
    },
    {
        .name = "extratime",
        .description = "VCPUs of VMs without a cap get what is left, too",
        .unit = VSCHED_SWITCH,
        .minimum = 0,
        .maximum = 1,
        .value = 1,
    },
    {
        .name = "quantum",
        .description = "piece of extra time",
        .unit = VSCHED_TIME,
        .minimum = 1000,                        /* 1 us */
        .maximum = 1000 * 1000 * 1000,          /* 1 s */
        .value = 500 * 1000,                    /* 500 us */
    },
    {
        .name = "spare",
        .description = "percent of a period that is not given away by weight",
        .unit = VSCHED_NUMBER,
        .minimum = 0,
        .maximum = 99,
        .value = 5,                             /* 5 ms of 100 ms */
    },
    {
        .name = "weighted",
        .description = "with slice=0, what weights are of",
        .unit = VSCHED_CHOICE,
        .minimum = 0,
        .maximum = 1,
        .value = SLICES,
        .choices = weighted_choices,
    },
    {
        .name = "halve",
        .description = "VM n has half the period of VM n - 1, down to this n",
        .unit = VSCHED_NUMBER,
        .minimum = 0,
        .maximum = 10,
        .value = 0,
    },
    { }
};

/* Queues of a PCPU in edf */
enum { RUNQ, WAITQ, EDF_QUEUES };

/* Extra queues, and as what a VCPU runs */
enum { EXTRA_PEN, EXTRA_UTIL, EXTRA_QUEUES, EDF = EXTRA_QUEUES };

typedef struct SedfVCPU {
    int home;                   /* the PCPU that it belongs to */
    int64_t period;             /* cycles */
    int64_t slice;              /* cycles; 0: extra time only */
    bool extra_aware;
    /* What a piece of extra time costs in L1 */
    int64_t charge;
    int64_t deadl_abs;          /* cycle; 0: it has never been ready */
    int64_t cputime;            /* cycles that it has had of the slice */
    int64_t short_block_lost;   /* cycles */
    int64_t score[EXTRA_QUEUES];
} SedfVCPU;

typedef struct SedfPCPU {
    int current;                /* VCPU, or VSCHED_NONE */
    int run_type;               /* EXTRA_PEN, EXTRA_UTIL, EDF */
    bool whole_slice;           /* its timeslice ends when its slice is over */
    int64_t slice;              /* cycles: its slice when it was picked */
    int64_t timeslice;          /* cycles: what it was given */
    int64_t slice_expires;      /* cycle: when that is over */
} SedfPCPU;

typedef struct Sedf {
    const VschedServices *services;
    const VschedTopology *topology;
    int64_t values[VALUES];     /* times in cycles */
    SedfVCPU *vcpu;
    SedfPCPU *pcpu;
    VschedQueues edf;           /* all that wait; RUNQ and WAITQ of each PCPU */
    VschedQueues extra[EXTRA_QUEUES];   /* of each PCPU: some of these, too */
} Sedf;

static int64_t period_begin(const SedfVCPU *v)
{
    return v->deadl_abs - v->period;
}

/*
 * ------------------------------------------------------------------------
 * Slices.
 */

/* Number @n of the bits that are set in @mask, the lowest being number 0. */
static int nth_bit(uint64_t mask, int n)
{
    while (n--) {
        mask &= mask - 1;
    }
    return __builtin_ctzll(mask);
}

/* How often the period of @vm is halved. */
static int halved(const Sedf *s, int vm)
{
    return MIN(vm, s->values[HALVE]);
}

/* What a VCPU of @vm has of @period by time; 0: it is driven by weight. */
static int64_t slice_by_time(const Sedf *s, int vm, int vcpus)
{
    int64_t period = s->values[PERIOD], slice = s->values[SLICE];
    int64_t cap = s->topology->share[vm].cap;

    if (cap) {
        cap = MAX(1, MIN(period, period * cap / 100 / vcpus));
        return slice ? MIN(slice, cap) : cap;
    }
    return slice;
}

/* Slices of @period first; then what that is of the period of each. */
static void adjust_weights(Sedf *s)
{
    const VschedTopology *t = s->topology;
    g_autofree int *vcpus = g_new0(int, t->vms);
    g_autofree int64_t *sumw = g_new0(int64_t, t->pcpus);
    g_autofree int64_t *sumt = g_new0(int64_t, t->pcpus);
    int64_t period = s->values[PERIOD];

    for (int i = 0; i < t->vcpus; i++) {
        vcpus[t->vm[i]]++;
    }
    for (int i = 0; i < t->vcpus; i++) {
        SedfVCPU *v = &s->vcpu[i];
        const VschedShare *share = &t->share[t->vm[i]];

        v->home = nth_bit(t->allowed[i],
                          i % __builtin_popcountll(t->allowed[i]));
        v->slice = slice_by_time(s, t->vm[i], vcpus[t->vm[i]]);
        v->extra_aware = s->values[EXTRATIME] && !share->cap;
        if (v->slice) {
            sumt[v->home] += v->slice;
            v->charge = (period << SCORE_TIME_BITS) / v->slice;
        } else {
            sumw[v->home] += share->weight;
            v->charge = (INT64_C(1) << SCORE_WEIGHT_BITS) / share->weight;
        }
    }
    for (int i = 0; i < t->vcpus; i++) {
        SedfVCPU *v = &s->vcpu[i];
        int halves = halved(s, t->vm[i]);
        int64_t left = period - period * s->values[SPARE] / 100 -
                       sumt[v->home];

        if (!v->slice && s->values[WEIGHTED] == SLICES) {
            v->slice = MAX(1, t->share[t->vm[i]].weight * left /
                              sumw[v->home]);
        }
        v->slice = v->slice ? MAX(1, v->slice >> halves) : 0;
        v->period = MAX(1, period >> halves);
    }
}

/*
 * ------------------------------------------------------------------------
 * Queues.
 */

/* Its slice has become shorter than what it has had of it. */
static bool overdrawn(SedfVCPU *v)
{
    if (!v->slice || v->cputime < v->slice) {
        return false;
    }
    v->cputime = 0;
    v->deadl_abs += v->period;
    return true;
}

/* As if time had passed without @v until @now. */
static void settle(SedfVCPU *v, int64_t now)
{
    int64_t begin;

    overdrawn(v);
    begin = period_begin(v);
    if (v->slice && v->deadl_abs <= now) {
        v->deadl_abs += ((now - v->deadl_abs) / v->period + 1) * v->period;
        v->cputime = 0;
    } else if (!v->slice && begin <= now) {
        v->deadl_abs += ((now - begin) / v->period + 1) * v->period;
    }
}

/* Behind those with the same deadline, or beginning of the period. */
static void edf_insert(Sedf *s, int vcpu, int kind)
{
    SedfVCPU *v = &s->vcpu[vcpu];

    vsched_queues_insert(&s->edf, v->home * EDF_QUEUES + kind, vcpu,
                         kind == RUNQ ? v->deadl_abs : period_begin(v));
}

/* In front of those with the same deadline. */
static void edf_insert_first(Sedf *s, int vcpu)
{
    SedfVCPU *v = &s->vcpu[vcpu];

    vsched_queues_insert(&s->edf, v->home * EDF_QUEUES + RUNQ, vcpu,
                         v->deadl_abs - 1);
    s->edf.since[vcpu] = v->deadl_abs;
}

static bool wants_extra(const Sedf *s, int vcpu, int i)
{
    const SedfVCPU *v = &s->vcpu[vcpu];

    return i == EXTRA_PEN ? v->short_block_lost > 0 : v->extra_aware;
}

static void extra_insert(Sedf *s, int vcpu, int i)
{
    if (s->extra[i].in[vcpu] == VSCHED_NONE && wants_extra(s, vcpu, i)) {
        vsched_queues_insert(&s->extra[i], s->vcpu[vcpu].home, vcpu,
                             s->vcpu[vcpu].score[i]);
    }
}

static void remove_all(Sedf *s, int vcpu)
{
    vsched_queues_remove(&s->edf, vcpu);
    for (int i = 0; i < EXTRA_QUEUES; i++) {
        if (s->extra[i].in[vcpu] != VSCHED_NONE) {
            vsched_queues_remove(&s->extra[i], vcpu);
        }
    }
}

/* All of @q, in the order in which they stand, leave it; how many there are. */
static int take_all(VschedQueues *q, int *order, int *queue)
{
    int n = 0;

    for (int i = 0; i < q->queues; i++) {
        while (q->head[i] != VSCHED_NONE) {
            order[n] = q->head[i];
            queue[n++] = i;
            vsched_queues_remove(q, q->head[i]);
        }
    }
    return n;
}

/* Homes, slices, weights or what is saved have changed: all queues anew. */
static void requeue(Sedf *s)
{
    g_autofree int *order = g_new(int, s->topology->vcpus);
    g_autofree int *queue = g_new(int, s->topology->vcpus);
    int n = take_all(&s->edf, order, queue);

    for (int i = 0; i < n; i++) {
        SedfVCPU *v = &s->vcpu[order[i]];
        bool waits = overdrawn(v) || !v->slice;

        edf_insert(s, order[i], waits ? WAITQ : queue[i] % EDF_QUEUES);
    }
    for (int i = 0; i < EXTRA_QUEUES; i++) {
        n = take_all(&s->extra[i], order, queue);
        for (int j = 0; j < n; j++) {
            extra_insert(s, order[j], i);
        }
        for (int v = 0; v < s->topology->vcpus; v++) {
            if (s->edf.in[v] != VSCHED_NONE) {
                extra_insert(s, v, i);
            }
        }
    }
}

/* Whose period has begun, who has missed a deadline. */
static void update_queues(Sedf *s, int pcpu, int64_t now)
{
    for (int kind = WAITQ; kind >= RUNQ; kind--) {
        int next;

        for (int i = s->edf.head[pcpu * EDF_QUEUES + kind]; i != VSCHED_NONE;
             i = next) {
            SedfVCPU *v = &s->vcpu[i];
            int64_t before = v->deadl_abs;

            next = s->edf.next[i];
            settle(v, now);
            if (v->deadl_abs != before ||
                (kind == WAITQ && period_begin(v) <= now)) {
                vsched_queues_remove(&s->edf, i);
                if (kind == RUNQ) {
                    edf_insert_first(s, i);     /* it missed a deadline */
                } else {
                    edf_insert(s, i, period_begin(v) <= now ? RUNQ : WAITQ);
                }
            }
        }
    }
}

/*
 * ------------------------------------------------------------------------
 * Creation.
 */

static bool possible(const int64_t *values, char **why)
{
    bool extratime_only = !values[SLICE] &&
                          values[WEIGHTED] == EXTRATIME_ONLY;

    if (values[SLICE] > values[PERIOD]) {
        *why = g_strdup("a slice cannot be longer than the period: allowed are "
                        "0 (by weight) up to the whole period");
        return false;
    }
    if (extratime_only && !values[EXTRATIME]) {
        *why = g_strdup("nobody would run: with slice=0,weighted=extratime, "
                        "allowed is extratime=on");
        return false;
    }
    if (extratime_only && values[QUANTUM] > values[PERIOD] >> values[HALVE]) {
        *why = g_strdup("nobody would run: with slice=0,weighted=extratime, "
                        "quantum has to fit into the shortest period");
        return false;
    }
    return true;
}

static void *sedf_create(const VschedServices *services, const int64_t *values,
                         char **why)
{
    const VschedTopology *t = services->topology;
    Sedf *s;

    if (!possible(values, why)) {
        return NULL;
    }
    s = g_new0(Sedf, 1);
    s->services = services;
    s->topology = t;
    memcpy(s->values, values, sizeof(s->values));
    s->vcpu = g_new0(SedfVCPU, t->vcpus);
    s->pcpu = g_new0(SedfPCPU, t->pcpus);
    for (int p = 0; p < t->pcpus; p++) {
        s->pcpu[p].current = VSCHED_NONE;
    }
    vsched_queues_init(&s->edf, t->vcpus, t->pcpus * EDF_QUEUES);
    for (int i = 0; i < EXTRA_QUEUES; i++) {
        vsched_queues_init(&s->extra[i], t->vcpus, t->pcpus);
    }
    adjust_weights(s);
    return s;
}

static void sedf_destroy(void *policy)
{
    Sedf *s = policy;

    vsched_queues_clear(&s->edf);
    for (int i = 0; i < EXTRA_QUEUES; i++) {
        vsched_queues_clear(&s->extra[i]);
    }
    g_free(s->vcpu);
    g_free(s->pcpu);
    g_free(s);
}

/* Slices are others now, and queues; who runs goes on. */
static void sedf_changed(void *policy, int64_t now)
{
    Sedf *s = policy;

    adjust_weights(s);
    requeue(s);
}

/* Periods begin when they would have begun. */
static bool sedf_set(void *policy, const int64_t *values, char **why)
{
    Sedf *s = policy;
    g_autofree int64_t *begin = g_new(int64_t, s->topology->vcpus);

    if (!possible(values, why)) {
        return false;
    }
    for (int i = 0; i < s->topology->vcpus; i++) {
        begin[i] = period_begin(&s->vcpu[i]);
    }
    memcpy(s->values, values, sizeof(s->values));
    adjust_weights(s);
    for (int i = 0; i < s->topology->vcpus; i++) {
        if (s->vcpu[i].deadl_abs) {
            s->vcpu[i].deadl_abs = begin[i] + s->vcpu[i].period;
        }
    }
    sedf_changed(s, 0);
    return true;
}

/*
 * ------------------------------------------------------------------------
 * Waking and blocking.
 */

static int64_t penalty_score(const SedfVCPU *v)
{
    return (v->period << SCORE_TIME_BITS) / v->short_block_lost;
}

/* No more time in this period: what is lost is made up for in L0. */
static void unblock_short(SedfVCPU *v)
{
    v->deadl_abs += v->period;
    v->short_block_lost = MAX(0, v->slice - v->cputime);
    v->cputime = 0;
    if (v->short_block_lost) {
        v->score[EXTRA_PEN] = penalty_score(v);
    }
}

/* A new period begins. */
static void unblock_long(SedfVCPU *v, int64_t now)
{
    v->deadl_abs = now + v->period;
    v->cputime = 0;
    v->short_block_lost = 0;
}

static void unblock(SedfVCPU *v, int64_t now)
{
    if (!v->deadl_abs || now >= v->deadl_abs) {
        unblock_long(v, now);
    } else if (now >= period_begin(v)) {
        unblock_short(v);
    }
    /* Else it has had its slice, and blocked in extra time. */
}

/* Whether @vcpu, which is ready now, changes what its PCPU should do. */
static bool should_switch(const Sedf *s, int vcpu)
{
    const SedfVCPU *v = &s->vcpu[vcpu], *current;
    const SedfPCPU *p = &s->pcpu[v->home];

    if (p->current == VSCHED_NONE) {
        return false;           /* it looks by itself */
    }
    current = &s->vcpu[p->current];
    if (p->run_type == EDF) {
        return v->slice && period_begin(v) < p->slice_expires &&
               v->deadl_abs < current->deadl_abs;
    }
    if (period_begin(v) < p->slice_expires) {
        return true;
    }
    return v->short_block_lost &&
           (p->run_type == EXTRA_UTIL ||
            v->score[EXTRA_PEN] < current->score[EXTRA_PEN]);
}

static void sedf_enqueue(void *policy, int vcpu, VschedWhy why, int64_t since,
                         int64_t now)
{
    Sedf *s = policy;
    SedfVCPU *v = &s->vcpu[vcpu];
    bool continues = why == VSCHED_PREEMPTED || why == VSCHED_EXPIRED;

    if (why == VSCHED_WOKEN || !v->deadl_abs) {
        unblock(v, now);
    }
    settle(v, now);
    if (period_begin(v) > now) {
        edf_insert(s, vcpu, WAITQ);
    } else if (continues && v->cputime > 0) {
        edf_insert_first(s, vcpu);
    } else {
        edf_insert(s, vcpu, RUNQ);
    }
    extra_insert(s, vcpu, EXTRA_PEN);
    extra_insert(s, vcpu, EXTRA_UTIL);
    if (why == VSCHED_WOKEN && should_switch(s, vcpu)) {
        s->services->preempt(s->services->engine, v->home);
    }
}

static void sedf_dequeue(void *policy, int vcpu, int64_t now)
{
    Sedf *s = policy;

    remove_all(s, vcpu);
}

/* One that waits for its period can have extra time, but not at any time. */
static int sedf_place(void *policy, int vcpu)
{
    Sedf *s = policy;
    int queue = s->edf.in[vcpu];

    return queue != VSCHED_NONE && queue % EDF_QUEUES == WAITQ ?
           VSCHED_NONE : s->vcpu[vcpu].home;
}

/*
 * ------------------------------------------------------------------------
 * Running.
 */

/* Who has the next piece of extra time, or VSCHED_NONE; and of which queue. */
static int do_extra_schedule(const Sedf *s, int pcpu, int64_t end_xt,
                             int64_t now, int *i)
{
    if (end_xt - now < s->values[QUANTUM]) {
        return VSCHED_NONE;
    }
    *i = s->extra[EXTRA_PEN].head[pcpu] != VSCHED_NONE ? EXTRA_PEN
                                                       : EXTRA_UTIL;
    return s->extra[*i].head[pcpu];
}

static VschedPick sedf_pick(void *policy, int pcpu, int64_t now)
{
    Sedf *s = policy;
    SedfPCPU *p = &s->pcpu[pcpu];
    VschedPick pick = { .exact = true };
    int64_t next = INT64_MAX;
    int waits;

    update_queues(s, pcpu, now);
    waits = s->edf.head[pcpu * EDF_QUEUES + WAITQ];
    if (waits != VSCHED_NONE) {
        next = period_begin(&s->vcpu[waits]);
    }
    pick.vcpu = s->edf.head[pcpu * EDF_QUEUES + RUNQ];
    if (pick.vcpu != VSCHED_NONE) {
        int64_t left = s->vcpu[pick.vcpu].slice - s->vcpu[pick.vcpu].cputime;

        p->run_type = EDF;
        p->whole_slice = left <= next - now;
        pick.timeslice = MIN(left, next - now);
    } else {
        pick.vcpu = do_extra_schedule(s, pcpu, next, now, &p->run_type);
        p->whole_slice = false;
        pick.timeslice = s->values[QUANTUM];
    }
    if (pick.vcpu != VSCHED_NONE) {
        remove_all(s, pick.vcpu);
        p->slice = s->vcpu[pick.vcpu].slice;
        p->timeslice = pick.timeslice;
    }
    return pick;
}

static bool sedf_waiting(void *policy, int pcpu, int64_t now)
{
    Sedf *s = policy;
    int64_t next = INT64_MAX;
    int i;

    for (int kind = RUNQ; kind < EDF_QUEUES; kind++) {
        for (i = s->edf.head[pcpu * EDF_QUEUES + kind]; i != VSCHED_NONE;
             i = s->edf.next[i]) {
            SedfVCPU v = s->vcpu[i];

            settle(&v, now);
            if (period_begin(&v) <= now) {
                return true;
            }
            next = MIN(next, period_begin(&v));
        }
    }
    return do_extra_schedule(s, pcpu, next, now, &i) != VSCHED_NONE;
}

static VschedPick sedf_take_over(void *policy, int pcpu, int vcpu,
                                 int64_t used, int64_t now)
{
    Sedf *s = policy;
    SedfVCPU *v = &s->vcpu[vcpu];
    SedfPCPU *p = &s->pcpu[pcpu];
    VschedPick pick = { .vcpu = vcpu, .exact = true };

    unblock_long(v, now);
    v->cputime = MIN(used, v->slice);
    pick.timeslice = v->slice ?: s->values[QUANTUM];
    p->run_type = v->slice ? EDF : EXTRA_UTIL;
    p->whole_slice = true;
    p->slice = v->slice;
    p->timeslice = MAX(0, pick.timeslice - used);
    if (v->home != pcpu) {
        pick.timeslice = 0;
    }
    return pick;
}

static void sedf_start(void *policy, int pcpu, int vcpu, int64_t now)
{
    Sedf *s = policy;

    s->pcpu[pcpu].current = vcpu;
    s->pcpu[pcpu].slice_expires = now + s->pcpu[pcpu].timeslice;
}

/*
 * What @v has had was a part of its slice, or all of it.  It may have had more:
 * if that is as much as a slice, it has had that of the next period, too.  But
 * it does not pay for what it was given before its slice became shorter.
 */
static void desched_edf(SedfPCPU *p, SedfVCPU *v, int64_t ran, VschedWhy why)
{
    int64_t slices = 0;

    v->cputime += ran;
    if (v->slice != p->slice) {
        overdrawn(v);
    } else {
        slices = MAX(v->cputime / v->slice,
                     p->whole_slice && why == VSCHED_EXPIRED);
    }
    v->cputime -= slices * v->slice;
    v->deadl_abs += slices * v->period;
}

/* It was a piece of extra time. */
static void desched_extra(Sedf *s, int pcpu, SedfVCPU *v, int64_t ran,
                          VschedWhy why)
{
    VschedQueues *util = &s->extra[EXTRA_UTIL];
    int64_t old = v->score[EXTRA_UTIL];

    if (s->pcpu[pcpu].run_type == EXTRA_PEN) {
        v->short_block_lost = MAX(0, v->short_block_lost - ran);
        if (v->short_block_lost) {
            v->score[EXTRA_PEN] = penalty_score(v);
        }
        return;
    }
    v->score[EXTRA_UTIL] = v->charge;
    for (int i = util->head[pcpu]; i != VSCHED_NONE && why != VSCHED_STOPPED;
         i = util->next[i]) {
        util->since[i] = s->vcpu[i].score[EXTRA_UTIL] -= old;
    }
}

static void sedf_stop(void *policy, int pcpu, int vcpu, int64_t ran,
                      VschedWhy why, int64_t now)
{
    Sedf *s = policy;
    SedfPCPU *p = &s->pcpu[pcpu];

    if (p->run_type == EDF) {
        desched_edf(p, &s->vcpu[vcpu], ran, why);
    } else {
        desched_extra(s, pcpu, &s->vcpu[vcpu], ran, why);
    }
    p->current = VSCHED_NONE;
}

/* When the first period begins of a VCPU that waits for that. */
static int64_t sedf_next_tick(void *policy)
{
    Sedf *s = policy;
    int64_t time = INT64_MAX;

    for (int p = 0; p < s->topology->pcpus; p++) {
        int first = s->edf.head[p * EDF_QUEUES + WAITQ];

        if (first != VSCHED_NONE) {
            time = MIN(time, period_begin(&s->vcpu[first]));
        }
    }
    return time;
}

/* PCPUs look by themselves; it is enough that time does not jump further. */
static void sedf_tick(void *policy, int64_t now)
{
}

/*
 * ------------------------------------------------------------------------
 * Save and load.
 */

#define PCPU_WORDS 4
#define VCPU_WORDS 5

/* All queues; then each PCPU and VCPU. */
static void sedf_save(void *policy, GArray *words)
{
    Sedf *s = policy;

    vsched_queues_save(&s->edf, words);
    vsched_queues_save(&s->extra[EXTRA_PEN], words);
    vsched_queues_save(&s->extra[EXTRA_UTIL], words);
    for (int i = 0; i < s->topology->pcpus; i++) {
        const SedfPCPU *p = &s->pcpu[i];
        const int64_t pcpu[PCPU_WORDS] = {
            p->run_type, p->whole_slice, p->slice, p->slice_expires
        };

        g_array_append_vals(words, pcpu, PCPU_WORDS);
    }
    for (int i = 0; i < s->topology->vcpus; i++) {
        const SedfVCPU *v = &s->vcpu[i];
        const int64_t vcpu[VCPU_WORDS] = {
            v->deadl_abs, v->cputime, v->short_block_lost,
            v->score[EXTRA_PEN], v->score[EXTRA_UTIL]
        };

        g_array_append_vals(words, vcpu, VCPU_WORDS);
    }
}

/* An extra queue: who is in it, and how many words that were, or -1. */
static int load_extra(Sedf *s, int i, const int64_t *words, int n)
{
    for (int v = 0; v < s->topology->vcpus; v++) {
        if (s->extra[i].in[v] != VSCHED_NONE) {
            vsched_queues_remove(&s->extra[i], v);
        }
    }
    if (n < 1 || words[0] < 0 || words[0] > n - 1) {
        return -1;
    }
    for (int j = 1; j <= words[0]; j++) {
        int64_t queue = words[j] >> 32, v = words[j] & UINT32_MAX;

        if (queue < 0 || queue >= s->topology->pcpus ||
            v >= s->topology->vcpus || s->edf.in[v] == VSCHED_NONE ||
            s->extra[i].in[v] != VSCHED_NONE) {
            return -1;
        }
        vsched_queues_append(&s->extra[i], queue, v, 0);
    }
    return 1 + words[0];
}

static bool within(int64_t word, int64_t low, int64_t high)
{
    return word >= low && word <= high;
}

/* What was saved of @p and @v can have been. */
static bool pcpu_possible(const int64_t *p)
{
    return within(p[0], EXTRA_PEN, EDF) && within(p[1], 0, 1) &&
           within(p[2], p[0] == EDF, CYCLES_MAX) &&
           within(p[3], 0, CYCLES_MAX);
}

static bool vcpu_possible(const Sedf *s, int vcpu, const int64_t *v)
{
    return within(v[0], s->edf.in[vcpu] != VSCHED_NONE, CYCLES_MAX) &&
           within(v[1], -CYCLES_MAX, CYCLES_MAX) &&
           within(v[2], 0, CYCLES_MAX) && within(v[3], 0, CYCLES_MAX) &&
           within(v[4], -CYCLES_MAX, CYCLES_MAX);
}

static bool sedf_load(void *policy, const int64_t *words, int n)
{
    Sedf *s = policy;
    const VschedTopology *t = s->topology;
    int used = vsched_queues_load(&s->edf, words, n);

    for (int i = 0; i < EXTRA_QUEUES && used >= 0; i++) {
        int more = load_extra(s, i, words + used, n - used);

        used = more < 0 ? -1 : used + more;
    }
    if (used < 0 || n != used + t->pcpus * PCPU_WORDS + t->vcpus * VCPU_WORDS) {
        return false;
    }
    words += used;
    for (int i = 0; i < t->pcpus; i++, words += PCPU_WORDS) {
        SedfPCPU *p = &s->pcpu[i];

        if (!pcpu_possible(words)) {
            return false;
        }
        p->run_type = words[0];
        p->whole_slice = words[1];
        p->slice = words[2];
        p->slice_expires = words[3];
    }
    for (int i = 0; i < t->vcpus; i++, words += VCPU_WORDS) {
        SedfVCPU *v = &s->vcpu[i];

        if (!vcpu_possible(s, i, words)) {
            return false;
        }
        v->deadl_abs = words[0];
        v->cputime = words[1];
        v->short_block_lost = words[2];
        v->score[EXTRA_PEN] = words[3];
        v->score[EXTRA_UTIL] = words[4];
    }
    requeue(s);
    return true;
}

/*
 * See above.  Each slice has two switches and comes late by two windows; what
 * that needs of a period, in parts of 2^20, rounded up.
 */
static int64_t sedf_longest_wait(void *policy, int64_t switch_cost,
                                 int64_t window)
{
    Sedf *s = policy;
    const VschedTopology *t = s->topology;
    g_autofree int64_t *need = g_new0(int64_t, t->pcpus);
    g_autofree int64_t *shortest = g_new0(int64_t, t->pcpus);
    int64_t late = switch_cost + window, longest = 0;

    for (int i = 0; i < t->vcpus; i++) {
        const SedfVCPU *v = &s->vcpu[i];
        int h = v->home;

        need[h] += ((v->slice + 2 * late) << 20) / v->period + 1;
        shortest[h] = shortest[h] ? MIN(shortest[h], v->period) : v->period;
        longest = MAX(longest, v->period);
        if (!v->slice || need[h] + (late << 20) / shortest[h] + 1 > 1 << 20) {
            return INT64_MAX;
        }
    }
    return 2 * longest + late;
}

const VschedPolicyOps vsched_policy_sedf = {
    .name = "sedf",
    .description = "Xen's: slices of periods by deadline, and extra time",
    .parameters = parameters,
    .create = sedf_create,
    .destroy = sedf_destroy,
    .set = sedf_set,
    .place = sedf_place,
    .enqueue = sedf_enqueue,
    .dequeue = sedf_dequeue,
    .pick = sedf_pick,
    .waiting = sedf_waiting,
    .take_over = sedf_take_over,
    .start = sedf_start,
    .stop = sedf_stop,
    .next_tick = sedf_next_tick,
    .tick = sedf_tick,
    .changed = sedf_changed,
    .save = sedf_save,
    .load = sedf_load,
    .longest_wait = sedf_longest_wait,
};
