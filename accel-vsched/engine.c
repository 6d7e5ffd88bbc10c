/*
 * The engine: one host thread runs all VCPUs, PCPU by PCPU, window by window.
 *
 *     -accel tcg,thread=vsched
 *
 * Between two windows the engine holds the BQL, and only then anything from
 * outside the VCPUs happens: timers, device completions, the main loop, stop
 * and continue.  Within a window it does not hold it; devices take it for each
 * access, as under thread=single.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/guest-random.h"
#include "qemu/host-utils.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "accel/tcg/cpu-ops.h"
#include "accel/tcg/threading.h"
#include "accel/tcg/tcg-accel-ops.h"
#include "exec/translation-block.h"
#include "system/accel-ops.h"
#include "system/cpu-timers.h"
#include "system/cpus.h"
#include "system/runstate.h"
#include "system/tcg.h"
#include "tcg/startup.h"
#include "vsched/vsched.h"
#include "devices.h"
#include "engine.h"
#include "trace.h"

VschedEngine *vsched_engine;

static __thread bool in_engine_thread;

bool vsched_in_engine_thread(void)
{
    return in_engine_thread;
}

/* muldiv64() divides by 32 bits only, which are less than 10 GHz. */
static int64_t muldiv(uint64_t a, uint64_t b, uint64_t c, bool round_up)
{
    uint64_t low, high, remainder;

    mulu64(&low, &high, a, b);
    remainder = divu128(&low, &high, c);
    return low + (round_up && remainder);
}

int64_t vsched_cycles_to_ns(const VschedEngine *e, int64_t cycles)
{
    return e->clock_hz == NANOSECONDS_PER_SECOND ? cycles :
           muldiv(cycles, NANOSECONDS_PER_SECOND, e->clock_hz, false);
}

/* Rounded up: not before @ns. */
int64_t vsched_ns_to_cycles(const VschedEngine *e, int64_t ns)
{
    return e->clock_hz == NANOSECONDS_PER_SECOND ? ns :
           muldiv(ns, e->clock_hz, NANOSECONDS_PER_SECOND, true);
}

/* The guest's time: the clock of the PCPU that asks, else that of all. */
static int64_t vsched_get_virtual_clock(void)
{
    VschedEngine *e = vsched_engine;
    VschedCore *core = e->core;

    if (in_engine_thread && core->running != VSCHED_NONE && current_cpu) {
        return vsched_cycles_to_ns(e, core->pcpu[core->running].clock +
                                      vsched_exec_elapsed());
    }
    return qatomic_read_i64(&e->now);
}

void vsched_publish_time(VschedEngine *e)
{
    qatomic_set_i64(&e->now, vsched_cycles_to_ns(e, e->core->window_end));
}

/*
 * Only CPUState.stopped, which changes between windows, says that a VCPU is
 * stopped.  cpu_is_stopped() looks at the machine's run state as well, which
 * changes before the VCPUs are asked to stop, and may do so within a window.
 */
static bool vcpu_runnable(CPUState *cpu)
{
    return !cpu->stopped && (!cpu->halted || cpu_has_work(cpu));
}

void vsched_wake(VschedEngine *e, CPUState *cpu)
{
    vsched_core_notify(e->core, cpu->cpu_index);
    if (vcpu_runnable(cpu)) {
        vsched_core_wake(e->core, cpu->cpu_index);
    }
}

/* Something may have happened to any VCPU: look at all. */
void vsched_reconsider(VschedEngine *e)
{
    CPUState *cpu;

    CPU_FOREACH(cpu) {
        if (vcpu_runnable(cpu)) {
            vsched_core_wake(e->core, cpu->cpu_index);
        } else {
            vsched_core_block(e->core, cpu->cpu_index);
        }
    }
}

/*
 * Interrupts that one VCPU raises at another on a different PCPU are taken
 * when the window is over: the other's clock may be behind.
 */
static void vsched_handle_interrupt(CPUState *cpu, int mask)
{
    VschedEngine *e = vsched_engine;

    g_assert(bql_locked());

    if (in_engine_thread && current_cpu == cpu) {
        cpu->interrupt_request |= mask;
        qatomic_set(&cpu->neg.icount_decr.u16.high, -1);
    } else if (in_engine_thread && e->core->running != VSCHED_NONE &&
               e->core->vcpu[cpu->cpu_index].pcpu != e->core->running) {
        cpu->interrupt_deferred |= mask;
        qatomic_set(&e->attention, true);
        vsched_cut();
    } else {
        cpu->interrupt_request |= mask;
        if (in_engine_thread) {
            vsched_wake(e, cpu);
        } else {
            qemu_cpu_kick(cpu);
        }
    }
}

static void vsched_kick(CPUState *cpu)
{
    qatomic_set(&vsched_engine->attention, true);
    if (in_engine_thread) {
        vsched_cut();
        if (cpu == current_cpu) {
            cpu_exit(cpu);      /* work for itself, to be done at once */
        }
    }
}

/* Before anything else happens between two windows: they were made earlier. */
static void deliver_deferred(VschedEngine *e)
{
    CPUState *cpu;

    CPU_FOREACH(cpu) {
        if (cpu->interrupt_deferred) {
            cpu->interrupt_request |= cpu->interrupt_deferred;
            cpu->interrupt_deferred = 0;
            vsched_core_notify(e->core, cpu->cpu_index);
        }
    }
}

void vsched_deliver_posts(VschedEngine *e)
{
    while (!QSIMPLEQ_EMPTY(&e->posts)) {
        VschedPost *post = QSIMPLEQ_FIRST(&e->posts);

        QSIMPLEQ_REMOVE_HEAD(&e->posts, next);
        post->func(post->target, post->opaque);
        vsched_wake(e, post->target);
        g_free(post);
    }
}

/* Wait for the main loop, or for somebody who wants something of a VCPU. */
static void sleep_until_event(VschedEngine *e)
{
    vsched_devices_leave();
    qemu_cond_wait_bql(first_cpu->halt_cond);
    vsched_devices_enter();
    qatomic_set(&e->attention, true);
}

static bool stop_requested(void)
{
    CPUState *cpu;

    CPU_FOREACH(cpu) {
        if (cpu->stop) {
            return true;
        }
    }
    return false;
}

static bool all_stopped(void)
{
    CPUState *cpu;

    CPU_FOREACH(cpu) {
        if (!cpu->stopped) {
            return false;
        }
    }
    return true;
}

/* Queued work, and stop requests if it is a time to stop. */
static void do_queued_work(VschedEngine *e)
{
    bool may_stop = !stop_requested() || vsched_devices_may_stop(e->now);
    CPUState *cpu;

    CPU_FOREACH(cpu) {
        current_cpu = cpu;
        if (may_stop) {
            qemu_wait_io_event_common(cpu);
        } else {
            process_queued_cpu_work(cpu);
        }
    }
    current_cpu = NULL;
    if (!may_stop) {
        qatomic_set(&e->attention, true);       /* ask again */
    }
}

/* Somebody wants something of a VCPU.  Sleeps while the VM is stopped. */
static void attend(VschedEngine *e)
{
    qatomic_set(&e->attention, false);
    do_queued_work(e);
    while (all_stopped() || e->stale) {
        if (all_stopped()) {
            e->refused = false;
        } else {
            vsched_refuse_stale(e);
        }
        sleep_until_event(e);
        do_queued_work(e);
    }
    vsched_reconsider(e);
}

static int64_t horizon(VschedEngine *e)
{
    int64_t next = vsched_devices_next();

    return next == INT64_MAX ? next : vsched_ns_to_cycles(e, next);
}

/* Devices have something to do at the end of the window. */
static void devices_wanted(void)
{
    if (in_engine_thread) {
        vsched_cut();
    }
}

/* Nothing to run before @until: go there, or to the next thing to happen. */
static void pass_idle_time(VschedEngine *e, int64_t until)
{
    until = MIN(until, horizon(e));
    if (until == INT64_MAX) {
        sleep_until_event(e);
    } else if (until > e->core->window_end) {
        vsched_core_jump(e->core, QEMU_ALIGN_UP(until, e->core->window));
        vsched_publish_time(e);
    }
}

static void *vsched_thread(void *arg)
{
    VschedEngine *e = vsched_engine;
    CPUState *cpu = arg;
    int64_t until;

    rcu_register_thread();
    tcg_register_thread();

    bql_lock();
    qemu_thread_get_self(cpu->thread);
    cpu->thread_id = qemu_get_thread_id();
    cpu->neg.can_do_io = true;
    cpu_thread_signal_created(cpu);
    qemu_guest_random_seed_thread_part2(cpu->random_seed);
    e->random[VSCHED_INSN_RANDOM] = qemu_guest_random_of_thread();

    in_engine_thread = true;
    e->attention = true;
    while (first_cpu->stopped) {
        qemu_cond_wait_bql(first_cpu->halt_cond);
        do_queued_work(e);
    }
    vsched_devices_enter();

    for (;;) {
        if (qatomic_read(&e->attention)) {
            attend(e);
        }
        if (vsched_core_idle(e->core, &until)) {
            pass_idle_time(e, until);
        } else {
            bql_unlock();
            vsched_exec_enter();
            vsched_core_window(e->core, horizon(e));
            vsched_exec_leave();
            bql_lock();
            vsched_publish_time(e);
            vsched_deliver_posts(e);
            if (qatomic_read(&e->attention)) {
                deliver_deferred(e);
            }
        }
        if (vsched_devices_due(e->now)) {
            vsched_devices_window_end(e->now);
        }
    }
    return NULL;
}

static void vsched_create_vcpu_thread(CPUState *cpu)
{
    VschedEngine *e = vsched_engine;
    char name[VCPU_THREAD_NAME_SIZE];
    static QemuCond *halt_cond;
    static QemuThread *thread;

    g_assert(tcg_enabled());
    tcg_cpu_init_cflags(cpu, false);
    cpu->tcg_cflags |= CF_USE_ICOUNT;
    e->cpu[cpu->cpu_index] = cpu;
    if (!e->no_unplug) {
        error_setg(&e->no_unplug, "thread=vsched cannot take a CPU out of the "
                   "machine: one thread runs them all");
    }
    qdev_add_unplug_blocker(DEVICE(cpu), e->no_unplug);

    if (!thread) {
        halt_cond = cpu->halt_cond;
        thread = cpu->thread;
        snprintf(name, sizeof(name), "ALL CPUs/vsched");
        qemu_thread_create(cpu->thread, name, vsched_thread, cpu,
                           QEMU_THREAD_JOINABLE);
    } else {
        g_free(cpu->thread);
        qemu_cond_destroy(cpu->halt_cond);
        g_free(cpu->halt_cond);
        cpu->thread = thread;
        cpu->halt_cond = halt_cond;
        cpu->thread_id = first_cpu->thread_id;
        cpu->neg.can_do_io = true;
        cpu->created = true;
    }
}

static VschedStop host_run(void *opaque, int pcpu, int vcpu, int64_t budget,
                           bool spin_stops, int64_t *used)
{
    VschedEngine *e = opaque;

    if (unlikely(!vcpu_runnable(e->cpu[vcpu]))) {
        return VSCHED_STOP_HALT;
    }
    return vsched_exec(e, pcpu, vcpu, budget, spin_stops, used);
}

static void host_switched(void *opaque, int pcpu, int vcpu)
{
    vsched_exec_switched(opaque, pcpu, vcpu);
}

static bool host_runnable(void *opaque, int vcpu)
{
    VschedEngine *e = opaque;

    return vcpu_runnable(e->cpu[vcpu]);
}

static int64_t host_elapsed(void *opaque)
{
    return vsched_exec_elapsed();
}

static const VschedHost host = {
    .run = host_run,
    .switched = host_switched,
    .runnable = host_runnable,
    .elapsed = host_elapsed,
};

static bool vsched_init_machine(Object *accel, MachineState *ms, bool chosen,
                                Error **errp)
{
    VschedEngine *e;
    VschedTopology topology;
    int64_t values[VSCHED_PARAMETERS_MAX];

    if (!chosen) {
        return vsched_options_unused(errp);
    }
    if (icount_enabled()) {
        error_setg(errp, "thread=vsched counts instructions by itself: "
                   "-icount cannot be used together with it");
        return false;
    }
    e = vsched_options_engine(accel, ms, errp);
    if (!e) {
        return false;
    }

    topology.vcpus = ms->smp.max_cpus;
    topology.pcpus = e->pcpus;
    vsched_devices_init();
    vsched_devices_wanted = devices_wanted;
    vsched_devices_set_disk_latency(e->disk_latency);
    vsched_engine = e;
    e->core = vsched_core_new(&topology, vsched_ns_to_cycles(e, e->window),
                              e->switch_cost, vsched_devices_seed(), &host,
                              e);
    e->random[VSCHED_MAIN_RANDOM] = qemu_guest_random_of_thread();
    e->core->skip = vsched_ns_to_cycles(e, e->skip);
    e->core->jitter = e->jitter;
    vsched_policy_values(e, values);
    vsched_core_set_policy(e->core, VSCHED_POLICY_GET_CLASS(e->policy)->ops,
                           values);
    e->cpu = g_new0(CPUState *, topology.vcpus);
    e->exec = g_new0(VschedExec, topology.pcpus);
    QSIMPLEQ_INIT(&e->posts);
    for (int p = 0; p < topology.pcpus; p++) {
        vsched_exec_connect(e, p);
    }

    vsched_exec_init();
    vsched_stats_init();
    vsched_save_init(e);
    return true;
}

static void vsched_pre_loadvm(CPUState *cpu)
{
    vsched_expect_state(vsched_engine);
}

static void vsched_ops_init(AccelOpsClass *ops)
{
    ops->synchronize_pre_loadvm = vsched_pre_loadvm;
    ops->create_vcpu_thread = vsched_create_vcpu_thread;
    ops->kick_vcpu_thread = vsched_kick;
    ops->handle_interrupt = vsched_handle_interrupt;
    ops->get_virtual_clock = vsched_get_virtual_clock;
    ops->get_elapsed_ticks = vsched_get_virtual_clock;
}

static const TCGThreading vsched_threading = {
    .name = "vsched",
    .class_init = vsched_options_class_init,
    .init_machine = vsched_init_machine,
    .ops_init = vsched_ops_init,
};

static void vsched_register(void)
{
    tcg_threading_register(&vsched_threading);
}

type_init(vsched_register);
