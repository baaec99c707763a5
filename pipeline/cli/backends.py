"""Which framework a stage runs on: the one that is named, and no other, is imported."""

import argparse
from importlib.util import find_spec
from typing import Final, Protocol

from pipeline.core.errors import InputError
from pipeline.core.progress import Progress
from pipeline.data.shards import Shard
from pipeline.diffusion.likelihood import Bound
from pipeline.sampling.sampler import MoleculeSampler
from pipeline.study.config import SamplerConfig
from pipeline.training.loop import Trained, TrainingRun
from pipeline.training.run_folder import Weights

BACKENDS: Final = ("jax", "torch")


class Backend(Protocol):
    """What the stages ask of a framework."""

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages whose versions belong to a result's provenance."""

    def train(self, run: TrainingRun) -> Trained:
        """Train a run, from its newest sound checkpoint where there is one.

        Raises:
          Interrupted: ``run.stop`` asked for it.
          InputError: there is nothing to train on; the loss is not finite.
        """

    def sampler(self, weights: Weights, config: SamplerConfig) -> MoleculeSampler:
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
        if not find_spec("torch"):
            raise InputError(
                "the backend torch needs PyTorch, which is not installed: make torch, or "
                "pip install -r requirements/torch.txt"
            )
        from pipeline.torch_backend.backend import TorchBackend

        return TorchBackend(cores=args.devices, compile=args.compile)
    if args.compile:
        raise InputError("--compile is for the backend torch; JAX always compiles")
    from pipeline.jax_backend.backend import JaxBackend

    return JaxBackend(cores=args.devices)
