"""Units of work that a worker process repeats and times, the same for every framework."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pipeline.benchmark.tasks import Task
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
    """A contestant's task, ready to run.

    Attributes:
      shares: the share of each kind of unit, such as a size bucket, in the work.
      unit: runs one unit of a kind to completion and returns the number of atoms that molecules were padded to.
      molecules: molecules per unit.
      samples: returns the last samples; None except for sampling.
    """

    shares: Mapping[str, float]
    unit: Callable[[str], int]
    molecules: int
    samples: Callable[[], Molecules] | None = None


class Framework(NamedTuple):
    """A framework that is set up in this process."""

    make: Callable[[Task], Subject]
    """Returns the subject of a task."""
    compilations: Callable[[], int]
    """Returns the number of programs compiled so far."""
    gpu_peak_mb: Callable[[], float]
    """Returns the most memory that it has taken of a GPU, in MiB; 0 without one."""
    gpu: str | None = None
    """Name of the GPU that it computes on; None for the CPU."""


def bucketed_training(step: Callable[[Batch], float], shards: Sequence[Shard], config: RunConfig) -> Subject:
    """Return training on batches of one size bucket each, in the order of ``epoch_plan``.

    Each bucket is a kind of unit. It is timed separately and weighted by its share of the plan, so that the result does
    not depend on which buckets came up in a few steps.

    Args:
      step: takes a step and returns its loss.
      shards: the molecules.
      config: of the run; its seed is that of the plan.
    """
    batch_size, seed = config.training.batch_size, config.seed
    counts = {shard.bucket: len(shard) for shard in shards}
    batches = {str(bucket): bucket_batches(counts, bucket, batch_size, seed) for bucket in counts}

    def unit(stratum: str) -> int:
        batch = next(batches[stratum])
        _check(step(batch))
        return batch.bucket

    shares = {str(bucket): share for bucket, share in bucket_shares(counts).items()}
    return Subject(shares, unit, batch_size)


def random_training(
    step: Callable[[PaddedMolecules], float], shards: Sequence[Shard], config: RunConfig, *, trim: bool
) -> Subject:
    """Return training on batches of random molecules.

    Args:
      step: takes a step and returns its loss.
      shards: the molecules.
      config: of the run; its seed is that of their order.
      trim: whether a batch is padded to its own largest molecule instead of that of the data.
    """
    batches = random_batches(shards, config.training.batch_size, config.seed)

    def unit(_: str) -> int:
        batch = next(batches)
        batch = trimmed(batch) if trim else batch
        _check(step(batch))
        return int(batch.positions.shape[1])

    return Subject({"all": 1.0}, unit, config.training.batch_size)


def backend_training(trainer: Trainer, config: RunConfig, shards: Sequence[Shard], statistics: Statistics) -> Subject:
    """Return training by one of the backends, as in ``pipeline.training.loop`` but waiting for every step."""
    noising, taken = Noising(config, list(shards), statistics), 0

    def step(batch: Batch) -> float:
        nonlocal taken
        losses = trainer.read([trainer.step(noising.training(batch, taken), taken)])
        taken += 1
        return float(losses[0, 0])

    return bucketed_training(step, shards, config)


def sampling(draw: Callable[[], Molecules], *, molecules: int) -> Subject:
    """Return sampling by ``draw``, which returns ``molecules`` molecules."""
    last: list[Molecules] = []

    def unit(_: str) -> int:
        last[:] = [draw()]
        return int(last[0].sizes.max())

    return Subject({"all": 1.0}, unit, molecules, lambda: last[0])


def multiplying(product: Callable[[], Any], *, rows: int) -> Subject:
    """Return the multiplication of square matrices with ``rows`` rows; ``product`` computes one to completion."""

    def unit(_: str) -> int:
        product()
        return rows

    return Subject({"all": 1.0}, unit, 1)


def _check(loss: float) -> None:
    """Raise FloatingPointError if a loss is not finite, since computing with NaN may take a different time."""
    if not np.isfinite(loss):
        raise FloatingPointError("the loss is not finite")
