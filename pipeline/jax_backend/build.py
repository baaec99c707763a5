"""From a run's configuration and its data's statistics to its network and objective."""

from jax import Array

from pipeline.config import RunConfig
from pipeline.data.statistics import Statistics
from pipeline.jax_backend.edm import EDM
from pipeline.jax_backend.egnn import EGNN
from pipeline.jax_backend.weights import Layout, initial_weights, layout
from pipeline.noise import polynomial_schedule
from pipeline.scales import FEATURES, measured_scales


def build_objective(config: RunConfig, statistics: Statistics) -> EDM:
    """Return the objective of a run."""
    noise = config.noise
    return EDM(
        model=EGNN(config.model, output_features=FEATURES),
        schedule=polynomial_schedule(steps=noise.steps, precision=noise.precision),
        scales=measured_scales(statistics),
        loss=noise.loss,
    )


def build_layout(objective: EDM) -> Layout:
    """Return the layout of an objective's parameters; the network takes the noise level as one more feature."""
    return layout(objective.model, input_features=FEATURES + 1)


def build_weights(objective: EDM, key: Array) -> tuple[Array, Layout]:
    """Return fresh parameters of an objective, a vector [P], and their layout."""
    return initial_weights(objective.model, key, input_features=FEATURES + 1), build_layout(objective)
