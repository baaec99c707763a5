"""Floating-point operations of the network: those of its matrix products, counted from its shape.

A product of [M, K] by [K, F] counts 2 M K F. Elementwise operations are not counted: their number depends on
the implementation, and they are few compared with the edge products (a tenth at 64 features, less in larger networks).
The backward pass takes twice the forward pass: a product has a gradient for each of its two factors.
"""

from collections.abc import Mapping
from typing import Final

from pipeline.study.config import ModelConfig

FEATURES = 6
"""Features of an atom in EDM's form on QM9: its one-hot type and its charge; more elements cost next to nothing."""

RADIAL_FEATURES: Final[Mapping[str, int]] = {"squared": 2, "gaussian": 36}
"""Features of an edge by ``model.radial_features``: those of its distance, now and at the input."""


def forward_operations(model: ModelConfig, width: int, *, factored: bool = True) -> int:
    """Return the operations of one network call on one molecule padded to ``width`` atoms.

    Args:
      model: the network.
      width: N; all N^2 ordered pairs are computed, as in every contestant of the benchmarks.
      factored: whether the first edge layer is a product of nodes and one of distances, rather than one product of the
        concatenation [h_i, h_j, a_ij] of every pair.
    """
    nodes, pairs = width, width * width
    hidden, features, radial = model.hidden, model.edge_hidden, RADIAL_FEATURES[model.radial_features]
    if factored:
        first = nodes * 2 * hidden * features + pairs * radial * features
    else:
        first = pairs * (2 * hidden + radial) * features
    edge_network = first + pairs * features * features
    # Messages, their attention and their sum; the node update; the coordinate's weight and the sum of directions.
    messages = edge_network + pairs * features * (1 + 1)
    update = nodes * ((hidden + features) * hidden + hidden * hidden)
    if model.shared_edges:
        # Sums of directions; angles; what the node update takes more; the weights of the vectors.
        nodewise = 2 * 3 * features * features + features * hidden + (hidden + 3 * features) * features
        coordinates = pairs * 3 * features + nodes * nodewise
    else:
        coordinates = edge_network + pairs * (features + 3)
    ends = nodes * ((FEATURES + 1) * hidden + hidden * FEATURES)
    return 2 * (model.layers * (messages + update + coordinates) + ends)


def training_operations(model: ModelConfig, width: int, *, factored: bool = True) -> int:
    """Return the operations of the loss and its gradient for one molecule padded to ``width`` atoms."""
    return 3 * forward_operations(model, width, factored=factored)
