"""The full-screen view of vm-stat --top: what a machine under the engine does, refreshed by the
host's time, with keys to change its scheduling.

QEMU is asked by the same thread that reads keys, and has ANSWER seconds for each answer.  Unlike
a log of intervals, the view does not stop the machine to look at it: percentages are right for
each PCPU and VCPU, but not of the same moment for all.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import curses
import functools
import math
import os
import signal
import sys
import textwrap
import time

from intervals import (cache_misses, cache_stalls, difference, occupied, paging_stalls,
                       tlb_misses)
from intervaltables import STATES, account, percent, policy, short
from monitor import NoAnswer

ANSWER = 3              # seconds until QEMU counts as silent
TICK = 0.1              # seconds between two looks at the clock and at signals
PERIODS = (0.2, 0.5, 1, 2, 5, 10)       # of refreshing, in s; keys - and +
CELL = 16               # characters of a PCPU
FULL, MORE = 80, 12     # columns of a terminal that all of a VCPU needs, and more of each model
# Of a VCPU: counters, their headings and widths
COUNTS = (("spin-periods", "spins", 5), ("switched-in", "switch", 6), ("migrations", "migr", 5),
          ("cross-calls-refused", "refused", 7))

# Parameters of the engine that can change while the machine runs; those of the policy come from
# query-vsched.
ENGINE = ("switch-cost", "skip", "disk-latency", "random-stalls", "sdb", "jitter")

ENTER = (10, 13, curses.KEY_ENTER)
LEAVE = (27, ord("q"))              # 27 is Escape

# Of paging, see docs/paging.rst
MODES = (("native", "page tables are not virtualised"), ("nested", "walks have two dimensions"),
         ("shadow", "shadow tables, which exits keep up to date"),
         ("agile", "shadow tables above, two dimensions below"))

KEYS = "q:quit SPACE:pause p:policy s:set m:mode <>:PCPU o:on/off v:speed t:sum h:help"

# It fits on a terminal of 80 columns and 24 lines, of which the last one is taken.
HELP = """\
SPACE        pause the machine, or let it go on
p            choose another policy
s            choose a parameter of the policy or the engine, and change it
m, d         choose the mode of paging of a VM; see the samples of DSP
left, right  select a PCPU
o            take the selected PCPU out, or back in
v            change the speed of the selected PCPU
up, down, PAGE UP, PAGE DOWN, HOME, END: move in the list of VCPUs
t            count since the machine's start, or since the last refresh
- +          refresh more often, or less often
q, ESC       quit; in a list or a question: leave it
time      simulated time, and how much of it passes in a second of the host
PCPU      how much of its time it had a VCPU, and the one that it has now
state     what a VCPU does now; * if a spin was the last that was seen of it
useful, spin, ready, block, swtch
          parts of its time: it ran, was found spinning, waited for a PCPU, was
          blocked, was being switched in
spins, switch, migr, refused
          periods found spinning, switches in, migrations to another PCPU,
          cross-calls that it sent and the target refused
stall, mpki
          part of its running in which caches stalled it, or walks and exits;
          misses of L2 or TLBs per 1000 instructions; or migr, refused if wide
"""


class Unusable(Exception):
    """There is no terminal that the view could be shown on."""


def length(ns):
    """A time, as parameters have it."""
    for factor, unit in ((10**9, "s"), (10**6, "ms"), (1000, "us")):
        if ns and ns % factor == 0:
            return f"{ns // factor}{unit}"
    return f"{ns}ns"


def allowed(parameter):
    """Which values a parameter of a policy may have."""
    unit = parameter["unit"]
    if unit == "switch":
        return "on or off"
    if unit == "choice":
        return ", ".join(parameter["choices"])
    form = length if unit == "time" else str
    return f"{form(parameter['minimum'])} to {form(parameter['maximum'])}"


def shown(value):
    return ("off", "on")[value] if isinstance(value, bool) else str(value)


class Menu:
    """A list of which one is chosen.  @items are (line of the list, all about it, value)."""

    keys = "ENTER choose  ESC back"

    def __init__(self, title, items, chosen):
        self.title, self.items, self.chosen, self.at = title, items, chosen, 0

    def key(self, key):
        """The next state: itself, None if it is left, or what was chosen makes of it."""
        moves = {curses.KEY_UP: -1, curses.KEY_DOWN: 1, ord("k"): -1, ord("j"): 1}
        if key in moves:
            self.at = (self.at + moves[key]) % len(self.items)
        elif key in ENTER:
            return self.chosen(self.items[self.at][2])
        elif key in LEAVE:
            return None
        return self


class Prompt:
    """A question with an answer of one line."""

    keys = "ENTER do it  CTRL-U empty  ESC back"

    def __init__(self, question, answer, given):
        self.question, self.answer, self.given = question, answer, given

    def key(self, key):
        if key in ENTER:
            return self.given(self.answer.strip())
        if key in (curses.KEY_BACKSPACE, 127, 8):
            self.answer = self.answer[:-1]
        elif key == 21:                             # Ctrl-U
            self.answer = ""
        elif key == LEAVE[0]:
            return None
        elif 32 <= key < 127:
            self.answer += chr(key)
        return self


class Help:
    keys = "any key: back"

    @staticmethod
    def key(_):
        return None


class Top:
    def __init__(self, machine, screen, period):
        self.machine, self.screen, self.period = machine, screen, period
        self.over = None                # a Menu, Prompt or Help in front of the view
        self.message = ""
        self.totals = False             # since the start, not since the last refresh
        self.pcpu = self.first = 0      # the selected PCPU, the first VCPU that is shown
        self.rows = 1                   # of VCPUs that are shown
        self.latest = self.last = machine.look()
        self.vms = self.dsp = ()        # of query-paging and query-dsp
        self.look_at_paging()
        self.before = None              # the Sample before self.last; time passed between them
        self.pace = None                # simulated seconds in one of the host
        self.silent = False             # QEMU did not answer
        self.quit = False

    # What QEMU knows

    def ask(self, name, **arguments):
        """An answer of QEMU's, or None and a message."""
        try:
            return self.machine.monitor.cmd(name, **arguments)
        except self.machine.monitor.library.ExecuteError as fault:
            self.message = f"error: {fault}"
        except NoAnswer as fault:
            self.message = f"error: {fault} within {ANSWER} s, and may still do it"
        return None

    def change(self, done, name, **arguments):
        """A command; then there is nothing in front of the view."""
        if self.ask(name, **arguments) is not None:
            self.message = done
            self.refresh()

    def refresh(self):
        self.machine.monitor.forget_events()
        self.silent = False
        try:
            self.latest = self.machine.look()
            self.look_at_paging()
        except self.machine.monitor.library.ExecuteError as fault:
            self.message = f"error: {fault}"        # a debugger stopped it within a window
            return
        except NoAnswer:
            self.silent = True
            return
        if self.latest.time < self.last.time:
            self.before, self.last = None, self.latest
            self.message = "a saved state was loaded"
        elif self.latest.time > self.last.time:
            passed = self.latest.host - self.last.host
            self.pace = (self.latest.time - self.last.time) / 1e9 / max(passed, 1e-6)
            self.before, self.last = self.last, self.latest
        else:
            self.last = self.latest                 # the interval that is shown stays

    def look_at_paging(self):
        if self.machine.paging:
            self.vms = self.machine.monitor.cmd("query-paging")
            self.dsp = self.machine.monitor.cmd("query-dsp")

    def counted(self, kind, number):
        """What a PCPU or VCPU has counted, in the interval that is shown; None: nothing yet."""
        now = getattr(self.last, kind).get(number)
        if self.totals or not now:
            return now
        before = self.before and getattr(self.before, kind).get(number)
        return before and difference(now, before, self.last.peaks)

    # Keys

    def key(self, key):
        if self.over:
            self.over = self.over.key(key)
            return
        self.message = ""
        vcpus = len(self.latest.info["vcpus"])
        pcpus = len(self.latest.info["pcpus"])
        moves = {curses.KEY_UP: -1, curses.KEY_DOWN: 1, ord("k"): -1, ord("j"): 1,
                 curses.KEY_PPAGE: -self.rows, curses.KEY_NPAGE: self.rows,
                 curses.KEY_HOME: -vcpus, curses.KEY_END: vcpus}
        sideways = {curses.KEY_LEFT: -1, curses.KEY_RIGHT: 1, ord("<"): -1, ord(">"): 1}
        commands = {ord(" "): self.pause, ord("p"): self.policies, ord("s"): self.parameters,
                    ord("o"): self.online, ord("v"): self.speed,
                    ord("m"): self.modes, ord("d"): self.samples}
        if key in moves:
            self.first = max(0, min(self.first + moves[key], vcpus - self.rows))
        elif key in sideways:
            self.pcpu = (self.pcpu + sideways[key]) % pcpus
        elif key in commands:
            self.over = commands[key]()
        elif key == ord("t"):
            self.totals = not self.totals
        elif key in (ord("h"), ord("?"), curses.KEY_F1):
            self.over = Help()
        elif key in (ord("-"), ord("+")):
            choice = [p for p in PERIODS if (p < self.period if key == ord("-") else
                                             p > self.period)]
            if choice:
                self.period = choice[-1 if key == ord("-") else 0]
        elif key in LEAVE:
            self.quit = True
        elif key not in (-1, curses.KEY_RESIZE):
            self.message = "no such key: h is help"

    def pause(self):
        state = self.ask("query-status")
        if state and state["running"]:
            self.change("paused", "stop")
        elif state:
            self.change("the machine goes on", "cont")

    def policies(self):
        known = self.ask("query-vsched-policies")
        if not known:
            return None

        def described(p):
            parameters = [f"{q['name']}={shown(q['default'])} ({allowed(q)})"
                          for q in p["parameters"]]
            return f"{p['name']}: {p['description']}; {', '.join(parameters) or 'no parameters'}"

        menu = Menu("Policy (with its default parameters)", [
            (f"{'*' if p['current'] else ' '} {p['name']:12} {p['description']}", described(p),
             p["name"]) for p in known],
            lambda name: self.change(f"policy {name}", "vsched-set-policy", policy=name))
        menu.at = next((i for i, p in enumerate(known) if p["current"]), 0)
        return menu

    def parameters(self):
        info = self.ask("query-vsched")
        if not info:
            return None
        known = [(p["name"], shown(p["value"]), allowed(p), p["description"])
                 for p in info["parameters"]]
        about = {p["name"]: p.get("description", "") for p in self.ask(
            "qom-list-properties", typename=self.ask(
                "qom-get", path="/machine/vsched", property="type") or "") or ()}
        for name in ENGINE:
            value = self.ask("qom-get", path="/machine/vsched", property=name)
            known.append((name, "?" if value is None else shown(value), "",
                          about.get(name, "")))
        return Menu(f"Parameters of policy {info['policy']} and of the engine", [
            (f"{name:14} {value:>10}  {text}",
             f"{name}: {text}{f'; allowed are {values}' if values else ''}",
             (name, value, values)) for name, value, values, text in known],
            lambda choice: self.parameter(*choice))

    def parameter(self, name, value, values):
        return Prompt(f"{name}{f' ({values})' if values else ''}: ", value,
                      lambda text: self.change(f"{name} is {text}", "vsched-set",
                                               parameters={name: text}))

    def no_paging(self):
        self.message = "there is no model of paging: start the machine with paging="

    def modes(self):
        """Modes of each VM; or DSP, which picks."""
        if not self.vms:
            return self.no_paging()
        switched = {d["vm"] for d in self.dsp if d["enabled"]}
        items = []
        for vm in self.vms:
            n = vm["vm"]
            items += [(f"{'*' if vm['mode'] == mode else ' '} VM {n}  {mode:8} {text}",
                       f"VM {n} gets mode {mode}; its shadow tables go",
                       functools.partial(self.change, f"VM {n} has mode {mode}",
                                         "paging-set-mode", vm=n, mode=mode))
                      for mode, text in MODES]
            items.append((f"  VM {n}  {'no DSP' if n in switched else 'DSP':8} "
                          f"{'has its former mode again' if n in switched else 'is switched'}",
                          "DSP samples the VM and picks nested or shadow",
                          functools.partial(self.change, f"DSP does not switch VM {n}",
                                            "dsp-disable", vm=n)
                          if n in switched else functools.partial(self.settings, n)))
        return Menu("Paging of VMs", items, lambda do: do())

    def settings(self, vm):
        return Prompt(f"settings of DSP for VM {vm}, such as interval=100ms,ratio-upper=0.0005: ",
                      "", lambda text: self.switch(vm, text))

    def switch(self, vm, text):
        """As HMP has it, for times have units there; it answers with what is wrong, if anything."""
        said = self.ask("human-monitor-command", **{
            "command-line": f"vsched dsp-enable vm={vm}{',' if text else ''}{text}"})
        if said is not None:
            self.message = said.strip() or f"DSP switches VM {vm}"
            self.refresh()

    def samples(self):
        """The last samples of DSP, the latest first."""
        if not self.vms:
            return self.no_paging()
        items = []
        for vm in self.dsp:
            decided = ", ".join(f"rule {rule}: {n}" for rule, n in enumerate(vm["decisions"]) if n)
            items += [(f"VM {vm['vm']} {s['time'] / 1e6:>14.3f} ms  misses {1000 * s['misses'] / n:8.3f}"
                       f"  faults {1000 * s['faults'] / n:9.5f}  rule {s['rule']}  {s['after']}",
                       f"VM {vm['vm']}, {vm['switches']} switches; {decided}; misses and faults are "
                       "for 1000 instructions", None)
                      for s in reversed(vm["samples"]) for n in (s["insns"] or math.inf,)]
        if not items:
            self.message = "DSP has no samples: m lets it switch a VM"
            return None
        return Menu("Samples of DSP", items, lambda _: None)

    def online(self):
        online = not self.latest.info["pcpus"][self.pcpu]["online"]
        self.change(f"PCPU {self.pcpu} is {'on' if online else 'off'}", "vsched-set-pcpu",
                    pcpu=self.pcpu, online=online)

    def speed(self):
        return Prompt(f"speed of PCPU {self.pcpu} (1, or a ratio such as 1/2): ",
                      self.latest.info["pcpus"][self.pcpu]["speed"],
                      lambda text: self.change(f"PCPU {self.pcpu} has speed {text}",
                                               "vsched-set-pcpu", pcpu=self.pcpu, speed=text))

    # The screen

    def put(self, y, text, attribute=curses.A_NORMAL, x=0):
        """As much of it as there is room for.  The last column stays free."""
        height, width = self.screen.getmaxyx()
        if 0 <= y < height and 0 <= x < width - 1:
            self.screen.addnstr(y, x, text, width - 1 - x, attribute)

    def draw(self):
        self.screen.erase()
        height, width = self.screen.getmaxyx()
        cursor = None
        if isinstance(self.over, Help):
            for y, line in enumerate(HELP.splitlines()[:height - 1]):
                self.put(y, line)
        else:
            y = self.draw_header(width)
            y = self.draw_pcpus(y, height, width)
            if isinstance(self.over, Menu):
                self.draw_menu(y, height)
            else:
                self.draw_vcpus(y, height, width)
            cursor = self.draw_message(height, width)
        self.put(height - 1, (self.over.keys if self.over else KEYS).ljust(width),
                 curses.A_REVERSE)
        set_cursor(cursor is not None)
        if cursor is not None:
            self.screen.move(height - 2, min(cursor, width - 1))
        self.screen.refresh()

    def draw_header(self, width):
        pace = "" if self.pace is None else f", {self.pace:.4f} s in a second"
        self.put(0, f"time {self.latest.time / 1e6:.6f} ms{pace}".ljust(width))
        status = "QEMU does not answer" if self.silent else self.latest.status
        right = f"  {status}  every {self.period:g} s"
        self.put(0, right, curses.A_NORMAL if status == "running" else curses.A_REVERSE,
                 max(0, width - 1 - len(right)))
        info = self.latest.info
        parts = [f"policy {policy(info)}"]
        if "longest-wait" in info:
            parts.append(f"longest wait {info['longest-wait']:,} ns")
        if info["pending"]:
            parts.append(f"{len(info['pending'])} commands wait for their time")
        self.put(1, ", ".join(parts))
        if not self.vms:
            return 2
        dsp = {d["vm"]: d for d in self.dsp if d["enabled"]}
        self.put(2, "paging " + ", ".join(
            f"VM {vm['vm']} {vm['mode']}" + (
                f" by DSP ({dsp[vm['vm']]['switches']} switches)" if vm["vm"] in dsp else "")
            for vm in self.vms))
        return 3

    def draw_pcpus(self, y, height, width):
        pcpus = self.latest.info["pcpus"]
        across = max(1, width // CELL)
        down = min(math.ceil(len(pcpus) / across), max(1, height // 3))
        top = max(0, self.pcpu // across - down + 1)
        for n, p in enumerate(pcpus[top * across:(top + down) * across]):
            counters = self.counted("pcpus", p["pcpu"])
            use = f"{100 * occupied(counters) / counters['clock']:.0f}%" \
                if counters and counters["clock"] else "-"
            now = f"v{p['vcpu']}" if "vcpu" in p else "idle"
            text = f"{p['pcpu']:2} {use:>4} {now}" if p["online"] else f"{p['pcpu']:2}  off"
            if p["speed"] != "1":
                text += f" {p['speed']}"
                if len(text) >= CELL:       # half a ratio would be another one
                    text = f"{p['pcpu']:2} {now if p['online'] else 'off'} {p['speed']}"
            attribute = curses.A_REVERSE if p["pcpu"] == self.pcpu else \
                curses.A_NORMAL if p["online"] else curses.A_DIM
            self.put(y + n // across, text[:CELL - 1].ljust(CELL - 1), attribute,
                     n % across * CELL)
        return y + down

    @staticmethod
    def model_columns(counters, stalls, misses):
        """How long a model stalled a VCPU while it ran, and misses."""
        ran = counters[STATES[0]] + counters[STATES[1]]
        instructions = counters["insns-user"] + counters["insns-privileged"]
        mpki = 1000 * misses / instructions if instructions else None
        return (f" {percent(stalls, ran):>5} "
                f"{'-' if mpki is None else f'{mpki:.1f}' if mpki < 999.95 else short(mpki):>5}")

    def models(self):
        """(heading, function of counters: stalls, the same: misses)"""
        return [model for there, model in (
            (self.machine.paging, ("paging", paging_stalls, tlb_misses)),
            (self.machine.caches, ("caches", cache_stalls, cache_misses))) if there]

    def draw_vcpus(self, y, height, width):
        span = " since the start " if self.totals else " of simulated time "
        rate = " since the start " if self.totals else " per simulated second "
        models, columns = self.models(), COUNTS
        if models and width < FULL + MORE * len(models):
            columns, rate = COUNTS[:-2], " numbers " if self.totals else " in a second "
        self.put(y, f"{'':21} {f' %{span}':-^30} {rate:-^{sum(w + 1 for *_, w in columns) - 1}}"
                 + "".join(f" {f' {name} ':-^{MORE - 1}}" for name, *_ in models))
        self.put(y + 1, "VCPU VM PCPU state    useful  spin ready block swtch" + "".join(
            f" {head:>{w}}" for _, head, w in columns) + " stall  mpki" * len(models), curses.A_BOLD)
        vcpus = self.latest.info["vcpus"]
        self.rows = max(1, height - 2 - (y + 2))
        self.first = max(0, min(self.first, len(vcpus) - self.rows))
        for n, v in enumerate(vcpus[self.first:self.first + self.rows]):
            state = "spinning" if v["spinning"] and v["state"] == "running" else \
                "switch" if v["state"] == "switching" else v["state"] + "*" * v["spinning"]
            line = f"{v['vcpu']:4} {v['vm']:2} {v['pcpu']:4} {state:8} "
            counters = self.counted("vcpus", v["vcpu"])
            if counters:
                whole = account(counters)
                scale = 1 if self.totals else self.machine.clock_hz / whole if whole else 0
                line += f"{percent(counters[STATES[0]], whole):>6}" + "".join(
                    f" {percent(counters[s], whole):>5}" for s in STATES[1:]) + "".join(
                        f" {short(counters[name] * scale):>{w}}" for name, _, w in columns)
                for _, stalls, misses in models:
                    line += self.model_columns(counters, stalls(counters), misses(counters))
            self.put(y + 2 + n, line)

    def draw_menu(self, y, height):
        menu = self.over
        self.put(y, menu.title, curses.A_BOLD)
        rows = max(1, height - 5 - (y + 1))         # and three lines about one
        top = max(0, menu.at - rows + 1)
        for n, (text, *_) in enumerate(menu.items[top:top + rows]):
            self.put(y + 1 + n, text, curses.A_REVERSE if top + n == menu.at else curses.A_NORMAL)

    def draw_message(self, height, width):
        """What was said last, or about an item of a list, as much above the last line as it
        takes; or a question.  Where its answer ends, or None."""
        if isinstance(self.over, Prompt):
            text = self.over.question + self.over.answer
            text = text[-max(1, width - 2):]
            self.put(height - 2, text.ljust(width), curses.A_BOLD)
            return len(text)
        text = self.over.items[self.over.at][1] if isinstance(self.over, Menu) else self.message
        lines = textwrap.wrap(text, max(10, width - 1))[:max(1, height // 2)]
        for n, line in enumerate(lines):
            self.put(height - 1 - len(lines) + n, line.ljust(width), curses.A_BOLD)
        return None

    def run(self, asked_to_end):
        self.screen.timeout(int(TICK * 1000))
        # The first interval is short, so that there is something to see.
        due = time.monotonic() + min(self.period, PERIODS[0])
        while not self.quit and not asked_to_end():
            self.draw()
            key = self.screen.getch()
            while key != -1 and not self.quit:
                self.key(key)
                self.screen.nodelay(True)
                key = self.screen.getch()
            self.screen.timeout(int(TICK * 1000))
            if time.monotonic() >= due:
                self.refresh()
                due = time.monotonic() + self.period


def set_cursor(visible):
    try:
        curses.curs_set(int(visible))
    except curses.error:
        pass                            # this terminal always shows it


def usable():
    """Unusable: it is not."""
    if not (os.isatty(sys.__stdin__.fileno()) and os.isatty(sys.__stdout__.fileno())):
        raise Unusable("--top needs a terminal")
    try:
        curses.setupterm(os.environ.get("TERM") or "unknown", sys.__stdout__.fileno())
    except curses.error:
        raise Unusable(f"--top: nothing is known of a terminal TERM={os.environ.get('TERM')}") \
            from None
    if not curses.tigetstr("cup"):
        raise Unusable(f"--top: a terminal TERM={os.environ.get('TERM')} cannot be filled")


def show(machine, period):
    """Until the user quits; on a usable() terminal.  Whatever is raised, it is as it was before."""
    asked = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: asked.append(True))
    machine.monitor.answer_within(ANSWER)
    curses.set_escdelay(50)
    screen = curses.initscr()
    try:
        curses.noecho()
        curses.cbreak()
        screen.keypad(True)
        Top(machine, screen, period).run(lambda: bool(asked))
    finally:
        # What is said next is on the last line, unless the terminal shows what it did before.
        screen.move(screen.getmaxyx()[0] - 1, 0)
        screen.clrtoeol()
        screen.refresh()
        set_cursor(True)
        curses.endwin()
