"""Which framework a stage runs on: the one that is named, and no other, is imported."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from pipeline.core.errors import InputError
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


def add_backend(parser: argparse.ArgumentParser, *, override: bool) -> None:
    """Add the options that ``load_backend`` takes; ``--backend`` only where the run's own can be overridden."""
    if override:
        parser.add_argument("--backend", choices=BACKENDS, default=None, help="instead of the one it was trained on")
    parser.add_argument("--devices", type=int, default=None, help="CPU cores to use; default: all")
    parser.add_argument(
        "--compile", action="store_true", help="backend torch: torch.compile the network (JAX always compiles)"
    )


def load_backend(name: str, args: argparse.Namespace) -> Backend:
    """Set up the framework ``name`` for this process, as the options of ``add_backend`` say.

    Raises:
      InputError: the framework is not installed; an option does not fit it.
    """
    if name == "torch":
        check_framework("torch", "the backend torch")
        from pipeline.torch_backend.backend import TorchBackend

        return TorchBackend(cores=args.devices, compile=args.compile)
    if args.compile:
        raise InputError("--compile is for the backend torch; JAX always compiles")
    from pipeline.jax_backend.backend import JaxBackend

    return JaxBackend(cores=args.devices)
