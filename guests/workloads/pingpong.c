/*
 * Pipe ping-pong: pairs of processes on two processors each send a number to
 * and fro, adding one each time; every turn wakes a sleeper on another
 * processor.
 *   pingpong.rounds=500
 * With n processors there are n/2 pairs, processor i with i + n/2; with one
 * processor both ends are on it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "workload.h"

static void end(int in, int out, int processor, int rounds, bool serves)
{
    uint32_t ball = 0, expected = serves ? 1 : 0;

    run_on(processor);
    for (int i = 0; i < rounds; i++) {
        if (serves) {
            ball++;
            if (write(out, &ball, sizeof(ball)) != sizeof(ball)) {
                _exit(1);
            }
        }
        if (read(in, &ball, sizeof(ball)) != sizeof(ball) ||
            ball != ++expected) {
            _exit(1);
        }
        expected++;
        if (!serves) {
            ball++;
            if (write(out, &ball, sizeof(ball)) != sizeof(ball)) {
                _exit(1);
            }
        }
    }
    _exit(0);
}

static void start(int in, int out, int processor, int rounds, bool serves)
{
    switch (fork()) {
    case -1:
        die(1, "fork: %s", strerror(errno));
    case 0:
        end(in, out, processor, rounds, serves);
    }
}

int main(void)
{
    int n = processors(), pairs = n > 1 ? n / 2 : 1;
    int there[2], back[2], rounds, status, failed = 0;

    workload_name = "pingpong";
    rounds = parameter("rounds", 500, 1, 100000000);
    for (int i = 0; i < pairs; i++) {
        if (pipe(there) || pipe(back)) {
            die(1, "pipe: %s", strerror(errno));
        }
        start(back[0], there[1], i, rounds, true);
        start(there[0], back[1], n > 1 ? i + pairs : 0, rounds, false);
        close(there[0]);
        close(there[1]);
        close(back[0]);
        close(back[1]);
    }
    while (wait(&status) > 0) {
        failed += status != 0;
    }
    printf("pingpong: pairs=%d rounds=%d messages=%ld failed=%d %s\n", pairs,
           rounds, 2L * pairs * rounds, failed, failed ? "FAILED" : "ok");
    return failed != 0;
}
