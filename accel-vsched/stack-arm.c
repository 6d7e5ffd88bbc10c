/*
 * Call stacks of Arm, in AArch64 state.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "cpu.h"
#include "stack-target.h"

static void arm_stack(CPUState *cpu, uint64_t pc, bool user, int most,
                      VschedStack *stack)
{
    CPUARMState *env = cpu_env(cpu);
    VschedLook look = { .cpu = cpu };
    VschedStackMemory memory = vsched_look(&look);
    const VschedFrames frames = {
        .rules = VSCHED_FRAMES_AARCH64,
        .user = user,
        .pc = pc,
        .sp = env->xregs[31],
        .fp = env->xregs[29],
        .link = env->xregs[30],
    };

    stack->callers = 0;
    stack->end = VSCHED_STACK_WHOLE;
    if (env->aarch64) {
        vsched_stack_of_frames(&frames, &memory, most, stack);
    }
}

static void register_stacks(void)
{
    vsched_stack_of_target = arm_stack;
}

type_init(register_stacks)
