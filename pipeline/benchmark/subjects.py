"""Contestants at work: what a worker process repeats and times, the same for every framework."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.benchmark.workload import bucket_batches, bucket_shares, random_batches, trimmed
from pipeline.chemistry.molecules import Molecules
from pipeline.data.batches import Batch, PaddedMolecules
from pipeline.data.shards import Shard
from pipeline.data.statistics import Statistics
from pipeline.study.config import RunConfig
from pipeline.training.loop import Trainer
from pipeline.training.noisy_batches import Noising


@dataclass(frozen=True, eq=False)
class Subject:
    """A contestant at work on a task.

    Attributes:
      shares: the kinds of units that there are, such as size buckets, and which share of the work is of each.
      unit: does one unit of a kind, waits for it, and returns the number of atoms that molecules were padded to.
      molecules: in a unit.
      compilations: returns how many programs this process has compiled so far.
      samples: returns what was sampled last, for sampling.
    """

    shares: Mapping[str, float]
    unit: Callable[[str], int]
    molecules: int
    compilations: Callable[[], int]
    samples: Callable[[], Molecules] | None = None


def bucketed_training(
    step: Callable[[Batch], float],
    shards: Sequence[Shard],
    *,
    batch_size: int,
    seed: int,
    compilations: Callable[[], int],
) -> Subject:
    """Return a training on batches of one size bucket each, in the order of ``epoch_plan``.

    A kind of unit is a bucket. Each is timed by itself and counts by its share of the plan, so that the figure does not
    depend on which buckets happened to come up in a few steps.

    Args:
      step: takes a step and returns its loss.
      shards: the molecules.
      batch_size: molecules a step.
      seed: of the plan.
      compilations: see ``Subject``.
    """
    counts = {shard.bucket: len(shard) for shard in shards}
    batches = {str(bucket): bucket_batches(counts, bucket, batch_size, seed) for bucket in counts}

    def unit(stratum: str) -> int:
        batch = next(batches[stratum])
        _check(step(batch))
        return batch.bucket

    shares = {str(bucket): share for bucket, share in bucket_shares(counts).items()}
    return Subject(shares, unit, batch_size, compilations)


def random_training(
    step: Callable[[PaddedMolecules], float],
    shards: Sequence[Shard],
    *,
    batch_size: int,
    seed: int,
    trim: bool,
    compilations: Callable[[], int],
) -> Subject:
    """Return a training on batches of random molecules.

    Args:
      step: takes a step and returns its loss.
      shards: the molecules.
      batch_size: molecules a step.
      seed: of their order.
      trim: whether a batch is padded to its own largest molecule, else to that of the data.
      compilations: see ``Subject``.
    """
    batches = random_batches(shards, batch_size, seed)

    def unit(_: str) -> int:
        batch = next(batches)
        batch = trimmed(batch) if trim else batch
        _check(step(batch))
        return int(batch.positions.shape[1])

    return Subject({"all": 1.0}, unit, batch_size, compilations)


def backend_training(
    trainer: Trainer,
    config: RunConfig,
    shards: Sequence[Shard],
    statistics: Statistics,
    *,
    compilations: Callable[[], int],
) -> Subject:
    """Return a training by one of the backends, as ``pipeline.training.loop`` drives it but waiting for every step."""
    noising, taken = Noising(config, list(shards), statistics), 0

    def step(batch: Batch) -> float:
        nonlocal taken
        losses = trainer.read([trainer.step(noising.training(batch, taken), taken)])
        taken += 1
        return float(losses[0, 0])

    batch_size = config.training.batch_size
    return bucketed_training(step, shards, batch_size=batch_size, seed=config.seed, compilations=compilations)


def sampling(draw: Callable[[], Molecules], *, molecules: int, compilations: Callable[[], int]) -> Subject:
    """Return sampling; ``draw`` returns ``molecules`` molecules."""
    last: list[Molecules] = []

    def unit(_: str) -> int:
        last[:] = [draw()]
        return int(last[0].sizes.max())

    return Subject({"all": 1.0}, unit, molecules, compilations, lambda: last[0])


def multiplying(product: Callable[[], Any], *, rows: int, compilations: Callable[[], int]) -> Subject:
    """Return the multiplication of square matrices with ``rows`` rows; ``product`` does one and waits for it."""

    def unit(_: str) -> int:
        product()
        return rows

    return Subject({"all": 1.0}, unit, 1, compilations)


def _check(loss: float) -> None:
    """Stop when a contestant computes nonsense, which may take another time than sense."""
    if not np.isfinite(loss):
        raise FloatingPointError("the loss is not finite")
