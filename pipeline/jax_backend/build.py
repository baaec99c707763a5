"""From a run's configuration and its data's statistics to its network and objective."""

import jax
import numpy as np
from jax import Array

from pipeline.chemistry.elements import ATOMIC_NUMBER_OF_SYMBOL
from pipeline.config import RunConfig
from pipeline.data.statistics import Statistics
from pipeline.jax_backend.edm import CHARGE_SCALE, EDM, FEATURES, TYPE_SCALE, TYPES, Scales
from pipeline.jax_backend.egnn import EGNN
from pipeline.jax_backend.weights import Layout, initial_weights
from pipeline.noise import polynomial_schedule


def build_objective(config: RunConfig, statistics: Statistics) -> EDM:
    """Return the objective of a run."""
    noise = config.noise
    return EDM(
        model=EGNN(config.model, output_features=FEATURES),
        schedule=polynomial_schedule(steps=noise.steps, precision=noise.precision),
        scales=measured_scales(statistics),
        loss=noise.loss,
    )


def measured_scales(statistics: Statistics) -> Scales:
    """Return the root mean squares of the training data's coordinates, scaled types and scaled charges."""
    charges = np.array([ATOMIC_NUMBER_OF_SYMBOL[symbol] for symbol in statistics.atom_counts], np.float64)
    counts = np.array(list(statistics.atom_counts.values()), np.float64)
    return Scales(
        coordinates=statistics.coordinate_scale,
        # Exactly one of the five is 1 / 4 for every atom.
        types=(1.0 / TYPES) ** 0.5 / TYPE_SCALE,
        charges=float(np.sqrt(np.average(charges**2, weights=counts))) / CHARGE_SCALE,
    )


def build_weights(objective: EDM, key: Array | None = None) -> tuple[Array, Layout]:
    """Return fresh parameters (of seed 0 unless a key is given: only their layout is then of use) and their layout."""
    key = jax.random.key(0) if key is None else key
    return initial_weights(objective.model, key, input_features=FEATURES + 1)
