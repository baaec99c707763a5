"""From a run's configuration and its data's statistics to its network and objective."""

from collections.abc import Callable, Mapping
from typing import Final

from jax import Array

from pipeline.data.statistics import Statistics
from pipeline.diffusion.feature_scales import measured_scales
from pipeline.diffusion.objectives import OBJECTIVES, edm_schedule, preconditioning
from pipeline.jax_backend.consistency import Consistency
from pipeline.jax_backend.denoiser import Denoiser
from pipeline.jax_backend.edm import EDM
from pipeline.jax_backend.egnn import EGNN
from pipeline.jax_backend.objective import GenerativeObjective, Objective
from pipeline.jax_backend.regressor import PropertyRegressor
from pipeline.jax_backend.weights import Layout, initial_weights, layout
from pipeline.study.config import Objective as ObjectiveName
from pipeline.study.config import RunConfig
from pipeline.training.constants import REGRESSOR_OUTPUTS


def build_objective(config: RunConfig, statistics: Statistics) -> Objective:
    """Return the objective of a run."""
    build = build_regressor if config.objective == "property" else build_generative
    return build(config, statistics)


def build_generative(config: RunConfig, statistics: Statistics) -> GenerativeObjective:
    """Return the objective of a run that generates molecules."""
    return _GENERATIVE[config.objective](config, statistics)


def build_edm(config: RunConfig, statistics: Statistics) -> EDM:
    """Return the objective of a run of EDM."""
    return EDM(_network(config, statistics), edm_schedule(config), measured_scales(statistics), loss=config.noise.loss)


def _denoiser(config: RunConfig, statistics: Statistics) -> Denoiser:
    return Denoiser(_network(config, statistics), **preconditioning(config, statistics))


def _consistency(config: RunConfig, statistics: Statistics) -> Consistency:
    settings = preconditioning(config, statistics)
    return Consistency(model=_network(config, statistics), **settings, config=config.consistency)


def build_regressor(config: RunConfig, statistics: Statistics) -> PropertyRegressor:
    """Return the objective of a property regressor."""
    return PropertyRegressor(_network(config, statistics), statistics.elements)


_GENERATIVE: Final[Mapping[ObjectiveName, Callable[[RunConfig, Statistics], GenerativeObjective]]] = {
    "edm": build_edm,
    "denoiser": _denoiser,
    "consistency": _consistency,
}


def _network(config: RunConfig, statistics: Statistics) -> EGNN:
    features = OBJECTIVES[config.objective].features(statistics.elements)
    if config.objective == "property":
        features = REGRESSOR_OUTPUTS * len(config.condition)
    return EGNN(
        config.model,
        output_features=features,
        condition_features=config.condition_features,
        precision=config.precision,
    )


def build_layout(objective: Objective) -> Layout:
    """Return the layout of an objective's parameters; the network takes the noise level as one more feature."""
    return layout(objective.model, input_features=objective.features + 1)


def build_weights(objective: Objective, key: Array) -> Array:
    """Return fresh parameters of an objective, a vector [P]."""
    return initial_weights(objective.model, key, input_features=objective.features + 1)
