"""Statistics of an experiment whose users are divided among arms.

A rate is events per impression. Users are what chance assigned, and a user's impressions are not
independent of each other, so a rate is a ratio of two means over users, whose variance the delta
method gives (Deng, Knoblich & Lu 2018, "Applying the delta method in metric analytics"). All
functions take arrays of any shape, so that many experiments are evaluated at once.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Values = NDArray[np.float64]
Z = 1.959963984540054
"""Quantile of the normal distribution for intervals of 95 %."""
MISMATCH = 0.001
"""p-value of the shares below which users were not assigned as asked: as an experiment is looked at
often, 0.05 would be seen by chance sooner or later."""


class Moments(NamedTuple):
    """Sums over the users of an arm, of impressions x and events y.

    Attributes:
        users: number of users.
        x, y, xx, xy, yy: sums of the values and of their products.
    """

    users: ArrayLike
    x: ArrayLike
    y: ArrayLike
    xx: ArrayLike
    xy: ArrayLike
    yy: ArrayLike

    @classmethod
    def of(cls, x: Values, y: Values) -> "Moments":
        """The moments of users with x impressions [N] and y events [N]."""
        return cls(len(x), x.sum(), y.sum(), x @ x, x @ y, y @ y)


@dataclass(frozen=True)
class Rate:
    """Events per impression, with the interval of 95 %.

    Attributes:
        value: the rate; NaN without impressions.
        variance: of the rate.
    """

    value: Values
    variance: Values

    @property
    def low(self) -> Values:
        """Lower end of the interval, at least 0."""
        return np.maximum(self.value - Z * np.sqrt(self.variance), 0.0)

    @property
    def high(self) -> Values:
        """Upper end of the interval."""
        return self.value + Z * np.sqrt(self.variance)


@dataclass(frozen=True)
class Lift:
    """Relative difference of an arm's rate to the control's.

    Attributes:
        value: the difference as a fraction of the control's rate.
        low, high: ends of the interval of 95 % by Fieller, which has 0 inside exactly if p > 0.05;
            NaN while the control's rate may be 0.
        p: two-sided p-value of the difference of the rates, for one look at a time fixed before.
    """

    value: Values
    low: Values
    high: Values
    p: Values


def rate(moments: Moments) -> Rate:
    """The rate of an arm."""
    users, x, y, xx, xy, yy = (np.asarray(each, np.float64) for each in moments)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = y / x
        residuals = np.maximum(yy - 2 * value * xy + value**2 * xx, 0.0)
        variance = users / (users - 1) * residuals / x**2
    return Rate(value, variance)


def lift(control: Rate, treated: Rate) -> Lift:
    """Compare the rates of two arms."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = treated.value / control.value - 1
        z = (treated.value - control.value) / np.sqrt(treated.variance + control.variance)
        # Ends: the ratios r for which treated - r · control would have |z| = Z.
        a = control.value**2 - Z**2 * control.variance
        b = control.value * treated.value
        c = treated.value**2 - Z**2 * treated.variance
        a = np.where(a > 0, a, np.nan)
        half = np.sqrt(b**2 - a * c)
    return Lift(value, (b - half) / a - 1, (b + half) / a - 1, 2 * stats.norm.sf(np.abs(z)))


def share_p(users: ArrayLike, shares: ArrayLike) -> Any:
    """p-value of the numbers of users [..., A], if the shares of the arms are those asked for [A].

    Pearson's χ² test; 1 without users. Below MISMATCH, something else than chance decides who is
    counted in which arm, and the rates must not be compared.
    """
    counts, wanted = np.asarray(users, np.float64), np.asarray(shares, np.float64)
    expected = counts.sum(-1, keepdims=True) * (wanted / wanted.sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = ((counts - expected) ** 2 / expected).sum(-1)
    return stats.chi2.sf(np.nan_to_num(distance), max(counts.shape[-1] - 1, 1))
