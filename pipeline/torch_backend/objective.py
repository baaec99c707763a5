"""What training and sampling ask of an objective, whatever it minimises."""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from pipeline.torch_backend.egnn import EGNN
from pipeline.torch_backend.features import Cloud, node_mask, take
from pipeline.training.noisy_batches import NoisyBatch


class Draws(NamedTuple):
    """The random numbers of one loss evaluation.

    Attributes:
      noise: unit noise.
      levels: [B, L], see ``pipeline.training.noisy_batches.NoisyBatch``.
    """

    noise: Cloud
    levels: Tensor


class Frozen(NamedTuple):
    """Networks that a loss compares with and that get no gradient.

    Attributes:
      averaged: with the moving average of the trained parameters.
      teacher: with those of the run that this one's configuration names as its teacher; of no meaning where it names
        none.
    """

    averaged: EGNN
    teacher: EGNN


class Objective(nn.Module, ABC):
    """What to minimise, and how to denoise with the result.

    Attributes:
      model: the network.
      features: K, the number of an atom's features.
    """

    model: EGNN
    features: ClassVar[int]

    @property
    def like(self) -> Tensor:
        """A tensor of the device and type that inputs should have."""
        return self.model.embedding.kernel

    @abstractmethod
    def clean(self, positions: Tensor, atomic_numbers: Tensor) -> Cloud:
        """Return the cloud of a padded batch: positions [B, N, 3] and features [B, N, K]."""

    @abstractmethod
    def losses(self, data: Cloud, mask: Tensor, draws: Draws, frozen: Frozen) -> Tensor:
        """Return the loss of every molecule, [B]."""

    @abstractmethod
    def denoise(self, mask: Tensor, noisy: Cloud, sigma: float) -> Cloud:
        """Return the estimate of the clean cloud from one at the variance-exploding level ``sigma``."""


class Inputs(NamedTuple):
    """What a loss is of: molecules, their mask [B, N] and their random numbers, where they are computed on."""

    data: Cloud
    mask: Tensor
    draws: Draws

    @classmethod
    def of(cls, objective: Objective, batch: NoisyBatch) -> Self:
        """Return a batch of the host as an objective takes it."""
        like = objective.like
        positions, noise, levels = (
            torch.from_numpy(array).to(like) for array in (batch.positions, batch.noise, batch.levels)
        )
        atomic_numbers, sizes = (
            torch.from_numpy(array).to(like.device) for array in (batch.atomic_numbers, batch.sizes)
        )
        return cls(
            objective.clean(positions, atomic_numbers),
            node_mask(sizes, positions.shape[1], dtype=like.dtype),
            Draws(Cloud(noise[..., :3], noise[..., 3:]), levels),
        )

    def take(self, part: slice) -> Self:
        """Return some of the molecules."""
        draws = Draws(take(self.draws.noise, part), self.draws.levels[part])
        return type(self)(take(self.data, part), self.mask[part], draws)
