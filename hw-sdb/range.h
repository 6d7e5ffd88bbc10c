/*
 * What is said of a value that is not allowed: one wording for all parameters.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_SDB_RANGE_H
#define HW_SDB_RANGE_H

#include <glib.h>

/*
 * "period=5 is out of range: allowed are 16 to 1048576".  @value is NULL if it
 * has no text, such as a JSON object; the caller frees the result.
 */
static inline char *range_fault(const char *name, const char *value,
                                const char *is, const char *low,
                                const char *high)
{
    return g_strdup_printf("%s%s%s is %s: allowed are %s to %s", name,
                           value ? "=" : ": the value", value ? value : "",
                           is, low, high);
}

static inline char *range_fault_number(const char *name, const char *value,
                                       const char *is, unsigned low,
                                       unsigned high)
{
    g_autofree char *low_text = g_strdup_printf("%u", low);
    g_autofree char *high_text = g_strdup_printf("%u", high);

    return range_fault(name, value, is, low_text, high_text);
}

#define RANGE_OUT "out of range"
#define RANGE_NO_NUMBER "not a whole number"

#endif /* HW_SDB_RANGE_H */
