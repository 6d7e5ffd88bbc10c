/*
 * Commands of QMP that wait for their time, or were given at the start.
 *
 * A command with @at is checked when it is given, and then waits.  At its time
 * it is run like one that comes by QMP, by the function that QAPI generates.
 * What waits is saved with the machine, as JSON.
 *
 * At the start of QEMU, commands are objects:
 *
 *     -object vsched-command,id=c0,at=5ms,run=vsched-set-pcpu,
 *             arguments="pcpu=7,,online=off"
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/keyval.h"
#include "qemu/option.h"
#include "qemu/plugin.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vsched.h"
#include "qapi/qapi-events-vsched.h"
#include "qapi/qapi-visit-vsched.h"
#include "qapi/qobject-input-visitor.h"
#include "qapi/qobject-output-visitor.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "qobject/qnum.h"
#include "qobject/qstring.h"
#include "qom/object_interfaces.h"
#include "system/system.h"
#include "commands.h"
#include "parameters.h"

typedef struct Command {
    uint64_t id, at;
    const VschedCommandType *type;
    QDict *arguments;
    bool given;                 /* at the start of QEMU */
} Command;

static GQueue pending = G_QUEUE_INIT;   /* by time, then as given */
static uint64_t last_id;
static bool any_given;          /* at the start of QEMU, of the machine's */
static bool giving;             /* what comes now was given at the start */

VSCHED_COMMAND_TYPE(VschedMove, vsched_move)
VSCHED_COMMAND_TYPE(VschedPluginCommand, vsched_plugin_command)
VSCHED_COMMAND_TYPE(VschedProfileSave, vsched_profile_save)
VSCHED_COMMAND_TYPE(VschedProfileStart, vsched_profile_start)
VSCHED_COMMAND_TYPE(VschedProfileStop, vsched_profile_stop)
VSCHED_COMMAND_TYPE(VschedSet, vsched_set)
VSCHED_COMMAND_TYPE(VschedSetAffinity, vsched_set_affinity)
VSCHED_COMMAND_TYPE(VschedSetPCPU, vsched_set_pcpu)
VSCHED_COMMAND_TYPE(VschedSetPolicy, vsched_set_policy)
VSCHED_COMMAND_TYPE(VschedSetVM, vsched_set_vm)
VSCHED_COMMAND_TYPE(VschedStopArguments, vsched_stop)
VSCHED_COMMAND_TYPE(VschedTraceSave, vsched_trace_save)
VSCHED_COMMAND_TYPE(VschedTraceStart, vsched_trace_start)
VSCHED_COMMAND_TYPE(VschedTraceStop, vsched_trace_stop)

static const VschedCommandType own[] = {
    VSCHED_COMMAND_ENTRY("vsched-move", vsched_move),
    VSCHED_COMMAND_ENTRY("vsched-plugin-command", vsched_plugin_command),
    VSCHED_COMMAND_ENTRY("vsched-profile-save", vsched_profile_save),
    VSCHED_COMMAND_ENTRY("vsched-profile-start", vsched_profile_start),
    VSCHED_COMMAND_ENTRY("vsched-profile-stop", vsched_profile_stop),
    VSCHED_COMMAND_ENTRY("vsched-set", vsched_set),
    VSCHED_COMMAND_ENTRY("vsched-set-affinity", vsched_set_affinity),
    VSCHED_COMMAND_ENTRY("vsched-set-pcpu", vsched_set_pcpu),
    VSCHED_COMMAND_ENTRY("vsched-set-policy", vsched_set_policy),
    VSCHED_COMMAND_ENTRY("vsched-set-vm", vsched_set_vm),
    VSCHED_COMMAND_ENTRY("vsched-stop", vsched_stop),
    VSCHED_COMMAND_ENTRY("vsched-trace-save", vsched_trace_save,
                         .observes = true),
    VSCHED_COMMAND_ENTRY("vsched-trace-start", vsched_trace_start,
                         .observes = true),
    VSCHED_COMMAND_ENTRY("vsched-trace-stop", vsched_trace_stop,
                         .observes = true),
    {}
};

/* All, by name */
static GPtrArray *table;

static gint compare_names(gconstpointer a, gconstpointer b)
{
    const VschedCommandType *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

void vsched_register_commands(const VschedCommandType *types)
{
    table = table ?: g_ptr_array_new();
    for (; types->name; types++) {
        g_ptr_array_add(table, (void *)types);
    }
    g_ptr_array_sort(table, compare_names);
}

static void register_own(void)
{
    vsched_register_commands(own);
}

type_init(register_own)

#define OWN "vsched-"

char *vsched_commands_names(const char *before, bool brief)
{
    GString *names = g_string_new(NULL);

    for (int i = 0; i < table->len; i++) {
        const VschedCommandType *t = table->pdata[i];
        bool is_own = g_str_has_prefix(t->name, OWN);

        g_string_append_printf(names, "%s%s", before,
                               t->name + (brief && is_own ? strlen(OWN) : 0));
    }
    return g_string_free(names, false);
}

static const VschedCommandType *find_quietly(const char *name)
{
    for (int i = 0; i < table->len; i++) {
        const VschedCommandType *t = table->pdata[i];

        if (!strcmp(t->name, name)) {
            return t;
        }
    }
    return NULL;
}

static const VschedCommandType *find(const char *name, Error **errp)
{
    const VschedCommandType *t = find_quietly(name);

    if (!t) {
        g_autofree char *names = vsched_commands_names(", ", false);

        error_setg(errp, "there is no command '%s' that can be given a time: "
                   "allowed are%s", name, names + 1);
    }
    return t;
}

bool vsched_commands_have(const char *name)
{
    return find_quietly(name);
}

char *vsched_commands_full_name(const char *name)
{
    bool is_full = find_quietly(name) || g_str_has_prefix(name, OWN);

    return g_strconcat(is_full ? "" : OWN, name, NULL);
}

static void command_free(Command *c)
{
    qobject_unref(c->arguments);
    g_free(c);
}

static int compare(gconstpointer a, gconstpointer b, gpointer opaque)
{
    const Command *x = a, *y = b;

    return x->at < y->at ? -1 : x->at > y->at ? 1 : 0;
}

/* Behind those of the same time. */
static void insert(Command *c)
{
    GList *link = pending.tail;

    while (link && compare(link->data, c, NULL) > 0) {
        link = link->prev;
    }
    g_queue_insert_after(&pending, link, c);
}

static VschedDone *done(uint64_t time, uint64_t id)
{
    VschedDone *d = g_new0(VschedDone, 1);

    d->time = time;
    d->has_id = id;
    d->id = id;
    return d;
}

VschedDone *vsched_commands_done(VschedEngine *e)
{
    return done(e->now, 0);
}

bool vsched_commands_can_write(const char *filename, Error **errp)
{
    g_autofree char *directory = g_path_get_dirname(filename);

    if (!*filename) {
        error_setg(errp, "filename is empty: allowed are names of files");
        return false;
    }
    /* It will be replaced as a whole, which is not what a device is for. */
    if (g_file_test(filename, G_FILE_TEST_EXISTS) &&
        !g_file_test(filename, G_FILE_TEST_IS_REGULAR)) {
        error_setg(errp, "'%s' is not a regular file: allowed are names of "
                   "files, which may exist", filename);
        return false;
    }
    if (access(directory, W_OK | X_OK)) {
        error_setg_errno(errp, errno, "'%s' cannot be written", filename);
        return false;
    }
    return true;
}


/* QAPI's @arguments as a dictionary. */
static QDict *as_dict(const VschedCommandType *type, void *arguments)
{
    QObject *dict;
    Visitor *v = qobject_output_visitor_new(&dict);

    type->visit(v, &arguments, &error_abort);
    visit_complete(v, &dict);
    visit_free(v);
    return qobject_to(QDict, dict);
}

VschedDone *vsched_commands_defer(VschedEngine *e, const char *command,
                                  void *arguments, uint64_t at, Error **errp)
{
    const VschedCommandType *type = find(command, &error_abort);
    Command *c;

    if (at > vsched_latest_ns(e) || (int64_t)at < e->now) {
        g_autofree char *given = vsched_assignment("at", at);

        error_setg(errp, "%s is %s: allowed are %" PRId64 ", which is the "
                   "present, to %" PRId64, given,
                   at > vsched_latest_ns(e) ? "out of range" : "past", e->now,
                   vsched_latest_ns(e));
        return NULL;
    }
    c = g_new0(Command, 1);
    c->id = ++last_id;
    c->at = at;
    c->type = type;
    c->arguments = as_dict(type, arguments);
    c->given = giving;
    insert(c);
    qatomic_set(&e->attention, true);
    if (first_cpu) {
        qemu_cond_broadcast(first_cpu->halt_cond);
    }
    return done(at, c->id);
}

/* @command: one of this name alone, or NULL. */
static bool withdraw(const char *command, uint64_t id)
{
    for (GList *l = pending.head; l; l = l->next) {
        Command *c = l->data;

        if (c->id == id && (!command ||
                            !strcmp(c->type->name, command))) {
            g_queue_delete_link(&pending, l);
            command_free(c);
            return true;
        }
    }
    return false;
}

bool vsched_commands_cancel(uint64_t id)
{
    return withdraw(NULL, id);
}

void vsched_commands_withdraw(const char *command, uint64_t id)
{
    withdraw(command, id);
}

VschedPendingList *vsched_commands_pending(void)
{
    VschedPendingList *list = NULL, **tail = &list;

    for (GList *l = pending.head; l; l = l->next) {
        Command *c = l->data;
        VschedPending *p = g_new0(VschedPending, 1);

        p->id = c->id;
        p->at = c->at;
        p->command = g_strdup(c->type->name);
        p->arguments = QOBJECT(qobject_ref(c->arguments));
        QAPI_LIST_APPEND(tail, p);
    }
    return list;
}

int64_t vsched_commands_next(void)
{
    Command *c = g_queue_peek_head(&pending);

    return c ? c->at : INT64_MAX;
}

int64_t vsched_commands_next_change(void)
{
    for (GList *l = pending.head; l; l = l->next) {
        Command *c = l->data;

        if (!c->type->observes) {
            return c->at;
        }
    }
    return INT64_MAX;
}

/* A time such as "5ms" among @arguments, as the number of ns that it is. */
static bool parse_time_argument(QDict *arguments, const char *name,
                                const char *value, Error **errp)
{
    g_autofree char *number = NULL;
    uint64_t ns;

    if (!vsched_parse_time(value, &ns)) {
        error_setg(errp, "%s=%s is not a time: allowed are numbers, of "
                   "nanoseconds or with ns, us, ms or s behind them", name,
                   value);
        return false;
    }
    number = g_strdup_printf("%" PRIu64, ns);
    qdict_put_str(arguments, name, number);
    return true;
}

/* @arguments of JSON, or, if @texts, of words whose values may be texts. */
static VschedDone *run(const VschedCommandType *type, QDict *arguments,
                       bool texts, Error **errp)
{
    Visitor *v = texts ? qobject_input_visitor_new_keyval(QOBJECT(arguments))
                       : qobject_input_visitor_new(QOBJECT(arguments));
    VschedDone *result = NULL;
    void *typed = NULL;

    if (type->visit(v, &typed, errp)) {
        result = type->run(typed, errp);
        type->free(typed);
    }
    visit_free(v);
    return result;
}

void vsched_commands_due(VschedEngine *e)
{
    while (vsched_commands_next() <= e->now) {
        Command *c = g_queue_pop_head(&pending);
        Error *err = NULL;
        VschedDone *d = run(c->type, c->arguments, false, &err);

        qapi_event_send_vsched_command(c->id, c->type->name, e->now,
                                       err ? error_get_pretty(err) : NULL,
                                       d ? d->answer : NULL);
        qapi_free_VschedDone(d);
        if (err) {
            warn_report("%s at %" PRId64 " ns: %s", c->type->name,
                        e->now, error_get_pretty(err));
        }
        error_free(err);
        command_free(c);
    }
}

/* keyval_parse() lets the last of several values of a key hold. */
static bool each_once(const char *arguments, Error **errp)
{
    g_autoptr(GHashTable) keys = g_hash_table_new_full(g_str_hash, g_str_equal,
                                                       g_free, NULL);
    const char *p = arguments ?: "";

    while (*p) {
        char *key = g_strndup(p, strcspn(p, "=,"));

        /* To the end of its value, in which a comma is doubled */
        for (p += strlen(key); *p && (*p != ',' || p[1] == ','); p++) {
            p += *p == ',';
        }
        p += *p == ',';
        if (!g_hash_table_add(keys, key)) {
            error_setg(errp, "'%s' is given twice: allowed is one value", key);
            return false;
        }
    }
    return true;
}

VschedDone *vsched_commands_run(const char *command, const char *arguments,
                                const char *at, Error **errp)
{
    static const char *const times[] = { "duration", "interval" };
    const VschedCommandType *type = find(command, errp);
    g_autoptr(QDict) dict = NULL;

    if (!type) {
        return NULL;
    }
    dict = keyval_parse(arguments ?: "", NULL, NULL, errp);
    if (!dict || !each_once(arguments, errp)) {
        return NULL;
    }
    if (at && qdict_haskey(dict, "at")) {
        error_setg(errp, "'at' is given twice: allowed is one, which is not "
                   "among 'arguments'");
        return NULL;
    }
    at = at ?: qdict_get_try_str(dict, "at");
    if (at && !parse_time_argument(dict, "at", at, errp)) {
        return NULL;
    }
    for (int i = 0; i < ARRAY_SIZE(times); i++) {
        const char *value = qdict_get_try_str(dict, times[i]);

        if (value && !parse_time_argument(dict, times[i], value, errp)) {
            return NULL;
        }
    }
    return run(type, dict, true, errp);
}

/*
 * ------------------------------------------------------------------------
 * Saved states.
 */

char *vsched_commands_save(void)
{
    g_autoptr(QDict) state = qdict_new();
    QList *list = qlist_new();
    GString *json;

    for (GList *l = pending.head; l; l = l->next) {
        Command *c = l->data;
        QDict *dict;

        if (c->type->observes) {
            continue;
        }
        dict = qdict_new();
        qdict_put_int(dict, "id", c->id);
        qdict_put_int(dict, "at", c->at);
        qdict_put_str(dict, "command", c->type->name);
        qdict_put(dict, "arguments", qobject_ref(c->arguments));
        qlist_append(list, dict);
    }
    qdict_put_int(state, "last", last_id);
    qdict_put(state, "pending", list);
    json = qobject_to_json(QOBJECT(state));
    return g_string_free(json, false);
}

/* One that was saved, or NULL if none can have been. */
static Command *load_command(QObject *saved)
{
    QDict *dict = qobject_to(QDict, saved);
    QDict *arguments = dict ? qdict_get_qdict(dict, "arguments") : NULL;
    const char *name = dict ? qdict_get_try_str(dict, "command") : NULL;
    const VschedCommandType *type = name ? find(name, NULL) : NULL;
    void *typed = NULL;
    Visitor *v;
    Command *c;

    if (!type || type->observes || !arguments ||
        qdict_get_try_int(dict, "at", -1) < 0) {
        return NULL;
    }
    v = qobject_input_visitor_new(QOBJECT(arguments));
    if (!type->visit(v, &typed, NULL)) {
        visit_free(v);
        return NULL;
    }
    visit_free(v);
    type->free(typed);
    c = g_new0(Command, 1);
    c->id = qdict_get_try_int(dict, "id", 0);
    c->at = qdict_get_int(dict, "at");
    c->type = type;
    c->arguments = qobject_ref(arguments);
    return c;
}

/* Of those that change the machine: given at the start of QEMU, or not. */
static void clear(bool given)
{
    GList *next;

    for (GList *l = pending.head; l; l = next) {
        Command *c = l->data;

        next = l->next;
        if (c->given == given && !c->type->observes) {
            g_queue_delete_link(&pending, l);
            command_free(c);
        }
    }
}

bool vsched_commands_load(VschedEngine *e, const char *text, bool keep,
                          Error **errp)
{
    QObject *saved = qobject_from_json(text, NULL);
    g_autoptr(QDict) state = qobject_to(QDict, saved);
    QList *list = state ? qdict_get_qlist(state, "pending") : NULL;
    g_autoptr(GPtrArray) commands = g_ptr_array_new();
    const QListEntry *entry;
    bool ok = list;

    if (!state) {
        qobject_unref(saved);
    }
    for (entry = list ? qlist_first(list) : NULL; entry;
         entry = qlist_next(entry)) {
        Command *c = load_command(qlist_entry_obj(entry));

        ok &= c != NULL;
        if (c) {
            g_ptr_array_add(commands, c);
        }
    }
    keep &= any_given;
    if (ok) {
        clear(false);
        if (!keep) {
            clear(true);
        }
        last_id = MAX(last_id, qdict_get_try_int(state, "last", 0));
    } else {
        error_setg(errp, "its commands that wait for their time are none");
    }
    for (int i = 0; i < commands->len; i++) {
        Command *c = commands->pdata[i];

        if (ok && !keep) {
            insert(c);
        } else {
            command_free(c);
        }
    }
    return ok;
}

/*
 * ------------------------------------------------------------------------
 * Objects: commands that are given at the start.
 */

#define TYPE_VSCHED_COMMAND "vsched-command"
OBJECT_DECLARE_SIMPLE_TYPE(VschedCommandObject, VSCHED_COMMAND)

struct VschedCommandObject {
    Object parent_obj;
    char *at, *run, *arguments;
    bool complete;              /* they have had their effect */
};

/* Those that came before the engine. */
static GPtrArray *early;

static bool give(VschedCommandObject *c, Error **errp)
{
    ERRP_GUARD();
    VschedDone *d;

    giving = true;
    d = vsched_commands_run(c->run, c->arguments, c->at, errp);
    giving = false;
    if (!d) {
        error_prepend(errp, "vsched-command '%s': ",
                      object_get_canonical_path_component(OBJECT(c)));
    }
    any_given |= d && !find(c->run, &error_abort)->observes;
    qapi_free_VschedDone(d);
    return d;
}

static void complete(UserCreatable *uc, Error **errp)
{
    VschedCommandObject *c = VSCHED_COMMAND(uc);

    if (!c->at || !c->run) {
        error_setg(errp, "a vsched-command needs 'at' and 'run', and may have "
                   "'arguments'");
    } else if (vsched_engine) {
        give(c, errp);
    } else if (phase_check(PHASE_ACCEL_CREATED)) {
        error_setg(errp, "a vsched-command needs -accel tcg,thread=vsched");
    } else {
        early = early ?: g_ptr_array_new();
        g_ptr_array_add(early, object_ref(OBJECT(c)));
    }
    c->complete = true;
}

/* Plugins are loaded after the engine has started. */
static void check_plugins(Notifier *notifier, void *data)
{
    for (GList *l = pending.head; l; l = l->next) {
        Command *c = l->data;

        if (c->type->run == run_vsched_plugin_command) {
            qemu_plugin_takes_commands(qdict_get_str(c->arguments, "plugin"),
                                       &error_fatal);
        }
    }
}

static Notifier machine_done = { .notify = check_plugins };

bool vsched_commands_start(VschedEngine *e, Error **errp)
{
    qemu_add_machine_init_done_notifier(&machine_done);
    for (int i = 0; early && i < early->len; i++) {
        if (!give(early->pdata[i], errp)) {
            return false;
        }
    }
    return true;
}

bool vsched_commands_given(void)
{
    return early;
}

#define STRING_PROPERTY(name)                                                \
    static char *get_##name(Object *obj, Error **errp)                       \
    {                                                                        \
        return g_strdup(VSCHED_COMMAND(obj)->name);                          \
    }                                                                        \
    static void set_##name(Object *obj, const char *value, Error **errp)     \
    {                                                                        \
        if (VSCHED_COMMAND(obj)->complete) {                                 \
            error_setg(errp, "the command has been given: vsched-cancel "    \
                       "takes it back while it waits");                      \
            return;                                                          \
        }                                                                    \
        g_free(VSCHED_COMMAND(obj)->name);                                   \
        VSCHED_COMMAND(obj)->name = g_strdup(value);                         \
    }

STRING_PROPERTY(at)
STRING_PROPERTY(run)
STRING_PROPERTY(arguments)

static void command_finalize(Object *obj)
{
    VschedCommandObject *c = VSCHED_COMMAND(obj);

    g_free(c->at);
    g_free(c->run);
    g_free(c->arguments);
}

static void command_class_init(ObjectClass *oc, void *data)
{
    USER_CREATABLE_CLASS(oc)->complete = complete;
    object_class_property_add_str(oc, "at", get_at, set_at);
    object_class_property_set_description(oc, "at",
        "simulated time at which it is carried out, such as 5ms");
    object_class_property_add_str(oc, "run", get_run, set_run);
    object_class_property_set_description(oc, "run",
        "name of the command, such as vsched-set-policy");
    object_class_property_add_str(oc, "arguments", get_arguments,
                                  set_arguments);
    object_class_property_set_description(oc, "arguments",
        "its arguments, such as policy=gang,parameters.slice=1ms");
}

static const TypeInfo types[] = {
    {
        .name = TYPE_VSCHED_COMMAND,
        .parent = TYPE_OBJECT,
        .instance_size = sizeof(VschedCommandObject),
        .instance_finalize = command_finalize,
        .class_init = command_class_init,
        .interfaces = (InterfaceInfo[]) {
            { TYPE_USER_CREATABLE },
            { }
        },
    },
};

DEFINE_TYPES(types)
