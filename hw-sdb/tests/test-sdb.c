/*
 * Unit tests of the spin detection buffer
 *
 * Cases worked by hand from the paper's text (Wells, Chakraborty, Sohi, PACT
 * 2006, section 3.2 and 3.3) and from the definition of recurrence, and random
 * traces against a second, naive model (test-sdb-model.c).
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include <time.h>

#include "sdb-core.h"
#include "test-sdb-model.h"

#define KERNEL false
#define USER   true

/* Every period is watched, unless a test says otherwise. */
static SDBConfig with_detector(SDBChoice choice)
{
    SDBConfig c;

    sdb_config_default(&c);
    c.detector = choice;
    c.recurrence_rest = 0;
    c.paper_rest = 0;
    return c;
}

static SDB *new_sdb(SDBChoice choice, bool user)
{
    SDBConfig c = with_detector(choice);
    SDB *sdb = sdb_new(&c);

    sdb_flush(sdb, user);
    return sdb;
}

/* @n stores, each to its own address: n unique ones. */
static unsigned stores(SDB *sdb, uint64_t from, unsigned n)
{
    unsigned watch = sdb_watch_mask(sdb);

    for (unsigned i = 0; i < n; i++) {
        watch = sdb_store(sdb, from + 8 * i, 8, 1, 0);
    }
    return watch;
}

static unsigned loads(SDB *sdb, uint64_t from, unsigned n)
{
    unsigned watch = sdb_watch_mask(sdb);

    for (unsigned i = 0; i < n; i++) {
        watch = sdb_load(sdb, from + 8 * i, 8);
    }
    return watch;
}

/* --- The paper's rule --- */

static void test_defaults_are_the_papers(void)
{
    SDBConfig c;

    sdb_config_default(&c);
    g_assert_cmpuint(c.period, ==, 1024);
    g_assert_cmpuint(c.entries, ==, 8);
    g_assert_cmpuint(c.store_threshold, ==, 8);
    g_assert_cmpuint(c.load_threshold, ==, 8);
}

/* "less than eight valid entries in the store array [...] in the OS: spin" */
static void test_kernel_seven_and_eight_stores(void)
{
    SDB *sdb = new_sdb(SDB_CHOICE_PAPER, KERNEL);
    SDBVerdict v;

    stores(sdb, 0x1000, 7);
    v = sdb_end_period(sdb, KERNEL);
    g_assert_true(v.spin);
    g_assert_false(v.user);
    g_assert_cmpuint(v.stores, ==, 7);
    g_assert_cmpuint(v.reason[SDB_PAPER], ==, SDB_SPIN);
    g_assert_cmpuint(v.detectors, ==, SDB_JUDGES(SDB_PAPER));

    stores(sdb, 0x1000, 8);
    v = sdb_end_period(sdb, KERNEL);
    g_assert_false(v.spin);
    g_assert_cmpuint(v.stores, ==, 8);
    g_assert_cmpuint(v.reason[SDB_PAPER], ==, SDB_STORES);
    sdb_free(sdb);
}

/* The arrays are flushed at the end of a period: seven and seven is no eight */
static void test_arrays_are_flushed(void)
{
    SDB *sdb = new_sdb(SDB_CHOICE_PAPER, KERNEL);

    stores(sdb, 0x1000, 7);
    g_assert_true(sdb_end_period(sdb, KERNEL).spin);
    stores(sdb, 0x2000, 7);
    g_assert_true(sdb_end_period(sdb, KERNEL).spin);

    /* A VCPU switch flushes as well, and decides nothing. */
    stores(sdb, 0x3000, 7);
    sdb_flush(sdb, KERNEL);
    stores(sdb, 0x4000, 7);
    g_assert_true(sdb_end_period(sdb, KERNEL).spin);
    g_assert_cmpuint(sdb_counters(sdb)->periods[KERNEL], ==, 3);
    g_assert_cmpuint(sdb_counters(sdb)->spins[KERNEL], ==, 3);
    g_assert_cmpuint(sdb_counters(sdb)->cut[KERNEL], ==, 2);
    sdb_free(sdb);
}

/* "an address or value different from other stores" */
static void test_same_address_other_value_is_unique(void)
{
    SDB *sdb = new_sdb(SDB_CHOICE_PAPER, KERNEL);

    for (int i = 0; i < 100; i++) {         /* one pair, a hundred times */
        sdb_store(sdb, 0x1000, 8, 42, 0);
    }
    for (int i = 0; i < 100; i++) {         /* 0 and 1 in turn: two more */
        sdb_store(sdb, 0x2000, 8, i & 1, 0);
    }
    sdb_store(sdb, 0x3000, 8, 42, 0);       /* same value, other address */
    g_assert_cmpuint(sdb_end_period(sdb, KERNEL).stores, ==, 4);

    for (int i = 0; i < 8; i++) {           /* a counter */
        sdb_store(sdb, 0x1000, 8, i, 0);
    }
    g_assert_false(sdb_end_period(sdb, KERNEL).spin);
    sdb_free(sdb);
}

/* The value is what was stored: a register's upper bytes are not. */
static void test_value_is_as_wide_as_the_store(void)
{
    SDB *sdb = new_sdb(SDB_CHOICE_PAPER, KERNEL);

    sdb_store(sdb, 0x1000, 1, 0x1ff, 7);
    sdb_store(sdb, 0x1000, 1, 0x2ff, 8);
    sdb_store(sdb, 0x1000, 4, 0x10000000cafef00d, 0);
    sdb_store(sdb, 0x1000, 4, 0x20000000cafef00d, 0);
    sdb_store(sdb, 0x1000, 8, 5, 1);
    sdb_store(sdb, 0x1000, 8, 5, 2);
    g_assert_cmpuint(sdb_end_period(sdb, KERNEL).stores, ==, 3);

    sdb_store(sdb, 0x1000, 16, 5, 1);       /* quad: the high half counts */
    sdb_store(sdb, 0x1000, 16, 5, 2);
    g_assert_cmpuint(sdb_end_period(sdb, KERNEL).stores, ==, 2);
    sdb_free(sdb);
}

/* "less than eight entries in both arrays and [...] user code" */
static void test_user_both_arrays(void)
{
    SDB *sdb = new_sdb(SDB_CHOICE_PAPER, USER);
    SDBVerdict v;

    stores(sdb, 0x1000, 7);
    loads(sdb, 0x2000, 7);
    v = sdb_end_period(sdb, USER);
    g_assert_true(v.spin);
    g_assert_true(v.user);
    g_assert_cmpuint(v.stores, ==, 7);
    g_assert_cmpuint(v.loads, ==, 7);

    loads(sdb, 0x2000, 8);                  /* searches an array: progress */
    v = sdb_end_period(sdb, USER);
    g_assert_false(v.spin);
    g_assert_cmpuint(v.reason[SDB_PAPER], ==, SDB_LOADS);

    stores(sdb, 0x2000, 8);
    v = sdb_end_period(sdb, USER);
    g_assert_false(v.spin);
    g_assert_cmpuint(v.reason[SDB_PAPER], ==, SDB_STORES);

    /* "uniqueness determined by the load address only" */
    for (int i = 0; i < 100; i++) {
        sdb_load(sdb, 0x2000, 1 << (i & 3));
    }
    v = sdb_end_period(sdb, USER);
    g_assert_cmpuint(v.loads, ==, 1);
    g_assert_true(v.spin);
    sdb_free(sdb);
}

/*
 * A search loop that keeps its index in a register loads much and stores
 * nothing: in user mode progress, in the kernel a false alarm that the paper
 * accepts (loads are checked "when executing user code").
 */
static void test_register_search_loop(void)
{
    SDB *sdb = new_sdb(SDB_CHOICE_PAPER, USER);

    loads(sdb, 0x10000, 500);
    g_assert_false(sdb_end_period(sdb, KERNEL).spin);
    g_assert_cmpuint(sdb_watch_mask(sdb), ==, SDB_WATCH_STORES);
    loads(sdb, 0x10000, 500);
    g_assert_true(sdb_end_period(sdb, KERNEL).spin);
    sdb_free(sdb);
}

/* "Once either array becomes full, subsequent instructions need not search" */
static void test_full_array_stops_watching(void)
{
    SDB *sdb = new_sdb(SDB_CHOICE_PAPER, USER);
    SDBVerdict v;

    g_assert_cmpuint(sdb_watch_mask(sdb), ==,
                     SDB_WATCH_STORES | SDB_WATCH_LOADS);
    g_assert_cmpuint(loads(sdb, 0x2000, 7), ==,
                     SDB_WATCH_STORES | SDB_WATCH_LOADS);
    g_assert_cmpuint(loads(sdb, 0x2000, 8), ==, 0);
    stores(sdb, 0x1000, 100);               /* nobody watches any more */
    v = sdb_end_period(sdb, KERNEL);
    g_assert_cmpuint(v.loads, ==, 8);
    g_assert_cmpuint(v.stores, ==, 0);

    g_assert_cmpuint(sdb_watch_mask(sdb), ==, SDB_WATCH_STORES);
    g_assert_cmpuint(stores(sdb, 0x1000, 7), ==, SDB_WATCH_STORES);
    g_assert_cmpuint(stores(sdb, 0x1000, 8), ==, 0);
    sdb_end_period(sdb, KERNEL);
    sdb_free(sdb);
}

/* "If a user/OS mode change occurs within the period, forward progress" */
static void test_mode_change_is_progress(void)
{
    SDB *sdb = new_sdb(SDB_CHOICE_PAPER, KERNEL);
    SDBVerdict v;

    g_assert_cmpuint(sdb_mode(sdb, KERNEL), ==, SDB_WATCH_STORES); /* none */
    g_assert_cmpuint(sdb_mode(sdb, USER), ==, 0);
    v = sdb_end_period(sdb, USER);
    g_assert_false(v.spin);
    g_assert_false(v.user);                 /* it began in the kernel */
    g_assert_cmpuint(v.reason[SDB_PAPER], ==, SDB_MODE_CHANGE);

    g_assert_cmpuint(sdb_mode(sdb, KERNEL), ==, 0);     /* there and back */
    g_assert_cmpuint(sdb_mode(sdb, USER), ==, 0);
    g_assert_cmpuint(sdb_watch_mask(sdb), ==, 0);
    v = sdb_end_period(sdb, USER);
    g_assert_false(v.spin);
    g_assert_true(v.user);

    /* A full array and a mode change: the mode change is the reason. */
    stores(sdb, 0x1000, 8);
    sdb_mode(sdb, KERNEL);
    v = sdb_end_period(sdb, USER);
    g_assert_cmpuint(v.reason[SDB_PAPER], ==, SDB_MODE_CHANGE);

    g_assert_true(sdb_end_period(sdb, USER).spin);      /* nothing at all */

    /* Before the first instruction it is no change inside the period. */
    g_assert_cmpuint(sdb_mode_at_begin(sdb, KERNEL), ==, SDB_WATCH_STORES);
    v = sdb_end_period(sdb, KERNEL);
    g_assert_true(v.spin);
    g_assert_false(v.user);
    sdb_free(sdb);
}

/* Period length and thresholds other than the paper's */
static void test_thresholds(void)
{
    SDBConfig c = with_detector(SDB_CHOICE_PAPER);
    g_autofree char *why = NULL;
    SDB *sdb = sdb_new(&c);

    c.entries = 16;
    c.store_threshold = 12;
    c.load_threshold = 3;
    g_assert_true(sdb_reconfigure(sdb, &c, &why));
    sdb_flush(sdb, USER);
    stores(sdb, 0, 11);
    loads(sdb, 0, 2);
    g_assert_true(sdb_end_period(sdb, USER).spin);
    g_assert_cmpuint(stores(sdb, 0, 12), ==, 0);
    g_assert_cmpuint(sdb_end_period(sdb, USER).reason[SDB_PAPER], ==,
                     SDB_STORES);
    g_assert_cmpuint(loads(sdb, 0, 3), ==, 0);
    g_assert_cmpuint(sdb_end_period(sdb, USER).reason[SDB_PAPER], ==,
                     SDB_LOADS);
    sdb_free(sdb);
}

/* --- Recurrence --- */

/* An idle loop of today: the same addresses, ever new values. */
static SDBReason idle_period(SDB *sdb, uint64_t turn)
{
    for (int i = 0; i < 15; i++) {
        sdb_store(sdb, 0x1000 + 8 * i, 8, turn * 100 + i, 0);
        sdb_load(sdb, 0x2000 + 8 * i, 8);
    }
    return sdb_end_period(sdb, KERNEL).reason[SDB_RECURRENCE];
}

static void test_idle_loop(void)
{
    SDB *sdb = new_sdb(SDB_CHOICE_EITHER, KERNEL);
    SDBVerdict v;

    g_assert_cmpuint(idle_period(sdb, 0), ==, SDB_REFERENCE);
    g_assert_cmpuint(idle_period(sdb, 1), ==, SDB_FEW_REPEATS);
    g_assert_cmpuint(idle_period(sdb, 2), ==, SDB_SPIN);
    g_assert_cmpuint(idle_period(sdb, 3), ==, SDB_SPIN);

    stores(sdb, 0x1000, 15);
    v = sdb_end_period(sdb, KERNEL);
    g_assert_true(v.spin);
    g_assert_cmpuint(v.detectors, ==, SDB_JUDGES(SDB_RECURRENCE));
    g_assert_cmpuint(v.reason[SDB_PAPER], ==, SDB_STORES);

    /* The period before had no loads, so any load is new. */
    g_assert_cmpuint(idle_period(sdb, 4), ==, SDB_NEW_ADDRESS);
    g_assert_cmpuint(idle_period(sdb, 5), ==, SDB_FEW_REPEATS);
    sdb_free(sdb);
}

/* Subset of the period before, not of any period before. */
static void test_only_the_period_before_counts(void)
{
    SDB *sdb = new_sdb(SDB_CHOICE_RECURRENCE, KERNEL);

    stores(sdb, 0x1000, 20);
    g_assert_cmpuint(sdb_end_period(sdb, KERNEL).reason[SDB_RECURRENCE], ==,
                     SDB_REFERENCE);
    stores(sdb, 0x1000, 10);                /* half of them: repeats */
    g_assert_cmpuint(sdb_end_period(sdb, KERNEL).reason[SDB_RECURRENCE], ==,
                     SDB_FEW_REPEATS);
    stores(sdb, 0x1000, 20);                /* more than the period before */
    g_assert_cmpuint(sdb_end_period(sdb, KERNEL).reason[SDB_RECURRENCE], ==,
                     SDB_NEW_ADDRESS);
    stores(sdb, 0x1000, 20);                /* repeats that one */
    g_assert_cmpuint(sdb_end_period(sdb, KERNEL).reason[SDB_RECURRENCE], ==,
                     SDB_FEW_REPEATS);
    /* A load from an address that was stored to is a new load. */
    loads(sdb, 0x1000, 1);
    g_assert_cmpuint(sdb_end_period(sdb, KERNEL).reason[SDB_RECURRENCE], ==,
                     SDB_NEW_ADDRESS);
    sdb_free(sdb);
}

static void test_sixty_four_addresses(void)
{
    SDB *sdb = new_sdb(SDB_CHOICE_RECURRENCE, KERNEL);

    for (int i = 0; i < 3; i++) {
        g_assert_cmpuint(stores(sdb, 0x1000, 64), !=, 0);
        g_assert_cmpuint(loads(sdb, 0x9000, 64), !=, 0);
        g_assert_cmpuint(sdb_end_period(sdb, KERNEL).reason[SDB_RECURRENCE],
                         ==, i == 0 ? SDB_REFERENCE :
                             i == 1 ? SDB_FEW_REPEATS : SDB_SPIN);
    }
    sdb_flush(sdb, KERNEL);
    for (int i = 0; i < 3; i++) {
        g_assert_cmpuint(loads(sdb, 0x9000, 65), ==, SDB_WATCH_MARKS);
        g_assert_cmpuint(sdb_end_period(sdb, KERNEL).reason[SDB_RECURRENCE],
                         ==, SDB_TOO_MANY);
    }
    sdb_free(sdb);
}

/* User mode, a mode change and a VCPU switch each break the row. */
static void test_row_is_broken(void)
{
    SDB *sdb = new_sdb(SDB_CHOICE_RECURRENCE, KERNEL);

    idle_period(sdb, 0);
    g_assert_cmpuint(idle_period(sdb, 0), ==, SDB_FEW_REPEATS);
    sdb_mode(sdb, USER);
    sdb_mode(sdb, KERNEL);
    g_assert_cmpuint(idle_period(sdb, 0), ==, SDB_MODE_CHANGE);
    g_assert_cmpuint(idle_period(sdb, 0), ==, SDB_REFERENCE);
    g_assert_cmpuint(idle_period(sdb, 0), ==, SDB_FEW_REPEATS);
    sdb_flush(sdb, KERNEL);
    g_assert_cmpuint(idle_period(sdb, 0), ==, SDB_REFERENCE);
    sdb_mode_at_begin(sdb, USER);           /* no instruction in user mode: */
    sdb_mode_at_begin(sdb, KERNEL);         /* the row goes on */
    g_assert_cmpuint(idle_period(sdb, 0), ==, SDB_FEW_REPEATS);
    sdb_end_period(sdb, USER);

    /* Recurrence must not judge user mode, the paper's rule is not chosen. */
    for (int i = 0; i < 5; i++) {
        SDBVerdict v;

        g_assert_cmpuint(sdb_watch_mask(sdb), ==, 0);
        v = sdb_end_period(sdb, i < 4 ? USER : KERNEL);
        g_assert_false(v.spin);
        g_assert_cmpuint(v.reason[SDB_PAPER], ==, SDB_NOT_JUDGED);
        g_assert_cmpuint(v.reason[SDB_RECURRENCE], ==, SDB_NOT_JUDGED);
    }
    g_assert_cmpuint(idle_period(sdb, 0), ==, SDB_REFERENCE);
    sdb_free(sdb);
}

/*
 * With a rest of 5, of the periods R (too many), r r r r r, R (reference),
 * C (a new address), r r r r r, R, C, S.
 */
static void test_rest(void)
{
    SDBConfig c = with_detector(SDB_CHOICE_RECURRENCE);
    SDB *sdb;

    c.recurrence_rest = 5;
    sdb = sdb_new(&c);
    g_assert_cmpuint(stores(sdb, 0x1000, 65), ==, SDB_WATCH_MARKS);
    g_assert_cmpuint(sdb_end_period(sdb, KERNEL).reason[SDB_RECURRENCE], ==,
                     SDB_TOO_MANY);
    for (int i = 0; i < 5; i++) {
        g_assert_cmpuint(sdb_watch_mask(sdb), ==, 0);
        g_assert_cmpuint(idle_period(sdb, 0), ==, SDB_RESTING);
    }
    g_assert_cmpuint(idle_period(sdb, 0), ==, SDB_REFERENCE);
    sdb_store(sdb, 0x5000, 8, 0, 0);
    g_assert_cmpuint(sdb_end_period(sdb, KERNEL).reason[SDB_RECURRENCE], ==,
                     SDB_NEW_ADDRESS);
    for (int i = 0; i < 5; i++) {
        g_assert_cmpuint(idle_period(sdb, 0), ==, SDB_RESTING);
    }
    g_assert_cmpuint(idle_period(sdb, 0), ==, SDB_REFERENCE);
    g_assert_cmpuint(idle_period(sdb, 0), ==, SDB_FEW_REPEATS);
    for (int i = 0; i < 20; i++) {          /* no rest while it repeats */
        g_assert_cmpuint(idle_period(sdb, 0), ==, SDB_SPIN);
    }
    stores(sdb, 0x1000, 65);
    sdb_end_period(sdb, KERNEL);
    g_assert_cmpuint(sdb_watch_mask(sdb), ==, 0);
    sdb_flush(sdb, KERNEL);                 /* the rest was another VCPU's */
    g_assert_cmpuint(sdb_watch_mask(sdb), !=, 0);
    sdb_free(sdb);
}

/* either: the paper's rule still holds for user and for privileged periods. */
static void test_either(void)
{
    SDB *sdb = new_sdb(SDB_CHOICE_EITHER, USER);
    SDBVerdict v;

    loads(sdb, 0x1000, 7);
    v = sdb_end_period(sdb, KERNEL);
    g_assert_cmpuint(v.detectors, ==, SDB_JUDGES(SDB_PAPER));
    for (int i = 0; i < 3; i++) {           /* lock wait in the kernel */
        loads(sdb, 0x1000, 1);
        v = sdb_end_period(sdb, KERNEL);
        g_assert_true(v.spin);
    }
    g_assert_cmpuint(v.detectors, ==,
                     SDB_JUDGES(SDB_PAPER) | SDB_JUDGES(SDB_RECURRENCE));
    sdb_free(sdb);
}

/* --- Configuration --- */

static void bad(SDBConfig c, const char *expected)
{
    g_autofree char *why = NULL, *why2 = NULL;
    SDBConfig good;
    SDB *sdb;

    g_assert_false(sdb_config_check(&c, &why));
    g_assert_nonnull(strstr(why, expected));
    g_assert_nonnull(strstr(why, "allowed"));
    g_assert_null(sdb_new(&c));

    /* A refused change changes nothing. */
    sdb_config_default(&good);
    sdb = sdb_new(&good);
    stores(sdb, 0x1000, 7);
    g_assert_false(sdb_reconfigure(sdb, &c, &why2));
    g_assert_cmpstr(why, ==, why2);
    g_assert_cmpuint(sdb_config(sdb)->period, ==, 1024);
    g_assert_cmpuint(sdb_end_period(sdb, KERNEL).stores, ==, 7);
    sdb_free(sdb);
}

static void test_bad_configurations(void)
{
    SDBConfig good, c;
    char *why = NULL;

    sdb_config_default(&good);
    g_assert_true(sdb_config_check(&good, &why));
#define BAD(field, value, text) \
    do { c = good; c.field = (value); bad(c, text); } while (0)
    BAD(period, 0, "period=0 is out of range: allowed are 16 to 1048576");
    BAD(period, 15, "period=15 is out of range");
    BAD(period, (1 << 20) + 1, "period=1048577 is out of range");
    BAD(period, UINT32_MAX, "period");
    BAD(entries, 0, "entries=0 is out of range: allowed are 1 to 64");
    BAD(entries, 65, "entries=65 is out of range");
    BAD(entries, 7, "store-threshold of 8 can never be reached with 7");
    BAD(store_threshold, 0, "store-threshold=0 is out of range");
    BAD(store_threshold, 9, "store-threshold of 9 can never be reached with 8");
    BAD(load_threshold, 0, "load-threshold=0 is out of range");
    BAD(load_threshold, 9, "load-threshold of 9 can never be reached with 8");
    BAD(recurrence_entries, 0,
        "recurrence-entries=0 is out of range: allowed are 1 to 256");
    BAD(recurrence_entries, 257, "recurrence-entries=257 is out of range");
    BAD(recurrence_repeats, 0,
        "recurrence-repeats=0 is out of range: allowed are 1 to 1000");
    BAD(recurrence_repeats, 1001, "recurrence-repeats=1001 is out of range");
    BAD(recurrence_rest, 10001,
        "recurrence-rest=10001 is out of range: allowed are 0 to 10000");
    BAD(paper_rest, 10001,
        "paper-rest=10001 is out of range: allowed are 0 to 10000");
    BAD(detector, 0, "allowed are paper, recurrence and either");
    BAD(detector, 4, "allowed are paper, recurrence and either");
    good.entries = 64;
    good.store_threshold = 17;
    good.period = 17;
    g_assert_true(sdb_config_check(&good, &why));
    BAD(period, 16, "store-threshold of 17 can never be reached in a period");
#undef BAD
}

static void test_names(void)
{
    SDBChoice choice;

    g_assert_true(sdb_choice_parse("paper", &choice));
    g_assert_cmpuint(choice, ==, SDB_CHOICE_PAPER);
    g_assert_true(sdb_choice_parse("recurrence", &choice));
    g_assert_cmpuint(choice, ==, SDB_CHOICE_RECURRENCE);
    g_assert_true(sdb_choice_parse("either", &choice));
    g_assert_cmpuint(choice, ==, SDB_CHOICE_EITHER);
    g_assert_false(sdb_choice_parse("both", &choice));
    g_assert_false(sdb_choice_parse("", &choice));
    g_assert_cmpstr(sdb_choice_name(SDB_CHOICE_EITHER), ==, "either");
    for (int i = 0; i < SDB_REASONS; i++) {
        g_assert_nonnull(sdb_reason_name(i));
    }
    g_assert_null(sdb_reason_name(SDB_REASONS));
}

/* A change takes effect at once, and flushes. */
static void test_reconfigure(void)
{
    SDB *sdb = new_sdb(SDB_CHOICE_PAPER, USER);
    SDBConfig c = *sdb_config(sdb);
    g_autofree char *why = NULL;

    stores(sdb, 0x1000, 7);
    sdb_mode(sdb, KERNEL);
    c.store_threshold = 3;
    g_assert_true(sdb_reconfigure(sdb, &c, &why));
    g_assert_cmpuint(sdb_watch_mask(sdb), ==, SDB_WATCH_STORES); /* kernel */
    stores(sdb, 0x2000, 2);
    g_assert_true(sdb_end_period(sdb, KERNEL).spin);
    stores(sdb, 0x2000, 3);
    g_assert_false(sdb_end_period(sdb, KERNEL).spin);
    c.detector = SDB_CHOICE_RECURRENCE;
    c.recurrence_entries = 1;
    c.recurrence_repeats = 1;
    g_assert_true(sdb_reconfigure(sdb, &c, &why));
    stores(sdb, 0x2000, 1);
    g_assert_false(sdb_end_period(sdb, KERNEL).spin);
    stores(sdb, 0x2000, 1);
    g_assert_true(sdb_end_period(sdb, KERNEL).spin);
    sdb_free(sdb);
}

/* --- Snapshots that nobody can have saved --- */

static void refuse(SDBSnapshot *snapshot)
{
    g_autofree char *why = NULL;
    SDBConfig c = with_detector(SDB_CHOICE_PAPER);
    SDB *sdb = sdb_new(&c);

    stores(sdb, 0x1000, 6);
    g_assert_false(sdb_restore(sdb, snapshot, &why));
    g_assert_nonnull(why);
    stores(sdb, 0x2000, 1);                 /* what was there still is */
    g_assert_cmpuint(sdb_end_period(sdb, KERNEL).stores, ==, 7);
    sdb_free(sdb);
}

static void test_bad_snapshots(void)
{
    SDB *sdb = new_sdb(SDB_CHOICE_EITHER, KERNEL);
    g_autofree SDBSnapshot *good = g_new(SDBSnapshot, 1);
    g_autofree SDBSnapshot *s = g_new(SDBSnapshot, 1);
    g_autofree char *why = NULL;

    idle_period(sdb, 0);
    stores(sdb, 0x1000, 3);
    sdb_save(sdb, good);
    g_assert_true(sdb_restore(sdb, good, &why));
#define REFUSE(change) do { *s = *good; s->change; refuse(s); } while (0)
    REFUSE(config.period = 0);
    REFUSE(config.entries = 1000000);
    REFUSE(config.detector = 7);
    REFUSE(config.recurrence_entries = 1000000);
    REFUSE(n_stores = 9);
    REFUSE(n_loads = UINT32_MAX);
    REFUSE(marks[1][0][3] = UINT64_MAX);
    REFUSE(watch = SDB_REASONS);
    REFUSE(watch = SDB_SPIN);
    REFUSE(watch = SDB_RESTING);
    REFUSE(user = true);
    REFUSE(user_now = true);
    REFUSE(rest = 1);
    REFUSE(paper_rest = 1);
    REFUSE(comparable = false);
    REFUSE(repeats = 3);
#undef REFUSE
    sdb_free(sdb);
}

/* --- Random traces against the naive model --- */

typedef struct Distribution {
    const char *name;
    unsigned accesses;          /* up to so many in a period */
    unsigned addresses;         /* drawn from so many */
    unsigned values;            /* drawn from so many */
    unsigned loop;              /* per cent of periods that repeat a loop */
    unsigned mode_change;       /* per mille of accesses */
    unsigned flush;             /* per mille of accesses */
    unsigned reconfigure;       /* per mille of periods */
} Distribution;

#define PERIODS 20000           /* for each of five distributions: 100,000 */

static const Distribution distributions[] = {
    /* accesses, addresses, values, loop, mode, flush, reconfigure */
    { "few",       40,     6,  2, 20,  2,  1,  5 },
    { "threshold", 60,    14,  2, 30,  2,  1,  5 },
    { "many",     300, 10000, 50, 20,  1,  1,  5 },
    { "loops",    200,    90,  3, 90,  0,  0,  5 },
    { "restless",  60,    20,  4, 50, 40, 20, 50 },
};

static unsigned draw(unsigned n)
{
    return g_test_rand_int_range(0, n);
}

static SDBConfig draw_config(void)
{
    static const SDBChoice choices[] = {
        SDB_CHOICE_PAPER, SDB_CHOICE_RECURRENCE, SDB_CHOICE_EITHER
    };
    SDBConfig c;

    sdb_config_default(&c);
    c.detector = choices[draw(3)];
    if (draw(2)) {
        c.period = 16 + draw(2000);
        c.entries = 1 + draw(16);
        c.store_threshold = 1 + draw(c.entries);
        c.load_threshold = 1 + draw(c.entries);
        c.recurrence_entries = 1 + draw(draw(2) ? 100 : 8);
        c.recurrence_repeats = 1 + draw(4);
        c.recurrence_rest = draw(2) ? 0 : draw(10);
        c.paper_rest = draw(2) ? 0 : draw(10);
    }
    return c;
}

/* Everything through a snapshot into another SDB, as a loadvm would. */
static SDB *by_snapshot(SDB *sdb)
{
    SDBConfig c = draw_config();
    SDB *other = sdb_new(&c);
    g_autofree SDBSnapshot *snapshot = g_new(SDBSnapshot, 1);
    g_autofree char *why = NULL;

    sdb_flush(other, draw(2));
    stores(other, 0x123400, draw(20));
    sdb_save(sdb, snapshot);
    g_assert_true(sdb_restore(other, snapshot, &why));
    g_assert_cmpuint(sdb_watch_mask(other), ==, sdb_watch_mask(sdb));
    g_assert_cmpmem(sdb_counters(other), sizeof(SDBCounters),
                    sdb_counters(sdb), sizeof(SDBCounters));
    sdb_free(sdb);
    return other;
}

typedef struct Event {
    bool store;
    uint64_t address, low, high;
    unsigned size;
} Event;

static Event draw_event(const Distribution *d)
{
    static const unsigned sizes[] = { 1, 2, 4, 8, 8, 8, 16 };
    Event e = {
        .store = draw(3) == 0,
        .address = 0xfffff80000000000 + 8 * (uint64_t)draw(d->addresses),
        .low = draw(d->values) * UINT64_C(0x0101010101010101),
        .high = draw(2),
        .size = sizes[draw(7)],
    };

    return e;
}

static uint64_t all_said[SDB_REASONS];  /* over all random traces */
static bool seen_quiescent, seen_passed, seen_sampled_early;

static void test_random(gconstpointer data)
{
    const Distribution *d = data;
    SDBConfig config = draw_config();
    Model *model = model_new(&config);
    SDB *notified = sdb_new(&config);       /* of every access */
    SDB *asked = sdb_new(&config);          /* what it asks for only */
    g_autoptr(GArray) loop = g_array_new(false, false, sizeof(Event));
    bool user = false;
    uint64_t spins[2] = { 0, 0 }, cut[2] = { 0, 0 };
    uint64_t judged[2] = { 0, 0 }, number = 0;
    bool began = false;                     /* mode of this period */
    uint32_t quiescent = 0;                 /* periods, from this one on */
    uint64_t said[SDB_DETECTORS][2][SDB_REASONS] = { };

    for (unsigned period = 0; period < PERIODS; period++) {
        unsigned n = draw(4) ? draw(d->accesses) : draw(12);
        bool in_loop = draw(100) < d->loop && loop->len;
        bool sampled_early = false;         /* and seen enough */
        SDBVerdict v1, v2;
        ModelVerdict v;

        if (!in_loop) {
            g_array_set_size(loop, 0);
        }
        while (draw(10) == 0) {             /* before the first instruction */
            if (draw(3) == 0) {
                asked = by_snapshot(asked);
            }
            user = began = !user;
            quiescent = 0;
            model_mode_at_begin(model, user);
            sdb_mode_at_begin(notified, user);
            g_assert_cmpuint(sdb_mode_at_begin(asked, user), ==,
                             sdb_watch_mask(notified));
        }
        if (draw(4) == 0 && user == began) {    /* several at once */
            uint32_t pass = draw(20);

            pass = MIN(pass, sdb_unwatched(asked));
            for (uint32_t i = 0; i < pass; i++) {
                v = model_end_period(model, user);
                v1 = sdb_end_period(notified, user);
                said[SDB_PAPER][user][v.paper]++;
                said[SDB_RECURRENCE][user][v.recurrence]++;
                g_assert_false(v.paper_open || v.recurrence_open);
                g_assert_cmpuint(v1.number, ==, ++number);
                quiescent -= quiescent && quiescent != UINT32_MAX;
            }
            if (pass) {
                sdb_pass(asked, pass);
                judged[user] += pass;
                seen_passed |= pass > 1;
            }
        }
        for (unsigned i = 0; i < n; i++) {
            Event e = draw_event(d);

            if (in_loop) {
                e.address = g_array_index(loop, Event, i % loop->len).address;
                e.store = g_array_index(loop, Event, i % loop->len).store;
            } else {
                g_array_append_val(loop, e);
            }
            if (e.store) {
                model_store(model, e.address, e.size, e.low, e.high);
                sdb_store(notified, e.address, e.size, e.low, e.high);
                if (sdb_watch_mask(asked) & SDB_WATCH_STORES) {
                    unsigned watch = sdb_store(asked, e.address, e.size,
                                               e.low, e.high);
                    g_assert_cmpuint(watch, ==, sdb_watch_mask(asked));
                } else {
                    sdb_marks(asked)[SDB_KIND_STORES][sdb_mark(e.address)] = 1;
                }
            } else {
                model_load(model, e.address, e.size);
                sdb_load(notified, e.address, e.size);
                if (sdb_watch_mask(asked) & SDB_WATCH_LOADS) {
                    unsigned watch = sdb_load(asked, e.address, e.size);
                    g_assert_cmpuint(watch, ==, sdb_watch_mask(asked));
                } else {
                    sdb_marks(asked)[SDB_KIND_LOADS][sdb_mark(e.address)] = 1;
                }
            }
            if (draw(200) == 0) {
                uint32_t before = sdb_watch_mask(asked);

                sdb_sample_early(asked);
                sampled_early |= sdb_watch_mask(asked) != before;
                seen_sampled_early |= sampled_early;
            }
            g_assert_true(sampled_early ||
                          sdb_watch_mask(asked) == sdb_watch_mask(notified));
            if (draw(1000) < d->mode_change) {
                user = !user;
                quiescent = 0;
                model_mode(model, user);
                sdb_mode(notified, user);
                sdb_mode(asked, user);
            }
            if (draw(1000) < d->flush) {
                cut[began]++;
                number++;
                user = began = draw(2);
                quiescent = 0;
                model_flush(model, user);
                sdb_flush(notified, user);
                sdb_flush(asked, user);
            }
            if (draw(1000) < 2 && !sampled_early) { /* which is not saved */
                asked = by_snapshot(asked);
            }
        }
        if (draw(1000) < d->reconfigure) {
            g_autofree char *why = NULL;

            config = draw_config();
            quiescent = 0;
            model_reconfigure(model, &config);
            g_assert_true(sdb_reconfigure(notified, &config, &why));
            g_assert_true(sdb_reconfigure(asked, &config, &why));
            cut[began]++;
            number++;
            began = user;
        }
        /* Periods that it said would be quiescent were. */
        if (quiescent) {
            g_assert_cmpuint(sdb_watch_mask(asked), ==, 0);
            quiescent -= quiescent != UINT32_MAX;
        }
        if (!sdb_watch_mask(asked)) {
            g_assert_cmpuint(sdb_quiescent_periods(asked), >=, quiescent);
            quiescent = sdb_quiescent_periods(asked);
            seen_quiescent |= quiescent > 0 && quiescent != UINT32_MAX;
        }
        if (draw(20) == 0) {
            user = !user;                   /* at the boundary: no change */
            quiescent = 0;
        }
        v = model_end_period(model, user);
        /* Watched as long as it matters, and no longer. */
        g_assert_cmpuint(sdb_watch_mask(notified), ==,
                         (v.paper_open ? SDB_WATCH_STORES : 0) |
                         (v.paper_open && v.user ? SDB_WATCH_LOADS : 0) |
                         (v.recurrence_open ? SDB_WATCH_MARKS : 0));
        g_assert_true(sampled_early ||
                      sdb_watch_mask(asked) == sdb_watch_mask(notified));
        v1 = sdb_end_period(notified, user);
        v2 = sdb_end_period(asked, user);
        g_assert_cmpuint(v1.reason[SDB_PAPER], ==, v.paper);
        g_assert_cmpuint(v1.reason[SDB_RECURRENCE], ==, v.recurrence);
        g_assert_cmpuint(v1.spin, ==, v.spin);
        g_assert_cmpuint(v1.user, ==, v.user);
        g_assert_cmpuint(v1.number, ==, ++number);
        if (v.paper == SDB_SPIN) {
            g_assert_cmpuint(v1.stores, ==, v.stores);
            g_assert_cmpuint(v1.loads, ==, v.user ? v.loads : 0);
        }
        g_assert_cmpuint(v2.reason[SDB_PAPER], ==, v1.reason[SDB_PAPER]);
        g_assert_cmpuint(v2.reason[SDB_RECURRENCE], ==,
                         v1.reason[SDB_RECURRENCE]);
        g_assert_cmpuint(v2.spin, ==, v1.spin);
        g_assert_cmpuint(v2.stores, ==, v1.stores);
        g_assert_cmpuint(v2.loads, ==, v1.loads);
        g_assert_cmpuint(v2.number, ==, v1.number);
        g_assert_cmpuint(began, ==, v.user);
        spins[v.user] += v.spin;
        judged[v.user]++;
        began = user;
        said[SDB_PAPER][v.user][v.paper]++;
        said[SDB_RECURRENCE][v.user][v.recurrence]++;
    }

    g_assert_cmpmem(sdb_counters(asked)->periods, sizeof(judged),
                    judged, sizeof(judged));
    g_assert_cmpmem(sdb_counters(asked)->spins, sizeof(spins),
                    spins, sizeof(spins));
    g_assert_cmpmem(sdb_counters(asked)->cut, sizeof(cut), cut, sizeof(cut));
    g_assert_cmpmem(sdb_counters(asked)->reasons, sizeof(said),
                    said, sizeof(said));
    for (int i = 0; i < SDB_REASONS; i++) {
        all_said[i] += said[SDB_PAPER][KERNEL][i] + said[SDB_PAPER][USER][i] +
                       said[SDB_RECURRENCE][KERNEL][i] +
                       said[SDB_RECURRENCE][USER][i];
    }
    /* The trace must have shown both outcomes, or nothing was tested. */
    g_assert_cmpuint(spins[KERNEL] + spins[USER], >, PERIODS / 100);
    g_assert_cmpuint(spins[KERNEL] + spins[USER], <, PERIODS - PERIODS / 100);
    model_free(model);
    sdb_free(notified);
    sdb_free(asked);
}

/* --- Cost on the host: test-sdb -m perf -p /sdb/perf --- */

typedef struct Load {
    const char *name;
    SDBChoice detector;
    unsigned rest;
    bool user;
    unsigned addresses, values;
} Load;

static const Load host_loads[] = {
    { "paper-privileged-progress", SDB_CHOICE_PAPER, 0, KERNEL, 100000, 1000 },
    { "paper-user-progress", SDB_CHOICE_PAPER, 0, USER, 100000, 1000 },
    { "paper-lock-wait", SDB_CHOICE_PAPER, 0, KERNEL, 1, 1 },
    { "rest-0-progress", SDB_CHOICE_EITHER, 0, KERNEL, 100000, 1000 },
    { "rest-5-progress", SDB_CHOICE_EITHER, 5, KERNEL, 100000, 1000 },
    { "rest-13-progress", SDB_CHOICE_EITHER, 13, KERNEL, 100000, 1000 },
    { "rest-13-user-progress", SDB_CHOICE_EITHER, 13, USER, 100000, 1000 },
    { "rest-13-idle-loop", SDB_CHOICE_EITHER, 13, KERNEL, 15, 1000 },
};

enum {
    RUNS = 9,
    RUN_PERIODS = 20000,
    RUN_ACCESSES = 300,         /* in a period, of 1024 instructions */
    RUN_EVENTS = 1 << 16,
};

/* Processor time of a run of @l, in ns; *@calls: accesses asked for in it */
static double run_load(const Load *l, const Event *events, uint64_t *calls)
{
    SDBConfig c = with_detector(l->detector);
    unsigned at = 0;
    clock_t begin;
    SDB *sdb;

    c.recurrence_rest = l->rest;
    sdb = sdb_new(&c);
    sdb_flush(sdb, l->user);
    *calls = 0;
    begin = clock();
    for (unsigned i = 0; i < RUN_PERIODS; i++) {
        unsigned watch = sdb_watch_mask(sdb);

        for (unsigned j = 0; j < RUN_ACCESSES && watch; j++) {
            const Event *e = &events[at++ % RUN_EVENTS];

            if (watch & (e->store ? SDB_WATCH_STORES : SDB_WATCH_LOADS)) {
                ++*calls;
                watch = e->store ? sdb_store(sdb, e->address, 8, e->low, 0) :
                                   sdb_load(sdb, e->address, 8);
            }
        }
        sdb_end_period(sdb, l->user);
    }
    begin = clock() - begin;
    sdb_free(sdb);
    return begin * (1e9 / CLOCKS_PER_SEC);
}

static void test_perf(gconstpointer data)
{
    const Load *l = data;
    g_autofree Event *events = g_new0(Event, RUN_EVENTS);
    double least = G_MAXDOUBLE;
    uint64_t calls;

    for (unsigned i = 0; i < RUN_EVENTS; i++) {
        events[i].store = i % 3 == 0;
        events[i].address = 8 * draw(l->addresses);
        events[i].low = draw(l->values);
    }
    for (unsigned i = 0; i < RUNS; i++) {
        least = MIN(least, run_load(l, events, &calls));
    }
    g_test_minimized_result(least / RUN_PERIODS,
                            "%s: %.1f accesses and %.0f ns a period,"
                            " %.1f ns an access", l->name,
                            (double)calls / RUN_PERIODS, least / RUN_PERIODS,
                            least / calls);
}

/* Each reason must have come up, or the random traces do not test it. */
static void test_random_showed_all(void)
{
    for (int i = 0; i < SDB_REASONS; i++) {
        g_test_message("%s: %" G_GUINT64_FORMAT, sdb_reason_name(i),
                       all_said[i]);
        g_assert_cmpuint(all_said[i], >, 100);
    }
    g_assert_true(seen_quiescent);
    g_assert_true(seen_passed);
    g_assert_true(seen_sampled_early);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/sdb/paper/defaults", test_defaults_are_the_papers);
    g_test_add_func("/sdb/paper/kernel-stores",
                    test_kernel_seven_and_eight_stores);
    g_test_add_func("/sdb/paper/flush", test_arrays_are_flushed);
    g_test_add_func("/sdb/paper/value",
                    test_same_address_other_value_is_unique);
    g_test_add_func("/sdb/paper/width", test_value_is_as_wide_as_the_store);
    g_test_add_func("/sdb/paper/user", test_user_both_arrays);
    g_test_add_func("/sdb/paper/search-loop", test_register_search_loop);
    g_test_add_func("/sdb/paper/full", test_full_array_stops_watching);
    g_test_add_func("/sdb/paper/mode-change", test_mode_change_is_progress);
    g_test_add_func("/sdb/paper/thresholds", test_thresholds);
    g_test_add_func("/sdb/recurrence/idle-loop", test_idle_loop);
    g_test_add_func("/sdb/recurrence/subset",
                    test_only_the_period_before_counts);
    g_test_add_func("/sdb/recurrence/size", test_sixty_four_addresses);
    g_test_add_func("/sdb/recurrence/broken-row", test_row_is_broken);
    g_test_add_func("/sdb/recurrence/rest", test_rest);
    g_test_add_func("/sdb/either", test_either);
    g_test_add_func("/sdb/config/bad", test_bad_configurations);
    g_test_add_func("/sdb/config/names", test_names);
    g_test_add_func("/sdb/config/live", test_reconfigure);
    g_test_add_func("/sdb/snapshot/bad", test_bad_snapshots);
    for (unsigned i = 0; i < G_N_ELEMENTS(distributions); i++) {
        g_autofree char *path = g_strdup_printf("/sdb/random/%s",
                                                distributions[i].name);

        g_test_add_data_func(path, &distributions[i], test_random);
    }
    g_test_add_func("/sdb/random/showed-all", test_random_showed_all);
    for (unsigned i = 0; g_test_perf() && i < G_N_ELEMENTS(host_loads); i++) {
        g_autofree char *path = g_strdup_printf("/sdb/perf/%s",
                                                host_loads[i].name);

        g_test_add_data_func(path, &host_loads[i], test_perf);
    }
    return g_test_run();
}
