/*
 * The state of a core as data.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "state.h"

static uint64_t all_of(int pcpus)
{
    return UINT64_MAX >> (VSCHED_PCPUS_MAX - pcpus);
}

/* All that has no pointer in it. */
static void copy_numbers(const VschedCore *core, VschedCoreState *state)
{
    *state = (VschedCoreState) {
        .vcpus = core->topology.vcpus,
        .pcpus = core->topology.pcpus,
        .vms = core->topology.vms,
        .window = core->window,
        .window_end = core->window_end,
        .windows = core->windows,
        .turns = core->turns,
        .rotation = core->rotation,
        .seed = core->seed,
        .online = core->topology.online,
    };
}

VschedCoreState *vsched_state_new(const VschedCore *core)
{
    VschedCoreState *state = g_new(VschedCoreState, 1);

    copy_numbers(core, state);
    state->vm = g_memdup2(core->topology.vm, state->vcpus * sizeof(int));
    state->share = g_memdup2(core->topology.share,
                             state->vms * sizeof(VschedShare));
    state->vcpu = g_memdup2(core->vcpu, state->vcpus * sizeof(VschedVCPU));
    state->pcpu = g_memdup2(core->pcpu, state->pcpus * sizeof(VschedPCPU));
    return state;
}

void vsched_state_free(VschedCoreState *state)
{
    g_free(state->vm);
    g_free(state->share);
    g_free(state->vcpu);
    g_free(state->pcpu);
    g_free(state);
}

/* @v is in @next from cycle @now on. */
static void pass_to(VschedVCPU *v, VschedState next, int64_t now)
{
    if (now > v->since) {
        v->cycles[v->state] += now - v->since;
        if (v->state == VSCHED_RUNNING) {
            v->ran_on[v->pcpu] += now - v->since;
        }
        v->since = now;
    }
    v->state = next;
}

/* The VCPU on @pcpu has to go, and waits from the PCPU's clock on. */
static void displace(VschedPCPU *pcpu, VschedVCPU *vcpu, uint64_t *turns)
{
    VschedVCPU *v;

    if (pcpu->current == VSCHED_NONE) {
        return;
    }
    v = &vcpu[pcpu->current];
    pass_to(v, VSCHED_READY, pcpu->clock);
    v->seen = MAX(v->seen, pcpu->clock);
    v->evicted++;
    v->turn = (*turns)++;
    pcpu->current = VSCHED_NONE;
    pcpu->resched = VSCHED_WHY_NONE;
}

/* The clock of a PCPU that remains moves to @time. */
static void move_clock(VschedPCPU *pcpu, VschedVCPU *vcpu, bool online,
                       int64_t time)
{
    int64_t cycles = time - pcpu->clock;

    if (pcpu->current != VSCHED_NONE) {
        VschedVCPU *v = &vcpu[pcpu->current];

        pass_to(v, VSCHED_READY, pcpu->clock);
        pass_to(v, VSCHED_RUNNING, time);
        v->seen = time;
        pcpu->slice_start += cycles;
        pcpu->slice_end += cycles;
    }
    *(online ? &pcpu->idle : &pcpu->offline) += cycles;
    pcpu->clock = time;
    pcpu->skip_until = pcpu->skip_step = 0;
}

void vsched_state_convert(VschedCoreState *st, int pcpus, int64_t window)
{
    int64_t time = st->window_end;
    uint64_t all = all_of(st->pcpus);

    if (pcpus == st->pcpus && window == st->window) {
        return;
    }
    for (int p = 0; p < st->pcpus; p++) {
        time = MAX(time, st->pcpu[p].clock);
    }
    time = (time + window - 1) / window * window;
    for (int p = 0; p < st->pcpus; p++) {
        if (p < pcpus) {
            move_clock(&st->pcpu[p], st->vcpu, st->online >> p & 1, time);
        } else {
            displace(&st->pcpu[p], st->vcpu, &st->turns);
        }
    }
    st->pcpu = g_renew(VschedPCPU, st->pcpu, pcpus);
    for (int p = st->pcpus; p < pcpus; p++) {
        st->pcpu[p] = (VschedPCPU) {
            .clock = time,
            .idle = time,
            .speed = { 1, 1 },
            .current = VSCHED_NONE,
            .last = VSCHED_NONE,
            .phase = UINT32_MAX,
        };
    }
    for (int i = 0; i < st->vcpus; i++) {
        VschedVCPU *v = &st->vcpu[i];

        for (int p = pcpus; p < st->pcpus; p++) {
            v->ran_on[p] = 0;
        }
        if (v->pcpu >= pcpus) {
            v->pcpu = i % pcpus;
        }
        if (v->holder >= pcpus) {
            v->holder = VSCHED_NONE;
        }
        if (v->moving >= pcpus) {
            v->moving = VSCHED_NONE;
        }
        if (v->affinity == all) {
            v->affinity = all_of(pcpus);
        }
    }
    st->online = (st->online | (all_of(pcpus) & ~all)) & all_of(pcpus);
    st->rotation %= pcpus;
    st->window_end = time;
    st->window = window;
    st->pcpus = pcpus;
}

/*
 * ------------------------------------------------------------------------
 * Whether it can be.
 */

static bool within(int64_t value, int64_t from, int64_t to)
{
    return value >= from && value <= to;
}

/*
 * Nothing, be it a stall, a switch, a timeslice or a skip, is so far ahead of
 * the windows, or a block so long.
 */
#define FAR_AHEAD   (INT64_C(1) << 40)
#define LONG_BLOCK  (INT64_C(1) << 20)

static bool pcpu_possible(const VschedCoreState *st, int p)
{
    const VschedPCPU *pcpu = &st->pcpu[p];
    const VschedSpeed *speed = &pcpu->speed;
    int64_t latest = st->window_end + FAR_AHEAD;

    if (!within(pcpu->current, VSCHED_NONE, st->vcpus - 1) ||
        !within(pcpu->last, VSCHED_NONE, st->vcpus - 1) ||
        pcpu->resched >= VSCHED_WHYS) {
        return false;
    }
    if (!within(pcpu->clock, MAX(0, st->window_end - LONG_BLOCK), latest) ||
        !within(pcpu->slice_start, 0, latest) ||
        !within(pcpu->slice_end, 0, latest) ||
        !within(pcpu->ran, 0, pcpu->clock) ||
        !within(pcpu->skip_until, 0, latest) ||
        !within(pcpu->skip_step, 0, FAR_AHEAD)) {
        return false;
    }
    if (pcpu->current != VSCHED_NONE &&
        (st->vcpu[pcpu->current].state != VSCHED_RUNNING ||
         st->vcpu[pcpu->current].pcpu != p || pcpu->last != pcpu->current)) {
        return false;
    }
    if (speed->insns < 1 || speed->insns > speed->cycles ||
        speed->cycles > VSCHED_SPEED_MAX || speed->carry >= speed->insns) {
        return false;
    }
    return within(pcpu->busy, 0, pcpu->clock) &&
           within(pcpu->stalled, 0, pcpu->clock) &&
           within(pcpu->switching, 0, pcpu->clock) &&
           within(pcpu->idle, 0, pcpu->clock) &&
           within(pcpu->skipped, 0, pcpu->clock) &&
           within(pcpu->offline, 0, pcpu->clock) &&
           pcpu->busy + pcpu->stalled + pcpu->switching + pcpu->idle +
           pcpu->skipped + pcpu->offline == pcpu->clock;
}

static bool vcpu_possible(const VschedCoreState *st, int i)
{
    const VschedVCPU *v = &st->vcpu[i];
    int64_t latest = st->window_end + FAR_AHEAD, sum = 0;

    if (v->state >= VSCHED_SWITCHING || !within(v->pcpu, 0, st->pcpus - 1) ||
        !within(v->holder, VSCHED_NONE, st->pcpus - 1) ||
        !within(v->moving, VSCHED_NONE, st->pcpus - 1) ||
        (v->state == VSCHED_RUNNING && st->pcpu[v->pcpu].current != i)) {
        return false;
    }
    for (int s = 0; s < VSCHED_STATES; s++) {
        if (!within(v->cycles[s], 0, latest)) {
            return false;
        }
        sum += v->cycles[s];
    }
    for (int p = 0; p < VSCHED_PCPUS_MAX; p++) {
        if (!within(v->ran_on[p], 0,
                    p < st->pcpus ? v->cycles[VSCHED_RUNNING] : 0)) {
            return false;
        }
    }
    return sum == v->since && within(v->seen, 0, latest) &&
           within(v->since, 0, latest) && within(v->spin_cycles, 0, latest) &&
           within(v->longest_wait, 0, v->cycles[VSCHED_READY]) &&
           v->turn < st->turns + !st->turns;
}

bool vsched_state_possible(const VschedCoreState *st, char **why)
{
    bool ok = within(st->window_end, 0, VSCHED_LATEST) &&
              !(st->window_end % st->window);

    for (int p = 0; ok && p < st->pcpus; p++) {
        ok &= pcpu_possible(st, p);
    }
    for (int v = 0; ok && v < st->vcpus; v++) {
        ok &= vcpu_possible(st, v);
    }
    if (!ok) {
        *why = g_strdup("its clocks and run states contradict each other");
    }
    return ok;
}

static bool possible(const VschedCore *core, const VschedCoreState *st,
                     char **why)
{
    const VschedTopology *t = &core->topology;
    g_assert(st->pcpus == t->pcpus && st->window == core->window);
    if (st->vcpus != t->vcpus || st->vms != t->vms ||
        memcmp(st->vm, t->vm, t->vcpus * sizeof(int))) {
        *why = g_strdup("it was saved with other VCPUs or VMs; vcpus= and vms="
                        " have to be the same");
        return false;
    }
    if (!vsched_state_possible(st, why)) {
        return false;
    }
    for (int v = 0; v < st->vcpus; v++) {
        uint64_t mask = st->vcpu[v].affinity;

        if (!mask || mask & ~all_of(st->pcpus)) {
            *why = g_strdup_printf("the affinity mask of VCPU %d, 0x%"
                                   G_GINT64_MODIFIER "x, names a PCPU that "
                                   "this machine has not; affinity= gives it "
                                   "anew", v, mask);
            return false;
        }
    }
    if (!st->online || st->online & ~all_of(st->pcpus)) {
        *why = g_strdup("no PCPU of this machine is on in it; offline= says "
                        "anew which are off");
        return false;
    }
    for (int i = 0; i < st->vms; i++) {
        if (st->share[i].weight < 1 ||
            st->share[i].weight > VSCHED_WEIGHT_MAX ||
            st->share[i].cap > 100 * st->pcpus) {
            *why = g_strdup_printf("the weight or cap of VM %d is not possible "
                                   "here; weights= and caps= give them anew",
                                   i);
            return false;
        }
    }
    return true;
}

/*
 * ------------------------------------------------------------------------
 * Loading.
 */

static void put(VschedCore *core, const VschedCoreState *st)
{
    VschedTopology *t = &core->topology;

    core->window_end = st->window_end;
    core->windows = st->windows;
    core->turns = st->turns;
    core->rotation = st->rotation;
    core->seed = st->seed;
    t->online = st->online;
    memcpy(t->share, st->share, st->vms * sizeof(VschedShare));
    memcpy(core->vcpu, st->vcpu, st->vcpus * sizeof(VschedVCPU));
    memcpy(core->pcpu, st->pcpu, st->pcpus * sizeof(VschedPCPU));
    core->moves = 0;
    for (int v = 0; v < st->vcpus; v++) {
        t->allowed[v] = vsched_core_allowed(&st->vcpu[v], st->online);
        core->moves += st->vcpu[v].moving != VSCHED_NONE;
    }
}

bool vsched_state_load(VschedCore *core, const VschedCoreState *state,
                       const VschedPolicyOps *ops, const int64_t *values,
                       const int64_t *words, int n, bool same, char **why)
{
    VschedCoreState *before;
    bool ok;

    if (!possible(core, state, why)) {
        return false;
    }
    before = vsched_state_new(core);
    put(core, state);
    for (int p = 0; p < core->topology.pcpus; p++) {
        VschedPCPU *pcpu = &core->pcpu[p];
        bool online = core->topology.online >> p & 1;

        if (pcpu->current != VSCHED_NONE &&
            !(core->topology.allowed[pcpu->current] >> p & 1)) {
            displace(pcpu, core->vcpu, &core->turns);
            same = false;
            n = -1;
        }
        if (!online && pcpu->last != VSCHED_NONE) {
            core->vcpu[pcpu->last].holder = VSCHED_NONE;
            pcpu->last = VSCHED_NONE;
        }
    }
    ok = vsched_core_load_policy(core, ops, values, words, n, same, why);
    if (!ok) {
        put(core, before);
    }
    vsched_state_free(before);
    return ok;
}
