"""Molecules as the network sees them: their features, noise and masks."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from pipeline.diffusion import clouds
from pipeline.diffusion.feature_scales import CHARGE_SCALE, TYPE_SCALE
from pipeline.jax_backend.egnn import remove_mean
from pipeline.training.noisy_batches import HostBatch, NoisyBatch

Cloud = clouds.Cloud[Array]


def node_mask(sizes: Array, width: int) -> Array:
    """Return 1 for the first ``sizes`` [B] of ``width`` places and 0 behind them, float32 [B, width]."""
    return (jnp.arange(width) < sizes[:, None]).astype(jnp.float32)


def atom_features(atomic_numbers: Array, elements: Sequence[int], count: int) -> Array:
    """Return the first ``count`` features of atoms with atomic numbers [B, N], [B, N, count]; 0 in the padding."""
    types = (atomic_numbers[..., None] == jnp.asarray(elements, atomic_numbers.dtype)).astype(jnp.float32)
    if count == len(elements):
        return types / TYPE_SCALE
    charges = atomic_numbers[..., None].astype(jnp.float32) / CHARGE_SCALE
    return jnp.concatenate([types / TYPE_SCALE, charges], axis=-1)


def noisy_batch(batch: HostBatch, elements: Sequence[int], features: int) -> NoisyBatch[Array]:
    """Return a batch of the host as the losses of an objective with these types and so many features take it."""
    positions, atomic_numbers, sizes, noise, levels, condition = jax.tree.map(jnp.asarray, batch)
    data = Cloud(positions, atom_features(atomic_numbers, elements, features))
    mask = node_mask(sizes, positions.shape[1])
    return NoisyBatch(data, Cloud(noise[..., :3], noise[..., 3:]), mask, *(*levels, condition))


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
