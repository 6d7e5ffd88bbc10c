/*
 * One stretch of guest code: budget, periods of the SDB, modes.
 *
 * A PCPU is given a budget of instructions and counts them in the counter
 * that -icount uses; blocks take their length off it when they begin.  What
 * has been committed is a position: the number of instructions that the PCPU
 * has retired since it was made.  end_position is the position at which the
 * counter would be zero, so
 *
 *     position = end_position - counter
 *
 * whether the counter stands for a whole budget or for a part of it; a fault
 * in the middle of a block puts the block's rest back into the counter.
 *
 * The counter never spans the end of a period: the block that would cross it
 * calls vsched_expired() before it begins.  That block is run as one that
 * reports all, and its accesses tell which instruction they belong to, so that
 * each access falls in the right period, whatever the blocks.  Other blocks
 * report only what the SDB has to hear of, or just set marks for it, and when
 * nothing in the rest of a period, and of some that follow, can change what it
 * will say, unobserved blocks run, and these periods are judged together when
 * they are over.  None of this leaves generated code, unless a policy wants to
 * hear of spins and there is one.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "exec/translation-block.h"
#include "accel/tcg/exec-hooks.h"
#include "accel/tcg/tcg-accel-ops.h"
#include "system/cpus.h"
#include "system/runstate.h"
#include "hw/sdb/sdb-fast.h"
#include "vsched/vsched.h"
#include "devices.h"
#include "engine.h"
#include "trace.h"

#define COUNTER_MAX 0xffff

/* Instructions of a period after which most code that makes progress shows. */
#define PEEK 400

QEMU_BUILD_BUG_ON(SDB_LOOK_STORES != 1 || SDB_LOOK_LOADS != 2);

/* The stretch that runs now. */
static struct {
    VschedExec *x;
    VschedRun *account;
    const VschedSpeed *speed;
    CPUState *cpu;
    int pcpu, vcpu;
    int64_t begin;              /* position */
    int64_t budget;             /* cycles */
    int64_t stalled;            /* cycles */
    int64_t stall_position;     /* end of the block that stalled last */
    int64_t block_stalled;      /* cycles, of that block */
    int64_t stop_position;      /* of the budget's end */
    int64_t first_stop;         /* the same for the first block alone */
    int64_t end_position;       /* where the counter is zero */
    unsigned look;              /* what blocks from now on look at */
    bool stopped;
    VschedStop stop;
} run;

static inline int64_t position(CPUState *cpu)
{
    return run.end_position - cpu->neg.icount_decr.u16.low;
}

/* Cycles of this stretch until the instruction at position @at. */
static inline int64_t cycles_until(int64_t at)
{
    return vsched_speed_cycles(run.speed, at - run.begin) + run.stalled;
}

/* The position at which @cycles of this stretch are used up. */
static inline int64_t position_after(int64_t cycles)
{
    return run.begin + vsched_speed_insns(run.speed,
                                          MAX(0, cycles - run.stalled));
}

/* Let the counter stand for the instructions up to @limit. */
static inline void refill(CPUState *cpu, int64_t now, int64_t limit)
{
    int64_t n = MIN(limit - now, COUNTER_MAX);

    cpu->neg.icount_decr.u16.low = n;
    run.end_position = now + n;
}

/* The next block calls vsched_expired() before it begins. */
static inline void expire(CPUState *cpu)
{
    run.end_position -= cpu->neg.icount_decr.u16.low;
    cpu->neg.icount_decr.u16.low = 0;
}

/* The block in which a period ends. */
#define OBSERVE_ALL (CF_OBSERVE_ST | CF_OBSERVE_LD | CF_OBSERVE_INSN)

/*
 * Few kinds of blocks, so that few are translated: in privileged mode stores
 * are reported or nothing is, and marks are set for all else; user mode knows
 * no marks.  Marks that nobody reads do no harm.
 */
static inline uint32_t look_cflags(unsigned look)
{
    if (look & SDB_LOOK_LOADS) {
        return CF_OBSERVE_ST | CF_OBSERVE_LD;
    } else if (look & SDB_LOOK_STORES) {
        return CF_OBSERVE_ST | CF_OBSERVE_MARK;
    } else if (look & SDB_LOOK_MARKS) {
        return CF_OBSERVE_MARK;
    }
    return 0;
}

static inline void observe(CPUState *cpu, unsigned look)
{
    uint32_t cflags = look_cflags(look);

    run.look = look;
    cpu->neg.observe = cflags;
    cpu->tcg_cflags = (cpu->tcg_cflags & ~CF_OBSERVE) | cflags;
}

/* What is worth looking at has become less, in the middle of a block. */
static inline void observe_less(CPUState *cpu, unsigned look)
{
    if (unlikely(look != run.look) &&
        !(cpu->neg.observe & CF_OBSERVE_INSN)) {
        observe(cpu, look);
        expire(cpu);
    }
}

/*
 * When a spin is told.  A loop whose length divides that of a period would be
 * left at the same instruction each time, for ever: see core.h on resonance.
 * So every fourth, on average, is told later, by up to 1023 instructions,
 * short whiles being as likely as long ones (choice).
 */
static int64_t tell_at(const VschedExec *x)
{
    const VschedCore *core = vsched_engine->core;
    uint32_t draw;

    if (!core->jitter) {
        return x->period_end;
    }
    draw = vsched_core_draw(core, run.pcpu, x->period_end);
    return x->period_end +
           (draw % 4 ? 0 : (draw >> 5) % (8 << (draw >> 2) % 8));
}

/*
 * A watch that ends in a spin was one from its first repeating period on.
 * @cycles: those of the period that is over.
 */
static void count_spin(VschedExec *x, const SDBVerdict *verdict,
                       int64_t cycles)
{
    if (verdict->spin) {
        run.account->spins++;
        run.account->spin_cycles += x->repeating + cycles;
        x->repeating = 0;
    } else if (verdict->reason[SDB_RECURRENCE] == SDB_FEW_REPEATS) {
        x->repeating += cycles;
    } else {
        x->repeating = 0;
    }
}

/* All instructions of the period have committed; the next begins. */
static void end_period(CPUState *cpu, bool user)
{
    VschedExec *x = run.x;
    uint32_t n = sdb_config(x->sdb)->period;
    SDBVerdict verdict = sdb_judge(x->device, user);
    int64_t cycles = x->cycles + cycles_until(x->period_end);

    count_spin(x, &verdict, cycles - x->period_cycles);
    x->period_cycles = cycles;
    if (verdict.spin && !x->spin) {
        x->tell = tell_at(x);
    }
    x->period_end += n;
    cpu->neg.observe_marks = *sdb_marks(x->sdb);
    if (trace_event_get_state_backends(TRACE_VSCHED_PERIOD)) {
        trace_vsched_period(run.pcpu, run.vcpu, verdict.user, x->pc,
                            sdb_reason_name(verdict.reason[SDB_PAPER]),
                            sdb_reason_name(verdict.reason[SDB_RECURRENCE]));
    }
    if (verdict.spin) {
        x->spin = true;
        trace_vsched_spin(run.pcpu, run.vcpu, verdict.user,
                          verdict.detectors, x->period_end - n);
    }
}

/* The periods that end up to @last; all in this mode, which goes on. */
static inline void end_periods(CPUState *cpu, int64_t last, bool user)
{
    VschedExec *x = run.x;
    uint32_t n, passed;

    while (last >= x->period_end) {
        n = sdb_config(x->sdb)->period;
        passed = trace_event_get_state_backends(TRACE_VSCHED_PERIOD) ? 0 :
                 sdb_judge_unwatched(x->device, (last - x->period_end) / n + 1);
        if (passed) {
            x->repeating = 0;
            x->period_cycles = x->cycles +
                cycles_until(x->period_end + (int64_t)(passed - 1) * n);
            x->period_end += (int64_t)passed * n;
            cpu->neg.observe_marks = *sdb_marks(x->sdb);
        } else {
            end_period(cpu, user);
        }
    }
}

/* Before an access of the instruction that is being executed. */
static inline void reach_instruction(CPUState *cpu)
{
    VschedExec *x = run.x;
    int64_t at;

    if (!(cpu->neg.observe & CF_OBSERVE_INSN)) {
        return;                 /* no period ends in this block */
    }
    at = position(cpu) - cpu->neg.observe_insns + cpu->neg.observe_index;
    if (unlikely(at >= x->period_end)) {
        end_periods(cpu, at, cpu->neg.user_mode);
    }
}

static void vsched_load(CPUState *cpu, vaddr addr, unsigned size)
{
    reach_instruction(cpu);
    observe_less(cpu, sdb_fast_load(run.x->sdb, addr, size));
}

static void vsched_store(CPUState *cpu, vaddr addr, unsigned size,
                         uint64_t low, uint64_t high)
{
    reach_instruction(cpu);
    observe_less(cpu, sdb_fast_store(run.x->sdb, addr, size, low, high));
}

static void count_insns(CPUState *cpu, int64_t now, bool user)
{
    run.account->insns[user] += now - run.x->counted;
    run.x->counted = now;
}

static void tell_mode(bool user)
{
    VschedCore *core = vsched_engine->core;
    const VschedHint hint = {
        .kind = user ? VSCHED_HINT_USER : VSCHED_HINT_PRIVILEGED,
        .pcpu = run.pcpu,
        .vcpu = run.vcpu,
        .now = core->pcpu[run.pcpu].clock + vsched_exec_elapsed(),
    };

    vsched_core_hint(core, &hint);
}

static void vsched_mode(CPUState *cpu, bool user)
{
    VschedExec *x = run.x;
    int64_t now;

    if (cpu != run.cpu) {
        return;
    }
    now = position(cpu);
    count_insns(cpu, now, !user);
    if (vsched_core_listens(vsched_engine->core, user ? VSCHED_HINT_USER :
                                                 VSCHED_HINT_PRIVILEGED)) {
        tell_mode(user);
    }
    if (!x->sdb) {
        return;
    }
    end_periods(cpu, now - 1, !user);
    if (now == x->period_end) {
        end_period(cpu, user);
    } else if (now == x->period_end - sdb_config(x->sdb)->period) {
        sdb_mode_at_begin(x->sdb, user);
    } else {
        sdb_mode(x->sdb, user);
    }
    cpu->neg.observe_marks = *sdb_marks(x->sdb);
    expire(cpu);
}

/* The window's end, or that of the timeslice, has come closer. */
void vsched_exec_shorten(void)
{
    VschedCore *core = vsched_engine->core;
    int64_t stop;

    if (!run.cpu) {
        return;
    }
    run.budget = MIN(run.budget, vsched_core_budget(core));
    stop = position_after(run.budget);
    if (core->pcpu[run.pcpu].resched) {
        run.first_stop = 0;
    }
    if (stop < run.stop_position) {
        run.stop_position = stop;
        expire(run.cpu);
    }
}

void vsched_cut(void)
{
    VschedCore *core = vsched_engine->core;

    if (run.cpu) {
        vsched_core_cut(core, core->pcpu[run.pcpu].clock +
                              vsched_exec_elapsed_unstalled());
        vsched_exec_shorten();
    }
}

void vsched_stall(CPUState *cpu, int64_t cycles)
{
    int64_t now, rest;

    if (cpu != run.cpu) {
        return;                 /* not a VCPU that runs: a debugger's look */
    }
    now = position(cpu);        /* where the block ends: it is charged whole */
    if (now != run.stall_position) {
        run.stall_position = now;
        run.block_stalled = 0;
    }
    run.block_stalled += cycles;
    run.stalled += cycles;
    run.stop_position = position_after(run.budget);
    rest = MAX(0, run.stop_position - now);
    if (rest < cpu->neg.icount_decr.u16.low) {
        run.end_position = now + rest;
        cpu->neg.icount_decr.u16.low = rest;
    }
}

static bool leave(CPUState *cpu, VschedStop stop)
{
    run.stopped = true;
    run.stop = stop;
    qatomic_set(&cpu->exit_request, true);
    return true;
}

static bool vsched_expired(CPUState *cpu, const TranslationBlock *tb,
                           uint32_t *observed)
{
    VschedExec *x = run.x;
    int64_t now = position(cpu);
    int64_t limit = run.stop_position;
    int64_t blind_end = 0;      /* nothing is looked at before */

    if (x->sdb) {
        if (unlikely(now == x->period_end)) {
            x->pc = tb->pc;     /* it ended right before this block */
        }
        end_periods(cpu, now, cpu->neg.user_mode);
        if (x->spin) {
            if (!run.account->spin_stops) {
                x->spin = false;
            } else if (now + tb->icount > x->tell) {
                x->spin = false;
                return leave(cpu, VSCHED_STOP_SPIN);
            } else {
                limit = MIN(limit, x->tell);
            }
        }
    }
    if (now + tb->icount > run.stop_position) {
        if (now > run.begin || now + tb->icount > run.first_stop) {
            return leave(cpu, VSCHED_STOP_BUDGET);
        }
        limit = now + tb->icount;       /* of its timeslice: one at least */
    }
    if (x->sdb) {
        blind_end = x->period_end;
        if (!sdb_look(x->sdb) &&
            !trace_event_get_state_backends(TRACE_VSCHED_PERIOD)) {
            blind_end += (int64_t)sdb_blind(x->sdb) *
                         sdb_config(x->sdb)->period;
        }
    }
    if (x->sdb && now + tb->icount > blind_end) {
        /*
         * The block in which the period ends: look at all, sort later.  After
         * it there will most likely be as much to look at as there can be.
         */
        observe(cpu, sdb_first_look(x->sdb, cpu->neg.user_mode));
        cpu->neg.observe = OBSERVE_ALL;
        x->pc = tb->pc;
        *observed = OBSERVE_ALL;
        refill(cpu, now, now + tb->icount);
        return false;
    }
    if (x->sdb) {
        if (sdb_worth_a_peek(x->sdb)) {
            int64_t peek = x->period_end - sdb_config(x->sdb)->period + PEEK;

            if (now >= peek) {
                sdb_peek(x->sdb);
            } else {
                limit = MIN(limit, MAX(peek, now + tb->icount));
            }
        }
        observe(cpu, sdb_look(x->sdb));
        limit = MIN(limit, blind_end);
    }
    *observed = cpu->neg.observe;
    refill(cpu, now, limit);
    return false;
}

static void vsched_put_off(CPUState *cpu)
{
    expire(cpu);
}

static const TCGExecHooks hooks = {
    .max_insns = VSCHED_BLOCK_INSNS,
    .expired = vsched_expired,
    .put_off = vsched_put_off,
    .load = vsched_load,
    .store = vsched_store,
    .mode = vsched_mode,
    .mark_multiplier = SDB_MARKS_MULTIPLIER,
    .mark_shift = SDB_MARKS_SHIFT,
    .marks = SDB_MARKS,
};

void vsched_exec_init(void)
{
    tcg_exec_hooks = &hooks;
}

/* A new period begins, with what the PCPU executes next. */
static void begin_anew(VschedExec *x)
{
    x->period_end = x->retired + sdb_config(x->device->core)->period;
    x->period_cycles = x->cycles;
    x->repeating = 0;
    x->spin = false;
}

void vsched_exec_begin_anew(VschedEngine *e, int pcpu)
{
    begin_anew(&e->exec[pcpu]);
}

void vsched_exec_switched(VschedEngine *e, int pcpu, int vcpu, int before)
{
    VschedExec *x = &e->exec[pcpu];

    if (x->sdb) {
        sdb_switch(x->device, e->cpu[vcpu]->neg.user_mode);
        begin_anew(x);
    }
}

/* Its configuration changes, between two windows: a new period begins. */
static void sdb_changed(SDBState *device, void *opaque)
{
    VschedExec *x = opaque;

    sdb_apply(device);
    vsched_options_sdb_changed(vsched_engine, device);
    begin_anew(x);
}

void vsched_exec_connect(VschedEngine *e, int pcpu)
{
    VschedExec *x = &e->exec[pcpu];

    x->device = e->sdb_device[pcpu];
    x->device->changed = sdb_changed;
    x->device->changed_opaque = x;
    vsched_exec_watch(e, pcpu, e->watch);
    sdb_reset_counters(x->device->core);        /* nothing was cut off */
}

void vsched_exec_watch(VschedEngine *e, int pcpu, bool on)
{
    VschedExec *x = &e->exec[pcpu];

    x->spin = false;
    if (!on) {
        x->sdb = NULL;
    } else if (!x->sdb) {
        x->sdb = x->device->core;
        sdb_changed(x->device, x);
    }
}

int64_t vsched_exec_elapsed(void)
{
    return run.cpu ? cycles_until(position(run.cpu)) : 0;
}

int64_t vsched_exec_elapsed_unstalled(void)
{
    if (!run.cpu) {
        return 0;
    }
    return vsched_exec_elapsed() -
           (position(run.cpu) == run.stall_position ? run.block_stalled : 0);
}

/*
 * Around whatever runs VCPUs: other threads may not be exclusive, nor free what
 * is protected by RCU.  For all VCPUs of a window at once, since each of these
 * waits until all that was stored has left the host's processor; the first CPU
 * stands for all.
 */
void vsched_exec_enter(void)
{
    rcu_read_lock();
    cpu_exec_start(first_cpu);
}

void vsched_exec_leave(void)
{
    cpu_exec_end(first_cpu);
    rcu_read_unlock();
}

/* A debugger stopped the VM in the middle of a window: wait until it goes on */
static void wait_for_debugger(VschedEngine *e, CPUState *cpu)
{
    CPUState *other;

    vsched_exec_leave();
    bql_lock();
    cpu_handle_guest_debug(cpu);
    vsched_devices_leave();             /* the debugger is in the main loop */
    while (cpu->stopped || cpu->stop) {
        qemu_cond_wait_bql(cpu->halt_cond);
        CPU_FOREACH(other) {
            qemu_wait_io_event_common(other);
        }
    }
    vsched_devices_enter();
    bql_unlock();
    vsched_exec_enter();
}

/* It may want to be exclusive. */
static void do_queued_work(CPUState *cpu)
{
    vsched_exec_leave();
    bql_lock();
    process_queued_cpu_work(cpu);
    bql_unlock();
    vsched_exec_enter();
}

VschedStop vsched_exec(VschedEngine *e, VschedRun *account)
{
    VschedExec *x = &e->exec[account->pcpu];
    CPUState *cpu = e->cpu[account->vcpu];
    int64_t now;
    int r;

    run.x = x;
    run.account = account;
    run.speed = &e->core->pcpu[account->pcpu].speed;
    run.pcpu = account->pcpu;
    run.vcpu = account->vcpu;
    run.begin = x->retired;
    run.stalled = 0;
    run.stall_position = -1;
    run.budget = account->budget;
    run.stop_position = position_after(account->budget);
    run.first_stop = position_after(account->first);
    run.stopped = false;
    run.stop = VSCHED_STOP_EXIT;
    x->counted = x->retired;

    current_cpu = cpu;
    if (unlikely(!cpu_work_list_empty(cpu))) {
        do_queued_work(cpu);
    }

    /* The first block calls vsched_expired(). */
    observe(cpu, x->sdb ? sdb_look(x->sdb) : 0);
    cpu->neg.observe_marks = x->sdb ? *sdb_marks(x->sdb) : NULL;
    cpu->neg.icount_decr.u16.low = 0;
    run.end_position = x->retired;
    run.cpu = cpu;

    r = cpu_exec(cpu);

    now = position(cpu);
    count_insns(cpu, now, cpu->neg.user_mode);
    if (x->sdb) {
        end_periods(cpu, now - 1, cpu->neg.user_mode);
    }
    account->cycles = cycles_until(now);
    account->stalled = run.stalled;
    x->retired = now;
    x->cycles += account->cycles;
    run.cpu = NULL;
    cpu->neg.observe = 0;

    if (unlikely(r == EXCP_DEBUG)) {
        wait_for_debugger(e, cpu);
    } else if (unlikely(r == EXCP_ATOMIC)) {
        vsched_exec_leave();
        cpu_exec_step_atomic(cpu);
        vsched_exec_enter();
    } else if (r == EXCP_HLT || r == EXCP_HALTED) {
        run.stop = VSCHED_STOP_HALT;
    }
    if (unlikely(!cpu_work_list_empty(cpu))) {
        do_queued_work(cpu);
    }
    current_cpu = NULL;
    return run.stop;
}
