/*
 * Dynamic switching paging: which way of virtualising page tables is better now
 *
 * After Wang, Zang, Wang, Luo, Li, "Selective Hardware/Software Memory
 * Virtualization", VEE 2011: sections 2.3 (rules), 3.1 (list of VMs) and 4.2
 * (thresholds).  A VM with few page faults and many TLB misses is better off
 * with shadow page tables, one with many page faults with nested ones.  At the
 * end of each sampling interval the counters of a VM give its rates, and eight
 * rules say which mode it has from then on.  docs/dsp.rst explains them.
 *
 * Plain C over GLib.  Rates are fractions of whole numbers and are compared
 * without rounding, so a rate that equals a threshold is neither above nor
 * below it on every host.  Only for the mean of ratios each of them is rounded
 * down to a multiple of 1e-12.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef WALK_DSP_H
#define WALK_DSP_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

typedef enum DspMode {
    DSP_NESTED,
    DSP_SHADOW,
    DSP_MODES
} DspMode;

/*
 * What the paper does to measure a switch (section 4.4), instead of the rules
 */
typedef enum DspExperiment {
    DSP_RULES,
    DSP_NESTED_SHADOW_NESTED,
    DSP_SHADOW_NESTED_SHADOW,
} DspExperiment;

/*
 * Who counts page faults: the model where walks find them, or the guest's
 * kernel, whose counter is read (the paper's way, section 3.2)
 */
typedef enum DspFaultSource {
    DSP_FAULTS_WALKER,
    DSP_FAULTS_GUEST,
} DspFaultSource;

/* Thresholds are in 1e-7: @fault_upper = 5000 is 0.0005 */
#define DSP_UNIT UINT64_C(10000000)
#define DSP_THRESHOLD_MAX (UINT64_C(100000) * DSP_UNIT)
#define DSP_HISTORY_MAX 64
#define DSP_KEEP_MAX 65536

typedef struct DspSettings {
    uint64_t interval;      /* cycles from sample to sample, at least 1 */
    uint64_t history;       /* samples in a mean, 1 to DSP_HISTORY_MAX */
    uint64_t keep;          /* samples to remember, 1 to DSP_KEEP_MAX */
    uint64_t margin;        /* percent, 1 to 100: "lower than 80 percent of" */
    /* guest page faults for 1000 retired instructions, in 1e-7 */
    uint64_t fault_upper, fault_lower;
    /* TLB misses for 1000 retired instructions, in 1e-7 */
    uint64_t miss_upper, miss_lower;
    /* guest page faults for a TLB miss, in 1e-7 */
    uint64_t ratio_upper, ratio_lower;
    DspExperiment experiment;
    DspFaultSource faults;           /* for who asks dsp_settings() */
} DspSettings;

/*
 * Of a VM, since it began to run.  They only grow; one that went back, as a
 * guest's own counter may, has counted nothing.
 */
typedef struct DspCounters {
    uint64_t insns, misses, faults;
} DspCounters;

/*
 * A rule of the paper's by its number, 1 to 8; or why there was none.  The
 * first that applies decides.
 */
enum {
    DSP_NO_INSNS = 0,       /* the VM retired nothing: it stays as it is */
    DSP_RULE_MISSES = 1,            /* shadow */
    DSP_RULE_FAULTS = 2,            /* nested */
    DSP_RULE_LOW = 3,               /* stay */
    DSP_RULE_NO_MISSES = 4,         /* nested */
    DSP_RULE_RATIO_HIGH = 5,        /* nested */
    DSP_RULE_RATIO_LOW = 6,         /* shadow */
    DSP_RULE_RATIO_BETWEEN = 7,     /* stay */
    DSP_RULE_RATIO_MIXED = 8,       /* stay */
    DSP_EXPERIMENT = 9,     /* there and back at once */
};

typedef struct DspSample {
    int64_t time;           /* cycle at which it was taken */
    DspCounters counted;    /* since the sample before */
    uint64_t rule;
    DspMode before, after;
} DspSample;

/* Of a VM since it is in the list, or while it was */
typedef struct DspTotals {
    uint64_t samples, switches;
    uint64_t cycles[DSP_MODES];     /* in each mode */
    uint64_t decisions[DSP_EXPERIMENT + 1];     /* by rule */
} DspTotals;

typedef struct Dsp Dsp;

/* The paper's tables 2 and section 4.3: samples each 5 s, a history of 3 */
void dsp_settings_default(DspSettings *s, uint64_t clock_hz);

/*
 * False, and why (the caller frees it), if a value is out of its range, or an
 * upper threshold is below its lower one.
 */
bool dsp_settings_check(const DspSettings *s, char **why);

/*
 * A number that is not negative, with at most 7 digits after its point, or
 * times a power of ten ("0.1", "200e-7"), in 1e-7.  False, and why, if it is
 * not such a number, or is more than 100000.
 */
bool dsp_threshold_parse(const char *text, uint64_t *value, char **why);

/* The other way round; the caller frees it. */
char *dsp_threshold_text(uint64_t value);

/* @vms: 1 at least; none of them is in the list */
Dsp *dsp_new(unsigned vms);
void dsp_free(Dsp *d);

/*
 * @vm joins the list, in mode @mode, to which it comes back when it leaves.
 * Its first sample is an interval later.  False, and why, if it is in the list,
 * or @s is not possible; nothing has changed then.
 */
bool dsp_enable(Dsp *d, unsigned vm, const DspSettings *s, DspMode mode,
                int64_t now, const DspCounters *counters, char **why);

/*
 * @vm leaves the list at @now; @former is the mode that it had before, and has
 * again.  Its totals stay, with the change back.  False, and why, if it is not
 * in the list.
 */
bool dsp_disable(Dsp *d, unsigned vm, int64_t now, DspMode *former,
                 char **why);

/*
 * Who counts page faults of a VM has other counters now, which are at
 * @faults: what they counted before is of no sample.
 */
void dsp_faults_begin_anew(Dsp *d, unsigned vm, uint64_t faults);

/* Other settings for a VM in the list; what was sampled stays. */
bool dsp_change(Dsp *d, unsigned vm, const DspSettings *s, int64_t now,
                char **why);

/*
 * The mode of a VM in the list was changed by hand, at @now.  It stays so until
 * a rule changes it.
 */
void dsp_forced(Dsp *d, unsigned vm, DspMode mode, int64_t now);

/* The cycle of the next sample, INT64_MAX if the list is empty */
int64_t dsp_next(const Dsp *d);

/*
 * Whether a sample of @vm is due.  If so, dsp_sample() has to be called: it
 * takes the sample and decides.
 */
bool dsp_is_due(const Dsp *d, unsigned vm, int64_t now);

/*
 * Samples a VM of the list.  The mode that it has from now on is in @after of
 * what is returned; if it is the same as @before and @rule is DSP_EXPERIMENT,
 * the VM goes to the other mode and comes back at once.
 */
const DspSample *dsp_sample(Dsp *d, unsigned vm, int64_t now,
                            const DspCounters *counters);

bool dsp_is_enabled(const Dsp *d, unsigned vm);
DspMode dsp_mode(const Dsp *d, unsigned vm);
const DspSettings *dsp_settings(const Dsp *d, unsigned vm);
void dsp_totals(const Dsp *d, unsigned vm, int64_t now, DspTotals *totals);

/*
 * How many samples of @vm are remembered, and the @n-th of them, 0 the oldest
 */
unsigned dsp_samples(const Dsp *d, unsigned vm);
const DspSample *dsp_sample_at(const Dsp *d, unsigned vm, unsigned n);

/*
 * The decision alone, of samples of which the last is the current one: at most
 * as many of them as the history has are looked at.  @mode: the one until then.
 */
DspMode dsp_decide(const DspSettings *s, DspMode mode,
                   const DspCounters *samples, unsigned n, uint64_t *rule);

/*
 * Everything, to be loaded into one with as many VMs.  dsp_load() returns
 * false, and why, if it does not fit; nothing has changed then.
 */
#define DSP_STATE "a(b(ttttttttttii)iixx(ttt)a(xttttii)(tttt)at)"
GVariant *dsp_save(const Dsp *d);
bool dsp_load(Dsp *d, GVariant *state, char **why);

#endif /* WALK_DSP_H */
