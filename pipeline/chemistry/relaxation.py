"""Strain: how much energy a molecule loses, and how far its atoms move, until it lies in a minimum of MMFF94.

Each molecule is relaxed from its own coordinates in the Merck force field (Halgren 1996, as RDKit has it). QM9's
molecules are minima of a quantum-chemical method, not of a force field: their strain is the floor, not zero.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rdkit import Chem, rdBase
from rdkit.Chem import rdForceFieldHelpers as force_fields
from rdkit.Chem import rdMolAlign

from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.parallel import map_molecules
from pipeline.chemistry.rdkit_molecules import sanitised

_STEPS_AT_ONCE = 200
_MOST_ROUNDS = 20
_AT_ONCE = 50


@dataclass(frozen=True, eq=False)
class Relaxation:
    """What relaxing M molecules changed; nan where the force field has no parameters or does not converge."""

    energy: npt.NDArray[np.float64]
    """[M] energy lost, in kcal/mol."""
    rmsd: npt.NDArray[np.float64]
    """[M] root mean square distance that all atoms moved, the relaxed molecule laid upon the other, in angstrom."""


def relax(molecules: Molecules, *, processes: int = 1) -> Relaxation:
    """Relax molecules that are valid and connected; takes about 10 ms for one of the size of QM9's.

    Args:
        molecules: M molecules, M > 0.
        processes: how many processes share the work; 1 starts none.
    """
    both = np.concatenate(list(map_molecules(_relax, molecules, processes=processes, at_once=_AT_ONCE)))
    return Relaxation(energy=both[:, 0], rmsd=both[:, 1])


def _relax(molecules: Molecules) -> npt.NDArray[np.float64]:
    with rdBase.BlockLogs():
        return np.array([_relaxed(one) for one in sanitised(molecules)])


def _relaxed(molecule: Chem.Mol) -> tuple[float, float]:
    properties = force_fields.MMFFGetMoleculeProperties(molecule)
    if properties is None:
        return np.nan, np.nan
    relaxed = Chem.Mol(molecule)
    field = force_fields.MMFFGetMoleculeForceField(relaxed, properties)
    before = field.CalcEnergy()
    # Minimize returns 0 when it has converged.
    if all(field.Minimize(maxIts=_STEPS_AT_ONCE) for _ in range(_MOST_ROUNDS)):
        return np.nan, np.nan
    after = field.CalcEnergy()
    atoms = [(atom, atom) for atom in range(molecule.GetNumAtoms())]
    return before - after, rdMolAlign.AlignMol(relaxed, molecule, atomMap=atoms)
