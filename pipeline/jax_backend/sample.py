"""Molecules from a trained model: one compiled program a width, each molecule from its own key."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array
from jax.sharding import Mesh

from pipeline.chemistry.molecules import Molecules
from pipeline.core.progress import Progress
from pipeline.diffusion.clouds import Floats, Sizes
from pipeline.diffusion.feature_scales import TYPES
from pipeline.jax_backend import samplers
from pipeline.jax_backend.denoiser import Preconditioned
from pipeline.jax_backend.edm import EDM
from pipeline.jax_backend.features import Cloud, draw_noise, node_mask
from pipeline.jax_backend.objective import Objective
from pipeline.jax_backend.parallel import chunk_size, make_mesh, mapped, replicated
from pipeline.jax_backend.weights import Layout
from pipeline.sampling.few_step import Denoise, MultistepSampler
from pipeline.sampling.molecule_batches import Draw, Samples, noise_levels, sample_in_batches, trajectory_frames
from pipeline.sampling.parts import Part
from pipeline.study.config import RunConfig, SamplerConfig

BATCH = 128


class RunSampler:
    """Samples a run's network by any kind of sampler."""

    def __init__(
        self,
        run: RunConfig,
        objective: Objective,
        layout: Layout,
        config: SamplerConfig,
        *,
        buckets: list[int],
        batch: int = BATCH,
    ):
        """Prepare to sample ``batch`` molecules at a time, padded to ``buckets``; nothing is compiled yet."""
        self._run, self._objective, self._layout, self._config = run, objective, layout, config
        self._buckets, self._batch = buckets, batch
        self._sampler: Sampler | None = None
        self._denoisers: dict[tuple[int, int], Callable[..., Array]] = {}
        if config.kind != "consistency":
            self._sampler = Sampler(objective, layout, config, widest=buckets[-1], batch=batch)

    def __call__(
        self,
        weights: Array,
        sizes: npt.NDArray[np.int32],
        *,
        progress: Progress | None = None,
        part: Part | None = None,
    ) -> Samples:
        """Sample one molecule for each of ``sizes`` [M]; molecule i depends only on the seed, i and its size."""
        if self._sampler:
            return self._sampler(weights, sizes, buckets=self._buckets, progress=progress, part=part)
        return self.multistep(weights, self._levels())(sizes, progress=progress, part=part)

    def trajectory(self, weights: Array, size: int, *, frames: int) -> tuple[Molecules, npt.NDArray[np.float32]]:
        """Return one molecule on its way from noise, see ``pipeline.sampling.molecule_batches.trajectory_frames``."""
        if self._config.kind != "consistency":
            alone = Sampler(self._objective, self._layout, self._config, widest=self._buckets[-1], batch=1)
            return alone.trajectory(weights, size, frames=frames)
        return self.multistep(weights, self._levels(), batch=1).trajectory(size, frames=frames)

    def multistep(self, weights: Array, levels: Sequence[float], *, batch: int | None = None) -> MultistepSampler:
        """Return the sampler of a consistency model with these levels; the compiled network is shared by all."""
        batch = batch or self._batch
        mesh = make_mesh(batch)
        weights = jax.device_put(weights, replicated(mesh))

        def denoise(width: int) -> Denoise:
            program = self._denoiser(mesh, batch, width)

            def call(clouds: Floats, sigma: float, sizes: Sizes) -> Floats:
                return np.asarray(program(weights, (clouds, sizes.astype(np.int32)), np.float32(sigma)))

            return call

        assert isinstance(self._objective, Preconditioned), "an edm run has no few-step sampler"
        return MultistepSampler(
            denoise,
            levels=levels,
            alignment=self._config.alignment or self._run.levels.alignment,
            sigma_data=self._objective.sigma_data,
            seed=self._config.seed,
            buckets=self._buckets,
            batch=batch,
        )

    def _levels(self) -> tuple[float, ...]:
        assert self._config.levels is not None, "searched levels are put in before"
        return self._config.levels

    def _denoiser(self, mesh: Mesh, batch: int, width: int) -> Callable[..., Array]:
        """Return the compiled network call on clouds [B, N, 3 + K]."""
        if (batch, width) not in self._denoisers:

            def denoise(flat: Array, part: tuple[Array, Array], sigma: Array) -> Array:
                cloud, sizes = part
                noisy, mask = Cloud(cloud[..., :3], cloud[..., 3:]), node_mask(sizes, width)
                clean = self._objective.denoise(self._layout.unravel(flat), mask, noisy, sigma)
                return jnp.concatenate(clean, axis=-1)

            elements = width**2 * self._objective.model.config.edge_hidden
            chunk = chunk_size(mesh, batch // mesh.size, elements=elements)
            clouds = np.zeros((batch, width, 3 + self._objective.features), np.float32)
            # Compiled now: the first call is timed like all others.
            program = jax.jit(mapped(denoise, mesh, chunk=chunk)).lower(
                jax.device_put(jnp.zeros(self._layout.size), replicated(mesh)),
                (clouds, np.zeros(batch, np.int32)),
                np.float32(1.0),
            )
            self._denoisers[batch, width] = program.compile()
        return self._denoisers[batch, width]


class Sampler:
    """A sampler of one model, compiled once a width.

    Attributes:
      widest: the noise of every molecule is drawn for this many atoms and cut, so that padding does not change it.
    """

    def __init__(self, objective: Objective, layout: Layout, config: SamplerConfig, *, widest: int, batch: int = BATCH):
        """Prepare to sample ``batch`` molecules at a time, split over all devices."""
        self._objective, self._layout, self._config = objective, layout, config
        self._levels = noise_levels(config, objective.schedule if isinstance(objective, EDM) else None)
        self._mesh: Mesh = make_mesh(batch)
        self._batch = batch
        self._programs: dict[tuple[int, bool], Callable[..., Any]] = {}
        self.widest = widest

    def __call__(
        self,
        weights: Array,
        sizes: npt.NDArray[np.int32],
        *,
        buckets: list[int],
        progress: Progress | None = None,
        part: Part | None = None,
    ) -> Samples:
        """Sample one molecule for each of ``sizes`` [M]; molecule i depends only on the seed, i and its size."""
        weights = jax.device_put(weights, replicated(self._mesh))

        def draw(width: int) -> Draw:
            program = self._program(width, trajectory=False)

            def draw_batch(
                numbers: npt.NDArray[np.int32], sizes: npt.NDArray[np.int32]
            ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
                positions, types = program(weights, (numbers, sizes))
                return np.asarray(positions), np.asarray(types)

            return draw_batch

        return sample_in_batches(draw, sizes, buckets=buckets, batch=self._batch, progress=progress, part=part)

    def trajectory(self, weights: Array, size: int, *, frames: int) -> tuple[Molecules, npt.NDArray[np.float32]]:
        """Return one molecule on its way from noise, see ``pipeline.sampling.molecule_batches.trajectory_frames``."""
        weights = jax.device_put(weights, replicated(self._mesh))
        program = self._program(size, trajectory=True)
        number, sizes = np.zeros(self._batch, np.int32), np.full(self._batch, size, np.int32)
        positions, types = program(weights, (number, sizes))
        return trajectory_frames(np.asarray(positions)[0], np.asarray(types)[0], self._levels, frames=frames)

    def _program(self, width: int, *, trajectory: bool) -> Callable[..., Any]:
        key = (width, trajectory)
        if key not in self._programs:
            elements = width**2 * self._objective.model.config.edge_hidden
            size = chunk_size(self._mesh, self._batch // self._mesh.size, elements=elements)
            levels, seed = jnp.asarray(self._levels, jnp.float32), self._config.seed

            def draw_molecules(weights: Array, part: tuple[Array, Array], _: None) -> Any:
                numbers, sizes = part
                keys = jax.vmap(lambda number: jax.random.fold_in(jax.random.key(seed), number))(numbers)
                return self._sample(self._layout.unravel(weights), keys, sizes, levels, width, trajectory)

            sharded = mapped(draw_molecules, self._mesh, chunk=size)
            shapes = (jnp.zeros(self._layout.size), (jnp.zeros(self._batch, jnp.int32),) * 2)
            jitted = jax.jit(lambda weights, batch: sharded(weights, batch, None))
            weights_like = jax.device_put(shapes[0], replicated(self._mesh))
            self._programs[key] = jitted.lower(weights_like, shapes[1]).compile()
        return self._programs[key]

    def _sample(
        self, params: Any, keys: Array, sizes: Array, levels: Array, width: int, trajectory: bool
    ) -> tuple[Array, Array]:
        """Return positions [B, width, 3] and types [B, width]; of a trajectory, [B, S + 1, ...]."""
        mask = node_mask(sizes, width)
        widest = node_mask(sizes, max(self.widest, width))

        def draw(step: Array) -> Cloud:
            noise = draw_noise(
                jax.vmap(lambda key: jax.random.fold_in(key, step))(keys), widest, self._objective.features
            )
            return Cloud(noise.x[:, :width], noise.h[:, :width])

        def denoise(noisy: Cloud, sigma: Array) -> Cloud:
            return self._objective.denoise(params, mask, noisy, sigma)

        # Step S + 1 is never drawn in the loop, so the starting noise is independent of all that follow.
        start = draw(jnp.array(len(self._levels)))
        if self._config.kind == "ancestral":
            final, states = samplers.ancestral(denoise, start, levels, draw)
        else:
            final, states = {"heun": samplers.heun, "ddim": samplers.ddim}[self._config.kind](denoise, start, levels)
        if trajectory:
            final = jax.tree.map(
                lambda all_, last: jnp.moveaxis(jnp.concatenate([all_, last[None]]), 0, 1), states, final
            )
        return final.x, jnp.argmax(final.h[..., :TYPES], axis=-1)
