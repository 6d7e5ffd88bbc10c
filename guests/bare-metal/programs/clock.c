/*
 * The VCPUs hand the time to each other: each reads what another wrote last,
 * then its own %tick, and notes by how much it is behind; then it writes its
 * own.  Between two PCPUs the guest's time may step back by less than a window.
 *   rounds=1000   work=50 (most turns of a loop between two readings)
 *   stick=0       1: %stick instead of %tick
 *   trap=0        1 to 3: after each reading a trap in the middle of a long piece
 *                 of code, right after a store; its handler hands the time on,
 *                 too. Of a load that is not aligned, a division by zero, or a
 *                 trap instruction with a condition
 * Checked: on one VCPU time never goes backwards.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "kit.h"

const char program_name[] = "clock";

static uint64_t rounds, between, stick, trap;
volatile uint64_t handed __attribute__((aligned(64)));  /* by the handler, too */
static uint64_t reversed[MAX_VCPUS];

/*
 * A trap table of three traps alone, for code that takes no other: all that it
 * uses is mapped, and it calls no function.
 */
asm(".pushsection .text\n\t"
    ".macro clock_trap\n\t"
    "sethi %hi(handed), %g5\n\t"
    "rd %tick, %g4\n\t"
    "sllx %g4, 1, %g4\n\t"
    "srlx %g4, 1, %g4\n\t"
    "stx %g4, [%g5 + %lo(handed)]\n\t"
    "done\n\t"
    ".balign 32\n\t"
    ".endm\n\t"
    ".balign 32768\n"
    "clock_traps:\n\t"
    ".skip 0x28 * 32\n\t"             /* division_by_zero */
    "clock_trap\n\t"
    ".skip (0x34 - 0x29) * 32\n\t"    /* mem_address_not_aligned */
    "clock_trap\n\t"
    ".skip (0x100 - 0x35) * 32\n\t"   /* trap_instruction 0 */
    "clock_trap\n\t"
    ".popsection");

/* As many instructions as a piece of code (translation block) may have. */
#define TAKE_TRAP(insn)                                                 \
    asm volatile("rdpr %%tba, %0\n\t"                                   \
                 "set clock_traps, %1\n\t"                              \
                 "wrpr %1, 0, %%tba\n\t"                                \
                 "clr %1\n\t"                                           \
                 "ba,pt %%xcc, 1f\n\t"                                  \
                 " cmp %0, 0\n"                                         \
                 "1:\n\t"                                               \
                 "stx %0, [%2]\n\t"                                     \
                 insn "\n\t"                                            \
                 ".rept 50\n\t"                                         \
                 "nop\n\t"                                              \
                 ".endr\n\t"                                            \
                 "ba,pt %%xcc, 2f\n\t"                                  \
                 " nop\n"                                               \
                 "2:\n\t"                                               \
                 "wrpr %0, 0, %%tba"                                    \
                 : "=&r"(before), "=&r"(table) : "r"(scratch) : "memory", "cc")

static void take_trap(volatile uint64_t *scratch)
{
    uint64_t before, table;

    switch (trap) {
    case 1:
        TAKE_TRAP("ldx [%2 + 1], %1");
        break;
    case 2:
        TAKE_TRAP("udivx %0, %1, %1");
        break;
    case 3:
        TAKE_TRAP("tne %%xcc, 0");              /* %tba is not 0 */
        break;
    }
}

static inline uint64_t time(void)
{
    uint64_t value;

    if (!stick) {
        return tick();
    }
    asm volatile("rd %%asr24, %0" : "=r"(value));
    return value & ~(1ull << 63);
}

static void work(struct vcpu *me)
{
    uint64_t scratch, mine = 0, back = 0, steps = 0;

    for (uint64_t round = 0; round < rounds; round++) {
        uint64_t theirs = handed;
        uint64_t now;

        barrier();
        now = time();
        if (now < theirs) {
            steps++;
            if (theirs - now > back) {
                back = theirs - now;
            }
        }
        reversed[me->index] += now < mine;
        mine = now;
        handed = now;
        if (trap) {
            take_trap(&scratch);
        }
        if (between) {
            spend((round * 7 + me->index) % between);
        }
    }
    me->count = rounds;
    me->polls = steps;
    me->value = back;
}

bool program(void)
{
    uint64_t back = 0, backwards = 0;

    rounds = parameter("rounds", 1000, 1, 1ul << 40);
    between = parameter("work", 50, 0, 1ul << 40);
    stick = parameter("stick", 0, 0, 1);
    trap = parameter("trap", 0, 0, 3);
    if (trap) {
        needs_interrupts();             /* privileged mode */
    }
    report("cycles", run_on_all(work));
    for (unsigned int i = 0; i < vcpus; i++) {
        if (kit_vcpus[i].value > back) {
            back = kit_vcpus[i].value;
        }
        backwards += reversed[i];
    }
    report("back", back);
    report("steps", TOTAL(polls));
    report("backwards", backwards);
    return TOTAL(count) == rounds * vcpus && backwards == 0;
}
