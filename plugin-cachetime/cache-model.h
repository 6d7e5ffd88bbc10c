/*
 * The cache model: what an access costs, and what it does to all caches
 *
 * L1I, L1D and L2 of each PCPU, a shared L3 with a directory, links, memory:
 * the machine of Wells, Chakraborty, Sohi, "Hardware Support for Spin
 * Management in Overcommitted Virtual Machines", PACT 2006, section 4.2 and
 * table 2, with every number a parameter (cache-config.h).  Decisions where the
 * paper is silent: docs/devel/cache-model.rst.
 *
 * Who executes guest code notifies the model of each access that may change
 * anything, and adds the stall cycles that it returns to the PCPU's clock.
 * The model never calls back, except to withdraw rights (below).
 *
 * Plain C over GLib: no other QEMU header, no knowledge of TCG, of plugins or
 * of a target.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef CACHETIME_MODEL_H
#define CACHETIME_MODEL_H

#include "cache-config.h"

/* Model accesses are made by the machine itself: VCPU state, page walks. */
typedef enum CacheKind {
    CACHE_FETCH,            /* through the L1I; all others through the L1D */
    CACHE_LOAD,
    CACHE_STORE,
    CACHE_MODEL_LOAD,
    CACHE_MODEL_STORE,
    CACHE_KINDS
} CacheKind;

typedef enum CacheLevel {
    CACHE_L1I,
    CACHE_L1D,
    CACHE_L2,
    CACHE_L3,
    CACHE_LEVELS
} CacheLevel;

/*
 * Compulsory: in an L1 or L2, this PCPU's first access to the line; in the L3,
 * the first of any PCPU.  Coherence: another's store had taken the line away.
 * All others are of capacity or conflict.
 */
typedef enum CacheMiss {
    CACHE_COMPULSORY,
    CACHE_CAPACITY,
    CACHE_COHERENCE,
    CACHE_MISSES,
    CACHE_HIT = CACHE_MISSES    /* in a CacheOutcome: no miss in this cache */
} CacheMiss;

/* Who answers an access that the L1 cannot answer alone */
typedef enum CacheServer {
    CACHE_BY_L2,
    CACHE_BY_UPGRADE,       /* the L2 has the line; the directory, the right */
    CACHE_BY_TRANSFER,      /* another L2 */
    CACHE_BY_L3,
    CACHE_BY_MEMORY,
    CACHE_SERVERS,
    CACHE_BY_L1 = CACHE_SERVERS /* in a CacheOutcome: alone, without a stall */
} CacheServer;

typedef enum CacheResource {
    CACHE_L2_BANK,
    CACHE_L3_BANK,
    CACHE_LINK,
    CACHE_MEMORY,
    CACHE_RESOURCES
} CacheResource;

/*
 * Every field is a uint64_t.  Lines are counted, unless it says otherwise; an
 * access that crosses lines counts once for each.
 *
 * @upgrades: stores to lines that the L1D holds, but may not write.  @served:
 * L1 misses and upgrades.  @waits: part of @stall, for slots that were not
 * free.  @invalidations: lines taken away from other L2s.  @write_backs: dirty
 * lines that leave a level, or that an L2 keeps as clean ones; no transfers.
 * @clean_victims: clean lines that an L2 gives to the L3.
 */
typedef struct CacheCounters {
    uint64_t accesses[CACHE_KINDS];
    uint64_t misses[CACHE_LEVELS][CACHE_MISSES];
    uint64_t l2_fetch_misses;           /* part of L2's misses: of fetches */
    uint64_t upgrades;
    uint64_t served[CACHE_SERVERS];
    uint64_t stall[CACHE_SERVERS];      /* cycles */
    uint64_t waits[CACHE_RESOURCES];    /* cycles */
    uint64_t invalidations;
    uint64_t write_backs[CACHE_LEVELS];
    uint64_t clean_victims;
    uint64_t memory_writes;
} CacheCounters;

/* What other PCPUs do to a PCPU's L2 */
typedef struct CacheEvents {
    uint64_t taken;                 /* lines taken away by stores */
    uint64_t downgraded;            /* lines that it may not write any more */
    uint64_t supplied;              /* lines that it sent to another L2 */
} CacheEvents;

/* "l1d-misses-compulsory" and so on, for whoever exports them */
typedef struct CacheCounterName {
    const char *name;
    size_t offset;                  /* in CacheCounters */
} CacheCounterName;

extern const CacheCounterName cache_counter_names[];    /* ends with NULL */

typedef struct CacheMachine {
    unsigned pcpus;                 /* 1 to CACHE_PCPUS_MAX */
    unsigned vcpus;
    unsigned vms;
    const unsigned *vm;             /* of each VCPU; copied */
    uint64_t seed;                  /* memory variation, random replacement */
    /* machine address of the VCPUs' states, where no guest has its memory */
    uint64_t state_base;
    unsigned state_words;           /* of 8 bytes: the most that a VCPU has */
} CacheMachine;

typedef struct CacheAccess {
    int64_t cycle;                  /* clock of the PCPU, at least 0 */
    uint64_t address;               /* machine address: of all VMs' memory */
    unsigned size;                  /* bytes, at least 1; lines are split */
    unsigned pcpu;
    unsigned vcpu;                  /* in whose name; says the VM as well */
    CacheKind kind;
    bool user;
    /*
     * Of a load that is the first half of an atomic operation: if the L1
     * misses, it asks for the right to write as well, so that the store that
     * follows asks for nothing.  A line that the L1 may only read is one for
     * such a load too: it is the store that asks.  (The store may never come:
     * on a page that is read-only it faults.)
     */
    bool exclusive;
    /*
     * The caller asks cache_model_grant() for rights to the first line right
     * after it, and drops those to another line of its set: these end without a
     * call.
     */
    bool asks_again;
} CacheAccess;

/* What an access did to one line */
typedef struct CacheOutcome {
    uint64_t line;                  /* machine address / bytes of a line */
    int64_t stall;                  /* cycles */
    uint64_t taken;                 /* bit p: the L2 of PCPU p lost the line */
    CacheServer server;             /* or CACHE_BY_L1 */
    CacheMiss l1, l2;               /* or CACHE_HIT, also if it was not asked */
} CacheOutcome;

typedef struct CacheModel CacheModel;

/* NULL, and why, if @config or @machine is impossible */
CacheModel *cache_model_new(const CacheConfig *config,
                            const CacheMachine *machine, char **why);
void cache_model_free(CacheModel *m);
const CacheConfig *cache_model_config(const CacheModel *m);
const CacheMachine *cache_model_machine(const CacheModel *m);

/*
 * An access that committed.  Returns stall cycles: those beyond that of the
 * instruction, which hides the latency of the L1.
 */
int64_t cache_model_access(CacheModel *m, const CacheAccess *access);

/*
 * What the last access did to each line that it has, in the order of addresses;
 * until the next access or load.  VCPU switches consist of accesses, too.
 */
const CacheOutcome *cache_model_outcomes(const CacheModel *m, unsigned *n);

/*
 * No access before @cycle will come any more: reservations before it may be
 * forgotten.  Called at each window's end with the least clock of all PCPUs.
 */
void cache_model_forget_before(CacheModel *m, int64_t cycle);

/* --- VCPU switch --- */

#define CACHE_NO_VCPU (-1)

typedef struct CacheSwitch {
    int64_t cycle;
    unsigned pcpu;
    int out, in;                    /* VCPUs, or CACHE_NO_VCPU */
    unsigned words_out, words_in;   /* registers, and locked TLB entries */
} CacheSwitch;

/*
 * Stores the state of one VCPU, word by word, then loads that of the other, in
 * the name of the VCPU concerned, privileged.  Returns all cycles that it
 * takes: those of the words and the stalls.
 */
int64_t cache_model_switch(CacheModel *m, const CacheSwitch *s);

/* --- The filter --- */

/*
 * An access that hits the line of its L1 set that was accessed last, with the
 * right that it needs, changes nothing in the model and does not stall.  (One
 * that hits another line changes the order of lines, and nothing else.)
 * Whoever executes guest code may keep the rights to such lines and leave out
 * the call.  Such hits are counted by cache_model_add_hits().
 */
#define CACHE_MAY_READ  1u          /* fetch, in the L1I */
#define CACHE_MAY_WRITE 2u

/*
 * Right after an access: the rights to the line of @address, which the caller
 * may use until they are withdrawn.  0 if it has none.  The caller may forget
 * rights at any time; they are withdrawn all the same.
 */
unsigned cache_model_grant(CacheModel *m, unsigned pcpu, CacheKind kind,
                           uint64_t address);

/*
 * @rights to the line at @address, which is in @set of the L1I (@kind is FETCH)
 * or L1D of @pcpu, were granted and end now.  It may not call the model.
 */
typedef void CacheWithdraw(void *opaque, unsigned pcpu, CacheKind kind,
                           uint32_t set, uint64_t address, unsigned rights);

/*
 * When, by the clock of the L1I of @pcpu, the filter last recognised a fetch
 * from the line at @address; any earlier number if it did not since the grant.
 */
typedef uint64_t CacheRecency(void *opaque, unsigned pcpu, uint64_t address);

/* Before the first grant, and not NULL: without it nothing is granted. */
void cache_model_on_withdraw(CacheModel *m, CacheWithdraw *function,
                             void *opaque);

/*
 * After on_withdraw(), and before the first grant.  With this, rights are
 * granted to any line of the L1Is, not only to those accessed last, unless
 * their replacement is pseudo-LRU, which depends on the order of all hits.  LRU
 * depends on when each line was accessed last: for that, the clock of an L1I
 * counts all fetches, those that the filter recognised too.  The caller sets it
 * before each fetch that it tells of, to the number of fetches before it; the
 * model asks when it needs to know about others.
 */
void cache_model_on_recency(CacheModel *m, CacheRecency *function);
bool cache_model_grants_all_code(const CacheModel *m);
uint64_t cache_model_code_clock(const CacheModel *m, unsigned pcpu);
void cache_model_set_code_clock(CacheModel *m, unsigned pcpu, uint64_t clock);

/* The filter forgets the line at @address, which it saw last at @clock. */
void cache_model_settle_line(CacheModel *m, unsigned pcpu, uint64_t address,
                             uint64_t clock);

/* Asks about all lines: before the state is saved, or the filter emptied. */
void cache_model_settle(CacheModel *m);

/* Sets of the L1I (@kind is FETCH) or L1D: rights are to one line of each. */
uint32_t cache_model_l1_sets(const CacheModel *m, CacheKind kind);
uint32_t cache_model_l1_set(const CacheModel *m, CacheKind kind,
                            uint64_t address);

/* @n accesses that the filter recognised as hits */
void cache_model_add_hits(CacheModel *m, unsigned pcpu, unsigned vcpu,
                          CacheKind kind, bool user, uint64_t n);

/* --- Counters --- */

void cache_model_pcpu_counters(const CacheModel *m, unsigned pcpu, bool user,
                               CacheCounters *counters);
void cache_model_vcpu_counters(const CacheModel *m, unsigned vcpu, bool user,
                               CacheCounters *counters);
/* The sum over the VCPUs of @vm */
void cache_model_vm_counters(const CacheModel *m, unsigned vm, bool user,
                             CacheCounters *counters);
void cache_counters_add(CacheCounters *sum, const CacheCounters *more);
const CacheEvents *cache_model_events(const CacheModel *m, unsigned pcpu);
void cache_model_reset_counters(CacheModel *m);

/* --- Save, load, check --- */

/* All that later accesses and counters depend on, but granted rights */
GByteArray *cache_model_save(const CacheModel *m);

/*
 * Goes on from a state that cache_model_save() gave.  Rights that were granted
 * end without a call: the filter is to be emptied before.  False, and why, if
 * the bytes are damaged or those of another configuration or machine; then the
 * model goes on as before.
 */
bool cache_model_load(CacheModel *m, const uint8_t *bytes, size_t size,
                      char **why);

/*
 * Looks through all caches: coherence, inclusion, exclusion, directory, rights
 * and counters.  False, and why, if something cannot be.  For tests and for
 * loading; its time grows with the size of the caches.
 */
bool cache_model_check(const CacheModel *m, char **why);

/* Host memory that the model uses, in bytes, without the allocator's own */
size_t cache_model_memory(const CacheModel *m);

#endif /* CACHETIME_MODEL_H */
