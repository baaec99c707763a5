"""How many features an atom has (``pipeline.diffusion.clouds``), and the scales of coordinates and features."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from pipeline.chemistry.elements import ATOMIC_NUMBER_OF_SYMBOL
from pipeline.data.statistics import Statistics
from pipeline.study.config import SigmaData

TYPES: Final = 5
TYPE_SCALE: Final = 4.0
CHARGE_SCALE: Final = 10.0
FEATURES: Final = TYPES + 1


@dataclass(frozen=True)
class Scales:
    """Root mean square of coordinates (angstrom), scaled types and scaled charges, measured on the training split."""

    coordinates: float
    types: float
    charges: float


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


def given_scales(given: SigmaData, statistics: Statistics) -> Scales:
    """Return the scales that a run gives, and in place of those that it leaves out what is measured."""
    measured = measured_scales(statistics)
    return replace(measured, coordinates=given.coordinates or measured.coordinates, types=given.types or measured.types)
