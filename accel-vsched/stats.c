/*
 * Statistics of the engine: query-stats, provider "vsched".
 *
 * Targets: vm, pcpu, vcpu.  Of target vm, the first entry is the whole machine:
 * the engine itself, and sums over all PCPUs and VCPUs.  Where there are
 * several VMs, one entry for each follows, with its path: sums over its VCPUs,
 * by the same names.  All counters live where they are counted; this only
 * reads.  Cycles are those of the PCPUs.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-types-stats.h"
#include "qapi/qapi-visit-stats.h"
#include "qemu/plugin.h"
#include "system/stats.h"
#include "hw/core/cpu.h"
#include "engine.h"

/* Value of a statistic of object @i; machine-wide ones ignore it. */
typedef uint64_t StatFunc(VschedEngine *e, int i);

/* The part of it that PCPU @pcpu had. */
typedef uint64_t StatPartFunc(VschedEngine *e, int i, int pcpu);

typedef struct Stat {
    const char *name;
    StatFunc *value;
    StatsType type;
    bool cycles;
    StatPartFunc *part;         /* histogram over PCPUs; then no @value */
    /* Of a model: its counter @number of a VCPU or a PCPU; then no @value */
    uint64_t (*counter)(int i, int number);
    int number;
} Stat;

#define VCPU_STAT(name, expression)                                     \
    static uint64_t vcpu_##name(VschedEngine *e, int i)                 \
    {                                                                   \
        const VschedVCPU *v G_GNUC_UNUSED = &e->core->vcpu[i];         \
        return expression;                                              \
    }
#define PCPU_STAT(name, expression)                                     \
    static uint64_t pcpu_##name(VschedEngine *e, int i)                 \
    {                                                                   \
        const VschedPCPU *p = &e->core->pcpu[i];                        \
        return expression;                                              \
    }

VCPU_STAT(insns_privileged, v->insns[0])
VCPU_STAT(insns_user, v->insns[1])
VCPU_STAT(useful, vsched_core_cycles(e->core, i, VSCHED_RUNNING) -
                  v->spin_cycles)
VCPU_STAT(spinning, v->spin_cycles)
VCPU_STAT(ready, vsched_core_cycles(e->core, i, VSCHED_READY))
VCPU_STAT(blocked, vsched_core_cycles(e->core, i, VSCHED_BLOCKED))
VCPU_STAT(switching, vsched_core_cycles(e->core, i, VSCHED_SWITCHING))
VCPU_STAT(longest_wait, MAX(v->longest_wait, v->state != VSCHED_READY ? 0 :
                            vsched_core_now(e->core, i) - v->since))
VCPU_STAT(spins, v->spins)
VCPU_STAT(expired, v->expired)
VCPU_STAT(ended_by_spin, v->ended_by_spin)
VCPU_STAT(ended_by_hint, v->ended_by_hint)
VCPU_STAT(preempted, v->preempted)
VCPU_STAT(evicted, v->evicted)
VCPU_STAT(migrations, v->migrations)
VCPU_STAT(switches, v->switches)
VCPU_STAT(calls_sent, v->calls_sent)
VCPU_STAT(calls_refused, v->calls_refused)

static uint64_t vcpu_ran_on(VschedEngine *e, int i, int pcpu)
{
    return vsched_core_ran_on(e->core, i, pcpu);
}

static const Stat own_vcpu_stats[] = {
    { "insns-privileged", vcpu_insns_privileged },
    { "insns-user", vcpu_insns_user },
    { "running-useful", vcpu_useful, .cycles = true },
    { "running-spinning", vcpu_spinning, .cycles = true },
    { "ready", vcpu_ready, .cycles = true },
    { "blocked", vcpu_blocked, .cycles = true },
    { "switching", vcpu_switching, .cycles = true },
    { "longest-wait", vcpu_longest_wait, .type = STATS_TYPE_PEAK,
      .cycles = true },
    { "spin-periods", vcpu_spins },
    { "slices-expired", vcpu_expired },
    { "slices-ended-by-spin", vcpu_ended_by_spin },
    { "slices-ended-by-hint", vcpu_ended_by_hint },
    { "slices-preempted", vcpu_preempted },
    { "slices-evicted", vcpu_evicted },
    { "switched-in", vcpu_switches },
    { "migrations", vcpu_migrations },
    { "cross-calls-accepted", vcpu_calls_sent },
    { "cross-calls-refused", vcpu_calls_refused },
    /* Cycles of running-useful and running-spinning; bucket n is PCPU n. */
    { "running-on", .type = STATS_TYPE_LINEAR_HISTOGRAM,
      .part = vcpu_ran_on },
    {}
};

static const SDBCounters *counters(VschedEngine *e, int pcpu)
{
    return sdb_counters(e->sdb_device[pcpu]->core);
}

PCPU_STAT(clock, p->clock)
PCPU_STAT(insns, p->insns)
PCPU_STAT(busy, p->busy)
PCPU_STAT(stalled, p->stalled)
PCPU_STAT(offline, p->offline)
PCPU_STAT(idle, p->idle)
PCPU_STAT(switching, p->switching)
PCPU_STAT(skipped, p->skipped)
PCPU_STAT(switches, p->switches)

#define SDB_STAT(name, field, user)                                     \
    static uint64_t sdb_##name(VschedEngine *e, int i)                  \
    {                                                                   \
        return counters(e, i)->field[user];                             \
    }
#define SDB_REASON(name, detector, user, reason)                        \
    static uint64_t sdb_##name(VschedEngine *e, int i)                  \
    {                                                                   \
        return counters(e, i)->reasons[detector][user][reason];         \
    }

SDB_STAT(periods_privileged, periods, 0)
SDB_STAT(periods_user, periods, 1)
SDB_STAT(cut_privileged, cut, 0)
SDB_STAT(cut_user, cut, 1)
SDB_STAT(spins_privileged, spins, 0)
SDB_STAT(spins_user, spins, 1)
SDB_REASON(paper_privileged, SDB_PAPER, 0, SDB_SPIN)
SDB_REASON(paper_user, SDB_PAPER, 1, SDB_SPIN)
SDB_REASON(recurrence_privileged, SDB_RECURRENCE, 0, SDB_SPIN)

static const Stat own_pcpu_stats[] = {
    { "clock", pcpu_clock, .cycles = true },
    { "insns", pcpu_insns },
    { "busy", pcpu_busy, .cycles = true },
    { "stalled", pcpu_stalled, .cycles = true },
    { "idle", pcpu_idle, .cycles = true },
    { "offline", pcpu_offline, .cycles = true },
    { "switching", pcpu_switching, .cycles = true },
    { "skipped", pcpu_skipped, .cycles = true },
    { "switches", pcpu_switches },
    { "sdb-periods-privileged", sdb_periods_privileged },
    { "sdb-periods-user", sdb_periods_user },
    { "sdb-cut-privileged", sdb_cut_privileged },
    { "sdb-cut-user", sdb_cut_user },
    { "sdb-spins-privileged", sdb_spins_privileged },
    { "sdb-spins-user", sdb_spins_user },
    { "sdb-paper-spins-privileged", sdb_paper_privileged },
    { "sdb-paper-spins-user", sdb_paper_user },
    { "sdb-recurrence-spins-privileged", sdb_recurrence_privileged },
    {}
};

/* The engine's, and those of models */
static Stat *vcpu_stats, *pcpu_stats;

/*
 * The end of a window.  Where a debugger has stopped a VCPU within one, PCPUs
 * that have nothing to run may have let its PCPU have many of them.
 */
static uint64_t vm_time(VschedEngine *e, int i)
{
    const VschedCore *core = e->core;
    int64_t gone;

    if (core->running == VSCHED_NONE) {
        return core->window_end;
    }
    gone = core->pcpu[core->running].clock - core->window_start;
    return MIN(core->window_end, core->window_start +
               QEMU_ALIGN_UP(MAX(gone, 1), core->window));
}

static uint64_t vm_windows(VschedEngine *e, int i)
{
    return e->core->windows;
}

static uint64_t vm_posted(VschedEngine *e, int i)
{
    return e->posted;
}

/* Besides these, the sums of all statistics of PCPUs and VCPUs, or peaks. */
static const Stat vm_stats[] = {
    { "time", vm_time, .type = STATS_TYPE_INSTANT, .cycles = true },
    { "windows", vm_windows },
    { "posted-events", vm_posted },
    {}
};

/*
 * Of those of objects @from to @to - 1 whose number in @group is @number (NULL:
 * of all): the sum, or the largest of peaks.  @pcpu: which part of a histogram.
 */
static uint64_t total(VschedEngine *e, const Stat *stat, int pcpu, int from,
                      int to, const int *group, int number)
{
    uint64_t sum = 0;

    for (int i = from; i < to; i++) {
        if (!group || group[i] == number) {
            uint64_t value = stat->part ? stat->part(e, i, pcpu) :
                             stat->counter ? stat->counter(i, stat->number) :
                             stat->value(e, i);

            sum = stat->type == STATS_TYPE_PEAK ? MAX(sum, value)
                                                : sum + value;
        }
    }
    return sum;
}

static void prepend(StatsList **list, VschedEngine *e, const Stat *stat,
                    const char *prefix, int from, int to, const int *group,
                    int number, strList *names)
{
    g_autofree char *name = g_strconcat(prefix, stat->name, NULL);
    Stats *stats;

    if (!apply_str_list_filter(name, names)) {
        return;
    }
    stats = g_new0(Stats, 1);
    stats->name = g_steal_pointer(&name);
    stats->value = g_new0(StatsValue, 1);
    if (stat->part) {
        stats->value->type = QTYPE_QLIST;
        for (int p = e->core->topology.pcpus - 1; p >= 0; p--) {
            QAPI_LIST_PREPEND(stats->value->u.list,
                              total(e, stat, p, from, to, group, number));
        }
    } else {
        stats->value->type = QTYPE_QNUM;
        stats->value->u.scalar = total(e, stat, 0, from, to, group, number);
    }
    QAPI_LIST_PREPEND(*list, stats);
}

/* A list ends with a statistic without a name. */
static int length(const Stat *stats)
{
    int n = 0;

    while (stats[n].name) {
        n++;
    }
    return n;
}

static void prepend_all(StatsList **list, VschedEngine *e, const Stat *stats,
                        int i, strList *names)
{
    for (int n = length(stats); n--; ) {
        prepend(list, e, &stats[n], "", i, i + 1, NULL, 0, names);
    }
}

/*
 * Sums, and the largest of peaks, over those of @objects whose number in @group
 * is @number; NULL: over all.
 */
static void prepend_sums(StatsList **list, VschedEngine *e, const Stat *stats,
                         int objects, const int *group, int number,
                         const char *prefix, strList *names)
{
    for (int n = length(stats); n--; ) {
        prepend(list, e, &stats[n], prefix, 0, objects, group, number, names);
    }
}

static char *vm_path(unsigned vm)
{
    return g_strdup_printf("/machine/vm[%u]", vm);
}

/* An entry is put in front of those that there are: the last comes first. */
static void query_vms(StatsResultList **result, VschedEngine *e,
                      strList *names)
{
    const VschedTopology *t = &e->core->topology;
    StatsList *list;

    for (int i = t->vms - 1; t->vms > 1 && i >= 0; i--) {
        g_autofree char *path = vm_path(i);

        list = NULL;
        prepend_sums(&list, e, vcpu_stats, t->vcpus, t->vm, i, "vcpu-", names);
        if (list) {
            add_stats_entry(result, STATS_PROVIDER_VSCHED, path, list);
        }
    }
    list = NULL;
    prepend_sums(&list, e, pcpu_stats, t->pcpus, NULL, 0, "pcpu-", names);
    prepend_sums(&list, e, vcpu_stats, t->vcpus, NULL, 0, "vcpu-", names);
    prepend_all(&list, e, vm_stats, 0, names);
    add_stats_entry(result, STATS_PROVIDER_VSCHED, NULL, list);
}

static char *pcpu_path(unsigned pcpu)
{
    return g_strdup_printf("/machine/vsched/pcpu[%u]", pcpu);
}

static void query(StatsResultList **result, StatsTarget target,
                  strList *names, strList *targets, Error **errp)
{
    VschedEngine *e = vsched_engine;
    StatsList *list = NULL;
    CPUState *cpu;

    switch (target) {
    case STATS_TARGET_VM:
        query_vms(result, e, names);
        break;
    case STATS_TARGET_PCPU:
        for (int i = e->core->topology.pcpus - 1; i >= 0; i--) {
            g_autofree char *path = pcpu_path(i);

            list = NULL;
            prepend_all(&list, e, pcpu_stats, i, names);
            add_stats_entry(result, STATS_PROVIDER_VSCHED, path, list);
        }
        break;
    case STATS_TARGET_VCPU:
        CPU_FOREACH(cpu) {
            g_autofree char *path = object_get_canonical_path(OBJECT(cpu));

            if (!apply_str_list_filter(path, targets)) {
                continue;
            }
            list = NULL;
            prepend_all(&list, e, vcpu_stats, vsched_vcpu(cpu), names);
            add_stats_entry(result, STATS_PROVIDER_VSCHED, path, list);
        }
        break;
    default:
        break;
    }
}

static void schema_prepend(StatsSchemaValueList **list, const char *name,
                           const Stat *stat)
{
    StatsSchemaValue *value = g_new0(StatsSchemaValue, 1);

    value->name = g_strdup(name);
    value->type = stat->type;
    value->has_unit = stat->cycles;
    value->unit = STATS_UNIT_CYCLES;
    value->has_bucket_size = stat->part != NULL;
    value->bucket_size = 1;
    QAPI_LIST_PREPEND(*list, value);
}

static void schema_all(StatsSchemaValueList **list, const Stat *stats,
                       const char *prefix)
{
    for (int n = length(stats); n--; ) {
        g_autofree char *name = g_strconcat(prefix, stats[n].name, NULL);

        schema_prepend(list, name, &stats[n]);
    }
}

static void schemas(StatsSchemaList **result, Error **errp)
{
    StatsSchemaValueList *list = NULL;

    schema_all(&list, pcpu_stats, "pcpu-");
    schema_all(&list, vcpu_stats, "vcpu-");
    schema_all(&list, vm_stats, "");
    add_stats_schema(result, STATS_PROVIDER_VSCHED, STATS_TARGET_VM, list);

    list = NULL;
    schema_all(&list, vcpu_stats, "");
    add_stats_schema(result, STATS_PROVIDER_VSCHED, STATS_TARGET_VCPU, list);

    list = NULL;
    schema_all(&list, pcpu_stats, "");
    add_stats_schema(result, STATS_PROVIDER_VSCHED, STATS_TARGET_PCPU, list);
}

/* @own, and those of all models: of VCPUs, or of PCPUs */
static Stat *collect(const Stat *own, bool of_vcpus)
{
    GArray *all = g_array_new(true, true, sizeof(Stat));
    const VschedModelStats *m;

    g_array_append_vals(all, own, length(own));
    for (int n = 0; (m = vsched_models_stats(n)); n++) {
        for (int i = 0; m->names[i]; i++) {
            Stat stat = {
                .name = m->names[i],
                .cycles = g_str_has_prefix(m->names[i], m->cycles),
                .counter = of_vcpus ? m->of_vcpu : m->of_pcpu,
                .number = i,
            };

            g_array_append_val(all, stat);
        }
    }
    return (Stat *)g_array_free(all, false);
}

void vsched_stats_init(VschedEngine *e)
{
    const VschedTopology *t = &e->core->topology;

    vcpu_stats = collect(own_vcpu_stats, true);
    pcpu_stats = collect(own_pcpu_stats, false);

    qemu_plugin_set_stat_objects(QEMU_PLUGIN_STAT_CORE, e->pcpus, pcpu_path);
    if (t->vms > 1) {
        qemu_plugin_set_stat_objects(QEMU_PLUGIN_STAT_VM, t->vms, vm_path);
    }
    add_stats_callbacks(STATS_PROVIDER_VSCHED, query, schemas);
}
