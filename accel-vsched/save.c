/*
 * What savevm and migration keep of the engine.
 *
 * The machine stops at the end of a window, so that no VCPU is in the middle
 * of anything: clocks, run states, counters and the order in which VCPUs wait
 * are the whole state.  (The SDBs save their own.)  A destination with other
 * PCPUs or VCPUs, another window or another clock is refused; the policy and
 * all that can change while running comes along.
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
#include "devices.h"
#include "engine.h"

static const VMStateDescription vmstate_vcpu = {
    .name = "vsched/vcpu",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(state, VschedVCPU),
        VMSTATE_INT32(pcpu, VschedVCPU),
        VMSTATE_INT64(seen, VschedVCPU),
        VMSTATE_INT64(since, VschedVCPU),
        VMSTATE_INT64_ARRAY(cycles, VschedVCPU, VSCHED_STATES),
        VMSTATE_BOOL(spinning, VschedVCPU),
        VMSTATE_INT64(spin_cycles, VschedVCPU),
        VMSTATE_UINT64_ARRAY(insns, VschedVCPU, 2),
        VMSTATE_BOOL(user, VschedVCPU),
        VMSTATE_UINT64(spins, VschedVCPU),
        VMSTATE_UINT64(preempted, VschedVCPU),
        VMSTATE_UINT64(yielded, VschedVCPU),
        VMSTATE_UINT64(switches, VschedVCPU),
        VMSTATE_UINT64(calls_sent, VschedVCPU),
        VMSTATE_UINT64(calls_refused, VschedVCPU),
        VMSTATE_END_OF_LIST()
    }
};

static const VMStateDescription vmstate_pcpu = {
    .name = "vsched/pcpu",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_INT64(clock, VschedPCPU),
        VMSTATE_INT64(slice_end, VschedPCPU),
        VMSTATE_INT32(current, VschedPCPU),
        VMSTATE_INT32(last, VschedPCPU),
        VMSTATE_INT64(skip_until, VschedPCPU),
        VMSTATE_INT64(skip_step, VschedPCPU),
        VMSTATE_BOOL(resched, VschedPCPU),
        VMSTATE_UINT32(phase, VschedPCPU),
        VMSTATE_INT64(idle, VschedPCPU),
        VMSTATE_INT64(busy, VschedPCPU),
        VMSTATE_INT64(switching, VschedPCPU),
        VMSTATE_INT64(skipped, VschedPCPU),
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
        VMSTATE_INT64(period_end, VschedExec),
        VMSTATE_BOOL(spin, VschedExec),
        VMSTATE_INT64(tell, VschedExec),
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

    return same("pcpus", e->pcpus, s->pcpus, "") &&
           same("vcpus", e->core->topology.vcpus, s->vcpus, "") &&
           same("window", e->window, s->window, "ns") &&
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
        VMSTATE_UINT64(saved.shape.window, VschedEngine),
        VMSTATE_UINT64(saved.shape.clock_hz, VschedEngine),
        VMSTATE_END_OF_LIST()
    }
};

/* Nothing was saved by this QEMU that is not so. */
static bool order_fits(void *opaque, int version_id)
{
    VschedEngine *e = opaque;

    return e->saved.order_length >= 0 &&
           e->saved.order_length <= e->core->topology.vcpus;
}

static bool possible(int value, int from, int n)
{
    return value >= from && value < n;
}

static bool core_possible(void *opaque, int version_id)
{
    VschedCore *core = opaque;
    int vcpus = core->topology.vcpus, pcpus = core->topology.pcpus;

    for (int p = 0; p < pcpus; p++) {
        if (!possible(core->pcpu[p].current, VSCHED_NONE, vcpus) ||
            !possible(core->pcpu[p].last, VSCHED_NONE, vcpus)) {
            return false;
        }
    }
    for (int v = 0; v < vcpus; v++) {
        if (!possible(core->vcpu[v].pcpu, 0, pcpus) ||
            core->vcpu[v].state >= VSCHED_STATES) {
            return false;
        }
    }
    return true;
}

static bool values_possible(const VschedPolicyOps *ops, const uint64_t *values)
{
    for (int i = 0; ops->parameters[i].name; i++) {
        if (values[i] < ops->parameters[i].minimum ||
            values[i] > ops->parameters[i].maximum) {
            return false;
        }
    }
    return true;
}

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

static const VMStateDescription vmstate_core = {
    .name = "vsched/core",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_INT64(switch_cost, VschedCore),
        VMSTATE_INT64(skip, VschedCore),
        VMSTATE_INT64(window_end, VschedCore),
        VMSTATE_UINT64(windows, VschedCore),
        VMSTATE_UINT32(rotation, VschedCore),
        VMSTATE_UINT32(seed, VschedCore),
        VMSTATE_STRUCT_VARRAY_POINTER_INT32(pcpu, VschedCore, topology.pcpus,
                                            vmstate_pcpu, VschedPCPU),
        VMSTATE_STRUCT_VARRAY_POINTER_INT32(vcpu, VschedCore, topology.vcpus,
                                            vmstate_vcpu, VschedVCPU),
        VMSTATE_VALIDATE("VCPUs and PCPUs that exist", core_possible),
        VMSTATE_END_OF_LIST()
    }
};

static int pre_save(void *opaque)
{
    VschedEngine *e = opaque;
    VschedSaved *s = &e->saved;

    if (e->stale) {
        error_report("the machine cannot be saved: it has the state of a "
                     "load that failed, or of a QEMU without thread=vsched");
        return -EINVAL;
    }
    g_assert(QSIMPLEQ_EMPTY(&e->posts));
    s->shape = (VschedShape) {
        .pcpus = e->pcpus,
        .vcpus = e->core->topology.vcpus,
        .window = e->window,
        .clock_hz = e->clock_hz,
    };
    pstrcpy((char *)s->sched, sizeof(s->sched), e->sched);
    memcpy(s->values, e->policy->values, sizeof(s->values));
    s->order_length = e->core->ops->order(e->core->policy, s->order);
    for (int i = 0; i < VSCHED_GENERATORS; i++) {
        s->random[i] = qemu_guest_random_state(e->random[i]);
    }
    for (int v = 0; v < e->core->topology.vcpus; v++) {
        e->core->vcpu[v].user = e->cpu[v] && e->cpu[v]->neg.user_mode;
    }
    return 0;
}

/* The order in which they waited is that in which they come to wait again. */
static void restore_order(VschedEngine *e, const int *before, int n)
{
    VschedCore *core = e->core;

    for (int i = 0; i < n; i++) {
        core->ops->dequeue(core->policy, before[i]);
    }
    for (int i = 0; i < e->saved.order_length; i++) {
        core->ops->enqueue(core->policy, e->saved.order[i], core->window_end);
    }
}

static int post_load(void *opaque, int version_id)
{
    VschedEngine *e = opaque;
    VschedCore *core = e->core;
    VschedSaved *s = &e->saved;
    g_autofree int *before = g_new(int, core->topology.vcpus);
    int64_t values[VSCHED_PARAMETERS_MAX];
    Error *err = NULL;
    CPUState *cpu;
    int n;

    s->sched[sizeof(s->sched) - 1] = 0;
    for (int i = 0; i < s->order_length; i++) {
        if (s->order[i] < 0 || s->order[i] >= core->topology.vcpus) {
            return -EINVAL;
        }
    }
    /* VCPUs that the saved state lets wait wait by the saved order alone. */
    n = core->ops->order(core->policy, before);
    restore_order(e, before, n);
    if (strcmp((char *)s->sched, e->sched) &&
        !object_property_set_str(OBJECT(e), "sched", (char *)s->sched,
                                 &err)) {
        error_report_err(err);
        return -EINVAL;
    }
    if (!values_possible(core->ops, s->values)) {
        error_report("a parameter of the saved policy is out of range");
        return -EINVAL;
    }
    memcpy(e->policy->values, s->values, sizeof(s->values));
    vsched_policy_values(e, values);
    core->ops->set(core->policy, values);

    for (int p = 0; p < e->pcpus; p++) {
        e->exec[p].sdb = e->watch ? e->exec[p].device->core : NULL;
    }
    for (int v = 0; v < core->topology.vcpus; v++) {
        if (e->cpu[v]) {
            e->cpu[v]->neg.user_mode = core->vcpu[v].user;
        }
    }
    vsched_devices_set_disk_latency(e->disk_latency);
    e->switch_cost = core->switch_cost;
    e->skip = vsched_cycles_to_ns(e, core->skip);
    core->jitter = e->jitter;
    CPU_FOREACH(cpu) {
        cpu->interrupt_deferred = 0;
    }
    for (int i = 0; i < VSCHED_GENERATORS; i++) {
        qemu_guest_random_restore(e->random[i], &s->random[i]);
    }
    vsched_publish_time(e);
    e->stale = VSCHED_NOT_STALE;
    return 0;
}

/* A state comes.  It may have been saved by a QEMU without the engine. */
void vsched_expect_state(VschedEngine *e)
{
    e->stale = VSCHED_NO_STATE;
}

static int pre_load(void *opaque)
{
    VschedEngine *e = opaque;

    e->stale = VSCHED_HALF_A_STATE;
    return 0;
}

static void reset(void *opaque)
{
    VschedEngine *e = opaque;

    e->stale = VSCHED_NOT_STALE;
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
    .version_id = 1,
    .minimum_version_id = 1,
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
        VMSTATE_STRUCT_POINTER(core, VschedEngine, vmstate_core, VschedCore),
        VMSTATE_STRUCT_VARRAY_POINTER_UINT32(exec, VschedEngine, pcpus,
                                             vmstate_exec, VschedExec),
        VMSTATE_BOOL(watch, VschedEngine),
        VMSTATE_BOOL(jitter, VschedEngine),
        VMSTATE_UINT64(disk_latency, VschedEngine),
        VMSTATE_BUFFER(saved.sched, VschedEngine),
        VMSTATE_UINT64_ARRAY(saved.values, VschedEngine,
                             VSCHED_PARAMETERS_MAX),
        VMSTATE_INT32(saved.order_length, VschedEngine),
        VMSTATE_VALIDATE("as many wait as there are", order_fits),
        VMSTATE_VARRAY_INT32(saved.order, VschedEngine, saved.order_length, 0,
                             vmstate_info_int32, int32_t),
        VMSTATE_STRUCT_ARRAY(saved.random, VschedEngine, VSCHED_GENERATORS, 1,
                             vmstate_random, QemuGuestRandomState),
        VMSTATE_VALIDATE("random numbers that can be repeated",
                         random_possible),
        VMSTATE_UINT64(posted, VschedEngine),
        VMSTATE_UINT64(cut_blocks, VschedEngine),
        VMSTATE_END_OF_LIST()
    }
};

void vsched_save_init(VschedEngine *e)
{
    e->saved.order = g_new0(int32_t, e->core->topology.vcpus);
    vmstate_register(NULL, 0, &vmstate_engine, e);
    qemu_register_reset(reset, e);
}
