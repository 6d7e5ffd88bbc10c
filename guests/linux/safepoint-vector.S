/*
 * The interrupt vector of a vsched-safepoint, at trap level 1: Linux's do_ivec
 * jumps here, as for a cross-call.  Queue the interrupt of this processor, as
 * do_ivec does for a vector of a bridge.  Linux takes it when it has interrupts
 * on.
 *
 * SPDX-License-Identifier: GPL-2.0-only
 */

#include <asm/asi.h>
#include <asm/cpudata.h>
#include <asm/pil.h>

	.text
	.align	32
	.globl	safepoint_vector
	.type	safepoint_vector, #function
safepoint_vector:
	TRAP_LOAD_IRQ_WORK_PA(%g6, %g1)
	__GET_CPUID(%g1)
	sethi	%hi(safepoint_buckets_pa), %g2
	ldx	[%g2 + %lo(safepoint_buckets_pa)], %g2
	sllx	%g1, 4, %g1			/* sizeof(struct ino_bucket) */
	add	%g2, %g1, %g3
	ldx	[%g6], %g5
	stxa	%g5, [%g3] ASI_PHYS_USE_EC
	stx	%g3, [%g6]
	wr	%g0, 1 << PIL_DEVICE_IRQ, %set_softint
	retry
	.size	safepoint_vector, . - safepoint_vector
