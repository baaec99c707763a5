"""Conformers of SMILES: distance geometry (ETKDGv3, Wang et al. 2020), relaxed in MMFF94 (Halgren 1996), by RDKit."""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom
from rdkit.Chem import rdForceFieldHelpers as force_fields

from pipeline.chemistry.elements import OTHER_ELEMENTS, SUPPORTED, SYMBOLS

NO_SMILES: Final = "not read by RDKit"
FRAGMENTS: Final = "of several fragments"
NOT_EMBEDDED: Final = "not embedded"

_ATTEMPTS: Final = 50
"""Of distance geometry; a limit in time would make the result depend on the machine."""

_STEPS: Final = 2000
"""Of the relaxation."""


class Conformer(NamedTuple):
    """A molecule of N atoms, hydrogens included."""

    atomic_numbers: npt.NDArray[np.uint8]
    """[N]."""
    positions: npt.NDArray[np.float32]
    """[N, 3] in angstrom."""


class Failure(NamedTuple):
    """Why there is no conformer."""

    kind: str
    """``OTHER_ELEMENTS`` or one of the words above."""
    reason: str


def embed(smiles: str, *, seed: int) -> Conformer | Failure:
    """Return a conformer of a SMILES, which depends on these arguments alone; about 0.1 s for a small drug.

    Args:
      smiles: of one connected molecule; hydrogens are added.
      seed: from 0 to 2^31 - 1. Chirality that the SMILES leaves open is drawn with it, too.
    """
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is None or not molecule.GetNumAtoms():
            return Failure(NO_SMILES, f"RDKit cannot read {smiles[:80]!r}")
        if foreign := {atom.GetSymbol() for atom in molecule.GetAtoms()} - set(SYMBOLS):
            return Failure(OTHER_ELEMENTS, f"has {min(foreign)}; supported are {SUPPORTED}")
        if len(Chem.GetMolFrags(molecule)) > 1:
            return Failure(FRAGMENTS, "has several fragments, as a salt has")
        molecule = Chem.AddHs(molecule)
        settings: Any = rdDistGeom.ETKDGv3()  # its stub has wrong types
        settings.randomSeed, settings.maxIterations = seed, _ATTEMPTS
        if rdDistGeom.EmbedMolecule(molecule, settings) < 0:
            return Failure(NOT_EMBEDDED, "distance geometry finds no conformer")
        if not force_fields.MMFFHasAllMoleculeParams(molecule):
            return Failure(NOT_EMBEDDED, "MMFF94 has no parameters for it")
        if force_fields.MMFFOptimizeMolecule(molecule, maxIters=_STEPS):
            return Failure(NOT_EMBEDDED, f"MMFF94 does not converge in {_STEPS} steps")
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()], np.uint8)
    return Conformer(numbers, molecule.GetConformer().GetPositions().astype(np.float32))
