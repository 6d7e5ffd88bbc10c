/*
 * The paging model in a machine: what its parts share
 *
 * walk.c has the model's hooks in QEMU, walk-switch.c changes modes, by DSP or
 * by hand, and walk-qmp.c is what users see of it.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef WALK_GLUE_H
#define WALK_GLUE_H

#include "qemu/timer.h"
#include "accel/vsched/engine.h"
#include "vsched/vsched.h"
#include "dsp.h"
#include "walk-model.h"

#define WALK_NOWHERE UINT64_MAX

/* Pages of code that a VCPU has executed, by the lowest bits of their number */
#define WALK_RECENT 64

typedef struct PagingVCPU {
    int home;                   /* the PCPU that QEMU's TLB is a subset of */
    uint64_t code_page;         /* as last told or looked up, or WALK_NOWHERE */
    uint64_t span;              /* PC of the last block that spans two pages */
    bool elsewhere;             /* what it executes next is told anyway */
    uint64_t recent[WALK_RECENT]; /* that the model has; others are 0 */
    /* Of each MMU index: bits of the pages of data that QEMU's TLB may have */
    uint64_t held[NB_MMU_MODES];
    bool lost;                  /* an exit has emptied the TLB: that page too */
    bool off;                   /* its paging is, or nobody knows yet */
} PagingVCPU;

typedef struct Paging {
    WalkModel *model;           /* NULL: there is no model of paging */
    VschedListener *listener;   /* of each PCPU */
    PagingVCPU *vcpu;
    unsigned pcpus, vcpus, vms;
    GHashTable **watched;       /* of each VM; page of RAM: its gfn + 1 */
    uint32_t told[WALK_SIDES];  /* MMU indexes of which walks were told */
    uint32_t user;              /* of these, those of user mode */
    uint64_t checked, hidden;   /* accesses, for x-paging-check */
    bool fetching;              /* a walk for a block that is executed */
    Dsp *dsp;
    QEMUTimer *sampler;         /* of simulated time: at a window's end */
    QEMUTimer *scanner;         /* of agile paging: the same */
    WalkMode begin;             /* what paging= says */
    bool begins_with_dsp;       /* paging=dsp, also after a reset */
    bool quiet;                 /* no events of modes now */
    GArray **fault_counters;    /* of each VM: guest-physical addresses */
    uint8_t *state;             /* while it is saved or loaded */
    uint32_t state_size;
} Paging;

extern Paging paging;

/* A target whose TLBs software fills; NULL: that is not so. */
typedef struct PagingTarget {
    const char *config;         /* of configs/paging, if the user gives none */
    bool (*config_check)(const WalkConfig *config, Error **errp);
    void (*start)(void);
} PagingTarget;

extern const PagingTarget *paging_target;


/* The guest's entry at @gpa of @vm, which has @size bytes */
uint64_t paging_read_entry(void *opaque, unsigned vm, uint64_t gpa,
                           unsigned size);

/* Whether a VM of this target can be in @mode */
bool paging_has_mode(WalkMode mode);

/* The present, in cycles: the end of a window */
int64_t paging_present(void);

WalkMode paging_mode_of(DspMode mode);
/* False: DSP does not know it, as only nested and shadow are DSP's. */
bool paging_dsp_mode_of(WalkMode mode, DspMode *dsp);

/*
 * The page faults that the guest's kernel has counted; false: nobody in the
 * guest has told where.
 */
bool paging_guest_faults(unsigned vm, uint64_t *faults);

/* Timers of the sampler and of agile paging's scans are there from now on. */
void paging_switch_start(void);
/* Other modes, or others in DSP's list: the timers are set anew. */
void paging_await(void);
/* A VM gets @mode; @rule: of DSP's that decided, or -1 */
void paging_set_mode(unsigned vm, WalkMode mode, int rule);
/* False, and why (the caller frees it), and nothing has changed */
bool paging_enable_dsp(unsigned vm, const DspSettings *settings, char **why);
bool paging_disable_dsp(unsigned vm, char **why);
/* For query-stats; NULL: there is no model of paging. */
const VschedModelStats *paging_stats(void);
/* The machine was reset. */
void paging_switch_reset(void);
/*
 * A state was loaded, in which VMs have other modes than @before, maybe;
 * @as_given: their modes are to be what paging= says.
 */
void paging_switch_loaded(const WalkMode *before, bool as_given);

#endif /* WALK_GLUE_H */
