/*
 * Devices in simulated time: everything that the engine does so that nothing
 * outside the VCPUs depends on the host's clock, threads or disks.
 *
 * The engine's loop, with the BQL held wherever these are called:
 *
 *     vsched_devices_enter();
 *     every window: run the PCPUs (without the BQL), then
 *         if (vsched_devices_due(now)) vsched_devices_window_end(now);
 *     to sleep, or when all VCPUs have been stopped: vsched_devices_leave();
 *
 * A stop of the machine (CPUState.stop) is acknowledged only between a
 * vsched_devices_window_end() and the next window, and only if
 * vsched_devices_may_stop().  All VCPUs share one halt_cond, on which the
 * functions that wait do so.  docs/determinism.rst says why.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSCHED_DEVICES_H
#define VSCHED_DEVICES_H

#include "qemu/atomic.h"
#include "system/simulated-time.h"

/* Simulated time from a disk request to its completion, in ns (choice) */
#define VSCHED_DISK_LATENCY_DEFAULT 100000

/* What the engine tests at each window end; nobody else touches it. */
typedef struct VschedDevicesHot {
    int64_t next;       /* ns: earliest timer or completion, INT64_MAX: none */
    unsigned attention; /* atomic: somebody wants vsched_devices_window_end() */
} VschedDevicesHot;

extern VschedDevicesHot vsched_devices_hot;

/*
 * The engine's, NULL: none.  Called in whatever thread when something was left
 * for the end of the window, or falls due earlier than vsched_devices_next()
 * had said.
 */
extern void (*vsched_devices_wanted)(void);

/*
 * Take all devices into simulated time.  By the main thread, when the
 * accelerator is initialised, before the machine's devices exist.
 * @interrupts: what the engine does about interrupts; nothing else is set.
 */
void vsched_devices_init(const SimulatedTimeOps *interrupts);

/* Drawn from -seed; the same in every run with that seed. */
uint64_t vsched_devices_seed(void);

/* ns, from 0; for requests that are submitted from now on */
void vsched_devices_set_disk_latency(int64_t latency);
int64_t vsched_devices_disk_latency(void);

/*
 * Close the main loop's way to the machine: VCPUs are about to run.  Waits for
 * the main loop to come to the end of what it does, unless it waits for the
 * VCPUs to stop.
 */
void vsched_devices_enter(void);

/* Open it: no VCPU will run until vsched_devices_enter(). */
void vsched_devices_leave(void);

/* Is there anything to do at a window end at time @now?  Without the BQL. */
static inline bool vsched_devices_due(int64_t now)
{
    return unlikely(now >= vsched_devices_hot.next) ||
           unlikely(qatomic_read(&vsched_devices_hot.attention));
}

/*
 * All PCPUs have reached @now, which QEMU_CLOCK_VIRTUAL shows to this thread
 * already.  Run what is due, in this order: bottom halves that devices left,
 * completions of disk requests, timers; until there is nothing more.  Waits for
 * the host where it has not completed a request that is due.  Lets the main
 * loop take a turn if it asks for one.
 */
void vsched_devices_window_end(int64_t now);

/*
 * The time, in ns, to which the clock may jump if all PCPUs are idle; INT64_MAX
 * if nothing will happen by itself.  Valid after vsched_devices_window_end().
 */
static inline int64_t vsched_devices_next(void)
{
    return vsched_devices_hot.next;
}

/*
 * A timer was set to @ns, maybe while no VCPU runs: the first windows after
 * that are not to go beyond it.  With the BQL.
 */
static inline void vsched_devices_expect(int64_t ns)
{
    vsched_devices_hot.next = MIN(vsched_devices_hot.next, ns);
}

/*
 * May the engine stop at @now?  Not yet, for at most 100 ms of simulated time,
 * if the machine's state is going to be saved and disk requests are in flight,
 * which cannot be saved: it runs on instead, as if nobody had asked.
 */
bool vsched_devices_may_stop(int64_t now);

#endif /* VSCHED_DEVICES_H */
