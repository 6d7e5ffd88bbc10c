/*
 * System calls that do next to nothing: one-byte reads from /dev/zero and
 * one-byte writes to /dev/null in turn.
 *   syscalls.pairs=100000
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "workload.h"
#include <fcntl.h>

int main(void)
{
    int in = open("/dev/zero", O_RDONLY), out = open("/dev/null", O_WRONLY);
    long pairs, reads = 0, writes = 0;
    char byte = 1;
    bool ok;

    workload_name = "syscalls";
    pairs = parameter("pairs", 100000, 1, 1000000000);
    if (in < 0 || out < 0) {
        die(1, "/dev/zero and /dev/null: %s", strerror(errno));
    }
    for (long i = 0; i < pairs; i++) {
        reads += read(in, &byte, 1) == 1 && byte == 0;
        writes += write(out, &byte, 1) == 1;
    }
    ok = reads == pairs && writes == pairs;
    printf("syscalls: reads=%ld writes=%ld %s\n", reads, writes,
           ok ? "ok" : "FAILED");
    return !ok;
}
