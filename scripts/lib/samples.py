"""Mean and 95 % confidence interval of a few repeated runs.

The runs of one setting differ in their seed, and there are few of them, so the interval
is Student's: mean +- t s / sqrt(n), where s is the standard deviation of the n values (with
n - 1) and t the quantile of the t distribution with n - 1 degrees of freedom.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import dataclasses
import math

# 97.5 % quantiles of Student's t distribution with 1, 2, ... degrees of freedom (any
# table of it), so that 2.5 % are beyond either end of the interval
T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
MOST = len(T) + 1           # values of a sample


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean, and half the length of its interval: None if there is only one value."""
    mean: float
    half: float | None

    def __truediv__(self, base):
        """In units of another mean, as bars that are normalized to a baseline are: the mean
        of the baseline counts as exact, and the baseline's own interval stays at the
        baseline."""
        if not base.mean:
            return None
        return Estimate(self.mean / base.mean,
                        None if self.half is None else self.half / abs(base.mean))


def estimate(values):
    """What a sample says about its mean."""
    values = list(values)
    n = len(values)
    if not 1 <= n <= MOST:
        raise ValueError(f"{n} values: 1 to {MOST} are possible")
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean, None)
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1)
    return Estimate(mean, T[n - 2] * math.sqrt(variance / n))
