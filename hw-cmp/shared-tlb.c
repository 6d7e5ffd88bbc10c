/*
 * TLBs that belong to PCPUs: see shared-tlb.h
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "shared-tlb.h"

typedef SharedTlbEntry Places[SHARED_TLB_ENTRIES];

typedef struct PCPU {
    int holder;                 /* VCPU, or SHARED_TLB_NOBODY */
    int vm;                     /* whose entries these are; -1: nobody's */
    Places entry[SHARED_TLB_SIDES];     /* while nobody holds it */
} PCPU;

/* Of one side of a VCPU: what it takes along */
typedef struct Last {
    int number;                 /* that was written last, or -1 */
    SharedTlbEntry copy;        /* valid at most while it holds no PCPU */
} Last;

struct SharedTlb {
    unsigned pcpus, vcpus;
    int *vm;                    /* of each VCPU */
    Last (*last)[SHARED_TLB_SIDES];
    PCPU *pcpu;
    SharedTlbHooks hooks;
    SharedTlbCounters counters;
};

static bool is_valid(const SharedTlbEntry *e)
{
    return e->tte & SHARED_TLB_VALID;
}

static bool is_locked(const SharedTlbEntry *e)
{
    return is_valid(e) && e->tte & SHARED_TLB_LOCKED;
}

static bool stays(const SharedTlbEntry *e)
{
    return is_valid(e) && !(e->tte & SHARED_TLB_LOCKED);
}

/* Address bits that tell pages of its size from each other */
static uint64_t page_mask(const SharedTlbEntry *e)
{
    return -(UINT64_C(8192) << 3 * SHARED_TLB_SIZE(e->tte));
}

static bool is_of_context(const SharedTlbEntry *e, unsigned context)
{
    return (e->tag & SHARED_TLB_CONTEXT) == context;
}

/* Whether there is an address that both of them translate */
static bool overlap(const SharedTlbEntry *a, const SharedTlbEntry *b)
{
    return !((a->tag ^ b->tag) & page_mask(a) & page_mask(b)) &&
           ((a->tte | b->tte) & SHARED_TLB_GLOBAL ||
            is_of_context(a, b->tag & SHARED_TLB_CONTEXT));
}

static bool matches(const SharedTlbEntry *e, const SharedTlbDemap *d)
{
    bool global = e->tte & SHARED_TLB_GLOBAL;

    if (d->whole) {
        return !global && is_of_context(e, d->context);
    }
    return !((e->tag ^ d->address) & page_mask(e)) &&
           (global || is_of_context(e, d->context));
}

SharedTlb *shared_tlb_new(unsigned pcpus, unsigned vcpus, const int *vm,
                          const SharedTlbHooks *hooks)
{
    SharedTlb *t = g_new0(SharedTlb, 1);

    t->pcpus = pcpus;
    t->vcpus = vcpus;
    t->vm = g_memdup2(vm, vcpus * sizeof(*vm));
    t->pcpu = g_new0(PCPU, pcpus);
    t->last = g_malloc0_n(vcpus, sizeof(*t->last));
    t->hooks = *hooks;
    for (unsigned p = 0; p < pcpus; p++) {
        t->pcpu[p].holder = SHARED_TLB_NOBODY;
        t->pcpu[p].vm = -1;
    }
    for (unsigned v = 0; v < vcpus; v++) {
        for (SharedTlbSide side = 0; side < SHARED_TLB_SIDES; side++) {
            t->last[v][side].number = -1;
        }
    }
    return t;
}

void shared_tlb_free(SharedTlb *t)
{
    if (t) {
        g_free(t->vm);
        g_free(t->last);
        g_free(t->pcpu);
        g_free(t);
    }
}

static SharedTlbEntry *entries_of(const SharedTlb *t, unsigned vcpu,
                                  SharedTlbSide side)
{
    return t->hooks.entries(t->hooks.opaque, vcpu, side);
}

/* @vcpu goes, with its locked entries; others go to @pcpu if it is not NULL. */
static void leave(SharedTlb *t, int vcpu, PCPU *pcpu)
{
    for (SharedTlbSide side = 0; side < SHARED_TLB_SIDES; side++) {
        SharedTlbEntry *own = entries_of(t, vcpu, side);
        Last *last = &t->last[vcpu][side];

        if (last->number >= 0 && stays(&own[last->number])) {
            last->copy = own[last->number];
        }
        for (unsigned i = 0; i < SHARED_TLB_ENTRIES; i++) {
            if (pcpu) {
                bool left = stays(&own[i]);

                pcpu->entry[side][i] = left ? own[i] : (SharedTlbEntry) { };
                t->counters.left += left;
            }
            if (!is_locked(&own[i])) {
                own[i] = (SharedTlbEntry) { };
            }
        }
    }
    t->hooks.changed(t->hooks.opaque, vcpu);
}

static void leave_pcpu(SharedTlb *t, PCPU *pcpu)
{
    if (pcpu->holder != SHARED_TLB_NOBODY) {
        leave(t, pcpu->holder, pcpu);
        pcpu->holder = SHARED_TLB_NOBODY;
    }
}

static void empty(SharedTlb *t, PCPU *pcpu)
{
    for (SharedTlbSide side = 0; side < SHARED_TLB_SIDES; side++) {
        for (unsigned i = 0; i < SHARED_TLB_ENTRIES; i++) {
            t->counters.emptied += is_valid(&pcpu->entry[side][i]);
        }
    }
    memset(pcpu->entry, 0, sizeof(pcpu->entry));
}

/* The locked entries of a VCPU, which are few */
typedef struct Locked {
    const SharedTlbEntry *entry[SHARED_TLB_ENTRIES];
    unsigned n;
} Locked;

static void find_locked(const SharedTlbEntry *own, Locked *locked)
{
    locked->n = 0;
    for (unsigned i = 0; i < SHARED_TLB_ENTRIES; i++) {
        if (is_locked(&own[i])) {
            locked->entry[locked->n++] = &own[i];
        }
    }
}

static bool is_covered(const SharedTlbEntry *e, const Locked *locked)
{
    for (unsigned i = 0; i < locked->n; i++) {
        if (overlap(e, locked->entry[i])) {
            return true;
        }
    }
    return false;
}

/* What the VCPU has written last is on its new PCPU as well. */
static void bring(SharedTlb *t, Last *last, const SharedTlbEntry *own,
                  const Locked *locked, SharedTlbEntry *pcpu)
{
    bool is_new = is_valid(&last->copy) && !is_locked(&own[last->number]) &&
                  !is_covered(&last->copy, locked);

    for (unsigned i = 0; is_new && i < SHARED_TLB_ENTRIES; i++) {
        is_new = !is_valid(&pcpu[i]) || !overlap(&last->copy, &pcpu[i]);
    }
    if (is_new) {
        pcpu[last->number] = last->copy;
        t->counters.brought++;
    }
    last->copy = (SharedTlbEntry) { };
}

/* @own has the VCPU's locked entries, and gets those of the PCPU. */
static void merge(SharedTlb *t, Last *last, SharedTlbEntry *own,
                  SharedTlbEntry *pcpu)
{
    Locked locked;

    find_locked(own, &locked);
    for (unsigned i = 0; i < SHARED_TLB_ENTRIES; i++) {
        SharedTlbEntry *e = &pcpu[i];

        if (is_valid(e)) {
            if (is_locked(&own[i]) || is_covered(e, &locked)) {
                t->counters.covered++;
                *e = (SharedTlbEntry) { };
            } else {
                t->counters.found++;
            }
        }
    }
    bring(t, last, own, &locked, pcpu);
    for (unsigned i = 0; i < SHARED_TLB_ENTRIES; i++) {
        if (!is_locked(&own[i])) {
            own[i] = pcpu[i];
        }
        pcpu[i] = (SharedTlbEntry) { };
    }
}

void shared_tlb_switch(SharedTlb *t, unsigned pcpu, unsigned vcpu)
{
    PCPU *here = &t->pcpu[pcpu];

    if (here->holder == (int)vcpu) {
        return;
    }
    for (unsigned p = 0; p < t->pcpus; p++) {
        if (t->pcpu[p].holder == (int)vcpu) {
            leave_pcpu(t, &t->pcpu[p]);
        }
    }
    leave_pcpu(t, here);
    if (here->vm != t->vm[vcpu]) {
        empty(t, here);
        here->vm = t->vm[vcpu];
    }
    for (SharedTlbSide side = 0; side < SHARED_TLB_SIDES; side++) {
        merge(t, &t->last[vcpu][side], entries_of(t, vcpu, side),
              here->entry[side]);
    }
    here->holder = vcpu;
    t->hooks.changed(t->hooks.opaque, vcpu);
}

/* What is in @pcpu, whoever holds it, and where it is to be removed */
static SharedTlbEntry *entries_in(SharedTlb *t, PCPU *pcpu, SharedTlbSide side)
{
    return pcpu->holder == SHARED_TLB_NOBODY ? pcpu->entry[side] :
           entries_of(t, pcpu->holder, side);
}

static void remove_in(SharedTlb *t, PCPU *pcpu, SharedTlbSide side,
                      unsigned number)
{
    t->counters.demapped++;
    if (pcpu->holder == SHARED_TLB_NOBODY) {
        pcpu->entry[side][number] = (SharedTlbEntry) { };
    } else {
        t->hooks.remove(t->hooks.opaque, pcpu->holder, side, number);
    }
}

/* Whether @pcpu has what @vcpu can leave there, and @vcpu is not there now */
static bool is_elsewhere(const SharedTlb *t, const PCPU *pcpu, unsigned vcpu)
{
    return pcpu->vm == t->vm[vcpu] && pcpu->holder != (int)vcpu;
}

void shared_tlb_written(SharedTlb *t, unsigned vcpu, SharedTlbSide side,
                        unsigned number)
{
    t->last[vcpu][side].number = number;
}

/* The copies of @vcpu's VM that are entry @number, or what @d says */
static void remove_copies(SharedTlb *t, unsigned vcpu, SharedTlbSide side,
                          int number, const SharedTlbDemap *d)
{
    for (unsigned v = 0; v < t->vcpus; v++) {
        Last *last = &t->last[v][side];

        if (t->vm[v] == t->vm[vcpu] &&
            (d ? matches(&last->copy, d) : last->number == number)) {
            last->copy = (SharedTlbEntry) { };
        }
    }
}

void shared_tlb_demap(SharedTlb *t, unsigned vcpu, const SharedTlbDemap *d)
{
    remove_copies(t, vcpu, d->side, -1, d);
    for (unsigned p = 0; p < t->pcpus; p++) {
        PCPU *pcpu = &t->pcpu[p];
        const SharedTlbEntry *e;

        if (!is_elsewhere(t, pcpu, vcpu)) {
            continue;
        }
        e = entries_in(t, pcpu, d->side);
        for (unsigned i = 0; i < SHARED_TLB_ENTRIES; i++) {
            if (stays(&e[i]) && matches(&e[i], d)) {
                remove_in(t, pcpu, d->side, i);
            }
        }
    }
}

void shared_tlb_clear(SharedTlb *t, unsigned vcpu, SharedTlbSide side,
                      unsigned number)
{
    remove_copies(t, vcpu, side, number, NULL);
    for (unsigned p = 0; p < t->pcpus; p++) {
        PCPU *pcpu = &t->pcpu[p];

        if (is_elsewhere(t, pcpu, vcpu) &&
            stays(&entries_in(t, pcpu, side)[number])) {
            remove_in(t, pcpu, side, number);
        }
    }
}

int shared_tlb_holder(const SharedTlb *t, unsigned pcpu)
{
    return t->pcpu[pcpu].holder;
}

const SharedTlbEntry *shared_tlb_of_pcpu(const SharedTlb *t, unsigned pcpu,
                                         SharedTlbSide side)
{
    return t->pcpu[pcpu].entry[side];
}

SharedTlbCounters *shared_tlb_counters(SharedTlb *t)
{
    return &t->counters;
}

/* --- State --- */

GVariant *shared_tlb_save(const SharedTlb *t)
{
    const SharedTlbCounters *c = &t->counters;
    GVariantBuilder b, last;

    g_variant_builder_init(&b, G_VARIANT_TYPE("a(iia(ytt))"));
    for (unsigned p = 0; p < t->pcpus; p++) {
        const PCPU *pcpu = &t->pcpu[p];

        g_variant_builder_open(&b, G_VARIANT_TYPE("(iia(ytt))"));
        g_variant_builder_add(&b, "i", pcpu->holder);
        g_variant_builder_add(&b, "i", pcpu->vm);
        g_variant_builder_open(&b, G_VARIANT_TYPE("a(ytt)"));
        for (unsigned n = 0; n < SHARED_TLB_SIDES * SHARED_TLB_ENTRIES; n++) {
            const SharedTlbEntry *e = &pcpu->entry[0][0] + n;

            if (is_valid(e)) {
                g_variant_builder_add(&b, "(ytt)", n, e->tag, e->tte);
            }
        }
        g_variant_builder_close(&b);
        g_variant_builder_close(&b);
    }
    g_variant_builder_init(&last, G_VARIANT_TYPE("a(itt)"));
    for (unsigned n = 0; n < t->vcpus * SHARED_TLB_SIDES; n++) {
        const Last *l = &t->last[n / SHARED_TLB_SIDES][n % SHARED_TLB_SIDES];

        g_variant_builder_add(&last, "(itt)", l->number, l->copy.tag,
                              l->copy.tte);
    }
    return g_variant_new("(@a(iia(ytt))@a(itt)(tttttt))",
                         g_variant_builder_end(&b),
                         g_variant_builder_end(&last), c->left, c->found,
                         c->brought, c->covered, c->emptied, c->demapped);
}

/* False: no PCPU of this machine can be so. */
static bool load_pcpu(const SharedTlb *t, PCPU *pcpu, GVariant *state)
{
    g_autoptr(GVariantIter) entries = NULL;
    uint64_t tag, tte;
    guint8 n;
    int last = -1;

    g_variant_get(state, "(iia(ytt))", &pcpu->holder, &pcpu->vm, &entries);
    if (pcpu->holder != SHARED_TLB_NOBODY &&
        (pcpu->holder < 0 || pcpu->holder >= (int)t->vcpus ||
         pcpu->vm != t->vm[pcpu->holder] || g_variant_iter_n_children(entries)))
    {
        return false;
    }
    if (pcpu->vm == -1) {
        return !g_variant_iter_n_children(entries);
    }
    for (unsigned v = 0; v < t->vcpus && t->vm[v] != pcpu->vm; v++) {
        if (v == t->vcpus - 1) {
            return false;
        }
    }
    while (g_variant_iter_next(entries, "(ytt)", &n, &tag, &tte)) {
        SharedTlbEntry e = { tag, tte };

        if (n <= last || n >= SHARED_TLB_SIDES * SHARED_TLB_ENTRIES ||
            !stays(&e)) {
            return false;
        }
        last = n;
        (&pcpu->entry[0][0])[n] = e;
    }
    return true;
}

static bool load_last(const SharedTlb *t, Last *last, GVariant *state)
{
    unsigned n = t->vcpus * SHARED_TLB_SIDES;
    bool possible = g_variant_n_children(state) == n;

    for (unsigned i = 0; possible && i < n; i++) {
        Last *l = &last[i];

        g_variant_get_child(state, i, "(itt)", &l->number, &l->copy.tag,
                            &l->copy.tte);
        possible = l->number >= -1 && l->number < SHARED_TLB_ENTRIES &&
                   (stays(&l->copy) ? l->number >= 0 : !l->copy.tte);
    }
    return possible;
}

bool shared_tlb_load(SharedTlb *t, GVariant *state, char **why)
{
    g_autoptr(GVariant) checked = NULL;
    g_autoptr(GVariant) array = NULL;
    g_autoptr(GVariant) lasts = NULL;
    g_autofree PCPU *pcpu = NULL;
    g_autofree Last *last = g_new0(Last, t->vcpus * SHARED_TLB_SIDES);
    g_autofree bool *holds = g_new0(bool, t->vcpus);
    SharedTlbCounters c;
    unsigned n;

    if (!g_variant_is_of_type(state, G_VARIANT_TYPE(SHARED_TLB_STATE)) ||
        !g_variant_is_normal_form(state)) {
        *why = g_strdup("the TLBs of PCPUs: this is no state of theirs");
        return false;
    }
    g_variant_get(state, "(@a(iia(ytt))@a(itt)(tttttt))", &array, &lasts,
                  &c.left, &c.found, &c.brought, &c.covered, &c.emptied,
                  &c.demapped);
    n = g_variant_n_children(array);
    pcpu = g_new0(PCPU, n);
    for (unsigned p = 0; p < n; p++) {
        g_autoptr(GVariant) child = g_variant_get_child_value(array, p);
        bool possible = load_pcpu(t, &pcpu[p], child);
        int holder = pcpu[p].holder;

        if (!possible || (holder != SHARED_TLB_NOBODY && holds[holder])) {
            *why = g_strdup_printf("the TLB of PCPU %u has what it cannot have",
                                   p);
            return false;
        }
        if (holder != SHARED_TLB_NOBODY) {
            holds[holder] = true;
        }
    }
    if (!load_last(t, last, lasts)) {
        *why = g_strdup("a VCPU takes TLB entries along that it cannot have");
        return false;
    }
    memcpy(t->last, last, t->vcpus * sizeof(*t->last));
    for (unsigned p = 0; p < MAX(n, t->pcpus); p++) {
        if (p >= t->pcpus) {
            if (pcpu[p].holder != SHARED_TLB_NOBODY) {
                leave(t, pcpu[p].holder, NULL);
            }
        } else {
            t->pcpu[p] = p < n ? pcpu[p] :
                         (PCPU) { .holder = SHARED_TLB_NOBODY, .vm = -1 };
        }
    }
    t->counters = c;
    return true;
}
