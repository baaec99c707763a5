from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from pipeline.diffusion.alignment import align, best_rotation
from pipeline.diffusion.clouds import draw_noise

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]

SIZES = st.lists(st.integers(1, 7), min_size=1, max_size=4)


def clouds(seed: int, sizes: list[int], *, width: int = 9) -> tuple[Floats, Floats, Floats, Ints]:
    """Return coordinates, features, noise and sizes of some molecules of random atoms."""
    generator = np.random.default_rng(seed)
    array = np.array(sizes)
    x = 1.5 * draw_noise(generator, array, width, 0).astype(np.float64)
    types = np.eye(5)[generator.integers(0, 5, (len(sizes), width))] / 4
    h = types * (np.arange(width) < array[:, None])[..., None]
    return x, h, draw_noise(generator, array, width, 5).astype(np.float64), array


def moved(h: Floats, order: Ints) -> Floats:
    return np.take_along_axis(h, order[..., None], axis=1)


def cost(x: Floats, h: Floats, noise: Floats) -> Floats:
    """Return the squared distance of every molecule from its noise, [B]."""
    squares: Floats = np.square(np.concatenate([x, h], axis=-1) - noise).sum((1, 2))
    return squares


def orthogonal(seed: int, *, determinant: int) -> Floats:
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    rotation: Floats = matrix * np.sign(np.linalg.det(matrix)) * determinant
    return rotation


@given(st.integers(0, 10_000), SIZES, st.booleans())
def test_molecules_come_closer_to_their_noise(seed: int, sizes: list[int], rotate: bool) -> None:
    x, h, noise, array = clouds(seed, sizes)
    found, order = align(x, h, noise, array, rotate=rotate)
    assert (cost(found, moved(h, order), noise) <= cost(x, h, noise) + 1e-9).all()


@given(st.integers(0, 10_000), SIZES, st.booleans())
def test_a_moved_molecule_is_the_same_molecule(seed: int, sizes: list[int], rotate: bool) -> None:
    x, h, noise, array = clouds(seed, sizes)
    given_to_it = [part.copy() for part in (x, h, noise)]
    found, order = align(x, h, noise, array, rotate=rotate)
    assert (np.sort(order, axis=1) == np.arange(9)).all()
    for row, size in enumerate(sizes):
        assert (order[row, size:] == np.arange(size, 9)).all()
        assert (found[row, size:] == 0).all()
    reordered = moved(x, order)
    if rotate:
        # All distances, and those from the centre: an orthogonal transformation.
        np.testing.assert_allclose(found @ found.swapaxes(1, 2), reordered @ reordered.swapaxes(1, 2), atol=1e-9)
    else:
        assert (found == reordered).all()
    for part, before in zip((x, h, noise), given_to_it, strict=True):
        assert (part == before).all()


@given(st.integers(0, 10_000), SIZES, st.booleans())
def test_neither_padding_nor_other_molecules_take_part(seed: int, sizes: list[int], rotate: bool) -> None:
    x, h, noise, array = clouds(seed, sizes)
    found, order = align(x, h, noise, array, rotate=rotate)
    for row, size in enumerate(sizes):
        own = slice(row, row + 1)
        x_alone, order_alone = align(x[own, :size], h[own, :size], noise[own, :size], array[own], rotate=rotate)
        np.testing.assert_allclose(x_alone[0], found[row, :size], atol=1e-9)
        assert (order_alone[0] == order[row, :size]).all()


@given(st.integers(0, 10_000), st.sampled_from([1, -1]))
def test_the_orientation_of_the_data_does_not_matter(seed: int, determinant: int) -> None:
    x, h, noise, sizes = clouds(seed, [6, 7, 5])
    found, order = align(x, h, noise, sizes)
    turned, order_of_turned = align(x @ orthogonal(seed, determinant=determinant), h, noise, sizes)
    np.testing.assert_allclose(turned, found, atol=1e-8)
    assert (order_of_turned == order).all()


@given(st.integers(0, 10_000))
def test_without_rotation_the_order_of_the_data_does_not_matter(seed: int) -> None:
    x, h, noise, sizes = clouds(seed, [7, 7, 7], width=7)
    found, order = align(x, h, noise, sizes, rotate=False)
    shuffle = np.random.default_rng(seed).permutation(7)
    again, order_again = align(x[:, shuffle], h[:, shuffle], noise, sizes, rotate=False)
    assert (again == found).all()
    assert (shuffle[order_again] == order).all()


@given(st.integers(0, 10_000), st.sampled_from([1, -1]))
def test_what_is_the_noise_but_for_its_orientation_or_order_is_moved_onto_it(seed: int, determinant: int) -> None:
    _, _, noise, sizes = clouds(seed, [6, 7, 5])
    z_x, z_h = noise[..., :3], noise[..., 3:]
    found, order = align(z_x @ orthogonal(seed, determinant=determinant), z_h, noise, sizes)
    assert (order == np.arange(9)).all()
    np.testing.assert_allclose(found, z_x, atol=1e-9)
    shuffled = np.argsort(np.where(np.arange(9) < sizes[:, None], np.random.default_rng(seed).random((3, 9)), 2.0))
    back, order = align(moved(z_x, shuffled), moved(z_h, shuffled), noise, sizes, rotate=False)
    np.testing.assert_allclose(back, z_x, atol=1e-12)
    assert (np.take_along_axis(shuffled, order, axis=1) == np.arange(9)).all()


def test_atoms_at_one_point_have_any_orientation() -> None:
    rotation = best_rotation(np.zeros((2, 4, 3)), np.random.default_rng(0).normal(size=(2, 4, 3)))
    np.testing.assert_allclose(rotation @ rotation.swapaxes(1, 2), np.broadcast_to(np.eye(3), (2, 3, 3)), atol=1e-12)
