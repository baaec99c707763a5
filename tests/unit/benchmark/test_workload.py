from itertools import islice

import numpy as np
import pytest

from pipeline.benchmark.workload import bucket_batches, bucket_shares, random_batches, synthetic_shard, trimmed
from pipeline.data.batches import epoch_plan
from pipeline.data.shards import Shard


@pytest.fixture
def shards() -> list[Shard]:
    """Return ten molecules of three atoms and six of five, numbered through."""
    small, large = (synthetic_shard(atoms=atoms, molecules=number, seed=0) for atoms, number in ((3, 10), (5, 6)))
    return [small, Shard(5, large.index + 10, large.sizes, large.atomic_numbers, large.positions)]


def test_random_batches_visit_every_molecule_once_an_epoch(shards: list[Shard]) -> None:
    batches = list(islice(random_batches(shards, 4, seed=0), 8))
    first, second = (np.concatenate([batch.numbers for batch in part]) for part in (batches[:4], batches[4:]))
    assert sorted(first) == sorted(second) == list(range(16))
    assert list(first) != list(second)


def test_random_batches_hold_the_molecules_that_they_say(shards: list[Shard]) -> None:
    for batch in islice(random_batches(shards, 4, seed=0), 4):
        assert batch.positions.shape == (4, 5, 3)
        for number, positions, atomic_numbers, size in zip(*batch, strict=True):
            shard, row = (shards[0], number) if number < 10 else (shards[1], number - 10)
            np.testing.assert_array_equal(positions[: shard.bucket], shard.positions[row])
            np.testing.assert_array_equal(atomic_numbers[: shard.bucket], shard.atomic_numbers[row])
            assert not positions[size:].any()


def test_a_trimmed_batch_is_as_wide_as_its_largest_molecule(shards: list[Shard]) -> None:
    widths = {trimmed(batch).positions.shape[1] for batch in islice(random_batches(shards, 2, seed=0), 8)}
    assert widths == {3, 5}


def test_fewer_molecules_than_a_batch_are_repeated(shards: list[Shard]) -> None:
    (batch,) = islice(random_batches(shards, 20, seed=0), 1)
    assert len(batch.numbers) == 20


def test_batches_of_a_bucket_are_those_of_training() -> None:
    counts = {3: 10, 5: 6}
    expected = [batch for epoch in range(3) for batch in epoch_plan(counts, 2, 7, epoch) if batch.bucket == 5]
    found = list(islice(bucket_batches(counts, 5, 2, seed=7), len(expected)))
    assert [batch.indices.tolist() for batch in found] == [batch.indices.tolist() for batch in expected]


def test_shares_of_buckets_add_up() -> None:
    assert bucket_shares({29: 1, 15: 3, 17: 0}) == {15: 0.75, 29: 0.25}


def test_made_up_molecules_are_centred_and_as_dense_whatever_their_size() -> None:
    small, large = (synthetic_shard(atoms=atoms, molecules=50, seed=0) for atoms in (9, 181))
    assert large.positions.shape == (50, 181, 3)
    assert np.abs(large.positions.mean(axis=1)).max() < 1e-5
    assert large.positions.std() / small.positions.std() == pytest.approx((181 / 9) ** (1 / 3), rel=0.1)
