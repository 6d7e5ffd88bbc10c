/*
 * Policy "microslice": a few PCPUs with short timeslices for critical work.
 *
 * "Micro-sliced cores" (Ahn, Park, Heo and Huh, "Accelerating critical OS
 * services in virtualized systems with flexible micro-sliced cores", EuroSys
 * 2018): a VCPU that is preempted while it holds a lock, or before it has taken
 * an interrupt, holds up its siblings for as long as it waits.  What it has to
 * do is short.  So it does that on a PCPU of a small pool, where timeslices are
 * so short that it does not wait long, and then waits for its turn as before.
 *
 * A VCPU is critical if it stopped in privileged mode and was not idle
 * (parameter "idle"), or if a sibling has sent it an interrupt that it has not
 * taken yet.  Unless its home is free, it goes to a PCPU of the pool: one that
 * is free, else one for which nobody waits; if there is none, it waits for its
 * turn at home.  After one run of a micro-slice in the pool it waits at home
 * again, where its place in the queue has been kept.
 *
 * The rest is the map of "timeslice" over the other PCPUs: of those n that VCPU
 * i may run on, its home is number i mod n, and each has a queue.  The pool is
 * the PCPUs of the highest numbers that are on; one PCPU at least is not of it.
 * A VCPU whose mask leaves it PCPUs of the pool alone has its home there, and
 * runs in micro-slices.
 *
 * adaptive=on follows the authors' program: the size of the pool is found anew
 * from time to time.  First there is no pool, for the time "profile", in which
 * spins in privileged mode are counted: those of VCPUs that wait for a sibling
 * to take an interrupt, and others, for locks.  If there were none, there is no
 * pool for two such times.  If more were for locks, a pool of one is used, for
 * the time "epoch".  Otherwise pools of 1 to "pool" PCPUs are tried, each for a
 * profile, and the one with the fewest spins for interrupts is used, the
 * smallest of equals, for an epoch.
 *
 * Differences from the source: there a VCPU is moved when a sibling spins or
 * yields, and is critical if its program counter is in one of a list of the
 * guest kernel's functions; here it is moved when it stops or is sent the
 * interrupt, and no list is needed.  As there, one that spins itself is not
 * critical: here, one that was found to spin in privileged mode within the last
 * micro-slice (choice).  There Xen's credit scheduler balances the other PCPUs.
 * Values: 0.1 ms against 30 ms there.  In proportion to 100 us that would be
 * less than a switch; 10 us is a tenth.  A profile is 10 ms and an epoch 1 s
 * there; here the former is ten timeslices and the latter 100 times that.
 *
 * Longest wait, with m VCPUs at home on the PCPU that has most, k on that of
 * the pool, timeslices of S, micro-slices of M, switches of C and windows of W:
 * (m - 1) * (S + C + W) + C + W at home, and as a VCPU may be moved to the pool
 * at the end of that, (k + 1) * (M + C + W) + C + W there.  With adaptive=on
 * homes change now and then: see adaptive_wait().
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "queues.h"

#define NEVER (INT64_MIN / 2)

/* In the order of the parameters; times in cycles */
typedef struct Values {
    int64_t slice, micro_slice, pool, adaptive, profile, epoch, idle;
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
        .name = "micro-slice",
        .description = "timeslice on a PCPU of the pool, at most a slice",
        .unit = VSCHED_TIME,
        .minimum = 1000,                /* 1 us */
        .maximum = 1000 * 1000 * 1000,  /* 1 s */
        .value = 10 * 1000,             /* 10 us */
    },
    {
        .name = "pool",
        .description = "PCPUs of the pool; one PCPU is never of it",
        .unit = VSCHED_NUMBER,
        .minimum = 0,
        .maximum = VSCHED_PCPUS_MAX,
        .value = 1,
    },
    {
        .name = "adaptive",
        .description = "the pool has as many PCPUs, up to pool, as spins show "
                       "to be best",
        .unit = VSCHED_SWITCH,
        .maximum = 1,
        .value = 0,
    },
    {
        .name = "profile",
        .description = "time for which a size of the pool is tried (adaptive)",
        .unit = VSCHED_TIME,
        .minimum = 10 * 1000,           /* 10 us */
        .maximum = 1000 * 1000 * 1000,  /* 1 s */
        .value = 1000 * 1000,           /* 1 ms */
    },
    {
        .name = "epoch",
        .description = "time for which the best size is used (adaptive)",
        .unit = VSCHED_TIME,
        .minimum = 10 * 1000,           /* 10 us */
        .maximum = 100000000000,        /* 100 s */
        .value = 100 * 1000 * 1000,     /* 100 ms */
    },
    {
        .name = "idle",
        .description = "what tells that a VCPU is idle",
        .unit = VSCHED_CHOICE,
        .maximum = VSCHED_IDLE_NONE,
        .value = VSCHED_IDLE_AUTO,
        .choices = vsched_idle_choices,
    },
    { }
};

typedef struct MicrosliceVCPU {
    int home;                   /* PCPU */
    int64_t turn;               /* number of its turn: its place at home */
    bool interrupted;           /* by a sibling, and has not taken it */
    bool returns;               /* from the pool: stop() to enqueue() */
    int receiver;               /* of its last interrupt, or VSCHED_NONE */
    int64_t spun;               /* cycle: found to spin in privileged mode */
} MicrosliceVCPU;

/* A size that is tried; else one is in use */
#define IN_USE (-1)

typedef struct Microslice {
    const VschedServices *services;
    const VschedTopology *topology;
    Values values;
    /* of each PCPU; at home in the order of turns, which are since[] */
    VschedQueues queues;
    uint64_t pool, busy;        /* PCPUs: of the pool; on which anyone runs */
    int64_t turns;              /* given so far */
    MicrosliceVCPU *vcpu;
    /* adaptive */
    int size;                   /* of the pool, if there are PCPUs enough */
    int trying;                 /* size, or IN_USE */
    int64_t until;              /* cycle */
    int64_t interrupt_spins, lock_spins;
    int best;                   /* size so far */
    int64_t fewest;             /* interrupt_spins of that */
} Microslice;

static bool are_possible(const Values *values, char **why)
{
    if (values->micro_slice > values->slice) {
        *why = g_strdup_printf("a micro-slice cannot be longer than a slice: "
                               "they are %" G_GINT64_FORMAT " and %"
                               G_GINT64_FORMAT " cycles",
                               values->micro_slice, values->slice);
        return false;
    }
    return true;
}

/*
 * ------------------------------------------------------------------------
 * The pool and the homes.
 */

/* Number @n of the bits that are set in @mask, the lowest being number 0. */
static int nth_bit(uint64_t mask, int n)
{
    while (n--) {
        mask &= mask - 1;
    }
    return __builtin_ctzll(mask);
}

/* The most PCPUs that the pool may have now */
static int largest_pool(const Microslice *m)
{
    return MIN(m->values.pool, __builtin_popcountll(m->topology->online) - 1);
}

static void find_homes(Microslice *m)
{
    uint64_t others = m->topology->online;
    int size = MIN(m->size, largest_pool(m));

    m->pool = 0;
    while (size--) {
        uint64_t highest = 1ull << (63 - __builtin_clzll(others));

        m->pool |= highest;
        others &= ~highest;
    }
    for (int v = 0; v < m->topology->vcpus; v++) {
        uint64_t allowed = m->topology->allowed[v];

        if (allowed & others) {
            allowed &= others;
        }
        m->vcpu[v].home = nth_bit(allowed, v % __builtin_popcountll(allowed));
    }
}

/* Where @vcpu may wait: at home, or for a PCPU of the pool. */
static bool may_wait(const Microslice *m, int vcpu, int queue)
{
    return queue == m->vcpu[vcpu].home ||
           (m->topology->allowed[vcpu] & m->pool) >> queue & 1;
}

/* The size of the pool has changed, or the PCPUs that there are. */
static void move_home(Microslice *m)
{
    find_homes(m);
    for (int v = 0; v < m->topology->vcpus; v++) {
        int queue = m->queues.in[v];

        if (queue != VSCHED_NONE && !may_wait(m, v, queue)) {
            vsched_queues_move(&m->queues, v, m->vcpu[v].home);
        }
    }
}

static void begin(Microslice *m)
{
    m->size = m->values.adaptive ? 0 : m->values.pool;
    m->trying = IN_USE;
    m->until = m->values.adaptive ? 0 : INT64_MAX;
}

static void *microslice_create(const VschedServices *services,
                               const int64_t *values, char **why)
{
    const VschedTopology *t = services->topology;
    Microslice *m;
    Values v;

    memcpy(&v, values, sizeof(v));
    if (!are_possible(&v, why)) {
        return NULL;
    }
    m = g_new0(Microslice, 1);
    m->services = services;
    m->topology = t;
    m->values = v;
    vsched_queues_init(&m->queues, t->vcpus, t->pcpus);
    m->vcpu = g_new0(MicrosliceVCPU, t->vcpus);
    for (int i = 0; i < t->vcpus; i++) {
        m->vcpu[i].receiver = VSCHED_NONE;
        m->vcpu[i].spun = NEVER;
    }
    begin(m);
    find_homes(m);
    return m;
}

static void microslice_destroy(void *policy)
{
    Microslice *m = policy;

    vsched_queues_clear(&m->queues);
    g_free(m->vcpu);
    g_free(m);
}

static bool microslice_set(void *policy, const int64_t *values, char **why)
{
    Microslice *m = policy;
    Values v;
    bool other;

    memcpy(&v, values, sizeof(v));
    if (!are_possible(&v, why)) {
        return false;
    }
    other = v.adaptive != m->values.adaptive || v.pool != m->values.pool;
    m->values = v;
    if (other) {
        begin(m);
        move_home(m);
    }
    return true;
}

static void microslice_changed(void *policy, int64_t now)
{
    move_home(policy);
}

/*
 * ------------------------------------------------------------------------
 * Who is critical, and where he goes.
 */

/* @vcpu, which has just become ready for reason @why. */
static bool is_critical(const Microslice *m, int vcpu, VschedWhy why,
                        int64_t now)
{
    const VschedServices *s = m->services;

    return m->vcpu[vcpu].interrupted ||
           (why != VSCHED_WOKEN && !s->user_mode(s->engine, vcpu) &&
            !s->idle(s->engine, vcpu, m->values.idle) &&
            now - m->vcpu[vcpu].spun > m->values.micro_slice);
}

/* @vcpu, at home or on the way there, has to wait for others. */
static bool would_wait(const Microslice *m, int vcpu)
{
    int home = m->vcpu[vcpu].home, head = m->queues.head[home];

    return m->busy >> home & 1 || (head != VSCHED_NONE && head != vcpu);
}

/* A PCPU of the pool that is free for @vcpu, or will be soon; or none. */
static int find_pool(const Microslice *m, int vcpu)
{
    uint64_t allowed = m->topology->allowed[vcpu] & m->pool;
    int best = VSCHED_NONE;

    if (!would_wait(m, vcpu)) {
        return VSCHED_NONE;
    }
    for (int p = 0; p < m->topology->pcpus; p++) {
        if (allowed >> p & 1 && !m->queues.length[p] &&
            (best == VSCHED_NONE || (m->busy >> best & 1 &&
                                     !(m->busy >> p & 1)))) {
            best = p;
        }
    }
    return best;
}

static int microslice_place(void *policy, int vcpu)
{
    Microslice *m = policy;
    int queue = m->queues.in[vcpu];

    return queue != VSCHED_NONE ? queue : m->vcpu[vcpu].home;
}

static void microslice_enqueue(void *policy, int vcpu, VschedWhy why,
                               int64_t since, int64_t now)
{
    Microslice *m = policy;
    MicrosliceVCPU *v = &m->vcpu[vcpu];
    int pcpu = VSCHED_NONE;

    if (!v->returns) {
        v->turn = m->turns++;
        if (why != VSCHED_ADDED && is_critical(m, vcpu, why, now)) {
            pcpu = find_pool(m, vcpu);
        }
    }
    v->returns = false;
    if (pcpu != VSCHED_NONE) {
        vsched_queues_append(&m->queues, pcpu, vcpu, v->turn);
    } else {
        vsched_queues_insert(&m->queues, v->home, vcpu, v->turn);
    }
}

static void microslice_dequeue(void *policy, int vcpu, int64_t now)
{
    Microslice *m = policy;

    vsched_queues_remove(&m->queues, vcpu);
}

static VschedPick microslice_pick(void *policy, int pcpu, int64_t now)
{
    Microslice *m = policy;
    VschedPick pick = {
        .vcpu = m->queues.head[pcpu],
        .timeslice = m->pool >> pcpu & 1 ? m->values.micro_slice
                                         : m->values.slice,
    };

    if (pick.vcpu != VSCHED_NONE) {
        vsched_queues_remove(&m->queues, pick.vcpu);
    }
    return pick;
}

static bool microslice_waiting(void *policy, int pcpu, int64_t now)
{
    Microslice *m = policy;

    return m->queues.head[pcpu] != VSCHED_NONE;
}

static VschedPick microslice_take_over(void *policy, int pcpu, int vcpu,
                                       int64_t used, int64_t now)
{
    Microslice *m = policy;

    m->vcpu[vcpu].turn = m->turns++;
    return (VschedPick) {
        .vcpu = vcpu,
        .timeslice = m->pool >> pcpu & 1 ? m->values.micro_slice
                                         : m->values.slice,
    };
}

static void microslice_start(void *policy, int pcpu, int vcpu, int64_t now)
{
    Microslice *m = policy;

    m->busy |= 1ull << pcpu;
}

static void microslice_stop(void *policy, int pcpu, int vcpu, int64_t ran,
                            VschedWhy why, int64_t now)
{
    Microslice *m = policy;

    m->busy &= ~(1ull << pcpu);
    m->vcpu[vcpu].returns = why != VSCHED_STOPPED && m->pool >> pcpu & 1 &&
                            m->vcpu[vcpu].home != pcpu;
}

/*
 * ------------------------------------------------------------------------
 * Interrupts and spins.
 */

/* One that waits for its turn and is sent an interrupt need not wait. */
static void interrupted(Microslice *m, int vcpu)
{
    int queue = m->queues.in[vcpu], pcpu;

    m->vcpu[vcpu].interrupted = true;
    if (queue == VSCHED_NONE || m->pool >> queue & 1) {
        return;
    }
    pcpu = find_pool(m, vcpu);
    if (pcpu != VSCHED_NONE) {
        vsched_queues_remove(&m->queues, vcpu);
        vsched_queues_append(&m->queues, pcpu, vcpu, m->vcpu[vcpu].turn);
    }
}

static void spins(Microslice *m, int vcpu, int64_t now)
{
    MicrosliceVCPU *v = &m->vcpu[vcpu];

    if (m->services->user_mode(m->services->engine, vcpu) ||
        m->services->idle(m->services->engine, vcpu, m->values.idle)) {
        return;
    }
    v->spun = now;
    if (v->receiver != VSCHED_NONE && m->vcpu[v->receiver].interrupted) {
        m->interrupt_spins++;
    } else {
        m->lock_spins++;
    }
}

static bool microslice_hint(void *policy, const VschedHint *hint)
{
    Microslice *m = policy;

    switch (hint->kind) {
    case VSCHED_HINT_SPIN:
        spins(m, hint->vcpu, hint->now);
        break;
    case VSCHED_HINT_SENT:
        if (hint->other != VSCHED_NONE) {
            m->vcpu[hint->other].receiver = hint->vcpu;
            interrupted(m, hint->vcpu);
        }
        break;
    case VSCHED_HINT_TAKEN:
        m->vcpu[hint->vcpu].interrupted = false;
        break;
    default:
        break;
    }
    return false;
}

/*
 * ------------------------------------------------------------------------
 * adaptive=on.
 */

static void try_size(Microslice *m, int size, int64_t now)
{
    m->size = m->trying = size;
    m->until = now + m->values.profile;
}

static void use_size(Microslice *m, int size, int64_t until)
{
    m->size = size;
    m->trying = IN_USE;
    m->until = until;
}

/* The size that was tried has had its time. */
static void tried(Microslice *m, int64_t now)
{
    int64_t epoch = now + m->values.epoch;
    int largest = largest_pool(m);

    if (m->trying == 0) {
        if (!largest || (!m->interrupt_spins && !m->lock_spins)) {
            use_size(m, 0, now + 2 * m->values.profile);
        } else if (m->lock_spins > m->interrupt_spins) {
            use_size(m, 1, epoch);
        } else {
            m->fewest = INT64_MAX;
            try_size(m, 1, now);
        }
        return;
    }
    if (m->interrupt_spins < m->fewest) {
        m->fewest = m->interrupt_spins;
        m->best = m->trying;
    }
    if (m->trying < largest) {
        try_size(m, m->trying + 1, now);
    } else {
        use_size(m, m->best, epoch);
    }
}

static int64_t microslice_next_tick(void *policy)
{
    Microslice *m = policy;

    return m->until;
}

static void microslice_tick(void *policy, int64_t now)
{
    Microslice *m = policy;

    if (m->trying == IN_USE) {
        try_size(m, 0, now);
    } else {
        tried(m, now);
    }
    m->interrupt_spins = m->lock_spins = 0;
    move_home(m);
}

/*
 * ------------------------------------------------------------------------
 * Saved states.
 */

static void put(GArray *words, int64_t word)
{
    g_array_append_val(words, word);
}

#define VCPU_WORDS 4
#define OTHER_WORDS 8

/* The queues; each VCPU; the rest. */
static void microslice_save(void *policy, GArray *words)
{
    Microslice *m = policy;

    vsched_queues_save(&m->queues, words);
    for (int v = 0; v < m->topology->vcpus; v++) {
        put(words, m->vcpu[v].turn);
        put(words, m->vcpu[v].interrupted);
        put(words, m->vcpu[v].receiver);
        put(words, m->vcpu[v].spun);
    }
    put(words, m->turns);
    put(words, m->size);
    put(words, m->trying);
    put(words, m->until);
    put(words, m->interrupt_spins);
    put(words, m->lock_spins);
    put(words, m->best);
    put(words, m->fewest);
}

static bool within(int64_t word, int64_t low, int64_t high)
{
    return word >= low && word <= high;
}

static bool load_rest(Microslice *m, const int64_t *words)
{
    if (!within(words[0], 0, -NEVER) ||
        !within(words[1], 0, VSCHED_PCPUS_MAX) ||
        !within(words[2], IN_USE, VSCHED_PCPUS_MAX) || words[3] < 0 ||
        !within(words[4], 0, -NEVER) || !within(words[5], 0, -NEVER) ||
        !within(words[6], 0, VSCHED_PCPUS_MAX) || words[7] < 0) {
        return false;
    }
    m->turns = words[0];
    m->size = words[1];
    m->trying = words[2];
    m->until = words[3];
    m->interrupt_spins = words[4];
    m->lock_spins = words[5];
    m->best = words[6];
    m->fewest = words[7];
    return true;
}

static bool microslice_load(void *policy, const int64_t *words, int n)
{
    Microslice *m = policy;
    int vcpus = m->topology->vcpus;
    int used = vsched_queues_load(&m->queues, words, n);

    if (used < 0 || n != used + VCPU_WORDS * vcpus + OTHER_WORDS ||
        !load_rest(m, words + n - OTHER_WORDS)) {
        return false;
    }
    find_homes(m);
    words += used;
    for (int v = 0; v < vcpus; v++, words += VCPU_WORDS) {
        int queue = m->queues.in[v];

        if (!within(words[0], 0, m->turns) || !within(words[1], 0, 1) ||
            !within(words[2], VSCHED_NONE, vcpus - 1) ||
            !within(words[3], NEVER, -NEVER) ||
            (queue != VSCHED_NONE && !may_wait(m, v, queue))) {
            return false;
        }
        m->vcpu[v].turn = m->queues.since[v] = words[0];
        m->vcpu[v].interrupted = words[1];
        m->vcpu[v].receiver = words[2];
        m->vcpu[v].spun = words[3];
    }
    return true;
}

/*
 * With adaptive=on, all others may stand before a VCPU, each once, as turns
 * are common to all PCPUs.  Each time that the size of the pool changes, it may
 * come to a PCPU where one with a later turn runs, or back from the pool and to
 * the pool again.  That is B cycles more each time.  Let P be the shorter one
 * of a profile and an epoch.  A wait of X cycles meets X / P + 2 changes at
 * most, so X <= A + B * (X / P + 2), which is (A + 2 * B) * P / (P - B).
 */
static int64_t adaptive_wait(const Microslice *m, int64_t turn, int64_t micro,
                             int64_t last)
{
    int vcpus = m->topology->vcpus;
    int64_t each = turn + (vcpus + 1) * micro + last;
    int64_t all = (vcpus - 1) * turn + (vcpus + 1) * micro + 2 * last +
                  2 * each;
    int64_t free = MIN(m->values.profile, m->values.epoch) - each, more;

    if (free <= 0 ||
        __builtin_mul_overflow((all + free - 1) / free, each, &more) ||
        __builtin_add_overflow(all, more, &all)) {
        return INT64_MAX;
    }
    return all;
}

static int64_t microslice_longest_wait(void *policy, int64_t switch_cost,
                                       int64_t window)
{
    Microslice *m = policy;
    int64_t last = switch_cost + window;
    int64_t turn = m->values.slice + last, micro = m->values.micro_slice + last;
    g_autofree int *belong = g_new0(int, m->topology->pcpus);
    int most = 0, most_of_pool = 0;

    if (m->values.adaptive && largest_pool(m)) {
        return adaptive_wait(m, turn, micro, last);
    }
    for (int v = 0; v < m->topology->vcpus; v++) {
        int home = m->vcpu[v].home;
        int *of = m->pool >> home & 1 ? &most_of_pool : &most;

        belong[home]++;
        *of = MAX(*of, belong[home]);
    }
    return MAX(0, most - 1) * turn + last +
           (m->pool ? (most_of_pool + 1) * micro + last : 0);
}

const VschedPolicyOps vsched_policy_microslice = {
    .name = "microslice",
    .description = "static map; critical work on a few PCPUs with short slices",
    .parameters = parameters,
    .hints = VSCHED_LISTEN(VSCHED_HINT_SPIN) |
             VSCHED_LISTEN(VSCHED_HINT_SENT) |
             VSCHED_LISTEN(VSCHED_HINT_TAKEN),
    .create = microslice_create,
    .destroy = microslice_destroy,
    .set = microslice_set,
    .place = microslice_place,
    .enqueue = microslice_enqueue,
    .dequeue = microslice_dequeue,
    .pick = microslice_pick,
    .waiting = microslice_waiting,
    .take_over = microslice_take_over,
    .start = microslice_start,
    .stop = microslice_stop,
    .next_tick = microslice_next_tick,
    .tick = microslice_tick,
    .changed = microslice_changed,
    .hint = microslice_hint,
    .save = microslice_save,
    .load = microslice_load,
    .longest_wait = microslice_longest_wait,
};
