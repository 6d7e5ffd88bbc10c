/*
 * What paging costs: TLBs, page walks and exits of PCPUs that run VMs
 *
 * See walk-model.h.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <inttypes.h>
#include <string.h>

#include "walk-model.h"
#include "walk-soft.h"

#define PAGE 4096
#define OUT_OF_SYNC_MAX 64

typedef struct PCPU {
    WalkTlb *tlb;
    WalkCache *cache;
    WalkCounters counters[2];
} PCPU;

typedef struct VCPU {
    unsigned vm;
    uint64_t root;
    WalkFormat format;
    uint32_t asid;
    /* Tables that it has let go out of sync, the oldest first */
    unsigned unsynced;
    uint64_t out_of_sync[OUT_OF_SYNC_MAX];
    /* The table that its last writes were emulated to, and how many */
    uint64_t emulated;
    unsigned in_a_row;
    WalkCounters counters[2];
} VCPU;

typedef struct VM {
    WalkMode mode;
    WalkP2m *p2m;
    WalkShadow *shadow;
} VM;

typedef struct ShadowHooks {
    WalkModel *m;
    unsigned vm;
} ShadowHooks;

struct WalkModel {
    WalkConfig config;
    unsigned pcpus, vcpus, vms;
    uint64_t seed;              /* of random replacement */
    WalkHooks hooks;
    PCPU *pcpu;
    VCPU *vcpu;
    VM *vm;
    ShadowHooks *shadow_hooks;
    unsigned evicting;          /* the PCPU whose TLB is asked */
    /* Of guests that fill TLBs themselves: walk-soft.c.inc */
    WalkSoftTable **soft_table; /* of each VM */
    struct SoftVCPU *soft_vcpu; /* of each VCPU */
    uint64_t soft_base;         /* machine address of tables of the host */
};

static void soft_new(WalkModel *m);
static void soft_free(WalkModel *m);

const char *const walk_mode_names[WALK_MODES] = {
    "native", "nested", "shadow", "agile"
};

/* In the order of WalkCounters */
const char *const walk_counter_names[] = {
    "itlb-l1-misses", "dtlb-l1-misses", "itlb-l2-hits", "dtlb-l2-hits",
    "itlb-misses", "dtlb-misses", "dirty-walks", "page-faults",
    "references-guest", "references-host", "nested-tlb-hits",
    "references-saved",
    "exits-page-fault", "exits-hidden-fault", "exits-accessed", "exits-dirty",
    "exits-unsync", "exits-emulate", "exits-root", "exits-invlpg",
    "exits-not-backed", "exits-interrupt", "exits-io", "exits-halt",
    "shadow-filled", "shadow-prefetched", "tables-resynced",
    "tables-unshadowed", "tables-to-nested", "tables-to-shadow", "tlb-flushes",
    "cycles-l2-tlb", "cycles-walks",
    "cycles-page-fault", "cycles-hidden-fault", "cycles-accessed",
    "cycles-dirty", "cycles-unsync", "cycles-emulate", "cycles-root",
    "cycles-invlpg", "cycles-not-backed", "cycles-interrupt", "cycles-io",
    "cycles-halt",
    NULL
};

#define COUNTERS (sizeof(WalkCounters) / sizeof(uint64_t))
G_STATIC_ASSERT(G_N_ELEMENTS(walk_counter_names) == COUNTERS + 1);

/* --- The machine --- */

static void evicted(void *opaque, WalkSide side, uint64_t address,
                    WalkSize size, WalkTag tag)
{
    WalkModel *m = opaque;

    if (m->hooks.evicted) {
        m->hooks.evicted(m->hooks.opaque, m->evicting, side, address, size,
                         tag);
    }
}

static uint64_t read_entry(void *opaque, uint64_t gpa, unsigned size)
{
    const ShadowHooks *h = opaque;

    return h->m->hooks.read(h->m->hooks.opaque, h->vm, gpa, size);
}

static void protect(void *opaque, uint64_t gfn, bool on)
{
    const ShadowHooks *h = opaque;

    if (h->m->hooks.protect) {
        h->m->hooks.protect(h->m->hooks.opaque, h->vm, gfn, on);
    }
}

/* Nothing has run on it yet. */
static void init_pcpu(WalkModel *m, unsigned pcpu)
{
    m->pcpu[pcpu] = (PCPU) {
        .tlb = walk_tlb_new(&m->config.tlb, m->seed + pcpu),
        .cache = walk_cache_new(&m->config.cache),
    };
    walk_tlb_on_evicted(m->pcpu[pcpu].tlb, evicted, m);
}

static void destroy_pcpu(WalkModel *m, unsigned pcpu)
{
    walk_tlb_free(m->pcpu[pcpu].tlb);
    walk_cache_free(m->pcpu[pcpu].cache);
}

WalkModel *walk_model_new(const WalkConfig *config, const WalkMachine *machine,
                          const WalkHooks *hooks, WalkMode mode)
{
    WalkModel *m = g_new0(WalkModel, 1);

    m->config = *config;
    m->hooks = *hooks;
    m->pcpus = machine->pcpus;
    m->vcpus = machine->vcpus;
    m->vms = machine->vms;
    m->seed = machine->seed;
    m->pcpu = g_new0(PCPU, m->pcpus);
    for (unsigned i = 0; i < m->pcpus; i++) {
        init_pcpu(m, i);
    }
    m->vcpu = g_new0(VCPU, m->vcpus);
    for (unsigned i = 0; i < m->vcpus; i++) {
        m->vcpu[i].vm = machine->vm[i];
    }
    m->vm = g_new0(VM, m->vms);
    m->shadow_hooks = g_new(ShadowHooks, m->vms);
    for (unsigned i = 0; i < m->vms; i++) {
        uint64_t base = machine->table_base + i * WALK_TABLES_SIZE;
        WalkShadowHooks h = {
            .read = read_entry,
            .protect = protect,
            .opaque = &m->shadow_hooks[i],
        };

        m->shadow_hooks[i] = (ShadowHooks) { m, i };
        m->vm[i].mode = mode;
        m->vm[i].p2m = walk_p2m_new(config->host_levels, config->host_large,
                                    config->host_backed, base);
        m->vm[i].shadow = walk_shadow_new(&h, config->pages,
                                          base + WALK_TABLES_SIZE / 2);
    }
    m->soft_base = machine->table_base;
    soft_new(m);
    return m;
}

void walk_model_free(WalkModel *m)
{
    if (!m) {
        return;
    }
    soft_free(m);
    for (unsigned i = 0; i < m->pcpus; i++) {
        destroy_pcpu(m, i);
    }
    for (unsigned i = 0; i < m->vms; i++) {
        walk_p2m_free(m->vm[i].p2m);
        walk_shadow_free(m->vm[i].shadow);
    }
    g_free(m->pcpu);
    g_free(m->vcpu);
    g_free(m->vm);
    g_free(m->shadow_hooks);
    g_free(m);
}

/* --- What goes on --- */

/* Something that costs cycles, of a VCPU on a PCPU */
typedef struct Work {
    WalkModel *m;
    unsigned pcpu, vcpu;
    PCPU *p;
    VCPU *v;
    VM *vm;
    WalkCounters *counters[2];  /* the PCPU's and the VCPU's */
    int64_t cycles;
    WalkTlbHit before;          /* what the TLB has, but does not let through */
} Work;

#define COUNT(w, counter, n) do { \
        (w)->counters[0]->counter += (n); \
        (w)->counters[1]->counter += (n); \
    } while (0)

static Work work(WalkModel *m, unsigned pcpu, unsigned vcpu, bool user)
{
    Work w = {
        .m = m,
        .pcpu = pcpu,
        .vcpu = vcpu,
        .p = &m->pcpu[pcpu],
        .v = &m->vcpu[vcpu],
    };

    w.vm = &m->vm[w.v->vm];
    w.counters[0] = &w.p->counters[user];
    w.counters[1] = &w.v->counters[user];
    m->evicting = pcpu;
    return w;
}

static WalkTag tag_of(const WalkModel *m, unsigned vcpu)
{
    return (WalkTag) { m->vcpu[vcpu].asid, vcpu + 1 };
}

static WalkTag tag(const Work *w)
{
    return tag_of(w->m, w->vcpu);
}

static void tell_flushed(WalkModel *m, unsigned pcpu)
{
    if (m->hooks.flushed) {
        m->hooks.flushed(m->hooks.opaque, pcpu);
    }
}

/*
 * An entry into a guest without VPID.  What translates guest-physical addresses
 * stays (Intel SDM 3C, 30.4.3.1).
 */
static void flush_pcpu(WalkModel *m, unsigned pcpu)
{
    walk_tlb_flush(m->pcpu[pcpu].tlb);
    walk_cache_flush_guest(m->pcpu[pcpu].cache);
    tell_flushed(m, pcpu);
}

static void leave_guest(Work *w, WalkExit exit)
{
    int64_t cost = w->m->config.exit[exit];

    COUNT(w, exits[exit], 1);
    COUNT(w, exit_cycles[exit], cost);
    w->cycles += cost;
    if (!w->m->config.vpid) {
        COUNT(w, flushes, 1);
        flush_pcpu(w->m, w->pcpu);
    }
}

/* All VCPUs of a VM lose their translations, on all PCPUs. */
static void flush_vm(WalkModel *m, const VM *vm)
{
    for (unsigned p = 0; p < m->pcpus; p++) {
        for (unsigned v = 0; v < m->vcpus; v++) {
            if (&m->vm[m->vcpu[v].vm] == vm) {
                walk_tlb_flush_vpid(m->pcpu[p].tlb, v + 1, true);
                walk_cache_flush_vpid(m->pcpu[p].cache, v + 1);
            }
        }
        tell_flushed(m, p);
    }
}

/* The shadow of a table, made if there is none: another one may go for it. */
static WalkShadowPage *shadow_of(Work *w, uint64_t gfn, unsigned level,
                                 WalkFormat format)
{
    WalkShadowPage *p = walk_shadow_get(w->vm->shadow, gfn, level, format);
    unsigned gone = walk_shadow_made_room(w->vm->shadow);

    if (gone) {
        COUNT(w, unshadowed, gone);
        flush_vm(w->m, w->vm);
    }
    return p;
}

/* --- References --- */

/* Cycles beyond those of a reference that the first cache has */
static int64_t stall(const Work *w, uint64_t address, unsigned size, bool store)
{
    WalkReference r = {
        .pcpu = w->pcpu,
        .vcpu = w->vcpu,
        .cycle = w->cycles,
        .address = address,
        .size = size,
        .store = store,
    };

    return w->m->hooks.stall ? w->m->hooks.stall(w->m->hooks.opaque, &r) : 0;
}

static void refer(Work *w, WalkDimension dimension, uint64_t address,
                  unsigned size, bool leaf)
{
    const WalkConfig *c = &w->m->config;
    int64_t cycles;

    if (c->cache.kind == WALK_CACHE_AMD && !leaf &&
        walk_cache_touch(w->p->cache, address)) {
        COUNT(w, skipped, 1);
        return;
    }
    COUNT(w, references[dimension], 1);
    cycles = c->reference + stall(w, address, size, false);
    COUNT(w, walk_cycles, cycles);
    w->cycles += cycles;
}

/* The walker has set an A or a D bit: a store, which is no reference. */
static void set_bit(Work *w, uint64_t address, unsigned size)
{
    int64_t cycles = stall(w, address, size, true);

    COUNT(w, walk_cycles, cycles);
    w->cycles += cycles;
}

/* The level at which a walk begins, of @top levels that end at @last */
static unsigned begin_at(Work *w, WalkDimension dimension, uint64_t address,
                         WalkTag t, unsigned top, unsigned last, unsigned bits)
{
    unsigned known = walk_cache_lookup(w->p->cache, dimension, address, t, top,
                                       bits);
    /* What is known of a table that is no table any more is not used. */
    unsigned begin = known > last ? known - 1 : top;

    COUNT(w, skipped, top - begin);
    return begin;
}

/*
 * The host's walk for @gpa; of a page of the guest's tables, the nested TLB may
 * know it.
 */
static void translate(Work *w, uint64_t gpa, bool of_table)
{
    WalkP2m *p2m = w->vm->p2m;
    WalkTag t = { 0, w->v->vm + 1 };
    unsigned top = walk_p2m_levels(p2m), last = walk_p2m_leaf(p2m);

    if (of_table && walk_cache_is_nested(w->p->cache, gpa / PAGE, t.vpid)) {
        COUNT(w, nested_hits, 1);
        return;
    }
    for (unsigned level = begin_at(w, WALK_HOST, gpa, t, top, last, 9);
         level >= last; level--) {
        refer(w, WALK_HOST, walk_p2m_entry(p2m, gpa, level), 8, level == last);
        if (level > last) {
            walk_cache_fill(w->p->cache, WALK_HOST, gpa, t, level, 9);
        }
    }
    if (of_table) {
        walk_cache_nest(w->p->cache, gpa / PAGE, t.vpid);
    }
}

/* --- Walks --- */

static unsigned top_level(const Work *w, WalkFormat format)
{
    unsigned levels = walk_format_levels(format);

    return format == WALK_PAE && w->m->config.pdptes ? levels - 1 : levels;
}

static unsigned index_of(const WalkAccess *a, unsigned level)
{
    return a->entry[level] % PAGE / walk_format_entry(a->format);
}

static void remember(Work *w, const WalkAccess *a, unsigned level)
{
    walk_cache_fill(w->p->cache, WALK_GUEST, a->address, tag(w), level,
                    walk_format_bits(a->format));
}

/*
 * The guest's tables from @level on.  In two dimensions, the address of each is
 * translated, but for that of the first one if it is @known.
 */
static void walk_guest(Work *w, const WalkAccess *a, unsigned level, bool known,
                       bool two)
{
    for (; level >= a->last; level--) {
        if (two && !known) {
            translate(w, a->entry[level], true);
        }
        known = false;
        refer(w, WALK_GUEST, a->entry[level], walk_format_entry(a->format),
              level == a->last);
        if (a->set & 1u << level) {
            set_bit(w, a->entry[level], walk_format_entry(a->format));
        }
        if (level > a->last) {
            remember(w, a, level);
        }
    }
    if (two && !a->fault) {
        translate(w, a->gpa, false);
    }
}

static unsigned begin_guest(Work *w, const WalkAccess *a, bool *known)
{
    unsigned top = top_level(w, a->format);
    unsigned begin = begin_at(w, WALK_GUEST, a->address, tag(w), top, a->last,
                              walk_format_bits(a->format));

    *known = begin != top;
    return begin;
}

static WalkSize size_of(const WalkAccess *a)
{
    return a->last == 1 ? WALK_4K : a->last == 3 ? WALK_1G :
           a->format == WALK_32 ? WALK_4M : WALK_2M;
}

/* The smaller one of the guest's page and the host's */
static WalkSize size_in_both(const Work *w, const WalkAccess *a)
{
    WalkSize guest = size_of(a), host = walk_p2m_size(w->vm->p2m);

    return walk_size_shift(guest) < walk_size_shift(host) ? guest : host;
}

static uint64_t page_of(uint64_t address, WalkSize size)
{
    return address & -(UINT64_C(1) << walk_size_shift(size));
}

static void fill_tlb(Work *w, const WalkAccess *a, WalkSize size,
                     unsigned rights)
{
    WalkSide side = a->code ? WALK_CODE : WALK_DATA;
    WalkModel *m = w->m;

    if (w->before.level) {
        int gone = walk_tlb_drop_others(w->p->tlb, side, a->address, size,
                                        tag(w));

        if (w->before.rights & ~rights) {
            gone = MAX(gone, (int)w->before.size);
        }
        if (gone >= 0 && m->hooks.forgotten) {
            m->hooks.forgotten(m->hooks.opaque, w->pcpu, w->vcpu,
                               page_of(a->address, gone), gone);
        }
    }
    walk_tlb_fill(w->p->tlb, side, a->address, size, size_of(a), tag(w),
                  a->global, rights);
}

static unsigned wanted_rights(const WalkAccess *a)
{
    return (a->write ? WALK_MAY_WRITE : 0) | (a->user ? WALK_MAY_USER : 0);
}

static unsigned guest_rights(const Work *w, const WalkAccess *a)
{
    uint64_t all = WALK_PTE_USER;

    for (unsigned level = top_level(w, a->format); level >= a->last; level--) {
        if (a->format != WALK_PAE || level < 3) {   /* PDPTEs have none */
            all &= a->value[level];
        }
    }
    return (a->writable ? WALK_MAY_WRITE : 0) | (all ? WALK_MAY_USER : 0);
}

/*
 * A page fault, also one that only the host hears of, invalidates what the
 * processor knows of the address (Intel SDM 3A, 4.10.4.1).
 */
static void forget_faulted(Work *w, const WalkAccess *a)
{
    WalkModel *m = w->m;
    int size = walk_tlb_drop(w->p->tlb, a->address, tag(w));

    walk_cache_flush_page(w->p->cache, a->address, tag(w),
                          walk_format_bits(a->format));
    if (size >= 0 && m->hooks.forgotten) {
        m->hooks.forgotten(m->hooks.opaque, w->pcpu, a->vcpu,
                           page_of(a->address, size), size);
    }
}

/* --- Shadow tables --- */

/* A large page of the guest's in memory of small ones */
static bool is_split(const Work *w, const WalkAccess *a)
{
    return a->last > 1 && walk_p2m_leaf(w->vm->p2m) == 1;
}

/* The page into which the part of a large page is split, and its entry there */
static uint64_t split_gfn(const WalkAccess *a, unsigned *index)
{
    unsigned entries = PAGE / walk_format_entry(a->format);
    uint64_t gfn = a->gpa / PAGE;

    *index = gfn % entries;
    return gfn - *index;
}

static WalkShadowPage *find_table(const Work *w, const WalkAccess *a,
                                  unsigned level)
{
    return walk_shadow_find(w->vm->shadow, a->entry[level] / PAGE, level);
}

/* Whether the shadow of the entry of @level leads on */
static bool leads_on(const Work *w, const WalkAccess *a, unsigned level)
{
    const WalkShadowPage *p = find_table(w, a, level);

    return p && walk_shadow_is_filled(p, index_of(a, level)) &&
           (level == a->last || find_table(w, a, level - 1));
}

/*
 * Where a shadow walk stops: the level whose entry does not lead on, or the
 * last one - 1 if all do.  Agile paging: the level above a table that is
 * nested.
 */
typedef struct ShadowWalk {
    unsigned stopped;
    bool turned;                /* to two dimensions */
} ShadowWalk;

static bool is_nested_table(const Work *w, const WalkAccess *a, unsigned level)
{
    return w->vm->mode == WALK_AGILE &&
           walk_shadow_is_nested(w->vm->shadow, a->entry[level] / PAGE);
}

/* The entry of a table above a nested one has to be there, no more. */
static bool turns_below(const Work *w, const WalkAccess *a, unsigned level)
{
    const WalkShadowPage *p = find_table(w, a, level);

    return level > a->last && is_nested_table(w, a, level - 1) && p &&
           walk_shadow_is_filled(p, index_of(a, level));
}

static void refer_shadow(Work *w, const WalkAccess *a, unsigned level)
{
    const WalkShadowPage *p = find_table(w, a, level);

    /* The root's shadow is there from the first use of it on. */
    if (!p) {
        p = shadow_of(w, a->entry[level] / PAGE, level, a->format);
    }
    refer(w, WALK_GUEST, walk_shadow_address(p, index_of(a, level)),
          walk_format_entry(a->format), level == a->last);
}

/* The highest level whose table is nested, 0 if none is */
static unsigned turning_level(const Work *w, const WalkAccess *a)
{
    for (unsigned level = top_level(w, a->format); level >= a->last; level--) {
        if (is_nested_table(w, a, level)) {
            return level;
        }
    }
    return 0;
}

static ShadowWalk walk_shadow(Work *w, const WalkAccess *a)
{
    bool known;
    unsigned level = begin_guest(w, a, &known);
    unsigned turns = turning_level(w, a);

    for (; level >= a->last; level--) {
        /* What is below a nested table is walked like it. */
        if (level <= turns) {
            walk_guest(w, a, level, known || level != top_level(w, a->format),
                       true);
            return (ShadowWalk) { .stopped = a->last - 1, .turned = true };
        }
        refer_shadow(w, a, level);
        if (!leads_on(w, a, level) && !turns_below(w, a, level)) {
            return (ShadowWalk) { .stopped = level };
        }
        if (level > a->last) {
            remember(w, a, level);
        }
        known = true;
    }
    return (ShadowWalk) { .stopped = a->last - 1 };
}

/* The page of a large one that is split: its entry, after the last one */
static bool walk_split(Work *w, const WalkAccess *a)
{
    unsigned index;
    uint64_t gfn = split_gfn(a, &index);
    const WalkShadowPage *p = walk_shadow_find(w->vm->shadow, gfn, WALK_SPLIT);

    if (!p) {
        return false;
    }
    refer(w, WALK_GUEST, walk_shadow_address(p, index),
          walk_format_entry(a->format), true);
    return walk_shadow_is_filled(p, index);
}

static void fill_entry(Work *w, WalkShadowPage *p, unsigned index,
                       uint64_t value)
{
    COUNT(w, filled, !walk_shadow_is_filled(p, index));
    walk_shadow_fill(p, index, value);
}

/* Entries behind the one that was filled: those that the guest has used */
static void prefetch(Work *w, const WalkAccess *a)
{
    WalkShadowPage *p = find_table(w, a, 1);
    unsigned size = walk_format_entry(a->format);
    unsigned first = index_of(a, 1);
    const uint64_t used = WALK_PTE_PRESENT | WALK_PTE_ACCESSED;

    for (unsigned i = 1; i < w->m->config.prefetch &&
         first + i < PAGE / size; i++) {
        uint64_t value;

        if (walk_shadow_is_filled(p, first + i)) {
            continue;
        }
        value = w->m->hooks.read(w->m->hooks.opaque, w->v->vm,
                                 a->entry[1] + i * size, size);
        if ((value & used) == used) {
            walk_shadow_fill(p, first + i, value);
            COUNT(w, prefetched, 1);
        }
    }
}

/*
 * The same of a large page that is split.  All may be done through its pieces:
 * the shadow of the large page's entry says what may be, and a page that is
 * mapped twice has them once (Xen's "FL1").
 */
static void fill_split(Work *w, const WalkAccess *a)
{
    const uint64_t all = WALK_PTE_PRESENT | WALK_PTE_WRITE |
                         WALK_PTE_ACCESSED | WALK_PTE_DIRTY;
    unsigned entries = PAGE / walk_format_entry(a->format), index;
    uint64_t gfn = split_gfn(a, &index);
    WalkShadowPage *p = shadow_of(w, gfn, WALK_SPLIT, a->format);

    fill_entry(w, p, index, all);
    for (unsigned i = 1; i < w->m->config.prefetch && index + i < entries;
         i++) {
        if (!walk_shadow_is_filled(p, index + i)) {
            walk_shadow_fill(p, index + i, all);
            COUNT(w, prefetched, 1);
        }
    }
}

static void fill_shadow(Work *w, const WalkAccess *a)
{
    unsigned turns = turning_level(w, a);

    for (unsigned level = top_level(w, a->format); level >= a->last; level--) {
        if (level <= turns) {
            return;
        }
        fill_entry(w, shadow_of(w, a->entry[level] / PAGE, level, a->format),
                   index_of(a, level), a->value[level]);
    }
    if (is_split(w, a)) {
        fill_split(w, a);
    } else if (a->last == 1 && find_table(w, a, 1)) {
        prefetch(w, a);
    }
}

static uint64_t last_shadow_value(const Work *w, const WalkAccess *a)
{
    const WalkShadowPage *p = find_table(w, a, a->last);

    return p ? walk_shadow_value(p, index_of(a, a->last)) : 0;
}

/*
 * What the shadow of the last entry lets through, which may be of a time when
 * the guest's entry allowed less.  What that does not allow by now either, and
 * was done, needs no allowance (supervisors may write without CR0.WP).
 */
static unsigned shadow_rights(const Work *w, const WalkAccess *a)
{
    uint64_t value = last_shadow_value(w, a), now = a->value[a->last];

    value |= ~now & (WALK_PTE_WRITE | WALK_PTE_USER);
    return ((value & WALK_PTE_WRITE) && (value & WALK_PTE_DIRTY) ?
            WALK_MAY_WRITE : 0) |
           (value & WALK_PTE_USER ? WALK_MAY_USER : 0);
}

static bool is_filled(const Work *w, const WalkAccess *a, const ShadowWalk *s)
{
    return s->stopped < a->last &&
           (s->turned || !(wanted_rights(a) & ~shadow_rights(w, a)));
}

static WalkExit why_not_filled(const Work *w, const WalkAccess *a,
                               const ShadowWalk *s)
{
    return !a->was_accessed ? WALK_EXIT_ACCESSED :
           s->stopped < a->last && a->write &&
           !(last_shadow_value(w, a) & WALK_PTE_DIRTY) ?
           WALK_EXIT_DIRTY : WALK_EXIT_HIDDEN;
}

static unsigned access_shadow(Work *w, const WalkAccess *a)
{
    unsigned rights = guest_rights(w, a);
    ShadowWalk s = walk_shadow(w, a);
    bool split = is_split(w, a) && !s.turned && !a->fault;
    bool whole = is_filled(w, a, &s) && (!split || walk_split(w, a));

    if (!whole) {
        forget_faulted(w, a);
        leave_guest(w, why_not_filled(w, a, &s));
        fill_shadow(w, a);
        /* The guest repeats the access, with tables that fit. */
        s = walk_shadow(w, a);
        if (split) {
            walk_split(w, a);
        }
    }
    if (!s.turned) {
        rights &= shadow_rights(w, a) | wanted_rights(a);
    }
    fill_tlb(w, a, s.turned ? size_in_both(w, a) :
             split ? WALK_4K : size_of(a), rights);
    return rights;
}

/* --- An access --- */

static void back(Work *w, uint64_t gpa)
{
    if (!walk_p2m_is_backed(w->vm->p2m, gpa)) {
        leave_guest(w, WALK_EXIT_NOT_BACKED);
        walk_p2m_back(w->vm->p2m, gpa);
    }
}

/* The rights of the TLB's entry */
static unsigned access_in_mode(Work *w, const WalkAccess *a)
{
    bool two = w->vm->mode == WALK_NESTED, known;
    unsigned begin, rights;

    switch (w->vm->mode) {
    case WALK_NATIVE:
    case WALK_NESTED:
        begin = begin_guest(w, a, &known);
        walk_guest(w, a, begin, known, two);
        rights = guest_rights(w, a);
        fill_tlb(w, a, two ? size_in_both(w, a) : size_of(a), rights);
        return rights;
    default:
        return access_shadow(w, a);
    }
}

/* The walk that finds it, and the exit if the host looks at faults first */
static void fault_in_mode(Work *w, const WalkAccess *a)
{
    bool known;
    unsigned begin;
    ShadowWalk s;

    COUNT(w, faults, 1);
    switch (w->vm->mode) {
    case WALK_NATIVE:
    case WALK_NESTED:
        begin = begin_guest(w, a, &known);
        walk_guest(w, a, begin, known, w->vm->mode == WALK_NESTED);
        forget_faulted(w, a);
        break;
    default:
        s = walk_shadow(w, a);
        forget_faulted(w, a);
        if (!s.turned) {
            leave_guest(w, WALK_EXIT_FAULT);
        }
    }
}

/* What a lookup takes that found the entry in @level; 0: it missed. */
static void count_lookup(Work *w, WalkSide side, unsigned level)
{
    if (level != 1) {
        COUNT(w, l1_misses[side], 1);
    }
    if (level == 2) {
        COUNT(w, l2_hits[side], 1);
    } else if (!level) {
        COUNT(w, misses[side], 1);
    }
}

static void charge_level(Work *w, unsigned level)
{
    if (level == 2) {
        COUNT(w, l2_cycles, w->m->config.l2_latency);
        w->cycles += w->m->config.l2_latency;
    }
}

bool walk_model_knows(WalkModel *m, WalkAccess *a, int64_t *cycles)
{
    Work w = work(m, a->pcpu, a->vcpu, a->user);
    WalkSide side = a->code ? WALK_CODE : WALK_DATA;
    unsigned rights = wanted_rights(a);
    unsigned level = walk_tlb_lookup_with(w.p->tlb, side, a->address, tag(&w),
                                          &rights);

    if (!level) {
        return false;
    }
    count_lookup(&w, side, level);
    charge_level(&w, level);
    a->writable = rights & WALK_MAY_WRITE;
    *cycles = w.cycles;
    return true;
}

bool walk_model_would_know(const WalkModel *m, const WalkAccess *a)
{
    WalkTlbHit hit = walk_tlb_peek(m->pcpu[a->pcpu].tlb,
                                   a->code ? WALK_CODE : WALK_DATA, a->address,
                                   tag_of(m, a->vcpu));

    return hit.level && !(wanted_rights(a) & ~hit.rights);
}

int64_t walk_model_access(WalkModel *m, WalkAccess *a)
{
    Work w = work(m, a->pcpu, a->vcpu, a->user);
    WalkSide side = a->code ? WALK_CODE : WALK_DATA;
    WalkTlbHit hit = walk_tlb_lookup(w.p->tlb, side, a->address, tag(&w));

    count_lookup(&w, side, hit.level);
    if (hit.level && !a->fault && !(wanted_rights(a) & ~hit.rights)) {
        a->writable &= hit.rights & WALK_MAY_WRITE;
        charge_level(&w, hit.level);
        return w.cycles;
    }
    if (!a->fault) {
        w.before = hit;
    }
    if (w.before.level) {
        COUNT(&w, dirty, 1);
    }
    if (a->fault) {
        fault_in_mode(&w, a);
        return w.cycles;
    }
    if (w.vm->mode != WALK_NATIVE) {
        back(&w, a->gpa);
    }
    a->writable = access_in_mode(&w, a) & WALK_MAY_WRITE;
    return w.cycles;
}

bool walk_model_has(const WalkModel *m, unsigned pcpu, unsigned vcpu,
                    bool code, unsigned rights, uint64_t address)
{
    return walk_tlb_has(m->pcpu[pcpu].tlb, code ? WALK_CODE : WALK_DATA,
                        address, tag_of(m, vcpu), rights);
}

/* --- What the guest does with its tables --- */

static bool has_shadow(const VM *vm)
{
    return vm->mode == WALK_SHADOWED || vm->mode == WALK_AGILE;
}

static void resync(Work *w, uint64_t gfn)
{
    if (walk_shadow_resync(w->vm->shadow, gfn)) {
        flush_vm(w->m, w->vm);
    }
    COUNT(w, resynced, 1);
}

static void resync_all(Work *w)
{
    for (unsigned i = 0; i < w->v->unsynced; i++) {
        resync(w, w->v->out_of_sync[i]);
    }
    w->v->unsynced = 0;
}

/* Another table of the VCPU's is out of sync; the oldest one makes room. */
static void unsync(Work *w, uint64_t gfn)
{
    VCPU *v = w->v;

    if (v->unsynced == w->m->config.out_of_sync) {
        resync(w, v->out_of_sync[0]);
        memmove(v->out_of_sync, v->out_of_sync + 1,
                --v->unsynced * sizeof(v->out_of_sync[0]));
    }
    v->out_of_sync[v->unsynced++] = gfn;
    walk_shadow_unsync(w->vm->shadow, gfn);
}

/* The four entries of level 3 are loaded into registers. */
static void load_pdptes(Work *w, uint64_t root)
{
    if (w->vm->mode == WALK_NESTED) {
        translate(w, root, true);
    }
    refer(w, WALK_GUEST, root, 32, true);
}

int64_t walk_model_root(WalkModel *m, unsigned pcpu, unsigned vcpu,
                        uint64_t root, WalkFormat format, uint32_t asid,
                        WalkFlush flush)
{
    Work w = work(m, pcpu, vcpu, false);

    if (has_shadow(w.vm) &&
        !walk_shadow_is_nested(w.vm->shadow, root / PAGE)) {
        leave_guest(&w, WALK_EXIT_ROOT);
    }
    if (has_shadow(w.vm)) {
        resync_all(&w);
    }
    w.v->root = root;
    w.v->format = format;
    w.v->asid = asid;
    if (flush == WALK_FLUSH_ALL) {
        walk_tlb_flush_vpid(w.p->tlb, vcpu + 1, true);
        walk_cache_flush_vpid(w.p->cache, vcpu + 1);
    } else if (flush == WALK_FLUSH) {
        walk_tlb_flush_asid(w.p->tlb, tag(&w));
        walk_cache_flush_asid(w.p->cache, tag(&w));
    }
    if (format == WALK_PAE && m->config.pdptes) {
        load_pdptes(&w, root);
    }
    return w.cycles;
}

static void forget_unsynced(WalkModel *m, uint64_t gfn)
{
    for (VCPU *v = m->vcpu; v < m->vcpu + m->vcpus; v++) {
        unsigned left = 0;

        for (unsigned i = 0; i < v->unsynced; i++) {
            if (v->out_of_sync[i] != gfn) {
                v->out_of_sync[left++] = v->out_of_sync[i];
            }
        }
        v->unsynced = left;
    }
}

#define ADDRESS_MASK UINT64_C(0x000ffffffffff000)

/*
 * The last-level table of @address, as the shadow tables lead to it; false:
 * they do not.
 */
static bool find_last_table(const Work *w, uint64_t address, uint64_t *gfn)
{
    WalkFormat format = w->v->format;
    unsigned bits = walk_format_bits(format);
    unsigned level = walk_format_levels(format);

    *gfn = w->v->root / PAGE;
    if (format == WALK_PAE && w->m->config.pdptes) {
        uint64_t entry = w->v->root + (address >> 30 & 3) * 8;

        *gfn = (w->m->hooks.read(w->m->hooks.opaque, w->v->vm, entry, 8) &
                ADDRESS_MASK) / PAGE;
        level--;
    }
    for (; level > 1 && !walk_shadow_is_nested(w->vm->shadow, *gfn); level--) {
        const WalkShadowPage *p = walk_shadow_find(w->vm->shadow, *gfn, level);
        unsigned index = address >> (12 + bits * (level - 1)) &
                         ((1u << bits) - 1);

        if (!p || !walk_shadow_is_filled(p, index) ||
            walk_shadow_value(p, index) & WALK_PTE_LARGE) {
            return false;
        }
        *gfn = (walk_shadow_value(p, index) & ADDRESS_MASK) / PAGE;
    }
    return true;
}

/* What may be out of sync of the VM, if it is not known what is meant. */
static void resync_vm(Work *w)
{
    for (VCPU *v = w->m->vcpu; v < w->m->vcpu + w->m->vcpus; v++) {
        for (unsigned i = 0; v->vm == w->v->vm && i < v->unsynced; i++) {
            resync(w, v->out_of_sync[i]);
        }
        if (v->vm == w->v->vm) {
            v->unsynced = 0;
        }
    }
}

int64_t walk_model_invalidate(WalkModel *m, unsigned pcpu, unsigned vcpu,
                              uint64_t address)
{
    Work w = work(m, pcpu, vcpu, false);
    uint64_t gfn;
    bool found;

    if (has_shadow(w.vm)) {
        found = find_last_table(&w, address, &gfn);
        if (!found || !walk_shadow_is_nested(w.vm->shadow, gfn)) {
            leave_guest(&w, WALK_EXIT_INVLPG);
        }
        if (!found) {
            resync_vm(&w);
        } else if (walk_shadow_is_out_of_sync(w.vm->shadow, gfn)) {
            forget_unsynced(m, gfn);
            resync(&w, gfn);
        }
    }
    walk_tlb_flush_page(w.p->tlb, address, tag(&w));
    walk_cache_flush_asid(w.p->cache, tag(&w));
    return w.cycles;
}

static void emulate(Work *w, uint64_t gpa, unsigned size)
{
    uint64_t gfn = gpa / PAGE;
    VCPU *v = w->v;
    unsigned writes;

    leave_guest(w, WALK_EXIT_EMULATE);
    walk_shadow_written(w->vm->shadow, gpa, size);
    v->in_a_row = v->in_a_row && v->emulated == gfn ? v->in_a_row + 1 : 1;
    v->emulated = gfn;
    if (w->vm->mode == WALK_AGILE) {
        writes = walk_shadow_count_write(w->vm->shadow, gfn);
        if (writes >= w->m->config.nest) {
            walk_shadow_nest(w->vm->shadow, gfn);
            COUNT(w, to_nested, 1);
        }
    } else if (w->m->config.unshadow &&
               v->in_a_row >= w->m->config.unshadow) {
        walk_shadow_remove(w->vm->shadow, gfn);
        COUNT(w, unshadowed, 1);
        v->in_a_row = 0;
    }
    flush_vm(w->m, w->vm);
}

/*
 * VMs here are groups of VCPUs of one machine, and may share memory: a write to
 * a table of which another VM has a shadow is an exit for that one's sake.
 */
static void write_of_another_vm(Work *w, VM *vm, uint64_t gpa, unsigned size)
{
    uint64_t gfn = gpa / PAGE;

    if (vm == w->vm || !has_shadow(vm)) {
        return;
    }
    if (walk_shadow_is_nested(vm->shadow, gfn)) {
        walk_shadow_dirty(vm->shadow, gfn);
    } else if (walk_shadow_has(vm->shadow, gfn) &&
               !walk_shadow_is_out_of_sync(vm->shadow, gfn)) {
        leave_guest(w, WALK_EXIT_EMULATE);
        walk_shadow_written(vm->shadow, gpa, size);
        flush_vm(w->m, vm);
    }
}

int64_t walk_model_table_write(WalkModel *m, unsigned pcpu, unsigned vcpu,
                               uint64_t gpa, unsigned size)
{
    Work w = work(m, pcpu, vcpu, false);
    uint64_t gfn = gpa / PAGE;

    for (unsigned i = 0; i < m->vms; i++) {
        write_of_another_vm(&w, &m->vm[i], gpa, size);
    }
    if (!has_shadow(w.vm)) {
        return w.cycles;
    }
    if (walk_shadow_is_nested(w.vm->shadow, gfn)) {
        walk_shadow_dirty(w.vm->shadow, gfn);
    } else if (w.vm->mode == WALK_SHADOWED && m->config.out_of_sync &&
               walk_shadow_may_unsync(w.vm->shadow, gfn)) {
        leave_guest(&w, WALK_EXIT_UNSYNC);
        unsync(&w, gfn);
    } else if (walk_shadow_has(w.vm->shadow, gfn) &&
               !walk_shadow_is_out_of_sync(w.vm->shadow, gfn)) {
        emulate(&w, gpa, size);
    }
    return w.cycles;
}

int64_t walk_model_exit(WalkModel *m, unsigned pcpu, unsigned vcpu,
                        WalkExit exit)
{
    Work w = work(m, pcpu, vcpu, false);

    if (w.vm->mode != WALK_NATIVE) {
        leave_guest(&w, exit);
    }
    return w.cycles;
}

int64_t walk_model_switched(WalkModel *m, unsigned pcpu, unsigned vcpu)
{
    Work w = work(m, pcpu, vcpu, false);

    if (w.vm->mode != WALK_NATIVE && !m->config.vpid) {
        COUNT(&w, flushes, 1);
        flush_pcpu(m, pcpu);
    }
    return w.cycles;
}

void walk_model_scan(WalkModel *m, unsigned vm)
{
    unsigned back = 0;

    if (m->vm[vm].mode == WALK_AGILE) {
        back = walk_shadow_scan(m->vm[vm].shadow);
    }
    if (back) {
        for (unsigned v = 0; v < m->vcpus; v++) {
            if (m->vcpu[v].vm == vm) {
                m->vcpu[v].counters[0].to_shadow += back;
                break;
            }
        }
        flush_vm(m, &m->vm[vm]);
    }
}

/* --- Guests that fill TLBs themselves --- */

#include "walk-soft.c.inc"

/* --- Modes --- */

WalkMode walk_model_mode(const WalkModel *m, unsigned vm)
{
    return m->vm[vm].mode;
}

void walk_model_set_mode(WalkModel *m, unsigned vm, WalkMode mode)
{
    if (m->vm[vm].mode == mode) {
        return;
    }
    m->vm[vm].mode = mode;
    walk_shadow_clear(m->vm[vm].shadow);
    walk_soft_table_clear(m->soft_table[vm]);
    for (unsigned v = 0; v < m->vcpus; v++) {
        if (m->vcpu[v].vm == vm) {
            m->vcpu[v].unsynced = m->vcpu[v].in_a_row = 0;
        }
    }
    for (unsigned p = 0; p < m->pcpus; p++) {
        walk_cache_flush_host(m->pcpu[p].cache, vm + 1);
    }
    flush_vm(m, &m->vm[vm]);
    for (unsigned p = 0; p < m->pcpus; p++) {
        walk_tlb_begin_anew(m->pcpu[p].tlb);
    }
}

/* --- What is known --- */

const WalkConfig *walk_model_config(const WalkModel *m)
{
    return &m->config;
}

const WalkShadow *walk_model_shadow(const WalkModel *m, unsigned vm)
{
    return m->vm[vm].shadow;
}

const WalkCounters *walk_model_of_vcpu(const WalkModel *m, unsigned vcpu,
                                       bool user)
{
    return &m->vcpu[vcpu].counters[user];
}

const WalkCounters *walk_model_of_pcpu(const WalkModel *m, unsigned pcpu,
                                       bool user)
{
    return &m->pcpu[pcpu].counters[user];
}

void walk_model_of_vm(const WalkModel *m, unsigned vm, bool user,
                      WalkCounters *sum)
{
    uint64_t *to = (uint64_t *)sum;

    memset(sum, 0, sizeof(*sum));
    for (unsigned v = 0; v < m->vcpus; v++) {
        const uint64_t *from = (const uint64_t *)&m->vcpu[v].counters[user];

        for (unsigned i = 0; i < COUNTERS && m->vcpu[v].vm == vm; i++) {
            to[i] += from[i];
        }
    }
}

/* --- Saved state --- */

#define PCPU_STATE WALK_PCPU_STATE
#define VCPU_STATE WALK_VCPU_STATE
#define VM_STATE WALK_VM_STATE

static GVariant *numbers(const void *from, size_t size)
{
    return g_variant_new_fixed_array(G_VARIANT_TYPE_UINT64, from,
                                     size / sizeof(uint64_t),
                                     sizeof(uint64_t));
}

static GVariant *counters_of(const WalkCounters *c)
{
    return numbers(c, sizeof(*c));
}

GVariant *walk_model_save(const WalkModel *m)
{
    GVariantBuilder config, pcpus, vcpus, vms;
    WalkConfig c = m->config;

    g_variant_builder_init(&config, G_VARIANT_TYPE("at"));
    for (const FileParameter *p = walk_parameters; p->group; p++) {
        g_variant_builder_add(&config, "t", *file_parameter_value(p, &c));
    }
    g_variant_builder_init(&pcpus, G_VARIANT_TYPE("a" PCPU_STATE));
    for (unsigned i = 0; i < m->pcpus; i++) {
        const PCPU *p = &m->pcpu[i];

        g_variant_builder_add(&pcpus, "(vv@at@at)", walk_tlb_save(p->tlb),
                              walk_cache_save(p->cache),
                              counters_of(&p->counters[0]),
                              counters_of(&p->counters[1]));
    }
    g_variant_builder_init(&vcpus, G_VARIANT_TYPE("a" VCPU_STATE));
    for (unsigned i = 0; i < m->vcpus; i++) {
        const VCPU *v = &m->vcpu[i];

        g_variant_builder_add(&vcpus, "(tuu@attu@at@at)", v->root, v->format,
                              v->asid, numbers(v->out_of_sync, v->unsynced *
                                               sizeof(uint64_t)),
                              v->emulated, v->in_a_row,
                              counters_of(&v->counters[0]),
                              counters_of(&v->counters[1]));
    }
    g_variant_builder_init(&vms, G_VARIANT_TYPE("a" VM_STATE));
    for (unsigned i = 0; i < m->vms; i++) {
        g_variant_builder_add(&vms, "(uvv)", m->vm[i].mode,
                              walk_p2m_save(m->vm[i].p2m),
                              walk_shadow_save(m->vm[i].shadow));
    }
    return g_variant_new("(ata" PCPU_STATE "a" VCPU_STATE "a" VM_STATE ")",
                         &config, &pcpus, &vcpus, &vms);
}

static bool load_numbers(void *to, GVariant *state, size_t size)
{
    const uint64_t *from;
    gsize n;

    from = g_variant_get_fixed_array(state, &n, sizeof(uint64_t));
    if (n * sizeof(uint64_t) != size) {
        return false;
    }
    if (n) {
        memcpy(to, from, size);
    }
    return true;
}

/* Names the first parameter that differs. */
static bool match_config(const WalkModel *m, GVariant *state, char **why)
{
    WalkConfig c = m->config;
    gsize n, i = 0;
    const uint64_t *saved;

    saved = g_variant_get_fixed_array(state, &n, sizeof(uint64_t));
    for (const FileParameter *p = walk_parameters; p->group; p++, i++) {
        if (i >= n || saved[i] != *file_parameter_value(p, &c)) {
            *why = g_strdup_printf("the state of paging has another [%s] %s",
                                   p->group, p->key);
            return false;
        }
    }
    return true;
}

static bool load_child(GVariant *state, const char *type, GVariant **child)
{
    *child = g_variant_get_variant(state);
    return g_variant_is_of_type(*child, G_VARIANT_TYPE(type));
}

static bool load_pcpu(PCPU *p, GVariant *state, char **why)
{
    g_autoptr(GVariant) a = g_variant_get_child_value(state, 0);
    g_autoptr(GVariant) b = g_variant_get_child_value(state, 1);
    g_autoptr(GVariant) c = g_variant_get_child_value(state, 2);
    g_autoptr(GVariant) d = g_variant_get_child_value(state, 3);
    g_autoptr(GVariant) tlb = NULL, cache = NULL;

    return load_child(a, WALK_TLB_STATE, &tlb) &&
           load_child(b, WALK_CACHE_STATE, &cache) &&
           walk_tlb_load(p->tlb, tlb, why) &&
           walk_cache_load(p->cache, cache, why) &&
           load_numbers(&p->counters[0], c, sizeof(WalkCounters)) &&
           load_numbers(&p->counters[1], d, sizeof(WalkCounters));
}

static bool load_vcpu(VCPU *v, GVariant *state, unsigned most)
{
    g_autoptr(GVariant) list = NULL, c = NULL, d = NULL;
    unsigned format;

    g_variant_get(state, "(tuu@attu@at@at)", &v->root, &format, &v->asid,
                  &list, &v->emulated, &v->in_a_row, &c, &d);
    v->unsynced = g_variant_n_children(list);
    v->format = format;
    return format < WALK_FORMATS && v->unsynced <= most &&
           load_numbers(v->out_of_sync, list,
                        v->unsynced * sizeof(uint64_t)) &&
           load_numbers(&v->counters[0], c, sizeof(WalkCounters)) &&
           load_numbers(&v->counters[1], d, sizeof(WalkCounters));
}

static bool load_vm(VM *vm, GVariant *state, char **why)
{
    g_autoptr(GVariant) a = g_variant_get_child_value(state, 1);
    g_autoptr(GVariant) b = g_variant_get_child_value(state, 2);
    g_autoptr(GVariant) p2m = NULL, shadow = NULL;
    unsigned mode;

    g_variant_get_child(state, 0, "u", &mode);
    vm->mode = mode;
    return mode < WALK_MODES && load_child(a, WALK_P2M_STATE, &p2m) &&
           load_child(b, WALK_SHADOW_STATE, &shadow) &&
           walk_p2m_load(vm->p2m, p2m, why) &&
           walk_shadow_load(vm->shadow, shadow, why);
}

/* What PCPUs had that are missing is gone; new ones have nothing. */
static bool load_parts(WalkModel *m, GVariant *pcpus, GVariant *vcpus,
                       GVariant *vms, char **why)
{
    unsigned saved = MIN(m->pcpus, g_variant_n_children(pcpus));

    for (unsigned i = saved; i < m->pcpus; i++) {
        destroy_pcpu(m, i);
        init_pcpu(m, i);
    }
    for (unsigned i = 0; i < saved; i++) {
        g_autoptr(GVariant) one = g_variant_get_child_value(pcpus, i);

        if (!load_pcpu(&m->pcpu[i], one, why)) {
            return false;
        }
    }
    for (unsigned i = 0; i < m->vcpus; i++) {
        g_autoptr(GVariant) one = g_variant_get_child_value(vcpus, i);

        if (!load_vcpu(&m->vcpu[i], one, m->config.out_of_sync)) {
            return false;
        }
    }
    for (unsigned i = 0; i < m->vms; i++) {
        g_autoptr(GVariant) one = g_variant_get_child_value(vms, i);

        if (!load_vm(&m->vm[i], one, why)) {
            return false;
        }
    }
    return true;
}

static bool load_all(WalkModel *m, GVariant *state, char **why)
{
    g_autoptr(GVariant) config = g_variant_get_child_value(state, 0);
    g_autoptr(GVariant) pcpus = g_variant_get_child_value(state, 1);
    g_autoptr(GVariant) vcpus = g_variant_get_child_value(state, 2);
    g_autoptr(GVariant) vms = g_variant_get_child_value(state, 3);

    if (!match_config(m, config, why)) {
        return false;
    }
    if (g_variant_n_children(vcpus) != m->vcpus ||
        g_variant_n_children(vms) != m->vms) {
        *why = g_strdup_printf("the state of paging is of %zu VCPUs in %zu "
                               "VMs, this machine has %u in %u",
                               g_variant_n_children(vcpus),
                               g_variant_n_children(vms), m->vcpus, m->vms);
        return false;
    }
    return load_parts(m, pcpus, vcpus, vms, why);
}

bool walk_model_load(WalkModel *m, GVariant *state, char **why)
{
    g_autoptr(GVariant) before = NULL;
    char *ignored = NULL;

    *why = NULL;
    if (!g_variant_is_of_type(state, G_VARIANT_TYPE(WALK_MODEL_STATE))) {
        *why = g_strdup("the state of paging is damaged");
        return false;
    }
    before = g_variant_ref_sink(walk_model_save(m));
    if (load_all(m, state, why)) {
        return true;
    }
    if (!*why) {
        *why = g_strdup("the state of paging is damaged");
    }
    load_all(m, before, &ignored);
    g_free(ignored);
    return false;
}
