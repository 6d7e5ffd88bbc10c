"""The engine from outside: wrong parameters, help, live changes, statistics.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import re
import subprocess
import tempfile
import time
import unittest

from support import Guest, Refusals, binary, flat, x86_rom

# Parameter: (what is refused because of its range, what the message allows).
TIMES = {"window": r"100ns to 1ms", "slice": r"10us to 1s", "skip": r"0ns to 1ms",
         "disk-latency": r"0ns to 1s"}
NUMBERS = {"clock-hz": r"10000000 to 10000000000", "switch-cost": r"0 to 1000000000"}
SDB = {"sdb-period": r"16 to 1048576", "sdb-entries": r"1 to 64",
       "sdb-store-threshold": r"1 to (64|8|entries)", "sdb-load-threshold": r"1 to (64|8|entries)",
       "sdb-recurrence-entries": r"1 to 256", "sdb-recurrence-repeats": r"1 to 1000",
       "sdb-recurrence-rest": r"0 to 10000", "sdb-paper-rest": r"0 to 10000"}
WORDS = ("-1", "99999999999999999999", "many", "1e3", "")
NOUGHT = {"skip", "disk-latency", "switch-cost",                # may be 0
          "sdb-recurrence-rest", "sdb-paper-rest"}


class BadInput(Refusals, unittest.TestCase):
    timeout = 200

    def test_values_on_the_accelerator(self):
        for name, allowed in {**TIMES, **NUMBERS}.items():
            for value in WORDS + (() if name in NOUGHT else ("0",)) + ("99999999999999",):
                self.refuse(f"{name}=.*allowed are {allowed}",
                            "-M", "sun4u", "-accel", f"tcg,thread=vsched,{name}={value}")

    def test_values_on_the_machine(self):
        for name, allowed in {**TIMES, **NUMBERS}.items():
            self.refuse(f"{name}=.*allowed are {allowed}", "-M", f"cmp8,{name}=-1")

    def test_values_of_the_sdb(self):
        for name, allowed in SDB.items():
            for value in ("-1", "many", "99999999") + (() if name in NOUGHT else ("0",)):
                self.refuse(rf"{name}[^$]*: allowed are {allowed}", "-M", f"cmp8,{name}={value}")
        self.refuse("allowed are paper, recurrence and either", "-M", "cmp8,detector=best")
        self.refuse("'on' or 'off'", "-M", "cmp8,sdb=maybe")

    def test_which_of_several_wrong_ones_is_named(self):
        """The first of the tables, in whatever order they are given."""
        wrong = ("window=1", "clock-hz=1", "switch-cost=-1", "skip=2s", "slice=1", "sdb-period=1",
                 "sdb-entries=0", "sdb-recurrence-rest=-1")
        for n in range(len(wrong) - 1):
            for order in (wrong[n:], wrong[n:][::-1]):
                for where in ("-M", "-accel"):
                    options = ",".join(order)
                    self.refuse(f": {wrong[n].partition('=')[0]}=",
                                *(("-M", f"cmp8,{options}") if where == "-M" else
                                  ("-M", "sun4u", "-accel", f"tcg,thread=vsched,{options}")))
        self.refuse("window= is a parameter of the engine", "-M", "sun4u", "-accel",
                    "tcg,thread=single,sdb-period=64,weights=1,skip=0,slice=20us,window=1us")

    def test_machine_and_accelerator_disagree(self):
        self.refuse("-accel says slice=50us and the machine says slice=20us: give one",
                    "-M", "cmp8,slice=20us", "-accel", "tcg,slice=50us")

    def test_pcpus(self):
        for value in ("0", "65", "-1", "many"):
            self.refuse("pcpus=.*1 to 64", "-M", "sun4u",
                        "-accel", f"tcg,thread=vsched,pcpus={value}")

    def test_policy_thread_and_icount(self):
        self.refuse("unknown scheduling policy 'best': allowed are .*sdb, .*timeslice",
                    "-M", "cmp8,sched=best")
        self.refuse("thread.*best[^$]*Allowed: single, multi, vsched",
                    "-accel", "tcg,thread=best")
        self.refuse("-icount cannot be used together", "-M", "cmp8", "-icount", "shift=0")
        for machine, option in (("sun4u", "slice=1ms"), ("sun4u", "pcpus=4"), ("cmp8", "pcpus=3")):
            self.refuse(f"{option[:5]}= is a parameter of the engine: it needs "
                        "-accel tcg,thread=vsched",
                        "-M", machine, "-accel", f"tcg,thread=single,{option}")


class Help(unittest.TestCase):
    timeout = 60

    @staticmethod
    def help_of(*args):
        done = subprocess.run([binary(), *args], stdin=subprocess.DEVNULL, text=True, timeout=30,
                              stdout=subprocess.PIPE, check=False)
        return done.returncode, done.stdout

    def test_policies(self):
        for args in (("-M", "cmp8,sched=help"),
                     ("-M", "sun4u", "-accel", "tcg,thread=vsched,sched=help")):
            status, text = self.help_of(*args)
            self.assertEqual(status, 0)
            for line in (r"sdb +static map; a spin", r"timeslice +static map",
                         r"slice= .*10us to 1s, default 100us"):
                self.assertRegex(text, line)

    def test_parameters(self):
        """Meaning, allowed values and default of each, on the machine and the accelerator."""
        for args in (("-M", "cmp8,help"), ("-accel", "tcg,help"),
                     ("-M", "sun4u", "-accel", "tcg,thread=vsched,help")):
            status, text = self.help_of(*args)
            self.assertEqual(status, 0)
            # What several policies have, each in its own way: sched=help says more.
            self.assertRegex(text, r"\n  slice=<str> +- parameter of several policies; sched=help")
            for name, allowed in {**TIMES, **NUMBERS, **SDB}.items():
                if name == "slice":
                    continue
                kind = "str" if name in TIMES else "uint(32|64)"
                self.assertRegex(text, rf"\n  {name}=<{kind}> +- \w.*{allowed}.*default \d")
            for name, kind, allowed in (("sched", "str", "'help' lists.*default sdb"),
                                        ("sdb", "bool", r"\(on, off\); default on"),
                                        ("detector", "string",
                                         "paper, recurrence.* or either; default either")):
                self.assertRegex(text, rf"\n  {name}=<{kind}> +- \w+.*{allowed}")

    def test_properties_of_the_device(self):
        """All that can be set, and no counter."""
        status, text = self.help_of("-device", "sdb,help")
        self.assertEqual(status, 0)
        self.assertEqual(set(re.findall(r"^  ([^=]+)=", text, re.M)),
                         {"pcpu", "detector"} | {name[4:] for name in SDB})


class Tree(unittest.TestCase):
    timeout = 60

    def test_one_sdb_a_pcpu(self):
        """In the default tree of the monitor, under any machine; /vsched is a link to it."""
        for args in (("-M", "cmp,pcpus=3,vcpus=5"),
                     ("-M", "sun4u", "-vga", "none", "-accel", "tcg,thread=vsched,pcpus=3")):
            with Guest("-S", *args) as guest:
                tree = guest.cmd("human-monitor-command", command_line="info qom-tree")
                inside = re.search(r"^  /vsched .*((?:\r?\n    .*)*)", tree, re.M).group(1)
                self.assertEqual(re.findall(r"/(\S+) \(sdb\)", inside),
                                 ["sdb[0]", "sdb[1]", "sdb[2]"])
                for path in ("/machine/vsched", "/vsched"):
                    self.assertEqual({p["name"] for p in guest.cmd("qom-list", path=path)
                                      if p["type"] == "child<sdb>"},
                                     {"sdb[0]", "sdb[1]", "sdb[2]"})
                for pcpu in range(3):
                    self.assertEqual(guest.cmd("qom-get", path=f"/machine/vsched/sdb[{pcpu}]",
                                               property="pcpu"), pcpu)


class Live(unittest.TestCase):
    timeout = 100

    def test_readconfig(self):
        with tempfile.NamedTemporaryFile("w", suffix=".cfg") as f:
            f.write('[machine]\n  type = "cmp8"\n  sched = "timeslice"\n  slice = "20us"\n')
            f.flush()
            with Guest("-S", "-readconfig", f.name) as guest:
                self.assertEqual(guest.cmd("qom-get", path="/vsched", property="sched"),
                                 "timeslice")
                self.assertEqual(guest.cmd("qom-get", path="/vsched/policy", property="slice"),
                                 "20us")

    def test_the_machine_s_properties_are_those_of_the_start(self):
        """And nothing that is set on them ends QEMU, a request for help neither."""
        with Guest("-S", "-M", "cmp,pcpus=2,vcpus=3,sched=timeslice") as guest:
            for name, value in (("sched", "help"), ("sched", "sdb"), ("sched", "nonsense"),
                                ("slice", "20us"), ("detector", "paper"), ("pcpus", 3),
                                ("vcpus", 4), ("shared-tick", False), ("thread", "single")):
                self.assertIn("error", guest.qmp("qom-set", path="/machine", property=name,
                                                 value=value), name)
            self.assertEqual(guest.cmd("qom-get", path="/vsched", property="sched"), "timeslice")

            # They say what is in force, given or not.
            def shown():
                return {name: guest.cmd("qom-get", path="/machine", property=name)
                        for name in ("pcpus", "slice", "sched", "sdb", "skip", "sdb-period",
                                     "switch-cost", "detector")}

            self.assertEqual(shown(), {"pcpus": 2, "slice": "100us", "sched": "timeslice",
                                       "sdb": True, "skip": "0ns", "sdb-period": 1024,
                                       "switch-cost": 554, "detector": "either"})
            for path, name, value in (("/vsched", "sdb", False), ("/vsched/policy", "slice", "1ms")):
                guest.cmd("qom-set", path=path, property=name, value=value)
            self.assertEqual((shown()["sdb"], shown()["slice"]), (False, "1ms"))

    def test_no_counter_before_anything_ran(self):
        with Guest("-S", "-M", "cmp,pcpus=2,vcpus=3") as guest:
            vm = guest.stats()["vm"]
            self.assertEqual({name: value for name, value in vm.items() if value}, {})

    def test_negative_numbers(self):
        with Guest("-S", "-M", "cmp8") as guest:
            for path, name in (("/vsched/policy", "slice"), ("/vsched", "switch-cost")):
                error = guest.qmp("qom-set", path=path, property=name, value=-1)["error"]["desc"]
                self.assertRegex(error, f"{name}=-1 is out of range: allowed are ")

    def test_cpus_cannot_be_unplugged(self):
        """One thread runs them all, and cannot end itself: QEMU aborted."""
        with tempfile.NamedTemporaryFile(suffix=".rom") as rom:
            rom.write(x86_rom([], [], []))
            rom.flush()
            with Guest("-S", "-nodefaults", "-M", "q35", "-smp", "1,maxcpus=2", "-cpu", "qemu64",
                       "-accel", "tcg,thread=vsched,pcpus=2", "-bios", rom.name,
                       arch="x86_64") as guest:
                slot = guest.cmd("query-hotpluggable-cpus")
                slot, = (s for s in slot if "qom-path" not in s)
                guest.cmd("device_add", driver=slot["type"], id="c",
                          **{k.replace("-", "_"): v for k, v in slot["props"].items()})
                error = guest.qmp("device_del", id="c")["error"]["desc"]
                self.assertIn("thread=vsched cannot take a CPU out", error)

    def test_cpus_plugged_in_while_the_machine_is_stopped(self):
        """They are stopped too; QMP hung, since the engine ran on and held the main loop's
        events back until a time that never came."""
        with tempfile.NamedTemporaryFile(suffix=".rom") as rom:
            rom.write(x86_rom([], [], [b"\xeb\xfe"]))      # 1: jmp 1b
            rom.flush()
            with Guest("-S", "-nodefaults", "-M", "q35", "-smp", "1,maxcpus=3", "-cpu", "qemu64",
                       "-accel", "tcg,thread=vsched,pcpus=2,vms=1+2", "-bios", rom.name,
                       arch="x86_64") as guest:
                for n in (1, 2):
                    before = guest.stats()["vm"]
                    slot = next(s for s in guest.cmd("query-hotpluggable-cpus")
                                if "qom-path" not in s)
                    guest.cmd("device_add", driver=slot["type"], id=f"c{n}",
                              **{k.replace("-", "_"): v for k, v in slot["props"].items()})
                    self.assertEqual(guest.cmd("qom-get", path=f"/machine/vsched/vcpu[{n}]",
                                               property="cpu"), f"/machine/peripheral/c{n}")
                    self.assertEqual(guest.stats()["vm"], before)
                    guest.cmd("cont")
                    while guest.stats()["vm"]["time"] < before["time"] + 1_000_000:
                        pass
                    guest.cmd("stop")

    def test_clock_rates(self):
        """A window of 1 us has as many cycles as the clock in 1 us, up to 10 GHz."""
        for hz in (10_000_000, 4_294_967_296, 10_000_000_000):
            with self.subTest(hz=hz), Guest("-M", f"cmp,pcpus=1,vcpus=1,clock-hz={hz}") as guest:
                while not (vm := guest.stats()["vm"])["windows"]:
                    pass
                guest.cmd("stop")
                vm = guest.stats()["vm"]
                self.assertEqual(vm["time"], vm["windows"] * -(-hz // 1_000_000))

    def test_counters_stay_when_sdbs_are_disconnected(self):
        with Guest("-M", "cmp,pcpus=1,vcpus=1") as guest:
            while not guest.stats()["vm"]["pcpu-sdb-periods-privileged"]:
                pass
            guest.cmd("stop")
            before = guest.stats()["vm"]["pcpu-sdb-periods-privileged"]
            guest.cmd("qom-set", path="/vsched", property="sdb", value=False)
            self.assertEqual(guest.stats()["vm"]["pcpu-sdb-periods-privileged"], before)

    def test_changes(self):
        with Guest("-M", "cmp8,vcpus=3,slice=50us") as guest:
            def get(name, path="/vsched"):
                return guest.cmd("qom-get", path=path, property=name)

            def put(name, value, path="/vsched"):
                return guest.qmp("qom-set", path=path, property=name, value=value)

            policy = "/vsched/policy"
            self.assertEqual(get("slice", policy), "50us")
            self.assertIn("return", put("slice", "200us", policy))
            self.assertEqual(get("slice", policy), "200us")
            self.assertIn("return", put("slice", 30000, policy))
            self.assertEqual(get("slice", policy), "30us")
            for wrong in ("1us", "2s", "many", 0, -1, True):
                self.assertIn("error", put("slice", wrong, policy), wrong)
                self.assertEqual(get("slice", policy), "30us")

            for name in ("timeslice", "sdb", "timeslice"):
                self.assertIn("return", put("sched", name))
                self.assertEqual(get("sched"), name)
                self.assertEqual(get("slice", policy), "100us")
            # An SDB that somebody unrealizes goes on.
            for value in (False, True):
                self.assertIn("return", put("realized", value, "/machine/vsched/sdb[0]"))
            self.assertIn("error", put("sched", "best"))
            self.assertEqual(get("sched"), "timeslice")

            for name, old, new in (("switch-cost", 554, 100), ("skip", "0ns", "10us"),
                                   ("disk-latency", "100us", "1ms"), ("sdb", True, False),
                                   ("jitter", True, False)):
                self.assertEqual(get(name), old)
                self.assertIn("return", put(name, new))
                self.assertEqual(get(name), new)
            for name, old in (("window", "1us"), ("pcpus", 8), ("clock-hz", 1000000000)):
                error = put(name, old)["error"]["desc"]
                self.assertRegex(error, "cannot change while the machine exists")
                self.assertEqual(get(name), old)

            before = guest.stats()["vm"]["time"]
            end = time.monotonic() + 20
            while guest.stats()["vm"]["time"] == before and time.monotonic() < end:
                time.sleep(0.05)
            self.assertGreater(guest.stats()["vm"]["time"], before)


class Statistics(unittest.TestCase):
    timeout = 60

    def test_schemas_and_sums(self):
        with Guest("-M", "cmp8,vcpus=5") as guest:
            time.sleep(1)
            guest.cmd("stop")
            schemas = {s["target"]: {v["name"] for v in s["stats"]}
                       for s in guest.cmd("query-stats-schemas", provider="vsched")}
            self.assertEqual(set(schemas), {"vm", "pcpu", "vcpu"})
            got = {}
            for target, names in schemas.items():
                got[target] = [{s["name"]: s["value"] for s in entry["stats"]} for entry in
                               guest.cmd("query-stats", target=target,
                                         providers=[{"provider": "vsched"}])]
                for stats in got[target]:
                    self.assertEqual(set(stats), names)
                got[target] = [flat(stats) for stats in got[target]]
            self.assertEqual([len(got[t]) for t in ("vm", "pcpu", "vcpu")], [1, 8, 5])
            vm = got["vm"][0]
            for p in got["pcpu"]:
                self.assertEqual(p["clock"], sum(p[n] for n in ("busy", "idle", "switching",
                                                                "skipped")))
                self.assertGreater(p["clock"], vm["time"] - 64)
            states = ("running-useful", "running-spinning", "ready", "blocked", "switching")
            for v in got["vcpu"]:
                self.assertLess(abs(sum(v[n] for n in states) - vm["time"]), 64 + 554)
            for target in ("pcpu", "vcpu"):
                for name in got[target][0]:
                    self.assertEqual(vm[f"{target}-{name}"], sum(x[name] for x in got[target]))
            for n, p in enumerate(got["pcpu"]):
                self.assertEqual(vm[f"vcpu-running-on[{n}]"], p["busy"] + p["skipped"])
            self.assertEqual(vm["pcpu-busy"],
                             vm["vcpu-insns-user"] + vm["vcpu-insns-privileged"])
