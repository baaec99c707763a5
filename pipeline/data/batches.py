"""Batches of training steps: one size bucket each, unbiased over molecules."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from pipeline.data.shards import Shard


class Batch(NamedTuple):
    """The molecules of one training step."""

    bucket: int
    """Size bucket of all of them."""
    indices: npt.NDArray[np.int32]
    """[batch_size] rows of that bucket's shard."""


class PaddedMolecules(NamedTuple):
    """Molecules padded to one width, as input of a network."""

    numbers: npt.NDArray[np.int32]
    """[B] number of each molecule, which seeds its noise."""
    positions: npt.NDArray[np.float32]
    """[B, N, 3] in angstrom, centred, 0 in the padding."""
    atomic_numbers: npt.NDArray[np.uint8]
    """[B, N], 0 in the padding."""
    sizes: npt.NDArray[np.int32]
    """[B] atoms."""

    @classmethod
    def of(cls, shard: Shard, rows: npt.NDArray[np.integer]) -> Self:
        """Return the molecules in some rows of a shard, numbered as in their source."""
        return cls(shard.index[rows], shard.positions[rows], shard.atomic_numbers[rows], shard.sizes[rows])

    @classmethod
    def together(cls, shards: Sequence[Shard], width: int) -> Self:
        """Return the molecules of at least one shard, padded to ``width``."""

        def wide(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return np.pad(column, [(0, 0), (0, width - column.shape[1]), *[(0, 0)] * (column.ndim - 2)])

        columns = [(one.index, wide(one.positions), wide(one.atomic_numbers), one.sizes) for one in shards]
        return cls(*map(np.concatenate, zip(*columns, strict=True)))

    def take(self, rows: npt.NDArray[np.integer]) -> Self:
        """Return the molecules in some rows."""
        return type(self)(*(column[rows] for column in self))


def full_batches(shards: Iterable[Shard], size: int) -> Iterator[tuple[Shard, npt.NDArray[np.int64], PaddedMolecules]]:
    """Yield all molecules in batches of one shard each, as shard, rows and molecules.

    A batch always has ``size`` molecules, since a compiled program has one shape: fewer rows repeat.
    """
    for shard in shards:
        for start in range(0, len(shard), size):
            rows = np.arange(start, min(start + size, len(shard)))
            yield shard, rows, PaddedMolecules.of(shard, np.resize(rows, size))


def epoch_plan(bucket_counts: Mapping[int, int], batch_size: int, seed: int, epoch: int) -> list[Batch]:
    """Return the batches of one epoch, in training order; they depend only on the arguments.

    Every batch is full, since a compiled step has one shape, and no molecule is left out in the long run: a bucket of n
    molecules gives floor(n / B) batches of B from a new permutation and, with probability (n mod B) / B, one more with
    the remainder, filled from the start of the permutation. The expected number of visits of every molecule is one per
    epoch, so the mean over batches is the mean over molecules.

    Args:
      bucket_counts: number of molecules in each bucket; empty buckets are skipped.
      batch_size: B, molecules per batch.
      seed: seed of the run, not negative.
      epoch: 0, 1, ...; each is shuffled independently, so that a run can resume anywhere.
    """
    generator = np.random.default_rng((seed, epoch))
    batches = []
    for bucket, count in sorted(bucket_counts.items()):
        permutation = generator.permutation(count).astype(np.int32)
        full, remainder = divmod(count, batch_size)
        if generator.random() < remainder / batch_size:
            full += 1
        # np.resize repeats the permutation as needed: a bucket may have fewer molecules than a batch.
        indices = np.resize(permutation, (full, batch_size))
        batches += [Batch(bucket, row) for row in indices]
    return [batches[i] for i in generator.permutation(len(batches))]
