"""The benchmarks, each with its goal: what runs, and what is made of the runs.

A benchmark is a function (options) that yields results: name, what is compared
with what, the value {"median", "least", "most"}, its unit, and the goal as a pair
("at most" or "at least", number), or None.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from measure import OURS, STOCK, STOCK_FIRMWARE, Side, in_turn, linux, spread

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


def busy(label, options, sched="timeslice", sdb=False, slice_="100us"):
    """24 VCPUs on 8 PCPUs, which boot under sdb, as that is quickest, and then
    run as they are to be measured."""
    return Side(label, OURS, ["-M", f"cmp8,vcpus=24,sched=sdb,{options}"], True,
                then=[("/vsched", "sched", sched), ("/vsched/policy", "slice", slice_),
                      ("/vsched", "sdb", sdb)])


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


def against_stock(name, options, goal, parameters="", memory="512", root="rootfs.cpio.gz",
                  end=None):
    runs = in_turn(name, [STOCK_ONE, OURS_ONE], linux(name, parameters, memory, root),
                   ONLINE, end or OK.format(name=name), options.repeats)
    yield result(name, "stock / ours, one CPU, sun4u", ratios(runs, "stock", "ours"), goal,
                 seconds=seconds(runs))


def syscalls(options):
    """100,000 one-byte reads and writes"""
    yield from against_stock("syscalls", options, ("at least", 4))


def pgbench(options):
    """PostgreSQL, 8 clients with 100 transactions each (scripts/build-postgres)"""
    yield from against_stock("pgbench", options, ("at least", 2.5), memory="1024",
                             root="pgbench.cpio.gz", end=r"^tps = ")


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


def many(options):
    """24 VCPUs on 8 PCPUs against 1 VCPU: host time for an executed instruction"""
    one = engine("sdb=off", count=True)
    limits = {"1us": 1.25, "10us": 1.10}
    sides = {window: [busy(f"24 VCPUs, window={window}, {how}", f"window={window}", how, sdb)
                      for how, sdb in (("timeslice", False), ("sdb", True))]
             for window in limits}
    # Each of the 24 does a 24th of what the one does.
    runs = in_turn("many nbody", [one], computation("nbody", options.scale), ONLINE,
                   OK.format(name="nbody"), options.repeats)
    guest = computation("nbody", options.scale / 24, "nbody.copies=0")
    for window, limit in limits.items():
        for side in sides[window]:
            runs.update(in_turn("many nbody", [side], guest, ONLINE, OK.format(name="nbody"),
                                options.repeats))
            values = [per_instruction(a) / per_instruction(b)
                      for a, b in zip(runs[side.label], runs[one.label])]
            yield result("many", f"{side.label} / 1 VCPU", values, ("at most", limit),
                         instructions={k: runs[k][-1]["instructions"]
                                       for k in (one.label, side.label)}, seconds=seconds(runs))


def switch(options):
    """host time of a VCPU switch: runs that differ in the length of the slice"""
    short, long = [busy(f"slice={s}", "switch-cost=0", slice_=s) for s in ("10us", "1ms")]
    guest = computation("nbody", options.scale / 24, "nbody.copies=0")
    runs = in_turn("switch", [short, long], guest, ONLINE, OK.format(name="nbody"),
                   options.repeats)
    nanoseconds, instructions = [], []
    for a, b in zip(runs[short.label], runs[long.label]):
        extra = a["seconds"] - per_instruction(b) * a["instructions"]
        each = extra / (a["switches"] - b["switches"] * a["instructions"] / b["instructions"])
        nanoseconds.append(each * 1e9)
        instructions.append(each / per_instruction(b))
    counted = {k: v[-1]["switches"] for k, v in runs.items()}
    yield result("switch", "host time of a VCPU switch (absolute, of this host)", nanoseconds,
                 ("at most", 1000), "ns", switches=counted, seconds=seconds(runs))
    yield result("switch", "the same, in executed guest instructions", instructions, None,
                 "instructions", switches=counted, seconds=seconds(runs))


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


BENCHMARKS = {"syscalls": syscalls, "pgbench": pgbench, "processes": processes,
              "one-vcpu": one_vcpu, "detectors": detectors, "many": many,
              "switch": switch, "memory": memory, "boot": boot}
