"""Random commands of QMP for the engine, valid ones and others, and what each answer has to be.

Commands are drawn from what QEMU itself says of them: names and types of arguments from
query-qmp-schema (so a new vsched command is drawn as soon as it is there), policies, parameters
and their ranges from query-vsched-policies, properties of the engine's objects from qom-list.
The sequence is a function of the seed: nothing that the guest or the host does changes it.

An Episode runs a guest that works, gives it so many commands, and lets it end.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import json
import os
import random
import re

from support import SLOWER
from test_determinism import qcow2
from test_save import end, program

MACHINE = "cmp,pcpus=4,vcpus=12,vms=4+8"
PCPUS, VCPUS, VMS = 4, 12, 2
ENGINE = "/machine/vsched"
SAFE_POINT = "0x1fe0f200000"        # of a driver, for policy "safepoint"

# Numbers at which something may wrap around, and texts that something may not expect.
NUMBERS = (0, 1, -1, 2, 7, 255, 2**31 - 1, 2**31, -2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63,
           -2**63, 2**64 - 1)
FLOATS = (0.5, -1.5, 1e300, 1.0, -0.0)
TEXTS = ("", " ", "0", "-1", "1.5", "0x10", "1e9", "on", "off", "auto", "none", "%s%n%d", "../..",
         "\x01\x1b[2J\x7f", "a\nb\tc\r", "\u00fcn\u00ef \u2603 \U0001f600", "x" * 10000, "1us",
         "10us", "1s", "999999999999999999999s", "1ms ", "1/2", "1/1000", "1/1001", "0/0", "2/3/4",
         "slice=1ms,,x", "\"quoted\\", "{}", "pcpu=1,,online=on")
TIMES = (0, 1, 10**6, 10**6, 2 * 10**6 + 345, 10**7, 10**8, 10**9, 2**63 - 1, 2**63, 2**64 - 1, -1)

# QEMU's own words for what it refuses before a command sees it.
GENERAL = re.compile(r"JSON parse error|Unable to get|not (be )?found|doesn't exist|allowed are|"
                     r"not possible|invalid|attempt to add duplicate|is missing|is unexpected|"
                     r"not writable|vsched-[a-z-]+ (begins|ends)", re.I)
CLASSES = ("GenericError", "CommandNotFound", "DeviceNotActive", "DeviceNotFound", "KVMMissingCap")


class Schema:
    """What query-qmp-schema says."""

    def __init__(self, entries):
        self.types = {e["name"]: e for e in entries}
        self.commands = sorted(n for n, e in self.types.items() if e["meta-type"] == "command" and
                               re.search(r"vsched", n))

    def arguments(self, command):
        """{name: (type, optional)}"""
        return {m["name"]: (m["type"], "default" in m)
                for m in self.types[self.types[command]["arg-type"]].get("members", ())}

    def fits(self, value, name):
        """Whether a value, an answer, is of this type."""
        kind = self.types[name]
        meta = kind["meta-type"]
        if meta == "array":
            return isinstance(value, list) and \
                all(self.fits(v, kind["element-type"]) for v in value)
        if meta == "enum":
            return value in [m["name"] for m in kind["members"]]
        if meta == "object":
            members = {m["name"]: m for m in kind["members"]}
            return isinstance(value, dict) and set(value) <= set(members) and all(
                self.fits(value[n], m["type"]) if n in value else "default" in m
                for n, m in members.items())
        if meta == "builtin":
            json_type = kind["json-type"]
            return json_type == "value" or type(value) in {
                "int": (int,), "string": (str,), "boolean": (bool,), "number": (int, float),
                "null": (type(None),)}[json_type]
        return True


class Commands:
    """An endless sequence of commands: next() is a name and its arguments."""

    def __init__(self, seed, guest):
        self.random = random.Random(seed)
        self.schema = Schema(guest.cmd("query-qmp-schema"))
        self.policies = {p["name"]: p["parameters"] for p in guest.cmd("query-vsched-policies")}
        self.live = [p["name"] for p in guest.cmd("qom-list", path=ENGINE)
                     if not p["type"].startswith(("child", "link", "string"))]
        self.objects = {}
        for path in [ENGINE, ENGINE + "/policy", *self.numbered("pcpu", PCPUS),
                     *self.numbered("vcpu", VCPUS), *self.numbered("sdb", PCPUS),
                     *(f"/machine/vm[{n}]" for n in range(VMS))]:
            self.objects[path] = [(p["name"], p["type"]) for p in guest.cmd("qom-list", path=path)
                                  if not p["type"].startswith(("child", "link")) and
                                  self.is_writable(guest, path, p["name"])]
        self.given = 0

    @staticmethod
    def is_writable(guest, path, name):
        """No property of these can be null: this changes none."""
        answer = guest.qmp("qom-set", path=path, property=name, value=None)
        return "not writable" not in answer["error"]["desc"]

    @staticmethod
    def numbered(name, n):
        return [f"{ENGINE}/{name}[{i}]" for i in range(n)]

    # -- values -----------------------------------------------------------------------

    def junk(self):
        """Of any JSON type."""
        draw = self.random
        return draw.choice((
            lambda: draw.choice(NUMBERS), lambda: draw.choice(FLOATS), lambda: draw.choice(TEXTS),
            lambda: draw.choice((True, False)), lambda: None, list, dict,
            lambda: [draw.choice(NUMBERS)], lambda: [[0], {"a": 1}], lambda: {"": 0},
            lambda: {"slice": {"slice": "1ms"}}, lambda: draw.getrandbits(64),
            lambda: "".join(chr(draw.randrange(1, 0x2000)) for _ in range(draw.randrange(20)))))()

    def limit(self, low, high):
        """Between the limits, at them, or just beyond."""
        draw = self.random
        return draw.choice((low, high, low - 1, high + 1,
                            *(draw.randint(low, high) for _ in range(10))))

    def parameter(self, p):
        """A value for a parameter of a policy: most are possible."""
        draw = self.random
        if p["unit"] == "switch":
            return draw.choice((True, False, True, False, "on", "off", "maybe"))
        if p["unit"] == "choice":
            return draw.choice((*p["choices"], *p["choices"], "other"))
        value = p["default"] if draw.random() < .5 else self.limit(p["minimum"], p["maximum"])
        words = p["unit"] == "time" and isinstance(value, int) and draw.random() < .5
        return f"{value}ns" if words else value

    def parameters(self, policy):
        """For 'parameters'; policy None: of any, and of the engine."""
        draw = self.random
        known = self.policies.get(policy) or draw.choice(list(self.policies.values()))
        chosen = draw.sample(known, draw.randint(0, len(known)))
        out = {p["name"]: self.parameter(p) for p in chosen}
        if not policy and draw.random() < .3:
            out[draw.choice(self.live)] = draw.choice((self.limit(0, 1000000), True, False))
        if draw.random() < .05:
            out[draw.choice(TEXTS)] = self.junk()
        return out

    def number(self, name):
        """For an argument that is a whole number: by its name, what may be possible."""
        draw = self.random
        limits = {"pcpu": PCPUS - 1, "vcpu": VCPUS - 1, "vm": VMS - 1, "weight": 65535,
                  "cap": 100 * PCPUS, "interval": 10**9, "id": self.given + 1}
        if name == "at":
            return draw.choice(TIMES) if draw.random() < .2 else draw.randrange(2 * 10**9)
        return draw.randint(0, limits[name]) if name in limits else draw.choice((0, 1, 1000, 10**6))

    def value(self, name, kind, others):
        """For an argument of this name and type, that may be possible."""
        draw, entry = self.random, self.schema.types[kind]
        meta = entry["meta-type"]
        if name == "parameters":
            return self.parameters(others.get("policy"))
        if name == "policy":
            return draw.choice(list(self.policies))
        if name == "speed":
            return draw.choice(("1", "1/2", "2/3", "1/7", "999/1000"))
        if name in ("pcpus", "vcpus") and meta == "array":
            there = range(PCPUS if name == "pcpus" else VCPUS)
            return [draw.choice(there) for _ in range(draw.randint(1, 4))]
        if meta == "array":
            return [self.value(name, entry["element-type"], {}) for _ in range(draw.randint(0, 3))]
        if meta == "enum":
            return draw.choice([m["name"] for m in entry["members"]])
        if meta == "object":
            return {m["name"]: self.value(m["name"], m["type"], {}) for m in entry["members"]
                    if "default" not in m or draw.random() < .5}
        if entry.get("json-type") == "int":
            return self.number(name)
        if entry.get("json-type") == "boolean":
            return draw.random() < .6           # more PCPUs on than off
        if entry.get("json-type") == "string":
            # A file goes into QEMU's directory, which is that of the test.
            return draw.choice(("one", "two", "three", *self.policies))
        return self.junk()

    # -- commands ---------------------------------------------------------------------

    def spoil(self, arguments, known):
        """One thing about the arguments is wrong, or may be."""
        draw = self.random
        if arguments and draw.random() < .3:
            del arguments[draw.choice(sorted(arguments))]
        elif known and draw.random() < .8:
            name = draw.choice(sorted(known))
            arguments[name] = draw.choice((self.junk, lambda: self.limit(0, 65535)))()
        else:
            arguments[draw.choice(("speedy", "At", "", "vcpu ", "x" * 300))] = self.junk()

    def vsched_command(self, name):
        draw, out = self.random, {}
        known = self.schema.arguments(name)
        for argument, (kind, optional) in sorted(known.items()):
            if not optional or draw.random() < .6:
                out[argument] = self.value(argument, kind, out)
        if "policy" in out and "parameters" in out:
            out["parameters"] = self.parameters(out["policy"])
        if draw.random() < .25:
            self.spoil(out, known)
        return name, out

    def qom_set(self):
        draw = self.random
        path = draw.choice((ENGINE, ENGINE + "/policy", *self.objects))
        name, kind = draw.choice([*self.objects[path], ("tea", ""), ("type", "string")])
        possible = {"bool": lambda: draw.random() < .6,
                    "uint16List": lambda: [draw.randrange(PCPUS)],
                    "string": lambda: draw.choice(("1", "1/2", "sdb", "gang", *self.policies))}
        if kind in possible and draw.random() < .6:
            value = possible[kind]()
        else:
            value = draw.choice((self.junk, lambda: self.limit(
                0, draw.choice((1, 400, 65535, 1000000)))))()
        return "qom-set", {"path": path, "property": name, "value": value}

    def object_add(self):
        """vsched-command: a command as an object."""
        draw = self.random
        switch = draw.choice(("on", "off", "x"))
        run, words = draw.choice((
            ("vsched-set-pcpu", f"pcpu={draw.randrange(PCPUS + 1)},online={switch}"),
            ("vsched-set-policy", f"policy={draw.choice((*self.policies, 'fair'))}"),
            ("vsched-set-vm", f"vm={draw.randrange(VMS + 1)},weight={self.limit(1, 65535)}"),
            ("vsched-move", f"vcpu={draw.randrange(VCPUS)},pcpu={draw.randrange(PCPUS)}"),
            ("vsched-fly", draw.choice(TEXTS)), (draw.choice(TEXTS), draw.choice(TEXTS)),
            ("vsched-set-affinity",
             f"vcpu={draw.randrange(VCPUS)},pcpus.0={draw.randrange(PCPUS)}")))
        at = draw.choice((f"{draw.randrange(3000)}ms", f"{draw.randrange(2 * 10**9)}", "soon"))
        out = {"qom-type": "vsched-command", "id": f"c{draw.randrange(9)}", "run": run,
               "arguments": words, "at": at}
        if draw.random() < .3:
            self.spoil(out, out)
            out["qom-type"] = "vsched-command"
        return "object-add", out

    def next(self):
        draw, self.given = self.random, self.given + 1
        kind = draw.random()
        if kind < .70:
            return self.vsched_command(draw.choice(self.schema.commands))
        if kind < .88:
            return self.qom_set()
        if kind < .95:
            return self.object_add()
        if kind < .98:
            return "object-del", {"id": draw.choice((*(f"c{n}" for n in range(9)), "", "vsched",
                                                     "x" * 10000))}
        return draw.choice(("vsched-fly", "query-vsched-tea", "vsched-")), {}


def configuration(info):
    """Of query-vsched, what only commands change; the machine may run."""
    return {"policy": info["policy"],
            "parameters": {p["name"]: p["value"] for p in info["parameters"]},
            "vms": info["vms"],
            "affinity": [v["affinity"] for v in info["vcpus"]],
            "suspended": [v["suspended"] for v in info["vcpus"]],
            "pcpus": [(p["online"], p["speed"]) for p in info["pcpus"]],
            "pending": info["pending"]}


def names_in(value):
    """Every name and value, as words that a message may have."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from names_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from names_in(inner)
    elif isinstance(value, bool):
        yield "on" if value else "off"
    elif value is not None:
        yield str(value)
        yield from re.findall(r"[\w-]+", str(value))


def with_times(commands, n, last):
    """n commands with times up to @last ns that can be given to a machine that has not started."""
    out = []
    while len(out) < n:
        name, arguments = commands.next()
        if name in commands.schema.commands and "at" in commands.schema.arguments(name):
            out.append((name, {**arguments, "at": commands.random.randrange(last)}))
    return out


class Episode:
    """A guest that works, commands for it, and its end."""

    def __init__(self, test, guest, seed):
        self.test, self.guest, self.seed = test, guest, seed
        self.commands = Commands(seed, guest)
        self.decisions = random.Random(seed + 1)        # what is done between commands
        self.done = {"return": 0, "error": 0, "snapshots": 0}
        self.given = []                                 # all commands
        self.snapshot = None
        self.first = {(path, name): guest.cmd("qom-get", path=path, property=name)
                      for path, properties in self.commands.objects.items() if "/sdb[" in path
                      for name, _ in properties}

    def running(self):
        return self.guest.cmd("query-status")["running"]

    def carried_out(self):
        """Whether a command that waited was carried out since the last call."""
        return any(e["event"] == "VSCHED_COMMAND" for e in self.guest.get_qmp_events())

    def check_error(self, name, arguments, error):
        """It has a class and says what is wrong: an argument, a value, or what is allowed."""
        test, text = self.test, (self.seed, name, str(arguments)[:500], str(error)[:500])
        test.assertIn(error.get("class"), CLASSES, text)
        says = error.get("desc", "")
        test.assertGreater(len(says.strip()), 10, text)
        words = [w for w in (name, *names_in(arguments)) if len(w) > 1]
        words += [n for n in self.commands.schema.arguments(name)] if name in \
            self.commands.schema.commands else []
        test.assertTrue(GENERAL.search(says) or any(w.lower() in says.lower() for w in words), text)

    def give(self, name, arguments):
        """One command; an error changes nothing."""
        test, guest = self.test, self.guest
        self.given.append((name, json.dumps(arguments, sort_keys=True)))
        still = not self.running()
        self.carried_out()
        before = guest.cmd("query-vsched")
        answer = guest.qmp(name, arguments)
        text = (self.seed, name, str(arguments)[:500], str(answer)[:500])
        test.assertEqual(len({"return", "error"} & set(answer)), 1, text)
        if "return" in answer:
            self.done["return"] += 1
            if name in self.commands.schema.commands:
                kind = self.commands.schema.types[name]["ret-type"]
                test.assertTrue(self.commands.schema.fits(answer["return"], kind), text)
            return
        self.done["error"] += 1
        self.check_error(name, arguments, answer["error"])
        after = guest.cmd("query-vsched")
        if still:
            test.assertEqual(before, after, text)
        elif not self.carried_out():
            test.assertEqual(configuration(before), configuration(after), text)

    def job(self, what, tag):
        self.guest.cmd(f"snapshot-{what}", job_id=tag, tag=tag, vmstate="state", devices=["state"])
        self.guest.event_wait("JOB_STATUS_CHANGE", timeout=60 * SLOWER,
                              match={"data": {"id": tag, "status": "concluded"}})
        errors = [job["error"] for job in self.guest.cmd("query-jobs") if "error" in job]
        self.guest.cmd("job-dismiss", id=tag)
        self.test.assertEqual(errors, [], self.seed)
        self.done["snapshots"] += 1

    def of_the_machine(self):
        """What query-vsched says, without what waits for its observer: no state has that."""
        info = self.guest.cmd("query-vsched")
        return {**info, "pending": [c for c in info["pending"]
                                    if not c["command"].startswith("vsched-trace-")]}

    def save_or_load(self):
        """Of a machine that stands still: what is loaded is what was saved."""
        guest = self.guest
        guest.cmd("stop")
        if self.snapshot is None or self.decisions.random() < .5:
            self.snapshot = self.of_the_machine()
            guest.qmp("snapshot-delete", job_id="old", tag="now", devices=["state"])
            guest.qmp("job-dismiss", id="old")
            self.job("save", "now")
        else:
            self.job("load", "now")
            self.test.assertEqual(self.of_the_machine(), self.snapshot, self.seed)

    def between(self):
        """Stop and continue, save and load, now and then."""
        what = self.decisions.random()
        if what < .04:
            self.guest.cmd("stop")
        elif what < .16:
            self.guest.qmp("cont")          # an error if the guest has ended
        elif what < .165:
            self.save_or_load()

    def run(self, commands):
        for _ in range(commands):
            self.between()
            self.give(*self.commands.next())

    def let_it_end(self):
        """All that could keep the guest from its work is taken back; it comes to its end."""
        guest, test = self.guest, self.test
        guest.cmd("stop")
        for waits in guest.cmd("query-vsched")["pending"]:
            guest.cmd("vsched-cancel", id=waits["id"])
        for p in range(PCPUS):
            guest.cmd("vsched-set-pcpu", pcpu=p, online=True, speed="1")
        for v in range(VCPUS):
            guest.cmd("vsched-set-affinity", vcpu=v, pcpus=list(range(PCPUS)))
        for vm in range(VMS):
            guest.cmd("vsched-set-vm", vm=vm, weight=256, cap=0)
        guest.cmd("vsched-set-policy", policy="sdb")
        guest.cmd("vsched-set", {"parameters": {
            "switch-cost": 554, "skip": 0, "random-stalls": 0, "sdb": True, "jitter": True}})
        for (path, name), value in self.first.items():
            guest.qmp("qom-set", path=path, property=name, value=value)
        before = guest.cmd("query-vsched")["time"]
        status = guest.cmd("query-status")["status"]
        if status != "shutdown":
            guest.cmd("cont")
            console, _ = end(guest, 240)
            test.assertGreater(guest.cmd("query-vsched")["time"], before)
        else:
            console = guest.console
        test.assertTrue(json.loads(console)["ok"], (self.seed, console))


def state_disk(directory):
    """Arguments: a node that snapshots of the machine go into."""
    path = qcow2(os.path.join(directory, "state.qcow2"), 64)
    return ["-blockdev", f"driver=qcow2,node-name=state,file.driver=file,file.filename={path}"]


def machine(directory, name, parameters):
    return [*program(name, MACHINE, parameters), "-m", "64", "-device",
            f"vsched-safepoint,addr={SAFE_POINT}", *state_disk(directory)]
