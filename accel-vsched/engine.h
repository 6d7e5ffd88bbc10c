/*
 * The engine inside QEMU: what its parts share.
 *
 *   engine.c   the host thread that runs all VCPUs, AccelOps, the clock
 *   exec.c     one stretch of guest code: budget, periods, modes (TCG hooks)
 *   options.c  parameters: -accel, -M, QOM; the objects that carry them
 *   stats.c    query-stats
 *   save.c     VMState
 *   notify.c   what one VCPU does to another (vsched.h)
 *
 * All of it runs on the engine's thread, or with the BQL held between two
 * windows.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSCHED_ENGINE_H
#define VSCHED_ENGINE_H

#include "qemu/guest-random.h"
#include "qemu/queue.h"
#include "hw/core/cpu.h"
#include "hw/boards.h"
#include "hw/sdb/sdb.h"
#include "core.h"

#define TYPE_VSCHED "vsched"
OBJECT_DECLARE_SIMPLE_TYPE(VschedEngine, VSCHED)

#define TYPE_VSCHED_POLICY "vsched-policy"
OBJECT_DECLARE_TYPE(VschedPolicyState, VschedPolicyClass, VSCHED_POLICY)

#define VSCHED_PARAMETERS_MAX 16

struct VschedPolicyClass {
    ObjectClass parent_class;
    const VschedPolicyOps *ops;
};

/* A policy's parameters; its state is in the core. */
struct VschedPolicyState {
    Object parent_obj;
    uint64_t values[VSCHED_PARAMETERS_MAX];     /* as given: ns or numbers */
};

/* Longest translation block, instructions: see docs/devel/engine.rst. */
#define VSCHED_BLOCK_INSNS 64

/* What exec.c keeps of the PCPU that runs. */
typedef struct VschedExec {
    SDBState *device;           /* or NULL: nothing watches this PCPU */
    SDB *sdb;                   /* its core */
    int64_t retired;            /* instructions committed, while not running */
    int64_t period_end;         /* in these instructions */
    int64_t counted;            /* insns[] of the VCPU are counted up to here */
    bool spin;                  /* a spin was found, not yet told */
    int64_t tell;               /* position: not before */
    uint64_t pc;                /* of the block in which a period ended */
} VschedExec;

typedef struct VschedPost {
    CPUState *target;
    void (*func)(CPUState *target, void *opaque);
    void *opaque;
    QSIMPLEQ_ENTRY(VschedPost) next;
} VschedPost;

/* Random numbers for devices, drawn by the main thread, and for instructions */
enum { VSCHED_MAIN_RANDOM, VSCHED_INSN_RANDOM, VSCHED_GENERATORS };

/* What is the same for as long as the machine exists. */
typedef struct VschedShape {
    uint32_t pcpus;
    uint32_t vcpus;
    uint64_t window;            /* ns */
    uint64_t clock_hz;
} VschedShape;

/* Why the machine's state is not one that the engine can go on from. */
typedef enum VschedStale {
    VSCHED_NOT_STALE,
    VSCHED_NO_STATE,            /* loaded, but without that of the engine */
    VSCHED_HALF_A_STATE,        /* loading failed */
} VschedStale;

/* What VMState carries besides the objects themselves. */
typedef struct VschedSaved {
    VschedShape shape;
    QemuGuestRandomState random[VSCHED_GENERATORS];
    uint8_t sched[64];
    uint64_t values[VSCHED_PARAMETERS_MAX];
    int32_t order_length;
    int32_t *order;             /* of each VCPU: those that wait */
} VschedSaved;

struct VschedEngine {
    Object parent_obj;

    /* parameters, as given */
    uint32_t pcpus;
    uint64_t window;            /* ns */
    uint64_t clock_hz;
    uint64_t switch_cost;       /* cycles */
    uint64_t skip;              /* ns; 0: never */
    uint64_t disk_latency;      /* ns */
    bool watch;                 /* SDBs are connected: sdb=on */
    bool jitter;                /* of the core */
    char *sched;
    VschedPolicyState *policy;
    SDBState **sdb_device;      /* of each PCPU */

    VschedCore *core;           /* NULL until the machine is created */
    CPUState **cpu;             /* of each VCPU, NULL while there is none */
    VschedExec *exec;           /* of each PCPU */

    int64_t now;                /* ns, end of the last window: atomic */
    bool attention;             /* look at all VCPUs between windows: atomic */
    bool dispatching;           /* delivering posts */
    Error *no_unplug;           /* why not, of all CPUs */
    QSIMPLEQ_HEAD(, VschedPost) posts;

    QemuGuestRandom *random[VSCHED_GENERATORS];
    VschedSaved saved;
    VschedStale stale;          /* nothing may run */
    bool refused;               /* and that was said */
    uint64_t posted;            /* statistics */
    uint64_t cut_blocks;
};

extern VschedEngine *vsched_engine;     /* NULL: another engine runs */

/* engine.c */
int64_t vsched_cycles_to_ns(const VschedEngine *e, int64_t cycles);
int64_t vsched_ns_to_cycles(const VschedEngine *e, int64_t ns);
bool vsched_in_engine_thread(void);
void vsched_wake(VschedEngine *e, CPUState *cpu);
void vsched_reconsider(VschedEngine *e);
void vsched_deliver_posts(VschedEngine *e);
void vsched_publish_time(VschedEngine *e);

/* exec.c */
void vsched_exec_init(void);
void vsched_exec_enter(void);
void vsched_exec_leave(void);
void vsched_exec_connect(VschedEngine *e, int pcpu);
void vsched_exec_watch(VschedEngine *e, int pcpu, bool on);
VschedStop vsched_exec(VschedEngine *e, int pcpu, int vcpu, int64_t budget,
                       bool spin_stops, int64_t *used);
void vsched_exec_switched(VschedEngine *e, int pcpu, int vcpu);
/* Cycles of the running PCPU beyond its clock; 0 if none runs. */
int64_t vsched_exec_elapsed(void);
/* On the engine's thread: something is to be done between two windows. */
void vsched_cut(void);

/* options.c */
void vsched_options_class_init(ObjectClass *oc);
/* The policy's parameters as it wants them: times in cycles. */
void vsched_policy_values(VschedEngine *e, int64_t *values);
/* False, and @errp, if there are parameters and no engine to take them. */
bool vsched_options_unused(Error **errp);
VschedEngine *vsched_options_engine(Object *accel, MachineState *ms,
                                    Error **errp);

/* stats.c */
void vsched_stats_init(void);

/* save.c */
void vsched_save_init(VschedEngine *e);
void vsched_expect_state(VschedEngine *e);
void vsched_refuse_stale(VschedEngine *e);

#endif /* VSCHED_ENGINE_H */
