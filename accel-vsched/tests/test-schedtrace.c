/*
 * Schedule traces: records, the ring, the file.
 *
 * What records say is compared with the core that made them: the state at the
 * beginning of a trace that has lost all of its records is the core's own, and
 * times that the records of a whole run add up to are those that the core has
 * counted.  Bytes of a file are written down here as docs/trace.rst has them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "fake-host.h"
#include "../schedtrace.h"

static const Block work[] = { { 10 }, { } };

/*
 * ------------------------------------------------------------------------
 * A file in memory.
 */

typedef struct File {
    GByteArray *bytes;
    guint limit;                /* bytes that there is room for */
} File;

static bool write_file(void *opaque, const void *data, size_t bytes)
{
    File *f = opaque;

    if (f->bytes->len + bytes > f->limit) {
        return false;
    }
    g_byte_array_append(f->bytes, data, bytes);
    return true;
}

static uint64_t number(const File *f, guint at, int bytes)
{
    uint64_t n = 0;

    g_assert_cmpuint(at + bytes, <=, f->bytes->len);
    while (bytes--) {
        n = n << 8 | f->bytes->data[at + bytes];
    }
    return n;
}

static File saved(const VschedTrace *t, const VschedCore *core)
{
    const VschedTraceInfo info = { .clock_hz = 123456789, .running = core };
    File f = { g_byte_array_new(), UINT_MAX };

    g_assert_true(vsched_trace_write(t, core, &info, write_file, &f));
    return f;
}

static guint header_bytes(const File *f)
{
    return number(f, 12, 4);
}

static uint64_t states(const File *f)
{
    return number(f, 72, 8);
}

static uint64_t records(const File *f)
{
    return number(f, 80, 8);
}

/* Of all, those of the state first. */
static VschedRecord record(const File *f, uint64_t i)
{
    guint at = header_bytes(f) + i * 16;

    return (VschedRecord) {
        .time = number(f, at, 8),
        .kind = number(f, at + 8, 1),
        .pcpu = number(f, at + 9, 1),
        .vcpu = number(f, at + 10, 2),
        .arg = number(f, at + 12, 4),
    };
}

static void assert_record(VschedRecord r, VschedRecordKind kind, int64_t now,
                          unsigned pcpu, unsigned vcpu, uint32_t arg)
{
    g_assert_cmpint(r.kind, ==, kind);
    g_assert_cmpint(r.time, ==, now);
    g_assert_cmpint(r.pcpu, ==, pcpu);
    g_assert_cmpint(r.vcpu, ==, vcpu);
    g_assert_cmpint(r.arg, ==, arg);
}

#define NO_PCPU 0xff
#define NO_VCPU 0xffff
#define NO_ARG  0xffffffff

/*
 * ------------------------------------------------------------------------
 * Tests.
 */

/* By hand: VCPUs 0 and 1 in two VMs, on PCPUs 0 and 1, of which 1 is off. */
static VschedTrace *small(Fake *f, uint64_t size)
{
    static const int vm[] = { 0, 1 };
    VschedTrace *t;

    fake_init_vms(f, 2, vm, 2, 100, 7, &vsched_policy_timeslice, 5000);
    set_online(f, 1);
    set_affinity(f, 1, 1);
    set_share(f, 1, 300, 50);
    t = vsched_trace_new(f->core, size);
    g_assert_nonnull(t);
    return t;
}

static void test_file(void)
{
    static const char names[] = "balance\0cosched\0credit\0";
    Fake fake;
    VschedTrace *t = small(&fake, 100);
    File f;
    uint32_t a = 1, b = 0;
    guint end;

    vsched_trace_add(t, VSCHED_RECORD_SPIN, 0x123456789ab, 1, 0x102,
                     0xfedcba98);
    f = saved(t, fake.core);
    g_assert_cmpmem(f.bytes->data, 8, "VSCHEDTR", 8);
    g_assert_cmpuint(number(&f, 8, 4), ==, 1);                  /* version */
    g_assert_cmpuint(header_bytes(&f) % 16, ==, 0);
    g_assert_cmpuint(number(&f, 16, 8), ==, 123456789);         /* clock */
    g_assert_cmpuint(number(&f, 24, 8), ==, 100);               /* window */
    g_assert_cmpuint(number(&f, 32, 8), ==, 7);                 /* switch */
    g_assert_cmpuint(number(&f, 40, 4), ==, 2);                 /* VCPUs */
    g_assert_cmpuint(number(&f, 44, 4), ==, 2);                 /* PCPUs */
    g_assert_cmpuint(number(&f, 48, 4), ==, 2);                 /* VMs */
    g_assert_cmpuint(number(&f, 56, 8), ==, 0);                 /* started */
    g_assert_cmpuint(number(&f, 64, 8), ==, 0);                 /* begin */
    g_assert_cmpuint(number(&f, 88, 8), ==, 0);                 /* lost */
    g_assert_cmpuint(number(&f, 96, 8), ==, 100);               /* size */
    g_assert_cmpuint(number(&f, 104, 4), ==, 1);                /* running */
    g_assert_cmpmem(f.bytes->data + 112, sizeof(names) - 1, names,
                    sizeof(names) - 1);
    /* 3 a VCPU, 1 a PCPU, 1 a VM, and the policy */
    g_assert_cmpuint(states(&f), ==, 2 * 3 + 2 + 2 + 1);
    /* its own one, 1 a PCPU, and the end */
    g_assert_cmpuint(records(&f), ==, 1 + 2 + 1);
    end = header_bytes(&f) + 16 * (states(&f) + records(&f));
    g_assert_cmpuint(f.bytes->len, ==, end + 4);

    assert_record(record(&f, 3), VSCHED_RECORD_VCPU_STATE, 0, 1, 1, 1 << 8);
    assert_record(record(&f, 4), VSCHED_RECORD_MASK_LOW, 0, NO_PCPU, 1, 1);
    assert_record(record(&f, 5), VSCHED_RECORD_MASK_HIGH, 0, NO_PCPU, 1, 0);
    assert_record(record(&f, 6), VSCHED_RECORD_PCPU_STATE, 0, 0, NO_VCPU, 1);
    assert_record(record(&f, 7), VSCHED_RECORD_PCPU_STATE, 0, 1, NO_VCPU, 0);
    assert_record(record(&f, 9), VSCHED_RECORD_SHARE, 0, NO_PCPU, 1,
                  300 | 50 << 16);
    assert_record(record(&f, 11), VSCHED_RECORD_SPIN, 0x123456789ab, 1, 0x102,
                  0xfedcba98);
    assert_record(record(&f, 13), VSCHED_RECORD_CLOCK, 0, 1, NO_VCPU, 0);
    assert_record(record(&f, 14), VSCHED_RECORD_END, 0, NO_PCPU, NO_VCPU, 0);

    /* RFC 1950: A is 1 + the sum of all bytes, B the sum of all As. */
    for (guint i = 0; i < end; i++) {
        a = (a + f.bytes->data[i]) % 65521;
        b = (b + a) % 65521;
    }
    g_assert_cmpuint(number(&f, end, 4), ==, (uint64_t)b << 16 | a);
    g_byte_array_free(f.bytes, true);

    /* One that has ended has no other end. */
    vsched_trace_end(t, fake.core);
    f = saved(t, NULL);
    g_assert_cmpuint(records(&f), ==, 1 + 2 + 1);
    g_assert_cmpuint(number(&f, 104, 4), ==, 0);
    g_byte_array_free(f.bytes, true);
    vsched_trace_free(t);
    fake_free(&fake);
}

static void test_write_fails(void)
{
    const VschedTraceInfo info = { .clock_hz = 1 };
    Fake fake;
    VschedTrace *t = small(&fake, 10);
    File whole;

    for (int i = 0; i < 25; i++) {
        vsched_trace_add(t, VSCHED_RECORD_RESET, i, VSCHED_NONE, VSCHED_NONE,
                         0);
    }
    whole = saved(t, NULL);
    for (guint limit = 0; limit < whole.bytes->len; limit++) {
        File f = { g_byte_array_new(), limit };

        g_assert_false(vsched_trace_write(t, NULL, &info, write_file, &f));
        g_byte_array_free(f.bytes, true);
    }
    g_byte_array_free(whole.bytes, true);
    vsched_trace_free(t);
    fake_free(&fake);
}

/* A ring of 3 records: the newest are there, in order; the others are state. */
static void test_oldest_are_lost(void)
{
    Fake fake;
    VschedTrace *t = small(&fake, 3);
    File f;

    vsched_trace_add(t, VSCHED_RECORD_WAKE, 10, 0, 0, 0);
    vsched_trace_add(t, VSCHED_RECORD_RUN, 18, 0, 0, 7);
    vsched_trace_add(t, VSCHED_RECORD_WAKE, 30, 0, 1, 0);
    vsched_trace_add(t, VSCHED_RECORD_PREEMPT, 40, 0, 0, VSCHED_EXPIRED);
    vsched_trace_add(t, VSCHED_RECORD_RUN, 47, 0, 1, 7);
    f = saved(t, NULL);
    g_assert_cmpuint(number(&f, 88, 8), ==, 2);         /* lost */
    g_assert_cmpuint(number(&f, 64, 8), ==, 18);        /* complete from */
    g_assert_cmpuint(number(&f, 56, 8), ==, 0);         /* started */
    assert_record(record(&f, 0), VSCHED_RECORD_VCPU_STATE, 18, 0, 0,
                  VSCHED_RUNNING);
    assert_record(record(&f, 3), VSCHED_RECORD_VCPU_STATE, 0, 1, 1,
                  VSCHED_BLOCKED | 1 << 8);
    assert_record(record(&f, 6), VSCHED_RECORD_PCPU_STATE, 18, 0, 0, 1);
    assert_record(record(&f, 11), VSCHED_RECORD_WAKE, 30, 0, 1, 0);
    assert_record(record(&f, 12), VSCHED_RECORD_PREEMPT, 40, 0, 0,
                  VSCHED_EXPIRED);
    assert_record(record(&f, 13), VSCHED_RECORD_RUN, 47, 0, 1, 7);
    g_byte_array_free(f.bytes, true);

    vsched_trace_add(t, VSCHED_RECORD_RESET, 60, VSCHED_NONE, VSCHED_NONE, 0);
    vsched_trace_add(t, VSCHED_RECORD_RESET, 60, VSCHED_NONE, VSCHED_NONE, 0);
    f = saved(t, NULL);
    /* VCPU 0 waits since 40, and nobody has been seen on PCPU 0 since. */
    g_assert_cmpuint(number(&f, 64, 8), ==, 40);
    assert_record(record(&f, 0), VSCHED_RECORD_VCPU_STATE, 40, 0, 0,
                  VSCHED_READY);
    assert_record(record(&f, 3), VSCHED_RECORD_VCPU_STATE, 30, 1, 1,
                  VSCHED_READY | 1 << 8);
    assert_record(record(&f, 6), VSCHED_RECORD_PCPU_STATE, 40, 0, NO_VCPU, 1);
    g_byte_array_free(f.bytes, true);
    vsched_trace_free(t);
    fake_free(&fake);
}

static void test_hints(void)
{
    VschedHint sent = {
        .kind = VSCHED_HINT_SENT, .pcpu = 1, .vcpu = 1, .now = 50, .other = 0,
        .sent = VSCHED_SENT_REFUSED, .cross_call = true, .running = true,
    };
    const VschedHint taken = {
        .kind = VSCHED_HINT_TAKEN, .pcpu = 0, .vcpu = 1, .now = 60,
    };
    const VschedHint spin = { .kind = VSCHED_HINT_SPIN };
    Fake fake;
    VschedTrace *t = small(&fake, 10);
    File f;

    vsched_trace_hint(t, &sent);
    sent.other = sent.pcpu = VSCHED_NONE;
    sent.cross_call = sent.running = false;
    sent.sent = VSCHED_SENT_PENDING;
    vsched_trace_hint(t, &sent);
    vsched_trace_hint(t, &taken);
    vsched_trace_hint(t, &spin);
    f = saved(t, NULL);
    g_assert_cmpuint(records(&f), ==, 3);
    assert_record(record(&f, 11), VSCHED_RECORD_SENT, 50, 1, 1,
                  0 | 2 << 16 | 1 << 18 | 1 << 19);
    assert_record(record(&f, 12), VSCHED_RECORD_SENT, 50, NO_PCPU, 1,
                  0xffff | 1 << 16);
    assert_record(record(&f, 13), VSCHED_RECORD_TAKEN, 60, 0, 1, 0);
    g_byte_array_free(f.bytes, true);
    vsched_trace_free(t);
    fake_free(&fake);
}

/* Where a state is loaded, a part ends and the next begins with that state. */
static void test_load(void)
{
    Fake fake, other;
    VschedTrace *t = small(&fake, 1000);
    uint64_t own;
    File f;

    all_run(&fake, work);
    start_all(&fake);
    fake_init(&other, 2, 2, 100, 7, &vsched_policy_credit, 5000);
    all_run(&other, work);
    start_all(&other);
    windows(&other, 5);
    vsched_trace_end(t, fake.core);
    vsched_trace_loaded(t, other.core);
    f = saved(t, other.core);
    own = states(&f);
    assert_record(record(&f, own + 2), VSCHED_RECORD_END, 0, NO_PCPU, NO_VCPU,
                  0);
    assert_record(record(&f, own + 3), VSCHED_RECORD_LOADED, 500, NO_PCPU,
                  NO_VCPU, 0);
    /* Its two VCPUs run; the first switch took 7 cycles. */
    assert_record(record(&f, own + 4), VSCHED_RECORD_VCPU_STATE, 7, 0, 0,
                  VSCHED_RUNNING);
    assert_record(record(&f, own + 7), VSCHED_RECORD_VCPU_STATE, 7, 1, 1,
                  VSCHED_RUNNING);
    assert_record(record(&f, own + 5), VSCHED_RECORD_MASK_LOW, 500, NO_PCPU, 0,
                  3);
    assert_record(record(&f, own + 13), VSCHED_RECORD_POLICY, 500, NO_PCPU,
                  NO_VCPU, 2);          /* balance, cosched, credit */
    g_byte_array_free(f.bytes, true);
    vsched_trace_free(t);
    fake_free(&fake);
    fake_free(&other);
}

/*
 * ------------------------------------------------------------------------
 * Runs.
 */

static VschedTrace *traces[2];          /* with room for all; for one record */
static const VschedCore *traced;
static bool seen[VSCHED_EVENT_SHARE + 1];

static void record_event(void *opaque, VschedEventKind kind, int pcpu,
                         int vcpu, int64_t other, int64_t now)
{
    seen[kind] = true;
    for (int i = 0; i < 2; i++) {
        vsched_trace_event(traces[i], traced, kind, pcpu, vcpu, other, now);
    }
}

static const Block programs[][4] = {
    { { 10 }, { 7 }, { } },
    { { 30, HALT, 700 }, { } },
    { { 12, SPIN }, { } },
    { { 25, CALL, 0 }, { 40 }, { } },
    { { 9, POKE, 1 }, { 11, HALT, 90 }, { } },
};

static void random_run(Fake *f, uint32_t seed)
{
    int vcpus = 2 + hash(seed, 1, 0) % 9, pcpus = 1 + hash(seed, 2, 0) % 4;
    const VschedPolicyOps *ops = vsched_policies[seed % 14];
    int vms = 1 + hash(seed, 7, 0) % 2, vm[MANY];

    for (int v = 0; v < vcpus; v++) {
        vm[v] = v * vms / vcpus;
    }
    fake_init_vms(f, vcpus, vm, pcpus, 100 + hash(seed, 3, 0) % 300,
                  hash(seed, 4, 0) % 100, ops, 100 + hash(seed, 5, 0) % 3000);
    f->world.seed = seed;
    f->core->jitter = seed % 3;
    f->stalls = seed % 4 ? 0 : 500;
    f->merge = seed % 2;
    for (int v = 0; v < vcpus; v++) {
        f->world.program[v] = programs[hash(seed, v, 10) %
                                       G_N_ELEMENTS(programs)];
    }
}

static void random_changes(Fake *f, uint32_t seed)
{
    const VschedTopology *t = &f->core->topology;
    uint64_t all = UINT64_MAX >> (64 - t->pcpus);
    uint64_t mask = hash(seed, 5, 1) & all;

    switch (hash(seed, 6, 1) % 4) {
    case 0:
        set_online(f, mask ?: all);
        break;
    case 1:
        set_affinity(f, hash(seed, 7, 1) % t->vcpus, mask ?: all);
        if (mask && mask != all) {
            set_online(f, all & ~mask);         /* the mask is suspended */
        }
        break;
    case 2:
        set_share(f, t->vms - 1, 1 + hash(seed, 8, 1) % 1000, 0);
        break;
    default:
        set_policy(f, &vsched_policy_timeslice, 500);
        break;
    }
}

/* Times of each state, as the records of @f have them. */
static void add_times(const File *f, const VschedCore *core,
                      int64_t (*cycles)[VSCHED_STATES])
{
    static const int next[] = {
        [VSCHED_RECORD_RUN] = VSCHED_RUNNING,
        [VSCHED_RECORD_WAKE] = VSCHED_READY,
        [VSCHED_RECORD_BLOCK] = VSCHED_BLOCKED,
        [VSCHED_RECORD_PREEMPT] = VSCHED_READY,
        [VSCHED_RECORD_WAIT] = VSCHED_READY,
        [VSCHED_RECORD_RESUME] = VSCHED_RUNNING,
    };
    int64_t since[MANY] = { }, clock[MANY];
    int state[MANY] = { }, place[MANY] = { };

    for (uint64_t i = states(f); i < states(f) + records(f); i++) {
        VschedRecord r = record(f, i);

        if (r.kind == VSCHED_RECORD_CLOCK) {
            clock[r.pcpu] = r.time;
        } else if (r.kind <= VSCHED_RECORD_RESUME) {
            int64_t from = since[r.vcpu], until = MAX(from, r.time);

            if (r.kind == VSCHED_RECORD_RUN && r.arg != NO_ARG) {
                cycles[r.vcpu][VSCHED_SWITCHING] += r.arg;
                until -= r.arg;
            }
            cycles[r.vcpu][state[r.vcpu]] += until - from;
            since[r.vcpu] = MAX(from, r.time);
            state[r.vcpu] = next[r.kind];
            place[r.vcpu] = r.pcpu;
        }
    }
    for (int v = 0; v < core->topology.vcpus; v++) {
        int64_t end = state[v] == VSCHED_RUNNING ? clock[place[v]]
                                                 : core->window_end;

        cycles[v][state[v]] += MAX(0, end - since[v]);
    }
}

static void test_runs(void)
{
    for (uint32_t seed = 0; seed < 140; seed++) {
        int64_t cycles[MANY][VSCHED_STATES] = { };
        VschedHost host = fake_host;
        VschedTrace *fresh;
        Fake f;
        File all, lost, now;

        random_run(&f, seed);
        for (int i = 0; i < 2; i++) {
            traces[i] = vsched_trace_new(f.core, i ? 1 : 1 << 20);
        }
        host.event = record_event;
        f.core->host = &host;
        traced = f.core;
        start_all(&f);
        fake_drive(&f, 30000);
        random_changes(&f, seed);
        fake_drive(&f, 60000);

        /* All that the ring of one record had is in its state. */
        vsched_trace_add(traces[1], VSCHED_RECORD_RESET, 0, VSCHED_NONE,
                         VSCHED_NONE, 0);
        fresh = vsched_trace_new(f.core, 1);
        now = saved(fresh, NULL);
        lost = saved(traces[1], NULL);
        g_assert_cmpuint(states(&lost), ==, states(&now));
        for (uint64_t i = 0; i < states(&now); i++) {
            VschedRecord is = record(&lost, i), ought = record(&now, i);

            if (ought.kind == VSCHED_RECORD_PCPU_STATE) {
                /* The last that was heard of it. */
                g_assert_cmpint(is.time, <=, ought.time);
            }
            if (ought.kind != VSCHED_RECORD_VCPU_STATE) {
                is.time = ought.time;
            }
            g_assert_cmpmem(&is, sizeof(is), &ought, sizeof(ought));
        }

        /* What all records add up to is what the core has counted. */
        all = saved(traces[0], f.core);
        g_assert_cmpuint(number(&all, 88, 8), ==, 0);
        add_times(&all, f.core, cycles);
        for (int v = 0; v < f.core->topology.vcpus; v++) {
            for (int s = 0; s < VSCHED_STATES; s++) {
                g_assert_cmpint(cycles[v][s], ==,
                                vsched_core_cycles(f.core, v, s));
            }
        }
        g_byte_array_free(all.bytes, true);
        g_byte_array_free(lost.bytes, true);
        g_byte_array_free(now.bytes, true);
        vsched_trace_free(fresh);
        vsched_trace_free(traces[0]);
        vsched_trace_free(traces[1]);
        fake_free(&f);
    }
    for (int kind = 0; kind <= VSCHED_EVENT_SHARE; kind++) {
        g_assert_true(seen[kind]);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/trace/file", test_file);
    g_test_add_func("/trace/write-fails", test_write_fails);
    g_test_add_func("/trace/oldest-are-lost", test_oldest_are_lost);
    g_test_add_func("/trace/hints", test_hints);
    g_test_add_func("/trace/load", test_load);
    g_test_add_func("/trace/runs", test_runs);
    return g_test_run();
}
