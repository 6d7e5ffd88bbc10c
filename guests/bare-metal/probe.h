/*
 * Run a piece of code, in user or privileged mode, until it traps; come back
 * with the trap.  The code may do what it likes with the registers of the
 * processor that runs it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef PROBE_H
#define PROBE_H

#include "kit.h"

struct probe {
    uint64_t pc, tstate;            /* where and how the code begins */
    uint64_t ticks;                 /* until interrupt level 14 ends it; 0: never */
    uint64_t regs[32];              /* %g0 is not used */
    uint64_t tt, tpc, tl;           /* the trap that ended it */
    uint64_t sfsr, sfar, isfsr;     /* and what the MMUs say of it */
    uint64_t sp, fp, link, g7, tba, cwp;
} __attribute__((aligned(1 << PROBE_SHIFT)));

enum { TRAP_TIME = 0x4e, TRAP_DONE = 0x17f };   /* the code was too slow; "ta 0x7f" */

extern struct probe probes[MAX_VCPUS];
void run_probe(struct probe *probe);

_Static_assert(sizeof(struct probe) == 1 << PROBE_SHIFT, "PROBE_SHIFT");
_Static_assert(offsetof(struct probe, tt) == PROBE_TT && offsetof(struct probe, sp) == PROBE_SP, "layout.h");

/* Memory that has a locked 4 MB page: @flags are TTE bits (6 W, P; 0x33 all). */
static inline void map_locked(uint64_t address, uint64_t flags)
{
    uint64_t tte = (uint64_t)TTE_VALID_4MB << 61 | address | flags | TTE_LOCKED;

    asm volatile("stxa %0, [%1] %2" : : "r"(address), "r"((uint64_t)MMU_TAG_ACCESS), "i"(ASI_DMMU));
    asm volatile("stxa %0, [%%g0] %1" : : "r"(tte), "i"(ASI_DTLB_DATA_IN) : "memory");
    asm volatile("stxa %0, [%1] %2" : : "r"(address), "r"((uint64_t)MMU_TAG_ACCESS), "i"(ASI_IMMU));
    asm volatile("stxa %0, [%%g0] %1" : : "r"(tte), "i"(ASI_ITLB_DATA_IN) : "memory");
    asm volatile("membar #Sync" : : : "memory");
}

#endif
