/*
 * A scripted host for the engine's core.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <inttypes.h>
#include <string.h>
#include "../state.h"
#include "fake-host.h"

uint32_t hash(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t h = a * 2654435761u ^ b * 2246822519u ^ c * 3266489917u;

    h = (h ^ h >> 15) * 2246822519u;
    h = (h ^ h >> 13) * 3266489917u;
    return h ^ h >> 16;
}

Block random_block(const World *w, int vcpu, int i)
{
    uint32_t h = hash(w->seed, vcpu, i), e = h >> 8 & 0xff;
    uint32_t m = hash(w->seed, vcpu, 2000000 + i / 8) % 8;
    Block b = {
        .length = h % 64 + 1,
        .mode = m < 4 ? USER : m < 7 ? KERNEL : IDLE,
    };

    if (e < 3) {
        b.event = HALT;
        b.arg = 1 + hash(h, 1, 1) % 20000;
    } else if (e < 7) {
        b.event = POKE;
        b.arg = hash(h, 2, 2) % w->vcpus;
    } else if (e < 15) {
        b.event = SPIN;
    } else if (e < 19) {
        b.event = EXIT;
    }
    return b;
}

Block block_of(const World *w, int vcpu)
{
    const Block *program = w->program[vcpu];
    int n = 0;

    if (!program) {
        return random_block(w, vcpu, w->next[vcpu]);
    }
    while (program[n].length) {
        n++;
    }
    return program[w->next[vcpu] % n];
}

/* @vcpu comes to its next block. */
static void advance(World *w, int vcpu)
{
    const Block *program = w->program[vcpu];
    int n = 0;

    w->next[vcpu]++;
    w->waited[vcpu] = 0;
    w->done[vcpu] = 0;
    while (program && program[n].length) {
        n++;
    }
    w->rounds[vcpu] += n && w->next[vcpu] % n == 0;
}

void world_init(World *w, int vcpus, uint32_t seed)
{
    memset(w, 0, sizeof(*w));
    w->seed = seed;
    w->vcpus = vcpus;
    w->log = g_array_new(false, false, sizeof(Executed));
    for (int v = 0; v < MANY; v++) {
        w->timer[v] = w->poked[v] = INT64_MAX;
    }
}

static void log_executed(World *w, int pcpu, int vcpu, int64_t start,
                         int length)
{
    Executed x = { pcpu, vcpu, w->next[vcpu], start };

    g_assert_false(w->halted[vcpu]);
    g_assert_cmpint(start, >=, w->not_before[vcpu]);
    w->not_before[vcpu] = start + length;
    g_array_append_val(w->log, x);
}

/* The block of @vcpu, or what is left of it, runs from @start on @pcpu. */
void world_execute(World *w, int pcpu, int vcpu, int64_t start)
{
    log_executed(w, pcpu, vcpu, start,
                 block_of(w, vcpu).length - w->done[vcpu]);
    advance(w, vcpu);
}

int64_t world_horizon(const World *w)
{
    int64_t time = INT64_MAX;

    for (int v = 0; v < w->vcpus; v++) {
        time = MIN(time, MIN(w->timer[v], w->poked[v]));
    }
    return time;
}

/*
 * ------------------------------------------------------------------------
 * The core with a fake host.
 */

void interrupt(Fake *f, int vcpu)
{
    World *w = &f->world;

    if (f->core->running == VSCHED_NONE) {
        w->not_before[vcpu] = MAX(w->not_before[vcpu], f->core->window_end);
    }
    w->halted[vcpu] = false;
    vsched_core_notify(f->core, vcpu);
    vsched_core_wake(f->core, vcpu);
}

/* One block in four stalls. */
static int64_t stall_of(const Fake *f, int vcpu)
{
    uint32_t h = hash(f->world.seed, vcpu, 1000000 + f->world.next[vcpu]);

    return f->stalls && h % 4 == 0 ? 1 + (h >> 2) % f->stalls : 0;
}

/*
 * Something that the core hears of while @vcpu runs, after @used cycles, @end
 * of them without the stall of its last block.
 */
static void while_running(Fake *f, int64_t used, int64_t end,
                          const VschedHint *hint)
{
    f->elapsed = used;
    f->elapsed_unstalled = end;
    if (hint->kind == VSCHED_HINTS) {
        interrupt(f, hint->vcpu);
    } else {
        vsched_core_hint(f->core, hint);
    }
    f->elapsed = f->elapsed_unstalled = 0;
}

static bool has_lock(const World *w, int vcpu)
{
    for (int i = 0; i < MANY; i++) {
        if (w->lock[i] == vcpu + 1) {
            return true;
        }
    }
    return false;
}

/*
 * The VCPU is about to execute a block in @mode, until @end, and may have been
 * called.  All of it happens in the window in which the block has room.
 */
static void before_block(Fake *f, const VschedRun *run, Mode mode, int64_t end)
{
    World *w = &f->world;
    int vcpu = run->vcpu;
    VschedHint hint = {
        .pcpu = run->pcpu,
        .vcpu = vcpu,
        .now = f->core->pcpu[run->pcpu].clock + run->cycles,
    };

    if ((mode == USER) != (w->mode[vcpu] == USER)) {
        hint.kind = mode == USER ? VSCHED_HINT_USER : VSCHED_HINT_PRIVILEGED;
        while_running(f, run->cycles, end, &hint);
    }
    w->mode[vcpu] = mode;
    if (w->asked[vcpu] && !has_lock(w, vcpu)) {
        hint.kind = VSCHED_HINT_SAFE_POINT;
        w->asked[vcpu] = false;
        while_running(f, run->cycles, end, &hint);
    }
    if (w->called[vcpu]) {
        hint.kind = VSCHED_HINT_TAKEN;
        w->called[vcpu] = 0;
        while_running(f, run->cycles, end, &hint);
    }
}

/* @vcpu calls @target: at once on its own PCPU, else at the window's end. */
static void call(Fake *f, const VschedRun *run, int target, int64_t end)
{
    World *w = &f->world;
    VschedCore *core = f->core;
    int64_t now = core->pcpu[run->pcpu].clock + run->cycles;
    VschedHint hint = {
        .kind = VSCHED_HINT_SENT,
        .pcpu = run->pcpu,
        .vcpu = target,
        .now = now,
        .other = run->vcpu,
        .cross_call = true,
        .running = core->vcpu[target].state == VSCHED_RUNNING,
    };

    w->calls[run->vcpu] = true;
    if (core->vcpu[target].pcpu == run->pcpu) {
        w->called[target] |= 1ull << run->vcpu;
        while_running(f, run->cycles, end, &hint);
        hint = (VschedHint) { .kind = VSCHED_HINTS, .vcpu = target };
        while_running(f, run->cycles, end, &hint);
    } else {
        hint.sent = VSCHED_SENT_PENDING;
        w->late[target] |= 1ull << run->vcpu;
        w->poked[target] = MIN(w->poked[target], now);
        vsched_core_cut(core, now);
        while_running(f, run->cycles, end, &hint);
    }
}

/* Whether the block that @vcpu has executed is done, and not a wait. */
static bool block_done(Fake *f, const VschedRun *run, Block b, int64_t end)
{
    World *w = &f->world;
    int vcpu = run->vcpu;

    switch (b.event) {
    case WAIT:
        return w->flag[b.arg] >= b.value;
    case LOCK:
        if (w->lock[b.arg] && w->lock[b.arg] != vcpu + 1) {
            return false;
        }
        w->lock[b.arg] = vcpu + 1;
        return true;
    case CALL:
        if (!w->calls[vcpu]) {
            call(f, run, b.arg, end);
        } else if (!((w->called[b.arg] | w->late[b.arg]) >> vcpu & 1)) {
            w->calls[vcpu] = false;
            return true;
        }
        return false;
    case SIGNAL:
        w->flag[b.arg]++;
        return true;
    case UNLOCK:
        g_assert_cmpint(w->lock[b.arg], ==, vcpu + 1);
        w->lock[b.arg] = 0;
        return true;
    default:
        return true;
    }
}

/*
 * Instructions of the block, of @length, that run before a precise stop; 0:
 * it is none.
 */
static int part_of(const VschedCore *core, const VschedRun *run,
                   int64_t budget, int length)
{
    const VschedSpeed *speed = &core->pcpu[run->pcpu].speed;
    int64_t n;

    if (budget != run->precise) {
        return 0;
    }
    n = vsched_speed_insns(speed, MAX(0, budget - run->stalled)) -
        run->insns[0];
    if (n < 1 && !run->insns[0] && vsched_speed_cycles(speed, 1) <=
                                   run->first) {
        n = 1;
    }
    return MAX(0, MIN(n, length - 1));
}

static VschedStop fake_run(void *opaque, VschedRun *run)
{
    Fake *f = opaque;
    World *w = &f->world;
    VschedCore *core = f->core;
    int pcpu = run->pcpu, vcpu = run->vcpu;
    VschedVCPU *v = &core->vcpu[vcpu];
    const VschedSpeed *speed = &core->pcpu[pcpu].speed;
    int64_t budget = run->budget, *used = &run->cycles;

    g_assert_cmpint(budget, >=, 0);
    g_assert_cmpint(core->pcpu[pcpu].current, ==, vcpu);
    f->longest_wait = MAX(f->longest_wait,
                          v->cycles[VSCHED_READY] - f->ready[vcpu]);
    f->ready[vcpu] = v->cycles[VSCHED_READY];
    for (;;) {
        Block b = block_of(w, vcpu);
        VschedHint hint = { .pcpu = pcpu, .vcpu = vcpu };
        int64_t now, end, stall, unstalled, rounds = w->rounds[vcpu];
        int next = w->next[vcpu], waited = w->waited[vcpu], part = 0;
        int length = b.length;

        /* Blocks are so many instructions; stalls come at their ends. */
        b.length -= w->done[vcpu];
        end = vsched_speed_cycles(speed, run->insns[0] + b.length) +
              run->stalled;
        if (end > budget) {
            part = part_of(core, run, budget, b.length);
            if (part) {
                end = vsched_speed_cycles(speed, run->insns[0] + part) +
                      run->stalled;
            } else if (run->insns[0] || end > run->first) {
                return VSCHED_STOP_BUDGET;
            }
        }
        before_block(f, run, b.mode, end);
        if (core->pcpu[pcpu].resched != VSCHED_WHY_NONE) {
            return VSCHED_STOP_BUDGET;
        }
        if (part) {
            log_executed(w, pcpu, vcpu, core->pcpu[pcpu].clock + *used, part);
            w->done[vcpu] += part;
            run->insns[0] += part;
            *used = end;
            return VSCHED_STOP_BUDGET;
        }
        world_execute(w, pcpu, vcpu, core->pcpu[pcpu].clock + *used);
        run->insns[0] += b.length;
        stall = stall_of(f, vcpu);
        run->stalled += stall;
        f->stalled += stall;
        *used = end + stall;
        now = core->pcpu[pcpu].clock + *used;
        unstalled = now - stall;
        switch (b.event) {
        case HALT:
            w->timer[vcpu] = now + b.arg;
            vsched_core_cut(core, unstalled);
            /* fall through */
        case STOP:
            w->halted[vcpu] = true;
            return VSCHED_STOP_HALT;
        case POKE:
            if (core->vcpu[b.arg].pcpu == pcpu) {
                hint.kind = VSCHED_HINTS;
                hint.vcpu = b.arg;
                while_running(f, *used, end, &hint);
                budget = MIN(budget, vsched_core_budget(core));
            } else {
                w->poked[b.arg] = MIN(w->poked[b.arg], now);
                vsched_core_cut(core, unstalled);
                budget = MIN(budget, core->window_end -
                                     core->pcpu[pcpu].clock);
            }
            break;
        case SPIN:
            if (run->spin_stops) {
                return VSCHED_STOP_SPIN;
            }
            break;
        case EXIT:
            return VSCHED_STOP_EXIT;
        case HOLD:
            hint.kind = VSCHED_HINT_HOLD;
            hint.now = now;
            hint.cycles = b.arg;
            while_running(f, *used, end, &hint);
            budget = MIN(budget, vsched_core_budget(core));
            break;
        case MARK:
            hint.kind = VSCHED_HINT_MARK;
            hint.now = now;
            hint.number = b.arg;
            while_running(f, *used, end, &hint);
            budget = MIN(budget, vsched_core_budget(core));
            break;
        case NOTHING:
            break;
        default:
            if (!block_done(f, run, b, end)) {
                w->next[vcpu] = next;
                w->rounds[vcpu] = rounds;
                w->waited[vcpu] = waited + length;
                if (f->pause) {
                    hint.kind = VSCHED_HINT_PAUSE;
                    hint.now = now;
                    while_running(f, *used, end, &hint);
                }
                if (f->notice && run->spin_stops &&
                    w->waited[vcpu] >= f->notice) {
                    w->waited[vcpu] = 0;
                    return VSCHED_STOP_SPIN;
                }
            }
            budget = MIN(budget, vsched_core_budget(core));
            break;
        }
    }
}

static void fake_switched(void *opaque, int pcpu, int vcpu, int before)
{
    Fake *f = opaque;

    f->switched++;
}

/* With a log of them: ten cycles more for a VCPU that another PCPU holds */
static int64_t fake_switch_cost(void *opaque, int pcpu, int vcpu, int before,
                                int holder, int64_t now)
{
    Fake *f = opaque;
    int64_t cost = f->core->switch_cost;

    if (f->switches) {
        cost += holder == VSCHED_NONE ? 0 : 10;
        g_string_append_printf(f->switches, "%d:%d-%d", pcpu, vcpu, before);
        if (holder != VSCHED_NONE) {
            g_string_append_printf(f->switches, "/%d", holder);
        }
        g_string_append_printf(f->switches, "@%" PRId64 " ", now);
    }
    return cost;
}

static bool fake_runnable(void *opaque, int vcpu)
{
    Fake *f = opaque;

    return !f->world.halted[vcpu];
}

static int64_t fake_elapsed(void *opaque)
{
    Fake *f = opaque;

    return f->elapsed;
}

static int64_t fake_elapsed_unstalled(void *opaque)
{
    Fake *f = opaque;

    return f->elapsed_unstalled;
}

/* Budgets are looked at again after each event. */
static void fake_shorten(void *opaque)
{
}

static bool fake_user_mode(void *opaque, int vcpu)
{
    Fake *f = opaque;

    return f->world.mode[vcpu] == USER;
}

static bool fake_interrupt_pending(void *opaque, int vcpu)
{
    Fake *f = opaque;

    return f->world.poked[vcpu] != INT64_MAX || f->world.called[vcpu];
}

static bool fake_in_idle_loop(void *opaque, int vcpu)
{
    Fake *f = opaque;

    return f->world.mode[vcpu] == IDLE;
}

static bool fake_knows_idle_loop(void *opaque)
{
    Fake *f = opaque;

    return f->knows_idle_loop;
}

static void fake_ask_safe_point(void *opaque, int vcpu)
{
    Fake *f = opaque;

    if (f->driver && !f->world.asked[vcpu]) {
        f->world.asked[vcpu] = true;
        f->asks++;
    }
}

static void fake_broken(void *opaque, const char *what)
{
    Fake *f = opaque;

    if (!f->may_break) {
        g_error("%s", what);
    }
    g_free(f->broken);
    f->broken = g_strdup(what);
}

const VschedHost fake_host = {
    .run = fake_run,
    .switched = fake_switched,
    .switch_cost = fake_switch_cost,
    .runnable = fake_runnable,
    .elapsed = fake_elapsed,
    .elapsed_unstalled = fake_elapsed_unstalled,
    .shorten = fake_shorten,
    .user_mode = fake_user_mode,
    .interrupt_pending = fake_interrupt_pending,
    .in_idle_loop = fake_in_idle_loop,
    .knows_idle_loop = fake_knows_idle_loop,
    .ask_safe_point = fake_ask_safe_point,
    .broken = fake_broken,
};

void fake_values(const VschedPolicyOps *ops, int64_t slice, int64_t *values)
{
    values[0] = slice;          /* toys have no table */
    for (int i = 0; ops->parameters && ops->parameters[i].name; i++) {
        const VschedParameter *p = &ops->parameters[i];

        values[i] = p->value;
        if (i == 0) {
            values[i] = slice;
        } else if (p->unit == VSCHED_TIME && p->value) {
            values[i] = MAX(1, (int64_t)((double)p->value * slice /
                                         ops->parameters[0].value));
        }
    }
}

void fake_set(Fake *f, const char *name, int64_t value)
{
    const VschedPolicyOps *ops = f->core->ops;
    char *why = NULL;
    int i = 0;

    while (strcmp(ops->parameters[i].name, name)) {
        i++;
    }
    f->values[i] = value;
    must(ops->set(f->core->policy, f->values, &why), &why);
}

void must(bool done, char **why)
{
    g_assert_cmpstr(*why, ==, NULL);
    g_assert_true(done);
}

void refused(bool done, char **why, const char *says)
{
    g_assert_false(done);
    g_assert_nonnull(strstr(*why, says));
    g_clear_pointer(why, g_free);
}

void set_online(Fake *f, uint64_t online)
{
    char *why = NULL;

    must(vsched_core_set_online(f->core, online, &why), &why);
}

void set_affinity(Fake *f, int vcpu, uint64_t mask)
{
    char *why = NULL;

    must(vsched_core_set_affinity(f->core, vcpu, mask, &why), &why);
}

void set_share(Fake *f, int vm, uint32_t weight, uint32_t cap)
{
    char *why = NULL;

    must(vsched_core_set_share(f->core, vm, (VschedShare) { weight, cap },
                               &why), &why);
}

void set_policy(Fake *f, const VschedPolicyOps *ops, int64_t slice)
{
    char *why = NULL;

    fake_values(ops, slice, f->values);
    must(vsched_core_set_policy(f->core, ops, f->values, &why), &why);
}

int64_t longest_wait(Fake *f)
{
    return f->core->ops->longest_wait(f->core->policy, f->core->switch_cost,
                                      f->core->window);
}

/* Whole windows and slices, the first too, unless a test wants otherwise. */
void fake_init_vms(Fake *f, int vcpus, const int *vm, int pcpus,
                   int64_t window, int64_t cost, const VschedPolicyOps *ops,
                   int64_t slice)
{
    char *why = NULL;

    memset(f, 0, sizeof(*f));
    world_init(&f->world, vcpus, 0);
    fake_values(ops, slice, f->values);
    f->core = vsched_core_new(vcpus, pcpus, vm, window, cost, 1, &fake_host,
                              f);
    f->core->rotation = 0;
    f->core->jitter = false;
    for (int p = 0; p < pcpus; p++) {
        f->core->pcpu[p].phase = UINT32_MAX;
    }
    must(vsched_core_set_policy(f->core, ops, f->values, &why), &why);
}

void fake_init(Fake *f, int vcpus, int pcpus, int64_t window,
               int64_t cost, const VschedPolicyOps *ops, int64_t slice)
{
    fake_init_vms(f, vcpus, NULL, pcpus, window, cost, ops, slice);
}

void fake_free(Fake *f)
{
    vsched_core_free(f->core);
    g_array_free(f->world.log, true);
}

void start_all(Fake *f)
{
    for (int v = 0; v < f->world.vcpus; v++) {
        vsched_core_wake(f->core, v);
    }
}

void all_run(Fake *f, const Block *program)
{
    for (int v = 0; v < f->world.vcpus; v++) {
        f->world.program[v] = program;
    }
    start_all(f);
}

void windows(Fake *f, int n)
{
    while (n--) {
        vsched_core_window(f->core, 0);
    }
}

/* "pcpu:vcpu@start ..." of what was executed since the last call. */
void assert_log(Fake *f, const char *expected)
{
    g_autoptr(GString) s = g_string_new(NULL);

    for (guint i = 0; i < f->world.log->len; i++) {
        Executed *x = &g_array_index(f->world.log, Executed, i);

        g_string_append_printf(s, "%s%d:%d@%" G_GINT64_FORMAT, i ? " " : "",
                               x->pcpu, x->vcpu, x->start);
    }
    g_array_set_size(f->world.log, 0);
    g_assert_cmpstr(s->str, ==, expected);
}

static void assert_pcpu(const Fake *f, int p)
{
    const VschedCore *core = f->core;
    const VschedPCPU *c = &core->pcpu[p];
    VschedSpeed speed = { c->speed.insns, c->speed.cycles, 0 };

    g_assert_cmpint(c->idle + c->busy + c->stalled + c->switching +
                    c->skipped + c->offline, ==, c->clock);
    /* Short of the window's end by less than a block, rounded up */
    g_assert_cmpint(c->clock + 1 + (f->mixed_speeds ? 7 * MANY :
                                    vsched_speed_cycles(&speed, MANY)), >,
                    core->window_end);
    if (!f->mixed_speeds) {
        g_assert_cmpint(c->busy, ==, vsched_speed_cycles(&speed, c->insns));
    }
    if (c->current != VSCHED_NONE) {
        g_assert_true(core->topology.online >> p & 1);
        g_assert_true(core->topology.allowed[c->current] >> p & 1);
        g_assert_cmpint(core->vcpu[c->current].state, ==, VSCHED_RUNNING);
        g_assert_cmpint(core->vcpu[c->current].pcpu, ==, p);
    }
}

/* Whatever a PCPU was occupied by was some VCPU, and no VCPU ran elsewhere. */
static void assert_ran_on(const VschedCore *core, int pcpu)
{
    const VschedPCPU *c = &core->pcpu[pcpu];
    int64_t sum = 0;

    for (int v = 0; v < core->topology.vcpus; v++) {
        sum += vsched_core_ran_on(core, v, pcpu);
    }
    g_assert_cmpint(sum, ==, c->busy + c->stalled + c->skipped);
}

void assert_sums(const Fake *f)
{
    const VschedCore *core = f->core;
    int64_t used = 0, switching = 0, ran = 0, switched = 0;
    int current = 0, running = 0;

    for (int p = 0; p < core->topology.pcpus; p++) {
        assert_pcpu(f, p);
        used += core->pcpu[p].busy + core->pcpu[p].stalled;
        assert_ran_on(core, p);
        switching += core->pcpu[p].switching;
        current += core->pcpu[p].current != VSCHED_NONE;
    }
    for (int v = 0; v < core->topology.vcpus; v++) {
        const VschedVCPU *c = &core->vcpu[v];
        int64_t sum = 0, time = c->state == VSCHED_RUNNING ?
                                core->pcpu[c->pcpu].clock : core->window_end;
        int64_t on_pcpus = 0;

        for (int s = 0; s < VSCHED_STATES; s++) {
            g_assert_cmpint(vsched_core_cycles(core, v, s), >=, 0);
            sum += vsched_core_cycles(core, v, s);
        }
        /* One that was stopped beyond the end has no time to account for. */
        g_assert_cmpint(sum, ==, MAX(time, c->since));
        for (int p = 0; p < core->topology.pcpus; p++) {
            on_pcpus += vsched_core_ran_on(core, v, p);
        }
        if (!f->lost_pcpus) {
            g_assert_cmpint(on_pcpus, ==,
                            vsched_core_cycles(core, v, VSCHED_RUNNING));
        }
        ran += vsched_core_cycles(core, v, VSCHED_RUNNING);
        switched += vsched_core_cycles(core, v, VSCHED_SWITCHING);
        running += c->state == VSCHED_RUNNING;
    }
    g_assert_cmpint(running, ==, current);
    if (!f->lost_pcpus) {
        g_assert_cmpint(switched, ==, switching);
        if (!core->skip) {
            g_assert_cmpint(ran, ==, used);
        }
    }
}

/* What the engine does, until @time. */
void fake_drive(Fake *f, int64_t time)
{
    World *w = &f->world;
    VschedCore *core = f->core;

    while (core->window_end < time) {
        int64_t until, horizon = MIN(time, world_horizon(w));

        if (vsched_core_idle(core, &until)) {
            until = MIN(until, horizon);
            vsched_core_jump(core, (until + core->window - 1) / core->window *
                                   core->window);
        } else {
            vsched_core_window(core, f->merge ? horizon : 0);
        }
        g_assert_cmpint(core->window_end % core->window, ==, 0);
        for (int v = 0; v < w->vcpus; v++) {
            bool timer = w->timer[v] <= core->window_end;
            bool poked = w->poked[v] <= core->window_end;

            if (timer) {
                w->timer[v] = INT64_MAX;
            }
            if (poked) {
                w->poked[v] = INT64_MAX;
            }
            if (timer || poked) {
                w->called[v] |= w->late[v];
                w->late[v] = 0;
                interrupt(f, v);
            }
        }
        assert_sums(f);
    }
}

void fake_both(Fake *one, Fake *many, const VschedPolicyOps *ops, int i,
               int64_t skip, int stalls)
{
    int vcpus = 1 + hash(i, 1, 9) % 4, pcpus = 1 + hash(i, 2, 9) % 4;
    int64_t slice = 64 + hash(i, 3, 9) % 9000;
    Fake *both[] = { one, many };

    for (int n = 0; n < 2; n++) {
        Fake *f = both[n];

        fake_init(f, vcpus, pcpus, 100, 20, ops, slice);
        f->world.seed = i;
        f->merge = n;
        f->core->jitter = i % 3;
        f->core->skip = skip;
        f->stalls = stalls;
        start_all(f);
        fake_drive(f, 200000);
    }
    g_assert_cmpmem(one->world.log->data, one->world.log->len *
                    sizeof(Executed), many->world.log->data,
                    many->world.log->len * sizeof(Executed));
}

void fake_save_and_load(const Fake *f, Fake *copy, bool same)
{
    VschedCore *core = f->core;
    VschedCoreState *state = vsched_state_new(core);
    g_autoptr(GArray) words = g_array_new(false, false, sizeof(int64_t));
    char *why = NULL;

    fake_init_vms(copy, core->topology.vcpus, core->topology.vm,
                  core->topology.pcpus, core->window, core->switch_cost,
                  core->ops, f->values[0]);
    memcpy(copy->values, f->values, sizeof(f->values));
    g_array_free(copy->world.log, true);
    copy->world = f->world;
    copy->world.log = g_array_new(false, false, sizeof(Executed));
    copy->merge = f->merge;
    copy->notice = f->notice;
    copy->pause = f->pause;
    copy->knows_idle_loop = f->knows_idle_loop;
    copy->driver = f->driver;
    copy->stalls = f->stalls;
    copy->mixed_speeds = f->mixed_speeds;
    copy->core->jitter = core->jitter;
    vsched_core_save_policy(core, words);
    must(vsched_state_load(copy->core, state, core->ops, f->values,
                           (int64_t *)words->data, words->len, same, &why),
         &why);
    vsched_state_free(state);
}

static const Block mixed_locks[] = {
    { 20, NOTHING, 0, 0, USER }, { 10, LOCK, 0 }, { 30 }, { 10, UNLOCK, 0 },
    { 20, NOTHING, 0, 0, USER }, { 10, LOCK, 1 }, { 7 }, { 10, UNLOCK, 1 }, { }
};

static const Block mixed_calls[][6] = {
    { { 15, NOTHING, 0, 0, USER }, { 10, CALL, 1 }, { 40 }, { 5, CALL, 2 },
      { 9, SPIN } },
    { { 50, NOTHING, 0, 0, USER }, { 10, CALL, 3 }, { 13, HALT, 500, 0, IDLE },
    },
    { { 10, CALL, 0 }, { 11, NOTHING, 0, 0, IDLE }, { 10, CALL, 4 },
      { 64, SPIN, 0, 0, USER } },
};

/* VCPUs 0 to 2 call others, the others have locks in common. */
static void mixed_init(Fake *f, const VschedPolicyOps *ops, uint32_t seed,
                       void (*set)(Fake *f))
{
    int vcpus = 5 + hash(seed, 1, 3) % 6, vm[MANY] = { 0 };

    /* Those that call each other are one VM. */
    for (int v = 5; v < vcpus; v++) {
        vm[v] = seed & 1;
    }
    fake_init_vms(f, vcpus, vm, 1 + hash(seed, 2, 3) % 4, 50 + seed % 60,
                  hash(seed, 4, 3) % 30, ops, 100 + hash(seed, 5, 3) % 1000);
    f->notice = 30;
    f->pause = true;
    f->knows_idle_loop = seed & 2;
    f->core->jitter = seed & 4;
    for (int v = 0; v < vcpus; v++) {
        f->world.program[v] = v < 3 ? mixed_calls[v] : mixed_locks;
    }
    if (set) {
        set(f);
    }
    start_all(f);
}

static void assert_same_log(const Fake *a, const Fake *b)
{
    g_assert_cmpmem(a->world.log->data, a->world.log->len * sizeof(Executed),
                    b->world.log->data, b->world.log->len * sizeof(Executed));
}

void fake_mixed(const VschedPolicyOps *ops, void (*set)(Fake *f))
{
    for (uint32_t seed = 0; seed < 40; seed++) {
        Fake one, many, copy;

        mixed_init(&one, ops, seed, set);
        mixed_init(&many, ops, seed, set);
        many.merge = true;
        fake_drive(&one, 20000 + hash(seed, 6, 3) % 1000);
        fake_drive(&many, one.core->window_end);
        assert_same_log(&one, &many);
        fake_save_and_load(&one, &copy, true);
        g_array_set_size(one.world.log, 0);
        fake_drive(&one, 60000);
        fake_drive(&copy, one.core->window_end);
        assert_same_log(&one, &copy);
        for (int v = 0; v < one.world.vcpus; v++) {
            /* Its last block.  Locks are unfair; policies need not be. */
            g_assert_cmpint(one.world.not_before[v], >, 40000);
        }
        fake_free(&one);
        fake_free(&many);
        fake_free(&copy);
    }
}
