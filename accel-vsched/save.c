/*
 * What savevm and migration keep of the engine.
 *
 * The machine stops at the end of a window, so that no VCPU is in the middle
 * of anything, and nothing is on its way from one PCPU to another: clocks, run
 * states, counters, the periods of the SDBs and the policy's own state are all
 * there is.  Where a debugger stops it within a window, it cannot be saved.
 *
 * A state may be loaded into a machine with another policy, other parameters,
 * another window or another number of PCPUs (state.h says what becomes of it).
 * What the user gave to the QEMU that loads it, on the command line, holds;
 * whatever was not given, or was changed live since, is as it was saved.
 * VCPUs, their VMs and the clock have to be the same.
 *
 * The core does not change before all of its state has been read and found
 * possible, so that an engine whose load failed can be reset, or load another.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qapi/error.h"
#include "migration/vmstate.h"
#include "system/reset.h"
#include "system/runstate.h"
#include "commands.h"
#include "devices.h"
#include "engine.h"
#include "given.h"

static const VMStateDescription vmstate_vcpu = {
    .name = "vsched/vcpu",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(state, VschedVCPU),
        VMSTATE_INT32(pcpu, VschedVCPU),
        VMSTATE_INT32(holder, VschedVCPU),
        VMSTATE_INT32(moving, VschedVCPU),
        VMSTATE_UINT64(affinity, VschedVCPU),
        VMSTATE_INT64(seen, VschedVCPU),
        VMSTATE_INT64(since, VschedVCPU),
        VMSTATE_UINT64(turn, VschedVCPU),
        VMSTATE_INT64_ARRAY(cycles, VschedVCPU, VSCHED_STATES),
        VMSTATE_INT64_ARRAY(ran_on, VschedVCPU, VSCHED_PCPUS_MAX),
        VMSTATE_INT64(longest_wait, VschedVCPU),
        VMSTATE_BOOL(spinning, VschedVCPU),
        VMSTATE_INT64(spin_cycles, VschedVCPU),
        VMSTATE_UINT64_ARRAY(insns, VschedVCPU, 2),
        VMSTATE_UINT64(spins, VschedVCPU),
        VMSTATE_UINT64(expired, VschedVCPU),
        VMSTATE_UINT64(ended_by_spin, VschedVCPU),
        VMSTATE_UINT64(ended_by_hint, VschedVCPU),
        VMSTATE_UINT64(preempted, VschedVCPU),
        VMSTATE_UINT64(evicted, VschedVCPU),
        VMSTATE_UINT64(switches, VschedVCPU),
        VMSTATE_UINT64(migrations, VschedVCPU),
        VMSTATE_UINT64(calls_sent, VschedVCPU),
        VMSTATE_UINT64(calls_refused, VschedVCPU),
        VMSTATE_END_OF_LIST()
    }
};

static const VMStateDescription vmstate_speed = {
    .name = "vsched/speed",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(insns, VschedSpeed),
        VMSTATE_UINT32(cycles, VschedSpeed),
        VMSTATE_UINT32(carry, VschedSpeed),
        VMSTATE_END_OF_LIST()
    }
};

static const VMStateDescription vmstate_pcpu = {
    .name = "vsched/pcpu",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_INT64(clock, VschedPCPU),
        VMSTATE_STRUCT(speed, VschedPCPU, 1, vmstate_speed, VschedSpeed),
        VMSTATE_INT64(slice_start, VschedPCPU),
        VMSTATE_INT64(slice_end, VschedPCPU),
        VMSTATE_INT64(ran, VschedPCPU),
        VMSTATE_BOOL(fresh, VschedPCPU),
        VMSTATE_BOOL(precise, VschedPCPU),
        VMSTATE_INT32(current, VschedPCPU),
        VMSTATE_INT32(last, VschedPCPU),
        VMSTATE_INT64(skip_until, VschedPCPU),
        VMSTATE_INT64(skip_step, VschedPCPU),
        VMSTATE_UINT32(resched, VschedPCPU),
        VMSTATE_UINT32(phase, VschedPCPU),
        VMSTATE_INT64(busy, VschedPCPU),
        VMSTATE_INT64(stalled, VschedPCPU),
        VMSTATE_INT64(switching, VschedPCPU),
        VMSTATE_INT64(idle, VschedPCPU),
        VMSTATE_INT64(skipped, VschedPCPU),
        VMSTATE_INT64(offline, VschedPCPU),
        VMSTATE_UINT64(insns, VschedPCPU),
        VMSTATE_UINT64(switches, VschedPCPU),
        VMSTATE_END_OF_LIST()
    }
};

static const VMStateDescription vmstate_exec = {
    .name = "vsched/exec",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_INT64(retired, VschedExec),
        VMSTATE_INT64(cycles, VschedExec),
        VMSTATE_BOOL(spin, VschedExec),
        VMSTATE_INT64(notify_at, VschedExec),
        VMSTATE_END_OF_LIST()
    }
};

static const VMStateDescription vmstate_periods = {
    .name = "vsched/periods",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_INT64(end, VschedPeriods),
        VMSTATE_INT64(begin_cycles, VschedPeriods),
        VMSTATE_INT64(repeating, VschedPeriods),
        VMSTATE_END_OF_LIST()
    }
};

static const VMStateDescription vmstate_saved_pcpu = {
    .name = "vsched/saved-pcpu",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_STRUCT(pcpu, VschedSavedPCPU, 1, vmstate_pcpu, VschedPCPU),
        VMSTATE_STRUCT(exec, VschedSavedPCPU, 1, vmstate_exec, VschedExec),
        VMSTATE_STRUCT(periods, VschedSavedPCPU, 1, vmstate_periods,
                       VschedPeriods),
        VMSTATE_STRUCT(sdb, VschedSavedPCPU, 1, vmstate_sdb_snapshot,
                       SDBSnapshot),
        VMSTATE_END_OF_LIST()
    }
};

static const VMStateDescription vmstate_share = {
    .name = "vsched/share",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(weight, VschedShare),
        VMSTATE_UINT32(cap, VschedShare),
        VMSTATE_END_OF_LIST()
    }
};

/* What has to be the same, read before anything that depends on it. */
static bool same(const char *name, uint64_t here, uint64_t there,
                 const char *unit)
{
    if (here != there) {
        error_report("the saved state has %s=%" PRIu64 "%s, this machine %s=%"
                     PRIu64 "%s: they have to be the same", name, there, unit,
                     name, here, unit);
    }
    return here == there;
}

static int post_load_shape(void *opaque, int version_id)
{
    VschedEngine *e = opaque;
    const VschedShape *s = &e->saved.shape;
    const VschedParameter *window = vsched_engine_parameter(1);

    if (s->pcpus < 1 || s->pcpus > VSCHED_PCPUS_MAX ||
        s->window < window->minimum || s->window > window->maximum) {
        error_report("the saved state has %u PCPUs and windows of %" PRIu64
                     "ns, which no machine has", s->pcpus, s->window);
        return -EINVAL;
    }
    if (e->core->topology.vms != s->vms) {
        error_report("the saved state has %u VMs, this machine %d: vms= has to"
                     " be the same", s->vms, e->core->topology.vms);
        return -EINVAL;
    }
    return same("vcpus", e->core->topology.vcpus, s->vcpus, "") &&
           same("clock-hz", e->clock_hz, s->clock_hz, "") ? 0 : -EINVAL;
}

static const VMStateDescription vmstate_shape = {
    .name = "vsched/shape",
    .version_id = 1,
    .minimum_version_id = 1,
    .post_load = post_load_shape,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(saved.shape.pcpus, VschedEngine),
        VMSTATE_UINT32(saved.shape.vcpus, VschedEngine),
        VMSTATE_UINT32(saved.shape.vms, VschedEngine),
        VMSTATE_UINT64(saved.shape.window, VschedEngine),
        VMSTATE_UINT64(saved.shape.clock_hz, VschedEngine),
        VMSTATE_END_OF_LIST()
    }
};

/* More would take minutes to repeat; a guest that draws so many is not known */
#define DRAWN_MAX (UINT64_C(1) << 34)

static bool random_possible(void *opaque, int version_id)
{
    VschedEngine *e = opaque;

    for (int i = 0; i < VSCHED_GENERATORS; i++) {
        if (e->saved.random[i].drawn > DRAWN_MAX) {
            return false;
        }
    }
    return true;
}

static const VMStateDescription vmstate_random = {
    .name = "vsched/random",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64(seed, QemuGuestRandomState),
        VMSTATE_UINT64(drawn, QemuGuestRandomState),
        VMSTATE_END_OF_LIST()
    }
};

/* A policy of today has a few numbers for each VCPU, PCPU and VM (choice) */
#define WORDS_MAX (1 << 20)

static bool words_possible(void *opaque, int version_id)
{
    VschedEngine *e = opaque;

    return e->saved.words_length <= WORDS_MAX;
}

/* Nobody gives so many commands (choice) */
#define COMMANDS_MAX (1 << 24)

static bool commands_possible(void *opaque, int version_id)
{
    VschedEngine *e = opaque;

    return e->saved.commands_length >= 1 &&
           e->saved.commands_length <= COMMANDS_MAX;
}

/* Places of a profile: more than all code of a guest has (choice) */
#define SAMPLING_MAX (1 << 25)

static bool sampling_possible(void *opaque, int version_id)
{
    VschedEngine *e = opaque;

    return e->saved.sampling_length >= 1 &&
           e->saved.sampling_length <= SAMPLING_MAX;
}

static bool sampling_needed(void *opaque)
{
    VschedEngine *e = opaque;

    return e->saved.sampling_length;
}

/* A state without it is that of a machine without a profile. */
static const VMStateDescription vmstate_sampling = {
    .name = "vsched/profile",
    .version_id = 2,
    .minimum_version_id = 2,
    .needed = sampling_needed,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(saved.sampling_length, VschedEngine),
        VMSTATE_VALIDATE("a profile of a possible size", sampling_possible),
        VMSTATE_VARRAY_UINT32_ALLOC(saved.sampling, VschedEngine,
                                    saved.sampling_length, 0,
                                    vmstate_info_int64, int64_t),
        VMSTATE_END_OF_LIST()
    }
};

static const VMStateDescription vmstate_core = {
    .name = "vsched/core",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_INT64(window_end, VschedCoreState),
        VMSTATE_UINT64(windows, VschedCoreState),
        VMSTATE_UINT64(turns, VschedCoreState),
        VMSTATE_UINT32(rotation, VschedCoreState),
        VMSTATE_UINT32(seed, VschedCoreState),
        VMSTATE_UINT64(online, VschedCoreState),
        VMSTATE_STRUCT_VARRAY_POINTER_INT32(share, VschedCoreState, vms,
                                            vmstate_share, VschedShare),
        VMSTATE_STRUCT_VARRAY_POINTER_INT32(vcpu, VschedCoreState, vcpus,
                                            vmstate_vcpu, VschedVCPU),
        VMSTATE_VARRAY_INT32(vm, VschedCoreState, vcpus, 0,
                             vmstate_info_int32, int),
        VMSTATE_END_OF_LIST()
    }
};

static int pre_save(void *opaque)
{
    VschedEngine *e = opaque;
    VschedSaved *s = &e->saved;
    g_autoptr(GArray) words = NULL;

    if (e->stale) {
        error_report("the machine cannot be saved: it has the state of a "
                     "load that failed, or of a QEMU without thread=vsched");
        return -EINVAL;
    }
    if (e->core->running != VSCHED_NONE) {
        error_report("the machine cannot be saved: a debugger stopped it in "
                     "the middle of a window; let it go on ('cont'), stop it "
                     "('stop') and save it then");
        return -EBUSY;
    }
    g_assert(QSIMPLEQ_EMPTY(&e->posts));
    s->shape = (VschedShape) {
        .pcpus = e->pcpus,
        .vcpus = e->core->topology.vcpus,
        .vms = e->core->topology.vms,
        .window = e->window,
        .clock_hz = e->clock_hz,
    };
    vsched_state_free(s->core);
    s->core = vsched_state_new(e->core);
    for (int p = 0; p < e->pcpus; p++) {
        s->pcpu[p].pcpu = e->core->pcpu[p];
        s->pcpu[p].exec = e->exec[p];
        s->pcpu[p].periods = e->periods[p];
        sdb_save(e->sdb_device[p]->core, &s->pcpu[p].sdb);
    }
    s->switch_cost = e->switch_cost;
    s->skip = e->skip;
    s->disk_latency = e->disk_latency;
    s->random_stalls = e->random_stalls;
    s->watch = e->watch;
    s->jitter = e->jitter;
    pstrcpy((char *)s->sched, sizeof(s->sched), e->sched);
    memcpy(s->values, e->policy->values, sizeof(s->values));
    words = g_array_new(false, false, sizeof(int64_t));
    vsched_core_save_policy(e->core, words);
    g_free(s->words);
    s->words_length = words->len;
    s->words = (int64_t *)g_array_free(g_steal_pointer(&words), false);
    g_free(s->commands);
    s->commands = vsched_commands_save();
    s->commands_length = strlen(s->commands) + 1;
    g_free(s->sampling);
    s->sampling = vsched_sampling_save(e, &s->sampling_length);
    if (s->sampling_length > SAMPLING_MAX) {
        error_report("the machine cannot be saved: its profile is too large; "
                     "write it to a file, stop it and begin another");
        return -EFBIG;
    }
    for (int i = 0; i < VSCHED_GENERATORS; i++) {
        s->random[i] = qemu_guest_random_state(e->random[i]);
    }
    for (int v = 0; v < e->core->topology.vcpus; v++) {
        s->user[v] = e->cpu[v] && e->cpu[v]->neg.user_mode;
    }
    return 0;
}

/* What was given to this QEMU holds. */
static void keep_given(VschedEngine *e)
{
    VschedSaved *s = &e->saved;

    if (!vsched_given(VSCHED_BY_USER, "switch-cost")) {
        e->switch_cost = e->core->switch_cost = s->switch_cost;
    }
    if (!vsched_given(VSCHED_BY_USER, "skip")) {
        e->skip = s->skip;
        e->core->skip = vsched_ns_to_cycles(e, s->skip);
    }
    if (!vsched_given(VSCHED_BY_USER, "disk-latency")) {
        e->disk_latency = s->disk_latency;
        vsched_devices_set_disk_latency(e->disk_latency);
    }
    if (!vsched_given(VSCHED_BY_USER, "random-stalls")) {
        e->random_stalls = s->random_stalls;
        vsched_stalls_changed(e);
    }
    if (!vsched_given(VSCHED_BY_USER, "sdb")) {
        e->watch = s->watch;
    }
    if (!vsched_given(VSCHED_BY_USER, "jitter")) {
        e->jitter = e->core->jitter = s->jitter;
    }
}

/* The core's state as this machine has it. */
static bool adapt_core(VschedEngine *e, Error **errp)
{
    VschedCoreState *st = e->saved.core;
    g_autofree char *why = NULL;

    st->window = vsched_ns_to_cycles(e, e->saved.shape.window);
    st->pcpus = e->saved.shape.pcpus;
    g_free(st->pcpu);
    st->pcpu = g_new(VschedPCPU, st->pcpus);
    for (int p = 0; p < st->pcpus; p++) {
        st->pcpu[p] = e->saved.pcpu[p].pcpu;
    }
    if (!vsched_state_possible(st, &why)) {
        error_setg(errp, "the saved state: %s", why);
        return false;
    }
    vsched_state_convert(st, e->pcpus, e->core->window);
    return vsched_objects_given(e, st, errp);
}

/* A PCPU that was not saved has an SDB like that of the first one. */
static void add_pcpu(VschedSaved *s, int p)
{
    SDB *sdb = sdb_new(&s->pcpu[0].sdb.config);

    s->pcpu[p] = (VschedSavedPCPU) { };
    if (sdb) {                  /* else the first one is refused anyway */
        sdb_save(sdb, &s->pcpu[p].sdb);
        sdb_free(sdb);
    }
}

static bool load_exec(VschedEngine *e, bool converted, Error **errp)
{
    VschedSaved *s = &e->saved;

    for (int p = 0; p < e->pcpus; p++) {
        SDBState *device = e->sdb_device[p];
        const VschedSavedPCPU *saved = &s->pcpu[p];
        int v = e->core->pcpu[p].current;

        if (p >= s->shape.pcpus) {
            add_pcpu(s, p);
        }
        vsched_periods_watch(e, p, e->watch);
        if (!sdb_device_load(device, &saved->sdb, errp)) {
            return false;
        }
        e->exec[p].retired = saved->exec.retired;
        e->exec[p].cycles = saved->exec.cycles;
        e->exec[p].spin = saved->exec.spin;
        e->exec[p].notify_at = saved->exec.notify_at;
        vsched_periods_load(e, p, &saved->periods);
        if (!vsched_options_given_sdb(e, device, errp)) {
            return false;
        }
        if (converted) {
            sdb_switch(device, v != VSCHED_NONE && s->user[v]);
            vsched_periods_begin_anew(e, p);
        }
    }
    return true;
}

/* Whether the periods that were saved can be: nothing has changed before. */
static bool periods_possible(VschedEngine *e, Error **errp)
{
    const VschedSaved *s = &e->saved;

    for (int p = 0; p < s->shape.pcpus; p++) {
        const VschedSavedPCPU *saved = &s->pcpu[p];
        SDB *sdb = sdb_new(&saved->sdb.config);
        g_autofree char *why = NULL;
        bool ok = sdb && sdb_restore(sdb, &saved->sdb, &why);

        sdb_free(sdb);
        if (!ok) {
            error_setg(errp, "sdb of PCPU %d: %s", p, why ?: "its parameters "
                       "are out of range");
            return false;
        }
        if (saved->exec.retired < 0 || saved->exec.cycles < 0 ||
            (s->watch && (saved->periods.end < saved->exec.retired ||
                          saved->periods.end - saved->exec.retired >
                          saved->sdb.config.period)) ||
            (saved->exec.spin && saved->exec.notify_at - saved->exec.retired >
                                 saved->sdb.config.period + 1024)) {
            error_setg(errp, "the periods of PCPU %d are not where they can be",
                       p);
            return false;
        }
    }
    return true;
}

/* The profile that was saved, if there was one. */
static bool load_sampling(VschedEngine *e, VschedSampling **sampling,
                          Error **errp)
{
    const VschedSaved *s = &e->saved;

    *sampling = NULL;
    if (s->sampling_length) {
        *sampling = vsched_sampling_load(e, s->sampling, s->sampling_length,
                                         errp);
        if (!*sampling) {
            error_prepend(errp, "the saved state: ");
            return false;
        }
    }
    return true;
}

static bool load_engine(VschedEngine *e, VschedSampling *sampling,
                        Error **errp)
{
    VschedSaved *s = &e->saved;
    bool fresh = !e->core->windows;
    bool converted = s->shape.pcpus != e->pcpus || s->shape.window != e->window;
    bool same_policy;
    int64_t values[VSCHED_PARAMETERS_MAX];
    g_autofree char *why = NULL;
    VschedPolicyState *policy;
    const VschedPolicyOps *ops;

    s->sched[sizeof(s->sched) - 1] = 0;
    if (!periods_possible(e, errp) || !adapt_core(e, errp)) {
        return false;
    }
    policy = vsched_policy_load(e, (char *)s->sched, s->values, values,
                                   &same_policy, errp);
    if (!policy) {
        return false;
    }
    if (!vsched_given(VSCHED_BY_USER, "jitter")) {
        e->core->jitter = s->jitter;    /* of timeslices that begin with this */
    }
    ops = VSCHED_POLICY_GET_CLASS(policy)->ops;
    if (!vsched_state_load(e->core, s->core, ops, values, s->words,
                           s->shape.pcpus == e->pcpus &&
                           !strcmp(ops->name, (char *)s->sched) ?
                           (int)s->words_length : -1,
                           same_policy && !converted, &why)) {
        error_setg(errp, "the saved state: %s", why);
        object_unref(OBJECT(policy));
        e->core->jitter = e->jitter;
        return false;
    }
    vsched_policy_install(e, policy);
    keep_given(e);
    s->commands[s->commands_length - 1] = 0;
    if (!vsched_commands_load(e, s->commands, fresh, errp)) {
        error_prepend(errp, "the saved state: ");
        return false;
    }
    if (!load_exec(e, converted, errp)) {
        return false;
    }
    vsched_sampling_install(e, sampling, converted);
    return true;
}

static bool load(VschedEngine *e, Error **errp)
{
    VschedSampling *sampling;

    if (!load_sampling(e, &sampling, errp)) {
        return false;
    }
    if (!load_engine(e, sampling, errp)) {
        vsched_sampling_free(e, sampling);
        return false;
    }
    return true;
}

static int post_load(void *opaque, int version_id)
{
    VschedEngine *e = opaque;
    VschedSaved *s = &e->saved;
    Error *err = NULL;
    CPUState *cpu;
    bool loaded = load(e, &err);

    vsched_tracing_resume(e);
    if (!loaded) {
        error_report_err(err);
        return -EINVAL;
    }
    for (int v = 0; v < e->core->topology.vcpus; v++) {
        if (e->cpu[v]) {
            e->cpu[v]->neg.user_mode = s->user[v];
        }
    }
    CPU_FOREACH(cpu) {
        cpu->accel->deferred = 0;
    }
    for (int i = 0; i < VSCHED_GENERATORS; i++) {
        qemu_guest_random_restore(e->random[i], &s->random[i]);
    }
    vsched_publish_time(e);
    e->stale = VSCHED_NOT_STALE;
    return 0;
}

/*
 * A state comes.  It may have been saved by a QEMU without the engine.  If a
 * debugger has stopped the machine in the middle of a window, that ends here.
 */
void vsched_expect_state(VschedEngine *e)
{
    vsched_core_abandon_window(e->core);
    vsched_tracing_pause(e);
    e->stale = VSCHED_NO_STATE;
}

static int pre_load(void *opaque)
{
    VschedEngine *e = opaque;

    e->stale = VSCHED_HALF_A_STATE;
    e->stopping = false;
    vsched_state_free(e->saved.core);
    e->saved.core = vsched_state_new(e->core);      /* room for as many */
    g_free(e->saved.words);
    e->saved.words = NULL;
    g_free(e->saved.commands);
    e->saved.commands = NULL;
    g_free(e->saved.sampling);
    e->saved.sampling = NULL;
    e->saved.sampling_length = 0;
    return 0;
}

static void reset(void *opaque)
{
    VschedEngine *e = opaque;
    CPUState *cpu;

    e->stale = VSCHED_NOT_STALE;
    vsched_tracing_resume(e);
    vsched_tracing_reset(e);
    /*
     * In the middle of a window, where a debugger can stop, things are on their
     * way to VCPUs: they get there, before these are reset.  (Before a state is
     * loaded there is a reset, too.)
     */
    vsched_deliver_posts(e, INT64_MAX);
    CPU_FOREACH(cpu) {
        cpu->accel->deferred = 0;
    }
}

/* Devices are at one time, clocks at another: nothing may run. */
void vsched_refuse_stale(VschedEngine *e)
{
    if (!e->refused) {
        error_report("%s; load another, or reset the machine",
                     e->stale == VSCHED_NO_STATE ?
                     "the state that was loaded was saved without "
                     "thread=vsched and cannot run with it" :
                     "the state could not be loaded and cannot run");
    }
    e->refused = true;
    qemu_system_vmstop_request_prepare();
    qemu_system_vmstop_request(RUN_STATE_PAUSED);
}

static const VMStateDescription vmstate_engine = {
    .name = "vsched",
    .version_id = 4,
    .minimum_version_id = 4,
    .priority = MIG_PRI_MAX,    /* before any device looks at its timers */
    .pre_save = pre_save,
    .pre_load = pre_load,
    .post_load = post_load,
    .fields = (const VMStateField[]) {
        {
            .name = "shape",
            .vmsd = &vmstate_shape,
            .size = sizeof(VschedEngine),
            .flags = VMS_STRUCT,
        },
        VMSTATE_STRUCT_POINTER(saved.core, VschedEngine, vmstate_core,
                               VschedCoreState),
        VMSTATE_STRUCT_VARRAY_POINTER_UINT32(saved.pcpu, VschedEngine,
                                             saved.shape.pcpus,
                                             vmstate_saved_pcpu,
                                             VschedSavedPCPU),
        VMSTATE_VARRAY_UINT32(saved.user, VschedEngine, saved.shape.vcpus, 0,
                              vmstate_info_bool, bool),
        VMSTATE_UINT64(saved.switch_cost, VschedEngine),
        VMSTATE_UINT64(saved.skip, VschedEngine),
        VMSTATE_UINT64(saved.disk_latency, VschedEngine),
        VMSTATE_UINT64(saved.random_stalls, VschedEngine),
        VMSTATE_BOOL(saved.watch, VschedEngine),
        VMSTATE_BOOL(saved.jitter, VschedEngine),
        VMSTATE_BUFFER(saved.sched, VschedEngine),
        VMSTATE_UINT64_ARRAY(saved.values, VschedEngine,
                             VSCHED_PARAMETERS_MAX),
        VMSTATE_UINT32(saved.words_length, VschedEngine),
        VMSTATE_VALIDATE("a policy's state of a possible size",
                         words_possible),
        VMSTATE_VARRAY_UINT32_ALLOC(saved.words, VschedEngine,
                                    saved.words_length, 0,
                                    vmstate_info_int64, int64_t),
        VMSTATE_UINT32(saved.commands_length, VschedEngine),
        VMSTATE_VALIDATE("commands that wait of a possible size",
                         commands_possible),
        VMSTATE_VBUFFER_ALLOC_UINT32(saved.commands, VschedEngine, 0, NULL,
                                     saved.commands_length),
        VMSTATE_STRUCT_ARRAY(saved.random, VschedEngine, VSCHED_GENERATORS, 1,
                             vmstate_random, QemuGuestRandomState),
        VMSTATE_VALIDATE("random numbers that can be repeated",
                         random_possible),
        VMSTATE_UINT64(posted, VschedEngine),
        VMSTATE_END_OF_LIST()
    },
    .subsections = (const VMStateDescription * const []) {
        &vmstate_sampling,
        NULL
    }
};

void vsched_save_init(VschedEngine *e)
{
    e->saved.pcpu = g_new0(VschedSavedPCPU, VSCHED_PCPUS_MAX);
    e->saved.user = g_new0(bool, e->core->topology.vcpus);
    e->saved.core = vsched_state_new(e->core);
    vmstate_register(NULL, 0, &vmstate_engine, e);
    qemu_register_reset(reset, e);
}
