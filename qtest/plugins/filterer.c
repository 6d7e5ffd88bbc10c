/*
 * filterer: a test plugin that asks of each access what a filter should say
 *
 *   -plugin libfilterer.so[,line=BITS][,index=BITS][,stamps=on][,tables=N]
 *
 * Each access is counted three times: in line, by a callback that is always
 * called, and by a filter, whose callback puts the line into the table.  The
 * plugin keeps a table of its own: a place of it says which line was put there
 * last, of which address space, so a filtered callback that does not come tells
 * what the filter has.  Besides: the physical address of a line that the filter
 * has is that of the time when it was put there.  It does the same for the
 * execution of instructions, whose keys are their addresses / 64.  With stamps,
 * the place of an access that was recognised is stamped with the number of all
 * accesses so far.  With tables=N, vCPU v uses table N + v.
 *
 * Command "counts": all of that as JSON.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <glib.h>
#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

#define VCPUS 32
#define KEYS_BITS 6
#define COUNTER 3

typedef struct Place {
    uint64_t line, physical;
} Place;

static struct {
    unsigned line_bits, index_bits, tables;
    bool stamps;
    struct qemu_plugin_filter *filter, *keys;
    qemu_plugin_u64 in_line;
    Place *place[VCPUS];        /* what was put there */

    uint64_t all;               /* callbacks without a filter */
    uint64_t called;            /* with one */
    uint64_t crossing;          /* of @all, those that lie in two lines */
    uint64_t atomics;           /* of @all, halves of atomic operations */
    uint64_t known;             /* of @all, the filter did not call */
    uint64_t wrong_line;        /* of @known: not what was put there */
    uint64_t moved;             /* of @known: the physical address changed */
    uint64_t crossing_known;
    uint64_t wrong_stamp;       /* of @known: not the number of accesses */
    uint64_t dropped;           /* called, though the line was put there */
    uint64_t executed, executed_called;

    bool now_called;            /* the filter called for the present access */
} F = { .line_bits = 6, .index_bits = 7 };

static unsigned table_of(unsigned vcpu)
{
    return F.tables + vcpu;
}

static void filtered(unsigned int vcpu, qemu_plugin_meminfo_t info,
                     uint64_t vaddr, void *userdata)
{
    F.called++;
    F.now_called = true;
}

static bool crosses(qemu_plugin_meminfo_t info, uint64_t vaddr)
{
    uint64_t last = vaddr + (1u << qemu_plugin_mem_size_shift(info)) - 1;

    return (vaddr ^ last) >> F.line_bits;
}

/* Registered after filtered(), so called after it for the same access */
static void every(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr,
                  void *userdata)
{
    struct qemu_plugin_hwaddr *hw = qemu_plugin_get_hwaddr(info, vaddr);
    uint64_t line = vaddr >> F.line_bits;
    uint64_t physical = hw ? qemu_plugin_hwaddr_phys_addr(hw) >> F.line_bits
                           : UINT64_MAX;
    Place *p = &F.place[vcpu][line & ((1u << F.index_bits) - 1)];
    bool crossing = crosses(info, vaddr);

    F.all++;
    F.crossing += crossing;
    F.atomics += qemu_plugin_mem_is_atomic(info);
    if (!F.now_called) {
        F.known++;
        F.wrong_line += p->line != line;
        F.moved += p->line == line && p->physical != physical;
        F.crossing_known += crossing;
        F.wrong_stamp += F.stamps &&
            qemu_plugin_filter_stamp(F.filter, table_of(vcpu),
                                     p - F.place[vcpu]) !=
            qemu_plugin_filter_count(F.filter, table_of(vcpu), 0);
        return;
    }
    F.now_called = false;
    F.dropped += !crossing && p->line == line;
    if (hw) {
        unsigned place = qemu_plugin_filter_add(F.filter, table_of(vcpu), info,
                                                vaddr);

        g_assert(place == (line & ((1u << F.index_bits) - 1)));
        *p = (Place) { line, physical };
    }
}

static void executed(unsigned int vcpu, void *key)
{
    F.executed_called++;
    qemu_plugin_filter_add_key(F.keys, table_of(vcpu), (uintptr_t)key);
}

static void started(qemu_plugin_id_t id, unsigned int vcpu)
{
    if (F.tables) {
        g_assert(!qemu_plugin_filter_use(F.filter, vcpu,
                                         QEMU_PLUGIN_FILTER_TABLES));
        g_assert(qemu_plugin_filter_use(F.filter, vcpu, table_of(vcpu)));
        g_assert(qemu_plugin_filter_use(F.keys, vcpu, table_of(vcpu)));
    }
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint64_t key = qemu_plugin_insn_vaddr(insn) / 64;

        qemu_plugin_register_vcpu_mem_inline_per_vcpu(
            insn, QEMU_PLUGIN_MEM_RW, QEMU_PLUGIN_INLINE_ADD_U64, F.in_line, 1);
        qemu_plugin_register_vcpu_mem_filtered_cb(
            insn, filtered, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW,
            F.filter, COUNTER, NULL);
        qemu_plugin_register_vcpu_mem_cb(insn, every, QEMU_PLUGIN_CB_NO_REGS,
                                         QEMU_PLUGIN_MEM_RW, NULL);
        qemu_plugin_register_vcpu_insn_exec_filtered_cb(
            insn, executed, QEMU_PLUGIN_CB_NO_REGS, F.keys, COUNTER, key,
            (void *)(uintptr_t)key);
    }
}

static char *command(qemu_plugin_id_t id, const char *name,
                     const char *arguments, char **why, void *userdata)
{
    uint64_t counted = 0, executions = 0;

    if (strcmp(name, "counts")) {
        *why = g_strdup_printf("there is no command '%s': allowed is counts",
                               name);
        return NULL;
    }
    for (int i = 0; i < qemu_plugin_num_vcpus(); i++) {
        counted += qemu_plugin_filter_count(F.filter, table_of(i), COUNTER);
        executions += qemu_plugin_filter_count(F.keys, table_of(i), COUNTER);
    }
    return g_strdup_printf(
        "{\"in-line\": %" PRIu64 ", \"all\": %" PRIu64 ", \"filter\": %" PRIu64
        ", \"called\": %" PRIu64 ", \"known\": %" PRIu64
        ", \"crossing\": %" PRIu64 ", \"atomics\": %" PRIu64
        ", \"crossing-known\": %" PRIu64 ", \"wrong-line\": %" PRIu64
        ", \"moved\": %" PRIu64 ", \"dropped\": %" PRIu64
        ", \"wrong-stamp\": %" PRIu64
        ", \"executions\": %" PRIu64 ", \"executions-called\": %" PRIu64 "}",
        qemu_plugin_u64_sum(F.in_line), F.all, counted, F.called, F.known,
        F.crossing, F.atomics, F.crossing_known, F.wrong_line, F.moved,
        F.dropped, F.wrong_stamp, executions, F.executed_called);
}

QEMU_PLUGIN_EXPORT
int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc,
                        char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (g_str_has_prefix(argv[i], "line=")) {
            F.line_bits = atoi(argv[i] + 5);
        } else if (g_str_has_prefix(argv[i], "index=")) {
            F.index_bits = atoi(argv[i] + 6);
        } else if (g_str_has_prefix(argv[i], "tables=")) {
            F.tables = atoi(argv[i] + 7);
        } else if (g_str_equal(argv[i], "stamps=on")) {
            F.stamps = true;
        }
    }
    F.filter = qemu_plugin_filter_new(F.line_bits, F.index_bits, F.stamps);
    F.keys = qemu_plugin_filter_new(0, KEYS_BITS, F.stamps);
    if (!F.filter || !F.keys) {
        fprintf(stderr, "filterer: no filter with line=%u,index=%u\n",
                F.line_bits, F.index_bits);
        return -1;
    }
    F.in_line = qemu_plugin_scoreboard_u64(
        qemu_plugin_scoreboard_new(sizeof(uint64_t)));
    for (int i = 0; i < VCPUS; i++) {
        F.place[i] = g_new(Place, 1u << F.index_bits);
        memset(F.place[i], 0xff, sizeof(Place) << F.index_bits);
    }
    qemu_plugin_register_vcpu_init_cb(id, started);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_command_cb(id, command, NULL);
    return 0;
}
