"""From a run's configuration and its data's statistics to its network and objective."""

from pipeline.config import RunConfig
from pipeline.data.statistics import Statistics
from pipeline.noise import polynomial_schedule
from pipeline.runs import Weights
from pipeline.scales import FEATURES, measured_scales
from pipeline.torch_backend.edm import EDM
from pipeline.torch_backend.egnn import EGNN
from pipeline.torch_backend.features import seeded
from pipeline.torch_backend.weights import from_arrays


def build_objective(config: RunConfig, statistics: Statistics) -> EDM:
    """Return the objective of a run, its network with fresh weights drawn from the run's seed."""
    noise = config.noise
    # The noise level is one more feature that comes in.
    model = EGNN(config.model, input_features=FEATURES + 1, output_features=FEATURES)
    model.initialise(seeded(config.seed, 0))
    schedule = polynomial_schedule(steps=noise.steps, precision=noise.precision)
    return EDM(model, schedule, measured_scales(statistics), loss=noise.loss)


def load_objective(weights: Weights) -> EDM:
    """Return the objective of a trained run, of either backend, with its weights.

    Raises:
      InputError: the weights are not those of the network that their configuration describes.
    """
    objective = build_objective(weights.config, weights.statistics)
    from_arrays(objective.model, weights.arrays)
    return objective
