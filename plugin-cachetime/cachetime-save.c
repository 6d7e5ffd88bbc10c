/*
 * The cache-timing plugin: its state, which is saved with the machine
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "cachetime.h"

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

GByteArray *cachetime_save(qemu_plugin_id_t id, void *opaque)
{
    GVariantBuilder vcpus, pcpus;
    g_autoptr(GByteArray) model = NULL;
    g_autoptr(GVariant) state = NULL;
    GByteArray *bytes = g_byte_array_new();
    gsize size;

    cachetime_harvest_all();
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

/* What a state has passed has been said: the state is what it led to. */
static void pass_regions(void)
{
    C.time.next = C.now + 1;
    C.insns.next = cachetime_all_insns() + 1;
}

/* Time and counters are others than before. */
static void begin_intervals_anew(void)
{
    CacheReport r;

    if (C.intervals) {
        r = cachetime_report();
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
    cachetime_harvest_all();
    cachetime_forget_rights();
    cache_model_free(C.model);
    C.model = model;
    cachetime_listen();
    for (unsigned i = 0; i < C.vcpus; i++) {
        cachetime_harvest(i);
        C.vcpu[i].core = -1;
    }
    cachetime_leave_all_code_tables();
    C.now = C.timed ? qemu_plugin_vcpu_cycles(0, 0) : 0;
    C.time.next = C.insns.next = 0;     /* nothing has been said yet */
    if (C.attribution) {
        attribution_forget(C.attribution);
    }
    cachetime_reset_counters();
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
    cachetime_harvest_all();
    cachetime_forget_rights();
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

        cachetime_harvest(i);             /* nobody's any more */
        g_variant_get_child(vcpus, i, "(itttt)", &core, &v->retired[0],
                            &v->retired[1], &C.vcpu_retired[i][0],
                            &C.vcpu_retired[i][1]);
        v->core = core;
    }
    cachetime_leave_all_code_tables();
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

char *cachetime_load(qemu_plugin_id_t id, const void *data, size_t size,
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
