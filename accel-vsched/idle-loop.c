/*
 * The guest's idle loop, as Uhlig, Cellular Disco and ESX know it: where its
 * code is.
 *
 *     idle-loop=do_idle+cpu_idle_poll     functions of the kernel file
 *     idle-loop=0x404040-0x4040bf         addresses, the first and the last
 *
 * A VCPU is in it if it is in privileged mode and its program counter is there.
 * Names become addresses when the machine has been made, and with it the kernel
 * has been loaded.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qapi/error.h"
#include "disas/disas.h"
#include "system/arch_init.h"
#include "system/system.h"
#include "elf.h"
#include "engine.h"

typedef struct Code {
    uint64_t first, last;       /* addresses */
} Code;

static GArray *ranges;          /* of Code; NULL: none are known */
static GPtrArray *functions;    /* names that are no ranges as yet */

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

/* Compilers give copies of a function names such as do_idle.constprop.0. */
static bool is_named(const char *symbol, const char *function)
{
    size_t n = strlen(function);

    return !strncmp(symbol, function, n) && (!symbol[n] || symbol[n] == '.');
}

/*
 * QEMU does not keep whether the symbols of a file are those of ELF64.  If so,
 * looking up the address of one finds its name, or that of another one there;
 * a table of ELF32 that is read as if it were ELF64, up to its end, has none
 * for which that is so.
 */
static bool is_elf64(struct syminfo *file)
{
    const Elf64_Sym *symbols = file->disas_symtab.elf64;
    size_t n = file->disas_num_syms * sizeof(Elf32_Sym) / sizeof(Elf64_Sym);

    for (size_t i = 0; i < n; i++) {
        if (file->lookup_symbol(file, symbols[i].st_value) ==
            file->disas_strtab + symbols[i].st_name) {
            return true;
        }
    }
    return false;
}

/* Add the code of @function in @file; whether there is any. */
static bool add_function(struct syminfo *file, const char *function)
{
    bool elf64 = is_elf64(file), found = false;

    for (unsigned i = 0; i < file->disas_num_syms; i++) {
        const Elf64_Sym *s64 = &file->disas_symtab.elf64[i];
        const Elf32_Sym *s32 = &file->disas_symtab.elf32[i];
        const char *name = file->disas_strtab +
                           (elf64 ? s64->st_name : s32->st_name);
        uint64_t first = elf64 ? s64->st_value : s32->st_value;
        uint64_t size = elf64 ? s64->st_size : s32->st_size;

        if (size && is_named(name, function)) {
            Code code = { first, first + size - 1 };

            g_array_append_val(ranges, code);
            found = true;
        }
    }
    return found;
}

/*
 * The files that the guest starts from have been loaded.  The user means what
 * he names; of the functions that are there by default some kernels have only
 * some.
 */
static void files_loaded(Notifier *notifier, void *data)
{
    for (int i = 0; i < functions->len; i++) {
        const char *function = functions->pdata[i];
        bool found = false;

        for (struct syminfo *file = syminfos; file; file = file->next) {
            found |= add_function(file, function);
        }
        if (!found && vsched_engine->idle_loop) {
            error_report("idle-loop=%s is not possible: %s '%s'; allowed are "
                         "functions of an ELF file with symbols that -kernel "
                         "or -bios loads, and ranges of addresses",
                         vsched_engine->idle_loop,
                         syminfos ? "no file has a function"
                                  : "no file has symbols, and so none has",
                         function);
            exit(EXIT_FAILURE);
        }
    }
    g_ptr_array_set_size(functions, 0);
}

static Notifier loaded = { .notify = files_loaded };

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
    functions = g_ptr_array_new_with_free_func(g_free);
    parts = g_strsplit(text, "+", -1);
    for (int i = 0; parts[i] || !i; i++) {
        Code code;

        if (parts[i] && is_function(parts[i])) {
            g_ptr_array_add(functions, g_strdup(parts[i]));
        } else if (parts[i] && parse_addresses(parts[i], &code)) {
            g_array_append_val(ranges, code);
        } else {
            error_setg(errp, "idle-loop=%s is not possible: allowed are names "
                       "of functions of the kernel file and ranges of "
                       "addresses, such as 0x404040-0x4040bf, joined by '+'",
                       text);
            return false;
        }
    }
    qemu_add_machine_init_done_notifier(&loaded);
    return true;
}

bool vsched_knows_idle_loop(const VschedEngine *e)
{
    return ranges;
}

bool vsched_in_idle_loop(const VschedEngine *e, CPUState *cpu)
{
    uint64_t pc;

    if (!ranges || cpu->neg.user_mode) {
        return false;
    }
    pc = cpu->cc->get_pc(cpu);
    for (int i = 0; i < ranges->len; i++) {
        const Code *code = &g_array_index(ranges, Code, i);

        if (pc >= code->first && pc <= code->last) {
            return true;
        }
    }
    return false;
}
