/*
 * Configuration files of models: groups of keys with numbers, sizes and choices
 *
 * A table describes all values of a structure, with limits and defaults: the
 * only place where these stand.  The files are GLib's key files, with comments
 * also after a value: from # to the end of the line.
 *
 * Plain C over GLib.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSCHED_PARAMETER_FILE_H
#define VSCHED_PARAMETER_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <glib.h>

typedef enum FileParameterType {
    FILE_PARAMETER_NUMBER,
    FILE_PARAMETER_SIZE,            /* bytes; suffixes K, M, G */
    FILE_PARAMETER_DECIMAL,         /* up to three digits after the point */
    FILE_PARAMETER_CHOICE,
} FileParameterType;

/* A value of a structure, which is a uint64_t */
typedef struct FileParameter {
    const char *group, *key;
    FileParameterType type;
    size_t offset;                  /* in the structure */
    const char *unit;
    uint64_t minimum, maximum;      /* DECIMAL: in thousandths */
    uint64_t value;                 /* the default */
    const char *const *choices;     /* CHOICE: the value is an index */
} FileParameter;

/* A table of parameters ends with a NULL group. */
typedef struct ParameterFile {
    const char *what;               /* "cache configuration", for errors */
    const FileParameter *parameters;
    size_t size;                    /* of the structure */
    /* False, and why, if values, each in its range, do not fit together */
    bool (*check)(const void *structure, char **why);
} ParameterFile;

static inline uint64_t *file_parameter_value(const FileParameter *p,
                                             void *structure)
{
    return (uint64_t *)((char *)structure + p->offset);
}

/* The text that a file has for @value; the caller frees it */
char *file_parameter_text(const FileParameter *p, uint64_t value);

/*
 * The parameter [group] key; of key NULL: the first one of the group; or NULL
 */
const FileParameter *parameter_file_find(const ParameterFile *f,
                                         const char *group, const char *key);

/* All values are defaults; what is no parameter is 0. */
void parameter_file_default(const ParameterFile *f, void *structure);

/*
 * Reads @name.  What it does not name keeps its default.  False, and why (the
 * caller frees it), if there is no such file, if it is not a key file, has no
 * group, a group or key that does not exist, a key twice, a value of the wrong
 * type or out of range, or if they do not fit together; @structure is untouched
 * then.
 */
bool parameter_file_load(const ParameterFile *f, void *structure,
                         const char *name, char **why);

#endif /* VSCHED_PARAMETER_FILE_H */
