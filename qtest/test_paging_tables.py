"""Page tables that change in odd ways (odd-tables.S), on bare metal, a step at a time.

The guest checks what it reads.  The test knows by hand what each step costs, and has shadow
tables compared with the guest's after each: no translation is stale, and none costs as if it
were.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import struct
import unittest

from support import SLOWER, Guest, x86_image
from test_paging import NO_CACHES, Programs

RESULT, GOOD, STEPS_AT = 0x9000, 0x600d, 0xff00

# What each step does; misses of the TLB for data, walks of a page that the TLB has but does not
# let the write through, page faults, of these those of pages that the TLB has; references without
# virtualization, 2 levels and 4; exits in shadow mode with 4 levels: Hidden fault, Unsync,
# Emulate, Invlpg, Root, Page fault, Accessed, Dirty.
STEPS = (
    ("a page is read", 1, 0, 0, 0, 2, 4, "H"),
    ("at its other address", 1, 0, 0, 0, 2, 4, "H"),
    ("what is written there is read here", 0, 0, 0, 0, 0, 0, ""),
    ("another page in its place", 1, 0, 0, 0, 2, 4, "UIH"),
    ("its other address still leads to the old one", 0, 0, 0, 0, 0, 0, ""),
    ("it may not be written", 1, 0, 0, 0, 2, 4, "UIH"),
    # The fault is a walk and takes the entry away, so that the write is a miss.  The shadow is
    # not told that the guest allows it by now.
    ("it is written: a fault, after which it may be", 1, 0, 1, 1, 4, 8, "PUH"),
    # INVLPG made the table one that exits when it is written.
    ("it may again, and INVLPG is not done", 1, 1, 0, 0, 4, 8, "IHUH"),
    ("a page that is not there: a fault, after which it is", 2, 0, 1, 0, 4, 8, "PH"),
    ("it goes, and comes back as another one", 2, 0, 1, 0, 4, 8, "IPUH"),
    ("the first access sets A", 1, 0, 0, 0, 2, 4, "A"),
    ("the first write sets D", 0, 1, 0, 0, 2, 4, "D"),
    ("A and D are taken away: a write sets both", 1, 0, 0, 0, 2, 4, "IA"),
    ("D is taken away: a read leaves it, a write sets it", 1, 1, 0, 0, 4, 8, "UIHD"),
    ("a global page", 1, 0, 0, 0, 2, 4, "H"),
    ("another one in its place, new CR3: no walk", 0, 0, 0, 0, 0, 0, "URH"),
    ("INVLPG takes it", 1, 0, 0, 0, 2, 4, "I"),
    # Code and data of the large page at 0 and, as both sides of it are small in the second
    # level, again code: twice what a fetch and an access need.
    ("CR4 takes all", 2, 0, 0, 0, 5, 13, "URRH"),
    ("a table is read as data", 1, 0, 0, 0, 2, 4, "H"),
    ("and written as data: a new entry", 1, 0, 0, 0, 2, 4, "UH"),
    ("which is another one then", 1, 0, 0, 0, 2, 4, "IH"),
    ("a page of data becomes a table", 2, 0, 0, 0, 4, 8, "HEH"),
    ("its entry is written as data, through a TLB that had it", 1, 0, 0, 0, 2, 4, "UIH"),
    ("and another one", 1, 0, 0, 0, 2, 4, "UH"),
    ("the table becomes data; in its place a large page", 3, 0, 1, 0, 4, 10, None),
    ("another table", 1, 0, 0, 0, 2, 4, "ERH"),
    ("the old one again", 1, 0, 0, 0, 2, 4, "ERH"),
    ("a large page", 1, 0, 0, 0, 1, 3, "H"),
    ("another place in it", 0, 0, 0, 0, 0, 0, ""),
    ("small pages in its place, INVLPG of another place", 1, 0, 0, 0, 2, 4, "EIH"),
    ("another one of them", 1, 0, 0, 0, 2, 4, "H"),
    ("a large one in their place", 1, 0, 0, 0, 1, 3, "EIIH"),
    ("a large one is written that may not be", 2, 0, 1, 1, 3, 9, "ERHPEH"),
    ("a table that the root leads to through itself", 1, 0, 0, 0, 2, 4, "H"),
    ("its entry is written there", 1, 1, 0, 0, 4, 8, "DUIH"),
    ("and one of the directory", 2, 0, 0, 0, 3, 7, "DEH"),
    ("the root leads to itself no more, and does so again", 2, 0, 1, 0, 3, 6, None),
    ("another root with the same table", 1, 0, 0, 0, 2, 4, "RH"),
    ("the table changes", 1, 0, 0, 0, 2, 4, "UIH"),
    ("the first root knows it", 1, 0, 0, 0, 2, 4, "R"),
    ("a small page in place of a large one, not to be written", 1, 0, 0, 0, 2, 4, None),
    ("a large one in its place, and is written", 0, 1, 0, 0, 1, 3, None),
    ("and again", 0, 0, 0, 0, 0, 0, ""),
    ("the same of a large one, and a small one in its place", 1, 1, 0, 0, 3, 7, None),
    ("stores beside the code that executes", 0, 0, 0, 0, 0, 0, ""),
    ("a fault takes the entry, also if nothing comes of it", 2, 0, 1, 1, 6, 12, "UIHUP"),
)
NAMES = {"H": "hidden-fault", "U": "unsync", "E": "emulate", "I": "invlpg", "R": "root",
         "P": "page-fault", "A": "accessed", "D": "dirty"}


class OddTables(Programs):
    always = NO_CACHES + "[host]\npages = 2m\n"
    timeout = 300

    def counters(self, image, steps, paging, *more):
        """After that many steps, none of which read what it should not."""
        with open(image, "rb") as file:
            code = bytearray(file.read())
        code[STEPS_AT:STEPS_AT + 4] = struct.pack("<I", steps)
        rom = os.path.join(self.dir, "rom")
        with open(rom, "wb") as file:
            file.write(code)
        with Guest(*self.machine(rom, paging, *more), arch="x86_64") as guest:
            guest.event_wait("SHUTDOWN", timeout=30 * SLOWER)
            vm, = guest.cmd("query-paging")
            check = guest.cmd("x-paging-check")
            result = int(guest.cmd("human-monitor-command",
                                   command_line=f"xp /1wx {RESULT}").split(":")[1], 16)
        self.assertEqual(result, GOOD, "a step has read what the tables do not say")
        self.assertEqual((check["wrong"], check["hidden"]), (0, 0))
        return {c["name"]: c["privileged"] + c["user"] for c in vm["counters"]}, check

    def steps(self, levels, mode):
        """({counter: what each step adds}, entries of shadow tables that were compared)"""
        image = x86_image("odd-tables.S", os.path.join(self.dir, f"odd-{levels}"),
                          f"-DFORMAT={levels}")
        paging = f"paging={mode},paging-config={self.config('')},x-paging-check=on"
        before, _ = self.counters(image, 0, paging)
        entries = 0
        for number, step in enumerate(STEPS):
            after, check = self.counters(image, number + 1, paging)
            entries += check["entries"]
            with self.subTest(mode=mode, levels=levels, number=number + 1, step=step[0]):
                yield step, {name: n - before[name] for name, n in after.items()}
            before = after
        self.assertEqual(entries > 50, mode in ("shadow", "agile"))

    def test_without_shadows(self):
        """The host walks 4 levels, of which the last is that of a large page: 3 references for
        each entry of the guest's and for the page."""
        for levels in 2, 4:
            for mode in "native", "nested":
                for step, n in self.steps(levels, mode):
                    _, misses, again, faults, known, two, four, _ = step
                    references = {2: two, 4: four}[levels]
                    self.assertEqual((n["dtlb-misses"], n["dirty-walks"], n["page-faults"],
                                      n["references-guest"]), (misses, again, faults, references))
                    # A walk that faults leads to no page; code is walked for, too.
                    pages = misses + again - (faults - known) + n["itlb-misses"]
                    self.assertEqual(n["references-host"],
                                     3 * (references + pages) if mode == "nested" else 0)

    def test_with_shadows(self):
        for levels in 2, 4:
            for step, n in self.steps(levels, "shadow"):
                _, misses, again, faults, *_, exits = step
                # Exits that bring tables back into step, or empty an entry, empty the TLB.
                self.assertGreaterEqual(n["dtlb-misses"], misses)
                self.assertEqual((n["page-faults"], n["exits-page-fault"]), (faults, faults))
                if exits is not None:
                    self.assertEqual(n["dirty-walks"], again)
                if levels == 4 and exits is not None:
                    self.assertEqual({name: n[f"exits-{name}"] for name in NAMES.values()},
                                     {name: exits.count(c) for c, name in NAMES.items()})

    def test_however_code_is_translated(self):
        """All steps, where the host has small pages, and exits empty nothing.  Code and data of the
        large page at 0 are 4 KiB each in the TLB, and a fault by data is none of the code.  With
        random replacement, and exits that empty the TLB, walks have to be in the same order."""
        image = x86_image("odd-tables.S", os.path.join(self.dir, "odd"), "-DFORMAT=4")
        random = NO_CACHES.replace("vpid = yes", "vpid = no\nreplacement = random")
        for always, pages in (NO_CACHES, "2m"), (NO_CACHES, "4k"), (random, "4k"):
            self.always = f"{always}[host]\npages = {pages}\n[l1d]\nentries = 4\nways = 0\n"
            config = self.config("")
            for mode in "native", "nested", "shadow", "agile":
                paging = f"paging={mode},paging-config={config}"
                first, _ = self.counters(image, len(STEPS), paging)
                for more in ([",x-softmmu-bits=6"], [",x-softmmu-bits=16"], [",one-insn-per-tb=on"],
                             ["", "-d", "nochain"], [",sdb=off"]):
                    with self.subTest(mode=mode, pages=pages, more=more, exits=always is random):
                        self.assertEqual(self.counters(image, len(STEPS), paging + more[0],
                                                       *more[1:])[0], first)

    def test_agile(self):
        """Tables that are written are nested by step 6, and have no exits from then on."""
        for levels in 2, 4:
            for number, (step, n) in enumerate(self.steps(levels, "agile"), 1):
                self.assertEqual(n["page-faults"], step[3])
                if step[-1] is not None:
                    self.assertEqual(n["dirty-walks"], step[2])
                if 6 < number <= 21:
                    self.assertEqual(n["exits-unsync"] + n["exits-hidden-fault"] +
                                     n["exits-invlpg"] + n["exits-emulate"], 0)


if __name__ == "__main__":
    unittest.main()
