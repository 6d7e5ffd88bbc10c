/*
 * The TLB of a PCPU: two levels, instructions and data, several sizes of pages
 *
 * See walk-tlb.h.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "walk-tlb.h"

#define ENTRIES_MAX 65536
#define LINE 64                 /* bytes of a line of the host's cache */

/*
 * 16 bytes, so that four ways are a line of the host's cache: page (address >>
 * shift of its size) in 63:12, size in 11:10, size of the page of which it is a
 * piece in 9:8, rights in 5:4, and two flags.  0: there is none.
 */
typedef struct Entry {
    uint64_t bits;
    WalkTag tag;
} Entry;

enum {
    VALID = 1,
    GLOBAL = 2,
    RIGHTS_AT = 4,
    OF_AT = 8,
    SIZE_AT = 10,
    PAGE_AT = 12,
};

/* Of what a lookup compares at once */
#define SOUGHT (UINT64_MAX << SIZE_AT | VALID)

typedef struct Array {
    unsigned entries, ways, sets, holds;
    unsigned seen;              /* bit n: an entry of WalkSize n was put here */
    Entry *entry;               /* the ways of a set stand together */
    unsigned *next;             /* of each set: the way that FIFO takes */
} Array;

/* One search of a lookup: an array for pages of a size that it has seen */
typedef struct Search {
    const Entry *entry;
    uint32_t ways;
    uint16_t last_set;          /* number of sets - 1 */
    uint8_t size;
    uint8_t level;
} Search;

#define SEARCHES (5 * WALK_SIZES)

struct WalkTlb {
    /* In their order, of each side; after the last one, one of level 0 */
    Search search[WALK_SIDES][SEARCHES + 1];
    WalkTlbConfig config;
    Array array[WALK_ARRAYS];
    uint64_t random;
    WalkTlbEvicted *evicted;
    void *opaque;
};

const char *const walk_array_names[WALK_ARRAYS] = {
    "l1i", "l1i-large", "l1d", "l1d-large", "l1d-huge", "l2", "l2-huge", "l2i",
};

/* Which arrays a side asks, in their order */
static const WalkArrayName first_level[WALK_SIDES][3] = {
    [WALK_CODE] = { WALK_L1I, WALK_L1I_LARGE, WALK_ARRAYS },
    [WALK_DATA] = { WALK_L1D, WALK_L1D_LARGE, WALK_L1D_HUGE },
};

static unsigned ways_of(const WalkArrayConfig *c)
{
    return c->ways ? c->ways : c->entries;
}

bool walk_tlb_config_check(const WalkTlbConfig *c, char **why)
{
    for (unsigned i = 0; i < WALK_ARRAYS; i++) {
        const WalkArrayConfig *a = &c->array[i];
        unsigned sets;

        if (!a->entries) {
            continue;
        }
        if (a->entries > ENTRIES_MAX || ways_of(a) > a->entries ||
            a->entries % ways_of(a)) {
            *why = g_strdup_printf("%s: %" PRIu64 " entries of %" PRIu64
                                   " ways: allowed are up to %u entries, a "
                                   "multiple of the ways",
                                   walk_array_names[i], a->entries, a->ways,
                                   ENTRIES_MAX);
            return false;
        }
        sets = a->entries / ways_of(a);
        if (sets & (sets - 1)) {
            *why = g_strdup_printf("%s: %" PRIu64 " entries of %" PRIu64
                                   " ways are %u sets, which is no power of 2",
                                   walk_array_names[i], a->entries, a->ways,
                                   sets);
            return false;
        }
        if (!a->holds || a->holds > WALK_HOLDS_ALL) {
            *why = g_strdup_printf("%s: it holds no size of pages",
                                   walk_array_names[i]);
            return false;
        }
    }
    for (unsigned side = 0; side < WALK_SIDES; side++) {
        const WalkArrayConfig *a = &c->array[first_level[side][0]];

        if (!a->entries || !(a->holds & WALK_HOLDS_4K)) {
            *why = g_strdup_printf("%s: the first level needs entries for 4 kB "
                                   "pages", walk_array_names[
                                       first_level[side][0]]);
            return false;
        }
    }
    if (c->replacement > WALK_RANDOM) {
        *why = g_strdup("replacement: allowed are fifo, random");
        return false;
    }
    return true;
}

/* Each four of them are a line of the host's cache. */
static Entry *new_entries(unsigned n)
{
    size_t size = (n * sizeof(Entry) + LINE - 1) / LINE * LINE;
    Entry *entries = aligned_alloc(LINE, size);

    g_assert(entries);
    return memset(entries, 0, size);
}

WalkTlb *walk_tlb_new(const WalkTlbConfig *c, uint64_t seed)
{
    WalkTlb *t = g_new0(WalkTlb, 1);

    t->config = *c;
    t->random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    for (unsigned i = 0; i < WALK_ARRAYS; i++) {
        const WalkArrayConfig *from = &c->array[i];
        Array *a = &t->array[i];

        if (from->entries) {
            a->entries = from->entries;
            a->ways = ways_of(from);
            a->sets = a->entries / a->ways;
            a->holds = from->holds;
            a->entry = new_entries(a->entries);
            a->next = g_new0(unsigned, a->sets);
        }
    }
    return t;
}

void walk_tlb_free(WalkTlb *t)
{
    for (unsigned i = 0; t && i < WALK_ARRAYS; i++) {
        free(t->array[i].entry);
        g_free(t->array[i].next);
    }
    g_free(t);
}

void walk_tlb_on_evicted(WalkTlb *t, WalkTlbEvicted *function, void *opaque)
{
    t->evicted = function;
    t->opaque = opaque;
}

/* --- One array --- */

static bool holds(const Array *a, WalkSize size)
{
    static const unsigned char bit[WALK_SIZES] = {
        WALK_HOLDS_4K, WALK_HOLDS_2M, WALK_HOLDS_2M, WALK_HOLDS_1G
    };

    return a->holds & bit[size];
}

static uint64_t sought(uint64_t page, unsigned size)
{
    return page << PAGE_AT | (uint64_t)size << SIZE_AT | VALID;
}

static Entry entry_of(uint64_t page, unsigned size, unsigned of, WalkTag tag,
                      bool global, unsigned rights)
{
    return (Entry) {
        .bits = sought(page, size) | (uint64_t)of << OF_AT |
                (uint64_t)rights << RIGHTS_AT | (global ? GLOBAL : 0),
        .tag = tag,
    };
}

static uint64_t page_of(const Entry *e)
{
    return e->bits >> PAGE_AT;
}

static WalkSize size_of(const Entry *e)
{
    return e->bits >> SIZE_AT & 3;
}

static WalkSize piece_of(const Entry *e)
{
    return e->bits >> OF_AT & 3;
}

static unsigned rights_of(const Entry *e)
{
    return e->bits >> RIGHTS_AT & WALK_RIGHTS;
}

static uint64_t address_of(const Entry *e)
{
    return page_of(e) << walk_size_shift(size_of(e));
}

static bool is_for(const Entry *e, WalkTag tag)
{
    return e->tag.vpid == tag.vpid &&
           (e->bits & GLOBAL || e->tag.asid == tag.asid);
}

static Entry *find_in_set(const Entry *set, unsigned ways, uint64_t wanted,
                          WalkTag tag)
{
    for (const Entry *e = set; e < set + ways; e++) {
        if (!((e->bits ^ wanted) & SOUGHT) && is_for(e, tag)) {
            return (Entry *)e;
        }
    }
    return NULL;
}

static Entry *set_of(const Array *a, uint64_t page)
{
    return &a->entry[(page & (a->sets - 1)) * a->ways];
}

static Entry *find_sized(const Array *a, uint64_t address, unsigned size,
                         WalkTag tag)
{
    uint64_t page = address >> walk_size_shift(size);

    return find_in_set(set_of(a, page), a->ways, sought(page, size), tag);
}

/* xorshift64*, Vigna 2014 */
static uint64_t next_random(WalkTlb *t)
{
    t->random ^= t->random >> 12;
    t->random ^= t->random << 25;
    t->random ^= t->random >> 27;
    return t->random * UINT64_C(0x2545f4914f6cdd1d);
}

/* A place for an entry of @page: an empty one, or the next victim */
static Entry *place_for(WalkTlb *t, Array *a, uint64_t page)
{
    unsigned *next = &a->next[page & (a->sets - 1)];
    Entry *set = set_of(a, page);
    unsigned way;

    for (unsigned w = 0; w < a->ways; w++) {
        if (!set[w].bits) {
            return &set[w];
        }
    }
    if (t->config.replacement == WALK_RANDOM) {
        way = (next_random(t) >> 32) % a->ways;
    } else {
        way = *next;
        *next = (way + 1) % a->ways;
    }
    return &set[way];
}

static void tell_evicted(WalkTlb *t, WalkSide side, const Entry *e)
{
    if (e->bits && t->evicted) {
        t->evicted(t->opaque, side, address_of(e), size_of(e), e->tag);
    }
}

/* --- Levels --- */

static const Array *array_of(const WalkTlb *t, WalkSide side, unsigned n)
{
    WalkArrayName name = first_level[side][n];

    return name == WALK_ARRAYS || !t->array[name].entries ? NULL
                                                          : &t->array[name];
}

static const Array *second_level(const WalkTlb *t, WalkSide side, unsigned n)
{
    WalkArrayName name = n ? WALK_L2_HUGE :
                         side == WALK_CODE && t->array[WALK_L2I].entries ?
                         WALK_L2I : WALK_L2;

    return t->array[name].entries ? &t->array[name] : NULL;
}

static Search *add_searches(Search *s, const Array *a, unsigned level)
{
    for (unsigned size = 0; a && size < WALK_SIZES; size++) {
        if (a->seen >> size & 1) {
            *s++ = (Search) {
                .entry = a->entry,
                .last_set = a->sets - 1,
                .ways = a->ways,
                .size = size,
                .level = level,
            };
        }
    }
    return s;
}

/* An array has an entry of a size that it had none of before. */
static void list_searches(WalkTlb *t)
{
    for (unsigned side = 0; side < WALK_SIDES; side++) {
        Search *s = t->search[side];

        for (unsigned n = 0; n < 3; n++) {
            s = add_searches(s, array_of(t, side, n), 1);
        }
        for (unsigned n = 0; n < 2; n++) {
            s = add_searches(s, second_level(t, side, n), 2);
        }
        s->level = 0;
    }
}

static void see(WalkTlb *t, Array *a, WalkSize size)
{
    if (!(a->seen >> size & 1)) {
        a->seen |= 1u << size;
        list_searches(t);
    }
}

/* The array of the first level for pages of @size, or of pieces of them */
static Array *first_for(WalkTlb *t, WalkSide side, WalkSize *size)
{
    for (;;) {
        for (unsigned n = 0; n < 3; n++) {
            Array *a = (Array *)array_of(t, side, n);

            if (a && holds(a, *size)) {
                return a;
            }
        }
        g_assert(*size != WALK_4K);
        *size = *size == WALK_1G ? WALK_2M : WALK_4K;
    }
}

/* @new: it is not there. */
static void put(WalkTlb *t, Array *a, WalkSide side, bool first, bool new,
                const Entry *wanted)
{
    Entry *e = new ? NULL : find_sized(a, address_of(wanted), size_of(wanted),
                                       wanted->tag);

    if (!e) {
        e = place_for(t, a, page_of(wanted));
        if (first) {
            tell_evicted(t, side, e);
        }
    }
    *e = *wanted;
    see(t, a, size_of(wanted));
}

static void put_first(WalkTlb *t, WalkSide side, uint64_t address, bool new,
                      const Entry *like)
{
    WalkSize size = size_of(like);
    Array *a = first_for(t, side, &size);
    Entry e = entry_of(address >> walk_size_shift(size), size, piece_of(like),
                       like->tag, like->bits & GLOBAL, rights_of(like));

    put(t, a, side, true, new, &e);
}

/* In levels up to @last; which one has it, 0 if none has, and where */
static unsigned find(const WalkTlb *t, WalkSide side, uint64_t address,
                     WalkTag tag, unsigned last, const Entry **found)
{
    for (const Search *s = t->search[side]; s->level && s->level <= last; s++) {
        uint64_t page = address >> walk_size_shift(s->size);

        *found = find_in_set(s->entry + (page & s->last_set) * s->ways, s->ways,
                             sought(page, s->size), tag);
        if (*found) {
            return s->level;
        }
    }
    *found = NULL;
    return 0;
}

static WalkTlbHit hit_of(unsigned level, const Entry *e)
{
    return e ? (WalkTlbHit) { level, size_of(e), rights_of(e) }
             : (WalkTlbHit) {};
}

WalkTlbHit walk_tlb_peek(const WalkTlb *t, WalkSide side, uint64_t address,
                         WalkTag tag)
{
    const Entry *e;
    unsigned level = find(t, side, address, tag, 2, &e);

    return hit_of(level, e);
}

bool walk_tlb_has(const WalkTlb *t, WalkSide side, uint64_t address,
                  WalkTag tag, unsigned rights)
{
    const Entry *e;

    return find(t, side, address, tag, 1, &e) && !(rights & ~rights_of(e));
}

/* Copies what the second level has, unless it lacks one of @rights. */
static WalkTlbHit lookup(WalkTlb *t, WalkSide side, uint64_t address,
                         WalkTag tag, unsigned rights)
{
    const Entry *e;
    unsigned level = find(t, side, address, tag, 2, &e);
    WalkTlbHit hit = hit_of(level, e);

    if (level == 2 && !(rights & ~rights_of(e))) {
        Entry copy = *e;

        put_first(t, side, address, true, &copy);
    }
    return hit;
}

WalkTlbHit walk_tlb_lookup(WalkTlb *t, WalkSide side, uint64_t address,
                           WalkTag tag)
{
    return lookup(t, side, address, tag, 0);
}

unsigned walk_tlb_lookup_with(WalkTlb *t, WalkSide side, uint64_t address,
                              WalkTag tag, unsigned *rights)
{
    WalkTlbHit hit = lookup(t, side, address, tag, *rights);

    if (*rights & ~hit.rights) {
        return 0;
    }
    *rights = hit.rights;
    return hit.level;
}

WalkSize walk_tlb_fill(WalkTlb *t, WalkSide side, uint64_t address,
                       WalkSize size, WalkSize of, WalkTag tag, bool global,
                       unsigned rights)
{
    Entry e = entry_of(address >> walk_size_shift(size), size, of, tag, global,
                       rights);

    for (unsigned n = 0; n < 2; n++) {
        Array *a = (Array *)second_level(t, side, n);

        if (a && holds(a, size)) {
            put(t, a, side, false, false, &e);
            break;
        }
    }
    put_first(t, side, address, false, &e);
    first_for(t, side, &size);
    return size;
}

/* --- Invalidation --- */

/* Also those of which there are none, with all bits 0 */
#define FOR_EACH(t, e) \
    for (unsigned i_ = 0; i_ < WALK_ARRAYS; i_++) \
        for (Entry *e = (t)->array[i_].entry, \
             *end_ = e + (t)->array[i_].entries; e < end_; e++)

/* A page goes with all its pieces. */
void walk_tlb_flush_page(WalkTlb *t, uint64_t address, WalkTag tag)
{
    FOR_EACH(t, e) {
        unsigned shift = walk_size_shift(piece_of(e));

        if (address_of(e) >> shift == address >> shift && is_for(e, tag)) {
            e->bits = 0;
        }
    }
}

/* Unless it is of size @but; WALK_SIZES: of any size */
static int drop(Array *a, uint64_t address, WalkTag tag, unsigned but)
{
    int largest = -1;

    for (unsigned size = 0; size < WALK_SIZES; size++) {
        Entry *e = size != but && a->seen >> size & 1 ?
                   find_sized(a, address, size, tag) : NULL;

        if (e) {
            e->bits = 0;
            largest = size;
        }
    }
    return largest;
}

int walk_tlb_drop(WalkTlb *t, uint64_t address, WalkTag tag)
{
    int largest = -1;

    for (unsigned i = 0; i < WALK_ARRAYS; i++) {
        int size = drop(&t->array[i], address, tag, WALK_SIZES);

        largest = MAX(largest, size);       /* evaluates one of them twice */
    }
    return largest;
}

int walk_tlb_drop_others(WalkTlb *t, WalkSide side, uint64_t address,
                         WalkSize size, WalkTag tag)
{
    WalkSize piece = size;
    int largest = -1;

    first_for(t, side, &piece);
    for (unsigned n = 0; n < 3; n++) {
        Array *a = (Array *)array_of(t, side, n);
        int gone = a ? drop(a, address, tag, piece) : -1;

        largest = MAX(largest, gone);
    }
    for (unsigned n = 0; n < 2; n++) {
        Array *a = (Array *)second_level(t, side, n);
        int gone = a ? drop(a, address, tag, size) : -1;

        largest = MAX(largest, gone);
    }
    return largest;
}

void walk_tlb_flush_asid(WalkTlb *t, WalkTag tag)
{
    FOR_EACH(t, e) {
        if (!(e->bits & GLOBAL) && is_for(e, tag)) {
            e->bits = 0;
        }
    }
}

void walk_tlb_flush_vpid(WalkTlb *t, uint32_t vpid, bool globals)
{
    FOR_EACH(t, e) {
        if (e->tag.vpid == vpid && (globals || !(e->bits & GLOBAL))) {
            e->bits = 0;
        }
    }
}

void walk_tlb_flush(WalkTlb *t)
{
    FOR_EACH(t, e) {
        e->bits = 0;
    }
}

void walk_tlb_begin_anew(WalkTlb *t)
{
    for (unsigned i = 0; i < WALK_ARRAYS; i++) {
        if (walk_tlb_used(t, i)) {
            return;
        }
    }
    for (unsigned i = 0; i < WALK_ARRAYS; i++) {
        for (unsigned set = 0; set < t->array[i].sets; set++) {
            t->array[i].next[set] = 0;
        }
    }
}

unsigned walk_tlb_used(const WalkTlb *t, WalkArrayName array)
{
    unsigned used = 0;

    for (unsigned i = 0; i < t->array[array].entries; i++) {
        used += t->array[array].entry[i].bits != 0;
    }
    return used;
}

/* --- Saved state --- */

enum { IS_GLOBAL = 1, RIGHTS_SHIFT = 2 };

static void save_array(const Array *a, GVariantBuilder *arrays)
{
    GVariantBuilder entries, next;

    g_variant_builder_init(&entries, G_VARIANT_TYPE("a(uyytuuy)"));
    for (unsigned n = 0; n < a->entries; n++) {
        const Entry *e = &a->entry[n];

        if (e->bits) {
            g_variant_builder_add(&entries, "(uyytuuy)", n, size_of(e),
                                  piece_of(e), page_of(e), e->tag.asid,
                                  e->tag.vpid,
                                  (e->bits & GLOBAL ? IS_GLOBAL : 0) |
                                  rights_of(e) << RIGHTS_SHIFT);
        }
    }
    g_variant_builder_init(&next, G_VARIANT_TYPE("au"));
    for (unsigned n = 0; n < a->sets; n++) {
        g_variant_builder_add(&next, "u", a->next[n]);
    }
    g_variant_builder_add(arrays, "(ua(uyytuuy)au)", a->entries, &entries,
                          &next);
}

GVariant *walk_tlb_save(const WalkTlb *t)
{
    GVariantBuilder arrays;

    g_variant_builder_init(&arrays, G_VARIANT_TYPE("a(ua(uyytuuy)au)"));
    for (unsigned i = 0; i < WALK_ARRAYS; i++) {
        save_array(&t->array[i], &arrays);
    }
    return g_variant_new("(ta(ua(uyytuuy)au))", t->random, &arrays);
}

/* An entry stands where it could have come to. */
static bool load_entry(Array *a, GVariant *state)
{
    uint8_t size, of, flags, rights;
    uint64_t page;
    WalkTag tag;
    unsigned n;
    Entry *to;

    g_variant_get(state, "(uyytuuy)", &n, &size, &of, &page, &tag.asid,
                  &tag.vpid, &flags);
    rights = flags >> RIGHTS_SHIFT;
    if (n >= a->entries || size >= WALK_SIZES || of >= WALK_SIZES ||
        !holds(a, size) || rights > WALK_RIGHTS ||
        (flags & ((1u << RIGHTS_SHIFT) - 1)) > IS_GLOBAL ||
        walk_size_shift(of) < walk_size_shift(size) ||
        page > UINT64_MAX >> walk_size_shift(size)) {
        return false;
    }
    to = &a->entry[n];
    if (to->bits || to < set_of(a, page) || to >= set_of(a, page) + a->ways) {
        return false;
    }
    *to = entry_of(page, size, of, tag, flags & IS_GLOBAL, rights);
    a->seen |= 1u << size;
    return true;
}

static bool load_array(Array *a, GVariant *state)
{
    g_autoptr(GVariant) entries = NULL, next = NULL;
    unsigned n;

    g_variant_get(state, "(u@a(uyytuuy)@au)", &n, &entries, &next);
    if (n != a->entries || g_variant_n_children(next) != a->sets) {
        return false;
    }
    for (gsize i = 0; i < g_variant_n_children(entries); i++) {
        g_autoptr(GVariant) entry = g_variant_get_child_value(entries, i);

        if (!load_entry(a, entry)) {
            return false;
        }
    }
    for (unsigned i = 0; i < a->sets; i++) {
        g_variant_get_child(next, i, "u", &a->next[i]);
        if (a->next[i] >= a->ways) {
            return false;
        }
    }
    return true;
}

bool walk_tlb_load(WalkTlb *t, GVariant *state, char **why)
{
    g_autoptr(GVariant) arrays = NULL;
    WalkTlb *loaded = walk_tlb_new(&t->config, 0);
    bool good;

    g_variant_get(state, "(t@a(ua(uyytuuy)au))", &loaded->random, &arrays);
    good = loaded->random && g_variant_n_children(arrays) == WALK_ARRAYS;
    *why = NULL;
    for (unsigned i = 0; good && i < WALK_ARRAYS; i++) {
        g_autoptr(GVariant) array = g_variant_get_child_value(arrays, i);

        good = load_array(&loaded->array[i], array);
        if (!good) {
            *why = g_strdup_printf("the TLB's array %s is another, or damaged",
                                   walk_array_names[i]);
        }
    }
    if (good) {
        t->random = loaded->random;
        for (unsigned i = 0; i < WALK_ARRAYS; i++) {
            Array a = t->array[i];

            t->array[i] = loaded->array[i];
            loaded->array[i] = a;
        }
        list_searches(t);
    } else if (!*why) {
        *why = g_strdup("the TLB is damaged");
    }
    walk_tlb_free(loaded);
    return good;
}
