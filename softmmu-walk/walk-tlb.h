/*
 * The TLB of a PCPU: two levels, instructions and data, several sizes of pages
 *
 * What the model knows of a TLB is which translations it holds, not what they
 * are.  An entry belongs to an address space (ASID: PCID of x86, context of
 * SPARC) of a virtual processor (VPID); a global one to all address spaces of
 * that VPID.
 *
 * Replacement is FIFO or random, and looks at no hits: QEMU's own TLB hides
 * hits from the model, and refills at moments that depend on its size, so a hit
 * may change nothing (docs/devel/paging-model.rst).
 *
 * A lookup that the first level misses and the second one has copies the entry
 * to the first level; the second one keeps it.  An entry that the first level
 * gives up for another one is told, since QEMU's TLB has to be a subset of the
 * first level.
 *
 * Plain C over GLib.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef WALK_TLB_H
#define WALK_TLB_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

typedef enum WalkSide {
    WALK_CODE,
    WALK_DATA,
    WALK_SIDES
} WalkSide;

typedef enum WalkSize {
    WALK_4K,
    WALK_2M,
    WALK_4M,            /* x86, 32 bits without PAE */
    WALK_1G,
    WALK_SIZES
} WalkSize;

/* What an array can hold, as bits; 4 MB pages go where 2 MB pages go. */
enum {
    WALK_HOLDS_4K = 1,
    WALK_HOLDS_2M = 2,
    WALK_HOLDS_1G = 4,
    WALK_HOLDS_ALL = 7,
};

/*
 * The arrays.  Those without entries are not there.  A page for whose size the
 * first level of its side has no array is held in pieces of the next smaller
 * size that has one.
 */
typedef enum WalkArrayName {
    WALK_L1I,
    WALK_L1I_LARGE,
    WALK_L1D,
    WALK_L1D_LARGE,
    WALK_L1D_HUGE,
    WALK_L2,            /* of both sides, or of data if there is WALK_L2I */
    WALK_L2_HUGE,       /* of both sides */
    WALK_L2I,
    WALK_ARRAYS
} WalkArrayName;

typedef struct WalkArrayConfig {
    uint64_t entries;   /* 0 or a multiple of ways; sets: a power of 2 */
    uint64_t ways;      /* 0: fully associative */
    uint64_t holds;     /* WALK_HOLDS_ bits */
} WalkArrayConfig;

typedef enum WalkReplacement {
    WALK_FIFO,
    WALK_RANDOM,
} WalkReplacement;

typedef struct WalkTlbConfig {
    WalkArrayConfig array[WALK_ARRAYS];
    uint64_t replacement;       /* WalkReplacement */
} WalkTlbConfig;

typedef struct WalkTag {
    uint32_t asid;
    uint32_t vpid;
} WalkTag;

/* What an entry lets through: that of the walk that it is of */
typedef enum WalkRights {
    WALK_MAY_WRITE = 1,     /* all entries allow it, and D is set */
    WALK_MAY_USER = 2,      /* user mode, too */
    WALK_RIGHTS = 3         /* all of them */
} WalkRights;

typedef struct WalkTlbHit {
    unsigned level;     /* 1 or 2; 0: a miss */
    WalkSize size;      /* of the entry; of a miss: nothing */
    unsigned rights;    /* of the entry: WalkRights */
} WalkTlbHit;

typedef struct WalkTlb WalkTlb;

/* An entry of the first level made room for another one. */
typedef void WalkTlbEvicted(void *opaque, WalkSide side, uint64_t address,
                            WalkSize size, WalkTag tag);

static inline unsigned walk_size_shift(WalkSize size)
{
    static const unsigned char shifts[WALK_SIZES] = { 12, 21, 22, 30 };

    return shifts[size];
}

extern const char *const walk_array_names[WALK_ARRAYS];

/* False, and why (the caller frees it), if the arrays are impossible */
bool walk_tlb_config_check(const WalkTlbConfig *c, char **why);

/* @seed: of random replacement */
WalkTlb *walk_tlb_new(const WalkTlbConfig *c, uint64_t seed);
void walk_tlb_free(WalkTlb *t);
void walk_tlb_on_evicted(WalkTlb *t, WalkTlbEvicted *function, void *opaque);

/*
 * Looks @address up for @side.  A hit in the second level is copied to the
 * first, which may evict another entry; nothing changes else.
 */
WalkTlbHit walk_tlb_lookup(WalkTlb *t, WalkSide side, uint64_t address,
                           WalkTag tag);

/*
 * The same, but only of an entry that has @rights, and nothing changes
 * otherwise.  Returns the level, and the entry's rights; 0: there is none.
 */
unsigned walk_tlb_lookup_with(WalkTlb *t, WalkSide side, uint64_t address,
                              WalkTag tag, unsigned *rights);

/* As walk_tlb_lookup(), but nothing changes at all: for checks. */
WalkTlbHit walk_tlb_peek(const WalkTlb *t, WalkSide side, uint64_t address,
                         WalkTag tag);

/* Whether the first level has it, with @rights; nothing changes. */
bool walk_tlb_has(const WalkTlb *t, WalkSide side, uint64_t address,
                  WalkTag tag, unsigned rights);

/*
 * Enters a translation into both levels, after a walk.  One that is there for
 * the same address is replaced in its place.  @of: size of the page of the
 * guest's, of which the entry may be a piece.  @rights: WalkRights.  Returns
 * the size of the entry in the first level, which may be smaller than @size.
 */
WalkSize walk_tlb_fill(WalkTlb *t, WalkSide side, uint64_t address,
                       WalkSize size, WalkSize of, WalkTag tag, bool global,
                       unsigned rights);

/*
 * Invalidations, in all arrays; none of them calls WalkTlbEvicted.  INVLPG: the
 * page of @address in @tag's address space, and a global one of its VPID.
 */
void walk_tlb_flush_page(WalkTlb *t, uint64_t address, WalkTag tag);
/*
 * Of a page fault: the entries that have @address, but no other pieces of its
 * page.  Returns the WalkSize of the largest one that went, -1 if none did.
 */
int walk_tlb_drop(WalkTlb *t, uint64_t address, WalkTag tag);
/*
 * Of @side, what has @address, but not as walk_tlb_fill() would enter it for a
 * page of @size: its page is of another size by now.  The same answer.
 */
int walk_tlb_drop_others(WalkTlb *t, WalkSide side, uint64_t address,
                         WalkSize size, WalkTag tag);
/* A new CR3: what is not global of an address space */
void walk_tlb_flush_asid(WalkTlb *t, WalkTag tag);
/* Of a virtual processor: everything, or what is not global */
void walk_tlb_flush_vpid(WalkTlb *t, uint32_t vpid, bool globals);
void walk_tlb_flush(WalkTlb *t);
/* If it is empty, it is as it was at first: replacement begins anew, too. */
void walk_tlb_begin_anew(WalkTlb *t);

/* How many entries an array holds */
unsigned walk_tlb_used(const WalkTlb *t, WalkArrayName array);

/*
 * The contents, in their places, and the state of replacement.  Loading returns
 * false, and why, if the arrays are others; nothing has changed then.
 */
#define WALK_TLB_STATE "(ta(ua(uyytuuy)au))"
GVariant *walk_tlb_save(const WalkTlb *t);
bool walk_tlb_load(WalkTlb *t, GVariant *state, char **why);

#endif /* WALK_TLB_H */
