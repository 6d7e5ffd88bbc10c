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

bool vsched_models_start(Error **errp)
{
    for (int n = 0; n < VSCHED_MODELS_MAX && models[n]; n++) {
        const char *values[VSCHED_MODEL_OPTIONS_MAX];

        for (int i = 0; models[n]->options[i].name; i++) {
            g_assert(i < VSCHED_MODEL_OPTIONS_MAX);
            values[i] = vsched_given(VSCHED_BY_ANYBODY,
                                     models[n]->options[i].name);
        }
        if (!models[n]->start(values, errp)) {
            return false;
        }
    }
    return true;
}
