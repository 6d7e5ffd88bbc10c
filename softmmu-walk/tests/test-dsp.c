/*
 * Unit tests of dynamic switching paging: the paper's table 1, each edge of its
 * figure 5, thresholds exactly, the list of VMs, samples, experiments, states
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "dsp.h"

#define HZ UINT64_C(2800000000)
#define SECOND ((int64_t)HZ)
#define INSNS UINT64_C(10000000000)     /* of a sample: 1e10 */

static const DspMode modes[] = { DSP_NESTED, DSP_SHADOW };

/*
 * A sample with these rates for 1000 instructions: @faults in 1e-7, @misses in
 * 1/1000.  1e10 instructions have 1e7 times 1000.
 */
static DspCounters rates(uint64_t faults, uint64_t misses)
{
    return (DspCounters) {
        .insns = INSNS,
        .faults = faults,
        .misses = misses * 10000,
    };
}

static DspSettings paper(void)
{
    DspSettings s;

    dsp_settings_default(&s, HZ);
    return s;
}

/* The decision on @n samples, of which the last one is now */
static DspMode decide(const DspSettings *s, DspMode mode,
                      const DspCounters *samples, unsigned n, uint64_t rule)
{
    uint64_t by;
    DspMode after = dsp_decide(s, mode, samples, n, &by);

    g_assert_cmpuint(by, ==, rule);
    return after;
}

/* Three samples alike, as a program has them whose phases are long */
static void assert_rule(const DspSettings *s, DspCounters c, uint64_t rule)
{
    DspCounters samples[] = { c, c, c };

    for (unsigned m = 0; m < G_N_ELEMENTS(modes); m++) {
        DspMode after = decide(s, modes[m], samples, 3, rule);

        switch (rule) {
        case DSP_RULE_MISSES:
        case DSP_RULE_RATIO_LOW:
            g_assert_cmpint(after, ==, DSP_SHADOW);
            break;
        case DSP_RULE_FAULTS:
        case DSP_RULE_NO_MISSES:
        case DSP_RULE_RATIO_HIGH:
            g_assert_cmpint(after, ==, DSP_NESTED);
            break;
        default:
            g_assert_cmpint(after, ==, modes[m]);
        }
    }
}

/* --- Table 1: samples of SPEC INT on a 32-bit guest, and who wins --- */

/* Rows of numbers; "> 150000" and "< 1" are numbers beyond these. */
static void test_table_1(void)
{
    static const struct {
        uint64_t faults, misses;        /* 1e-7 and 1e-3 for 1000 */
        uint64_t rule;
    } rows[] = {
        { 40, 500, DSP_RULE_RATIO_LOW },            /* SP */
        { 125, 500, DSP_RULE_RATIO_HIGH },          /* HAP */
        { 0, 400, DSP_RULE_RATIO_LOW },             /* a draw */
        { 160000, 900, DSP_RULE_FAULTS },           /* HAP */
        { 10000, 2400, DSP_RULE_FAULTS },           /* HAP */
        { 4700, 300, DSP_RULE_RATIO_HIGH },         /* a draw */
        { 1600, 16000, DSP_RULE_MISSES },           /* SP */
        { 90000, 2700, DSP_RULE_FAULTS },           /* HAP */
        { 0, 20, DSP_RULE_LOW },                    /* a draw, mostly so */
        { 49, 4000, DSP_RULE_RATIO_LOW },           /* SP */
        { 200000, 500, DSP_RULE_FAULTS },           /* HAP */
    };
    DspSettings s = paper();

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        assert_rule(&s, rates(rows[i].faults, rows[i].misses), rows[i].rule);
    }
}

/* Shares of samples after which the VM is in shadow mode, from both modes */
static void assert_shadow(const DspCounters *period, unsigned n, unsigned least,
                          unsigned most)
{
    DspSettings s = paper();

    for (unsigned m = 0; m < G_N_ELEMENTS(modes); m++) {
        DspCounters samples[120];
        DspMode mode = modes[m];
        unsigned shadow = 0;

        for (unsigned i = 0; i < 120; i++) {
            uint64_t rule;

            samples[i] = period[i % n];
            mode = dsp_decide(&s, mode, samples, i + 1, &rule);
            shadow += mode == DSP_SHADOW;
        }
        g_assert_cmpuint(shadow, >=, least);
        g_assert_cmpuint(shadow, <=, most);
    }
}

/* Rows in words, as sequences of samples that fit them */
static void test_table_1_in_words(void)
{
    /* "0 or 10000" faults, 0.3 misses, HAP wins: bursts in two of five */
    const DspCounters bursts[] = { rates(10000, 300), rates(0, 300),
                                   rates(0, 300), rates(10000, 300),
                                   rates(0, 300) };
    /* "sometimes > 10000", "frequently > 10", SP wins: in one of six */
    const DspCounters mixed[] = { rates(0, 11000), rates(0, 12000),
                                  rates(11000, 12000), rates(0, 11000),
                                  rates(10, 5000), rates(0, 13000) };
    /* "0, sometimes 100", 0.02, a draw: whatever it is, no back and forth */
    const DspCounters quiet[] = { rates(0, 20), rates(0, 20), rates(99, 20) };
    DspSettings s = paper();

    assert_shadow(bursts, 5, 0, 0);
    assert_shadow(mixed, 6, 100, 120);
    for (unsigned m = 0; m < 2; m++) {
        for (unsigned n = 1; n <= 3; n++) {
            g_assert_cmpint(decide(&s, modes[m], quiet, n, DSP_RULE_LOW), ==,
                            modes[m]);
        }
    }
}

/* --- Figure 5: each edge, and each threshold from both sides --- */

static void test_edges(void)
{
    DspSettings s = paper();
    DspCounters c;

    /* 1: misses above 10, faults below 0.8 * 5000 */
    assert_rule(&s, rates(3999, 10001), DSP_RULE_MISSES);
    assert_rule(&s, rates(4000, 10001), DSP_RULE_RATIO_HIGH);
    assert_rule(&s, rates(3999, 10000), DSP_RULE_RATIO_HIGH);
    assert_rule(&s, rates(1000, 10000), DSP_RULE_RATIO_LOW);
    /* 2: faults above 5000, misses below 8 */
    assert_rule(&s, rates(5001, 7999), DSP_RULE_FAULTS);
    assert_rule(&s, rates(5001, 8000), DSP_RULE_RATIO_HIGH);
    assert_rule(&s, rates(5000, 7999), DSP_RULE_RATIO_HIGH);
    /* 3: misses below 0.1 and faults below 100 */
    assert_rule(&s, rates(99, 99), DSP_RULE_LOW);
    assert_rule(&s, rates(0, 0), DSP_RULE_LOW);
    assert_rule(&s, rates(100, 99), DSP_RULE_RATIO_HIGH);
    assert_rule(&s, rates(99, 100), DSP_RULE_RATIO_HIGH);
    assert_rule(&s, rates(0, 100), DSP_RULE_RATIO_LOW);
    /* 4: no misses, too many faults for 3 and too few for 2 */
    assert_rule(&s, rates(100, 0), DSP_RULE_NO_MISSES);
    assert_rule(&s, rates(5000, 0), DSP_RULE_NO_MISSES);
    assert_rule(&s, rates(5001, 0), DSP_RULE_FAULTS);
    /* 5, 6, 7: for 1 miss 200 and 150; equal is between */
    assert_rule(&s, rates(201, 1000), DSP_RULE_RATIO_HIGH);
    assert_rule(&s, rates(200, 1000), DSP_RULE_RATIO_BETWEEN);
    assert_rule(&s, rates(150, 1000), DSP_RULE_RATIO_BETWEEN);
    assert_rule(&s, rates(149, 1000), DSP_RULE_RATIO_LOW);
    /* a sample without instructions has no rates */
    c = (DspCounters) { .misses = 5, .faults = 5 };
    assert_rule(&s, c, DSP_NO_INSNS);
}

/* 8: now and on the average are in different bands, all six pairs */
static void test_mixed(void)
{
    DspSettings s = paper();
    const uint64_t of_band[] = { 100, 170, 1000 };

    for (unsigned now = 0; now < 3; now++) {
        for (unsigned mean = 0; mean < 3; mean++) {
            /* three ratios whose mean is of_band[mean] */
            uint64_t rest = 3 * of_band[mean] > of_band[now] ?
                            3 * of_band[mean] - of_band[now] : 0;
            DspCounters samples[] = { rates(rest / 2, 1000),
                                      rates(rest - rest / 2, 1000),
                                      rates(of_band[now], 1000) };
            static const uint64_t rules[] = {
                DSP_RULE_RATIO_LOW, DSP_RULE_RATIO_BETWEEN, DSP_RULE_RATIO_HIGH
            };

            if (rest == 0) {        /* 1000 / 3 is above, whatever was before */
                g_assert_cmpuint(now, ==, 2);
                decide(&s, DSP_NESTED, samples, 3, DSP_RULE_RATIO_HIGH);
                continue;
            }
            for (unsigned m = 0; m < 2; m++) {
                DspMode after = decide(&s, modes[m], samples, 3, now == mean ?
                                       rules[now] : DSP_RULE_RATIO_MIXED);

                if (now != mean || now == 1) {
                    g_assert_cmpint(after, ==, modes[m]);
                }
            }
        }
    }
    /* A high ratio now, low ones in a longer history: 1000 in 30 is 33. */
    s.history = 30;
    {
        DspCounters samples[30];

        memset(samples, 0, sizeof(samples));
        for (unsigned i = 0; i < 29; i++) {
            samples[i] = rates(0, 1000);
        }
        samples[29] = rates(1000, 1000);
        decide(&s, DSP_SHADOW, samples, 30, DSP_RULE_RATIO_MIXED);
        samples[29] = rates(100, 1000);
        decide(&s, DSP_SHADOW, samples, 30, DSP_RULE_RATIO_LOW);
    }
}

/* The mean is of ratios, and exact at a threshold: 100, 200, 300 have 200. */
static void test_mean(void)
{
    DspSettings s = paper();
    DspCounters samples[] = { rates(100, 1000), rates(600, 2000),
                              rates(200, 1000) };
    const DspCounters no_misses = rates(100, 0);

    decide(&s, DSP_NESTED, samples, 3, DSP_RULE_RATIO_BETWEEN);
    samples[0].faults++;
    decide(&s, DSP_NESTED, samples, 3, DSP_RULE_RATIO_MIXED);
    samples[0].faults = 0;
    samples[1] = rates(499, 2000);      /* 249.5 and 200: mean 149.8 */
    decide(&s, DSP_NESTED, samples, 3, DSP_RULE_RATIO_MIXED);
    samples[1] = rates(500, 2000);      /* 450 / 3 */
    decide(&s, DSP_NESTED, samples, 3, DSP_RULE_RATIO_BETWEEN);
    /* A sample without misses has no ratio: the mean is of the others. */
    samples[0] = no_misses;
    samples[1] = rates(300, 2000);      /* 150 and 200 */
    decide(&s, DSP_NESTED, samples, 3, DSP_RULE_RATIO_BETWEEN);
    /* Less history than it may have: what there is. */
    samples[0] = rates(201, 1000);
    decide(&s, DSP_SHADOW, samples, 1, DSP_RULE_RATIO_HIGH);
    /* Only the last three count. */
    {
        DspCounters four[] = { rates(90000, 1000), rates(10, 1000),
                               rates(10, 1000), rates(10, 1000) };

        decide(&s, DSP_NESTED, four, 4, DSP_RULE_RATIO_LOW);
        s.history = 4;
        decide(&s, DSP_NESTED, four, 4, DSP_RULE_RATIO_MIXED);
        s.history = 1;
        four[3] = rates(1000, 1000);
        decide(&s, DSP_SHADOW, four, 4, DSP_RULE_RATIO_HIGH);
    }
}

/* Counters as large as they can be: no product overflows. */
static void test_large(void)
{
    DspSettings s = paper();
    DspCounters c = { UINT64_MAX, UINT64_MAX, UINT64_MAX };

    /* each instruction faults and misses: 1000 for 1000, the ratio is 1 */
    decide(&s, DSP_SHADOW, &c, 1, DSP_RULE_RATIO_HIGH);
    s.ratio_upper = s.ratio_lower = DSP_UNIT;
    decide(&s, DSP_SHADOW, &c, 1, DSP_RULE_RATIO_BETWEEN);
    c.faults--;
    decide(&s, DSP_SHADOW, &c, 1, DSP_RULE_RATIO_LOW);
    s.fault_upper = s.miss_upper = s.ratio_upper = DSP_THRESHOLD_MAX;
    s.ratio_lower = DSP_THRESHOLD_MAX;
    c.misses = 1;
    decide(&s, DSP_SHADOW, &c, 1, DSP_RULE_RATIO_HIGH);
}

/* --- Thresholds as text --- */

static void test_parse(void)
{
    static const struct {
        const char *text;
        uint64_t value;
        const char *again;
    } good[] = {
        { "10", 10 * DSP_UNIT, "10" }, { "0.1", DSP_UNIT / 10, "0.1" },
        { "5000e-7", 5000, "0.0005" }, { "200e-7", 200, "0.00002" },
        { "0", 0, "0" }, { "1e-7", 1, "0.0000001" },
        { "100000", DSP_THRESHOLD_MAX, "100000" },
        { "1e5", DSP_THRESHOLD_MAX, "100000" },
        { "1.50E+1", 15 * DSP_UNIT, "15" }, { "0e30", 0, "0" },
        { "10e-8", 1, "0.0000001" }, { "0.00000010", 1, "0.0000001" },
    };
    static const char *const bad[] = {
        "", "-1", "+1", ".5", "5.", "x", "1x", "1e", "1e-", "0x10", "1e99",
        "100000.0000001", "1e6", "1e-8", "0.00000001", "1 ", " 1", "nan",
        "99999999999999999999", "1e31", "1,5",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autofree char *text = NULL;
        uint64_t value = 77;
        char *why = NULL;

        g_assert_true(dsp_threshold_parse(good[i].text, &value, &why));
        g_assert_cmpuint(value, ==, good[i].value);
        text = dsp_threshold_text(value);
        g_assert_cmpstr(text, ==, good[i].again);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *why = NULL;
        uint64_t value = 77;

        g_assert_false(dsp_threshold_parse(bad[i], &value, &why));
        g_assert_nonnull(strstr(why, "100000"));
        g_assert_cmpuint(value, ==, 77);
    }
}

static void test_settings(void)
{
    DspCounters none = {};
    Dsp *d = dsp_new(1);
    static const struct {
        size_t offset;
        uint64_t value;
        const char *says;
    } bad[] = {
        { offsetof(DspSettings, interval), 0, "interval" },
        { offsetof(DspSettings, history), 0, "from 1 to 64" },
        { offsetof(DspSettings, history), 65, "from 1 to 64" },
        { offsetof(DspSettings, keep), 0, "from 1 to 65536" },
        { offsetof(DspSettings, margin), 101, "from 1 to 100" },
        { offsetof(DspSettings, margin), 0, "from 1 to 100" },
        { offsetof(DspSettings, fault_upper), 99,
          "page faults: the upper threshold 0.0000099 is below the lower one "
          "0.00001" },
        { offsetof(DspSettings, miss_lower), 10 * DSP_UNIT + 1, "TLB misses" },
        { offsetof(DspSettings, ratio_lower), 201, "for a TLB miss" },
        { offsetof(DspSettings, miss_upper), DSP_THRESHOLD_MAX + 1, "100000" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *why = NULL;
        DspSettings s = paper();

        *(uint64_t *)((char *)&s + bad[i].offset) = bad[i].value;
        g_assert_false(dsp_enable(d, 0, &s, DSP_NESTED, 0, &none, &why));
        g_assert_nonnull(strstr(why, bad[i].says));
        g_assert_false(dsp_is_enabled(d, 0));
        g_assert_cmpint(dsp_next(d), ==, INT64_MAX);
    }
    dsp_free(d);
}

/* --- The list --- */

static void test_list(void)
{
    Dsp *d = dsp_new(3);
    DspSettings s = paper(), quick = paper();
    DspCounters c[3] = {};
    DspTotals totals;
    DspMode former;
    char *why = NULL;

    quick.interval = HZ;
    g_assert_cmpint(dsp_next(d), ==, INT64_MAX);
    g_assert_false(dsp_disable(d, 1, 0, &former, &why));
    g_assert_cmpstr(why, ==, "VM 1 is not switched by DSP");
    g_clear_pointer(&why, g_free);

    /* Only these are sampled, each at its own interval. */
    g_assert_true(dsp_enable(d, 0, &s, DSP_NESTED, SECOND, &c[0], &why));
    g_assert_true(dsp_enable(d, 2, &quick, DSP_SHADOW, 2 * SECOND, &c[2],
                             &why));
    g_assert_cmpint(dsp_next(d), ==, 3 * SECOND);
    g_assert_true(dsp_is_due(d, 2, 3 * SECOND));
    g_assert_false(dsp_is_due(d, 2, 3 * SECOND - 1));
    g_assert_false(dsp_is_due(d, 0, 3 * SECOND));
    g_assert_false(dsp_is_due(d, 1, INT64_MAX));
    g_assert_false(dsp_enable(d, 2, &s, DSP_NESTED, 3 * SECOND, &c[2], &why));
    g_assert_cmpstr(why, ==, "VM 2 is switched by DSP already");
    g_clear_pointer(&why, g_free);

    /* VM 2: faults in its first second */
    c[2] = rates(90000, 100);
    g_assert_cmpint(dsp_sample(d, 2, 3 * SECOND, &c[2])->after, ==, DSP_NESTED);
    g_assert_cmpint(dsp_mode(d, 2), ==, DSP_NESTED);
    g_assert_cmpint(dsp_next(d), ==, 4 * SECOND);

    /* Each goes back to what it had; the last one ends the sampling. */
    g_assert_true(dsp_disable(d, 2, 7 * SECOND / 2, &former, &why));
    g_assert_cmpint(former, ==, DSP_SHADOW);
    g_assert_cmpint(dsp_mode(d, 2), ==, DSP_SHADOW);
    g_assert_cmpint(dsp_next(d), ==, 6 * SECOND);

    /* Shadow from 2 to 3 s, nested until it left, and the change back */
    dsp_totals(d, 2, 9 * SECOND, &totals);
    g_assert_cmpuint(totals.cycles[DSP_SHADOW], ==, SECOND);
    g_assert_cmpuint(totals.cycles[DSP_NESTED], ==, SECOND / 2);
    g_assert_cmpuint(totals.switches, ==, 2);
    g_assert_true(dsp_disable(d, 0, 5 * SECOND, &former, &why));
    g_assert_cmpint(former, ==, DSP_NESTED);
    g_assert_cmpint(dsp_next(d), ==, INT64_MAX);

    /* It joins anew: its own counters go on, its totals begin again. */
    g_assert_true(dsp_enable(d, 2, &quick, DSP_SHADOW, 10 * SECOND, &c[2],
                             &why));
    g_assert_cmpuint(dsp_samples(d, 2), ==, 0);
    c[2].insns += INSNS;
    g_assert_cmpuint(dsp_sample(d, 2, 11 * SECOND, &c[2])->rule, ==,
                     DSP_RULE_LOW);
    dsp_free(d);
}

static void test_samples(void)
{
    Dsp *d = dsp_new(1);
    DspSettings s = paper();
    DspCounters c = { 1000, 1000, 1000 };
    DspTotals totals;
    char *why = NULL;

    s.interval = 100;
    s.keep = 4;
    g_assert_true(dsp_enable(d, 0, &s, DSP_NESTED, 1000, &c, &why));
    for (unsigned i = 0; i < 6; i++) {
        const DspSample *sample;

        g_assert_cmpint(dsp_next(d), ==, 1100 + 100 * i);
        c.insns += INSNS;
        /* misses in the first three: shadow; then faults: nested */
        c.misses += i < 3 ? 11 * (INSNS / 1000) : 0;
        c.faults += i < 3 ? 0 : 6000;
        sample = dsp_sample(d, 0, 1100 + 100 * i + 7, &c);
        g_assert_cmpint(sample->time, ==, 1107 + 100 * i);
        g_assert_cmpuint(sample->counted.insns, ==, INSNS);
        g_assert_cmpuint(sample->counted.faults, ==, i < 3 ? 0 : 6000);
        g_assert_cmpint(sample->before, ==, i == 0 || i > 3 ? DSP_NESTED
                                                            : DSP_SHADOW);
        g_assert_cmpint(sample->after, ==, i < 3 ? DSP_SHADOW : DSP_NESTED);
    }
    g_assert_cmpuint(dsp_samples(d, 0), ==, 4);
    g_assert_cmpint(dsp_sample_at(d, 0, 0)->time, ==, 1307);
    g_assert_cmpint(dsp_sample_at(d, 0, 3)->time, ==, 1607);
    dsp_totals(d, 0, 1700, &totals);
    g_assert_cmpuint(totals.samples, ==, 6);
    g_assert_cmpuint(totals.switches, ==, 2);
    /* nested to 1107, shadow to 1407, nested to 1700 */
    g_assert_cmpuint(totals.cycles[DSP_NESTED], ==, 107 + 293);
    g_assert_cmpuint(totals.cycles[DSP_SHADOW], ==, 300);
    g_assert_cmpuint(totals.decisions[DSP_RULE_MISSES], ==, 3);
    g_assert_cmpuint(totals.decisions[DSP_RULE_FAULTS], ==, 3);

    /* Two samples late: the next one is at a time of the same row. */
    c.insns += INSNS;
    dsp_sample(d, 0, 1950, &c);
    g_assert_cmpint(dsp_next(d), ==, 2000);

    /* By hand, to what it is and to what it is not; back by the next rule. */
    dsp_forced(d, 0, DSP_NESTED, 1960);
    dsp_forced(d, 0, DSP_SHADOW, 1960);
    g_assert_cmpint(dsp_mode(d, 0), ==, DSP_SHADOW);
    c.insns += INSNS;
    c.faults += 6000;
    g_assert_cmpint(dsp_sample(d, 0, 2000, &c)->before, ==, DSP_SHADOW);
    g_assert_cmpint(dsp_mode(d, 0), ==, DSP_NESTED);
    dsp_totals(d, 0, 2000, &totals);
    g_assert_cmpuint(totals.cycles[DSP_SHADOW], ==, 340);
    g_assert_cmpuint(totals.switches, ==, 4);

    /* A guest's counter that was set back has counted nothing. */
    c.insns += INSNS;
    c.faults = 5;
    g_assert_cmpuint(dsp_sample(d, 0, 2100, &c)->counted.faults, ==, 0);
    c.insns += INSNS;
    c.faults = 6;
    g_assert_cmpuint(dsp_sample(d, 0, 2200, &c)->counted.faults, ==, 1);

    /* Counters that come have counted before, and no sample has that. */
    c.faults += 1000000;
    dsp_faults_begin_anew(d, 0, c.faults);
    c.faults += 7;
    c.insns += INSNS;
    g_assert_cmpuint(dsp_sample(d, 0, 2210, &c)->counted.faults, ==, 7);

    /* Other settings: samples that are too many go, time begins anew. */
    s.keep = 2;
    s.interval = 1000;
    g_assert_true(dsp_change(d, 0, &s, 2250, &why));
    g_assert_cmpuint(dsp_samples(d, 0), ==, 2);
    g_assert_cmpint(dsp_next(d), ==, 3250);
    s.margin = 0;
    g_assert_false(dsp_change(d, 0, &s, 2250, &why));
    g_assert_cmpuint(dsp_settings(d, 0)->margin, ==, 80);
    g_free(why);
    dsp_free(d);
}

/* Each second there and back; what was counted does not matter. */
static void test_experiments(void)
{
    static const DspExperiment kinds[] = {
        DSP_NESTED_SHADOW_NESTED, DSP_SHADOW_NESTED_SHADOW
    };

    for (unsigned k = 0; k < 2; k++) {
        Dsp *d = dsp_new(1);
        DspSettings s = paper();
        DspCounters c = {};
        DspTotals totals;
        char *why = NULL;

        s.interval = HZ;
        s.experiment = kinds[k];
        /* It begins in the other mode: one switch before all others. */
        g_assert_true(dsp_enable(d, 0, &s, modes[!k], 0, &c, &why));
        g_assert_cmpint(dsp_mode(d, 0), ==, modes[k]);
        for (unsigned i = 1; i <= 10; i++) {
            const DspSample *sample;

            c.insns += INSNS;
            c.misses += INSNS / 10;
            c.faults += i % 2 * 1000000;
            sample = dsp_sample(d, 0, i * SECOND, &c);
            g_assert_cmpuint(sample->rule, ==, DSP_EXPERIMENT);
            g_assert_cmpint(sample->before, ==, modes[k]);
            g_assert_cmpint(sample->after, ==, modes[k]);
        }
        dsp_totals(d, 0, 10 * SECOND, &totals);
        g_assert_cmpuint(totals.switches, ==, 1 + 2 * 10);
        g_assert_cmpuint(totals.cycles[modes[k]], ==, 10 * HZ);
        dsp_free(d);
    }
}

/* --- Saved state --- */

static void some_samples(Dsp *d, unsigned from, unsigned to, DspCounters *c,
                         GRand *rand)
{
    for (unsigned i = from; i < to; i++) {
        c->insns += INSNS;
        c->misses += g_rand_int_range(rand, 0, 200000000);
        c->faults += g_rand_int_range(rand, 0, 8000);
        dsp_sample(d, 1, i * SECOND, c);
    }
}

static void test_save(void)
{
    Dsp *d = dsp_new(2), *loaded = dsp_new(2), *other = dsp_new(3);
    DspSettings s = paper();
    g_autoptr(GVariant) state = NULL, one = NULL, two = NULL;
    GRand *rand = g_rand_new_with_seed(4), *again;
    DspCounters c = {}, d2;
    DspMode former;
    char *why = NULL;

    s.interval = HZ;
    s.keep = 10;
    g_assert_true(dsp_enable(d, 1, &s, DSP_SHADOW, 0, &c, &why));
    some_samples(d, 1, 30, &c, rand);
    state = g_variant_ref_sink(dsp_save(d));
    g_assert_true(dsp_load(loaded, state, &why));
    again = g_rand_copy(rand);
    d2 = c;
    some_samples(d, 30, 60, &c, rand);
    some_samples(loaded, 30, 60, &d2, again);
    one = g_variant_ref_sink(dsp_save(d));
    two = g_variant_ref_sink(dsp_save(loaded));
    g_assert_true(g_variant_equal(one, two));
    g_assert_cmpint(dsp_next(d), ==, dsp_next(loaded));
    g_assert_true(dsp_disable(loaded, 1, 61 * SECOND, &former, &why));
    g_assert_cmpint(former, ==, DSP_SHADOW);

    g_assert_false(dsp_load(other, state, &why));
    g_assert_nonnull(strstr(why, "3 VMs"));
    g_free(why);
    g_rand_free(rand);
    g_rand_free(again);
    dsp_free(d);
    dsp_free(loaded);
    dsp_free(other);
}

/* Any byte of a state is another: it is loaded, or refused, and no more. */
static void test_damaged(void)
{
    Dsp *d = dsp_new(2), *victim = dsp_new(2);
    DspSettings s = paper();
    g_autoptr(GVariant) state = NULL;
    g_autofree uint8_t *bytes = NULL;
    GRand *rand = g_rand_new_with_seed(4);
    DspCounters c = {};
    char *why = NULL;
    gsize size;

    g_assert_true(dsp_enable(d, 1, &s, DSP_SHADOW, 0, &c, &why));
    some_samples(d, 1, 5, &c, rand);
    state = g_variant_ref_sink(dsp_save(d));
    size = g_variant_get_size(state);
    bytes = g_malloc(size);
    for (gsize i = 0; i < size; i++) {
        g_autoptr(GVariant) damaged = NULL;
        g_autofree char *reason = NULL;

        g_variant_store(state, bytes);
        bytes[i] ^= 0x81;
        damaged = g_variant_ref_sink(g_variant_new_from_data(
            G_VARIANT_TYPE(DSP_STATE), bytes, size, false, NULL, NULL));
        if (dsp_load(victim, damaged, &reason)) {
            g_assert_null(reason);
            dsp_next(victim);
        } else {
            g_assert_nonnull(reason);
        }
    }
    g_rand_free(rand);
    dsp_free(d);
    dsp_free(victim);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/dsp/table-1", test_table_1);
    g_test_add_func("/dsp/table-1-in-words", test_table_1_in_words);
    g_test_add_func("/dsp/edges", test_edges);
    g_test_add_func("/dsp/mixed", test_mixed);
    g_test_add_func("/dsp/mean", test_mean);
    g_test_add_func("/dsp/large", test_large);
    g_test_add_func("/dsp/parse", test_parse);
    g_test_add_func("/dsp/settings", test_settings);
    g_test_add_func("/dsp/list", test_list);
    g_test_add_func("/dsp/samples", test_samples);
    g_test_add_func("/dsp/experiments", test_experiments);
    g_test_add_func("/dsp/save", test_save);
    g_test_add_func("/dsp/damaged", test_damaged);
    return g_test_run();
}
