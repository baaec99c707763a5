"""The objectives: what each of them is beside its loss, which is a backend's.

A new one takes a row here, its name and its samplers in ``pipeline.study.config``, and a class in each backend.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypedDict

import numpy as np

from pipeline.data.statistics import Statistics
from pipeline.diffusion.feature_scales import Scales, given_scales
from pipeline.diffusion.schedules import VariancePreserving, polynomial_schedule
from pipeline.diffusion.training_levels import Levels, lognormal, pair_weight, pairs
from pipeline.study.config import Objective, RunConfig, SamplerConfig, sampler_config


class Preconditioning(TypedDict):
    """Arguments of ``Preconditioned`` in each backend."""

    sigma_data: Scales
    preconditioning: str


@dataclass(frozen=True)
class ObjectiveTraits:
    """What an objective is beside its loss.

    Attributes:
      charges: whether the atomic number, scaled, is a feature of an atom beside its one-hot type.
      draw_levels: draws the noise levels of a batch, in 32 bits, from a generator, the number of molecules, the run,
        the root mean squares of its data, and the share of the training that is done, from 0 to 1.
      progress_sampler: what the weights of a running training are sampled with: cheap, and good enough to compare;
        None for a property regressor, which predicts the condition of clean molecules instead of taking it.
      schedule: of a variance-preserving diffusion, which alone has ancestral sampling and a likelihood; else None.
      few_step: whether it is sampled in a few calls at levels that can be searched for.
    """

    charges: bool
    draw_levels: Callable[[np.random.Generator, int, RunConfig, Scales, float], Levels]
    progress_sampler: Callable[[RunConfig], SamplerConfig] | None
    schedule: Callable[[RunConfig], VariancePreserving] | None = None
    few_step: bool = False

    def features(self, elements: Sequence[int]) -> int:
        """Return K, the number of an atom's features, for the elements of the data."""
        return len(elements) + self.charges


def _edm_levels(generator: np.random.Generator, count: int, run: RunConfig, _: Scales, progress: float) -> Levels:
    del progress
    return Levels(generator.integers(0, run.noise.steps + 1, count).astype(np.int32))


def _denoiser_levels(generator: np.random.Generator, count: int, run: RunConfig, _: Scales, progress: float) -> Levels:
    del progress
    return Levels(lognormal(generator, count, run.levels).astype(np.float32))


def _consistency_levels(
    generator: np.random.Generator, count: int, run: RunConfig, sigma_data: Scales, progress: float
) -> Levels:
    t, r = pairs(generator, count, run.levels, run.consistency, progress=progress)
    weight = pair_weight(t, r, run.consistency, sigma_data)
    return Levels(t.astype(np.float32), r.astype(np.float32), weight.astype(np.float32))


def _no_levels(generator: np.random.Generator, count: int, run: RunConfig, _: Scales, progress: float) -> Levels:
    del generator, run, progress
    return Levels(np.zeros(count, np.float32))


def _heun(_: RunConfig) -> SamplerConfig:
    return sampler_config({"name": "heun-12", "kind": "heun", "steps": 12, "sigma_max": 20.0, "sigma_min": 0.01})


def _one_step(run: RunConfig) -> SamplerConfig:
    # Higher levels are rare in training.
    highest = min(run.levels.sigma_max, math.exp(run.levels.mean + 2.0 * run.levels.std))
    levels = run.known_levels.get(1, (highest,))
    return sampler_config({"name": "one-step", "kind": "consistency", "levels": list(levels)})


def edm_schedule(run: RunConfig) -> VariancePreserving:
    """Return the schedule of a run of EDM."""
    return polynomial_schedule(steps=run.noise.steps, precision=run.noise.precision)


def preconditioning(run: RunConfig, statistics: Statistics) -> Preconditioning:
    """Return how the network of a denoiser or consistency model is preconditioned, the arguments of its class."""
    return {
        "sigma_data": given_scales(run.levels.sigma_data, statistics),
        "preconditioning": run.levels.preconditioning,
    }


OBJECTIVES: Final[Mapping[Objective, ObjectiveTraits]] = {
    # Hoogeboom et al. 2022.
    "edm": ObjectiveTraits(charges=True, draw_levels=_edm_levels, progress_sampler=_heun, schedule=edm_schedule),
    # Karras et al. 2022.
    "denoiser": ObjectiveTraits(charges=False, draw_levels=_denoiser_levels, progress_sampler=_heun),
    # Song et al. 2023.
    "consistency": ObjectiveTraits(
        charges=False, draw_levels=_consistency_levels, progress_sampler=_one_step, few_step=True
    ),
    "property": ObjectiveTraits(charges=False, draw_levels=_no_levels, progress_sampler=None),
}


def run_schedule(run: RunConfig) -> VariancePreserving | None:
    """Return the schedule of a run whose objective has one."""
    schedule = OBJECTIVES[run.objective].schedule
    return schedule(run) if schedule else None
