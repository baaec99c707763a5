from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from pipeline.chemistry.molecules import STAND_IN_SIZE, Molecules
from pipeline.data.statistics import Statistics
from pipeline.jax_backend.build import build_layout, build_objective
from pipeline.jax_backend.sample import JaxSampler
from pipeline.sampling.molecule_batches import Samples
from pipeline.study.config import RunConfig, SamplerConfig, sampler_config

HEUN = sampler_config({"name": "heun", "kind": "heun", "steps": 3, "sigma_min": 0.05})
SIZES = np.array([3, 7, 5, 2, 7, 6, 9, 4, 8, 5], np.int32)


class Model:
    """A network with random weights: enough to see what sampling does with it."""

    def __init__(self, run: RunConfig, statistics: Statistics):
        self._run, self._statistics = run, statistics
        size = build_layout(build_objective(run, statistics)).size
        self.weights = jnp.asarray(np.random.default_rng(0).normal(size=size) / 5, jnp.float32)

    def sampler(
        self, *, config: SamplerConfig = HEUN, batch: int = 4, bucket: int = 9, factor: float = 1.0
    ) -> JaxSampler:
        weights = self.weights * factor
        return JaxSampler(self._run, self._statistics, config, weights, batch=batch, buckets=[bucket])


@pytest.fixture(scope="module")
def model(data: Any, make_config: Callable[..., RunConfig]) -> Model:
    return Model(make_config(), data.read()[1])


@pytest.fixture(scope="module")
def samples(model: Model) -> Samples:
    return model.sampler()(SIZES)


def assert_close(found: Molecules, expected: Molecules) -> None:
    assert (found.sizes == expected.sizes).all()
    np.testing.assert_allclose(found.positions, expected.positions, atol=2e-3)
    assert (found.atomic_numbers == expected.atomic_numbers).all()


def test_samples_are_molecules_of_the_sizes_asked_for(samples: Samples) -> None:
    assert (samples.molecules.sizes == SIZES).all()
    assert samples.non_finite == 0
    assert samples.seconds > 0
    for _, positions in samples.molecules:
        np.testing.assert_allclose(positions.mean(0), 0, atol=1e-4)
        assert positions.std() > 0.1
    assert len(set(samples.molecules.atomic_numbers.tolist())) > 1


def test_a_sample_depends_on_its_number_and_size_alone(model: Model, samples: Samples) -> None:
    # In other batches, padded to another width, drawn for a wider one, and with other molecules beside it.
    assert_close(model.sampler(batch=2, bucket=12)(SIZES).molecules, samples.molecules)
    others = np.array([3, 9, 5, 4, 7, 2, 9, 9, 8, 2], np.int32)
    same = np.flatnonzero(others == SIZES)
    assert_close(model.sampler()(others).molecules.select(same), samples.molecules.select(same))
    assert_close(model.sampler()(SIZES[:3]).molecules, samples.molecules.select(np.arange(3)))


def test_another_seed_gives_other_molecules(model: Model, samples: Samples) -> None:
    other = model.sampler(config=HEUN.model_copy(update={"seed": 1}))(SIZES).molecules
    for (_, a), (_, b) in zip(other, samples.molecules, strict=True):
        assert np.abs(a - b).max() > 0.05
    # And so has another number.
    first, second = (samples.molecules[number][1] for number in (1, 4))
    assert np.abs(first - second).max() > 0.05


def test_molecules_larger_than_any_bucket(model: Model, samples: Samples) -> None:
    sizes = np.array([3, 12, 5], np.int32)
    found = model.sampler()(sizes).molecules
    assert (found.sizes == sizes).all()
    assert np.isfinite(found.positions).all()
    assert_close(found.select(np.array([0, 2])), samples.molecules.select(np.array([0, 2])))


def test_samplers_of_other_kinds(model: Model) -> None:
    few = SIZES[:4]
    found = [
        model.sampler(config=HEUN.model_copy(update={"kind": kind, "steps": steps}))(few)
        for kind, steps in [("ddim", 9), ("ancestral", 50)]
    ]
    for samples in found:
        assert samples.non_finite == 0
        for _, positions in samples.molecules:
            np.testing.assert_allclose(positions.mean(0), 0, atol=1e-3)
    assert np.abs(found[0].molecules.positions - found[1].molecules.positions).max() > 0.05


def test_a_trajectory_is_the_way_of_the_first_sample(model: Model, samples: Samples) -> None:
    frames, sigmas = model.sampler().trajectory(3, frames=4)
    assert len(frames) == len(sigmas) == 4
    assert sigmas[0] == pytest.approx(20.0)
    assert sigmas[-1] == 0
    assert (np.diff(sigmas) < 0).all()
    assert_close(frames.select(np.array([3])), samples.molecules.select(np.array([0])))
    # At first it is noise, as wide as its level says.
    assert 5 < frames[0][1].std() < 40


def test_what_overflows_is_counted(model: Model) -> None:
    found = model.sampler(factor=np.inf)(SIZES[:4])
    assert found.non_finite == 4
    # A molecule of two atoms takes three, none of which any metric calls stable.
    assert (found.molecules.sizes == np.maximum(SIZES[:4], STAND_IN_SIZE)).all()
