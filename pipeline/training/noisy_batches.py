"""Training batches with all their random numbers: noise, levels, and the data moved onto the noise.

All is drawn on the host with NumPy, from the seed and the step alone: every backend trains on the same numbers, and
other threads or processes can prepare later batches while a device works on this one (``pipeline.training.feeding``).
"""

from collections.abc import Callable, Mapping
from typing import Final, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.data.batches import Batch, PaddedMolecules
from pipeline.data.properties import Properties
from pipeline.data.shards import Shard
from pipeline.data.statistics import Statistics
from pipeline.diffusion.alignment import align
from pipeline.diffusion.clouds import Cloud, Floats, draw_noise, one_hot
from pipeline.diffusion.feature_scales import TYPE_SCALE, Scales, given_scales
from pipeline.diffusion.objectives import OBJECTIVES
from pipeline.diffusion.training_levels import Levels
from pipeline.study.config import RunConfig

# What a generator is for, beside the seed: streams never meet.
TRAINING: Final = 1
VALIDATION: Final = 2

Array = TypeVar("Array")
Other = TypeVar("Other")


class HostBatch(NamedTuple):
    """Molecules with all that is drawn for their losses, on the host.

    Attributes:
      positions: [B, N, 3] in angstrom, centred, 0 in the padding.
      atomic_numbers: [B, N], 0 in the padding.
      sizes: atoms, [B].
      noise: standard normal, [B, N, 3 + K]; coordinates centred, 0 in the padding.
      levels: how much noise.
      condition: of a conditional run, normalised properties, what is left of them after the mean for the size, and 1
        for given, [B, 2 P + 1]; all 0 where withheld.
    """

    positions: Floats
    atomic_numbers: npt.NDArray[np.uint8]
    sizes: npt.NDArray[np.int32]
    noise: Floats
    levels: Levels
    condition: Floats | None = None


class NoisyBatch(NamedTuple, Generic[Array]):
    """What a loss is computed of: a ``HostBatch`` as a backend has it.

    Attributes:
      data: coordinates in angstrom and features.
      noise: standard normal.
      mask: 1 for atoms and 0 for padding, [B, N].
      t: the noise level, [B]: for edm the step 0..T, otherwise sigma.
      r: for consistency, the lower level of the target, [B]; else None.
      weight: for consistency, that of the pair's loss, [B]; else None.
      condition: see ``HostBatch``.
    """

    data: Cloud[Array]
    noise: Cloud[Array]
    mask: Array
    t: Array
    r: Array | None = None
    weight: Array | None = None
    condition: Array | None = None

    def map(self, function: Callable[[Array], Other]) -> "NoisyBatch[Other]":
        """Return the batch with ``function`` applied to every array."""
        data, noise = (Cloud(function(cloud.x), function(cloud.h)) for cloud in (self.data, self.noise))
        rest = (None if array is None else function(array) for array in (self.r, self.weight, self.condition))
        return NoisyBatch(data, noise, function(self.mask), function(self.t), *rest)


class Noising:
    """Makes the noisy batches of a run.

    Attributes:
      draw: all of it but the molecules.
    """

    def __init__(
        self, config: RunConfig, shards: list[Shard], statistics: Statistics, properties: Properties | None = None
    ):
        """Take the molecules to train on, the statistics of their data and, for a conditional run, their properties."""
        self.draw = Draw(config, given_scales(config.levels.sigma_data, statistics), properties)
        self._shards: Mapping[int, Shard] = {shard.bucket: shard for shard in shards}

    def molecules(self, batch: Batch) -> PaddedMolecules:
        """Return the molecules of a batch."""
        return PaddedMolecules.of(self._shards[batch.bucket], batch.indices)

    def training(self, batch: Batch, step: int) -> HostBatch:
        """Return the molecules of a training step with the random numbers of that step."""
        return self.draw.training(self.molecules(batch), step)


class Draw:
    """Draws noise and levels for molecules and aligns them; small, so that it can be sent to another process."""

    def __init__(self, config: RunConfig, sigma_data: Scales, properties: Properties | None = None):
        """Take a run's configuration, the scales of its data and, for a conditional run, its molecules' properties."""
        self._config, self._sigma_data, self._properties = config, sigma_data, properties

    def training(self, molecules: PaddedMolecules, step: int) -> HostBatch:
        """Return molecules with the random numbers of a training step."""
        generator = np.random.default_rng((self._config.seed, TRAINING, step))
        return self._noisy(molecules, generator, progress=step / self._config.training.steps)

    def validation(self, molecules: PaddedMolecules) -> HostBatch:
        """Return molecules with the same random numbers every time, as at the end of the training."""
        return self._noisy(molecules, np.random.default_rng((self._config.seed, VALIDATION)), progress=1.0)

    def _noisy(self, molecules: PaddedMolecules, generator: np.random.Generator, *, progress: float) -> HostBatch:
        config, (numbers, positions, atomic_numbers, sizes) = self._config, molecules
        traits = OBJECTIVES[config.objective]
        levels = traits.draw_levels(generator, len(sizes), config, self._sigma_data, progress)
        noise = draw_noise(generator, sizes, positions.shape[1], traits.features(self._sigma_data.elements))
        # Distillation learns from noise alone.
        if config.levels.alignment != "none" and not config.distils:
            types = one_hot(atomic_numbers, self._sigma_data.elements) / TYPE_SCALE
            positions, order = align(positions, types, noise, sizes, rotate=config.levels.alignment == "full")
            atomic_numbers = np.take_along_axis(atomic_numbers, order, axis=1)
        condition = None
        if self._properties:
            # A regressor's targets are never withheld.
            dropout = config.condition_dropout if traits.progress_sampler else 0.0
            given = generator.random(len(sizes)) >= dropout
            condition = np.where(given[:, None], self._properties.context(numbers, sizes), np.float32(0))
        return HostBatch(positions.astype(np.float32), atomic_numbers, sizes.astype(np.int32), noise, levels, condition)
