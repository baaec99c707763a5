"""From a run's configuration and its data's statistics to its network and objective."""

from jax import Array

from pipeline.data.statistics import Statistics
from pipeline.diffusion.feature_scales import FEATURES, feature_count, given_scales, measured_scales
from pipeline.diffusion.schedules import polynomial_schedule
from pipeline.diffusion.training_levels import boundary_level
from pipeline.jax_backend.consistency import Consistency
from pipeline.jax_backend.denoiser import Denoiser
from pipeline.jax_backend.edm import EDM
from pipeline.jax_backend.egnn import EGNN
from pipeline.jax_backend.objective import Objective
from pipeline.jax_backend.weights import Layout, initial_weights, layout
from pipeline.study.config import RunConfig


def build_objective(config: RunConfig, statistics: Statistics) -> Objective:
    """Return the objective of a run."""
    if config.objective == "edm":
        return build_edm(config, statistics)
    model = EGNN(config.model, output_features=feature_count(config.objective))
    sigma_data = given_scales(config.levels.sigma_data, statistics)
    form = config.levels.preconditioning
    if config.objective == "denoiser":
        return Denoiser(model, sigma_data, preconditioning=form)
    return Consistency(
        model=model,
        sigma_data=sigma_data,
        epsilon=boundary_level(config),
        preconditioning=form,
        config=config.consistency,
    )


def build_edm(config: RunConfig, statistics: Statistics) -> EDM:
    """Return the objective of a run of EDM."""
    noise = config.noise
    return EDM(
        model=EGNN(config.model, output_features=FEATURES),
        schedule=polynomial_schedule(steps=noise.steps, precision=noise.precision),
        scales=measured_scales(statistics),
        loss=noise.loss,
    )


def build_layout(objective: Objective) -> Layout:
    """Return the layout of an objective's parameters; the network takes the noise level as one more feature."""
    return layout(objective.model, input_features=objective.features + 1)


def build_weights(objective: Objective, key: Array) -> Array:
    """Return fresh parameters of an objective, a vector [P]."""
    return initial_weights(objective.model, key, input_features=objective.features + 1)
