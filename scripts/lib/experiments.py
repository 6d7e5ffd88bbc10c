"""Experiments: what a file of configs/experiments declares, as runs of QEMU, and the
results of those that have been made.

A run is a QEMU with a machine, a guest, a policy and a seed.  Its result is what the guest
reported, and what query-stats says when the guest has ended: of the whole machine and of
each VM.  Results are lines of JSON in build/figures/results.jsonl, each under the digest of
all that the run depends on: the arguments, the contents of QEMU and of the guest's files.
What has a result is not run again.

A guest is a bare-metal program or a workload of Linux.  What is counted of a program is its
work, between its marks (marks.py), where the machine stops.  Linux is booted once for each
seed, under sdb, and saved while its shell waits for a command; each workload under each policy
continues from that state, and what had been counted by then is taken off (Wells et al., PACT
2006, section 4.1, do the same).

With caches=, the plugin cachetime gives PCPUs the caches of a configuration of configs/caches,
from the start on, so that those of Linux are warm; its counters, summed up, are a part of the
statistics.

A workload that takes long to set up (pgbench) waits for a line from the console before each of
its runs, of which warm= are made before the state is saved.  It has a state to itself.  Linux
boots without caches and skips spins then, so that little of the host's time is spent on what is
not counted; they are on from the first of its runs on.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import os
import re
import socket
import subprocess
import tempfile
import threading
import time
import tomllib

import units
from marks import DEVICE, PARAMETER
from monitor import BUILD, TOP, Monitor, statistics

QEMU_BUILD = os.environ.get("QEMU_BUILD") or os.path.join(BUILD, "qemu")
QEMU = os.path.join(QEMU_BUILD, "qemu-system-sparc64")
GUESTS = os.path.join(BUILD, "guests")
FIRMWARE = os.path.join(BUILD, "firmware")
PLUGIN = os.path.join(BUILD, "plugins", "libcachetime.so")
CACHES = os.path.join(TOP, "configs", "caches")
RESULTS = os.path.join(BUILD, "figures", "results.jsonl")
TIMEOUT = 900                           # seconds of the host's time for a run


class Fault(Exception):
    """An experiment that is declared wrongly, or a run that went wrong."""


def nanoseconds(text):
    """A time with a unit."""
    time_ = units.nanoseconds(text)
    if time_ is None:
        raise Fault(f"{text!r} is no time: a number with ns, us, ms or s behind it is possible")
    return time_


# -- Declarations -------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class Case:
    """One thing that is run under all policies of an experiment."""
    name: str
    machine: str
    program: str = ""                   # bare metal
    workload: str = ""                  # Linux
    arguments: str = ""
    asked: tuple = ()                   # share of the machine that each VM is to get, in percent
    caches: str = ""                    # a configuration, or none
    root: str = "rootfs.cpio.gz"        # Linux: its root file system, and MiB of memory
    memory: int = 256
    warm: int = 0                       # runs of a workload that waits for a line before each
    limit: int = 0                      # simulated ns, if not that of the experiment
    # (workload, arguments) of all cases that go on from the same state of Linux, in order
    state: tuple = ()

    @property
    def booted(self):
        """What Linux was booted with: cases that have the same begin from one state."""
        alone = (self.workload, self.arguments, self.warm) if self.warm else ()
        return self.machine, self.caches, self.root, self.memory, *alone


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One table, or one for each case, and a plot."""
    name: str
    title: str
    cases: tuple
    policies: dict                      # name in tables: options of the machine
    baseline: str                       # the policy that others are divided by
    seeds: tuple
    columns: tuple                      # measures (figuretables.py)
    limit: int                          # simulated ns after which a run is given up
    plot: dict
    overview: str                       # a column, for a table of policies by cases


KEYS = {"title", "machine", "cases", "policies", "baseline", "seeds", "columns", "limit", "plot",
        "overview", "caches"}
CASE_KEYS = {"machine", "program", "workload", "arguments", "asked", "limit"}
LINUX_KEYS = {"root", "memory", "warm"}


def declared(path):
    """{name: Experiment} of a file."""
    try:
        with open(path, "rb") as file:
            data = tomllib.load(file)
        sets = data.pop("policies", {})
        experiments = {name: experiment(name, values, sets) for name, values in data.items()}
    except tomllib.TOMLDecodeError as fault:
        raise Fault(f"{path}: {fault}") from fault
    except Fault as fault:
        raise Fault(f"{path}: {fault}") from fault
    return with_states(experiments)


def with_states(experiments):
    """Each case of Linux knows all that begin where it begins."""
    together = {}
    for e in experiments.values():
        for case in e.cases:
            if case.workload:
                together.setdefault(case.booted, {})[case.workload, case.arguments] = None
    return {name: dataclasses.replace(e, cases=tuple(
        dataclasses.replace(case, state=tuple(together[case.booted])) if case.workload else case
        for case in e.cases)) for name, e in experiments.items()}


def known(what, given, possible):
    wrong = sorted(set(given) - set(possible))
    if wrong:
        raise Fault(f"{what}: {', '.join(wrong)} is not possible: allowed are "
                    f"{', '.join(sorted(possible))}")


def experiment(name, values, sets):
    known(name, values, KEYS)
    missing = sorted({"title", "cases", "policies", "baseline", "columns"} - set(values))
    if missing:
        raise Fault(f"{name}: {', '.join(missing)} is missing")
    known(f"{name}: policies", values["policies"], sets)
    policies = {}
    for each in values["policies"]:
        policies.update(sets[each])
    if values["baseline"] not in policies:
        raise Fault(f"{name}: baseline: {values['baseline']} is none of {', '.join(policies)}")
    if values.get("caches"):
        known(f"{name}: caches", [values["caches"]],
              [file.removesuffix(".conf") for file in os.listdir(CACHES)])
    cases = []
    for case, what in values["cases"].items():
        known(f"{name}: {case}", what, CASE_KEYS | (LINUX_KEYS if "workload" in what else set()))
        if ("program" in what) == ("workload" in what):
            raise Fault(f"{name}: {case}: either program or workload is needed")
        for key_, least in ("memory", 64), ("warm", 1):
            value = what.get(key_, least)
            if type(value) is not int or value < least:
                raise Fault(f"{name}: {case}: {key_} = {value!r} is not possible: a number from "
                            f"{least} on is needed")
        cases.append(Case(name=case, caches=values.get("caches", ""),
                          **{"machine": values.get("machine", ""), **what,
                             "asked": tuple(what.get("asked", ())),
                             "limit": nanoseconds(what["limit"]) if "limit" in what else 0}))
    return Experiment(name, values["title"], tuple(cases), policies, values["baseline"],
                      tuple(values.get("seeds", range(1, 6))), tuple(values["columns"]),
                      nanoseconds(values.get("limit", "10s")), values.get("plot", {}),
                      values.get("overview", ""))


@dataclasses.dataclass(frozen=True)
class Run:
    """What one QEMU is to do."""
    case: Case
    options: str                        # of the machine: the policy
    seed: int
    limit: int

    @property
    def machine(self):
        return f"{self.case.machine},{self.options}"


def runs_of(experiments):
    """All runs, each once, and one seed after another."""
    runs = {Run(case, options, seed, case.limit or e.limit): None for e in experiments
            for seed in e.seeds for case in e.cases for options in e.policies.values()}
    return sorted(runs, key=lambda r: (r.case.workload != "", r.seed))


# -- Keys ---------------------------------------------------------------------

DIGESTS = {}


def digest(path):
    """Of the contents of a file."""
    if path not in DIGESTS:
        with open(path, "rb") as file:
            DIGESTS[path] = hashlib.file_digest(file, "sha256").hexdigest()
    return DIGESTS[path]


def files(case):
    """What a run reads."""
    caches = [PLUGIN, os.path.join(CACHES, case.caches + ".conf")] if case.caches else []
    if case.program:
        return [QEMU, *caches, os.path.join(GUESTS, "bare-metal", case.program + ".elf")]
    return [QEMU, *caches, os.path.join(FIRMWARE, "openbios-cmp"), os.path.join(GUESTS, "vmlinux"),
            os.path.join(GUESTS, case.root)]


def key(run):
    """Of all that the result depends on.  A limit does not change a run that ends before."""
    for path in files(run.case):
        if not os.path.exists(path):
            raise Fault(f"{path} is missing: scripts/setup full builds all guests")
    what = [run.machine, run.case.program, run.case.workload, run.case.arguments, run.seed,
            run.case.state, *filter(None, [run.case.caches, run.case.warm]),
            *map(digest, files(run.case))]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


class Store:
    """Results on disk, by key."""

    def __init__(self, path=RESULTS):
        self.path = path
        self.results = {}
        self.cut = False        # the last line is not whole: whoever wrote it was ended
        with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
            for line in file:
                self.cut = not line.endswith("\n")
                with contextlib.suppress(ValueError):
                    entry = json.loads(line)
                    self.results[entry["key"]] = entry

    def get(self, run):
        """A result, or None.  One that was given up counts for limits up to its own."""
        entry = self.results.get(key(run))
        if entry and entry["statistics"] is None and entry["limit"] < run.limit:
            return None
        if entry and entry["statistics"] and entry["statistics"]["vm"]["time"] > run.limit:
            return {**entry, "statistics": None}
        return entry

    def put(self, run, result):
        entry = {"key": key(run), "case": run.case.name, "machine": run.machine,
                 "guest": run.case.program or run.case.workload,
                 "arguments": run.case.arguments, "seed": run.seed, "limit": run.limit, **result}
        self.results[entry["key"]] = entry
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(("\n" if self.cut else "") + json.dumps(entry) + "\n")
        self.cut = False


# -- Runs ---------------------------------------------------------------------

STOPPING = threading.Event()            # nobody waits for results any more


class Machine:
    """A QEMU that is running, with its console in a file."""

    def __init__(self, arguments, directory):
        self.console_path = os.path.join(directory, "console")
        self.line_path, self.line = os.path.join(directory, "line"), None
        qmp = os.path.join(directory, "qmp")
        # -S: no event may come before the answer to the monitor's first command.
        self.command = [QEMU, *arguments, "-S", "-display", "none", "-nic", "none", "-monitor", "none",
                        "-chardev", f"socket,id=console,path={self.line_path},server=on,wait=off,"
                                    f"logfile={self.console_path}", "-serial", "chardev:console",
                        "-action", "shutdown=pause",
                        "-qmp", f"unix:{qmp},server=on,wait=off"]
        self.log = tempfile.TemporaryFile(dir=directory)    # pylint: disable=R1732
        self.qemu = subprocess.Popen(self.command,          # pylint: disable=R1732
                                     stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.deadline = time.monotonic() + TIMEOUT
        try:
            self.monitor = Monitor(qmp)
        except Exception as fault:
            self.qemu.kill()
            self.qemu.wait()
            raise self.fault("ended at once") from fault

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.qemu.kill()
        self.qemu.wait()
        self.monitor.close()
        if self.line:
            self.line.close()
        self.log.close()

    @property
    def console(self):
        with open(self.console_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def say(self, text):
        """Type something."""
        if not self.line:
            self.line = socket.socket(socket.AF_UNIX)
            self.line.connect(self.line_path)
        self.line.sendall(text.encode())

    def migrated(self):
        """Whether a migration is over, one that fails is a fault."""
        status = self.monitor.cmd("query-migrate").get("status")
        if status == "failed":
            raise self.fault("migration failed")
        return status == "completed"

    def fault(self, what):
        self.log.seek(0)
        said = self.log.read().decode(errors="replace")
        with contextlib.suppress(OSError):
            said += self.console
        return Fault(f"{' '.join(self.command)}\n{what}:\n{said[-2000:]}")

    def counted(self):
        """{"vm": of the whole machine, "vm[k]": of a VM}"""
        return {name.rsplit("/", 1)[-1]: values
                for name, values in statistics(self.monitor)["vm"].items()}

    def all_counted(self, case):
        """Counters of the caches as well, of all PCPUs and both modes; the machine stands still."""
        counted = self.counted()
        if case.caches:
            counted["caches"] = sums = {}
            report = self.monitor.cmd("plugin-command", plugin="cachetime", command="report")
            for mode in (of[mode] for of in report["pcpus"] for mode in ("privileged", "user")):
                for name, value in mode.items():
                    if isinstance(value, int):
                        sums[name] = sums.get(name, 0) + value
        return counted

    def until(self, done):
        """Wait until done(); looks at the machine now and then, which changes nothing in it."""
        pause = 0.01
        while not done():
            if STOPPING.is_set():
                raise Fault("interrupted")
            if time.monotonic() > self.deadline:
                raise self.fault(f"still runs after {TIMEOUT} s")
            time.sleep(pause)
            pause = min(2 * pause, 0.2)

    def until_status(self, states, limit):
        """Wait until the machine has stopped in one of these, which is returned, or simulated
        time is beyond the limit."""
        found = None

        def done():
            nonlocal found
            found = self.monitor.cmd("query-status")["status"]
            return found in states or self.counted()["vm"]["time"] > limit

        self.until(done)
        return found if found in states and self.counted()["vm"]["time"] <= limit else None

    def report(self):
        """Of a bare-metal program."""
        try:
            return json.loads(self.console)
        except ValueError:
            raise self.fault("the program has made no report") from None

    def end(self, run, before, well):
        """The result of a run that goes on from what had been counted before, to the guest's
        end; a program that stops the machine at its last mark is counted until there."""
        limit = before["vm"]["time"] + run.limit
        after = None
        while (ended := self.until_status(("paused", "shutdown"), limit)) == "paused":
            after = self.all_counted(run.case)
            self.monitor.cmd("cont")
        if ended and not well():
            raise self.fault("the guest says that something was wrong")
        return {"statistics": less(after or self.all_counted(run.case), before) if ended else None,
                "report": self.report() if ended and run.case.program else None,
                "seconds": self.cpu_seconds()}

    def cpu_seconds(self):
        """User and system time of the host, so far: from nanoseconds of its threads."""
        total, threads = 0, f"/proc/{self.qemu.pid}/task"
        for thread in os.listdir(threads):
            with contextlib.suppress(FileNotFoundError), \
                    open(f"{threads}/{thread}/schedstat", encoding="utf-8") as file:
                total += int(file.read().split()[0])
        return total / 1e9


def nothing(_monitor):
    """What is done where the work of a run begins."""


def caches_of(case, start="on"):
    """Arguments of QEMU."""
    return ["-plugin", f"{PLUGIN},config={case.caches},table=off,start={start}"] \
        if case.caches else []


def bare_metal(run, begin=nothing):
    program = os.path.join(GUESTS, "bare-metal", run.case.program + ".elf")
    # The machine stops when all VCPUs are up and the program begins with its work.
    arguments = ["-M", run.machine, "-nodefaults", "-seed", str(run.seed), "-bios", program,
                 "-fw_cfg", f"name=opt/args,string= {run.case.arguments} {PARAMETER}",
                 *DEVICE, *caches_of(run.case)]
    with tempfile.TemporaryDirectory() as directory, Machine(arguments, directory) as machine:
        machine.monitor.cmd("cont")
        if not machine.until_status(("paused",), run.limit):
            return {"statistics": None, "report": None, "seconds": machine.cpu_seconds()}
        before, seconds = machine.all_counted(run.case), machine.cpu_seconds()
        begin(machine.monitor)
        machine.monitor.cmd("cont")
        result = machine.end(run, before, lambda: machine.report()["ok"])
        result["work-seconds"] = result["seconds"] - seconds
        # Each policy that has a bound for how long a VCPU waits says it; this holds it to that.
        # With caches, a switch of VCPUs costs what it costs there, and no policy knows it.
        bound = machine.monitor.cmd("query-vsched").get("longest-wait")
        waited = machine.counted()["vm"]["vcpu-longest-wait"]
        if bound and waited > bound and not run.case.caches:
            raise machine.fault(f"a VCPU has waited for {waited} ns, and the longest wait of the "
                                f"policy is {bound} ns")
        return result


def less(after, before):
    """Counts since then; a peak stays what it is."""
    return {object: {name: value if name.endswith("longest-wait") else
                     value - before[object][name]
                     for name, value in values.items() if isinstance(value, int)}
            for object, values in after.items()}


def linux_arguments(run, machine, parameters, start="on"):
    return ["-M", machine, "-m", str(run.case.memory), "-L", FIRMWARE, "-seed", str(run.seed),
            "-vga", "none", "-kernel", os.path.join(GUESTS, "vmlinux"),
            "-initrd", os.path.join(GUESTS, run.case.root), "-no-reboot",
            "-append", f"console=ttyS0 quiet workload=shell {parameters}".strip(),
            *caches_of(run.case, start)]


class State:
    """A Linux that has booted under sdb and waits for a letter, in a file.  It knows the
    parameters of all workloads that begin from it, and each has a letter.  Or it waits for a line,
    after which the next run of the one workload that it is for begins."""

    def __init__(self, run, path):
        self.path, self.start = path, "off" if run.case.warm else "on"
        self.parameters = " ".join(arguments for _, arguments in run.case.state)
        self.letters = {what: chr(ord("a") + n) for n, what in enumerate(run.case.state)}
        arguments = linux_arguments(
            run, f"{run.case.machine},sched=sdb" + (",skip=10us" if run.case.warm else ""),
            self.parameters, self.start)
        with tempfile.TemporaryDirectory() as directory, Machine(arguments, directory) as machine:
            machine.monitor.cmd("cont")
            machine.until(lambda: re.search(r"[#$] $", machine.console))
            for (workload, _), letter in self.letters.items():
                machine.say(f"{letter}() {{ /workloads/{workload} && echo fine; "
                            "poweroff -f; }\n")
                # The line's buffer has no room for many of these.
                machine.until(lambda letter=letter: re.search(
                    rf"{letter}\(\) {{[^\n]*}}\r?\n[^\n]*[#$] $", machine.console))
            machine.say("echo rea''dy\n")
            machine.until(lambda: re.search(r"^ready\r?\n[^\n]*[#$] $", machine.console,
                                            re.MULTILINE))
            if run.case.warm:
                self.warm_up(machine, run.case)
            machine.monitor.cmd("stop")
            machine.monitor.cmd("migrate", uri=f"file:{path}")
            machine.until(machine.migrated)

    def warm_up(self, machine, case):
        """Start the workload and have it make all of its runs but the one that is counted."""
        machine.say(self.letters.popitem()[1] + "\n")
        for number in range(1, case.warm + 2):
            machine.until(lambda number=number: re.search(
                rf"^{case.workload}: run {number} of {case.warm + 1} waits for a line\r?$",
                machine.console, re.MULTILINE))
            if number == 1 and case.caches:
                machine.monitor.cmd("plugin-command", plugin="cachetime", command="on")
            if number <= case.warm:
                machine.say("\n")

    def go_on(self, run, begin=nothing):
        """Run a workload from here under the policy of a run."""
        arguments = linux_arguments(run, run.machine, self.parameters, self.start)
        arguments += ["-incoming", "defer"]
        with tempfile.TemporaryDirectory() as directory, Machine(arguments, directory) as machine:
            machine.monitor.cmd("migrate-incoming", uri=f"file:{self.path}")
            machine.until(machine.migrated)
            before, seconds = machine.all_counted(run.case), machine.cpu_seconds()
            begin(machine.monitor)
            machine.say(self.letters.get((run.case.workload, run.case.arguments), "") + "\n")
            machine.monitor.cmd("cont")
            result = machine.end(run, before, lambda: re.search(r"^fine\r?$", machine.console,
                                                                re.MULTILINE))
            return {**result, "work-seconds": result["seconds"] - seconds}


# -- All runs -----------------------------------------------------------------

def groups_of(runs):
    """What one worker does in a row: a bare-metal run, or the runs from one state of Linux."""
    groups = {}
    for run in runs:
        name = (run.case.booted, run.seed) if run.case.workload else run
        groups.setdefault(name, []).append(run)
    return list(groups.values())


def perform(group):
    """Yield (run, result) of a group."""
    if group[0].case.program:
        for run in group:
            yield run, bare_metal(run)
        return
    os.makedirs(os.path.dirname(RESULTS), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(RESULTS)) as directory:
        state = State(group[0], os.path.join(directory, "state"))
        for run in group:
            yield run, state.go_on(run)


def perform_all(runs, store, jobs, say):
    """Run what has no result yet, @jobs QEMUs at a time."""
    lock, left = threading.Lock(), [run for run in runs if not store.get(run)]
    count = 0

    def work(group):
        nonlocal count
        for run, result in perform(group):
            with lock:
                store.put(run, result)
                count += 1
                say(f"{count} of {len(left)}: {run.case.name}, {run.machine}, seed {run.seed}: "
                    f"{result['seconds']:.1f} s" + ("" if result["statistics"] else
                                                    f", not over in {run.limit / 1e6:g} ms"))

    # The QMP library wants an event loop in each thread.
    with concurrent.futures.ThreadPoolExecutor(
            jobs, initializer=lambda: asyncio.set_event_loop(asyncio.new_event_loop())) as pool:
        futures = [pool.submit(work, group) for group in groups_of(left)]
        try:
            for future in concurrent.futures.as_completed(futures):
                future.result()
        except BaseException:
            STOPPING.set()
            for future in futures:
                future.cancel()
            raise
    return len(left)
