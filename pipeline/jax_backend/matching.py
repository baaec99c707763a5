"""Distribution matching: a few-step generator whose samples a denoiser finds as likely as data.

Yin et al. 2024 (DMD, arXiv 2311.18828; DMD2, arXiv 2405.14867). The generator G makes x' = G(x_t, t) from noise or from
noisy data. With x'_s = x' + s e, the gradient of the divergence between what G makes and what the teacher has learned
is the difference of two denoisers of x'_s: F, trained beside G on what G makes, and the teacher D (DMD, eq. 7).
Nothing ties G to the teacher's own path from a noise to a molecule: G may choose a map that a small network can learn.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array, lax

from pipeline.diffusion.feature_scales import TYPES
from pipeline.jax_backend.denoiser import Preconditioned, unit_errors
from pipeline.jax_backend.features import Cloud
from pipeline.jax_backend.objective import Draws, Frozen, Params


@dataclass(frozen=True)
class Matching(Preconditioned):
    """The training of a generator and, as the second network, of the denoiser of what it makes."""

    networks: ClassVar[int] = 2

    def losses(self, params: tuple[Params, Params], data: Cloud, mask: Array, draws: Draws, frozen: Frozen) -> Array:
        """Return the sum of both networks' losses, [B]; each has a gradient for its own network only."""
        generator, estimator = params
        t, share_of_data, s = (draws.levels[:, column] for column in range(3))
        unit, score_noise = _split(draws.noise)
        noisy = jax.tree.map(lambda x, z: share_of_data[:, None, None] * x + t[:, None, None] * z, data, unit)
        made, c_out = self.raw(generator, mask, noisy, t)
        fixed = lax.stop_gradient(made)
        again = jax.tree.map(lambda x, e: x + s[:, None, None] * e, fixed, score_noise)
        real = self.denoise(frozen.teacher, mask, again, s)
        estimate, c_out_again = self.raw(estimator, mask, again, s)
        fake = lax.stop_gradient(estimate)
        atoms = jnp.sum(mask, axis=1)

        def generator_loss(made: Array, scale: Array, real: Array, fake: Array, fixed: Array) -> Array:
            # Normalised for each molecule like DMD's eq. 8, so that every level s counts alike.
            size = jnp.sum(jnp.abs(fixed - real), axis=(1, 2)) / (made.shape[-1] * atoms) + 1e-4
            direction = lax.stop_gradient((fake - real) / size[:, None, None])
            return jnp.sum(direction * made / scale, axis=(1, 2))

        parts: Cloud = jax.tree.map(generator_loss, made, c_out, real, fake, fixed)
        matching = (parts.x + parts.h) / ((3 + TYPES) * atoms)
        return matching + unit_errors(estimate, fixed, c_out_again, mask)


def _split(noise: Cloud) -> tuple[Cloud, Cloud]:
    """Return the two draws of noise that lie one after the other in the features of one."""
    x, h = noise.x, noise.h
    return Cloud(x, h[..., :TYPES]), Cloud(h[..., TYPES : TYPES + 3], h[..., TYPES + 3 :])
