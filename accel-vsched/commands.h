/*
 * Commands of QMP that wait for their time, or were given at the start.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSCHED_COMMANDS_H
#define VSCHED_COMMANDS_H

#include "qapi/qapi-types-vsched.h"
#include "qapi/visitor.h"
#include "qobject/qdict.h"
#include "engine.h"

/* A command of QMP whose arguments are of one type and have "at" */
typedef struct VschedCommandType {
    const char *name;
    bool (*visit)(Visitor *v, void **arguments, Error **errp);
    VschedDone *(*run)(void *arguments, Error **errp);
    void (*free)(void *arguments);
    /*
     * It changes nothing in the machine and is not saved with it: a state that
     * is loaded must not write files, say, nor stop what an observer wants.
     */
    bool observes;
} VschedCommandType;

/* The functions of command @func, whose arguments are of QAPI's type @TYPE */
#define VSCHED_COMMAND_TYPE(TYPE, func)                                      \
    static bool visit_##func(Visitor *v, void **arguments, Error **errp)     \
    {                                                                        \
        return visit_type_##TYPE(v, NULL, (TYPE **)arguments, errp);         \
    }                                                                        \
    static VschedDone *run_##func(void *arguments, Error **errp)             \
    {                                                                        \
        return qmp_##func(arguments, errp);                                  \
    }                                                                        \
    static void free_##func(void *arguments)                                 \
    {                                                                        \
        qapi_free_##TYPE(arguments);                                         \
    }

#define VSCHED_COMMAND_ENTRY(name, func, ...)                                \
    { name, visit_##func, run_##func, free_##func, __VA_ARGS__ }

/* @types join, from a constructor; one without a name ends them. */
void vsched_register_commands(const VschedCommandType *types);

/*
 * @command with @arguments, of the type that its schema says and without "at",
 * is carried out at the first end of a window at or after @at nanoseconds of
 * simulated time.  NULL, and @errp, if that is past.
 */
VschedDone *vsched_commands_defer(VschedEngine *e, const char *command,
                                  void *arguments, uint64_t at, Error **errp);
/* It was carried out at once. */
VschedDone *vsched_commands_done(VschedEngine *e);
/* Whether it can be asked to write @filename, a file that may exist. */
bool vsched_commands_can_write(const char *filename, Error **errp);
/* False if there is none with this number. */
bool vsched_commands_cancel(uint64_t id);
/* If it waits.  A state that was loaded may have a number in use here, too. */
void vsched_commands_withdraw(const char *command, uint64_t id);
VschedPendingList *vsched_commands_pending(void);
/*
 * The names of all that can be given a time, with @before in front of each; in
 * brief, without "vsched-".  The caller frees it.
 */
char *vsched_commands_names(const char *before, bool brief);
/* @name, with "vsched-" in front if it is none itself; the caller frees it */
char *vsched_commands_full_name(const char *name);
/* Whether there is such a command that can be given a time */
bool vsched_commands_have(const char *name);

/* Nanoseconds at which the next one is due; INT64_MAX: there is none. */
int64_t vsched_commands_next(void);
/* The same of those that change something: an idle machine goes on to them. */
int64_t vsched_commands_next_change(void);
/* Between windows: carry those out that are due. */
void vsched_commands_due(VschedEngine *e);

/* The machine has an engine: the ones that were given before are its own. */
bool vsched_commands_start(VschedEngine *e, Error **errp);
/* Whether any was given at the start. */
bool vsched_commands_given(void);

/* For save.c: what waits, as text; the caller frees it. */
char *vsched_commands_save(void);
/*
 * What was saved takes the place of what waits; of what was given at the start,
 * if there is such, only without @keep.
 */
bool vsched_commands_load(VschedEngine *e, const char *text, bool keep,
                          Error **errp);

/*
 * @command with @arguments as people write them, "pcpu=7,online=off", at time
 * @at, a text such as "5ms"; NULL: at once, or as "at" among @arguments says.
 */
VschedDone *vsched_commands_run(const char *command, const char *arguments,
                                const char *at, Error **errp);

/* sampling.c: the profile's counters, or NULL and @errp if there is none. */
VschedProfileInfo *vsched_sampling_info(VschedEngine *e, Error **errp);

#endif /* VSCHED_COMMANDS_H */
