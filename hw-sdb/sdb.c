/*
 * Spin detection buffer of a PCPU, as a device: properties, trace, VMState
 *
 * What it decides, and how, is in sdb-core.c; docs/sdb.rst describes it.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "qemu/module.h"
#include "hw/qdev-properties.h"
#include "migration/vmstate.h"
#include "hw/sdb/range.h"
#include "hw/sdb/sdb.h"
#include "trace.h"

static const char *mode_name(bool user)
{
    return user ? "user" : "privileged";
}

static void trace_config(SDBState *s)
{
    const SDBConfig *c = &s->config;

    trace_sdb_configure(s->pcpu, c->period, c->entries, c->store_threshold,
                        c->load_threshold, sdb_choice_name(c->detector),
                        c->recurrence_entries, c->recurrence_repeats,
                        c->recurrence_rest);
}

SDBVerdict sdb_judge(SDBState *s, bool user)
{
    SDBVerdict v = sdb_end_period(s->core, user);

    if (trace_event_get_state_backends(TRACE_SDB_PERIOD)) {
        trace_sdb_period(s->pcpu, v.number, mode_name(v.user),
                         v.spin ? "spin" : "progress",
                         sdb_reason_name(v.reason[SDB_PAPER]),
                         sdb_reason_name(v.reason[SDB_RECURRENCE]),
                         v.stores, v.loads);
    }
    if (v.spin) {
        trace_sdb_spin(s->pcpu, v.number, mode_name(v.user),
                       v.detectors == SDB_CHOICE_EITHER ? "both" :
                       sdb_choice_name(v.detectors));
    }
    return v;
}

uint32_t sdb_judge_unwatched(SDBState *s, int64_t most)
{
    uint32_t n = MIN(most, sdb_unwatched(s->core));

    if (!n || trace_event_get_state_backends(TRACE_SDB_PERIOD)) {
        return 0;
    }
    sdb_pass(s->core, n);
    return n;
}

void sdb_switch(SDBState *s, bool user)
{
    uint64_t cut_off = sdb_flush(s->core, user);

    trace_sdb_flush(s->pcpu, cut_off, mode_name(user));
}

void sdb_apply(SDBState *s)
{
    g_autofree char *why = NULL;
    bool ok = sdb_reconfigure(s->core, &s->config, &why);

    assert(ok);     /* the setters let nothing else into s->config */
    trace_config(s);
}

/* Parameters: read, and written before realize or live */

/* "entries of the store array; 1 to 64, default 8 (as in the paper)" */
static char *describe(const SDBParameter *p)
{
    return g_strdup_printf("%s; %u to %u, default %u%s%s%s", p->description,
                           p->minimum, p->maximum, p->value,
                           p->source ? " (" : "", p->source ?: "",
                           p->source ? ")" : "");
}

/* A change that is refused changes nothing. */
static void change_config(SDBState *s, const SDBConfig *config, Error **errp)
{
    g_autofree char *why = NULL;

    if (s->core) {
        if (!sdb_config_check(config, &why)) {
            error_setg(errp, "%s", why);
            return;
        }
        s->config = *config;
        if (s->changed) {
            s->changed(s, s->changed_opaque);
        } else {
            sdb_apply(s);
        }
    } else {
        s->config = *config;            /* realize checks them together */
    }
}

static void get_parameter(Object *obj, Visitor *v, const char *name,
                          void *opaque, Error **errp)
{
    const SDBParameter *parameter = opaque;

    SDBConfig *config = &SDB_DEVICE(obj)->config;

    visit_type_uint32(v, name, (void *)config + parameter->offset, errp);
}

static void set_parameter(Object *obj, Visitor *v, const char *name,
                          void *opaque, Error **errp)
{
    const SDBParameter *parameter = opaque;
    SDBConfig config = SDB_DEVICE(obj)->config;
    g_autofree char *text = NULL, *fault = NULL;
    const char *is = NULL;
    int64_t value;

    if (!visit_type_int64(v, name, &value, NULL)) {
        visit_type_str(v, name, &text, NULL);
        is = RANGE_NO_NUMBER;
    } else if (value < parameter->minimum || value > parameter->maximum) {
        text = g_strdup_printf("%" PRId64, value);
        is = RANGE_OUT;
    }
    if (is) {
        fault = range_fault_number(name, text, is, parameter->minimum,
                                   parameter->maximum);
        error_setg(errp, "%s", fault);
        return;
    }
    *(uint32_t *)((void *)&config + parameter->offset) = value;
    change_config(SDB_DEVICE(obj), &config, errp);
}

static char *get_detector(Object *obj, Error **errp)
{
    return g_strdup(sdb_choice_name(SDB_DEVICE(obj)->config.detector));
}

static void set_detector(Object *obj, const char *value, Error **errp)
{
    SDBConfig config = SDB_DEVICE(obj)->config;

    if (!sdb_choice_parse(value, &config.detector)) {
        error_setg(errp, "detector '%s' is unknown: allowed are paper,"
                   " recurrence and either", value);
        return;
    }
    change_config(SDB_DEVICE(obj), &config, errp);
}

/* Counters: read only */

static void get_counter(Object *obj, Visitor *v, const char *name,
                        void *opaque, Error **errp)
{
    SDB *core = SDB_DEVICE(obj)->core;
    uint64_t value = 0;

    if (core) {
        value = *(const uint64_t *)((const void *)sdb_counters(core) +
                                    (uintptr_t)opaque);
    }
    visit_type_uint64(v, name, &value, errp);
}

static void add_counter(ObjectClass *oc, char *name, size_t offset,
                        const char *description)
{
    object_class_property_add(oc, name, "uint64", get_counter, NULL, NULL,
                              (void *)offset);
    object_class_property_set_description(oc, name, description);
    g_free(name);
}

/* Can this detector say this of a period in this mode? */
static bool can_say(SDBDetector detector, bool user, SDBReason reason)
{
    switch (reason) {
    case SDB_NOT_JUDGED:
        return true;
    case SDB_RESTING:
        return detector == SDB_PAPER || !user;
    case SDB_STORES:
        return detector == SDB_PAPER;
    case SDB_LOADS:
        return detector == SDB_PAPER && user;
    case SDB_SPIN:
    case SDB_MODE_CHANGE:
        return detector == SDB_PAPER || !user;
    default:
        return detector == SDB_RECURRENCE && !user;
    }
}

static void add_counters(ObjectClass *oc)
{
    for (int user = 0; user < 2; user++) {
        const char *mode = mode_name(user);

        add_counter(oc, g_strdup_printf("periods-%s", mode),
                    offsetof(SDBCounters, periods[user]),
                    "periods that were judged");
        add_counter(oc, g_strdup_printf("spins-%s", mode),
                    offsetof(SDBCounters, spins[user]),
                    "periods that were judged to be a spin");
        add_counter(oc, g_strdup_printf("cut-%s", mode),
                    offsetof(SDBCounters, cut[user]),
                    "periods cut off by a VCPU switch or a new parameter");
        for (int i = 0; i < SDB_DETECTORS; i++) {
            for (int reason = 0; reason < SDB_REASONS; reason++) {
                if (can_say(i, user, reason)) {
                    add_counter(oc,
                                g_strdup_printf("%s-%s-%s",
                                                sdb_choice_name(SDB_JUDGES(i)),
                                                mode, sdb_reason_name(reason)),
                                offsetof(SDBCounters, reasons[i][user][reason]),
                                "periods of which this detector said so");
                }
            }
        }
    }
}

/* Life */

static void sdb_init(Object *obj)
{
    sdb_config_default(&SDB_DEVICE(obj)->config);
}

static void sdb_realize(DeviceState *dev, Error **errp)
{
    SDBState *s = SDB_DEVICE(dev);
    g_autofree char *why = NULL;

    if (!sdb_config_check(&s->config, &why)) {
        error_setg(errp, "%s", why);
        return;
    }
    if (!s->core) {
        s->core = sdb_new(&s->config);
    }
    trace_config(s);
}

/* Not before: the engine keeps using an SDB that somebody unrealizes. */
static void sdb_finalize(Object *obj)
{
    sdb_free(SDB_DEVICE(obj)->core);
}

/*
 * What is saved of an SDB.  Whoever runs the PCPU saves it and loads it: the
 * PCPU may be missing where a saved state is loaded.
 */

bool sdb_device_load(SDBState *s, const SDBSnapshot *snapshot, Error **errp)
{
    g_autofree char *why = NULL;

    if (!sdb_restore(s->core, snapshot, &why)) {
        error_setg(errp, "sdb of PCPU %u: %s", s->pcpu, why);
        return false;
    }
    s->config = *sdb_config(s->core);
    return true;
}

static const VMStateDescription vmstate_config = {
    .name = "sdb/config",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(period, SDBConfig),
        VMSTATE_UINT32(entries, SDBConfig),
        VMSTATE_UINT32(store_threshold, SDBConfig),
        VMSTATE_UINT32(load_threshold, SDBConfig),
        VMSTATE_UINT32(detector, SDBConfig),
        VMSTATE_UINT32(recurrence_entries, SDBConfig),
        VMSTATE_UINT32(recurrence_repeats, SDBConfig),
        VMSTATE_UINT32(recurrence_rest, SDBConfig),
        VMSTATE_UINT32(paper_rest, SDBConfig),
        VMSTATE_END_OF_LIST()
    }
};

static const VMStateDescription vmstate_counters = {
    .name = "sdb/counters",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64_ARRAY(periods, SDBCounters, 2),
        VMSTATE_UINT64_ARRAY(cut, SDBCounters, 2),
        VMSTATE_UINT64_ARRAY(spins, SDBCounters, 2),
        VMSTATE_UINT64_2DARRAY(reasons[SDB_PAPER], SDBCounters,
                               2, SDB_REASONS),
        VMSTATE_UINT64_2DARRAY(reasons[SDB_RECURRENCE], SDBCounters,
                               2, SDB_REASONS),
        VMSTATE_END_OF_LIST()
    }
};

const VMStateDescription vmstate_sdb_snapshot = {
    .name = "sdb/core",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_STRUCT(config, SDBSnapshot, 1, vmstate_config, SDBConfig),
        VMSTATE_STRUCT(counters, SDBSnapshot, 1, vmstate_counters,
                       SDBCounters),
        VMSTATE_UINT64(number, SDBSnapshot),
        VMSTATE_BOOL(user, SDBSnapshot),
        VMSTATE_BOOL(user_now, SDBSnapshot),
        VMSTATE_BOOL(changed, SDBSnapshot),
        VMSTATE_UINT32(n_stores, SDBSnapshot),
        VMSTATE_UINT32(n_loads, SDBSnapshot),
        VMSTATE_UINT64_ARRAY(store_address, SDBSnapshot, SDB_ENTRIES_MAX),
        VMSTATE_UINT64_ARRAY(store_low, SDBSnapshot, SDB_ENTRIES_MAX),
        VMSTATE_UINT64_ARRAY(store_high, SDBSnapshot, SDB_ENTRIES_MAX),
        VMSTATE_UINT64_ARRAY(load_address, SDBSnapshot, SDB_ENTRIES_MAX),
        VMSTATE_UINT32(paper_rest, SDBSnapshot),
        VMSTATE_UINT32(watch, SDBSnapshot),
        VMSTATE_UINT32(rest, SDBSnapshot),
        VMSTATE_UINT32(repeats, SDBSnapshot),
        VMSTATE_BOOL(comparable, SDBSnapshot),
        VMSTATE_UINT64_2DARRAY(marks[0], SDBSnapshot, SDB_KINDS,
                               SDB_MARKS / 64),
        VMSTATE_UINT64_2DARRAY(marks[1], SDBSnapshot, SDB_KINDS,
                               SDB_MARKS / 64),
        VMSTATE_END_OF_LIST()
    }
};

/* The PCPU: whoever makes an SDB says so, before it is realized. */

static void get_pcpu(Object *obj, Visitor *v, const char *name, void *opaque,
                     Error **errp)
{
    visit_type_uint32(v, name, &SDB_DEVICE(obj)->pcpu, errp);
}

static void set_pcpu(Object *obj, Visitor *v, const char *name, void *opaque,
                     Error **errp)
{
    SDBState *s = SDB_DEVICE(obj);
    uint32_t value;

    if (s->core) {
        error_setg(errp, "an SDB remains that of its PCPU, %u", s->pcpu);
    } else if (visit_type_uint32(v, name, &value, errp)) {
        s->pcpu = value;
    }
}

static void sdb_class_init(ObjectClass *oc, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(oc);

    dc->desc = "Spin detection buffer of a PCPU";
    dc->realize = sdb_realize;
    dc->user_creatable = false;         /* the engine makes one a PCPU */
    dc->hotpluggable = false;
    set_bit(DEVICE_CATEGORY_CPU, dc->categories);
    object_class_property_add(oc, "pcpu", "uint32", get_pcpu, set_pcpu, NULL,
                              NULL);
    object_class_property_set_description(oc, "pcpu",
                                          "the PCPU that it belongs to");

    for (const SDBParameter *p = sdb_parameters; p->name; p++) {
        g_autofree char *text = describe(p);

        object_class_property_add(oc, p->name, "uint32", get_parameter,
                                  set_parameter, NULL, (void *)p);
        object_class_property_set_description(oc, p->name, text);
    }
    object_class_property_add_str(oc, "detector", get_detector, set_detector);
    object_class_property_set_description(oc, "detector",
        "who judges: paper, recurrence (privileged periods only), or either;"
        " default either");
    add_counters(oc);
}

static const TypeInfo sdb_info = {
    .name = TYPE_SDB_DEVICE,
    .parent = TYPE_DEVICE,
    .instance_size = sizeof(SDBState),
    .instance_init = sdb_init,
    .instance_finalize = sdb_finalize,
    .class_init = sdb_class_init,
};

static void sdb_register_types(void)
{
    type_register_static(&sdb_info);
}
type_init(sdb_register_types)
