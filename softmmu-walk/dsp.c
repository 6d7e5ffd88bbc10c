/*
 * Dynamic switching paging: which way of virtualising page tables is better now
 *
 * See dsp.h.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <inttypes.h>
#include <string.h>

#include "dsp.h"

typedef unsigned __int128 Wide;

#define RATIO_UNIT UINT64_C(1000000000000)      /* of ratios in a mean */
#define DECISIONS (DSP_EXPERIMENT + 1)

typedef struct VM {
    bool enabled;
    DspSettings settings;
    DspMode mode, former;
    int64_t since;              /* up to here, totals.cycles has all */
    int64_t due;
    DspCounters last;           /* counters at the sample before */
    GArray *samples;            /* of DspSample, the oldest first */
    DspTotals totals;
} VM;

struct Dsp {
    unsigned vms;
    VM *vm;
};

/* --- Settings --- */

void dsp_settings_default(DspSettings *s, uint64_t clock_hz)
{
    *s = (DspSettings) {
        .interval = 5 * clock_hz,
        .history = 3,
        .keep = 1024,
        .margin = 80,
        .fault_upper = 5000,
        .fault_lower = 100,
        .miss_upper = 10 * DSP_UNIT,
        .miss_lower = DSP_UNIT / 10,
        .ratio_upper = 200,
        .ratio_lower = 150,
        .experiment = DSP_RULES,
        .faults = DSP_FAULTS_WALKER,
    };
}

static bool check_range(const char *what, uint64_t value, uint64_t minimum,
                        uint64_t maximum, char **why)
{
    if (value < minimum || value > maximum) {
        *why = g_strdup_printf("%s: %" PRIu64 " is not from %" PRIu64 " to %"
                               PRIu64, what, value, minimum, maximum);
        return false;
    }
    return true;
}

static bool check_pair(const char *what, uint64_t upper, uint64_t lower,
                       char **why)
{
    g_autofree char *u = dsp_threshold_text(upper);
    g_autofree char *l = dsp_threshold_text(lower);

    if (upper > DSP_THRESHOLD_MAX || lower > DSP_THRESHOLD_MAX) {
        *why = g_strdup_printf("%s: thresholds are from 0 to 100000", what);
        return false;
    }
    if (upper < lower) {
        *why = g_strdup_printf("%s: the upper threshold %s is below the lower "
                               "one %s", what, u, l);
        return false;
    }
    return true;
}

bool dsp_settings_check(const DspSettings *s, char **why)
{
    if (s->experiment > DSP_SHADOW_NESTED_SHADOW) {
        *why = g_strdup("experiment: allowed are none, nested-shadow-nested, "
                        "shadow-nested-shadow");
        return false;
    }
    return check_range("interval (cycles)", s->interval, 1, INT64_MAX / 4,
                       why) &&
           check_range("history", s->history, 1, DSP_HISTORY_MAX, why) &&
           check_range("keep", s->keep, 1, DSP_KEEP_MAX, why) &&
           check_range("margin", s->margin, 1, 100, why) &&
           check_pair("page faults", s->fault_upper, s->fault_lower, why) &&
           check_pair("TLB misses", s->miss_upper, s->miss_lower, why) &&
           check_pair("page faults for a TLB miss", s->ratio_upper,
                      s->ratio_lower, why);
}

/* Digits up to 1e15; *@text is behind them then. */
static bool parse_digits(const char **text, uint64_t *value, int *digits)
{
    const char *p = *text;

    for (; g_ascii_isdigit(*p); p++, ++*digits) {
        if (*value > UINT64_C(100000000000000)) {
            return false;
        }
        *value = *value * 10 + (*p - '0');
    }
    *text = p;
    return true;
}

static bool parse_exponent(const char *text, int *exponent)
{
    bool negative = *text == '-';
    uint64_t value = 0;
    int digits = 0;

    if (*text == '-' || *text == '+') {
        text++;
    }
    if (!parse_digits(&text, &value, &digits) || *text || !digits ||
        value > 30) {
        return false;
    }
    *exponent += negative ? -(int)value : (int)value;
    return true;
}

bool dsp_threshold_parse(const char *text, uint64_t *value, char **why)
{
    const char *p = text;
    int digits = 0, places = 0, exponent = 7;
    uint64_t number = 0;
    bool good;

    good = parse_digits(&p, &number, &digits);
    if (good && *p == '.') {
        p++;
        good = digits && parse_digits(&p, &number, &places) && places;
    }
    exponent -= places;
    if (good && (*p == 'e' || *p == 'E')) {
        good = parse_exponent(p + 1, &exponent);
    } else {
        good = good && !*p;
    }
    if (!good || !digits) {
        *why = g_strdup_printf("'%s' is no threshold: allowed is a number from "
                               "0 to 100000 in steps of 1e-7, such as 0.1 or "
                               "200e-7", text);
        return false;
    }
    for (; exponent < 0 && number % 10 == 0 && number; exponent++) {
        number /= 10;
    }
    for (; exponent > 0 && number && number <= DSP_THRESHOLD_MAX; exponent--) {
        number *= 10;
    }
    if (number && (exponent < 0 || number > DSP_THRESHOLD_MAX)) {
        *why = g_strdup_printf("threshold %s: allowed is 0 to 100000, in steps "
                               "of 1e-7", text);
        return false;
    }
    *value = number;
    return true;
}

char *dsp_threshold_text(uint64_t value)
{
    unsigned places = 7;
    uint64_t rest = value % DSP_UNIT;

    if (!rest) {
        return g_strdup_printf("%" PRIu64, value / DSP_UNIT);
    }
    for (; rest % 10 == 0; rest /= 10) {
        places--;
    }
    return g_strdup_printf("%" PRIu64 ".%0*" PRIu64, value / DSP_UNIT,
                           (int)places, rest);
}

/* --- Rules --- */

typedef enum Band {
    BELOW,
    BETWEEN,                    /* or equal to one of both */
    ABOVE,
} Band;

/* @count for 1000 @insns against @percent of @threshold: -1, 0, 1 */
static int compare_rate(uint64_t count, uint64_t insns, uint64_t threshold,
                        uint64_t percent)
{
    Wide left = (Wide)count * (1000 * DSP_UNIT) * 100;
    Wide right = (Wide)threshold * percent * insns;

    return left < right ? -1 : left > right;
}

static Band band_of(int against_lower, int against_upper)
{
    return against_upper > 0 ? ABOVE : against_lower < 0 ? BELOW : BETWEEN;
}

/* Of one sample, which has misses */
static int compare_ratio(const DspCounters *c, uint64_t threshold)
{
    Wide left = (Wide)c->faults * DSP_UNIT;
    Wide right = (Wide)c->misses * threshold;

    return left < right ? -1 : left > right;
}

/* Of @ratios, @n of them, whose sum in 1 / RATIO_UNIT is @sum */
static int compare_mean(Wide sum, unsigned n, uint64_t threshold)
{
    Wide right = (Wide)threshold * n * (RATIO_UNIT / DSP_UNIT);

    return sum < right ? -1 : sum > right;
}

static Band band_of_mean(const DspSettings *s, const DspCounters *samples,
                         unsigned n)
{
    Wide sum = 0;
    unsigned ratios = 0;

    for (unsigned i = 0; i < n; i++) {
        if (samples[i].misses) {
            sum += (Wide)samples[i].faults * RATIO_UNIT / samples[i].misses;
            ratios++;
        }
    }
    return band_of(compare_mean(sum, ratios, s->ratio_lower),
                   compare_mean(sum, ratios, s->ratio_upper));
}

DspMode dsp_decide(const DspSettings *s, DspMode mode,
                   const DspCounters *samples, unsigned n, uint64_t *rule)
{
    const DspCounters *now = &samples[n - 1];
    uint64_t insns = now->insns;
    unsigned past = MIN(n, s->history);
    Band current, mean;

    if (!insns) {
        *rule = DSP_NO_INSNS;
        return mode;
    }
    if (compare_rate(now->misses, insns, s->miss_upper, 100) > 0 &&
        compare_rate(now->faults, insns, s->fault_upper, s->margin) < 0) {
        *rule = DSP_RULE_MISSES;
        return DSP_SHADOW;
    }
    if (compare_rate(now->faults, insns, s->fault_upper, 100) > 0 &&
        compare_rate(now->misses, insns, s->miss_upper, s->margin) < 0) {
        *rule = DSP_RULE_FAULTS;
        return DSP_NESTED;
    }
    if (compare_rate(now->misses, insns, s->miss_lower, 100) < 0 &&
        compare_rate(now->faults, insns, s->fault_lower, 100) < 0) {
        *rule = DSP_RULE_LOW;
        return mode;
    }
    /* The history has the current sample: if that has a miss, it has one. */
    if (!now->misses) {
        *rule = DSP_RULE_NO_MISSES;
        return DSP_NESTED;
    }
    current = band_of(compare_ratio(now, s->ratio_lower),
                      compare_ratio(now, s->ratio_upper));
    mean = band_of_mean(s, &samples[n - past], past);
    if (current != mean) {
        *rule = DSP_RULE_RATIO_MIXED;
        return mode;
    }
    switch (current) {
    case ABOVE:
        *rule = DSP_RULE_RATIO_HIGH;
        return DSP_NESTED;
    case BELOW:
        *rule = DSP_RULE_RATIO_LOW;
        return DSP_SHADOW;
    default:
        *rule = DSP_RULE_RATIO_BETWEEN;
        return mode;
    }
}

/* --- The list --- */

Dsp *dsp_new(unsigned vms)
{
    Dsp *d = g_new0(Dsp, 1);

    g_assert(vms);
    d->vms = vms;
    d->vm = g_new0(VM, vms);
    for (unsigned i = 0; i < vms; i++) {
        d->vm[i].samples = g_array_new(false, true, sizeof(DspSample));
    }
    return d;
}

void dsp_free(Dsp *d)
{
    if (d) {
        for (unsigned i = 0; i < d->vms; i++) {
            g_array_unref(d->vm[i].samples);
        }
        g_free(d->vm);
        g_free(d);
    }
}

static VM *vm_of(const Dsp *d, unsigned vm)
{
    g_assert(vm < d->vms);
    return &d->vm[vm];
}

static void account(VM *vm, int64_t now)
{
    if (now > vm->since) {
        vm->totals.cycles[vm->mode] += now - vm->since;
        vm->since = now;
    }
}

/* Nothing is lost where time would be more than there is of it. */
static int64_t later(int64_t now, uint64_t interval)
{
    return now > INT64_MAX - (int64_t)interval ? INT64_MAX
                                               : now + (int64_t)interval;
}

bool dsp_enable(Dsp *d, unsigned number, const DspSettings *s, DspMode mode,
                int64_t now, const DspCounters *counters, char **why)
{
    VM *vm = vm_of(d, number);

    if (vm->enabled) {
        *why = g_strdup_printf("VM %u is switched by DSP already", number);
        return false;
    }
    if (!dsp_settings_check(s, why)) {
        return false;
    }
    vm->enabled = true;
    vm->settings = *s;
    vm->former = mode;
    vm->mode = s->experiment == DSP_NESTED_SHADOW_NESTED ? DSP_NESTED :
               s->experiment == DSP_SHADOW_NESTED_SHADOW ? DSP_SHADOW : mode;
    vm->since = now;
    vm->due = later(now, s->interval);
    vm->last = *counters;
    memset(&vm->totals, 0, sizeof(vm->totals));
    vm->totals.switches = vm->mode != mode;
    g_array_set_size(vm->samples, 0);
    return true;
}

static bool check_enabled(const VM *vm, unsigned number, char **why)
{
    if (!vm->enabled) {
        *why = g_strdup_printf("VM %u is not switched by DSP", number);
        return false;
    }
    return true;
}

bool dsp_disable(Dsp *d, unsigned number, int64_t now, DspMode *former,
                 char **why)
{
    VM *vm = vm_of(d, number);

    if (!check_enabled(vm, number, why)) {
        return false;
    }
    dsp_forced(d, number, vm->former, now);
    account(vm, now);
    vm->enabled = false;
    *former = vm->former;
    return true;
}

static void forget_oldest(VM *vm)
{
    if (vm->samples->len > vm->settings.keep) {
        g_array_remove_range(vm->samples, 0,
                             vm->samples->len - vm->settings.keep);
    }
}

bool dsp_change(Dsp *d, unsigned number, const DspSettings *s, int64_t now,
                char **why)
{
    VM *vm = vm_of(d, number);

    if (!check_enabled(vm, number, why) || !dsp_settings_check(s, why)) {
        return false;
    }
    if (s->interval != vm->settings.interval) {
        vm->due = later(now, s->interval);
    }
    vm->settings = *s;
    forget_oldest(vm);
    return true;
}

void dsp_faults_begin_anew(Dsp *d, unsigned number, uint64_t faults)
{
    vm_of(d, number)->last.faults = faults;
}

void dsp_forced(Dsp *d, unsigned number, DspMode mode, int64_t now)
{
    VM *vm = vm_of(d, number);

    if (vm->enabled && vm->mode != mode) {
        account(vm, now);
        vm->mode = mode;
        vm->totals.switches++;
    }
}

/* --- Samples --- */

int64_t dsp_next(const Dsp *d)
{
    int64_t next = INT64_MAX;

    for (unsigned i = 0; i < d->vms; i++) {
        if (d->vm[i].enabled) {
            next = MIN(next, d->vm[i].due);
        }
    }
    return next;
}

bool dsp_is_due(const Dsp *d, unsigned vm, int64_t now)
{
    return vm_of(d, vm)->enabled && vm_of(d, vm)->due <= now;
}

/* The last samples that the history has, in their order; returns how many */
static unsigned history_of(const VM *vm, DspCounters *history)
{
    unsigned n = MIN(vm->samples->len, vm->settings.history);

    for (unsigned i = 0; i < n; i++) {
        history[i] = g_array_index(vm->samples, DspSample,
                                   vm->samples->len - n + i).counted;
    }
    return n;
}

static uint64_t grown(uint64_t from, uint64_t to)
{
    return to > from ? to - from : 0;
}

const DspSample *dsp_sample(Dsp *d, unsigned number, int64_t now,
                            const DspCounters *counters)
{
    VM *vm = vm_of(d, number);
    DspCounters history[DSP_HISTORY_MAX];
    DspSample sample, *kept;
    unsigned n;

    g_assert(vm->enabled);
    account(vm, now);
    sample = (DspSample) {
        .time = now,
        .counted = {
            .insns = grown(vm->last.insns, counters->insns),
            .misses = grown(vm->last.misses, counters->misses),
            .faults = grown(vm->last.faults, counters->faults),
        },
        .before = vm->mode,
    };
    vm->last = *counters;
    g_array_append_val(vm->samples, sample);
    kept = &g_array_index(vm->samples, DspSample, vm->samples->len - 1);
    if (vm->settings.experiment != DSP_RULES) {
        kept->rule = DSP_EXPERIMENT;
        kept->after = vm->settings.experiment == DSP_NESTED_SHADOW_NESTED ?
                      DSP_NESTED : DSP_SHADOW;
        vm->totals.switches += kept->after == vm->mode ? 2 : 1;
    } else {
        n = history_of(vm, history);
        kept->after = dsp_decide(&vm->settings, vm->mode, history, n,
                                 &kept->rule);
        vm->totals.switches += kept->after != vm->mode;
    }
    vm->mode = kept->after;
    vm->totals.samples++;
    vm->totals.decisions[kept->rule]++;
    /* A sample that comes late does not make the next one come early. */
    do {
        vm->due = later(vm->due, vm->settings.interval);
    } while (vm->due <= now && vm->due != INT64_MAX);
    forget_oldest(vm);
    return &g_array_index(vm->samples, DspSample, vm->samples->len - 1);
}

/* --- What is known --- */

bool dsp_is_enabled(const Dsp *d, unsigned vm)
{
    return vm_of(d, vm)->enabled;
}

DspMode dsp_mode(const Dsp *d, unsigned vm)
{
    return vm_of(d, vm)->mode;
}

const DspSettings *dsp_settings(const Dsp *d, unsigned vm)
{
    return &vm_of(d, vm)->settings;
}

void dsp_totals(const Dsp *d, unsigned number, int64_t now, DspTotals *totals)
{
    const VM *vm = vm_of(d, number);

    *totals = vm->totals;
    if (vm->enabled && now > vm->since) {
        totals->cycles[vm->mode] += now - vm->since;
    }
}

unsigned dsp_samples(const Dsp *d, unsigned vm)
{
    return vm_of(d, vm)->samples->len;
}

const DspSample *dsp_sample_at(const Dsp *d, unsigned vm, unsigned n)
{
    g_assert(n < vm_of(d, vm)->samples->len);
    return &g_array_index(vm_of(d, vm)->samples, DspSample, n);
}

/* --- Saved state --- */

#define SETTINGS "(ttttttttttii)"
#define SAMPLES "a(xttttii)"

static GVariant *save_settings(const DspSettings *s)
{
    return g_variant_new(SETTINGS, s->interval, s->history, s->keep, s->margin,
                         s->fault_upper, s->fault_lower, s->miss_upper,
                         s->miss_lower, s->ratio_upper, s->ratio_lower,
                         (int)s->experiment, (int)s->faults);
}

GVariant *dsp_save(const Dsp *d)
{
    GVariantBuilder all;

    g_variant_builder_init(&all, G_VARIANT_TYPE(DSP_STATE));
    for (unsigned i = 0; i < d->vms; i++) {
        const VM *vm = &d->vm[i];
        GVariantBuilder samples, decisions;

        g_variant_builder_init(&samples, G_VARIANT_TYPE(SAMPLES));
        for (unsigned n = 0; n < vm->samples->len; n++) {
            const DspSample *s = &g_array_index(vm->samples, DspSample, n);

            g_variant_builder_add(&samples, "(xttttii)", s->time,
                                  s->counted.insns, s->counted.misses,
                                  s->counted.faults, s->rule, (int)s->before,
                                  (int)s->after);
        }
        g_variant_builder_init(&decisions, G_VARIANT_TYPE("at"));
        for (unsigned n = 0; n < DECISIONS; n++) {
            g_variant_builder_add(&decisions, "t", vm->totals.decisions[n]);
        }
        g_variant_builder_add(&all, "(b@" SETTINGS "iixx(ttt)" SAMPLES
                              "(tttt)at)", vm->enabled,
                              save_settings(&vm->settings), (int)vm->mode,
                              (int)vm->former, vm->since, vm->due,
                              vm->last.insns, vm->last.misses, vm->last.faults,
                              &samples, vm->totals.samples,
                              vm->totals.switches,
                              vm->totals.cycles[DSP_NESTED],
                              vm->totals.cycles[DSP_SHADOW], &decisions);
    }
    return g_variant_builder_end(&all);
}

static bool is_mode(int mode)
{
    return mode >= 0 && mode < DSP_MODES;
}

static bool load_samples(VM *vm, GVariant *samples, char **why)
{
    gsize n = g_variant_n_children(samples);

    if (n > DSP_KEEP_MAX) {
        *why = g_strdup_printf("%zu samples are more than %u", n, DSP_KEEP_MAX);
        return false;
    }
    for (gsize i = 0; i < n; i++) {
        DspSample s = {};
        int before, after;

        g_variant_get_child(samples, i, "(xttttii)", &s.time, &s.counted.insns,
                            &s.counted.misses, &s.counted.faults, &s.rule,
                            &before, &after);
        if (!is_mode(before) || !is_mode(after) || s.rule >= DECISIONS) {
            *why = g_strdup_printf("sample %zu is damaged", i);
            return false;
        }
        s.before = before;
        s.after = after;
        g_array_append_val(vm->samples, s);
    }
    return true;
}

static bool load_vm(VM *vm, GVariant *state, char **why)
{
    g_autoptr(GVariant) samples = NULL, decisions = NULL;
    DspSettings *s = &vm->settings;
    gboolean enabled;
    int mode, former, experiment, faults;

    g_variant_get(state, "(b" SETTINGS "iixx(ttt)@" SAMPLES "(tttt)@at)",
                  &enabled, &s->interval, &s->history, &s->keep, &s->margin,
                  &s->fault_upper, &s->fault_lower, &s->miss_upper,
                  &s->miss_lower, &s->ratio_upper, &s->ratio_lower,
                  &experiment, &faults, &mode, &former, &vm->since, &vm->due,
                  &vm->last.insns, &vm->last.misses, &vm->last.faults,
                  &samples, &vm->totals.samples, &vm->totals.switches,
                  &vm->totals.cycles[DSP_NESTED],
                  &vm->totals.cycles[DSP_SHADOW], &decisions);
    vm->enabled = enabled;
    s->experiment = experiment;
    s->faults = faults;
    if (!is_mode(mode) || !is_mode(former) || experiment < 0 ||
        faults < DSP_FAULTS_WALKER || faults > DSP_FAULTS_GUEST ||
        g_variant_n_children(decisions) != DECISIONS) {
        *why = g_strdup("it is damaged");
        return false;
    }
    vm->mode = mode;
    vm->former = former;
    for (unsigned i = 0; i < DECISIONS; i++) {
        g_variant_get_child(decisions, i, "t", &vm->totals.decisions[i]);
    }
    return (!enabled || dsp_settings_check(s, why)) &&
           load_samples(vm, samples, why);
}

bool dsp_load(Dsp *d, GVariant *state, char **why)
{
    Dsp *loaded;
    VM *vm;

    if (!g_variant_is_of_type(state, G_VARIANT_TYPE(DSP_STATE)) ||
        g_variant_n_children(state) != d->vms) {
        *why = g_strdup_printf("the state of DSP is not one of %u VMs", d->vms);
        return false;
    }
    loaded = dsp_new(d->vms);
    for (unsigned i = 0; i < d->vms; i++) {
        g_autoptr(GVariant) child = g_variant_get_child_value(state, i);
        g_autofree char *reason = NULL;

        if (!load_vm(&loaded->vm[i], child, &reason)) {
            *why = g_strdup_printf("the state of DSP, VM %u: %s", i, reason);
            dsp_free(loaded);
            return false;
        }
    }
    vm = d->vm;
    d->vm = loaded->vm;
    loaded->vm = vm;
    dsp_free(loaded);
    return true;
}
