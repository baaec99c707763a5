"""Code shared by the samplers of both backends, with a stub of a network."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.data.statistics import Statistics
from pipeline.diffusion.clouds import Floats, Sizes
from pipeline.sampling.few_step import Denoise
from pipeline.sampling.sampler import ConditionalDenoise, MoleculeSampler
from pipeline.study.config import run_config, sampler_config

alignments = pytest.mark.parametrize("alignment", ["none", "permutation", "full"])
SIZES = np.array([3, 7, 5, 2, 7, 6, 9, 4, 8, 5], np.int32)
STATISTICS = Statistics(
    dataset="test",
    num_molecules={"train": 1},
    size_histogram={"train": {9: 1}},
    atom_counts={"H": 3, "C": 2, "N": 0, "O": 0, "F": 0},
    coordinate_scale=1.4,
    type_scale=0.1,
    buckets={9: 1},
)


def shrinking(clouds: Floats, sigma: float, sizes: Sizes) -> Floats:
    """The best denoiser of Gaussian data of unit variance."""
    del sizes
    return np.asarray(clouds / np.float32(1 + sigma**2))


class StandIn(MoleculeSampler):
    """A few-step sampler of a function."""

    def __init__(
        self,
        denoise: Denoise,
        alignment: str,
        seed: int,
        batch: int,
        bucket: int,
        *,
        statistics: Statistics = STATISTICS,
        even_electrons: bool | None = None,
    ):
        raw = {"name": "any", "data": "any", "objective": "consistency", "init": "any", "training": {"steps": 1000}}
        run = run_config(raw | {"levels": {"alignment": alignment}})
        few = {"name": "any", "kind": "consistency", "levels": [20.0, 2.0, 0.5], "seed": seed}
        config = sampler_config(few | {"even_electrons": even_electrons})
        super().__init__(run, statistics, config, batch=batch, buckets=[bucket])
        self._denoise = denoise

    def denoiser(self, width: int, batch: int) -> ConditionalDenoise:
        return lambda clouds, sigma, sizes, condition: self._denoise(clouds, sigma, sizes)

    def integrator(self, width: int) -> Any:
        raise NotImplementedError

    def states(self, size: int) -> Any:
        raise NotImplementedError


def sampler(
    denoise: Denoise = shrinking, *, alignment: str = "full", seed: int = 0, bucket: int = 9, batch: int = 4
) -> StandIn:
    return StandIn(denoise, alignment, seed, batch, bucket)


def assert_close(found: Molecules, expected: Molecules) -> None:
    assert (found.sizes == expected.sizes).all()
    np.testing.assert_allclose(found.positions, expected.positions, atol=1e-5)
    assert (found.atomic_numbers == expected.atomic_numbers).all()


@alignments
def test_a_sample_depends_on_its_number_and_size_alone(alignment: str) -> None:
    expected = sampler(alignment=alignment)(SIZES).molecules
    # Padded to the width of a larger one beside it, and in other batches.
    wider = sampler(alignment=alignment, batch=3, bucket=14)(np.append(SIZES, 14).astype(np.int32))
    assert_close(wider.molecules.select(np.arange(len(SIZES))), expected)
    others = np.array([3, 9, 5, 4, 7, 2, 9, 9, 8, 2], np.int32)
    same = np.flatnonzero(others == SIZES)
    assert len(same) > 3
    assert_close(sampler(alignment=alignment)(others).molecules.select(same), expected.select(same))
    assert_close(sampler(alignment=alignment)(SIZES[:3]).molecules, expected.select(np.arange(3)))


def test_another_seed_and_another_number_give_other_molecules() -> None:
    molecules, other = (sampler(seed=seed)(SIZES).molecules for seed in (0, 1))
    for (_, a), (_, b) in zip(molecules, other, strict=True):
        assert np.abs(a - b).max() > 0.01
    assert np.abs(molecules[1][1] - molecules[4][1]).max() > 0.01


@alignments
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_what_overflows_is_counted_and_leaves_the_others_alone(alignment: str, value: float) -> None:
    def breaking(clouds: Floats, sigma: float, sizes: Sizes) -> Floats:
        found = shrinking(clouds, sigma, sizes)
        # Of four different sizes, the molecule of seven atoms; at the first level only.
        found[(sizes == 7) & (sigma == 20.0), 0, 0] = value
        return found

    sizes = np.array([3, 7, 5, 2], np.int32)
    samples = sampler(breaking, alignment=alignment)(sizes)
    assert samples.non_finite == (0 if np.isfinite(value) else 1)
    others = np.array([0, 2, 3])
    whole = sampler(alignment=alignment)(sizes).molecules
    assert_close(samples.molecules.select(others), whole.select(others))


def test_a_trajectory_is_the_way_of_the_first_sample() -> None:
    frames, sigmas = sampler(batch=1).trajectory(3, frames=10)
    assert sigmas.tolist() == [20.0, 2.0, 0.5, 0.0]
    assert_close(frames.select(np.array([3])), sampler()(SIZES).molecules.select(np.array([0])))
    assert 5 < frames[0][1].std() < 40
    fewer, _ = sampler(batch=1).trajectory(3, frames=2)
    assert_close(fewer, frames.select(np.array([0, 3])))


def test_another_model_makes_the_first_call_at_its_own_level() -> None:
    asked: dict[str, list[float]] = {"first": [], "later": []}

    def recorded(name: str) -> Denoise:
        def denoise(clouds: Floats, sigma: float, sizes: Sizes) -> Floats:
            asked[name].append(sigma)
            return shrinking(clouds, sigma, sizes)

        return denoise

    sizes = np.array([3, 7], np.int32)
    both = sampler(recorded("later")).after(sampler(recorded("first")).at([5.0]))
    found = both(sizes).molecules
    assert asked == {"first": [5.0], "later": [2.0, 0.5]}
    # As one model would at these levels.
    assert_close(found, sampler().at([5.0, 2.0, 0.5])(sizes).molecules)


def test_a_first_call_that_does_not_fit_is_refused() -> None:
    for first in (sampler(), sampler().at([1.5])):
        with pytest.raises(InputError, match="should be of a model that samples in one, at a higher noise level"):
            sampler().after(first)
    with pytest.raises(InputError, match="should be of a model that samples in one"):
        sampler().at([2.0]).after(sampler().at([5.0]))
    foreign = sampler().at([5.0])
    # Of other data, which is no matter, and of other elements, which is.
    foreign._sigma_data = replace(foreign._sigma_data, coordinates=2.0)
    sampler().after(foreign)
    foreign._sigma_data = replace(foreign._sigma_data, elements=(1, 6, 7, 8, 16))
    with pytest.raises(InputError, match="the same elements and condition"):
        sampler().after(foreign)


@pytest.mark.parametrize(
    ("odd", "setting", "even"),
    [(0, None, True), (1, None, False), (None, None, False), (0, False, False), (None, True, True)],
)
def test_electrons_are_even_as_in_the_data_or_as_set(odd: int | None, setting: bool | None, even: bool) -> None:
    # Three types at random, which the network always estimates again.
    generator = np.random.default_rng(0)
    estimate = np.zeros((4, 9, 8), np.float32)
    estimate[..., 3:6] = generator.normal(size=(4, 9, 3))
    one = StandIn(
        lambda *_: estimate, "full", 0, 4, 9, even_electrons=setting,
        statistics=STATISTICS.model_copy(update={"odd_electrons": odd}),
    )  # fmt: skip
    molecules = one(np.full(4, 9, np.int32)).molecules
    electrons = np.add.reduceat(molecules.atomic_numbers.astype(int), molecules.offsets[:-1])
    assert (electrons % 2 == 0).all() == even


@pytest.mark.parametrize("held", [False, True])
def test_a_composition_with_an_odd_number_of_electrons_is_kept(held: bool) -> None:
    methyl = [6, 1, 1, 1]
    carbon = Molecules.from_padded(
        positions=np.zeros((1, 1, 3), np.float32), atomic_numbers=np.array([[6]], np.uint8), sizes=np.array([1])
    )
    one = StandIn(shrinking, "full", 0, 4, 9, even_electrons=True)
    given = one.holding(carbon, methyl) if held else one.of_composition(methyl)
    molecules = given(np.full(4, 4, np.int32)).molecules
    assert [sorted(numbers.tolist()) for numbers, _ in molecules] == [sorted(methyl)] * 4
