/*
 * TLB misses that can be counted: each VCPU in turn reads a word of each of
 * some pages of 4 MB, which nobody has touched before the first one.
 *   pages=1
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "kit.h"

const char program_name[] = "misses";

/* Above the program, whose own page is locked */
#define FIRST_PAGE  (PROGRAM_BASE + (4ul << PAGE_SHIFT))

static uint64_t pages;
static volatile uint64_t turn;

static void work(struct vcpu *me)
{
    while (turn != me->index) {
        barrier();
    }
    for (uint64_t page = 0; page < pages; page++) {
        *(volatile uint64_t *)(FIRST_PAGE + (page << PAGE_SHIFT));
        me->count++;
    }
    turn++;
}

bool program(void)
{
    pages = parameter("pages", 1, 0, 24);   /* within 128 MB */
    run_on_all(work);
    REPORT_ALL(count);
    return TOTAL(count) == pages * vcpus;
}
