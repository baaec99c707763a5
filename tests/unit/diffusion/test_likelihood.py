from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from pipeline.core.progress import Progress, progress
from pipeline.data.batches import PaddedMolecules
from pipeline.data.shards import Shard
from pipeline.data.statistics import Statistics
from pipeline.diffusion.likelihood import BATCH, gather_bound, reconstruction_constant, size_log_probability
from pipeline.diffusion.schedules import polynomial_schedule

STATISTICS = Statistics(
    dataset="test",
    num_molecules={"train": 100, "validation": 5, "test": 5},
    size_histogram={"train": {3: 20, 5: 80}, "validation": {4: 5}, "test": {4: 5}},
    atom_counts={"H": 1, "C": 1, "N": 1, "O": 1, "F": 1},
    coordinate_scale=1.4,
    type_scale=0.1,
    buckets={5: 100},
)


def shard(bucket: int, numbers: npt.NDArray[np.int32], size: int) -> Shard:
    count = len(numbers)
    return Shard(
        bucket=bucket,
        index=numbers,
        sizes=np.full(count, size, np.int32),
        atomic_numbers=np.ones((count, bucket), np.uint8),
        positions=np.zeros((count, bucket, 3), np.float32),
    )


def test_sizes() -> None:
    found = size_log_probability(np.array([3, 5, 4]), STATISTICS)
    # One that no training molecule has is unlikely, not impossible.
    assert found == pytest.approx(np.log([0.2, 0.8, 0.005]))


def test_constant_is_that_of_a_gaussian() -> None:
    sigma, atoms = 0.3, 4
    gaussian = stats.norm(scale=sigma)
    # At its mean the density is one over the constant, in each of 3 (N - 1) dimensions.
    assert reconstruction_constant(np.array([atoms]), sigma_0=sigma) == pytest.approx(-9 * gaussian.logpdf(0.0))


def test_terms_are_gathered_in_the_order_of_the_molecules(tmp_path: Path) -> None:
    shards = [shard(4, np.arange(100, 100 + BATCH + 3, dtype=np.int32), 3), shard(5, np.array([7, 9], np.int32), 5)]
    schedule = polynomial_schedule(steps=10, precision=1e-3)
    widths = []

    def terms(molecules: PaddedMolecules) -> npt.NDArray[np.float64]:
        assert len(molecules.numbers) == BATCH
        widths.append(molecules.positions.shape[1])
        return np.stack([molecules.numbers, 10.0 * molecules.numbers, molecules.sizes], axis=1).astype(np.float64)

    def gather(bar: Progress) -> None:
        bound = gather_bound(terms, shards, STATISTICS, schedule, progress=bar)
        numbers = np.concatenate([of.index for of in shards])
        sizes = np.concatenate([of.sizes for of in shards])
        assert (bound.prior == numbers).all()
        assert (bound.diffusion == 10 * numbers).all()
        assert (bound.reconstruction == sizes).all()
        assert bound.constant == pytest.approx(reconstruction_constant(sizes, sigma_0=float(schedule.sigma_ve[0])))
        assert bound.size == pytest.approx(-size_log_probability(sizes, STATISTICS))
        assert bound.without_size == pytest.approx(
            bound.prior + bound.diffusion + bound.reconstruction + bound.constant
        )

    log = tmp_path / "log"
    with progress(total=BATCH + 5, description="likelihood", unit="molecules", log=log) as bar:
        gather(bar)
    assert f"{BATCH + 5}/{BATCH + 5}" in log.read_text()
    assert widths == [4, 4, 5]
