import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.benchmark.estimates import median, ratio

SECONDS = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20)


@given(SECONDS)
def test_the_median_lies_in_its_interval_and_that_in_the_range(values: list[float]) -> None:
    found = median(values)
    assert found["value"] == np.median(values)
    assert min(values) <= found["low"] <= found["value"] <= found["high"] <= max(values)


def test_the_interval_covers_the_true_median_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    found = [median(generator.lognormal(size=15).tolist()) for _ in range(200)]
    assert 0.88 < np.mean([one["low"] <= 1.0 <= one["high"] for one in found]) < 0.99


def test_a_ratio_is_of_the_same_repetition() -> None:
    # The machine is ten times slower now and then, and always for both.
    weather = np.array([1.0, 10.0, 1.0, 10.0, 1.0])
    found = ratio((6 * weather).tolist(), (2 * weather).tolist())
    assert found == {"value": 3.0, "low": 3.0, "high": 3.0}


@given(SECONDS)
def test_a_ratio_turned_round_is_its_inverse(values: list[float]) -> None:
    others = list(reversed(values))
    if len(values) % 2:
        assert ratio(values, others)["value"] == pytest.approx(1 / ratio(others, values)["value"])


def test_repetitions_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="2 and 1 repetitions"):
        ratio([1.0, 2.0], [1.0])
