/*
 * commander: a test plugin that takes commands
 *
 *   -plugin libcommander.so[,deaf=on]
 *
 * echo:      answers the command's arguments, as they came
 * value:     answers the text of argument "of"; other arguments are refused
 * watch:     instructions that all vCPUs begin within 20 ms of the host
 * add:       adds argument "n", a number, to a sum, and answers the sum
 * text:      answers a text of two lines
 * silent:    is not carried out, without a reason
 * broken:    answers what is not JSON
 * uninstall: uninstalls the plugin
 *
 * With deaf=on there are no commands.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "count.h"

typedef char *CommandFunc(qemu_plugin_id_t id, const char *arguments,
                          char **why);

static int64_t sum;

static char *echo(qemu_plugin_id_t id, const char *arguments, char **why)
{
    return g_strdup(arguments);
}

/* As JSON: a list of its bytes. */
static char *value(qemu_plugin_id_t id, const char *arguments, char **why)
{
    static const char *const names[] = { "of", NULL };
    g_autofree char *of = NULL;
    GString *answer;

    *why = qemu_plugin_command_check_arguments(arguments, names);
    if (*why) {
        return NULL;
    }
    of = qemu_plugin_command_argument(arguments, "of");
    if (!of) {
        return g_strdup("null");
    }
    answer = g_string_new("[");
    for (const char *c = of; *c; c++) {
        g_string_append_printf(answer, "%s%d", c > of ? "," : "", (guint8)*c);
    }
    return g_string_free(g_string_append(answer, "]"), false);
}

static char *watch(qemu_plugin_id_t id, const char *arguments, char **why)
{
    uint64_t before = qemu_plugin_u64_sum(insns);

    g_usleep(20000);
    return g_strdup_printf("{\"before\": %" PRIu64 ", \"meanwhile\": %" PRIu64
                           "}", before, qemu_plugin_u64_sum(insns) - before);
}

static char *add(qemu_plugin_id_t id, const char *arguments, char **why)
{
    static const char *const names[] = { "n", NULL };
    g_autofree char *n = NULL;
    char *end = NULL;
    int64_t number;

    *why = qemu_plugin_command_check_arguments(arguments, names);
    if (*why) {
        return NULL;
    }
    n = qemu_plugin_command_argument(arguments, "n");
    number = n ? g_ascii_strtoll(n, &end, 10) : 0;
    if (!n || end == n || *end || number < -1000 || number > 1000) {
        *why = g_strdup_printf("n=%s is no number: allowed are -1000 to 1000",
                               n ? n : "");
        return NULL;
    }
    sum += number;
    return g_strdup_printf("{\"sum\": %" PRId64 "}", sum);
}

static char *text(qemu_plugin_id_t id, const char *arguments, char **why)
{
    return g_strdup("\"one\\ntwo\"");
}

static char *silent(qemu_plugin_id_t id, const char *arguments, char **why)
{
    return NULL;
}

static char *broken(qemu_plugin_id_t id, const char *arguments, char **why)
{
    return g_strdup("{\"one\": ");
}

static char *uninstall(qemu_plugin_id_t id, const char *arguments, char **why)
{
    qemu_plugin_uninstall(id, NULL);
    return g_strdup("{}");
}

static const struct {
    const char *name;
    CommandFunc *func;
} commands[] = {
    { "echo", echo },
    { "value", value },
    { "watch", watch },
    { "add", add },
    { "text", text },
    { "silent", silent },
    { "broken", broken },
    { "uninstall", uninstall },
};

static char *command(qemu_plugin_id_t id, const char *name,
                     const char *arguments, char **why, void *userdata)
{
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (!strcmp(commands[i].name, name)) {
            return commands[i].func(id, arguments, why);
        }
    }
    *why = g_strdup_printf("there is no command '%s'", name);
    return NULL;
}

QEMU_PLUGIN_EXPORT
int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc,
                        char **argv)
{
    count_start(id);
    if (!argc) {
        qemu_plugin_register_command_cb(id, command, NULL);
    } else if (strcmp(argv[0], "deaf=on")) {
        g_printerr("commander: %s is no argument\n", argv[0]);
        return -1;
    }
    return 0;
}
