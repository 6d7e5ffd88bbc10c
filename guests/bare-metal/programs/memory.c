/*
 * Accesses whose cost in a cache hierarchy can be worked out by hand, timed by
 * %tick to the cycle.
 *
 *   lines=16   stride=64 (bytes)   rounds=2   how=0 (1: stores, 2: a chase)
 *     VCPU 0 accesses so many words, stride apart, in each round, in order or,
 *     in a chase, in a random cycle that the words point along.  Reported is
 *     what each of the first two rounds, and the last, took beyond a round that
 *     does the same with one word over and over: the stalls.  The words of a
 *     chase were written before, in order, so that its first round is no cold one.
 *   handoffs=0 (at least 2 VCPUs, more than 0)   apart=0 (bytes between words)
 *     VCPUs 0 and 1 take turns so often.  In its turn each loads a word, stores
 *     to it, and loads it again; the words of the two are so far apart.  Reported
 *     for each VCPU is the least that each of these stalled, from its third turn on:
 *     a wait for a bank that the other uses at that moment is no part of it.
 *
 * What is timed has no other accesses, and its code is in the L1I by then; the data
 * TLB has the pages.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "kit.h"

const char program_name[] = "memory";

static uint64_t lines, stride, rounds, how, handoffs, apart;
static char *array;
static volatile uint64_t turn __attribute__((aligned(64)));
static volatile uint64_t took[3];
static uint64_t loaded[2], stored[2], again[2];

/* Each turn of the loop is 4 instructions, whatever the access. */
#define LOOP(access, advance)                           \
    asm volatile("ba,pt  %%xcc, 2f\n\t"                  \
                 " nop\n\t"                              \
                 ".balign 64\n"                          \
                 "2:\trd %%tick, %0\n"                   \
                 "1:\t" access "\n\t"                    \
                 "sub    %3, 1, %3\n\t"                  \
                 "brnz,pt %3, 1b\n\t"                    \
                 " " advance "\n\t"                      \
                 "rd     %%tick, %1\n\t"                 \
                 : "=&r"(begin), "=&r"(end), "+&r"(at), "+&r"(n) \
                 : "r"(step) : "g1", "memory")

static uint64_t walk(char *at, uint64_t step, uint64_t n)
{
    uint64_t begin, end;

    switch (how) {
    case 0:
        LOOP("ldx [%2], %%g1", "add %2, %4, %2");
        break;
    case 1:
        LOOP("stx %%g0, [%2]", "add %2, %4, %2");
        break;
    default:
        LOOP("ldx [%2], %2", "nop");
    }
    return end - begin;
}

/* Sattolo's shuffle, as in chase.c: a cycle through all words */
static void make_cycle(void)
{
    uint64_t x = 1;

    for (uint64_t i = 0; i < lines; i++) {
        *(char **)(array + i * stride) = array + i * stride;
    }
    for (uint64_t i = lines - 1; i >= 1; i--) {
        char **a = (char **)(array + i * stride), **b, *other;

        x = x * 6364136223846793005ull + 1442695040888963407ull;
        b = (char **)(array + (x >> 33) % i * stride);
        other = *a;
        *a = *b;
        *b = other;
    }
}

/* The last line of each page, which is accessed for its translation, is no line
 * of the array's. */
static void translate_all(void)
{
    uint64_t page = 1ul << PAGE_SHIFT;

    for (uint64_t at = (uint64_t)array & -page;
         at < (uint64_t)array + lines * stride; at += page) {
        *(volatile uint64_t *)(at + page - 64);
    }
}

/* Stalls of a load, a store and a load of the same word: 2 instructions each
 * from one reading of %tick to the next. */
static void three(uint64_t *word, uint64_t *first, uint64_t *second,
                  uint64_t *third)
{
    uint64_t a, b, c, d;

    asm volatile(
        "ba,pt  %%xcc, 1f\n\t"
        " nop\n\t"
        ".balign 64\n"
        "1:\trd %%tick, %0\n\t"
        "ldx    [%4], %%g1\n\t"
        "rd     %%tick, %1\n\t"
        "stx    %%g1, [%4]\n\t"
        "rd     %%tick, %2\n\t"
        "ldx    [%4], %%g1\n\t"
        "rd     %%tick, %3\n\t"
        : "=&r"(a), "=&r"(b), "=&r"(c), "=&r"(d)
        : "r"(word) : "g1", "memory");
    *first = b - a - 2;
    *second = c - b - 2;
    *third = d - c - 2;
}

static void at_most(uint64_t *least, uint64_t value)
{
    if (value < *least) {
        *least = value;
    }
}

static void take_turns(struct vcpu *me)
{
    uint64_t *word = (uint64_t *)(array + me->index * apart);
    uint64_t least[3] = { -1ul, -1ul, -1ul }, now[3];

    if (me->index > 1) {
        return;
    }
    for (uint64_t n = 0; n < handoffs; n++) {
        while (turn != 2 * n + me->index) {
            me->polls++;
        }
        three(word, &now[0], &now[1], &now[2]);
        for (unsigned int i = 0; i < 3 && n >= 2; i++) {
            at_most(&least[i], now[i]);
        }
        turn++;
    }
    loaded[me->index] = least[0];
    stored[me->index] = least[1];
    again[me->index] = least[2];
}

static void work(struct vcpu *me)
{
    static char *self = (char *)&self;
    uint64_t n = lines, hits;

    if (handoffs) {
        take_turns(me);
        return;
    }
    if (me->index) {
        return;
    }
    if (how == 2) {
        make_cycle();
    }
    translate_all();
    walk((char *)&self, 0, 2);                  /* for the code */
    self = (char *)&self;
    hits = walk((char *)&self, 0, n);
    for (uint64_t round = 0; round < rounds; round++) {
        uint64_t cycles = walk(array, stride, n) - hits;

        took[round < 2 ? round : 2] = cycles;
    }
}

bool program(void)
{
    lines = parameter("lines", 16, 1, 1ul << 24);
    stride = parameter("stride", 64, 0, 1ul << 24);
    rounds = parameter("rounds", 2, 1, 1ul << 24);
    how = parameter("how", 0, 0, 2);
    handoffs = parameter("handoffs", 0, 0, 1ul << 24);
    apart = parameter("apart", 0, 0, 1ul << 16);
    needs_privileged_mode();
    if (handoffs && vcpus < 2) {
        fail("parameter handoffs", ": two VCPUs are needed");
    }
    if (stride % 8 || apart % 8) {
        fail("parameters stride and apart", ": multiples of 8 are possible");
    }
    array = allocate((handoffs ? 1 << 17 : lines * stride) + (1 << PAGE_SHIFT));
    run_on_all(work);
    if (handoffs) {
        report("first_loaded", loaded[0]);
        report("first_stored", stored[0]);
        report("first_again", again[0]);
        report("second_loaded", loaded[1]);
        report("second_stored", stored[1]);
        report("second_again", again[1]);
    } else {
        report("first", took[0]);
        report("second", took[1]);
        report("last", took[2]);
    }
    return true;
}
