"""A network made deeper without changing its function: a deep one starts with what a shallow one has learnt.

New layers are copies of the last one (stacking: Gong et al. 2019, "Efficient Training of BERT by Progressively
Stacking") whose outputs are zero: they add nothing at first to features or coordinates. It is a change of named arrays,
the same for every backend.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from pipeline.study.config import ModelConfig

Arrays = Mapping[str, npt.NDArray[np.float32]]

# What a layer adds to features and to coordinates comes out of these.
_OUTPUTS = ("node_output.kernel", "node_output.bias", "coordinate_output")


def grow_inputs(arrays: Arrays, features: int) -> Arrays:
    """Return the weights of the same function with more input features, of which it is independent at first."""
    if not features:
        return arrays
    kernel = arrays["embedding.kernel"]
    return {**arrays, "embedding.kernel": np.pad(kernel, ((0, features), (0, 0)))}


def grow_layers(arrays: Arrays, start: ModelConfig, model: ModelConfig) -> Arrays:
    """Return the weights of ``model`` that compute what ``arrays``, those of ``start``, do."""
    last = f"layer_{start.layers - 1}."
    grown = dict(arrays)
    for index in range(start.layers, model.layers):
        for name, array in arrays.items():
            if name.startswith(last):
                part = name.removeprefix(last)
                grown[f"layer_{index}.{part}"] = np.zeros_like(array) if part in _OUTPUTS else array
    return grown
