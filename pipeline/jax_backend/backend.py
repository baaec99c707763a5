"""The JAX backend as the command lines see it (``pipeline.backends``)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.chemistry.molecules import Molecules
from pipeline.core.progress import Progress
from pipeline.data.shards import Shard
from pipeline.data.statistics import Statistics
from pipeline.diffusion.likelihood import Bound
from pipeline.jax_backend.build import build_edm, build_layout, build_objective
from pipeline.jax_backend.likelihood import variational_bound
from pipeline.jax_backend.runtime import start
from pipeline.jax_backend.sample import RunSampler
from pipeline.jax_backend.train import train
from pipeline.sampling.few_step import MultistepSampler
from pipeline.sampling.molecule_batches import Samples
from pipeline.sampling.parts import Part
from pipeline.study.config import RunConfig, SamplerConfig
from pipeline.training.loop import Trained
from pipeline.training.run_folder import Starts, Weights


class JaxBackend:
    """Training, sampling and likelihood in JAX."""

    packages = ("jax", "flax", "optax")

    def __init__(self, *, cores: int | None):
        """Set JAX up for this process, see ``pipeline.jax_backend.runtime.start``."""
        start(cores=cores)

    def train(
        self,
        config: RunConfig,
        *,
        config_digest: str,
        shards: Mapping[str, list[Shard]],
        statistics: Statistics,
        starts: Starts,
        directory: Path,
        log: Path | None,
        stop: Callable[[], bool],
    ) -> Trained:
        """Train a run, see ``pipeline.jax_backend.train.train``."""
        return train(
            config,
            config_digest=config_digest,
            shards=dict(shards),
            statistics=statistics,
            starts=starts,
            directory=directory,
            log=log,
            stop=stop,
        )

    def sampler(self, weights: Weights, config: SamplerConfig) -> "TrainedSampler":
        """Return a sampler of a trained run."""
        return TrainedSampler(weights, config)

    def bound(self, weights: Weights, shards: list[Shard], *, seed: int, progress: Progress) -> Bound:
        """Return the bound on the negative log-likelihood of molecules under a run."""
        objective = build_edm(weights.config, weights.statistics)
        layout = build_layout(objective)
        return variational_bound(
            objective,
            layout,
            layout.from_arrays(weights.arrays),
            shards,
            weights.statistics,
            seed=seed,
            progress=progress,
        )


class TrainedSampler:
    """A sampler of a trained run (``pipeline.sampling.few_step.RunSampler``)."""

    def __init__(self, weights: Weights, config: SamplerConfig):
        """Check the weights; nothing is compiled yet."""
        objective = build_objective(weights.config, weights.statistics)
        layout = build_layout(objective)
        self._vector = layout.from_arrays(weights.arrays)
        buckets = sorted(weights.statistics.buckets)
        self._sampler = RunSampler(weights.config, objective, layout, config, buckets=buckets)

    def __call__(
        self, sizes: npt.NDArray[np.int32], *, progress: Progress | None = None, part: Part | None = None
    ) -> Samples:
        """Sample one molecule for each of ``sizes`` [M]; molecule i depends only on the seed, i and its size."""
        return self._sampler(self._vector, sizes, progress=progress, part=part)

    def at(self, levels: Sequence[float]) -> MultistepSampler:
        """Return the same sampler of a consistency model with other levels."""
        return self._sampler.multistep(self._vector, levels)

    def trajectory(self, size: int, *, frames: int) -> tuple[Molecules, npt.NDArray[np.float32]]:
        """Return one molecule on its way from noise as up to ``frames`` molecules, and their noise levels."""
        return self._sampler.trajectory(self._vector, size, frames=frames)
