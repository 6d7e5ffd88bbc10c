/*
 * Registers that a guest writes to speak to the engine: hold.c, mark.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "exec/address-spaces.h"
#include "exec/target_page.h"
#include "hw/qdev-core.h"
#include "engine.h"

bool vsched_register_realize(DeviceState *dev, MemoryRegion *iomem,
                             const MemoryRegionOps *ops, uint64_t addr,
                             Error **errp)
{
    MemoryRegionSection there;

    if (!vsched_engine) {
        error_setg(errp, "it needs -accel tcg,thread=vsched");
        return false;
    }
    if (addr == UINT64_MAX || addr % 8) {
        error_setg(errp, "addr has to be given: allowed are physical addresses "
                   "that are multiples of 8, where nothing else is");
        return false;
    }
    there = memory_region_find(get_system_memory(), addr, 8);
    if (there.mr && memory_region_is_ram(there.mr)) {
        error_setg(errp, "addr=0x%" PRIx64 " is in the guest's memory: allowed "
                   "are addresses where nothing is", addr);
        memory_region_unref(there.mr);
        return false;
    }
    if (there.mr) {
        memory_region_unref(there.mr);
    }
    memory_region_init_io(iomem, OBJECT(dev), ops, dev,
                          object_get_typename(OBJECT(dev)), 8);
    memory_region_add_subregion_overlap(get_system_memory(), addr, iomem, 1);
    return true;
}
