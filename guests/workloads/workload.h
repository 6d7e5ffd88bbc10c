/*
 * What the workloads have in common: parameters from the kernel command line
 * (NAME.parameter=value), copies on several processors, the result line.
 *
 * Every workload ends with one line "NAME: key=value ... ok" (or FAILED) and
 * exit status 0 (or 1; 2 for a parameter that is not possible).  The values
 * depend on the parameters alone, never on timing, so that a test can work
 * them out independently.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef WORKLOAD_H
#define WORKLOAD_H

#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *workload_name;

__attribute__((noreturn, format(printf, 2, 3)))
static inline void die(int status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    printf("%s: ", workload_name);
    vprintf(format, args);
    printf("\n");
    va_end(args);
    fflush(stdout);
    _exit(status);
}

/* NAME.key=value of the kernel command line, the last one if there are more */
static inline long parameter(const char *key, long preset, long min, long max)
{
    static char line[8192];
    char wanted[64], *word, *rest, *end;
    long value = preset;
    FILE *file = fopen("/proc/cmdline", "r");

    if (!file) {
        return preset;
    }
    line[fread(line, 1, sizeof(line) - 1, file)] = 0;
    fclose(file);
    snprintf(wanted, sizeof(wanted), "%s.%s=", workload_name, key);
    for (word = strtok_r(line, " \n", &rest); word;
         word = strtok_r(NULL, " \n", &rest)) {
        if (strncmp(word, wanted, strlen(wanted))) {
            continue;
        }
        word += strlen(wanted);
        errno = 0;
        value = strtol(word, &end, 10);
        if (errno || end == word || *end || value < min || value > max) {
            die(2, "%s%s is not possible: %ld to %ld", wanted, word, min, max);
        }
    }
    return value;
}

/* Processors that are online; this workload may run on all of them. */
static inline int processors(void)
{
    return sysconf(_SC_NPROCESSORS_ONLN);
}

/* The nth processor that is online */
static inline void run_on(int n)
{
    cpu_set_t all, one;
    int cpu;

    if (sched_getaffinity(0, sizeof(all), &all)) {
        die(1, "sched_getaffinity: %s", strerror(errno));
    }
    for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &all) && n-- == 0) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            if (sched_setaffinity(0, sizeof(one), &one)) {
                die(1, "sched_setaffinity: %s", strerror(errno));
            }
            return;
        }
    }
    die(1, "there is no such processor");
}

/*
 * Run work() in NAME.copies processes at once (0: one a processor), each of
 * which prints the same result, and print that result once.
 */
static inline int run_copies(void (*work)(char *result, size_t size))
{
    enum { RESULT = 256 };
    long copies = parameter("copies", 1, 0, 1024);
    char first[RESULT], other[RESULT];
    bool ok = true;
    int (*pipes)[2];
    long i;

    if (copies == 0) {
        copies = processors();
    }
    pipes = calloc(copies, sizeof(*pipes));
    for (i = 0; i < copies; i++) {
        if (pipe(pipes[i])) {
            die(1, "pipe: %s", strerror(errno));
        }
        fflush(stdout);
        switch (fork()) {
        case -1:
            die(1, "fork: %s", strerror(errno));
        case 0:
            memset(other, 0, RESULT);
            work(other, RESULT);
            _exit(write(pipes[i][1], other, RESULT) != RESULT);
        }
        close(pipes[i][1]);
    }
    for (i = 0; i < copies; i++) {
        if (read(pipes[i][0], i ? other : first, RESULT) != RESULT) {
            die(1, "copy %ld ended without a result FAILED", i);
        }
        ok &= !i || !strcmp(first, other);
    }
    while (wait(NULL) > 0) {
    }
    printf("%s: copies=%ld %s %s\n", workload_name, copies, first,
           ok ? "ok" : "FAILED");
    return !ok;
}

#endif
