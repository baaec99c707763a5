"""EDM's bonds: which pairs of atoms are bonded, and their bond orders, by distance alone.

A pair is a single bond below its tabulated length plus 10 pm, a double bond below the double length plus 5 pm and a
triple bond below the triple length plus 3 pm (Hoogeboom et al. 2022, arXiv 2203.17003, appendix C, and the authors'
``qm9/bond_analyze.py``). The lengths are typical values from tables; the authors tuned the margins on QM9. The rule is
crude, but every published result on QM9 uses it: do not change it.

The authors use the same tables and margins for GEOM-Drugs. A pair that the table does not list, as boron and carbon,
is never bonded.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from pipeline.chemistry.elements import SYMBOLS

if TYPE_CHECKING:
    from pipeline.chemistry.molecules import Molecules

SINGLE_PM: Final[dict[str, dict[str, int]]] = {
    "H": {
        "H": 74, "B": 119, "C": 109, "N": 101, "O": 96, "F": 92, "Si": 148, "P": 144, "S": 134, "Cl": 127, "As": 152,
        "Br": 141, "I": 161,
    },
    "B": {"Cl": 175},
    "C": {"C": 154, "N": 147, "O": 143, "F": 135, "Si": 185, "P": 184, "S": 182, "Cl": 177, "Br": 194, "I": 214},
    "N": {"N": 145, "O": 140, "F": 136, "P": 177, "S": 168, "Cl": 175, "Br": 214, "I": 222},
    "O": {"O": 148, "F": 142, "Si": 163, "P": 163, "S": 151, "Cl": 164, "Br": 172, "I": 194},
    "F": {"F": 142, "Si": 160, "P": 156, "S": 158, "Cl": 166, "Br": 178, "I": 187},
    "Si": {"Si": 233, "S": 200, "Cl": 202, "Br": 215, "I": 243},
    "P": {"P": 221, "S": 210, "Cl": 203, "Br": 222},
    "S": {"S": 204, "Cl": 207, "Br": 225, "I": 234},
    "Cl": {"Cl": 199, "Br": 214},
    "Br": {"Br": 228},
    "I": {"I": 266},
}  # fmt: skip
"""Length of a single bond by pair of elements, the lighter one first, in picometres; a pair not listed has none."""

DOUBLE_PM: Final[dict[str, dict[str, int]]] = {
    "C": {"C": 134, "N": 129, "O": 120, "S": 160},
    "N": {"N": 125, "O": 121},
    "O": {"O": 121, "P": 150},
    "P": {"S": 186},
}
"""Length of a double bond, likewise."""

TRIPLE_PM: Final[dict[str, dict[str, int]]] = {"C": {"C": 120, "N": 116, "O": 113}, "N": {"N": 110}}
"""Length of a triple bond, likewise."""

MARGINS_PM: Final[tuple[int, int, int]] = (10, 5, 3)
"""How far a single, a double and a triple bond may exceed its table length, in picometres."""


def _thresholds() -> npt.NDArray[np.float32]:
    table = np.zeros((3, len(SYMBOLS), len(SYMBOLS)), dtype=np.float32)
    for order, (lengths, margin) in enumerate(zip((SINGLE_PM, DOUBLE_PM, TRIPLE_PM), MARGINS_PM, strict=True)):
        for first, others in lengths.items():
            for second, length in others.items():
                i, j = SYMBOLS.index(first), SYMBOLS.index(second)
                table[order, i, j] = table[order, j, i] = length + margin
    table.flags.writeable = False
    return table


THRESHOLDS_PM: Final[npt.NDArray[np.float32]] = _thresholds()
"""[3, 16, 16] distance in picometres below which a pair of types has at least this bond order; 0 where it never has."""

_PAIRS_AT_ONCE: Final = 1 << 20
"""Squared distances in memory at a time: few enough for the cache, enough for NumPy to be fast."""


def bond_order(
    distance: npt.ArrayLike, *, first: npt.NDArray[np.integer], second: npt.NDArray[np.integer]
) -> npt.NDArray[np.uint8]:
    """Return the bond order, 0 to 3, of every pair of atoms; symmetric in ``first`` and ``second``.

    Args:
      distance: [...] in angstrom; compared in float32, as the authors' evaluation does.
      first: [...] type of one atom, an index into ``elements.ELEMENTS``.
      second: [...] type of the other atom.
    """
    picometres = np.asarray(distance, dtype=np.float32) * np.float32(100)
    # A distance short enough for a triple bond is also short enough for the other two, so the order is a count.
    orders: npt.NDArray[np.uint8] = (picometres < THRESHOLDS_PM[:, first, second]).sum(axis=0, dtype=np.uint8)
    return orders


@dataclass(frozen=True, eq=False)
class Bonds:
    """All bonds of M molecules with A atoms, as flat arrays in the order of the molecules, each bond once."""

    sizes: npt.NDArray[np.int32]
    """[M] bonds of each molecule."""
    first: npt.NDArray[np.int64]
    """[B] index of one atom among the A atoms of all molecules."""
    second: npt.NDArray[np.int64]
    """[B] index of the other atom, always larger than ``first``."""
    order: npt.NDArray[np.uint8]
    """[B] 1, 2 or 3."""
    length: npt.NDArray[np.float32]
    """[B] in angstrom."""

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """[M + 1] molecule ``i`` owns the bonds ``offsets[i]`` up to ``offsets[i + 1]``."""
        return np.concatenate([[0], np.cumsum(self.sizes, dtype=np.int64)])


def find_bonds(molecules: "Molecules") -> Bonds:
    """Return every pair of atoms that EDM's tables call bonded; ``Molecules.bonds`` keeps them.

    All of QM9, 44 million pairs, takes a few seconds and little memory.
    """
    types = molecules.types()
    there = np.unique(types)
    # The longest bond of these elements, with a margin for rounding.
    longest = float(THRESHOLDS_PM[:, there[:, None], there].max(initial=0.0)) / 100 + 0.01
    first, second = near_pairs(molecules, longest)
    # In double precision, so that the length does not depend on the order of summation.
    difference = molecules.positions[first].astype(np.float64) - molecules.positions[second]
    length = np.sqrt((difference * difference).sum(axis=1)).astype(np.float32)
    order = bond_order(length, first=types[first], second=types[second])
    # The pairs are grouped by size of molecule: sort them by molecule and drop those that are not bonded.
    place = np.lexsort((second, first))
    place = place[order[place] > 0]
    sizes = np.diff(np.searchsorted(first[place], molecules.offsets)).astype(np.int32)
    return Bonds(sizes=sizes, first=first[place], second=second[place], order=order[place], length=length[place])


def near_pairs(molecules: "Molecules", longest: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the pairs of atoms, smaller index first, closer than ``longest`` angstrom; small molecules first."""
    parts = [_near_pairs(molecules.positions, rows, columns, longest) for rows, columns in _blocks(molecules)]
    first, second = (np.concatenate(atoms) for atoms in zip((_NO_ATOMS, _NO_ATOMS), *parts, strict=True))
    return first, second


_NO_ATOMS: Final[npt.NDArray[np.int64]] = np.empty(0, dtype=np.int64)


def _blocks(molecules: "Molecules") -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Yield indices of atoms, rows [K, R] and columns [K, N], that together cover all pairs within each molecule."""
    for size in np.unique(molecules.sizes).tolist():
        starts = molecules.offsets[:-1][molecules.sizes == size]
        molecules_at_once = max(1, _PAIRS_AT_ONCE // size**2)
        rows_at_once = max(1, _PAIRS_AT_ONCE // size)
        for some in range(0, len(starts), molecules_at_once):
            atoms = starts[some : some + molecules_at_once, None] + np.arange(size)
            for row in range(0, size, rows_at_once):
                yield atoms[:, row : row + rows_at_once], atoms


def _near_pairs(
    positions: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64], longest: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    squared = np.zeros((*rows.shape, columns.shape[1]), dtype=np.float32)
    with np.errstate(over="ignore"):  # an infinite distance is simply far
        for axis in range(3):
            difference = positions[rows, axis][:, :, None] - positions[columns, axis][:, None, :]
            difference *= difference
            squared += difference
    block, row, column = np.nonzero(squared < longest**2)
    first, second = rows[block, row], columns[block, column]
    once = first < second
    return first[once], second[once]
