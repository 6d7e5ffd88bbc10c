/*
 * A scripted host for the engine's core: what the unit tests have instead of
 * QEMU.
 *
 * Each VCPU has a program, a list of blocks with what happens at the end of
 * each; run() plays it.  What was executed is in a log.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef FAKE_HOST_H
#define FAKE_HOST_H

#include "../core.h"

#define MANY 64                 /* longest block, and most VCPUs */

typedef enum Event {
    NOTHING,
    HALT,                       /* until a timer, @arg cycles from now */
    STOP,                       /* for ever, or until somebody else wakes it */
    POKE,                       /* an interrupt for VCPU @arg */
    SPIN,
    EXIT,
    /* Those that wait execute their block again and again, see Fake. */
    SIGNAL,                     /* flag @arg counts up */
    WAIT,                       /* until flag @arg has counted to @value */
    LOCK,                       /* lock @arg, wait for it if it is taken */
    UNLOCK,
    CALL,                       /* a cross-call: wait until @arg has taken it */
    HOLD,                       /* it asks to run on for @arg cycles */
    MARK,                       /* it comes to mark @arg of its program */
} Event;

typedef enum Mode {
    KERNEL,
    USER,
    IDLE,                       /* in the kernel's idle loop */
} Mode;

typedef struct Block {
    int length;
    Event event;
    int arg;
    int value;
    Mode mode;
} Block;

typedef struct Executed {
    int pcpu, vcpu;
    int64_t block, start;       /* compared as memory: no holes */
} Executed;

/* What VCPUs run, and what happens outside; the same for core and model. */
typedef struct World {
    const Block *program[MANY]; /* ends with length 0: again from the start */
    uint32_t seed;              /* program NULL: random blocks */
    int vcpus;
    int next[MANY];             /* block */
    bool halted[MANY];
    int64_t timer[MANY];        /* cycles, INT64_MAX: none */
    /* cycle: an interrupt was sent, and comes at a window's end */
    int64_t poked[MANY];        /* INT64_MAX: none */
    int64_t not_before[MANY];   /* cycles */
    int64_t rounds[MANY];       /* how often each has come to its end */
    Mode mode[MANY];            /* of the last block */
    int flag[MANY];
    int lock[MANY];             /* 1 + the VCPU that has it; 0: it is free */
    uint64_t called[MANY];      /* by which VCPUs, and has not taken it yet */
    uint64_t late[MANY];        /* the same, hears of it at a window's end */
    bool calls[MANY];           /* it waits for one that it has called */
    int waited[MANY];           /* cycles in its block so far */
    /* an interrupt asks it for a safe point; taken where it has no lock */
    bool asked[MANY];
    int done[MANY];             /* instructions of it, before a precise stop */
    GArray *log;
} World;

typedef struct Fake {
    World world;
    VschedCore *core;
    int64_t values[16];         /* of the policy, see fake_values() */
    int notice;                 /* a wait is a spin after so many cycles */
    bool pause;                 /* who waits executes PAUSE in each block */
    bool knows_idle_loop;
    bool driver;                /* the guest answers if it is asked */
    int asks;                   /* how often it was */
    int64_t ready[MANY], longest_wait;  /* since it was set to 0 */
    int stalls;                 /* longest stall of a block, cycles; 0: none */
    int64_t stalled;            /* cycles */
    bool mixed_speeds;          /* changed while running, 1/7 at least */
    bool lost_pcpus;            /* loaded from a state with other PCPUs */
    int switched;
    /* NULL: switches cost the same.  Else who switches, as text, and costs: */
    GString *switches;
    int64_t elapsed, elapsed_unstalled;
    bool merge;                 /* several windows at once */
    /* What the policy must not do, if @may_break; else the test fails. */
    bool may_break;
    char *broken;
} Fake;

extern const VschedHost fake_host;

uint32_t hash(uint32_t a, uint32_t b, uint32_t c);
Block random_block(const World *w, int vcpu, int i);
Block block_of(const World *w, int vcpu);
void world_init(World *w, int vcpus, uint32_t seed);
void world_execute(World *w, int pcpu, int vcpu, int64_t start);
int64_t world_horizon(const World *w);
void interrupt(Fake *f, int vcpu);
/* Whole windows and slices, the first too, unless a test wants otherwise. */
void fake_init(Fake *f, int vcpus, int pcpus, int64_t window,
               int64_t cost, const VschedPolicyOps *ops, int64_t slice);
/*
 * Parameters for a policy: @slice for the first one; other times are in the
 * proportion to it that the defaults have, and all else is at its default.
 */
void fake_values(const VschedPolicyOps *ops, int64_t slice, int64_t *values);
/* Parameter @name of the policy that there is, once more: set(). */
void fake_set(Fake *f, const char *name, int64_t value);
/* As fake_init(); @vm: of each VCPU the VM that it belongs to. */
void fake_init_vms(Fake *f, int vcpus, const int *vm, int pcpus,
                   int64_t window, int64_t cost, const VschedPolicyOps *ops,
                   int64_t slice);
void fake_free(Fake *f);
void start_all(Fake *f);
/* The same, and all of them run @program. */
void all_run(Fake *f, const Block *program);
/* Changes that have to be possible. */
void set_online(Fake *f, uint64_t online);
void set_affinity(Fake *f, int vcpu, uint64_t mask);
void set_share(Fake *f, int vm, uint32_t weight, uint32_t cap);
void set_policy(Fake *f, const VschedPolicyOps *ops, int64_t slice);
/* longest_wait() of the policy that there is */
int64_t longest_wait(Fake *f);
/* It was done, without a reason why not; it was not, for one that @says so. */
void must(bool done, char **why);
void refused(bool done, char **why, const char *says);
void windows(Fake *f, int n);
/* "pcpu:vcpu@start ..." of what was executed since the last call. */
void assert_log(Fake *f, const char *expected);
/* The accounts of PCPUs and VCPUs add up, and agree. */
void assert_sums(const Fake *f);
/* What the engine does, until @time. */
void fake_drive(Fake *f, int64_t time);

/*
 * Twice the same, a machine drawn from @i: @one goes window by window, @many
 * several at once where it can.  They execute the same.
 */
void fake_both(Fake *one, Fake *many, const VschedPolicyOps *ops, int i,
               int64_t skip, int stalls);

/* @copy goes on where @f is, from a state that was saved. */
void fake_save_and_load(const Fake *f, Fake *copy, bool same);

/*
 * Locks, cross-calls, halts, PAUSE and all modes, under policy @ops with
 * parameter values @set (NULL: as they are): several windows at once give the
 * same as single ones, a state that is saved and loaded goes on like the one
 * that was not, and everybody goes on to run.
 */
void fake_mixed(const VschedPolicyOps *ops, void (*set)(Fake *f));

#endif /* FAKE_HOST_H */
