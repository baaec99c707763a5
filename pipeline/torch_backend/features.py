"""Molecules as the network sees them: their features, noise and masks."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor

from pipeline.diffusion import clouds
from pipeline.diffusion.feature_scales import CHARGE_SCALE, TYPE_SCALE
from pipeline.torch_backend.egnn import remove_mean
from pipeline.training.noisy_batches import HostBatch, NoisyBatch

Cloud = clouds.Cloud[Tensor]


def combine(function: Callable[..., Tensor], *clouds: Cloud) -> Cloud:
    """Apply ``function`` to the coordinates of all clouds and to the features of all clouds."""
    return Cloud(*(function(*parts) for parts in zip(*clouds, strict=True)))


def to_tensor(array: npt.NDArray[Any], like: Tensor) -> Tensor:
    """Return an array on the device of ``like``, and where it has floating-point numbers in the type of ``like``."""
    tensor = torch.from_numpy(array)
    return tensor.to(like.device, like.dtype if tensor.is_floating_point() else tensor.dtype)


def atom_features(
    atomic_numbers: Tensor, elements: Sequence[int], count: int, *, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return the first ``count`` features of atoms with atomic numbers [B, N], [B, N, count]; 0 in the padding."""
    types = (atomic_numbers[..., None] == torch.tensor(elements, device=atomic_numbers.device)).to(dtype)
    if count == len(elements):
        return types / TYPE_SCALE
    return torch.cat([types / TYPE_SCALE, atomic_numbers[..., None].to(dtype) / CHARGE_SCALE], dim=-1)


def noisy_batch(batch: HostBatch, elements: Sequence[int], features: int, like: Tensor) -> NoisyBatch[Tensor]:
    """Return a batch of the host as the losses of an objective with these types and so many features take it.

    It is on the device and in the type of ``like``.
    """
    positions, atomic_numbers, sizes, noise = (to_tensor(array, like) for array in batch[:4])
    t, r, weight, condition = (
        None if array is None else to_tensor(array, like) for array in (*batch.levels, batch.condition)
    )
    assert t is not None
    data = Cloud(positions, atom_features(atomic_numbers, elements, features, dtype=like.dtype))
    mask = node_mask(sizes, positions.shape[1], dtype=like.dtype)
    return NoisyBatch(data, Cloud(noise[..., :3], noise[..., 3:]), mask, t, r, weight, condition)


def node_mask(sizes: Tensor, width: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return 1 for the first ``sizes`` [B] of ``width`` places and 0 behind them, [B, width]."""
    return (torch.arange(width, device=sizes.device) < sizes[:, None]).to(dtype)


def seeded(*numbers: int) -> Generator:
    """Return a generator on the CPU that is determined by ``numbers``, such as a seed, a purpose and a step.

    NumPy's SeedSequence mixes them; the same draws come out on every device, since all are made on the CPU.
    """
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def draw_normals(generators: Sequence[Generator], width: int, features: int) -> Tensor:
    """Draw standard normal numbers for one molecule from each generator: [B, width, 3 + features]."""
    normals = torch.empty(len(generators), width, 3 + features)
    for row, generator in zip(normals, generators, strict=True):
        row.normal_(generator=generator)
    return normals


def as_noise(normals: Tensor, mask: Tensor) -> Cloud:
    """Return isotropic ``normals`` [B, N, 3 + K] as noise: ``x`` without a centre of mass, 0 in the padding."""
    noise = normals * mask[..., None]
    return Cloud(remove_mean(noise[..., :3], mask), noise[..., 3:])
