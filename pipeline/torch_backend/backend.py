"""The PyTorch backend as the command lines see it (``pipeline.backends``)."""

import numpy as np
import numpy.typing as npt

from pipeline.chemistry.molecules import Molecules
from pipeline.core.progress import Progress
from pipeline.data.shards import Shard
from pipeline.diffusion.likelihood import Bound
from pipeline.sampling.prediction import predict_in_batches
from pipeline.study.config import SamplerConfig
from pipeline.torch_backend.build import build_edm, build_generative, build_regressor, load
from pipeline.torch_backend.likelihood import variational_bound
from pipeline.torch_backend.parallel import Workers
from pipeline.torch_backend.regressor import predictor
from pipeline.torch_backend.runtime import start
from pipeline.torch_backend.sample import TorchSampler
from pipeline.torch_backend.train import train
from pipeline.training.loop import Trained, TrainingRun
from pipeline.training.run_folder import Weights


class TorchBackend:
    """Training, sampling and likelihood in PyTorch."""

    packages = ("torch",)

    def __init__(self, *, cores: int):
        """Set PyTorch up for this process, see ``pipeline.torch_backend.runtime.start``."""
        self._machine = start(cores=cores)
        self.gpu = self._machine.gpu

    def train(self, run: TrainingRun) -> Trained:
        """Train a run, see ``pipeline.torch_backend.train.train``."""
        return train(run, self._machine)

    def sampler(self, weights: Weights, config: SamplerConfig) -> TorchSampler:
        """Return a sampler of a trained run."""
        objective = load(build_generative, weights).to(self._machine.device)
        return TorchSampler(weights.config, weights.statistics, config, objective, Workers(self._machine))

    def predict(self, weights: Weights, molecules: Molecules, *, progress: Progress) -> npt.NDArray[np.float64]:
        """Return the properties of molecules that a property regressor predicts, in the units of the data, [M, P]."""
        regressor = load(build_regressor, weights).to(self._machine.device)
        predict, buckets = predictor(regressor, Workers(self._machine)), weights.statistics.buckets
        assert weights.properties is not None
        return predict_in_batches(predict, weights.properties, molecules, buckets=buckets, progress=progress)

    def bound(self, weights: Weights, shards: list[Shard], *, seed: int, progress: Progress) -> Bound:
        """Return the bound on the negative log-likelihood of molecules under a run."""
        objective = load(build_edm, weights).to(self._machine.device)
        workers = Workers(self._machine)
        return variational_bound(objective, workers, shards, weights.statistics, seed=seed, progress=progress)
