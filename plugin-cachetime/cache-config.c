/*
 * The configuration of the cache model: a file, or defaults
 *
 * See cache-config.h.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cache-array.h"
#include "cache-config.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define WAYS_MAX 64

static const char *const replacements[] = {
    [CACHE_LRU] = "lru",
    [CACHE_PLRU] = "plru",
    [CACHE_FIFO] = "fifo",
    [CACHE_RANDOM] = "random",
    NULL
};

static const char *const protocols[] = {
    [CACHE_MSI] = "msi",
    [CACHE_MESI] = "mesi",
    [CACHE_MOSI] = "mosi",
    [CACHE_MOESI] = "moesi",
    NULL
};

static const char *const switches[] = { "no", "yes", NULL };

#define AT(field) offsetof(CacheConfig, field)
#define NUMBER(group, key, field, unit, minimum, maximum, value) \
    { group, key, CACHE_PARAMETER_NUMBER, AT(field), unit, \
      minimum, maximum, value, NULL }
#define SIZE(group, key, field, minimum, maximum, value) \
    { group, key, CACHE_PARAMETER_SIZE, AT(field), "bytes", \
      minimum, maximum, value, NULL }
#define CHOICE(group, key, field, choices, maximum, value) \
    { group, key, CACHE_PARAMETER_CHOICE, AT(field), NULL, \
      0, maximum, value, choices }
#define WAYS(group, field, value) \
    NUMBER(group, "ways", field.ways, "ways", 1, WAYS_MAX, value)
#define LATENCY(group, field, value) \
    NUMBER(group, "latency", field.latency, "cycles", 1, 10000, value)
#define REPLACEMENT(group, field) \
    CHOICE(group, "replacement", field.replacement, replacements, \
           CACHE_RANDOM, CACHE_LRU)
#define BANKS(group, field, value) \
    NUMBER(group, "banks", field.banks, "banks", 1, 256, value)
#define BANK_CYCLES(group, field) \
    NUMBER(group, "bank-cycles", field.bank_cycles, "cycles", 1, 64, 4)

const CacheParameter cache_parameters[] = {
    SIZE("machine", "line", line, 16, 256, 64),
    SIZE("l1i", "size", l1i.size, 64, 1 * MIB, 16 * KIB),
    WAYS("l1i", l1i, 2),
    LATENCY("l1i", l1i, 1),
    REPLACEMENT("l1i", l1i),
    SIZE("l1d", "size", l1d.size, 64, 1 * MIB, 16 * KIB),
    WAYS("l1d", l1d, 2),
    LATENCY("l1d", l1d, 1),
    REPLACEMENT("l1d", l1d),
    SIZE("l2", "size", l2.size, 64, 64 * MIB, 512 * KIB),
    WAYS("l2", l2, 4),
    LATENCY("l2", l2, 15),
    REPLACEMENT("l2", l2),
    BANKS("l2", l2, 4),
    BANK_CYCLES("l2", l2),
    SIZE("l3", "size", l3.size, 64, 1 * GIB, 8 * MIB),
    WAYS("l3", l3, 16),
    LATENCY("l3", l3, 55),
    REPLACEMENT("l3", l3),
    BANKS("l3", l3, 8),
    BANK_CYCLES("l3", l3),
    CHOICE("directory", "protocol", protocol, protocols, CACHE_MOESI,
           CACHE_MOSI),
    NUMBER("directory", "latency", directory_latency, "cycles", 0, 1000, 5),
    CHOICE("directory", "forward-shared", forward_shared, switches, 1, 1),
    NUMBER("link", "latency", link_latency, "cycles", 0, 1000, 10),
    NUMBER("link", "width", link_width, "bytes a cycle", 1, 1024, 16),
    NUMBER("memory", "latency", memory_latency, "cycles", 1, 100000, 365),
    { "memory", "bandwidth", CACHE_PARAMETER_DECIMAL, AT(memory_bandwidth),
      "bytes a cycle", 1, 4096000, 40000, NULL },
    NUMBER("memory", "variation", memory_variation, "cycles", 0, 1000, 4),
    NUMBER("switch", "word-cycles", switch_word_cycles, "cycles", 1, 100, 1),
    CHOICE("count", "first-touches", first_touches, switches, 1, 1),
    { NULL }
};

/* --- Values and their texts --- */

char *cache_parameter_text(const CacheParameter *p, uint64_t value)
{
    switch (p->type) {
    case CACHE_PARAMETER_CHOICE:
        return g_strdup(p->choices[value]);
    case CACHE_PARAMETER_DECIMAL:
        return g_strdup_printf("%" PRIu64 ".%03u", value / 1000,
                               (unsigned)(value % 1000));
    case CACHE_PARAMETER_SIZE:
        if (value >= GIB && value % GIB == 0) {
            return g_strdup_printf("%" PRIu64 "G", value / GIB);
        } else if (value >= MIB && value % MIB == 0) {
            return g_strdup_printf("%" PRIu64 "M", value / MIB);
        } else if (value >= KIB && value % KIB == 0) {
            return g_strdup_printf("%" PRIu64 "K", value / KIB);
        }
        /* fall through */
    default:
        return g_strdup_printf("%" PRIu64, value);
    }
}

/* "a whole number from 1 to 64": what a value of @p may be */
static char *allowed(const CacheParameter *p)
{
    g_autofree char *low = NULL, *high = NULL;

    if (p->type == CACHE_PARAMETER_CHOICE) {
        return g_strjoinv(", ", (char **)p->choices);
    }
    low = cache_parameter_text(p, p->minimum);
    high = cache_parameter_text(p, p->maximum);
    return g_strdup_printf("%s from %s to %s%s",
                           p->type == CACHE_PARAMETER_DECIMAL ?
                           "a number with up to three digits after the point," :
                           "a whole number", low, high,
                           p->type == CACHE_PARAMETER_SIZE ?
                           " bytes; K, M, G multiply by 1024" : "");
}

/* @text is @digits digits at least 1, and what comes after them is at *@end. */
static bool parse_digits(const char *text, const char **end, uint64_t *value)
{
    char *after;

    if (!g_ascii_isdigit(text[0])) {
        return false;
    }
    errno = 0;
    *value = g_ascii_strtoull(text, &after, 10);
    *end = after;
    return errno == 0 && *value <= UINT64_MAX / GIB;
}

static bool parse_size(const char *text, uint64_t *value)
{
    const char *end;

    if (!parse_digits(text, &end, value)) {
        return false;
    }
    switch (*end) {
    case 'G':
        *value *= 1024;
        /* fall through */
    case 'M':
        *value *= 1024;
        /* fall through */
    case 'K':
        *value *= 1024;
        end++;
    }
    return !*end;
}

/* "1.25" is 1250 */
static bool parse_decimal(const char *text, uint64_t *value)
{
    const char *end;

    if (!parse_digits(text, &end, value)) {
        return false;
    }
    *value *= 1000;
    if (*end == '.') {
        unsigned unit = 100;

        for (end++; g_ascii_isdigit(*end) && unit; end++, unit /= 10) {
            *value += (*end - '0') * unit;
        }
        if (unit == 100) {
            return false;
        }
    }
    return !*end;
}

static bool parse_choice(const CacheParameter *p, const char *text,
                         uint64_t *value)
{
    for (*value = 0; p->choices[*value]; ++*value) {
        if (!strcmp(p->choices[*value], text)) {
            return true;
        }
    }
    return false;
}

static bool parse(const CacheParameter *p, const char *text, uint64_t *value)
{
    const char *end;

    switch (p->type) {
    case CACHE_PARAMETER_CHOICE:
        return parse_choice(p, text, value);
    case CACHE_PARAMETER_DECIMAL:
        return parse_decimal(text, value);
    case CACHE_PARAMETER_SIZE:
        return parse_size(text, value);
    default:
        return parse_digits(text, &end, value) && !*end;
    }
}

/* --- The file --- */

void cache_config_default(CacheConfig *config)
{
    *config = (CacheConfig) {};         /* L1s have no banks */
    for (const CacheParameter *p = cache_parameters; p->group; p++) {
        *cache_parameter_value(p, config) = p->value;
    }
}

static const CacheParameter *find(const char *group, const char *key)
{
    for (const CacheParameter *p = cache_parameters; p->group; p++) {
        if (!strcmp(p->group, group) && (!key || !strcmp(p->key, key))) {
            return p;
        }
    }
    return NULL;
}

/* The groups that exist, or the keys of @group; the caller frees it */
static char *known(const char *group)
{
    GString *names = g_string_new(NULL);
    const char *last = "";

    for (const CacheParameter *p = cache_parameters; p->group; p++) {
        const char *name = group ? p->key : p->group;

        if ((!group || !strcmp(p->group, group)) && strcmp(name, last)) {
            g_string_append_printf(names, "%s%s", names->len ? ", " : "", name);
            last = name;
        }
    }
    return g_string_free(names, FALSE);
}

static bool load_key(CacheConfig *config, GKeyFile *file, const char *group,
                     const char *key, char **why)
{
    const CacheParameter *p = find(group, key);
    g_autofree char *text = NULL, *may_be = NULL;
    uint64_t value = 0;

    if (!p) {
        may_be = known(group);
        *why = g_strdup_printf("[%s] %s: there is no such key; group %s has %s",
                               group, key, group, may_be);
        return false;
    }
    text = g_key_file_get_value(file, group, key, NULL);
    text[strcspn(text, "#")] = '\0';
    g_strstrip(text);
    if (!parse(p, text, &value) || value < p->minimum || value > p->maximum) {
        may_be = allowed(p);
        *why = g_strdup_printf("[%s] %s=%s: allowed is %s%s", group, key, text,
                               p->type == CACHE_PARAMETER_CHOICE ? "one of " :
                               "", may_be);
        return false;
    }
    *cache_parameter_value(p, config) = value;
    return true;
}

static bool load_group(CacheConfig *config, GKeyFile *file, const char *group,
                       char **why)
{
    g_auto(GStrv) keys = NULL;

    if (!find(group, NULL)) {
        g_autofree char *groups = known(NULL);

        *why = g_strdup_printf("[%s]: there is no such group; there are %s",
                               group, groups);
        return false;
    }
    keys = g_key_file_get_keys(file, group, NULL, NULL);
    for (char **key = keys; key && *key; key++) {
        if (!load_key(config, file, group, *key, why)) {
            return false;
        }
    }
    return true;
}

static bool load_groups(CacheConfig *config, GKeyFile *file, char **why)
{
    g_auto(GStrv) groups = g_key_file_get_groups(file, NULL);

    for (char **group = groups; *group; group++) {
        if (!load_group(config, file, *group, why)) {
            return false;
        }
    }
    return cache_config_check(config, why);
}

bool cache_config_load(CacheConfig *config, const char *file, char **why)
{
    g_autoptr(GKeyFile) keys = g_key_file_new();
    g_autoptr(GError) error = NULL;
    g_autofree char *fault = NULL;
    CacheConfig loaded;

    if (!g_key_file_load_from_file(keys, file, G_KEY_FILE_NONE, &error)) {
        *why = g_strdup_printf("cache configuration %s: %s", file,
                               error->message);
        return false;
    }
    cache_config_default(&loaded);
    if (!load_groups(&loaded, keys, &fault)) {
        *why = g_strdup_printf("cache configuration %s: %s", file, fault);
        return false;
    }
    *config = loaded;
    return true;
}

/* --- What has to fit together --- */

static bool is_power_of_two(uint64_t n)
{
    return n && !(n & (n - 1));
}

static bool check_level(const CacheConfig *c, const char *name,
                        const CacheLevelConfig *level, char **why)
{
    uint64_t set = level->ways * c->line;
    g_autofree char *size = cache_parameter_text(find(name, "size"),
                                                 level->size);

    if (level->size % set) {
        *why = g_strdup_printf("[%s] size=%s: allowed are multiples of %" PRIu64
                               " bytes, a set of %" PRIu64 " ways of %" PRIu64
                               " bytes", name, size, set, level->ways, c->line);
        return false;
    }
    if (level->replacement == CACHE_PLRU && !is_power_of_two(level->ways)) {
        *why = g_strdup_printf("[%s] replacement=plru: allowed only if ways is "
                               "a power of two, which %" PRIu64 " is not",
                               name, level->ways);
        return false;
    }
    if (level->banks && level->size / set % level->banks) {
        *why = g_strdup_printf("[%s] banks=%" PRIu64 ": allowed are divisors of"
                               " %" PRIu64 ", the number of sets", name,
                               level->banks, level->size / set);
        return false;
    }
    return true;
}

static bool check_latency(const char *group, uint64_t latency, uint64_t least,
                          const char *reason, char **why)
{
    if (latency < least) {
        *why = g_strdup_printf("[%s] latency=%" PRIu64 ": allowed is %" PRIu64
                               " or more, %s", group, latency, least, reason);
        return false;
    }
    return true;
}

static bool check_latencies(const CacheConfig *c, char **why)
{
    uint64_t directory = c->l2.latency + 2 * c->link_latency +
                         c->directory_latency;

    return check_latency("l2", c->l2.latency,
                         MAX(c->l1i.latency, c->l1d.latency) + 1,
                         "longer than that of the L1s", why) &&
           check_latency("l3", c->l3.latency, directory,
                         "that of the L2, two hops and the directory", why) &&
           check_latency("memory", c->memory_latency, directory,
                         "that of the L2, two hops and the directory", why);
}

bool cache_config_check(const CacheConfig *c, char **why)
{
    if (!is_power_of_two(c->line)) {
        *why = g_strdup_printf("[machine] line=%" PRIu64 ": allowed are powers "
                               "of two from 16 to 256", c->line);
        return false;
    }
    if (!check_level(c, "l1i", &c->l1i, why) ||
        !check_level(c, "l1d", &c->l1d, why) ||
        !check_level(c, "l2", &c->l2, why) ||
        !check_level(c, "l3", &c->l3, why)) {
        return false;
    }
    if (c->l2.size < c->l1i.size + c->l1d.size) {
        *why = g_strdup_printf("[l2] size=%" PRIu64 ": allowed is %" PRIu64
                               " bytes or more, what both L1s hold, for they "
                               "are included in the L2", c->l2.size,
                               c->l1i.size + c->l1d.size);
        return false;
    }
    return check_latencies(c, why);
}
