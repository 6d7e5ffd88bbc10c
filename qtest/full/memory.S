/*
 * Arm: loads, stores and atomic operations whose number and lines are known.
 *
 * For -bios of machine virt: code is in the flash memory, data in RAM, no page tables.  Loads
 * WORDS words of 8 bytes, one behind the other; stores half as many, of 16 bytes a pair; adds
 * to a word that was loaded before and to one that was not, with exclusive loads and stores;
 * powers off.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

.globl _start
_start:
    movz    x0, #0x4100, lsl #16
    ldr     x20, =WORDS                         /* a load from the flash memory */
    mov     x1, x0
    mov     x2, x20
1:  ldr     x3, [x1], #8
    subs    x2, x2, #1
    b.ne    1b
    add     x1, x0, #0x100000
    lsr     x2, x20, #1
2:  stp     x3, x3, [x1], #16
    subs    x2, x2, #1
    b.ne    2b
    add     x4, x0, #0x200000                   /* nobody has it */
3:  ldxr    x3, [x0]
    add     x3, x3, #1
    stxr    w5, x3, [x0]
    cbnz    w5, 3b
4:  ldxr    x3, [x4]
    add     x3, x3, #1
    stxr    w5, x3, [x4]
    cbnz    w5, 4b
    ldr     x0, =0x84000008                     /* PSCI SYSTEM_OFF, another load */
    hvc     #0
