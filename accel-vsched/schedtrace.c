/*
 * Schedule trace: who ran where, and why that changed, in binary records.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "schedtrace.h"

typedef struct TraceVCPU {
    VschedState state;
    int pcpu;                   /* where it is, or was last */
    int vm;
    int64_t since;              /* cycles: in @state since then */
    uint64_t affinity;
} TraceVCPU;

typedef struct TracePCPU {
    int64_t clock;              /* cycles, of the last that was heard of it */
    int current;                /* VCPU, or VSCHED_NONE */
    bool online;
} TracePCPU;

/* What records change. */
typedef struct TraceState {
    int vcpus, pcpus, vms;
    TraceVCPU *vcpu;
    TracePCPU *pcpu;
    VschedShare *share;         /* of each VM */
    uint32_t policy;            /* of vsched_policies[] */
    int64_t begin;              /* cycles: it is that of this time */
} TraceState;

#define NOT_SWITCHED INT64_MIN

struct VschedTrace {
    TraceState state;           /* before the first record */
    int64_t window;             /* cycles */
    int64_t switch_cost;        /* cycles */
    int64_t started;            /* cycles */
    int64_t switched;           /* cycle: registers began to move, or NOT_ */
    uint64_t size;              /* records that there is room for */
    uint64_t first;             /* the oldest */
    uint64_t next;              /* where the next one goes */
    uint64_t count;
    uint64_t lost;
    VschedRecord *record;
};

/*
 * ------------------------------------------------------------------------
 * State.
 */

static uint32_t policy_number(const VschedPolicyOps *ops)
{
    for (uint32_t i = 0; vsched_policies[i]; i++) {
        if (vsched_policies[i] == ops) {
            return i;
        }
    }
    return VSCHED_RECORD_NO_ARG;
}

static void state_init(TraceState *s, const VschedCore *core)
{
    const VschedTopology *t = &core->topology;

    *s = (TraceState) {
        .vcpus = t->vcpus,
        .pcpus = t->pcpus,
        .vms = t->vms,
        .vcpu = g_new(TraceVCPU, t->vcpus),
        .pcpu = g_new(TracePCPU, t->pcpus),
        .share = g_memdup2(t->share, t->vms * sizeof(VschedShare)),
        .policy = policy_number(core->ops),
        .begin = core->window_end,
    };
    for (int v = 0; v < t->vcpus; v++) {
        const VschedVCPU *vcpu = &core->vcpu[v];

        s->vcpu[v] = (TraceVCPU) {
            .state = vcpu->state,
            .pcpu = vcpu->pcpu,
            .vm = t->vm[v],
            .since = vcpu->since,
            .affinity = vcpu->affinity,
        };
    }
    for (int p = 0; p < t->pcpus; p++) {
        s->pcpu[p] = (TracePCPU) {
            .clock = core->pcpu[p].clock,
            .current = core->pcpu[p].current,
            .online = t->online >> p & 1,
        };
    }
}

static void state_clear(TraceState *s)
{
    g_free(s->vcpu);
    g_free(s->pcpu);
    g_free(s->share);
}

G_STATIC_ASSERT((uint8_t)VSCHED_NONE == VSCHED_RECORD_NO_PCPU);
G_STATIC_ASSERT((uint16_t)VSCHED_NONE == VSCHED_RECORD_NO_VCPU);

static inline VschedRecord make(VschedRecordKind kind, int64_t now, int pcpu,
                                int vcpu, uint32_t arg)
{
    return (VschedRecord) {
        .time = now,
        .kind = kind,
        .pcpu = pcpu,           /* VSCHED_NONE is what none is there, too */
        .vcpu = vcpu,
        .arg = arg,
    };
}

static void put(GArray *records, VschedRecordKind kind, int64_t now, int pcpu,
                int vcpu, uint32_t arg)
{
    VschedRecord record = make(kind, now, pcpu, vcpu, arg);

    g_array_append_val(records, record);
}

static uint32_t share_arg(const VschedShare *share)
{
    return share->weight | share->cap << 16;
}

/* The state as records; the caller frees them. */
static GArray *state_records(const TraceState *s)
{
    GArray *records = g_array_new(false, false, sizeof(VschedRecord));

    for (int v = 0; v < s->vcpus; v++) {
        const TraceVCPU *vcpu = &s->vcpu[v];

        put(records, VSCHED_RECORD_VCPU_STATE, vcpu->since, vcpu->pcpu, v,
            vcpu->state | vcpu->vm << 8);
        put(records, VSCHED_RECORD_MASK_LOW, s->begin, VSCHED_NONE, v,
            vcpu->affinity);
        put(records, VSCHED_RECORD_MASK_HIGH, s->begin, VSCHED_NONE, v,
            vcpu->affinity >> 32);
    }
    for (int p = 0; p < s->pcpus; p++) {
        put(records, VSCHED_RECORD_PCPU_STATE, s->pcpu[p].clock, p,
            s->pcpu[p].current, s->pcpu[p].online);
    }
    for (int i = 0; i < s->vms; i++) {
        put(records, VSCHED_RECORD_SHARE, s->begin, VSCHED_NONE, i,
            share_arg(&s->share[i]));
    }
    put(records, VSCHED_RECORD_POLICY, s->begin, VSCHED_NONE, VSCHED_NONE,
        s->policy);
    return records;
}

/* VCPU and PCPU of @r go on in @next together, or, if it is no such, apart. */
static void apply_transition(TraceState *s, const VschedRecord *r,
                             VschedState next)
{
    TraceVCPU *v = &s->vcpu[r->vcpu];
    bool on = s->pcpu[v->pcpu].current == r->vcpu;
    bool stays = next == VSCHED_RUNNING || r->kind == VSCHED_RECORD_WAIT;

    if (stays) {
        v->pcpu = r->pcpu;
    }
    if (on || stays) {
        TracePCPU *pcpu = &s->pcpu[v->pcpu];

        pcpu->current = stays ? r->vcpu : VSCHED_NONE;
        pcpu->clock = MAX(pcpu->clock, r->time);
    }
    v->state = next;
    v->since = MAX(v->since, r->time);
}

/* What @r says becomes part of the state. */
static void apply(TraceState *s, const VschedRecord *r)
{
    TraceVCPU *v = r->vcpu < s->vcpus ? &s->vcpu[r->vcpu] : NULL;

    switch ((VschedRecordKind)r->kind) {
    case VSCHED_RECORD_RUN:
    case VSCHED_RECORD_RESUME:
        apply_transition(s, r, VSCHED_RUNNING);
        break;
    case VSCHED_RECORD_WAKE:
    case VSCHED_RECORD_PREEMPT:
    case VSCHED_RECORD_WAIT:
        apply_transition(s, r, VSCHED_READY);
        break;
    case VSCHED_RECORD_BLOCK:
        apply_transition(s, r, VSCHED_BLOCKED);
        break;
    case VSCHED_RECORD_POLICY:
        s->policy = r->arg;
        break;
    case VSCHED_RECORD_PCPU:
        s->pcpu[r->pcpu].online = r->arg;
        break;
    case VSCHED_RECORD_MASK_LOW:
        v->affinity = v->affinity >> 32 << 32 | r->arg;
        break;
    case VSCHED_RECORD_MASK_HIGH:
        v->affinity = (uint32_t)v->affinity | (uint64_t)r->arg << 32;
        break;
    case VSCHED_RECORD_SHARE:
        s->share[r->vcpu] = (VschedShare) { r->arg & 0xffff, r->arg >> 16 };
        break;
    case VSCHED_RECORD_VCPU_STATE:
        v->state = r->arg & 0xff;
        v->vm = r->arg >> 8;
        v->pcpu = r->pcpu;
        v->since = r->time;
        break;
    case VSCHED_RECORD_PCPU_STATE:
        s->pcpu[r->pcpu] = (TracePCPU) {
            .clock = r->time,
            .current = v ? r->vcpu : VSCHED_NONE,
            .online = r->arg,
        };
        break;
    case VSCHED_RECORD_MIGRATE:
    case VSCHED_RECORD_SPIN:
    case VSCHED_RECORD_SENT:
    case VSCHED_RECORD_TAKEN:
    case VSCHED_RECORD_SUSPEND:
    case VSCHED_RECORD_RESET:
    case VSCHED_RECORD_CLOCK:
    case VSCHED_RECORD_END:
    case VSCHED_RECORD_LOADED:
        break;
    }
}

/*
 * ------------------------------------------------------------------------
 * The ring.
 */

VschedTrace *vsched_trace_new(const VschedCore *core, uint64_t size)
{
    VschedRecord *record = g_try_new(VschedRecord, size);
    VschedTrace *t;

    if (!record) {
        return NULL;
    }
    t = g_new0(VschedTrace, 1);
    state_init(&t->state, core);
    t->window = core->window;
    t->switch_cost = core->switch_cost;
    t->started = core->window_end;
    t->switched = NOT_SWITCHED;
    t->size = size;
    t->record = record;
    return t;
}

void vsched_trace_free(VschedTrace *t)
{
    if (t) {
        state_clear(&t->state);
        g_free(t->record);
        g_free(t);
    }
}

/* Only these say from when on nothing is lost: others have times of states. */
static bool is_mark_or_state(const VschedRecord *r)
{
    return r->kind >= VSCHED_RECORD_VCPU_STATE ||
           r->kind == VSCHED_RECORD_MASK_LOW ||
           r->kind == VSCHED_RECORD_MASK_HIGH ||
           r->kind == VSCHED_RECORD_SHARE || r->kind == VSCHED_RECORD_POLICY;
}

/* Records that stay in the host's caches meanwhile (choice) */
#define FOLDED_AT_ONCE 2048

/* The oldest record makes room. */
static void fold_one(VschedTrace *t)
{
    const VschedRecord *r = &t->record[t->first];

    apply(&t->state, r);
    if (r->kind == VSCHED_RECORD_LOADED) {
        t->state.begin = r->time;       /* which may be earlier */
    } else if (!is_mark_or_state(r)) {
        t->state.begin = MAX(t->state.begin, r->time);
    }
    t->first = t->first + 1 == t->size ? 0 : t->first + 1;
    t->count--;
    t->lost++;
}

/*
 * Make room for some records at once, which is quicker than for one after the
 * other.  With a mark that another state was loaded goes that state.
 */
static G_GNUC_NO_INLINE void fold(VschedTrace *t)
{
    uint64_t part = MIN(t->size / VSCHED_TRACE_PART, FOLDED_AT_ONCE);
    bool loaded = false;

    for (uint64_t i = 0; i <= part && t->count; i++) {
        loaded |= t->record[t->first].kind == VSCHED_RECORD_LOADED;
        fold_one(t);
    }
    while (loaded && t->count && is_mark_or_state(&t->record[t->first])) {
        fold_one(t);
    }
}

/*
 * Records are made hundreds of instructions apart, and the ring is larger than
 * the host's caches: without a word ahead, each line would be waited for.
 */
#define PREFETCH 8              /* records: two lines of 64 bytes */

static inline void append(VschedTrace *t, VschedRecord record)
{
    __builtin_prefetch(&t->record[t->next] + PREFETCH, 1);
    if (t->count == t->size) {
        fold(t);
    }
    t->record[t->next] = record;
    t->next = t->next + 1 == t->size ? 0 : t->next + 1;
    t->count++;
}

void vsched_trace_add(VschedTrace *t, VschedRecordKind kind, int64_t now,
                      int pcpu, int vcpu, uint32_t arg)
{
    append(t, make(kind, now, pcpu, vcpu, arg));
}

static void add_all(VschedTrace *t, GArray *records)
{
    for (guint i = 0; i < records->len; i++) {
        append(t, g_array_index(records, VschedRecord, i));
    }
    g_array_free(records, true);
}

void vsched_trace_event(VschedTrace *t, const VschedCore *core,
                        VschedEventKind kind, int pcpu, int vcpu,
                        int64_t other, int64_t now)
{
    static const VschedRecordKind kinds[] = {
        [VSCHED_EVENT_WAKE] = VSCHED_RECORD_WAKE,
        [VSCHED_EVENT_BLOCK] = VSCHED_RECORD_BLOCK,
        [VSCHED_EVENT_PREEMPT] = VSCHED_RECORD_PREEMPT,
        [VSCHED_EVENT_MIGRATE] = VSCHED_RECORD_MIGRATE,
        [VSCHED_EVENT_PCPU] = VSCHED_RECORD_PCPU,
        [VSCHED_EVENT_AFFINITY] = VSCHED_RECORD_SUSPEND,
    };

    switch (kind) {
    case VSCHED_EVENT_WINDOW:
        break;
    case VSCHED_EVENT_SWITCH:
        t->switched = now;      /* it runs next, and nothing comes between */
        break;
    case VSCHED_EVENT_RUN:
        vsched_trace_add(t, VSCHED_RECORD_RUN, now, pcpu, vcpu,
                         t->switched == NOT_SWITCHED ? VSCHED_RECORD_NO_ARG
                                                     : now - t->switched);
        t->switched = NOT_SWITCHED;
        break;
    case VSCHED_EVENT_WAIT:
        vsched_trace_add(t, VSCHED_RECORD_WAIT, now, pcpu, vcpu, 0);
        vsched_trace_add(t, VSCHED_RECORD_RESUME, other, pcpu, vcpu, 0);
        break;
    case VSCHED_EVENT_POLICY:
        vsched_trace_add(t, VSCHED_RECORD_POLICY, now, pcpu, vcpu,
                         policy_number(core->ops));
        break;
    case VSCHED_EVENT_MASK:
        vsched_trace_add(t, VSCHED_RECORD_MASK_LOW, now, pcpu, vcpu, other);
        vsched_trace_add(t, VSCHED_RECORD_MASK_HIGH, now, pcpu, vcpu,
                         (uint64_t)other >> 32);
        break;
    case VSCHED_EVENT_SHARE:
        vsched_trace_add(t, VSCHED_RECORD_SHARE, now, pcpu, vcpu,
                         share_arg(&core->topology.share[vcpu]));
        break;
    default:
        vsched_trace_add(t, kinds[kind], now, pcpu, vcpu, other);
        break;
    }
}

void vsched_trace_hint(VschedTrace *t, const VschedHint *h)
{
    if (h->kind == VSCHED_HINT_SENT) {
        vsched_trace_add(t, VSCHED_RECORD_SENT, h->now, h->pcpu, h->vcpu,
                         (uint16_t)h->other |
                         h->sent << VSCHED_SENT_OUTCOME_SHIFT |
                         (h->cross_call ? VSCHED_SENT_CROSS_CALL : 0) |
                         (h->running ? VSCHED_SENT_RUNNING : 0));
    } else if (h->kind == VSCHED_HINT_TAKEN) {
        vsched_trace_add(t, VSCHED_RECORD_TAKEN, h->now, h->pcpu, h->vcpu, 0);
    }
}

/* Where a part ends that ends now. */
static GArray *end_records(const VschedCore *core)
{
    GArray *records = g_array_new(false, false, sizeof(VschedRecord));

    for (int p = 0; p < core->topology.pcpus; p++) {
        put(records, VSCHED_RECORD_CLOCK, core->pcpu[p].clock, p, VSCHED_NONE,
            0);
    }
    put(records, VSCHED_RECORD_END, core->window_end, VSCHED_NONE, VSCHED_NONE,
        0);
    return records;
}

void vsched_trace_end(VschedTrace *t, const VschedCore *core)
{
    add_all(t, end_records(core));
}

void vsched_trace_loaded(VschedTrace *t, const VschedCore *core)
{
    TraceState s;

    vsched_trace_add(t, VSCHED_RECORD_LOADED, core->window_end, VSCHED_NONE,
                     VSCHED_NONE, 0);
    state_init(&s, core);
    add_all(t, state_records(&s));
    state_clear(&s);
}

uint64_t vsched_trace_size(const VschedTrace *t)
{
    return t->size;
}

uint64_t vsched_trace_records(const VschedTrace *t)
{
    return t->count;
}

uint64_t vsched_trace_lost(const VschedTrace *t)
{
    return t->lost;
}

int64_t vsched_trace_begin(const VschedTrace *t)
{
    return t->state.begin;
}

/*
 * ------------------------------------------------------------------------
 * The file.  Numbers are little-endian.
 */

typedef struct Output {
    bool (*write)(void *opaque, const void *data, size_t bytes);
    void *opaque;
    uint32_t a, b;              /* of the checksum */
} Output;

/* The checksum is Adler-32 (RFC 1950, section 8). */
#define ADLER_BASE 65521
#define ADLER_RUN  5552         /* bytes after which @b still fits 32 bits */

static bool output(Output *o, const void *data, size_t bytes)
{
    const uint8_t *byte = data;

    for (size_t done = 0; done < bytes; ) {
        size_t end = MIN(bytes, done + ADLER_RUN);

        for (; done < end; done++) {
            o->a += byte[done];
            o->b += o->a;
        }
        o->a %= ADLER_BASE;
        o->b %= ADLER_BASE;
    }
    return o->write(o->opaque, data, bytes);
}

static void append32(GByteArray *bytes, uint32_t value)
{
    value = GUINT32_TO_LE(value);
    g_byte_array_append(bytes, (const uint8_t *)&value, sizeof(value));
}

static void append64(GByteArray *bytes, uint64_t value)
{
    value = GUINT64_TO_LE(value);
    g_byte_array_append(bytes, (const uint8_t *)&value, sizeof(value));
}

static bool output_records(Output *o, const VschedRecord *record, uint64_t n)
{
    VschedRecord buffer[1024];

    while (n) {
        uint64_t part = MIN(n, G_N_ELEMENTS(buffer));

        for (uint64_t i = 0; i < part; i++) {
            buffer[i] = (VschedRecord) {
                .time = GINT64_TO_LE(record[i].time),
                .kind = record[i].kind,
                .pcpu = record[i].pcpu,
                .vcpu = GUINT16_TO_LE(record[i].vcpu),
                .arg = GUINT32_TO_LE(record[i].arg),
            };
        }
        if (!output(o, buffer, part * sizeof(*buffer))) {
            return false;
        }
        record += part;
        n -= part;
    }
    return true;
}

/* With the names of the policies, a zero behind each; a multiple of 16 bytes */
static GByteArray *header(const VschedTrace *t, const VschedTraceInfo *info,
                          uint64_t state_records, uint64_t records)
{
    GByteArray *names = g_byte_array_new();
    GByteArray *bytes = g_byte_array_new();
    uint32_t policies = 0;

    for (; vsched_policies[policies]; policies++) {
        const char *name = vsched_policies[policies]->name;

        g_byte_array_append(names, (const uint8_t *)name, strlen(name) + 1);
    }
    while (names->len % 16) {
        g_byte_array_append(names, (const uint8_t *)"", 1);
    }
    g_byte_array_append(bytes, (const uint8_t *)VSCHED_TRACE_MAGIC, 8);
    append32(bytes, VSCHED_TRACE_VERSION);
    append32(bytes, VSCHED_TRACE_HEADER + names->len);
    append64(bytes, info->clock_hz);
    append64(bytes, t->window);
    append64(bytes, t->switch_cost);
    append32(bytes, t->state.vcpus);
    append32(bytes, t->state.pcpus);
    append32(bytes, t->state.vms);
    append32(bytes, policies);
    append64(bytes, t->started);
    append64(bytes, t->state.begin);
    append64(bytes, state_records);
    append64(bytes, records);
    append64(bytes, t->lost);
    append64(bytes, t->size);
    append32(bytes, info->running);
    append32(bytes, 0);
    g_assert(bytes->len == VSCHED_TRACE_HEADER);
    g_byte_array_append(bytes, names->data, names->len);
    g_byte_array_free(names, true);
    return bytes;
}

bool vsched_trace_write(const VschedTrace *t, const VschedCore *core,
                        const VschedTraceInfo *info,
                        bool (*write)(void *opaque, const void *data,
                                      size_t bytes), void *opaque)
{
    Output o = { write, opaque, .a = 1 };
    g_autoptr(GArray) state = state_records(&t->state);
    g_autoptr(GArray) end = core ? end_records(core) :
                            g_array_new(false, false, sizeof(VschedRecord));
    g_autoptr(GByteArray) head = header(t, info, state->len,
                                        t->count + end->len);
    g_autoptr(GByteArray) tail = g_byte_array_new();
    uint64_t straight = MIN(t->count, t->size - t->first);

    if (!output(&o, head->data, head->len) ||
        !output_records(&o, (VschedRecord *)state->data, state->len) ||
        !output_records(&o, &t->record[t->first], straight) ||
        !output_records(&o, t->record, t->count - straight) ||
        !output_records(&o, (VschedRecord *)end->data, end->len)) {
        return false;
    }
    append32(tail, o.b << 16 | o.a);
    return write(opaque, tail->data, tail->len);
}
