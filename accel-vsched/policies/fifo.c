/*
 * Static map with one FIFO a PCPU.
 *
 * "To maintain cache and TLB affinity, we assume that three VCPUs are
 * statically mapped to a given PCPU" (Wells et al., PACT 2006, section 2.2.3):
 * VCPU i belongs to PCPU i mod P.  The VCPUs of a PCPU take turns, first come
 * first served.
 *
 * The paper has neither affinity masks nor PCPUs that are off.  Ours: of the n
 * PCPUs that VCPU i may run on now, it belongs to number i mod n, so that the
 * map is the paper's where all PCPUs are on and nothing is forbidden.  When
 * this changes, a VCPU that waits goes to its new PCPU and stands there in
 * front of all that have waited less.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "fifo.h"

const VschedParameter vsched_fifo_parameters[] = {
    {
        .name = "slice",
        .description = "timeslice of a VCPU",
        .unit = VSCHED_TIME,
        .minimum = 10 * 1000,           /* 10 us */
        .maximum = 1000 * 1000 * 1000,  /* 1 s */
        .value = 100 * 1000,            /* 100 us, section 5.2 of the paper */
    },
    { }
};

/* Number @n of the bits that are set in @mask, the lowest being number 0. */
static int nth_bit(uint64_t mask, int n)
{
    while (n--) {
        mask &= mask - 1;
    }
    return __builtin_ctzll(mask);
}

int vsched_fifo_home(const VschedTopology *topology, int vcpu)
{
    uint64_t allowed = topology->allowed[vcpu];

    return nth_bit(allowed, vcpu % __builtin_popcountll(allowed));
}

void *vsched_fifo_create(const VschedServices *services,
                         const int64_t *values, char **why)
{
    const VschedTopology *topology = services->topology;
    VschedFifo *fifo = g_new0(VschedFifo, 1);

    fifo->topology = topology;
    fifo->timeslice = values[0];
    fifo->home = g_new(int, topology->vcpus);
    vsched_queues_init(&fifo->queues, topology->vcpus, topology->pcpus);
    for (int v = 0; v < topology->vcpus; v++) {
        fifo->home[v] = vsched_fifo_home(topology, v);
    }
    return fifo;
}

void vsched_fifo_destroy(void *policy)
{
    VschedFifo *fifo = policy;

    vsched_queues_clear(&fifo->queues);
    g_free(fifo->home);
    g_free(fifo);
}

bool vsched_fifo_set(void *policy, const int64_t *values, char **why)
{
    VschedFifo *fifo = policy;

    fifo->timeslice = values[0];
    return true;
}

int vsched_fifo_place(void *policy, int vcpu)
{
    VschedFifo *fifo = policy;

    return fifo->home[vcpu];
}

void vsched_fifo_enqueue(void *policy, int vcpu, VschedWhy why, int64_t since,
                         int64_t now)
{
    VschedFifo *fifo = policy;

    vsched_queues_append(&fifo->queues, fifo->home[vcpu], vcpu, since);
}

void vsched_fifo_dequeue(void *policy, int vcpu, int64_t now)
{
    VschedFifo *fifo = policy;

    vsched_queues_remove(&fifo->queues, vcpu);
}

VschedPick vsched_fifo_pick(void *policy, int pcpu, int64_t now)
{
    VschedFifo *fifo = policy;
    VschedPick pick = {
        .vcpu = fifo->queues.head[pcpu],
        .timeslice = fifo->timeslice,
    };

    if (pick.vcpu != VSCHED_NONE) {
        vsched_queues_remove(&fifo->queues, pick.vcpu);
    }
    return pick;
}

bool vsched_fifo_waiting(void *policy, int pcpu, int64_t now)
{
    VschedFifo *fifo = policy;

    return fifo->queues.head[pcpu] != VSCHED_NONE;
}

VschedPick vsched_fifo_take_over(void *policy, int pcpu, int vcpu,
                                 int64_t used, int64_t now)
{
    VschedFifo *fifo = policy;

    return (VschedPick) {
        .vcpu = vcpu,
        .timeslice = fifo->home[vcpu] == pcpu ? fifo->timeslice : 0,
    };
}

/* One that waits stands in front of all that have waited less. */
void vsched_fifo_changed(void *policy, int64_t now)
{
    VschedFifo *fifo = policy;

    for (int v = 0; v < fifo->topology->vcpus; v++) {
        int home = vsched_fifo_home(fifo->topology, v);

        if (home == fifo->home[v]) {
            continue;
        }
        fifo->home[v] = home;
        if (fifo->queues.in[v] != VSCHED_NONE) {
            vsched_queues_move(&fifo->queues, v, home);
        }
    }
}

void vsched_fifo_save(void *policy, GArray *words)
{
    VschedFifo *fifo = policy;

    vsched_queues_save(&fifo->queues, words);
}

bool vsched_fifo_load(void *policy, const int64_t *words, int n)
{
    VschedFifo *fifo = policy;

    if (vsched_queues_load(&fifo->queues, words, n) != n) {
        return false;
    }
    for (int v = 0; v < fifo->topology->vcpus; v++) {
        if (fifo->queues.in[v] != VSCHED_NONE &&
            fifo->queues.in[v] != fifo->home[v]) {
            return false;
        }
    }
    return true;
}

/*
 * With n VCPUs on a PCPU, timeslices of S cycles and a switch cost of C:
 * n - 1 others run before, n are switched in, and a window may pass until the
 * PCPU notices.
 */
int64_t vsched_fifo_longest_wait(void *policy, int64_t switch_cost,
                                 int64_t window)
{
    VschedFifo *fifo = policy;
    g_autofree int *belong = g_new0(int, fifo->topology->pcpus);
    int most = 0;

    for (int v = 0; v < fifo->topology->vcpus; v++) {
        belong[fifo->home[v]]++;
        most = MAX(most, belong[fifo->home[v]]);
    }
    return (most - 1) * fifo->timeslice + most * switch_cost + window;
}
