/*
 * First touches: which PCPU has ever accessed which line
 *
 * A miss is compulsory if its PCPU never accessed the line before.  That takes
 * a bit for each PCPU and line, rounded up to a power of two of at least 8 bits
 * a line: 16 MiB for each GiB that is touched with 8 PCPUs, 128 MiB with 64.
 * Memory is taken for 1024 lines at once, when one of them is touched.
 *
 * Plain C over GLib.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef CACHETIME_FIRST_TOUCH_H
#define CACHETIME_FIRST_TOUCH_H

#include <stdint.h>
#include <glib.h>

#define FIRST_TOUCH_REGION 1024     /* lines */
#define FIRST_TOUCH_RECENT 64       /* a power of two */

typedef struct FirstTouch {
    unsigned bytes;         /* for each line: 1, 2, 4 or 8 */
    GHashTable *regions;    /* number of the region -> its masks */
    /* Regions found lately, by number: most need not be searched for. */
    struct {
        uint64_t region;
        uint8_t *masks;     /* NULL: none */
    } recent[FIRST_TOUCH_RECENT];
} FirstTouch;

void first_touch_init(FirstTouch *t, unsigned pcpus);
void first_touch_destroy(FirstTouch *t);

/* @pcpu touches @line.  Returns who did before: bit p for PCPU p. */
uint64_t first_touch(FirstTouch *t, uint64_t line, unsigned pcpu);

/* The masks of a region, made if there are none: for loading */
uint8_t *first_touch_region(FirstTouch *t, uint64_t region);
size_t first_touch_region_size(const FirstTouch *t);

/* The numbers of all regions, in ascending order; the caller frees them */
uint64_t *first_touch_regions(const FirstTouch *t, size_t *n);

#endif /* CACHETIME_FIRST_TOUCH_H */
