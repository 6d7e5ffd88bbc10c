/*
 * What softmmu-walk/dsp.c decides, for qtest/test_dsp_retrain.py
 *
 * Each line of standard input: fault_upper fault_lower miss_upper miss_lower
 * ratio_upper ratio_lower history margin mode n, then n times insns misses
 * faults.  A VM that begins in this mode takes these samples; prints mode:rule
 * after each of them in a line, or what is wrong with the settings.  The first
 * line has the default settings instead, in the same order up to margin.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <inttypes.h>
#include <stdio.h>

#include "dsp.h"

static bool read_number(uint64_t *value)
{
    return scanf("%" SCNu64, value) == 1;
}

int main(void)
{
    DspSettings s;
    uint64_t mode, n;

    dsp_settings_default(&s, 1000);
    printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " ", s.fault_upper,
           s.fault_lower, s.miss_upper, s.miss_lower);
    printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", s.ratio_upper,
           s.ratio_lower, s.history, s.margin);
    while (read_number(&s.fault_upper) && read_number(&s.fault_lower) &&
           read_number(&s.miss_upper) && read_number(&s.miss_lower) &&
           read_number(&s.ratio_upper) && read_number(&s.ratio_lower) &&
           read_number(&s.history) && read_number(&s.margin) &&
           read_number(&mode) && read_number(&n)) {
        Dsp *d = dsp_new(1);
        DspCounters sum = {};
        g_autofree char *why = NULL;
        bool good = dsp_enable(d, 0, &s, mode, 0, &sum, &why);

        for (uint64_t i = 1; i <= n; i++) {
            DspCounters c;
            const DspSample *sample;

            g_assert(read_number(&c.insns) && read_number(&c.misses) &&
                     read_number(&c.faults));
            if (good) {
                sum.insns += c.insns;
                sum.misses += c.misses;
                sum.faults += c.faults;
                sample = dsp_sample(d, 0, i * s.interval, &sum);
                printf("%d:%" PRIu64 " ", sample->after, sample->rule);
            }
        }
        printf("%s\n", good ? "" : why);
        dsp_free(d);
    }
    return 0;
}
