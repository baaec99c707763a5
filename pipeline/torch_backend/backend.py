"""The PyTorch backend as the command lines see it (``pipeline.backends``)."""

from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.core.progress import Progress
from pipeline.data.shards import Shard
from pipeline.data.statistics import Statistics
from pipeline.diffusion.likelihood import Bound
from pipeline.study.config import RunConfig, SamplerConfig
from pipeline.torch_backend.build import load_edm, load_objective
from pipeline.torch_backend.likelihood import variational_bound
from pipeline.torch_backend.parallel import Workers
from pipeline.torch_backend.runtime import start
from pipeline.torch_backend.sample import RunSampler
from pipeline.torch_backend.train import train
from pipeline.training.loop import Trained
from pipeline.training.run_folder import Starts, Weights


class TorchBackend:
    """Training, sampling and likelihood in PyTorch."""

    packages = ("torch",)

    def __init__(self, *, cores: int | None):
        """Set PyTorch up for this process, see ``pipeline.torch_backend.runtime.start``."""
        self._machine = start(cores=cores)

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
        """Train a run, see ``pipeline.torch_backend.train.train``."""
        return train(
            config,
            config_digest=config_digest,
            shards=shards,
            statistics=statistics,
            starts=starts,
            directory=directory,
            log=log,
            stop=stop,
            machine=self._machine,
        )

    def sampler(self, weights: Weights, config: SamplerConfig) -> RunSampler:
        """Return a sampler of a trained run."""
        objective = load_objective(weights).to(self._machine.device)
        if self._machine.compile:
            objective.model.compile_layers()
        buckets = sorted(weights.statistics.buckets)
        return RunSampler(weights.config, objective, config, Workers(self._machine), buckets=buckets)

    def bound(self, weights: Weights, shards: list[Shard], *, seed: int, progress: Progress) -> Bound:
        """Return the bound on the negative log-likelihood of molecules under a run."""
        objective = load_edm(weights).to(self._machine.device)
        workers = Workers(self._machine)
        return variational_bound(objective, workers, shards, weights.statistics, seed=seed, progress=progress)
