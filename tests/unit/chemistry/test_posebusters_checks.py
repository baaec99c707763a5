import numpy as np
import numpy.typing as npt
import pytest

from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.posebusters_checks import posebusters_checks

pytest.importorskip("posebusters", reason="needs pip install posebusters")

Molecule = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]


@pytest.mark.filterwarnings("ignore")
def test_distorted_molecules_fail_the_matching_check(examples: dict[str, Molecule]) -> None:
    numbers, positions = examples["methane"]
    fragments = np.concatenate([numbers, numbers]), np.concatenate([positions, positions + 30])
    molecules = [examples["methane"], examples["ethanol"], (numbers[:-1], positions[:-1]), fragments]
    found = posebusters_checks(Molecules.from_list(molecules))
    assert found["all_atoms_connected"].tolist() == [True, True, True, False]
    assert found["no_radicals"].tolist() == [True, True, False, True]
    assert all(hits[1] for hits in found.values())
