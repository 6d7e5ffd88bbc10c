/*
 * Reservations: slots of a bank, a link or of memory in simulated time
 *
 * A resource that carries S requests every C cycles is a row of slots, one
 * for each request; slot n begins at cycle n * C/S.  A request takes the slot
 * in which its cycle lies, and starts at once; or, if that is taken, the first
 * free one after it, and waits for as many slots.
 *
 * PCPUs run one after the other inside a window, so requests do not come in
 * the order of their cycles.  A slot that was taken for a later cycle by a PCPU
 * that ran before does not delay an earlier request.  The set of slots that are
 * taken is the same in whatever order the requests come (it is that of linear
 * probing), and so is the sum of all delays.  No n slots in a row ever carry
 * more than n requests.  (A start lies in its slot; where slots are no whole
 * cycles, perhaps one cycle behind it.)
 *
 * Plain C over GLib.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef CACHETIME_RESERVATION_H
#define CACHETIME_RESERVATION_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

typedef struct Reservation {
    int64_t cycles, slots;  /* @slots slots take @cycles cycles; no divisor */
    int shift;              /* log2 of @cycles, or -1: divisions are slow */
    int64_t exact;          /* cycles that can be multiplied by @slots */
    int64_t horizon;        /* cycle before which slots were forgotten last */
    int64_t base;           /* first slot remembered; a multiple of 64 */
    uint32_t words;         /* of @taken; a power of two */
    uint64_t *taken;        /* slot s: bit s % 64 of word s / 64 % words */
} Reservation;

/*
 * The memory of one is bounded, to 1 MiB: with more slots than this between the
 * first one remembered and a request, the earlier half is forgotten.
 */
#define RESERVATION_SLOTS_MAX (1 << 23)

/* @slots requests every @cycles cycles; both at least 1 */
void reservation_init(Reservation *r, int64_t cycles, int64_t slots);
void reservation_destroy(Reservation *r);

/*
 * Takes the first free slot from that of @cycle on; returns the cycle at which
 * the request starts.  Nothing will be asked for before cycle @horizon any
 * more, so slots before it can be forgotten.  A request for a forgotten slot
 * starts at once, and leaves no trace.
 */
static inline int64_t reservation_take(Reservation *r, int64_t horizon,
                                       int64_t cycle);

/* Whether the slot in which @cycle lies is taken, and not forgotten. */
bool reservation_is_taken(const Reservation *r, int64_t cycle);

/* --- What is inline --- */

/* reservation.c: when more than one bit has to be looked at */
int64_t reservation_search(Reservation *r, int64_t horizon, int64_t cycle);

/* The slot in which @cycle lies: cycle * slots / cycles, without overflow */
static inline int64_t reservation_slot(const Reservation *r, int64_t cycle)
{
    if (r->shift >= 0 && cycle < r->exact) {
        return (cycle * r->slots) >> r->shift;
    }
    return cycle / r->cycles * r->slots +
           cycle % r->cycles * r->slots / r->cycles;
}

static inline uint64_t *reservation_word(const Reservation *r, int64_t slot)
{
    return &r->taken[((uint64_t)slot >> 6) & (r->words - 1)];
}

static inline int64_t reservation_take(Reservation *r, int64_t horizon,
                                       int64_t cycle)
{
    int64_t slot = reservation_slot(r, cycle);
    uint64_t bit = UINT64_C(1) << (slot & 63), *word;

    if (horizon == r->horizon &&
        (uint64_t)(slot - r->base) < (uint64_t)r->words * 64) {
        word = reservation_word(r, slot);
        if (!(*word & bit)) {
            *word |= bit;
            return cycle;
        }
    }
    return reservation_search(r, horizon, cycle);
}

#endif /* CACHETIME_RESERVATION_H */
