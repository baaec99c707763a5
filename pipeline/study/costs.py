"""What a job of a run asks of a machine: minutes and memory, from the size of its network and the number of steps.

Rough on purpose, and on the safe side: a cluster ends a job that asked for too little, and keeps one waiting that asked
for too much. Another attempt asks for more, and a training that ran out of time goes on where it was.
"""

import math
from collections.abc import Sequence
from typing import Final

from pipeline.study.config import ModelConfig, RunConfig, SamplerConfig
from pipeline.study.operations import forward_operations

CORE_OPERATIONS: Final = 20e9
"""Operations a second of one core: half of what was measured (41 to 65 in training, docs/capacity.md)."""

GPU_OPERATIONS: Final = 1e12
"""The same of one GPU: not measured; a twentieth of the float32 peak of one of 2020."""

START_MINUTES: Final = 10
"""For reading a Python environment from a shared disk, compiling, and the molecules that a training is watched with."""

BASE_MEGABYTES: Final = 2000
"""Python, JAX or PyTorch, compilation and QM9."""

GPU_MEGABYTES: Final = 6000
"""The same with a GPU, whose libraries and buffers have a share in the machine's memory."""

CHUNK: Final = 4
"""Molecules that a core works on at a time (``pipeline.jax_backend.parallel``)."""

COPIES_OF_AN_EDGE: Final = 12
"""Arrays of the size of a layer's edge features that a gradient keeps."""

COPIES_OF_THE_WEIGHTS: Final = 6
"""Weights, their average, two moments, a checkpoint and a gradient; each core has one gradient more."""

GUESSED_BUCKETS: Final = (64,)
"""Where buckets are found later, from the data: a guess on the large side (the mean of GEOM-Drugs is 44)."""

# Network calls of a training step, forward 1 and backward 2: a run may also call its network for the target, and its
# teacher twice (Heun).
_STEP_CALLS: Final = {"edm": 3, "denoiser": 3, "consistency": 4, "distillation": 6}


def training_minutes(run: RunConfig, buckets: Sequence[int] | None, *, cpus: int, gpus: int, tasks: int = 1) -> int:
    """Return the minutes that a training needs at most.

    Args:
      run: the run.
      buckets: sizes in atoms that molecules are padded to; None stands for ``GUESSED_BUCKETS``.
      cpus: cores of each process.
      gpus: GPUs of each process; 0 trains on the cores.
      tasks: processes.
    """
    distils = run.objective == "consistency" and run.consistency.kind == "distillation"
    calls = _STEP_CALLS["distillation" if distils else run.objective]
    molecules = run.training.steps * run.training.batch_size
    return _minutes(molecules * calls * _mean_operations(run.model, buckets), cpus=cpus, gpus=gpus, tasks=tasks)


def sampling_minutes(
    run: RunConfig, sampler: SamplerConfig, buckets: Sequence[int] | None, *, cpus: int, gpus: int, shards: int = 1
) -> int:
    """Return the minutes that one of ``shards`` equal parts of the samples needs at most."""
    # Heun calls the network twice a step, ancestral sampling once more at the end.
    calls = {"heun": 2 * sampler.steps, "ancestral": sampler.steps + 1}.get(sampler.kind, sampler.steps)
    molecules = math.ceil(sampler.num / shards)
    return _minutes(molecules * calls * _mean_operations(run.model, buckets), cpus=cpus, gpus=gpus, tasks=1)


def memory_megabytes(run: RunConfig, buckets: Sequence[int] | None, *, cpus: int, gpus: int, tasks: int = 1) -> int:
    """Return the megabytes of memory that ``tasks`` processes of a job of this run need at most on one machine."""
    if gpus:
        return GPU_MEGABYTES * gpus * tasks
    model, edge = run.model, 4 * max(buckets or GUESSED_BUCKETS) ** 2 * run.model.edge_hidden
    temporaries = cpus * CHUNK * model.layers * COPIES_OF_AN_EDGE * edge
    copies = COPIES_OF_THE_WEIGHTS + cpus
    return tasks * (BASE_MEGABYTES + math.ceil((temporaries + copies * 4 * parameters(model)) / 1e6))


def parameters(model: ModelConfig) -> int:
    """Return about how many parameters a network has."""
    hidden, edges = model.hidden, model.edge_hidden
    edge_network = (2 * hidden + 2) * edges + edges * edges
    return model.layers * (2 * edge_network + (hidden + edges) * hidden + hidden * hidden)


def _mean_operations(model: ModelConfig, buckets: Sequence[int] | None) -> float:
    """Return the operations of a network call on a molecule, were every bucket equally full."""
    widths = buckets or GUESSED_BUCKETS
    return sum(forward_operations(model, width) for width in widths) / len(widths)


def _minutes(operations: float, *, cpus: int, gpus: int, tasks: int) -> int:
    rate = tasks * (gpus * GPU_OPERATIONS if gpus else cpus * CORE_OPERATIONS)
    return START_MINUTES + math.ceil(operations / rate / 60)
