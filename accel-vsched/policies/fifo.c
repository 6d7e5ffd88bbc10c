/*
 * Static map with one FIFO a PCPU.
 *
 * "To maintain cache and TLB affinity, we assume that three VCPUs are
 * statically mapped to a given PCPU" (Wells et al., PACT 2006, section 2.2.3):
 * VCPU i belongs to PCPU i mod P for ever.  The VCPUs of a PCPU take turns,
 * first come first served.
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
        .standard = 100 * 1000,         /* 100 us, section 5.2 of the paper */
    },
    { }
};

void *vsched_fifo_create(const VschedTopology *topology, const int64_t *values)
{
    VschedFifo *fifo = g_new0(VschedFifo, 1);

    fifo->topology = *topology;
    fifo->timeslice = values[0];
    fifo->next = g_new(int, topology->vcpus);
    fifo->head = g_new(int, topology->pcpus);
    fifo->tail = g_new(int, topology->pcpus);
    for (int p = 0; p < topology->pcpus; p++) {
        fifo->head[p] = fifo->tail[p] = VSCHED_NONE;
    }
    return fifo;
}

void vsched_fifo_destroy(void *policy)
{
    VschedFifo *fifo = policy;

    g_free(fifo->next);
    g_free(fifo->head);
    g_free(fifo->tail);
    g_free(fifo);
}

void vsched_fifo_set(void *policy, const int64_t *values)
{
    VschedFifo *fifo = policy;

    fifo->timeslice = values[0];
}

int vsched_fifo_place(void *policy, int vcpu)
{
    VschedFifo *fifo = policy;

    return vcpu % fifo->topology.pcpus;
}

void vsched_fifo_enqueue(void *policy, int vcpu, int64_t now)
{
    VschedFifo *fifo = policy;
    int pcpu = vsched_fifo_place(policy, vcpu);

    fifo->next[vcpu] = VSCHED_NONE;
    if (fifo->head[pcpu] == VSCHED_NONE) {
        fifo->head[pcpu] = vcpu;
    } else {
        fifo->next[fifo->tail[pcpu]] = vcpu;
    }
    fifo->tail[pcpu] = vcpu;
}

void vsched_fifo_dequeue(void *policy, int vcpu)
{
    VschedFifo *fifo = policy;
    int pcpu = vsched_fifo_place(policy, vcpu);
    int before = VSCHED_NONE;

    for (int v = fifo->head[pcpu]; v != VSCHED_NONE; v = fifo->next[v]) {
        if (v == vcpu) {
            if (before == VSCHED_NONE) {
                fifo->head[pcpu] = fifo->next[v];
            } else {
                fifo->next[before] = fifo->next[v];
            }
            if (fifo->tail[pcpu] == v) {
                fifo->tail[pcpu] = before;
            }
            return;
        }
        before = v;
    }
}

VschedPick vsched_fifo_pick(void *policy, int pcpu, int64_t now)
{
    VschedFifo *fifo = policy;
    VschedPick pick = { fifo->head[pcpu], fifo->timeslice };

    if (pick.vcpu != VSCHED_NONE) {
        vsched_fifo_dequeue(policy, pick.vcpu);
    }
    return pick;
}

bool vsched_fifo_waiting(void *policy, int pcpu)
{
    VschedFifo *fifo = policy;

    return fifo->head[pcpu] != VSCHED_NONE;
}

int vsched_fifo_order(void *policy, int *order)
{
    VschedFifo *fifo = policy;
    int n = 0;

    for (int p = 0; p < fifo->topology.pcpus; p++) {
        for (int v = fifo->head[p]; v != VSCHED_NONE; v = fifo->next[v]) {
            order[n++] = v;
        }
    }
    return n;
}
