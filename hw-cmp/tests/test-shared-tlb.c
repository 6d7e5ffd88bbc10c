/*
 * Unit tests of TLBs that VCPUs share: what goes with a VCPU and what stays,
 * demaps, VMs, and a naive model on random traces
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "../shared-tlb.h"

#define VCPUS 6
#define PCPUS 3

#define KB UINT64_C(1024)
#define SIZE(n) ((uint64_t)(n) << 61)
#define VALID SHARED_TLB_VALID
#define LOCKED SHARED_TLB_LOCKED
#define GLOBAL SHARED_TLB_GLOBAL
#define USED (UINT64_C(1) << 41)

#define CODE SHARED_TLB_CODE
#define DATA SHARED_TLB_DATA

typedef SharedTlbEntry Place[SHARED_TLB_SIDES][SHARED_TLB_ENTRIES];

/* The processors; a VCPU from 0 to 3 is of VM 0, others are of VM 1. */
typedef struct Machine {
    Place vcpu[VCPUS];
    unsigned changed[VCPUS], removed[VCPUS];
    SharedTlb *tlb;
} Machine;

static const int vms[VCPUS] = { 0, 0, 0, 0, 1, 1 };

static SharedTlbEntry *entries(void *opaque, unsigned vcpu, SharedTlbSide side)
{
    Machine *m = opaque;

    return m->vcpu[vcpu][side];
}

static void changed(void *opaque, unsigned vcpu)
{
    Machine *m = opaque;

    m->changed[vcpu]++;
}

static void remove_entry(void *opaque, unsigned vcpu, SharedTlbSide side,
                         unsigned number)
{
    Machine *m = opaque;

    m->removed[vcpu]++;
    m->vcpu[vcpu][side][number] = (SharedTlbEntry) { };
}

static Machine *machine_new_with(unsigned pcpus)
{
    Machine *m = g_new0(Machine, 1);
    SharedTlbHooks hooks = {
        .entries = entries,
        .changed = changed,
        .remove = remove_entry,
        .opaque = m,
    };

    m->tlb = shared_tlb_new(pcpus, VCPUS, vms, &hooks);
    return m;
}

static Machine *machine_new(void)
{
    return machine_new_with(PCPUS);
}

static void machine_free(Machine *m)
{
    shared_tlb_free(m->tlb);
    g_free(m);
}

static void put(Machine *m, unsigned vcpu, SharedTlbSide side, unsigned number,
                uint64_t address, unsigned context, uint64_t bits)
{
    m->vcpu[vcpu][side][number] = (SharedTlbEntry) {
        address | context, VALID | bits | (address & 0x1ffffffe000)
    };
}

static bool has(const Machine *m, unsigned vcpu, SharedTlbSide side,
                unsigned number, uint64_t address, unsigned context)
{
    const SharedTlbEntry *e = &m->vcpu[vcpu][side][number];

    return e->tte & VALID && e->tag == (address | context);
}

static bool has_none(const Machine *m, unsigned vcpu)
{
    static const Place none;

    return !memcmp(m->vcpu[vcpu], none, sizeof(none));
}

/* --- By hand --- */

static void test_locked_go_others_stay(void)
{
    Machine *m = machine_new();

    shared_tlb_switch(m->tlb, 0, 0);
    put(m, 0, DATA, 63, 0x400000, 0, LOCKED | SIZE(3));
    put(m, 0, DATA, 5, 0x10000, 7, USED);
    put(m, 0, CODE, 9, 0x20000, 7, 0);

    shared_tlb_switch(m->tlb, 0, 1);
    g_assert_true(has(m, 0, DATA, 63, 0x400000, 0));
    g_assert_false(has(m, 0, DATA, 5, 0x10000, 7));
    g_assert_false(has(m, 1, DATA, 63, 0x400000, 0));
    /* They keep their numbers, and their used bits. */
    g_assert_true(has(m, 1, DATA, 5, 0x10000, 7));
    g_assert_true(has(m, 1, CODE, 9, 0x20000, 7));
    g_assert_true(m->vcpu[1][DATA][5].tte & USED);
    g_assert_cmpint(shared_tlb_holder(m->tlb, 0), ==, 1);

    /* Another PCPU has nothing of this. */
    shared_tlb_switch(m->tlb, 1, 0);
    g_assert_true(has(m, 0, DATA, 63, 0x400000, 0));
    g_assert_false(has(m, 0, DATA, 5, 0x10000, 7));
    g_assert_cmpuint(shared_tlb_counters(m->tlb)->left, ==, 2);
    g_assert_cmpuint(shared_tlb_counters(m->tlb)->found, ==, 2);
    machine_free(m);
}

/* A VCPU that moves leaves its PCPU at once, though nobody comes there. */
static void test_move(void)
{
    Machine *m = machine_new();

    shared_tlb_switch(m->tlb, 0, 0);
    put(m, 0, DATA, 0, 0x10000, 7, 0);
    shared_tlb_switch(m->tlb, 1, 0);
    g_assert_true(has_none(m, 0));
    g_assert_cmpint(shared_tlb_holder(m->tlb, 0), ==, SHARED_TLB_NOBODY);
    g_assert_cmphex(shared_tlb_of_pcpu(m->tlb, 0, DATA)[0].tag, ==, 0x10007);
    shared_tlb_switch(m->tlb, 0, 0);
    g_assert_true(has(m, 0, DATA, 0, 0x10000, 7));
    g_assert_cmphex(shared_tlb_of_pcpu(m->tlb, 0, DATA)[0].tag, ==, 0);
    machine_free(m);
}

/* Who holds its PCPU and goes on there notices nothing. */
static void test_same_again(void)
{
    Machine *m = machine_new();
    unsigned before;

    shared_tlb_switch(m->tlb, 0, 0);
    put(m, 0, DATA, 0, 0x10000, 7, 0);
    before = m->changed[0];
    shared_tlb_switch(m->tlb, 0, 0);
    g_assert_cmpuint(m->changed[0], ==, before);
    g_assert_true(has(m, 0, DATA, 0, 0x10000, 7));
    machine_free(m);
}

/*
 * An entry that stayed goes where the next VCPU has a locked one: in its place,
 * or at its addresses.
 */
static void test_covered(void)
{
    Machine *m = machine_new();

    put(m, 1, DATA, 63, 0x400000, 0, LOCKED | SIZE(3));    /* to 0x7fffff */
    shared_tlb_switch(m->tlb, 0, 0);
    put(m, 0, DATA, 63, 0x10000, 7, 0);             /* in its place */
    put(m, 0, DATA, 0, 0x7fe000, 0, 0);             /* at its last page */
    put(m, 0, DATA, 1, 0x800000, 0, 0);             /* beyond it */
    put(m, 0, DATA, 2, 0x400000, 7, 0);             /* of another context */
    put(m, 0, DATA, 3, 0x400000, 7, GLOBAL);        /* of all contexts */
    put(m, 0, CODE, 4, 0x400000, 0, 0);             /* of the other side */
    shared_tlb_switch(m->tlb, 0, 1);
    g_assert_true(has(m, 1, DATA, 63, 0x400000, 0));
    g_assert_false(has(m, 1, DATA, 0, 0x7fe000, 0));
    g_assert_true(has(m, 1, DATA, 1, 0x800000, 0));
    g_assert_true(has(m, 1, DATA, 2, 0x400000, 7));
    g_assert_false(has(m, 1, DATA, 3, 0x400000, 7));
    g_assert_true(has(m, 1, CODE, 4, 0x400000, 0));
    g_assert_cmpuint(shared_tlb_counters(m->tlb)->covered, ==, 3);
    machine_free(m);
}

static void test_other_vm(void)
{
    Machine *m = machine_new();

    shared_tlb_switch(m->tlb, 0, 0);
    put(m, 0, DATA, 0, 0x10000, 7, 0);
    put(m, 0, CODE, 1, 0x10000, 7, GLOBAL);
    put(m, 0, CODE, 2, 0x20000, 0, LOCKED);
    shared_tlb_switch(m->tlb, 0, 4);
    g_assert_true(has_none(m, 4));
    g_assert_cmpuint(shared_tlb_counters(m->tlb)->emptied, ==, 2);
    shared_tlb_switch(m->tlb, 0, 0);
    g_assert_false(has(m, 0, DATA, 0, 0x10000, 7));
    g_assert_true(has(m, 0, CODE, 2, 0x20000, 0));
    machine_free(m);
}

/*
 * VCPU 0 left entries on PCPU 0, where VCPU 1 holds them now, and on PCPU 1,
 * which nobody holds; it executes on PCPU 2.
 */
static Machine *spread(void)
{
    Machine *m = machine_new();

    for (unsigned p = 0; p < PCPUS; p++) {
        shared_tlb_switch(m->tlb, p, 0);
        put(m, 0, DATA, 0, 0x10000, 7, 0);
        put(m, 0, DATA, 1, 0x12000, 7, 0);
        put(m, 0, DATA, 2, 0x10000, 8, 0);
        put(m, 0, DATA, 3, 0x30000, 7, GLOBAL | SIZE(1));   /* 64 kB */
        put(m, 0, CODE, 0, 0x10000, 7, 0);
    }
    put(m, 1, DATA, 60, 0x10000, 7, LOCKED);
    shared_tlb_switch(m->tlb, 0, 2);
    shared_tlb_switch(m->tlb, 0, 1);
    put(m, 1, DATA, 0, 0x14000, 7, 0);      /* its place was covered */
    return m;
}

static uint64_t tag(const Machine *m, unsigned number)
{
    return shared_tlb_of_pcpu(m->tlb, 1, DATA)[number].tag;
}

static void test_demap_page(void)
{
    Machine *m = spread();
    SharedTlbDemap d = { .side = DATA, .address = 0x12000, .context = 7 };

    shared_tlb_demap(m->tlb, 0, &d);
    g_assert_cmphex(tag(m, 1), ==, 0);
    g_assert_false(has(m, 1, DATA, 1, 0x12000, 7));
    g_assert_cmpuint(m->removed[1], ==, 1);
    /* What it has itself, it has demapped before that. */
    g_assert_true(has(m, 0, DATA, 1, 0x12000, 7));
    g_assert_cmphex(tag(m, 0), ==, 0x10007);
    g_assert_cmpuint(shared_tlb_counters(m->tlb)->demapped, ==, 2);

    /* Locked ones are the other VCPU's own. */
    d.address = 0x10000;
    shared_tlb_demap(m->tlb, 0, &d);
    g_assert_cmphex(tag(m, 0), ==, 0);
    g_assert_cmphex(tag(m, 2), ==, 0x10008);
    g_assert_true(has(m, 1, DATA, 60, 0x10000, 7));
    g_assert_cmphex(shared_tlb_of_pcpu(m->tlb, 1, CODE)[0].tag, ==, 0x10007);

    /* Of a global one, the context does not count; the page has 64 kB. */
    d.address = 0x3e000;
    d.context = 9;
    shared_tlb_demap(m->tlb, 0, &d);
    g_assert_cmphex(tag(m, 3), ==, 0);
    machine_free(m);
}

static void test_demap_context(void)
{
    Machine *m = spread();
    SharedTlbDemap d = { .side = DATA, .whole = true, .context = 7 };

    shared_tlb_demap(m->tlb, 0, &d);
    g_assert_cmphex(tag(m, 0), ==, 0);
    g_assert_cmphex(tag(m, 1), ==, 0);
    g_assert_cmphex(tag(m, 2), ==, 0x10008);
    g_assert_cmphex(tag(m, 3), ==, 0x30007);        /* global: stays */
    g_assert_true(has(m, 1, DATA, 60, 0x10000, 7));
    g_assert_true(has(m, 1, DATA, 2, 0x10000, 8));
    g_assert_false(has(m, 1, DATA, 0, 0x14000, 7));
    machine_free(m);
}

static void test_demap_of_another_vm(void)
{
    Machine *m = spread();
    SharedTlbDemap d = { .side = DATA, .whole = true, .context = 7 };

    shared_tlb_switch(m->tlb, 2, 4);
    shared_tlb_demap(m->tlb, 4, &d);
    g_assert_cmphex(tag(m, 0), ==, 0x10007);
    g_assert_cmpuint(m->removed[1], ==, 0);
    machine_free(m);
}

/* Software that writes an invalid entry to each number has emptied the TLB. */
static void test_clear(void)
{
    Machine *m = spread();

    for (unsigned i = 0; i < SHARED_TLB_ENTRIES; i++) {
        shared_tlb_clear(m->tlb, 0, DATA, i);
    }
    for (unsigned i = 0; i < SHARED_TLB_ENTRIES; i++) {
        g_assert_cmphex(tag(m, i), ==, 0);
        g_assert_true(i == 60 || !(m->vcpu[1][DATA][i].tte & VALID));
    }
    g_assert_true(has(m, 1, DATA, 60, 0x10000, 7));
    g_assert_cmphex(shared_tlb_of_pcpu(m->tlb, 1, CODE)[0].tag, ==, 0x10007);
    machine_free(m);
}

/* A VCPU has what it has written last, wherever it comes to. */
static void test_last_comes_along(void)
{
    Machine *m = machine_new();
    SharedTlbDemap d = { .side = DATA, .address = 0x12000, .context = 7 };

    shared_tlb_switch(m->tlb, 0, 0);
    put(m, 0, DATA, 4, 0x10000, 7, 0);
    shared_tlb_written(m->tlb, 0, DATA, 4);
    put(m, 0, DATA, 5, 0x12000, 7, 0);
    shared_tlb_written(m->tlb, 0, DATA, 5);
    put(m, 0, CODE, 6, 0x10000, 7, 0);
    shared_tlb_written(m->tlb, 0, CODE, 6);
    shared_tlb_switch(m->tlb, 1, 0);
    g_assert_false(has(m, 0, DATA, 4, 0x10000, 7));
    g_assert_true(has(m, 0, DATA, 5, 0x12000, 7));
    g_assert_true(has(m, 0, CODE, 6, 0x10000, 7));
    g_assert_cmpuint(shared_tlb_counters(m->tlb)->brought, ==, 2);

    /* Not if another VCPU demaps it on the way; what is there is not new. */
    shared_tlb_switch(m->tlb, 1, 1);
    shared_tlb_demap(m->tlb, 1, &d);
    shared_tlb_switch(m->tlb, 2, 0);
    g_assert_false(has(m, 0, DATA, 5, 0x12000, 7));
    g_assert_true(has(m, 0, CODE, 6, 0x10000, 7));
    g_assert_cmpuint(shared_tlb_counters(m->tlb)->brought, ==, 3);
    shared_tlb_switch(m->tlb, 0, 0);
    g_assert_cmpuint(shared_tlb_counters(m->tlb)->brought, ==, 3);

    /* Nor if another VCPU empties that number. */
    shared_tlb_switch(m->tlb, 0, 2);
    shared_tlb_clear(m->tlb, 2, CODE, 6);
    shared_tlb_switch(m->tlb, 1, 0);
    g_assert_false(has(m, 0, CODE, 6, 0x10000, 7));
    machine_free(m);
}

/* Where the new PCPU has that page, or the VCPU a locked entry, that holds. */
static void test_last_is_not_new(void)
{
    Machine *m = machine_new();

    shared_tlb_switch(m->tlb, 1, 1);
    put(m, 1, DATA, 9, 0x10000, 7, SIZE(1));
    shared_tlb_switch(m->tlb, 0, 0);
    put(m, 0, DATA, 4, 0x12000, 7, 0);
    shared_tlb_written(m->tlb, 0, DATA, 4);
    shared_tlb_switch(m->tlb, 1, 0);
    g_assert_true(has(m, 0, DATA, 9, 0x10000, 7));
    g_assert_false(has(m, 0, DATA, 4, 0x12000, 7));

    put(m, 0, DATA, 4, 0x20000, 7, 0);
    shared_tlb_switch(m->tlb, 2, 1);
    shared_tlb_switch(m->tlb, 1, 2);
    put(m, 0, DATA, 4, 0x400000, 0, LOCKED);
    shared_tlb_switch(m->tlb, 2, 0);
    g_assert_true(has(m, 0, DATA, 4, 0x400000, 0));
    g_assert_cmpuint(shared_tlb_counters(m->tlb)->brought, ==, 0);
    machine_free(m);
}

/* --- Against a naive model --- */

/*
 * It has no places: a PCPU has a list of what its VM's VCPUs put there, a VCPU
 * a list of what is locked.  A VCPU sees both lists.  What it has put there
 * last comes along, if the PCPU still has it when the VCPU leaves.  Pages are
 * such that they never overlap but if they are the same, so a VCPU never has a
 * locked entry for a page of which another one is not locked.
 */
typedef struct Naive {
    GHashTable *pcpu[PCPUS], *locked[VCPUS];    /* tag -> itself */
    int vm[PCPUS], where[VCPUS];
    uint64_t last[VCPUS];                       /* tag; 0: none */
    bool carried[VCPUS];                        /* it comes along */
} Naive;

static Naive *naive_new(void)
{
    Naive *n = g_new0(Naive, 1);

    for (unsigned p = 0; p < PCPUS; p++) {
        n->pcpu[p] = g_hash_table_new(NULL, NULL);
        n->vm[p] = -1;
    }
    for (unsigned v = 0; v < VCPUS; v++) {
        n->locked[v] = g_hash_table_new(NULL, NULL);
        n->where[v] = -1;
    }
    return n;
}

static void naive_free(Naive *n)
{
    for (unsigned p = 0; p < PCPUS; p++) {
        g_hash_table_unref(n->pcpu[p]);
    }
    for (unsigned v = 0; v < VCPUS; v++) {
        g_hash_table_unref(n->locked[v]);
    }
    g_free(n);
}

static void naive_leave(Naive *n, unsigned v)
{
    n->carried[v] = n->last[v] &&
                    g_hash_table_contains(n->pcpu[n->where[v]],
                                          GSIZE_TO_POINTER(n->last[v]));
    n->where[v] = -1;
}

static void naive_switch(Naive *n, unsigned pcpu, unsigned vcpu)
{
    if (n->where[vcpu] == (int)pcpu) {
        return;
    }
    for (unsigned v = 0; v < VCPUS; v++) {
        if (n->where[v] >= 0 && (n->where[v] == (int)pcpu || v == vcpu)) {
            naive_leave(n, v);
        }
    }
    n->where[vcpu] = pcpu;
    if (n->vm[pcpu] != vms[vcpu]) {
        g_hash_table_remove_all(n->pcpu[pcpu]);
        n->vm[pcpu] = vms[vcpu];
    }
    if (n->carried[vcpu]) {
        g_hash_table_add(n->pcpu[pcpu], GSIZE_TO_POINTER(n->last[vcpu]));
        n->carried[vcpu] = false;
    }
}

static gboolean is_demapped(gpointer key, gpointer value, gpointer opaque)
{
    const SharedTlbDemap *d = opaque;
    uint64_t t = GPOINTER_TO_SIZE(key);

    return (t & SHARED_TLB_CONTEXT) == d->context &&
           (d->whole || (t & ~SHARED_TLB_CONTEXT) == d->address);
}

static void naive_demap(Naive *n, unsigned vcpu, const SharedTlbDemap *d)
{
    for (unsigned p = 0; p < PCPUS; p++) {
        if (n->vm[p] == vms[vcpu]) {
            g_hash_table_foreach_remove(n->pcpu[p], is_demapped, (void *)d);
        }
    }
    g_hash_table_foreach_remove(n->locked[vcpu], is_demapped, (void *)d);
    for (unsigned v = 0; v < VCPUS; v++) {
        if (vms[v] == vms[vcpu] &&
            is_demapped(GSIZE_TO_POINTER(n->last[v]), NULL, (void *)d)) {
            n->carried[v] = false;
        }
    }
}

static bool naive_sees(const Naive *n, unsigned vcpu, uint64_t t)
{
    return g_hash_table_contains(n->locked[vcpu], GSIZE_TO_POINTER(t)) ||
           (n->where[vcpu] >= 0 &&
            g_hash_table_contains(n->pcpu[n->where[vcpu]],
                                  GSIZE_TO_POINTER(t)));
}

static bool machine_sees(const Machine *m, unsigned vcpu, uint64_t t)
{
    for (unsigned i = 0; i < SHARED_TLB_ENTRIES; i++) {
        const SharedTlbEntry *e = &m->vcpu[vcpu][DATA][i];

        if (e->tte & VALID && e->tag == t) {
            return true;
        }
    }
    return false;
}

#define PAGES 8
#define CONTEXTS 4

/* Of a VCPU, the page with its number is locked, in context 0. */
static uint64_t tag_of(unsigned page, unsigned context)
{
    return page * 8 * KB | context;
}

static void compare(const Machine *m, const Naive *n)
{
    for (unsigned v = 0; v < VCPUS; v++) {
        for (unsigned i = 0; i < (PAGES + VCPUS) * CONTEXTS; i++) {
            uint64_t t = tag_of(i / CONTEXTS, i % CONTEXTS);

            g_assert_cmpint(machine_sees(m, v, t), ==, naive_sees(n, v, t));
        }
    }
}

/* The processor itself: what it does to its own entries */
static void own_demap(Machine *m, unsigned vcpu, const SharedTlbDemap *d)
{
    for (unsigned i = 0; i < SHARED_TLB_ENTRIES; i++) {
        SharedTlbEntry *e = &m->vcpu[vcpu][DATA][i];

        if (e->tte & VALID &&
            is_demapped(GSIZE_TO_POINTER(e->tag), NULL, (void *)d)) {
            *e = (SharedTlbEntry) { };
        }
    }
}

static void step(Machine *m, Naive *n, GRand *r)
{
    unsigned v = g_rand_int_range(r, 0, VCPUS);
    unsigned page = g_rand_int_range(r, 1, PAGES);
    unsigned context = g_rand_int_range(r, 0, CONTEXTS);
    SharedTlbDemap d = {
        .side = DATA,
        .whole = g_rand_int_range(r, 0, 4) == 0,
        .address = page * 8 * KB,
        .context = context,
    };

    if (n->where[v] < 0 || g_rand_int_range(r, 0, 8) == 0) {
        unsigned p = g_rand_int_range(r, 0, PCPUS);

        shared_tlb_switch(m->tlb, p, v);
        naive_switch(n, p, v);
    }
    switch (g_rand_int_range(r, 0, 10)) {
    case 0:
        own_demap(m, v, &d);
        shared_tlb_demap(m->tlb, v, &d);
        naive_demap(n, v, &d);
        break;
    case 1:                     /* a page of its own that is locked */
        put(m, v, DATA, SHARED_TLB_ENTRIES - 1 - v, (PAGES + v) * 8 * KB, 0,
            LOCKED);
        g_hash_table_add(n->locked[v],
                         GSIZE_TO_POINTER(tag_of(PAGES + v, 0)));
        break;
    default:                    /* each page of a context has a number */
        put(m, v, DATA, page * CONTEXTS + context, page * 8 * KB, context, 0);
        shared_tlb_written(m->tlb, v, DATA, page * CONTEXTS + context);
        n->last[v] = tag_of(page, context);
        g_hash_table_add(n->pcpu[n->where[v]],
                         GSIZE_TO_POINTER(tag_of(page, context)));
    }
}

/* Everything into another machine, as a saved state does it */
static Machine *copy(const Machine *m)
{
    Machine *to = machine_new();
    g_autoptr(GVariant) state = g_variant_ref_sink(shared_tlb_save(m->tlb));
    g_autofree char *why = NULL;

    memcpy(to->vcpu, m->vcpu, sizeof(to->vcpu));
    g_assert_true(shared_tlb_load(to->tlb, state, &why));
    return to;
}

static void test_random(void)
{
    GRand *r = g_rand_new_with_seed(1);
    Machine *m = machine_new();
    Naive *n = naive_new();

    for (unsigned i = 0; i < 50000; i++) {
        step(m, n, r);
        if (i % 10 == 0) {
            compare(m, n);
        }
        if (i % 1000 == 0) {
            Machine *other = copy(m);

            g_assert_cmpuint(shared_tlb_counters(m->tlb)->left, ==,
                             shared_tlb_counters(other->tlb)->left);
            machine_free(m);
            m = other;
        }
    }
    g_assert_cmpuint(shared_tlb_counters(m->tlb)->demapped, >, 0);
    g_assert_cmpuint(shared_tlb_counters(m->tlb)->emptied, >, 0);
    machine_free(m);
    naive_free(n);
    g_rand_free(r);
}

/* --- States --- */

/* Fewer PCPUs: who held one that is not there keeps its locked entries. */
static void test_fewer_pcpus(void)
{
    Machine *m = spread(), *few = machine_new_with(1);
    g_autoptr(GVariant) state = NULL;
    g_autofree char *why = NULL;

    put(m, 0, DATA, 61, 0x50000, 0, LOCKED);
    state = g_variant_ref_sink(shared_tlb_save(m->tlb));
    memcpy(few->vcpu, m->vcpu, sizeof(few->vcpu));
    g_assert_true(shared_tlb_load(few->tlb, state, &why));
    g_assert_false(has(few, 0, DATA, 1, 0x12000, 7));
    g_assert_true(has(few, 0, DATA, 61, 0x50000, 0));
    g_assert_true(has(few, 1, DATA, 1, 0x12000, 7));
    g_assert_cmpint(shared_tlb_holder(few->tlb, 0), ==, 1);
    machine_free(m);
    machine_free(few);
}

/* Each is one of PCPUs, and of the two sides of the first VCPU. */
static const char *const impossible[][2] = {
    { "(0, 1, [])", "(-1, 0, 0)" },                     /* not its VM */
    { "(6, 0, [])", "(-1, 0, 0)" },                     /* no such VCPU */
    { "(-2, 0, [])", "(-1, 0, 0)" },
    { "(-1, 2, [])", "(-1, 0, 0)" },                    /* no such VM */
    { "(0, 0, []), (0, 0, [])", "(-1, 0, 0)" },         /* in two places */
    /* held, and with entries; of nobody; twice the same place */
    { "(0, 0, [(1, 0, 0x8000000000000000)])", "(-1, 0, 0)" },
    { "(-1, -1, [(1, 0, 0x8000000000000000)])", "(-1, 0, 0)" },
    { "(-1, 0, [(1, 0, 0x8000000000000000), (1, 0, 0x8000000000000000)])",
      "(-1, 0, 0)" },
    /* no such place; not valid; locked */
    { "(-1, 0, [(128, 0, 0x8000000000000000)])", "(-1, 0, 0)" },
    { "(-1, 0, [(1, 0, 0)])", "(-1, 0, 0)" },
    { "(-1, 0, [(1, 0, 0x8000000000000040)])", "(-1, 0, 0)" },
    /* no such number; more VCPUs; not valid; locked; without a number */
    { "(-1, -1, [])", "(64, 0, 0)" },
    { "(-1, -1, [])", "(-2, 0, 0)" },
    { "(-1, -1, [])", "(-1, 0, 0), (-1, 0, 0)" },
    { "(-1, -1, [])", "(1, 0, 1)" },
    { "(-1, -1, [])", "(1, 0, 0x8000000000000040)" },
    { "(-1, -1, [])", "(-1, 0, 0x8000000000000000)" },
};

static GVariant *state_of(const char *pcpus, const char *first)
{
    g_autoptr(GString) text = g_string_new(NULL);
    GVariant *state;

    g_string_append_printf(text, "([%s], [%s", pcpus, first);
    for (unsigned i = 1; i < VCPUS * SHARED_TLB_SIDES; i++) {
        g_string_append(text, ", (-1, 0, 0)");
    }
    g_string_append(text, "], (0, 0, 0, 0, 0, 0))");
    state = g_variant_parse(G_VARIANT_TYPE(SHARED_TLB_STATE), text->str, NULL,
                            NULL, NULL);
    g_assert_nonnull(state);
    return state;
}

static void test_impossible_states(void)
{
    Machine *m = spread();
    g_autoptr(GVariant) before = g_variant_ref_sink(shared_tlb_save(m->tlb));
    g_autoptr(GVariant) possible = state_of("(-1, -1, [])", "(-1, 0, 0)");
    g_autofree char *nothing = NULL;

    for (unsigned i = 0; i < G_N_ELEMENTS(impossible); i++) {
        g_autoptr(GVariant) state = state_of(impossible[i][0],
                                             impossible[i][1]);
        g_autoptr(GVariant) after = NULL;
        g_autofree char *why = NULL;

        g_assert_false(shared_tlb_load(m->tlb, state, &why));
        g_assert_nonnull(why);
        after = g_variant_ref_sink(shared_tlb_save(m->tlb));
        g_assert_true(g_variant_equal(before, after));
    }
    g_assert_true(shared_tlb_load(m->tlb, possible, &nothing));
    machine_free(m);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/shared-tlb/locked-go-others-stay",
                    test_locked_go_others_stay);
    g_test_add_func("/shared-tlb/move", test_move);
    g_test_add_func("/shared-tlb/same-again", test_same_again);
    g_test_add_func("/shared-tlb/covered", test_covered);
    g_test_add_func("/shared-tlb/other-vm", test_other_vm);
    g_test_add_func("/shared-tlb/demap-page", test_demap_page);
    g_test_add_func("/shared-tlb/demap-context", test_demap_context);
    g_test_add_func("/shared-tlb/demap-of-another-vm",
                    test_demap_of_another_vm);
    g_test_add_func("/shared-tlb/clear", test_clear);
    g_test_add_func("/shared-tlb/last-comes-along", test_last_comes_along);
    g_test_add_func("/shared-tlb/last-is-not-new", test_last_is_not_new);
    g_test_add_func("/shared-tlb/random", test_random);
    g_test_add_func("/shared-tlb/fewer-pcpus", test_fewer_pcpus);
    g_test_add_func("/shared-tlb/impossible-states", test_impossible_states);
    return g_test_run();
}
