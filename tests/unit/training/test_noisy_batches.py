from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.data.batches import Batch, PaddedMolecules
from pipeline.data.properties import Properties, PropertyStatistics
from pipeline.data.shards import Shard
from pipeline.data.statistics import measure
from pipeline.diffusion.clouds import draw_noise, one_hot
from pipeline.diffusion.training_levels import gap
from pipeline.study.config import RunConfig, run_config
from pipeline.training.noisy_batches import HostBatch, Noising

Floats = npt.NDArray[np.floating[Any]]

STARTS = {"tuning": {"init": "denoiser"}, "distillation": {"teacher": "tuned"}}


def run_of(objective: str = "denoiser", *, kind: str = "tuning", **run: Any) -> RunConfig:
    start = STARTS.get(kind if objective == "consistency" else objective, {})
    raw = {"name": "run", "data": "test", "objective": objective, "training": {"steps": 1000}}
    consistency = {"kind": kind} | run.pop("consistency", {})
    return run_config(raw | {"consistency": consistency} | start | run)


def shard(bucket: int, count: int) -> Shard:
    generator = np.random.default_rng(bucket)
    sizes = generator.integers(2, bucket + 1, count).astype(np.int32)
    present = np.arange(bucket) < sizes[:, None]
    return Shard(
        bucket=bucket,
        index=np.arange(count, dtype=np.int32),
        sizes=sizes,
        atomic_numbers=np.where(present, generator.choice([1, 6, 7, 8, 9], (count, bucket)), 0).astype(np.uint8),
        positions=1.4 * draw_noise(generator, sizes, bucket, 0),
    )


SHARDS = [shard(5, 12), shard(9, 12)]
BATCH = Batch(9, np.array([3, 1, 4, 1, 5, 9, 2, 6], np.int32))
RUNS = [
    run_of("edm"),
    run_of("denoiser"),
    run_of("denoiser", levels={"alignment": "permutation"}),
    run_of("denoiser", levels={"alignment": "full"}),
    # From random weights.
    run_of("consistency", kind="tuning", init=None, levels={"alignment": "none"}),
    run_of("consistency", kind="tuning", levels={"alignment": "full"}),
    run_of("consistency", kind="distillation"),
]


def name_of(run: RunConfig) -> str:
    kind = run.consistency.kind if run.objective == "consistency" else run.objective
    return f"{kind}-{run.levels.alignment}"


every_run = pytest.mark.parametrize("run", RUNS, ids=name_of)


STATISTICS = measure(dict.fromkeys(("train", "validation", "test"), SHARDS), dataset=None)


def noising_of(run: RunConfig) -> Noising:
    return Noising(run, SHARDS, STATISTICS)


def arrays(batch: HostBatch) -> list[Any]:
    parts = (*batch[:4], *batch.levels)
    return [part for part in parts if part is not None]


def bits(batch: HostBatch) -> list[bytes]:
    return [part.tobytes() for part in arrays(batch)]


# --- batches ----------------------------------------------------------------------------------------------------------


@every_run
def test_a_batch_depends_on_the_seed_and_the_step_alone(run: RunConfig) -> None:
    noising = noising_of(run)
    first = noising.training(BATCH, 7)
    noising.training(BATCH, 8)
    # Asked again, and by a training that resumes at this step.
    assert bits(noising.training(BATCH, 7)) == bits(noising_of(run).training(BATCH, 7)) == bits(first)
    other = noising_of(run.model_copy(update={"seed": 1})).training(BATCH, 7)
    for batch in (noising.training(BATCH, 8), other):
        assert (batch.noise != first.noise).any()
        # The level of distillation is always the same.
        assert (batch.levels.t != first.levels.t).any() != run.distils


@every_run
def test_validation_is_the_same_whatever_was_trained_and_unlike_training(run: RunConfig) -> None:
    noising = noising_of(run)
    molecules = PaddedMolecules.of(SHARDS[1], BATCH.indices)
    first = noising.draw.validation(molecules)
    noising.training(BATCH, 0)
    assert bits(noising.draw.validation(molecules)) == bits(first)
    assert (noising.training(BATCH, 0).noise != first.noise).any()


@every_run
def test_noise_has_no_centre_and_nothing_in_the_padding(run: RunConfig) -> None:
    batch = noising_of(run).training(BATCH, 3)
    features = 6 if run.objective == "edm" else 5
    assert batch.noise.shape == (8, 9, 3 + features)
    t, r, weight = batch.levels
    assert t.shape == (8,)
    assert (r is not None) == (weight is not None) == (run.objective == "consistency")
    assert (batch.sizes == SHARDS[1].sizes[BATCH.indices]).all()
    padding = np.arange(9) >= batch.sizes[:, None]
    assert padding.any()
    for part in (batch.noise, batch.positions, batch.atomic_numbers):
        assert (part[padding] == 0).all()
    np.testing.assert_allclose(batch.noise[..., :3].sum(1), 0, atol=1e-5)
    assert [part.dtype for part in arrays(batch)[:4]] == [
        np.float32,
        np.uint8,
        np.int32,
        np.float32,
    ]
    assert t.dtype == (np.int32 if run.objective == "edm" else np.float32)


def test_a_condition_is_beside_what_the_run_draws_without_and_is_withheld_from_some() -> None:
    statistics = PropertyStatistics(
        names=("alpha",), units=(None,), mean=(2.0,), mad=(4.0,), ranges=((0.0, 12.0),), values_by_size={5: ((1.0,),)}
    )
    properties = Properties(statistics, SHARDS[1].index, np.arange(12.0)[:, None])
    run = run_of("denoiser", condition=["alpha"], condition_dropout=0.3)
    plain, given = noising_of(run), Noising(run, SHARDS, STATISTICS, properties)
    contexts = []
    for step in range(100):
        batch = given.training(BATCH, step)
        assert batch.condition is not None
        assert bits(batch) == bits(plain.training(BATCH, step))
        contexts.append(batch.condition)
    shares = np.stack(contexts)[..., -1].mean(axis=0)
    np.testing.assert_allclose(shares, 0.7, atol=0.2)
    # The molecules' values, and how far they are from that of their size.
    expected = np.stack([BATCH.indices - 2.0, BATCH.indices - 1.0], axis=1) / 4.0
    for context in contexts:
        assert (context[:, :2] == np.where(context[:, 2:] == 1, expected, 0)).all()


@pytest.mark.parametrize("alignment", ["permutation", "full"])
def test_alignment_moves_the_molecules_and_leaves_noise_and_levels_alone(alignment: str) -> None:
    plain, aligned = (noising_of(run_of(levels={"alignment": one})).training(BATCH, 5) for one in ("none", alignment))
    assert bits(plain)[3:] == bits(aligned)[3:]
    costs = []
    for batch in (plain, aligned):
        data = np.concatenate([batch.positions, one_hot(batch.atomic_numbers, STATISTICS.elements) / 4], axis=-1)
        costs.append(np.square(data - batch.noise).sum((1, 2)))
    assert (costs[1] < costs[0]).all()
    for row, size in enumerate(plain.sizes):
        # Atoms keep their elements: as (element, distances to all others) they are the same set.
        before, after = (
            sorted((number, *np.sort(np.linalg.norm(x - place, axis=1))) for number, place in zip(z, x, strict=True))
            for z, x in (
                (batch.atomic_numbers[row, :size].tolist(), batch.positions[row, :size]) for batch in (plain, aligned)
            )
        )
        np.testing.assert_allclose(before, after, atol=1e-5)
        if alignment == "permutation":
            places = [{tuple(place) for place in batch.positions[row, :size].tolist()} for batch in (plain, aligned)]
            assert places[0] == places[1]


def test_the_curriculum_goes_by_the_share_of_steps_done() -> None:
    # Four stages of 250 steps, which have no gap in common at large levels.
    run = run_of("consistency", consistency={"first_stage": 1, "last_stage": 4, "anchor": 0.0}, levels={"mean": 2.0})
    noising = noising_of(run)
    # Validation is at the last stage, so that its losses can be compared.
    last = noising.draw.validation(PaddedMolecules.of(SHARDS[1], BATCH.indices))
    steps = {0: 1, 249: 1, 250: 2, 749: 3, 750: 4, 999: 4}
    for batch, stage in [(last, 4), *((noising.training(BATCH, step), stage) for step, stage in steps.items())]:
        t, r, _ = batch.levels
        assert r is not None
        assert (r > 0).any()
        np.testing.assert_allclose(1 - r / t, gap(t, stage=stage, q=2.0), rtol=1e-5)
