/*
 * The command line: -accel tcg,thread=vsched,NAME=VALUE and -M cmp8,NAME=VALUE.
 *
 * Each parameter is a QOM property of the object that uses it: /machine/vsched,
 * /machine/vsched/policy, /machine/vsched/sdb[n].  The accelerator and machines
 * with PCPUs have them as aliases; what they are given is kept as strings until
 * the objects exist, and what is wrong with it is said by the property that it
 * is for.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/accel.h"
#include "qemu/help_option.h"
#include "qemu/qemu-print.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "hw/qdev-core.h"
#include "vsched/vsched.h"
#include "commands.h"
#include "engine.h"
#include "given.h"
#include "parameters.h"

#define SDB_PREFIX "sdb-"

static void print_policies(void)
{
    qemu_printf("Scheduling policies:\n");
    for (int i = 0; vsched_policies[i]; i++) {
        const VschedPolicyOps *ops = vsched_policies[i];

        bool is_default = !strcmp(ops->name, VSCHED_SCHED_DEFAULT);

        qemu_printf("  %-12s %s%s\n", ops->name, ops->description,
                    is_default ? " (default)" : "");
        for (const VschedParameter *p = ops->parameters; p->name; p++) {
            g_autofree char *text = vsched_parameter_describe(p);

            qemu_printf("    %s=  %s\n", p->name, text);
        }
    }
    qemu_printf("Parameters of the engine and of the SDBs: "
                "-accel tcg,help\n");
}

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

/* Where the value of option @name is in force; NULL: nowhere, so far. */
static Object *owner_in_force(const char *name, const char **property)
{
    return vsched_engine ? option_owner(vsched_engine, name, property) : NULL;
}

/* What is in force; before the engine exists, what was given. */
static void option_get(Object *obj, Visitor *v, const char *name, void *opaque,
                       Error **errp)
{
    const char *property, *given = vsched_given(VSCHED_BY_ANYBODY, name);
    Object *owner = owner_in_force(name, &property);
    char *text = (char *)(given ?: "");

    if (owner) {
        object_property_get(owner, property, v, errp);
    } else {
        visit_type_str(v, name, &text, errp);
    }
}

/* Text, or a number or boolean as text; the caller frees it. */
static char *visit_as_text(Visitor *v, const char *name, Error **errp)
{
    int64_t number;
    char *text;
    bool on;

    if (visit_type_str(v, name, &text, NULL)) {
        return text;
    }
    if (visit_type_int64(v, name, &number, NULL)) {
        return g_strdup_printf("%" PRId64, number);
    }
    if (visit_type_bool(v, name, &on, errp)) {
        return g_strdup(on ? "on" : "off");
    }
    return NULL;
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
    const char *machine = vsched_given(VSCHED_TO_MACHINE, name);
    g_autofree char *value = visit_as_text(v, name, errp);

    if (!value) {
        return;
    }
    maybe_help(name, value);
    if (machine && strcmp(machine, value)) {
        error_setg(errp, "-accel says %s=%s and the machine says %s=%s: give "
                   "one of them, or both in the same words", name, value, name,
                   machine);
        return;
    }
    vsched_give(VSCHED_BY_ANYBODY, name, value);
    if (machine || !vsched_given(VSCHED_BY_MACHINE, name)) {
        vsched_give(VSCHED_BY_USER, name, value);
    }
}

void vsched_machine_option(const char *name, const char *value)
{
    maybe_help(name, value);
    vsched_give(VSCHED_BY_MACHINE, name, value);
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
    value = visit_as_text(v, name, errp);
    if (value) {
        vsched_machine_option(name, value);
        vsched_give(VSCHED_TO_MACHINE, name, value);
    }
}

typedef void OptionFunc(ObjectClass *oc, const char *name, const char *type,
                        const char *description);

/* Names of all options, in the order of the tables */
static GPtrArray *option_names;

static void add_accel_option(ObjectClass *oc, const char *name,
                             const char *type, const char *description)
{
    g_ptr_array_add(option_names, g_strdup(name));
    object_class_property_add(oc, name, type, option_get, accel_option_set,
                              NULL, NULL);
    object_class_property_set_description(oc, name, description);
}

static void add_machine_option(ObjectClass *oc, const char *name,
                               const char *type, const char *description)
{
    if (!object_class_property_find(oc, name)) {
        object_class_property_add(oc, name, type, option_get,
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

/* Properties of an SDB that are options, in a fixed order; NULL: no more */
static const char *sdb_property(int i)
{
    return i ? sdb_parameters[i - 1].name : "detector";
}

/*
 * What there is to say of policy parameter @name: if all policies that have it
 * mean the same by it, all; else where to find more.
 */
static char *describe_policy_parameter(const char *name)
{
    g_autofree char *first = NULL;
    bool same = true;

    for (int i = 0; vsched_policies[i]; i++) {
        const VschedParameter *p = vsched_policies[i]->parameters;

        for (; p->name; p++) {
            g_autofree char *text = vsched_parameter_describe(p);

            if (!strcmp(p->name, name)) {
                same &= !first || !strcmp(first, text);
                first = first ?: g_steal_pointer(&text);
            }
        }
    }
    return same ? g_steal_pointer(&first) :
           g_strdup("parameter of several policies; sched=help says what it is "
                    "in each");
}

/* Policies may have parameters of the same name that are not the same. */
static void for_policy_options(ObjectClass *oc, OptionFunc *add)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

    for (int i = 0; vsched_policies[i]; i++) {
        const VschedParameter *p = vsched_policies[i]->parameters;

        for (; p->name; p++) {
            g_autofree char *text = describe_policy_parameter(p->name);

            if (g_hash_table_add(seen, (void *)p->name)) {
                add(oc, p->name, vsched_parameter_type(p), text);
            }
        }
    }
}

static void for_all_options(ObjectClass *oc, OptionFunc *add)
{
    ObjectClass *sdb = object_class_by_name(TYPE_SDB_DEVICE);
    const VschedParameter *parameter;
    const VschedModelOption *option;
    const char *first, *description, *property;

    add(oc, "sched", "str", VSCHED_SCHED_DESCRIPTION);
    for (int i = 0; (parameter = vsched_engine_parameter(i)); i++) {
        g_autofree char *text = vsched_parameter_describe(parameter);

        add(oc, parameter->name, vsched_parameter_type(parameter), text);
    }
    for (int i = 0; (first = vsched_first_parameter(i, &description)); i++) {
        add(oc, first, "str", description);
    }
    for (int i = 0; (option = vsched_model_option(i)); i++) {
        add(oc, option->name, "str", option->description);
    }
    for_policy_options(oc, add);
    for (int i = 0; (property = sdb_property(i)); i++) {
        ObjectProperty *p = object_class_property_find(sdb, property);
        g_autofree char *name = sdb_option_name(property);

        add(oc, name, p->type, p->description);
    }
}

void vsched_options_class_init(ObjectClass *oc)
{
    option_names = g_ptr_array_new();
    for_all_options(oc, add_accel_option);
}

void vsched_machine_class_options(ObjectClass *oc)
{
    for_all_options(oc, add_machine_option);
}

/*
 * Of several wrong options always the same one is named: that which is first in
 * the tables.
 */
static bool apply_engine_options(VschedEngine *e, Error **errp)
{
    const char *sched = vsched_given(VSCHED_BY_ANYBODY, "sched");

    for (int i = 0; i < option_names->len; i++) {
        const char *name = option_names->pdata[i];
        const char *value = vsched_given(VSCHED_BY_ANYBODY, name);

        if (value && strcmp(name, "sched") &&
            object_property_find(OBJECT(e), name) &&
            !object_property_parse(OBJECT(e), name, value, errp)) {
            return false;
        }
    }
    return object_property_set_str(OBJECT(e), "sched",
                                   sched ?: VSCHED_SCHED_DEFAULT, errp);
}

static bool apply_policy_options(VschedEngine *e, Error **errp)
{
    for (int i = 0; vsched_policies[i]; i++) {
        const VschedParameter *q = vsched_policies[i]->parameters;

        for (; q->name; q++) {
            const char *value = vsched_given(VSCHED_BY_ANYBODY, q->name);

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
    const char *property;
    ERRP_GUARD();

    for (int i = 0; (property = sdb_property(i)); i++) {
        g_autofree char *name = sdb_option_name(property);
        const char *value = vsched_given(VSCHED_BY_ANYBODY, name);

        if (value &&
            !object_property_parse(OBJECT(sdb), property, value, errp)) {
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

    if (!vsched_given(VSCHED_BY_USER, option)) {
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
    const char *property;
    bool ok = true;

    giving_again = true;
    for (int i = 0; ok && (property = sdb_property(i)); i++) {
        g_autofree char *name = sdb_option_name(property);

        if (sdb_differs(e, sdb, property, name)) {
            ok = object_property_parse(OBJECT(sdb), property,
                                       vsched_given(VSCHED_BY_USER, name),
                                       errp);
        }
    }
    giving_again = false;
    return ok;
}

void vsched_options_sdb_changed(VschedEngine *e, SDBState *sdb)
{
    const char *property;

    if (giving_again) {
        return;
    }
    for (int i = 0; (property = sdb_property(i)); i++) {
        g_autofree char *name = sdb_option_name(property);

        if (sdb_differs(e, sdb, property, name)) {
            vsched_given_forget(name);
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
    if (vsched_commands_given()) {
        error_setg(errp, "a vsched-command needs -accel tcg,thread=vsched");
        return false;
    }
    for (int i = 0; i < option_names->len; i++) {
        const char *name = option_names->pdata[i];
        const char *value = vsched_given(VSCHED_BY_ANYBODY, name);

        /* A machine with PCPUs always says how many. */
        if (value && (strcmp(name, vsched_engine_parameter(0)->name) ||
                      strcmp(value, vsched_given(VSCHED_BY_MACHINE, name) ?:
                                    ""))) {
            error_setg(errp, "%s= is a parameter of the engine: it needs "
                       "-accel tcg,thread=vsched", name);
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
