"""Training batches with all their random numbers: noise, levels, and the data moved onto the noise.

All is drawn on the host with NumPy, from the seed and the step alone: every backend trains on the same numbers, and the
next batch is made ready while a device works on this one.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.chemistry.elements import ATOMIC_NUMBERS
from pipeline.data.batches import Batch, PaddedMolecules
from pipeline.data.shards import Shard
from pipeline.diffusion.alignment import align
from pipeline.diffusion.feature_scales import TYPE_SCALE, feature_count
from pipeline.diffusion.training_levels import lognormal, pairs
from pipeline.study.config import RunConfig

# What a generator is for, beside the seed: streams never meet.
TRAINING: Final = 1
VALIDATION: Final = 2


class NoisyBatch(NamedTuple):
    """Molecules with what an objective mixes them with."""

    positions: npt.NDArray[np.float32]
    """[B, N, 3] in angstrom, centred, 0 in the padding."""
    atomic_numbers: npt.NDArray[np.uint8]
    """[B, N], 0 in the padding."""
    sizes: npt.NDArray[np.int32]
    """[B] atoms."""
    noise: npt.NDArray[np.float32]
    """[B, N, 3 + K], standard normal; coordinates centred, 0 in the padding."""
    levels: npt.NDArray[np.float32]
    """[B, L]; edm: the step t; denoiser: sigma; others see ``pipeline.diffusion.training_levels``."""


class Noising:
    """Makes the noisy batches of a run."""

    def __init__(self, config: RunConfig, shards: list[Shard]):
        """Take the molecules to train on."""
        self._config = config
        self._shards: Mapping[int, Shard] = {shard.bucket: shard for shard in shards}

    def training(self, batch: Batch, step: int) -> NoisyBatch:
        """Return the molecules of a training step with the random numbers of that step."""
        molecules = PaddedMolecules.of(self._shards[batch.bucket], batch.indices)
        generator = np.random.default_rng((self._config.seed, TRAINING, step))
        return self._noisy(molecules, generator, progress=step / self._config.training.steps)

    def validation(self, molecules: PaddedMolecules) -> NoisyBatch:
        """Return molecules with the same random numbers every time, as at the end of the training."""
        return self._noisy(molecules, np.random.default_rng((self._config.seed, VALIDATION)), progress=1.0)

    def _noisy(self, molecules: PaddedMolecules, generator: np.random.Generator, *, progress: float) -> NoisyBatch:
        config = self._config
        levels = draw_levels(generator, len(molecules.sizes), config, progress=progress)
        width = molecules.positions.shape[1]
        noise = draw_noise(generator, molecules.sizes, width, feature_count(config.objective))
        positions, atomic_numbers = molecules.positions, molecules.atomic_numbers
        if config.levels.alignment != "none":
            positions, order = align(
                positions,
                one_hot(atomic_numbers) / TYPE_SCALE,
                noise,
                molecules.sizes,
                rotate=config.levels.alignment == "full",
            )
            atomic_numbers = np.take_along_axis(atomic_numbers, order, axis=1)
        return NoisyBatch(positions.astype(np.float32), atomic_numbers, molecules.sizes.astype(np.int32), noise, levels)


def draw_levels(
    generator: np.random.Generator, count: int, config: RunConfig, *, progress: float
) -> npt.NDArray[np.float32]:
    """Draw the levels of an objective's losses, see ``NoisyBatch.levels``."""
    levels: npt.NDArray[Any]
    if config.objective == "edm":
        levels = generator.integers(0, config.noise.steps + 1, count)[:, None]
    elif config.objective == "denoiser":
        levels = lognormal(generator, count, config.levels)[:, None]
    else:
        levels = pairs(generator, count, config.levels, config.consistency, progress=progress)
    return levels.astype(np.float32)


def draw_noise(
    generator: np.random.Generator, sizes: npt.NDArray[np.integer[Any]], width: int, features: int
) -> npt.NDArray[np.float32]:
    """Draw unit noise [B, N, 3 + features]: coordinates projected to zero mean over atoms, 0 in the padding.

    The mean-free Gaussian is the projection of an isotropic one (EDM, arXiv 2203.17003, section 3.1).
    """
    noise = generator.standard_normal((len(sizes), width, 3 + features), np.float32)
    mask = (np.arange(width) < sizes[:, None])[..., None]
    noise *= mask
    noise[..., :3] -= noise[..., :3].sum(axis=1, keepdims=True) / sizes[:, None, None].astype(np.float32)
    noise *= mask
    return noise


def one_hot(atomic_numbers: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float32]:
    """Return the types of atoms [B, N], one-hot over H, C, N, O, F: [B, N, 5], 0 in the padding."""
    types: npt.NDArray[np.bool_] = atomic_numbers[..., None] == np.array(ATOMIC_NUMBERS)
    return types.astype(np.float32)


def prepared(
    steps: Iterator[tuple[int, float, Batch]], prepare: Callable[[Batch, int], NoisyBatch]
) -> Iterator[tuple[int, float, NoisyBatch]]:
    """Yield (step, epochs done, noisy batch) for every (step, epochs done, batch).

    A thread makes the next one ready in the meantime.
    """
    with ThreadPoolExecutor(1) as pool:
        waiting: tuple[int, float, Future[NoisyBatch]] | None = None
        for step, epoch, batch in steps:
            following = (step, epoch, pool.submit(prepare, batch, step))
            if waiting:
                yield waiting[0], waiting[1], waiting[2].result()
            waiting = following
        if waiting:
            yield waiting[0], waiting[1], waiting[2].result()
