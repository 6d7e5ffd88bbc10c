/*
 * The directory: which private L2s hold a line, and which one owns it
 *
 * The paper's directory is a copy of the tags of all L2s, kept beside the bank
 * of the L3.  It always knows exactly the lines that some L2 holds, and never
 * has to evict one.  A hash table with an entry for each such line says the
 * same, at a cost that does not grow with the number of L2s.
 *
 * Plain C over GLib.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef CACHETIME_DIRECTORY_H
#define CACHETIME_DIRECTORY_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

#define DIRECTORY_NO_OWNER (-1)

typedef struct DirectoryEntry {
    uint64_t line;
    uint64_t sharers;       /* bit p: the L2 of PCPU p; 0: no entry */
    int32_t owner;          /* PCPU whose L2 is in E, O or M, or NO_OWNER */
} DirectoryEntry;

typedef struct Directory {
    uint32_t bits;          /* 2^bits places, at least a quarter free */
    uint64_t entries;
    DirectoryEntry *entry;
} Directory;

void directory_init(Directory *d);
void directory_destroy(Directory *d);

/* The entry of @line, or NULL; valid until the next change of the directory */
DirectoryEntry *directory_find(const Directory *d, uint64_t line);

/* The host is to have the entry of @line at hand soon. */
void directory_prefetch(const Directory *d, uint64_t line);

/* The L2 of @pcpu now holds @line, and is its owner if @owner. */
void directory_add(Directory *d, uint64_t line, unsigned pcpu, bool owner);

/* The L2 of @pcpu gives up an entry's line; NULL if no L2 is left with it */
DirectoryEntry *directory_remove(Directory *d, DirectoryEntry *entry,
                                 unsigned pcpu);

#endif /* CACHETIME_DIRECTORY_H */
