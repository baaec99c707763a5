"""Validity by RDKit: that of EDM, and a stricter one of the whole molecule.

Both use the bonds of ``pipeline.chemistry.bonds``, hence the same geometry, and both return a canonical SMILES, or None
for an invalid molecule.

*EDM's* (Hoogeboom et al. 2022, ``qm9/rdkit_functions.py``): the bond orders of the distance tables, sanitised by RDKit,
which fills free valences with implicit hydrogens and allows no charges except in nitro groups; then the fragment with
the most atoms. A carbon atom on its own counts as methane, and a molecule in five pieces is valid. On QM9 it accepts
97.7 %, as published; it is what the literature reports.

*Connected*: all atoms in one fragment, without implicit hydrogens, and a neutral Lewis structure with no free valences
or unpaired electrons (``pipeline.chemistry.lewis``). On QM9 it accepts 99.5 %, and its SMILES is the published
one for 99.2 %; nearly all of the rest have a ring bond longer than EDM's table allows.

Both terminate quickly: RDKit does not search for valences, and the search for the Lewis structure is limited.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final, Self

import numpy as np
from rdkit import Chem, rdBase

from pipeline.chemistry.lewis import LewisStructure, lewis_structure
from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.parallel import Advance, map_molecules

_BOND_TYPES: Final = {1: Chem.BondType.SINGLE, 2: Chem.BondType.DOUBLE, 3: Chem.BondType.TRIPLE}


@dataclass(frozen=True)
class KnownMolecules:
    """Distinct SMILES by both validities, such as of all training molecules that matter to a novelty."""

    edm: frozenset[str]
    connected: frozenset[str]


@dataclass(frozen=True)
class Perceived:
    """Canonical SMILES of every molecule, None where it is not valid."""

    edm: tuple[str | None, ...]
    """[M] of the largest fragment as EDM builds it, with the explicit hydrogens written out."""
    connected: tuple[str | None, ...]
    """[M] of the whole molecule, connected and complete, in the usual form without hydrogens."""

    def distinct(self) -> KnownMolecules:
        """Return the distinct SMILES of the valid molecules."""
        edm, connected = (frozenset(one for one in smiles if one is not None) for smiles in (self.edm, self.connected))
        return KnownMolecules(edm, connected)

    @classmethod
    def joined(cls, parts: Iterable["Perceived"]) -> Self:
        """Return the SMILES of several sets of molecules as one."""
        edm, connected = zip(*((part.edm, part.connected) for part in parts), strict=True)
        return cls(tuple(chain(*edm)), tuple(chain(*connected)))


def perceive(molecules: Molecules, *, processes: int = 1, advance: Advance = lambda count: None) -> Perceived:
    """Determine both validities of every molecule.

    All of QM9 takes about a minute in one process.

    Args:
      molecules: M molecules.
      processes: number of worker processes; 1 uses none.
      advance: see ``map_molecules``.
    """
    return Perceived.joined(
        [Perceived((), ()), *map_molecules(_perceive, molecules, processes=processes, advance=advance)]
    )


def _perceive(molecules: Molecules) -> Perceived:
    with rdBase.BlockLogs():  # RDKit would print a line for every invalid molecule
        graphs = [_graph(molecules, index) for index in range(len(molecules))]
        return Perceived(edm=tuple(map(edm_smiles, graphs)), connected=tuple(map(connected_smiles, graphs)))


@dataclass(frozen=True)
class Graph:
    """One molecule as atoms and bonds, without coordinates."""

    atomic_numbers: list[int]
    """[N] of the atoms."""
    bonds: list[tuple[int, int, int]]
    """Two atoms, counted from 0, and the order of the bond between them, 1 to 3; each bond once."""


def _graph(molecules: Molecules, index: int) -> Graph:
    bonds = molecules.bonds
    start, own = molecules.offsets[index], slice(bonds.offsets[index], bonds.offsets[index + 1])
    first, second = (bonds.first[own] - start).tolist(), (bonds.second[own] - start).tolist()
    return Graph(
        atomic_numbers=molecules[index][0].tolist(),
        bonds=list(zip(first, second, bonds.order[own].tolist(), strict=True)),
    )


def edm_smiles(graph: Graph) -> str | None:
    """Return the SMILES of the largest fragment, or None if EDM's molecule cannot be sanitised."""
    molecule = Chem.RWMol()
    for number in graph.atomic_numbers:
        molecule.AddAtom(Chem.Atom(number))
    for first, second, order in graph.bonds:
        molecule.AddBond(first, second, _BOND_TYPES[order])
    try:
        Chem.SanitizeMol(molecule)
        fragments = Chem.GetMolFrags(molecule, asMols=True)
    except ValueError:
        return None
    # The first of equally large fragments, as in EDM.
    return Chem.MolToSmiles(max(fragments, key=lambda fragment: fragment.GetNumAtoms()))


def connected_smiles(graph: Graph) -> str | None:
    """Return the SMILES of the whole molecule, or None if it is not connected or has no Lewis structure."""
    numbers, pairs = graph.atomic_numbers, [(first, second) for first, second, _ in graph.bonds]
    single = LewisStructure(orders=[1] * len(pairs), charges=[0] * len(numbers))
    skeleton = _explicit_molecule(numbers, pairs, single)
    if len(Chem.GetMolFrags(skeleton)) != 1:
        return None
    # The search returns the first of equally good Lewis structures. In a canonical order of atoms, the same molecule
    # always gets the same structure, hence the same SMILES.
    skeleton.UpdatePropertyCache(strict=False)
    rank = list(Chem.CanonicalRankAtoms(skeleton))
    numbers = [number for _, number in sorted(zip(rank, numbers, strict=True))]
    pairs = sorted((min(rank[i], rank[j]), max(rank[i], rank[j])) for i, j in pairs)
    structure = lewis_structure(numbers, pairs)
    if structure is None:
        return None
    molecule = _explicit_molecule(numbers, pairs, structure)
    try:
        return Chem.MolToSmiles(Chem.RemoveHs(molecule))
    except ValueError:
        return None


def drawn(molecules: Molecules) -> Iterator[Chem.RWMol]:
    """Yield every molecule with its coordinates, to be written or drawn, to which RDKit may add no hydrogens.

    Its bonds are those of ``pipeline.chemistry.bonds``; orders and formal charges are those of the Lewis structure, or,
    where there is none, of the distance tables.
    """
    for index, (_, positions) in enumerate(molecules):
        graph = _graph(molecules, index)
        pairs = [(first, second) for first, second, _ in graph.bonds]
        structure = lewis_structure(graph.atomic_numbers, pairs) or LewisStructure(
            orders=[order for *_, order in graph.bonds], charges=[0] * len(graph.atomic_numbers)
        )
        molecule = _explicit_molecule(graph.atomic_numbers, pairs, structure)
        molecule.UpdatePropertyCache(strict=False)
        conformer = Chem.Conformer(len(positions))
        conformer.SetPositions(positions.astype(np.float64))
        molecule.AddConformer(conformer)
        yield molecule


def sanitised(molecules: Molecules) -> Iterator[Chem.Mol]:
    """Yield what ``drawn`` yields, sanitised with aromatic bonds marked, or as it is where RDKit refuses it."""
    for molecule in drawn(molecules):
        copy = Chem.Mol(molecule)
        passed = Chem.SanitizeMol(copy, catchErrors=True) == Chem.SanitizeFlags.SANITIZE_NONE
        yield copy if passed else molecule


def _explicit_molecule(
    atomic_numbers: list[int], pairs: list[tuple[int, int]], structure: LewisStructure
) -> Chem.RWMol:
    """Return a molecule, not yet sanitised, to which RDKit may not add hydrogens."""
    molecule = Chem.RWMol()
    for number, charge in zip(atomic_numbers, structure.charges, strict=True):
        atom = Chem.Atom(number)
        atom.SetNoImplicit(True)
        atom.SetFormalCharge(charge)
        molecule.AddAtom(atom)
    for (first, second), order in zip(pairs, structure.orders, strict=True):
        molecule.AddBond(first, second, _BOND_TYPES[order])
    return molecule
