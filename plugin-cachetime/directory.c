/*
 * The directory: which private L2s hold a line, and which one owns it
 *
 * Open addressing with linear probing; an entry that is removed is filled from
 * those behind it (Knuth, The Art of Computer Programming, volume 3, section
 * 6.4, algorithm R), so that there are no marks of deleted entries.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "directory.h"

#define FIRST_BITS 8
#define MULTIPLIER UINT64_C(0x9e3779b97f4a7c15)  /* 2^64 / golden ratio */

void directory_init(Directory *d)
{
    *d = (Directory) {
        .bits = FIRST_BITS,
        .entry = g_new0(DirectoryEntry, 1 << FIRST_BITS),
    };
}

void directory_destroy(Directory *d)
{
    g_free(d->entry);
    d->entry = NULL;
}

static uint64_t home(const Directory *d, uint64_t line)
{
    return line * MULTIPLIER >> (64 - d->bits);
}

static uint64_t next(const Directory *d, uint64_t place)
{
    return (place + 1) & ((UINT64_C(1) << d->bits) - 1);
}

/* The entry of @line, or the free one where it would go */
static DirectoryEntry *place_of(const Directory *d, uint64_t line)
{
    uint64_t i = home(d, line);

    while (d->entry[i].sharers && d->entry[i].line != line) {
        i = next(d, i);
    }
    return &d->entry[i];
}

void directory_prefetch(const Directory *d, uint64_t line)
{
    __builtin_prefetch(&d->entry[home(d, line)], 1);
}

DirectoryEntry *directory_find(const Directory *d, uint64_t line)
{
    DirectoryEntry *entry = place_of(d, line);

    return entry->sharers ? entry : NULL;
}

static void grow(Directory *d)
{
    Directory old = *d;

    d->bits++;
    d->entry = g_new0(DirectoryEntry, UINT64_C(1) << d->bits);
    for (uint64_t i = 0; i < UINT64_C(1) << old.bits; i++) {
        if (old.entry[i].sharers) {
            *place_of(d, old.entry[i].line) = old.entry[i];
        }
    }
    directory_destroy(&old);
}

void directory_add(Directory *d, uint64_t line, unsigned pcpu, bool owner)
{
    DirectoryEntry *entry = place_of(d, line);

    if (!entry->sharers) {
        if (d->entries >= UINT64_C(3) << (d->bits - 2)) {
            grow(d);
            entry = place_of(d, line);
        }
        d->entries++;
        entry->line = line;
        entry->owner = DIRECTORY_NO_OWNER;
    }
    entry->sharers |= UINT64_C(1) << pcpu;
    if (owner) {
        entry->owner = pcpu;
    }
}

/* Whether an entry with its home at @i may move to @hole, before @j */
static bool may_move(uint64_t hole, uint64_t i, uint64_t j)
{
    return hole <= j ? i <= hole || i > j : i <= hole && i > j;
}

static void erase(Directory *d, DirectoryEntry *entry)
{
    uint64_t hole = entry - d->entry;

    d->entries--;
    for (uint64_t j = next(d, hole); d->entry[j].sharers; j = next(d, j)) {
        if (may_move(hole, home(d, d->entry[j].line), j)) {
            d->entry[hole] = d->entry[j];
            hole = j;
        }
    }
    d->entry[hole].sharers = 0;
}

DirectoryEntry *directory_remove(Directory *d, DirectoryEntry *entry,
                                 unsigned pcpu)
{
    uint64_t sharers = entry->sharers & ~(UINT64_C(1) << pcpu);

    if (!sharers) {
        erase(d, entry);
        return NULL;
    }
    entry->sharers = sharers;
    if (entry->owner == (int32_t)pcpu) {
        entry->owner = DIRECTORY_NO_OWNER;
    }
    return entry;
}
