from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest

from pipeline.chemistry.molecules import Molecules
from pipeline.jax_backend.build import build_layout, build_objective
from pipeline.jax_backend.objective import Objective
from pipeline.jax_backend.sample import Sampler
from pipeline.sampling.molecule_batches import Samples
from pipeline.study.config import RunConfig, SamplerConfig, sampler_config

HEUN = sampler_config({"name": "heun", "kind": "heun", "steps": 3, "sigma_min": 0.05})
SIZES = np.array([3, 7, 5, 2, 7, 6, 9, 4, 8, 5], np.int32)


class Model:
    """A network with random weights: enough to see what sampling does with it."""

    def __init__(self, objective: Objective):
        self.objective, self.layout = objective, build_layout(objective)
        generator = np.random.default_rng(0)
        self.weights = jnp.asarray(generator.normal(size=self.layout.size) / 5, jnp.float32)

    def sample(
        self,
        sizes: npt.NDArray[np.int32] = SIZES,
        *,
        config: SamplerConfig = HEUN,
        batch: int = 4,
        bucket: int = 9,
        widest: int = 9,
    ) -> Samples:
        sampler = Sampler(self.objective, self.layout, config, widest=widest, batch=batch)
        return sampler(self.weights, sizes, buckets=[bucket])


@pytest.fixture(scope="module")
def model(data: Any, make_config: Callable[..., RunConfig]) -> Model:
    return Model(build_objective(make_config(), data.read()[1]))


@pytest.fixture(scope="module")
def samples(model: Model) -> Samples:
    return model.sample()


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
    assert_close(model.sample(batch=2, bucket=12).molecules, samples.molecules)
    others = np.array([3, 9, 5, 4, 7, 2, 9, 9, 8, 2], np.int32)
    same = np.flatnonzero(others == SIZES)
    assert_close(model.sample(others).molecules.select(same), samples.molecules.select(same))
    assert_close(model.sample(SIZES[:3]).molecules, samples.molecules.select(np.arange(3)))


def test_another_seed_gives_other_molecules(model: Model, samples: Samples) -> None:
    other = model.sample(config=HEUN.model_copy(update={"seed": 1})).molecules
    for (_, a), (_, b) in zip(other, samples.molecules, strict=True):
        assert np.abs(a - b).max() > 0.05
    # And so has another number.
    first, second = (samples.molecules[number][1] for number in (1, 4))
    assert np.abs(first - second).max() > 0.05


def test_molecules_larger_than_any_bucket(model: Model, samples: Samples) -> None:
    sizes = np.array([3, 12, 5], np.int32)
    found = model.sample(sizes).molecules
    assert (found.sizes == sizes).all()
    assert np.isfinite(found.positions).all()
    assert_close(found.select(np.array([0, 2])), samples.molecules.select(np.array([0, 2])))


def test_samplers_of_other_kinds(model: Model) -> None:
    few = SIZES[:4]
    found = [
        model.sample(few, config=HEUN.model_copy(update={"kind": kind, "steps": steps}))
        for kind, steps in [("ddim", 9), ("ancestral", 50)]
    ]
    for samples in found:
        assert samples.non_finite == 0
        for _, positions in samples.molecules:
            np.testing.assert_allclose(positions.mean(0), 0, atol=1e-3)
    assert np.abs(found[0].molecules.positions - found[1].molecules.positions).max() > 0.05


def test_a_trajectory_is_the_way_of_the_first_sample(model: Model, samples: Samples) -> None:
    sampler = Sampler(model.objective, model.layout, HEUN, widest=9, batch=1)
    frames, sigmas = sampler.trajectory(model.weights, 3, frames=4)
    assert len(frames) == len(sigmas) == 4
    assert sigmas[0] == pytest.approx(20.0)
    assert sigmas[-1] == 0
    assert (np.diff(sigmas) < 0).all()
    assert_close(frames.select(np.array([3])), samples.molecules.select(np.array([0])))
    # At first it is noise, as wide as its level says.
    assert 5 < frames[0][1].std() < 40


def test_what_overflows_is_counted(model: Model) -> None:
    broken = Sampler(model.objective, model.layout, HEUN, widest=9, batch=4)
    found = broken(model.weights * np.inf, SIZES[:4], buckets=[9])
    assert found.non_finite == 4
    assert (found.molecules.sizes == SIZES[:4]).all()
