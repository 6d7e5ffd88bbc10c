/*
 * Policy "partition": PCPUs are divided among the VMs.
 *
 * "Logical partitioning" (Wells et al., PACT 2006, section 6.2): "we distribute
 * PCPUs among guest VMs, and only execute a subset of each VM's VCPUs at a
 * time".  A VM has a part of the PCPUs for itself, so that its VCPUs find in
 * caches and TLBs what they have in common, and no other VM can evict it.  A
 * part is overcommitted, which the spin detection buffer makes bearable: inside
 * a part VCPUs take turns as under policy "sdb".  Number i of the VCPUs of a VM
 * belongs to PCPU number i mod n of the n PCPUs of its part, and a spin ends
 * its timeslice if another waits there.
 *
 * The paper divides 8 PCPUs evenly between two VMs.  Ours:
 *
 * - Each VM has one PCPU; each further PCPU goes to the VM with the greatest
 *   weight / (2 s + 1), s being the PCPUs that it has by then (the divisor
 *   method of Sainte-Lague), the lowest VM among equals.  A VM with as many
 *   PCPUs as VCPUs gets no more as long as another one has fewer.
 * - With more VMs than PCPUs, a part is one PCPU that some VMs share: by
 *   descending weight, each VM joins the part with the least weight so far.
 *   VCPUs of such a part take turns, whatever their VM.
 * - When PCPUs go off or on or weights change, PCPUs are divided anew, and as
 *   many as possible stay with their VM.
 * - An affinity mask wins over the partition: a VCPU whose mask leaves no PCPU
 *   of its part belongs to number i mod n of the n PCPUs of the mask, and takes
 *   turns with those of the VM whose part this is.  Nobody else ever runs
 *   outside of its part: who does when PCPUs are divided anew is preempted.
 *
 * "Simple extensions to this policy, for example to allow dynamic load
 * balancing, might make it appropriate for a wider range of application
 * domains", says the paper.  Ours, off by default: every `balance`, the part
 * whose PCPUs idled most gives one to the part whose VCPUs waited most, if
 *
 * - the PCPUs of the first were idle for as long as one PCPU in all, and it has
 *   two or more; the one that idled most goes,
 * - VCPUs waited for the second for as long as one VCPU in all, and it has
 *   fewer PCPUs than VCPUs.
 *
 * Longest wait, with m VCPUs that belong to one PCPU, V in all, timeslices of S
 * cycles, a switch cost of C and windows of W: as under "sdb",
 * (m - 1) * S + m * C + W.  With a balance of B, PCPUs may move while a VCPU
 * waits.  It takes its place in its new queue by the time since which it waits,
 * so only those that have waited longer are before it, V - 1 at most:
 *
 * - L = (V - 1) * (S + C + W) + C + W is enough for its turn to come if nothing
 *   moves, a window each being for VCPUs that come from PCPUs that are ahead.
 *   If B >= L, something moves at most once: 2 * L.
 * - If S + C + W <= B < L, whoever is at the head of its queue has its turn
 *   between two moves, so that each period takes one from before it:
 *   (V + 1) * (B + W) + C + 2 * W.
 * - If B < S + C + W, which takes a switch or a window as long as a timeslice,
 *   there is no bound: it may come to a PCPU that has just begun a timeslice
 *   again and again.  Yet it never falls behind one that has waited less.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "queues.h"

static const VschedParameter partition_parameters[] = {
    {
        .name = "slice",
        .description = "timeslice of a VCPU",
        .unit = VSCHED_TIME,
        .minimum = 10 * 1000,           /* 10 us */
        .maximum = 1000 * 1000 * 1000,  /* 1 s */
        .value = 100 * 1000,            /* 100 us, section 6.3 of the paper */
    },
    {
        .name = "balance",
        .description = "time after which a PCPU may move to another VM; "
                       "0: none does",
        .unit = VSCHED_TIME,
        .minimum = 0,
        .maximum = 10 * 1000ull * 1000 * 1000,  /* 10 s */
        .value = 0,
    },
    { }
};

#define NOT_MEASURED (-1)

/* No clock gets there in a life time, nor does a sum over all VCPUs. */
#define LATEST (INT64_C(1) << 56)

typedef struct Partition {
    const VschedServices *services;
    const VschedTopology *topology;
    int64_t timeslice;          /* cycles */
    int64_t balance;            /* cycles, 0: off */
    VschedQueues queues;        /* of each PCPU */
    /* of each VCPU */
    int *number;                /* among those of its VM */
    int *home;                  /* PCPU that it belongs to */
    /* of each VM */
    int *vcpus;                 /* how many it has */
    int *part;                  /* that is its own, or that it shares */
    uint32_t *weight;           /* as it was when PCPUs were divided */
    /* of each part */
    int parts;
    uint64_t *mask;             /* its PCPUs */
    int64_t *waited;            /* cycles that VCPUs did, since measured_from */
    /* of each PCPU */
    int *runs;                  /* VCPU that runs on it, or VSCHED_NONE */
    int64_t *stopped;           /* cycle at which the last one did no more */
    int64_t *idled;             /* cycles, since measured_from */
    uint64_t online;            /* PCPUs that were divided */
    int64_t measured_from;      /* cycle, or NOT_MEASURED */
} Partition;

/*
 * ------------------------------------------------------------------------
 * Who has which PCPUs.
 */

/* VM @a, which has size[a] PCPUs, is to have the next one rather than @b. */
static bool goes_first(const Partition *p, const int *size, int a, int b)
{
    return p->weight[a] * (2 * size[b] + 1ull) >
           p->weight[b] * (2 * size[a] + 1ull);
}

/* The VM that has the next PCPU; not one that has @enough, unless all have. */
static int next_vm(const Partition *p, const int *size, bool enough)
{
    int best = VSCHED_NONE;

    for (int i = 0; i < p->topology->vms; i++) {
        if ((enough || size[i] < p->vcpus[i]) &&
            (best == VSCHED_NONE || goes_first(p, size, i, best))) {
            best = i;
        }
    }
    return best == VSCHED_NONE ? next_vm(p, size, true) : best;
}

/* @pcpus PCPUs among the VMs, of which there are no more: Sainte-Lague. */
static void divide_pcpus(Partition *p, int pcpus, int *size)
{
    int vms = p->topology->vms;

    for (int i = 0; i < vms; i++) {
        p->part[i] = i;
        size[i] = 1;
    }
    for (int left = pcpus - vms; left; left--) {
        size[next_vm(p, size, false)]++;
    }
}

/* The heaviest VM that is in no part as yet. */
static int heaviest_vm(const Partition *p)
{
    int best = VSCHED_NONE;

    for (int i = 0; i < p->topology->vms; i++) {
        if (p->part[i] == VSCHED_NONE &&
            (best == VSCHED_NONE || p->weight[i] > p->weight[best])) {
            best = i;
        }
    }
    return best;
}

/* The VMs, of which there are more, among @pcpus PCPUs. */
static void share_pcpus(Partition *p, int pcpus, int *size)
{
    g_autofree int64_t *sum = g_new0(int64_t, pcpus);
    int vm;

    for (int i = 0; i < p->topology->vms; i++) {
        p->part[i] = VSCHED_NONE;
    }
    while ((vm = heaviest_vm(p)) != VSCHED_NONE) {
        int lightest = 0;

        for (int i = 1; i < pcpus; i++) {
            if (sum[i] < sum[lightest]) {
                lightest = i;
            }
        }
        p->part[vm] = lightest;
        sum[lightest] += p->weight[vm];
    }
    for (int i = 0; i < pcpus; i++) {
        size[i] = 1;
    }
}

/* The lowest @n bits that are set in @mask, or all if there are fewer. */
static uint64_t lowest_bits(uint64_t mask, int n)
{
    uint64_t bits = 0;

    for (; mask && n; n--, mask &= mask - 1) {
        bits |= mask & -mask;
    }
    return bits;
}

/* All PCPUs that are on, by weight; who had a part keeps what he can of it. */
static void divide(Partition *p)
{
    const VschedTopology *topology = p->topology;
    int pcpus = __builtin_popcountll(topology->online);
    bool own = topology->vms <= pcpus, keep = own && p->parts == topology->vms;
    uint64_t left = topology->online;
    g_autofree int *size = g_new(int, topology->vms);

    p->online = topology->online;
    for (int i = 0; i < topology->vms; i++) {
        p->weight[i] = topology->share[i].weight;
    }
    if (own) {
        divide_pcpus(p, pcpus, size);
    } else {
        share_pcpus(p, pcpus, size);
    }
    p->parts = own ? topology->vms : pcpus;
    for (int i = 0; i < p->parts; i++) {
        p->mask[i] = keep ? lowest_bits(p->mask[i] & p->online, size[i]) : 0;
        left &= ~p->mask[i];
    }
    for (int i = 0; i < p->parts; i++) {
        uint64_t more = lowest_bits(left, size[i] -
                                    __builtin_popcountll(p->mask[i]));

        p->mask[i] |= more;
        left &= ~more;
    }
    p->measured_from = NOT_MEASURED;
}

static int part_of_pcpu(const Partition *p, int pcpu)
{
    int part = 0;

    while (!(p->mask[part] >> pcpu & 1)) {
        part++;
    }
    return part;
}

/* The PCPUs that @vcpu may run on: of its part, unless its mask forbids all. */
static uint64_t may_run_on(const Partition *p, int vcpu)
{
    uint64_t allowed = p->topology->allowed[vcpu];
    uint64_t mask = p->mask[p->part[p->topology->vm[vcpu]]];

    return allowed & mask ?: allowed;
}

/* Everybody belongs to a PCPU; those that wait go there. */
static void find_homes(Partition *p)
{
    for (int v = 0; v < p->topology->vcpus; v++) {
        uint64_t mask = may_run_on(p, v);

        for (int n = p->number[v] % __builtin_popcountll(mask); n; n--) {
            mask &= mask - 1;
        }
        p->home[v] = __builtin_ctzll(mask);
        if (p->queues.in[v] != VSCHED_NONE && p->queues.in[v] != p->home[v]) {
            vsched_queues_move(&p->queues, v, p->home[v]);
        }
    }
}

/* Nobody runs outside of his part. */
static void clear_parts(Partition *p)
{
    for (int pcpu = 0; pcpu < p->topology->pcpus; pcpu++) {
        int v = p->runs[pcpu];

        if (v != VSCHED_NONE && !(may_run_on(p, v) >> pcpu & 1)) {
            p->services->preempt(p->services->engine, pcpu);
        }
    }
}

/*
 * ------------------------------------------------------------------------
 * Creation.
 */

static bool possible(const int64_t *values, char **why)
{
    if (values[1] && values[1] < 2 * values[0]) {
        *why = g_strdup_printf("a balance of %" G_GINT64_FORMAT " cycles is "
                               "shorter than two timeslices of %"
                               G_GINT64_FORMAT " cycles", values[1],
                               values[0]);
        return false;
    }
    return true;
}

static void *partition_create(const VschedServices *services,
                              const int64_t *values, char **why)
{
    const VschedTopology *topology = services->topology;
    Partition *p;

    if (!possible(values, why)) {
        return NULL;
    }
    p = g_new0(Partition, 1);
    p->services = services;
    p->topology = topology;
    p->timeslice = values[0];
    p->balance = values[1];
    vsched_queues_init(&p->queues, topology->vcpus, topology->pcpus);
    p->number = g_new(int, topology->vcpus);
    p->home = g_new(int, topology->vcpus);
    p->vcpus = g_new0(int, topology->vms);
    p->part = g_new(int, topology->vms);
    p->weight = g_new(uint32_t, topology->vms);
    p->mask = g_new0(uint64_t, topology->vms);
    p->waited = g_new0(int64_t, topology->vms);
    p->runs = g_new(int, topology->pcpus);
    p->stopped = g_new0(int64_t, topology->pcpus);
    p->idled = g_new0(int64_t, topology->pcpus);
    for (int v = 0; v < topology->vcpus; v++) {
        p->number[v] = p->vcpus[topology->vm[v]]++;
    }
    for (int pcpu = 0; pcpu < topology->pcpus; pcpu++) {
        p->runs[pcpu] = VSCHED_NONE;
    }
    divide(p);
    find_homes(p);
    return p;
}

static void partition_destroy(void *policy)
{
    Partition *p = policy;

    vsched_queues_clear(&p->queues);
    g_free(p->number);
    g_free(p->home);
    g_free(p->vcpus);
    g_free(p->part);
    g_free(p->weight);
    g_free(p->mask);
    g_free(p->waited);
    g_free(p->runs);
    g_free(p->stopped);
    g_free(p->idled);
    g_free(p);
}

static bool partition_set(void *policy, const int64_t *values, char **why)
{
    Partition *p = policy;

    if (!possible(values, why)) {
        return false;
    }
    p->timeslice = values[0];
    p->balance = values[1];
    return true;
}

/*
 * ------------------------------------------------------------------------
 * Balance between parts.
 */

/* The cycles from @from to @now that are to be measured. */
static int64_t measured(const Partition *p, int64_t from, int64_t now)
{
    return p->measured_from == NOT_MEASURED ? 0 :
           MAX(0, now - MAX(from, p->measured_from));
}

/* @vcpu has waited until @now, for the part that its PCPU is of. */
static void account_wait(Partition *p, int vcpu, int64_t now)
{
    int part = part_of_pcpu(p, p->queues.in[vcpu]);

    p->waited[part] += measured(p, p->queues.since[vcpu], now);
}

/* Those that wait and PCPUs that idle go on doing so. */
static void account_all(Partition *p, int64_t now)
{
    for (int v = 0; v < p->topology->vcpus; v++) {
        if (p->queues.in[v] != VSCHED_NONE) {
            account_wait(p, v, now);
        }
    }
    for (int pcpu = 0; pcpu < p->topology->pcpus; pcpu++) {
        if (p->online >> pcpu & 1 && p->runs[pcpu] == VSCHED_NONE) {
            p->idled[pcpu] += measured(p, p->stopped[pcpu], now);
        }
    }
}

/* The PCPU of @part that idled most; *@sum: all of them. */
static int idlest_pcpu(const Partition *p, int part, int64_t *sum)
{
    int best = VSCHED_NONE;

    *sum = 0;
    for (int pcpu = 0; pcpu < p->topology->pcpus; pcpu++) {
        if (p->mask[part] >> pcpu & 1) {
            *sum += p->idled[pcpu];
            if (best == VSCHED_NONE || p->idled[pcpu] > p->idled[best]) {
                best = pcpu;
            }
        }
    }
    return best;
}

/* After @elapsed cycles, a PCPU moves where it is needed more. */
static void balance_parts(Partition *p, int64_t elapsed)
{
    int64_t most_idle = elapsed - 1, most_waiting = elapsed - 1;
    int giver = VSCHED_NONE, taker = VSCHED_NONE, pcpu = VSCHED_NONE;

    /* A part that is shared has one PCPU, so it is the part of VM i. */
    for (int i = 0; i < p->parts; i++) {
        int size = __builtin_popcountll(p->mask[i]);
        int64_t idle;
        int idlest = idlest_pcpu(p, i, &idle);

        if (size > 1 && idle > most_idle) {
            most_idle = idle;
            giver = i;
            pcpu = idlest;
        }
        if (size < p->vcpus[i] && p->waited[i] > most_waiting) {
            most_waiting = p->waited[i];
            taker = i;
        }
    }
    if (giver == VSCHED_NONE || taker == VSCHED_NONE || giver == taker) {
        return;
    }
    p->mask[giver] &= ~(1ull << pcpu);
    p->mask[taker] |= 1ull << pcpu;
    find_homes(p);
    clear_parts(p);
}

static int64_t partition_next_tick(void *policy)
{
    Partition *p = policy;

    if (!p->balance) {
        return INT64_MAX;
    }
    return p->measured_from == NOT_MEASURED ? 0 :
           p->measured_from + p->balance;
}

static void partition_tick(void *policy, int64_t now)
{
    Partition *p = policy;

    if (p->measured_from != NOT_MEASURED) {
        account_all(p, now);
        balance_parts(p, now - p->measured_from);
    }
    memset(p->waited, 0, p->topology->vms * sizeof(*p->waited));
    memset(p->idled, 0, p->topology->pcpus * sizeof(*p->idled));
    p->measured_from = now;
}

/*
 * ------------------------------------------------------------------------
 * Turns inside a part, as under "sdb".
 */

static int partition_place(void *policy, int vcpu)
{
    Partition *p = policy;

    return p->home[vcpu];
}

static void partition_enqueue(void *policy, int vcpu, VschedWhy why,
                              int64_t since, int64_t now)
{
    Partition *p = policy;

    vsched_queues_append(&p->queues, p->home[vcpu], vcpu, since);
}

static void partition_dequeue(void *policy, int vcpu, int64_t now)
{
    Partition *p = policy;

    account_wait(p, vcpu, now);
    vsched_queues_remove(&p->queues, vcpu);
}

static VschedPick partition_pick(void *policy, int pcpu, int64_t now)
{
    Partition *p = policy;
    VschedPick pick = {
        .vcpu = p->queues.head[pcpu],
        .timeslice = p->timeslice,
    };

    if (pick.vcpu != VSCHED_NONE) {
        partition_dequeue(p, pick.vcpu, now);
        p->idled[pcpu] += measured(p, p->stopped[pcpu], now);
        p->runs[pcpu] = pick.vcpu;
    }
    return pick;
}

static bool partition_waiting(void *policy, int pcpu, int64_t now)
{
    Partition *p = policy;

    return p->queues.head[pcpu] != VSCHED_NONE;
}

static VschedPick partition_take_over(void *policy, int pcpu, int vcpu,
                                      int64_t used, int64_t now)
{
    Partition *p = policy;

    p->runs[pcpu] = vcpu;
    return (VschedPick) {
        .vcpu = vcpu,
        .timeslice = may_run_on(p, vcpu) >> pcpu & 1 ? p->timeslice : 0,
    };
}

static void partition_stop(void *policy, int pcpu, int vcpu, int64_t ran,
                           VschedWhy why, int64_t now)
{
    Partition *p = policy;

    p->runs[pcpu] = VSCHED_NONE;
    p->stopped[pcpu] = now;
}

static bool partition_hint(void *policy, const VschedHint *hint)
{
    return partition_waiting(policy, hint->pcpu, hint->now);
}

static void partition_changed(void *policy, int64_t now)
{
    Partition *p = policy;
    bool anew = p->online != p->topology->online;

    for (int i = 0; i < p->topology->vms; i++) {
        anew |= p->weight[i] != p->topology->share[i].weight;
    }
    if (anew) {
        divide(p);
    }
    find_homes(p);
    clear_parts(p);
}

/*
 * ------------------------------------------------------------------------
 * Saved states.
 */

/* Who has which PCPUs; what was measured; the queues. */
static void partition_save(void *policy, GArray *words)
{
    Partition *p = policy;

    g_array_append_vals(words, p->mask, p->parts);
    g_array_append_vals(words, p->waited, p->parts);
    g_array_append_vals(words, p->stopped, p->topology->pcpus);
    g_array_append_vals(words, p->idled, p->topology->pcpus);
    g_array_append_val(words, p->measured_from);
    vsched_queues_save(&p->queues, words);
}

/* Each PCPU that is on is of one part, and each part has one or more. */
static bool possible_masks(const Partition *p, const int64_t *masks)
{
    uint64_t all = 0;

    for (int i = 0; i < p->parts; i++) {
        uint64_t mask = masks[i];

        if (!mask || all & mask ||
            (p->parts < p->topology->vms && mask & (mask - 1))) {
            return false;
        }
        all |= mask;
    }
    return all == p->online;
}

static bool partition_load(void *policy, const int64_t *words, int n)
{
    Partition *p = policy;
    int pcpus = p->topology->pcpus, fixed = 2 * p->parts + 2 * pcpus + 1;

    if (n < fixed || !possible_masks(p, words)) {
        return false;
    }
    for (int i = p->parts; i < fixed; i++) {
        if (words[i] < (i == fixed - 1 ? NOT_MEASURED : 0) ||
            words[i] > LATEST) {
            return false;
        }
    }
    memcpy(p->mask, words, p->parts * sizeof(*words));
    memcpy(p->waited, words += p->parts, p->parts * sizeof(*words));
    memcpy(p->stopped, words += p->parts, pcpus * sizeof(*words));
    memcpy(p->idled, words += pcpus, pcpus * sizeof(*words));
    words += pcpus;
    p->measured_from = *words++;
    find_homes(p);
    if (vsched_queues_load(&p->queues, words, n - fixed) != n - fixed) {
        return false;
    }
    for (int v = 0; v < p->topology->vcpus; v++) {
        if (p->queues.in[v] != VSCHED_NONE && p->queues.in[v] != p->home[v]) {
            return false;
        }
    }
    return true;
}

static int64_t partition_longest_wait(void *policy, int64_t switch_cost,
                                      int64_t window)
{
    Partition *p = policy;
    int64_t turn = p->timeslice + switch_cost + window;
    int64_t all = (p->topology->vcpus - 1) * turn + switch_cost + window;
    g_autofree int *belong = g_new0(int, p->topology->pcpus);
    int most = 0;

    for (int v = 0; v < p->topology->vcpus; v++) {
        belong[p->home[v]]++;
        most = MAX(most, belong[p->home[v]]);
    }
    if (!p->balance) {
        return (most - 1) * p->timeslice + most * switch_cost + window;
    }
    if (p->balance >= all) {
        return 2 * all;
    }
    return p->balance < turn ? INT64_MAX :
           (p->topology->vcpus + 1) * (p->balance + window) + switch_cost +
           2 * window;
}

const VschedPolicyOps vsched_policy_partition = {
    .name = "partition",
    .description = "each VM has PCPUs for itself; a spin ends the timeslice",
    .parameters = partition_parameters,
    .hints = VSCHED_LISTEN(VSCHED_HINT_SPIN),
    .create = partition_create,
    .destroy = partition_destroy,
    .set = partition_set,
    .place = partition_place,
    .enqueue = partition_enqueue,
    .dequeue = partition_dequeue,
    .pick = partition_pick,
    .waiting = partition_waiting,
    .take_over = partition_take_over,
    .stop = partition_stop,
    .next_tick = partition_next_tick,
    .tick = partition_tick,
    .changed = partition_changed,
    .hint = partition_hint,
    .save = partition_save,
    .load = partition_load,
    .longest_wait = partition_longest_wait,
};
