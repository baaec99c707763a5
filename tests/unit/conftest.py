from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.parse import main as parse
from pipeline.cli.shard import main as shard
from pipeline.data.shards import Shard, read_shards
from pipeline.data.statistics import Statistics, read_statistics
from pipeline.study.config import RunConfig, run_config
from pipeline.study.study import resolve_study, run_settings

SDF = Path(__file__).parents[1] / "data" / "molecules64.sdf"


@dataclass(frozen=True)
class Data:
    """The 64 molecules of the tests as the stages parse and shard write them."""

    shards: Path
    statistics: Path
    molecules: Path

    def read(self) -> tuple[dict[str, list[Shard]], Statistics]:
        """Return the shards by split, and the statistics."""
        splits = {split: read_shards(self.shards, split) for split in ("train", "validation", "test")}
        return splits, read_statistics(self.statistics)

    def arguments(self) -> list[str]:
        """Return the options of the stage train."""
        return [
            *("--shards", str(self.shards), "--statistics", str(self.statistics), "--molecules", str(self.molecules))
        ]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Two buckets, so that there are two programs to compile."""
    folder = tmp_path_factory.mktemp("data")
    found = Data(folder / "shards", folder / "statistics.json", folder / "all.parquet")
    molecules = ["--input", str(SDF), "--train", "48", "--validation", "8", "--output", str(found.molecules)]
    assert parse(["--source", "path", *molecules]) == 0
    outputs = ["--shards", str(found.shards), "--statistics", str(found.statistics)]
    assert shard(["--molecules", str(found.molecules), "--buckets", "18", "29", *outputs]) == 0
    return found


Settings = Callable[..., dict[str, Any]]


def settings(
    *,
    name: str = "tiny",
    model: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    **run: Any,
) -> Any:
    """Return what a run's config.json holds: a network that compiles in a moment, a training of a few steps.

    It may name the run ``denoiser`` as its init and the run ``tuned`` as its teacher.
    """
    default: dict[str, Any] = {
        "model": {"hidden": 8, "layers": 1} | dict(model or {}),
        "noise": {"steps": 50},
        "training": {
            "steps": 12,
            "batch_size": 8,
            "optimizer": {"warmup_steps": 2},
            "validation_interval": 100,
            "sample_interval": 0,
            "sample_count": 4,
            "checkpoint_seconds": 1000,
        }
        | dict(training or {}),
        "samplers": {"heun": {"kind": "heun", "steps": 3}},
    }
    few_steps = {"samplers": {"one": {"kind": "consistency"}}}
    tuned = default | few_steps | {"objective": "consistency", "init": "denoiser"}
    chosen = default | (few_steps if run.get("objective") == "consistency" else {}) | run
    study = {
        "data": {"name": "molecules64", "source": "path", "path": "molecules64.sdf"},
        "runs": {"denoiser": default | {"objective": "denoiser"}, "tuned": tuned, name: chosen},
    }
    return run_settings(resolve_study(study), name)


@pytest.fixture(scope="session")
def make_settings() -> Settings:
    """See ``settings``."""
    return settings


@pytest.fixture(scope="session")
def make_config() -> Callable[..., RunConfig]:
    """Likewise, as the model."""
    return lambda **keywords: run_config(settings(**keywords))
