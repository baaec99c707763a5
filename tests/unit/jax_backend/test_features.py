import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pipeline.data.qm9 import ATOMIC_NUMBERS as QM9
from pipeline.jax_backend import features
from pipeline.jax_backend.features import atom_features, node_mask

draw_noise = jax.jit(features.draw_noise, static_argnums=2)


def keys(count: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


def test_mask() -> None:
    assert node_mask(jnp.array([0, 2, 4]), 4).tolist() == [[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]


def test_features_are_types_over_four_and_charges_over_ten() -> None:
    atomic_numbers = jnp.array([[1, 6, 7, 8, 9, 0]], jnp.uint8)
    found = atom_features(atomic_numbers, QM9, 6)
    assert found.dtype == jnp.float32
    assert (found[0, :, :5] == np.vstack([np.eye(5), np.zeros(5)]) / 4).all()
    np.testing.assert_allclose(found[0, :, 5], [0.1, 0.6, 0.7, 0.8, 0.9, 0.0])
    # Without the charge, for all objectives but EDM.
    assert (atom_features(atomic_numbers, QM9, 5) == found[..., :5]).all()


def test_noise_is_free_of_a_centre_of_mass_and_zero_in_the_padding() -> None:
    mask = node_mask(jnp.array([1, 4, 6]), 6)
    noise = draw_noise(keys(3), mask, 2)
    assert noise.x.shape == (3, 6, 3)
    assert noise.h.shape == (3, 6, 2)
    np.testing.assert_allclose(noise.x.sum(1), 0, atol=1e-6)
    np.testing.assert_allclose(noise.x[0], 0, atol=1e-6)
    for part in noise:
        assert (part[1, 4:] == 0).all()
    assert np.abs(noise.h.sum(1)).min() > 1e-3


def test_noise_has_the_distribution_of_a_projected_normal() -> None:
    atoms, count = 5, 20_000
    noise = draw_noise(keys(count), jnp.ones((count, atoms)), 2)
    # In 3 (N - 1) dimensions: the covariance of atoms is the projection 1 - 1/N, of each coordinate alone.
    covariance = np.einsum("bic,bjd->icjd", noise.x, noise.x) / count
    expected = np.einsum("ij,cd->icjd", np.eye(atoms) - 1 / atoms, np.eye(3))
    np.testing.assert_allclose(covariance, expected, atol=6 / count**0.5)
    together = np.einsum("bif,bjg->ifjg", noise.h, noise.h) / count
    np.testing.assert_allclose(together, np.einsum("ij,fg->ifjg", np.eye(atoms), np.eye(2)), atol=6 / count**0.5)
    assert np.square(noise.x).sum((1, 2)).mean() == pytest.approx(3 * (atoms - 1), rel=0.02)


def test_the_noise_of_a_molecule_is_its_key_s() -> None:
    all_keys = keys(4)
    mask = node_mask(jnp.array([3, 5, 4, 5]), 5)
    together = draw_noise(all_keys, mask, 2)
    alone = draw_noise(all_keys[2:3], mask[2:3], 2)
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a[2], b[0], atol=1e-6)
    # Another width draws the same numbers too, so that padding is no other noise.
    wide = draw_noise(all_keys, node_mask(jnp.array([3, 5, 4, 5]), 9), 2)
    for a, b in zip(together, wide, strict=True):
        np.testing.assert_allclose(a, b[:, :5], atol=1e-6)
    assert np.abs(together.h[1] - together.h[3]).min() > 0
