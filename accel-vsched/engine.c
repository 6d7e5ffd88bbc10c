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
#include "qemu/error-report.h"
#include "qemu/guest-random.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "qapi/qapi-events-vsched.h"
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
#include "commands.h"
#include "devices.h"
#include "engine.h"
#include "trace.h"

static void vsched_kick(CPUState *cpu)
{
    qatomic_set(&vsched_engine->attention, true);
    if (vsched_in_engine_thread()) {
        vsched_cut();
        if (cpu == current_cpu) {
            cpu_exit(cpu);      /* work for itself, to be done at once */
        }
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

/*
 * QEMU lets a processor go when it is plugged in, even if the machine stands
 * still: the threads of other accelerators look at the run state themselves.
 */
static void hold_new_vcpus(void)
{
    CPUState *cpu;

    if (!runstate_is_running()) {
        CPU_FOREACH(cpu) {
            if (!cpu->stop) {
                cpu->stopped = true;
            }
        }
    }
}

/* Queued work, and stop requests if it is a time to stop. */
static void do_queued_work(VschedEngine *e)
{
    /* A machine that is stopped has nothing on its way: see save.c. */
    bool may_stop = !stop_requested() ||
                    (vsched_next_delivery(e) == INT64_MAX &&
                     vsched_devices_may_stop(e->now));
    CPUState *cpu;

    hold_new_vcpus();
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
            e->refused = e->stopping = e->core->broken = false;
        } else {
            vsched_refuse_stale(e);
        }
        sleep_until_event(e);
        do_queued_work(e);
    }
    vsched_reconsider(e);
}

void vsched_stop_at_window_end(VschedEngine *e)
{
    if (runstate_is_running()) {
        e->stopping = true;
        qatomic_set(&e->attention, true);
        qemu_cond_broadcast(first_cpu->halt_cond);
    }
}

/*
 * Let the main loop stop the machine.  Nothing runs until it has asked for
 * that, so that it is always at the same time.
 */
static void request_stop(VschedEngine *e)
{
    e->stopping = false;
    qemu_system_vmstop_request_prepare();
    qemu_system_vmstop_request(RUN_STATE_PAUSED);
    while (!stop_requested() && !all_stopped()) {
        sleep_until_event(e);
        do_queued_work(e);      /* the main loop may wait for that before */
    }
}

/*
 * The PCPU stays where it is, and with it the window.  The main loop first
 * stops all VCPUs (they do so here), and only then may the debugger let any of
 * them go, which need not be @cpu.  The window goes on when a VCPU is let go,
 * even if all are to stop again by now: they do so at its end.  host_run() sees
 * to those that are not let go.
 */
void vsched_debugger_stop(VschedEngine *e, CPUState *cpu)
{
    bool all_were_stopped = false;
    CPUState *other;

    vsched_exec_leave();
    bql_lock();
    cpu_handle_guest_debug(cpu);
    vsched_devices_leave();             /* the debugger is in the main loop */
    while (!all_were_stopped || all_stopped()) {
        CPU_FOREACH(other) {
            current_cpu = other;
            qemu_wait_io_event_common(other);   /* may give up the BQL */
        }
        current_cpu = cpu;
        if (all_stopped()) {
            all_were_stopped = true;
        } else if (all_were_stopped || stop_requested()) {
            continue;
        }
        qemu_cond_wait_bql(cpu->halt_cond);
    }
    e->held = true;
    vsched_devices_enter();
    bql_unlock();
    vsched_exec_enter();
}

/*
 * In the middle of a window: VCPUs that the debugger holds must not be picked,
 * nor stand in the way of others on their PCPU.  VCPUs that it held before and
 * let go now become ready at the end of the window, which is therefore cut
 * short.
 */
static void set_held_aside(VschedEngine *e, int pcpu)
{
    CPUState *cpu;

    e->held = false;
    CPU_FOREACH(cpu) {
        if (cpu->stopped) {
            vsched_core_block(e->core, vsched_vcpu(cpu));
        }
    }
    vsched_core_cut(e->core, e->core->pcpu[pcpu].clock);
}

/* When something happens next, commands left out */
static int64_t next_event(VschedEngine *e)
{
    int64_t next = vsched_devices_next();

    if (next != INT64_MAX) {
        next = vsched_ns_to_cycles(e, next);
    }
    if (!QSIMPLEQ_EMPTY(&e->posts) || e->any_deferred) {
        next = MIN(next, vsched_next_delivery(e));
    }
    return next;
}

/* @ns, or INT64_MAX: never */
static int64_t cycle_of(VschedEngine *e, int64_t ns)
{
    return ns == INT64_MAX ? ns : vsched_ns_to_cycles(e, ns);
}

static int64_t horizon(VschedEngine *e)
{
    return MIN(next_event(e), cycle_of(e, vsched_commands_next()));
}

/* Devices have something to do at the end of the window. */
static void devices_wanted(void)
{
    if (vsched_in_engine_thread()) {
        vsched_cut();
    }
}

/* Nothing to run before @until: go there, or to the next thing to happen. */
static void pass_idle_time(VschedEngine *e, int64_t until)
{
    until = MIN(until, next_event(e));
    until = MIN(until, cycle_of(e, vsched_commands_next_change()));
    if (e->plugin_next > e->core->window_end) {
        until = MIN(until, e->plugin_next);
    }
    if (until > cycle_of(e, vsched_latest_ns(e))) {
        sleep_until_event(e);
        return;
    }
    /* Who observes does not make time pass, but has his turn if it does. */
    until = MIN(until, cycle_of(e, vsched_commands_next()));
    if (until > e->core->window_end) {
        vsched_core_jump(e->core, QEMU_ALIGN_UP(until, e->core->window));
        vsched_publish_time(e);
        vsched_plugin_reached(e, e->core->window_end);
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

    vsched_is_engine_thread();
    e->attention = true;
    while (all_stopped()) {
        qemu_cond_wait_bql(first_cpu->halt_cond);
        do_queued_work(e);
    }
    vsched_devices_enter();
    vsched_plugin_begin(e);

    for (;;) {
        if (qatomic_read(&e->attention)) {
            attend(e);
        }
        if (vsched_commands_next() <= e->now) {
            vsched_commands_due(e);
        }
        if (e->stopping) {
            request_stop(e);
            continue;
        }
        if (vsched_core_idle(e->core, &until)) {
            pass_idle_time(e, until);
        } else {
            bql_unlock();
            vsched_exec_enter();
            vsched_core_window(e->core, MIN(horizon(e), e->plugin_next));
            vsched_exec_leave();
            bql_lock();
            vsched_publish_time(e);
        }
        if (!QSIMPLEQ_EMPTY(&e->posts)) {
            vsched_deliver_posts(e, e->core->window_end);
        }
        if (e->any_deferred) {
            vsched_deliver_deferred(e);
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
    g_assert(e->created < e->core->topology.vcpus);
    cpu->accel = g_new0(struct AccelCPUState, 1);
    cpu->accel->vcpu = e->created++;
    e->cpu[vsched_vcpu(cpu)] = cpu;
    vsched_objects_created_vcpu(e, cpu);
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

static VschedStop host_run(void *opaque, VschedRun *run)
{
    VschedEngine *e = opaque;

    if (unlikely(e->held)) {
        set_held_aside(e, run->pcpu);
        return VSCHED_STOP_EXIT;
    }
    if (unlikely(!vsched_runnable(e->cpu[run->vcpu]))) {
        return VSCHED_STOP_HALT;
    }
    return vsched_exec(e, run);
}

static void host_switched(void *opaque, int pcpu, int vcpu, int before)
{
    vsched_exec_switched(opaque, pcpu, vcpu, before);
}

static bool host_runnable(void *opaque, int vcpu)
{
    VschedEngine *e = opaque;

    return vsched_runnable(e->cpu[vcpu]);
}

static int64_t host_elapsed(void *opaque)
{
    return vsched_exec_elapsed();
}

static int64_t host_elapsed_unstalled(void *opaque)
{
    return vsched_exec_elapsed_unstalled();
}

static void host_shorten(void *opaque)
{
    vsched_exec_shorten();
}

static bool host_user_mode(void *opaque, int vcpu)
{
    VschedEngine *e = opaque;

    return e->cpu[vcpu] && e->cpu[vcpu]->neg.user_mode;
}

static bool host_interrupt_pending(void *opaque, int vcpu)
{
    VschedEngine *e = opaque;
    CPUState *cpu = e->cpu[vcpu];

    return cpu && vsched_interrupt_pending(cpu);
}

static bool host_in_idle_loop(void *opaque, int vcpu)
{
    VschedEngine *e = opaque;

    return e->cpu[vcpu] && vsched_in_idle_loop(e, e->cpu[vcpu]);
}

static bool host_knows_idle_loop(void *opaque)
{
    return vsched_knows_idle_loop(opaque);
}

static void host_ask_safe_point(void *opaque, int vcpu)
{
    VschedEngine *e = opaque;

    if (e->ask_safe_point && e->cpu[vcpu]) {
        BQL_LOCK_GUARD();
        e->ask_safe_point(e->cpu[vcpu], e->ask_opaque);
    }
}

/* The guest may count what its processors waited for, as steal time. */
static void tell_steal_time(VschedEngine *e, int vcpu)
{
    CPUState *cpu = e->cpu[vcpu];

    if (cpu && cpu->cc->tcg_ops->steal_time) {
        int64_t waited = vsched_core_cycles(e->core, vcpu, VSCHED_READY);

        cpu->cc->tcg_ops->steal_time(cpu, vsched_cycles_to_ns(e, waited));
    }
}

static void host_event(void *opaque, VschedEventKind kind, int pcpu, int vcpu,
                       int64_t other, int64_t now)
{
    static const char *const why[VSCHED_WHYS] = {
        [VSCHED_EXPIRED] = "expired",
        [VSCHED_YIELDED] = "yielded",
        [VSCHED_PREEMPTED] = "preempted",
        [VSCHED_EVICTED] = "evicted",
    };
    VschedEngine *e = opaque;

    if (unlikely(vsched_recording)) {
        vsched_trace_event(vsched_recording, e->core, kind, pcpu, vcpu, other,
                           now);
    }
    if (e->sampled && kind <= VSCHED_EVENT_PREEMPT &&
        unlikely(e->sampled[vcpu].moment < now)) {
        vsched_sampling_passed(e, kind, pcpu, vcpu, now);
    }
    switch (kind) {
    case VSCHED_EVENT_SWITCH:
        e->switching = vcpu;
        trace_vsched_switch(now, pcpu, vcpu, other);
        break;
    case VSCHED_EVENT_RUN:
        e->switching = VSCHED_NONE;
        if (e->sampled) {
            e->exec[pcpu].timed->due = e->sampled[vcpu].moment;
        }
        trace_vsched_run(now, pcpu, vcpu);
        tell_steal_time(e, vcpu);
        break;
    case VSCHED_EVENT_WAKE:
        trace_vsched_wake(now, pcpu, vcpu);
        break;
    case VSCHED_EVENT_BLOCK:
        trace_vsched_block(now, pcpu, vcpu);
        break;
    case VSCHED_EVENT_PREEMPT:
        trace_vsched_preempt(now, pcpu, vcpu, why[other]);
        break;
    case VSCHED_EVENT_MIGRATE:
        trace_vsched_migrate(now, pcpu, vcpu, other);
        break;
    case VSCHED_EVENT_WINDOW:
        trace_vsched_window(now, other);
        vsched_plugin_reached(e, now);
        break;
    case VSCHED_EVENT_POLICY:
        trace_vsched_policy(now, e->core->ops->name);
        qapi_event_send_vsched_policy(e->core->ops->name,
                                      vsched_cycles_to_ns(e, now));
        break;
    case VSCHED_EVENT_PCPU:
        trace_vsched_pcpu(now, pcpu, other ? "on" : "off");
        qapi_event_send_vsched_pcpu(pcpu, other, vsched_cycles_to_ns(e, now));
        break;
    case VSCHED_EVENT_AFFINITY:
        qapi_event_send_vsched_affinity(vcpu, !other);
        break;
    case VSCHED_EVENT_WAIT:
    case VSCHED_EVENT_MASK:
    case VSCHED_EVENT_SHARE:
        break;                  /* for schedule traces */
    }
}

const char *vsched_hint_name(VschedHintKind kind)
{
    static const char *const kinds[VSCHED_HINTS] = {
        [VSCHED_HINT_SPIN] = "spin",
        [VSCHED_HINT_USER] = "user",
        [VSCHED_HINT_PRIVILEGED] = "privileged",
        [VSCHED_HINT_SENT] = "sent",
        [VSCHED_HINT_TAKEN] = "taken",
        [VSCHED_HINT_HALT] = "halt",
        [VSCHED_HINT_PAUSE] = "pause",
        [VSCHED_HINT_HOLD] = "hold",
        [VSCHED_HINT_SAFE_POINT] = "safe-point",
        [VSCHED_HINT_MARK] = "mark",
    };

    return kinds[kind];
}

static void host_hint(void *opaque, const VschedHint *hint)
{
    static const char *const outcomes[] = {
        [VSCHED_SENT_ACCEPTED] = "accepted",
        [VSCHED_SENT_PENDING] = "pending",
        [VSCHED_SENT_REFUSED] = "refused",
    };
    bool sent = hint->kind == VSCHED_HINT_SENT;

    if (unlikely(vsched_recording)) {
        vsched_trace_hint(vsched_recording, hint);
    }
    trace_vsched_hint(hint->now, hint->pcpu, hint->vcpu,
                      vsched_hint_name(hint->kind),
                      sent ? hint->other : VSCHED_NONE,
                      sent ? outcomes[hint->sent] : "-", hint->cross_call,
                      hint->running);
}

/*
 * The machine stops.  What follows until then is of no use, but does no harm;
 * after a reset it may go on, best under another policy.
 */
static void host_broken(void *opaque, const char *what)
{
    VschedEngine *e = opaque;

    error_report("%s, at %" PRId64 " ns: the machine stops", what,
                 vsched_cycles_to_ns(e, e->core->window_end));
    qemu_system_vmstop_request_prepare();
    qemu_system_vmstop_request(RUN_STATE_INTERNAL_ERROR);
}

static int64_t host_switch_cost(void *opaque, int pcpu, int vcpu, int before,
                                int holder, int64_t now)
{
    return vsched_plugin_switch_cost(opaque, pcpu, vcpu, before, holder, now);
}

static const VschedHost host = {
    .run = host_run,
    .switched = host_switched,
    .switch_cost = host_switch_cost,
    .runnable = host_runnable,
    .elapsed = host_elapsed,
    .elapsed_unstalled = host_elapsed_unstalled,
    .shorten = host_shorten,
    .user_mode = host_user_mode,
    .interrupt_pending = host_interrupt_pending,
    .in_idle_loop = host_in_idle_loop,
    .knows_idle_loop = host_knows_idle_loop,
    .ask_safe_point = host_ask_safe_point,
    .event = host_event,
    .hint = host_hint,
    .broken = host_broken,
};

/* The first policy, and what the command line says of VMs, PCPUs and VCPUs. */
static bool apply_given(VschedEngine *e, Error **errp)
{
    VschedCoreState *state = vsched_state_new(e->core);
    int64_t values[VSCHED_PARAMETERS_MAX];
    g_autofree char *why = NULL;
    bool ok = vsched_objects_given(e, state, errp);

    if (ok) {
        vsched_policy_values(e, values);
        ok = vsched_state_load(e->core, state,
                               VSCHED_POLICY_GET_CLASS(e->policy)->ops, values,
                               NULL, -1, false, &why);
        if (!ok) {
            error_setg(errp, "policy '%s' is impossible here: %s", e->sched,
                       why);
        }
    }
    vsched_state_free(state);
    return ok;
}

static bool vsched_init_machine(Object *accel, MachineState *ms, bool chosen,
                                Error **errp)
{
    VschedEngine *e;
    g_autofree int *vm = NULL;

    if (!chosen) {
        return vsched_options_unused(errp);
    }
    if (icount_enabled()) {
        error_setg(errp, "thread=vsched counts instructions by itself: "
                   "-icount cannot be used together with it");
        return false;
    }
    if (!vsched_models_prepare(errp)) {
        return false;
    }
    e = vsched_options_engine(accel, ms, errp);
    if (!e) {
        return false;
    }

    vm = vsched_option_vms(e, ms->smp.max_cpus, errp);
    if (!vm || !vsched_idle_loop_init(e, errp)) {
        return false;
    }
    vsched_devices_init(&vsched_interrupts);
    vsched_devices_wanted = devices_wanted;
    vsched_devices_set_disk_latency(e->disk_latency);
    vsched_engine = e;
    e->core = vsched_core_new(ms->smp.max_cpus, e->pcpus, vm,
                              vsched_ns_to_cycles(e, e->window),
                              e->switch_cost, vsched_devices_seed(), &host,
                              e);
    e->random[VSCHED_MAIN_RANDOM] = qemu_guest_random_of_thread();
    e->core->skip = vsched_ns_to_cycles(e, e->skip);
    e->core->jitter = e->jitter;
    e->cpu = g_new0(CPUState *, ms->smp.max_cpus);
    e->exec = g_new0(VschedExec, e->pcpus);
    e->switching = VSCHED_NONE;
    e->periods = g_new0(VschedPeriods, e->pcpus);
    QSIMPLEQ_INIT(&e->posts);
    vsched_objects_create(e, ms);
    if (!apply_given(e, errp)) {
        return false;
    }
    for (int p = 0; p < e->pcpus; p++) {
        vsched_periods_connect(e, p);
    }
    vsched_stalls_changed(e);

    vsched_exec_init();
    vsched_plugin_cores_init();
    vsched_save_init(e);
    if (!vsched_models_start(errp)) {
        return false;
    }
    vsched_stats_init(e);
    return vsched_commands_start(e, errp);
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
    ops->get_elapsed_ticks = vsched_get_cycles;
    ops->get_tick_frequency = vsched_clock_hz;
}

static const TCGThreading vsched_threading = {
    .name = "vsched",
    .class_init = vsched_options_class_init,
    .init_machine = vsched_init_machine,
    .ops_init = vsched_ops_init,
    .counts_steal_time = true,
};

static void vsched_register(void)
{
    tcg_threading_register(&vsched_threading);
}

type_init(vsched_register);
