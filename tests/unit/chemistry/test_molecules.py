from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.chemistry.elements import ATOMIC_NUMBERS
from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError


def random_molecules(sizes: list[int], seed: int = 0, **keywords: Any) -> Molecules:
    generator = np.random.default_rng(seed)
    total = sum(sizes)
    return Molecules(
        sizes=np.array(sizes, dtype=np.int32),
        atomic_numbers=generator.choice(np.array(ATOMIC_NUMBERS, dtype=np.uint8), total),
        positions=generator.normal(size=(total, 3)).astype(np.float32),
        **keywords,
    )


def test_indexing_gives_each_molecule_its_own_atoms() -> None:
    molecules = random_molecules([3, 1, 4])
    assert len(molecules) == 3
    assert molecules.offsets.tolist() == [0, 3, 4, 8]
    numbers, positions = molecules[1]
    assert numbers.tolist() == molecules.atomic_numbers[3:4].tolist()
    assert positions.tolist() == molecules.positions[3:4].tolist()
    assert molecules[-1][0].tolist() == molecules.atomic_numbers[4:].tolist()
    with pytest.raises(IndexError):
        molecules[3]
    assert [len(numbers) for numbers, _ in molecules] == [3, 1, 4]


@given(sizes=st.lists(st.integers(1, 9), max_size=12), extra=st.integers(0, 3))
def test_padding_and_back_is_the_identity(sizes: list[int], extra: int) -> None:
    molecules = random_molecules(sizes)
    width = max(sizes, default=0) + extra
    positions = np.full((len(sizes), width, 3), np.nan)  # what is in the padding must not matter
    numbers = np.zeros((len(sizes), width), dtype=np.int64)
    for i, (z, x) in enumerate(molecules):
        numbers[i, : len(z)], positions[i, : len(z)] = z, x
    again = Molecules.from_padded(positions=positions, atomic_numbers=numbers, sizes=np.array(sizes, dtype=int))
    assert again.sizes.tolist() == sizes
    assert np.array_equal(again.atomic_numbers, molecules.atomic_numbers)
    assert np.array_equal(again.positions, molecules.positions)


@given(data=st.data(), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_select_is_indexing_molecule_by_molecule(data: st.DataObject, sizes: list[int]) -> None:
    molecules = random_molecules(
        sizes, smiles=tuple(f"s{i}" for i in range(len(sizes))), metadata={"kind": "molecules"}
    )
    indices = data.draw(st.lists(st.integers(-len(sizes), len(sizes) - 1), max_size=20))
    chosen = molecules.select(indices)
    assert len(chosen) == len(indices)
    assert chosen.metadata == molecules.metadata
    for position, index in enumerate(indices):
        assert np.array_equal(chosen[position][0], molecules[index][0])
        assert np.array_equal(chosen[position][1], molecules[index][1])
        assert chosen.smiles is not None
        assert chosen.smiles[position] == f"s{index % len(sizes)}"


def test_select_by_booleans() -> None:
    molecules = random_molecules([3, 1, 4])
    assert molecules.select(molecules.sizes > 2).sizes.tolist() == [3, 4]
    with pytest.raises(IndexError):
        molecules.select(np.array([True]))
    with pytest.raises(IndexError):
        molecules.select([3])


def test_list_and_back_is_the_identity() -> None:
    molecules = random_molecules([2, 5])
    again = Molecules.from_list(list(molecules))
    assert np.array_equal(again.positions, molecules.positions)
    assert again.sizes.tolist() == [2, 5]
    assert len(Molecules.from_list([])) == 0


def test_concatenating_the_parts_is_the_whole() -> None:
    whole = random_molecules([2, 5, 1, 4], smiles=("a", "b", None, "d"))
    again = Molecules.concatenate([whole.select([0, 1]), whole.select([]), whole.select([2, 3])])
    assert np.array_equal(again.positions, whole.positions)
    assert np.array_equal(again.atomic_numbers, whole.atomic_numbers)
    assert again.sizes.tolist() == [2, 5, 1, 4]
    assert again.smiles == whole.smiles
    assert Molecules.concatenate([whole, random_molecules([1])]).smiles is None


def test_storage_types() -> None:
    unconverted: dict[str, Any] = {"sizes": [1], "atomic_numbers": np.array([6]), "positions": np.zeros((1, 3))}
    molecules = Molecules(**unconverted)
    assert molecules.sizes.dtype == np.int32
    assert molecules.atomic_numbers.dtype == np.uint8
    assert molecules.positions.dtype == np.float32
    assert molecules.types().tolist() == [2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"atomic_numbers": [1, 6, 34, 8]}, "molecule 1: unknown element, atomic number 34"),
        ({"atomic_numbers": [1, 6, 0, 8]}, "molecule 1: unknown element, atomic number 0"),
        ({"atomic_numbers": [1, 6, 257, 8]}, "0 to 255"),
        ({"atomic_numbers": [1.0, 6.0, 7.0, 8.0]}, "whole numbers"),
        ({"sizes": [2, 1]}, "sizes add up to 3 atoms"),
        ({"sizes": [4, 0]}, "molecule 1: size 0"),
        ({"positions": np.zeros((3, 3))}, "3 positions"),
        ({"positions": np.zeros((4, 2))}, r"\(atoms, 3\)"),
        ({"positions": [[0, 0, 0]] * 3 + [[0, np.nan, 0]]}, "molecule 1: a coordinate is not finite"),
        ({"positions": [[0, 0, np.inf]] + [[0, 0, 0]] * 3}, "molecule 0: a coordinate is not finite"),
        ({"positions": [[0, 0, 1e39]] + [[0, 0, 0]] * 3}, "molecule 0: a coordinate is not finite"),
        ({"smiles": ("C",)}, "1 SMILES for 2 molecules"),
    ],
)
def test_unsound_molecules_are_refused(change: dict[str, Any], message: str) -> None:
    sound: dict[str, Any] = {"sizes": [2, 2], "atomic_numbers": [1, 6, 7, 8], "positions": np.zeros((4, 3))}
    Molecules(**sound)
    with pytest.raises(InputError, match=message):
        Molecules(**{**sound, **change})


def test_padded_sizes_beyond_the_padding_are_refused() -> None:
    with pytest.raises(InputError, match="size 3 exceeds the width of 2 atoms"):
        Molecules.from_padded(positions=np.zeros((1, 2, 3)), atomic_numbers=np.ones((1, 2), int), sizes=[3])
    with pytest.raises(InputError, match="should be"):
        Molecules.from_padded(positions=np.zeros((1, 3, 3)), atomic_numbers=np.ones((1, 2), int), sizes=[2])
