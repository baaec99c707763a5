"""The values of properties that molecules are sampled for."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.data.properties import PropertyStatistics, Values


def asked_values(
    properties: PropertyStatistics | None,
    asked: Mapping[str, float | Sequence[float]] | None,
    sizes: npt.NDArray[np.integer[Any]],
    seed: int,
) -> Values | None:
    """Return the values [M, P] of molecules of these sizes [M], or None to sample without a condition.

    Args:
      properties: those of a conditional run; None for other runs.
      asked: values by name, one for all molecules or one for each; None draws them from the training molecules of the
        same size; {} asks for none.
      sizes: atoms of each molecule.
      seed: of what is drawn.

    Raises:
      InputError: the values are not of the run's properties, or not so many.
    """
    if properties is None or (asked is not None and not asked):
        return None
    return properties.draw(sizes, seed) if asked is None else properties.given(asked, len(sizes))
