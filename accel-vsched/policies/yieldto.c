/*
 * Policy "yieldto": a VCPU that spins has a sibling run in its place.
 *
 * KVM's directed yield (kvm_vcpu_on_spin() and yield_to() of Linux): when a
 * VCPU is found spinning, the hypervisor guesses for which sibling it spins,
 * one that was preempted while it held a lock or that has not taken an
 * interrupt yet, and runs that one next.
 *
 * Two things find the spin, parameter "trigger".  "sdb": the spin detection
 * buffer.  "pause": PAUSE-loop exiting (PLE) as Intel's processors do it, in
 * privileged mode only.  Two PAUSEs no more than ple-gap cycles apart are of
 * one loop; a loop that has lasted for more than ple-window cycles exits.  The
 * window doubles with each exit and is as it was when the VCPU is scheduled
 * again.  What the SDB finds is spaced by the same window (choice): it reports
 * every period, and a VCPU that nobody takes off its PCPU would preempt others
 * without end.
 *
 * Two sets of rules, parameter "rules":
 *
 * "buddy", merged in Linux in 2012 and since.  The siblings are visited in
 * turn, from the one after the last that was boosted.  Those that run or are
 * blocked are skipped, and so are, if the spin is in the kernel, those that
 * were preempted in user mode and have no interrupt pending.  One that gave up
 * its own timeslice by a directed yield and has not run since is eligible
 * every second time that it is looked at.  The first that is left becomes the
 * next buddy of its queue: it runs before all others there, once.  Whoever runs
 * on its PCPU is preempted; the spinner gives up the rest of its timeslice.
 *
 * "credit", proposed in 2026 (the third version of "Semantics-aware directed
 * yield for oversubscribed KVM").  Candidates, in this order: one that this
 * VCPU has sent an interrupt, to it alone, within the last ipi-window, which it
 * has not taken; one with an interrupt pending; one that was preempted in the
 * kernel; in a second, relaxed pass any that was preempted.  The target gets a
 * bounded credit: while it lasts, it runs before the others of its queue, also
 * after it was interrupted.  The spinner has no penalty: it keeps its place and
 * the rest of its timeslice.  A reschedule is forced at most once in each
 * resched-interval a queue; otherwise the credit counts when the next timeslice
 * ends.
 *
 * Where the target runs: where it waits, as in KVM, which sets the buddy of the
 * target's own run queue and reschedules that CPU.  Nobody migrates.  Below
 * this is the static map of "timeslice", a queue for each PCPU.  A VCPU that is
 * preempted goes to the front of its queue and goes on with the rest of its
 * timeslice.
 *
 * Fairness.  CFS follows a buddy only while that is not too unfair to the
 * others.  Here (choice): a queue in which anyone has waited for "patience" is
 * served in its order until he has run, and nobody there is preempted.
 *
 * Differences: Linux charges virtual run time, so a spinner that yields comes
 * soon again; under "buddy" it goes to the end of the queue, as in "sdb".  KVM
 * forgets an interrupt when its handler ends (EOI), here when it is taken.  The
 * published patches test the first three conditions in one scan, their text
 * calls them an order of priority, which they are here.  They scale the credit
 * with the length of the queue.  A VCPU that is idle (parameter "idle") waits
 * for nobody: its spin only lets the next one of its queue run.
 *
 * Longest wait: that of "timeslice", and where a PCPU has more than one VCPU,
 * the patience.  When a VCPU has waited so long, its queue is served in order:
 * whoever runs then and those that stand before it run for a timeslice at most,
 * each once.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "fifo.h"

#define NEVER (INT64_MIN / 2)

/* No window grows beyond this, as in KVM. */
#define PLE_WINDOW_MAX UINT32_MAX

enum { TRIGGER_SDB, TRIGGER_PAUSE };
enum { RULES_BUDDY, RULES_CREDIT };

static const char *const trigger_choices[] = { "sdb", "pause", NULL };
static const char *const rules_choices[] = { "buddy", "credit", NULL };

/* In the order of the parameters */
typedef struct Values {
    int64_t slice, trigger, rules, ple_gap, ple_window, patience, credit,
            resched_interval, ipi_window, idle;
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
        .name = "trigger",
        .description = "what finds a spin: the SDB, or PAUSE-loop exiting",
        .unit = VSCHED_CHOICE,
        .maximum = 1,
        .value = TRIGGER_SDB,
        .choices = trigger_choices,
    },
    {
        .name = "rules",
        .description = "rules of Linux since 2012 (buddy), or those proposed "
                       "in 2026 (credit)",
        .unit = VSCHED_CHOICE,
        .maximum = 1,
        .value = RULES_BUDDY,
        .choices = rules_choices,
    },
    {
        .name = "ple-gap",
        .description = "most cycles between two PAUSEs of a loop",
        .unit = VSCHED_NUMBER,
        .minimum = 1,
        .maximum = 1000000,
        .value = 128,                   /* KVM's */
    },
    {
        .name = "ple-window",
        .description = "cycles that a spin lasts before it is heard again; "
                       "doubles each time",
        .unit = VSCHED_NUMBER,
        .minimum = 1,
        .maximum = 1000000000,
        .value = 4096,                  /* KVM's */
    },
    {
        .name = "patience",
        .description = "wait after which a VCPU is not passed over any more",
        .unit = VSCHED_TIME,
        .minimum = 0,
        .maximum = 1000 * 1000 * 1000,  /* 1 s */
        .value = 1000 * 1000,           /* 1 ms: ten slices (choice) */
    },
    {
        .name = "credit",
        .description = "time that a target may run ahead of others (credit)",
        .unit = VSCHED_TIME,
        .minimum = 1000,                /* 1 us */
        .maximum = 1000 * 1000 * 1000,  /* 1 s */
        .value = 200 * 1000,            /* two slices, as EEVDF's lag */
    },
    {
        .name = "resched-interval",
        .description = "least time between reschedules of a queue that are "
                       "forced (credit)",
        .unit = VSCHED_TIME,
        .minimum = 0,
        .maximum = 1000 * 1000 * 1000,  /* 1 s */
        .value = 6 * 1000 * 1000,       /* 6 ms, the proposal's */
    },
    {
        .name = "ipi-window",
        .description = "how long an interrupt makes its receiver a target "
                       "(credit)",
        .unit = VSCHED_TIME,
        .minimum = 0,
        .maximum = 1000 * 1000 * 1000,  /* 1 s */
        .value = 50 * 1000 * 1000,      /* 50 ms, the proposal's */
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

typedef struct YieldToVCPU {
    int64_t given;              /* cycles: the timeslice that it runs in */
    int64_t left;               /* cycles of it, if it was not used up */
    int64_t credit;             /* cycles */
    bool preempted;             /* it waits, and was not woken */
    /* It gave up its timeslice by a directed yield, and has not run since. */
    bool in_spin_loop;
    bool dy_eligible;           /* it was passed over last time for that */
    int receiver;               /* of its last interrupt, or VSCHED_NONE */
    int64_t sent;               /* cycle of that interrupt */
    int64_t first_pause, last_pause;    /* cycles: of the loop */
    int64_t ple_window;         /* cycles */
    int64_t deaf_until;         /* cycle: spins before are not heard */
} YieldToVCPU;

typedef struct YieldTo {
    const VschedServices *services;
    const VschedTopology *topology;
    VschedFifo *fifo;
    Values values;
    YieldToVCPU *vcpu;
    /* of each PCPU */
    int *next;                  /* buddy, or VSCHED_NONE */
    int64_t *forced;            /* cycle of the last forced reschedule */
    int *expired;               /* VCPU that goes on if nobody waits, or NONE */
    /* of each VM */
    int *last_boosted;          /* VCPU, or VSCHED_NONE */
} YieldTo;

static void *yieldto_create(const VschedServices *services,
                            const int64_t *values, char **why)
{
    const VschedTopology *t = services->topology;
    YieldTo *y = g_new0(YieldTo, 1);

    y->services = services;
    y->topology = t;
    y->fifo = vsched_fifo_create(services, values, why);
    memcpy(&y->values, values, sizeof(y->values));
    y->vcpu = g_new0(YieldToVCPU, t->vcpus);
    for (int v = 0; v < t->vcpus; v++) {
        y->vcpu[v].receiver = VSCHED_NONE;
        y->vcpu[v].sent = NEVER;
        y->vcpu[v].first_pause = y->vcpu[v].last_pause = NEVER;
        y->vcpu[v].ple_window = y->values.ple_window;
        y->vcpu[v].deaf_until = NEVER;
    }
    y->next = g_new(int, t->pcpus);
    y->forced = g_new(int64_t, t->pcpus);
    y->expired = g_new(int, t->pcpus);
    for (int p = 0; p < t->pcpus; p++) {
        y->next[p] = y->expired[p] = VSCHED_NONE;
        y->forced[p] = NEVER;
    }
    y->last_boosted = g_new(int, t->vms);
    for (int i = 0; i < t->vms; i++) {
        y->last_boosted[i] = VSCHED_NONE;
    }
    return y;
}

static void yieldto_destroy(void *policy)
{
    YieldTo *y = policy;

    vsched_fifo_destroy(y->fifo);
    g_free(y->vcpu);
    g_free(y->next);
    g_free(y->forced);
    g_free(y->expired);
    g_free(y->last_boosted);
    g_free(y);
}

static bool yieldto_set(void *policy, const int64_t *values, char **why)
{
    YieldTo *y = policy;

    memcpy(&y->values, values, sizeof(y->values));
    return vsched_fifo_set(y->fifo, values, why);
}

/*
 * ------------------------------------------------------------------------
 * The queues.
 */

static int yieldto_place(void *policy, int vcpu)
{
    YieldTo *y = policy;

    return vsched_fifo_place(y->fifo, vcpu);
}

static void yieldto_enqueue(void *policy, int vcpu, VschedWhy why,
                            int64_t since, int64_t now)
{
    YieldTo *y = policy;
    YieldToVCPU *v = &y->vcpu[vcpu];
    bool stays = why == VSCHED_PREEMPTED ||
                 (why == VSCHED_YIELDED && v->in_spin_loop &&
                  y->values.rules == RULES_CREDIT);

    v->preempted = why != VSCHED_WOKEN;
    if (stays && v->left) {
        vsched_queues_prepend(&y->fifo->queues, y->fifo->home[vcpu], vcpu,
                              since);
    } else {
        v->left = 0;
        vsched_fifo_enqueue(y->fifo, vcpu, why, since, now);
    }
}

static void yieldto_dequeue(void *policy, int vcpu, int64_t now)
{
    YieldTo *y = policy;

    y->vcpu[vcpu].left = y->vcpu[vcpu].credit = 0;
    vsched_fifo_dequeue(y->fifo, vcpu, now);
}

/* Nobody who waits for @pcpu has waited so long that he goes first. */
static bool may_pass(const YieldTo *y, int pcpu, int64_t now)
{
    const VschedQueues *q = &y->fifo->queues;

    for (int v = q->head[pcpu]; v != VSCHED_NONE; v = q->next[v]) {
        if (now - q->since[v] >= y->values.patience) {
            return false;
        }
    }
    return true;
}

/* Who runs before the first of the queue of @pcpu, or else that one. */
static int next_of(const YieldTo *y, int pcpu, int64_t now)
{
    const VschedQueues *q = &y->fifo->queues;
    bool credits = y->values.rules == RULES_CREDIT;
    int next = y->next[pcpu];

    if (!may_pass(y, pcpu, now)) {
        return q->head[pcpu];
    }
    if (next != VSCHED_NONE && q->in[next] == pcpu &&
        (!credits || y->vcpu[next].credit)) {
        return next;
    }
    for (int v = q->head[pcpu]; credits && v != VSCHED_NONE; v = q->next[v]) {
        if (y->vcpu[v].credit) {
            return v;
        }
    }
    return q->head[pcpu];
}

static VschedPick yieldto_pick(void *policy, int pcpu, int64_t now)
{
    YieldTo *y = policy;
    int head = y->fifo->queues.head[pcpu];
    VschedPick pick = { .vcpu = head };
    YieldToVCPU *v;

    if (head == VSCHED_NONE) {
        return pick;
    }
    pick.vcpu = next_of(y, pcpu, now);
    v = &y->vcpu[pick.vcpu];
    v->given = v->left ? v->left : y->values.slice;
    if (pick.vcpu != head && y->values.rules == RULES_CREDIT) {
        v->given = MIN(v->given, v->credit);
    }
    pick.timeslice = v->given;
    y->next[pcpu] = VSCHED_NONE;
    vsched_queues_remove(&y->fifo->queues, pick.vcpu);
    return pick;
}

static bool yieldto_waiting(void *policy, int pcpu, int64_t now)
{
    YieldTo *y = policy;

    return vsched_fifo_waiting(y->fifo, pcpu, now);
}

static VschedPick yieldto_take_over(void *policy, int pcpu, int vcpu,
                                    int64_t used, int64_t now)
{
    YieldTo *y = policy;

    y->vcpu[vcpu].given = MAX(0, y->values.slice - used);
    return vsched_fifo_take_over(y->fifo, pcpu, vcpu, used, now);
}

static void yieldto_start(void *policy, int pcpu, int vcpu, int64_t now)
{
    YieldTo *y = policy;
    YieldToVCPU *v = &y->vcpu[vcpu];

    v->in_spin_loop = v->dy_eligible = false;
    /* One that is alone on its PCPU never left it. */
    if (y->expired[pcpu] != vcpu) {
        v->first_pause = v->last_pause = v->deaf_until = NEVER;
        v->ple_window = y->values.ple_window;
    }
    y->expired[pcpu] = VSCHED_NONE;
}

static void yieldto_stop(void *policy, int pcpu, int vcpu, int64_t ran,
                         VschedWhy why, int64_t now)
{
    YieldTo *y = policy;
    YieldToVCPU *v = &y->vcpu[vcpu];

    v->left = MAX(0, v->given - ran);
    v->credit = MAX(0, v->credit - ran);
    y->expired[pcpu] = why == VSCHED_EXPIRED ? vcpu : VSCHED_NONE;
    if (why == VSCHED_STOPPED) {
        v->left = v->credit = 0;
    }
}

static void yieldto_changed(void *policy, int64_t now)
{
    YieldTo *y = policy;

    vsched_fifo_changed(y->fifo, now);
}

/*
 * ------------------------------------------------------------------------
 * Who the target of a directed yield is.
 */

static bool user_mode(const YieldTo *y, int vcpu)
{
    return y->services->user_mode(y->services->engine, vcpu);
}

static bool interrupt_pending(const YieldTo *y, int vcpu)
{
    return y->services->interrupt_pending(y->services->engine, vcpu);
}

/* kvm_vcpu_eligible_for_directed_yield() */
static bool eligible(YieldToVCPU *v)
{
    bool is = !v->in_spin_loop || v->dy_eligible;

    if (v->in_spin_loop) {
        v->dy_eligible = !v->dy_eligible;
    }
    return is;
}

/* @vcpu, which waits, is not one to be skipped; @kernel: the spin is there. */
static bool is_buddy(const YieldTo *y, int vcpu, bool kernel)
{
    return !(y->vcpu[vcpu].preempted && kernel && user_mode(y, vcpu) &&
             !interrupt_pending(y, vcpu));
}

#define CREDIT_PASSES 4         /* the last one is the relaxed one */

static bool is_candidate(const YieldTo *y, int me, int vcpu, bool kernel,
                         int pass, int64_t now)
{
    const YieldToVCPU *v = &y->vcpu[vcpu];

    switch (pass) {
    case 0:
        return y->vcpu[me].receiver == vcpu &&
               now - y->vcpu[me].sent <= y->values.ipi_window;
    case 1:
        return interrupt_pending(y, vcpu);
    case 2:
        return v->preempted && !(kernel && user_mode(y, vcpu));
    default:
        return v->preempted;
    }
}

static int find_target(YieldTo *y, int me, int64_t now)
{
    const VschedTopology *t = y->topology;
    bool credits = y->values.rules == RULES_CREDIT, kernel = !user_mode(y, me);
    int last = y->last_boosted[t->vm[me]];

    for (int pass = 0; pass < (credits ? CREDIT_PASSES : 1); pass++) {
        for (int i = 1; i <= t->vcpus; i++) {
            int v = (last + i) % t->vcpus;

            if (v != me && t->vm[v] == t->vm[me] &&
                y->fifo->queues.in[v] != VSCHED_NONE &&
                (credits ? is_candidate(y, me, v, kernel, pass, now)
                         : is_buddy(y, v, kernel)) &&
                eligible(&y->vcpu[v])) {
                return v;
            }
        }
    }
    return VSCHED_NONE;
}

/*
 * ------------------------------------------------------------------------
 * The yield.
 */

/* @target, of queue @queue, is the buddy; true: @me makes room at once. */
static bool yield_to_buddy(YieldTo *y, int pcpu, int target, int64_t now)
{
    int queue = y->fifo->queues.in[target];

    if (queue != pcpu && may_pass(y, queue, now)) {
        y->services->preempt(y->services->engine, queue);
    }
    return vsched_fifo_waiting(y->fifo, pcpu, now);
}

static bool yield_with_credit(YieldTo *y, int pcpu, int target, int64_t now)
{
    int queue = y->fifo->queues.in[target];

    y->vcpu[target].credit = y->values.credit;
    if (!may_pass(y, queue, now) ||
        now - y->forced[queue] < y->values.resched_interval) {
        return false;
    }
    y->forced[queue] = now;
    if (queue != pcpu) {
        y->services->preempt(y->services->engine, queue);
    }
    return queue == pcpu;
}

/* kvm_vcpu_on_spin(): true if @me gives up the rest of its timeslice. */
static bool on_spin(YieldTo *y, int pcpu, int me, int64_t now)
{
    bool yields;
    int target;

    if (y->services->idle(y->services->engine, me, y->values.idle)) {
        return vsched_fifo_waiting(y->fifo, pcpu, now);
    }
    target = find_target(y, me, now);
    if (target == VSCHED_NONE) {
        return false;
    }
    y->last_boosted[y->topology->vm[me]] = target;
    y->next[y->fifo->queues.in[target]] = target;
    yields = y->values.rules == RULES_CREDIT ?
             yield_with_credit(y, pcpu, target, now) :
             yield_to_buddy(y, pcpu, target, now);
    y->vcpu[me].in_spin_loop = yields;
    y->vcpu[me].dy_eligible = false;
    return yields;
}

static void grow_ple_window(YieldToVCPU *v)
{
    v->ple_window = MIN(v->ple_window * 2, PLE_WINDOW_MAX);
}

/* A PAUSE: true if that is an exit. */
static bool ple(YieldTo *y, int vcpu, int64_t now)
{
    YieldToVCPU *v = &y->vcpu[vcpu];

    if (user_mode(y, vcpu)) {
        return false;
    }
    if (now - v->last_pause > y->values.ple_gap) {
        v->first_pause = now;
    }
    v->last_pause = now;
    if (now - v->first_pause <= v->ple_window) {
        return false;
    }
    v->first_pause = v->last_pause = NEVER;
    grow_ple_window(v);
    return true;
}

/* A spin that the SDB reports: true if it is heard. */
static bool hear(YieldToVCPU *v, int64_t now)
{
    if (now < v->deaf_until) {
        return false;
    }
    v->deaf_until = now + v->ple_window;
    grow_ple_window(v);
    return true;
}

/* One interrupt for several VCPUs comes as several at the same cycle. */
static void sent(YieldTo *y, int sender, int receiver, int64_t now)
{
    YieldToVCPU *s = &y->vcpu[sender];

    s->receiver = s->sent == now && s->receiver != receiver ? VSCHED_NONE
                                                            : receiver;
    s->sent = now;
}

static void taken(YieldTo *y, int receiver)
{
    for (int v = 0; v < y->topology->vcpus; v++) {
        if (y->vcpu[v].receiver == receiver) {
            y->vcpu[v].receiver = VSCHED_NONE;
        }
    }
}

static bool yieldto_hint(void *policy, const VschedHint *hint)
{
    YieldTo *y = policy;
    bool pause = y->values.trigger == TRIGGER_PAUSE;

    switch (hint->kind) {
    case VSCHED_HINT_SPIN:
        return !pause && hear(&y->vcpu[hint->vcpu], hint->now) &&
               on_spin(y, hint->pcpu, hint->vcpu, hint->now);
    case VSCHED_HINT_PAUSE:
        return pause && ple(y, hint->vcpu, hint->now) &&
               on_spin(y, hint->pcpu, hint->vcpu, hint->now);
    case VSCHED_HINT_SENT:
        if (hint->other != VSCHED_NONE) {
            sent(y, hint->other, hint->vcpu, hint->now);
        }
        return false;
    case VSCHED_HINT_TAKEN:
        taken(y, hint->vcpu);
        return false;
    default:
        return false;
    }
}

/*
 * ------------------------------------------------------------------------
 * Saved states.
 */

static void put(GArray *words, int64_t word)
{
    g_array_append_val(words, word);
}

#define VCPU_WORDS 12

/* The queues; then what there is of each VCPU, PCPU and VM. */
static void yieldto_save(void *policy, GArray *words)
{
    YieldTo *y = policy;

    vsched_fifo_save(y->fifo, words);
    for (int i = 0; i < y->topology->vcpus; i++) {
        const YieldToVCPU *v = &y->vcpu[i];

        put(words, v->given);
        put(words, v->left);
        put(words, v->credit);
        put(words, v->preempted);
        put(words, v->in_spin_loop);
        put(words, v->dy_eligible);
        put(words, v->receiver);
        put(words, v->sent);
        put(words, v->first_pause);
        put(words, v->last_pause);
        put(words, v->ple_window);
        put(words, v->deaf_until);
    }
    for (int p = 0; p < y->topology->pcpus; p++) {
        put(words, y->next[p]);
        put(words, y->forced[p]);
    }
    for (int i = 0; i < y->topology->vms; i++) {
        put(words, y->last_boosted[i]);
    }
}

/* A VCPU or nobody */
static bool is_vcpu(const YieldTo *y, int64_t word)
{
    return word >= VSCHED_NONE && word < y->topology->vcpus;
}

/* A cycle that a sum or difference of such can bear */
static bool is_time(int64_t word)
{
    return word >= NEVER && word <= -NEVER;
}

static bool load_vcpu(YieldTo *y, YieldToVCPU *v, const int64_t *words)
{
    for (int i = 0; i < 3; i++) {
        if (words[i] < 0 || words[i + 3] < 0 || words[i + 3] > 1 ||
            !is_time(words[i])) {
            return false;
        }
    }
    if (!is_vcpu(y, words[6]) || !is_time(words[7]) || !is_time(words[8]) ||
        !is_time(words[9]) || words[10] < 1 || words[10] > PLE_WINDOW_MAX ||
        !is_time(words[11])) {
        return false;
    }
    *v = (YieldToVCPU) {
        .given = words[0],
        .left = words[1],
        .credit = words[2],
        .preempted = words[3],
        .in_spin_loop = words[4],
        .dy_eligible = words[5],
        .receiver = words[6],
        .sent = words[7],
        .first_pause = words[8],
        .last_pause = words[9],
        .ple_window = words[10],
        .deaf_until = words[11],
    };
    return true;
}

static bool yieldto_load(void *policy, const int64_t *words, int n)
{
    YieldTo *y = policy;
    const VschedTopology *t = y->topology;
    int rest = t->vcpus * VCPU_WORDS + t->pcpus * 2 + t->vms;

    if (n < rest || !vsched_fifo_load(y->fifo, words, n - rest)) {
        return false;
    }
    words += n - rest;
    for (int v = 0; v < t->vcpus; v++, words += VCPU_WORDS) {
        if (!load_vcpu(y, &y->vcpu[v], words)) {
            return false;
        }
    }
    for (int p = 0; p < t->pcpus; p++, words += 2) {
        if (!is_vcpu(y, words[0]) || !is_time(words[1])) {
            return false;
        }
        y->next[p] = words[0];
        y->forced[p] = words[1];
    }
    for (int i = 0; i < t->vms; i++, words++) {
        if (!is_vcpu(y, *words)) {
            return false;
        }
        y->last_boosted[i] = *words;
    }
    return true;
}

static int64_t yieldto_longest_wait(void *policy, int64_t switch_cost,
                                    int64_t window)
{
    YieldTo *y = policy;
    int64_t in_order = vsched_fifo_longest_wait(y->fifo, switch_cost, window);

    /* A VCPU that is alone is passed over by nobody. */
    return in_order + (in_order > switch_cost + window ? y->values.patience
                                                       : 0);
}

const VschedPolicyOps vsched_policy_yieldto = {
    .name = "yieldto",
    .description = "static map; a spin makes a sibling run (KVM's directed "
                   "yield)",
    .parameters = parameters,
    .hints = VSCHED_LISTEN(VSCHED_HINT_SPIN) |
             VSCHED_LISTEN(VSCHED_HINT_PAUSE) |
             VSCHED_LISTEN(VSCHED_HINT_SENT) |
             VSCHED_LISTEN(VSCHED_HINT_TAKEN),
    .create = yieldto_create,
    .destroy = yieldto_destroy,
    .set = yieldto_set,
    .place = yieldto_place,
    .enqueue = yieldto_enqueue,
    .dequeue = yieldto_dequeue,
    .pick = yieldto_pick,
    .waiting = yieldto_waiting,
    .take_over = yieldto_take_over,
    .start = yieldto_start,
    .stop = yieldto_stop,
    .changed = yieldto_changed,
    .hint = yieldto_hint,
    .save = yieldto_save,
    .load = yieldto_load,
    .longest_wait = yieldto_longest_wait,
};
