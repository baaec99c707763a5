from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.rdkit_molecules import perceive
from pipeline.chemistry.valences import VALENCES, observed_valences, stable_atoms
from pipeline.data.molecule_files import read_molecule_files

Molecule = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]
SDF = Path(__file__).parents[2] / "data" / "molecules64.sdf"


def stable(*molecules: Molecule) -> list[int]:
    return list(stable_atoms(Molecules.from_list(list(molecules))))


def test_the_table_has_what_real_molecules_have() -> None:
    observed = observed_valences(
        smiles
        for smiles in perceive(read_molecule_files(SDF, invalid="refuse").data.molecules).connected
        if smiles is not None
    )
    assert observed
    for key, values in observed.items():
        assert values <= VALENCES[key]
    assert observed_valences(["c1ccccc1", "C[NH3+]", "c1ccoc1"])["C", 0] == {(2, 1), (0, 4)}


def test_real_molecules_are_stable() -> None:
    molecules = read_molecule_files(SDF, invalid="refuse").data.molecules
    assert (stable_atoms(molecules) == molecules.sizes).mean() > 0.98


@pytest.mark.parametrize(
    "name", ["benzene", "nitro-oxatriazole", "oxamate zwitterion", "tetrafluoromethane", "cyanogen"]
)
def test_aromatic_and_charged_atoms_are_stable(examples: dict[str, Molecule], name: str) -> None:
    assert stable(examples[name]) == [len(examples[name][0])]


def test_distorted_atoms_are_not(examples: dict[str, Molecule]) -> None:
    numbers, positions = examples["methane"]
    without_hydrogen = numbers[:-1], positions[:-1]
    assert stable(without_hydrogen) == [3]  # the three hydrogens
    stretched = positions.copy()
    stretched[4] = positions[0] + 1.5 * (positions[4] - positions[0])
    assert stable((numbers, stretched)) == [3]
    # Connectivity is another matter.
    apart = np.concatenate([positions, positions + 50])
    assert stable((np.concatenate([numbers, numbers]), apart)) == [10]
