import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.chemistry.intervals import Estimate, Resampling, bootstrap


def one(numerator: npt.ArrayLike, denominator: npt.ArrayLike, replicates: int = 500, seed: int = 0) -> Estimate:
    """The estimate of a ratio that has one."""
    estimate = maybe(numerator, denominator, replicates, seed)
    assert estimate is not None
    return estimate


def maybe(
    numerator: npt.ArrayLike, denominator: npt.ArrayLike, replicates: int = 500, seed: int = 0
) -> Estimate | None:
    return bootstrap({"x": (numerator, denominator)}, Resampling(replicates, seed))["x"]


def test_value_is_the_ratio_of_the_sums() -> None:
    assert one([1, 2, 3], [4, 4, 10]).value == pytest.approx(6 / 18)


def test_interval_is_that_of_a_fraction() -> None:
    generator = np.random.default_rng(0)
    hits = generator.random(2000) < 0.3
    estimate = one(hits, np.ones(2000), replicates=2000)
    spread = 1.96 * np.sqrt(estimate.value * (1 - estimate.value) / 2000)
    assert estimate.low == pytest.approx(estimate.value - spread, abs=0.15 * spread)
    assert estimate.high == pytest.approx(estimate.value + spread, abs=0.15 * spread)


def test_covers_the_truth_19_times_out_of_20() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        sizes = generator.integers(5, 30, 100)
        # Atoms of one molecule stand and fall together: an interval over atoms would be far too narrow.
        quality = generator.beta(2, 1, 100)
        estimate = one(generator.binomial(sizes, quality), sizes, replicates=200)
        covered += estimate.low <= 2 / 3 <= estimate.high
    assert 270 <= covered <= 298


def test_what_was_never_seen_is_not_impossible() -> None:
    never = one(np.zeros(1000), np.ones(1000))
    assert (never.value, never.low) == (0, 0)
    assert never.high == pytest.approx(0.00368, abs=1e-5)  # Clopper and Pearson
    always = one(np.ones(1000), np.ones(1000))
    assert (always.value, always.high) == (1, 1)
    assert always.low == pytest.approx(1 - 0.00368, abs=1e-5)


def test_nothing_to_divide_by_is_no_estimate() -> None:
    assert maybe([0, 0], [0, 0]) is None
    assert maybe([], []) is None


def test_units_that_do_not_count_are_no_evidence() -> None:
    few = one([0, 0, 0, 0], [1, 0, 0, 0])
    assert few.high == pytest.approx(0.975)


def test_the_seed_decides() -> None:
    hits = np.random.default_rng(0).random(50) < 0.5
    assert one(hits, np.ones(50)) == one(hits, np.ones(50))
    assert one(hits, np.ones(50)) != one(hits, np.ones(50), seed=1)


@settings(max_examples=50, deadline=None)
@given(pairs=st.lists(st.integers(0, 9).flatmap(lambda d: st.tuples(st.integers(0, d), st.just(d))), max_size=30))
def test_the_value_lies_in_its_interval_between_0_and_1(pairs: list[tuple[int, int]]) -> None:
    numerator, denominator = np.array(pairs).reshape(-1, 2).T
    estimate = maybe(numerator, denominator, replicates=20)
    if denominator.sum():
        assert estimate is not None
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    else:
        assert estimate is None


def test_json() -> None:
    assert Estimate(0.5, 0.25, 0.75).to_json() == {"value": 0.5, "low": 0.25, "high": 0.75}
