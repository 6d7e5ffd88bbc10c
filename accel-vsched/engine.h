/*
 * The engine inside QEMU: what its parts share.
 *
 *   engine.c   the host thread that runs all VCPUs, AccelOps, the clock
 *   exec.c     one stretch of guest code: budget, clock, modes (TCG hooks)
 *   periods.c  the SDB of a PCPU as a listener
 *   sampling.c a profile as a listener; profile.c has what it counts
 *   stalls.c   a listener for tests
 *   engine-object.c  the engine and its policy as QOM objects
 *   options.c  the command line; given.c keeps what was given
 *   hold.c     the register by which a guest asks not to be preempted
 *   mark.c     the register by which a program says where it is
 *   register.c  where such registers are
 *   idle-loop.c  where the guest's idle loop is
 *   objects.c  VMs, PCPUs and VCPUs as QOM objects
 *   devices.c  completions of devices at simulated times
 *   stats.c    query-stats
 *   qmp.c      QMP and HMP; commands.c has the commands that wait
 *   tracing.c  schedule traces: their commands; schedtrace.c has the records
 *   save.c     VMState
 *   time.c     cycles and nanoseconds, the clock that asks
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
#include "exec/memory.h"
#include "hw/core/cpu.h"
#include "hw/boards.h"
#include "hw/sdb/sdb.h"
#include "system/simulated-time.h"
#include "vsched/listener.h"
#include "vsched/vsched.h"
#include "profile.h"
#include "schedtrace.h"
#include "state.h"
#include "trace.h"

struct TCGv_i64_d;

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

/* What the engine keeps at a CPUState. */
struct AccelCPUState {
    int vcpu;                   /* its number: VCPUs count from 0 as created */
    uint32_t deferred;          /* interrupt requests to be made later */
    int64_t deferred_until;     /* cycle at which they are */
};

static inline int vsched_vcpu(CPUState *cpu)
{
    return cpu->accel->vcpu;
}

/* What exec.c keeps of a PCPU. */
typedef struct VschedExec {
    VschedListener *listener[VSCHED_LISTENERS_MAX];
    int listeners;
    VschedListener *timed;      /* or NULL */
    int64_t retired;            /* instructions, while not running */
    int64_t cycles;             /* that these took, stalls included */
    int64_t counted;            /* insns[] of the VCPU are counted up to here */
    bool spin;                  /* the policy is to be notified of a spin */
    int64_t notify_at;          /* position: not before */
    unsigned slow;              /* accesses of this watch by the slow path */
} VschedExec;

/* What periods.c keeps of a PCPU; all positions as in listener.h. */
typedef struct VschedPeriods {
    VschedListener listener;
    SDBState *device;
    int64_t end;                /* position: of the period */
    int64_t begin_cycles;       /* VschedExec.cycles when the period began */
    int64_t repeating;          /* cycles of the periods that repeat so far */
    uint64_t pc;                /* of the block in which a period ended */
} VschedPeriods;

/* What one VCPU does to another, on its way. */
typedef struct VschedPost {
    CPUState *target;
    int64_t due;                /* cycle: the sender's clock */
    void (*func)(CPUState *target, void *opaque);
    void *opaque;
    QSIMPLEQ_ENTRY(VschedPost) next;
} VschedPost;

typedef struct VschedSampling VschedSampling;

/* Random numbers for devices, drawn by the main thread, and for instructions */
enum { VSCHED_MAIN_RANDOM, VSCHED_INSN_RANDOM, VSCHED_GENERATORS };

/*
 * What a saved state says of the machine that it was saved on, before all
 * else.  VCPUs, their VMs and the clock have to be the same where it is
 * loaded; PCPUs and the window may differ.
 */
typedef struct VschedShape {
    uint32_t pcpus;
    uint32_t vcpus;
    uint32_t vms;
    uint64_t window;            /* ns */
    uint64_t clock_hz;
} VschedShape;

/* Why the machine's state is not one that the engine can go on from. */
typedef enum VschedStale {
    VSCHED_NOT_STALE,
    VSCHED_NO_STATE,            /* loaded, but without that of the engine */
    VSCHED_HALF_A_STATE,        /* loading failed */
} VschedStale;

/* A PCPU in a saved state, which may have other ones than this machine. */
typedef struct VschedSavedPCPU {
    VschedPCPU pcpu;
    VschedExec exec;
    VschedPeriods periods;
    SDBSnapshot sdb;
} VschedSavedPCPU;

/* What VMState carries besides the objects themselves. */
typedef struct VschedSaved {
    VschedShape shape;
    VschedCoreState *core;
    VschedSavedPCPU *pcpu;      /* room for VSCHED_PCPUS_MAX */
    bool *user;                 /* of each VCPU: mode of its last instruction */
    /* as in VschedEngine */
    uint64_t switch_cost, skip, disk_latency, random_stalls;
    bool watch, jitter;
    uint8_t sched[64];
    uint64_t values[VSCHED_PARAMETERS_MAX];
    uint32_t words_length;
    int64_t *words;             /* of the policy */
    uint32_t commands_length;
    char *commands;             /* that wait for their time, as JSON */
    uint32_t sampling_length;   /* 0: nothing is or was sampled */
    int64_t *sampling;
    QemuGuestRandomState random[VSCHED_GENERATORS];
} VschedSaved;

struct VschedEngine {
    Object parent_obj;

    /* parameters, as given */
    uint64_t pcpus;
    uint64_t window;            /* ns */
    uint64_t clock_hz;
    uint64_t switch_cost;       /* cycles */
    uint64_t skip;              /* ns; 0: never */
    uint64_t disk_latency;      /* ns */
    uint64_t random_stalls;     /* cycles; 0: none */
    uint64_t translate_after;   /* times that a form of a block is wanted */
    uint64_t watch;             /* SDBs are connected: sdb=on */
    uint64_t jitter;            /* of the core */
    char *sched;
    /* What the machine is like at first, in the words of the command line */
    char *vms, *affinity, *offline, *speed, *weights, *caps, *idle_loop;
    VschedPolicyState *policy;
    SDBState **sdb_device;      /* of each PCPU */
    SDBState *sdb_given;        /* of none: properties as given */

    VschedCore *core;           /* NULL until the machine is created */
    CPUState **cpu;             /* of each VCPU, NULL while there is none */
    int created;                /* VCPUs that there are */
    VschedExec *exec;           /* of each PCPU */
    VschedPeriods *periods;     /* of each PCPU */
    VschedListener *stalls;     /* of each PCPU, or NULL */
    VschedSampling *sampling;   /* NULL: nothing is or was sampled */
    VschedProfileVCPU *sampled; /* of each VCPU, NULL: nothing is sampled */
    int switching;              /* VCPU that was switched in last */
    unsigned open_samples;      /* of a period that is not over */

    int64_t plugin_next;        /* cycle that a plugin wants to hear of */
    int64_t now;                /* ns, end of the last window: atomic */
    bool any_deferred;          /* interrupt requests wait for their time */
    bool attention;             /* look at all VCPUs between windows: atomic */
    bool dispatching;           /* delivering posts: nobody's doing just now */
    bool held;                  /* a debugger may hold some VCPUs: look */
    /* Interrupt controllers say who sends what: interrupt_sent(). */
    bool senders_known;
    bool stopping;              /* the machine stops at the window's end */
    Error *no_unplug;           /* why not, of all CPUs */
    QSIMPLEQ_HEAD(, VschedPost) posts;

    QemuGuestRandom *random[VSCHED_GENERATORS];
    VschedSaved saved;
    VschedStale stale;          /* nothing may run */
    bool refused;               /* and that was said */
    uint64_t posted;            /* statistics */
    /* Of a driver in the guest, or NULL: see vsched_set_safe_point_driver() */
    void (*ask_safe_point)(CPUState *cpu, void *opaque);
    void *ask_opaque;
};

extern VschedEngine *vsched_engine;     /* NULL: another engine runs */

/* time.c */
int64_t vsched_cycles_to_ns(const VschedEngine *e, int64_t cycles);
/* Rounded up: not before @ns. */
int64_t vsched_ns_to_cycles(const VschedEngine *e, int64_t ns);
/*
 * The latest time that a machine can come to, in ns: 36 years from its start
 * with a clock of 1 GHz.  What is to happen later never does.
 */
int64_t vsched_latest_ns(const VschedEngine *e);
bool vsched_in_engine_thread(void);
void vsched_is_engine_thread(void);
/*
 * False, and @errp, where a debugger has stopped the machine within a window:
 * what is changed between windows cannot be changed there.
 */
bool vsched_between_windows(const VschedEngine *e, Error **errp);
/* The clock of the PCPU that runs; between windows, the end of the last. */
int64_t vsched_present(const VschedEngine *e);
/* For AccelOps: time of the guest's timers, cycle counter of its processors */
int64_t vsched_get_virtual_clock(void);
int64_t vsched_get_cycles(void);
/* A window is over. */
void vsched_publish_time(VschedEngine *e);

/* notify.c */
bool vsched_runnable(CPUState *cpu);
/* Something was sent to @cpu. */
void vsched_wake(VschedEngine *e, CPUState *cpu);
/* Something may have happened to any VCPU. */
void vsched_reconsider(VschedEngine *e);
void vsched_handle_interrupt(CPUState *cpu, int mask);
/* What interrupt controllers and devices say of interrupts; no more is set. */
extern const SimulatedTimeOps vsched_interrupts;
bool vsched_interrupt_pending(CPUState *cpu);
/* tracing.c: the trace that is being recorded, or NULL */
extern VschedTrace *vsched_recording;

/* Whether anybody wants to know of such hints: the policy, or a trace. */
static inline bool vsched_hint_wanted(const VschedEngine *e,
                                      VschedHintKind kind)
{
    return vsched_core_listens(e->core, kind) ||
           (vsched_recording && VSCHED_TRACE_HINTS & VSCHED_LISTEN(kind)) ||
           trace_event_get_state_backends(TRACE_VSCHED_HINT);
}

/* An interrupt goes to @target, of @sender or, if that is NULL, of a device. */
void vsched_notify_sent(VschedEngine *e, CPUState *sender, CPUState *target,
                        VschedSent sent, bool cross_call);
/*
 * The VCPU that executes says something: fill in @hint who, where and when.
 * False: it is a debugger, which says nothing of the kind.
 */
bool vsched_guest_says(VschedHint *hint);
/* The same, and notify the policy if it listens to such hints. */
void vsched_notify_guest_says(VschedHint *hint);
/* What is on its way, and due: before anything else happens between windows */
void vsched_deliver_deferred(VschedEngine *e);
void vsched_deliver_posts(VschedEngine *e, int64_t until);
/* Cycle at which the next of all this is due; INT64_MAX: nothing is. */
int64_t vsched_next_delivery(VschedEngine *e);

/* engine.c */
void vsched_debugger_stop(VschedEngine *e, CPUState *cpu);
/*
 * The machine stops, as by 'stop', at the end of the window, or, where
 * something is still on its way to a VCPU or from a disk then, of the first one
 * at which nothing is.
 */
void vsched_stop_at_window_end(VschedEngine *e);
/* "spin", "user", ... */
const char *vsched_hint_name(VschedHintKind kind);

/* exec.c */
void vsched_exec_init(void);
void vsched_exec_enter(void);
void vsched_exec_leave(void);
VschedStop vsched_exec(VschedEngine *e, VschedRun *run);
void vsched_exec_switched(VschedEngine *e, int pcpu, int vcpu, int before);
void vsched_exec_shorten(void);
/* Of a VCPU that runs: listeners are asked before its next block. */
void vsched_exec_ask(void);
/* The listeners of @pcpu. */
bool vsched_exec_listens(VschedEngine *e, int pcpu, const VschedListener *l);
void vsched_exec_listen(VschedEngine *e, int pcpu, VschedListener *l);
void vsched_exec_unlisten(VschedEngine *e, int pcpu, const VschedListener *l);
/* The timed listener of @pcpu, which has none so far, or NULL. */
void vsched_exec_set_timed(VschedEngine *e, int pcpu, VschedListener *l);
/*
 * For a listener, of the PCPU that runs: it spins.  The policy is notified at
 * position @notify_at, or soon after.
 */
void vsched_exec_spin(int64_t notify_at);
/*
 * For a listener in block(): position of the instruction that executes at cycle
 * @cycle of the PCPU's clock, if nothing stalls any more; of a cycle that a
 * stall has passed, it may be that of an instruction before.
 */
int64_t vsched_exec_position_at(int64_t cycle);
/* Likewise: the address of instruction @insn of the block, from 0 on. */
uint64_t vsched_exec_insn_pc(CPUState *cpu, unsigned insn);
/* It has spun for so many cycles. */
void vsched_exec_count_spin(int64_t cycles);
/* Cycles of all its instructions before position @at, stalls so far included */
int64_t vsched_exec_cycles(int64_t at);
/* Cycles of the running PCPU beyond its clock; 0 if none runs. */
int64_t vsched_exec_elapsed(void);
/* The same without the stalls of the block that executes. */
int64_t vsched_exec_elapsed_unstalled(void);
/* Instructions that it has retired and that are in no account as yet. */
uint64_t vsched_exec_insns(void);
/* On the engine's thread: something is to be done between two windows. */
void vsched_cut(void);

bool vsched_exec_is_running(void);
/* The PCPU that runs @cpu just now, or VSCHED_NONE */
int vsched_exec_pcpu(CPUState *cpu);
/*
 * Cycle of its PCPU's clock at which the instruction of @cpu began after which
 * @after more of its block come; of a VCPU that does not run: the present.
 */
int64_t vsched_exec_cycle(CPUState *cpu, unsigned after);

/* plugin-cores.c */
void vsched_plugin_cores_init(void);
/* The engine's thread begins; all plugins are there. */
void vsched_plugin_begin(VschedEngine *e);
/* As VschedHost.switch_cost */
int64_t vsched_plugin_switch_cost(VschedEngine *e, int pcpu, int vcpu,
                                  int before, int holder, int64_t now);
/* A window is over: nothing happens before @cycle any more. */
void vsched_plugin_reached(VschedEngine *e, int64_t cycle);

/* periods.c */
void vsched_periods_connect(VschedEngine *e, int pcpu);
void vsched_periods_watch(VschedEngine *e, int pcpu, bool on);
/* The period that @pcpu is in is given up, a new one begins. */
void vsched_periods_begin_anew(VschedEngine *e, int pcpu);
/* The period goes on as it was saved; the SDB is loaded already. */
void vsched_periods_load(VschedEngine *e, int pcpu,
                         const VschedPeriods *saved);
/* Hooks of TCG: see struct TCGExecHooks. */
void vsched_periods_gen_mark(struct TCGv_i64_d *addr,
                             struct TCGv_i64_d *happened, bool store);
void vsched_periods_mark(CPUState *cpu, vaddr addr, bool store);

/* sampling.c */
typedef enum VschedJudged {
    VSCHED_PROGRESS,
    VSCHED_SPUN,
    VSCHED_OPEN,                /* what comes next decides */
} VschedJudged;
/*
 * Begin to sample, @rate times in a second and on each VCPU, for @cost cycles a
 * sample, with @stacks callers of each at most; false, and @errp, if that
 * cannot be.
 */
bool vsched_sampling_possible(VschedEngine *e, uint64_t rate, uint64_t cost,
                              uint64_t stacks, Error **errp);
bool vsched_sampling_start(VschedEngine *e, uint64_t rate, uint64_t cost,
                           uint64_t stacks, Error **errp);
bool vsched_sampling_stop(VschedEngine *e, Error **errp);
/* All samples so far to file @name, as JSON, or nothing. */
bool vsched_sampling_write(VschedEngine *e, const char *name, Error **errp);
void vsched_sampling_judge_open(VschedEngine *e, int pcpu, int64_t end,
                                VschedJudged judged);
/* The periods of @pcpu up to position @end have been judged. */
static inline void vsched_sampling_judge(VschedEngine *e, int pcpu,
                                         int64_t end, VschedJudged judged)
{
    if (unlikely(e->open_samples) && judged != VSCHED_OPEN) {
        vsched_sampling_judge_open(e, pcpu, end, judged);
    }
}
/* As host_event() of engine.c, if a moment of @vcpu has passed. */
void vsched_sampling_passed(VschedEngine *e, VschedEventKind kind, int pcpu,
                            int vcpu, int64_t now);
/* For save.c: all of it as words; the caller frees them. */
int64_t *vsched_sampling_save(VschedEngine *e, uint32_t *n);
/* What such words say; NULL, and @errp, if they are none of this machine. */
VschedSampling *vsched_sampling_load(VschedEngine *e, const int64_t *words,
                                     uint32_t n, Error **errp);
void vsched_sampling_free(VschedEngine *e, VschedSampling *sampling);
/* Go on with @sampling, or none (NULL); @converted: PCPUs are not the same. */
void vsched_sampling_install(VschedEngine *e, VschedSampling *sampling,
                             bool converted);

/* idle-loop.c */
/*
 * Without idle-loop=, on SPARC: functions of Linux whose code is executed again
 * and again while it is idle (choice; docs/engine-reference.rst).
 */
#define VSCHED_IDLE_LOOP_SPARC                                               \
    "do_idle+default_idle_call+arch_cpu_idle+arch_touch_nmi_watchdog+"       \
    "touch_softlockup_watchdog+tick_nohz_idle_got_tick+"                     \
    "tick_nohz_tick_stopped+tick_nohz_idle_retain_tick+timer_clear_idle+"    \
    "cpu_idle_poll_ctrl+ct_idle_enter+ct_idle_exit+ct_kernel_enter+"         \
    "ct_kernel_exit+ct_kernel_exit_state"
bool vsched_idle_loop_init(VschedEngine *e, Error **errp);
bool vsched_knows_idle_loop(const VschedEngine *e);
/* Of a VCPU that runs: at its last instruction before the present stretch. */
bool vsched_in_idle_loop(const VschedEngine *e, CPUState *cpu);

/* qmp.c */
/*
 * The engine.  NULL, and @errp, if there is none, or while a debugger holds the
 * machine within a window: nothing changes then.
 */
VschedEngine *vsched_changeable(Error **errp);
/* @vcpu spins on @pcpu: an event, if anybody asked for such. */
void vsched_report_spin(VschedEngine *e, int pcpu, int vcpu);

/* tracing.c */
/* A period ended on @pcpu at position @at, and was one of a spin. */
void vsched_tracing_spin(VschedEngine *e, int pcpu, int vcpu, int64_t at,
                         unsigned detectors, bool user);
/* Another state will be loaded: this part of the trace ends. */
void vsched_tracing_pause(VschedEngine *e);
/* It was, or the machine was reset instead: another part begins. */
void vsched_tracing_resume(VschedEngine *e);
void vsched_tracing_reset(VschedEngine *e);

/* stalls.c */
void vsched_stalls_changed(VschedEngine *e);

/* models.c: option @i of all models, NULL: no more; they start. */
const VschedModelOption *vsched_model_option(int i);
bool vsched_models_start(Error **errp);
/* Before there is an engine: models may want a clock-hz. */
bool vsched_models_prepare(Error **errp);
/* The statistics of the @n-th model that has some; NULL: there is none */
const VschedModelStats *vsched_models_stats(int n);

/* engine-object.c */
#define VSCHED_SCHED_DEFAULT "sdb"
#define VSCHED_SCHED_DESCRIPTION \
    "scheduling policy; 'help' lists them, default " VSCHED_SCHED_DEFAULT
/*
 * Parameter @i of the engine; NULL: there are no more.  The first ones are
 * pcpus and window.
 */
const VschedParameter *vsched_engine_parameter(int i);
/* The same for those that say what the machine is like at first. */
const char *vsched_first_parameter(int i, const char **description);
/* The policy's parameters as it wants them: times in cycles. */
void vsched_policy_values(VschedEngine *e, int64_t *values);
/*
 * The policy of a machine that is loaded: of name @sched with parameter values
 * @saved, but for what the user gave.  @values: its parameters, times in
 * cycles; @same: it is what was saved.  NULL, and @errp, if it is none.
 */
VschedPolicyState *vsched_policy_load(VschedEngine *e, const char *sched,
                                      const uint64_t *saved, int64_t *values,
                                      bool *same, Error **errp);
/*
 * Another policy takes over, of this name, with @parameters as QMP has them and
 * defaults for the rest; NULL: for all.  False, and @errp, if that cannot be:
 * nothing has changed.  @check: only see whether names and values can be.
 */
bool vsched_policy_change(VschedEngine *e, const char *name, QDict *parameters,
                          bool check, Error **errp);
/* Likewise: parameters of the policy that there is, or of the engine. */
bool vsched_parameters_change(VschedEngine *e, QDict *parameters, bool check,
                              Error **errp);
/* @policy is the engine's from now on. */
void vsched_policy_install(VschedEngine *e, VschedPolicyState *policy);

/* options.c */
void vsched_options_class_init(ObjectClass *oc);
/* False, and @errp, if there are parameters and no engine to take them. */
bool vsched_options_unused(Error **errp);
VschedEngine *vsched_options_engine(Object *accel, MachineState *ms,
                                    Error **errp);
/* What the user gave of an SDB's properties takes effect in @sdb. */
bool vsched_options_given_sdb(VschedEngine *e, SDBState *sdb, Error **errp);
/* @sdb has another configuration than before. */
void vsched_options_sdb_changed(VschedEngine *e, SDBState *sdb);

/* objects.c */
void vsched_objects_create(VschedEngine *e, MachineState *ms);
void vsched_objects_created_vcpu(VschedEngine *e, CPUState *cpu);
/* "1" or "2/3"; and back, or false and @errp. */
char *vsched_speed_text(const VschedSpeed *speed);
bool vsched_parse_speed(const char *text, VschedSpeed *speed, Error **errp);
/* What vms= says of each VCPU; NULL, and @errp, if that is impossible. */
int *vsched_option_vms(VschedEngine *e, int vcpus, Error **errp);
/* affinity=, offline=, speed=, weights=, caps= as given, in @state. */
bool vsched_objects_given(VschedEngine *e, VschedCoreState *state,
                          Error **errp);

/* stats.c */
void vsched_stats_init(VschedEngine *e);

/* save.c */
void vsched_save_init(VschedEngine *e);
void vsched_expect_state(VschedEngine *e);
void vsched_refuse_stale(VschedEngine *e);

#endif /* VSCHED_ENGINE_H */
