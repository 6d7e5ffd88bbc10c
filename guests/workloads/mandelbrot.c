/*
 * The Mandelbrot set, not optimised: two doubles in a small stack frame are
 * read and written for ever.  A trap for spin detectors.
 *   mandelbrot.size=96   mandelbrot.limit=500   mandelbrot.copies=1 (0: one a processor)
 * Points x = -2 + 2.5 i / size, y = -1.25 + 2.5 j / size; the result is how
 * many never leave the circle |z| = 2 within the limit, and the sum of all
 * iterations.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* build: -O0 */
#include "workload.h"

static long side, limit;

static long iterations(double cx, double cy)
{
    double x = 0, y = 0;
    long n;

    for (n = 0; n < limit && x * x + y * y <= 4; n++) {
        double next = x * x - y * y + cx;

        y = 2 * x * y + cy;
        x = next;
    }
    return n;
}

static void work(char *result, size_t size)
{
    long inside = 0, sum = 0;

    for (long j = 0; j < side; j++) {
        for (long i = 0; i < side; i++) {
            long n = iterations(-2 + 2.5 * i / side, -1.25 + 2.5 * j / side);

            inside += n == limit;
            sum += n;
        }
    }
    snprintf(result, size, "size=%ld limit=%ld inside=%ld iterations=%ld",
             side, limit, inside, sum);
}

int main(void)
{
    workload_name = "mandelbrot";
    side = parameter("size", 96, 1, 100000);
    limit = parameter("limit", 500, 1, 1000000000);
    return run_copies(work);
}
