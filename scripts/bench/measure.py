"""What the benchmarks share: CPU time of a QEMU between two lines of its
console, and two QEMUs in turn.

CPU time of the whole process is taken, not the time on the wall: the ratio of
two binaries is then the same on a busy host, give or take its caches.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import json
import os
import re
import statistics
import subprocess
import sys
import threading

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("BUILD") or os.path.join(TOP, "build"))
QEMU_BUILD = os.environ.get("QEMU_BUILD") or os.path.join(BUILD, "qemu")
GUESTS = os.path.join(BUILD, "guests")
FIRMWARE = os.path.join(BUILD, "firmware")
OURS = os.path.join(QEMU_BUILD, "qemu-system-sparc64")
STOCK = os.environ.get("STOCK") or os.path.join(BUILD, "stock/qemu-system-sparc64")
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    """User and system time that a process has used."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def linux(workload, append="", memory="512", root="rootfs.cpio.gz"):
    return ["-m", memory, "-kernel", os.path.join(GUESTS, "vmlinux"),
            "-initrd", os.path.join(GUESTS, root), "-no-reboot",
            "-append", f"console=ttyS0 quiet workload={workload} {append}".strip()]


def run(binary, args, begin, end, timeout):
    """CPU seconds of a QEMU between the lines that match begin and end."""
    command = [binary, "-L", FIRMWARE, "-vga", "none", "-net", "none", "-nographic",
               "-monitor", "none", *args]
    seen, said = {}, []
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace") as qemu:
        timer = threading.Timer(timeout, qemu.kill)
        timer.start()
        for line in qemu.stdout:
            said.append(line)
            for name, pattern in (("begin", begin), ("end", end)):
                if name not in seen and re.search(pattern, line):
                    seen[name] = cpu_seconds(qemu.pid)
        timer.cancel()
    if "begin" not in seen or "end" not in seen or not re.search(r": exit 0\s*$", "".join(said), re.M):
        sys.exit(f"{' '.join(command)}\ndid not do what was asked:\n{''.join(said[-20:])}")
    return seen["end"] - seen["begin"]


def compare(name, sides, begin, end, repeats, timeout=1800):
    """Run the sides {label: (binary, args)} in turn; their medians, and the
    median of the ratios of neighbours, first side to each other one."""
    for binary, _ in sides.values():
        if not os.path.exists(binary):
            sys.exit(f"{binary} is missing: scripts/setup check, scripts/build-stock")
    seconds = {label: [] for label in sides}
    for turn in range(repeats):
        for label, (binary, args) in sides.items():
            seconds[label].append(run(binary, args, begin, end, timeout))
            print(f"{name} {turn + 1}/{repeats}: {label} {seconds[label][-1]:.2f} s",
                  file=sys.stderr, flush=True)
    first, *others = sides
    result = {"benchmark": name, "repeats": repeats,
              "median_cpu_seconds": {k: round(statistics.median(v), 3)
                                     for k, v in seconds.items()},
              "ratio": {f"{first}/{k}": round(statistics.median(
                  a / b for a, b in zip(seconds[first], seconds[k])), 2) for k in others}}
    print(json.dumps(result), flush=True)
    return result
