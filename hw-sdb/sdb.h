/*
 * Spin detection buffer of a PCPU, as a device
 *
 * Whoever runs VCPUs on PCPUs creates one "sdb" for each PCPU, sets what it
 * wants set, realises it, and then feeds its core directly (sdb-core.h).
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_SDB_SDB_H
#define HW_SDB_SDB_H

#include "hw/qdev-core.h"
#include "migration/vmstate.h"
#include "qom/object.h"
#include "hw/sdb/sdb-core.h"

#define TYPE_SDB_DEVICE "sdb"
OBJECT_DECLARE_SIMPLE_TYPE(SDBState, SDB_DEVICE)

struct SDBState {
    DeviceState parent_obj;

    SDB *core;                  /* from realize on; never moves */
    uint32_t pcpu;              /* property: number of the PCPU, for traces */
    SDBConfig config;           /* as the properties say */

    /*
     * A property was changed after realize.  Has to see to it that
     * sdb_apply() is called while no VCPU runs on this PCPU, and that the
     * instructions of the new period are counted from there.  Called with the
     * BQL held; NULL: sdb_apply() is called at once.
     */
    void (*changed)(SDBState *s, void *opaque);
    void *changed_opaque;
};

/* Of an SDBSnapshot; the core's is taken by sdb_save(). */
extern const VMStateDescription vmstate_sdb_snapshot;

/* Go on from @snapshot, configuration included; false if it is impossible. */
bool sdb_device_load(SDBState *s, const SDBSnapshot *snapshot, Error **errp);

/* Let the properties take effect: flushes the core. */
void sdb_apply(SDBState *s);

/* sdb_end_period() and sdb_flush() of the core, traced */
SDBVerdict sdb_judge(SDBState *s, bool user);
void sdb_switch(SDBState *s, bool user);
/*
 * sdb_pass() for @most periods, if so many are unwatched; returns how many.
 * None if each is traced.
 */
uint32_t sdb_judge_unwatched(SDBState *s, int64_t most);

#endif /* HW_SDB_SDB_H */
