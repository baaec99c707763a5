"""Which of a network's parameters are matrices between its hidden features, whose updates Muon makes orthogonal."""

import math
from collections.abc import Mapping

from pipeline.training.constants import MUON_RATE


def hidden_matrices(shapes: Mapping[str, tuple[int, ...]]) -> dict[tuple[int, int], list[str]]:
    """Return the names of a network's hidden matrices by their shape: of its layers, not of its input and output.

    Args:
      shapes: of all parameters by name.
    """
    groups: dict[tuple[int, int], list[str]] = {}
    for name, shape in shapes.items():
        if name.startswith("layer_") and len(shape) == 2 and min(shape) > 1:
            groups.setdefault((shape[0], shape[1]), []).append(name)
    return groups


def muon_rate(shape: tuple[int, int]) -> float:
    """Return the learning rate of matrices of a shape (inputs, outputs) over Adam's."""
    return MUON_RATE * math.sqrt(max(1.0, shape[1] / shape[0]))
