/*
 * The host dimension: page tables of a VM from guest-physical to machine memory
 *
 * A guest's memory is where it says, so that what the tables say is not needed;
 * what counts is which of their entries a walk reads, and where these are.  The
 * table pages lie outside the guest's memory, one behind the other in the order
 * in which they were needed.
 *
 * Plain C over GLib.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef WALK_P2M_H
#define WALK_P2M_H

#include "walk-cache.h"

typedef struct WalkP2m WalkP2m;

/*
 * @levels: 2 to 5, of 9 bits each.  @large: pages of 2 MB, whose last level is
 * 2, otherwise of 4 kB.  @backed: all memory is there from the beginning,
 * otherwise a page is from its first use.  @base: machine address of its
 * tables.
 */
WalkP2m *walk_p2m_new(unsigned levels, bool large, bool backed, uint64_t base);
void walk_p2m_free(WalkP2m *p);

unsigned walk_p2m_levels(const WalkP2m *p);
/* Level of the entries that name pages: 1 or 2; the size of these */
unsigned walk_p2m_leaf(const WalkP2m *p);
WalkSize walk_p2m_size(const WalkP2m *p);

/*
 * Machine address of the entry of @level for @gpa.  The table that it is in
 * exists from now on.  Address bits that @levels cannot index do not count.
 */
uint64_t walk_p2m_entry(WalkP2m *p, uint64_t gpa, unsigned level);

/* Whether the page of @gpa is there; walk_p2m_back(): it is from now on. */
bool walk_p2m_is_backed(WalkP2m *p, uint64_t gpa);
void walk_p2m_back(WalkP2m *p, uint64_t gpa);

/* Pages of tables, and pages that are backed (0 if all are) */
unsigned walk_p2m_tables(const WalkP2m *p);
unsigned walk_p2m_pages(const WalkP2m *p);

#define WALK_P2M_STATE "(atat)"
GVariant *walk_p2m_save(const WalkP2m *p);
bool walk_p2m_load(WalkP2m *p, GVariant *state, char **why);

#endif /* WALK_P2M_H */
