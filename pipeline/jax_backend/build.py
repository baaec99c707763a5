"""From a run's configuration and its data's statistics to its network and objective."""

import jax
from jax import Array

from pipeline.config import RunConfig
from pipeline.data.statistics import Statistics
from pipeline.jax_backend.edm import EDM
from pipeline.jax_backend.egnn import EGNN
from pipeline.jax_backend.weights import Layout, initial_weights
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


def build_weights(objective: EDM, key: Array | None = None) -> tuple[Array, Layout]:
    """Return fresh parameters (of seed 0 unless a key is given: only their layout is then of use) and their layout."""
    key = jax.random.key(0) if key is None else key
    return initial_weights(objective.model, key, input_features=FEATURES + 1)
