"""One QEMU that runs a program again and again from a saved state, each time by another
schedule: what scripts/explore and its tests are made of.

    with Explorer(bare_metal("race2"), Limits(hang=10**7)) as explorer:
        explorer.begin()                        # to mark 1, where a state is saved
        steps = explorer.measure(depth=2)       # k, between mark 1 and the end
        outcome = explorer.run(seed=14, depth=2, steps=steps)
        print(outcome.failure)                  # None, or what went wrong

The schedules are those of policy "explore" (docs/policies/explore.rst), whose parameters a
seed is one of.  The saved state is a snapshot in a scratch file; loading it takes some
milliseconds, and nothing is left of the run before.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import asyncio
import collections
import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time

from monitor import BUILD, TOP, Gone, Monitor
from marks import DEVICE, PARAMETER

QEMU_BUILD = os.environ.get("QEMU_BUILD") or os.path.join(BUILD, "qemu")
FIRMWARE = os.environ.get("FIRMWARE") or os.path.join(BUILD, "firmware")
PROGRAMS = os.path.join(os.environ.get("GUESTS") or os.path.join(BUILD, "guests"), "bare-metal")

BEGIN, END, FAILED = 1, 2, 3    # numbers of marks: accel-vsched/policy.h
MEASURED = 20                   # runs of each kind by which k is found
SNAPSHOT = "begin"

# What a kernel of Linux says when something is wrong, and our init when a workload failed
FAULTS = (r"Kernel panic|\bOops\b|\bBUG:|WARNING: CPU|soft lockup|rcu: INFO|"
          r"^workload .*: exit [1-9]")


class Fault(Exception):
    """It cannot be explored, for a reason that a user understands."""


# What came of a run: failure is None or a text; steps, from the saved state to the end mark,
# or to where it stopped, of all VCPUs.
Outcome = collections.namedtuple("Outcome", "failure steps")

# hang: simulated time, in ns, after which a run that has not ended hangs; fail_line: a regular
# expression, or None
Limits = collections.namedtuple("Limits", "hang fail_line patience", defaults=(None, None))


def bound(vcpus, steps, depth):
    """The probability, at least, with which a seed meets a fault of this depth."""
    return 1 / (vcpus * steps ** (depth - 1))


def bare_metal(program, parameters=(), vcpus=2, pcpus=1, memory=16):
    """Arguments that start a bare-metal program, by its name or its path."""
    elf = program if os.sep in program else os.path.join(PROGRAMS, f"{program}.elf")
    if not os.path.isfile(elf):
        files = os.listdir(PROGRAMS) if os.path.isdir(PROGRAMS) else []
        names = sorted(f[:-4] for f in files if f.endswith(".elf"))
        raise Fault(f"there is no program '{program}'; there are: {' '.join(names)}")
    words = " ".join([*parameters, PARAMETER])
    return ["-M", f"cmp,pcpus={pcpus},vcpus={vcpus}", "-m", str(memory), "-nodefaults",
            *DEVICE,
            "-bios", elf, "-fw_cfg", f"name=opt/args,string={words}"]


class Explorer:
    """A QEMU with these arguments.  The first of them may be the name of another QEMU than
    qemu-system-sparc64."""

    def __init__(self, arguments, limits):
        arguments = list(arguments)
        name = "qemu-system-sparc64"
        if arguments and arguments[0].startswith("qemu-system-"):
            name = arguments.pop(0)
        if not {"-bios", "-L"} & set(arguments):
            arguments = ["-L", FIRMWARE, *arguments]
        self.limits = limits
        # The path of a socket has to be short; a directory of the system's is.
        self.directory = tempfile.mkdtemp(prefix="explore-")
        self.command = [os.path.join(QEMU_BUILD, name), "-S", "-display", "none",
                        "-monitor", "none", "-no-reboot", "-action", "shutdown=pause",
                        "-chardev", f"file,id=explore-console,path={self.path('console')}",
                        "-serial", "chardev:explore-console",
                        "-D", self.path("log"),
                        "-qmp", f"unix:{self.path('qmp')},server=on,wait=off", *arguments]
        self.qemu = self.monitor = None
        self.since = 0                  # instructions, at the saved state
        self.time = 0                   # ns, at the saved state
        self.console_begin = 0          # where in the console's file a run begins
        self.vcpus = self.pcpus = 0
        self.off = False                # powered off
        self.pending = None             # a vsched-stop that waits for its time

    def path(self, name):
        return os.path.join(self.directory, name)

    def __enter__(self):
        try:
            with open(self.path("errors"), "w", encoding="utf-8") as errors:
                # pylint: disable-next=consider-using-with
                self.qemu = subprocess.Popen(self.command, stdin=subprocess.DEVNULL,
                                             stdout=errors, stderr=errors)
        except OSError as fault:
            self.__exit__(None, None, None)
            raise Fault(f"{self.command[0]} cannot be started: {fault.strerror}; scripts/setup "
                        "builds it") from fault
        try:
            self.monitor = self._connect()
            info = self.monitor.cmd("query-vsched")
            self.vcpus, self.pcpus = len(info["vcpus"]), len(info["pcpus"])
            self._add_scratch_file()
        except Exception as fault:
            text = self._said_at_its_end() or str(fault)
            self.__exit__(None, None, None)
            raise Fault(f"QEMU does not start: {text}") from fault
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_):
        if self.monitor:
            with contextlib.suppress(Exception):
                self.monitor.qmp.close()
        if self.qemu:
            self.qemu.kill()
            self.qemu.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _said_at_its_end(self):
        """QEMU's own words, if it has ended or soon does."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.qemu.wait(1)
        with open(self.path("errors"), encoding="utf-8", errors="replace") as f:
            return f.read().strip() if self.qemu.returncode is not None else ""

    def _connect(self):
        while not os.path.exists(self.path("qmp")):
            if self.qemu.poll() is not None:
                raise Gone
            time.sleep(0.01)
        return Monitor(self.path("qmp"))

    def _job(self, **options):
        self.monitor.cmd("blockdev-create", **{"job-id": "create", "options": options})
        while True:
            job = self.monitor.cmd("query-jobs")[0]
            if job["status"] == "concluded":
                self.monitor.cmd("job-dismiss", id="create")
                if "error" in job:
                    raise Fault(job["error"])
                return
            time.sleep(0.005)

    def _add_scratch_file(self):
        file = self.path("scratch")
        self._job(driver="file", filename=file, size=0)
        self.monitor.cmd("blockdev-add",
                         **{"driver": "file", "node-name": "explore-file", "filename": file})
        self._job(driver="qcow2", file="explore-file", size=2**20)
        self.monitor.cmd("blockdev-add", **{"driver": "qcow2", "node-name": "explore-scratch",
                                            "file": "explore-file"})

    def _snapshot(self, command):
        said = self.monitor.cmd("human-monitor-command",
                                **{"command-line": f"{command} {SNAPSHOT}"})
        if said:
            raise Fault(f"{command}: {said.strip()}")

    def console(self):
        """What the guest has said in this run."""
        with open(self.path("console"), encoding="utf-8", errors="replace", newline="") as f:
            f.seek(self.console_begin)
            return f.read().replace("\r", "")

    def _insns(self):
        vm = self.monitor.cmd("query-stats", target="vm",
                              providers=[{"provider": "vsched", "names": ["pcpu-insns"]}])
        return vm[0]["stats"][0]["value"]

    def _fail_line(self):
        pattern = self.limits.fail_line
        found = pattern and re.search(pattern, self.console(), re.MULTILINE)
        return found and f"the console says: {found.group()}"

    def _until_stop(self):
        """Events until the machine stops."""
        events = []
        while not events or events[-1]["event"] != "STOP":
            try:
                events.append(self.monitor.qmp.pull_event(wait=2.0))
            except asyncio.TimeoutError:
                # Waiting for an event does not end when QEMU does; cmd() does.
                if self.monitor.cmd("query-status")["running"] and self._fail_line():
                    self.monitor.cmd("stop")
            except Exception as fault:
                raise Gone from fault
        return events

    def _go_on(self, until):
        """Let the machine run until it stops, at this simulated time at the latest.  The last
        mark that it came to or None, and why it stopped: "mark", "time", "exit" or "stop"."""
        self.monitor.forget_events()
        command = self.monitor.cmd("vsched-stop", at=until)["id"]
        self.monitor.cmd("cont")
        mark, why = None, "stop"
        for event in self._until_stop():
            data = event.get("data", {})
            if event["event"] == "VSCHED_MARK":
                mark, why = data, "mark"
            elif event["event"] == "VSCHED_COMMAND" and data["id"] == command:
                why = "time"
            elif event["event"] == "SHUTDOWN":
                why = "exit" if data["reason"] == "guest-shutdown" else data["reason"]
                self.off = True
        self.pending = None if why == "time" else command
        return mark, why

    def begin(self, at=None, within=10**12):
        """Run to mark 1, or to simulated time 'at', and save a state there."""
        if at is not None:
            _, why = self._go_on(at)
            if why != "time":
                raise Fault(f"the machine stopped before --at: {why}; its console: "
                            f"{self.console().strip() or 'nothing'}")
            self.since = self._insns()
        else:
            mark, why = self._go_on(within)
            if not mark or mark["number"] != BEGIN:
                if why == "mark":
                    self._go_on(within)         # to what it has to say
                raise Fault("the program has not come to mark 1, where what is to be explored "
                            f"begins; its console: {self.console().strip() or 'nothing'}")
            self.since = mark["insns"]
        if self.pending:
            self.monitor.cmd("vsched-cancel", id=self.pending)
        self.time = self.monitor.cmd("query-vsched")["time"]
        self._snapshot("savevm")

    def _load(self):
        if self.off:
            # Powered off: it is to be reset before it can do anything.  When the guest
            # resets it, it is off (-no-reboot).
            self.monitor.cmd("set-action", reboot="reset")
            self.monitor.cmd("system_reset")
            while self.monitor.cmd("query-status")["status"] == "shutdown":
                time.sleep(0.001)
            self.monitor.cmd("set-action", reboot="shutdown")
            self.off = False
        self._snapshot("loadvm")
        self.console_begin = os.path.getsize(self.path("console"))

    def run(self, seed, depth, steps):
        """From the saved state, by the schedule of this seed."""
        self._load()
        parameters = {"seed": seed, "depth": depth, "steps": steps}
        if self.limits.patience is not None:
            parameters["patience"] = self.limits.patience
        self.monitor.cmd("vsched-set-policy", policy="explore", parameters=parameters)
        mark, why = self._go_on(self.time + self.limits.hang)
        return Outcome(self._fail_line() or self._failure(mark, why),
                       (mark["insns"] if why == "mark" else self._insns()) - self.since)

    def _failure(self, mark, why):
        if why == "mark":
            return None if mark["number"] == END else \
                   f"the program came to mark {mark['number']}"
        if why == "time":
            return f"it hangs: no end in {self.limits.hang} ns of simulated time"
        if why == "exit":
            status = self._exit_status()
            return f"exit status {status}" if status else None
        return f"the machine stopped: {why}"

    def _exit_status(self):
        with contextlib.suppress(self.monitor.library.ExecuteError):
            return self.monitor.cmd("qom-get", path="/machine/start-block",
                                    property="exit-status")
        return 0

    def watch(self):
        """From now on, schedule() says who ran."""
        for name in ("run", "preempt", "block"):
            self.monitor.cmd("trace-event-set-state", name=f"vsched_{name}", enable=True)

    def schedule(self):
        """Who ran since watch() on PCPU 0, one after the other, and for how many cycles:
        [VCPU, cycles]; the last one has None if it still runs."""
        pieces, begin, vcpu = [], None, None
        with open(self.path("log"), encoding="utf-8") as f:
            for line in f:
                found = re.search(r"vsched_(\w+) cycle (\d+) pcpu 0 vcpu (\d+)", line)
                if not found:
                    continue
                cycle, vcpu = int(found[2]), int(found[3])
                if found[1] == "run":
                    begin = cycle
                elif begin is not None:
                    if not pieces or pieces[-1][0] != vcpu:
                        pieces.append([vcpu, 0])
                    pieces[-1][1] += cycle - begin
                    begin = None
        return pieces + ([[vcpu, None]] if begin is not None else [])

    def end(self):
        """After run(): go on to the program's own end, if it has not come there."""
        now = self.monitor.cmd("query-vsched")["time"]
        if not self.off and now < self.time + self.limits.hang:
            if self.pending:
                self.monitor.cmd("vsched-cancel", id=self.pending)
            self._go_on(self.time + self.limits.hang)
        return self.console()

    def measure(self, depth, runs=MEASURED):
        """k: the most instructions of some runs without change points, and of some with them."""
        steps = max(1, *(self.run(seed, 1, 1).steps for seed in range(runs)))
        return max(steps, *(self.run(seed, depth, steps).steps for seed in range(runs)))
