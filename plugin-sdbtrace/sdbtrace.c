/*
 * sdbtrace: what VCPUs commit, written down for scripts/sdb-model
 *
 * A QEMU plugin on stock interfaces; it knows nothing of the engine or of the
 * SDB.  It writes one record for each committed load and store, and for each
 * change of mode and each VCPU switch, so that an independent model can work
 * out what the SDB of each PCPU had to decide.
 *
 *   -plugin libsdbtrace.so,out=FILE[,pcpus=P][,privileged=LOW-HIGH]
 *           [,skip=N][,limit=N]
 *
 * out:        the trace
 * pcpus:      VCPU i runs on PCPU i mod P, as the policies with a static map
 *             have it; a switch is seen when another VCPU of a PCPU begins to
 *             execute.  Default: each VCPU has a PCPU.
 * privileged: instruction addresses, both inclusive, that run privileged; all
 *             others run in user mode.  The plugin interface does not tell the
 *             mode.  Default: everything is privileged.
 * skip:       begin to write when a VCPU has committed so many instructions
 * limit:      stop writing when it has committed so many
 *
 * Records are those of hw-sdb/sdb-trace.h.
 *
 * Which instructions commit, the plugin has to conclude: one that was started
 * but neither finished its block nor accessed memory did not.  Not told apart:
 * an instruction that ends its block and traps, other than a plain load or
 * store of SPARC (a window spill trap by SAVE, a page fault through an ASI);
 * programs that compare the two have to do without.  A SPARC compare-and-swap
 * that writes back what it has read did not store.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <glib.h>
#include <qemu-plugin.h>

#include "hw-sdb/sdb-trace.h"

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

/* What an instruction is, as far as it matters here */
enum { PLAIN, ACCESSES, SWAPS };

typedef struct Block {
    uint32_t n;                 /* instructions */
    bool user;
    uint8_t last;               /* PLAIN, ACCESSES */
} Block;

typedef struct VCPU {
    uint64_t started;           /* instructions; counted inline */
    uint64_t lost;              /* of these: did not commit */
    uint64_t started_before;    /* the block that was begun last */
    uint64_t accessed;          /* value of started at the last access */
    const Block *block;
    bool user, writing, stopped;
    uint64_t loaded;            /* by the last access, if it was a load */
} VCPU;

static FILE *out;
static GMutex lock;
static struct qemu_plugin_scoreboard *vcpus;
static GHashTable *blocks;      /* address and length -> Block, never freed */
static GArray *running;         /* by PCPU: VCPU + 1, 0 none yet */
static unsigned pcpus;          /* 0: as many as VCPUs */
static uint64_t low_privileged, high_privileged = UINT64_MAX;
static uint64_t skip, limit = UINT64_MAX;
static bool sparc;

static VCPU *vcpu_of(unsigned index)
{
    return qemu_plugin_scoreboard_find(vcpus, index);
}

static uint64_t committed(const VCPU *v)
{
    return v->started - v->lost;
}

static uint16_t pcpu_of(unsigned vcpu)
{
    return pcpus ? vcpu % pcpus : vcpu;
}

static void put(SDBTraceRecord r)
{
    r.pcpu = pcpu_of(r.vcpu);
    r.index = GUINT64_TO_LE(r.index);
    r.address = GUINT64_TO_LE(r.address);
    r.low = GUINT64_TO_LE(r.low);
    r.high = GUINT64_TO_LE(r.high);
    r.pcpu = GUINT16_TO_LE(r.pcpu);
    r.vcpu = GUINT32_TO_LE(r.vcpu);
    if (fwrite(&r, sizeof(r), 1, out) != 1) {
        fprintf(stderr, "sdbtrace: cannot write the trace\n");
        exit(1);
    }
}

/* The block before is over: did its last instruction commit? */
static void settle(VCPU *v)
{
    uint64_t begun = v->started - v->started_before;

    if (v->block && begun && v->accessed != v->started &&
        (begun < v->block->n || v->block->last != PLAIN)) {
        v->lost++;
    }
    v->block = NULL;
    v->started_before = v->started;
}

static void end_vcpu(unsigned index)
{
    VCPU *v = vcpu_of(index);

    if (!v->stopped) {
        put((SDBTraceRecord) {
            .kind = 'E', .vcpu = index, .index = committed(v)
        });
        v->writing = false;
        v->stopped = true;
    }
}

static void switch_to(unsigned index, VCPU *v)
{
    uint16_t pcpu = pcpu_of(index);
    uint32_t *now;
    uint64_t before = 0;

    if (pcpu >= running->len) {
        g_array_set_size(running, pcpu + 1);
    }
    now = &g_array_index(running, uint32_t, pcpu);
    if (*now != index + 1) {
        if (*now) {
            VCPU *goes = vcpu_of(*now - 1);

            settle(goes);
            before = committed(goes);
        }
        *now = index + 1;
        put((SDBTraceRecord) { .kind = 'W', .size = v->user, .vcpu = index,
                       .index = committed(v), .address = before });
    }
}

static void block_exec(unsigned index, void *opaque)
{
    const Block *block = opaque;
    VCPU *v = vcpu_of(index);
    bool changed;

    settle(v);
    v->block = block;
    changed = v->user != block->user;
    v->user = block->user;
    if (!v->writing) {
        if (v->stopped || committed(v) < skip) {
            return;
        }
        v->writing = true;
    }
    g_mutex_lock(&lock);
    switch_to(index, v);
    if (changed) {
        put((SDBTraceRecord) { .kind = 'M', .size = v->user, .vcpu = index,
                       .index = committed(v) });
    }
    if (committed(v) >= limit) {
        end_vcpu(index);
    }
    g_mutex_unlock(&lock);
}

static void access_memory(unsigned index, qemu_plugin_meminfo_t info,
                          uint64_t address, void *opaque)
{
    qemu_plugin_mem_value value = qemu_plugin_mem_get_value(info);
    VCPU *v = vcpu_of(index);
    SDBTraceRecord r = {
        .kind = qemu_plugin_mem_is_store(info) ? 'S' : 'L',
        .size = 1 << qemu_plugin_mem_size_shift(info),
        .vcpu = index,
        .index = committed(v) - 1,
        .address = address,
    };
    bool again = v->accessed == v->started;

    v->accessed = v->started;
    switch (value.type) {
    case QEMU_PLUGIN_MEM_VALUE_U8:
        r.low = value.data.u8;
        break;
    case QEMU_PLUGIN_MEM_VALUE_U16:
        r.low = value.data.u16;
        break;
    case QEMU_PLUGIN_MEM_VALUE_U32:
        r.low = value.data.u32;
        break;
    case QEMU_PLUGIN_MEM_VALUE_U64:
        r.low = value.data.u64;
        break;
    case QEMU_PLUGIN_MEM_VALUE_U128:
        r.low = value.data.u128.low;
        r.high = value.data.u128.high;
        break;
    }
    if (r.kind == 'L') {
        v->loaded = r.low;
        r.low = r.high = 0;
    } else if (again && GPOINTER_TO_INT(opaque) == SWAPS &&
               r.low == v->loaded) {
        return;
    }
    if (v->writing) {
        g_mutex_lock(&lock);
        put(r);
        g_mutex_unlock(&lock);
    }
}

/* SPARC V9, appendix A: format 3, op = 3 is the loads and stores */
static int kind_of(const struct qemu_plugin_insn *insn)
{
    uint8_t b[4];
    unsigned op3;

    if (!sparc || qemu_plugin_insn_data(insn, b, 4) != 4 || b[0] >> 6 != 3) {
        return PLAIN;
    }
    op3 = (b[0] << 8 | b[1]) >> 3 & 0x3f;
    switch (op3) {
    case 0x2d: case 0x3d:               /* PREFETCH, PREFETCHA */
        return PLAIN;
    case 0x3c: case 0x3e:               /* CASA, CASXA */
        return SWAPS;
    default:                            /* an ASI may name a register */
        return op3 & 0x10 ? PLAIN : ACCESSES;
    }
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    size_t n = qemu_plugin_tb_n_insns(tb);
    uint64_t address = qemu_plugin_tb_vaddr(tb);
    Block *block = g_new0(Block, 1);
    int kind = PLAIN;

    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

        kind = kind_of(insn);
        qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(
            insn, QEMU_PLUGIN_INLINE_ADD_U64,
            qemu_plugin_scoreboard_u64_in_struct(vcpus, VCPU, started), 1);
        qemu_plugin_register_vcpu_mem_cb(insn, access_memory,
                                         QEMU_PLUGIN_CB_NO_REGS,
                                         QEMU_PLUGIN_MEM_RW,
                                         GINT_TO_POINTER(kind));
    }
    block->n = n;
    block->user = address < low_privileged || address > high_privileged;
    block->last = kind;
    g_mutex_lock(&lock);
    g_hash_table_add(blocks, block);    /* QEMU keeps the pointer */
    g_mutex_unlock(&lock);
    qemu_plugin_register_vcpu_tb_exec_cb(tb, block_exec,
                                         QEMU_PLUGIN_CB_NO_REGS, block);
}

static void finish(qemu_plugin_id_t id, void *opaque)
{
    g_mutex_lock(&lock);
    for (int i = 0; i < qemu_plugin_num_vcpus(); i++) {
        settle(vcpu_of(i));
        end_vcpu(i);
    }
    if (fclose(out)) {
        fprintf(stderr, "sdbtrace: cannot write the trace\n");
    }
    out = NULL;
    g_mutex_unlock(&lock);
}

static bool parse_range(const char *text)
{
    char *end;

    low_privileged = g_ascii_strtoull(text, &end, 0);
    if (*end != '-') {
        return false;
    }
    high_privileged = g_ascii_strtoull(end + 1, &end, 0);
    return !*end && low_privileged <= high_privileged;
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id,
                                           const qemu_info_t *info,
                                           int argc, char **argv)
{
    const char *path = NULL;

    for (int i = 0; i < argc; i++) {
        g_auto(GStrv) part = g_strsplit(argv[i], "=", 2);
        const char *value = part[0] && part[1] ? part[1] : "";
        char *end = (char *)"";
        bool good = *value;

        if (!g_strcmp0(part[0], "out")) {
            path = argv[i] + strlen("out=");
        } else if (!g_strcmp0(part[0], "pcpus")) {
            pcpus = g_ascii_strtoull(value, &end, 0);
            good = good && pcpus > 0;
        } else if (!g_strcmp0(part[0], "limit")) {
            limit = g_ascii_strtoull(value, &end, 0);
        } else if (!g_strcmp0(part[0], "skip")) {
            skip = g_ascii_strtoull(value, &end, 0);
        } else if (!g_strcmp0(part[0], "privileged")) {
            good = parse_range(value);
        } else {
            good = false;
        }
        if (!good || *end) {
            fprintf(stderr, "sdbtrace: '%s': out=FILE, pcpus=P, skip=N, limit=N"
                    " and privileged=LOW-HIGH are allowed\n", argv[i]);
            return -1;
        }
    }
    if (!path) {
        fprintf(stderr, "sdbtrace: out=FILE is missing\n");
        return -1;
    }
    out = fopen(path, "wb");
    if (!out) {
        fprintf(stderr, "sdbtrace: cannot write %s\n", path);
        return -1;
    }
    setvbuf(out, NULL, _IOFBF, 1 << 20);
    sparc = g_str_has_prefix(info->target_name, "sparc");
    vcpus = qemu_plugin_scoreboard_new(sizeof(VCPU));
    blocks = g_hash_table_new(NULL, NULL);
    running = g_array_new(false, true, sizeof(uint32_t));
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_atexit_cb(id, finish, NULL);
    return 0;
}
