/*
 * Arm: processors send each other software-generated interrupts (SGI).
 *
 * For -bios of machine virt with three processors; GICV3 or not says which interrupt
 * controller there is.  Processors 1 and 2 count what they get; processor 0 starts
 * them, sends, waits for the count after each step, and powers off.  What is sent:
 * test_targets.py.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define GICD        0x08000000
#define GICC        0x08010000                  /* GICv2: of the processor that asks */
#define GICR        0x080a0000                  /* GICv3: 0x20000 bytes a processor */
#define RAM         0x41000000                  /* counters: ready, interrupts */

/* Add one to the word at RAM + @offset, and wait until that at RAM + @offset is @value */
.macro count offset
    mov     x10, #RAM
1:  add     x11, x10, #\offset
    ldaxr   w12, [x11]
    add     w12, w12, #1
    stlxr   w13, w12, [x11]
    cbnz    w13, 1b
.endm
.macro await offset, value
    mov     x10, #RAM
1:  ldr     w12, [x10, #\offset]
    cmp     w12, #\value
    b.ne    1b
.endm

/* Interrupt @irq to the processors of @list; to all others if that is 0 */
.macro send irq, list
#ifdef GICV3
  .if \list
    ldr     x14, =(\irq << 24 | \list)
  .else
    ldr     x14, =(\irq << 24 | 1 << 40)
  .endif
    msr     S3_0_C12_C11_5, x14                 /* ICC_SGI1R_EL1 */
    isb
#else
    ldr     x14, =(GICD + 0xf00)
  .if \list
    ldr     w15, =(\list << 16 | \irq)
  .else
    ldr     w15, =(1 << 24 | \irq)
  .endif
    str     w15, [x14]
#endif
.endm

.globl _start
_start:
    bl      on
    mov     x20, #1                             /* PSCI CPU_ON of 1, and of 2 */
start:
    ldr     x0, =0xc4000003
    mov     x1, x20
    adr     x2, other
    mov     x3, #0
    hvc     #0
    add     x20, x20, #1
    cmp     x20, #3
    b.ne    start
    await   0, 2
    send    1, 0b010
    await   4, 1
    send    1, 0                                /* all but the sender */
    await   4, 3
    send    1, 0b100                            /* two at once */
    send    2, 0b100
    await   4, 5
    send    1, 0b001                            /* itself */
    ldr     x0, =0x84000008                     /* PSCI SYSTEM_OFF */
    hvc     #0

other:
    bl      on
    count   0
    msr     daifclr, #2
2:  wfi
    b       2b

/* The interrupt controller, as far as this processor needs it */
on:
    adr     x0, vectors
    msr     vbar_el1, x0
    mrs     x1, mpidr_el1
    and     x1, x1, #0xff
    ldr     x2, =GICD
#ifdef GICV3
    mov     w3, #0x13                           /* affinity routing, both groups */
    str     w3, [x2]
    ldr     x2, =GICR
    add     x2, x2, x1, lsl #17
    str     wzr, [x2, #0x14]                    /* awake */
    add     x2, x2, #0x10000
    mov     w3, #-1
    str     w3, [x2, #0x80]                     /* group 1 */
    str     w3, [x2, #0x100]                    /* enabled */
    mov     x3, #0xff
    msr     S3_0_C4_C6_0, x3                    /* ICC_PMR_EL1 */
    mov     x3, #1
    msr     S3_0_C12_C12_7, x3                  /* ICC_IGRPEN1_EL1 */
    isb
#else
    mov     w3, #1
    str     w3, [x2]
    mov     w4, #-1
    str     w4, [x2, #0x100]                    /* enabled */
    ldr     x2, =GICC
    mov     w4, #0xff
    str     w4, [x2, #4]                        /* priorities */
    str     w3, [x2]
#endif
    ret

.balign 2048
vectors:
    .fill   0x280 / 4, 4, 0x14000000            /* b . */
#ifdef GICV3
    mrs     x5, S3_0_C12_C12_0                  /* ICC_IAR1_EL1 */
    msr     S3_0_C12_C12_1, x5                  /* ICC_EOIR1_EL1 */
#else
    ldr     x4, =GICC
    ldr     w5, [x4, #0xc]
    str     w5, [x4, #0x10]
#endif
    count   4
    eret
