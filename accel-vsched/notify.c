/*
 * What one VCPU does to another.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "vsched/vsched.h"
#include "engine.h"
#include "trace.h"

bool vsched_enabled(void)
{
    return vsched_engine;
}

void vsched_post(CPUState *target,
                 void (*func)(CPUState *target, void *opaque), void *opaque)
{
    VschedEngine *e = vsched_engine;
    VschedPost *post;

    if (!e || !vsched_in_engine_thread() ||
        e->core->running == VSCHED_NONE ||
        e->core->vcpu[target->cpu_index].pcpu == e->core->running) {
        func(target, opaque);
        if (!e) {
            return;
        }
        if (vsched_in_engine_thread()) {
            vsched_wake(e, target);
        } else {
            qemu_cpu_kick(target);
        }
        return;
    }
    post = g_new(VschedPost, 1);
    post->target = target;
    post->func = func;
    post->opaque = opaque;
    QSIMPLEQ_INSERT_TAIL(&e->posts, post, next);
    e->posted++;
    vsched_cut();
}

void vsched_cross_call(CPUState *sender, CPUState *target, bool accepted)
{
    VschedEngine *e = vsched_engine;

    trace_vsched_cross_call(sender->cpu_index, target->cpu_index, accepted);
    if (e) {
        if (accepted) {
            e->core->vcpu[sender->cpu_index].calls_sent++;
        } else {
            e->core->vcpu[sender->cpu_index].calls_refused++;
        }
    }
}
