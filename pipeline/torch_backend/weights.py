"""The network's parameters as one flat vector and as named arrays."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from pipeline.training.array_files import check_shapes


def to_vector(model: nn.Module) -> Tensor:
    """Return the parameters as one new vector [P] on their device, in the model's order."""
    return parameters_to_vector(model.parameters()).detach().clone()


def use_vector(model: nn.Module, vector: Tensor) -> None:
    """Make the model's parameters views of ``vector`` [P]: what changes in one changes in the other."""
    vector_to_parameters(vector, model.parameters())


def use_gradient(model: nn.Module, gradient: Tensor) -> None:
    """Let gradients be added up in ``gradient`` [P], which has the order of ``to_vector``."""
    parameters = list(model.parameters())
    parts = torch.split(gradient, [parameter.numel() for parameter in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad = part.view_as(parameter)


def to_arrays(model: nn.Module) -> dict[str, npt.NDArray[np.float32]]:
    """Return the parameters as named arrays, for a file; names are paths with dots."""
    return {name: parameter.detach().cpu().numpy().copy() for name, parameter in model.named_parameters()}


def from_arrays(model: nn.Module, arrays: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Set the parameters to named arrays.

    Raises:
      InputError: names or shapes are not those of the network.
    """
    parameters = dict(model.named_parameters())
    check_shapes(arrays, {name: tuple(parameter.shape) for name, parameter in parameters.items()})
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(np.array(arrays[name])))
