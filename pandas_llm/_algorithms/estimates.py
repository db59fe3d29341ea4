"""Means and shares of a finite frame of which few rows are known, with intervals."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_TAIL: Final = 0.975
NORMAL: Final = NormalDist().inv_cdf(_TAIL)
"""Standard errors on each side of a 95 % interval."""
_EVEN: Final = 1e-9
_RARE: Final = 0.1
"""Shares below are covered in 66 to 96 % of draws by unlike chances, unless mended."""
_SERIES: Final = (
    ((0, 1, 0, 1), 4),
    ((0, 3, 0, 16, 0, 5), 96),
    ((0, -15, 0, 17, 0, 19, 0, 3), 384),
    ((0, -945, 0, -1920, 0, 1482, 0, 776, 0, 79), 92160),
)
"""Polynomials in the normal quantile, and what they are divided by."""


class Estimate(NamedTuple):
    """A mean, its variance, and the degrees of freedom that this was estimated with."""

    mean: float
    variance: float
    degrees: int
    rows: float
    """As many rows of an infinite population, drawn alike, would say as much."""
    even: bool
    """Whether all rows were drawn with one chance."""

    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval by Student's t."""
        reach = student(self.degrees) * math.sqrt(self.variance)
        return self.mean - reach, self.mean + reach

    def share_interval(self) -> tuple[float, float]:
        """Return the 95 % interval of a share by Wilson's form, within 0 and 1.

        Its size is that of a simple draw with this variance, or of the rows known
        where they are all alike, which shows no variance. Where chances are unlike,
        a few rows of a rare kind that were not drawn would have shown more: below a
        tenth the size lies between both.
        """
        share = min(max(self.mean, 0.0), 1.0)
        rows = share * (1 - share) / self.variance if self.variance > 0 else 0.0
        rows = max(rows, self.rows)
        if not self.even and min(share, 1 - share) < _RARE:
            rows = math.sqrt(rows * self.rows)
        return wilson(share, rows, student(self.degrees))


def wilson(share: float, rows: float, reach: float = NORMAL) -> tuple[float, float]:
    """Return Wilson's interval of a share of `rows` (Wilson 1927).

    >>> low, high = wilson(0.1, 50)
    >>> round(low, 3), round(high, 3)
    (0.043, 0.214)
    """
    if not rows > 0:
        return math.nan, math.nan
    pull = reach**2 / rows
    middle = (share + pull / 2) / (1 + pull)
    side = reach * math.sqrt(share * (1 - share) / rows + pull / (4 * rows))
    side /= 1 + pull
    return max(middle - side, 0.0), min(middle + side, 1.0)


def student(degrees: int) -> float:
    """Return the .975 quantile of Student's t; NaN without a degree of freedom.

    One and two degrees have closed forms; above, the series 26.7.5 of Abramowitz and
    Stegun (1964) is right to .2 % at 3 degrees, .01 % at 6.
    """
    if degrees < 1:
        return math.nan
    if degrees == 1:
        return math.tan(math.pi * (_TAIL - 0.5))
    if degrees == 2:  # noqa: PLR2004 - as above
        both = 2 * _TAIL - 1
        return both * math.sqrt(2 / (1 - both**2))
    terms = (
        np.polynomial.Polynomial(factors)(NORMAL) / by / degrees**power
        for power, (factors, by) in enumerate(_SERIES, 1)
    )
    return float(NORMAL + sum(terms))


def drawn_mean(
    values: Floats, chance: Floats, weights: Floats, lost: int = 1
) -> Estimate:
    """Return the mean over a frame of rows drawn with some chance each.

    Hájek's estimator (1971), with the variance of a draw of fixed size: rows that
    were sure to be drawn add nothing to it. Weights are 1 / `chance` but where two
    draws are put together; `lost` degrees of freedom are gone.
    """
    weights = weights / weights.sum()
    rows, mean = len(values), float(weights @ values)
    degrees = rows - lost
    if degrees < 1:
        return Estimate(mean, math.nan, degrees, math.nan, even=True)
    left = 1 - chance
    errors = weights * (values - mean)
    variance = float(left @ errors**2) * rows / degrees
    alike = float(left @ weights**2)  # its variance, were they of variance 1
    size = 1 / alike if alike else math.inf
    return Estimate(mean, variance, degrees, size, even=bool(np.ptp(chance) < _EVEN))


def tuned_mean(
    predicted: Floats,
    truth: Floats,
    places: NDArray[np.intp],
    chance: Floats,
    weights: Floats,
) -> tuple[Estimate, float]:
    """Return the mean of the truth by prediction-powered inference, and its λ.

    PPI++ (Angelopoulos, Duchi, Zrnic 2023) in a frame of which all rows are told and
    those at `places` are known: ``λ mean(told) + mean(truth - λ told)``, with ``λ =
    cov(truth, told) / var(told)`` held in [0, 1]. It costs a degree of freedom more.
    """
    seen, weights = predicted[places], weights / weights.sum()
    off = seen - weights @ seen
    spread = float(weights @ off**2)
    power = float(weights @ (off * truth)) / spread if spread > 0 else 0.0
    power = min(max(power, 0.0), 1.0)
    left = drawn_mean(truth - power * seen, chance, weights, lost=2 if power else 1)
    return left._replace(mean=left.mean + power * float(predicted.mean())), power


def review_chances(doubt: Floats, k: int) -> Floats:
    """Return each row's chance to be one of `k`: half evenly, half by its doubt."""
    rows = len(doubt)
    parts = doubt / doubt.sum() if doubt.any() else np.full(rows, 1 / rows)
    chance: Floats = k * (0.5 / rows + 0.5 * parts)
    sure = np.zeros(rows, bool)
    while (above := ~sure & (chance > 1 - _EVEN)).any():
        sure |= above
        chance[sure] = 1.0
        left = chance[~sure]
        chance[~sure] = left * ((k - sure.sum()) / max(left.sum(), _EVEN))
    return chance


def systematic(chance: Floats, dice: np.random.Generator) -> NDArray[np.intp]:
    """Draw as many rows as the chances sum to, in random order at even steps."""
    order = dice.permutation(len(chance))
    steps = np.cumsum(chance[order])
    steps[-1] = round(steps[-1])
    crossed = np.diff(np.floor(np.r_[0.0, steps] + dice.random())) > 0
    return np.sort(order[crossed])


def mcnemar(better: int, worse: int) -> float:
    """Return the exact two-sided p-value of McNemar's test (McNemar 1947).

    Of the rows on which two runs differ in being right, each is as likely to be the
    first's as the second's if both are equally good: a binomial tail, twice.

    >>> round(mcnemar(9, 1), 4)
    0.0215
    """
    rows = better + worse
    tail = [
        math.lgamma(rows + 1) - math.lgamma(k + 1) - math.lgamma(rows - k + 1)
        for k in range(min(better, worse) + 1)
    ]
    log = float(np.logaddexp.reduce(tail)) - rows * math.log(2)
    return min(1.0, 2 * math.exp(log))
