"""What the model of paging costs the host (docs/paging.rst, docs/devel/paging-model.rst).

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import statistics
import subprocess
import sys
import tempfile

from measure import BUILD, FIRMWARE, OURS_X86, cpu_seconds, spread, totals, wait_for
from monitor import Monitor

MARK = 0xfeb10000               # an address where q35 has nothing
GUESTS = os.path.join(BUILD, "guests", "programs", "amd64")
# Fewer than one miss of the modelled first level in 1000 instructions
QUIET = ("hmmer", "solver", "chess")
MODES = ("nested", "shadow")


def result(what, values, goal=None, unit="ratio", **more):
    return {"benchmark": "paging", "what": what, "unit": unit, **spread(values), "goal": goal,
            **more}


class Machine:
    """A PC with a program of guests/programs between two marks."""

    def __init__(self, program, mode, vcpus=1, pcpus=1, accel="", **words):
        self.label = f"{program}, {mode or 'none'}" + "".join(
            f", {name}={value}" for name, value in words.items()) + (f", {accel}" if accel else "")
        tcg = f"tcg,thread=vsched,pcpus={pcpus}" + (
            f",paging={mode}" if mode else ",clock-hz=2800000000") + (f",{accel}" if accel else "")
        said = " ".join(f"{name}={value}" for name, value in words.items())
        self.paging = bool(mode)
        self.command = [
            OURS_X86, "-M", "q35", "-nodefaults", "-cpu", "Nehalem,rdrand=on", "-m", "1024", "-smp",
            str(vcpus), "-accel", tcg, "-L", FIRMWARE, "-kernel", os.path.join(GUESTS, "vmlinuz"),
            "-initrd", os.path.join(GUESTS, f"{program}.cpio"), "-append",
            f"console=ttyS0 quiet tsc=reliable mitigations=off program={program} mark={MARK:#x} "
            f"transparent_hugepage=never {said}", "-device", f"vsched-mark,addr={MARK:#x},stop=on",
            "-display", "none", "-monitor", "none", "-action", "shutdown=pause"]

    def used(self, monitor, pid):
        counted = {}
        if self.paging:
            vm, = monitor.cmd("query-paging")
            counted = {c["name"]: c["privileged"] + c["user"] for c in vm["counters"]}
        return {**counted, **totals(monitor), "seconds": cpu_seconds(pid)}

    def run(self):
        """What is used between the marks: {"seconds", "instructions", "switches", counters}"""
        with tempfile.TemporaryDirectory() as directory:
            qmp, console = (os.path.join(directory, name) for name in ("qmp", "console"))
            # pylint: disable=consider-using-with
            qemu = subprocess.Popen([*self.command, "-S", "-serial", f"file:{console}", "-qmp",
                                     f"unix:{qmp},server=on,wait=off"], stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL)
            try:
                with Monitor(qmp) as monitor:
                    used = []
                    for status in "paused", "paused", "shutdown":
                        monitor.cmd("cont")
                        wait_for(monitor, status)
                        used.append(self.used(monitor, qemu.pid))
            finally:
                qemu.kill()
                qemu.wait()
            with open(console, encoding="utf-8", errors="replace") as file:
                text = file.read()
        if ": exit 0, output " not in text:
            sys.exit(f"error: {' '.join(self.command)}\ndid not do what was asked:\n{text[-800:]}")
        return {name: used[1][name] - used[0][name] for name in used[0]}


def in_turn(machines, repeats):
    runs = {machine.label: [] for machine in machines}
    for turn in range(repeats):
        for machine in machines:
            used = machine.run()
            runs[machine.label].append(used)
            print(f"paging {turn + 1}/{repeats}: {machine.label}: {used['seconds']:.2f} s, "
                  f"{1e9 * per_instruction(used):.2f} ns an instruction", file=sys.stderr,
                  flush=True)
    return [runs[machine.label] for machine in machines]


def per_instruction(used):
    return used["seconds"] / used["instructions"]


def l1_misses(used):
    return used["itlb-l1-misses"] + used["dtlb-l1-misses"]


def walks(used):
    return used["itlb-misses"] + used["dtlb-misses"]


def quiet(options):
    """On against off, where the first level of the TLBs hardly misses"""
    for program in QUIET:
        runs = in_turn([Machine(program, mode) for mode in ("", *MODES)], options.repeats)
        for mode, of in zip(MODES, runs[1:]):
            misses = 1000 * l1_misses(of[0]) / of[0]["instructions"]
            yield result(f"{program}, {misses:.2f} first-level misses / 1000: {mode} / none",
                         [per_instruction(a) / per_instruction(b) for a, b in zip(of, runs[0])],
                         ("at most", 1.10) if misses < 1 else None)


def beyond(options, steps, machine):
    """What each run of machine(steps) uses more than one with a tenth of the steps: neither the
    start of processes nor their page faults"""
    long, short = in_turn([machine(steps), machine(steps // 10)], options.repeats)
    return [{name: a[name] - b[name] for name in a} for a, b in zip(long, short)]


def model(on, off):
    """(seconds that the model takes, misses that the second level serves, walks)"""
    return on["seconds"] - off["seconds"], l1_misses(on) - walks(on), walks(on)


def misses_and_switches(options):
    """ns of a miss that the second level serves, of a walk, and of a VCPU switch. What runs with
    the model take more than runs without is divided by what there is more of in them."""
    steps = max(1000, int(20_000_000 * options.scale))
    sizes = (1, 32)                     # MB: the second level holds pages for 2
    for mode in MODES:
        runs = [[beyond(options, steps, lambda n, m=m, size=size: Machine(
            "misses", m, megabytes=size, steps=n)) for m in (mode, "")] for size in sizes]
        hit, walk = [], []
        for turn in range(options.repeats):
            (t1, h1, w1), (t2, h2, w2) = (model(on[turn], off[turn]) for on, off in runs)
            # seconds = hits * a + walks * b, twice
            d = h1 * w2 - h2 * w1
            hit.append((t1 * w2 - t2 * w1) / d * 1e9)
            walk.append((h1 * t2 - h2 * t1) / d * 1e9)
        yield result(f"{mode}: a first-level miss that the second level serves", hit, unit="ns")
        yield result(f"{mode}: a walk", walk, unit="ns")
        # A shell that counts, 600 instructions or so a step, has all of its pages in the first level.
        runs = [[beyond(options, steps // 10, lambda n, m=m, s=s: Machine(
            "misses", m, vcpus=2, accel=f"slice={s}", copies=2, megabytes=0, steps=n // 2))
            for m in (mode, "")] for s in ("10us", "1ms")]
        values, misses = [], []
        for turn in range(options.repeats):
            (t1, h1, w1), (t2, h2, w2) = (model(on[turn], off[turn]) for on, off in runs)
            switches = runs[0][0][turn]["switches"] - runs[1][0][turn]["switches"]
            values.append((t1 - t2) * 1e9 / switches)
            misses.append((h1 - h2 + w1 - w2) / switches)
        yield result(f"{mode}: a VCPU switch, with the {statistics.median(misses):.0f} misses that "
                     "follow it", values, unit="ns")
