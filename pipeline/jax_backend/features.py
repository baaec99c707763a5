"""Molecules as the network sees them: coordinates and scaled atom types, their noise, and their masks."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from pipeline.chemistry.elements import ATOMIC_NUMBERS
from pipeline.jax_backend.egnn import remove_mean


class Cloud(NamedTuple):
    """Coordinates and node features of a batch: data, noise, a network output, or a gradient of either.

    Attributes:
      x: coordinates in angstrom or noise units, [B, N, 3].
      h: features, [B, N, K].
    """

    x: Array
    h: Array


def node_mask(sizes: Array, width: int) -> Array:
    """Return 1 for the first ``sizes`` [B] of ``width`` places and 0 behind them, float32 [B, width]."""
    return (jnp.arange(width) < sizes[:, None]).astype(jnp.float32)


def one_hot_types(atomic_numbers: Array) -> Array:
    """Return the one-hot encoding over H, C, N, O, F of [B, N] atomic numbers: float32 [B, N, 5], 0 for padding."""
    return (atomic_numbers[..., None] == jnp.asarray(ATOMIC_NUMBERS, atomic_numbers.dtype)).astype(jnp.float32)


def draw_noise(keys: Array, mask: Array, features: int) -> Cloud:
    """Draw standard normal noise: ``x`` without a centre of mass, ``h`` free, both 0 in the padding.

    The mean-free Gaussian is the projection of an isotropic one (EDM, section 3.1).

    Args:
      keys: one key a molecule, [B], so that a molecule's noise does not depend on the batch it is in.
      mask: 1 for atoms, [B, N].
      features: K of the result's ``h`` [B, N, K].
    """
    width = mask.shape[1]
    noise = jax.vmap(lambda key: jax.random.normal(key, (width, 3 + features), mask.dtype))(keys) * mask[..., None]
    return Cloud(remove_mean(noise[..., :3], mask), noise[..., 3:])
