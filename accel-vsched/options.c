/*
 * Parameters of the engine, of the policies and of the SDBs.
 *
 * Each parameter is a QOM property of the object that uses it:
 * /machine/vsched, /machine/vsched/policy, /machine/vsched/sdb[n].  On the
 * command line they are given to the accelerator
 * (-accel tcg,thread=vsched,NAME=VALUE) or to a machine that has them as
 * aliases (-M cmp8,NAME=VALUE); the strings are kept until the objects exist,
 * and what is wrong with them is said by the property they are for.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/accel.h"
#include "qemu/help_option.h"
#include "qemu/qemu-print.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "qom/object_interfaces.h"
#include "hw/qdev-core.h"
#include "hw/sdb/sdb.h"
#include "vsched/vsched.h"
#include "devices.h"
#include "engine.h"

#define SDB_PREFIX "sdb-"

#define SCHED_DEFAULT "sdb"
#define SCHED_DESCRIPTION "scheduling policy; 'help' lists them, default " \
                          SCHED_DEFAULT
#define WATCH_DESCRIPTION "spin detection buffers watch (on, off); default on"
#define JITTER_DESCRIPTION "some windows, timeslices and spins are uneven, so" \
                           " that no loop stays in step with them (on, off);" \
                           " default on"

/*
 * ------------------------------------------------------------------------
 * Options that were given, by name.
 */

/* All of them; those given to the machine; those that the machine itself gave,
 * its own defaults included. */
static GHashTable *given, *given_to_machine, *told_by_machine;

/*
 * Those that the user gave and has not overridden since by a live change: a
 * saved state does not override them.
 */
static GHashTable *user_given;

static const char *lookup(GHashTable *options, const char *name)
{
    return options ? g_hash_table_lookup(options, name) : NULL;
}

static void remember(GHashTable **options, const char *name, const char *value)
{
    if (!*options) {
        *options = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                         g_free);
    }
    g_hash_table_replace(*options, g_strdup(name), g_strdup(value));
}

bool vsched_options_given(const char *name)
{
    return lookup(user_given, name);
}

/* It was changed while the machine runs. */
void vsched_options_forget(const char *name)
{
    if (user_given) {
        g_hash_table_remove(user_given, name);
    }
}

/*
 * ------------------------------------------------------------------------
 * Times: nanoseconds, or a number with ns, us, ms or s behind it.
 */

static bool parse_time(const char *text, uint64_t *ns)
{
    static const struct {
        const char *suffix;
        uint64_t factor;
    } units[] = {
        { "ns", 1 }, { "us", 1000 }, { "ms", 1000 * 1000 },
        { "s", 1000 * 1000 * 1000 }, { "", 1 },
    };
    const char *end;
    uint64_t value;

    if (!g_ascii_isdigit(*text) || qemu_strtou64(text, &end, 10, &value)) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
        if (!strcmp(end, units[i].suffix)) {
            return !umul64_overflow(value, units[i].factor, ns);
        }
    }
    return false;
}

static char *format_time(uint64_t ns)
{
    if (ns && ns % 1000000000 == 0) {
        return g_strdup_printf("%" PRIu64 "s", ns / 1000000000);
    } else if (ns && ns % 1000000 == 0) {
        return g_strdup_printf("%" PRIu64 "ms", ns / 1000000);
    } else if (ns && ns % 1000 == 0) {
        return g_strdup_printf("%" PRIu64 "us", ns / 1000);
    }
    return g_strdup_printf("%" PRIu64 "ns", ns);
}

static char *format_value(const VschedParameter *p, uint64_t value)
{
    return p->unit == VSCHED_TIME ? format_time(value)
                                  : g_strdup_printf("%" PRIu64, value);
}

static char *describe(const VschedParameter *p)
{
    g_autofree char *low = format_value(p, p->minimum);
    g_autofree char *high = format_value(p, p->maximum);
    g_autofree char *value = format_value(p, p->value);

    return g_strdup_printf("%s; %s to %s, default %s", p->description,
                           low, high, value);
}

/* A number, or for a time also a string with a unit. */
static bool visit_parameter(Visitor *v, const char *name,
                            const VschedParameter *p, uint64_t *value,
                            Error **errp)
{
    g_autofree char *low = format_value(p, p->minimum);
    g_autofree char *high = format_value(p, p->maximum);
    g_autofree char *text = NULL;
    uint64_t number;
    int64_t signed_number;
    bool ok;

    if (!visit_type_str(v, name, &text, NULL)) {
        /* A uint64 would be wrapped around: no maximum is that large. */
        ok = visit_type_int64(v, name, &signed_number, NULL);
        if (ok && signed_number < 0) {
            error_setg(errp, "%s=%" PRId64 " is out of range: allowed are %s to"
                       " %s", name, signed_number, low, high);
            return false;
        }
        number = signed_number;
    } else if (p->unit == VSCHED_TIME) {
        ok = parse_time(text, &number);
    } else {
        ok = g_ascii_isdigit(*text) &&
             !qemu_strtou64(text, NULL, 10, &number);
    }
    if (!ok) {
        error_setg(errp, "%s%s%s is not a %s: allowed are %s to %s", name,
                   text ? "=" : ": the value", text ? text : "",
                   p->unit == VSCHED_TIME ? "time" : "whole number", low, high);
        return false;
    }
    if (number < p->minimum || number > p->maximum) {
        g_autofree char *given = format_value(p, number);

        error_setg(errp, "%s=%s is out of range: allowed are %s to %s",
                   name, given, low, high);
        return false;
    }
    *value = number;
    return true;
}

static void get_parameter(Visitor *v, const char *name,
                          const VschedParameter *p, uint64_t value,
                          Error **errp)
{
    if (p->unit == VSCHED_TIME) {
        g_autofree char *text = format_time(value);
        char *t = text;

        visit_type_str(v, name, &t, errp);
    } else {
        visit_type_uint64(v, name, &value, errp);
    }
}

/*
 * ------------------------------------------------------------------------
 * Policies: a class for each, their parameters are properties.
 */

static int parameter_index(const VschedPolicyOps *ops, const char *name)
{
    for (int i = 0; ops->parameters[i].name; i++) {
        if (!strcmp(ops->parameters[i].name, name)) {
            return i;
        }
    }
    g_assert_not_reached();
}

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

static void policy_get(Object *obj, Visitor *v, const char *name,
                       void *opaque, Error **errp)
{
    VschedPolicyState *s = VSCHED_POLICY(obj);
    const VschedPolicyOps *ops = VSCHED_POLICY_GET_CLASS(s)->ops;
    int i = parameter_index(ops, name);

    get_parameter(v, name, &ops->parameters[i], s->values[i], errp);
}

static void policy_set(Object *obj, Visitor *v, const char *name,
                       void *opaque, Error **errp)
{
    VschedPolicyState *s = VSCHED_POLICY(obj);
    const VschedPolicyOps *ops = VSCHED_POLICY_GET_CLASS(s)->ops;
    int i = parameter_index(ops, name);
    VschedEngine *e = vsched_engine;
    int64_t values[VSCHED_PARAMETERS_MAX];
    g_autofree char *why = NULL;
    uint64_t before = s->values[i];

    if (e && !vsched_between_windows(e, errp)) {
        return;
    }
    if (!visit_parameter(v, name, &ops->parameters[i], &s->values[i], errp)) {
        return;
    }
    if (e && e->policy == s && e->core) {
        vsched_policy_values(e, values);
        if (!e->core->ops->set(e->core->policy, values, &why)) {
            s->values[i] = before;
            error_setg(errp, "%s is not possible: %s", name, why);
            return;
        }
        vsched_options_forget(name);
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
        g_autofree char *text = describe(p);

        g_assert(i < VSCHED_PARAMETERS_MAX);
        object_class_property_add(oc, p->name,
                                  p->unit == VSCHED_TIME ? "str" : "uint64",
                                  policy_get, policy_set, NULL, NULL);
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

static void print_policies(void)
{
    qemu_printf("Scheduling policies:\n");
    for (int i = 0; vsched_policies[i]; i++) {
        const VschedPolicyOps *ops = vsched_policies[i];

        qemu_printf("  %-12s %s%s\n", ops->name, ops->description,
                    strcmp(ops->name, SCHED_DEFAULT) ? "" : " (default)");
        for (int j = 0; ops->parameters[j].name; j++) {
            g_autofree char *text = describe(&ops->parameters[j]);

            qemu_printf("    %s=  %s\n", ops->parameters[j].name, text);
        }
    }
    qemu_printf("Parameters of the engine and of the SDBs: "
                "-accel tcg,help\n");
}

/*
 * ------------------------------------------------------------------------
 * The engine's own parameters.
 */

enum {
    PCPUS, WINDOW, CLOCK_HZ, SWITCH_COST, SKIP, DISK_LATENCY, RANDOM_STALLS,
    ENGINE_PARAMETERS
};

static const VschedParameter engine_parameters[ENGINE_PARAMETERS + 1] = {
    [PCPUS] = {
        .name = "pcpus",
        .description = "simulated cores",
        .minimum = 1, .maximum = 64, .value = 8,
    },
    [WINDOW] = {
        .name = "window",
        .description = "simulated time that every PCPU completes before any "
                       "goes further",
        .unit = VSCHED_TIME,
        .minimum = 100, .maximum = 1000 * 1000, .value = 1000,
    },
    [CLOCK_HZ] = {
        .name = "clock-hz",
        .description = "clock of a PCPU, cycles a second",
        /* The shortest timeslice is then longer than any block. */
        .minimum = 10 * 1000 * 1000, .maximum = 10ull * 1000 * 1000 * 1000,
        .value = 1000 * 1000 * 1000,
    },
    [SWITCH_COST] = {
        .name = "switch-cost",
        .description = "cycles of a VCPU switch: 277 registers of 64 bits "
                       "written and 277 read, a word a cycle",
        .minimum = 0, .maximum = 1000 * 1000 * 1000, .value = 2 * 277,
    },
    [SKIP] = {
        .name = "skip",
        .description = "longest jump of a PCPU on which all VCPUs spin "
                       "(0: none; results are inexact by at most this)",
        .unit = VSCHED_TIME,
        .minimum = 0, .maximum = 1000 * 1000, .value = 0,
    },
    [DISK_LATENCY] = {
        .name = "disk-latency",
        .description = "time from a disk request to its completion",
        .unit = VSCHED_TIME,
        .minimum = 0, .maximum = 1000 * 1000 * 1000,
        .value = VSCHED_DISK_LATENCY_DEFAULT,
    },
    [RANDOM_STALLS] = {
        .name = "random-stalls",
        .description = "for tests: longest stall in cycles; one access in four "
                       "stalls, for a time that is drawn",
        .minimum = 0, .maximum = 1000 * 1000, .value = 0,
    },
};

static uint64_t engine_value(VschedEngine *e, int which)
{
    switch (which) {
    case PCPUS:
        return e->pcpus;
    case WINDOW:
        return e->window;
    case CLOCK_HZ:
        return e->clock_hz;
    case SWITCH_COST:
        return e->switch_cost;
    case SKIP:
        return e->skip;
    case DISK_LATENCY:
        return e->disk_latency;
    case RANDOM_STALLS:
        return e->random_stalls;
    default:
        g_assert_not_reached();
    }
}

static void engine_store(VschedEngine *e, int which, uint64_t value)
{
    switch (which) {
    case PCPUS:
        e->pcpus = value;
        break;
    case WINDOW:
        e->window = value;
        break;
    case CLOCK_HZ:
        e->clock_hz = value;
        break;
    case SWITCH_COST:
        e->switch_cost = value;
        if (e->core) {
            e->core->switch_cost = value;
        }
        break;
    case SKIP:
        e->skip = value;
        if (e->core) {
            e->core->skip = vsched_ns_to_cycles(e, value);
        }
        break;
    case DISK_LATENCY:
        e->disk_latency = value;
        if (e->core) {
            vsched_devices_set_disk_latency(value);
        }
        break;
    case RANDOM_STALLS:
        vsched_stalls_set(e, value);
        break;
    default:
        g_assert_not_reached();
    }
}

/* What the machine is like at first: objects.c says what these may be. */
static const struct {
    const char *name, *description;
    size_t offset;                      /* in VschedEngine */
    const char *instead;                /* what changes it later */
} first_parameters[] = {
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
};

static char **first_value(VschedEngine *e, const char *name, int *index)
{
    for (int i = 0; i < ARRAY_SIZE(first_parameters); i++) {
        if (!strcmp(first_parameters[i].name, name)) {
            *index = i;
            return (char **)((char *)e + first_parameters[i].offset);
        }
    }
    g_assert_not_reached();
}

static void first_get(Object *obj, Visitor *v, const char *name, void *opaque,
                      Error **errp)
{
    int i;
    char *none = (char *)"";
    char **value = first_value(VSCHED(obj), name, &i);

    visit_type_str(v, name, *value ? value : &none, errp);
}

static void first_set(Object *obj, Visitor *v, const char *name, void *opaque,
                      Error **errp)
{
    VschedEngine *e = VSCHED(obj);
    int i;
    char **value = first_value(e, name, &i), *text;

    if (e->core) {
        error_setg(errp, "%s is what the machine was started with%s%s", name,
                   first_parameters[i].instead ? "; what can be changed now is "
                                               : "",
                   first_parameters[i].instead ?: "");
        return;
    }
    if (visit_type_str(v, name, &text, errp)) {
        g_free(*value);
        *value = text;
    }
}

static int engine_index(const char *name)
{
    for (int i = 0; i < ENGINE_PARAMETERS; i++) {
        if (!strcmp(engine_parameters[i].name, name)) {
            return i;
        }
    }
    return -1;
}

static void engine_get(Object *obj, Visitor *v, const char *name,
                       void *opaque, Error **errp)
{
    int i = engine_index(name);

    get_parameter(v, name, &engine_parameters[i],
                  engine_value(VSCHED(obj), i), errp);
}

static void engine_set(Object *obj, Visitor *v, const char *name,
                       void *opaque, Error **errp)
{
    VschedEngine *e = VSCHED(obj);
    int i = engine_index(name);
    uint64_t value;

    if (e->core && i < SWITCH_COST) {
        error_setg(errp, "%s cannot change while the machine exists; "
                   "switch-cost, skip, disk-latency, random-stalls, sdb, "
                   "jitter, sched and the parameters of the policy and of the "
                   "SDBs can", name);
        return;
    }
    if (vsched_between_windows(e, errp) &&
        visit_parameter(v, name, &engine_parameters[i], &value, errp)) {
        engine_store(e, i, value);
        if (e->core) {
            vsched_options_forget(name);
        }
    }
}

static bool engine_get_watch(Object *obj, Error **errp)
{
    return VSCHED(obj)->watch;
}

static void engine_set_watch(Object *obj, bool value, Error **errp)
{
    VschedEngine *e = VSCHED(obj);

    if (!vsched_between_windows(e, errp)) {
        return;
    }
    e->watch = value;
    if (e->exec) {
        for (int p = 0; p < e->pcpus; p++) {
            vsched_periods_watch(e, p, value);
        }
        vsched_options_forget("sdb");
    }
}

static bool engine_get_jitter(Object *obj, Error **errp)
{
    return VSCHED(obj)->jitter;
}

static void engine_set_jitter(Object *obj, bool value, Error **errp)
{
    VschedEngine *e = VSCHED(obj);

    e->jitter = value;
    if (e->core) {
        e->core->jitter = value;
        vsched_options_forget("jitter");
    }
}

static char *engine_get_sched(Object *obj, Error **errp)
{
    return g_strdup(VSCHED(obj)->sched);
}

void vsched_options_install_policy(VschedEngine *e, VschedPolicyState *policy)
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

/*
 * A new policy starts with its default parameters.  If it cannot be, the one
 * before goes on.
 */
static void engine_set_sched(Object *obj, const char *value, Error **errp)
{
    VschedEngine *e = VSCHED(obj);
    const VschedPolicyOps *ops = find_policy(value, errp);
    int64_t values[VSCHED_PARAMETERS_MAX];
    g_autofree char *why = NULL;
    VschedPolicyState *policy;

    if (!ops || !vsched_between_windows(e, errp)) {
        return;
    }
    policy = new_policy(value);
    if (e->core) {
        policy_values(e, policy, values);
        if (!vsched_core_set_policy(e->core, ops, values, &why)) {
            error_setg(errp, "policy '%s' is impossible here: %s", value, why);
            object_unref(OBJECT(policy));
            return;
        }
        vsched_options_forget("sched");
        for (int i = 0; ops->parameters[i].name; i++) {
            vsched_options_forget(ops->parameters[i].name);
        }
    }
    vsched_options_install_policy(e, policy);
}

/* Parameter @i as given; else as saved, if the policy is the same. */
static bool load_parameter(VschedPolicyState *policy, int i,
                           const uint64_t *saved, bool *same, Error **errp)
{
    const VschedParameter *p =
        &VSCHED_POLICY_GET_CLASS(policy)->ops->parameters[i];
    const char *value = lookup(user_given, p->name);

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

VschedPolicyState *vsched_options_policy(VschedEngine *e, const char *sched,
                                         const uint64_t *saved,
                                         int64_t *values, bool *same,
                                         Error **errp)
{
    const char *name = lookup(user_given, "sched") ?: sched;
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
    for (int i = 0; i < ENGINE_PARAMETERS; i++) {
        engine_store(VSCHED(obj), i, engine_parameters[i].value);
    }
    VSCHED(obj)->watch = true;
    VSCHED(obj)->jitter = true;
}

static void engine_class_init(ObjectClass *oc, void *data)
{
    for (int i = 0; i < ENGINE_PARAMETERS; i++) {
        const VschedParameter *p = &engine_parameters[i];
        g_autofree char *text = describe(p);

        object_class_property_add(oc, p->name,
                                  p->unit == VSCHED_TIME ? "str" : "uint64",
                                  engine_get, engine_set, NULL, NULL);
        object_class_property_set_description(oc, p->name, text);
    }
    for (int i = 0; i < ARRAY_SIZE(first_parameters); i++) {
        object_class_property_add(oc, first_parameters[i].name, "str",
                                  first_get, first_set, NULL, NULL);
        object_class_property_set_description(oc, first_parameters[i].name,
                                              first_parameters[i].description);
    }
    object_class_property_add_str(oc, "sched", engine_get_sched,
                                  engine_set_sched);
    object_class_property_set_description(oc, "sched", SCHED_DESCRIPTION);
    object_class_property_add_bool(oc, "sdb", engine_get_watch,
                                   engine_set_watch);
    object_class_property_set_description(oc, "sdb", WATCH_DESCRIPTION);
    object_class_property_add_bool(oc, "jitter", engine_get_jitter,
                                   engine_set_jitter);
    object_class_property_set_description(oc, "jitter", JITTER_DESCRIPTION);
}

/*
 * ------------------------------------------------------------------------
 * The command line.
 */

/* The object that an option is a property of, and the property's name. */
static Object *option_owner(VschedEngine *e, const char *name,
                            const char **property)
{
    *property = name;
    if (object_property_find(OBJECT(e), name)) {
        return OBJECT(e);
    }
    if (object_property_find(OBJECT(e->policy), name)) {
        return OBJECT(e->policy);
    }
    if (g_str_has_prefix(name, SDB_PREFIX)) {
        *property += strlen(SDB_PREFIX);
    }
    return object_property_find(OBJECT(e->sdb_device[0]), *property) ?
           OBJECT(e->sdb_device[0]) : NULL;
}

/* What is in force: "" before the engine exists, and if it has no such thing */
static char *option_value(const char *name)
{
    VschedEngine *e = vsched_engine;
    const char *property;
    Object *owner = e ? option_owner(e, name, &property) : NULL;
    ObjectProperty *p;

    if (!owner) {
        return g_strdup(lookup(given, name) ?: "");
    }
    p = object_property_find(owner, property);
    if (!strcmp(p->type, "bool")) {
        return g_strdup(object_property_get_bool(owner, property,
                                                 &error_abort) ? "on" : "off");
    } else if (!strcmp(p->type, "str") || !strcmp(p->type, "string")) {
        return object_property_get_str(owner, property, &error_abort);
    }
    return g_strdup_printf("%" PRIu64,
                           object_property_get_uint(owner, property,
                                                    &error_abort));
}

static void option_visit_get(Object *obj, Visitor *v, const char *name,
                             void *opaque, Error **errp)
{
    g_autofree char *value = option_value(name);
    char *text = value;

    visit_type_str(v, name, &text, errp);
}

static void maybe_help(const char *name, const char *value)
{
    if (!strcmp(name, "sched") && is_help_option(value)) {
        print_policies();
        exit(0);
    }
}

static void accel_option_set(Object *obj, Visitor *v, const char *name,
                             void *opaque, Error **errp)
{
    const char *machine = lookup(given_to_machine, name);
    g_autofree char *value = NULL;

    if (!visit_type_str(v, name, &value, errp)) {
        return;
    }
    maybe_help(name, value);
    if (machine && strcmp(machine, value)) {
        error_setg(errp, "-accel says %s=%s and the machine says %s=%s: give "
                   "one of them, or both in the same words", name, value, name,
                   machine);
        return;
    }
    remember(&given, name, value);
    if (!lookup(told_by_machine, name) || lookup(given_to_machine, name)) {
        remember(&user_given, name, value);
    }
}

void vsched_machine_option(const char *name, const char *value)
{
    maybe_help(name, value);
    remember(&told_by_machine, name, value);
    object_register_sugar_prop(ACCEL_CLASS_NAME("tcg"), name, value, false);
}

static void machine_option_set(Object *obj, Visitor *v, const char *name,
                               void *opaque, Error **errp)
{
    g_autofree char *value = NULL;

    if (phase_check(PHASE_ACCEL_CREATED)) {
        error_setg(errp, "'%s' of the machine is what it was started with;"
                   " what can be changed now are the properties of"
                   " /machine/vsched, of its policy and of its sdb[n]", name);
        return;
    }
    if (visit_type_str(v, name, &value, errp)) {
        vsched_machine_option(name, value);
        remember(&given_to_machine, name, value);
    }
}

typedef void OptionFunc(ObjectClass *oc, const char *name,
                        const char *description);

static void add_accel_option(ObjectClass *oc, const char *name,
                             const char *description)
{
    object_class_property_add(oc, name, "str", option_visit_get,
                              accel_option_set, NULL, NULL);
    object_class_property_set_description(oc, name, description);
}

static void add_machine_option(ObjectClass *oc, const char *name,
                               const char *description)
{
    if (!object_class_property_find(oc, name)) {
        object_class_property_add(oc, name, "str", option_visit_get,
                                  machine_option_set, NULL, NULL);
        object_class_property_set_description(oc, name, description);
    }
}

/* Of SDB property "detector": option "detector"; of others: "sdb-NAME". */
static char *sdb_option_name(const char *property)
{
    return !strcmp(property, "detector") ? g_strdup(property)
                                         : g_strconcat(SDB_PREFIX, property,
                                                       NULL);
}

static bool is_sdb_option(const ObjectProperty *property)
{
    if (!strcmp(property->name, "detector")) {
        return true;
    }
    for (const SDBParameter *p = sdb_parameters; p->name; p++) {
        if (!strcmp(property->name, p->name)) {
            return true;
        }
    }
    return false;
}

static void for_all_options(ObjectClass *oc, OptionFunc *add)
{
    ObjectClass *sdb = object_class_by_name(TYPE_SDB_DEVICE);
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    ObjectPropertyIterator iter;
    ObjectProperty *p;

    add(oc, "sched", SCHED_DESCRIPTION);
    add(oc, "sdb", WATCH_DESCRIPTION);
    add(oc, "jitter", JITTER_DESCRIPTION);
    for (int i = 0; i < ENGINE_PARAMETERS; i++) {
        g_autofree char *text = describe(&engine_parameters[i]);

        add(oc, engine_parameters[i].name, text);
    }
    for (int i = 0; i < ARRAY_SIZE(first_parameters); i++) {
        add(oc, first_parameters[i].name, first_parameters[i].description);
    }
    for (int i = 0; vsched_policies[i]; i++) {
        const VschedParameter *q = vsched_policies[i]->parameters;

        for (; q->name; q++) {
            if (g_hash_table_add(seen, (void *)q->name)) {
                g_autofree char *text = describe(q);

                add(oc, q->name, text);
            }
        }
    }
    object_class_property_iter_init(&iter, sdb);
    while ((p = object_property_iter_next(&iter))) {
        if (is_sdb_option(p)) {
            g_autofree char *name = sdb_option_name(p->name);

            add(oc, name, p->description);
        }
    }
}

void vsched_options_class_init(ObjectClass *oc)
{
    for_all_options(oc, add_accel_option);
}

void vsched_machine_class_options(ObjectClass *oc)
{
    for_all_options(oc, add_machine_option);
}

static bool apply_engine_options(VschedEngine *e, Error **errp)
{
    const char *sched = NULL;
    GHashTableIter iter;
    gpointer name, value;

    if (given) {
        sched = lookup(given, "sched");
        g_hash_table_iter_init(&iter, given);
        while (g_hash_table_iter_next(&iter, &name, &value)) {
            if (strcmp(name, "sched") &&
                object_property_find(OBJECT(e), name) &&
                !object_property_parse(OBJECT(e), name, value, errp)) {
                return false;
            }
        }
    }
    return object_property_set_str(OBJECT(e), "sched",
                                   sched ? sched : SCHED_DEFAULT, errp);
}

static bool apply_policy_options(VschedEngine *e, Error **errp)
{
    for (int i = 0; vsched_policies[i]; i++) {
        const VschedParameter *q = vsched_policies[i]->parameters;

        for (; q->name; q++) {
            const char *value = lookup(given, q->name);

            if (!value) {
                continue;
            }
            if (!object_property_find(OBJECT(e->policy), q->name)) {
                error_setg(errp, "policy '%s' has no parameter '%s'; "
                           "sched=help lists what each has",
                           e->sched, q->name);
                return false;
            }
            if (!object_property_parse(OBJECT(e->policy), q->name, value,
                                       errp)) {
                return false;
            }
        }
    }
    return true;
}

/* The SDB's own properties say what is wrong. */
static bool set_sdb_options(SDBState *sdb, Error **errp)
{
    ObjectPropertyIterator iter;
    ObjectProperty *q;
    ERRP_GUARD();

    object_class_property_iter_init(&iter, object_get_class(OBJECT(sdb)));
    while ((q = object_property_iter_next(&iter))) {
        g_autofree char *name = sdb_option_name(q->name);
        const char *value = lookup(given, name);

        if (is_sdb_option(q) && value &&
            !object_property_parse(OBJECT(sdb), q->name, value, errp)) {
            error_prepend(errp, "%s=%s: ", name, value);
            return false;
        }
    }
    return true;
}

/* @option of the user, property @name of an SDB, is something else in @sdb. */
static bool sdb_differs(VschedEngine *e, SDBState *sdb, const char *name,
                        const char *option)
{
    g_autofree char *here = NULL, *wanted = NULL;

    if (!vsched_options_given(option)) {
        return false;
    }
    here = object_property_print(OBJECT(sdb), name, false, &error_abort);
    wanted = object_property_print(OBJECT(e->sdb_given), name, false,
                                   &error_abort);
    return strcmp(here, wanted);
}

/* What was given takes effect once more: that is no live change by the user. */
static bool giving_again;

bool vsched_options_given_sdb(VschedEngine *e, SDBState *sdb, Error **errp)
{
    ObjectPropertyIterator iter;
    ObjectProperty *q;
    bool ok = true;

    giving_again = true;
    object_class_property_iter_init(&iter, object_get_class(OBJECT(sdb)));
    while (ok && (q = object_property_iter_next(&iter))) {
        g_autofree char *name = sdb_option_name(q->name);

        if (is_sdb_option(q) && sdb_differs(e, sdb, q->name, name)) {
            ok = object_property_parse(OBJECT(sdb), q->name,
                                       lookup(user_given, name), errp);
        }
    }
    giving_again = false;
    return ok;
}

void vsched_options_sdb_changed(VschedEngine *e, SDBState *sdb)
{
    ObjectPropertyIterator iter;
    ObjectProperty *q;

    if (giving_again) {
        return;
    }
    object_class_property_iter_init(&iter, object_get_class(OBJECT(sdb)));
    while ((q = object_property_iter_next(&iter))) {
        g_autofree char *name = sdb_option_name(q->name);

        if (is_sdb_option(q) && sdb_differs(e, sdb, q->name, name)) {
            vsched_options_forget(name);
        }
    }
}

/* Every SDB gets the same. */
static bool create_sdbs(VschedEngine *e, Error **errp)
{
    ERRP_GUARD();

    e->sdb_given = SDB_DEVICE(qdev_new(TYPE_SDB_DEVICE));
    if (!set_sdb_options(e->sdb_given, errp)) {
        return false;
    }
    e->sdb_device = g_new0(SDBState *, e->pcpus);
    for (int p = 0; p < e->pcpus; p++) {
        g_autofree char *child = g_strdup_printf("sdb[%d]", p);
        DeviceState *dev = qdev_new(TYPE_SDB_DEVICE);

        e->sdb_device[p] = SDB_DEVICE(dev);
        object_property_set_uint(OBJECT(dev), "pcpu", p, &error_abort);
        object_property_add_child(OBJECT(e), child, OBJECT(dev));
        set_sdb_options(e->sdb_device[p], &error_abort);
        if (!qdev_realize_and_unref(dev, NULL, errp)) {
            error_prepend(errp, SDB_PREFIX);    /* before the name */
            return false;
        }
    }
    return true;
}

bool vsched_options_unused(Error **errp)
{
    GHashTableIter iter;
    gpointer name, value;

    if (!given) {
        return true;
    }
    g_hash_table_iter_init(&iter, given);
    while (g_hash_table_iter_next(&iter, &name, &value)) {
        /* A machine with PCPUs always says how many. */
        if (strcmp(name, engine_parameters[PCPUS].name) ||
            g_strcmp0(value, lookup(told_by_machine, name))) {
            error_setg(errp, "%s= is a parameter of the engine: it needs "
                       "-accel tcg,thread=vsched", (char *)name);
            return false;
        }
    }
    return true;
}

VschedEngine *vsched_options_engine(Object *accel, MachineState *ms,
                                    Error **errp)
{
    VschedEngine *e = VSCHED(object_new(TYPE_VSCHED));

    object_property_add_child(OBJECT(ms), "vsched", OBJECT(e));
    object_property_add_const_link(object_get_root(), "vsched", OBJECT(e));
    object_unref(OBJECT(e));
    if (!apply_engine_options(e, errp) || !apply_policy_options(e, errp) ||
        !create_sdbs(e, errp)) {
        return NULL;
    }
    return e;
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
