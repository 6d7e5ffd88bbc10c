/*
 * What a PCPU remembers of page tables beside its TLB: paging-structure caches
 * of both dimensions, and the nested TLB
 *
 * Of two kinds.  Intel's paging-structure caches hold an entry of an upper
 * table by the part of the virtual address that leads to it (Intel SDM 3A,
 * 4.10.3; with extended page tables: 3C, 30.4), so that a walk begins further
 * down.  AMD's page walk cache holds entries by their machine addresses
 * (Bhargava, Serebrin, Spadini, Manne, "Accelerating Two-Dimensional Page
 * Walks for Virtualized Systems", ASPLOS 2008), so that a walk visits all
 * levels and pays for fewer.  The nested TLB has guest-physical pages that hold
 * guest page tables.
 *
 * All are fully associative and replaced FIFO (choice).  Plain C over GLib.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef WALK_CACHE_H
#define WALK_CACHE_H

#include "walk-tlb.h"

/* Tables of a level have entries of that level: 1 is the last, 5 the first. */
#define WALK_LEVELS 5

typedef enum WalkCacheKind {
    WALK_CACHE_INTEL,
    WALK_CACHE_AMD,
} WalkCacheKind;

#define WALK_CACHE_ENTRIES_MAX 256

/* Entries of each; 0: there is none.  [level], of which 2 to 5 are used. */
typedef struct WalkCacheConfig {
    uint64_t kind;                          /* WalkCacheKind */
    uint64_t guest[WALK_LEVELS + 1];        /* Intel: entries of that level */
    uint64_t host[WALK_LEVELS + 1];         /* the same, host dimension */
    uint64_t walk;                          /* AMD: of all levels of both */
    uint64_t nested;                        /* the nested TLB */
} WalkCacheConfig;

typedef struct WalkCache WalkCache;

/*
 * Which dimension: the tables that translate virtual addresses (the guest's, or
 * shadow tables), or those that translate guest-physical ones.
 */
typedef enum WalkDimension {
    WALK_GUEST,
    WALK_HOST,
    WALK_DIMENSIONS
} WalkDimension;

bool walk_cache_config_check(const WalkCacheConfig *c, char **why);
WalkCache *walk_cache_new(const WalkCacheConfig *c);
void walk_cache_free(WalkCache *c);

/*
 * Intel: the lowest level, of @from and below, whose entry for @address is
 * known, so that the walk goes on with a table of the level below; 0: none is.
 * @bits: of the address that index a table, 9 or 10.
 */
unsigned walk_cache_lookup(const WalkCache *c, WalkDimension dimension,
                           uint64_t address, WalkTag tag, unsigned from,
                           unsigned bits);

/* Intel: a walk has read the entry of @level, which is not the last one. */
void walk_cache_fill(WalkCache *c, WalkDimension dimension, uint64_t address,
                     WalkTag tag, unsigned level, unsigned bits);

/*
 * AMD: whether the entry at the machine address @entry is known; if not, it is
 * from now on.
 */
bool walk_cache_touch(WalkCache *c, uint64_t entry);

/*
 * Whether the nested TLB has guest-physical page @page of VM @vpid;
 * walk_cache_nest(): it has from now on.  The tags of the host dimension are
 * VMs too.
 */
bool walk_cache_is_nested(const WalkCache *c, uint64_t page, uint32_t vpid);
void walk_cache_nest(WalkCache *c, uint64_t page, uint32_t vpid);

/*
 * Invalidations.  INVLPG and a new CR3 take all upper entries of an address
 * space (SDM 3A, 4.10.4.1); guest-physical ones stay.  AMD's goes as a whole.
 */
void walk_cache_flush_asid(WalkCache *c, WalkTag tag);
/*
 * A page fault takes those that lead to @address (the same place).  Of AMD's
 * processors nobody says so: what theirs knows stays.
 */
void walk_cache_flush_page(WalkCache *c, uint64_t address, WalkTag tag,
                           unsigned bits);
void walk_cache_flush_vpid(WalkCache *c, uint32_t vpid);
/* The host dimension of a VM: its tables are others. */
void walk_cache_flush_host(WalkCache *c, uint32_t vpid);
/* All that a virtual address leads to; the host dimension stays. */
void walk_cache_flush_guest(WalkCache *c);
void walk_cache_flush(WalkCache *c);

#define WALK_CACHE_STATE "aa(tuu)"
GVariant *walk_cache_save(const WalkCache *c);
bool walk_cache_load(WalkCache *c, GVariant *state, char **why);

#endif /* WALK_CACHE_H */
