"""What looks at a run does not change it: the SDBs, plugins, logs, single blocks
instead of chained ones, and translations that are thrown away again and again.

A run is what the console said and every counter of query-stats.  The programs
have no operating system (guests/bare-metal); qtest/full does this with Linux.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import re
import shlex
import subprocess
import unittest

from support import BUILD, GUESTS, SLOWER, TOP, Guest, Refusals
from test_save import end, program, wait_for

PLUGINS = os.path.join(BUILD, "plugins")

# Programs that between them have locks, cross-calls, interrupts, TLB misses, traps and
# user mode; what runs them switches VCPUs in the middle of all that.
MACHINE = "cmp,pcpus=2,vcpus=5,slice=20us"
PROGRAMS = (("crosscall", "rounds=3"), ("tas", "rounds=300 user=1"),
            ("idle", "rounds=5 work=2000"), ("chase", "slots=2048 stride=8192 steps=2000"),
            ("selftest", ""), ("code", "blocks=40000"))

PLUGINS_OF_QEMU = [f"contrib/plugins/{name}.c" for name in (
    "bbv", "cache", "cflow", "drcov", "execlog", "hotblocks", "hotpages", "howvec", "hwprofile",
    "stoptrigger")] + [f"tests/tcg/plugins/{name}.c" for name in (
        "bb", "empty", "inline", "insn", "mem", "reset", "syscall")]


def qemu_plugin(name):
    """A plugin of QEMU's own; compiled as its Makefiles do."""
    source = os.path.join(BUILD, "src/qemu", name)
    out = os.path.join(PLUGINS, "lib" + os.path.basename(name)[:-2] + ".so")
    if not os.path.exists(out):
        os.makedirs(PLUGINS, exist_ok=True)
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "glib-2.0"], check=True,
                               stdout=subprocess.PIPE, text=True).stdout
        subprocess.run([*shlex.split(os.environ.get("CC") or "gcc"), "-shared", "-fPIC", "-O2",
                        "-I" + os.path.join(BUILD, "src/qemu/include/qemu"), "-o", out + ".new",
                        source, *shlex.split(flags)], check=True)
        os.rename(out + ".new", out)
    return out


def without_sdb(stats):
    """Counters that do not depend on whether the SDBs watch."""
    out = {}
    for where, counters in stats.items():
        kept = {k: v for k, v in counters.items()
                if "sdb-" not in k and "spin" not in k and "running-useful" not in k}
        for k, v in counters.items():       # running, whatever the SDBs thought of it
            if k.endswith("running-useful"):
                kept[k[:-7]] = v + counters[k.replace("useful", "spinning")]
        out[where] = kept
    return out


def run_all(machine, *arguments):
    """What each program printed and counted on a machine."""
    out = []
    for name, parameters in PROGRAMS:
        with Guest(*program(name, machine, parameters, *arguments)) as guest:
            out.append(end(guest, timeout=100))
    return out


class Observer(Refusals, unittest.TestCase):
    timeout = 600

    @classmethod
    def setUpClass(cls):
        cls.alone = {}
        for sched in ("sdb", "timeslice"):
            cls.alone[sched] = run_all(f"{MACHINE},sched={sched}")

    def assert_same(self, runs, others):
        for (name, _), one, other in zip(PROGRAMS, runs, others):
            with self.subTest(program=name):
                self.assertIn('"ok": true', one[0])
                self.assertEqual(one[0], other[0])
                self.assertEqual(one[1], other[1])

    def same(self, *arguments):
        for sched, alone in self.alone.items():
            with self.subTest(sched=sched):
                self.assert_same(alone, run_all(f"{MACHINE},sched={sched}", *arguments))

    def test_the_programs_are_worth_it(self):
        """They do what could be disturbed, and policies do make a difference."""
        total = {}
        for _, stats in self.alone["sdb"]:
            for name, value in stats["vm"].items():
                total[name] = total.get(name, 0) + value
        for name in ("vcpu-insns-user", "vcpu-spin-periods", "vcpu-slices-ended-by-spin",
                     "vcpu-slices-expired", "vcpu-cross-calls-refused", "posted-events"):
            self.assertGreater(total[name], 0, name)
        self.assertNotEqual(self.alone["sdb"], self.alone["timeslice"])

    def test_sdb_that_nobody_listens_to(self):
        off = run_all(f"{MACHINE},sched=timeslice,sdb=off")
        on = self.alone["timeslice"]
        self.assertNotEqual([stats for _, stats in on], [stats for _, stats in off])
        self.assert_same([(c, without_sdb(s)) for c, s in on],
                         [(c, without_sdb(s)) for c, s in off])

    def test_detectors_that_nobody_listens_to(self):
        other = run_all(f"{MACHINE},sched=timeslice,detector=paper,sdb-period=100")
        self.assert_same([(c, without_sdb(s)) for c, s in self.alone["timeslice"]],
                         [(c, without_sdb(s)) for c, s in other])

    def test_log(self):
        with Guest("-M", "none") as scratch:
            log = os.path.join(scratch.dir, "log")
        self.same("-d", "int,guest_errors,unimp,mmu", "-D", log,
                  *("-trace", "vsched_*", "-trace", "sdb_*", "-trace", "win_helper_*"))
        with open(log, encoding="utf-8") as f:
            self.assertRegex(f.read(100_000), "sdb_period|vsched_cross_call")

    def test_blocks_that_are_not_chained(self):
        self.same("-d", "nochain")

    def test_trace_of_every_block(self):
        """The log is empty if nothing was traced."""
        with Guest("-M", "none") as scratch:
            log = os.path.join(scratch.dir, "log")
        self.same("-d", "exec,nochain", "-D", log)
        self.assertGreater(os.path.getsize(log), 1000)

    def test_counting_plugins(self):
        for name in ("tests/tcg/plugins/insn.c", "tests/tcg/plugins/mem.c"):
            with self.subTest(plugin=name):
                self.same("-plugin", f"{qemu_plugin(name)},inline=true")
                self.same("-plugin", qemu_plugin(name))

    def test_all_plugins_at_once(self):
        """One of them names every instruction with its accesses, another simulates caches."""
        with Guest("-M", "none") as scratch:
            options = {"bbv": f",interval=1000,outfile={scratch.dir}/bbv",
                       "drcov": f",filename={scratch.dir}/drcov", "stoptrigger": f",icount={1 << 62}"}
            plugins = []
            for name in PLUGINS_OF_QEMU:
                short = os.path.basename(name)[:-2]
                plugins += ["-plugin", qemu_plugin(name) + options.get(short, "")]
            log = os.path.join(scratch.dir, "log")
            for (name, parameters), alone in list(zip(PROGRAMS, self.alone["sdb"]))[:2]:
                with self.subTest(program=name), \
                        Guest(*program(name, f"{MACHINE},sched=sdb", parameters, *plugins,
                                       "-d", "plugin", "-D", log)) as guest:
                    self.assertEqual(end(guest, timeout=100), alone)

    def test_a_plugin_that_sets_the_time(self):
        """Simulated time is that of the PCPUs; so it is under -icount, for one CPU."""
        plugin = qemu_plugin("contrib/plugins/ips.c") + ",ips=1000000"
        for machine in (("-M", MACHINE), ("-M", "sun4u", "-accel", "tcg", "-icount", "shift=0")):
            self.refuse("a plugin asked for control of time, .* keeps the virtual clock itself",
                        *machine, "-plugin", plugin)

    def test_a_look_at_registers_and_memory(self):
        """A monitor reads memory that is mapped, on demand too, and memory that is not."""
        arguments = program("chase", f"{MACHINE},sched=sdb", "slots=4096 stride=8192 steps=100000")
        with Guest(*arguments) as guest:
            alone = end(guest)
        with Guest(*arguments) as guest:
            for number in range(1, 6):
                wait_for(guest, 200_000 * number)
                guest.cmd("stop")
                for cpu in range(5):
                    guest.cmd("human-monitor-command", cpu_index=cpu, command_line="info registers")
                    for address in ("0x400000", "0x1000000", "0x3400000", "0x123456789000"):
                        said = guest.cmd("human-monitor-command", cpu_index=cpu,
                                         command_line=f"x /4xg {address}")
                        if address == "0x400000" and cpu == 0:
                            self.assertNotIn("Cannot access", said)
                        elif address == "0x123456789000":
                            self.assertIn("Cannot access", said)
                guest.cmd("cont")
            self.assertNotEqual(guest.stats(), alone[1])
            self.assertEqual(alone, end(guest))

    def test_reports_in_line_and_by_the_slow_path(self):
        """Blocks are translated in the forms that report at once, or never; so they are with
        another listener, which wants all accesses for ever and charges time at some of them."""
        for sched, alone in self.alone.items():
            for times in (0, 1000000):
                with self.subTest(sched=sched, times=times):
                    self.assert_same(alone, run_all(f"{MACHINE},sched={sched},"
                                                    f"translate-after={times}"))
        stalls = f"{MACHINE},sched=sdb,random-stalls=20,translate-after="
        self.assert_same(run_all(stalls + "0"), run_all(stalls + "1000000"))

    def test_few_translations_kept(self):
        """The code buffer holds 1 MiB, and is emptied whenever it is full."""
        few = ("-accel", "tcg,thread=vsched,tb-size=1")
        self.same(*few)
        with Guest(*program("code", MACHINE, "blocks=40000", *few)) as guest:
            end(guest)
            jit = guest.cmd("x-query-jit")["human-readable-text"]
        self.assertGreater(int(re.search(r"TB flush count +(\d+)", jit).group(1)), 2)


class X86(unittest.TestCase):
    """A boot of Linux has accesses of all sizes, compare-and-swaps that fail, and strings."""
    timeout = 900

    def test_reports_in_line_and_by_the_slow_path(self):
        runs = []
        for times in (0, 1000000):
            with Guest("-M", "q35", "-nodefaults", "-smp", "2", "-m", "256", "-no-shutdown",
                       "-kernel", os.path.join(GUESTS, "x86/vmlinuz"),
                       "-initrd", os.path.join(GUESTS, "x86/initrd.gz"),
                       "-append", "console=ttyS0 workload=boot",
                       "-accel", f"tcg,thread=vsched,pcpus=2,sched=sdb,translate-after={times}",
                       arch="x86_64") as guest:
                guest.wait_console("workload boot: exit 0", timeout=300)
                self.assertTrue(guest.event_wait("SHUTDOWN", timeout=60 * SLOWER))
                runs.append((guest.console, guest.stats()))
        self.assertEqual(*runs)
        self.assertGreater(runs[0][1]["vm"]["vcpu-spin-periods"], 100)


if __name__ == "__main__":
    unittest.main()
