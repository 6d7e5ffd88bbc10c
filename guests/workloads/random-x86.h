/*
 * Random x86-64 instructions, for the workload named fuzz.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef RANDOM_X86_H
#define RANDOM_X86_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators") */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* One instruction, with what may follow its opcode; at most 15 bytes */
static inline int random_insn(uint64_t *state, uint8_t *code)
{
    static const uint8_t prefixes[] = { 0x66, 0xf2, 0xf3, 0x67, 0xf0, 0x64, 0x65, 0x2e };
    uint64_t bits = next_random(state), more = next_random(state);
    int n = 0;

    while ((bits & 3) == 0 && n < 3) {
        code[n++] = prefixes[bits >> 2 & 7];
        bits >>= 5;
    }
    switch (bits & 7) {
    case 0:                                     /* VEX */
        code[n++] = 0xc5;
        code[n++] = bits >> 8;
        break;
    case 1:
        code[n++] = 0xc4;
        code[n++] = (bits >> 8 & 0xe0) | (1 + (bits >> 16) % 3);
        code[n++] = bits >> 24;
        break;
    case 2:
    case 3:
    case 4:
        code[n++] = 0x40 | (bits >> 8 & 15);    /* REX */
        /* fall through */
    case 5:
        code[n++] = 0x0f;
        if (bits & 0x1000) {
            code[n++] = bits & 0x2000 ? 0x38 : 0x3a;
        }
        break;
    case 6:
        code[n++] = 0x48;
        break;
    }
    code[n++] = bits >> 32;                     /* opcode */
    /* ModRM: mostly a register that points somewhere, without displacement */
    code[n++] = bits & 1ull << 40 ? bits >> 48 & 0x3f : bits >> 48;
    if (bits & 1ull << 41) {
        memcpy(&code[n], &more, 4);
        n += bits & 1ull << 42 ? 1 : 4;
    }
    return n;
}

/* They end with an undefined one. */
static inline void random_code(uint64_t *state, void *code, long words)
{
    uint8_t *at = code;

    for (long i = 0; i < words; i++) {
        at += random_insn(state, at);
    }
    memset(at, 0x90, 16);
    memcpy(at + 16, "\x0f\x0b\x0f\x0b", 4);
    /* No system calls, if they can be seen. */
    for (uint8_t *byte = code; byte < at; byte++) {
        if ((byte[0] == 0x0f && (byte[1] == 0x05 || byte[1] == 0x34)) ||
            (byte[0] == 0xcd && byte[1] == 0x80)) {
            byte[1] = 0x0b;
        }
    }
}

#endif
