/*
 * Test of cache-replay: a short trace with counters by hand, and bad input
 *
 * CACHE_REPLAY names the program, CACHE_CONFIGS the presets.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include <glib.h>
#include <glib/gstdio.h>

static const char *program, *presets;

/* Exit status of a run with @trace; what it printed, standard error too */
static int replay(const char *preset, const char *trace, char **printed)
{
    g_autofree char *name = NULL, *command = NULL;
    g_autofree char *quoted = g_shell_quote(program);
    int fd = g_file_open_tmp(NULL, &name, NULL), status;
    char *argv[] = { (char *)"sh", (char *)"-c", NULL, NULL };
    GError *error = NULL;

    g_close(fd, NULL);
    g_file_set_contents(name, trace, -1, &error);
    g_assert_no_error(error);
    command = g_strdup_printf("exec %s %s/%s < %s 2>&1", quoted, presets,
                              preset, name);
    argv[2] = command;
    g_spawn_sync(NULL, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, printed,
                 NULL, &status, &error);
    g_assert_no_error(error);
    g_unlink(name);
    return status;
}

/*
 * The fetch misses line 0x40; the load crosses from line 0x80 to 0x81, two
 * misses; the modification stores to line 0x80, of which it has a copy in S:
 * one upgrade.  Each of the three misses reads memory.
 */
static void test_counters(void)
{
    g_autofree char *printed = NULL;

    g_assert_cmpint(replay("wells-2006.conf",
                           "==123== Lackey, an example\n"
                           "I  00001000,4\n"
                           " L 0000203e,8\n"
                           " M 00002000,4\n"
                           " L 00002040,64\n", &printed), ==, 0);
    g_assert_nonnull(strstr(printed, "fetches                           1\n"));
    g_assert_nonnull(strstr(printed, "loads                             3\n"));
    g_assert_nonnull(strstr(printed, "stores                            1\n"));
    g_assert_nonnull(strstr(printed, "l1i-misses-compulsory             1\n"));
    g_assert_nonnull(strstr(printed, "l1d-misses-compulsory             2\n"));
    g_assert_nonnull(strstr(printed, "l1d-upgrades                      1\n"));
    g_assert_nonnull(strstr(printed, "served-by-memory                  3\n"));
    g_assert_nonnull(strstr(printed, "stall-upgrade                    39\n"));
    g_assert_null(strstr(printed, "transfer"));
}

static void test_bad_input(void)
{
    static const char *const bad[] = {
        "L\n", "X 1000,4\n", " L 1000\n", " L 1000,0\n", " L 1000,5000\n",
        " L 1000,4 more\n", " L zzz,4\n", "\n",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *trace = g_strdup_printf(" S 10,1\n%s", bad[i]);
        g_autofree char *printed = NULL;

        g_assert_cmpint(replay("wells-2006.conf", trace, &printed), !=, 0);
        g_assert_cmpstr(printed, ==, "line 2 of the trace is none: allowed are "
                        "I, L, S or M, an address in hexadecimal, a comma, a "
                        "size from 1 to 4096\n");
    }
}

static void test_no_configuration(void)
{
    g_autofree char *printed = NULL;

    g_assert_cmpint(replay("none.conf", "", &printed), !=, 0);
    g_assert_nonnull(strstr(printed, "none.conf: No such file or directory"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    program = g_getenv("CACHE_REPLAY");
    presets = g_getenv("CACHE_CONFIGS") ?: "configs/caches";
    g_assert_nonnull(program);
    g_test_add_func("/replay/counters", test_counters);
    g_test_add_func("/replay/bad-input", test_bad_input);
    g_test_add_func("/replay/no-configuration", test_no_configuration);
    return g_test_run();
}
