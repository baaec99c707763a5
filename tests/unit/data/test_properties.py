from pathlib import Path

import numpy as np
import pytest

from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.data.molecule_parquet import write_molecules
from pipeline.data.properties import PropertyStatistics, read_properties
from pipeline.data.shards import Shard, make_shards, take_half

NUMBER = 60
SPLIT = np.array(["train"] * 40 + ["validation"] * 20, object)
INDEX = np.arange(NUMBER)[::-1] + 3
SIZES = np.tile(np.array([2, 3, 5], np.int32), 20)
ALPHA = np.arange(NUMBER) + 10.0 * SIZES


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of the stage parse, its molecules not in the order of their numbers."""
    columns = {"polarizability": ALPHA, "gap": ALPHA / 7, "split": SPLIT, "name": ["x"] * NUMBER, "flat": [1] * NUMBER}
    columns["holes"] = [None, *ALPHA[1:]]
    write_molecules(
        tmp_path / "m.parquet", molecules(), index=INDEX, extra_columns=columns, units={"polarizability": "bohr^3"}
    )
    return tmp_path / "m.parquet"


def molecules() -> Molecules:
    atoms = int(SIZES.sum())
    return Molecules(SIZES, np.full(atoms, 6, np.uint8), np.zeros((atoms, 3), np.float32))


def shards() -> dict[str, list[Shard]]:
    return make_shards(molecules(), index=INDEX, split=SPLIT, buckets=[3, 5])


def test_values_are_those_of_the_molecules_with_the_mean_and_deviation_of_the_validation_split(path: Path) -> None:
    found = read_properties(path, ["alpha", "gap"], shards())
    validation = ALPHA[SPLIT == "validation"]
    mean = validation.mean()
    mad = np.abs(validation - mean).mean()
    assert found.statistics.mean[0] == pytest.approx(mean) and found.statistics.mad[0] == pytest.approx(mad)
    assert found.statistics.units == ("bohr^3", None)
    train = ALPHA[SPLIT == "train"]
    assert found.statistics.ranges[0] == (train.min(), train.max())
    for shard in shards()["train"]:
        context = found.context(shard.index, shard.sizes)
        values = ALPHA[NUMBER + 2 - shard.index]
        expected = (values - mean) / mad
        same_size = np.array([ALPHA[(SPLIT == "train") & (size == SIZES)].mean() for size in shard.sizes])
        relative = (values - same_size) / mad
        rows = np.stack([expected, expected, relative, relative, np.ones(len(shard))], axis=1)
        np.testing.assert_allclose(context, rows, rtol=1e-4, atol=1e-6)


def test_drawn_values_are_those_of_training_molecules_of_the_size(path: Path) -> None:
    statistics = read_properties(path, ["alpha", "gap"], shards()).statistics
    sizes = np.array([2, 5, 3, 3, 9, 2] * 50, np.int32)
    values = statistics.draw(sizes, seed=1)
    np.testing.assert_allclose(values[:, 1], values[:, 0] / 7)
    for size in (2, 3, 5, 9):
        # The largest size in the data stands for a larger one.
        expected = ALPHA[(SPLIT == "train") & (min(size, 5) == SIZES)]
        assert set(values[sizes == size, 0]) <= set(expected)
        assert len(set(values[sizes == size, 0])) > 5
    assert (statistics.draw(sizes[:7], seed=1) == values[:7]).all()
    assert (statistics.draw(sizes, seed=2) != values).any()


def test_statistics_read_back(path: Path) -> None:
    statistics = read_properties(path, ["alpha", "gap"], shards()).statistics
    assert PropertyStatistics(**statistics.model_dump(mode="json")) == statistics


def test_values_outside_the_data_are_warned_of(path: Path) -> None:
    statistics = read_properties(path, ["alpha"], shards()).statistics
    low, high = statistics.ranges[0]
    assert statistics.warnings(statistics.given({"alpha": low}, 3)) == []
    (line,) = statistics.warnings(statistics.given({"alpha": [low, high + 1]}, 2))
    assert line == f"property alpha: {high + 1:g} is outside the training data, {low:g} to {high:g} bohr^3"


@pytest.mark.parametrize("values", [{}, {"gap": 1.0}, {"alpha": [1.0, 2.0]}, {"alpha": np.nan}])
def test_other_values_are_refused(path: Path, values: dict[str, float]) -> None:
    statistics = read_properties(path, ["alpha"], shards()).statistics
    with pytest.raises(InputError, match="alpha|gap|property"):
        statistics.given(values, 3)


@pytest.mark.parametrize("name", ["mass", "name", "flat", "holes"])
def test_a_column_that_is_no_property_is_refused(path: Path, name: str) -> None:
    with pytest.raises(InputError, match=name):
        read_properties(path, [name], shards())


def test_halves_are_those_of_edm() -> None:
    train = shards()["train"]
    index = np.sort(INDEX[SPLIT == "train"])
    np.random.seed(42)  # as EDM's code does
    permuted = index[np.random.permutation(len(index))]
    halves = [np.concatenate([shard.index for shard in take_half(train, half)]) for half in ("first", "second")]
    assert set(halves[0]) == set(permuted[:20]) and set(halves[1]) == set(permuted[20:])
