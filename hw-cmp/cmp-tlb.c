/*
 * TLBs of PCPUs in a CMP machine: the engine says which VCPU is where, and the
 * processors say what they demap.
 *
 *   -M cmp8,tlb=pcpu
 *
 * QEMU's own TLB of a VCPU is a subset of the entries that the VCPU has, so it
 * is flushed when these become others.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "cpu.h"
#include "exec/cputlb.h"
#include "accel/vsched/engine.h"
#include "cmp-tlb.h"

static SharedTlb *shared;

QEMU_BUILD_BUG_ON(sizeof(SharedTlbEntry) != sizeof(SparcTLBEntry));
QEMU_BUILD_BUG_ON(offsetof(SharedTlbEntry, tag) !=
                  offsetof(SparcTLBEntry, tag));
QEMU_BUILD_BUG_ON(offsetof(SharedTlbEntry, tte) !=
                  offsetof(SparcTLBEntry, tte));
QEMU_BUILD_BUG_ON(SHARED_TLB_ENTRIES !=
                  ARRAY_SIZE(((CPUSPARCState *)NULL)->itlb));
QEMU_BUILD_BUG_ON(SHARED_TLB_VALID != TTE_VALID_BIT);
QEMU_BUILD_BUG_ON(SHARED_TLB_LOCKED != TTE_LOCKED_BIT);
QEMU_BUILD_BUG_ON(SHARED_TLB_GLOBAL != TTE_GLOBAL_BIT);
QEMU_BUILD_BUG_ON(SHARED_TLB_CONTEXT != MMU_CONTEXT_MASK);

static CPUSPARCState *env_of(unsigned vcpu)
{
    return cpu_env(vsched_engine->cpu[vcpu]);
}

static SparcTLBEntry *tlb_of(unsigned vcpu, SharedTlbSide side)
{
    CPUSPARCState *env = env_of(vcpu);

    return side == SHARED_TLB_CODE ? env->itlb : env->dtlb;
}

static SharedTlbEntry *entries(void *opaque, unsigned vcpu, SharedTlbSide side)
{
    return (SharedTlbEntry *)tlb_of(vcpu, side);
}

static void changed(void *opaque, unsigned vcpu)
{
    sparc_tlb_rebuild_indexes(env_of(vcpu));
    tlb_flush(vsched_engine->cpu[vcpu]);
}

static void remove_entry(void *opaque, unsigned vcpu, SharedTlbSide side,
                         unsigned number)
{
    sparc_tlb_remove_entry(env_of(vcpu), &tlb_of(vcpu, side)[number]);
}

static const SharedTlbHooks shared_hooks = {
    .entries = entries,
    .changed = changed,
    .remove = remove_entry,
};

static void switched(VschedListener *l, int64_t at, int vcpu, int before,
                     bool user)
{
    if (vcpu >= 0) {
        shared_tlb_switch(shared, l->pcpu, vcpu);
    }
}

static const VschedListenerOps listener_ops = {
    .name = "tlb",
    .switched = switched,
};

static SharedTlbSide side_of(bool code)
{
    return code ? SHARED_TLB_CODE : SHARED_TLB_DATA;
}

static void demapped(CPUSPARCState *env, bool code, bool whole, uint64_t addr,
                     unsigned context)
{
    SharedTlbDemap d = {
        .side = side_of(code),
        .whole = whole,
        .address = addr,
        .context = context,
    };

    shared_tlb_demap(shared, vsched_vcpu(env_cpu(env)), &d);
}

static void written(CPUSPARCState *env, bool code, unsigned number)
{
    shared_tlb_written(shared, vsched_vcpu(env_cpu(env)), side_of(code),
                       number);
}

static void cleared(CPUSPARCState *env, bool code, unsigned number)
{
    shared_tlb_clear(shared, vsched_vcpu(env_cpu(env)), side_of(code), number);
}

static SparcTLBHooks sparc_hooks = {
    .demap = demapped,
    .insert = written,
    .clear = cleared,
};

static void listen_to(VschedEngine *e)
{
    VschedListener *listener = g_new(VschedListener, e->pcpus);

    for (unsigned p = 0; p < e->pcpus; p++) {
        listener[p] = (VschedListener) {
            .ops = &listener_ops,
            .pcpu = p,
            .exact = INT64_MAX,
        };
        vsched_exec_listen(e, p, &listener[p]);
    }
}

static void add_counters(Object *machine, const SharedTlbCounters *c)
{
    const struct {
        const char *name, *description;
        const uint64_t *value;
    } counters[] = {
        { "left", "Entries that stayed in a PCPU when a VCPU left it",
          &c->left },
        { "found", "Entries that a VCPU found on the PCPU that it came to",
          &c->found },
        { "brought", "Entries that a VCPU has written last, and has brought to "
          "the PCPU that it came to", &c->brought },
        { "covered", "Entries that went because the VCPU that came has a "
          "locked one there", &c->covered },
        { "emptied", "Entries that went because a VCPU of another VM came",
          &c->emptied },
        { "demapped", "Entries that went because a VCPU of the VM demapped "
          "them on another PCPU", &c->demapped },
    };
    Object *tlb = object_new(TYPE_CONTAINER);

    object_property_add_child(machine, "tlbs", tlb);
    object_unref(tlb);
    for (unsigned i = 0; i < ARRAY_SIZE(counters); i++) {
        object_property_add_uint64_ptr(tlb, counters[i].name,
                                       counters[i].value, OBJ_PROP_FLAG_READ);
        object_property_set_description(tlb, counters[i].name,
                                        counters[i].description);
    }
}

SharedTlb *cmp_tlb_start(Object *machine, Error **errp)
{
    VschedEngine *e = vsched_engine;
    const VschedTopology *t;

    if (!e) {
        error_setg(errp, "tlb=pcpu is for PCPUs, which only thread=vsched has:"
                   " allowed is tlb=vcpu");
        return NULL;
    }
    t = &e->core->topology;
    shared = shared_tlb_new(t->pcpus, t->vcpus, t->vm, &shared_hooks);
    listen_to(e);
    add_counters(machine, shared_tlb_counters(shared));
    sparc_tlb_add_hooks(&sparc_hooks);
    return shared;
}
