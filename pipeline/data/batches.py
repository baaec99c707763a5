"""Which molecules a training step sees: batches of one size bucket each, unbiased over molecules."""

from collections.abc import Mapping
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from pipeline.data.shards import Shard


class Batch(NamedTuple):
    """The molecules of one training step."""

    bucket: int
    """The size bucket that all of them are from."""
    indices: npt.NDArray[np.int32]
    """[batch_size] rows of that bucket's shard."""


class PaddedMolecules(NamedTuple):
    """Molecules on their way to a network, padded to one width."""

    numbers: npt.NDArray[np.int32]
    """[B] what each molecule's noise is drawn from."""
    positions: npt.NDArray[np.float32]
    """[B, N, 3] in angstrom, centred, 0 in the padding."""
    atomic_numbers: npt.NDArray[np.uint8]
    """[B, N], 0 in the padding."""
    sizes: npt.NDArray[np.int32]
    """[B] atoms."""

    @classmethod
    def of(cls, shard: Shard, rows: npt.NDArray[np.integer]) -> Self:
        """Return some molecules of a shard, numbered as in their source."""
        return cls(shard.index[rows], shard.positions[rows], shard.atomic_numbers[rows], shard.sizes[rows])


def epoch_plan(bucket_counts: Mapping[int, int], batch_size: int, seed: int, epoch: int) -> list[Batch]:
    """Return the batches of one epoch, in the order to train on them; the same for the same arguments, always.

    Every batch is full, since a compiled step has one shape, and no molecule is left out in the long run: of a bucket
    of n molecules, floor(n / B) batches of B are cut from a fresh permutation, and with probability (n mod B) / B one
    more, which takes up the remainder and is filled by wrapping round to the permutation's start. So every molecule is
    visited once an epoch in expectation, and the mean over batches is the mean over molecules.

    Args:
        bucket_counts: number of molecules in each bucket; empty buckets are passed over.
        batch_size: B, molecules a batch.
        seed: of the run, not negative.
        epoch: 0, 1, ...; each is shuffled anew, independently of those before, so that a run can resume anywhere.
    """
    generator = np.random.default_rng((seed, epoch))
    batches = []
    for bucket, count in sorted(bucket_counts.items()):
        permutation = generator.permutation(count).astype(np.int32)
        full, remainder = divmod(count, batch_size)
        if generator.random() < remainder / batch_size:
            full += 1
        # np.resize repeats the permutation as often as is needed: a bucket may hold fewer molecules than a batch.
        indices = np.resize(permutation, (full, batch_size))
        batches += [Batch(bucket, row) for row in indices]
    return [batches[i] for i in generator.permutation(len(batches))]
