import numpy as np
import pytest

from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.diffusion.clouds import Floats, centred, one_hot
from pipeline.sampling.fixed_atoms import FixedAtoms

ELEMENTS = (1, 6, 7, 8, 9)
SIZES = np.array([7, 9])


def scaffold(count: int = 4) -> Molecules:
    """Return atoms that differ from their mirror image, far from the origin."""
    generator = np.random.default_rng(0)
    return Molecules.from_list([([6, 7, 8, 1][:count], generator.normal(size=(4, 3))[:count] + 20.0)])


def molecules_with(atoms: Molecules) -> tuple[Floats, Floats]:
    """Return two molecules that begin with the atoms, and the same turned and centred as a model has them."""
    generator = np.random.default_rng(1)
    clouds = np.zeros((2, 9, 8), np.float32)
    turned = clouds.copy()
    for cloud, other, size in zip(clouds, turned, SIZES, strict=True):
        numbers = np.append(atoms.atomic_numbers, generator.choice(ELEMENTS, size - len(atoms.atomic_numbers)))
        cloud[:size, :3] = np.concatenate([atoms.positions, 20 + generator.normal(size=(size, 3))])[:size]
        cloud[:size, 3:] = one_hot(numbers, ELEMENTS) / 4
        rotation = np.linalg.qr(generator.normal(size=(3, 3)))[0]
        rotation[:, 0] *= np.linalg.det(rotation)
        other[:size] = cloud[:size]
        other[:size, :3] = cloud[:size, :3] @ rotation
    return clouds, centred(turned, SIZES)


def test_a_molecule_that_has_the_atoms_in_any_order_is_moved_to_them() -> None:
    atoms = scaffold()
    fixed = FixedAtoms.of(atoms, ELEMENTS)
    clouds, estimate = molecules_with(atoms)
    shuffled = estimate.copy()
    for one, other, size in zip(estimate, shuffled, SIZES, strict=True):
        other[:size] = one[:size][::-1]
    held = fixed.hold(fixed.fit(shuffled, SIZES), SIZES)
    np.testing.assert_allclose(held[..., :3].sum(axis=1), 0, atol=1e-4)
    for one, other, size in zip(fixed.placed(held), clouds, SIZES, strict=True):
        np.testing.assert_allclose(one[:4], atoms.positions, atol=1e-5)
        distances = np.linalg.norm(one[:size, None] - other[None, :size, :3], axis=-1)
        # Every atom is where one of the molecule's was.
        assert distances.min(axis=1).max() < 1e-3 and distances.min(axis=0).max() < 1e-3


@pytest.mark.parametrize("count", [1, 2])
def test_one_atom_or_two_can_be_held(count: int) -> None:
    atoms = scaffold(count)
    fixed = FixedAtoms.of(atoms, ELEMENTS)
    _, estimate = molecules_with(atoms)
    held = fixed.hold(estimate, SIZES)
    np.testing.assert_allclose(fixed.placed(held)[:, :count], [atoms.positions] * 2, atol=1e-5)
    assert (held[:, :count, 3:] == fixed.cloud[:, 3:]).all()


def test_the_other_atoms_are_those_that_a_formula_leaves() -> None:
    sizes, formula = np.array([7, 7]), [6, 6, 7, 8, 8, 1, 1]
    fixed = FixedAtoms.of(scaffold(), ELEMENTS, formula)
    _, estimate = molecules_with(scaffold())
    held = fixed.hold(estimate, sizes)
    alone = FixedAtoms.of(scaffold(), ELEMENTS).hold(estimate, sizes)
    assert (held[..., :3] == alone[..., :3]).all() and (held[:, :4] == alone[:, :4]).all()
    for types in held[:, :7, 3:]:
        assert sorted(np.array(ELEMENTS)[types.argmax(axis=1)].tolist()) == sorted(formula)
    with pytest.raises(InputError, match="they have more H than the formula"):
        FixedAtoms.of(scaffold(), ELEMENTS, [6, 7, 8, 9, 9])


def test_a_mirror_image_is_not_taken_for_the_molecule() -> None:
    atoms = scaffold()
    fixed = FixedAtoms.of(atoms, ELEMENTS)
    clouds, estimate = molecules_with(atoms)
    estimate[..., 0] *= -1
    placed = fixed.placed(fixed.hold(estimate, SIZES))
    np.testing.assert_allclose(placed[0, :4], atoms.positions, atol=1e-5)
    assert np.abs(placed[0, 4:7] - clouds[0, 4:7, :3]).max() > 0.5


def test_what_overflows_stays_broken_and_leaves_the_others_alone() -> None:
    fixed = FixedAtoms.of(scaffold(), ELEMENTS)
    _, estimate = molecules_with(scaffold())
    broken = estimate.copy()
    broken[0, 5, 0] = np.nan
    held = fixed.hold(broken, SIZES)
    assert not np.isfinite(held[0]).all()
    assert (held[1] == fixed.hold(estimate, SIZES)[1]).all()


def test_atoms_that_the_model_does_not_know_and_several_molecules_are_refused() -> None:
    with pytest.raises(InputError, match="the training molecules have no S, only H, C, N, O, F"):
        FixedAtoms.of(Molecules.from_list([([6, 16], np.eye(3)[:2])]), ELEMENTS)
    with pytest.raises(InputError, match="2 molecules"):
        FixedAtoms.of(Molecules.concatenate([scaffold(), scaffold()]), ELEMENTS)
