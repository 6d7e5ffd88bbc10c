/*
 * Test-and-set lock that is held with interrupts off, and a driver that is
 * asked for safe points: what a kernel has where every lock may be wanted by an
 * interrupt handler.  While a VCPU waits for the lock, interrupts are on.
 *   safepoint=0 (address of the registers of a vsched-safepoint; 0: no driver)
 *   and those of locks.h
 * paused: how often a VCPU had the lock for 5000 cycles longer than it works with
 * it, by %tick, because it did not run.  received: how often it was asked.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define LOCK_EXTRAS
#include "locks.h"

#define PAUSE 5000              /* cycles */
#define TEXT(x) #x
#define ASI_TEXT(x) TEXT(x)

const char program_name[] = "driver";

static volatile uint8_t held __attribute__((aligned(64)));
static uint64_t since;          /* %tick, of who has the lock */

/* Handler of the vector, see start.S: write the register at address data 1. */
void safe_point_answer(void);
asm(".pushsection .text\n"
    "safe_point_answer:\n\t"
    "stxa %g0, [%g5] " ASI_TEXT(ASI_PHYS_IO) "\n\t"
    "retry\n\t"
    ".popsection");

static void lock(struct vcpu *me)
{
    uint64_t polls = 0;

    for (;;) {
        interrupts(false);
        if (!test_and_set(&held)) {
            break;
        }
        interrupts(true);
        do {
            polls++;
        } while (held);
    }
    since = tick();
    me->polls += polls;
}

static void unlock(struct vcpu *me)
{
    me->value += tick() - since > 2 * inside + PAUSE;
    __atomic_store_n(&held, 0, __ATOMIC_RELEASE);
    interrupts(true);
}

static void extra_parameters(void)
{
    uint64_t registers = parameter("safepoint", 0, 0, 1ul << 50);

    needs_interrupts();
    if (registers) {
        write_register(registers, (uint64_t)safe_point_answer);
    }
}

static void extra_results(void)
{
    report_all("paused", offsetof(struct vcpu, value));
    REPORT_ALL(received);
}
