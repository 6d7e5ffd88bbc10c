/*
 * A listener that stalls at random: what tests have instead of a model of
 * caches, to show that time that passes at accesses is exact and repeats.
 *
 * One access in four stalls its PCPU, for 1 to random-stalls= cycles, drawn
 * from the seed, the PCPU's clock and the address.  The listener has no state.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "vsched/vsched.h"
#include "engine.h"

static void stall(VschedListener *l, CPUState *cpu, vaddr addr)
{
    VschedEngine *e = vsched_engine;
    uint32_t draw = vsched_core_draw(e->core, l->pcpu,
                                     vsched_present(e) ^ (int64_t)addr << 20);

    if (draw % 4 == 0) {
        vsched_stall(cpu, 1 + (draw >> 2) % e->random_stalls);
    }
}

static void stalls_load(VschedListener *l, CPUState *cpu, int64_t at,
                        vaddr addr, unsigned size)
{
    stall(l, cpu, addr);
}

static void stalls_store(VschedListener *l, CPUState *cpu, int64_t at,
                         vaddr addr, unsigned size, uint64_t low,
                         uint64_t high)
{
    stall(l, cpu, addr);
}

static const VschedListenerOps stalls_ops = {
    .name = "random-stalls",
    .load = stalls_load,
    .store = stalls_store,
};

/* random_stalls is another number. */
void vsched_stalls_changed(VschedEngine *e)
{
    uint64_t cycles = e->random_stalls;

    if (!e->stalls) {
        e->stalls = g_new(VschedListener, e->pcpus);
        for (int p = 0; p < e->pcpus; p++) {
            e->stalls[p] = (VschedListener) {
                .ops = &stalls_ops,
                .pcpu = p,
                .watch_mask = VSCHED_WATCH_STORES | VSCHED_WATCH_LOADS,
                .exact = INT64_MAX,
            };
        }
    }
    for (int p = 0; p < e->pcpus; p++) {
        bool before = vsched_exec_listens(e, p, &e->stalls[p]);

        if (cycles && !before) {
            vsched_exec_listen(e, p, &e->stalls[p]);
        } else if (!cycles && before) {
            vsched_exec_unlisten(e, p, &e->stalls[p]);
        }
    }
}
