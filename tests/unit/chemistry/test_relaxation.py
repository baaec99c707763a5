import numpy as np
import numpy.typing as npt
import pytest

from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.relaxation import relax

Molecule = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]


def test_a_stretched_bond_costs_energy_and_moves_back(examples: dict[str, Molecule]) -> None:
    numbers, positions = examples["methane"]
    stretched = positions.copy()
    stretched[4] += np.float32(0.08) * (positions[4] - positions[0])
    told: list[int] = []
    found = relax(Molecules.from_list([(numbers, positions), (numbers, stretched)]), advance=told.append)
    assert told == [2]
    assert 0 <= found.energy[0] < 0.5
    assert 0 <= found.rmsd[0] < 0.01
    # Half the force constant of a C-H bond in MMFF94 is 343 kcal/mol per square angstrom, its anharmonicity aside.
    assert found.energy[1] - found.energy[0] == pytest.approx(343 * 0.087**2, rel=0.25)
    assert found.rmsd[1] == pytest.approx(0.08 * 1.09 * np.sqrt(4 / 5) / np.sqrt(5), rel=0.3)


def test_a_stretched_bond_costs_energy_by_tight_binding_as_well(examples: dict[str, Molecule]) -> None:
    pytest.importorskip("tblite", reason="needs pip install tblite")
    numbers, positions = examples["methane"]
    stretched = positions.copy()
    stretched[4] += np.float32(0.08) * (positions[4] - positions[0])
    found = relax(Molecules.from_list([(numbers, positions), (numbers, stretched)]), method="gfn2_xtb")
    assert 0 <= found.energy[0] < 0.5
    # A C-H stretch of methane is at about 3000 / cm: half its force constant is 345 kcal/mol per square angstrom.
    assert found.energy[1] - found.energy[0] == pytest.approx(345 * 0.087**2, rel=0.25)
    assert found.rmsd[1] == pytest.approx(0.08 * 1.09 * np.sqrt(4 / 5) / np.sqrt(5), rel=0.3)


def test_without_parameters_there_is_no_energy() -> None:
    hydrogen = [1, 1], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.74]]
    found = relax(Molecules.from_list([hydrogen]))
    assert np.isnan(found.energy).all() and np.isnan(found.rmsd).all()
