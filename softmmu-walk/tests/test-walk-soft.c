/*
 * Unit tests of paging where software fills TLBs: references and exits by hand,
 * page faults, the table of finished entries, states
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "walk-model.h"
#include "walk-soft.h"

#define VALID (UINT64_C(1) << 63)
#define SIZE(n) ((uint64_t)(n) << 61)

#define MISS 600
#define INSERT 800
#define DEMAP 400
#define BACK 300
#define REFERENCE 5

/* VCPUs 0 and 1 are of VM 0, VCPU 2 of VM 1; nothing of the host is cached. */
static WalkModel *model_new(WalkMode mode, unsigned nested)
{
    static const unsigned vm[] = { 0, 0, 1 };
    WalkMachine machine = {
        .pcpus = 2,
        .vcpus = 3,
        .vms = 2,
        .vm = vm,
        .table_base = UINT64_C(1) << 53,
    };
    WalkHooks hooks = {};
    WalkConfig c;

    walk_config_default(&c);
    c.vpid = 1;
    c.reference = REFERENCE;
    c.exit[WALK_EXIT_HIDDEN] = MISS;
    c.exit[WALK_EXIT_EMULATE] = INSERT;
    c.exit[WALK_EXIT_INVLPG] = DEMAP;
    c.exit[WALK_EXIT_NOT_BACKED] = BACK;
    for (unsigned level = 2; level <= WALK_LEVELS; level++) {
        c.cache.host[level] = 0;
    }
    c.cache.nested = nested;
    c.shadow_levels = 3;
    c.pages = 64;
    return walk_model_new(&c, &machine, &hooks, mode);
}

static WalkCounters counters(const WalkModel *m)
{
    WalkCounters user, all;

    walk_model_of_vm(m, 0, true, &user);
    walk_model_of_vm(m, 0, false, &all);
    all.faults += user.faults;
    all.misses[WALK_DATA] += user.misses[WALK_DATA];
    return all;
}

static WalkSoftEntry entry_of(uint64_t address, unsigned context, uint64_t bits)
{
    return (WalkSoftEntry) {
        address | context, VALID | bits | (address & WALK_SOFT_PA)
    };
}

/* A miss for data of VCPU @vcpu, on the PCPU with its number modulo 2 */
static bool miss_at(WalkModel *m, unsigned vcpu, unsigned level,
                    uint64_t address, unsigned context, int64_t *cycles,
                    WalkSoftEntry *entry)
{
    WalkMiss miss = {
        .pcpu = vcpu % 2,
        .vcpu = vcpu,
        .user = !level,
        .trap_level = level,
        .address = address,
        .context = context,
    };

    return walk_soft_miss(m, &miss, entry, cycles);
}

static bool miss(WalkModel *m, unsigned vcpu, uint64_t address,
                 unsigned context, int64_t *cycles)
{
    WalkSoftEntry e;

    return miss_at(m, vcpu, 0, address, context, cycles, &e);
}

static int64_t insert(WalkModel *m, unsigned vcpu, uint64_t address,
                      unsigned context, uint64_t bits)
{
    WalkSoftEntry e = entry_of(address, context, bits);

    return walk_soft_insert(m, vcpu % 2, vcpu, false, false, &e);
}

/* --- Costs --- */

static void test_native(void)
{
    WalkModel *m = model_new(WALK_NATIVE, 16);
    int64_t cycles;

    g_assert_false(miss(m, 0, 0x10000, 7, &cycles));
    g_assert_cmpint(cycles, ==, 0);
    g_assert_cmpint(walk_soft_real(m, 0, 0, false, 0x8000), ==, 0);
    g_assert_cmpint(insert(m, 0, 0x10000, 7, 0), ==, 0);
    g_assert_cmpint(walk_soft_demap(m, 0, 0, false, false, 0x10000, 7), ==, 0);
    g_assert_cmpuint(counters(m).misses[WALK_DATA], ==, 1);
    g_assert_cmpuint(counters(m).faults, ==, 0);
    walk_model_free(m);
}

/*
 * A handler that reads three entries of the guest's tables by their real
 * addresses, two of them in one page, and inserts one: 4 levels of the host's
 * for each, and 4 for the page.  With a nested TLB the second one costs
 * nothing; the page itself is never in there.
 */
static void test_nested(void)
{
    for (unsigned nested = 0; nested <= 16; nested += 16) {
        WalkModel *m = model_new(WALK_NESTED, nested);
        int64_t cycles, real = 4 * REFERENCE;

        g_assert_false(miss(m, 0, 0x10000, 7, &cycles));
        g_assert_cmpint(cycles, ==, 0);
        g_assert_cmpint(walk_soft_real(m, 0, 0, false, 0x8000), ==, real);
        g_assert_cmpint(walk_soft_real(m, 0, 0, false, 0x8ff8), ==,
                        nested ? 0 : real);
        g_assert_cmpint(walk_soft_real(m, 0, 0, false, 0x9000), ==, real);
        g_assert_cmpint(insert(m, 0, 0x10000, 7, 0), ==, real);
        g_assert_cmpint(insert(m, 0, 0x10000, 7, 0), ==, real);
        g_assert_cmpint(walk_soft_demap(m, 0, 0, false, false, 0x10000, 7), ==,
                        0);
        g_assert_cmpuint(counters(m).references[WALK_HOST], ==,
                         nested ? 16 : 20);
        g_assert_cmpuint(counters(m).references[WALK_GUEST], ==, 0);
        g_assert_cmpuint(counters(m).nested_hits, ==, nested / 16);
        walk_model_free(m);
    }
}

/*
 * The first miss walks 3 levels and exits, and its entry exits again; any other
 * miss of the VM's for that page walks 3 levels and hears nothing.
 */
static void test_shadow(void)
{
    WalkModel *m = model_new(WALK_SHADOWED, 16);
    const int64_t walk = 3 * REFERENCE;
    WalkSoftEntry e;
    int64_t cycles;

    g_assert_false(miss(m, 0, 0x10000, 7, &cycles));
    g_assert_cmpint(cycles, ==, walk + MISS);
    g_assert_cmpint(walk_soft_real(m, 0, 0, false, 0x8000), ==, 0);
    g_assert_cmpint(insert(m, 0, 0x10000, 7, 2), ==, INSERT);
    g_assert_true(miss_at(m, 1, 0, 0x11ff8, 7, &cycles, &e));
    g_assert_cmpint(cycles, ==, walk);
    g_assert_cmphex(e.tag, ==, 0x10007);
    g_assert_cmphex(e.tte, ==, VALID | 0x10002);
    /* Another context, another page, another VM, the other side */
    g_assert_false(miss(m, 0, 0x10000, 8, &cycles));
    g_assert_false(miss(m, 0, 0x12000, 7, &cycles));
    g_assert_false(miss(m, 2, 0x10000, 7, &cycles));
    g_assert_false(walk_soft_miss(m, &(WalkMiss) {
        .code = true, .address = 0x10000, .context = 7,
    }, &e, &cycles));

    g_assert_cmpint(walk_soft_demap(m, 1, 1, false, false, 0x10000, 7), ==,
                    DEMAP);
    g_assert_false(miss(m, 0, 0x10000, 7, &cycles));
    g_assert_cmpuint(counters(m).exits[WALK_EXIT_EMULATE], ==, 1);
    g_assert_cmpuint(counters(m).exits[WALK_EXIT_INVLPG], ==, 1);
    g_assert_cmpuint(counters(m).filled, ==, 1);

    /* What is locked never misses, and is not kept. */
    g_assert_cmpint(insert(m, 0, 0x20000, 0, WALK_SOFT_LOCKED), ==, INSERT);
    g_assert_cmpuint(walk_soft_entries(m, 0), ==, 0);
    walk_model_free(m);
}

/* Another mode: the table goes. */
static void test_modes(void)
{
    WalkModel *m = model_new(WALK_SHADOWED, 16);
    int64_t cycles;

    insert(m, 0, 0x10000, 7, 0);
    g_assert_cmpuint(walk_soft_entries(m, 0), ==, 1);
    walk_model_set_mode(m, 0, WALK_NESTED);
    walk_model_set_mode(m, 0, WALK_SHADOWED);
    g_assert_cmpuint(walk_soft_entries(m, 0), ==, 0);
    g_assert_false(miss(m, 0, 0x10000, 7, &cycles));

    insert(m, 0, 0x10000, 7, 0);
    g_assert_cmpint(walk_soft_clear(m, 0, 0), ==, DEMAP);
    g_assert_cmpuint(walk_soft_entries(m, 0), ==, 0);
    walk_model_free(m);
}

/* --- Page faults --- */

/*
 * A miss whose handler inserts no entry is one, which the next miss at its
 * level or below shows.
 */
static void test_faults(void)
{
    WalkModel *m = model_new(WALK_NATIVE, 16);
    WalkSoftEntry e;
    int64_t cycles;

    miss(m, 0, 0x10000, 7, &cycles);
    insert(m, 0, 0x10000, 7, 0);
    miss(m, 0, 0x12000, 7, &cycles);            /* a fault */
    g_assert_cmpuint(counters(m).faults, ==, 0);
    /* Its kernel misses and gets an entry; then it is repeated. */
    miss(m, 0, 0x40000000, 0, &cycles);
    g_assert_cmpuint(counters(m).faults, ==, 1);
    insert(m, 0, 0x40000000, 0, 0);
    miss(m, 0, 0x12000, 7, &cycles);
    /* The handler misses, for a table, and gets that; then it inserts. */
    miss_at(m, 0, 1, 0x50000000, 0, &cycles, &e);
    insert(m, 0, 0x50000000, 0, 0);
    insert(m, 0, 0x12000, 7, 0);
    miss(m, 0, 0x14000, 7, &cycles);
    g_assert_cmpuint(counters(m).faults, ==, 1);
    /* The handler's own miss leads to the fault path: both are faults. */
    miss_at(m, 0, 1, 0x60000, 7, &cycles, &e);
    miss(m, 0, 0x40000000, 0, &cycles);
    g_assert_cmpuint(counters(m).faults, ==, 3);
    /* An entry for another page, or of the other side, is not the one. */
    insert(m, 0, 0x40002000, 0, 0);
    miss(m, 0, 0x16000, 7, &cycles);
    g_assert_cmpuint(counters(m).faults, ==, 4);
    /* Of another VCPU nothing is known. */
    insert(m, 1, 0x16000, 7, 0);
    miss(m, 0, 0x18000, 7, &cycles);
    g_assert_cmpuint(counters(m).faults, ==, 5);
    walk_model_free(m);
}

/* --- The table --- */

static void test_table(void)
{
    WalkSoftTable *t = walk_soft_table_new(4);
    WalkSoftEntry small = entry_of(0x10000, 7, 0);
    WalkSoftEntry large = entry_of(0x400000, 7, SIZE(3));   /* 4 MB */
    WalkSoftEntry global = entry_of(0x20000, 9, WALK_SOFT_GLOBAL);

    walk_soft_table_put(t, WALK_DATA, &small);
    walk_soft_table_put(t, WALK_DATA, &large);
    walk_soft_table_put(t, WALK_DATA, &global);
    g_assert_nonnull(walk_soft_table_find(t, WALK_DATA, 0x7fffff, 7));
    g_assert_null(walk_soft_table_find(t, WALK_DATA, 0x800000, 7));
    g_assert_null(walk_soft_table_find(t, WALK_CODE, 0x10000, 7));
    g_assert_nonnull(walk_soft_table_find(t, WALK_DATA, 0x20000, 3));

    walk_soft_table_demap(t, WALK_DATA, true, 0, 7);
    g_assert_null(walk_soft_table_find(t, WALK_DATA, 0x10000, 7));
    g_assert_null(walk_soft_table_find(t, WALK_DATA, 0x400000, 7));
    g_assert_nonnull(walk_soft_table_find(t, WALK_DATA, 0x20000, 3));
    g_assert_cmpuint(walk_soft_table_entries(t), ==, 1);
    walk_soft_table_demap(t, WALK_DATA, false, 0x20000, 3);
    g_assert_cmpuint(walk_soft_table_entries(t), ==, 0);

    /* Four fit; the same again is none more; a fifth one empties it. */
    for (unsigned i = 0; i < 8; i++) {
        WalkSoftEntry e = entry_of(i % 4 * 0x2000, 1, 0);

        walk_soft_table_put(t, WALK_DATA, &e);
    }
    g_assert_cmpuint(walk_soft_table_entries(t), ==, 4);
    walk_soft_table_put(t, WALK_DATA, &small);
    g_assert_cmpuint(walk_soft_table_entries(t), ==, 1);
    walk_soft_table_free(t);
}

/* Random entries against a list */
static void test_random(void)
{
    GRand *r = g_rand_new_with_seed(1);
    WalkSoftTable *t = walk_soft_table_new(100000);
    static bool has[2][64][8];

    for (unsigned i = 0; i < 100000; i++) {
        unsigned side = g_rand_int_range(r, 0, 2);
        unsigned page = g_rand_int_range(r, 0, 64);
        unsigned context = g_rand_int_range(r, 0, 8);
        WalkSoftEntry e = entry_of(page * 0x2000, context, 0);
        const WalkSoftEntry *found;

        switch (g_rand_int_range(r, 0, 8)) {
        case 0:
            walk_soft_table_demap(t, side, false, page * 0x2000, context);
            has[side][page][context] = false;
            break;
        case 1:
            if (page == 0) {
                walk_soft_table_demap(t, side, true, 0, context);
                for (unsigned p = 0; p < 64; p++) {
                    has[side][p][context] = false;
                }
            }
            break;
        case 2:
        case 3:
            walk_soft_table_put(t, side, &e);
            has[side][page][context] = true;
            break;
        default:
            found = walk_soft_table_find(t, side, page * 0x2000, context);
            g_assert_cmpint(found != NULL, ==, has[side][page][context]);
            g_assert_true(!found || found->tag == e.tag);
        }
    }
    walk_soft_table_free(t);
    g_rand_free(r);
}

/* --- States --- */

static void test_state(void)
{
    WalkModel *m = model_new(WALK_SHADOWED, 16);
    WalkModel *other = model_new(WALK_SHADOWED, 16);
    g_autoptr(GVariant) state = NULL;
    g_autoptr(GVariant) again = NULL;
    g_autoptr(GVariant) wrong = NULL;
    int64_t cycles;

    for (unsigned i = 0; i < 500; i++) {
        insert(m, 0, i * 0x2000, i % 5, 0);
    }
    miss(m, 0, 0x10000000, 7, &cycles);
    state = g_variant_ref_sink(walk_soft_save(m));
    g_assert_true(walk_soft_load(other, state));
    again = g_variant_ref_sink(walk_soft_save(other));
    g_assert_true(g_variant_equal(state, again));
    g_assert_true(miss(other, 1, 4 * 0x2000, 4, &cycles));
    /* It knows of the miss that had no entry yet. */
    miss(other, 0, 0x10002000, 7, &cycles);
    g_assert_cmpuint(counters(other).faults, ==, 1);

    /* Of fewer VMs, or with an entry that is not valid: nothing changes. */
    wrong = g_variant_ref_sink(g_variant_new_parsed(
        "(@aa(ytt) [[]], @a(ybyt) [])"));
    g_assert_false(walk_soft_load(other, wrong));
    g_assert_cmpuint(walk_soft_entries(other, 0), ==, 500);
    walk_model_free(m);
    walk_model_free(other);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/walk-soft/native", test_native);
    g_test_add_func("/walk-soft/nested", test_nested);
    g_test_add_func("/walk-soft/shadow", test_shadow);
    g_test_add_func("/walk-soft/modes", test_modes);
    g_test_add_func("/walk-soft/faults", test_faults);
    g_test_add_func("/walk-soft/table", test_table);
    g_test_add_func("/walk-soft/random", test_random);
    g_test_add_func("/walk-soft/state", test_state);
    return g_test_run();
}
