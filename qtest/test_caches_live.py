"""The cache plugin while a machine runs: when it counts, commands, statistics, saved states.

test_caches.py holds what it counts.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import fcntl
import json
import os
import re
import stat
import subprocess
import tempfile
import unittest

from support import BUILD, SLOWER, TOP, Guest, Refusals
from test_determinism import qcow2
from test_save import end, load, program, save, snapshot, wait_for, wait_migrated

PLUGIN = os.path.join(BUILD, "plugins/libcachetime.so")
MACHINE = "cmp,pcpus=2,vcpus=4,sched=sdb"
SCHEMA = os.path.join(TOP, "plugin-cachetime/cache-report.schema.json")
US = 1000


def caches(*arguments):
    return ("-plugin", ",".join((PLUGIN, "table=off", *arguments)))


def ask(guest, command, **arguments):
    return guest.cmd("plugin-command", plugin="cachetime", command=command, arguments=arguments)


def report(guest):
    """All that is the same in two equal runs."""
    return ask(guest, "report")


def sums(data, name):
    """(privileged, user): a counter of all VCPUs in a report"""
    return [sum(v[mode][name] for v in data["vcpus"]) for mode in ("privileged", "user")]


class When(unittest.TestCase):
    """When accesses reach the model."""
    timeout = 120

    def run_with(self, *arguments, name="ticket", parameters="rounds=2000", machine=MACHINE):
        """(console, statistics of the engine, status)"""
        with Guest(*program(name, machine, parameters, *arguments)) as guest:
            console, stats = end(guest)
            return console, stats, ask(guest, "status")

    def test_never_is_without(self):
        """What has not begun changes nothing: not the costs of switches either."""
        with Guest(*program("ticket", MACHINE, "rounds=2000")) as guest:
            without = end(guest)
        for how in ("start=off", "from=1000s", "from-insns=1000000000000", "magic=on"):
            with self.subTest(how=how):
                console, stats, status = self.run_with(*caches(how))
                self.assertEqual((console, stats), without)
                self.assertEqual((status["on"], status["counted-cycles"]), (False, 0))

    def test_times(self):
        """Windows end at whole microseconds, so regions begin and end exactly there."""
        *_, status = self.run_with(*caches("from=100us", "to=350us"))
        self.assertEqual((status["on"], status["counted-cycles"]), (False, 250 * US))
        *_, status = self.run_with(*caches("to=350us"))
        self.assertEqual(status["counted-cycles"], 350 * US)

    def test_instructions(self):
        """From the window on in which all VCPUs together have retired so many."""
        with Guest(*program("ticket", MACHINE, "rounds=2000",
                            *caches("from-insns=300000", "to-insns=600000"))) as guest:
            end(guest)
            data = report(guest)
        retired = sum(sum(v[mode]["instructions"] for mode in ("privileged", "user"))
                      for v in data["vcpus"])
        # two PCPUs retire at most 1000 instructions each in a window
        self.assertLessEqual(abs(retired - 300000), 2 * 2000)

    def test_magic(self):
        """Of 21 parts of a program the one between two instructions that change nothing: its
        loads, and those until the window ends."""
        for rounds in (2000, 4000):
            with self.subTest(rounds=rounds), \
                    Guest(*program("region", "cmp,pcpus=1,vcpus=1", f"rounds={rounds} words=64",
                                   *caches("magic=on"))) as guest:
                end(guest)
                data = report(guest)
                self.assertFalse(ask(guest, "status")["on"])
            loads = sum(sums(data, "loads"))
            # a window has 1000 instructions, and a load is one of four of them
            self.assertLess(abs(loads - 64 * rounds), 600)

    def test_commands_at_a_time(self):
        commands = [word for at, what in ((100, "on"), (200, "off"), (300, "on")) for word in (
            "-object", f"vsched-command,id=c{at},at={at * US},run=vsched-plugin-command,"
            f"arguments=plugin=cachetime,,command={what}")]
        runs = [self.run_with(*caches("start=off"), *commands) for _ in range(2)]
        self.assertEqual(*runs)
        _, stats, status = runs[0]
        time = stats["vm"]["time"]
        self.assertEqual(status["counted-cycles"], 100 * US + time - 300 * US)


class Intervals(unittest.TestCase):
    """Records over time, of the time in which it is on."""
    timeout = 120

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path, self.out = (os.path.join(directory.name, name) for name in ("records", "out"))

    def run_with(self, *arguments, more=()):
        """(records, report) of a run to its end; more: arguments of QEMU"""
        with Guest(*(a for a in program("ticket", MACHINE, "rounds=2000", *more, *caches(
                "interval=100us", f"intervals={self.path}", f"out={self.out}", *arguments))
                     if a != "-no-shutdown")) as guest:
            guest.wait_exit()
        with open(self.path, encoding="utf-8") as records, open(self.out, encoding="utf-8") as out:
            return [json.loads(line) for line in records], json.load(out)

    def test_all_of_a_run(self):
        """The last one ends with the machine, and together they are the report."""
        records, data = self.run_with()
        ends = [record["end"] for record in records]
        self.assertEqual([record["begin"] for record in records], [0, *ends[:-1]])
        self.assertEqual(ends[:-1], [100 * US * n for n in range(1, len(records))])
        self.assertEqual(ends[-1], data["end"])
        self.assertNotEqual(ends[-1] % (100 * US), 0)
        for name in "instructions", "loads", "fetches", "stall-memory":
            self.assertEqual(
                sum(v[mode].get(name, 0) for record in records for v in record["vcpus"]
                    for mode in ("privileged", "user")), sum(sums(data, name)), name)

    def test_of_a_region(self):
        records, _ = self.run_with("from=150us", "to=420us")
        self.assertEqual([(record["begin"] // US, record["end"] // US) for record in records],
                         [(150, 200), (200, 300), (300, 400), (400, 420)])

    def test_numbers_after_a_reset(self):
        """Names of records stay unique; times go on, counters begin anew."""
        records, data = self.run_with(more=(
            "-object", "vsched-command,id=c,at=230us,run=vsched-plugin-command,"
            "arguments=plugin=cachetime,,command=reset"))
        self.assertEqual([record["number"] for record in records], list(range(len(records))))
        self.assertEqual([(record["begin"] // US, record["end"] // US) for record in records[:5]],
                         [(0, 100), (100, 200), (200, 230), (230, 300), (300, 400)])
        self.assertEqual(sum(sums(data, "loads")), sum(
            v[mode].get("loads", 0) for record in records[3:] for v in record["vcpus"]
            for mode in ("privileged", "user")))


class Commands(unittest.TestCase):
    timeout = 120

    def test_reset(self):
        with Guest(*program("ticket", MACHINE, "rounds=2000", *caches())) as guest:
            end(guest)
            before = report(guest)
            self.assertGreater(sums(before, "loads")[0], 0)
            ask(guest, "reset")
            after = report(guest)
            self.assertEqual(sums(after, "loads"), [0, 0])
            self.assertEqual(ask(guest, "status")["counted-cycles"], 0)

    def test_wrong_ones(self):
        with Guest(*program("ticket", MACHINE, "rounds=2", *caches())) as guest:
            end(guest)
            before = report(guest)
            for command, arguments, says in (
                    ("onn", {}, "no command 'onn': there are off, on, report, reset, status"),
                    ("on", {"file": "x"}, "file"),
                    ("report", {"file": "/nowhere/x"}, "/nowhere/x")):
                with self.subTest(command=command):
                    answer = guest.qmp("plugin-command", {
                        "plugin": "cachetime", "command": command, "arguments": arguments})
                    self.assertIn(says, answer["error"]["desc"])
            self.assertEqual(report(guest), before)

    def test_report_in_a_file(self):
        with Guest(*program("ticket", MACHINE, "rounds=200", *caches())) as guest:
            end(guest)
            path = os.path.join(guest.dir, "report.json")
            ask(guest, "report", file=path)
            with open(path, encoding="utf-8") as f:
                self.assertEqual(json.load(f), report(guest))

    def test_statistics(self):
        """query-stats has what the report has."""
        with Guest(*program("ticket", MACHINE + ",vms=3+1", "rounds=200", *caches())) as guest:
            end(guest)
            stats, data = guest.stats("plugin"), report(guest)
            vcpus = [cpu["qom-path"] for cpu in guest.cmd("query-cpus-fast")]
        self.assertEqual([len(data[kind]) for kind in ("vcpus", "vms")], [4, 2])
        for kind, objects, paths in (
                ("machine", [data["machine"]], ["vm"]),
                ("vm", data["vms"], ["/machine/vm[0]", "/machine/vm[1]"]),
                ("vcpu", data["vcpus"], vcpus),
                ("pcpu", data["pcpus"],
                 [f"/machine/vsched/pcpu[{n}]" for n in range(len(data["pcpus"]))])):
            for number, (values, path) in enumerate(zip(objects, paths, strict=True)):
                of = stats[path]
                for mode in ("privileged", "user"):
                    for name in ("fetches", "loads", "stores", "l1d-misses-capacity",
                                 "stall-memory"):
                        with self.subTest(kind=kind, number=number, mode=mode, name=name):
                            self.assertEqual(of[f"cachetime.{mode}-{name}"], values[mode][name])


class LongReport(unittest.TestCase):
    """Two processors of a PC share 8192 lines, each of which a report has with both of them."""
    timeout = 120
    # Real mode; both begin at the reset vector, the second one when the first one starts it.
    ROM = """
        .code16
        main:   mov $0x1b, %ecx         # the bootstrap processor: x2APIC on, start all others
                rdmsr
                test $0x100, %eax
                jz sweep
                mov $0xfee00d00, %eax
                wrmsr
                mov $0x830, %ecx
                xor %edx, %edx
                mov $0xc46f0, %eax      # start at f000:0000
                wrmsr
        sweep:  mov $0x1000, %ax        # segments 0x1000 to 0x8fff: 512 KB
        1:      mov %ax, %ds
                xor %si, %si
                mov $1024, %cx
        2:      incw (%si)
                add $64, %si
                loop 2b
                add $0x1000, %ax
                cmp $0x9000, %ax
                jb 1b
                jmp sweep
                .org 0xfff0
                jmp main
                .org 0x10000
    """

    def test_says_what_to_do(self):
        with tempfile.TemporaryDirectory() as directory:
            rom, path = (os.path.join(directory, name) for name in ("rom", "report"))
            subprocess.run(["as", "--32", "-o", f"{rom}.o"], input=self.ROM, text=True, check=True)
            subprocess.run(["objcopy", "-O", "binary", "-j", ".text", f"{rom}.o", rom], check=True)
            wanted = "", f",,arguments.file={path}"
            commands = [word for n, more in enumerate(wanted) for word in (
                "-object", f"vsched-command,id=c{n},at=40ms,run=vsched-plugin-command,"
                f"arguments=plugin=cachetime,,command=report{more}")]
            with Guest("-M", "q35", "-nodefaults", "-cpu", "qemu64,+x2apic", "-smp", "2", "-bios",
                       rom, "-accel", "tcg,thread=vsched,pcpus=2", *commands,
                       *caches("attribution=on", "top=10000"), arch="x86_64") as guest:
                answers = [guest.event_wait("VSCHED_COMMAND", timeout=60 * SLOWER)["data"]
                           for _ in range(2)]
            self.assertRegex(answers[0]["error"], r"the report has \d+ names, values and signs of "
                             "JSON; allowed in an answer are 2097152: file= writes it into a file")
            self.assertEqual(answers[1]["answer"], {})
            with open(path, encoding="utf-8") as f:
                text = f.read()
        # what is between two quotes is one token; no text has a sign in it
        tokens = len(re.findall(r'[]{}[:,]|"[^"]*"|[^]{}[:,"\s]+', text))
        self.assertGreater(tokens, 2 << 20)
        self.assertIn(f"has {tokens} names", answers[0]["error"])


class Stock(Refusals, unittest.TestCase):
    """Without the engine it counts, and nothing else."""
    timeout = 120

    def run_with(self, thread, *arguments):
        """What one processor did: a program whose accesses do not depend on time."""
        with Guest(*program("region", "sun4u", "rounds=100 words=64"), "-accel",
                   f"tcg,thread={thread}", *caches(*arguments)) as guest:
            guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
            return report(guest)

    def test_counts(self):
        for thread in "multi", "single":
            data = self.run_with(thread)
            self.assertGreater(sums(data, "loads")[0], 21 * 100 * 64)
            self.assertGreater(sums(data, "l1d-misses-compulsory")[0], 8)

    def test_magic(self):
        """The 8 lines of the array were loaded before, by a cache that was not there."""
        data = self.run_with("single", "magic=on")
        loads = sum(sums(data, "loads"))
        self.assertGreaterEqual(loads, 100 * 64 - 64)
        self.assertLess(loads, 100 * 64 + 64 * 64)

    def test_needs_time(self):
        for how in ("from=1ms", "to-insns=5", "interval=1ms,intervals=/dev/null"):
            self.refuse("need thread=vsched", "-M", "sun4u", "-accel", "tcg,thread=single",
                        *caches(how))


class Files(Refusals, unittest.TestCase):
    """What is written, and what is not."""
    timeout = 120

    def test_refused_at_the_start(self):
        for how, says in (("out=/nowhere/x", "/nowhere/x cannot be written"),
                          ("out=/", "no file"), ("out=", "name of a file"),
                          ("from=2ms,to=1ms", "have to be after"), ("to=0ms", "have to be after"),
                          ("from=1ms,from-insns=5", "only one"), ("start=on,from=1ms", "only one"),
                          ("interval=1ms", "together"), ("interval=0us,intervals=x", "at least"),
                          ("config=nope", "zen4-ccd")):
            self.refuse(says, "-M", MACHINE, *caches(how))

    def test_one_file_for_both(self):
        """By whatever names, and before anything is written into the one that can be."""
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "x")
            for other in path, os.path.join(directory, ".", "x"):
                self.refuse("two files", "-M", MACHINE,
                            *caches("interval=1us", f"intervals={path}", f"out={other}"))
            with open(path, "w", encoding="utf-8") as f:
                f.write("old")
            self.refuse("cannot be written", "-M", MACHINE,
                        *caches("interval=1us", f"intervals={path}", "out=/nowhere/x"))
            with open(path, encoding="utf-8") as f:
                self.assertEqual(f.read(), "old")

    def test_an_old_report_stays(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "old")
            with open(path, "w", encoding="utf-8") as f:
                f.write("old")
            self.refuse("need thread=vsched", "-M", "sun4u", "-accel", "tcg,thread=single",
                        *caches(f"out={path}", "from=1ms"))
            with open(path, encoding="utf-8") as f:
                self.assertEqual(f.read(), "old")

    def test_no_regular_file(self):
        """It is written into, not replaced."""
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "pipe")
            os.mkfifo(path)
            with Guest(*program("ticket", MACHINE, "rounds=20", *caches())) as guest:
                end(guest)
                reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 1 << 20)    # all of it has room
                ask(guest, "report", file=path)
                with open(reader, encoding="utf-8") as f:
                    self.assertEqual(json.load(f), report(guest))
            self.assertTrue(stat.S_ISFIFO(os.stat(path).st_mode))


class Attribution(unittest.TestCase):
    """Who causes stalls, in a machine."""
    timeout = 120

    def run_with(self, *arguments):
        with Guest(*program("ticket", MACHINE, "rounds=2000", *caches(*arguments))) as guest:
            return end(guest), report(guest)

    def test_it_changes_nothing(self):
        with_it, without = self.run_with("attribution=on"), self.run_with()
        self.assertIn("attribution", with_it[1])
        del with_it[1]["attribution"]
        without[1].pop("attribution", None)
        self.assertEqual(with_it, without)

    def test_every_coherence_miss_is_judged(self):
        _, data = self.run_with("attribution=on")
        misses = data["attribution"]["sharing"]["misses"]
        judged = sum(misses[what] for what in ("true", "false", "undecided", "unknown"))
        self.assertEqual(judged, sum(sums(data, "l2-misses-coherence")))
        self.assertGreater(misses["true"], 100)         # VCPUs hand the lock to each other

    def test_the_schema(self):
        import jsonschema               # pylint: disable=import-outside-toplevel
        with open(SCHEMA, encoding="utf-8") as f:
            validator = jsonschema.Draft202012Validator(json.load(f))
        for how in ("on", "off"):
            validator.validate(self.run_with(f"attribution={how}")[1])


class Saved(unittest.TestCase):
    """A state has the caches."""
    timeout = 200

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, "state")

    def test_goes_on(self):
        """What is loaded ends as the run that nobody stopped: time, counters, caches."""
        arguments = program("ticket", MACHINE, "rounds=20000", *caches("attribution=on"))
        with Guest(*arguments) as guest:
            whole = end(guest), report(guest)
        with Guest(*arguments) as guest:
            wait_for(guest, 2_000_000)
            guest.cmd("stop")
            save(guest, self.path)
            middle, before = report(guest), guest.console
            guest.cmd("cont")
            self.assertEqual((end(guest), report(guest)), whole)
        self.assertNotEqual(middle, whole[1])
        with Guest(*arguments, "-incoming", "defer", "-S") as guest:
            load(guest, self.path)
            self.assertEqual(report(guest), middle)
            guest.cmd("cont")
            console, stats = end(guest)
            self.assertEqual(((before + console, stats), report(guest)), whole)

    def test_back_in_the_same_machine(self):
        """From 10 ms, where it is off again, back to 7 ms: the VCPUs are on other PCPUs there."""
        def run_until(guest, time):
            guest.cmd("vsched-stop", at=time)
            guest.cmd("cont")
            guest.event_wait("STOP", timeout=60 * SLOWER)
            return guest.stats(), report(guest)

        with Guest(*program("tas", "cmp,pcpus=2,vcpus=6,sched=timeslice,slice=50us",
                            "rounds=3000 user=1", *caches("from=6ms", "to=9ms")),
                   "-blockdev", f"driver=file,filename={qcow2(self.path, 64)},node-name=file",
                   "-blockdev", "driver=qcow2,file=file,node-name=disk", "-S") as guest:
            middle = run_until(guest, 7_000_000)
            snapshot(guest, "save", "middle", ["disk"])
            last = run_until(guest, 10_000_000)
            snapshot(guest, "load", "middle", ["disk"])
            self.assertEqual((guest.stats(), report(guest)), middle)
            self.assertEqual(run_until(guest, 10_000_000), last)
            self.assertEqual(ask(guest, "status")["counted-cycles"], 3_000_000)

    def test_bounds_that_were_passed(self):
        """It began at 100 us and was switched off at 200 us: a loaded run does not begin again."""
        arguments = program("ticket", MACHINE, "rounds=20000", *caches("from=100us"), "-object",
                            "vsched-command,id=c0,at=200us,run=vsched-plugin-command,"
                            "arguments=plugin=cachetime,,command=off")
        with Guest(*arguments) as guest:
            wait_for(guest, 2_000_000)
            guest.cmd("stop")
            save(guest, self.path)
            guest.cmd("cont")
            whole = end(guest)[1], report(guest)
        with Guest(*arguments, "-incoming", "defer", "-S") as guest:
            load(guest, self.path)
            guest.cmd("cont")
            self.assertEqual((end(guest)[1], report(guest)), whole)
            self.assertEqual(ask(guest, "status")["counted-cycles"], 100 * US)

    def saved_without_caches(self):
        """The arguments of a run that was saved"""
        arguments = program("ticket", MACHINE, "rounds=20000")
        with Guest(*arguments) as guest:
            wait_for(guest, 2_000_000)
            guest.cmd("stop")
            save(guest, self.path)
        return arguments

    def test_bounds_of_a_cold_begin(self):
        """A state without caches is past them: they say now what holds."""
        arguments = self.saved_without_caches()
        for how, on in (("from=100us",), True), (("from=100us", "to=200us"), False):
            with self.subTest(how=how), \
                    Guest(*arguments, *caches(*how), "-incoming", "defer", "-S") as guest:
                load(guest, self.path)
                guest.cmd("cont")
                end(guest)
                self.assertEqual(ask(guest, "status")["on"], on)

    def test_begins_cold(self):
        """A state that was saved without caches is loaded with empty ones, twice the same."""
        arguments = self.saved_without_caches()
        ends = []
        for _ in range(2):
            with Guest(*arguments, *caches(), "-incoming", "defer", "-S") as guest:
                load(guest, self.path)
                self.assertEqual(sums(report(guest), "loads"), [0, 0])
                guest.cmd("cont")
                ends.append((end(guest), report(guest)))
        self.assertEqual(*ends)
        self.assertTrue(json.loads(ends[0][0][0])["ok"])

    def test_does_not_fit(self):
        with Guest(*program("ticket", MACHINE, "rounds=20000", *caches())) as guest:
            wait_for(guest, 500_000)
            guest.cmd("stop")
            save(guest, self.path)
        for machine, how, says in (
                (MACHINE, caches("config=zen4-ccd"), "does not fit"),
                (MACHINE.replace("pcpus=2", "pcpus=3"), caches(), "4 VCPUs on 2 PCPUs"),
                # 128 entries of the TLB can be locked, of two words each
                (MACHINE, caches("state-words=100"),
                 "locked TLB entries: 533, this machine has 356"),
                (MACHINE, (), "cachetime")):
            with self.subTest(says=says), \
                    Guest(*program("ticket", machine, "rounds=20000", *how), "-incoming", "defer",
                          "-S") as guest:
                guest.cmd("migrate-incoming", uri=f"file:{self.path}", exit_on_error=False)
                with self.assertRaisesRegex(AssertionError, "migration"):
                    wait_migrated(guest)
                self.assertIn(says, guest.last_words(60))

    def test_damaged(self):
        """One bit of what the plugin has saved is another."""
        arguments = program("ticket", MACHINE, "rounds=20000", *caches())
        with Guest(*arguments) as guest:
            wait_for(guest, 500_000)
            guest.cmd("stop")
            save(guest, self.path)
        with open(self.path, "r+b") as f:
            begin = f.read().index(b"MPCACHE")          # the state of the model begins so
            for offset in 100, 5000, 50_000:
                with self.subTest(offset=offset):
                    f.seek(begin + offset)
                    byte = f.read(1)[0]
                    f.seek(begin + offset)
                    f.write(bytes([byte ^ 4]))
                    f.flush()
                    with Guest(*arguments, "-incoming", "defer", "-S") as guest:
                        guest.cmd("migrate-incoming", uri=f"file:{self.path}",
                                  exit_on_error=False)
                        with self.assertRaisesRegex(AssertionError, "migration"):
                            wait_migrated(guest)
                        self.assertIn("caches is damaged", guest.last_words(60))
                    f.seek(begin + offset)
                    f.write(bytes([byte]))


if __name__ == "__main__":
    unittest.main()
