"""Noise levels of a training batch: which sigma a denoiser sees, and which pairs t > r a consistency model compares.

Levels are variance exploding (``pipeline.diffusion.schedules``). They are drawn on the host, from a generator and the
progress of the training alone, so that every backend sees the same ones.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit, ndtr, ndtri

from pipeline.diffusion.feature_scales import Scales
from pipeline.study.config import ConsistencyConfig, LevelsConfig

Floats = npt.NDArray[np.float64]


class Levels(NamedTuple):
    """The noise levels of a batch, each [B].

    Attributes:
      t: what the molecules are at: for edm the step 0..T, otherwise sigma.
      r: for consistency, the lower level that t is compared with; else None.
      weight: for consistency, that of the pair's loss; else None.
    """

    t: npt.NDArray[Any]
    r: npt.NDArray[Any] | None = None
    weight: npt.NDArray[Any] | None = None


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
) -> tuple[Floats, Floats]:
    """Draw the pairs t > r that a consistency model compares, each [count]; ``config.kind`` decides how.

    Distillation compares the first level of the path with its end.
    """
    if config.kind == "distillation":
        return np.full(count, config.path[0]), np.zeros(count)
    t = lognormal(generator, count, levels)
    r = t * (1.0 - gap(t, stage=stage(config, progress), q=config.q))
    # Here samples get no new shape: atoms are put in their places, and the data show best where these are.
    r[t < config.anchor] = 0.0
    return t, r


def pair_weight(t: Floats, r: Floats, config: ConsistencyConfig, sigma_data: Scales) -> Floats:
    """Return the weight of each pair's loss, [B]: 1 / (t - r), for weight unit 1 / c_out, and 1 for distillation."""
    if config.kind == "distillation":
        return np.ones_like(t)
    if config.weight == "unit":
        # 1 / c_out: the gradient that reaches the network's output is then of one size at every level.
        return np.asarray(np.sqrt(t**2 + sigma_data.coordinates**2) / (t * sigma_data.coordinates))
    return 1.0 / (t - r)


def stage(config: ConsistencyConfig, progress: float) -> int:
    """Return the stage of the curriculum; stages are equally long."""
    count = config.last_stage - config.first_stage + 1
    return config.first_stage + min(int(progress * count), count - 1)


def gap(t: Floats, *, stage: int, q: float) -> Floats:
    """Return 1 - r / t = min(1, n(t) / q^stage) with n(t) = 1 + 8 sigmoid(-t) (ECT, arXiv 2406.14548, section 3).

    A gap of 1 makes r = 0, where the target is the data.
    """
    return np.asarray(np.minimum(1.0, (1.0 + 8.0 * expit(-t)) / q**stage))
