/*
 * Live control over QMP, and over HMP for people: see vsched.json.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vsched.h"
#include "qapi/qapi-events-vsched.h"
#include "qapi/qobject-output-visitor.h"
#include "qemu/plugin.h"
#include "qobject/qdict.h"
#include "commands.h"
#include "engine.h"
#include "given.h"
#include "parameters.h"

/* The engine, or NULL and @errp. */
static VschedEngine *engine(Error **errp)
{
    if (!vsched_engine) {
        error_setg(errp, "this needs -accel tcg,thread=vsched, as the machines "
                   "cmp and cmp8 have it");
    }
    return vsched_engine;
}

/*
 * ------------------------------------------------------------------------
 * Queries.
 */

static QObject *value_of(const VschedParameter *p, uint64_t value)
{
    QObject *object = NULL;
    Visitor *v = qobject_output_visitor_new(&object);

    vsched_parameter_get(v, p->name, p, value, &error_abort);
    visit_complete(v, &object);
    visit_free(v);
    return object;
}

/* @values: those in force, or NULL. */
static VschedParameterInfoList *parameters_of(const VschedPolicyOps *ops,
                                              const uint64_t *values)
{
    static const VschedUnit units[] = {
        [VSCHED_NUMBER] = VSCHED_UNIT_NUMBER,
        [VSCHED_TIME] = VSCHED_UNIT_TIME,
        [VSCHED_SWITCH] = VSCHED_UNIT_SWITCH,
        [VSCHED_CHOICE] = VSCHED_UNIT_CHOICE,
    };
    VschedParameterInfoList *list = NULL, **tail = &list;

    for (int i = 0; ops->parameters[i].name; i++) {
        const VschedParameter *p = &ops->parameters[i];
        VschedParameterInfo *info = g_new0(VschedParameterInfo, 1);

        info->name = g_strdup(p->name);
        info->description = g_strdup(p->description);
        info->unit = units[p->unit];
        if (p->unit == VSCHED_CHOICE) {
            strList **choices = &info->choices;

            info->has_choices = true;
            for (int c = 0; p->choices[c]; c++) {
                QAPI_LIST_APPEND(choices, g_strdup(p->choices[c]));
            }
        } else if (p->unit != VSCHED_SWITCH) {
            info->has_minimum = info->has_maximum = true;
            info->minimum = p->minimum;
            info->maximum = p->maximum;
        }
        info->q_default = value_of(p, p->value);
        info->value = values ? value_of(p, values[i]) : NULL;
        QAPI_LIST_APPEND(tail, info);
    }
    return list;
}

VschedPolicyInfoList *qmp_query_vsched_policies(Error **errp)
{
    VschedEngine *e = engine(errp);
    VschedPolicyInfoList *list = NULL, **tail = &list;

    for (int i = 0; e && vsched_policies[i]; i++) {
        const VschedPolicyOps *ops = vsched_policies[i];
        VschedPolicyInfo *info = g_new0(VschedPolicyInfo, 1);
        strList **hints = &info->hints;

        info->name = g_strdup(ops->name);
        info->description = g_strdup(ops->description);
        info->current = ops == e->core->ops;
        for (int kind = 0; kind < VSCHED_HINTS; kind++) {
            if (ops->hints & VSCHED_LISTEN(kind)) {
                QAPI_LIST_APPEND(hints, g_strdup(vsched_hint_name(kind)));
            }
        }
        info->parameters = parameters_of(ops, info->current ?
                                         e->policy->values : NULL);
        QAPI_LIST_APPEND(tail, info);
    }
    return list;
}

static intList *set_of(uint64_t mask)
{
    intList *list = NULL, **tail = &list;

    for (int i = 0; i < VSCHED_PCPUS_MAX; i++) {
        if (mask >> i & 1) {
            QAPI_LIST_APPEND(tail, i);
        }
    }
    return list;
}

static VschedVMInfo *vm_info(const VschedTopology *t, int vm)
{
    VschedVMInfo *info = g_new0(VschedVMInfo, 1);
    intList **tail = &info->vcpus;

    info->vm = vm;
    info->weight = t->share[vm].weight;
    info->cap = t->share[vm].cap;
    for (int v = 0; v < t->vcpus; v++) {
        if (t->vm[v] == vm) {
            QAPI_LIST_APPEND(tail, v);
        }
    }
    return info;
}

static VschedVCPUInfo *vcpu_info(VschedEngine *e, int vcpu)
{
    static const VschedVCPUState states[] = {
        [VSCHED_BLOCKED] = VSCHED_VCPU_STATE_BLOCKED,
        [VSCHED_READY] = VSCHED_VCPU_STATE_READY,
        [VSCHED_RUNNING] = VSCHED_VCPU_STATE_RUNNING,
        [VSCHED_SWITCHING] = VSCHED_VCPU_STATE_SWITCHING,
    };
    const VschedVCPU *v = &e->core->vcpu[vcpu];
    VschedVCPUInfo *info = g_new0(VschedVCPUInfo, 1);

    info->vcpu = vcpu;
    info->vm = e->core->topology.vm[vcpu];
    info->state = states[v->state];
    info->since = vsched_cycles_to_ns(e, v->since);
    info->pcpu = v->pcpu;
    info->affinity = set_of(v->affinity);
    info->suspended = !(v->affinity & e->core->topology.online);
    info->has_moving_to = v->moving != VSCHED_NONE;
    info->moving_to = v->moving;
    info->spinning = v->spinning;
    return info;
}

static VschedPCPUInfo *pcpu_info(VschedEngine *e, int pcpu)
{
    const VschedPCPU *p = &e->core->pcpu[pcpu];
    VschedPCPUInfo *info = g_new0(VschedPCPUInfo, 1);

    info->pcpu = pcpu;
    info->online = e->core->topology.online >> pcpu & 1;
    info->speed = vsched_speed_text(&p->speed);
    info->has_vcpu = info->has_slice_end = p->current != VSCHED_NONE;
    info->vcpu = p->current;
    info->slice_end = vsched_cycles_to_ns(e, p->slice_end);
    return info;
}

VschedInfo *qmp_query_vsched(Error **errp)
{
    VschedEngine *e = engine(errp);
    VschedVMInfoList **vms;
    VschedVCPUInfoList **vcpus;
    VschedPCPUInfoList **pcpus;
    VschedInfo *info;
    int64_t wait;

    if (!e || !vsched_between_windows(e, errp)) {
        return NULL;
    }
    info = g_new0(VschedInfo, 1);
    info->time = e->now;
    info->window = e->window;
    info->policy = g_strdup(e->core->ops->name);
    info->parameters = parameters_of(e->core->ops, e->policy->values);
    wait = e->core->ops->longest_wait(e->core->policy, e->core->switch_cost,
                                      e->core->window);
    info->has_longest_wait = wait != INT64_MAX;
    info->longest_wait = vsched_cycles_to_ns(e, wait);
    vms = &info->vms;
    for (int i = 0; i < e->core->topology.vms; i++) {
        QAPI_LIST_APPEND(vms, vm_info(&e->core->topology, i));
    }
    vcpus = &info->vcpus;
    for (int i = 0; i < e->core->topology.vcpus; i++) {
        QAPI_LIST_APPEND(vcpus, vcpu_info(e, i));
    }
    pcpus = &info->pcpus;
    for (int i = 0; i < e->core->topology.pcpus; i++) {
        QAPI_LIST_APPEND(pcpus, pcpu_info(e, i));
    }
    info->pending = vsched_commands_pending();
    return info;
}

/*
 * ------------------------------------------------------------------------
 * Commands.  Each checks what can be checked before its time; if it has a time,
 * it waits for it, else it is done.
 */

static bool in_range(const char *name, int64_t number, int n, Error **errp)
{
    if (number < 0 || number >= n) {
        error_setg(errp, "%s=%" PRId64 " is out of range: allowed are 0 to %d",
                   name, number, n - 1);
        return false;
    }
    return true;
}

VschedEngine *vsched_changeable(Error **errp)
{
    VschedEngine *e = engine(errp);

    return e && vsched_between_windows(e, errp) ? e : NULL;
}

/* The core's answer. */
static VschedDone *answer(VschedEngine *e, bool ok, const char *option,
                          char *why, Error **errp)
{
    if (ok) {
        vsched_given_forget(option);
    } else {
        error_setg(errp, "%s", why);
    }
    g_free(why);
    return ok ? vsched_commands_done(e) : NULL;
}

static QDict *object_of(const char *name, QObject *value, Error **errp)
{
    QDict *dict = qobject_to(QDict, value);

    if (!dict) {
        error_setg(errp, "'%s' is an object of names and values, such as "
                   "{ \"slice\": \"100us\" }", name);
    }
    return dict;
}

VschedDone *qmp_vsched_set_policy(VschedSetPolicy *a, Error **errp)
{
    VschedEngine *e = vsched_changeable(errp);
    QDict *parameters = NULL;

    if (!e) {
        return NULL;
    }
    if (a->parameters) {
        parameters = object_of("parameters", a->parameters, errp);
        if (!parameters) {
            return NULL;
        }
    }
    if (!vsched_policy_change(e, a->policy, parameters, a->has_at, errp)) {
        return NULL;
    }
    if (a->has_at) {
        a->has_at = false;
        return vsched_commands_defer(e, "vsched-set-policy", a, a->at, errp);
    }
    return vsched_commands_done(e);
}

VschedDone *qmp_vsched_set(VschedSet *a, Error **errp)
{
    VschedEngine *e = vsched_changeable(errp);
    QDict *parameters = e ? object_of("parameters", a->parameters, errp) : NULL;

    if (!parameters) {
        return NULL;
    }
    if (!qdict_size(parameters)) {
        error_setg(errp, "nothing is to change: allowed are parameters of the "
                   "policy and of the engine, see query-vsched-policies");
        return NULL;
    }
    if (a->has_at) {
        /* Another policy may be in force by then. */
        a->has_at = false;
        return vsched_commands_defer(e, "vsched-set", a, a->at, errp);
    }
    return vsched_parameters_change(e, parameters, false, errp) ?
           vsched_commands_done(e) : NULL;
}

VschedDone *qmp_vsched_set_affinity(VschedSetAffinity *a, Error **errp)
{
    VschedEngine *e = vsched_changeable(errp);
    uint64_t mask = 0;
    char *why = NULL;
    bool ok;

    if (!e || !in_range("vcpu", a->vcpu, e->core->topology.vcpus, errp)) {
        return NULL;
    }
    for (intList *l = a->pcpus; l; l = l->next) {
        if (!in_range("pcpus", l->value, e->pcpus, errp)) {
            return NULL;
        }
        mask |= UINT64_C(1) << l->value;
    }
    if (!mask) {
        error_setg(errp, "pcpus is empty: a VCPU has to run somewhere; allowed "
                   "are 0 to %" PRIu64, e->pcpus - 1);
        return NULL;
    }
    if (a->has_at) {
        a->has_at = false;
        return vsched_commands_defer(e, "vsched-set-affinity", a, a->at, errp);
    }
    ok = vsched_core_set_affinity(e->core, a->vcpu, mask, &why);
    return answer(e, ok, "affinity", why, errp);
}

VschedDone *qmp_vsched_move(VschedMove *a, Error **errp)
{
    VschedEngine *e = vsched_changeable(errp);
    char *why = NULL;
    bool ok;

    if (!e || !in_range("vcpu", a->vcpu, e->core->topology.vcpus, errp) ||
        !in_range("pcpu", a->pcpu, e->pcpus, errp)) {
        return NULL;
    }
    if (a->has_at) {
        a->has_at = false;
        return vsched_commands_defer(e, "vsched-move", a, a->at, errp);
    }
    ok = vsched_core_move(e->core, a->vcpu, a->pcpu, &why);
    return answer(e, ok, "", why, errp);
}

VschedDone *qmp_vsched_set_pcpu(VschedSetPCPU *a, Error **errp)
{
    VschedEngine *e = vsched_changeable(errp);
    VschedSpeed speed;
    uint64_t online, bit;
    char *why = NULL;
    bool ok = true;

    if (!e || !in_range("pcpu", a->pcpu, e->pcpus, errp) ||
        (a->speed && !vsched_parse_speed(a->speed, &speed, errp))) {
        return NULL;
    }
    if (!a->has_online && !a->speed) {
        error_setg(errp, "nothing is to change: allowed are 'online' and "
                   "'speed'");
        return NULL;
    }
    if (a->has_at) {
        a->has_at = false;
        return vsched_commands_defer(e, "vsched-set-pcpu", a, a->at, errp);
    }
    bit = UINT64_C(1) << a->pcpu;
    online = e->core->topology.online;
    if (a->has_online) {
        ok = vsched_core_set_online(e->core, a->online ? online | bit
                                                       : online & ~bit, &why);
        if (ok) {
            vsched_given_forget("offline");
        }
    }
    if (ok && a->speed) {
        ok = vsched_core_set_speed(e->core, a->pcpu, speed.insns, speed.cycles,
                                   &why);
        if (ok) {
            vsched_given_forget("speed");
        }
    }
    return answer(e, ok, "", why, errp);
}

VschedDone *qmp_vsched_set_vm(VschedSetVM *a, Error **errp)
{
    VschedEngine *e = vsched_changeable(errp);
    int64_t weight, cap;
    char *why = NULL;
    bool ok;

    if (!e || !in_range("vm", a->vm, e->core->topology.vms, errp)) {
        return NULL;
    }
    if (!a->has_weight && !a->has_cap) {
        error_setg(errp, "nothing is to change: allowed are 'weight' and "
                   "'cap'");
        return NULL;
    }
    weight = a->has_weight ? a->weight : e->core->topology.share[a->vm].weight;
    cap = a->has_cap ? a->cap : e->core->topology.share[a->vm].cap;
    if (!vsched_core_share_possible(e->core, weight, cap, &why)) {
        return answer(e, false, "", why, errp);
    }
    if (a->has_at) {
        a->has_at = false;
        return vsched_commands_defer(e, "vsched-set-vm", a, a->at, errp);
    }
    ok = vsched_core_set_share(e->core, a->vm, (VschedShare) { weight, cap },
                               &why);
    if (ok && a->has_weight) {
        vsched_given_forget("weights");
    }
    return answer(e, ok, a->has_cap ? "caps" : "", why, errp);
}

/* Samples of a VCPU in a second that vsched-profile-start takes by default */
#define PROFILE_RATE 10000

VschedDone *qmp_vsched_profile_start(VschedProfileStart *a, Error **errp)
{
    VschedEngine *e = vsched_changeable(errp);
    uint64_t rate = a->has_rate ? a->rate : PROFILE_RATE;

    if (!e || !vsched_sampling_possible(e, rate, a->cost, a->stacks, errp)) {
        return NULL;
    }
    if (a->has_at) {
        a->has_at = false;
        return vsched_commands_defer(e, "vsched-profile-start", a, a->at, errp);
    }
    return vsched_sampling_start(e, rate, a->cost, a->stacks, errp) ?
           vsched_commands_done(e) : NULL;
}

VschedDone *qmp_vsched_profile_stop(VschedProfileStop *a, Error **errp)
{
    VschedEngine *e = vsched_changeable(errp);

    if (!e) {
        return NULL;
    }
    if (a->has_at) {
        a->has_at = false;
        return vsched_commands_defer(e, "vsched-profile-stop", a, a->at, errp);
    }
    return vsched_sampling_stop(e, errp) ? vsched_commands_done(e) : NULL;
}

VschedDone *qmp_vsched_profile_save(VschedProfileSave *a, Error **errp)
{
    VschedEngine *e = vsched_changeable(errp);

    if (!e || !vsched_commands_can_write(a->filename, errp)) {
        return NULL;
    }
    if (a->has_at) {
        a->has_at = false;
        return vsched_commands_defer(e, "vsched-profile-save", a, a->at, errp);
    }
    return vsched_sampling_write(e, a->filename, errp) ?
           vsched_commands_done(e) : NULL;
}

VschedProfileInfo *qmp_query_vsched_profile(Error **errp)
{
    VschedEngine *e = vsched_changeable(errp);

    return e ? vsched_sampling_info(e, errp) : NULL;
}

VschedDone *qmp_vsched_plugin_command(VschedPluginCommand *a, Error **errp)
{
    VschedEngine *e = vsched_changeable(errp);
    bool early = a->has_at && !phase_check(PHASE_MACHINE_INITIALIZED);
    VschedDone *done;
    QObject *answer;

    if (!e || (a->arguments && !object_of("arguments", a->arguments, errp))) {
        return NULL;
    }
    /* What is given before plugins are loaded is checked when they are. */
    if (!early && !qemu_plugin_takes_commands(a->plugin, errp)) {
        return NULL;
    }
    if (a->has_at) {
        a->has_at = false;
        return vsched_commands_defer(e, "vsched-plugin-command", a, a->at,
                                     errp);
    }
    answer = qemu_plugin_run_command(a->plugin, a->command, a->arguments, errp);
    if (!answer) {
        return NULL;
    }
    done = vsched_commands_done(e);
    done->answer = answer;
    return done;
}

VschedDone *qmp_vsched_stop(VschedStopArguments *a, Error **errp)
{
    VschedEngine *e = vsched_changeable(errp);

    if (!e) {
        return NULL;
    }
    if (a->has_at) {
        a->has_at = false;
        return vsched_commands_defer(e, "vsched-stop", a, a->at, errp);
    }
    vsched_stop_at_window_end(e);
    return vsched_commands_done(e);
}

void qmp_vsched_cancel(uint64_t id, Error **errp)
{
    if (engine(errp) && !vsched_commands_cancel(id)) {
        error_setg(errp, "no command with id %" PRIu64 " waits; query-vsched "
                   "lists those that do", id);
    }
}

static struct {
    int64_t interval;           /* cycles between two events; 0: none */
    int64_t next;               /* cycle: none before that */
    uint64_t spins;             /* since the last one */
} spin_events;

void vsched_report_spin(VschedEngine *e, int pcpu, int vcpu)
{
    int64_t now;

    if (!spin_events.interval) {
        return;
    }
    spin_events.spins++;
    now = vsched_present(e);
    if (now >= spin_events.next) {
        qapi_event_send_vsched_spin(vcpu, pcpu, vsched_cycles_to_ns(e, now),
                                    spin_events.spins);
        spin_events.next = now + spin_events.interval;
        spin_events.spins = 0;
    }
}

/*
 * Nanoseconds between two events at least: 10,000 in a simulated second, which
 * any reader keeps up with (choice).  QEMU keeps what is not read.
 */
#define SPIN_EVENTS_MIN 100000

void qmp_vsched_set_spin_events(uint64_t interval, Error **errp)
{
    VschedEngine *e = engine(errp);

    if (!e) {
        return;
    }
    if (interval && (interval < SPIN_EVENTS_MIN ||
                     interval > vsched_latest_ns(e))) {
        g_autofree char *given = vsched_assignment("interval", interval);

        error_setg(errp, "%s is out of range: allowed are 0 (no events) and %d "
                   "to %" PRId64 " ns", given, SPIN_EVENTS_MIN,
                   vsched_latest_ns(e));
        return;
    }
    spin_events.interval = vsched_ns_to_cycles(e, interval);
    spin_events.next = spin_events.spins = 0;
}
