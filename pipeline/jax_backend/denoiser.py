"""The denoiser of Karras et al. 2022 (arXiv 2206.00364), for coordinates and types with a scale each.

Notation. x_sigma = x + sigma z; D(x_sigma, sigma) estimates x (section 2). Coordinates and types share sigma and are
preconditioned apart, each with the root mean square ``sigma_data`` of its own.

Coordinates have two forms. Karras's, D = c_skip x_sigma + c_out (x_L - x_0) with the network's coordinates going from
x_0 = 2 c_in x_sigma to x_L, leaves the network's later layers with the distances of a mixture of noise and estimate. In
ours D = (sigma_data / 2) x_L, and every layer's step is scaled with c_out / sigma_data: what a layer sees are the
distances of the molecule that it is making. D(x, 0) = x and the accuracy at small sigma are the same in both.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from pipeline.diffusion.feature_scales import Scales
from pipeline.jax_backend.egnn import EGNN
from pipeline.jax_backend.features import Cloud
from pipeline.jax_backend.objective import Params
from pipeline.training.constants import SMALLEST_LEVEL
from pipeline.training.noisy_batches import NoisyBatch


@dataclass(frozen=True)
class Preconditioned:
    """A network under Karras's preconditioning (table 1): D(x, 0) = x exactly.

    Attributes:
      model: the network.
      sigma_data: root mean squares of coordinates and of types.
      preconditioning: of the coordinates: karras, or estimate for the form above.
    """

    model: EGNN
    sigma_data: Scales
    preconditioning: str

    @property
    def features(self) -> int:
        """K: the one-hot types."""
        return len(self.elements)

    @property
    def elements(self) -> tuple[int, ...]:
        """The atomic number of each type."""
        return self.sigma_data.elements

    def denoise(self, params: Params, mask: Array, noisy: Cloud, sigma: Array, condition: Array | None = None) -> Cloud:
        """Return D(noisy, sigma) for ``sigma`` a scalar or [B]."""
        return self.raw(params, mask, noisy, sigma, condition)[0]

    def raw(
        self, params: Params, mask: Array, noisy: Cloud, sigma: Array, condition: Array | None = None
    ) -> tuple[Cloud, Cloud]:
        """Return D(noisy, sigma), and the factor c_out [B, 1, 1] of coordinates and of types (table 1)."""
        sigma = jnp.broadcast_to(sigma, mask.shape[:1])[:, None, None]
        scales = Cloud(jnp.asarray(self.sigma_data.coordinates), jnp.asarray(self.sigma_data.types))
        c_skip = jax.tree.map(lambda data: data**2 / (sigma**2 + data**2), scales)
        c_out = jax.tree.map(lambda data: sigma * data * jax.lax.rsqrt(sigma**2 + data**2), scales)
        c_in = jax.tree.map(lambda data: jax.lax.rsqrt(sigma**2 + data**2), scales)
        # A level of 0 occurs only where c_out is 0.
        level = jnp.log(jnp.maximum(sigma, SMALLEST_LEVEL)) / 4.0 * mask[..., None]
        features = jnp.concatenate([noisy.h * c_in.h, level], axis=-1)
        # Coordinates twice as wide as unit variance: bonds then lie in the middle of the radial functions.
        if self.preconditioning == "karras":
            out = Cloud(*self.model.apply(params, 2.0 * c_in.x * noisy.x, features, mask, condition=condition))
            x = c_skip.x * noisy.x + c_out.x * out.x
        else:
            # The root of a quotient: exactly the identity where c_out is 0, which a reciprocal root is not.
            scaled = jnp.sqrt(c_skip.x) * noisy.x
            step = c_out.x[:, 0, 0] / scales.x
            out = Cloud(*self.model.apply(params, 2.0 / scales.x * scaled, features, mask, step, condition))
            x = scaled + 0.5 * scales.x * out.x
        return Cloud(x, c_skip.h * noisy.h + c_out.h * out.h), c_out


def at_level(data: Cloud, noise: Cloud, sigma: Array) -> Cloud:
    """Return x + sigma z for levels [B]."""
    noisy: Cloud = jax.tree.map(lambda x, z: x + sigma[:, None, None] * z, data, noise)
    return noisy


def unit_errors(clean: Cloud, data: Cloud, c_out: Cloud, mask: Array) -> Array:
    """Return |D - x|^2 / (2 c_out^2 (3 + T) N), [B]: the network's target has unit weight at every level (eq. 8).

    Args:
      clean: the estimate D.
      data: x.
      c_out: from ``Preconditioned.raw``.
      mask: [B, N].
    """
    errors: Cloud = jax.tree.map(lambda d, x, scale: jnp.sum(((d - x) / scale) ** 2, axis=(1, 2)), clean, data, c_out)
    return 0.5 * (errors.x + errors.h) / ((3 + data.h.shape[-1]) * jnp.sum(mask, axis=1))


@dataclass(frozen=True)
class Denoiser(Preconditioned):
    """The denoiser's training."""

    def losses(self, params: Params, batch: NoisyBatch[Array], teacher: Params) -> Array:
        """Return the loss of every molecule at the levels sigma, see ``unit_errors``."""
        del teacher
        noisy = at_level(batch.data, batch.noise, batch.t)
        clean, c_out = self.raw(params, batch.mask, noisy, batch.t, batch.condition)
        return unit_errors(clean, batch.data, c_out, batch.mask)
