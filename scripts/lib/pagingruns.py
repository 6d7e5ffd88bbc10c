"""Runs of real programs under a model of paging, and their results.

A run is a program of guests/programs in Debian's guest (scripts/build/program-guest), one VCPU
on one PCPU, a mode of paging, and what samples it.  The machine stops at the marks before and
behind the program's work; what is counted is in between.  Results are lines of JSON in
build/paging-study/results.jsonl, each under a digest of all that the run depends on; what has a
result is not run again.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import asyncio
import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import re
import subprocess
import tempfile
import threading

from experiments import Fault
from monitor import BUILD, TOP, Monitor, statistics

QEMU = os.path.join(os.environ.get("QEMU_BUILD") or os.path.join(BUILD, "qemu"),
                    "qemu-system-x86_64")
PLUGINS = os.path.join(BUILD, "plugins")
GUESTS = os.path.join(BUILD, "guests", "programs")
RESULTS = os.path.join(BUILD, "paging-study", "results.jsonl")
MARK, FAULTS = 0xfeb10000, 0xfeb00000   # addresses where q35 has nothing
# MB, and words for the kernel. A 32-bit one has 896 MB mapped at all times, and maps each page
# beyond when it needs it, which under shadow paging is three exits. That of the paper, of 2011,
# did not change page tables for each system call, and had no large pages of programs.
MACHINE = {"amd64": ("1024", " mitigations=off"),
           "i386": ("768", " mitigations=off transparent_hugepage=never")}
# Cycles from one look of agile paging for tables that are no longer written to the next: 10 ms,
# where Gandhi et al. have 1 s (choice). With 1.5 ms, gcc's tables come and go.
AGILE_SCAN = 28_000_000
TIMEOUT = 4 * 3600              # s of the host's time for a run
NEVER = 100000                  # a threshold that nothing reaches: DSP only samples

# Names of modes in tables: paging=, and what dsp-enable gets; none: the mode is sampled only
MODES = ("native", "nested", "shadow", "agile")
EXPERIMENTS = {"N-S-N": ("nested", "nested-shadow-nested"),
               "S-N-S": ("shadow", "shadow-nested-shadow")}


@dataclasses.dataclass(frozen=True)
class Run:
    program: str
    architecture: str           # amd64 or i386
    mode: str                   # of MODES, a key of EXPERIMENTS, or dsp
    interval: int               # of samples, ns of simulated time
    settings: tuple = ()        # of dsp: (name, value) of dsp-enable
    length: int = 1             # how many times the usual work
    caches: str = ""            # a configuration of the cache model, or none
    faults: str = ""            # guest: the guest's kernel counts page faults for DSP
    config: str = "i7-860"

    @property
    def paging(self):
        return EXPERIMENTS[self.mode][0] if self.mode in EXPERIMENTS else \
            "nested" if self.mode == "dsp" else self.mode

    @property
    def sampling(self):
        """Arguments of dsp-enable, or None."""
        common = {"vm": 0, "interval": self.interval, "keep": 65536}
        if self.mode == "dsp":
            return {**common, **dict(self.settings),
                    **({"faults": self.faults} if self.faults else {})}
        if self.mode in EXPERIMENTS:
            return {**common, "experiment": EXPERIMENTS[self.mode][1]}
        if self.mode in ("nested", "shadow"):
            return {**common, "miss-lower": NEVER, "miss-upper": NEVER, "fault-lower": NEVER,
                    "fault-upper": NEVER}
        return None

    @property
    def configuration(self):
        """The text of the configuration"""
        with open(os.path.join(TOP, "configs", "paging", f"{self.config}.conf"),
                  encoding="utf-8") as file:
            text = file.read()
        if self.mode == "agile":
            text += f"\n[agile]\nscan = {AGILE_SCAN}\n"
        return text

    def files(self):
        directory = os.path.join(GUESTS, self.architecture)
        return [os.path.join(directory, name) for name in ("vmlinuz", f"{self.program}.cpio")]

    def arguments(self, config):
        """Of QEMU; config: the file that has the configuration."""
        kernel, initrd = self.files()
        memory, words = MACHINE[self.architecture]
        if self.length > 1:
            words += f" length={self.length}"
        if self.faults:
            words += f" pagefaults={FAULTS:#x}"
        counter = ["-device", f"vsched-fault-counter,addr={FAULTS:#x}"]
        caches = ["-plugin", f"{PLUGINS}/libcachetime.so,config={self.caches},table=off"]
        return ["-M", "q35", "-nodefaults", "-cpu", "Nehalem,rdrand=on", "-m", memory,
                "-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0 quiet tsc=reliable "
                f"program={self.program} mark={MARK:#x}{words}", "-accel",
                f"tcg,thread=vsched,pcpus=1,paging={self.paging},paging-config={config}",
                "-device", f"vsched-mark,addr={MARK:#x},stop=on", "-L",
                os.path.join(BUILD, "firmware"), *(caches if self.caches else []),
                *(counter if self.faults else [])]


@functools.lru_cache
def digest(path):
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise Fault(f"{path} is missing: make paging-study builds it") from None


def key(run):
    """A digest of all that the result depends on"""
    arguments = [word.replace(BUILD, "") for word in run.arguments(run.config)]
    files = [QEMU, *run.files()]
    if run.caches:
        files += [os.path.join(PLUGINS, "libcachetime.so"),
                  os.path.join(TOP, "configs", "caches", f"{run.caches}.conf")]
    parts = [dataclasses.asdict(run), arguments, run.configuration, *map(digest, files)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class Store:
    """Results on disk."""

    def __init__(self, path=RESULTS):
        self.path, self.results = path, {}
        self.lock = threading.Lock()
        with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
            for line in file:
                with contextlib.suppress(ValueError):       # it was cut when somebody was ended
                    entry = json.loads(line)
                    self.results[entry["key"]] = entry

    def get(self, run):
        return self.results.get(key(run))

    def put(self, run, result):
        entry = {"key": key(run), **dataclasses.asdict(run), **result}
        with self.lock:
            self.results[entry["key"]] = entry
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            with open(self.path, "a", encoding="utf-8") as file:
                file.write("\n" + json.dumps(entry))


def counters(monitor):
    vm, = monitor.cmd("query-paging")
    stats = statistics(monitor)["vm"]["vm"]
    counts = {c["name"]: c["privileged"] + c["user"] for c in vm["counters"]}
    return {**counts, "cycles": stats["time"], "insns": stats["vcpu-insns-privileged"] +
            stats["vcpu-insns-user"], "insns-user": stats["vcpu-insns-user"],
            "guest-faults": vm.get("guest-faults", 0), "shadow-pages": vm["shadow-pages"]}


def wait_stop(monitor, qemu):
    """Until the machine is paused or off, which it says."""
    for _ in range(TIMEOUT):
        status = monitor.cmd("query-status")["status"]
        if status in ("paused", "shutdown"):
            return status
        with contextlib.suppress(asyncio.TimeoutError):
            event = monitor.qmp.pull_event(wait=1.0)
            while event and event["event"] not in ("STOP", "SHUTDOWN"):
                event = monitor.qmp.pull_event(wait=1.0)
        if qemu.poll() is not None:
            raise Fault("QEMU has ended")
    raise Fault(f"not over after {TIMEOUT} s")


def perform(run):
    """The result of a run."""
    with tempfile.TemporaryDirectory() as directory:
        console, qmp, config = (os.path.join(directory, name)
                                for name in ("console", "qmp", "config"))
        with open(config, "w", encoding="utf-8") as file:
            file.write(run.configuration)
        command = [QEMU, *run.arguments(config), "-S", "-display", "none", "-monitor", "none",
                   "-serial", f"file:{console}", "-action", "shutdown=pause", "-qmp",
                   f"unix:{qmp},server=on,wait=off"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True) as qemu:
            try:
                with Monitor(qmp) as monitor:
                    result = work(run, monitor, qemu)
            except OSError as fault:
                raise Fault(f"{run.program} {run.mode}: {qemu.stderr.read() or fault}") from fault
            finally:
                qemu.kill()
        with open(console, encoding="utf-8", errors="replace") as file:
            text = file.read()
    ended = re.search(rf"program {run.program}: exit (\d+), output (\w+)", text)
    if not ended or ended[1] != "0":
        raise Fault(f"{run.program} {run.mode}: {text[-800:]}")
    return {**result, "output": ended[2]}


def work(run, monitor, qemu):
    monitor.cmd("cont")
    if wait_stop(monitor, qemu) != "paused":
        return {}                       # perform() says what the console has
    before = counters(monitor)
    if run.sampling:
        monitor.cmd("dsp-enable", **run.sampling)
    monitor.forget_events()
    monitor.cmd("cont")
    if wait_stop(monitor, qemu) != "paused":
        return {}
    after = counters(monitor)
    result = {"counters": {name: n - before[name] for name, n in after.items()}}
    result["counters"]["shadow-pages"] = after["shadow-pages"]
    for dsp in monitor.cmd("query-dsp"):
        result["switches"] = dsp["switches"]
        result["time"] = [dsp["nested-time"], dsp["shadow-time"]]
        result["decisions"] = dsp["decisions"]
        result["samples"] = [[s[name] for name in (
            "time", "insns", "misses", "faults", "rule", "after")] for s in dsp["samples"]]
    if run.sampling:
        monitor.cmd("dsp-disable", vm=0)
    monitor.forget_events()
    monitor.cmd("cont")
    wait_stop(monitor, qemu)
    return result
