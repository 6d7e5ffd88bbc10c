/*
 * The paging model in a machine: page walks of QEMU's go to it, and what they
 * cost goes to the clock of the PCPU.
 *
 *   -accel tcg,thread=vsched,paging=MODE[,paging-config=FILE]
 *
 * What is valid of QEMU's TLB of a VCPU is a subset of the first level, for
 * data, of the TLB of the PCPU that it is on: of what the model evicts, QEMU's
 * TLB has to ask, and it loses all when the VCPU moves to another PCPU.
 * Fetches are told when a block is executed that is on another page than the
 * one before.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/plugin.h"
#include "qapi/error.h"
#include "qapi/util.h"
#include "qemu/cutils.h"
#include "accel/tcg/cpu-ops.h"
#include "exec/address-spaces.h"
#include "exec/memory.h"
#include "exec/page-walk.h"
#include "exec/cputlb.h"
#include "migration/vmstate.h"
#include "system/reset.h"
#include "walk-glue.h"

/* Beyond what a guest's physical addresses reach, as the cache model has it */
#define TABLES_BASE (UINT64_C(1) << 53)

#define PAGE UINT64_C(4096)             /* of x86 */

Paging paging;
const PagingTarget *paging_target;

/* --- QEMU's TLBs --- */

static CPUState *cpu_of(unsigned vcpu)
{
    return vsched_engine->cpu[vcpu];
}

static uint64_t *recent(unsigned vcpu, uint64_t page)
{
    return &paging.vcpu[vcpu].recent[page / PAGE % WALK_RECENT];
}

/* The bit of @page in PagingVCPU.held: kernels' in the upper half of these */
static uint64_t held_bit(uint64_t page)
{
    return UINT64_C(1) << (page >> 63 << 5 | (page / PAGE & 31));
}

/*
 * The MMU indexes for which QEMU's TLB may hold the page.  Each that need not
 * be looked at saves a line of the host's cache, and its victims.
 */
static uint32_t holders(unsigned vcpu, WalkSide side, uint64_t page)
{
    uint32_t all = paging.told[side], some = 0;

    if (side == WALK_CODE) {
        return all;
    }
    for (uint32_t left = all; left; left &= left - 1) {
        if (paging.vcpu[vcpu].held[ctz32(left)] & held_bit(page)) {
            some |= left & -left;
        }
    }
    return some;
}

static void forget_recent(unsigned vcpu, uint64_t address, uint64_t size)
{
    PagingVCPU *v = &paging.vcpu[vcpu];

    if (size == PAGE) {
        *recent(vcpu, address) = 0;
    } else {
        memset(v->recent, 0, sizeof(v->recent));
    }
}

/* A page and what follows it, @size bytes; 0: everything */
static void lose(unsigned vcpu, WalkSide side, uint64_t address, uint64_t size)
{
    PagingVCPU *v = &paging.vcpu[vcpu];

    if (cpu_of(vcpu)) {
        tlb_evict(cpu_of(vcpu), address, size, size == PAGE ?
                  holders(vcpu, side, address) : paging.told[side],
                  side == WALK_CODE ? PAGE_WALK_NO_CODE : PAGE_WALK_NO_DATA);
    }
    if (!size) {
        memset(v->held, 0, sizeof(v->held));
    }
    if (side == WALK_CODE) {
        forget_recent(vcpu, address, size);
    }
}

static void lose_all(unsigned vcpu)
{
    lose(vcpu, WALK_CODE, 0, 0);
    lose(vcpu, WALK_DATA, 0, 0);
}

static void evicted(void *opaque, unsigned pcpu, WalkSide side,
                    uint64_t address, WalkSize size, WalkTag tag)
{
    unsigned vcpu = tag.vpid - 1;
    uint64_t bytes = UINT64_C(1) << walk_size_shift(size);
    PagingVCPU *v = &paging.vcpu[vcpu];

    if (v->home != (int)pcpu) {
        return;
    }
    lose(vcpu, side, address, bytes);
    if (side == WALK_CODE && v->code_page - address < bytes) {
        v->code_page = WALK_NOWHERE;
    }
}

/*
 * Is @pc in the block that spans two pages?  What is executed between its start
 * and the end of the first page is that block, or one that ends like it: no
 * jump stands there, or the block had ended.
 */
static bool is_in_span(const PagingVCPU *v, uint64_t pc)
{
    return v->span != WALK_NOWHERE && v->span / PAGE == pc / PAGE &&
           pc >= v->span;
}

/*
 * Jumps between pages that the model knows are not told: where is it?  Within a
 * block the VCPU's PC is that of its start, or of one of its instructions.
 */
static void find_code_page(unsigned vcpu)
{
    PagingVCPU *v = &paging.vcpu[vcpu];
    CPUState *cpu = cpu_of(vcpu);
    uint64_t page, pc;

    if (!v->elsewhere && cpu) {
        pc = cpu->cc->get_pc(cpu);
        page = pc & ~(PAGE - 1);
        v->code_page = is_in_span(v, pc) ? page + PAGE : page;
    }
}

/*
 * A fault of an access takes the entry for its page, which may be that of the
 * code, too: it is fetched again when the access is done.  So does a walk that
 * finds another page, or one that lets less through.
 */
static void forgotten(void *opaque, unsigned pcpu, unsigned vcpu,
                      uint64_t address, WalkSize size)
{
    PagingVCPU *v = &paging.vcpu[vcpu];
    uint64_t bytes = UINT64_C(1) << walk_size_shift(size);

    if (v->home != (int)pcpu) {
        return;
    }
    if (cpu_of(vcpu)) {
        tlb_evict(cpu_of(vcpu), address, bytes, paging.told[WALK_CODE] |
                  paging.told[WALK_DATA], PAGE_WALK_STALE);
    }
    forget_recent(vcpu, address, bytes);
    find_code_page(vcpu);
    if (v->code_page != WALK_NOWHERE && v->code_page - address < bytes) {
        v->lost = true;
    }
}

/*
 * The guest goes on elsewhere: it is looked at anyway.  It may have invalidated
 * what it had.
 */
static void go_elsewhere(int vcpu)
{
    PagingVCPU *v = &paging.vcpu[vcpu];

    v->lost = false;
    v->code_page = v->span = WALK_NOWHERE;
    v->elsewhere = true;
    memset(v->recent, 0, sizeof(v->recent));
}

static void flushed(void *opaque, unsigned pcpu)
{
    for (unsigned i = 0; i < paging.vcpus; i++) {
        if (paging.vcpu[i].home == (int)pcpu) {
            lose_all(i);
            find_code_page(i);
            paging.vcpu[i].lost = true;
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
    v = &paging.vcpu[vcpu];
    if (v->home != l->pcpu) {
        lose_all(vcpu);
        v->home = l->pcpu;
    }
    walk_model_switched(paging.model, l->pcpu, vcpu);
    go_elsewhere(vcpu);
}

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

uint64_t paging_read_entry(void *opaque, unsigned vm, uint64_t gpa,
                           unsigned size)
{
    uint64_t value = 0;

    address_space_read(&address_space_memory, gpa, MEMTXATTRS_UNSPECIFIED,
                       &value, size);
    return le64_to_cpu(value);
}

/*
 * What a plugin that models caches says of a reference.  Tables of the host's
 * are beyond the guest's memory.
 */
static int64_t stall(void *opaque, const WalkReference *r)
{
#ifdef CONFIG_PLUGIN
    if (unlikely(qemu_plugin_listens(QEMU_PLUGIN_EV_CORE_ACCESS))) {
        CPUState *cpu = cpu_of(r->vcpu);
        struct qemu_plugin_core_access access = {
            .kind = r->address < TABLES_BASE ? QEMU_PLUGIN_ACCESS_WALK
                                             : QEMU_PLUGIN_ACCESS_MODEL,
            .core = r->pcpu,
            .vcpu_index = cpu->cpu_index,
            .vm = vsched_engine->core->topology.vm[r->vcpu],
            .addr = r->address,
            .size = r->size,
            .store = r->store,
            .cycle = vsched_exec_cycle(cpu, 0) + r->cycle,
        };

        return qemu_plugin_core_access(&access);
    }
#endif
    return 0;
}

/* The key of a page in the table of those that are watched. */
static void *key_of(ram_addr_t page)
{
    return GSIZE_TO_POINTER(page / PAGE);
}

/* Writes to a page that is watched leave generated code. */
static void watch(void *opaque, unsigned vm, uint64_t gfn, bool on)
{
    uint64_t ram = ram_of(gfn);

    if (ram == RAM_ADDR_INVALID) {
        return;
    }
    if (on) {
        g_hash_table_insert(paging.watched[vm], key_of(ram),
                            GSIZE_TO_POINTER(gfn + 1));
        tlb_reset_dirty_range_all(ram, PAGE);
    } else {
        g_hash_table_remove(paging.watched[vm], key_of(ram));
    }
}

/* The number of the guest's page, plus 1; 0: no VM watches it. */
static size_t watched_gfn(ram_addr_t addr)
{
    size_t gfn = 0;

    for (unsigned vm = 0; vm < paging.vms && !gfn; vm++) {
        gfn = GPOINTER_TO_SIZE(g_hash_table_lookup(paging.watched[vm],
                                                   key_of(addr)));
    }
    return gfn;
}

static bool is_watched(ram_addr_t page)
{
    return watched_gfn(page);
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
    if (*pcpu == VSCHED_NONE) {
        return false;
    }
    if (paging.vcpu[*vcpu].home < 0) {
        /* From a saved state: QEMU's TLB was empty until now. */
        paging.vcpu[*vcpu].home = *pcpu;
    }
    return true;
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
 * again: blocks of one page may follow each other without a look.
 */
static void go_on(CPUState *cpu, int vcpu, int pcpu)
{
    PagingVCPU *v = &paging.vcpu[vcpu];

    if (v->lost) {
        v->lost = false;
        if (v->code_page != WALK_NOWHERE) {
            fetch(cpu, vcpu, pcpu, v->code_page);
        }
    }
}

static void tell_model(CPUState *cpu, PageWalk *w)
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
        .writable = w->writable,
        .gpa = w->paddr,
    };
    int vcpu, pcpu;

    paging.told[code ? WALK_CODE : WALK_DATA] |= 1u << w->mmu_idx;
    paging.user |= (uint32_t)w->user << w->mmu_idx;
    if (!w->entries || (code && !w->fault && !paging.fetching) ||
        !where(cpu, &vcpu, &pcpu)) {
        return;
    }
    if (!code) {
        go_on(cpu, vcpu, pcpu);         /* after a store to a table */
    }
    a.vcpu = vcpu;
    a.pcpu = pcpu;
    for (unsigned i = 0; i < w->entries; i++) {
        a.entry[w->levels - i] = w->entry[i].addr;
        a.value[w->levels - i] = w->entry[i].after;
        if (w->entry[i].after != w->entry[i].before) {
            a.set |= 1u << (w->levels - i);
        }
    }
    a.was_accessed = w->entry[w->entries - 1].before & WALK_PTE_ACCESSED;
    paging.vcpu[vcpu].off = false;
    charge(cpu, walk_model_access(paging.model, &a));
    w->writable = a.writable;
    if (w->fault) {
        go_elsewhere(vcpu);
    } else if (!code && paging.vcpu[vcpu].lost) {
        /* A fetch that is an exit as well empties the TLB after the access. */
        go_on(cpu, vcpu, pcpu);
        w->once = !walk_model_has(paging.model, pcpu, vcpu, false, 0, w->addr);
    }
}

/* It comes into QEMU's TLB now, also if an exit has just emptied that. */
static void note_held(CPUState *cpu, const PageWalk *w)
{
    paging.told[WALK_DATA] |= 1u << w->mmu_idx;
    paging.user |= (uint32_t)w->user << w->mmu_idx;
    paging.vcpu[vsched_vcpu(cpu)].held[w->mmu_idx] |= held_bit(w->addr);
}

static void walked(CPUState *cpu, PageWalk *w)
{
    tell_model(cpu, w);
    if (w->access_type != MMU_INST_FETCH && cpu->accel) {
        note_held(cpu, w);
    }
}

static bool is_user(int mmu_idx)
{
    return paging.user >> mmu_idx & 1;
}

/* Of a fetch, only the answer is wanted: it is told itself, known or not. */
static bool again(CPUState *cpu, PageWalk *w, bool done)
{
    WalkAccess a = {
        .address = w->addr,
        .code = w->access_type == MMU_INST_FETCH,
        .write = w->access_type == MMU_DATA_STORE,
        .user = w->user,
    };
    int vcpu, pcpu;
    int64_t cycles;

    if (!where(cpu, &vcpu, &pcpu) || paging.vcpu[vcpu].off) {
        return false;
    }
    a.vcpu = vcpu;
    a.pcpu = pcpu;
    if (!done) {
        return walk_model_would_know(paging.model, &a);
    }
    go_on(cpu, vcpu, pcpu);             /* after a store to a table */
    if (!walk_model_knows(paging.model, &a, &cycles)) {
        return false;
    }
    charge(cpu, cycles);
    w->writable = a.writable;
    note_held(cpu, w);
    return true;
}

/* Has the modelled TLB for code the page?  What is found is kept, plus 1. */
static bool has_code(int vcpu, int pcpu, uint64_t page)
{
    uint64_t *known = recent(vcpu, page), key = page | 1;

    if (*known != key &&
        walk_model_has(paging.model, pcpu, vcpu, true, 0, page)) {
        *known = key;
    }
    return *known == key;
}

/* The second level may have it.  A walk says first who may use what. */
static bool fetch_again(CPUState *cpu, int vcpu, int pcpu, uint64_t page,
                        int mmu_idx)
{
    WalkAccess a = {
        .vcpu = vcpu,
        .pcpu = pcpu,
        .address = page,
        .code = true,
        .user = is_user(mmu_idx),
    };
    int64_t cycles;

    if (!(paging.told[WALK_CODE] >> mmu_idx & 1) ||
        !walk_model_knows(paging.model, &a, &cycles)) {
        return false;
    }
    charge(cpu, cycles);
    *recent(vcpu, page) = page | 1;
    return true;
}

/* If it has not: a walk for it, unless the second level has it. */
static void fetch(CPUState *cpu, int vcpu, int pcpu, uint64_t page)
{
    int mmu_idx;

    if (has_code(vcpu, pcpu, page)) {
        return;
    }
    mmu_idx = cpu->cc->mmu_index(cpu, true);
    if (!fetch_again(cpu, vcpu, pcpu, page, mmu_idx)) {
        paging.fetching = true;
        cpu->cc->tcg_ops->tlb_fill(cpu, page, 0, MMU_INST_FETCH, mmu_idx, true,
                                   0);
        paging.fetching = false;
    }
}

/* True: the modelled TLB has the page, and tells when it loses it. */
static bool code(CPUState *cpu, vaddr pc, bool more)
{
    uint64_t page = pc & ~(PAGE - 1), last = more ? page + PAGE : page;
    PagingVCPU *v;
    int vcpu, pcpu;

    if (!where(cpu, &vcpu, &pcpu)) {
        return false;
    }
    v = &paging.vcpu[vcpu];
    if (v->off) {
        return true;
    }
    go_on(cpu, vcpu, pcpu);
    if (v->code_page != page || more) {
        fetch(cpu, vcpu, pcpu, page);
        if (more) {
            fetch(cpu, vcpu, pcpu, last);
        }
        v->lost = false;
    }
    v->code_page = last;
    v->span = more ? pc : WALK_NOWHERE;
    v->elsewhere = false;
    return has_code(vcpu, pcpu, page) &&
           (!more || has_code(vcpu, pcpu, last));
}

/* A block of two pages that the modelled TLB has. */
static void spans(CPUState *cpu, vaddr pc)
{
    paging.vcpu[vsched_vcpu(cpu)].span = pc;
}

static void root(CPUState *cpu, hwaddr root, unsigned levels, bool all)
{
    int vcpu, pcpu;

    if (!where(cpu, &vcpu, &pcpu)) {
        return;
    }
    go_on(cpu, vcpu, pcpu);
    paging.vcpu[vcpu].off = !levels;
    if (levels) {
        /* QEMU's TLB is empty then. */
        memset(paging.vcpu[vcpu].held, 0, sizeof(paging.vcpu[vcpu].held));
        charge(cpu, walk_model_root(paging.model, pcpu, vcpu, root,
                                    format_of(levels), 0,
                                    all ? WALK_FLUSH_ALL : WALK_FLUSH));
    }
    go_elsewhere(vcpu);
}

static void invalidate(CPUState *cpu, vaddr addr)
{
    int vcpu, pcpu;

    if (where(cpu, &vcpu, &pcpu)) {
        go_on(cpu, vcpu, pcpu);
        charge(cpu, walk_model_invalidate(paging.model, pcpu, vcpu, addr));
        go_elsewhere(vcpu);
    }
}

static void written(CPUState *cpu, ram_addr_t addr, unsigned size)
{
    size_t gfn = watched_gfn(addr);
    int vcpu, pcpu;

    if (gfn && where(cpu, &vcpu, &pcpu)) {
        charge(cpu, walk_model_table_write(paging.model, pcpu, vcpu,
                                           ((uint64_t)gfn - 1) * PAGE +
                                           (addr & (PAGE - 1)), size));
        if (paging.vcpu[vcpu].lost) {
            /*
             * The store is still to be done, and walks are to find what it
             * writes: the guest goes on at its next walk, or at its next block.
             */
            vsched_exec_ask();
        }
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
        if (exit != PAGE_WALK_INTERRUPT) {
            go_on(cpu, vcpu, pcpu);
        }
        charge(cpu, walk_model_exit(paging.model, pcpu, vcpu, kinds[exit]));
        if (exit == PAGE_WALK_IO) {
            go_on(cpu, vcpu, pcpu);
        } else {
            go_elsewhere(vcpu);
        }
    }
}

/* Of an access by data that QEMU's TLB knows: does the model know it, too? */
static void check(CPUState *cpu, vaddr addr, int mmu_idx, bool store)
{
    int vcpu, pcpu;

    if (paging.told[WALK_DATA] >> mmu_idx & 1 && where(cpu, &vcpu, &pcpu) &&
        !paging.vcpu[vcpu].off) {
        paging.checked++;
        paging.hidden += !walk_model_has(
            paging.model, pcpu, vcpu, false, (store ? WALK_MAY_WRITE : 0) |
            (is_user(mmu_idx) ? WALK_MAY_USER : 0), addr);
    }
}

static const VschedListenerOps listener_ops = {
    .name = "paging",
    .switched = switched,
};

static PageWalkHooks hooks = {
    .walked = walked,
    .again = again,
    .code = code,
    .spans = spans,
    .root = root,
    .invalidate = invalidate,
    .write = written,
    .is_watched = is_watched,
    .exit = leave,
};

/* --- Saved state --- */

/* The model, DSP, and what paging= said: mode, and whether with DSP */
#define STATE "(vvib)"

static int pre_save(void *opaque)
{
    g_autoptr(GVariant) state = g_variant_ref_sink(
        g_variant_new(STATE, walk_model_save(paging.model),
                      dsp_save(paging.dsp), (int)paging.begin,
                      paging.begins_with_dsp));

    g_free(paging.state);
    paging.state_size = g_variant_get_size(state);
    paging.state = g_malloc(paging.state_size);
    g_variant_store(state, paging.state);
    return 0;
}

static int post_load(void *opaque, int version)
{
    g_autoptr(GVariant) state = g_variant_ref_sink(g_variant_new_from_data(
        G_VARIANT_TYPE(STATE), paging.state, paging.state_size, false, NULL,
        NULL));
    g_autoptr(GVariant) walks = NULL, dsp = NULL;
    g_autofree WalkMode *before = g_new(WalkMode, paging.vms);
    g_autofree char *why = NULL;
    gboolean with_dsp;
    int begin;

    g_variant_get(state, STATE, &walks, &dsp, &begin, &with_dsp);

    for (unsigned i = 0; i < paging.vms; i++) {
        before[i] = walk_model_mode(paging.model, i);
    }
    for (unsigned i = 0; i < paging.vcpus; i++) {
        lose_all(i);
        paging.vcpu[i].home = -1;
        paging.vcpu[i].off = false;     /* nobody knows: code is looked at */
        go_elsewhere(i);
    }
    if (!walk_model_load(paging.model, walks, &why) ||
        !dsp_load(paging.dsp, dsp, &why)) {
        error_report("%s", why);
        return -EINVAL;
    }
    paging_switch_loaded(before, begin != (int)paging.begin ||
                                 with_dsp != paging.begins_with_dsp);
    return 0;
}

static const VMStateDescription vmstate_paging = {
    .name = "vsched-paging",
    .version_id = 3,            /* rights of the TLB's entries */
    .minimum_version_id = 3,
    .pre_save = pre_save,
    .post_load = post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(state_size, Paging),
        VMSTATE_VBUFFER_ALLOC_UINT32(state, Paging, 1, NULL, state_size),
        VMSTATE_END_OF_LIST()
    }
};

/* --- Start --- */

static void reset(void *opaque)
{
    for (unsigned i = 0; i < paging.vcpus; i++) {
        paging.vcpu[i].off = true;      /* until it walks */
    }
    paging_switch_reset();
}

static bool load_config(WalkConfig *config, const char *name, Error **errp)
{
    g_autofree char *file = NULL, *why = NULL;

    if (!name && paging_target) {
        name = paging_target->config;
    }
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

bool paging_has_mode(WalkMode mode)
{
    return mode != WALK_AGILE || !paging_target;
}

static bool find_mode(const char *name, WalkMode *mode, Error **errp)
{
    paging.begins_with_dsp = g_str_equal(name, "dsp");
    if (paging.begins_with_dsp) {
        *mode = WALK_NESTED;
        return true;
    }
    for (unsigned i = 0; i < WALK_MODES; i++) {
        if (g_str_equal(name, walk_mode_names[i]) && paging_has_mode(i)) {
            *mode = i;
            return true;
        }
    }
    error_setg(errp, "paging=%s: allowed are native, nested, shadow, %sdsp",
               name, paging_has_mode(WALK_AGILE) ? "agile, " : "");
    return false;
}

enum { OPTION_MODE, OPTION_CONFIG, OPTION_CHECK, OPTION_TLB_BITS };

#define TLB_BITS_MIN 6
#define TLB_BITS_MAX 16

static const VschedModelOption options[] = {
    [OPTION_MODE] = { "paging", "what virtualises page tables, and costs time: "
                      "native, nested, shadow, agile, or dsp; default "
                      "nothing" },
    [OPTION_CONFIG] = { "paging-config", "TLBs and costs of paging=: a file, "
                        "or the name of one of configs/paging; default "
                        "i7-860, of SPARC cmp8" },
    [OPTION_CHECK] = { "x-paging-check", "for tests: on, x-paging-check counts "
                       "accesses that QEMU's TLB hides from the model; default "
                       "off" },
    [OPTION_TLB_BITS] = { "x-softmmu-bits", "for tests: QEMU's TLBs have 2 to "
                          "the power of it entries, 6 to 16; default as many "
                          "as are of use" },
    { NULL }
};

/* The clock that the costs are cycles of */
static bool clock_hz(const char *const *values, uint64_t *hz, Error **errp)
{
    WalkConfig config;

    if (values[OPTION_MODE]) {
        if (!load_config(&config, values[OPTION_CONFIG], errp)) {
            return false;
        }
        *hz = config.clock;
    }
    return true;
}

static void listen_to(VschedEngine *e)
{
    paging.listener = g_new(VschedListener, paging.pcpus);
    for (unsigned i = 0; i < paging.pcpus; i++) {
        paging.listener[i] = (VschedListener) {
            .ops = &listener_ops,
            .pcpu = i,
            .exact = INT64_MAX,
        };
        vsched_exec_listen(e, i, &paging.listener[i]);
    }
}

/* For tests: accesses are checked; QEMU's TLBs have one size. */
static bool start_tests(const char *const *values, Error **errp)
{
    const char *bits = values[OPTION_TLB_BITS];
    bool checks = false;
    uint64_t n = 0;

    if (values[OPTION_CHECK] &&
        !qapi_bool_parse("x-paging-check", values[OPTION_CHECK], &checks,
                         errp)) {
        return false;
    }
    if (bits && (parse_uint_full(bits, 10, &n) < 0 || n < TLB_BITS_MIN ||
                 n > TLB_BITS_MAX)) {
        error_setg(errp, "x-softmmu-bits=%s: allowed are %d to %d", bits,
                   TLB_BITS_MIN, TLB_BITS_MAX);
        return false;
    }
    hooks.check = checks ? check : NULL;
    page_walk_tlb_bits = n;
    return true;
}

static bool start(const char *const *values, Error **errp)
{
    static const WalkHooks walk_hooks = {
        .stall = stall,
        .read = paging_read_entry,
        .protect = watch,
        .evicted = evicted,
        .forgotten = forgotten,
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

    if (!values[OPTION_MODE]) {
        for (int i = OPTION_MODE + 1; options[i].name; i++) {
            if (values[i]) {
                error_setg(errp, "%s= is for paging=, which is not given",
                           options[i].name);
                return false;
            }
        }
        return true;
    }
    if (!find_mode(values[OPTION_MODE], &paging.begin, errp) ||
        !load_config(&config, values[OPTION_CONFIG], errp)) {
        return false;
    }
    if (!paging_target && !g_str_has_prefix(target_name(), "x86_64") &&
        !g_str_has_prefix(target_name(), "i386")) {
        error_setg(errp, "paging= is for guests of x86 and sparc64, not of %s",
                   target_name());
        return false;
    }
    if (paging_target && !paging_target->config_check(&config, errp)) {
        return false;
    }
    if (!paging_target && config.software) {
        error_setg(errp, "paging-config: [tlb] filled-by = software is for "
                   "sparc64: allowed for x86 is hardware");
        return false;
    }
    if (!start_tests(values, errp)) {
        return false;
    }
    if (config.clock != e->clock_hz) {
        error_setg(errp, "paging: the cycles of %s are those of a clock of %"
                   PRIu64 " Hz: allowed is clock-hz=%" PRIu64 ", which is the "
                   "default with it", values[OPTION_CONFIG] ?: paging_target ?
                   paging_target->config : "i7-860",
                   config.clock, config.clock);
        return false;
    }
    paging.pcpus = t->pcpus;
    paging.vcpus = t->vcpus;
    paging.vms = t->vms;
    for (unsigned i = 0; i < paging.vcpus; i++) {
        vm[i] = t->vm[i];
    }
    paging.vcpu = g_new0(PagingVCPU, paging.vcpus);
    for (unsigned i = 0; i < paging.vcpus; i++) {
        paging.vcpu[i].home = -1;
        go_elsewhere(i);
    }
    paging.watched = g_new(GHashTable *, paging.vms);
    for (unsigned i = 0; i < paging.vms; i++) {
        paging.watched[i] = g_hash_table_new(NULL, NULL);
    }
    paging.model = walk_model_new(&config, &machine, &walk_hooks, paging.begin);
    paging_switch_start();
    if (paging_target) {
        hooks.code = NULL;
    } else {
        listen_to(e);
    }
    page_walk_set_hooks(&hooks);
    qemu_register_reset(reset, NULL);
    vmstate_register(NULL, 0, &vmstate_paging, &paging);
    if (paging_target) {
        paging_target->start();
    }
    return true;
}

static const VschedModel model = {
    .options = options,
    .clock_hz = clock_hz,
    .start = start,
    .stats = paging_stats,
};

static void register_model(void)
{
    vsched_register_model(&model);
}

type_init(register_model)

