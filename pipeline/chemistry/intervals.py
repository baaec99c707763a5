"""Fractions, medians and means with a 95 % interval."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

_LEVEL: Final = 0.95
Z95: Final = 1.959964
"""Standard deviations within which a normal distribution has 95 % of its mass."""


@dataclass(frozen=True)
class Estimate:
    """A statistic, usually a fraction, with its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Estimate":
        """Return the estimate multiplied by a positive factor."""
        return Estimate(factor * self.value, factor * self.low, factor * self.high)

    def to_json(self) -> dict[str, float]:
        """Return the estimate as in ``metrics.json``."""
        return {"value": self.value, "low": self.low, "high": self.high}


class Resampling(NamedTuple):
    """How a bootstrap draws."""

    replicates: int = 1000
    """2 or more for an interval."""
    seed: int = 0


USUAL: Final = Resampling()
"""Of metrics, if nobody asks for another."""


def bootstrap(
    ratios: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]], resampling: Resampling
) -> dict[str, Estimate | None]:
    """Return every ratio with its interval by the percentile bootstrap (Efron 1979) over units.

    All ratios use the same units in each replicate.

    Resamples contain only what the sample contains, so a bootstrap of 0 of 1000 would give the interval [0, 0]. If the
    value is 0 or 1, the far end of the interval is therefore that of the exact binomial interval (Clopper and Pearson
    1934): up to 0.37 % for 0 of 1000.

    Args:
      ratios: numerators and denominators by name, [U] each, one per unit; the ratio is that of their sums. Each
        numerator is between 0 and its denominator.
      resampling: how to draw.

    Returns:
      An estimate for each name, None if the denominators add up to 0.
    """
    columns = {name: np.asarray(pair, dtype=np.float64) for name, pair in ratios.items()}
    sums = np.stack([column.sum(axis=1) for column in columns.values()])
    table = np.concatenate(list(columns.values())).T  # [U, 2 K]: numerator, denominator, numerator, ...
    resampled = _resampled_sums(table, *resampling).reshape(resampling.replicates, -1, 2)
    estimates: dict[str, Estimate | None] = {}
    for index, (name, column) in enumerate(columns.items()):
        numerator, denominator = sums[index]
        if denominator == 0:
            estimates[name] = None
            continue
        value = numerator / denominator
        # Ignore resamples without any unit that counts.
        drawn = resampled[resampled[:, index, 1] > 0, index]
        low, high = _percentiles(drawn[:, 0] / drawn[:, 1]) if len(drawn) else (value, value)
        unseen = 1 - ((1 - _LEVEL) / 2) ** (1 / np.count_nonzero(column[1]))
        low = 1 - unseen if value == 1 else min(low, value)
        high = unseen if value == 0 else max(high, value)
        estimates[name] = Estimate(value=float(value), low=float(low), high=float(high))
    return estimates


def bootstrap_median(values: npt.NDArray[np.float64], resampling: Resampling) -> Estimate:
    """Return the median of at least one value, [K], with its percentile bootstrap interval."""
    generator = np.random.default_rng(resampling.seed)
    drawn = [np.median(generator.choice(values, size=len(values))) for _ in range(resampling.replicates)]
    low, high = _percentiles(np.array(drawn))
    middle = float(np.median(values))
    return Estimate(value=middle, low=min(low, middle), high=max(high, middle))


def mean_estimate(values: npt.NDArray[np.float64]) -> Estimate:
    """Return the mean of many values, [K], with its interval from the standard error."""
    mean, margin = float(values.mean()), Z95 * float(values.std()) / len(values) ** 0.5
    return Estimate(value=mean, low=mean - margin, high=mean + margin)


def _percentiles(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


def _resampled_sums(table: npt.NDArray[np.float64], replicates: int, seed: int) -> npt.NDArray[np.float64]:
    """Return [R, C] sums of ``table``, [U, C], over U of its rows drawn with replacement, R times."""
    generator = np.random.default_rng(seed)
    units = len(table)
    sums = np.zeros((replicates, table.shape[1]))
    for replicate in range(replicates if units else 0):
        counts = np.bincount(generator.integers(units, size=units), minlength=units)
        sums[replicate] = counts @ table
    return sums
