"""Noise levels of a training batch: which sigma a denoiser sees, and which pairs t > r a consistency model compares.

Levels are variance exploding (``pipeline.diffusion.schedules``). They are drawn on the host, from a generator and the
progress of the training alone, so that every backend sees the same ones; an objective's levels are the columns of one
array.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import expit, ndtr, ndtri

from pipeline.study.config import ConsistencyConfig, LevelsConfig, RunConfig

Floats = npt.NDArray[np.float64]

RHO: Final = 7.0


def lognormal(generator: np.random.Generator, count: int, config: LevelsConfig) -> Floats:
    """Draw sigma with ln sigma ~ N(mean, std^2), cut at sigma_min and sigma_max, [count] (Karras et al., section 5).

    One uniform number a level, stratified over the batch: each level has the same distribution, and a batch covers it
    evenly.
    """
    strata = generator.permutation((np.arange(count) + generator.random(count)) / count)
    low, high = ((math.log(edge) - config.mean) / config.std for edge in (config.sigma_min, config.sigma_max))
    quantiles = ndtr(low) + strata * (ndtr(high) - ndtr(low))
    # The cut is exact but for rounding.
    sigma = np.exp(config.mean + config.std * ndtri(quantiles))
    return np.asarray(np.clip(sigma, config.sigma_min, config.sigma_max))


def pairs(
    generator: np.random.Generator, count: int, levels: LevelsConfig, config: ConsistencyConfig, *, progress: float
) -> Floats:
    """Draw the pairs that a consistency model compares: columns t, r and the weight of their loss, [count, 3].

    Args:
      generator: source of randomness.
      count: molecules.
      levels: of the run.
      config: of the run; its ``kind`` decides, see the functions below.
      progress: share of the training that is done, from 0 to 1.
    """
    if config.kind in ("ct", "ict"):
        return _grid_pairs(generator, count, levels, config, progress=progress)
    t = lognormal(generator, count, levels)
    r = t * (1.0 - gap(t, stage=stage(config, progress), q=config.q))
    # Noise so small leaves no doubt about the data, and there is nothing to be gained from steps through lower levels.
    r[t < config.anchor] = 0.0
    return np.stack([t, r, 1.0 / (t - r)], axis=1)


def boundary_level(config: RunConfig) -> float:
    """Return the level at which a consistency model is the identity (``epsilon`` of arXiv 2303.01469, eq. 5).

    What goes on from a denoiser keeps the denoiser's own boundary at 0, and with it the meaning of its weights.
    """
    grids = config.objective == "consistency" and config.consistency.kind in ("ct", "ict")
    return config.levels.sigma_min if grids else 0.0


def stage(config: ConsistencyConfig, progress: float) -> int:
    """Return the stage of the curriculum; stages are equally long."""
    count = config.last_stage - config.first_stage + 1
    return config.first_stage + min(int(progress * count), count - 1)


def gap(t: Floats, *, stage: int, q: float) -> Floats:
    """Return 1 - r / t = min(1, n(t) / q^stage) with n(t) = 1 + 8 sigmoid(-t) (ECT, arXiv 2406.14548, section 3).

    A gap of 1 makes r = 0, where the target is the data.
    """
    return np.asarray(np.minimum(1.0, (1.0 + 8.0 * expit(-t)) / q**stage))


def grid_size(config: ConsistencyConfig, progress: float) -> int:
    """Return N, the number of levels of the grid.

    ct grows it with the square root of the steps (Song et al. 2023, arXiv 2303.01469, appendix C), ict doubles it
    (Song and Dhariwal 2023, arXiv 2310.14189, eq. 17).
    """
    first, last = config.first_levels, config.last_levels
    if config.kind == "ct":
        return math.ceil(math.sqrt(progress * ((last + 1) ** 2 - first**2) + first**2) - 1) + 1
    doublings = math.log2(last / first)
    return min(int(first * 2 ** math.floor(progress * (math.floor(doublings) + 1))), last) + 1


def grid(levels: LevelsConfig, count: int) -> Floats:
    """Return ``count`` increasing levels from sigma_min to sigma_max, Karras's spacing (arXiv 2206.00364, eq. 5)."""
    low, high = levels.sigma_min ** (1 / RHO), levels.sigma_max ** (1 / RHO)
    return np.asarray(np.linspace(low, high, count) ** RHO)


def _grid_pairs(
    generator: np.random.Generator, count: int, levels: LevelsConfig, config: ConsistencyConfig, *, progress: float
) -> Floats:
    """Neighbours of a grid: uniform and unweighted for ct; lognormal and weighted with 1 / (t - r) for ict."""
    sigmas = grid(levels, grid_size(config, progress))
    if config.kind == "ct":
        place = generator.integers(0, len(sigmas) - 1, count)
        return np.stack([sigmas[place + 1], sigmas[place], np.ones(count)], axis=1)
    mass = np.diff(ndtr((np.log(sigmas) - levels.mean) / levels.std))  # eq. 10 of iCT
    place = generator.choice(len(mass), size=count, p=mass / mass.sum())
    t, r = sigmas[place + 1], sigmas[place]
    return np.stack([t, r, 1.0 / (t - r)], axis=1)
