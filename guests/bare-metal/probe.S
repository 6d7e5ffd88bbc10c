/*
 * Code that may do what it likes, until it traps: probe.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "layout.h"

        .register %g2, #scratch
        .register %g3, #scratch
        .register %g6, #scratch
        .register %g7, this_vcpu

        .comm   probes, MAX_VCPUS << PROBE_SHIFT, 1 << PROBE_SHIFT

/* void run_probe(struct probe *) */
.text
        .globl  run_probe
run_probe:
        save    %sp, -FRAME_SIZE, %sp
        flushw
        stx     %sp, [%i0 + PROBE_SP]
        stx     %fp, [%i0 + PROBE_SP + 8]
        stx     %i7, [%i0 + PROBE_SP + 16]
        stx     %g7, [%i0 + PROBE_SP + 24]
        rdpr    %tba, %l0
        stx     %l0, [%i0 + PROBE_SP + 32]
        rdpr    %cwp, %l1
        stx     %l1, [%i0 + PROBE_SP + 40]
        wrpr    %g0, PSTATE_PRIV | PSTATE_PEF, %pstate
        set     probe_traps, %l0
        wrpr    %l0, %tba
        ldx     [%i0 + 16], %l2                 ! time limit
        rd      %tick, %l3
        sllx    %l3, 1, %l3
        srlx    %l3, 1, %l3
        add     %l3, %l2, %l3
        brz,a,pn %l2, 1f
         sub    %g0, 1, %l3                     ! bit 63: no interrupt
1:      set     0x1ffff, %l4
        wr      %l4, 0, %clear_softint
        wr      %l3, 0, %tick_cmpr
        wr      %g0, 4, %fprs
        wrpr    %g0, 0, %pil
        wrpr    %g0, 1, %tl
        ldx     [%i0], %l3
        wrpr    %l3, 0, %tpc
        add     %l3, 4, %l3
        wrpr    %l3, 0, %tnpc
        ldx     [%i0 + 8], %l3
        or      %l3, %l1, %l3
        wrpr    %l3, 0, %tstate
        add     %i0, 24, %g1
        ldx     [%g1 + 2 * 8], %g2
        ldx     [%g1 + 3 * 8], %g3
        ldx     [%g1 + 4 * 8], %g4
        ldx     [%g1 + 5 * 8], %g5
        ldx     [%g1 + 6 * 8], %g6
        ldx     [%g1 + 7 * 8], %g7
        ldx     [%g1 + 8 * 8], %o0
        ldx     [%g1 + 9 * 8], %o1
        ldx     [%g1 + 10 * 8], %o2
        ldx     [%g1 + 11 * 8], %o3
        ldx     [%g1 + 12 * 8], %o4
        ldx     [%g1 + 13 * 8], %o5
        ldx     [%g1 + 14 * 8], %o6
        ldx     [%g1 + 15 * 8], %o7
        ldx     [%g1 + 16 * 8], %l0
        ldx     [%g1 + 17 * 8], %l1
        ldx     [%g1 + 18 * 8], %l2
        ldx     [%g1 + 19 * 8], %l3
        ldx     [%g1 + 20 * 8], %l4
        ldx     [%g1 + 21 * 8], %l5
        ldx     [%g1 + 22 * 8], %l6
        ldx     [%g1 + 23 * 8], %l7
        ldx     [%g1 + 24 * 8], %i0
        ldx     [%g1 + 25 * 8], %i1
        ldx     [%g1 + 26 * 8], %i2
        ldx     [%g1 + 27 * 8], %i3
        ldx     [%g1 + 28 * 8], %i4
        ldx     [%g1 + 29 * 8], %i5
        ldx     [%g1 + 30 * 8], %i6
        ldx     [%g1 + 31 * 8], %i7
        ldx     [%g1 + 1 * 8], %g1
        retry
/* Some globals, any window: all that the code left may be anything. */
probe_caught:
        ldxa    [%g0] ASI_UPA_CONFIG, %g1       ! who we are
        srlx    %g1, 17, %g1
        and     %g1, MAX_VCPUS - 1, %g1
        sllx    %g1, PROBE_SHIFT, %g1
        set     probes, %g2
        add     %g2, %g1, %g1
        rdpr    %tt, %g2
        stx     %g2, [%g1 + PROBE_TT]
        rdpr    %tpc, %g2
        stx     %g2, [%g1 + PROBE_TT + 8]
        rdpr    %tl, %g2
        stx     %g2, [%g1 + PROBE_TT + 16]
        mov     0x18, %g3
        ldxa    [%g3] ASI_DMMU, %g2
        stx     %g2, [%g1 + PROBE_TT + 24]
        ldxa    [%g3] ASI_IMMU, %g2
        stx     %g2, [%g1 + PROBE_TT + 40]
        mov     0x20, %g2
        ldxa    [%g2] ASI_DMMU, %g2
        stx     %g2, [%g1 + PROBE_TT + 32]
        stxa    %g0, [%g3] ASI_DMMU
        stxa    %g0, [%g3] ASI_IMMU
        mov     8, %g2                          ! contexts 0, MMUs on
        stxa    %g0, [%g2] ASI_DMMU
        mov     16, %g2
        stxa    %g0, [%g2] ASI_DMMU
        mov     LSU_MMUS, %g2
        stxa    %g2, [%g0] ASI_LSU_CONTROL
        membar  #Sync
        wr      %g0, -1, %tick_cmpr
        set     0x1ffff, %g2
        wr      %g2, 0, %clear_softint
        wr      %g0, 0, %asi
        wr      %g0, 0, %fprs
        wrpr    %g0, 0, %tl
        wrpr    %g0, 15, %pil
        wrpr    %g0, 0, %otherwin
        wrpr    %g0, 0, %canrestore
        wrpr    %g0, 6, %cansave
        wrpr    %g0, 6, %cleanwin
        wrpr    %g0, 0, %wstate
        ldx     [%g1 + PROBE_SP + 32], %g2
        wrpr    %g2, 0, %tba
        ldx     [%g1 + PROBE_SP + 40], %g2
        wrpr    %g2, 0, %cwp
        mov     %g1, %i0
        wrpr    %g0, PSTATE_PRIV | PSTATE_PEF, %pstate
        ldx     [%i0 + PROBE_SP], %sp
        ldx     [%i0 + PROBE_SP + 8], %fp
        ldx     [%i0 + PROBE_SP + 16], %i7
        ldx     [%i0 + PROBE_SP + 24], %g7
        ret
         restore
        .section .traps, "ax"
        .balign 0x8000
probe_traps:
        .rept   0x400
        ba,a    %xcc, probe_caught
        .balign 32
        .endr
        .text
