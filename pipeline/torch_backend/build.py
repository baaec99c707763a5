"""From a run's configuration and its data's statistics to its network and objective."""

from pipeline.data.statistics import Statistics
from pipeline.diffusion.feature_scales import feature_count, given_scales, measured_scales
from pipeline.diffusion.schedules import polynomial_schedule
from pipeline.diffusion.training_levels import boundary_level
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
    if config.objective == "edm":
        return build_edm(config, statistics)
    model, sigma_data = _build_model(config), given_scales(config.levels.sigma_data, statistics)
    form = config.levels.preconditioning
    if config.objective == "denoiser":
        return Denoiser(model, sigma_data, preconditioning=form)
    return Consistency(
        model, sigma_data, epsilon=boundary_level(config), preconditioning=form, config=config.consistency
    )


def build_edm(config: RunConfig, statistics: Statistics) -> EDM:
    """Return the objective of a run of EDM, its network with fresh weights drawn from the run's seed."""
    noise = config.noise
    schedule = polynomial_schedule(steps=noise.steps, precision=noise.precision)
    return EDM(_build_model(config), schedule, measured_scales(statistics), loss=noise.loss)


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


def _build_model(config: RunConfig) -> EGNN:
    features = feature_count(config.objective)
    # The noise level is one more feature that comes in.
    model = EGNN(config.model, input_features=features + 1, output_features=features)
    model.initialise(seeded(config.seed, 0))
    return model
