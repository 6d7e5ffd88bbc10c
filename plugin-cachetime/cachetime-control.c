/*
 * The cache-timing plugin: when it counts, intervals, commands, statistics
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "cachetime.h"
#include "json-writer.h"

/* What QEMU reads of an answer to a command (its qobject/json-streamer.c) */
#define ANSWER_TOKENS_MAX (2u << 20)

/* --- On and off, reports --- */

CacheReport cachetime_report(void)
{
    int64_t end = C.on ? C.now : C.on_until;
    int64_t counted = C.counted + (C.on ? C.now - C.on_since : 0);

    return (CacheReport) {
        .model = C.model,
        .attribution = C.attribution,
        .clock_hz = qemu_plugin_cores_clock_hz(),
        /* If it was off in between: as many cycles as it was on */
        .begin = end - counted,
        .end = end,
        .pcpus = C.timed ? C.pcpu_retired : NULL,
        .vcpus = C.timed ? C.vcpu_retired : NULL,
        .top = C.top,
    };
}

/* The open interval ends, unless it has no cycle: as while it is off. */
void cachetime_next_interval(void)
{
    g_autoptr(GString) line = NULL;
    CacheReport r;

    cachetime_harvest_all();
    r = cachetime_report();
    if (!cache_intervals_is_open(C.intervals, &r)) {
        return;
    }
    line = cache_intervals_next(C.intervals, &r);
    if (C.interval_out &&
        (fputs(line->str, C.interval_out) < 0 || fflush(C.interval_out))) {
        fprintf(stderr, "cachetime: intervals=%s: %s; there are no more\n",
                C.interval_file, strerror(errno));
        fclose(C.interval_out);
        C.interval_out = NULL;
    }
}

/* While no vCPU executes, or each of them sees it a little later. */
void cachetime_switch_on(bool on)
{
    CacheReport r;

    C.wanted = on;
    if (on == C.on) {
        return;
    }
    cachetime_harvest_all();
    cachetime_forget_rights();
    if (on) {
        C.on_since = C.now;
    } else {
        if (C.intervals) {
            cachetime_next_interval();
        }
        C.counted += C.now - C.on_since;
        C.on_until = C.now;
    }
    C.on = on;
    if (on && C.intervals) {
        r = cachetime_report();
        cache_intervals_begin(C.intervals, &r);
    }
    qemu_plugin_flush_translations();
}

void cachetime_reset_counters(void)
{
    CacheReport r;

    cachetime_harvest_all();
    cache_model_reset_counters(C.model);
    if (C.attribution) {
        attribution_reset(C.attribution);
    }
    memset(C.pcpu_retired, 0, C.pcpus * sizeof(CacheRetired));
    memset(C.vcpu_retired, 0, C.vcpus * sizeof(CacheRetired));
    C.uncached = 0;
    C.counted = 0;
    C.on_since = C.on_until = C.now;
    if (C.intervals) {
        r = cachetime_report();
        cache_intervals_begin(C.intervals, &r);
    }
}

uint64_t cachetime_all_insns(void)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < C.vcpus; i++) {
        sum += qemu_plugin_vcpu_insns(i, false) +
               qemu_plugin_vcpu_insns(i, true);
    }
    return sum;
}

/* The next of its bounds, or UINT64_MAX */
static uint64_t next_bound(const Region *region)
{
    return MIN(region->from >= region->next ? region->from : UINT64_MAX,
               region->to >= region->next ? region->to : UINT64_MAX);
}

/* What @region says when @value is reached is wanted. */
static void enter_region(Region *region, uint64_t value)
{
    if (region->from >= region->next && region->from <= value) {
        C.wanted = true;
    }
    if (region->to >= region->next && region->to <= value) {
        C.wanted = false;
    }
    region->next = value + 1;
}

int64_t cachetime_cores_reached(qemu_plugin_id_t id, int64_t cycle,
                                int64_t earliest, void *opaque)
{
    bool insns = next_bound(&C.insns) != UINT64_MAX;
    uint64_t next;

    C.now = cycle;
    cache_model_forget_before(C.model, earliest);
    if (C.intervals && cycle >= C.interval_end) {
        cachetime_next_interval();
        C.interval_end += (cycle - C.interval_end) / C.interval * C.interval +
                          C.interval;
    }
    enter_region(&C.time, cycle);
    if (insns) {
        enter_region(&C.insns, cachetime_all_insns());
    }
    if (C.wanted != C.on) {
        cachetime_switch_on(C.wanted);
    }
    if (insns) {
        return cycle;           /* nobody knows when: as soon as possible */
    }
    next = next_bound(&C.time);
    if (C.intervals) {
        next = MIN(next, (uint64_t)C.interval_end);
    }
    return MIN(next, INT64_MAX);
}

/* --- Commands --- */

static char *text_of(JsonWriter *w)
{
    return g_string_free(json_end(w), false);
}

static char *status(void)
{
    JsonWriter w;

    json_begin(&w, 0);
    json_open(&w, NULL, '{');
    json_bool(&w, "on", C.on);
    json_text(&w, "config", C.config_name);
    json_number(&w, "counted-cycles",
                C.counted + (C.on ? C.now - C.on_since : 0));
    json_number(&w, "uncached-accesses", C.uncached);
    json_number(&w, "host-memory", cache_model_memory(C.model) +
                (C.attribution ? attribution_memory(C.attribution) : 0));
    json_close(&w, '}');
    return text_of(&w);
}

/* Whether @file can be written; false, and why, if it is clear that not. */
bool cachetime_check_file(const char *file, char **why)
{
    g_autofree char *directory = g_path_get_dirname(file);
    const char *what = g_file_test(file, G_FILE_TEST_EXISTS) ? file : directory;

    if (!*file || g_file_test(file, G_FILE_TEST_IS_DIR)) {
        *why = g_strdup_printf("'%s' is no file that can be written", file);
        return false;
    }
    if (access(what, W_OK)) {
        *why = g_strdup_printf("%s cannot be written: %s", file,
                               strerror(errno));
        return false;
    }
    return true;
}

/* All of it or nothing, unless @file is a device or the like. */
bool cachetime_write_text(const char *file, GString *text, char **why)
{
    bool written;
    FILE *out;

    if (!cachetime_check_file(file, why)) {
        return false;
    }
    if (!g_file_test(file, G_FILE_TEST_EXISTS) ||
        (g_file_test(file, G_FILE_TEST_IS_REGULAR) &&
         !g_file_test(file, G_FILE_TEST_IS_SYMLINK))) {
        written = g_file_set_contents(file, text->str, text->len, NULL);
    } else {
        out = fopen(file, "w");
        written = out && fwrite(text->str, 1, text->len, out) == text->len;
        written = out && !fclose(out) && written;
    }
    if (!written) {
        *why = g_strdup_printf("%s cannot be written", file);
    }
    return written;
}

/* The answer to "report", or NULL, and why */
static char *report_command(const char *arguments, char **why)
{
    g_autofree char *out = qemu_plugin_command_argument(arguments, "file");
    g_autoptr(GString) text = NULL;
    CacheReport r;
    size_t tokens;

    if (out && (strchr("[{", out[0]) || g_str_equal(out, "null"))) {
        *why = g_strdup_printf("file: allowed is a name, not %s", out);
        return NULL;
    }
    cachetime_harvest_all();
    r = cachetime_report();
    text = cache_report_json(&r);
    if (out) {
        return cachetime_write_text(out, text, why) ? g_strdup("{}") : NULL;
    }
    tokens = json_tokens(text);
    if (tokens > ANSWER_TOKENS_MAX) {
        *why = g_strdup_printf("the report has %zu names, values and signs of "
                               "JSON; allowed in an answer are %u: file= "
                               "writes it into a file, and a smaller top= of "
                               "the plugin makes it shorter", tokens,
                               ANSWER_TOKENS_MAX);
        return NULL;
    }
    return g_string_free(g_steal_pointer(&text), false);
}

char *cachetime_command(qemu_plugin_id_t id, const char *name,
                        const char *arguments, char **why, void *opaque)
{
    static const char *const none[] = { NULL };
    static const char *const file[] = { "file", NULL };
    bool is_report = g_str_equal(name, "report");

    *why = qemu_plugin_command_check_arguments(arguments,
                                               is_report ? file : none);
    if (*why) {
        return NULL;
    }
    if (is_report) {
        return report_command(arguments, why);
    } else if (g_str_equal(name, "on") || g_str_equal(name, "off")) {
        cachetime_switch_on(g_str_equal(name, "on"));
    } else if (g_str_equal(name, "reset")) {
        if (C.intervals) {
            cachetime_next_interval();
        }
        cachetime_reset_counters();
    } else if (!g_str_equal(name, "status")) {
        *why = g_strdup_printf("no command '%s': there are off, on, report, "
                               "reset, status", name);
        return NULL;
    }
    return status();
}

/* --- Statistics --- */

/* Whose statistics these are, as the model names them */
static bool object_of(enum qemu_plugin_stat_target target, unsigned index,
                      CacheObject *object)
{
    switch (target) {
    case QEMU_PLUGIN_STAT_VCPU:
        *object = CACHE_OF_VCPU;
        return index < C.vcpus;
    case QEMU_PLUGIN_STAT_CORE:
        *object = CACHE_OF_PCPU;
        return index < C.pcpus;
    case QEMU_PLUGIN_STAT_VM:
        *object = CACHE_OF_VM;
        return index < cache_model_machine(C.model)->vms;
    default:
        *object = CACHE_OF_MACHINE;
        return true;
    }
}

static bool is_of(unsigned vcpu, CacheObject object, unsigned index)
{
    switch (object) {
    case CACHE_OF_VCPU:
        return vcpu == index;
    case CACHE_OF_PCPU:
        return C.vcpu[vcpu].core == (int)index;
    case CACHE_OF_VM:
        return cache_model_machine(C.model)->vm[vcpu] == index;
    default:
        return C.vcpu[vcpu].core >= 0;
    }
}

static void read_statistics(qemu_plugin_id_t id,
                            enum qemu_plugin_stat_target target, unsigned index,
                            uint64_t *values, void *opaque)
{
    const CacheStatistic *s;
    CacheObject object;
    unsigned n;

    s = cache_statistics(&n);
    if (!C.model || !object_of(target, index, &object)) {
        return;
    }
    lock();
    cache_statistics_read(C.model, object, index, values);
    for (unsigned i = 0; i < n; i++) {
        static const char *const names[KINDS] = {
            "fetches", "loads", "stores"
        };
        int mode = g_str_has_prefix(s[i].name, "user-");

        for (unsigned kind = 0; kind < KINDS; kind++) {
            const char *name = strchr(s[i].name, '-') + 1;

            for (unsigned v = 0; v < C.vcpus && g_str_equal(name, names[kind]);
                 v++) {
                if (is_of(v, object, index)) {
                    values[i] += cachetime_unharvested(v, kind, mode);
                }
            }
        }
    }
    unlock();
}

void cachetime_register_statistics(qemu_plugin_id_t id)
{
    static const enum qemu_plugin_stat_target targets[] = {
        QEMU_PLUGIN_STAT_VCPU, QEMU_PLUGIN_STAT_CORE,
        QEMU_PLUGIN_STAT_MACHINE, QEMU_PLUGIN_STAT_VM,
    };
    unsigned n;
    const CacheStatistic *s = cache_statistics(&n);
    g_autofree struct qemu_plugin_statistic *stats =
        g_new0(struct qemu_plugin_statistic, n);

    for (unsigned i = 0; i < n; i++) {
        stats[i].name = s[i].name;
        stats[i].kind = QEMU_PLUGIN_STAT_CUMULATIVE;
        stats[i].unit = s[i].cycles ? QEMU_PLUGIN_STAT_CYCLES
                                    : QEMU_PLUGIN_STAT_NUMBER;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(targets); i++) {
        qemu_plugin_register_statistics(id, targets[i], stats, n,
                                        read_statistics, NULL);
    }
}
