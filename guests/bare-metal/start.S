/*
 * Start of a bare-metal program, its trap table, and what cannot be said in C.
 *
 * QEMU's -bios puts the program into the PROM, where VCPU 0 comes out of reset
 * in RED state with its MMUs off.  The code here copies the program to RAM,
 * maps its 4 MB page with locked TLB entries, turns the MMUs on and calls C.
 * Other VCPUs get copies of the locked entries from the start register block.
 * Everything else is mapped on demand: virtual address = physical address,
 * 4 MB pages, the first of which stays unmapped to catch null pointers.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "layout.h"

        .register %g2, #scratch
        .register %g3, #scratch
        .register %g6, #scratch
        .register %g7, this_vcpu

/* Reset: vectors of 32 bytes; power-on is the second, reset by button the third. */

        .section .reset, "ax"
        .skip   0x20
        ba,a    %xcc, power_on
        .balign 32
        ba,a    %xcc, power_on
        .balign 32
        .skip   0x80                            ! other ways into RED state: stay
power_on:
        wrpr    %g0, PSTATE_PRIV | PSTATE_PEF, %pstate
        wrpr    %g0, 0, %tl
        wrpr    %g0, 15, %pil
        wrpr    %g0, 0, %cwp
        wrpr    %g0, 0, %canrestore
        wrpr    %g0, 0, %otherwin
        wrpr    %g0, 0, %wstate
        wrpr    %g0, 6, %cansave
        wrpr    %g0, 6, %cleanwin
        wr      %g0, 0, %fprs
        wr      %g0, 0, %asi

        /* Where we are (in the PROM), to where we belong. */
1:      rd      %pc, %g1
        set     1b, %g2
        sub     %g1, %g2, %g1
        set     image, %g2
        add     %g1, %g2, %g1
        set     image_end, %g3
2:      ldx     [%g1], %g4
        stx     %g4, [%g2]
        add     %g2, 8, %g2
        cmp     %g2, %g3
        blu,pt  %xcc, 2b
         add    %g1, 8, %g1
        set     bss_end, %g3
3:      stx     %g0, [%g2]
        add     %g2, 8, %g2
        cmp     %g2, %g3
        blu,pt  %xcc, 3b
         nop
        set     in_ram, %g1
        jmp     %g1
         nop

in_ram: /* The same address physically now and virtually soon. */
        mov     63 << 3, %g1                    ! forget what the TLBs hold
1:      stxa    %g0, [%g1] ASI_ITLB_ENTRY
        stxa    %g0, [%g1] ASI_DTLB_ENTRY
        brgz,pt %g1, 1b
         sub    %g1, 8, %g1
        mov     MMU_TAG_ACCESS, %g1
        set     PROGRAM_BASE, %g2
        mov     TTE_VALID_4MB, %g3
        sllx    %g3, 61, %g3
        or      %g3, %g2, %g3
        or      %g3, TTE_FLAGS | TTE_LOCKED, %g3
        stxa    %g2, [%g1] ASI_IMMU
        stxa    %g3, [%g0] ASI_ITLB_DATA_IN
        stxa    %g2, [%g1] ASI_DMMU
        stxa    %g3, [%g0] ASI_DTLB_DATA_IN
        membar  #Sync
        mov     LSU_MMUS, %g1
        stxa    %g1, [%g0] ASI_LSU_CONTROL
        membar  #Sync
        set     trap_table, %g1
        wrpr    %g1, %tba
        set     kit_vcpus, %o0

/* A VCPU starts here with %o0 = its struct vcpu. */
        .globl  kit_secondary
kit_secondary:
        mov     %o0, %g7
        ldx     [%g7 + VCPU_STACK], %g1
        brnz,pt %g1, 1f
         nop
        set     kit_first_stack + STACK_SIZE, %g1   ! VCPU 0: nobody filled it in yet
1:      sub     %g1, STACK_BIAS + FRAME_SIZE, %sp
        mov     0, %i6
        call    kit_main
         mov    %g7, %o0
        ba,a    %xcc, .

/* Trap table */

        .macro  fatal count
        .rept   \count
        ba,a    %xcc, fatal_trap
        .balign 32
        .endr
        .endm

        .macro  clean_window
        rdpr    %cleanwin, %l0
        add     %l0, 1, %l0
        wrpr    %l0, 0, %cleanwin
        clr     %l0
        clr     %l1
        clr     %l2
        clr     %l3
        clr     %l4
        clr     %l5
        clr     %l6
        clr     %l7
        clr     %o0
        clr     %o1
        clr     %o2
        clr     %o3
        clr     %o4
        clr     %o5
        clr     %o7
        retry
        .balign 128
        .endm

        .macro  spill
        stx     %l0, [%sp + STACK_BIAS + 0]
        stx     %l1, [%sp + STACK_BIAS + 8]
        stx     %l2, [%sp + STACK_BIAS + 16]
        stx     %l3, [%sp + STACK_BIAS + 24]
        stx     %l4, [%sp + STACK_BIAS + 32]
        stx     %l5, [%sp + STACK_BIAS + 40]
        stx     %l6, [%sp + STACK_BIAS + 48]
        stx     %l7, [%sp + STACK_BIAS + 56]
        stx     %i0, [%sp + STACK_BIAS + 64]
        stx     %i1, [%sp + STACK_BIAS + 72]
        stx     %i2, [%sp + STACK_BIAS + 80]
        stx     %i3, [%sp + STACK_BIAS + 88]
        stx     %i4, [%sp + STACK_BIAS + 96]
        stx     %i5, [%sp + STACK_BIAS + 104]
        stx     %i6, [%sp + STACK_BIAS + 112]
        stx     %i7, [%sp + STACK_BIAS + 120]
        saved
        retry
        .balign 128
        .endm

        .macro  fill
        ldx     [%sp + STACK_BIAS + 0], %l0
        ldx     [%sp + STACK_BIAS + 8], %l1
        ldx     [%sp + STACK_BIAS + 16], %l2
        ldx     [%sp + STACK_BIAS + 24], %l3
        ldx     [%sp + STACK_BIAS + 32], %l4
        ldx     [%sp + STACK_BIAS + 40], %l5
        ldx     [%sp + STACK_BIAS + 48], %l6
        ldx     [%sp + STACK_BIAS + 56], %l7
        ldx     [%sp + STACK_BIAS + 64], %i0
        ldx     [%sp + STACK_BIAS + 72], %i1
        ldx     [%sp + STACK_BIAS + 80], %i2
        ldx     [%sp + STACK_BIAS + 88], %i3
        ldx     [%sp + STACK_BIAS + 96], %i4
        ldx     [%sp + STACK_BIAS + 104], %i5
        ldx     [%sp + STACK_BIAS + 112], %i6
        ldx     [%sp + STACK_BIAS + 120], %i7
        restored
        retry
        .balign 128
        .endm

        .macro  tlb_miss mmu, data_in           ! MMU globals
        mov     MMU_TAG_ACCESS, %g1
        ldxa    [%g1] \mmu, %g1
        srlx    %g1, PAGE_SHIFT, %g1
        brz,pn  %g1, fatal_trap                 ! null pointer
         mov    TTE_VALID_4MB, %g2
        sllx    %g1, PAGE_SHIFT, %g1
        sllx    %g2, 61, %g2
        or      %g1, %g2, %g1
        or      %g1, TTE_FLAGS, %g1
        stxa    %g1, [%g0] \data_in
        retry
        .balign 128
        .endm

        .macro  interrupt level
        ba      %xcc, interrupt_level
         mov    \level, %g1
        .balign 32
        .endm

        .section .traps, "ax"
        .balign 0x8000
trap_table:
        fatal   0x24
        clean_window                            ! 0x24
        fatal   8
        ba,a    %xcc, data_access_failed        ! 0x30
        .balign 32
        fatal   1
        ba,a    %xcc, data_access_failed        ! 0x32
        .balign 32
        fatal   14
        .irp    level, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        interrupt \level                        ! 0x41 to 0x4f
        .endr
        fatal   16
        ba,a    %xcc, interrupt_vector          ! 0x60
        .balign 32
        fatal   3
        tlb_miss ASI_IMMU, ASI_ITLB_DATA_IN     ! 0x64
        tlb_miss ASI_DMMU, ASI_DTLB_DATA_IN     ! 0x68
        fatal   20
        spill                                   ! 0x80
        fatal   60
        fill                                    ! 0xc0
        fatal   60
        ba,a    %xcc, leave_user_mode           ! 0x100
        .balign 32
        fatal   255
        fatal   0x24                            ! 0x200: traps in traps
        clean_window                            ! 0x224
        fatal   60
        tlb_miss ASI_IMMU, ASI_ITLB_DATA_IN     ! 0x264
        tlb_miss ASI_DMMU, ASI_DTLB_DATA_IN     ! 0x268
        fatal   20
        spill                                   ! 0x280
        fatal   60
        fill                                    ! 0x2c0
        fatal   316

        .text

/* A trap that nothing here can cause: report where and end. */
fatal_trap:
        rdpr    %tt, %o0
        rdpr    %tpc, %o1
        rdpr    %tl, %o2
        wrpr    %g0, 0, %tl
        wrpr    %g0, 0, %canrestore
        wrpr    %g0, 0, %otherwin
        wrpr    %g0, 6, %cansave
        wrpr    %g0, PSTATE_PRIV | PSTATE_PEF, %pstate
        set     kit_fatal_stack + STACK_SIZE - STACK_BIAS - FRAME_SIZE, %sp
        call    kit_fatal_trap
         nop
        ba,a    %xcc, .

/* kit_probe reads a register that may not exist, and gets 0 then. */
data_access_failed:
        rdpr    %tpc, %g1
        set     probe_load, %g2
        cmp     %g1, %g2
        bne,pn  %xcc, fatal_trap
         nop
        mov     0, %o0
        done

        .globl  kit_probe
kit_probe:
probe_load:
        ldxa    [%o0] ASI_PHYS_IO, %o0
        retl
         nop

/*
 * Interrupt vector (interrupt globals).  Data 0 is the address of a handler in
 * this file; the handler finds data 1 in %g5, data 2 in %g6, its struct vcpu
 * in %g2, and ends with retry.  The mailbox is free before the handler runs.
 */
interrupt_vector:
        ldxa    [%g0] ASI_UPA_CONFIG, %g1
        srlx    %g1, 17, %g1
        and     %g1, MAX_VCPUS - 1, %g1
        sllx    %g1, VCPU_SHIFT, %g1
        set     kit_vcpus, %g2
        add     %g2, %g1, %g2
        mov     0x40, %g3
        ldxa    [%g3] ASI_INTR_DATA, %g4
        mov     0x50, %g3
        ldxa    [%g3] ASI_INTR_DATA, %g5
        mov     0x60, %g3
        ldxa    [%g3] ASI_INTR_DATA, %g6
        stxa    %g0, [%g0] ASI_RECEIVE
        membar  #Sync
        set     PROGRAM_BASE, %g3
        cmp     %g4, %g3
        blu,pn  %xcc, 1f                        ! a device's
         nop
        ldx     [%g2 + VCPU_RECEIVED], %g3
        add     %g3, 1, %g3
        jmp     %g4
         stx    %g3, [%g2 + VCPU_RECEIVED]
1:      ldx     [%g2 + VCPU_STRAY], %g3
        add     %g3, 1, %g3
        stx     %g3, [%g2 + VCPU_STRAY]
        retry

        .globl  crosscall_add
crosscall_add:                                  ! add data 1 to the VCPU's sum
        ldx     [%g2 + VCPU_SUM], %g3
        add     %g3, %g5, %g3
        stx     %g3, [%g2 + VCPU_SUM]
        retry

        .globl  crosscall_store
crosscall_store:                                ! store data 2 at address data 1
        stx     %g6, [%g5]
        retry

/* Interrupt level (alternate globals, %g1 = level): call C, on the stack in use. */
interrupt_level:
        rdpr    %tstate, %g2
        rdpr    %tpc, %g3
        rdpr    %tnpc, %g4
        save    %sp, -(FRAME_SIZE + 48), %sp
        mov     %g1, %l0
        mov     %g2, %l1
        mov     %g3, %l2
        mov     %g4, %l3
        wrpr    %g0, PSTATE_PRIV | PSTATE_PEF, %pstate
        wrpr    %g0, 0, %tl
        stx     %g1, [%sp + STACK_BIAS + FRAME_SIZE + 0]
        stx     %g2, [%sp + STACK_BIAS + FRAME_SIZE + 8]
        stx     %g3, [%sp + STACK_BIAS + FRAME_SIZE + 16]
        stx     %g4, [%sp + STACK_BIAS + FRAME_SIZE + 24]
        stx     %g5, [%sp + STACK_BIAS + FRAME_SIZE + 32]
        rd      %y, %l4
        mov     %l0, %o0
        call    kit_interrupt
         mov    %g7, %o1
        wr      %l4, 0, %y
        ldx     [%sp + STACK_BIAS + FRAME_SIZE + 0], %g1
        ldx     [%sp + STACK_BIAS + FRAME_SIZE + 8], %g2
        ldx     [%sp + STACK_BIAS + FRAME_SIZE + 16], %g3
        ldx     [%sp + STACK_BIAS + FRAME_SIZE + 24], %g4
        ldx     [%sp + STACK_BIAS + FRAME_SIZE + 32], %g5
        wrpr    %g0, 1, %tl
        wrpr    %l1, 0, %tstate
        wrpr    %l2, 0, %tpc
        wrpr    %l3, 0, %tnpc
        restore
        retry

/* uint64_t kit_user(uint64_t (*function)(uint64_t), uint64_t argument) */
        .globl  kit_user
kit_user:
        save    %sp, -FRAME_SIZE, %sp
        rdpr    %pstate, %l0                    ! the same but for the privilege
        and     %l0, PSTATE_IE | PSTATE_PEF, %l0
        sllx    %l0, TSTATE_PSTATE_SHIFT, %l0
        rdpr    %cwp, %l1
        or      %l0, %l1, %l0
        set     in_user_mode, %l1
        add     %l1, 4, %l2
        wrpr    %g0, PSTATE_PRIV | PSTATE_PEF, %pstate
        wrpr    %g0, 1, %tl
        wrpr    %l0, 0, %tstate
        wrpr    %l1, 0, %tpc
        wrpr    %l2, 0, %tnpc
        retry
in_user_mode:
        call    %i0
         mov    %i1, %o0
        ta      0
        ret
         restore %g0, %o0, %o0

leave_user_mode:                                ! ta 0: go on in privileged mode
        rdpr    %tstate, %g1
        or      %g1, PSTATE_PRIV << TSTATE_PSTATE_SHIFT, %g1
        wrpr    %g1, 0, %tstate
        done
