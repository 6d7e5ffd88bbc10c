/*
 * Modes of paging change while the machine runs: DSP samples VMs and decides,
 * and agile paging looks for tables that are not written any more.
 *
 * Both go by simulated time, at the ends of windows.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/qapi-events-paging.h"
#include "accel/vsched/devices.h"
#include "walk-glue.h"

WalkMode paging_mode_of(DspMode mode)
{
    return mode == DSP_NESTED ? WALK_NESTED : WALK_SHADOWED;
}

bool paging_dsp_mode_of(WalkMode mode, DspMode *dsp)
{
    *dsp = mode == WALK_SHADOWED ? DSP_SHADOW : DSP_NESTED;
    return mode == WALK_SHADOWED || mode == WALK_NESTED;
}

int64_t paging_present(void)
{
    return vsched_ns_to_cycles(vsched_engine,
                               qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL));
}

/* At @cycle, and not before it, also if it is between two ns */
static void await_cycle(QEMUTimer *timer, int64_t cycle)
{
    int64_t ns = vsched_cycles_to_ns(vsched_engine, cycle);

    ns += vsched_ns_to_cycles(vsched_engine, ns) < cycle;
    timer_mod(timer, ns);
    vsched_devices_expect(ns);
}

/* Scans are at multiples of their interval, so that no state says when. */
static void await_scan(void)
{
    int64_t interval = walk_model_config(paging.model)->scan;
    bool agile = false;

    for (unsigned vm = 0; vm < paging.vms; vm++) {
        agile |= walk_model_mode(paging.model, vm) == WALK_AGILE;
    }
    if (agile) {
        await_cycle(paging.scanner,
                    (paging_present() / interval + 1) * interval);
    } else {
        timer_del(paging.scanner);
    }
}

static void scan(void *opaque)
{
    for (unsigned vm = 0; vm < paging.vms; vm++) {
        walk_model_scan(paging.model, vm);
    }
    await_scan();
}

static void tell_mode(unsigned vm, int rule)
{
    if (!paging.quiet) {
        qapi_event_send_paging_mode(
            vm, (PagingMode)walk_model_mode(paging.model, vm), rule >= 0, rule);
    }
}

void paging_set_mode(unsigned vm, WalkMode mode, int rule)
{
    if (walk_model_mode(paging.model, vm) != mode) {
        walk_model_set_mode(paging.model, vm, mode);
        tell_mode(vm, rule);
        await_scan();
    }
}

static DspCounters count_vm(unsigned vm, const DspSettings *settings)
{
    const VschedCore *core = vsched_engine->core;
    DspCounters sum = {};
    WalkCounters c;

    for (unsigned user = 0; user < 2; user++) {
        walk_model_of_vm(paging.model, vm, user, &c);
        sum.misses += c.misses[WALK_CODE] + c.misses[WALK_DATA];
        sum.faults += settings->faults == DSP_FAULTS_GUEST ? 0 : c.faults;
        for (unsigned i = 0; i < paging.vcpus; i++) {
            if (core->topology.vm[i] == (int)vm) {
                sum.insns += core->vcpu[i].insns[user];
            }
        }
    }
    if (settings->faults == DSP_FAULTS_GUEST) {
        paging_guest_faults(vm, &sum.faults);
    }
    return sum;
}

static void await_sample(void)
{
    int64_t next = dsp_next(paging.dsp);

    if (next == INT64_MAX) {
        timer_del(paging.sampler);
    } else {
        await_cycle(paging.sampler, next);
    }
}

static void sample(void *opaque)
{
    int64_t now = paging_present();

    for (unsigned vm = 0; vm < paging.vms; vm++) {
        const DspSample *s;
        DspCounters counted;

        if (!dsp_is_due(paging.dsp, vm, now)) {
            continue;
        }
        counted = count_vm(vm, dsp_settings(paging.dsp, vm));
        s = dsp_sample(paging.dsp, vm, now, &counted);
        if (s->rule == DSP_EXPERIMENT && s->before == s->after) {
            paging_set_mode(vm, paging_mode_of(!s->after), s->rule);
        }
        paging_set_mode(vm, paging_mode_of(s->after), s->rule);
    }
    await_sample();
}

bool paging_enable_dsp(unsigned vm, const DspSettings *settings, char **why)
{
    WalkMode mode = walk_model_mode(paging.model, vm);
    DspCounters counted = count_vm(vm, settings);
    uint64_t faults;
    DspMode dsp;

    if (!paging_dsp_mode_of(mode, &dsp)) {
        *why = g_strdup_printf("VM %u is in mode %s: DSP switches between "
                               "nested and shadow", vm, walk_mode_names[mode]);
        return false;
    }
    if (settings->faults == DSP_FAULTS_GUEST &&
        !paging_guest_faults(vm, &faults)) {
        *why = g_strdup_printf("nobody in VM %u has told where its kernel "
                               "counts page faults: allowed is faults=walker, "
                               "or load the module of vsched-fault-counter in "
                               "the guest", vm);
        return false;
    }
    if (!dsp_enable(paging.dsp, vm, settings, dsp, paging_present(), &counted,
                    why)) {
        return false;
    }
    paging_set_mode(vm, paging_mode_of(dsp_mode(paging.dsp, vm)),
                    DSP_EXPERIMENT);
    await_sample();
    return true;
}

static void enable_all(void)
{
    DspSettings settings;
    char *why = NULL;

    dsp_settings_default(&settings, vsched_engine->clock_hz);
    for (unsigned i = 0; i < paging.vms; i++) {
        paging_enable_dsp(i, &settings, &why);
        g_assert(!why);
    }
}

bool paging_disable_dsp(unsigned vm, char **why)
{
    DspMode former;

    if (!dsp_disable(paging.dsp, vm, paging_present(), &former, why)) {
        return false;
    }
    paging_set_mode(vm, paging_mode_of(former), -1);
    await_sample();
    return true;
}

static void disable_all(void)
{
    char *why = NULL;

    for (unsigned i = 0; i < paging.vms; i++) {
        if (dsp_is_enabled(paging.dsp, i)) {
            paging_disable_dsp(i, &why);
            g_assert(!why);
        }
    }
}

/* The list is empty after a reset, but for who was in it from the beginning. */
void paging_switch_reset(void)
{
    disable_all();
    if (paging.begins_with_dsp) {
        for (unsigned i = 0; i < paging.vms; i++) {
            paging_set_mode(i, WALK_NESTED, -1);
        }
        enable_all();
    }
    await_sample();
    await_scan();
}

void paging_switch_loaded(const WalkMode *before, bool as_given)
{
    if (as_given) {
        paging.quiet = true;            /* one event for each VM at most */
        disable_all();
        for (unsigned i = 0; i < paging.vms; i++) {
            paging_set_mode(i, paging.begin, -1);
        }
        if (paging.begins_with_dsp) {
            enable_all();
        }
        paging.quiet = false;
    }
    for (unsigned i = 0; i < paging.vms; i++) {
        if (walk_model_mode(paging.model, i) != before[i]) {
            tell_mode(i, -1);
        }
    }
    paging_await();
}

void paging_await(void)
{
    await_sample();
    await_scan();
}

void paging_switch_start(void)
{
    paging.dsp = dsp_new(paging.vms);
    paging.sampler = timer_new_ns(QEMU_CLOCK_VIRTUAL, sample, NULL);
    paging.scanner = timer_new_ns(QEMU_CLOCK_VIRTUAL, scan, NULL);
}
