/*
 * The configuration of the paging model: a file, or defaults
 *
 * The defaults are the machine of Wang et al., "Selective Hardware/Software
 * Memory Virtualization", VEE 2011: a Core i7-860 with Xen 3.3.1.
 * docs/devel/paging-model.rst has a table of all keys.
 *
 * Plain C over GLib.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef WALK_CONFIG_H
#define WALK_CONFIG_H

#include "vsched/parameter-file.h"
#include "walk-cache.h"
#include "walk-tlb.h"

/* Why a processor leaves its guest */
typedef enum WalkExit {
    WALK_EXIT_FAULT,            /* a page fault of the guest's, for the guest */
    WALK_EXIT_HIDDEN,           /* the guest's tables have it, the shadow not */
    WALK_EXIT_ACCESSED,         /* the first access to a page */
    WALK_EXIT_DIRTY,            /* the first write to it, after that */
    WALK_EXIT_UNSYNC,           /* a write to a last-level table, from then */
    WALK_EXIT_EMULATE,          /*   on out of sync; to another one */
    WALK_EXIT_ROOT,             /* a new CR3 */
    WALK_EXIT_INVLPG,
    WALK_EXIT_NOT_BACKED,       /* the host has no page there yet */
    WALK_EXIT_INTERRUPT,
    WALK_EXIT_IO,
    WALK_EXIT_HALT,
    WALK_EXITS
} WalkExit;

/* All fields are uint64_t, so that one table describes all of them. */
typedef struct WalkConfig {
    uint64_t clock;             /* Hz that the cycles below are of */
    WalkTlbConfig tlb;
    uint64_t l2_latency;        /* cycles of a hit in the second level */
    WalkCacheConfig cache;
    uint64_t pdptes;            /* PAE: level 3 is in registers: 0, 1 */
    uint64_t reference;         /* cycles, without a model of caches */
    uint64_t software;          /* fills TLBs, which are the target's: 0, 1 */
    uint64_t vpid;              /* exits leave the TLB alone: 0, 1 */
    uint64_t host_levels, host_large, host_backed;
    uint64_t exit[WALK_EXITS];  /* cycles: exit, handler, entry */
    uint64_t out_of_sync;       /* tables a VCPU may have so */
    uint64_t prefetch;          /* shadow entries that one exit looks at */
    uint64_t unshadow;          /* emulated writes in a row; 0: never */
    uint64_t pages;             /* shadow pages a VM may have */
    uint64_t shadow_levels;     /* of the table of software-filled TLBs */
    uint64_t nest;              /* agile: writes that turn a table nested */
    uint64_t scan;              /* agile: cycles between scans */
} WalkConfig;

/* Each value of a WalkConfig, its limits and its default: the only place. */
extern const FileParameter walk_parameters[];

void walk_config_default(WalkConfig *config);

/* See parameter_file_load(); @config is untouched if it returns false. */
bool walk_config_load(WalkConfig *config, const char *name, char **why);

/* False, and why, if the values, each in its range, do not fit together */
bool walk_config_check(const WalkConfig *config, char **why);

#endif /* WALK_CONFIG_H */
