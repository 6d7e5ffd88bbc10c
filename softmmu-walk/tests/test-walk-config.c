/*
 * Unit tests of the paging model's configuration: files, values, faults
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include <glib/gstdio.h>

#include "walk-model.h"

static const char *configs(void)
{
    return g_getenv("WALK_CONFIGS") ?: "configs/paging";
}

/* The preset of the paper's machine says what the defaults are. */
static void test_defaults(void)
{
    g_autofree char *file = g_build_filename(configs(), "i7-860.conf", NULL);
    WalkConfig c, preset;
    char *why = NULL;

    walk_config_default(&c);
    g_assert_true(walk_config_check(&c, &why));
    g_assert_cmpuint(c.clock, ==, 2800000000);
    g_assert_cmpuint(c.tlb.array[WALK_L1D].entries, ==, 64);
    g_assert_cmpuint(c.tlb.array[WALK_L1I].entries, ==, 128);
    g_assert_cmpuint(c.tlb.array[WALK_L2].entries, ==, 512);
    g_assert_cmpuint(c.out_of_sync, ==, 3);
    g_assert_cmpuint(c.prefetch, ==, 32);
    g_assert_cmpuint(c.vpid, ==, 0);
    memset(&preset, 0xff, sizeof(preset));
    g_assert_true(walk_config_load(&preset, file, &why));
    g_assert_cmpmem(&c, sizeof(c), &preset, sizeof(preset));
}

/* All of them can be built. */
static void test_presets(void)
{
    GDir *directory = g_dir_open(configs(), 0, NULL);
    const char *name;
    unsigned n = 0;

    g_assert_nonnull(directory);
    while ((name = g_dir_read_name(directory))) {
        g_autofree char *file = g_build_filename(configs(), name, NULL);
        const unsigned vm[] = { 0 };
        WalkMachine machine = { 1, 1, 1, vm, 0, 0 };
        WalkHooks hooks = {};
        WalkConfig c;
        char *why = NULL;

        g_assert_true(walk_config_load(&c, file, &why));
        walk_model_free(walk_model_new(&c, &machine, &hooks, WALK_NESTED));
        n++;
    }
    g_dir_close(directory);
    g_assert_cmpuint(n, >=, 3);
}

/* The manual page has a row for each key, with its range and default. */
static void test_manual(void)
{
    const char *page = g_getenv("WALK_MANUAL") ?: "docs/devel/paging-model.rst";
    g_autofree char *text = NULL, *manual = NULL;
    g_autoptr(GRegex) blanks = g_regex_new(" +", 0, 0, NULL);
    GError *error = NULL;

    g_file_get_contents(page, &text, NULL, &error);
    g_assert_no_error(error);
    manual = g_regex_replace(blanks, text, -1, 0, " ", 0, NULL);
    for (const FileParameter *p = walk_parameters; p->group; p++) {
        bool choice = p->type == FILE_PARAMETER_CHOICE;
        g_autofree char *low = file_parameter_text(p, p->minimum);
        g_autofree char *high = file_parameter_text(p, p->maximum);
        g_autofree char *value = file_parameter_text(p, p->value);
        g_autofree char *range = choice ?
            g_strjoinv(", ", (char **)p->choices) :
            g_strdup_printf("%s to %s", low, high);
        g_autofree char *row = g_strdup_printf(
            "\n``%s %s`` %s %s %s\n", p->group, p->key,
            choice ? "one of" : p->unit, range, value);

        if (!strstr(manual, row)) {
            g_error("%s has no row \"%s\"", page, g_strstrip(row));
        }
    }
}

static const struct {
    const char *text, *why;
} wrong[] = {
    { "[tlb]\nreplacement=lru\n",
      "[tlb] replacement=lru: allowed is one of fifo, random" },
    { "[l3]\nentries=4\n", "[l3]: there is no such group; there are machine" },
    { "[l2]\nsize=4\n",
      "[l2] size: there is no such key; group l2 has entries, ways, holds" },
    { "[l1d]\nentries=63\n", "l1d: 63 entries of 4 ways" },
    { "[l1d]\nentries=48\n", "12 sets, which is no power of 2" },
    { "[l1d]\nholds=2m\n", "l1d: the first level needs entries for 4 kB" },
    { "[host]\nlevels=1\n",
      "[host] levels=1: allowed is a whole number from 2 to 5" },
    { "[host]\npages=1g\n", "[host] pages=1g: allowed is one of 4k, 2m" },
    { "[exit]\nroot=-5\n", "[exit] root=-5: allowed is a whole number from 0" },
    { "[shadow]\npages=63\n", "[shadow] pages=63: allowed" },
    { "[walk-cache]\nlevel-2=257\n", "from 0 to 256" },
    { "rubbish\n", "paging configuration" },
    { "", "there is no group in it; allowed is a file with one or more of" },
    { "[host]\nlevels=3\nlevels=4\n",
      "[host] levels: lines 2 and 3 give it a value; allowed is one" },
    { "[host]\nlevels[de]=3\n", "[host] levels[de]: there is no such key" },
};

static void test_wrong(void)
{
    g_autofree char *name = NULL;
    int fd = g_file_open_tmp(NULL, &name, NULL);

    g_assert_cmpint(fd, >=, 0);
    g_close(fd, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autofree char *why = NULL;
        WalkConfig c, before;

        memset(&c, 7, sizeof(c));
        before = c;
        g_assert_true(g_file_set_contents(name, wrong[i].text, -1, NULL));
        g_assert_false(walk_config_load(&c, name, &why));
        if (!strstr(why, wrong[i].why)) {
            g_error("\"%s\" is said, not \"%s\"", why, wrong[i].why);
        }
        g_assert_cmpmem(&c, sizeof(c), &before, sizeof(before));
    }
    g_unlink(name);
}

/* Whether @p may be @value, by a file that says so */
static bool may_be(const char *name, const FileParameter *p, uint64_t value)
{
    g_autofree char *text = g_strdup_printf("[%s]\n%s=%" G_GUINT64_FORMAT "\n",
                                            p->group, p->key, value);
    g_autofree char *why = NULL;
    WalkConfig c;

    g_assert_true(g_file_set_contents(name, text, -1, NULL));
    return walk_config_load(&c, name, &why) &&
           *file_parameter_value(p, &c) == value;
}

/* What is said to be allowed is, to its ends.  TLBs have rules of their own. */
static void test_bounds(void)
{
    g_autofree char *name = NULL;
    int fd = g_file_open_tmp(NULL, &name, NULL);
    unsigned n = 0;

    g_assert_cmpint(fd, >=, 0);
    g_close(fd, NULL);
    for (const FileParameter *p = walk_parameters; p->group; p++) {
        if (p->type == FILE_PARAMETER_NUMBER &&
            strcmp(p->key, "entries") && strcmp(p->key, "ways")) {
            g_assert_true(may_be(name, p, p->minimum));
            g_assert_true(may_be(name, p, p->maximum));
            g_assert_false(may_be(name, p, p->maximum + 1));
            g_assert_false(p->minimum && may_be(name, p, p->minimum - 1));
            n++;
        }
    }
    g_assert_cmpuint(n, >, 30);
    g_unlink(name);
}

/* What comes after a byte 0 is not silently left out. */
static void test_zero(void)
{
    static const char text[] = "[host]\nlevels=3\n\0[host]\nlevels=9\n";
    g_autofree char *name = NULL, *why = NULL;
    int fd = g_file_open_tmp(NULL, &name, NULL);
    WalkConfig c;

    g_assert_cmpint(fd, >=, 0);
    g_close(fd, NULL);
    g_assert_true(g_file_set_contents(name, text, sizeof(text) - 1, NULL));
    g_assert_false(walk_config_load(&c, name, &why));
    g_assert_nonnull(strstr(why, "there is a byte 0 in it; allowed is text"));
    g_unlink(name);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/walk-config/defaults", test_defaults);
    g_test_add_func("/walk-config/presets", test_presets);
    g_test_add_func("/walk-config/manual", test_manual);
    g_test_add_func("/walk-config/wrong", test_wrong);
    g_test_add_func("/walk-config/bounds", test_bounds);
    g_test_add_func("/walk-config/zero", test_zero);
    return g_test_run();
}
