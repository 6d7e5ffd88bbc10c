/*
 * Cross-call storm with one lock: whoever has the lock interrupts all other
 * VCPUs in turn and waits until each has answered, as a kernel does that
 * shoots down TLB entries.  Interrupts stay on while a VCPU waits.
 *   rounds=2 (of a VCPU)   callers=0 (so many VCPUs do, the first ones; 0: all)
 * Checked: every VCPU got rounds cross-calls from each other caller, with the right
 * data.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "kit.h"

const char program_name[] = "crosscall";

static uint64_t rounds, callers;
static volatile uint8_t held __attribute__((aligned(64)));
static volatile uint64_t answer[MAX_VCPUS];

static void work(struct vcpu *me)
{
    uint64_t polls = 0;

    for (uint64_t round = 1; me->index < callers && round <= rounds; round++) {
        while (__atomic_exchange_n(&held, 0xff, __ATOMIC_ACQUIRE)) {
            while (held) {
                polls++;
            }
        }
        for (unsigned int i = 0; i < vcpus; i++) {
            answer[i] = 0;
            if (i != me->index) {
                crosscall(i, crosscall_store, (uint64_t)&answer[i], round);
                crosscall(i, crosscall_add, round, 0);
            }
        }
        for (unsigned int i = 0; i < vcpus; i++) {
            while (i != me->index && answer[i] != round) {
                polls++;
            }
        }
        me->count++;
        __atomic_store_n(&held, 0, __ATOMIC_RELEASE);
    }
    me->polls = polls;
}

bool program(void)
{
    bool ok = true;

    needs_interrupts();
    rounds = parameter("rounds", 2, 1, 1ul << 20);
    callers = parameter("callers", 0, 0, vcpus) ?: vcpus;
    report("cycles", run_on_all(work));
    interrupts(true);           /* the last ones may still be on their way */
    for (unsigned int i = 0; i < vcpus; i++) {
        uint64_t others = callers - (i < callers);

        while (kit_vcpus[i].received < 2 * rounds * others) {
        }
        /* each of the others sent 1 + 2 + ... + rounds */
        ok &= kit_vcpus[i].received == 2 * rounds * others &&
              kit_vcpus[i].sum == others * (rounds * (rounds + 1) / 2) &&
              kit_vcpus[i].count == (i < callers ? rounds : 0);
    }
    report("rounds", rounds);
    REPORT_ALL(received);
    REPORT_ALL(sum);
    REPORT_ALL(nacks);
    REPORT_ALL(polls);
    return ok;
}
