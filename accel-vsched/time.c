/*
 * The engine's time: cycles and nanoseconds, the clock that asks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "vsched/vsched.h"
#include "engine.h"

VschedEngine *vsched_engine;

static __thread bool in_engine_thread;

bool vsched_in_engine_thread(void)
{
    return in_engine_thread;
}

void vsched_is_engine_thread(void)
{
    in_engine_thread = true;
}

/*
 * muldiv64() divides by 32 bits only, which are less than 10 GHz.  A guest's
 * timer can be set to times that have no number of cycles: they never come.
 */
static int64_t muldiv(uint64_t a, uint64_t b, uint64_t c, bool round_up)
{
    uint64_t low, high, remainder;

    mulu64(&low, &high, a, b);
    remainder = divu128(&low, &high, c);
    return high || low >= INT64_MAX ? INT64_MAX : low + (round_up && remainder);
}

int64_t vsched_cycles_to_ns(const VschedEngine *e, int64_t cycles)
{
    return e->clock_hz == NANOSECONDS_PER_SECOND ? cycles :
           muldiv(cycles, NANOSECONDS_PER_SECOND, e->clock_hz, false);
}

/* Rounded up: not before @ns. */
int64_t vsched_ns_to_cycles(const VschedEngine *e, int64_t ns)
{
    return e->clock_hz == NANOSECONDS_PER_SECOND ? ns :
           muldiv(ns, e->clock_hz, NANOSECONDS_PER_SECOND, true);
}

int64_t vsched_latest_ns(const VschedEngine *e)
{
    /* What comes after it is still a number, of cycles and of ns. */
    return MIN(vsched_cycles_to_ns(e, VSCHED_LATEST), INT64_MAX / 2);
}

bool vsched_between_windows(const VschedEngine *e, Error **errp)
{
    if (e->core && e->core->running != VSCHED_NONE) {
        error_setg(errp, "a debugger has stopped the machine in the middle of "
                   "a window: let it go on ('cont') and stop it ('stop') "
                   "first");
        return false;
    }
    return true;
}

/* The guest's time: the clock of the PCPU that asks, else that of all. */
int64_t vsched_get_virtual_clock(void)
{
    VschedEngine *e = vsched_engine;
    VschedCore *core = e->core;

    if (in_engine_thread && core->running != VSCHED_NONE && current_cpu) {
        return vsched_cycles_to_ns(e, vsched_present(e));
    }
    return qatomic_read_i64(&e->now);
}

uint64_t vsched_clock_hz(void)
{
    const VschedParameter *p;

    if (vsched_engine) {
        return vsched_engine->clock_hz;
    }
    for (int i = 0; (p = vsched_engine_parameter(i)); i++) {
        if (!strcmp(p->name, "clock-hz")) {
            return p->value;
        }
    }
    g_assert_not_reached();
}

/* The cycle counter of the guest's processors. */
int64_t vsched_get_cycles(void)
{
    VschedCore *core = vsched_engine->core;

    if (in_engine_thread && core->running != VSCHED_NONE && current_cpu) {
        return vsched_present(vsched_engine);
    }
    return vsched_ns_to_cycles(vsched_engine,
                               qatomic_read_i64(&vsched_engine->now));
}

void vsched_publish_time(VschedEngine *e)
{
    qatomic_set_i64(&e->now, vsched_cycles_to_ns(e, e->core->window_end));
}
