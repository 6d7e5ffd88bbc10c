/*
 * The trap that each instruction takes, in user mode unless privileged=1:
 *
 *   sweep=0  every ASI by every instruction that names one
 *   sweep=1  addresses that cannot be accessed, or executed
 *   sweep=2  every opcode
 *
 * Reported as hexadecimal strings: "tt" has 4 digits for each trial, 017f if
 * there was no trap; "ft" 2 digits, the fault type in the data MMU's SFSR;
 * "record" 2 digits: 1 SFSR is valid, 2 for a store, 4 of privileged code,
 * 8 its ASI is the instruction's, 0x10 SFAR is the address.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "probe.h"

const char program_name[] = "traps";

enum { MAX_TRIALS = 12288, SLOT = 4 };
enum { REG_ADDRESS = 8, REG_DATA = 10 };        /* %o0, %o2 */
#define TA_7F   0x91d0207fu     /* ta 0x7f */
#define NOP     0x01000000u
#define JUMP    0x81c20000u     /* jmp %o0 */

static uint32_t code[MAX_TRIALS][SLOT] __attribute__((aligned(64)));
static uint64_t address[MAX_TRIALS];
static uint8_t results[3][MAX_TRIALS * 2];
static uint8_t asis[MAX_TRIALS];
static uint64_t where[64] __attribute__((aligned(512)));
static unsigned int trials;
static uint64_t privileged, sweep;

static const uint8_t memory_op3[] = {           /* with ASI: 0x10 in it */
    0x11, 0x12, 0x10, 0x1b, 0x13,               /* lduba lduha lduwa ldxa ldda */
    0x19, 0x1a, 0x18,                           /* ldsba ldsha ldswa */
    0x15, 0x16, 0x14, 0x1e, 0x17,               /* stba stha stwa stxa stda */
    0x1d, 0x1f, 0x3c, 0x3e,                     /* ldstuba swapa casa casxa */
    0x30, 0x33, 0x32, 0x34, 0x37, 0x36,         /* ldfa lddfa ldqfa stfa stdfa stqfa */
};

static void trial(uint32_t insn, uint64_t at, uint8_t asi)
{
    uint32_t *slot = code[trials];

    if (trials == MAX_TRIALS) {
        fail("traps", ": too many trials");
    }
    slot[0] = insn;
    slot[1] = insn == JUMP ? NOP : TA_7F;       /* the delay slot of a jump */
    slot[2] = TA_7F;
    slot[3] = NOP;
    asis[trials] = asi;
    address[trials++] = at;
}

static uint32_t memory(uint32_t op3, uint8_t asi)
{
    uint32_t rd = op3 >= 0x20 && op3 != 0x3c && op3 != 0x3e ? 0 : REG_DATA;

    return 3u << 30 | rd << 25 | op3 << 19 | REG_ADDRESS << 14 | (op3 & 0x10 ? asi << 5 : 0);
}

static void every_asi(uint64_t at)
{
    for (size_t i = 0; i < sizeof(memory_op3); i++) {
        for (unsigned int asi = 0; asi < 256; asi++) {
            trial(memory(memory_op3[i], asi), at, asi);
        }
    }
}

static void addresses(void)
{
    static const uint64_t wrong[] = {
        1, 2, 4, 8,                             /* from an aligned one */
    };
    static const uint64_t absolute[] = {
        0x40000000, 0xfffff80040000000,         /* no translation */
        0x0000080000000000, 0xfffff7ffffffffc0, 0x4000000000000000, 0x8000000000000000,
    };

    for (size_t i = 0; i < sizeof(memory_op3); i++) {
        for (size_t k = 0; k < sizeof(wrong) / 8; k++) {
            trial(memory(memory_op3[i], 0x80), (uint64_t)where + wrong[k], 0x80);
        }
        for (size_t k = 0; k < sizeof(absolute) / 8; k++) {
            trial(memory(memory_op3[i], 0x80), absolute[k], 0x80);
        }
    }
    for (size_t k = 0; k < sizeof(absolute) / 8; k++) {
        trial(JUMP, absolute[k], 0x80);
    }
    for (size_t k = 0; k < 2; k++) {
        trial(JUMP, (uint64_t)where + wrong[k], 0x80);
    }
}

static void opcodes(void)
{
    for (uint32_t op2 = 0; op2 < 8; op2++) {    /* not taken, if it is a branch */
        trial(0x00000002 | op2 << 22, 0, 0x80);
    }
    for (uint32_t op3 = 0; op3 < 64; op3++) {   /* op3 %o0, 1, %o2 */
        trial(0x80002001 | REG_DATA << 25 | op3 << 19 | REG_ADDRESS << 14, (uint64_t)where, 0x80);
    }
    for (uint32_t op3 = 0; op3 < 64; op3++) {   /* op3 [%o0], %o2 */
        trial(memory(op3, 0x80), (uint64_t)where, 0x80);
    }
    for (uint32_t op3 = 0x34; op3 < 0x37; op3++) {  /* FPop1, FPop2, IMPDEP1 */
        for (uint32_t opf = 0; opf < 512; opf++) {
            trial(0x80000000 | op3 << 19 | opf << 5, 0, 0x80);
        }
    }
    for (uint32_t asr = 0; asr < 32; asr++) {   /* rd, wr, rdpr, wrpr */
        trial(0x81400000 | REG_DATA << 25 | asr << 14, 0, 0x80);
        trial(0x81802000 | asr << 25, 0, 0x80);
        trial(0x81500000 | REG_DATA << 25 | asr << 14, 0, 0x80);
        trial(0x81902000 | asr << 25, 0, 0x80);
    }
    for (uint32_t fcn = 0; fcn < 32; fcn++) {   /* done, retry; saved, restored */
        trial(0x81f00000 | fcn << 25, 0, 0x80);
        trial(0x81880000 | fcn << 25, 0, 0x80);
    }
}

static void run_trials(struct vcpu *me)
{
    for (unsigned int i = 0; i < trials; i++) {
        struct probe *probe = &probes[me->index];
        uint64_t sfsr;

        probe->pc = (uint64_t)code[i];
        probe->tstate = (PSTATE_PEF | PSTATE_IE | (privileged ? PSTATE_PRIV : 0))
                        << TSTATE_PSTATE_SHIFT;
        probe->ticks = 0;
        for (int r = 0; r < 32; r++) {
            probe->regs[r] = 0;
        }
        probe->regs[REG_ADDRESS] = address[i];
        run_probe(probe);
        sfsr = probe->sfsr;
        results[0][i * 2] = probe->tt >> 8;
        results[0][i * 2 + 1] = probe->tt;
        results[1][i] = sfsr >> 7 & 0x7f;
        results[2][i] = (sfsr & 1) | (sfsr >> 1 & 2) | (sfsr >> 1 & 4) |
                        ((sfsr >> 16 & 0xff) == asis[i]) << 3 |
                        (probe->sfar == address[i]) << 4;
        me->count++;
    }
}

bool program(void)
{
    sweep = parameter("sweep", 0, 0, 2);
    privileged = parameter("privileged", 0, 0, 1);
    if (sweep == 0) {
        every_asi((uint64_t)where + parameter("offset", 0, 0, 63));
    } else if (sweep == 1) {
        addresses();
    } else {
        opcodes();
    }
    run_on_all(run_trials);
    report("trials", trials);
    report_hex("tt", results[0], trials * 2);
    report_hex("ft", results[1], trials);
    report_hex("record", results[2], trials);
    return true;
}
