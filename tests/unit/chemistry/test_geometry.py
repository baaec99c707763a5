import numpy as np
import pytest

from pipeline.chemistry.geometry import bond_angles, dihedral_angles
from pipeline.chemistry.molecules import Molecules


def chain(*, angle: float, dihedral: float) -> tuple[list[int], list[list[float]]]:
    """Four carbon atoms, 1.5 angstrom apart, with one angle and one dihedral."""
    bend, turn = np.radians(angle), np.radians(dihedral)
    b, c = np.zeros(3), np.array([1.5, 0, 0])
    a = b + 1.5 * np.array([np.cos(bend), np.sin(bend), 0])
    d = c + 1.5 * np.array([-np.cos(bend), np.sin(bend) * np.cos(turn), np.sin(bend) * np.sin(turn)])
    return [6, 6, 6, 6], [list(point) for point in (a, b, c, d)]


@pytest.mark.parametrize(("dihedral", "expected"), [(60.0, 60.0), (-60.0, 60.0), (180.0, 180.0), (90.0, 90.0)])
def test_a_chain_has_its_angles(dihedral: float, expected: float) -> None:
    molecules = Molecules.from_list([([1], [[0, 0, 0]]), chain(angle=112.0, dihedral=dihedral)])
    angles, dihedrals = bond_angles(molecules), dihedral_angles(molecules)
    assert angles.value == pytest.approx([112.0, 112.0], abs=0.01)
    assert dihedrals.value == pytest.approx([expected], abs=0.05)
    assert angles.owner.tolist() == [1, 1]
    assert dihedrals.owner.tolist() == [1]


def test_a_triangle_has_no_dihedrals_and_a_straight_chain_none_either() -> None:
    triangle = [6, 6, 6], [[0.0, 0.0, 0.0], [1.5, 0.0, 0.0], [0.75, 1.3, 0.0]]
    straight = [6, 6, 6, 6], [[0.0, 0.0, 0.0], [1.5, 0.0, 0.0], [3.0, 0.0, 0.0], [4.5, 0.0, 0.0]]
    molecules = Molecules.from_list([triangle, straight])
    assert dihedral_angles(molecules).value.size == 0
    assert bond_angles(molecules).value == pytest.approx([60, 60, 60, 180, 180], abs=0.2)
