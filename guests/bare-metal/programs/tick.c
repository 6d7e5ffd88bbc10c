/*
 * %tick of VCPU 0: how far it comes in a loop, and when its compare register
 * raises the interrupt.
 *   turns=1000    of a loop of 2 instructions between two readings
 *   loads=0       1: with a load in each turn, 3 instructions
 *   rounds=0      compare values, in turn the count at which a window ends and
 *                 the next one
 *   window=1000   cycles
 *   clock=HZ      of the VCPU's PCPU; default: that of %tick
 *   sleep=0       a compare value: the VCPU sets it and stops itself, for ever
 * Checked: an interrupt's handler, whose first instruction reads %tick, reads
 * no less than the compare value; values that are years away do not interrupt.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "kit.h"

#define SECOND 1000000000ull            /* ns */
#define LEAD   200                      /* cycles, from here to the waiting loop */
#define START_REGISTER 0x1fe0f000030ull /* of the start block: its command */

const char program_name[] = "tick";

static uint64_t turns, loads, rounds, window, clock_hz, hz, sleep_until;
volatile uint64_t seen __attribute__((aligned(64)));    /* by the handler; 0: not yet */

/* A trap table of interrupt level 14 alone, see clock.c */
asm(".pushsection .text\n\t"
    ".balign 32768\n"
    "tick_traps:\n\t"
    ".skip 0x4e * 32\n\t"
    "rd %tick, %g4\n\t"
    "sethi %hi(seen), %g5\n\t"
    "stx %g4, [%g5 + %lo(seen)]\n\t"
    "wr %g0, 1, %clear_softint\n\t"
    "retry\n\t"
    ".popsection");

/* What the handler read when the interrupt came */
static uint64_t compare(uint64_t limit)
{
    uint64_t before, scratch;

    seen = 0;
    asm volatile("rdpr %%tba, %0\n\t"
                 "set tick_traps, %1\n\t"
                 "wrpr %1, 0, %%tba\n\t"
                 "wr %2, 0, %%tick_cmpr\n"
                 "1:\n\t"
                 "ldx [%3], %1\n\t"
                 "brz,pt %1, 1b\n\t"
                 " nop\n\t"
                 "wr %4, 0, %%tick_cmpr\n\t"
                 "wrpr %0, 0, %%tba"
                 : "=&r"(before), "=&r"(scratch)
                 : "r"(limit), "r"(&seen), "r"(1ull << 63) : "memory");
    return seen & ~(1ull << 63);
}

/* From one reading to the next: the first, and all of the loop */
static uint64_t loop(void)
{
    uint64_t begin, end, n = turns;

    if (loads) {
        asm volatile("rd %%tick, %0\n"
                     "1: ldx [%3], %1\n\t"
                     "brgz,pt %2, 1b\n\t"
                     " sub %2, 1, %2\n\t"
                     "rd %%tick, %1"
                     : "=&r"(begin), "=&r"(end), "+r"(n) : "r"(&seen));
    } else {
        asm volatile("rd %%tick, %0\n"
                     "1: brgz,pt %2, 1b\n\t"
                     " sub %2, 1, %2\n\t"
                     "rd %%tick, %1"
                     : "=&r"(begin), "=&r"(end), "+r"(n));
    }
    return end - begin;
}

/* Compare values of the next years and centuries: how many interrupts come */
static uint64_t far_ones(struct vcpu *me)
{
    static const uint64_t far[] = { 1ull << 60, (1ull << 61) + 12345, 1ull << 62,
                                    (1ull << 62) + (1ull << 61), (1ull << 63) - 1 };

    for (int i = 0; i < 5; i++) {
        asm volatile("wr %0, 0, %%tick_cmpr" : : "r"(far[i]) : "memory");
        spend(10000);
    }
    asm volatile("wr %0, 0, %%tick_cmpr" : : "r"(1ull << 63) : "memory");
    return me->interrupts[14];
}

/* The count of %tick when window @n is over */
static uint64_t count_after(uint64_t n)
{
    return n * window * SECOND / clock_hz * hz / SECOND;
}

static void work(struct vcpu *me)
{
    uint64_t late[2] = { 0, 0 }, early = 0, far;

    if (me->index) {
        return;
    }
    if (sleep_until) {
        /* Nothing happens any more but this, and nobody ever sees it. */
        asm volatile("wr %0, 0, %%tick_cmpr" : : "r"(sleep_until) : "memory");
        interrupts(true);
        for (;;) {
            write_register(START_REGISTER, COMMAND_STOP);
        }
    }
    report("ticks", loop());
    asm volatile("wrpr %%g0, 0, %%pil" : : : "memory");
    far = far_ones(me);
    report("far", far);
    for (uint64_t i = 0; i < rounds; i++) {
        uint64_t cycles = tick() * clock_hz / hz + LEAD;
        uint64_t limit = count_after(cycles / window + 2 + i % 5) + i % 2;
        uint64_t read = compare(limit);

        if (read < limit) {
            early++;
        } else if (read - limit > late[i % 2]) {
            late[i % 2] = read - limit;
        }
    }
    report("early", early);
    report("late", late[0]);
    report("next_late", late[1]);
    me->value = early + far;
}

bool program(void)
{
    hz = tick_hz();
    turns = parameter("turns", 1000, 0, 1ul << 40);
    loads = parameter("loads", 0, 0, 1);
    rounds = parameter("rounds", 0, 0, 10000);
    sleep_until = parameter("sleep", 0, 0, INT64_MAX);
    window = parameter("window", 1000, 1, 1000000);
    clock_hz = parameter("clock", hz, 1000000, 10 * SECOND);
    needs_interrupts();
    report("hz", hz);
    run_on_all(work);
    return TOTAL(value) == 0;
}
