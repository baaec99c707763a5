"""Noise and masks of molecules that are sampled (``pipeline.diffusion.clouds`` has those of a training)."""

import jax
import jax.numpy as jnp
from jax import Array

from pipeline.diffusion import clouds
from pipeline.jax_backend.egnn import remove_mean

Cloud = clouds.Cloud[Array]


def node_mask(sizes: Array, width: int) -> Array:
    """Return 1 for the first ``sizes`` [B] of ``width`` places and 0 behind them, float32 [B, width]."""
    return (jnp.arange(width) < sizes[:, None]).astype(jnp.float32)


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
