/*
 * Policy "explore": random priorities, to find faults of concurrency.
 *
 * Probabilistic concurrency testing, PCT (Burckhardt, Kothari, Musuvathi and
 * Nagarakatte, "A randomized scheduler with probabilistic guarantees of finding
 * bugs", ASPLOS 2010, section 3).  Of n VCPUs each gets a priority of its own
 * at random, from d to d + n - 1, and d - 1 numbers between 0 and k - 1 are
 * drawn, the change points.  The VCPU with the highest priority runs.  When
 * as many instructions have been executed as change point i says, the VCPU
 * that is about to execute the next one gets priority i, below all that were
 * drawn.  A fault that needs d orderings between instructions of a program that
 * executes k of them is met with probability 1 / (n * k^(d - 1)) or more.  That
 * holds for one PCPU; with several, VCPUs run at the same time, and it does
 * not.
 *
 * The change points are not sorted: the first one in time may have the higher
 * number.  A timeslice that ends at one is precise, see VschedPick.
 *
 * What counts are cycles in which VCPUs run: instructions, where these take a
 * cycle each and nothing stalls.  They count from when the policy begins, and
 * from mark VSCHED_MARK_BEGIN of a program (mark.c), where all is drawn anew.
 *
 * Programs of PCT wait by blocking; kernels spin and idle, and one that spins
 * with the highest priority would do so for ever.  So a VCPU that is found
 * spinning or idle, or has run for "patience" since it last fell, falls: its
 * priority is below those of all others.  One that has fallen before it comes
 * to a change point falls there, too.
 *
 * Longest wait: there is no bound, since priorities are strict.  Without
 * "patience" a VCPU that is not found spinning or idle keeps its PCPU for ever.
 * With it, and between two marks, this holds: while a VCPU waits, each other
 * one runs for no more than "patience", and has fallen below it then.  What has
 * no bound is the number of switches in that time, each of which has a cost.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "../policy.h"

#define LATEST (INT64_C(1) << 60)       /* of cycles in a saved state */

/* In the order of the parameters; times in cycles */
typedef struct Values {
    int64_t slice, seed, depth, steps, patience, idle;
} Values;

enum { SLICE, SEED, DEPTH, STEPS, PATIENCE, IDLE };

static const VschedParameter parameters[] = {
    {
        .name = "slice",
        .description = "time after which it is asked whether a VCPU is idle",
        .unit = VSCHED_TIME,
        .minimum = 10 * 1000,           /* 10 us */
        .maximum = 1000 * 1000 * 1000,  /* 1 s */
        .value = 100 * 1000,            /* 100 us (choice) */
    },
    {
        .name = "seed",
        .description = "what priorities and change points are drawn from",
        .unit = VSCHED_NUMBER,
        .minimum = 0,
        .maximum = 4294967295,          /* UINT32_MAX */
        .value = 1,
    },
    {
        .name = "depth",
        .description = "depth of the faults that are looked for: one more than "
                       "there are change points",
        .unit = VSCHED_NUMBER,
        .minimum = 1,
        .maximum = 32,
        .value = 3,
    },
    {
        .name = "steps",
        .description = "cycles, of all VCPUs that run, in which the change "
                       "points are",
        .unit = VSCHED_NUMBER,
        .minimum = 1,
        .maximum = 1000000000000,
        .value = 10000,
    },
    {
        .name = "patience",
        .description = "time that a VCPU runs before it falls; 0: it does not",
        .unit = VSCHED_TIME,
        .minimum = 0,
        .maximum = 1000ull * 1000 * 1000 * 1000,    /* 1000 s */
        .value = 10 * 1000 * 1000,      /* 10 ms (choice) */
    },
    {
        .name = "idle",
        .description = "how it is seen that a VCPU is idle",
        .unit = VSCHED_CHOICE,
        .maximum = VSCHED_IDLE_NONE,
        .value = VSCHED_IDLE_AUTO,
        .choices = vsched_idle_choices,
    },
    { }
};

typedef struct Point {
    int64_t at;                 /* cycles that were executed before it */
    int64_t priority;           /* 1 .. depth - 1 */
} Point;

typedef struct ExploreVCPU {
    int64_t priority;           /* above 0: drawn; below: it has fallen */
    int64_t ran;                /* cycles since it last fell */
    bool waits;
} ExploreVCPU;

typedef struct ExplorePCPU {
    int runs;                   /* VCPU, or VSCHED_NONE */
    bool leaves;                /* it was preempted, and does not know yet */
    bool uncounted;             /* it began before all was drawn anew */
} ExplorePCPU;

typedef struct Explore {
    const VschedServices *services;
    const VschedTopology *topology;
    Values values;
    int64_t count;              /* cycles that VCPUs have run */
    int64_t lowest;             /* priority of the VCPU that fell last, or 0 */
    Point *point;               /* change points, first in time first */
    int next;                   /* number of the next one */
    ExploreVCPU *vcpu;
    ExplorePCPU *pcpu;
} Explore;

/*
 * ------------------------------------------------------------------------
 * Priorities.
 */

static int points(const Explore *x)
{
    return x->values.depth - 1;
}

/* The first in time first, and of those at one time the lower number. */
static int compare_points(const void *a, const void *b)
{
    const Point *x = a, *y = b;

    if (x->at != y->at) {
        return x->at < y->at ? -1 : 1;
    }
    return x->priority < y->priority ? -1 : 1;
}

/* A number from 0 to @n - 1; what is uneven of it is less than n / 2^64. */
static int64_t draw(GRand *rand, int64_t n)
{
    uint64_t high = g_rand_int(rand);

    return (high << 32 | g_rand_int(rand)) % n;
}

/* An exploration begins. */
static void begin(Explore *x)
{
    int n = x->topology->vcpus;
    GRand *rand = g_rand_new_with_seed(x->values.seed);

    x->count = x->lowest = 0;
    x->next = 0;
    for (int v = 0; v < n; v++) {
        int other = draw(rand, v + 1);          /* a shuffle: Fisher, Yates */

        x->vcpu[v].priority = x->vcpu[other].priority;
        x->vcpu[other].priority = x->values.depth + v;
        x->vcpu[v].ran = 0;
    }
    for (int i = 1; i < x->values.depth; i++) {
        x->point[i - 1] = (Point) { draw(rand, x->values.steps), i };
    }
    qsort(x->point, points(x), sizeof(Point), compare_points);
    g_rand_free(rand);
}

/* The VCPU on @pcpu goes, so that the best may come. */
static void preempt(Explore *x, int pcpu)
{
    x->pcpu[pcpu].leaves = true;
    x->services->preempt(x->services->engine, pcpu);
}

/* The same, while VCPUs run; @giving_up: the PCPU whose VCPU goes anyway. */
static void begin_anew(Explore *x, int giving_up)
{
    begin(x);
    for (int p = 0; p < x->topology->pcpus; p++) {
        if (x->pcpu[p].runs != VSCHED_NONE) {
            x->pcpu[p].uncounted = true;
            if (p != giving_up) {
                preempt(x, p);
            }
        }
    }
}

/* @vcpu gets the lowest priority of all. */
static void fall(Explore *x, int vcpu)
{
    x->vcpu[vcpu].priority = --x->lowest;
    x->vcpu[vcpu].ran = 0;
}

/* The VCPU of the highest priority that waits for @pcpu, or VSCHED_NONE. */
static int best(const Explore *x, int pcpu)
{
    int found = VSCHED_NONE;

    for (int v = 0; v < x->topology->vcpus; v++) {
        if (x->vcpu[v].waits && x->topology->allowed[v] >> pcpu & 1 &&
            (found == VSCHED_NONE ||
             x->vcpu[v].priority > x->vcpu[found].priority)) {
            found = v;
        }
    }
    return found;
}

/*
 * @vcpu waits.  If all PCPUs that it may use are busy, and one of them with a
 * VCPU of a lower priority, the lowest of these goes.
 */
static void make_room(Explore *x, int vcpu)
{
    int64_t lowest = x->vcpu[vcpu].priority;
    int victim = VSCHED_NONE;

    for (int p = 0; p < x->topology->pcpus; p++) {
        int runs = x->pcpu[p].runs;

        if (!(x->topology->allowed[vcpu] >> p & 1)) {
            continue;
        }
        if (runs == VSCHED_NONE) {
            return;
        }
        if (!x->pcpu[p].leaves && x->vcpu[runs].priority < lowest) {
            lowest = x->vcpu[runs].priority;
            victim = p;
        }
    }
    if (victim != VSCHED_NONE) {
        preempt(x, victim);
    }
}

/*
 * ------------------------------------------------------------------------
 * Operations.
 */

static void get_values(Values *values, const int64_t *from)
{
    *values = (Values) {
        .slice = from[SLICE],
        .seed = from[SEED],
        .depth = from[DEPTH],
        .steps = from[STEPS],
        .patience = from[PATIENCE],
        .idle = from[IDLE],
    };
}

static void *explore_create(const VschedServices *services,
                            const int64_t *values, char **why)
{
    Explore *x = g_new0(Explore, 1);

    x->services = services;
    x->topology = services->topology;
    get_values(&x->values, values);
    x->point = g_new0(Point, parameters[DEPTH].maximum);
    x->vcpu = g_new0(ExploreVCPU, x->topology->vcpus);
    x->pcpu = g_new0(ExplorePCPU, x->topology->pcpus);
    for (int p = 0; p < x->topology->pcpus; p++) {
        x->pcpu[p].runs = VSCHED_NONE;
    }
    begin(x);
    return x;
}

static void explore_destroy(void *policy)
{
    Explore *x = policy;

    g_free(x->point);
    g_free(x->vcpu);
    g_free(x->pcpu);
    g_free(x);
}

/* Another seed, depth or number of steps is another exploration. */
static bool explore_set(void *policy, const int64_t *values, char **why)
{
    Explore *x = policy;
    Values before = x->values;

    get_values(&x->values, values);
    if (before.seed != x->values.seed || before.depth != x->values.depth ||
        before.steps != x->values.steps) {
        begin_anew(x, VSCHED_NONE);
    }
    return true;
}

static int explore_place(void *policy, int vcpu)
{
    Explore *x = policy;
    uint64_t allowed = x->topology->allowed[vcpu];

    return allowed & (allowed - 1) ? VSCHED_NONE : __builtin_ctzll(allowed);
}

static void explore_enqueue(void *policy, int vcpu, VschedWhy why,
                            int64_t since, int64_t now)
{
    Explore *x = policy;

    x->vcpu[vcpu].waits = true;
    make_room(x, vcpu);
}

static void explore_dequeue(void *policy, int vcpu, int64_t now)
{
    Explore *x = policy;

    x->vcpu[vcpu].waits = false;
}

/* @vcpu is about to run, at a change point. */
static void change(Explore *x, int vcpu)
{
    if (x->vcpu[vcpu].priority > 0) {
        x->vcpu[vcpu].priority = x->point[x->next].priority;
    } else {
        fall(x, vcpu);
    }
    x->next++;
    make_room(x, vcpu);
}

static VschedPick explore_pick(void *policy, int pcpu, int64_t now)
{
    Explore *x = policy;
    VschedPick pick = { .vcpu = best(x, pcpu) };

    if (pick.vcpu == VSCHED_NONE) {
        return pick;
    }
    while (x->next < points(x) && x->point[x->next].at <= x->count) {
        change(x, pick.vcpu);
        pick.vcpu = best(x, pcpu);
    }
    pick.timeslice = x->values.slice;
    if (x->values.patience) {
        pick.timeslice = MIN(pick.timeslice, x->values.patience -
                                             x->vcpu[pick.vcpu].ran);
    }
    pick.timeslice = MAX(1, pick.timeslice);
    if (x->next < points(x) &&
        x->point[x->next].at - x->count <= pick.timeslice) {
        pick.timeslice = x->point[x->next].at - x->count;
        pick.precise = true;
    }
    x->vcpu[pick.vcpu].waits = false;
    return pick;
}

static bool explore_waiting(void *policy, int pcpu, int64_t now)
{
    return best(policy, pcpu) != VSCHED_NONE;
}

static VschedPick explore_take_over(void *policy, int pcpu, int vcpu,
                                    int64_t used, int64_t now)
{
    Explore *x = policy;

    x->pcpu[pcpu].leaves = true;
    return (VschedPick) { .vcpu = vcpu };       /* for the best to come */
}

static void explore_start(void *policy, int pcpu, int vcpu, int64_t now)
{
    Explore *x = policy;

    x->pcpu[pcpu].runs = vcpu;
}

static bool is_idle(const Explore *x, int vcpu)
{
    return x->services->idle(x->services->engine, vcpu, x->values.idle);
}

static void explore_stop(void *policy, int pcpu, int vcpu, int64_t ran,
                         VschedWhy why, int64_t now)
{
    Explore *x = policy;
    ExplorePCPU *p = &x->pcpu[pcpu];
    ExploreVCPU *v = &x->vcpu[vcpu];

    if (!p->uncounted) {
        x->count += ran;
        v->ran += ran;
    }
    *p = (ExplorePCPU) { .runs = VSCHED_NONE };
    if ((x->values.patience && v->ran >= x->values.patience) ||
        (why == VSCHED_EXPIRED && is_idle(x, vcpu))) {
        fall(x, vcpu);
    }
}

static bool explore_hint(void *policy, const VschedHint *hint)
{
    Explore *x = policy;

    switch (hint->kind) {
    case VSCHED_HINT_SPIN:
        fall(x, hint->vcpu);
        return best(x, hint->pcpu) != VSCHED_NONE;
    case VSCHED_HINT_HALT:
        if (x->values.idle != VSCHED_IDLE_NONE) {
            fall(x, hint->vcpu);
        }
        return false;
    case VSCHED_HINT_MARK:
        if (hint->number != VSCHED_MARK_BEGIN) {
            return false;
        }
        begin_anew(x, hint->pcpu);
        return true;
    default:
        return false;
    }
}

/*
 * ------------------------------------------------------------------------
 * Saved states: of the exploration that this is, or of another one, whose place
 * is taken by one that begins.
 */

enum {
    SAVED_SEED, SAVED_DEPTH, SAVED_STEPS, SAVED_COUNT, SAVED_LOWEST, SAVED_NEXT,
    SAVED_LEAVES, SAVED_UNCOUNTED, SAVED_REST
};

static void explore_save(void *policy, GArray *words)
{
    Explore *x = policy;
    int64_t head[SAVED_REST] = {
        [SAVED_SEED] = x->values.seed,
        [SAVED_DEPTH] = x->values.depth,
        [SAVED_STEPS] = x->values.steps,
        [SAVED_COUNT] = x->count,
        [SAVED_LOWEST] = x->lowest,
        [SAVED_NEXT] = x->next,
    };

    for (int p = 0; p < x->topology->pcpus; p++) {
        head[SAVED_LEAVES] |= (uint64_t)x->pcpu[p].leaves << p;
        head[SAVED_UNCOUNTED] |= (uint64_t)x->pcpu[p].uncounted << p;
    }
    g_array_append_vals(words, head, SAVED_REST);
    for (int i = 0; i < points(x); i++) {
        g_array_append_val(words, x->point[i].at);
        g_array_append_val(words, x->point[i].priority);
    }
    for (int v = 0; v < x->topology->vcpus; v++) {
        g_array_append_val(words, x->vcpu[v].priority);
        g_array_append_val(words, x->vcpu[v].ran);
    }
}

static bool within(int64_t value, int64_t from, int64_t to)
{
    return value >= from && value <= to;
}

/* @value is one that parameter number @i may have. */
static bool is_value(int i, int64_t value)
{
    return within(value, parameters[i].minimum, parameters[i].maximum);
}

/* The PCPUs of @mask exist, and somebody runs there. */
static bool pcpus_possible(const Explore *x, uint64_t mask)
{
    for (int p = 0; p < x->topology->pcpus; p++) {
        if (x->pcpu[p].runs != VSCHED_NONE) {
            mask &= ~(UINT64_C(1) << p);
        }
    }
    return !mask;
}

static bool points_possible(const int64_t *words, int depth, int64_t steps)
{
    uint64_t seen = 0;

    for (int i = 0; i < depth - 1; i++) {
        Point point = { words[2 * i], words[2 * i + 1] };
        Point before = i ? (Point) { words[2 * i - 2], words[2 * i - 1] }
                         : (Point) { -1, 0 };

        if (!within(point.at, 0, steps - 1) ||
            !within(point.priority, 1, depth - 1) ||
            seen >> point.priority & 1 || compare_points(&before, &point) > 0) {
            return false;
        }
        seen |= UINT64_C(1) << point.priority;
    }
    return true;
}

/* No two priorities are the same. */
static bool vcpus_possible(const int64_t *words, int vcpus, int64_t lowest,
                           int64_t highest)
{
    for (int v = 0; v < vcpus; v++) {
        if (!within(words[2 * v], lowest, highest) || !words[2 * v] ||
            !within(words[2 * v + 1], 0, LATEST)) {
            return false;
        }
        for (int other = 0; other < v; other++) {
            if (words[2 * other] == words[2 * v]) {
                return false;
            }
        }
    }
    return true;
}

static bool explore_load(void *policy, const int64_t *words, int n)
{
    Explore *x = policy;
    int vcpus = x->topology->vcpus;
    const int64_t *point, *vcpu;
    int64_t depth;

    if (n < SAVED_REST || !is_value(DEPTH, words[SAVED_DEPTH])) {
        return false;
    }
    depth = words[SAVED_DEPTH];
    point = words + SAVED_REST;
    vcpu = point + 2 * (depth - 1);
    if (n != SAVED_REST + 2 * (depth - 1) + 2 * vcpus ||
        !is_value(SEED, words[SAVED_SEED]) ||
        !is_value(STEPS, words[SAVED_STEPS]) ||
        !within(words[SAVED_COUNT], 0, LATEST) ||
        !within(words[SAVED_LOWEST], -LATEST, 0) ||
        !within(words[SAVED_NEXT], 0, depth - 1) ||
        !pcpus_possible(x, words[SAVED_LEAVES] | words[SAVED_UNCOUNTED]) ||
        !points_possible(point, depth, words[SAVED_STEPS]) ||
        !vcpus_possible(vcpu, vcpus, words[SAVED_LOWEST], depth + vcpus - 1)) {
        return false;
    }
    for (int p = 0; p < x->topology->pcpus; p++) {
        x->pcpu[p].leaves = words[SAVED_LEAVES] >> p & 1;
        x->pcpu[p].uncounted = words[SAVED_UNCOUNTED] >> p & 1;
    }
    if (words[SAVED_SEED] != x->values.seed || depth != x->values.depth ||
        words[SAVED_STEPS] != x->values.steps) {
        return true;
    }
    x->count = words[SAVED_COUNT];
    x->lowest = words[SAVED_LOWEST];
    x->next = words[SAVED_NEXT];
    for (int i = 0; i < points(x); i++) {
        x->point[i] = (Point) { point[2 * i], point[2 * i + 1] };
    }
    for (int v = 0; v < vcpus; v++) {
        x->vcpu[v].priority = vcpu[2 * v];
        x->vcpu[v].ran = vcpu[2 * v + 1];
    }
    return true;
}

static int64_t explore_longest_wait(void *policy, int64_t switch_cost,
                                    int64_t window)
{
    return INT64_MAX;
}

const VschedPolicyOps vsched_policy_explore = {
    .name = "explore",
    .description = "random priorities, to find faults of concurrency; listens "
                   "to the SDB and to halts",
    .parameters = parameters,
    .hints = VSCHED_LISTEN(VSCHED_HINT_SPIN) | VSCHED_LISTEN(VSCHED_HINT_HALT) |
             VSCHED_LISTEN(VSCHED_HINT_MARK),
    .create = explore_create,
    .destroy = explore_destroy,
    .set = explore_set,
    .place = explore_place,
    .enqueue = explore_enqueue,
    .dequeue = explore_dequeue,
    .pick = explore_pick,
    .waiting = explore_waiting,
    .take_over = explore_take_over,
    .start = explore_start,
    .stop = explore_stop,
    .hint = explore_hint,
    .save = explore_save,
    .load = explore_load,
    .longest_wait = explore_longest_wait,
};
