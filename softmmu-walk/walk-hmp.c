/*
 * The paging model for people: "info paging" and "info dsp".  What changes it
 * is "vsched paging-set-mode", "vsched dsp-enable" and "vsched dsp-disable".
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-paging.h"
#include "qobject/qdict.h"

#define SAMPLES 16              /* that "info dsp" shows of a VM */

void hmp_info_paging(Monitor *mon, const QDict *qdict)
{
    Error *err = NULL;
    PagingVmList *vms = qmp_query_paging(&err);

    if (hmp_handle_error(mon, err)) {
        return;
    }
    for (PagingVmList *l = vms; l; l = l->next) {
        const PagingVm *vm = l->value;

        monitor_printf(mon, "vm[%" PRId64 "]: mode %s, %" PRId64
                       " pages of shadow tables, %" PRId64 " nested tables\n",
                       vm->vm, PagingMode_str(vm->mode), vm->shadow_pages,
                       vm->nested_tables);
        monitor_printf(mon, "  %-20s %18s %18s\n", "", "privileged", "user");
        for (PagingCounterList *c = vm->counters; c; c = c->next) {
            if (c->value->privileged || c->value->user) {
                monitor_printf(mon, "  %-20s %18" PRIu64 " %18" PRIu64 "\n",
                               c->value->name, c->value->privileged,
                               c->value->user);
            }
        }
    }
    qapi_free_PagingVmList(vms);
}

static void print_settings(Monitor *mon, const DspOptions *o)
{
    monitor_printf(mon, "  interval=%" PRIu64 " ns, history=%" PRIu64
                   ", margin=%" PRIu64 ", faults=%s, experiment=%s\n",
                   o->interval, o->history, o->margin,
                   DspFaults_str(o->faults),
                   DspForcedSwitch_str(o->experiment));
    monitor_printf(mon, "  faults for 1000 instructions %g to %g, misses %g to"
                   " %g, faults for a miss %g to %g\n", o->fault_lower,
                   o->fault_upper, o->miss_lower, o->miss_upper,
                   o->ratio_lower, o->ratio_upper);
}

static void print_samples(Monitor *mon, const DspSampleInfoList *samples)
{
    const DspSampleInfoList *first = samples;
    int more = 0;

    for (const DspSampleInfoList *l = samples; l; l = l->next) {
        if (more++ >= SAMPLES) {
            first = first->next;
        }
    }
    monitor_printf(mon, "  %16s %16s %12s %10s %4s  %s\n", "time", "insns",
                   "misses", "faults", "rule", "mode");
    for (const DspSampleInfoList *l = first; l; l = l->next) {
        const DspSampleInfo *s = l->value;

        monitor_printf(mon, "  %16" PRId64 " %16" PRIu64 " %12" PRIu64 " %10"
                       PRIu64 " %4" PRId64 "  %s%s%s\n", s->time, s->insns,
                       s->misses, s->faults, s->rule,
                       PagingMode_str(s->before),
                       s->before != s->after ? " to " : "",
                       s->before != s->after ? PagingMode_str(s->after) : "");
    }
}

void hmp_info_dsp(Monitor *mon, const QDict *qdict)
{
    Error *err = NULL;
    DspInfoList *vms = qmp_query_dsp(&err);

    if (hmp_handle_error(mon, err)) {
        return;
    }
    if (!vms) {
        monitor_printf(mon, "DSP switches no VM, and never did\n");
    }
    for (DspInfoList *l = vms; l; l = l->next) {
        const DspInfo *vm = l->value;
        const uint64List *d = vm->decisions;

        monitor_printf(mon, "vm[%" PRId64 "]: %s, mode %s, %" PRIu64
                       " switches, %" PRIu64 " ns nested, %" PRIu64
                       " ns shadow\n", vm->vm,
                       vm->enabled ? "switched by DSP"
                                   : "not switched any more",
                       PagingMode_str(vm->mode), vm->switches, vm->nested_time,
                       vm->shadow_time);
        print_settings(mon, vm->options);
        monitor_printf(mon, "  decisions:");
        for (int rule = 0; d; d = d->next, rule++) {
            if (d->value) {
                monitor_printf(mon, " rule %d %" PRIu64, rule, d->value);
            }
        }
        monitor_printf(mon, "\n");
        print_samples(mon, vm->samples);
    }
    qapi_free_DspInfoList(vms);
}
