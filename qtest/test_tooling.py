"""The set-up tooling, on scratch trees: nothing is downloaded or built.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import shutil
import subprocess
import tempfile
import textwrap
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


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

    def series(self, what, status=0):
        env = {k: v for k, v in os.environ.items() if k not in ("BUILD", "CACHE")}
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
            done = subprocess.run([os.path.join(TOP, "scripts/apt-stanza"), suite, etc, codename],
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
