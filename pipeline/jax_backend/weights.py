"""The network's parameters as one flat vector, as a Flax tree and as named arrays, and the ways between them."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array
from jax.flatten_util import ravel_pytree

from pipeline.jax_backend.egnn import EGNN
from pipeline.training.array_files import check_shapes


@dataclass(frozen=True)
class Layout:
    """How the parameters lie in the flat vector that optimiser and average work on.

    Attributes:
      shapes: of the parameters by name, in their order in the vector; names are paths with dots.
    """

    shapes: Mapping[str, tuple[int, ...]]

    @property
    def size(self) -> int:
        """P, the number of parameters."""
        return sum(self._sizes())

    def unravel(self, vector: Array) -> Any:
        """Return the tree of Flax of a vector [P]."""
        return {"params": unflatten_dict(self.named(vector), sep=".")}

    def named(self, vector: Array) -> dict[str, Array]:
        """Return the parameters of a vector [P] by name."""
        # A split and not slices: its gradient is one concatenation.
        parts = jnp.split(vector, self._ends())
        return {name: part.reshape(self.shapes[name]) for name, part in zip(self.shapes, parts, strict=True)}

    def vector(self, named: Mapping[str, Array]) -> Array:
        """Return the vector [P] of named parameters."""
        return jnp.concatenate([named[name].reshape(-1) for name in self.shapes])

    def to_arrays(self, vector: Array) -> dict[str, npt.NDArray[np.float32]]:
        """Return the named arrays of a vector, for a file."""
        parts = np.split(np.asarray(vector), self._ends())
        return {name: part.reshape(self.shapes[name]) for name, part in zip(self.shapes, parts, strict=True)}

    def from_arrays(self, arrays: Mapping[str, npt.NDArray[np.float32]]) -> Array:
        """Return the vector of named arrays.

        Raises:
          InputError: names or shapes are not those of the network.
        """
        check_shapes(arrays, self.shapes)
        return jnp.asarray(np.concatenate([arrays[name].reshape(-1) for name in self.shapes]))

    def _sizes(self) -> list[int]:
        return [math.prod(shape) for shape in self.shapes.values()]

    def _ends(self) -> list[int]:
        """Return where each parameter but the last one ends."""
        return list(itertools.accumulate(self._sizes()))[:-1]


def layout(model: EGNN, *, input_features: int) -> Layout:
    """Return how the parameters of a network lie in a vector."""
    tree = jax.eval_shape(model.init, jax.random.key(0), *_example(input_features))
    flat = flatten_dict(tree["params"], sep=".")
    return Layout({name: leaf.shape for name, leaf in flat.items()})


def initial_weights(model: EGNN, key: Array, *, input_features: int) -> Array:
    """Return freshly drawn parameters as a vector [P]."""

    def draw(key: Array) -> Array:
        bounds, _ = ravel_pytree(model.init(key, *_example(input_features)))
        return bounds * jax.random.uniform(key, bounds.shape, minval=-1.0, maxval=1.0)

    vector: Array = jax.jit(draw)(key)
    return vector


def _example(input_features: int) -> tuple[Array, Array, Array]:
    """Return arguments of a network, of one pair of atoms."""
    return jnp.zeros((1, 2, 3)), jnp.zeros((1, 2, input_features)), jnp.ones((1, 2))
