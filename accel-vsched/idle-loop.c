/*
 * The guest's idle loop, as Uhlig, Cellular Disco and ESX know it: where its
 * code is.
 *
 *     idle-loop=do_idle+cpu_idle_poll     functions of the kernel file
 *     idle-loop=0x404040-0x4040bf         addresses, the first and the last
 *
 * A VCPU is in it if it is in privileged mode and its program counter is there.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qapi/error.h"
#include "disas/disas.h"
#include "system/arch_init.h"
#include "engine.h"

typedef struct Code {
    char *function;             /* or NULL: it is between these addresses */
    uint64_t first, last;
} Code;

static GArray *ranges;          /* NULL: none are known */

static bool parse_addresses(const char *text, Code *code)
{
    const char *end;

    return g_ascii_isdigit(*text) &&
           !qemu_strtou64(text, &end, 0, &code->first) && *end == '-' &&
           g_ascii_isdigit(end[1]) &&
           !qemu_strtou64(end + 1, NULL, 0, &code->last) &&
           code->first <= code->last;
}

static bool is_function(const char *text)
{
    return g_regex_match_simple("^[A-Za-z_.$][A-Za-z0-9_.$]*$", text, 0, 0);
}

bool vsched_idle_loop_init(VschedEngine *e, Error **errp)
{
    const char *text = e->idle_loop;
    g_auto(GStrv) parts = NULL;

    if (!text) {
        if (!qemu_arch_available(QEMU_ARCH_SPARC)) {
            return true;
        }
        text = VSCHED_IDLE_LOOP_SPARC;
    }
    ranges = g_array_new(false, false, sizeof(Code));
    parts = g_strsplit(text, "+", -1);
    for (int i = 0; parts[i] || !i; i++) {
        Code code = { };

        if (parts[i] && is_function(parts[i])) {
            code.function = g_strdup(parts[i]);
        } else if (!parts[i] || !parse_addresses(parts[i], &code)) {
            error_setg(errp, "idle-loop=%s is not possible: allowed are names "
                       "of functions of the kernel file and ranges of "
                       "addresses, such as 0x404040-0x4040bf, joined by '+'",
                       text);
            return false;
        }
        g_array_append_val(ranges, code);
    }
    return true;
}

/* Compilers give copies of a function names such as do_idle.constprop.0. */
static bool is_named(const char *symbol, const char *function)
{
    size_t n = strlen(function);

    return !strncmp(symbol, function, n) && (!symbol[n] || symbol[n] == '.');
}

bool vsched_knows_idle_loop(const VschedEngine *e)
{
    return ranges;
}

bool vsched_in_idle_loop(const VschedEngine *e, CPUState *cpu)
{
    uint64_t pc;
    const char *function;

    if (!ranges || cpu->neg.user_mode) {
        return false;
    }
    pc = cpu->cc->get_pc(cpu);
    function = lookup_symbol(pc);
    for (int i = 0; i < ranges->len; i++) {
        const Code *code = &g_array_index(ranges, Code, i);

        if (code->function ? is_named(function, code->function) :
            pc >= code->first && pc <= code->last) {
            return true;
        }
    }
    return false;
}
