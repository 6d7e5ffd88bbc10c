/*
 * Call stacks of x86-64, in code of 64 bits.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "cpu.h"
#include "stack-target.h"

static void x86_stack(CPUState *cpu, uint64_t pc, bool user, int most,
                      VschedStack *stack)
{
    CPUX86State *env = cpu_env(cpu);
    VschedLook look = { .cpu = cpu };
    VschedStackMemory memory = vsched_look(&look);
    const VschedFrames frames = {
        .rules = VSCHED_FRAMES_X86_64,
        .user = user,
        .pc = pc,
        .sp = env->regs[R_ESP],
        .fp = env->regs[R_EBP],
    };

    stack->callers = 0;
    stack->end = VSCHED_STACK_WHOLE;
    if (env->hflags & HF_CS64_MASK) {
        vsched_stack_of_frames(&frames, &memory, most, stack);
    }
}

static void register_stacks(void)
{
    vsched_stack_of_target = x86_stack;
}

type_init(register_stacks)
