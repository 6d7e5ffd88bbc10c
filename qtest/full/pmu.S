/*
 * Arm: the cycle counter of the PMU, event CPU_CYCLES, and their overflow.
 *
 * For -bios of machine virt.  Both count a loop of TURNS turns, 2 instructions each; what they
 * have counted, and the generic timer, is at 0x41000000.  Then the cycle counter is set to
 * 2 * TURNS before its end: whether it has overflown after half of the turns, and after twice as
 * many, follows.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

        .macro  turns number
        ldr     x20, =\number
1:      subs    x20, x20, #1
        b.ne    1b
        .endm

.globl _start
_start:
        movz    x0, #0x4100, lsl #16
        mov     x1, #0x41                           /* all on, the cycle counter has 64 bits */
        msr     pmcr_el0, x1
        mov     x1, #0x11                           /* CPU_CYCLES */
        msr     pmevtyper0_el0, x1
        ldr     x1, =0x80000001
        msr     pmcntenset_el0, x1
        mrs     x2, cntvct_el0
        mrs     x3, pmccntr_el0
        mrs     x4, pmevcntr0_el0
        turns   TURNS
        mrs     x5, pmccntr_el0
        mrs     x6, pmevcntr0_el0
        mrs     x7, cntvct_el0
        sub     x5, x5, x3
        sub     x6, x6, x4
        sub     x7, x7, x2
        stp     x5, x6, [x0], #16
        str     x7, [x0], #8
        ldr     x1, =-(2 * TURNS)
        msr     pmccntr_el0, x1
        turns   TURNS / 2
        mrs     x1, pmovsset_el0
        str     x1, [x0], #8
        turns   TURNS * 2
        mrs     x1, pmovsset_el0
        str     x1, [x0], #8
        ldr     x0, =0x84000008                     /* PSCI SYSTEM_OFF */
        hvc     #0
