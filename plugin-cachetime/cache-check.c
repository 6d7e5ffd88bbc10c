/*
 * The cache model: whether its state can be
 *
 * Invariants, each a sentence that can be checked; docs/devel/cache-model.rst
 * has the list.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "cache-internal.h"

static const char state_letter[CACHE_STATES] = {
    [CACHE_INVALID] = 'I',
    [CACHE_TAKEN] = 'I',
    [CACHE_SHARED] = 'S',
    [CACHE_EXCLUSIVE] = 'E',
    [CACHE_OWNED] = 'O',
    [CACHE_MODIFIED] = 'M',
};

G_GNUC_PRINTF(2, 3)
static bool fault(char **why, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    *why = g_strdup_vprintf(format, args);
    va_end(args);
    return false;
}

#define HEX "0x%" G_GINT64_MODIFIER "x"

/* --- One cache --- */

/* Lines are in their sets, once, in one of @states (bits). */
static bool check_array(const CacheArray *a, const char *name, unsigned states,
                        char **why)
{
    for (int64_t n = 0; n < cache_array_places(a); n++) {
        int64_t place = cache_array_place(a, n);
        uint64_t line = cache_array_line(a, place);
        CacheState state = cache_array_state(a, place);

        if (!cache_state_valid(state)) {
            continue;
        }
        if (cache_array_set(a, line) != n / a->ways) {
            return fault(why, "%s: line " HEX " is in a wrong set", name, line);
        }
        if (cache_array_find(a, line) != place) {
            return fault(why, "%s: line " HEX " is there twice", name, line);
        }
        if (!(states & 1u << state)) {
            return fault(why, "%s: line " HEX " is in state %c", name, line,
                         state_letter[state]);
        }
    }
    return true;
}

static CacheState state_of(const CacheArray *a, uint64_t line)
{
    int64_t place = cache_array_find(a, line);

    return place == CACHE_NOWHERE ? CACHE_INVALID : cache_array_state(a, place);
}

#define STATE(name) (1u << CACHE_##name)

static unsigned l2_states(const CacheModel *m)
{
    return STATE(SHARED) | STATE(MODIFIED) |
           (cache_has_exclusive(m) ? STATE(EXCLUSIVE) : 0) |
           (cache_has_owned(m) ? STATE(OWNED) : 0);
}

/* --- L1s and their L2 --- */

static bool may_hold(CacheState l1, CacheState l2)
{
    switch (l1) {
    case CACHE_MODIFIED:
        return l2 == CACHE_MODIFIED;
    case CACHE_EXCLUSIVE:
        return l2 == CACHE_MODIFIED || l2 == CACHE_EXCLUSIVE;
    default:
        return cache_state_valid(l2);
    }
}

static bool check_inclusion(const CacheModel *m, unsigned pcpu, CacheSide side,
                            char **why)
{
    const CachePcpu *p = &m->pcpu[pcpu];
    const CacheArray *l1 = &p->l1[side], *l1i = &p->l1[CACHE_SIDE_I];

    for (int64_t n = 0; n < cache_array_places(l1); n++) {
        int64_t place = cache_array_place(l1, n);
        uint64_t line = cache_array_line(l1, place);
        CacheState state = cache_array_state(l1, place), below;

        if (!cache_state_valid(state)) {
            continue;
        }
        below = state_of(&p->l2, line);
        if (!may_hold(state, below)) {
            return fault(why, "PCPU %u: line " HEX " is %c in the L1%c, %c in "
                         "the L2", pcpu, line, state_letter[state],
                         side == CACHE_SIDE_I ? 'I' : 'D', state_letter[below]);
        }
        if (side == CACHE_SIDE_D && state != CACHE_SHARED &&
            cache_array_find(l1i, line) != CACHE_NOWHERE) {
            return fault(why, "PCPU %u: line " HEX " is %c in the L1D, and in "
                         "the L1I", pcpu, line, state_letter[state]);
        }
    }
    return true;
}

/* The filter has no right that the L1 has not. */
static bool check_rights(const CacheModel *m, unsigned pcpu, CacheSide side,
                         char **why)
{
    const CacheArray *l1 = &m->pcpu[pcpu].l1[side];

    for (int64_t n = 0; side == CACHE_SIDE_I && n < cache_array_places(l1);
         n++) {
        int64_t place = cache_array_place(l1, n);

        if (m->pcpu[pcpu].granted[place] &&
            !cache_state_valid(cache_array_state(l1, place))) {
            return fault(why, "PCPU %u: the filter may access line " HEX ", "
                         "which is not in the L1I", pcpu,
                         cache_array_line(l1, place));
        }
    }
    for (uint32_t set = 0; set < l1->sets; set++) {
        const CacheGrant *grant = &m->pcpu[pcpu].grant[side][set];
        CacheState state = state_of(l1, grant->line);

        if ((grant->rights && !cache_state_valid(state)) ||
            (grant->rights & CACHE_MAY_WRITE && state != CACHE_MODIFIED)) {
            return fault(why, "PCPU %u: the filter may access line " HEX ", "
                         "which is %c in the L1%c", pcpu, grant->line,
                         state_letter[state],
                         side == CACHE_SIDE_I ? 'I' : 'D');
        }
    }
    return true;
}

/* --- L2s and directory --- */

static bool check_line_of_l2(const CacheModel *m, unsigned pcpu, uint64_t line,
                             CacheState state, char **why)
{
    const DirectoryEntry *entry = directory_find(&m->directory, line);
    bool owner = state != CACHE_SHARED;

    if (!entry || !(entry->sharers & cache_bit(pcpu)) ||
        owner != (entry->owner == (int)pcpu)) {
        return fault(why, "PCPU %u: line " HEX " is %c in the L2, which the "
                     "directory does not know", pcpu, line,
                     state_letter[state]);
    }
    if ((state == CACHE_MODIFIED || state == CACHE_EXCLUSIVE) &&
        entry->sharers != cache_bit(pcpu)) {
        return fault(why, "PCPU %u: line " HEX " is %c in the L2, and others "
                     "have it", pcpu, line, state_letter[state]);
    }
    return true;
}

/*
 * Each line of an L2 is in the directory, and the directory has no more than
 * these.  An owner is one that the directory names, so there is one at most.
 */
static bool check_directory(const CacheModel *m, char **why)
{
    uint64_t held = 0, known = 0, entries = 0;

    for (unsigned p = 0; p < m->machine.pcpus; p++) {
        const CacheArray *l2 = &m->pcpu[p].l2;

        for (int64_t n = 0; n < cache_array_places(l2); n++) {
            int64_t place = cache_array_place(l2, n);
            CacheState state = cache_array_state(l2, place);

            if (!cache_state_valid(state)) {
                continue;
            }
            held++;
            if (!check_line_of_l2(m, p, cache_array_line(l2, place), state,
                                  why)) {
                return false;
            }
        }
    }
    for (uint64_t i = 0; i < UINT64_C(1) << m->directory.bits; i++) {
        const DirectoryEntry *entry = &m->directory.entry[i];

        entries += entry->sharers != 0;
        known += __builtin_popcountll(entry->sharers);
        if (entry->sharers && entry->owner != DIRECTORY_NO_OWNER &&
            !(entry->sharers & cache_bit(entry->owner))) {
            return fault(why, "line " HEX " has an owner that does not have it",
                         entry->line);
        }
    }
    if (held != known || entries != m->directory.entries) {
        return fault(why, "the directory knows %" G_GUINT64_FORMAT " copies, "
                     "the L2s hold %" G_GUINT64_FORMAT, known, held);
    }
    return true;
}

static bool check_exclusion(const CacheModel *m, char **why)
{
    for (int64_t n = 0; n < cache_array_places(&m->l3); n++) {
        int64_t place = cache_array_place(&m->l3, n);
        uint64_t line = cache_array_line(&m->l3, place);

        if (cache_state_valid(cache_array_state(&m->l3, place)) &&
            directory_find(&m->directory, line)) {
            return fault(why, "line " HEX " is in the L3 and in an L2", line);
        }
    }
    return true;
}

/* --- Counters --- */

static uint64_t misses(const CacheCounters *c, CacheLevel level)
{
    return c->misses[level][CACHE_COMPULSORY] +
           c->misses[level][CACHE_CAPACITY] + c->misses[level][CACHE_COHERENCE];
}

/* What is counted where it comes and where it goes is the same. */
static bool check_flow(const CacheCounters *c, const char *who, unsigned n,
                       char **why)
{
    uint64_t data = 0, below = 0;

    for (CacheKind kind = CACHE_LOAD; kind < CACHE_KINDS; kind++) {
        data += c->accesses[kind];
    }
    for (CacheServer s = 0; s < CACHE_SERVERS; s++) {
        below += c->served[s];
    }
    if (misses(c, CACHE_L1I) > c->accesses[CACHE_FETCH] ||
        misses(c, CACHE_L1D) + c->upgrades > data) {
        return fault(why, "%s %u: more L1 misses than accesses", who, n);
    }
    if (misses(c, CACHE_L1I) + misses(c, CACHE_L1D) + c->upgrades != below) {
        return fault(why, "%s %u: L1 misses and upgrades are not what the L2 "
                     "was asked", who, n);
    }
    if (misses(c, CACHE_L2) != c->served[CACHE_BY_TRANSFER] +
        c->served[CACHE_BY_L3] + c->served[CACHE_BY_MEMORY]) {
        return fault(why, "%s %u: L2 misses are not what others served", who,
                     n);
    }
    if (c->l2_fetch_misses > misses(c, CACHE_L2) ||
        c->l2_fetch_misses > misses(c, CACHE_L1I)) {
        return fault(why, "%s %u: fetches miss in the L2 that do not in the "
                     "L1I, or are no misses", who, n);
    }
    if (misses(c, CACHE_L3) != c->served[CACHE_BY_MEMORY]) {
        return fault(why, "%s %u: L3 misses are not what memory served", who,
                     n);
    }
    return true;
}

/* PCPUs and VCPUs count the same; what one does, another suffers. */
static bool check_sums(const CacheModel *m, char **why)
{
    CacheCounters pcpus = {}, vcpus = {};
    CacheEvents events = {};

    for (unsigned user = 0; user < 2; user++) {
        for (unsigned i = 0; i < m->machine.pcpus; i++) {
            const CacheCounters *c = &m->pcpu[i].counters[user];

            if (!check_flow(c, "PCPU", i, why)) {
                return false;
            }
            cache_counters_add(&pcpus, c);
        }
        for (unsigned i = 0; i < m->machine.vcpus; i++) {
            if (!check_flow(&m->vcpu[i][user], "VCPU", i, why)) {
                return false;
            }
            cache_counters_add(&vcpus, &m->vcpu[i][user]);
        }
    }
    if (memcmp(&pcpus, &vcpus, sizeof(pcpus))) {
        return fault(why, "PCPUs and VCPUs did not count the same");
    }
    for (unsigned i = 0; i < m->machine.pcpus; i++) {
        events.taken += m->pcpu[i].events.taken;
        events.supplied += m->pcpu[i].events.supplied;
    }
    if (events.taken != pcpus.invalidations ||
        events.supplied != pcpus.served[CACHE_BY_TRANSFER]) {
        return fault(why, "lines taken or sent are not those that were asked "
                     "for");
    }
    return true;
}

/* --- All of it --- */

static bool check_pcpu(const CacheModel *m, unsigned pcpu, char **why)
{
    const CachePcpu *p = &m->pcpu[pcpu];
    g_autofree char *l1i = g_strdup_printf("PCPU %u, L1I", pcpu);
    g_autofree char *l1d = g_strdup_printf("PCPU %u, L1D", pcpu);
    g_autofree char *l2 = g_strdup_printf("PCPU %u, L2", pcpu);

    return check_array(&p->l1[CACHE_SIDE_I], l1i, STATE(SHARED), why) &&
           check_array(&p->l1[CACHE_SIDE_D], l1d,
                       STATE(SHARED) | STATE(EXCLUSIVE) | STATE(MODIFIED),
                       why) &&
           check_array(&p->l2, l2, l2_states(m), why) &&
           check_inclusion(m, pcpu, CACHE_SIDE_I, why) &&
           check_inclusion(m, pcpu, CACHE_SIDE_D, why) &&
           check_rights(m, pcpu, CACHE_SIDE_I, why) &&
           check_rights(m, pcpu, CACHE_SIDE_D, why);
}

bool cache_model_check(const CacheModel *m, char **why)
{
    for (unsigned i = 0; i < m->machine.pcpus; i++) {
        if (!check_pcpu(m, i, why)) {
            return false;
        }
    }
    return check_array(&m->l3, "L3", STATE(SHARED) | STATE(MODIFIED), why) &&
           check_directory(m, why) && check_exclusion(m, why) &&
           check_sums(m, why);
}
