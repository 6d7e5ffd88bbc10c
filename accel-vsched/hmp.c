/*
 * Live control for people: "info vsched" and "vsched COMMAND ARGUMENTS".
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vsched.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qstring.h"
#include "commands.h"
#include "parameters.h"

/* "0-3,5" */
static char *set_text(const intList *list)
{
    GString *s = g_string_new(NULL);

    while (list) {
        int64_t first = list->value, last = first;

        while (list->next && list->next->value == last + 1) {
            list = list->next;
            last++;
        }
        g_string_append_printf(s, "%s%" PRId64, s->len ? "," : "", first);
        if (last > first) {
            g_string_append_printf(s, "-%" PRId64, last);
        }
        list = list->next;
    }
    return g_string_free(s, false);
}

/* A text as it is, anything else as JSON writes it. */
static char *value_text(QObject *value)
{
    QString *text = qobject_to(QString, value);

    return text ? g_strdup(qstring_get_str(text)) :
           g_string_free(qobject_to_json(value), false);
}

static void print_policy(Monitor *mon, const VschedInfo *info)
{
    monitor_printf(mon, "time %" PRIu64 " ns, windows of %" PRIu64 " ns\n",
                   info->time, info->window);
    monitor_printf(mon, "policy %s", info->policy);
    for (VschedParameterInfoList *l = info->parameters; l; l = l->next) {
        g_autofree char *value = value_text(l->value->value);

        monitor_printf(mon, " %s=%s", l->value->name, value);
    }
    if (info->has_longest_wait) {
        monitor_printf(mon, ", longest wait %" PRIu64 " ns\n",
                       info->longest_wait);
    } else {
        monitor_printf(mon, ", no longest wait\n");
    }
}

static void print_machine(Monitor *mon, const VschedInfo *info)
{
    for (VschedVMInfoList *l = info->vms; l; l = l->next) {
        g_autofree char *vcpus = set_text(l->value->vcpus);

        monitor_printf(mon, "vm[%" PRId64 "]: vcpus %s, weight %" PRId64
                       ", cap %" PRId64 "\n", l->value->vm, vcpus,
                       l->value->weight, l->value->cap);
    }
    for (VschedPCPUInfoList *l = info->pcpus; l; l = l->next) {
        const VschedPCPUInfo *p = l->value;

        monitor_printf(mon, "pcpu[%" PRId64 "]: %s, speed %s", p->pcpu,
                       p->online ? "on" : "off", p->speed);
        if (p->has_vcpu) {
            monitor_printf(mon, ", vcpu %" PRId64 " until %" PRIu64, p->vcpu,
                           p->slice_end);
        }
        monitor_printf(mon, "\n");
    }
    for (VschedVCPUInfoList *l = info->vcpus; l; l = l->next) {
        const VschedVCPUInfo *v = l->value;
        g_autofree char *affinity = set_text(v->affinity);

        monitor_printf(mon, "vcpu[%" PRId64 "]: %s since %" PRIu64
                       ", pcpu %" PRId64 ", affinity %s%s", v->vcpu,
                       VschedVCPUState_str(v->state), v->since, v->pcpu,
                       affinity, v->suspended ? " (suspended)" : "");
        if (v->has_moving_to) {
            monitor_printf(mon, ", moving to %" PRId64, v->moving_to);
        }
        monitor_printf(mon, "%s\n", v->spinning ? ", spins" : "");
    }
    for (VschedPendingList *l = info->pending; l; l = l->next) {
        g_autofree char *arguments = value_text(l->value->arguments);

        monitor_printf(mon, "command %" PRIu64 " at %" PRIu64 ": %s %s\n",
                       l->value->id, l->value->at, l->value->command,
                       arguments);
    }
}

static void print_trace(Monitor *mon, const VschedTracing *trace)
{
    if (!trace->has_size) {
        return;
    }
    monitor_printf(mon, "trace: since %" PRIu64 " ns, ", trace->started);
    if (trace->has_stopped) {
        monitor_printf(mon, "stopped at %" PRIu64 " ns, ", trace->stopped);
    } else {
        monitor_printf(mon, "running, ");
    }
    monitor_printf(mon, "%" PRIu64 " of %" PRIu64 " records, %" PRIu64
                   " lost\n", trace->records, trace->size, trace->lost);
}

void hmp_info_vsched(Monitor *mon, const QDict *qdict)
{
    Error *err = NULL;
    VschedInfo *info = qmp_query_vsched(&err);
    VschedTracing *trace;

    if (hmp_handle_error(mon, err)) {
        return;
    }
    print_policy(mon, info);
    print_machine(mon, info);
    trace = qmp_query_vsched_trace(&error_abort);
    print_trace(mon, trace);
    qapi_free_VschedTracing(trace);
    qapi_free_VschedInfo(info);
}

/* Commands that cannot be given a time have one argument. */
static void cancel(const char *value, Error **errp)
{
    uint64_t id;

    if (parse_uint_full(value, 10, &id) < 0) {
        error_setg(errp, "id=%s is no number of a command", value);
    } else {
        qmp_vsched_cancel(id, errp);
    }
}

static void set_spin_events(const char *value, Error **errp)
{
    uint64_t interval;

    if (!vsched_parse_time(value, &interval)) {
        error_setg(errp, "interval=%s is not a time: allowed are numbers, of "
                   "nanoseconds or with ns, us, ms or s behind them", value);
    } else {
        qmp_vsched_set_spin_events(interval, errp);
    }
}

static const struct {
    const char *name, *argument;
    void (*run)(const char *value, Error **errp);
} untimed[] = {
    { "cancel", "id=", cancel },
    { "set-spin-events", "interval=", set_spin_events },
};

/* All commands, with @before in front of each; the caller frees it. */
static char *all_names(const char *before)
{
    GString *s = g_string_new(NULL);
    g_autofree char *names = vsched_commands_names(before, true);

    g_string_append(s, names);
    for (int i = 0; i < ARRAY_SIZE(untimed); i++) {
        g_string_append_printf(s, "%s%s", before, untimed[i].name);
    }
    return g_string_free(s, false);
}

static void print_commands(Monitor *mon)
{
    g_autofree char *names = all_names("\n  vsched ");

    monitor_printf(mon, "commands, those of QMP, with their arguments joined "
                   "by commas:%s\n"
                   "such as: vsched set-pcpu pcpu=7,online=off,at=5ms\n",
                   names);
}

/* Return whether it is a command without a time, which was carried out. */
static bool run_untimed(const char *command, const char *arguments,
                        Error **errp)
{
    strstart(command, "vsched-", &command);
    for (int i = 0; i < ARRAY_SIZE(untimed); i++) {
        const char *value;

        if (strcmp(command, untimed[i].name)) {
            continue;
        }
        if (!arguments || !strstart(arguments, untimed[i].argument, &value)) {
            error_setg(errp, "'%s' needs one argument: %s", command,
                       untimed[i].argument);
        } else {
            untimed[i].run(value, errp);
        }
        return true;
    }
    return false;
}

/* "set-policy" or "vsched-set-policy"; nothing: what there is */
void hmp_vsched(Monitor *mon, const QDict *qdict)
{
    const char *command = qdict_get_try_str(qdict, "command");
    const char *arguments = qdict_get_try_str(qdict, "arguments");
    g_autofree char *name = NULL;
    VschedDone *done;
    Error *err = NULL;

    if (!command || !strcmp(command, "help") || !strcmp(command, "?")) {
        print_commands(mon);
        return;
    }
    if (run_untimed(command, arguments, &err)) {
        hmp_handle_error(mon, err);
        return;
    }
    name = vsched_commands_full_name(command);
    if (!vsched_commands_have(name)) {
        g_autofree char *names = all_names(", ");

        monitor_printf(mon, "Error: there is no command '%s': allowed are%s\n",
                       command, names + 1);
        return;
    }
    done = vsched_commands_run(name, arguments, NULL, &err);
    if (hmp_handle_error(mon, err)) {
        return;
    }
    if (done->has_id) {
        monitor_printf(mon, "command %" PRIu64 " at %" PRIu64 "\n", done->id,
                       done->time);
    } else if (done->answer) {
        g_autofree char *answer = value_text(done->answer);

        monitor_printf(mon, "%s\n", answer);
    }
    qapi_free_VschedDone(done);
}
