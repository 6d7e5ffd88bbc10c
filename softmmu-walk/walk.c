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
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-paging.h"
#include "accel/tcg/cpu-ops.h"
#include "accel/vsched/engine.h"
#include "exec/address-spaces.h"
#include "exec/memory.h"
#include "exec/page-walk.h"
#include "exec/cputlb.h"
#include "migration/vmstate.h"
#include "vsched/vsched.h"
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
    a.was_dirty = w->entry[w->entries - 1].before & WALK_PTE_DIRTY;
    charge(cpu, walk_model_access(P.model, &a, NULL));
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

/* --- Saved state --- */

static int pre_save(void *opaque)
{
    g_autoptr(GVariant) state = g_variant_ref_sink(walk_model_save(P.model));

    g_free(P.state);
    P.state_size = g_variant_get_size(state);
    P.state = g_malloc(P.state_size);
    g_variant_store(state, P.state);
    return 0;
}

static int post_load(void *opaque, int version)
{
    g_autoptr(GVariant) state = g_variant_ref_sink(g_variant_new_from_data(
        G_VARIANT_TYPE(WALK_MODEL_STATE), P.state, P.state_size, false, NULL,
        NULL));
    g_autofree char *why = NULL;

    for (unsigned i = 0; i < P.vcpus; i++) {
        lose(i, 0, 0);
        P.vcpu[i].home = -1;
        go_elsewhere(i);
    }
    if (!walk_model_load(P.model, state, &why)) {
        error_report("%s", why);
        return -EINVAL;
    }
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
    for (unsigned i = 0; i < WALK_MODES; i++) {
        if (g_str_equal(name, walk_mode_names[i])) {
            *mode = i;
            return true;
        }
    }
    error_setg(errp, "paging=%s: allowed are native, nested, shadow, agile",
               name);
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
    listen_to(e);
    page_walk_set_hooks(&hooks);
    vmstate_register(NULL, 0, &vmstate_paging, &P);
    return true;
}

static const VschedModelOption options[] = {
    [OPTION_MODE] = { "paging", "what virtualises page tables, and costs time: "
                      "native, nested, shadow or agile; default nothing" },
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

void qmp_paging_set_mode(int64_t vm, PagingMode mode, Error **errp)
{
    if (!is_on(errp)) {
        return;
    }
    if (vm < 0 || vm >= P.vms) {
        error_setg(errp, "vm %" PRId64 ": allowed are 0 to %u", vm, P.vms - 1);
        return;
    }
    walk_model_set_mode(P.model, vm, (WalkMode)mode);
}
