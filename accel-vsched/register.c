/*
 * Registers by which a guest speaks to the engine, of devices whose address the
 * user gives: hold.c, mark.c, safe points of hw-cmp/.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "exec/address-spaces.h"
#include "hw/qdev-core.h"
#include "vsched/vsched.h"
#include "engine.h"

bool vsched_map_registers(DeviceState *dev, MemoryRegion *registers,
                          const MemoryRegionOps *ops, uint64_t addr,
                          uint64_t size, Error **errp)
{
    MemoryRegionSection there;

    if (!vsched_engine) {
        error_setg(errp, "it needs -accel tcg,thread=vsched");
        return false;
    }
    if (addr > INT64_MAX || addr % size) {
        g_autofree char *given = addr == UINT64_MAX ?
            g_strdup("addr has to be given") :
            g_strdup_printf("addr=0x%" PRIx64 " is not possible", addr);

        error_setg(errp, "%s: allowed are physical addresses that are multiples"
                   " of %" PRIu64 ", below 2^63, where nothing else is", given,
                   size);
        return false;
    }
    there = memory_region_find(get_system_memory(), addr, size);
    if (there.mr) {
        g_autofree char *what = memory_region_is_ram(there.mr) ?
            g_strdup("in the guest's memory") :
            g_strdup_printf("taken by '%s'", memory_region_name(there.mr));

        error_setg(errp, "addr=0x%" PRIx64 " is %s: allowed are addresses "
                   "where nothing is", addr, what);
        memory_region_unref(there.mr);
        return false;
    }
    memory_region_init_io(registers, OBJECT(dev), ops, dev,
                          object_get_typename(OBJECT(dev)), size);
    memory_region_add_subregion_overlap(get_system_memory(), addr, registers,
                                        1);
    return true;
}
