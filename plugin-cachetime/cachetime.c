/*
 * The cache-timing plugin: gives the accesses of a guest to the cache model,
 * and lets its stalls pass on the PCPUs
 *
 *   -plugin libcachetime.so,config=wells-2006[,...]
 *
 * docs/caches.rst has the arguments, the commands, and what is counted.
 *
 * Under thread=vsched, caches are those of PCPUs, and a stall moves the clock
 * of the PCPU.  Elsewhere every vCPU has caches of its own, and nothing but
 * counters changes.
 *
 * Most accesses never come here: those that hit the line of their L1 set that
 * was accessed last, with the right that they need, change nothing in the model
 * and do not stall.  The rights that the model grants to such lines are in
 * filters that generated code looks into, two for data (lines that may be read,
 * lines that may be written), by virtual address.  They belong to the vCPU that
 * executes, and are emptied when its PCPU takes another one in.  The filter of
 * code is by physical address, so its tables are those of PCPUs, and stay; it
 * stamps lines when it finds them, so that it can have all lines of the L1I.
 * Filters count all accesses, in line.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib.h>
#include <qemu-plugin.h>
#include "attribution.h"
#include "cache-model.h"
#include "cache-report.h"
#include "json-writer.h"

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

/* What QEMU reads of an answer to a command (its qobject/json-streamer.c) */
#define ANSWER_TOKENS_MAX (2u << 20)

#define NONE UINT32_MAX
#define NO_LINE UINT64_MAX
/* Smaller than any guest's pages, or as large. */
#define PAGE 4096u

/*
 * Where the states of VCPUs are (choice): above all physical addresses of the
 * processors that there are, which have 52 bits of it at most.
 */
#define STATE_BASE (UINT64_C(1) << 56)

/* Entries of TLBs that can be locked: all of UltraSPARC's, 64 for each side */
#define LOCKED_MAX 128

enum { PRIVILEGED, USER, MODES };

/* Places of the filter of code for each line of an L1I: fewer lines collide. */
#define CODE_PLACES 16

/* Counters of the filter of code: with stamps, the first one counts all. */
enum { COUNT_ALL, COUNT_USER };

/* Kinds of accesses that a guest's instructions make */
#define KINDS (CACHE_STORE + 1)

/*
 * A vCPU.  The filters count accesses, user and privileged apart: @counted is
 * what of them is in the model's counters.
 */
typedef struct VCPU {
    bool started;
    uint64_t counted[KINDS][MODES];
    uint64_t called[KINDS][MODES];      /* since then, accesses that called */
    unsigned code_table;        /* where its fetches are counted now */
    uint64_t retired[MODES];    /* what of its instructions is counted */
    uint64_t stalled;           /* cycles; where cores keep no time */
    int core;                   /* that holds it or did last, or -1 */
} VCPU;

/*
 * What the filters of the vCPU that a PCPU holds have for sets of its L1D, and
 * the other way round; and what the filter of code has, which is the PCPU's.
 */
typedef struct PCPU {
    int vcpu;                   /* whose filters these are, or -1 */
    uint32_t *place_of_set;     /* or NONE */
    uint32_t *set_of_place;     /* or NONE */
    bool *may_store;            /* by place: the filter of stores has it, too */
    uint64_t *code_line;        /* by place; or NO_LINE */
    /* What its fetches are behind the clock of its L1I, once it is known */
    bool clock_known;
    int64_t clock_offset;
} PCPU;

/* What the interface says of an access in three calls */
typedef struct Shape {
    bool known;
    qemu_plugin_meminfo_t info;
    bool store, atomic;
    unsigned size;              /* bytes */
} Shape;

#define SHAPES 64               /* a power of two */

/* A line of code in a block, where its first instruction executes */
typedef struct Fetch {
    uint64_t address;           /* physical, of the line */
    uint64_t pc;
    unsigned after;             /* instructions of the block after it */
    bool user;
} Fetch;

/* When accesses begin and end to reach the model */
typedef struct Region {
    uint64_t from, to;          /* UINT64_MAX: never */
    uint64_t next;              /* first value that was not reached yet */
} Region;

static struct {
    qemu_plugin_id_t id;
    char *target;

    /* arguments */
    CacheConfig config;
    char *config_name;
    uint64_t seed;
    uint64_t state_words;
    uint64_t top;               /* entries of tables */
    bool filter, walks, start, start_given, attribute, table, magic;
    char *out;                  /* file, or NULL */
    char *interval_file;
    Region time;                /* ns, then cycles */
    Region insns;               /* retired by all vCPUs */
    uint64_t interval;          /* ns, then cycles; 0: none */

    CacheModel *model;          /* once the machine is ready */
    Attribution *attribution;   /* NULL: none */
    unsigned pcpus, vcpus;
    unsigned line_bits;
    bool ready;                 /* nothing was wrong with the machine */
    bool timed;                 /* cores keep time */
    bool on;                    /* accesses reach the model */
    bool wanted;                /* @on, from the next cycle that all reach */
    int64_t now;                /* cycle that all cores have reached */
    int64_t on_since;           /* cycle; while @on */
    int64_t on_until;           /* cycle; while not @on */
    int64_t counted;            /* cycles that it was on before that */
    uint64_t uncached;          /* accesses of devices, which have no caches */

    /* Lines that may be fetched, loaded, stored to; NULL: no filters */
    struct qemu_plugin_filter *may[KINDS];
    struct qemu_plugin_scoreboard *insn_count;  /* where cores keep no time */
    uint32_t places;            /* of a filter of data */
    uint32_t code_places;
    Shape shapes[SHAPES];       /* of accesses seen lately */
    PCPU *pcpu;
    VCPU *vcpu;
    CacheRetired *pcpu_retired, *vcpu_retired;
    GPtrArray *fetches;         /* of blocks that are translated */
    CacheIntervals *intervals;
    FILE *interval_out;
    int64_t interval_end;       /* cycle */
    GMutex mutex;               /* where vCPUs have threads of their own */
} C;

static void lock(void)
{
    if (!C.timed) {
        g_mutex_lock(&C.mutex);
    }
}

static void unlock(void)
{
    if (!C.timed) {
        g_mutex_unlock(&C.mutex);
    }
}

/* --- Rights --- */

/* Number of a PCPU's table of code: vCPUs that are new find theirs empty. */
static unsigned code_table(unsigned pcpu)
{
    return C.vcpus + pcpu;
}

static uint32_t code_place(uint64_t line)
{
    return line & (C.code_places - 1);
}

/* When the filter found @line last, by the clock of the L1I */
static uint64_t last_fetch(unsigned pcpu, uint64_t line)
{
    const PCPU *p = &C.pcpu[pcpu];
    int64_t stamp;

    if (p->code_line[code_place(line)] != line) {
        return 0;
    }
    stamp = qemu_plugin_filter_stamp(C.may[CACHE_FETCH], code_table(pcpu),
                                     code_place(line)) + p->clock_offset;
    return MAX(stamp, 0);       /* one from before the clock was set back */
}

static uint64_t recency(void *opaque, unsigned pcpu, uint64_t address)
{
    return last_fetch(pcpu, address >> C.line_bits);
}

static void withdraw_code(unsigned pcpu, uint64_t line)
{
    uint32_t place = code_place(line);

    if (C.pcpu[pcpu].code_line[place] == line) {
        C.pcpu[pcpu].code_line[place] = NO_LINE;
        qemu_plugin_filter_remove(C.may[CACHE_FETCH], code_table(pcpu), place);
    }
}

/* The line at @address was fetched just now. */
static void grant_code(unsigned pcpu, uint64_t address)
{
    uint64_t line = address >> C.line_bits;
    uint64_t *old = &C.pcpu[pcpu].code_line[code_place(line)];

    if ((C.attribution && attribution_wants(C.attribution, address)) ||
        !cache_model_grant(C.model, pcpu, CACHE_FETCH, address)) {
        withdraw_code(pcpu, line);
        return;
    }
    if (*old != line && *old != NO_LINE) {
        cache_model_settle_line(C.model, pcpu, *old << C.line_bits,
                                last_fetch(pcpu, *old));
    }
    *old = line;
    qemu_plugin_filter_add_key(C.may[CACHE_FETCH], code_table(pcpu), line);
}

/*
 * Before a fetch that the filter of code did not know.  @counted: it did count
 * it, in the PCPU's table.
 */
static void set_code_clock(unsigned pcpu, bool counted)
{
    PCPU *p = &C.pcpu[pcpu];
    uint64_t before = qemu_plugin_filter_count(C.may[CACHE_FETCH],
                                               code_table(pcpu), 0) - counted;

    if (!p->clock_known) {
        p->clock_known = true;
        p->clock_offset = cache_model_code_clock(C.model, pcpu) - before;
    }
    cache_model_set_code_clock(C.model, pcpu, before + p->clock_offset);
    p->clock_offset += !counted;
}

/* All lines of code are forgotten. */
static void empty_code(unsigned pcpu)
{
    PCPU *p = &C.pcpu[pcpu];

    for (uint32_t i = 0; i < C.code_places; i++) {
        if (p->code_line[i] != NO_LINE) {
            cache_model_settle_line(C.model, pcpu,
                                    p->code_line[i] << C.line_bits,
                                    last_fetch(pcpu, p->code_line[i]));
            withdraw_code(pcpu, p->code_line[i]);
        }
    }
    p->clock_known = false;
}

static void forget_place(PCPU *p, uint32_t place)
{
    if (p->set_of_place[place] != NONE) {
        p->place_of_set[p->set_of_place[place]] = NONE;
        p->set_of_place[place] = NONE;
    }
}

static void remove_store(PCPU *p, unsigned vcpu, uint32_t place)
{
    if (p->may_store[place]) {
        qemu_plugin_filter_remove(C.may[CACHE_STORE], vcpu, place);
        p->may_store[place] = false;
    }
}

static void remove_place(PCPU *p, unsigned vcpu, uint32_t place)
{
    qemu_plugin_filter_remove(C.may[CACHE_LOAD], vcpu, place);
    remove_store(p, vcpu, place);
    forget_place(p, place);
}

static void withdraw(void *opaque, unsigned pcpu, CacheKind kind, uint32_t set,
                     uint64_t address, unsigned rights)
{
    PCPU *p = &C.pcpu[pcpu];
    uint32_t place;

    if (kind == CACHE_FETCH) {
        withdraw_code(pcpu, address >> C.line_bits);
        return;
    }
    if (p->vcpu < 0) {
        return;
    }
    place = p->place_of_set[set];
    if (place == NONE) {
        return;
    }
    remove_store(p, p->vcpu, place);
    if (rights & CACHE_MAY_READ) {
        qemu_plugin_filter_remove(C.may[CACHE_LOAD], p->vcpu, place);
        forget_place(p, place);
    }
}

/*
 * The line at @address was accessed at @vaddr just now: whether its accesses
 * may be left out from now on.
 */
static void grant_data(PCPU *p, unsigned vcpu, const CacheAccess *access,
                       qemu_plugin_meminfo_t info, uint64_t vaddr)
{
    uint32_t set = cache_model_l1_set(C.model, CACHE_LOAD, access->address);
    uint32_t old = p->place_of_set[set], place;
    unsigned rights = 0;

    if (!C.attribution || !attribution_wants(C.attribution, access->address)) {
        rights = cache_model_grant(C.model, access->pcpu, access->kind,
                                   access->address);
    }
    if (!rights) {
        if (old != NONE) {
            remove_place(p, vcpu, old);
        }
        return;
    }
    place = qemu_plugin_filter_add(C.may[CACHE_LOAD], vcpu, info, vaddr);
    if (rights & CACHE_MAY_WRITE) {
        qemu_plugin_filter_add(C.may[CACHE_STORE], vcpu, info, vaddr);
        p->may_store[place] = true;
    } else {
        remove_store(p, vcpu, place);
    }
    if (old != place) {
        if (old != NONE) {      /* the same line, at another address perhaps */
            remove_place(p, vcpu, old);
        }
        forget_place(p, place);
        p->place_of_set[set] = place;
        p->set_of_place[place] = set;
    }
}

/* Counts of the filter of @kind that are of @vcpu, from where @v counts */
static uint64_t filter_count(unsigned vcpu, CacheKind kind, int mode)
{
    unsigned table = C.vcpu[vcpu].code_table;
    uint64_t user;

    if (kind != CACHE_FETCH) {
        return qemu_plugin_filter_count(C.may[kind], vcpu, mode);
    }
    user = qemu_plugin_filter_count(C.may[kind], table, COUNT_USER);
    return mode == USER ? user :
           qemu_plugin_filter_count(C.may[kind], table, COUNT_ALL) - user;
}

/* Accesses that the filters recognised since the last time, of one kind */
static uint64_t unharvested(unsigned vcpu, CacheKind kind, int mode)
{
    const VCPU *v = &C.vcpu[vcpu];

    if (!C.may[kind] || !v->started || v->core < 0 ||
        (kind == CACHE_FETCH && v->code_table != code_table(v->core))) {
        return 0;
    }
    return filter_count(vcpu, kind, mode) - v->counted[kind][mode] -
           v->called[kind][mode];
}

/* They go into counters. */
static void harvest_kind(unsigned vcpu, CacheKind kind)
{
    VCPU *v = &C.vcpu[vcpu];

    for (int mode = 0; mode < MODES; mode++) {
        cache_model_add_hits(C.model, v->core, vcpu, kind, mode,
                             unharvested(vcpu, kind, mode));
        v->counted[kind][mode] = filter_count(vcpu, kind, mode);
        v->called[kind][mode] = 0;
    }
}

/* The filters of data of the vCPU that @p holds are not used any more. */
static void empty_filters(PCPU *p)
{
    if (p->vcpu < 0) {
        return;
    }
    if (C.may[CACHE_LOAD]) {
        qemu_plugin_filter_clear(C.may[CACHE_LOAD], p->vcpu);
        qemu_plugin_filter_clear(C.may[CACHE_STORE], p->vcpu);
        memset(p->place_of_set, 0xff,
               cache_model_l1_sets(C.model, CACHE_LOAD) * sizeof(uint32_t));
        memset(p->set_of_place, 0xff, C.places * sizeof(uint32_t));
        memset(p->may_store, 0, C.places * sizeof(bool));
    }
    p->vcpu = -1;
}

/* Nothing that the filters know holds any more. */
static void forget_rights(void)
{
    for (unsigned p = 0; p < C.pcpus; p++) {
        empty_filters(&C.pcpu[p]);
        empty_code(p);
    }
}

static void listen_to_model(void)
{
    if (C.may[CACHE_LOAD]) {
        cache_model_on_withdraw(C.model, withdraw, NULL);
        cache_model_on_recency(C.model, recency);
    }
}

/* --- Accesses --- */

/*
 * What a vCPU has done since the last time goes into counters: accesses that
 * the filters recognised, instructions.
 */
static void harvest(unsigned vcpu)
{
    VCPU *v = &C.vcpu[vcpu];

    if (v->core < 0 || !v->started) {
        return;
    }
    for (int mode = 0; mode < MODES && C.timed; mode++) {
        uint64_t retired = qemu_plugin_vcpu_insns(vcpu, mode);

        if (C.on) {
            C.vcpu_retired[vcpu][mode] += retired - v->retired[mode];
            C.pcpu_retired[v->core][mode] += retired - v->retired[mode];
        }
        v->retired[mode] = retired;
    }
    if (!C.may[CACHE_LOAD]) {
        return;
    }
    for (int kind = 0; kind < KINDS; kind++) {
        harvest_kind(vcpu, kind);
    }
}

/*
 * From now on, accesses on @p are those of @vcpu.  Those of the vCPU before it
 * are in counters; so are its own ones elsewhere.
 */
static void hold(PCPU *p, unsigned vcpu)
{
    unsigned table = code_table(p - C.pcpu);
    VCPU *v = &C.vcpu[vcpu];

    empty_filters(p);
    p->vcpu = vcpu;
    if (C.may[CACHE_FETCH] && v->code_table != table &&
        qemu_plugin_filter_use(C.may[CACHE_FETCH], vcpu, table)) {
        v->code_table = table;
        for (int mode = 0; mode < MODES; mode++) {
            v->counted[CACHE_FETCH][mode] = filter_count(vcpu, CACHE_FETCH,
                                                         mode);
        }
    }
}

/* @vcpu executes. */
static PCPU *pcpu_of(unsigned vcpu, VCPU *v)
{
    PCPU *p;

    if (v->core < 0) {
        v->core = qemu_plugin_vcpu_core(vcpu);
    }
    p = &C.pcpu[v->core];
    if (p->vcpu != (int)vcpu) {
        hold(p, vcpu);
    }
    return p;
}

static void harvest_all(void)
{
    for (unsigned i = 0; i < C.vcpus; i++) {
        harvest(i);
    }
}

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
    p = pcpu_of(vcpu, v);
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
        grant_data(p, vcpu, &access, info, vaddr);
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
    pcpu_of(vcpu, v);
    access.pcpu = v->core;
    access.cycle = cycle_of(vcpu, v, fetch->after);
    if (C.may[CACHE_FETCH]) {
        counted = table == code_table(v->core);
        v->called[CACHE_FETCH][fetch->user] += counted;
        set_code_clock(v->core, counted);
    }
    stalled = access_model(&access, fetch->pc, fetch->pc);
    if (C.may[CACHE_FETCH]) {
        grant_code(v->core, fetch->address);
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

static void switch_on(bool on);

static void execute_magic(unsigned vcpu, void *begin)
{
    lock();
    C.wanted = begin;
    if (C.timed) {
        qemu_plugin_ask_cores_reached();
    } else {
        switch_on(begin);
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

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
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

static void flushed(qemu_plugin_id_t id)
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

/*
 * Another vCPU's fetches are counted in @core's table from now on.  Whose were
 * so far, the engine does not always say: a core that was off holds nobody.
 */
static void leave_code_table(unsigned core)
{
    for (unsigned i = 0; i < C.vcpus; i++) {
        if (C.vcpu[i].code_table == code_table(core)) {
            harvest(i);
            C.vcpu[i].code_table = i;
        }
    }
}

static int64_t core_switched(qemu_plugin_id_t id,
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
        harvest(s->before);
    }
    leave_code_table(s->core);
    harvest(s->vcpu_index);
    /* Its old PCPU may be one that is off, and holds nothing any more. */
    if (v->core >= 0 && C.pcpu[v->core].vcpu == (int)s->vcpu_index) {
        empty_filters(&C.pcpu[v->core]);
    }
    hold(p, s->vcpu_index);
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

static uint64_t core_accessed(qemu_plugin_id_t id,
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

/* --- On and off, reports --- */

static CacheReport report(void)
{
    int64_t end = C.on ? C.now : C.on_until;
    int64_t counted = C.counted + (C.on ? C.now - C.on_since : 0);

    return (CacheReport) {
        .model = C.model,
        .attribution = C.attribution,
        .clock_hz = qemu_plugin_cores_clock_hz(),
        /* If it was off in between: as many cycles as it was on */
        .begin = end - counted,
        .end = end,
        .pcpus = C.timed ? C.pcpu_retired : NULL,
        .vcpus = C.timed ? C.vcpu_retired : NULL,
        .top = C.top,
    };
}

/* The open interval ends, unless it has no cycle: as while it is off. */
static void next_interval(void)
{
    g_autoptr(GString) line = NULL;
    CacheReport r;

    harvest_all();
    r = report();
    if (!cache_intervals_is_open(C.intervals, &r)) {
        return;
    }
    line = cache_intervals_next(C.intervals, &r);
    if (C.interval_out &&
        (fputs(line->str, C.interval_out) < 0 || fflush(C.interval_out))) {
        fprintf(stderr, "cachetime: intervals=%s: %s; there are no more\n",
                C.interval_file, strerror(errno));
        fclose(C.interval_out);
        C.interval_out = NULL;
    }
}

/* While no vCPU executes, or each of them sees it a little later. */
static void switch_on(bool on)
{
    CacheReport r;

    C.wanted = on;
    if (on == C.on) {
        return;
    }
    harvest_all();
    forget_rights();
    if (on) {
        C.on_since = C.now;
    } else {
        if (C.intervals) {
            next_interval();
        }
        C.counted += C.now - C.on_since;
        C.on_until = C.now;
    }
    C.on = on;
    if (on && C.intervals) {
        r = report();
        cache_intervals_begin(C.intervals, &r);
    }
    qemu_plugin_flush_translations();
}

static void reset_counters(void)
{
    CacheReport r;

    harvest_all();
    cache_model_reset_counters(C.model);
    if (C.attribution) {
        attribution_reset(C.attribution);
    }
    memset(C.pcpu_retired, 0, C.pcpus * sizeof(CacheRetired));
    memset(C.vcpu_retired, 0, C.vcpus * sizeof(CacheRetired));
    C.uncached = 0;
    C.counted = 0;
    C.on_since = C.on_until = C.now;
    if (C.intervals) {
        r = report();
        cache_intervals_begin(C.intervals, &r);
    }
}

static uint64_t all_insns(void)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < C.vcpus; i++) {
        sum += qemu_plugin_vcpu_insns(i, false) +
               qemu_plugin_vcpu_insns(i, true);
    }
    return sum;
}

/* The next of its bounds, or UINT64_MAX */
static uint64_t next_bound(const Region *region)
{
    return MIN(region->from >= region->next ? region->from : UINT64_MAX,
               region->to >= region->next ? region->to : UINT64_MAX);
}

/* What @region says when @value is reached is wanted. */
static void enter_region(Region *region, uint64_t value)
{
    if (region->from >= region->next && region->from <= value) {
        C.wanted = true;
    }
    if (region->to >= region->next && region->to <= value) {
        C.wanted = false;
    }
    region->next = value + 1;
}

static int64_t cores_reached(qemu_plugin_id_t id, int64_t cycle,
                             int64_t earliest, void *opaque)
{
    bool insns = next_bound(&C.insns) != UINT64_MAX;
    uint64_t next;

    C.now = cycle;
    cache_model_forget_before(C.model, earliest);
    if (C.intervals && cycle >= C.interval_end) {
        next_interval();
        C.interval_end += (cycle - C.interval_end) / C.interval * C.interval +
                          C.interval;
    }
    enter_region(&C.time, cycle);
    if (insns) {
        enter_region(&C.insns, all_insns());
    }
    if (C.wanted != C.on) {
        switch_on(C.wanted);
    }
    if (insns) {
        return cycle;           /* nobody knows when: as soon as possible */
    }
    next = next_bound(&C.time);
    if (C.intervals) {
        next = MIN(next, (uint64_t)C.interval_end);
    }
    return MIN(next, INT64_MAX);
}

/* --- Commands --- */

static char *text_of(JsonWriter *w)
{
    return g_string_free(json_end(w), false);
}

static char *status(void)
{
    JsonWriter w;

    json_begin(&w, 0);
    json_open(&w, NULL, '{');
    json_bool(&w, "on", C.on);
    json_text(&w, "config", C.config_name);
    json_number(&w, "counted-cycles",
                C.counted + (C.on ? C.now - C.on_since : 0));
    json_number(&w, "uncached-accesses", C.uncached);
    json_number(&w, "host-memory", cache_model_memory(C.model) +
                (C.attribution ? attribution_memory(C.attribution) : 0));
    json_close(&w, '}');
    return text_of(&w);
}

/* Whether @file can be written; false, and why, if it is clear that not. */
static bool check_file(const char *file, char **why)
{
    g_autofree char *directory = g_path_get_dirname(file);
    const char *what = g_file_test(file, G_FILE_TEST_EXISTS) ? file : directory;

    if (!*file || g_file_test(file, G_FILE_TEST_IS_DIR)) {
        *why = g_strdup_printf("'%s' is no file that can be written", file);
        return false;
    }
    if (access(what, W_OK)) {
        *why = g_strdup_printf("%s cannot be written: %s", file,
                               strerror(errno));
        return false;
    }
    return true;
}

/* All of it or nothing, unless @file is a device or the like. */
static bool write_text(const char *file, GString *text, char **why)
{
    bool written;
    FILE *out;

    if (!check_file(file, why)) {
        return false;
    }
    if (!g_file_test(file, G_FILE_TEST_EXISTS) ||
        (g_file_test(file, G_FILE_TEST_IS_REGULAR) &&
         !g_file_test(file, G_FILE_TEST_IS_SYMLINK))) {
        written = g_file_set_contents(file, text->str, text->len, NULL);
    } else {
        out = fopen(file, "w");
        written = out && fwrite(text->str, 1, text->len, out) == text->len;
        written = out && !fclose(out) && written;
    }
    if (!written) {
        *why = g_strdup_printf("%s cannot be written", file);
    }
    return written;
}

/* The answer to "report", or NULL, and why */
static char *report_command(const char *arguments, char **why)
{
    g_autofree char *out = qemu_plugin_command_argument(arguments, "file");
    g_autoptr(GString) text = NULL;
    CacheReport r;
    size_t tokens;

    if (out && (strchr("[{", out[0]) || g_str_equal(out, "null"))) {
        *why = g_strdup_printf("file: allowed is a name, not %s", out);
        return NULL;
    }
    harvest_all();
    r = report();
    text = cache_report_json(&r);
    if (out) {
        return write_text(out, text, why) ? g_strdup("{}") : NULL;
    }
    tokens = json_tokens(text);
    if (tokens > ANSWER_TOKENS_MAX) {
        *why = g_strdup_printf("the report has %zu names, values and signs of "
                               "JSON; allowed in an answer are %u: file= "
                               "writes it into a file, and a smaller top= of "
                               "the plugin makes it shorter", tokens,
                               ANSWER_TOKENS_MAX);
        return NULL;
    }
    return g_string_free(g_steal_pointer(&text), false);
}

static char *command(qemu_plugin_id_t id, const char *name,
                     const char *arguments, char **why, void *opaque)
{
    static const char *const none[] = { NULL };
    static const char *const file[] = { "file", NULL };
    bool is_report = g_str_equal(name, "report");

    *why = qemu_plugin_command_check_arguments(arguments,
                                               is_report ? file : none);
    if (*why) {
        return NULL;
    }
    if (is_report) {
        return report_command(arguments, why);
    } else if (g_str_equal(name, "on") || g_str_equal(name, "off")) {
        switch_on(g_str_equal(name, "on"));
    } else if (g_str_equal(name, "reset")) {
        if (C.intervals) {
            next_interval();
        }
        reset_counters();
    } else if (!g_str_equal(name, "status")) {
        *why = g_strdup_printf("no command '%s': there are off, on, report, "
                               "reset, status", name);
        return NULL;
    }
    return status();
}

/* --- Statistics --- */

/* Whose statistics these are, as the model names them */
static bool object_of(enum qemu_plugin_stat_target target, unsigned index,
                      CacheObject *object)
{
    switch (target) {
    case QEMU_PLUGIN_STAT_VCPU:
        *object = CACHE_OF_VCPU;
        return index < C.vcpus;
    case QEMU_PLUGIN_STAT_CORE:
        *object = CACHE_OF_PCPU;
        return index < C.pcpus;
    case QEMU_PLUGIN_STAT_VM:
        *object = CACHE_OF_VM;
        return index < cache_model_machine(C.model)->vms;
    default:
        *object = CACHE_OF_MACHINE;
        return true;
    }
}

static bool is_of(unsigned vcpu, CacheObject object, unsigned index)
{
    switch (object) {
    case CACHE_OF_VCPU:
        return vcpu == index;
    case CACHE_OF_PCPU:
        return C.vcpu[vcpu].core == (int)index;
    case CACHE_OF_VM:
        return cache_model_machine(C.model)->vm[vcpu] == index;
    default:
        return C.vcpu[vcpu].core >= 0;
    }
}

static void read_statistics(qemu_plugin_id_t id,
                            enum qemu_plugin_stat_target target, unsigned index,
                            uint64_t *values, void *opaque)
{
    const CacheStatistic *s;
    CacheObject object;
    unsigned n;

    s = cache_statistics(&n);
    if (!C.model || !object_of(target, index, &object)) {
        return;
    }
    lock();
    cache_statistics_read(C.model, object, index, values);
    for (unsigned i = 0; i < n; i++) {
        static const char *const names[KINDS] = {
            "fetches", "loads", "stores"
        };
        int mode = g_str_has_prefix(s[i].name, "user-");

        for (unsigned kind = 0; kind < KINDS; kind++) {
            const char *name = strchr(s[i].name, '-') + 1;

            for (unsigned v = 0; v < C.vcpus && g_str_equal(name, names[kind]);
                 v++) {
                if (is_of(v, object, index)) {
                    values[i] += unharvested(v, kind, mode);
                }
            }
        }
    }
    unlock();
}

static void register_statistics(qemu_plugin_id_t id)
{
    static const enum qemu_plugin_stat_target targets[] = {
        QEMU_PLUGIN_STAT_VCPU, QEMU_PLUGIN_STAT_CORE,
        QEMU_PLUGIN_STAT_MACHINE, QEMU_PLUGIN_STAT_VM,
    };
    unsigned n;
    const CacheStatistic *s = cache_statistics(&n);
    g_autofree struct qemu_plugin_statistic *stats =
        g_new0(struct qemu_plugin_statistic, n);

    for (unsigned i = 0; i < n; i++) {
        stats[i].name = s[i].name;
        stats[i].kind = QEMU_PLUGIN_STAT_CUMULATIVE;
        stats[i].unit = s[i].cycles ? QEMU_PLUGIN_STAT_CYCLES
                                    : QEMU_PLUGIN_STAT_NUMBER;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(targets); i++) {
        qemu_plugin_register_statistics(id, targets[i], stats, n,
                                        read_statistics, NULL);
    }
}

/* --- Saved state --- */

/*
 * Version, whether it is on and is wanted to be, cycles counted before, since
 * when it is on, until when it was, accesses of devices; of each vCPU: core,
 * instructions, and those counted, by mode; of each PCPU: instructions counted;
 * the model; attribution, if there is any.  All in the byte order of the host.
 * Behind it is the SHA-256 digest of all of this.
 */
#define STATE_TYPE "(ubbxxxta(itttt)a(tt)aym" ATTRIBUTION_STATE ")"
#define STATE_VERSION 2
#define DIGEST_SIZE 32

static void digest_of(const uint8_t *data, size_t size,
                      uint8_t digest[DIGEST_SIZE])
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    gsize length = DIGEST_SIZE;

    g_checksum_update(sum, data, size);
    g_checksum_get_digest(sum, digest, &length);
}

static GByteArray *save(qemu_plugin_id_t id, void *opaque)
{
    GVariantBuilder vcpus, pcpus;
    g_autoptr(GByteArray) model = NULL;
    g_autoptr(GVariant) state = NULL;
    GByteArray *bytes = g_byte_array_new();
    gsize size;

    harvest_all();
    cache_model_settle(C.model);
    model = cache_model_save(C.model);
    g_variant_builder_init(&vcpus, G_VARIANT_TYPE("a(itttt)"));
    for (unsigned i = 0; i < C.vcpus; i++) {
        g_variant_builder_add(&vcpus, "(itttt)", C.vcpu[i].core,
                              C.vcpu[i].retired[0], C.vcpu[i].retired[1],
                              C.vcpu_retired[i][0], C.vcpu_retired[i][1]);
    }
    g_variant_builder_init(&pcpus, G_VARIANT_TYPE("a(tt)"));
    for (unsigned i = 0; i < C.pcpus; i++) {
        g_variant_builder_add(&pcpus, "(tt)", C.pcpu_retired[i][0],
                              C.pcpu_retired[i][1]);
    }
    state = g_variant_ref_sink(g_variant_new(
        "(ubbxxxta(itttt)a(tt)@ay@m" ATTRIBUTION_STATE ")", STATE_VERSION,
        C.on, C.wanted, C.counted, C.on_since, C.on_until, C.uncached,
        &vcpus, &pcpus,
        g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, model->data, model->len,
                                  1),
        g_variant_new_maybe(G_VARIANT_TYPE(ATTRIBUTION_STATE),
                            C.attribution ? attribution_save(C.attribution)
                                          : NULL)));
    size = g_variant_get_size(state);
    g_byte_array_set_size(bytes, size + DIGEST_SIZE);
    g_variant_store(state, bytes->data);
    digest_of(bytes->data, size, bytes->data + size);
    return bytes;
}

/*
 * Another vCPU may hold a core than before: all of them look into tables of
 * their own again, as at the beginning.  (One that left a core's table still
 * looks there, until it is switched in.)
 */
static void leave_all_code_tables(void)
{
    for (unsigned i = 0; C.may[CACHE_FETCH] && i < C.vcpus; i++) {
        if (qemu_plugin_filter_use(C.may[CACHE_FETCH], i, i)) {
            C.vcpu[i].code_table = i;
        }
    }
}

/* What a state has passed has been said: the state is what it led to. */
static void pass_regions(void)
{
    C.time.next = C.now + 1;
    C.insns.next = all_insns() + 1;
}

/* Time and counters are others than before. */
static void begin_intervals_anew(void)
{
    CacheReport r;

    if (C.intervals) {
        r = report();
        cache_intervals_begin(C.intervals, &r);
        C.interval_end = (C.now / C.interval + 1) * C.interval;
    }
}

/* A machine that was saved without caches: they are empty. */
static void begin_cold(void)
{
    char *why = NULL;
    CacheModel *model = cache_model_new(&C.config,
                                        cache_model_machine(C.model), &why);

    g_assert(model);
    harvest_all();
    forget_rights();
    cache_model_free(C.model);
    C.model = model;
    listen_to_model();
    for (unsigned i = 0; i < C.vcpus; i++) {
        harvest(i);
        C.vcpu[i].core = -1;
    }
    leave_all_code_tables();
    C.now = C.timed ? qemu_plugin_vcpu_cycles(0, 0) : 0;
    C.time.next = C.insns.next = 0;     /* nothing has been said yet */
    if (C.attribution) {
        attribution_forget(C.attribution);
    }
    reset_counters();
    begin_intervals_anew();
}

static bool load_state(GVariant *state, char **why)
{
    g_autoptr(GVariant) vcpus = NULL, pcpus = NULL, model = NULL;
    g_autoptr(GVariant) maybe = NULL, attribution = NULL;
    g_autoptr(GByteArray) before = NULL;
    gboolean on, wanted;
    int64_t counted, on_since, on_until;
    uint64_t uncached;
    uint32_t version;
    gconstpointer bytes;
    gsize size;

    g_variant_get(state, "(ubbxxxt@a(itttt)@a(tt)@ay@m" ATTRIBUTION_STATE ")",
                  &version, &on, &wanted, &counted, &on_since, &on_until,
                  &uncached, &vcpus, &pcpus, &model, &maybe);
    attribution = g_variant_get_maybe(maybe);
    if (version != STATE_VERSION) {
        *why = g_strdup_printf("it has version %u, this one reads %u", version,
                               STATE_VERSION);
        return false;
    }
    if (g_variant_n_children(vcpus) != C.vcpus ||
        g_variant_n_children(pcpus) != C.pcpus) {
        *why = g_strdup_printf("it is of %zu VCPUs on %zu PCPUs, this machine "
                               "has %u on %u", g_variant_n_children(vcpus),
                               g_variant_n_children(pcpus), C.vcpus, C.pcpus);
        return false;
    }
    for (unsigned i = 0; i < C.vcpus; i++) {
        int32_t core;

        g_variant_get_child(vcpus, i, "(itttt)", &core, NULL, NULL, NULL, NULL);
        if (core < -1 || core >= (int)C.pcpus) {
            *why = g_strdup_printf("it has VCPU %u on PCPU %d", i, core);
            return false;
        }
    }
    bytes = g_variant_get_fixed_array(model, &size, 1);
    harvest_all();
    forget_rights();
    before = cache_model_save(C.model);
    if (!cache_model_load(C.model, bytes, size, why)) {
        return false;
    }
    if (C.attribution && !attribution) {
        attribution_forget(C.attribution);
    } else if (C.attribution &&
               !attribution_load(C.attribution, attribution, why)) {
        cache_model_load(C.model, before->data, before->len, NULL);
        return false;
    }
    for (unsigned i = 0; i < C.vcpus; i++) {
        VCPU *v = &C.vcpu[i];
        int32_t core;

        harvest(i);             /* nobody's any more */
        g_variant_get_child(vcpus, i, "(itttt)", &core, &v->retired[0],
                            &v->retired[1], &C.vcpu_retired[i][0],
                            &C.vcpu_retired[i][1]);
        v->core = core;
    }
    leave_all_code_tables();
    for (unsigned i = 0; i < C.pcpus; i++) {
        g_variant_get_child(pcpus, i, "(tt)", &C.pcpu_retired[i][0],
                            &C.pcpu_retired[i][1]);
    }
    C.now = C.timed ? qemu_plugin_vcpu_cycles(0, 0) : 0;
    pass_regions();
    C.uncached = uncached;
    C.counted = counted;
    C.on_since = on_since;
    C.on_until = on_until;
    C.wanted = wanted;
    if (C.on != on) {
        C.on = on;
        qemu_plugin_flush_translations();
    }
    begin_intervals_anew();
    return true;
}

static char *load(qemu_plugin_id_t id, const void *data, size_t size,
                  void *opaque)
{
    g_autoptr(GVariant) state = NULL;
    g_autoptr(GBytes) bytes = NULL;
    uint8_t digest[DIGEST_SIZE];
    char *why = NULL, *message;

    if (!data) {
        begin_cold();
        return NULL;
    }
    if (size >= DIGEST_SIZE) {
        size -= DIGEST_SIZE;
        digest_of(data, size, digest);
    }
    if (size < DIGEST_SIZE ||
        memcmp(digest, (const uint8_t *)data + size, DIGEST_SIZE)) {
        return g_strdup("the state of caches is damaged, or not of this "
                        "version");
    }
    bytes = g_bytes_new(data, size);
    state = g_variant_ref_sink(g_variant_new_from_bytes(
        G_VARIANT_TYPE(STATE_TYPE), bytes, false));
    if (!g_variant_is_normal_form(state)) {
        return g_strdup("the state of caches is damaged");
    }
    if (load_state(state, &why)) {
        return NULL;
    }
    message = g_strdup_printf("the state of caches does not fit: %s", why);
    g_free(why);
    return message;
}

/* --- The machine --- */

static unsigned bits_for(uint32_t n)
{
    unsigned bits = 1;

    while (bits < 16 && 1u << bits < n) {
        bits++;
    }
    return bits;
}

/* None if a line has 16 bytes, which is less than a filter's line can have. */
static void create_filters(void)
{
    unsigned bits = bits_for(cache_model_l1_sets(C.model, CACHE_LOAD));
    unsigned code_bits = bits_for(CODE_PLACES * C.config.l1i.size /
                                  C.config.line);

    if (C.config.line < 32) {
        return;
    }
    C.places = 1u << bits;
    C.code_places = 1u << code_bits;
    C.may[CACHE_FETCH] = qemu_plugin_filter_new(0, code_bits, true);
    C.may[CACHE_LOAD] = qemu_plugin_filter_new(C.line_bits, bits, false);
    C.may[CACHE_STORE] = qemu_plugin_filter_new(C.line_bits, bits, false);
    g_assert(C.may[CACHE_STORE]);
    listen_to_model();
}

/* What no clock ever reaches is never. */
static uint64_t cycles_of(uint64_t ns)
{
    unsigned __int128 cycles = (unsigned __int128)ns *
                               qemu_plugin_cores_clock_hz() / 1000000000;

    return ns == UINT64_MAX || cycles > INT64_MAX ? UINT64_MAX : cycles;
}

/* Whether two names are of one regular file */
static bool is_same_file(const char *one, const char *other)
{
    struct stat a, b;

    return !stat(one, &a) && !stat(other, &b) && S_ISREG(a.st_mode) &&
           a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* What was given in time is in cycles from now on. */
static char *begin_times(void)
{
    CacheReport r = report();
    char *why = NULL, *message;

    if (!C.timed && (C.interval || C.time.from != UINT64_MAX ||
                     C.time.to != UINT64_MAX || C.insns.from != UINT64_MAX ||
                     C.insns.to != UINT64_MAX)) {
        return g_strdup("cachetime: interval, from, to, from-insns and "
                        "to-insns need thread=vsched");
    }
    C.time.from = cycles_of(C.time.from);
    C.time.to = cycles_of(C.time.to);
    if (C.out && !check_file(C.out, &why)) {
        message = g_strdup_printf("cachetime: out=%s", why);
        g_free(why);
        return message;
    }
    if (C.interval) {
        C.interval = MIN(INT64_MAX, MAX(1, cycles_of(C.interval)));
        C.interval_end = C.interval;
        C.intervals = cache_intervals_new(&r);
        C.interval_out = fopen(C.interval_file, "w");
        if (!C.interval_out) {
            return g_strdup_printf("cachetime: intervals=%s: %s",
                                   C.interval_file, strerror(errno));
        }
        if (C.out && is_same_file(C.out, C.interval_file)) {
            return g_strdup_printf("cachetime: out=%s is the file of intervals="
                                   "%s: they have to be two files", C.out,
                                   C.interval_file);
        }
    }
    return NULL;
}

static char *machine_ready(qemu_plugin_id_t id, void *opaque)
{
    g_autofree unsigned *vm = NULL;
    CacheMachine machine = {
        .seed = C.seed,
        .state_base = STATE_BASE,
        .state_words = C.state_words + 2 * LOCKED_MAX,
    };
    char *why = NULL;

    C.pcpus = machine.pcpus = qemu_plugin_num_cores();
    machine.vcpus = C.vcpus;
    C.timed = qemu_plugin_cores_keep_time();
    vm = g_new(unsigned, C.vcpus);
    for (unsigned i = 0; i < C.vcpus; i++) {
        vm[i] = qemu_plugin_vcpu_vm(i);
        machine.vms = MAX(machine.vms, vm[i] + 1);
    }
    machine.vm = vm;
    C.model = cache_model_new(&C.config, &machine, &why);
    if (!C.model) {
        char *message = g_strdup_printf("cachetime: %s", why);

        g_free(why);
        return message;
    }
    C.line_bits = __builtin_ctzll(C.config.line);
    C.insn_count = qemu_plugin_scoreboard_new(sizeof(uint64_t));
    if (C.filter) {
        create_filters();
    }
    C.pcpu = g_new0(PCPU, C.pcpus);
    for (unsigned p = 0; p < C.pcpus; p++) {
        uint32_t sets = cache_model_l1_sets(C.model, CACHE_LOAD);

        C.pcpu[p].vcpu = -1;
        C.pcpu[p].place_of_set = g_new(uint32_t, sets);
        C.pcpu[p].set_of_place = g_new(uint32_t, C.places);
        C.pcpu[p].may_store = g_new0(bool, C.places);
        C.pcpu[p].code_line = g_new(uint64_t, C.code_places);
        memset(C.pcpu[p].code_line, 0xff, C.code_places * sizeof(uint64_t));
        memset(C.pcpu[p].place_of_set, 0xff, sets * sizeof(uint32_t));
        memset(C.pcpu[p].set_of_place, 0xff, C.places * sizeof(uint32_t));
    }
    C.pcpu_retired = g_new0(CacheRetired, C.pcpus);
    C.vcpu_retired = g_new0(CacheRetired, C.vcpus);
    if (C.attribute) {
        C.attribution = attribution_new(&C.config,
                                        cache_model_machine(C.model), NULL);
    }
    C.on = C.wanted = C.start;
    why = begin_times();
    C.ready = !why;
    return why;
}

static void vcpu_started(qemu_plugin_id_t id, unsigned vcpu)
{
    C.vcpu[vcpu].started = true;
}

static void finish(qemu_plugin_id_t id, void *opaque)
{
    g_autoptr(GString) json = NULL;
    g_autoptr(GString) table = NULL;
    g_autofree char *why = NULL;
    CacheReport r;

    if (!C.ready) {
        return;
    }
    if (C.intervals) {
        next_interval();
    }
    harvest_all();
    r = report();
    if (C.out) {
        json = cache_report_json(&r);
        if (!write_text(C.out, json, &why)) {
            fprintf(stderr, "cachetime: out=%s: %s\n", C.out, why);
        }
    }
    if (C.table) {
        table = cache_report_table(&r);
        fputs(table->str, stderr);
    }
    if (C.interval_out) {
        fclose(C.interval_out);
    }
}

/* --- Arguments --- */

static unsigned default_state_words(const char *target)
{
    if (g_str_has_prefix(target, "sparc")) {
        return 277;             /* Wells et al., section 4.3 */
    } else if (g_str_equal(target, "x86_64")) {
        return 160;
    } else if (g_str_equal(target, "aarch64")) {
        return 128;
    }
    return 64;
}

/* Where our configurations are: beside the directory of this plugin's */
static char *config_directory(void)
{
    g_autofree char *plugins = NULL;
    Dl_info info;

    if (!dladdr(config_directory, &info)) {
        return g_strdup(".");
    }
    plugins = g_path_get_dirname(info.dli_fname);
    return g_build_filename(plugins, "..", "..", "configs", "caches", NULL);
}

static int compare_texts(gconstpointer one, gconstpointer other)
{
    return strcmp(*(char *const *)one, *(char *const *)other);
}

/* A file, or the name of one of ours; NULL, and why, if there is none. */
static char *config_file(const char *value, char **why)
{
    g_autofree char *directory = config_directory();
    g_autofree char *name = g_strdup_printf("%s.conf", value);
    g_autofree char *file = g_build_filename(directory, name, NULL);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *all = NULL;
    g_autoptr(GDir) dir = NULL;
    const char *entry;

    if (g_file_test(value, G_FILE_TEST_EXISTS)) {
        return g_strdup(value);
    }
    if (!strchr(value, '/') && g_file_test(file, G_FILE_TEST_EXISTS)) {
        return g_steal_pointer(&file);
    }
    dir = g_dir_open(directory, 0, NULL);
    while (dir && (entry = g_dir_read_name(dir))) {
        if (g_str_has_suffix(entry, ".conf")) {
            g_ptr_array_add(names, g_strndup(entry, strlen(entry) - 5));
        }
    }
    g_ptr_array_sort(names, compare_texts);     /* not as the directory is */
    g_ptr_array_add(names, NULL);
    all = g_strjoinv(" ", (char **)names->pdata);
    *why = g_strdup_printf("config=%s: there is no such file; allowed is also "
                           "the name of a .conf of %s: %s", value, directory,
                           *all ? all : "there is none");
    return NULL;
}

/* Returns NULL, or what is allowed. */
static const char *parse_number(const char *value, void *number)
{
    return g_ascii_string_to_unsigned(value, 10, 0, UINT64_MAX, number, NULL)
           ? NULL : "allowed are numbers from 0 to 18446744073709551615";
}

/* A number of instructions; UINT64_MAX stands for never. */
static const char *parse_insns(const char *value, void *number)
{
    return g_ascii_string_to_unsigned(value, 10, 0, INT64_MAX, number, NULL)
           ? NULL : "allowed are numbers from 0 to 9223372036854775807";
}

static const char *parse_words(const char *value, void *number)
{
    return g_ascii_string_to_unsigned(value, 10, 1, 4096, number, NULL)
           ? NULL : "allowed are numbers from 1 to 4096";
}

static const char *parse_top(const char *value, void *number)
{
    return g_ascii_string_to_unsigned(value, 10, 0, 10000, number, NULL)
           ? NULL : "allowed are numbers from 0 to 10000";
}

/* A number of ns, us, ms or s: whole ns, less than 2^63 */
static const char *parse_time(const char *value, void *ns)
{
    static const struct { const char *unit; uint64_t ns; } units[] = {
        { "ns", 1 }, { "us", 1000 }, { "ms", 1000000 }, { "s", 1000000000 },
    };
    g_autofree char *digits = g_strdup(value);
    size_t n = strspn(value, "0123456789");
    uint64_t number;

    digits[n] = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(units); i++) {
        if (g_str_equal(value + n, units[i].unit) &&
            g_ascii_string_to_unsigned(digits, 10, 0,
                                       INT64_MAX / units[i].ns, &number,
                                       NULL)) {
            *(uint64_t *)ns = number * units[i].ns;
            return NULL;
        }
    }
    return "allowed are whole numbers with a unit, such as 10ms: ns, us, ms, "
           "s; 9223372036s at most";
}

static const char *parse_switch(const char *value, void *on)
{
    return qemu_plugin_bool_parse("", value, on) ? NULL
                                                 : "allowed are on and off";
}

static const char *parse_text(const char *value, void *text)
{
    if (!*value) {
        return "allowed is the name of a file";
    }
    g_free(*(char **)text);
    *(char **)text = g_strdup(value);
    return NULL;
}

static const struct {
    const char *name;
    const char *(*parse)(const char *value, void *to);
    void *to;
} arguments[] = {
    { "attribution", parse_switch, &C.attribute },
    { "config", parse_text, &C.config_name },
    { "filter", parse_switch, &C.filter },
    { "from", parse_time, &C.time.from },
    { "from-insns", parse_insns, &C.insns.from },
    { "interval", parse_time, &C.interval },
    { "intervals", parse_text, &C.interval_file },
    { "magic", parse_switch, &C.magic },
    { "out", parse_text, &C.out },
    { "seed", parse_number, &C.seed },
    { "start", parse_switch, &C.start },
    { "state-words", parse_words, &C.state_words },
    { "table", parse_switch, &C.table },
    { "to", parse_time, &C.time.to },
    { "to-insns", parse_insns, &C.insns.to },
    { "top", parse_top, &C.top },
    { "walks", parse_switch, &C.walks },
};

static char *parse_argument(const char *argument)
{
    const char *value = strchr(argument, '=') + 1;
    g_autofree char *name = g_strndup(argument, value - 1 - argument);
    g_autoptr(GString) all = g_string_new(NULL);
    const char *allowed;

    for (unsigned i = 0; i < G_N_ELEMENTS(arguments); i++) {
        if (g_str_equal(name, arguments[i].name)) {
            allowed = arguments[i].parse(value, arguments[i].to);
            return allowed ? g_strdup_printf("%s: %s", argument, allowed)
                           : NULL;
        }
        g_string_append_printf(all, "%s%s", i ? ", " : "", arguments[i].name);
    }
    return g_strdup_printf("no argument '%s': there are %s", name, all->str);
}

/* What does not fit together, or NULL */
static char *check_arguments(void)
{
    bool begins = C.time.from != UINT64_MAX || C.insns.from != UINT64_MAX ||
                  C.magic;

    if (!C.interval != !C.interval_file) {
        return g_strdup("interval, of 1ns at least, and intervals, which is "
                        "the file for them, have to be given together");
    }
    if ((C.time.from != UINT64_MAX) + (C.insns.from != UINT64_MAX) + C.magic +
        (C.start_given && C.start) > 1) {
        return g_strdup("of start=on, from, from-insns and magic only one can "
                        "say when it begins");
    }
    if (C.time.to == 0 || C.insns.to == 0 ||
        (C.time.from != UINT64_MAX && C.time.to <= C.time.from) ||
        (C.insns.from != UINT64_MAX && C.insns.to <= C.insns.from)) {
        return g_strdup("to and to-insns have to be after from and from-insns");
    }
    C.start = C.start && !begins;
    return NULL;
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id,
                                           const qemu_info_t *info, int argc,
                                           char **argv)
{
    g_autofree char *file = NULL;
    g_autofree char *why = NULL;

    C.id = id;
    C.target = g_strdup(info->target_name);
    C.config_name = g_strdup("wells-2006");
    C.state_words = default_state_words(info->target_name);
    C.filter = C.walks = C.start = C.table = true;
    C.time = C.insns = (Region) { UINT64_MAX, UINT64_MAX, 0 };
    C.top = 20;
    if (!info->system_emulation) {
        fprintf(stderr, "cachetime: only system emulation has caches\n");
        return -1;
    }
    for (int i = 0; i < argc && !why; i++) {
        why = parse_argument(argv[i]);
        C.start_given |= g_str_has_prefix(argv[i], "start=");
    }
    if (!why) {
        why = check_arguments();
    }
    cache_config_default(&C.config);
    if (!why) {
        file = config_file(C.config_name, &why);
    }
    if (!file || !cache_config_load(&C.config, file, &why)) {
        fprintf(stderr, "cachetime: %s\n", why);
        return -1;
    }
    /* vCPUs may start before the machine is ready. */
    C.vcpus = info->system.max_vcpus;
    C.vcpu = g_new0(VCPU, C.vcpus);
    for (unsigned i = 0; i < C.vcpus; i++) {
        C.vcpu[i].core = -1;
        C.vcpu[i].code_table = i;
    }
    C.fetches = g_ptr_array_new_with_free_func(g_free);
    qemu_plugin_register_machine_ready_cb(id, machine_ready, NULL);
    qemu_plugin_register_vcpu_init_cb(id, vcpu_started);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_flush_cb(id, flushed);
    qemu_plugin_register_core_switch_cb(id, core_switched, NULL);
    if (C.walks) {
        qemu_plugin_register_core_access_cb(id, core_accessed, NULL);
    }
    qemu_plugin_register_cores_reached_cb(id, cores_reached, NULL);
    qemu_plugin_register_state_cb(id, save, load, NULL);
    qemu_plugin_register_command_cb(id, command, NULL);
    register_statistics(id);
    qemu_plugin_register_atexit_cb(id, finish, NULL);
    return 0;
}
