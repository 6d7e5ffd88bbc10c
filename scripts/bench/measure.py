"""What the benchmarks share: what a QEMU uses between two lines of its console,
and several QEMUs in turn.

User CPU time of the whole process is taken, not the time on the wall: a ratio of
two runs is then the same on a busy host, give or take its caches.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.append(os.path.join(TOP, "scripts/lib"))
from marks import DEVICE            # noqa: E402  pylint: disable=C0413
from monitor import Monitor, statistics as read_statistics  # noqa: E402  pylint: disable=C0413

BUILD = os.path.abspath(os.environ.get("BUILD") or os.path.join(TOP, "build"))
QEMU_BUILD = os.environ.get("QEMU_BUILD") or os.path.join(BUILD, "qemu")
GUESTS = os.path.join(BUILD, "guests")
FIRMWARE = os.path.join(BUILD, "firmware")
STOCK_FIRMWARE = os.path.join(BUILD, "stock/firmware")  # without patches-openbios
PLUGINS = os.path.join(BUILD, "plugins")
OURS = os.path.join(QEMU_BUILD, "qemu-system-sparc64")
STOCK = os.environ.get("STOCK") or os.path.join(BUILD, "stock/qemu-system-sparc64")
OURS_X86 = os.path.join(QEMU_BUILD, "qemu-system-x86_64")
STOCK_X86 = os.environ.get("STOCK_X86") or os.path.join(BUILD, "stock/qemu-system-x86_64")
TICKS = os.sysconf("SC_CLK_TCK")
TIMEOUT = 3600                              # seconds on the wall, for one run


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


def linux_x86(workload, append=""):
    """The same for Debian's kernel on q35 (scripts/build/debian-guest)."""
    return ["-nodefaults", "-serial", "stdio", "-m", "512", "-no-reboot",
            "-kernel", os.path.join(GUESTS, "x86/vmlinuz"),
            "-initrd", os.path.join(GUESTS, "x86/initrd.gz"),
            "-append", f"console=ttyS0 quiet workload={workload} {append}".strip()]


def bare_metal(program, **parameters):
    """Arguments that run a bare-metal program, which waits at its end."""
    args = " ".join(f"{name}={value}" for name, value in parameters.items())
    return ["-nodefaults", "-serial", "stdio", "-action", "shutdown=pause",
            "-bios", os.path.join(GUESTS, "bare-metal", program + ".elf"),
            "-fw_cfg", f"name=opt/args,string={args}"]


class Side:
    """One of the things compared: a binary with a machine.  count: instructions
    and VCPU switches are wanted too (machines under the engine)."""

    def __init__(self, label, binary, args, count=False, firmware=FIRMWARE):
        self.label, self.binary, self.args, self.count = label, binary, args, count
        self.firmware = firmware


def totals(monitor):
    """Instructions executed, VCPU switches, and simulated cycles since the machine was started."""
    stats = read_statistics(monitor)
    vcpus, pcpus = stats["vcpu"].values(), stats["pcpu"].values()
    return {"instructions": sum(v["insns-privileged"] + v["insns-user"] for v in vcpus),
            "switches": sum(p["switches"] for p in pcpus), "cycles": stats["vm"]["vm"]["time"]}


def at_rest(pid, monitor):
    """What has been used when a bare-metal program has stopped the machine."""
    while monitor.cmd("query-status")["status"] == "running":
        time.sleep(0.01)
    return {"seconds": user_seconds(pid), **totals(monitor)}


def run(side, guest, begin=None, end=None, middle=None):
    """What a run uses between the lines of the console that match begin and end
    (None: its start and its end): {"seconds", "mib", ...}; with a line between these,
    "seconds after the middle" too."""
    if not os.path.exists(side.binary):
        sys.exit(f"error: {side.binary} is missing: scripts/setup run, scripts/build/stock")
    command = [side.binary, "-L", side.firmware, "-vga", "none", "-nic", "none", "-nographic",
               "-monitor", "none", *side.args, *guest]
    marks, said, peak, monitor = {}, [], 0, None
    with tempfile.TemporaryDirectory() as directory:
        if side.count:
            path = os.path.join(directory, "qmp")
            command += ["-qmp", f"unix:{path},server=on,wait=off"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace") as qemu:
            timer = threading.Timer(TIMEOUT, qemu.kill)
            timer.start()
            try:
                if side.count:
                    monitor = Monitor(path)
                for line in qemu.stdout:
                    said.append(line)
                    for name, pattern in (("begin", begin), ("middle", middle), ("end", end)):
                        if pattern and name not in marks and re.search(pattern, line):
                            marks[name] = {"seconds": user_seconds(qemu.pid)}
                            if monitor:
                                marks[name].update(totals(monitor))
                    if re.match(r"workload .*: exit", line):
                        peak = peak_mib(qemu.pid)
                    if line.startswith('{"program": '):
                        marks["end"] = at_rest(qemu.pid, monitor)
                        monitor.cmd("quit")
                _, status, usage = os.wait4(qemu.pid, 0)
                qemu.returncode = os.waitstatus_to_exitcode(status)
            finally:
                timer.cancel()
                if qemu.returncode is None:
                    qemu.kill()
                if monitor:
                    monitor.close()
    if begin is None:
        marks["begin"] = {"seconds": 0}
    if "end" not in marks and end is None:
        marks["end"] = {"seconds": usage.ru_utime}
    if (len(marks) < (3 if middle else 2) or qemu.returncode
            or not re.search(r': exit 0\s*$|"ok": true}\s*$', "".join(said), re.M)):
        sys.exit(f"error: {' '.join(command)}\ndid not do what was asked (exit status "
                 f"{qemu.returncode}):\n{''.join(said[-20:])}")
    used = {name: value - marks["begin"].get(name, 0) for name, value in marks["end"].items()}
    if middle:
        used["seconds after the middle"] = marks["end"]["seconds"] - marks["middle"]["seconds"]
    return {**used, "mib": peak}


@contextlib.contextmanager
def started(side, guest):
    """(process, Monitor) of a bare-metal program that has stopped where its work begins."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "qmp")
        # pylint: disable=consider-using-with
        qemu = subprocess.Popen([side.binary, "-display", "none", "-nic", "none", "-monitor",
                                 "none", *side.args, *guest, "-S", *DEVICE, "-qmp", f"unix:{path},server=on,wait=off"],
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        monitor = None
        try:
            try:
                monitor = Monitor(path)
            except OSError as fault:
                sys.exit(f"error: {' '.join(qemu.args)}\ndid not start: {fault}")
            # No event may come before the answer to the first command.
            monitor.cmd("cont")
            wait_for(monitor, "paused")
            yield qemu, monitor
        finally:
            qemu.kill()
            qemu.wait()
            if monitor:
                monitor.close()


def while_it_runs(side, seconds, caches):
    """(what a machine that never ends uses in a stretch of the host's time, from a moment when it
    has run for half as long; status of the plugin cachetime, if caches)."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "qmp")
        with subprocess.Popen([side.binary, "-display", "none", "-nic", "none", "-monitor", "none",
                               "-L", side.firmware, *side.args,
                               "-qmp", f"unix:{path},server=on,wait=off"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as qemu:
            monitor, used = Monitor(path), []
            try:
                for pause in (seconds / 2, seconds):
                    time.sleep(pause)
                    monitor.cmd("stop")
                    used.append({"seconds": cpu_seconds(qemu.pid), **totals(monitor)})
                    monitor.cmd("cont")
                status = monitor.cmd("plugin-command", plugin="cachetime",
                                     command="status") if caches else {}
            finally:
                qemu.kill()
                monitor.close()
    return {name: used[1][name] - used[0][name] for name in used[0]}, status


def wait_for(monitor, status):
    end = time.monotonic() + TIMEOUT
    while (now := monitor.cmd("query-status")["status"]) != status:
        if now != "running" or time.monotonic() > end:
            sys.exit(f"error: the machine is {now}, and not {status}")
        time.sleep(0.01)


def run_work(side, guest):
    """What a bare-metal program uses from where its work begins, without what passes until
    all VCPUs are up: {"seconds", "instructions", "switches"}; seconds of user and system."""
    with started(side, guest) as (qemu, monitor):
        before = {"seconds": cpu_seconds(qemu.pid), **totals(monitor)}
        monitor.cmd("cont")
        wait_for(monitor, "paused")
        after = {"seconds": cpu_seconds(qemu.pid), **totals(monitor)}
    return {name: value - before[name] for name, value in after.items()}


def cpu_seconds(pid):
    """User and system time that a process has used, from its threads' nanoseconds."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="utf-8") as f:
            total += int(f.read().split()[0])
    return total / 1e9


def in_turn(name, sides, guest, begin, end, repeats, middle=None, how=None):
    """{label: [what each run used]}: every side once, and again.  how: instead of run()."""
    runs = {side.label: [] for side in sides}
    for turn in range(repeats):
        for side in sides:
            runs[side.label].append(how(side, guest) if how else
                                    run(side, guest, begin, end, middle))
            used = runs[side.label][-1]
            print(f"{name} {turn + 1}/{repeats}: {side.label}: {used['seconds']:.2f} s",
                  file=sys.stderr, flush=True)
    return runs


def spread(values, digits=3):
    """Median, least and most of what the turns gave."""
    return {"median": round(statistics.median(values), digits),
            "least": round(min(values), digits), "most": round(max(values), digits)}
