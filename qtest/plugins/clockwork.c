/*
 * clockwork: a test plugin that makes time pass, and looks at cores
 *
 *   -plugin libclockwork.so[,stall=CYCLES][,switch=CYCLES]
 *
 * stall:  each store takes so many cycles more
 * switch: each switch takes so many; without it, as many as without the plugin
 *
 * It checks at each access that the core that runs the vCPU is the one that
 * took it in last, that the vCPU's time has not gone back, and that a core's
 * clock does not, and notes the accesses of page walks.
 *
 * Command "counts": what it has seen, as JSON.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <glib.h>
#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

#define VCPUS 32

static struct {
    uint64_t stall;
    int64_t cost;               /* of a switch, or -1 */

    unsigned cores;
    int core[VCPUS];            /* that took the vCPU in last, or -1 */
    int64_t seen[VCPUS];        /* last cycle that the vCPU saw */
    int64_t clock[VCPUS];       /* of cores: cycle of the last switch */
    int64_t reached;

    uint64_t accesses, stores, switches, moves;
    uint64_t wrong_core, vcpu_back, core_back, before_reached, reached_back;
    uint64_t physical_wrong;
    uint64_t walks, walk_stores, walk_bytes, walks_unaligned;
} K = { .cost = -1 };

static void access_memory(unsigned int vcpu, qemu_plugin_meminfo_t info,
                          uint64_t vaddr, void *after)
{
    int64_t now = qemu_plugin_vcpu_cycles(vcpu, (uintptr_t)after);

    K.accesses++;
    K.wrong_core += qemu_plugin_vcpu_core(vcpu) != K.core[vcpu];
    K.vcpu_back += now < K.seen[vcpu];
    K.before_reached += now < K.reached;
    K.seen[vcpu] = now;
    if (qemu_plugin_mem_is_store(info)) {
        K.stores++;
        if (K.stall) {
            qemu_plugin_stall(vcpu, K.stall);
        }
    }
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    size_t n = qemu_plugin_tb_n_insns(tb);
    uint64_t first, address;

    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

        qemu_plugin_register_vcpu_mem_cb(insn, access_memory,
                                         QEMU_PLUGIN_CB_NO_REGS,
                                         QEMU_PLUGIN_MEM_RW,
                                         (void *)(uintptr_t)(n - 1 - i));
        /* Within a page, physical addresses are as far apart as virtual ones */
        if (!qemu_plugin_insn_phys_addr(insn, &address)) {
            continue;
        }
        K.physical_wrong += (address ^ qemu_plugin_insn_vaddr(insn)) & 0xfff;
        if (i == 0) {
            first = address - qemu_plugin_insn_vaddr(insn);
        } else if (!((qemu_plugin_insn_vaddr(insn) ^
                      qemu_plugin_tb_vaddr(tb)) & ~UINT64_C(0xfff))) {
            K.physical_wrong += address - qemu_plugin_insn_vaddr(insn) != first;
        }
    }
}

static int64_t switched(qemu_plugin_id_t id,
                        const struct qemu_plugin_core_switch *s, void *userdata)
{
    K.switches++;
    K.moves += K.core[s->vcpu_index] >= 0 &&
               K.core[s->vcpu_index] != (int)s->core;
    K.core_back += s->cycle < K.clock[s->core];
    K.clock[s->core] = s->cycle;
    K.core[s->vcpu_index] = s->core;
    return K.cost;
}

static uint64_t walked(qemu_plugin_id_t id,
                       const struct qemu_plugin_core_access *a, void *userdata)
{
    if (a->kind == QEMU_PLUGIN_ACCESS_WALK) {
        K.walks++;
        K.walk_stores += a->store;
        K.walk_bytes += a->size;
        K.walks_unaligned += a->addr % a->size != 0;
    }
    return 0;
}

static int64_t reached(qemu_plugin_id_t id, int64_t cycle, int64_t earliest,
                       void *userdata)
{
    K.reached_back += earliest < K.reached;
    K.reached = earliest;
    return INT64_MAX;
}

static char *ready(qemu_plugin_id_t id, void *userdata)
{
    K.cores = qemu_plugin_num_cores();
    return qemu_plugin_num_core_vcpus() > VCPUS
        ? g_strdup_printf("clockwork: more than %d vCPUs", VCPUS) : NULL;
}

static char *command(qemu_plugin_id_t id, const char *name,
                     const char *arguments, char **why, void *userdata)
{
    uint64_t insns = 0;

    if (strcmp(name, "counts")) {
        *why = g_strdup_printf("there is no command '%s': allowed is counts",
                               name);
        return NULL;
    }
    for (unsigned i = 0; i < qemu_plugin_num_core_vcpus(); i++) {
        insns += qemu_plugin_vcpu_insns(i, false) +
                 qemu_plugin_vcpu_insns(i, true);
    }
    return g_strdup_printf(
        "{\"cores\": %u, \"keep-time\": %s, \"insns\": %" PRIu64
        ", \"accesses\": %" PRIu64 ", \"stores\": %" PRIu64
        ", \"switches\": %" PRIu64 ", \"moves\": %" PRIu64
        ", \"wrong-core\": %" PRIu64 ", \"vcpu-back\": %" PRIu64
        ", \"core-back\": %" PRIu64 ", \"before-reached\": %" PRIu64
        ", \"reached-back\": %" PRIu64 ", \"physical-wrong\": %" PRIu64
        ", \"walks\": %" PRIu64 ", \"walk-stores\": %" PRIu64
        ", \"walk-bytes\": %" PRIu64 ", \"walks-unaligned\": %" PRIu64
        ", \"reached\": %" PRId64 "}",
        K.cores, qemu_plugin_cores_keep_time() ? "true" : "false", insns,
        K.accesses, K.stores, K.switches, K.moves, K.wrong_core, K.vcpu_back,
        K.core_back, K.before_reached, K.reached_back, K.physical_wrong,
        K.walks, K.walk_stores, K.walk_bytes, K.walks_unaligned, K.reached);
}

QEMU_PLUGIN_EXPORT
int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc,
                        char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (g_str_has_prefix(argv[i], "stall=")) {
            K.stall = g_ascii_strtoull(argv[i] + 6, NULL, 10);
        } else if (g_str_has_prefix(argv[i], "switch=")) {
            K.cost = g_ascii_strtoll(argv[i] + 7, NULL, 10);
        }
    }
    for (int i = 0; i < VCPUS; i++) {
        K.core[i] = -1;
    }
    qemu_plugin_register_machine_ready_cb(id, ready, NULL);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_core_switch_cb(id, switched, NULL);
    qemu_plugin_register_core_access_cb(id, walked, NULL);
    qemu_plugin_register_cores_reached_cb(id, reached, NULL);
    qemu_plugin_register_command_cb(id, command, NULL);
    return 0;
}
