/*
 * Runs a trace of memory accesses through the cache model of one PCPU
 *
 *     valgrind --tool=lackey --trace-mem=yes --log-file=TRACE PROGRAM
 *     cache-replay configs/caches/wells-2006.conf < TRACE
 *
 * Prints the counters that are not 0.  A line of the trace is a letter, an
 * address in hexadecimal and a size: "I  04001a20,3" is a fetch, L a load, S a
 * store, M a load with a store to the same address, which counts as one store.
 * Lines of valgrind itself begin with "==" and are passed over.  Each access
 * takes a cycle and its stall.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache-model.h"

#define SIZE_MAXIMUM 4096       /* bytes of an access; the widest have 64 */

/* False if @line is no access. */
static bool parse(const char *line, CacheAccess *access)
{
    static const char letters[] = "ILSM";
    static const CacheKind kinds[] = {
        CACHE_FETCH, CACHE_LOAD, CACHE_STORE, CACHE_STORE,
    };
    unsigned long long address;
    const char *letter;
    int end = 0;
    char kind;

    if (sscanf(line, " %c %llx,%u %n", &kind, &address, &access->size,
               &end) < 3 || line[end] || !access->size ||
        access->size > SIZE_MAXIMUM) {
        return false;
    }
    letter = strchr(letters, kind);
    if (!letter) {
        return false;
    }
    access->kind = kinds[letter - letters];
    access->address = address;
    return true;
}

/* False, and the number of the line, if one is no access */
static bool replay(CacheModel *m, FILE *trace, unsigned long *number)
{
    CacheAccess access = {};
    char line[256];

    for (*number = 1; fgets(line, sizeof(line), trace); ++*number) {
        if (!strncmp(line, "==", 2)) {
            continue;
        }
        if (!parse(line, &access)) {
            return false;
        }
        access.cycle += 1 + cache_model_access(m, &access);
        cache_model_forget_before(m, access.cycle);
    }
    return true;
}

static void print(const CacheModel *m)
{
    CacheCounters counters;

    cache_model_pcpu_counters(m, 0, false, &counters);
    for (const CacheCounterName *n = cache_counter_names; n->name; n++) {
        uint64_t value = *(uint64_t *)((char *)&counters + n->offset);

        if (value) {
            printf("%-22s %12" G_GUINT64_FORMAT "\n", n->name, value);
        }
    }
}

int main(int argc, char **argv)
{
    static const unsigned vm[1];
    CacheMachine machine = { .pcpus = 1, .vcpus = 1, .vms = 1, .vm = vm };
    g_autofree char *why = NULL;
    unsigned long number;
    CacheConfig config;
    CacheModel *m;

    if (argc != 2) {
        fprintf(stderr, "usage: %s CONFIGURATION < TRACE\n", argv[0]);
        return 1;
    }
    if (!cache_config_load(&config, argv[1], &why)) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    m = cache_model_new(&config, &machine, &why);
    if (!replay(m, stdin, &number)) {
        fprintf(stderr, "line %lu of the trace is none: allowed are I, L, S or "
                "M, an address in hexadecimal, a comma, a size from 1 to %d\n",
                number, SIZE_MAXIMUM);
        return 1;
    }
    print(m);
    cache_model_free(m);
    return 0;
}
