/*
 * Coherence: what an access does to all caches, and when it is done
 *
 * An invalidate-based directory protocol (MOSI in Wells, Chakraborty, Sohi,
 * PACT 2006, section 4.2; MSI, MESI and MOESI by choice; the states are those
 * of Sweazey and Smith, "A Class of Compatible Cache Consistency Protocols",
 * ISCA 1986).  States change at once; only time is modelled in parts.
 *
 * L1s are included in their L2, the L3 excludes what any L2 holds.  A line of
 * the L1D is in state S (read only), E (the L2 may write it, and the L1D has
 * not) or M (the L1D has; the L2's data are old, and its state is M).
 *
 * The request is a state machine of time: r->time is the cycle that it has
 * reached.  Victims are posted: they take slots, but delay nobody themselves.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "cache-internal.h"

/* Most accesses pass through these: see cache_access_quickly(). */
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#define unlikely(condition) __builtin_expect(!!(condition), 0)

/* --- Slots --- */

/* Sets go round the banks.  Divisions are slow, and @banks a power of two. */
static inline uint32_t bank_of(uint32_t set, uint64_t banks)
{
    return banks & (banks - 1) ? set % (uint32_t)banks : set & (banks - 1);
}

static inline Reservation *l2_bank(CacheModel *m, unsigned pcpu, uint64_t line)
{
    CachePcpu *p = &m->pcpu[pcpu];

    return &p->l2_bank[bank_of(cache_array_set(&p->l2, line),
                               m->config.l2.banks)];
}

static Reservation *l3_bank(CacheModel *m, uint64_t line)
{
    return &m->l3_bank[bank_of(cache_array_set(&m->l3, line),
                               m->config.l3.banks)];
}

/* A slot on the way of the request */
static ALWAYS_INLINE void take(CacheRequest *r, Reservation *slots,
                               CacheResource resource)
{
    int64_t start = reservation_take(slots, r->m->horizon, r->time);

    if (start != r->time) {
        COUNT(r, waits[resource], start - r->time);
        r->time = start;
    }
}

/* A slot for something that the request does not wait for, or in parallel */
static ALWAYS_INLINE int64_t post(CacheRequest *r, Reservation *slots,
                                  int64_t cycle)
{
    return reservation_take(slots, r->m->horizon, cycle);
}

static void write_memory(CacheRequest *r, unsigned from, uint64_t line,
                         int64_t cycle)
{
    post(r, &r->m->memory, cycle);
    COUNT(r, memory_writes, 1);
    cache_moved(r->m, from, CACHE_PLACE_MEMORY, line);
}

/* --- Rights of the filter --- */

/* Of @rights to @line, those that were granted end. */
static void withdraw(CacheModel *m, unsigned pcpu, CacheSide side,
                     uint64_t line, unsigned rights)
{
    uint32_t set = cache_array_set(&m->pcpu[pcpu].l1[side], line);
    CacheGrant *grant = &m->pcpu[pcpu].grant[side][set];
    unsigned lost = grant->line == line ? grant->rights & rights : 0;

    if (lost && !FAULT(m, KEEP_RIGHT)) {
        grant->rights &= ~lost;
        m->withdraw(m->withdraw_opaque, pcpu,
                    side == CACHE_SIDE_I ? CACHE_FETCH : CACHE_LOAD, set,
                    line << m->line_shift, lost);
    }
}

/* A line leaves @place of an L1, or left it: all rights to it end. */
static void withdraw_all(CacheModel *m, unsigned pcpu, CacheSide side,
                         int64_t place, uint64_t line)
{
    uint8_t *granted = m->pcpu[pcpu].granted;

    if (!cache_grants_all(m, side)) {
        withdraw(m, pcpu, side, line, CACHE_MAY_READ | CACHE_MAY_WRITE);
    } else if (granted[place] && !FAULT(m, KEEP_RIGHT)) {
        granted[place] = 0;
        m->withdraw(m->withdraw_opaque, pcpu, CACHE_FETCH,
                    cache_array_set(&m->pcpu[pcpu].l1[side], line),
                    line << m->line_shift, CACHE_MAY_READ);
    }
}

/* The line of @r is now the one of its L1 @set that was accessed last. */
static inline void make_most_recent(CacheRequest *r, uint32_t set)
{
    CacheGrant *grant = &r->p->grant[r->side][set];

    if (cache_grants_all(r->m, r->side)) {
        return;
    }
    if (grant->line != r->line) {
        if (grant->rights && !r->asks_again) {
            withdraw(r->m, r->pcpu, r->side, grant->line,
                     CACHE_MAY_READ | CACHE_MAY_WRITE);
        }
        *grant = (CacheGrant) { .line = r->line };
    }
}

/* --- L1 lines that change because of others --- */

/* An L1 gives up @line; @state: INVALID or TAKEN.  Dirty data are lost. */
static inline void drop_l1(CacheModel *m, unsigned pcpu, CacheSide side,
                           uint64_t line, CacheState state)
{
    CacheArray *l1 = &m->pcpu[pcpu].l1[side];
    int64_t place = cache_array_find(l1, line);

    if (unlikely(place != CACHE_NOWHERE)) {
        cache_array_set_state(l1, place, state);
        withdraw_all(m, pcpu, side, place, line);
    }
}

/* The L1D may not write @line any more; if it did, the L2 gets the data. */
static void clean_l1d(CacheRequest *r, unsigned pcpu, uint64_t line)
{
    CacheArray *l1 = &r->m->pcpu[pcpu].l1[CACHE_SIDE_D];
    int64_t place = cache_array_find(l1, line);
    CacheState state;

    state = place == CACHE_NOWHERE ? CACHE_SHARED
                                   : cache_array_state(l1, place);
    if (state == CACHE_SHARED) {
        return;
    }
    if (state == CACHE_MODIFIED) {
        COUNT(r, write_backs[CACHE_L1D], 1);
        cache_moved(r->m, CACHE_PLACE_L1D(pcpu), CACHE_PLACE_L2(pcpu), line);
    }
    cache_array_set_state(l1, place, CACHE_SHARED);
    withdraw(r->m, pcpu, CACHE_SIDE_D, line, CACHE_MAY_WRITE);
}

/* --- Victims --- */

/* The L3 takes a line that no L2 holds any more. */
static void give_to_l3(CacheRequest *r, uint64_t line, bool dirty)
{
    CacheModel *m = r->m;
    int64_t cycle = post(r, &r->p->link_out, r->time) + m->hop;
    bool taken;
    int64_t place = cache_array_victim(&m->l3, cache_array_first(&m->l3, line),
                                       line, &taken);

    cycle = post(r, l3_bank(m, line), cycle);
    if (cache_array_state(&m->l3, place) == CACHE_MODIFIED &&
        !FAULT(m, LOSE_DIRTY_L3)) {
        COUNT(r, write_backs[CACHE_L3], 1);
        write_memory(r, CACHE_PLACE_L3, cache_array_line(&m->l3, place), cycle);
    }
    if (dirty) {
        COUNT(r, write_backs[CACHE_L2], 1);
    } else {
        COUNT(r, clean_victims, 1);
    }
    cache_array_fill(&m->l3, place, line, dirty && !FAULT(m, LOSE_DIRTY_L2) ?
                     CACHE_MODIFIED : CACHE_SHARED);
    cache_moved(m, CACHE_PLACE_L2(r->pcpu), CACHE_PLACE_L3, line);
}

/* An L2 victim: the last copy goes to the L3; if others stay, data only. */
static void evict_l2(CacheRequest *r, int64_t place)
{
    CacheModel *m = r->m;
    CacheArray *l2 = &r->p->l2;
    uint64_t line = cache_array_line(l2, place);
    bool dirty = cache_state_dirty(cache_array_state(l2, place));
    DirectoryEntry *entry = directory_find(&m->directory, line);

    if (!FAULT(m, KEEP_L1_COPY)) {
        clean_l1d(r, r->pcpu, line);
        drop_l1(m, r->pcpu, CACHE_SIDE_D, line, CACHE_INVALID);
        drop_l1(m, r->pcpu, CACHE_SIDE_I, line, CACHE_INVALID);
    }
    if (!FAULT(m, STALE_DIRECTORY)) {
        entry = directory_remove(&m->directory, entry, r->pcpu);
    }
    if (!entry || FAULT(m, SHARED_TO_L3)) {
        give_to_l3(r, line, dirty);
    } else if (dirty && !FAULT(m, LOSE_OWNED)) {
        COUNT(r, write_backs[CACHE_L2], 1);
        write_memory(r, CACHE_PLACE_L2(r->pcpu), line,
                     post(r, &r->p->link_out, r->time) + m->hop);
    }
    cache_array_set_state(l2, place, CACHE_INVALID);
}

/* --- Other L2s --- */

/* The first sharer after @pcpu, in cyclic order */
static unsigned next_sharer(uint64_t sharers, unsigned pcpu)
{
    uint64_t after = sharers & ~(cache_bit(pcpu) | (cache_bit(pcpu) - 1));

    return __builtin_ctzll(after ? after : sharers);
}

/* The L2 of @other sends the line to that of the request. */
static void supply(CacheRequest *r, unsigned other)
{
    CacheModel *m = r->m;

    if (!FAULT(m, STALE_SUPPLY)) {
        clean_l1d(r, other, r->line);
    }
    r->time += m->hop;
    take(r, l2_bank(m, other, r->line), CACHE_L2_BANK);
    r->time += m->l2_array;
    take(r, &m->pcpu[other].link_out, CACHE_LINK);
    take(r, &r->p->link_in, CACHE_LINK);
    r->time += m->hop;
    m->pcpu[other].events.supplied++;
    cache_moved(m, CACHE_PLACE_L2(other), CACHE_PLACE_FLIGHT, r->line);
}

/* The L2 of @other, and its L1s, lose the line to a store. */
static void take_away(CacheRequest *r, unsigned other)
{
    CacheModel *m = r->m;
    CacheArray *l2 = &m->pcpu[other].l2;

    COUNT(r, invalidations, 1);
    r->outcome->taken |= cache_bit(other);
    m->pcpu[other].events.taken++;
    if (!FAULT(m, KEEP_SHARER)) {
        drop_l1(m, other, CACHE_SIDE_I, r->line, CACHE_TAKEN);
        drop_l1(m, other, CACHE_SIDE_D, r->line, CACHE_TAKEN);
        cache_array_set_state(l2, cache_array_find(l2, r->line), CACHE_TAKEN);
    }
}

/*
 * All other L2s lose the line.  The directory tells them in the same cycle, and
 * each answers to the requester; @supplier answers with the data.  Returns when
 * the last of the answers is there.
 */
static int64_t take_from_all(CacheRequest *r, DirectoryEntry *entry,
                             int64_t cycle, int supplier)
{
    CacheModel *m = r->m;
    uint64_t others = entry->sharers & ~cache_bit(r->pcpu);
    int64_t last = cycle;

    for (; others; others &= others - 1) {
        unsigned other = __builtin_ctzll(others);

        take_away(r, other);
        entry = directory_remove(&m->directory, entry, other);
        if ((int)other != supplier) {
            int64_t start = post(r, l2_bank(m, other, r->line), cycle + m->hop);

            last = MAX(last, start + m->l2_array + m->hop);
        }
    }
    return last;
}

/* The owner, if there is one, has to share the line from now on. */
static void downgrade_owner(CacheRequest *r, DirectoryEntry *entry)
{
    CacheModel *m = r->m;
    unsigned owner = entry->owner;
    CacheState state;
    CacheArray *l2;
    int64_t place;

    if (entry->owner == DIRECTORY_NO_OWNER || FAULT(m, KEEP_MODIFIED)) {
        return;
    }
    l2 = &m->pcpu[owner].l2;
    place = cache_array_find(l2, r->line);
    state = cache_array_state(l2, place);
    if (state != CACHE_OWNED) {
        m->pcpu[owner].events.downgraded++;
    }
    clean_l1d(r, owner, r->line);
    if (state == CACHE_EXCLUSIVE) {
        cache_array_set_state(l2, place, CACHE_SHARED);
        entry->owner = DIRECTORY_NO_OWNER;
    } else if (cache_has_owned(m)) {
        cache_array_set_state(l2, place, CACHE_OWNED);
    } else {
        COUNT(r, write_backs[CACHE_L2], 1);
        write_memory(r, CACHE_PLACE_L2(owner), r->line,
                     post(r, &m->pcpu[owner].link_out, r->time) + m->hop);
        cache_array_set_state(l2, place, CACHE_SHARED);
        entry->owner = DIRECTORY_NO_OWNER;
    }
}

/* --- Where the line comes from, when the L2 does not have it --- */

/* State of a line in the only L2 that has it; it is clean */
static CacheState state_of_only_copy(const CacheRequest *r)
{
    return r->write ? CACHE_MODIFIED :
           cache_has_exclusive(r->m) ? CACHE_EXCLUSIVE : CACHE_SHARED;
}

/* The request reaches the bank of L3 and directory; the directory answers. */
static void ask_directory(CacheRequest *r)
{
    r->time += r->m->hop;
    take(r, l3_bank(r->m, r->line), CACHE_L3_BANK);
    r->time += r->m->config.directory_latency;
}

/* The line goes from the bank of the L3, or from memory, to the L2. */
static void deliver(CacheRequest *r, unsigned from)
{
    take(r, &r->p->link_in, CACHE_LINK);
    r->time += r->m->hop;
    cache_moved(r->m, from, CACHE_PLACE_FLIGHT, r->line);
}

static CacheServer from_memory(CacheRequest *r)
{
    CacheModel *m = r->m;

    take(r, &m->memory, CACHE_MEMORY);
    r->time += m->memory_array +
               cache_random(m->machine.seed + r->pcpu, r->p->memory_reads++,
                            m->config.memory_variation + 1);
    deliver(r, CACHE_PLACE_MEMORY);
    return CACHE_BY_MEMORY;
}

/* The L3 has it at @place, and gives it up. */
static CacheServer from_l3(CacheRequest *r, int64_t place, CacheState *state)
{
    CacheModel *m = r->m;

    *state = cache_array_state(&m->l3, place) == CACHE_MODIFIED ?
             CACHE_MODIFIED : state_of_only_copy(r);
    if (!FAULT(m, KEEP_L3_COPY)) {
        cache_array_set_state(&m->l3, place, CACHE_INVALID);
    }
    r->time += m->l3_array - m->config.directory_latency;
    deliver(r, CACHE_PLACE_L3);
    return CACHE_BY_L3;
}

/* Some L2s have it. */
static CacheServer from_l2s(CacheRequest *r, DirectoryEntry *entry,
                            CacheState *state)
{
    CacheServer server = CACHE_BY_TRANSFER;
    int supplier = entry->owner;
    int64_t asked = r->time, answered;

    if (supplier == DIRECTORY_NO_OWNER && r->m->config.forward_shared) {
        supplier = next_sharer(entry->sharers, r->pcpu);
    }
    if (supplier == DIRECTORY_NO_OWNER) {
        server = from_memory(r);
    } else {
        supply(r, supplier);
    }
    if (r->write) {
        answered = take_from_all(r, entry, asked, supplier);
        r->time = MAX(r->time, answered);
        *state = CACHE_MODIFIED;
    } else {
        downgrade_owner(r, entry);
        *state = FAULT(r->m, FALSE_EXCLUSIVE) ? CACHE_EXCLUSIVE : CACHE_SHARED;
    }
    return server;
}

static CacheServer fetch_line(CacheRequest *r, CacheState *state)
{
    CacheModel *m = r->m;
    DirectoryEntry *entry;
    int64_t place;

    ask_directory(r);
    entry = directory_find(&m->directory, r->line);
    if (entry) {
        return from_l2s(r, entry, state);
    }
    place = cache_array_find(&m->l3, r->line);
    if (place != CACHE_NOWHERE) {
        return from_l3(r, place, state);
    }
    *state = state_of_only_copy(r);
    return from_memory(r);
}

/* --- The L2 --- */

/* @taken: the cache had the line, and another's store took it away */
static ALWAYS_INLINE CacheMiss kind_of_miss(const CacheRequest *r, bool taken)
{
    if (r->l2_missed && r->m->config.first_touches &&
        !(r->touched_by & cache_bit(r->pcpu))) {
        return CACHE_COMPULSORY;
    }
    return taken ? CACHE_COHERENCE : CACHE_CAPACITY;
}

static NOINLINE CacheServer miss_l2(CacheRequest *r)
{
    CacheModel *m = r->m;
    CacheArray *l2 = &r->p->l2;
    CacheServer server;
    CacheState state;
    bool taken;
    int64_t place = cache_array_victim(l2, cache_array_first(l2, r->line),
                                       r->line, &taken);

    r->l2_missed = true;
    cache_array_prefetch(&m->l3, r->line);
    directory_prefetch(&m->directory, r->line);
    if (cache_state_valid(cache_array_state(l2, place))) {
        uint64_t victim = cache_array_line(l2, place);

        cache_array_prefetch(&m->l3, victim);
        directory_prefetch(&m->directory, victim);
    }
    if (m->config.first_touches) {
        r->touched_by = first_touch(&m->touched, r->line, r->pcpu);
    }
    r->outcome->l2 = kind_of_miss(r, taken);
    if (!FAULT(m, UNCOUNTED)) {
        COUNT(r, misses[CACHE_L2][r->outcome->l2], 1);
        COUNT(r, l2_fetch_misses, r->side == CACHE_SIDE_I);
    }
    server = fetch_line(r, &state);
    if (server == CACHE_BY_MEMORY) {
        COUNT(r, misses[CACHE_L3][m->config.first_touches && !r->touched_by ?
                                  CACHE_COMPULSORY : CACHE_CAPACITY], 1);
    }
    if (cache_state_valid(cache_array_state(l2, place))) {
        evict_l2(r, place);
    }
    cache_array_fill(l2, place, r->line, state);
    r->l2_place = place;
    directory_add(&m->directory, r->line, r->pcpu, state != CACHE_SHARED);
    cache_moved(m, CACHE_PLACE_FLIGHT, CACHE_PLACE_L2(r->pcpu), r->line);
    return server;
}

/* The L2 has the line in S or O, and wants to write it. */
static CacheServer upgrade(CacheRequest *r, int64_t place)
{
    CacheModel *m = r->m;
    DirectoryEntry *entry;
    int64_t answered;

    ask_directory(r);
    entry = directory_find(&m->directory, r->line);
    answered = take_from_all(r, entry, r->time, DIRECTORY_NO_OWNER);
    r->time = MAX(r->time + m->hop, answered);
    cache_array_set_state(&r->p->l2, place, CACHE_MODIFIED);
    directory_add(&m->directory, r->line, r->pcpu, true);
    return CACHE_BY_UPGRADE;
}

/* The request looks into the L2, which answers, or asks the directory. */
static ALWAYS_INLINE void look_into_l2(CacheRequest *r)
{
    CacheModel *m = r->m;

    r->time += m->l1_latency[r->side];
    take(r, l2_bank(m, r->pcpu, r->line), CACHE_L2_BANK);
    r->time += m->config.l2.latency - m->l1_latency[r->side];
}

/* Whether an L2 that has the line in @state may not give what is asked for */
static inline bool lacks_right(const CacheRequest *r, CacheState state)
{
    return r->write && (state == CACHE_SHARED || state == CACHE_OWNED);
}

/* The L2 gets the line with the right that the request needs. */
static CacheServer ask_l2(CacheRequest *r)
{
    CacheArray *l2 = &r->p->l2;
    int64_t place = cache_array_find(l2, r->line);

    look_into_l2(r);
    if (place == CACHE_NOWHERE) {
        return miss_l2(r);
    }
    cache_array_touch(l2, place);
    r->l2_place = place;
    return lacks_right(r, cache_array_state(l2, place)) ? upgrade(r, place)
                                                        : CACHE_BY_L2;
}

/* --- The L1s --- */

/* The other L1 of the PCPU gives up what the request's may not share with it */
static ALWAYS_INLINE void settle_other_l1(CacheRequest *r)
{
    if (r->side == CACHE_SIDE_I) {
        clean_l1d(r, r->pcpu, r->line);
    } else if (r->write && !FAULT(r->m, KEEP_L1I_COPY)) {
        drop_l1(r->m, r->pcpu, CACHE_SIDE_I, r->line, CACHE_TAKEN);
    }
}

static ALWAYS_INLINE void evict_l1(CacheRequest *r, int64_t place)
{
    CacheArray *l1 = &r->p->l1[r->side];
    uint64_t line = cache_array_line(l1, place);

    if (cache_array_state(l1, place) == CACHE_MODIFIED &&
        !FAULT(r->m, LOSE_DIRTY_L1)) {
        COUNT(r, write_backs[CACHE_L1D], 1);
        post(r, l2_bank(r->m, r->pcpu, line), r->time);
        cache_moved(r->m, CACHE_PLACE_L1D(r->pcpu), CACHE_PLACE_L2(r->pcpu),
                    line);
    }
    cache_array_set_state(l1, place, CACHE_INVALID);
    if (cache_grants_all(r->m, r->side)) {
        withdraw_all(r->m, r->pcpu, r->side, place, line);
    }
}

/* State of a line that the L1 gets from its L2 */
static ALWAYS_INLINE CacheState state_in_l1(const CacheRequest *r)
{
    CacheState state = cache_array_state(&r->p->l2, r->l2_place);

    if (r->write) {
        return CACHE_MODIFIED;
    }
    if (r->side == CACHE_SIDE_D &&
        (state == CACHE_MODIFIED || state == CACHE_EXCLUSIVE) &&
        cache_array_find(&r->p->l1[CACHE_SIDE_I], r->line) == CACHE_NOWHERE) {
        return CACHE_EXCLUSIVE;
    }
    return CACHE_SHARED;
}

/*
 * The L2 has the line with the right that is needed; so has the L1 now, which
 * had it at @place without the right, or not.
 */
static ALWAYS_INLINE void fill_l1(CacheRequest *r, int64_t place)
{
    CacheArray *l1 = &r->p->l1[r->side];
    CacheArray *l2 = &r->p->l2;
    bool taken;

    settle_other_l1(r);
    if (r->write) {
        cache_array_set_state(l2, r->l2_place, CACHE_MODIFIED);
    }
    if (place != CACHE_NOWHERE) {
        COUNT(r, upgrades, 1);
        cache_array_set_state(l1, place, CACHE_MODIFIED);
        return;
    }
    if (cache_grants_all(r->m, r->side)) {
        cache_model_settle_set(r->m, r->pcpu, r->l1_first);
    }
    place = cache_array_victim(l1, r->l1_first, r->line, &taken);
    r->outcome->l1 = kind_of_miss(r, taken);
    COUNT(r, misses[r->side == CACHE_SIDE_I ? CACHE_L1I : CACHE_L1D]
                   [r->outcome->l1], 1);
    if (cache_state_valid(cache_array_state(l1, place))) {
        evict_l1(r, place);
    }
    cache_array_fill(l1, place, r->line, state_in_l1(r));
    r->p->recent_place[r->side] = place;
    cache_moved(r->m, CACHE_PLACE_L2(r->pcpu), r->side == CACHE_SIDE_I ?
                CACHE_PLACE_L1I(r->pcpu) : CACHE_PLACE_L1D(r->pcpu), r->line);
}

/*
 * @server answered a request that began at cycle @begin: the L1, which had the
 * line at @place without the right, or not, has it now.  Returns the stall.
 */
static ALWAYS_INLINE int64_t finish(CacheRequest *r, int64_t place,
                                    int64_t begin, CacheServer server)
{
    int64_t stall;

    fill_l1(r, place);
    stall = r->time - begin - r->m->l1_latency[r->side];
    COUNT(r, served[server], 1);
    COUNT(r, stall[server], stall);
    r->outcome->server = server;
    r->outcome->stall = stall;
    return stall;
}

/* The L1 does not have the line, or not the right: @place says which. */
static int64_t ask_below(CacheRequest *r, int64_t place)
{
    int64_t begin = r->time;
    CacheServer server = ask_l2(r);

    return finish(r, place, begin, server);
}

/* The first store to a line in E: nobody has to be asked. */
static void write_exclusive(CacheRequest *r, int64_t place)
{
    CacheArray *l2 = &r->p->l2;

    cache_array_set_state(&r->p->l1[CACHE_SIDE_D], place, CACHE_MODIFIED);
    cache_array_set_state(l2, cache_array_find(l2, r->line), CACHE_MODIFIED);
}

int64_t cache_access_quickly(CacheModel *m, const CacheAccess *access)
{
    CacheRequest r = cache_request(m, access);  /* in registers */
    CacheArray *l1 = &r.p->l1[r.side], *l2 = &r.p->l2;
    uint32_t set = cache_array_set(l1, r.line);
    int64_t place;

    r.l1_first = (int64_t)set * l1->stride;
    place = cache_array_find_in(l1, r.l1_first, r.line);
    if (place != CACHE_NOWHERE) {
        if (r.store && cache_array_state(l1, place) != CACHE_MODIFIED) {
            return CACHE_NOT_QUICK;
        }
        make_most_recent(&r, set);
        cache_array_touch(l1, place);
        r.p->recent_place[r.side] = place;
        cache_begin_line(&r, access->kind, 0);
        return 0;
    }
    r.l2_place = cache_array_find(l2, r.line);
    if (r.l2_place == CACHE_NOWHERE ||
        lacks_right(&r, cache_array_state(l2, r.l2_place))) {
        return CACHE_NOT_QUICK;
    }
    cache_begin_line(&r, access->kind, 0);
    make_most_recent(&r, set);
    look_into_l2(&r);
    cache_array_touch(l2, r.l2_place);
    return finish(&r, CACHE_NOWHERE, access->cycle, CACHE_BY_L2);
}

NOINLINE int64_t cache_access_line(CacheRequest *r)
{
    CacheArray *l1 = &r->p->l1[r->side];
    uint32_t set = cache_array_set(l1, r->line);
    int64_t place;

    r->l1_first = (int64_t)set * l1->stride;
    make_most_recent(r, set);
    place = cache_array_find_in(l1, r->l1_first, r->line);
    if (place != CACHE_NOWHERE) {
        cache_array_touch(l1, place);
        if (!r->store || cache_array_state(l1, place) == CACHE_MODIFIED) {
            return 0;
        }
        if (cache_array_state(l1, place) == CACHE_EXCLUSIVE) {
            write_exclusive(r, place);
            return 0;
        }
    }
    return ask_below(r, place);
}
