"""Thresholds of DSP that are trained on the runs of scripts/paging-study.

The profiles are the samples of the nested and the shadow run of each program.  What a switch to
shadow paging takes is measured: the time of a run that is switched to nested paging and back
now and then, less that of the shadow run, for each pair of switches.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import csv
import json
import os
import subprocess
import sys
import tempfile

from monitor import TOP
from pagingruns import Fault, Run

RETRAIN = os.path.join(TOP, "scripts", "dsp-retrain")
# Programs of each kind that thresholds are not trained on, only tried on (choice)
HELD_OUT = ("perl", "solver", "sqlite", "xz")
# Samples between two switches by force: until then, shadow tables are whole again (choice)
APART = 50
UNIT = 10**7                    # of thresholds in what dsp-retrain writes


def runs_of(options, program):
    return {mode: Run(program, options.architecture, mode, options.interval * times)
            for mode, times in (("nested", 1), ("shadow", 1), ("S-N-S", APART))}


def results(store, options, program):
    return {mode: store.get(run) for mode, run in runs_of(options, program).items()}


def rows(program, mode, interval, samples):
    """Lines of a profile, as docs/dsp.rst has them; a sample's time is its end, in ns."""
    last = None
    for n, (time, insns, misses, faults, *_) in enumerate(samples):
        cycles = (time - last if last else interval) * 28 // 10
        last = time
        yield program, mode, n, insns, misses, faults, max(1, cycles)


def write_profiles(store, options, path, programs=None):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("program", "mode", "interval", "instructions", "misses", "faults",
                         "cycles"))
        for program in programs or options.programs:
            of = results(store, options, program)
            for mode in "nested", "shadow":
                if not of[mode]:
                    raise Fault(f"{program} {mode} has not been run: part times does that")
                writer.writerows(rows(program, mode, options.interval, of[mode]["samples"]))


def switch_cost(of):
    """Cycles of a switch to shadow paging"""
    pairs = of["S-N-S"]["switches"] // 2
    more = of["S-N-S"]["counters"]["cycles"] - of["shadow"]["counters"]["cycles"]
    return max(0, more // pairs) if pairs else 0


def thresholds(found):
    """(interval in ns, ((name, value), ...)) as dsp-enable has them, from what dsp-retrain found"""
    others = [(name, found[name]) for name in ("history", "margin")]
    return found["interval"] * 10 // 28, tuple(others + [
        (name, float(f"{found[name] / UNIT:.7f}")) for name in found
        if name not in ("interval", "history", "margin")])


class Retraining:
    """A part of scripts/paging-study."""

    def __init__(self):
        self.done = {}              # by what it was trained on: it takes a minute or two

    def runs(self, options):
        return [run for program in options.programs for run in runs_of(options, program).values()]

    def then(self, _store, _options):
        return []

    def trained(self, store, options):
        """(what dsp-retrain says, its settings), or None if too few programs have been run"""
        of = {program: results(store, options, program) for program in options.programs}
        ready = [program for program in of if all(of[program].values())]
        apart = [program for program in HELD_OUT if program in ready]
        if len(ready) - len(apart) < 2:
            return None
        trained_on = tuple(of[program][mode]["key"] for program in ready for mode in of[program])
        if trained_on in self.done:
            return self.done[trained_on]
        with tempfile.TemporaryDirectory() as directory:
            profiles, out = (os.path.join(directory, name) for name in ("profiles", "out"))
            write_profiles(store, options, profiles, ready)
            command = [sys.executable, RETRAIN, profiles, "--json", out]
            for program in ready:
                command += ["--to-shadow", f"{program}={switch_cost(of[program])}"]
            for program in apart:
                command += ["--held-out", program]
            done = subprocess.run(command, text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, check=False)
            if done.returncode:
                raise Fault(f"dsp-retrain: {done.stderr.strip()}")
            with open(out, encoding="utf-8") as file:
                self.done[trained_on] = done.stdout, json.load(file)["settings"]
        return self.done[trained_on]

    def found(self, store, options):
        """Settings, in the units of dsp-retrain"""
        done = self.trained(store, options)
        return done and done[1]

    def text(self, store, options):
        done = self.trained(store, options)
        if not done:
            return "Fewer than two programs have been run in all modes."
        said = "\n".join(f"    {line}".rstrip() for line in done[0].splitlines())
        left = [program for program in options.programs
                if not all(results(store, options, program).values())]
        return f"::\n\n{said}" + (f"\n\nNot run in all modes: {', '.join(left)}." if left
                                  else "")
