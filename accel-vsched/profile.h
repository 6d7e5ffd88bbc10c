/*
 * A sampling profile: at moments of simulated time that are drawn from the
 * seed, what is each VCPU doing, and where?
 *
 * The idea, and what is told apart, are those of OProfile and Xenoprof (Theurer
 * et al., Linux Symposium 2006, section 3.3).  There a counter of the processor
 * overflows after so many cycles, and an interrupt notes the program counter.
 *
 * Moments.  Simulated time is divided into intervals of equal length, and each
 * VCPU has one moment in each of them, drawn uniformly (stratified sampling).
 * So there are exactly as many moments in a second as were asked for, no rhythm
 * of the guest's can fall in step with them, and the n-th moment is a function
 * of seed, VCPU and n alone, whoever asks, and in whatever order:
 *
 *     interval 0     interval 1     interval 2
 *     |---x----------|-----------x--|-x------------|     VCPU 0
 *     |----------x---|--x-----------|---------x----|     VCPU 1
 *     begin
 *
 * Stacks.  A place may have a call stack (stack.h).  Equal stacks are kept
 * once, and have a number, from 1 on.
 *
 * Plain C over GLib.  What executes guest code is sampling.c's.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSCHED_PROFILE_H
#define VSCHED_PROFILE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include "stack.h"

/* Where a VCPU is that does not execute an instruction. */
typedef enum VschedProfileWait {
    VSCHED_PROFILE_READY,       /* it waits for a PCPU */
    VSCHED_PROFILE_BLOCKED,
    VSCHED_PROFILE_SWITCHING,   /* its registers are being moved in */
    VSCHED_PROFILE_PROFILING,   /* it pays for a sample */
    VSCHED_PROFILE_WAITS
} VschedProfileWait;

/* Where samples of one VCPU were taken, and how many. */
typedef struct VschedProfilePlace {
    uint64_t pc;
    int vcpu;
    bool user, spinning;
    uint32_t stack;             /* its number; 0: none is known */
    uint64_t count;
} VschedProfilePlace;

typedef struct VschedProfileVCPU {
    uint64_t next;              /* moments before this one have been counted */
    int64_t moment;             /* cycle of this one */
    uint64_t waiting[VSCHED_PROFILE_WAITS];
    uint64_t running[2][2];     /* [user][spinning] */
} VschedProfileVCPU;

typedef struct VschedProfile {
    int vcpus;
    int64_t begin;              /* cycle: of interval 0 */
    int64_t interval;           /* cycles, at least 1 */
    uint32_t seed;
    VschedProfileVCPU *vcpu;
    GHashTable *places;         /* VschedProfilePlace, by all but the count */
    GPtrArray *stacks;          /* GBytes, by number - 1 */
    GHashTable *stack_numbers;  /* of GBytes */
    size_t stack_words;         /* of all of them */
    uint64_t stackless;         /* samples: there was no room for a stack */
} VschedProfile;

VschedProfile *vsched_profile_new(int vcpus, int64_t begin, int64_t interval,
                                  uint32_t seed);
void vsched_profile_free(VschedProfile *p);

/* The cycle of moment @n of @vcpu; INT64_MAX if that is beyond all time. */
int64_t vsched_profile_moment(const VschedProfile *p, int vcpu, uint64_t n);

/* How many moments @vcpu has before cycle @until, since the begin. */
uint64_t vsched_profile_moments(const VschedProfile *p, int vcpu,
                                int64_t until);

/* @vcpu waited at all its moments before cycle @until that are not counted. */
void vsched_profile_wait(VschedProfile *p, int vcpu, VschedProfileWait wait,
                         int64_t until);

/* The next moment of @vcpu is over; what it did will be counted. */
void vsched_profile_pass(VschedProfile *p, int vcpu);

/* Words of all stacks; no other is kept when there are so many (choice) */
#define VSCHED_PROFILE_STACK_WORDS_MAX (1 << 24)

/* The number of @stack, or 0 and one more in stackless: there is no room. */
uint32_t vsched_profile_stack(VschedProfile *p, const VschedStack *stack);

/* The stack of this number, which is not 0. */
void vsched_profile_find_stack(const VschedProfile *p, uint32_t number,
                               VschedStack *stack);

/* @place.count samples were taken at @place. */
void vsched_profile_count(VschedProfile *p, VschedProfilePlace place);

/*
 * VschedProfilePlace by VCPU, mode, spinning, address, and what is in the
 * stack, whatever its number; to be freed.
 */
GArray *vsched_profile_places(const VschedProfile *p);

/* All of it as words of int64_t, at the end of @words. */
void vsched_profile_save(const VschedProfile *p, GArray *words);

/*
 * The same back, from @words of which there are @n; *@used of them were.
 * NULL if nothing that was saved is like that.
 */
VschedProfile *vsched_profile_load(const int64_t *words, size_t n,
                                   size_t *used);

#endif /* VSCHED_PROFILE_H */
