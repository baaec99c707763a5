"""Molecules that contestants train on: real ones in the proportions of training, or synthetic ones of one size."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.data.batches import Batch, PaddedMolecules, epoch_plan
from pipeline.data.qm9 import ATOMIC_NUMBERS
from pipeline.data.shards import Shard


def random_batches(shards: Sequence[Shard], batch_size: int, seed: int) -> Iterator[PaddedMolecules]:
    """Yield batches of molecules in random order, as EDM draws them, each padded to the largest molecule of all.

    Every molecule comes once per epoch; an incomplete last batch is left out.
    """
    width = max(shard.bucket for shard in shards)
    all_molecules = PaddedMolecules.together(shards, width)
    count = len(all_molecules.sizes)
    for epoch in itertools.count():
        order = np.resize(np.random.default_rng((seed, epoch)).permutation(count), max(count, batch_size))
        for start in range(0, len(order) - batch_size + 1, batch_size):
            yield all_molecules.take(order[start : start + batch_size])


def trimmed(molecules: PaddedMolecules) -> PaddedMolecules:
    """Return a batch padded only to its own largest molecule."""
    width = int(molecules.sizes.max())
    return molecules._replace(
        positions=np.ascontiguousarray(molecules.positions[:, :width]),
        atomic_numbers=np.ascontiguousarray(molecules.atomic_numbers[:, :width]),
    )


def bucket_batches(counts: dict[int, int], bucket: int, batch_size: int, seed: int) -> Iterator[Batch]:
    """Yield the batches of one bucket in the order in which training visits them (``epoch_plan``)."""
    for epoch in itertools.count():
        yield from (batch for batch in epoch_plan(counts, batch_size, seed, epoch) if batch.bucket == bucket)


def bucket_shares(counts: dict[int, int]) -> dict[int, float]:
    """Return the expected share of training batches from each bucket."""
    total = sum(counts.values())
    return {bucket: count / total for bucket, count in sorted(counts.items()) if count}


def synthetic_shard(*, atoms: int, molecules: int, seed: int) -> Shard:
    """Return synthetic molecules of one size, as dense as real ones, for timing only.

    Coordinates are normal, with a width that makes the volume proportional to the number of atoms.
    """
    generator = np.random.default_rng((seed, atoms))
    # QM9: 1.4 angstrom for 18 atoms.
    positions = generator.normal(scale=1.4 * (atoms / 18) ** (1 / 3), size=(molecules, atoms, 3))
    positions -= positions.mean(axis=1, keepdims=True)
    return Shard(
        bucket=atoms,
        index=np.arange(molecules, dtype=np.int32),
        sizes=np.full(molecules, atoms, np.int32),
        atomic_numbers=generator.choice(np.array(ATOMIC_NUMBERS, np.uint8), size=(molecules, atoms)),
        positions=positions.astype(np.float32),
    )
