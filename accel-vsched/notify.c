/*
 * What one VCPU does to another: interrupts, cross-calls, and whatever else has
 * to wait until the other's clock has caught up.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "exec/cpu-interrupt.h"
#include "system/cpus.h"
#include "vsched/vsched.h"
#include "engine.h"
#include "trace.h"

/* Requests that are no interrupts of the guest's */
#define NO_INTERRUPT (CPU_INTERRUPT_EXITTB | CPU_INTERRUPT_HALT | \
                      CPU_INTERRUPT_DEBUG)

/*
 * Only CPUState.stopped, which changes between windows, says that a VCPU is
 * stopped.  cpu_is_stopped() looks at the machine's run state as well, which
 * changes before the VCPUs are asked to stop, and may do so within a window.
 */
bool vsched_runnable(CPUState *cpu)
{
    return !cpu->stopped && (!cpu->halted || cpu_has_work(cpu));
}

void vsched_wake(VschedEngine *e, CPUState *cpu)
{
    vsched_core_notify(e->core, vsched_vcpu(cpu));
    if (vsched_runnable(cpu)) {
        vsched_core_wake(e->core, vsched_vcpu(cpu));
    }
}

/* Something may have happened to any VCPU: look at all. */
void vsched_reconsider(VschedEngine *e)
{
    CPUState *cpu;

    CPU_FOREACH(cpu) {
        if (vsched_runnable(cpu)) {
            vsched_core_wake(e->core, vsched_vcpu(cpu));
        } else {
            vsched_core_block(e->core, vsched_vcpu(cpu));
        }
    }
}

/* The clock of the PCPU that runs is behind, or ahead of, that of @cpu's. */
static bool on_another_pcpu(VschedEngine *e, CPUState *cpu)
{
    return e->core->running != VSCHED_NONE &&
           e->core->vcpu[vsched_vcpu(cpu)].pcpu != e->core->running;
}

void vsched_notify_sent(VschedEngine *e, CPUState *sender, CPUState *target,
                        VschedSent sent, bool cross_call)
{
    VschedCore *core = e->core;
    int vcpu = vsched_vcpu(target);

    if (vsched_hint_wanted(e, VSCHED_HINT_SENT)) {
        const VschedHint hint = {
            .kind = VSCHED_HINT_SENT,
            .pcpu = core->running,
            .vcpu = vcpu,
            .now = vsched_present(e),
            .other = sender ? vsched_vcpu(sender) : VSCHED_NONE,
            .sent = sent,
            .cross_call = cross_call,
            .running = core->vcpu[vcpu].state == VSCHED_RUNNING,
        };

        vsched_core_hint(core, &hint);
    }
}

/* What the VCPU that runs does to @cpu, happens when the window is over. */
static bool happens_later(VschedEngine *e, CPUState *cpu)
{
    return vsched_in_engine_thread() && current_cpu != cpu &&
           on_another_pcpu(e, cpu);
}

/* An interrupt controller says that the VCPU @sender sends @target one. */
static void interrupt_sent(CPUState *sender, CPUState *target)
{
    VschedEngine *e = vsched_engine;

    vsched_notify_sent(e, sender, target,
                       happens_later(e, target) ? VSCHED_SENT_PENDING
                                                : VSCHED_SENT_ACCEPTED, false);
}

static void senders_known(void)
{
    vsched_engine->senders_known = true;
}

/*
 * @cpu has to look for interrupts.  Who did that sent one, but where the
 * interrupt controllers say themselves who sends what: then it is a device, or
 * a VCPU whose access, such as the end of an interrupt, let the controller
 * come to another result.
 */
static void notify_of_request(VschedEngine *e, CPUState *cpu, bool later)
{
    CPUState *sender = vsched_in_engine_thread() ? current_cpu : NULL;

    if (!e->dispatching && !(sender && e->senders_known)) {
        vsched_notify_sent(e, sender, cpu, later ? VSCHED_SENT_PENDING
                                                 : VSCHED_SENT_ACCEPTED, false);
    }
}

bool vsched_guest_says(VschedHint *hint)
{
    VschedEngine *e = vsched_engine;

    if (!vsched_in_engine_thread() || !current_cpu ||
        e->core->running == VSCHED_NONE) {
        return false;
    }
    hint->pcpu = e->core->running;
    hint->vcpu = vsched_vcpu(current_cpu);
    hint->now = vsched_present(e);
    return true;
}

void vsched_notify_guest_says(VschedHint *hint)
{
    VschedEngine *e = vsched_engine;

    if (vsched_hint_wanted(e, hint->kind) && vsched_guest_says(hint)) {
        vsched_core_hint(e->core, hint);
    }
}

bool vsched_set_safe_point_driver(void (*ask)(CPUState *cpu, void *opaque),
                                  void *opaque)
{
    VschedEngine *e = vsched_engine;

    if (e->ask_safe_point) {
        return false;
    }
    e->ask_safe_point = ask;
    e->ask_opaque = opaque;
    return true;
}

void vsched_safe_point(void)
{
    VschedHint hint = { .kind = VSCHED_HINT_SAFE_POINT };

    vsched_notify_guest_says(&hint);
}

/*
 * Interrupts that one VCPU raises at another on a different PCPU are taken
 * when the window is over: the other's clock may be behind.
 */
void vsched_handle_interrupt(CPUState *cpu, int mask)
{
    VschedEngine *e = vsched_engine;
    bool later = happens_later(e, cpu);

    g_assert(bql_locked());

    if (mask & ~NO_INTERRUPT) {
        notify_of_request(e, cpu, later);
    }
    if (vsched_in_engine_thread() && current_cpu == cpu) {
        cpu->interrupt_request |= mask;
        qatomic_set(&cpu->neg.icount_decr.u16.high, -1);
    } else if (later) {
        if (!cpu->accel->deferred) {
            cpu->accel->deferred_until = vsched_present(e);
        }
        cpu->accel->deferred |= mask;
        e->any_deferred = true;
        vsched_cut();
    } else {
        cpu->interrupt_request |= mask;
        if (vsched_in_engine_thread()) {
            vsched_wake(e, cpu);
        } else {
            qemu_cpu_kick(cpu);
        }
    }
}

/* Of those that were deferred, too.  The CPU may not be the engine's yet. */
static void interrupt_withdrawn(CPUState *cpu, int mask)
{
    if (cpu->accel) {
        cpu->accel->deferred &= ~mask;
    }
}

const SimulatedTimeOps vsched_interrupts = {
    .interrupt_withdrawn = interrupt_withdrawn,
    .interrupt_sent = interrupt_sent,
    .senders_known = senders_known,
};

/*
 * Interrupts that were deferred, in windows that are over by now.  A stall may
 * have carried the sender beyond the end of the window; then they stay until
 * the windows have caught up with it.
 */
void vsched_deliver_deferred(VschedEngine *e)
{
    CPUState *cpu;

    e->any_deferred = false;
    CPU_FOREACH(cpu) {
        if (!cpu->accel->deferred) {
            continue;
        }
        if (cpu->accel->deferred_until > e->core->window_end) {
            e->any_deferred = true;
            continue;
        }
        cpu->interrupt_request |= cpu->accel->deferred;
        cpu->accel->deferred = 0;
        qatomic_set(&e->attention, true);       /* it may be ready now */
        vsched_core_notify(e->core, vsched_vcpu(cpu));
    }
}

/* Those that are due; what one target is sent keeps its order. */
void vsched_deliver_posts(VschedEngine *e, int64_t until)
{
    QSIMPLEQ_HEAD(, VschedPost) later = QSIMPLEQ_HEAD_INITIALIZER(later);

    e->dispatching = true;
    while (!QSIMPLEQ_EMPTY(&e->posts)) {
        VschedPost *post = QSIMPLEQ_FIRST(&e->posts), *other;
        bool due = post->due <= until;

        QSIMPLEQ_REMOVE_HEAD(&e->posts, next);
        QSIMPLEQ_FOREACH(other, &later, next) {
            due &= other->target != post->target;
        }
        if (!due) {
            QSIMPLEQ_INSERT_TAIL(&later, post, next);
            continue;
        }
        post->func(post->target, post->opaque);
        vsched_wake(e, post->target);
        g_free(post);
    }
    QSIMPLEQ_CONCAT(&e->posts, &later);
    e->dispatching = false;
}

/* Cycle at which the next of all this is due; INT64_MAX: nothing is. */
int64_t vsched_next_delivery(VschedEngine *e)
{
    int64_t next = INT64_MAX;
    VschedPost *post;
    CPUState *cpu;

    QSIMPLEQ_FOREACH(post, &e->posts, next) {
        next = MIN(next, post->due);
    }
    CPU_FOREACH(cpu) {
        if (cpu->accel->deferred) {
            next = MIN(next, cpu->accel->deferred_until);
        }
    }
    return next;
}

bool vsched_interrupt_pending(CPUState *cpu)
{
    return (cpu->interrupt_request | cpu->accel->deferred) & ~NO_INTERRUPT;
}

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
    vsched_notify_sent(e, sender, target, accepted ? VSCHED_SENT_ACCEPTED
                                                   : VSCHED_SENT_REFUSED, true);
}
