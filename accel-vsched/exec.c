/*
 * One stretch of guest code: budget, clock, modes, and who listens.
 *
 * A PCPU is given a budget of cycles, which is a budget of instructions as its
 * speed and its stalls say, and counts instructions in the counter that -icount
 * uses: blocks take their length off it when they begin.  What has been retired
 * is a position: the number of instructions that the PCPU has retired since it
 * was made.  end_position is the position at which the counter would be zero,
 * so
 *
 *     position = end_position - counter
 *
 * whether the counter stands for a whole budget or for a part of it; a fault
 * in the middle of a block puts the block's rest back into the counter.
 *
 *     begin        position       end_position       stop_position
 *       |-------------|----------------|-------------------|
 *       | retired     | counter        | rest of the budget
 *
 * When the counter does not cover the next block, that calls vsched_expired()
 * before it begins, where listeners are asked (listener.h), the counter is
 * filled again, or the stretch ends.  A stall takes its cycles off the budget:
 * stop_position moves to the left, and the counter becomes smaller if it has
 * to, which generated code sees at the next block.
 *
 * A stretch ends before the first block that does not fit into what is left of
 * its budget.  Where the budget ends precisely (VschedRun), the instructions of
 * that block that do fit are a block of their own, which is translated for it.
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
#include "vsched/vsched.h"
#include "devices.h"
#include "engine.h"
#include "trace.h"

#define COUNTER_MAX 0xffff

/* The stretch that runs now. */
static struct {
    VschedExec *x;
    VschedRun *account;
    const VschedSpeed *speed;
    CPUState *cpu;
    int pcpu, vcpu;
    int64_t begin;              /* position */
    int64_t budget;             /* cycles */
    int64_t precise;            /* cycles: see VschedRun */
    int64_t stalled;            /* cycles */
    int64_t stall_position;     /* end of the block that stalled last */
    int64_t block_stalled;      /* cycles, of that block */
    int64_t stop_position;      /* of the budget's end */
    int64_t first_stop;         /* the same for the first block alone */
    int64_t end_position;       /* where the counter is zero */
    int64_t due_position;       /* of the cycle that x->timed waits for */
    const TranslationBlock *block;      /* for which listeners are asked */
    int64_t excepted;           /* position of the last exception; -1: none */
    unsigned exceptions;        /* how many before it at that position */
    unsigned watch_mask;        /* of all listeners, for blocks from now on */
    unsigned coming;            /* instructions of the block that comes next */
    bool part;                  /* part of a block was to be run */
    bool stopped;
    bool overrun;               /* so has a stall, beyond the budget */
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

/* The position of the instruction that executes at @cycle of the clock. */
static inline int64_t position_at(int64_t cycle)
{
    return position_after(cycle -
                          vsched_engine->core->pcpu[run.pcpu].clock);
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

/* A block in which something of a listener ends. */
#define OBSERVE_ALL (CF_OBSERVE_ST | CF_OBSERVE_LD | CF_OBSERVE_INSN)

/*
 * Few forms of blocks, so that few are translated: stores are reported, or all
 * accesses are, or nothing is; and marks are set for all that is not reported,
 * which does no harm if nobody reads them.
 */
static inline uint32_t watch_cflags(unsigned mask)
{
    if (mask & VSCHED_WATCH_LOADS) {
        return CF_OBSERVE_ST | CF_OBSERVE_LD;
    } else if (mask & VSCHED_WATCH_STORES) {
        return CF_OBSERVE_ST | CF_OBSERVE_MARK;
    } else if (mask & VSCHED_WATCH_MARKS) {
        return CF_OBSERVE_MARK;
    }
    return 0;
}

static inline void observe(CPUState *cpu, unsigned mask)
{
    uint32_t cflags = watch_cflags(mask);

    run.watch_mask = mask;
    cpu->neg.observe = cflags;
    cpu->tcg_cflags = (cpu->tcg_cflags & ~CF_OBSERVE) | cflags;
    if (unlikely(cpu->neg.observe_slowly)) {
        tcg_observe_slowly(cpu, false);
    }
}

/*
 * Cold code.  Most code of a boot runs a few times, and most watches come by a
 * piece of it only once.  Then the slow path of memory accesses reports what a
 * block does, at some 20 ns an access; to translate it in another form takes
 * some 10 us.  It is translated when it has been wanted in that form
 * translate_after times, or when this watch has had so many slow accesses.
 */
#define SLOW_ACCESSES 256       /* for each time of translate_after (choice) */

/*
 * How often forms of blocks have been wanted, by a hash of address and form.
 * What collides is translated sooner: that is the host's time, not the guest's.
 */
static uint8_t forms_wanted[1 << 14];

static bool vsched_untranslated(CPUState *cpu, vaddr pc, uint32_t cflags)
{
    uint8_t *wanted = &forms_wanted[(uint32_t)(pc ^ cflags) * 0x9e3779b9u >>
                                    18];
    uint64_t enough = vsched_engine->translate_after;

    if (*wanted >= enough || run.x->slow >= SLOW_ACCESSES * enough) {
        return false;
    }
    *wanted += *wanted < UINT8_MAX;
    cpu->tcg_cflags &= ~CF_OBSERVE;
    tcg_observe_slowly(cpu, true);
    return true;
}

/* An access was reported or marked, maybe by the slow path. */
static inline void count_slow(CPUState *cpu)
{
    if (cpu->neg.observe_slowly && ++run.x->slow ==
        SLOW_ACCESSES * vsched_engine->translate_after) {
        expire(cpu);
    }
}

static void vsched_mark(CPUState *cpu, vaddr addr, bool store)
{
    vsched_periods_mark(cpu, addr, store);
    count_slow(cpu);
}

/* The watch mask of all listeners has changed, in the middle of a block. */
static inline void observe_less(CPUState *cpu, unsigned mask)
{
    if (unlikely(mask != run.watch_mask) &&
        !(cpu->neg.observe & CF_OBSERVE_INSN)) {
        if (cpu->neg.observe_slowly && mask) {
            run.watch_mask = mask;
            cpu->neg.observe = watch_cflags(mask);
        } else {
            observe(cpu, mask);
        }
        expire(cpu);
    }
}

static inline unsigned watch_mask_of_all(const VschedExec *x)
{
    unsigned mask = 0;

    for (int i = 0; i < x->listeners; i++) {
        mask |= x->listener[i]->watch_mask;
    }
    return mask;
}

/* Where accesses that are not reported leave their marks. */
static uint8_t nobodys_marks[2 * SDB_MARKS];

static void find_marks(CPUState *cpu, const VschedExec *x)
{
    cpu->neg.observe_marks = nobodys_marks;
    for (int i = 0; i < x->listeners; i++) {
        if (x->listener[i]->marks) {
            cpu->neg.observe_marks = x->listener[i]->marks;
        }
    }
}

/* Position of the instruction that is being executed, if it is known. */
static inline int64_t where(CPUState *cpu)
{
    return cpu->neg.observe & CF_OBSERVE_INSN ?
           position(cpu) - cpu->neg.observe_insns + cpu->neg.observe_index :
           VSCHED_ANYWHERE;
}

/* Whether @l is notified of an access of kind @kind at position @at. */
static inline bool is_notified(const VschedListener *l, unsigned kind,
                               int64_t at)
{
    return at != VSCHED_ANYWHERE ||
           l->watch_mask & (kind | VSCHED_WATCH_MARKS);
}

static void vsched_load(CPUState *cpu, vaddr addr, unsigned size)
{
    VschedExec *x = run.x;
    int64_t at = where(cpu);

    for (int i = 0; i < x->listeners; i++) {
        VschedListener *l = x->listener[i];

        if (is_notified(l, VSCHED_WATCH_LOADS, at) && l->ops->load) {
            l->ops->load(l, cpu, at, addr, size);
        }
    }
    count_slow(cpu);
    observe_less(cpu, watch_mask_of_all(x));
}

static void vsched_store(CPUState *cpu, vaddr addr, unsigned size,
                         uint64_t low, uint64_t high)
{
    VschedExec *x = run.x;
    int64_t at = where(cpu);

    for (int i = 0; i < x->listeners; i++) {
        VschedListener *l = x->listener[i];

        if (is_notified(l, VSCHED_WATCH_STORES, at) && l->ops->store) {
            l->ops->store(l, cpu, at, addr, size, low, high);
        }
    }
    count_slow(cpu);
    observe_less(cpu, watch_mask_of_all(x));
}

static void count_insns(CPUState *cpu, int64_t now, bool user)
{
    run.account->insns[user] += now - run.x->counted;
    run.x->counted = now;
}

/* The VCPU that runs did something that the policy may listen to. */
static void notify_policy(VschedHintKind kind)
{
    VschedEngine *e = vsched_engine;

    if (vsched_hint_wanted(e, kind)) {
        const VschedHint hint = {
            .kind = kind,
            .pcpu = run.pcpu,
            .vcpu = run.vcpu,
            .now = vsched_present(e),
        };

        vsched_core_hint(e->core, &hint);
    }
}

/*
 * Whatever comes of it happens in the window in which the block that comes
 * next, of @insns instructions, has room.
 */
static void vsched_mode(CPUState *cpu, bool user, unsigned insns)
{
    VschedExec *x = run.x;
    bool notified = false;
    int64_t now;

    if (cpu != run.cpu) {
        return;
    }
    now = position(cpu);
    count_insns(cpu, now, !user);
    run.coming = insns;
    notify_policy(user ? VSCHED_HINT_USER : VSCHED_HINT_PRIVILEGED);
    run.coming = 0;
    for (int i = 0; i < x->listeners; i++) {
        VschedListener *l = x->listener[i];

        if (l->ops->mode) {
            l->ops->mode(l, cpu, now, user);
            notified = true;
        }
    }
    if (notified) {
        find_marks(cpu, x);
        expire(cpu);
    }
}

static bool leave(CPUState *cpu, VschedStop stop)
{
    run.stopped = true;
    run.stop = stop;
    qatomic_set(&cpu->exit_request, true);
    return true;
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
    if (run.stop_position < now) {
        /*
         * A fault later in this block puts the block's rest back into the
         * counter: code that it covers must not run, at a time that is beyond
         * that of the budget's end by all that this block stalls.
         */
        leave(cpu, VSCHED_STOP_BUDGET);
        run.overrun = true;
    }
    rest = MAX(0, run.stop_position - now);
    if (run.x->timed) {
        run.due_position = position_at(run.x->timed->due);
        rest = MIN(rest, MAX(0, run.due_position - now));
    }
    if (rest < cpu->neg.icount_decr.u16.low) {
        run.end_position = now + rest;
        cpu->neg.icount_decr.u16.low = rest;
    }
}

/*
 * The address of a block that comes next.  Blocks that are independent of their
 * position do not know it; then the CPU does, which has come to the block.
 */
static vaddr block_pc(CPUState *cpu, const TranslationBlock *tb)
{
    return tb_cflags(tb) & CF_PCREL ? cpu->cc->get_pc(cpu) : tb->pc;
}

/*
 * All listeners, before a block, of which @insns instructions are run from
 * position @now on.  Returns the first position
 * at which something ends, and lowers *@limit as they want it.
 */
static int64_t ask_listeners(CPUState *cpu, const TranslationBlock *tb,
                             int64_t now, unsigned insns, int64_t *limit)
{
    VschedExec *x = run.x;
    int64_t exact = INT64_MAX;

    for (int i = 0; i < x->listeners; i++) {
        VschedListener *l = x->listener[i];

        if (l->ops->block) {
            l->ops->block(l, cpu, now, insns, block_pc(cpu, tb), limit);
        }
        exact = MIN(exact, l->exact);
    }
    find_marks(cpu, x);
    return exact;
}

/* The cycle comes for which the timed listener waits, or it has passed. */
static void ask_timed(CPUState *cpu, const TranslationBlock *tb, int64_t now,
                      int64_t *limit)
{
    VschedListener *l = run.x->timed;

    run.block = tb;
    l->ops->block(l, cpu, now, tb->icount, block_pc(cpu, tb), limit);
    run.block = NULL;
    run.due_position = position_at(l->due);
}

static unsigned watch_mask_after(const VschedExec *x, int64_t end)
{
    unsigned mask = 0;

    for (int i = 0; i < x->listeners; i++) {
        const VschedListener *l = x->listener[i];

        mask |= l->exact < end ? l->watch_mask_after : l->watch_mask;
    }
    return mask;
}

/* What has been done in this stretch goes into the account. */
static void settle(CPUState *cpu, int64_t now)
{
    VschedExec *x = run.x;

    count_insns(cpu, now, cpu->neg.user_mode);
    run.account->cycles = cycles_until(now);
    run.account->stalled = run.stalled;
    x->retired = now;
    x->cycles += run.account->cycles;
}

/* A stretch begins at this position. */
static void begin_stretch(int64_t now)
{
    run.begin = now;
    run.stalled = 0;
    run.stall_position = -1;
    run.budget = run.account->budget;
    run.precise = run.account->precise;
    run.stop_position = position_after(run.account->budget);
    run.first_stop = position_after(run.account->first);
    run.due_position = run.x->timed ? position_at(run.x->timed->due)
                                    : INT64_MAX;
}

/*
 * Notify the core, and so the policy, of a spin.  Most VCPUs that spin have
 * nobody to give way to: then another stretch begins right here, and generated
 * code is not left.  Return whether it does.
 */
static bool notify_spin(CPUState *cpu, int64_t now)
{
    int64_t cycles = cycles_until(now);
    bool go_on;

    run.x->spin = false;
    if (cycles == 0 || cycles >= run.budget) {
        leave(cpu, VSCHED_STOP_SPIN);
        return false;
    }
    run.account->budget = run.budget;
    settle(cpu, now);
    run.begin = now;
    run.stalled = 0;
    go_on = vsched_core_spin(vsched_engine->core, run.account);
    begin_stretch(now);
    if (!go_on) {
        leave(cpu, VSCHED_STOP_EXIT);
    }
    return go_on;
}

/*
 * How many instructions of a block of @insns, which comes next at position
 * @now, are run: fewer where the budget ends in it, and does so precisely.
 */
static inline unsigned insns_to_run(int64_t now, unsigned insns)
{
    int64_t rest = run.stop_position - now;

    if (likely(run.budget != run.precise || rest >= insns)) {
        return insns;
    }
    if (rest < 1 && now == run.begin && now < run.first_stop) {
        return 1;
    }
    return rest >= 1 ? rest : insns;
}

/*
 * Leave generated code for a block that is the first @insns instructions of
 * @tb.  An interrupt may be taken before it, as between any two blocks.
 */
static bool run_part(CPUState *cpu, const TranslationBlock *tb, unsigned insns,
                     uint32_t observed)
{
    cpu->cflags_next_tb = (tb_cflags(tb) & ~(CF_COUNT_MASK | CF_OBSERVE)) |
                          observed | insns;
    run.part = true;
    return true;
}

static bool vsched_expired(CPUState *cpu, const TranslationBlock *tb,
                           uint32_t *observed)
{
    VschedExec *x = run.x;
    int64_t now = position(cpu), end;
    int64_t limit, exact;
    unsigned insns;

    if (unlikely(run.overrun)) {
        /* Nobody asks if the block before ended in the main loop. */
        return true;
    }
    do {
        limit = exact = INT64_MAX;
        insns = insns_to_run(now, tb->icount);
        end = now + insns;
        if (x->listeners) {
            exact = ask_listeners(cpu, tb, now, insns, &limit);
        }
        if (unlikely(run.due_position < end)) {
            ask_timed(cpu, tb, now, &limit);
        }
        limit = MIN(limit, MAX(end, run.due_position));
        if (x->spin && !run.account->spin_stops) {
            x->spin = false;
        }
        if (!x->spin) {
            break;
        }
        if (end <= x->notify_at) {
            limit = MIN(limit, x->notify_at);
            break;
        }
    } while (notify_spin(cpu, now));
    if (run.stopped) {
        return true;
    }
    if (end <= run.stop_position) {
        limit = MIN(limit, run.stop_position);
    } else if (now == run.begin && end <= run.first_stop) {
        limit = end;            /* one block of a timeslice at least */
    } else {
        return leave(cpu, VSCHED_STOP_BUDGET);
    }
    if (end > exact) {
        /*
         * Report all accesses, sort them later.  After this block the watch
         * mask will most likely be the largest that there can be.
         */
        observe(cpu, watch_mask_after(x, end));
        cpu->neg.observe = OBSERVE_ALL;
        *observed = OBSERVE_ALL;
        refill(cpu, now, end);
    } else {
        if (x->listeners) {
            observe(cpu, watch_mask_of_all(x));
            if (!run.watch_mask) {
                x->slow = 0;
            }
        }
        *observed = cpu->neg.observe;
        refill(cpu, now, MIN(limit, exact));
    }
    return unlikely(insns < tb->icount) ? run_part(cpu, tb, insns, *observed)
                                        : false;
}

static void vsched_pause(CPUState *cpu)
{
    notify_policy(VSCHED_HINT_PAUSE);
}

/* What executes next is not what a listener was told that it would be. */
static inline void ask_again(CPUState *cpu)
{
    if (unlikely(run.x->timed && run.x->timed->due == VSCHED_AT_ONCE)) {
        expire(cpu);
    }
}

static void vsched_interrupt(CPUState *cpu)
{
    if (run.cpu) {
        notify_policy(VSCHED_HINT_TAKEN);
        ask_again(cpu);
    }
}

static void vsched_defer(CPUState *cpu)
{
    expire(cpu);
}

/*
 * More exceptions in a stretch than this without an instruction between them
 * come to no end by themselves (choice): that of x86 whose handler cannot be
 * fetched leads to itself.  The next one takes so many cycles (choice), so that
 * windows end and the main loop can act.
 */
#define EXCEPTIONS_AT_ONCE 100
#define EXCEPTION_CYCLES 1000

static void vsched_exception(CPUState *cpu)
{
    if (cpu != run.cpu) {
        return;
    }
    ask_again(cpu);
    if (position(cpu) != run.excepted) {
        run.excepted = position(cpu);
        run.exceptions = 0;
    } else if (run.exceptions < EXCEPTIONS_AT_ONCE) {
        run.exceptions++;
    } else {
        vsched_stall(cpu, EXCEPTION_CYCLES);
        leave(cpu, VSCHED_STOP_BUDGET);
    }
}

static const TCGExecHooks hooks = {
    .max_insns = VSCHED_BLOCK_INSNS,
    .expired = vsched_expired,
    .defer = vsched_defer,
    .load = vsched_load,
    .store = vsched_store,
    .mode = vsched_mode,
    .gen_mark = vsched_periods_gen_mark,
    .mark = vsched_mark,
    .untranslated = vsched_untranslated,
    .pause = vsched_pause,
    .interrupt = vsched_interrupt,
    .exception = vsched_exception,
};

void vsched_exec_init(void)
{
    tcg_exec_hooks = &hooks;
}

void vsched_exec_switched(VschedEngine *e, int pcpu, int vcpu, int before)
{
    VschedExec *x = &e->exec[pcpu];

    x->spin = false;
    for (int i = 0; i < x->listeners; i++) {
        VschedListener *l = x->listener[i];

        if (l->ops->switched) {
            l->ops->switched(l, x->retired, vcpu, before,
                             e->cpu[vcpu]->neg.user_mode);
        }
    }
}

bool vsched_exec_listens(VschedEngine *e, int pcpu, const VschedListener *l)
{
    VschedExec *x = &e->exec[pcpu];

    for (int i = 0; i < x->listeners; i++) {
        if (x->listener[i] == l) {
            return true;
        }
    }
    return false;
}

void vsched_exec_listen(VschedEngine *e, int pcpu, VschedListener *l)
{
    VschedExec *x = &e->exec[pcpu];

    g_assert(x->listeners < VSCHED_LISTENERS_MAX);
    x->listener[x->listeners++] = l;
}

void vsched_exec_unlisten(VschedEngine *e, int pcpu, const VschedListener *l)
{
    VschedExec *x = &e->exec[pcpu];
    int n = 0;

    for (int i = 0; i < x->listeners; i++) {
        if (x->listener[i] != l) {
            x->listener[n++] = x->listener[i];
        }
    }
    x->listeners = n;
}

void vsched_exec_set_timed(VschedEngine *e, int pcpu, VschedListener *l)
{
    g_assert(!l || !e->exec[pcpu].timed);
    e->exec[pcpu].timed = l;
}

void vsched_exec_spin(int64_t notify_at)
{
    if (!run.x->spin) {
        run.x->spin = true;
        run.x->notify_at = notify_at;
    }
}

int64_t vsched_exec_position_at(int64_t cycle)
{
    return position_at(cycle);
}

uint64_t vsched_exec_insn_pc(CPUState *cpu, unsigned insn)
{
    return tcg_insn_pc(run.block, block_pc(cpu, run.block), insn);
}

void vsched_exec_count_spin(int64_t cycles)
{
    run.account->spins++;
    run.account->spin_cycles += cycles;
}

int64_t vsched_exec_cycles(int64_t at)
{
    return run.x->cycles + cycles_until(at);
}

int64_t vsched_exec_elapsed(void)
{
    return run.cpu ? cycles_until(position(run.cpu)) : 0;
}

void vsched_exec_ask(void)
{
    expire(run.cpu);
}

bool vsched_exec_is_running(void)
{
    return run.cpu;
}

int vsched_exec_pcpu(CPUState *cpu)
{
    return cpu == run.cpu ? run.pcpu : VSCHED_NONE;
}

int64_t vsched_exec_cycle(CPUState *cpu, unsigned after)
{
    int64_t at;

    if (cpu != run.cpu) {
        return vsched_present(vsched_engine);
    }
    at = MAX(run.begin, position(cpu) - after - 1);
    return vsched_engine->core->pcpu[run.pcpu].clock + cycles_until(at);
}

int64_t vsched_present(const VschedEngine *e)
{
    const VschedCore *core = e->core;

    return core->running == VSCHED_NONE ? core->window_end :
           core->pcpu[core->running].clock + vsched_exec_elapsed();
}

int64_t vsched_exec_elapsed_unstalled(void)
{
    if (!run.cpu) {
        return 0;
    }
    if (run.coming) {           /* all stalls so far were before it */
        return cycles_until(position(run.cpu) + run.coming);
    }
    return vsched_exec_elapsed() -
           (position(run.cpu) == run.stall_position ? run.block_stalled : 0);
}

uint64_t vsched_exec_insns(void)
{
    return run.cpu ? run.account->insns[0] + run.account->insns[1] +
                     position(run.cpu) - run.x->counted : 0;
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
    begin_stretch(x->retired);
    run.excepted = -1;
    run.stopped = run.part = run.overrun = false;
    run.stop = VSCHED_STOP_EXIT;
    x->counted = x->retired;

    current_cpu = cpu;
    if (unlikely(!cpu_work_list_empty(cpu))) {
        do_queued_work(cpu);
    }

    /* The first block calls vsched_expired(). */
    observe(cpu, watch_mask_of_all(x));
    find_marks(cpu, x);
    cpu->neg.tell_pause = vsched_hint_wanted(e, VSCHED_HINT_PAUSE);
    cpu->neg.icount_decr.u16.low = 0;
    run.end_position = x->retired;
    run.cpu = cpu;

    r = cpu_exec(cpu);

    if (unlikely(run.part)) {
        cpu->cflags_next_tb = -1;       /* the stretch may have ended before */
    }
    now = position(cpu);
    for (int i = 0; i < x->listeners; i++) {
        VschedListener *l = x->listener[i];

        if (l->ops->stop) {
            l->ops->stop(l, cpu, now, cpu->neg.user_mode);
        }
    }
    if (x->timed && x->timed->due == VSCHED_AT_ONCE) {
        x->timed->ops->stop(x->timed, cpu, now, cpu->neg.user_mode);
    }
    if (unlikely(r == EXCP_HLT && !cycles_until(now) && vsched_runnable(cpu))) {
        /*
         * Shut down by a triple fault, with an NMI pending that leads to the
         * next one: until the main loop resets the machine.
         */
        run.stalled = EXCEPTION_CYCLES;
    }
    settle(cpu, now);
    run.cpu = NULL;
    cpu->neg.observe = 0;
    if (unlikely(cpu->neg.observe_slowly)) {
        tcg_observe_slowly(cpu, false);
    }

    if (unlikely(r == EXCP_DEBUG)) {
        vsched_core_account(e->core, account);      /* statistics are read */
        vsched_debugger_stop(e, cpu);
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
