/*
 * The cache model: what its files share, and what tests look into
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef CACHETIME_INTERNAL_H
#define CACHETIME_INTERNAL_H

#include "cache-array.h"
#include "cache-model.h"
#include "directory.h"
#include "first-touch.h"
#include "reservation.h"

/* The line of a set that was accessed last, and what the filter may do */
typedef struct CacheGrant {
    uint64_t line;
    unsigned rights;
} CacheGrant;

typedef enum CacheSide { CACHE_SIDE_I, CACHE_SIDE_D, CACHE_SIDES } CacheSide;

typedef struct CachePcpu {
    CacheArray l1[CACHE_SIDES];
    CacheArray l2;
    CacheGrant *grant[CACHE_SIDES];     /* by set of the L1 */
    uint8_t *granted;                   /* by place of the L1I: with recency */
    int64_t recent_place[CACHE_SIDES];  /* of a line of an L1 accessed lately */
    Reservation *l2_bank;
    Reservation link_in, link_out;      /* lines; a command takes no slot */
    uint64_t memory_reads;              /* numbers the random additions */
    CacheCounters counters[2];          /* privileged, user */
    CacheEvents events;
} CachePcpu;

struct CacheModel {
    CacheConfig config;
    CacheMachine machine;
    unsigned *vm;                       /* of each VCPU */
    unsigned line_shift;
    uint64_t state_lines;               /* of each VCPU's state */

    /* cycles, from the load-to-use latencies of the configuration */
    int64_t hop;
    int64_t l1_latency[CACHE_SIDES];
    int64_t l2_array;                   /* an L2's answer to the directory */
    int64_t l3_array;                   /* from the bank's slot to the data */
    int64_t memory_array;               /* from memory's slot to the data */

    int64_t horizon;                    /* no access comes before this cycle */
    CachePcpu *pcpu;
    CacheArray l3;                      /* SHARED: clean; MODIFIED: dirty */
    Reservation *l3_bank;
    Reservation memory;
    Directory directory;
    FirstTouch touched;
    CacheCounters (*vcpu)[2];           /* privileged, user */

    CacheWithdraw *withdraw;
    CacheRecency *recency;              /* NULL: only to lines accessed last */
    void *withdraw_opaque;

    CacheOutcome *outcome;              /* of the lines of the last access */
    unsigned outcomes, outcomes_max;

#ifdef CACHE_MODEL_TEST
    int fault;                          /* CacheFault */
    void (*moved)(void *opaque, unsigned from, unsigned to, uint64_t line);
    void *moved_opaque;
#endif
};

/* One line of an access on its way */
typedef struct CacheRequest {
    CacheModel *m;
    CachePcpu *p;
    CacheCounters *counters[2];         /* of the PCPU, of the VCPU */
    uint64_t line;
    int64_t time;                       /* cycle that it has reached */
    uint64_t touched_by;                /* PCPUs, before; after an L2 miss */
    unsigned pcpu;
    CacheSide side;
    bool store;                         /* it needs the right to write */
    bool write;                         /* asks for it, if the L1 misses */
    bool asks_again;                    /* the caller, for rights to the set */
    bool l2_missed;
    int64_t l1_first;                   /* where its set in the L1 begins */
    int64_t l2_place;                   /* of the line, once the L2 has it */
    CacheOutcome *outcome;
} CacheRequest;

#define COUNT(request, field, n) \
    do { \
        (request)->counters[0]->field += (n); \
        (request)->counters[1]->field += (n); \
    } while (0)

static inline uint64_t cache_bit(unsigned pcpu)
{
    return UINT64_C(1) << pcpu;
}

static inline CacheSide cache_side_of(CacheKind kind)
{
    return kind == CACHE_FETCH ? CACHE_SIDE_I : CACHE_SIDE_D;
}

static inline bool cache_is_store(CacheKind kind)
{
    return kind == CACHE_STORE || kind == CACHE_MODEL_STORE;
}

/* The first line of @access */
static inline CacheRequest cache_request(CacheModel *m,
                                         const CacheAccess *access)
{
    CachePcpu *p = &m->pcpu[access->pcpu];
    bool store = cache_is_store(access->kind);

    return (CacheRequest) {
        .m = m,
        .p = p,
        .counters = {
            &p->counters[access->user],
            &m->vcpu[access->vcpu][access->user],
        },
        .line = access->address >> m->line_shift,
        .time = access->cycle,
        .pcpu = access->pcpu,
        .side = cache_side_of(access->kind),
        .write = store || access->exclusive,
        .store = store,
        .asks_again = access->asks_again,
    };
}

/* It is counted, and is the @n-th outcome: as yet one of the L1 alone. */
static inline void cache_begin_line(CacheRequest *r, CacheKind kind, unsigned n)
{
    COUNT(r, accesses[kind], 1);
    r->outcome = &r->m->outcome[n];
    r->outcome->line = r->line;
    r->outcome->stall = 0;
    r->outcome->taken = 0;
    r->outcome->server = CACHE_BY_L1;
    r->outcome->l1 = r->outcome->l2 = CACHE_HIT;
}

/* Whether the filter may have any line of the L1 */
static inline bool cache_grants_all(const CacheModel *m, CacheSide side)
{
    return side == CACHE_SIDE_I && m->recency;
}

static inline bool cache_has_exclusive(const CacheModel *m)
{
    return m->config.protocol == CACHE_MESI ||
           m->config.protocol == CACHE_MOESI;
}

static inline bool cache_has_owned(const CacheModel *m)
{
    return m->config.protocol == CACHE_MOSI ||
           m->config.protocol == CACHE_MOESI;
}

/* coherence.c: performs @r; returns its stall cycles */
int64_t cache_access_line(CacheRequest *r);

/*
 * coherence.c: an access to one line in less time, if the L1 or the L2 of the
 * PCPU has it with the right that is needed, as in most cases; else nothing has
 * changed
 */
#define CACHE_NOT_QUICK (-1)
int64_t cache_access_quickly(CacheModel *m, const CacheAccess *access);

/* cache-model.c */
void cache_model_destroy(CacheModel *m);
void cache_model_settle_set(CacheModel *m, unsigned pcpu, int64_t first);

/*
 * What tests put in.  Places of data are numbers: memory, the L3, a line on its
 * way, and three for each PCPU.
 */
typedef enum CacheFault {
    CACHE_FAULT_NONE,
    CACHE_FAULT_KEEP_SHARER,            /* a store leaves another L2's copy */
    CACHE_FAULT_KEEP_MODIFIED,          /* the owner is not downgraded */
    CACHE_FAULT_KEEP_L3_COPY,           /* an L3 hit leaves the line there */
    CACHE_FAULT_KEEP_L1_COPY,           /* an L2 victim stays in the L1s */
    CACHE_FAULT_KEEP_L1I_COPY,          /* a store leaves the own L1I's copy */
    CACHE_FAULT_LOSE_DIRTY_L1,          /* dirty L1D victim is dropped */
    CACHE_FAULT_LOSE_DIRTY_L2,          /* dirty L2 victim is clean in the L3 */
    CACHE_FAULT_LOSE_DIRTY_L3,          /* dirty L3 victim is dropped */
    CACHE_FAULT_LOSE_OWNED,             /* so is one in O that others share */
    CACHE_FAULT_STALE_SUPPLY,           /* an L2 forwards without its L1D */
    CACHE_FAULT_STALE_DIRECTORY,        /* it does not hear of a victim */
    CACHE_FAULT_FALSE_EXCLUSIVE,        /* E although others share */
    CACHE_FAULT_SHARED_TO_L3,           /* a victim that others still hold */
    CACHE_FAULT_KEEP_RIGHT,             /* the filter is not told */
    CACHE_FAULT_UNCOUNTED,              /* an L2 miss is not counted */
    CACHE_FAULTS
} CacheFault;

#define CACHE_PLACE_MEMORY  0
#define CACHE_PLACE_L3      1
#define CACHE_PLACE_FLIGHT  2
#define CACHE_PLACE_L2(pcpu)  (3 + 3 * (pcpu))
#define CACHE_PLACE_L1I(pcpu) (4 + 3 * (pcpu))
#define CACHE_PLACE_L1D(pcpu) (5 + 3 * (pcpu))

#ifdef CACHE_MODEL_TEST
#define FAULT(m, name) ((m)->fault == CACHE_FAULT_##name)
static inline void cache_moved(CacheModel *m, unsigned from, unsigned to,
                               uint64_t line)
{
    if (m->moved) {
        m->moved(m->moved_opaque, from, to, line);
    }
}
#else
#define FAULT(m, name) false
static inline void cache_moved(CacheModel *m, unsigned from, unsigned to,
                               uint64_t line)
{
}
#endif

#endif /* CACHETIME_INTERNAL_H */
