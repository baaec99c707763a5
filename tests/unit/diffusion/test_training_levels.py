import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline.diffusion.feature_scales import Scales
from pipeline.diffusion.training_levels import (
    gap,
    lognormal,
    pair_weight,
    pairs,
    stage,
)
from pipeline.study.config import ConsistencyConfig, LevelsConfig, RunConfig, run_config

SCALES = Scales(coordinates=1.4, types=0.1, charges=0.5, elements=(1, 6, 7, 8, 9))


def run_of(**run: Any) -> RunConfig:
    default = {"objective": "consistency", "training": {"steps": 1000}}
    return run_config({"name": "run", "data": "qm9"} | default | run)


LEVELS: LevelsConfig = run_of().levels
CONSISTENCY: ConsistencyConfig = run_of().consistency


def levels_of(**changes: Any) -> LevelsConfig:
    return LEVELS.model_copy(update=changes)


def consistency_of(**changes: Any) -> ConsistencyConfig:
    return CONSISTENCY.model_copy(update=changes)


def probability(sigma: Any, config: LevelsConfig = LEVELS) -> Any:
    """Return the distribution function of a lognormal that is cut at sigma_min and sigma_max."""
    low, high, at = (
        stats.norm.cdf((np.log(edge) - config.mean) / config.std)
        for edge in (config.sigma_min, config.sigma_max, sigma)
    )
    return (at - low) / (high - low)


# --- lognormal --------------------------------------------------------------------------------------------------------


@given(
    st.integers(0, 10_000),
    st.integers(1, 100),
    st.floats(-3, 3),
    st.floats(0.1, 5),
    st.floats(1e-4, 1.0),
    st.floats(1.5, 1000),
)
def test_levels_lie_between_the_least_and_the_largest(
    seed: int, count: int, mean: float, std: float, low: float, high: float
) -> None:
    config = levels_of(mean=mean, std=std, sigma_min=low, sigma_max=high)
    found = lognormal(np.random.default_rng(seed), count, config)
    assert found.shape == (count,)
    assert (found >= low).all()
    assert (found <= high).all()


@pytest.mark.parametrize(("mean", "std"), [(-1.0, 1.5), (2.5, 2.0), (-6.0, 0.5)])
def test_a_level_has_the_distribution_wherever_it_is_in_the_batch(mean: float, std: float) -> None:
    config = levels_of(mean=mean, std=std)
    generator = np.random.default_rng(0)
    batches = np.stack([lognormal(generator, 4, config) for _ in range(2000)])
    for place in range(4):
        assert stats.kstest(probability(batches[:, place], config), "uniform").pvalue > 1e-3


@given(st.integers(0, 10_000), st.integers(1, 64))
def test_a_batch_covers_the_distribution_evenly(seed: int, count: int) -> None:
    found = lognormal(np.random.default_rng(seed), count, LEVELS)
    shares = probability(np.sort(found)) * count
    assert (shares > np.arange(count) - 1e-6).all()
    assert (shares < np.arange(count) + 1 + 1e-6).all()


# --- pairs ------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10_000), st.integers(1, 40), st.floats(0, 1))
def test_a_pair_is_a_level_and_one_below_it(seed: int, count: int, progress: float) -> None:
    t, r = pairs(np.random.default_rng(seed), count, LEVELS, consistency_of(kind="tuning"), progress=progress)
    assert t.shape == r.shape == (count,)
    assert (t > r).all()
    assert (r >= 0.0).all()
    assert (t <= LEVELS.sigma_max).all()
    # As 32-bit numbers too, which is what a loss sees.
    assert (t.astype(np.float32) > r.astype(np.float32)).all()


@given(st.integers(0, 10), st.integers(0, 10))
def test_the_stages_of_the_curriculum_rise_and_are_equally_long(first: int, more: int) -> None:
    config = consistency_of(first_stage=first, last_stage=first + more)
    steps = 60 * (more + 1)
    stages = [stage(config, step / steps) for step in range(steps + 1)]
    assert stages == sorted(stages)
    assert stages[0] == first
    assert stages[-1] == first + more
    counts = np.bincount(stages[:-1], minlength=first + more + 1)[first:]
    # A step may fall on either side for rounding.
    assert (np.abs(counts - 60) <= 1).all()


@given(st.floats(1e-3, 1e4), st.integers(1, 12), st.floats(1.5, 4))
def test_the_gap_is_the_published_one_and_closes(t: float, later: int, q: float) -> None:
    now, after = (float(gap(np.array(t), stage=number, q=q)) for number in (later - 1, later))
    sigmoid = 1 / (1 + math.exp(min(t, 700)))
    assert after == pytest.approx(min(1.0, (1 + 8 * sigmoid) / q**later))
    assert 0 < after <= now <= 1
    # In the end r / t = 1 - 1 / q^stage at large levels.
    assert float(gap(np.array(1e3), stage=later, q=q)) == pytest.approx(q**-later)


def test_distillation_compares_the_first_level_of_its_path_with_the_end() -> None:
    config = consistency_of(kind="distillation", path=(2.0, 0.5))
    t, r = pairs(np.random.default_rng(0), 3, LEVELS, config, progress=0.0)
    assert (t.tolist(), r.tolist()) == ([2.0] * 3, [0.0] * 3)
    assert pair_weight(t, r, config, SCALES).tolist() == [1.0] * 3


def test_levels_below_the_anchor_are_compared_with_the_data() -> None:
    config = consistency_of(kind="tuning", first_stage=8, last_stage=8, anchor=0.3)
    t, r = pairs(np.random.default_rng(0), 500, LEVELS, config, progress=0.0)
    assert ((r == 0) == (t < 0.3)).all()
    assert 0 < (r == 0).sum() < 500


def test_weights_of_pairs() -> None:
    t, r = np.array([0.4, 2.0, 9.0]), np.array([0.0, 0.8, 7.5])
    np.testing.assert_allclose(pair_weight(t, r, consistency_of(kind="tuning"), SCALES), 1 / (t - r))
    # One over c_out of the coordinates.
    unit = pair_weight(t, r, consistency_of(kind="tuning", weight="unit"), SCALES)
    np.testing.assert_allclose(unit, np.sqrt(t**2 + 1.4**2) / (t * 1.4))


def test_the_first_stage_compares_with_the_data() -> None:
    config = consistency_of(kind="tuning", first_stage=0, last_stage=3)
    assert (pairs(np.random.default_rng(0), 500, LEVELS, config, progress=0.0)[1] == 0).all()
    # Later it does so at small levels only.
    t, r = pairs(np.random.default_rng(0), 500, LEVELS, config, progress=0.6)
    assert (r == 0).any()
    assert (r > 0).any()
    assert t[r == 0].max() < t[r > 0].min()
