from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.data.statistics import Statistics
from pipeline.study.config import RunConfig, sampler_config
from pipeline.torch_backend.build import build_generative
from pipeline.torch_backend.parallel import Workers
from pipeline.torch_backend.runtime import Machine
from pipeline.torch_backend.sample import TorchSampler

SIZES = np.array([9, 18, 5, 29, 18], np.int32)


# Objective and sampler.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "heun": ("edm", {"kind": "heun", "steps": 4}),
    "ddim": ("edm", {"kind": "ddim", "steps": 4}),
    "ancestral": ("edm", {"kind": "ancestral", "steps": 4}),
    "heun, denoiser": ("denoiser", {"kind": "heun", "steps": 4}),
    "one step": ("consistency", {"kind": "consistency", "levels": [10.0]}),
    "three steps": ("consistency", {"kind": "consistency", "levels": [10.0, 2.0, 0.5]}),
}

MakeSampler = Callable[..., TorchSampler]


@pytest.fixture(params=KINDS)
def make_sampler(request: pytest.FixtureRequest, make_config: Callable[..., RunConfig], data: Any) -> MakeSampler:
    statistics: Statistics = data.read()[1]
    name, settings = KINDS[request.param]
    run = make_config().model_copy(update={"objective": name})
    objective = build_generative(run, statistics)
    config = sampler_config({"name": "any", "seed": 3} | settings)

    def make(
        *, cores: int = 2, batch: int = 8, buckets: Sequence[int] = (18, 29), broken: bool = False
    ) -> TorchSampler:
        if broken:
            objective.model.get_parameter("embedding.bias").data.fill_(np.nan)
        workers = Workers(Machine(torch.device("cpu"), cores=cores, compile=False))
        return TorchSampler(run, statistics, config, objective, workers, buckets=list(buckets), batch=batch)

    return make


def test_a_molecule_is_its_number_s(make_sampler: MakeSampler) -> None:
    many = make_sampler()(SIZES).molecules
    # Fewer at a time, by one core, and padded further.
    again = make_sampler(cores=1, batch=2, buckets=[29])(SIZES[:3]).molecules
    for place in range(3):
        np.testing.assert_array_equal(many[place][0], again[place][0])
        np.testing.assert_allclose(many[place][1], again[place][1], atol=1e-3)
    assert np.abs(many[1][1] - many[4][1]).max() > 0.1


def test_samples_have_their_sizes_and_no_centre_of_mass(make_sampler: MakeSampler) -> None:
    samples = make_sampler()(SIZES)
    assert samples.non_finite == 0
    assert samples.molecules.sizes.tolist() == SIZES.tolist()
    for place in range(len(SIZES)):
        assert np.abs(samples.molecules[place][1].mean(axis=0)).max() < 1e-4


def test_a_trajectory_ends_in_the_sample(make_sampler: MakeSampler) -> None:
    sample = make_sampler()(np.array([9], np.int32)).molecules
    frames, sigmas = make_sampler().trajectory(9, frames=3)
    assert 2 <= len(frames) <= 3 and sigmas[-1] == 0 and (np.diff(sigmas) < 0).all()
    np.testing.assert_allclose(frames[len(frames) - 1][1], sample[0][1], atol=1e-4)


def test_samples_that_overflow_are_counted(make_sampler: MakeSampler) -> None:
    assert make_sampler(broken=True)(SIZES).non_finite == len(SIZES)


@pytest.mark.parametrize("make_sampler", ["three steps"], indirect=True)
def test_other_levels_give_other_molecules(make_sampler: MakeSampler) -> None:
    sampler = make_sampler()
    own, other = sampler(SIZES).molecules, sampler.at((10.0, 2.0))(SIZES).molecules
    assert np.abs(own.positions - other.positions).max() > 0.1
    same = sampler.at((10.0, 2.0, 0.5))(SIZES).molecules
    np.testing.assert_array_equal(same.positions, own.positions)
