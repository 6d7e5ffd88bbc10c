"""The spin detection buffer's detectors and an independent model (scripts/sdb-model)
judge the same traces of bare-metal programs, period by period; and the model itself
is held to traces whose verdicts follow from the paper's text.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import re
import struct
import subprocess
import tempfile
import time
import unittest

from support import BUILD, GUESTS, QEMU_BUILD, SLOWER, TOP, Guest, binary, x86_rom

MODEL = os.path.join(TOP, "scripts", "sdb-model")
REPLAY = os.path.join(QEMU_BUILD, "hw", "sdb", "sdb-replay")
PLUGIN = os.path.join(BUILD, "plugins", "libsdbtrace.so")


def setUpModule():      # pylint: disable=invalid-name
    """What the tests run: not part of the default build of QEMU."""
    subprocess.run([os.path.join(TOP, "scripts", "build", "plugins")], check=True)
    private = os.path.join(BUILD, "private/usr/lib/python3/dist-packages")
    subprocess.run(["ninja", "-C", QEMU_BUILD, "hw/sdb/sdb-replay"], check=True,
                   stdout=subprocess.DEVNULL, env=dict(os.environ, PYTHONPATH=private))


def lines(*command):
    """Standard output of a command that has to succeed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True,
                          timeout=300 * SLOWER)
    return done.stdout.splitlines()


class Records(unittest.TestCase):
    """Traces written by hand, N = 16: the verdicts are worked out here."""

    def judge(self, *records, options=()):
        """Verdicts of the model, and of the detectors, which have to be the same."""
        with tempfile.NamedTemporaryFile() as trace:
            for kind, size, vcpu, index, address, value in records:
                trace.write(struct.pack("<BBHIQQQQ", ord(kind), size, 0, vcpu, index, address,
                                        value, 0))
            trace.flush()
            model = lines(MODEL, "--period=16", *(f"--{o}" for o in options), trace.name)
            core = lines(REPLAY, "--periods", trace.name, ",".join(("period=16", *options)))
        self.assertEqual(model, core)
        return model

    def test_seven_and_eight_stores(self):
        """Fewer than eight unique stores: a spin; the first period was cut off."""
        seven = [("S", 8, 0, i, 0x1000 + 8 * i, 1) for i in range(7)]
        eight = [("S", 8, 0, 16 + i, 0x1000, i) for i in range(8)]
        self.assertEqual(
            self.judge(("W", 0, 0, 0, 0, 0), *seven, *eight, ("E", 0, 0, 32, 0, 0)),
            ["pcpu 0 period 2 privileged spin paper spin recurrence reference stores 7 loads 0",
             "pcpu 0 period 3 privileged progress paper stores recurrence few-repeats"
             " stores 8 loads 0"])

    def test_switch_cuts_off(self):
        """Nothing is decided for 15 instructions; 16 are a period."""
        self.assertEqual(
            self.judge(("W", 1, 0, 0, 0, 0), ("W", 1, 1, 0, 15, 0), ("W", 1, 0, 15, 16, 0),
                       ("E", 0, 0, 30, 0, 0)),
            ["pcpu 0 period 3 user spin paper spin recurrence not-judged stores 0 loads 0"])

    def test_mode_change_inside_and_between(self):
        """Inside a period it is progress; exactly between two it is in neither."""
        verdicts = self.judge(
            ("W", 1, 0, 0, 0, 0), ("M", 0, 0, 15, 0, 0),        # last instruction of the first
            ("M", 1, 0, 32, 0, 0),                              # after the second
            ("E", 0, 0, 48, 0, 0), options=("detector=paper",))
        self.assertEqual([v.split()[4:7] + v.split()[7:8] for v in verdicts],
                         [["user", "progress", "paper", "mode-change"],
                          ["privileged", "spin", "paper", "spin"],
                          ["user", "spin", "paper", "spin"]])

    def test_loads_in_user_mode_only(self):
        """A search loop: progress in user mode, a spin in the kernel."""
        for user, verdict in ((1, "progress paper loads"), (0, "spin paper spin")):
            found = self.judge(("W", user, 0, 0, 0, 0),
                               *(("L", 8, 0, i, 0x1000 + 8 * i, 0) for i in range(16)),
                               ("E", 0, 0, 16, 0, 0))
            self.assertIn(verdict, found[0])

    def test_paper_rests_as_a_part_of_either(self):
        """Progress, a rest of 2 in which nothing is found, a spin; alone it never rests."""
        records = [("W", 0, 0, 0, 0, 0),
                   *(("S", 8, 0, i, 0x1000 + 8 * i, 1) for i in range(8)), ("E", 0, 0, 64, 0, 0)]
        for detector, said in (("either", ["stores", "resting", "resting", "spin"]),
                               ("paper", ["stores", "spin", "spin", "spin"])):
            verdicts = self.judge(*records, options=("paper-rest=2", f"detector={detector}"))
            self.assertEqual([v.split(" paper ")[1].split()[0] for v in verdicts], said)

    def test_recurrence_rests(self):
        """Reference, new address, then a rest of 2, then reference, repeat, spin."""
        records = [("W", 0, 0, 0, 0, 0)]
        for period, address in enumerate((1, 2, 1, 1, 1, 1, 1)):
            records += [("S", 8, 0, 16 * period, 4096 * address, period)]
        verdicts = self.judge(*records, ("E", 0, 0, 16 * 7, 0, 0),
                              options=("recurrence-rest=2", "detector=recurrence"))
        self.assertEqual([v.split(" recurrence ")[1].split()[0] for v in verdicts],
                         ["reference", "new-address", "resting", "resting", "reference",
                          "few-repeats", "spin"])


class Programs(unittest.TestCase):
    """Real traces, written by the plugin while a program runs."""

    CONFIGURATIONS = (
        (), ("detector=paper",), ("detector=recurrence", "period=5000"),
        ("recurrence-rest=0", "recurrence-entries=8", "period=200", "recurrence-repeats=1"),
        ("store-threshold=3", "load-threshold=5", "period=100"),
    )

    def test_model_agrees(self):
        """Every verdict of every configuration, on programs that spin and that do not."""
        for program in ("idle", "search", "stream", "selftest", "tas"):
            with self.subTest(program), tempfile.TemporaryDirectory() as directory:
                trace = os.path.join(directory, "trace")
                lines(binary(), "-M", "sun4u", "-nodefaults", "-display", "none",
                      "-serial", "stdio", "-bios",
                      os.path.join(GUESTS, "bare-metal", program + ".elf"),
                      "-fw_cfg", "name=opt/args,string= ",
                      "-plugin", f"{PLUGIN},out={trace},limit=1000000")
                for options in self.CONFIGURATIONS:
                    model = lines(MODEL, *(f"--{o}" for o in options), trace)
                    self.assertEqual(
                        model, lines(REPLAY, "--periods", trace, ",".join(options) or "-"))
                    self.assertGreater(len(model), 10)


class Machine(unittest.TestCase):
    """What the SDBs of a machine decided equals, period by period, what the model
    works out from the trace of the same run."""

    def test_decisions(self):
        """4 VCPUs on 2 PCPUs, programs that wait in different ways; blocks report in line, or
        the slow path reports what they do (translate-after)."""
        for program in ("idle", "search", "tas", "ticket", "mcs", "barrier"):
            policies = ["timeslice", "sdb"]
            if program in ("tas", "mcs"):
                policies += ["sdb,translate-after=0", "sdb,translate-after=1000000"]
            for policy in policies:
                with self.subTest(program=program, policy=policy), \
                        tempfile.TemporaryDirectory() as directory:
                    trace, log = os.path.join(directory, "trace"), os.path.join(directory, "log")
                    lines(binary(), "-M", f"cmp,pcpus=2,vcpus=4,sched={policy}", "-nodefaults",
                          "-display", "none", "-serial", "stdio", "-bios",
                          os.path.join(GUESTS, "bare-metal", program + ".elf"),
                          "-fw_cfg", "name=opt/args,string= ",
                          "-trace", "sdb_period", "-D", log,
                          "-plugin", f"{PLUGIN},out={trace},pcpus=2")
                    done = subprocess.run([MODEL, "--compare", log, trace], check=False,
                                          stdout=subprocess.PIPE, text=True)
                    self.assertEqual(done.returncode, 0, done.stdout)


class Trace(unittest.TestCase):
    """vsched_period tells the address of the block in which a period ends."""
    timeout = 120

    def addresses(self, image, *args, **options):
        with tempfile.NamedTemporaryFile() as rom, tempfile.NamedTemporaryFile() as log:
            rom.write(image)
            rom.flush()
            with Guest("-bios", rom.name, "-trace", "vsched_period", "-D", log.name, *args,
                       **options):
                deadline = time.monotonic() + 60 * SLOWER
                while os.path.getsize(log.name) < 1 << 14 and time.monotonic() < deadline:
                    time.sleep(0.02)
            with open(log.name, encoding="utf-8") as text:
                return set(re.findall(r"^vsched_period .* pc (\w+) .*\n", text.read(),
                                      re.MULTILINE))

    def test_sparc64(self):
        """Power-on enters the PROM at 0x20, where there is a branch to itself."""
        prom = bytes(0x20) + b"\x10\x68\x00\x00\x01\x00\x00\x00"
        self.assertEqual(self.addresses(prom, "-M", "cmp8,vcpus=1,sched=sdb"), {"0x1fff0000020"})

    def test_x86(self):
        """Blocks of x86 are independent of their position.  VCPU 0 enters the ROM at
        ffff0000 + fff0, from where a jump leads to ffff0000 + 100: cli, jmp 101."""
        self.assertEqual(self.addresses(x86_rom([], [b"\xeb\xfe"], []), "-M", "q35", "-nodefaults",
                                        "-accel", "tcg,thread=vsched,pcpus=1,sched=sdb",
                                        arch="x86_64"), {"0xffff0101"})


class Errors(unittest.TestCase):
    """Bad arguments: what is allowed is said, and nothing is written."""

    def refused(self, *command):
        """Standard error of a command that has to fail."""
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              stdin=subprocess.DEVNULL, check=False, timeout=60 * SLOWER)
        self.assertNotEqual(done.returncode, 0)
        return done.stderr

    def test_replay(self):
        """sdb-replay"""
        for text, expected in (("period=5", "allowed are 16 to 1048576"),
                               ("period=-1", "a number is needed"),
                               ("detector=both", "allowed are paper, recurrence and either"),
                               ("store-threshold=9", "can never be reached with 8 entries"),
                               ("speed=1", "no such parameter")):
            self.assertIn(expected, self.refused(REPLAY, os.devnull, text))
        self.assertIn("bad trace", self.refused(REPLAY, binary()))

    def test_model(self):
        """sdb-model"""
        self.assertIn("allowed are 16 to 1048576",
                      self.refused(MODEL, "--period=5", os.devnull))
        self.assertIn("unknown record", self.refused(MODEL, binary())
                      .replace("executes on", "unknown record"))

    def test_plugin(self):
        """sdbtrace"""
        for text in ("", ",out=/nonexistent/trace", ",out=t,pcpus=0", ",out=t,pcpus=x",
                     ",out=t,privileged=5", ",out=t,privileged=5-4", ",out=t,speed=1"):
            self.assertIn("sdbtrace:", self.refused(
                binary(), "-M", "sun4u", "-nodefaults", "-display", "none", "-S",
                "-plugin", PLUGIN + text))


if __name__ == "__main__":
    unittest.main()
