/*
 * TLBs that belong to PCPUs: the VCPUs of a VM share them
 *
 * After Wells, Chakraborty, Sohi, "Hardware Support for Spin Management in
 * Overcommitted Virtual Machines", PACT 2006, section 4.3.  SPARC V9 has TLBs
 * that software manages.  When a VCPU is switched, its locked entries go with
 * it, since an operating system cannot tolerate that these miss.  All others
 * stay in the PCPU.  They are tagged by context, so the next VCPU of the same
 * VM may use them; a VCPU of another VM finds them gone.
 *
 * What a VCPU demaps has to be gone wherever it may run later, so a demap
 * reaches all PCPUs that have entries of its VM.  The paper does not say so,
 * but without it a VCPU finds what it has demapped on its next PCPU.
 *
 * A VCPU takes a copy of the last entry of either side along that it has
 * written.  Otherwise it might never get on: some policies move it between the
 * end of a TLB miss handler and the instruction that missed.
 *
 * A VCPU that holds a PCPU has all entries, its own and the PCPU's, in its 64
 * places.  It holds the PCPU until another VCPU begins there, or it begins on
 * another PCPU.  Entries keep their numbers.
 *
 * Plain C over GLib.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef SHARED_TLB_H
#define SHARED_TLB_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

#define SHARED_TLB_ENTRIES 64

typedef enum SharedTlbSide {
    SHARED_TLB_CODE,
    SHARED_TLB_DATA,
    SHARED_TLB_SIDES
} SharedTlbSide;

/* UltraSPARC User's Manual, 6.2: Translation Table Entry */
#define SHARED_TLB_VALID    (UINT64_C(1) << 63)
#define SHARED_TLB_SIZE(tte) ((tte) >> 61 & 3)      /* 8 kB << 3 * size */
#define SHARED_TLB_LOCKED   (UINT64_C(1) << 6)
#define SHARED_TLB_GLOBAL   (UINT64_C(1) << 0)
#define SHARED_TLB_CONTEXT  UINT64_C(0x1fff)        /* of the tag */

typedef struct SharedTlbEntry {
    uint64_t tag;               /* virtual page and context */
    uint64_t tte;
} SharedTlbEntry;

typedef struct SharedTlbDemap {
    SharedTlbSide side;
    bool whole;                 /* all that is not global of the context */
    uint64_t address;           /* else: the page that this is in */
    unsigned context;
} SharedTlbDemap;

typedef struct SharedTlbHooks {
    /* The entries of a VCPU, which stay where they are */
    SharedTlbEntry *(*entries)(void *opaque, unsigned vcpu, SharedTlbSide side);
    /* The entries of a VCPU were changed through what entries() returned. */
    void (*changed)(void *opaque, unsigned vcpu);
    /* The entry with this number of a VCPU goes. */
    void (*remove)(void *opaque, unsigned vcpu, SharedTlbSide side,
                   unsigned number);
    void *opaque;
} SharedTlbHooks;

/* They only grow. */
typedef struct SharedTlbCounters {
    uint64_t left;              /* entries that stayed in a PCPU */
    uint64_t found;             /* entries that a VCPU found on its PCPU */
    uint64_t brought;           /* copies that a VCPU has put there */
    uint64_t covered;           /* gone: where the VCPU has a locked entry */
    uint64_t emptied;           /* gone: another VM's VCPU came */
    uint64_t demapped;          /* gone: a VCPU on another PCPU demapped them */
} SharedTlbCounters;

#define SHARED_TLB_NOBODY (-1)

typedef struct SharedTlb SharedTlb;

/* @vm: of each VCPU; copied */
SharedTlb *shared_tlb_new(unsigned pcpus, unsigned vcpus, const int *vm,
                          const SharedTlbHooks *hooks);
void shared_tlb_free(SharedTlb *t);

/* From now on @vcpu executes on @pcpu. */
void shared_tlb_switch(SharedTlb *t, unsigned pcpu, unsigned vcpu);

/* @vcpu, which executes, has written its entry with this number. */
void shared_tlb_written(SharedTlb *t, unsigned vcpu, SharedTlbSide side,
                        unsigned number);

/* @vcpu, which executes, has demapped this in its own entries. */
void shared_tlb_demap(SharedTlb *t, unsigned vcpu, const SharedTlbDemap *d);

/*
 * @vcpu, which executes, has made its entry with this number invalid.  That is
 * how software empties a TLB, so that number goes on all of its VM's PCPUs.
 */
void shared_tlb_clear(SharedTlb *t, unsigned vcpu, SharedTlbSide side,
                      unsigned number);

/* The VCPU that holds @pcpu, or SHARED_TLB_NOBODY */
int shared_tlb_holder(const SharedTlb *t, unsigned pcpu);
/* What a PCPU has that nobody holds: for tests */
const SharedTlbEntry *shared_tlb_of_pcpu(const SharedTlb *t, unsigned pcpu,
                                         SharedTlbSide side);
SharedTlbCounters *shared_tlb_counters(SharedTlb *t);

/*
 * The state beside the entries of VCPUs, which have to be saved and loaded as
 * well, before this one is.  Loading into fewer PCPUs drops what the others
 * had.  It returns false, and why (the caller frees it), if the state is
 * impossible; nothing has changed then.
 */
#define SHARED_TLB_STATE "(a(iia(ytt))a(itt)(tttttt))"
GVariant *shared_tlb_save(const SharedTlb *t);
bool shared_tlb_load(SharedTlb *t, GVariant *state, char **why);

#endif /* SHARED_TLB_H */
