"""From a run's configuration and its data's statistics to its network and objective."""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import torch

from pipeline.data.statistics import Statistics
from pipeline.diffusion.feature_scales import measured_scales
from pipeline.diffusion.objectives import OBJECTIVES, edm_schedule, preconditioning
from pipeline.study.config import Objective as ObjectiveName
from pipeline.study.config import RunConfig
from pipeline.torch_backend.consistency import Consistency
from pipeline.torch_backend.denoiser import Denoiser
from pipeline.torch_backend.edm import EDM
from pipeline.torch_backend.egnn import EGNN
from pipeline.torch_backend.features import seeded
from pipeline.torch_backend.objective import GenerativeObjective, Objective
from pipeline.torch_backend.regressor import PropertyRegressor
from pipeline.torch_backend.weights import from_arrays
from pipeline.training.constants import REGRESSOR_OUTPUTS
from pipeline.training.run_folder import Weights

Built = TypeVar("Built", bound=Objective)


def build_objective(config: RunConfig, statistics: Statistics) -> Objective:
    """Return the objective of a run, its network with fresh weights drawn from the run's seed."""
    build = build_regressor if config.objective == "property" else build_generative
    return build(config, statistics)


def build_generative(config: RunConfig, statistics: Statistics) -> GenerativeObjective:
    """Likewise, of a run that generates molecules."""
    return _GENERATIVE[config.objective](config, statistics)


def build_regressor(config: RunConfig, statistics: Statistics) -> PropertyRegressor:
    """Likewise, of a property regressor."""
    return PropertyRegressor(_network(config, statistics), statistics.elements)


def build_edm(config: RunConfig, statistics: Statistics) -> EDM:
    """Return the objective of a run of EDM, its network with fresh weights drawn from the run's seed."""
    return EDM(_network(config, statistics), edm_schedule(config), measured_scales(statistics), loss=config.noise.loss)


def _denoiser(config: RunConfig, statistics: Statistics) -> Denoiser:
    return Denoiser(_network(config, statistics), **preconditioning(config, statistics))


def _consistency(config: RunConfig, statistics: Statistics) -> Consistency:
    settings = preconditioning(config, statistics)
    return Consistency(_network(config, statistics), config=config.consistency, **settings)


_GENERATIVE: Final[Mapping[ObjectiveName, Callable[[RunConfig, Statistics], GenerativeObjective]]] = {
    "edm": build_edm,
    "denoiser": _denoiser,
    "consistency": _consistency,
}


def load(build: Callable[[RunConfig, Statistics], Built], weights: Weights) -> Built:
    """Return what one of the functions above builds of a trained run, of either backend, with its weights.

    Raises:
      InputError: the weights are not those of the network that their configuration describes.
    """
    objective = build(weights.config, weights.statistics)
    from_arrays(objective.model, weights.arrays)
    return objective


def _network(config: RunConfig, statistics: Statistics) -> EGNN:
    features = OBJECTIVES[config.objective].features(statistics.elements)
    outputs = REGRESSOR_OUTPUTS * len(config.condition) if config.objective == "property" else features
    # The noise level is one more feature that comes in.
    model = EGNN(
        config.model,
        input_features=features + 1,
        output_features=outputs,
        condition_features=config.condition_features,
        precision=config.precision,
    )
    # PyTorch has no such setting for a product; the last run that is built in a process counts.
    torch.set_float32_matmul_precision("high" if config.precision == "tf32" else "highest")
    model.initialise(seeded(config.seed, 0))
    return model
