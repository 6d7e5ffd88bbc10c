/*
 * Unit tests of the paging model: references and exits counted by hand, and
 * shadow tables against full walks while a guest changes its tables at random
 *
 * The guest is a memory of page table entries and a walker of its own, which
 * sets A and D bits as a processor does.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <inttypes.h>
#include <string.h>

#include "walk-model.h"

#define PAGE UINT64_C(4096)
#define TABLES (UINT64_C(1) << 40)      /* machine address of the host's */
#define ADDRESS UINT64_C(0x40201000)    /* not the first entry of any table */
#define P WALK_PTE_PRESENT
#define W WALK_PTE_WRITE
#define U WALK_PTE_USER
#define A WALK_PTE_ACCESSED
#define D WALK_PTE_DIRTY
#define L WALK_PTE_LARGE

/* --- A guest --- */

typedef struct Guest {
    WalkModel *m;
    WalkConfig config;
    WalkFormat format;
    GHashTable *memory;         /* guest-physical address: entry */
    GHashTable *protected;      /* guest-physical page */
    uint64_t root, next_table;
    unsigned pcpu, vcpu;
    int64_t cycles;
    bool trap;                  /* tell the model of writes as QEMU would */
    bool user;                  /* it executes in user mode */
} Guest;

static uint64_t *cell(Guest *g, uint64_t gpa)
{
    uint64_t *value = g_hash_table_lookup(g->memory, &gpa);

    if (!value) {
        value = g_new0(uint64_t, 1);
        g_hash_table_insert(g->memory, g_memdup2(&gpa, sizeof(gpa)), value);
    }
    return value;
}

static uint64_t read_cell(void *opaque, unsigned vm, uint64_t gpa,
                          unsigned size)
{
    return *cell(opaque, gpa);
}

static void protect_page(void *opaque, unsigned vm, uint64_t gfn, bool on)
{
    Guest *g = opaque;

    if (on) {
        g_hash_table_add(g->protected, g_memdup2(&gfn, sizeof(gfn)));
    } else {
        g_hash_table_remove(g->protected, &gfn);
    }
}

static Guest *new_guest_on(const WalkConfig *config, WalkFormat format,
                           WalkMode mode, unsigned pcpus)
{
    static const unsigned vm[] = { 0, 0, 1 };
    WalkMachine machine = {
        .pcpus = pcpus,
        .vcpus = 3,
        .vms = 2,
        .vm = vm,
        .seed = 1,
        .table_base = TABLES,
    };
    Guest *g = g_new0(Guest, 1);
    WalkHooks hooks = {
        .read = read_cell,
        .protect = protect_page,
        .opaque = g,
    };

    g->config = *config;
    g->format = format;
    g->memory = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free,
                                      g_free);
    g->protected = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free,
                                         NULL);
    g->root = 0x100000;
    g->next_table = 0x101000;
    g->trap = true;
    g->m = walk_model_new(config, &machine, &hooks, mode);
    walk_model_root(g->m, 0, 0, g->root, format, 0, WALK_FLUSH);
    return g;
}

static Guest *new_guest(const WalkConfig *config, WalkFormat format,
                        WalkMode mode)
{
    return new_guest_on(config, format, mode, 2);
}

static void free_guest(Guest *g)
{
    walk_model_free(g->m);
    g_hash_table_unref(g->memory);
    g_hash_table_unref(g->protected);
    g_free(g);
}

static uint64_t entry_at(const Guest *g, uint64_t table, uint64_t address,
                         unsigned level)
{
    unsigned bits = walk_format_bits(g->format);
    uint64_t index = address >> (12 + bits * (level - 1)) &
                     ((1u << bits) - 1);

    if (g->format == WALK_PAE && level == 3) {
        index &= 3;
    }
    return table + index * walk_format_entry(g->format);
}

/* The guest writes into its memory. */
static void write_entry(Guest *g, uint64_t gpa, uint64_t value)
{
    uint64_t gfn = gpa / PAGE;

    if (g->trap && g_hash_table_contains(g->protected, &gfn)) {
        g->cycles += walk_model_table_write(g->m, g->pcpu, g->vcpu, gpa,
                                            walk_format_entry(g->format));
    }
    *cell(g, gpa) = value;
}

/* Maps @address, with tables that are there or new ones, by @level's entry. */
static uint64_t map(Guest *g, uint64_t address, uint64_t gpa, unsigned level,
                    uint64_t flags)
{
    uint64_t table = g->root, entry;

    for (unsigned n = walk_format_levels(g->format); n > level; n--) {
        entry = entry_at(g, table, address, n);
        if (!(*cell(g, entry) & P)) {
            write_entry(g, entry, g->next_table | P | W);
            g->next_table += PAGE;
        }
        table = *cell(g, entry) & ~(PAGE - 1);
    }
    entry = entry_at(g, table, address, level);
    write_entry(g, entry, gpa | P | flags | (level > 1 ? L : 0));
    return entry;
}

/* What is known of an access before its walk */
static WalkAccess access_of(const Guest *g, uint64_t address, bool write)
{
    return (WalkAccess) {
        .pcpu = g->pcpu,
        .vcpu = g->vcpu,
        .address = address,
        .write = write,
        .user = g->user,
        .format = g->format,
    };
}

/* The processor's walk; if it is one, and no @glance, A and D bits are set. */
static WalkAccess walk(Guest *g, uint64_t address, bool write, bool glance)
{
    WalkAccess a = access_of(g, address, write);
    uint64_t table = g->root;

    for (a.last = walk_format_levels(g->format); ; a.last--) {
        uint64_t entry = entry_at(g, table, address, a.last);
        uint64_t *value = cell(g, entry);

        a.entry[a.last] = entry;
        a.value[a.last] = *value;
        if (!(*value & P)) {
            a.fault = true;
            return a;
        }
        if (a.last == 1 || *value & L) {
            break;
        }
        if (!glance && (g->format != WALK_PAE || a.last != 3)) {
            *value |= A;
        }
        a.value[a.last] = *value;
        table = *value & ~(PAGE - 1);
    }
    a.was_accessed = a.value[a.last] & A;
    if (write && !(a.value[a.last] & W)) {
        a.fault = true;
        return a;
    }
    if (!glance) {
        *cell(g, a.entry[a.last]) |= A | (write ? D : 0);
    }
    a.value[a.last] = *cell(g, a.entry[a.last]);
    a.writable = (a.value[a.last] & W) && (a.value[a.last] & D);
    a.gpa = (a.value[a.last] & ~(PAGE - 1)) +
            (address & ((UINT64_C(1) << (12 + walk_format_bits(g->format) *
                                         (a.last - 1))) - 1) & ~(PAGE - 1));
    return a;
}

static WalkAccess look(Guest *g, uint64_t address, bool write)
{
    return walk(g, address, write, false);
}

static int64_t touch(Guest *g, uint64_t address, bool write)
{
    WalkAccess a = look(g, address, write);
    int64_t cycles = walk_model_access(g->m, &a);

    if (!a.fault) {
        g_assert_true(walk_model_has(g->m, g->pcpu, g->vcpu, false, 0,
                                     address));
    }
    g->cycles += cycles;
    return cycles;
}

static WalkCounters counters(const Guest *g)
{
    WalkCounters c;

    walk_model_of_vm(g->m, 0, false, &c);
    return c;
}

static uint64_t references(const Guest *g)
{
    WalkCounters c = counters(g);

    return c.references[WALK_GUEST] + c.references[WALK_HOST];
}

/* No caches of tables; a reference costs 1, an exit 1000 and its number. */
static WalkConfig plain(void)
{
    WalkConfig c;

    walk_config_default(&c);
    memset(&c.cache, 0, sizeof(c.cache));
    c.reference = 1;
    for (unsigned i = 0; i < WALK_EXITS; i++) {
        c.exit[i] = 1000 + i;
    }
    c.vpid = 1;
    c.l2_latency = 7;
    return c;
}

/* --- References of a walk, nothing cached --- */

static void test_references(void)
{
    static const struct {
        WalkFormat format;
        unsigned pdptes, host, large, last;
        unsigned nested, native;
    } rows[] = {
        { WALK_32, 1, 2, 0, 1, 8, 2 },
        { WALK_32, 1, 4, 0, 1, 14, 2 },
        { WALK_PAE, 1, 4, 0, 1, 14, 2 },
        { WALK_PAE, 0, 3, 0, 1, 15, 3 },
        { WALK_PAE, 0, 4, 0, 1, 19, 3 },
        { WALK_64, 1, 4, 0, 1, 24, 4 },
        { WALK_57, 1, 4, 0, 1, 29, 5 },
        { WALK_64, 1, 5, 0, 1, 29, 4 },
        { WALK_57, 1, 5, 0, 1, 35, 5 },
        /* 2 MB pages of the host's, of the guest's, of both */
        { WALK_64, 1, 4, 1, 1, 19, 4 },
        { WALK_64, 1, 4, 0, 2, 19, 3 },
        { WALK_64, 1, 4, 1, 2, 15, 3 },
        { WALK_64, 1, 4, 0, 3, 14, 2 },
        { WALK_32, 1, 4, 0, 2, 9, 1 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        for (unsigned mode = WALK_NATIVE; mode <= WALK_NESTED; mode++) {
            unsigned expected = mode == WALK_NATIVE ? rows[i].native
                                                    : rows[i].nested;
            WalkConfig c = plain();
            uint64_t before;
            Guest *g;

            c.pdptes = rows[i].pdptes;
            c.host_levels = rows[i].host;
            c.host_large = rows[i].large;
            g = new_guest(&c, rows[i].format, mode);
            map(g, ADDRESS, 0, rows[i].last, W);
            before = references(g);
            g_assert_cmpint(touch(g, ADDRESS, false), ==, expected);
            g_assert_cmpuint(references(g) - before, ==, expected);
            /* It is in the TLB now. */
            g_assert_cmpint(touch(g, ADDRESS + 8, false), ==, 0);
            g_assert_cmpuint(counters(g).misses[WALK_DATA], ==, 1);
            free_guest(g);
        }
    }
}

/* PDPTEs are read at a new CR3: one reference, in two dimensions 4 more */
static void test_pdptes(void)
{
    WalkConfig c = plain();
    Guest *g = new_guest(&c, WALK_PAE, WALK_NESTED);

    g_assert_cmpuint(references(g), ==, 5);
    g_assert_cmpint(walk_model_root(g->m, 0, 0, g->root, WALK_PAE, 0,
                                    WALK_FLUSH),
                    ==, 5);
    walk_model_set_mode(g->m, 0, WALK_NATIVE);
    g_assert_cmpint(walk_model_root(g->m, 0, 0, g->root, WALK_PAE, 0,
                                    WALK_FLUSH),
                    ==, 1);
    c.pdptes = 0;
    free_guest(g);
    g = new_guest(&c, WALK_PAE, WALK_NESTED);
    g_assert_cmpuint(references(g), ==, 0);
    free_guest(g);
}

/*
 * With caches of tables, worked out for 4 x 4 levels: the second page of a
 * table needs its entry (1) and the data's address (4); with the host's caches
 * only the last level of that (1).
 */
static void test_walk_caches(void)
{
    WalkConfig c = plain();
    Guest *g;

    c.cache.guest[2] = c.cache.guest[3] = c.cache.guest[4] = 4;
    g = new_guest(&c, WALK_64, WALK_NESTED);
    for (unsigned i = 0; i < 3; i++) {
        map(g, ADDRESS + i * PAGE, i * PAGE, 1, W);
    }
    g_assert_cmpint(touch(g, ADDRESS, false), ==, 24);
    g_assert_cmpint(touch(g, ADDRESS + PAGE, false), ==, 5);
    free_guest(g);

    c.cache.host[2] = c.cache.host[3] = c.cache.host[4] = 4;
    g = new_guest(&c, WALK_64, WALK_NESTED);
    for (unsigned i = 0; i < 3; i++) {
        map(g, ADDRESS + i * PAGE, i * PAGE, 1, W);
    }
    /*
     * The tables are at 0x100000 and behind, the data at 0: one last-level
     * table of the host's.  4 + 1 for the first table, 1 + 1 for the other
     * three, 1 for the data.
     */
    g_assert_cmpint(touch(g, ADDRESS, false), ==, 5 + 3 * 2 + 1);
    g_assert_cmpint(touch(g, ADDRESS + PAGE, false), ==, 2);
    free_guest(g);

    /*
     * The nested TLB knows the tables' addresses: the entries, and the data's
     */
    memset(&c.cache, 0, sizeof(c.cache));
    c.cache.nested = 8;
    g = new_guest(&c, WALK_64, WALK_NESTED);
    for (unsigned i = 0; i < 3; i++) {
        map(g, ADDRESS + i * PAGE, i * PAGE, 1, W);
    }
    g_assert_cmpint(touch(g, ADDRESS, false), ==, 24);
    g_assert_cmpint(touch(g, ADDRESS + PAGE, false), ==, 4 + 4);
    g_assert_cmpuint(counters(g).nested_hits, ==, 4);
    free_guest(g);

    /* AMD's: all entries but the last ones of both dimensions are known. */
    memset(&c.cache, 0, sizeof(c.cache));
    c.cache.kind = WALK_CACHE_AMD;
    c.cache.walk = 64;
    g = new_guest(&c, WALK_64, WALK_NESTED);
    for (unsigned i = 0; i < 3; i++) {
        map(g, ADDRESS + i * PAGE, i * PAGE, 1, W);
    }
    g_assert_cmpint(touch(g, ADDRESS, false), ==, 5 + 3 * 2 + 1);
    g_assert_cmpint(touch(g, ADDRESS + PAGE, false), ==, 4 + 1 + 1);
    free_guest(g);
}

/* --- Exits --- */

static uint64_t exits(const Guest *g, WalkExit exit)
{
    return counters(g).exits[exit];
}

static uint64_t all_exits(const Guest *g)
{
    WalkCounters c = counters(g);
    uint64_t sum = 0;

    for (unsigned i = 0; i < WALK_EXITS; i++) {
        sum += c.exits[i];
    }
    return sum;
}

/*
 * The life of a page under shadow paging: the first access sets A (root's
 * entry: 1 reference, exit, 4), the first write sets D (a walk of 4 that finds
 * a clean entry, exit, 4), then nothing.
 */
static void test_accessed_and_dirty(void)
{
    WalkConfig c = plain();
    Guest *g = new_guest(&c, WALK_64, WALK_SHADOWED);

    map(g, ADDRESS, 0, 1, W);
    g_assert_cmpuint(exits(g, WALK_EXIT_ROOT), ==, 1);
    g_assert_cmpint(touch(g, ADDRESS, false), ==,
                    1 + 1000 + WALK_EXIT_ACCESSED + 4);
    g_assert_cmpint(touch(g, ADDRESS, false), ==, 0);
    g_assert_cmpint(touch(g, ADDRESS, true), ==,
                    4 + 1000 + WALK_EXIT_DIRTY + 4);
    g_assert_cmpint(touch(g, ADDRESS, true), ==, 0);
    g_assert_cmpuint(counters(g).dirty, ==, 1);
    g_assert_cmpuint(counters(g).filled, ==, 4);
    /* Another page of the table, written first: one exit for both */
    map(g, ADDRESS + 100 * PAGE, PAGE, 1, W);
    g_assert_cmpuint(exits(g, WALK_EXIT_UNSYNC), ==, 1);
    g_assert_cmpint(touch(g, ADDRESS + 100 * PAGE, true), ==,
                    4 + 1000 + WALK_EXIT_ACCESSED + 4);
    g_assert_cmpuint(exits(g, WALK_EXIT_DIRTY), ==, 1);
    free_guest(g);

    /* The same guest in nested mode: no exits at all */
    g = new_guest(&c, WALK_64, WALK_NESTED);
    map(g, ADDRESS, 0, 1, W);
    touch(g, ADDRESS, false);
    g_assert_cmpint(touch(g, ADDRESS, true), ==, 24);   /* to set D */
    g_assert_cmpint(touch(g, 0x5000, false), ==, 10);   /* a fault at level 3 */
    walk_model_root(g->m, 0, 0, g->root, WALK_64, 0, WALK_FLUSH);
    walk_model_invalidate(g->m, 0, 0, ADDRESS);
    g_assert_cmpuint(counters(g).faults, ==, 1);
    g_assert_cmpuint(all_exits(g), ==, 0);
    free_guest(g);
}

/*
 * The first write to a page that only the second level has (4 others of its set
 * came to the first, of 16 sets): a miss of the first, a hit of the second, and
 * a walk, whose 4 references are all that it costs.
 */
static void test_dirty_in_second_level(void)
{
    WalkConfig c = plain();
    Guest *g = new_guest(&c, WALK_64, WALK_NATIVE);
    WalkCounters before, after;

    for (unsigned i = 0; i < 5; i++) {
        map(g, ADDRESS + i * 16 * PAGE, i * PAGE, 1, W);
        touch(g, ADDRESS + i * 16 * PAGE, false);
    }
    before = counters(g);
    g_assert_cmpint(touch(g, ADDRESS, true), ==, 4);
    after = counters(g);
    g_assert_cmpuint(after.l1_misses[WALK_DATA], ==,
                     before.l1_misses[WALK_DATA] + 1);
    g_assert_cmpuint(after.l2_hits[WALK_DATA], ==,
                     before.l2_hits[WALK_DATA] + 1);
    g_assert_cmpuint(after.dirty, ==, before.dirty + 1);
    g_assert_cmpuint(after.misses[WALK_DATA], ==, before.misses[WALK_DATA]);
    g_assert_cmpuint(after.l2_cycles, ==, before.l2_cycles);
    free_guest(g);
}

static bool knows(Guest *g, uint64_t address, bool write, int64_t *cycles,
                  bool *writable)
{
    WalkAccess a = access_of(g, address, write);
    bool known = walk_model_knows(g->m, &a, cycles);

    *writable = a.writable;
    return known;
}

/*
 * Accesses for which nobody makes a walk: the first level has the page, at no
 * cost, or the second one, for 7 cycles; else nothing is counted or moved.
 */
static void test_knows(void)
{
    WalkConfig c = plain();
    Guest *g = new_guest(&c, WALK_64, WALK_NESTED);
    WalkCounters before, after;
    int64_t cycles;
    bool writable;

    before = counters(g);
    g_assert_false(knows(g, ADDRESS, false, &cycles, &writable));
    for (unsigned i = 0; i < 5; i++) {
        map(g, ADDRESS + i * 16 * PAGE, i * PAGE, 1, W);
        touch(g, ADDRESS + i * 16 * PAGE, false);
    }
    g_assert_cmpuint(counters(g).misses[WALK_DATA], ==,
                     before.misses[WALK_DATA] + 5);

    before = counters(g);
    g_assert_false(knows(g, ADDRESS, true, &cycles, &writable));  /* D is 0 */
    g->user = true;
    g_assert_false(knows(g, ADDRESS, false, &cycles, &writable));
    g->user = false;
    after = counters(g);
    g_assert_cmpmem(&before, sizeof(before), &after, sizeof(after));
    g_assert_false(walk_model_has(g->m, 0, 0, false, 0, ADDRESS));

    g_assert_true(knows(g, ADDRESS, false, &cycles, &writable));
    g_assert_cmpint(cycles, ==, 7);
    g_assert_false(writable);
    before.l1_misses[WALK_DATA]++;
    before.l2_hits[WALK_DATA]++;
    before.l2_cycles += 7;
    after = counters(g);
    g_assert_cmpmem(&before, sizeof(before), &after, sizeof(after));
    g_assert_true(walk_model_has(g->m, 0, 0, false, 0, ADDRESS));

    g_assert_true(knows(g, ADDRESS, false, &cycles, &writable));
    g_assert_cmpint(cycles, ==, 0);
    after = counters(g);
    g_assert_cmpmem(&before, sizeof(before), &after, sizeof(after));

    g_assert_cmpint(touch(g, ADDRESS, true), ==, 24);   /* to set D */
    g_assert_true(knows(g, ADDRESS, true, &cycles, &writable));
    g_assert_cmpint(cycles, ==, 0);
    g_assert_true(writable);
    free_guest(g);
}

/* Page faults: injected by an exit; entries that the guest has: hidden */
static void test_faults(void)
{
    WalkConfig c = plain();
    Guest *g = new_guest(&c, WALK_64, WALK_SHADOWED);

    g_assert_cmpint(touch(g, ADDRESS, false), ==,
                    1 + 1000 + WALK_EXIT_FAULT);
    map(g, ADDRESS, 0, 1, W | A | D);
    map(g, ADDRESS + 40 * PAGE, 0, 1, W | A | D);
    g_assert_cmpint(touch(g, ADDRESS, true), ==,
                    1 + 1000 + WALK_EXIT_HIDDEN + 4);
    /* Too far behind for the prefetch of 32 */
    g_assert_cmpuint(counters(g).prefetched, ==, 0);
    g_assert_cmpint(touch(g, ADDRESS + 40 * PAGE, false), ==,
                    4 + 1000 + WALK_EXIT_HIDDEN + 4);
    /* A write to a page that may only be read */
    map(g, ADDRESS + 41 * PAGE, 0, 1, A);
    touch(g, ADDRESS + 41 * PAGE, false);
    g_assert_cmpuint(exits(g, WALK_EXIT_HIDDEN), ==, 3);
    g_assert_cmpint(touch(g, ADDRESS + 41 * PAGE, true), ==,
                    4 + 1000 + WALK_EXIT_FAULT);
    g_assert_cmpuint(counters(g).faults, ==, 2);
    g_assert_cmpuint(exits(g, WALK_EXIT_FAULT), ==, 2);
    free_guest(g);
}

/* The 31 entries behind: those that are present and were accessed */
static void test_prefetch(void)
{
    WalkConfig c = plain();
    Guest *g = new_guest(&c, WALK_64, WALK_SHADOWED);

    for (unsigned i = 0; i < 64; i++) {
        map(g, ADDRESS + i * PAGE, i * PAGE, 1, W | (i % 4 ? A | D : 0));
    }
    touch(g, ADDRESS + PAGE, false);        /* 2 to 32, without 4, 8 ... 32 */
    g_assert_cmpuint(counters(g).prefetched, ==, 31 - 8);
    g_assert_cmpint(touch(g, ADDRESS + 31 * PAGE, true), ==, 4);
    g_assert_cmpint(touch(g, ADDRESS + 32 * PAGE, false), ==,
                    4 + 1000 + WALK_EXIT_ACCESSED + 4);
    free_guest(g);

    /* Not beyond the end of the table */
    g = new_guest(&c, WALK_64, WALK_SHADOWED);
    for (unsigned i = 0; i < 40; i++) {
        map(g, 0x1fd000 + i * PAGE, i * PAGE, 1, W | A | D);
    }
    touch(g, 0x1fd000, false);
    g_assert_cmpuint(counters(g).prefetched, ==, 2);
    free_guest(g);

    c.prefetch = 1;                         /* none */
    g = new_guest(&c, WALK_64, WALK_SHADOWED);
    map(g, ADDRESS, 0, 1, W | A | D);
    map(g, ADDRESS + PAGE, 0, 1, W | A | D);
    touch(g, ADDRESS, false);
    g_assert_cmpuint(counters(g).prefetched, ==, 0);
    free_guest(g);
}

/* Last-level tables go out of sync, three of a VCPU's at most. */
static void test_out_of_sync(void)
{
    WalkConfig c = plain();
    Guest *g;
    uint64_t entry[5], gfn[5];

    c.unshadow = 0;                         /* upper tables stay */
    g = new_guest(&c, WALK_64, WALK_SHADOWED);
    for (unsigned i = 0; i < 5; i++) {      /* each in a table of its own */
        entry[i] = map(g, ADDRESS + i * 0x200000, i * PAGE, 1, W | A | D);
        gfn[i] = entry[i] / PAGE;
        touch(g, ADDRESS + i * 0x200000, true);
        g_assert_true(g_hash_table_contains(g->protected, &gfn[i]));
    }
    g->cycles = 0;
    write_entry(g, entry[0], 0x77000 | P | W | A | D);
    g_assert_cmpint(g->cycles, ==, 1000 + WALK_EXIT_UNSYNC);
    g_assert_false(g_hash_table_contains(g->protected, &gfn[0]));
    write_entry(g, entry[0] + 8, 0x78000 | P | W | A | D);      /* free now */
    g_assert_cmpint(g->cycles, ==, 1000 + WALK_EXIT_UNSYNC);
    write_entry(g, entry[1], 0);
    write_entry(g, entry[2], 0);
    g_assert_cmpuint(counters(g).resynced, ==, 0);
    /* The fourth one brings the first one back, whose entry goes. */
    write_entry(g, entry[3], 0);
    g_assert_cmpuint(exits(g, WALK_EXIT_UNSYNC), ==, 4);
    g_assert_cmpuint(counters(g).resynced, ==, 1);
    g_assert_false(walk_shadow_has(walk_model_shadow(g->m, 0), gfn[0]));
    /* INVLPG: only what it names */
    g_assert_cmpint(walk_model_invalidate(g->m, 0, 0, ADDRESS + 0x200000), ==,
                    1000 + WALK_EXIT_INVLPG);
    g_assert_cmpuint(counters(g).resynced, ==, 2);
    g_assert_true(walk_shadow_is_out_of_sync(walk_model_shadow(g->m, 0),
                                             gfn[2]));
    /* A new CR3: all of the VCPU's */
    g_assert_cmpint(walk_model_root(g->m, 0, 0, g->root, WALK_64, 0,
                                    WALK_FLUSH),
                    ==, 1000 + WALK_EXIT_ROOT);
    g_assert_cmpuint(counters(g).resynced, ==, 4);
    for (unsigned i = 0; i < 5; i++) {
        g_assert_false(walk_shadow_is_out_of_sync(walk_model_shadow(g->m, 0),
                                                  gfn[i]));
    }
    /* The entry that is the same as before is still there. */
    g_assert_cmpint(touch(g, ADDRESS + 4 * 0x200000, true), ==, 4);
    free_guest(g);

    c.out_of_sync = 0;                      /* never: each is emulated */
    g = new_guest(&c, WALK_64, WALK_SHADOWED);
    entry[0] = map(g, ADDRESS, 0, 1, W | A | D);
    touch(g, ADDRESS, true);
    write_entry(g, entry[0], 0);
    g_assert_cmpuint(exits(g, WALK_EXIT_EMULATE), ==, 1);
    g_assert_cmpuint(exits(g, WALK_EXIT_UNSYNC), ==, 0);
    free_guest(g);
}

/* Upper tables are emulated; two writes in a row to one unshadow it. */
static void test_emulated(void)
{
    WalkConfig c = plain();
    Guest *g = new_guest(&c, WALK_64, WALK_SHADOWED);
    uint64_t root = g->root / PAGE, table;

    map(g, ADDRESS, 0, 1, W | A | D);
    touch(g, ADDRESS, true);
    table = (*cell(g, entry_at(g, g->root, ADDRESS, 4)) & ~(PAGE - 1)) / PAGE;
    g->cycles = 0;
    write_entry(g, g->root + 8, 0);
    g_assert_cmpint(g->cycles, ==, 1000 + WALK_EXIT_EMULATE);
    write_entry(g, table * PAGE + 4088, 0);     /* another one in between */
    write_entry(g, g->root + 16, 0);
    g_assert_cmpuint(counters(g).unshadowed, ==, 0);
    g_assert_cmpint(touch(g, ADDRESS, true), ==, 4);    /* TLBs were emptied */
    write_entry(g, g->root + 24, 0);
    g_assert_cmpuint(counters(g).unshadowed, ==, 1);
    g_assert_false(walk_shadow_has(walk_model_shadow(g->m, 0), root));
    g_assert_false(g_hash_table_contains(g->protected, &root));
    write_entry(g, g->root + 32, 0);            /* nobody sees it */
    g_assert_cmpuint(exits(g, WALK_EXIT_EMULATE), ==, 4);
    /* The next walk makes the root's shadow again; the others are there. */
    g_assert_cmpint(touch(g, ADDRESS, true), ==,
                    1 + 1000 + WALK_EXIT_HIDDEN + 4);

    /* The entry that is written to is empty then. */
    write_entry(g, entry_at(g, g->root, ADDRESS, 4), 0);
    g_assert_cmpint(touch(g, ADDRESS, true), ==, 1 + 1000 + WALK_EXIT_FAULT);
    free_guest(g);
}

/*
 * What an entry of the TLB lets through is what its walk has found.  A page
 * that may not be written: a walk of 4, and no more.  Then it may, and nobody
 * says so: the write is a walk of a page that the TLB has.  If it is tried
 * before it may be, that is a fault, which takes the entry away.
 */
static void test_rights(void)
{
    WalkConfig c = plain();
    Guest *g = new_guest(&c, WALK_64, WALK_NATIVE);
    uint64_t table;

    map(g, ADDRESS, 0, 1, D);
    g_assert_cmpint(touch(g, ADDRESS, false), ==, 4);
    g_assert_cmpint(touch(g, ADDRESS, false), ==, 0);
    map(g, ADDRESS, 0, 1, W | D);
    g_assert_cmpint(touch(g, ADDRESS, true), ==, 4);
    g_assert_cmpuint(counters(g).dirty, ==, 1);
    g_assert_cmpint(touch(g, ADDRESS, true), ==, 0);

    map(g, ADDRESS + PAGE, PAGE, 1, D);
    g_assert_cmpint(touch(g, ADDRESS + PAGE, false), ==, 4);
    g_assert_cmpint(touch(g, ADDRESS + PAGE, true), ==, 4);
    g_assert_cmpuint(counters(g).faults, ==, 1);
    g_assert_cmpuint(counters(g).misses[WALK_DATA], ==, 2);
    map(g, ADDRESS + PAGE, PAGE, 1, W | D);
    g_assert_cmpint(touch(g, ADDRESS + PAGE, true), ==, 4);
    g_assert_cmpuint(counters(g).misses[WALK_DATA], ==, 3);
    g_assert_cmpuint(counters(g).dirty, ==, 1);
    free_guest(g);

    /*
     * A large page in place of a small one that may not be written, and the
     * other way: what was there is gone, not beside the new one.
     */
    g = new_guest(&c, WALK_64, WALK_NATIVE);
    table = g->root;
    map(g, ADDRESS, 0, 1, D);
    g_assert_cmpint(touch(g, ADDRESS, false), ==, 4);
    map(g, ADDRESS, 0x600000, 2, W | D);
    g_assert_cmpint(touch(g, ADDRESS, true), ==, 3);
    g_assert_cmpint(touch(g, ADDRESS, true), ==, 0);
    g_assert_cmpint(touch(g, ADDRESS + PAGE, true), ==, 0);
    g_assert_cmpuint(counters(g).dirty, ==, 1);
    map(g, ADDRESS, 0x600000, 2, D);
    walk_model_invalidate(g->m, 0, 0, ADDRESS);
    g_assert_cmpint(touch(g, ADDRESS, false), ==, 3);
    for (unsigned level = 4; level > 2; level--) {
        table = *cell(g, entry_at(g, table, ADDRESS, level)) & ~(PAGE - 1);
    }
    *cell(g, entry_at(g, table, ADDRESS, 2)) = 0;
    map(g, ADDRESS, 0, 1, W | D);
    g_assert_cmpint(touch(g, ADDRESS, true), ==, 4);
    g_assert_cmpint(touch(g, ADDRESS, true), ==, 0);
    g_assert_cmpuint(counters(g).dirty, ==, 2);
    free_guest(g);

    /* The same for user mode, which the entry does not let through at first */
    g = new_guest(&c, WALK_32, WALK_NATIVE);
    map(g, ADDRESS, 0, 1, W | D);
    *cell(g, entry_at(g, g->root, ADDRESS, 2)) |= U;
    g_assert_cmpint(touch(g, ADDRESS, false), ==, 2);
    map(g, ADDRESS, 0, 1, W | D | U);
    g->user = true;
    g_assert_cmpint(touch(g, ADDRESS, false), ==, 2);
    g_assert_cmpint(touch(g, ADDRESS, true), ==, 0);
    free_guest(g);

    /*
     * A shadow that is out of sync says what was allowed: a walk of 4, an exit
     * that fills it, 4.
     */
    g = new_guest(&c, WALK_64, WALK_SHADOWED);
    map(g, ADDRESS, 0, 1, A | D);
    g_assert_cmpint(touch(g, ADDRESS, false), ==,
                    1 + 1000 + WALK_EXIT_HIDDEN + 4);
    map(g, ADDRESS, 0, 1, W | A | D);
    g_assert_cmpuint(exits(g, WALK_EXIT_UNSYNC), ==, 1);
    g_assert_cmpint(touch(g, ADDRESS, true), ==,
                    4 + 1000 + WALK_EXIT_HIDDEN + 4);
    g_assert_cmpint(touch(g, ADDRESS, true), ==, 0);
    free_guest(g);
}

/*
 * Four levels, upper entries cached.  A walk of 4; of the next page only the
 * last entry.  A page fault takes what leads to its address: the walk that
 * follows it reads 4 again.
 */
static void test_faults_forget(void)
{
    WalkConfig c = plain();
    Guest *g;

    c.cache.kind = WALK_CACHE_INTEL;
    c.cache.guest[2] = c.cache.guest[3] = c.cache.guest[4] = 4;
    g = new_guest(&c, WALK_64, WALK_NATIVE);
    map(g, ADDRESS, 0, 1, W | D);
    map(g, ADDRESS + PAGE, PAGE, 1, W | D);
    g_assert_cmpint(touch(g, ADDRESS, false), ==, 4);
    g_assert_cmpint(touch(g, ADDRESS + PAGE, false), ==, 1);
    g_assert_cmpint(touch(g, ADDRESS + 2 * PAGE, false), ==, 1);
    g_assert_cmpuint(counters(g).faults, ==, 1);
    map(g, ADDRESS + 2 * PAGE, 2 * PAGE, 1, W | D);
    g_assert_cmpint(touch(g, ADDRESS + 2 * PAGE, false), ==, 4);
    /* Of other addresses the TLB has what it had. */
    g_assert_cmpint(touch(g, ADDRESS, false), ==, 0);
    free_guest(g);
}

/* A table at two levels, as Windows and some teaching kernels map their own */
static void test_self_map(void)
{
    WalkConfig c = plain();
    Guest *g = new_guest(&c, WALK_32, WALK_SHADOWED);
    uint64_t self = UINT64_C(0xffc00000), gfn = g->root / PAGE, leaf;

    leaf = map(g, 0x400000, 0x5000, 1, W | A | D);
    *cell(g, g->root + 1023 * 4) = g->root | P | W | A | D;
    touch(g, 0x400000, true);
    touch(g, self + (UINT64_C(0x400000) >> 10), false);    /* its own entry */
    touch(g, self + 0xffc00, false);        /* the root as a page */
    g_assert_nonnull(walk_shadow_find(walk_model_shadow(g->m, 0), gfn, 1));
    g_assert_nonnull(walk_shadow_find(walk_model_shadow(g->m, 0), gfn, 2));
    g_assert_false(walk_shadow_may_unsync(walk_model_shadow(g->m, 0), gfn));
    write_entry(g, g->root + 4, 0);
    g_assert_cmpuint(exits(g, WALK_EXIT_EMULATE), ==, 1);
    g_assert_false(walk_shadow_is_filled(
        walk_shadow_find(walk_model_shadow(g->m, 0), gfn, 1), 1));
    g_assert_false(walk_shadow_is_filled(
        walk_shadow_find(walk_model_shadow(g->m, 0), gfn, 2), 1));
    g_assert_cmphex(leaf / PAGE, !=, gfn);
    free_guest(g);
}

/* A large page in memory of small ones: split, one more reference */
static void test_split(void)
{
    WalkConfig c = plain();
    Guest *g = new_guest(&c, WALK_64, WALK_SHADOWED);

    map(g, ADDRESS, 0x600000, 2, W | A | D);
    g_assert_cmpint(touch(g, ADDRESS, true), ==,
                    1 + 1000 + WALK_EXIT_HIDDEN + 4);
    /* 31 more pieces were prefetched, as far as a large page goes. */
    g_assert_cmpuint(counters(g).prefetched, ==, 31);
    g_assert_cmpint(touch(g, ADDRESS + 31 * PAGE, true), ==, 4);
    g_assert_cmpint(touch(g, ADDRESS + 32 * PAGE, true), ==,
                    4 + 1000 + WALK_EXIT_HIDDEN + 4);
    touch(g, ADDRESS + 0x1fd000, true);     /* the last but one */
    g_assert_cmpuint(counters(g).prefetched, ==, 31 + 31 + 1);
    walk_model_root(g->m, 0, 0, g->root, g->format, 0, WALK_FLUSH_ALL);
    g_assert_cmpint(touch(g, ADDRESS, true), ==, 4);
    /*
     * Mapped a second time, with other rights: the pieces are there, but not
     * what leads to them.  What may not be written is not.
     */
    map(g, ADDRESS + 0x200000, 0x600000, 2, A);
    g_assert_cmpint(touch(g, ADDRESS + 0x200000, false), ==,
                    3 + 1000 + WALK_EXIT_HIDDEN + 4);
    g_assert_cmpint(touch(g, ADDRESS + 0x200000 + PAGE, false), ==, 4);
    g_assert_cmpint(touch(g, ADDRESS + 0x200000, true), ==,
                    3 + 1000 + WALK_EXIT_FAULT);
    g_assert_cmpint(touch(g, ADDRESS + 2 * PAGE, true), ==, 4);
    free_guest(g);

    c.prefetch = 1;                         /* none */
    g = new_guest(&c, WALK_64, WALK_SHADOWED);
    map(g, ADDRESS, 0x600000, 2, W | A | D);
    touch(g, ADDRESS, true);
    g_assert_cmpint(touch(g, ADDRESS + PAGE, true), ==,
                    4 + 1000 + WALK_EXIT_HIDDEN + 4);
    free_guest(g);

    c.prefetch = 32;
    c.host_large = 1;
    g = new_guest(&c, WALK_64, WALK_SHADOWED);
    map(g, ADDRESS, 0x600000, 2, W | A | D);
    g_assert_cmpint(touch(g, ADDRESS, true), ==,
                    1 + 1000 + WALK_EXIT_HIDDEN + 3);
    g_assert_cmpint(touch(g, ADDRESS + PAGE, true), ==, 0);
    free_guest(g);
}

/* Pages that the host does not have yet: an exit in each mode but native */
static void test_not_backed(void)
{
    for (unsigned mode = 0; mode < WALK_MODES; mode++) {
        WalkConfig c = plain();
        Guest *g;

        c.host_backed = 0;
        g = new_guest(&c, WALK_64, mode);
        map(g, ADDRESS, 0, 1, W | A | D);
        map(g, ADDRESS + PAGE, 0, 1, W | A | D);
        map(g, ADDRESS + 2 * PAGE, PAGE, 1, W | A | D);
        touch(g, ADDRESS, true);
        touch(g, ADDRESS + PAGE, true);
        g_assert_cmpuint(exits(g, WALK_EXIT_NOT_BACKED), ==,
                         mode != WALK_NATIVE);
        touch(g, ADDRESS + 2 * PAGE, true);
        g_assert_cmpuint(exits(g, WALK_EXIT_NOT_BACKED), ==,
                         mode == WALK_NATIVE ? 0 : 2);
        free_guest(g);
    }
}

/* Interrupts and the like; what an exit does to the TLB without VPIDs */
static void test_other_exits(void)
{
    for (unsigned mode = 0; mode < WALK_MODES; mode++) {
        for (unsigned vpid = 0; vpid < 2; vpid++) {
            static const WalkExit kinds[] = {
                WALK_EXIT_INTERRUPT, WALK_EXIT_IO, WALK_EXIT_HALT
            };
            WalkConfig c = plain();
            uint64_t misses, flushes;
            Guest *g;

            c.vpid = vpid;
            g = new_guest(&c, WALK_64, mode);
            map(g, ADDRESS, 0, 1, W | A | D);
            touch(g, ADDRESS, true);
            misses = counters(g).misses[WALK_DATA];
            flushes = counters(g).flushes;
            for (unsigned i = 0; i < 3; i++) {
                g_assert_cmpint(walk_model_exit(g->m, 0, 0, kinds[i]), ==,
                                mode == WALK_NATIVE ? 0 : 1000 + kinds[i]);
                touch(g, ADDRESS, true);
                g_assert_cmpuint(exits(g, kinds[i]), ==, mode != WALK_NATIVE);
            }
            g_assert_cmpuint(counters(g).misses[WALK_DATA] - misses, ==,
                             mode == WALK_NATIVE || vpid ? 0 : 3);
            g_assert_cmpuint(counters(g).flushes - flushes, ==,
                             mode == WALK_NATIVE || vpid ? 0 : 3);
            /* Another VCPU on the PCPU: as an entry into a guest */
            walk_model_switched(g->m, 0, 1);
            walk_model_switched(g->m, 0, 0);
            g_assert_cmpint(touch(g, ADDRESS, true) != 0, ==,
                            mode != WALK_NATIVE && !vpid);
            free_guest(g);
        }
    }
}

/* --- Agile paging --- */

/*
 * References by the level at which a walk of 4 x 4 levels turns: shadow 4; for
 * r tables of the guest's at the end, 4 - r of the shadow's and r (1 + 4); all
 * of them and the root's address: 24
 */
static void test_agile_references(void)
{
    static const unsigned expected[] = { 4, 8, 12, 16, 24 };

    for (unsigned nested = 0; nested <= 4; nested++) {
        WalkConfig c = plain();
        Guest *g = new_guest(&c, WALK_64, WALK_AGILE);
        WalkAccess a;

        map(g, ADDRESS, 0, 1, W | A | D);
        touch(g, ADDRESS, true);
        a = look(g, ADDRESS, true);
        if (nested) {                       /* two writes, no more */
            uint64_t entry = a.entry[nested] ^ 8;

            write_entry(g, entry, 0);
            g_assert_cmpuint(counters(g).to_nested, ==, 0);
            write_entry(g, entry, 0);
            g_assert_cmpuint(counters(g).to_nested, ==, 1);
            g_assert_cmpuint(exits(g, WALK_EXIT_EMULATE), ==, 2);
            write_entry(g, entry, 0);       /* for nothing from now on */
            g_assert_cmpuint(exits(g, WALK_EXIT_EMULATE), ==, 2);
        }
        touch(g, ADDRESS, true);
        walk_model_root(g->m, 0, 0, g->root, g->format, 0, WALK_FLUSH_ALL);
        g_assert_cmpint(touch(g, ADDRESS, true), ==, expected[nested]);
        free_guest(g);
    }
}

/* With caches of tables a walk that begins below a nested one stays nested. */
static void test_agile_caches(void)
{
    WalkConfig c = plain();
    Guest *g;
    WalkAccess a;
    uint64_t before;

    c.cache.guest[2] = c.cache.guest[3] = c.cache.guest[4] = 4;
    g = new_guest(&c, WALK_64, WALK_AGILE);
    for (unsigned i = 0; i < 3; i++) {
        map(g, ADDRESS + i * PAGE, i * PAGE, 1, W | A | D);
    }
    a = walk(g, ADDRESS, true, true);
    touch(g, ADDRESS, true);
    write_entry(g, a.entry[3] ^ 8, 0);
    write_entry(g, a.entry[3] ^ 8, 0);
    g_assert_cmpint(touch(g, ADDRESS, true), ==, 16);
    before = all_exits(g);
    /* The last table is known: its entry, and the data's address */
    g_assert_cmpint(touch(g, ADDRESS + PAGE, true), ==, 1 + 4);
    g_assert_cmpint(touch(g, ADDRESS + 2 * PAGE, true), ==, 1 + 4);
    g_assert_cmpuint(all_exits(g), ==, before);
    free_guest(g);
}

/* Nested by writes, back when a scan finds it clean; in between no exits */
static void test_agile_scan(void)
{
    WalkConfig c = plain();
    Guest *g = new_guest(&c, WALK_64, WALK_AGILE);
    uint64_t entry = map(g, ADDRESS, 0, 1, W | A | D), gfn = entry / PAGE;
    const WalkShadow *s = walk_model_shadow(g->m, 0);
    uint64_t before;

    touch(g, ADDRESS, true);
    write_entry(g, entry + 8, 0);
    walk_model_scan(g->m, 0);               /* one write: it begins from 0 */
    write_entry(g, entry + 8, 0);
    g_assert_false(walk_shadow_is_nested(s, gfn));
    write_entry(g, entry + 8, 0x1000 | P | W);
    g_assert_true(walk_shadow_is_nested(s, gfn));
    g_assert_cmpuint(walk_shadow_nested(s), ==, 1);

    /* Faults, first accesses and INVLPG below it cost nothing more. */
    touch(g, ADDRESS, true);        /* (the upper tables' shadows) */
    before = all_exits(g);
    touch(g, ADDRESS + PAGE, false);
    touch(g, ADDRESS + PAGE, true);
    touch(g, ADDRESS + 2 * PAGE, false);
    walk_model_invalidate(g->m, 0, 0, ADDRESS);
    g_assert_cmpuint(all_exits(g), ==, before);
    g_assert_cmpuint(counters(g).faults, ==, 1);

    /* Written between two scans: it stays; then it goes back. */
    walk_model_scan(g->m, 0);
    g_assert_true(g_hash_table_contains(g->protected, &gfn));
    write_entry(g, entry + 8, 0);
    g_assert_cmpuint(all_exits(g), ==, before);
    walk_model_scan(g->m, 0);
    g_assert_true(walk_shadow_is_nested(s, gfn));
    walk_model_scan(g->m, 0);
    g_assert_false(walk_shadow_is_nested(s, gfn));
    g_assert_false(g_hash_table_contains(g->protected, &gfn));
    g_assert_cmpuint(counters(g).to_shadow, ==, 1);
    g_assert_cmpint(touch(g, ADDRESS, true), ==,
                    3 + 1000 + WALK_EXIT_HIDDEN + 4);
    free_guest(g);
}

/* --- Modes --- */

static void test_modes(void)
{
    WalkConfig c = plain();
    Guest *g = new_guest(&c, WALK_64, WALK_SHADOWED);
    uint64_t entry = map(g, ADDRESS, 0, 1, W | A | D), gfn = entry / PAGE;

    touch(g, ADDRESS, true);
    g_assert_cmpuint(walk_shadow_pages(walk_model_shadow(g->m, 0)), ==, 4);
    walk_model_set_mode(g->m, 0, WALK_SHADOWED);    /* as it is: nothing */
    g_assert_cmpint(touch(g, ADDRESS, true), ==, 0);
    walk_model_set_mode(g->m, 0, WALK_NESTED);
    g_assert_cmpuint(walk_shadow_pages(walk_model_shadow(g->m, 0)), ==, 0);
    g_assert_false(g_hash_table_contains(g->protected, &gfn));
    g_assert_cmpint(touch(g, ADDRESS, true), ==, 24);
    /* Back: the tables are built anew, on demand. */
    walk_model_set_mode(g->m, 0, WALK_SHADOWED);
    g_assert_cmpint(touch(g, ADDRESS, true), ==,
                    1 + 1000 + WALK_EXIT_HIDDEN + 4);
    /* VM 1 did not change. */
    g_assert_cmpint(walk_model_mode(g->m, 1), ==, WALK_SHADOWED);
    walk_model_set_mode(g->m, 1, WALK_NATIVE);
    g_assert_cmpint(walk_model_mode(g->m, 0), ==, WALK_SHADOWED);
    free_guest(g);
}

/* Few pages of shadow tables: the oldest ones go, nobody sees wrong ones. */
static void test_limit(void)
{
    WalkConfig c = plain();
    Guest *g;

    c.pages = 64;
    g = new_guest(&c, WALK_64, WALK_SHADOWED);
    for (unsigned turn = 0; turn < 2; turn++) {
        for (unsigned i = 0; i < 100; i++) {
            uint64_t address = ADDRESS + i * UINT64_C(0x200000);

            if (!turn) {
                map(g, address, i * PAGE, 1, W | A | D);
            }
            touch(g, address, true);
            g_assert_cmpuint(walk_shadow_pages(walk_model_shadow(g->m, 0)), <=,
                             64);
        }
    }
    g_assert_cmpuint(walk_shadow_pages(walk_model_shadow(g->m, 0)), ==, 64);
    g_assert_cmpuint(exits(g, WALK_EXIT_HIDDEN), >=, 190);
    free_guest(g);
}

/* --- A guest that changes its tables at random --- */

typedef struct Check {
    Guest *g;
    unsigned entries, out_of_sync;
    /* entry: values that it had since the guest last had to invalidate it */
    GHashTable *history;
} Check;

static GArray *history_of(Check *check, uint64_t gpa)
{
    GArray *values = g_hash_table_lookup(check->history, &gpa);

    if (!values) {
        values = g_array_new(false, false, sizeof(uint64_t));
        g_hash_table_insert(check->history, g_memdup2(&gpa, sizeof(gpa)),
                            values);
    }
    return values;
}

/* In sync: what the guest has.  Out of sync: what it had at some moment. */
static void check_entry(void *opaque, uint64_t gfn, unsigned level,
                        WalkFormat format, unsigned index, uint64_t value,
                        bool out_of_sync)
{
    const uint64_t flags = level > 1 ? A | D : 0;
    Check *check = opaque;
    uint64_t gpa = gfn * PAGE + index * walk_format_entry(format);
    uint64_t now;
    bool found;

    if (level == WALK_SPLIT) {
        return;
    }
    now = *cell(check->g, gpa);
    found = (now | flags) == (value | flags);
    check->entries++;
    check->out_of_sync += out_of_sync;
    if (out_of_sync && !found) {
        GArray *values = history_of(check, gpa);

        for (unsigned i = 0; i < values->len && !found; i++) {
            found = g_array_index(values, uint64_t, i) == value;
        }
    }
    if (!found) {
        g_error("level %u, entry %" PRIx64 ": the shadow has %" PRIx64 ", the "
                "guest %" PRIx64 "%s", level, gpa, value, now,
                out_of_sync ? ", out of sync" : "");
    }
}

/*
 * The guest says what it has changed, on both of its processors, for each keeps
 * tables of its own out of sync: what was is forgotten.
 */
static void invalidate_all(Check *check)
{
    Guest *g = check->g;

    for (unsigned i = 0; i < 2; i++) {
        walk_model_root(g->m, i, i, g->root, g->format, 0, WALK_FLUSH);
    }
    g_hash_table_remove_all(check->history);
}

static void random_edit(Check *check, GRand *rand)
{
    Guest *g = check->g;
    uint64_t address = ADDRESS + g_rand_int_range(rand, 0, 6) * 0x200000 +
                       g_rand_int_range(rand, 0, 40) * PAGE;
    uint64_t gpa = g_rand_int_range(rand, 0, 64) * PAGE;
    WalkAccess a = walk(g, address, false, true);
    uint64_t old;

    switch (g_rand_int_range(rand, 0, 8)) {
    case 0:                                 /* another page, or the first */
    case 1:
    case 2:
        if (a.last == 1) {
            old = *cell(g, a.entry[1]);
            g_array_append_val(history_of(check, a.entry[1]), old);
        }
        if (a.last == 1 || a.fault) {
            map(g, address, gpa, 1, g_rand_boolean(rand) ? W : 0);
        }
        break;
    case 3:                                 /* not present any more */
        if (a.last == 1) {
            old = *cell(g, a.entry[1]);
            g_array_append_val(history_of(check, a.entry[1]), old);
            write_entry(g, a.entry[1], 0);
        }
        break;
    case 4:                                 /* A and D taken away */
        if (a.last == 1) {
            old = *cell(g, a.entry[1]);
            g_array_append_val(history_of(check, a.entry[1]), old);
            write_entry(g, a.entry[1], old & ~(A | D));
        }
        break;
    case 5:                                 /* a whole table goes: the other */
        if (g_rand_int_range(rand, 0, 8) == 0 && a.last == 1) {
            write_entry(g, a.entry[2], g_rand_boolean(rand) ? 0 :
                        (gpa << 12) | P | W | L);
            invalidate_all(check);
        }
        break;
    default:
        if (!a.fault || a.last == 1) {
            walk_model_invalidate(g->m, g->pcpu, g->vcpu, address);
            if (a.last == 1) {
                /* The whole table is compared. */
                uint64_t table = a.entry[1] & ~(PAGE - 1);

                for (unsigned i = 0; i < PAGE; i += 4) {
                    uint64_t key = table + i;

                    g_hash_table_remove(check->history, &key);
                }
            }
        }
    }
}

/* @trap off: the guest's writes are not told, and that has to be found. */
static unsigned random_guest(WalkFormat format, WalkMode mode, bool trap,
                             unsigned steps)
{
    WalkConfig c = plain();
    Guest *g = new_guest(&c, format, mode);
    Check check = { .g = g };
    GRand *rand = g_rand_new_with_seed(format * 8 + mode);

    g->trap = trap;
    check.history = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free,
                                          (GDestroyNotify)g_array_unref);
    for (unsigned n = 0; n < steps; n++) {
        g->pcpu = g->vcpu = g_rand_int_range(rand, 0, 2);
        if (n < 4 || g_rand_int_range(rand, 0, 60) == 0) {
            invalidate_all(&check);
        } else if (g_rand_boolean(rand)) {
            touch(g, ADDRESS + g_rand_int_range(rand, 0, 6) * 0x200000 +
                  g_rand_int_range(rand, 0, 40) * PAGE, g_rand_boolean(rand));
        } else {
            random_edit(&check, rand);
        }
        if (mode == WALK_AGILE && n % 50 == 0) {
            walk_model_scan(g->m, 0);
        }
        walk_shadow_foreach(walk_model_shadow(g->m, 0), check_entry, &check);
    }
    if (trap && mode == WALK_SHADOWED) {
        WalkCounters k = counters(g);

        g_assert_cmpuint(check.out_of_sync, >, 1000);
        g_assert_cmpuint(k.exits[WALK_EXIT_HIDDEN], >, 20);
        g_assert_cmpuint(k.exits[WALK_EXIT_UNSYNC], >, 50);
        g_assert_cmpuint(k.exits[WALK_EXIT_FAULT], >, 50);
        g_assert_cmpuint(k.exits[WALK_EXIT_EMULATE], >, 10);
    }
    g_hash_table_unref(check.history);
    g_rand_free(rand);
    free_guest(g);
    return check.entries;
}

static void test_random_edits(void)
{
    for (unsigned format = 0; format < WALK_FORMATS; format++) {
        g_assert_cmpuint(random_guest(format, WALK_SHADOWED, true, 6000), >,
                         10000);
        g_assert_cmpuint(random_guest(format, WALK_AGILE, true, 6000), >, 1000);
    }
}

/* The check finds a model that is not told of the guest's writes. */
static void test_check_finds(void)
{
    if (g_test_subprocess()) {
        random_guest(WALK_64, WALK_SHADOWED, false, 6000);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*the shadow has*");
}

/* --- Saved state --- */

static void go_on(Guest *g, GRand *rand)
{
    for (unsigned n = 0; n < 2000; n++) {
        uint64_t address = ADDRESS + g_rand_int_range(rand, 0, 6) * 0x200000 +
                           g_rand_int_range(rand, 0, 40) * PAGE;

        g->pcpu = g->vcpu = g_rand_int_range(rand, 0, 2);
        switch (g_rand_int_range(rand, 0, 8)) {
        case 0:
            map(g, address, g_rand_int_range(rand, 0, 64) * PAGE, 1, W);
            break;
        case 1:
            walk_model_root(g->m, g->pcpu, g->vcpu, g->root, g->format, 0,
                            WALK_FLUSH);
            break;
        default:
            touch(g, address, g_rand_boolean(rand));
        }
    }
}

static void test_save(void)
{
    for (unsigned mode = 0; mode < WALK_MODES; mode++) {
        WalkConfig c = plain();
        GRand *rand = g_rand_new_with_seed(9), *again;
        g_autoptr(GVariant) state = NULL, one = NULL, two = NULL;
        Guest *g, *h;
        GHashTableIter iter;
        uint64_t *key, *value;
        char *why = NULL;
        int64_t cycles;

        c.vpid = 0;
        g = new_guest(&c, WALK_64, mode);
        h = new_guest(&c, WALK_64, WALK_NATIVE);
        go_on(g, rand);
        state = g_variant_ref_sink(walk_model_save(g->m));
        g_hash_table_iter_init(&iter, g->memory);
        while (g_hash_table_iter_next(&iter, (void **)&key, (void **)&value)) {
            *cell(h, *key) = *value;
        }
        h->next_table = g->next_table;
        g_assert_true(walk_model_load(h->m, state, &why));
        again = g_rand_copy(rand);
        cycles = g->cycles;
        h->cycles = cycles;
        go_on(g, rand);
        go_on(h, again);
        g_assert_cmpint(g->cycles, >, cycles);
        g_assert_cmpint(g->cycles, ==, h->cycles);
        one = g_variant_ref_sink(walk_model_save(g->m));
        two = g_variant_ref_sink(walk_model_save(h->m));
        g_assert_true(g_variant_equal(one, two));
        g_rand_free(rand);
        g_rand_free(again);
        free_guest(g);
        free_guest(h);
    }
}

static GVariant *saved(const Guest *g)
{
    return g_variant_ref_sink(walk_model_save(g->m));
}

static bool has(const Guest *g, unsigned pcpu)
{
    return walk_model_has(g->m, pcpu, 0, false, WALK_MAY_WRITE, ADDRESS);
}

/* The TLBs of PCPUs that both machines have stay; others begin with nothing. */
static void test_other_pcpus(void)
{
    WalkConfig c = plain();
    Guest *two = new_guest(&c, WALK_64, WALK_NESTED);
    Guest *four = new_guest_on(&c, WALK_64, WALK_NESTED, 4);
    g_autoptr(GVariant) of_two = NULL, of_four = NULL, again = NULL;
    char *why = NULL;

    map(two, ADDRESS, 0, 1, W);
    touch(two, ADDRESS, true);
    of_two = saved(two);
    g_assert_true(walk_model_load(four->m, of_two, &why));
    g_assert_true(has(four, 0) && !has(four, 1) && !has(four, 3));
    of_four = saved(four);
    g_assert_true(walk_model_load(two->m, of_four, &why));
    again = saved(two);
    g_assert_true(g_variant_equal(again, of_two));
    g_variant_unref(again);

    /* What a PCPU had before, which the state does not have, is gone. */
    map(four, ADDRESS, 0, 1, W);
    four->pcpu = 3;
    touch(four, ADDRESS, true);
    g_assert_true(has(four, 3));
    g_assert_true(walk_model_load(four->m, of_two, &why));
    again = saved(four);
    g_assert_true(g_variant_equal(again, of_four));
    free_guest(two);
    free_guest(four);
}

static void test_does_not_fit(void)
{
    WalkConfig c = plain(), other = plain();
    Guest *g = new_guest(&c, WALK_64, WALK_SHADOWED), *h;
    g_autoptr(GVariant) state = NULL, before = NULL, after = NULL;
    char *why = NULL;

    map(g, ADDRESS, 0, 1, W);
    touch(g, ADDRESS, true);
    state = g_variant_ref_sink(walk_model_save(g->m));
    other.prefetch = 5;
    h = new_guest(&other, WALK_64, WALK_NESTED);
    before = g_variant_ref_sink(walk_model_save(h->m));
    g_assert_false(walk_model_load(h->m, state, &why));
    g_assert_nonnull(strstr(why, "[shadow] prefetch"));
    after = g_variant_ref_sink(walk_model_save(h->m));
    g_assert_true(g_variant_equal(before, after));
    g_free(why);
    free_guest(g);
    free_guest(h);
}

/* Any bytes are loaded or refused, and then nothing has changed. */
static void test_damaged(void)
{
    WalkConfig c = plain();
    Guest *g;
    g_autoptr(GVariant) state = NULL;
    g_autofree uint8_t *bytes = NULL;
    GRand *rand = g_rand_new_with_seed(2);
    gsize size;

    for (unsigned i = 0; i < WALK_ARRAYS; i++) {
        if (c.tlb.array[i].entries) {
            c.tlb.array[i] = (WalkArrayConfig) { 4, 2,
                                                 c.tlb.array[i].holds };
        }
    }
    c.pages = 64;
    g = new_guest(&c, WALK_64, WALK_SHADOWED);
    go_on(g, rand);
    state = g_variant_ref_sink(walk_model_save(g->m));
    size = g_variant_get_size(state);
    bytes = g_malloc(size);
    for (unsigned n = 0; n < 3000; n++) {
        g_autoptr(GVariant) damaged = NULL, before = NULL, after = NULL;
        g_autofree char *why = NULL;
        bool loaded;

        g_variant_store(state, bytes);
        bytes[g_rand_int_range(rand, 0, size)] ^=
            1 << g_rand_int_range(rand, 0, 8);
        damaged = g_variant_ref_sink(g_variant_new_from_data(
            g_variant_get_type(state), bytes, size, false, NULL, NULL));
        before = g_variant_ref_sink(walk_model_save(g->m));
        loaded = walk_model_load(g->m, damaged, &why);
        g_assert_cmpint(loaded, ==, why == NULL);
        if (!loaded) {
            after = g_variant_ref_sink(walk_model_save(g->m));
            g_assert_true(g_variant_equal(before, after));
        }
    }
    g_rand_free(rand);
    free_guest(g);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/paging/references", test_references);
    g_test_add_func("/paging/pdptes", test_pdptes);
    g_test_add_func("/paging/walk-caches", test_walk_caches);
    g_test_add_func("/paging/accessed-and-dirty", test_accessed_and_dirty);
    g_test_add_func("/paging/dirty-in-second-level",
                    test_dirty_in_second_level);
    g_test_add_func("/paging/knows", test_knows);
    g_test_add_func("/paging/faults", test_faults);
    g_test_add_func("/paging/prefetch", test_prefetch);
    g_test_add_func("/paging/out-of-sync", test_out_of_sync);
    g_test_add_func("/paging/emulated", test_emulated);
    g_test_add_func("/paging/rights", test_rights);
    g_test_add_func("/paging/faults-forget", test_faults_forget);
    g_test_add_func("/paging/self-map", test_self_map);
    g_test_add_func("/paging/split", test_split);
    g_test_add_func("/paging/not-backed", test_not_backed);
    g_test_add_func("/paging/other-exits", test_other_exits);
    g_test_add_func("/paging/agile-references", test_agile_references);
    g_test_add_func("/paging/agile-caches", test_agile_caches);
    g_test_add_func("/paging/agile-scan", test_agile_scan);
    g_test_add_func("/paging/modes", test_modes);
    g_test_add_func("/paging/limit", test_limit);
    g_test_add_func("/paging/random-edits", test_random_edits);
    g_test_add_func("/paging/check-finds", test_check_finds);
    g_test_add_func("/paging/save", test_save);
    g_test_add_func("/paging/other-pcpus", test_other_pcpus);
    g_test_add_func("/paging/does-not-fit", test_does_not_fit);
    g_test_add_func("/paging/damaged", test_damaged);
    return g_test_run();
}
