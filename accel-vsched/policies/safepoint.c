/*
 * Policy "safepoint": VCPUs are preempted at safe points.
 *
 * "A VCPU executing in user mode is not holding a kernel lock, and can be
 * safely preempted. [...] A VCPU executing in the OS may be holding a kernel
 * lock, and thus, the VMM will try not to preempt it at that point" (Wells et
 * al., PACT 2006, section 3.1, on Uhlig et al., VM 2004, who call this
 * lock-holder preemption avoidance).  In the guest's idle loop it holds no lock
 * either.  So a VCPU whose timeslice is over goes if its state is safe; if not,
 * it runs on until it comes to a safe point (it goes to user mode, or becomes
 * idle) or until a grace period ends.
 *
 * A guest that knows how long it will hold its lock can say so: Uhlig's
 * intrusive form.  A VCPU that asked to run on for n cycles is not preempted in
 * these, whatever its mode.
 *
 * Safe points can also be injected, Uhlig's other form without knowledge of the
 * guest's locks: a VCPU that runs on in the kernel is sent an interrupt.  Its
 * driver in the guest, which runs where interrupts are on, and so where no lock
 * is held that needs them to be off, answers that this is a safe point.
 *
 * As in Wells' section 5.1, VCPUs that were paused and are sent an interrupt by
 * another VCPU, which may spin until it is taken, run before the others:
 *
 *     next-free      on the next PCPU that comes free, wherever they ran before
 *     own-pcpu       on the PCPU that they belong to, when that comes free
 *     short-grace    the same, and a shorter grace period holds there meanwhile
 *     ignored        they do not: Uhlig's scheme as it was
 *
 * The first is what that section found best.  It has the others too.
 *
 * VCPUs belong to PCPUs as under "timeslice", the static map of Wells.
 *
 * Choices where the sources say nothing: the shorter grace period, 100 us; the
 * longest hold, 1 ms, of which a VCPU may use all after its timeslice; that
 * VCPUs which were sent an interrupt run in the order of the interrupts, each
 * once for all that came while it was paused; that one that runs where it does
 * not belong goes on there as long as nobody waits for that PCPU; that
 * interrupts of devices, and those sent to a VCPU that runs, make no
 * difference; that the interrupt is injected when the timeslice is over, and
 * again when a hold that the guest asked for ends after that.
 *
 * Safe points are injected only with inject=on: Wells does not do that.
 *
 * Longest wait.  With interrupts ignored, n VCPUs on a PCPU, timeslices of S
 * cycles, grace periods of G, longest holds of H and a switch cost of C, in
 * windows of W: (n - 1) * (S + max(G, H)) + n * C + W.  Otherwise there is no
 * bound: VCPUs that are sent interrupts again and again go before one that is
 * not.  But VCPUs that were sent one go in the order in which they were, so one
 * of V VCPUs waits for at most (V - 1) * (S + max(G, H) + C + W) + C + W from
 * then on.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "fifo.h"

#define NEVER (-1)

enum {
    SLICE, GRACE, INTERRUPTED, SHORT_GRACE, LONGEST_HOLD, IDLE, INJECT
};

enum {
    NEXT_FREE, OWN_PCPU, REDUCED_GRACE, IGNORED
};

static const char *const interrupted_choices[] = {
    [NEXT_FREE] = "next-free",
    [OWN_PCPU] = "own-pcpu",
    [REDUCED_GRACE] = "short-grace",
    [IGNORED] = "ignored",
    NULL
};

static const VschedParameter safepoint_parameters[] = {
    [SLICE] = {
        .name = "slice",
        .description = "timeslice of a VCPU",
        .unit = VSCHED_TIME,
        .minimum = 10 * 1000,           /* 10 us */
        .maximum = 1000 * 1000 * 1000,  /* 1 s */
        .value = 100 * 1000,            /* 100 us, section 5.2 of the paper */
    },
    [GRACE] = {
        .name = "grace",
        .description = "how long a VCPU runs on in the kernel",
        .unit = VSCHED_TIME,
        .minimum = 0,
        .maximum = 1000 * 1000 * 1000,  /* 1 s */
        .value = 1000 * 1000,           /* 1 ms, section 5.1 of the paper */
    },
    [INTERRUPTED] = {
        .name = "interrupted",
        .description = "where a paused VCPU runs that is sent an interrupt",
        .unit = VSCHED_CHOICE,
        .minimum = 0,
        .maximum = IGNORED,
        .value = NEXT_FREE,             /* section 5.1 of the paper */
        .choices = interrupted_choices,
    },
    [SHORT_GRACE] = {
        .name = "short-grace",
        .description = "grace while an interrupted VCPU waits for the PCPU",
        .unit = VSCHED_TIME,
        .minimum = 0,
        .maximum = 1000 * 1000 * 1000,  /* 1 s */
        .value = 100 * 1000,            /* 100 us (choice) */
    },
    [LONGEST_HOLD] = {
        .name = "longest-hold",
        .description = "how long a VCPU may ask to run on; 0: it may not",
        .unit = VSCHED_TIME,
        .minimum = 0,
        .maximum = 1000 * 1000 * 1000,  /* 1 s */
        .value = 1000 * 1000,           /* 1 ms (choice) */
    },
    [IDLE] = {
        .name = "idle",
        .description = "which VCPUs are idle, and so at a safe point",
        .unit = VSCHED_CHOICE,
        .minimum = 0,
        .maximum = VSCHED_IDLE_NONE,
        .value = VSCHED_IDLE_AUTO,
        .choices = vsched_idle_choices,
    },
    [INJECT] = {
        .name = "inject",
        .description = "an interrupt asks the guest's driver for a safe point",
        .unit = VSCHED_SWITCH,
        .minimum = 0,
        .maximum = 1,
        .value = 0,                     /* as in the paper */
    },
    { }
};

typedef struct SafePoint {
    const VschedServices *services;
    const VschedTopology *topology;
    int64_t timeslice, grace, short_grace, longest_hold;    /* cycles */
    int interrupted;
    VschedIdle idle;
    bool inject;
    /* of each PCPU; and then one of those that were sent an interrupt */
    VschedQueues queues;
    int expired;                /* its timeslice is over right now; or NONE */
    /* of each VCPU */
    int *home;                  /* PCPU that it belongs to */
    int *runs;                  /* PCPU that it runs on, or VSCHED_NONE */
    bool *sent;                 /* paused, and was sent an interrupt */
    int64_t *over;              /* cycle: its timeslice was over; or NEVER */
    int64_t *let;               /* cycle until which it may run on; or NEVER */
    int64_t *hold;              /* cycle until which it asked to; or NEVER */
} SafePoint;

static void take_values(SafePoint *s, const int64_t *values)
{
    s->timeslice = values[SLICE];
    s->grace = values[GRACE];
    s->interrupted = values[INTERRUPTED];
    s->short_grace = values[SHORT_GRACE];
    s->longest_hold = values[LONGEST_HOLD];
    s->idle = values[IDLE];
    s->inject = values[INJECT];
}

static void *safepoint_create(const VschedServices *services,
                              const int64_t *values, char **why)
{
    const VschedTopology *topology = services->topology;
    SafePoint *s = g_new0(SafePoint, 1);

    s->services = services;
    s->topology = topology;
    take_values(s, values);
    vsched_queues_init(&s->queues, topology->vcpus, topology->pcpus + 1);
    s->expired = VSCHED_NONE;
    s->home = g_new(int, topology->vcpus);
    s->runs = g_new(int, topology->vcpus);
    s->sent = g_new0(bool, topology->vcpus);
    s->over = g_new(int64_t, topology->vcpus);
    s->let = g_new(int64_t, topology->vcpus);
    s->hold = g_new(int64_t, topology->vcpus);
    for (int v = 0; v < topology->vcpus; v++) {
        s->home[v] = vsched_fifo_home(topology, v);
        s->runs[v] = VSCHED_NONE;
        s->over[v] = s->let[v] = s->hold[v] = NEVER;
    }
    return s;
}

static void safepoint_destroy(void *policy)
{
    SafePoint *s = policy;

    vsched_queues_clear(&s->queues);
    g_free(s->home);
    g_free(s->runs);
    g_free(s->sent);
    g_free(s->over);
    g_free(s->let);
    g_free(s->hold);
    g_free(s);
}

/* @vcpu may run on @pcpu: it belongs there, or everybody may be anywhere. */
static bool may_be_on(const SafePoint *s, int pcpu, int vcpu)
{
    return s->interrupted == NEXT_FREE ? s->topology->allowed[vcpu] >> pcpu & 1
                                       : s->home[vcpu] == pcpu;
}

/* Those that run where they do not belong go, unless they may be there. */
static bool safepoint_set(void *policy, const int64_t *values, char **why)
{
    SafePoint *s = policy;

    take_values(s, values);
    for (int v = 0; v < s->topology->vcpus; v++) {
        int pcpu = s->runs[v];

        if (pcpu != VSCHED_NONE && !may_be_on(s, pcpu, v)) {
            s->services->preempt(s->services->engine, pcpu);
        }
    }
    return true;
}

/* The queue of VCPUs that were sent an interrupt. */
static int urgent(const SafePoint *s)
{
    return s->topology->pcpus;
}

/* The first VCPU that was sent an interrupt and waits for @pcpu. */
static int find_urgent(const SafePoint *s, int pcpu)
{
    int v = s->queues.head[urgent(s)];

    while (v != VSCHED_NONE && !may_be_on(s, pcpu, v)) {
        v = s->queues.next[v];
    }
    return v;
}

/* Who is next on @pcpu, @except apart. */
static int find(const SafePoint *s, int pcpu, int except)
{
    int v = find_urgent(s, pcpu);

    if (v == VSCHED_NONE) {
        v = s->queues.head[pcpu];
        if (v != VSCHED_NONE && v == except) {
            v = s->queues.next[v];
        }
    }
    return v;
}

static bool is_safe(const SafePoint *s, int vcpu)
{
    return s->services->user_mode(s->services->engine, vcpu) ||
           s->services->idle(s->services->engine, vcpu, s->idle);
}

/* Until when @vcpu, whose timeslice is over, runs on on @pcpu. */
static int64_t runs_until(const SafePoint *s, int pcpu, int vcpu)
{
    int64_t over = s->over[vcpu], until = over;

    if (!is_safe(s, vcpu)) {
        until += s->interrupted == REDUCED_GRACE &&
                 find_urgent(s, pcpu) != VSCHED_NONE ?
                 MIN(s->grace, s->short_grace) : s->grace;
    }
    return MAX(until, MIN(s->hold[vcpu], over + s->longest_hold));
}

/* A VCPU whose timeslice has just been over is nobody's yet. */
static int safepoint_place(void *policy, int vcpu)
{
    SafePoint *s = policy;

    return vcpu == s->expired ||
           (s->queues.in[vcpu] == urgent(s) && s->interrupted == NEXT_FREE) ?
           VSCHED_NONE : s->home[vcpu];
}

static void safepoint_enqueue(void *policy, int vcpu, VschedWhy why,
                              int64_t since, int64_t now)
{
    SafePoint *s = policy;

    vsched_queues_append(&s->queues, s->sent[vcpu] ? urgent(s) : s->home[vcpu],
                         vcpu, since);
}

static void safepoint_dequeue(void *policy, int vcpu, int64_t now)
{
    SafePoint *s = policy;

    vsched_queues_remove(&s->queues, vcpu);
}

/* @vcpu, which runs on in the kernel: is there a safe point? */
static void ask(SafePoint *s, int vcpu)
{
    if (s->inject && !is_safe(s, vcpu)) {
        s->services->ask_safe_point(s->services->engine, vcpu);
    }
}

/* @vcpu, whose timeslice was over on @pcpu, goes on there; for how long. */
static int64_t goes_on(SafePoint *s, int pcpu, int vcpu, int64_t now)
{
    int64_t until = runs_until(s, pcpu, vcpu);

    if (find(s, pcpu, vcpu) == VSCHED_NONE && may_be_on(s, pcpu, vcpu)) {
        s->over[vcpu] = s->let[vcpu] = NEVER;
        return s->timeslice;            /* nobody waits */
    }
    /* It may stop a little before the end of what it was given. */
    if (until > MAX(now, s->let[vcpu])) {
        s->let[vcpu] = until;
        ask(s, vcpu);
        return until - now;
    }
    s->over[vcpu] = s->let[vcpu] = s->hold[vcpu] = NEVER;
    return 0;
}

static VschedPick safepoint_pick(void *policy, int pcpu, int64_t now)
{
    SafePoint *s = policy;
    VschedPick pick = { .vcpu = s->expired };

    s->expired = VSCHED_NONE;
    if (pick.vcpu != VSCHED_NONE) {
        pick.timeslice = goes_on(s, pcpu, pick.vcpu, now);
        pick.exact = s->over[pick.vcpu] != NEVER;
    }
    if (!pick.timeslice) {
        pick.vcpu = find(s, pcpu, VSCHED_NONE);
        pick.timeslice = s->timeslice;
    }
    if (pick.vcpu != VSCHED_NONE) {
        vsched_queues_remove(&s->queues, pick.vcpu);
        s->runs[pick.vcpu] = pcpu;
        s->sent[pick.vcpu] = false;
    }
    return pick;
}

static bool safepoint_waiting(void *policy, int pcpu, int64_t now)
{
    return find(policy, pcpu, VSCHED_NONE) != VSCHED_NONE;
}

static VschedPick safepoint_take_over(void *policy, int pcpu, int vcpu,
                                      int64_t used, int64_t now)
{
    SafePoint *s = policy;

    s->runs[vcpu] = pcpu;
    return (VschedPick) {
        .vcpu = vcpu,
        .timeslice = may_be_on(s, pcpu, vcpu) ? s->timeslice : 0,
    };
}

static void safepoint_stop(void *policy, int pcpu, int vcpu, int64_t ran,
                           VschedWhy why, int64_t now)
{
    SafePoint *s = policy;

    s->runs[vcpu] = VSCHED_NONE;
    if (why == VSCHED_EXPIRED) {
        s->expired = vcpu;
        if (s->over[vcpu] == NEVER) {
            s->over[vcpu] = now;
        }
    } else {
        s->over[vcpu] = s->let[vcpu] = s->hold[vcpu] = NEVER;
    }
}

/* @vcpu need not run on any more: its timeslice was over, and others wait. */
static bool is_preemptible(const SafePoint *s, int vcpu, int64_t now)
{
    int pcpu = s->runs[vcpu];

    return pcpu != VSCHED_NONE && s->over[vcpu] != NEVER &&
           runs_until(s, pcpu, vcpu) <= now &&
           find(s, pcpu, VSCHED_NONE) != VSCHED_NONE;
}

/* In each window in which a VCPU runs on: it may become idle. */
static int64_t safepoint_next_tick(void *policy)
{
    SafePoint *s = policy;

    for (int v = 0; v < s->topology->vcpus; v++) {
        if (s->runs[v] != VSCHED_NONE && s->over[v] != NEVER) {
            return s->over[v];
        }
    }
    return INT64_MAX;
}

static void safepoint_tick(void *policy, int64_t now)
{
    SafePoint *s = policy;

    for (int v = 0; v < s->topology->vcpus; v++) {
        if (is_preemptible(s, v, now)) {
            s->services->preempt(s->services->engine, s->runs[v]);
        }
    }
}

/* An interrupt was sent to a VCPU. */
static void interrupt(SafePoint *s, const VschedHint *hint)
{
    int vcpu = hint->vcpu;

    if (s->interrupted == IGNORED || hint->other == VSCHED_NONE ||
        s->runs[vcpu] != VSCHED_NONE || s->sent[vcpu]) {
        return;
    }
    s->sent[vcpu] = true;
    if (s->queues.in[vcpu] != VSCHED_NONE) {
        vsched_queues_remove(&s->queues, vcpu);
        vsched_queues_append(&s->queues, urgent(s), vcpu,
                             s->queues.since[vcpu]);
    }
}

static bool safepoint_hint(void *policy, const VschedHint *hint)
{
    SafePoint *s = policy;
    int vcpu = hint->vcpu;
    bool goes;

    switch (hint->kind) {
    case VSCHED_HINT_SPIN:
        return s->idle == VSCHED_IDLE_SDB && is_preemptible(s, vcpu, hint->now);
    case VSCHED_HINT_SENT:
        interrupt(s, hint);
        return false;
    case VSCHED_HINT_USER:
    case VSCHED_HINT_SAFE_POINT:
        return s->over[vcpu] != NEVER && s->hold[vcpu] <= hint->now &&
               s->runs[vcpu] != VSCHED_NONE &&
               find(s, s->runs[vcpu], VSCHED_NONE) != VSCHED_NONE;
    case VSCHED_HINT_HOLD:
        if (s->runs[vcpu] == VSCHED_NONE) {
            return false;
        }
        s->hold[vcpu] = hint->cycles <= 0 ? NEVER :
                        hint->now + MIN(hint->cycles, s->longest_hold);
        goes = is_preemptible(s, vcpu, hint->now);
        if (s->hold[vcpu] == NEVER && s->over[vcpu] != NEVER && !goes) {
            ask(s, vcpu);       /* an answer during the hold was no use */
        }
        return goes;
    default:
        return false;
    }
}

/* One that waits stands in front of all that have waited less. */
static void safepoint_changed(void *policy, int64_t now)
{
    SafePoint *s = policy;

    for (int v = 0; v < s->topology->vcpus; v++) {
        int home = vsched_fifo_home(s->topology, v), in = s->queues.in[v];

        if (home != s->home[v] && in != VSCHED_NONE && in != urgent(s)) {
            vsched_queues_move(&s->queues, v, home);
        }
        s->home[v] = home;
    }
}

/* The queues; then of each VCPU what else there is. */
static void safepoint_save(void *policy, GArray *words)
{
    SafePoint *s = policy;

    vsched_queues_save(&s->queues, words);
    for (int v = 0; v < s->topology->vcpus; v++) {
        int64_t word = s->sent[v];

        g_array_append_val(words, word);
        g_array_append_val(words, s->over[v]);
        g_array_append_val(words, s->let[v]);
        g_array_append_val(words, s->hold[v]);
    }
}

static bool safepoint_load(void *policy, const int64_t *words, int n)
{
    SafePoint *s = policy;
    int used = vsched_queues_load(&s->queues, words, n);

    if (used < 0 || n != used + 4 * s->topology->vcpus) {
        return false;
    }
    words += used;
    for (int v = 0; v < s->topology->vcpus; v++, words += 4) {
        int in = s->queues.in[v];
        bool runs = s->runs[v] != VSCHED_NONE;

        if (words[0] < 0 || words[0] > !runs ||
            words[1] < NEVER || words[2] < words[1] || words[3] < NEVER ||
            (words[1] == NEVER) != (words[2] == NEVER) ||
            (!runs && (words[1] != NEVER || words[3] != NEVER)) ||
            (in != VSCHED_NONE && in != (words[0] ? urgent(s) : s->home[v]))) {
            return false;
        }
        s->sent[v] = words[0];
        s->over[v] = words[1];
        s->let[v] = words[2];
        s->hold[v] = words[3];
    }
    return true;
}

static int64_t safepoint_longest_wait(void *policy, int64_t switch_cost,
                                      int64_t window)
{
    SafePoint *s = policy;
    int64_t turn = s->timeslice + MAX(s->grace, s->longest_hold);
    g_autofree int *belong = g_new0(int, s->topology->pcpus);
    int most = 0;

    if (s->interrupted != IGNORED) {
        return INT64_MAX;
    }
    for (int v = 0; v < s->topology->vcpus; v++) {
        belong[s->home[v]]++;
        most = MAX(most, belong[s->home[v]]);
    }
    return (most - 1) * turn + most * switch_cost + window;
}

const VschedPolicyOps vsched_policy_safepoint = {
    .name = "safepoint",
    .description = "static map; no preemption in the kernel for a while",
    .parameters = safepoint_parameters,
    .hints = VSCHED_LISTEN(VSCHED_HINT_SPIN) |
             VSCHED_LISTEN(VSCHED_HINT_USER) |
             VSCHED_LISTEN(VSCHED_HINT_SENT) |
             VSCHED_LISTEN(VSCHED_HINT_HOLD) |
             VSCHED_LISTEN(VSCHED_HINT_SAFE_POINT),
    .create = safepoint_create,
    .destroy = safepoint_destroy,
    .set = safepoint_set,
    .place = safepoint_place,
    .enqueue = safepoint_enqueue,
    .dequeue = safepoint_dequeue,
    .pick = safepoint_pick,
    .waiting = safepoint_waiting,
    .take_over = safepoint_take_over,
    .stop = safepoint_stop,
    .next_tick = safepoint_next_tick,
    .tick = safepoint_tick,
    .changed = safepoint_changed,
    .hint = safepoint_hint,
    .save = safepoint_save,
    .load = safepoint_load,
    .longest_wait = safepoint_longest_wait,
};
