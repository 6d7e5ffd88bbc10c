/*
 * Unit tests of reports: JSON, tables, intervals, statistics, with every number
 * worked out by hand
 *
 *   test-cache-report --sample FILE
 *
 * writes the report of the run below, which qtest/test_cache_report.py holds
 * against the schema, and into FILE.intervals its intervals.
 *
 * The run: VCPUs 0 and 1 of VM 0 store to words 0 and 8 of one line in turn, 11
 * times each, VCPU 0 on PCPU 0, VCPU 1 on PCPU 1, privileged.  Then VCPU 2, of
 * VM 1 and in user mode, loads from 100 lines on PCPU 1.
 *
 *   VCPU 0: 1 miss answered by memory, 364 cycles, and 10 of coherence, 63 each
 *   VCPU 1: 11 misses answered by the other L2, 63 cycles each; the first is
 *           its first access, the others are of coherence
 *   VCPU 2: 100 misses answered by memory, 364 cycles each
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdio.h>
#include <string.h>

#include "cache-report.h"
#include "json-writer.h"

#define LINE     64
#define TRANSFER 63
#define MEMORY  364

#define SHARED   0x10000            /* machine addresses */
#define STREAM   0x80000
#define VIRTUAL  0x600000           /* of SHARED; of the stream 0x670000 */

/* What the guest executes in the name of the tests of scripts/cache-report */
#define PC_ZERO  0x400100
#define PC_ONE   0x400200
#define PC_TWO   0x500000

typedef struct Run {
    CacheModel *m;
    Attribution *a;
    int64_t clock;
    CacheRetired pcpus[2], vcpus[3];
    CacheReport report;
} Run;

static void begin(Run *run)
{
    static const unsigned vm[] = { 0, 0, 1 };
    CacheConfig c;
    CacheMachine machine = {
        .pcpus = 2, .vcpus = 3, .vms = 2, .vm = vm,
        .state_base = UINT64_C(1) << 40,
    };
    char *why = NULL;

    memset(run, 0, sizeof(*run));
    cache_config_default(&c);
    c.memory_variation = 0;
    run->m = cache_model_new(&c, &machine, &why);
    g_assert_cmpstr(why, ==, NULL);
    run->a = attribution_new(&c, &machine, NULL);
    run->report = (CacheReport) {
        .model = run->m, .attribution = run->a, .clock_hz = 1000000000,
        .pcpus = run->pcpus, .vcpus = run->vcpus, .top = 100,
    };
}

static void end(Run *run)
{
    attribution_free(run->a);
    cache_model_free(run->m);
}

static void access_memory(Run *run, unsigned pcpu, unsigned vcpu,
                          CacheKind kind, uint64_t address, uint64_t pc,
                          bool user)
{
    CacheAccess access = {
        .cycle = run->clock, .address = address, .size = 4, .pcpu = pcpu,
        .vcpu = vcpu, .kind = kind, .user = user,
    };
    AttributionEvent event = { &access, pc, address - SHARED + VIRTUAL };

    run->clock += 1000;
    cache_model_access(run->m, &access);
    attribution_access(run->a, run->m, &event);
}

static void share(Run *run)
{
    for (unsigned i = 0; i < 11; i++) {
        access_memory(run, 0, 0, CACHE_STORE, SHARED, PC_ZERO, false);
        access_memory(run, 1, 1, CACHE_STORE, SHARED + 32, PC_ONE, false);
    }
    run->pcpus[0][0] = run->vcpus[0][0] = 1000;
    run->pcpus[1][0] = run->vcpus[1][0] = 2000;
    run->report.end = 30000;
}

static void stream(Run *run)
{
    for (unsigned i = 0; i < 100; i++) {
        access_memory(run, 1, 2, CACHE_LOAD, STREAM + i * LINE, PC_TWO, true);
    }
    run->pcpus[1][1] = run->vcpus[2][1] = 4000;
    run->report.end = 129280;
}

static void assert_has(const GString *text, const char *part)
{
    if (!strstr(text->str, part)) {
        g_test_message("%s", text->str);
        g_error("there is no '%s'", part);
    }
}

/* --- The writer --- */

static void test_writer(void)
{
    JsonWriter w;
    GString *text;

    json_begin(&w, 1);
    json_open(&w, NULL, '{');
    json_text(&w, "text", "a \"b\" \\ c\n");
    json_number(&w, "number", UINT64_MAX);
    json_thousandths(&w, "thousandths", 12003);
    json_open(&w, "array", '[');
    json_bool(&w, NULL, true);
    json_bool(&w, NULL, false);
    json_address(&w, NULL, UINT64_C(0xfff0000000000000));
    json_open(&w, NULL, '{');
    json_close(&w, '}');
    json_close(&w, ']');
    json_bits(&w, "bits", UINT64_C(1) << 63 | 5);
    json_bits(&w, "none", 0);
    json_close(&w, '}');
    text = json_end(&w);
    g_assert_cmpstr(text->str, ==,
        "{\n"
        " \"text\": \"a \\\"b\\\" \\\\ c\\u000a\",\n"
        " \"number\": 18446744073709551615,\n"
        " \"thousandths\": 12.003,\n"
        " \"array\": [true, false, \"0xfff0000000000000\", {}],\n"
        " \"bits\": [0, 2, 63],\n"
        " \"none\": []\n"
        "}\n");
    g_string_free(text, true);

    json_begin(&w, 0);
    json_open(&w, NULL, '[');
    json_number(&w, NULL, 1);
    json_number(&w, NULL, 2);
    json_close(&w, ']');
    text = json_end(&w);
    g_assert_cmpstr(text->str, ==, "[1, 2]\n");
    g_string_free(text, true);
}

/* --- Reports --- */

static void test_json(void)
{
    Run run;
    GString *text, *again;

    begin(&run);
    share(&run);
    stream(&run);
    text = cache_report_json(&run.report);
    assert_has(text, "\"format\": \"cmp8-caches\"");
    assert_has(text, "\"end\": 129280");
    /* qtest/test_cache_report.py reads the rest.  A report changes nothing. */
    again = cache_report_json(&run.report);
    g_assert_cmpstr(text->str, ==, again->str);
    g_string_free(text, true);
    g_string_free(again, true);
    end(&run);
}

/*
 * Misses of 1000 instructions: VCPU 0 11 of 1000 instructions, one of which
 * missed the L3; VCPU 1 11 of 2000; VCPU 2 100 of 4000.  Privileged 22 of 3000,
 * which are 7.33.
 *
 * Stalls: VCPU 0 364 + 10 * 63 = 994, 37 % by memory; VCPU 1 11 * 63 = 693;
 * VCPU 2 100 * 364.  Privileged 1687, of them 364 by memory, 21.6 %.
 *
 * Memory: 101 lines of 64 bytes in 129,280 cycles, 0.05 bytes a cycle.
 */
static void test_table(void)
{
    Run run;
    GString *text;
    char **lines;

    begin(&run);
    share(&run);
    stream(&run);
    text = cache_report_table(&run.report);
    assert_has(text, "caches of 2 PCPUs, 3 VCPUs, cycles 0 to 129280\n");
    assert_has(text, "priv.        3000   0.00   7.33   7.33   0.33"
                     "    1687    0    0   78    0   22\n");
    assert_has(text, "user         4000   0.00  25.00  25.00  25.00"
                     "   36400    0    0    0    0  100\n");
    assert_has(text, "PCPU   0     1000   0.00  11.00  11.00   1.00"
                     "     994    0    0   63    0   37\n");
    /* 111 misses of 6000 instructions, 100 of them of the L3 */
    assert_has(text, "PCPU   1     6000   0.00  18.50  18.50  16.67"
                     "   37093    0    0    2    0   98\n");
    assert_has(text, "VCPU   1     2000   0.00   5.50   5.50   0.00"
                     "     693    0    0  100    0    0\n");
    assert_has(text, "VM     1     4000   0.00  25.00  25.00  25.00"
                     "   36400    0    0    0    0  100\n");
    assert_has(text, "memory: 6464 bytes, 0.050 a cycle, 0 % of what it can\n"
                     "21 lines from other L2s, 21 taken from other L2s, ");
    /* Of 38,087 cycles */
    assert_has(text, "0x0000000000500000 user  data       1     36400   96"
                     "    0    0    0    0  100\n");
    assert_has(text, "0x0000000000400100 priv. data       0       994    3"
                     "    0    0   63    0   37\n");
    assert_has(text, "0x0000000000600000 priv.            0      1687    4"
                     "    0    0   78    0   22\n");
    assert_has(text, "false sharing                                 19     1197"
                     "\n");
    assert_has(text, "undecided                                      1       63"
                     "\n");
    assert_has(text, "line 0x600000 (0x10000, priv., VM 0): 19 misses, "
                     "1197 cycles\n");
    assert_has(text, "  VCPU 0 at 0x400100: reads - writes 0 misses 10\n");
    assert_has(text, "  VCPU 1 at 0x400200: reads - writes 8 misses 9\n");

    lines = g_strsplit(text->str, "\n", -1);
    for (unsigned i = 0; lines[i]; i++) {
        g_assert_cmpuint(strlen(lines[i]), <=, 80);
    }
    g_strfreev(lines);
    g_string_free(text, true);
    end(&run);
}

/* Nothing was executed: no division by 0, and no entries. */
static void test_empty(void)
{
    Run run;
    GString *text;

    begin(&run);
    run.report.pcpus = NULL;
    run.report.vcpus = NULL;
    text = cache_report_table(&run.report);
    assert_has(text, "PCPU   0        -      -      -      -      -"
                     "       0    -    -    -    -    -\n");
    assert_has(text, "memory: 0 bytes\n");
    g_string_free(text, true);
    text = cache_report_json(&run.report);
    g_assert_null(strstr(text->str, "instructions"));
    g_assert_null(strstr(text->str, "mpki"));
    g_string_free(text, true);
    run.report.attribution = NULL;
    text = cache_report_json(&run.report);
    g_assert_null(strstr(text->str, "attribution"));
    g_string_free(text, true);
    end(&run);
}

/* --- Size --- */

static void test_tokens(void)
{
    JsonWriter w;
    GString *text;

    json_begin(&w, 2);
    json_open(&w, NULL, '{');                   /* { */
    json_text(&w, "a", "\"x\\, {1}: [");        /* "a" : "..." */
    json_bits(&w, "b", 5);                      /* , "b" : [ 0 , 2 ] */
    json_bool(&w, "c", false);                  /* , "c" : false */
    json_close(&w, '}');                        /* } */
    text = json_end(&w);
    g_assert_cmpuint(json_tokens(text), ==, 1 + 3 + 8 + 4 + 1);
    g_string_free(text, true);
}

/* --- Intervals --- */

static void test_intervals(void)
{
    Run run;
    CacheIntervals *intervals;
    GString *text;

    begin(&run);
    share(&run);
    intervals = cache_intervals_new(&run.report);
    stream(&run);
    text = cache_intervals_next(intervals, &run.report);
    /* What came before does not count, and what is 0 is not there. */
    g_assert_cmpstr(text->str, ==,
        "{\"format\": \"cmp8-caches-interval\", \"version\": 1, "
        "\"clock-hz\": 1000000000, \"number\": 0, \"begin\": 30000, "
        "\"end\": 129280, \"pcpus\": [{\"pcpu\": 0, \"lines-taken\": 0, "
        "\"lines-downgraded\": 0, \"lines-supplied\": 0, \"privileged\": {}, "
        "\"user\": {}}, {\"pcpu\": 1, \"lines-taken\": 0, "
        "\"lines-downgraded\": 0, \"lines-supplied\": 0, \"privileged\": {}, "
        "\"user\": {\"instructions\": 4000, \"loads\": 100, "
        "\"l1d-misses-compulsory\": 100, \"l2-misses-compulsory\": 100, "
        "\"l3-misses-compulsory\": 100, \"served-by-memory\": 100, "
        "\"stall-memory\": 36400, \"memory-bytes\": 6400}}], "
        "\"vcpus\": [{\"vcpu\": 0, \"vm\": 0, \"privileged\": {}, \"user\": {}}"
        ", {\"vcpu\": 1, \"vm\": 0, \"privileged\": {}, \"user\": {}}, "
        "{\"vcpu\": 2, \"vm\": 1, \"privileged\": {}, \"user\": "
        "{\"instructions\": 4000, \"loads\": 100, "
        "\"l1d-misses-compulsory\": 100, \"l2-misses-compulsory\": 100, "
        "\"l3-misses-compulsory\": 100, \"served-by-memory\": 100, "
        "\"stall-memory\": 36400, \"memory-bytes\": 6400}}]}\n");
    g_string_free(text, true);

    run.report.end = 200000;
    text = cache_intervals_next(intervals, &run.report);
    assert_has(text, "\"number\": 1, \"begin\": 129280, \"end\": 200000");
    g_assert_null(strstr(text->str, "loads"));
    g_string_free(text, true);

    cache_model_reset_counters(run.m);
    memset(run.pcpus, 0, sizeof(run.pcpus));
    memset(run.vcpus, 0, sizeof(run.vcpus));
    cache_intervals_begin(intervals, &run.report);
    access_memory(&run, 0, 0, CACHE_LOAD, SHARED + LINE, PC_ZERO, false);
    run.report.end = 300000;
    text = cache_intervals_next(intervals, &run.report);
    assert_has(text, "\"number\": 2, \"begin\": 200000, \"end\": 300000");
    assert_has(text, "\"loads\": 1,");
    g_string_free(text, true);

    /* Nobody counted until 400,000. */
    g_assert_false(cache_intervals_is_open(intervals, &run.report));
    run.report.end = 400000;
    cache_intervals_begin(intervals, &run.report);
    g_assert_false(cache_intervals_is_open(intervals, &run.report));
    run.report.end = 400001;
    g_assert_true(cache_intervals_is_open(intervals, &run.report));
    text = cache_intervals_next(intervals, &run.report);
    assert_has(text, "\"number\": 3, \"begin\": 400000, \"end\": 400001");
    g_string_free(text, true);
    cache_intervals_free(intervals);
    end(&run);
}

/* --- Statistics --- */

static uint64_t statistic(const Run *run, CacheObject object, unsigned number,
                          const char *name)
{
    unsigned n;
    const CacheStatistic *s = cache_statistics(&n);
    g_autofree uint64_t *values = g_new0(uint64_t, n);

    cache_statistics_read(run->m, object, number, values);
    for (unsigned i = 0; i < n; i++) {
        if (!strcmp(s[i].name, name)) {
            g_assert_true(s[i].cycles == (strstr(name, "stall") ||
                                          strstr(name, "wait")));
            return values[i];
        }
    }
    g_error("there is no statistic %s", name);
}

static void test_statistics(void)
{
    Run run;

    begin(&run);
    share(&run);
    stream(&run);
    g_assert_cmpuint(statistic(&run, CACHE_OF_PCPU, 1, "privileged-stores"), ==,
                     11);
    g_assert_cmpuint(statistic(&run, CACHE_OF_PCPU, 1, "user-loads"), ==, 100);
    g_assert_cmpuint(statistic(&run, CACHE_OF_PCPU, 1, "privileged-loads"), ==,
                     0);
    g_assert_cmpuint(statistic(&run, CACHE_OF_PCPU, 1, "user-stall-memory"), ==,
                     100 * MEMORY);
    g_assert_cmpuint(statistic(&run, CACHE_OF_VCPU, 0,
                               "privileged-l2-misses-coherence"), ==, 10);
    g_assert_cmpuint(statistic(&run, CACHE_OF_VM, 0,
                               "privileged-stall-transfer"), ==, 21 * TRANSFER);
    g_assert_cmpuint(statistic(&run, CACHE_OF_VM, 0, "user-wait-memory"), ==,
                     0);
    end(&run);
}

/* --- The sample --- */

static void append(const char *file, GString *text, const char *mode)
{
    FILE *f = fopen(file, mode);

    g_assert_nonnull(f);
    g_assert_cmpuint(fwrite(text->str, 1, text->len, f), ==, text->len);
    g_assert_cmpint(fclose(f), ==, 0);
    g_string_free(text, true);
}

static int write_sample(const char *file)
{
    g_autofree char *others = g_strconcat(file, ".intervals", NULL);
    CacheIntervals *intervals;
    Run run;

    begin(&run);
    intervals = cache_intervals_new(&run.report);
    share(&run);
    append(others, cache_intervals_next(intervals, &run.report), "w");
    stream(&run);
    append(others, cache_intervals_next(intervals, &run.report), "a");
    append(file, cache_report_json(&run.report), "w");
    cache_intervals_free(intervals);
    end(&run);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "--sample")) {
        return write_sample(argv[2]);
    }
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cache-report/writer", test_writer);
    g_test_add_func("/cache-report/json", test_json);
    g_test_add_func("/cache-report/table", test_table);
    g_test_add_func("/cache-report/empty", test_empty);
    g_test_add_func("/cache-report/tokens", test_tokens);
    g_test_add_func("/cache-report/intervals", test_intervals);
    g_test_add_func("/cache-report/statistics", test_statistics);
    return g_test_run();
}
