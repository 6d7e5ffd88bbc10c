/*
 * What the cache model costs: processor time of a hit and of misses, in ns
 *
 *     bench-cache [PCPUS]
 *
 * Prints the median of 9 measurements for each kind of access on the paper's
 * machine.  Not a test: nothing is asserted.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cache-model.h"

#define LINE     64
#define REPEATS   9
#define ACCESSES 1000000

static int64_t clocks[CACHE_PCPUS_MAX];

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static void go(CacheModel *m, unsigned pcpu, CacheKind kind, uint64_t line)
{
    CacheAccess a = {
        .cycle = clocks[pcpu],
        .address = line * LINE,
        .size = 8,
        .pcpu = pcpu,
        .kind = kind,
    };

    clocks[pcpu] += 1 + cache_model_access(m, &a);
}

/* What an access number @i of the kind to be measured is */
typedef void Pattern(CacheModel *m, unsigned pcpus, unsigned i);

static void hits(CacheModel *m, unsigned pcpus, unsigned i)
{
    go(m, i % pcpus, CACHE_LOAD, 1000 * (i % pcpus) + i % 64);
}

static void l2_hits(CacheModel *m, unsigned pcpus, unsigned i)
{
    go(m, i % pcpus, CACHE_LOAD, 10000 * (i % pcpus) + i / pcpus % 2048);
}

/* 1.5 times what the L2 holds: all come from the L3, each with a victim */
static void l3_hits(CacheModel *m, unsigned pcpus, unsigned i)
{
    go(m, 0, CACHE_LOAD, i % 12288);
}

static void memory_reads(CacheModel *m, unsigned pcpus, unsigned i)
{
    go(m, i % pcpus, CACHE_LOAD, 100000 + 2000000 * (i % pcpus) +
       i / pcpus % 2000000);
}

/* A line that all PCPUs read and one writes, in turn */
static void transfers(CacheModel *m, unsigned pcpus, unsigned i)
{
    go(m, i % pcpus, i % pcpus ? CACHE_LOAD : CACHE_STORE, i / pcpus % 100);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void measure(CacheModel *m, const char *name, Pattern *pattern,
                    unsigned pcpus)
{
    double ns[REPEATS];

    for (unsigned r = 0; r < REPEATS; r++) {
        double begin = now();

        for (unsigned i = 0; i < ACCESSES; i++) {
            pattern(m, pcpus, r * ACCESSES + i);
            if (i % 1024 == 0) {
                int64_t least = clocks[0];

                for (unsigned p = 1; p < pcpus; p++) {
                    least = MIN(least, clocks[p]);
                }
                cache_model_forget_before(m, least);
            }
        }
        ns[r] = (now() - begin) / ACCESSES;
    }
    qsort(ns, REPEATS, sizeof(ns[0]), ascending);
    printf("%-14s %7.1f ns\n", name, ns[REPEATS / 2]);
}

int main(int argc, char **argv)
{
    static const unsigned vm[1];
    unsigned pcpus = argc > 1 ? atoi(argv[1]) : 8;
    CacheMachine machine = {
        .pcpus = pcpus, .vcpus = 1, .vms = 1, .vm = vm,
    };
    static const struct {
        const char *name;
        Pattern *pattern;
    } kinds[] = {
        { "L1 hit", hits },
        { "L2 hit", l2_hits },
        { "L3 hit", l3_hits },
        { "memory", memory_reads },
        { "transfer", transfers },
    };
    CacheConfig config;

    cache_config_default(&config);
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        g_autofree char *why = NULL;
        CacheModel *m = cache_model_new(&config, &machine, &why);

        if (!m) {
            fprintf(stderr, "%s\n", why);
            return 1;
        }
        for (unsigned p = 0; p < pcpus; p++) {
            clocks[p] = 0;
        }
        measure(m, kinds[i].name, kinds[i].pattern, pcpus);
        if (kinds[i].pattern == memory_reads) {
            printf("%-14s %7zu MiB of the model\n", "",
                   cache_model_memory(m) >> 20);
        }
        cache_model_free(m);
    }
    return 0;
}
