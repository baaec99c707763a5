"""Strain: how much energy a molecule loses, and how far its atoms move, until it lies in an energy minimum.

Each molecule is relaxed from its own coordinates, by one of two methods:

- ``mmff94``: the Merck force field (Halgren 1996, as RDKit has it), which needs bonds;
- ``gfn2_xtb``: the tight-binding method GFN2-xTB (Bannwarth, Ehlert and Grimme 2019, as tblite has it), which needs
  none and is closer to quantum chemistry; tblite is an optional dependency.

QM9's molecules are minima of B3LYP/6-31G(2df,p), not of either method: their strain is the floor, not zero.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rdkit import Chem, rdBase
from rdkit.Chem import rdForceFieldHelpers as force_fields
from rdkit.Chem import rdMolAlign
from scipy.optimize import minimize

from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.parallel import Advance, map_molecules
from pipeline.chemistry.rdkit_molecules import sanitised

_STEPS_AT_ONCE: Final = 200
_MOST_ROUNDS: Final = 20
_AT_ONCE: Final = 50
_BOHR: Final = 0.529177210903
"""In angstrom."""
_HARTREE: Final = 627.5094740631
"""In kcal/mol."""
_GRADIENT: Final = 1e-3
"""Largest component of the gradient in a minimum of GFN2-xTB, in hartree per bohr: xtb's own "normal" criterion."""


@dataclass(frozen=True, eq=False)
class Relaxation:
    """What relaxing M molecules changed; nan where the method has no parameters or does not converge."""

    energy: npt.NDArray[np.float64]
    """[M] energy lost, in kcal/mol."""
    rmsd: npt.NDArray[np.float64]
    """[M] root mean square distance that all atoms moved, the relaxed molecule laid upon the other, in angstrom."""


def relax(
    molecules: Molecules, *, method: str = "mmff94", processes: int = 1, advance: Advance = lambda count: None
) -> Relaxation:
    """Relax molecules that are valid and connected, hence neutral.

    One of the size of QM9's takes about 10 ms with MMFF94 and half a second with GFN2-xTB.

    Args:
        molecules: M molecules, M > 0.
        method: one of ``METHODS``.
        processes: how many processes share the work; 1 starts none.
        advance: see ``map_molecules``.
    """
    parts = map_molecules(partial(_relax, method), molecules, processes=processes, at_once=_AT_ONCE, advance=advance)
    both = np.concatenate(list(parts))
    return Relaxation(energy=both[:, 0], rmsd=both[:, 1])


def _relax(method: str, molecules: Molecules) -> npt.NDArray[np.float64]:
    with rdBase.BlockLogs():
        return np.array([METHODS[method](one) for one in sanitised(molecules)])


def _relaxed_mmff94(molecule: Chem.Mol) -> tuple[float, float]:
    properties = force_fields.MMFFGetMoleculeProperties(molecule)
    if properties is None:
        return np.nan, np.nan
    relaxed = Chem.Mol(molecule)
    field = force_fields.MMFFGetMoleculeForceField(relaxed, properties)
    before = field.CalcEnergy()
    # Minimize returns 0 when it has converged.
    if all(field.Minimize(maxIts=_STEPS_AT_ONCE) for _ in range(_MOST_ROUNDS)):
        return np.nan, np.nan
    return before - field.CalcEnergy(), _moved(molecule, relaxed)


def _relaxed_gfn2_xtb(molecule: Chem.Mol) -> tuple[float, float]:
    from tblite.interface import Calculator  # optional

    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
    start = molecule.GetConformer().GetPositions() / _BOHR
    calculator = Calculator("GFN2-xTB", numbers, start)
    calculator.set("verbosity", 0)
    energies = []

    def energy(flat: npt.NDArray[np.float64]) -> tuple[float, Any]:
        calculator.update(positions=flat.reshape(-1, 3))
        found = calculator.singlepoint()
        energies.append(float(found.get("energy")))
        return energies[-1], found.get("gradient").reshape(-1)

    try:
        found = minimize(
            energy, start.reshape(-1), jac=True, method="L-BFGS-B",
            options={"gtol": _GRADIENT, "ftol": 0.0, "maxiter": _STEPS_AT_ONCE},
        )  # fmt: skip
    except RuntimeError:  # the charges did not converge
        return np.nan, np.nan
    if not found.success:
        return np.nan, np.nan
    relaxed = Chem.Mol(molecule)
    relaxed.GetConformer().SetPositions(found.x.reshape(-1, 3) * _BOHR)
    return _HARTREE * (energies[0] - found.fun), _moved(molecule, relaxed)


def _moved(molecule: Chem.Mol, relaxed: Chem.Mol) -> float:
    """Return the root mean square distance of all atoms after alignment, in angstrom."""
    atoms = [(atom, atom) for atom in range(molecule.GetNumAtoms())]
    return float(rdMolAlign.AlignMol(relaxed, molecule, atomMap=atoms))


METHODS: Final[Mapping[str, Callable[[Chem.Mol], tuple[float, float]]]] = {
    "mmff94": _relaxed_mmff94,
    "gfn2_xtb": _relaxed_gfn2_xtb,
}
