/*
 * keeper: a test plugin whose state is saved and loaded with the machine
 *
 *   -plugin libkeeper.so[,max=N][,cold=refuse][,size=BYTES][,nothing=on]
 *
 * It counts instructions, goes on counting where the saved state ended, and
 * tells the count by command "count".
 *
 * max:     a state whose count is above N does not fit
 * cold:    a machine that was saved without the plugin does not fit
 * size:    so many bytes more are saved, which have to come back
 * nothing: it saves nothing
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "count.h"

#define MAGIC UINT64_C(0x6b65657065722031)      /* "keeper 1" */

static uint64_t before;         /* instructions of the state that was loaded */
static uint64_t max = UINT64_MAX, padding;
static bool refuse_cold, nothing;

static uint64_t count(void)
{
    return before + qemu_plugin_u64_sum(insns);
}

static void put(GByteArray *data, uint64_t value)
{
    value = GUINT64_TO_BE(value);
    g_byte_array_append(data, (const guint8 *)&value, sizeof(value));
}

static uint64_t get(const char *data)
{
    uint64_t value;

    memcpy(&value, data, sizeof(value));
    return GUINT64_FROM_BE(value);
}

/* Bytes that no other offset in the neighbourhood has in this order. */
static guint8 padding_byte(uint64_t i)
{
    return i * 2654435761u >> 13;
}

static GByteArray *save(qemu_plugin_id_t id, void *userdata)
{
    GByteArray *data = g_byte_array_new();

    if (nothing) {
        g_byte_array_unref(data);
        return NULL;
    }
    put(data, MAGIC);
    put(data, count());
    for (uint64_t i = 0; i < padding; i++) {
        guint8 byte = padding_byte(i);

        g_byte_array_append(data, &byte, 1);
    }
    return data;
}

static char *load(qemu_plugin_id_t id, const void *data, size_t size,
                  void *userdata)
{
    const char *bytes = data;

    if (!data) {
        return refuse_cold ? g_strdup("nothing was kept") : NULL;
    }
    if (size != 16 + padding || get(bytes) != MAGIC) {
        return g_strdup_printf("%zu bytes are not the %" PRIu64 " of a keeper",
                               size, 16 + padding);
    }
    if (get(bytes + 8) > max) {
        return g_strdup_printf("a count of %" PRIu64 " is above max=%" PRIu64,
                               get(bytes + 8), max);
    }
    for (uint64_t i = 0; i < padding; i++) {
        if ((guint8)bytes[16 + i] != padding_byte(i)) {
            return g_strdup_printf("byte %" PRIu64 " is another", 16 + i);
        }
    }
    before = get(bytes + 8) - qemu_plugin_u64_sum(insns);
    return NULL;
}

static char *command(qemu_plugin_id_t id, const char *name,
                     const char *arguments, char **why, void *userdata)
{
    if (strcmp(name, "count")) {
        *why = g_strdup_printf("there is no command '%s': allowed is count",
                               name);
        return NULL;
    }
    return g_strdup_printf("%" PRIu64, count());
}

QEMU_PLUGIN_EXPORT
int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc,
                        char **argv)
{
    for (int i = 0; i < argc; i++) {
        const char *value = strchr(argv[i], '=') + 1;

        if (g_str_has_prefix(argv[i], "max=")) {
            max = g_ascii_strtoull(value, NULL, 10);
        } else if (g_str_has_prefix(argv[i], "size=")) {
            padding = g_ascii_strtoull(value, NULL, 10);
        } else if (!strcmp(argv[i], "cold=refuse")) {
            refuse_cold = true;
        } else if (!strcmp(argv[i], "nothing=on")) {
            nothing = true;
        } else {
            g_printerr("keeper: %s is no argument\n", argv[i]);
            return -1;
        }
    }
    count_start(id);
    qemu_plugin_register_state_cb(id, save, load, NULL);
    qemu_plugin_register_command_cb(id, command, NULL);
    return 0;
}
