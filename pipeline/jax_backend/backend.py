"""The JAX backend as the command lines see it (``pipeline.backends``)."""

import numpy as np
import numpy.typing as npt

from pipeline.chemistry.molecules import Molecules
from pipeline.core.progress import Progress
from pipeline.data.shards import Shard
from pipeline.diffusion.likelihood import Bound
from pipeline.jax_backend.build import build_edm, build_generative, build_layout, build_regressor
from pipeline.jax_backend.likelihood import variational_bound
from pipeline.jax_backend.regressor import predictor
from pipeline.jax_backend.runtime import gpu_name, start
from pipeline.jax_backend.sample import JaxSampler
from pipeline.jax_backend.train import train
from pipeline.sampling.prediction import BATCH, predict_in_batches
from pipeline.study.config import SamplerConfig
from pipeline.training.loop import Trained, TrainingRun
from pipeline.training.run_folder import Weights


class JaxBackend:
    """Training, sampling and likelihood in JAX."""

    packages = ("jax", "flax", "optax")

    def __init__(self, *, cores: int):
        """Set JAX up for this process, see ``pipeline.jax_backend.runtime.start``."""
        start(cores=cores)
        self._cores = cores

    @property
    def gpu(self) -> str | None:
        """Name of the GPU that it computes on; None for the CPU. Ask only after ``join``."""
        return gpu_name()

    def train(self, run: TrainingRun) -> Trained:
        """Train a run, see ``pipeline.jax_backend.train.train``."""
        return train(run, cores=self._cores)

    def sampler(self, weights: Weights, config: SamplerConfig) -> JaxSampler:
        """Return a sampler of a trained run."""
        layout = build_layout(build_generative(weights.config, weights.statistics))
        return JaxSampler(weights.config, weights.statistics, config, layout.from_arrays(weights.arrays))

    def predict(self, weights: Weights, molecules: Molecules, *, progress: Progress) -> npt.NDArray[np.float64]:
        """Return the properties of molecules that a property regressor predicts, in the units of the data, [M, P]."""
        regressor = build_regressor(weights.config, weights.statistics)
        layout = build_layout(regressor)
        predict = predictor(regressor, layout, layout.from_arrays(weights.arrays), batch=BATCH)
        assert weights.properties is not None
        buckets = weights.statistics.buckets
        return predict_in_batches(predict, weights.properties, molecules, buckets=buckets, progress=progress)

    def bound(self, weights: Weights, shards: list[Shard], *, seed: int, progress: Progress) -> Bound:
        """Return the bound on the negative log-likelihood of molecules under a run."""
        objective = build_edm(weights.config, weights.statistics)
        layout = build_layout(objective)
        vector = layout.from_arrays(weights.arrays)
        return variational_bound(objective, layout, vector, shards, weights.statistics, seed=seed, progress=progress)
