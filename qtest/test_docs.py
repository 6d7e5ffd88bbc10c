"""The manual: what its pages say is held against the code.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

# Another one is of a tree in which the walk-through of docs/devel/policy.rst was followed.
TOP = os.environ.get("TOP_OF_MANUAL") or os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


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


def prose(page):
    """A page without its blocks."""
    for _, block in literal_blocks(page):
        page = re.sub("".join(rf" *{re.escape(line)}\n" for line in block.splitlines()), "", page)
    return page


class Policy(unittest.TestCase):
    """docs/devel/policy.rst is followed to the letter, in a copy of accel-vsched/."""

    timeout = 120

    @classmethod
    def setUpClass(cls):
        cls.top = tempfile.mkdtemp(prefix="policy-")
        cls.addClassCleanup(shutil.rmtree, cls.top)
        for name in "accel-vsched", "docs", "hw-sdb":
            shutil.copytree(os.path.join(TOP, name), os.path.join(cls.top, name))
        cls.policy = ""
        for paragraph, block in literal_blocks(read("docs/devel/policy.rst")):
            names = re.findall(r"``((?:accel-vsched|docs)/[\w./-]+\w)``", paragraph)
            if names:
                cls.add(*names, block)
        cls.write("accel-vsched/policies/shared.c", cls.policy)

    @classmethod
    def write(cls, name, text):
        with open(os.path.join(cls.top, name), "w", encoding="utf-8") as f:
            f.write(text)

    @classmethod
    def insert(cls, name, block, place):
        """Before what the regular expression finds first, if it is not there already: somebody has
        followed the page in this tree."""
        with open(os.path.join(cls.top, name), encoding="utf-8") as f:
            text = f.read()
        if block.strip() in text:
            return
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
        elif name == "docs/policies/shared.rst":
            cls.write(name, block)
        elif name == "docs/policies.rst":
            cls.insert(name, block, r"^\* :doc:`policies/(sh[b-z]|s[i-z]|[t-z])")
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

    def test_the_manual_is_whole(self):
        """The tests below pass with the policy, and would not if its page were missing."""
        def failed():
            done = subprocess.run(
                [sys.executable, os.path.join(TOP, "qtest/test_docs.py"), "Pages.test_links",
                 "Pages.test_policies", "Pages.test_ranges_of_parameters"],
                env={**os.environ, "TOP_OF_MANUAL": self.top}, text=True, check=False,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.assertIn("Ran 3 tests", done.stdout)
            return re.findall(r"^(?:FAIL|ERROR): (\w+)", done.stdout, re.MULTILINE)

        page = os.path.join(self.top, "docs/policies/shared.rst")
        with open(page, encoding="utf-8") as file:
            text = file.read()
        self.assertEqual(failed(), [])
        self.write("docs/policies/shared.rst", text.replace("10us to 1s", "10us to 2s"))
        self.assertEqual(failed(), ["test_ranges_of_parameters"])
        self.write("docs/policies/shared.rst", text.replace("Longest wait\n", "Longest\n"))
        self.assertEqual(failed(), ["test_policies"])
        self.write("docs/policies/shared.rst", text)

    def test_the_tests_notice_the_fault_that_the_page_suggests(self):
        self.assertIn("``fewest = VSCHED_PCPUS_MAX``", read("docs/devel/policy.rst"))
        self.assertEqual(self.policy.count("fewest = MIN("), 1)
        self.write("accel-vsched/policies/shared.c", re.sub(
            r"fewest = MIN\(.*?\);", "fewest = VSCHED_PCPUS_MAX;", self.policy))
        done = self.unit_tests("wait")
        self.write("accel-vsched/policies/shared.c", self.policy)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("assertion failed (f.longest_wait <= bound)", done.stdout)


class Pages(unittest.TestCase):
    """Names in the pages are names of the code, and all of them are there."""

    timeout = 60

    @staticmethod
    def pages():
        for directory, _, names in os.walk(os.path.join(TOP, "docs")):
            for name in sorted(names):
                if name.endswith(".rst"):
                    yield os.path.relpath(os.path.join(directory, name), os.path.join(TOP, "docs"))

    def assert_named(self, page, names, form="``{}``"):
        text = read("docs", page)
        self.assertGreater(len(names), 0)
        for name in names:
            self.assertIn(form.format(name), text, f"{page} does not describe {name}")

    def test_links(self):
        """Every page can be come to from the first one, and no link is broken."""
        reached, new = set(), {"index.rst"}
        while new:
            page = new.pop()
            reached.add(page)
            for link in re.findall(r":doc:`([^`<]+)`", prose(read("docs", page))):
                target = os.path.normpath(os.path.join(os.path.dirname(page), link + ".rst"))
                self.assertTrue(os.path.exists(os.path.join(TOP, "docs", target)),
                                f"{page}: {link}")
                new |= {target} - reached
        self.assertEqual(reached, set(self.pages()))

    def test_parameters(self):
        engine = read("accel-vsched/engine-object.c")
        numbers = re.findall(r'\.name = "([\w-]+)"', engine)
        first = re.findall(r'^    \{ "([\w-]+)", "', engine, re.MULTILINE)
        self.assertEqual((len(numbers), len(first)), (10, 7))
        self.assert_named("engine-reference.rst", numbers + first + ["sched"])

    def test_policies(self):
        """Each has a page, which is in the list, and its test."""
        for name in os.listdir(os.path.join(TOP, "accel-vsched/policies")):
            found = re.search(r'^    \.name = "([\w-]+)"', read("accel-vsched/policies", name),
                              re.MULTILINE)
            if found:
                page = f"policies/{found[1]}"
                self.assertIn(f":doc:`{page}`", read("docs/policies.rst"))
                self.assertRegex(read("docs", page + ".rst"), r"(?m)^Longest wait$")
                tests = read("accel-vsched/tests/test-policies.c")
                self.assertTrue(
                    f"&vsched_policy_{found[1]}," in tests or os.path.exists(
                        os.path.join(TOP, "accel-vsched/tests", page + ".c")),
                    f"neither accel-vsched/tests/test-policies.c nor a program of its own in "
                    f"accel-vsched/tests/policies tests {found[1]}")

    def assert_in_row(self, page, name, values):
        """Numbers in the row of this parameter, and what follows below its name."""
        row = re.search(rf"^``{name}`` +(\S.*(?:\n {{18,}}.*)*)", read("docs", page), re.MULTILINE)
        self.assertIsNotNone(row, f"docs/{page} has no row of the parameter {name}")
        for value in values:
            self.assertRegex(" ".join(row.group(1).split()), rf"(?<!\w){value}(?!\w)", name)

    def test_ranges_of_parameters(self):
        """Minimum, maximum and default of each number of the engine and the SDBs."""
        known = {"VSCHED_DISK_LATENCY_DEFAULT": 100000, "VSCHED_PCPUS_MAX": 64,
                 "SDB_ENTRIES_MAX": 64, "SDB_MARKS": 512}

        def number(text):
            return eval(re.sub(r"(?<=\d)u(ll)?", "", text).replace("/", "//"), known)

        def time(value):
            for unit, factor in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
                if value and value % factor == 0:
                    return f"{value // factor}{unit}"
            return f"{value}ns"

        entries = re.split(r'\.name = "', read("accel-vsched/engine-object.c"))[1:]
        self.assertEqual(len(entries), 10)
        for entry in entries:
            if "VSCHED_SWITCH" not in entry:
                write = time if "VSCHED_TIME" in entry else str
                values = re.findall(r"\.(?:minimum|maximum|value) = ([^,]+),", entry)
                self.assertEqual(len(values), 3)
                self.assert_in_row("engine-reference.rst", entry[:entry.index('"')],
                                   [write(number(value)) for value in values])
        for name in os.listdir(os.path.join(TOP, "accel-vsched/policies")):
            policy = read("accel-vsched/policies", name)
            if ".parameters = vsched_fifo_parameters" in policy:
                policy = read("accel-vsched/policies", "fifo.c")
            elif name == "fifo.c":
                continue                # they are those of the policies that have them
            for entry in re.split(r'^        \.name = "', policy, flags=re.MULTILINE)[1:]:
                values = re.findall(r"\.(?:minimum|maximum|value) = ([^,]+),", entry)[:3]
                parameter = entry[:entry.index('"')]
                page = f"policies/{name[:-2]}.rst"
                if "VSCHED_SWITCH" in entry or "VSCHED_CHOICE" in entry:
                    self.assert_named(page, [parameter])
                else:
                    write = time if "VSCHED_TIME" in entry else str
                    self.assert_in_row(page, parameter, [write(number(v)) for v in values])
        entries = re.findall(r'PARAMETER\(\w+, "([\w-]+)",(?:\s*"[^"]*")+,\s*\w+, ([^,]+), '
                             r"([^,]+), (\d+)\)", read("hw-sdb/sdb-core.c"))
        self.assertEqual(len(entries), 8)
        for name, *values in entries:
            self.assert_in_row("sdb-reference.rst", name, map(number, values))

    def test_statistics(self):
        names = re.findall(r'^    \{ "([\w-]+)", (?:(?:vcpu|pcpu|sdb|vm)_|\.type = STATS_TYPE_LINEAR)',
                           read("accel-vsched/stats.c"), re.MULTILINE)
        self.assertGreater(len(names), 30)
        self.assert_named("engine-reference.rst", names)
        said = re.findall(r"^``([\w-]+)`` +(?:cycles|periods|timeslices|switches|instructions|"
                          r"cross-calls|posts|windows)\b", read("docs/engine-reference.rst"),
                          re.MULTILINE)
        said = [name for name in said if name not in ("clock-hz", "switch-cost", "random-stalls")]
        self.assertEqual(set(said), set(names))

    def test_trace_events(self):
        for directory, page in (("accel-vsched", "engine-reference.rst"),
                                ("hw-sdb", "sdb-reference.rst")):
            events = re.findall(r"^(\w+)\(", read(directory, "trace-events"), re.MULTILINE)
            self.assert_named(page, events)

    def test_objects_and_events(self):
        self.assert_named("engine-reference.rst", re.findall(
            r'object_class_property_add\w*\(oc, "(\w+)"', read("accel-vsched/objects.c")))
        self.assert_named("engine-reference.rst", re.findall(
            r"'event': '(\w+)'", read("accel-vsched/vsched.json")))

    def test_commands(self):
        self.assert_named("control.rst", re.findall(
            r"^\{ '(?:event|command)': '([\w-]+)'", read("accel-vsched/vsched.json"), re.MULTILINE))

    def test_reasons_of_detectors(self):
        names = re.findall(r'^\s+\[SDB_\w+\] = "([\w-]+)"', read("hw-sdb/sdb-core.c"), re.MULTILINE)
        self.assert_named("sdb-reference.rst", [n for n in names if n not in ("paper", "either")])

    def test_invariants_are_held_by_tests_that_exist(self):
        text = read("docs/devel/engine.rst")
        text = text[text.index("\nInvariants\n"):]
        sources = read("accel-vsched/tests/test-core.c") + read("accel-vsched/tests/test-policies.c")
        unit = set(re.findall(r"``(/[\w/-]+)``", text))
        self.assertGreater(len(unit), 15)
        for name in unit:
            self.assertIn(f'"{name}"', sources)
        for module, name in re.findall(r"``(test_\w+)\.(\w+)``", text):
            self.assertRegex(read("qtest", module + ".py"), rf"(?m)^class {name}\(")

    def test_files_that_the_inside_names_exist(self):
        for page in ("devel/engine.rst", "devel/sdb.rst", "devel/policy.rst", "determinism.rst"):
            for name in re.findall(r"``((?:accel-vsched|hw-sdb|qtest)/[\w/.-]+\w)``",
                                   read("docs", page)):
                if not name.endswith("shared.c"):
                    self.assertTrue(os.path.exists(os.path.join(TOP, name)), f"{page}: {name}")

    def test_each_patch_is_of_one_kind(self):
        page = read("docs/devel/series.rst")
        kinds = re.findall(r"^(\w+)\n~+\n(.*?)(?=^\w+\n~|\Z)", page, re.MULTILINE | re.DOTALL)
        named = {kind: re.findall(r"^    (\S+)$", text, re.MULTILINE) for kind, text in kinds}
        patches = [name.removesuffix(".patch") for name in read("patches/series").split()]
        self.assertEqual(sorted(sum(named.values(), [])), sorted(patches))
        for kind, names in named.items():
            self.assertRegex(page, rf"(?m)^{kind} +{len(names)} ")
        status = subprocess.run([os.path.join(TOP, "scripts/series"), "count"], text=True,
                                stdout=subprocess.PIPE, check=True).stdout
        self.assertRegex(status, rf"(?m)^all +{len(patches)} ")

    def test_only_the_last_patch_names_our_directories(self):
        """What is in them may need any patch, so that it builds on top of all only."""
        named = re.compile(r"^\+.*(subdir\('(vsched|walk|sdb|cmp|cachetime)'\)"
                           r"|'include': '(vsched|paging)\.json'|source cmp/Kconfig)",
                           re.MULTILINE)
        patches = read("patches/series").split()
        self.assertEqual([name for name in patches if named.search(read("patches", name))],
                         patches[-1:])


if __name__ == "__main__":
    unittest.main()
