/*
 * The configuration of the cache model: a file, or defaults
 *
 * See cache-config.h.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <inttypes.h>

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
    { group, key, FILE_PARAMETER_NUMBER, AT(field), unit, \
      minimum, maximum, value, NULL }
#define SIZE(group, key, field, minimum, maximum, value) \
    { group, key, FILE_PARAMETER_SIZE, AT(field), "bytes", \
      minimum, maximum, value, NULL }
#define CHOICE(group, key, field, choices, maximum, value) \
    { group, key, FILE_PARAMETER_CHOICE, AT(field), NULL, \
      0, maximum, value, choices }
#define WAYS(group, field, value) \
    NUMBER(group, "ways", field.ways, "ways", 1, WAYS_MAX, value)
/* The greatest ones leave room for those of the levels below. */
#define LATENCY(group, field, maximum, value) \
    NUMBER(group, "latency", field.latency, "cycles", 1, maximum, value)
#define REPLACEMENT(group, field) \
    CHOICE(group, "replacement", field.replacement, replacements, \
           CACHE_RANDOM, CACHE_LRU)
#define BANKS(group, field, value) \
    NUMBER(group, "banks", field.banks, "banks", 1, 256, value)
#define BANK_CYCLES(group, field) \
    NUMBER(group, "bank-cycles", field.bank_cycles, "cycles", 1, 64, 4)

const FileParameter cache_parameters[] = {
    SIZE("machine", "line", line, 16, 256, 64),
    SIZE("l1i", "size", l1i.size, 64, 1 * MIB, 16 * KIB),
    WAYS("l1i", l1i, 2),
    LATENCY("l1i", l1i, 1000, 1),
    REPLACEMENT("l1i", l1i),
    SIZE("l1d", "size", l1d.size, 64, 1 * MIB, 16 * KIB),
    WAYS("l1d", l1d, 2),
    LATENCY("l1d", l1d, 1000, 1),
    REPLACEMENT("l1d", l1d),
    SIZE("l2", "size", l2.size, 64, 64 * MIB, 512 * KIB),
    WAYS("l2", l2, 4),
    LATENCY("l2", l2, 5000, 15),
    REPLACEMENT("l2", l2),
    BANKS("l2", l2, 4),
    BANK_CYCLES("l2", l2),
    SIZE("l3", "size", l3.size, 64, 1 * GIB, 8 * MIB),
    WAYS("l3", l3, 16),
    LATENCY("l3", l3, 10000, 55),
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
    { "memory", "bandwidth", FILE_PARAMETER_DECIMAL, AT(memory_bandwidth),
      "bytes a cycle", 1, 4096000, 40000, NULL },
    NUMBER("memory", "variation", memory_variation, "cycles", 0, 1000, 4),
    NUMBER("switch", "word-cycles", switch_word_cycles, "cycles", 1, 100, 1),
    CHOICE("count", "first-touches", first_touches, switches, 1, 1),
    { NULL }
};

/* --- The file --- */

static bool check(const void *config, char **why)
{
    return cache_config_check(config, why);
}

static const ParameterFile file = {
    .what = "cache configuration",
    .parameters = cache_parameters,
    .size = sizeof(CacheConfig),
    .check = check,
};

void cache_config_default(CacheConfig *config)
{
    parameter_file_default(&file, config);
}

bool cache_config_load(CacheConfig *config, const char *name, char **why)
{
    return parameter_file_load(&file, config, name, why);
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
    g_autofree char *size =
        file_parameter_text(parameter_file_find(&file, name, "size"),
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
