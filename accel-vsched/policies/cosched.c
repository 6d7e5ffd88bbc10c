/*
 * Policy "cosched": VCPUs of a VM make progress at about the same rate.
 *
 * Co-scheduling as VMware ESX has done it, from public descriptions (VMware,
 * "Co-scheduling SMP VMs in VMware ESX Server", 2008, and "The CPU Scheduler in
 * VMware ESX 4", 2009; Southern, "Analysis of SMP VM CPU Scheduling", 2008,
 * section 4).  A VCPU makes progress while it executes the guest or is idle.
 * How far a VCPU is behind others of its VM, its siblings, is its skew, in
 * cycles.  It is sampled.  Too much of it co-stops VCPUs until it can be made
 * good.
 *
 *     strict       ESX 2.x: one whose skew is too large, and which waits, stops
 *                  all siblings.  They start again together, all of them.
 *     relaxed      ESX 3.x: the same, but those that have to start together are
 *                  only the ones whose skew is too large.  Others start after
 *                  them, one by one.
 *     individual   ESX 4 and later: one that is too far ahead of the slowest
 *                  sibling stops, it alone, until that has caught up.
 *
 * Skew of strict and relaxed, as in those versions, adds up: it grows by what
 * the sibling that ran most has done in which the VCPU has done nothing, and
 * shrinks by what it has done itself.  (So it can exceed the difference between
 * any two VCPUs, which is why ESX 4 measures that difference instead.)
 *
 * Idle VCPUs make progress: they fall behind nobody, nobody falls behind them,
 * and they need not start together with others.  Who runs in the guest's idle
 * loop is descheduled if somebody waits.
 *
 * Below that is one queue for all PCPUs, first come first served.  VCPUs that
 * have to start together start when enough PCPUs are free; when they are first
 * in the queue, PCPUs that come free are kept for them, and idle meanwhile.
 *
 * Siblings are the VCPUs of a group, and a group is one that fits on the PCPUs
 * at the same time (ours): a VM with more VCPUs than PCPUs are on, or whose
 * masks do not allow all of them to run at once, is several groups, filled in
 * the order of numbers.  These run in turn as VMs do, since each waits in the
 * queue behind the others, and skew is that inside a group.
 *
 * Choices: a skew of 3 ms is too large, it is sampled each 1 ms; timeslices of
 * 10 ms, where ESX has 50 ms, so that groups take turns more often, but long
 * enough for skew to matter; an idle VCPU comes up to its fastest sibling, as
 * far as that is not too far ahead; a VCPU that was in the idle loop when it
 * ran last has a timeslice as long as the time between samples.  Shares, which
 * ESX schedules by, are ignored.
 *
 * Longest wait: there is no bound, since one that is ahead, or whose siblings
 * cannot start, waits until others have run that wait themselves.  What holds
 * instead is what the policy is for.  With a threshold of T cycles, sampled
 * every I, in windows of W, and a switch cost of C, skew does not exceed
 *
 *     T + I + W         of "individual"
 *     T + I + W + C     of "strict" and "relaxed", if timeslices are I + W and
 *                       samples C at least
 *
 * At a sample it is T at most, or somebody is stopped; until the next, at the
 * first window end that is I later, it grows by less than I + W.  Those that
 * start together do so with a switch, of which a sibling may be spared.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "queues.h"

enum {
    SLICE, SKEW, SAMPLE, MODE, IDLE
};

enum {
    STRICT, RELAXED, INDIVIDUAL
};

static const char *const mode_choices[] = {
    [STRICT] = "strict",
    [RELAXED] = "relaxed",
    [INDIVIDUAL] = "individual",
    NULL
};

static const VschedParameter cosched_parameters[] = {
    [SLICE] = {
        .name = "slice",
        .description = "timeslice of a VCPU",
        .unit = VSCHED_TIME,
        .minimum = 10 * 1000,           /* 10 us */
        .maximum = 1000 * 1000 * 1000,  /* 1 s */
        .value = 10 * 1000 * 1000,      /* 10 ms (choice) */
    },
    [SKEW] = {
        .name = "skew",
        .description = "skew above which VCPUs are stopped",
        .unit = VSCHED_TIME,
        .minimum = 1000,                /* 1 us */
        .maximum = 1000 * 1000 * 1000,  /* 1 s */
        .value = 3 * 1000 * 1000,       /* 3 ms (choice) */
    },
    [SAMPLE] = {
        .name = "sample",
        .description = "time from one sample of the skew to the next",
        .unit = VSCHED_TIME,
        .minimum = 1000,                /* 1 us */
        .maximum = 1000 * 1000 * 1000,  /* 1 s */
        .value = 1000 * 1000,           /* 1 ms (choice) */
    },
    [MODE] = {
        .name = "mode",
        .description = "who is stopped, and started together",
        .unit = VSCHED_CHOICE,
        .minimum = 0,
        .maximum = INDIVIDUAL,
        .value = RELAXED,               /* ESX 3.x, which Southern measured */
        .choices = mode_choices,
    },
    [IDLE] = {
        .name = "idle",
        .description = "which VCPUs are idle, besides those that block",
        .unit = VSCHED_CHOICE,
        .minimum = 0,
        .maximum = VSCHED_IDLE_NONE,
        .value = VSCHED_IDLE_AUTO,
        .choices = vsched_idle_choices,
    },
    { }
};

typedef struct CoSched {
    const VschedServices *services;
    const VschedTopology *topology;
    int64_t timeslice, threshold, sample;   /* cycles */
    int mode;
    VschedIdle idle;
    int64_t sampled;            /* cycle of the last sample */
    VschedQueues queue;         /* one: of all that wait */
    /* of each group */
    bool *stopped;              /* its VCPUs are, until they start together */
    /* of each VCPU */
    int *group;
    int *runs;                  /* PCPU that it runs on, or VSCHED_NONE */
    int *start;                 /* PCPU that is kept for it, or VSCHED_NONE */
    bool *ahead;                /* it is stopped, it alone */
    int64_t *since;             /* cycle: what was before is in ran and idled */
    int64_t *ran, *idled;       /* cycles since the last sample; about */
    int64_t *skew;              /* cycles that it is behind, as they add up */
    int64_t *lead;              /* cycles that it is ahead of the slowest */
    /* What follows from all that, until it changes: see touch() */
    bool settled;               /* nobody starts together, nor is let go */
    uint64_t known;             /* PCPUs that found[] is right of */
    int found[VSCHED_PCPUS_MAX];        /* who is next, as find() says */
} CoSched;

/*
 * Something has changed that decides who is next.  As long as nothing does, a
 * VCPU that waits does not run, so it does not get into the guest's idle loop
 * or out of it.
 */
static void touch(CoSched *c)
{
    c->settled = false;
    c->known = 0;
}

/*
 * A VCPU that spins may be found to be idle.  An interrupt ends that while the
 * VCPU waits, and the policy is not told of it.
 */
static bool may_remember(const CoSched *c)
{
    return c->idle != VSCHED_IDLE_SDB;
}

/*
 * ------------------------------------------------------------------------
 * Groups.
 */

/* @vcpu gets one of the PCPUs in @free; if need be, others move for it. */
static bool fit(const CoSched *c, int vcpu, uint64_t free, uint64_t *tried,
                int *taken)
{
    uint64_t left = c->topology->allowed[vcpu] & free & ~*tried;

    for (int p = 0; p < c->topology->pcpus; p++) {
        if (left >> p & 1 && taken[p] == VSCHED_NONE) {
            taken[p] = vcpu;
            return true;
        }
    }
    while ((left = c->topology->allowed[vcpu] & free & ~*tried)) {
        int p = __builtin_ctzll(left);

        *tried |= 1ull << p;
        if (fit(c, taken[p], free, tried, taken)) {
            taken[p] = vcpu;
            return true;
        }
    }
    return false;
}

static void take_none(int *taken)
{
    for (int p = 0; p < VSCHED_PCPUS_MAX; p++) {
        taken[p] = VSCHED_NONE;
    }
}

/* @vcpu fits on the PCPUs beside those of lower numbers that are in @group. */
static bool fits_in(const CoSched *c, const int *group, int g, int vcpu)
{
    int taken[VSCHED_PCPUS_MAX];
    uint64_t tried;

    take_none(taken);
    for (int v = 0; v < vcpu; v++) {
        if (group[v] == g) {
            if (c->topology->vm[v] != c->topology->vm[vcpu]) {
                return false;
            }
            tried = 0;
            fit(c, v, c->topology->online, &tried, taken);
        }
    }
    tried = 0;
    return fit(c, vcpu, c->topology->online, &tried, taken);
}

/* Each VCPU is in the first group of its VM that it fits in. */
static void form_groups(const CoSched *c, int *group)
{
    for (int v = 0; v < c->topology->vcpus; v++) {
        int g = 0;

        while (!fits_in(c, group, g, v)) {
            g++;                /* one that is empty comes in the end */
        }
        group[v] = g;
    }
}

/*
 * ------------------------------------------------------------------------
 * Creation.
 */

/* Nobody is stopped, and nothing is kept for anyone. */
static void release_all(CoSched *c)
{
    for (int v = 0; v < c->topology->vcpus; v++) {
        c->stopped[v] = c->ahead[v] = false;
        c->start[v] = VSCHED_NONE;
    }
    touch(c);
}

static void take_values(CoSched *c, const int64_t *values)
{
    c->timeslice = values[SLICE];
    c->threshold = values[SKEW];
    c->sample = values[SAMPLE];
    c->mode = values[MODE];
    c->idle = values[IDLE];
    touch(c);
}

static void *cosched_create(const VschedServices *services,
                            const int64_t *values, char **why)
{
    int vcpus = services->topology->vcpus;
    CoSched *c = g_new0(CoSched, 1);

    c->services = services;
    c->topology = services->topology;
    take_values(c, values);
    vsched_queues_init(&c->queue, vcpus, 1);
    c->stopped = g_new(bool, vcpus);
    c->group = g_new(int, vcpus);
    c->runs = g_new(int, vcpus);
    c->start = g_new(int, vcpus);
    c->ahead = g_new(bool, vcpus);
    c->since = g_new0(int64_t, vcpus);
    c->ran = g_new0(int64_t, vcpus);
    c->idled = g_new0(int64_t, vcpus);
    c->skew = g_new0(int64_t, vcpus);
    c->lead = g_new0(int64_t, vcpus);
    for (int v = 0; v < vcpus; v++) {
        c->runs[v] = VSCHED_NONE;
    }
    release_all(c);
    form_groups(c, c->group);
    return c;
}

static void cosched_destroy(void *policy)
{
    CoSched *c = policy;

    vsched_queues_clear(&c->queue);
    g_free(c->stopped);
    g_free(c->group);
    g_free(c->runs);
    g_free(c->start);
    g_free(c->ahead);
    g_free(c->since);
    g_free(c->ran);
    g_free(c->idled);
    g_free(c->skew);
    g_free(c->lead);
    g_free(c);
}

static bool cosched_set(void *policy, const int64_t *values, char **why)
{
    CoSched *c = policy;

    if (values[MODE] != c->mode) {
        release_all(c);
    }
    take_values(c, values);
    return true;
}

/*
 * ------------------------------------------------------------------------
 * Progress.
 */

static bool waits(const CoSched *c, int vcpu)
{
    return c->queue.in[vcpu] != VSCHED_NONE;
}

static bool is_blocked(const CoSched *c, int vcpu)
{
    return c->runs[vcpu] == VSCHED_NONE && !waits(c, vcpu);
}

/* It could run, but is in the guest's idle loop. */
static bool idles(const CoSched *c, int vcpu)
{
    return !is_blocked(c, vcpu) &&
           c->services->idle(c->services->engine, vcpu, c->idle);
}

/* What @vcpu has done until @now goes into the accounts. */
static void settle(CoSched *c, int vcpu, int64_t now)
{
    if (now > c->since[vcpu]) {
        if (c->runs[vcpu] != VSCHED_NONE) {
            c->ran[vcpu] += now - c->since[vcpu];
        } else if (is_blocked(c, vcpu)) {
            c->idled[vcpu] += now - c->since[vcpu];
        }
        c->since[vcpu] = now;
    }
}

/* The sibling of @vcpu that ran most did so for so many cycles. */
static int64_t most_of_siblings(const CoSched *c, int vcpu)
{
    int64_t most = 0;

    for (int v = 0; v < c->topology->vcpus; v++) {
        if (v != vcpu && c->group[v] == c->group[vcpu]) {
            most = MAX(most, c->ran[v]);
        }
    }
    return most;
}

/* Skew as up to ESX 3.x */
static void update_skew(CoSched *c)
{
    for (int v = 0; v < c->topology->vcpus; v++) {
        int64_t done = c->ran[v] + c->idled[v];

        c->skew[v] += MAX(0, most_of_siblings(c, v) - done) - done;
        c->skew[v] = MAX(0, c->skew[v]);
    }
}

/* Skew as from ESX 4 on */
static void update_lead(CoSched *c, int group)
{
    int64_t slowest = INT64_MAX, limit = 0;

    for (int v = 0; v < c->topology->vcpus; v++) {
        if (c->group[v] == group) {
            c->lead[v] += c->ran[v];
            limit = MAX(limit, c->lead[v]);
        }
    }
    /* Idle VCPUs come up to the fastest, and are not too far ahead either. */
    for (int v = 0; v < c->topology->vcpus; v++) {
        if (c->group[v] == group && !c->idled[v]) {
            limit = MIN(limit, c->lead[v] + c->threshold);
        }
    }
    for (int v = 0; v < c->topology->vcpus; v++) {
        if (c->group[v] == group) {
            c->lead[v] += MIN(c->idled[v], MAX(0, limit - c->lead[v]));
            slowest = MIN(slowest, c->lead[v]);
        }
    }
    for (int v = 0; v < c->topology->vcpus; v++) {
        if (c->group[v] == group) {
            c->lead[v] -= slowest;
        }
    }
}

/*
 * ------------------------------------------------------------------------
 * Who runs.
 */

/* PCPU that is idle until VCPUs that have to start together can do so. */
#define KEPT (-2)

/* @vcpu is one of those of its group, which is stopped, that start together. */
static bool starts_together(const CoSched *c, int vcpu)
{
    /* Whether it idles is asked last: that costs most. */
    return waits(c, vcpu) &&
           (c->mode == STRICT || c->skew[vcpu] > c->threshold) &&
           !idles(c, vcpu);
}

/* The PCPUs that VCPUs of @group could start on together. */
static uint64_t pcpus_of(const CoSched *c, int group)
{
    uint64_t pcpus = 0;

    for (int v = 0; v < c->topology->vcpus; v++) {
        if (c->group[v] == group && starts_together(c, v)) {
            pcpus |= c->topology->allowed[v];
        }
    }
    return pcpus;
}

static bool anyone_starts(const CoSched *c, int group)
{
    for (int v = 0; v < c->topology->vcpus; v++) {
        if (c->group[v] == group && c->topology->allowed[v] &&
            starts_together(c, v)) {
            return true;
        }
    }
    return false;
}

/* Who is next on @pcpu; KEPT: nobody is to be. */
static int look(const CoSched *c, int pcpu)
{
    for (int v = c->queue.head[0]; v != VSCHED_NONE; v = c->queue.next[v]) {
        if (c->start[v] == pcpu) {
            return v;
        }
    }
    for (int v = c->queue.head[0]; v != VSCHED_NONE; v = c->queue.next[v]) {
        int g = c->group[v];

        if (c->start[v] != VSCHED_NONE || c->ahead[v]) {
            continue;
        }
        if (!c->stopped[g]) {
            if (c->topology->allowed[v] >> pcpu & 1) {
                return v;
            }
        } else if (starts_together(c, v) && pcpus_of(c, g) >> pcpu & 1) {
            return KEPT;
        }
    }
    return VSCHED_NONE;
}

/* The same.  A PCPU that is kept for others asks in each window. */
static int find(CoSched *c, int pcpu)
{
    if (!(c->known >> pcpu & 1)) {
        c->found[pcpu] = look(c, pcpu);
        c->known |= may_remember(c) ? 1ull << pcpu : 0;
    }
    return c->found[pcpu];
}

static int cosched_place(void *policy, int vcpu)
{
    CoSched *c = policy;

    return c->start[vcpu];
}

static void cosched_enqueue(void *policy, int vcpu, VschedWhy why,
                            int64_t since, int64_t now)
{
    CoSched *c = policy;

    settle(c, vcpu, now);
    touch(c);
    vsched_queues_append(&c->queue, 0, vcpu, since);
}

static void cosched_dequeue(void *policy, int vcpu, int64_t now)
{
    CoSched *c = policy;

    settle(c, vcpu, now);
    touch(c);
    vsched_queues_remove(&c->queue, vcpu);
    c->start[vcpu] = VSCHED_NONE;
}

static VschedPick cosched_pick(void *policy, int pcpu, int64_t now)
{
    CoSched *c = policy;
    int vcpu = find(c, pcpu);

    if (vcpu < 0) {
        return (VschedPick) { .vcpu = VSCHED_NONE };
    }
    settle(c, vcpu, now);
    touch(c);
    vsched_queues_remove(&c->queue, vcpu);
    c->runs[vcpu] = pcpu;
    return (VschedPick) {
        .vcpu = vcpu,
        .timeslice = idles(c, vcpu) ? MIN(c->sample, c->timeslice)
                                    : c->timeslice,
        .exact = c->start[vcpu] != VSCHED_NONE,
    };
}

static bool cosched_waiting(void *policy, int pcpu, int64_t now)
{
    return find(policy, pcpu) >= 0;
}

static VschedPick cosched_take_over(void *policy, int pcpu, int vcpu,
                                    int64_t used, int64_t now)
{
    CoSched *c = policy;

    touch(c);
    c->runs[vcpu] = pcpu;
    return (VschedPick) { .vcpu = vcpu, .timeslice = c->timeslice };
}

static void cosched_start(void *policy, int pcpu, int vcpu, int64_t now)
{
    CoSched *c = policy;

    touch(c);
    c->start[vcpu] = VSCHED_NONE;
    c->since[vcpu] = now;       /* its switch was no progress */
}

static void cosched_stop(void *policy, int pcpu, int vcpu, int64_t ran,
                         VschedWhy why, int64_t now)
{
    CoSched *c = policy;

    /* It may be short of the last sample, by a piece of code. */
    c->ran[vcpu] += now - c->since[vcpu];
    c->since[vcpu] = now;
    touch(c);
    c->runs[vcpu] = VSCHED_NONE;
}

/*
 * ------------------------------------------------------------------------
 * Samples, co-stop and co-start.
 */

static void preempt(const CoSched *c, int vcpu)
{
    if (c->runs[vcpu] != VSCHED_NONE) {
        c->services->preempt(c->services->engine, c->runs[vcpu]);
    }
}

/*
 * @vcpu is in the idle loop: that is progress, and not work.  If it has been
 * running since the last sample it makes room for whoever waits.
 */
static void deschedule(CoSched *c, int vcpu, int64_t now)
{
    int64_t interval = now - c->sampled;

    if (c->runs[vcpu] != VSCHED_NONE && c->ran[vcpu] >= interval &&
        find(c, c->runs[vcpu]) != VSCHED_NONE) {
        preempt(c, vcpu);
    }
    c->ran[vcpu] = 0;
    c->idled[vcpu] = interval;
}

/* What was done since the last sample becomes skew. */
static void measure(CoSched *c, int64_t now)
{
    for (int v = 0; v < c->topology->vcpus; v++) {
        settle(c, v, now);
        if (idles(c, v)) {
            deschedule(c, v, now);
        }
    }
    update_skew(c);
    for (int g = 0; g < c->topology->vcpus; g++) {
        update_lead(c, g);
    }
    for (int v = 0; v < c->topology->vcpus; v++) {
        c->ran[v] = c->idled[v] = 0;
    }
    c->sampled = now;
    touch(c);
}

/* All of @group stop. */
static void co_stop(CoSched *c, int group)
{
    c->stopped[group] = true;
    for (int v = 0; v < c->topology->vcpus; v++) {
        if (c->group[v] == group) {
            c->start[v] = VSCHED_NONE;
            preempt(c, v);
        }
    }
}

/* Those stop whose siblings are too far behind. */
static void stop_some(CoSched *c)
{
    for (int v = 0; v < c->topology->vcpus; v++) {
        if (c->mode == INDIVIDUAL) {
            c->ahead[v] = c->lead[v] > c->threshold;
            if (c->ahead[v]) {
                preempt(c, v);
            }
        } else if (c->skew[v] > c->threshold && starts_together(c, v) &&
                   c->start[v] == VSCHED_NONE) {
            co_stop(c, c->group[v]);
        }
    }
}

/* PCPUs on which nobody runs, and which are not kept for anyone. */
static uint64_t free_pcpus(const CoSched *c)
{
    uint64_t free = c->topology->online;

    for (int v = 0; v < c->topology->vcpus; v++) {
        if (c->runs[v] != VSCHED_NONE) {
            free &= ~(1ull << c->runs[v]);
        }
        if (c->start[v] != VSCHED_NONE) {
            free &= ~(1ull << c->start[v]);
        }
    }
    return free;
}

/* @group starts on PCPUs of @free, or not at all; what is left of these. */
static uint64_t co_start(CoSched *c, int group, uint64_t free)
{
    int taken[VSCHED_PCPUS_MAX];

    take_none(taken);
    for (int v = 0; v < c->topology->vcpus; v++) {
        uint64_t tried = 0;

        if (c->group[v] == group &&
            (c->runs[v] != VSCHED_NONE ||       /* it has not stopped yet */
             (starts_together(c, v) && !fit(c, v, free, &tried, taken)))) {
            return free & ~pcpus_of(c, group);  /* kept until there are more */
        }
    }
    touch(c);
    c->stopped[group] = false;
    for (int p = 0; p < c->topology->pcpus; p++) {
        if (taken[p] != VSCHED_NONE) {
            c->start[taken[p]] = p;
            free &= ~(1ull << p);
        }
    }
    return free;
}

/* Groups for which there are enough PCPUs start, in the order of the queue. */
static void start_some(CoSched *c)
{
    g_autofree bool *tried = g_new0(bool, c->topology->vcpus);
    uint64_t free = free_pcpus(c);

    c->settled = may_remember(c);
    /* Without a free PCPU nobody starts, and who is idle need not be asked. */
    for (int v = c->queue.head[0]; free && v != VSCHED_NONE;
         v = c->queue.next[v]) {
        int g = c->group[v];

        if (c->start[v] != VSCHED_NONE || c->ahead[v]) {
            continue;
        }
        if (!c->stopped[g]) {
            uint64_t mine = free & c->topology->allowed[v];

            free &= ~(mine & -mine);
        } else if (!tried[g] && starts_together(c, v)) {
            tried[g] = true;
            free = co_start(c, g, free);
        }
    }
    for (int g = 0; g < c->topology->vcpus; g++) {
        if (c->stopped[g] && !anyone_starts(c, g)) {
            touch(c);
            c->stopped[g] = false;      /* nobody has to wait */
        }
    }
}

/* At each sample; and in each window while VCPUs wait to start together. */
static int64_t cosched_next_tick(void *policy)
{
    CoSched *c = policy;

    for (int g = 0; g < c->topology->vcpus; g++) {
        if (c->stopped[g]) {
            return c->sampled;
        }
    }
    for (int v = 0; v < c->topology->vcpus; v++) {
        if (!is_blocked(c, v)) {
            return c->sampled + c->sample;
        }
    }
    return INT64_MAX;
}

static void cosched_tick(void *policy, int64_t now)
{
    CoSched *c = policy;

    if (now >= c->sampled + c->sample) {
        measure(c, now);
        stop_some(c);
    }
    if (!c->settled) {
        start_some(c);
    }
}

/* What is kept for VCPUs that may not be there is not kept any more. */
static void cosched_changed(void *policy, int64_t now)
{
    CoSched *c = policy;
    int vcpus = c->topology->vcpus;
    g_autofree int *group = g_new(int, vcpus);

    form_groups(c, group);
    if (memcmp(group, c->group, vcpus * sizeof(*group))) {
        memcpy(c->group, group, vcpus * sizeof(*group));
        memset(c->skew, 0, vcpus * sizeof(*c->skew));
        memset(c->lead, 0, vcpus * sizeof(*c->lead));
        release_all(c);
    }
    for (int v = 0; v < vcpus; v++) {
        if (c->start[v] != VSCHED_NONE &&
            !(c->topology->allowed[v] >> c->start[v] & 1)) {
            c->start[v] = VSCHED_NONE;
        }
    }
    touch(c);
}

/* Spins are nothing to this policy, but idle() has to know of them. */
static bool cosched_hint(void *policy, const VschedHint *hint)
{
    return false;
}

/*
 * ------------------------------------------------------------------------
 * Saved states.
 */

#define WORDS 8                 /* of each VCPU */

/* The queue, when was sampled, and then of each VCPU (and group) the rest. */
static void cosched_save(void *policy, GArray *words)
{
    CoSched *c = policy;

    vsched_queues_save(&c->queue, words);
    g_array_append_val(words, c->sampled);
    for (int v = 0; v < c->topology->vcpus; v++) {
        const int64_t word[WORDS] = {
            c->stopped[v], c->ahead[v], c->start[v], c->since[v], c->ran[v],
            c->idled[v], c->skew[v], c->lead[v]
        };

        g_array_append_vals(words, word, WORDS);
    }
}

static bool cosched_load(void *policy, const int64_t *words, int n)
{
    CoSched *c = policy;
    int used = vsched_queues_load(&c->queue, words, n);
    uint64_t kept = 0;

    if (used < 0 || n != used + 1 + WORDS * c->topology->vcpus ||
        words[used] < 0) {
        return false;
    }
    touch(c);
    c->sampled = words[used];
    words += used + 1;
    for (int v = 0; v < c->topology->vcpus; v++, words += WORDS) {
        int64_t start = words[2];

        if (words[0] < 0 || words[0] > (c->mode != INDIVIDUAL) ||
            words[1] < 0 || words[1] > (c->mode == INDIVIDUAL)) {
            return false;
        }
        if (start != VSCHED_NONE) {
            if (start < 0 || start >= c->topology->pcpus || !waits(c, v) ||
                !(c->topology->allowed[v] & ~kept & 1ull << start)) {
                return false;
            }
            kept |= 1ull << start;
        }
        for (int i = 3; i < WORDS; i++) {
            if (words[i] < (i == 4 ? -INT32_MAX : 0) ||
                words[i] > INT64_MAX / 4) {
                return false;
            }
        }
        c->stopped[v] = words[0];
        c->ahead[v] = words[1];
        c->start[v] = start;
        c->since[v] = words[3];
        c->ran[v] = words[4];
        c->idled[v] = words[5];
        c->skew[v] = words[6];
        c->lead[v] = words[7];
    }
    return true;
}

static int64_t cosched_longest_wait(void *policy, int64_t switch_cost,
                                    int64_t window)
{
    return INT64_MAX;
}

const VschedPolicyOps vsched_policy_cosched = {
    .name = "cosched",
    .description = "VCPUs of a VM get ahead at the same rate, as under ESX",
    .parameters = cosched_parameters,
    .hints = VSCHED_LISTEN(VSCHED_HINT_SPIN),
    .create = cosched_create,
    .destroy = cosched_destroy,
    .set = cosched_set,
    .place = cosched_place,
    .enqueue = cosched_enqueue,
    .dequeue = cosched_dequeue,
    .pick = cosched_pick,
    .waiting = cosched_waiting,
    .take_over = cosched_take_over,
    .start = cosched_start,
    .stop = cosched_stop,
    .next_tick = cosched_next_tick,
    .tick = cosched_tick,
    .changed = cosched_changed,
    .hint = cosched_hint,
    .save = cosched_save,
    .load = cosched_load,
    .longest_wait = cosched_longest_wait,
};
