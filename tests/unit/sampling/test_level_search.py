import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sampling.level_search import WIDE, Score, Spacing, fewer_calls, search

SIGMA_MAX = 20.0


def chain(score: Score, last: int) -> dict[int, tuple[tuple[float, ...], float]]:
    """Return the levels and scores of a number of calls and of all that its search starts from."""
    found, start = {}, None
    for calls in [*(2**power for power in range(5) if 2**power < last), last]:
        start, value = search(score, calls, sigma_max=SIGMA_MAX, start=start)
        found[calls] = (start.levels(calls), value)
    return found


class Toy:
    """A score that is best at certain levels, and falls with the distance from them; it records its inputs."""

    def __init__(self, best: dict[int, tuple[float, ...]]):
        self._best = best
        self.recorded: list[tuple[float, ...]] = []

    def __call__(self, levels: tuple[float, ...]) -> float:
        self.recorded.append(levels)
        best = self._best[len(levels)]
        return -sum(math.log(level / goal) ** 2 for level, goal in zip(levels, best, strict=True))


@pytest.mark.parametrize("first", [20.0, 10.0, 14.2, 5.0])
@pytest.mark.parametrize("second", [2.0, 1.0, 0.5])
def test_the_best_levels_are_found(first: float, second: float) -> None:
    best = {1: (first,), 2: (first, second)}
    found = chain(Toy(best), 2)
    assert found.keys() == {1, 2}
    for calls, (levels, score) in found.items():
        assert levels == pytest.approx(best[calls])
        assert score == pytest.approx(0.0)


def test_one_call_finds_a_low_level_beyond_a_plateau() -> None:
    found = chain(lambda levels: float(levels[0] < 2.0), 4)
    assert found[1] == ((1.775,), 1.0)
    for levels, _ in found.values():
        assert all(before > after for before, after in pairwise(levels))


def test_levels_of_many_calls_come_near_the_best_ones() -> None:
    best: dict[int, tuple[float, ...]] = {8: (14.0, 4.0, 2.0, 1.0, 0.6, 0.3, 0.15, 0.07)}
    alone = Toy(best)
    score = search(alone, 8, sigma_max=SIGMA_MAX)[1]
    assert score > 0.3 * alone(alone.recorded[0])
    # From the best of fewer calls, near with a single round.
    fewer: dict[int, tuple[float, ...]] = {1: (14.0,), 2: (14.0, 0.07), 4: (14.0, 2.4, 0.4, 0.07)}
    assert chain(Toy(best | fewer), 8)[8][1] > -0.2


@given(st.integers(0, 1000), st.integers(1, 16), st.booleans())
def test_whatever_the_score_levels_descend_from_at_most_the_largest(seed: int, calls: int, started: bool) -> None:
    recorded: list[tuple[float, ...]] = []

    def score(levels: tuple[float, ...]) -> float:
        recorded.append(levels)
        return float(np.random.default_rng((seed, *(int(1e6 * level) for level in levels))).random())

    if started:
        levels, best = chain(score, calls)[calls]
    else:
        spacing, best = search(score, calls, sigma_max=SIGMA_MAX)
        levels = spacing.levels(calls)
    # None is tried twice for one number of calls, for a try takes seconds.
    assert len(set(recorded)) == len(recorded)
    for tried in recorded:
        assert tried[0] <= SIGMA_MAX and tried[-1] > 0
        assert all(before > after for before, after in pairwise(tried))
    assert best == max(score(tried) for tried in set(recorded) if len(tried) == calls)
    assert score(levels) == best


def test_a_search_starts_from_the_next_smaller_power_of_two() -> None:
    assert [fewer_calls(calls) for calls in (1, 2, 3, 4, 5, 8, 9, 32)] == [None, 1, 2, 2, 4, 4, 8, 16]


def test_the_search_starts_from_pure_noise_and_stays_where_nothing_is_better() -> None:
    found = chain(lambda levels: 0.5, 3)
    assert found[1] == ((20.0,), 0.5)
    assert found[2] == ((20.0, 2.0), 0.5)
    assert found[3][0] == pytest.approx((20.0, 3.0, 2 / 3), rel=1e-5)


def test_from_eight_calls_on_the_released_levels_are_tried_too() -> None:
    of_four = Spacing(first=5.0, second=0.5, last=0.1, rho=3.5)
    released = WIDE.levels(8)
    assert search(lambda levels: float(levels == released), 8, sigma_max=SIGMA_MAX, start=of_four)[0] == WIDE
    # Not where they are no better, nor above the levels of the training.
    assert search(lambda _: 0.0, 8, sigma_max=SIGMA_MAX, start=of_four)[0] == of_four
    low = replace(of_four, first=0.6)
    assert search(lambda levels: float(levels == released), 8, sigma_max=1.0, start=low)[0] == low


def test_a_spacing_is_karras_and_others_between_second_and_last() -> None:
    spacing = Spacing(first=20.0, second=4.0, last=0.25, rho=2.0)
    assert spacing.levels(1) == (20.0,)
    assert spacing.levels(2) == (20.0, 4.0)
    assert spacing.levels(4) == pytest.approx((20.0, 4.0, 1.25**2, 0.25))
    assert spacing.is_descending(4)
    assert not Spacing(first=4.0, second=4.0, last=0.25, rho=2.0).is_descending(2)
    assert not Spacing(first=20.0, second=0.25, last=0.25, rho=2.0).is_descending(3)
