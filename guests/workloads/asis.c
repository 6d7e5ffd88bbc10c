/* only: sparc64 */
/*
 * A load and a store with each of the 256 ASIs, by an ordinary user: how many
 * are performed, and how many end by which signal.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "workload.h"
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

static sigjmp_buf next_trial;
static uint32_t word[16] __attribute__((aligned(64)));

static void caught(int signal)
{
    siglongjmp(next_trial, signal);
}

/* The instruction, [%o0] to or from %o1, and back */
static int attempt(uint32_t *code, uint32_t insn, int asi)
{
    int signal = sigsetjmp(next_trial, 1);

    if (!signal) {
        code[0] = insn | 9 << 25 | 8 << 14 | asi << 5;
        code[1] = 0x81c3e008;                   /* retl */
        code[2] = 0x01000000;                   /* nop */
        ((void (*)(void *, long))(uintptr_t)code)(word, 0);
    }
    return signal;
}

int main(void)
{
    static const int signals[] = { SIGILL, SIGSEGV, SIGBUS };
    static const uint32_t insns[] = { 0xc0800000, 0xc0a00000 };     /* lduwa, stwa */
    uint32_t *code = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int count[2][NSIG] = { { 0 } };

    workload_name = "asis";
    if (code == MAP_FAILED || setgid(1000) || setuid(1000)) {
        die(1, "%s FAILED", strerror(errno));
    }
    for (int i = 0; i < 3; i++) {
        signal(signals[i], caught);
    }
    for (int i = 0; i < 2; i++) {
        for (volatile int asi = 0; asi < 256; asi++) {
            count[i][attempt(code, insns[i], asi)]++;
        }
    }
    for (int i = 0; i < 2; i++) {
        printf("asis: %s performed=%d SIGILL=%d SIGSEGV=%d SIGBUS=%d\n", i ? "store" : "load",
               count[i][0], count[i][SIGILL], count[i][SIGSEGV], count[i][SIGBUS]);
    }
    printf("asis: ok\n");
    return 0;
}
