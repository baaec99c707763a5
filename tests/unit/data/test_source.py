from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.data.molecule_parquet import read_columns, read_molecules
from pipeline.data.source import SourceData, split_labels, write_canonical


def test_the_split_is_edms() -> None:
    # qm9/data/prepare/qm9.py of the reference: the global generator, seeded with 0, and np.split.
    np.random.seed(0)  # noqa: NPY002
    permutation = np.random.permutation(130831)  # noqa: NPY002
    train, validation, test, extra = np.split(permutation, [100000, 117748, 130831])
    labels = split_labels(130831, seed=0, train=100000, validation=17748)
    assert (len(train), len(validation), len(test), len(extra)) == (100000, 17748, 13083, 0)
    assert set(labels[train]) == {"train"}
    assert set(labels[validation]) == {"validation"}
    assert set(labels[test]) == {"test"}


def test_a_split_may_be_shares_of_the_molecules() -> None:
    assert (
        split_labels(1000, seed=3, train=0.8, validation=150) == split_labels(1000, seed=3, train=800, validation=150)
    ).all()
    halves = list(split_labels(7, seed=0, train=0.5, validation=0.5))
    assert [halves.count(split) for split in ("train", "validation", "test")] == [3, 3, 1]


def test_the_split_hangs_on_the_seed() -> None:
    first, other = (split_labels(1000, seed=seed, train=500, validation=250) for seed in (0, 1))
    assert (first != other).any()


@given(num=st.integers(1, 300), data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_the_splits_are_of_the_sizes_asked_for(num: int, data: st.DataObject, seed: int) -> None:
    train = data.draw(st.integers(1, num))
    validation = data.draw(st.integers(0, num - train))
    labels = split_labels(num, seed=seed, train=train, validation=validation)
    counts = [(labels == split).sum() for split in ("train", "validation", "test")]
    assert counts == [train, validation, num - train - validation]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            {"train": 0.01, "validation": 0.1},
            r"data\.split\.train: 0\.01 of \d+ molecules is none; too few to train on",
        ),
        ({"train": 0, "validation": 5}, r"data\.split\.train: 0 should be at least 1"),
        ({"train": 5, "validation": -1}, r"data\.split\.validation: -1 should be at least 0"),
        ({"train": 65, "validation": 0}, r"data\.split\.train: 65 is more than the 64 molecules"),
        (
            {"train": 60, "validation": 5},
            r"data\.split\.validation: 5 is more than the 4 molecules that data\.split\.t",
        ),
        ({"train": 60, "validation": 4, "seed": -1}, r"data\.split\.seed: -1 should be from 0"),
        ({"train": 60, "validation": 4, "seed": 2**32}, r"data\.split\.seed: 4294967296 should be from 0"),
    ],
)
def test_sizes_that_do_not_fit_name_their_key(sizes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        split_labels(64, **{"seed": 0, **sizes})


def test_the_canonical_file_has_all_of_the_source(tmp_path: Path, make_molecules: Callable[..., Molecules]) -> None:
    molecules = make_molecules([3, 5, 2], smiles=("C", None, "N"), metadata={"source": "made up"})
    data = SourceData(
        molecules=molecules,
        index=np.array([4, 6, 9], np.int32),
        columns={"gap": np.array([0.1, 0.2, 0.3])},
        units={"gap": "eV"},
    )
    counts = write_canonical(tmp_path / "m.parquet", data, seed=1, train=1, validation=1)
    assert counts == {"train": 1, "validation": 1, "test": 1}
    back = read_molecules(tmp_path / "m.parquet")
    assert back.metadata == {"source": "made up", "split": {"seed": 1, "train": 1, "validation": 1}}
    assert back.smiles == molecules.smiles
    assert back.positions.tobytes() == molecules.positions.tobytes()
    columns = read_columns(tmp_path / "m.parquet", ["index", "split", "gap"])
    assert columns["index"].tolist() == [4, 6, 9]
    assert columns["split"].tolist() == split_labels(3, seed=1, train=1, validation=1).tolist()
    assert columns["gap"].tolist() == [0.1, 0.2, 0.3]
