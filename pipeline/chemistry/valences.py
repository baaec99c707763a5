"""Stability by a table of valences with aromatic bonds and formal charges.

EDM's stability rounds every bond to a whole order by its length and ignores charges. Here bonds and charges are those
of the molecule's Lewis structure (``pipeline.chemistry.lewis``), RDKit finds the aromatic ones, and an atom is stable
when its element, its charge, its number of aromatic bonds and the sum of its other bonds' orders occur together in the
data. An aromatic bond is never counted as one and a half or rounded, the mistake that inflated or deflated earlier
tables ("GEOM-Drugs Revisited", arXiv 2505.00169, whose table has the same keys).

The table of QM9's elements is derived from QM9, not copied: from the published SMILES of EDM's 100,000 training
molecules, sanitised by RDKit, by ``observed_valences``. That of the others is what recurs in the 5,000 molecules of the
National Cancer Institute that come with RDKit (``Data/NCI/first_5K.smi``), likewise, and the ions BX4-, AlX4- and PX4+.

Where a molecule has no Lewis structure, its bonds have the orders that EDM's distances give, and its atoms no charge.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt
from rdkit import Chem, rdBase

from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.parallel import Advance, map_molecules
from pipeline.chemistry.rdkit_molecules import sanitised

Valence = tuple[int, int]
"""Number of aromatic bonds, and the sum of the orders of the others."""

VALENCES: Final[dict[tuple[str, int], frozenset[Valence]]] = {
    ("H", 0): frozenset({(0, 1)}),
    ("C", -1): frozenset({(0, 3), (2, 1)}),
    ("C", 0): frozenset({(0, 4), (2, 1), (2, 2), (3, 0)}),
    ("N", -1): frozenset({(0, 2), (2, 0)}),
    ("N", 0): frozenset({(0, 3), (2, 0), (2, 1), (3, 0)}),
    ("N", 1): frozenset({(0, 4), (2, 1)}),
    ("O", -1): frozenset({(0, 1)}),
    ("O", 0): frozenset({(0, 2), (2, 0)}),
    ("F", 0): frozenset({(0, 1)}),
    ("B", 0): frozenset({(0, 3)}),
    ("B", -1): frozenset({(0, 4)}),
    ("Al", 0): frozenset({(0, 3)}),
    ("Al", -1): frozenset({(0, 4)}),
    ("Si", 0): frozenset({(0, 4)}),
    ("P", 0): frozenset({(0, 3), (0, 5)}),
    ("P", 1): frozenset({(0, 4)}),
    ("S", -1): frozenset({(0, 1)}),
    ("S", 0): frozenset({(0, 2), (0, 4), (0, 6), (2, 0)}),
    ("S", 1): frozenset({(0, 3), (2, 0)}),
    ("Cl", 0): frozenset({(0, 1)}),
    ("As", 0): frozenset({(0, 3), (0, 5)}),
    ("Br", 0): frozenset({(0, 1)}),
    ("I", 0): frozenset({(0, 1)}),
    ("Hg", 0): frozenset({(0, 2)}),
    ("Bi", 0): frozenset({(0, 3)}),
}
"""By element and formal charge, what occurs in the data."""


def valence(atom: Chem.Atom) -> Valence:
    """Return the valence of an atom of a sanitised molecule, all hydrogens explicit."""
    orders = [bond.GetBondType() for bond in atom.GetBonds()]
    aromatic = orders.count(Chem.BondType.AROMATIC)
    return aromatic, sum(int(order) for order in orders if order != Chem.BondType.AROMATIC)


def observed_valences(smiles: Iterable[str]) -> dict[tuple[str, int], frozenset[Valence]]:
    """Return the table that molecules given as SMILES make, in the form of ``VALENCES``."""
    found: dict[tuple[str, int], set[Valence]] = {}
    for one in smiles:
        for atom in Chem.AddHs(Chem.MolFromSmiles(one)).GetAtoms():
            found.setdefault((atom.GetSymbol(), atom.GetFormalCharge()), set()).add(valence(atom))
    return {key: frozenset(values) for key, values in found.items()}


def stable_atoms(
    molecules: Molecules, *, processes: int = 1, advance: Advance = lambda count: None
) -> npt.NDArray[np.int64]:
    """Return the number of stable atoms of each molecule, [M]; takes about 0.3 ms for one of the size of QM9's.

    Args:
        molecules: M molecules.
        processes: how many processes share the work; 1 starts none.
        advance: see ``map_molecules``.
    """
    return np.concatenate([_NONE, *map_molecules(_stable_atoms, molecules, processes=processes, advance=advance)])


def _stable_atoms(molecules: Molecules) -> npt.NDArray[np.int64]:
    with rdBase.BlockLogs():
        return np.array([sum(map(_is_stable, one.GetAtoms())) for one in sanitised(molecules)])


def _is_stable(atom: Chem.Atom) -> bool:
    return valence(atom) in VALENCES.get((atom.GetSymbol(), atom.GetFormalCharge()), ())


_NONE: Final = np.empty(0, dtype=np.int64)
