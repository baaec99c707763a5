"""Molecules from a trained model, each from a generator of its own."""

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.chemistry.molecules import Molecules
from pipeline.core.progress import Progress
from pipeline.diffusion.clouds import Floats, Sizes
from pipeline.diffusion.feature_scales import TYPES
from pipeline.sampling.few_step import Denoise, MultistepSampler
from pipeline.sampling.molecule_batches import Draw, Samples, noise_levels, sample_in_batches, trajectory_frames
from pipeline.sampling.parts import Part
from pipeline.study.config import RunConfig, SamplerConfig
from pipeline.torch_backend import samplers
from pipeline.torch_backend.denoiser import Preconditioned
from pipeline.torch_backend.edm import EDM
from pipeline.torch_backend.features import Cloud, as_noise, combine, draw_normals, node_mask, seeded
from pipeline.torch_backend.objective import Objective
from pipeline.torch_backend.parallel import CPU_CHUNK, Workers

BATCH = 256


class RunSampler:
    """Samples a run's network by any kind of sampler, with the weights that it has when it is called.

    It is a ``pipeline.sampling.few_step.RunSampler``.
    """

    def __init__(
        self,
        run: RunConfig,
        objective: Objective,
        config: SamplerConfig,
        workers: Workers,
        *,
        buckets: list[int],
        batch: int = BATCH,
    ):
        """Prepare to sample ``batch`` molecules at a time, padded to ``buckets``, split over all workers."""
        self._run, self._objective, self._config, self._workers = run, objective, config, workers
        self._buckets, self._batch = buckets, batch
        self._sampler: Sampler | None = None
        if config.kind != "consistency":
            self._sampler = Sampler(objective, config, workers, widest=buckets[-1], batch=batch)

    def __call__(
        self, sizes: npt.NDArray[np.int32], *, progress: Progress | None = None, part: Part | None = None
    ) -> Samples:
        """Sample one molecule for each of ``sizes`` [M]; molecule i depends only on the seed, i and its size."""
        if self._sampler:
            return self._sampler(sizes, buckets=self._buckets, progress=progress, part=part)
        return self.at(self._levels())(sizes, progress=progress, part=part)

    def trajectory(self, size: int, *, frames: int) -> tuple[Molecules, npt.NDArray[np.float32]]:
        """Return one molecule on its way from noise as up to ``frames`` molecules, and their noise levels."""
        if self._sampler:
            return self._sampler.trajectory(size, frames=frames)
        return self._multistep(self._levels(), batch=1).trajectory(size, frames=frames)

    def at(self, levels: Sequence[float]) -> MultistepSampler:
        """Return the same sampler of a consistency model with other levels."""
        return self._multistep(levels, batch=self._batch)

    def _levels(self) -> tuple[float, ...]:
        assert self._config.levels is not None, "searched levels are put in before"
        return self._config.levels

    def _multistep(self, levels: Sequence[float], *, batch: int) -> MultistepSampler:
        assert isinstance(self._objective, Preconditioned), "an edm run has no few-step sampler"
        return MultistepSampler(
            self._denoiser,
            levels=levels,
            alignment=self._config.alignment or self._run.levels.alignment,
            sigma_data=self._objective.sigma_data,
            seed=self._config.seed,
            buckets=self._buckets,
            batch=batch,
            multiple=min(batch, CPU_CHUNK),
        )

    def _denoiser(self, width: int) -> Denoise:
        """Return the network call on clouds [B, width, 3 + K] of the host."""
        chunk = self._workers.chunk(self._objective.model.config, width)

        def call(clouds: Floats, sigma: float, sizes: Sizes) -> Floats:
            like = self._objective.like
            values = torch.from_numpy(clouds).to(like)
            noisy = Cloud(values[..., :3], values[..., 3:])
            mask = node_mask(torch.from_numpy(sizes).to(like.device), width, dtype=like.dtype)

            def estimate(part: slice) -> Tensor:
                return torch.cat(
                    self._objective.denoise(mask[part], combine(lambda values: values[part], noisy), sigma), dim=-1
                )

            return self._workers.infer(estimate, len(sizes), chunk=chunk).float().cpu().numpy()

        return call


class Sampler:
    """A sampler of one model, with the weights that this has when it is called.

    Attributes:
      widest: the noise of every molecule is drawn for this many atoms and cut, so that padding does not change it.
    """

    def __init__(
        self, objective: Objective, config: SamplerConfig, workers: Workers, *, widest: int, batch: int = BATCH
    ):
        """Prepare to sample ``batch`` molecules at a time, split over all workers."""
        self._objective, self._config, self._workers, self._batch = objective, config, workers, batch
        self._levels = noise_levels(config, objective.schedule if isinstance(objective, EDM) else None)
        self.widest = widest

    def __call__(
        self,
        sizes: npt.NDArray[np.int32],
        *,
        buckets: list[int],
        progress: Progress | None = None,
        part: Part | None = None,
    ) -> Samples:
        """Sample one molecule for each of ``sizes`` [M]; molecule i depends only on the seed, i and its size."""

        def draw(width: int) -> Draw:
            chunk = self._workers.chunk(self._objective.model.config, width)

            def draw_batch(
                numbers: npt.NDArray[np.int32], sizes: npt.NDArray[np.int32]
            ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
                def last(part: slice) -> Tensor:
                    (state,) = deque(self._states(numbers[part], sizes[part], width), maxlen=1)
                    return torch.cat([state.x, state.h], dim=-1)

                states = self._workers.infer(last, len(numbers), chunk=chunk).cpu()
                return states[..., :3].numpy(), types_of(states[..., 3:]).numpy()

            return draw_batch

        return sample_in_batches(
            draw, sizes, buckets=buckets, batch=self._batch, multiple=CPU_CHUNK, progress=progress, part=part
        )

    def trajectory(self, size: int, *, frames: int) -> tuple[Molecules, npt.NDArray[np.float32]]:
        """Return one molecule on its way from noise, see ``pipeline.sampling.molecule_batches.trajectory_frames``."""
        with torch.inference_mode():
            states = list(self._states(np.zeros(1, np.int32), np.array([size], np.int32), size))
        positions = torch.stack([state.x[0] for state in states]).cpu().numpy()
        types = torch.stack([types_of(state.h[0]) for state in states]).cpu().numpy()
        return trajectory_frames(positions, types, self._levels, frames=frames)

    def _states(self, numbers: npt.NDArray[np.int32], sizes: npt.NDArray[np.int32], width: int) -> Iterator[Cloud]:
        """Yield the noisy clouds before every step and the sample, of molecules with these numbers and sizes [B]."""
        like = self._objective.like
        mask = node_mask(torch.from_numpy(sizes).to(like.device), width, dtype=like.dtype)
        generators = [seeded(self._config.seed, int(number)) for number in numbers]
        widest = max(self.widest, width)

        def normals() -> Tensor:
            return draw_normals(generators, widest, self._objective.features)

        def draw() -> Cloud:
            return as_noise(normals()[:, :width].to(mask), mask)

        def denoise(noisy: Cloud, sigma: float) -> Cloud:
            return self._objective.denoise(mask, noisy, sigma)

        levels = self._levels.tolist()
        if self._config.kind == "ancestral":
            return samplers.ancestral(denoise, draw(), levels, draw)
        return {"heun": samplers.heun, "ddim": samplers.ddim}[self._config.kind](denoise, draw(), levels)


def types_of(h: Tensor) -> Tensor:
    """Return the likeliest types, places in ``ATOMIC_NUMBERS`` [..., N], of features [..., N, K]."""
    return h[..., :TYPES].argmax(dim=-1)
