/*
 * Schedule trace: who ran where, and why that changed, in binary records.
 *
 * Plain C over GLib.  Records go into a ring of a fixed size.  When it is full,
 * the oldest ones make room: what they say is folded into the state at the
 * beginning, and they count as lost.  So what is left can always be
 * interpreted: the state at the beginning says who was where when the first
 * record that is left was made.
 *
 * The records of one PCPU are in the order of its clock.  PCPUs run one after
 * the other within a window, so a record may be followed by one of another PCPU
 * that is earlier, by up to a window; who reads a trace sorts it by time, and
 * keeps the order of records with equal times.
 *
 * Two of a VCPU's times may be out of order as well: a PCPU that a stall
 * carried beyond the end of the window stops a VCPU there, and it is woken at
 * that end.  A state of a VCPU therefore begins at the later of its record's
 * time and the time at which the state before began, as it does in core.c.
 *
 * docs/trace.rst describes the file, scripts/lib/schedtrace.py reads it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSCHED_SCHEDTRACE_H
#define VSCHED_SCHEDTRACE_H

#include "core.h"

#define VSCHED_TRACE_MAGIC   "VSCHEDTR"
#define VSCHED_TRACE_VERSION 1
#define VSCHED_TRACE_HEADER  112        /* bytes before the policies' names */

/* Records of a ring (choice); 2^27 of them take 2 GiB. */
#define VSCHED_TRACE_MIN     (UINT64_C(1) << 10)
#define VSCHED_TRACE_MAX     (UINT64_C(1) << 27)
#define VSCHED_TRACE_DEFAULT (UINT64_C(1) << 20)
/* When a ring is full, no more than such a part of it makes room, and one. */
#define VSCHED_TRACE_PART    64

/* Numbers are those of the file. */
typedef enum VschedRecordKind {
    /*
     * What happens to VCPUs and PCPUs.  RUN: vcpu begins to run on pcpu; arg:
     * the cycles right before in which its registers were moved in, or NO_ARG
     * if they were there.
     */
    VSCHED_RECORD_RUN = 2,
    VSCHED_RECORD_WAKE = 3,     /* it is ready; pcpu: where it ran last */
    VSCHED_RECORD_BLOCK = 4,    /* it is blocked */
    VSCHED_RECORD_PREEMPT = 5,  /* it stops running; arg: VschedWhy */
    /* It was sent something by a PCPU that is ahead; it waits until RESUME. */
    VSCHED_RECORD_WAIT = 6,
    VSCHED_RECORD_RESUME = 7,
    VSCHED_RECORD_MIGRATE = 8,  /* it will run on pcpu; arg: the PCPU before */
    /* A period ended as a spin; arg: bits of detectors, 1 << 8 in user mode. */
    VSCHED_RECORD_SPIN = 9,
    VSCHED_RECORD_SENT = 10,    /* an interrupt, to vcpu; arg: see below */
    VSCHED_RECORD_TAKEN = 11,   /* vcpu takes an interrupt */
    /* Changes of the machine */
    VSCHED_RECORD_POLICY = 16,  /* arg: number of the policy's name */
    VSCHED_RECORD_PCPU = 17,    /* arg: 0, off, or 1, on */
    VSCHED_RECORD_SUSPEND = 18, /* mask of vcpu suspended (0), in force (1) */
    /* Mask of vcpu: PCPUs 0 to 31; and 32 to 63, which follows at once. */
    VSCHED_RECORD_MASK_LOW = 19,
    VSCHED_RECORD_MASK_HIGH = 20,
    VSCHED_RECORD_SHARE = 21,   /* of VM vcpu; arg: weight | cap << 16 */
    VSCHED_RECORD_RESET = 22,   /* the machine is reset */
    /* State, and marks: at the beginning, around a load, at the end */
    VSCHED_RECORD_VCPU_STATE = 32, /* since time; arg: VschedState | VM << 8 */
    VSCHED_RECORD_PCPU_STATE = 33, /* clock: time; vcpu: on it; arg: as PCPU */
    VSCHED_RECORD_CLOCK = 34,   /* clock of pcpu where this part ends */
    VSCHED_RECORD_END = 35,     /* this part of the trace ends */
    VSCHED_RECORD_LOADED = 36,  /* a saved state was loaded: states follow */
} VschedRecordKind;

#define VSCHED_RECORD_NO_PCPU UINT8_MAX
#define VSCHED_RECORD_NO_VCPU UINT16_MAX
#define VSCHED_RECORD_NO_ARG  UINT32_MAX

/* arg of VSCHED_RECORD_SENT: the sender, or NO_VCPU for a device; and */
#define VSCHED_SENT_OUTCOME_SHIFT 16    /* VschedSent, 2 bits */
#define VSCHED_SENT_CROSS_CALL    (1u << 18)
#define VSCHED_SENT_RUNNING       (1u << 19)    /* the target was on a PCPU */

typedef struct VschedRecord {
    int64_t time;               /* cycles */
    uint8_t kind;
    uint8_t pcpu;
    uint16_t vcpu;
    uint32_t arg;
} VschedRecord;

G_STATIC_ASSERT(sizeof(VschedRecord) == 16);

/* Hints that are recorded; spins are recorded where they are found. */
#define VSCHED_TRACE_HINTS \
    (VSCHED_LISTEN(VSCHED_HINT_SENT) | VSCHED_LISTEN(VSCHED_HINT_TAKEN))

typedef struct VschedTrace VschedTrace;

/* What is the same for a whole trace; for the file. */
typedef struct VschedTraceInfo {
    uint64_t clock_hz;
    bool running;               /* it was saved while it was recorded */
} VschedTraceInfo;

/*
 * A trace of @size records, which begins with the state of @core, between two
 * windows.  NULL: there is not so much memory.
 */
VschedTrace *vsched_trace_new(const VschedCore *core, uint64_t size);
void vsched_trace_free(VschedTrace *trace);

void vsched_trace_add(VschedTrace *trace, VschedRecordKind kind, int64_t now,
                      int pcpu, int vcpu, uint32_t arg);

/* As of VschedHost; @core: for its policy. */
void vsched_trace_event(VschedTrace *trace, const VschedCore *core,
                        VschedEventKind kind, int pcpu, int vcpu,
                        int64_t other, int64_t now);
void vsched_trace_hint(VschedTrace *trace, const VschedHint *hint);

/* It ends here, or this part of it does: another state will be loaded. */
void vsched_trace_end(VschedTrace *trace, const VschedCore *core);
/* That was loaded: another part begins. */
void vsched_trace_loaded(VschedTrace *trace, const VschedCore *core);

uint64_t vsched_trace_size(const VschedTrace *trace);
uint64_t vsched_trace_records(const VschedTrace *trace);
uint64_t vsched_trace_lost(const VschedTrace *trace);
/* Cycles: from here on, in the first part that is left, nothing is lost. */
int64_t vsched_trace_begin(const VschedTrace *trace);

/*
 * The file, in pieces; false if @write returns false.  @core: the trace goes on
 * to be recorded, and this file of it ends here; NULL: it has ended.
 */
bool vsched_trace_write(const VschedTrace *trace, const VschedCore *core,
                        const VschedTraceInfo *info,
                        bool (*write)(void *opaque, const void *data,
                                      size_t bytes), void *opaque);

#endif /* VSCHED_SCHEDTRACE_H */
