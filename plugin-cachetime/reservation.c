/*
 * Reservations: slots of a bank, a link or of memory in simulated time
 *
 * See reservation.h.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "reservation.h"

#define FIRST_WORDS 4

static int64_t greatest_common_divisor(int64_t a, int64_t b)
{
    while (b) {
        int64_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

void reservation_init(Reservation *r, int64_t cycles, int64_t slots)
{
    int64_t divisor = greatest_common_divisor(cycles, slots);

    cycles /= divisor;
    slots /= divisor;
    *r = (Reservation) {
        .cycles = cycles,
        .slots = slots,
        .shift = cycles & (cycles - 1) ? -1 : __builtin_ctzll(cycles),
        .exact = INT64_MAX / slots,
        .words = FIRST_WORDS,
        .taken = g_new0(uint64_t, FIRST_WORDS),
    };
}

void reservation_destroy(Reservation *r)
{
    g_free(r->taken);
    r->taken = NULL;
}

/* The cycle in which @slot begins, rounded up */
static int64_t start_of(const Reservation *r, int64_t slot)
{
    return slot / r->slots * r->cycles +
           (slot % r->slots * r->cycles + r->slots - 1) / r->slots;
}

static int64_t end(const Reservation *r)
{
    return r->base + (int64_t)r->words * 64;
}

/* Forgets whole words of slots before @slot. */
static void forget(Reservation *r, int64_t slot)
{
    int64_t base = slot & ~INT64_C(63);

    if (base >= end(r)) {
        memset(r->taken, 0, r->words * sizeof(r->taken[0]));
        r->base = base;
    }
    for (; r->base < base; r->base += 64) {
        *reservation_word(r, r->base) = 0;
    }
}

static void grow(Reservation *r)
{
    Reservation old = *r;

    r->words *= 2;
    r->taken = g_new0(uint64_t, r->words);
    for (int64_t slot = old.base; slot < end(&old); slot += 64) {
        *reservation_word(r, slot) = *reservation_word(&old, slot);
    }
    g_free(old.taken);
}

/* Has @slot in the row of those that are remembered. */
static void reach(Reservation *r, int64_t slot)
{
    if (slot - r->base >= RESERVATION_SLOTS_MAX) {
        forget(r, slot - RESERVATION_SLOTS_MAX / 2);
    }
    while (slot >= end(r)) {
        grow(r);
    }
}

int64_t reservation_search(Reservation *r, int64_t horizon, int64_t cycle)
{
    int64_t own = reservation_slot(r, cycle), slot = own;
    uint64_t *word, free;

    if (horizon != r->horizon) {
        r->horizon = horizon;
        forget(r, reservation_slot(r, horizon));
    }
    if (own < r->base) {
        return cycle;
    }
    for (;;) {
        reach(r, slot);
        word = reservation_word(r, slot);
        free = ~*word & ~UINT64_C(0) << (slot & 63);
        if (free) {
            break;
        }
        slot = (slot | 63) + 1;
    }
    slot = (slot & ~INT64_C(63)) + __builtin_ctzll(free);
    *word |= UINT64_C(1) << (slot & 63);
    return slot == own ? cycle : cycle + start_of(r, slot) - start_of(r, own);
}

bool reservation_is_taken(const Reservation *r, int64_t cycle)
{
    int64_t slot = reservation_slot(r, cycle);

    return slot >= r->base && slot < end(r) &&
           *reservation_word(r, slot) >> (slot & 63) & 1;
}
