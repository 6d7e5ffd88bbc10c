/*
 * Policy "spread": user code and privileged code on PCPUs of their own.
 *
 * "Computation Spreading" (Chakraborty, Wells and Sohi, "Computation Spreading:
 * Employing Hardware Migration to Specialize CMP Cores On-the-fly", ASPLOS
 * 2006): code that is alike runs on the same core, so that its instructions and
 * data stay in the caches there.  PCPUs are user cores or OS cores.  A VCPU
 * executes user code on the one kind and privileged code on the other, and
 * migrates each time that its mode changes.
 *
 * Of the paper's two ways to assign VCPUs to cores this is the thread
 * assignment policy: a static map gives each VCPU one user core and one OS
 * core.  VCPU v belongs to number v mod n of the n PCPUs of a kind that it may
 * run on.  The other one, the syscall assignment policy, chooses the OS core by
 * the number of the system call, which no hint says.  A VCPU that finds its
 * PCPU taken waits for it, first come, first served.
 *
 * Choices: the OS cores are the last of the PCPUs that are on, half of them
 * unless "privileged" says how many.  One PCPU at least stays a user core; if
 * one alone is on, there are no kinds.  A VCPU that may run on no PCPU of the
 * kind that it needs runs on those that it may run on, whatever their kind, and
 * does not move.  What runs where its kind no longer is, since PCPUs went off
 * or on, is preempted only if the PCPU is neither of its two cores now.
 *
 * Differences from the source: the authors' simulator moves a thread at system
 * calls and interrupts, and not at short traps such as TLB misses.  A hint says
 * only that the mode has changed, so here all traps do.  "stay", which the
 * source does not have, bounds how often a VCPU moves: one that moved less than
 * so long ago remains where it is at a change of mode, and goes to the core of
 * its mode when its timeslice is over.  Timeslices are ours as well.
 *
 * Longest wait, where at most n VCPUs have one and the same PCPU as user core,
 * OS core, or both, with timeslices of S cycles, a switch cost of C and windows
 * of W: (n - 1) * (S + C + W) + C + 2 * W.  Each of the others stands before a
 * VCPU once, for a timeslice, a switch, and a window if it comes from a PCPU
 * that is ahead.  Then the VCPU is switched in.  A PCPU that was idle notices
 * it in the next window; and the change of mode may belong to the window
 * before, whose rest was too short for a block.
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
        .name = "privileged",
        .description = "PCPUs for privileged code, the last ones; 0: half",
        .unit = VSCHED_NUMBER,
        .minimum = 0,
        .maximum = VSCHED_PCPUS_MAX - 1,
        .value = 0,
    },
    {
        .name = "stay",
        .description = "least time from one change of the kind to the next",
        .unit = VSCHED_TIME,
        .minimum = 0,
        .maximum = 1000 * 1000 * 1000,  /* 1 s */
        .value = 0,                     /* as the paper */
    },
    { }
};

typedef struct Spread {
    const VschedServices *services;
    const VschedTopology *topology;
    int64_t timeslice;          /* cycles */
    int privileged;             /* PCPUs; 0: half of those that are on */
    int64_t stay;               /* cycles */
    VschedQueues queues;        /* of each PCPU */
    /* of each VCPU */
    int *core[2];               /* its OS core [false], its user core [true] */
    int *runs;                  /* PCPU that it runs on, or VSCHED_NONE */
    int64_t *moved;             /* cycle at which it last left for the other */
} Spread;

/* The last PCPUs that are on; none if one alone is. */
static uint64_t os_cores(const Spread *s)
{
    uint64_t cores = s->topology->online;
    int online = __builtin_popcountll(cores);
    int os = MIN(s->privileged ?: online / 2, online - 1);

    for (int user = online - os; user > 0; user--) {
        cores &= cores - 1;
    }
    return cores;
}

/* The PCPU of @vcpu among @cores, or anywhere if it may run on none of them. */
static int assign(const Spread *s, int vcpu, uint64_t cores)
{
    uint64_t allowed = s->topology->allowed[vcpu];

    allowed = allowed & cores ?: allowed;
    for (int n = vcpu % __builtin_popcountll(allowed); n > 0; n--) {
        allowed &= allowed - 1;
    }
    return __builtin_ctzll(allowed);
}

/* The thread assignment policy: a static map. */
static void assign_all(Spread *s)
{
    uint64_t os = os_cores(s);

    for (int v = 0; v < s->topology->vcpus; v++) {
        s->core[false][v] = assign(s, v, os);
        s->core[true][v] = assign(s, v, ~os);
    }
}

static bool is_core_of(const Spread *s, int vcpu, int pcpu)
{
    return pcpu == s->core[false][vcpu] || pcpu == s->core[true][vcpu];
}

/* The PCPU that @vcpu belongs to, as its mode is. */
static int core_of(const Spread *s, int vcpu)
{
    bool user = s->services->user_mode(s->services->engine, vcpu);

    return s->core[user][vcpu];
}

static bool is_possible(const Spread *s, const int64_t *values, char **why)
{
    int pcpus = s->topology->pcpus;

    if (values[1] && values[1] >= pcpus) {
        *why = g_strdup_printf("privileged=%d leaves no PCPU for user code: "
                               "allowed are 0 to %d", (int)values[1],
                               pcpus - 1);
        return false;
    }
    return true;
}

static void spread_destroy(void *policy)
{
    Spread *s = policy;

    vsched_queues_clear(&s->queues);
    g_free(s->core[false]);
    g_free(s->core[true]);
    g_free(s->runs);
    g_free(s->moved);
    g_free(s);
}

/* What waits or runs goes where it belongs now. */
static void spread_changed(void *policy, int64_t now)
{
    Spread *s = policy;

    assign_all(s);
    for (int v = 0; v < s->topology->vcpus; v++) {
        if (s->queues.in[v] != VSCHED_NONE &&
            s->queues.in[v] != core_of(s, v)) {
            vsched_queues_move(&s->queues, v, core_of(s, v));
        } else if (s->runs[v] != VSCHED_NONE &&
                   !is_core_of(s, v, s->runs[v])) {
            s->services->preempt(s->services->engine, s->runs[v]);
        }
    }
}

static bool spread_set(void *policy, const int64_t *values, char **why)
{
    Spread *s = policy;

    if (!is_possible(s, values, why)) {
        return false;
    }
    s->timeslice = values[0];
    s->privileged = values[1];
    s->stay = values[2];
    spread_changed(s, 0);
    return true;
}

static void *spread_create(const VschedServices *services,
                           const int64_t *values, char **why)
{
    int vcpus = services->topology->vcpus;
    Spread *s = g_new0(Spread, 1);

    s->services = services;
    s->topology = services->topology;
    vsched_queues_init(&s->queues, vcpus, s->topology->pcpus);
    s->core[false] = g_new(int, vcpus);
    s->core[true] = g_new(int, vcpus);
    s->runs = g_new(int, vcpus);
    s->moved = g_new0(int64_t, vcpus);
    for (int v = 0; v < vcpus; v++) {
        s->runs[v] = VSCHED_NONE;
    }
    if (!spread_set(s, values, why)) {
        spread_destroy(s);
        return NULL;
    }
    return s;
}

static int spread_place(void *policy, int vcpu)
{
    Spread *s = policy;
    int queue = s->queues.in[vcpu];

    return queue != VSCHED_NONE ? queue : core_of(s, vcpu);
}

static void spread_enqueue(void *policy, int vcpu, VschedWhy why,
                           int64_t since, int64_t now)
{
    Spread *s = policy;

    vsched_queues_append(&s->queues, core_of(s, vcpu), vcpu, since);
}

static void spread_dequeue(void *policy, int vcpu, int64_t now)
{
    Spread *s = policy;

    vsched_queues_remove(&s->queues, vcpu);
}

static VschedPick spread_pick(void *policy, int pcpu, int64_t now)
{
    Spread *s = policy;
    VschedPick pick = {
        .vcpu = s->queues.head[pcpu],
        .timeslice = s->timeslice,
    };

    if (pick.vcpu != VSCHED_NONE) {
        vsched_queues_remove(&s->queues, pick.vcpu);
        s->runs[pick.vcpu] = pcpu;
    }
    return pick;
}

static bool spread_waiting(void *policy, int pcpu, int64_t now)
{
    Spread *s = policy;

    return s->queues.head[pcpu] != VSCHED_NONE;
}

static VschedPick spread_take_over(void *policy, int pcpu, int vcpu,
                                   int64_t used, int64_t now)
{
    Spread *s = policy;

    s->runs[vcpu] = pcpu;
    return (VschedPick) {
        .vcpu = vcpu,
        .timeslice = is_core_of(s, vcpu, pcpu) ? s->timeslice : 0,
    };
}

static void spread_stop(void *policy, int pcpu, int vcpu, int64_t ran,
                        VschedWhy why, int64_t now)
{
    Spread *s = policy;

    s->runs[vcpu] = VSCHED_NONE;
}

/* Its mode has changed, and so has the core that it belongs to. */
static bool spread_hint(void *policy, const VschedHint *hint)
{
    Spread *s = policy;
    int core = s->core[hint->kind == VSCHED_HINT_USER][hint->vcpu];

    if (core == hint->pcpu || hint->now - s->moved[hint->vcpu] < s->stay) {
        return false;
    }
    s->moved[hint->vcpu] = hint->now;
    return true;
}

/* The queues; then when each VCPU moved. */
static void spread_save(void *policy, GArray *words)
{
    Spread *s = policy;

    vsched_queues_save(&s->queues, words);
    g_array_append_vals(words, s->moved, s->topology->vcpus);
}

/*
 * What mode VCPUs are in is loaded later than this: nothing depends on it.
 * Under another value of "privileged" a VCPU may wait where it no longer
 * belongs.
 */
static bool spread_load(void *policy, const int64_t *words, int n)
{
    Spread *s = policy;
    int used = vsched_queues_load(&s->queues, words, n);

    if (used < 0 || n != used + s->topology->vcpus) {
        return false;
    }
    for (int v = 0; v < s->topology->vcpus; v++) {
        int64_t moved = words[used + v];
        int queue = s->queues.in[v];

        if (moved < 0 ||
            moved > s->services->runnable_from(s->services->engine, v) ||
            (queue != VSCHED_NONE &&
             !(s->topology->allowed[v] >> queue & 1))) {
            return false;
        }
        s->moved[v] = moved;
        if (queue != VSCHED_NONE && !is_core_of(s, v, queue)) {
            vsched_queues_move(&s->queues, v, s->core[true][v]);
        }
    }
    return true;
}

static int64_t spread_longest_wait(void *policy, int64_t switch_cost,
                                   int64_t window)
{
    Spread *s = policy;
    int most = 0;

    for (int p = 0; p < s->topology->pcpus; p++) {
        int n = 0;

        for (int v = 0; v < s->topology->vcpus; v++) {
            n += is_core_of(s, v, p);
        }
        most = MAX(most, n);
    }
    return (most - 1) * (s->timeslice + switch_cost + window) + switch_cost +
           2 * window;
}

const VschedPolicyOps vsched_policy_spread = {
    .name = "spread",
    .description = "user code and privileged code on PCPUs of their own",
    .parameters = parameters,
    .hints = VSCHED_LISTEN(VSCHED_HINT_USER) |
             VSCHED_LISTEN(VSCHED_HINT_PRIVILEGED),
    .create = spread_create,
    .destroy = spread_destroy,
    .set = spread_set,
    .place = spread_place,
    .enqueue = spread_enqueue,
    .dequeue = spread_dequeue,
    .pick = spread_pick,
    .waiting = spread_waiting,
    .take_over = spread_take_over,
    .stop = spread_stop,
    .changed = spread_changed,
    .hint = spread_hint,
    .save = spread_save,
    .load = spread_load,
    .longest_wait = spread_longest_wait,
};
