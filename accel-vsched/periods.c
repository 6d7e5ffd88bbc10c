/*
 * Periods of the spin detection buffer: the SDB as a listener of its PCPU.
 *
 * A period is N retired instructions, whatever blocks these are in.  The block
 * in which one ends reports all accesses, with the positions of their
 * instructions, so that each access falls in the right period.  Other blocks
 * report only what the SDB has to hear of, or just set marks for it.  When
 * nothing in the rest of a period, and of some that follow, can change what it
 * will say, blocks that report nothing run, and these periods are judged
 * together when they are over.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "accel/tcg/exec-hooks.h"
#include "tcg/tcg.h"
#include "tcg/tcg-temp-internal.h"
#include "tcg/tcg-op-common.h"
#include "hw/sdb/sdb-fast.h"
#include "engine.h"
#include "trace.h"

/* Instructions of a period after which most code that makes progress shows. */
#define EARLY_SAMPLE 400

QEMU_BUILD_BUG_ON(SDB_WATCH_STORES != VSCHED_WATCH_STORES ||
                  SDB_WATCH_LOADS != VSCHED_WATCH_LOADS ||
                  SDB_WATCH_MARKS != VSCHED_WATCH_MARKS);

static VschedPeriods *periods_of(VschedListener *l)
{
    return container_of(l, VschedPeriods, listener);
}

/* A period ends, and the SDB's watch mask may have changed. */
static inline void update_watch_mask(VschedPeriods *s)
{
    s->listener.watch_mask = sdb_fast_watch_mask(s->device->core);
    s->listener.marks = *sdb_fast_marks(s->device->core);
}

/*
 * Position at which the policy is notified of a spin.  A loop whose length
 * divides that of a period would be left at the same instruction each time, for
 * ever: see core.h on resonance.  So every fourth notification, on average, is
 * late, by up to 1023 instructions, short whiles being as likely as long ones
 * (choice).
 */
static int64_t notify_at(const VschedPeriods *s)
{
    const VschedCore *core = vsched_engine->core;
    uint32_t draw;

    if (!core->jitter) {
        return s->end;
    }
    draw = vsched_core_draw(core, s->listener.pcpu, s->end);
    return s->end + (draw % 4 ? 0 : (draw >> 5) % (8 << (draw >> 2) % 8));
}

/*
 * A watch that ends in a spin was one from its first repeating period on.
 * @cycles: those of the period that is over.
 */
static void count_spin(VschedPeriods *s, const SDBVerdict *verdict,
                       int64_t cycles)
{
    VschedJudged judged = VSCHED_PROGRESS;

    if (verdict->spin) {
        vsched_exec_count_spin(s->repeating + cycles);
        s->repeating = 0;
        judged = VSCHED_SPUN;
    } else if (verdict->reason[SDB_RECURRENCE] == SDB_FEW_REPEATS) {
        s->repeating += cycles;
        judged = VSCHED_OPEN;
    } else {
        s->repeating = 0;
    }
    vsched_sampling_judge(vsched_engine, s->listener.pcpu, s->end, judged);
}

/* All instructions of the period have retired; the next begins. */
static void end_period(VschedPeriods *s, CPUState *cpu, bool user)
{
    int pcpu = s->listener.pcpu, vcpu = vsched_vcpu(cpu);
    uint32_t n = sdb_config(s->device->core)->period;
    SDBVerdict verdict = sdb_judge(s->device, user);
    int64_t cycles = vsched_exec_cycles(s->end);

    count_spin(s, &verdict, cycles - s->begin_cycles);
    s->begin_cycles = cycles;
    if (trace_event_get_state_backends(TRACE_VSCHED_PERIOD)) {
        trace_vsched_period(pcpu, vcpu, verdict.user, s->pc,
                            sdb_reason_name(verdict.reason[SDB_PAPER]),
                            sdb_reason_name(verdict.reason[SDB_RECURRENCE]));
    }
    if (verdict.spin) {
        vsched_exec_spin(notify_at(s));
        trace_vsched_spin(pcpu, vcpu, verdict.user, verdict.detectors, s->end);
        vsched_report_spin(vsched_engine, pcpu, vcpu);
        if (unlikely(vsched_recording)) {
            vsched_tracing_spin(vsched_engine, pcpu, vcpu, s->end,
                                verdict.detectors, verdict.user);
        }
    }
    s->end += n;
}

/* The periods that end up to @last; all in this mode, which goes on. */
static inline void end_periods(VschedPeriods *s, CPUState *cpu, int64_t last,
                               bool user)
{
    if (last < s->end) {
        return;
    }
    while (last >= s->end) {
        uint32_t n = sdb_config(s->device->core)->period;
        uint32_t passed =
            trace_event_get_state_backends(TRACE_VSCHED_PERIOD) ? 0 :
            sdb_judge_unwatched(s->device, (last - s->end) / n + 1);

        if (passed) {
            s->end += (int64_t)passed * n;
            s->repeating = 0;
            s->begin_cycles = vsched_exec_cycles(s->end - n);
            vsched_sampling_judge(vsched_engine, s->listener.pcpu, s->end - n,
                                  VSCHED_PROGRESS);
        } else {
            end_period(s, cpu, user);
        }
    }
    update_watch_mask(s);
}

static void periods_load(VschedListener *l, CPUState *cpu, int64_t at,
                         vaddr addr, unsigned size)
{
    VschedPeriods *s = periods_of(l);

    end_periods(s, cpu, at, cpu->neg.user_mode);
    l->watch_mask = sdb_fast_load(s->device->core, addr, size);
}

static void periods_store(VschedListener *l, CPUState *cpu, int64_t at,
                          vaddr addr, unsigned size, uint64_t low,
                          uint64_t high)
{
    VschedPeriods *s = periods_of(l);

    end_periods(s, cpu, at, cpu->neg.user_mode);
    l->watch_mask = sdb_fast_store(s->device->core, addr, size, low, high);
}

static void periods_mode(VschedListener *l, CPUState *cpu, int64_t at,
                         bool user)
{
    VschedPeriods *s = periods_of(l);
    SDB *sdb = s->device->core;

    end_periods(s, cpu, at - 1, !user);
    if (at == s->end) {
        end_period(s, cpu, user);
    } else if (at == s->end - sdb_config(sdb)->period) {
        sdb_mode_at_begin(sdb, user);
    } else {
        sdb_mode(sdb, user);
    }
    update_watch_mask(s);
}

/* Everything before this position is quiescent. */
static inline int64_t quiescent_until(const VschedPeriods *s)
{
    SDB *sdb = s->device->core;

    return sdb_fast_watch_mask(sdb) ||
           trace_event_get_state_backends(TRACE_VSCHED_PERIOD) ? s->end :
           s->end + (int64_t)sdb_quiescent_periods(sdb) *
                    sdb_config(sdb)->period;
}

/* It may be progress already, long before the period's end. */
static void sample_early(VschedPeriods *s, int64_t at, unsigned insns,
                         int64_t *limit)
{
    SDB *sdb = s->device->core;
    int64_t sample = s->end - sdb_config(sdb)->period + EARLY_SAMPLE;

    if (at >= sample) {
        sdb_sample_early(sdb);
    } else {
        *limit = MIN(*limit, MAX(sample, at + insns));
    }
}

static void periods_block(VschedListener *l, CPUState *cpu, int64_t at,
                          unsigned insns, uint64_t pc, int64_t *limit)
{
    VschedPeriods *s = periods_of(l);
    SDB *sdb = s->device->core;

    if (at == s->end) {
        s->pc = pc;             /* it ended right before this block */
    }
    end_periods(s, cpu, at, cpu->neg.user_mode);
    l->exact = quiescent_until(s);
    if (at + insns > l->exact) {
        s->pc = pc;
        l->watch_mask_after = sdb_max_watch_mask(sdb, cpu->neg.user_mode);
    } else if (sdb_fast_worth_sampling(sdb)) {
        sample_early(s, at, insns, limit);
    }
    update_watch_mask(s);
}

static void periods_stop(VschedListener *l, CPUState *cpu, int64_t at,
                         bool user)
{
    end_periods(periods_of(l), cpu, at - 1, user);
}

/* A new period begins with what the PCPU executes next, at position @at. */
static void begin_anew(VschedPeriods *s, int64_t at)
{
    s->end = at + sdb_config(s->device->core)->period;
    s->begin_cycles = vsched_engine->exec[s->listener.pcpu].cycles;
    s->repeating = 0;
    update_watch_mask(s);
    vsched_sampling_judge(vsched_engine, s->listener.pcpu, INT64_MAX,
                          VSCHED_PROGRESS);
}

static void periods_switched(VschedListener *l, int64_t at, int vcpu,
                             int before, bool user)
{
    VschedPeriods *s = periods_of(l);

    sdb_switch(s->device, user);
    begin_anew(s, at);
}

static const VschedListenerOps periods_ops = {
    .name = "sdb",
    .block = periods_block,
    .load = periods_load,
    .store = periods_store,
    .mode = periods_mode,
    .stop = periods_stop,
    .switched = periods_switched,
};

/*
 * A mark is the hash of an address, see sdb_mark(): marks of stores first,
 * those of loads behind them.
 */
void vsched_periods_gen_mark(TCGv_i64 addr, TCGv_i64 happened, bool store)
{
    tcg_target_long offset = store ? 0 : SDB_MARKS;
    TCGv_i32 mark = tcg_temp_ebb_new_i32();
    TCGv_ptr ptr = tcg_temp_ebb_new_ptr();
    TCGv_ptr marks = tcg_temp_ebb_new_ptr();

    tcg_gen_extrl_i64_i32(mark, addr);
    tcg_gen_muli_i32(mark, mark, SDB_MARKS_MULTIPLIER);
    tcg_gen_shri_i32(mark, mark, SDB_MARKS_SHIFT);
    tcg_gen_ext_i32_ptr(ptr, mark);
    tcg_gen_ld_ptr(marks, tcg_env,
                   offsetof(CPUState, neg.observe_marks) - sizeof(CPUState));
    tcg_gen_add_ptr(ptr, ptr, marks);
    if (happened) {
        TCGv_i32 old = tcg_temp_ebb_new_i32();

        tcg_gen_ld8u_i32(old, ptr, offset);
        tcg_gen_extrl_i64_i32(mark, happened);
        tcg_gen_or_i32(mark, mark, old);
        tcg_gen_st8_i32(mark, ptr, offset);
        tcg_temp_free_i32(old);
    } else {
        tcg_gen_st8_i32(tcg_constant_i32(1), ptr, offset);
    }
    tcg_temp_free_ptr(marks);
    tcg_temp_free_ptr(ptr);
    tcg_temp_free_i32(mark);
}

void vsched_periods_mark(CPUState *cpu, vaddr addr, bool store)
{
    cpu->neg.observe_marks[(store ? 0 : SDB_MARKS) + sdb_mark(addr)] = 1;
}

/*
 * ------------------------------------------------------------------------
 * Connection.
 */

void vsched_periods_begin_anew(VschedEngine *e, int pcpu)
{
    begin_anew(&e->periods[pcpu], e->exec[pcpu].retired);
    e->exec[pcpu].spin = false;
}

void vsched_periods_load(VschedEngine *e, int pcpu, const VschedPeriods *saved)
{
    VschedPeriods *s = &e->periods[pcpu];

    s->end = saved->end;
    s->begin_cycles = saved->begin_cycles;
    s->repeating = saved->repeating;
    update_watch_mask(s);
}

/* Its configuration changes, between two windows: a new period begins. */
static void sdb_changed(SDBState *device, void *opaque)
{
    VschedPeriods *s = opaque;

    sdb_apply(device);
    vsched_options_sdb_changed(vsched_engine, device);
    vsched_periods_begin_anew(vsched_engine, s->listener.pcpu);
}

void vsched_periods_watch(VschedEngine *e, int pcpu, bool on)
{
    VschedPeriods *s = &e->periods[pcpu];
    bool before = vsched_exec_listens(e, pcpu, &s->listener);

    e->exec[pcpu].spin = false;
    if (on && !before) {
        vsched_exec_listen(e, pcpu, &s->listener);
        sdb_changed(s->device, s);
    } else if (!on && before) {
        vsched_exec_unlisten(e, pcpu, &s->listener);
        vsched_sampling_judge(e, pcpu, INT64_MAX, VSCHED_PROGRESS);
    }
}

void vsched_periods_connect(VschedEngine *e, int pcpu)
{
    VschedPeriods *s = &e->periods[pcpu];

    s->listener.ops = &periods_ops;
    s->listener.pcpu = pcpu;
    s->device = e->sdb_device[pcpu];
    s->device->changed = sdb_changed;
    s->device->changed_opaque = s;
    vsched_periods_watch(e, pcpu, e->watch);
    sdb_reset_counters(s->device->core);        /* nothing was cut off */
}
