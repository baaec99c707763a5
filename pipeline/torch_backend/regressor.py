"""Prediction of properties of molecules; what it computes is that of ``pipeline.jax_backend.regressor``."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.data.batches import PaddedMolecules
from pipeline.diffusion.feature_scales import TYPE_SCALE
from pipeline.torch_backend.egnn import EGNN
from pipeline.torch_backend.features import Cloud, atom_features, combine, node_mask, to_tensor
from pipeline.torch_backend.objective import Objective
from pipeline.torch_backend.parallel import Workers
from pipeline.training.constants import REGRESSOR_OUTPUTS, TYPICAL_SIZE
from pipeline.training.noisy_batches import NoisyBatch


class PropertyRegressor(Objective):
    """The training of a regressor, and its predictions."""

    def __init__(self, model: EGNN, elements: tuple[int, ...]):
        """Make it from a network with ``REGRESSOR_OUTPUTS`` features for each of P properties."""
        super().__init__()
        self.model, self._elements = model, elements

    @property
    def elements(self) -> tuple[int, ...]:
        """The atomic number of each type."""
        return self._elements

    @property
    def features(self) -> int:
        """K: the one-hot types."""
        return len(self._elements)

    def losses(self, batch: NoisyBatch[Tensor], teacher: EGNN) -> Tensor:
        """Return the mean absolute error of the normalised properties, [B]."""
        del teacher
        assert batch.condition is not None
        predicted = self.predict(batch.data, batch.mask)
        return (predicted - batch.condition[:, : predicted.shape[1]]).abs().mean(dim=1)

    def predict(self, data: Cloud, mask: Tensor) -> Tensor:
        """Return the normalised properties of molecules, [B, P]."""
        sizes = mask.sum(dim=1, keepdim=True)
        size = (sizes / TYPICAL_SIZE)[..., None] * mask[..., None]
        _, outputs = self.model(data.x, torch.cat([TYPE_SCALE * data.h, size], dim=-1), mask)
        intensive, extensive = outputs.sum(dim=1).chunk(REGRESSOR_OUTPUTS, dim=1)
        predicted: Tensor = intensive / sizes + extensive / TYPICAL_SIZE
        return predicted


def predictor(regressor: PropertyRegressor, workers: Workers) -> Callable[[PaddedMolecules], npt.NDArray[np.float32]]:
    """Return the function from molecules to their normalised properties, [B, P]."""

    def predict(molecules: PaddedMolecules) -> npt.NDArray[np.float32]:
        positions, atomic_numbers, sizes = (to_tensor(array, regressor.like) for array in molecules[1:])
        data = Cloud(positions, atom_features(atomic_numbers, regressor.elements, regressor.features))
        count, width = atomic_numbers.shape
        mask = node_mask(sizes, width)

        def of(part: slice) -> Tensor:
            return regressor.predict(combine(lambda values: values[part], data), mask[part])

        found: npt.NDArray[np.float32]
        found = workers.infer(of, count, chunk=workers.chunk(regressor.model.config, width)).cpu().numpy()
        return found

    return predict
