/*
 * The cache-timing plugin: its arguments.  docs/caches.rst has a table of them.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include "cachetime.h"

static unsigned default_state_words(const char *target)
{
    if (g_str_has_prefix(target, "sparc")) {
        return 277;             /* Wells et al., section 4.3 */
    } else if (g_str_equal(target, "x86_64")) {
        return 160;
    } else if (g_str_equal(target, "aarch64")) {
        return 128;
    }
    return 64;
}

/* Where our configurations are: beside the directory of this plugin's */
static char *config_directory(void)
{
    g_autofree char *plugins = NULL;
    Dl_info info;

    if (!dladdr(config_directory, &info)) {
        return g_strdup(".");
    }
    plugins = g_path_get_dirname(info.dli_fname);
    return g_build_filename(plugins, "..", "..", "configs", "caches", NULL);
}

static int compare_texts(gconstpointer one, gconstpointer other)
{
    return strcmp(*(char *const *)one, *(char *const *)other);
}

/* A file, or the name of one of ours; NULL, and why, if there is none. */
static char *config_file(const char *value, char **why)
{
    g_autofree char *directory = config_directory();
    g_autofree char *name = g_strdup_printf("%s.conf", value);
    g_autofree char *file = g_build_filename(directory, name, NULL);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *all = NULL;
    g_autoptr(GDir) dir = NULL;
    const char *entry;

    if (g_file_test(value, G_FILE_TEST_EXISTS)) {
        return g_strdup(value);
    }
    if (!strchr(value, '/') && g_file_test(file, G_FILE_TEST_EXISTS)) {
        return g_steal_pointer(&file);
    }
    dir = g_dir_open(directory, 0, NULL);
    while (dir && (entry = g_dir_read_name(dir))) {
        if (g_str_has_suffix(entry, ".conf")) {
            g_ptr_array_add(names, g_strndup(entry, strlen(entry) - 5));
        }
    }
    g_ptr_array_sort(names, compare_texts);     /* not as the directory is */
    g_ptr_array_add(names, NULL);
    all = g_strjoinv(" ", (char **)names->pdata);
    *why = g_strdup_printf("config=%s: there is no such file; allowed is also "
                           "the name of a .conf of %s: %s", value, directory,
                           *all ? all : "there is none");
    return NULL;
}

/* Returns NULL, or what is allowed. */
static const char *parse_number(const char *value, void *number)
{
    return g_ascii_string_to_unsigned(value, 10, 0, UINT64_MAX, number, NULL)
           ? NULL : "allowed are numbers from 0 to 18446744073709551615";
}

/* A number of instructions; UINT64_MAX stands for never. */
static const char *parse_insns(const char *value, void *number)
{
    return g_ascii_string_to_unsigned(value, 10, 0, INT64_MAX, number, NULL)
           ? NULL : "allowed are numbers from 0 to 9223372036854775807";
}

static const char *parse_words(const char *value, void *number)
{
    return g_ascii_string_to_unsigned(value, 10, 1, 4096, number, NULL)
           ? NULL : "allowed are numbers from 1 to 4096";
}

static const char *parse_top(const char *value, void *number)
{
    return g_ascii_string_to_unsigned(value, 10, 0, 10000, number, NULL)
           ? NULL : "allowed are numbers from 0 to 10000";
}

/* A number of ns, us, ms or s: whole ns, less than 2^63 */
static const char *parse_time(const char *value, void *ns)
{
    static const struct { const char *unit; uint64_t ns; } units[] = {
        { "ns", 1 }, { "us", 1000 }, { "ms", 1000000 }, { "s", 1000000000 },
    };
    g_autofree char *digits = g_strdup(value);
    size_t n = strspn(value, "0123456789");
    uint64_t number;

    digits[n] = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(units); i++) {
        if (g_str_equal(value + n, units[i].unit) &&
            g_ascii_string_to_unsigned(digits, 10, 0,
                                       INT64_MAX / units[i].ns, &number,
                                       NULL)) {
            *(uint64_t *)ns = number * units[i].ns;
            return NULL;
        }
    }
    return "allowed are whole numbers with a unit, such as 10ms: ns, us, ms, "
           "s; 9223372036s at most";
}

static const char *parse_switch(const char *value, void *on)
{
    return qemu_plugin_bool_parse("", value, on) ? NULL
                                                 : "allowed are on and off";
}

static const char *parse_text(const char *value, void *text)
{
    if (!*value) {
        return "allowed is the name of a file";
    }
    g_free(*(char **)text);
    *(char **)text = g_strdup(value);
    return NULL;
}

static const struct {
    const char *name;
    const char *(*parse)(const char *value, void *to);
    void *to;
} arguments[] = {
    { "attribution", parse_switch, &C.attribute },
    { "config", parse_text, &C.config_name },
    { "filter", parse_switch, &C.filter },
    { "from", parse_time, &C.time.from },
    { "from-insns", parse_insns, &C.insns.from },
    { "interval", parse_time, &C.interval },
    { "intervals", parse_text, &C.interval_file },
    { "magic", parse_switch, &C.magic },
    { "out", parse_text, &C.out },
    { "seed", parse_number, &C.seed },
    { "start", parse_switch, &C.start },
    { "state-words", parse_words, &C.state_words },
    { "table", parse_switch, &C.table },
    { "to", parse_time, &C.time.to },
    { "to-insns", parse_insns, &C.insns.to },
    { "top", parse_top, &C.top },
    { "walks", parse_switch, &C.walks },
};

static char *parse_argument(const char *argument)
{
    const char *value = strchr(argument, '=') + 1;
    g_autofree char *name = g_strndup(argument, value - 1 - argument);
    g_autoptr(GString) all = g_string_new(NULL);
    const char *allowed;

    for (unsigned i = 0; i < G_N_ELEMENTS(arguments); i++) {
        if (g_str_equal(name, arguments[i].name)) {
            allowed = arguments[i].parse(value, arguments[i].to);
            return allowed ? g_strdup_printf("%s: %s", argument, allowed)
                           : NULL;
        }
        g_string_append_printf(all, "%s%s", i ? ", " : "", arguments[i].name);
    }
    return g_strdup_printf("no argument '%s': there are %s", name, all->str);
}

/* What does not fit together, or NULL */
static char *check_arguments(void)
{
    bool begins = C.time.from != UINT64_MAX || C.insns.from != UINT64_MAX ||
                  C.magic;

    if (!C.interval != !C.interval_file) {
        return g_strdup("interval, of 1ns at least, and intervals, which is "
                        "the file for them, have to be given together");
    }
    if ((C.time.from != UINT64_MAX) + (C.insns.from != UINT64_MAX) + C.magic +
        (C.start_given && C.start) > 1) {
        return g_strdup("of start=on, from, from-insns and magic only one can "
                        "say when it begins");
    }
    if (C.time.to == 0 || C.insns.to == 0 ||
        (C.time.from != UINT64_MAX && C.time.to <= C.time.from) ||
        (C.insns.from != UINT64_MAX && C.insns.to <= C.insns.from)) {
        return g_strdup("to and to-insns have to be after from and from-insns");
    }
    C.start = C.start && !begins;
    return NULL;
}

char *cachetime_read_arguments(int argc, char **argv)
{
    g_autofree char *file = NULL;
    char *why = NULL;

    C.config_name = g_strdup("wells-2006");
    C.state_words = default_state_words(C.target);
    C.filter = C.walks = C.start = C.table = true;
    C.time = C.insns = (Region) { UINT64_MAX, UINT64_MAX, 0 };
    C.top = 20;
    for (int i = 0; i < argc && !why; i++) {
        why = parse_argument(argv[i]);
        C.start_given |= g_str_has_prefix(argv[i], "start=");
    }
    if (!why) {
        why = check_arguments();
    }
    if (!why) {
        file = config_file(C.config_name, &why);
    }
    if (!why) {
        cache_config_load(&C.config, file, &why);
    }
    return why;
}
