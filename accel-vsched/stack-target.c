/*
 * Call stacks: memory of the guest, read without a trace.  See stack-target.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/rcu.h"
#include "exec/memory.h"
#include "exec/target_page.h"
#include "stack-target.h"

void (*vsched_stack_of_target)(CPUState *cpu, uint64_t pc, bool user,
                               int most, VschedStack *stack);

static bool debugger_page(CPUState *cpu, bool user, uint64_t address,
                          hwaddr *physical, MemTxAttrs *attrs)
{
    *physical = cpu_get_phys_page_attrs_debug(cpu, address, attrs);
    return *physical != -1;
}

/* Where the host has the RAM of the page at @address; NULL: nowhere. */
static const uint8_t *find_ram(VschedLook *look, bool user, uint64_t address)
{
    MemTxAttrs attrs = MEMTXATTRS_UNSPECIFIED;
    hwaddr physical, offset, length = qemu_target_page_size();
    MemoryRegion *mr;
    AddressSpace *as;

    if (!look->page(look->cpu, user, address, &physical, &attrs)) {
        return NULL;
    }
    as = cpu_get_address_space(look->cpu,
                               cpu_asidx_from_attrs(look->cpu, attrs));
    mr = address_space_translate(as, physical, &offset, &length, false, attrs);
    if (!memory_region_is_ram(mr) || memory_region_is_ram_device(mr) ||
        length < qemu_target_page_size()) {
        return NULL;
    }
    return (const uint8_t *)memory_region_get_ram_ptr(mr) + offset;
}

static const uint8_t *page_at(VschedLook *look, bool user, uint64_t address)
{
    for (int i = 0; i < ARRAY_SIZE(look->seen); i++) {
        if (look->seen[i].valid && look->seen[i].address == address &&
            look->seen[i].user == user) {
            return look->seen[i].ram;
        }
    }
    int i = look->oldest;

    look->oldest = (i + 1) % ARRAY_SIZE(look->seen);
    look->seen[i].valid = true;
    look->seen[i].user = user;
    look->seen[i].address = address;
    look->seen[i].ram = find_ram(look, user, address);
    return look->seen[i].ram;
}

/* What lies on two pages is not read: frames and code are aligned. */
static bool look_read(void *opaque, bool user, uint64_t address, unsigned size,
                      uint64_t *value)
{
    VschedLook *look = opaque;
    uint64_t mask = qemu_target_page_size() - 1;
    const uint8_t *page;

    RCU_READ_LOCK_GUARD();
    if ((address & mask) + size > mask + 1) {
        return false;
    }
    page = page_at(look, user, address & ~mask);
    if (!page) {
        return false;
    }
    page += address & mask;
    *value = look->big_endian ? ldn_be_p(page, size) : ldn_le_p(page, size);
    return true;
}

VschedStackMemory vsched_look(VschedLook *look)
{
    if (!look->page) {
        look->page = debugger_page;
    }
    return (VschedStackMemory) {
        .read = look_read,
        .opaque = look,
    };
}
