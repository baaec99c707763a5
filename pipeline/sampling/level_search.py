"""The noise levels of a few-step sampler, found by trying them.

A sampler of S calls starts at a first level and goes on through S - 1 more, spaced like Karras's (arXiv 2206.00364,
eq. 5) between a second and a last level with an exponent. These four numbers are searched for one after the other,
around the best for fewer calls, until none of them improves the score. Fewer is always the next smaller power of two
(``fewer_calls``), so that what is found for S does not depend on which other S are of interest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Final

import numpy as np

from pipeline.diffusion.schedules import karras_levels

# Most rounds over the four numbers; one where many calls take time and fewer calls have told where to look.
SWEEPS: Final = 6
SWEEPS_OF_MANY: Final = 1
FEW_CALLS: Final = 4
FACTORS: Final = (0.5, 0.71, 1.41, 2.0)
EXPONENTS: Final = (1.0, 2.0, 3.5, 7.0)

Score = Callable[[tuple[float, ...]], float]


@dataclass(frozen=True)
class Spacing:
    """Levels in four numbers: the first, the second and the last level, and the exponent of the spacing between."""

    first: float
    second: float
    last: float
    rho: float

    def levels(self, calls: int) -> tuple[float, ...]:
        """Return the levels of a sampler of so many calls, descending."""
        if calls == 1:
            return (self.first,)
        spaced = karras_levels(steps=calls - 1, sigma_min=self.last, sigma_max=self.second, rho=self.rho)[:-1]
        return (self.first, *(round(float(level), 6) for level in spaced))

    def is_descending(self, calls: int) -> bool:
        """Return whether the levels fall."""
        return bool((np.diff(self.levels(calls)) < 0).all())


# Of eight calls and more of the released models: the best for four calls and scores of few molecules do not lead there.
WIDE: Final = Spacing(first=2.5, second=1.06, last=0.12, rho=3.5)


def fewer_calls(calls: int) -> int | None:
    """Return the number of calls whose best levels a search starts around; None for one call."""
    return 1 << (calls - 1).bit_length() - 1 if calls > 1 else None


def search(score: Score, calls: int, *, sigma_max: float, start: Spacing | None = None) -> tuple[Spacing, float]:
    """Return the best spacing found for a number of calls, and the score of its levels.

    Args:
      score: of levels; higher is better, and the same for the same levels.
      calls: number of calls.
      sigma_max: the level of pure noise in training; no level is above it.
      start: the best for ``fewer_calls``; None starts from pure noise.
    """
    best = start or Spacing(first=sigma_max, second=sigma_max / 10, last=sigma_max / 10, rho=3.5)
    if start and fewer_calls(calls) == 1:
        # The levels after a low first one lie below it.
        low = min(best.second, best.first / 2)
        best = replace(best, second=low, last=low)
    if calls > 2 and best.last == best.second:
        # Two levels and more now lie between second and last.
        best = replace(best, second=min(1.5 * best.second, best.first / 1.5), last=best.second / 3)
    starts, many = [best], start is not None and calls > FEW_CALLS
    if many and WIDE.first <= sigma_max:
        starts.append(WIDE)
    return _improve(score, starts, calls, sigma_max=sigma_max, sweeps=SWEEPS_OF_MANY if many else SWEEPS)


def _improve(
    score: Score, starts: Sequence[Spacing], calls: int, *, sigma_max: float, sweeps: int
) -> tuple[Spacing, float]:
    """Return the best spacing for a number of calls near the best of ``starts``, and its score."""
    tried: dict[tuple[float, ...], float] = {}

    def value(spacing: Spacing) -> float:
        levels = spacing.levels(calls)
        if levels not in tried:
            tried[levels] = score(levels)
        return tried[levels]

    best = max(starts, key=value)
    # The first S of the four numbers have a part in S levels.
    moves: list[Callable[[Spacing], list[Spacing]]] = [_anywhere] if calls == 1 else []
    moves += [partial(_moved, field.name, calls) for field in fields(Spacing)[:calls]]
    for _ in range(sweeps):
        before = best
        for move in moves:
            able = [one for one in move(best) if one.first <= sigma_max and one.is_descending(calls)]
            best = max([best, *able], key=value)
        if best == before:
            break
    return best, value(best)


def _anywhere(best: Spacing) -> list[Spacing]:
    """Return first levels all over the range: one call is cheap, and high levels may be equally good."""
    return [replace(best, first=part * best.first / 2**octave) for octave in range(5) for part in (1.0, FACTORS[1])]


def _moved(name: str, calls: int, best: Spacing) -> list[Spacing]:
    """Return the spacing with other values of one of its numbers."""
    values = EXPONENTS if name == "rho" else [factor * getattr(best, name) for factor in FACTORS]
    # The second of two levels is the last.
    names = ("second", "last") if name == "second" and calls == 2 else (name,)
    return [replace(best, **dict.fromkeys(names, value)) for value in values]
