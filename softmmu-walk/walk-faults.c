/*
 * The register by which a guest says where its kernel counts page faults:
 *
 *     -device vsched-fault-counter,addr=0xfeb00000
 *
 * DSP with faults=guest reads these counters, as in Wang et al., VEE 2011,
 * section 3.2: a module in the guest tells the hypervisor the address.  A VCPU
 * that writes the guest-physical address of a counter to the register, both of
 * 64 bits in the guest's byte order and the address a multiple of 8, adds it to
 * those of its VM: Linux counts on each processor apart.  A write of 0 takes
 * all of the VM back.  The register reads as how many the VM has.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/log.h"
#include "qapi/error.h"
#include "exec/address-spaces.h"
#include "exec/target_page.h"
#include "exec/tswap.h"
#include "hw/core/cpu.h"
#include "hw/qdev-core.h"
#include "hw/qdev-properties.h"
#include "migration/vmstate.h"
#include "system/reset.h"
#include "walk-glue.h"

#define TYPE_FAULT_COUNTER "vsched-fault-counter"
OBJECT_DECLARE_SIMPLE_TYPE(FaultCounterState, FAULT_COUNTER)

#define COUNTERS_MAX 1024       /* of a VM */

struct FaultCounterState {
    DeviceState parent_obj;
    MemoryRegion iomem;
    uint64_t addr;
    /* All of all VMs while the state is saved or loaded: VM, address, ... */
    uint32_t saved_words;
    uint64_t *saved;
};

bool paging_guest_faults(unsigned vm, uint64_t *faults)
{
    const GArray *all = paging.fault_counters ? paging.fault_counters[vm]
                                              : NULL;

    *faults = 0;
    for (int i = 0; all && i < all->len; i++) {
        uint64_t value = 0;

        address_space_read(&address_space_memory,
                           g_array_index(all, uint64_t, i),
                           MEMTXATTRS_UNSPECIFIED, &value, sizeof(value));
        *faults += tswap64(value);
    }
    return all && all->len;
}

/* The counters of the VM whose VCPU executes, or NULL */
static GArray *counters_of_guest(void)
{
    const VschedTopology *t = &vsched_engine->core->topology;

    return current_cpu ? paging.fault_counters[t->vm[vsched_vcpu(current_cpu)]]
                       : NULL;
}

static uint64_t counter_read(void *opaque, hwaddr addr, unsigned size)
{
    const GArray *all = counters_of_guest();

    return all ? all->len : 0;
}

static bool has(const GArray *all, uint64_t address)
{
    for (int i = 0; i < all->len; i++) {
        if (g_array_index(all, uint64_t, i) == address) {
            return true;
        }
    }
    return false;
}

/* What counters that come or go have counted is of no sample. */
static void counters_changed(void)
{
    unsigned vm = vsched_engine->core->topology.vm[vsched_vcpu(current_cpu)];
    uint64_t faults = 0;

    if (dsp_is_enabled(paging.dsp, vm) &&
        dsp_settings(paging.dsp, vm)->faults == DSP_FAULTS_GUEST) {
        paging_guest_faults(vm, &faults);
        dsp_faults_begin_anew(paging.dsp, vm, faults);
    }
}

static void counter_write(void *opaque, hwaddr addr, uint64_t value,
                          unsigned size)
{
    GArray *all = counters_of_guest();
    unsigned before;

    if (!all) {
        return;
    }
    before = all->len;
    if (!value) {
        g_array_set_size(all, 0);
    } else if (value % sizeof(uint64_t) || all->len == COUNTERS_MAX) {
        qemu_log_mask(LOG_GUEST_ERROR, TYPE_FAULT_COUNTER ": 0x%" PRIx64
                      " is not added: allowed are %d multiples of 8\n", value,
                      COUNTERS_MAX);
    } else if (!has(all, value)) {
        g_array_append_val(all, value);
    }
    if (all->len != before) {
        counters_changed();
    }
}

static const MemoryRegionOps counter_ops = {
    .read = counter_read,
    .write = counter_write,
    .endianness = DEVICE_NATIVE_ENDIAN,
    .valid = { .min_access_size = 8, .max_access_size = 8 },
    .impl = { .min_access_size = 8, .max_access_size = 8 },
};

static void counter_reset(void *opaque)
{
    for (unsigned vm = 0; vm < paging.vms; vm++) {
        g_array_set_size(paging.fault_counters[vm], 0);
    }
}

static void counter_realize(DeviceState *dev, Error **errp)
{
    FaultCounterState *s = FAULT_COUNTER(dev);

    if (!paging.model) {
        error_setg(errp, "it needs a model of paging: "
                   "-accel tcg,thread=vsched,paging=");
        return;
    }
    if (paging.fault_counters) {
        error_setg(errp, "there is one already");
        return;
    }
    if (!vsched_map_registers(dev, &s->iomem, &counter_ops, s->addr, 8,
                              errp)) {
        return;
    }
    paging.fault_counters = g_new(GArray *, paging.vms);
    for (unsigned vm = 0; vm < paging.vms; vm++) {
        paging.fault_counters[vm] = g_array_new(false, false,
                                                sizeof(uint64_t));
    }
    qemu_register_reset(counter_reset, NULL);
}

static int counter_pre_save(void *opaque)
{
    FaultCounterState *s = opaque;
    GArray *words = g_array_new(false, false, sizeof(uint64_t));

    for (uint64_t vm = 0; vm < paging.vms; vm++) {
        const GArray *all = paging.fault_counters[vm];

        for (int i = 0; i < all->len; i++) {
            g_array_append_val(words, vm);
            g_array_append_val(words, g_array_index(all, uint64_t, i));
        }
    }
    g_free(s->saved);
    s->saved_words = words->len;
    s->saved = (uint64_t *)g_array_free(words, false);
    return 0;
}

static int counter_post_load(void *opaque, int version)
{
    FaultCounterState *s = opaque;

    counter_reset(NULL);
    if (s->saved_words % 2) {
        return -EINVAL;
    }
    for (uint32_t i = 0; i < s->saved_words; i += 2) {
        uint64_t vm = s->saved[i], address = s->saved[i + 1];

        if (vm >= paging.vms || !address || address % sizeof(uint64_t) ||
            paging.fault_counters[vm]->len == COUNTERS_MAX) {
            counter_reset(NULL);
            return -EINVAL;
        }
        g_array_append_val(paging.fault_counters[vm], address);
    }
    return 0;
}

static const VMStateDescription vmstate_counter = {
    .name = TYPE_FAULT_COUNTER,
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = counter_pre_save,
    .post_load = counter_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(saved_words, FaultCounterState),
        VMSTATE_VARRAY_UINT32_ALLOC(saved, FaultCounterState, saved_words, 0,
                                    vmstate_info_uint64, uint64_t),
        VMSTATE_END_OF_LIST()
    }
};

static const Property counter_properties[] = {
    DEFINE_PROP_UINT64("addr", FaultCounterState, addr, UINT64_MAX),
};

static void counter_class_init(ObjectClass *oc, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(oc);

    dc->desc = "Register by which a guest says where it counts page faults";
    dc->realize = counter_realize;
    dc->hotpluggable = false;
    dc->vmsd = &vmstate_counter;
    device_class_set_props(dc, counter_properties);
    object_class_property_set_description(oc, "addr",
        "physical address of the register, a multiple of 8");
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
}

static const TypeInfo types[] = {
    {
        .name = TYPE_FAULT_COUNTER,
        .parent = TYPE_DEVICE,
        .instance_size = sizeof(FaultCounterState),
        .class_init = counter_class_init,
    },
};

DEFINE_TYPES(types)
