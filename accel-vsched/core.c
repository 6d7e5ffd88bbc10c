/*
 * The engine's core: PCPUs with clocks, windows, run states.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "core.h"

#define PHASE_OVER UINT32_MAX

/* Cycles from one window in two parts to the next, on average (choice) */
#define SPLIT_EVERY 16384

/* A timeslice is shorter by less than this part of it (choice) */
#define SLICE_JITTER 64

VschedCore *vsched_core_new(const VschedTopology *topology, int64_t window,
                            int64_t switch_cost, uint32_t seed,
                            const VschedHost *host, void *opaque)
{
    VschedCore *core = g_new0(VschedCore, 1);
    GRand *rand = g_rand_new_with_seed(seed);

    core->topology = *topology;
    core->window = window;
    core->switch_cost = switch_cost;
    core->host = host;
    core->opaque = opaque;
    core->running = VSCHED_NONE;
    core->pcpu = g_new0(VschedPCPU, topology->pcpus);
    core->vcpu = g_new0(VschedVCPU, topology->vcpus);
    for (int p = 0; p < topology->pcpus; p++) {
        core->pcpu[p].current = VSCHED_NONE;
        core->pcpu[p].last = VSCHED_NONE;
        core->pcpu[p].phase = g_rand_int_range(rand, 0, INT32_MAX) * 2u;
    }
    core->rotation = g_rand_int_range(rand, 0, topology->pcpus);
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
    g_free(core->pcpu);
    g_free(core->vcpu);
    g_free(core);
}

void vsched_core_set_policy(VschedCore *core, const VschedPolicyOps *ops,
                            const int64_t *values)
{
    void *policy = ops->create(&core->topology, values);

    if (core->ops) {
        g_autofree int *order = g_new(int, core->topology.vcpus);
        int n = core->ops->order(core->policy, order);

        for (int i = 0; i < n; i++) {
            core->ops->dequeue(core->policy, order[i]);
            ops->enqueue(policy, order[i], vsched_core_now(core, order[i]));
        }
        core->ops->destroy(core->policy);
    } else {
        for (int v = 0; v < core->topology.vcpus; v++) {
            core->vcpu[v].pcpu = ops->place(policy, v);
        }
    }
    core->ops = ops;
    core->policy = policy;
}

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

static void make_ready(VschedCore *core, int vcpu, int64_t now)
{
    set_state(&core->vcpu[vcpu], VSCHED_READY, now);
    core->ops->enqueue(core->policy, vcpu, now);
}

void vsched_core_wake(VschedCore *core, int vcpu)
{
    VschedVCPU *v = &core->vcpu[vcpu];

    if (v->state == VSCHED_BLOCKED) {
        int64_t now = vsched_core_now(core, vcpu);

        v->seen = MAX(v->seen, now);
        make_ready(core, vcpu, now);
    }
}

void vsched_core_block(VschedCore *core, int vcpu)
{
    VschedVCPU *v = &core->vcpu[vcpu];

    switch (v->state) {
    case VSCHED_READY:
        core->ops->dequeue(core->policy, vcpu);
        set_state(v, VSCHED_BLOCKED, vsched_core_now(core, vcpu));
        break;
    case VSCHED_RUNNING:
        core->pcpu[v->pcpu].current = VSCHED_NONE;
        core->pcpu[v->pcpu].resched = true;
        set_state(v, VSCHED_BLOCKED, core->pcpu[v->pcpu].clock);
        break;
    default:
        break;
    }
}

void vsched_core_notify(VschedCore *core, int vcpu)
{
    VschedVCPU *v = &core->vcpu[vcpu];

    v->spinning = false;
    v->seen = MAX(v->seen, vsched_core_now(core, vcpu));
    core->pcpu[v->pcpu].skip_until = 0;
    core->pcpu[v->pcpu].skip_step = 0;
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

bool vsched_core_idle(const VschedCore *core, int64_t *until)
{
    *until = INT64_MAX;
    for (int p = 0; p < core->topology.pcpus; p++) {
        const VschedPCPU *pcpu = &core->pcpu[p];

        if (skips(core, pcpu)) {
            *until = MIN(*until, boundary_before(core, pcpu->skip_until));
        } else if (pcpu->current != VSCHED_NONE ||
                   core->ops->waiting(core->policy, p)) {
            return false;
        }
    }
    return true;
}

static void idle_until(VschedPCPU *pcpu, int64_t time)
{
    if (time > pcpu->clock) {
        pcpu->idle += time - pcpu->clock;
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
        idle_until(&core->pcpu[p], time);
    }
    core->window_end = time;
}

/* Every VCPU of @p that could run spins. */
static bool all_spin(const VschedCore *core, int p)
{
    for (int i = 0; i < core->topology.vcpus; i++) {
        const VschedVCPU *v = &core->vcpu[i];

        if (v->pcpu == p && v->state != VSCHED_BLOCKED && !v->spinning) {
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
 * another PCPU, which nobody tells of: the first skip is one window long, and
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
        if (core->vcpu[i].pcpu == p) {
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

/* The finalizer of MurmurHash3 */
static uint32_t mix(uint32_t h)
{
    h = (h ^ h >> 16) * 0x85ebca6b;
    h = (h ^ h >> 13) * 0xc2b2ae35;
    return h ^ h >> 16;
}

uint32_t vsched_core_draw(const VschedCore *core, int pcpu, int64_t time)
{
    return mix(mix(mix(core->seed + pcpu) ^ (uint32_t)time) ^ time >> 32);
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

/* Take what the policy picks; false if the PCPU is idle. */
static bool reschedule(VschedCore *core, int p)
{
    VschedPCPU *pcpu = &core->pcpu[p];
    VschedVCPU *v;
    VschedPick pick;

    pcpu->resched = false;
    if (pcpu->current != VSCHED_NONE) {
        make_ready(core, pcpu->current, pcpu->clock);
        pcpu->current = VSCHED_NONE;
    }
    pick = core->ops->pick(core->policy, p, pcpu->clock);
    if (pick.vcpu == VSCHED_NONE) {
        return false;
    }

    v = &core->vcpu[pick.vcpu];
    pcpu->current = pick.vcpu;
    v->pcpu = p;
    idle_until(pcpu, v->seen);
    if (pcpu->last != pick.vcpu) {
        set_state(v, VSCHED_SWITCHING, pcpu->clock);
        pcpu->clock += core->switch_cost;
        pcpu->switching += core->switch_cost;
        pcpu->switches++;
        v->switches++;
        pcpu->last = pick.vcpu;
        core->host->switched(core->opaque, p, pick.vcpu);
    }
    set_state(v, VSCHED_RUNNING, pcpu->clock);
    pick.timeslice -= vsched_core_slice_cut(core, p, pcpu->clock,
                                            pick.timeslice);
    pcpu->slice_end = pcpu->clock + first_timeslice(pcpu, pick.timeslice);
    return true;
}

/* It was sent something, at a time to which its PCPU has not come yet. */
static void catch_up(VschedPCPU *pcpu, VschedVCPU *v)
{
    if (v->seen > pcpu->clock) {
        set_state(v, VSCHED_READY, pcpu->clock);
        idle_until(pcpu, v->seen);
        set_state(v, VSCHED_RUNNING, pcpu->clock);
    }
}

/* vsched_core_cut() may move the end of the window at any time. */
static int64_t part_end(const VschedCore *core, int64_t until)
{
    return MIN(until, core->window_end);
}

/* Run @p until cycle @until, or the end of the window if that comes first. */
static void run_pcpu(VschedCore *core, int p, int64_t until)
{
    VschedPCPU *pcpu = &core->pcpu[p];

    core->running = p;
    while (pcpu->clock < part_end(core, until)) {
        int64_t used = 0, end;
        VschedVCPU *v;
        VschedStop stop;

        if (pcpu->clock < pcpu->skip_until) {
            skip_until(core, pcpu, MIN(pcpu->skip_until,
                                       part_end(core, until)));
            continue;
        }

        if ((pcpu->current == VSCHED_NONE || pcpu->resched) &&
            !reschedule(core, p)) {
            break;
        }
        if (pcpu->clock >= part_end(core, until)) {
            break;              /* the switch took the rest of it */
        }

        v = &core->vcpu[pcpu->current];
        catch_up(pcpu, v);
        end = MIN(part_end(core, until), pcpu->slice_end);
        stop = core->host->run(core->opaque, p, pcpu->current,
                               MAX(0, end - pcpu->clock),
                               core->ops->spin || core->skip,
                               &used);
        pcpu->clock += used;
        pcpu->busy += used;
        v->seen = pcpu->clock;

        switch (stop) {
        case VSCHED_STOP_BUDGET:
            if (part_end(core, until) < pcpu->slice_end) {
                return;         /* made up for in what follows */
            }
            v->preempted++;
            v->spinning = false;
            pcpu->resched = true;
            break;
        case VSCHED_STOP_SPIN:
            v->spinning = true;
            maybe_skip(core, p);
            if (core->ops->spin &&
                core->ops->spin(core->policy, p, pcpu->current,
                                pcpu->clock)) {
                v->yielded++;
                pcpu->resched = true;
            }
            break;
        case VSCHED_STOP_HALT:
            if (pcpu->current != VSCHED_NONE &&
                !core->host->runnable(core->opaque, pcpu->current)) {
                set_state(v, VSCHED_BLOCKED, pcpu->clock);
                pcpu->current = VSCHED_NONE;
            }
            break;
        case VSCHED_STOP_EXIT:
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

        if (skips(core, pcpu)) {
            *until = MIN(*until, boundary_before(core, pcpu->skip_until));
        } else if (pcpu->current != VSCHED_NONE ||
                   core->ops->waiting(core->policy, p)) {
            if (sole != VSCHED_NONE) {
                return VSCHED_NONE;
            }
            sole = p;
        }
    }
    return sole;
}

static int64_t boundary(const VschedCore *core, int64_t time)
{
    return (time + core->window - 1) / core->window * core->window;
}

void vsched_core_cut(VschedCore *core, int64_t now)
{
    int64_t start = core->window_end - core->window;

    if (core->running != VSCHED_NONE && now <= start) {
        core->window_end = MAX(boundary(core, now),
                               core->window_start + core->window);
    }
}

void vsched_core_window(VschedCore *core, int64_t horizon)
{
    int pcpus = core->topology.pcpus;
    int first = (core->rotation + core->window_end / core->window) % pcpus;
    int64_t last = core->window_end + WINDOWS_AT_ONCE * core->window;
    int sole = sole_pcpu(core, &horizon);
    int64_t split;

    core->window_start = core->window_end;
    core->window_end += core->window;
    if (sole != VSCHED_NONE && horizon > core->window_end) {
        core->window_end = horizon < last ? boundary(core, horizon) : last;
        first = sole;           /* it may still cut the window */
    }
    /* Nobody sees where the only PCPU stops. */
    split = sole == VSCHED_NONE ? vsched_core_split(core, core->window_end)
                                : core->window_end;
    if (split != core->window_end) {
        for (int i = 0; i < pcpus; i++) {
            run_pcpu(core, (first + i) % pcpus, split);
        }
    }
    for (int i = 0; i < pcpus; i++) {
        run_pcpu(core, (first + i) % pcpus, INT64_MAX);
    }
    for (int p = 0; p < pcpus; p++) {
        if (core->pcpu[p].current == VSCHED_NONE) {
            idle_until(&core->pcpu[p], core->window_end);
        }
    }
    core->running = VSCHED_NONE;
    core->windows += (core->window_end - core->window_start) / core->window;
}
