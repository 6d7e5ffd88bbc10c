/*
 * The kit itself: register windows, TLB misses, software interrupts, the timer,
 * user mode, cross-calls.  Each test is reported by name, 1 for passed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "kit.h"

const char program_name[] = "selftest";

/* 30 calls deep in 8 register windows: windows are spilled and filled. */
__attribute__((noinline)) static uint64_t triangle(uint64_t n)
{
    uint64_t below = n ? triangle(n - 1) : 0;

    barrier();
    return below + n;
}

static bool windows(void)
{
    return triangle(30) == 465;
}

/* Each page is far from the others: the miss handler has to map it. */
static bool tlb_misses(void)
{
    enum { PAGES = 4 };
    volatile uint64_t *page = allocate((uint64_t)PAGES << PAGE_SHIFT);
    uint64_t sum = 0;

    for (int i = 0; i < PAGES; i++) {
        page[((uint64_t)i << PAGE_SHIFT) / 8] = i + 1;
    }
    for (int i = 0; i < PAGES; i++) {
        sum += page[((uint64_t)i << PAGE_SHIFT) / 8];
    }
    return sum == 1 + 2 + 3 + 4;
}

static bool software_interrupt(struct vcpu *me)
{
    asm volatile("wrpr %%g0, 0, %%pil" : : : "memory");
    asm volatile("wr %0, 0, %%set_softint" : : "r"(1ul << 3) : "memory");
    for (int i = 0; i < 1000 && !me->interrupts[3]; i++) {
    }
    return me->interrupts[3] == 1;
}

/* %tick_compare raises level 14. */
static bool timer(struct vcpu *me)
{
    uint64_t then = tick() + tick_hz() / 10000;     /* in 100 us */

    asm volatile("wr %0, 0, %%tick_cmpr" : : "r"(then) : "memory");
    for (int i = 0; i < 100000000 && !me->interrupts[14]; i++) {
    }
    asm volatile("wr %0, 0, %%tick_cmpr" : : "r"(1ul << 63) : "memory");
    return me->interrupts[14] == 1;
}

static uint64_t add_one(uint64_t value)
{
    return triangle(value) + 1;
}

static bool user_mode(void)
{
    return kit_user(add_one, 20) == 211;
}

/* VCPU 1 gets a cross-call from VCPU 0, and the other way round. */
static bool crosscalls(void)
{
    for (int i = 0; i < 2; i++) {
        if (kit_vcpus[i].received != 1 || kit_vcpus[i].sum != 5 + i) {
            return false;
        }
    }
    return true;
}

static bool windows_fine, misses_fine, softint_fine, timer_fine, user_fine;

static void work(struct vcpu *me)
{
    if (me->index == 0) {
        windows_fine = windows();
        misses_fine = tlb_misses();
        softint_fine = software_interrupt(me);
        timer_fine = timer(me);
        user_fine = user_mode();
    }
    if (vcpus > 1 && me->index < 2) {
        crosscall(!me->index, crosscall_add, 5 + !me->index, 0);
        while (me->received == 0) {
        }
    }
    me->count++;
}

bool program(void)
{
    bool calls_fine;

    needs_interrupts();
    run_on_all(work);
    calls_fine = vcpus == 1 || crosscalls();
    report("windows", windows_fine);
    report("tlb_misses", misses_fine);
    report("software_interrupt", softint_fine);
    report("timer", timer_fine);
    report("user_mode", user_fine);
    report("crosscalls", calls_fine);
    report("started", TOTAL(count));
    return windows_fine && misses_fine && softint_fine && timer_fine &&
           user_fine && calls_fine && TOTAL(count) == vcpus;
}
