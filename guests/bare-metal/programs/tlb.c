/*
 * Whose TLB entries are: of a VCPU, or of a PCPU whose VCPUs share them.
 * VCPU 0 writes an entry that is locked, and one that is not.  Each VCPU in
 * turn looks for them among its entries.  Then the last VCPU demaps the one
 * that is not locked, and each looks again.
 * Reported as bits, bit n for VCPU n: who has the locked entry, who the other
 * one ("shared"), and who has that one after it was demapped ("left").
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "kit.h"

const char program_name[] = "tlb";

/* Pages of a context that nobody uses, so no access ever needs them */
#define CONTEXT     5
#define SHARED      0x10000000ul
#define LOCKED      0x20000000ul

#define TTE_GLOBAL          1ul
#define ASI_DMMU_DEMAP      0x5f
#define ASI_DTLB_TAG        0x5e
#define MMU_SECONDARY       0x10
#define DEMAP_SECONDARY     0x10        /* a page, in the secondary context */

static volatile uint64_t turn;
static volatile uint64_t locked, shared, left;

static void write_entry(uint64_t page, uint64_t flags)
{
    uint64_t tte = 1ul << 63 | page | (TTE_FLAGS & ~TTE_GLOBAL) | flags;

    asm volatile("stxa %0, [%1] %2\n\t"
                 "stxa %3, [%%g0] %4\n\t"
                 "membar #Sync"
                 : : "r"(page | CONTEXT), "r"((uint64_t)MMU_TAG_ACCESS),
                     "i"(ASI_DMMU), "r"(tte), "i"(ASI_DTLB_DATA_IN)
                 : "memory");
}

static void demap(uint64_t page)
{
    asm volatile("stxa %0, [%1] %2\n\t"
                 "stxa %%g0, [%3] %4\n\t"
                 "membar #Sync"
                 : : "r"((uint64_t)CONTEXT), "r"((uint64_t)MMU_SECONDARY),
                     "i"(ASI_DMMU), "r"(page | DEMAP_SECONDARY),
                     "i"(ASI_DMMU_DEMAP) : "memory");
}

static uint64_t has(uint64_t page)
{
    for (uint64_t entry = 0; entry < 64 * 8; entry += 8) {
        uint64_t tag, tte;

        asm volatile("ldxa [%1] %2, %0" : "=r"(tag)
                     : "r"(entry), "i"(ASI_DTLB_TAG));
        asm volatile("ldxa [%1] %2, %0" : "=r"(tte)
                     : "r"(entry), "i"(ASI_DTLB_ENTRY));
        if (tte >> 63 && tag == (page | CONTEXT)) {
            return 1;
        }
    }
    return 0;
}

static void wait_for_turn(uint64_t mine)
{
    while (turn != mine) {
        barrier();
    }
}

static void work(struct vcpu *me)
{
    wait_for_turn(me->index);
    if (me->index == 0) {
        write_entry(SHARED, 0);
        write_entry(LOCKED, TTE_LOCKED);
    }
    locked |= has(LOCKED) << me->index;
    shared |= has(SHARED) << me->index;
    if (me->index == vcpus - 1) {
        demap(SHARED);
    }
    turn++;
    wait_for_turn(vcpus + me->index);
    left |= has(SHARED) << me->index;
    turn++;
}

bool program(void)
{
    needs_privileged_mode();
    run_on_all(work);
    report("locked", locked);
    report("shared", shared);
    report("left", left);
    return locked == 1 && shared & 1;
}
