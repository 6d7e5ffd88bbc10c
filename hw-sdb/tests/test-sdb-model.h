/*
 * Naive model of the spin detection buffer, for its unit tests
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TEST_SDB_MODEL_H
#define TEST_SDB_MODEL_H

#include "sdb-core.h"

typedef struct Model Model;

typedef struct ModelVerdict {
    bool spin, user;
    SDBReason paper, recurrence;
    unsigned stores, loads;         /* unique in the whole period, paper */
    bool paper_open, recurrence_open; /* more accesses could still matter */
} ModelVerdict;

Model *model_new(const SDBConfig *config);
void model_free(Model *m);
void model_store(Model *m, uint64_t address, unsigned size,
                 uint64_t low, uint64_t high);
void model_load(Model *m, uint64_t address, unsigned size);
void model_mode(Model *m, bool user);
void model_mode_at_begin(Model *m, bool user);
void model_flush(Model *m, bool user);
void model_reconfigure(Model *m, const SDBConfig *config);
ModelVerdict model_end_period(Model *m, bool user);

#endif
