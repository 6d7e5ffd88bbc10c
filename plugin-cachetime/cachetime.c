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
 * cachetime.h says which file has which part.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "cachetime.h"

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

/*
 * Where the states of VCPUs are (choice): above all physical addresses of the
 * processors that there are, which have 52 bits of it at most.
 */
#define STATE_BASE (UINT64_C(1) << 56)

Cachetime C;

/* --- The machine --- */

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
    CacheReport r = cachetime_report();
    char *why = NULL, *message;

    if (!C.timed && (C.interval || C.time.from != UINT64_MAX ||
                     C.time.to != UINT64_MAX || C.insns.from != UINT64_MAX ||
                     C.insns.to != UINT64_MAX)) {
        return g_strdup("cachetime: interval, from, to, from-insns and "
                        "to-insns need thread=vsched");
    }
    C.time.from = cycles_of(C.time.from);
    C.time.to = cycles_of(C.time.to);
    if (C.out && !cachetime_check_file(C.out, &why)) {
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
    cachetime_create_pcpus();
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
        cachetime_next_interval();
    }
    cachetime_harvest_all();
    r = cachetime_report();
    if (C.out) {
        json = cache_report_json(&r);
        if (!cachetime_write_text(C.out, json, &why)) {
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

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id,
                                           const qemu_info_t *info, int argc,
                                           char **argv)
{
    g_autofree char *why = NULL;

    if (!info->system_emulation) {
        fprintf(stderr, "cachetime: only system emulation has caches\n");
        return -1;
    }
    C.id = id;
    C.target = g_strdup(info->target_name);
    why = cachetime_read_arguments(argc, argv);
    if (why) {
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
    qemu_plugin_register_vcpu_tb_trans_cb(id, cachetime_translate);
    qemu_plugin_register_flush_cb(id, cachetime_flushed);
    qemu_plugin_register_core_switch_cb(id, cachetime_core_switched, NULL);
    if (C.walks) {
        qemu_plugin_register_core_access_cb(id, cachetime_core_accessed, NULL);
    }
    qemu_plugin_register_cores_reached_cb(id, cachetime_cores_reached, NULL);
    qemu_plugin_register_state_cb(id, cachetime_save, cachetime_load, NULL);
    qemu_plugin_register_command_cb(id, cachetime_command, NULL);
    cachetime_register_statistics(id);
    qemu_plugin_register_atexit_cb(id, finish, NULL);
    return 0;
}
