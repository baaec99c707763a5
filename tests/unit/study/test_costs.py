"""What jobs ask for, against what was measured (docs/capacity.md) and against itself."""

from collections.abc import Callable
from typing import Any

import pytest

from pipeline.study.config import RunConfig, sampler_config
from pipeline.study.costs import START_MINUTES, memory_megabytes, sampling_minutes, training_minutes

QM9 = [15, 17, 18, 19, 20, 21, 29]

# Molecules/s of training on two cores and megabytes at most, batch 64, by hidden features and layers.
MEASURED = {(64, 5): (806, 1071), (128, 6): (248, 1278), (256, 9): (45.8, 2158)}

Make = Callable[..., RunConfig]


@pytest.fixture
def make(make_config: Make) -> Make:
    """Return a maker of runs of half a million steps."""

    def run(hidden: int = 64, layers: int = 5, **other: Any) -> RunConfig:
        training = {"steps": 500_000, "batch_size": 64, **other.pop("training", {})}
        return make_config(model={"hidden": hidden, "layers": layers}, training=training, **other)

    return run


@pytest.mark.parametrize(("hidden", "layers"), MEASURED)
def test_estimates_cover_what_was_measured_and_not_many_times_over(make: Make, hidden: int, layers: int) -> None:
    rate, megabytes = MEASURED[hidden, layers]
    run = make(hidden, layers)
    minutes = 500_000 * 64 / rate / 60
    assert minutes < training_minutes(run, QM9, cpus=2, gpus=0) < 6 * minutes
    assert megabytes < memory_megabytes(run, QM9, cpus=2, gpus=0) < 3 * megabytes


def test_time_falls_with_what_a_job_is_given(make: Make) -> None:
    run = make()

    def beyond_start(**given: int) -> int:
        return training_minutes(run, QM9, **{"cpus": 1, "gpus": 0} | given) - START_MINUTES

    assert beyond_start(cpus=4) == pytest.approx(beyond_start() / 4, abs=1)
    assert beyond_start(tasks=2) == pytest.approx(beyond_start() / 2, abs=1)
    assert beyond_start(gpus=1) < beyond_start(cpus=16)
    # With a GPU, its cores count for nothing.
    assert beyond_start(gpus=1, cpus=16) == beyond_start(gpus=1)


def test_an_objective_that_asks_more_networks_takes_longer(make: Make) -> None:
    edm = make()
    consistency = edm.model_copy(update={"objective": "consistency"})
    kind = edm.consistency.model_copy(update={"kind": "distillation"})
    distillation = consistency.model_copy(update={"consistency": kind})
    times = [training_minutes(run, QM9, cpus=4, gpus=0) for run in (edm, consistency, distillation)]
    assert times == sorted(set(times))


def test_samplers_ask_by_their_network_calls(make: Make) -> None:
    def minutes(kind: str, steps: int, **keywords: int) -> int:
        sampler = sampler_config({"name": "one", "kind": kind, "steps": steps, "num": 1_000_000})
        return sampling_minutes(make(), sampler, QM9, cpus=2, gpus=0, **keywords) - START_MINUTES

    assert minutes("heun", 50) == minutes("ddim", 100)
    assert minutes("ancestral", 99) == minutes("ddim", 100)
    assert minutes("ddim", 100, shards=8) == pytest.approx(minutes("ddim", 100) / 8, abs=1)


def test_memory_grows_with_cores_tasks_and_molecules(make: Make) -> None:
    run = make(256, 9)
    one = memory_megabytes(run, QM9, cpus=2, gpus=0)
    assert one < memory_megabytes(run, QM9, cpus=8, gpus=0)
    assert one < memory_megabytes(run, [60], cpus=2, gpus=0)
    assert memory_megabytes(run, QM9, cpus=2, gpus=0, tasks=3) == 3 * one
    # What a GPU works on is in its own memory.
    on_gpu = memory_megabytes(run, QM9, cpus=2, gpus=1)
    assert memory_megabytes(run, [60], cpus=2, gpus=1) == on_gpu
    # Its cores prepare batches, up to sixteen.
    assert memory_megabytes(run, QM9, cpus=8, gpus=1) > on_gpu
    assert memory_megabytes(run, QM9, cpus=16, gpus=1) == memory_megabytes(run, QM9, cpus=64, gpus=1)
