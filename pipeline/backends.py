"""Which framework a stage runs on: the one that is named, and no other, is imported."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from pipeline.core.progress import Progress
from pipeline.data.shards import Shard
from pipeline.data.statistics import Statistics
from pipeline.diffusion.likelihood import Bound
from pipeline.sampling.few_step import RunSampler
from pipeline.study.config import RunConfig, SamplerConfig
from pipeline.study.frameworks import check_framework
from pipeline.training.loop import Trained
from pipeline.training.run_folder import Starts, Weights

BACKENDS: Final = ("jax", "torch")


class Backend(Protocol):
    """What the stages ask of a framework."""

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages whose versions belong to a result's provenance."""

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
        """Train a run, from its newest sound checkpoint where there is one.

        Args:
          config: of the run.
          config_digest: of the run and its data; checkpoints of another one are refused.
          shards: of the splits ``train`` and ``validation``.
          statistics: of the data.
          starts: weights of other runs to start and to learn from.
          directory: for the checkpoints and the growing log; survives a kill.
          log: receives the progress.
          stop: asked after every step; True saves and raises.

        Raises:
          Interrupted: ``stop`` asked for it.
          InputError: there is nothing to train on; the loss is not finite.
        """

    def sampler(self, weights: Weights, config: SamplerConfig) -> RunSampler:
        """Return a sampler of a run that either backend has trained."""

    def bound(self, weights: Weights, shards: list[Shard], *, seed: int, progress: Progress) -> Bound:
        """Return the bound on the negative log-likelihood of molecules under a run."""


def load_backend(name: str, *, cores: int | None = None) -> Backend:
    """Set up the framework ``name`` for this process.

    Args:
      name: jax or torch.
      cores: CPU cores to use; None for all.

    Raises:
      InputError: the framework is not installed; ``cores`` is not positive.
    """
    if name == "torch":
        check_framework("torch", "the backend torch")
        from pipeline.torch_backend.backend import TorchBackend

        return TorchBackend(cores=cores)
    from pipeline.jax_backend.backend import JaxBackend

    return JaxBackend(cores=cores)
