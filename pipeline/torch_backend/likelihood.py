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
from pipeline.diffusion.likelihood import Bound, gather_bound
from pipeline.torch_backend.edm import EDM
from pipeline.torch_backend.features import (
    Cloud,
    as_noise,
    atom_features,
    combine,
    draw_normals,
    node_mask,
    seeded,
    to_tensor,
)
from pipeline.torch_backend.parallel import Workers, take
from pipeline.training.noisy_batches import NoisyBatch


def variational_bound(
    objective: EDM, workers: Workers, shards: list[Shard], statistics: Statistics, *, seed: int, progress: Progress
) -> Bound:
    """Return the bound on -log p(x, h) of every molecule in ``shards``, with one random t each."""

    def terms(molecules: PaddedMolecules) -> npt.NDArray[np.float32]:
        like = objective.like
        numbers = molecules.numbers
        positions, atomic_numbers, sizes = (to_tensor(array, like) for array in molecules[1:])
        mask = node_mask(sizes, positions.shape[1])
        generators = [seeded(seed, int(number)) for number in numbers]
        t = torch.cat([torch.randint(1, objective.schedule.steps + 1, (1,), generator=each) for each in generators])
        at_t, at_0 = (
            as_noise(draw_normals(generators, mask.shape[1], objective.features).to(like), mask) for _ in range(2)
        )
        batch = NoisyBatch(
            Cloud(positions, atom_features(atomic_numbers, objective.elements, objective.features)),
            at_t,
            mask,
            t.to(like.device),
        )

        def bound(part: slice) -> Tensor:
            return bound_terms(objective, take(batch, part), combine(lambda noise: noise[part], at_0))

        chunk = workers.chunk(objective.model.config, mask.shape[1])
        return workers.infer(bound, len(numbers), chunk=chunk).cpu().numpy()

    return gather_bound(terms, shards, statistics, objective.schedule, progress=progress)


def bound_terms(objective: EDM, batch: NoisyBatch[Tensor], noise_0: Cloud) -> Tensor:
    """Return (prior, diffusion, reconstruction) for every molecule, [B, 3].

    Args:
      objective: the model.
      batch: the molecules, with t in 1..T and noise for the term of the diffusion.
      noise_0: noise for that of the reconstruction.
    """
    at_t = objective.bound_losses(batch)
    at_0 = objective.bound_losses(batch._replace(noise=noise_0, t=torch.zeros_like(batch.t)))
    return torch.stack(
        [prior_divergence(objective, batch.data, batch.mask), objective.schedule.steps * at_t, at_0], dim=-1
    )


def prior_divergence(objective: EDM, data: Cloud, mask: Tensor) -> Tensor:
    """Return KL(q(z_T | x) || N(0, 1)), [B]; coordinates live in 3 (N - 1) dimensions."""
    alpha, sigma = float(objective.schedule.alpha[-1]), float(objective.schedule.sigma[-1])
    sizes = mask.sum(dim=1)
    dimensions = 3.0 * (sizes - 1.0) + objective.features * sizes
    squares = data.x.square().sum(dim=(1, 2)) + data.h.square().sum(dim=(1, 2))
    return 0.5 * alpha**2 * squares + dimensions * (-math.log(sigma) + 0.5 * (sigma**2 - 1.0))
