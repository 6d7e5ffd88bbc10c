"""Start a QEMU, watch its console, ask it over QMP: what the tests share.

    with Guest("-M", "cmp8,vcpus=24", *linux("forkstorm")) as guest:
        guest.wait_console(r"workload forkstorm: exit (\\d+)")
        print(guest.stats())
        guest.wait_exit()

Paths come from the environment (BUILD, QEMU_BUILD), as scripts/check sets it;
alone, 'python3 -m unittest -v test_boot' in this directory works too.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.abspath(os.environ.get("BUILD") or os.path.join(TOP, "build"))
QEMU_BUILD = os.environ.get("QEMU_BUILD") or os.path.join(BUILD, "qemu")
QEMU_OTHERS = os.path.join(BUILD, "qemu-others")
FIRMWARE = os.path.join(BUILD, "firmware")
GUESTS = os.path.join(BUILD, "guests")
VMLINUX = os.path.join(GUESTS, "vmlinux")
ROOTFS = os.path.join(GUESTS, "rootfs.cpio.gz")

SLOWER = float(os.environ.get("TEST_SLOWER") or 1)    # all time-outs are that much longer

sys.path += [os.path.join(BUILD, "src/qemu/python"), os.path.join(TOP, "scripts/lib")]
# pylint: disable=wrong-import-position
from monitor import statistics            # noqa: E402
from qemu.machine import QEMUMachine      # noqa: E402
# pylint: enable=wrong-import-position

# Lines that no guest of ours may ever print.
GUEST_FAULTS = re.compile(
    r"soft lockup|hard LOCKUP|rcu: INFO|rcu_sched kthread|blocked for more than|[Ll]ost .*tick|"
    r"Kernel panic|\bOops\b|\bBUG:|WARNING: CPU|Unable to handle kernel|Unhandled Exception|"
    r"clocksource.*unstable|Kernel unaligned access")

# What a sanitizer says, from its first line on (scripts/check-full).
SANITIZER = re.compile(r"(==\d+==ERROR: |[^\n]*: runtime error: ).*?(?=\nShadow bytes|\Z)", re.DOTALL)


def flat(values):
    """{name: number} of {name: number or list of numbers}"""
    out = {}
    for name, value in values.items():
        out.update({f"{name}[{n}]": part for n, part in enumerate(value)}
                   if isinstance(value, list) else {name: value})
    return out


def binary(arch="sparc64"):
    """Those of targets that only the long tests need are built apart (scripts/setup full)."""
    apart = arch not in ("sparc64", "x86_64")
    return os.path.join(QEMU_OTHERS if apart else QEMU_BUILD, f"qemu-system-{arch}")


def linux(workload, append="", memory="512", initrd=ROOTFS):
    """Arguments that boot our Linux into a workload (guests/workloads)."""
    return ["-m", memory, "-kernel", VMLINUX, "-initrd", initrd,
            "-append", f"console=ttyS0 workload={workload} {append}".strip()]


def refused(*args, arch="sparc64", timeout=30):
    """Start a QEMU that ought not to start: (exit status, standard error)."""
    done = subprocess.run([binary(arch), "-L", FIRMWARE, "-nographic", "-serial", "null",
                           "-monitor", "none", *args], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=timeout * SLOWER, check=False)
    return done.returncode, done.stderr


def x86_mov(register, value):
    """mov $value, %eax or %ecx, in 16-bit code"""
    return b"\x66" + {"eax": b"\xb8", "ecx": b"\xb9"}[register] + value.to_bytes(4, "little")


def x86_rom(others, before, after):
    """64 kB of ROM for -bios, 16-bit code at F000:0000: VCPU 0 executes before, starts all
    others, which execute others, and goes on with after (lists of bytes)."""
    image = bytearray(0x10000)

    def put(where, *code):
        code = b"".join(code)
        image[where:where + len(code)] = code

    wrmsr = b"\x0f\x30"
    put(0x0000, *others)
    put(0x0100, b"\xfa", *before,                       # cli
        b"\x66\x31\xd2",                                # xor %edx, %edx
        x86_mov("ecx", 0x1b), x86_mov("eax", 0xfee00d00), wrmsr,    # APIC on, registers are MSRs
        x86_mov("ecx", 0x830), x86_mov("eax", 0x000c46f0), wrmsr,   # start others at F000:0000
        *after)
    put(0xfff0, b"\xe9", (0x0100 - 0xfff3 & 0xffff).to_bytes(2, "little"))
    return bytes(image)


def x86_image(name, out, *options):
    """A program of this directory as a ROM for -bios, in file out."""
    source = os.path.join(TOP, "qtest", name)
    for command in (["gcc", "-m32", "-c", *options, "-o", f"{out}.o", source],
                    ["ld", "-m", "elf_i386", "-nostdlib", "-static", "-Ttext=0", "-e", "0", "-o",
                     f"{out}.elf", f"{out}.o"],
                    ["objcopy", "-O", "binary", "-j", ".text", f"{out}.elf", out]):
        subprocess.run(command, check=True)
    return out


class Refusals:
    """For a TestCase of what QEMU must not start with."""

    def refuse(self, says, *args):
        status, text = refused(*args)
        self.assertEqual(status, 1, f"{args}: {text}")
        self.assertRegex(text, says, args)


class Guest(QEMUMachine):
    """A QEMU with QMP, its console in a file: no reader can hold the guest up.

    Everything of QEMUMachine is there: cmd(), qmp(), event_wait(), ...
    """

    def __init__(self, *args, arch="sparc64", wrapper=()):
        logs = os.environ.get("TEST_LOGS") or os.path.join(BUILD, "tests")
        os.makedirs(logs, exist_ok=True)
        self.dir = tempfile.mkdtemp(prefix="run-", dir=logs)
        self.console_log = os.path.join(self.dir, "console")
        self.arch = arch
        # QEMU's own answer to qmp_capabilities can come after an event, which
        # QMPClient does not expect: nothing happens before they are connected.
        self.stopped = "-S" in args
        super().__init__(binary(arch), wrapper=wrapper, base_temp_dir=self.dir, log_dir=self.dir,
                         args=["-L", FIRMWARE, "-nographic", "-monitor", "none", "-no-reboot",
                               "-serial", f"file:{self.console_log}",
                               *(() if self.stopped else ("-S",)),
                               *(() if "-nic" in args or "-net" in args else ("-nic", "none")),
                               *args])

    def __enter__(self):
        self.launch()
        if not self.stopped:
            self.cmd("cont")
        return self

    def __exit__(self, exc_type, exc_val, exc_tb):
        # A test is over when it is over: no time is spent on an orderly end.
        # But QEMU may have ended by itself since it was looked at last.
        self.shutdown(hard=True)
        report = SANITIZER.search(self.get_log() or "")
        if report:
            raise AssertionError(report.group()[:4000])
        code = self.exitcode() or 0
        if code < 0 and code != -signal.SIGKILL:
            raise AssertionError(f"QEMU was ended by signal {-code}:\n{self.get_log()}")

    @property
    def console(self):
        """All that the guest has printed so far."""
        try:
            with open(self.console_log, encoding="utf-8", errors="replace", newline="") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def wait_console(self, pattern, timeout=120):
        """Wait until the console matches; the match.  Ends early with QEMU."""
        end = time.monotonic() + timeout * SLOWER
        while True:
            alive = self.is_running()
            found = re.search(pattern, self.console)
            if found:
                return found
            if not alive:
                raise AssertionError(f"QEMU ended (status {self.exitcode()}) before the console "
                                     f"said {pattern!r}:\n{self.last_words()}")
            if time.monotonic() > end:
                raise AssertionError(f"console did not say {pattern!r} in {timeout} s:\n"
                                     f"{self.last_words()}")
            time.sleep(0.05)

    def wait_exit(self, timeout=120):
        """Wait until QEMU ends by itself; its exit status."""
        end = time.monotonic() + timeout * SLOWER
        while self.is_running():
            if time.monotonic() > end:
                raise AssertionError(f"QEMU still runs after {timeout} s:\n{self.last_words()}")
            time.sleep(0.05)
        return self.exitcode()

    def last_words(self, lines=25):
        """End of console and of QEMU's own messages."""
        said = self.console.splitlines()[-lines:]
        if self._qemu_log_path and os.path.exists(self._qemu_log_path):
            with open(self._qemu_log_path, encoding="utf-8", errors="replace") as f:
                said += f.read().splitlines()[-lines:]
        return "\n".join(said + [f"(all of it: {self.dir})"])

    def answer_within(self, timeout):
        """cmd() and others raise TimeoutError if QMP is silent for so long."""
        self._qmp.settimeout(timeout * SLOWER)

    def stats(self, provider="vsched"):
        """{object: {name: number}} of query-stats, this provider: the machine ("vm"), VMs where
        there are several, PCPUs and VCPUs by their paths.  Bucket 3 of a histogram is a number
        of its own, "running-on[3]"."""
        return {path: flat(values) for objects in statistics(self, provider).values()
                for path, values in objects.items()}


class Debugger:
    """What a debugger says to QEMU, without one: GDB's remote serial protocol.

    Threads are those of the protocol: VCPU n is thread n + 1.
    """

    PC = {"sparc64": 0x50, "x86_64": 0x10}      # numbers of registers

    def __init__(self, guest, timeout=20):
        self.arch = guest.arch
        self.path, self.timeout = os.path.join(guest.dir, "gdb"), timeout
        guest.cmd("human-monitor-command",
                  command_line=f"gdbserver unix:{self.path},server=on,wait=off")
        self.connect()

    def connect(self):
        """Also once more, after the connection was closed."""
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(self.timeout * SLOWER)
        self.socket.connect(self.path)
        self.buffer = b""
        self.ask("?")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def tell(self, packet):
        """Send a packet whose answer will come later: a stop."""
        data = packet.encode()
        self.socket.sendall(b"$%s#%02x" % (data, sum(data) % 256))

    def hear(self):
        """The next packet of QEMU's."""
        while True:
            found = re.search(rb"\$([^#]*)#..", self.buffer)
            if found:
                self.buffer = self.buffer[found.end():]
                self.socket.sendall(b"+")
                return found.group(1).decode()
            more = self.socket.recv(4096)
            if not more:
                raise AssertionError("QEMU has closed the debugger's connection")
            self.buffer += more

    def ask(self, packet):
        self.tell(packet)
        return self.hear()

    def interrupt(self):
        """Ctrl-C; the answer is that of the packet that let VCPUs go."""
        self.socket.sendall(b"\x03")
        return self.hear()

    def registers(self, thread):
        """All of them, as one string."""
        self.ask(f"Hg{thread:x}")
        return self.ask("g")

    def register(self, thread, number):
        self.ask(f"Hg{thread:x}")
        value = bytes.fromhex(self.ask(f"p{number:x}"))
        return int.from_bytes(value, "little" if self.arch == "x86_64" else "big")

    def pc(self, thread):
        return self.register(thread, self.PC[self.arch])


def run_linux(machine, workload, *args, append="", timeout=240, test=None, **options):
    """Boot, run a workload, power off; the console, after the checks that
    every run has to pass.  'test' is the TestCase that asks."""
    with Guest("-M", machine, *linux(workload, append, **options), *args) as guest:
        status = guest.wait_exit(timeout)
        console = guest.console
        words = guest.last_words()
    if test:
        test.assertEqual(status, 0, words)
        test.assertRegex(console, f"workload {re.escape(workload)}: exit 0", words)
        test.assertIn("reboot: Power down", console, words)
        test.assertIsNone(GUEST_FAULTS.search(console), words)
    return console
