"""What paging costs x86 guests (paging=): references of walks, exits, errors, repetition.

paging.S has page tables whose walks are known; what one page more costs is compared.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import tempfile
import unittest

from support import GUESTS, SLOWER, Guest, Refusals, refused, x86_image
from test_caches import caches as cache_plugin, report as cache_report
from test_determinism import qcow2
from test_plugins_cores import plugin
from test_save import load, save, snapshot
import dsprules                         # noqa: E402

HZ = 2_800_000_000
NO_CACHES = """
[walk-cache]
level-2 = 0
level-3 = 0
level-4 = 0
level-5 = 0
host-level-2 = 0
host-level-3 = 0
host-level-4 = 0
host-level-5 = 0
nested = 0
[tlb]
vpid = yes
[shadow]
prefetch = 1
"""


class Configured(unittest.TestCase):
    """Writes configurations of paging; has no test of its own."""
    always = ""                         # what each begins with

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.dir = directory.name

    def config(self, text):
        path = os.path.join(self.dir, "paging.conf")
        with open(path, "w", encoding="utf-8") as f:
            f.write(self.always + text)
        return path


class Programs(Configured):
    """Builds paging.S; has no test of its own."""
    always = NO_CACHES

    def rom(self, levels, pages, *defines):
        out = os.path.join(self.dir, f"rom-{levels}-{pages}-{len(defines)}")
        return x86_image("paging.S", out, f"-DFORMAT={levels}", f"-DPAGES={pages}", *defines)

    @staticmethod
    def machine(rom, paging, *more):
        return ("-M", "q35", "-nodefaults", "-cpu", "max", "-m", "64", "-bios", rom,
                "-no-shutdown", "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-accel",
                f"tcg,thread=vsched,pcpus=1,clock-hz={HZ},{paging}", *more)

    def run_it(self, rom, paging, *more):
        """(cycles in which the VCPU stalled, {counter: both modes together})"""
        with Guest(*self.machine(rom, paging, *more), arch="x86_64") as guest:
            guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
            vm, = guest.cmd("query-paging")
            stats = guest.stats()["vm"]
            ran = stats["vcpu-running-useful"] + stats["vcpu-running-spinning"]
            retired = stats["vcpu-insns-privileged"] + stats["vcpu-insns-user"]
            return ran - retired, {
                c["name"]: c["privileged"] + c["user"] for c in vm["counters"]}

    def one_page_more(self, levels, paging):
        """{counter: what the second page has added}"""
        few, many = (self.run_it(self.rom(levels, pages), paging)[1] for pages in (1, 2))
        return {name: many[name] - few[name] for name in many if many[name] != few[name]}


class References(Programs):
    timeout = 300

    def test_walks(self):
        """(n + 1)(m + 1) - 1 of n levels in the guest and m in the host; PDPTEs are registers,
        or a level."""
        for levels, host, pdptes, nested, native in (
                (2, 2, "yes", 8, 2), (2, 4, "yes", 14, 2), (3, 4, "yes", 14, 2),
                (3, 3, "no", 15, 3), (3, 4, "no", 19, 3), (4, 4, "yes", 24, 4),
                (5, 4, "yes", 29, 5), (4, 5, "yes", 29, 4), (5, 5, "yes", 35, 5)):
            config = self.config(f"[host]\nlevels={host}\n[walk]\npdptes-in-registers={pdptes}\n")
            for mode, references in (("native", native), ("nested", nested)):
                with self.subTest(levels=levels, host=host, pdptes=pdptes, mode=mode):
                    more = self.one_page_more(levels, f"paging={mode},paging-config={config}")
                    guest = more.pop("references-guest")
                    self.assertEqual(guest + more.pop("references-host", 0), references)
                    self.assertEqual(guest, native)
                    self.assertEqual(more.pop("cycles-walks"), 4 * references)
                    self.assertEqual(more, {"dtlb-l1-misses": 1, "dtlb-misses": 1})

    def test_shadow(self):
        """A walk that finds the last entry empty, an exit, a walk that does not."""
        for levels, mode in ((2, "shadow"), (3, "shadow"), (4, "shadow"), (5, "shadow"),
                             (4, "agile")):
            with self.subTest(levels=levels, mode=mode):
                config = self.config("[exit]\nhidden-fault=777\n")
                n = 2 if levels == 3 else levels
                self.assertEqual(self.one_page_more(
                    levels, f"paging={mode},paging-config={config}"), {
                        "dtlb-l1-misses": 1, "dtlb-misses": 1, "references-guest": 2 * n,
                        "cycles-walks": 8 * n, "exits-hidden-fault": 1, "shadow-filled": 1,
                        "cycles-hidden-fault": 777})

    def test_tables_that_change(self):
        """The first write to a table under shadow paging exits, INVLPG compares it."""
        for mode, expected in (
                ("native", (0, 0, 0, 0)), ("nested", (0, 0, 0, 0)), ("shadow", (1, 0, 1, 1)),
                ("agile", (0, 2, 0, 0))):       # nested by then: its INVLPG does not exit
            with self.subTest(mode=mode):
                _, n = self.run_it(self.rom(4, 3, "-DREMAP"),
                                   f"paging={mode},paging-config={self.config('')}")
                self.assertEqual(tuple(n[name] for name in (
                    "exits-unsync", "exits-emulate", "exits-invlpg", "tables-resynced")), expected)
                self.assertEqual(n["tables-to-nested"], mode == "agile")
                self.assertEqual(n["exits-io"], mode != "native")

    def test_agile_scans(self):
        """A table that was written twice is nested; the first scan finds it written, the second
        one not, and shadows it again."""
        rom = self.rom(4, 3, "-DREMAP", "-DAFTER=500000")
        for scan, back in ((100_000, 1), (400_000, 0)):
            config = self.config(f"[agile]\nscan={scan}\n")
            _, n = self.run_it(rom, f"paging=agile,paging-config={config}")
            self.assertEqual((n["tables-to-nested"], n["tables-to-shadow"]), (1, back))

    def test_time_passes(self):
        """Cycles that are counted are cycles that the VCPU stalls, to the last one."""
        rom = self.rom(4, 100)
        for mode in "native", "nested", "shadow", "agile":
            with self.subTest(mode=mode):
                stalled, n = self.run_it(rom, f"paging={mode}")
                self.assertGreater(stalled, 300)
                self.assertEqual(stalled, sum(v for name, v in n.items()
                                              if name.startswith("cycles-")))


class Same(Programs):
    timeout = 300

    def test_however_code_is_translated(self):
        """Counters do not depend on chains of blocks, on their size, or on who looks on."""
        rom = self.rom(4, 500, "-DREMAP")
        for mode in "native", "nested", "shadow", "agile":
            first = self.run_it(rom, f"paging={mode}")
            self.assertEqual(self.run_it(rom, f"paging={mode}"), first)
            self.assertEqual(self.run_it(rom, f"paging={mode}", "-d", "nochain"), first)
            self.assertEqual(self.run_it(rom, f"paging={mode},one-insn-per-tb=on"), first)
            self.assertEqual(self.run_it(rom, f"paging={mode},sdb=off"), first)
            for bits in 6, 16:
                self.assertEqual(self.run_it(rom, f"paging={mode},x-softmmu-bits={bits}"), first)
            self.assertEqual(self.run_it(rom, f"paging={mode},x-paging-check=on"), first)

    def test_nothing_is_hidden(self):
        """An access that QEMU's TLB knows is one that the modelled TLB knows, each of them."""
        rom = self.rom(4, 500, "-DREMAP", "-DROUNDS=3", "-DWORK=1")
        for mode in "native", "shadow":
            with Guest(*self.machine(rom, f"paging={mode},x-paging-check=on"),
                       arch="x86_64") as guest:
                guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
                check = guest.cmd("x-paging-check")
            # 1500 loads, and three of REMAP
            self.assertEqual((check["accesses"], check["hidden"]), (1503, 0))

    def test_code_is_fetched_again_at_once(self):
        """The load from a large page is an exit, which empties the TLB: its code is walked for before
        pages 1 and 2, also where no block was told after INVLPG, which is none with agile paging.
        So page 1 is younger than the code among the second level's two entries, and stays when 2
        comes: its second load finds it there.  Without the INVLPG, and in shadow mode, the same."""
        self.always = NO_CACHES.replace("vpid = yes", "vpid = no")
        config = self.config("[l1d]\nentries = 1\nways = 1\n[l1d-large]\nentries = 0\n"
                             "[l2]\nentries = 2\nways = 2\n")
        rom = self.rom(4, 3, "-DREMAP", "-DLARGE_PAGE")
        for mode in "shadow", "agile":
            first = self.run_it(rom, f"paging={mode},paging-config={config}")
            for more in ("", "-d", "nochain"), (",one-insn-per-tb=on",), (",x-softmmu-bits=6",):
                with self.subTest(mode=mode, more=more):
                    self.assertEqual(self.run_it(rom, f"paging={mode},paging-config={config}" +
                                                 more[0], *more[1:]), first)

    def test_evicted_pages_are_missed(self):
        """Five pages of a set of four ways, the last one of which is the last that was touched
        before.  Natively the second level has all of them.  The touch under shadow paging was an
        exit, which emptied the TLB and left this page alone: the four others are misses, the last
        of these evicts it, and the second level has it."""
        self.always = NO_CACHES.replace("vpid = yes", "vpid = no")
        config = self.config("")
        roms = [self.rom(4, 160, *more) for more in ((), ("-DORDER=15,47,79,111,159",))]
        for mode, level_2, missed in ("native", 5, 0), ("shadow", 1, 4):
            for more in "", ",x-paging-check=on", ",x-softmmu-bits=6", ",one-insn-per-tb=on":
                with self.subTest(mode=mode, more=more):
                    before, after = (self.run_it(
                        rom, f"paging={mode},paging-config={config}{more}")[1] for rom in roms)
                    self.assertEqual([after[f"dtlb-{what}"] - before[f"dtlb-{what}"] for what in
                                      ("l1-misses", "l2-hits", "misses")],
                                     [level_2 + missed, level_2, missed])

    def test_saved(self):
        """Loaded at once, it ends as if nobody had saved."""
        rom = self.rom(4, 500, "-DREMAP")
        path = os.path.join(self.dir, "state")
        for mode in "nested", "shadow":
            arguments = self.machine(rom, f"paging={mode}")
            with Guest("-S", *arguments, arch="x86_64") as guest:
                save(guest, path)
            with Guest("-S", "-incoming", "defer", *arguments, arch="x86_64") as guest:
                load(guest, path)
                guest.cmd("cont")
                guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
                vm, = guest.cmd("query-paging")
                counters = {c["name"]: c["privileged"] + c["user"] for c in vm["counters"]}
            self.assertEqual(counters, self.run_it(rom, f"paging={mode}")[1])

    def test_loaded_where_paging_was_off(self):
        """A state is loaded into a machine whose guest had just been reset, and begun again."""
        rom = self.rom(2, 1000, "-DROUNDS=3", "-DWORK=20000")
        disk = qcow2(os.path.join(self.dir, "disk"), 64)
        with Guest("-S", *self.machine(rom, "paging=nested"), "-action", "reboot=reset",
                   "-blockdev", f"driver=file,filename={disk},node-name=file",
                   "-blockdev", "driver=qcow2,file=file,node-name=disk", arch="x86_64") as guest:
            def run_for(us):
                guest.cmd("vsched-stop", at=guest.stats()["vm"]["time"] * 10**9 // HZ +
                          us * 1000)
                guest.cmd("cont")
                guest.event_wait("STOP", timeout=30 * SLOWER)
                return misses(guest)

            def misses(guest):
                vm, = guest.cmd("query-paging")
                return {c["name"]: c["privileged"] + c["user"] for c in vm["counters"]}

            at_save = run_for(10)
            self.assertGreater(at_save["dtlb-misses"], 0)
            snapshot(guest, "save", "middle", ["disk"])
            guest.cmd("system_reset")
            guest.event_wait("RESET", timeout=30 * SLOWER)
            self.assertEqual(run_for(1)["itlb-misses"], at_save["itlb-misses"])     # off
            snapshot(guest, "load", "middle", ["disk"])
            guest.cmd("cont")
            guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
            self.assertEqual(misses(guest), self.run_it(rom, "paging=nested")[1])


class OwnTlb(Programs):
    """QEMU's own TLB, which takes part in the model, where it has it hard."""
    timeout = 120
    RESULT = 0x9000

    def far(self, paging):
        """(words that far-pages.S leaves, entries of QEMU's TLB)"""
        image = x86_image("far-pages.S", os.path.join(self.dir, "far"), "-DPAGES=12", "-DPASSES=20",
                          "-DROUNDS=40")
        with Guest(*self.machine(image, paging), arch="x86_64") as guest:
            guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
            words = guest.cmd("human-monitor-command", command_line=f"xp /4wx {self.RESULT:#x}")
            entries = guest.cmd("x-paging-check")["softmmu-entries"]
        return [int(word, 16) for word in words.split(":")[1].split()], entries

    def test_far_pages(self):
        """What is not in QEMU's TLB is not the last page, which the model may know; and twelve pages
        need no more than the 256 entries with which a TLB begins, however often each is evicted."""
        for config in "i7-860", self.config(""):
            for mode in "native", "nested", "shadow", "agile":
                with self.subTest(mode=mode, config=config):
                    words, entries = self.far(f"paging={mode},paging-config={config}")
                    self.assertEqual(words[:3], [0x5678, 0x5678, 0x600d])
                    self.assertLessEqual(entries, 256)

    def test_bits_that_are_taken_away(self):
        """A, of a page that the modelled TLB has: no walk sets it, whatever QEMU's own TLB has.  The
        twelve pages are those of one set: of four ways, or of all 64."""
        for ways, bit in (4, 0x20), (0, 0):
            config = self.config(f"[l1d]\nways = {ways}\n")
            for mode in "native", "nested":
                for more in "", ",x-softmmu-bits=6", ",x-softmmu-bits=16", ",one-insn-per-tb=on":
                    with self.subTest(ways=ways, mode=mode, more=more):
                        words, _ = self.far(f"paging={mode},paging-config={config}{more}")
                        self.assertEqual(words[3], 0x203000 + 0x43 + bit)

    def test_pages_that_displace_each_other(self):
        """Without a model: pages of one place are found in the victim table, whereupon the TLB grows
        in vain, up to its limit; or they are more than that has entries.  Each is incremented
        20,000 times before each of two flushes, which takes several stretches."""
        for pages in 2, 6, 12:
            image = x86_image("far-pages.S", os.path.join(self.dir, f"far{pages}"), "-DPASSES=20000",
                              "-DROUNDS=2", f"-DPAGES={pages}")
            for more in "sdb=off", "window=100us":
                with self.subTest(pages=pages, more=more), \
                        Guest(*self.machine(image, more), arch="x86_64") as guest:
                    guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
                    words = [guest.cmd("human-monitor-command", command_line=f"xp /1dw {at:#x}")
                             for at in range(0x203000, 0x203000 + pages * 0x4000, 0x4000)]
                    self.assertEqual([int(w.split(":")[1]) for w in words], [40000] * pages)

    def test_address_spaces(self):
        """Without a model, what is global stays when CR3 is written, and nothing else does; also if
        more is filled in between than is remembered."""
        for touch in 1, 20, 100:
            for low in 0, 0x100:
                image = x86_image("spaces.S", os.path.join(self.dir, f"spaces{touch}{low}"),
                                  "-DROUNDS=2000", f"-DTOUCH={touch}", f"-DLOW={low}")
                for more in "sdb=off", "window=10us", "paging=native,paging-config=i7-860":
                    with self.subTest(touch=touch, low=low, more=more), \
                            Guest(*self.machine(image, more), arch="x86_64") as guest:
                        guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
                        words = [guest.cmd("human-monitor-command", command_line=f"xp /1dw {at:#x}")
                                 for at in (0x300000, 0x301000, 0x302000)]
                        self.assertEqual([int(w.split(":")[1]) for w in words], [1000, 1000, 2000])

    def test_entries_that_are_walked_for_again(self):
        """500 pages are less than 35 % of 2048 entries, with which a TLB stays as it is; that each
        of them is walked for 16 times, as the second level is small, does not matter."""
        rom = self.rom(4, 500, "-DROUNDS=128", "-DWORK=1", "-DNEW_ROOT=16")
        for mode in "native", "nested":
            paging = f"paging={mode},paging-config=" + self.config("[l2]\nentries = 64\n")
            with self.subTest(mode=mode), Guest(*self.machine(rom, paging), arch="x86_64") as guest:
                guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
                self.assertEqual(guest.cmd("x-paging-check")["softmmu-entries"], 2048)


class Switching(Programs):
    """DSP in a machine.  The rules themselves are tested in softmmu-walk/tests/test-dsp.c."""
    timeout = 300
    US = 1000
    defines = more = ()

    def sampled(self, mode, **options):
        """(query-dsp, counters, modes of events), of a program that works 20,000 instructions
        without TLB misses, then misses at each third one, 10 times."""
        rom = self.rom(2, 1000, "-DROUNDS=10", "-DWORK=20000", *self.defines)
        with Guest("-S", *self.machine(rom, f"paging={mode},sdb=off", *self.more),
                   arch="x86_64") as guest:
            if options:
                guest.cmd("dsp-enable", vm=0, **options)
            guest.cmd("cont")
            guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
            vm, = guest.cmd("query-paging")
            events = []
            while event := guest.get_qmp_event():
                if event["event"] == "PAGING_MODE":
                    events.append((event["data"]["mode"], event["data"].get("rule")))
            return guest.cmd("query-dsp"), {
                c["name"]: c["privileged"] + c["user"] for c in vm["counters"]}, events

    def test_decides(self):
        """Samples are what was counted; each decision is what an independent model says."""
        (dsp,), n, events = self.sampled("nested", interval=2 * self.US)
        samples = dsp["samples"]
        self.assertGreater(len(samples), 20)
        settings = dsprules.paper(1)
        mode, history = "nested", []
        for i, s in enumerate(samples):
            history.append(dsprules.Counters(s["insns"], s["misses"], s["faults"]))
            with self.subTest(sample=i):
                self.assertEqual(s["before"], mode)
                mode, rule = dsprules.decide(settings, mode, history)
                self.assertEqual((s["after"], s["rule"]), (mode, rule))
        self.assertEqual(mode, "shadow")
        self.assertEqual(dsp["decisions"], [sum(s["rule"] == r for s in samples)
                                            for r in range(10)])
        self.assertGreater(dsp["decisions"][1], 0)
        self.assertGreater(dsp["decisions"][3], 0)
        self.assertLessEqual(sum(s["misses"] for s in samples),
                             n["itlb-misses"] + n["dtlb-misses"])
        self.assertEqual([m for m, _ in events], [s["after"] for s in samples
                                                  if s["after"] != s["before"]])
        self.assertEqual(dsp["switches"], len(events))
        self.assertEqual(self.sampled("nested", interval=2 * self.US), ([dsp], n, events))

    def test_odd_intervals(self):
        """Samples between two ns, and between two windows: each is taken, none twice."""
        for interval in 1, 3, 333, 1111:
            (dsp,), _, _ = self.sampled("nested", interval=interval, keep=65536)
            times = [s["time"] for s in dsp["samples"]]
            self.assertGreater(len(times), 50)
            self.assertEqual(times, sorted(set(times)))

    def test_from_the_beginning(self):
        """paging=dsp is the paper's settings, 5 s a sample: such a program has none."""
        (dsp,), _, events = self.sampled("dsp")
        self.assertEqual((dsp["enabled"], dsp["mode"], dsp["samples"], events),
                         (True, "nested", [], []))
        self.assertEqual(dsp["options"], {
            "interval": 5_000_000_000, "history": 3, "keep": 1024, "margin": 80,
            "fault-upper": 0.0005, "fault-lower": 0.00001, "miss-upper": 10, "miss-lower": 0.1,
            "ratio-upper": 0.00002, "ratio-lower": 0.000015, "experiment": "none",
            "faults": "walker"})

    def test_experiments(self):
        """There and back at each sample; in shadow mode the tables are built anew."""
        plain = {mode: self.sampled(mode)[1] for mode in ("nested", "shadow")}
        for mode, other in (("nested", "shadow"), ("shadow", "nested")):
            (dsp,), n, events = self.sampled(mode, interval=100 * self.US,
                                             experiment=f"{mode}-{other}-{mode}")
            self.assertEqual(dsp["switches"], 2 * len(dsp["samples"]))
            self.assertEqual(events, [(other, 9), (mode, 9)] * len(dsp["samples"]))
            self.assertEqual(dsp["mode"], mode)
            more = n["exits-hidden-fault"] - plain[mode]["exits-hidden-fault"]
            (self.assertEqual if mode == "nested" else self.assertGreater)(more, 0)

    def test_list(self):
        with Guest("-S", *self.machine(self.rom(4, 1), "paging=shadow"), "-action",
                   "reboot=reset", arch="x86_64") as guest:
            def fails(command, says, **arguments):
                said = guest.qmp(command, {"vm": 0, **arguments})
                self.assertIn(says, said.get("error", {}).get("desc", str(said)))

            self.assertEqual(guest.cmd("query-dsp"), [])
            fails("dsp-disable", "VM 0 is not switched by DSP")
            for options, says in (
                    ({"vm": 1}, "vm 1: allowed are 0 to 0"),
                    ({"ratio-lower": 0.1}, "upper threshold 0.00002 is below the lower one 0.1"),
                    ({"miss-upper": -1}, "miss-upper=-1: allowed are 0 to 100000"),
                    ({"miss-upper": 1e-8}, "in steps of 1e-7"),
                    ({"miss-upper": "ten"}, "miss-upper"), ({"history": 0}, "from 1 to 64"),
                    ({"interval": 0}, "interval: allowed are 1 to"),
                    ({"experiment": "x"}, "experiment"), ({"margin": 101}, "from 1 to 100"),
                    ({"faults": "guest"}, "nobody in VM 0 has told where"), ({"at": 2**63}, "at")):
                fails("dsp-enable", says, **options)
            self.assertEqual(guest.cmd("query-dsp"), [])
            guest.cmd("dsp-enable", vm=0, experiment="nested-shadow-nested")
            self.assertEqual(guest.cmd("query-paging")[0]["mode"], "nested")
            fails("dsp-enable", "VM 0 is switched by DSP already")
            fails("paging-set-mode", "allowed are nested and shadow", mode="agile")
            guest.cmd("dsp-disable", vm=0)
            self.assertEqual(guest.cmd("query-paging")[0]["mode"], "shadow")
            guest.cmd("paging-set-mode", vm=0, mode="native")
            fails("dsp-enable", "VM 0 is in mode native")
            guest.cmd("paging-set-mode", vm=0, mode="nested")
            guest.cmd("dsp-enable", vm=0)
            guest.cmd("system_reset")
            guest.cmd("cont")
            guest.event_wait("RESET", timeout=30 * SLOWER)
            self.assertFalse(guest.cmd("query-dsp")[0]["enabled"])

    def test_leaves_the_list(self):
        """By a command or a reset: it has the mode again that it had before, as an event says, and
        the time until then is counted."""
        rom = self.rom(2, 1000, "-DROUNDS=10", "-DWORK=20000")
        for command, arguments in ("dsp-disable", {"vm": 0}), ("system_reset", {}):
            with self.subTest(command), Guest(
                    "-S", *self.machine(rom, "paging=nested"), "-action", "reboot=reset",
                    arch="x86_64") as guest:
                guest.cmd("dsp-enable", vm=0, interval=30_000, miss_upper=0.1)
                guest.cmd("vsched-stop", at=50_000)
                guest.cmd("cont")
                for mode, more in ("shadow", {"rule": 1}), ("nested", {}):
                    event = guest.event_wait("PAGING_MODE", timeout=30 * SLOWER)
                    self.assertEqual(event["data"], {"vm": 0, "mode": mode, **more})
                    if mode == "shadow":
                        guest.event_wait("STOP", timeout=30 * SLOWER)
                        guest.cmd(command, **arguments)
                self.assertEqual(guest.cmd("query-paging")[0]["mode"], "nested")
                dsp, = guest.cmd("query-dsp")
                self.assertEqual((dsp["enabled"], dsp["mode"], dsp["switches"]),
                                 (False, "nested", 2))
                self.assertEqual((dsp["nested-time"], dsp["shadow-time"]), (30_000, 20_000))


class Loaded(Programs):
    """A state, and the machine that loads it: whose modes hold."""
    timeout = 300

    def setUp(self):
        super().setUp()
        self.image = self.rom(2, 1000, "-DROUNDS=10", "-DWORK=20000")
        self.path = os.path.join(self.dir, "state")

    def saved(self, machine="paging=nested", disable=False):
        """Of a guest that DSP has put into shadow mode: query-dsp."""
        with Guest("-S", *self.machine(self.image, machine), arch="x86_64") as guest:
            guest.cmd("dsp-enable", vm=0, interval=30_000, miss_upper=0.1)
            guest.cmd("vsched-stop", at=50_000)
            guest.cmd("cont")
            guest.event_wait("STOP", timeout=30 * SLOWER)
            if disable:
                guest.cmd("dsp-disable", vm=0)
            save(guest, self.path)
            dsp, = guest.cmd("query-dsp")
            return dsp

    def loaded(self, machine):
        """(query-dsp, mode, modes of events) after loading, and (query-dsp, counters) at its end"""
        with Guest("-S", "-incoming", "defer", *self.machine(self.image, machine),
                   arch="x86_64") as guest:
            load(guest, self.path)
            vm, = guest.cmd("query-paging")
            events = []
            while event := guest.get_qmp_event():
                if event["event"] == "PAGING_MODE":
                    events.append(event["data"]["mode"])
            begin = guest.cmd("query-dsp"), vm["mode"], events
            guest.cmd("cont")
            guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
            vm, = guest.cmd("query-paging")
            return begin, (guest.cmd("query-dsp"), vm["counters"])

    def test_with_the_same_mode(self):
        """All is as it was saved, also what is known of a VM that has left the list."""
        for disable, mode, events in (False, "shadow", ["shadow"]), (True, "nested", []):
            dsp = self.saved(disable=disable)
            self.assertEqual(dsp["enabled"], not disable)
            begin, _ = self.loaded("paging=nested")
            self.assertEqual(begin, ([dsp], mode, events))

    def test_with_another_mode(self):
        """What paging= says holds; and two such loads are one and the same run."""
        dsp = self.saved()
        for mode in "native", "agile", "shadow":
            (after, now, events), end = self.loaded(f"paging={mode}")
            self.assertEqual(now, mode)
            self.assertEqual(events, [])        # it is the mode that the machine began with
            self.assertEqual(after, [{**dsp, "enabled": False, "mode": mode, "switches": 2}])
            self.assertEqual(self.loaded(f"paging={mode}")[1], end)
        ((after,), now, events), _ = self.loaded("paging=dsp")
        self.assertEqual((now, events), ("nested", []))
        self.assertTrue(after["enabled"])
        self.assertEqual((after["samples"], after["options"]["interval"]), ([], 5_000_000_000))

    def test_dsp_from_the_beginning(self):
        """A state of paging=dsp goes on with DSP's list only where that is said again."""
        with Guest("-S", *self.machine(self.image, "paging=dsp"), arch="x86_64") as guest:
            save(guest, self.path)
            was = guest.cmd("query-dsp")
        self.assertEqual(self.loaded("paging=dsp")[0], (was, "nested", []))
        (after,), now, _ = self.loaded("paging=nested")[0]
        self.assertEqual((after["enabled"], now), (False, "nested"))

    def test_on_other_pcpus(self):
        """TLBs of PCPUs that are missing are gone, and new ones are empty: twice the same run."""
        def on(pcpus):
            arguments = self.machine(self.image, "paging=shadow", "-smp", "2")
            return [word.replace("pcpus=1", f"pcpus={pcpus}") for word in arguments]

        with Guest("-S", *on(2), arch="x86_64") as guest:
            guest.cmd("vsched-stop", at=50_000)
            guest.cmd("cont")
            guest.event_wait("STOP", timeout=30 * SLOWER)
            save(guest, self.path)
            was = guest.cmd("query-paging")

        def ended(pcpus):
            with Guest("-S", "-incoming", "defer", *on(pcpus), arch="x86_64") as guest:
                load(guest, self.path)
                self.assertEqual(guest.cmd("query-paging"), was)
                guest.cmd("cont")
                guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
                return guest.cmd("query-paging"), guest.stats()

        (same, _), one, four = ended(2), ended(1), ended(4)
        self.assertEqual((ended(1), ended(4)), (one, four))
        # PCPU 0 is in all of them, and the VCPU goes on there with its TLB.
        self.assertEqual((one[0], four[0]), (same, same))

    def test_earlier_than_the_list(self):
        """A state from before dsp-enable, in the same machine: the VM never was in the list."""
        disk = qcow2(os.path.join(self.dir, "disk"), 64)
        with Guest("-S", *self.machine(self.image, "paging=shadow"),
                   "-blockdev", f"driver=file,filename={disk},node-name=file",
                   "-blockdev", "driver=qcow2,file=file,node-name=disk", arch="x86_64") as guest:
            snapshot(guest, "save", "begin", ["disk"])
            guest.cmd("dsp-enable", vm=0, experiment="nested-shadow-nested")
            snapshot(guest, "load", "begin", ["disk"])
            self.assertEqual(guest.cmd("query-dsp"), [])
            self.assertEqual(guest.cmd("query-paging")[0]["mode"], "shadow")


class CountedByTheGuest(Switching):
    """faults=guest: the program counts "faults" itself, one for each page it loads from."""
    timeout = 300
    REGISTER = 0xfeb00000
    defines = ("-DCOUNTER=0x8000", f"-DREGISTER={REGISTER:#x}")
    more = ("-device", f"vsched-fault-counter,addr={REGISTER:#x}")

    test_decides = test_odd_intervals = test_from_the_beginning = test_experiments = None
    test_list = None

    def start(self, *more):
        rom = self.rom(2, 1000, "-DROUNDS=10", "-DWORK=20000", *self.defines)
        return Guest(*self.machine(rom, "paging=nested,sdb=off", *self.more, *more),
                     arch="x86_64")

    def test_samples(self):
        """What the samples have adds up to what the program has counted until the last one: the
        command finds the counter as it is told in the first microseconds."""
        with self.start("-object", "vsched-command,id=c,at=4us,run=dsp-enable,"
                        "arguments=vm=0,,interval=2us,,faults=guest,,keep=60000") as guest:
            guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
            vm, = guest.cmd("query-paging")
            self.assertEqual(vm["guest-faults"], 10 * 1000)
            self.assertEqual(sum(c["user"] + c["privileged"] for c in vm["counters"]
                                 if c["name"] == "page-faults"), 0)
            dsp, = guest.cmd("query-dsp")
            self.assertEqual(dsp["options"]["faults"], "guest")
            counted = [s["faults"] for s in dsp["samples"]]
            # At most what the last one did not see: 2 us are 5600 instructions, 4 to a page
            self.assertGreater(sum(counted), 10 * 1000 - 5600 / 4)
            self.assertLessEqual(sum(counted), 10 * 1000)
            # A round has 20,000 instructions that count nothing.
            self.assertEqual(counted[-1 - counted[::-1].index(0)], 0)

    def test_saved(self):
        """A state knows where; a machine that was reset does not."""
        path = os.path.join(self.dir, "state")
        with self.start("-S", "-action", "reboot=reset") as guest:
            self.assertNotIn("guest-faults", guest.cmd("query-paging")[0])
            guest.cmd("vsched-stop", at=20 * self.US)
            guest.cmd("cont")
            guest.event_wait("STOP", timeout=30 * SLOWER)
            counted = guest.cmd("query-paging")[0]["guest-faults"]
            save(guest, path)
            guest.cmd("system_reset")
            guest.event_wait("RESET", timeout=30 * SLOWER)
            self.assertNotIn("guest-faults", guest.cmd("query-paging")[0])
        with self.start("-S", "-incoming", "defer") as guest:
            load(guest, path)
            self.assertEqual(guest.cmd("query-paging")[0]["guest-faults"], counted)

    def test_refused(self):
        rom = self.rom(2, 1)
        for machine, device, says in (
                ("paging=nested", "addr=0x1001", "multiples of 8"),
                ("paging=nested", "addr=0x1000", "in the guest's memory"),
                ("sdb=off", f"addr={self.REGISTER:#x}", "it needs a model of paging")):
            status, text = refused(*self.machine(rom, machine), "-device",
                                   f"vsched-fault-counter,{device}", arch="x86_64")
            self.assertEqual(status, 1)
            self.assertIn(says, text)
        status, text = refused(*self.machine(rom, "paging=nested"), *self.more, "-device",
                               "vsched-fault-counter,addr=0xfeb00008", arch="x86_64")
        self.assertIn("there is one already", text)


class Control(Programs):
    """Commands that have a time, HMP and query-stats."""
    timeout = 300

    def test_at_its_time(self):
        """Each command at the first end of a window from its time on."""
        rom = self.rom(4, 500, "-DROUNDS=20", "-DWORK=20000")
        with Guest("-S", *self.machine(rom, "paging=nested,window=10us"),
                   arch="x86_64") as guest:
            for at, command, arguments in (
                    (30_000, "paging-set-mode", {"mode": "shadow"}),
                    (45_000, "dsp-enable", {"experiment": "nested-shadow-nested"}),
                    (60_001, "dsp-disable", {})):
                done = guest.cmd(command, vm=0, at=at, **arguments)
                self.assertEqual(done["time"], at)
            self.assertEqual([p["command"] for p in guest.cmd("query-vsched")["pending"]],
                             ["paging-set-mode", "dsp-enable", "dsp-disable"])
            guest.cmd("cont")
            guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
            done, modes = [], []
            while event := guest.get_qmp_event():
                if event["event"] == "VSCHED_COMMAND":
                    self.assertNotIn("error", event["data"])
                    done.append((event["data"]["command"], event["data"]["time"]))
                elif event["event"] == "PAGING_MODE":
                    modes.append(event["data"]["mode"])
            self.assertEqual([name for name, _ in done],
                             ["paging-set-mode", "dsp-enable", "dsp-disable"])
            for (_, time), at in zip(done, (30_000, 45_000, 60_001)):
                # Windows are uneven (jitter), by less than half.
                self.assertTrue(at <= time < at + 15_000, (at, time))
            self.assertEqual(modes, ["shadow", "nested", "shadow"])

    def test_what_is_past_or_wrong(self):
        rom = self.rom(4, 1)
        with Guest("-S", *self.machine(rom, "paging=nested"), arch="x86_64") as guest:
            for command, arguments, says in (
                    ("dsp-enable", {"ratio-lower": 1.0, "at": 5}, "is below the lower one"),
                    ("paging-set-mode", {"mode": "shadow", "at": 2**63}, "out of range"),
                    ("dsp-disable", {"vm": 3, "at": 5}, "vm 3: allowed are 0 to 0")):
                said = guest.qmp(command, {"vm": 0, **arguments})
                self.assertIn(says, said["error"]["desc"])
            self.assertEqual(guest.cmd("query-vsched")["pending"], [])

    def test_people(self):
        """HMP says what QMP says, and changes it by the same commands."""
        rom = self.rom(4, 500)
        with Guest(*self.machine(rom, "paging=nested"), arch="x86_64") as guest:
            guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)

            def hmp(line):
                return guest.cmd("human-monitor-command", command_line=line).replace("\r", "")

            vm, = guest.cmd("query-paging")
            misses, = (c for c in vm["counters"] if c["name"] == "dtlb-misses")
            self.assertRegex(hmp("info paging"),
                             rf"vm\[0\]: mode nested, 0 pages [^\0]*dtlb-misses +"
                             rf"{misses['privileged']} +{misses['user']}\n")
            self.assertIn("DSP switches no VM", hmp("info dsp"))
            self.assertIn("vsched dsp-enable", hmp("vsched"))
            self.assertIn("lower one", hmp("vsched dsp-enable vm=0,ratio-lower=1"))
            self.assertEqual(hmp("vsched dsp-enable vm=0,interval=100ms,miss-upper=2.5"), "")
            self.assertRegex(hmp("info dsp"), r"vm\[0\]: switched by DSP, mode nested, 0 switches"
                             r"[^\0]*interval=100000000 ns[^\0]*misses 0.1 to 2.5")
            hmp("vsched dsp-disable vm=0")
            self.assertIn("not switched any more", hmp("info dsp"))
            hmp("vsched paging-set-mode vm=0,mode=agile")
            self.assertIn("mode agile", hmp("info paging"))

    def test_statistics(self):
        """query-stats has each counter of VCPUs and PCPUs; their sums are query-paging's."""
        rom = self.rom(4, 500, "-DREMAP")
        with Guest(*self.machine(rom, "paging=shadow"), arch="x86_64") as guest:
            guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
            vm, = guest.cmd("query-paging")
            stats = guest.stats()
            for counter in vm["counters"]:
                for who in "privileged", "user":
                    name = f"paging-{counter['name']}-{who}"
                    self.assertEqual([stats["vm"][f"{of}-{name}"] for of in ("vcpu", "pcpu")],
                                     2 * [counter[who]], name)
            schema = guest.cmd("query-stats-schemas")
            units = {s["name"]: s.get("unit") for one in schema for s in one["stats"]
                     if one["target"] == "vcpu" and one["provider"] == "vsched"}
            self.assertEqual(units["paging-cycles-walks-user"], "cycles")
            self.assertIsNone(units["paging-dtlb-misses-user"])
        with Guest("-S", *self.machine(rom, "sdb=off"), arch="x86_64") as guest:
            self.assertFalse([n for n in guest.stats()["vm"] if "paging" in n])


class ThroughCaches(Programs):
    """References go through the cache model where there is one: beyond the first cycle, the L2
    takes 14 cycles and memory 364 (see test_cache_cycles.py)."""
    timeout = 300
    L2, MEMORY = 14, 364
    LARGE_L1 = "[l1d]\nsize = 128K\nways = 16\n"

    def report(self, rom, paging, config):
        """(counters of paging, counters of the caches, cycles that the VCPU stalled)"""
        caches = os.path.join(self.dir, "caches.conf")
        with open(caches, "w", encoding="utf-8") as f:
            f.write("[memory]\nvariation = 0\n" + config)
        with Guest(*self.machine(rom, paging, *cache_plugin(f",config={caches}")),
                   arch="x86_64") as guest:
            guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
            vm, = guest.cmd("query-paging")
            stats = guest.stats()["vm"]
            found = ({c["name"]: c["privileged"] + c["user"] for c in vm["counters"]},
                     cache_report(guest)["machine"]["privileged"],
                     stats["vcpu-running-useful"] + stats["vcpu-running-spinning"] -
                     stats["vcpu-insns-privileged"] - stats["vcpu-insns-user"])
        self.assertNotIn("qemu_plugin", guest.get_log())
        return found

    def more(self, few, many, paging, *defines, config=LARGE_L1):
        a, b = (self.report(self.rom(4, pages, *defines), paging, config) for pages in (few, many))
        paging, caches = ({name: new[name] - old.get(name, 0) for name in new
                           if isinstance(new[name], int)} for old, new in zip(a[:2], b[:2]))
        return paging, caches, b[2] - a[2]

    def test_what_is_missed(self):
        """The guest's entries were written just before, and hit the L1.  Of the host's, the last
        is 8 bytes for a page: each eighth page begins a line that nobody has read."""
        for mode, references in ("native", 4), ("nested", 24):
            options = f"paging={mode},paging-config={self.config('')}"
            for few, many, missed in ((2, 3, 0), (8, 9, mode == "nested")):
                with self.subTest(mode=mode, few=few):
                    paging, caches, stalled = self.more(few, many, options)
                    walks = 4 * references + self.MEMORY * missed
                    self.assertEqual(paging["cycles-walks"], walks)
                    self.assertEqual(caches["model-loads"], references)
                    self.assertEqual(caches["model-stores"], 0)
                    # The load itself misses, and so did the store that made the first entry of
                    # a line of the guest's table.
                    self.assertEqual(stalled, walks + self.MEMORY * (2 if few == 8 else 1))

    def test_conflicts(self):
        """Of the four tables, three are 8 KiB apart: of the same set of an L1D with two ways, so
        that each finds its line gone."""
        options = f"paging=native,paging-config={self.config('')}"
        paging, caches, _ = self.more(2, 3, options, config="")
        self.assertEqual(paging["cycles-walks"], 4 * 4 + 3 * self.L2)
        self.assertEqual(caches["model-loads"], 4)

    def test_bits_that_a_walk_sets(self):
        """A walk that sets the A bit stores to the entry, which the L1 has: it costs nothing."""
        options = f"paging=native,paging-config={self.config('')}"
        paging, caches, _ = self.more(2, 3, options, "-DPAGE=0x03")
        self.assertEqual((paging["cycles-walks"], caches["model-loads"], caches["model-stores"]),
                         (16, 4, 1))

    def test_exits_that_empty_the_tlb(self):
        """A store to a table of which there is a shadow is an exit, and empties the TLB if there
        are no VPIDs: the caches get it all the same."""
        found = []
        for vpid in "yes", "no":
            self.always = NO_CACHES.replace("vpid = yes", f"vpid = {vpid}")
            options = f"paging=shadow,paging-config={self.config('')}"
            paging, caches, _ = self.report(self.rom(4, 3, "-DREMAP"), options, "")
            self.assertGreater(paging["exits-unsync"] + paging["exits-emulate"], 0)
            found.append((caches["loads"], caches["stores"]))
            self.assertEqual(paging["tlb-flushes"] > 0, vpid == "no")
        self.assertEqual(*found)


class Linux(unittest.TestCase):
    """4 VCPUs on 2 PCPUs.  More of it is in full/test_paging_linux.py."""
    timeout = 300

    @staticmethod
    def boot(paging):
        """(cycles until the power is off, {counter: both modes together})"""
        with Guest("-M", "q35", "-nodefaults", "-cpu", "Nehalem", "-smp", "4", "-m", "256",
                   "-kernel", os.path.join(GUESTS, "x86", "vmlinuz"),
                   "-initrd", os.path.join(GUESTS, "x86", "initrd.gz"),
                   "-append", "console=ttyS0 tsc=reliable workload=boot", "-no-shutdown",
                   "-accel", f"tcg,thread=vsched,pcpus=2,sched=balance,paging={paging}",
                   arch="x86_64") as guest:
            guest.event_wait("SHUTDOWN", timeout=120 * SLOWER)
            vm, = guest.cmd("query-paging")
            return guest.stats()["vm"]["time"], {
                c["name"]: c["privileged"] + c["user"] for c in vm["counters"]}

    @staticmethod
    def begin(paging, *more):
        """({counter: both modes together}, statistics) of the first 60 ms"""
        with Guest("-S", "-M", "q35", "-nodefaults", "-cpu", "Nehalem", "-m", "256",
                   "-kernel", os.path.join(GUESTS, "x86", "vmlinuz"),
                   "-append", "console=ttyS0", *more, "-accel",
                   f"tcg,thread=vsched,pcpus=1,paging={paging}", arch="x86_64") as guest:
            guest.cmd("vsched-stop", at=60_000_000)
            guest.cmd("cont")
            guest.event_wait("STOP", timeout=60 * SLOWER)
            return guest.cmd("query-paging"), guest.stats()

    def test_however_code_is_translated(self):
        """Also where exits do not empty the TLB, and the firmware's code and data share pages."""
        for config in "i7-860", "skylake", "zen2":
            for mode in "shadow", "agile":
                paging = f"{mode},paging-config={config}"
                first = self.begin(paging)
                for more in (["", "-d", "nochain"], [",x-softmmu-bits=6"],
                             [",x-softmmu-bits=16"]):
                    with self.subTest(paging=paging, more=more):
                        self.assertEqual(self.begin(paging + more[0], *more[1:]), first)

    def test_what_exits_add(self):
        """Not more than they cost: an interrupt between processors whose sender was carried
        beyond its window by an exit must not wait until something else happens."""
        native, _ = self.boot("native")
        nested, n = self.boot("nested")
        costs = sum(v for name, v in n.items() if name.startswith("cycles-"))
        self.assertGreater(n["exits-io"], 50_000)
        self.assertGreater(nested, native)
        self.assertLess(nested, native + 2 * costs)


class Filter(Programs):
    """A filter of callbacks keeps a line as long as its translation is the same."""
    timeout = 120

    def look(self, paging, pages, *defines):
        """(what the test plugin says, misses of the modelled first level)"""
        options = f"paging={paging},paging-config={self.config('')}"
        with Guest(*self.machine(self.rom(4, pages, *defines), options,
                                 *plugin("filterer", ",index=13")), arch="x86_64") as guest:
            guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
            said = guest.cmd("plugin-command", plugin="filterer", command="counts")
            vm, = guest.cmd("query-paging")
        self.assertEqual((said["moved"], said["wrong-line"]), (0, 0))
        return said, sum(c["privileged"] for c in vm["counters"] if c["name"] == "dtlb-l1-misses")

    def test_an_eviction_drops_no_line(self):
        """100 pages go through a TLB of 64 entries, and into QEMU's TLB each time; after the first
        round the filter has their lines."""
        for paging in "native", "shadow":
            one, few = self.look(paging, 100, "-DROUNDS=1", "-DWORK=1")
            ten, many = self.look(paging, 100, "-DROUNDS=10", "-DWORK=1")
            self.assertEqual(many - few, 900)
            self.assertEqual(ten["known"] - one["known"], 900)
            self.assertEqual(ten["dropped"], one["dropped"])

    def test_a_remapped_page_drops_its_lines(self):
        """The page that is remapped; and its table, last written before paging was on."""
        plain, _ = self.look("nested", 3)
        remapped, _ = self.look("nested", 3, "-DREMAP")
        self.assertEqual(remapped["dropped"] - plain["dropped"], 2)


class Refused(Programs, Refusals):
    timeout = 120

    def test_options(self):
        rom = self.rom(4, 1)
        for options, says in (
                ("paging=hap", "paging=hap: allowed are native, nested, shadow, agile, dsp"),
                ("paging-config=i7-860", "paging-config= is for paging="),
                ("x-paging-check=on", "x-paging-check= is for paging="),
                ("paging=nested,x-paging-check=1", "x-paging-check"),
                ("paging=nested,x-softmmu-bits=5", "x-softmmu-bits=5: allowed are 6 to 16"),
                ("paging=nested,x-softmmu-bits=17", "x-softmmu-bits=17: allowed are 6 to 16"),
                ("paging=nested,paging-config=nope", "nope.conf: .*No such file"),
                ("paging=nested,paging-config=/etc/hostname", "paging configuration"),
                ("paging=nested,paging-config=skylake", "allowed is clock-hz=2700000000"),
                ("paging=nested,paging-config=cmp8", "is for sparc64: allowed for x86 is hardware")):
            status, text = refused(*self.machine(rom, options), arch="x86_64")
            self.assertEqual(status, 1)
            self.assertRegex(text, says)
        # Without clock-hz=, PCPUs have the clock that the costs are of.
        machine = [a.replace(f"clock-hz={HZ},", "") for a in self.machine(rom, "paging=nested")]
        ends = {hz: os.path.join(self.dir, f"{hz}.conf") for hz in (10**7, 10**10)}
        for hz, path in ends.items():
            with open(path, "w", encoding="utf-8") as file:
                file.write(f"[machine]\nclock = {hz}\n")
        for config, hz in ("i7-860", HZ), ("skylake", 2_700_000_000), *(
                (path, hz) for hz, path in ends.items()):
            with Guest("-S", *machine[:-1], f"{machine[-1]},paging-config={config}",
                       arch="x86_64") as guest:
                self.assertEqual(guest.cmd("qom-get", path="/machine/vsched",
                                           property="clock-hz"), hz)

    def test_commands(self):
        rom = self.rom(4, 1)
        with Guest("-S", *self.machine(rom, "sdb=off"), arch="x86_64") as guest:
            for command, arguments in (("query-paging", {}),
                                       ("paging-set-mode", {"vm": 0, "mode": "nested"})):
                said = guest.qmp(command, arguments)
                self.assertIn("there is no model of paging", said["error"]["desc"])
        with Guest("-S", *self.machine(rom, "paging=nested"), arch="x86_64") as guest:
            for vm in -1, 1:
                said = guest.qmp("paging-set-mode", {"vm": vm, "mode": "shadow"})
                self.assertIn(f"vm {vm}: allowed are 0 to 0", said["error"]["desc"])
            said = guest.qmp("paging-set-mode", {"vm": 0, "mode": "hap"})
            self.assertIn("mode", said["error"]["desc"])
            self.assertEqual(guest.cmd("query-paging")[0]["mode"], "nested")
            guest.cmd("paging-set-mode", vm=0, mode="shadow")
            self.assertEqual(guest.cmd("query-paging")[0]["mode"], "shadow")


if __name__ == "__main__":
    unittest.main()
