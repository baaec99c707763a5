"""Molecules from a trained model, each from a generator of its own."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.data.statistics import Statistics
from pipeline.diffusion.clouds import Floats, Sizes
from pipeline.sampling.molecule_batches import Draw
from pipeline.sampling.sampler import ConditionalDenoise, MoleculeSampler
from pipeline.study.config import RunConfig, SamplerConfig
from pipeline.torch_backend import samplers
from pipeline.torch_backend.features import Cloud, as_noise, combine, draw_normals, node_mask, seeded
from pipeline.torch_backend.objective import GenerativeObjective
from pipeline.torch_backend.parallel import CPU_CHUNK, Workers

BATCH = 256


class TorchSampler(MoleculeSampler):
    """Samples a run's network with the weights that it has when it is called."""

    def __init__(
        self,
        run: RunConfig,
        statistics: Statistics,
        config: SamplerConfig,
        objective: GenerativeObjective,
        workers: Workers,
        *,
        batch: int = BATCH,
        buckets: Sequence[int] | None = None,
    ):
        """Prepare to sample, see ``MoleculeSampler``; the molecules of a batch are split over all workers."""
        super().__init__(run, statistics, config, batch=batch, multiple=min(batch, CPU_CHUNK), buckets=buckets)
        self._objective, self._workers = objective, workers

    def denoiser(self, width: int, batch: int) -> ConditionalDenoise:
        """Return the network call on clouds that are padded to ``width``, any number of them."""
        del batch
        chunk = self._workers.chunk(self._objective.model.config, width)

        def call(clouds: Floats, sigma: float, sizes: Sizes, condition: Floats | None) -> Floats:
            like = self._objective.like
            values = torch.from_numpy(clouds).to(like)
            noisy = Cloud(values[..., :3], values[..., 3:])
            mask = node_mask(torch.from_numpy(sizes).to(like.device), width, dtype=like.dtype)
            given = None if condition is None else torch.from_numpy(condition).to(like)

            def estimate(part: slice) -> Tensor:
                own = None if given is None else given[part]
                return torch.cat(self._estimate(mask[part], combine(lambda x: x[part], noisy), sigma, own), dim=-1)

            return self._workers.infer(estimate, len(sizes), chunk=chunk).float().cpu().numpy()

        return call

    def integrator(self, width: int) -> Draw:
        """Return what draws a batch of molecules that are padded to ``width``."""
        chunk = self._workers.chunk(self._objective.model.config, width)

        def draw(numbers: npt.NDArray[np.int32], sizes: npt.NDArray[np.int32]) -> tuple[Floats, npt.NDArray[Any]]:
            def last(part: slice) -> Tensor:
                (state,) = deque(self._integrate(numbers[part], sizes[part], width), maxlen=1)
                return torch.cat([state.x, state.h], dim=-1)

            states = self._workers.infer(last, len(numbers), chunk=chunk).cpu()
            return states[..., :3].numpy(), self._types(states[..., 3:]).numpy()

        return draw

    def states(self, size: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return positions [S + 1, N, 3] and types [S + 1, N] of one molecule on its way, the sample last."""
        with torch.inference_mode():
            states = list(self._integrate(np.zeros(1, np.int32), np.array([size], np.int32), size))
        positions = torch.stack([state.x[0] for state in states]).cpu().numpy()
        return positions, torch.stack([self._types(state.h[0]) for state in states]).cpu().numpy()

    def _estimate(self, mask: Tensor, noisy: Cloud, sigma: float, condition: Tensor | None) -> Cloud:
        """Return the estimate of the clean cloud, with classifier-free guidance if the sampler has a weight."""
        clean = self._objective.denoise(mask, noisy, sigma, condition)
        if not (weight := self._config.guidance):
            return clean
        free = self._objective.denoise(mask, noisy, sigma)
        return combine(lambda given, withheld: given + weight * (given - withheld), clean, free)

    def _integrate(self, numbers: npt.NDArray[np.int32], sizes: npt.NDArray[np.int32], width: int) -> Iterator[Cloud]:
        """Yield the noisy clouds before every step and the sample, of molecules with these numbers and sizes [B]."""
        like = self._objective.like
        mask = node_mask(torch.from_numpy(sizes).to(like.device), width, dtype=like.dtype)
        condition = self._condition_of(numbers)
        given = None if condition is None else torch.from_numpy(condition).to(like)
        generators = [seeded(self._config.seed, int(number)) for number in numbers]
        # The noise of every molecule is drawn for as many atoms and cut, so that padding does not change it.
        widest = max(self._buckets[-1], width)

        def draw() -> Cloud:
            normals = draw_normals(generators, widest, self._objective.features)
            return as_noise(normals[:, :width].to(mask), mask)

        def denoise(noisy: Cloud, sigma: float) -> Cloud:
            return self._estimate(mask, noisy, sigma, given)

        states: Iterator[Cloud] = self._solve(samplers, denoise, draw(), draw, np.ndarray.tolist)
        return states

    def _types(self, h: Tensor) -> Tensor:
        """Return the likeliest types [..., N] of features [..., N, K]."""
        return h[..., : len(self._sigma_data.elements)].argmax(dim=-1)
