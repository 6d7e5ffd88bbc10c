/*
 * statist: a test plugin that gives statistics
 *
 *   -plugin libstatist.so[,cores=off]
 *
 * vCPU:    insns, the instructions that it has begun; twice, double of that
 * core:    number, 1000 times its number and 7 (not with cores=off)
 * VM:      number, 100 times its number and 3
 * machine: insns, the sum over vCPUs; memory, 3 KiB; time, 5 ns; peak, 2^64-1
 *
 * Command "insns" answers the instructions of each vCPU below argument "vcpus".
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdlib.h>
#include <string.h>

#include "count.h"

static const struct qemu_plugin_statistic vcpu_stats[] = {
    { .name = "insns" },
    { .name = "twice", .kind = QEMU_PLUGIN_STAT_INSTANT,
      .unit = QEMU_PLUGIN_STAT_CYCLES },
};

static const struct qemu_plugin_statistic core_stats[] = {
    { .name = "number", .kind = QEMU_PLUGIN_STAT_INSTANT },
};

static const struct qemu_plugin_statistic machine_stats[] = {
    { .name = "insns" },
    { .name = "memory", .kind = QEMU_PLUGIN_STAT_INSTANT,
      .unit = QEMU_PLUGIN_STAT_BYTES, .base = 2, .exponent = 10 },
    { .name = "time", .unit = QEMU_PLUGIN_STAT_SECONDS, .exponent = -9 },
    { .name = "peak", .kind = QEMU_PLUGIN_STAT_PEAK },
};

static const struct qemu_plugin_statistic vm_stats[] = {
    { .name = "number", .kind = QEMU_PLUGIN_STAT_INSTANT },
};

static void statistics(qemu_plugin_id_t id, enum qemu_plugin_stat_target target,
                       unsigned int index, uint64_t *values, void *userdata)
{
    switch (target) {
    case QEMU_PLUGIN_STAT_VCPU:
        values[0] = qemu_plugin_u64_get(insns, index);
        values[1] = 2 * values[0];
        break;
    case QEMU_PLUGIN_STAT_CORE:
        values[0] = 1000 * index + 7;
        break;
    case QEMU_PLUGIN_STAT_MACHINE:
        values[0] = qemu_plugin_u64_sum(insns);
        values[1] = 3;
        values[2] = 5;
        values[3] = UINT64_MAX;
        break;
    case QEMU_PLUGIN_STAT_VM:
        values[0] = 100 * index + 3;
        break;
    }
}

static char *command(qemu_plugin_id_t id, const char *name,
                     const char *arguments, char **why, void *userdata)
{
    g_autofree char *vcpus = qemu_plugin_command_argument(arguments, "vcpus");
    GString *answer;

    if (strcmp(name, "insns") || !vcpus) {
        *why = g_strdup("the one command is insns, its argument vcpus");
        return NULL;
    }
    answer = g_string_new("[");
    for (int i = 0; i < atoi(vcpus); i++) {
        g_string_append_printf(answer, "%s%" PRIu64, i ? ", " : "",
                               qemu_plugin_u64_get(insns, i));
    }
    return g_string_free(g_string_append(answer, "]"), false);
}

QEMU_PLUGIN_EXPORT
int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc,
                        char **argv)
{
    count_start(id);
    qemu_plugin_register_command_cb(id, command, NULL);
    qemu_plugin_register_statistics(id, QEMU_PLUGIN_STAT_VCPU, vcpu_stats,
                                    G_N_ELEMENTS(vcpu_stats), statistics, NULL);
    qemu_plugin_register_statistics(id, QEMU_PLUGIN_STAT_CORE, core_stats,
                                    G_N_ELEMENTS(core_stats), statistics, NULL);
    qemu_plugin_register_statistics(id, QEMU_PLUGIN_STAT_MACHINE, machine_stats,
                                    G_N_ELEMENTS(machine_stats), statistics,
                                    NULL);
    qemu_plugin_register_statistics(id, QEMU_PLUGIN_STAT_VM, vm_stats,
                                    G_N_ELEMENTS(vm_stats), statistics, NULL);
    if (argc && !strcmp(argv[0], "cores=off")) {
        qemu_plugin_register_statistics(id, QEMU_PLUGIN_STAT_CORE, NULL, 0,
                                        NULL, NULL);
    }
    return 0;
}
