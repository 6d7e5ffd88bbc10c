"""The set-up tooling, on scratch trees: nothing is downloaded or built.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import json
import os
import re
import runpy
import shutil
import socket
import subprocess
import tempfile
import textwrap
import threading
import unittest
import unittest.mock

from support import TOP

# pylint: disable=wrong-import-order
import monitor                                              # support.py knows where it is
# pylint: enable=wrong-import-order


class CommandLine(unittest.TestCase):
    """What a script says of itself, and of what it cannot work with."""

    timeout = 120

    @staticmethod
    def run_script(*command, **variables):
        done = subprocess.run([os.path.join(TOP, "scripts", command[0]), *command[1:]], text=True,
                              env={**os.environ, **variables}, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        return done.returncode, done.stdout

    def test_help(self):
        scripts = os.path.join(TOP, "scripts")
        for directory, _, names in os.walk(scripts):
            for name in names:
                path = os.path.join(directory, name)
                if os.access(path, os.X_OK):
                    with self.subTest(script=os.path.relpath(path, scripts)):
                        status, text = self.run_script(path, "--help")
                        self.assertEqual(status, 0, text)
                        self.assertRegex(text, r"\w+ \w+")
                        self.assertNotIn("SPDX", text)

    def test_what_users_call_is_on_top(self):
        """The rest is in folders, of which each has a purpose (docs/setup.rst)."""
        top = os.path.join(TOP, "scripts")
        names = {name for name in os.listdir(top) if name != "__pycache__"}
        folders = {name for name in names if os.path.isdir(os.path.join(top, name))}
        self.assertEqual(folders, {"bench", "build", "fetch", "lib", "report"})
        self.assertEqual(names - folders, {"cache-report", "check", "check-full", "clean",
                                           "dsp-retrain", "explore", "figures", "lint",
                                           "packages", "paging-study", "profile", "run",
                                           "run-bare-metal",
                                           "sdb-model", "series", "setup", "trace", "vm-stat"})

    def test_scripts_that_pages_and_scripts_name_exist(self):
        paths = [os.path.join(TOP, name) for name in ("README.md", "Makefile", ".ci/run")]
        for folder in ("docs", "guests", "hw-cmp", "hw-sdb", "accel-vsched", "qtest", "scripts"):
            for directory, _, names in os.walk(os.path.join(TOP, folder)):
                paths += [os.path.join(directory, n) for n in names if not n.endswith(".pyc")]
        for path in paths:
            with open(path, encoding="utf-8", errors="replace") as f:   # images as well
                for script in re.findall(r"(?<![\w.]/)scripts/[a-z][\w./-]*\w", f.read()):
                    if script not in ("scripts/checkpatch.pl", "scripts/kconfig/merge_config.sh"):
                        self.assertTrue(os.path.exists(os.path.join(TOP, script)),
                                        f"{path}: {script}")

    def test_wrong_numbers(self):
        for says, script, variables in (
                ("REPEATS=x is not a number above 0", "check-full", {"REPEATS": "x"}),
                ("JOBS=0 is not a number above 0", "check", {"JOBS": "0"}),
                ("JOBS=many is not a number above 0", "setup", {"JOBS": "many"}),
                ("TEST_SLOWER=-1 is not a number above 0", "check", {"TEST_SLOWER": "-1"}),
                ("--repeats: invalid int value: 'x'", "bench/run", {"REPEATS": "x"}),
                ("--scale more than 0", "bench/run", {"SCALE": "nan"})):
            status, text = self.run_script(script, **variables)
            self.assertIn(status, (1, 2), script)
            self.assertIn(says, text)
            self.assertNotIn("Traceback", text)
            self.assertNotIn("SPDX", text)

    def test_check_full_keeps_the_rows_of_other_parts(self):
        script = runpy.run_path(os.path.join(TOP, "scripts", "check-full"))
        with open(os.path.join(TOP, "docs", "check-full-last.rst"), encoding="utf-8") as f:
            text = f.read()
        rows = script["read_rows"](text)
        self.assertEqual(text, script["HEAD"] + "".join(row.text() for row in rows.values()))
        for part in rows:
            self.assertEqual(script["parse"]([part]), [part])
        self.assertEqual(script["parse"](["patches", "style"]), ["style", "patches"])
        self.assertGreater(len(script["parse"]([])), 20)        # of the long ones, each module
        for wrong in "nonsense", "style:x", "long:", "long:test_x":
            status, text = self.run_script("check-full", wrong)
            self.assertEqual(status, 1)
            self.assertIn(f"no part '{wrong}'; there are: style tests long patches", text)

    def test_a_build_without_our_unit_tests_is_a_failure(self):
        with tempfile.TemporaryDirectory() as build:
            os.makedirs(os.path.join(build, "pyvenv/bin"))
            for name, text in (("qemu-system-sparc64", ""),
                               ("pyvenv/bin/meson", "#!/bin/sh\n"
                                'echo \'[{"name": "test-a", "suite": ["qemu:sdb"]}]\'\n')):
                with open(os.path.join(build, name), "w", encoding="utf-8") as f:
                    f.write(text)
                os.chmod(f.name, 0o755)
            status, text = self.run_script("check", "no-such-test", QEMU_BUILD=build)
            self.assertEqual(status, 1)
            self.assertIn("FAIL suite vsched: meson knows no test of it", text)
            self.assertIn("FAIL suite cache: meson knows no test of it", text)
            self.assertIn("0 passed, 4 failed", text)

    def test_check_has_the_packages_that_its_tests_need(self):
        """Nothing is left out for want of one, and what a run needs is in both lists."""
        tests = os.path.join(TOP, "qtest")
        for name in sorted(os.listdir(tests)):
            if name.endswith(".py"):
                with open(os.path.join(tests, name), encoding="utf-8") as f:
                    self.assertNotRegex(f.read(), r"skip(Test|If|Unless)\(|unittest\.skip\(", name)
        for_run, for_check = (set(self.run_script("packages", "--list", purpose)[1].split())
                              for purpose in ("run", "check"))
        self.assertEqual(for_check - for_run, {"gdb-multiarch", "python3-jsonschema", "valgrind",
                                                "python3-matplotlib", "python3-sklearn"})
        self.assertLess({"ninja-build", "gcc-sparc64-linux-gnu"}, for_run)
        status, text = self.run_script("packages", "--list", "chekc")
        self.assertEqual((status, text), (1, "error: packages for what?  run, check, full "
                                             "or figures\n"))
        for_figures = set(self.run_script("packages", "--list", "figures")[1].split())
        self.assertEqual(for_figures - for_run, {"python3-matplotlib"})

    def test_what_qemu_refuses(self):
        for command in (("report/slices", "sched=best"), ("report/shares", "--machine",
                                                          "cmp8,sched=best")):
            status, text = self.run_script(*command)
            self.assertEqual(status, 1, text)
            self.assertIn("unknown scheduling policy 'best': allowed are balance", text)
            self.assertNotIn("Traceback", text)


class VmStat(unittest.TestCase):
    """scripts/vm-stat, with somebody else at the other end than a QEMU that runs."""

    timeout = 60
    GREETING = {"QMP": {"version": {}, "capabilities": []}}
    EVENT = {"event": "RESUME", "timestamp": {"seconds": 1, "microseconds": 0}}

    def vm_stat(self, *args, connections=(), **variables):
        """Its exit status and output; for each connection a function that serves it."""
        with tempfile.TemporaryDirectory() as directory, \
                socket.socket(socket.AF_UNIX) as listener:
            path = os.path.join(directory, "qmp")
            listener.bind(path)
            listener.listen()

            def serve():
                for talk in connections:
                    with listener.accept()[0] as connection:
                        talk(connection)

            server = threading.Thread(target=serve, daemon=True)
            server.start()
            status, text = CommandLine.run_script("vm-stat", *args, path, **variables)
            server.join(timeout=10)
            self.assertFalse(server.is_alive(), "it did not connect as often as it should")
            return status, text.replace(path, "SOCKET")

    @staticmethod
    def say(connection, message):
        connection.sendall(json.dumps(message).encode() + b"\r\n")

    def answer(self, connection, returns):
        """The next commands get these answers, in turn; then the connection is closed."""
        for value in returns:
            command = json.loads(connection.recv(4096))
            answer = {"return": value, "id": command.get("id")}
            self.say(connection, {k: v for k, v in answer.items() if v is not None})

    def test_somebody_who_does_not_speak_qmp(self):
        self.assertEqual(
            self.vm_stat(connections=[lambda connection: self.say(connection, "SSH-2.0")]),
            (1, "error: SOCKET: not a QMP monitor\n"))

    def test_somebody_else_is_connected(self):
        """QEMU leaves who comes second without an answer, as this listener does."""
        with tempfile.TemporaryDirectory() as directory, \
                socket.socket(socket.AF_UNIX) as listener, \
                unittest.mock.patch.object(monitor, "GREETING", 0.2):
            path = os.path.join(directory, "qmp")
            listener.bind(path)
            listener.listen()
            self.assertRaisesRegex(monitor.Busy, "one at a time", monitor.Monitor, path)

    def test_no_library(self):
        status, text = self.vm_stat(BUILD="/nonexistent")
        self.assertEqual(status, 1)
        self.assertRegex(text, "^error: /nonexistent/src/qemu/python/.* is missing: scripts/setup")

    def test_an_event_before_the_first_answer(self):
        """A QEMU that runs may send one as soon as it has read qmp_capabilities."""
        def too_early(connection):
            self.say(connection, self.GREETING)
            connection.recv(4096)
            self.say(connection, self.EVENT)

        def in_time(connection):
            self.say(connection, self.GREETING)
            vm = [{"stats": [{"name": "windows", "value": 1234}], "provider": "vsched"}]
            self.answer(connection, [{}, vm, [], [], [], [], []])

        self.assertEqual(self.vm_stat(connections=[too_early, in_time]), (0, "windows  1,234\n"))

    def test_qemu_ends_before_the_guest(self):
        def until(connection, *returns):
            self.say(connection, self.GREETING)
            self.answer(connection, [{}, *returns])

        self.assertEqual(self.vm_stat(connections=[until]), (1, "QEMU ended\n"))
        self.assertEqual(self.vm_stat("--at-end", connections=[lambda connection: until(
            connection, {"status": "running", "running": True})]), (0, ""))


class Scratch(unittest.TestCase):
    """A project of two files of source, in a directory of its own."""

    def setUp(self):
        self.top = tempfile.mkdtemp(prefix="tooling-")
        self.addCleanup(shutil.rmtree, self.top)
        shutil.copytree(os.path.join(TOP, "scripts"), os.path.join(self.top, "scripts"))
        self.tree = os.path.join(self.top, "build/src/openbios")
        os.makedirs(self.tree)
        self.write("a.c", "int a;\n")
        self.write("b.c", "int b;\n")
        self.git("init", "-q", ".")
        self.commit("the source")
        self.git("tag", "base")

    def write(self, name, text):
        with open(os.path.join(self.tree, name), "w", encoding="utf-8") as f:
            f.write(text)

    def read(self, name):
        with open(os.path.join(self.tree, name), encoding="utf-8") as f:
            return f.read()

    def git(self, *args):
        return subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *args],
                              cwd=self.tree, check=True, text=True,
                              stdout=subprocess.PIPE).stdout.strip()

    def commit(self, message):
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def series(self, what, status=0, **more):
        env = {k: v for k, v in os.environ.items() if k not in ("BUILD", "CACHE")} | more
        done = subprocess.run([os.path.join(self.top, "scripts/series"), what, "openbios"],
                              env=env, text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode != 0, status != 0, done.stdout)
        return done.stdout

    def patches(self):
        with open(os.path.join(self.top, "patches-openbios/series"), encoding="utf-8") as f:
            return f.read().split()


class Series(Scratch):
    def make_two(self):
        self.series("apply")
        self.write("a.c", "int a = 1;\n")
        self.commit("first: change a")
        self.write("b.c", "int b = 2;\n")
        self.commit("second: change b")
        self.series("refresh")

    def test_commits_become_patches_and_patches_commits(self):
        self.make_two()
        self.assertEqual(self.patches(), ["first-change-a.patch", "second-change-b.patch"])
        self.git("reset", "-q", "--hard", "base")
        os.remove(os.path.join(self.tree, ".git/series-state"))
        self.series("apply")
        self.assertEqual((self.read("a.c"), self.read("b.c")), ("int a = 1;\n", "int b = 2;\n"))
        self.assertEqual(self.git("log", "--format=%s", "base..HEAD"),
                         "second: change b\nfirst: change a")

    def test_refresh_of_what_was_applied_changes_nothing(self):
        self.make_two()
        names = ["series", *self.patches()]
        directory = os.path.join(self.top, "patches-openbios")
        before = [open(os.path.join(directory, n), "rb").read() for n in names]
        self.git("reset", "-q", "--hard", "base")
        os.remove(os.path.join(self.tree, ".git/series-state"))
        self.series("apply")
        self.series("refresh")
        after = [open(os.path.join(directory, n), "rb").read() for n in names]
        self.assertEqual(before, after)

    def test_apply_again_keeps_the_commits_that_did_not_change(self):
        self.make_two()
        first = self.git("rev-parse", "HEAD~1")
        patch = os.path.join(self.top, "patches-openbios/second-change-b.patch")
        with open(patch, encoding="utf-8") as f:
            text = f.read()
        with open(patch, "w", encoding="utf-8") as f:
            f.write(text.replace("int b = 2;", "int b = 3;"))
        self.series("apply")
        self.assertEqual(self.git("rev-parse", "HEAD~1"), first)
        self.assertEqual(self.read("b.c"), "int b = 3;\n")

    def test_own_work_is_never_lost(self):
        self.make_two()
        self.write("a.c", "int a = 99;\n")
        self.assertIn("not committed", self.series("apply", status=1))
        self.commit("work of mine")
        self.assertIn("commits of its own", self.series("apply", status=1))
        self.assertEqual(self.read("a.c"), "int a = 99;\n")

    def test_a_patch_that_does_not_apply_is_named(self):
        self.make_two()
        patch = os.path.join(self.top, "patches-openbios/second-change-b.patch")
        with open(patch, encoding="utf-8") as f:
            text = f.read()
        with open(patch, "w", encoding="utf-8") as f:
            f.write(text.replace("-int b;", "-int other;"))
        self.assertIn("second-change-b.patch does not apply", self.series("apply", status=1))
        # and the series can be put right and applied again
        with open(patch, "w", encoding="utf-8") as f:
            f.write(text)
        self.series("apply")
        self.assertEqual(self.read("b.c"), "int b = 2;\n")

    def test_check_builds_each_patch_and_names_every_fault(self):
        self.series("apply")
        for n, text in enumerate(("int a = x;\n", "int a = 1;\n", "int a = y;\n"), 1):
            self.write("a.c", text)
            self.commit(f"patch {n}")
        self.series("refresh")
        with open(os.path.join(self.top, "scripts/build/openbios"), "w", encoding="utf-8") as f:
            f.write('#!/bin/sh\ngcc -fsyntax-only "$OPENBIOS_TREE/a.c"\n')
        done = self.series("check", status=1)
        self.assertIn("error: 2 faults in the series\n    1, patch 1: does not build\n"
                      "    3, patch 3: does not build\n", done)
        self.write("a.c", "int a = 2;\n")
        self.commit("patch 4")
        self.series("refresh")
        self.assertIn("1 faults", self.series("check", status=1, FROM="2"))
        self.assertNotIn("error", self.series("check", FROM="4"))


class QemuSource(unittest.TestCase):
    """Where QEMU's source comes from; a tree of three files stands for it, and
    a script that says so for Debian's archive."""

    def setUp(self):
        self.top = tempfile.mkdtemp(prefix="tooling-")
        self.addCleanup(shutil.rmtree, self.top)
        shutil.copytree(os.path.join(TOP, "scripts"), os.path.join(self.top, "scripts"))
        with open(os.path.join(self.top, "scripts/fetch/apt-source"), "w", encoding="utf-8") as f:
            f.write("#!/bin/sh\necho asked for Debian package $1; exit 1\n")

    def git(self, *args, cwd):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@localhost",
                        "-c", "protocol.file.allow=always", *args], cwd=cwd, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def repository(self, name, files):
        path = os.path.join(self.top, name)
        for file, text in files.items():
            file = os.path.join(path, file)
            os.makedirs(os.path.dirname(file), exist_ok=True)
            with open(file, "w", encoding="utf-8") as f:
                f.write(text)
        if not os.path.exists(os.path.join(path, ".git")):
            self.git("init", "-q", ".", cwd=path)
            self.git("config", "uploadpack.allowAnySHA1InWant", "true", cwd=path)
        self.git("add", "-A", cwd=path)
        self.git("commit", "-q", "-m", "source", cwd=path)
        return path, subprocess.run(["git", "rev-parse", "HEAD"], cwd=path, check=True, text=True,
                                    stdout=subprocess.PIPE).stdout.strip()

    def upstream(self):
        """QEMU's own repository: tags v10.0.2 and v10.0.13, subprojects elsewhere."""
        wraps = {}
        for name in ("keycodemapdb", "berkeley-softfloat-3", "berkeley-testfloat-3"):
            path, commit = self.repository("upstream/" + name, {"data": name})
            wraps[f"subprojects/{name}.wrap"] = f"[wrap-git]\nurl = {path}\nrevision = {commit}\n"
        wraps["subprojects/packagefiles/berkeley-softfloat-3/meson.build"] = "ours"
        for version in ("10.0.2", "10.0.13"):
            path, _ = self.repository("upstream/qemu", {"VERSION": version, **wraps})
            self.git("tag", "v" + version, cwd=path)
        return path

    def fetch(self, **variables):
        env = {k: v for k, v in os.environ.items() if k not in ("BUILD", "CACHE", "QEMU_SRC")}
        done = subprocess.run([os.path.join(self.top, "scripts/fetch/qemu")], text=True,
                              env={**env, **variables}, check=False, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout

    def tree(self, *names):
        with open(os.path.join(self.top, "build/src/qemu", *names), encoding="utf-8") as f:
            return f.read()

    def test_submodule_is_moved_to_the_newest_tag_and_stays_as_it_is(self):
        upstream = self.upstream()
        self.git("clone", "-q", "--depth", "1", "--branch", "v10.0.2", "file://" + upstream,
                 os.path.join(self.top, "qemu"), cwd=self.top)
        self.assertEqual(self.fetch()[0], 0)
        self.assertEqual(self.tree("VERSION"), "10.0.13")
        self.assertEqual(self.tree("subprojects/keycodemapdb/data"), "keycodemapdb")
        self.assertEqual(self.tree("subprojects/berkeley-softfloat-3/meson.build"), "ours")
        with open(os.path.join(self.top, "qemu/VERSION"), encoding="utf-8") as f:
            self.assertEqual(f.read(), "10.0.2")

    def test_submodule_that_is_too_old_and_cannot_be_moved(self):
        upstream = self.upstream()
        self.git("clone", "-q", "--depth", "1", "--branch", "v10.0.2", "file://" + upstream,
                 os.path.join(self.top, "qemu"), cwd=self.top)
        shutil.rmtree(upstream)
        self.assertIn("asked for Debian package qemu", self.fetch()[1])

    def test_submodule_that_is_not_cloned(self):
        os.mkdir(os.path.join(self.top, "qemu"))
        self.assertIn("asked for Debian package qemu", self.fetch()[1])

    def test_tree_of_ones_own(self):
        path, _ = self.repository("mine", {"VERSION": "10.0.15", "subprojects/keycodemapdb/x": "",
                                           "subprojects/berkeley-softfloat-3/x": "",
                                           "subprojects/berkeley-testfloat-3/x": ""})
        self.assertEqual(self.fetch(QEMU_SRC=path)[0], 0)
        self.assertEqual(self.tree("VERSION"), "10.0.15")

    def test_wrong_trees_are_refused(self):
        for version, words in (("10.0.12", "too old"), ("9.2.0", "not of the 10.0"),
                               ("10.1.0", "not of the 10.0")):
            with self.subTest(version):
                path, _ = self.repository("mine" + version, {
                    "VERSION": version, **{f"subprojects/{n}/x": "" for n in
                    ("keycodemapdb", "berkeley-softfloat-3", "berkeley-testfloat-3")}})
                status, message = self.fetch(QEMU_SRC=path)
                self.assertEqual(status, 1)
                self.assertIn(words, message)
        self.assertIn("not a QEMU tree", self.fetch(QEMU_SRC="/nowhere")[1])


class AptStanza(unittest.TestCase):
    """Given what stands in /etc/apt, which source is made of it."""

    def stanza(self, suite="trixie", codename="bookworm", **files):
        """The fields of the answer; the files are named list, sources, other."""
        with tempfile.TemporaryDirectory() as etc:
            os.mkdir(os.path.join(etc, "sources.list.d"))
            for name, text in files.items():
                path = {"main": "sources.list", "list": "sources.list.d/a.list",
                        "sources": "sources.list.d/b.sources",
                        "disabled": "sources.list.d/c.list.disabled"}[name]
                with open(os.path.join(etc, path), "w", encoding="utf-8") as f:
                    f.write(textwrap.dedent(text))
            done = subprocess.run([os.path.join(TOP, "scripts/fetch/apt-stanza"),
                                   suite, etc, codename],
                                  text=True, check=False, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE)
        if done.returncode:
            self.assertIn("no Debian mirror found", done.stderr)
            return None
        return dict(line.split(": ", 1) for line in done.stdout.splitlines())

    def test_one_line_format(self):
        got = self.stanza(main="""\
            # deb http://commented.example/debian bookworm main
            deb http://mirror.example/pub/linux/debian-all bookworm main contrib
            """)
        self.assertEqual(got, {"Types": "deb deb-src", "Suites": "trixie", "Components": "main",
                               "URIs": "http://mirror.example/pub/linux/debian-all"})

    def test_options_of_the_entry_are_kept(self):
        got = self.stanza(list="deb [arch=amd64 trusted=yes signed-by=/no/such/key.gpg] "
                               "https://mirror.example/d/ bookworm main\n")
        self.assertEqual(got["Trusted"], "yes")
        self.assertEqual(got["Signed-By"].split()[0], "/no/such/key.gpg")

    def test_deb822_format(self):
        got = self.stanza(sources="""\
            Types: deb-src
            URIs: http://only-sources.example/debian
            Suites: bookworm
            Components: main

            Types: deb
            Enabled: no
            URIs: http://off.example/debian
            Suites: bookworm
            Components: main

            Types: deb
            # a comment inside
            URIs: http://security.example/debian-security
            Suites: bookworm-security
            Components: main

            Types: deb deb-src
            URIs: http://mirror.example/x
            Suites: bookworm bookworm-updates
            Components: contrib
             main
            Check-Valid-Until: no
            """)
        self.assertEqual(got["URIs"], "http://mirror.example/x")
        self.assertEqual(got["Check-Valid-Until"], "no")

    def test_snapshot_mirrors_may_be_old(self):
        got = self.stanza(main="deb http://snap.example/archive/debian/20260101T000000Z/ "
                               "bookworm main\n")
        self.assertEqual(got["Check-Valid-Until"], "no")

    def test_others_than_debian_are_not_taken(self):
        self.assertIsNone(self.stanza(
            main="deb http://security.example/debian-security bookworm-security main\n",
            list="deb https://packages.example/apt tool-bookworm main\n",
            disabled="deb http://mirror.example/debian bookworm main\n"))

    def test_suite_by_its_role(self):
        got = self.stanza(main="deb http://mirror.example/debian stable main\n",
                          codename="trixie", suite="bookworm")
        self.assertEqual((got["URIs"], got["Suites"]), ("http://mirror.example/debian", "bookworm"))


if __name__ == "__main__":
    unittest.main()
