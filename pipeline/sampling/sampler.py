"""Molecules from a trained run by any kind of sampler; a backend adds what calls the network."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from types import ModuleType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.core.progress import Progress
from pipeline.data.statistics import Statistics
from pipeline.diffusion.clouds import Floats, Sizes, draw_noise_of_each
from pipeline.diffusion.feature_scales import given_scales
from pipeline.diffusion.objectives import run_schedule
from pipeline.diffusion.schedules import churned_levels
from pipeline.sampling.composition import assign_types, types_in
from pipeline.sampling.few_step import few_step
from pipeline.sampling.fixed_atoms import FixedAtoms
from pipeline.sampling.molecule_batches import Draw, Samples, noise_levels, sample_in_batches, trajectory_frames
from pipeline.sampling.parts import Part
from pipeline.study.config import RunConfig, SamplerConfig

ConditionalDenoise = Callable[[Floats, float, Sizes, Floats | None], Floats]
"""A ``Denoise`` that also takes the conditions of the molecules, [B, 2 P + 1]."""


class MoleculeSampler(ABC):
    """Samples a trained run.

    Molecule i depends on the seed, i, its size and what is asked of it; to the last bit also on the rest of its batch.
    """

    def __init__(
        self,
        run: RunConfig,
        statistics: Statistics,
        config: SamplerConfig,
        *,
        batch: int,
        multiple: int | None = None,
        buckets: Sequence[int] | None = None,
    ):
        """Prepare to sample; nothing is compiled yet.

        Args:
          run: what was trained.
          statistics: of its data.
          config: the kind of sampler, and where it calls the network.
          batch: molecules at a time.
          multiple: the last batch is filled up to a multiple of this, see ``sample_in_batches``.
          buckets: sizes to pad molecules to, ascending; those of the data if left out.

        Raises:
          InputError: the sampler is for another objective.
        """
        self._config, self._batch, self._multiple = config, batch, multiple
        self._alignment = config.alignment or run.levels.alignment
        self._even_electrons = statistics.even_electrons if config.even_electrons is None else config.even_electrons
        self._sigma_data = given_scales(run.levels.sigma_data, statistics)
        self._buckets = buckets or sorted(statistics.buckets)
        self._condition_features = run.condition_features
        self._conditions: Floats | None = None
        self._composition: Floats | None = None
        self._fixed: FixedAtoms | None = None
        self._first: MoleculeSampler | None = None
        self._few_step = config.kind == "consistency"
        if self._few_step:
            assert config.levels is not None, "searched levels are put in before"
            self._levels = np.array(config.levels)
        else:
            self._levels = noise_levels(config, run_schedule(run))

    def __call__(
        self, sizes: npt.NDArray[np.int32], *, progress: Progress | None = None, part: Part | None = None
    ) -> Samples:
        """Sample one molecule for each of ``sizes`` [M], or only a part of them.

        Raises:
          InputError: a molecule has no more atoms than are fixed.
        """
        self._check_sizes(sizes)
        return sample_in_batches(
            self._draw,
            sizes,
            elements=self._sigma_data.elements,
            buckets=self._buckets,
            batch=self._batch,
            multiple=self._multiple,
            progress=progress,
            part=part,
        )

    def at(self, levels: Sequence[float]) -> Self:
        """Return the same sampler of a few-step model with other levels, sharing what is compiled."""
        other = copy(self)
        other._levels = np.array(levels)
        return other

    def given(self, conditions: Floats | None) -> Self:
        """Return the same sampler of a conditional run with the conditions of its molecules, sharing what is compiled.

        Args:
          conditions: of molecules 0, 1, ..., [M, 2 P + 1], see ``PropertyStatistics.context``; None withholds them.
        """
        other = copy(self)
        other._conditions = conditions
        return other

    def of_composition(self, atomic_numbers: Sequence[int]) -> Self:
        """Return the same sampler of a few-step model for molecules that have just these atoms.

        Args:
          atomic_numbers: of the atoms, [N]; the sizes to sample are all N.

        Raises:
          InputError: the model has no type for one of them, or the sampler is of another kind.
        """
        if not self._few_step:
            raise InputError(
                f"sampler {self._config.name}: only few-step samplers take a formula, not {self._config.kind}"
            )
        other = copy(self)
        other._composition = types_in(self._sigma_data.elements, atomic_numbers)
        return other

    def holding(self, molecules: Molecules, atomic_numbers: Sequence[int]) -> Self:
        """Return the same sampler for molecules whose first atoms are those of the one molecule given, in its place.

        Args:
          molecules: the one.
          atomic_numbers: of all atoms of every sample, these among them; empty if the model chooses the others.

        Raises:
          InputError: the sampler is not few-step; see ``FixedAtoms.of``.
        """
        if not self._few_step:
            raise InputError(f"fixed atoms: sampler {self._config.name} should be of a few-step model")
        other = copy(self)
        other._fixed = FixedAtoms.of(molecules, self._sigma_data.elements, atomic_numbers)
        return other

    def after(self, first: "MoleculeSampler") -> Self:
        """Return the same sampler of a few-step model with its first call made by another run, at that one's level.

        Args:
          first: samples the other run in one call.

        Raises:
          InputError: the two do not fit.
        """
        levels = [*first._levels.tolist(), *self._levels.tolist()[1:]]
        one_call = first._few_step and len(first._levels) == 1
        if not (one_call and self._few_step and len(levels) > 1 and levels[0] > levels[1]):
            raise InputError(
                "the first call should be of a model that samples in one, at a higher noise level than the second call "
                "of a few-step model"
            )
        mine, others = ((one._sigma_data.elements, one._condition_features) for one in (self, first))
        if mine != others:
            raise InputError("the first call should be of a model with the same elements and condition as the others")
        other = self.at(levels)
        other._first = first
        return other

    def trajectory(self, size: int, *, frames: int) -> tuple[Molecules, npt.NDArray[np.float32]]:
        """Return one molecule on its way from noise as up to ``frames`` molecules, and their noise levels.

        Raises:
          InputError: it has no more atoms than are fixed.
        """
        if self._few_step:
            number, sizes = np.zeros(1, np.int32), np.array([size], np.int32)
            self._check_sizes(sizes)
            states = np.concatenate(self._few_step_states(self._calls(size, 1), number, sizes, size))
            positions, types = states[..., :3], states[..., 3:].argmax(axis=-1)
        else:
            positions, types = self.states(size)
        return trajectory_frames(positions, types, self._levels, elements=self._sigma_data.elements, frames=frames)

    @abstractmethod
    def denoiser(self, width: int, batch: int) -> ConditionalDenoise:
        """Return the call of the network on ``batch`` clouds that are padded to ``width``, with their conditions."""

    @abstractmethod
    def integrator(self, width: int) -> Draw:
        """Return what draws ``batch`` molecules that are padded to ``width`` by heun, ddim or ancestral sampling."""

    @abstractmethod
    def states(self, size: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return positions [S + 1, N, 3] and types [S + 1, N] of one molecule on the way of these, the sample last."""

    def _check_sizes(self, sizes: npt.NDArray[np.int32]) -> None:
        if self._fixed and sizes.min() <= len(self._fixed):
            raise InputError(f"fixed atoms: {len(self._fixed)}; a molecule of {sizes.min()} atoms has no others")

    def _draw(self, width: int) -> Draw:
        if not self._few_step:
            return self.integrator(width)
        denoise = self._calls(width, self._batch)

        def draw(numbers: npt.NDArray[np.int32], sizes: npt.NDArray[np.int32]) -> Any:
            sample = self._few_step_states(denoise, numbers, sizes, width)[-1]
            positions = self._fixed.placed(sample) if self._fixed else sample[..., :3]
            return positions, sample[..., 3:].argmax(axis=-1)

        return draw

    def _calls(self, width: int, batch: int) -> ConditionalDenoise:
        """Return the call of the network, or at the first level that of the model that makes the first call."""
        later = self.denoiser(width, batch)
        if self._first is None:
            return later
        first, level = self._first.denoiser(width, batch), self._levels[0]

        def call(clouds: Floats, sigma: float, sizes: Sizes, condition: Floats | None) -> Floats:
            return (first if sigma == level else later)(clouds, sigma, sizes, condition)

        return call

    def _solve(
        self, solvers: ModuleType, denoise: Any, start: Any, draw: Any, cast: Callable[[npt.NDArray[np.float64]], Any]
    ) -> Any:
        """Return what the backend's function for this kind of sampler returns.

        Args:
          solvers: the module of these functions; each has the name of its kind.
          denoise: the network, as they take it.
          start: unit noise to start from.
          draw: draws fresh unit noise, as they take it.
          cast: turns levels into what they take.
        """
        kind, churn = self._config.kind, self._config.churn
        fresh = {"draw": draw} if kind == "ancestral" or churn else {}
        if churn:
            fresh["churned"] = cast(churned_levels(self._levels, churn))
        return getattr(solvers, kind)(denoise, start, cast(self._levels), **fresh)

    def _condition_of(self, numbers: Sizes) -> Floats | None:
        """Return the conditions of molecules with these numbers [B], [B, 2 P + 1], or None if the run has none."""
        if not self._condition_features:
            return None
        if self._conditions is None:
            return np.zeros((len(numbers), self._condition_features), np.float32)
        return self._conditions[numbers]

    def _few_step_states(
        self,
        denoise: ConditionalDenoise,
        numbers: Sizes,
        sizes: Sizes,
        width: int,
    ) -> list[Floats]:
        generators = [np.random.default_rng((self._config.seed, int(number))) for number in numbers]
        condition, types = self._condition_of(numbers), self._composition
        chosen = types is not None or (self._fixed is not None and len(self._fixed.others) > 0)

        def estimate(clouds: Floats, sigma: float, sizes: Sizes) -> Floats:
            clean = denoise(clouds, sigma, sizes, condition)
            return clean if types is None else assign_types(clean, types, sizes)

        return few_step(
            estimate,
            lambda: draw_noise_of_each(generators, sizes, width, len(self._sigma_data.elements)),
            self._levels.tolist(),
            sizes,
            alignment=self._alignment,
            sigma_data=self._sigma_data,
            fixed=self._fixed,
            even_electrons=self._even_electrons and not chosen,
        )
