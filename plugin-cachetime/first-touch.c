/*
 * First touches: which PCPU has ever accessed which line
 *
 * See first-touch.h.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdlib.h>

#include "first-touch.h"

void first_touch_init(FirstTouch *t, unsigned pcpus)
{
    *t = (FirstTouch) {};
    t->bytes = pcpus <= 8 ? 1 : pcpus <= 16 ? 2 : pcpus <= 32 ? 4 : 8;
    t->regions = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free,
                                       g_free);
}

void first_touch_destroy(FirstTouch *t)
{
    g_hash_table_destroy(t->regions);
    t->regions = NULL;
}

size_t first_touch_region_size(const FirstTouch *t)
{
    return (size_t)FIRST_TOUCH_REGION * t->bytes;
}

uint8_t *first_touch_region(FirstTouch *t, uint64_t region)
{
    uint8_t *masks = g_hash_table_lookup(t->regions, &region);

    if (!masks) {
        uint64_t *key = g_new(uint64_t, 1);

        *key = region;
        masks = g_malloc0(first_touch_region_size(t));
        g_hash_table_insert(t->regions, key, masks);
    }
    return masks;
}

static uint8_t *mask_of(FirstTouch *t, uint64_t line)
{
    uint64_t region = line / FIRST_TOUCH_REGION;
    unsigned i = region % FIRST_TOUCH_RECENT;

    if (!t->recent[i].masks || t->recent[i].region != region) {
        t->recent[i].region = region;
        t->recent[i].masks = first_touch_region(t, region);
    }
    return t->recent[i].masks + line % FIRST_TOUCH_REGION * t->bytes;
}

uint64_t first_touch(FirstTouch *t, uint64_t line, unsigned pcpu)
{
    uint8_t *mask = mask_of(t, line);
    uint64_t before = 0;

    /* Byte n has PCPUs 8n to 8n + 7, on every host. */
    for (unsigned i = 0; i < t->bytes; i++) {
        before |= (uint64_t)mask[i] << 8 * i;
    }
    mask[pcpu / 8] |= 1 << pcpu % 8;
    return before;
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

uint64_t *first_touch_regions(const FirstTouch *t, size_t *n)
{
    uint64_t *numbers = g_new(uint64_t, g_hash_table_size(t->regions) + 1);
    GHashTableIter iter;
    void *key;

    *n = 0;
    g_hash_table_iter_init(&iter, t->regions);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        numbers[(*n)++] = *(uint64_t *)key;
    }
    qsort(numbers, *n, sizeof(numbers[0]), ascending);
    return numbers;
}
