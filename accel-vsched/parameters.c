/*
 * Parameters as QOM properties: numbers, times, switches, and choices.
 *
 * A time is a number of nanoseconds, or one with ns, us, ms or s behind it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/host-utils.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "hw/sdb/range.h"
#include "parameters.h"

char *vsched_assignment(const char *name, uint64_t value)
{
    return value > INT64_MAX ? g_strdup(name)
                             : g_strdup_printf("%s=%" PRIu64, name, value);
}

bool vsched_parse_time(const char *text, uint64_t *ns)
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
    switch (p->unit) {
    case VSCHED_TIME:
        return format_time(value);
    case VSCHED_SWITCH:
        return g_strdup(value ? "on" : "off");
    case VSCHED_CHOICE:
        return g_strdup(p->choices[value]);
    default:
        return g_strdup_printf("%" PRIu64, value);
    }
}

const char *vsched_parameter_type(const VschedParameter *p)
{
    switch (p->unit) {
    case VSCHED_TIME:
    case VSCHED_CHOICE:
        return "str";
    case VSCHED_SWITCH:
        return "bool";
    default:
        return "uint64";
    }
}

char *vsched_parameter_describe(const VschedParameter *p)
{
    g_autofree char *low = format_value(p, p->minimum);
    g_autofree char *high = format_value(p, p->maximum);
    g_autofree char *value = format_value(p, p->value);

    if (p->unit == VSCHED_SWITCH) {
        return g_strdup_printf("%s (on, off); default %s", p->description,
                               value);
    } else if (p->unit == VSCHED_CHOICE) {
        g_autofree char *choices = g_strjoinv(", ", (char **)p->choices);

        return g_strdup_printf("%s (%s); default %s", p->description, choices,
                               value);
    }
    return g_strdup_printf("%s; %s to %s, default %s", p->description,
                           low, high, value);
}

static bool set_switch(Visitor *v, const char *name, uint64_t *value,
                       Error **errp)
{
    bool on;

    if (!visit_type_bool(v, name, &on, errp)) {
        return false;
    }
    *value = on;
    return true;
}

static bool set_choice(Visitor *v, const char *name, const VschedParameter *p,
                       uint64_t *value, Error **errp)
{
    g_autofree char *choices = g_strjoinv(", ", (char **)p->choices);
    g_autofree char *text = NULL;

    if (!visit_type_str(v, name, &text, NULL)) {
        error_setg(errp, "%s is a word: allowed are %s", name, choices);
        return false;
    }
    for (int i = 0; p->choices[i]; i++) {
        if (!strcmp(text, p->choices[i])) {
            *value = i;
            return true;
        }
    }
    error_setg(errp, "%s=%s is none of the choices: allowed are %s", name,
               text, choices);
    return false;
}

bool vsched_parameter_set(Visitor *v, const char *name,
                          const VschedParameter *p, uint64_t *value,
                          Error **errp)
{
    g_autofree char *low = format_value(p, p->minimum);
    g_autofree char *high = format_value(p, p->maximum);
    g_autofree char *text = NULL, *fault = NULL;
    uint64_t number;
    int64_t signed_number;
    bool ok;

    if (p->unit == VSCHED_SWITCH) {
        return set_switch(v, name, value, errp);
    } else if (p->unit == VSCHED_CHOICE) {
        return set_choice(v, name, p, value, errp);
    }
    if (!visit_type_str(v, name, &text, NULL)) {
        /* A uint64 would be wrapped around: no maximum is that large. */
        ok = visit_type_int64(v, name, &signed_number, NULL);
        if (ok && signed_number < 0) {
            text = g_strdup_printf("%" PRId64, signed_number);
            fault = range_fault(name, text, RANGE_OUT, low, high);
            error_setg(errp, "%s", fault);
            return false;
        }
        number = signed_number;
    } else if (p->unit == VSCHED_TIME) {
        ok = vsched_parse_time(text, &number);
    } else {
        ok = g_ascii_isdigit(*text) &&
             !qemu_strtou64(text, NULL, 10, &number);
    }
    if (!ok) {
        fault = range_fault(name, text, p->unit == VSCHED_TIME ? "not a time" :
                            RANGE_NO_NUMBER, low, high);
        error_setg(errp, "%s", fault);
        return false;
    }
    if (number < p->minimum || number > p->maximum) {
        g_autofree char *given = format_value(p, number);

        fault = range_fault(name, given, RANGE_OUT, low, high);
        error_setg(errp, "%s", fault);
        return false;
    }
    *value = number;
    return true;
}

void vsched_parameter_get(Visitor *v, const char *name,
                          const VschedParameter *p, uint64_t value,
                          Error **errp)
{
    bool on = value;

    if (p->unit == VSCHED_SWITCH) {
        visit_type_bool(v, name, &on, errp);
    } else if (p->unit == VSCHED_TIME || p->unit == VSCHED_CHOICE) {
        g_autofree char *text = format_value(p, value);
        char *t = text;

        visit_type_str(v, name, &t, errp);
    } else {
        visit_type_uint64(v, name, &value, errp);
    }
}
