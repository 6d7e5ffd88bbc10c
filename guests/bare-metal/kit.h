/*
 * Kit for programs without an operating system on the sun4u and cmp machines.
 *
 * A program defines program_name and program().  program() runs on VCPU 0; it
 * reads its parameters, lets run_on_all() run a function on every VCPU, checks
 * the outcome, and reports with report_*() as one line of JSON.  What program()
 * returns (true: everything as expected) becomes "ok" and QEMU's exit status.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef KIT_H
#define KIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "layout.h"

struct vcpu {
    /* written by interrupt handlers; offsets in layout.h */
    volatile uint64_t received;     /* cross-calls */
    volatile uint64_t sum;          /* of crosscall_add() */
    volatile uint64_t stray;        /* interrupt vectors of devices */
    uint64_t stack;
    volatile uint64_t interrupts[16];   /* by level */
    volatile uint64_t state;        /* 1: is up, 2: work done */

    /* for the program */
    uint64_t index;                 /* module id */
    volatile uint64_t count;        /* what it achieved */
    volatile uint64_t polls;        /* turns of waiting loops */
    volatile uint64_t nacks;        /* of cross-calls that it sent */
    volatile uint64_t value;        /* a result */
} __attribute__((aligned(1 << VCPU_SHIFT)));

extern struct vcpu kit_vcpus[MAX_VCPUS];
register struct vcpu *this_vcpu asm("g7");
extern unsigned int vcpus;          /* in the machine, or parameter vcpus= */

/* A program defines these two. */
extern const char program_name[];
bool program(void);

/* Parameters: "name=value ..." in QEMU's -fw_cfg opt/args,string=; decimal, or 0x... */
uint64_t parameter(const char *name, uint64_t preset, uint64_t min, uint64_t max);
/* Of a device, at a physical address; in privileged mode. */
void write_register(uint64_t address, uint64_t value);

/*
 * Run work() on all VCPUs (in user mode with parameter user=1);
 * all begin when the last is up.
 * Returns the cycles from the begin to the last end, by %tick of VCPU 0.  Once only.
 */
uint64_t run_on_all(void (*work)(struct vcpu *me));

/*
 * What stands for useful work: a loop of two instructions in registers, which to a
 * spin detection buffer is a spin, or with parameter touch=1 one that goes through
 * 4 kB of the VCPU's own, more than it touches in a period of a buffer.
 */
void labour(uint64_t turns);

/*
 * For programs whose VCPUs interrupt each other: no user=1, and a VCPU whose
 * work is done stays to take interrupts until the program ends; otherwise it
 * stops at once and leaves its PCPU to others.
 */
void needs_interrupts(void);

/* For programs that read %tick while they work: no user=1. */
void needs_privileged_mode(void);

/* RAM above the program, in pieces of 8 kB; cleared by nobody. */
void *allocate(uint64_t bytes);

/* Report: each adds a member to the JSON object. */
void report(const char *name, uint64_t value);
void report_hex(const char *name, const uint8_t *bytes, size_t size);
void report_all(const char *name, size_t offset);   /* of a field of struct vcpu */
#define REPORT_ALL(field) report_all(#field, offsetof(struct vcpu, field))
uint64_t total(size_t offset);
#define TOTAL(field) total(offsetof(struct vcpu, field))

/* End at once, whatever other VCPUs do. */
__attribute__((noreturn)) void finish(bool ok);

/* Start a VCPU again that has stopped, also in error state; false if it runs. */
bool restart_stopped(struct vcpu *vcpu);

/*
 * For programs in which each instruction counts: @vcpu will begin at @entry,
 * with its struct vcpu in %o0, and %sp to be taken from there, when somebody
 * writes COMMAND_START to the physical address that is returned.
 */
uint64_t prepare_to_start(struct vcpu *vcpu, void (*entry)(void));
/* All parameters were asked for; run_on_all() does this itself. */
void check_arguments(void);

/*
 * With parameter mark=, the address of a vsched-mark register: the program comes
 * to mark 1, and at its end to mark 2 (ok) or 3.  run_on_all() and finish() do
 * so; what comes after the first mark_end() is not part of the run.
 */
void mark_begin(void);
void mark_end(bool ok);
/* The address itself, or 0. */
uint64_t mark_address(void);

/* End with an error of the caller's: bad parameters, broken machine. */
__attribute__((noreturn)) void fail(const char *what, const char *why);

/* Cross-calls: handlers that a cross-call may name */
extern char crosscall_add[];        /* add data1 to the target's sum */
extern char crosscall_store[];      /* store data2 at address data1 */

/* True if taken, false for a NACK.  Not from user mode. */
bool crosscall_try(unsigned int target, char *handler, uint64_t data1, uint64_t data2);

/* Until it is taken; NACKs are counted in this_vcpu. */
void crosscall(unsigned int target, char *handler, uint64_t data1, uint64_t data2);

uint64_t kit_user(uint64_t (*function)(uint64_t), uint64_t argument);

/*
 * What tick() counts in a second.  Only on VCPU 0, before run_on_all().  By
 * default that of a cmp machine is its cycles, that of sun4u 100 MHz.
 */
uint64_t tick_hz(void);

static inline uint64_t tick(void)
{
    uint64_t value;

    asm volatile("rd %%tick, %0" : "=r"(value));
    return value & ~(1ull << 63);
}

static inline void interrupts(bool on)
{
    if (on) {
        asm volatile("wrpr %%g0, %0, %%pstate"
                     : : "i"(PSTATE_PRIV | PSTATE_PEF | PSTATE_IE) : "memory");
    } else {
        asm volatile("wrpr %%g0, %0, %%pstate"
                     : : "i"(PSTATE_PRIV | PSTATE_PEF) : "memory");
    }
}

/* Not optimised away, not reordered; costs nothing. */
static inline void barrier(void)
{
    asm volatile("" : : : "memory");
}

/* A loop of 2 instructions a turn, in registers */
static inline void spend(uint64_t turns)
{
    asm volatile("1: brgz,pt %0, 1b\n\tsub %0, 1, %0" : "+r"(turns));
}

#endif
