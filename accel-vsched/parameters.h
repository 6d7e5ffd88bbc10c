/*
 * Parameters as QOM properties: numbers, times, switches, and choices.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSCHED_PARAMETERS_H
#define VSCHED_PARAMETERS_H

#include "qapi/visitor.h"
#include "qom/object.h"
#include "policy.h"

/* Of the QOM property: "uint64", "bool", or "str" for a time or a choice. */
const char *vsched_parameter_type(const VschedParameter *p);

/* "timeslice of a VCPU; 10us to 1s, default 100us" */
char *vsched_parameter_describe(const VschedParameter *p);

/*
 * "rate=5", for a message; of a number that QAPI has made of a negative one,
 * -1 being 2^64 - 1 there, the name alone.  The caller frees it.
 */
char *vsched_assignment(const char *name, uint64_t value);

/* "100us" as nanoseconds; false if it is none. */
bool vsched_parse_time(const char *text, uint64_t *ns);

/* Accessors of a property.  Errors say what is wrong, and what is allowed. */
bool vsched_parameter_set(Visitor *v, const char *name,
                          const VschedParameter *p, uint64_t *value,
                          Error **errp);
void vsched_parameter_get(Visitor *v, const char *name,
                          const VschedParameter *p, uint64_t value,
                          Error **errp);

#endif /* VSCHED_PARAMETERS_H */
