/*
 * fetches: a test plugin that writes down which lines of code are executed
 *
 *   -plugin libfetches.so,to=FILE
 *
 * The file has the physical address of each instruction's line of 64 bytes, as
 * an integer of 8 bytes of the host, in order; a line that comes several times
 * in a row is there once.  One core.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdio.h>
#include <string.h>
#include <glib.h>
#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

#define LINE 64

static FILE *out;
static uint64_t last = UINT64_MAX;

static void execute(unsigned int vcpu, void *userdata)
{
    uint64_t line = (uintptr_t)userdata;

    if (line != last) {
        fwrite(&line, sizeof(line), 1, out);
        last = line;
    }
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint64_t address;

        if (qemu_plugin_insn_phys_addr(insn, &address)) {
            qemu_plugin_register_vcpu_insn_exec_cb(
                insn, execute, QEMU_PLUGIN_CB_NO_REGS,
                (void *)(uintptr_t)(address & -LINE));
        }
    }
}

static void finish(qemu_plugin_id_t id, void *userdata)
{
    fclose(out);
}

QEMU_PLUGIN_EXPORT
int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc,
                        char **argv)
{
    if (argc != 1 || !g_str_has_prefix(argv[0], "to=")) {
        fprintf(stderr, "fetches: to= is needed\n");
        return -1;
    }
    out = fopen(strchr(argv[0], '=') + 1, "wb");
    if (!out) {
        perror("fetches");
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_atexit_cb(id, finish, NULL);
    return 0;
}
