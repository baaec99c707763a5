"""A run's files: its weights, which are all that sampling needs, and the log of its training."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError

from pipeline.chemistry.elements import symbols_of
from pipeline.core.errors import InputError
from pipeline.core.files import atomic_path
from pipeline.data.properties import PropertyStatistics
from pipeline.data.statistics import Statistics
from pipeline.study.config import RunConfig, run_config
from pipeline.training.array_files import digest, is_intact, read_arrays, write_arrays
from pipeline.training.growth import grow_inputs, grow_layers

FORMAT = "consistent-edm weights 1"


@dataclass(frozen=True, eq=False)
class Weights:
    """Trained weights with all that is needed to use them.

    Attributes:
      arrays: float32 arrays by name, such as ``layer_0.message.receiver.kernel`` (linear maps are [inputs, outputs]).
      config: the run's configuration.
      statistics: of the data it was trained on: the sizes to sample, the scale of the coordinates.
      provenance: steps trained, and those of the runs that it started from; versions, machine.
      levels: the noise levels to sample at, by number of network calls, of a few-step model prepared for release;
        otherwise none.
      properties: those that a conditional run can be asked for; else None.
    """

    arrays: Mapping[str, npt.NDArray[np.float32]]
    config: RunConfig
    statistics: Statistics
    provenance: Mapping[str, Any]
    levels: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    properties: PropertyStatistics | None = None

    @property
    def trainings(self) -> dict[str, Mapping[str, float]]:
        """Steps and seconds of this run and of all that it started from, by name."""
        own = {key: self.provenance[key] for key in ("steps", "training_seconds")}
        return {**self.provenance.get("started_from", {}), self.config.name: own}


def write_weights(
    path: str | os.PathLike[str],
    arrays: Mapping[str, npt.NDArray[np.float32]],
    *,
    config: Mapping[str, Any],
    statistics: Statistics,
    provenance: Mapping[str, Any],
    levels: Mapping[int, Sequence[float]] | None = None,
    properties: PropertyStatistics | None = None,
) -> None:
    """Write weights as safetensors, atomically; ``config`` is the resolved JSON of the run."""
    metadata = {
        "format": FORMAT,
        "config": json.dumps(config),
        "statistics": json.dumps(statistics.to_json()),
        "provenance": json.dumps(provenance),
    }
    if levels:
        metadata["levels"] = json.dumps(levels)
    if properties:
        metadata["properties"] = json.dumps(properties.model_dump(mode="json"))
    write_arrays(path, arrays, metadata)


def read_weights(path: str | os.PathLike[str]) -> Weights:
    """Read weights.

    Raises:
      InputError: the file is missing, damaged, of another version, or not the weights of a run.
    """
    try:
        arrays, metadata = read_arrays(path)
        if metadata.get("format") != FORMAT:
            raise InputError(f"{path}: these are not weights of a run (no '{FORMAT}' in the file's metadata)")
        if not is_intact(arrays, metadata):
            raise InputError(f"{path}: its content does not match its checksum: the file is damaged")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; train the run first") from error
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path}: not a complete safetensors file ({error})") from error
    if damaged := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
        raise InputError(f"{path}: {damaged[0]} holds values that are not finite")
    try:
        config = run_config(json.loads(metadata["config"]))
        statistics = Statistics.from_json(json.loads(metadata["statistics"]))
    except InputError as error:
        raise InputError(f"{path}: written by another version ({error})") from None
    return Weights(
        arrays=arrays,
        config=config,
        statistics=statistics,
        provenance=json.loads(metadata["provenance"]),
        levels={int(calls): tuple(found) for calls, found in json.loads(metadata.get("levels", "{}")).items()},
        properties=PropertyStatistics(**json.loads(metadata["properties"])) if "properties" in metadata else None,
    )


@dataclass(frozen=True, eq=False)
class PretrainedWeights:
    """Weights of other runs that a training needs, by name; None where its configuration names none.

    Attributes:
      init: what it starts from.
      teacher: what it learns from.
      trainings: steps and seconds of both and of all runs before them, by name.
    """

    init: Mapping[str, npt.NDArray[np.float32]] | None = None
    teacher: Mapping[str, npt.NDArray[np.float32]] | None = None
    trainings: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def digests(self) -> list[str]:
        """Return a digest of each that is there."""
        return [digest(arrays, {}) for arrays in (self.init, self.teacher) if arrays is not None]


def read_pretrained(
    config: RunConfig, elements: Sequence[int], *, init: Path | None, teacher: Path | None
) -> PretrainedWeights:
    """Read the weights that a run starts from and learns from.

    Args:
      config: of the run.
      elements: the atomic number of each type in its data.
      init: weights of the run that it starts from.
      teacher: weights of the run that it learns from.

    Raises:
      InputError: the run names another one and its weights are missing, or the other way round; they are those of
        another network or of data with other elements; it has no teacher and needs one.
    """
    try:
        config.check_trainable()
    except ValueError as error:
        raise InputError(f"run {config.name}: {error}") from None
    start = _start(config, elements, "init", config.init, init)
    learned = _start(config, elements, "teacher", config.teacher, teacher)
    return PretrainedWeights(
        init=start.arrays if start else None,
        teacher=learned.arrays if learned else None,
        trainings={**(start.trainings if start else {}), **(learned.trainings if learned else {})},
    )


def _start(config: RunConfig, elements: Sequence[int], key: str, run: str | None, path: Path | None) -> Weights | None:
    """Return the weights of a start or a teacher, grown to the run's network."""
    if run is None:
        if path:
            raise InputError(f"run {config.name}: it has no {key}, so there should be no --{key} {path}")
        return None
    if path is None:
        raise InputError(f"run {config.name}: --{key} should name the weights of the run {run}")
    weights = read_weights(path)
    if weights.config.name != run:
        raise InputError(
            f"{path}: these are weights of the run {weights.config.name}, and those of {run} should be there"
        )
    start = weights.config.model
    if not config.model.can_start(start):
        raise InputError(
            f"run {config.name}: its model should be that of its {key}, the run {run}, or have more layers"
        )
    given = weights.config.condition
    if given != config.condition and (given or key == "teacher"):
        raise InputError(f"run {config.name}: its condition should be that of the run {run}, its {key}")
    if tuple(elements) != weights.statistics.elements:
        own, other = (", ".join(symbols_of(numbers)) for numbers in (elements, weights.statistics.elements))
        raise InputError(f"run {config.name}: its data have {own}, and those of the run {run}, its {key}, {other}")
    grown = grow_layers(weights.arrays, start, config.model)
    return replace(weights, arrays=grow_inputs(grown, config.condition_features - weights.config.condition_features))


def provenance(*packages: str) -> dict[str, Any]:
    """Return what a result was made with: Python, the versions of ``packages``, the processor and its cores."""
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }


class MetricsLog:
    """A training's ``metrics.jsonl``: one JSON object a line, in the order of steps."""

    def __init__(self, path: Path):
        """Open ``path`` for appending."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path

    def rewind(self, step: int) -> None:
        """Forget what was logged after ``step`` (a resumed run does it again) and any line cut short by a kill."""
        kept = [line for line in self._lines() if json.loads(line)["step"] <= step]
        with atomic_path(self._path) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8")

    def append(self, kind: str, **values: Any) -> None:
        """Add a line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **values}, allow_nan=False) + "\n")

    def copy_to(self, path: Path) -> None:
        """Write the whole log to ``path``, atomically."""
        with atomic_path(path) as temporary:
            temporary.write_text("".join(self._lines()), encoding="utf-8")

    def _lines(self) -> list[str]:
        if not self._path.exists():
            return []
        lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
        return [line for line in lines if line.endswith("\n")]
