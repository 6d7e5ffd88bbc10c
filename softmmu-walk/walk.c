/*
 * The paging model in a machine: page walks of QEMU's go to it, and what they
 * cost goes to the clock of the PCPU.
 *
 *   -accel tcg,thread=vsched,paging=MODE[,paging-config=FILE]
 *
 * QEMU's TLB of a VCPU is a subset of the first level, for data, of the TLB of
 * the PCPU that it is on: what the model evicts, QEMU's TLB loses, and all of
 * it when the VCPU moves to another PCPU.  Fetches are told when a block is
 * executed that is on another page than the one before.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <math.h>
#include "qemu/error-report.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-paging.h"
#include "qapi/qapi-events-paging.h"
#include "accel/tcg/cpu-ops.h"
#include "accel/vsched/devices.h"
#include "accel/vsched/engine.h"
#include "exec/address-spaces.h"
#include "exec/memory.h"
#include "exec/page-walk.h"
#include "exec/cputlb.h"
#include "migration/vmstate.h"
#include "qemu/timer.h"
#include "system/reset.h"
#include "vsched/vsched.h"
#include "dsp.h"
#include "walk-model.h"

/* Beyond what a guest's physical addresses reach, as the cache model has it */
#define TABLES_BASE (UINT64_C(1) << 53)

#define NOWHERE UINT64_MAX
#define PAGE UINT64_C(4096)             /* of x86 */

typedef struct PagingVCPU {
    int home;                   /* the PCPU that QEMU's TLB is a subset of */
    uint64_t code_page;         /* of the block before, or NOWHERE */
    bool lost;                  /* an exit has emptied the TLB: that page too */
    bool off;                   /* the guest's paging is */
} PagingVCPU;

static struct {
    WalkModel *model;
    VschedListener *listener;   /* of each PCPU */
    PagingVCPU *vcpu;
    unsigned pcpus, vcpus, vms;
    GHashTable *watched;        /* &ram_addr_t of a page: its gfn + 1 */
    bool fetching;              /* a walk for a block that is executed */
    Dsp *dsp;
    QEMUTimer *sampler;         /* of simulated time: at a window's end */
    QEMUTimer *scanner;         /* of agile paging: the same */
    bool *was_sampled;          /* of each VM: query-dsp has it */
    bool begins_with_dsp;       /* paging=dsp, also after a reset */
    uint8_t *state;             /* while it is saved or loaded */
    uint32_t state_size;
} P;

/* --- QEMU's TLBs --- */

static CPUState *cpu_of(unsigned vcpu)
{
    return vsched_engine->cpu[vcpu];
}

static void lose(unsigned vcpu, uint64_t address, uint64_t size)
{
    if (cpu_of(vcpu)) {
        tlb_evict(cpu_of(vcpu), address, size);
    }
}

static void evicted(void *opaque, unsigned pcpu, WalkSide side,
                    uint64_t address, WalkSize size, WalkTag tag)
{
    unsigned vcpu = tag.vpid - 1;
    uint64_t bytes = UINT64_C(1) << walk_size_shift(size);
    PagingVCPU *v = &P.vcpu[vcpu];

    if (v->home != (int)pcpu) {
        return;
    }
    if (side == WALK_DATA) {
        lose(vcpu, address, bytes);
    } else if (v->code_page - address < bytes) {
        v->code_page = NOWHERE;
    }
}

static void flushed(void *opaque, unsigned pcpu)
{
    for (unsigned i = 0; i < P.vcpus; i++) {
        if (P.vcpu[i].home == (int)pcpu) {
            lose(i, 0, 0);
            P.vcpu[i].lost = true;
        }
    }
}

static void switched(VschedListener *l, int64_t at, int vcpu, int before,
                     bool user)
{
    PagingVCPU *v;

    if (vcpu < 0) {
        return;
    }
    v = &P.vcpu[vcpu];
    if (v->home != l->pcpu) {
        lose(vcpu, 0, 0);
        v->home = l->pcpu;
    }
    walk_model_switched(P.model, l->pcpu, vcpu);
    v->code_page = NOWHERE;
    v->lost = false;
}

static const VschedListenerOps listener_ops = {
    .name = "paging",
    .switched = switched,
};

/* --- The guest's memory --- */

/* The page of RAM at @gfn, or RAM_ADDR_INVALID */
static uint64_t ram_of(uint64_t gfn)
{
    MemoryRegionSection s = memory_region_find(get_system_memory(),
                                               gfn * PAGE, PAGE);
    uint64_t ram = RAM_ADDR_INVALID;

    if (s.mr && memory_region_is_ram(s.mr)) {
        ram = memory_region_get_ram_addr(s.mr) + s.offset_within_region;
    }
    memory_region_unref(s.mr);
    return ram;
}

static uint64_t read_entry(void *opaque, unsigned vm, uint64_t gpa,
                           unsigned size)
{
    uint64_t value = 0;

    address_space_read(&address_space_memory, gpa, MEMTXATTRS_UNSPECIFIED,
                       &value, size);
    return le64_to_cpu(value);
}

/* Writes to a page that is watched leave generated code. */
static void watch(void *opaque, unsigned vm, uint64_t gfn, bool on)
{
    uint64_t ram = ram_of(gfn);

    if (ram == RAM_ADDR_INVALID) {
        return;
    }
    if (on) {
        g_hash_table_insert(P.watched, g_memdup2(&ram, sizeof(ram)),
                            GSIZE_TO_POINTER(gfn + 1));
        tlb_reset_dirty_range_all(ram, PAGE);
    } else {
        g_hash_table_remove(P.watched, &ram);
    }
}

static bool is_watched(ram_addr_t page)
{
    uint64_t key = page;

    return g_hash_table_contains(P.watched, &key);
}

/* --- What the guest does --- */

/* The VCPU that executes, and its PCPU; false: it does not execute. */
static bool where(CPUState *cpu, int *vcpu, int *pcpu)
{
    if (!cpu->accel) {
        return false;
    }
    *vcpu = vsched_vcpu(cpu);
    *pcpu = vsched_exec_pcpu(cpu);
    return *pcpu != VSCHED_NONE;
}

static void charge(CPUState *cpu, int64_t cycles)
{
    if (cycles) {
        vsched_stall(cpu, cycles);
    }
}

static WalkFormat format_of(unsigned levels)
{
    return levels == 2 ? WALK_32 : levels == 3 ? WALK_PAE :
           levels == 4 ? WALK_64 : WALK_57;
}

static void fetch(CPUState *cpu, int vcpu, int pcpu, uint64_t page);

/*
 * If there was an exit, the guest goes on where it was, which is to be fetched
 * again; at once, for blocks of one page may follow each other without a look.
 */
static void go_on(CPUState *cpu, int vcpu, int pcpu)
{
    PagingVCPU *v = &P.vcpu[vcpu];

    if (v->lost) {
        v->lost = false;
        if (v->code_page != NOWHERE) {
            fetch(cpu, vcpu, pcpu, v->code_page);
        }
    }
}

/* The same, but the guest goes on elsewhere: it is looked at anyway. */
static void go_elsewhere(int vcpu)
{
    P.vcpu[vcpu].lost = false;
    P.vcpu[vcpu].code_page = NOWHERE;
}

static void walked(CPUState *cpu, const PageWalk *w)
{
    bool code = w->access_type == MMU_INST_FETCH;
    WalkAccess a = {
        .address = w->addr,
        .code = code,
        .write = w->access_type == MMU_DATA_STORE,
        .user = w->user,
        .format = format_of(w->levels),
        .last = w->levels - w->entries + 1,
        .fault = w->fault,
        .global = w->global,
        .gpa = w->paddr,
    };
    int vcpu, pcpu;

    if (!w->entries || (code && !w->fault && !P.fetching) ||
        !where(cpu, &vcpu, &pcpu)) {
        return;
    }
    a.vcpu = vcpu;
    a.pcpu = pcpu;
    for (unsigned i = 0; i < w->entries; i++) {
        a.entry[w->levels - i] = w->entry[i].addr;
        a.value[w->levels - i] = w->entry[i].after;
    }
    a.was_accessed = w->entry[w->entries - 1].before & WALK_PTE_ACCESSED;
    charge(cpu, walk_model_access(P.model, &a));
    if (w->fault) {
        go_elsewhere(vcpu);
    } else if (!code) {
        go_on(cpu, vcpu, pcpu);
    }
}

/* The modelled TLB for code does not have the page: a walk for it. */
static void fetch(CPUState *cpu, int vcpu, int pcpu, uint64_t page)
{
    if (!walk_model_has(P.model, pcpu, vcpu, true, page)) {
        P.fetching = true;
        cpu->cc->tcg_ops->tlb_fill(cpu, page, 0, MMU_INST_FETCH,
                                   cpu->cc->mmu_index(cpu, true), true, 0);
        P.fetching = false;
    }
}

static void code(CPUState *cpu, vaddr pc, bool more)
{
    uint64_t page = pc & ~(PAGE - 1);
    int vcpu, pcpu;

    if (!where(cpu, &vcpu, &pcpu) || P.vcpu[vcpu].off ||
        (P.vcpu[vcpu].code_page == page && !more)) {
        return;
    }
    fetch(cpu, vcpu, pcpu, page);
    if (more) {
        page += PAGE;
        fetch(cpu, vcpu, pcpu, page);
    }
    P.vcpu[vcpu].code_page = page;
    P.vcpu[vcpu].lost = false;
}

static void root(CPUState *cpu, hwaddr root, unsigned levels, bool all)
{
    int vcpu, pcpu;

    if (!where(cpu, &vcpu, &pcpu)) {
        return;
    }
    P.vcpu[vcpu].off = !levels;
    if (levels) {
        charge(cpu, walk_model_root(P.model, pcpu, vcpu, root,
                                    format_of(levels), 0,
                                    all ? WALK_FLUSH_ALL : WALK_FLUSH));
    }
    go_elsewhere(vcpu);
}

static void invalidate(CPUState *cpu, vaddr addr)
{
    int vcpu, pcpu;

    if (where(cpu, &vcpu, &pcpu)) {
        charge(cpu, walk_model_invalidate(P.model, pcpu, vcpu, addr));
        go_elsewhere(vcpu);
    }
}

static void written(CPUState *cpu, ram_addr_t addr, unsigned size)
{
    uint64_t page = addr & ~(PAGE - 1);
    size_t gfn = GPOINTER_TO_SIZE(g_hash_table_lookup(P.watched, &page));
    int vcpu, pcpu;

    if (gfn && where(cpu, &vcpu, &pcpu)) {
        charge(cpu, walk_model_table_write(P.model, pcpu, vcpu,
                                           ((uint64_t)gfn - 1) * PAGE +
                                           (addr & (PAGE - 1)), size));
        go_on(cpu, vcpu, pcpu);
    }
}

static void leave(CPUState *cpu, PageWalkExit exit)
{
    static const WalkExit kinds[] = {
        [PAGE_WALK_INTERRUPT] = WALK_EXIT_INTERRUPT,
        [PAGE_WALK_IO] = WALK_EXIT_IO,
        [PAGE_WALK_HALT] = WALK_EXIT_HALT,
    };
    int vcpu, pcpu;

    if (where(cpu, &vcpu, &pcpu)) {
        charge(cpu, walk_model_exit(P.model, pcpu, vcpu, kinds[exit]));
        if (exit == PAGE_WALK_IO) {
            go_on(cpu, vcpu, pcpu);
        } else {
            go_elsewhere(vcpu);
        }
    }
}

static const PageWalkHooks hooks = {
    .walked = walked,
    .code = code,
    .root = root,
    .invalidate = invalidate,
    .write = written,
    .is_watched = is_watched,
    .exit = leave,
};

/* --- Dynamic switching --- */

static WalkMode mode_of(DspMode mode)
{
    return mode == DSP_NESTED ? WALK_NESTED : WALK_SHADOWED;
}

/* Only these two modes are DSP's. */
static bool dsp_mode_of(WalkMode mode, DspMode *dsp)
{
    *dsp = mode == WALK_SHADOWED ? DSP_SHADOW : DSP_NESTED;
    return mode == WALK_SHADOWED || mode == WALK_NESTED;
}

/* The present, in cycles: the end of a window */
static int64_t present(void)
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
    int64_t interval = walk_model_config(P.model)->scan;
    bool agile = false;

    for (unsigned vm = 0; vm < P.vms; vm++) {
        agile |= walk_model_mode(P.model, vm) == WALK_AGILE;
    }
    if (agile) {
        await_cycle(P.scanner, (present() / interval + 1) * interval);
    } else {
        timer_del(P.scanner);
    }
}

static void scan(void *opaque)
{
    for (unsigned vm = 0; vm < P.vms; vm++) {
        walk_model_scan(P.model, vm);
    }
    await_scan();
}

/* @rule: of DSP's, or none */
static void set_mode(unsigned vm, WalkMode mode, int rule)
{
    if (walk_model_mode(P.model, vm) != mode) {
        walk_model_set_mode(P.model, vm, mode);
        qapi_event_send_paging_mode(vm, (PagingMode)mode, rule >= 0, rule);
        await_scan();
    }
}

static DspCounters count_vm(unsigned vm)
{
    const VschedCore *core = vsched_engine->core;
    DspCounters sum = {};
    WalkCounters c;

    for (unsigned user = 0; user < 2; user++) {
        walk_model_of_vm(P.model, vm, user, &c);
        sum.misses += c.misses[WALK_CODE] + c.misses[WALK_DATA];
        sum.faults += c.faults;
        for (unsigned i = 0; i < P.vcpus; i++) {
            if (core->topology.vm[i] == (int)vm) {
                sum.insns += core->vcpu[i].insns[user];
            }
        }
    }
    return sum;
}

static void await_sample(void)
{
    int64_t next = dsp_next(P.dsp);

    if (next == INT64_MAX) {
        timer_del(P.sampler);
    } else {
        await_cycle(P.sampler, next);
    }
}

static void sample(void *opaque)
{
    int64_t now = present();

    for (unsigned vm = 0; vm < P.vms; vm++) {
        const DspSample *s;
        DspCounters counted;

        if (!dsp_is_due(P.dsp, vm, now)) {
            continue;
        }
        counted = count_vm(vm);
        s = dsp_sample(P.dsp, vm, now, &counted);
        if (s->rule == DSP_EXPERIMENT && s->before == s->after) {
            set_mode(vm, mode_of(!s->after), s->rule);
        }
        set_mode(vm, mode_of(s->after), s->rule);
    }
    await_sample();
}

static bool enable_dsp(unsigned vm, const DspSettings *settings, char **why)
{
    WalkMode mode = walk_model_mode(P.model, vm);
    DspCounters counted = count_vm(vm);
    DspMode dsp;

    if (!dsp_mode_of(mode, &dsp)) {
        *why = g_strdup_printf("VM %u is in mode %s: DSP switches between "
                               "nested and shadow", vm, walk_mode_names[mode]);
        return false;
    }
    if (!dsp_enable(P.dsp, vm, settings, dsp, present(), &counted, why)) {
        return false;
    }
    P.was_sampled[vm] = true;
    set_mode(vm, mode_of(dsp_mode(P.dsp, vm)), DSP_EXPERIMENT);
    await_sample();
    return true;
}

static void enable_all(void)
{
    DspSettings settings;
    char *why = NULL;

    dsp_settings_default(&settings, vsched_engine->clock_hz);
    for (unsigned i = 0; i < P.vms; i++) {
        enable_dsp(i, &settings, &why);
        g_assert(!why);
    }
}

/* The list is empty after a reset, but for who was in it from the beginning. */
static void reset(void *opaque)
{
    dsp_reset(P.dsp);
    if (P.begins_with_dsp) {
        for (unsigned i = 0; i < P.vms; i++) {
            set_mode(i, WALK_NESTED, -1);
        }
        enable_all();
    }
    await_sample();
    await_scan();
}

/* --- Saved state --- */

static int pre_save(void *opaque)
{
    g_autoptr(GVariant) state = g_variant_ref_sink(
        g_variant_new("(vv)", walk_model_save(P.model), dsp_save(P.dsp)));

    g_free(P.state);
    P.state_size = g_variant_get_size(state);
    P.state = g_malloc(P.state_size);
    g_variant_store(state, P.state);
    return 0;
}

static int post_load(void *opaque, int version)
{
    g_autoptr(GVariant) state = g_variant_ref_sink(g_variant_new_from_data(
        G_VARIANT_TYPE("(vv)"), P.state, P.state_size, false, NULL, NULL));
    g_autoptr(GVariant) walks = NULL, dsp = NULL;
    g_autofree char *why = NULL;

    g_variant_get(state, "(vv)", &walks, &dsp);

    for (unsigned i = 0; i < P.vcpus; i++) {
        lose(i, 0, 0);
        P.vcpu[i].home = -1;
        go_elsewhere(i);
    }
    if (!walk_model_load(P.model, walks, &why) ||
        !dsp_load(P.dsp, dsp, &why)) {
        error_report("%s", why);
        return -EINVAL;
    }
    for (unsigned i = 0; i < P.vms; i++) {
        P.was_sampled[i] |= dsp_is_enabled(P.dsp, i);
    }
    await_sample();
    await_scan();
    return 0;
}

static const VMStateDescription vmstate_paging = {
    .name = "vsched-paging",
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = pre_save,
    .post_load = post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(state_size, typeof(P)),
        VMSTATE_VBUFFER_ALLOC_UINT32(state, typeof(P), 1, NULL, state_size),
        VMSTATE_END_OF_LIST()
    }
};

/* --- Start --- */

static bool load_config(WalkConfig *config, const char *name, Error **errp)
{
    g_autofree char *file = NULL, *why = NULL;

    if (!name) {
        walk_config_default(config);
        return true;
    }
    if (strchr(name, '/')) {
        file = g_strdup(name);
    } else {
        g_autofree char *binary = g_file_read_link("/proc/self/exe", NULL);
        g_autofree char *directory = g_path_get_dirname(binary ?: "");

        file = g_strdup_printf("%s/../../configs/paging/%s.conf", directory,
                               name);
    }
    if (!walk_config_load(config, file, &why)) {
        error_setg(errp, "%s", why);
        return false;
    }
    return true;
}

static bool find_mode(const char *name, WalkMode *mode, Error **errp)
{
    P.begins_with_dsp = g_str_equal(name, "dsp");
    if (P.begins_with_dsp) {
        *mode = WALK_NESTED;
        return true;
    }
    for (unsigned i = 0; i < WALK_MODES; i++) {
        if (g_str_equal(name, walk_mode_names[i])) {
            *mode = i;
            return true;
        }
    }
    error_setg(errp, "paging=%s: allowed are native, nested, shadow, agile, "
               "dsp", name);
    return false;
}

static void listen_to(VschedEngine *e)
{
    P.listener = g_new(VschedListener, P.pcpus);
    for (unsigned i = 0; i < P.pcpus; i++) {
        P.listener[i] = (VschedListener) {
            .ops = &listener_ops,
            .pcpu = i,
            .exact = INT64_MAX,
        };
        vsched_exec_listen(e, i, &P.listener[i]);
    }
}

enum { OPTION_MODE, OPTION_CONFIG };

static bool start(const char *const *values, Error **errp)
{
    static const WalkHooks walk_hooks = {
        .read = read_entry,
        .protect = watch,
        .evicted = evicted,
        .flushed = flushed,
    };
    VschedEngine *e = vsched_engine;
    const VschedTopology *t = &e->core->topology;
    g_autofree unsigned *vm = g_new(unsigned, t->vcpus);
    WalkMachine machine = {
        .pcpus = t->pcpus,
        .vcpus = t->vcpus,
        .vms = t->vms,
        .vm = vm,
        .table_base = TABLES_BASE,
    };
    WalkConfig config;
    WalkMode mode;

    if (!values[OPTION_MODE]) {
        if (values[OPTION_CONFIG]) {
            error_setg(errp, "paging-config= is for paging=, which is not "
                       "given");
        }
        return !values[OPTION_CONFIG];
    }
    if (!find_mode(values[OPTION_MODE], &mode, errp) ||
        !load_config(&config, values[OPTION_CONFIG], errp)) {
        return false;
    }
    if (!g_str_has_prefix(target_name(), "x86_64") &&
        !g_str_has_prefix(target_name(), "i386")) {
        error_setg(errp, "paging= is for guests of x86, not of %s",
                   target_name());
        return false;
    }
    if (config.clock != e->clock_hz) {
        error_setg(errp, "paging: the cycles of %s are those of a clock of %"
                   PRIu64 " Hz: give clock-hz=%" PRIu64,
                   values[OPTION_CONFIG] ?: "the defaults", config.clock,
                   config.clock);
        return false;
    }
    P.pcpus = t->pcpus;
    P.vcpus = t->vcpus;
    P.vms = t->vms;
    for (unsigned i = 0; i < P.vcpus; i++) {
        vm[i] = t->vm[i];
    }
    P.vcpu = g_new(PagingVCPU, P.vcpus);
    for (unsigned i = 0; i < P.vcpus; i++) {
        P.vcpu[i] = (PagingVCPU) { -1, NOWHERE, false, true };
    }
    P.watched = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free,
                                      NULL);
    P.model = walk_model_new(&config, &machine, &walk_hooks, mode);
    P.dsp = dsp_new(P.vms);
    P.was_sampled = g_new0(bool, P.vms);
    P.sampler = timer_new_ns(QEMU_CLOCK_VIRTUAL, sample, NULL);
    P.scanner = timer_new_ns(QEMU_CLOCK_VIRTUAL, scan, NULL);
    listen_to(e);
    page_walk_set_hooks(&hooks);
    qemu_register_reset(reset, NULL);
    vmstate_register(NULL, 0, &vmstate_paging, &P);
    return true;
}

static const VschedModelOption options[] = {
    [OPTION_MODE] = { "paging", "what virtualises page tables, and costs time: "
                      "native, nested, shadow, agile, or dsp; default "
                      "nothing" },
    [OPTION_CONFIG] = { "paging-config", "TLBs and costs of paging=: a file, "
                        "or the name of one of configs/paging; default "
                        "i7-860" },
    { NULL }
};

static const VschedModel model = {
    .options = options,
    .start = start,
};

static void register_model(void)
{
    vsched_register_model(&model);
}

type_init(register_model)

/* --- QMP --- */

static bool is_on(Error **errp)
{
    if (!P.model) {
        error_setg(errp, "there is no model of paging: start the machine with "
                   "-accel tcg,thread=vsched,paging=");
    }
    return P.model;
}

static PagingCounterList *counters_of(unsigned vm)
{
    PagingCounterList *list = NULL, **tail = &list;
    WalkCounters c[2];

    walk_model_of_vm(P.model, vm, false, &c[0]);
    walk_model_of_vm(P.model, vm, true, &c[1]);
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
    for (unsigned i = 0; i < P.vms; i++) {
        PagingVm *vm = g_new0(PagingVm, 1);

        vm->vm = i;
        vm->mode = (PagingMode)walk_model_mode(P.model, i);
        vm->shadow_pages = walk_shadow_pages(walk_model_shadow(P.model, i));
        vm->nested_tables = walk_shadow_nested(walk_model_shadow(P.model, i));
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
    now = read_entry(NULL, 0, gfn * PAGE + index * size, size);
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
    for (unsigned i = 0; i < P.vms; i++) {
        walk_shadow_foreach(walk_model_shadow(P.model, i), check_entry, check);
    }
    return check;
}

static bool check_vm(int64_t vm, Error **errp)
{
    if (!is_on(errp)) {
        return false;
    }
    if (vm < 0 || vm >= P.vms) {
        error_setg(errp, "vm %" PRId64 ": allowed are 0 to %u", vm, P.vms - 1);
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
    if (dsp_is_enabled(P.dsp, vm)) {
        if (!dsp_mode_of((WalkMode)mode, &dsp)) {
            error_setg(errp, "VM %" PRId64 " is switched by DSP: allowed are "
                       "nested and shadow, or dsp-disable first", vm);
            return;
        }
        dsp_forced(P.dsp, vm, dsp, present());
    }
    set_mode(vm, (WalkMode)mode, -1);
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
        !enable_dsp(given->vm, &settings, &why)) {
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
    if (!dsp_disable(P.dsp, vm, &former, &why)) {
        error_setg(errp, "%s", why);
        return;
    }
    set_mode(vm, mode_of(former), -1);
    await_sample();
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

    for (unsigned i = 0; i < dsp_samples(P.dsp, vm); i++) {
        const DspSample *s = dsp_sample_at(P.dsp, vm, i);
        DspSampleInfo *one = g_new0(DspSampleInfo, 1);

        one->time = vsched_cycles_to_ns(vsched_engine, s->time);
        one->insns = s->counted.insns;
        one->misses = s->counted.misses;
        one->faults = s->counted.faults;
        one->rule = s->rule;
        one->before = (PagingMode)mode_of(s->before);
        one->after = (PagingMode)mode_of(s->after);
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
    for (unsigned i = 0; i < P.vms; i++) {
        VschedEngine *e = vsched_engine;
        uint64List **decisions;
        DspTotals totals;
        DspInfo *one;

        if (!P.was_sampled[i]) {
            continue;
        }
        dsp_totals(P.dsp, i, present(), &totals);
        one = g_new0(DspInfo, 1);
        one->vm = i;
        one->enabled = dsp_is_enabled(P.dsp, i);
        one->mode = (PagingMode)walk_model_mode(P.model, i);
        one->options = options_of(dsp_settings(P.dsp, i));
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
