/*
 * The configuration of the cache model: a file, or defaults
 *
 * The defaults are the machine of Wells, Chakraborty, Sohi, "Hardware Support
 * for Spin Management in Overcommitted Virtual Machines", PACT 2006, table 2.
 * docs/devel/cache-model.rst has a table of all keys.
 *
 * Plain C over GLib.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef CACHETIME_CONFIG_H
#define CACHETIME_CONFIG_H

#include "vsched/parameter-file.h"

#define CACHE_PCPUS_MAX 64

typedef enum CacheProtocol {
    CACHE_MSI,
    CACHE_MESI,
    CACHE_MOSI,
    CACHE_MOESI,
} CacheProtocol;

typedef struct CacheLevelConfig {
    uint64_t size;          /* bytes */
    uint64_t ways;
    uint64_t latency;       /* cycles, load to use, lookup of this level too */
    uint64_t replacement;   /* CacheReplacement */
    uint64_t banks;         /* L2 and L3 only */
    uint64_t bank_cycles;   /* an access holds its bank */
} CacheLevelConfig;

/* All fields are uint64_t, so that one table describes all of them. */
typedef struct CacheConfig {
    uint64_t line;                  /* bytes, in all levels */
    CacheLevelConfig l1i, l1d, l2, l3;
    uint64_t protocol;              /* CacheProtocol */
    uint64_t directory_latency;     /* cycles */
    uint64_t forward_shared;        /* an L2 in S forwards, not memory: 0, 1 */
    uint64_t link_latency;          /* cycles a hop */
    uint64_t link_width;            /* bytes a cycle */
    uint64_t memory_latency;        /* cycles, load to use */
    uint64_t memory_bandwidth;      /* 1/1000 byte a cycle */
    uint64_t memory_variation;      /* cycles: random addition, 0 to this */
    uint64_t switch_word_cycles;    /* for each 8 bytes of VCPU state */
    uint64_t first_touches;         /* tell compulsory misses apart: 0, 1 */
} CacheConfig;

/* Each value of a CacheConfig, its limits and its default: the only place. */
extern const FileParameter cache_parameters[];

void cache_config_default(CacheConfig *config);

/* See parameter_file_load(); @config is untouched if it returns false. */
bool cache_config_load(CacheConfig *config, const char *name, char **why);

/* False, and why, if the values, each in its range, do not fit together */
bool cache_config_check(const CacheConfig *config, char **why);

#endif /* CACHETIME_CONFIG_H */
