/*
 * Models outside of the engine: their options, and when they start.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "vsched/vsched.h"
#include "engine.h"
#include "given.h"

static const VschedModel *models[VSCHED_MODELS_MAX];

void vsched_register_model(const VschedModel *model)
{
    int n = 0;

    while (models[n]) {
        n++;
        g_assert(n < VSCHED_MODELS_MAX);
    }
    models[n] = model;
}

const VschedModelOption *vsched_model_option(int i)
{
    for (int n = 0; n < VSCHED_MODELS_MAX && models[n]; n++) {
        for (const VschedModelOption *o = models[n]->options; o->name; o++) {
            if (i-- == 0) {
                return o;
            }
        }
    }
    return NULL;
}

static void get_values(const VschedModel *model, const char **values)
{
    for (int i = 0; model->options[i].name; i++) {
        g_assert(i < VSCHED_MODEL_OPTIONS_MAX);
        values[i] = vsched_given(VSCHED_BY_ANYBODY, model->options[i].name);
    }
}

bool vsched_models_prepare(Error **errp)
{
    for (int n = 0; n < VSCHED_MODELS_MAX && models[n]; n++) {
        const char *values[VSCHED_MODEL_OPTIONS_MAX];
        uint64_t hz = 0;

        get_values(models[n], values);
        if (models[n]->clock_hz && !models[n]->clock_hz(values, &hz, errp)) {
            return false;
        }
        if (hz && !vsched_given(VSCHED_BY_ANYBODY, "clock-hz")) {
            g_autofree char *text = g_strdup_printf("%" PRIu64, hz);

            vsched_give(VSCHED_BY_ANYBODY, "clock-hz", text);
        }
    }
    return true;
}

const VschedModelStats *vsched_models_stats(int n)
{
    for (int i = 0; i < VSCHED_MODELS_MAX && models[i]; i++) {
        const VschedModelStats *stats = models[i]->stats ? models[i]->stats()
                                                         : NULL;

        if (stats && n-- == 0) {
            return stats;
        }
    }
    return NULL;
}

bool vsched_models_start(Error **errp)
{
    for (int n = 0; n < VSCHED_MODELS_MAX && models[n]; n++) {
        const char *values[VSCHED_MODEL_OPTIONS_MAX];

        get_values(models[n], values);
        if (!models[n]->start(values, errp)) {
            return false;
        }
    }
    return true;
}
