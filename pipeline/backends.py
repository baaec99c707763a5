"""Which framework a stage runs on: the one that is named, and no other, is imported."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from pipeline.chemistry.molecules import Molecules
from pipeline.core.cores import available_cores
from pipeline.core.errors import InputError
from pipeline.core.progress import Progress
from pipeline.data.shards import Shard
from pipeline.diffusion.likelihood import Bound
from pipeline.sampling.sampler import MoleculeSampler
from pipeline.study.config import SamplerConfig
from pipeline.study.frameworks import check_framework
from pipeline.training.loop import Trained, TrainingRun
from pipeline.training.run_folder import Weights


class Backend(Protocol):
    """What the stages ask of a framework."""

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages whose versions belong to a result's provenance."""

    @property
    def gpu(self) -> str | None:
        """Name of the GPU that it computes on; None for the CPU."""

    def train(self, run: TrainingRun) -> Trained:
        """Train a run, from its newest sound checkpoint where there is one.

        Raises:
          Interrupted: ``run.stop`` asked for it.
          InputError: there is nothing to train on; the loss is not finite.
        """

    def sampler(self, weights: Weights, config: SamplerConfig) -> MoleculeSampler:
        """Return a sampler of a run that either backend has trained."""

    def predict(self, weights: Weights, molecules: Molecules, *, progress: Progress) -> npt.NDArray[np.float64]:
        """Return the properties of molecules that a property regressor predicts, in the units of the data, [M, P]."""

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
    if cores is not None and cores < 1:
        raise InputError(f"--devices {cores} should be at least 1")
    cores = cores or available_cores()
    if name == "torch":
        check_framework("torch", "the backend torch")
        from pipeline.torch_backend.backend import TorchBackend

        return TorchBackend(cores=cores)
    from pipeline.jax_backend.backend import JaxBackend

    return JaxBackend(cores=cores)
