/*
 * Translations that must not be mixed up: several processes have the same
 * virtual addresses with different contents, data and code, and take turns,
 * so that an entry of a TLB that outlives its address space is seen at once.
 *   mmustress.processes=6   mmustress.rounds=40   mmustress.pages=96
 * A token goes round the processes through pipes.  Who has it checks, and then
 * changes, at the same addresses as all others:
 *   data      every page of a private area, in an order that differs by round,
 *             of more pages than a TLB has entries;
 *   kernel    the same pages as the kernel sees them, written into a pipe and
 *             read back from it (accesses of the kernel as if user);
 *   code      a function that returns a number of this process and round,
 *             in a page that is written anew, or mapped anew, each round;
 *   windows   a recursion deeper than there are register windows, across the
 *             switch to the other processes;
 *   alias     one page of a file mapped at two addresses;
 *   faults    a page without access, one that is read-only, code in a page
 *             that may not be executed (or is gone), a no-fault load from a
 *             page that is not there.
 * "checks" counts what was as expected:
 *   processes * (rounds * (pages + pages/8 rounded up + 13) + rounds/2 - 1)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* only: sparc64 */

#include "workload.h"
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#define DATA ((volatile uint64_t *)0x10000000000ul)
#define CODE ((uint32_t *)0x10080000000ul)
#define DEPTH 24                /* UltraSPARC has 8 windows */

typedef int (*Function)(void);

static int processes, rounds, pages, self, *token_in, *token_out;
static long page, checks, wrong;
static sigjmp_buf escape;
static volatile uint64_t *alias[2];

static void check(uint64_t seen, uint64_t expected)
{
    if (seen == expected) {
        checks++;
    } else if (wrong++ == 0) {
        printf("mmustress: process %d: %#lx instead of %#lx\n", self,
               (unsigned long)seen, (unsigned long)expected);
        fflush(stdout);
    }
}

static void must(bool fine, const char *what)
{
    if (!fine) {
        die(1, "%s: %s FAILED", what, strerror(errno));
    }
}

static uint64_t pattern(int process, int round, int n)
{
    return ((uint64_t)(process + 1) << 48) + ((uint64_t)round << 32) +
           n * 0x9e3779b1u;
}

static volatile uint64_t *data(int n)
{
    return DATA + n * (page / sizeof(uint64_t)) + n % 64;
}

/* One of the orders of all pages: steps prime to their number */
static int nth(int n, int round)
{
    static const int steps[] = {1, 5, 7, 11, 13, 17, 19, 23};
    long step = steps[round % 8];

    return n * (pages % step ? step : 1) % pages;
}

static void use_data(int round)
{
    for (int i = 0; i < pages; i++) {
        int n = nth(i, round);

        check(*data(n), round ? pattern(self, round - 1, n) : 0);
        *data(n) = pattern(self, round, n);
    }
}

static void use_kernel(int round)
{
    uint64_t seen;
    int way[2];

    must(!pipe(way), "pipe");
    for (int i = 0; i < pages; i += 8) {
        int n = nth(i, round + 1);

        must(write(way[1], (void *)data(n), sizeof(seen)) == sizeof(seen),
             "write");
        *data(n) = 0;
        must(read(way[0], (void *)data(n), sizeof(seen)) == sizeof(seen),
             "read");
        check(*data(n), pattern(self, round, n));
    }
    close(way[0]);
    close(way[1]);
}

/* retl; mov number, %o0 */
static void write_code(int number)
{
    CODE[0] = 0x81c3e008;
    CODE[1] = 0x90102000 | (number & 0xfff);
    __asm__ volatile("membar #StoreStore\n\tflush %0" :: "r"(CODE) : "memory");
}

static void map_code(void)
{
    must(mmap(CODE, page, PROT_READ | PROT_WRITE | PROT_EXEC,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == CODE,
         "mmap");
}

static int number(int round)
{
    return (self * 67 + round * 3) & 0xfff;
}

static void use_code(int round)
{
    if (round) {
        check(((Function)CODE)(), number(round - 1));
    }
    switch (round % 4) {
    case 1:                     /* another page at the same address */
        must(!munmap(CODE, page), "munmap");
        /* fall through */
    case 0:
        map_code();
        break;
    case 2:                     /* the same page, by way of no access */
        must(!mprotect(CODE, page, PROT_NONE), "mprotect");
        must(!mprotect(CODE, page, PROT_READ | PROT_WRITE | PROT_EXEC),
             "mprotect");
        break;
    }
    write_code(number(round));
    check(((Function)CODE)(), number(round));
}

static void on_fault(int signal)
{
    siglongjmp(escape, 1);
}

static int load(void)
{
    return *data(0);
}

static int store(void)
{
    *data(0) = 1;
    return 0;
}

static int call(void)
{
    return ((Function)CODE)();
}

static bool faults(Function what)
{
    if (sigsetjmp(escape, 1)) {
        return true;
    }
    what();
    return false;
}

/* Load that must not fault: through the alternate space "primary, no fault" */
static uint64_t load_no_fault(volatile uint64_t *from)
{
    uint64_t value;

    __asm__ volatile("ldxa [%1] 0x82, %0" : "=r"(value) : "r"(from));
    return value;
}

static void use_faults(int round)
{
    void *first = (void *)DATA;

    must(!mprotect(first, page, PROT_NONE), "mprotect");
    check(faults(load), true);
    must(!mprotect(first, page, PROT_READ), "mprotect");
    check(faults(load), false);
    check(faults(store), true);
    check(load_no_fault(data(0)), pattern(self, round, 0));
    must(!mprotect(first, page, PROT_READ | PROT_WRITE), "mprotect");
    check(*data(0), pattern(self, round, 0));

    check(faults(call), false);
    must(!mprotect(CODE, page, PROT_NONE), "mprotect");
    check(faults(call), true);
    if (round % 2) {
        must(!munmap(CODE, page), "munmap");
        check(faults(call), true);
        map_code();
        write_code(number(round));
    } else {
        must(!mprotect(CODE, page, PROT_READ | PROT_WRITE | PROT_EXEC),
             "mprotect");
    }
    check(((Function)CODE)(), number(round));
    check(load_no_fault(DATA + pages * (page / sizeof(uint64_t))), 0);
}

static void use_alias(int round)
{
    alias[round % 2][1] = pattern(self, round, 1);
    check(alias[!(round % 2)][1], pattern(self, round, 1));
}

static void pass_token(void)
{
    char byte = 0;

    must(write(token_out[1], &byte, 1) == 1, "write");
    must(read(token_in[0], &byte, 1) == 1, "read");
}

/* The others run while the windows of all levels are in use. */
__attribute__((noinline))
static uint64_t recurse(int depth, uint64_t sum)
{
    volatile uint64_t mine = sum * 31 + depth;

    if (depth == 0) {
        pass_token();
        return mine;
    }
    return recurse(depth - 1, mine) + mine;
}

static uint64_t recursion_result(int depth, uint64_t sum)
{
    uint64_t all = 0;

    for (; depth >= 0; depth--) {
        sum = sum * 31 + depth;
        all += sum;
    }
    return all;
}

static long checks_of_one(void)
{
    return rounds * (pages + (pages + 7) / 8 + 13l) + rounds / 2 - 1;
}

static int one_process(void)
{
    struct sigaction action = {.sa_handler = on_fault};
    FILE *file = tmpfile();
    char byte;

    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    must(file && !ftruncate(fileno(file), page), "file");
    for (int i = 0; i < 2; i++) {
        alias[i] = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED,
                        fileno(file), 0);
        must(alias[i] != MAP_FAILED, "mmap");
    }
    must(read(token_in[0], &byte, 1) == 1, "read");
    for (int round = 0; round < rounds; round++) {
        use_data(round);
        use_kernel(round);
        use_code(round);
        use_alias(round);
        use_faults(round);
        check(recurse(DEPTH, self + round), recursion_result(DEPTH, self + round));
    }
    must(write(token_out[1], &byte, 1) == 1, "write");
    return wrong || checks != checks_of_one();
}

int main(void)
{
    int (*pipes)[2], failed = 0, status, left;
    pid_t *children;
    char byte = 0;

    workload_name = "mmustress";
    processes = parameter("processes", 6, 2, 60);
    rounds = parameter("rounds", 40, 1, 100000);
    pages = parameter("pages", 96, 2, 100000);
    page = sysconf(_SC_PAGESIZE);
    pipes = calloc(processes, sizeof(*pipes));
    children = calloc(processes, sizeof(*children));
    must(mmap((void *)DATA, pages * page, PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == DATA, "mmap");
    for (int i = 0; i < processes; i++) {
        must(!pipe(pipes[i]), "pipe");
    }
    fflush(stdout);
    for (self = 0; self < processes; self++) {
        token_in = pipes[self];
        token_out = pipes[(self + 1) % processes];
        children[self] = fork();
        must(children[self] >= 0, "fork");
        if (children[self] == 0) {
            _exit(one_process());
        }
    }
    must(write(pipes[0][1], &byte, 1) == 1, "write");
    for (left = processes; left; left--) {
        if (wait(&status) < 0 || status != 0) {
            /* The token may be lost: nobody shall wait for it. */
            for (int i = 0; !failed && i < processes; i++) {
                kill(children[i], SIGKILL);
            }
            failed++;
        }
    }
    printf("mmustress: processes=%d checks=%ld %s\n", processes,
           failed ? 0 : processes * checks_of_one(), failed ? "FAILED" : "ok");
    return failed != 0;
}
