/*
 * The engine and its policy as QOM objects: /machine/vsched and
 * /machine/vsched/policy, with their parameters as properties.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-events-vsched.h"
#include "qapi/qobject-input-visitor.h"
#include "qapi/string-input-visitor.h"
#include "qapi/visitor.h"
#include "qobject/qdict.h"
#include "qobject/qstring.h"
#include "devices.h"
#include "engine.h"
#include "given.h"
#include "parameters.h"

/*
 * ------------------------------------------------------------------------
 * Policies: a class for each, their parameters are properties.
 */

static void policy_values(VschedEngine *e, const VschedPolicyState *policy,
                          int64_t *values)
{
    const VschedPolicyOps *ops = VSCHED_POLICY_GET_CLASS(policy)->ops;

    for (int i = 0; ops->parameters[i].name; i++) {
        values[i] = policy->values[i];
        if (ops->parameters[i].unit == VSCHED_TIME) {
            values[i] = vsched_ns_to_cycles(e, values[i]);
        }
    }
}

void vsched_policy_values(VschedEngine *e, int64_t *values)
{
    policy_values(e, e->policy, values);
}

/* @opaque: the parameter, one of the policy's table. */
static uint64_t *policy_value(VschedPolicyState *s, void *opaque)
{
    const VschedPolicyOps *ops = VSCHED_POLICY_GET_CLASS(s)->ops;

    return &s->values[(const VschedParameter *)opaque - ops->parameters];
}

static void policy_get(Object *obj, Visitor *v, const char *name,
                       void *opaque, Error **errp)
{
    vsched_parameter_get(v, name, opaque,
                         *policy_value(VSCHED_POLICY(obj), opaque), errp);
}

static void policy_set(Object *obj, Visitor *v, const char *name,
                       void *opaque, Error **errp)
{
    VschedPolicyState *s = VSCHED_POLICY(obj);
    uint64_t *value = policy_value(s, opaque), before = *value;
    VschedEngine *e = vsched_engine;
    int64_t values[VSCHED_PARAMETERS_MAX];
    g_autofree char *why = NULL;

    if ((e && !vsched_between_windows(e, errp)) ||
        !vsched_parameter_set(v, name, opaque, value, errp)) {
        return;
    }
    if (e && e->policy == s && e->core) {
        vsched_policy_values(e, values);
        if (!e->core->ops->set(e->core->policy, values, &why)) {
            *value = before;
            error_setg(errp, "%s is not possible: %s", name, why);
            return;
        }
        vsched_given_forget(name);
    }
}

static void policy_init(Object *obj)
{
    VschedPolicyState *s = VSCHED_POLICY(obj);
    const VschedPolicyOps *ops = VSCHED_POLICY_GET_CLASS(s)->ops;

    for (int i = 0; ops->parameters[i].name; i++) {
        s->values[i] = ops->parameters[i].value;
    }
}

static void policy_class_init(ObjectClass *oc, void *data)
{
    const VschedPolicyOps *ops = data;

    VSCHED_POLICY_CLASS(oc)->ops = ops;
    for (int i = 0; ops->parameters[i].name; i++) {
        const VschedParameter *p = &ops->parameters[i];
        g_autofree char *text = vsched_parameter_describe(p);

        g_assert(i < VSCHED_PARAMETERS_MAX);
        object_class_property_add(oc, p->name, vsched_parameter_type(p),
                                  policy_get, policy_set, NULL, (void *)p);
        object_class_property_set_description(oc, p->name, text);
    }
}

static char *policy_type(const char *name)
{
    return g_strdup_printf(TYPE_VSCHED_POLICY "-%s", name);
}

/* "sdb, timeslice" */
static char *policy_names(void)
{
    GString *s = g_string_new(NULL);

    for (int i = 0; vsched_policies[i]; i++) {
        g_string_append_printf(s, "%s%s", i ? ", " : "",
                               vsched_policies[i]->name);
    }
    return g_string_free(s, false);
}

/*
 * ------------------------------------------------------------------------
 * The engine's own parameters.
 */

static void new_switch_cost(VschedEngine *e)
{
    e->core->switch_cost = e->switch_cost;
}

static void new_skip(VschedEngine *e)
{
    e->core->skip = vsched_ns_to_cycles(e, e->skip);
}

static void new_disk_latency(VschedEngine *e)
{
    vsched_devices_set_disk_latency(e->disk_latency);
}

static void new_watch(VschedEngine *e)
{
    for (int p = 0; p < e->pcpus; p++) {
        vsched_periods_watch(e, p, e->watch);
    }
}

static void new_jitter(VschedEngine *e)
{
    e->core->jitter = e->jitter;
}

typedef struct EngineParameter {
    VschedParameter parameter;
    size_t offset;                      /* of the uint64_t in VschedEngine */
    /* It changed while the machine exists; NULL: it cannot */
    void (*changed)(VschedEngine *e);
} EngineParameter;

static const EngineParameter engine_parameters[] = {
    {
        {
            .name = "pcpus",
            .description = "simulated cores",
            .minimum = 1, .maximum = VSCHED_PCPUS_MAX, .value = 8,
        },
        offsetof(VschedEngine, pcpus),
    }, {
        {
            .name = "window",
            .description = "simulated time that every PCPU completes before "
                           "any goes further",
            .unit = VSCHED_TIME,
            .minimum = 100, .maximum = 1000 * 1000, .value = 1000,
        },
        offsetof(VschedEngine, window),
    }, {
        {
            .name = "clock-hz",
            .description = "clock of a PCPU, cycles a second",
            /* The shortest timeslice is then longer than any block. */
            .minimum = 10 * 1000 * 1000, .maximum = 10ull * 1000 * 1000 * 1000,
            .value = 1000 * 1000 * 1000,
        },
        offsetof(VschedEngine, clock_hz),
    }, {
        {
            .name = "switch-cost",
            .description = "cycles of a VCPU switch: 277 registers of 64 bits "
                           "written and 277 read, a word a cycle",
            .minimum = 0, .maximum = 1000 * 1000 * 1000, .value = 2 * 277,
        },
        offsetof(VschedEngine, switch_cost), new_switch_cost,
    }, {
        {
            .name = "skip",
            .description = "longest jump of a PCPU on which all VCPUs spin "
                           "(0: none; results are inexact by at most this)",
            .unit = VSCHED_TIME,
            .minimum = 0, .maximum = 1000 * 1000, .value = 0,
        },
        offsetof(VschedEngine, skip), new_skip,
    }, {
        {
            .name = "disk-latency",
            .description = "time from a disk request to its completion",
            .unit = VSCHED_TIME,
            .minimum = 0, .maximum = 1000 * 1000 * 1000,
            .value = VSCHED_DISK_LATENCY_DEFAULT,
        },
        offsetof(VschedEngine, disk_latency), new_disk_latency,
    }, {
        {
            .name = "random-stalls",
            .description = "for tests: longest stall in cycles; one access in "
                           "four stalls, for a time that is drawn",
            .minimum = 0, .maximum = 1000 * 1000, .value = 0,
        },
        offsetof(VschedEngine, random_stalls), vsched_stalls_changed,
    }, {
        {
            .name = "translate-after",
            .description = "for tests: how often a block is wanted in a form "
                           "that reports accesses before it is translated",
            .minimum = 0, .maximum = 1000 * 1000, .value = 20,
        },
        offsetof(VschedEngine, translate_after),
    }, {
        {
            .name = "sdb",
            .description = "spin detection buffers watch",
            .unit = VSCHED_SWITCH,
            .minimum = 0, .maximum = 1, .value = 1,
        },
        offsetof(VschedEngine, watch), new_watch,
    }, {
        {
            .name = "jitter",
            .description = "some windows, timeslices and spins are uneven, so "
                           "that no loop stays in step with them",
            .unit = VSCHED_SWITCH,
            .minimum = 0, .maximum = 1, .value = 1,
        },
        offsetof(VschedEngine, jitter), new_jitter,
    },
};

const VschedParameter *vsched_engine_parameter(int i)
{
    return i < ARRAY_SIZE(engine_parameters) ? &engine_parameters[i].parameter
                                             : NULL;
}

static uint64_t *engine_value(VschedEngine *e, const EngineParameter *p)
{
    return (uint64_t *)((char *)e + p->offset);
}

static void engine_get(Object *obj, Visitor *v, const char *name,
                       void *opaque, Error **errp)
{
    const EngineParameter *p = opaque;

    vsched_parameter_get(v, name, &p->parameter,
                         *engine_value(VSCHED(obj), p), errp);
}

/* "switch-cost, skip, ...": those that can change while the machine exists */
static char *live_parameters(void)
{
    GString *s = g_string_new(NULL);

    for (int i = 0; i < ARRAY_SIZE(engine_parameters); i++) {
        if (engine_parameters[i].changed) {
            g_string_append_printf(s, "%s, ",
                                   engine_parameters[i].parameter.name);
        }
    }
    return g_string_free(s, false);
}

static void engine_set(Object *obj, Visitor *v, const char *name,
                       void *opaque, Error **errp)
{
    VschedEngine *e = VSCHED(obj);
    const EngineParameter *p = opaque;

    if (e->core && !p->changed) {
        g_autofree char *live = live_parameters();

        error_setg(errp, "%s cannot change while the machine exists; %ssched "
                   "and the parameters of the policy and of the SDBs can",
                   name, live);
        return;
    }
    if (vsched_between_windows(e, errp) &&
        vsched_parameter_set(v, name, &p->parameter, engine_value(e, p),
                             errp) && e->core) {
        p->changed(e);
        vsched_given_forget(name);
    }
}

/* What the machine is like at first: objects.c says what these may be. */
typedef struct FirstParameter {
    const char *name, *description;
    size_t offset;                      /* of the string in VschedEngine */
    const char *instead;                /* what changes it later */
} FirstParameter;

static const FirstParameter first_parameters[] = {
    { "vms", "VCPUs of each VM, such as 8+8+8; default all in one",
      offsetof(VschedEngine, vms), NULL },
    { "affinity", "PCPUs that VCPUs may run on, VCPUS:PCPUS joined by '+', such"
      " as 0-7:0-3+8:0x30; default all",
      offsetof(VschedEngine, affinity), "'affinity' of vcpu[n]" },
    { "offline", "PCPUs that are off, such as 6-7 or 0x81; default none",
      offsetof(VschedEngine, offline), "'online' of pcpu[n]" },
    { "speed", "instructions that PCPUs retire in a cycle, RATIO or PCPUS:RATIO"
      " joined by '+', such as 4-7:1/2; default 1",
      offsetof(VschedEngine, speed), "'speed' of pcpu[n]" },
    { "weights", "weight of each VM, such as 512+256; default 256",
      offsetof(VschedEngine, weights), "'weight' of /machine/vm[n]" },
    { "caps", "cap of each VM in percent of a PCPU, such as 0+150; default 0,"
      " no cap",
      offsetof(VschedEngine, caps), "'cap' of /machine/vm[n]" },
    { "idle-loop", "guest's idle loop, for policies with idle=loop: functions"
      " of the kernel file or ranges of addresses, joined by '+'; default on"
      " SPARC what Linux executes while it is idle",
      offsetof(VschedEngine, idle_loop), NULL },
};

static char **first_value(VschedEngine *e, const FirstParameter *p)
{
    return (char **)((char *)e + p->offset);
}

static void first_get(Object *obj, Visitor *v, const char *name, void *opaque,
                      Error **errp)
{
    char *none = (char *)"";
    char **value = first_value(VSCHED(obj), opaque);

    visit_type_str(v, name, *value ? value : &none, errp);
}

static void first_set(Object *obj, Visitor *v, const char *name, void *opaque,
                      Error **errp)
{
    VschedEngine *e = VSCHED(obj);
    const FirstParameter *p = opaque;
    char **value = first_value(e, p), *text;

    if (e->core) {
        error_setg(errp, "%s is what the machine was started with%s%s", name,
                   p->instead ? "; what can be changed now is " : "",
                   p->instead ?: "");
        return;
    }
    if (visit_type_str(v, name, &text, errp)) {
        g_free(*value);
        *value = text;
    }
}

const char *vsched_first_parameter(int i, const char **description)
{
    if (i >= ARRAY_SIZE(first_parameters)) {
        return NULL;
    }
    *description = first_parameters[i].description;
    return first_parameters[i].name;
}

static char *engine_get_sched(Object *obj, Error **errp)
{
    return g_strdup(VSCHED(obj)->sched);
}

void vsched_policy_install(VschedEngine *e, VschedPolicyState *policy)
{
    if (e->policy) {
        object_unparent(OBJECT(e->policy));
    }
    e->policy = policy;
    object_property_add_child(OBJECT(e), "policy", OBJECT(policy));
    object_unref(OBJECT(policy));
    g_free(e->sched);
    e->sched = g_strdup(VSCHED_POLICY_GET_CLASS(policy)->ops->name);
}

static const VschedPolicyOps *find_policy(const char *name, Error **errp)
{
    const VschedPolicyOps *ops = vsched_policy_find(name);

    if (!ops) {
        g_autofree char *names = policy_names();

        error_setg(errp, "unknown scheduling policy '%s': allowed are %s",
                   name, names);
    }
    return ops;
}

static VschedPolicyState *new_policy(const char *name)
{
    g_autofree char *type = policy_type(name);

    return VSCHED_POLICY(object_new(type));
}

/* "slice, idle" */
static char *parameter_names(const VschedPolicyOps *ops)
{
    GString *s = g_string_new(NULL);

    for (int i = 0; ops->parameters[i].name; i++) {
        g_string_append_printf(s, "%s%s", i ? ", " : "",
                               ops->parameters[i].name);
    }
    return g_string_free(s, false);
}

/* Number of the parameter, or -1. */
static int find_parameter(const VschedPolicyOps *ops, const char *name)
{
    for (int i = 0; ops->parameters[i].name; i++) {
        if (!strcmp(ops->parameters[i].name, name)) {
            return i;
        }
    }
    return -1;
}

/* @object is what QMP has: a value, or one as a text. */
static bool parse_value(const VschedParameter *p, QObject *object,
                        uint64_t *value, Error **errp)
{
    QString *text = qobject_to(QString, object);
    Visitor *v = text ? string_input_visitor_new(qstring_get_str(text))
                      : qobject_input_visitor_new(object);
    bool ok = vsched_parameter_set(v, p->name, p, value, errp);

    visit_free(v);
    return ok;
}

/* @parameters into @values of a policy; NULL: none are given. */
static bool parse_parameters(const VschedPolicyOps *ops, QDict *parameters,
                             uint64_t *values, Error **errp)
{
    const QDictEntry *entry;

    for (entry = parameters ? qdict_first(parameters) : NULL; entry;
         entry = qdict_next(parameters, entry)) {
        const char *name = qdict_entry_key(entry);
        int i = find_parameter(ops, name);

        if (i < 0) {
            g_autofree char *names = parameter_names(ops);

            error_setg(errp, "policy '%s' has no parameter '%s': allowed are "
                       "%s", ops->name, name, names);
            return false;
        }
        if (!parse_value(&ops->parameters[i], qdict_entry_value(entry),
                         &values[i], errp)) {
            return false;
        }
    }
    return true;
}

bool vsched_policy_change(VschedEngine *e, const char *name, QDict *parameters,
                          bool check, Error **errp)
{
    const VschedPolicyOps *ops = find_policy(name, errp);
    int64_t values[VSCHED_PARAMETERS_MAX];
    g_autofree char *why = NULL;
    VschedPolicyState *policy;
    bool parsed;

    if (!ops || !vsched_between_windows(e, errp)) {
        return false;
    }
    policy = new_policy(name);
    parsed = parse_parameters(ops, parameters, policy->values, errp);
    if (!parsed || check) {
        object_unref(OBJECT(policy));
        return parsed;
    }
    if (e->core) {
        policy_values(e, policy, values);
        if (!vsched_core_set_policy(e->core, ops, values, &why)) {
            error_setg(errp, "policy '%s' is impossible here: %s", name, why);
            object_unref(OBJECT(policy));
            return false;
        }
        vsched_given_forget("sched");
        for (int i = 0; ops->parameters[i].name; i++) {
            vsched_given_forget(ops->parameters[i].name);
        }
    }
    vsched_policy_install(e, policy);
    return true;
}

/* By name; if it is none that can change, NULL and @errp. */
static const EngineParameter *find_live(VschedEngine *e, const char *name,
                                        Error **errp)
{
    g_autofree char *names = parameter_names(e->core->ops);
    g_autofree char *live = live_parameters();

    for (int i = 0; i < ARRAY_SIZE(engine_parameters); i++) {
        if (engine_parameters[i].changed &&
            !strcmp(engine_parameters[i].parameter.name, name)) {
            return &engine_parameters[i];
        }
    }
    live[strlen(live) - 2] = 0;
    error_setg(errp, "there is no parameter '%s' that can change now: allowed "
               "are those of policy '%s' (%s) and of the engine (%s)", name,
               e->sched, names, live);
    return NULL;
}

bool vsched_parameters_change(VschedEngine *e, QDict *parameters, bool check,
                              Error **errp)
{
    const VschedPolicyOps *ops = e->core->ops;
    uint64_t policy[VSCHED_PARAMETERS_MAX];
    uint64_t engine[ARRAY_SIZE(engine_parameters)];
    int64_t values[VSCHED_PARAMETERS_MAX];
    g_autofree char *why = NULL;
    const QDictEntry *entry;

    if (!vsched_between_windows(e, errp)) {
        return false;
    }
    memcpy(policy, e->policy->values, sizeof(policy));
    for (entry = qdict_first(parameters); entry;
         entry = qdict_next(parameters, entry)) {
        const char *name = qdict_entry_key(entry);
        QObject *value = qdict_entry_value(entry);
        const EngineParameter *p;
        int i = find_parameter(ops, name);

        if (i >= 0) {
            if (!parse_value(&ops->parameters[i], value, &policy[i], errp)) {
                return false;
            }
            continue;
        }
        p = find_live(e, name, errp);
        if (!p || !parse_value(&p->parameter, value,
                               &engine[p - engine_parameters], errp)) {
            return false;
        }
    }
    if (check) {
        return true;
    }
    if (memcmp(policy, e->policy->values, sizeof(policy))) {
        uint64_t before[VSCHED_PARAMETERS_MAX];

        memcpy(before, e->policy->values, sizeof(before));
        memcpy(e->policy->values, policy, sizeof(policy));
        vsched_policy_values(e, values);
        if (!ops->set(e->core->policy, values, &why)) {
            memcpy(e->policy->values, before, sizeof(before));
            error_setg(errp, "this is not possible: %s", why);
            return false;
        }
        qapi_event_send_vsched_policy(ops->name, e->now);
    }
    for (entry = qdict_first(parameters); entry;
         entry = qdict_next(parameters, entry)) {
        const char *name = qdict_entry_key(entry);

        vsched_given_forget(name);
        if (find_parameter(ops, name) < 0) {
            const EngineParameter *p = find_live(e, name, &error_abort);

            *engine_value(e, p) = engine[p - engine_parameters];
            p->changed(e);
        }
    }
    return true;
}

/*
 * A new policy starts with its default parameters.  If it cannot be, the one
 * before goes on.
 */
static void engine_set_sched(Object *obj, const char *value, Error **errp)
{
    vsched_policy_change(VSCHED(obj), value, NULL, false, errp);
}

/* Parameter @i as given; else as saved, if the policy is the same. */
static bool load_parameter(VschedPolicyState *policy, int i,
                           const uint64_t *saved, bool *same, Error **errp)
{
    const VschedParameter *p =
        &VSCHED_POLICY_GET_CLASS(policy)->ops->parameters[i];
    const char *value = vsched_given(VSCHED_BY_USER, p->name);

    if (value) {
        if (!object_property_parse(OBJECT(policy), p->name, value, errp)) {
            return false;
        }
    } else if (saved) {
        if (saved[i] < p->minimum || saved[i] > p->maximum) {
            error_setg(errp, "'%s' of the saved policy is out of range",
                       p->name);
            return false;
        }
        policy->values[i] = saved[i];
    }
    *same &= saved && policy->values[i] == saved[i];
    return true;
}

VschedPolicyState *vsched_policy_load(VschedEngine *e, const char *sched,
                                         const uint64_t *saved,
                                         int64_t *values, bool *same,
                                         Error **errp)
{
    const char *name = vsched_given(VSCHED_BY_USER, "sched") ?: sched;
    const VschedPolicyOps *ops = find_policy(name, errp);
    VschedPolicyState *policy;

    if (!ops) {
        return NULL;
    }
    policy = new_policy(name);
    *same = !strcmp(name, sched);
    if (!*same) {
        saved = NULL;
    }
    for (int i = 0; ops->parameters[i].name; i++) {
        if (!load_parameter(policy, i, saved, same, errp)) {
            object_unref(OBJECT(policy));
            return NULL;
        }
    }
    policy_values(e, policy, values);
    return policy;
}

static void engine_init(Object *obj)
{
    for (int i = 0; i < ARRAY_SIZE(engine_parameters); i++) {
        *engine_value(VSCHED(obj), &engine_parameters[i]) =
            engine_parameters[i].parameter.value;
    }
}

static void engine_class_init(ObjectClass *oc, void *data)
{
    for (int i = 0; i < ARRAY_SIZE(engine_parameters); i++) {
        const VschedParameter *p = &engine_parameters[i].parameter;
        g_autofree char *text = vsched_parameter_describe(p);

        object_class_property_add(oc, p->name, vsched_parameter_type(p),
                                  engine_get, engine_set, NULL,
                                  (void *)&engine_parameters[i]);
        object_class_property_set_description(oc, p->name, text);
    }
    for (int i = 0; i < ARRAY_SIZE(first_parameters); i++) {
        object_class_property_add(oc, first_parameters[i].name, "str",
                                  first_get, first_set, NULL,
                                  (void *)&first_parameters[i]);
        object_class_property_set_description(oc, first_parameters[i].name,
                                              first_parameters[i].description);
    }
    object_class_property_add_str(oc, "sched", engine_get_sched,
                                  engine_set_sched);
    object_class_property_set_description(oc, "sched",
                                          VSCHED_SCHED_DESCRIPTION);
}

static const TypeInfo types[] = {
    {
        .name = TYPE_VSCHED,
        .parent = TYPE_OBJECT,
        .instance_size = sizeof(VschedEngine),
        .instance_init = engine_init,
        .class_init = engine_class_init,
    }, {
        .name = TYPE_VSCHED_POLICY,
        .parent = TYPE_OBJECT,
        .abstract = true,
        .instance_size = sizeof(VschedPolicyState),
        .class_size = sizeof(VschedPolicyClass),
    },
};

static void register_types(void)
{
    type_register_static_array(types, ARRAY_SIZE(types));
    for (int i = 0; vsched_policies[i]; i++) {
        g_autofree char *name = policy_type(vsched_policies[i]->name);
        const TypeInfo info = {
            .name = name,
            .parent = TYPE_VSCHED_POLICY,
            .instance_init = policy_init,
            .class_init = policy_class_init,
            .class_data = (void *)vsched_policies[i],
        };

        type_register_static(&info);
    }
}

type_init(register_types);
