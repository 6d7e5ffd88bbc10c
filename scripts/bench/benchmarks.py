"""The benchmarks, each with its goal: what runs, and what is made of the runs.

A benchmark is a function (options) that yields results: name, what is compared
with what, the value {"median", "least", "most"}, its unit, and the goal as a pair
("at most" or "at least", number), or None.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import itertools
import os
import re
import subprocess
import sys
import tempfile
import time

import pagingbench
from measure import (OURS, OURS_X86, PLUGINS, STOCK, STOCK_FIRMWARE, STOCK_X86, Side, bare_metal,
                     cpu_seconds, in_turn, linux, linux_x86, run_work, spread, started,
                     while_it_runs)
from marks import MARK, PARAMETER

ONLINE = r"CPUs online, workload"
OK = r"^{name}: .* ok"

# Computations that last about ten seconds at scale 1: workload, parameter, value
COMPUTATIONS = {
    "nbody": ("steps", 1000000),
    "mandelbrot": ("limit", 25000),
    "coreloop": ("rounds", 500000),
    "hash16": ("rounds", 20000000),
    "compress": ("lines", 220000),
}

STOCK_ONE = Side("stock", STOCK, ["-M", "sun4u"])
STOCK_ICOUNT = Side("stock -icount shift=0", STOCK, ["-M", "sun4u", "-icount", "shift=0"])
OURS_ONE = Side("ours", OURS, ["-M", "sun4u"])


def engine(options="", machine="cmp,pcpus=1,vcpus=1", count=False):
    machine = ",".join(filter(None, [machine, options]))
    return Side(machine, OURS, ["-M", machine], count)


def computation(name, scale, more=""):
    key, value = COMPUTATIONS[name]
    return linux(name, f"{name}.{key}={max(1, int(value * scale))} {more}".strip(), memory="512")


def result(benchmark, what, values, goal, unit="ratio", **more):
    return {"benchmark": benchmark, "what": what, "unit": unit, **spread(values),
            "goal": goal, **more}


def ratios(runs, above, below, key="seconds"):
    """Neighbours' ratios."""
    return [a[key] / b[key] for a, b in zip(runs[above], runs[below])]


def seconds(runs):
    return {label: spread([r["seconds"] for r in used])["median"] for label, used in runs.items()}


def against_stock(name, options, goal, parameters=""):
    runs = in_turn(name, [STOCK_ONE, OURS_ONE], linux(name, parameters),
                   ONLINE, OK.format(name=name), options.repeats)
    yield result(name, "stock / ours, one CPU, sun4u", ratios(runs, "stock", "ours"), goal,
                 seconds=seconds(runs))


def syscalls(options):
    """100,000 one-byte reads and writes"""
    yield from against_stock("syscalls", options, ("at least", 4))


def pgbench(options):
    """PostgreSQL, 8 clients with 100 transactions each (scripts/build/postgres)"""
    runs = in_turn("pgbench", [STOCK_ONE, OURS_ONE],
                   linux("pgbench", memory="1024", root="pgbench.cpio.gz"), ONLINE, r"^tps = ",
                   options.repeats, middle=r"^pgbench: \d+ clients begin")
    for what, key in (("transactions", "seconds after the middle"),
                      ("start of the server and transactions", "seconds")):
        yield result("pgbench", f"{what}: stock / ours, one CPU, sun4u",
                     ratios(runs, "stock", "ours", key), ("at least", 2.5),
                     seconds={label: spread([r[key] for r in used])["median"]
                              for label, used in runs.items()})


def load(options):
    """PostgreSQL, 8 clients, on 24 VCPUs on 8 PCPUs against one VCPU, both under sdb"""
    one = engine("sched=sdb", machine="cmp8,vcpus=1")
    sides = [(engine("sched=sdb", machine="cmp8,vcpus=24"), 5),
             (engine(f"sched=sdb,skip={options.skip}", machine="cmp8,vcpus=24"), 2.5)]
    runs = in_turn("load", [one, *(side for side, _ in sides)],
                   linux("pgbench", memory="1024", root="pgbench.cpio.gz"), None, None,
                   options.repeats)
    for side, limit in sides:
        yield result("load", f"pgbench, boot to power-off: {side.label} / {one.label}",
                     ratios(runs, side.label, one.label), ("at most", limit),
                     seconds=seconds(runs))


def processes(options):
    """processes that come and go, and that wake each other"""
    children = max(1, int(4000 * options.scale))
    rounds = max(1, int(50000 * options.scale))
    yield from against_stock("forkstorm", options, None, f"forkstorm.children={children}")
    yield from against_stock("pingpong", options, None, f"pingpong.rounds={rounds}")


def one_vcpu(options):
    """one VCPU on one PCPU, sdb=off, against stock with and without icount"""
    ours = engine("sdb=off")
    sides = [ours, STOCK_ICOUNT, STOCK_ONE]
    for name in ("boot", "nbody", "coreloop", "compress"):
        if name == "boot":
            guest, begin, end = linux(name), None, None
        else:
            guest, begin, end = computation(name, options.scale), ONLINE, OK.format(name=name)
        runs = in_turn(f"one-vcpu {name}", sides, guest, begin, end, options.repeats)
        for other, limit in ((STOCK_ICOUNT, 1.05), (STOCK_ONE, 1.25)):
            yield result("one-vcpu", f"{name}: sdb=off / {other.label}",
                         ratios(runs, ours.label, other.label), ("at most", limit),
                         seconds=seconds(runs))


def detectors(options):
    """each detector against sdb=off, on code that makes progress"""
    off = engine("sdb=off")
    sides = [off] + [engine(f"detector={d}") for d in ("paper", "recurrence", "either")]
    for name in COMPUTATIONS:
        runs = in_turn(f"detectors {name}", sides, computation(name, options.scale),
                       ONLINE, OK.format(name=name), options.repeats)
        for side in sides[1:]:
            yield result("detectors", f"{name}: {side.label.rsplit(',', 1)[1]} / sdb=off",
                         ratios(runs, side.label, off.label), ("at most", 1.10),
                         seconds=seconds(runs))


def per_instruction(used):
    return used["seconds"] / used["instructions"]


# Bare-metal programs in which every VCPU executes the same all the time, so that an
# instruction of one run is worth as much as one of another: (the work of each, what a
# VCPU does in about ten seconds)
STEADY = {
    "search": ("limit", 8000000),           # in registers
    "stream": ("rounds", 160000),           # in memory
}


def steady(name, scale, vcpus):
    """Each of several VCPUs does its part of what one does."""
    key, value = STEADY[name]
    # 48 KB of memory for each VCPU, so that all are held in caches of the host as one is
    more = {"words": 2000} if name == "stream" else {}
    return bare_metal(name, **{key: max(2, int(value * scale / vcpus))}, **more)


def many(options):
    """24 VCPUs on 8 PCPUs against 1 VCPU of the same kind: host time for an instruction"""
    for name in STEADY:
        runs, goals = {}, []
        for how in ("sched=timeslice,sdb=off", "sched=sdb"):
            # Nothing is stored: to the detector of the paper that is a spin.
            if name == "search" and how == "sched=sdb":
                continue
            one = Side(f"1 VCPU, {how}", OURS, ["-M", f"cmp,pcpus=1,vcpus=1,{how}"], True)
            sides = {Side(f"24 VCPUs, window={window}, {how}", OURS,
                          ["-M", f"cmp8,vcpus=24,window={window},{how}"], True): limit
                     for window, limit in (("1us", 1.25), ("10us", 1.10))}
            for _ in range(options.repeats):
                for some, vcpus in (([one], 1), (sides, 24)):
                    for label, used in in_turn(f"many {name}", some,
                                               steady(name, options.scale, vcpus), None, None,
                                               1).items():
                        runs.setdefault(label, []).extend(used)
            goals += [(side.label, one.label, limit) for side, limit in sides.items()]
        first = goals[0][1]
        # What sdb costs in all is told too: the goal for that is that of "detectors".
        goals += [(label, first, None) for label, one, _ in goals if one != first]
        for label, one, limit in goals:
            values = [per_instruction(a) / per_instruction(b)
                      for a, b in zip(runs[label], runs[one])]
            yield result("many", f"{name}: {label} / {one}", values,
                         ("at most", limit) if limit else None,
                         instructions={k: runs[k][-1]["instructions"] for k in (label, one)},
                         seconds=seconds(runs))


def switch(options):
    """host time of a VCPU switch: runs that differ in the length of the slice"""
    short, long = [Side(f"slice={s}", OURS, ["-M", "cmp8,vcpus=24,sched=timeslice,sdb=off,"
                                             f"switch-cost=0,slice={s}"], True)
                   for s in ("10us", "1ms")]
    for name in STEADY:
        used = {short.label: [], long.label: []}
        for _ in range(options.repeats):
            # Less what passes until all VCPUs are up, which is longer with long slices
            up, runs = [in_turn(f"switch {name}, {what}", [short, long], steady(name, scale, 24),
                                None, None, 1)
                        for what, scale in (("start", 0), ("all", options.scale))]
            for label, of in used.items():
                of.append({key: runs[label][0][key] - up[label][0][key]
                           for key in ("seconds", "instructions", "switches")})
        values = []
        for a, b in zip(used[short.label], used[long.label]):
            extra = a["seconds"] - per_instruction(b) * a["instructions"]
            values.append(1e9 * extra / (a["switches"] - b["switches"] * a["instructions"]
                                         / b["instructions"]))
        yield result("switch", f"{name}: host time of a VCPU switch (absolute, of this host)",
                     values, ("at most", 1000), "ns",
                     switches={k: v[-1]["switches"] for k, v in used.items()},
                     seconds=seconds(used))


# The same program under each policy with short and with long timeslices
SHORT, LONG = "slice=10us", "slice=1ms"
SLICES = {
    "credit": (SHORT + ",tick=10us", LONG + ",tick=1ms"),
    # The program never leaves privileged mode, where there are no safe points.
    "safepoint": (SHORT + ",grace=0ns", LONG + ",grace=0ns"),
    "sedf": ("period=30us,quantum=10us", "period=3ms,quantum=1ms"),
    "urgent": (SHORT + ",burst=10us", LONG),
}


def policy_names():
    said = subprocess.run([OURS, "-M", "cmp8,sched=help"], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, check=True).stdout
    return re.findall(r"^  (\w\S*) +\w", said, re.M)


def policies(options):
    """each policy against sdb: host time for an executed instruction, and for a switch"""
    guest = steady("stream", options.scale / 4, 24)
    guest[-1] += f" {PARAMETER}"
    sides = {name: [Side(f"{name}, {slices}", OURS,
                         ["-M", f"cmp8,vcpus=24,switch-cost=0,sched={name},{slices}"], True)
                    for slices in SLICES.get(name, (SHORT, LONG))] for name in policy_names()}
    sdb_short, sdb_long = sides.pop("sdb")
    for name, (short, long) in {**sides, "sdb": (sdb_short, sdb_long)}.items():
        # The baseline is a neighbour each time; only that of the long slices is needed.
        turn = [short, long] + [sdb_long] * (name != "sdb")
        runs = in_turn(f"policies {name}", turn, guest, None, None, options.repeats, how=run_work)
        if name != "sdb":
            yield result("policies", f"{name} / sdb, both with {LONG}: time for an instruction",
                         [per_instruction(a) / per_instruction(b)
                          for a, b in zip(runs[long.label], runs[sdb_long.label])],
                         ("at most", 1.10), switches=runs[long.label][-1]["switches"])
        values = []
        for a, b in zip(runs[short.label], runs[long.label]):
            extra = a["seconds"] - per_instruction(b) * a["instructions"]
            values.append(1e9 * extra / (a["switches"] - b["switches"] * a["instructions"]
                                         / b["instructions"]))
        yield result("policies", f"{name}: host time of a switch (absolute, of this host)", values,
                     None, "ns", switches=runs[short.label][-1]["switches"])


def change(options):
    """host time of a change of policy, over QMP, machine stopped and running"""
    side = Side("change", OURS, ["-M", "cmp8,vcpus=24,sched=sdb"], True)
    guest = bare_metal("groups", first=1, touch=1, time=10**12, mark=MARK)
    names = policy_names()
    # Each policy after each other one, at least once
    order = [name for pair in itertools.permutations(names, 2) for name in pair]
    for running in (False, True):
        used, waits = [], []
        for _ in range(options.repeats):
            with started(side, guest) as (qemu, monitor):
                if running:
                    monitor.cmd("cont")
                else:                   # what a command costs that does nothing
                    idle = cpu_seconds(qemu.pid)
                    for _ in order:
                        monitor.cmd("query-status")
                    idle = cpu_seconds(qemu.pid) - idle
                begin = cpu_seconds(qemu.pid)
                for name in order:
                    now = time.monotonic()
                    monitor.cmd("vsched-set-policy", policy=name)
                    waits.append(1e3 * (time.monotonic() - now))
                if not running:
                    used.append(1e3 * (cpu_seconds(qemu.pid) - begin - idle) / len(order))
        what = "running" if running else "stopped"
        if not running:
            yield result("change", "processor time of a change of policy, machine stopped "
                         "(absolute, of this host)", used, ("at most", 1), "ms",
                         changes=len(order))
        waits.sort()
        yield result("change", f"from command to answer, machine {what}: median, tenth, ninth "
                     "tenth (absolute, of this host)", [waits[len(waits) // 10], waits[len(waits) // 2],
                                                  waits[len(waits) * 9 // 10]],
                     ("at most", 1) if not running else None, "ms", changes=len(order))


def memory(options):
    """memory of 24 VCPUs above that of stock with one CPU; the guest's own is left out"""
    # All of the guest's memory is there from the start, so that the rest is QEMU's.
    many_vcpus = engine("sched=sdb", machine="cmp8,vcpus=24")
    runs = in_turn("memory", [STOCK_ONE, many_vcpus], linux("boot") + ["-mem-prealloc"],
                   None, None, options.repeats)
    above = [b["mib"] - a["mib"] for a, b in zip(runs["stock"], runs[many_vcpus.label])]
    yield result("memory", f"{many_vcpus.label} - stock", above, ("at most", 64), "MiB",
                 mib={k: spread([r["mib"] for r in v], 1)["median"] for k, v in runs.items()})


def boot(options):
    """boot to power-off under sdb, with and without skip, against stock with one CPU"""
    goals = {(24, False): ("at most", 7), (24, True): ("at most", 5)}
    sides = {(vcpus, skip): engine("sched=sdb" + (f",skip={options.skip}" if skip else ""),
                                   machine=f"cmp8,vcpus={vcpus}")
             for vcpus in (24, 8) for skip in (False, True)}
    # Stock has its own firmware; with ours the firmware's part is left out.
    own = Side("stock with its firmware", STOCK, ["-M", "sun4u"], firmware=STOCK_FIRMWARE)
    runs = in_turn("boot", [own, STOCK_ONE, *sides.values()], linux("boot"), None, None,
                   options.repeats)
    for which, side in sides.items():
        yield result("boot", f"{side.label} / {own.label}", ratios(runs, side.label, own.label),
                     goals.get(which), seconds=seconds(runs))
        yield result("boot", f"{side.label} / stock with our firmware",
                     ratios(runs, side.label, "stock"), None, seconds=seconds(runs))


def x86(options):
    """another machine, q35: boot and 100 forks a CPU under sdb, against stock thread=single"""
    children = max(1, int(100 * options.scale))
    for cpus, pcpus, goal, forks_goal, icount_goal in ((24, 8, 1.5, 1.2, 0.45),
                                                       (1, 1, 1.25, None, None)):
        q35 = ["-M", "q35", "-smp", str(cpus)]
        stock, icount = (Side(f"stock {how}", STOCK_X86, q35 + more) for how, more in
                         (("thread=single", ["-accel", "tcg,thread=single"]),
                          ("-icount", ["-icount", "shift=0,sleep=off"])))
        ours = Side(f"thread=vsched,pcpus={pcpus}", OURS_X86,
                    q35 + ["-accel", f"tcg,thread=vsched,pcpus={pcpus}"])
        runs = in_turn(f"x86 {cpus}", [stock, icount, ours],
                       linux_x86("forkstorm", f"forkstorm.children={children}"),
                       None, None, options.repeats, middle=ONLINE)
        forks = "seconds after the middle"
        for what, key, other, limit in (
                ("boot and forks", "seconds", stock, goal),
                ("forks alone", forks, stock, forks_goal),
                ("boot and forks", "seconds", icount, icount_goal)):
            yield result("x86", f"-smp {cpus}, {what}: {ours.label} / {other.label}",
                         ratios(runs, ours.label, other.label, key),
                         ("at most", limit) if limit else None,
                         seconds={label: spread([r[key] for r in used])["median"]
                                  for label, used in runs.items()})


# Bare-metal programs in which VCPUs compute, or wait for each other in different ways: (work,
# what they do in about five seconds)
WAITING = {"search": ("limit", 1000000), "stream": ("rounds", 60000),
           "crosscall": ("rounds", 5000), "idle": ("rounds", 10000), "tas": ("rounds", 400000),
           "mcs": ("rounds", 120000), "barrier": ("rounds", 500000)}


def profile(options):
    """host time with a profile, and simulated time if a sample costs 2000 cycles, by workload"""
    # What figure 2 of Theurer et al. shows, "Virtual Scalability" (Linux Symposium 2006)
    start = ["-object", "vsched-command,id=profile,at=0,run=vsched-profile-start,arguments=cost="]
    sides = [Side(label, OURS, ["-M", "cmp8,vcpus=8", *more], True) for label, more in (
        ("without", []), ("with", [start[0], start[1] + "0"]),
        ("stacks=64", [start[0], start[1] + "0,,stacks=64"]),
        ("cost=2000", [start[0], start[1] + "2000"]))]
    for name, (key, value) in WAITING.items():
        more = {"words": 2000} if name == "stream" else {}
        guest = bare_metal(name, **{key: max(1, int(value * options.scale))}, **more)
        runs = in_turn(f"profile {name}", sides, guest, None, None, options.repeats)
        yield result("profile", f"{name}, 8 VCPUs on 8 PCPUs: host time with / without",
                     ratios(runs, "with", "without"), ("at most", 1.03), seconds=seconds(runs))
        yield result("profile", f"{name}, 8 VCPUs on 8 PCPUs: host time with call stacks / without",
                     ratios(runs, "stacks=64", "without"), ("at most", 1.03))
        yield result("profile", f"{name}, 8 VCPUs on 8 PCPUs: simulated time, "
                     "cost=2000 / without", ratios(runs, "cost=2000", "without", "cycles"), None,
                     unchanged=[*ratios(runs, "with", "without", "cycles"),
                                *ratios(runs, "stacks=64", "without", "cycles")])


def caches(options):
    """caches of Wells et al.: host time for an executed instruction, with / without them"""
    plugin = f"{PLUGINS}/libcachetime.so,config=wells-2006,table=off"
    for machine, vcpus in (("cmp8,vcpus=24", 24), ("cmp,pcpus=1,vcpus=1", 1)):
        without, whole, more = (
            Side(f"{machine}{what}", OURS, ["-M", machine, *arguments], True)
            for what, arguments in (
                ("", []), (", caches", ["-plugin", plugin]),
                (", caches and attribution", ["-plugin", plugin + ",attribution=on"])))
        guests = {name: (steady(name, options.scale / 4, vcpus), None) for name in STEADY}
        guests["Linux, coreloop"] = (computation("coreloop", options.scale / 4),
                                     OK.format(name="coreloop"))
        for name, (guest, end) in guests.items():
            # With attribution, Linux takes many minutes.
            sides = [(whole, ("at most", 3)), *([] if end else [(more, None)])]
            runs = in_turn(f"caches {name}", [without, *(side for side, _ in sides)], guest,
                           ONLINE if end else None, end, options.repeats)
            for side, goal in sides:
                yield result("caches", f"{name}: {side.label} / {machine}",
                             [per_instruction(a) / per_instruction(b)
                              for a, b in zip(runs[side.label], runs[without.label])], goal,
                             seconds=seconds(runs))
    yield from wide(options)


# 16-bit code at 0x10000 for all VCPUs of a PC: adds up 512 KB, four bytes at a time, for ever.
SWEEP = bytes.fromhex(
    "ba0010"            # 0: mov $0x1000, %dx
    "8eda"              # 3: mov %dx, %ds
    "b90040"            # mov $0x4000, %cx
    "31f6"              # xor %si, %si
    "66ad6601c3e2f9"    # 1: lodsl; add %eax, %ebx; loop 1b
    "81c20010"          # add $0x1000, %dx
    "81fa0090"          # cmp $0x9000, %dx
    "72e8"              # jb 3b
    "ebe3")             # jmp 0b


def sweep_rom(path):
    """A ROM in which VCPU 0 starts all others (x2APIC), and all execute SWEEP."""
    image = bytearray(0x10000)
    image[0:len(SWEEP)] = SWEEP
    start = bytes.fromhex(
        "fa6631d2"                              # cli; xor %edx, %edx
        "66b91b00000066b8000de0fe0f30"          # APIC on, its registers are MSRs
        "66b93008000066b8f0460c000f30"          # start all others at F000:0000
        "e9")                                   # jmp to SWEEP
    image[0x100:0x100 + len(start)] = start
    image[0x100 + len(start):0x102 + len(start)] = \
        (-(0x102 + len(start)) & 0xffff).to_bytes(2, "little")
    image[0xfff0:0xfff3] = b"\xe9" + (0x100 - 0xfff3 & 0xffff).to_bytes(2, "little")
    with open(path, "wb") as file:
        file.write(image)


def wide(options):
    """The same with 64 PCPUs as with 8, on x86, as many VCPUs as PCPUs"""
    with tempfile.TemporaryDirectory() as directory:
        rom = os.path.join(directory, "rom")
        sweep_rom(rom)
        runs, memory = {}, 0
        for turn in range(options.repeats):
            for pcpus in (8, 64):
                for on in (False, True):
                    plugin = ["-plugin", f"{PLUGINS}/libcachetime.so,config=wells-2006,table=off"]
                    side = Side(f"{pcpus} PCPUs{', caches' * on}", OURS_X86, [
                        "-M", "q35", "-cpu", "max", "-smp", str(pcpus), "-bios", rom,
                        "-accel", f"tcg,thread=vsched,pcpus={pcpus}", *(plugin if on else [])])
                    used, status = while_it_runs(side, 6 * options.scale, on)
                    memory = max(memory, status.get("host-memory", 0))
                    runs.setdefault(side.label, []).append(used)
                    print(f"caches, wide {turn + 1}/{options.repeats}: {side.label}: "
                          f"{1e9 * per_instruction(used):.2f} ns", file=sys.stderr, flush=True)
    ratio = {pcpus: [per_instruction(a) / per_instruction(b) for a, b in zip(
        runs[f"{pcpus} PCPUs, caches"], runs[f"{pcpus} PCPUs"])] for pcpus in (8, 64)}
    for pcpus, values in ratio.items():
        yield result("caches", f"x86, all read 512 KB: {pcpus} PCPUs, caches / none", values, None)
    yield result("caches", "that ratio with 64 PCPUs / with 8",
                 [a / b for a, b in zip(ratio[64], ratio[8])], ("at most", 1.5))
    yield result("caches", "memory of the model, 64 PCPUs", [memory / 2**20],
                 ("at most", 200), "MiB")


def paging(options):
    """paging=nested and shadow: host time with / without, ns of misses, walks and switches"""
    yield from pagingbench.quiet(options)
    yield from pagingbench.misses_and_switches(options)
    # With caches as well, 24 VCPUs on 8 PCPUs
    def both(mode):
        return ["-plugin", f"{PLUGINS}/libcachetime.so,config=wells-2006,table=off"] if mode else []
    for machine, guest, how in (
            ("cmp8,vcpus=24", computation("coreloop", options.scale / 4), lambda mode: Side(
                f"{mode or 'neither'}, SPARC", OURS, [
                    "-M", "cmp8,vcpus=24" + (f",paging={mode}" if mode else ""), *both(mode)], True)),
            ("q35", linux_x86("coreloop", f"coreloop.rounds={max(1, int(125000 * options.scale))}"),
             lambda mode: Side(f"{mode or 'neither'}, x86", OURS_X86, [
                 "-M", "q35", "-cpu", "Nehalem", "-smp", "24", "-accel",
                 f"tcg,thread=vsched,pcpus=8,{'paging=' + mode if mode else 'clock-hz=2800000000'}",
                 *both(mode)], True))):
        without, *sides = [how(mode) for mode in ("", *pagingbench.MODES)]
        runs = in_turn(f"paging coreloop {machine}", [without, *sides], guest, ONLINE,
                       OK.format(name="coreloop"), options.repeats)
        for side in sides:
            yield result("paging", f"coreloop, 24 VCPUs on 8 PCPUs, {machine}: {side.label} and "
                         "caches / neither",
                         [per_instruction(a) / per_instruction(b)
                          for a, b in zip(runs[side.label], runs[without.label])],
                         ("at most", 3.3), seconds=seconds(runs))


BENCHMARKS = {"syscalls": syscalls, "pgbench": pgbench, "load": load,
              "processes": processes, "one-vcpu": one_vcpu, "detectors": detectors, "many": many,
              "switch": switch, "policies": policies, "change": change, "memory": memory,
              "boot": boot, "x86": x86, "profile": profile, "caches": caches,
              "paging": paging}
