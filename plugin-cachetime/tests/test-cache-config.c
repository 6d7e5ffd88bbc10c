/*
 * Unit tests of the cache model's configuration: files, values, faults
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include <glib/gstdio.h>

#include "cache-array.h"
#include "cache-config.h"

static char *directory;         /* for files of this test */

static char *write_file(const char *text)
{
    char *name = g_build_filename(directory, "test.conf", NULL);
    GError *error = NULL;

    /* Without waiting for the disk; an old file would not be cut short. */
    g_unlink(name);
    g_file_set_contents_full(name, text, -1, G_FILE_SET_CONTENTS_NONE, 0600,
                             &error);
    g_assert_no_error(error);
    return name;
}

/* --- What is right --- */

/* Wells et al., table 2 */
static void assert_is_the_papers(const CacheConfig *c)
{
    g_assert_cmpuint(c->line, ==, 64);
    g_assert_cmpuint(c->l1i.size, ==, 16384);
    g_assert_cmpuint(c->l1i.ways, ==, 2);
    g_assert_cmpuint(c->l1i.latency, ==, 1);
    g_assert_cmpuint(c->l1d.size, ==, 16384);
    g_assert_cmpuint(c->l1d.ways, ==, 2);
    g_assert_cmpuint(c->l1d.latency, ==, 1);
    g_assert_cmpuint(c->l2.size, ==, 524288);
    g_assert_cmpuint(c->l2.ways, ==, 4);
    g_assert_cmpuint(c->l2.latency, ==, 15);
    g_assert_cmpuint(c->l2.banks, ==, 4);
    g_assert_cmpuint(c->l3.size, ==, 8388608);
    g_assert_cmpuint(c->l3.ways, ==, 16);
    g_assert_cmpuint(c->l3.latency, ==, 55);
    g_assert_cmpuint(c->l3.banks, ==, 8);
    g_assert_cmpuint(c->link_latency, ==, 10);
    g_assert_cmpuint(c->memory_latency, ==, 365);
    g_assert_cmpuint(c->memory_bandwidth, ==, 40000);   /* 40 GB/s at 1 GHz */
    g_assert_cmpuint(c->protocol, ==, CACHE_MOSI);
}

static void test_defaults_are_the_papers(void)
{
    CacheConfig c;
    char *why = NULL;

    cache_config_default(&c);
    assert_is_the_papers(&c);
    g_assert_true(cache_config_check(&c, &why));
}

/* Every file under configs/caches/ is good; the paper's says what it must. */
static void test_presets(void)
{
    const char *presets = g_getenv("CACHE_CONFIGS") ?: "configs/caches";
    GDir *dir = g_dir_open(presets, 0, NULL);
    const char *name;
    unsigned n = 0;

    g_assert_nonnull(dir);
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *file = g_build_filename(presets, name, NULL);
        CacheConfig c;
        char *why = NULL;

        g_assert_true(g_str_has_suffix(name, ".conf"));
        cache_config_load(&c, file, &why);
        g_assert_cmpstr(why, ==, NULL);
        if (!strcmp(name, "wells-2006.conf")) {
            assert_is_the_papers(&c);
        }
        n++;
    }
    g_dir_close(dir);
    g_assert_cmpuint(n, ==, 4);
}

static void test_values(void)
{
    g_autofree char *file = write_file(
        "# a comment\n"
        "[machine]\nline = 128 # another one\n"
        "[l1i]\nsize=64K\nways=4\nreplacement = plru\n"
        "[l2]\nsize=2M\n"
        "[l3]\nsize=1G\nreplacement=random\n"
        "[directory]\nprotocol=mesi\nforward-shared=no\n"
        "[memory]\nbandwidth=1.25\n");
    CacheConfig c;
    char *why = NULL;

    cache_config_load(&c, file, &why);
    g_assert_cmpstr(why, ==, NULL);
    g_assert_cmpuint(c.line, ==, 128);
    g_assert_cmpuint(c.l1i.size, ==, 65536);
    g_assert_cmpuint(c.l1i.replacement, ==, CACHE_PLRU);
    g_assert_cmpuint(c.l1d.size, ==, 16384);            /* not named */
    g_assert_cmpuint(c.l2.size, ==, 2097152);
    g_assert_cmpuint(c.l3.size, ==, 1073741824);
    g_assert_cmpuint(c.l3.replacement, ==, CACHE_RANDOM);
    g_assert_cmpuint(c.protocol, ==, CACHE_MESI);
    g_assert_cmpuint(c.forward_shared, ==, 0);
    g_assert_cmpuint(c.memory_bandwidth, ==, 1250);
}

/* What a value is written as is read as that value. */
static void test_texts_are_read_again(void)
{
    for (const FileParameter *p = cache_parameters; p->group; p++) {
        uint64_t value[] = { p->minimum, p->value, p->maximum };

        for (unsigned i = 0; i < G_N_ELEMENTS(value); i++) {
            g_autofree char *text = file_parameter_text(p, value[i]);
            g_autofree char *line = g_strdup_printf("[%s]\n%s=%s\n", p->group,
                                                    p->key, text);
            g_autofree char *file = write_file(line);
            g_autofree char *why = NULL;
            CacheConfig c;

            /* Alone it may not fit the others; then the text was read. */
            if (cache_config_load(&c, file, &why)) {
                g_assert_cmpuint(*file_parameter_value(p, &c), ==, value[i]);
            } else {
                g_assert_null(strstr(why, "allowed is a "));
                g_assert_null(strstr(why, "allowed is one of "));
            }
        }
    }
}

/* The manual has a row for each key: name, unit, range, default. */
static void test_manual(void)
{
    const char *page = g_getenv("CACHE_MANUAL") ?:
                       "docs/devel/cache-model.rst";
    g_autofree char *text = NULL;
    g_autoptr(GRegex) blanks = g_regex_new(" +", 0, 0, NULL);
    g_autofree char *manual = NULL;
    GError *error = NULL;

    g_file_get_contents(page, &text, NULL, &error);
    g_assert_no_error(error);
    manual = g_regex_replace(blanks, text, -1, 0, " ", 0, NULL);
    for (const FileParameter *p = cache_parameters; p->group; p++) {
        bool choice = p->type == FILE_PARAMETER_CHOICE;
        g_autofree char *low = file_parameter_text(p, p->minimum);
        g_autofree char *high = file_parameter_text(p, p->maximum);
        g_autofree char *value = file_parameter_text(p, p->value);
        g_autofree char *range = choice ?
            g_strjoinv(", ", (char **)p->choices) :
            g_strdup_printf("%s to %s", low, high);
        g_autofree char *row = g_strdup_printf("\n``%s %s`` %s %s %s\n",
                                               p->group, p->key, choice ?
                                               "one of" : p->unit, range,
                                               value);

        g_assert_nonnull(strstr(manual, row));
    }
}

/* --- What is wrong --- */

static const struct {
    const char *text, *why;
} wrong[] = {
    { "",
      "there is no group in it; allowed is a file with one or more of machine, "
      "l1i, l1d, l2, l3, directory, link, memory, switch, count" },
    { "# [l2]\n# size = 1M\n",
      "there is no group in it; allowed is a file with one or more of machine, "
      "l1i, l1d, l2, l3, directory, link, memory, switch, count" },
    { "[l2]\nsize=1M\nways=8\nsize = 2M\n",
      "[l2] size: lines 2 and 4 give it a value; allowed is one" },
    { "[l2]\nsize=1M\n[l3]\nways=8\n\n[l2]\n  size\t=1M\n",
      "[l2] size: lines 2 and 7 give it a value; allowed is one" },
    { "[l2]\nsize[de]=1M\n",
      "[l2] size[de]: there is no such key; group l2 has size, ways, latency, "
      "replacement, banks, bank-cycles" },
    { "[l4]\nsize=1M\n",
      "[l4]: there is no such group; there are machine, l1i, l1d, l2, l3, "
      "directory, link, memory, switch, count" },
    { "[l2]\nassoc=4\n",
      "[l2] assoc: there is no such key; group l2 has size, ways, latency, "
      "replacement, banks, bank-cycles" },
    { "[l1d]\nbanks=4\n",
      "[l1d] banks: there is no such key; group l1d has size, ways, latency, "
      "replacement" },
    { "[l2]\nways=four\n",
      "[l2] ways=four: allowed is a whole number from 1 to 64" },
    { "[l2]\nways=0\n",
      "[l2] ways=0: allowed is a whole number from 1 to 64" },
    { "[l2]\nways=-4\n",
      "[l2] ways=-4: allowed is a whole number from 1 to 64" },
    { "[l2]\nways=4.5\n",
      "[l2] ways=4.5: allowed is a whole number from 1 to 64" },
    { "[l2]\nways=\n",
      "[l2] ways=: allowed is a whole number from 1 to 64" },
    { "[l2]\nlatency=99999999999999999999\n",
      "[l2] latency=99999999999999999999: allowed is a whole number from 1 to "
      "5000" },
    { "[l1d]\nlatency=1001\n",
      "[l1d] latency=1001: allowed is a whole number from 1 to 1000" },
    { "[l2]\nlatency=10000\n",
      "[l2] latency=10000: allowed is a whole number from 1 to 5000" },
    { "[l1i]\nsize=16kB\n",
      "[l1i] size=16kB: allowed is a whole number from 64 to 1M bytes; K, M, G "
      "multiply by 1024" },
    { "[l2]\nsize=65M\n",
      "[l2] size=65M: allowed is a whole number from 64 to 64M bytes; K, M, G "
      "multiply by 1024" },
    { "[memory]\nbandwidth=1.2345\n",
      "[memory] bandwidth=1.2345: allowed is a number with up to three digits "
      "after the point, from 0.001 to 4096.000" },
    { "[memory]\nbandwidth=40.\n",
      "[memory] bandwidth=40.: allowed is a number with up to three digits "
      "after the point, from 0.001 to 4096.000" },
    { "[directory]\nprotocol=dragon\n",
      "[directory] protocol=dragon: allowed is one of msi, mesi, mosi, moesi" },
    { "[l3]\nreplacement=LRU\n",
      "[l3] replacement=LRU: allowed is one of lru, plru, fifo, random" },
    { "[directory]\nforward-shared=1\n",
      "[directory] forward-shared=1: allowed is one of no, yes" },
    { "[machine]\nline=96\n",
      "[machine] line=96: allowed are powers of two from 16 to 256" },
    { "[l1d]\nsize=16100\n",
      "[l1d] size=16100: allowed are multiples of 128 bytes, a set of 2 ways "
      "of 64 bytes" },
    { "[l2]\nsize=384K\nways=3\nreplacement=plru\n",
      "[l2] replacement=plru: allowed only if ways is a power of two, which 3 "
      "is not" },
    { "[l3]\nbanks=7\n",
      "[l3] banks=7: allowed are divisors of 8192, the number of sets" },
    { "[l2]\nsize=16K\n",
      "[l2] size=16384: allowed is 32768 bytes or more, what both L1s hold, "
      "for they are included in the L2" },
    { "[l2]\nlatency=1\n",
      "[l2] latency=1: allowed is 2 or more, longer than that of the L1s" },
    { "[l3]\nlatency=39\n",
      "[l3] latency=39: allowed is 40 or more, that of the L2, two hops and "
      "the directory" },
    { "[memory]\nlatency=39\n",
      "[memory] latency=39: allowed is 40 or more, that of the L2, two hops "
      "and the directory" },
};

static void test_faults(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autofree char *file = write_file(wrong[i].text);
        g_autofree char *expected = g_strdup_printf("cache configuration %s: "
                                                    "%s", file, wrong[i].why);
        g_autofree char *why = NULL;
        CacheConfig c = { .line = 12345 };

        cache_config_load(&c, file, &why);
        g_assert_cmpstr(why, ==, expected);
        g_assert_cmpuint(c.line, ==, 12345);            /* untouched */
    }
}

/* What a fault of latencies asks for is always possible. */
static void test_greatest_latencies(void)
{
    const char *text = "[l1i]\nlatency=1000\n[l1d]\nlatency=1000\n"
                       "[l2]\nlatency=5000\n"
                       "[directory]\nlatency=1000\n[link]\nlatency=1000\n";
    g_autofree char *file = write_file(text), *why = NULL, *good = NULL;
    g_autofree char *all = NULL;
    CacheConfig c;

    g_assert_false(cache_config_load(&c, file, &why));
    g_assert_nonnull(strstr(why, "[l3] latency=55: allowed is 8000 or more, "
                                 "that of the L2, two hops and the directory"));
    good = g_strconcat(text, "[l3]\nlatency=8000\n[memory]\nlatency=8000\n",
                       NULL);
    g_free(file);
    file = write_file(good);
    cache_config_load(&c, file, &all);
    g_assert_cmpstr(all, ==, NULL);
}

static void test_no_file(void)
{
    g_autofree char *why = NULL;
    CacheConfig c;

    g_assert_false(cache_config_load(&c, "no/such/file.conf", &why));
    g_assert_cmpstr(why, ==, "cache configuration no/such/file.conf: No such "
                    "file or directory");
}

static void test_no_key_file(void)
{
    g_autofree char *file = write_file("size=4\n");
    g_autofree char *why = NULL;
    CacheConfig c;

    g_assert_false(cache_config_load(&c, file, &why));
    g_assert_nonnull(strstr(why, "start with a group"));
}

/* Bytes that mean nothing are refused, or are a good configuration. */
static void test_garbage(void)
{
    GRand *rand = g_rand_new_with_seed(9);

    for (unsigned i = 0; i < 1000; i++) {
        g_autofree char *text = g_strdup(wrong[i % G_N_ELEMENTS(wrong)].text);
        g_autofree char *file = NULL;
        g_autofree char *why = NULL;
        CacheConfig c;

        if (*text) {
            text[g_rand_int_range(rand, 0, strlen(text))] =
                g_rand_int_range(rand, 1, 256);
        }
        file = write_file(text);
        if (cache_config_load(&c, file, &why)) {
            g_assert_true(cache_config_check(&c, &why));
        } else {
            g_assert_nonnull(why);
        }
    }
    g_rand_free(rand);
}

int main(int argc, char **argv)
{
    g_autofree char *file = NULL;
    int result;

    g_test_init(&argc, &argv, NULL);
    directory = g_dir_make_tmp(NULL, NULL);
    g_test_add_func("/config/defaults", test_defaults_are_the_papers);
    g_test_add_func("/config/presets", test_presets);
    g_test_add_func("/config/values", test_values);
    g_test_add_func("/config/texts", test_texts_are_read_again);
    g_test_add_func("/config/manual", test_manual);
    g_test_add_func("/config/faults", test_faults);
    g_test_add_func("/config/greatest-latencies", test_greatest_latencies);
    g_test_add_func("/config/no-file", test_no_file);
    g_test_add_func("/config/no-key-file", test_no_key_file);
    g_test_add_func("/config/garbage", test_garbage);
    result = g_test_run();
    file = g_build_filename(directory, "test.conf", NULL);
    g_unlink(file);
    g_rmdir(directory);
    g_free(directory);
    return result;
}
