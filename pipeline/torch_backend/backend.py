"""The PyTorch backend as the command lines see it (``pipeline.cli.backends``)."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.chemistry.molecules import Molecules
from pipeline.config import RunConfig, SamplerConfig
from pipeline.data.shards import Shard
from pipeline.data.statistics import Statistics
from pipeline.likelihood import Bound
from pipeline.progress import Progress
from pipeline.runs import Weights
from pipeline.sampling import Samples
from pipeline.torch_backend.build import load_objective
from pipeline.torch_backend.likelihood import variational_bound
from pipeline.torch_backend.parallel import Workers
from pipeline.torch_backend.runtime import Machine, start
from pipeline.torch_backend.sample import Sampler
from pipeline.torch_backend.train import train
from pipeline.training import Trained


class TorchBackend:
    """Training, sampling and likelihood in PyTorch."""

    packages = ("torch",)

    def __init__(self, *, cores: int | None, compile: bool):
        """Set PyTorch up for this process, see ``pipeline.torch_backend.runtime.start``."""
        self._machine = start(cores=cores, compile=compile)

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
        """Train a run, see ``pipeline.torch_backend.train.train``."""
        return train(
            config,
            config_digest=config_digest,
            shards=shards,
            statistics=statistics,
            directory=directory,
            log=log,
            stop=stop,
            machine=self._machine,
        )

    def sampler(self, weights: Weights, config: SamplerConfig) -> "RunSampler":
        """Return a sampler of a trained run."""
        return RunSampler(weights, config, self._machine)

    def bound(self, weights: Weights, shards: list[Shard], *, seed: int, progress: Progress) -> Bound:
        """Return the bound on the negative log-likelihood of molecules under a run."""
        objective = load_objective(weights).to(self._machine.device)
        workers = Workers(self._machine)
        return variational_bound(objective, workers, shards, weights.statistics, seed=seed, progress=progress)


class RunSampler:
    """A sampler of a trained run (``pipeline.sampling.MoleculeSampler``)."""

    def __init__(self, weights: Weights, config: SamplerConfig, machine: Machine):
        """Put the run's network on the machine."""
        self._buckets = sorted(weights.statistics.buckets)
        objective = load_objective(weights).to(machine.device)
        if machine.compile:
            objective.model.compile_layers()
        self._sampler = Sampler(objective, config, Workers(machine), widest=self._buckets[-1])

    def __call__(self, sizes: npt.NDArray[np.int32], *, progress: Progress) -> Samples:
        """Sample one molecule for each of ``sizes`` [M]; molecule i depends only on the seed, i and its size."""
        return self._sampler(sizes, buckets=self._buckets, progress=progress)

    def trajectory(self, size: int, *, frames: int) -> tuple[Molecules, npt.NDArray[np.float32]]:
        """Return one molecule on its way from noise as up to ``frames`` molecules, and their noise levels."""
        return self._sampler.trajectory(size, frames=frames)
