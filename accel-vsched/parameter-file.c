/*
 * Configuration files of models: groups of keys with numbers, sizes and choices
 *
 * See parameter-file.h.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "vsched/parameter-file.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/* --- Values and their texts --- */

char *file_parameter_text(const FileParameter *p, uint64_t value)
{
    switch (p->type) {
    case FILE_PARAMETER_CHOICE:
        return g_strdup(p->choices[value]);
    case FILE_PARAMETER_DECIMAL:
        return g_strdup_printf("%" PRIu64 ".%03u", value / 1000,
                               (unsigned)(value % 1000));
    case FILE_PARAMETER_SIZE:
        if (value >= GIB && value % GIB == 0) {
            return g_strdup_printf("%" PRIu64 "G", value / GIB);
        } else if (value >= MIB && value % MIB == 0) {
            return g_strdup_printf("%" PRIu64 "M", value / MIB);
        } else if (value >= KIB && value % KIB == 0) {
            return g_strdup_printf("%" PRIu64 "K", value / KIB);
        }
        /* fall through */
    default:
        return g_strdup_printf("%" PRIu64, value);
    }
}

/* "a whole number from 1 to 64": what a value of @p may be */
static char *allowed(const FileParameter *p)
{
    g_autofree char *low = NULL, *high = NULL;

    if (p->type == FILE_PARAMETER_CHOICE) {
        return g_strjoinv(", ", (char **)p->choices);
    }
    low = file_parameter_text(p, p->minimum);
    high = file_parameter_text(p, p->maximum);
    return g_strdup_printf("%s from %s to %s%s",
                           p->type == FILE_PARAMETER_DECIMAL ?
                           "a number with up to three digits after the point," :
                           "a whole number", low, high,
                           p->type == FILE_PARAMETER_SIZE ?
                           " bytes; K, M, G multiply by 1024" : "");
}

/* @text is @digits digits at least 1, and what comes after them is at *@end. */
static bool parse_digits(const char *text, const char **end, uint64_t *value)
{
    char *after;

    if (!g_ascii_isdigit(text[0])) {
        return false;
    }
    errno = 0;
    *value = g_ascii_strtoull(text, &after, 10);
    *end = after;
    return errno == 0;
}

static bool multiply(uint64_t *value, uint64_t factor)
{
    if (*value > UINT64_MAX / factor) {
        return false;
    }
    *value *= factor;
    return true;
}

static bool parse_size(const char *text, uint64_t *value)
{
    uint64_t unit = 1;
    const char *end;

    if (!parse_digits(text, &end, value)) {
        return false;
    }
    switch (*end) {
    case 'G':
        unit *= 1024;
        /* fall through */
    case 'M':
        unit *= 1024;
        /* fall through */
    case 'K':
        unit *= 1024;
        end++;
    }
    return !*end && multiply(value, unit);
}

/* "1.25" is 1250 */
static bool parse_decimal(const char *text, uint64_t *value)
{
    const char *end;

    if (!parse_digits(text, &end, value) || *value >= UINT64_MAX / 1000) {
        return false;
    }
    *value *= 1000;
    if (*end == '.') {
        unsigned unit = 100;

        for (end++; g_ascii_isdigit(*end) && unit; end++, unit /= 10) {
            *value += (*end - '0') * unit;
        }
        if (unit == 100) {
            return false;
        }
    }
    return !*end;
}

static bool parse_choice(const FileParameter *p, const char *text,
                         uint64_t *value)
{
    for (*value = 0; p->choices[*value]; ++*value) {
        if (!strcmp(p->choices[*value], text)) {
            return true;
        }
    }
    return false;
}

static bool parse(const FileParameter *p, const char *text, uint64_t *value)
{
    const char *end;

    switch (p->type) {
    case FILE_PARAMETER_CHOICE:
        return parse_choice(p, text, value);
    case FILE_PARAMETER_DECIMAL:
        return parse_decimal(text, value);
    case FILE_PARAMETER_SIZE:
        return parse_size(text, value);
    default:
        return parse_digits(text, &end, value) && !*end;
    }
}

/* --- The file --- */

void parameter_file_default(const ParameterFile *f, void *structure)
{
    memset(structure, 0, f->size);
    for (const FileParameter *p = f->parameters; p->group; p++) {
        *file_parameter_value(p, structure) = p->value;
    }
}

const FileParameter *parameter_file_find(const ParameterFile *f,
                                         const char *group, const char *key)
{
    for (const FileParameter *p = f->parameters; p->group; p++) {
        if (!strcmp(p->group, group) && (!key || !strcmp(p->key, key))) {
            return p;
        }
    }
    return NULL;
}

/*
 * GLib's parser takes the last of several values of a key.  @text is a key
 * file, which it has accepted; false, and why, if a key is given twice.
 */
static bool check_once(const char *text, char **why)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal,
                                                       g_free, NULL);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autofree char *group = g_strdup("");

    for (size_t n = 0; lines[n]; n++) {
        char *line = g_strstrip(lines[n]), *name;
        size_t before;

        if (line[0] == '[') {
            g_free(group);
            group = g_strndup(line, strcspn(line, "]") + 1);
        }
        if (!line[0] || line[0] == '#' || line[0] == '[') {
            continue;
        }
        line[strcspn(line, "=")] = '\0';
        name = g_strdup_printf("%s %s", group, g_strchomp(line));
        before = GPOINTER_TO_SIZE(g_hash_table_lookup(seen, name));
        if (before) {
            *why = g_strdup_printf("%s: lines %zu and %zu give it a value; "
                                   "allowed is one", name, before, n + 1);
            g_free(name);
            return false;
        }
        g_hash_table_insert(seen, name, GSIZE_TO_POINTER(n + 1));
    }
    return true;
}

/* The groups that exist, or the keys of @group; the caller frees it */
static char *known(const ParameterFile *f, const char *group)
{
    GString *names = g_string_new(NULL);
    const char *last = "";

    for (const FileParameter *p = f->parameters; p->group; p++) {
        const char *name = group ? p->key : p->group;

        if ((!group || !strcmp(p->group, group)) && strcmp(name, last)) {
            g_string_append_printf(names, "%s%s", names->len ? ", " : "", name);
            last = name;
        }
    }
    return g_string_free(names, FALSE);
}

static bool load_key(const ParameterFile *f, void *structure, GKeyFile *file,
                     const char *group, const char *key, char **why)
{
    const FileParameter *p = parameter_file_find(f, group, key);
    g_autofree char *text = NULL, *may_be = NULL;
    uint64_t value = 0;

    if (!p) {
        may_be = known(f, group);
        *why = g_strdup_printf("[%s] %s: there is no such key; group %s has %s",
                               group, key, group, may_be);
        return false;
    }
    text = g_key_file_get_value(file, group, key, NULL);
    text[strcspn(text, "#")] = '\0';
    g_strstrip(text);
    if (!parse(p, text, &value) || value < p->minimum || value > p->maximum) {
        may_be = allowed(p);
        *why = g_strdup_printf("[%s] %s=%s: allowed is %s%s", group, key, text,
                               p->type == FILE_PARAMETER_CHOICE ? "one of " :
                               "", may_be);
        return false;
    }
    *file_parameter_value(p, structure) = value;
    return true;
}

static bool load_group(const ParameterFile *f, void *structure, GKeyFile *file,
                       const char *group, char **why)
{
    g_auto(GStrv) keys = NULL;

    if (!parameter_file_find(f, group, NULL)) {
        g_autofree char *groups = known(f, NULL);

        *why = g_strdup_printf("[%s]: there is no such group; there are %s",
                               group, groups);
        return false;
    }
    keys = g_key_file_get_keys(file, group, NULL, NULL);
    for (char **key = keys; key && *key; key++) {
        if (!load_key(f, structure, file, group, *key, why)) {
            return false;
        }
    }
    return true;
}

static bool load_groups(const ParameterFile *f, void *structure, GKeyFile *file,
                        char **why)
{
    g_auto(GStrv) groups = g_key_file_get_groups(file, NULL);

    if (!*groups) {
        g_autofree char *names = known(f, NULL);

        *why = g_strdup_printf("there is no group in it; allowed is a file "
                               "with one or more of %s", names);
        return false;
    }
    for (char **group = groups; *group; group++) {
        if (!load_group(f, structure, file, *group, why)) {
            return false;
        }
    }
    return !f->check || f->check(structure, why);
}

bool parameter_file_load(const ParameterFile *f, void *structure,
                         const char *name, char **why)
{
    g_autoptr(GKeyFile) keys = g_key_file_new();
    g_autoptr(GError) error = NULL;
    g_autofree char *fault = NULL, *text = NULL;
    g_autofree void *loaded = g_malloc(f->size);
    gsize length;

    if (!g_key_file_load_from_file(keys, name, G_KEY_FILE_KEEP_TRANSLATIONS,
                                   &error) ||
        !g_file_get_contents(name, &text, &length, &error)) {
        *why = g_strdup_printf("%s %s: %s", f->what, name, error->message);
        return false;
    }
    if (memchr(text, 0, length)) {
        *why = g_strdup_printf("%s %s: there is a byte 0 in it; allowed is "
                               "text", f->what, name);
        return false;
    }
    parameter_file_default(f, loaded);
    if (!check_once(text, &fault) || !load_groups(f, loaded, keys, &fault)) {
        *why = g_strdup_printf("%s %s: %s", f->what, name, fault);
        return false;
    }
    memcpy(structure, loaded, f->size);
    return true;
}
