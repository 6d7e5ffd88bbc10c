/*
 * Random instructions on every second VCPU, in user mode or, with privileged=1,
 * in privileged mode.  The others count; VCPU 0 watches that they do, starts
 * again what has stopped, and ends the program.
 *
 *   seed=     of all random numbers
 *   batches=  of instructions for each VCPU, each run from its begin until a trap
 *   words=    of a batch
 *
 * What privileged code does to the program is its own business: it may end
 * otherwise, or not at all.  QEMU may not.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "probe.h"
#include "../../workloads/random-sparc.h"

const char program_name[] = "fuzz";

enum { SANDBOX = 0x1000000, MAX_WORDS = 64, PAGE_PRIVILEGED = 4 };

static uint64_t seed, batches, words, privileged;
static uint64_t second;                 /* in ticks */

static const uint64_t devices[] = {
    0x1fe00000000, 0x1fe00000200, 0x1fe00000c00, 0x1fe00001000, 0x1fe00001a00,  /* bridge */
    0x1fe01000000, 0x1fe01000800, 0x1fe01001000, 0x1fe01010000,     /* PCI configuration */
    0x1fe02000000, 0x1fe02000060, 0x1fe02000170, 0x1fe020001f0, 0x1fe020003f0,  /* PCI I/O */
    0x1fe020003f8, 0x1fe02000510, 0x1fe02002000, 0x1fe02004000, 0x1fe02007240,
    0x1fe0f000000, 0x1ff00000000, 0x1ff000a0000, 0x1ff00400000, 0x1ff01000000, 0x1fff0000000,
};

static uint64_t random_value(uint64_t *state, uint64_t sandbox)
{
    uint64_t bits = next_random(state);

    switch (bits & 15) {
    case 0:
        return bits >> 4;
    case 1:
        return bits >> 4 & 0xff;
    case 2:
        return -(bits >> 4 & 0xff);
    case 3:
        return (uint64_t)-1 << (bits >> 4 & 63);
    case 4:
        return sandbox + (bits >> 4 & 0x3ff);   /* misaligned, or in the code */
    case 5:
    case 6:
    case 7:
    case 8:
        if (privileged) {
            return devices[(bits >> 4) % (sizeof(devices) / 8)] + (bits >> 40 & 0x78);
        }
        /* fall through */
    default:
        return sandbox + 0x10000 + (bits >> 4 & 0xffc0);
    }
}

static void one_batch(struct probe *probe, uint64_t sandbox, uint64_t number)
{
    uint64_t state = seed << 32 ^ number;
    uint32_t *code = (uint32_t *)sandbox;

    for (unsigned int i = 0; i < words; i++) {
        code[i] = random_insn(&state, privileged);
    }
    code[words] = code[words + 1] = 0x91d0207f; /* ta 0x7f */
    for (int r = 1; r < 32; r++) {
        probe->regs[r] = random_value(&state, sandbox);
    }
    for (int r = 16; privileged && r < 24; r++) {       /* for random_insn() */
        uint64_t bits = next_random(&state);

        probe->regs[r] = devices[bits % (sizeof(devices) / 8)] +
                         (bits >> 8 & (bits & 1ull << 40 ? 0xff : 0x7f8));
    }
    probe->pc = sandbox;
    probe->tstate = (next_random(&state) & 0xff) << 32 |        /* %ccr */
                    (uint64_t)random_asi(next_random(&state), privileged) << 24 |
                    (PSTATE_PEF | PSTATE_IE | (privileged ? PSTATE_PRIV : 0)) << TSTATE_PSTATE_SHIFT;
    probe->ticks = second / 100000;       /* 10 us */
    run_probe(probe);
}

/* The program's own page is not for user mode. */
static void protect_program(void)
{
    for (uint64_t entry = 0; entry < 64 * 8; entry += 8) {
        uint64_t tag, tte;

        asm volatile("ldxa [%1] 0x5e, %0" : "=r"(tag) : "r"(entry));
        asm volatile("ldxa [%1] %2, %0" : "=r"(tte) : "r"(entry), "i"(ASI_DTLB_ENTRY));
        if (tte >> 63 && tag >> PAGE_SHIFT == PROGRAM_BASE >> PAGE_SHIFT) {
            asm volatile("stxa %0, [%1] %2" : : "r"(tag & ~0x1ffful), "r"((uint64_t)MMU_TAG_ACCESS),
                         "i"(ASI_DMMU));
            asm volatile("stxa %0, [%1] %2" : : "r"(tte | PAGE_PRIVILEGED), "r"(entry),
                         "i"(ASI_DTLB_ENTRY) : "memory");
        }
        asm volatile("ldxa [%1] 0x56, %0" : "=r"(tag) : "r"(entry));
        asm volatile("ldxa [%1] %2, %0" : "=r"(tte) : "r"(entry), "i"(ASI_ITLB_ENTRY));
        if (tte >> 63 && tag >> PAGE_SHIFT == PROGRAM_BASE >> PAGE_SHIFT) {
            asm volatile("stxa %0, [%1] %2" : : "r"(tag & ~0x1ffful), "r"((uint64_t)MMU_TAG_ACCESS),
                         "i"(ASI_IMMU));
            asm volatile("stxa %0, [%1] %2" : : "r"(tte | PAGE_PRIVILEGED), "r"(entry),
                         "i"(ASI_ITLB_ENTRY) : "memory");
        }
    }
}

static void throw(struct vcpu *me)
{
    uint64_t sandbox = SANDBOX + (me->index << PAGE_SHIFT);

    interrupts(false);
    protect_program();
    map_locked(sandbox, TTE_FLAGS);
    while (me->count < batches) {
        uint64_t number = me->count++;

        me->value++;                            /* begun */
        one_batch(&probes[me->index], sandbox, me->index << 24 | number);
        me->polls++;                            /* and come back from */
    }
}

static bool throws(unsigned int vcpu)
{
    return vcpu % 2 || vcpus == 1;
}

/* Until all that throw are done or lost: not one batch in 5 ms. */
static bool watch(void)
{
    uint64_t begun[MAX_VCPUS], counted[MAX_VCPUS], end;
    bool going, fine = true;

    do {
        for (unsigned int i = 1; i < vcpus; i++) {
            begun[i] = kit_vcpus[i].value;
            counted[i] = kit_vcpus[i].count;
        }
        for (end = tick() + second / 200; tick() < end;) {
            spend(100);
        }
        going = false;
        for (unsigned int i = 1; i < vcpus; i++) {
            if (!throws(i)) {
                fine &= kit_vcpus[i].count > counted[i];
            } else if (kit_vcpus[i].count < batches) {
                going |= restart_stopped(&kit_vcpus[i]) || kit_vcpus[i].value > begun[i];
            }
        }
    } while (going);
    return fine;
}

static void work(struct vcpu *me)
{
    interrupts(false);                          /* also those that come from random stores */
    if (throws(me->index)) {
        throw(me);
    } else if (me->index) {
        for (;;) {
            me->count++;
            barrier();
        }
    }
    if (me->index == 0) {
        bool fine = vcpus == 1 || watch();

        REPORT_ALL(count);
        report("come_back", TOTAL(polls));
        finish(fine);
    }
}

bool program(void)
{
    seed = parameter("seed", 1, 0, 0xffffffff);
    batches = parameter("batches", 1000, 1, 0xffffff);
    words = parameter("words", 16, 1, MAX_WORDS);
    privileged = parameter("privileged", 0, 0, 1);
    second = tick_hz();
    run_on_all(work);
    return false;
}
