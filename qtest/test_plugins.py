"""Plugins that save state, take commands and give statistics, as patches of ours let them.

Each operation has a test plugin in qtest/plugins/.  They count the instructions that VCPUs
begin, which is compared with what a program was worked out by hand to execute, with a run that
nobody stopped, or with what another way to ask says.  Stock TCG and the engine, SPARC and x86.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unittest

from support import BUILD, SLOWER, TOP, Guest, refused, x86_mov, x86_rom
from monitor import statistics
from test_determinism import qcow2
from test_save import end, load, program, save, snapshot

ENGINE = "tcg,thread=vsched,pcpus=2"
SPARC = program("ticket", "cmp,pcpus=2,vcpus=4", "rounds=20000")
MS = 1000 * 1000


def path_of(name):
    return os.path.join(BUILD, "plugins", f"lib{name}.so")


def plugin(name, *arguments):
    return ["-plugin", ",".join([path_of(name), *arguments])]


def ask(guest, name, command, **arguments):
    return guest.cmd("plugin-command", plugin=name, command=command, arguments=arguments)


def hmp(guest, line):
    return guest.cmd("human-monitor-command", command_line=line).replace("\r", "").strip()


def error(guest, execute, **arguments):
    """(class, text) of the error that the command has to be."""
    answer = guest.qmp(execute, arguments)
    assert "error" in answer, answer
    return answer["error"]["class"], answer["error"]["desc"]


def until(true, what, timeout=60):
    deadline = time.monotonic() + timeout * SLOWER
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not in {timeout} s")
        time.sleep(0.01)


def fails_to_load(guest, path):
    """A migration that has to fail; what QEMU said."""
    guest.cmd("migrate-incoming", uri=f"file:{path}", exit_on_error=False)
    until(lambda: guest.cmd("query-migrate").get("status") in ("failed", "completed"), "migration")
    assert guest.cmd("query-migrate")["status"] == "failed"
    assert not guest.cmd("query-status")["running"]
    return guest.last_words()


class Files(unittest.TestCase):
    """Tests with a directory of their own."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.dir = directory.name

    def file(self, name, data):
        path = os.path.join(self.dir, name)
        with open(path, "wb") as f:
            f.write(data)
        return path

    def x86(self, accel, loops, *more, smp=1):
        """One VCPU counts down from 'loops' and halts, which takes 2 * loops + 11 instructions
        from reset (Counting); others halt at once."""
        rom = self.file(f"rom-{loops}", x86_rom(
            [b"\xfa\xf4"], [], [x86_mov("ecx", loops), b"\x66\x49\x75\xfc", b"\xfa\xf4"]))
        return ["-nodefaults", "-M", "q35", "-cpu", "qemu64,+x2apic", "-smp", str(smp),
                "-accel", accel, "-bios", rom, *more]


def x86_insns(loops):
    """jmp, cli, xor; twice mov, mov, wrmsr; mov; loops times dec, jnz; cli, hlt"""
    return 3 + 2 * 3 + 1 + 2 * loops + 2


class Kept(Files):
    """The state of a plugin."""
    timeout = 300

    def saved(self, arguments, *more, arch="x86_64", at=100_000):
        """Save somewhere in the middle: (path, count)."""
        path = os.path.join(self.dir, f"state-{len(os.listdir(self.dir))}")
        with Guest(*arguments, *plugin("keeper", *more), arch=arch) as guest:
            until(lambda: ask(guest, "keeper", "count") >= at, "count")
            guest.cmd("stop")
            count = ask(guest, "keeper", "count")
            save(guest, path)
            self.assertEqual(ask(guest, "keeper", "count"), count)
        return path, count

    def into(self, arguments, *more, arch="x86_64"):
        return Guest(*arguments, *more, "-incoming", "defer", "-S", arch=arch)

    def test_x86_to_the_end(self):
        """By hand: from reset to the halt so many instructions, whoever counted them."""
        loops = 20_000_000
        for accel in ("tcg,thread=multi", "tcg,thread=single", ENGINE):
            with self.subTest(accel=accel):
                arguments = self.x86(accel, loops)
                path, count = self.saved(arguments)
                self.assertLess(count, x86_insns(loops))
                with self.into(arguments, *plugin("keeper")) as guest:
                    load(guest, path)
                    self.assertEqual(ask(guest, "keeper", "count"), count)
                    guest.cmd("cont")
                    until(lambda: ask(guest, "keeper", "count") >= x86_insns(loops), "end")
                    time.sleep(0.1)
                    self.assertEqual(ask(guest, "keeper", "count"), x86_insns(loops))

    def test_sparc_continues_identically(self):
        with Guest(*SPARC, *plugin("keeper")) as guest:
            whole = end(guest), ask(guest, "keeper", "count")
            insns = sum(guest.stats()["vm"][f"vcpu-insns-{mode}"] for mode in ("user", "privileged"))
            # An instruction that traps is begun twice; few do here.
            self.assertGreaterEqual(whole[1], insns)
            self.assertLess(whole[1], insns * 1.01)
        path, count = self.saved(SPARC, arch="sparc64", at=1_000_000)
        self.assertLess(count, whole[1])
        with self.into(SPARC, *plugin("keeper"), arch="sparc64") as guest:
            load(guest, path)
            self.assertEqual(ask(guest, "keeper", "count"), count)
            guest.cmd("cont")
            self.assertEqual((end(guest), ask(guest, "keeper", "count")), whole)

    def test_stock_sparc(self):
        arguments = program("ticket", "sun4u", "rounds=100000000")
        path, count = self.saved(arguments, arch="sparc64")
        with self.into(arguments, *plugin("keeper"), arch="sparc64") as guest:
            load(guest, path)
            self.assertEqual(ask(guest, "keeper", "count"), count)
            guest.cmd("cont")
            until(lambda: ask(guest, "keeper", "count") > count + 1_000_000, "count")

    def test_snapshots(self):
        """Forth and back in one QEMU.  What does not fit is refused, the plugin is as before,
        and another snapshot can be loaded."""
        for accel in ("tcg,thread=multi", ENGINE):
            with self.subTest(accel=accel):
                disk = qcow2(os.path.join(self.dir, "disk.qcow2"), 16)
                arguments = self.x86(accel, 0xffffffff, "-blockdev", "driver=qcow2,node-name=state,"
                                     f"file.driver=file,file.filename={disk}")
                with Guest(*arguments, *plugin("keeper", "max=30000000"), arch="x86_64") as guest:
                    counts = []
                    for tag, at in (("early", 1_000_000), ("late", 31_000_000)):
                        until(lambda at=at: ask(guest, "keeper", "count") >= at, "count")
                        guest.cmd("stop")
                        counts.append(ask(guest, "keeper", "count"))
                        snapshot(guest, "save", tag, ["state"])
                        guest.cmd("cont")
                    self.assertLess(counts[0], 30_000_000)
                    guest.cmd("stop")
                    before = ask(guest, "keeper", "count")
                    with self.assertRaises(AssertionError):
                        snapshot(guest, "load", "late", ["state"])
                    self.assertIn("plugin 'keeper' refuses the saved state: a count of "
                                  f"{counts[1]} is above max=30000000", guest.last_words())
                    self.assertEqual(ask(guest, "keeper", "count"), before)
                    self.assertFalse(guest.cmd("query-status")["running"])
                    snapshot(guest, "load", "early", ["state"])
                    self.assertEqual(ask(guest, "keeper", "count"), counts[0])
                    guest.cmd("cont")
                    until(lambda: ask(guest, "keeper", "count") > counts[0] + 1000, "count")

    def test_refused(self):
        """By the plugin, or because it is not there."""
        for accel in ("tcg,thread=multi", ENGINE):
            arguments = self.x86(accel, 0xffffffff)
            path, count = self.saved(arguments)
            for others, says in (
                    (plugin("keeper", "max=5"), "plugin 'keeper' refuses the saved state: a count "
                                                f"of {count} is above max=5"),
                    (plugin("keeper", "size=1"), "'keeper' refuses the saved state: 16 bytes are "
                                                 "not the 17 of a keeper"),
                    ([], "data of plugin 'keeper', which is not there"),
                    (plugin("commander"), "data of plugin 'keeper', which is not there")):
                with self.subTest(accel=accel, others=others), \
                        self.into(arguments, *others, arch="x86_64") as guest:
                    self.assertIn(says, fails_to_load(guest, path))

    def test_cold(self):
        """A machine that was saved without the plugin; or the plugin saved nothing."""
        arguments = self.x86(ENGINE, 0xffffffff)
        path = os.path.join(self.dir, "state")
        with Guest(*arguments, *plugin("commander"), arch="x86_64") as guest:
            until(lambda: ask(guest, "commander", "watch")["before"], "count")
            guest.cmd("stop")
            save(guest, path)
        with open(path, "rb") as f:
            self.assertNotIn(b"\7plugins", f.read())    # no section: as it ever was
        nothing, _ = self.saved(arguments, "nothing=on")
        for path in path, nothing:
            with self.subTest(path=path):
                with self.into(arguments, *plugin("keeper", "cold=refuse"), arch="x86_64") as guest:
                    self.assertIn("plugin 'keeper' refuses the saved state: nothing was kept",
                                  fails_to_load(guest, path))
                with self.into(arguments, *plugin("keeper"), arch="x86_64") as guest:
                    load(guest, path)
                    self.assertEqual(ask(guest, "keeper", "count"), 0)
                    guest.cmd("cont")
                    until(lambda: ask(guest, "keeper", "count"), "count")
        # A plugin that keeps no state has nothing to do with that.
        with self.into(arguments, *plugin("commander"), arch="x86_64") as guest:
            load(guest, nothing)

    def test_two_of_a_name(self):
        other = os.path.join(self.dir, "libkeeper.so")
        shutil.copy(path_of("keeper"), other)
        two = [*plugin("keeper", "size=70000"), "-plugin", f"{other},size=5"]
        swapped = ["-plugin", f"{other},size=5", *plugin("keeper", "size=70000")]
        arguments = self.x86(ENGINE, 0xffffffff)
        path = os.path.join(self.dir, "state")
        with Guest(*arguments, *two, arch="x86_64") as guest:
            until(lambda: ask(guest, "keeper#2", "count"), "count")
            guest.cmd("stop")
            self.assertEqual(ask(guest, "keeper", "count"), ask(guest, "keeper#2", "count"))
            save(guest, path)
        with self.into(arguments, *two, arch="x86_64") as guest:
            load(guest, path)
            self.assertEqual([info["name"] for info in guest.cmd("query-plugins")],
                             ["keeper", "keeper#2"])
        with self.into(arguments, *swapped, arch="x86_64") as guest:
            self.assertIn("'keeper' refuses the saved state: 70016 bytes are not the 21",
                          fails_to_load(guest, path))
        with self.into(arguments, *plugin("keeper", "size=70000"), arch="x86_64") as guest:
            self.assertIn("data of plugin 'keeper#2'", fails_to_load(guest, path))

    def test_damage(self):
        """Every number of the section, wrong in several ways."""
        arguments = self.x86(ENGINE, 0xffffffff)
        path, _ = self.saved(arguments)
        with open(path, "rb") as f:
            state = f.read()
        section = struct.pack(">II", 1, 6) + b"keeper" + struct.pack(">I", 16)
        self.assertEqual(state.count(section), 1)
        at = state.index(section)
        whole = state[at:at + len(section) + 16]
        for offset, value, says in (
                (0, 0, None), (0, 2, "damaged"), (0, 0xffffffff, "damaged"),
                (4, 0, "a name of 0 bytes"), (4, 5, None), (4, 7, "damaged"),
                (4, 1025, "a name of 1025 bytes"), (4, 0xffffffff, "a name of 4294967295 bytes"),
                (14, 0, None), (14, 15, None), (14, 17, None), (14, 0x7fffffff, "it ends within"),
                (14, 0xffffffff, "it ends within the 4294967295 bytes of plugin 'keeper'")):
            damaged = bytearray(state)
            damaged[at + offset:at + offset + 4] = struct.pack(">I", value)
            with self.subTest(offset=offset, value=value), \
                    self.into(arguments, *plugin("keeper"), arch="x86_64") as guest:
                words = fails_to_load(guest, self.file("damaged", damaged))
                self.assertIn(says or "", words)
                self.assertEqual(ask(guest, "keeper", "count"), 0)
        twice = struct.pack(">I", 2) + whole[4:] * 2
        for new, says in ((twice, "it has plugin 'keeper' twice"),
                          (whole.replace(b"keeper", b"ke\0per"), "no text of 6 bytes"),
                          (whole.replace(b"keeper", b"peeker"), "data of plugin 'peeker'"),
                          (whole[:18] + b"\xff" + whole[19:], "16 bytes are not the 16")):
            with self.subTest(says=says), \
                    self.into(arguments, *plugin("keeper"), arch="x86_64") as guest:
                damaged = state[:at] + new + state[at + len(whole):]
                self.assertIn(says, fails_to_load(guest, self.file("damaged", damaged)))


class Commanded(Files):
    timeout = 300

    def start(self, *arguments, arch="x86_64"):
        guest = Guest(*arguments, *plugin("commander"), arch=arch)
        self.addCleanup(guest.__exit__, None, None, None)
        return guest.__enter__()

    def still(self):
        return self.start("-S", *self.x86(ENGINE, 1))

    def test_nobody_runs_meanwhile(self):
        """Instructions pass between commands, none during one."""
        for arch, arguments in (
                ("x86_64", self.x86("tcg,thread=multi", 0xffffffff, smp=2)),
                ("x86_64", self.x86(ENGINE, 0xffffffff, smp=2)),
                ("sparc64", program("ticket", "sun4u", "rounds=100000000")),
                ("sparc64", program("ticket", "cmp,pcpus=2,vcpus=4", "rounds=100000000"))):
            with self.subTest(arguments=arguments):
                guest = self.start(*arguments, arch=arch)
                last = -1
                for _ in range(10):
                    answer = ask(guest, "commander", "watch")
                    self.assertEqual(answer["meanwhile"], 0)
                    self.assertGreaterEqual(answer["before"], last)
                    last = answer["before"]
                self.assertGreater(last, 0)
                self.assertTrue(guest.cmd("query-status")["running"])
                guest.cmd("stop")
                self.assertEqual(ask(guest, "commander", "watch")["meanwhile"], 0)
                self.assertFalse(guest.cmd("query-status")["running"])

    def test_errors(self):
        guest = self.still()
        for command, says in (("shout", "there is no command 'shout'"),
                              ("silent", "did not carry out"), ("broken", "is not JSON")):
            kind, text = error(guest, "plugin-command", plugin="commander", command=command)
            self.assertEqual(kind, "GenericError")
            self.assertRegex(text, f"plugin 'commander'.*{says}")
        self.assertEqual(error(guest, "plugin-command", plugin="admiral", command="echo"),
                         ("DeviceNotFound", "there is no plugin 'admiral': loaded are commander"))
        for value in ("n=5", 5, True, None, [], [{}], 1.5):
            kind, text = error(guest, "plugin-command", plugin="commander", command="echo",
                               arguments=value)
            self.assertEqual(kind, "GenericError")
            self.assertIn("arguments", text)
        for missing in ({"plugin": "commander"}, {"command": "echo"}):
            self.assertIn("is missing", error(guest, "plugin-command", **missing)[1])
        self.assertEqual(ask(guest, "commander", "add", n=5), {"sum": 5})
        for arguments, says in (({"n": 1001}, "allowed are -1000 to 1000"), ({"n": "x"}, "n=x is"),
                                ({"n": [1]}, re.escape("n=[1] is")), ({}, "n= is no number"),
                                ({"n": 1, "m": 2}, "no argument 'm': allowed are n")):
            self.assertRegex(error(guest, "plugin-command", plugin="commander", command="add",
                                   arguments=arguments)[1], says)
        self.assertEqual(ask(guest, "commander", "add", n=-1), {"sum": 4})   # of nothing refused
        deaf = Guest("-S", *self.x86(ENGINE, 1), *plugin("commander", "deaf=on"), arch="x86_64")
        with deaf as guest:
            self.assertEqual(error(guest, "plugin-command", plugin="commander", command="echo"),
                             ("GenericError", "plugin 'commander' takes no commands"))
            self.assertFalse(guest.cmd("query-plugins")[0]["commands"])
        with Guest("-S", *self.x86(ENGINE, 1), arch="x86_64") as guest:
            self.assertEqual(guest.cmd("query-plugins"), [])
            self.assertEqual(error(guest, "plugin-command", plugin="x", command="echo"),
                             ("DeviceNotFound", "there is no plugin 'x': loaded is none"))

    def test_arguments_at_random(self):
        """What comes back is what went there; the helpers read it as a JSON reader does."""
        draw = random.Random(1)
        guest = self.still()

        def text():
            return "".join(draw.choice("ab.\"\\/\n\t{}[],:=\u00e9\u20ac\U0001f600 ")
                           for _ in range(draw.randrange(12)))

        def value(depth=0):
            kinds = [text, lambda: draw.randrange(-2**63, 2**63), lambda: draw.random() * 1e9,
                     lambda: draw.choice((True, False, None)), lambda: 2**64 - 1]
            if depth < 4:
                kinds += [lambda: [value(depth + 1) for _ in range(draw.randrange(4))],
                          lambda: {text(): value(depth + 1) for _ in range(draw.randrange(4))}]
            return draw.choice(kinds)()

        for _ in range(400):
            arguments = {text(): value() for _ in range(draw.randrange(5))}
            self.assertEqual(ask(guest, "commander", "echo", **{}), {})
            self.assertEqual(guest.cmd("plugin-command", plugin="commander", command="echo",
                                       arguments=arguments), arguments)
            one = value()
            said = bytes(ask(guest, "commander", "value", of=one)).decode()
            self.assertEqual(said if isinstance(one, str) else json.loads(said), one)
        self.assertIsNone(ask(guest, "commander", "value"))
        for name in (text() for _ in range(50)):
            if name != "of":
                says = error(guest, "plugin-command", plugin="commander", command="value",
                             arguments={name: 1})[1]
                self.assertIn(f"there is no argument '{name}': allowed are of", says)
        long = "x" * 1_000_000
        self.assertEqual(ask(guest, "commander", "echo", long=long), {"long": long})

    def test_plugins_and_hmp(self):
        guest = self.start("-S", *self.x86(ENGINE, 1), *plugin("keeper", "max=7", "size=1"))
        none = {"state": False, "commands": False, "statistics": False}
        self.assertEqual(guest.cmd("query-plugins"), [
            {**none, "name": "keeper", "file": path_of("keeper"), "state": True, "commands": True,
             "arguments": ["max=7", "size=1"]},
            {**none, "name": "commander", "file": path_of("commander"), "commands": True,
             "arguments": []}])
        self.assertEqual(hmp(guest, "info plugins").split("\n"), [
            f"keeper: {path_of('keeper')},max=7,size=1; state; commands",
            f"commander: {path_of('commander')}; commands"])
        self.assertEqual(hmp(guest, "plugin commander add n=5"), '{\n    "sum": 5\n}')
        self.assertEqual(json.loads(hmp(guest, "plugin commander echo a=1,b.c=x,d=on")),
                         {"a": "1", "b": {"c": "x"}, "d": "on"})
        self.assertEqual(hmp(guest, "plugin commander echo"), "")
        self.assertEqual(hmp(guest, "plugin commander text"), "one\ntwo")
        self.assertEqual(hmp(guest, "plugin keeper count"), "0")
        self.assertIn("there is no plugin 'x'", hmp(guest, "plugin x echo"))
        self.assertIn("there is no command 'x'", hmp(guest, "plugin commander x"))
        self.assertIn("Error", hmp(guest, "plugin commander echo a"))

    def test_uninstall(self):
        """The plugin goes after its command has returned; the guest goes on."""
        for accel in ("tcg,thread=multi", "tcg,thread=single", ENGINE):
            for running in True, False:
                with self.subTest(accel=accel, running=running):
                    guest = self.start(*([] if running else ["-S"]), *self.x86(accel, 0xffffffff),
                                       *plugin("keeper"))
                    self.assertEqual(ask(guest, "commander", "uninstall"), {})
                    self.assertEqual(error(guest, "plugin-command", plugin="commander",
                                           command="echo")[0], "DeviceNotFound")
                    self.assertEqual([p["name"] for p in guest.cmd("query-plugins")], ["keeper"])
                    guest.cmd("cont")
                    until(lambda: ask(guest, "keeper", "count") > 1_000_000, "count")

    def test_refused_plugins(self):
        self.assertIn("keeper: quiet=on is no argument",
                      refused("-S", *plugin("keeper", "quiet=on"), arch="x86_64")[1])


class AtATime(Files):
    """Commands that the engine gives at a simulated time."""
    timeout = 120

    @staticmethod
    def given(number, at, command, *arguments):
        words = [f"plugin=commander,,command={command}",
                 *(f"arguments.{argument}" for argument in arguments)]
        return ["-object", f"vsched-command,id=c{number},at={at},run=vsched-plugin-command,"
                           f"arguments={',,'.join(words)}"]

    @staticmethod
    def said(guest):
        """Answers and errors of the commands that were carried out: (time, answer, error)"""
        data = [e["data"] for e in guest.get_qmp_events(wait=False)
                if e["event"] == "VSCHED_COMMAND"]
        return [(d["time"], d.get("answer"), d.get("error"))
                for d in sorted(data, key=lambda d: d["id"])
                if d["command"] == "vsched-plugin-command"]

    def test_repeatable(self):
        """Given at the start, and by QMP; the same count of instructions at the same time, which
        is what the engine has counted but for instructions that trapped."""
        arguments = [*SPARC, *plugin("commander"), *self.given(0, "200345ns", "watch"),
                     *self.given(1, "300us", "add", "n=5"), *self.given(2, "300us", "add", "n=-2"),
                     *self.given(3, "400us", "add", "n=5000")]
        runs = []
        for pause in False, True:
            with Guest("-S", *arguments) as guest:
                for at, command in ((350_000, "watch"), (500_000, "echo")):
                    guest.cmd("vsched-plugin-command", plugin="commander", command=command,
                              arguments={"late": True} if command == "echo" else {}, at=at)
                guest.cmd("vsched-stop", at=350_000)
                guest.cmd("cont")
                guest.event_wait("STOP", timeout=60 * SLOWER)
                insns = guest.stats()["vm"]
                if pause:
                    self.assertEqual(ask(guest, "commander", "watch")["meanwhile"], 0)
                guest.cmd("cont")
                until(lambda: guest.cmd("query-vsched")["time"] >= 510_000, "time")
                runs.append((self.said(guest), insns))
        self.assertEqual(runs[0], runs[1])
        said, insns = runs[0]
        # In the order in which they were given.
        self.assertEqual([time for time, _, _ in said],
                         [201_000, 300_000, 300_000, 400_000, 350_000, 500_000])
        self.assertEqual([answer for _, answer, _ in said][1:3], [{"sum": 5}, {"sum": 3}])
        self.assertIn("n=5000 is no number", said[3][2])
        self.assertEqual(said[5][1], {"late": True})
        count = said[4][1]["before"]
        retired = insns["vcpu-insns-user"] + insns["vcpu-insns-privileged"]
        self.assertGreaterEqual(count, retired)
        self.assertLess(count, retired * 1.01)
        self.assertLess(said[0][1]["before"], count)
        self.assertEqual(said[0][1]["meanwhile"], 0)

    def test_saved_with_the_machine(self):
        path = os.path.join(self.dir, "state")
        arguments = [*SPARC, *plugin("commander")]
        with Guest("-S", *arguments) as guest:
            guest.cmd("vsched-plugin-command", plugin="commander", command="add",
                      arguments={"n": 7}, at=400_000)
            guest.cmd("vsched-stop", at=300_000)
            guest.cmd("cont")
            guest.event_wait("STOP", timeout=60 * SLOWER)
            save(guest, path)
        for there in True, False:
            with Guest(*(arguments if there else SPARC), "-incoming", "defer", "-S") as guest:
                load(guest, path)
                self.assertEqual([p["arguments"] for p in guest.cmd("query-vsched")["pending"]],
                                 [{"plugin": "commander", "command": "add", "arguments": {"n": 7}}])
                guest.cmd("cont")
                until(lambda: guest.cmd("query-vsched")["time"] > 400_000, "time")
                said = self.said(guest)
                self.assertEqual([(time, answer) for time, answer, _ in said],
                                 [(400_000, {"sum": 7} if there else None)])
                if not there:
                    self.assertIn("there is no plugin 'commander'", said[0][2])

    def test_at_once_and_refused(self):
        with Guest("-S", *SPARC, *plugin("commander")) as guest:
            self.assertEqual(guest.cmd("vsched-plugin-command", plugin="commander", command="add",
                                       arguments={"n": 2}), {"time": 0, "answer": {"sum": 2}})
            self.assertEqual(hmp(guest, "vsched plugin-command plugin=commander,command=add,"
                                        "arguments.n=3"), '{"sum": 5}')
            for arguments, says in (
                    ({"plugin": "x", "command": "add"}, "there is no plugin 'x'"),
                    ({"plugin": "x", "command": "add", "at": 5000}, "there is no plugin 'x'"),
                    ({"plugin": "commander", "command": "x"}, "there is no command 'x'"),
                    ({"plugin": "commander", "command": "add", "arguments": [], "at": 5000},
                     "'arguments' is an object"),
                    ({"plugin": "commander", "command": "add", "at": -1}, "at")):
                self.assertIn(says, error(guest, "vsched-plugin-command", **arguments)[1])
            self.assertEqual(guest.cmd("query-vsched")["pending"], [])
        status, text = refused("-S", *SPARC, *self.given(0, "5us", "add"))
        self.assertEqual(status, 1)
        self.assertIn("there is no plugin 'commander'", text)
        with Guest("-S", *self.x86("tcg", 1), *plugin("commander"), arch="x86_64") as guest:
            self.assertIn("thread=vsched", error(guest, "vsched-plugin-command", plugin="commander",
                                                 command="add")[1])


class Statistics(Files):
    timeout = 120
    SCHEMAS = {
        "vm": [{"name": "statist.insns", "type": "cumulative", "exponent": 0},
               {"name": "statist.memory", "type": "instant", "unit": "bytes", "base": 2,
                "exponent": 10},
               {"name": "statist.time", "type": "cumulative", "unit": "seconds", "base": 10,
                "exponent": -9},
               {"name": "statist.peak", "type": "peak", "exponent": 0},
               {"name": "statist.number", "type": "instant", "exponent": 0}],
        "vcpu": [{"name": "statist.insns", "type": "cumulative", "exponent": 0},
                 {"name": "statist.twice", "type": "instant", "unit": "cycles", "exponent": 0}],
        "pcpu": [{"name": "statist.number", "type": "instant", "exponent": 0}]}

    def check(self, guest, vcpus, cores, vms):
        """The machine stands still.  cores: their paths, in order; None: each VCPU has one.
        vms: how many, if there are several."""
        said = ask(guest, "statist", "insns", vcpus=vcpus)
        paths = [cpu["qom-path"] for cpu in guest.cmd("query-cpus-fast")]
        self.assertEqual(len(paths), vcpus)
        self.assertGreater(sum(said), 0)
        self.assertEqual(statistics(guest, "plugin"), {
            "vm": {"vm": {"statist.insns": sum(said), "statist.memory": 3, "statist.time": 5,
                          "statist.peak": 2**64 - 1},
                   **{f"/machine/vm[{i}]": {"statist.number": 100 * i + 3} for i in range(vms)}},
            "vcpu": {path: {"statist.insns": n, "statist.twice": 2 * n}
                     for path, n in zip(paths, said)},
            "pcpu": {path: {"statist.number": 1000 * i + 7}
                     for i, path in enumerate(cores or paths)}})
        self.assertEqual({s["target"]: s["stats"] for s in
                          guest.cmd("query-stats-schemas", provider="plugin")}, self.SCHEMAS)
        some = guest.cmd("query-stats", target="vcpu", vcpus=[paths[-1]],
                         providers=[{"provider": "plugin", "names": ["statist.twice", "insns"]}])
        self.assertEqual(some, [{"provider": "plugin", "qom-path": paths[-1], "stats": [
            {"name": "statist.twice", "value": 2 * said[-1]}]}])
        text = hmp(guest, "info stats vm * plugin").split("\n")
        self.assertEqual([line.strip() for line in text],
                         [f"statist.insns (cumulative): {sum(said)}",
                          "statist.memory (instant, KiB): 3", "statist.time (cumulative, ns): 5",
                          "statist.peak (peak): -1",
                          *(f"statist.number (instant): {100 * i + 3}" for i in range(vms))])
        self.assertIn("statist.number (instant): 7", hmp(guest, "info stats pcpu"))
        self.assertTrue(guest.cmd("query-plugins")[0]["statistics"])

    def test_statistics(self):
        cmp = [f"/machine/vsched/pcpu[{p}]" for p in range(2)]
        several = program("ticket", "cmp,pcpus=2,vcpus=4,vms=1+2+1", "rounds=100000000")
        for arch, arguments, vcpus, cores, vms in (
                ("sparc64", SPARC, 4, cmp, 0),
                ("sparc64", several, 4, cmp, 3),
                ("sparc64", program("ticket", "sun4u", "rounds=100000000"), 1, None, 0),
                ("x86_64", self.x86(ENGINE, 0xffffffff, smp=3), 3, cmp, 0),
                ("x86_64", self.x86("tcg,thread=multi", 0xffffffff, smp=3), 3, None, 0)):
            with self.subTest(arguments=arguments), \
                    Guest(*arguments, *plugin("statist"), arch=arch) as guest:
                until(lambda: guest.stats("plugin")["vm"]["statist.insns"] > 10_000, "insns")
                guest.cmd("stop")
                self.check(guest, vcpus, cores, vms)

    def test_counts_as_worked_out_by_hand(self):
        loops = 100_000
        for accel in "tcg,thread=multi", ENGINE:
            with Guest(*self.x86(accel, loops), *plugin("statist"), arch="x86_64") as guest:
                until(lambda: guest.stats("plugin")["vm"]["statist.insns"] >= x86_insns(loops),
                      "end")
                self.assertEqual(guest.stats("plugin")["vm"]["statist.insns"], x86_insns(loops))

    def test_none(self):
        with Guest("-S", *SPARC, *plugin("statist", "cores=off"), *plugin("commander")) as guest:
            self.assertEqual(guest.cmd("query-stats", target="pcpu",
                                       providers=[{"provider": "plugin"}]), [])
            self.assertEqual({s["target"] for s in guest.cmd("query-stats-schemas",
                                                             provider="plugin")}, {"vm", "vcpu"})
            self.assertEqual(len(guest.cmd("query-stats", target="pcpu")), 2)   # the engine's
        with Guest("-S", *SPARC, *plugin("commander")) as guest:
            self.assertEqual(guest.stats("plugin"), {})
            self.assertEqual(guest.cmd("query-stats-schemas", provider="plugin"), [])

    def test_vm_stat(self):
        with Guest("-S", *SPARC, *plugin("statist"), "-qmp",
                   f"unix:{self.dir}/qmp,server=on,wait=off"):
            said = subprocess.run([sys.executable, os.path.join(TOP, "scripts/vm-stat"),
                                   os.path.join(self.dir, "qmp")], stdout=subprocess.PIPE,
                                  timeout=30 * SLOWER, check=True, text=True).stdout
        self.assertRegex(said, r"statist\.memory +3\b")
        self.assertRegex(said, r"(?m)^pcpu\[1\].* 1,007$")


if __name__ == "__main__":
    unittest.main()
