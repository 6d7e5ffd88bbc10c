"""Search of thresholds of dynamic switching paging for the costs that profiles show.

docs/dsp.rst says how each method works.  A score is to be small.  All of it is deterministic:
whole numbers, sorted lists, and floating-point sums in a fixed order.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import bisect
import collections
import itertools
import math
from fractions import Fraction

from dsprules import MODES, NESTED, THRESHOLD_MAX, UNIT, paper
from profiles import Unreadable

ROUNDS, LEVELS = 10, 4
MOST_COMBINATIONS = 200000
PAIRS = (("miss_upper", "fault_upper"), ("miss_lower", "fault_lower"),
         ("ratio_upper", "ratio_lower"))
RATES = {"miss_upper": "miss", "miss_lower": "miss", "fault_upper": "fault",
         "fault_lower": "fault", "ratio_upper": "ratio", "ratio_lower": "ratio"}
# Parts of a line's margin that are tried as half of the band of ratios, in sixteenths
BANDS = (0, 1, 2, 4, 8, 16)


# The costs that the profiles imply


# miss: cycles more for a TLB miss nested; fault: for a page fault shadow
Costs = collections.namedtuple("Costs", "miss fault")


def implied_costs(programs):
    """Least squares of (cycles shadow - cycles nested) = fault x faults - miss x misses over the
    nested intervals; None if the profiles do not tell, or if one of them is not above 0."""
    mm = mf = ff = md = fd = 0
    for program in programs:
        for (_, misses, faults), nested, shadow in program.compared(NESTED):
            difference = shadow - nested
            mm += misses * misses
            mf += misses * faults
            ff += faults * faults
            md += misses * difference
            fd += faults * difference
    determinant = mm * ff - mf * mf
    if not determinant:
        return None
    miss = Fraction(mf * fd - ff * md, determinant)
    fault = Fraction(mm * fd - mf * md, determinant)
    return Costs(miss, fault) if miss > 0 and fault > 0 else None


def break_even(costs):
    """Page faults for a TLB miss at which both modes cost the same, in 1e-7"""
    return round(UNIT * costs.miss / costs.fault)


# Candidates


def cuts(values):
    """Thresholds that tell these values apart: 0, one between each two neighbours, at their
    geometric mean, and one above all"""
    values = sorted({min(value, THRESHOLD_MAX) for value in values})
    between = {math.isqrt(a * b) if a else b // 2 for a, b in zip(values, values[1:])}
    top = min(2 * values[-1] + 1, THRESHOLD_MAX) if values else 0
    return sorted({0, *between, top})


def rate_cuts(programs):
    """{rate: cuts}, of the intervals of both modes"""
    rates = {"miss": [], "fault": [], "ratio": []}
    for program in programs:
        for mode in MODES:
            for (insns, misses, faults), *_ in program.tracks[mode].rows():
                rates["miss"].append(misses * 1000 * UNIT // insns)
                rates["fault"].append(faults * 1000 * UNIT // insns)
                if misses:
                    rates["ratio"].append(faults * UNIT // misses)
    return {rate: cuts(values) for rate, values in rates.items()}


def spaced(items, number):
    """That many of a sorted list, as evenly as possible, both ends among them"""
    last = len(items) - 1
    if last < number:
        return list(items)
    return [items[n * last // (number - 1)] for n in range(number)]


def around(values, current, number, before):
    """Candidates for the next level: @number of @values between the neighbours that @current has
    in @before, the candidates of this one"""
    below = max((v for v in before if v < current), default=values[0])
    above = min((v for v in before if v > current), default=values[-1])
    return spaced(values[bisect.bisect_left(values, below):bisect.bisect_right(values, above)],
                  number)


# The search


class Search:
    """@costs: {program's name: {mode: cycles of a switch to it}}; @limit: percent.  Every program
    is simulated from both modes on: otherwise a threshold that never brings a program back to
    the mode it began in would be as good as any."""

    def __init__(self, programs, costs, limit, intervals, number):
        self.programs, self.costs, self.limit = programs, costs, limit
        self.intervals, self.number = intervals, number
        self.cuts = rate_cuts(programs)
        costs = implied_costs(programs)
        self.even = min(break_even(costs), THRESHOLD_MAX) if costs else None
        self.scores = {}

    def score(self, settings, bound=math.inf):
        """Over the programs and both modes to begin in: (sum of regrets beyond the limit, mean of
        regrets, switches), the regrets to 0.01 %, since less is nothing to choose thresholds by.
        None if the first is above @bound.  Without end if a run is."""
        if settings not in self.scores:
            beyond, regrets, switches = 0.0, 0.0, 0
            for program, start in itertools.product(self.programs, MODES):
                run = program.simulate(settings, self.costs[program.name], start)
                if run is None:
                    beyond = regrets = math.inf
                    break
                regret = program.regret(run)
                beyond += max(0.0, regret - self.limit)
                regrets += regret
                switches += run.switches
                if round(beyond, 2) > bound:
                    return None
            self.scores[settings] = (round(beyond, 2),
                                     round(regrets / (len(self.programs) * len(MODES)), 2),
                                     switches)
        return self.scores[settings]

    def best(self, choices, target=None):
        """Of [(ranks, settings)] the best one; of equally good ones the one nearest to the ranks
        @target, or to their own centre, of these the first"""
        found, top = [], None
        for ranks, settings in choices:
            score = self.score(settings, top[0] if top else math.inf)
            if score is None or top and score > top:
                continue
            if top is None or score < top:
                found, top = [], score
            found.append((ranks, settings))
        n = len(found)
        sums = ([n * rank for rank in target] if target else
                [sum(column) for column in zip(*(ranks for ranks, _ in found))])
        return min(found, key=lambda item: (sum((n * rank - total)**2 for rank, total
                                                in zip(item[0], sums)), item[0]))[1]

    def pair(self, settings, names, values):
        """Choices for two thresholds: @values has the candidates of each"""
        for (i, a), (j, b) in itertools.product(*map(enumerate, values)):
            changed = settings._replace(**dict(zip(names, (a, b))))
            if possible(changed):
                yield (i, j), changed

    def of_interval(self, settings):
        for n, interval in enumerate(self.intervals):
            yield (n,), settings._replace(interval=interval)

    def descend(self, settings, pairs=PAIRS, further=()):
        """Coordinate descent: two thresholds at a time, then the interval, until nothing is
        better; then the same with candidates nearer to what was found.  @further: functions as
        of_interval()."""
        candidates = {name: spaced(self.cuts[RATES[name]], self.number)
                      for pair in pairs for name in pair}
        for _ in range(LEVELS):
            settings = self.rounds(settings, pairs, further, candidates)
            finer = {name: around(self.cuts[RATES[name]], getattr(settings, name), self.number,
                                  before) for name, before in candidates.items()}
            if finer == candidates:
                break
            candidates = finer
        return settings

    def rounds(self, settings, pairs, further, candidates):
        for _ in range(ROUNDS):
            before = self.score(settings)
            for names in pairs:
                more = {getattr(settings, name) for name in names}
                of_ratio = RATES[names[0]] == "ratio" and self.even is not None
                if of_ratio:
                    more.add(self.even)
                values = [sorted({*candidates[name]} | more) for name in names]
                target = [v.index(self.even) for v in values] if of_ratio else None
                settings = self.best(self.pair(settings, names, values), target)
            for choices in (*further, self.of_interval):
                settings = self.best(list(choices(settings)))
            if self.score(settings) >= before:
                break
        return settings

    def starts(self):
        """Where a descent begins: the paper's thresholds; all misses are few and all faults many,
        and the other way round; and the ratio alone, at break-even"""
        first = paper(self.intervals[0])
        yield first
        for low, high in ("miss", "fault"), ("fault", "miss"):
            most = self.cuts[low][-1]
            yield first._replace(**{f"{low}_upper": most, f"{low}_lower": most,
                                    f"{high}_upper": 0, f"{high}_lower": 0})
        if self.even is not None:
            yield first._replace(miss_upper=THRESHOLD_MAX, fault_upper=THRESHOLD_MAX,
                                 miss_lower=0, fault_lower=0, ratio_upper=self.even,
                                 ratio_lower=self.even)

    def by_descent(self):
        found = [self.descend(settings) for settings in self.starts()]
        return min(found, key=lambda settings: (self.score(settings), settings))

    def exhaustive(self):
        """All combinations of the candidates"""
        candidates = {rate: list(enumerate(spaced(values, self.number)))
                      for rate, values in self.cuts.items()}
        names = [name for pair in PAIRS for name in pair]
        first = paper(self.intervals[0])

        def choices():
            for n, interval in enumerate(self.intervals):
                for values in itertools.product(*(candidates[RATES[name]] for name in names)):
                    changed = first._replace(interval=interval, **dict(
                        zip(names, (value for _, value in values))))
                    if possible(changed):
                        yield (n, *(rank for rank, _ in values)), changed

        return self.best(choices())

    # A support vector machine

    def by_svm(self):
        line = svm_line(self.programs)

        def band(settings):
            for n, part in enumerate(BANDS):
                yield (n,), settings._replace(ratio_lower=line.ratio(-part / 16),
                                              ratio_upper=line.ratio(part / 16))

        miss, fault = line.corner()
        settings = paper(self.intervals[0])._replace(
            miss_upper=miss, fault_upper=fault, miss_lower=0, fault_lower=0,
            ratio_upper=line.ratio(0), ratio_lower=line.ratio(0))
        return self.descend(settings, PAIRS[1:2], (band,))


def possible(settings):
    return (settings.miss_lower <= settings.miss_upper
            and settings.fault_lower <= settings.fault_upper
            and settings.ratio_lower <= settings.ratio_upper)


def combinations(number, intervals):
    """How many there are of @number candidates each: a pair of bounds has n (n + 1) / 2."""
    return (number * (number + 1) // 2)**3 * intervals


class Line:
    """miss x log(misses) + fault x log(faults) + offset = 0, of rates in 1e-7 for 1000
    instructions, to the base 10; above 0 nested is better, and 1 is the end of the margin.
    centre: (log(misses), log(faults)), of all points"""

    def __init__(self, miss, fault, offset, centre):
        self.miss, self.fault = miss, fault
        beyond = ((miss * centre[0] + fault * centre[1] + offset)
                  / (miss * miss + fault * fault))
        # of the line, the point nearest to the centre
        self.point = centre[0] - beyond * miss, centre[1] - beyond * fault

    def corner(self):
        """(miss_upper, fault_upper): more misses and fewer faults lie below the line, fewer
        misses and more faults above it"""
        return tuple(min(round(10**x), THRESHOLD_MAX) for x in self.point)

    def ratio(self, part):
        """Of page faults and TLB misses, at that part of the margin, in 1e-7"""
        log = self.point[1] - self.point[0] + 2 * part / (self.fault - self.miss)
        return min(round(UNIT * 10**min(log, 20)), THRESHOLD_MAX)


def svm_points(programs):
    """(log(misses), log(faults)), whether nested is better, weight: what the worse mode costs
    more, as a part of the program's cycles in the better one.  A rate below 1e-7 is taken for
    1e-7."""
    for program in programs:
        for mode in MODES:
            for (insns, misses, faults), own, other in program.compared(mode):
                if own != other:
                    point = tuple(math.log10(max(1, count * 1000 * UNIT / insns))
                                  for count in (misses, faults))
                    yield (point, (own < other) == (mode == NESTED),
                           abs(own - other) / program.better)


def svm_line(programs):
    try:
        from sklearn.svm import SVC     # pylint: disable=import-outside-toplevel
    except ImportError as fault:
        raise Unreadable("method svm needs scikit-learn, which cannot be loaded: install Debian's "
                         f"python3-sklearn, or use method grid ({fault})") from fault
    found = list(svm_points(programs))
    nested = sum(better for _, better, _ in found)
    if not 0 < nested < len(found):
        raise Unreadable("method svm needs intervals in which nested is better, and others in "
                         f"which shadow is: there are {nested} and {len(found) - nested}; "
                         "allowed are other programs, or method grid")
    points, better, weights = zip(*found)
    mean = sum(weights) / len(weights)
    machine = SVC(kernel="linear", C=1.0)
    machine.fit([list(point) for point in points], [int(b) for b in better],
                sample_weight=[weight / mean for weight in weights])
    miss, fault = (float(x) for x in machine.coef_[0])
    if miss >= 0 or fault <= 0:
        raise Unreadable("method svm: in these profiles the line does not say that nested is "
                         "better with more faults and with fewer misses (weights: "
                         f"faults {fault:.3g}, misses {miss:.3g}): use method grid")
    centre = tuple(sum(point[n] for point in points) / len(points) for n in (0, 1))
    return Line(miss, fault, float(machine.intercept_[0]), centre)
