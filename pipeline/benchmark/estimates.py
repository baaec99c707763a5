"""Medians of repeated measurements with 95 % bootstrap intervals, and ratios of measurements of the same repetition."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

_QUANTILES: Final = (0.025, 0.975)
_REPLICATES: Final = 2000

Floats = npt.NDArray[np.float64]


def median(values: Sequence[float], *, seed: int = 0) -> dict[str, float]:
    """Return the median of ``values`` [R], one per repetition, and its interval: ``{"value", "low", "high"}``.

    The interval is the percentile bootstrap over repetitions; with few of them it is nearly their range.
    """
    return _estimate(lambda rows: np.median(np.asarray(values, np.float64)[rows], axis=-1), len(values), seed)


def ratio(numerators: Sequence[float], denominators: Sequence[float], *, seed: int = 0) -> dict[str, float]:
    """Return the median over repetitions of the ratio of two measurements made in the same repetition, [R] each.

    A temporary slowdown of the machine affects both, so this varies less than the ratio of the medians.

    Raises:
      ValueError: the numbers of repetitions differ.
    """
    if len(numerators) != len(denominators):
        raise ValueError(f"{len(numerators)} and {len(denominators)} repetitions cannot be paired")
    ratios = np.asarray(numerators, np.float64) / np.asarray(denominators, np.float64)
    return _estimate(lambda rows: np.median(ratios[rows], axis=-1), len(ratios), seed)


def _estimate(statistic: Callable[[npt.NDArray[np.int64]], Floats], count: int, seed: int) -> dict[str, float]:
    generator = np.random.default_rng(seed)
    low, high = np.quantile(statistic(generator.integers(count, size=(_REPLICATES, count))), _QUANTILES)
    return {"value": float(statistic(np.arange(count))), "low": float(low), "high": float(high)}
