/*
 * The CMP machines: a sun4u board with up to 32 VCPUs that share PCPUs.
 *
 * "cmp8" has eight PCPUs, as the chip of Wells, Chakraborty and Sohi; "cmp"
 * has as many as one likes.  Both have sun4u's devices, interrupt vectors
 * between VCPUs (cmp-mondo.c) and a start register block (start-block.c).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/accel.h"
#include "qemu/datadir.h"
#include "qemu/error-report.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "qobject/qobject.h"
#include "qom/qom-qobject.h"
#include "hw/boards.h"
#include "hw/fw-path-provider.h"
#include "hw/qdev-properties.h"
#include "hw/sparc/sparc64.h"
#include "hw/sparc/sun4u.h"
#include "migration/vmstate.h"
#include "vsched/vsched.h"
#include "cpu.h"
#include "cmp-mondo.h"
#include "cmp-tlb.h"
#include "image.h"
#include "start-block.h"

#define CMP_PCPUS_MAX       64
#define CMP_PCPUS_DEFAULT   8
#define CMP_FIRMWARE        "openbios-cmp"
#define CMP_RAM_MAX         (4 * GiB)   /* tried: OpenBIOS traps above */
/*
 * Linux maps memory with pages of 8 MiB.  What is left over, nothing on real
 * machines, it maps with pages of 8 KiB, which its TLB miss handler (ktlb.S,
 * kvmap_linear_patch) takes for pages of 4 MiB.
 */
#define CMP_RAM_STEP        (8 * MiB)
/*
 * Processors on which firmware, Linux and the programs of guests/bare-metal
 * have been tried.  Those with other numbers of register windows, UltraSPARC
 * IIe, III and later and all of sun4v failed.
 */
static const char *const cmp_cpu_types[] = {
    SPARC_CPU_TYPE_NAME("TI-UltraSparc-I"),
    SPARC_CPU_TYPE_NAME("TI-UltraSparc-II"),
    SPARC_CPU_TYPE_NAME("TI-UltraSparc-IIi"),
    SPARC_CPU_TYPE_NAME("NEC-UltraSparc-I"),
    SPARC_CPU_TYPE_NAME("Fujitsu-Sparc64-IV"),
    SPARC_CPU_TYPE_NAME("Fujitsu-Sparc64-V"),
    NULL
};
/* What of such a processor the guests rely on */
#define CMP_CPU_FEATURES    (CPU_FEATURE_HYPV | CPU_FEATURE_GL | \
                             CPU_FEATURE_CMT | CPU_FEATURE_VIS1)
/*
 * Linux keeps property clock-frequency of a cpu node, what %tick counts in a
 * second, as a signed number of 32 bits; with a larger one it never comes back
 * from udelay().
 */
#define CMP_TICK_HZ_MAX     INT32_MAX
/* In the bridge's UPA address range, above what the bridge itself uses. */
#define START_BLOCK_BASE    0x1fe0f000000ULL

#define TYPE_CMP_MACHINE "cmp-common" TYPE_MACHINE_SUFFIX
OBJECT_DECLARE_TYPE(CmpMachine, CmpMachineClass, CMP_MACHINE)

struct CmpMachineClass {
    MachineClass parent_class;

    uint32_t fixed_pcpus;       /* 0: property "pcpus" decides */
};

struct CmpMachine {
    MachineState parent_obj;

    CmpMondo *mondo;
    StartBlock *start_block;

    uint32_t pcpus;
    uint32_t vcpus;             /* 0: not given, as many as PCPUs */
    bool shared_tick;
    bool saved_shared_tick;     /* in a state that is loaded */
    bool pcpu_tlb;              /* tlb=pcpu */
    bool saved_pcpu_tlb;
    SharedTlb *tlb;             /* with tlb=pcpu */
    uint8_t *tlb_state;         /* while it is saved or loaded */
    uint32_t tlb_state_size;
};

/*
 * Number of VCPUs
 *
 * MachineState.smp is what QEMU works with, and -smp and vcpus= may come in
 * any order.  Until one of them does, smp.sockets is 0, which -smp cannot
 * give.
 */

static bool cmp_smp_given(const MachineState *machine)
{
    return machine->smp.sockets != 0;
}

static void cmp_update_smp(CmpMachine *cmp)
{
    MachineState *machine = MACHINE(cmp);

    if (!cmp_smp_given(machine)) {
        machine->smp.cpus = machine->smp.max_cpus =
            cmp->vcpus ?: MIN(cmp->pcpus, CMP_MODULES);
    }
}

/* A property of the machine that is used up when its parts are made. */
static bool cmp_too_late(const char *name, Error **errp)
{
    if (phase_check(PHASE_ACCEL_CREATED)) {
        error_setg(errp, "'%s' of the machine cannot be changed any more",
                   name);
        return true;
    }
    return false;
}

static bool cmp_check_vcpus(CmpMachine *cmp, Error **errp)
{
    MachineState *machine = MACHINE(cmp);

    if (cmp_smp_given(machine)) {
        if (cmp->vcpus && cmp->vcpus != machine->smp.cpus) {
            error_setg(errp, "-smp says %u CPUs and vcpus= says %u: give one "
                       "of them, or the same number", machine->smp.cpus,
                       cmp->vcpus);
            return false;
        }
        if (machine->smp.cpus != machine->smp.max_cpus) {
            error_setg(errp, "-smp maxcpus=%u is more than cpus=%u: VCPUs "
                       "cannot be added to a running machine",
                       machine->smp.max_cpus, machine->smp.cpus);
            return false;
        }
        return true;
    }
    if (!cmp->vcpus && cmp->pcpus > CMP_MODULES) {
        error_setg(errp, "pcpus=%u needs vcpus=: one VCPU a PCPU would be "
                   "more than %d, and a module id has 5 bits", cmp->pcpus,
                   CMP_MODULES);
        return false;
    }
    machine->smp.sockets = 1;
    machine->smp.cores = machine->smp.cpus;
    return true;
}

static void cmp_get_vcpus(Object *obj, Visitor *v, const char *name,
                          void *opaque, Error **errp)
{
    uint32_t value = MACHINE(obj)->smp.cpus;

    visit_type_uint32(v, name, &value, errp);
}

static void cmp_set_vcpus(Object *obj, Visitor *v, const char *name,
                          void *opaque, Error **errp)
{
    CmpMachine *cmp = CMP_MACHINE(obj);
    int64_t value;

    if (cmp_too_late(name, errp)) {
        return;
    }
    if (!visit_type_int(v, name, &value, NULL)) {
        error_setg(errp, "%s is not a whole number: allowed are 1 to %d VCPUs",
                   name, CMP_MODULES);
        return;
    }
    if (value < 1 || value > CMP_MODULES) {
        error_setg(errp, "vcpus=%" PRId64 " is not possible: 1 to %d VCPUs, "
                   "because a UPA module id has 5 bits", value, CMP_MODULES);
        return;
    }
    cmp->vcpus = value;
    cmp_update_smp(cmp);
}

/* The engine has as many; it gets its parameters through the accelerator. */
static void cmp_tell_pcpus(CmpMachine *cmp, uint32_t pcpus)
{
    g_autofree char *text = g_strdup_printf("%u", pcpus);

    cmp->pcpus = pcpus;
    vsched_machine_option("pcpus", text);
}

static void cmp_get_pcpus(Object *obj, Visitor *v, const char *name,
                          void *opaque, Error **errp)
{
    visit_type_uint32(v, name, &CMP_MACHINE(obj)->pcpus, errp);
}

static void cmp_set_pcpus(Object *obj, Visitor *v, const char *name,
                          void *opaque, Error **errp)
{
    CmpMachine *cmp = CMP_MACHINE(obj);
    CmpMachineClass *cmc = CMP_MACHINE_GET_CLASS(obj);
    int64_t value;

    if (cmp_too_late(name, errp)) {
        return;
    }
    if (!visit_type_int(v, name, &value, NULL)) {
        error_setg(errp, "%s is not a whole number: allowed are 1 to %d PCPUs",
                   name, CMP_PCPUS_MAX);
        return;
    }
    if (cmc->fixed_pcpus && value != cmc->fixed_pcpus) {
        error_setg(errp, "pcpus=%" PRId64 " is not possible: machine '%s' has "
                   "%u PCPUs; machine 'cmp' has any number from 1 to %d",
                   value, MACHINE_CLASS(cmc)->name, cmc->fixed_pcpus,
                   CMP_PCPUS_MAX);
        return;
    }
    if (value < 1 || value > CMP_PCPUS_MAX) {
        error_setg(errp, "pcpus=%" PRId64 " is not possible: 1 to %d PCPUs",
                   value, CMP_PCPUS_MAX);
        return;
    }
    cmp_tell_pcpus(cmp, value);
    cmp_update_smp(cmp);
}

static bool cmp_get_shared_tick(Object *obj, Error **errp)
{
    return CMP_MACHINE(obj)->shared_tick;
}

static void cmp_set_shared_tick(Object *obj, bool value, Error **errp)
{
    if (!cmp_too_late("shared-tick", errp)) {
        CMP_MACHINE(obj)->shared_tick = value;
    }
}

static char *cmp_get_tlb(Object *obj, Error **errp)
{
    return g_strdup(CMP_MACHINE(obj)->pcpu_tlb ? "pcpu" : "vcpu");
}

static void cmp_set_tlb(Object *obj, const char *value, Error **errp)
{
    bool pcpu = g_str_equal(value, "pcpu");

    if (cmp_too_late("tlb", errp)) {
        return;
    }
    if (!pcpu && !g_str_equal(value, "vcpu")) {
        error_setg(errp, "tlb=%s: allowed are vcpu, pcpu", value);
        return;
    }
    CMP_MACHINE(obj)->pcpu_tlb = pcpu;
}

/* Machine */

static void cmp_check_memory(MachineState *machine, Error **errp)
{
    if (machine->ram_size % CMP_RAM_STEP || machine->ram_size > CMP_RAM_MAX) {
        bool whole = machine->ram_size % MiB == 0;

        error_setg(errp, "%" PRIu64 " %s of memory are not possible: allowed"
                   " are multiples of %" PRIu64 " MiB up to %" PRIu64 " MiB",
                   machine->ram_size / (whole ? MiB : KiB),
                   whole ? "MiB" : "KiB", CMP_RAM_STEP / MiB,
                   CMP_RAM_MAX / MiB);
    }
}

static void cmp_check_firmware(MachineState *machine, Error **errp)
{
    ERRP_GUARD();
    const char *name = machine->firmware ?: CMP_FIRMWARE;
    g_autofree char *file = qemu_find_file(QEMU_FILE_TYPE_BIOS, name);

    if (!file) {
        error_setg(errp, "firmware '%s' not found", name);
        error_append_hint(errp, "It is OpenBIOS with several CPUs; "
                          "scripts/build/openbios builds it.  Give its "
                          "directory with -L or the file with -bios.\n");
        return;
    }
    image_check_firmware(file, errp);
}

/* The board puts the initial RAM disk on the first page above the kernel. */
static void cmp_check_kernel(MachineState *machine, Error **errp)
{
    uint64_t top;

    if (!machine->kernel_filename) {
        return;
    }
    top = image_check_kernel(machine->kernel_filename, machine->ram_size,
                             machine->kernel_cmdline, errp);
    if (top && machine->initrd_filename) {
        image_check_initrd(machine->initrd_filename, TARGET_PAGE_ALIGN(top),
                           machine->ram_size, errp);
    }
}

/* -cpu can make another processor of one that is possible. */
static void cmp_check_cpu(SPARCCPU *cpu, Error **errp)
{
    const sparc_def_t *model = SPARC_CPU_GET_CLASS(cpu)->cpu_def;
    const sparc_def_t *def = &cpu->env.def;

    if (def->nwindows != model->nwindows ||
        def->iu_version != model->iu_version ||
        def->fpu_version != model->fpu_version ||
        def->mmu_version != model->mmu_version ||
        (def->features ^ model->features) & CMP_CPU_FEATURES) {
        error_setg(errp, "nwindows, iu-version, fpu-version, mmu-version, "
                   "hypv, gl, cmt and vis1 of the processor have to be those "
                   "of %s: the firmware and Linux rely on them", model->name);
    }
}

/* Properties of a processor that the machine sets */
static const char *const cmp_cpu_own[] = {
    "module-id", "tick-read-only", "tick-frequency",
};

static void cmp_check_cpu_own(SPARCCPU *cpu, Error **errp)
{
    for (int i = 0; i < ARRAY_SIZE(cmp_cpu_own); i++) {
        ObjectProperty *p = object_property_find(OBJECT(cpu), cmp_cpu_own[i]);
        QObject *value = object_property_get_qobject(OBJECT(cpu), p->name,
                                                     &error_abort);
        bool given = !qobject_is_equal(value, p->defval);

        qobject_unref(value);
        if (given) {
            error_setg(errp, "%s of the processor is what the machine says:"
                       " it cannot be given", p->name);
            return;
        }
    }
}

/* -accel has a pcpus= as well. */
static void cmp_check_pcpus(CmpMachine *cmp, Error **errp)
{
    Object *engine = object_resolve_path("/vsched", NULL);
    uint64_t pcpus;

    if (!engine) {
        return;
    }
    pcpus = object_property_get_uint(engine, "pcpus", &error_abort);
    if (pcpus != cmp->pcpus) {
        error_setg(errp, "-accel says %" PRIu64 " PCPUs and the machine has"
                   " %u: give pcpus= to the machine alone, or the same number",
                   pcpus, cmp->pcpus);
    }
}

/* VMState of the machine itself: what has to be the same, and TLBs of PCPUs */

static bool cmp_same(const char *property, const char *saved, const char *here)
{
    if (!g_str_equal(saved, here)) {
        error_report("the saved state has %s=%s, this machine %s=%s: they have "
                     "to be the same", property, saved, property, here);
        return false;
    }
    return true;
}

static bool cmp_tlb_needed(void *opaque)
{
    CmpMachine *cmp = opaque;

    return cmp->tlb;
}

static int cmp_tlb_pre_save(void *opaque)
{
    CmpMachine *cmp = opaque;
    g_autoptr(GVariant) state = g_variant_ref_sink(shared_tlb_save(cmp->tlb));

    g_free(cmp->tlb_state);
    cmp->tlb_state_size = g_variant_get_size(state);
    cmp->tlb_state = g_malloc(cmp->tlb_state_size);
    g_variant_store(state, cmp->tlb_state);
    return 0;
}

static int cmp_tlb_post_load(void *opaque, int version_id)
{
    CmpMachine *cmp = opaque;
    g_autoptr(GVariant) state = NULL;
    g_autofree char *why = NULL;

    cmp->saved_pcpu_tlb = true;
    if (!cmp->tlb) {
        return 0;               /* cmp_post_load() refuses it. */
    }
    state = g_variant_ref_sink(g_variant_new_from_data(
        G_VARIANT_TYPE(SHARED_TLB_STATE), cmp->tlb_state, cmp->tlb_state_size,
        false, NULL, NULL));
    if (!shared_tlb_load(cmp->tlb, state, &why)) {
        error_report("the saved state: %s", why);
        return -EINVAL;
    }
    return 0;
}

/* More than 64 PCPUs with 128 entries each have */
#define CMP_TLB_STATE_MAX (1 << 19)

static bool cmp_tlb_state_possible(void *opaque, int version_id)
{
    CmpMachine *cmp = opaque;

    return cmp->tlb_state_size <= CMP_TLB_STATE_MAX;
}

static const VMStateDescription vmstate_cmp_tlb = {
    .name = "cmp/tlb",
    .version_id = 1,
    .minimum_version_id = 1,
    .needed = cmp_tlb_needed,
    .pre_save = cmp_tlb_pre_save,
    .post_load = cmp_tlb_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(tlb_state_size, CmpMachine),
        VMSTATE_VALIDATE("TLBs of a possible size", cmp_tlb_state_possible),
        VMSTATE_VBUFFER_ALLOC_UINT32(tlb_state, CmpMachine, 1, NULL,
                                     tlb_state_size),
        VMSTATE_END_OF_LIST()
    }
};

static int cmp_pre_save(void *opaque)
{
    CmpMachine *cmp = opaque;

    cmp->saved_shared_tick = cmp->shared_tick;
    return 0;
}

static int cmp_pre_load(void *opaque)
{
    CmpMachine *cmp = opaque;

    cmp->saved_pcpu_tlb = false;
    return 0;
}

static int cmp_post_load(void *opaque, int version_id)
{
    CmpMachine *cmp = opaque;

    return cmp_same("shared-tick", cmp->saved_shared_tick ? "on" : "off",
                    cmp->shared_tick ? "on" : "off") &&
           cmp_same("tlb", cmp->saved_pcpu_tlb ? "pcpu" : "vcpu",
                    cmp->pcpu_tlb ? "pcpu" : "vcpu") ? 0 : -EINVAL;
}

static const VMStateDescription vmstate_cmp = {
    .name = "cmp",
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = cmp_pre_save,
    .pre_load = cmp_pre_load,
    .post_load = cmp_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_BOOL(saved_shared_tick, CmpMachine),
        VMSTATE_END_OF_LIST()
    },
    .subsections = (const VMStateDescription * const []) {
        &vmstate_cmp_tlb,
        NULL
    }
};

/*
 * %tick counts every cycle, or every second, third, ... if there are too many
 * for Linux.  With 3 GHz it counts 1500000000 in a second.
 */
static uint32_t cmp_tick_frequency(void)
{
    uint64_t hz = vsched_clock_hz();

    return hz / DIV_ROUND_UP(hz, CMP_TICK_HZ_MAX);
}

static void cmp_create_vcpus(CmpMachine *cmp)
{
    MachineState *machine = MACHINE(cmp);
    uint32_t tick_frequency = cmp_tick_frequency();

    for (unsigned int i = 0; i < machine->smp.cpus; i++) {
        Object *cpu = object_new(machine->cpu_type);
        g_autofree char *name = g_strdup_printf("vcpu[%u]", i);
        g_autofree char *link = g_strdup_printf("cpu[%u]", i);

        object_property_add_child(OBJECT(machine), name, cpu);
        object_unref(cpu);
        cmp_check_cpu(SPARC_CPU(cpu), &error_fatal);
        cmp_check_cpu_own(SPARC_CPU(cpu), &error_fatal);
        object_property_set_uint(cpu, "module-id", i, &error_abort);
        object_property_set_bool(cpu, "tick-read-only", cmp->shared_tick,
                                 &error_abort);
        object_property_set_uint(cpu, "tick-frequency", tick_frequency,
                                 &error_abort);
        object_property_set_bool(cpu, "start-powered-off", i > 0,
                                 &error_abort);
        cmp_mondo_add_cpu(cmp->mondo, SPARC_CPU(cpu));
        object_property_set_link(OBJECT(cmp->start_block), link, cpu,
                                 &error_abort);
        sparc64_cpu_realize(SPARC_CPU(cpu), SUN4U_PROM_ADDR);
    }
}

static void cmp_init(MachineState *machine)
{
    CmpMachine *cmp = CMP_MACHINE(machine);
    SysBusDevice *start_block;
    Sun4uBoard board = {
        .machine_id = 0,        /* sun4u */
        .prom_addr = SUN4U_PROM_ADDR,
        .prom_filename = CMP_FIRMWARE,
    };

    if (!cmp_check_vcpus(cmp, &error_fatal)) {
        return;
    }
    cmp_check_memory(machine, &error_fatal);
    cmp_check_firmware(machine, &error_fatal);
    cmp_check_kernel(machine, &error_fatal);
    cmp_check_pcpus(cmp, &error_fatal);

    cmp->mondo = CMP_MONDO(qdev_new(TYPE_CMP_MONDO));
    object_property_add_child(OBJECT(machine), "mondo", OBJECT(cmp->mondo));
    qdev_realize_and_unref(DEVICE(cmp->mondo), NULL, &error_fatal);

    cmp->start_block = START_BLOCK(qdev_new(TYPE_START_BLOCK));
    object_property_add_child(OBJECT(machine), "start-block",
                              OBJECT(cmp->start_block));
    start_block = SYS_BUS_DEVICE(cmp->start_block);
    qdev_prop_set_uint32(DEVICE(start_block), "vcpus", machine->smp.cpus);
    qdev_prop_set_uint32(DEVICE(start_block), "pcpus", cmp->pcpus);

    cmp_create_vcpus(cmp);
    if (cmp->pcpu_tlb) {
        cmp->tlb = cmp_tlb_start(OBJECT(machine), &error_fatal);
    }

    sysbus_realize_and_unref(start_block, &error_fatal);
    sysbus_mmio_map(start_block, 0, START_BLOCK_BASE);

    board.vector_sink = OBJECT(cmp->mondo);
    sun4u_board_init(machine, &board);
    vmstate_register(NULL, 0, &vmstate_cmp, cmp);
}

static void cmp_instance_init(Object *obj)
{
    CmpMachine *cmp = CMP_MACHINE(obj);

    cmp_tell_pcpus(cmp, CMP_MACHINE_GET_CLASS(obj)->fixed_pcpus ?:
                        CMP_PCPUS_DEFAULT);
    cmp->shared_tick = true;
    MACHINE(obj)->smp.sockets = 0;
    cmp_update_smp(cmp);
    /* Unless -accel says otherwise, this machine runs on its PCPUs. */
    vsched_machine_option("thread", "vsched");
}

static void cmp_class_init(ObjectClass *oc, void *data)
{
    object_class_property_add(oc, "vcpus", "int", cmp_get_vcpus,
                              cmp_set_vcpus, NULL, NULL);
    object_class_property_set_description(oc, "vcpus",
        "Processors that the guest sees, 1 to 32 (default: as many as PCPUs)");
    object_class_property_add(oc, "pcpus", "int", cmp_get_pcpus,
                              cmp_set_pcpus, NULL, NULL);
    object_class_property_set_description(oc, "pcpus",
        "Simulated cores: 8 with cmp8, 1 to 64 with cmp (default: 8; above 32,"
        " give vcpus)");
    object_class_property_add_bool(oc, "shared-tick", cmp_get_shared_tick,
                                   cmp_set_shared_tick);
    object_class_property_set_description(oc, "shared-tick",
        "All VCPUs read one %tick and cannot write it (default: on)");
    object_class_property_add_str(oc, "tlb", cmp_get_tlb, cmp_set_tlb);
    object_class_property_set_description(oc, "tlb",
        "Whose the TLBs are: vcpu; or pcpu, then locked entries go with the "
        "VCPU and all others stay (default: vcpu)");
    vsched_machine_class_options(oc);
}

/* VCPUs run on PCPUs, unless -accel says otherwise. */
static GlobalProperty cmp_defaults[] = {
    { "tcg" ACCEL_CLASS_SUFFIX, "thread", "vsched" },
};

/* What QEMU keeps with each machine type and does not inherit */
static void cmp_concrete_class_init(ObjectClass *oc)
{
    MachineClass *mc = MACHINE_CLASS(oc);

    sun4u_board_class_init(oc);
    /* The engine says which PCPUs a state can be loaded with: all can. */
    mc->migration_name = "cmp";
    mc->init = cmp_init;
    mc->max_cpus = CMP_MODULES;
    mc->default_cpus = CMP_PCPUS_DEFAULT;
    mc->default_cpu_type = SPARC_CPU_TYPE_NAME("TI-UltraSparc-II");
    mc->valid_cpu_types = cmp_cpu_types;
    mc->default_ram_size = 512 * MiB;
    mc->default_display = "none";
    compat_props_add(mc->compat_props, cmp_defaults,
                     G_N_ELEMENTS(cmp_defaults));
}

static void cmp8_class_init(ObjectClass *oc, void *data)
{
    cmp_concrete_class_init(oc);
    MACHINE_CLASS(oc)->desc = "Chip multiprocessor with 8 PCPUs (sun4u)";
    CMP_MACHINE_CLASS(oc)->fixed_pcpus = 8;
}

static void cmp_any_class_init(ObjectClass *oc, void *data)
{
    cmp_concrete_class_init(oc);
    MACHINE_CLASS(oc)->desc = "Chip multiprocessor with 1 to 64 PCPUs (sun4u)";
}

static const TypeInfo cmp_types[] = {
    {
        .name = TYPE_CMP_MACHINE,
        .parent = TYPE_MACHINE,
        .abstract = true,
        .instance_size = sizeof(CmpMachine),
        .instance_init = cmp_instance_init,
        .class_size = sizeof(CmpMachineClass),
        .class_init = cmp_class_init,
        .interfaces = (InterfaceInfo[]) {
            { TYPE_FW_PATH_PROVIDER },
            { }
        },
    },
    {
        .name = MACHINE_TYPE_NAME("cmp8"),
        .parent = TYPE_CMP_MACHINE,
        .class_init = cmp8_class_init,
    },
    {
        .name = MACHINE_TYPE_NAME("cmp"),
        .parent = TYPE_CMP_MACHINE,
        .class_init = cmp_any_class_init,
    },
};

DEFINE_TYPES(cmp_types)
