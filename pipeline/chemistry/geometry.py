"""Angles and dihedrals along the bonds of many molecules at once."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.chemistry.molecules import Molecules


@dataclass(frozen=True, eq=False)
class Values:
    """Values of a quantity of which a molecule has any number."""

    owner: npt.NDArray[np.int64]
    """[K] the molecule that each value is of."""
    value: npt.NDArray[np.float64]
    """[K] in angstrom or degrees."""


def heavy_bonds(molecules: Molecules) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the two ends of every bond between atoms other than hydrogen, as indices of atoms."""
    bonds = molecules.bonds
    heavy = (molecules.atomic_numbers[bonds.first] > 1) & (molecules.atomic_numbers[bonds.second] > 1)
    return bonds.first[heavy], bonds.second[heavy]


def bond_angles(molecules: Molecules) -> Values:
    """Return the angles, 0 to 180 degrees, between bonds that share an atom, hydrogens left out."""
    middle, end = _by_middle(*heavy_bonds(molecules))
    positions = molecules.positions.astype(np.float64)
    along = positions[end] - positions[middle]
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    found = [(_NO_ATOMS, _NO_VALUES)]
    for one, other in _pairs_at_an_atom(middle):
        cosine = np.clip((along[one] * along[other]).sum(axis=1), -1.0, 1.0)
        found.append((middle[one], np.degrees(np.arccos(cosine))))
    atoms, values = (np.concatenate(column) for column in zip(*found, strict=True))
    return Values(molecules.owners[atoms], values)


def dihedral_angles(molecules: Molecules) -> Values:
    """Return the dihedral angles, 0 to 180 degrees, of chains of four atoms, hydrogens left out.

    The sign is dropped: a molecule and its mirror image count alike. Three-membered rings are no chains, and a chain
    that is straight at one of its inner atoms has no dihedral.
    """
    first, second = heavy_bonds(molecules)
    middle, end = _by_middle(first, second)
    starts, counts = np.searchsorted(middle, first), np.bincount(middle, minlength=len(molecules.atomic_numbers))
    others = np.searchsorted(middle, second)
    found = [(_NO_ATOMS, _NO_VALUES)]
    positions = molecules.positions.astype(np.float64)
    most = int(counts.max(initial=0))
    for i, j in np.ndindex(most, most):
        chain = np.flatnonzero((i < counts[first]) & (j < counts[second]))
        b, c = first[chain], second[chain]
        a, d = end[starts[chain] + i], end[others[chain] + j]
        proper = (a != c) & (d != b) & (a != d)
        a, b, c, d = a[proper], b[proper], c[proper], d[proper]
        axis = positions[c] - positions[b]
        left, right = np.cross(positions[a] - positions[b], axis), np.cross(positions[d] - positions[c], axis)
        lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
        bent = lengths > _LEAST_AREA_SQUARED
        cosine = np.clip((left[bent] * right[bent]).sum(axis=1) / lengths[bent], -1.0, 1.0)
        found.append((b[bent], np.degrees(np.arccos(cosine))))
    atoms, values = (np.concatenate(column) for column in zip(*found, strict=True))
    return Values(molecules.owners[atoms], values)


_NO_ATOMS: Final = np.empty(0, dtype=np.int64)
_NO_VALUES: Final = np.empty(0, dtype=np.float64)

_LEAST_AREA_SQUARED: Final = 0.01
"""Of the product of two cross products, in angstrom to the fourth: below it a chain counts as straight (3 degrees)."""


def _by_middle(
    first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return every bond from both of its ends, sorted by the end that it is seen from."""
    middle, end = np.concatenate([first, second]), np.concatenate([second, first])
    order = np.argsort(middle, kind="stable")
    return middle[order], end[order]


def _pairs_at_an_atom(middle: npt.NDArray[np.int64]) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Return the pairs of entries of a sorted list that are equal, each pair once."""
    found = []
    for shift in range(1, int(np.bincount(middle).max(initial=0))):
        pairs = np.flatnonzero(middle[shift:] == middle[:-shift])
        found.append((pairs, pairs + shift))
    return found
