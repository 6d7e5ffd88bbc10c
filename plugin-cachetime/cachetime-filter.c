/*
 * The cache-timing plugin: the filters that generated code looks into
 *
 * Most accesses never leave generated code: those that hit the line of their L1
 * set that was accessed last, with the right that they need, change nothing in
 * the model and do not stall.  The rights that the model grants to such lines
 * are in filters, two for data (lines that may be read, lines that may be
 * written), by virtual address.  They belong to the vCPU that executes, and are
 * emptied when its PCPU takes another one in.  The filter of code is by
 * physical address, so its tables are those of PCPUs, and stay; it stamps lines
 * when it finds them, so that it can have all lines of the L1I.  Filters count
 * all accesses, in line.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "cachetime.h"

#define NONE UINT32_MAX
#define NO_LINE UINT64_MAX

/* Places of the filter of code for each line of an L1I: fewer lines collide. */
#define CODE_PLACES 16

/* --- Rights --- */

static uint32_t code_place(uint64_t line)
{
    return line & (C.code_places - 1);
}

/* When the filter found @line last, by the clock of the L1I */
static uint64_t last_fetch(unsigned pcpu, uint64_t line)
{
    const PCPU *p = &C.pcpu[pcpu];
    unsigned table = cachetime_code_table(pcpu);
    int64_t stamp;

    if (p->code_line[code_place(line)] != line) {
        return 0;
    }
    stamp = qemu_plugin_filter_stamp(C.may[CACHE_FETCH], table,
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
        qemu_plugin_filter_remove(C.may[CACHE_FETCH],
                                  cachetime_code_table(pcpu), place);
    }
}

/* The line at @address was fetched just now. */
void cachetime_grant_code(unsigned pcpu, uint64_t address)
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
    qemu_plugin_filter_add_key(C.may[CACHE_FETCH], cachetime_code_table(pcpu),
                               line);
}

/*
 * Before a fetch that the filter of code did not know.  @counted: it did count
 * it, in the PCPU's table.
 */
void cachetime_set_code_clock(unsigned pcpu, bool counted)
{
    PCPU *p = &C.pcpu[pcpu];
    unsigned table = cachetime_code_table(pcpu);
    uint64_t before = qemu_plugin_filter_count(C.may[CACHE_FETCH], table, 0) -
                      counted;

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
void cachetime_grant_data(PCPU *p, unsigned vcpu, const CacheAccess *access,
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
uint64_t cachetime_unharvested(unsigned vcpu, CacheKind kind, int mode)
{
    const VCPU *v = &C.vcpu[vcpu];

    if (!C.may[kind] || !v->started || v->core < 0 ||
        (kind == CACHE_FETCH &&
         v->code_table != cachetime_code_table(v->core))) {
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
                             cachetime_unharvested(vcpu, kind, mode));
        v->counted[kind][mode] = filter_count(vcpu, kind, mode);
        v->called[kind][mode] = 0;
    }
}

/* The filters of data of the vCPU that @p holds are not used any more. */
void cachetime_empty_filters(PCPU *p)
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
void cachetime_forget_rights(void)
{
    for (unsigned p = 0; p < C.pcpus; p++) {
        cachetime_empty_filters(&C.pcpu[p]);
        empty_code(p);
    }
}

void cachetime_listen(void)
{
    if (C.may[CACHE_LOAD]) {
        cache_model_on_withdraw(C.model, withdraw, NULL);
        cache_model_on_recency(C.model, recency);
    }
}

/* --- Who executes --- */

/*
 * What a vCPU has done since the last time goes into counters: accesses that
 * the filters recognised, instructions.
 */
void cachetime_harvest(unsigned vcpu)
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
void cachetime_hold(PCPU *p, unsigned vcpu)
{
    unsigned table = cachetime_code_table(p - C.pcpu);
    VCPU *v = &C.vcpu[vcpu];

    cachetime_empty_filters(p);
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

void cachetime_harvest_all(void)
{
    for (unsigned i = 0; i < C.vcpus; i++) {
        cachetime_harvest(i);
    }
}

/*
 * Another vCPU's fetches are counted in @core's table from now on.  Whose were
 * so far, the engine does not always say: a core that was off holds nobody.
 */
void cachetime_leave_code_table(unsigned core)
{
    for (unsigned i = 0; i < C.vcpus; i++) {
        if (C.vcpu[i].code_table == cachetime_code_table(core)) {
            cachetime_harvest(i);
            C.vcpu[i].code_table = i;
        }
    }
}

/*
 * Another vCPU may hold a core than before: all of them look into tables of
 * their own again, as at the beginning.  (One that left a core's table still
 * looks there, until it is switched in.)
 */
void cachetime_leave_all_code_tables(void)
{
    for (unsigned i = 0; C.may[CACHE_FETCH] && i < C.vcpus; i++) {
        if (qemu_plugin_filter_use(C.may[CACHE_FETCH], i, i)) {
            C.vcpu[i].code_table = i;
        }
    }
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
    if (!C.may[CACHE_FETCH] || !C.may[CACHE_LOAD] || !C.may[CACHE_STORE]) {
        /* Other plugins have all that there are: the results are the same. */
        memset(C.may, 0, sizeof(C.may));
        C.places = C.code_places = 0;
        return;
    }
    cachetime_listen();
}

/* PCPUs that hold nobody, and filters that have nothing */
void cachetime_create_pcpus(void)
{
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
}
