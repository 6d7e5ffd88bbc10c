/*
 * The cache model: its state as bytes
 *
 * Little-endian numbers of 64 bits, with the configuration first, so that the
 * state of another machine is refused with the key that differs.  Of a cache,
 * only places that hold something are written.  The directory is not: it
 * follows from the L2s.  The seed belongs to the run that goes on, so that one
 * warm state can begin several runs that differ by their seeds.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "cache-internal.h"

#define MAGIC     UINT64_C(0x324548434143504d)    /* "MPCACHE2" */
#define CYCLE_MAX (INT64_MAX / 512)     /* slots are at most 256 a cycle */

/* --- Writing --- */

static void put(GByteArray *out, uint64_t value)
{
    uint64_t bytes = GUINT64_TO_LE(value);

    g_byte_array_append(out, (const uint8_t *)&bytes, sizeof(bytes));
}

static void put_numbers(GByteArray *out, const void *numbers, size_t size)
{
    const uint64_t *n = numbers;

    for (size_t i = 0; i < size / sizeof(*n); i++) {
        put(out, n[i]);
    }
}

static void put_array(GByteArray *out, const CacheArray *a)
{
    uint64_t used = 0;

    for (int64_t n = 0; n < cache_array_places(a); n++) {
        int64_t place = cache_array_place(a, n);

        used += cache_array_state(a, place) != CACHE_INVALID;
    }
    put(out, a->clock);
    put(out, used);
    for (int64_t n = 0; n < cache_array_places(a); n++) {
        int64_t place = cache_array_place(a, n);

        if (cache_array_state(a, place) != CACHE_INVALID) {
            put(out, n);
            put(out, cache_array_state(a, place));
            put(out, cache_array_line(a, place));
            put(out, cache_array_has_stamps(a) ? *cache_array_stamp(a, place)
                                               : 0);
        }
    }
    if (a->tree) {
        put_numbers(out, a->tree, a->sets * sizeof(a->tree[0]));
    }
}

static void put_reservation(GByteArray *out, const Reservation *r)
{
    put(out, r->base);
    put(out, r->words);
    put_numbers(out, r->taken, r->words * sizeof(r->taken[0]));
}

static void put_banks(GByteArray *out, const Reservation *bank, uint64_t banks)
{
    for (unsigned i = 0; i < banks; i++) {
        put_reservation(out, &bank[i]);
    }
}

static void put_pcpu(GByteArray *out, const CacheModel *m, const CachePcpu *p)
{
    put_array(out, &p->l1[CACHE_SIDE_I]);
    put_array(out, &p->l1[CACHE_SIDE_D]);
    put_array(out, &p->l2);
    put_banks(out, p->l2_bank, m->config.l2.banks);
    put_reservation(out, &p->link_in);
    put_reservation(out, &p->link_out);
    put(out, p->memory_reads);
    put_numbers(out, p->counters, sizeof(p->counters));
    put_numbers(out, &p->events, sizeof(p->events));
}

static void put_touched(GByteArray *out, const CacheModel *m)
{
    FirstTouch *t = (FirstTouch *)&m->touched;
    size_t n;
    g_autofree uint64_t *numbers = first_touch_regions(t, &n);

    put(out, n);
    for (size_t i = 0; i < n; i++) {
        put(out, numbers[i]);
        g_byte_array_append(out, first_touch_region(t, numbers[i]),
                            first_touch_region_size(t));
    }
}

static void put_machine(GByteArray *out, const CacheModel *m)
{
    CacheConfig config = m->config;

    for (const FileParameter *p = cache_parameters; p->group; p++) {
        put(out, *file_parameter_value(p, &config));
    }
    put(out, m->machine.pcpus);
    put(out, m->machine.vcpus);
    put(out, m->machine.vms);
    put(out, m->machine.state_base);
    put(out, m->machine.state_words);
    for (unsigned v = 0; v < m->machine.vcpus; v++) {
        put(out, m->vm[v]);
    }
}

GByteArray *cache_model_save(const CacheModel *m)
{
    GByteArray *out = g_byte_array_new();

    put(out, MAGIC);
    put_machine(out, m);
    put(out, m->horizon);
    for (unsigned i = 0; i < m->machine.pcpus; i++) {
        put_pcpu(out, m, &m->pcpu[i]);
    }
    put_array(out, &m->l3);
    put_banks(out, m->l3_bank, m->config.l3.banks);
    put_reservation(out, &m->memory);
    put_numbers(out, m->vcpu, m->machine.vcpus * sizeof(m->vcpu[0]));
    put_touched(out, m);
    return out;
}

/* --- Reading --- */

/* After the first fault nothing is read any more, and numbers are 0. */
typedef struct Reader {
    const uint8_t *bytes;
    size_t left;
    char *fault;
} Reader;

G_GNUC_PRINTF(2, 3)
static void fail(Reader *in, const char *format, ...)
{
    va_list args;

    if (!in->fault) {
        va_start(args, format);
        in->fault = g_strdup_vprintf(format, args);
        va_end(args);
    }
}

static const uint8_t *get_bytes(Reader *in, size_t size)
{
    const uint8_t *bytes = in->bytes;

    if (in->left < size) {
        fail(in, "it ends too early");
    }
    if (in->fault) {
        return NULL;
    }
    in->bytes += size;
    in->left -= size;
    return bytes;
}

static uint64_t get(Reader *in)
{
    const uint8_t *bytes = get_bytes(in, sizeof(uint64_t));
    uint64_t value = 0;

    if (bytes) {
        memcpy(&value, bytes, sizeof(value));
    }
    return GUINT64_FROM_LE(value);
}

/* A number from @minimum to @maximum */
static uint64_t get_within(Reader *in, uint64_t minimum, uint64_t maximum,
                           const char *what)
{
    uint64_t value = get(in);

    if (value < minimum || value > maximum) {
        fail(in, "%s is %" G_GUINT64_FORMAT ": allowed is %" G_GUINT64_FORMAT
             " to %" G_GUINT64_FORMAT, what, value, minimum, maximum);
        return minimum;
    }
    return value;
}

static void get_numbers(Reader *in, void *numbers, size_t size)
{
    uint64_t *n = numbers;

    for (size_t i = 0; i < size / sizeof(*n); i++) {
        n[i] = get(in);
    }
}

/* A place at or after @least, with what it holds; returns the next one */
static uint64_t get_place(Reader *in, CacheArray *a, uint64_t least,
                          unsigned shift)
{
    uint64_t n = get_within(in, least, cache_array_places(a) - 1,
                            "a place in a cache");
    int64_t place = cache_array_place(a, n);
    CacheState state;
    uint64_t line;

    if (in->fault) {
        return n;
    }
    state = get_within(in, CACHE_TAKEN, CACHE_STATES - 1, "a state");
    line = get_within(in, 0, UINT64_MAX >> shift, "a line");
    if (cache_array_set(a, line) != n / a->ways) {
        fail(in, "a line is in a wrong set");
    }
    a->word[place] = line << CACHE_STATE_BITS | state;
    if (cache_array_has_stamps(a)) {
        *cache_array_stamp(a, place) = get_within(in, 0, a->clock,
                                                  "a time stamp");
    } else {
        get(in);
    }
    return n + 1;
}

static void get_array(Reader *in, CacheArray *a, unsigned shift)
{
    uint64_t least = 0, used;

    a->clock = get(in);
    used = get_within(in, 0, cache_array_places(a), "the lines of a cache");
    for (uint64_t i = 0; i < used && !in->fault; i++) {
        least = get_place(in, a, least, shift);
    }
    if (a->tree) {
        get_numbers(in, a->tree, a->sets * sizeof(a->tree[0]));
    }
}

static void get_reservation(Reader *in, Reservation *r)
{
    uint64_t base = get_within(in, 0, INT64_MAX / 2, "a slot");
    uint64_t words = get_within(in, 1, RESERVATION_SLOTS_MAX / 64,
                                "words of slots");

    if (base % 64 || words & (words - 1)) {
        fail(in, "slots do not begin or end where they may");
    }
    if (in->fault) {
        return;
    }
    r->base = base;
    r->words = words;
    g_free(r->taken);
    r->taken = g_new0(uint64_t, words);
    get_numbers(in, r->taken, words * sizeof(r->taken[0]));
}

static void get_banks(Reader *in, Reservation *bank, uint64_t banks)
{
    for (unsigned i = 0; i < banks; i++) {
        get_reservation(in, &bank[i]);
    }
}

static void get_pcpu(Reader *in, CacheModel *m, CachePcpu *p)
{
    get_array(in, &p->l1[CACHE_SIDE_I], m->line_shift);
    get_array(in, &p->l1[CACHE_SIDE_D], m->line_shift);
    get_array(in, &p->l2, m->line_shift);
    get_banks(in, p->l2_bank, m->config.l2.banks);
    get_reservation(in, &p->link_in);
    get_reservation(in, &p->link_out);
    p->memory_reads = get(in);
    get_numbers(in, p->counters, sizeof(p->counters));
    get_numbers(in, &p->events, sizeof(p->events));
}

static void get_touched(Reader *in, CacheModel *m)
{
    uint64_t n = get(in);

    for (uint64_t i = 0; i < n && !in->fault; i++) {
        uint64_t number = get(in);
        size_t size = first_touch_region_size(&m->touched);
        const uint8_t *masks = get_bytes(in, size);

        if (masks) {
            memcpy(first_touch_region(&m->touched, number), masks, size);
        }
    }
}

/* --- Whether it fits --- */

static void match(Reader *in, const char *what, uint64_t mine)
{
    uint64_t value = get(in);

    if (value != mine) {
        fail(in, "it was saved with %s %" G_GUINT64_FORMAT ", this machine has "
             "%" G_GUINT64_FORMAT, what, value, mine);
    }
}

static void match_parameter(Reader *in, const FileParameter *p, uint64_t mine)
{
    uint64_t value = get_within(in, p->minimum, p->maximum, p->key);

    if (value != mine && !in->fault) {
        g_autofree char *saved = file_parameter_text(p, value);
        g_autofree char *here = file_parameter_text(p, mine);

        fail(in, "it was saved with [%s] %s=%s, this machine has %s", p->group,
             p->key, saved, here);
    }
}

static void match_machine(Reader *in, CacheModel *m)
{
    for (const FileParameter *p = cache_parameters; p->group; p++) {
        match_parameter(in, p, *file_parameter_value(p, &m->config));
    }
    match(in, "PCPUs:", m->machine.pcpus);
    match(in, "VCPUs:", m->machine.vcpus);
    match(in, "VMs:", m->machine.vms);
    match(in, "VCPU states at address", m->machine.state_base);
    match(in, "words of a VCPU's state, with room for locked TLB entries:",
          m->machine.state_words);
    for (unsigned v = 0; v < m->machine.vcpus; v++) {
        match(in, "a VCPU of VM", m->vm[v]);
    }
}

/* --- All of it --- */

static void rebuild_directory(CacheModel *m)
{
    for (unsigned p = 0; p < m->machine.pcpus; p++) {
        const CacheArray *l2 = &m->pcpu[p].l2;

        for (int64_t n = 0; n < cache_array_places(l2); n++) {
            int64_t place = cache_array_place(l2, n);
            CacheState state = cache_array_state(l2, place);

            if (cache_state_valid(state)) {
                directory_add(&m->directory, cache_array_line(l2, place), p,
                              state != CACHE_SHARED);
            }
        }
    }
}

static void get_model(Reader *in, CacheModel *m)
{
    if (get(in) != MAGIC) {
        fail(in, "it is none of a cache model");
    }
    match_machine(in, m);
    m->horizon = get_within(in, 0, CYCLE_MAX, "a cycle");
    for (unsigned i = 0; i < m->machine.pcpus && !in->fault; i++) {
        get_pcpu(in, m, &m->pcpu[i]);
    }
    get_array(in, &m->l3, m->line_shift);
    get_banks(in, m->l3_bank, m->config.l3.banks);
    get_reservation(in, &m->memory);
    get_numbers(in, m->vcpu, m->machine.vcpus * sizeof(m->vcpu[0]));
    get_touched(in, m);
    if (in->left) {
        fail(in, "it goes on after its end");
    }
    if (!in->fault) {
        rebuild_directory(m);
        cache_model_check(m, &in->fault);
    }
}

bool cache_model_load(CacheModel *m, const uint8_t *bytes, size_t size,
                      char **why)
{
    Reader in = { .bytes = bytes, .left = size };
    CacheModel *loaded = cache_model_new(&m->config, &m->machine, why);

    get_model(&in, loaded);
    if (in.fault) {
        *why = g_strdup_printf("state of the caches: %s", in.fault);
        g_free(in.fault);
        cache_model_free(loaded);
        return false;
    }
    loaded->withdraw = m->withdraw;
    loaded->recency = m->recency;
    loaded->withdraw_opaque = m->withdraw_opaque;
    cache_model_destroy(m);
    *m = *loaded;
    g_free(loaded);
    return true;
}
