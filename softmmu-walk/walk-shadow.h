/*
 * Shadow page tables of a VM, as Xen 3.3 keeps them
 *
 * Each page of a guest's page tables that walks have come through has a shadow
 * page for each level at which it is used.  An entry of it is empty, or has the
 * value that the guest's entry had when it was filled.  A guest's table that
 * has a shadow is write-protected, so that its entries stay what they are; the
 * shadow of a last-level table can be out of sync instead, and is compared with
 * the guest's table later.
 *
 * This keeps the pages and says which have to be protected; when something
 * costs an exit, walk-model.c says.  Pages have machine addresses outside the
 * guest's memory.
 *
 * Plain C over GLib.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef WALK_SHADOW_H
#define WALK_SHADOW_H

#include "walk-cache.h"

/* Bits of an x86 page table entry that a shadow looks at */
#define WALK_PTE_PRESENT  UINT64_C(0x001)
#define WALK_PTE_WRITE    UINT64_C(0x002)
#define WALK_PTE_USER     UINT64_C(0x004)
#define WALK_PTE_ACCESSED UINT64_C(0x020)
#define WALK_PTE_DIRTY    UINT64_C(0x040)
#define WALK_PTE_LARGE    UINT64_C(0x080)

/* How a guest's tables are built */
typedef enum WalkFormat {
    WALK_32,            /* 2 levels of 10 bits, entries of 4 bytes */
    WALK_PAE,           /* 3 levels: 2, 9 and 9 bits, entries of 8 bytes */
    WALK_64,            /* 4 levels of 9 bits */
    WALK_57,            /* 5 levels of 9 bits */
    WALK_FORMATS
} WalkFormat;

unsigned walk_format_levels(WalkFormat format);
unsigned walk_format_bits(WalkFormat format);           /* of an index */
unsigned walk_format_entry(WalkFormat format);          /* bytes */

/*
 * A level of its own: pages of 4 kB into which a large page of the guest's is
 * split, because the machine's memory has no large pages ("FL1" in Xen).
 */
#define WALK_SPLIT 0

typedef struct WalkShadow WalkShadow;
typedef struct WalkShadowPage WalkShadowPage;

typedef struct WalkShadowHooks {
    /* The guest's entry at @gpa, of @size bytes */
    uint64_t (*read)(void *opaque, uint64_t gpa, unsigned size);
    /* Writes to the page @gfn have to be told from now on, or not any more. */
    void (*protect)(void *opaque, uint64_t gfn, bool on);
    void *opaque;
} WalkShadowHooks;

/*
 * At most @limit pages: the oldest make room, and walk_shadow_made_room() says
 * how many since it was asked last.  @base: their machine address
 */
WalkShadow *walk_shadow_new(const WalkShadowHooks *hooks, unsigned limit,
                            uint64_t base);
void walk_shadow_free(WalkShadow *s);
unsigned walk_shadow_made_room(WalkShadow *s);

/* The shadow of the guest's table page @gfn as one of @level, or NULL */
WalkShadowPage *walk_shadow_find(const WalkShadow *s, uint64_t gfn,
                                 unsigned level);
/* The same, made if it is not there */
WalkShadowPage *walk_shadow_get(WalkShadow *s, uint64_t gfn, unsigned level,
                                WalkFormat format);

/* Machine address of the shadow of the entry with number @index */
uint64_t walk_shadow_address(const WalkShadowPage *p, unsigned index);

bool walk_shadow_is_filled(const WalkShadowPage *p, unsigned index);
uint64_t walk_shadow_value(const WalkShadowPage *p, unsigned index);
void walk_shadow_fill(WalkShadowPage *p, unsigned index, uint64_t value);
void walk_shadow_empty(WalkShadowPage *p, unsigned index);

/*
 * Whether a write to @gfn is one to a table that has a shadow, in sync or not
 */
bool walk_shadow_has(const WalkShadow *s, uint64_t gfn);

/*
 * Whether writes to @gfn may go unseen: it has one shadow, of the last level,
 * which is in sync.
 */
bool walk_shadow_may_unsync(const WalkShadow *s, uint64_t gfn);
bool walk_shadow_is_out_of_sync(const WalkShadow *s, uint64_t gfn);
void walk_shadow_unsync(WalkShadow *s, uint64_t gfn);

/*
 * Compares @gfn with its shadow and empties what differs; writes are seen
 * again. A shadow that nothing is left of goes.  Returns how many entries
 * differed.
 */
unsigned walk_shadow_resync(WalkShadow *s, uint64_t gfn);

/*
 * A write of @size bytes at @gpa has been emulated: what it touches is empty.
 */
void walk_shadow_written(WalkShadow *s, uint64_t gpa, unsigned size);

/* All shadows of @gfn go.  walk_shadow_clear(): all shadows. */
void walk_shadow_remove(WalkShadow *s, uint64_t gfn);
void walk_shadow_clear(WalkShadow *s);

/*
 * Agile paging: tables that are walked in two dimensions, like all below them.
 * They have no shadow.  The first write to such a table after
 * walk_shadow_scan() is told: it is dirty then.
 */
bool walk_shadow_is_nested(const WalkShadow *s, uint64_t gfn);
/* Another write to a table with a shadow; how many since the last scan */
unsigned walk_shadow_count_write(WalkShadow *s, uint64_t gfn);
void walk_shadow_nest(WalkShadow *s, uint64_t gfn);
void walk_shadow_dirty(WalkShadow *s, uint64_t gfn);
/* Those that are not dirty are shadowed again; returns how many these are. */
unsigned walk_shadow_scan(WalkShadow *s);
unsigned walk_shadow_nested(const WalkShadow *s);

/* Pages there are */
unsigned walk_shadow_pages(const WalkShadow *s);

/*
 * For tests: calls @function for each entry that is filled, pages in the order
 * in which they were made.
 */
typedef void WalkShadowEntry(void *opaque, uint64_t gfn, unsigned level,
                             WalkFormat format, unsigned index, uint64_t value,
                             bool out_of_sync);
void walk_shadow_foreach(const WalkShadow *s, WalkShadowEntry *function,
                         void *opaque);

#define WALK_SHADOW_STATE "(a(tyybua(ut))aua(tubb))"
GVariant *walk_shadow_save(const WalkShadow *s);
bool walk_shadow_load(WalkShadow *s, GVariant *state, char **why);

#endif /* WALK_SHADOW_H */
