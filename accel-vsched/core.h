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
 * in the next window.
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
    /* cycles: when it ran or was sent something last; it never runs before */
    int64_t seen;
    int64_t since;              /* cycles: in @state since then */
    int64_t cycles[VSCHED_STATES];
    bool spinning;              /* a spin was the last that was seen of it */
    int64_t spin_cycles;        /* part of cycles[VSCHED_RUNNING] */
    uint64_t insns[2];          /* committed: privileged, user */
    bool user;                  /* saved mode of the last one */
    uint64_t spins;             /* periods found spinning */
    uint64_t preempted;         /* timeslices that ran out */
    uint64_t yielded;           /* timeslices that a spin ended */
    uint64_t switches;          /* times it was switched in */
    uint64_t calls_sent;        /* cross-calls: accepted by their target */
    uint64_t calls_refused;     /* and refused (NACK) */
} VschedVCPU;

typedef struct VschedPCPU {
    int64_t clock;              /* cycles */
    int64_t slice_end;          /* cycles */
    int current;                /* VCPU, or VSCHED_NONE */
    int last;                   /* whose registers it holds, or VSCHED_NONE */
    int64_t skip_until;         /* cycles: runs nothing before */
    int64_t skip_step;          /* cycles: length of the last skip */
    bool resched;               /* pick before running on */
    /* first timeslice: (phase + 1) / 2^32 of it; UINT32_MAX when it is over */
    uint32_t phase;
    int64_t idle, busy, switching, skipped;     /* cycles; sum is the clock */
    uint64_t switches;
} VschedPCPU;

typedef enum VschedStop {
    VSCHED_STOP_BUDGET,         /* the next piece of code does not fit */
    VSCHED_STOP_HALT,           /* the VCPU waits for an interrupt */
    VSCHED_STOP_SPIN,           /* the SDB found a spin: asked for by hears */
    VSCHED_STOP_EXIT,           /* for the host's own reasons: go on */
} VschedStop;

typedef struct VschedHost {
    /*
     * Run @vcpu on @pcpu for at most @budget cycles; @used: how many it took.
     * @spin_stops: return at a spin.
     */
    VschedStop (*run)(void *opaque, int pcpu, int vcpu, int64_t budget,
                      bool spin_stops, int64_t *used);
    /* @pcpu now holds @vcpu, and no longer the one before. */
    void (*switched)(void *opaque, int pcpu, int vcpu);
    /* Whether a VCPU that stopped with VSCHED_STOP_HALT may run on. */
    bool (*runnable)(void *opaque, int vcpu);
    /* Cycles that run() has used so far; 0 while it does not run. */
    int64_t (*elapsed)(void *opaque);
} VschedHost;

typedef struct VschedCore {
    VschedTopology topology;
    const VschedHost *host;
    void *opaque;
    const VschedPolicyOps *ops;
    void *policy;

    int64_t window;             /* cycles */
    int64_t switch_cost;        /* cycles */
    int64_t skip;               /* cycles; 0: never */
    int64_t window_start;       /* cycles: beginning of the same window */
    int64_t window_end;         /* cycles: end of the window that runs or ran */
    uint64_t windows;           /* number of windows that were run */
    uint32_t rotation;          /* PCPU that is first in window 0 */
    uint32_t seed;              /* of what follows */
    bool jitter;                /* windows in two parts, uneven timeslices */
    int running;                /* PCPU that is being run, or VSCHED_NONE */
    VschedPCPU *pcpu;
    VschedVCPU *vcpu;
} VschedCore;

/*
 * All VCPUs are blocked at first.  @seed draws the PCPUs' slice
 * phases, and which PCPU is first in the first window.
 */
VschedCore *vsched_core_new(const VschedTopology *topology, int64_t window,
                            int64_t switch_cost, uint32_t seed,
                            const VschedHost *host, void *opaque);
void vsched_core_free(VschedCore *core);

/*
 * Run under @ops with parameter @values (times in cycles) from now on.  Takes
 * over all VCPUs of the policy before; those that run keep running out their
 * timeslice.
 */
void vsched_core_set_policy(VschedCore *core, const VschedPolicyOps *ops,
                            const int64_t *values);

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
 * PCPU that runs, at cycle @now: no window goes beyond the next boundary.
 */
void vsched_core_cut(VschedCore *core, int64_t now);

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

/* A number that two equal runs have in common, and nothing else. */
uint32_t vsched_core_draw(const VschedCore *core, int pcpu, int64_t time);

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

/* The part of @vcpu's time in @state so far, cycles. */
int64_t vsched_core_cycles(const VschedCore *core, int vcpu,
                           VschedState state);

#endif /* VSCHED_CORE_H */
