/*
 * Arm: two processors execute WAIT again and again, which is an instruction such as YIELD.
 *
 * For -bios of machine virt.  Processor 0 starts processor 1, which loops for ever; it
 * loops TURNS times itself, and powers off.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

.globl _start
_start:
    ldr     x0, =0xc4000003                     /* PSCI CPU_ON of 1 */
    mov     x1, #1
    adr     x2, other
    mov     x3, #0
    hvc     #0
    ldr     x20, =TURNS
1:  WAIT
    subs    x20, x20, #1
    b.ne    1b
    ldr     x0, =0x84000008                     /* PSCI SYSTEM_OFF */
    hvc     #0

other:
    OTHER
    b       other
