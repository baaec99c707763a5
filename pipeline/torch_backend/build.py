"""From a run's configuration and its data's statistics to its network and objective."""

from collections.abc import Callable, Mapping
from typing import Final

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
from pipeline.torch_backend.objective import Objective
from pipeline.torch_backend.weights import from_arrays
from pipeline.training.run_folder import Weights


def build_objective(config: RunConfig, statistics: Statistics) -> Objective:
    """Return the objective of a run, its network with fresh weights drawn from the run's seed."""
    return _BUILD[config.objective](config, statistics)


def build_edm(config: RunConfig, statistics: Statistics) -> EDM:
    """Return the objective of a run of EDM, its network with fresh weights drawn from the run's seed."""
    return EDM(_network(config, statistics), edm_schedule(config), measured_scales(statistics), loss=config.noise.loss)


def _denoiser(config: RunConfig, statistics: Statistics) -> Denoiser:
    return Denoiser(_network(config, statistics), **preconditioning(config, statistics))


def _consistency(config: RunConfig, statistics: Statistics) -> Consistency:
    settings = preconditioning(config, statistics)
    return Consistency(_network(config, statistics), **settings, config=config.consistency)


_BUILD: Final[Mapping[ObjectiveName, Callable[[RunConfig, Statistics], Objective]]] = {
    "edm": build_edm,
    "denoiser": _denoiser,
    "consistency": _consistency,
}


def load_objective(weights: Weights) -> Objective:
    """Return the objective of a trained run, of either backend, with its weights.

    Raises:
      InputError: the weights are not those of the network that their configuration describes.
    """
    objective = build_objective(weights.config, weights.statistics)
    from_arrays(objective.model, weights.arrays)
    return objective


def load_edm(weights: Weights) -> EDM:
    """Likewise, of a run of EDM.

    Raises:
      InputError: the weights are not those of EDM with the network that their configuration describes.
    """
    objective = build_edm(weights.config, weights.statistics)
    from_arrays(objective.model, weights.arrays)
    return objective


def _network(config: RunConfig, statistics: Statistics) -> EGNN:
    features = OBJECTIVES[config.objective].features(statistics.elements)
    # The noise level is one more feature that comes in.
    model = EGNN(
        config.model,
        input_features=features + 1,
        output_features=features,
        condition_features=config.condition_features,
        precision=config.precision,
    )
    # PyTorch has no such setting for a product; the last run that is built in a process counts.
    torch.set_float32_matmul_precision("high" if config.precision == "tf32" else "highest")
    model.initialise(seeded(config.seed, 0))
    return model
