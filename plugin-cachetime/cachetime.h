/*
 * The cache-timing plugin: what its files share
 *
 *   cachetime.c             the machine, the begin and the end
 *   cachetime-arguments.c   arguments
 *   cachetime-filter.c      filters that generated code looks into
 *   cachetime-access.c      accesses, on their way to the model
 *   cachetime-control.c     on and off, intervals, commands, statistics
 *   cachetime-save.c        saved state
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef CACHETIME_H
#define CACHETIME_H

#include <inttypes.h>
#include <stdio.h>
#include <glib.h>
#include <qemu-plugin.h>
#include "attribution.h"
#include "cache-model.h"
#include "cache-report.h"

/* Entries of TLBs that can be locked: all of UltraSPARC's, 64 for each side */
#define LOCKED_MAX 128

enum { PRIVILEGED, USER, MODES };

/* Counters of the filter of code: with stamps, the first one counts all. */
enum { COUNT_ALL, COUNT_USER };

/* Kinds of accesses that a guest's instructions make */
#define KINDS (CACHE_STORE + 1)

/*
 * A vCPU.  The filters count accesses, user and privileged apart: @counted is
 * what of them is in the model's counters.
 */
typedef struct VCPU {
    bool started;
    uint64_t counted[KINDS][MODES];
    uint64_t called[KINDS][MODES];      /* since then, accesses that called */
    unsigned code_table;        /* where its fetches are counted now */
    uint64_t retired[MODES];    /* what of its instructions is counted */
    uint64_t stalled;           /* cycles; where cores keep no time */
    int core;                   /* that holds it or did last, or -1 */
} VCPU;

/*
 * What the filters of the vCPU that a PCPU holds have for sets of its L1D, and
 * the other way round; and what the filter of code has, which is the PCPU's.
 */
typedef struct PCPU {
    int vcpu;                   /* whose filters these are, or -1 */
    uint32_t *place_of_set;     /* or NONE */
    uint32_t *set_of_place;     /* or NONE */
    bool *may_store;            /* by place: the filter of stores has it, too */
    uint64_t *code_line;        /* by place; or NO_LINE */
    /* What its fetches are behind the clock of its L1I, once it is known */
    bool clock_known;
    int64_t clock_offset;
} PCPU;

/* What the interface says of an access in three calls */
typedef struct Shape {
    bool known;
    qemu_plugin_meminfo_t info;
    bool store, atomic;
    unsigned size;              /* bytes */
} Shape;

#define SHAPES 64               /* a power of two */

/* When accesses begin and end to reach the model */
typedef struct Region {
    uint64_t from, to;          /* UINT64_MAX: never */
    uint64_t next;              /* first value that was not reached yet */
} Region;

typedef struct Cachetime {
    qemu_plugin_id_t id;
    char *target;

    /* arguments */
    CacheConfig config;
    char *config_name;
    uint64_t seed;
    uint64_t state_words;
    uint64_t top;               /* entries of tables */
    bool filter, walks, start, start_given, attribute, table, magic;
    char *out;                  /* file, or NULL */
    char *interval_file;
    Region time;                /* ns, then cycles */
    Region insns;               /* retired by all vCPUs */
    uint64_t interval;          /* ns, then cycles; 0: none */

    CacheModel *model;          /* once the machine is ready */
    Attribution *attribution;   /* NULL: none */
    unsigned pcpus, vcpus;
    unsigned line_bits;
    bool ready;                 /* nothing was wrong with the machine */
    bool timed;                 /* cores keep time */
    bool on;                    /* accesses reach the model */
    bool wanted;                /* @on, from the next cycle that all reach */
    int64_t now;                /* cycle that all cores have reached */
    int64_t on_since;           /* cycle; while @on */
    int64_t on_until;           /* cycle; while not @on */
    int64_t counted;            /* cycles that it was on before that */
    uint64_t uncached;          /* accesses of devices, which have no caches */

    /* Lines that may be fetched, loaded, stored to; NULL: no filters */
    struct qemu_plugin_filter *may[KINDS];
    struct qemu_plugin_scoreboard *insn_count;  /* where cores keep no time */
    uint32_t places;            /* of a filter of data */
    uint32_t code_places;
    Shape shapes[SHAPES];       /* of accesses seen lately */
    PCPU *pcpu;
    VCPU *vcpu;
    CacheRetired *pcpu_retired, *vcpu_retired;
    GPtrArray *fetches;         /* of blocks that are translated */
    CacheIntervals *intervals;
    FILE *interval_out;
    int64_t interval_end;       /* cycle */
    GMutex mutex;               /* where vCPUs have threads of their own */
} Cachetime;

extern Cachetime C;

static inline void lock(void)
{
    if (!C.timed) {
        g_mutex_lock(&C.mutex);
    }
}

static inline void unlock(void)
{
    if (!C.timed) {
        g_mutex_unlock(&C.mutex);
    }
}

/* Number of a PCPU's table of code: vCPUs that are new find theirs empty. */
static inline unsigned cachetime_code_table(unsigned pcpu)
{
    return C.vcpus + pcpu;
}

/* --- cachetime-arguments.c --- */

/* Defaults, arguments and the configuration; NULL, or what is allowed */
char *cachetime_read_arguments(int argc, char **argv);

/* --- cachetime-filter.c --- */

/* Once the model is there: PCPUs that hold nobody, and filters */
void cachetime_create_pcpus(void);

/* The model tells the filters what they may not have any more. */
void cachetime_listen(void);

/* After an access to @address: whether the next ones may be left out */
void cachetime_grant_code(unsigned pcpu, uint64_t address);
void cachetime_grant_data(PCPU *p, unsigned vcpu, const CacheAccess *access,
                          qemu_plugin_meminfo_t info, uint64_t vaddr);

/*
 * Before a fetch that the filter of code did not know.  @counted: it did count
 * it, in the PCPU's table.
 */
void cachetime_set_code_clock(unsigned pcpu, bool counted);

/* The filters of data of the vCPU that @p holds are not used any more. */
void cachetime_empty_filters(PCPU *p);

/* Nothing that the filters know holds any more. */
void cachetime_forget_rights(void);

/* Accesses that the filters recognised since the last time, of one kind */
uint64_t cachetime_unharvested(unsigned vcpu, CacheKind kind, int mode);

/* What a vCPU has done since the last time goes into counters. */
void cachetime_harvest(unsigned vcpu);
void cachetime_harvest_all(void);

/* From now on, accesses on @p are those of @vcpu. */
void cachetime_hold(PCPU *p, unsigned vcpu);

/* The PCPU of a vCPU that executes */
static inline PCPU *cachetime_pcpu_of(unsigned vcpu, VCPU *v)
{
    PCPU *p;

    if (v->core < 0) {
        v->core = qemu_plugin_vcpu_core(vcpu);
    }
    p = &C.pcpu[v->core];
    if (p->vcpu != (int)vcpu) {
        cachetime_hold(p, vcpu);
    }
    return p;
}

/* Another vCPU's fetches are counted in @core's table from now on. */
void cachetime_leave_code_table(unsigned core);
void cachetime_leave_all_code_tables(void);

/* --- cachetime-access.c --- */

void cachetime_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
void cachetime_flushed(qemu_plugin_id_t id);
int64_t cachetime_core_switched(qemu_plugin_id_t id,
                                const struct qemu_plugin_core_switch *s,
                                void *opaque);
uint64_t cachetime_core_accessed(qemu_plugin_id_t id,
                                 const struct qemu_plugin_core_access *a,
                                 void *opaque);

/* --- cachetime-control.c --- */

/* While no vCPU executes, or each of them sees it a little later */
void cachetime_switch_on(bool on);
void cachetime_reset_counters(void);
CacheReport cachetime_report(void);

/* The open interval ends, unless it has no cycle: as while it is off. */
void cachetime_next_interval(void);

/* Instructions that all vCPUs have retired */
uint64_t cachetime_all_insns(void);

int64_t cachetime_cores_reached(qemu_plugin_id_t id, int64_t cycle,
                                int64_t earliest, void *opaque);
char *cachetime_command(qemu_plugin_id_t id, const char *name,
                        const char *arguments, char **why, void *opaque);
void cachetime_register_statistics(qemu_plugin_id_t id);

/* Whether @file can be written; false, and why, if it is clear that not */
bool cachetime_check_file(const char *file, char **why);

/* All of it or nothing, unless @file is a device or the like */
bool cachetime_write_text(const char *file, GString *text, char **why);

/* --- cachetime-save.c --- */

GByteArray *cachetime_save(qemu_plugin_id_t id, void *opaque);
char *cachetime_load(qemu_plugin_id_t id, const void *data, size_t size,
                     void *opaque);

#endif /* CACHETIME_H */
