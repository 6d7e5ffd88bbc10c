"""The eight rules of dynamic switching paging, as softmmu-walk/dsp.c has them.

After Wang et al., "Selective Hardware/Software Memory Virtualization", VEE 2011, section 2.3.
docs/dsp.rst explains them.  Whole numbers only, so that both decide alike to the last digit.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import collections

MODES = NESTED, SHADOW = ("nested", "shadow")

UNIT = 10**7                    # thresholds are in 1e-7
THRESHOLD_MAX = 100000 * UNIT
RATIO_UNIT = 10**12             # of ratios in a mean
INTERVAL_MAX = (2**63 - 1) // 4

# interval: cycles; history: samples; margin: percent; the rest in UNIT: for 1000 instructions,
# the ratio page faults for a TLB miss
Settings = collections.namedtuple(
    "Settings", "interval history margin fault_upper fault_lower miss_upper miss_lower "
                "ratio_upper ratio_lower")
THRESHOLDS = Settings._fields[3:]

# What was counted in a sample
Counters = collections.namedtuple("Counters", "insns misses faults")

# Rules by their numbers in the paper; 0: nothing was retired
NO_INSNS, MISSES, FAULTS, LOW, NO_MISSES, RATIO_HIGH, RATIO_LOW, RATIO_BETWEEN, RATIO_MIXED = \
    range(9)


def paper(interval):
    """Its table 2, and the history of its section 4.3."""
    return Settings(interval, 3, 80, 5000, 100, 10 * UNIT, UNIT // 10, 200, 150)


def threshold_text(value):
    """5000 as 0.0005"""
    whole, rest = divmod(value, UNIT)
    return f"{whole}.{rest:07}".rstrip("0") if rest else str(whole)


def band(value, lower, upper):
    """-1 below, 0 between or equal to one of both, 1 above"""
    return 1 if value > upper else -1 if value < lower else 0


def decide(s, mode, samples):
    """(mode from now on, rule), of the samples of which the last is the current one."""
    insns, misses, faults = samples[-1]
    if not insns:
        return mode, NO_INSNS
    miss_rate, fault_rate = misses * 1000 * UNIT, faults * 1000 * UNIT     # times insns
    if (miss_rate > s.miss_upper * insns
            and 100 * fault_rate < s.margin * s.fault_upper * insns):
        return SHADOW, MISSES
    if (fault_rate > s.fault_upper * insns
            and 100 * miss_rate < s.margin * s.miss_upper * insns):
        return NESTED, FAULTS
    if miss_rate < s.miss_lower * insns and fault_rate < s.fault_lower * insns:
        return mode, LOW
    if not misses:
        return NESTED, NO_MISSES
    current = band(faults * UNIT, s.ratio_lower * misses, s.ratio_upper * misses)
    ratios = [sample[2] * RATIO_UNIT // sample[1] for sample in samples[-s.history:] if sample[1]]
    scale = len(ratios) * (RATIO_UNIT // UNIT)
    if band(sum(ratios), s.ratio_lower * scale, s.ratio_upper * scale) != current:
        return mode, RATIO_MIXED
    return ((NESTED, RATIO_HIGH) if current > 0 else
            (SHADOW, RATIO_LOW) if current < 0 else (mode, RATIO_BETWEEN))
