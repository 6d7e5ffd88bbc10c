"""Live control: the commands of QMP and HMP, their times, what waits, what is given at the start.

What a command does to a run is compared with what the same change does by another way
(the command line, qom-set), or was worked out by hand; what is refused changes nothing.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import json
import os
import re
import unittest

from support import SLOWER, Guest, Refusals
from test_save import end, load, program, save, wait_for
from test_vms import Still, of_kind, policies

MACHINE = "cmp8,vcpus=24"
MS = 1000 * 1000


def scrubbed(info):
    """What query-vsched says, without its time."""
    return {name: value for name, value in info.items() if name != "time"}


class Commands(Still):
    def query(self):
        return self.guest.cmd("query-vsched")

    def test_query(self):
        """All of it agrees with the objects; what was given is there."""
        info = self.query()
        self.assertEqual((info["time"], info["window"], info["policy"]), (0, 1000, "sdb"))
        self.assertEqual(info["longest-wait"], 2 * 100000 + 3 * 554 + 1000)
        self.assertEqual([p["name"] for p in info["parameters"]], ["slice"])
        self.assertEqual(info["parameters"][0]["value"], "100us")
        self.assertEqual([(v["vm"], v["weight"], v["cap"], v["vcpus"]) for v in info["vms"]],
                         [(0, 256, 0, list(range(8))), (1, 256, 0, list(range(8, 24)))])
        self.assertEqual([p["pcpu"] for p in info["pcpus"]], list(range(8)))
        self.assertTrue(all(p["online"] and p["speed"] == "1" for p in info["pcpus"]))
        self.assertEqual([v["vm"] for v in info["vcpus"]], [0] * 8 + [1] * 16)
        self.assertTrue(all(v["affinity"] == list(range(8)) and not v["suspended"]
                            for v in info["vcpus"]))
        self.assertEqual(info["pending"], [])

    def test_policies(self):
        """The list is that of sched=help; defaults lie in their ranges; one is in force."""
        listed = self.guest.cmd("query-vsched-policies")
        self.assertEqual([p["name"] for p in listed], policies())
        self.assertEqual([p["name"] for p in listed if p["current"]], ["sdb"])
        self.assertEqual({p["name"]: p["hints"] for p in listed}["sdb"], ["spin"])
        for policy in listed:
            for p in policy["parameters"]:
                self.assertEqual("value" in p, policy["current"])
                if p["unit"] == "choice":
                    self.assertIn(p["default"], p["choices"])
                elif p["unit"] == "number":
                    self.assertLessEqual(p["minimum"], p["default"])
                    self.assertLessEqual(p["default"], p["maximum"])

    def test_every_policy_takes_its_defaults(self):
        for policy in self.guest.cmd("query-vsched-policies"):
            given = {p["name"]: p["default"] for p in policy["parameters"]}
            self.guest.cmd("vsched-set-policy", policy=policy["name"], parameters=given)
            info = self.query()
            self.assertEqual((info["policy"], {p["name"]: p["value"] for p in info["parameters"]}),
                             (policy["name"], given))

    GOOD = (        # command, arguments, where query-vsched shows it, what is there then
        ("vsched-set-policy", {"policy": "timeslice"}, ("policy",), "timeslice"),
        ("vsched-set-policy", {"policy": "timeslice", "parameters": {"slice": "50us"}},
         ("parameters", 0, "value"), "50us"),
        ("vsched-set", {"parameters": {"slice": 70000, "switch-cost": 10}},
         ("parameters", 0, "value"), "70us"),
        ("vsched-set-affinity", {"vcpu": 9, "pcpus": [7, 2]}, ("vcpus", 9, "affinity"), [2, 7]),
        ("vsched-move", {"vcpu": 4, "pcpu": 7}, ("vcpus", 4, "moving-to"), 7),
        ("vsched-set-pcpu", {"pcpu": 3, "online": False}, ("pcpus", 3, "online"), False),
        ("vsched-set-pcpu", {"pcpu": 3, "online": True, "speed": "2/3"}, ("pcpus", 3, "speed"),
         "2/3"),
        ("vsched-set-vm", {"vm": 1, "weight": 512}, ("vms", 1, "weight"), 512),
        ("vsched-set-vm", {"vm": 1, "cap": 150}, ("vms", 1, "cap"), 150),
    )

    def test_commands(self):
        for command, arguments, where, value in self.GOOD:
            self.assertEqual(self.guest.cmd(command, **arguments), {"time": 0})
            shown = self.query()
            for step in where:
                shown = shown[step]
            self.assertEqual(shown, value, command)
        self.assertEqual(self.guest.cmd("qom-get", path="/machine/vsched", property="switch-cost"),
                         10)

    BAD = (
        ("vsched-set-policy", {"policy": "fair"}, "unknown scheduling policy 'fair': allowed are "),
        ("vsched-set-policy", {"policy": "sdb", "parameters": {"slice": "1us"}},
         "slice=1us is out of range: allowed are 10us to 1s"),
        ("vsched-set-policy", {"policy": "sdb", "parameters": {"slices": "1ms"}},
         "'sdb' has no parameter 'slices': allowed are slice"),
        ("vsched-set-policy", {"policy": "sdb", "parameters": ["slice"]}, "is an object of names"),
        ("vsched-set", {"parameters": {"switch-cost": 5, "slice": -1}}, "allowed are 10us to 1s"),
        ("vsched-set", {"parameters": {"slice": "20us", "switch-cost": 2**40}},
         "switch-cost=.* is out of range"),
        ("vsched-set", {"parameters": {"pcpus": 4}},
         r"no parameter 'pcpus' that can change now: allowed are .*\(slice\) .*switch-cost"),
        ("vsched-set", {"parameters": 7}, "is an object of names"),
        ("vsched-set-affinity", {"vcpu": 24, "pcpus": [0]}, "vcpu=24 .*: allowed are 0 to 23"),
        ("vsched-set-affinity", {"vcpu": -1, "pcpus": [0]}, "vcpu=-1 .*: allowed are 0 to 23"),
        ("vsched-set-affinity", {"vcpu": 0, "pcpus": [0, 8]}, "pcpus=8 .*: allowed are 0 to 7"),
        ("vsched-set-affinity", {"vcpu": 0, "pcpus": []}, "pcpus is empty.*0 to 7"),
        ("vsched-move", {"vcpu": 0, "pcpu": 8}, "pcpu=8 .*: allowed are 0 to 7"),
        ("vsched-set-pcpu", {"pcpu": 8, "online": False}, "pcpu=8 .*: allowed are 0 to 7"),
        ("vsched-set-pcpu", {"pcpu": 0}, "allowed are 'online' and 'speed'"),
        ("vsched-set-pcpu", {"pcpu": 0, "online": False, "speed": "3/2"}, "3/2 is not a speed"),
        ("vsched-set-vm", {"vm": 2, "weight": 1}, "vm=2 .*: allowed are 0 to 1"),
        ("vsched-set-vm", {"vm": 1, "weight": 0}, "allowed are 1 to 65535"),
        ("vsched-set-vm", {"vm": 1, "weight": 2**32 + 1}, "allowed are 1 to 65535"),
        ("vsched-set-vm", {"vm": 1, "weight": 2**40}, "weight=1099511627776 is out of range"),
        ("vsched-set-vm", {"vm": 1, "weight": -1}, "weight=-1 is out of range"),
        ("vsched-set-vm", {"vm": 1, "cap": -1}, "cap=-1 is out of range: .* to 800"),
        ("vsched-set-vm", {"vm": 1}, "allowed are 'weight' and 'cap'"),
        ("vsched-cancel", {"id": 5}, "no command with id 5 waits"),
        ("vsched-set-spin-events", {"interval": 99999}, "allowed are 0 .* and 100000 to"),
        # as far as cycles go: 2^60
        ("vsched-set-spin-events", {"interval": 2**60 + 1}, "100000 to 1152921504606846976 ns"),
    )

    def test_bad_input(self):
        """Nothing changes, with a time or without."""
        before = self.query()
        for command, arguments, says in self.BAD:
            later = () if command in ("vsched-cancel", "vsched-set-spin-events") or \
                "parameters" in arguments and command == "vsched-set" else ({"at": 5 * MS},)
            for more in ({}, *later):
                answer = self.guest.qmp(command, **arguments, **more)
                self.assertRegex(answer["error"]["desc"], says, (command, arguments))
                self.assertEqual(self.query(), before)

    def test_numbers_of_properties(self):
        """What is refused is what was given."""
        for path, name, value in (("vm[0]", "weight", -5), ("vm[0]", "weight", 2**32 + 5),
                                  ("vm[0]", "cap", -2**31), ("vsched/sdb[0]", "period", -5)):
            said = self.guest.qmp("qom-set", {"path": f"/machine/{path}", "property": name,
                                              "value": value})["error"]["desc"]
            self.assertIn(f"{name}={value} is out of range: allowed are ", said)
        for path, name in ("vm[0]", "weight"), ("vsched/sdb[0]", "period"):
            for value, says in ("17.5", "17.5 is not a whole number"), ("ten", "ten is not a"):
                said = self.guest.qmp("qom-set", {"path": f"/machine/{path}", "property": name,
                                                  "value": value})["error"]["desc"]
                self.assertIn(says, said)

    def test_what_a_move_needs(self):
        self.guest.cmd("vsched-set-affinity", vcpu=3, pcpus=[0, 1])
        self.guest.cmd("vsched-set-pcpu", pcpu=1, online=False)
        for target, says in ((1, "PCPU 1 is off"), (2, "its affinity forbids that")):
            answer = self.guest.qmp("vsched-move", vcpu=3, pcpu=target)
            self.assertIn(says, answer["error"]["desc"])

    def test_hmp(self):
        self.assertRegex(self.hmp("info vsched"),
                         r"(?s)policy sdb slice=100us, longest wait 202662 ns.*"
                         r"vm\[1\]: vcpus 8-23, weight 256, cap 0.*pcpu\[7\]: on, speed 1.*"
                         r"vcpu\[23\]: blocked since 0, pcpu 7, affinity 0-7")
        for line in ("set-policy policy=timeslice,parameters.slice=30us",
                     "set-pcpu pcpu=7,online=off", "set-affinity vcpu=2,pcpus.0=1,pcpus.1=3",
                     "vsched-set-vm vm=0,weight=77"):
            self.assertEqual(self.hmp("vsched " + line), "")
        self.assertEqual(self.hmp("vsched set-pcpu pcpu=6,speed=1/2,at=5ms"),
                         "command 1 at 5000000")
        shown = self.hmp("info vsched")
        for text in ("policy timeslice slice=30us", "pcpu[7]: off", "vcpu[2]: blocked since 0, "
                     "pcpu 2, affinity 1,3", "weight 77", "command 1 at 5000000: vsched-set-pcpu"):
            self.assertIn(text, shown)
        self.assertEqual(self.hmp("vsched cancel id=1"), "")
        self.assertNotIn("command 1", self.hmp("info vsched"))
        self.assertEqual(self.hmp("vsched set-spin-events interval=1ms"), "")
        for line, says in (("fly", "no command 'fly': allowed are dsp-disable, .*, cancel, set-spin"),
                           ("set-spin-events", "'set-spin-events' needs one argument: interval="),
                           ("set-spin-events interval=5", "interval=5 is out of range"),
                           ("set-spin-events interval=-1", "interval=-1 is not a time"),
                           ("stop at=1s,at=2s", "'at' is given twice"),
                           ("set-policy policy=gang,policy=sdb", "'policy' is given twice"),
                           ("profile-start rate=-1", "rate is out of range"),
                           ("trace-start records=-1", "records is out of range"),
                           ("set-pcpu pcpu=x", "pcpu"), ("set-pcpu pcpu=1,at=5", "allowed are"),
                           ("set-pcpu pcpu=1,online=off,at=soon", "at=soon is not a time"),
                           ("cancel", "'cancel' needs one argument: id="),
                           ("cancel id=9", "no command with id 9"),
                           ("cancel id=1x", "id=1x is no number of a command"),
                           ("cancel id=-1", "id=-1 is no number of a command"),
                           ("set-pcpu", "pcpu")):
            self.assertRegex(self.hmp("vsched " + line), f"^Error: .*{says}", line)
        # Alone it says what there is: the commands of QMP.
        said = self.hmp("vsched")
        self.assertEqual([self.hmp("vsched help"), self.hmp("vsched ?")], [said, said])
        self.assertIn("vsched set-pcpu pcpu=7,online=off,at=5ms", said)
        names = {command["name"] for command in self.guest.cmd("query-commands")}
        paging = {"paging-set-mode", "dsp-enable", "dsp-disable"}
        self.assertEqual({name if name in paging else f"vsched-{name}"
                          for name in re.findall(r"(?m)^  vsched (\S+)", said)},
                         {name for name in names if name.startswith("vsched-")} | paging)

    def test_pending(self):
        """By time, equal ones as given; cancelled ones are gone; what is past is refused."""
        ids = [self.guest.cmd("vsched-set-pcpu", pcpu=p, online=False, at=at)["id"]
               for p, at in ((0, 7 * MS), (1, 5 * MS), (2, 7 * MS), (3, 6 * MS), (4, 5 * MS))]
        self.assertEqual(ids, [1, 2, 3, 4, 5])
        self.guest.cmd("vsched-cancel", id=4)
        shown = self.query()["pending"]
        self.assertEqual([(c["id"], c["at"]) for c in shown],
                         [(2, 5 * MS), (5, 5 * MS), (1, 7 * MS), (3, 7 * MS)])
        self.assertEqual(shown[0]["command"], "vsched-set-pcpu")
        self.assertEqual(shown[0]["arguments"], {"pcpu": 1, "online": False})
        answer = self.guest.qmp("vsched-set-pcpu", pcpu=0, online=False, at=2**63)
        self.assertIn("out of range", answer["error"]["desc"])

    def test_objects(self):
        """One that is added later gives a command too; afterwards it has no more influence."""
        def add(name, at):
            return self.guest.qmp("object-add", qom_type="vsched-command", id=name, at=at,
                                  run="vsched-set-vm", arguments="vm=1,cap=7")

        self.assertEqual(add("a", "5ms"), {"return": {}})
        self.assertIn("vsched-command 'b': at=soon is not a time", add("b", "soon")["error"]["desc"])
        shown = self.query()["pending"]
        self.assertEqual([(c["id"], c["at"], c["command"]) for c in shown],
                         [(1, 5 * MS, "vsched-set-vm")])
        for name in "at", "run", "arguments":
            answer = self.guest.qmp("qom-set", path="/objects/a", property=name, value="6ms")
            self.assertIn("vsched-cancel takes it back", answer["error"]["desc"])
        self.assertEqual(self.guest.cmd("qom-get", path="/objects/a", property="at"), "5ms")
        self.guest.cmd("object-del", id="a")
        self.assertEqual(self.query()["pending"], shown)


class Times(unittest.TestCase):
    """Commands with a time are part of a repeatable run."""
    timeout = 200

    SCRIPT = (      # of a run of "mcs" that lasts some 20 ms
        (MS, "vsched-set-pcpu", {"pcpu": 7, "online": False}),
        (MS, "vsched-set-policy", {"policy": "timeslice", "parameters": {"slice": "30us"}}),
        (2 * MS, "vsched-set-affinity", {"vcpu": 5, "pcpus": [1, 2]}),
        (2 * MS + 345, "vsched-move", {"vcpu": 9, "pcpu": 4}),
        (3 * MS, "vsched-set", {"parameters": {"slice": "40us", "switch-cost": 100}}),
        (3 * MS, "vsched-set-pcpu", {"pcpu": 2, "speed": "1/2"}),
        (4 * MS, "vsched-set-pcpu", {"pcpu": 7, "online": True}),
        (4 * MS, "vsched-set-policy", {"policy": "balance"}),
        (5 * MS, "vsched-set-policy", {"policy": "sdb"}),
    )

    @staticmethod
    def machine():
        return program("mcs", MACHINE, "rounds=100")

    def commanded(self, guest):
        """Events of commands, in their order: (number, time, error)."""
        return [(e["data"]["id"], e["data"]["time"], e["data"].get("error"))
                for e in guest.get_qmp_events() if e["event"] == "VSCHED_COMMAND"]

    def run_script(self, *arguments):
        with Guest("-S", *arguments, *self.machine()) as guest:
            if not arguments:
                for at, command, given in self.SCRIPT:
                    guest.cmd(command, at=at, **given)
            guest.cmd("cont")
            result = end(guest)
            return (*result, self.commanded(guest), scrubbed(guest.cmd("query-vsched")))

    @staticmethod
    def as_object(n, at, command, given):
        def words(prefix, value):
            if isinstance(value, dict):
                return [w for k, v in value.items() for w in words(f"{prefix}.{k}", v)]
            if isinstance(value, list):
                return [w for k, v in enumerate(value) for w in words(f"{prefix}.{k}", v)]
            return [f"{prefix}={('off', 'on')[value] if isinstance(value, bool) else value}"]

        text = ",".join(w for k, v in given.items() for w in words(k, v))
        return f"vsched-command,id=c{n},at={at}ns,run={command},arguments={text.replace(',', ',,')}"

    def test_repeatable(self):
        """Each command takes effect at the first end of a window at or after its time; two
        runs are one, and so is one whose commands are given at the start."""
        first = self.run_script()
        self.assertTrue(json.loads(first[0])["ok"])
        self.assertEqual(first[2], [(i + 1, -(-at // 1000) * 1000, None)
                                    for i, (at, _, _) in enumerate(self.SCRIPT)])
        self.assertEqual(first[3]["policy"], "sdb")
        self.assertEqual(first[3]["pcpus"][2]["speed"], "1/2")
        self.assertEqual(of_kind(first[1], "pcpu")[7]["offline"], 3 * MS)
        self.assertEqual(self.run_script(), first)
        objects = [a for n, c in enumerate(self.SCRIPT) for a in ("-object", self.as_object(n, *c))]
        self.assertEqual(self.run_script(*objects), first)

    def test_they_are_saved(self):
        """What waits is saved; a run that is loaded goes on as the one that was not."""
        whole = self.run_script()
        with Guest("-S", *self.machine()) as guest:
            for at, command, given in self.SCRIPT:
                guest.cmd(command, at=at, **given)
            guest.cmd("vsched-set-pcpu", pcpu=1, online=False, at=2500 * 1000 * 1000)
            guest.cmd("vsched-cancel", id=len(self.SCRIPT) + 1)
            # Never carried out; how many of the others wait still is the host's matter.
            guest.cmd("vsched-set-pcpu", pcpu=1, online=False, at=10**15)
            guest.cmd("cont")
            wait_for(guest, 1_000_000)
            guest.cmd("stop")
            middle = guest.cmd("query-vsched")
            self.assertEqual(middle["pending"][-1]["at"], 10**15)
            path = os.path.join(guest.dir, "state")
            save(guest, path)
            with Guest("-S", *self.machine(), "-incoming", "defer") as loaded:
                load(loaded, path)
                self.assertEqual(loaded.cmd("query-vsched"), middle)
                loaded.cmd("cont")
                console, stats = end(loaded)
                self.assertEqual(stats, whole[1])
                self.assertTrue(whole[0].endswith(console))
                # The number of one that was cancelled is not given again.
                answer = loaded.cmd("vsched-set-pcpu", pcpu=1, online=True, at=10**12)
                self.assertEqual(answer["id"], len(self.SCRIPT) + 3)

    def test_what_became_impossible(self):
        """Checked when it is given, and again at its time; nothing changes then."""
        with Guest("-S", *self.machine()) as guest:
            guest.cmd("vsched-set-pcpu", pcpu=0, online=False, at=MS)
            guest.cmd("vsched-move", vcpu=3, pcpu=0, at=2 * MS)
            guest.cmd("vsched-set", parameters={"slice": "1ms", "tea": 1}, at=2 * MS)
            guest.cmd("cont")
            end(guest)
            done = self.commanded(guest)
            self.assertEqual([d[:2] for d in done], [(1, MS), (2, 2 * MS), (3, 2 * MS)])
            self.assertIsNone(done[0][2])
            self.assertIn("PCPU 0 is off", done[1][2])
            self.assertIn("no parameter 'tea'", done[2][2])
            self.assertEqual(guest.cmd("query-vsched")["parameters"][0]["value"], "100us")
            now = guest.cmd("query-vsched")["time"]
            answer = guest.qmp("vsched-set-pcpu", pcpu=0, online=True, at=now - 1)
            self.assertRegex(answer["error"]["desc"],
                             f"at={now - 1} is past: allowed are {now}, which is the present, to")
            for at in (-1, 2**63):
                answer = guest.qmp("vsched-set-pcpu", pcpu=0, online=True, at=at)
                self.assertEqual(answer["error"]["desc"], f"at is out of range: allowed are {now}, "
                                 f"which is the present, to {2**60}")
            # Beyond, a clock would have no number; 36 years of simulated time are enough.
            answer = guest.qmp("vsched-set-pcpu", pcpu=0, online=True, at=2**60 + 1)
            self.assertIn(f"at={2**60 + 1} is out of range", answer["error"]["desc"])

    def test_events(self):
        """Of policies, parameters and PCPUs: always; of spins: only if somebody asked, not
        more than one in an interval, and none is lost from their number."""
        with Guest("-S", *program("mcs", MACHINE + ",sched=timeslice", "rounds=100")) as guest:
            guest.cmd("vsched-set-pcpu", pcpu=2, online=False, at=MS)
            guest.cmd("vsched-set-policy", policy="sdb", at=2 * MS)
            guest.cmd("vsched-set", parameters={"slice": "50us"}, at=3 * MS)
            guest.get_qmp_events()
            guest.cmd("cont")
            end(guest)
            seen = [(e["event"], e["data"]) for e in guest.get_qmp_events()
                    if e["event"] in ("VSCHED_PCPU", "VSCHED_POLICY", "VSCHED_SPIN")]
            self.assertEqual(seen, [
                ("VSCHED_PCPU", {"pcpu": 2, "online": False, "time": MS}),
                ("VSCHED_POLICY", {"policy": "sdb", "time": 2 * MS}),
                ("VSCHED_POLICY", {"policy": "sdb", "time": 3 * MS})])
        with Guest("-S", *program("mcs", MACHINE + ",sched=timeslice", "rounds=100")) as guest:
            guest.cmd("vsched-set-spin-events", interval=100000)
            guest.cmd("cont")
            _, stats = end(guest)
            spins = [e["data"] for e in guest.get_qmp_events() if e["event"] == "VSCHED_SPIN"]
            self.assertGreater(len(spins), 10)
            for before, after in zip(spins, spins[1:]):
                # Clocks of PCPUs differ by up to a window and a block.
                self.assertGreaterEqual(after["time"] - before["time"], 100000)
            counted = sum(s["spins"] for s in spins)
            total = sum(v for k, v in stats["vm"].items() if k == "vcpu-spin-periods")
            self.assertLessEqual(counted, total)
            self.assertGreater(counted, total * 0.9)


class CommandLine(Refusals, unittest.TestCase):
    timeout = 60

    def test_bad_objects(self):
        for text, says in (
                ("at=1ms,run=vsched-fly", "no command 'vsched-fly' .*: allowed are dsp-disable"),
                ("at=soon,run=vsched-set-vm,arguments=vm=0",
                 "vsched-command 'c': at=soon is not a time"),
                ("at=1ms,run=vsched-set-vm,arguments=vm=0,,cap=1,,at=2ms", "'at' is given twice"),
                ("at=1ms,run=vsched-set-vm,arguments=vm=0", "allowed are 'weight' and 'cap'"),
                ("at=1ms,run=vsched-set-vm,arguments=vm=4,,weight=2", "vm=4 .*: allowed are 0 to 0"),
                ("at=1ms,run=vsched-set-vm,arguments=colour=red", "colour|vm"),
                ("run=vsched-set-vm", "'at' is missing"), ("at=1ms", "'run' is missing")):
            self.refuse(says, "-nodefaults", "-M", MACHINE, "-object", f"vsched-command,id=c,{text}")
        self.refuse("needs -accel tcg,thread=vsched", "-nodefaults", "-M", "sun4u", "-object",
                    "vsched-command,id=c,at=1ms,run=vsched-set-vm,arguments=vm=0")

    def test_without_the_engine(self):
        with Guest("-S", "-nodefaults", "-M", "sun4u") as guest:
            for command in ("query-vsched", "query-vsched-policies"):
                self.assertIn("thread=vsched", guest.qmp(command)["error"]["desc"])
            self.assertIn("thread=vsched", guest.cmd("human-monitor-command",
                                                     command_line="info vsched"))


if __name__ == "__main__":
    unittest.main()
