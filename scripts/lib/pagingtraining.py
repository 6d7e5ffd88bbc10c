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
from pagingruns import RESULTS, Fault, Run

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


def settings_text(found):
    """As --settings of scripts/paging-study has them"""
    words = [f"interval={found['interval'] * 10 // 28}", f"history={found['history']}",
             f"margin={found['margin']}"]
    return ",".join(words + [f"{name}={found[name] / UNIT:.7f}".rstrip("0").rstrip(".")
                             for name in found if name not in ("interval", "history", "margin")])


class Retraining:
    """A part of scripts/paging-study."""
    plot = None

    def runs(self, options):
        return [run for program in options.programs for run in runs_of(options, program).values()]

    def text(self, store, options):
        of = {program: results(store, options, program) for program in options.programs}
        ready = [program for program in of if all(of[program].values())]
        apart = [program for program in HELD_OUT if program in ready]
        if len(ready) - len(apart) < 2:
            return "Fewer than two programs have been run in all modes."
        with tempfile.TemporaryDirectory() as directory:
            profiles = os.path.join(directory, "profiles.csv")
            out = os.path.join(os.path.dirname(RESULTS), f"thresholds-{options.architecture}.json")
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
            found = json.load(file)["settings"]
        said = "\n".join(f"    {line}".rstrip() for line in done.stdout.splitlines())
        left = [program for program in of if program not in ready]
        return (f"::\n\n{said}\n\nAs settings of the study::\n\n    --settings "
                f"{settings_text(found)}" +
                (f"\n\nNot run in all modes: {', '.join(left)}." if left else ""))
