import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.chemistry.rdkit_molecules import perceive
from pipeline.chemistry.stability import stability
from pipeline.chemistry.valences import stable_atoms
from pipeline.core.errors import InputError
from pipeline.data.qm9 import ATOMIC_NUMBERS
from pipeline.data.statistics import Statistics
from pipeline.diffusion.objectives import run_schedule
from pipeline.diffusion.schedules import polynomial_schedule
from pipeline.sampling.molecule_batches import (
    SMALLEST_GROUP,
    Draw,
    draw_sizes,
    found_levels,
    group_by_width,
    network_calls,
    noise_levels,
    sample_in_batches,
    trajectory_frames,
)
from pipeline.study.config import run_config, sampler_config

SCHEDULE = polynomial_schedule(steps=100, precision=1e-5)
HEUN = sampler_config({"name": "heun", "kind": "heun", "steps": 25, "num": 1})
BUCKETS = [9, 15, 29]


@pytest.fixture
def statistics() -> Statistics:
    return Statistics(
        dataset="test",
        num_molecules={"train": 100, "validation": 5, "test": 5},
        size_histogram={"train": {5: 10, 9: 60, 15: 30}, "validation": {20: 5}, "test": {25: 5}},
        atom_counts={"H": 1, "C": 1, "N": 1, "O": 1, "F": 1},
        coordinate_scale=1.4,
        type_scale=0.1,
        buckets={9: 70, 15: 30},
    )


def test_ancestral_levels_are_the_schedule_from_noise_to_data() -> None:
    ancestral = HEUN.model_copy(update={"kind": "ancestral", "steps": 100})
    assert noise_levels(ancestral, SCHEDULE) == pytest.approx(SCHEDULE.sigma_ve[::-1])
    fewer = noise_levels(ancestral.model_copy(update={"steps": 10}), SCHEDULE)
    assert fewer == pytest.approx(SCHEDULE.sigma_ve[::-10])
    # More steps than the schedule has would repeat some.
    assert len(noise_levels(ancestral.model_copy(update={"steps": 1000}), SCHEDULE)) == 101


@pytest.mark.parametrize(("kind", "calls"), [("heun", 49), ("ddim", 25), ("ancestral", 26)])
def test_network_calls(kind: str, calls: int) -> None:
    assert network_calls(HEUN.model_copy(update={"kind": kind}), SCHEDULE) == calls


def test_a_few_step_sampler_calls_the_network_once_a_level() -> None:
    sampler = sampler_config({"name": "few", "kind": "consistency", "levels": [20, 2, 0.5]})
    assert network_calls(sampler, None) == 3
    # Before its levels are searched for, too.
    assert network_calls(sampler.model_copy(update={"steps": 8, "levels": None}), None) == 8


def test_only_edm_has_a_schedule() -> None:
    raw = {"name": "run", "data": "qm9", "noise": {"steps": 70}, "training": {"steps": 1000}}
    schedule = run_schedule(run_config(raw))
    assert schedule is not None
    assert schedule.steps == 70
    assert run_schedule(run_config(raw | {"objective": "denoiser"})) is None
    # Heun's levels are the same without.
    assert (noise_levels(HEUN, None) == noise_levels(HEUN, SCHEDULE)).all()
    with pytest.raises(InputError, match="sampler heun: kind ancestral is for runs of objective edm only"):
        noise_levels(HEUN.model_copy(update={"kind": "ancestral"}), None)


def test_found_levels_are_those_of_as_many_steps(tmp_path: Path) -> None:
    path = tmp_path / "levels.json"
    path.write_text(json.dumps({"1": [14.2], "3": [20.0, 1.5, 0.25]}))
    assert found_levels(path, 1) == (14.2,)
    assert found_levels(path, 3) == (20.0, 1.5, 0.25)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("{", "not JSON"),
        ("[[1.0, 0.5]]", "it should have a list of 2 levels under the key 2; run the stage levels"),
        ('{"3": [3.0, 2.0, 1.0]}', "it should have a list of 2 levels under the key 2"),
        ('{"2": [3.0]}', "it should have a list of 2 levels under the key 2"),
        ('{"2": {"a": 1.0, "b": 0.5}}', "it should have a list of 2 levels under the key 2"),
        ('{"2": [3.0, "2"]}', "it should have a list of 2 levels under the key 2"),
        ('{"2": [2.0, 3.0]}', "the levels under the key 2 should be descending, and above 0"),
        ('{"2": [2.0, 0.0]}', "the levels under the key 2 should be descending, and above 0"),
        ('{"2": [2.0, NaN]}', "the levels under the key 2 should be descending, and above 0"),
    ],
)
def test_levels_that_were_not_found_are_one_line(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "levels.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match="levels.json: ") as caught:
        found_levels(path, 2)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_heun_ends_at_zero() -> None:
    levels = noise_levels(HEUN, SCHEDULE)
    assert levels[[0, -2, -1]] == pytest.approx([20.0, 0.005, 0.0])
    assert (np.diff(levels) < 0).all()


def test_sizes_follow_the_training_molecules(statistics: Statistics) -> None:
    sizes = draw_sizes(statistics, 20_000, seed=1)
    values, counts = np.unique(sizes, return_counts=True)
    assert values.tolist() == [5, 9, 15]
    # Five standard deviations of a binomial.
    assert counts / 20_000 == pytest.approx([0.1, 0.6, 0.3], abs=0.018)
    assert (draw_sizes(statistics, 100, seed=1) == sizes[:100]).all()
    assert (draw_sizes(statistics, 100, seed=2) != sizes[:100]).any()


@given(st.lists(st.integers(1, 40), min_size=1, max_size=700), st.booleans())
def test_groups_hold_every_molecule_once_and_are_few(sizes: list[int], repeat: bool) -> None:
    array = np.array(sizes * (SMALLEST_GROUP if repeat else 1), np.int32)
    groups = group_by_width(array, BUCKETS)
    assert sorted(np.concatenate([group.members for group in groups])) == list(range(len(array)))
    widths = [group.width for group in groups]
    assert widths == sorted(set(widths))
    assert widths[-1] >= array.max()
    for group in groups:
        assert array[group.members].max() <= group.width
        assert group.width in {*BUCKETS, array.max()}
    # Only the last group, that of the largest, may be small.
    assert all(len(group.members) >= SMALLEST_GROUP for group in groups[:-1])


def numbered(width: int) -> Draw:
    """Draw molecules whose atoms are all at (number, size, place) and whose type is number modulo 5."""

    def draw(numbers: npt.NDArray[np.int32], sizes: npt.NDArray[np.int32]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        places = np.broadcast_to(np.arange(width), (len(numbers), width))
        columns = np.broadcast_arrays(numbers[:, None], sizes[:, None], places)
        return np.stack(columns, axis=-1).astype(np.float32), np.broadcast_to(numbers[:, None] % 5, places.shape)

    return draw


@pytest.mark.parametrize("batch", [1, 4, 64])
def test_samples_are_in_the_order_asked_for(batch: int) -> None:
    sizes = np.random.default_rng(0).permutation(np.repeat([3, 9, 12, 31], 130)).astype(np.int32)
    recorded: list[int] = []

    def draw(width: int) -> Draw:
        def draw_batch(
            numbers: npt.NDArray[np.int32], of: npt.NDArray[np.int32]
        ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
            recorded.append(len(numbers))
            assert (of <= width).all()
            return numbered(width)(numbers, of)

        return draw_batch

    samples = sample_in_batches(draw, sizes, elements=ATOMIC_NUMBERS, buckets=BUCKETS, batch=batch, progress=None)
    assert set(recorded) == {batch}
    assert samples.non_finite == 0
    assert (samples.molecules.sizes == sizes).all()
    for number, (atomic_numbers, positions) in enumerate(samples.molecules):
        expected = [(number, sizes[number], place) for place in range(sizes[number])]
        assert (positions == np.array(expected)).all()
        assert (atomic_numbers == ATOMIC_NUMBERS[number % 5]).all()


def broken(value: float, number: int) -> Callable[[int], Draw]:
    """Draw molecules of which one has a coordinate that is not finite."""

    def draw(width: int) -> Draw:
        def draw_batch(
            numbers: npt.NDArray[np.int32], sizes: npt.NDArray[np.int32]
        ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
            positions, types = numbered(width)(numbers, sizes)
            positions[numbers == number, 1, 2] = value
            return positions, types

        return draw_batch

    return draw


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("size", [2, 3, 4, 5, 9])
def test_what_overflowed_counts_as_unstable_and_invalid(value: float, size: int) -> None:
    sizes = np.full(4, size, np.int32)
    samples = sample_in_batches(
        broken(value, 3), sizes, elements=ATOMIC_NUMBERS, buckets=BUCKETS, batch=4, progress=None
    )
    assert samples.non_finite == 1
    failed = samples.molecules.select(np.array([3]))
    assert not stability(failed).atoms.any()
    assert not stable_atoms(failed).any()
    perceived = perceive(failed)
    assert (perceived.edm, perceived.connected) == ((None,), (None,))
    untouched = sample_in_batches(
        numbered, sizes, elements=ATOMIC_NUMBERS, buckets=BUCKETS, batch=4, progress=None
    ).molecules
    assert (samples.molecules.positions[: 3 * size] == untouched.positions[: 3 * size]).all()


def test_a_trajectory_is_spread_over_the_steps_and_ends_with_the_sample() -> None:
    positions = np.arange(1.0, 12.0)[:, None, None] * np.ones((11, 4, 3))
    levels = np.append(np.geomspace(10.0, 0.01, 10), 0.0)
    molecules, sigmas = trajectory_frames(positions, np.zeros((11, 4), int), levels, elements=ATOMIC_NUMBERS, frames=3)
    assert sigmas == pytest.approx([10.0, levels[5], 0.0])
    assert molecules.positions.reshape(3, 4, 3)[:, 0, 0] == pytest.approx([1.0, 6.0, 11.0])
    every, levels_of_all = trajectory_frames(
        positions, np.zeros((11, 4), int), levels, elements=ATOMIC_NUMBERS, frames=50
    )
    assert len(every) == len(levels_of_all) == 11
