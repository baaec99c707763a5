import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from pipeline.chemistry import bonds as bonds_module
from pipeline.chemistry.bonds import THRESHOLDS_PM, Bonds, bond_order, find_bonds
from pipeline.chemistry.elements import ATOMIC_NUMBERS, SYMBOLS
from pipeline.chemistry.molecules import Molecules

Examples = dict[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]]


H, C, N, O, F, P, S, CL, BR = map(SYMBOLS.index, ["H", "C", "N", "O", "F", "P", "S", "Cl", "Br"])  # noqa: E741


def order(distance: float | np.float32, first: int, second: int) -> int:
    return int(bond_order(np.array([distance]), first=np.array([first]), second=np.array([second]))[0])


@pytest.mark.parametrize(
    ("pair", "limits"),
    [
        # Table plus margin, in pm, of a single, a double and a triple bond.
        ((H, H), (84,)),
        ((C, H), (119,)),
        ((N, H), (111,)),
        ((O, H), (106,)),
        ((F, H), (102,)),
        ((C, F), (145,)),
        ((N, F), (146,)),
        ((O, F), (152,)),
        ((C, C), (164, 139, 123)),
        ((C, N), (157, 134, 119)),
        ((C, O), (153, 125, 116)),
        ((N, N), (155, 130, 113)),
        ((N, O), (150, 126)),
        ((O, O), (158, 126)),
        ((F, F), (152,)),
        ((C, S), (192, 165)),
        ((O, P), (173, 155)),
        ((BR, CL), (224,)),
    ],
)
def test_orders_change_at_the_limits_and_nowhere_else(pair: tuple[int, int], limits: tuple[int, ...]) -> None:
    for first, second in (pair, pair[::-1]):
        edges = [*limits, 0]
        for index, limit in enumerate(limits):
            assert order((limit + 0.1) / 100, first, second) == index
            assert order((limit - 0.1) / 100, first, second) == index + 1
        assert order(edges[-2] / 200, first, second) == len(limits)


def test_a_distance_at_the_limit_is_outside() -> None:
    assert order(1.64, C, C) == 0
    assert order(np.nextafter(np.float32(1.64), np.float32(0)), C, C) == 1


def test_thresholds_are_symmetric_and_nested() -> None:
    assert np.array_equal(THRESHOLDS_PM, THRESHOLDS_PM.transpose(0, 2, 1))
    # bond_order counts how many limits a distance is below: that is only right for nested ones.
    assert ((np.diff(THRESHOLDS_PM, axis=0) < 0) | (THRESHOLDS_PM[1:] == 0)).all()
    of_qm9 = np.ix_([H, C, N, O, F], [H, C, N, O, F])
    assert (THRESHOLDS_PM[0][of_qm9] > 0).all(), "every pair of QM9's elements can be singly bonded"
    with pytest.raises(ValueError, match="read-only"):
        THRESHOLDS_PM[0, 0, 0] = 1


def named(bonds: Bonds, numbers: list[str]) -> list[tuple[str, int]]:
    return sorted(
        ("".join(sorted(numbers[a] + numbers[b])), int(o))
        for a, b, o in zip(bonds.first, bonds.second, bonds.order, strict=True)
    )


def test_bonds_of_hydrogen_cyanide(examples: Examples) -> None:
    molecules = Molecules.from_list([examples["hydrogen cyanide"]])  # C N H
    bonds = find_bonds(molecules)
    assert named(bonds, ["C", "N", "H"]) == [("CH", 1), ("CN", 3)]
    assert bonds.length == pytest.approx([1.1518, 1.0665], abs=1e-3)


def test_bonds_come_in_the_order_of_the_molecules_whatever_their_sizes(examples: Examples) -> None:
    names = ["benzene", "methane", "ethanol", "water", "methane"]
    molecules = Molecules.from_list([examples[name] for name in names])
    together = find_bonds(molecules)
    assert together.sizes.tolist() == [12, 4, 8, 2, 4]
    for index, name in enumerate(names):
        alone = find_bonds(Molecules.from_list([examples[name]]))
        own = slice(together.offsets[index], together.offsets[index + 1])
        start = molecules.offsets[index]
        assert (together.first[own] - start).tolist() == alone.first.tolist()
        assert (together.second[own] - start).tolist() == alone.second.tolist()
        assert together.order[own].tolist() == alone.order.tolist()
    assert (together.first < together.second).all()


def every_pair(molecules: Molecules) -> list[tuple[int, int, int]]:
    """The rule pair by pair, as the authors' loops have it."""
    found: list[tuple[int, int, int]] = []
    for start, (numbers, positions) in zip(molecules.offsets, molecules, strict=False):
        types = [SYMBOLS.index(Chem.Atom(int(z)).GetSymbol()) for z in numbers]
        for i in range(len(numbers)):
            for j in range(i + 1, len(numbers)):
                distance = np.float32(math.dist(positions[i].tolist(), positions[j].tolist()))
                if bond := order(distance, types[i], types[j]):
                    found.append((int(start) + i, int(start) + j, bond))
    return found


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), sizes=st.lists(st.integers(1, 12), max_size=6))
def test_agrees_with_a_loop_over_all_pairs(seed: int, sizes: list[int]) -> None:
    generator = np.random.default_rng(seed)
    total = sum(sizes)
    molecules = Molecules(
        sizes=np.array(sizes, int),
        atomic_numbers=generator.choice(ATOMIC_NUMBERS, total),
        positions=generator.normal(scale=1.2, size=(total, 3)).astype(np.float32),
    )
    bonds = find_bonds(molecules)
    assert list(zip(bonds.first, bonds.second, bonds.order, strict=True)) == every_pair(molecules)


def test_agrees_with_itself_in_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    molecules = Molecules(
        sizes=np.array([30, 7, 30, 30]),
        atomic_numbers=generator.choice([1, 6, 7, 8, 9], 97),
        positions=generator.normal(scale=1.5, size=(97, 3)).astype(np.float32),
    )
    whole = find_bonds(molecules)
    # Fewer pairs per block than one molecule has: molecules and their rows are split.
    monkeypatch.setattr(bonds_module, "_PAIRS_AT_ONCE", 100)
    parts = find_bonds(molecules)
    assert len(whole.first) > 20
    for name in ("sizes", "first", "second", "order", "length"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name)), name


def test_no_molecules_no_bonds() -> None:
    bonds = find_bonds(Molecules.from_list([]))
    assert len(bonds.first) == len(bonds.sizes) == 0
    assert bonds.offsets.tolist() == [0]


def test_atoms_at_extreme_distances_are_not_bonded() -> None:
    molecules = Molecules.from_list([([6, 6], [[-3e38, 0, 0], [3e38, 0, 0]])])
    assert find_bonds(molecules).sizes.tolist() == [0]
