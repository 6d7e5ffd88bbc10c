"""The workloads of the Linux guest compute what they should: their results are
worked out here a second time, from their descriptions.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import hashlib
import math
import re
import unittest

from support import GUEST_FAULTS, Guest, linux


def hash16(rounds):
    """FNV-1a of 16 bytes, put back into the low and the high half in turn."""
    buffer = bytearray(range(16))
    value = 0
    for turn in range(rounds):
        value = 0xcbf29ce484222325
        for byte in buffer:
            value = (value ^ byte) * 0x100000001b3 % 2**64
        half = turn % 2 * 8
        buffer[half:half + 8] = value.to_bytes(8, "little")
    return f"{value:016x}"


def mandelbrot(side, limit):
    """(points that stay, sum of iterations)"""
    inside = total = 0
    for j in range(side):
        for i in range(side):
            cx, cy = -2 + 2.5 * i / side, -1.25 + 2.5 * j / side
            x = y = 0.0
            n = 0
            while n < limit and x * x + y * y <= 4:
                x, y = x * x - y * y + cx, 2 * x * y + cy
                n += 1
            inside += n == limit
            total += n
    return inside, total


def nbody(steps):
    """Energy of the five bodies; IEEE doubles, in the program's order."""
    n, dt = 5, 1 / 1024
    at = [[float(k), k * k / 8, k / 16] for k in range(n)]
    speed = [[0.0, 1 / (1 + k) if k else 0.0, 0.0] for k in range(n)]
    mass = [1 / (1 + 8 * k) for k in range(n)]
    for _ in range(steps):
        for i in range(n):
            for j in range(i + 1, n):
                d = [at[i][a] - at[j][a] for a in range(3)]
                square = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
                factor = dt / (square * math.sqrt(square))
                for a in range(3):
                    speed[i][a] -= d[a] * mass[j] * factor
                    speed[j][a] += d[a] * mass[i] * factor
        for i in range(n):
            for a in range(3):
                at[i][a] += dt * speed[i][a]
    energy = 0.0
    for i in range(n):
        v = speed[i]
        energy += 0.5 * mass[i] * (v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
        for j in range(i + 1, n):
            d = [at[i][a] - at[j][a] for a in range(3)]
            energy -= mass[i] * mass[j] / math.sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2])
    return energy


def coreloop(rounds):
    """CRC-16/ARC over list position, matrix sum and numbers of each round."""
    crc = 0

    def add(value):
        nonlocal crc
        for byte in (value % 2**32).to_bytes(4, "little"):
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ (0xa001 if crc & 1 else 0)

    keys = [i * 37 % 64 for i in range(64)]
    b_rows = [sum(k * j for j in range(8)) for k in range(8)]      # row sums of i x j
    for turn in range(rounds):
        add(keys.index(turn % 64))
        keys.reverse()
        add(sum((i + k + turn) * b_rows[k] for i in range(8) for k in range(8)))
        text = f"{turn}, 3.14;{turn % 97} x 42 7.{turn % 10}"
        add(sum(1000 if "." in number else int(number)
                for number in re.findall(r"\d+\.?\d*", text)))
    return f"{crc:04x}"


def sharith(rounds):
    value = 1
    for i in range(1, rounds + 1):
        value = (31 * value + i) % 65521
    return value


def compress(jobs, lines):
    sums = [hashlib.md5("".join(f"{1000 * job + i}\n" for i in range(1, lines + 1)).encode())
            for job in range(jobs)]
    return hashlib.md5("".join(s.hexdigest() + "\n" for s in sums).encode()).hexdigest()


class Results(unittest.TestCase):
    """All of them in one boot of one processor on the stock machine."""
    timeout = 300

    def test_results(self):
        names = ("boot,commands,idle,forkstorm,shootdown,pingpong,syscalls,hash16,mandelbrot,nbody,"
                 "coreloop,sharith,compress,mmustress")
        parameters = ("idle.seconds=1 forkstorm.children=20 shootdown.rounds=5 shootdown.threads=3 "
                      "pingpong.rounds=50 syscalls.pairs=500 hash16.rounds=3001 hash16.copies=2 "
                      "mandelbrot.size=24 mandelbrot.limit=100 nbody.steps=500 coreloop.rounds=200 "
                      "sharith.rounds=300 compress.lines=500 compress.jobs=2 "
                      "mmustress.processes=3 mmustress.rounds=6 mmustress.pages=70")
        with Guest("-M", "sun4u", *linux("each", f"each.names={names} {parameters}")) as guest:
            self.assertEqual(guest.wait_exit(280), 0)
            console = guest.console
        self.assertIsNone(GUEST_FAULTS.search(console))
        inside, iterations = mandelbrot(24, 100)
        # a round of a thread of shootdown: 8 pages of 8 kB with a word in 64 looked
        # at, 2 words in each of 4 pages that were dropped, 1 of the neighbour
        checks = 3 * 5 * (8 * 1024 // 64 + 2 * 4 + 1)
        for line in ("boot: ok",
                     "commands: started=6 of 6 ok",
                     "idle: seconds=1 ok",
                     "forkstorm: processors=1 children=20 failed=0 ok",
                     f"shootdown: threads=3 rounds=5 pages=8 pagesize=8192 checks={checks} "
                     "wrong=0 membarrier=yes ok",
                     "pingpong: pairs=1 rounds=50 messages=100 failed=0 ok",
                     "syscalls: reads=500 writes=500 ok",
                     f"hash16: copies=2 rounds=3001 hash={hash16(3001)} ok",
                     f"mandelbrot: copies=1 size=24 limit=100 inside={inside} "
                     f"iterations={iterations} ok",
                     f"nbody: copies=1 steps=500 energy={nbody(500):.17g} ok",
                     f"coreloop: copies=1 rounds=200 crc={coreloop(200)} ok",
                     f"sharith: rounds=300 sum={sharith(300)} ok",
                     f"compress: jobs=2 lines=500 sum={compress(2, 500)} ok",
                     # a round of a process: 70 pages, 9 of them by way of the kernel,
                     # 2 calls (the first round 1), alias, 9 faults (10 in odd rounds),
                     # recursion
                     f"mmustress: processes=3 checks={3 * (6 * (70 + 9 + 2 + 1 + 9 + 1) + 3 - 1)} ok",
                     "each: failed: none",
                     "workload each: exit 0"):
            self.assertIn(line, console)

    def test_impossible_parameters(self):
        names = "nbody,forkstorm,sharith,compress,idle,pgbench"
        parameters = ("nbody.steps=0 forkstorm.children=many sharith.rounds=x compress.jobs=-1 "
                      "idle.seconds=1s")
        with Guest("-M", "sun4u", *linux("each", f"each.names={names} {parameters}")) as guest:
            guest.wait_exit(120)
            console = guest.console
        for line in ("nbody: nbody.steps=0 is not possible: 1 to",
                     "forkstorm: forkstorm.children=many is not possible: 1 to",
                     "sharith: sharith.rounds=x: a number is needed",
                     "compress: compress.jobs=-1: a number is needed",
                     "idle: idle.seconds=1s: a number is needed",
                     "pgbench: this root has no PostgreSQL",
                     "each: failed: nbody forkstorm sharith compress idle pgbench",
                     "workload each: exit 1"):
            self.assertIn(line, console)


if __name__ == "__main__":
    unittest.main()
