"""Prediction of properties of molecules, to judge those that were asked for them (Hoogeboom et al. 2022, section 5.3).

The regressor is the network without noise, as EDM's is an EGNN (Satorras et al. 2021, section 5.3): every node gives
two numbers for each property, and the prediction is the mean of the first over the atoms plus the sum of the second,
so that it need not learn how a property grows with the molecule.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array

from pipeline.data.batches import PaddedMolecules
from pipeline.diffusion.feature_scales import TYPE_SCALE
from pipeline.jax_backend.egnn import EGNN
from pipeline.jax_backend.features import Cloud, atom_features, node_mask
from pipeline.jax_backend.objective import Params
from pipeline.jax_backend.parallel import chunk_size, make_mesh, mapped, replicated
from pipeline.jax_backend.weights import Layout
from pipeline.training.constants import REGRESSOR_OUTPUTS, TYPICAL_SIZE
from pipeline.training.noisy_batches import NoisyBatch


@dataclass(frozen=True)
class PropertyRegressor:
    """The training of a regressor, and its predictions.

    Attributes:
      model: the network, with ``REGRESSOR_OUTPUTS`` output features for each of P properties.
      elements: the atomic number of each type.
    """

    model: EGNN
    elements: tuple[int, ...]

    @property
    def features(self) -> int:
        """K: the one-hot types."""
        return len(self.elements)

    def losses(self, params: Params, batch: NoisyBatch[Array], teacher: Params) -> Array:
        """Return the mean absolute error of the normalised properties, [B]."""
        del teacher
        assert batch.condition is not None
        predicted = self.predict(params, batch.data, batch.mask)
        errors = predicted - batch.condition[:, : predicted.shape[1]]
        return jnp.mean(jnp.abs(errors), axis=1)

    def predict(self, params: Params, data: Cloud, mask: Array) -> Array:
        """Return the normalised properties of molecules, [B, P]."""
        sizes = jnp.sum(mask, axis=1, keepdims=True)
        # Where a generator's network has the noise level.
        size = (sizes / TYPICAL_SIZE)[..., None] * mask[..., None]
        # Coordinates as they are, in angstrom: bonds then lie in the middle of the radial functions.
        features = jnp.concatenate([TYPE_SCALE * data.h, size], axis=-1)
        _, outputs = Cloud(*self.model.apply(params, data.x, features, mask))
        sums = jnp.sum(outputs, axis=1)
        intensive, extensive = jnp.split(sums, REGRESSOR_OUTPUTS, axis=1)
        return intensive / sizes + extensive / TYPICAL_SIZE


def predictor(
    regressor: PropertyRegressor, layout: Layout, weights: Array, *, batch: int
) -> Callable[[PaddedMolecules], npt.NDArray[np.float32]]:
    """Return the function from ``batch`` molecules to their normalised properties, [batch, P]."""
    mesh = make_mesh(batch)
    weights = jax.device_put(weights, replicated(mesh))

    def predict(flat: Array, part: Any, _: None) -> Array:
        positions, atomic_numbers, sizes = part
        data = Cloud(positions, atom_features(atomic_numbers, regressor.elements, regressor.features))
        return regressor.predict(layout.unravel(flat), data, node_mask(sizes, atomic_numbers.shape[1]))

    @jax.jit
    def program(flat: Array, part: Any) -> Any:
        chunk = chunk_size(mesh, batch, part[1].shape[1], regressor.model.config)
        return mapped(predict, mesh, chunk=chunk)(flat, part, None)

    return lambda molecules: np.asarray(program(weights, tuple(molecules[1:])))
