/*
 * The configuration of the paging model: a file, or defaults
 *
 * See walk-config.h.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "walk-config.h"

static const char *const holds[] = {
    "none", "4k", "2m", "4k+2m", "1g", "4k+1g", "2m+1g", "4k+2m+1g", NULL
};
static const char *const replacements[] = { "fifo", "random", NULL };
static const char *const kinds[] = { "intel", "amd", NULL };
static const char *const switches[] = { "no", "yes", NULL };
static const char *const fillers[] = { "hardware", "software", NULL };
static const char *const page_sizes[] = { "4k", "2m", NULL };

#define AT(field) offsetof(WalkConfig, field)
#define NUMBER(group, key, field, unit, minimum, maximum, value) \
    { group, key, FILE_PARAMETER_NUMBER, AT(field), unit, \
      minimum, maximum, value, NULL }
#define CHOICE(group, key, field, choices, maximum, value) \
    { group, key, FILE_PARAMETER_CHOICE, AT(field), NULL, \
      0, maximum, value, choices }
#define ARRAY(group, name, entries_, ways_, holds_) \
    NUMBER(group, "entries", tlb.array[name].entries, "entries", 0, 65536, \
           entries_), \
    NUMBER(group, "ways", tlb.array[name].ways, "ways; 0 is full", 0, 65536, \
           ways_), \
    CHOICE(group, "holds", tlb.array[name].holds, holds, WALK_HOLDS_ALL, \
           holds_)
#define CACHE(key, field, value) \
    NUMBER("walk-cache", key, cache.field, "entries", 0, \
           WALK_CACHE_ENTRIES_MAX, value)
#define EXIT(key, name, value) \
    NUMBER("exit", key, exit[name], "cycles", 0, 1000000000, value)

const FileParameter walk_parameters[] = {
    NUMBER("machine", "clock", clock, "Hz", 10000000, 10000000000,
           2800000000),
    ARRAY("l1i", WALK_L1I, 128, 4, WALK_HOLDS_4K),
    ARRAY("l1i-large", WALK_L1I_LARGE, 7, 0, WALK_HOLDS_2M),
    ARRAY("l1d", WALK_L1D, 64, 4, WALK_HOLDS_4K),
    ARRAY("l1d-large", WALK_L1D_LARGE, 32, 4, WALK_HOLDS_2M),
    ARRAY("l1d-huge", WALK_L1D_HUGE, 0, 0, WALK_HOLDS_1G),
    ARRAY("l2", WALK_L2, 512, 4, WALK_HOLDS_4K),
    NUMBER("l2", "latency", l2_latency, "cycles", 0, 1000, 7),
    ARRAY("l2-huge", WALK_L2_HUGE, 0, 0, WALK_HOLDS_1G),
    ARRAY("l2i", WALK_L2I, 0, 0, WALK_HOLDS_4K),
    CHOICE("tlb", "replacement", tlb.replacement, replacements, WALK_RANDOM,
           WALK_FIFO),
    CHOICE("tlb", "filled-by", software, fillers, 1, 0),
    CHOICE("tlb", "vpid", vpid, switches, 1, 0),
    CHOICE("walk-cache", "kind", cache.kind, kinds, WALK_CACHE_AMD,
           WALK_CACHE_INTEL),
    CACHE("level-2", guest[2], 32),
    CACHE("level-3", guest[3], 4),
    CACHE("level-4", guest[4], 2),
    CACHE("level-5", guest[5], 2),
    CACHE("host-level-2", host[2], 32),
    CACHE("host-level-3", host[3], 4),
    CACHE("host-level-4", host[4], 2),
    CACHE("host-level-5", host[5], 2),
    CACHE("walk", walk, 24),
    CACHE("nested", nested, 16),
    NUMBER("walk", "reference", reference, "cycles", 0, 100000, 4),
    CHOICE("walk", "pdptes-in-registers", pdptes, switches, 1, 1),
    NUMBER("host", "levels", host_levels, "levels", 2, WALK_LEVELS, 4),
    CHOICE("host", "pages", host_large, page_sizes, 1, 0),
    CHOICE("host", "backed", host_backed, switches, 1, 1),
    EXIT("page-fault", WALK_EXIT_FAULT, 7600),
    EXIT("hidden-fault", WALK_EXIT_HIDDEN, 11900),
    EXIT("accessed", WALK_EXIT_ACCESSED, 11900),
    EXIT("dirty", WALK_EXIT_DIRTY, 11900),
    EXIT("unsync", WALK_EXIT_UNSYNC, 11900),
    EXIT("emulate", WALK_EXIT_EMULATE, 16200),
    EXIT("root", WALK_EXIT_ROOT, 7600),
    EXIT("invlpg", WALK_EXIT_INVLPG, 7600),
    EXIT("not-backed", WALK_EXIT_NOT_BACKED, 8000),
    EXIT("interrupt", WALK_EXIT_INTERRUPT, 2500),
    EXIT("io", WALK_EXIT_IO, 5000),
    EXIT("halt", WALK_EXIT_HALT, 2500),
    NUMBER("shadow", "out-of-sync", out_of_sync, "tables", 0, 64, 3),
    NUMBER("shadow", "prefetch", prefetch, "entries", 1, 512, 32),
    NUMBER("shadow", "unshadow", unshadow, "writes; 0 is never", 0, 1000, 2),
    NUMBER("shadow", "pages", pages, "pages", 64, 1048576, 16384),
    NUMBER("shadow", "levels", shadow_levels, "levels", 1, WALK_LEVELS, 4),
    NUMBER("agile", "nest", nest, "writes", 1, 1000, 2),
    NUMBER("agile", "scan", scan, "cycles", 1000, 1000000000000, 2800000000),
    { NULL }
};

static bool check(const void *config, char **why)
{
    return walk_config_check(config, why);
}

static const ParameterFile file = {
    .what = "paging configuration",
    .parameters = walk_parameters,
    .size = sizeof(WalkConfig),
    .check = check,
};

void walk_config_default(WalkConfig *config)
{
    parameter_file_default(&file, config);
}

bool walk_config_load(WalkConfig *config, const char *name, char **why)
{
    return parameter_file_load(&file, config, name, why);
}

bool walk_config_check(const WalkConfig *c, char **why)
{
    return walk_tlb_config_check(&c->tlb, why) &&
           walk_cache_config_check(&c->cache, why);
}
