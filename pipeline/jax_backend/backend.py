"""The JAX backend as the command lines see it (``pipeline.cli.backends``)."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.chemistry.molecules import Molecules
from pipeline.config import RunConfig, SamplerConfig
from pipeline.data.shards import Shard
from pipeline.data.statistics import Statistics
from pipeline.jax_backend.build import build_layout, build_objective
from pipeline.jax_backend.likelihood import variational_bound
from pipeline.jax_backend.runtime import start
from pipeline.jax_backend.sample import Sampler
from pipeline.jax_backend.train import train
from pipeline.likelihood import Bound
from pipeline.progress import Progress
from pipeline.runs import Weights
from pipeline.sampling import Samples
from pipeline.training import Trained


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
            directory=directory,
            log=log,
            stop=stop,
        )

    def sampler(self, weights: Weights, config: SamplerConfig) -> "RunSampler":
        """Return a sampler of a trained run."""
        return RunSampler(weights, config)

    def bound(self, weights: Weights, shards: list[Shard], *, seed: int, progress: Progress) -> Bound:
        """Return the bound on the negative log-likelihood of molecules under a run."""
        objective = build_objective(weights.config, weights.statistics)
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


class RunSampler:
    """A sampler of a trained run (``pipeline.sampling.MoleculeSampler``)."""

    def __init__(self, weights: Weights, config: SamplerConfig):
        """Check the weights; nothing is compiled yet."""
        self._objective, self._config = build_objective(weights.config, weights.statistics), config
        self._layout = build_layout(self._objective)
        self._vector = self._layout.from_arrays(weights.arrays)
        self._buckets = sorted(weights.statistics.buckets)

    def __call__(self, sizes: npt.NDArray[np.int32], *, progress: Progress) -> Samples:
        """Sample one molecule for each of ``sizes`` [M]; molecule i depends only on the seed, i and its size."""
        sampler = Sampler(self._objective, self._layout, self._config, widest=self._buckets[-1])
        return sampler(self._vector, sizes, buckets=self._buckets, progress=progress)

    def trajectory(self, size: int, *, frames: int) -> tuple[Molecules, npt.NDArray[np.float32]]:
        """Return one molecule on its way from noise as up to ``frames`` molecules, and their noise levels."""
        sampler = Sampler(self._objective, self._layout, self._config, widest=self._buckets[-1], batch=1)
        return sampler.trajectory(self._vector, size, frames=frames)
