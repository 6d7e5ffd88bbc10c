"""Random commands of QMP, valid ones and others, while a guest works: random_qmp.py draws them.

No crash, errors that are of use, nothing changed by what was refused, and the guest's result is
right.  The long form is full/test_qmp_fuzz_long.py.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import tempfile
import unittest

from random_qmp import Commands, Episode, machine, with_times
from support import SLOWER, Guest


def start(directory, name, parameters):
    """A guest whose files, if a command writes any, are in the directory."""
    return Guest("-S", *machine(directory, name, parameters),
                 wrapper=("env", f"--chdir={directory}"))


def episode(test, seed, commands, name, parameters):
    """A guest from its start to its end: how many answers of each kind there were."""
    with tempfile.TemporaryDirectory() as directory, start(directory, name, parameters) as guest:
        guest.answer_within(60)
        e = Episode(test, guest, seed)
        e.run(commands)
        e.let_it_end()
    return e.done


class Fuzz(unittest.TestCase):
    timeout = 200

    def test_random_commands(self):
        done = episode(self, 1, 800, "mcs", "rounds=10000")
        # Enough of each kind for the test to be one.
        self.assertGreater(done["return"], 200, done)
        self.assertGreater(done["error"], 200, done)
        self.assertGreater(done["snapshots"], 1, done)

    def run_with_times(self, seed):
        """What was given and answered, what was carried out when, and how the guest ended."""
        with tempfile.TemporaryDirectory() as directory, \
                start(directory, "crosscall", "rounds=10") as guest:
            given = with_times(Commands(seed, guest), 200, 30 * 10**6)
            answers = [guest.qmp(name, arguments) for name, arguments in given]
            guest.get_qmp_events()
            # Whatever was changed by then: this lets the guest come to its end.
            last = [("vsched-set-pcpu", {"pcpu": p, "online": True, "speed": "1"})
                    for p in range(4)]
            last += [("vsched-set-vm", {"vm": v, "cap": 0}) for v in range(2)]
            last += [("vsched-set-policy", {"policy": "sdb"}),
                     ("vsched-set", {"parameters": {"random-stalls": 0, "switch-cost": 554}})]
            for name, arguments in last:
                guest.cmd(name, {**arguments, "at": 31 * 10**6})
            guest.cmd("cont")
            ends = [("STOP", None), ("SHUTDOWN", None)]
            while guest.events_wait(ends, timeout=60 * SLOWER)["event"] == "STOP":
                guest.cmd("cont")       # of vsched-stop
            guest.wait_console(r"\}\n", timeout=20)
            console, stats = guest.console, guest.stats()
            carried_out = [e["data"] for e in guest.get_qmp_events()
                           if e["event"] == "VSCHED_COMMAND"]
            for answer in answers:
                answer.pop("id", None)      # of the QMP client's request
            return given, answers, carried_out, console, stats

    def test_repeatable(self):
        """Commands with times, some of which turn out impossible: two runs are one."""
        first, second = self.run_with_times(7), self.run_with_times(7)
        for a, b in zip(first, second):
            self.assertEqual(a, b)
        given, answers, carried_out, console, _ = first
        self.assertIn('"ok": true', console)
        accepted = sum("return" in a for a in answers)
        self.assertGreater(accepted, 50)
        self.assertLess(accepted, len(given))
        # Each that was accepted was carried out, with or without success, and the eight at the end;
        # besides, traces stopped whose duration was over.
        ids = {a["return"]["id"] for a in answers if "id" in a.get("return", ())}
        self.assertEqual(len(ids & {c["id"] for c in carried_out}), accepted)
        self.assertEqual({c["command"] for c in carried_out[:-8] if c["id"] not in ids} -
                         {"vsched-trace-stop"}, set())
        self.assertGreater(sum("error" in c for c in carried_out), 5)


if __name__ == "__main__":
    unittest.main()
