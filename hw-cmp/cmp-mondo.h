/*
 * Interrupt vectors of the CMP machine: one mailbox a VCPU, filled by
 * cross-calls from other VCPUs and by device vectors from the bridge.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_CMP_CMP_MONDO_H
#define HW_CMP_CMP_MONDO_H

#include "hw/qdev-core.h"
#include "qemu/notify.h"
#include "cpu.h"

#define CMP_MODULES 32          /* 5-bit module ids */

#define TYPE_CMP_MAILBOX "cmp-mailbox"
OBJECT_DECLARE_SIMPLE_TYPE(CmpMailbox, CMP_MAILBOX)

#define TYPE_CMP_MONDO "cmp-mondo"
OBJECT_DECLARE_SIMPLE_TYPE(CmpMondo, CMP_MONDO)

struct CmpMailbox {
    DeviceState parent_obj;

    SPARCCPU *cpu;
    CmpMondo *mondo;

    /* Accepted, but the clock of the VCPU has not reached it yet. */
    bool in_flight;
    uint8_t sender;
    uint64_t data[3];

    /* Counters: what this VCPU sent, and what came for it */
    uint64_t sent;
    uint64_t accepted;
    uint64_t refused;           /* NACK */
    uint64_t received;
    uint64_t device_vectors;    /* accepted */
    uint64_t device_refused;    /* found the mailbox full; the bridge waits */
};

struct CmpMondo {
    DeviceState parent_obj;

    CmpMailbox *mailbox[CMP_MODULES];
    NotifierList retry;         /* bridges, called when a mailbox is free */
    uint64_t no_module;         /* vectors sent to a module that is not there */
};

/* Give @cpu, not yet realized, its mailbox. */
void cmp_mondo_add_cpu(CmpMondo *mondo, SPARCCPU *cpu);

/*
 * A vector of a device of the board; false if the mailbox of module @target is
 * full, or there is no such module.  VectorSinkClass.add_retry tells when it is
 * free.
 */
bool cmp_mondo_send_vector(CmpMondo *mondo, unsigned int target,
                           const uint64_t data[3]);

#endif
