"""The terms of the variational bound of an EDM that need its network; see ``pipeline.diffusion.likelihood``."""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.core.progress import Progress
from pipeline.data.batches import PaddedMolecules
from pipeline.data.shards import Shard
from pipeline.data.statistics import Statistics
from pipeline.diffusion.feature_scales import FEATURES
from pipeline.diffusion.likelihood import Bound, gather_bound
from pipeline.torch_backend.edm import EDM
from pipeline.torch_backend.features import Cloud, as_noise, draw_normals, node_mask, seeded, take
from pipeline.torch_backend.objective import Draws, Inputs
from pipeline.torch_backend.parallel import Workers


def variational_bound(
    objective: EDM, workers: Workers, shards: list[Shard], statistics: Statistics, *, seed: int, progress: Progress
) -> Bound:
    """Return the bound on -log p(x, h) of every molecule in ``shards``, with one random t each."""

    def terms(molecules: PaddedMolecules) -> npt.NDArray[np.float32]:
        positions, atomic_numbers, sizes = (
            torch.from_numpy(array).to(objective.like.device)
            for array in (molecules.positions, molecules.atomic_numbers, molecules.sizes)
        )
        mask = node_mask(sizes, positions.shape[1])
        data = objective.clean(positions, atomic_numbers)
        generators = [seeded(seed, int(number)) for number in molecules.numbers]
        t = torch.cat([torch.randint(1, objective.schedule.steps + 1, (1,), generator=each) for each in generators])
        at_t, at_0 = (as_noise(draw_normals(generators, mask.shape[1], FEATURES).to(mask), mask) for _ in range(2))
        inputs = Inputs(data, mask, Draws(at_t, t[:, None].to(mask)))

        def bound(part: slice) -> Tensor:
            return bound_terms(objective, *inputs.take(part), take(at_0, part))

        chunk = workers.chunk(objective.model.config, mask.shape[1])
        return workers.infer(bound, len(sizes), chunk=chunk).cpu().numpy()

    return gather_bound(terms, shards, statistics, objective.schedule, progress=progress)


def bound_terms(objective: EDM, data: Cloud, mask: Tensor, draws: Draws, noise_0: Cloud) -> Tensor:
    """Return (prior, diffusion, reconstruction) for every molecule, [B, 3].

    Args:
      objective: the model.
      data: the molecules.
      mask: [B, N].
      draws: t in 1..T and noise for the term of the diffusion.
      noise_0: for that of the reconstruction.
    """
    at_t = objective.bound_losses(data, mask, draws)
    at_0 = objective.bound_losses(data, mask, Draws(noise_0, torch.zeros_like(draws.levels)))
    return torch.stack([prior_divergence(objective, data, mask), objective.schedule.steps * at_t, at_0], dim=-1)


def prior_divergence(objective: EDM, data: Cloud, mask: Tensor) -> Tensor:
    """Return KL(q(z_T | x) || N(0, 1)), [B]; coordinates live in 3 (N - 1) dimensions."""
    alpha, sigma = float(objective.schedule.alpha[-1]), float(objective.schedule.sigma[-1])
    sizes = mask.sum(dim=1)
    dimensions = 3.0 * (sizes - 1.0) + FEATURES * sizes
    squares = data.x.square().sum(dim=(1, 2)) + data.h.square().sum(dim=(1, 2))
    return 0.5 * alpha**2 * squares + dimensions * (-math.log(sigma) + 0.5 * (sigma**2 - 1.0))
