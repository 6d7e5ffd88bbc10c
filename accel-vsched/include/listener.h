/*
 * Listeners, which observe what a PCPU executes: spin detection buffer, models
 * of caches and page walks.
 *
 * Each PCPU has a table of listeners.  While one of its VCPUs executes, they
 * are notified of accesses, modes and switches, in the order of the table.  A
 * listener's @watch_mask says what it wants to be notified of from now on;
 * generated code reports what any of them wants, and nothing else, so that a
 * block has the same few forms whatever the number of listeners.  A listener
 * may be notified of more than it asked for, because another one did.
 *
 * Positions are numbers of instructions that the PCPU has retired: the one at
 * position n is the one that comes after n others.
 *
 * A listener charges time with vsched_stall(), see vsched.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSCHED_LISTENER_H
#define VSCHED_LISTENER_H

#include "exec/vaddr.h"
#include "hw/core/cpu.h"

/* Most listeners of a PCPU: SDB, caches, page walks, and one for tests. */
#define VSCHED_LISTENERS_MAX 4

#define VSCHED_WATCH_STORES 1u
#define VSCHED_WATCH_LOADS  2u
/*
 * Accesses that are not reported set marks, see VschedListenerOps.gen_mark.
 * They are reported instead where another listener wants them reported.
 */
#define VSCHED_WATCH_MARKS  4u

/* A position that is unknown, because nobody needed to know. */
#define VSCHED_ANYWHERE (-1)

/* A timed listener's @due: before the next block */
#define VSCHED_AT_ONCE (-1)

typedef struct VschedListener VschedListener;

/* Operations may be NULL: the listener is not notified. */
typedef struct VschedListenerOps {
    const char *name;

    /*
     * @cpu is about to execute a block of @insns instructions at position @at,
     * or will very soon; called before the first block of a stretch, and when
     * the listener wants to be asked again.  It may change its @watch_mask and
     * @exact, and lower *@limit, to no less than @at + @insns: the position at
     * which it is asked again at the latest.  @pc: of the block.
     */
    void (*block)(VschedListener *l, CPUState *cpu, int64_t at, unsigned insns,
                  uint64_t pc, int64_t *limit);

    /*
     * A load or store has been done.  @at: position of the instruction; only
     * known where @exact asks for it, else VSCHED_ANYWHERE.  It may change its
     * @watch_mask.
     */
    void (*load)(VschedListener *l, CPUState *cpu, int64_t at, vaddr addr,
                 unsigned size);
    void (*store)(VschedListener *l, CPUState *cpu, int64_t at, vaddr addr,
                  unsigned size, uint64_t low, uint64_t high);

    /* From position @at on, mode is @user.  It may change @watch_mask. */
    void (*mode)(VschedListener *l, CPUState *cpu, int64_t at, bool user);

    /* The VCPU stops executing, or a debugger looks on, at position @at. */
    void (*stop)(VschedListener *l, CPUState *cpu, int64_t at, bool user);

    /*
     * The PCPU holds @vcpu from position @at on, which was last in mode @user;
     * before it held @before, or nobody (-1).
     */
    void (*switched)(VschedListener *l, int64_t at, int vcpu, int before,
                     bool user);
} VschedListenerOps;

struct VschedListener {
    const VschedListenerOps *ops;
    int pcpu;
    unsigned watch_mask;        /* VSCHED_WATCH_* */
    /*
     * Something of this listener ends at this position: the block that has the
     * instruction before it reports all accesses, and where they are.
     */
    int64_t exact;              /* INT64_MAX: nothing does */
    /* What the watch mask will most likely be after that. */
    unsigned watch_mask_after;
    uint8_t *marks;             /* with VSCHED_WATCH_MARKS; never NULL then */
    /*
     * Of a timed listener, of which a PCPU has one at most, and for which only
     * block() and stop() are called: a cycle of the PCPU's clock.  block() is
     * called before the block in which that cycle lies, or the first one after
     * it if a stall comes in between, and for no other; it sets @due anew.
     * VSCHED_AT_ONCE: before the next block, also if an exception ends the
     * present one; or stop() is called, which otherwise is not.
     */
    int64_t due;
};

#endif /* VSCHED_LISTENER_H */
