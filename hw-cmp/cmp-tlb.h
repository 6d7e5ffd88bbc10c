/*
 * TLBs of PCPUs in a CMP machine: see shared-tlb.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef CMP_TLB_H
#define CMP_TLB_H

#include "qom/object.h"
#include "shared-tlb.h"

/*
 * From now on the TLBs of VCPUs are those of the engine's PCPUs, and object
 * "tlbs" of @machine counts what becomes of their entries.  NULL, and @errp, if
 * there is no engine.
 */
SharedTlb *cmp_tlb_start(Object *machine, Error **errp);

#endif /* CMP_TLB_H */
