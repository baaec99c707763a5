"""What the features of an atom are (``pipeline.diffusion.clouds``), and the scales of coordinates and features."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from pipeline.data.statistics import Statistics
from pipeline.study.config import SigmaData

TYPE_SCALE: Final = 4.0
CHARGE_SCALE: Final = 10.0


@dataclass(frozen=True)
class Scales:
    """Root mean square of coordinates (angstrom), scaled types and scaled charges: of the training split, or given.

    Attributes:
      elements: the atomic number of each type.
    """

    coordinates: float
    types: float
    charges: float
    elements: tuple[int, ...]


def measured_scales(statistics: Statistics) -> Scales:
    """Return the root mean squares of the training data's coordinates, scaled types and scaled charges."""
    charges = np.array(statistics.elements, np.float64)
    counts = np.array(list(statistics.atom_counts.values()), np.float64)
    return Scales(
        coordinates=statistics.coordinate_scale,
        # Exactly one of them is 1 / 4 for every atom.
        types=(1.0 / len(statistics.elements)) ** 0.5 / TYPE_SCALE,
        charges=float(np.sqrt(np.average(charges**2, weights=counts))) / CHARGE_SCALE,
        elements=statistics.elements,
    )


def given_scales(given: SigmaData, statistics: Statistics) -> Scales:
    """Return the scales that a run gives, and in place of those that it leaves out what is measured."""
    measured = measured_scales(statistics)
    return replace(measured, coordinates=given.coordinates or measured.coordinates, types=given.types or measured.types)
