/*
 * The cache-timing plugin: accesses, on their way to the model
 *
 * Accesses that the filters do not know, of generated code, and those of the
 * machine itself: their stalls pass on the PCPU.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "cachetime.h"

#define NO_LINE UINT64_MAX
/* Smaller than any guest's pages, or as large. */
#define PAGE 4096u

/* A line of code in a block, where its first instruction executes */
typedef struct Fetch {
    uint64_t address;           /* physical, of the line */
    uint64_t pc;
    unsigned after;             /* instructions of the block after it */
    bool user;
} Fetch;

/* --- Accesses --- */

static qemu_plugin_u64 insns(void)
{
    return qemu_plugin_scoreboard_u64(C.insn_count);
}

static int64_t cycle_of(unsigned vcpu, const VCPU *v, unsigned after)
{
    return C.timed ? qemu_plugin_vcpu_cycles(vcpu, after)
                   : (int64_t)(qemu_plugin_u64_get(insns(), vcpu) +
                               v->stalled);
}

static void stall(unsigned vcpu, VCPU *v, int64_t cycles)
{
    if (cycles && !qemu_plugin_stall(vcpu, cycles)) {
        v->stalled += cycles;
    }
}

/* Whether attribution wants either line of an access that may have two. */
static bool is_wanted(const CacheAccess *access)
{
    return attribution_wants(C.attribution, access->address) ||
           attribution_wants(C.attribution,
                             access->address + access->size - 1);
}

/* One access to the model; returns its stall. */
static int64_t access_model(const CacheAccess *access, uint64_t pc,
                            uint64_t virtual)
{
    int64_t cycles = cache_model_access(C.model, access);
    const AttributionEvent event = {
        .access = access,
        .pc = pc,
        .virtual = virtual,
    };

    if (C.attribution && (cycles || is_wanted(access))) {
        attribution_access(C.attribution, C.model, &event);
    }
    return cycles;
}

/* An instruction's address, mode, and place in its block, in a pointer */
static void *pack(uint64_t pc, unsigned after, bool user)
{
    return (void *)(uintptr_t)(pc << 7 | after << 1 | user);
}

static uint64_t packed_pc(const void *packed)
{
    return (int64_t)(intptr_t)packed >> 7;
}

static const Shape *shape_of(qemu_plugin_meminfo_t info)
{
    Shape *shape = &C.shapes[(info ^ info >> 16) & (SHAPES - 1)];

    if (shape->info != info || !shape->known) {
        *shape = (Shape) {
            .known = true,
            .info = info,
            .store = qemu_plugin_mem_is_store(info),
            .atomic = qemu_plugin_mem_is_atomic(info),
            .size = 1u << qemu_plugin_mem_size_shift(info),
        };
    }
    return shape;
}

/* The part of an access that is in the next page, which may be anywhere */
static int64_t access_next_page(CacheAccess *access, unsigned size,
                                qemu_plugin_meminfo_t info, uint64_t vaddr,
                                void *packed)
{
    struct qemu_plugin_hwaddr *hw = qemu_plugin_get_hwaddr(info, vaddr);

    if (!hw || qemu_plugin_hwaddr_is_io(hw)) {
        return 0;
    }
    access->address = qemu_plugin_hwaddr_phys_addr(hw);
    access->size = size;
    return access_model(access, packed_pc(packed), vaddr);
}

static void access_data(unsigned vcpu, qemu_plugin_meminfo_t info,
                        uint64_t vaddr, void *packed)
{
    struct qemu_plugin_hwaddr *hw = qemu_plugin_get_hwaddr(info, vaddr);
    unsigned in_page = PAGE - (vaddr & (PAGE - 1));
    bool user = (uintptr_t)packed & 1;
    VCPU *v = &C.vcpu[vcpu];
    const Shape *shape;
    CacheAccess access;
    int64_t stalled;
    PCPU *p;

    lock();
    shape = shape_of(info);
    v->called[shape->store ? CACHE_STORE : CACHE_LOAD][user]++;
    if (!hw || qemu_plugin_hwaddr_is_io(hw)) {
        C.uncached++;
        unlock();
        return;
    }
    p = cachetime_pcpu_of(vcpu, v);
    access = (CacheAccess) {
        .cycle = cycle_of(vcpu, v, (uintptr_t)packed >> 1 & 63),
        .address = qemu_plugin_hwaddr_phys_addr(hw),
        .size = MIN(shape->size, in_page),
        .pcpu = v->core,
        .vcpu = vcpu,
        .kind = shape->store ? CACHE_STORE : CACHE_LOAD,
        .user = user,
        .exclusive = !shape->store && shape->atomic,
        .asks_again = C.may[CACHE_LOAD] && shape->size <= in_page,
    };
    stalled = access_model(&access, packed_pc(packed), vaddr);
    if (access.asks_again) {
        cachetime_grant_data(p, vcpu, &access, info, vaddr);
    } else if (shape->size > in_page) {
        access.cycle += stalled;
        stalled += access_next_page(&access, shape->size - in_page, info,
                                    vaddr + in_page, packed);
    }
    stall(vcpu, v, stalled);
    unlock();
}

static void access_code(unsigned vcpu, void *opaque)
{
    const Fetch *fetch = opaque;
    VCPU *v = &C.vcpu[vcpu];
    CacheAccess access = {
        .vcpu = vcpu,
        .kind = CACHE_FETCH,
        .user = fetch->user,
        .address = fetch->address,
        .size = 1,
    };
    unsigned table;
    int64_t stalled;
    bool counted;

    lock();
    table = v->code_table;
    cachetime_pcpu_of(vcpu, v);
    access.pcpu = v->core;
    access.cycle = cycle_of(vcpu, v, fetch->after);
    if (C.may[CACHE_FETCH]) {
        counted = table == cachetime_code_table(v->core);
        v->called[CACHE_FETCH][fetch->user] += counted;
        cachetime_set_code_clock(v->core, counted);
    }
    stalled = access_model(&access, fetch->pc, fetch->pc);
    if (C.may[CACHE_FETCH]) {
        cachetime_grant_code(v->core, fetch->address);
    }
    stall(vcpu, v, stalled);
    unlock();
}

/* --- Translation --- */

/*
 * Instructions that change nothing, and that no compiler makes: a guest says
 * with them where the part of it begins and ends that counts (choice; of other
 * simulators the first one of x86 is Bochs', that of SPARC Simics').
 */
static const struct {
    const char *target;
    uint8_t begin[4], end[4];
    uint8_t size;
} magic[] = {
    /* xchg %bx,%bx; xchg %cx,%cx */
    { "x86_64", { 0x66, 0x87, 0xdb }, { 0x66, 0x87, 0xc9 }, 3 },
    /* sethi 1,%g0; sethi 2,%g0 */
    { "sparc64", { 0x01, 0, 0, 1 }, { 0x01, 0, 0, 2 }, 4 },
    /* orr x21,x21,x21; orr x22,x22,x22 */
    { "aarch64", { 0xb5, 0x02, 0x15, 0xaa }, { 0xd6, 0x02, 0x16, 0xaa }, 4 },
};

static void execute_magic(unsigned vcpu, void *begin)
{
    lock();
    C.wanted = begin;
    if (C.timed) {
        qemu_plugin_ask_cores_reached();
    } else {
        cachetime_switch_on(begin);
    }
    unlock();
}

static void add_magic(struct qemu_plugin_insn *insn)
{
    uint8_t data[16];
    size_t n = qemu_plugin_insn_data(insn, data, sizeof(data));

    for (unsigned i = 0; i < G_N_ELEMENTS(magic); i++) {
        if (g_str_equal(magic[i].target, C.target) && n == magic[i].size) {
            bool begin = !memcmp(data, magic[i].begin, n);

            if (begin || !memcmp(data, magic[i].end, n)) {
                qemu_plugin_register_vcpu_insn_exec_cb(
                    insn, execute_magic, QEMU_PLUGIN_CB_NO_REGS,
                    begin ? &C : NULL);
            }
        }
    }
}

/* The code from @vaddr on, of which @insn is the first that executes */
static void add_fetch(struct qemu_plugin_insn *insn, uint64_t address,
                      unsigned after, bool user)
{
    Fetch *fetch = g_new(Fetch, 1);
    uint64_t line = address >> C.line_bits;

    *fetch = (Fetch) {
        .address = line << C.line_bits,
        .pc = qemu_plugin_insn_vaddr(insn),
        .after = after,
        .user = user,
    };
    g_ptr_array_add(C.fetches, fetch);
    if (C.may[CACHE_FETCH]) {
        qemu_plugin_register_vcpu_insn_exec_filtered_cb(
            insn, access_code, QEMU_PLUGIN_CB_NO_REGS, C.may[CACHE_FETCH],
            user ? COUNT_USER : COUNT_ALL, line, fetch);
    } else {
        qemu_plugin_register_vcpu_insn_exec_cb(insn, access_code,
                                               QEMU_PLUGIN_CB_NO_REGS, fetch);
    }
}

static void add_data(struct qemu_plugin_insn *insn, unsigned after, bool user)
{
    void *packed = pack(qemu_plugin_insn_vaddr(insn), after, user);

    if (C.may[CACHE_LOAD]) {
        qemu_plugin_register_vcpu_mem_filtered_cb(
            insn, access_data, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_R,
            C.may[CACHE_LOAD], user, packed);
        qemu_plugin_register_vcpu_mem_filtered_cb(
            insn, access_data, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_W,
            C.may[CACHE_STORE], user, packed);
    } else {
        qemu_plugin_register_vcpu_mem_cb(insn, access_data,
                                         QEMU_PLUGIN_CB_NO_REGS,
                                         QEMU_PLUGIN_MEM_RW, packed);
    }
}

void cachetime_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    size_t n = qemu_plugin_tb_n_insns(tb);
    bool user = qemu_plugin_tb_is_user(tb);
    uint64_t line = NO_LINE;

    for (size_t i = 0; i < n && C.magic; i++) {
        add_magic(qemu_plugin_tb_get_insn(tb, i));
    }
    if (!C.on) {
        return;
    }
    g_mutex_lock(&C.mutex);
    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        size_t size = qemu_plugin_insn_size(insn);
        unsigned after = MIN(n - 1 - i, 63);
        uint64_t address;

        if (!C.timed && i == 0) {
            qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(
                tb, QEMU_PLUGIN_INLINE_ADD_U64,
                insns(), n);
        }
        if (qemu_plugin_insn_phys_addr(insn, &address)) {
            if (address >> C.line_bits != line) {
                line = address >> C.line_bits;
                add_fetch(insn, address, after, user);
            }
            /* A long instruction may end in the next line. */
            if ((address & (PAGE - 1)) + size <= PAGE &&
                (address + size - 1) >> C.line_bits != line) {
                line = (address + size - 1) >> C.line_bits;
                add_fetch(insn, address + size - 1, after, user);
            }
        }
        add_data(insn, after, user);
    }
    g_mutex_unlock(&C.mutex);
}

void cachetime_flushed(qemu_plugin_id_t id)
{
    g_mutex_lock(&C.mutex);
    g_ptr_array_set_size(C.fetches, 0);
    g_mutex_unlock(&C.mutex);
}

/* --- Cores --- */

/* Registers, and two words for each entry of the TLB that is locked */
static unsigned words_of(unsigned locked)
{
    return C.state_words + 2 * MIN(locked, LOCKED_MAX);
}

int64_t cachetime_core_switched(qemu_plugin_id_t id,
                                const struct qemu_plugin_core_switch *s,
                                void *opaque)
{
    VCPU *v = &C.vcpu[s->vcpu_index];
    PCPU *p = &C.pcpu[s->core];
    unsigned words = words_of(s->locked);
    CacheSwitch move = {
        .cycle = s->cycle,
        .words_in = words,
    };
    int64_t cycles = 0;

    if (s->before >= 0) {
        cachetime_harvest(s->before);
    }
    cachetime_leave_code_table(s->core);
    cachetime_harvest(s->vcpu_index);
    /* Its old PCPU may be one that is off, and holds nothing any more. */
    if (v->core >= 0 && C.pcpu[v->core].vcpu == (int)s->vcpu_index) {
        cachetime_empty_filters(&C.pcpu[v->core]);
    }
    cachetime_hold(p, s->vcpu_index);
    v->core = s->core;
    if (!C.on) {
        return -1;
    }
    if (s->holder >= 0) {
        /* The other PCPU is idle, and gives the registers back now. */
        move.pcpu = s->holder;
        move.out = s->vcpu_index;
        move.in = CACHE_NO_VCPU;
        move.words_out = words;
        cycles = cache_model_switch(C.model, &move);
    }
    move.cycle += cycles;
    move.pcpu = s->core;
    move.out = s->before >= 0 ? s->before : CACHE_NO_VCPU;
    move.words_out = words_of(s->locked_before);
    move.in = s->vcpu_index;
    return cycles + cache_model_switch(C.model, &move);
}

uint64_t cachetime_core_accessed(qemu_plugin_id_t id,
                                 const struct qemu_plugin_core_access *a,
                                 void *opaque)
{
    CacheAccess access = {
        .cycle = a->cycle,
        .address = a->addr,
        .size = a->size,
        .pcpu = a->core,
        .vcpu = a->vcpu_index,
        .kind = a->store ? CACHE_MODEL_STORE : CACHE_MODEL_LOAD,
    };
    VCPU *v = &C.vcpu[a->vcpu_index];
    uint64_t stalled;

    if (!C.on) {
        return 0;
    }
    lock();
    if (!C.timed) {
        access.cycle = cycle_of(a->vcpu_index, v, 0);
    }
    stalled = access_model(&access, 0, 0);
    if (!C.timed) {
        v->stalled += stalled;
    }
    unlock();
    return stalled;
}
