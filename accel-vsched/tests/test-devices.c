/*
 * Devices in simulated time, driven by a scripted engine
 *
 * Real here: timers, bottom halves, the main loop and its gate, two threads and
 * the BQL.  Fake: the engine (a thread that plays a script), the host's disk
 * (requests complete when the script, or the main loop, says so), the clock.
 * What is expected follows from devices.h and docs/determinism.rst.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/guest-random.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "qemu/timer.h"
#include "qemu/thread.h"
#include "block/aio.h"
#include "block/block.h"
#include "exec/cpu-common.h"
#include "hw/core/cpu.h"
#include "migration/vmstate.h"
#include "qapi/error.h"
#include "system/block-backend.h"
#include "system/cpu-timers.h"
#include "system/cpus.h"
#include "system/runstate.h"
#include "system/simulated-time.h"
#include "../devices.h"

/* The rest of QEMU, as far as devices.c sees it */

static QemuMutex fake_bql;
static __thread bool have_bql;
static int64_t fake_clock;
static RunState fake_runstate = RUN_STATE_RUNNING;
static const SimulatedTimeOps *ops;
static const VMStateDescription *vmsd;
static void *vmsd_opaque;

__thread CPUState *current_cpu;
CPUTailQ cpus_queue = QTAILQ_HEAD_INITIALIZER(cpus_queue);

void bql_lock_impl(const char *file, int line)
{
    qemu_mutex_lock(&fake_bql);
    have_bql = true;
}

void bql_unlock(void)
{
    have_bql = false;
    qemu_mutex_unlock(&fake_bql);
}

bool bql_locked(void)
{
    return have_bql;
}

void qemu_cond_wait_bql(QemuCond *cond)
{
    have_bql = false;
    qemu_cond_wait(cond, &fake_bql);
    have_bql = true;
}

void process_queued_cpu_work(CPUState *cpu)
{
}

int64_t cpus_get_virtual_clock(void)
{
    return qatomic_read(&fake_clock);
}

void cpus_set_virtual_clock(int64_t new_time)
{
    qatomic_set(&fake_clock, new_time);
}

bool runstate_check(RunState state)
{
    return fake_runstate == state;
}

void simulated_time_register(const SimulatedTimeOps *given)
{
    simulated_time = ops = given;
    qemu_guest_random_seed_main(ops->seed, &error_abort);
}

int vmstate_register_with_alias_id(VMStateIf *obj, uint32_t instance_id,
                                   const VMStateDescription *v, void *opaque,
                                   int alias_id, int required_for_version,
                                   Error **errp)
{
    vmsd = v;
    vmsd_opaque = opaque;
    return 0;
}

/* The block layer: two disks, requests that the script completes */

struct BlockBackend {
    bool in_drain;
};

typedef struct FakeRequest {
    BlockAIOCB acb;
    char name;
    QEMUIOVector qiov;          /* the device's */
    QEMUIOVector *host_qiov;    /* what the host was told to use */
    char data[8];
} FakeRequest;

static BlockBackend disk_a, disk_b;
static GString *history;        /* "s": the host gets it, "d": device told */

BlockDriverState *blk_bs(BlockBackend *blk)
{
    return NULL;
}

bool blk_in_drain(BlockBackend *blk)
{
    return blk->in_drain;
}

void *qemu_try_blockalign(BlockDriverState *bs, size_t size)
{
    return qemu_try_memalign(64, size);
}

void blk_aio_paced_start(BlockAIOCB *acb)
{
    FakeRequest *r = container_of(acb, FakeRequest, acb);

    g_string_append_printf(history, "s%c ", r->name);
}

void blk_aio_paced_deliver(BlockAIOCB *acb, int ret)
{
    FakeRequest *r = container_of(acb, FakeRequest, acb);

    g_string_append_printf(history, "d%c%d ", r->name, ret);
}

static FakeRequest *submit(BlockBackend *blk, char name, const char *data,
                           bool is_write, int64_t time)
{
    FakeRequest *r = g_new0(FakeRequest, 1);

    r->name = name;
    strcpy(r->data, data);
    qemu_iovec_init_buf(&r->qiov, r->data, sizeof(r->data));
    r->host_qiov = &r->qiov;
    qatomic_set(&fake_clock, time);
    switch (ops->blk_submit(blk, &r->acb, &r->host_qiov, is_write)) {
    case BLK_AIO_START:
        blk_aio_paced_start(&r->acb);
        break;
    case BLK_AIO_WAIT:
        break;
    default:
        g_assert_not_reached();
    }
    return r;
}

static void check_history(const char *expected)
{
    if (!g_str_equal(history->str, expected)) {
        g_printerr("expected: %s\nhappened: %s\n", expected, history->str);
        g_assert_not_reached();
    }
    g_string_truncate(history, 0);
}

/* The engine: a thread that plays a script while the main loop runs */

static QemuThread main_thread;
static bool script_done;
static bool in_window;          /* VCPUs would be running */
static CPUState *cpu;

static void window(int64_t end)
{
    qatomic_set(&in_window, true);
    bql_unlock();
    g_usleep(50);
    bql_lock();
    qatomic_set(&in_window, false);
    qatomic_set(&fake_clock, end);
}

static void *engine_thread(void *script)
{
    bql_lock();
    vsched_devices_enter();
    ((void (*)(void))script)();
    vsched_devices_leave();
    qatomic_set(&script_done, true);
    qemu_notify_event();
    bql_unlock();
    return NULL;
}

static void play(void (*script)(void))
{
    QemuThread engine;

    qatomic_set(&fake_clock, 0);
    script_done = false;
    qemu_clock_enable(QEMU_CLOCK_VIRTUAL, true);
    qemu_thread_create(&engine, "engine", engine_thread, script,
                       QEMU_THREAD_JOINABLE);
    while (!qatomic_read(&script_done)) {
        main_loop_wait(false);
    }
    bql_unlock();
    qemu_thread_join(&engine);
    bql_lock();
}

/*
 * Timers run at the first window end from their time on, earlier ones first,
 * equal ones in the order in which they were created; no other thread runs
 * them, whatever the clock says.
 */

static void timer_cb(void *opaque)
{
    g_assert(!qemu_thread_is_self(&main_thread));
    g_string_append_printf(history, "%s ", (char *)opaque);
}

static void timers_script(void)
{
    QEMUTimer *a = timer_new_ns(QEMU_CLOCK_VIRTUAL, timer_cb, (void *)"a");
    QEMUTimer *b = timer_new_ns(QEMU_CLOCK_VIRTUAL, timer_cb, (void *)"b");
    QEMUTimer *c = timer_new_ns(QEMU_CLOCK_VIRTUAL, timer_cb, (void *)"c");
    QEMUTimer *ext = timer_new_full(NULL, QEMU_CLOCK_VIRTUAL, 1,
                                    QEMU_TIMER_ATTR_EXTERNAL, timer_cb,
                                    (void *)"ext");

    timer_mod_ns(b, 5000);
    timer_mod_ns(a, 5000);      /* armed later, created earlier */
    timer_mod_ns(c, 3000);
    timer_mod_ns(ext, 1500);
    g_assert(vsched_devices_due(1000));
    vsched_devices_window_end(1000);
    check_history("");
    /* The host's timer is not what an idle machine waits for. */
    g_assert(vsched_devices_next() == 3000);
    g_assert(!vsched_devices_due(2000));

    /* The clock runs ahead; the main loop takes turns; nothing happens. */
    qatomic_set(&fake_clock, 1000000);
    vsched_devices_leave();
    for (int i = 0; i < 5; i++) {
        qemu_notify_event();
        bql_unlock();
        g_usleep(1000);
        bql_lock();
    }
    vsched_devices_enter();
    check_history("");

    qatomic_set(&fake_clock, 4000);
    vsched_devices_window_end(4000);
    check_history("ext c ");
    g_assert(vsched_devices_next() == 5000);

    /* A stopped clock that the engine still drives runs its timers. */
    qemu_clock_enable(QEMU_CLOCK_VIRTUAL, false);
    qatomic_set(&fake_clock, 5000);
    vsched_devices_window_end(5000);
    check_history("a b ");
    g_assert(vsched_devices_next() == INT64_MAX);
    qemu_clock_enable(QEMU_CLOCK_VIRTUAL, true);
    timer_free(a);
    timer_free(b);
    timer_free(c);
    timer_free(ext);
}

static void test_timers(void)
{
    play(timers_script);
}

/*
 * Bottom halves that a device leaves in a window have run at its end, by the
 * main loop, also those that they schedule in turn; timers come after them.
 */

static QEMUBH *bh_first, *bh_second;

static void bh_first_cb(void *opaque)
{
    g_assert(qemu_thread_is_self(&main_thread));
    g_string_append(history, "first ");
    qemu_bh_schedule(bh_second);
}

static void bh_second_cb(void *opaque)
{
    g_assert(qemu_thread_is_self(&main_thread));
    g_string_append(history, "second ");
}

static void bh_script(void)
{
    QEMUTimer *t = timer_new_ns(QEMU_CLOCK_VIRTUAL, timer_cb, (void *)"timer");

    bh_first = qemu_bh_new(bh_first_cb, NULL);
    bh_second = qemu_bh_new(bh_second_cb, NULL);
    timer_mod_ns(t, 1000);
    vsched_devices_window_end(0);
    for (int i = 1; i <= 3; i++) {
        current_cpu = cpu;
        window(i * 1000);
        qemu_bh_schedule(bh_first);
        current_cpu = NULL;
        g_assert(vsched_devices_due(i * 1000));
        vsched_devices_window_end(i * 1000);
        check_history(i == 1 ? "first second timer " : "first second ");
    }
    qemu_bh_delete(bh_first);
    qemu_bh_delete(bh_second);
    timer_free(t);
}

static void test_bottom_halves(void)
{
    play(bh_script);
}

/*
 * While PCPUs are in a window, the main loop dispatches nothing, however often
 * its events come; it gets its turns all the same.
 */

static EventNotifier notifier;
static unsigned dispatched;

static void notifier_cb(EventNotifier *e)
{
    g_assert(!qatomic_read(&in_window));
    event_notifier_test_and_clear(e);
    qatomic_inc(&dispatched);
}

static void gate_script(void)
{
    unsigned seen = 0, windows = 0;
    int64_t now = 0;

    while (seen < 100 && windows < 100000) {
        if (qatomic_read(&dispatched) == seen) {
            event_notifier_set(&notifier);
        }
        window(now += 1000);
        if (vsched_devices_due(now)) {
            vsched_devices_window_end(now);
        }
        seen = qatomic_read(&dispatched);
        windows++;
    }
    g_assert(seen >= 100);
}

static void test_gate(void)
{
    event_notifier_init(&notifier, false);
    event_notifier_set_handler(&notifier, notifier_cb);
    dispatched = 0;
    play(gate_script);
    event_notifier_set_handler(&notifier, NULL);
    event_notifier_cleanup(&notifier);
}

/*
 * Requests: completion is a latency after submission, whatever the host's
 * order; the host gets one request of a disk at a time, in the order of
 * submission; data is that of the moment of submission (writes) and of delivery
 * (reads).
 */

static void disk_script(void)
{
    FakeRequest *a, *b, *c, *d;

    vsched_devices_set_disk_latency(1000);
    vsched_devices_window_end(0);
    a = submit(&disk_a, 'a', "old", true, 100);         /* due 1100 */
    /* A VCPU on the next PCPU, which runs the same window later: */
    b = submit(&disk_a, 'b', "", false, 50);            /* due 1050 */
    c = submit(&disk_b, 'c', "", false, 150);           /* due 1150 */
    d = submit(&disk_b, 'd', "", false, 1000);          /* due 2000 */
    check_history("sa sc ");
    g_assert(vsched_devices_next() == 1050);

    /* The guest changes its buffer; the host must not see it. */
    strcpy(a->data, "new");
    g_assert(a->host_qiov != &a->qiov);
    g_assert(g_str_equal(a->host_qiov->iov[0].iov_base, "old"));

    /* The host is quick with c and d; nobody may notice. */
    qemu_iovec_from_buf(c->host_qiov, 0, "read", 5);
    ops->blk_done(&c->acb, 0);
    ops->blk_done(&d->acb, -EIO);
    ops->blk_done(&a->acb, 0);
    check_history("sd sb ");
    vsched_devices_window_end(1000);
    check_history("");
    g_assert(g_str_equal(c->data, ""));

    ops->blk_done(&b->acb, 0);
    vsched_devices_window_end(1149);
    check_history("db0 da0 ");
    vsched_devices_window_end(1150);
    check_history("dc0 ");
    g_assert(g_str_equal(c->data, "read"));
    g_assert(vsched_devices_next() == 2000);
    vsched_devices_window_end(5000);
    check_history("dd-5 ");
    g_assert(vsched_devices_next() == INT64_MAX);
    g_free(a);
    g_free(b);
    g_free(c);
    g_free(d);
}

static void test_disk(void)
{
    play(disk_script);
}

/* A host that is late is waited for; meanwhile the main loop runs. */

static void late_cb(void *opaque)
{
    FakeRequest *r = opaque;

    g_assert(qemu_thread_is_self(&main_thread));
    g_string_append(history, "host ");
    ops->blk_done(&r->acb, 0);
}

static void late_script(void)
{
    FakeRequest *a;
    QEMUTimer *host = timer_new_ms(QEMU_CLOCK_REALTIME, late_cb, NULL);
    QEMUTimer *t = timer_new_ns(QEMU_CLOCK_VIRTUAL, timer_cb, (void *)"timer");

    vsched_devices_set_disk_latency(1000);
    vsched_devices_window_end(0);
    a = submit(&disk_a, 'a', "", false, 0);
    host->opaque = a;
    timer_mod(host, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + 20);
    timer_mod_ns(t, 1000);
    qatomic_set(&fake_clock, 1000);
    vsched_devices_window_end(1000);
    check_history("sa host da0 timer ");
    timer_free(host);
    timer_free(t);
    g_free(a);
}

static void test_late_host(void)
{
    play(late_script);
}

/*
 * A device that is reset, or gives its disk up, gets what it is owed first,
 * from its disk only.
 */

static void finish_script(void)
{
    FakeRequest *a, *b, *c;

    vsched_devices_set_disk_latency(1000);
    a = submit(&disk_a, 'a', "", false, 0);
    b = submit(&disk_b, 'b', "", false, 0);
    c = submit(&disk_a, 'c', "", false, 10);
    ops->blk_done(&a->acb, 0);
    ops->blk_done(&b->acb, 0);
    ops->blk_done(&c->acb, 0);
    check_history("sa sb sc ");
    ops->blk_finish(&disk_a);
    check_history("da0 dc0 ");

    /* A drain waits for device b, which waits for its request. */
    ops->blk_expedite(&disk_b);
    vsched_devices_window_end(10);
    check_history("db0 ");
    g_free(a);
    g_free(b);
    g_free(c);
}

static void test_finish(void)
{
    play(finish_script);
}

/*
 * A machine with requests in flight is not saved: it runs on, for 100 ms at
 * most; then saving fails.  Only saving, stopping does not care.
 */

static void stop_script(void)
{
    FakeRequest *a;

    vsched_devices_set_disk_latency(1000);
    a = submit(&disk_a, 'a', "", false, 0);
    g_assert(vsched_devices_may_stop(500));
    fake_runstate = RUN_STATE_SAVE_VM;
    g_assert(!vsched_devices_may_stop(500));
    g_assert(!vsched_devices_may_stop(500 + 99 * SCALE_MS));
    g_assert(vsched_devices_may_stop(500 + 100 * SCALE_MS));
    g_assert(vmsd->pre_save(vmsd_opaque) < 0);
    ops->blk_done(&a->acb, 0);
    g_assert(!vsched_devices_may_stop(500 + 200 * SCALE_MS));
    vsched_devices_window_end(200 * SCALE_MS);
    g_assert(vsched_devices_may_stop(500 + 200 * SCALE_MS));
    g_assert(vmsd->pre_save(vmsd_opaque) == 0);
    fake_runstate = RUN_STATE_RUNNING;
    check_history("sa da0 ");
    g_free(a);
}

static void test_stop(void)
{
    play(stop_script);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_mutex_init(&fake_bql);
    bql_lock();
    qemu_init_main_loop(&error_abort);
    qemu_thread_get_self(&main_thread);
    history = g_string_new("");

    cpu = g_malloc0(sizeof(*cpu));
    cpu->halt_cond = g_new0(QemuCond, 1);
    qemu_cond_init(cpu->halt_cond);
    QTAILQ_INSERT_TAIL(&cpus_queue, cpu, node);

    vsched_devices_init(&(SimulatedTimeOps) {});
    g_assert(vmsd);
    g_assert(ops);

    g_test_add_func("/vsched/devices/timers", test_timers);
    g_test_add_func("/vsched/devices/bottom-halves", test_bottom_halves);
    g_test_add_func("/vsched/devices/gate", test_gate);
    g_test_add_func("/vsched/devices/disk", test_disk);
    g_test_add_func("/vsched/devices/late-host", test_late_host);
    g_test_add_func("/vsched/devices/finish", test_finish);
    g_test_add_func("/vsched/devices/stop", test_stop);
    return g_test_run();
}
