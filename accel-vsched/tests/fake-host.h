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
} Event;

typedef struct Block {
    int length;
    Event event;
    int arg;
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
    GArray *log;
} World;

typedef struct Fake {
    World world;
    VschedCore *core;
    int64_t slice;
    int64_t ready[MANY], longest_wait;  /* since it was set to 0 */
    int stalls;                 /* longest stall of a block, cycles; 0: none */
    int64_t stalled;            /* cycles */
    bool mixed_speeds;          /* changed while running, 1/7 at least */
    bool lost_pcpus;            /* loaded from a state with other PCPUs */
    int switched;
    int64_t elapsed, elapsed_unstalled;
    bool merge;                 /* several windows at once */
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
void fake_free(Fake *f);
void start_all(Fake *f);
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

#endif /* FAKE_HOST_H */
