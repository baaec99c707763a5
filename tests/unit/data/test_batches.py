import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.batches import Batch, epoch_plan

COUNTS = st.dictionaries(st.sampled_from([15, 17, 18, 19, 20, 21, 29]), st.integers(0, 200), max_size=7)


def visits_of(plan: list[Batch], bucket: int, count: int) -> npt.NDArray[np.int64]:
    rows = [batch.indices for batch in plan if batch.bucket == bucket]
    return np.bincount(np.concatenate(rows), minlength=count) if rows else np.zeros(count, int)


@settings(deadline=None)
@given(counts=COUNTS, batch_size=st.integers(1, 64), seed=st.integers(0, 2**31), epoch=st.integers(0, 1000))
def test_batches_are_full_and_of_one_bucket_and_nothing_is_left_out(
    counts: dict[int, int], batch_size: int, seed: int, epoch: int
) -> None:
    plan = epoch_plan(counts, batch_size, seed, epoch)
    for bucket, indices in plan:
        assert indices.shape == (batch_size,)
        assert indices.dtype == np.int32
        assert indices.min() >= 0
        assert indices.max() < counts[bucket]
        if counts[bucket] >= batch_size:
            assert len(set(indices.tolist())) == batch_size
    for bucket, count in counts.items():
        visits = visits_of(plan, bucket, count)
        full, remainder = divmod(count, batch_size)
        number = sum(batch.bucket == bucket for batch in plan)
        assert number in ({full} if remainder == 0 else {full, full + 1})
        if number == full:  # the remainder is left out of this epoch, no molecule is repeated
            assert sorted(visits) == [0] * remainder + [1] * (count - remainder)
        else:  # all are there, and some come again as evenly as can be
            assert visits.min() >= 1
            assert visits.max() - visits.min() <= 1


@settings(deadline=None)
@given(counts=COUNTS, batch_size=st.integers(1, 64), seed=st.integers(0, 2**31), epoch=st.integers(0, 1000))
def test_a_plan_is_a_function_of_its_arguments(counts: dict[int, int], batch_size: int, seed: int, epoch: int) -> None:
    plan = epoch_plan(counts, batch_size, seed, epoch)
    np.random.seed(1)  # noqa: NPY002 - the global generator must not matter
    again = epoch_plan(dict(reversed(counts.items())), batch_size, seed, epoch)
    assert [batch.bucket for batch in plan] == [batch.bucket for batch in again]
    assert all((a.indices == b.indices).all() for a, b in zip(plan, again, strict=True))


@pytest.mark.parametrize(("count", "batch_size"), [(10, 4), (7, 8), (3, 8), (9, 9), (65, 16), (1, 5)])
def test_every_molecule_comes_once_an_epoch_on_average(count: int, batch_size: int) -> None:
    epochs = 4000
    visits = np.array([visits_of(epoch_plan({9: count}, batch_size, 3, epoch), 9, count) for epoch in range(epochs)])
    # One molecule's visits in one epoch have a variance below max(1, B / n); five standard errors of the mean.
    error = 5 * np.sqrt(max(1.0, batch_size / count) / epochs)
    assert np.abs(visits.mean(axis=0) - 1).max() < error
    # Unbiased over buckets too: the mean of the size of an epoch is the number of molecules.
    assert abs(visits.sum(axis=1).mean() - count) < 5 * batch_size / 2 / np.sqrt(epochs)


def test_epochs_and_seeds_differ_and_buckets_are_mixed() -> None:
    counts = {5: 300, 9: 300}
    first, second, other = epoch_plan(counts, 10, 0, 0), epoch_plan(counts, 10, 0, 1), epoch_plan(counts, 10, 1, 0)
    for plan in (second, other):
        assert any((a.indices != b.indices).any() for a, b in zip(first, plan, strict=True))
    changes = np.diff([batch.bucket for batch in first]) != 0
    assert changes.sum() > 15  # of 60 batches in random order half the neighbours differ
