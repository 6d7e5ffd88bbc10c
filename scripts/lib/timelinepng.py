"""A schedule trace as a picture: PCPUs as rows, VCPUs as colours, spins below each row.

matplotlib draws it.  What happens in the time of one column of pixels is more than a picture can
show: a column has the VCPU that had most of it.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import schedtrace

# 24 colours, of which any two are at least 36 apart in CIELAB (CIE 1976), and as far from the
# colours below: each is that of the 16^3 of #rgb which is farthest from all before it.  (2.3 is
# the least that people notice.)
COLOURS = (
    "#1f77b4", "#00ff00", "#0000ff", "#ff00bb", "#eecc00", "#006600",
    "#00ffcc", "#220077", "#881144", "#664400", "#ffaaff", "#bbff77",
    "#ffaa77", "#4477ff", "#118877", "#cc33ff", "#00ddff", "#ff3377",
    "#99aa66", "#ff8800", "#332255", "#665555", "#dd8899", "#aa44bb",
)
IDLE, SWITCHING, OFF = "#ffffff", "#000000", "#c8c8c8"
WIDTH, HEIGHT, DPI = 1200, 600, 100             # of the picture, pixels
COLUMNS = 1000
SPIN = "#e0301e"


def columns(spans, start, stop, number):
    """Who had most of each column: a VCPU, "switch" or None, of one PCPU."""
    length = (stop - start) / number
    parts = [{} for _ in range(number)]
    for span in spans:
        begin, end = max(span.start, start), min(span.end, stop)
        if begin >= end:
            continue
        who = span.vcpu if span.what == "run" else "switch"
        first, last = int((begin - start) / length), min(number - 1, int((end - start) / length))
        for i in range(first, last + 1):
            part = min(end, start + (i + 1) * length) - max(begin, start + i * length)
            if part > 0:
                parts[i][who] = parts[i].get(who, 0) + part
    for part in parts:
        part[None] = length - sum(part.values())
    return [max(part, key=lambda who, part=part: (part[who], who is not None)) for part in parts]


def spin_columns(spins, pcpu, start, stop, number):
    """Columns in which a spin was found."""
    return {(time - start) * number // (stop - start) for time, _, p, *_ in spins
            if p == pcpu and start <= time < stop}


def offline(timeline, pcpu, start, stop, number):
    """Columns in which the PCPU was off."""
    off, since, pieces = not timeline.part.pcpus[pcpu].online, start, []
    for time, _, (_, kind, p, _, arg) in timeline.events:
        if kind == schedtrace.PCPU and p == pcpu:
            if off:
                pieces.append((since, time))
            off, since = not arg, time
    if off:
        pieces.append((since, stop))
    length = (stop - start) / number
    return {i for i in range(number) for a, b in pieces if a <= start + (i + 0.5) * length < b}


def unit(nanoseconds):
    for name, factor in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if nanoseconds >= 2 * factor:
            return name, factor
    return "ns", 1


def draw(timeline, path, start, stop, title):
    """ModuleNotFoundError without matplotlib."""
    # pylint: disable=import-outside-toplevel
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import colors, patches, pyplot
    # pylint: enable=import-outside-toplevel

    trace = timeline.trace
    palette = {v: colors.to_rgb(COLOURS[v % len(COLOURS)]) for v in range(trace.vcpus)}
    palette.update({None: colors.to_rgb(IDLE), "switch": colors.to_rgb(SWITCHING)})
    white, red, grey = (colors.to_rgb(colour) for colour in (IDLE, SPIN, OFF))
    rows = []
    for p in range(trace.pcpus):
        off = offline(timeline, p, start, stop, COLUMNS)
        spun = spin_columns(timeline.spins, p, start, stop, COLUMNS)
        row = [grey if i in off and who is None else palette[who] for i, who in
               enumerate(columns(timeline.spans[p], start, stop, COLUMNS))]
        spins = [red if i in spun else white for i in range(COLUMNS)]
        rows += [row] * 6 + [spins] * 2 + [[white] * COLUMNS] * 2
    figure, axes = pyplot.subplots(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI)
    name, factor = unit(trace.nanoseconds(stop - start))
    axes.imshow(rows, aspect="auto", interpolation="nearest",
                extent=(trace.nanoseconds(start) / factor, trace.nanoseconds(stop) / factor,
                        trace.pcpus, 0))
    axes.set_yticks([p + 0.3 for p in range(trace.pcpus)], [str(p) for p in range(trace.pcpus)])
    axes.set_ylabel("PCPU; below each row, in red: spins")
    axes.set_xlabel(f"simulated time, {name}")
    axes.ticklabel_format(axis="x", useOffset=False, style="plain")
    axes.set_title(title)
    seen = sorted({s.vcpu for spans in timeline.spans for s in spans
                   if s.start < stop and s.end > start})
    legend = [patches.Patch(color=palette[v], label=f"VCPU {v}") for v in seen[:32]]
    legend.append(patches.Patch(color=SWITCHING, label="switch"))
    axes.legend(handles=legend, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False,
                fontsize=8)
    figure.subplots_adjust(left=0.06, right=0.88, top=0.92, bottom=0.1)
    figure.savefig(path, format="png")
    pyplot.close(figure)
