/*
 * What the rest of QEMU may ask of the engine: whether it runs, and to hold
 * what one VCPU does to another until the other's clock has reached it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSCHED_H
#define VSCHED_H

#include "exec/memory.h"
#include "hw/core/cpu.h"

/*
 * Give a machine class every parameter of the engine, the policies and the
 * SDBs as a property, where it has none of that name itself; they are aliases
 * of the accelerator's.  A machine that has its own calls
 * vsched_machine_option() when it is set.
 */
void vsched_machine_class_options(ObjectClass *oc);
void vsched_machine_option(const char *name, const char *value);

/*
 * Cycles in a second of every PCPU: clock-hz; without the engine, its default,
 * so that a guest's cycle counter is the same under every accelerator.
 */
uint64_t vsched_clock_hz(void);

/*
 * Run @func(@target, @opaque), with the BQL held, at the first moment at which
 * the clock of @target's PCPU is not before the present of the caller: at once
 * when both share a PCPU, at the end of the window otherwise.  Without the
 * engine: at once.  Calls are delivered in the order in which they were made.
 * The caller keeps @opaque alive.  State that must survive savevm belongs to
 * the caller's VMState: nothing is pending when the machine is stopped, because
 * it stops at window ends.
 */
void vsched_post(CPUState *target,
                 void (*func)(CPUState *target, void *opaque), void *opaque);

/*
 * @sender dispatched an interrupt vector to @target: it was @accepted, or
 * refused (NACK), and @sender waits.  Counted, and passed on to the policy.
 */
void vsched_cross_call(CPUState *sender, CPUState *target, bool accepted);

/*
 * A driver in the guest can be asked whether its processor is at a safe point:
 * @ask(@cpu, @opaque) sends it an interrupt, with the BQL held.  It answers by
 * vsched_safe_point().  False: there is such a driver already.
 */
bool vsched_set_safe_point_driver(void (*ask)(CPUState *cpu, void *opaque),
                                  void *opaque);

/* The VCPU that executes holds no lock just now, as its guest says. */
void vsched_safe_point(void);

/*
 * Registers of a device at @addr that the user gave, @size bytes of which all
 * have the same: there must be nothing else.  False, and @errp, if that or the
 * engine is missing.
 */
bool vsched_map_registers(DeviceState *dev, MemoryRegion *registers,
                          const MemoryRegionOps *ops, uint64_t addr,
                          uint64_t size, Error **errp);

/*
 * The VCPU @cpu, which is executing, stalls for @cycles (at least 0): the clock
 * of its PCPU moves on by so much, beyond what its instructions cost, and the
 * rest of its budget shrinks.  For models of caches and page walks, right after
 * the access that costs.  Generated code is not left.  A call for a VCPU that
 * does not execute (a debugger's look at memory) charges nothing.
 */
void vsched_stall(CPUState *cpu, int64_t cycles);

/*
 * A model outside of the engine, which costs time.  Its options are options of
 * the accelerator and of machines with PCPUs.
 */
typedef struct VschedModelOption {
    const char *name, *description;
} VschedModelOption;

/*
 * Statistics of a model, which query-stats shows beside those of the engine:
 * counters of each VCPU and PCPU by @names, which a NULL ends.  Names that
 * begin with @cycles are of cycles.
 */
typedef struct VschedModelStats {
    const char *const *names;
    const char *cycles;
    uint64_t (*of_vcpu)(int vcpu, int stat);
    uint64_t (*of_pcpu)(int pcpu, int stat);
} VschedModelStats;

typedef struct VschedModel {
    const VschedModelOption *options;   /* a NULL name ends them */
    /*
     * Before the engine is there: the clock that the model is made for, which
     * PCPUs have unless the user says otherwise; 0: any.  NULL: any.
     */
    bool (*clock_hz)(const char *const *values, uint64_t *hz, Error **errp);
    /*
     * The engine is there, and VCPUs are still to be created.  @values: of each
     * option, NULL if it was not given.  False, and @errp: QEMU ends.
     */
    bool (*start)(const char *const *values, Error **errp);
    /* After that: NULL if there are none, or the function is */
    const VschedModelStats *(*stats)(void);
} VschedModel;

#define VSCHED_MODELS_MAX 4
#define VSCHED_MODEL_OPTIONS_MAX 8

/* @model joins, from a constructor: before options are looked at. */
void vsched_register_model(const VschedModel *model);

#endif /* VSCHED_H */
