"""The JAX backend as the command lines see it (``pipeline.backends``)."""

from pipeline.core.progress import Progress
from pipeline.data.shards import Shard
from pipeline.diffusion.likelihood import Bound
from pipeline.jax_backend.build import build_edm, build_layout, build_objective
from pipeline.jax_backend.likelihood import variational_bound
from pipeline.jax_backend.runtime import start
from pipeline.jax_backend.sample import JaxSampler
from pipeline.jax_backend.train import train
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

    def train(self, run: TrainingRun) -> Trained:
        """Train a run, see ``pipeline.jax_backend.train.train``."""
        return train(run, cores=self._cores)

    def sampler(self, weights: Weights, config: SamplerConfig) -> JaxSampler:
        """Return a sampler of a trained run."""
        layout = build_layout(build_objective(weights.config, weights.statistics))
        return JaxSampler(weights.config, weights.statistics, config, layout.from_arrays(weights.arrays))

    def bound(self, weights: Weights, shards: list[Shard], *, seed: int, progress: Progress) -> Bound:
        """Return the bound on the negative log-likelihood of molecules under a run."""
        objective = build_edm(weights.config, weights.statistics)
        layout = build_layout(objective)
        vector = layout.from_arrays(weights.arrays)
        return variational_bound(objective, layout, vector, shards, weights.statistics, seed=seed, progress=progress)
