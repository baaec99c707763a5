"""Fingerprints of molecular graphs, for a fast check of which molecules cannot be the same.

Novelty compares generated molecules with a hundred thousand training molecules. Their SMILES take half a minute, their
fingerprints a second, and only the few that share one with a generated molecule need their SMILES.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.chemistry.geometry import heavy_bonds
from pipeline.chemistry.molecules import Molecules

_ROUNDS: Final = 4
"""Radius in bonds of what an atom's colour depends on; more would distinguish more isomers, but take longer."""


def sharing_a_fragment(molecules: Molecules, others: Molecules) -> npt.NDArray[np.bool_]:
    """Return for each of ``molecules``, [M], whether ``others`` may contain one of its fragments.

    If False, no fragment of the molecule has the same graph (elements and bonded pairs, regardless of bond orders) as
    any fragment of the others. If True, one very likely has.
    """
    known, _ = _fragments(others)
    keys, owner = _fragments(molecules)
    shared = np.zeros(len(molecules), dtype=np.bool_)
    shared[owner[np.isin(keys, known)]] = True
    return shared


def sharing_a_skeleton(molecules: Molecules, others: Molecules) -> npt.NDArray[np.bool_]:
    """Tell for each of ``molecules``, [M], whether it may be one of ``others`` or a tautomer.

    Tautomers, which have the same InChI, differ in where their hydrogens are. Where the answer is no, the molecule has
    another formula, or another graph of atoms other than hydrogen, than any of the others.
    """
    return np.isin(_skeletons(molecules), _skeletons(others))


def molecule_fingerprints(molecules: Molecules) -> npt.NDArray[np.uint64]:
    """Return a fingerprint of every molecule's graph, [M], see ``_fragments``; equal graphs have equal ones."""
    return np.add.reduceat(_colours(molecules), molecules.offsets[:-1])


def _skeletons(molecules: Molecules) -> npt.NDArray[np.uint64]:
    """Return a fingerprint of every molecule, [M], of its heavy atoms, their bonds and the number of hydrogens."""
    heavy = molecules.atomic_numbers > 1
    colours = np.where(heavy, _colours(molecules, *heavy_bonds(molecules)), np.uint64(1))
    return np.add.reduceat(colours, molecules.offsets[:-1]) if len(molecules) else colours


def _fragments(molecules: Molecules) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Return the fingerprint of every fragment, [F], and the molecule it belongs to.

    The fingerprint is that of Weisfeiler and Lehman (1968): every atom starts with its element and is repeatedly hashed
    with its neighbours; a fragment is the sum over its atoms. Equal graphs have equal fingerprints.
    """
    colours, bonds = _colours(molecules), molecules.bonds
    total = len(colours)
    graph = coo_array((np.ones(len(bonds.first), dtype=np.bool_), (bonds.first, bonds.second)), shape=(total, total))
    number, fragment = connected_components(graph, directed=False)
    keys = np.zeros(number, dtype=np.uint64)
    np.add.at(keys, fragment, colours)
    owner = np.empty(number, dtype=np.int64)
    owner[fragment] = molecules.owners
    return keys, owner


def _colours(molecules: Molecules, *ends: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Return a hash of every atom and its surroundings, [A], by all bonds or those with these two ends."""
    first, second = ends or (molecules.bonds.first, molecules.bonds.second)
    colours = _mix(molecules.atomic_numbers.astype(np.uint64))
    for _ in range(_ROUNDS):
        received = np.zeros_like(colours)
        np.add.at(received, first, colours[second])
        np.add.at(received, second, colours[first])
        colours = _mix(colours + _mix(received))
    return colours


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return a 64-bit hash of every value (the finaliser of SplitMix64); overflow is intended."""
    values = (values + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
