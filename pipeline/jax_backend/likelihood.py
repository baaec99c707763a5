"""The negative log-likelihood of molecules under an EDM: the variational bound, term by term.

Hoogeboom et al. 2022 (arXiv 2203.17003), section 3 and appendix A.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array

from pipeline.data.shards import Shard
from pipeline.data.statistics import Statistics
from pipeline.jax_backend.edm import EDM, FEATURES, Draws
from pipeline.jax_backend.features import Cloud, draw_noise, node_mask
from pipeline.jax_backend.parallel import make_mesh, mapped, replicated
from pipeline.jax_backend.weights import Layout
from pipeline.progress import Progress

BATCH = 64


@dataclass(frozen=True, eq=False)
class Bound:
    """The terms of the bound in nats for every molecule, each [M]; their sum is the negative log-likelihood.

    Attributes:
      prior: KL(q(z_T | x) || N(0, 1)).
      diffusion: T times the loss at a random t in 1..T, an unbiased estimate of the sum over t.
      reconstruction: L_0 without its constant.
      constant: the normalisation of the Gaussian p(x | z_0), which depends on the number of atoms alone.
      size: -log p(N); its mean is 2.48 nats whatever the model has learned.
    """

    prior: npt.NDArray[np.float64]
    diffusion: npt.NDArray[np.float64]
    reconstruction: npt.NDArray[np.float64]
    constant: npt.NDArray[np.float64]
    size: npt.NDArray[np.float64]

    @property
    def without_size(self) -> npt.NDArray[np.float64]:
        """Return -log p(x, h | N), [M]."""
        return self.prior + self.diffusion + self.reconstruction + self.constant


def variational_bound(
    objective: EDM,
    layout: Layout,
    weights: Array,
    shards: list[Shard],
    statistics: Statistics,
    *,
    seed: int,
    progress: Progress,
) -> Bound:
    """Return the bound on -log p(x, h) of every molecule in ``shards``, with one random t each."""
    mesh = make_mesh(BATCH)
    weights = jax.device_put(weights, replicated(mesh))

    def terms(flat: Array, part: Any, _: None) -> Array:
        numbers, positions, atomic_numbers, sizes = part
        mask = node_mask(sizes, atomic_numbers.shape[1])
        keys = jax.vmap(lambda number: jax.random.fold_in(jax.random.key(seed), number))(numbers)
        return bound_terms(objective, layout.unravel(flat), objective.clean(positions, atomic_numbers), mask, keys)

    program: Callable[..., Array] = jax.jit(lambda flat, part: mapped(terms, mesh)(flat, part, None))
    found, sizes = [], []
    for shard in shards:
        for start in range(0, len(shard), BATCH):
            rows = np.arange(start, min(start + BATCH, len(shard)))
            padded = np.resize(rows, BATCH)
            batch = (shard.index[padded], shard.positions[padded], shard.atomic_numbers[padded], shard.sizes[padded])
            found.append(np.asarray(program(weights, batch), np.float64)[: len(rows)])
            sizes.append(shard.sizes[rows])
            progress.update(len(rows))
    prior, diffusion, reconstruction = np.concatenate(found).T
    all_sizes = np.concatenate(sizes)
    return Bound(
        prior=prior,
        diffusion=diffusion,
        reconstruction=reconstruction,
        constant=reconstruction_constant(all_sizes, sigma_0=float(objective.schedule.sigma_ve[0])),
        size=-size_log_probability(all_sizes, statistics),
    )


def bound_terms(objective: EDM, params: Any, data: Cloud, mask: Array, keys: Array) -> Array:
    """Return (prior, diffusion, reconstruction) for every molecule, [B, 3]."""
    schedule = objective.schedule
    keys_t, keys_noise, keys_0 = jax.vmap(lambda key: jax.random.split(key, 3), out_axes=1)(keys)
    t = jax.vmap(lambda key: jax.random.randint(key, (), 1, schedule.steps + 1))(keys_t)
    zero = jnp.zeros_like(t)
    at_t = objective.bound_losses(params, data, mask, Draws(t, draw_noise(keys_noise, mask, FEATURES)))
    at_0 = objective.bound_losses(params, data, mask, Draws(zero, draw_noise(keys_0, mask, FEATURES)))
    return jnp.stack([prior_divergence(objective, data, mask), schedule.steps * at_t, at_0], axis=-1)


def prior_divergence(objective: EDM, data: Cloud, mask: Array) -> Array:
    """Return KL(q(z_T | x) || N(0, 1)), [B]; coordinates live in 3 (N - 1) dimensions."""
    alpha, sigma = float(objective.schedule.alpha[-1]), float(objective.schedule.sigma[-1])
    sizes = jnp.sum(mask, axis=1)
    dimensions = 3.0 * (sizes - 1.0) + FEATURES * sizes
    squares = jnp.sum(data.x**2, axis=(1, 2)) + jnp.sum(data.h**2, axis=(1, 2))
    return 0.5 * alpha**2 * squares + dimensions * (-math.log(sigma) + 0.5 * (sigma**2 - 1.0))


def reconstruction_constant(sizes: npt.NDArray[Any], *, sigma_0: float) -> npt.NDArray[np.float64]:
    """Return the log normalising constant of p(x | z_0), Gaussian of deviation ``sigma_0`` in 3 (N - 1) dimensions."""
    return 3.0 * (sizes - 1.0) * (math.log(sigma_0) + 0.5 * math.log(2.0 * math.pi))


def size_log_probability(sizes: npt.NDArray[Any], statistics: Statistics) -> npt.NDArray[np.float64]:
    """Return log p(N) under the training histogram; a size that no training molecule has counts as seen half a time."""
    histogram = statistics.size_histogram["train"]
    total = sum(histogram.values())
    return np.array([math.log(histogram.get(int(size), 0.5) / total) for size in sizes])
