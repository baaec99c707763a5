import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pipeline.chemistry.molecules import Molecules
from pipeline.figures import drawing, style


def test_best_side_is_a_rotation_and_lays_the_longest_extent_across(real: Molecules) -> None:
    for _, positions in real:
        rotation = drawing.best_side(positions)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(rotation) == pytest.approx(1)
    chain = np.outer(np.arange(6.0), [1.0, 2.0, -1.0])
    across, up, depth = np.ptp(chain @ drawing.best_side(chain).T, axis=0)
    assert across > 3 * max(up, depth)


def test_the_same_molecule_looks_the_same_however_it_lies(real: Molecules) -> None:
    _, positions = real[50]
    turn = Rotation.from_rotvec([0.3, -1.2, 2.0]).as_matrix()
    elsewhere = positions.astype(np.float64) @ turn.T + [4.0, -2.0, 1.0]
    here, there = ((x - x.mean(axis=0)) @ drawing.best_side(x).T for x in (positions.astype(np.float64), elsewhere))
    np.testing.assert_allclose(here, there, atol=1e-6)


def test_turned_moves_every_molecule_to_its_own_centre(real: Molecules) -> None:
    turned = drawing.turned(real, np.eye(3))
    for numbers, positions in turned:
        np.testing.assert_allclose(positions.mean(axis=0), 0, atol=1e-5)
        assert len(numbers) == len(positions)


def test_draws_a_collection_and_a_ring_for_each_unstable_atom(real: Molecules) -> None:
    one = real.select([20])
    unstable = np.zeros(one.sizes[0], dtype=bool)
    unstable[[0, 2]] = True
    axes = style.new_figure(2).add_axes((0, 0, 1, 1))
    drawing.draw_molecule(axes, drawing.View(molecule=one, unstable=unstable))
    assert len(axes.collections) == 1
    assert len(axes.patches) == 2


@pytest.mark.parametrize("positions", [[[0, 0, 0]], [[0, 0, 0], [0, 0, 1.1]], [[0, 0, 0], [0, 0, 0]]])
def test_draws_a_lonely_atom_and_atoms_behind_each_other(positions: list[list[float]]) -> None:
    one = Molecules.from_list([([6] * len(positions), positions)])
    axes = style.new_figure(2).add_axes((0, 0, 1, 1))
    drawing.draw_molecule(axes, drawing.View(molecule=one, unstable=np.zeros(len(positions), dtype=bool)))
    paths = axes.collections[0].get_paths()
    assert all(np.isfinite(path.vertices).all() for path in paths)


def test_formula() -> None:
    one = Molecules.from_list([([8, 1, 6, 1, 6, 9], np.arange(18).reshape(6, 3))])
    assert drawing.formula(one) == "C2H2FO"
