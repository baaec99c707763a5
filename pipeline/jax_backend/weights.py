"""The network's parameters as one flat vector, as a Flax tree and as named arrays, and the ways between them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array
from jax.flatten_util import ravel_pytree

from pipeline.errors import InputError
from pipeline.jax_backend.egnn import EGNN


@dataclass(frozen=True)
class Layout:
    """How the parameters lie in the flat vector that optimiser and average work on.

    Attributes:
      size: P, the number of parameters.
      unravel: makes the tree of Flax from a vector [P].
    """

    size: int
    unravel: Callable[[Array], Any]

    def to_arrays(self, vector: Array) -> dict[str, npt.NDArray[np.float32]]:
        """Return the named arrays of a vector, for a file; names are paths with dots."""
        flat = flatten_dict(self.unravel(vector)["params"], sep=".")
        return {name: np.asarray(array) for name, array in flat.items()}

    def from_arrays(self, arrays: Mapping[str, npt.NDArray[np.float32]]) -> Array:
        """Return the vector of named arrays.

        Raises:
          InputError: names or shapes are not those of the network.
        """
        expected = {name: array.shape for name, array in self.to_arrays(jnp.zeros(self.size)).items()}
        given = {name: array.shape for name, array in arrays.items()}
        if odd := [name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name)]:
            name = min(odd)
            raise InputError(
                f"weights: {name} should have shape {expected.get(name)} for this network and has {given.get(name)}"
            )
        tree = {"params": unflatten_dict({name: jnp.asarray(array) for name, array in arrays.items()}, sep=".")}
        return ravel_pytree(tree)[0]


def initial_weights(model: EGNN, key: Array, *, input_features: int) -> tuple[Array, Layout]:
    """Return freshly drawn parameters as a vector, and their layout."""
    params = model.init(key, jnp.zeros((1, 2, 3)), jnp.zeros((1, 2, input_features)), jnp.ones((1, 2)))
    vector, unravel = ravel_pytree(params)
    return vector, Layout(size=vector.size, unravel=unravel)
