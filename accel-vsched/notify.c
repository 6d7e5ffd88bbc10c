/*
 * The engine's side of what one VCPU does to another.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "vsched/vsched.h"

bool vsched_enabled(void)
{
    return false;
}

void vsched_post(CPUState *target,
                 void (*func)(CPUState *target, void *opaque), void *opaque)
{
    func(target, opaque);
}

void vsched_cross_call(CPUState *sender, CPUState *target, bool accepted)
{
}
