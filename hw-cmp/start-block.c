/*
 * Start register block of the CMP machine.
 *
 * Firmware starts a VCPU through it, a VCPU stops itself through it, and a
 * program without an operating system ends QEMU through it with an exit
 * status.  Registers: docs/machine.rst.
 *
 * A VCPU is started with everything that it needs to run on the firmware's
 * trap table: the starter's locked TLB entries, clean register windows, traps
 * enabled and interrupts disabled.  Firmware that had to do this in code would
 * take TLB misses on several VCPUs at once, and its handlers share one stack.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/log.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "exec/cputlb.h"
#include "hw/core/cpu.h"
#include "hw/qdev-properties.h"
#include "migration/vmstate.h"
#include "system/runstate.h"
#include "vsched/vsched.h"
#include "start-block.h"
#include "trace.h"

enum {
    REG_ID          = 0x00,     /* RO */
    REG_CONFIG      = 0x08,     /* RO, 7:0 VCPUs, 15:8 PCPUs */
    REG_MODULE      = 0x10,     /* RW, module id that START and STATE mean */
    REG_PC          = 0x18,     /* RW */
    REG_ARGUMENT    = 0x20,     /* RW, %o0 */
    REG_TRAP_BASE   = 0x28,     /* RW, %tba */
    REG_COMMAND     = 0x30,     /* W: command; R: result of the last one */
    REG_STATE       = 0x38,     /* RO, of MODULE */
    REG_SHUTDOWN    = 0x40,     /* WO, 7:0 exit status of QEMU */
};

#define START_BLOCK_ID 0x434d505354415254ULL /* "CMPSTART" */

enum { COMMAND_START = 1, COMMAND_STOP = 2 };
enum { RESULT_DONE, RESULT_NO_MODULE, RESULT_NOT_STOPPED, RESULT_NO_COMMAND };
enum { STATE_STOPPED, STATE_RUNNING, STATE_NO_MODULE };

static SPARCCPU *start_block_module(const StartBlock *s)
{
    return s->module < CMP_MODULES ? s->cpu[s->module] : NULL;
}

/* Halted, and no interrupt can wake it. */
static bool vcpu_stopped(const StartBlock *s, const SPARCCPU *cpu)
{
    return CPU(cpu)->halted && !(cpu->env.pstate & PS_IE) &&
           !(s->starting & BIT(cpu->module_id));
}

static uint64_t start_block_state(const StartBlock *s)
{
    SPARCCPU *cpu = start_block_module(s);

    if (!cpu) {
        return STATE_NO_MODULE;
    }
    return vcpu_stopped(s, cpu) ? STATE_STOPPED : STATE_RUNNING;
}

static void copy_locked_entries(CPUSPARCState *env, SparcTLBEntry *to,
                                const SparcTLBEntry *from)
{
    for (int i = 0; i < 64; i++) {
        bool copy = TTE_IS_VALID(from[i].tte) && TTE_IS_LOCKED(from[i].tte);

        sparc_tlb_set_entry(env, &to[i], copy ? from[i].tag : 0,
                            copy ? from[i].tte : 0);
    }
}

static void start_flush_tlb(CPUState *cs, run_on_cpu_data data)
{
    tlb_flush(cs);
}

/* The VCPU is halted, so its registers are ours until it is kicked. */
static void start_block_run(CPUState *cs, void *opaque)
{
    StartBlock *s = opaque;

    s->starting &= ~BIT(SPARC_CPU(cs)->module_id);
    cs->halted = 0;
    async_run_on_cpu(cs, start_flush_tlb, RUN_ON_CPU_NULL);
    qemu_cpu_kick(cs);
}

static uint64_t start_block_start(StartBlock *s, SPARCCPU *starter)
{
    SPARCCPU *cpu = start_block_module(s);
    CPUSPARCState *env;

    if (!cpu) {
        return RESULT_NO_MODULE;
    }
    if (!vcpu_stopped(s, cpu)) {
        return RESULT_NOT_STOPPED;
    }

    trace_start_block_start(s->module, s->pc, s->argument);
    s->starts[s->module]++;
    env = &cpu->env;

    copy_locked_entries(env, env->itlb, starter->env.itlb);
    copy_locked_entries(env, env->dtlb, starter->env.dtlb);
    env->lsu = IMMU_E | DMMU_E;
    env->dmmu.mmu_primary_context = 0;
    env->dmmu.mmu_secondary_context = 0;

    cpu_change_pstate(env, PS_PRIV | PS_PEF);
    env->psrpil = 15;
    env->tl = 0;
    env->tbr = s->trap_base;
    env->asi = 0;
    env->fprs = 0;
    env->softint = 0;
    env->ivec_status = 0;
    env->interrupt_index = 0;

    cpu_set_cwp(env, 0);
    memset(env->gregs, 0, sizeof(env->gregs));
    memset(env->regbase, 0, sizeof(env->regbase));
    env->cansave = env->nwindows - 2;
    env->cleanwin = env->nwindows - 2;
    env->canrestore = 0;
    env->otherwin = 0;
    env->wstate = 0;
    env->regwptr[WREG_O0] = s->argument;
    env->pc = s->pc & ~3;
    env->npc = env->pc + 4;

    s->starting |= BIT(s->module);
    vsched_post(CPU(cpu), start_block_run, s);
    return RESULT_DONE;
}

/* The store that got here is the last instruction that @cpu executes. */
static uint64_t start_block_stop(StartBlock *s, SPARCCPU *cpu)
{
    trace_start_block_stop(cpu->module_id);
    s->stops[cpu->module_id]++;
    cpu->env.pstate &= ~PS_IE;  /* no interrupt wakes it */
    cpu_interrupt(CPU(cpu), CPU_INTERRUPT_HALT);
    return RESULT_DONE;
}

static uint64_t start_block_command(StartBlock *s, uint64_t command)
{
    SPARCCPU *cpu = SPARC_CPU(current_cpu);

    switch (command) {
    case COMMAND_START:
        return start_block_start(s, cpu);
    case COMMAND_STOP:
        return start_block_stop(s, cpu);
    default:
        return RESULT_NO_COMMAND;
    }
}

static uint64_t start_block_read(void *opaque, hwaddr addr, unsigned size)
{
    StartBlock *s = opaque;
    uint64_t val = 0;

    switch (addr) {
    case REG_ID:
        val = START_BLOCK_ID;
        break;
    case REG_CONFIG:
        val = s->pcpus << 8 | s->vcpus;
        break;
    case REG_MODULE:
        val = s->module;
        break;
    case REG_PC:
        val = s->pc;
        break;
    case REG_ARGUMENT:
        val = s->argument;
        break;
    case REG_TRAP_BASE:
        val = s->trap_base;
        break;
    case REG_COMMAND:
        val = s->result;
        break;
    case REG_STATE:
        val = start_block_state(s);
        break;
    default:
        qemu_log_mask(LOG_GUEST_ERROR, "%s: no readable register at 0x%"
                      HWADDR_PRIx "\n", __func__, addr);
        break;
    }
    trace_start_block_read(addr, val);
    return val;
}

static void start_block_write(void *opaque, hwaddr addr, uint64_t val,
                              unsigned size)
{
    StartBlock *s = opaque;

    trace_start_block_write(addr, val);
    switch (addr) {
    case REG_MODULE:
        s->module = val;
        break;
    case REG_PC:
        s->pc = val;
        break;
    case REG_ARGUMENT:
        s->argument = val;
        break;
    case REG_TRAP_BASE:
        s->trap_base = val;
        break;
    case REG_COMMAND:
        /* Only a VCPU can command, not a debugger. */
        s->result = current_cpu ? start_block_command(s, val)
                                : RESULT_NO_COMMAND;
        break;
    case REG_SHUTDOWN:
        s->exit_status = val & 0xff;
        qemu_system_shutdown_request_with_code(SHUTDOWN_CAUSE_GUEST_SHUTDOWN,
                                               s->exit_status);
        break;
    default:
        qemu_log_mask(LOG_GUEST_ERROR, "%s: no writable register at 0x%"
                      HWADDR_PRIx "\n", __func__, addr);
        break;
    }
}

static const MemoryRegionOps start_block_ops = {
    .read = start_block_read,
    .write = start_block_write,
    .endianness = DEVICE_BIG_ENDIAN,
    .valid = { .min_access_size = 8, .max_access_size = 8 },
    .impl = { .min_access_size = 8, .max_access_size = 8 },
};

static void start_block_reset(DeviceState *dev)
{
    StartBlock *s = START_BLOCK(dev);

    s->module = s->pc = s->argument = s->trap_base = s->result = 0;
    s->starting = 0;
    s->exit_status = 0;
}

static void start_block_get_total(Object *obj, Visitor *v, const char *name,
                                  void *opaque, Error **errp)
{
    const uint64_t *counter = (uint64_t *)((char *)obj + (uintptr_t)opaque);
    uint64_t total = 0;

    for (int i = 0; i < CMP_MODULES; i++) {
        total += counter[i];
    }
    visit_type_uint64(v, name, &total, errp);
}

static void start_block_init(Object *obj)
{
    StartBlock *s = START_BLOCK(obj);

    memory_region_init_io(&s->mmio, obj, &start_block_ops, s, "cmp-start-block",
                          START_BLOCK_SIZE);
    sysbus_init_mmio(SYS_BUS_DEVICE(obj), &s->mmio);

    object_property_add_uint8_ptr(obj, "exit-status", &s->exit_status,
                                  OBJ_PROP_FLAG_READ);
    object_property_set_description(obj, "exit-status",
                                    "what the guest wrote to SHUTDOWN");
    for (int i = 0; i < CMP_MODULES; i++) {
        g_autofree char *cpu = g_strdup_printf("cpu[%d]", i);
        g_autofree char *starts = g_strdup_printf("starts[%d]", i);
        g_autofree char *stops = g_strdup_printf("stops[%d]", i);

        object_property_add_link(obj, cpu, TYPE_SPARC_CPU,
                                 (Object **)&s->cpu[i],
                                 qdev_prop_allow_set_link_before_realize, 0);
        object_property_add_uint64_ptr(obj, starts, &s->starts[i],
                                       OBJ_PROP_FLAG_READ);
        object_property_add_uint64_ptr(obj, stops, &s->stops[i],
                                       OBJ_PROP_FLAG_READ);
    }
}

static const VMStateDescription vmstate_start_block = {
    .name = "cmp-start-block",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64(module, StartBlock),
        VMSTATE_UINT64(pc, StartBlock),
        VMSTATE_UINT64(argument, StartBlock),
        VMSTATE_UINT64(trap_base, StartBlock),
        VMSTATE_UINT64(result, StartBlock),
        VMSTATE_UINT64_ARRAY(starts, StartBlock, CMP_MODULES),
        VMSTATE_UINT64_ARRAY(stops, StartBlock, CMP_MODULES),
        VMSTATE_END_OF_LIST()
    },
};

static const Property start_block_properties[] = {
    DEFINE_PROP_UINT32("vcpus", StartBlock, vcpus, 1),
    DEFINE_PROP_UINT32("pcpus", StartBlock, pcpus, 1),
};

static void start_block_class_init(ObjectClass *oc, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(oc);

    dc->desc = "Start register block of the CMP";
    dc->user_creatable = false;
    dc->vmsd = &vmstate_start_block;
    device_class_set_props(dc, start_block_properties);
    device_class_set_legacy_reset(dc, start_block_reset);
    object_class_property_add(oc, "starts", "uint64", start_block_get_total,
                              NULL, NULL,
                              (void *)offsetof(StartBlock, starts));
    object_class_property_set_description(oc, "starts", "VCPUs started");
    object_class_property_add(oc, "stops", "uint64", start_block_get_total,
                              NULL, NULL,
                              (void *)offsetof(StartBlock, stops));
    object_class_property_set_description(oc, "stops",
                                          "VCPUs that stopped themselves");
}

static const TypeInfo start_block_types[] = {
    {
        .name = TYPE_START_BLOCK,
        .parent = TYPE_SYS_BUS_DEVICE,
        .instance_size = sizeof(StartBlock),
        .instance_init = start_block_init,
        .class_init = start_block_class_init,
    },
};

DEFINE_TYPES(start_block_types)
