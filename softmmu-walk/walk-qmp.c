/*
 * What users see of the paging model, and change: see paging.json
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <math.h>
#include "qapi/error.h"
#include "qapi/qapi-commands-paging.h"
#include "walk-glue.h"

#define PAGE UINT64_C(4096)             /* of x86 */

static bool is_on(Error **errp)
{
    if (!paging.model) {
        error_setg(errp, "there is no model of paging: start the machine with "
                   "-accel tcg,thread=vsched,paging=");
    }
    return paging.model;
}

static PagingCounterList *counters_of(unsigned vm)
{
    PagingCounterList *list = NULL, **tail = &list;
    WalkCounters c[2];

    walk_model_of_vm(paging.model, vm, false, &c[0]);
    walk_model_of_vm(paging.model, vm, true, &c[1]);
    for (unsigned i = 0; walk_counter_names[i]; i++) {
        PagingCounter *one = g_new0(PagingCounter, 1);

        one->name = g_strdup(walk_counter_names[i]);
        one->privileged = ((uint64_t *)&c[0])[i];
        one->user = ((uint64_t *)&c[1])[i];
        QAPI_LIST_APPEND(tail, one);
    }
    return list;
}

PagingVmList *qmp_query_paging(Error **errp)
{
    PagingVmList *list = NULL, **tail = &list;

    if (!is_on(errp)) {
        return NULL;
    }
    for (unsigned i = 0; i < paging.vms; i++) {
        const WalkShadow *shadow = walk_model_shadow(paging.model, i);
        PagingVm *vm = g_new0(PagingVm, 1);

        vm->vm = i;
        vm->mode = (PagingMode)walk_model_mode(paging.model, i);
        vm->shadow_pages = walk_shadow_pages(shadow);
        vm->nested_tables = walk_shadow_nested(shadow);
        vm->counters = counters_of(i);
        QAPI_LIST_APPEND(tail, vm);
    }
    return list;
}

/*
 * An entry of a table in sync is that of the guest.  A and D bits of upper
 * entries, which walks may set through another table, do not matter.
 */
static void check_entry(void *opaque, uint64_t gfn, unsigned level,
                        WalkFormat format, unsigned index, uint64_t value,
                        bool out_of_sync)
{
    uint64_t bits = level > 1 ? WALK_PTE_ACCESSED | WALK_PTE_DIRTY : 0;
    unsigned size = walk_format_entry(format);
    PagingCheck *check = opaque;
    uint64_t now;

    if (level == WALK_SPLIT) {
        return;
    }
    if (out_of_sync) {
        check->out_of_sync++;
        return;
    }
    now = paging_read_entry(NULL, 0, gfn * PAGE + index * size, size);
    check->entries++;
    check->wrong += (now | bits) != (value | bits);
}

PagingCheck *qmp_x_paging_check(Error **errp)
{
    PagingCheck *check;

    if (!is_on(errp)) {
        return NULL;
    }
    check = g_new0(PagingCheck, 1);
    for (unsigned i = 0; i < paging.vms; i++) {
        walk_shadow_foreach(walk_model_shadow(paging.model, i), check_entry,
                            check);
    }
    return check;
}

static bool check_vm(int64_t vm, Error **errp)
{
    if (!is_on(errp)) {
        return false;
    }
    if (vm < 0 || vm >= paging.vms) {
        error_setg(errp, "vm %" PRId64 ": allowed are 0 to %u", vm,
                   paging.vms - 1);
        return false;
    }
    return true;
}

void qmp_paging_set_mode(int64_t vm, PagingMode mode, Error **errp)
{
    DspMode dsp;

    if (!check_vm(vm, errp)) {
        return;
    }
    if (dsp_is_enabled(paging.dsp, vm)) {
        if (!paging_dsp_mode_of((WalkMode)mode, &dsp)) {
            error_setg(errp, "VM %" PRId64 " is switched by DSP: allowed are "
                       "nested and shadow, or dsp-disable first", vm);
            return;
        }
        dsp_forced(paging.dsp, vm, dsp, paging_present());
    }
    paging_set_mode(vm, (WalkMode)mode, -1);
}

/* A frequency, in 1e-7, if it was given */
static bool threshold(const char *name, bool given, double value, uint64_t *to,
                      Error **errp)
{
    double scaled = value * DSP_UNIT;

    if (!given) {
        return true;
    }
    if (!(value >= 0 && value <= 100000) ||
        fabs(scaled - round(scaled)) > 0.001) {
        error_setg(errp, "%s=%g: allowed are 0 to 100000 in steps of 1e-7",
                   name, value);
        return false;
    }
    *to = llround(scaled);
    return true;
}

static bool settings_of(const DspOptions *o, DspSettings *s, Error **errp)
{
    dsp_settings_default(s, vsched_engine->clock_hz);
    if (o->has_interval) {
        if (o->interval < 1 || o->interval > INT64_MAX / 1000) {
            error_setg(errp, "interval: allowed are 1 to %" PRId64 " ns",
                       INT64_MAX / 1000);
            return false;
        }
        s->interval = MAX(1, vsched_ns_to_cycles(vsched_engine, o->interval));
    }
    s->history = o->has_history ? o->history : s->history;
    s->keep = o->has_keep ? o->keep : s->keep;
    s->margin = o->has_margin ? o->margin : s->margin;
    s->experiment = o->has_experiment ? (int)o->experiment : DSP_RULES;
    return threshold("fault-upper", o->has_fault_upper, o->fault_upper,
                     &s->fault_upper, errp) &&
           threshold("fault-lower", o->has_fault_lower, o->fault_lower,
                     &s->fault_lower, errp) &&
           threshold("miss-upper", o->has_miss_upper, o->miss_upper,
                     &s->miss_upper, errp) &&
           threshold("miss-lower", o->has_miss_lower, o->miss_lower,
                     &s->miss_lower, errp) &&
           threshold("ratio-upper", o->has_ratio_upper, o->ratio_upper,
                     &s->ratio_upper, errp) &&
           threshold("ratio-lower", o->has_ratio_lower, o->ratio_lower,
                     &s->ratio_lower, errp);
}

void qmp_dsp_enable(DspEnableOptions *given, Error **errp)
{
    const DspOptions *options = qapi_DspEnableOptions_base(given);
    g_autofree char *why = NULL;
    DspSettings settings;

    if (check_vm(given->vm, errp) && settings_of(options, &settings, errp) &&
        !paging_enable_dsp(given->vm, &settings, &why)) {
        error_setg(errp, "%s", why);
    }
}

void qmp_dsp_disable(int64_t vm, Error **errp)
{
    g_autofree char *why = NULL;
    DspMode former;

    if (!check_vm(vm, errp)) {
        return;
    }
    if (!dsp_disable(paging.dsp, vm, &former, &why)) {
        error_setg(errp, "%s", why);
        return;
    }
    paging_set_mode(vm, paging_mode_of(former), -1);
    paging_await();
}

static DspOptions *options_of(const DspSettings *s)
{
    DspOptions *o = g_new(DspOptions, 1);

    *o = (DspOptions) {
        .has_interval = true,
        .interval = vsched_cycles_to_ns(vsched_engine, s->interval),
        .has_history = true,
        .history = s->history,
        .has_keep = true,
        .keep = s->keep,
        .has_margin = true,
        .margin = s->margin,
        .has_fault_upper = true,
        .fault_upper = (double)s->fault_upper / DSP_UNIT,
        .has_fault_lower = true,
        .fault_lower = (double)s->fault_lower / DSP_UNIT,
        .has_miss_upper = true,
        .miss_upper = (double)s->miss_upper / DSP_UNIT,
        .has_miss_lower = true,
        .miss_lower = (double)s->miss_lower / DSP_UNIT,
        .has_ratio_upper = true,
        .ratio_upper = (double)s->ratio_upper / DSP_UNIT,
        .has_ratio_lower = true,
        .ratio_lower = (double)s->ratio_lower / DSP_UNIT,
        .has_experiment = true,
        .experiment = (DspForcedSwitch)s->experiment,
    };
    return o;
}

static DspSampleInfoList *samples_of(unsigned vm)
{
    DspSampleInfoList *list = NULL, **tail = &list;

    for (unsigned i = 0; i < dsp_samples(paging.dsp, vm); i++) {
        const DspSample *s = dsp_sample_at(paging.dsp, vm, i);
        DspSampleInfo *one = g_new0(DspSampleInfo, 1);

        one->time = vsched_cycles_to_ns(vsched_engine, s->time);
        one->insns = s->counted.insns;
        one->misses = s->counted.misses;
        one->faults = s->counted.faults;
        one->rule = s->rule;
        one->before = (PagingMode)paging_mode_of(s->before);
        one->after = (PagingMode)paging_mode_of(s->after);
        QAPI_LIST_APPEND(tail, one);
    }
    return list;
}

DspInfoList *qmp_query_dsp(Error **errp)
{
    DspInfoList *list = NULL, **tail = &list;

    if (!is_on(errp)) {
        return NULL;
    }
    for (unsigned i = 0; i < paging.vms; i++) {
        VschedEngine *e = vsched_engine;
        uint64List **decisions;
        DspTotals totals;
        DspInfo *one;

        if (!paging.was_sampled[i]) {
            continue;
        }
        dsp_totals(paging.dsp, i, paging_present(), &totals);
        one = g_new0(DspInfo, 1);
        one->vm = i;
        one->enabled = dsp_is_enabled(paging.dsp, i);
        one->mode = (PagingMode)walk_model_mode(paging.model, i);
        one->options = options_of(dsp_settings(paging.dsp, i));
        one->switches = totals.switches;
        one->nested_time = vsched_cycles_to_ns(e, totals.cycles[DSP_NESTED]);
        one->shadow_time = vsched_cycles_to_ns(e, totals.cycles[DSP_SHADOW]);
        decisions = &one->decisions;
        for (unsigned n = 0; n < G_N_ELEMENTS(totals.decisions); n++) {
            QAPI_LIST_APPEND(decisions, totals.decisions[n]);
        }
        one->samples = samples_of(i);
        QAPI_LIST_APPEND(tail, one);
    }
    return list;
}
