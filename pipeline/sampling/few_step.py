"""Sampling a consistency model in one step or a few: from noise to an estimate, back to a lower level, and again.

Song et al. 2023 (arXiv 2303.01469), algorithm 1, on the host, around one compiled network call: the same for both
backends. A run that was trained on aligned pairs (``pipeline.diffusion.alignment``) gets its fresh noise aligned too,
since the level-sigma clouds it has learned from are x + sigma z with z close to x: independent noise would be a cloud
it has never seen.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.chemistry.molecules import Molecules
from pipeline.core.progress import Progress
from pipeline.diffusion.alignment import align
from pipeline.diffusion.clouds import Floats, Sizes, draw_noise_of_each
from pipeline.diffusion.feature_scales import TYPES, Scales
from pipeline.sampling.molecule_batches import Draw, Samples, sample_in_batches, trajectory_frames
from pipeline.sampling.parts import Part

# Wider than any molecule; its square is finite.
LARGEST: Final = 1e6

Denoise = Callable[[Floats, float, Sizes], Floats]
"""Maps clouds [B, N, 3 + K] at a level sigma, of molecules of these sizes [B], to the estimates of the clean ones."""


def multistep(
    denoise: Denoise,
    draw: Callable[[], Floats],
    levels: Sequence[float],
    sizes: Sizes,
    *,
    alignment: str,
    sigma_data: Scales,
) -> list[Floats]:
    """Sample with as many network calls as there are levels.

    The first cloud is as wide as data with noise of the first level is, sqrt(sigma^2 + sigma_data^2): at high levels
    that is pure noise, and at low ones, where a single call does best, about what the network was trained on.

    Args:
      denoise: the model.
      draw: returns fresh unit noise [B, N, 3 + K].
      levels: decreasing, at least one.
      sizes: numbers of atoms, [B].
      alignment: of the run's training: none, permutation or full.
      sigma_data: root mean squares of coordinates and types.

    Returns:
      The cloud before every call, and at last the sample.
    """
    scales = np.array([sigma_data.coordinates] * 3 + [sigma_data.types] * TYPES)
    states = [np.hypot(levels[0], scales).astype(np.float32) * draw()]
    estimate = denoise(states[0], levels[0], sizes)
    for sigma in levels[1:]:
        noise = draw()
        if alignment != "none":
            # The noise is moved and not the molecule, which comes to the same and keeps the order of the atoms.
            # What has overflowed has no nearest noise; it stays broken, and is counted at the end.
            goal = np.clip(np.nan_to_num(estimate), -LARGEST, LARGEST)
            x, order = align(noise[..., :3], noise[..., 3:], goal, sizes, rotate=alignment == "full")
            noise = np.concatenate([x, np.take_along_axis(noise[..., 3:], order[..., None], axis=1)], axis=-1)
        states.append(estimate + np.float32(sigma) * noise)
        estimate = denoise(states[-1], sigma, sizes)
    return [*states, estimate]


class MoleculeSampler(Protocol):
    """A sampler of one trained model."""

    def __call__(
        self, sizes: npt.NDArray[np.int32], *, progress: Progress | None = None, part: Part | None = None
    ) -> Samples:
        """Sample one molecule for each of ``sizes`` [M]; molecule i depends only on the seed, i and its size."""

    def trajectory(self, size: int, *, frames: int) -> tuple[Molecules, npt.NDArray[np.float32]]:
        """Return one molecule on its way from noise as up to ``frames`` molecules, and their noise levels."""


class RunSampler(MoleculeSampler, Protocol):
    """The same, as a backend makes it for the command line."""

    def at(self, levels: Sequence[float]) -> MoleculeSampler:
        """Return the same sampler of a few-step model with other levels, sharing what is compiled."""


class MultistepSampler:
    """A few-step model as a ``MoleculeSampler``."""

    def __init__(
        self,
        denoise: Callable[[int], Denoise],
        *,
        levels: Sequence[float],
        alignment: str,
        sigma_data: Scales,
        seed: int,
        buckets: Iterable[int],
        batch: int,
        multiple: int | None = None,
    ):
        """Prepare to sample ``batch`` molecules at a time; ``denoise`` returns the model for a width.

        The last batch is filled up to a multiple of ``multiple``, see ``sample_in_batches``.
        """
        self._denoise, self._levels, self._seed = denoise, list(levels), seed
        self._alignment, self._sigma_data = alignment, sigma_data
        self._buckets, self._batch, self._multiple = sorted(buckets), batch, multiple

    def __call__(
        self, sizes: npt.NDArray[np.int32], *, progress: Progress | None = None, part: Part | None = None
    ) -> Samples:
        """Sample one molecule for each of ``sizes`` [M]; molecule i depends only on the seed, i and its size."""

        def draw(width: int) -> Draw:
            denoise = self._denoise(width)

            def draw_batch(numbers: npt.NDArray[np.int32], sizes: npt.NDArray[np.int32]) -> Any:
                sample = self._states(denoise, numbers, sizes, width)[-1]
                return sample[..., :3], sample[..., 3 : 3 + TYPES].argmax(axis=-1)

            return draw_batch

        return sample_in_batches(
            draw, sizes, buckets=self._buckets, batch=self._batch, multiple=self._multiple, progress=progress, part=part
        )

    def trajectory(self, size: int, *, frames: int) -> tuple[Molecules, npt.NDArray[np.float32]]:
        """Return one molecule on its way from noise, see ``pipeline.sampling.molecule_batches.trajectory_frames``."""
        numbers, sizes = np.zeros(self._batch, np.int32), np.full(self._batch, size, np.int32)
        states = np.stack([state[0] for state in self._states(self._denoise(size), numbers, sizes, size)])
        types = states[..., 3 : 3 + TYPES].argmax(axis=-1)
        return trajectory_frames(states[..., :3], types, np.array(self._levels), frames=frames)

    def _states(self, denoise: Denoise, numbers: Sizes, sizes: Sizes, width: int) -> list[Floats]:
        generators = [np.random.default_rng((self._seed, int(number))) for number in numbers]
        return multistep(
            denoise,
            lambda: draw_noise_of_each(generators, sizes, width),
            self._levels,
            sizes,
            alignment=self._alignment,
            sigma_data=self._sigma_data,
        )
