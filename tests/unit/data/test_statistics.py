import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.data.molecule_files import read_molecule_files
from pipeline.data.shards import make_shards
from pipeline.data.statistics import Statistics, measure, read_statistics, write_statistics


@pytest.fixture
def measured(make_molecules: Callable[..., Molecules]) -> tuple[Molecules, Any, Statistics]:
    """Molecules, their splits and what is measured on them."""
    molecules = make_molecules([3, 9, 5, 4, 9, 1, 9], seed=4)
    split = np.array(["train", "train", "test", "train", "validation", "train", "train"], dtype=object)
    shards = make_shards(molecules, index=np.arange(7), split=split, buckets=[4, 6, 10])
    return molecules, split, measure(shards, dataset="made up")


def test_counts_are_those_of_the_molecules(measured: tuple[Molecules, Any, Statistics]) -> None:
    molecules, split, statistics = measured
    assert statistics.dataset == "made up"
    assert statistics.num_molecules == {"train": 5, "validation": 1, "test": 1}
    assert statistics.size_histogram == {"train": {1: 1, 3: 1, 4: 1, 9: 2}, "validation": {9: 1}, "test": {5: 1}}
    assert statistics.buckets == {4: 3, 6: 0, 10: 2}
    train = molecules.select(split == "train")
    numbers = dict(zip("HCNOF", (1, 6, 7, 8, 9), strict=True))
    assert statistics.atom_counts == {s: int((train.atomic_numbers == n).sum()) for s, n in numbers.items()}
    assert list(statistics.atom_counts) == list("HCNOF")


def test_the_vocabulary_is_every_element_of_the_data(tmp_path: Path) -> None:
    """An element of the test split alone is a type, too; one that is nowhere is none."""
    molecules = Molecules.from_list([([17, 6], np.eye(2, 3)), ([1, 1], np.eye(2, 3)), ([35, 1], np.eye(2, 3))])
    split = np.array(["train", "train", "test"], dtype=object)
    shards = make_shards(molecules, index=np.arange(3), split=split, buckets=[2])
    statistics = measure(shards, dataset="made up")
    assert statistics.atom_counts == {"H": 2, "C": 1, "Cl": 1, "Br": 0}
    assert statistics.elements == (1, 6, 17, 35)
    statistics.check_elements(shards["test"])
    smaller = measure(shards | {"test": shards["validation"]}, dataset="made up")
    with pytest.raises(InputError, match="the molecules have Br, and the network was made for H, C, Cl"):
        smaller.check_elements(shards["test"])


def test_scales_are_standard_deviations_of_what_the_model_sees(measured: tuple[Molecules, Any, Statistics]) -> None:
    molecules, split, statistics = measured
    train = molecules.select(split == "train")
    centred = np.concatenate([positions - positions.mean(axis=0) for _, positions in train])
    assert statistics.coordinate_scale == pytest.approx(np.sqrt(np.mean(np.square(centred))), rel=1e-6)
    features = (train.atomic_numbers[:, None] == np.array([1, 6, 7, 8, 9])) / 4
    assert statistics.type_scale == pytest.approx(np.sqrt(features.var(axis=0).mean()), rel=1e-6)


def test_the_file_gives_back_what_was_measured(tmp_path: Path, measured: tuple[Molecules, Any, Statistics]) -> None:
    statistics = measured[-1]
    write_statistics(tmp_path / "s.json", statistics)
    assert read_statistics(tmp_path / "s.json") == statistics
    value = json.loads((tmp_path / "s.json").read_text())
    assert Statistics.from_json(value).to_json() == value
    assert value["size_histogram"]["train"] == {"1": 1, "3": 1, "4": 1, "9": 2}
    assert value["buckets"] == {"4": 3, "6": 0, "10": 2}
    assert value["length_unit"] == "angstrom"


def test_real_molecules_have_real_scales(test_data: Path) -> None:
    data = read_molecule_files(test_data / "molecules64.sdf", invalid="refuse").data
    split = np.full(len(data.molecules), "train", dtype=object)
    statistics = measure(
        make_shards(data.molecules, index=data.index, split=split, buckets=[15, 29]), dataset="molecules64"
    )
    assert statistics.num_molecules == {"train": 64, "validation": 0, "test": 0}
    assert (min(statistics.size_histogram["train"]), max(statistics.size_histogram["train"])) == (3, 29)
    assert statistics.size_histogram["test"] == {}
    assert all(statistics.atom_counts.values())
    assert 1.2 < statistics.coordinate_scale < 1.6
    assert 0.08 < statistics.type_scale < 0.1


@pytest.mark.parametrize(("odd", "even"), [(None, False), (0, True), (2, True), (3, False)])
def test_electrons_are_even_where_one_in_a_hundred_molecules_has_an_odd_number(
    measured: tuple[Molecules, Any, Statistics], odd: int | None, even: bool
) -> None:
    counts = {"odd_electrons": odd, "num_molecules": {"train": 200, "validation": 9, "test": 9}}
    assert measured[-1].model_copy(update=counts).even_electrons is even


def test_molecules_with_an_odd_number_of_electrons_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("3\n\nO 0 0 0\nH 0 0 1\nH 0 1 0\n2\n\nO 0 0 0\nH 0 0 1\n2\n\nN 0 0 0\nO 0 0 1.2\n")
    data = read_molecule_files(tmp_path / "a.xyz", invalid="refuse").data
    split = np.array(["train", "train", "validation"], dtype=object)
    statistics = measure(make_shards(data.molecules, index=data.index, split=split, buckets=[3]), dataset=None)
    assert statistics.odd_electrons == 1


def test_what_does_not_vary_or_is_not_there_cannot_be_measured(make_molecules: Callable[..., Molecules]) -> None:
    for sizes, split, message in [
        ([3], "test", r"data\.split\.train: the training split has no molecules"),
        ([1], "train", "nothing to learn from"),
    ]:
        shards = make_shards(make_molecules(sizes), index=np.arange(1), split=np.array([split], object), buckets=[9])
        with pytest.raises(InputError, match=message):
            measure(shards, dataset=None)


def test_damaged_files_are_refused(tmp_path: Path, measured: tuple[Molecules, Any, Statistics]) -> None:
    path = tmp_path / "s.json"
    with pytest.raises(InputError, match=r"s\.json: no such file"):
        read_statistics(path)
    write_statistics(path, measured[-1])
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(InputError, match=r"s\.json: not JSON, truncated or damaged"):
        read_statistics(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"s\.json: not JSON, truncated or damaged"):
        read_statistics(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"buckets": None}, "not the statistics of a data set"),
        ({"atom_counts": {"H": -1}}, "atom_counts.H: Input should be greater than or equal to 0"),
        ({"atom_counts": {"Xe": 1}}, "Xe is not an element that is supported"),
        ({"atom_counts": {"H": 1.5}}, "atom_counts.H: Input should be a valid integer"),
        ({"coordinate_scale": 0}, "coordinate_scale: Input should be greater than 0"),
        ({"type_scale": "0.1"}, "type_scale: Input should be a valid number"),
        ({"size_histogram": {"train": {"three": 1}}}, "not the statistics of a data set"),
        ({"num_molecules": {"train": 1}}, "its splits are not train, validation, test"),
    ],
)
def test_other_json_is_refused(
    measured: tuple[Molecules, Any, Statistics], changes: dict[str, Any], message: str
) -> None:
    value = measured[-1].to_json()
    with pytest.raises(InputError, match=message):
        Statistics.from_json({**value, **changes})
    for key in value.keys() - {"length_unit", "odd_electrons"}:
        with pytest.raises(InputError, match=f"{key}: Field required"):
            Statistics.from_json({other: value[other] for other in value if other != key})
    others: list[Any] = [[], 3, "x", None]
    for other in others:
        with pytest.raises(InputError, match="not the statistics of a data set"):
            Statistics.from_json(other)
