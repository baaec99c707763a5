"""Results of a benchmark as the stage writes them, without measuring anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pipeline.benchmark.contest import Outcome, Turn
from pipeline.benchmark.contestants import CONTESTANTS, reference_settings
from pipeline.benchmark.sections import median, summarise
from pipeline.benchmark.study import VERSION
from pipeline.benchmark.tasks import Task
from pipeline.core.files import write_json
from pipeline.data.statistics import Statistics

if TYPE_CHECKING:
    from tests.unit.conftest import Data

RATES = {
    "edm": 100.0,
    "torch": 210.0,
    "torch-compiled": 260.0,
    "jax-naive": 55.0,
    "jax-factored": 97.0,
    "jax-buckets": 240.0,
    "jax-gradient": 330.0,
    "jax": 534.0,
}
"""Molecules a second of each contestant."""


def outcome(name: str, seconds: Sequence[float], *, molecules: int = 64, failed: str | None = None) -> Outcome:
    """Return what a contestant would have done that took ``seconds`` a unit in each repetition."""
    task = Task(name, "train", 2, reference_settings(hidden=64, layers=5, batch_size=64), "statistics.json")
    turns = [
        Turn({"all": [value]}, {"all": [18]}, compilations=0, resident_mb=500.0, peak_mb=600.0 + place, load=1.0)
        for place, value in enumerate(seconds)
    ]
    return Outcome(task, failed, 5.0, 10.0, 300.0, {"all": 1.0}, molecules, [] if failed else turns)


def measured(names: Sequence[str], *, slower: float = 1.0, failed: Sequence[str] = ()) -> dict[str, Any]:
    """Return the summary of some contestants, with a little noise."""
    generator = np.random.default_rng(0)
    outcomes = {
        name: outcome(
            name,
            (64 * slower / RATES[name] * generator.normal(1.0, 0.03, 5)).tolist(),
            failed="RuntimeError: no memory" if name in failed else None,
        )
        for name in names
    }
    return summarise(outcomes)


def network(hidden: int, layers: int, contestants: Mapping[str, Any]) -> dict[str, Any]:
    """Return a network of the part ``training``."""
    for one in contestants.values():
        if "failed" not in one:
            one["operations"] = 3e10
            one["operations_per_second"] = median([3e10 / seconds for seconds in one["seconds"]])
    return {"hidden": hidden, "layers": layers, "needed_operations": 1e10, "contestants": contestants}


@pytest.fixture(scope="session")
def statistics(data: Data) -> Statistics:
    """Return the statistics of the 64 molecules."""
    return data.read()[1]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Return a folder with all parts; one contestant failed, one network is small and one is large."""
    few = ["edm", "jax"]
    scaling = {
        axis: {
            "fixed": {key: 18 for key in ("atoms", "batch_size", "cores") if key != axis},
            "points": [
                {axis: value, "contestants": measured(few, slower=factor)}
                for value, factor in zip(*points, strict=True)
            ],
        }
        for axis, points in {
            "atoms": ((9, 18, 29, 61, 121, 181), (0.3, 1.0, 2.5, 11.0, 44.0, 100.0)),
            "batch_size": ((8, 32, 128), (1.2, 1.1, 1.0)),
            "cores": ((1, 2), (1.9, 1.0)),
        }.items()
    }
    networks = {
        "small": network(64, 5, measured(list(CONTESTANTS), failed=["torch-compiled"])),
        "large": network(256, 9, measured(few, slower=21.0)),
    }
    trained = measured(["torch", "jax"])
    for one in trained.values():
        one["stable_molecules_per_second"] = {key: 0.1 * value for key, value in one["molecules_per_second"].items()}
    sampling = {
        "hidden": 64, "layers": 5, "calls": 10, "all_steps": 1000, "contestants": measured(["edm", "torch", "jax"]),
        "trained": {"run": "edm", "sampler": "heun-50", "calls": 49, "contestants": trained},
    }  # fmt: skip
    parts = {
        "machine": {
            "version": VERSION,
            "machine": {
                "processor": "A processor", "cores": 2, "cores_of_machine": 2, "memory_gb": 23.5, "date": "2026-11-22",
            },
            "load_average": [0.5, 2.1, 1.9],
            "settings": {},
        },
        "peak": {
            "rows": 2048, "operations_per_second": {"torch": 3e11, "jax": 4e11}, "gpus": {"torch": None, "jax": None},
        },
        "training": {"batch_size": 64, "reference": "edm", "networks": networks},
        "sampling": sampling,
        "scaling": {"hidden": 64, "layers": 5, "reference": "edm", "axes": scaling},
        "startup": {"hidden": 64, "layers": 5, "contestants": {"jax": {"label": "JAX", "cold": 30.0, "warm": 8.0}}},
    }  # fmt: skip
    for name, part in parts.items():
        write_json(tmp_path / f"{name}.json", part)
    return tmp_path
