"""The manual: what its pages say is held against the code.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def read(*names):
    with open(os.path.join(TOP, *names), encoding="utf-8") as f:
        return f.read()


def literal_blocks(page):
    """(paragraph before, text) of each block that '::' begins."""
    lines = page.splitlines() + ["end"]
    i = 0
    while i < len(lines):
        if not (lines[i].endswith("::") and lines[i].strip() != "::"):
            i += 1
            continue
        first = i
        while first and lines[first - 1].strip():
            first -= 1
        indent = len(lines[i]) - len(lines[i].lstrip())
        block, paragraph = [], " ".join(lines[first:i + 1])
        i += 1
        while not lines[i].strip() or len(lines[i]) - len(lines[i].lstrip()) > indent:
            block.append(lines[i][indent + 4:])
            i += 1
        yield paragraph, "\n".join(block).strip("\n") + "\n"


class Policy(unittest.TestCase):
    """docs/devel/policy.rst is followed to the letter, in a copy of accel-vsched/."""

    timeout = 120

    @classmethod
    def setUpClass(cls):
        cls.top = tempfile.mkdtemp(prefix="policy-")
        cls.addClassCleanup(shutil.rmtree, cls.top)
        shutil.copytree(os.path.join(TOP, "accel-vsched"), os.path.join(cls.top, "accel-vsched"))
        cls.policy = ""
        for paragraph, block in literal_blocks(read("docs/devel/policy.rst")):
            names = re.findall(r"``(accel-vsched/[\w./-]+)``", paragraph)
            if names:
                cls.add(*names, block)
        cls.write("accel-vsched/policies/shared.c", cls.policy)

    @classmethod
    def write(cls, name, text):
        with open(os.path.join(cls.top, name), "w", encoding="utf-8") as f:
            f.write(text)

    @classmethod
    def insert(cls, name, block, place):
        """Before what the regular expression finds first."""
        with open(os.path.join(cls.top, name), encoding="utf-8") as f:
            text = f.read()
        at = re.search(place, text, re.MULTILINE).start()
        cls.write(name, text[:at] + block + text[at:])

    @classmethod
    def add(cls, name, block):
        if name == "accel-vsched/policies/shared.c":
            cls.policy += "\n" + block if cls.policy else block
        elif name == "accel-vsched/policy.h":
            cls.insert(name, block, r"^\n#endif /\* VSCHED_POLICY_H")
        elif name == "accel-vsched/policy.c":
            cls.insert(name, block, r"^    (&vsched_policy_(sh[b-z]|s[i-z]|[t-z])|NULL)")
        elif name == "accel-vsched/meson.build":
            cls.insert(name, block, r"^  'policies/timeslice.c'")
        elif block.startswith("static"):
            cls.insert(name, block + "\n", r"^/\*\n \* -+\n \* At random.")
        else:
            cls.insert(name, block, r"^    add_for_each\(")

    def unit_tests(self, *tests):
        """Compiled as meson.build says; what these tests of the policy print."""
        source = os.path.join(self.top, "accel-vsched")
        with open(os.path.join(source, "meson.build"), encoding="utf-8") as f:
            core = re.search(r"vsched_core = files\((.*?)\)", f.read(), re.DOTALL).group(1)
        program = os.path.join(self.top, "test-policies")
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "glib-2.0"], check=True,
                               text=True, stdout=subprocess.PIPE).stdout.split()
        subprocess.run(["gcc", "-O1", "-Wall", "-Werror", "-std=gnu11", "-o", program,
                        "tests/test-policies.c", "tests/fake-host.c", "tests/toy-policies.c",
                        *re.findall(r"'(.*?)'", core), *flags], cwd=source, check=True)
        return subprocess.run([program, "--tap"] + [
            part for test in tests for part in ("-p", f"/{test}/shared")], text=True,
            check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def test_it_compiles_and_passes_all_invariants(self):
        tests = ["policy", "invariants", "wait", "save", "elsewhere"]
        done = self.unit_tests(*tests)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(re.findall(r"^ok \d+ /(\w+)/shared$", done.stdout, re.MULTILINE), tests)

    def test_the_tests_notice_the_fault_that_the_page_suggests(self):
        self.assertIn("``fewest = VSCHED_PCPUS_MAX``", read("docs/devel/policy.rst"))
        self.assertEqual(self.policy.count("fewest = MIN("), 1)
        self.write("accel-vsched/policies/shared.c", re.sub(
            r"fewest = MIN\(.*?\);", "fewest = VSCHED_PCPUS_MAX;", self.policy))
        done = self.unit_tests("wait")
        self.write("accel-vsched/policies/shared.c", self.policy)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("assertion failed (f.longest_wait <= bound)", done.stdout)


if __name__ == "__main__":
    unittest.main()
