/*
 * FNV-1a over one 16-byte buffer, again and again; each hash goes back into
 * the buffer, the high half and the low half in turn.  A small working set
 * that recurs for ever and yet makes progress: a trap for spin detectors.
 *   hash16.rounds=2000000   hash16.copies=1 (0: one a processor)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* build: -O0 */
#include "workload.h"

static long rounds;

static void work(char *result, size_t size)
{
    uint8_t buffer[16];
    uint64_t hash = 0;

    for (int i = 0; i < 16; i++) {
        buffer[i] = i;
    }
    for (long round = 0; round < rounds; round++) {
        hash = 0xcbf29ce484222325;
        for (int i = 0; i < 16; i++) {
            hash = (hash ^ buffer[i]) * 0x100000001b3;
        }
        for (int i = 0; i < 8; i++) {
            buffer[(round & 1) * 8 + i] = hash >> (8 * i);
        }
    }
    snprintf(result, size, "rounds=%ld hash=%016llx", rounds,
             (unsigned long long)hash);
}

int main(void)
{
    workload_name = "hash16";
    rounds = parameter("rounds", 2000000, 1, 1L << 40);
    return run_copies(work);
}
