/*
 * The configuration of the cache model: a file, or defaults
 *
 * The defaults are the machine of Wells, Chakraborty, Sohi, "Hardware Support
 * for Spin Management in Overcommitted Virtual Machines", PACT 2006, table 2.
 * docs/devel/cache-model.rst has a table of all keys.
 *
 * Plain C over GLib; the files are GLib's key files, with comments also after a
 * value: from # to the end of the line.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef CACHETIME_CONFIG_H
#define CACHETIME_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

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

typedef enum CacheParameterType {
    CACHE_PARAMETER_NUMBER,
    CACHE_PARAMETER_SIZE,           /* bytes; suffixes K, M, G */
    CACHE_PARAMETER_DECIMAL,        /* up to three digits after the point */
    CACHE_PARAMETER_CHOICE,
} CacheParameterType;

/* Each value of a CacheConfig, its limits and its default: the only place. */
typedef struct CacheParameter {
    const char *group, *key;
    CacheParameterType type;
    size_t offset;                  /* of the uint64_t in CacheConfig */
    const char *unit;
    uint64_t minimum, maximum;      /* DECIMAL: in thousandths */
    uint64_t value;                 /* the default */
    const char *const *choices;     /* CHOICE: the value is an index */
} CacheParameter;

extern const CacheParameter cache_parameters[];     /* ends with a NULL group */

static inline uint64_t *cache_parameter_value(const CacheParameter *p,
                                              CacheConfig *config)
{
    return (uint64_t *)((char *)config + p->offset);
}

/* The text that a file has for @value; the caller frees it */
char *cache_parameter_text(const CacheParameter *p, uint64_t value);

void cache_config_default(CacheConfig *config);

/*
 * Reads @file.  What it does not name keeps its default.  False, and why (the
 * caller frees it), if there is no such file, if it is not a key file, has a
 * group or key that does not exist, a value of the wrong type or out of range,
 * or if the machine is impossible; @config is untouched then.
 */
bool cache_config_load(CacheConfig *config, const char *file, char **why);

/* False, and why, if the values, each in its range, do not fit together */
bool cache_config_check(const CacheConfig *config, char **why);

#endif /* CACHETIME_CONFIG_H */
