/*
 * What one VCPU does to another.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "vsched/vsched.h"
#include "engine.h"
#include "trace.h"

void vsched_post(CPUState *target,
                 void (*func)(CPUState *target, void *opaque), void *opaque)
{
    VschedEngine *e = vsched_engine;
    VschedPost *post;
    bool dispatching;

    if (!e) {
        func(target, opaque);
        return;
    }
    if (!vsched_in_engine_thread() ||
        e->core->running == VSCHED_NONE ||
        e->core->vcpu[vsched_vcpu(target)].pcpu == e->core->running) {
        dispatching = e->dispatching;
        e->dispatching = true;
        func(target, opaque);
        e->dispatching = dispatching;
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
    post->due = vsched_present(e);
    QSIMPLEQ_INSERT_TAIL(&e->posts, post, next);
    e->posted++;
    vsched_cut();
}

void vsched_cross_call(CPUState *sender, CPUState *target, bool accepted)
{
    VschedEngine *e = vsched_engine;

    if (!e) {
        return;
    }
    trace_vsched_cross_call(vsched_vcpu(sender), vsched_vcpu(target),
                            accepted);
    if (accepted) {
        e->core->vcpu[vsched_vcpu(sender)].calls_sent++;
    } else {
        e->core->vcpu[vsched_vcpu(sender)].calls_refused++;
    }
    vsched_tell_sent(e, sender, target, accepted ? VSCHED_SENT_ACCEPTED
                                                 : VSCHED_SENT_REFUSED, true);
}
