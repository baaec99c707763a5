"""Molecules from a trained model: one compiled program a width, each molecule from its own key."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array

from pipeline.data.statistics import Statistics
from pipeline.diffusion.clouds import Floats, Sizes
from pipeline.jax_backend import samplers
from pipeline.jax_backend.build import build_generative, build_layout
from pipeline.jax_backend.features import Cloud, draw_noise, node_mask
from pipeline.jax_backend.objective import Params
from pipeline.jax_backend.parallel import chunk_size, make_mesh, mapped, replicated
from pipeline.sampling.molecule_batches import Draw
from pipeline.sampling.sampler import ConditionalDenoise, MoleculeSampler
from pipeline.study.config import RunConfig, SamplerConfig

BATCH = 128


class JaxSampler(MoleculeSampler):
    """Samples a run's network with the weights that it has when it is called.

    Attributes:
      weights: the parameters, [P].
    """

    def __init__(
        self,
        run: RunConfig,
        statistics: Statistics,
        config: SamplerConfig,
        weights: Array,
        *,
        batch: int = BATCH,
        buckets: Sequence[int] | None = None,
    ):
        """Prepare to sample, see ``MoleculeSampler``; the molecules of a batch are split over all devices."""
        super().__init__(run, statistics, config, batch=batch, buckets=buckets)
        self.weights = weights
        self._objective = build_generative(run, statistics)
        self._layout = build_layout(self._objective)
        self._programs: dict[tuple[str, int, int], Callable[..., Any]] = {}

    def denoiser(self, width: int, batch: int) -> ConditionalDenoise:
        """Return the compiled network call on ``batch`` clouds that are padded to ``width``."""

        def denoise(flat: Array, part: tuple[Array, Array, Array | None], sigma: Array) -> Array:
            cloud, sizes, condition = part
            noisy, mask = Cloud(cloud[..., :3], cloud[..., 3:]), node_mask(sizes, width)
            clean = self._estimate(self._layout.unravel(flat), mask, noisy, sigma, condition)
            return jnp.concatenate(clean, axis=-1)

        clouds = np.zeros((batch, width, 3 + self._objective.features), np.float32)
        numbers = np.zeros(batch, np.int32)
        example = ((clouds, numbers, self._condition_of(numbers)), np.float32(1.0))
        program = self._compiled(denoise, width, batch, *example)

        def call(clouds: Floats, sigma: float, sizes: Sizes, condition: Floats | None) -> Floats:
            return np.asarray(program((clouds, sizes.astype(np.int32), condition), np.float32(sigma)))

        return call

    def integrator(self, width: int) -> Draw:
        """Return the compiled program that draws a batch of molecules that are padded to ``width``."""

        def sample(flat: Array, part: Any, _: None) -> tuple[Array, Array]:
            final, _states = self._integrate(flat, part, width)
            return final.x, jnp.argmax(final.h[..., : len(self._sigma_data.elements)], axis=-1)

        numbers = np.zeros(self._batch, np.int32)
        example = (numbers, numbers, self._condition_of(numbers))
        program = self._compiled(sample, width, self._batch, example, None)

        def draw(numbers: npt.NDArray[np.int32], sizes: npt.NDArray[np.int32]) -> tuple[Floats, npt.NDArray[Any]]:
            positions, types = program((numbers, sizes, self._condition_of(numbers)), None)
            return np.asarray(positions), np.asarray(types)

        return draw

    def states(self, size: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return positions [S + 1, N, 3] and types [S + 1, N] of one molecule on its way, the sample last."""

        def trajectory(flat: Array, part: Any, _: None) -> tuple[Array, Array]:
            final, states = self._integrate(flat, part, size)
            path: Cloud = jax.tree.map(
                lambda all_, last: jnp.moveaxis(jnp.concatenate([all_, last[None]]), 0, 1), states, final
            )
            return path.x, jnp.argmax(path.h[..., : len(self._sigma_data.elements)], axis=-1)

        number = np.zeros(1, np.int32)
        one = (number, np.array([size], np.int32), self._condition_of(number))
        positions, types = self._compiled(trajectory, size, 1, one, None)(one, None)
        return np.asarray(positions)[0], np.asarray(types)[0]

    def _compiled(self, function: Callable[..., Any], width: int, batch: int, *example: Any) -> Callable[..., Any]:
        """Return ``function`` of these weights, on every device's share of a batch; compiled now, to be timed alike."""
        mesh, key = make_mesh(batch), (function.__name__, width, batch)
        weights = jax.device_put(self.weights, replicated(mesh))
        if key not in self._programs:
            chunk = chunk_size(mesh, batch, width, self._objective.model.config)
            self._programs[key] = jax.jit(mapped(function, mesh, chunk=chunk)).lower(weights, *example).compile()
        return partial(self._programs[key], weights)

    def _estimate(self, params: Params, mask: Array, noisy: Cloud, sigma: Array, condition: Array | None) -> Cloud:
        """Return the estimate of the clean cloud, with classifier-free guidance if the sampler has a weight."""
        clean = self._objective.denoise(params, mask, noisy, sigma, condition)
        if not (weight := self._config.guidance):
            return clean
        free = self._objective.denoise(params, mask, noisy, sigma)
        guided: Cloud = jax.tree.map(lambda given, withheld: given + weight * (given - withheld), clean, free)
        return guided

    def _integrate(self, flat: Array, part: Any, width: int) -> tuple[Cloud, Cloud]:
        """Return the samples, and the noisy clouds before every step, [S, B, N, .]."""
        numbers, sizes, condition = part
        params = self._layout.unravel(flat)
        keys = jax.vmap(lambda number: jax.random.fold_in(jax.random.key(self._config.seed), number))(numbers)
        mask = node_mask(sizes, width)
        # The noise of every molecule is drawn for as many atoms and cut, so that padding does not change it.
        widest = node_mask(sizes, max(self._buckets[-1], width))

        def draw(step: Array) -> Cloud:
            noise = draw_noise(
                jax.vmap(lambda key: jax.random.fold_in(key, step))(keys), widest, self._objective.features
            )
            return Cloud(noise.x[:, :width], noise.h[:, :width])

        def denoise(noisy: Cloud, sigma: Array) -> Cloud:
            return self._estimate(params, mask, noisy, sigma, condition)

        # Step S + 1 is never drawn in the loop, so the starting noise is independent of all that follow.
        start = draw(jnp.array(len(self._levels)))
        states: tuple[Cloud, Cloud] = self._solve(
            samplers, denoise, start, draw, partial(jnp.asarray, dtype=jnp.float32)
        )
        return states
