/* only: sparc64 x86_64 */
/*
 * Random instructions in processes of an ordinary user.
 *   fuzz.seed=1       of all random numbers
 *   fuzz.children=50  processes, one after another
 *   fuzz.batches=200  of instructions, in each process
 *   fuzz.words=32     of a batch
 *   fuzz.copies=1     of all this at the same time; 0: one a processor
 *
 * A batch ends by a signal, which the process handles if it still can.  How many
 * signals there were is not reported, because time is in it: what counts is that
 * everything else goes on.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "workload.h"
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#ifdef __sparc__
#include "random-sparc.h"
#else
#include "random-x86.h"
#endif

enum { USER = 1000, SANDBOX = 0x20000, MAX_WORDS = 4096 };

static long seed, children, batches, words;
static sigjmp_buf next_batch;
static uint64_t registers[32];

static void ended(int signal)
{
    siglongjmp(next_batch, signal);
}

#ifdef __sparc__
static void call(void *code)
{
    register uint64_t *r asm("g1") = registers;
    register void *pc asm("g2") = code;

    asm volatile("ldx [%0 + 8], %%g3\n\tldx [%0 + 16], %%g4\n\tldx [%0 + 24], %%g5\n\t"
                 "ldx [%0 + 32], %%o0\n\tldx [%0 + 40], %%o1\n\tldx [%0 + 48], %%o2\n\t"
                 "ldx [%0 + 56], %%o3\n\tldx [%0 + 64], %%o4\n\tldx [%0 + 72], %%o5\n\t"
                 "ldx [%0 + 80], %%l0\n\tldx [%0 + 88], %%l1\n\tldx [%0 + 96], %%l2\n\t"
                 "ldx [%0 + 104], %%l3\n\tldx [%0 + 112], %%l4\n\tldx [%0 + 120], %%l5\n\t"
                 "ldx [%0 + 128], %%l6\n\tldx [%0 + 136], %%l7\n\tldx [%0 + 144], %%i0\n\t"
                 "ldx [%0 + 152], %%i1\n\tldx [%0 + 160], %%i2\n\tldx [%0 + 168], %%i3\n\t"
                 "jmp %1\n\t ldx [%0 + 176], %%g1"
                 : : "r"(r), "r"(pc) : "memory");
}
#else
static void call(void *code)
{
    asm volatile("push %0\n\tmov %1, %%rax\n\tmov 8(%%rax), %%rbx\n\tmov 16(%%rax), %%rcx\n\t"
                 "mov 24(%%rax), %%rdx\n\tmov 32(%%rax), %%rsi\n\tmov 40(%%rax), %%rdi\n\t"
                 "mov 48(%%rax), %%rbp\n\tmov 56(%%rax), %%r8\n\tmov 64(%%rax), %%r9\n\t"
                 "mov 72(%%rax), %%r10\n\tmov 80(%%rax), %%r11\n\tmov 88(%%rax), %%r12\n\t"
                 "mov 96(%%rax), %%r13\n\tmov 104(%%rax), %%r14\n\tmov 112(%%rax), %%r15\n\t"
                 "mov (%%rax), %%rax\n\tret"
                 : : "r"(code), "r"(registers) : "memory");
}
#endif

/* Not a pointer into the process but for the sandbox, most often */
static uint64_t random_value(uint64_t *state, uint64_t sandbox)
{
    uint64_t bits = next_random(state);

    switch (bits & 15) {
    case 0:
        return bits >> 4;
    case 1:
        return bits >> 4 & 0xff;
    case 2:
        return (uint64_t)-1 << (bits >> 4 & 63);
    case 3:
        return sandbox + (bits >> 4 & 0xffff);
    case 4:
        return bits >> 4 & 0xffffffffffful;
    default:
        return sandbox + 0x10000 + (bits >> 4 & 0xffc0);
    }
}

/* Who can do nothing to others, wherever in this program he gets */
static void ordinary_user(void)
{
    struct rlimit processes = { 1, 1 }, core = { 0, 0 }, time = { 2, 2 }, space = { 64 << 20, 64 << 20 };

    if (setrlimit(RLIMIT_NPROC, &processes) || setrlimit(RLIMIT_CORE, &core) ||
        setrlimit(RLIMIT_CPU, &time) || setrlimit(RLIMIT_AS, &space) || setgid(USER) || setuid(USER)) {
        _exit(100);
    }
    for (int fd = 0; fd < 256; fd++) {
        close(fd);
    }
}

static void child(long number)
{
    static const int signals[] = {
        SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGALRM, SIGSYS,
#ifdef SIGEMT
        SIGEMT,
#endif
    };
    static char signal_stack[65536];
    stack_t stack = { .ss_sp = signal_stack, .ss_size = sizeof(signal_stack) };
    struct sigaction action = { .sa_handler = ended, .sa_flags = SA_ONSTACK };
    struct itimerval soon = { { 0, 1000 }, { 0, 1000 } };
    void *sandbox = mmap(NULL, SANDBOX, PROT_READ | PROT_WRITE | PROT_EXEC,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    volatile long batch = 0;                    /* survives siglongjmp() */

    if (sandbox == MAP_FAILED || sigaltstack(&stack, NULL)) {
        _exit(101);
    }
    ordinary_user();
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        sigaction(signals[i], &action, NULL);
    }
    sigsetjmp(next_batch, 1);
    while (batch++ < batches) {
        uint64_t state = (uint64_t)seed << 44 ^ (uint64_t)number << 24 ^ batch;

        random_code(&state, sandbox, words);
        for (int i = 0; i < 32; i++) {
            registers[i] = random_value(&state, (uint64_t)(uintptr_t)sandbox);
        }
        setitimer(ITIMER_REAL, &soon, NULL);
        call(sandbox);
    }
    _exit(0);
}

static volatile pid_t running;

static void too_long(int signal)
{
    kill(running, SIGKILL);
}

static void work(char *result, size_t size)
{
    struct itimerval limit = { .it_value = { 0, 500000 } }, never = { { 0, 0 } };
    struct sigaction action = { .sa_handler = too_long };
    long ended_well = 0, broken = 0;

    sigaction(SIGALRM, &action, NULL);
    for (long i = 0; i < children; i++) {
        pid_t pid = fork();
        int status = 0;

        if (pid < 0) {
            die(1, "fork: %s FAILED", strerror(errno));
        }
        if (pid == 0) {
            child(i);
        }
        running = pid;
        setitimer(ITIMER_REAL, &limit, NULL);   /* it may have found a system call */
        while (waitpid(pid, &status, 0) != pid) {
            if (errno != EINTR) {
                die(1, "wait: %s FAILED", strerror(errno));
            }
        }
        setitimer(ITIMER_REAL, &never, NULL);
        broken += WIFEXITED(status) && (WEXITSTATUS(status) == 100 || WEXITSTATUS(status) == 101);
        ended_well++;
    }
    snprintf(result, size, "children=%ld not_tried=%ld", ended_well, broken);
}

int main(void)
{
    workload_name = "fuzz";
    seed = parameter("seed", 1, 0, 0x7fffffff);
    children = parameter("children", 50, 1, 1000000000);
    batches = parameter("batches", 200, 1, 1000000);
    words = parameter("words", 32, 1, MAX_WORDS);
    return run_copies(work);
}
