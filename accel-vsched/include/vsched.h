/*
 * What the rest of QEMU may ask of the engine: whether it runs, and to hold
 * what one VCPU does to another until the other's clock has reached it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSCHED_H
#define VSCHED_H

#include "hw/core/cpu.h"

/*
 * Give a machine class every parameter of the engine, the policies and the
 * SDBs as a property, where it has none of that name itself; they are aliases
 * of the accelerator's.  A machine that has its own calls
 * vsched_machine_option() when it is set.
 */
void vsched_machine_class_options(ObjectClass *oc);
void vsched_machine_option(const char *name, const char *value);

/* True when VCPUs run on PCPUs (-accel tcg,thread=vsched). */
bool vsched_enabled(void);

/*
 * Run @func(@target, @opaque), with the BQL held, at the first moment at which
 * the clock of @target's PCPU is not before the present of the caller: at once
 * when both share a PCPU, at the end of the window otherwise.  Without the
 * engine: at once.  Takes the order of calls; the caller keeps @opaque alive
 * (state that must survive savevm belongs to the caller's VMState: nothing is
 * pending when the machine is stopped, because it stops at window ends).
 */
void vsched_post(CPUState *target,
                 void (*func)(CPUState *target, void *opaque), void *opaque);

/*
 * @sender dispatched an interrupt vector to @target: it was @accepted, or
 * refused (NACK), and @sender waits.  Counted, and passed on to the policy.
 */
void vsched_cross_call(CPUState *sender, CPUState *target, bool accepted);

#endif /* VSCHED_H */
