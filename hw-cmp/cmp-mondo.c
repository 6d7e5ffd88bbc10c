/*
 * Interrupt vectors of the CMP machine.
 *
 * A VCPU has a mailbox for one vector (UltraSPARC User's Manual, chapter 11).
 * A cross-call finds it free and is accepted, or finds it full and is refused:
 * the sender sees NACK and tries again.  That is the cross-call problem of
 * Wells et al.: with more VCPUs than PCPUs the one that has to empty the
 * mailbox may not be running, and its sender spins meanwhile.
 *
 * Accepting reserves the mailbox at once; the vector itself arrives when the
 * engine says that the target's clock has come to the sender's present.
 *
 * The bridge keeps a device vector that is refused, and sends it again when it
 * is told that the mailbox is free: devices have the next turn.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/log.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "hw/qdev-properties.h"
#include "hw/pci-host/sabre.h"
#include "migration/vmstate.h"
#include "vsched/vsched.h"
#include "cmp-mondo.h"
#include "trace.h"

/* Group number of the bridge: upper 5 bits of the vectors of its devices. */
#define BRIDGE_GROUP 0x1f

static bool mailbox_free(const CmpMailbox *box)
{
    return !box->in_flight && !(box->cpu->env.ivec_status & IVEC_BUSY);
}

static void mailbox_deliver(CPUState *cs, void *opaque)
{
    CmpMailbox *box = opaque;
    CPUSPARCState *env = &box->cpu->env;

    trace_cmp_vector_deliver(box->cpu->module_id, box->sender, box->data[0]);
    box->in_flight = false;
    box->received++;
    memcpy(env->ivec_data, box->data, sizeof(env->ivec_data));
    env->ivec_status = IVEC_BUSY | box->sender;
    env->interrupt_index = TT_IVEC;
    cpu_interrupt(cs, CPU_INTERRUPT_HARD);
}

static void mailbox_put(CmpMailbox *box, uint8_t sender,
                        const uint64_t data[3])
{
    box->in_flight = true;
    box->sender = sender;
    memcpy(box->data, data, sizeof(box->data));
    vsched_post(CPU(box->cpu), mailbox_deliver, box);
}

static bool cmp_mondo_dispatch(SPARCCPU *cpu, unsigned int target,
                               const uint64_t data[3])
{
    CmpMailbox *from = cpu->vector_opaque;
    CmpMailbox *to = from->mondo->mailbox[target];
    bool accept;

    from->sent++;
    if (!to) {
        qemu_log_mask(LOG_GUEST_ERROR, "cmp-mondo: module %u sends to module "
                      "%u, which is not there\n", cpu->module_id, target);
        from->mondo->no_module++;
        from->refused++;
        return false;
    }

    accept = mailbox_free(to);
    trace_cmp_vector_dispatch(cpu->module_id, target, data[0],
                              accept ? "accepted" : "NACK");
    if (accept) {
        from->accepted++;
        mailbox_put(to, cpu->module_id, data);
    } else {
        from->refused++;
    }
    vsched_cross_call(CPU(cpu), CPU(to->cpu), accept);
    return accept;
}

static void cmp_mondo_received(SPARCCPU *cpu)
{
    CmpMailbox *box = cpu->vector_opaque;

    unsigned int module = cpu->module_id;

    trace_cmp_vector_received(module);
    notifier_list_notify(&box->mondo->retry, &module);
}

static const SPARCVectorOps cmp_vector_ops = {
    .dispatch = cmp_mondo_dispatch,
    .received = cmp_mondo_received,
};

bool cmp_mondo_send_vector(CmpMondo *mondo, unsigned int target,
                           const uint64_t data[3])
{
    CmpMailbox *box = mondo->mailbox[target];
    bool accept = box && mailbox_free(box);

    trace_cmp_device_vector(target, data[0], !box ? "no such module" :
                            accept ? "accepted" : "NACK");
    if (!box) {
        mondo->no_module++;
    } else if (accept) {
        box->device_vectors++;
        mailbox_put(box, BRIDGE_GROUP, data);
    } else {
        box->device_refused++;
    }
    return accept;
}

/* A vector of the bridge; false if it has to wait. */
static bool cmp_mondo_send(VectorSink *sink, unsigned int target,
                           uint64_t data0)
{
    const uint64_t data[3] = { data0, 0, 0 };

    return cmp_mondo_send_vector(CMP_MONDO(sink), target, data);
}

static void cmp_mondo_add_retry(VectorSink *sink, Notifier *notifier)
{
    notifier_list_add(&CMP_MONDO(sink)->retry, notifier);
}

void cmp_mondo_add_cpu(CmpMondo *mondo, SPARCCPU *cpu)
{
    CmpMailbox *box = CMP_MAILBOX(qdev_new(TYPE_CMP_MAILBOX));
    g_autofree char *name = g_strdup_printf("mailbox[%u]", cpu->module_id);

    assert(cpu->module_id < CMP_MODULES && !mondo->mailbox[cpu->module_id]);
    object_property_add_child(OBJECT(mondo), name, OBJECT(box));
    object_property_set_link(OBJECT(box), "cpu", OBJECT(cpu), &error_abort);
    box->mondo = mondo;
    mondo->mailbox[cpu->module_id] = box;
    cpu->vector_ops = &cmp_vector_ops;
    cpu->vector_opaque = box;
    qdev_realize_and_unref(DEVICE(box), NULL, &error_abort);
}

/*
 * Mailbox
 *
 * A reset empties it, because it is a register of the processor (ivec_status);
 * counters are about the machine and go on.
 */

static void cmp_mailbox_init(Object *obj)
{
    CmpMailbox *box = CMP_MAILBOX(obj);
    const struct {
        const char *name;
        uint64_t *counter;
        const char *description;
    } counters[] = {
        { "sent", &box->sent, "vectors that this VCPU dispatched" },
        { "accepted", &box->accepted, "dispatched and accepted" },
        { "refused", &box->refused, "dispatched and refused (NACK)" },
        { "received", &box->received, "vectors put into this mailbox" },
        { "device-vectors", &box->device_vectors, "from devices" },
        { "device-refused", &box->device_refused,
          "from devices, and found the mailbox full" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(counters); i++) {
        object_property_add_uint64_ptr(obj, counters[i].name,
                                       counters[i].counter, OBJ_PROP_FLAG_READ);
        object_property_set_description(obj, counters[i].name,
                                        counters[i].description);
    }
}

static const VMStateDescription vmstate_cmp_mailbox = {
    .name = "cmp-mailbox",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64(sent, CmpMailbox),
        VMSTATE_UINT64(accepted, CmpMailbox),
        VMSTATE_UINT64(refused, CmpMailbox),
        VMSTATE_UINT64(received, CmpMailbox),
        VMSTATE_UINT64(device_vectors, CmpMailbox),
        VMSTATE_UINT64(device_refused, CmpMailbox),
        VMSTATE_END_OF_LIST()
    },
};

static const Property cmp_mailbox_properties[] = {
    DEFINE_PROP_LINK("cpu", CmpMailbox, cpu, TYPE_SPARC_CPU, SPARCCPU *),
};

static void cmp_mailbox_class_init(ObjectClass *oc, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(oc);

    dc->desc = "Interrupt vector mailbox of a VCPU";
    dc->user_creatable = false;
    dc->vmsd = &vmstate_cmp_mailbox;
    device_class_set_props(dc, cmp_mailbox_properties);
}

/* All mailboxes of a machine */

static void cmp_mondo_get_total(Object *obj, Visitor *v, const char *name,
                                void *opaque, Error **errp)
{
    CmpMondo *mondo = CMP_MONDO(obj);
    size_t offset = (uintptr_t)opaque;
    uint64_t total = 0;

    for (int i = 0; i < CMP_MODULES; i++) {
        if (mondo->mailbox[i]) {
            total += *(uint64_t *)((char *)mondo->mailbox[i] + offset);
        }
    }
    visit_type_uint64(v, name, &total, errp);
}

static void cmp_mondo_init(Object *obj)
{
    notifier_list_init(&CMP_MONDO(obj)->retry);
}

static const VMStateDescription vmstate_cmp_mondo = {
    .name = "cmp-mondo",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64(no_module, CmpMondo),
        VMSTATE_END_OF_LIST()
    },
};

static void cmp_mondo_add_total(ObjectClass *oc, const char *name,
                                size_t offset, const char *description)
{
    object_class_property_add(oc, name, "uint64", cmp_mondo_get_total, NULL,
                              NULL, (void *)(uintptr_t)offset);
    object_class_property_set_description(oc, name, description);
}

static void cmp_mondo_class_init(ObjectClass *oc, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(oc);
    VectorSinkClass *vsc = VECTOR_SINK_CLASS(oc);

    vsc->send = cmp_mondo_send;
    vsc->add_retry = cmp_mondo_add_retry;
    dc->desc = "Interrupt vectors of the CMP";
    dc->user_creatable = false;
    dc->vmsd = &vmstate_cmp_mondo;
    cmp_mondo_add_total(oc, "sent", offsetof(CmpMailbox, sent),
                        "vectors that VCPUs dispatched");
    cmp_mondo_add_total(oc, "accepted", offsetof(CmpMailbox, accepted),
                        "dispatched and accepted");
    cmp_mondo_add_total(oc, "refused", offsetof(CmpMailbox, refused),
                        "dispatched and refused (NACK)");
    cmp_mondo_add_total(oc, "received", offsetof(CmpMailbox, received),
                        "vectors put into mailboxes");
    cmp_mondo_add_total(oc, "device-vectors",
                        offsetof(CmpMailbox, device_vectors), "from devices");
    cmp_mondo_add_total(oc, "device-refused",
                        offsetof(CmpMailbox, device_refused),
                        "from devices, and found the mailbox full");
}

static const TypeInfo cmp_mondo_types[] = {
    {
        .name = TYPE_CMP_MAILBOX,
        .parent = TYPE_DEVICE,
        .instance_size = sizeof(CmpMailbox),
        .instance_init = cmp_mailbox_init,
        .class_init = cmp_mailbox_class_init,
    },
    {
        .name = TYPE_CMP_MONDO,
        .parent = TYPE_DEVICE,
        .instance_size = sizeof(CmpMondo),
        .instance_init = cmp_mondo_init,
        .class_init = cmp_mondo_class_init,
        .interfaces = (InterfaceInfo[]) {
            { TYPE_VECTOR_SINK },
            { }
        },
    },
};

DEFINE_TYPES(cmp_mondo_types)
