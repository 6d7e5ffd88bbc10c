/*
 * What the cache model costs: processor time of a hit and of misses, in ns
 *
 *     bench-cache [PCPUS]
 *
 * Prints the median of 9 measurements for each kind of access on the paper's
 * machine, without attribution and with, in turn.  Not a test: nothing is
 * asserted.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "attribution.h"

#define LINE     64
#define REPEATS   9
#define ACCESSES 1000000

/* A model, the clocks of its PCPUs, and attribution or NULL */
typedef struct Bench {
    CacheModel *m;
    Attribution *a;
    int64_t clock[CACHE_PCPUS_MAX];
} Bench;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

/* As the plugin does it: attribution hears of stalls and of lines it wants. */
static void go(Bench *b, unsigned pcpu, CacheKind kind, uint64_t line)
{
    CacheAccess a = {
        .cycle = b->clock[pcpu],
        .address = line * LINE,
        .size = 8,
        .pcpu = pcpu,
        .kind = kind,
    };
    int64_t stall = cache_model_access(b->m, &a);

    b->clock[pcpu] += 1 + stall;
    if (b->a && (stall || attribution_wants(b->a, a.address))) {
        AttributionEvent event = { &a, 0x400000 + line % 256 * 4, a.address };

        attribution_access(b->a, b->m, &event);
    }
}

/* What an access number @i of the kind to be measured is */
typedef void Pattern(Bench *b, unsigned pcpus, unsigned i);

static void hits(Bench *b, unsigned pcpus, unsigned i)
{
    go(b, i % pcpus, CACHE_LOAD, 1000 * (i % pcpus) + i % 64);
}

static void l2_hits(Bench *b, unsigned pcpus, unsigned i)
{
    go(b, i % pcpus, CACHE_LOAD, 10000 * (i % pcpus) + i / pcpus % 2048);
}

/* 1.5 times what the L2 holds: all come from the L3, each with a victim */
static void l3_hits(Bench *b, unsigned pcpus, unsigned i)
{
    go(b, 0, CACHE_LOAD, i % 12288);
}

static void memory_reads(Bench *b, unsigned pcpus, unsigned i)
{
    go(b, i % pcpus, CACHE_LOAD, 100000 + 2000000 * (i % pcpus) +
       i / pcpus % 2000000);
}

/* A line that all PCPUs read and one writes, in turn */
static void transfers(Bench *b, unsigned pcpus, unsigned i)
{
    go(b, i % pcpus, i % pcpus ? CACHE_LOAD : CACHE_STORE, i / pcpus % 100);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double repeat(Bench *b, Pattern *pattern, unsigned pcpus, unsigned r)
{
    double begin = now();

    for (unsigned i = 0; i < ACCESSES; i++) {
        pattern(b, pcpus, r * ACCESSES + i);
        if (i % 1024 == 0) {
            int64_t least = b->clock[0];

            for (unsigned p = 1; p < pcpus; p++) {
                least = MIN(least, b->clock[p]);
            }
            cache_model_forget_before(b->m, least);
        }
    }
    return (now() - begin) / ACCESSES;
}

/* Without attribution, and with */
static void measure(Bench bench[2], const char *name, Pattern *pattern,
                    unsigned pcpus)
{
    double ns[2][REPEATS];

    for (unsigned r = 0; r < REPEATS; r++) {
        for (unsigned i = 0; i < 2; i++) {
            ns[i][r] = repeat(&bench[i], pattern, pcpus, r);
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        qsort(ns[i], REPEATS, sizeof(ns[i][0]), ascending);
    }
    printf("%-14s %7.1f ns, with attribution %7.1f ns\n", name,
           ns[0][REPEATS / 2], ns[1][REPEATS / 2]);
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
        Bench bench[2] = {};

        for (unsigned j = 0; j < 2; j++) {
            bench[j].m = cache_model_new(&config, &machine, &why);
            if (!bench[j].m) {
                fprintf(stderr, "%s\n", why);
                return 1;
            }
        }
        bench[1].a = attribution_new(&config, &machine, NULL);
        measure(bench, kinds[i].name, kinds[i].pattern, pcpus);
        if (kinds[i].pattern == memory_reads) {
            printf("%-14s %7zu MiB of the model, %zu MiB of attribution\n", "",
                   cache_model_memory(bench[0].m) >> 20,
                   attribution_memory(bench[1].a) >> 20);
        }
        for (unsigned j = 0; j < 2; j++) {
            cache_model_free(bench[j].m);
        }
        attribution_free(bench[1].a);
    }
    return 0;
}
