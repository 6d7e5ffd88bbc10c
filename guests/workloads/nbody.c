/*
 * Five bodies that attract each other, not optimised.
 *   nbody.steps=20000   nbody.copies=1 (0: one a processor)
 * Body k has mass 1 / (1 + 8 k), starts at (k, k^2 / 8, k / 16) with velocity
 * (0, 1 / (1 + k), 0) for k > 0 and at rest for k = 0; G = 1; semi-implicit
 * Euler with dt = 1/1024.  The result is the total energy, with all digits:
 * IEEE double arithmetic, so every processor must get the same.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* build: -O0 */
#include "workload.h"
#include <math.h>

enum { BODIES = 5 };

typedef struct Body {
    double x, y, z, vx, vy, vz, mass;
} Body;

static void set_up(Body *body)
{
    for (int k = 0; k < BODIES; k++) {
        body[k] = (Body) {
            .x = k, .y = k * k / 8.0, .z = k / 16.0,
            .vy = k ? 1.0 / (1 + k) : 0, .mass = 1.0 / (1 + 8 * k),
        };
    }
}

static void step(Body *body, double dt)
{
    for (int i = 0; i < BODIES; i++) {
        for (int j = i + 1; j < BODIES; j++) {
            double dx = body[i].x - body[j].x;
            double dy = body[i].y - body[j].y;
            double dz = body[i].z - body[j].z;
            double square = dx * dx + dy * dy + dz * dz;
            double factor = dt / (square * sqrt(square));

            body[i].vx -= dx * body[j].mass * factor;
            body[i].vy -= dy * body[j].mass * factor;
            body[i].vz -= dz * body[j].mass * factor;
            body[j].vx += dx * body[i].mass * factor;
            body[j].vy += dy * body[i].mass * factor;
            body[j].vz += dz * body[i].mass * factor;
        }
    }
    for (int i = 0; i < BODIES; i++) {
        body[i].x += dt * body[i].vx;
        body[i].y += dt * body[i].vy;
        body[i].z += dt * body[i].vz;
    }
}

static double energy(const Body *body)
{
    double sum = 0;

    for (int i = 0; i < BODIES; i++) {
        sum += 0.5 * body[i].mass *
               (body[i].vx * body[i].vx + body[i].vy * body[i].vy +
                body[i].vz * body[i].vz);
        for (int j = i + 1; j < BODIES; j++) {
            double dx = body[i].x - body[j].x;
            double dy = body[i].y - body[j].y;
            double dz = body[i].z - body[j].z;

            sum -= body[i].mass * body[j].mass /
                   sqrt(dx * dx + dy * dy + dz * dz);
        }
    }
    return sum;
}

static long steps;

static void work(char *result, size_t size)
{
    Body body[BODIES];

    set_up(body);
    for (long i = 0; i < steps; i++) {
        step(body, 1.0 / 1024);
    }
    snprintf(result, size, "steps=%ld energy=%.17g", steps, energy(body));
}

int main(void)
{
    workload_name = "nbody";
    steps = parameter("steps", 20000, 1, 1L << 40);
    return run_copies(work);
}
