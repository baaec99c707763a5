"""Tasks of the JAX backend and of the steps of its ablation."""

import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp

from pipeline.benchmark.contestants import CONTESTANTS
from pipeline.benchmark.jax_ladder import PlainTraining
from pipeline.benchmark.subjects import (
    Framework,
    Subject,
    backend_training,
    bucketed_training,
    multiplying,
    random_training,
    sampling,
)
from pipeline.benchmark.tasks import Task
from pipeline.chemistry.molecules import Molecules
from pipeline.data.batches import Batch, PaddedMolecules
from pipeline.data.statistics import read_statistics
from pipeline.jax_backend import runtime
from pipeline.jax_backend.build import build_layout, build_objective, build_weights
from pipeline.jax_backend.products import matmul
from pipeline.jax_backend.sample import JaxSampler
from pipeline.jax_backend.train import JaxTrainer
from pipeline.sampling.molecule_batches import draw_sizes
from pipeline.study.config import run_config, sampler_config
from pipeline.training.loop import TrainingRun

COMPILED = "/jax/core/compile/backend_compile_duration"
"""JAX's event for a program that is compiled, or loaded from the cache on disk."""


def prepare(task: Task) -> Framework:
    """Set up JAX for a task."""
    # Only the backend as users run it uses every core as a device; the others leave the cores to XLA.
    runtime.start(cores=task.cores if CONTESTANTS[task.contestant].is_backend and task.work != "multiply" else 1)
    compiled: list[str] = []

    def note(event: str, duration_secs: float, **details: str | int) -> None:
        compiled.extend([event] if event == COMPILED else [])

    jax.monitoring.register_event_duration_secs_listener(note)
    make = {"multiply": _multiplying, "sample": _sampling, "train": _training}
    return Framework(lambda task: make[task.work](task), lambda: len(compiled), _gpu_peak_mb, runtime.gpu_name())


def _gpu_peak_mb() -> float:
    stats = jax.local_devices()[0].memory_stats() or {}  # none of a CPU
    return float(stats.get("peak_bytes_in_use", 0) / 2**20)


def _training(task: Task) -> Subject:
    config, statistics, shards = run_config(task.run), read_statistics(task.statistics), task.training_shards()
    contestant = CONTESTANTS[task.contestant]
    if contestant.is_backend:
        # The directory is for checkpoints, which are never written.
        with tempfile.TemporaryDirectory() as directory:
            trainer = JaxTrainer(TrainingRun(config, "", {"train": shards}, statistics, Path(directory)))
        return backend_training(trainer, config, shards, statistics)
    plain = PlainTraining(task.contestant, config, statistics)
    if not contestant.bucketed:
        return random_training(plain.step, shards, config, trim=False)
    shard_of_bucket = {shard.bucket: shard for shard in shards}

    def step(batch: Batch) -> float:
        return plain.step(PaddedMolecules.of(shard_of_bucket[batch.bucket], batch.indices))

    return bucketed_training(step, shards, config)


def _sampling(task: Task) -> Subject:
    assert task.sampler is not None
    config, statistics, weights = task.trained()
    objective, sampler = build_objective(config, statistics), sampler_config(task.sampler)
    layout, key = build_layout(objective), jax.random.key(config.seed)
    vector = layout.from_arrays(weights.arrays) if weights else build_weights(objective, key)
    program = JaxSampler(config, statistics, sampler, vector)
    sizes = draw_sizes(statistics, task.molecules, sampler.seed)

    def draw() -> Molecules:
        return program(sizes).molecules

    return sampling(draw, molecules=task.molecules)


def _multiplying(task: Task) -> Subject:
    matrix = jax.random.normal(jax.random.key(0), (task.molecules, task.molecules), jnp.float32)
    # In the precision of the network's products: by default a GPU rounds to TF32.
    product = jax.jit(matmul)
    return multiplying(lambda: jax.block_until_ready(product(matrix, matrix)), rows=task.molecules)
