/*
 * Fork storm: every processor forks and waits, children end at once.
 *   forkstorm.children=50 (a processor)   forkstorm.batch=4 (at a time)
 * Child i of parent p ends with exit status (7 i + p) mod 128, after it has
 * written to its copy of a page of the parent's; the parent checks both.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "workload.h"

enum { MAX_BATCH = 64 };

static volatile int page[1024];     /* copied on write in every child */

static int child_status(int parent, int child)
{
    return (7 * child + parent) % 128;
}

/* Exit status of a parent: 0 when every child ended as it should */
static int storm(int parent, int children, int batch)
{
    pid_t pid[MAX_BATCH];
    int done, i, n, status;

    for (done = 0; done < children; done += n) {
        n = children - done < batch ? children - done : batch;
        for (i = 0; i < n; i++) {
            pid[i] = fork();
            if (pid[i] < 0) {
                return 1;
            }
            if (pid[i] == 0) {
                page[(done + i) & 1023] += child_status(parent, done + i);
                _exit(page[(done + i) & 1023]);
            }
        }
        for (i = 0; i < n; i++) {
            if (waitpid(pid[i], &status, 0) != pid[i] || !WIFEXITED(status) ||
                WEXITSTATUS(status) != child_status(parent, done + i) ||
                page[(done + i) & 1023] != 0) {
                return 1;
            }
        }
    }
    return 0;
}

int main(void)
{
    int children, batch, parents, i, status, failed = 0;

    workload_name = "forkstorm";
    children = parameter("children", 50, 1, 1000000);
    batch = parameter("batch", 4, 1, MAX_BATCH);
    parents = processors();

    for (i = 0; i < parents; i++) {
        switch (fork()) {
        case -1:
            die(1, "fork: %s", strerror(errno));
        case 0:
            _exit(storm(i, children, batch));
        }
    }
    for (i = 0; i < parents; i++) {
        failed += wait(&status) < 0 || status != 0;
    }
    printf("forkstorm: processors=%d children=%ld failed=%d %s\n", parents,
           (long)parents * children, failed, failed ? "FAILED" : "ok");
    return failed != 0;
}
