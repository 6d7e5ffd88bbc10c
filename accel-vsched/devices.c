/*
 * Devices in simulated time (docs/determinism.rst)
 *
 * QEMU's main loop dispatches events whenever its thread gets the BQL, timers
 * when the host's clock says so, completions of disk requests when the host has
 * completed them.  Here all three happen at window ends only, at times that
 * depend on the guest alone:
 *
 *   timers       the engine drives those of QEMU_CLOCK_VIRTUAL
 *   the gate     closed while PCPUs run; the main loop takes turns between
 *                windows, and one turn is owed whenever a device schedules a
 *                bottom half or asks for the main loop (reset, power-off)
 *   disk         requests are handed to the host one after the other for each
 *                backend, with a copy of the data; the device sees completion,
 *                and the guest's memory the data, a fixed latency after
 *                submission; the engine waits for the host if it is later
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/guest-random.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "qemu/queue.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "block/aio.h"
#include "hw/core/cpu.h"
#include "migration/vmstate.h"
#include "qom/object.h"
#include "system/block-backend.h"
#include "system/cpus.h"
#include "system/runstate.h"
#include "system/simulated-time.h"
#include "devices.h"
#include "trace.h"

/* Seed and date of a run for which the user chose none (choice) */
#define DEFAULT_SEED "1"
#define DEFAULT_RTC_BASE "2026-01-01T00:00:00"

/* Simulated ns that a machine which is to be saved may run on (choice) */
#define STOP_PATIENCE (100 * SCALE_MS)

/* Turns of the main loop at one window end; then it must wait (choice) */
#define MAX_TURNS 1000

/* VschedDevicesHot.attention */
enum {
    ATTENTION_BH     = 1 << 0,  /* a bottom half, or qemu_notify_event() */
    ATTENTION_GATE   = 1 << 1,  /* the main loop waits at the gate */
    ATTENTION_TIMERS = 1 << 2,  /* the earliest timer changed */
};

/* A disk request between submission and delivery */
typedef struct Request {
    BlockBackend *blk;
    BlockAIOCB *acb;
    int64_t due;                /* ns: deliver at the first window end from */
    bool started;               /* the host has it */
    bool done;                  /* the host has completed it, with @ret */
    bool expedite;              /* deliver as soon as done */
    int ret;
    bool is_write;
    QEMUIOVector *guest;        /* the device's buffer, NULL: not copied */
    QEMUIOVector host;          /* what the host works on: @copy */
    void *copy;
    QTAILQ_ENTRY(Request) submitted;
    QTAILQ_ENTRY(Request) by_due;
} Request;

typedef QTAILQ_HEAD(RequestList, Request) RequestList;

VschedDevicesHot vsched_devices_hot = { .next = INT64_MAX };

static struct {
    QemuMutex lock;
    QemuCond opened;
    bool closed;                /* the main loop must not enter */
    bool inside;                /* the main loop is between enter and leave */
    uint64_t turns;             /* how often it has left */
    uint64_t close_after;       /* close when @turns gets there, 0: do not */
} gate;

/* Under the BQL */
static struct {
    int64_t latency;
    RequestList submitted;      /* all of them, in order of submission */
    RequestList by_due;         /* the same, by due time, then by submission */
    unsigned count;
    bool expedite_scheduled;
    int64_t stop_asked;         /* when a stop had to wait first, -1: none */
} disk = {
    .latency = VSCHED_DISK_LATENCY_DEFAULT,
    .submitted = QTAILQ_HEAD_INITIALIZER(disk.submitted),
    .by_due = QTAILQ_HEAD_INITIALIZER(disk.by_due),
    .stop_asked = -1,
};

static uint64_t seed;

void (*vsched_devices_wanted)(void);

/* On the engine's thread, in a window: it is not to be longer than usual. */
static void wanted(void)
{
    if (vsched_devices_wanted) {
        vsched_devices_wanted();
    }
}

static void want_attention(unsigned what)
{
    wanted();
    if ((qatomic_read(&vsched_devices_hot.attention) & what) != what) {
        qatomic_or(&vsched_devices_hot.attention, what);
    }
}

static void timers_changed(void)
{
    want_attention(ATTENTION_TIMERS);
}

static void bh_enqueued(AioContext *ctx)
{
    /*
     * Devices run under the BQL.  Threads that do not hold it are workers,
     * which announce the completion of host work: no device sees that.
     */
    if (ctx == qemu_get_aio_context() && (bql_locked() || current_cpu)) {
        want_attention(ATTENTION_BH);
    }
}

/* The gate */

/* By the main thread, without the BQL */
static void gate_enter(void)
{
    QEMU_LOCK_GUARD(&gate.lock);
    while (gate.closed) {
        want_attention(ATTENTION_GATE);
        qemu_cond_wait(&gate.opened, &gate.lock);
    }
    gate.inside = true;
}

static void wake_engine(void)
{
    if (first_cpu) {
        qemu_cond_broadcast(first_cpu->halt_cond);
    }
}

/* By the main thread, with the BQL */
static void gate_leave(void)
{
    WITH_QEMU_LOCK_GUARD(&gate.lock) {
        gate.inside = false;
        gate.turns++;
        if (gate.close_after && gate.turns >= gate.close_after) {
            gate.closed = true;
            gate.close_after = 0;
        }
    }
    wake_engine();
}

/* Open the gate, for @turns turns of the main loop if not 0. */
static void gate_open(unsigned turns)
{
    QEMU_LOCK_GUARD(&gate.lock);
    gate.closed = false;
    gate.close_after = turns ? gate.turns + turns : 0;
    qemu_cond_broadcast(&gate.opened);
}

/* Close the gate, at once or when the main loop next leaves. */
static void gate_close(void)
{
    QEMU_LOCK_GUARD(&gate.lock);
    if (gate.inside) {
        gate.close_after = gate.turns + 1;
    } else {
        gate.closed = true;
        gate.close_after = 0;
    }
}

static bool gate_is_closed(void)
{
    QEMU_LOCK_GUARD(&gate.lock);
    return gate.closed;
}

/*
 * Somebody is in pause_all_vcpus(), and waits for the engine: the main loop,
 * which then cannot take turns, or the migration thread.
 */
static bool pausing(void)
{
    return !qemu_clock_is_enabled(QEMU_CLOCK_VIRTUAL);
}

static void do_queued_work(void)
{
    CPUState *cpu;

    CPU_FOREACH(cpu) {
        current_cpu = cpu;
        process_queued_cpu_work(cpu);
    }
    current_cpu = NULL;
}

/* Wait, without the BQL, for the main loop or a completion. */
static void engine_wait(void)
{
    do_queued_work();
    qemu_cond_wait_bql(first_cpu->halt_cond);
    do_queued_work();
}

/* Returns false if the main loop cannot get to the end of its turn. */
static bool gate_wait_closed(void)
{
    while (!gate_is_closed()) {
        if (pausing()) {
            return false;
        }
        engine_wait();
    }
    return true;
}

/* Let the main loop take one turn, or do instead what devices need of it. */
static void main_loop_turn(void)
{
    if (!pausing()) {
        gate_open(1);
        aio_notify(qemu_get_aio_context());     /* in case it is asleep */
        if (gate_wait_closed()) {
            return;
        }
    }
    aio_bh_poll(qemu_get_aio_context());
}

void vsched_devices_enter(void)
{
    gate_close();
    gate_wait_closed();
    want_attention(ATTENTION_TIMERS);
}

void vsched_devices_leave(void)
{
    gate_open(0);
}

/* Disk requests */

static Request *find_request(BlockAIOCB *acb)
{
    Request *r;

    QTAILQ_FOREACH(r, &disk.submitted, submitted) {
        if (r->acb == acb) {
            return r;
        }
    }
    g_assert_not_reached();
}

static void insert_by_due(Request *r)
{
    Request *after = QTAILQ_LAST(&disk.by_due);

    while (after && after->due > r->due) {
        after = QTAILQ_PREV(after, by_due);
    }
    if (after) {
        QTAILQ_INSERT_AFTER(&disk.by_due, after, r, by_due);
    } else {
        QTAILQ_INSERT_HEAD(&disk.by_due, r, by_due);
    }
}

/* The request of @blk that the host has to be given next, or has now */
static Request *host_request(BlockBackend *blk)
{
    Request *r;

    QTAILQ_FOREACH(r, &disk.submitted, submitted) {
        if (r->blk == blk && !r->done) {
            return r;
        }
    }
    return NULL;
}

/*
 * The host must not write to the guest's memory, nor read from it, at a time of
 * its own choice.  If there is not enough memory for a copy, it does.
 */
static void copy_data(Request *r, QEMUIOVector **qiov)
{
    size_t size = *qiov ? (*qiov)->size : 0;

    if (!size) {
        return;
    }
    r->copy = qemu_try_blockalign(blk_bs(r->blk), size);
    if (!r->copy) {
        return;
    }
    if (r->is_write) {
        qemu_iovec_to_buf(*qiov, 0, r->copy, size);
    }
    r->guest = *qiov;
    qemu_iovec_init_buf(&r->host, r->copy, size);
    *qiov = &r->host;
}

static BlkAioPaceVerdict disk_submit(BlockBackend *blk, BlockAIOCB *acb,
                                     QEMUIOVector **qiov, bool is_write)
{
    Request *r;

    if (qemu_get_current_aio_context() != qemu_get_aio_context()) {
        warn_report_once("disk requests of devices in I/O threads are not "
                         "held to simulated time: runs will not repeat");
        return BLK_AIO_UNPACED;
    }

    r = g_new0(Request, 1);
    r->blk = blk;
    r->acb = acb;
    r->is_write = is_write;
    r->due = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) + disk.latency;
    copy_data(r, qiov);
    r->started = !host_request(blk);

    QTAILQ_INSERT_TAIL(&disk.submitted, r, submitted);
    insert_by_due(r);
    disk.count++;
    vsched_devices_hot.next = MIN(vsched_devices_hot.next, r->due);
    wanted();
    trace_vsched_disk_submit(r, r->due, disk.count);
    return r->started ? BLK_AIO_START : BLK_AIO_WAIT;
}

static void deliver(Request *r)
{
    BlockAIOCB *acb = r->acb;
    int ret = r->ret;

    trace_vsched_disk_deliver(r, r->due, ret);
    QTAILQ_REMOVE(&disk.submitted, r, submitted);
    QTAILQ_REMOVE(&disk.by_due, r, by_due);
    disk.count--;
    if (r->guest && !r->is_write && ret >= 0) {
        qemu_iovec_from_buf(r->guest, 0, r->copy, r->host.size);
    }
    qemu_vfree(r->copy);
    g_free(r);
    blk_aio_paced_deliver(acb, ret);
}

static void deliver_expedited(void *opaque)
{
    Request *r;

    disk.expedite_scheduled = false;
    do {
        QTAILQ_FOREACH(r, &disk.by_due, by_due) {
            if (r->done && r->expedite) {
                deliver(r);
                break;
            }
        }
    } while (r);
}

static void disk_expedite(BlockBackend *blk)
{
    Request *r = host_request(blk);

    if (r && r->started) {
        return;         /* that is what the drain waits for */
    }
    QTAILQ_FOREACH(r, &disk.by_due, by_due) {
        if (r->blk == blk && r->done) {
            r->expedite = true;
            if (!disk.expedite_scheduled) {
                disk.expedite_scheduled = true;
                aio_bh_schedule_oneshot(qemu_get_aio_context(),
                                        deliver_expedited, NULL);
            }
        }
    }
}

static void disk_done(BlockAIOCB *acb, int ret)
{
    Request *r = find_request(acb);
    Request *next;

    trace_vsched_disk_done(r, ret);
    r->done = true;
    r->ret = ret;
    next = host_request(r->blk);
    if (next && !next->started) {
        next->started = true;
        blk_aio_paced_start(next->acb);
    }
    wake_engine();
}

static void disk_finish(BlockBackend *blk)
{
    Request *r;

    for (;;) {
        QTAILQ_FOREACH(r, &disk.by_due, by_due) {
            if (!blk || r->blk == blk) {
                break;
            }
        }
        if (!r) {
            return;
        }
        if (r->done) {
            deliver(r);
        } else if (blk_in_drain(r->blk) || qemu_in_coroutine()) {
            return;     /* nobody can wait for it now */
        } else {
            aio_poll(qemu_get_aio_context(), true);
        }
    }
}

/* The request to deliver at @now, done or not */
static Request *due_request(int64_t now)
{
    Request *r = QTAILQ_FIRST(&disk.by_due);

    return r && r->due <= now ? r : NULL;
}

/* The host is late: wait for it, with the main loop at work. */
static void wait_for_host(int64_t now)
{
    Request *r;

    trace_vsched_disk_wait(now);
    while ((r = due_request(now)) && !r->done) {
        if (pausing()) {
            aio_poll(qemu_get_aio_context(), true);
        } else {
            gate_open(0);
            engine_wait();
        }
    }
    gate_close();
    gate_wait_closed();
}

void vsched_devices_set_disk_latency(int64_t latency)
{
    disk.latency = latency;
}

int64_t vsched_devices_disk_latency(void)
{
    return disk.latency;
}

/* Window ends */

/*
 * Bottom halves are the main loop's.  While it waits for the VCPUs to stop,
 * they wait too, and run when they have stopped, at the same simulated time;
 * unless disk requests have to be waited for first.
 */
static bool may_take_turn(unsigned turns)
{
    return turns < MAX_TURNS && (!pausing() || disk.count);
}

/* Returns false when there is nothing left to do. */
static bool window_end_step(int64_t now, unsigned *turns, unsigned *owed)
{
    Request *r;

    *owed |= qatomic_xchg(&vsched_devices_hot.attention, 0);
    if ((*owed & ATTENTION_BH) && may_take_turn(*turns)) {
        *owed = 0;
        (*turns)++;
        main_loop_turn();
        return true;
    }
    r = due_request(now);
    if (r && r->done) {
        deliver(r);
        return true;
    }
    if (r) {
        wait_for_host(now);
        return true;
    }
    if (qemu_clock_driven_deadline() <= now) {
        qemu_clock_run_driven_timers(now);
        return true;
    }
    if ((*owed & ATTENTION_GATE) && !*turns && may_take_turn(*turns)) {
        /* What it does is no device's doing: the user's, or the network's. */
        *owed = 0;
        (*turns)++;
        main_loop_turn();
        return true;
    }
    return (qatomic_read(&vsched_devices_hot.attention) & ATTENTION_BH) &&
           may_take_turn(*turns);
}

void vsched_devices_window_end(int64_t now)
{
    unsigned turns = 0;
    unsigned owed = 0;

    while (window_end_step(now, &turns, &owed)) {
        /* until it is quiet */
    }
    want_attention(owed & (ATTENTION_BH | ATTENTION_GATE));

    vsched_devices_hot.next = qemu_clock_driven_deadline();
    if (!QTAILQ_EMPTY(&disk.by_due)) {
        vsched_devices_hot.next = MIN(vsched_devices_hot.next,
                                      QTAILQ_FIRST(&disk.by_due)->due);
    }
}

bool vsched_devices_may_stop(int64_t now)
{
    if (!disk.count || !(runstate_check(RUN_STATE_SAVE_VM) ||
                         runstate_check(RUN_STATE_FINISH_MIGRATE))) {
        disk.stop_asked = -1;
        return true;
    }
    if (disk.stop_asked < 0) {
        disk.stop_asked = now;
    }
    if (now - disk.stop_asked < STOP_PATIENCE) {
        return false;
    }
    disk.stop_asked = -1;
    return true;
}

/* A request in flight is pointers into a device model: it cannot be saved. */
static int devices_pre_save(void *opaque)
{
    if (disk.count) {
        error_report("%u disk requests are in flight, which cannot be saved; "
                     "let the guest run on ('cont') and save it later",
                     disk.count);
        return -EBUSY;
    }
    return 0;
}

static const VMStateDescription vmstate_devices = {
    .name = "vsched/devices",
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = devices_pre_save,
    .fields = (const VMStateField[]) {
        VMSTATE_END_OF_LIST()
    }
};

/* Initialisation */

uint64_t vsched_devices_seed(void)
{
    return seed;
}

void vsched_devices_init(const SimulatedTimeOps *interrupts)
{
    static SimulatedTimeOps ops = {
        .seed = DEFAULT_SEED,
        .rtc_base = DEFAULT_RTC_BASE,
        .main_loop_enter = gate_enter,
        .main_loop_leave = gate_leave,
        .bh_enqueued = bh_enqueued,
        .timers_changed = timers_changed,
        .blk_submit = disk_submit,
        .blk_done = disk_done,
        .blk_finish = disk_finish,
        .blk_expedite = disk_expedite,
    };

    /*
     * An ioeventfd has the main loop, or an I/O thread, look at a queue some
     * time after the guest's write.  Without, the write itself does it.
     */
    object_register_sugar_prop("virtio-pci", "ioeventfd", "off", true);
    object_register_sugar_prop("virtio-mmio", "ioeventfd", "off", true);

    qemu_mutex_init(&gate.lock);
    qemu_cond_init(&gate.opened);
    gate.inside = true;
    ops.interrupt_withdrawn = interrupts->interrupt_withdrawn;
    ops.interrupt_sent = interrupts->interrupt_sent;
    ops.senders_known = interrupts->senders_known;
    simulated_time_register(&ops);
    qemu_guest_getrandom_nofail(&seed, sizeof(seed));
    vmstate_register(NULL, 0, &vmstate_devices, &disk);
}
