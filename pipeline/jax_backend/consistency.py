"""Consistency models: f(x_t, t) is where the path through x_t began, so that neighbours on a path agree.

Song et al. 2023 (arXiv 2303.01469) for the idea and for kinds ct and distillation, Song and Dhariwal 2023 (arXiv
2310.14189) for ict, Geng et al. 2024 (ECT, arXiv 2406.14548) for tuning. Which levels are compared, and how a pair is
weighed, is ``pipeline.diffusion.training_levels``.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array, lax

from pipeline.jax_backend.denoiser import Preconditioned, at_level
from pipeline.jax_backend.features import Cloud
from pipeline.jax_backend.objective import Frozen, Params
from pipeline.study.config import ConsistencyConfig
from pipeline.training.constants import SMALLEST_LEVEL
from pipeline.training.noisy_batches import NoisyBatch


@dataclass(frozen=True, kw_only=True)
class Consistency(Preconditioned):
    """The training of a consistency model.

    Attributes:
      config: the kind of pairs, and the distance.
    """

    config: ConsistencyConfig

    def losses(self, params: Params, batch: NoisyBatch[Array], frozen: Frozen) -> Array:
        """Return weight(t, r) d(f(x_t, t), stop_gradient f(x_r, r)), [B].

        x_r lies on the straight line from x_t to the data, with the same noise (an unbiased step of the probability
        flow); for kind distillation it is a Heun step of the teacher. The target's weights are the trained ones
        themselves, or for kind ct their average.
        """
        data, noise, mask, t, r, weight, condition = batch
        assert r is not None and weight is not None
        noisy = at_level(data, noise, t)
        if self.config.kind == "distillation":
            earlier = self._heun_step(frozen.teacher, mask, noisy, t, r, condition)
        else:
            earlier = at_level(data, noise, r)
        target = self.denoise(frozen.averaged if self.config.kind == "ct" else params, mask, earlier, r, condition)
        estimate = self.denoise(params, mask, noisy, t, condition)
        return weight * self._distance(estimate, lax.stop_gradient(target), mask)

    def _distance(self, estimate: Cloud, target: Cloud, mask: Array) -> Array:
        """Return the squared or pseudo-Huber distance (iCT, eq. 8) for each of 3 N dimensions, [B]."""
        squares: Cloud = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2, axis=(1, 2)), estimate, target)
        square = squares.x + self.config.type_weight * squares.h
        dimension = 3.0 * jnp.sum(mask, axis=1)
        if self.config.huber == 0.0:
            return square / dimension
        c = self.config.huber * jnp.sqrt(dimension)
        return (jnp.sqrt(square + c**2) - c) / dimension

    def _heun_step(
        self, teacher: Params, mask: Array, noisy: Cloud, t: Array, r: Array, condition: Array | None
    ) -> Cloud:
        """Return the teacher's estimate of x_r on the path through ``noisy`` = x_t (arXiv 2303.01469, eq. 6)."""
        t, r = t[:, None, None], r[:, None, None]

        def slope(state: Cloud, sigma: Array) -> Cloud:
            clean = self.denoise(teacher, mask, state, sigma[:, 0, 0], condition)
            # Where r is 0 the corrector is not taken.
            return Cloud(*jax.tree.map(lambda x, d: (x - d) / jnp.maximum(sigma, SMALLEST_LEVEL), state, clean))

        first = slope(noisy, t)
        euler = jax.tree.map(lambda x, d: x + (r - t) * d, noisy, first)
        second = slope(euler, r)
        step: Cloud = jax.tree.map(
            lambda x, a, b: x + (r - t) * jnp.where(r > 0.0, 0.5 * (a + b), a), noisy, first, second
        )
        return step
