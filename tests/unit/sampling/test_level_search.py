import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sampling.level_search import Spacing, search

SIGMA_MAX = 20.0


class Toy:
    """A score that is best at certain levels, and falls with the distance from them; it keeps what it was asked."""

    def __init__(self, best: dict[int, tuple[float, ...]]):
        self._best = best
        self.asked: list[tuple[float, ...]] = []

    def __call__(self, levels: tuple[float, ...]) -> float:
        self.asked.append(levels)
        best = self._best[len(levels)]
        return -sum(math.log(level / goal) ** 2 for level, goal in zip(levels, best, strict=True))


@pytest.mark.parametrize("first", [20.0, 10.0, 14.2, 5.0])
@pytest.mark.parametrize("second", [2.0, 1.0, 0.5])
def test_the_best_levels_are_found(first: float, second: float) -> None:
    best = {1: (first,), 2: (first, second)}
    found = search(Toy(best), [1, 2], sigma_max=SIGMA_MAX)
    assert found.keys() == {1, 2}
    for calls, (levels, score) in found.items():
        assert levels == pytest.approx(best[calls])
        assert score == pytest.approx(0.0)


def test_one_call_finds_a_low_level_beyond_a_plateau() -> None:
    found = search(lambda levels: float(levels[0] < 2.0), [1, 2, 4], sigma_max=SIGMA_MAX)
    assert found[1] == ((1.775,), 1.0)
    for levels, _ in found.values():
        assert all(before > after for before, after in pairwise(levels))


def test_levels_of_many_calls_come_near_the_best_ones() -> None:
    best: dict[int, tuple[float, ...]] = {8: (14.0, 4.0, 2.0, 1.0, 0.6, 0.3, 0.15, 0.07)}
    alone = Toy(best)
    score = search(alone, [8], sigma_max=SIGMA_MAX)[8][1]
    assert score > 0.3 * alone(alone.asked[0])
    # From the best of fewer calls, near with a single round.
    fewer: dict[int, tuple[float, ...]] = {1: (14.0,), 2: (14.0, 0.07), 4: (14.0, 2.4, 0.4, 0.07)}
    assert search(Toy(best | fewer), [8, 1, 4, 2], sigma_max=SIGMA_MAX)[8][1] > -0.2


@given(st.integers(0, 1000), st.lists(st.integers(1, 16), min_size=1, max_size=5), st.floats(0.5, 100))
def test_whatever_the_score_levels_descend_from_at_most_the_largest(
    seed: int, calls: list[int], sigma_max: float
) -> None:
    asked: dict[int, list[tuple[float, ...]]] = {count: [] for count in calls}

    def score(levels: tuple[float, ...]) -> float:
        asked[len(levels)].append(levels)
        return float(np.random.default_rng((seed, *(int(1e6 * level) for level in levels))).random())

    found = search(score, calls, sigma_max=sigma_max)
    assert list(found) == sorted(set(calls))
    for count, tried in asked.items():
        # None is tried twice for one number of calls, for a try takes seconds.
        assert len(set(tried)) == len(tried)
        for levels in tried:
            assert len(levels) == count
            assert levels[0] <= sigma_max
            assert levels[-1] > 0
            assert all(before > after for before, after in pairwise(levels))
        assert found[count][0] in tried
        assert found[count][1] == max(score(levels) for levels in set(tried))


def test_the_search_starts_from_pure_noise_and_stays_where_nothing_is_better() -> None:
    found = search(lambda levels: 0.5, [1, 2, 3], sigma_max=SIGMA_MAX)
    assert found[1] == ((20.0,), 0.5)
    assert found[2] == ((20.0, 2.0), 0.5)
    assert found[3][0] == pytest.approx((20.0, 3.0, 2 / 3), rel=1e-5)


def test_a_spacing_is_karras_and_others_between_second_and_last() -> None:
    spacing = Spacing(first=20.0, second=4.0, last=0.25, rho=2.0)
    assert spacing.levels(1) == (20.0,)
    assert spacing.levels(2) == (20.0, 4.0)
    assert spacing.levels(4) == pytest.approx((20.0, 4.0, 1.25**2, 0.25))
    assert spacing.is_descending(4)
    assert not Spacing(first=4.0, second=4.0, last=0.25, rho=2.0).is_descending(2)
    assert not Spacing(first=20.0, second=0.25, last=0.25, rho=2.0).is_descending(3)
