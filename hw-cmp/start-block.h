/*
 * Start register block of the CMP machine: see docs/machine.rst.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_CMP_START_BLOCK_H
#define HW_CMP_START_BLOCK_H

#include "hw/sysbus.h"
#include "cpu.h"
#include "cmp-mondo.h"

#define TYPE_START_BLOCK "cmp-start-block"
OBJECT_DECLARE_SIMPLE_TYPE(StartBlock, START_BLOCK)

#define START_BLOCK_SIZE 0x2000 /* one page */

struct StartBlock {
    SysBusDevice parent_obj;

    MemoryRegion mmio;
    SPARCCPU *cpu[CMP_MODULES]; /* links "cpu[0]" ..., by module id */
    uint32_t vcpus;             /* what CONFIG shows */
    uint32_t pcpus;

    /* registers */
    uint64_t module;
    uint64_t pc;
    uint64_t argument;
    uint64_t trap_base;
    uint64_t result;            /* of the last command */

    uint8_t exit_status;        /* written to SHUTDOWN: QEMU ends with it */

    /* Started, but their clocks have not come to that time: a bit a module */
    uint32_t starting;

    /* counters, by module id */
    uint64_t starts[CMP_MODULES];
    uint64_t stops[CMP_MODULES];
};

#endif
