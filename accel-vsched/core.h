/*
 * The engine's core: PCPUs with clocks, windows, run states.
 *
 * Plain C over GLib.  What executes guest code, what the time of a device is
 * and what a VCPU is made of is behind VschedHost; who runs next is behind
 * VschedPolicyOps.  One host thread calls all of this.
 *
 * Time.  Each PCPU has a clock in cycles.  vsched_core_window() takes every
 * PCPU to the end of the window, one after the other, and then the window is
 * over.  The order rotates by one each window, whether or not windows before
 * were run one by one, several at once, or jumped over.  A PCPU stops where the
 * next piece of guest code (a translation block) would not fit any more: its
 * clock may stay short of the end by less than one block, and it makes that up
 * in the next window.  A stall or a switch may carry a clock beyond the end:
 * the PCPU does not run again until the windows have caught up.
 *
 * Resonance.  PCPUs see what others store when these stop.  A loop whose length
 * divides that of the window always stops at the same instruction: one that
 * releases a lock and takes it again, time after time with the lock held, and
 * whoever else wants it waits for ever.  The same goes for timeslices.  Real
 * cores have no such rhythm, so @jitter breaks it: about once every 16384
 * cycles a window has two parts, of any length, and all PCPUs complete the
 * first before any begins the second; and a timeslice is up to 1/64 shorter.
 * Both are functions of time and seed alone.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSCHED_CORE_H
#define VSCHED_CORE_H

#include "policy.h"

/* No clock gets there in a life time: cycles. */
#define VSCHED_LATEST (INT64_C(1) << 60)

typedef enum VschedState {
    VSCHED_BLOCKED,             /* halted, or not started */
    VSCHED_READY,               /* waits for a PCPU */
    VSCHED_RUNNING,             /* useful or spinning: see spin_cycles */
    VSCHED_SWITCHING,           /* its registers are being moved in */
    VSCHED_STATES
} VschedState;

typedef struct VschedVCPU {
    VschedState state;
    int pcpu;                   /* where it runs; else where it ran last */
    int holder;                 /* PCPU with its registers, or VSCHED_NONE */
    int moving;                 /* PCPU that it has to run on next, or NONE */
    uint64_t affinity;          /* PCPUs that the user lets it run on */
    /* cycles: when it ran or was sent something last; it never runs before */
    int64_t seen;
    int64_t since;              /* cycles: in @state since then */
    uint64_t turn;              /* when it became ready, among all VCPUs */
    int64_t cycles[VSCHED_STATES];
    /* cycles, for each PCPU: their sum is cycles[VSCHED_RUNNING] */
    int64_t ran_on[VSCHED_PCPUS_MAX];
    int64_t longest_wait;       /* cycles of its longest wait for a PCPU */
    bool spinning;              /* a spin was the last that was seen of it */
    int64_t spin_cycles;        /* part of cycles[VSCHED_RUNNING] */
    uint64_t insns[2];          /* retired: privileged, user */
    uint64_t spins;             /* periods found spinning */
    /* timeslices that ended because ... */
    uint64_t expired;           /* they were over */
    uint64_t ended_by_spin;
    uint64_t ended_by_hint;     /* any but a spin */
    uint64_t preempted;         /* the policy preempted it */
    uint64_t evicted;           /* its PCPU went off, or was forbidden */
    uint64_t switches;          /* times it was switched in */
    uint64_t migrations;        /* of these: not where it ran last */
    uint64_t calls_sent;        /* cross-calls: accepted by their target */
    uint64_t calls_refused;     /* and refused (NACK) */
} VschedVCPU;

/*
 * How many instructions a PCPU retires in a cycle: insns / cycles, at most 1.
 * What n instructions leave over of a cycle is carried to the next ones, so
 * that the sum is exact: at 2/3, instructions take 1, 2, 1, 2 ... cycles.
 */
typedef struct VschedSpeed {
    uint32_t insns, cycles;     /* 1 <= insns <= cycles */
    uint32_t carry;             /* < insns, in 1/insns cycles */
} VschedSpeed;

#define VSCHED_SPEED_MAX 1000   /* of insns and of cycles */

typedef struct VschedPCPU {
    int64_t clock;              /* cycles */
    VschedSpeed speed;
    int64_t slice_start;        /* cycles */
    int64_t slice_end;          /* cycles */
    int64_t ran;                /* cycles of the current VCPU since start() */
    bool fresh;                 /* nothing of the timeslice has been run yet */
    bool precise;               /* slice_end is, see VschedPick */
    int current;                /* VCPU, or VSCHED_NONE */
    int last;                   /* whose registers it holds, or VSCHED_NONE */
    int64_t skip_until;         /* cycles: runs nothing before */
    int64_t skip_step;          /* cycles: length of the last skip */
    VschedWhy resched;          /* why the current VCPU goes, if it does */
    bool preempt;               /* it goes at the end of the window */
    /* first timeslice: (phase + 1) / 2^32 of it; UINT32_MAX when it is over */
    uint32_t phase;
    /* cycles; their sum is the clock */
    int64_t busy, stalled, switching, idle, skipped, offline;
    uint64_t insns;             /* retired */
    uint64_t switches;
} VschedPCPU;

typedef enum VschedStop {
    VSCHED_STOP_BUDGET,         /* the next piece of code does not fit */
    VSCHED_STOP_HALT,           /* the VCPU waits for an interrupt */
    VSCHED_STOP_SPIN,           /* the SDB found a spin, and that was wanted */
    VSCHED_STOP_EXIT,           /* for the host's own reasons: go on */
} VschedStop;

/* A VCPU is to run; and what it did. */
typedef struct VschedRun {
    int pcpu, vcpu;
    int64_t budget;             /* cycles: pieces of code that fit are run */
    /* cycles: the first piece is run if it fits into this; else 0 */
    int64_t first;
    /*
     * cycles: where the budget ends here, a piece of code that does not fit is
     * run in part: the instructions that do fit, or one if it is the first
     * piece and fits into @first.  INT64_MAX: nowhere.
     */
    int64_t precise;
    bool spin_stops;            /* return at a spin */
    /* out: */
    int64_t cycles;             /* that it took, stalls included */
    int64_t stalled;            /* of these: stalls */
    uint64_t insns[2];          /* retired: privileged, user */
    uint64_t spins;             /* periods found spinning */
    int64_t spin_cycles;        /* cycles of these periods */
} VschedRun;

/*
 * What happened, for traces and events; cycles in @now.  A VCPU that wakes, is
 * blocked or preempted still has the state that it had before.  Those in which
 * a VCPU's state changes come first, up to VSCHED_EVENT_PREEMPT.
 */
typedef enum VschedEventKind {
    VSCHED_EVENT_SWITCH,        /* @vcpu in on @pcpu, @other was there before */
    VSCHED_EVENT_RUN,           /* @vcpu begins to run on @pcpu */
    VSCHED_EVENT_WAKE,          /* @vcpu, which ran last on @pcpu */
    VSCHED_EVENT_BLOCK,         /* @vcpu, on @pcpu */
    VSCHED_EVENT_PREEMPT,       /* @vcpu on @pcpu stops, for reason @other */
    VSCHED_EVENT_MIGRATE,       /* @vcpu to @pcpu, from @other */
    VSCHED_EVENT_WINDOW,        /* one is over, at @now; @other in all */
    VSCHED_EVENT_POLICY,        /* another policy took over */
    VSCHED_EVENT_PCPU,          /* @pcpu went off (@other is 0) or on (1) */
    VSCHED_EVENT_AFFINITY,      /* mask of @vcpu suspended (0), in force (1) */
    /*
     * @vcpu on @pcpu waits until cycle @other: it was sent something by a PCPU
     * that is ahead
     */
    VSCHED_EVENT_WAIT,
    VSCHED_EVENT_MASK,          /* @vcpu may run on the PCPUs of mask @other */
    VSCHED_EVENT_SHARE,         /* VM @vcpu has another weight or cap */
} VschedEventKind;

typedef struct VschedHost {
    /* Run a VCPU. */
    VschedStop (*run)(void *opaque, VschedRun *run);
    /* @pcpu now holds @vcpu, and no longer @before, which may be nobody. */
    void (*switched)(void *opaque, int pcpu, int vcpu, int before);
    /*
     * May be NULL: VschedCore.switch_cost.  Cycles that it takes @pcpu, at
     * cycle @now, to store the registers of @before, if that is anybody, and to
     * load those of @vcpu, which another PCPU @holder still has, unless that is
     * VSCHED_NONE.  At least 0.
     */
    int64_t (*switch_cost)(void *opaque, int pcpu, int vcpu, int before,
                           int holder, int64_t now);
    /* Whether a VCPU that stopped with VSCHED_STOP_HALT may run on. */
    bool (*runnable)(void *opaque, int vcpu);
    /* Cycles that run() has used so far; 0 while it does not run. */
    int64_t (*elapsed)(void *opaque);
    /*
     * The same without the stalls of the piece of code that executes: the time
     * that decides in which window it executes.
     */
    int64_t (*elapsed_unstalled)(void *opaque);
    /*
     * While run() runs: it has less time than it was given, see
     * vsched_core_budget().
     */
    void (*shorten)(void *opaque);
    /* As in VschedServices. */
    bool (*user_mode)(void *opaque, int vcpu);
    bool (*interrupt_pending)(void *opaque, int vcpu);
    /* Where @vcpu is in the guest's idle loop; and whether that is known. */
    bool (*in_idle_loop)(void *opaque, int vcpu);
    bool (*knows_idle_loop)(void *opaque);
    void (*ask_safe_point)(void *opaque, int vcpu);     /* as in services */
    /* May be NULL: nobody looks on. */
    void (*event)(void *opaque, VschedEventKind kind, int pcpu, int vcpu,
                  int64_t other, int64_t now);
    /* May be NULL: every hint, whether or not the policy listens. */
    void (*hint)(void *opaque, const VschedHint *hint);
    /*
     * The policy did what policy.h forbids, @what in words.  The PCPU is idle
     * instead.  That is said once, until another policy takes over or the host
     * clears VschedCore.broken.
     */
    void (*broken)(void *opaque, const char *what);
} VschedHost;

typedef struct VschedCore {
    VschedTopology topology;
    VschedServices services;    /* for policies */
    const VschedHost *host;
    void *opaque;
    const VschedPolicyOps *ops;
    void *policy;

    int64_t window;             /* cycles */
    int64_t switch_cost;        /* cycles, unless VschedHost.switch_cost says */
    int64_t skip;               /* cycles; 0: never */
    int64_t window_start;       /* cycles: beginning of the same window */
    int64_t window_end;         /* cycles: end of the window that runs or ran */
    /*
     * cycles: what happens now happens in the window of this cycle at the
     * earliest.  A timeslice ends in the window in which it is over, though no
     * piece of code may have fitted into what was left of it before that.
     */
    int64_t cut_from;
    uint64_t windows;           /* number of windows that were run */
    uint64_t turns;             /* times that a VCPU became ready */
    uint32_t rotation;          /* PCPU that is first in window 0 */
    uint32_t seed;              /* of what follows */
    bool jitter;                /* windows in two parts, uneven timeslices */
    int running;                /* PCPU that is being run, or VSCHED_NONE */
    int sole;                   /* the only one that has anything to run */
    bool abandoned;             /* the window: nothing of it is added */
    bool broken;                /* the policy: see VschedHost.broken */
    int moves;                  /* VCPUs that are moving */
    bool arrived;               /* one of these runs where it was to go */
    VschedPCPU *pcpu;
    VschedVCPU *vcpu;
} VschedCore;

/*
 * All VCPUs are blocked at first, all PCPUs on, all affinity masks full, all
 * weights and caps at their defaults.  @vm: the VM of each VCPU, numbers from 0
 * on without a gap; NULL: one VM has all.  @seed draws the PCPUs' slice
 * phases, and which PCPU is first in the first window.
 */
VschedCore *vsched_core_new(int vcpus, int pcpus, const int *vm,
                            int64_t window, int64_t switch_cost, uint32_t seed,
                            const VschedHost *host, void *opaque);
void vsched_core_free(VschedCore *core);

/*
 * What follows down to vsched_core_set_speed() is called between windows.
 * Where it returns false, nothing has changed, and *@why, which the caller
 * frees, is a reason in words for a user.
 */

/*
 * Run under @ops with parameter @values (times in cycles) from now on.  Every
 * VCPU is handed over with its account: how long a waiting one has waited, how
 * much of its timeslice a running one has used.
 */
bool vsched_core_set_policy(VschedCore *core, const VschedPolicyOps *ops,
                            const int64_t *values, char **why);

/*
 * As vsched_core_set_policy(), after all of @core was loaded from a saved
 * state.  @n >= 0: that of the policy itself, vsched_core_save_policy(), is
 * put on top; false also if it cannot be right, and then @core is half changed
 * and has to be put back as it was, see vsched_state_load().  @same: @values
 * too are what they were, so timeslices end where they would have ended.
 */
bool vsched_core_load_policy(VschedCore *core, const VschedPolicyOps *ops,
                             const int64_t *values, const int64_t *words,
                             int n, bool same, char **why);
void vsched_core_save_policy(VschedCore *core, GArray *words);

/* Which PCPUs are on: bits of @online.  At least one has to be. */
bool vsched_core_set_online(VschedCore *core, uint64_t online, char **why);

/* On which PCPUs @vcpu may run: bits of @affinity, of PCPUs that exist. */
bool vsched_core_set_affinity(VschedCore *core, int vcpu, uint64_t affinity,
                              char **why);

/*
 * @vcpu runs on @pcpu next.  Until it has begun to, this is the only PCPU that
 * policies may give it; it is over if the PCPU goes off or is forbidden.
 */
bool vsched_core_move(VschedCore *core, int vcpu, int pcpu, char **why);

/* The PCPUs that policies may give it, if those of @online are on. */
uint64_t vsched_core_allowed(const VschedVCPU *vcpu, uint64_t online);

/* Weight and cap of @vm; a cap is at most 100 for each PCPU. */
bool vsched_core_set_share(VschedCore *core, int vm, VschedShare share,
                           char **why);

/* Whether vsched_core_set_share() would do it, of any numbers. */
bool vsched_core_share_possible(const VschedCore *core, int64_t weight,
                                int64_t cap, char **why);

/* @pcpu retires @insns instructions in @cycles cycles; the carry is dropped. */
bool vsched_core_set_speed(VschedCore *core, int pcpu, uint32_t insns,
                           uint32_t cycles, char **why);

/* Cycles that the next @insns instructions take. */
static inline int64_t vsched_speed_cycles(const VschedSpeed *speed,
                                          int64_t insns)
{
    if (speed->insns == speed->cycles) {
        return insns;
    }
    return (insns * speed->cycles + speed->carry) / speed->insns;
}

/* The most instructions that take no more than @cycles. */
static inline int64_t vsched_speed_insns(const VschedSpeed *speed,
                                         int64_t cycles)
{
    if (speed->insns == speed->cycles) {
        return cycles;
    }
    return ((cycles + 1) * speed->insns - 1 - speed->carry) / speed->cycles;
}

/* They were retired. */
void vsched_speed_pass(VschedSpeed *speed, int64_t insns);

/*
 * One window: window_end has moved when it returns.  If only one PCPU has
 * anything to run, several windows at once, which gives the same: nobody is
 * there to be waited for.  They end at the boundary at or after @horizon, the
 * time in cycles of the next event from outside, at the latest; and earlier if
 * vsched_core_cut() is called.
 */
void vsched_core_window(VschedCore *core, int64_t horizon);

/*
 * Something has happened that the host deals with between windows, on the
 * PCPU that runs, at cycle @now without the stalls of the piece of code that
 * executes: no window goes beyond the next boundary.
 */
void vsched_core_cut(VschedCore *core, int64_t now);

/*
 * While run() runs: what is in @run so far goes into the accounts, as it does
 * when run() returns, and is not counted again; the budget is what is left of
 * it.
 */
void vsched_core_account(VschedCore *core, VschedRun *run);

/*
 * As if run() had returned with VSCHED_STOP_SPIN what is in @run, and had been
 * called again: @run is then what it would be given.  Return false if something
 * else comes next; run() has to return then, with VSCHED_STOP_EXIT.  Only where
 * it has used some of its budget and not all of it.
 */
bool vsched_core_spin(VschedCore *core, VschedRun *run);

/* While run() runs: the cycles that it has in all, as things are now. */
int64_t vsched_core_budget(const VschedCore *core);

/*
 * No PCPU has anything to run before the boundary @until; INT64_MAX if only an
 * event from outside can change that.
 */
bool vsched_core_idle(const VschedCore *core, int64_t *until);

/*
 * The cycle at which the second part of the window that ends at @end begins;
 * @end if it has one part only.
 */
int64_t vsched_core_split(const VschedCore *core, int64_t end);

/* How much shorter a @timeslice is that begins at cycle @now on @pcpu. */
int64_t vsched_core_slice_cut(const VschedCore *core, int pcpu, int64_t now,
                              int64_t timeslice);

/*
 * Pseudo-random number, uniform, from @seed, the @which-th that draws from it,
 * and the @number of the draw.
 */
uint32_t vsched_draw(uint32_t seed, int which, int64_t number);

/* The same from seed, PCPU and time; equal in repeated runs. */
uint32_t vsched_core_draw(const VschedCore *core, int pcpu, int64_t time);

/*
 * From VschedHost.run() alone: another state takes the place of this one.  The
 * window is no more; nothing of it is added to what was loaded.
 */
void vsched_core_abandon_window(VschedCore *core);

/* All PCPUs pass the time until cycle @time: the window's end moves there. */
void vsched_core_jump(VschedCore *core, int64_t time);

/* The present, in cycles, as far as @vcpu's PCPU has come. */
int64_t vsched_core_now(const VschedCore *core, int vcpu);

/*
 * Something was sent to @vcpu: if it spins, that may be over.  Between windows
 * the present is the end of the window: a PCPU that is short of it goes there,
 * so that nothing is taken before it was sent.
 */
void vsched_core_notify(VschedCore *core, int vcpu);

/* A blocked VCPU became runnable; others do not change. */
void vsched_core_wake(VschedCore *core, int vcpu);

/* A VCPU was stopped from outside (reset, power off); it waits for a wake. */
void vsched_core_block(VschedCore *core, int vcpu);

/* Whether the policy wants to hear of such hints. */
static inline bool vsched_core_listens(const VschedCore *core,
                                       VschedHintKind kind)
{
    return core->ops->hints & VSCHED_LISTEN(kind);
}

/* Notify the policy, if it listens; at any time. */
void vsched_core_hint(VschedCore *core, const VschedHint *hint);

/* The part of @vcpu's time in @state so far, cycles. */
int64_t vsched_core_cycles(const VschedCore *core, int vcpu,
                           VschedState state);

/* The part of @vcpu's time in VSCHED_RUNNING that was on @pcpu, cycles. */
int64_t vsched_core_ran_on(const VschedCore *core, int vcpu, int pcpu);

#endif /* VSCHED_CORE_H */
