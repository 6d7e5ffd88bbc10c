/*
 * Writes JSON: commas, quotes and indentation
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <inttypes.h>
#include <string.h>

#include "json-writer.h"

void json_begin(JsonWriter *w, unsigned lines)
{
    *w = (JsonWriter) { .text = g_string_new(NULL), .lines = lines };
}

GString *json_end(JsonWriter *w)
{
    g_assert(!w->depth);
    g_string_append_c(w->text, '\n');
    return w->text;
}

static void separate(JsonWriter *w)
{
    if (w->depth && w->depth <= w->lines) {
        g_string_append_c(w->text, '\n');
        for (unsigned i = 0; i < w->depth; i++) {
            g_string_append_c(w->text, ' ');
        }
    } else if (w->more) {
        g_string_append_c(w->text, ' ');
    }
}

static void quote(JsonWriter *w, const char *text)
{
    g_string_append_c(w->text, '"');
    for (; *text; text++) {
        unsigned char c = *text;

        if (c == '"' || c == '\\') {
            g_string_append_printf(w->text, "\\%c", c);
        } else if (c < ' ') {
            g_string_append_printf(w->text, "\\u%04x", c);
        } else {
            g_string_append_c(w->text, c);
        }
    }
    g_string_append_c(w->text, '"');
}

/* What stands before a value */
static void before(JsonWriter *w, const char *name)
{
    if (w->more) {
        g_string_append_c(w->text, ',');
    }
    separate(w);
    if (name) {
        quote(w, name);
        g_string_append(w->text, ": ");
    }
    w->more = true;
}

void json_open(JsonWriter *w, const char *name, char bracket)
{
    before(w, name);
    g_string_append_c(w->text, bracket);
    w->depth++;
    w->more = false;
}

void json_close(JsonWriter *w, char bracket)
{
    bool any = w->more;

    w->depth--;
    w->more = false;
    if (any && w->depth < w->lines) {
        g_string_append_c(w->text, '\n');
        for (unsigned i = 0; i < w->depth; i++) {
            g_string_append_c(w->text, ' ');
        }
    }
    g_string_append_c(w->text, bracket);
    w->more = true;
}

void json_number(JsonWriter *w, const char *name, uint64_t value)
{
    before(w, name);
    g_string_append_printf(w->text, "%" PRIu64, value);
}

void json_thousandths(JsonWriter *w, const char *name, uint64_t value)
{
    before(w, name);
    g_string_append_printf(w->text, "%" PRIu64 ".%03" PRIu64, value / 1000,
                           value % 1000);
}

void json_bool(JsonWriter *w, const char *name, bool value)
{
    before(w, name);
    g_string_append(w->text, value ? "true" : "false");
}

void json_text(JsonWriter *w, const char *name, const char *value)
{
    before(w, name);
    quote(w, value);
}

void json_address(JsonWriter *w, const char *name, uint64_t value)
{
    before(w, name);
    g_string_append_printf(w->text, "\"0x%" PRIx64 "\"", value);
}

void json_bits(JsonWriter *w, const char *name, uint64_t bits)
{
    json_open(w, name, '[');
    for (; bits; bits &= bits - 1) {
        json_number(w, NULL, __builtin_ctzll(bits));
    }
    json_close(w, ']');
}

/* What follows a string that begins at @text */
static const char *after_string(const char *text)
{
    for (text++; *text != '"'; text++) {
        text += *text == '\\';
    }
    return text + 1;
}

size_t json_tokens(const GString *text)
{
    const char *at = text->str;
    size_t n = 0;

    for (at += strspn(at, "\n "); *at; at += strspn(at, "\n ")) {
        if (*at == '"') {
            at = after_string(at);
        } else if (strchr("{}[]:,", *at)) {
            at++;
        } else {
            at += strcspn(at, "{}[]:,\n ");
        }
        n++;
    }
    return n;
}
