/*
 * The engine's core: PCPUs with clocks, windows, run states.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <inttypes.h>
#include "core.h"

#define PHASE_OVER UINT32_MAX

/* Cycles from one window in two parts to the next, on average (choice) */
#define SPLIT_EVERY 16384

/* A timeslice is shorter by less than this part of it (choice) */
#define SLICE_JITTER 64

static inline void event(const VschedCore *core, VschedEventKind kind,
                         int pcpu, int vcpu, int64_t other, int64_t now)
{
    if (core->host->event) {
        core->host->event(core->opaque, kind, pcpu, vcpu, other, now);
    }
}

static inline bool is_online(const VschedCore *core, int p)
{
    return core->topology.online >> p & 1;
}

static uint64_t all_pcpus(const VschedCore *core)
{
    return UINT64_MAX >> (VSCHED_PCPUS_MAX - core->topology.pcpus);
}

/*
 * ------------------------------------------------------------------------
 * Speed.
 */

/* So many instructions are executed: what is left of a cycle is carried. */
void vsched_speed_pass(VschedSpeed *speed, int64_t insns)
{
    if (speed->insns != speed->cycles) {
        speed->carry = (insns * speed->cycles + speed->carry) % speed->insns;
    }
}

/*
 * ------------------------------------------------------------------------
 * What a policy may ask.
 */

/* The VCPU that is on @p goes, for reason @why. */
static void give_up(VschedCore *core, int p, VschedWhy why)
{
    VschedPCPU *pcpu = &core->pcpu[p];

    if (pcpu->current != VSCHED_NONE && pcpu->resched == VSCHED_WHY_NONE) {
        pcpu->resched = why;
        if (core->running == p) {
            core->cut_from = MAX(core->cut_from, pcpu->clock +
                                 core->host->elapsed_unstalled(core->opaque));
            core->host->shorten(core->opaque);
        }
    }
}

static void service_preempt(void *engine, int p)
{
    VschedCore *core = engine;

    if (core->running == VSCHED_NONE || core->running == p) {
        give_up(core, p, VSCHED_PREEMPTED);
    } else {
        core->pcpu[p].preempt = core->pcpu[p].current != VSCHED_NONE;
    }
}

static bool service_user_mode(void *engine, int vcpu)
{
    VschedCore *core = engine;

    return core->host->user_mode(core->opaque, vcpu);
}

static bool service_interrupt_pending(void *engine, int vcpu)
{
    VschedCore *core = engine;

    return core->host->interrupt_pending(core->opaque, vcpu);
}

static bool service_idle(void *engine, int vcpu, VschedIdle detector)
{
    VschedCore *core = engine;
    const VschedVCPU *v = &core->vcpu[vcpu];

    if (detector == VSCHED_IDLE_AUTO) {
        detector = core->host->knows_idle_loop(core->opaque) ?
                   VSCHED_IDLE_LOOP : VSCHED_IDLE_HALT;
    }
    if (detector == VSCHED_IDLE_NONE) {
        return false;
    }
    return v->state == VSCHED_BLOCKED ||
           (detector == VSCHED_IDLE_LOOP &&
            core->host->in_idle_loop(core->opaque, vcpu)) ||
           (detector == VSCHED_IDLE_SDB && v->spinning &&
            !core->host->user_mode(core->opaque, vcpu));
}

static int64_t service_runnable_from(void *engine, int vcpu)
{
    VschedCore *core = engine;

    return core->vcpu[vcpu].seen;
}

static void service_ask_safe_point(void *engine, int vcpu)
{
    VschedCore *core = engine;

    core->host->ask_safe_point(core->opaque, vcpu);
}

/* A window has ended: PCPUs whose VCPU a policy wanted to stop reschedule. */
static void preempt_others(VschedCore *core)
{
    for (int p = 0; p < core->topology.pcpus; p++) {
        if (core->pcpu[p].preempt) {
            core->pcpu[p].preempt = false;
            give_up(core, p, VSCHED_PREEMPTED);
        }
    }
}

static int64_t next_tick(const VschedCore *core)
{
    return core->ops->next_tick ? core->ops->next_tick(core->policy)
                                : INT64_MAX;
}

static void tick(VschedCore *core)
{
    if (next_tick(core) <= core->window_end) {
        core->ops->tick(core->policy, core->window_end);
    }
}

/*
 * Another PCPU than the only one that has had anything to do gets something to
 * do now: where several windows are run at once, that is over.
 */
static void not_sole(VschedCore *core)
{
    int64_t elapsed = core->host->elapsed_unstalled(core->opaque);

    /* Between two pieces of code it is the next window that begins. */
    vsched_core_cut(core, core->pcpu[core->sole].clock + elapsed + !elapsed);
    core->host->shorten(core->opaque);
}

static bool sole_runs(const VschedCore *core)
{
    return core->sole != VSCHED_NONE && core->running == core->sole;
}

void vsched_core_hint(VschedCore *core, const VschedHint *hint)
{
    VschedPCPU *pcpu;
    VschedVCPU *v;
    bool gives_up;

    if (core->host->hint) {
        core->host->hint(core->opaque, hint);
    }
    if (!vsched_core_listens(core, hint->kind)) {
        return;
    }
    gives_up = core->ops->hint(core->policy, hint);
    v = &core->vcpu[hint->vcpu];
    if (sole_runs(core) && v->state == VSCHED_READY &&
        core->ops->place(core->policy, hint->vcpu) != core->sole) {
        not_sole(core);         /* the policy lets it run elsewhere from now */
    }
    if (!gives_up || hint->pcpu == VSCHED_NONE) {
        return;
    }
    pcpu = &core->pcpu[hint->pcpu];
    if (pcpu->current != VSCHED_NONE && pcpu->resched == VSCHED_WHY_NONE) {
        v = &core->vcpu[pcpu->current];
        if (hint->kind == VSCHED_HINT_SPIN) {
            v->ended_by_spin++;
        } else {
            v->ended_by_hint++;
        }
        give_up(core, hint->pcpu, VSCHED_YIELDED);
    }
}

/*
 * ------------------------------------------------------------------------
 * Creation.
 */

VschedCore *vsched_core_new(int vcpus, int pcpus, const int *vm,
                            int64_t window, int64_t switch_cost, uint32_t seed,
                            const VschedHost *host, void *opaque)
{
    VschedCore *core = g_new0(VschedCore, 1);
    VschedTopology *t = &core->topology;
    GRand *rand = g_rand_new_with_seed(seed);

    g_assert(pcpus >= 1 && pcpus <= VSCHED_PCPUS_MAX);
    t->vcpus = vcpus;
    t->pcpus = pcpus;
    t->vms = 1;
    t->vm = g_new0(int, vcpus);
    t->allowed = g_new(uint64_t, vcpus);
    t->online = all_pcpus(core);
    core->services = (VschedServices) {
        .topology = t,
        .engine = core,
        .preempt = service_preempt,
        .user_mode = service_user_mode,
        .interrupt_pending = service_interrupt_pending,
        .idle = service_idle,
        .runnable_from = service_runnable_from,
        .ask_safe_point = service_ask_safe_point,
    };
    core->window = window;
    core->switch_cost = switch_cost;
    core->host = host;
    core->opaque = opaque;
    core->running = core->sole = VSCHED_NONE;
    core->pcpu = g_new0(VschedPCPU, pcpus);
    core->vcpu = g_new0(VschedVCPU, vcpus);
    for (int v = 0; v < vcpus; v++) {
        core->vcpu[v].holder = core->vcpu[v].moving = VSCHED_NONE;
        core->vcpu[v].affinity = t->allowed[v] = t->online;
        if (vm) {
            t->vm[v] = vm[v];
            t->vms = MAX(t->vms, vm[v] + 1);
        }
    }
    t->share = g_new(VschedShare, t->vms);
    for (int i = 0; i < t->vms; i++) {
        t->share[i] = (VschedShare) { .weight = VSCHED_WEIGHT_DEFAULT };
    }
    for (int p = 0; p < pcpus; p++) {
        core->pcpu[p].current = VSCHED_NONE;
        core->pcpu[p].last = VSCHED_NONE;
        core->pcpu[p].speed = (VschedSpeed) { 1, 1 };
        core->pcpu[p].phase = g_rand_int_range(rand, 0, INT32_MAX) * 2u;
    }
    core->rotation = g_rand_int_range(rand, 0, pcpus);
    core->seed = g_rand_int(rand);
    core->jitter = true;
    g_rand_free(rand);
    return core;
}

void vsched_core_free(VschedCore *core)
{
    if (core->ops) {
        core->ops->destroy(core->policy);
    }
    g_free(core->topology.vm);
    g_free(core->topology.share);
    g_free(core->topology.allowed);
    g_free(core->pcpu);
    g_free(core->vcpu);
    g_free(core);
}

/*
 * ------------------------------------------------------------------------
 * Run states.
 */

int64_t vsched_core_now(const VschedCore *core, int vcpu)
{
    int pcpu = core->vcpu[vcpu].pcpu;

    if (core->running == VSCHED_NONE) {
        return core->window_end;
    }
    return core->pcpu[pcpu].clock +
           (core->running == pcpu ? core->host->elapsed(core->opaque) : 0);
}

static void set_state(VschedVCPU *vcpu, VschedState state, int64_t now)
{
    if (now > vcpu->since) {
        vcpu->cycles[vcpu->state] += now - vcpu->since;
        if (vcpu->state == VSCHED_READY) {
            vcpu->longest_wait = MAX(vcpu->longest_wait, now - vcpu->since);
        } else if (vcpu->state == VSCHED_RUNNING) {
            vcpu->ran_on[vcpu->pcpu] += now - vcpu->since;
        }
        vcpu->since = now;
    }
    vcpu->state = state;
}

int64_t vsched_core_cycles(const VschedCore *core, int vcpu, VschedState state)
{
    const VschedVCPU *v = &core->vcpu[vcpu];
    int64_t now = v->state == VSCHED_RUNNING ? core->pcpu[v->pcpu].clock
                                             : vsched_core_now(core, vcpu);

    return v->cycles[state] +
           (v->state == state && now > v->since ? now - v->since : 0);
}

int64_t vsched_core_ran_on(const VschedCore *core, int vcpu, int pcpu)
{
    const VschedVCPU *v = &core->vcpu[vcpu];
    int64_t now = core->pcpu[pcpu].clock;

    return v->ran_on[pcpu] +
           (v->state == VSCHED_RUNNING && v->pcpu == pcpu && now > v->since ?
            now - v->since : 0);
}

/* @vcpu waits from now on. */
static void make_ready(VschedCore *core, int vcpu, VschedWhy why, int64_t now)
{
    VschedVCPU *v = &core->vcpu[vcpu];

    set_state(v, VSCHED_READY, now);
    v->turn = core->turns++;
    core->ops->enqueue(core->policy, vcpu, why, now, now);
    if (sole_runs(core) &&
        core->ops->place(core->policy, vcpu) != core->sole) {
        not_sole(core);
    }
}

void vsched_core_wake(VschedCore *core, int vcpu)
{
    VschedVCPU *v = &core->vcpu[vcpu];

    if (v->state == VSCHED_BLOCKED) {
        int64_t now = vsched_core_now(core, vcpu);

        v->seen = MAX(v->seen, now);
        event(core, VSCHED_EVENT_WAKE, v->pcpu, vcpu, VSCHED_NONE, now);
        make_ready(core, vcpu, VSCHED_WOKEN, now);
    }
}

/* The VCPU on @p stops running. */
static void stop_running(VschedCore *core, int p, VschedWhy why)
{
    VschedPCPU *pcpu = &core->pcpu[p];
    int vcpu = pcpu->current;

    pcpu->current = VSCHED_NONE;
    pcpu->resched = VSCHED_WHY_NONE;
    pcpu->preempt = false;
    /* It may have been switched in without having run. */
    core->vcpu[vcpu].seen = MAX(core->vcpu[vcpu].seen, pcpu->clock);
    if (core->ops->stop) {
        core->ops->stop(core->policy, p, vcpu, pcpu->ran, why, pcpu->clock);
    }
    if (why == VSCHED_STOPPED) {
        event(core, VSCHED_EVENT_BLOCK, p, vcpu, VSCHED_NONE, pcpu->clock);
        set_state(&core->vcpu[vcpu], VSCHED_BLOCKED, pcpu->clock);
    } else {
        event(core, VSCHED_EVENT_PREEMPT, p, vcpu, why, pcpu->clock);
        make_ready(core, vcpu, why, pcpu->clock);
    }
}

void vsched_core_block(VschedCore *core, int vcpu)
{
    VschedVCPU *v = &core->vcpu[vcpu];

    switch (v->state) {
    case VSCHED_READY:
        core->ops->dequeue(core->policy, vcpu, vsched_core_now(core, vcpu));
        event(core, VSCHED_EVENT_BLOCK, v->pcpu, vcpu, VSCHED_NONE,
              vsched_core_now(core, vcpu));
        set_state(v, VSCHED_BLOCKED, vsched_core_now(core, vcpu));
        break;
    case VSCHED_RUNNING:
        stop_running(core, v->pcpu, VSCHED_STOPPED);
        break;
    default:
        break;
    }
}

/*
 * Whether @vcpu is of @p: it runs there, or would run there as far as the
 * policy can say.
 */
static bool belongs(const VschedCore *core, int vcpu, int p)
{
    const VschedVCPU *v = &core->vcpu[vcpu];
    int place;

    if (v->state == VSCHED_RUNNING) {
        return v->pcpu == p;
    }
    place = core->ops->place(core->policy, vcpu);
    return place == p || (place == VSCHED_NONE &&
                          core->topology.allowed[vcpu] >> p & 1);
}

void vsched_core_notify(VschedCore *core, int vcpu)
{
    VschedVCPU *v = &core->vcpu[vcpu];

    v->spinning = false;
    v->seen = MAX(v->seen, vsched_core_now(core, vcpu));
    for (int p = 0; p < core->topology.pcpus; p++) {
        if (core->pcpu[p].skip_step && belongs(core, vcpu, p)) {
            core->pcpu[p].skip_until = 0;
            core->pcpu[p].skip_step = 0;
            if (sole_runs(core) && p != core->sole) {
                not_sole(core);
            }
        }
    }
}

/*
 * ------------------------------------------------------------------------
 * Time that passes without anyone running.
 */

/* First boundary at or after @time. */
static int64_t boundary(const VschedCore *core, int64_t time)
{
    return (time + core->window - 1) / core->window * core->window;
}

/* Last boundary at or before @time. */
static int64_t boundary_before(const VschedCore *core, int64_t time)
{
    return time / core->window * core->window;
}

/* @pcpu skips the whole of the next window. */
static bool skips(const VschedCore *core, const VschedPCPU *pcpu)
{
    return pcpu->skip_until >= core->window_end + core->window;
}

static bool anyone_ready(const VschedCore *core)
{
    for (int v = 0; v < core->topology.vcpus; v++) {
        if (core->vcpu[v].state == VSCHED_READY) {
            return true;
        }
    }
    return false;
}

bool vsched_core_idle(const VschedCore *core, int64_t *until)
{
    int64_t tick_at;

    *until = INT64_MAX;
    for (int p = 0; p < core->topology.pcpus; p++) {
        const VschedPCPU *pcpu = &core->pcpu[p];

        if (!is_online(core, p)) {
            continue;
        }
        if (skips(core, pcpu)) {
            *until = MIN(*until, boundary_before(core, pcpu->skip_until));
        } else if (pcpu->current != VSCHED_NONE ||
                   core->ops->waiting(core->policy, p, pcpu->clock)) {
            return false;
        }
    }
    tick_at = next_tick(core);
    if (tick_at == INT64_MAX && anyone_ready(core)) {
        /* The policy holds it back, and does not say until when: ask again. */
        tick_at = core->window_end + core->window;
    }
    if (tick_at != INT64_MAX) {
        *until = MIN(*until, MAX(boundary(core, tick_at),
                                 core->window_end + core->window));
    }
    return true;
}

static void idle_until(VschedCore *core, int p, int64_t time)
{
    VschedPCPU *pcpu = &core->pcpu[p];

    if (time > pcpu->clock) {
        *(is_online(core, p) ? &pcpu->idle : &pcpu->offline) +=
            time - pcpu->clock;
        pcpu->clock = time;
    }
}

static void skip_until(VschedCore *core, VschedPCPU *pcpu, int64_t time)
{
    if (time > pcpu->clock) {
        int64_t cycles = time - pcpu->clock;

        pcpu->skipped += cycles;
        if (pcpu->current != VSCHED_NONE) {
            core->vcpu[pcpu->current].spin_cycles += cycles;
        }
        pcpu->clock = time;
    }
}

void vsched_core_jump(VschedCore *core, int64_t time)
{
    for (int p = 0; p < core->topology.pcpus; p++) {
        skip_until(core, &core->pcpu[p], MIN(time, core->pcpu[p].skip_until));
        idle_until(core, p, time);
    }
    core->window_end = time;
    tick(core);
}

/* Every VCPU of @p that could run spins. */
static bool all_spin(const VschedCore *core, int p)
{
    for (int i = 0; i < core->topology.vcpus; i++) {
        const VschedVCPU *v = &core->vcpu[i];

        if (v->state != VSCHED_BLOCKED && !v->spinning &&
            belongs(core, i, p)) {
            return false;
        }
    }
    return true;
}

/*
 * A VCPU that was found spinning again within so many cycles (for each VCPU of
 * its PCPU) after a skip has done nothing else (choice)
 */
#define SKIP_PATIENCE 16384

/*
 * Nothing on this PCPU does anything but wait for others: time may pass until
 * one of them is sent something.  What they wait for may also be a store of
 * another PCPU, which nobody reports: the first skip is one window long, and
 * each that follows without anything done between is twice as long as the one
 * before, up to @skip cycles.
 */
static void maybe_skip(VschedCore *core, int p)
{
    VschedPCPU *pcpu = &core->pcpu[p];
    int64_t awake = pcpu->clock - pcpu->skip_until;
    int vcpus = 0;

    if (!core->skip || !all_spin(core, p)) {
        return;
    }
    for (int i = 0; i < core->topology.vcpus; i++) {
        if (belongs(core, i, p)) {
            core->vcpu[i].spinning = false;
            vcpus++;
        }
    }
    if (awake > vcpus * SKIP_PATIENCE || !pcpu->skip_step) {
        pcpu->skip_step = core->window;
    } else {
        pcpu->skip_step *= 2;
    }
    pcpu->skip_step = MIN(pcpu->skip_step, core->skip);
    pcpu->skip_until = pcpu->clock + pcpu->skip_step;
}

/*
 * ------------------------------------------------------------------------
 * Running.
 */

/* The finalizer of MurmurHash3 */
static uint32_t mix(uint32_t h)
{
    h = (h ^ h >> 16) * 0x85ebca6b;
    h = (h ^ h >> 13) * 0xc2b2ae35;
    return h ^ h >> 16;
}

uint32_t vsched_draw(uint32_t seed, int which, int64_t number)
{
    return mix(mix(mix(seed + which) ^ (uint32_t)number) ^ number >> 32);
}

uint32_t vsched_core_draw(const VschedCore *core, int pcpu, int64_t time)
{
    return vsched_draw(core->seed, pcpu, time);
}

int64_t vsched_core_split(const VschedCore *core, int64_t end)
{
    uint64_t draw = vsched_core_draw(core, VSCHED_NONE, end);

    if (!core->jitter || (int64_t)(draw % SPLIT_EVERY) >= core->window) {
        return end;
    }
    return end - core->window * (draw / SPLIT_EVERY) /
                 (UINT32_MAX / SPLIT_EVERY + 1);
}

int64_t vsched_core_slice_cut(const VschedCore *core, int pcpu, int64_t now,
                              int64_t timeslice)
{
    return core->jitter ? vsched_core_draw(core, pcpu, now) %
                          MAX(1, timeslice / SLICE_JITTER) : 0;
}

/* The first timeslice is cut, so that PCPUs do not all switch at once. */
static int64_t first_timeslice(VschedPCPU *pcpu, int64_t timeslice)
{
    if (pcpu->phase != PHASE_OVER) {
        uint64_t part = pcpu->phase + 1ull;
        uint64_t high = timeslice >> 32, low = (uint32_t)timeslice;

        timeslice = MAX(1, high * part + (low * part >> 32));
        pcpu->phase = PHASE_OVER;
    }
    return timeslice;
}

/* @p takes the registers of @vcpu in. */
static void switch_in(VschedCore *core, int p, int vcpu)
{
    VschedPCPU *pcpu = &core->pcpu[p];
    VschedVCPU *v = &core->vcpu[vcpu];
    int before = pcpu->last, holder = v->holder;
    int64_t cost = core->switch_cost;

    if (holder != VSCHED_NONE && core->pcpu[holder].last != vcpu) {
        holder = VSCHED_NONE;
    }
    set_state(v, VSCHED_SWITCHING, pcpu->clock);
    event(core, VSCHED_EVENT_SWITCH, p, vcpu, before, pcpu->clock);
    if (core->host->switch_cost) {
        cost = core->host->switch_cost(core->opaque, p, vcpu, before, holder,
                                       pcpu->clock);
    }
    pcpu->clock += cost;
    pcpu->switching += cost;
    pcpu->switches++;
    v->switches++;
    if (holder != VSCHED_NONE) {
        core->pcpu[holder].last = VSCHED_NONE;
    }
    v->holder = p;
    pcpu->last = vcpu;
    core->host->switched(core->opaque, p, vcpu, before);
}

/* The policy must not do this; what is said is the first such thing. */
static bool G_GNUC_PRINTF(2, 3) broken(VschedCore *core, const char *format,
                                       ...)
{
    g_autofree char *what = NULL;
    va_list args;

    if (!core->broken) {
        va_start(args, format);
        what = g_strdup_vprintf(format, args);
        va_end(args);
        core->broken = true;
        core->host->broken(core->opaque, what);
    }
    return false;
}

/* Whether the policy may pick that for @p. */
static bool may_pick(VschedCore *core, int p, const VschedPick *pick)
{
    static const char *const states[VSCHED_STATES] = {
        [VSCHED_BLOCKED] = "is blocked",
        [VSCHED_RUNNING] = "runs already",
        [VSCHED_SWITCHING] = "is being switched in",
    };
    const char *name = core->ops->name;
    VschedState state;

    if (pick->vcpu < 0 || pick->vcpu >= core->topology.vcpus) {
        return broken(core, "policy '%s' picked VCPU %d for PCPU %d, but there "
                      "is no such VCPU", name, pick->vcpu, p);
    }
    state = core->vcpu[pick->vcpu].state;
    if (state != VSCHED_READY) {
        return broken(core, "policy '%s' picked VCPU %d for PCPU %d, but that "
                      "does not wait: it %s", name, pick->vcpu, p,
                      states[state]);
    }
    if (!(core->topology.allowed[pick->vcpu] >> p & 1)) {
        return broken(core, "policy '%s' picked VCPU %d for PCPU %d, but that "
                      "must not run there", name, pick->vcpu, p);
    }
    if (pick->timeslice < 1) {
        return broken(core, "policy '%s' picked VCPU %d for PCPU %d with a "
                      "timeslice of %" PRId64 " cycles, but 1 is the shortest",
                      name, pick->vcpu, p, pick->timeslice);
    }
    return true;
}

/* Take what the policy picks; false if the PCPU is idle. */
static bool reschedule(VschedCore *core, int p)
{
    VschedPCPU *pcpu = &core->pcpu[p];
    VschedVCPU *v;
    VschedPick pick;

    if (pcpu->current != VSCHED_NONE) {
        VschedWhy why = pcpu->resched;

        v = &core->vcpu[pcpu->current];
        v->preempted += why == VSCHED_PREEMPTED;
        stop_running(core, p, why);
    }
    pick = core->ops->pick(core->policy, p, pcpu->clock);
    if (pick.vcpu == VSCHED_NONE || !may_pick(core, p, &pick)) {
        return false;
    }

    v = &core->vcpu[pick.vcpu];
    pcpu->current = pick.vcpu;
    if (v->pcpu != p) {
        if (v->switches) {
            v->migrations++;
            event(core, VSCHED_EVENT_MIGRATE, p, pick.vcpu, v->pcpu,
                  pcpu->clock);
        }
        v->pcpu = p;
    }
    if (v->moving == p) {
        v->moving = VSCHED_NONE;
        core->moves--;
        core->arrived = true;
    }
    idle_until(core, p, v->seen);
    if (pcpu->last != pick.vcpu) {
        switch_in(core, p, pick.vcpu);
    }
    set_state(v, VSCHED_RUNNING, pcpu->clock);
    pcpu->ran = 0;
    pcpu->fresh = true;
    pcpu->precise = pick.precise;
    pcpu->slice_start = pcpu->clock;
    if (!pick.exact && !pick.precise) {
        pick.timeslice -= vsched_core_slice_cut(core, p, pcpu->clock,
                                                pick.timeslice);
        pick.timeslice = first_timeslice(pcpu, pick.timeslice);
    }
    pcpu->slice_end = pcpu->clock + pick.timeslice;
    event(core, VSCHED_EVENT_RUN, p, pick.vcpu, VSCHED_NONE, pcpu->clock);
    if (core->ops->start) {
        core->ops->start(core->policy, p, pick.vcpu, pcpu->clock);
    }
    return true;
}

/* It was sent something, at a time to which its PCPU has not come yet. */
static void catch_up(VschedCore *core, int p)
{
    VschedPCPU *pcpu = &core->pcpu[p];
    VschedVCPU *v = &core->vcpu[pcpu->current];

    if (v->seen > pcpu->clock) {
        event(core, VSCHED_EVENT_WAIT, p, pcpu->current, v->seen, pcpu->clock);
        set_state(v, VSCHED_READY, pcpu->clock);
        idle_until(core, p, v->seen);
        set_state(v, VSCHED_RUNNING, pcpu->clock);
    }
}

/* vsched_core_cut() may move the end of the window at any time. */
static int64_t part_end(const VschedCore *core, int64_t until)
{
    return MIN(until, core->window_end);
}

int64_t vsched_core_budget(const VschedCore *core)
{
    const VschedPCPU *pcpu = &core->pcpu[core->running];

    return pcpu->resched != VSCHED_WHY_NONE ? 0 :
           MIN(core->window_end, pcpu->slice_end) - pcpu->clock;
}

/* What the host did goes into the accounts. */
static void account(VschedPCPU *pcpu, VschedVCPU *v, const VschedRun *run)
{
    uint64_t insns = run->insns[0] + run->insns[1];

    pcpu->clock += run->cycles;
    pcpu->ran += run->cycles;
    pcpu->fresh &= !run->cycles;
    pcpu->busy += run->cycles - run->stalled;
    pcpu->stalled += run->stalled;
    pcpu->insns += insns;
    vsched_speed_pass(&pcpu->speed, insns);
    v->seen = pcpu->clock;
    v->insns[0] += run->insns[0];
    v->insns[1] += run->insns[1];
    v->spins += run->spins;
    v->spin_cycles += run->spin_cycles;
}

/* It was found spinning. */
static void spin(VschedCore *core, int p)
{
    VschedPCPU *pcpu = &core->pcpu[p];
    const VschedHint hint = {
        .kind = VSCHED_HINT_SPIN,
        .pcpu = p,
        .vcpu = pcpu->current,
        .now = pcpu->clock,
    };

    core->vcpu[pcpu->current].spinning = true;
    maybe_skip(core, p);
    vsched_core_hint(core, &hint);
}

void vsched_core_account(VschedCore *core, VschedRun *run)
{
    account(&core->pcpu[run->pcpu], &core->vcpu[run->vcpu], run);
    *run = (VschedRun) {
        .pcpu = run->pcpu,
        .vcpu = run->vcpu,
        .budget = run->budget - run->cycles,
        .precise = run->precise == INT64_MAX ? INT64_MAX
                                             : run->precise - run->cycles,
        .spin_stops = run->spin_stops,
    };
}

bool vsched_core_spin(VschedCore *core, VschedRun *run)
{
    VschedPCPU *pcpu = &core->pcpu[run->pcpu];

    vsched_core_account(core, run);
    spin(core, run->pcpu);
    return pcpu->resched == VSCHED_WHY_NONE &&
           pcpu->skip_until <= pcpu->clock;
}

/* It waits for an interrupt, unless there is one. */
static void halt(VschedCore *core, int p)
{
    VschedPCPU *pcpu = &core->pcpu[p];
    const VschedHint hint = {
        .kind = VSCHED_HINT_HALT,
        .pcpu = p,
        .vcpu = pcpu->current,
        .now = pcpu->clock,
    };

    if (pcpu->current == VSCHED_NONE ||
        core->host->runnable(core->opaque, pcpu->current)) {
        return;
    }
    vsched_core_hint(core, &hint);
    stop_running(core, p, VSCHED_STOPPED);
}

void vsched_core_abandon_window(VschedCore *core)
{
    core->abandoned |= core->running != VSCHED_NONE;
    core->running = core->sole = VSCHED_NONE;
}

/* Run @p until cycle @until, or the end of the window if that comes first. */
static void run_pcpu(VschedCore *core, int p, int64_t until)
{
    VschedPCPU *pcpu = &core->pcpu[p];

    if (!is_online(core, p) || core->abandoned) {
        return;
    }
    core->running = p;
    while (pcpu->clock < part_end(core, until)) {
        VschedRun run = { .pcpu = p };
        int64_t rest;
        VschedVCPU *v;
        VschedStop stop;

        if (pcpu->clock < pcpu->skip_until) {
            skip_until(core, pcpu, MIN(pcpu->skip_until,
                                       part_end(core, until)));
            continue;
        }

        if ((pcpu->current == VSCHED_NONE || pcpu->resched) &&
            !reschedule(core, p)) {
            if (sole_runs(core)) {
                /* Who is held back now may be let go at a tick that is new */
                vsched_core_cut(core, pcpu->clock + 1);
            }
            break;
        }
        rest = part_end(core, until) - pcpu->clock;
        if (rest <= 0) {
            break;              /* the switch took the rest of it */
        }

        v = &core->vcpu[pcpu->current];
        catch_up(core, p);
        rest = MAX(0, part_end(core, until) - pcpu->clock);
        run.vcpu = pcpu->current;
        run.budget = MAX(0, MIN(rest, pcpu->slice_end - pcpu->clock));
        /* However short a timeslice: one piece of code is run in it. */
        run.first = pcpu->fresh ? rest : 0;
        run.precise = pcpu->precise ? pcpu->slice_end - pcpu->clock : INT64_MAX;
        run.spin_stops = core->skip ||
                         vsched_core_listens(core, VSCHED_HINT_SPIN);

        stop = core->host->run(core->opaque, &run);
        if (core->abandoned) {
            return;
        }
        switch (stop) {
        case VSCHED_STOP_BUDGET:
            account(pcpu, v, &run);
            if (pcpu->resched) {
                break;
            }
            if (part_end(core, until) < pcpu->slice_end || pcpu->fresh) {
                return;         /* made up for in what follows */
            }
            v->expired++;
            v->spinning = false;
            pcpu->resched = VSCHED_EXPIRED;
            core->cut_from = MAX(core->cut_from, pcpu->slice_end);
            break;
        case VSCHED_STOP_SPIN:
            account(pcpu, v, &run);
            spin(core, p);
            break;
        case VSCHED_STOP_HALT:
            account(pcpu, v, &run);
            halt(core, p);
            break;
        case VSCHED_STOP_EXIT:
            account(pcpu, v, &run);
            break;
        }
    }
}

/* No more windows at once: somebody outside may want a word (choice) */
#define WINDOWS_AT_ONCE 100

/* The only PCPU with anything to run; @until: no other has before that. */
static int sole_pcpu(const VschedCore *core, int64_t *until)
{
    int sole = VSCHED_NONE;

    for (int p = 0; p < core->topology.pcpus; p++) {
        const VschedPCPU *pcpu = &core->pcpu[p];

        if (!is_online(core, p)) {
            continue;
        }
        if (skips(core, pcpu)) {
            *until = MIN(*until, boundary_before(core, pcpu->skip_until));
        } else if (pcpu->current != VSCHED_NONE ||
                   core->ops->waiting(core->policy, p, pcpu->clock)) {
            if (sole != VSCHED_NONE) {
                return VSCHED_NONE;
            }
            sole = p;
        }
    }
    return sole;
}

void vsched_core_cut(VschedCore *core, int64_t now)
{
    int64_t start = core->window_end - core->window;

    now = MAX(now, core->cut_from);
    if (core->running != VSCHED_NONE && now <= start) {
        core->window_end = MAX(boundary(core, now),
                               core->window_start + core->window);
    }
}

/*
 * Somebody waits, but not for @sole, and no other PCPU finds him: the policy
 * holds him back.  If it asks for no tick either, it may let him go any time.
 */
static bool held_back(const VschedCore *core, int sole)
{
    for (int v = 0; v < core->topology.vcpus && !core->ops->next_tick; v++) {
        if (core->vcpu[v].state == VSCHED_READY &&
            core->ops->place(core->policy, v) != sole) {
            return true;
        }
    }
    return false;
}

/* The PCPU that is first in the window that ends at @end. */
static int first_in(const VschedCore *core, int64_t end)
{
    return (core->rotation + (end / core->window - 1)) %
           core->topology.pcpus;
}

static void run_all(VschedCore *core, int64_t until)
{
    int pcpus = core->topology.pcpus;
    int first = first_in(core, core->window_end);

    for (int i = 0; i < pcpus; i++) {
        run_pcpu(core, (first + i) % pcpus, until);
    }
}

/*
 * @sole runs, in several windows perhaps.  When it stops there may be somebody
 * for another PCPU to run, and then no window goes beyond that moment; in that
 * last one, the PCPUs whose turn comes after that of @sole take it.  Those
 * that skipped time went on doing so until then, though @sole may have called
 * them since.
 */
static void run_sole(VschedCore *core, int sole)
{
    int pcpus = core->topology.pcpus, first;
    int64_t skipping[VSCHED_PCPUS_MAX];

    for (int p = 0; p < pcpus; p++) {
        skipping[p] = core->pcpu[p].skip_until;
    }
    core->sole = sole;
    run_pcpu(core, sole, INT64_MAX);
    core->sole = VSCHED_NONE;
    if (core->abandoned) {
        return;
    }
    first = first_in(core, core->window_end);
    for (int i = 0; i < pcpus; i++) {
        int p = (first + i) % pcpus;
        bool after = i > (sole - first + pcpus) % pcpus;

        if (p != sole) {
            skip_until(core, &core->pcpu[p],
                       MIN(skipping[p], core->window_end -
                                        (after ? core->window : 0)));
        }
        if (after) {
            idle_until(core, p, core->window_end - core->window);
            run_pcpu(core, p, INT64_MAX);
        }
    }
}

static void changed(VschedCore *core);

/* Those that run where they were to go may go on from there. */
static void end_moves(VschedCore *core)
{
    core->arrived = false;
    for (int v = 0; v < core->topology.vcpus; v++) {
        core->topology.allowed[v] = vsched_core_allowed(&core->vcpu[v],
                                                core->topology.online);
    }
    changed(core);
}

void vsched_core_window(VschedCore *core, int64_t horizon)
{
    int64_t last = core->window_end + WINDOWS_AT_ONCE * core->window;
    int sole = sole_pcpu(core, &horizon);
    int64_t windows;

    horizon = core->moves ? 0 : MIN(horizon, next_tick(core));
    core->abandoned = false;
    core->window_start = core->cut_from = core->window_end;
    core->window_end += core->window;
    if (sole != VSCHED_NONE) {
        /* Nobody sees where the only PCPU stops: the window is not split. */
        if (horizon > core->window_end && !held_back(core, sole)) {
            core->window_end = horizon < last ? boundary(core, horizon) : last;
        }
        run_sole(core, sole);
    } else {
        int64_t split = vsched_core_split(core, core->window_end);

        if (split != core->window_end) {
            run_all(core, split);
        }
        run_all(core, INT64_MAX);
    }
    if (core->abandoned) {
        return;
    }
    core->running = VSCHED_NONE;
    for (int p = 0; p < core->topology.pcpus; p++) {
        if (core->pcpu[p].current == VSCHED_NONE) {
            idle_until(core, p, core->window_end);
        }
    }
    windows = (core->window_end - core->window_start) / core->window;
    core->windows += windows;
    event(core, VSCHED_EVENT_WINDOW, VSCHED_NONE, VSCHED_NONE, windows,
          core->window_end);
    preempt_others(core);
    if (core->arrived) {
        end_moves(core);
    }
    tick(core);
}

/*
 * ------------------------------------------------------------------------
 * Changes, between windows.
 */

typedef struct Waiting {
    int vcpu;
    int64_t since;
    uint64_t turn;
} Waiting;

static int compare_waiting(const void *a, const void *b)
{
    const Waiting *x = a, *y = b;

    if (x->since != y->since) {
        return x->since < y->since ? -1 : 1;
    }
    return x->turn < y->turn ? -1 : 1;
}

/*
 * Whether the VCPU that @p runs ran on at the change of policy before, too, and
 * somebody waits who could have run here all the time.  Then it has what that
 * change gave it, and no more: some policies give those whom they take over a
 * whole timeslice each time, or a turn of their gang.
 */
static bool is_handed_on(const VschedCore *core, int p)
{
    const VschedPCPU *pcpu = &core->pcpu[p];

    if (pcpu->clock - pcpu->slice_start <= pcpu->ran) {
        return false;
    }
    for (int v = 0; v < core->topology.vcpus; v++) {
        if (core->vcpu[v].state == VSCHED_READY &&
            core->vcpu[v].since < pcpu->slice_start &&
            core->topology.allowed[v] >> p & 1) {
            return true;
        }
    }
    return false;
}

/* All VCPUs to @policy: those that run, and the longest wait first. */
static void hand_over(VschedCore *core, const VschedPolicyOps *ops,
                      void *policy, bool same)
{
    g_autofree Waiting *waiting = g_new(Waiting, core->topology.vcpus);
    int n = 0;

    for (int v = 0; !core->ops && v < core->topology.vcpus; v++) {
        int place = ops->place(policy, v);      /* the first policy of all */

        core->vcpu[v].pcpu = place != VSCHED_NONE ? place :
                             __builtin_ctzll(core->topology.allowed[v]);
    }
    for (int p = 0; p < core->topology.pcpus; p++) {
        VschedPCPU *pcpu = &core->pcpu[p];
        int64_t start = pcpu->slice_start;
        VschedPick pick;

        if (pcpu->current == VSCHED_NONE) {
            continue;
        }
        pick = ops->take_over(policy, p, pcpu->current, pcpu->clock - start,
                              pcpu->clock);
        if (same) {
            /* When it ends, and that it is preempted, was saved. */
        } else if (!pick.timeslice) {
            if (pcpu->resched == VSCHED_WHY_NONE) {
                pcpu->resched = VSCHED_PREEMPTED;
            }
        } else {
            if (!pick.exact && !pick.precise) {
                pick.timeslice -= vsched_core_slice_cut(core, p, start,
                                                        pick.timeslice);
            }
            if (is_handed_on(core, p) &&
                pcpu->slice_end < start + pick.timeslice) {
                pick.timeslice = pcpu->slice_end - start;
                pick.precise = false;
            }
            pcpu->slice_end = start + pick.timeslice;
            pcpu->precise = pick.precise;
        }
        if (!same) {
            pcpu->ran = 0;
        }
        if (ops->start) {
            ops->start(policy, p, pcpu->current, pcpu->clock);
        }
    }
    for (int v = 0; v < core->topology.vcpus; v++) {
        if (core->vcpu[v].state == VSCHED_READY) {
            waiting[n++] = (Waiting) {
                v, core->vcpu[v].since, core->vcpu[v].turn
            };
        }
    }
    qsort(waiting, n, sizeof(*waiting), compare_waiting);
    for (int i = 0; i < n; i++) {
        ops->enqueue(policy, waiting[i].vcpu, VSCHED_ADDED, waiting[i].since,
                     core->window_end);
    }
}

static void adopt(VschedCore *core, const VschedPolicyOps *ops, void *policy)
{
    if (core->ops) {
        core->ops->destroy(core->policy);
    }
    core->ops = ops;
    core->policy = policy;
    core->broken = false;
    event(core, VSCHED_EVENT_POLICY, VSCHED_NONE, VSCHED_NONE, 0,
          core->window_end);
}

bool vsched_core_set_policy(VschedCore *core, const VschedPolicyOps *ops,
                            const int64_t *values, char **why)
{
    void *policy = ops->create(&core->services, values, why);

    if (!policy) {
        return false;
    }
    hand_over(core, ops, policy, false);
    adopt(core, ops, policy);
    return true;
}

void vsched_core_save_policy(VschedCore *core, GArray *words)
{
    if (core->ops->save) {
        core->ops->save(core->policy, words);
    }
}

bool vsched_core_load_policy(VschedCore *core, const VschedPolicyOps *ops,
                             const int64_t *values, const int64_t *words,
                             int n, bool same, char **why)
{
    void *policy = ops->create(&core->services, values, why);

    if (!policy) {
        return false;
    }
    hand_over(core, ops, policy, same);
    if (n >= 0 && ops->load && !ops->load(policy, words, n)) {
        ops->destroy(policy);
        *why = g_strdup_printf("the saved state of policy '%s' is not one "
                               "that it can have written", ops->name);
        return false;
    }
    adopt(core, ops, policy);
    return true;
}

uint64_t vsched_core_allowed(const VschedVCPU *vcpu, uint64_t online)
{
    uint64_t allowed = vcpu->affinity & online ?: online;
    uint64_t move = vcpu->moving != VSCHED_NONE ? 1ull << vcpu->moving : 0;

    return allowed & move ?: allowed;
}

/* Where @vcpu may run now, as policies see it. */
static void set_allowed(VschedCore *core, int vcpu)
{
    VschedVCPU *v = &core->vcpu[vcpu];
    uint64_t *allowed = &core->topology.allowed[vcpu];

    *allowed = vsched_core_allowed(v, core->topology.online);
    if (v->moving != VSCHED_NONE && *allowed != 1ull << v->moving) {
        v->moving = VSCHED_NONE;
        core->moves--;
    }
}

static bool is_suspended(const VschedCore *core, int vcpu)
{
    return !(core->vcpu[vcpu].affinity & core->topology.online);
}

static void notify_suspended(VschedCore *core, int vcpu, bool before)
{
    bool now = is_suspended(core, vcpu);

    if (now != before) {
        event(core, VSCHED_EVENT_AFFINITY, VSCHED_NONE, vcpu, !now,
              core->window_end);
    }
}

/* The policy hears of a change; then those go that are where they may not. */
static void changed(VschedCore *core)
{
    if (!core->ops) {
        return;
    }
    if (core->ops->changed) {
        core->ops->changed(core->policy, core->window_end);
    }
    for (int p = 0; p < core->topology.pcpus; p++) {
        int v = core->pcpu[p].current;

        if (v != VSCHED_NONE && !(core->topology.allowed[v] >> p & 1)) {
            core->vcpu[v].evicted++;
            stop_running(core, p, VSCHED_EVICTED);
        }
    }
}

bool vsched_core_set_online(VschedCore *core, uint64_t online, char **why)
{
    uint64_t before = core->topology.online;
    g_autofree bool *suspended = NULL;
    int vcpus = core->topology.vcpus;

    g_assert(core->running == VSCHED_NONE);
    if (online & ~all_pcpus(core)) {
        *why = g_strdup_printf("there is no such PCPU: allowed are 0 to %d",
                               core->topology.pcpus - 1);
        return false;
    }
    if (!online) {
        *why = g_strdup("the last PCPU that is on cannot go off");
        return false;
    }
    if (online == before) {
        return true;
    }
    suspended = g_new(bool, vcpus);
    for (int v = 0; v < vcpus; v++) {
        suspended[v] = is_suspended(core, v);
    }
    core->topology.online = online;
    for (int v = 0; v < vcpus; v++) {
        set_allowed(core, v);
        notify_suspended(core, v, suspended[v]);
    }
    changed(core);
    for (int p = 0; p < core->topology.pcpus; p++) {
        VschedPCPU *pcpu = &core->pcpu[p];

        if (!((before ^ online) >> p & 1)) {
            continue;
        }
        if (!is_online(core, p)) {
            /* What is left of this window it was still on. */
            if (core->window_end > pcpu->clock) {
                pcpu->idle += core->window_end - pcpu->clock;
                pcpu->clock = core->window_end;
            }
            if (pcpu->last != VSCHED_NONE) {
                core->vcpu[pcpu->last].holder = VSCHED_NONE;
                pcpu->last = VSCHED_NONE;
            }
            pcpu->skip_until = pcpu->skip_step = 0;
        }
        event(core, VSCHED_EVENT_PCPU, p, VSCHED_NONE, is_online(core, p),
              core->window_end);
    }
    return true;
}

bool vsched_core_set_affinity(VschedCore *core, int vcpu, uint64_t affinity,
                              char **why)
{
    bool before = is_suspended(core, vcpu);

    g_assert(core->running == VSCHED_NONE);
    if (!affinity || affinity & ~all_pcpus(core)) {
        *why = g_strdup_printf("a VCPU has to run somewhere: allowed are one "
                               "or more of the PCPUs 0 to %d",
                               core->topology.pcpus - 1);
        return false;
    }
    core->vcpu[vcpu].affinity = affinity;
    event(core, VSCHED_EVENT_MASK, VSCHED_NONE, vcpu, affinity,
          core->window_end);
    set_allowed(core, vcpu);
    notify_suspended(core, vcpu, before);
    changed(core);
    return true;
}

bool vsched_core_move(VschedCore *core, int vcpu, int pcpu, char **why)
{
    VschedVCPU *v = &core->vcpu[vcpu];

    g_assert(core->running == VSCHED_NONE);
    if (!is_online(core, pcpu)) {
        *why = g_strdup_printf("PCPU %d is off", pcpu);
        return false;
    }
    if (!is_suspended(core, vcpu) && !(v->affinity >> pcpu & 1)) {
        *why = g_strdup_printf("VCPU %d may not run on PCPU %d: its affinity "
                               "forbids that", vcpu, pcpu);
        return false;
    }
    core->moves += v->moving == VSCHED_NONE;
    v->moving = pcpu;
    if (v->state == VSCHED_RUNNING && v->pcpu == pcpu) {
        v->moving = VSCHED_NONE;
        core->moves--;
    }
    set_allowed(core, vcpu);
    changed(core);
    return true;
}

bool vsched_core_share_possible(const VschedCore *core, int64_t weight,
                                int64_t cap, char **why)
{
    int cap_max = 100 * core->topology.pcpus;

    if (weight < 1 || weight > VSCHED_WEIGHT_MAX) {
        *why = g_strdup_printf("weight=%" PRId64 " is out of range: allowed "
                               "are 1 to %d", weight, VSCHED_WEIGHT_MAX);
        return false;
    }
    if (cap < 0 || cap > cap_max) {
        *why = g_strdup_printf("cap=%" PRId64 " is out of range: allowed are 0 "
                               "(no cap) to %d, 100 for each PCPU", cap,
                               cap_max);
        return false;
    }
    return true;
}

bool vsched_core_set_share(VschedCore *core, int vm, VschedShare share,
                           char **why)
{
    g_assert(core->running == VSCHED_NONE);
    if (!vsched_core_share_possible(core, share.weight, share.cap, why)) {
        return false;
    }
    core->topology.share[vm] = share;
    event(core, VSCHED_EVENT_SHARE, VSCHED_NONE, vm, 0, core->window_end);
    changed(core);
    return true;
}

bool vsched_core_set_speed(VschedCore *core, int pcpu, uint32_t insns,
                           uint32_t cycles, char **why)
{
    g_assert(core->running == VSCHED_NONE);
    if (insns < 1 || insns > cycles || cycles > VSCHED_SPEED_MAX) {
        *why = g_strdup_printf("a speed of %u/%u is out of range: allowed are "
                               "ratios from 1/%d to 1 of numbers up to %d",
                               insns, cycles, VSCHED_SPEED_MAX,
                               VSCHED_SPEED_MAX);
        return false;
    }
    core->pcpu[pcpu].speed = (VschedSpeed) { insns, cycles, 0 };
    return true;
}
