/*
 * Linux: processes, one on each CPU and one that goes from CPU to CPU, read
 * CLOCK_MONOTONIC, with and without a system call, and hand it to each other.
 *
 * Prints, in ns: "back" by how much a process's own time stepped back at most,
 * "between" by how much it was behind what another had read before, "ahead" how
 * far it was at most from one reading to the next, and "drift" by how much its
 * distance from %tick changed at least: %tick is read before and after, so that
 * each reading leaves a range for the distance.  "hz" is what Linux was told of
 * how fast %tick is, in Hz.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <inttypes.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CPUS = 64 };

typedef struct Process {
    int64_t back, between, ahead, last, drift;
} Process;

static struct Shared {
    int64_t handed;             /* atomic */
    int ready;                  /* atomic */
    Process process[MAX_CPUS + 1];
} *shared;

static uint64_t hz;                     /* of %tick */

static int64_t now(int number)
{
    struct timespec t;

    if (number % 2) {
        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
    } else {
        clock_gettime(CLOCK_MONOTONIC, &t);
    }
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

/* Of the first processor; the others are the same. */
static uint64_t tick_hz(void)
{
    FILE *file = fopen("/proc/cpuinfo", "r");
    char line[200];
    uint64_t hz = 0;

    while (file && !hz && fgets(line, sizeof(line), file)) {
        sscanf(line, "Cpu0ClkTck : %" SCNx64, &hz);
    }
    if (!hz) {
        puts("clocks: no Cpu0ClkTck in /proc/cpuinfo");
        exit(1);
    }
    fclose(file);
    return hz;
}

/* In ns, by the processor */
static int64_t tick(void)
{
    uint64_t value;

    __asm__ volatile("rd %%tick, %0" : "=r"(value));
    return (unsigned __int128)(value & INT64_MAX) * 1000000000 / hz;
}

static void run_on(int cpu)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof(one), &one)) {
        perror("sched_setaffinity");
        _exit(1);
    }
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void compare(Process *me, int cpu, int cpus, int rounds)
{
    int64_t most = INT64_MAX, least = INT64_MIN;       /* %tick is ahead */

    if (cpu < cpus) {
        run_on(cpu);
    }
    __atomic_fetch_add(&shared->ready, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&shared->ready, __ATOMIC_SEQ_CST) <= cpus) {
        sched_yield();
    }
    for (int i = 0; i < rounds; i++) {
        int64_t theirs, mine, before;

        if (cpu == cpus && i % 8 == 0) {
            run_on(i / 8 % cpus);
        }
        theirs = __atomic_load_n(&shared->handed, __ATOMIC_SEQ_CST);
        before = tick();
        mine = now(i);
        least = larger(least, before - mine);
        most = -larger(-most, mine - tick());
        if (i) {
            me->back = larger(me->back, me->last - mine);
            me->ahead = larger(me->ahead, mine - me->last);
        }
        me->between = larger(me->between, theirs - mine);
        me->last = mine;
        __atomic_store_n(&shared->handed, mine, __ATOMIC_SEQ_CST);
    }
    me->drift = larger(0, least - most);
}

int main(int argc, char **argv)
{
    int cpus = sysconf(_SC_NPROCESSORS_ONLN);
    Process all = { 0 };

    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || cpus > MAX_CPUS) {
        return 1;
    }
    hz = tick_hz();
    for (int i = 0; i <= cpus; i++) {
        if (!fork()) {
            compare(&shared->process[i], i, cpus, atoi(argv[1]));
            _exit(0);
        }
    }
    while (wait(NULL) > 0) {
        continue;
    }
    for (int i = 0; i <= cpus; i++) {
        Process *p = &shared->process[i];

        all.back = larger(all.back, p->back);
        all.between = larger(all.between, p->between);
        all.ahead = larger(all.ahead, p->ahead);
        all.drift = larger(all.drift, p->drift);
    }
    printf("clocks: back=%lld between=%lld ahead=%lld drift=%lld hz=%lld\n",
           (long long)all.back, (long long)all.between, (long long)all.ahead,
           (long long)all.drift, (long long)hz);
    return 0;
}
