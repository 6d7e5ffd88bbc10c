/*
 * Random SPARC V9 instructions, for programs that throw them at a processor: the
 * bare-metal program and the workload named fuzz.  Most of them do something.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef RANDOM_SPARC_H
#define RANDOM_SPARC_H

#include <stdbool.h>
#include <stdint.h>

/* splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators") */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* ASIs of UltraSPARC, more often than others */
static inline uint32_t random_asi(uint64_t bits, bool privileged)
{
    static const uint8_t user[] = {
        0x80, 0x81, 0x82, 0x83, 0x88, 0x89, 0x8a, 0x8b, 0xc0, 0xc2, 0xc4, 0xc9, 0xcb, 0xcd,
        0xd0, 0xd3, 0xd8, 0xdb, 0xe0, 0xe1, 0xf0, 0xf1, 0xf8, 0xf9, 0x80, 0x81, 0x82, 0x83,
        0x90, 0xe2, 0xea, 0x84,
    };
    static const uint8_t restricted[] = {
        0x04, 0x0c, 0x10, 0x11, 0x18, 0x19, 0x14, 0x15, 0x1c, 0x1d, 0x24, 0x2c, 0x45, 0x48,
        0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x50, 0x51, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5b,
        0x5c, 0x5d, 0x5f, 0x77, 0x7f, 0x70, 0x71, 0x78, 0x15, 0x14, 0x15, 0x1d,
    };

    if (bits % 8 == 0) {
        return bits >> 8 & 0xff;
    }
    if (privileged && bits & 8) {
        return restricted[(bits >> 8) % sizeof(restricted)];
    }
    return user[(bits >> 8) % sizeof(user)];
}

static inline uint32_t random_insn(uint64_t *state, bool privileged)
{
    uint64_t bits = next_random(state);
    uint32_t any = next_random(state), kind = bits % 100;
    uint32_t registers = (any & 0x3e07c000) | (any & 0x1f);     /* rd, rs1, rs2 */
    uint32_t simm = any & 0x2000 ? 0x1fff & any & ~7u : (uint32_t)(bits >> 32) & 0x1ff & ~7u;
    uint32_t insn;

    bits >>= 8;
    if (kind < 8) {                             /* anything */
        insn = any;
    } else if (kind < 50) {                     /* loads and stores */
        insn = 3u << 30 | registers | ((uint32_t)bits & 0x3f) << 19;
        bits >>= 6;
        if (bits & 1) {
            insn = (insn & ~0x1fu) | 1 << 13 | simm;
        } else if (insn >> 19 & 0x10) {
            insn |= random_asi(bits >> 1, privileged) << 5;
            if (bits & 1ul << 40) {
                insn &= ~0x1fu;                 /* rs2 = %g0 */
            }
        }
    } else if (kind < 72) {                     /* arithmetic, and all else of format 3 */
        insn = 2u << 30 | registers | ((uint32_t)bits & 0x3f) << 19;
        if (bits & 0x40) {
            insn = (insn & ~0x1fu) | 1 << 13 | (any & 0x1fff);
        }
    } else if (kind < 82) {                     /* floating point and VIS */
        insn = 2u << 30 | registers | (0x34 + (uint32_t)bits % 3) << 19 |
               ((uint32_t)bits >> 8 & 0x1ff) << 5;
    } else if (kind < 88) {                     /* short branches, sethi */
        insn = (any & 0x3fc00000) | ((uint32_t)bits & 7);
    } else if (privileged && kind < 93) {       /* a device, if %l0 to %l7 point to some */
        static const uint8_t op3[] = { 0x10, 0x11, 0x12, 0x14, 0x15, 0x16, 0x1b, 0x1e, 0x14, 0x15 };
        static const uint8_t asi[] = { 0x15, 0x1d, 0x15, 0x14 };

        insn = 3u << 30 | (any & 0x3e000000) | (uint32_t)op3[bits % sizeof(op3)] << 19 |
               (16 + (any & 7)) << 14 | (uint32_t)asi[any >> 3 & 3] << 5;
    } else if (privileged) {                    /* wr, wrpr, rd, rdpr; done, retry */
        static const uint8_t op3[] = { 0x28, 0x2a, 0x30, 0x31, 0x32, 0x32, 0x3e };

        insn = 2u << 30 | registers | (uint32_t)op3[bits % sizeof(op3)] << 19;
        if (bits & 0x100) {
            insn = (insn & ~0x1fu) | 1 << 13 | simm >> 3;
        }
    } else {                                    /* windows, %asi, membar */
        static const uint8_t op3[] = { 0x3c, 0x3d, 0x2b, 0x30, 0x28, 0x39 };

        insn = 2u << 30 | registers | (uint32_t)op3[bits % sizeof(op3)] << 19 | 1 << 13;
        if (bits & 0x100) {
            insn = (insn & ~(0x1fu << 25 | 0x1fu)) | 3 << 25 | (any >> 8 & 0xff);
        }
    }
    if (!privileged && (insn & 0xc1f80000) == 0x81d00000) {
        insn = 0x01000000;                      /* no system calls */
    }
    return insn;
}

/* They end with an illegal one. */
static inline void random_code(uint64_t *state, void *code, long words)
{
    uint32_t *insn = code;

    for (long i = 0; i < words; i++) {
        insn[i] = random_insn(state, false);
    }
    insn[words] = insn[words + 1] = 0;
}

#endif
