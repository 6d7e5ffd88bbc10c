/*
 * Numbers that start.S and the C code share.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LAYOUT_H
#define LAYOUT_H

/* A program runs at this address, virtual and physical; kit.ld has it, too. */
#define PROGRAM_BASE        0x400000
#define PAGE_SHIFT          22          /* 4 MB, the only page size here */

#define MAX_VCPUS           32
#define STACK_SIZE          0x4000
#define STACK_BIAS          2047
#define FRAME_SIZE          192         /* window save area, six arguments */

/* What VCPUs write to the start register block's command register */
#define COMMAND_START       1           /* start the one that was prepared */
#define COMMAND_STOP        2           /* stop the one that writes */

/* struct vcpu */
#define VCPU_SHIFT          8
#define VCPU_RECEIVED       0
#define VCPU_SUM            8
#define VCPU_STRAY          16
#define VCPU_STACK          24

/* struct probe */
#define PROBE_SHIFT         9
#define PROBE_TT            280         /* what comes of it */
#define PROBE_SP            328         /* what is to be restored */

/* UltraSPARC I and II */
#define ASI_NUCLEUS         0x04
#define ASI_PHYS_IO         0x15        /* physical, not cached */
#define ASI_PHYS_IO_LITTLE  0x1d
#define ASI_LSU_CONTROL     0x45
#define ASI_DISPATCH_STATUS 0x48
#define ASI_RECEIVE         0x49
#define ASI_UPA_CONFIG      0x4a
#define ASI_IMMU            0x50
#define ASI_ITLB_DATA_IN    0x54
#define ASI_ITLB_ENTRY      0x55
#define ASI_DMMU            0x58
#define ASI_DTLB_DATA_IN    0x5c
#define ASI_DTLB_ENTRY      0x5d
#define ASI_INTR_SEND       0x77
#define ASI_INTR_DATA       0x7f
#define MMU_TAG_ACCESS      0x30

#define LSU_MMUS            0xc         /* instruction and data MMU on */
#define TTE_VALID_4MB       7           /* bits 63:61: V, size 3 */
#define TTE_FLAGS           0x33        /* CP, CV, W, G; user mode as well */
#define TTE_LOCKED          0x40

#define PSTATE_IE           0x02
#define PSTATE_PRIV         0x04
#define PSTATE_PEF          0x10
#define TSTATE_PSTATE_SHIFT 8

#endif
