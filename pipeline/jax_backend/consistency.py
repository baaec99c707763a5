"""Consistency models: f(x_t, t) is where the path through x_t began, so that neighbours on a path agree.

Song et al. 2023 (arXiv 2303.01469) for the idea, Song and Dhariwal 2023 (arXiv 2310.14189) for the distance,
Geng et al. 2024 (ECT, arXiv 2406.14548) for tuning, Luhman and Luhman 2021 (arXiv 2101.02388) for distillation. Which
levels are compared, and how a pair is weighed, is ``pipeline.diffusion.training_levels``.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import jax
import jax.numpy as jnp
from jax import Array, lax

from pipeline.jax_backend.denoiser import Preconditioned, at_level
from pipeline.jax_backend.features import Cloud
from pipeline.jax_backend.objective import Params
from pipeline.study.config import ConsistencyConfig
from pipeline.training.noisy_batches import NoisyBatch


@dataclass(frozen=True, kw_only=True)
class Consistency(Preconditioned):
    """The training of a consistency model.

    Attributes:
      config: the kind of pairs, and the distance.
    """

    config: ConsistencyConfig

    def losses(self, params: Params, batch: NoisyBatch[Array], teacher: Params) -> Array:
        """Return weight(t, r) d(f(x_t, t), stop_gradient f(x_r, r)), [B].

        x_r lies on the straight line from x_t to the data, with the same noise (an unbiased step of the probability
        flow). The target's weights are the trained ones themselves.

        For kind distillation x_t is pure noise, and the target is the molecule that the teacher makes of it.
        """
        data, noise, mask, t, r, weight, condition = batch
        assert r is not None and weight is not None
        if self.config.kind == "distillation":
            noisy = self._first_cloud(noise)
            target = self._teacher_sample(teacher, mask, noise, condition)
        else:
            noisy = at_level(data, noise, t)
            target = self.denoise(params, mask, at_level(data, noise, r), r, condition)
        estimate = self.denoise(params, mask, noisy, t, condition)
        return weight * self._distance(estimate, lax.stop_gradient(target), mask)

    def _first_cloud(self, noise: Cloud) -> Cloud:
        """Return the cloud that sampling starts from at the first level of the path (``few_step``)."""
        first = self.config.path[0]
        x, h = (
            math.hypot(first, scale) * z
            for scale, z in zip((self.sigma_data.coordinates, self.sigma_data.types), noise, strict=True)
        )
        return Cloud(x, h)

    def _teacher_sample(self, teacher: Params, mask: Array, noise: Cloud, condition: Array | None) -> Cloud:
        """Return what the teacher's calls at all levels of the path make of one draw of noise."""

        def call(state: Cloud, levels: Array) -> tuple[Cloud, None]:
            sigma, lower = levels
            estimate = self.denoise(teacher, mask, state, sigma, condition)
            return at_level(estimate, noise, jnp.broadcast_to(lower, mask.shape[:1])), None

        levels = jnp.asarray(list(pairwise([*self.config.path, 0.0])), noise.x.dtype)
        sample, _ = lax.scan(call, self._first_cloud(noise), levels)
        return sample

    def _distance(self, estimate: Cloud, target: Cloud, mask: Array) -> Array:
        """Return the squared or pseudo-Huber distance (Song and Dhariwal, eq. 8) for each of 3 N dimensions, [B]."""
        squares: Cloud = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2, axis=(1, 2)), estimate, target)
        square = squares.x + self.config.type_weight * squares.h
        dimension = 3.0 * jnp.sum(mask, axis=1)
        if self.config.huber == 0.0:
            return square / dimension
        c = self.config.huber * jnp.sqrt(dimension)
        return (jnp.sqrt(square + c**2) - c) / dimension
