/*
 * The mark register: a program says where it is.
 *
 *     -device vsched-mark,addr=0x1fe0f100000,stop=on
 *
 * A VCPU that writes n to the register, of 32 or 64 bits in the guest's byte
 * order, has come to mark n of its program.  Users hear of it by the event
 * VSCHED_MARK, with the number of instructions that were executed so far: those
 * between two marks can be counted.  With stop=on the machine stops there, so
 * that a state can be saved.  VSCHED_MARK_BEGIN is for policies, too: "explore"
 * begins.  The register reads as 0.
 *
 * The instruction that writes is the last one that its PCPU executes in the
 * window, whether or not the machine stops: the rest of the window passes as a
 * stall.  So where there is one PCPU, nothing is executed between a mark and
 * the end of the window, where a machine stops and is saved.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-events-vsched.h"
#include "exec/target_page.h"
#include "hw/core/cpu.h"
#include "hw/qdev-core.h"
#include "hw/qdev-properties.h"
#include "vsched/vsched.h"
#include "engine.h"

#define TYPE_VSCHED_MARK "vsched-mark"
OBJECT_DECLARE_SIMPLE_TYPE(VschedMarkState, VSCHED_MARK)

struct VschedMarkState {
    DeviceState parent_obj;
    MemoryRegion iomem;
    uint64_t addr;
    bool stop;
};

static uint64_t mark_read(void *opaque, hwaddr addr, unsigned size)
{
    return 0;
}

/* Instructions that all VCPUs have retired, the one that executes included. */
static uint64_t all_insns(const VschedEngine *e)
{
    uint64_t insns = vsched_exec_insns();

    for (int p = 0; p < e->pcpus; p++) {
        insns += e->core->pcpu[p].insns;
    }
    return insns;
}

static void mark_write(void *opaque, hwaddr addr, uint64_t value,
                       unsigned size)
{
    VschedMarkState *s = opaque;
    VschedEngine *e = vsched_engine;
    VschedHint hint = {
        .kind = VSCHED_HINT_MARK,
        .number = value,
    };

    if (!vsched_guest_says(&hint)) {
        return;
    }
    qapi_event_send_vsched_mark(hint.vcpu, value,
                                vsched_cycles_to_ns(e, hint.now),
                                all_insns(e));
    vsched_notify_guest_says(&hint);
    if (s->stop) {
        vsched_stop_at_window_end(e);
    }
    vsched_cut();
    vsched_stall(current_cpu, MAX(0, e->core->window_end - hint.now));
}

static const MemoryRegionOps mark_ops = {
    .read = mark_read,
    .write = mark_write,
    .endianness = DEVICE_NATIVE_ENDIAN,
    .valid = { .min_access_size = 4, .max_access_size = 8 },
    .impl = { .min_access_size = 4, .max_access_size = 8 },
};

static void mark_realize(DeviceState *dev, Error **errp)
{
    VschedMarkState *s = VSCHED_MARK(dev);

    vsched_map_registers(dev, &s->iomem, &mark_ops, s->addr, 8, errp);
}

static const Property mark_properties[] = {
    DEFINE_PROP_UINT64("addr", VschedMarkState, addr, UINT64_MAX),
    DEFINE_PROP_BOOL("stop", VschedMarkState, stop, false),
};

static void mark_class_init(ObjectClass *oc, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(oc);

    dc->desc = "Register by which a program says where it is";
    dc->realize = mark_realize;
    dc->hotpluggable = false;
    device_class_set_props(dc, mark_properties);
    object_class_property_set_description(oc, "addr",
        "physical address of the register, a multiple of 8");
    object_class_property_set_description(oc, "stop",
        "whether the machine stops at a mark, at the end of the window");
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
}

static const TypeInfo types[] = {
    {
        .name = TYPE_VSCHED_MARK,
        .parent = TYPE_DEVICE,
        .instance_size = sizeof(VschedMarkState),
        .class_init = mark_class_init,
    },
};

DEFINE_TYPES(types)
