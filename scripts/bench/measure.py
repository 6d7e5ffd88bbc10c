"""What the benchmarks share: what a QEMU uses between two lines of its console,
and several QEMUs in turn.

User CPU time of the whole process is taken, not the time on the wall: a ratio of
two runs is then the same on a busy host, give or take its caches.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import importlib.machinery
import importlib.util
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("BUILD") or os.path.join(TOP, "build"))
QEMU_BUILD = os.environ.get("QEMU_BUILD") or os.path.join(BUILD, "qemu")
GUESTS = os.path.join(BUILD, "guests")
FIRMWARE = os.path.join(BUILD, "firmware")
STOCK_FIRMWARE = os.path.join(BUILD, "stock/firmware")  # without patches-openbios
OURS = os.path.join(QEMU_BUILD, "qemu-system-sparc64")
STOCK = os.environ.get("STOCK") or os.path.join(BUILD, "stock/qemu-system-sparc64")
TICKS = os.sysconf("SC_CLK_TCK")
TIMEOUT = 3600                              # seconds on the wall, for one run


def vm_stat():
    """scripts/vm-stat, which speaks QMP, as a module."""
    path = os.path.join(TOP, "scripts/vm-stat")
    loader = importlib.machinery.SourceFileLoader("vm_stat", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("vm_stat", loader))
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader.exec_module(module)
    sys.dont_write_bytecode = writes
    return module


def user_seconds(pid):
    """User time that a process has used."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        return int(f.read().rpartition(")")[2].split()[11]) / TICKS


def peak_mib(pid):
    """The most memory that a process has had resident."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return int(re.search(r"VmHWM:\s*(\d+) kB", f.read()).group(1)) / 1024


def linux(workload, append="", memory="512", root="rootfs.cpio.gz"):
    """Arguments that boot the guests' Linux into a workload."""
    return ["-m", memory, "-kernel", os.path.join(GUESTS, "vmlinux"),
            "-initrd", os.path.join(GUESTS, root), "-no-reboot",
            "-append", f"console=ttyS0 quiet workload={workload} {append}".strip()]


class Side:
    """One of the things compared: a binary with a machine.  count: instructions
    and VCPU switches are wanted too (machines under the engine).  then: properties
    of the engine, set at the line of the console at which measuring begins."""

    def __init__(self, label, binary, args, count=False, firmware=FIRMWARE, then=()):
        self.label, self.binary, self.args, self.count = label, binary, args, count
        self.firmware, self.then = firmware, then


def totals(monitor, module):
    """Instructions executed and VCPU switches since the machine was started."""
    stats = module.statistics(monitor)
    vcpus, pcpus = stats["vcpu"].values(), stats["pcpu"].values()
    return {"instructions": sum(v["insns-privileged"] + v["insns-user"] for v in vcpus),
            "switches": sum(p["switches"] for p in pcpus)}


def run(side, guest, begin=None, end=None):
    """What a run uses between the lines of the console that match begin and end
    (None: its start and its end): {"seconds", "mib", ...}."""
    if not os.path.exists(side.binary):
        sys.exit(f"{side.binary} is missing: scripts/setup run, scripts/build-stock")
    command = [side.binary, "-L", side.firmware, "-vga", "none", "-nic", "none", "-nographic",
               "-monitor", "none", *side.args, *guest]
    marks, said, peak, monitor = {}, [], 0, None
    with tempfile.TemporaryDirectory() as directory:
        if side.count:
            module, path = vm_stat(), os.path.join(directory, "qmp")
            command += ["-qmp", f"unix:{path},server=on,wait=off"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace") as qemu:
            timer = threading.Timer(TIMEOUT, qemu.kill)
            timer.start()
            try:
                if side.count:
                    monitor = module.Monitor(path)
                for line in qemu.stdout:
                    said.append(line)
                    for name, pattern in (("begin", begin), ("end", end)):
                        if pattern and name not in marks and re.search(pattern, line):
                            for path, key, value in side.then if name == "begin" else ():
                                monitor.cmd("qom-set", path=path, property=key, value=value)
                            marks[name] = {"seconds": user_seconds(qemu.pid)}
                            if monitor:
                                marks[name].update(totals(monitor, module))
                    if re.match(r"workload .*: exit", line):
                        peak = peak_mib(qemu.pid)
                _, status, usage = os.wait4(qemu.pid, 0)
                qemu.returncode = os.waitstatus_to_exitcode(status)
            finally:
                timer.cancel()
                if qemu.returncode is None:
                    qemu.kill()
    if begin is None:
        marks["begin"] = {"seconds": 0}
    if end is None:
        marks["end"] = {"seconds": usage.ru_utime}
    if (len(marks) < 2 or qemu.returncode
            or not re.search(r": exit 0\s*$", "".join(said), re.M)):
        sys.exit(f"{' '.join(command)}\ndid not do what was asked (exit status "
                 f"{qemu.returncode}):\n{''.join(said[-20:])}")
    used = {name: value - marks["begin"][name] for name, value in marks["end"].items()}
    return {**used, "mib": peak}


def in_turn(name, sides, guest, begin, end, repeats):
    """{label: [what each run used]}: every side once, and again."""
    runs = {side.label: [] for side in sides}
    for turn in range(repeats):
        for side in sides:
            runs[side.label].append(run(side, guest, begin, end))
            used = runs[side.label][-1]
            print(f"{name} {turn + 1}/{repeats}: {side.label}: {used['seconds']:.2f} s",
                  file=sys.stderr, flush=True)
    return runs


def spread(values, digits=3):
    """Median, least and most of what the turns gave."""
    return {"median": round(statistics.median(values), digits),
            "least": round(min(values), digits), "most": round(max(values), digits)}
