/*
 * The hold register: a guest asks not to be preempted for a while.
 *
 *     -device vsched-hold,addr=0x1fe0f100000
 *
 * A VCPU that writes n to the register, of 64 bits in the guest's byte order,
 * asks to run on for n cycles; 0 takes that back.  It is for code that holds a
 * lock, "intrusive lock-holder preemption avoidance" (Uhlig et al., VM 2004).
 * What becomes of it is the policy's: "safepoint" honours it, within a limit,
 * others do not hear of it.  The register reads as 0.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "exec/address-spaces.h"
#include "exec/target_page.h"
#include "hw/core/cpu.h"
#include "hw/qdev-core.h"
#include "hw/qdev-properties.h"
#include "migration/vmstate.h"
#include "vsched/vsched.h"
#include "engine.h"

#define TYPE_VSCHED_HOLD "vsched-hold"
OBJECT_DECLARE_SIMPLE_TYPE(VschedHoldState, VSCHED_HOLD)

struct VschedHoldState {
    DeviceState parent_obj;
    MemoryRegion iomem;
    uint64_t addr;
};

static uint64_t hold_read(void *opaque, hwaddr addr, unsigned size)
{
    return 0;
}

static void hold_write(void *opaque, hwaddr addr, uint64_t value,
                       unsigned size)
{
    VschedHint hint = {
        .kind = VSCHED_HINT_HOLD,
        .cycles = MIN(value, INT64_MAX),
    };

    vsched_notify_guest_says(&hint);
}

static const MemoryRegionOps hold_ops = {
    .read = hold_read,
    .write = hold_write,
    .endianness = DEVICE_NATIVE_ENDIAN,
    .valid = { .min_access_size = 8, .max_access_size = 8 },
    .impl = { .min_access_size = 8, .max_access_size = 8 },
};

static void hold_realize(DeviceState *dev, Error **errp)
{
    VschedHoldState *s = VSCHED_HOLD(dev);

    vsched_map_registers(dev, &s->iomem, &hold_ops, s->addr, 8, errp);
}

static const Property hold_properties[] = {
    DEFINE_PROP_UINT64("addr", VschedHoldState, addr, UINT64_MAX),
};

static void hold_class_init(ObjectClass *oc, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(oc);

    dc->desc = "Register by which a guest asks not to be preempted";
    dc->realize = hold_realize;
    dc->hotpluggable = false;
    device_class_set_props(dc, hold_properties);
    object_class_property_set_description(oc, "addr",
        "physical address of the register, a multiple of 8");
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
}

static const TypeInfo types[] = {
    {
        .name = TYPE_VSCHED_HOLD,
        .parent = TYPE_DEVICE,
        .instance_size = sizeof(VschedHoldState),
        .class_init = hold_class_init,
    },
};

DEFINE_TYPES(types)
