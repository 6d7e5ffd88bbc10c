/*
 * Paging of processors whose TLBs are filled by software (SPARC)
 *
 * The guest's own handler walks its tables, and executes for it; what virtual
 * machines cost beyond that depends on the mode of the VM:
 *
 *   native  nothing
 *   nested  what is not the address of a TLB entry is guest-physical, and is
 *           translated by the host's tables: loads of the handler by real
 *           addresses, and the address that an entry names when it is inserted
 *   shadow  the host keeps a table of finished entries, virtual to machine.  A
 *           miss that finds its entry there costs a walk of that table, and the
 *           guest hears nothing of it.  Another miss exits, the guest's handler
 *           executes, and what it inserts exits again, as demaps do.
 *
 * There is no agile mode: no table of the guest's could be nested, as no
 * hardware walks one.  docs/devel/paging-model.rst has all decisions.
 *
 * The TLBs themselves are the processors', and the guest sees what they hold,
 * so this model hears of misses and has none of its own.  A number of a context
 * has the same meaning on all VCPUs of a VM.
 *
 * Plain C over GLib; a part of walk-model.h.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef WALK_SOFT_H
#define WALK_SOFT_H

#include "walk-tlb.h"

typedef struct WalkModel WalkModel;

/* As an UltraSPARC's: see UltraSPARC User's Manual, 6.2 */
typedef struct WalkSoftEntry {
    uint64_t tag;               /* virtual page, and context in 12:0 */
    uint64_t tte;
} WalkSoftEntry;

#define WALK_SOFT_CONTEXT   UINT64_C(0x1fff)
#define WALK_SOFT_LOCKED    (UINT64_C(1) << 6)
#define WALK_SOFT_GLOBAL    UINT64_C(1)
#define WALK_SOFT_PA        UINT64_C(0x1ffffffe000)

/* --- The table of finished entries of a VM --- */

typedef struct WalkSoftTable WalkSoftTable;

/* At most @limit entries: one more empties it. */
WalkSoftTable *walk_soft_table_new(unsigned limit);
void walk_soft_table_free(WalkSoftTable *t);

/* One for the same page is replaced. */
void walk_soft_table_put(WalkSoftTable *t, WalkSide side,
                         const WalkSoftEntry *e);
/* The entry that translates @address in @context, or NULL */
const WalkSoftEntry *walk_soft_table_find(const WalkSoftTable *t, WalkSide side,
                                          uint64_t address, unsigned context);
/* @whole: all that is not global of @context; else the page of @address */
void walk_soft_table_demap(WalkSoftTable *t, WalkSide side, bool whole,
                           uint64_t address, unsigned context);
void walk_soft_table_clear(WalkSoftTable *t);
unsigned walk_soft_table_entries(const WalkSoftTable *t);

#define WALK_SOFT_TABLE_STATE "a(ytt)"
GVariant *walk_soft_table_save(const WalkSoftTable *t);
/* Into an empty one; false if the state is impossible */
bool walk_soft_table_load(WalkSoftTable *t, GVariant *state);

/* --- What happens on a processor --- */

#define WALK_SOFT_LEVELS 8      /* of traps */

typedef struct WalkMiss {
    unsigned pcpu, vcpu;
    bool user, code;
    unsigned trap_level;        /* at which the access was */
    uint64_t address;
    unsigned context;
} WalkMiss;

/*
 * An access misses the TLB.  True: @entry is what the host puts there, and the
 * guest hears nothing; false: the guest's handler is called.
 */
bool walk_soft_miss(WalkModel *m, const WalkMiss *miss, WalkSoftEntry *entry,
                    int64_t *cycles);
/* The guest has put @entry into its TLB. */
int64_t walk_soft_insert(WalkModel *m, unsigned pcpu, unsigned vcpu, bool user,
                         bool code, const WalkSoftEntry *entry);
/* It has loaded from a real address. */
int64_t walk_soft_real(WalkModel *m, unsigned pcpu, unsigned vcpu, bool user,
                       uint64_t gpa);
/* See walk_soft_table_demap(). */
int64_t walk_soft_demap(WalkModel *m, unsigned pcpu, unsigned vcpu, bool code,
                        bool whole, uint64_t address, unsigned context);
/*
 * It has made an entry invalid by its number.  That is how software empties a
 * TLB, so all finished entries go.
 */
int64_t walk_soft_clear(WalkModel *m, unsigned pcpu, unsigned vcpu);

/* Finished entries of a VM */
unsigned walk_soft_entries(const WalkModel *m, unsigned vm);

#define WALK_SOFT_STATE "(aa(ytt)a(ybyt))"
GVariant *walk_soft_save(const WalkModel *m);
/* False, and nothing has changed, if the state is impossible */
bool walk_soft_load(WalkModel *m, GVariant *state);

#endif /* WALK_SOFT_H */
