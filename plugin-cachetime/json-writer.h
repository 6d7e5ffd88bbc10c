/*
 * Writes JSON: commas, quotes and indentation
 *
 *   JsonWriter w;
 *
 *   json_begin(&w, 2);
 *   json_open(&w, NULL, '{');
 *   json_number(&w, "size", 64);
 *   json_close(&w, '}');
 *   text = json_end(&w);                       { "size": 64 }
 *
 * The name of a member of an object, NULL in an array.  Equal calls give equal
 * text on every host.
 *
 * Plain C over GLib.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef CACHETIME_JSON_WRITER_H
#define CACHETIME_JSON_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <glib.h>

typedef struct JsonWriter {
    GString *text;
    unsigned depth;
    unsigned lines;         /* down to this depth, a line for each value */
    bool more;              /* a value came before, in this array or object */
} JsonWriter;

void json_begin(JsonWriter *w, unsigned lines);
GString *json_end(JsonWriter *w);           /* the caller frees it */

/* @bracket: { or [, } or ] */
void json_open(JsonWriter *w, const char *name, char bracket);
void json_close(JsonWriter *w, char bracket);

void json_number(JsonWriter *w, const char *name, uint64_t value);
/* @value / 1000, with three digits after the point */
void json_thousandths(JsonWriter *w, const char *name, uint64_t value);
void json_bool(JsonWriter *w, const char *name, bool value);
void json_text(JsonWriter *w, const char *name, const char *value);
/* "0x1f": 64 bits are more than JSON's numbers have in most languages */
void json_address(JsonWriter *w, const char *name, uint64_t value);
/* The numbers of the bits that are set, as an array */
void json_bits(JsonWriter *w, const char *name, uint64_t bits);

/* Tokens of what was written: brackets, commas, colons, names and values */
size_t json_tokens(const GString *text);

#endif /* CACHETIME_JSON_WRITER_H */
