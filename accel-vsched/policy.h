/*
 * Scheduling policy: who runs next on a PCPU, for how long, and where.
 *
 * A policy is a table of operations over its own state, in plain C over GLib.
 * It sees numbers of VCPUs, VMs and PCPUs and times in cycles; it never sees
 * CPUState, TCG or a guest, and no other policy's numbers.  The engine
 * (core.h) owns clocks, switching, migration, run states and their
 * accounting, affinity, PCPUs on and off, weights and caps, and calls the
 * operations; all calls come from one thread.
 *
 * The life of a VCPU, as a policy hears of it:
 *
 *     enqueue      it is ready, and waits from now on
 *     pick         the policy gives it to a PCPU; it no longer waits
 *     start        it runs
 *     stop         it no longer runs; enqueue follows unless it blocked
 *     dequeue      it no longer waits, though nobody picked it: it blocked
 *
 * Time.  @now is the clock, in cycles, of the PCPU that an operation concerns,
 * or the end of the window where it concerns none.  PCPUs run one after the
 * other within a window, so @now may be smaller than that of an earlier call
 * by up to a window.  A policy that keeps virtual time has to allow for that.
 * For the same reason a VCPU that stopped on one PCPU may be ahead of the
 * clock of another that picks it; the engine then lets the second PCPU idle
 * until runnable_from() of the VCPU.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSCHED_POLICY_H
#define VSCHED_POLICY_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

#define VSCHED_NONE (-1)

/* PCPUs are bits of a uint64_t. */
#define VSCHED_PCPUS_MAX 64

/* Weight of a VM, a number without unit; cap in percent of one PCPU. */
#define VSCHED_WEIGHT_DEFAULT 256       /* as Xen's credit scheduler */
#define VSCHED_WEIGHT_MAX 65535

/* What a VM may have of the machine. */
typedef struct VschedShare {
    uint32_t weight;            /* 1 .. VSCHED_WEIGHT_MAX */
    uint32_t cap;               /* percent of one PCPU; 0: no cap */
} VschedShare;

/*
 * What a policy may know of the machine.  The engine owns it, a policy reads
 * it at any time; the numbers of VCPUs, PCPUs and VMs and the VM of a VCPU
 * never change, the rest does, and changed() is called then.
 */
typedef struct VschedTopology {
    int vcpus;                  /* VCPUs are 0 .. vcpus - 1 */
    int pcpus;                  /* PCPUs are 0 .. pcpus - 1 */
    int vms;                    /* VMs are 0 .. vms - 1 */
    int *vm;                    /* of each VCPU: the VM that it belongs to */
    VschedShare *share;         /* of each VM */
    uint64_t online;            /* PCPUs that are on, never 0 */
    /*
     * Of each VCPU: the PCPUs that it may run on now, all of them online,
     * never 0.  Its affinity mask without PCPUs that are off; if that leaves
     * none, the mask is suspended, and these are all that are on.
     */
    uint64_t *allowed;
} VschedTopology;

/* Why a VCPU became ready, or stopped running. */
typedef enum VschedWhy {
    VSCHED_WHY_NONE,
    VSCHED_ADDED,               /* from another policy, or a saved state */
    VSCHED_WOKEN,               /* it was blocked */
    VSCHED_EXPIRED,             /* its timeslice is over */
    VSCHED_YIELDED,             /* hint() let it give up its timeslice */
    VSCHED_PREEMPTED,           /* preempt() */
    VSCHED_EVICTED,             /* its PCPU went off, or is forbidden now */
    VSCHED_STOPPED,             /* it blocked: stop() only */
    VSCHED_WHYS
} VschedWhy;

typedef struct VschedPick {
    int vcpu;                   /* VSCHED_NONE: idle */
    int64_t timeslice;          /* cycles, at least 1 */
    bool exact;                 /* no jitter, no initial phase: see core.h */
    /*
     * Exact, and over at that very cycle, though it be in the middle of a piece
     * of code; otherwise a timeslice ends before the first piece that does not
     * fit.  One instruction is run at least; and if an access stalls beyond the
     * end, the piece that it is in is completed.
     */
    bool precise;
} VschedPick;

/*
 * Things that a policy may want to know of as they happen.  A policy gets
 * those whose bits are in VschedPolicyOps.hints; what nobody listens to costs
 * nothing.
 */
typedef enum VschedHintKind {
    VSCHED_HINT_SPIN,           /* @vcpu spins, as the SDB's detector sees it */
    VSCHED_HINT_USER,           /* @vcpu went to user mode */
    VSCHED_HINT_PRIVILEGED,     /* @vcpu went to privileged mode */
    VSCHED_HINT_SENT,           /* an interrupt was sent to @vcpu, by @other */
    VSCHED_HINT_TAKEN,          /* @vcpu takes an interrupt */
    VSCHED_HINT_HALT,           /* @vcpu halts (HLT, WFI), and will block */
    VSCHED_HINT_PAUSE,          /* @vcpu executed PAUSE, YIELD or WFE */
    VSCHED_HINT_HOLD,           /* @vcpu asks to run on for @cycles */
    VSCHED_HINT_SAFE_POINT,     /* @vcpu says that it holds no lock just now */
    VSCHED_HINT_MARK,           /* @vcpu came to mark @number of its program */
    VSCHED_HINTS
} VschedHintKind;

#define VSCHED_LISTEN(kind) (1u << (kind))

/* Marks of a program that have a meaning: what is watched begins, or ends. */
#define VSCHED_MARK_BEGIN 1
#define VSCHED_MARK_END 2               /* all is as it should be */
#define VSCHED_MARK_FAILED 3            /* it is not */

/*
 * Who counts as idle besides VCPUs that are blocked: what a policy may ask
 * idle() of the services for.  It is a detector of its own, apart from the
 * spin detection buffer.
 */
typedef enum VschedIdle {
    VSCHED_IDLE_AUTO,           /* LOOP if the guest's loop is known, or HALT */
    VSCHED_IDLE_HALT,           /* nobody */
    /* Its program counter is in the guest's idle loop: idle-loop=. */
    VSCHED_IDLE_LOOP,
    VSCHED_IDLE_SDB,            /* it spun in privileged mode when last seen */
    VSCHED_IDLE_NONE,           /* nobody, not even who is blocked */
} VschedIdle;

/* What became of an interrupt. */
typedef enum VschedSent {
    VSCHED_SENT_ACCEPTED,       /* the target has it, or will at once */
    VSCHED_SENT_PENDING,        /* on its way until the window is over */
    VSCHED_SENT_REFUSED,        /* NACK: the sender will try again */
} VschedSent;

typedef struct VschedHint {
    VschedHintKind kind;
    int pcpu;                   /* where it happened; VSCHED_NONE: outside */
    int vcpu;
    int64_t now;                /* cycles, of that PCPU */
    /* VSCHED_HINT_SENT */
    int other;                  /* the sender; VSCHED_NONE: a device */
    VschedSent sent;
    bool cross_call;            /* the sender waits for the target */
    bool running;               /* the target is on a PCPU */
    /* VSCHED_HINT_HOLD */
    int64_t cycles;
    /* VSCHED_HINT_MARK */
    uint64_t number;
} VschedHint;

/* What a policy may ask of the engine, at any time. */
typedef struct VschedServices {
    const VschedTopology *topology;
    void *engine;
    /*
     * Take the VCPU off @pcpu: at once if @pcpu is the one that the call into
     * the policy came from, at the end of the window otherwise.  Nothing
     * happens if nobody runs there.
     */
    void (*preempt)(void *engine, int pcpu);
    /* Whether the last instruction of @vcpu was one in user mode. */
    bool (*user_mode)(void *engine, int vcpu);
    /* Whether an interrupt waits for @vcpu. */
    bool (*interrupt_pending)(void *engine, int vcpu);
    /*
     * Whether @vcpu is idle as @detector sees it: of one that runs, at its last
     * instruction before the present stretch of code.
     */
    bool (*idle)(void *engine, int vcpu, VschedIdle detector);
    /* Cycle before which @vcpu cannot run: it has seen that time already. */
    int64_t (*runnable_from)(void *engine, int vcpu);
    /*
     * Inject an interrupt into @vcpu whose driver in the guest answers with
     * VSCHED_HINT_SAFE_POINT.  Nothing happens if there is no such driver, or
     * if one was injected that has not been answered yet.
     */
    void (*ask_safe_point)(void *engine, int vcpu);
} VschedServices;

typedef enum VschedParameterUnit {
    VSCHED_NUMBER,
    VSCHED_TIME,                /* nanoseconds of simulated time */
    VSCHED_SWITCH,              /* 0: off, 1: on */
    VSCHED_CHOICE,              /* number of one of a list of words */
} VschedParameterUnit;

typedef struct VschedParameter {
    const char *name;
    const char *description;    /* one line, without unit and range */
    VschedParameterUnit unit;
    uint64_t minimum, maximum, value;   /* @value: the default */
    const char *const *choices; /* VSCHED_CHOICE: NULL at the end */
} VschedParameter;

/* "auto", "halt", "loop", "sdb", "none": of parameters that are a VschedIdle */
extern const char *const vsched_idle_choices[];

/*
 * The operations.  Those marked (optional) may be NULL.  *@why, where there is
 * one, gets a reason that the caller frees, in words for a user.
 */
typedef struct VschedPolicyOps {
    const char *name;
    const char *description;            /* one line */
    const VschedParameter *parameters;  /* ends with a NULL name */
    unsigned hints;                     /* VSCHED_LISTEN() of what it hears */

    /*
     * A policy for this machine; @services outlives it.  @values are in the
     * order of @parameters, times in cycles.  NULL if this machine or these
     * values are impossible for it.  No VCPU waits or runs as yet: they are
     * handed over by take_over() and enqueue().
     */
    void *(*create)(const VschedServices *services, const int64_t *values,
                    char **why);
    void (*destroy)(void *policy);
    /* Parameters changed while running; false: impossible, nothing changed. */
    bool (*set)(void *policy, const int64_t *values, char **why);

    /*
     * The PCPU that @vcpu waits for while it waits; one that it may run on.
     * VSCHED_NONE: any that it may run on.
     */
    int (*place)(void *policy, int vcpu);

    /*
     * @vcpu became ready and waits from now on.  @since: the cycle since which
     * it has been waiting; it is @now but for a VCPU that is handed over
     * (VSCHED_ADDED).  These are handed over longest wait first.
     */
    void (*enqueue)(void *policy, int vcpu, VschedWhy why, int64_t since,
                    int64_t now);

    /* @vcpu waited, and blocked. */
    void (*dequeue)(void *policy, int vcpu, int64_t now);

    /*
     * Who runs on @pcpu now: one that waits, and may run there (topology's
     * allowed).  Not called for a PCPU that is off.
     */
    VschedPick (*pick)(void *policy, int pcpu, int64_t now);

    /* Whether pick() would find anyone.  Changes nothing. */
    bool (*waiting)(void *policy, int pcpu, int64_t now);

    /*
     * The policy takes a VCPU over that runs on @pcpu and has used @used cycles
     * of its timeslice under the policy before.  It answers with the whole
     * timeslice that it gives; what was used counts.  0: it is preempted,
     * unless load() follows: then timeslices and preemptions are those saved.
     */
    VschedPick (*take_over)(void *policy, int pcpu, int vcpu, int64_t used,
                            int64_t now);

    /* (optional) @vcpu, picked or taken over, runs on @pcpu. */
    void (*start)(void *policy, int pcpu, int vcpu, int64_t now);
    /*
     * (optional) It no longer does, after @ran cycles since start(), stalls
     * included, its switch not.
     */
    void (*stop)(void *policy, int pcpu, int vcpu, int64_t ran, VschedWhy why,
                 int64_t now);

    /*
     * (optional) The cycle at which tick() is wanted, INT64_MAX: never.  It is
     * called at the first end of a window at or after it.  A policy that holds
     * back a VCPU that could run asks for a tick at which it lets it go.
     */
    int64_t (*next_tick)(void *policy);
    void (*tick)(void *policy, int64_t now);

    /*
     * (optional) PCPUs went off or on, affinity, weights or caps changed.
     * VCPUs that wait for a PCPU that they may not run on any more have to wait
     * for another; one that runs there is evicted after this.
     */
    void (*changed)(void *policy, int64_t now);

    /*
     * (optional) Something of @hints happened.  True: the VCPU that runs on
     * hint->pcpu gives up the rest of its timeslice, at once.
     */
    bool (*hint)(void *policy, const VschedHint *hint);

    /*
     * Append whatever a policy, to which all VCPUs are handed over that wait
     * and run now, needs to know besides to continue like this one.
     */
    void (*save)(void *policy, GArray *words);          /* of int64_t */
    /* Of these very VCPUs, after they were handed over; false: impossible. */
    bool (*load)(void *policy, const int64_t *words, int n);

    /*
     * No VCPU that may run waits longer, in cycles, while topology and
     * parameters stay as they are; with this cost of a switch, and windows of
     * this length.  INT64_MAX: there is no bound.
     */
    int64_t (*longest_wait)(void *policy, int64_t switch_cost, int64_t window);
} VschedPolicyOps;

/* All policies, NULL at the end. */
extern const VschedPolicyOps *const vsched_policies[];

const VschedPolicyOps *vsched_policy_find(const char *name);

extern const VschedPolicyOps vsched_policy_balance;
extern const VschedPolicyOps vsched_policy_cosched;
extern const VschedPolicyOps vsched_policy_credit;
extern const VschedPolicyOps vsched_policy_explore;
extern const VschedPolicyOps vsched_policy_gang;
extern const VschedPolicyOps vsched_policy_heat;
extern const VschedPolicyOps vsched_policy_microslice;
extern const VschedPolicyOps vsched_policy_partition;
extern const VschedPolicyOps vsched_policy_safepoint;
extern const VschedPolicyOps vsched_policy_sdb;
extern const VschedPolicyOps vsched_policy_sedf;
extern const VschedPolicyOps vsched_policy_spread;
extern const VschedPolicyOps vsched_policy_timeslice;
extern const VschedPolicyOps vsched_policy_urgent;
extern const VschedPolicyOps vsched_policy_yieldto;

#endif /* VSCHED_POLICY_H */
