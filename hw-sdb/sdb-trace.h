/*
 * A trace of what VCPUs commit: plugin-sdbtrace writes it, sdb-replay and
 * scripts/sdb-model read it.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_SDB_TRACE_H
#define HW_SDB_TRACE_H

#include <stdint.h>
#include <glib.h>

/* One record, little endian. */
typedef struct SDBTraceRecord {
    uint8_t kind;       /* 'L' load, 'S' store, 'M' mode, 'W' switch, 'E' end */
    uint8_t size;       /* L, S: bytes; M, W: 1 if the mode is now user */
    uint16_t pcpu;
    uint32_t vcpu;      /* the one that executes; W: the one that comes */
    uint64_t index;     /* instructions that this VCPU has committed before */
    /* L, S: virtual address; W: committed by the VCPU that goes */
    uint64_t address;
    uint64_t low, high; /* S: the value stored */
} SDBTraceRecord;
G_STATIC_ASSERT(sizeof(SDBTraceRecord) == 40);

#endif /* HW_SDB_TRACE_H */
