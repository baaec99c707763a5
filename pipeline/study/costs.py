"""Time and memory that the jobs of a run request, from the size of its network and the number of steps.

Rough estimates on the safe side: a cluster kills a job that requested too little, and a job that requests too much only
waits longer. Each further attempt requests more, and training that ran out of time resumes.
"""

import math
from collections.abc import Sequence
from typing import Final

from pipeline.study.config import ModelConfig, RunConfig, SamplerConfig
from pipeline.study.operations import RADIAL_FEATURES, forward_operations

CORE_OPERATIONS: Final = 20e9
"""Operations per second of one core: half of the measured rate (41 to 65 GFLOP/s in training, docs/capacity.md)."""

GPU_OPERATIONS: Final = 1e12
"""Operations per second of one GPU, on the safe side: trainings on an H200 and an H100 ran at 8 to 16 TFLOP/s with
bfloat16 products (docs/capacity.md)."""

START_MINUTES: Final = 10
"""Loading Python from a shared disk, compilation, and the samples that are scored during training."""

BASE_MEGABYTES: Final = 2000
"""Python, JAX or PyTorch, compilation and QM9."""

GPU_MEGABYTES: Final = 6000
"""The same with a GPU, whose libraries and buffers also take host memory."""

MAX_WORKERS: Final = 16
"""Processes that prepare batches beside a GPU, at most (``pipeline.training.feeding``)."""

WORKER_MEGABYTES: Final = 350
"""Of each of them; 320 measured."""

CHUNK: Final = 4
"""Molecules that a core processes at a time (``pipeline.jax_backend.parallel``)."""

COPIES_OF_AN_EDGE: Final = 12
"""Arrays of the size of a layer's edge features that are kept for the gradient."""

COPIES_OF_THE_WEIGHTS: Final = 6
"""Weights, their average, two moments, a checkpoint and a gradient; each core adds a gradient."""

ASSUMED_BUCKETS: Final = (64,)
"""Used where the buckets are not known before the data are read; large on purpose (the mean of GEOM-Drugs is 44)."""

# Cost of a training step in network calls: 1 forward and 2 backward; a consistency model also calls its network for the
# target, or in distillation its teacher at every level of the path.
_STEP_CALLS: Final = {"edm": 3, "denoiser": 3, "consistency": 4, "property": 3}


def training_minutes(run: RunConfig, buckets: Sequence[int] | None, *, cpus: int, gpus: int, tasks: int = 1) -> int:
    """Return an upper estimate of the training time of a run in minutes.

    Args:
      run: the run.
      buckets: sizes in atoms that molecules are padded to; None for ``ASSUMED_BUCKETS``.
      cpus: cores of each process.
      gpus: GPUs of each process; 0 trains on the cores.
      tasks: processes.
    """
    calls = _STEP_CALLS[run.objective]
    if run.distils:
        calls += len(run.consistency.path) - 1
    molecules = run.training.steps * run.training.batch_size
    return _minutes(molecules * calls * _mean_operations(run.model, buckets), cpus=cpus, gpus=gpus, tasks=tasks)


def sampling_minutes(
    run: RunConfig, sampler: SamplerConfig, buckets: Sequence[int] | None, *, cpus: int, gpus: int, shards: int = 1
) -> int:
    """Return an upper estimate of the time in minutes for one of ``shards`` equal parts of the samples."""
    # Heun calls the network twice a step, ancestral sampling once more at the end.
    calls = {"heun": 2 * sampler.steps, "ancestral": sampler.steps + 1}.get(sampler.kind, sampler.steps)
    calls *= 2 if sampler.guidance else 1
    molecules = math.ceil(sampler.num / shards)
    return _minutes(molecules * calls * _mean_operations(run.model, buckets), cpus=cpus, gpus=gpus, tasks=1)


def memory_megabytes(run: RunConfig, buckets: Sequence[int] | None, *, cpus: int, gpus: int, tasks: int = 1) -> int:
    """Return an upper estimate of the memory in MB that ``tasks`` processes of a job need on one machine."""
    if gpus:
        return (GPU_MEGABYTES * gpus + WORKER_MEGABYTES * min(cpus, MAX_WORKERS)) * tasks
    model, edge = run.model, 4 * max(buckets or ASSUMED_BUCKETS) ** 2 * run.model.edge_hidden
    temporaries = cpus * CHUNK * model.layers * COPIES_OF_AN_EDGE * edge
    copies = COPIES_OF_THE_WEIGHTS + cpus
    return tasks * (BASE_MEGABYTES + math.ceil((temporaries + copies * 4 * parameters(model)) / 1e6))


def parameters(model: ModelConfig) -> int:
    """Return the approximate number of parameters of a network."""
    hidden, edges = model.hidden, model.edge_hidden
    edge_network = (2 * hidden + RADIAL_FEATURES[model.radial_features]) * edges + edges * edges
    return model.layers * (2 * edge_network + (hidden + edges) * hidden + hidden * hidden)


def _mean_operations(model: ModelConfig, buckets: Sequence[int] | None) -> float:
    """Return the mean operations of a network call on one molecule, for equally full buckets."""
    widths = buckets or ASSUMED_BUCKETS
    return sum(forward_operations(model, width) for width in widths) / len(widths)


def _minutes(operations: float, *, cpus: int, gpus: int, tasks: int) -> int:
    rate = tasks * (gpus * GPU_OPERATIONS if gpus else cpus * CORE_OPERATIONS)
    return START_MINUTES + math.ceil(operations / rate / 60)
