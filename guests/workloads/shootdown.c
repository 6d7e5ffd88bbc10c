/*
 * TLB-shootdown storm: a thread a processor, all in one address space, each
 * maps, writes, protects, drops and unmaps memory, so that every step has to
 * be made known to all processors that have the mappings in their TLBs.
 *   shootdown.rounds=20   shootdown.pages=8   shootdown.threads=0 (one a processor)
 * A round of a thread: map; write a pattern; make it read-only and read it;
 * make it writable and give back every second page (which reads as zero
 * then); look at the page that the next thread keeps mapped; membarrier
 * (where the kernel has it); unmap.  Every value read is checked.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "workload.h"
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <linux/membarrier.h>

typedef struct Thread {
    pthread_t id;
    int index;
    long checks;                /* words read that were as expected */
    long wrong;
} Thread;

static int threads, rounds, pages;
static long page_words;
static bool has_membarrier;
static uint64_t **kept;         /* a page of each thread, mapped throughout */

static uint64_t pattern(uint64_t thread, uint64_t round, uint64_t word)
{
    return (thread << 48) + (round << 32) + word * 0x9e3779b1u;
}

static void check(Thread *thread, uint64_t seen, uint64_t expected)
{
    if (seen == expected) {
        thread->checks++;
    } else {
        thread->wrong++;
    }
}

static void must(bool fine, const char *what)
{
    if (!fine) {
        die(1, "%s: %s FAILED", what, strerror(errno));
    }
}

static void one_round(Thread *thread, int round)
{
    size_t bytes = pages * page_words * sizeof(uint64_t);
    long words = pages * page_words, i, page;
    uint64_t *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    must(map != MAP_FAILED, "mmap");
    for (i = 0; i < words; i += 64) {
        map[i] = pattern(thread->index, round, i);
    }
    must(!mprotect(map, bytes, PROT_READ), "mprotect");
    for (i = 0; i < words; i += 64) {
        check(thread, map[i], pattern(thread->index, round, i));
    }
    must(!mprotect(map, bytes, PROT_READ | PROT_WRITE), "mprotect");
    for (page = 0; page < pages; page += 2) {
        must(!madvise(map + page * page_words, page_words * sizeof(uint64_t),
                      MADV_DONTNEED), "madvise");
        check(thread, map[page * page_words], 0);
        map[page * page_words] = round;
        check(thread, map[page * page_words], round);
    }
    i = (thread->index + 1) % threads;
    check(thread, kept[i][0], pattern(i, 0, 0));
    if (has_membarrier) {
        must(!syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0),
             "membarrier");
    }
    must(!munmap(map, bytes), "munmap");
}

static void *run(void *opaque)
{
    Thread *thread = opaque;

    for (int round = 0; round < rounds; round++) {
        one_round(thread, round);
    }
    return NULL;
}

int main(void)
{
    long checks = 0, wrong = 0, expected;
    Thread *all;

    workload_name = "shootdown";
    rounds = parameter("rounds", 20, 1, 1000000);
    pages = parameter("pages", 8, 1, 1024);
    threads = parameter("threads", 0, 0, 1024);
    if (threads == 0) {
        threads = processors();
    }
    page_words = sysconf(_SC_PAGESIZE) / sizeof(uint64_t);
    has_membarrier =
        !syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);

    all = calloc(threads, sizeof(*all));
    kept = calloc(threads, sizeof(*kept));
    for (int i = 0; i < threads; i++) {
        kept[i] = mmap(NULL, page_words * sizeof(uint64_t),
                       PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                       -1, 0);
        must(kept[i] != MAP_FAILED, "mmap");
        kept[i][0] = pattern(i, 0, 0);
    }
    for (int i = 0; i < threads; i++) {
        all[i].index = i;
        must(!pthread_create(&all[i].id, NULL, run, &all[i]), "pthread_create");
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(all[i].id, NULL);
        checks += all[i].checks;
        wrong += all[i].wrong;
    }
    /* a round: a word in 64 of each page, two a page dropped, one kept */
    expected = (long)threads * rounds *
               (pages * page_words / 64 + (pages + 1) / 2 * 2 + 1);
    printf("shootdown: threads=%d rounds=%d pages=%d pagesize=%ld checks=%ld "
           "wrong=%ld membarrier=%s %s\n", threads, rounds, pages,
           page_words * 8, checks, wrong, has_membarrier ? "yes" : "no",
           wrong || checks != expected ? "FAILED" : "ok");
    return wrong || checks != expected;
}
