"""The negative log-likelihood of molecules under an EDM: the variational bound, term by term.

Hoogeboom et al. 2022 (arXiv 2203.17003), section 3 and appendix A.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pipeline.core.progress import Progress
from pipeline.data.shards import Shard
from pipeline.data.statistics import Statistics
from pipeline.diffusion.likelihood import BATCH, Bound, gather_bound
from pipeline.jax_backend.edm import EDM
from pipeline.jax_backend.features import Cloud, atom_features, draw_noise, node_mask
from pipeline.jax_backend.parallel import chunk_size, make_mesh, mapped, replicated
from pipeline.jax_backend.weights import Layout
from pipeline.training.noisy_batches import NoisyBatch


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
        data = Cloud(positions, atom_features(atomic_numbers, objective.elements, objective.features))
        mask = node_mask(sizes, atomic_numbers.shape[1])
        keys = jax.vmap(lambda number: jax.random.fold_in(jax.random.key(seed), number))(numbers)
        return bound_terms(objective, layout.unravel(flat), data, mask, keys)

    @jax.jit
    def program(flat: Array, part: Any) -> Any:
        chunk = chunk_size(mesh, BATCH, part.atomic_numbers.shape[1], objective.model.config)
        return mapped(terms, mesh, chunk=chunk)(flat, part, None)

    return gather_bound(
        lambda molecules: np.asarray(program(weights, molecules)),
        shards,
        statistics,
        objective.schedule,
        progress=progress,
    )


def bound_terms(objective: EDM, params: Any, data: Cloud, mask: Array, keys: Array) -> Array:
    """Return (prior, diffusion, reconstruction) for every molecule, [B, 3]."""
    schedule = objective.schedule
    keys_t, keys_noise, keys_0 = jax.vmap(lambda key: jax.random.split(key, 3), out_axes=1)(keys)
    t = jax.vmap(lambda key: jax.random.randint(key, (), 1, schedule.steps + 1))(keys_t)
    at_t, at_0 = (
        objective.bound_losses(params, NoisyBatch(data, draw_noise(keys, mask, objective.features), mask, step))
        for keys, step in ((keys_noise, t), (keys_0, jnp.zeros_like(t)))
    )
    return jnp.stack([prior_divergence(objective, data, mask), schedule.steps * at_t, at_0], axis=-1)


def prior_divergence(objective: EDM, data: Cloud, mask: Array) -> Array:
    """Return KL(q(z_T | x) || N(0, 1)), [B]; coordinates live in 3 (N - 1) dimensions."""
    alpha, sigma = float(objective.schedule.alpha[-1]), float(objective.schedule.sigma[-1])
    sizes = jnp.sum(mask, axis=1)
    dimensions = 3.0 * (sizes - 1.0) + objective.features * sizes
    squares = jnp.sum(data.x**2, axis=(1, 2)) + jnp.sum(data.h**2, axis=(1, 2))
    return 0.5 * alpha**2 * squares + dimensions * (-math.log(sigma) + 0.5 * (sigma**2 - 1.0))
