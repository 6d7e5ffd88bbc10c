"""Reports of the cache model: read them, name addresses, print them.

docs/cache-reports.rst says what the numbers mean, plugin-cachetime/cache-report.schema.json
describes the files.  Symbol tables are read by nm of binutils.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import collections
import csv
import io
import json
import os

from profiles import CODE, DATA, Symbols, Unreadable, percent

REPORT, INTERVAL, VERSION = "cmp8-caches", "cmp8-caches-interval", 1
MODES = ("privileged", "user")
LEVELS = ("l1i", "l1d", "l2", "l3")
KINDS = ("compulsory", "capacity", "coherence")
# Who answers, and the heading of a column
SERVERS = {"l2": "L2", "upgrade": "upgr", "transfer": "othr", "l3": "L3", "memory": "mem"}
MISSES = ("true", "false", "undecided", "unknown")


def load(path):
    """("report", the report), or ("intervals", a list of them)"""
    try:
        with open(path, encoding="utf-8") as f:
            text = f.read()
    except OSError as fault:
        raise Unreadable(f"{path}: {fault.strerror}") from fault
    except UnicodeDecodeError as fault:
        raise Unreadable(f"{path} is no report of caches: it is not text") from fault
    try:
        try:
            data = [json.loads(text)]
        except ValueError:
            data = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as fault:
        raise Unreadable(f"{path} is no report of caches: it is not JSON ({fault})") from fault
    formats = {d.get("format") if isinstance(d, dict) else None for d in data}
    if formats not in ({REPORT}, {INTERVAL}) or formats == {REPORT} and len(data) > 1:
        raise Unreadable(f"{path} is no report of caches: allowed are files whose format is "
                         f"{REPORT}, or {INTERVAL} in every line")
    versions = {d.get("version") for d in data}
    if versions != {VERSION}:
        raise Unreadable(f"{path} is of version {', '.join(map(str, versions))}: allowed is "
                         f"{VERSION}")
    return ("report", data[0]) if formats == {REPORT} else ("intervals", data)


class Names:
    """Functions and objects of privileged code, and of programs in user mode, which may have the
    same addresses."""

    def __init__(self, privileged, user):
        self.code, self.data = ({mode: Symbols(paths, kinds)
                                 for mode, paths in zip(MODES, (privileged, user))}
                                for kinds in (CODE, DATA))

    def function(self, mode, pc):
        """Its name, or the address if it has none."""
        return self.code[mode].place(pc)[1] or f"0x{pc:x}"

    def instruction(self, mode, pc):
        """function+0x14"""
        start, name, _ = self.code[mode].place(pc)
        return f"{name}+0x{pc - start:x}" if name and pc != start else name or f"0x{pc:x}"

    def object(self, mode, address):
        """object+0x8 (in the code: function+0x8); None if it has no name."""
        for table in self.data[mode], self.code[mode]:
            start, name, _ = table.place(address)
            if name:
                return f"{name}+0x{address - start:x}" if address != start else name
        return None

    def objects(self, mode, address, size):
        """What is in a line: the names of objects in it, in the order of addresses."""
        found = []
        for at in range(address, address + size, 4):
            for table in self.data[mode], self.code[mode]:
                name = table.place(at)[1]
                if name:
                    if name not in found:
                        found.append(name)
                    break
        return found


# Arithmetic of counters


def misses(counters, level):
    return sum(counters.get(f"{level}-misses-{kind}", 0) for kind in KINDS)


def stalls(counters):
    """{server: cycles}"""
    return {server: counters.get(f"stall-{server}", 0) for server in SERVERS}


def both(item, modes=MODES):
    """The counters of several modes together."""
    out = collections.Counter()
    for mode in modes:
        out.update({name: n for name, n in item[mode].items()
                    if name not in ("mpki", "memory-bytes-per-cycle")})
    return out


def mpki(counters, level):
    """Misses per 1000 instructions; None if no instructions are known."""
    instructions = counters.get("instructions", 0)
    return 1000 * misses(counters, level) / instructions if instructions else None


def total(costs):
    return sum(costs["stall"].values())


# Tables


def ratio(value):
    return "-" if value is None else f"{value:.2f}"


def table(rows, left):
    """Lines; the first @left columns begin at the left, the others end at the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(w) if i in left else cell.rjust(w)
                        for i, (cell, w) in enumerate(zip(row, widths))).rstrip()


def parts(of):
    """By server, in percent of the sum."""
    whole = sum(of.values())
    return [f"{100 * of[server] / whole:.0f}" if whole else "-" for server in SERVERS]


HEADS = ["instructions", "L1I", "L1D", "L2", "L3", "stall", *SERVERS.values()]


def numbers(counters):
    """Cells below HEADS."""
    stall = stalls(counters)
    return [str(counters.get("instructions", "-")),
            *(ratio(mpki(counters, level)) for level in LEVELS),
            str(sum(stall.values())), *parts(stall)]


def objects(report):
    """[(name, item)]: everything that has counters."""
    yield from ((f"PCPU {p['pcpu']}", p) for p in report["pcpus"])
    yield from ((f"VCPU {v['vcpu']}", v) for v in report["vcpus"])
    if len(report.get("vms", ())) > 1:
        yield from ((f"VM {v['vm']}", v) for v in report["vms"])


def counters_table(report):
    rows = [["", *HEADS]]
    rows += [[mode, *numbers(both(report["machine"], (mode,)))] for mode in MODES]
    rows += [[name, *numbers(both(item))] for name, item in objects(report)]
    return table(rows, {0})


def ranked(costs, rest, top):
    """Lines: the costliest names, then all others.  @costs: {name: {server: cycles}}, @rest: of
    what has no entry in the report"""
    order = sorted(costs.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    others = collections.Counter(rest)
    for _, stall in order[top:]:
        others.update(stall)
    whole = sum(sum(stall.values()) for stall in costs.values()) + sum(rest.values())
    rows = [["cycles", "", *SERVERS.values(), "of"]]
    for name, stall in [*order[:top], ("(all others)", others)]:
        cycles = sum(stall.values())
        if cycles:
            rows.append([str(cycles), percent(cycles, whole), *parts(stall), name])
    return table(rows, {len(rows[0]) - 1})


def summed(report, which, name):
    """({name: {server: cycles}} of a table, cycles that are in no entry by server)"""
    out = collections.defaultdict(collections.Counter)
    rest = collections.Counter(report["attribution"]["stall"])
    for entry in report["attribution"][which]["top"]:
        out[name(entry)].update(entry["stall"])
        rest.subtract(entry["stall"])
    return out, {server: rest[server] for server in SERVERS}


def functions(report, names):
    """Stalls of each function, of fetches and data apart."""
    return summed(report, "program-counters", lambda e: names.function(
        e["mode"], int(e["pc"], 16)) + (" (fetch)" if e["fetch"] else ""))


def instructions(report, names):
    return summed(report, "program-counters", lambda e: names.instruction(
        e["mode"], int(e["pc"], 16)) + (" (fetch)" if e["fetch"] else ""))


def data_name(place, names, size):
    """Of a line: what is in it, or where it is."""
    found = names.objects(place["mode"], int(place["virtual"], 16), size)
    if not found:
        return place["virtual"]
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")


def data(report, names):
    """Stalls of each object; lines with several of them are one."""
    size = report["configuration"]["machine"]["line"]
    return summed(report, "lines", lambda e: data_name(e, names, size))


def numbered(values):
    """0,1,8-11"""
    out, values = [], sorted(values)
    for n, value in enumerate(values):
        if n and value == values[n - 1] + 1:
            out[-1][1] = value
        else:
            out.append([value, value])
    return ",".join(str(a) if a == b else f"{a}{'-' if b > a + 1 else ','}{b}" for a, b in out)


def word_names(site, place, names, word):
    """What it accesses: each object, from the first of its words on."""
    out = {}
    for n in sorted({*site["reads"], *site["writes"]}):
        found = names.object(place["mode"], int(place["virtual"], 16) + n * word)
        out.setdefault(found.split("+")[0] if found else None, found or "-")
    return list(out.values())


def sites_table(line, names, word, top):
    rows = [["", "VCPU", "PCPU", "reads", "writes", "accesses", "false", "true", "by", "of"]]
    for site in line["sites"][:top]:
        what = word_names(site, line, names, word)
        rows.append(["", str(site.get("vcpu", "others")), numbered(site["pcpus"]),
                     numbered(site["reads"]) or "-", numbered(site["writes"]) or "-",
                     str(site["accesses"]), str(site["misses"]["false"]),
                     str(site["misses"]["true"]),
                     names.instruction(site["mode"], int(site["pc"], 16)) if "pc" in site else "-",
                     ", ".join(what[:3]) + (", ..." if len(what) > 3 else "")])
    yield from table(rows, {3, 4, 8, 9})
    if len(line["sites"]) > top:
        yield f"  ({len(line['sites']) - top} more)"


def sharing(report, names, top):
    """Lines: coherence misses by kind, then lines that are falsely shared."""
    of = report["attribution"]["sharing"]
    whole = sum(of["stall"][kind] for kind in MISSES)
    rows = [["sharing", "misses", "cycles", ""]]
    rows += [[kind, str(of["misses"][kind]), str(of["stall"][kind]),
              percent(of["stall"][kind], whole)] for kind in MISSES]
    rows.append(["upgrade", str(of["misses"]["upgrade"]), str(of["stall"]["upgrade"]), ""])
    yield from table(rows, {0})
    if of["dropped"]:
        yield f"{of['dropped']} lines that others stored to were forgotten"
    size = report["configuration"]["machine"]["line"]
    for line in of["top"][:top]:
        if line["misses"]["false"]:
            where = line["virtual"], data_name(line, names, size)
            yield ""
            yield (f"{' '.join(dict.fromkeys(where))} ({line['mode']}, VM {line['vm']}): "
                   f"{line['misses']['false']} misses of false sharing, "
                   f"{line['stall']['false']} cycles")
            yield from sites_table(line, names, of["word"], top)


def dropped(report, which, what):
    """Lines: what a table that was full has left out."""
    of = report["attribution"][which]
    if of["dropped"]:
        yield (f"{of['dropped']} {what} were left out, with {total(of['dropped-costs'])} cycles; "
               f"none of the others lost more than {of['error']}")


def without_instruction(report):
    """Stall cycles of the machine that are in no table"""
    return (sum(stalls(both(report["machine"])).values()) -
            sum(report["attribution"]["stall"].values()))


def summary(report, names, top, by_instruction=False):
    """Lines: everything, for people."""
    ns = 1e9 / report["clock-hz"]
    yield (f"{report['begin'] * ns / 1e6:.6f} ms to {report['end'] * ns / 1e6:.6f} ms, "
           f"PCPUs: {len(report['pcpus'])}, VCPUs: {len(report['vcpus'])}; misses per 1000 "
           "instructions, stalls in cycles and percent")
    yield ""
    yield from counters_table(report)
    machine = both(report["machine"])
    yield ""
    yield (f"memory: {machine['memory-bytes']} bytes" + (
        f", {machine['memory-bytes'] / (report['end'] - report['begin']):.3f} a cycle of "
        f"{report['configuration']['memory']['bandwidth']:g}"
        if report["end"] > report["begin"] else "") +
           f"; lines from other L2s: {machine['served-by-transfer']}, taken from other L2s: "
           f"{machine['invalidations']}")
    if "attribution" not in report or not top:
        return
    code = instructions if by_instruction else functions
    for title, which, what, (costs, rest) in (
            ("code", "program-counters", "instructions", code(report, names)),
            ("data", "lines", "lines", data(report, names))):
        yield ""
        yield f"stalls by {title}"
        yield from ranked(costs, rest, top)
        yield from dropped(report, which, what)
    switches = without_instruction(report)
    if switches:
        yield ""
        yield f"{switches} cycles more, of VCPU switches, which no instruction causes"
    yield ""
    yield from sharing(report, names, top)


def intervals_summary(intervals):
    """Lines: of each interval, all PCPUs together."""
    rows = [["begin, ms", "end, ms", *HEADS]]
    for i in intervals:
        machine = collections.Counter()
        for p in i["pcpus"]:
            machine.update(both(p))
        ms = 1e3 / i["clock-hz"]
        rows.append([f"{i['begin'] * ms:.6f}", f"{i['end'] * ms:.6f}", *numbers(machine)])
    return table(rows, set())


# CSV

TIMES = ("begin", "end")
DERIVED = ("instructions", *(f"{level}-mpki" for level in LEVELS))


SCHEMA = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                      "../../plugin-cachetime/cache-report.schema.json")


def csv_rows(reports):
    """Lines: a line for each report or interval, object and mode.  Times are cycles.  The columns
    are always those of the schema, also where an interval leaves out what is 0."""
    with open(SCHEMA, encoding="utf-8") as file:
        names = json.load(file)["$defs"]["counters"]["properties"]
    known = {name for r in reports for _, item in csv_objects(r) for mode in MODES
             for name in item[mode]}
    counters = [name for name in names
                if name not in ("instructions", "mpki", "memory-bytes-per-cycle")]
    yield csv_line([*TIMES, "object", "number", "vm", "mode", *DERIVED, *counters])
    for r in reports:
        for (kind, number), item in csv_objects(r):
            for mode in MODES:
                c = item[mode]
                rates = (mpki(c, level) for level in LEVELS)
                yield csv_line([r["begin"], r["end"], kind, number, item.get("vm", ""), mode,
                                c.get("instructions", 0 if "instructions" in known else ""),
                                *("" if rate is None else f"{rate:.3f}" for rate in rates),
                                *(c.get(name, 0) for name in counters)])


def csv_objects(report):
    for kind in "pcpu", "vcpu", "vm":
        yield from (((kind, item[kind]), item) for item in report.get(f"{kind}s", ()))


def csv_line(values):
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(values)
    return out.getvalue()
