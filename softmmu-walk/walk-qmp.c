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
#include "qapi/qapi-visit-paging.h"
#include "accel/vsched/commands.h"
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

/*
 * ------------------------------------------------------------------------
 * Statistics: each counter twice, first privileged, then user.
 */

static uint64_t counter_of(const WalkCounters *c, int stat)
{
    return ((const uint64_t *)c)[stat / 2];
}

static uint64_t of_vcpu(int vcpu, int stat)
{
    return counter_of(walk_model_of_vcpu(paging.model, vcpu, stat % 2), stat);
}

static uint64_t of_pcpu(int pcpu, int stat)
{
    return counter_of(walk_model_of_pcpu(paging.model, pcpu, stat % 2), stat);
}

const VschedModelStats *paging_stats(void)
{
    static VschedModelStats stats = {
        .cycles = "paging-cycles-",
        .of_vcpu = of_vcpu,
        .of_pcpu = of_pcpu,
    };

    if (paging.model && !stats.names) {
        g_autoptr(GPtrArray) names = g_ptr_array_new();

        for (int i = 0; walk_counter_names[i]; i++) {
            g_ptr_array_add(names, g_strdup_printf("paging-%s-privileged",
                                                   walk_counter_names[i]));
            g_ptr_array_add(names, g_strdup_printf("paging-%s-user",
                                                   walk_counter_names[i]));
        }
        g_ptr_array_add(names, NULL);
        stats.names = (void *)g_ptr_array_steal(names, NULL);
    }
    return paging.model ? &stats : NULL;
}

/*
 * ------------------------------------------------------------------------
 * Queries
 */

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
        vm->has_guest_faults = paging_guest_faults(i, &vm->guest_faults);
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

/* Entries of the largest one of QEMU's own TLBs */
static int64_t largest_tlb(void)
{
    size_t largest = 0;
    CPUState *cpu;

    CPU_FOREACH(cpu) {
        for (int i = 0; i < NB_MMU_MODES; i++) {
            largest = MAX(largest, cpu->neg.tlb.f[i].mask);
        }
    }
    return (largest >> CPU_TLB_ENTRY_BITS) + 1;
}

PagingCheck *qmp_x_paging_check(Error **errp)
{
    PagingCheck *check;

    if (!is_on(errp)) {
        return NULL;
    }
    check = g_new0(PagingCheck, 1);
    check->accesses = paging.checked;
    check->hidden = paging.hidden;
    check->softmmu_entries = largest_tlb();
    for (unsigned i = 0; i < paging.vms; i++) {
        walk_shadow_foreach(walk_model_shadow(paging.model, i), check_entry,
                            check);
    }
    return check;
}

/*
 * ------------------------------------------------------------------------
 * Commands.  Each checks what can be checked before its time; if it has a time,
 * it waits for it, else it is done.
 */

static bool check_vm(int64_t vm, Error **errp)
{
    if (!is_on(errp) || !vsched_changeable(errp)) {
        return false;
    }
    if (vm < 0 || vm >= paging.vms) {
        error_setg(errp, "vm %" PRId64 ": allowed are 0 to %u", vm,
                   paging.vms - 1);
        return false;
    }
    return true;
}

VschedDone *qmp_paging_set_mode(PagingSetMode *a, Error **errp)
{
    DspMode dsp;

    if (!check_vm(a->vm, errp)) {
        return NULL;
    }
    if (!paging_has_mode((WalkMode)a->mode)) {
        error_setg(errp, "mode %s is for tables that processors walk: allowed "
                   "are native, nested, shadow", PagingMode_str(a->mode));
        return NULL;
    }
    if (a->has_at) {
        a->has_at = false;
        return vsched_commands_defer(vsched_engine, "paging-set-mode", a,
                                     a->at, errp);
    }
    if (dsp_is_enabled(paging.dsp, a->vm)) {
        if (!paging_dsp_mode_of((WalkMode)a->mode, &dsp)) {
            error_setg(errp, "VM %" PRId64 " is switched by DSP: allowed are "
                       "nested and shadow, or dsp-disable first", a->vm);
            return NULL;
        }
        dsp_forced(paging.dsp, a->vm, dsp, paging_present());
    }
    paging_set_mode(a->vm, (WalkMode)a->mode, -1);
    return vsched_commands_done(vsched_engine);
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
    s->faults = o->has_faults ? (int)o->faults : DSP_FAULTS_WALKER;
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

VschedDone *qmp_dsp_enable(DspEnable *a, Error **errp)
{
    g_autofree char *why = NULL;
    DspSettings settings;

    if (!check_vm(a->vm, errp) ||
        !settings_of(qapi_DspEnable_base(a), &settings, errp)) {
        return NULL;
    }
    if (!dsp_settings_check(&settings, &why)) {
        error_setg(errp, "%s", why);
        return NULL;
    }
    if (a->has_at) {
        a->has_at = false;
        return vsched_commands_defer(vsched_engine, "dsp-enable", a, a->at,
                                     errp);
    }
    if (!paging_enable_dsp(a->vm, &settings, &why)) {
        error_setg(errp, "%s", why);
        return NULL;
    }
    return vsched_commands_done(vsched_engine);
}

VschedDone *qmp_dsp_disable(DspDisable *a, Error **errp)
{
    g_autofree char *why = NULL;

    if (!check_vm(a->vm, errp)) {
        return NULL;
    }
    if (a->has_at) {
        a->has_at = false;
        return vsched_commands_defer(vsched_engine, "dsp-disable", a, a->at,
                                     errp);
    }
    if (!paging_disable_dsp(a->vm, &why)) {
        error_setg(errp, "%s", why);
        return NULL;
    }
    return vsched_commands_done(vsched_engine);
}

VSCHED_COMMAND_TYPE(DspDisable, dsp_disable)
VSCHED_COMMAND_TYPE(DspEnable, dsp_enable)
VSCHED_COMMAND_TYPE(PagingSetMode, paging_set_mode)

static const VschedCommandType commands[] = {
    VSCHED_COMMAND_ENTRY("dsp-disable", dsp_disable),
    VSCHED_COMMAND_ENTRY("dsp-enable", dsp_enable),
    VSCHED_COMMAND_ENTRY("paging-set-mode", paging_set_mode),
    {}
};

static void register_commands(void)
{
    vsched_register_commands(commands);
}

type_init(register_commands)

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
        .has_faults = true,
        .faults = (DspFaults)s->faults,
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

        if (!dsp_settings(paging.dsp, i)->interval) {
            continue;           /* it never was in the list */
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
