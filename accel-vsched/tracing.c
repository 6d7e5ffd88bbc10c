/*
 * Schedule traces: start, stop, save.  schedtrace.c keeps the records.
 *
 * A trace is its observer's, not the machine's.  It is not part of a saved
 * state, goes on through a reset, and where a state is loaded it goes on with
 * a mark and that state (schedtrace.h).  Recording changes nothing in a run.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vsched.h"
#include "commands.h"
#include "parameters.h"
#include "engine.h"

VschedTrace *vsched_recording;

static struct {
    VschedTrace *trace;         /* NULL: there was none so far */
    bool running;               /* recording, or paused within a load */
    int64_t started, stopped;   /* ns */
    uint64_t stop_id;           /* of the command that ends it; 0: none does */
} tracing;

/*
 * ------------------------------------------------------------------------
 * From the engine.
 */

void vsched_tracing_spin(VschedEngine *e, int pcpu, int vcpu, int64_t at,
                         unsigned detectors, bool user)
{
    int64_t now = e->core->pcpu[pcpu].clock + vsched_exec_cycles(at) -
                  e->exec[pcpu].cycles;

    vsched_trace_add(vsched_recording, VSCHED_RECORD_SPIN, now, pcpu, vcpu,
                     detectors | user << 8);
}

void vsched_tracing_pause(VschedEngine *e)
{
    if (vsched_recording) {
        vsched_trace_end(vsched_recording, e->core);
        vsched_recording = NULL;
    }
}

void vsched_tracing_resume(VschedEngine *e)
{
    if (tracing.running && !vsched_recording) {
        vsched_recording = tracing.trace;
        vsched_trace_loaded(vsched_recording, e->core);
    }
}

void vsched_tracing_reset(VschedEngine *e)
{
    if (vsched_recording) {
        vsched_trace_add(vsched_recording, VSCHED_RECORD_RESET,
                         vsched_present(e), VSCHED_NONE, VSCHED_NONE, 0);
    }
}

/*
 * ------------------------------------------------------------------------
 * Commands.
 */

VschedDone *qmp_vsched_trace_start(VschedTraceStart *a, Error **errp)
{
    VschedEngine *e = vsched_changeable(errp);
    uint64_t size = a->has_records ? a->records : VSCHED_TRACE_DEFAULT;
    VschedTrace *trace;

    if (!e) {
        return NULL;
    }
    if (size < VSCHED_TRACE_MIN || size > VSCHED_TRACE_MAX) {
        g_autofree char *given = vsched_assignment("records", size);

        error_setg(errp, "%s is out of range: allowed are %" PRIu64 " to %"
                   PRIu64, given, VSCHED_TRACE_MIN, VSCHED_TRACE_MAX);
        return NULL;
    }
    if (a->has_duration &&
        (!a->duration || a->duration > vsched_latest_ns(e) / 2)) {
        g_autofree char *given = vsched_assignment("duration", a->duration);

        error_setg(errp, "%s is out of range: allowed are 1 to %" PRId64,
                   given, vsched_latest_ns(e) / 2);
        return NULL;
    }
    if (a->has_at) {
        a->has_at = false;
        return vsched_commands_defer(e, "vsched-trace-start", a, a->at, errp);
    }
    if (tracing.running) {
        error_setg(errp, "a trace is being recorded already: "
                   "vsched-trace-stop ends it");
        return NULL;
    }
    trace = vsched_trace_new(e->core, size);
    if (!trace) {
        error_setg(errp, "there is no memory for %" PRIu64 " records of 16 "
                   "bytes", size);
        return NULL;
    }
    vsched_trace_free(tracing.trace);
    tracing.trace = vsched_recording = trace;
    tracing.running = true;
    tracing.started = e->now;
    tracing.stop_id = 0;
    if (a->has_duration) {
        VschedTraceStop stop = { };
        VschedDone *done = vsched_commands_defer(e, "vsched-trace-stop", &stop,
                                                 MIN(e->now + a->duration,
                                                     vsched_latest_ns(e)),
                                                 &error_abort);

        tracing.stop_id = done->id;
        qapi_free_VschedDone(done);
    }
    return vsched_commands_done(e);
}

VschedDone *qmp_vsched_trace_stop(VschedTraceStop *a, Error **errp)
{
    VschedEngine *e = vsched_changeable(errp);

    if (!e) {
        return NULL;
    }
    if (a->has_at) {
        a->has_at = false;
        return vsched_commands_defer(e, "vsched-trace-stop", a, a->at, errp);
    }
    if (!tracing.running) {
        error_setg(errp, "no trace is being recorded: vsched-trace-start "
                   "begins one");
        return NULL;
    }
    vsched_tracing_pause(e);
    tracing.running = false;
    tracing.stopped = e->now;
    /* The command that was to stop it, unless this is it: then it is gone. */
    vsched_commands_withdraw("vsched-trace-stop", tracing.stop_id);
    tracing.stop_id = 0;
    return vsched_commands_done(e);
}

static bool write_to_file(void *opaque, const void *data, size_t bytes)
{
    return fwrite(data, 1, bytes, opaque) == bytes;
}

/* Whole, under another name first: no reader finds a part of it. */
static bool save(VschedEngine *e, const char *filename, Error **errp)
{
    const VschedTraceInfo info = {
        .clock_hz = e->clock_hz,
        .running = tracing.running,
    };
    g_autofree char *partial = g_strdup_printf("%s.%d.part", filename,
                                               (int)getpid());
    FILE *file;
    bool ok;

    file = fopen(partial, "wbe");
    if (!file) {
        error_setg_errno(errp, errno, "'%s' cannot be written", filename);
        return false;
    }
    ok = vsched_trace_write(tracing.trace, vsched_recording ? e->core : NULL,
                            &info, write_to_file, file);
    /* fclose() writes what is still in the buffer. */
    ok = !fclose(file) && ok && !rename(partial, filename);
    if (!ok) {
        error_setg_errno(errp, errno, "'%s' cannot be written", filename);
        unlink(partial);
    }
    return ok;
}

VschedDone *qmp_vsched_trace_save(VschedTraceSave *a, Error **errp)
{
    VschedEngine *e = vsched_changeable(errp);

    if (!e || !vsched_commands_can_write(a->filename, errp)) {
        return NULL;
    }
    if (a->has_at) {
        a->has_at = false;
        return vsched_commands_defer(e, "vsched-trace-save", a, a->at, errp);
    }
    if (!tracing.trace) {
        error_setg(errp, "there is no trace: vsched-trace-start begins one");
        return NULL;
    }
    return save(e, a->filename, errp) ? vsched_commands_done(e) : NULL;
}

VschedTracing *qmp_query_vsched_trace(Error **errp)
{
    VschedEngine *e = vsched_changeable(errp);
    VschedTracing *info;

    if (!e) {
        return NULL;
    }
    info = g_new0(VschedTracing, 1);
    info->running = tracing.running;
    if (!tracing.trace) {
        return info;
    }
    info->has_size = info->has_records = info->has_lost = true;
    info->size = vsched_trace_size(tracing.trace);
    info->records = vsched_trace_records(tracing.trace);
    info->lost = vsched_trace_lost(tracing.trace);
    info->has_started = info->has_begin = true;
    info->started = tracing.started;
    info->begin = vsched_cycles_to_ns(e, vsched_trace_begin(tracing.trace));
    info->has_stopped = !tracing.running;
    info->stopped = tracing.stopped;
    return info;
}
