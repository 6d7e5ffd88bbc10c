/*
 * Queues of VCPUs that wait.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "queues.h"

void vsched_queues_init(VschedQueues *q, int vcpus, int queues)
{
    q->vcpus = vcpus;
    q->queues = queues;
    q->in = g_new(int, vcpus);
    q->next = g_new(int, vcpus);
    q->since = g_new0(int64_t, vcpus);
    q->head = g_new(int, queues);
    q->tail = g_new(int, queues);
    q->length = g_new0(int, queues);
    for (int v = 0; v < vcpus; v++) {
        q->in[v] = VSCHED_NONE;
    }
    for (int i = 0; i < queues; i++) {
        q->head[i] = q->tail[i] = VSCHED_NONE;
    }
}

void vsched_queues_clear(VschedQueues *q)
{
    g_free(q->in);
    g_free(q->next);
    g_free(q->since);
    g_free(q->head);
    g_free(q->tail);
    g_free(q->length);
}

/* Behind @before, or first if that is VSCHED_NONE. */
static void insert(VschedQueues *q, int queue, int vcpu, int before)
{
    int *link = before == VSCHED_NONE ? &q->head[queue] : &q->next[before];

    q->in[vcpu] = queue;
    q->next[vcpu] = *link;
    *link = vcpu;
    if (q->tail[queue] == before) {
        q->tail[queue] = vcpu;
    }
    q->length[queue]++;
}

void vsched_queues_append(VschedQueues *q, int queue, int vcpu, int64_t since)
{
    q->since[vcpu] = since;
    insert(q, queue, vcpu, q->tail[queue]);
}

void vsched_queues_prepend(VschedQueues *q, int queue, int vcpu, int64_t since)
{
    q->since[vcpu] = since;
    insert(q, queue, vcpu, VSCHED_NONE);
}

void vsched_queues_insert(VschedQueues *q, int queue, int vcpu, int64_t since)
{
    int before = VSCHED_NONE;

    for (int v = q->head[queue]; v != VSCHED_NONE && q->since[v] <= since;
         v = q->next[v]) {
        before = v;
    }
    q->since[vcpu] = since;
    insert(q, queue, vcpu, before);
}

void vsched_queues_remove(VschedQueues *q, int vcpu)
{
    int queue = q->in[vcpu], before = VSCHED_NONE;
    int *link = &q->head[queue];

    while (*link != vcpu) {
        before = *link;
        link = &q->next[before];
    }
    *link = q->next[vcpu];
    if (q->tail[queue] == vcpu) {
        q->tail[queue] = before;
    }
    q->in[vcpu] = VSCHED_NONE;
    q->length[queue]--;
}

void vsched_queues_move(VschedQueues *q, int vcpu, int queue)
{
    vsched_queues_remove(q, vcpu);
    vsched_queues_insert(q, queue, vcpu, q->since[vcpu]);
}

/* How many there are; then queue and VCPU of each, queue by queue. */
void vsched_queues_save(const VschedQueues *q, GArray *words)
{
    int64_t word = 0;

    for (int i = 0; i < q->queues; i++) {
        word += q->length[i];
    }
    g_array_append_val(words, word);
    for (int i = 0; i < q->queues; i++) {
        for (int v = q->head[i]; v != VSCHED_NONE; v = q->next[v]) {
            word = (int64_t)i << 32 | v;
            g_array_append_val(words, word);
        }
    }
}

int vsched_queues_load(VschedQueues *q, const int64_t *words, int n)
{
    g_autofree bool *seen = g_new0(bool, q->vcpus);
    int waiting = 0;

    for (int i = 0; i < q->queues; i++) {
        waiting += q->length[i];
    }
    if (n < 1 + waiting || words[0] != waiting) {
        return -1;
    }
    for (int i = 1; i <= waiting; i++) {
        int64_t queue = words[i] >> 32, v = words[i] & UINT32_MAX;

        if (queue < 0 || queue >= q->queues || v >= q->vcpus ||
            q->in[v] == VSCHED_NONE || seen[v]) {
            return -1;
        }
        seen[v] = true;
    }
    for (int i = 1; i <= waiting; i++) {
        int v = words[i] & UINT32_MAX;

        vsched_queues_remove(q, v);
        vsched_queues_append(q, words[i] >> 32, v, q->since[v]);
    }
    return 1 + waiting;
}
