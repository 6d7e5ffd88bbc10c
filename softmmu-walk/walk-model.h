/*
 * What paging costs: TLBs, page walks and exits of PCPUs that run VMs
 *
 * Each VM's memory is virtualised in one of four modes:
 *
 *   native  it is not: a walk reads the guest's tables
 *   nested  a walk reads the guest's tables, whose addresses are themselves
 *           translated by tables of the host ("two-dimensional")
 *   shadow  a walk reads shadow tables; where these do not fit the guest's,
 *           the processor leaves the guest ("exit") and the host mends them
 *   agile   a walk begins in the shadow tables and goes on in two dimensions
 *           where the guest changes its tables often (Gandhi, Hill, Swift,
 *           "Agile Paging", ISCA 2016)
 *
 * The model is told what happens and answers in cycles, by which the clock of
 * the PCPU goes on.  It does no translation of its own: what the guest's tables
 * say comes with each access.  docs/devel/paging-model.rst has all decisions,
 * and their sources.
 *
 * Plain C over GLib.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef WALK_MODEL_H
#define WALK_MODEL_H

#include "walk-config.h"
#include "walk-p2m.h"
#include "walk-shadow.h"

typedef enum WalkMode {
    WALK_NATIVE,
    WALK_NESTED,
    WALK_SHADOWED,
    WALK_AGILE,
    WALK_MODES
} WalkMode;

extern const char *const walk_mode_names[WALK_MODES];

/* An access that QEMU's TLB did not know, and what the guest's tables say */
typedef struct WalkAccess {
    unsigned pcpu, vcpu;
    uint64_t address;           /* virtual */
    bool code, write, user;
    /* The tables, as the walk of the guest's MMU has found them */
    WalkFormat format;
    unsigned last;              /* level of the last entry that it read */
    uint64_t entry[WALK_LEVELS + 1];    /* [level]: guest-physical address */
    uint64_t value[WALK_LEVELS + 1];    /* with A and D bits set by the walk */
    bool was_accessed;          /* A of the last entry before this walk */
    bool fault;                 /* it ended in a page fault */
    /*
     * The guest's MMU lets writes to the page through without another walk;
     * walk_model_access() answers whether the modelled TLB does so, too.
     */
    bool writable;
    bool global;                /* the page is in all address spaces */
    uint64_t gpa;               /* guest-physical address; not of a fault */
    /* Bit n: the walk has set bits of the entry of level n in memory. */
    unsigned set;
} WalkAccess;

/* An entry that a walk reads, or one that it sets an A or D bit of */
typedef struct WalkReference {
    unsigned pcpu, vcpu;
    int64_t cycle;              /* since the access began */
    uint64_t address;           /* machine address */
    unsigned size;
    bool store;
} WalkReference;

typedef struct WalkHooks {
    /*
     * Cycles that a reference takes beyond [walk] reference, for what it needs
     * is not in the first cache; NULL: none
     */
    int64_t (*stall)(void *opaque, const WalkReference *r);
    /* The guest's entry at @gpa of @vm, which has @size bytes */
    uint64_t (*read)(void *opaque, unsigned vm, uint64_t gpa, unsigned size);
    /*
     * Guest writes to the page @gfn have to be told, or need not be any more.
     */
    void (*protect)(void *opaque, unsigned vm, uint64_t gfn, bool on);
    /* Entries that the first level of a PCPU's TLB has lost: one, or all */
    void (*evicted)(void *opaque, unsigned pcpu, WalkSide side,
                    uint64_t address, WalkSize size, WalkTag tag);
    /* An access of @vcpu has taken what both sides had of its address. */
    void (*forgotten)(void *opaque, unsigned pcpu, unsigned vcpu,
                      uint64_t address, WalkSize size);
    void (*flushed)(void *opaque, unsigned pcpu);
    void *opaque;
} WalkHooks;

typedef struct WalkCounters {
    uint64_t l1_misses[WALK_SIDES];     /* of the first level of the TLB */
    uint64_t l2_hits[WALK_SIDES];
    uint64_t misses[WALK_SIDES];        /* of both levels: a walk follows */
    uint64_t dirty;                     /* walks of hits without the right */
    uint64_t faults;                    /* page faults of the guest's */
    uint64_t references[WALK_DIMENSIONS];
    uint64_t nested_hits;               /* of the nested TLB */
    uint64_t skipped;                   /* references that caches saved */
    uint64_t exits[WALK_EXITS];
    uint64_t filled, prefetched;        /* shadow entries */
    uint64_t resynced, unshadowed;      /* tables */
    uint64_t to_nested, to_shadow;      /* tables of agile paging's */
    uint64_t flushes;                   /* of a whole TLB, by exits */
    uint64_t l2_cycles, walk_cycles;
    uint64_t exit_cycles[WALK_EXITS];
} WalkCounters;

typedef struct WalkModel WalkModel;

typedef struct WalkMachine {
    unsigned pcpus, vcpus, vms;
    const unsigned *vm;         /* of each VCPU; copied */
    uint64_t seed;              /* of random replacement */
    uint64_t table_base;        /* machine address of tables of the host */
} WalkMachine;

/* Tables of one VM's take at most this much: p2m, then shadow tables. */
#define WALK_TABLES_SIZE (UINT64_C(1) << 36)

WalkModel *walk_model_new(const WalkConfig *config, const WalkMachine *machine,
                          const WalkHooks *hooks, WalkMode mode);
void walk_model_free(WalkModel *m);

/*
 * QEMU's TLB has to be filled for an access that is done.  Returns cycles; the
 * first level of the TLB of the PCPU has the page then, unless there was a
 * fault; a->writable says whether it may be written through.
 */
int64_t walk_model_access(WalkModel *m, WalkAccess *a);

/*
 * The same for an access to a page of which QEMU has what a walk found, if the
 * TLB lets it through: then no walk is needed.  Of @a, what is before @format
 * counts; false, and nothing has changed, if the TLB does not.
 */
bool walk_model_knows(WalkModel *m, WalkAccess *a, int64_t *cycles);
/* Whether it would be true; nothing changes. */
bool walk_model_would_know(const WalkModel *m, const WalkAccess *a);

/* Whether the first level has the page, with these @rights (WalkRights) */
bool walk_model_has(const WalkModel *m, unsigned pcpu, unsigned vcpu,
                    bool code, unsigned rights, uint64_t address);

typedef enum WalkFlush {
    WALK_KEEP,                  /* nothing goes */
    WALK_FLUSH,                 /* what is not global of the address space */
    WALK_FLUSH_ALL,             /* all of the VCPU's, as by a change of CR4 */
} WalkFlush;

/*
 * A new CR3 of @vcpu's: address space @asid (0 without PCIDs).  @format: of the
 * tables from now on.
 */
int64_t walk_model_root(WalkModel *m, unsigned pcpu, unsigned vcpu,
                        uint64_t root, WalkFormat format, uint32_t asid,
                        WalkFlush flush);
/* INVLPG of the page of @address */
int64_t walk_model_invalidate(WalkModel *m, unsigned pcpu, unsigned vcpu,
                              uint64_t address);

/* A write to a page that was protected, before it is done */
int64_t walk_model_table_write(WalkModel *m, unsigned pcpu, unsigned vcpu,
                               uint64_t gpa, unsigned size);

/* An interrupt, an access to a device, HLT: all modes but native exit. */
int64_t walk_model_exit(WalkModel *m, unsigned pcpu, unsigned vcpu,
                        WalkExit exit);

/* Another VCPU begins on @pcpu. */
int64_t walk_model_switched(WalkModel *m, unsigned pcpu, unsigned vcpu);

/* Agile paging looks for tables that are not written any more. */
void walk_model_scan(WalkModel *m, unsigned vm);

WalkMode walk_model_mode(const WalkModel *m, unsigned vm);
/* Another mode; shadow tables go.  All TLBs lose the VM's entries. */
void walk_model_set_mode(WalkModel *m, unsigned vm, WalkMode mode);

const WalkConfig *walk_model_config(const WalkModel *m);
const WalkShadow *walk_model_shadow(const WalkModel *m, unsigned vm);

/* What was counted of a VCPU, a PCPU, a VM; user: 1, privileged: 0 */
const WalkCounters *walk_model_of_vcpu(const WalkModel *m, unsigned vcpu,
                                       bool user);
const WalkCounters *walk_model_of_pcpu(const WalkModel *m, unsigned pcpu,
                                       bool user);
void walk_model_of_vm(const WalkModel *m, unsigned vm, bool user,
                      WalkCounters *sum);

/* The names of all counters, in their order in WalkCounters; ends with NULL */
extern const char *const walk_counter_names[];

#define WALK_PCPU_STATE "(vvatat)"
#define WALK_VCPU_STATE "(tuuattuatat)"
#define WALK_VM_STATE "(uvv)"
#define WALK_MODEL_STATE \
    "(ata" WALK_PCPU_STATE "a" WALK_VCPU_STATE "a" WALK_VM_STATE ")"
GVariant *walk_model_save(const WalkModel *m);
bool walk_model_load(WalkModel *m, GVariant *state, char **why);

#endif /* WALK_MODEL_H */
