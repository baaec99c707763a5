import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from pipeline.diffusion.feature_scales import Scales
from pipeline.diffusion.objectives import OBJECTIVES
from pipeline.study.config import Objective, RunConfig, run_config

SCALES = Scales(coordinates=1.4, types=0.1, charges=0.5, elements=(1, 6, 7, 8, 9))


def run_of(objective: Objective, **settings: Any) -> RunConfig:
    raw = {"name": "fake", "data": "test", "objective": objective, "training": {"steps": 1000}}
    return run_config(raw | settings)


def test_a_running_training_is_sampled_as_its_weights_will_be() -> None:
    few = {"levels": {"mean": -0.7, "std": 1.1, "sigma_max": 12.0}}
    kinds = {"edm": ("heun", 12), "denoiser": ("heun", 12), "consistency": ("consistency", 1)}
    found = {
        objective: traits.progress_sampler(run_of(objective, **few))
        for objective, traits in OBJECTIVES.items()
        if traits.progress_sampler
    }
    assert {objective: (sampler.kind, sampler.steps) for objective, sampler in found.items()} == kinds
    # From noise that it was trained on: two standard deviations above the middle, where there is as much.
    assert found["consistency"].levels == pytest.approx((math.exp(1.5),))
    low = OBJECTIVES["consistency"].progress_sampler
    assert low is not None
    assert low(run_of("consistency", levels={"sigma_max": 3.0})).levels == (3.0,)


def test_steps_of_edm_are_drawn_evenly_from_0_to_T() -> None:
    run = run_of("edm", noise={"steps": 4})
    t, r, weight = OBJECTIVES["edm"].draw_levels(np.random.default_rng(0), 5000, run, SCALES, 0.5)
    assert t.dtype == np.int32
    assert r is None and weight is None
    counts = np.bincount(t, minlength=5)
    assert len(counts) == 5
    assert stats.chisquare(counts).pvalue > 1e-3


def test_edm_alone_has_the_charge_among_its_features_and_a_schedule() -> None:
    for elements in ((1, 6, 7, 8, 9), tuple(range(16))):
        extra = {name: traits.features(elements) - len(elements) for name, traits in OBJECTIVES.items()}
        assert extra == {"edm": 1, "denoiser": 0, "consistency": 0, "property": 0}
    assert [name for name, traits in OBJECTIVES.items() if traits.schedule] == ["edm"]
