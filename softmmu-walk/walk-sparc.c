/*
 * The paging model in a SPARC machine: misses of the processors' TLBs, what the
 * guest inserts and demaps, and loads by real addresses go to walk-soft.h.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/module.h"
#include "qapi/error.h"
#include "cpu.h"
#include "migration/vmstate.h"
#include "walk-glue.h"
#include "walk-soft.h"

QEMU_BUILD_BUG_ON(WALK_SOFT_LOCKED != TTE_LOCKED_BIT);
QEMU_BUILD_BUG_ON(WALK_SOFT_GLOBAL != TTE_GLOBAL_BIT);
QEMU_BUILD_BUG_ON(WALK_SOFT_CONTEXT != MMU_CONTEXT_MASK);
QEMU_BUILD_BUG_ON(WALK_SOFT_LEVELS < MAXTL_MAX);

/* The PCPU of the VCPU that executes; false: it does not execute. */
static bool where(CPUSPARCState *env, unsigned *vcpu, unsigned *pcpu)
{
    CPUState *cpu = env_cpu(env);
    int p = cpu->accel ? vsched_exec_pcpu(cpu) : VSCHED_NONE;

    if (p == VSCHED_NONE) {
        return false;
    }
    *vcpu = vsched_vcpu(cpu);
    *pcpu = p;
    return true;
}

static void charge(CPUSPARCState *env, int64_t cycles)
{
    if (cycles) {
        vsched_stall(env_cpu(env), cycles);
    }
}

static bool is_user(CPUSPARCState *env)
{
    return !(env->pstate & PS_PRIV);
}

static bool miss(CPUSPARCState *env, bool code, uint64_t addr,
                 unsigned context)
{
    WalkMiss miss = {
        .user = is_user(env),
        .code = code,
        .trap_level = env->tl,
        .address = addr,
        .context = context,
    };
    WalkSoftEntry entry;
    int64_t cycles;
    bool found;

    if (!where(env, &miss.vcpu, &miss.pcpu)) {
        return false;
    }
    found = walk_soft_miss(paging.model, &miss, &entry, &cycles);
    charge(env, cycles);
    if (found) {
        sparc_tlb_insert_entry(env, code, entry.tag, entry.tte);
    }
    return found;
}

static void inserted(CPUSPARCState *env, bool code, unsigned number)
{
    const SparcTLBEntry *e = &(code ? env->itlb : env->dtlb)[number];
    WalkSoftEntry entry = { e->tag, e->tte };
    unsigned vcpu, pcpu;

    if (where(env, &vcpu, &pcpu)) {
        charge(env, walk_soft_insert(paging.model, pcpu, vcpu, is_user(env),
                                     code, &entry));
    }
}

static void cleared(CPUSPARCState *env, bool code, unsigned number)
{
    unsigned vcpu, pcpu;

    if (where(env, &vcpu, &pcpu)) {
        charge(env, walk_soft_clear(paging.model, pcpu, vcpu));
    }
}

static void demapped(CPUSPARCState *env, bool code, bool whole, uint64_t addr,
                     unsigned context)
{
    unsigned vcpu, pcpu;

    if (where(env, &vcpu, &pcpu)) {
        charge(env, walk_soft_demap(paging.model, pcpu, vcpu, code, whole,
                                    addr, context));
    }
}

static void real(CPUSPARCState *env, uint64_t addr)
{
    unsigned vcpu, pcpu;

    if (where(env, &vcpu, &pcpu)) {
        charge(env, walk_soft_real(paging.model, pcpu, vcpu, is_user(env),
                                   addr));
    }
}

static SparcTLBHooks hooks = {
    .miss = miss,
    .insert = inserted,
    .clear = cleared,
    .demap = demapped,
    .real = real,
};

/* --- Saved state --- */

typedef struct State {
    uint8_t *data;
    uint32_t size;
} State;

static State state;

static int pre_save(void *opaque)
{
    g_autoptr(GVariant) v = g_variant_ref_sink(walk_soft_save(paging.model));

    g_free(state.data);
    state.size = g_variant_get_size(v);
    state.data = g_malloc(state.size);
    g_variant_store(v, state.data);
    return 0;
}

static int post_load(void *opaque, int version)
{
    g_autoptr(GVariant) v = g_variant_ref_sink(g_variant_new_from_data(
        G_VARIANT_TYPE(WALK_SOFT_STATE), state.data, state.size, false, NULL,
        NULL));

    if (!g_variant_is_normal_form(v) || !walk_soft_load(paging.model, v)) {
        error_report("the state of paging is damaged");
        return -EINVAL;
    }
    return 0;
}

static const VMStateDescription vmstate = {
    .name = "vsched-paging-soft",
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = pre_save,
    .post_load = post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(size, State),
        VMSTATE_VBUFFER_ALLOC_UINT32(data, State, 1, NULL, size),
        VMSTATE_END_OF_LIST()
    }
};

/* --- Start --- */

static bool config_check(const WalkConfig *config, Error **errp)
{
    if (!config->software) {
        error_setg(errp, "paging-config: [tlb] filled-by = hardware is for "
                   "processors that walk page tables: allowed for sparc64 is "
                   "software");
        return false;
    }
    if (!config->vpid) {
        error_setg(errp, "paging-config: [tlb] vpid = no is for processors "
                   "whose exits empty their TLB: allowed for sparc64 is yes");
        return false;
    }
    return true;
}

static void start(void)
{
    sparc_tlb_add_hooks(&hooks);
    vmstate_register(NULL, 0, &vmstate, &state);
}

static const PagingTarget target = {
    .config = "cmp8",
    .config_check = config_check,
    .start = start,
};

static void register_target(void)
{
    paging_target = &target;
}

type_init(register_target)
