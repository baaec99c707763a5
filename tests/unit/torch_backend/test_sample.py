from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.config import RunConfig, sampler_config
from pipeline.data.statistics import Statistics
from pipeline.torch_backend.build import build_objective
from pipeline.torch_backend.parallel import Workers
from pipeline.torch_backend.runtime import Machine
from pipeline.torch_backend.sample import Sampler

SIZES = np.array([9, 18, 5, 29, 18], np.int32)


@pytest.fixture(params=["heun", "ddim", "ancestral"])
def make_sampler(
    request: pytest.FixtureRequest, make_config: Callable[..., RunConfig], data: Any
) -> Callable[..., Sampler]:
    statistics: Statistics = data.read()[1]
    objective = build_objective(make_config(), statistics)
    config = sampler_config({"name": "any", "kind": request.param, "steps": 4, "seed": 3})

    def make(*, cores: int = 2, batch: int = 8, broken: bool = False) -> Sampler:
        if broken:
            objective.model.get_parameter("output.bias").data.fill_(np.nan)
        workers = Workers(Machine(torch.device("cpu"), cores=cores, compile=False))
        return Sampler(objective, config, workers, widest=29, batch=batch)

    return make


def test_a_molecule_is_its_number_s(make_sampler: Callable[..., Sampler]) -> None:
    many = make_sampler()(SIZES, buckets=[18, 29]).molecules
    # Fewer at a time, by one core, and padded further.
    again = make_sampler(cores=1, batch=2)(SIZES[:3], buckets=[29]).molecules
    for place in range(3):
        np.testing.assert_array_equal(many[place][0], again[place][0])
        np.testing.assert_allclose(many[place][1], again[place][1], atol=1e-3)
    assert np.abs(many[1][1] - many[4][1]).max() > 0.1


def test_samples_have_their_sizes_and_no_centre_of_mass(make_sampler: Callable[..., Sampler]) -> None:
    samples = make_sampler()(SIZES, buckets=[18, 29])
    assert samples.non_finite == 0
    assert samples.molecules.sizes.tolist() == SIZES.tolist()
    for place in range(len(SIZES)):
        assert np.abs(samples.molecules[place][1].mean(axis=0)).max() < 1e-4


def test_a_trajectory_ends_in_the_sample(make_sampler: Callable[..., Sampler]) -> None:
    sample = make_sampler()(np.array([9], np.int32), buckets=[9]).molecules
    frames, sigmas = make_sampler().trajectory(9, frames=3)
    assert len(frames) == 3 and sigmas[-1] == 0 and (np.diff(sigmas) < 0).all()
    np.testing.assert_allclose(frames[2][1], sample[0][1], atol=1e-4)


def test_samples_that_overflow_are_counted(make_sampler: Callable[..., Sampler]) -> None:
    assert make_sampler(broken=True)(SIZES, buckets=[29]).non_finite == len(SIZES)
