/*
 * For test plugins: instructions that each vCPU has begun, counted in line.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef COUNT_H
#define COUNT_H

#include <glib.h>
#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

static qemu_plugin_u64 insns;

static void count_block(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(
            qemu_plugin_tb_get_insn(tb, i), QEMU_PLUGIN_INLINE_ADD_U64, insns,
            1);
    }
}

static void count_start(qemu_plugin_id_t id)
{
    insns = qemu_plugin_scoreboard_u64(
        qemu_plugin_scoreboard_new(sizeof(uint64_t)));
    qemu_plugin_register_vcpu_tb_trans_cb(id, count_block);
}

#endif /* COUNT_H */
