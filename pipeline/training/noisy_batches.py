"""Training batches with all their random numbers: noise, levels, and the data moved onto the noise.

All is drawn on the host with NumPy, from the seed and the step alone: every backend trains on the same numbers, and the
next batch is made ready while a device works on this one.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.data.batches import Batch, PaddedMolecules
from pipeline.data.shards import Shard
from pipeline.data.statistics import Statistics
from pipeline.diffusion.alignment import align
from pipeline.diffusion.clouds import Cloud, atom_features, atom_mask, draw_noise
from pipeline.diffusion.feature_scales import feature_count, given_scales
from pipeline.diffusion.training_levels import draw_levels
from pipeline.study.config import RunConfig

# What a generator is for, beside the seed: streams never meet.
TRAINING: Final = 1
VALIDATION: Final = 2

Array = TypeVar("Array")
Other = TypeVar("Other")


class NoisyBatch(NamedTuple, Generic[Array]):
    """What a loss is computed of: molecules, the noise they are mixed with, and how much of it.

    Attributes:
      data: coordinates in angstrom, centred, and features; 0 in the padding.
      noise: standard normal, its coordinates centred; 0 in the padding.
      mask: 1 for atoms and 0 for padding, [B, N].
      t: the noise level, [B]: for edm the step 0..T, otherwise sigma.
      r: for consistency, the lower level of the target, [B]; else None.
      weight: for consistency, that of the pair's loss, [B]; else None.
    """

    data: Cloud[Array]
    noise: Cloud[Array]
    mask: Array
    t: Array
    r: Array | None = None
    weight: Array | None = None

    def map(self, function: Callable[[Array], Other]) -> "NoisyBatch[Other]":
        """Return the batch with ``function`` applied to every array."""
        data, noise = (Cloud(function(cloud.x), function(cloud.h)) for cloud in (self.data, self.noise))
        rest = (None if array is None else function(array) for array in (self.r, self.weight))
        return NoisyBatch(data, noise, function(self.mask), function(self.t), *rest)


HostBatch = NoisyBatch[npt.NDArray[Any]]


class Noising:
    """Makes the noisy batches of a run."""

    def __init__(self, config: RunConfig, shards: list[Shard], statistics: Statistics):
        """Take the molecules to train on, and the statistics of their data."""
        self._config = config
        self._sigma_data = given_scales(config.levels.sigma_data, statistics)
        self._shards: Mapping[int, Shard] = {shard.bucket: shard for shard in shards}

    def training(self, batch: Batch, step: int) -> HostBatch:
        """Return the molecules of a training step with the random numbers of that step."""
        molecules = PaddedMolecules.of(self._shards[batch.bucket], batch.indices)
        generator = np.random.default_rng((self._config.seed, TRAINING, step))
        return self._noisy(molecules, generator, progress=step / self._config.training.steps)

    def validation(self, molecules: PaddedMolecules) -> HostBatch:
        """Return molecules with the same random numbers every time, as at the end of the training."""
        return self._noisy(molecules, np.random.default_rng((self._config.seed, VALIDATION)), progress=1.0)

    def _noisy(self, molecules: PaddedMolecules, generator: np.random.Generator, *, progress: float) -> HostBatch:
        config, (_, positions, atomic_numbers, sizes) = self._config, molecules
        width, features = positions.shape[1], feature_count(config.objective)
        levels = draw_levels(generator, len(sizes), config, self._sigma_data, progress=progress)
        noise = draw_noise(generator, sizes, width, features)
        h = atom_features(atomic_numbers, features)
        if config.levels.alignment != "none":
            positions, order = align(positions, h, noise, sizes, rotate=config.levels.alignment == "full")
            h = np.take_along_axis(h, order[..., None], axis=1)
        return NoisyBatch(
            Cloud(positions.astype(np.float32), h),
            Cloud(noise[..., :3], noise[..., 3:]),
            atom_mask(sizes, width),
            *levels,
        )


def prepared(
    steps: Iterator[tuple[int, float, Batch]], prepare: Callable[[Batch, int], HostBatch]
) -> Iterator[tuple[int, float, HostBatch]]:
    """Yield (step, epochs done, noisy batch) for every (step, epochs done, batch).

    A thread makes the next one ready in the meantime.
    """
    with ThreadPoolExecutor(1) as pool:
        waiting: tuple[int, float, Future[HostBatch]] | None = None
        for step, epoch, batch in steps:
            following = (step, epoch, pool.submit(prepare, batch, step))
            if waiting:
                yield waiting[0], waiting[1], waiting[2].result()
            waiting = following
        if waiting:
            yield waiting[0], waiting[1], waiting[2].result()
