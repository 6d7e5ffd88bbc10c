/*
 * What plugins learn of PCPUs, and what they can do to them: a PCPU is what
 * the plugin interface calls a core.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/plugin.h"
#include "accel/tcg/cpu-ops.h"
#include "vsched/vsched.h"
#include "engine.h"

#ifdef CONFIG_PLUGIN

static unsigned cores_count(void)
{
    return vsched_engine->pcpus;
}

static int cores_core(CPUState *cpu)
{
    int pcpu = vsched_exec_pcpu(cpu);

    if (pcpu == VSCHED_NONE) {
        pcpu = vsched_engine->core->vcpu[vsched_vcpu(cpu)].pcpu;
    }
    return pcpu == VSCHED_NONE ? -1 : pcpu;
}

static unsigned cores_vm(CPUState *cpu)
{
    return vsched_engine->core->topology.vm[vsched_vcpu(cpu)];
}

static int64_t cores_cycles(CPUState *cpu, unsigned after)
{
    return vsched_exec_cycle(cpu, after);
}

static uint64_t cores_insns(CPUState *cpu, bool user)
{
    return vsched_engine->core->vcpu[vsched_vcpu(cpu)].insns[user];
}

static void cores_cut(void)
{
    vsched_engine->plugin_next = 0;
    vsched_cut();
}

static const QemuPluginCores cores = {
    .clock_hz = vsched_clock_hz,
    .cores = cores_count,
    .core = cores_core,
    .vm = cores_vm,
    .cycles = cores_cycles,
    .insns = cores_insns,
    .stall = vsched_stall,
    .executes = vsched_exec_is_running,
    .cut = cores_cut,
};

void vsched_plugin_cores_init(void)
{
    qemu_plugin_set_cores(&cores);
}

void vsched_plugin_begin(VschedEngine *e)
{
    e->plugin_next =
        qemu_plugin_listens(QEMU_PLUGIN_EV_CORES_REACHED) ? 0 : INT64_MAX;
}

static unsigned locked_translations(CPUState *cpu)
{
    const TCGCPUOps *ops = cpu->cc->tcg_ops;

    return ops->locked_translations ? ops->locked_translations(cpu) : 0;
}

int64_t vsched_plugin_switch_cost(VschedEngine *e, int pcpu, int vcpu,
                                  int before, int holder, int64_t now)
{
    struct qemu_plugin_core_switch s = {
        .core = pcpu,
        .vcpu_index = e->cpu[vcpu]->cpu_index,
        .before = before == VSCHED_NONE ? -1 : e->cpu[before]->cpu_index,
        .holder = holder == VSCHED_NONE ? -1 : holder,
        .cycle = now,
    };
    int64_t cycles = -1;

    if (unlikely(qemu_plugin_listens(QEMU_PLUGIN_EV_CORE_SWITCH))) {
        s.locked = locked_translations(e->cpu[vcpu]);
        if (before != VSCHED_NONE) {
            s.locked_before = locked_translations(e->cpu[before]);
        }
        cycles = qemu_plugin_core_switch(&s);
    }
    return cycles < 0 ? e->core->switch_cost : cycles;
}

void vsched_plugin_reached(VschedEngine *e, int64_t cycle)
{
    if (unlikely(qemu_plugin_listens(QEMU_PLUGIN_EV_CORES_REACHED))) {
        int64_t earliest = cycle;

        for (int p = 0; p < e->pcpus; p++) {
            earliest = MIN(earliest, e->core->pcpu[p].clock);
        }
        e->plugin_next = qemu_plugin_cores_reached(cycle, earliest);
    }
}

#else

void vsched_plugin_cores_init(void)
{
}

void vsched_plugin_begin(VschedEngine *e)
{
    e->plugin_next = INT64_MAX;
}

int64_t vsched_plugin_switch_cost(VschedEngine *e, int pcpu, int vcpu,
                                  int before, int holder, int64_t now)
{
    return e->core->switch_cost;
}

void vsched_plugin_reached(VschedEngine *e, int64_t cycle)
{
}

#endif
