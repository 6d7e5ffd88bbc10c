/*
 * Safe points that are injected: the registers of the guest's driver.
 *
 *     -device vsched-safepoint,addr=0x1fe0f200000
 *
 * "Injected safe points" (Uhlig et al., VM 2004): a hypervisor that wants to
 * preempt a processor in kernel mode sends it an interrupt.  The guest takes it
 * where interrupts are on, that is, where it holds no lock that needs them to
 * be off.  A driver in the guest answers then.  Policy "safepoint" with
 * inject=on asks.
 *
 *     0   VECTOR  data 0 of the interrupt vector that asks; 0: no driver
 *     8   SAFE    written, any value: the VCPU that writes is at a safe point
 *
 * Data 1 of the vector is the physical address of SAFE, so that a driver for
 * this vector alone is one store.  The registers have 64 bits, in the guest's
 * byte order.  A processor is not asked again before it has answered; a vector
 * that finds its mailbox full is sent when that is free.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/pci-host/sabre.h"
#include "hw/qdev-properties.h"
#include "migration/vmstate.h"
#include "vsched/vsched.h"
#include "cmp-mondo.h"
#include "trace.h"

#define TYPE_SAFE_POINT "vsched-safepoint"
OBJECT_DECLARE_SIMPLE_TYPE(SafePointState, SAFE_POINT)

enum { VECTOR = 0, SAFE = 8, REGISTERS = 16 };

struct SafePointState {
    DeviceState parent_obj;

    MemoryRegion iomem;
    uint64_t addr;
    CmpMondo *mondo;
    Notifier mailbox_free;

    uint64_t vector;            /* 0: no driver */
    /* bits of module ids */
    uint32_t asked;             /* has not answered yet */
    uint32_t waiting;           /* of these: its mailbox was full */
    uint64_t asks, answers;     /* counters */
};

static void send_vector(SafePointState *s, unsigned int module)
{
    const uint64_t data[3] = { s->vector, s->addr + SAFE, 0 };

    if (cmp_mondo_send_vector(s->mondo, module, data)) {
        s->waiting &= ~(1u << module);
    } else {
        s->waiting |= 1u << module;
    }
}

static void ask(CPUState *cpu, void *opaque)
{
    SafePointState *s = opaque;
    unsigned int module = SPARC_CPU(cpu)->module_id;

    if (s->vector && !(s->asked >> module & 1)) {
        trace_safe_point_ask(module);
        s->asked |= 1u << module;
        s->asks++;
        send_vector(s, module);
    }
}

static void mailbox_free(Notifier *notifier, void *data)
{
    SafePointState *s = container_of(notifier, SafePointState, mailbox_free);
    unsigned int module = *(unsigned int *)data;

    if (s->waiting >> module & 1) {
        send_vector(s, module);
    }
}

static void forget(SafePointState *s)
{
    s->asked = s->waiting = 0;
}

static uint64_t safe_point_read(void *opaque, hwaddr addr, unsigned size)
{
    SafePointState *s = opaque;

    return addr == VECTOR ? s->vector : 0;
}

static void safe_point_write(void *opaque, hwaddr addr, uint64_t value,
                             unsigned size)
{
    SafePointState *s = opaque;

    if (addr == VECTOR) {
        s->vector = value;
        forget(s);
    } else if (current_cpu) {
        unsigned int module = SPARC_CPU(current_cpu)->module_id;

        trace_safe_point_answer(module, s->asked >> module & 1);
        s->answers += s->asked >> module & 1;
        s->asked &= ~(1u << module);
        s->waiting &= ~(1u << module);
        vsched_safe_point();
    }
}

static const MemoryRegionOps safe_point_ops = {
    .read = safe_point_read,
    .write = safe_point_write,
    .endianness = DEVICE_BIG_ENDIAN,
    .valid = { .min_access_size = 8, .max_access_size = 8 },
    .impl = { .min_access_size = 8, .max_access_size = 8 },
};

static void safe_point_realize(DeviceState *dev, Error **errp)
{
    SafePointState *s = SAFE_POINT(dev);
    Object *mondo = object_resolve_path_type("", TYPE_CMP_MONDO, NULL);

    if (!mondo) {
        error_setg(errp, "it needs interrupt vectors between processors, as "
                   "machines cmp and cmp8 have them");
        return;
    }
    if (!vsched_map_registers(dev, &s->iomem, &safe_point_ops, s->addr,
                              REGISTERS, errp)) {
        return;
    }
    if (!vsched_set_safe_point_driver(ask, s)) {
        error_setg(errp, "there is one already: allowed is one");
        return;
    }
    s->mondo = CMP_MONDO(mondo);
    s->mailbox_free.notify = mailbox_free;
    VECTOR_SINK_GET_CLASS(mondo)->add_retry(VECTOR_SINK(mondo),
                                            &s->mailbox_free);
}

static void safe_point_reset(DeviceState *dev)
{
    SafePointState *s = SAFE_POINT(dev);

    s->vector = 0;
    forget(s);
}

static const VMStateDescription vmstate_safe_point = {
    .name = TYPE_SAFE_POINT,
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64(vector, SafePointState),
        VMSTATE_UINT32(asked, SafePointState),
        VMSTATE_UINT32(waiting, SafePointState),
        VMSTATE_UINT64(asks, SafePointState),
        VMSTATE_UINT64(answers, SafePointState),
        VMSTATE_END_OF_LIST()
    },
};

static void safe_point_init(Object *obj)
{
    SafePointState *s = SAFE_POINT(obj);

    object_property_add_uint64_ptr(obj, "asks", &s->asks, OBJ_PROP_FLAG_READ);
    object_property_set_description(obj, "asks",
                                    "times that a VCPU was asked");
    object_property_add_uint64_ptr(obj, "answers", &s->answers,
                                   OBJ_PROP_FLAG_READ);
    object_property_set_description(obj, "answers",
                                    "times that one answered");
}

static const Property safe_point_properties[] = {
    DEFINE_PROP_UINT64("addr", SafePointState, addr, UINT64_MAX),
};

static void safe_point_class_init(ObjectClass *oc, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(oc);

    dc->desc = "Registers by which a driver of the guest says that a VCPU is "
               "at a safe point";
    dc->realize = safe_point_realize;
    dc->vmsd = &vmstate_safe_point;
    dc->hotpluggable = false;
    device_class_set_legacy_reset(dc, safe_point_reset);
    device_class_set_props(dc, safe_point_properties);
    object_class_property_set_description(oc, "addr",
        "physical address of the registers, a multiple of 16");
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
}

static const TypeInfo safe_point_types[] = {
    {
        .name = TYPE_SAFE_POINT,
        .parent = TYPE_DEVICE,
        .instance_size = sizeof(SafePointState),
        .instance_init = safe_point_init,
        .class_init = safe_point_class_init,
    },
};

DEFINE_TYPES(safe_point_types)
